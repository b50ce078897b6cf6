use super::*;

fn launch(order: u64) -> DeliveryMark {
    DeliveryMark::new(Action::IceCandidate, order, Now(1), 0)
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

/// Returns this number of bytes as sent without TLS.
fn plain(bytes: usize) -> (usize, usize) {
    (bytes, bytes)
}

/// Returns the order numbers of the messages that are confirmed while the kernel holds `unacknowledged` bytes.
fn confirmed(outbox: &mut Outbox, spares: &mut Spares, unacknowledged: u64) -> Vec<u64> {
    let mut orders = Vec::new();
    outbox.confirm(spares, unacknowledged, |mark, _| {
        orders.push(mark.launch.order)
    });
    orders
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
    // Passes fourteen bytes to the kernel in two steps, split in every possible way.
    for first in 0..=14 {
        let (mut outbox, mut spares) = outbox_of(&parts);
        assert_eq!(every(&outbox), (6, 8));
        let one = outbox.sent(&mut spares, plain(first), Now(5), |_| ());
        assert_eq!(one.messages + one.control, first);
        assert_eq!(every(&outbox), (6 - one.messages, 8 - one.control));
        let two = outbox.sent(&mut spares, plain(14 - first), Now(5), |_| ());
        let found = (one.messages + two.messages, one.control + two.control);
        assert_eq!(found, (6, 8));
        assert_eq!(every(&outbox), (0, 0));
    }
    let (mut outbox, mut spares) = outbox_of(&parts);
    outbox.sent(&mut spares, plain(5), Now(5), |_| ());
    assert_eq!(orders(&outbox.take_unsent(&mut spares)), [2]);
    let found = every(&outbox);
    assert_eq!(found, (2, 4), "the rest of the first, and the ping");
}

#[test]
fn a_message_is_done_with_its_last_byte() {
    let (mut outbox, mut spares) = outbox_of(&[("one", Some(1)), ("two", Some(2))]);
    let mut done = Vec::new();
    for bytes in [2, 1, 2] {
        outbox.sent(&mut spares, plain(bytes), Now(5), |mark| {
            done.push((bytes, mark.launch.order))
        });
    }
    assert_eq!(done, [(1, 1)]);
    outbox.sent(&mut spares, plain(1), Now(5), |mark| {
        done.push((1, mark.launch.order))
    });
    assert_eq!(done, [(1, 1), (1, 2)]);
    assert_eq!(confirmed(&mut outbox, &mut spares, 0), [1, 2]);
    assert!(outbox.0.is_none(), "an empty outbox owns nothing");
    assert_eq!(spares.buffers.len(), 1);
}

#[test]
fn a_message_is_confirmed_with_its_last_byte_whatever_else_the_kernel_holds() {
    let (mut outbox, mut spares) = outbox_of(&[("one", Some(1)), ("PONG", None), ("two", Some(2))]);
    outbox.sent(&mut spares, plain(10), Now(5), |_| ());
    assert_eq!(outbox.unconfirmed_bytes(), 6);
    // The kernel also counts bytes of an earlier buffer and our own FIN.
    for (held, so_far) in [
        (20, vec![]),
        (8, vec![]),
        (7, vec![1]),
        (9, vec![]),
        (1, vec![]),
    ] {
        assert_eq!(confirmed(&mut outbox, &mut spares, held), so_far, "{held}");
    }
    assert_eq!((outbox.unconfirmed_bytes(), outbox.bytes_kept()), (3, 3));
    assert_eq!(confirmed(&mut outbox, &mut spares, 0), [2]);
    assert!(outbox.0.is_none());
}

#[test]
fn over_tls_a_message_is_confirmed_with_the_record_of_its_last_byte() {
    let (mut outbox, mut spares) = outbox_of(&[("one", Some(1)), ("two", Some(2))]);
    outbox.sent(&mut spares, (3, 25), Now(5), |_| ());
    outbox.sent(&mut spares, (0, 40), Now(6), |_| ()); // the bytes of a session ticket
    outbox.sent(&mut spares, (3, 25), Now(7), |_| ());
    assert_eq!(confirmed(&mut outbox, &mut spares, 66), [0; 0]);
    assert_eq!(confirmed(&mut outbox, &mut spares, 65), [1]);
    assert_eq!(outbox.unconfirmed_since(), Some(Now(7)));
    assert_eq!(confirmed(&mut outbox, &mut spares, 0), [2]);
}

#[test]
fn what_is_not_confirmed_comes_back_and_is_known_when_it_is_confirmed_all_the_same() {
    let (mut outbox, mut spares) = outbox_of(&[("one", Some(1)), ("two", Some(2))]);
    outbox.sent(&mut spares, plain(3), Now(5), |_| ());
    outbox.sent(&mut spares, plain(3), Now(9), |_| ());
    let write = |out: &mut Vec<u8>| out.extend_from_slice(b"three");
    outbox.push_message(&mut spares, launch(3), write);
    let back = outbox.take_unconfirmed(&mut spares, Now(8));
    let found = (orders(&back), &*back[0].frame, back[0].written);
    assert_eq!(found, (vec![1], &b"one"[..], true));
    assert_eq!(outbox.returned(), (1, 0));
    assert_eq!(orders(&outbox.take_unsent(&mut spares)), [3]);
    assert_eq!(confirmed(&mut outbox, &mut spares, 3), [0; 0]);
    assert_eq!(outbox.returned(), (1, 1), "the first had come after all");
    let rest = outbox.drain();
    assert_eq!((orders(&rest), rest[0].written), (vec![2], true));
}

/// A message that has been sent in part is still completed, but its recipient does not read it.
#[test]
fn a_peer_that_sends_no_more_confirms_nothing_that_is_written_later() {
    let (mut outbox, mut spares) = outbox_of(&[("one", Some(1)), ("two", Some(2))]);
    outbox.sent(&mut spares, plain(4), Now(5), |_| ());
    outbox.peer_is_over();
    outbox.sent(&mut spares, plain(2), Now(5), |_| ());
    assert_eq!(confirmed(&mut outbox, &mut spares, 0), [1]);
}

/// For such a connection, the kernel is not queried when it ends.
#[test]
fn nothing_is_kept_of_a_peer_that_got_no_message() {
    for message in [None, Some(1)] {
        let (mut outbox, mut spares) = outbox_of(&[("end", message)]);
        outbox.peer_is_over();
        outbox.sent(&mut spares, plain(3), Now(5), |_| ());
        assert_eq!(outbox.is_empty(), message.is_none());
    }
}

#[test]
fn a_pong_confirms_what_was_before_its_ping() {
    let (mut outbox, mut spares) = outbox_of(&[("one", Some(1))]);
    let counter = outbox
        .begin_proof(Now(1))
        .expect("there is something to prove");
    assert_eq!(outbox.begin_proof(Now(1)), None, "one is under way");
    let write = |out: &mut Vec<u8>| out.extend_from_slice(b"two");
    outbox.push_message(&mut spares, launch(2), write);
    outbox.sent(&mut spares, plain(6), Now(5), |_| ());
    let mut done = Vec::new();
    let strange = [0xff; 4];
    assert!(!outbox.proved(&mut spares, &strange, Now(7), |_, _| ()));
    assert!(outbox.proved(&mut spares, &counter, Now(7), |mark, _| {
        done.push(mark.launch.order)
    }));
    let found = (done, outbox.round_trip_ms(), outbox.awaits_proof());
    assert_eq!(found, (vec![1], 6, false));
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
    outbox.sent(&mut spares, plain(1), Now(5), |_| panic!("not whole"));
    let unsent = outbox.take_unsent(&mut spares);
    assert_eq!(orders(&unsent), [2, 3]);
    assert_eq!(&*unsent[1].frame, b"three");
    assert_eq!(outbox.unsent(), b"nePONGping");
    let mut done = Vec::new();
    assert!(outbox.has_messages());
    outbox.sent(&mut spares, plain(2), Now(5), |mark| {
        done.push(mark.launch.order)
    });
    assert!(!outbox.has_messages(), "pong and ping are none");
    assert_eq!(done, [1]);
}

#[test]
fn bytes_in_flight_are_not_offered_again_and_stay() {
    let (mut outbox, mut spares) =
        outbox_of(&[("one", Some(1)), ("two", Some(2)), ("three", Some(3))]);
    assert!(!outbox.in_flight());
    outbox.launched(4);
    assert!(outbox.in_flight());
    assert_eq!(outbox.unsent(), b"wothree");
    let found = orders(&outbox.take_unsent(&mut spares));
    assert_eq!(found, [3], "the second is partly in flight");
    outbox.sent(&mut spares, plain(4), Now(5), |_| ());
    assert_eq!(outbox.unsent(), b"wo");
    assert_eq!(
        orders(&outbox.drain()),
        [1, 2],
        "the last byte of the second was never handed over, and nothing is confirmed"
    );
}

#[test]
fn a_large_buffer_is_compacted_without_losing_its_marks() {
    let big = "x".repeat(40_000);
    let (mut outbox, mut spares) = outbox_of(&[(&big, Some(1)), (&big, Some(2)), (&big, Some(3))]);
    let mut done = Vec::new();
    outbox.sent(&mut spares, plain(79_000), Now(5), |mark| {
        done.push(mark.launch.order)
    });
    outbox.sent(&mut spares, plain(1_000), Now(5), |mark| {
        done.push(mark.launch.order)
    });
    assert_eq!((done.as_slice(), outbox.bytes()), (&[1, 2][..], 40_000));
    outbox.sent(&mut spares, plain(40_000), Now(5), |mark| {
        done.push(mark.launch.order)
    });
    assert_eq!(done, [1, 2, 3]);
}
