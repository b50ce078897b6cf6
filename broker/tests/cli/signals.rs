//! A server from its ready line to its end: drains, a second signal, a hangup.

use crate::cli::support::{broker, directory, serve};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use testkit::Running;

#[test]
fn the_ready_line_follows_the_flags_and_nothing_else_is_on_stdout() {
    let directory = directory();
    #[rustfmt::skip] // a list
    let flags = ["--listen", "https://127.0.0.1:0", "--listen", "http://[::1]:0", "--listen", "http://127.0.0.1:0"];
    let mut server = serve(
        &directory,
        &[&flags[..], &["--admin", "off", "--log-format", "json"]].concat(),
    );
    let words: Vec<_> = server.ready().split(' ').collect();
    assert_eq!(words.len(), 7, "{}", server.ready());
    assert!(
        words[0] == "ready" && words[1].starts_with("https://127.0.0.1:"),
        "{}",
        server.ready()
    );
    assert!(
        words[2].starts_with("http://[::1]:") && words[3].starts_with("http://127.0.0.1:"),
        "{}",
        server.ready()
    );
    assert_eq!(
        words[4..6],
        ["admin=off", "ca=heliograph-data/dev-ca.pem"],
        "{}",
        server.ready()
    );
    server.signal("TERM");
    assert_eq!(server.ended().code(), Some(0));
    assert_eq!(server.rest_of_output(), Vec::<String>::new());
    for name in ["dev-ca.pem", "dev-cert.pem", "dev-key.pem"] {
        assert!(
            directory.path("heliograph-data").join(name).is_file(),
            "{name}"
        );
    }
}

/// A developer does not wait for an idle client, and the log says how to stop at once.
#[test]
fn a_drain_takes_a_second_under_dev_and_says_how_to_stop_now() {
    let directory = directory();
    let config = directory.file("written.toml", "[timeouts]\ndrain = '1100ms'\n");
    let config = config.to_str().unwrap();
    for (flags, within) in [
        (&[][..], "within_ms=1000"),
        (&["--config", config][..], "within_ms=1100"),
    ] {
        let mut server = serve(&directory, &[&LISTEN[..], flags].concat());
        let idle = idle_client(&server);
        server.signal("INT");
        assert_eq!(server.ended().code(), Some(0), "{}", server.log());
        let log = server.log();
        let told = log.lines().find(|line| line.contains("draining"));
        assert!(
            told.is_some_and(
                |line| line.contains("press Ctrl-C again to stop now") && line.contains(within)
            ),
            "{log}"
        );
        drop(idle);
    }
}

/// A terminal around the program: its first argument says what happens once the program has written its ready line.
/// Prints how the program ended, and what it wrote to the terminal.
const TERMINAL: &str = r#"
import os, pty, signal, sys
act, program = sys.argv[1], sys.argv[2:]
child, terminal = pty.fork()
if child == 0:
    # Whatever these tests were started with, such as nohup.
    signal.signal(signal.SIGHUP, signal.SIG_IGN if act == "ignored" else signal.SIG_DFL)
    os.execvp(program[0], program)
seen = b""
def until(part):
    global seen
    while part not in seen:
        seen += os.read(terminal, 65536)
until(b"ready http")
if "RUST_LOG" in os.environ:
    until(b" INFO ")  # written by another thread: before the ready line or after it
if act == "closed":
    os.close(terminal)
else:
    os.kill(child, signal.SIGHUP)
    if act == "reloads":
        until(b"nothing to reload")
    os.kill(child, signal.SIGTERM)
    until(b"ended")
_, status = os.waitpid(child, 0)
print(os.waitstatus_to_exitcode(status))
print(seen.decode())
"#;

/// Runs a development server on a terminal of its own.
fn on_terminal(act: &str, rust_log: &[(&str, &str)]) -> testkit::Exit {
    let directory = directory();
    let mut command = Command::new("python3");
    command.args(["-c", TERMINAL, act]);
    command
        .arg(broker(&[]).get_program())
        .args(["serve", "--dev"]);
    command.args(LISTEN).current_dir(&directory);
    command
        .env_remove("RUST_LOG")
        .envs(rust_log.iter().copied());
    testkit::run(&mut command)
}

/// A server that nobody can stop any more would keep its ports.
#[test]
fn a_development_server_ends_with_its_terminal() {
    for (act, reloads) in [("closed", false), ("reloads", true), ("ignored", false)] {
        let exit = on_terminal(act, &[("RUST_LOG", "info")]);
        assert!(exit.stdout.starts_with("0\n"), "{act}: {exit:?}");
        let said = exit.stdout.contains("nothing to reload");
        assert_eq!(said, reloads, "{act}: {exit:?}");
        assert!(exit.stdout.contains(" INFO "), "{act}: {exit:?}");
    }
}

#[test]
fn a_terminal_begins_with_seven_lines_and_has_no_line_below_warn() {
    let exit = on_terminal("closed", &[]);
    let lines: Vec<&str> = exit.stdout.lines().map(str::trim_end).collect();
    let welcome = lines.iter().position(|line| line.contains("Heliograph"));
    let welcome = welcome.unwrap_or_else(|| panic!("{exit:?}"));
    for (line, part) in lines[welcome..].iter().zip([
        "no signature is checked",
        "/try",
        "http://127.0.0.1:",
        "http://127.0.0.1:",
        "heliograph env --admin http://127.0.0.1:",
        "/whep/CHANNEL",
        "Ctrl-C",
        "",
        "ready http://127.0.0.1:",
    ]) {
        assert!(line.contains(part), "{part}: {exit:?}");
    }
    assert!(lines[welcome + 8].starts_with("ready "), "{exit:?}");
    assert!(!exit.stdout.contains(" INFO "), "{exit:?}");
}

const LISTEN: [&str; 4] = ["--listen", "http://127.0.0.1:0", "--admin", "127.0.0.1:0"];

/// A master that says nothing, and does not answer a close either.
fn idle_client(server: &Running) -> TcpStream {
    let mut client = TcpStream::connect(server.word("http://")).unwrap();
    let request = "GET /?X-Amz-ChannelARN=arn:aws:kinesisvideo:us-west-2:123456789012:channel/a/1700000000000 \
                   HTTP/1.1\r\nHost: localhost\r\n\
                   Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: \
                   dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    client.write_all(request.as_bytes()).unwrap();
    let mut head = [0; 12];
    client.read_exact(&mut head).unwrap();
    assert_eq!(&head, b"HTTP/1.1 101");
    client
}
