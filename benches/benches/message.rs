//! Parsing a master's text into a checked request, in the usual form and in two forms that the scanner leaves to
//! simd-json.

use benches::fixture::{Case, VIEWER, cases};
use benches::harness::{Group, Timer, group, run};
use benches::rival::{Heliograph, Parse, SerdeJson, SimdJson};
use codec::signal::{Request, Role};
use std::hint::black_box;

fn main() {
    run(|criterion| {
        let [ice, sdp, largest] = cases();
        for case in [&ice, &sdp, &largest] {
            parse(criterion, case, case.name, &case.text(Role::Master));
        }
        parse(
            criterion,
            &ice,
            "ice-200B-escapes",
            &ice.text_with_escapes(),
        );
        parse(criterion, &sdp, "sdp-3KB-escapes", &sdp.text_with_escapes());
        parse(
            criterion,
            &sdp,
            "sdp-3KB-ice-servers",
            &sdp.text_with_ice_servers(),
        );
    });
}

fn parse(criterion: &mut Timer, case: &Case, name: &str, text: &[u8]) {
    let mut group = group(criterion, "message/parse", name, 1, text.len());
    time::<Heliograph<_>>(&mut group, case, text);
    time::<SerdeJson>(&mut group, case, text);
    time::<SimdJson<_>>(&mut group, case, text);
    group.finish();
}

/// Times parsing. Each library receives a fresh copy of the text, because some unescape in place.
fn time<P: Parse>(group: &mut Group<'_>, case: &Case, text: &[u8]) {
    let mut parser = P::new();
    let mut buffer = text.to_vec();
    for _ in 0..3 {
        buffer.copy_from_slice(text);
        let right = parser.parse(&mut buffer, |request| is(request, case));
        assert_eq!(right, Some(true), "{}", P::LIBRARY);
    }
    let wrong = String::from_utf8_lossy(text).replacen("eyJ0", "eyé", 1);
    assert_ne!(wrong.as_bytes(), text);
    let refused = parser.parse(&mut wrong.into_bytes(), |_| ());
    assert!(refused.is_none(), "{}", P::LIBRARY);
    group.bench_function(P::LIBRARY, |bencher| {
        bencher.iter(|| {
            buffer.copy_from_slice(black_box(text));
            parser.parse(&mut buffer, |request| {
                black_box(request);
            })
        });
    });
}

fn is(request: &Request<'_>, case: &Case) -> bool {
    request.action == case.action
        && request.payload == case.payload.as_bytes()
        && request.recipient.is_some_and(|id| id.as_str() == VIEWER)
        && request.correlation_id.is_none()
}
