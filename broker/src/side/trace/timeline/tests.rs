use super::*;
use crate::side::trace::hints::{HttpCall, Unaccepteds};
use broker_core::shard::RoleBy;
use broker_core::time::Now;

/// The events read of a channel, written down in the order in which they happened.
#[derive(Default)]
struct Script(Reading);

impl Script {
    fn at(&mut self, at_us: u64, kind: TraceKind) -> &mut Self {
        let serial = self.0.events.len() as u64;
        self.0.events.insert(
            0,
            TraceEvent {
                serial,
                at_us,
                kind,
            },
        );
        self
    }

    fn joins(&mut self, at_us: u64, number: u64, id: &str) -> &mut Self {
        let role = if id.is_empty() {
            Role::Master
        } else {
            Role::Viewer
        };
        self.at(
            at_us,
            TraceKind::Joined(session(number), role, RoleBy::ClientId),
        )
    }

    fn leaves(&mut self, at_us: u64, number: u64, id: &str, opened_us: u64) -> &mut Self {
        let peer = Box::new(peer(number, id, opened_us));
        self.at(at_us, TraceKind::Left(peer, Some(EndReason::PeerClosed)))
    }

    fn is_connected(&mut self, number: u64, id: &str, opened_us: u64) -> &mut Self {
        self.0.connected.push(peer(number, id, opened_us));
        self
    }

    fn read(&mut self, now_us: u64) -> Story {
        let mut reading = std::mem::take(&mut self.0);
        reading.read.1 = now_us;
        Story::of(reading)
    }
}

fn session(number: u64) -> SessionKey {
    SessionKey::unpack(number)
}

/// A master's without an id.
fn peer(number: u64, id: &str, opened_us: u64) -> TracePeer {
    let client_id = Some(id).filter(|id| !id.is_empty());
    TracePeer {
        unconfirmed: false,
        by_tcp: false,
        offer: None,
        session: session(number),
        client_id: client_id.map(Box::from),
        mark: client_id.map(mark),
        remote: ([192, 0, 2, 1], 9).into(),
        opened_us,
    }
}

fn mark(id: &str) -> u64 {
    id.bytes().fold(7, |sum, byte| sum * 31 + u64::from(byte))
}

/// A message that one connection sent to another.
fn relayed(action: Action, towards: Towards, from: u64, to: u64) -> TraceKind {
    TraceKind::Message {
        action: Some(action),
        towards,
        passage: Passage::Relayed,
        bytes: 100,
        most: 0,
        candidates: None,
        from: Some(session(from)),
        to: Some(session(to)),
        mark: None,
        viewer: None,
    }
}

/// A message that a viewer sent, and that went no further.
fn came(action: Action, passage: Passage, from: u64) -> TraceKind {
    TraceKind::Message {
        action: Some(action),
        towards: Towards::Master,
        passage,
        bytes: 100,
        most: 0,
        candidates: None,
        from: Some(session(from)),
        to: None,
        mark: None,
        viewer: None,
    }
}

/// A message that a master sent to a client id, and that went no further; whether the name is still known.
fn sent_to(id: &str, action: Action, passage: Passage, from: u64, named: bool) -> TraceKind {
    TraceKind::Message {
        action: Some(action),
        towards: Towards::Viewer,
        passage,
        bytes: 100,
        most: 0,
        candidates: None,
        from: Some(session(from)),
        to: None,
        mark: Some(mark(id)),
        viewer: named.then(|| id.into()),
    }
}

/// A message of master 9 that names nobody and is not accepted.
fn faulty(reason: Unaccepted) -> TraceKind {
    TraceKind::Message {
        action: None,
        towards: DOWN,
        passage: Passage::Unaccepted(reason),
        bytes: 0,
        most: 0,
        candidates: None,
        from: Some(session(9)),
        to: None,
        mark: None,
        viewer: None,
    }
}

