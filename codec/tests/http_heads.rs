//! Request heads: recorded ones, any cutting of them, and what must never be taken for a request.
#![expect(clippy::unwrap_used, reason = "a helper of tests fails as a test does")]

use codec::http::{Body, Head, HeadError, HeadLimits, HeadScanner, UpgradeError, upgrade};
use codec::ws::valid_key;
use serde_json::Value;

/// The bytes of a head.
fn bytes_of(method: &str, target: &str, headers: &[(&str, &str)]) -> Vec<u8> {
    let lines: String = headers
        .iter()
        .map(|(name, value)| format!("{name}: {value}\r\n"))
        .collect();
    format!("{method} {target} HTTP/1.1\r\n{lines}\r\n").into_bytes()
}

fn recorded(value: &Value) -> Vec<u8> {
    let pairs = value["headers"].as_array().unwrap();
    let headers: Vec<_> = pairs
        .iter()
        .map(|pair| (pair[0].as_str().unwrap(), pair[1].as_str().unwrap()))
        .collect();
    bytes_of(
        value["method"].as_str().unwrap_or("GET"),
        value["target"].as_str().unwrap(),
        &headers,
    )
}

#[test]
fn every_recorded_call_parses_with_the_length_of_its_body() {
    let heads: Vec<Value> = serde_json::from_str(include_str!("data/http_heads.json")).unwrap();
    assert_eq!(heads.len(), 39);
    for value in &heads {
        let bytes = recorded(value);
        let head = Head::parse(&bytes, &HeadLimits::default()).unwrap();
        let found = (head.method(), head.path(), head.query());
        assert_eq!(found, ("POST", value["target"].as_str().unwrap(), None));
        let body_bytes = value["body_bytes"].as_u64().unwrap();
        let expected = value["headers"].as_array().unwrap().iter().find(|pair| {
            pair[0]
                .as_str()
                .unwrap()
                .eq_ignore_ascii_case("content-length")
        });
        let expected: u64 = expected.unwrap()[1].as_str().unwrap().parse().unwrap();
        assert_eq!(head.body(), Ok(Body::Length(expected)));
        assert!(value["captured"] == false || expected == body_bytes);
        assert!(head.keep_alive() && !head.expects_continue() && head.host().is_some());
        assert_eq!(upgrade(&head, valid_key), Ok(None));
        let seen: Vec<_> = head.headers().collect();
        assert_eq!(seen.len(), value["headers"].as_array().unwrap().len());
        for pair in value["headers"].as_array().unwrap() {
            let found = head.header(&pair[0].as_str().unwrap().to_ascii_uppercase());
            assert_eq!(found, pair[1].as_str());
        }
    }
}

#[test]
fn recorded_upgrades_are_accepted() {
    let clients: Vec<Value> =
        serde_json::from_str(include_str!("data/websocket_clients.json")).unwrap();
    let mut upgrades = 0;
    for client in clients.iter().filter(|client| client["target"].is_string()) {
        let mut client = client.clone();
        for pair in client["headers"].as_array_mut().unwrap() {
            if pair[1] == "<16 random bytes, base64>" {
                pair[1] = "dGhlIHNhbXBsZSBub25jZQ==".into();
            }
        }
        let bytes = recorded(&client);
        let head = Head::parse(&bytes, &HeadLimits::default()).unwrap();
        let asked = upgrade(&head, valid_key).unwrap().unwrap();
        assert_eq!(Some(asked.key), head.header("sec-websocket-key"));
        assert_eq!(
            asked.offers_wss,
            client["client"].as_str().unwrap().starts_with("C SDK")
        );
        assert!(head.query().unwrap().starts_with("X-Amz-Algorithm="));
        upgrades += 1;
    }
    assert_eq!(upgrades, 3);
}

const LIMITS: HeadLimits = HeadLimits {
    head_bytes: 16_384,
    header_lines: 64,
};

#[test]
fn heads_in_one_read_are_found_one_after_the_other_however_cut() {
    let one = bytes_of(
        "GET",
        "/?a=b",
        &[("Host", "a"), ("Connection", "keep-alive")],
    );
    let two = bytes_of("POST", "/x", &[("host", "b"), ("Content-Length", "0")]);
    let three = bytes_of("OPTIONS", "*", &[("HOST", "c")]);
    let stream = [&one[..], &two, &three].concat();
    for step in 1..=stream.len() {
        let (mut start, mut upto, mut found, mut scanner) = (0, 0, Vec::new(), HeadScanner::new());
        while upto < stream.len() || start < upto {
            match scanner.end(&stream[start..upto], &LIMITS).unwrap() {
                Some(end) => {
                    let head = Head::parse(&stream[start..start + end], &LIMITS).unwrap();
                    found.push((head.method().to_owned(), head.host().unwrap().to_owned()));
                    (start, scanner) = (start + end, HeadScanner::new());
                }
                None => {
                    assert!(upto < stream.len(), "a head was not found");
                    upto = (upto + step).min(stream.len());
                }
            }
        }
        let found: Vec<_> = found
            .iter()
            .map(|(method, host)| (&**method, &**host))
            .collect();
        let wanted = [("GET", "a"), ("POST", "b"), ("OPTIONS", "c")];
        assert_eq!(found, wanted, "step {step}");
    }
}

