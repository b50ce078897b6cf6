//! httparse on its own as the judge of request heads: what it refuses we refuse, and of what both take we report the
//! same.

use crate::fuzz::seeded::Seeded;
use codec::http::{Head, HeadLimits, HeadScanner};

const HEADS: u32 = 200_000;

/// The parts of a head that are compared: its length, method, target and lines.
#[derive(Debug, PartialEq)]
struct Seen {
    bytes: usize,
    method: String,
    target: String,
    lines: Vec<(String, Vec<u8>)>,
}

#[test]
fn what_httparse_refuses_we_refuse_and_else_we_see_the_same() {
    let (mut both, mut neither, mut stricter) = (0, 0, 0);
    for seed in 0..HEADS {
        let bytes = head(&mut Seeded(u64::from(seed)));
        let shown = || String::from_utf8_lossy(&bytes).into_owned();
        match (ours(&bytes), theirs(&bytes)) {
            (Some(ours), Some(theirs)) => {
                assert_eq!(ours, theirs, "seed {seed}: {:?}", shown());
                both += 1;
            }
            (Some(ours), None) => panic!("seed {seed}: taken as {ours:?}: {:?}", shown()),
            (None, Some(_)) => stricter += 1,
            (None, None) => neither += 1,
        }
    }
    // All three happen, or the heads would show nothing.
    let least = HEADS / 20;
    assert!(
        both > least && neither > least && stricter > least,
        "{both} taken by both, {neither} by neither, {stricter} by httparse alone"
    );
}

fn ours(bytes: &[u8]) -> Option<Seen> {
    let limits = HeadLimits::default();
    let end = HeadScanner::new().end(bytes, &limits).ok()??;
    let head = Head::parse(&bytes[..end], &limits).ok()?;
    let line = |(name, value): (&str, &str)| (name.to_owned(), value.as_bytes().to_vec());
    Some(Seen {
        bytes: end,
        method: head.method().to_owned(),
        target: head.target().to_owned(),
        lines: head.headers().map(line).collect(),
    })
}

fn theirs(bytes: &[u8]) -> Option<Seen> {
    let mut slots = [httparse::EMPTY_HEADER; 64];
    let mut request = httparse::Request::new(&mut slots);
    let Ok(httparse::Status::Complete(end)) = request.parse(bytes) else {
        return None;
    };
    let line = |header: &httparse::Header<'_>| (header.name.to_owned(), header.value.to_vec());
    Some(Seen {
        bytes: end,
        method: request.method?.to_owned(),
        target: request.path?.to_owned(),
        lines: request.headers.iter().map(line).collect(),
    })
}

/// A head that is nearly right: each of its parts is usual more often than not, and some bytes are changed in the end.
fn head(random: &mut Seeded) -> Vec<u8> {
    let [methods, targets, versions, names, values] = WORDS;
    let mut bytes = Vec::new();
    if random.below(20) == 0 {
        bytes.extend_from_slice(b"\r\n");
    }
    let method = pick(random, methods);
    let target = pick(random, targets);
    let version = pick(random, versions);
    for part in [method, " ", target, " ", version] {
        bytes.extend_from_slice(part.as_bytes());
    }
    line_end(random, &mut bytes);
    let host = pick(random, &["Host: a\r\n", "host:a\r\n", "HOST:\ta \r\n", ""]);
    bytes.extend_from_slice(host.as_bytes());
    for _ in 0..random.below(6) {
        let name = pick(random, names);
        let colon = pick(random, &[": ", ":", ":\t ", " :", " ", ":: "]);
        let value = pick(random, values);
        for part in [name, colon, value] {
            bytes.extend_from_slice(part.as_bytes());
        }
        line_end(random, &mut bytes);
        if random.below(30) == 0 {
            bytes.extend_from_slice(b" folded\r\n");
        }
    }
    line_end(random, &mut bytes);
    if random.below(4) == 0 {
        bytes.extend_from_slice(b"GET /behind HTTP/1.1\r\n");
    }
    if random.below(4) == 0 {
        let at = random.below(bytes.len());
        bytes[at] = random.byte();
    }
    bytes
}

/// Methods, targets, versions, names and values of headers: the first two of each are usual.
#[rustfmt::skip] // a table, a part of a head per row
const WORDS: [&[&str]; 5] = [
    &["GET", "POST", "OPTIONS", "get", "M-SEARCH", "", "G T", "G\u{e9}T"],
    &["/", "/a?b=c&d", "*", "http://a/x", "/\u{e9}", "a", "", "/a b", "/#x"],
    &["HTTP/1.1", "HTTP/1.0", "HTTP/1.2", "HTTP/2.0", "http/1.1", ""],
    &["X", "Accept", "x_y.z~1", "X Y", "", "X\u{e9}", "Content-Length", "Connection"],
    &["1", "a, b", "", "\u{e9}", "tab\tin", "\"q\"", "a\u{0}b", "a\u{7f}b", " b "],
];

/// One of the first two in nine of ten cases.
fn pick<'a>(random: &mut Seeded, words: &[&'a str]) -> &'a str {
    let all = if random.below(10) == 0 {
        words.len()
    } else {
        2
    };
    words[random.below(all.min(words.len()))]
}

fn line_end(random: &mut Seeded, bytes: &mut Vec<u8>) {
    let all: &[&str] = match random.below(20) {
        0 => &["\n", "\r", "", "\n\r", "\r\r\n"],
        _ => &["\r\n"],
    };
    bytes.extend_from_slice(all[random.below(all.len())].as_bytes());
}
