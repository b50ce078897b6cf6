//! The names in an upgrade's target: the query's pairs decoded, the channel's ARN parsed, and both written.
//!
//! Beside them, as the floor, a copy of the same text.

use benches::harness::{Timer, group, run};
use codec::http::{decode, encode, pairs};
use codec::identifiers::ChannelArn;
use std::hint::black_box;

fn main() {
    run(|criterion| {
        for (case, name, id) in [
            ("usual", "demo", "viewer-1"),
            ("longest", &*"n".repeat(256), &*"i".repeat(256)),
        ] {
            let arn =
                format!("arn:aws:kinesisvideo:us-west-2:123456789012:channel/{name}/1700000000000");
            query(criterion, case, &arn, id);
            parse_arn(criterion, case, &arn, name);
        }
    });
}

fn query(criterion: &mut Timer, case: &str, arn: &str, id: &str) {
    let values = [("X-Amz-ChannelARN", arn), ("X-Amz-ClientId", id)];
    let write = |out: &mut String| {
        for (name, value) in values {
            out.push_str(if out.is_empty() { "" } else { "&" });
            out.push_str(name);
            out.push('=');
            encode(out, value);
        }
    };
    let mut text = String::new();
    write(&mut text);
    let read: Vec<_> = pairs(&text)
        .map(|(name, value)| (name, decode(value)))
        .collect();
    let expected: Vec<_> = values.map(|(name, value)| (name, Ok(value.into()))).into();
    assert_eq!(read, expected);
    let mut reading = group(criterion, "query/decode", case, 1, text.len());
    reading.bench_function("heliograph", |bencher| {
        bencher.iter(|| {
            for (name, value) in pairs(black_box(&text)) {
                let _ = black_box((name, decode(value)));
            }
        });
    });
    let mut copy = text.clone().into_bytes();
    reading.bench_function("copy", |bencher| {
        bencher.iter(|| black_box(&mut copy).copy_from_slice(black_box(text.as_bytes())));
    });
    reading.finish();
    let mut writing = group(criterion, "query/encode", case, 1, text.len());
    let mut out = String::with_capacity(text.len());
    writing.bench_function("heliograph", |bencher| {
        bencher.iter(|| {
            out.clear();
            write(black_box(&mut out));
        });
    });
    assert_eq!(out, text);
    writing.finish();
}

fn parse_arn(criterion: &mut Timer, case: &str, text: &str, name: &str) {
    let parsed = ChannelArn::parse(text, true).expect("it is one of a channel");
    assert_eq!((parsed.name(), parsed.region()), (name, "us-west-2"));
    assert!(ChannelArn::parse(&text.replace("channel/", "stream/"), true).is_err());
    let mut group = group(criterion, "arn/parse", case, 1, text.len());
    group.bench_function("heliograph", |bencher| {
        bencher.iter(|| ChannelArn::parse(black_box(text), true));
    });
    group.bench_function("boxed-copy", |bencher| {
        bencher.iter(|| Box::<str>::from(black_box(text)));
    });
    group.finish();
}