/// The passage of a kept message from or for a client id.
fn became(
    id: &str,
    action: Action,
    towards: Towards,
    passage: Passage,
    to: Option<u64>,
) -> TraceKind {
    TraceKind::Message {
        action: Some(action),
        towards,
        passage,
        bytes: 100,
        most: 0,
        candidates: None,
        from: None,
        to: to.map(session),
        mark: Some(mark(id)),
        viewer: None,
    }
}

/// The moments of each viewer's events.
fn moments(story: &Story) -> Vec<Vec<u64>> {
    let of = |one: &Connection| one.events.iter().map(|event| event.at_us).collect();
    story.viewers.iter().map(of).collect()
}

const OFFER: Action = Action::SdpOffer;
const ANSWER: Action = Action::SdpAnswer;
const CANDIDATE: Action = Action::IceCandidate;
const UP: Towards = Towards::Master;
const DOWN: Towards = Towards::Viewer;

#[test]
fn an_event_of_a_client_id_belongs_to_its_last_connection_before_it_or_to_the_next() {
    let mut script = Script::default();
    for at_us in [500, 1500, 2500, 3500] {
        script.at(at_us, became("v1", OFFER, UP, Passage::Expired, None));
    }
    script
        .joins(1000, 1, "v1")
        .leaves(2000, 1, "v1", 1000)
        .joins(3000, 2, "v1")
        .is_connected(2, "v1", 3000)
        .joins(1, 3, "other")
        .is_connected(3, "other", 1);
    let story = script.read(9000);
    let mut all = moments(&story);
    all.iter_mut().for_each(|moments| moments.sort_unstable());
    assert_eq!(
        all,
        [vec![1], vec![500, 1000, 1500, 2000, 2500], vec![3000, 3500]]
    );
}

#[test]
fn an_event_that_names_a_connection_is_that_ones_whenever_it_was() {
    let mut script = Script::default();
    script
        .joins(0, 9, "")
        .is_connected(9, "", 0)
        .joins(1000, 1, "v1")
        .leaves(5000, 1, "v1", 1000)
        .joins(2000, 2, "v1")
        .is_connected(2, "v1", 2000)
        .at(3000, relayed(ANSWER, DOWN, 9, 1))
        .at(3001, relayed(OFFER, UP, 2, 9))
        .at(3002, came(CANDIDATE, Passage::Kept, 1))
        .at(
            3003,
            became("v1", ANSWER, DOWN, Passage::Delivered, Some(1)),
        )
        .at(3004, became("v1", OFFER, UP, Passage::Delivered, Some(9)))
        .at(3005, TraceKind::Superseded(session(1), session(2), false))
        .at(3006, TraceKind::ToldToGo(session(2)));
    let story = script.read(9000);
    assert_eq!(
        moments(&story),
        [
            vec![1000, 5000, 3000, 3002, 3003, 3005],
            vec![2000, 3001, 3004, 3006],
        ],
        "what went to the master is that of the viewer that came last before"
    );
    let masters: Vec<_> = story.masters.iter().map(Connection::session).collect();
    assert_eq!(masters, [Some(session(9))]);
    assert_eq!(story.masters[0].events.len(), 1, "its own: that it joined");
}

#[test]
fn a_faulty_message_of_a_master_that_names_nobody_is_the_masters_own() {
    let mut script = Script::default();
    let faulty = faulty(Unaccepted::NotJson);
    script
        .joins(0, 9, "")
        .is_connected(9, "", 0)
        .joins(1, 1, "v1")
        .is_connected(1, "v1", 1)
        .at(5, faulty);
    let story = script.read(9);
    assert_eq!(moments(&story), [[1]]);
    assert_eq!(story.masters[0].events.len(), 2);
    let reasons = |one: &Connection| -> Vec<_> { one.facts.unaccepted.counts().collect() };
    assert_eq!(reasons(&story.viewers[0]), []);
    assert_eq!(reasons(&story.masters[0]), [(Unaccepted::NotJson, 1)]);
}

