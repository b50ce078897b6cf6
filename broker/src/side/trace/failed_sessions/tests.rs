use super::*;
use broker_core::id::{Account, SessionKey};
use broker_core::journal::Unaccepted;
use codec::identifiers::ChannelArn;
use codec::ws::FrameError;

fn end(offered_ms: Option<u32>, answered_ms: Option<u32>) -> ConnectionEnd {
    ConnectionEnd {
        role: Role::Viewer,
        client_id: Some("v".into()),
        channel: Some("c".into()),
        account: Account(1),
        remote: ([127, 0, 0, 1], 9).into(),
        duration_ms: 20_000,
        messages_in: 3,
        messages_out: 5,
        returned: 0,
        offered_ms,
        answered_ms,
        reason: EndReason::PeerClosed,
        refused_by: None,
    }
}

#[test]
fn what_is_trouble_is_seen_at_the_end() {
    let cut = |reason| ConnectionEnd {
        reason,
        ..end(Some(1), Some(2))
    };
    let quiet = |messages_in, messages_out, duration_ms| ConnectionEnd {
        messages_in,
        returned: 0,
        messages_out,
        duration_ms,
        ..end(Some(1), Some(62))
    };
    let master = ConnectionEnd {
        role: Role::Master,
        ..end(Some(1), None)
    };
    #[rustfmt::skip] // a table, a case per row
    let cases = [
        ("as it should be", end(Some(1), Some(62)), None),
        ("no offer", end(None, None), None),
        ("a master", master.clone(), None),
        ("a master that is cut off", ConnectionEnd { reason: EndReason::SlowConsumer, ..master },
            Some(Trouble::CutOff)),
        ("unanswered", end(Some(1), None), Some(Trouble::Unanswered)),
        ("slow", end(Some(1), Some(3_001)), Some(Trouble::Slow)),
        ("not yet slow", end(Some(1), Some(3_000)), None),
        ("an answer to nobody", end(None, Some(9_000)), None),
        ("no candidates", quiet(2, 1, 2_062), Some(Trouble::NoCandidates)),
        ("none yet", quiet(2, 1, 2_061), None),
        ("neither trickles", quiet(1, 1, 9_000), None),
        ("slow reader", cut(EndReason::SlowConsumer), Some(Trouble::CutOff)),
        ("a bad frame", cut(EndReason::ProtocolError(FrameError::Unmasked)), Some(Trouble::CutOff)),
        ("too old", cut(EndReason::Age), None),
    ];
    for (name, end, trouble) in cases {
        let found = Trouble::of(&end).map(|(found, _)| found);
        assert_eq!(found, trouble, "{name}");
    }
}

#[test]
fn a_channel_pushes_out_its_own_and_all_are_bounded() {
    let mut ring = Ring::default();
    let of = |channel: String| ConnectionEnd {
        channel: Some(channel.into()),
        ..end(Some(1), None)
    };
    let push = |ring: &mut Ring, name: String| ring.ended(Wall(0), &of(name));
    push(&mut ring, "quiet".into());
    for _ in 0..TROUBLED_KEPT_MAX * 2 {
        push(&mut ring, "loud".into());
    }
    assert_eq!(ring.rows.len(), TROUBLED_PER_CHANNEL_MAX + 1);
    assert_eq!(ring.rows[0].channel.as_deref(), Some("quiet"));
    for number in 0..TROUBLED_KEPT_MAX * 2 {
        push(&mut ring, number.to_string());
    }
    assert_eq!(ring.rows.len(), TROUBLED_KEPT_MAX);
}

#[test]
fn a_trace_is_looked_at_soon_and_once_more_a_few_in_a_second() {
    let mut ring = Ring::default();
    for _ in 0..=TROUBLED_TRACED_PER_SECOND {
        ring.ended(Wall(1_000), &end(Some(500), None));
    }
    let none: [u64; 0] = [];
    let numbers = |ring: &mut Ring, now| -> Vec<u64> {
        let due = ring.take_due(Wall(now));
        due.iter().map(|row| row.number).collect()
    };
    assert_eq!(numbers(&mut ring, 1_499), none);
    let newest = TROUBLED_TRACED_PER_SECOND as u64;
    assert_eq!(
        numbers(&mut ring, 1_500),
        (1..=newest).rev().collect::<Vec<_>>()
    );
    assert_eq!(numbers(&mut ring, 2_500), [0]);
    assert_eq!(numbers(&mut ring, 15_999), none);
    assert_eq!(numbers(&mut ring, 16_000).len(), TROUBLED_TRACED_PER_SECOND);
    assert_eq!(numbers(&mut ring, 17_000), [0]);
    assert_eq!(numbers(&mut ring, 99_000), none);
}

