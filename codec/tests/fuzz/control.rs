//! Hostile bodies: seeded mutations of real ones, deep nesting, and agreement with another JSON parser.

use super::seeded::{Seeded, runs};
use codec::control::{BodyRules, ErrorKind, Operation, fuzzing, parse};
use std::fmt::Write as _;

#[test]
fn seeded_mutations_hold_the_invariants() {
    let runs = runs();
    let corpus = corpus();
    let mut random = Seeded(0x9e37_79b9_7f4a_7c15);
    for run in 0..runs {
        // Bytes changed anywhere mostly break the JSON; members put together at random reach what is behind it.
        let mut body = match run % 2 {
            0 => corpus[random.below(corpus.len())].clone(),
            _ => object(&mut random, 0).into_bytes(),
        };
        for _ in 0..random.below(5) {
            mutate(&mut body, &corpus, &mut random);
        }
        // Every body meets every operation sooner or later.
        let mut data = vec![u8::try_from(random.below(256)).expect("below 256")];
        data.extend_from_slice(&body);
        fuzzing::fuzz(&data);
        agree(&body);
    }
}

#[test]
fn nesting_costs_no_stack() {
    let depth = 65_000;
    #[rustfmt::skip] // a table, a case per row
    let shapes = [
        "[".repeat(depth),
        "{\"a\":".repeat(depth / 5),
        format!("{{\"a\":{}{}}}", "[".repeat(depth / 2), "]".repeat(depth / 2)),
        format!("{{\"ChannelName\":{}{}}}", "[".repeat(depth / 2), "]".repeat(depth / 2)),
        format!("{{\"Tags\":[{}1{}]}}", "{\"Key\":".repeat(9_000), "}".repeat(9_000)),
    ];
    // A small stack, as a task of the broker might have.
    let small = std::thread::Builder::new().stack_size(128 * 1024);
    let run = small.spawn(move || {
        for shape in &shapes {
            for operation in Operation::ALL.iter().copied() {
                let mut data = vec![u8::try_from(operation.index()).expect("few")];
                data.extend_from_slice(shape.as_bytes());
                fuzzing::fuzz(&data);
            }
        }
        for (depth, taken) in [(1_000, true), (32_000, false)] {
            let (open, close) = ("[".repeat(depth), "]".repeat(depth));
            let mut body = format!("{{\"x\":{open}{close},\"ChannelName\":\"demo\"}}").into_bytes();
            let call = parse(
                Operation::DescribeSignalingChannel,
                &mut body,
                &BodyRules::default(),
            );
            assert_eq!(call.is_ok(), taken, "{depth}");
        }
    });
    run.expect("a thread")
        .join()
        .expect("no overflow, no panic");
}

#[test]
fn many_members_and_items_are_read_in_time() {
    let mut body = String::from("{\"Tags\":[");
    while body.len() < 60_000 {
        body.push_str("{},");
    }
    body.push_str("{}],\"ChannelName\":\"a\"}");
    let error = parse(
        Operation::CreateSignalingChannel,
        &mut body.into_bytes(),
        &BodyRules::default(),
    );
    let found = error.map_err(|error| error.kind);
    assert_eq!(found, Err(ErrorKind::TagsPerResourceExceededLimit));

    let mut body = String::from("{");
    for member in 0..6_000 {
        write!(body, "\"m{member}\":1,").expect("memory");
    }
    body.push_str("\"ChannelName\":\"a\"}");
    let fine = parse(
        Operation::CreateSignalingChannel,
        &mut body.into_bytes(),
        &BodyRules::default(),
    )
    .is_ok();
    assert!(fine);
}

/// Whether a body is JSON is judged alike by serde_json, except integers beyond 64 bits, which it turns into floats.
fn agree(body: &[u8]) {
    let ours = parse(
        Operation::ListSignalingChannels,
        &mut body.to_vec(),
        &BodyRules::default(),
    );
    let broken = "The request body is not valid JSON.";
    let is_broken = |message: &str| message == broken || message.contains("(gzip)");
    let ours = !matches!(&ours, Err(error) if is_broken(&error.message));
    let theirs = serde_json::from_slice::<serde_json::Value>(body);
    let vast = || {
        body.split(|byte| !byte.is_ascii_digit())
            .any(|digits| digits.len() >= 19)
    };
    let fine = ours == theirs.is_ok() || (!ours && vast());
    assert!(fine, "{:?}: {theirs:?}", String::from_utf8_lossy(body));
}

