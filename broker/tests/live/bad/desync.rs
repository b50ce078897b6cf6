//! Requests that two parties could read differently, each followed at once by a request that nobody could: either both
//! are answered, or the first is refused and the connection ends. What is in between is request smuggling.

use crate::http::{Connection, request};
use crate::process::Broker;
use std::io::Read;
use std::net::Shutdown;

/// The consequence of a case, the status of its answer first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    /// The request behind it is answered.
    Kept(u16),
    /// The connection ends without another byte.
    Closed(u16),
    /// Frames follow.
    Frames,
}

use Then::{Closed, Frames, Kept};

#[test]
fn no_request_is_read_in_two_ways() {
    let broker = Broker::dev(2);
    let mut wrong = Vec::new();
    for (case, expected) in cases() {
        let found = try_case(&broker, &case, expected == Frames);
        if found.as_ref() != Ok(&expected) {
            wrong.push(format!("{case:?}: {found:?}, expected {expected:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    broker.assert_balanced();
}

/// Sends a case and the request behind it, then the end; reads all that comes back. Who `awaits` a WebSocket ends when
/// its answer has come: no WebSocket begins for one that has left.
fn try_case(broker: &Broker, case: &str, awaits: bool) -> Result<Then, String> {
    let mut connection = Connection::open(broker.plain);
    let mut bytes = case.as_bytes().to_vec();
    bytes.extend(request(
        "/describeSignalingChannel",
        r#"{"ChannelName":"behind"}"#,
    ));
    connection.send(&bytes);
    let (mut stream, mut answers) = connection.into_parts();
    if awaits {
        let _ = stream.peek(&mut [0]);
    }
    let _ = stream.shutdown(Shutdown::Write);
    if let Err(error) = stream.read_to_end(&mut answers)
        && error.kind() != std::io::ErrorKind::ConnectionReset
    {
        return Err(format!(
            "{error} after {}",
            String::from_utf8_lossy(&answers)
        ));
    }
    let text = String::from_utf8_lossy(&answers).into_owned();
    let bodiless = case.trim_start().starts_with("HEAD ");
    let (status, rest) = take(&text, bodiless)?;
    if status == 101 {
        return Ok(Frames);
    }
    if rest.is_empty() {
        return Ok(Closed(status));
    }
    match take(rest, false)? {
        (404, "") if rest.contains("ResourceNotFoundException") => Ok(Kept(status)),
        other => Err(format!("{status}, then {other:?}")),
    }
}

/// The status of the first answer, and what follows it.
fn take(text: &str, bodiless: bool) -> Result<(u16, &str), String> {
    let (head, rest) = text
        .split_once("\r\n\r\n")
        .ok_or_else(|| format!("no answer in {text:?}"))?;
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok());
    let status = status.ok_or_else(|| format!("no status in {head:?}"))?;
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("Content-Length: ")?.parse().ok())
        .unwrap_or(0);
    let length = if bodiless { 0 } else { length };
    let rest = rest
        .get(length..)
        .ok_or_else(|| format!("a body too short: {text:?}"))?;
    Ok((status, rest))
}

/// The cases of the corpus, and requests for a WebSocket by other methods or without a field.
fn cases() -> Vec<(String, Then)> {
    let arn =
        "arn%3Aaws%3Akinesisvideo%3Aus-west-2%3A123456789012%3Achannel%2Fdesync%2F1700000000123";
    let get = |query: &str, more: &str| {
        format!(
            "GET /?{query} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: \
             websocket\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{more}\r\n"
        )
    };
    let case = |line: &str| {
        let [kind, then, text] = *line.splitn(3, ' ').collect::<Vec<_>>() else {
            panic!("three parts: {line}");
        };
        let text = [("\\r", "\r"), ("\\n", "\n"), ("\\t", "\t"), ("\\0", "\0")]
            .iter()
            .fold(text.to_owned(), |text, (from, to)| text.replace(from, to));
        let bytes = match kind {
            "whole" => text,
            "post" => format!(
                "POST /describeSignalingChannel HTTP/1.1\r\nHost: localhost\r\n{text}\r\n\r\n{{\"ChannelName\":\"x\"}}"
            ),
            _ => {
                let (query, more) = text.split_once(' ').unwrap_or((&text, ""));
                get(&query.replace("ARN=ARN", &format!("ARN={arn}")), more)
            }
        };
        let (status, follows) = then.split_at(3);
        let status = status.parse().expect("a status");
        let then = match follows {
            "+" if status == 101 => Frames,
            "+" => Kept(status),
            _ => Closed(status),
        };
        (bytes, then)
    };
    let lines = include_str!("../../data/desync.txt").lines();
    let mut all: Vec<_> = lines
        .filter(|line| !line.starts_with('#'))
        .map(case)
        .collect();
    let whole = get(&format!("X-Amz-ChannelARN={arn}"), "");
    for method in ["HEAD", "POST", "get"] {
        let case = whole.replacen("GET", method, 1);
        all.push((case, Closed(400)));
    }
    all.push((whole.replace("Connection: Upgrade\r\n", ""), Closed(400)));
    assert!(all.len() > 100, "{} cases", all.len());
    all
}
