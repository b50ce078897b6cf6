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
    for (case, expected) in cases(HEADS).iter().chain(&lengths()).chain(&upgrades()) {
        let found = try_case(&broker, case, *expected == Frames);
        if found.as_ref() != Ok(expected) {
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

fn cases(list: &[(&str, Then)]) -> Vec<(String, Then)> {
    list.iter()
        .map(|(case, then)| ((*case).to_owned(), *then))
        .collect()
}

/// Request lines, header lines, hosts.
const HEADS: &[(&str, Then)] = &[
    ("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", Kept(404)),
    ("HEAD / HTTP/1.1\r\nHost: localhost\r\n\r\n", Kept(404)),
    (
        "HEAD /describeSignalingChannel HTTP/1.1\r\nHost: localhost\r\n\r\n",
        Kept(404),
    ),
    (
        "HEAD / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n",
        Kept(404),
    ),
    (
        "HEAD / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nhello",
        Closed(404),
    ),
    ("HEAD / HTTP/1.0\r\nHost: localhost\r\n\r\n", Closed(404)),
    (
        "HEAD / HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n",
        Closed(400),
    ),
    ("HEAD / HTTP/1.1\nHost: localhost\r\n\r\n", Closed(400)),
    ("OPTIONS / HTTP/1.1\r\nHost: localhost\r\n\r\n", Kept(200)),
    ("OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n", Kept(200)),
    (
        "OPTIONS / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nhello",
        Closed(200),
    ),
    (
        "OPTIONS / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        Closed(200),
    ),
    ("TRACE / HTTP/1.1\r\nHost: localhost\r\n\r\n", Kept(404)),
    (
        "CONNECT a:443 HTTP/1.1\r\nHost: localhost\r\n\r\n",
        Closed(400),
    ),
    ("get / HTTP/1.1\r\nHost: localhost\r\n\r\n", Kept(404)),
    ("GET  / HTTP/1.1\r\nHost: localhost\r\n\r\n", Closed(400)),
    ("GET / HTTP/1.1 \r\nHost: localhost\r\n\r\n", Closed(400)),
    ("GET /\tHTTP/1.1\r\nHost: localhost\r\n\r\n", Closed(400)),
    ("GET / HTTP/2.0\r\nHost: localhost\r\n\r\n", Closed(505)),
    ("GET / HTTP/1.2\r\nHost: localhost\r\n\r\n", Closed(505)),
    ("GET / http/1.1\r\nHost: localhost\r\n\r\n", Closed(400)),
    ("GET /\r\nHost: localhost\r\n\r\n", Closed(400)),
    ("\r\nGET / HTTP/1.1\r\nHost: localhost\r\n\r\n", Kept(404)),
    (
        "\r\n\r\nGET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        Closed(400),
    ),
    (" GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", Closed(400)),
    ("GET / HTTP/1.1\nHost: localhost\r\n\r\n", Closed(400)),
    ("GET / HTTP/1.1\nHost: a\n\n", Closed(400)),
    ("GET / HTTP/1.1\rHost: localhost\r\n\r\n", Closed(400)),
    (
        "GET / HTTP/1.1\r\nHost: localhost\r\nX: 1\rY: 2\r\n\r\n",
        Closed(400),
    ),
    (
        "GET / HTTP/1.1\r\nHost: localhost\r\nX: a\0b\r\n\r\n",
        Closed(400),
    ),
    (
        "GET / HTTP/1.1\r\nHost: localhost\r\nX: a\r\n b\r\n\r\n",
        Closed(400),
    ),
    (
        "GET / HTTP/1.1\r\nHost: localhost\r\nX: a\r\n\tb\r\n\r\n",
        Closed(400),
    ),
    ("GET / HTTP/1.1\r\nHost : localhost\r\n\r\n", Closed(400)),
    ("GET / HTTP/1.1\r\n Host: localhost\r\n\r\n", Closed(400)),
    (
        "GET / HTTP/1.1\r\nHost: localhost\r\nX Y: 1\r\n\r\n",
        Closed(400),
    ),
    (
        "GET / HTTP/1.1\r\nHost: localhost\r\n: 1\r\n\r\n",
        Closed(400),
    ),
    (
        "GET / HTTP/1.1\r\nHost: localhost\r\nX\r\n\r\n",
        Closed(400),
    ),
    (
        "GET / HTTP/1.1\r\nHost: localhost\r\nX(): 1\r\n\r\n",
        Closed(400),
    ),
    ("GET / HTTP/1.1\r\n\r\n", Closed(400)),
    (
        "GET / HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n",
        Closed(400),
    ),
    (
        "GET / HTTP/1.1\r\nHost: localhost\r\nhost: b\r\n\r\n",
        Closed(400),
    ),
    ("GET / HTTP/1.1\r\nHost:\r\n\r\n", Closed(400)),
    ("GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", Closed(400)),
    ("GET / HTTP/1.1\r\nHost: a@b\r\n\r\n", Closed(400)),
    ("GET / HTTP/1.0\r\n\r\n", Closed(404)),
    (
        "GET http://localhost/ HTTP/1.1\r\nHost: localhost\r\n\r\n",
        Kept(404),
    ),
    (
        "GET http://localhost HTTP/1.1\r\nHost: localhost\r\n\r\n",
        Kept(404),
    ),
    (
        "GET http://b/ HTTP/1.1\r\nHost: localhost\r\n\r\n",
        Closed(400),
    ),
    (
        "GET ftp://a/ HTTP/1.1\r\nHost: localhost\r\n\r\n",
        Closed(400),
    ),
    ("GET /#x HTTP/1.1\r\nHost: localhost\r\n\r\n", Closed(400)),
    ("GET x HTTP/1.1\r\nHost: localhost\r\n\r\n", Closed(400)),
];

/// Bodies: how long they are, and who says so.
fn lengths() -> Vec<(String, Then)> {
    let post = |fields: &str| {
        format!(
            "POST /describeSignalingChannel HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n\r\n{{\"ChannelName\":\"x\"}}"
        )
    };
    let mut all: Vec<_> = LENGTHS
        .iter()
        .map(|(fields, then)| (post(fields), *then))
        .collect();
    all.extend(cases(NO_POST));
    all
}

/// Requests for a WebSocket, and names of parameters in other words.
fn upgrades() -> Vec<(String, Then)> {
    let arn =
        "arn%3Aaws%3Akinesisvideo%3Aus-west-2%3A123456789012%3Achannel%2Fdesync%2F1700000000123";
    let get = |query: &str, more: &str| {
        format!(
            "GET /?{query} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: \
             websocket\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{more}\r\n"
        )
    };
    let mut all: Vec<_> = UPGRADES
        .iter()
        .map(|(query, more, then)| {
            (
                get(&query.replace("ARN=ARN", &format!("ARN={arn}")), more),
                *then,
            )
        })
        .collect();
    let whole = get(&format!("X-Amz-ChannelARN={arn}"), "");
    for method in ["HEAD", "POST", "get"] {
        let case = whole.replacen("GET", method, 1);
        all.push((case, Closed(400)));
    }
    all.push((whole.replace("Connection: Upgrade\r\n", ""), Closed(400)));
    all
}

/// Fields of a POST of 19 bytes.
const LENGTHS: &[(&str, Then)] = &[
    ("Content-Length: 19", Kept(404)),
    ("Content-Length: 019", Kept(404)),
    ("Content-Length: 19\r\nExpect: 100-continue", Kept(404)),
    ("Content-Length: 19\r\nContent-Length: 19", Closed(400)),
    ("Content-Length: 19\r\ncontent-length: 0", Closed(400)),
    ("Content-Length: 19, 19", Closed(400)),
    ("Content-Length: +19", Closed(400)),
    ("Content-Length: -19", Closed(400)),
    ("Content-Length: 0x13", Closed(400)),
    ("Content-Length: 1 9", Closed(400)),
    ("Content-Length: 19.0", Closed(400)),
    ("Content-Length:", Closed(400)),
    ("Content-Length : 19", Closed(400)),
    ("Content-Length: 18446744073709551635", Closed(413)),
    (
        "Content-Length: 19\r\nTransfer-Encoding: chunked",
        Closed(400),
    ),
    (
        "Transfer-Encoding: chunked\r\nContent-Length: 19",
        Closed(400),
    ),
    (
        "Content-Length: 19\r\nTransfer-Encoding: identity",
        Closed(400),
    ),
    ("Content-Length: 19\r\nTransfer-Encoding:", Closed(400)),
    (
        "Content-Length: 19\r\nTransfer-Encoding : chunked",
        Closed(400),
    ),
    (
        "Content-Length: 19\r\nTransfer-Encoding\t: chunked",
        Closed(400),
    ),
    (
        "Content-Length: 19\r\nX: 1\r\n Transfer-Encoding: chunked",
        Closed(400),
    ),
    (
        "Content-Length: 19\r\nTransfer_Encoding: chunked",
        Kept(404),
    ),
    ("Transfer-Encoding: chunked", Closed(411)),
    ("Transfer-Encoding: identity", Closed(411)),
    ("Transfer-Encoding: chunked, identity", Closed(411)),
    ("Transfer-Encoding: xchunked", Closed(411)),
    ("Transfer-Encoding:\tchunked", Closed(411)),
    ("tRANSFER-eNCODING: CHUNKED", Closed(411)),
    (
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: x",
        Closed(411),
    ),
    ("X: 1", Closed(411)),
];

/// Bodies of what has none.
const NO_POST: &[(&str, Then)] = &[
    (
        "GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nhello",
        Closed(404),
    ),
    (
        "GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n",
        Kept(404),
    ),
    (
        "GET / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        Closed(404),
    ),
    (
        "PUT / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nhello",
        Closed(404),
    ),
];

/// Queries of requests for a WebSocket, with further fields; `ARN` stands for a channel's.
const UPGRADES: &[(&str, &str, Then)] = &[
    ("X-Amz-ChannelARN=ARN&X-Amz-ClientId=v", "", Frames),
    ("X%2DAmz%2DChannelARN=ARN&X-Amz-ClientId=v", "", Frames),
    (
        "X-Amz-ChannelARN=ARN&X-Amz-ClientId=v&X-Amz%2DClientId=w",
        "",
        Closed(400),
    ),
    (
        "X-Amz-ChannelARN=ARN&X-Amz-ClientI%64=v&X-Amz-ClientId=v",
        "",
        Closed(400),
    ),
    (
        "X-Amz-ChannelARN=ARN&X%2dAmz%2dChannelARN=ARN",
        "",
        Closed(400),
    ),
    (
        "X-Amz-ChannelARN=ARN&X-Amz-Signature=a&X-Amz-Signatur%65=a",
        "",
        Closed(400),
    ),
    (
        "X-Amz-ChannelARN=ARN&X-Amz-Expires=9&%58-Amz-Expires=9",
        "",
        Closed(400),
    ),
    ("X-Amz-ChannelARN=ARN&X-Amz-%2", "", Closed(400)),
    ("X-Amz-ChannelARN=ARN&%ff=1", "", Closed(400)),
    // A plus is no blank in a signed query: these are other names.
    (
        "X-Amz-ChannelARN=ARN&X-Amz-ClientId=v&X-Amz-ClientId+=w",
        "",
        Frames,
    ),
    ("X+Amz-ChannelARN=ARN", "", Closed(400)),
    // Decoded once.
    (
        "X-Amz-ChannelARN=ARN&X-Amz-ClientId=v&X-Amz%252DClientId=w",
        "",
        Frames,
    ),
    (
        "X-Amz-ChannelARN=ARN&X-Amz-ClientId=v",
        "Content-Length: 5\r\n",
        Closed(400),
    ),
    (
        "X-Amz-ChannelARN=ARN&X-Amz-ClientId=v",
        "Transfer-Encoding: chunked\r\n",
        Closed(400),
    ),
];