fn corpus() -> Vec<Vec<u8>> {
    let recorded: Vec<serde_json::Value> =
        serde_json::from_str(include_str!("../data/control_requests.json")).expect("JSON");
    let recorded = recorded
        .iter()
        .map(|request| request["body"].as_str().expect("text").as_bytes().to_vec());
    let ours = [
        r#"{"ChannelName":"a","Tags":[{"Key":"é中","Value":"\u00e9\ud835\udd38"}],"x":[1,-2.5e3,true,null,{"y":[]}]}"#,
        r#"{"NextToken":"ZGVtbw==","MaxResults":10000,"ChannelNameCondition":null}"#,
        r#"{"ChannelARN":"arn:aws:kinesisvideo:r:1:channel/n/1","SenderClientId":"a","MessagePayload":"A\/B="}"#,
    ];
    recorded
        .chain(ours.map(|body| body.as_bytes().to_vec()))
        .collect()
}

/// An object of known members with values of any kind, the right one rather often.
fn object(random: &mut Seeded, depth: usize) -> String {
    const ARN: &str = "\"arn:aws:kinesisvideo:us-east-1:123456789012:channel/demo/17\"";
    const STREAM: &str = "\"arn:aws:kinesisvideo:us-east-1:123456789012:stream/strm/17\"";
    const MEMBERS: [(&str, &str); 25] = [
        ("ChannelName", "\"demo\""),
        ("ChannelARN", ARN),
        ("ChannelARN", ARN),
        ("ResourceARN", ARN),
        ("channelArn", ARN),
        ("StreamARN", STREAM),
        ("StreamName", "\"strm\""),
        ("clientId", "\"v1\""),
        ("TagKeyList", "[\"k\",\"é\"]"),
        ("Status", "\"ENABLED\""),
        ("Tags", "[{\"Key\":\"k\",\"Value\":\"\"}]"),
        ("ChannelType", "\"SINGLE_MASTER\""),
        ("CurrentVersion", "\"v1\""),
        ("MessageTtlSeconds", "60"),
        ("MaxResults", "2"),
        ("NextToken", "\"ZGVtbw==\""),
        ("ComparisonOperator", "\"BEGINS_WITH\""),
        ("ComparisonValue", "\"de\""),
        ("Role", "\"MASTER\""),
        ("Protocols", "[\"WSS\",\"HTTPS\"]"),
        ("Service", "\"TURN\""),
        ("SenderClientId", "\"a1\""),
        ("MessagePayload", "\"QUJD\""),
        ("Key", "\"k\""),
        ("Value", "\"\""),
    ];
    #[rustfmt::skip] // a list
    const NESTED: [&str; 5] = [
        "SingleMasterConfiguration", "SingleMasterChannelEndpointConfiguration", "ChannelNameCondition",
        "MediaStorageConfiguration", "Tags",
    ];
    #[rustfmt::skip] // a list
    const ODD: [&str; 10] = [
        "null", "\"\"", "\"WEBRTC\"", "0", "121", "-1", "60.0", "[]", "{}", "\"\\ud835\\udd38 \\t\"",
    ];
    let mut members = Vec::new();
    for _ in 0..random.below(7) {
        let (name, value) = if depth < 3 && random.below(4) == 0 {
            let inner = object(random, depth + 1);
            let list = random.below(2) == 0;
            (
                NESTED[random.below(NESTED.len())],
                if list { format!("[{inner}]") } else { inner },
            )
        } else {
            let (name, good) = MEMBERS[random.below(MEMBERS.len())];
            let value = if random.below(6) == 0 {
                ODD[random.below(ODD.len())]
            } else {
                good
            };
            (name, value.to_owned())
        };
        members.push(format!("\"{name}\":{value}"));
    }
    format!("{{{}}}", members.join(","))
}

fn mutate(body: &mut Vec<u8>, corpus: &[Vec<u8>], random: &mut Seeded) {
    #[rustfmt::skip] // a list
    const WORDS: [&str; 20] = [
        "null", "\"\"", "{}", "[]", "1", "-1", "60.5", "1e400", "18446744073709551616", "\\u0000", "\\ud800",
        "\"Tags\":", "\"ChannelName\":", ",", "\\", "\"", "\u{0}", "é", "[[[[", "true",
    ];
    let at = random.below(body.len() + 1);
    match random.below(6) {
        0 if at < body.len() => body[at] ^= 1 << random.below(8),
        1 => body.truncate(at),
        2 => {
            let word = WORDS[random.below(WORDS.len())].bytes();
            body.splice(at..at, word);
        }
        3 => {
            let end = at + random.below(body.len() + 1 - at).min(12);
            body.drain(at..end);
        }
        4 => {
            let other = &corpus[random.below(corpus.len())];
            let cut = random.below(other.len() + 1);
            body.truncate(at);
            body.extend_from_slice(&other[cut..]);
        }
        _ => {
            let end = at + random.below(body.len() + 1 - at).min(40);
            let copy = body[at..end].to_vec();
            body.splice(at..at, copy);
        }
    }
}
