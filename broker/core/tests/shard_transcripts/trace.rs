//! The recorder's notes of a channel when an operator asks.

use crate::shard_transcripts::script::Script;

use broker_core::id::{Identity, SessionKey};
use broker_core::limits::INSPECTED_NOTES_PER_STEP;
use broker_core::shard::{
    Forget, Question, Reply, Towards, TraceEvent, TraceKind, TracePeer, TracePlace, TraceStep,
};
use broker_core::time::Wall;

/// Everything that is known of a channel, oldest first, read in steps of this many events.
pub(crate) struct Trace {
    peers: Vec<TracePeer>,
    events: Vec<TraceEvent>,
    since_us: Option<u64>,
}

fn step(
    script: &mut Script,
    name: &str,
    from: Option<TracePlace>,
    limit: usize,
) -> Option<TraceStep> {
    let question = Question::Trace {
        identity: Identity::new("us-west-2", "123456789012", name),
        from,
        limit,
    };
    let answers = script.inspect(&question).into_iter();
    let steps = answers.filter_map(|reply| {
        let Reply::Trace(step) = reply else {
            panic!("a trace is answered by a trace, not {reply:?}");
        };
        step
    });
    let mut steps: Vec<_> = steps.collect();
    assert!(steps.len() <= 1, "a channel lives on one shard");
    steps.pop().map(|step| *step)
}

pub(crate) fn trace(script: &mut Script, name: &str, limit: usize) -> Trace {
    let mut all = Trace {
        peers: Vec::new(),
        events: Vec::new(),
        since_us: None,
    };
    let mut from = None;
    loop {
        let step = step(script, name, from, limit).expect("the channel is there");
        assert!(step.events.len() <= limit);
        all.peers.extend(step.connected);
        for event in &step.events {
            if let TraceKind::Left(peer, _) = &event.kind {
                all.peers.push((**peer).clone());
            }
        }
        all.events.extend(step.events);
        all.since_us = step.since_us;
        from = step.next;
        if from.is_none() {
            break;
        }
    }
    all.events.reverse();
    assert!(all.events.is_sorted_by_key(|event| event.serial));
    all
}

impl Trace {
    /// `m` and viewers by their client ids; the second connection of one is `v1'`, and so on.
    fn name(&self, session: SessionKey) -> String {
        let Some(peer) = self.peers.iter().find(|peer| peer.session == session) else {
            return "?".into();
        };
        let mut same: Vec<&TracePeer> = self.peers.iter().collect();
        same.retain(|other| other.client_id == peer.client_id);
        same.sort_by_key(|peer| peer.opened_us);
        let place = same.iter().position(|other| other.session == session);
        let name = peer.client_id.as_deref().unwrap_or("m");
        format!("{name}{}", "'".repeat(place.expect("it is one of them")))
    }

    fn of_mark(&self, mark: u64) -> &str {
        let peer = self.peers.iter().find(|peer| peer.mark == Some(mark));
        peer.and_then(|peer| peer.client_id.as_deref())
            .unwrap_or("?")
    }

    fn line(&self, event: &TraceEvent) -> String {
        let name = |session: &SessionKey| self.name(*session);
        let what = match &event.kind {
            TraceKind::Joined(who, ..) => format!("{} joined", name(who)),
            TraceKind::Left(who, reason) => {
                let reason = reason.expect("a known one");
                format!("{} left: {reason}", name(&who.session))
            }
            TraceKind::Superseded(older, newer, _) => {
                format!("{} superseded by {}", name(older), name(newer))
            }
            TraceKind::ToldToGo(who) => format!("{} GO_AWAY", name(who)),
            TraceKind::ApiCall { operation, .. } => format!("{operation:?}"),
            TraceKind::Message {
                action,
                towards,
                passage,
                bytes,
                most,
                candidates,
                from,
                to,
                mark,
                viewer,
            } => {
                let action = action.map_or("?", |action| action.as_str());
                let away = if *towards == Towards::Master {
                    "up"
                } else {
                    "down"
                };
                let from = from.as_ref().map(|who| format!(" from {}", name(who)));
                let to = to.as_ref().map(|who| format!(" at {}", name(who)));
                let of = mark.map(|mark| match viewer {
                    Some(viewer) => format!(" for {viewer}"),
                    None => format!(" of {}", self.of_mark(mark)),
                });
                let most = Some(most).filter(|most| **most > 0);
                let most = most.map(|most| format!(", expected at most {most}"));
                let held = candidates.filter(|held| *held > 0);
                let held = held.map(|held| format!(" with {held}"));
                let rest = [from, to, of, most, held]
                    .map(Option::unwrap_or_default)
                    .concat();
                format!("{action} {bytes} {away} {passage:?}{rest}")
            }
        };
        format!("{} {what}", event.at_us / 1000)
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        self.events.iter().map(|event| self.line(event)).collect()
    }
}

