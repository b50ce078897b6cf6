//! Commands on a terminal, which the program `script` of util-linux is here.

use crate::process::{Broker, command};
use std::io::{Read, Write};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use testkit::until;

#[test]
fn top_draws_its_screen_until_q() {
    let broker = Broker::dev(1);
    let program = command().get_program().display().to_string();
    let top = format!("{program} top --admin http://{}", broker.admin);
    let mut terminal = Command::new("script")
        .args(["--quiet", "--return", "--command", &top, "/dev/null"])
        .env("TERM", "xterm")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("script, of the package bsdutils");
    let mut output = terminal.stdout.take().expect("it is piped");
    let seen = Arc::new(Mutex::new(Vec::new()));
    let reader = thread::spawn({
        let seen = Arc::clone(&seen);
        move || {
            let mut part = [0; 4096];
            while let Ok(count @ 1..) = output.read(&mut part) {
                seen.lock()
                    .expect("no panic")
                    .extend_from_slice(&part[..count]);
            }
        }
    });
    let text = || String::from_utf8_lossy(&seen.lock().expect("no panic")).into_owned();
    until("a screen", || {
        text().contains("No channel is in trouble.").then_some(())
    });
    let mut keys = terminal.stdin.take().expect("it is piped");
    keys.write_all(b"q").expect("it reads");
    let ended = terminal.wait().expect("it ends");
    reader.join().expect("no panic");
    let text = text();
    assert!(ended.success(), "{text}");
    assert!(text.starts_with("\x1b[?1049h\x1b[?25l\x1b[H"), "{text:?}");
    assert!(
        text.trim_end().ends_with("\x1b[?25h\x1b[?1049l"),
        "{text:?}"
    );
    assert!(!text.contains("\\u001b"), "{text:?}");
}