#[test]
fn a_client_id_that_never_connected_has_the_name_that_the_master_wrote() {
    let mut script = Script::default();
    script
        .is_connected(9, "", 0)
        .at(10, sent_to("ghost", ANSWER, Passage::Kept, 9, true))
        .at(20, sent_to("lost", ANSWER, Passage::Kept, 9, false))
        .at(30, became("ghost", ANSWER, DOWN, Passage::Expired, None));
    let story = script.read(90);
    let mut shown: Vec<_> = story
        .viewers
        .iter()
        .map(|one| (one.client_id.as_deref(), one.joined_us, one.events.len()))
        .collect();
    shown.sort_unstable();
    assert_eq!(shown, [(None, 20, 1), (Some("ghost"), 10, 2)]);
    for one in &story.viewers {
        assert!(one.peer.is_none() && one.left.is_none() && one.facts.whole);
        assert_eq!(one.facts.missed, Some(0.0), "the answer found nobody");
    }
}

#[test]
fn a_connection_begins_with_its_join_if_that_is_known() {
    let mut script = Script::default();
    script
        .joins(1234, 1, "v1")
        .leaves(5000, 1, "v1", 1000)
        .at(6000, came(OFFER, Passage::Kept, 2))
        .is_connected(2, "v2", 2000);
    let story = script.read(9000);
    let joined: Vec<_> = story
        .viewers
        .iter()
        .map(|one| (one.joined_us, one.facts.whole))
        .collect();
    assert_eq!(joined, [(1234, true), (2000, false)]);
    let [one, two] = &story.viewers[..] else {
        panic!("two viewers")
    };
    assert_eq!(one.left, Some((5000, Some(EndReason::PeerClosed))));
    assert_eq!((one.ms(1234), one.ms(3734), one.ms(234)), (0.0, 2.5, -1.0));
    assert_eq!(one.facts.left, Some(3.766));
    assert_eq!((two.facts.offer, two.facts.now), (Some(4.0), 7.0));
}

#[test]
fn what_is_left_out_by_client_by_time_and_by_number() {
    let story = || {
        let mut script = Script::default();
        script
            .joins(1, 8, "")
            .leaves(15, 8, "", 1)
            .joins(16, 9, "")
            .is_connected(9, "", 16);
        script
            .joins(10, 1, "v1")
            .leaves(20, 1, "v1", 10)
            .joins(30, 2, "v2")
            .is_connected(2, "v2", 30)
            .at(40, sent_to("ghost", ANSWER, Passage::Kept, 9, true));
        script.read(90)
    };
    let ids = |story: &Story| {
        let ids = story.viewers.iter().map(|one| one.client_id.clone());
        ids.flatten().map(String::from).collect::<Vec<_>>()
    };
    let whole = story();
    assert_eq!(
        (ids(&whole), whole.masters.len(), whole.cut),
        (vec!["v1".into(), "v2".into(), "ghost".into()], 2, false)
    );

    let mut one = story();
    one.only("v2");
    assert_eq!((ids(&one), one.masters.len()), (vec!["v2".to_owned()], 2));

    let mut earlier = story();
    earlier.since(15);
    assert_eq!(earlier.masters.len(), 2, "one left at that moment");

    let mut later = story();
    later.since(20);
    assert_eq!(moments(&later), [vec![20], vec![30], vec![40]]);
    assert_eq!(later.masters.len(), 1, "one left before");
    later.since(41);
    assert_eq!(ids(&later), ["v2"], "it is connected");
    assert!(!later.cut);

    let mut newest = story();
    newest.newest(4);
    assert_eq!((newest.cut, newest.masters.len()), (false, 2));
    newest.newest(2);
    assert_eq!(moments(&newest), [vec![30], vec![40]]);
    assert_eq!((newest.cut, newest.masters.len()), (true, 2));
    newest.newest(1);
    assert_eq!(ids(&newest), ["v2", "ghost"], "it is connected");
    assert_eq!(moments(&newest), [vec![], vec![40]]);
    assert_eq!(newest.masters[0].session(), Some(session(9)));
}