#[test]
fn a_late_master_gets_the_kept_offer_and_answers_a_viewer_that_has_left() {
    let mut script = Script::dev();
    script.play(
        "v1 connects                              | v1 < 101
         v1 > SDP_OFFER p1                        |
         time 2s                                  |
         v2 connects                              | v2 < 101
         v2 > SDP_OFFER p2                        |
         time 3s                                  |
         v1 > close 1000                          | v1 < close 1000; v1 < end
         m connects                               | m < 101; m < SDP_OFFER p2 from v2; m < SDP_OFFER p1 from v1
         m > SDP_ANSWER p3 to v1                  |
         m > SDP_ANSWER p4 to v2                  | v2 < SDP_ANSWER p4
         v2 > ICE_CANDIDATE p5                    | m < ICE_CANDIDATE p5 from v2
         time 61s                                 | v2 < ping; m < ping",
    );
    #[rustfmt::skip] // a list
    let wanted = [
        "1000 v1 joined", "1000 SDP_OFFER 73 up Kept from v1", "3000 v2 joined", "3000 SDP_OFFER 73 up Kept from v2",
        "6000 v1 left: peer_closed", "6000 m joined", "6000 SDP_OFFER 73 up Delivered at m of v2",
        "6000 SDP_OFFER 73 up Delivered at m of v1", "6000 SDP_ANSWER 52 down Kept from m for v1",
        "6000 SDP_ANSWER 52 down Relayed from m at v2", "6000 ICE_CANDIDATE 77 up Relayed from v2 at m",
        "7000 SDP_OFFER 73 up Confirmed at m of v2", "7000 SDP_OFFER 73 up Confirmed at m of v1",
        "7000 SDP_ANSWER 52 down Confirmed at v2 of v2", "66048 SDP_ANSWER 52 down Expired of v1",
    ];
    for limit in [1, 3, 5000] {
        let trace = trace(&mut script, "cam", limit);
        assert_eq!(trace.lines(), wanted, "{limit} at a time");
        assert_eq!(trace.since_us, Some(0));
    }
}

#[test]
fn what_a_closed_viewer_left_is_noted_as_withdrawn() {
    let mut script = Script::dev();
    script.play(
        "v1 connects                              | v1 < 101
         v1 > SDP_OFFER p1                        |
         v1 > close 1000                          | v1 < close 1000; v1 < end
         v2 connects                              | v2 < 101
         time 6s                                  |",
    );
    let trace = trace(&mut script, "cam", 5000);
    let last = trace.lines().pop();
    let found = last.as_deref();
    assert_eq!(found, Some("6016 SDP_OFFER 73 up Withdrawn of v1"));
}

