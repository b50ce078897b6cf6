//! Commands on a terminal, which the program `script` of util-linux is here.

use crate::process::{Broker, command};
use std::io::{Read, Write};
use std::process::{Command, Stdio};

#[test]
fn top_draws_its_screen_until_q() {
    let broker = Broker::dev(1);
    let program = command().get_program().display().to_string();
    let top = format!("{program} top --admin http://{}", broker.admin);
    // Without its screen it would go on for ever.
    let mut terminal = Command::new("timeout")
        .args(["30", "script", "--quiet", "--return", "--command", &top])
        .arg("/dev/null")
        .env("TERM", "xterm")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("script, of the package bsdutils");
    let mut output = terminal.stdout.take().expect("it is piped");
    let (mut seen, mut part) = (Vec::new(), [0; 4096]);
    let shows = |seen: &[u8]| String::from_utf8_lossy(seen).contains("No problems.");
    while !shows(&seen) {
        let count = output.read(&mut part).expect("it draws");
        assert!(count > 0, "{:?}", String::from_utf8_lossy(&seen));
        seen.extend_from_slice(&part[..count]);
    }
    let mut keys = terminal.stdin.take().expect("it is piped");
    keys.write_all(b"q").expect("it reads");
    output.read_to_end(&mut seen).expect("it ends");
    let text = String::from_utf8_lossy(&seen);
    assert!(terminal.wait().expect("it ends").success(), "{text}");
    assert!(text.starts_with("\x1b[?1049h\x1b[?25l\x1b[H"), "{text:?}");
    let end = text.trim_end();
    assert!(end.ends_with("\x1b[?25h\x1b[?1049l"), "{text:?}");
    assert!(!text.contains("\\u001b"), "{text:?}");
}
