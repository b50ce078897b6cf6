//! Tests that run in a network of their own.

use crate::http::{Answer, exchange, get};
use crate::peer::{client_config, tcp, tcp_from};
use crate::process::{Broker, DEV, run_to_end};
use rustls::pki_types::ServerName;
use rustls::{ClientConnection, StreamOwned};
use serde_json::Value;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use testkit::{until, until_true};

#[test]
#[ignore = "a test of the outside runs it, in a network of its own"]
fn the_address_of_the_local_network_is_found_or_asked_for() {
    for flag in ["--lan", "--lan=192.168.77.2"] {
        let broker = start(&[flag]);
        assert!(broker.ready.contains(" https://192.168.77.2:"), "{flag}");
        assert!(broker.ready.contains(" https://127.0.0.1:"), "{flag}");
        broker.logged(&["--lan", "can use any channel"], 1);
        let config = get(broker.admin, "/config").json();
        assert_eq!(config["lan"], "192.168.77.2");
    }
    let _second = Address::new("192.168.78.2");
    let (code, said) = run_to_end(&["serve", "--dev", "--lan"]);
    assert_eq!(code, Some(2), "{said}");
    #[rustfmt::skip] // a list
    let cases = ["192.168.77.2 (lan0)", "192.168.78.2 (lan0)", "--lan=ADDRESS"];
    for part in cases {
        assert!(said.contains(part), "{said}");
    }
    let broker = start(&["--lan=192.168.78.2"]);
    assert!(broker.ready.contains(" https://192.168.78.2:"));
    let (code, said) = run_to_end(&["serve", "--dev", "--lan=192.168.77.2", "--admin", "off"]);
    assert!(code == Some(2) && said.contains("admin listener"), "{said}");
}

#[test]
#[ignore = "a test of the outside runs it, in a network of its own"]
fn nothing_is_open_without_a_session() {
    let broker = start(&["--lan"]);
    let lan = address(&broker);
    let origin = format!("Origin: https://{lan}\r\n");
    #[rustfmt::skip] // a list
    let cases = [
        "/try/settings", "/overview", "/events?topics=overview", "/channels", "/channels/a", "/refusals",
        "/sessions/0/1", "/dev/clock", "/dev/messages",
    ];
    for path in cases {
        let answer = ask(&broker, lan, &format!("GET {path}"), "", "");
        assert_eq!(answer.status, 401, "{path}: {answer:?}");
        assert!(answer.text().contains("not paired"), "{answer:?}");
    }
    for line in ["POST /try/pair", "POST /try/session", "POST /dev/reset"] {
        assert_eq!(ask(&broker, lan, line, &origin, "{}").status, 401, "{line}");
    }
    for path in ["/", "/try"] {
        let answer = ask(
            &broker,
            lan,
            &format!("GET {path}"),
            "Accept: text/html\r\n",
            "",
        );
        assert_eq!(answer.status, 401, "{path}");
        let page = answer.text();
        assert!(page.contains("data-state=\"needed\""), "{page}");
        assert!(answer.header("content-security-policy").is_some());
    }
    // Paths that are not for pages do not exist, and loopback has no pages over TLS.
    for path in ["/metrics", "/config", "/live", "/backup"] {
        let answer = ask(&broker, lan, &format!("GET {path}"), "", "");
        answer.refused(404, "UnknownOperationException");
    }
    let answer = ask(&broker, broker.tls, "GET /try", "", "");
    answer.refused(404, "UnknownOperationException");
    assert_eq!(get(broker.admin, "/try").status, 200);
    broker.assert_balanced();
}