#[test]
fn messages_that_come_back_and_connections_that_lose_their_slot_are_noted() {
    let mut script = Script::opened();
    script.play(
        "m stalls                                 |
         v1 > SDP_OFFER p1                        |
         m-b connects                             | m-b < 101; m-b < SDP_OFFER p1 from v1
         v1 > raw nonsense                        |
         v1 vanishes                              | v1 < end
         m-b > SDP_OFFER p to v1                  |
         m-b > SDP_ANSWER p2 to v1                |
         m-b > SDP_ANSWER p3 to v1                |
         time 10ms                                |
         v1-b connects                            | v1-b < 101; v1-b < SDP_ANSWER p3
         drain 4s                                 |
         time 3s                                  | m-b < GO_AWAY; v1-b < GO_AWAY",
    );
    let trace = trace(&mut script, "cam", 5000);
    #[rustfmt::skip] // a list
    let wanted = [
        "1000 m joined", "1000 v1 joined", "1000 SDP_OFFER 73 up Relayed from v1 at m", "1000 m' joined",
        "1000 m superseded by m'", "1000 SDP_OFFER 73 up Returned at m of v1",
        "1000 SDP_OFFER 73 up Delivered at m' of v1", "1000 ? 0 up Unaccepted(NotJson) from v1",
        "1000 v1 left: peer_gone", "1000 SDP_OFFER 0 down Unaccepted(MasterOffer) from m'",
        "1000 SDP_ANSWER 52 down Kept from m' for v1", "1000 SDP_ANSWER 52 down Overwritten of v1",
        "1000 SDP_ANSWER 52 down Kept from m' for v1", "1010 v1' joined",
        "1010 SDP_ANSWER 52 down Delivered at v1' of v1", "2000 SDP_OFFER 73 up Confirmed at m' of v1",
        "2050 SDP_ANSWER 52 down Confirmed at v1' of v1", "3060 v1' GO_AWAY", "3060 m' GO_AWAY",
    ];
    assert_eq!(trace.lines(), wanted);
}

