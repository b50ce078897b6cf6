//! A delivery to a whole frame at the end of an outbox.

use benches::fixture::{Case, VIEWER, cases};
use benches::harness::{Group, Timer, group, run};
use benches::rival::{Heliograph, SerdeJson, SimdJson, Write};
use codec::ws::{Opcode, frame};
use std::hint::black_box;

fn main() {
    run(|criterion| {
        for case in cases() {
            encode(criterion, &case);
        }
    });
}

fn encode(criterion: &mut Timer, case: &Case) {
    let (payload, action) = (&case.payload, case.action.as_str());
    let text = format!(
        "{{\"messagePayload\":\"{payload}\",\"messageType\":\"{action}\",\"senderClientId\":\"{VIEWER}\"}}"
    );
    let mut expected = Vec::new();
    frame(&mut expected, Opcode::Text, text.as_bytes());
    let mut group = group(criterion, "event/encode", case.name, 1, expected.len());
    time::<Heliograph<_>>(&mut group, case, &expected);
    time::<SerdeJson>(&mut group, case, &expected);
    time::<SimdJson<_>>(&mut group, case, &expected);
    group.finish();
}

fn time<W: Write>(group: &mut Group<'_>, case: &Case, expected: &[u8]) {
    let (mut writer, mut out) = (W::new(), Vec::new());
    writer.write(&case.delivery(), &mut out);
    assert_eq!(out, expected, "{}", W::LIBRARY);
    group.bench_function(W::LIBRARY, |bencher| {
        bencher.iter(|| {
            out.clear();
            writer.write(black_box(&case.delivery()), &mut out);
            black_box(&out);
        });
    });
}