#[test]
fn what_follows_a_request_on_its_connection() {
    for (version, connection, keep_alive) in [
        ("1.1", None, true),
        ("1.1", Some("keep-alive"), true),
        ("1.1", Some("close"), false),
        ("1.1", Some("Close"), false),
        ("1.1", Some("Upgrade, CLOSE ,x"), false),
        ("1.1", Some("closed"), true),
        ("1.1", Some("keep-alive, close"), false),
        ("1.0", None, false),
        ("1.0", Some("Keep-Alive"), true),
        ("1.0", Some("keep-alive, close"), false),
    ] {
        let line = connection.map_or(String::new(), |value| format!("Connection: {value}\r\n"));
        let text = format!("GET / HTTP/{version}\r\nHost: a\r\n{line}\r\n");
        let head = Head::parse(text.as_bytes(), &LIMITS).unwrap();
        assert_eq!(head.keep_alive(), keep_alive, "{version} {connection:?}");
    }
    let two_lines = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: x\r\nConnection: close\r\n\r\n";
    assert!(!Head::parse(two_lines, &LIMITS).unwrap().keep_alive());
    let waits = bytes_of(
        "POST",
        "/",
        &[
            ("Host", "a"),
            ("Expect", "100-Continue"),
            ("Content-Length", "5"),
        ],
    );
    assert!(Head::parse(&waits, &LIMITS).unwrap().expects_continue());
}

#[test]
fn a_target_is_taken_apart() {
    for (method, target, path, query) in [
        ("GET", "/", "/", None),
        ("GET", "/?", "/", Some("")),
        ("GET", "/a/b?x=1?y=/2", "/a/b", Some("x=1?y=/2")),
        ("GET", "//x", "//x", None),
        ("OPTIONS", "*", "*", None),
        ("GET", "http://a/p?q", "/p", Some("q")),
        ("GET", "WSS://A?q", "/", Some("q")),
        ("GET", "https://a", "/", None),
    ] {
        let bytes = bytes_of(method, target, &[("Host", "a")]);
        let head = Head::parse(&bytes, &LIMITS).unwrap();
        let found = (head.target(), head.path(), head.query());
        assert_eq!(found, (target, path, query));
    }
}

/// Asks for an upgrade by a GET with the given change to the header lines of a good one: `-Name` leaves the line out,
/// `Name: value` replaces it, `+Name: value` adds one.
fn ask(change: &str) -> Result<Option<bool>, UpgradeError> {
    let name = |line: &str| line.split(':').next().unwrap().to_owned();
    let mut lines = GOOD.map(str::to_owned).to_vec();
    for change in change.split('|').filter(|change| !change.is_empty()) {
        match change.split_at(1) {
            ("+", line) => lines.push(line.to_owned()),
            ("-", gone) => lines.retain(|line| name(line) != gone),
            _ => {
                let old = lines.iter_mut().find(|line| name(line) == name(change));
                *old.unwrap() = change.to_owned();
            }
        }
    }
    let text = format!("GET / HTTP/1.1\r\n{}\r\n\r\n", lines.join("\r\n"));
    let head = Head::parse(text.as_bytes(), &LIMITS).unwrap();
    upgrade(&head, valid_key).map(|upgrade| upgrade.map(|upgrade| upgrade.offers_wss))
}

#[rustfmt::skip] // a list
const GOOD: [&str; 5] = [
    "Host: a", "Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
];