#[test]
fn the_sentence_is_that_of_the_trace_or_of_the_end() {
    let hint = |kind, says: &str| Hint {
        kind,
        says: says.into(),
    };
    let expired = hint(HintKind::Other, "it expired");
    let lacking = hint(HintKind::NoCandidates, "neither side has any");
    let done = hint(HintKind::SignalingDone, "it took 62 ms");
    let cut = ConnectionEnd {
        reason: EndReason::SlowConsumer,
        ..end(Some(1), Some(2))
    };
    let lacks = ConnectionEnd {
        messages_in: 2,
        messages_out: 1,
        ..end(Some(1), Some(62))
    };
    let unanswered = "it left 19.5 s after its offer, without an answer";
    #[rustfmt::skip] // a table, a case per row
    let cases = [
        (end(Some(500), None), vec![], unanswered),
        (end(Some(500), None), vec![done.clone()], unanswered),
        (end(Some(500), None), vec![expired.clone()], "it expired"),
        (end(Some(1), Some(12_401)), vec![done.clone()], "the answer came 12.4 s after the offer"),
        (cut, vec![expired.clone()],
            "the broker closed it: it reads too slowly: its queue exceeded [limits] outbox_bytes"),
        (lacks.clone(), vec![expired.clone()], NO_MASTER_CANDIDATES),
        (lacks.clone(), vec![expired, lacking], "neither side has any"),
    ];
    for (end, hints, says) in cases {
        let mut ring = Ring::default();
        ring.ended(Wall(0), &end);
        ring.explain(7, vec![]);
        let version = ring.version;
        ring.explain(0, hints.clone());
        ring.explain(0, hints.clone());
        assert_eq!(ring.rows[0].json()["says"], says);
        assert_eq!(ring.version, version + u64::from(!hints.is_empty()));
    }
    let mut ring = Ring::default();
    ring.ended(Wall(0), &lacks);
    ring.explain(0, vec![done]);
    assert!(ring.rows.is_empty(), "its answer contains them");
}

#[test]
fn messages_that_are_not_accepted_are_one_row_of_their_connection_and_reason() {
    let mut ring = Ring::default();
    let of = |port: u16, reason| UnacceptedMessage {
        channel: "c".into(),
        account: Account(1),
        role: Role::Master,
        client_id: None,
        remote: ([127, 0, 0, 1], port).into(),
        action: None,
        reason,
        bytes: 40_112,
        most: 32_768,
        unlogged: 0,
    };
    ring.count(Wall(1), &of(1, Unaccepted::TooLong));
    ring.count(Wall(2), &of(2, Unaccepted::NotJson));
    ring.count(Wall(3), &of(1, Unaccepted::TooLong));
    let rows: Vec<Value> = ring.rows.iter().map(Row::json).collect();
    let says: Vec<&Value> = rows.iter().map(|row| &row["says"]).collect();
    let wanted = [
        "1 message was not accepted: it is not a JSON object",
        "2 messages were not accepted: messagePayload of 40,112 characters; expected at most 32,768",
    ];
    assert_eq!(says, wanted);
    assert_eq!(rows[1]["trouble"], "unaccepted");
    assert!(rows[1]["clientId"].is_null() && rows[1]["reason"].is_null());
}

#[test]
fn a_displaced_connection_stands_first_until_it_is_gone() {
    let troubled = Troubled::default();
    troubled.0.lock().ended(Wall(0), &end(Some(1), None));
    let arn = "arn:aws:kinesisvideo:us-west-2:123456789012:channel/two/1700000000000";
    let line = |slot, sends| DisplacedLine {
        session: SessionKey::new(slot, 0),
        arn: ChannelArn::parse(arn, false).unwrap(),
        client_id: None,
        remote: ([10, 0, 0, 1], 9).into(),
        by: ([10, 0, 0, 2], 9).into(),
        since: Wall(1000),
        sends,
    };
    let stand = |lines| {
        let before = troubled.version();
        troubled.0.lock().stand(lines);
        troubled.version() > before
    };
    assert!(stand(vec![line(1, false)]));
    assert!(!stand(vec![line(1, false)]), "nothing has changed");
    assert!(stand(vec![line(1, true)]));
    let rows = troubled.json();
    let kinds: Vec<&Value> = (0..2).map(|place| &rows[place]["trouble"]).collect();
    assert_eq!(kinds, ["displaced", "unanswered"]);
    assert_eq!(
        rows[0]["says"],
        "10.0.0.2 took the place of 10.0.0.1 as the channel's master; that connection stays and receives nothing; it \
         still sends: two devices or processes"
    );
    let many = (0..100).map(|slot| line(slot, false)).collect();
    assert!(stand(many));
    assert_eq!(troubled.0.lock().displaced.len(), TROUBLED_SHOWN_MAX);
    assert!(stand(Vec::new()));
    assert_eq!(troubled.json()[0]["trouble"], "unanswered");
}