#[test]
fn facts_follow_from_all_that_is_known_whatever_is_shown() {
    let mut script = Script::default();
    script
        .joins(1000, 1, "v1")
        .at(2000, came(OFFER, Passage::Kept, 1))
        .at(3000, came(CANDIDATE, Passage::Kept, 1))
        .at(
            3000,
            came(CANDIDATE, Passage::Unaccepted(Unaccepted::TooFast), 1),
        )
        .joins(9000, 9, "")
        .at(9000, became("v1", OFFER, UP, Passage::Delivered, Some(9)))
        .at(
            9100,
            sent_to(
                "v1",
                CANDIDATE,
                Passage::Unaccepted(Unaccepted::NoRoom),
                9,
                true,
            ),
        )
        .at(9200, relayed(CANDIDATE, DOWN, 9, 1))
        .at(9300, relayed(ANSWER, DOWN, 9, 1))
        .at(9400, relayed(ANSWER, DOWN, 9, 1))
        .is_connected(1, "v1", 1000)
        .is_connected(9, "", 9000);
    let mut story = script.read(11_000);
    story.newest(1);
    let facts = &story.viewers[0].facts;
    let mut unaccepted = Unaccepteds::default();
    let lengths = Lengths {
        bytes: 100,
        most: 0,
    };
    unaccepted.add(Unaccepted::TooFast, lengths);
    unaccepted.add(Unaccepted::NoRoom, lengths);
    let wanted = Facts {
        now: 10.0,
        whole: true,
        role_by: Some(RoleBy::ClientId),
        master: true,
        offer: Some(1.0),
        arrived: Some(8.0),
        answer: Some(8.3),
        viewer_trickled: Some(2.0),
        master_trickled: Some(8.2),
        viewer_candidates: 1,
        master_candidates: 1,
        longest: 100,
        unaccepted,
        ..Facts::default()
    };
    assert_eq!(*facts, wanted);
}

#[test]
fn a_master_counts_as_replaced_between_the_offer_and_its_answer_only() {
    for (second, answer, replaced) in [
        (3000, None, Some(2.0)),
        (3000, Some(4000), Some(2.0)),
        (3000, Some(2500), None),
        (2000, None, None),
        (1500, None, None),
    ] {
        let mut script = Script::default();
        script
            .joins(0, 8, "")
            .joins(1000, 1, "v1")
            .at(2000, relayed(OFFER, UP, 1, 8))
            .joins(second, 9, "")
            .leaves(second, 8, "", 0)
            .is_connected(1, "v1", 1000)
            .is_connected(9, "", second);
        if let Some(at_us) = answer {
            script.at(at_us, relayed(ANSWER, DOWN, 9, 1));
        }
        let story = script.read(9000);
        let found = story.viewers[0].facts.replaced.map(|(at, _)| at);
        assert_eq!(found, replaced, "{second} {answer:?}");
    }
}

/// The conditions of KEEP-9: what the events show, else what the shard has of the offer.
#[test]
fn what_becomes_of_the_offer_of_a_replaced_master_follows_from_its_condition() {
    let again_of = |more: &[(u64, TraceKind)], offer, repeats_after_ms| {
        let mut script = Script::default();
        script.0.repeats_after_ms = repeats_after_ms;
        script
            .joins(0, 8, "")
            .joins(1000, 1, "v1")
            .at(2000, relayed(OFFER, UP, 1, 8))
            .joins(3000, 9, "")
            .is_connected(9, "", 3000);
        script.0.connected.push(TracePeer {
            offer,
            ..peer(1, "v1", 1000)
        });
        for (at_us, kind) in more {
            script.at(*at_us, kind.clone());
        }
        let replaced = script.read(9000).viewers[0].facts.replaced;
        replaced.map(|(_, again)| again.to_string())
    };
    let again = |action, to| became("v1", action, UP, Passage::Repeated, to);
    let given = [
        (5000, again(OFFER, Some(9))),
        (5000, again(CANDIDATE, Some(9))),
    ];
    let returned = became("v1", OFFER, UP, Passage::Unconfirmed, Some(8));
    let due = Some(AwaitedMaster::Current(Now(11)));
    let not = |because: &str| {
        format!("its new connection does not get that offer again, since {because}")
    };
    let cases: [(&[(u64, TraceKind)], _, String); 8] = [
        (&given, None, Again::Given(2.0, 1).to_string()),
        (&[(3000, returned)], None, Again::Returned.to_string()),
        (
            &[(2500, relayed(CANDIDATE, DOWN, 8, 1))],
            None,
            not("the master has sent this viewer an ICE candidate"),
        ),
        (
            &[(3500, relayed(ANSWER, DOWN, 8, 1))],
            None,
            not("the master answered it before"),
        ),
        (
            &[(3500, relayed(OFFER, UP, 1, 9))],
            None,
            not("the viewer has sent a newer one"),
        ),
        (&[], due, Again::Due(2.0, 2000.0).to_string()),
        (
            &[],
            Some(AwaitedMaster::Next),
            Again::Next(2000.0).to_string(),
        ),
        (
            &[],
            None,
            not("its time was over, or it made room for others"),
        ),
    ];
    for (more, offer, wanted) in cases {
        assert_eq!(again_of(more, offer, Some(2000)), Some(wanted));
    }
    let off = again_of(&[], None, None);
    assert_eq!(off, Some(not("[signaling] repeat_offers is off")));
}

