//! Whatever a service sends, under seeded mutations: nothing panics, every byte is used, and the end is the end.

use codec::ws::{self, Opcode, close};
use fastrand::Rng;
use loadgen::peer::{Event, PeerLink};
use loadgen::visit::discovery::Answer;
use testkit::mutations;

#[test]
fn streams_of_a_connection() {
    let mut frames = Vec::new();
    ws::frame(
        &mut frames,
        Opcode::Text,
        br#"{"messageType":"SDP_ANSWER","messagePayload":"e30="}"#,
    );
    ws::frame(&mut frames, Opcode::Ping, b"?");
    ws::frame(&mut frames, Opcode::Text, "k\u{f6}ln".as_bytes());
    ws::close_frame(&mut frames, close::GOING_AWAY, "bye");
    let (_, request) = link();
    let request = String::from_utf8(request).expect("a head");
    let answer = crate::support::accepted(&request).expect("a key");
    let whole = [answer.as_bytes(), &frames].concat();
    #[rustfmt::skip] // a list
    let pieces: [&[u8]; 6] = [
        b"\r\n\r\n", b"\x81\x7f\xff\xff\xff\xff", b"\x88\0", b"\x89\x7e", b"\x01\x01a", b"101",
    ];
    mutations(&[whole], &pieces, |bytes| {
        let at_once = events(bytes, bytes.len().max(1));
        for piece in [1, 7] {
            assert_eq!(events(bytes, piece), at_once, "in pieces of {piece}");
        }
        at_once.is_some_and(|events| events.len() > 2)
    });
}

/// The events of a stream that comes in pieces; `None` where it breaks a rule.
fn events(bytes: &[u8], piece: usize) -> Option<Vec<String>> {
    let (mut link, _) = link();
    let (mut random, mut events, mut out) = (Rng::with_seed(2), Vec::new(), Vec::new());
    for piece in bytes.to_vec().chunks_mut(piece) {
        let mut used = 0;
        while used < piece.len() {
            let (step, event) = link.next(&mut piece[used..], &mut random, &mut out).ok()?;
            assert!(step > 0 || event.is_some(), "it stands still");
            used += step;
            events.extend(event.map(|event: Event<'_>| format!("{event:?}")));
        }
    }
    Some(events)
}

fn link() -> (PeerLink, Vec<u8>) {
    let mut request = Vec::new();
    let link = PeerLink::open("h", "/", &mut Rng::with_seed(1), &mut request);
    (link, request)
}

#[test]
fn answers_to_calls() {
    let answer = |head: &str, body: &str| {
        let length = body.len();
        format!("HTTP/1.1 {head}\r\nContent-Length: {length}\r\n\r\n{body}").into_bytes()
    };
    #[rustfmt::skip] // a table, a case per row
    let samples = [
        answer(
            "200 OK",
            r#"{"ResourceEndpointList":[{"Protocol":"WSS","ResourceEndpoint":"wss://v-1.example.test"}]}"#,
        ),
        answer("400 Bad Request\r\nx-amzn-ErrorType: ClientLimitExceededException\r\nConnection: close", "{}"),
    ];
    #[rustfmt::skip] // a list
    let pieces: [&[u8]; 5] = [
        b"\r\n", b"18446744073709551615", b"-1", b"Content-Length: 0\r\n", b"\0",
    ];
    mutations(&samples, &pieces, |bytes| {
        let Ok(Some(answer)) = Answer::parse(bytes) else {
            return false;
        };
        let more = Answer::parse(&[bytes, b"HTTP/1.1"].concat());
        assert_eq!(more, Ok(Some(answer)));
        true
    });
}
