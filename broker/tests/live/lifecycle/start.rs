//! Starts that meet another process, and the page that a start opens. Refused configurations are the corpus of
//! `tests/cli`.

use crate::process::{Broker, DEV, SERVE_IN, binary, command, directory, run_to_end};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use testkit::until;

const BASE: [&str; 3] = ["serve", "--admin", "127.0.0.1:0"];

/// Some sandboxes have no sysfs, where the machine's CPUs are listed: an executor wants them, a thread does not.
#[test]
fn shards_run_without_sysfs() {
    let hidden = "mount -t tmpfs tmpfs /sys";
    let mut tried = Command::new("unshare");
    tried.args(["--mount", "sh", "-c", hidden]);
    if !tried.status().is_ok_and(|status| status.success()) {
        return eprintln!("skipped: nothing can be mounted here");
    }
    let mut wrapped = Command::new("unshare");
    let script = format!("{hidden} && exec \"$0\" \"$@\"");
    wrapped.args(["--mount", "sh", "-c", &script]).arg(binary());
    let broker = Broker::launch(wrapped, &DEV, 2);
    let log = broker.log();
    let are_pinned = broker.ready.ends_with(" engine=epoll");
    assert_eq!(log.contains("mount sysfs at /sys"), !are_pinned, "{log}");
}

/// Shards listen with SO_REUSEPORT, which would let a second broker in.
#[test]
fn a_port_of_another_broker_is_refused() {
    let broker = Broker::dev(2);
    let text = refused(&["--dev", "--listen", &format!("http://{}", broker.plain)]);
    assert!(text.contains(&broker.plain.to_string()), "{text}");
}

/// Two brokers of one data directory would share a certificate, and later a registry.
#[test]
fn a_data_directory_in_use_is_refused() {
    let directory = directory();
    let path = directory.to_str().expect("a path in UTF-8");
    let arguments = [&SERVE_IN[..], &[path]].concat();
    let mut first = command();
    first
        .args(&arguments)
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::null());
    let mut first = first.spawn().expect("it starts");
    let mut ready = [0_u8; 6];
    let mut output = first.stdout.take().expect("piped");
    std::io::Read::read_exact(&mut output, &mut ready).expect("a ready line");
    let (code, text) = run_to_end(&arguments);
    let _ = first.kill();
    let _ = first.wait();
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains(path), "{text}");
}

/// Memory has keys of principals, of sessions and of TLS.
#[test]
fn no_core_file_is_written_of_a_broker() {
    let broker = Broker::dev(1);
    let limits = fs::read_to_string(format!("/proc/{}/limits", broker.id())).expect("limits");
    let mut lines = limits.lines();
    let limit = lines.find_map(|line| line.strip_prefix("Max core file size"));
    let bounds: Vec<&str> = limit.expect("a line").split_whitespace().take(2).collect();
    assert_eq!(bounds, ["0", "0"], "{limits}");
}

#[test]
fn a_signal_ends_an_empty_broker_at_once() {
    for signal in ["TERM", "INT"] {
        let mut broker = Broker::dev(2);
        broker.signal(signal);
        assert_eq!(
            broker.ended_within(Duration::from_secs(5)).code(),
            Some(0),
            "{signal}"
        );
    }
}

/// The desktop's own program is started, which a signal must be able to end.
#[test]
fn the_page_is_opened_with_the_flag_open() {
    let programs = directory();
    let opened = programs.join("opened");
    // Builtins alone: a shell blocks all signals of its own while it starts a program.
    let record = format!(
        r#"while read -r line; do case "$line" in SigBlk:*) mask="$line" ;; esac; done < /proc/$$/status
        echo "$mask" > {opened:?}.part; echo "$@" >> {opened:?}.part; mv {opened:?}.part {opened:?}"#
    );
    program(&programs, &record);
    let broker = Broker::opening(&programs);
    let said = until("the start of xdg-open", || fs::read_to_string(&opened).ok());
    let (blocked, page) = said.split_once('\n').expect("two lines");
    assert_eq!(page, format!("http://{}/try\n", broker.admin));
    let blocked = blocked.trim_start_matches("SigBlk:").trim();
    let blocked = u64::from_str_radix(blocked, 16).expect("a mask");
    assert_eq!(blocked & 0x4003, 0, "SIGHUP, SIGINT and SIGTERM: {said}");
}

#[test]
fn a_page_that_cannot_be_opened_is_a_warning() {
    let programs = directory();
    program(&programs, "exit 3");
    let broker = Broker::opening(&programs);
    broker.logged(&["WARN", "xdg-open could not open the page", "/try"], 1);
}

/// Writes an `xdg-open` that does this.
fn program(directory: &Path, script: &str) {
    let path = directory.join("xdg-open");
    fs::write(&path, format!("#!/bin/sh\n{script}\n")).expect("a file under target/");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("a program");
}

/// Exit code 2, and a text.
fn refused(arguments: &[&str]) -> String {
    let (code, text) = run_to_end(&[&BASE[..], arguments].concat());
    assert_eq!(code, Some(2), "{arguments:?}: {text}");
    assert!(!text.trim().is_empty(), "{arguments:?}");
    text
}
