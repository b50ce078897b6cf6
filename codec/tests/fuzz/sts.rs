//! Forms made of real ones by seeded mutations: nothing panics, bounds hold, and what is written can be read.

use super::seeded::{Seeded, runs};
use codec::sts::fuzzing;

#[test]
fn seeded_mutations_hold() {
    let (corpus, mut seeded) = (corpus(), Seeded(0x0057_5AFE));
    for _ in 0..runs() {
        let mut input = corpus[seeded.below(corpus.len())].clone();
        seeded.mutate(&mut input, DICTIONARY);
        input.insert(0, seeded.byte());
        fuzzing::fuzz(&input);
    }
}

#[test]
fn many_parameters_are_refused_in_time() {
    let mut body = b"0Action=GetCallerIdentity&Version=2011-06-15".to_vec();
    for name in 0..8_000 {
        body.extend_from_slice(format!("&{name}").as_bytes());
    }
    fuzzing::fuzz(&body);
    fuzzing::fuzz(&b"0%25%2541+".repeat(6_000));
}

const DICTIONARY: &[&[u8]] = &[
    b"&",
    b"&&",
    b"=",
    b"+",
    b"%",
    b"%4",
    b"%41",
    b"%2B",
    b"%C3%A9",
    b"%ff",
    b"%00",
    b"\xC3\xA9",
    b"\xff",
    b"<",
    b"&amp;",
    b"\r\n\t",
    b"\x1b",
    b"\xEF\xBF\xBE",
    b"&Name=bob",
    b"&Policy=%7B%7D",
    b"&DurationSeconds=900",
    b"99999999999999999999",
    b"-1",
    b"&Tags=",
    b"&Tags.member.1.Key=k",
    b"&PolicyArns=",
    b"Action=",
    b"GetFederationToken",
    b"&Version=2011-06-15",
];

/// The bodies of the transcript, as they are in it.
fn corpus() -> Vec<Vec<u8>> {
    let fed = "Action=GetFederationToken&Version=2011-06-15";
    let lines = include_str!("../data/sts_verdicts.txt").lines();
    let bodies = lines.filter_map(|line| line.split_once(" => "));
    bodies
        .map(|(body, _)| body.replace("@FED", fed).into_bytes())
        .collect()
}