/// What the master sends for a call is no viewer's.
#[test]
fn a_call_over_http_is_known_by_its_answer_and_by_what_was_dropped() {
    let mut script = Script::default();
    let mut answer = sent_to("echo", ANSWER, Passage::AnsweredCall, 9, true);
    if let TraceKind::Message { candidates, .. } = &mut answer {
        *candidates = Some(4);
    }
    script
        .is_connected(9, "", 0)
        .at(10, sent_to("echo", CANDIDATE, Passage::ForCall, 9, true))
        .at(20, answer)
        .at(30, sent_to("echo", CANDIDATE, Passage::ForCall, 9, true));
    let facts = &script.read(90).viewers[0].facts;
    let call = HttpCall {
        answered: Some(Some(4)),
        dropped: 2,
    };
    assert_eq!((facts.call, facts.master_candidates), (Some(call), 0));
}

#[test]
fn an_earlier_offer_counts_until_it_is_answered() {
    for (answered, older) in [(false, true), (true, false)] {
        let mut script = Script::default();
        script
            .joins(0, 9, "")
            .leaves(8000, 9, "", 0)
            .joins(1000, 1, "v1")
            .at(2000, relayed(OFFER, UP, 1, 9));
        if answered {
            script.at(2500, relayed(ANSWER, DOWN, 9, 1));
        }
        script
            .leaves(3000, 1, "v1", 1000)
            .joins(4000, 2, "v1")
            .joins(4000, 3, "v2")
            .at(5000, relayed(ANSWER, DOWN, 9, 2))
            .is_connected(2, "v1", 4000)
            .is_connected(3, "v2", 4000);
        let story = script.read(9000);
        let found: Vec<bool> = story
            .viewers
            .iter()
            .map(|one| one.facts.older_offer)
            .collect();
        assert_eq!(found, [false, older, false], "answered: {answered}");
        assert!(!story.viewers[0].facts.master, "it has left");
    }
}

#[test]
fn a_viewer_without_an_answer_learns_why_its_master_was_not_accepted() {
    for (answer, wanted) in [(None, vec![Unaccepted::NotJson]), (Some(4000), vec![])] {
        let mut script = Script::default();
        script
            .joins(0, 9, "")
            .is_connected(9, "", 0)
            .joins(1000, 1, "v1")
            .is_connected(1, "v1", 1000)
            .at(1500, faulty(Unaccepted::Malformed))
            .at(2000, relayed(OFFER, UP, 1, 9))
            .at(3000, faulty(Unaccepted::NotJson))
            .at(3500, faulty(Unaccepted::NotJson));
        if let Some(at_us) = answer {
            script.at(at_us, relayed(ANSWER, DOWN, 9, 1));
        }
        let story = script.read(9000);
        let reasons = story.viewers[0].facts.of_master.iter();
        let reasons: Vec<Unaccepted> = reasons.map(|(reason, _)| *reason).collect();
        assert_eq!(reasons, wanted);
    }
}
