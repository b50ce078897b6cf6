//! `deploy/wake/mosquitto-bridge.py` with Debian's mosquitto: from an offer to the message that a device gets by MQTT.

use super::{broker_of, configuration};
use crate::clients::{python_with_clients, workspace};
use crate::http::exchange;
use crate::peer::{Peer, offer};
use crate::process::{arn, directory};
use serde_json::Value;
use std::fs;
use std::io::{BufRead, BufReader, Lines};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use testkit::until;

/// A program that ends with the test, and the lines that it prints.
struct Program {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Program {
    fn start(mut command: Command) -> Self {
        let child = command.stdout(Stdio::piped()).spawn();
        let mut child = child.unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let output = child.stdout.take().expect("a pipe");
        let lines = BufReader::new(output).lines();
        Self { child, lines }
    }

    /// The next line that has this text.
    fn line_with(&mut self, text: &str) -> String {
        let mut lines = self.lines.by_ref().map_while(Result::ok);
        let found = lines.find(|line| line.contains(text));
        found.unwrap_or_else(|| panic!("no line with {text}"))
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// mosquitto on a port that was free, which anybody on loopback may use.
fn mosquitto(directory: &Path) -> (Program, u16) {
    let free = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let port = free.local_addr().expect("bound").port();
    drop(free);
    let config = directory.join("mosquitto.conf");
    let text = format!("listener {port} 127.0.0.1\nallow_anonymous true\npersistence false\n");
    fs::write(&config, text).expect("a file under target/");
    let mut command = Command::new("/usr/sbin/mosquitto");
    command.arg("-c").arg(config).stderr(Stdio::null());
    let mosquitto = Program::start(command);
    until("mosquitto listens", || {
        TcpStream::connect(("127.0.0.1", port)).ok()
    });
    (mosquitto, port)
}

#[test]
#[ignore = "needs the clients and mosquitto that deploy/ci/check.sh installs"]
fn an_offer_becomes_a_message_of_mqtt() {
    let directory = directory();
    let (_mosquitto, port) = mosquitto(&directory);
    let port = port.to_string();
    let mut subscriber = Command::new("stdbuf"); // it writes to a pipe in blocks
    #[rustfmt::skip] // a list
    subscriber.args(["-oL", "mosquitto_sub", "-d", "-h", "127.0.0.1", "-p", &port, "-q", "1"]);
    subscriber.args(["-F", "got %t %p", "-t", "wake/#"]);
    let mut subscriber = Program::start(subscriber);
    subscriber.line_with("SUBACK");

    let secret = configuration(&directory, &[]).with_file_name("hook.secret");
    let mut bridge = python_with_clients();
    bridge.arg(workspace().join("deploy/wake/mosquitto-bridge.py"));
    bridge
        .arg(&secret)
        .args(["0", "-h", "127.0.0.1", "-p", &port]);
    let mut bridge = Program::start(bridge);
    let url = bridge.line_with("http://");
    let lines = "events = [\"wake\", \"presence\"]\nchannels = \"cam-*\"";
    let broker = broker_of(&[("mqtt", &url, lines)], 2);
    let mut viewer = Peer::viewer(&broker, &arn("cam-1"), "v1");
    viewer.send(&offer("b2ZmZXI="));
    let got = subscriber.line_with("got ");
    let message = got.strip_prefix("got wake/cam-1 ").expect(&got);
    let message: Value = serde_json::from_str(message).expect(message);
    assert_eq!(message["attempt"], 1);
    assert!(message["until"].is_string(), "{message}");
    // A sender without the secret calls nobody.
    let address = url.trim_start_matches("http://").trim_end_matches('/');
    let to: SocketAddr = address.parse().expect("an address");
    let unsigned = b"POST / HTTP/1.0\r\nContent-Length: 2\r\nwebhook-id: 1\r\n\r\n{}";
    assert_eq!(exchange(to, unsigned).status, 401);
}