#[test]
fn an_alexa_call_and_its_answers_are_noted() {
    let mut script = Script::dev();
    script.play(
        "m connects                               | m < 101
         a connects                               |
         a > alexa p1 as alexa                    | m < SDP_OFFER p1 from alexa
         m > ICE_CANDIDATE p2 to alexa            |
         m > SDP_ANSWER p3 to alexa               | a < 200 {\"Answer\":\"p3\"}",
    );
    let wanted = [
        "1000 m joined",
        "1000 ICE_CANDIDATE 55 down ForCall from m for alexa",
        "1000 SDP_ANSWER 52 down AnsweredCall from m for alexa",
    ];
    assert_eq!(trace(&mut script, "cam", 5000).lines(), wanted);
}

/// Of the first offer of a connection and the first answer for one, and of all that are kept or answer a call.
#[test]
fn the_candidates_in_descriptions_are_noted() {
    let mut script = Script::dev();
    let two = codec_base64("v=0 a=candidate:1 1 UDP 2 h 9 typ host a=candidate:2");
    script.play(&format!(
        "m connects                               | m < 101
         v1 connects                              | v1 < 101
         v1 > SDP_OFFER {two}                     | m < SDP_OFFER {two} from v1
         m > SDP_ANSWER {two} to v1               | v1 < SDP_ANSWER {two}
         m > SDP_ANSWER {two} to v1               | v1 < SDP_ANSWER {two}
         m > SDP_ANSWER {two} to v2               |
         a connects                               |
         a > alexa p1 as alexa                    | m < SDP_OFFER p1 from alexa
         m > SDP_ANSWER {two} to alexa            | a < 200 {{\"Answer\":\"{two}\"}}"
    ));
    let trace = trace(&mut script, "cam", 5000);
    let lines = trace.lines().into_iter();
    let found: Vec<bool> = lines.map(|line| line.ends_with(" with 2")).collect();
    assert_eq!(found, [false, false, true, true, false, true, true]);
}

fn codec_base64(text: &str) -> String {
    let mut out = Vec::new();
    codec::base64::encode(&mut out, text.as_bytes());
    String::from_utf8(out).expect("ASCII")
}

#[test]
fn what_was_overwritten_is_missing_and_its_time_is_known() {
    let mut script = Script::with(1, true, |settings| settings.recorder.notes = 8);
    script.play(
        "m connects                               | m < 101
         v1 connects                              | v1 < 101
         time 10ms                                |
         v1 > SDP_OFFER p1                        | m < SDP_OFFER p1 from v1
         time 10ms                                |
         v1 > SDP_OFFER p2                        | m < SDP_OFFER p2 from v1
         v1 vanishes                              | v1 < end
         v1-b connects                            | v1-b < 101",
    );
    let all = trace(&mut script, "cam", 5000);
    assert_eq!(all.since_us, Some(0), "eight notes: nothing is overwritten");
    assert_eq!(all.events.len(), 6);
    script.play(
        "time 10ms                                |
         m > SDP_ANSWER p3 to v1                  | v1-b < SDP_ANSWER p3
         m > SDP_ANSWER p4 to v1                  | v1-b < SDP_ANSWER p4
         m > SDP_ANSWER p5 to v1                  | v1-b < SDP_ANSWER p5",
    );
    let late = trace(&mut script, "cam", 5000);
    assert_eq!(late.since_us, Some(1_020_000));
    #[rustfmt::skip] // a list
    let wanted = [
        "1020 SDP_OFFER 73 up Relayed from v1 at m", "1020 v1 left: peer_gone", "1020 v1' joined",
        "1030 SDP_ANSWER 52 down Relayed from m at v1'", "1030 SDP_ANSWER 52 down Relayed from m at v1'",
        "1030 SDP_ANSWER 52 down Relayed from m at v1'",
    ];
    assert_eq!(late.lines(), wanted);
    // The name of the one that left goes first, and with it its end.
    script.play("v1-b > SDP_OFFER p6 | m < SDP_OFFER p6 from v1");
    script.play("v1-b > SDP_OFFER p7 | m < SDP_OFFER p7 from v1");
    let cut = trace(&mut script, "cam", 5000);
    assert_eq!(cut.since_us, Some(1_020_000));
    assert_eq!(cut.lines().first(), Some(&"1020 v1 joined".to_owned()));
}

#[test]
fn a_session_in_a_slot_that_is_used_again_is_another_one() {
    let mut script = Script::opened();
    script.play(
        "v1 > SDP_OFFER p1                        | m < SDP_OFFER p1 from v1
         v1 vanishes                              | v1 < end
         v2 connects                              | v2 < 101
         m > SDP_ANSWER p2 to v2                  | v2 < SDP_ANSWER p2",
    );
    let trace = trace(&mut script, "cam", 5000);
    let slot = |name: &str| {
        let peer = trace
            .peers
            .iter()
            .find(|peer| peer.client_id.as_deref() == Some(name));
        peer.expect("it was there").session
    };
    let (first, second) = (slot("v1"), slot("v2"));
    assert_eq!(first.slot(), second.slot(), "the slot is used again");
    assert_ne!(first.generation(), second.generation());
    #[rustfmt::skip] // a list
    let wanted = [
        "1000 m joined", "1000 v1 joined", "1000 SDP_OFFER 73 up Relayed from v1 at m", "1000 v1 left: peer_gone",
        "1000 v2 joined", "1000 SDP_ANSWER 52 down Relayed from m at v2",
    ];
    assert_eq!(trace.lines(), wanted);
}

#[test]
fn a_channel_of_the_same_name_that_came_later_has_a_history_of_its_own() {
    let mut script = Script::dev();
    script.play(
        "a connects                               |
         m connects                               | m < 101
         v1 connects                              | v1 < 101",
    );
    let first = step(&mut script, "cam", None, 1).expect("it is there");
    let next = first.next.expect("two joined");
    script.play(
        "a > delete cam                           | a < 200 {}; m < close 1001 Channel deleted; v1 < close 1001 \
         Channel deleted",
    );
    assert!(step(&mut script, "cam", None, 1).is_none());
    script.play("v2 connects | v2 < 101");
    assert_eq!(trace(&mut script, "cam", 5000).lines(), ["1000 v2 joined"]);
    assert!(
        step(&mut script, "cam", Some(next), 1).is_none(),
        "a trace of the former channel does not go on in this one"
    );
}

#[test]
fn names_and_addresses_of_every_length_come_back_whole() {
    for length in [1, 23, 24, 25, 48, 49, 255, 256] {
        let mut script = Script::dev();
        let id = format!("v{}", "x".repeat(length - 1));
        script.play(&format!("{id} connects | {id} < 101"));
        script.play(&format!("{id} vanishes | {id} < end"));
        let trace = trace(&mut script, "cam", 5000);
        let wanted = [
            format!("1000 {id} joined"),
            format!("1000 {id} left: peer_gone"),
        ];
        assert_eq!(trace.lines(), wanted);
        assert_eq!(trace.peers[0].remote, ([127, 0, 0, 1], 4000).into());
    }
}

#[test]
fn a_step_looks_at_a_bounded_number_of_notes() {
    let mut script = Script::with(1, true, |settings| settings.recorder.notes = 1 << 15);
    script.play(
        "v1 connects other                        | v1 < 101
         m connects                               | m < 101
         v2 connects                              | v2 < 101",
    );
    let mut sent = 3;
    while sent < INSPECTED_NOTES_PER_STEP + 2 {
        script.play("v2 > ICE_CANDIDATE p | m < ICE_CANDIDATE p from v2");
        sent += 1;
    }
    let first = step(&mut script, "other", None, 5000).expect("it is there");
    assert_eq!(first.events.len(), 0);
    let second = step(&mut script, "other", first.next, 5000).expect("it is there");
    assert_eq!((second.events.len(), second.next), (1, None));
    assert!(first.next.is_some() && second.connected.is_empty());
}

#[test]
fn a_recorder_that_is_off_says_so() {
    let mut script = Script::with(1, true, |settings| settings.recorder.notes = 0);
    script.play("m connects | m < 101");
    let trace = trace(&mut script, "cam", 5000);
    assert_eq!((trace.since_us, trace.events.len()), (None, 0));
    let found = trace.peers.len();
    assert_eq!(found, 1, "who is connected is known all the same");
}

/// The events that all shards have erased.
fn forget(script: &mut Script, meant: Forget) -> u64 {
    let replies = script.inspect(&Question::Forget(meant, None)).into_iter();
    let erased = replies.map(|reply| {
        let Reply::Forgotten(erased, None) = reply else {
            panic!("a few notes are one step, not {reply:?}");
        };
        erased
    });
    erased.sum()
}

#[test]
fn what_names_somebody_is_erased_and_so_is_what_is_old() {
    let mut script = Script::dev();
    script.play(
        "v1 connects                              | v1 < 101
         v1 > SDP_OFFER p1                        |
         v2 connects                              | v2 < 101
         v2 > SDP_OFFER p2                        |
         v1 > close 1000                          | v1 < close 1000; v1 < end
         m connects                               | m < 101; m < SDP_OFFER p2 from v2; m < SDP_OFFER p1 from v1
         m > SDP_ANSWER p3 to v1                  |
         m > SDP_ANSWER p4 to v2                  | v2 < SDP_ANSWER p4",
    );
    assert_eq!(forget(&mut script, Forget::Named("v".into())), 0);
    assert_eq!(forget(&mut script, Forget::Named("v1".into())), 2);
    assert_eq!(forget(&mut script, Forget::Named("v1".into())), 0);
    let left = trace(&mut script, "cam", 5000);
    let lines = left.lines().join("\n");
    let fine = !lines.contains("v1") && lines.contains("v2 joined");
    assert!(fine, "{lines}");
    assert!(lines.contains("down Relayed from m at v2"), "{lines}");
    // A moment that is none yet: everything is older.
    assert_eq!(forget(&mut script, Forget::Before(Wall(0))), 0);
    script.play("time 2s |");
    let before = trace(&mut script, "cam", 5000).lines().len() as u64;
    assert_eq!(forget(&mut script, Forget::Before(Wall(u64::MAX))), before);
    assert_eq!(trace(&mut script, "cam", 5000).lines().len(), 0);
    script.play("v3 connects | v3 < 101");
    assert_eq!(trace(&mut script, "cam", 5000).lines().len(), 1);
}
