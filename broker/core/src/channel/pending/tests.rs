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
        from: None,
        first: false,
        frame: vec![0; 10].into(),
    }
}

fn id(text: &str) -> Rc<str> {
    text.into()
}

/// Returns the key of a viewer whose caller has no share.
fn name(towards: Towards, viewer: &Rc<str>) -> KeyName<'_> {
    KeyName {
        towards,
        viewer,
        caller: None,
    }
}

/// Queues a message while all viewers are connected.
fn put(
    pending: &mut Pending,
    (towards, viewer): (Towards, &str),
    message: Message,
    room: Room,
    dropped: impl FnMut(&Message),
) -> Result<(), Full> {
    let kept = pending.keep(
        name(towards, &id(viewer)),
        message,
        room,
        |_| false,
        dropped,
    );
    kept.map(|displaced| assert!(displaced.is_none()))
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
        put(&mut pending, (Towards::Master, "v"), message, ROOM, |old| {
            dropped.push(old.order)
        })
        .unwrap();
    }
    assert_eq!(dropped, [0, 1, 3, 2]);
    assert_eq!(pending.bytes(), 30);
    assert_eq!(orders(pending.take(Towards::Master, "v")), [4, 5, 6]);
    assert!(pending.is_empty() && pending.bytes() == 0);
}

/// Each word is the number of a connection and a message: `o` for its first offer, `O` for a later one, `c` for a
/// candidate.
#[test]
fn a_connection_s_first_offer_keeps_its_own_candidates() {
    let cases = [
        ("1c 1o", "1c 1o"),
        ("1c 1o 1c 1O", "1O"),
        ("1c 1o 1c", "1c 1o 1c"),
        ("1c 2o", "2o"),
        ("1c 2c 1o", "1c 1o"),
        ("1c 1o 2c 2o", "2c 2o"),
        ("1c 1o 1c 2o 2c", "2o 2c"),
        // Messages from another node all have the same sender, about which nothing is known.
        ("0c 0o 0c", "0c 0o 0c"),
        ("0c 0o 1c 1o", "1c 1o"),
        ("1c 0O", "0O"),
    ];
    for (sent, kept) in cases {
        let mut pending = Pending::default();
        for (order, word) in (0..).zip(sent.split(' ')) {
            let (number, kind) = word.split_at(1);
            let number = number.parse::<u32>().unwrap();
            let action = match kind {
                "c" => Action::IceCandidate,
                _ => Action::SdpOffer,
            };
            let message = Message {
                from: (number > 0).then(|| SessionKey::new(number, 0)),
                first: kind == "o",
                ..message(action, order)
            };
            put(&mut pending, (Towards::Master, "v"), message, ROOM, |_| ()).unwrap();
        }
        let left = pending.take(Towards::Master, "v").into_iter();
        let left = left.map(|message| {
            let number = message.from.map_or(0, SessionKey::slot);
            let kind = match (message.action, message.first) {
                (Action::IceCandidate, _) => "c",
                (_, true) => "o",
                (_, false) => "O",
            };
            format!("{number}{kind}")
        });
        assert_eq!(left.collect::<Vec<_>>().join(" "), kept, "of {sent}");
    }
}

