use super::*;

fn launch(order: u64) -> Launch {
    Launch {
        action: Action::IceCandidate,
        expires: Now(1),
        order,
        sender_bytes: 0,
        call: false,
        counted: true,
        from: None,
        first: false,
        accepted_us: None,
    }
}

fn outbox_of(parts: &[(&str, Option<u64>)]) -> (Outbox, Spares) {
    let (mut outbox, mut spares) = (Outbox::default(), Spares::default());
    for &(text, order) in parts {
        let write = |out: &mut Vec<u8>| out.extend_from_slice(text.as_bytes());
        match order {
            Some(order) => outbox.push_message(&mut spares, launch(order), write),
            None => outbox.push(&mut spares, write),
        };
    }
    (outbox, spares)
}

fn orders(unsent: &[Unsent]) -> Vec<u64> {
    unsent.iter().map(|message| message.launch.order).collect()
}

#[test]
fn what_waits_is_counted_by_what_it_is() {
    let parts = [
        ("PONG", None),
        ("one", Some(1)),
        ("ping", None),
        ("two", Some(2)),
    ];
    let every = |outbox: &Outbox| (outbox.load().messages, outbox.load().control);
    // All ways to hand fourteen bytes over in two steps.
    for first in 0..=14 {
        let (mut outbox, mut spares) = outbox_of(&parts);
        assert_eq!(every(&outbox), (6, 8));
        let one = outbox.sent(&mut spares, first, |_| ());
        assert_eq!(one.messages + one.control, first);
        assert_eq!(every(&outbox), (6 - one.messages, 8 - one.control));
        let two = outbox.sent(&mut spares, 14 - first, |_| ());
        assert_eq!(
            (one.messages + two.messages, one.control + two.control),
            (6, 8)
        );
        assert_eq!(every(&outbox), (0, 0));
    }
    let (mut outbox, mut spares) = outbox_of(&parts);
    outbox.sent(&mut spares, 5, |_| ());
    assert_eq!(orders(&outbox.take_unsent(&mut spares)), [2]);
    assert_eq!(
        every(&outbox),
        (2, 4),
        "the rest of the first, and the ping"
    );
}

#[test]
fn a_message_is_done_with_its_last_byte() {
    let (mut outbox, mut spares) = outbox_of(&[("one", Some(1)), ("two", Some(2))]);
    let mut done = Vec::new();
    for bytes in [2, 1, 2] {
        outbox.sent(&mut spares, bytes, |mark| {
            done.push((bytes, mark.launch.order))
        });
    }
    assert_eq!(done, [(1, 1)]);
    outbox.sent(&mut spares, 1, |mark| done.push((1, mark.launch.order)));
    assert_eq!(done, [(1, 1), (1, 2)]);
    assert!(outbox.0.is_none(), "an empty outbox owns nothing");
    assert_eq!(spares.buffers.len(), 1);
}

#[test]
fn a_begun_message_stays_and_the_others_are_returned() {
    let (mut outbox, mut spares) = outbox_of(&[
        ("one", Some(1)),
        ("PONG", None),
        ("two", Some(2)),
        ("ping", None),
        ("three", Some(3)),
    ]);
    outbox.sent(&mut spares, 1, |_| panic!("not whole"));
    let unsent = outbox.take_unsent(&mut spares);
    assert_eq!(orders(&unsent), [2, 3]);
    assert_eq!(&*unsent[1].frame, b"three");
    assert_eq!(outbox.unsent(), b"nePONGping");
    let mut done = Vec::new();
    assert!(outbox.has_messages());
    outbox.sent(&mut spares, 2, |mark| done.push(mark.launch.order));
    assert!(!outbox.has_messages(), "pong and ping are none");
    assert_eq!(done, [1]);
}

#[test]
fn bytes_in_flight_are_not_offered_again_and_stay() {
    let (mut outbox, mut spares) =
        outbox_of(&[("one", Some(1)), ("two", Some(2)), ("three", Some(3))]);
    outbox.launched(4);
    assert_eq!(outbox.unsent(), b"wothree");
    assert_eq!(
        orders(&outbox.take_unsent(&mut spares)),
        [3],
        "the second is partly in flight"
    );
    outbox.sent(&mut spares, 4, |_| ());
    assert_eq!(outbox.unsent(), b"wo");
    assert_eq!(
        orders(&outbox.drain()),
        [2],
        "its last byte was never handed over"
    );
}

#[test]
fn a_large_buffer_is_compacted_without_losing_its_marks() {
    let big = "x".repeat(40_000);
    let (mut outbox, mut spares) = outbox_of(&[(&big, Some(1)), (&big, Some(2)), (&big, Some(3))]);
    let mut done = Vec::new();
    outbox.sent(&mut spares, 79_000, |mark| done.push(mark.launch.order));
    outbox.sent(&mut spares, 1_000, |mark| done.push(mark.launch.order));
    assert_eq!((done.as_slice(), outbox.bytes()), (&[1, 2][..], 40_000));
    outbox.sent(&mut spares, 40_000, |mark| done.push(mark.launch.order));
    assert_eq!(done, [1, 2, 3]);
}
