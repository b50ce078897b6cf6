//! Request heads: parsing a head, and answering an upgrade with a 101 response.

use benches::fixture::{HeadCase, heads};
use benches::harness::{Group, Timer, group, run};
use benches::rival::{Heliograph, Httparse, ReadHead, Seen, Shake, Tungstenite};
use std::hint::black_box;

fn main() {
    run(|criterion| {
        let [call, upgrade, longest] = heads();
        for case in [&call, &upgrade, &longest] {
            parse(criterion, case);
        }
        for case in [&upgrade, &longest] {
            shake(criterion, case);
        }
    });
}

fn parse(criterion: &mut Timer, case: &HeadCase) {
    let mut group = group(criterion, "head/parse", case.name, 1, case.bytes.len());
    time_parse::<Heliograph<()>>(&mut group, case);
    time_parse::<Httparse>(&mut group, case);
    if case.bytes.starts_with(b"GET ") {
        time_parse::<Tungstenite<()>>(&mut group, case); // accepts GET only
    }
    group.finish();
}

fn time_parse<R: ReadHead>(group: &mut Group<'_>, case: &HeadCase) {
    assert_eq!(
        R::read(&case.bytes),
        Some(expected(&case.bytes)),
        "{}",
        R::LIBRARY
    );
    let half = &case.bytes[..case.bytes.len() / 2];
    assert_eq!(R::read(half), None, "{}", R::LIBRARY);
    group.bench_function(R::LIBRARY, |bencher| {
        bencher.iter(|| R::read(black_box(&case.bytes)));
    });
}

fn expected(head: &[u8]) -> Seen {
    let text = std::str::from_utf8(head).expect("a recorded head is ASCII");
    let mut lines = text.trim_end().split("\r\n");
    let target = lines.next().and_then(|line| line.split(' ').nth(1));
    let lines: Vec<_> = lines.collect();
    let host = lines.iter().find_map(|line| line.strip_prefix("Host: "));
    Seen {
        bytes: head.len(),
        target_bytes: target.map_or(0, str::len),
        lines: lines.len(),
        host_bytes: host.map_or(0, str::len),
    }
}

fn shake(criterion: &mut Timer, case: &HeadCase) {
    let mut group = group(criterion, "head/upgrade", case.name, 1, case.bytes.len());
    time_shake::<Heliograph<()>>(&mut group, case);
    time_shake::<Tungstenite<()>>(&mut group, case);
    group.finish();
}

/// Times the handshake. Heliograph's response also contains `Date`, a request id and CORS fields.
fn time_shake<S: Shake>(group: &mut Group<'_>, case: &HeadCase) {
    let mut out = Vec::new();
    assert!(S::shake(&case.bytes, &mut out), "{}", S::LIBRARY);
    let answer = String::from_utf8_lossy(&out).to_ascii_lowercase();
    for part in [
        "http/1.1 101 ",
        "\r\nupgrade: websocket\r\n",
        ACCEPT,
        "\r\n\r\n",
    ] {
        assert!(answer.contains(part), "{}: {answer}", S::LIBRARY);
    }
    group.bench_function(S::LIBRARY, |bencher| {
        bencher.iter(|| {
            out.clear();
            let done = S::shake(black_box(&case.bytes), &mut out);
            black_box(&out);
            done
        });
    });
}

/// Accept key of the recorded upgrade in lower case, computed with Python's hashlib.
const ACCEPT: &str = "\r\nsec-websocket-accept: e+rurs8u8gg8+amgkx+veq3yksc=\r\n";