#[test]
fn the_oldest_candidate_is_evicted_first() {
    let mut pending = Pending::default();
    let mut dropped = Vec::new();
    for order in 0..40 {
        let message = message(Action::IceCandidate, order);
        put(&mut pending, (Towards::Viewer, "v"), message, ROOM, |old| {
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
        put(
            pending,
            (Towards::Master, viewer),
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
        put(
            &mut pending,
            (Towards::Master, viewer),
            message(action, order as u64),
            ROOM,
            |_| (),
        )
        .unwrap();
    }
    put(
        &mut pending,
        (Towards::Viewer, "a"),
        message(Action::SdpAnswer, 9),
        ROOM,
        |_| (),
    )
    .unwrap();
    let taken = pending.take_for_master(|_| false, |_| false);
    let flat = taken
        .into_iter()
        .map(|(rank, messages)| (rank, orders(messages)));
    assert_eq!(flat.collect::<Vec<_>>(), [(0, vec![0, 3]), (2, vec![2])]);
    assert_eq!(pending.bytes(), 10);
}

#[test]
fn keys_of_viewers_that_are_gone_come_last_and_make_room_first() {
    let mut pending = Pending::default();
    let viewers = ["gone-1", "here-1", "gone-2", "here-2", "gone-3", "here-1"];
    for (order, viewer) in (0..).zip(viewers) {
        let action = match order {
            5 => Action::IceCandidate,
            _ => Action::SdpOffer,
        };
        let message = message(action, order);
        put(
            &mut pending,
            (Towards::Master, viewer),
            message,
            ROOM,
            |_| (),
        )
        .unwrap();
    }
    let gone = |viewer: &str| viewer.starts_with("gone");
    let (_, viewer, _) = pending.evict(gone).unwrap();
    assert_eq!(&*viewer, "gone-1", "here-1 holds more");
    let taken = pending.take_for_master(|_| false, gone).into_iter();
    let last = u64::MAX;
    assert_eq!(
        Vec::from_iter(taken.map(|(place, messages)| (place, orders(messages)))),
        [
            (1, vec![1, 5]),
            (3, vec![3]),
            (last, vec![2]),
            (last, vec![4])
        ]
    );
}

#[test]
fn a_closed_viewer_s_key_goes_if_another_one_of_its_caller_is_there() {
    let mut pending = Pending::default();
    for (order, (viewer, who)) in (1..).zip([("a", 1), ("b", 1), ("c", 2), ("d", 0)]) {
        let viewer = id(viewer);
        let name = KeyName {
            caller: caller(who),
            ..name(Towards::Master, &viewer)
        };
        let offer = message(Action::SdpOffer, order);
        pending.keep(name, offer, ROOM, |_| false, |_| ()).unwrap();
    }
    let close = |pending: &mut Pending, viewers: &[&str]| {
        let viewers = viewers.iter();
        viewers.for_each(|id| pending.set_closed(Towards::Master, id, Some(Now(50))));
    };
    let taken = |pending: &mut Pending, now, gone: bool, connected: Option<Option<CallerId>>| {
        let others = |caller| Some(caller) == connected;
        let key = pending.take_closed(Now(now), |_| gone, others);
        key.map(|(viewer, messages)| (viewer.to_string(), messages.len()))
    };
    close(&mut pending, &["a", "b", "c", "d", "nobody"]);
    pending.set_closed(Towards::Viewer, "a", None); // messages kept for the viewer have another key
    assert_eq!(pending.next_expiry(), Some(Now(50)));
    assert_eq!(taken(&mut pending, 49, true, None), None);
    assert_eq!(
        taken(&mut pending, 50, true, None),
        Some(("a".to_owned(), 1)),
        "for b"
    );
    assert_eq!(taken(&mut pending, 50, true, None), None, "nobody else");
    assert_eq!(pending.next_expiry(), Some(Now(102)), "and no more");
    assert_eq!(pending.bytes(), 30);
    for (viewer, who) in [("c", 2), ("d", 0)] {
        close(&mut pending, &[viewer]);
        assert_eq!(
            taken(&mut pending, 50, false, Some(caller(who))),
            None,
            "it is back"
        );
        close(&mut pending, &[viewer]);
        assert_eq!(taken(&mut pending, 50, true, Some(caller(1))), None);
        close(&mut pending, &[viewer]);
        let goes = Some((viewer.to_owned(), 1));
        assert_eq!(taken(&mut pending, 50, true, Some(caller(who))), goes);
    }
}

#[test]
fn returned_messages_are_before_newer_ones() {
    let mut pending = Pending::default();
    let mut dropped = Vec::new();
    let mut keep = |pending: &mut Pending, message| {
        put(pending, (Towards::Viewer, "v"), message, ROOM, |old| {
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
    assert_eq!(dropped.as_slice(), &[7][..]);
    assert_eq!(orders(pending.take(Towards::Viewer, "v")), vec![8]);
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
        put(
            &mut pending,
            (Towards::Master, viewer),
            message,
            ROOM,
            |_| panic!(),
        )
        .unwrap();
    }
    let evicted: Vec<u64> = std::iter::from_fn(|| pending.evict(|_| false))
        .map(|(_, _, message)| message.order)
        .collect();
    assert_eq!(evicted, [2, 3, 0, 1]);
    assert!(pending.is_empty() && pending.bytes() == 0);
}

#[test]
fn what_a_message_takes_the_place_of_makes_room_for_it() {
    let mut pending = Pending::default();
    let growth = |pending: &Pending, viewer: &str, bytes, most| {
        let viewer = id(viewer);
        let mut offer = message(Action::SdpOffer, 2);
        offer.frame = vec![0; bytes].into();
        pending.growth(name(Towards::Master, &viewer), &offer, most, |_| false)
    };
    assert_eq!(growth(&pending, "v", 10, 9), None);
    assert_eq!(growth(&pending, "v", 10, 10), Some(10));
    let kept = message(Action::SdpOffer, 1);
    put(&mut pending, (Towards::Master, "v"), kept, ROOM, |_| ()).unwrap();
    assert_eq!(growth(&pending, "v", 12, 12), Some(2));
    assert_eq!(growth(&pending, "w", 10, 19), None);
}

#[test]
fn each_message_expires_on_its_own() {
    let mut pending = Pending::default();
    for order in [1, 2] {
        put(
            &mut pending,
            (Towards::Viewer, "v"),
            message(Action::IceCandidate, order),
            ROOM,
            |_| (),
        )
        .unwrap();
    }
    assert_eq!(pending.next_expiry(), Some(Now(101)));
    let mut expired = Vec::new();
    let is_over = |_: Towards, _: &str, message: &Message| message.expires <= Now(101);
    pending.drop_if(is_over, |_, _, message| expired.push(message.order));
    assert_eq!(expired.as_slice(), &[1][..]);
    assert_eq!(pending.next_expiry(), Some(Now(102)));
}

fn caller(number: u64) -> Option<CallerId> {
    number.checked_sub(1).map(CallerId::of_hash)
}

/// A key: its caller (0 for none), its viewer, and its number in the order of creation.
type Key = (u64, String, u64);

/// A queue together with the keys that it is expected to hold.
#[derive(Default)]
struct Watched {
    pending: Pending,
    keys: Vec<Key>,
}

impl Watched {
    fn held(&self, who: u64) -> usize {
        self.keys.iter().filter(|key| key.0 == who).count()
    }

    /// Queues an offer from a viewer of a caller. The id of the viewer identifies the caller.
    fn offer(&mut self, who: u64, viewer: &str, order: u64, here: &[String]) -> Result<(), Full> {
        let wanted = self.expect(who, viewer, order, here);
        let before: Vec<String> = self.keys.iter().map(|key| key.1.clone()).collect();
        let viewer = id(viewer);
        let name = KeyName {
            caller: caller(who),
            ..name(Towards::Master, &viewer)
        };
        let gone = |viewer: &str| !here.iter().any(|one| one == viewer);
        let offer = message(Action::SdpOffer, order);
        let kept = self.pending.keep(name, offer, ROOM, gone, |_| ());
        let displaced = kept.clone().ok().flatten().map(|key| key.1.to_string());
        let (left, next) = match wanted {
            Ok((left, next)) => (left, next),
            Err(Full) => {
                assert_eq!(kept, Err(Full), "{before:?}");
                return Err(Full);
            }
        };
        assert!(kept.is_ok(), "{viewer} found no room in {before:?}");
        assert_eq!(displaced, left);
        self.keys = next;
        assert_eq!(self.pending.bytes(), 10 * self.keys.len());
        Ok(())
    }

    /// States the rule in a simple form. A caller that has used up its share evicts the oldest of its own keys whose
    /// viewer is gone. If all keys are taken, the other caller with the most keys evicts one in the same way, provided
    /// that it still has at least as many keys as the newcomer afterwards.
    fn expect(
        &self,
        who: u64,
        viewer: &str,
        order: u64,
        here: &[String],
    ) -> Result<(Option<String>, Vec<Key>), Full> {
        let mut next = self.keys.clone();
        if let Some(known) = next.iter_mut().find(|key| key.1 == viewer) {
            known.2 = order;
            return Ok((None, next));
        }
        let gone: Vec<_> = (self.keys.iter())
            .filter(|key| !here.contains(&key.1))
            .collect();
        let oldest_of = |who| {
            let all = gone.iter().filter(|key| key.0 == who);
            all.min_by_key(|key| key.2).map(|key| key.1.clone())
        };
        let left = if who != 0 && self.held(who) == 16 {
            Some(oldest_of(who).ok_or(Full)?)
        } else if self.keys.len() == 64 {
            let others = (0..10).filter(|other| self.held(*other) >= self.held(who) + 2);
            let able = others.filter(|other| oldest_of(*other).is_some());
            let most = able.clone().map(|other| self.held(other)).max();
            let most = able.filter(|other| Some(self.held(*other)) == most);
            let oldest = most.filter_map(oldest_of);
            Some(oldest.min_by_key(|id| began(&self.keys, id)).ok_or(Full)?)
        } else {
            None
        };
        next.retain(|key| Some(&key.1) != left.as_ref());
        next.push((who, viewer.to_owned(), order));
        Ok((left, next))
    }
}

fn began(keys: &[Key], viewer: &str) -> u64 {
    keys.iter()
        .find(|key| key.1 == viewer)
        .map_or(0, |key| key.2)
}

#[test]
fn callers_have_their_parts_of_the_keys_and_who_has_most_makes_room() {
    let (mut refused, mut full) = (0, 0);
    for seed in 0..200 {
        let mut random = fastrand::Rng::with_seed(seed);
        let callers = random.u64(1..10);
        let mut here: Vec<String> = Vec::new();
        let mut watched = Watched::default();
        for order in 0..500 {
            let who = random.u64(0..callers) * random.u64(0..3).min(1);
            let viewer = format!("{who}-{}", random.u64(0..40));
            match random.u8(0..8) {
                0 => here.retain(|_| random.bool()),
                1..4 if !here.contains(&viewer) => here.push(viewer.clone()),
                _ => {}
            }
            let before = watched.held(who);
            if watched.offer(who, &viewer, order, &here).is_err() {
                refused += 1;
                assert!(before > 0 || here.len() >= 16, "a newcomer was refused");
            }
            full += usize::from(watched.keys.len() == PENDING_KEYS_MAX);
            assert!(watched.keys.len() <= PENDING_KEYS_MAX);
            assert!((1..10).all(|who| watched.held(who) <= PENDING_KEYS_OF_CALLER_MAX));
        }
    }
    assert!(
        refused > 100 && full > 1000,
        "{refused} refused, {full} full"
    );
}

#[test]
fn a_viewer_of_another_caller_finds_room_whatever_one_keeps() {
    let mut watched = Watched::default();
    let here: Vec<String> = (0..16).map(|number| format!("1-{number}")).collect();
    let mut kept = 0;
    for order in 0..64 {
        let viewer = format!("1-{order}");
        kept += usize::from(watched.offer(1, &viewer, order, &here).is_ok());
    }
    assert_eq!(kept, 16, "all of them are connected");
    assert_eq!(watched.offer(2, "2-0", 64, &here), Ok(()));
    // Once these viewers are gone, the caller's oldest keys are evicted in favour of newer ones.
    for order in 65..200 {
        let viewer = format!("1-{order}");
        assert_eq!(watched.offer(1, &viewer, order, &[]), Ok(()));
    }
    assert_eq!((watched.held(1), watched.held(2)), (16, 1));
}

#[test]
fn a_key_stays_that_of_the_caller_that_began_it() {
    let mut pending = Pending::default();
    let viewer = id("v");
    let of = |number| KeyName {
        caller: caller(number),
        ..name(Towards::Master, &viewer)
    };
    let mut keep = |number, order| {
        let offer = message(Action::SdpOffer, order);
        pending.keep(of(number), offer, ROOM, |_| true, |_| ())
    };
    assert_eq!(keep(1, 1), Ok(None));
    assert_eq!(keep(2, 2), Ok(None));
    assert_eq!(pending.facts_of(of(2)), (caller(1), None));
}

#[test]
fn a_caller_has_a_quarter_of_the_bytes_or_one_message() {
    let mut pending = Pending::default();
    let mut keep = |number, viewer: &str, bytes, order| {
        let viewer = id(viewer);
        let name = KeyName {
            caller: caller(number),
            ..name(Towards::Master, &viewer)
        };
        let mut offer = message(Action::SdpOffer, order);
        offer.frame = vec![0; bytes].into();
        pending.keep(name, offer, ROOM, |_| true, |_| ()).is_ok()
    };
    assert!(keep(1, "a", 200, 1) && keep(1, "b", 50, 2));
    assert!(!keep(1, "c", 1, 3));
    assert!(
        keep(1, "b", 40, 4) && keep(1, "c", 10, 5),
        "the old one goes"
    );
    assert!(!keep(1, "c", 11, 6));
    // A single message is always accepted. Without a caller there is no share.
    assert!(keep(2, "d", 300, 7) && keep(2, "d", 400, 8) && !keep(2, "e", 1, 9));
    assert!(keep(0, "f", 350, 10));
    assert!(
        !keep(0, "g", 1, 11) && !keep(3, "h", 1, 12),
        "the channel is full"
    );
}
