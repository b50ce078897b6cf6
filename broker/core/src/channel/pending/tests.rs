use super::*;

const ROOM: Room = Room {
    channel_bytes: 1000,
    shard_bytes: 10_000,
};

fn message(action: Action, order: u64) -> Message {
    Message {
        action,
        expires: Now(order + 100),
        order,
        sender_bytes: 0,
        frame: vec![0; 10].into(),
    }
}

fn id(text: &str) -> Rc<str> {
    text.into()
}

fn orders(messages: impl IntoIterator<Item = Message>) -> Vec<u64> {
    messages.into_iter().map(|message| message.order).collect()
}

#[test]
fn the_latest_offer_and_answer_stay_and_an_offer_drops_older_candidates() {
    let mut pending = Pending::default();
    let mut dropped = Vec::new();
    use Action::{IceCandidate as Ice, SdpAnswer as Answer, SdpOffer as Offer};
    for (order, action) in [Offer, Ice, Answer, Ice, Offer, Ice, Answer]
        .into_iter()
        .enumerate()
    {
        let message = message(action, order as u64);
        pending
            .keep(Towards::Master, &id("v"), message, ROOM, |old| {
                dropped.push(old.order)
            })
            .unwrap();
    }
    assert_eq!(dropped, [0, 1, 3, 2]);
    assert_eq!(pending.bytes(), 30);
    assert_eq!(orders(pending.take(Towards::Master, "v")), [4, 5, 6]);
    assert!(pending.is_empty() && pending.bytes() == 0);
}

#[test]
fn the_oldest_candidate_is_evicted_first() {
    let mut pending = Pending::default();
    let mut dropped = Vec::new();
    for order in 0..40 {
        let message = message(Action::IceCandidate, order);
        pending
            .keep(Towards::Viewer, &id("v"), message, ROOM, |old| {
                dropped.push(old.order)
            })
            .unwrap();
    }
    assert_eq!(dropped, (0..8).collect::<Vec<_>>());
    assert_eq!(
        orders(pending.take(Towards::Viewer, "v")),
        (8..40).collect::<Vec<_>>()
    );
}

#[test]
fn a_full_store_refuses_but_a_replacement_fits() {
    let mut pending = Pending::default();
    let room = Room {
        channel_bytes: 20,
        shard_bytes: 10_000,
    };
    let keep = |pending: &mut Pending, viewer: &str, order, room| {
        pending.keep(
            Towards::Master,
            &id(viewer),
            message(Action::SdpOffer, order),
            room,
            |_| (),
        )
    };
    assert_eq!(keep(&mut pending, "a", 0, room), Ok(()));
    assert_eq!(keep(&mut pending, "b", 1, room), Ok(()));
    assert_eq!(keep(&mut pending, "c", 2, room), Err(Full));
    assert_eq!(keep(&mut pending, "a", 3, room), Ok(()));
    assert_eq!(
        keep(
            &mut pending,
            "a",
            4,
            Room {
                shard_bytes: 0,
                ..room
            }
        ),
        Ok(()),
        "it frees what it needs"
    );
    let many = (0..100)
        .filter(|i| keep(&mut pending, &format!("k{i}"), 9, ROOM).is_ok())
        .count();
    assert_eq!(many, PENDING_KEYS_MAX - 2);
}

#[test]
fn a_master_gets_the_oldest_offer_first_each_with_its_candidates() {
    let mut pending = Pending::default();
    let all = [
        ("b", Action::SdpOffer),
        ("a", Action::IceCandidate),
        ("a", Action::SdpOffer),
        ("b", Action::IceCandidate),
    ];
    for (order, (viewer, action)) in all.into_iter().enumerate() {
        pending
            .keep(
                Towards::Master,
                &id(viewer),
                message(action, order as u64),
                ROOM,
                |_| (),
            )
            .unwrap();
    }
    pending
        .keep(
            Towards::Viewer,
            &id("a"),
            message(Action::SdpAnswer, 9),
            ROOM,
            |_| (),
        )
        .unwrap();
    let taken = pending.take_for_master();
    let flat = taken
        .into_iter()
        .map(|(rank, messages)| (rank, orders(messages)));
    assert_eq!(flat.collect::<Vec<_>>(), [(0, vec![0, 3]), (2, vec![2])]);
    assert_eq!(pending.bytes(), 10);
}

#[test]
fn returned_messages_are_before_newer_ones() {
    let mut pending = Pending::default();
    let (mut dropped, viewer) = (Vec::new(), id("v"));
    let mut keep = |pending: &mut Pending, message| {
        pending
            .keep(Towards::Viewer, &viewer, message, ROOM, |old| {
                dropped.push(old.order)
            })
            .unwrap();
    };
    keep(&mut pending, message(Action::IceCandidate, 5));
    let returned = [
        message(Action::SdpAnswer, 1),
        message(Action::IceCandidate, 2),
    ];
    for message in pending.take_with(Towards::Viewer, "v", returned) {
        keep(&mut pending, message);
    }
    assert_eq!(orders(pending.take(Towards::Viewer, "v")), [1, 2, 5]);
    keep(&mut pending, message(Action::SdpAnswer, 8));
    let returned = [message(Action::SdpAnswer, 7)];
    for message in pending.take_with(Towards::Viewer, "v", returned) {
        keep(&mut pending, message);
    }
    assert_eq!(
        (
            dropped.as_slice(),
            orders(pending.take(Towards::Viewer, "v"))
        ),
        (&[7][..], vec![8])
    );
}

#[test]
fn room_is_made_by_the_largest_key_candidates_first() {
    let mut pending = Pending::default();
    let all = [
        ("a", Action::SdpOffer),
        ("b", Action::SdpOffer),
        ("b", Action::IceCandidate),
        ("b", Action::IceCandidate),
    ];
    for (order, (viewer, action)) in all.into_iter().enumerate() {
        let message = message(action, order as u64);
        pending
            .keep(Towards::Master, &id(viewer), message, ROOM, |_| panic!())
            .unwrap();
    }
    let evicted: Vec<u64> = std::iter::from_fn(|| pending.evict())
        .map(|(_, _, message)| message.order)
        .collect();
    assert_eq!(evicted, [2, 3, 0, 1]);
    assert!(pending.is_empty() && pending.bytes() == 0);
}

#[test]
fn what_a_message_takes_the_place_of_makes_room_for_it() {
    let mut pending = Pending::default();
    let offer = (Action::SdpOffer, 10);
    let growth = |pending: &Pending, viewer, message, most| {
        pending.growth(Towards::Master, viewer, message, most)
    };
    assert_eq!(growth(&pending, "v", offer, 9), None);
    assert_eq!(growth(&pending, "v", offer, 10), Some(10));
    let kept = message(Action::SdpOffer, 1);
    pending
        .keep(Towards::Master, &id("v"), kept, ROOM, |_| ())
        .unwrap();
    assert_eq!(growth(&pending, "v", (Action::SdpOffer, 12), 12), Some(2));
    assert_eq!(growth(&pending, "w", offer, 19), None);
}

#[test]
fn each_message_expires_on_its_own() {
    let mut pending = Pending::default();
    for order in [1, 2] {
        pending
            .keep(
                Towards::Viewer,
                &id("v"),
                message(Action::IceCandidate, order),
                ROOM,
                |_| (),
            )
            .unwrap();
    }
    assert_eq!(pending.next_expiry(), Some(Now(101)));
    let mut expired = Vec::new();
    pending.expire(Now(101), |_, _, message| expired.push(message.order));
    assert_eq!(
        (expired.as_slice(), pending.next_expiry()),
        (&[1][..], Some(Now(102)))
    );
}
