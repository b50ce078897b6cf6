//! Permissions of a broker's files: modes under any umask, of older directories, and directories of other users.

use crate::http::create;
use crate::process::{Broker, DEV, SERVE_IN, binary, directory, run_to_end};
use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

const PLAIN: [&str; 4] = ["--auth", "none", "--listen", "http://127.0.0.1:0"];

/// A broker whose umask is this one.
fn under(umask: &str, directory: &Path, arguments: &[&str]) -> Broker {
    let mut shell = Command::new("sh");
    let script = format!("umask {umask}; exec \"$0\" \"$@\"");
    shell.arg("-c").arg(script).arg(binary());
    Broker::launch_in(directory, shell, arguments, 1)
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("it is there").mode() & 0o7777
}

/// The files of a directory with their modes.
fn modes(data: &Path) -> BTreeMap<String, u32> {
    // What is being written has its name in a moment: the certificate that is made beside a start.
    let is_whole = |entry: &fs::DirEntry| !entry.file_name().to_string_lossy().ends_with(".part");
    let entries = fs::read_dir(data).expect("a directory").flatten();
    let entries = entries.filter(is_whole);
    let one = |entry: fs::DirEntry| {
        let name = entry.file_name().into_string().expect("UTF-8");
        (name, mode(&entry.path()))
    };
    entries.map(one).collect()
}

fn assert_closed(data: &Path, dev: bool) {
    assert_eq!(mode(data), if dev { 0o711 } else { 0o700 });
    let files = modes(data);
    assert!(
        files.contains_key("store.redb") && files.contains_key("lock"),
        "{files:?}"
    );
    assert_eq!(files.contains_key("dev-ca.pem"), dev, "{files:?}");
    for (name, mode) in &files {
        let allowed = if name == "dev-ca.pem" { 0o644 } else { 0o600 };
        assert_eq!(*mode, allowed, "{name} of {files:?}");
    }
}

#[test]
fn others_read_the_authority_of_a_development_server_and_nothing_else() {
    for umask in ["022", "000", "077"] {
        for (arguments, dev) in [(&DEV[..], true), (&PLAIN, false)] {
            let directory = directory();
            let broker = under(umask, &directory, arguments);
            if !dev {
                create(broker.plain, "cam", 60);
            }
            assert_closed(&directory.join("data"), dev);
            drop(broker);
        }
    }
}

#[test]
fn an_older_directory_is_tightened_once_with_one_line() {
    let directory = directory();
    let data = directory.join("data");
    drop(under("022", &directory, &DEV));
    let open = |path: &Path, mode| {
        fs::set_permissions(path, Permissions::from_mode(mode)).expect("its own");
    };
    open(&data, 0o755);
    for name in modes(&data).keys() {
        open(&data.join(name), 0o644);
    }
    let broker = under("022", &directory, &DEV);
    let lines = broker.logged(&["other users could read private files of the broker"], 1);
    for part in [
        "store.redb: mode 0644 changed to 0600",
        "the directory: mode 0755 changed to 0711",
    ] {
        assert!(lines[0].contains(part), "{lines:?}");
    }
    assert_eq!(broker.log().matches("other users could read").count(), 1);
    assert_closed(&data, true);
    drop(broker);
    let broker = under("022", &directory, &DEV);
    assert!(
        !broker.log().contains("other users could"),
        "{}",
        broker.log()
    );
    drop(broker);
}

#[test]
fn a_directory_of_another_user_is_refused_and_left_alone() {
    if !fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0) {
        eprintln!("skipped: only root can give a directory to another user");
        return;
    }
    let directory = directory();
    let data = directory.join("data");
    fs::create_dir(&data).expect("a directory under target/");
    fs::set_permissions(&data, Permissions::from_mode(0o755)).expect("its own");
    chown(&data, Some(65534), Some(65534)).expect("root");
    let path = data.to_str().expect("UTF-8");
    let (code, text) = run_to_end(&[&SERVE_IN[..], &[path]].concat());
    assert_eq!(code, Some(2), "{text}");
    #[rustfmt::skip] // a list
    let cases = ["must belong to the broker's user, whose number is 0", "belongs to user 65534", "--data-dir"];
    for part in cases {
        assert!(text.contains(part), "{text}");
    }
    assert_eq!(modes(&data).len(), 0, "nothing is made in it");
    assert_eq!(mode(&data), 0o755);
}

/// A command for root reads the directory of a broker that is stopped, and changes no mode.
#[test]
fn backups_are_closed_under_any_umask() {
    let directory = directory();
    let mut broker = under("022", &directory, &PLAIN);
    broker.signal("TERM");
    broker.ended_within(Duration::from_secs(30));
    let copy = directory.join("copy");
    let mut shell = Command::new("sh");
    shell.args(["-c", "umask 000; exec \"$@\"", "sh"]);
    shell
        .arg(binary())
        .arg("backup")
        .arg(&copy)
        .arg("--data-dir");
    let done = shell.arg(directory.join("data")).output().expect("sh runs");
    assert!(done.status.success(), "{done:?}");
    assert_eq!(mode(&copy), 0o700);
    for (name, mode) in modes(&copy) {
        assert_eq!(mode, 0o600, "{name}");
    }
    drop(broker);
}