#[test]
#[ignore = "a test of the outside runs it, in a network of its own"]
fn a_code_is_redeemed_once_for_a_session() {
    let broker = start(&["--lan"]);
    let lan = address(&broker);
    let origin = format!("Origin: https://{lan}\r\n");
    let path = code(&broker, lan);
    // A visit uses nothing up.
    for line in [format!("HEAD {path}"), format!("GET {path}")] {
        let answer = ask(&broker, lan, &line, "", "");
        assert_eq!(answer.status, 200, "{line}");
        assert_eq!(answer.header("referrer-policy"), Some("no-referrer"));
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        assert!(answer.header("set-cookie").is_none(), "{answer:?}");
    }
    let redeem = format!("POST {path}");
    assert_eq!(ask(&broker, lan, &redeem, "", "").status, 403);
    let foreign = "Origin: https://evil.example\r\n";
    assert_eq!(ask(&broker, lan, &redeem, foreign, "").status, 403);
    let paired = ask(&broker, lan, &redeem, &origin, "");
    assert_eq!(paired.status, 200, "{paired:?}");
    let cookie = paired.header("set-cookie").expect("a cookie").to_owned();
    for part in ["__Host-", "Path=/", "Secure", "HttpOnly", "SameSite=Strict"] {
        assert!(cookie.contains(part), "{cookie}");
    }
    for line in [&*redeem, "POST /pair/AAAAAAAAAAAAAAAAAAAAAAAAAA"] {
        let answer = ask(&broker, lan, line, &origin, "");
        assert_eq!(answer.status, 410, "{line}: {answer:?}");
        assert!(answer.header("set-cookie").is_none(), "{answer:?}");
    }
    let over = ask(&broker, lan, &format!("GET {path}"), "", "");
    assert_eq!(over.status, 410);
    assert!(over.text().contains("data-state=\"gone\""), "{over:?}");
    let session = cookie.split(';').next().expect("name and value");
    uses_the_pages(&broker, lan, session);
    // Neither the code nor the session is in the log.
    let log = broker.log();
    for secret in [&path["/pair/".len()..], session] {
        assert!(!log.contains(secret), "{log}");
    }
    broker.logged(&["a device was paired", "192.168.77.2"], 1);
    broker.assert_balanced();
}

/// The side thread refuses by the head alone, and closes: what a device sends then must not cost it the answer.
#[test]
#[ignore = "a test of the outside runs it, in a network of its own"]
fn a_refusal_reaches_a_device_that_still_sends() {
    let broker = start(&["--lan"]);
    let lan = address(&broker);
    let head = format!(
        "POST /dev/reset HTTP/1.1\r\nHost: {lan}\r\nOrigin: https://{lan}\r\nConnection: close\r\n\
         Content-Length: 60000\r\n\r\n"
    );
    let mut refused = 0;
    for _ in 0..200 {
        let mut stream = phone(&broker, lan);
        stream.write_all(head.as_bytes()).expect("sent");
        for _ in 0..60 {
            let sent = stream.write_all(&[b'x'; 1000]);
            if sent.and_then(|()| stream.flush()).is_err() {
                break;
            }
        }
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer); // a reset may come behind it
        let text = String::from_utf8_lossy(&answer);
        assert!(!text.starts_with("HTTP/1.1 503"), "{text}");
        refused += usize::from(text.starts_with("HTTP/1.1 401"));
    }
    assert!(refused > 0, "nobody got an answer");
}

/// The rights of a paired device.
fn uses_the_pages(broker: &Broker, lan: SocketAddr, session: &str) {
    let cookie = format!("Cookie: {session}\r\n");
    let origin = format!("{cookie}Origin: https://{lan}\r\n");
    let page = ask(broker, lan, "GET /try", &cookie, "");
    assert_eq!(page.status, 200, "{page:?}");
    let policy = page.header("content-security-policy").expect("a policy");
    assert!(policy.contains(&format!("wss://{lan}")), "{policy}");
    assert!(page.header("permissions-policy").is_some(), "{page:?}");
    // It offers no code, and asks what the device is to be.
    let page = page.text();
    assert!(page.contains("<html data-phone=\"paired\""), "{page}");
    assert!(!page.contains("\"offer\""), "{page}");
    let settings = ask(broker, lan, "GET /try/settings", &cookie, "").json();
    assert_eq!(settings["http"], format!("https://{lan}"));
    assert!(settings["computer"].is_string(), "{settings}");
    assert_eq!(settings["ws"], format!("wss://{lan}"));
    let html = format!("{cookie}Accept: text/html\r\n");
    assert_eq!(ask(broker, lan, "GET /", &html, "").status, 200);
    assert_eq!(ask(broker, lan, "GET /overview", &cookie, "").status, 200);
    let change = "POST /dev/clock";
    let body = "{\"advance\": \"1s\"}";
    assert_eq!(ask(broker, lan, change, &cookie, body).status, 403);
    assert_eq!(ask(broker, lan, change, &origin, body).status, 200);
    assert_eq!(ask(broker, lan, "POST /try/pair", &origin, "").status, 403);
}