#[test]
fn upgrades_calls_and_faults_are_distinguished() {
    #[rustfmt::skip] // a table, a case per row
    let rows = [
        ("", Ok(Some(false))),
        ("Upgrade: h2c, WebSocket|Connection: keep-alive, upgrade", Ok(Some(false))),
        ("+Sec-WebSocket-Protocol: wss", Ok(Some(true))),
        ("+Sec-WebSocket-Protocol: a, wss", Ok(Some(true))),
        ("+Sec-WebSocket-Protocol: a|+Sec-WebSocket-Protocol: wss", Ok(Some(true))),
        ("+Sec-WebSocket-Protocol: WSS", Ok(Some(false))),
        ("+Sec-WebSocket-Protocol: wss2", Ok(Some(false))),
        ("+Content-Length: 0", Ok(Some(false))),
        ("-Upgrade", Ok(None)),
        ("Upgrade: h2c", Ok(None)),
        ("Upgrade: websockets", Ok(None)),
        ("-Connection", Err(UpgradeError::NotConnection)),
        ("Connection: keep-alive", Err(UpgradeError::NotConnection)),
        ("-Sec-WebSocket-Version", Err(UpgradeError::BadVersion)),
        ("Sec-WebSocket-Version: 8", Err(UpgradeError::BadVersion)),
        ("Sec-WebSocket-Version: 13, 8", Err(UpgradeError::BadVersion)),
        ("Sec-WebSocket-Version: 013", Err(UpgradeError::BadVersion)),
        ("+Sec-WebSocket-Version: 8", Err(UpgradeError::BadVersion)),
        ("-Sec-WebSocket-Key", Err(UpgradeError::MissingKey)),
        ("Sec-WebSocket-Key: ", Err(UpgradeError::BadKey)),
        ("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ", Err(UpgradeError::BadKey)),
        ("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=!", Err(UpgradeError::BadKey)),
        ("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZTE=", Err(UpgradeError::BadKey)),
        ("+Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", Err(UpgradeError::BadKey)),
        ("+Content-Length: 5", Err(UpgradeError::Body)),
        ("+Transfer-Encoding: chunked", Err(UpgradeError::Body)),
    ];
    for (change, expected) in rows {
        assert_eq!(ask(change), expected, "{change}");
    }
    let lines = GOOD.join("\r\n");
    for start in ["GET / HTTP/1.0", "POST / HTTP/1.1"] {
        let text = format!("{start}\r\n{lines}\r\n\r\n");
        let head = Head::parse(text.as_bytes(), &LIMITS).unwrap();
        assert_eq!(
            upgrade(&head, valid_key),
            Err(UpgradeError::NotGet),
            "{start}"
        );
    }
    let found = (
        UpgradeError::BadVersion.status(),
        UpgradeError::BadKey.status(),
    );
    assert_eq!(found, (426, 400));
}

/// The verdict of a server on a connection's first bytes: the status of a refusal, 200 with the body's length for a
/// request, or 0 while it waits for more.
fn verdict(bytes: &[u8]) -> (u16, u64) {
    let end = match HeadScanner::new().end(bytes, &LIMITS) {
        Ok(Some(end)) => end,
        Ok(None) => return (0, 0),
        Err(error) => return (error.status(), 0),
    };
    match Head::parse(&bytes[..end], &LIMITS).and_then(|head| head.body()) {
        Ok(Body::None) => (200, 0),
        Ok(Body::Length(bytes)) => (200, bytes),
        Err(error) => (error.status(), 0),
    }
}

#[test]
fn no_request_can_be_read_in_two_ways() {
    let corpus = include_str!("data/smuggling.txt");
    let (mut cases, mut wrong) = (0, Vec::new());
    for line in corpus
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
    {
        let (expected, text) = line.split_once(' ').unwrap();
        let (status, body) = expected.split_once('/').unwrap_or((expected, "0"));
        let found = verdict(&unescape(text));
        if found != (status.parse().unwrap(), body.parse().unwrap()) {
            wrong.push(format!("{line}\n    found {found:?}"));
        }
        cases += 1;
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(cases >= 60, "{cases}");
}

/// Undoes `\r`, `\n`, `\t`, `\\` and `\xHH`.
fn unescape(text: &str) -> Vec<u8> {
    let (mut out, mut bytes) = (Vec::new(), text.bytes());
    while let Some(byte) = bytes.next() {
        if byte != b'\\' {
            out.push(byte);
            continue;
        }
        out.push(match bytes.next().unwrap() {
            b'r' => b'\r',
            b'n' => b'\n',
            b't' => b'\t',
            b'x' => {
                let digits = [bytes.next().unwrap(), bytes.next().unwrap()];
                u8::from_str_radix(std::str::from_utf8(&digits).unwrap(), 16).unwrap()
            }
            other => other,
        });
    }
    out
}

#[test]
fn bounds_and_errors_have_their_statuses() {
    let lines = |count: usize| {
        let headers: Vec<_> = std::iter::once(("Host", "a"))
            .chain((1..count).map(|_| ("X", "y")))
            .collect();
        bytes_of("GET", "/", &headers)
    };
    assert_eq!(verdict(&lines(64)), (200, 0));
    assert_eq!(verdict(&lines(65)), (431, 0));
    let long = |bytes: usize| bytes_of("GET", &format!("/{}", "x".repeat(bytes)), &[("Host", "a")]);
    let fixed = long(0).len();
    assert_eq!(verdict(&long(16_384 - fixed)), (200, 0));
    assert_eq!(verdict(&long(16_385 - fixed)), (431, 0));
    let found = Head::parse(b"GET / HTTP/1.1\r\nHost: a\r\n", &LIMITS)
        .unwrap_err()
        .status();
    assert_eq!(found, 400);
    let two = [lines(1), lines(1)].concat();
    let found = Head::parse(&two, &LIMITS).unwrap_err().status();
    assert_eq!(found, 400, "a head is one head");
    for error in [
        HeadError::TooLarge,
        HeadError::TooManyHeaders,
        HeadError::UnsupportedVersion,
        HeadError::LengthRequired,
    ] {
        assert!(error.status() >= 411 && !error.message().contains(['"', '\\']));
    }
}
