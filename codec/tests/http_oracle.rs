//! httparse on its own as the judge of request heads: what it refuses we refuse, and of what both take we report the
//! same.

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
        let bytes = head(&mut Random(u64::from(seed)));
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
fn head(random: &mut Random) -> Vec<u8> {
    let mut bytes = Vec::new();
    if random.one_in(20) {
        bytes.extend_from_slice(b"\r\n");
    }
    let method = random.pick(&[
        "GET", "POST", "OPTIONS", "get", "M-SEARCH", "", "G T", "G\u{e9}T",
    ]);
    let target = random.pick(&[
        "/",
        "/a?b=c&d",
        "*",
        "http://a/x",
        "/\u{e9}",
        "a",
        "",
        "/a b",
        "/#x",
    ]);
    let version = random.pick(&[
        "HTTP/1.1", "HTTP/1.0", "HTTP/1.2", "HTTP/2.0", "http/1.1", "",
    ]);
    for part in [method, " ", target, " ", version] {
        bytes.extend_from_slice(part.as_bytes());
    }
    random.line_end(&mut bytes);
    let host = random.pick(&["Host: a\r\n", "host:a\r\n", "HOST:\ta \r\n", ""]);
    bytes.extend_from_slice(host.as_bytes());
    for _ in 0..random.below(6) {
        let name = random.pick(&[
            "X",
            "Accept",
            "x_y.z~1",
            "X Y",
            "",
            "X\u{e9}",
            "Content-Length",
            "Connection",
        ]);
        let colon = random.pick(&[": ", ":", ":\t ", " :", " ", ":: "]);
        let value = random.pick(&[
            "1", "a, b", "", "\u{e9}", "tab\tin", "\"q\"", "a\u{0}b", "a\u{7f}b", " b ",
        ]);
        for part in [name, colon, value] {
            bytes.extend_from_slice(part.as_bytes());
        }
        random.line_end(&mut bytes);
        if random.one_in(30) {
            bytes.extend_from_slice(b" folded\r\n");
        }
    }
    random.line_end(&mut bytes);
    if random.one_in(4) {
        bytes.extend_from_slice(b"GET /behind HTTP/1.1\r\n");
    }
    if random.one_in(4) {
        let at = random.below(bytes.len());
        bytes[at] = u8::try_from(random.below(256)).unwrap_or_default();
    }
    bytes
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((word ^ (word >> 31)) % bound as u64).unwrap_or_default()
    }

    fn one_in(&mut self, many: usize) -> bool {
        self.below(many) == 0
    }

    /// One of the first two in nine of ten cases.
    fn pick<'a>(&mut self, words: &[&'a str]) -> &'a str {
        if self.one_in(10) {
            words[self.below(words.len())]
        } else {
            words[self.below(2.min(words.len()))]
        }
    }

    fn line_end(&mut self, bytes: &mut Vec<u8>) {
        let end = if self.one_in(20) {
            ["\n", "\r", "", "\n\r", "\r\r\n"][self.below(5)]
        } else {
            "\r\n"
        };
        bytes.extend_from_slice(end.as_bytes());
    }
}