/// Calls and pages on one connection: each head is looked at.
#[test]
#[ignore = "a test of the outside runs it, in a network of its own"]
fn the_client_api_is_where_it_was() {
    let broker = start(&["--lan"]);
    let lan = address(&broker);
    let call = ask(&broker, lan, "POST /listSignalingChannels", "", "{}");
    assert_eq!(call.ok()["ChannelInfoList"], Value::Array(Vec::new()));
    let query =
        "/?X-Amz-ChannelARN=arn:aws:kinesisvideo:us-west-2:123456789012:channel/a/1700000000123";
    let upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                   Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let (head, socket) = begin(&broker, lan, &format!("GET {query}"), upgrade, "", 12);
    assert_eq!(head, b"HTTP/1.1 101");
    drop(socket);
    let mut stream = phone(&broker, lan);
    let two = format!(
        "POST /listSignalingChannels HTTP/1.1\r\nHost: {lan}\r\nContent-Length: 2\r\n\r\n{{}}\
         GET /try HTTP/1.1\r\nHost: {lan}\r\n\r\n"
    );
    stream.write_all(two.as_bytes()).expect("sent");
    let mut both = String::new();
    let _ = stream.read_to_string(&mut both);
    testkit::assert_begins(&both, "HTTP/1.1 200");
    testkit::assert_has(&both, &["HTTP/1.1 401", "not paired"]);
    broker.assert_balanced();
}

#[test]
#[ignore = "a test of the outside runs it, in a network of its own"]
fn connections_for_pages_have_a_bound() {
    let broker = start(&["--lan"]);
    let lan = address(&broker);
    let path = code(&broker, lan);
    let origin = format!("Origin: https://{lan}\r\n");
    let paired = ask(&broker, lan, &format!("POST {path}"), &origin, "");
    let cookie = paired.header("set-cookie").expect("a cookie");
    let session = cookie.split(';').next().expect("name and value");
    // Each waits for a body that does not come; "100 Continue" says that it has its place.
    let waits = format!(
        "POST /try/session HTTP/1.1\r\nHost: {lan}\r\n{origin}Cookie: {session}\r\nContent-Length: 9\r\n\
         Expect: 100-continue\r\n\r\n"
    );
    let hold = || {
        until("a place", || {
            let mut stream = phone(&broker, lan);
            let mut answer = [0; 12];
            stream.write_all(waits.as_bytes()).expect("sent");
            stream.read_exact(&mut answer).expect("an answer");
            (answer == *b"HTTP/1.1 100").then_some(stream)
        })
    };
    let mut held: Vec<_> = (0..CONNECTIONS).map(|_| hold()).collect();
    let visit = || ask(&broker, lan, "GET /pair/CODE", "", "");
    visit().refused(503, "ServiceUnavailable");
    // Calls and the admin listener have room of their own.
    let call = ask(&broker, lan, "POST /listSignalingChannels", "", "{}");
    assert_eq!(call.status, 200);
    assert_eq!(get(broker.admin, "/live").status, 200);
    held.pop();
    until_true("room again", || visit().status == 410);
    held.push(hold());
    visit().refused(503, "ServiceUnavailable");
    // Another device is not kept out by the one that holds all places.
    let other = Address::new("192.168.78.2");
    let source = other.0.parse().expect("an address");
    let mut stream = phone_over(&broker, tcp_from(source, lan), lan);
    let asks = format!("GET /pair/CODE HTTP/1.1\r\nHost: {lan}\r\nConnection: close\r\n\r\n");
    stream.write_all(asks.as_bytes()).expect("sent");
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    let text = answer.escape_ascii();
    assert!(answer.starts_with(b"HTTP/1.1 410 "), "{text}");
    drop((held, other));
    broker.assert_balanced();
}

