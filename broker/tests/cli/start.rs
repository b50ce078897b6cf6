//! Checks of a start: the admin port, the data directory, limits of the process.

use crate::cli::support::{broker, directory};
use std::net::TcpListener;
use std::process::Command;
use testkit::{Exit, run};

#[test]
fn the_admin_port_and_the_data_directory_are_checked() {
    let directory = directory();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = taken.local_addr().unwrap().to_string();
    #[rustfmt::skip] // a list
    let output = run(broker(&["serve", "--dev", "--listen", "http://127.0.0.1:0", "--admin", &addr])
    .current_dir(&directory));
    assert_eq!(output.code, Some(2), "{}", output.stderr);
    let wanted = format!("admin.listen = {addr}: the port is in use");
    testkit::assert_has(&output.stderr, &[&wanted]);

    let file = directory.file("no-directory", "");
    #[rustfmt::skip] // a list
    let flags = ["serve", "--dev", "--listen", "http://127.0.0.1:0", "--admin", "off", "--data-dir"];
    let output = run(broker(&flags).arg(&file));
    assert_eq!(output.code, Some(2), "{}", output.stderr);
    let wanted = "must be a directory that can be created and written";
    testkit::assert_has(&output.stderr, &[wanted]);
}

/// Every line of a log in JSON is an object, also of a start that fails: by the configuration, or later. A log as text
/// has the error alone.
#[test]
fn a_start_that_fails_says_so_in_the_form_of_its_log() {
    let directory = directory();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = taken.local_addr().unwrap();
    let text = format!("log_format = 'json'\nlisten = ['http://{addr}']\nauth = 'none'\n");
    let good = directory.file("good.toml", &text);
    let bad = directory.file("bad.toml", "[limits]\nno_such_key = 1\n");
    let start = |file: &std::path::Path, format: &[&str]| {
        let mut command = broker(&[&["serve", "--admin", "off"][..], format].concat());
        run(command.arg("--config").arg(file).current_dir(&directory))
    };
    for (file, format, part) in [
        (&good, &[][..], "the port is in use"),
        (&bad, &["--log-format", "json"], "no_such_key"),
    ] {
        let output = start(file, format);
        assert_eq!(output.code, Some(2), "{}", output.stderr);
        let lines = output.stderr.lines();
        let lines = lines.map(|line| serde_json::from_str(line).expect(line));
        let lines: Vec<serde_json::Value> = lines.collect();
        let last = lines.last().expect("a line");
        assert_eq!(last["level"], "ERROR");
        assert_eq!(last["fields"]["code"], 2);
        let message = last["fields"]["message"].as_str().expect("a text");
        assert!(message.contains(part), "{message}");
    }
    let output = start(&bad, &[]);
    let place = format!("{}:2:", bad.display());
    assert!(output.stderr.starts_with(&place), "{}", output.stderr);
}

#[test]
fn too_few_descriptors_are_reported_with_the_remedy() {
    let output = limited("-n 60", "2");
    assert_eq!(output.code, Some(1), "{}", output.stderr);
    testkit::assert_has(&output.stderr, &["limit of open files is 60", "ulimit -n"]);
}

#[test]
fn too_little_locked_memory_is_reported_with_the_remedy() {
    let output = limited("-l 64", "1 --engine io_uring");
    assert_eq!(output.code, Some(1), "{}", output.stderr);
    testkit::assert_has(&output.stderr, &["/etc/security/limits.d/"]);
}

/// A start under a limit of `ulimit`.
fn limited(limit: &str, shards: &str) -> Exit {
    let directory = directory();
    let flags = format!("serve --dev --listen http://127.0.0.1:0 --admin off --shards {shards}");
    let script = format!(
        "ulimit {limit}; exec {} {flags}",
        env!("CARGO_BIN_EXE_heliograph")
    );
    run(Command::new("sh")
        .args(["-c", &script])
        .current_dir(&directory))
}

#[test]
fn the_port_for_messages_of_nodes_is_checked() {
    let directory = directory();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = taken.local_addr().unwrap();
    directory.file("secret", &"0f".repeat(32));
    let text = format!(
        "auth = 'none'\n[cluster]\nname = 'test'\nnode = 'n1'\nlisten = '127.0.0.1:0'\npeers = '{addr}'\n\
         secret_file = 'secret'\netcd = ['http://127.0.0.1:1']\n"
    );
    directory.file("broker.toml", &text);
    let words = ["serve", "--config", "broker.toml", "--data-dir", "data"];
    let ports = ["--listen", "http://127.0.0.1:0", "--admin", "off"];
    let output = run(broker(&[&words[..], &ports].concat()).current_dir(&directory));
    assert_eq!(output.code, Some(2), "{}", output.stderr);
    let wanted = format!("cluster.peers = {addr}: must be");
    testkit::assert_has(&output.stderr, &[&wanted]);
}
