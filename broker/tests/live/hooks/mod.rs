//! Hooks: a receiver of our own gets events of channels, in order and signed, and a sleeping master is called; or it
//! asks itself.

mod bridge;
mod cluster_etcd;
mod failing;
pub(crate) mod polls;
pub(crate) mod receiver;
mod states;
mod tls;
mod wakes;

use crate::process::{Broker, DEV, directory, fresh_directory, run_to_end};
use receiver::{Receiver, SECRET};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Writes a configuration with hooks of these names, receivers and further lines.
fn configuration(directory: &Path, hooks: &[(&str, &str, &str)]) -> PathBuf {
    let file = directory.join("broker.toml");
    fs::write(&file, text_of(directory, hooks)).expect("a file under target/");
    file
}

/// Writes a secret file. The text of a configuration with such hooks.
pub(crate) fn text_of(directory: &Path, hooks: &[(&str, &str, &str)]) -> String {
    let secret = directory.join("hook.secret");
    fs::write(&secret, format!("{SECRET}\n")).expect("a file under target/");
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).expect("our file");
    let mut text = String::from("[presence]\nlinger = \"200ms\"\n");
    for (name, url, lines) in hooks {
        let secret = secret.display();
        text.push_str(&format!(
            "[[hook]]\nname = \"{name}\"\nurl = \"{url}\"\nsecret_file = \"{secret}\"\ntimeout = \"500ms\"\n{lines}\n"
        ));
    }
    text
}

/// A broker with one hook for a receiver.
fn broker(receiver: &Receiver, lines: &str, shards: u16) -> Broker {
    let url = receiver.url("/hook/{channel}");
    broker_of(&[("home", &url, lines)], shards)
}

/// A broker with a hook whose receiver is not there.
pub(crate) fn unheard() -> Broker {
    broker_of(&[("home", "http://127.0.0.1:1", BOTH)], 2)
}

fn broker_of(hooks: &[(&str, &str, &str)], shards: u16) -> Broker {
    let directory = fresh_directory();
    let file = configuration(&directory, hooks);
    let path = file.to_str().expect("a path in UTF-8");
    Broker::start(&[&DEV[..], &["--config", path]].concat(), shards)
}

/// Wakes and states of channels that begin with `cam-`.
pub(crate) const BOTH: &str = "events = [\"wake\", \"presence\"]\nchannels = \"cam-*\"";

/// Receivers without TLS need permission in the configuration; a file with a secret must be private to its owner.
/// Invalid entries are in `data/broken_values.txt`.
#[test]
fn receivers_in_the_clear_and_open_secrets_are_refused() {
    let directory = directory();
    let plain = format!("{BOTH}\nallow_plain = true");
    let file = configuration(&directory, &[("home", "http://192.0.2.1/", &plain)]);
    let path = file.to_str().expect("UTF-8");
    let (code, text) = run_to_end(&["check-config", "--dev", path]);
    assert_eq!(code, Some(0), "{text}");
    configuration(&directory, &[("home", "http://127.0.0.1:1/", BOTH)]);
    let secret = file.with_file_name("hook.secret");
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o644)).expect("our file");
    let (code, text) = run_to_end(&["check-config", "--dev", path]);
    assert_eq!(code, Some(2), "{text}");
    let fault = "must be a file that only its owner and group may read: chmod 600";
    testkit::assert_has(&text, &[":6:15: hook[0].secret_file", fault]);
}