/// As many as `LAN_CONNECTIONS_MAX`.
const CONNECTIONS: usize = 64;

pub(crate) fn start(flags: &[&str]) -> Broker {
    Broker::start(&[&DEV[..], flags].concat(), 2)
}

/// The address at which devices of the local network find it.
fn address(broker: &Broker) -> SocketAddr {
    let words = broker.ready.split(' ');
    let mut lan = words.filter_map(|word| word.strip_prefix("https://192.168."));
    let rest = lan.next().expect("an address of the local network");
    format!("192.168.{rest}").parse().expect("an address")
}

/// The path of a new code, which the page on loopback shows.
fn code(broker: &Broker, lan: SocketAddr) -> String {
    let to = broker.admin;
    let request = format!("POST /try/pair HTTP/1.1\r\nHost: {to}\r\nOrigin: http://{to}\r\n\r\n");
    let answer = exchange(to, request.as_bytes());
    let made = answer.json();
    let url = made["url"].as_str().unwrap_or_else(|| panic!("{answer:?}"));
    let path = url.strip_prefix(&format!("https://{lan}"));
    assert!(
        made["path"]
            .as_str()
            .is_some_and(|path| path.starts_with("M4 4h7"))
    );
    path.expect("a URL of the local network").to_owned()
}

/// Another address of this machine, until it is dropped.
struct Address(&'static str);

impl Address {
    fn new(address: &'static str) -> Self {
        ip(&["addr", "add", &format!("{address}/24"), "dev", "lan0"]);
        Self(address)
    }
}

impl Drop for Address {
    fn drop(&mut self) {
        ip(&["addr", "del", &format!("{}/24", self.0), "dev", "lan0"]);
    }
}

fn ip(words: &[&str]) {
    let done = Command::new("ip").args(words).status();
    assert!(done.is_ok_and(|status| status.success()), "ip {words:?}");
}

/// A TLS connection of a client that trusts the development authority.
fn phone(broker: &Broker, to: SocketAddr) -> StreamOwned<ClientConnection, TcpStream> {
    phone_over(broker, tcp(to), to)
}

fn phone_over(
    broker: &Broker,
    stream: TcpStream,
    to: SocketAddr,
) -> StreamOwned<ClientConnection, TcpStream> {
    let name = ServerName::from(to.ip());
    let client = ClientConnection::new(client_config(broker), name).expect("a client");
    StreamOwned::new(client, stream)
}

fn begin(
    broker: &Broker,
    to: SocketAddr,
    line: &str,
    headers: &str,
    body: &str,
    bytes: usize,
) -> (Vec<u8>, StreamOwned<ClientConnection, TcpStream>) {
    let mut stream = phone(broker, to);
    let length = body.len();
    let request = format!(
        "{line} HTTP/1.1\r\nHost: {to}\r\n{headers}Content-Type: application/json\r\n\
         Content-Length: {length}\r\n\r\n{body}"
    );
    stream.write_all(request.as_bytes()).expect("sent");
    let mut answer = vec![0; bytes];
    stream.read_exact(&mut answer).expect("an answer");
    (answer, stream)
}

/// A request on a connection of its own.
pub(crate) fn ask(
    broker: &Broker,
    to: SocketAddr,
    line: &str,
    headers: &str,
    body: &str,
) -> Answer {
    let more = format!("Connection: close\r\n{headers}");
    let (mut whole, mut stream) = begin(broker, to, line, &more, body, 12);
    // A peer that closes without a closing alert has sent everything all the same.
    let _ = stream.read_to_end(&mut whole);
    let text = String::from_utf8_lossy(&whole);
    let (head, body) = text.split_once("\r\n\r\n").expect("a whole head");
    let header = |line: &str| {
        let (name, value) = line.split_once(':')?;
        Some((name.to_ascii_lowercase(), value.trim().to_owned()))
    };
    Answer {
        status: head[9..12].parse().expect("a status"),
        headers: head.lines().filter_map(header).collect(),
        body: body.as_bytes().to_vec(),
    }
}
