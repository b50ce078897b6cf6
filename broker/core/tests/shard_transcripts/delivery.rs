//! Delivered is what the recipient's machine has confirmed: codec/PROTOCOL.md, ROUTE-3 and KEEP-5.

use crate::shard_transcripts::script::Script;
use crate::shard_transcripts::words::spoken;
use broker_core::event::{Kind, Outcome};
use broker_core::machine::Input;
use broker_core::settings::Settings;
use broker_core::shard::{
    DeliveryAct, FaultAct, FaultCounts, FaultMatch, FaultRule, MessageAct, Question,
};
use broker_core::time::Moment;
use codec::signal::Action;
use std::sync::Arc;

/// A camera whose power goes has an offer that was sent to it when it is back.
#[test]
fn what_a_camera_that_was_cut_off_did_not_confirm_goes_to_its_next_connection() {
    for ends in ["time 0s", "m vanishes | m < end"] {
        let mut script = Script::opened();
        script.play(&format!(
            "v1 > SDP_OFFER p0                        | m < SDP_OFFER p0 from v1
             time 2s                                  |
             m is cut                                 |
             v1 > SDP_OFFER p1                        |
             v1 > ICE_CANDIDATE p2                    |
             v2 connects                              | v2 < 101
             v2 > SDP_OFFER p3                        |
             time 5s                                  |
             {ends}
             v1 > ICE_CANDIDATE p4                    |
             time 1s                                  |
             m-b connects                             | m-b < 101; m-b < SDP_OFFER p1 from v1; m-b < ICE_CANDIDATE p2 \
             from v1; m-b < ICE_CANDIDATE p4 from v1; m-b < SDP_OFFER p3 from v2
             time 10s                                 |",
        ));
        let counters = script.counters();
        let row = counters.outcomes[Kind::Known(Action::SdpOffer).index()];
        assert_eq!(row[Outcome::Delivered.index()], 3, "{ends}");
        assert_eq!(counters.returned, if ends.starts_with('m') { 3 } else { 4 });
    }
}

#[test]
fn a_viewer_that_changes_its_network_gets_the_answer_by_its_next_connection() {
    Script::opened().play(
        "v1 > SDP_OFFER p1                        | m < SDP_OFFER p1 from v1
         v1 is cut                                |
         m > SDP_ANSWER p2 to v1                  |
         m > ICE_CANDIDATE p3 to v1               |
         time 3s                                  |
         v1-b connects                            | v1-b < 101; v1-b < SDP_ANSWER p2; v1-b < ICE_CANDIDATE p3
         m > ICE_CANDIDATE p4 to v1               | v1-b < ICE_CANDIDATE p4",
    );
}

/// Of what was just sent it is not known yet: newer messages wait for that, at most a second.
#[test]
fn newer_messages_follow_what_may_come_back() {
    Script::opened().play(
        "m is cut                                 |
         v1 > SDP_OFFER p1                        |
         time 100ms                               |
         m-b connects                             | m-b < 101
         v1 > ICE_CANDIDATE p2                    |
         time 160ms                               |
         time 100ms                               | m-b < SDP_OFFER p1 from v1; m-b < ICE_CANDIDATE p2 from v1
         v1 > ICE_CANDIDATE p3                    | m-b < ICE_CANDIDATE p3 from v1",
    );
}

/// By its short-lived successor: the connection from which something was taken back may have had it.
#[test]
fn a_connection_from_which_something_was_taken_back_gets_its_slot_no_more() {
    Script::opened().play(
        "m is cut                                 |
         v1 > SDP_OFFER p1                        |
         time 3s                                  |
         m-b connects                             | m-b < 101; m-b < SDP_OFFER p1 from v1
         m is mended                              |
         m-b vanishes                             | m-b < end
         v1 > ICE_CANDIDATE p2                    |
         time 3s                                  |
         m-c connects                             | m-c < 101
         time 3s                                  | m-c < SDP_OFFER p1 from v1; m-c < ICE_CANDIDATE p2 from v1",
    );
}

#[test]
fn what_was_confirmed_does_not_come_again() {
    let mut script = Script::opened();
    script.play(
        "v1 > SDP_OFFER p1                        | m < SDP_OFFER p1 from v1
         m-b connects                             | m-b < 101
         v1 > SDP_OFFER p2                        | m-b < SDP_OFFER p2 from v1
         m-b > close 1000                         | m-b < close 1000; m-b < end
         time 2s                                  |
         m-c connects                             | m-c < 101",
    );
    assert_eq!(script.counters().returned, 0);
}

/// The machine of the former connection had it after all, and says so late.
#[test]
fn what_was_taken_back_and_confirmed_all_the_same_is_counted() {
    let mut script = Script::opened();
    script.play(
        "m is cut                                 |
         v1 > SDP_OFFER p1                        |
         time 3s                                  |
         m-b connects                             | m-b < 101; m-b < SDP_OFFER p1 from v1
         m is mended                              |
         m vanishes                               | m < end
         time 2s                                  |",
    );
    let counters = script.counters();
    assert_eq!((counters.returned, counters.repeated), (1, 1));
}

/// A newer offer takes the place of one that comes back.
#[test]
fn what_comes_back_is_overwritten_by_what_came_since() {
    Script::opened().play(
        "m is cut                                 |
         v1 > SDP_OFFER p1                        |
         time 2s                                  |
         v1 > SDP_OFFER p2                        |
         time 2s                                  |
         m-b connects                             | m-b < 101; m-b < SDP_OFFER p2 from v1",
    );
}

/// Beyond the bound the oldest are no longer waited for.
#[test]
fn what_is_not_confirmed_has_a_bound() {
    let payload = "QUJD".repeat(7_500);
    let mut script = Script::with(1, true, |settings| {
        settings.limits.unconfirmed_bytes_total = 1
    });
    script.play(
        "m connects                               | m < 101
         v1 connects                              | v1 < 101
         m is cut                                 |",
    );
    for _ in 0..8 {
        script.play(&format!("v1 > ICE_CANDIDATE {payload}"));
        let counters = script.counters();
        let fine = counters.unconfirmed_bytes <= 4 * 33_000;
        assert!(fine, "a part of the bound");
    }
    let row = script.counters().outcomes[Kind::Known(Action::IceCandidate).index()];
    let unproved = row[Outcome::DeliveredUnproved.index()];
    assert!((1..8).contains(&unproved), "{unproved}");
    script.play("m vanishes | m < end");
    assert_eq!(script.counters().pending_messages, 8 - unproved);
}

/// What the last connection of a channel hands back precedes what comes then.
#[test]
fn what_comes_back_to_an_empty_channel_precedes_what_is_newer() {
    let mut script = Script::opened();
    script.play(
        "v1 > ICE_CANDIDATE p1                    | m < ICE_CANDIDATE p1 from v1
         v1 > ICE_CANDIDATE p2                    | m < ICE_CANDIDATE p2 from v1
         time 2s                                  |
         m is cut                                 |
         v1 > ICE_CANDIDATE p3                    |
         v1 > ICE_CANDIDATE p4                    |
         v1 vanishes                              | v1 < end
         m is reset                               |
         v1-b connects                            | v1-b < 101
         v2 connects                              | v2 < 101
         v2 > ICE_CANDIDATE p5                    |
         m-b connects                             | m-b < 101; m-b < ICE_CANDIDATE p3 from v1; m-b < ICE_CANDIDATE p4 \
         from v1; m-b < ICE_CANDIDATE p5 from v2",
    );
}

/// A page that reloads, or a camera that restarts, between an offer and its answer gets it once more, and only once.
#[test]
fn an_offer_without_an_answer_is_given_once_more_to_the_next_master() {
    Script::opened().play(
        "v1 > SDP_OFFER p1                        | m < SDP_OFFER p1 from v1
         v1 > ICE_CANDIDATE p2                    | m < ICE_CANDIDATE p2 from v1
         m > close 1000                           | m < close 1000; m < end
         time 1500ms                              |
         m-b connects                             | m-b < 101
         # its candidates follow it, others do not wait
         v1 > ICE_CANDIDATE p3                    |
         v2 connects                              | v2 < 101
         v2 > SDP_OFFER p4                        | m-b < SDP_OFFER p4 from v2
         time 1900ms                              |
         time 200ms                               | m-b < SDP_OFFER p1 from v1; m-b < ICE_CANDIDATE p2 from v1; m-b < \
         ICE_CANDIDATE p3 from v1
         m-b > SDP_ANSWER p5 to v2                | v2 < SDP_ANSWER p5
         m-b > close 1000                         | m-b < close 1000; m-b < end
         time 1500ms                              |
         m-c connects                             | m-c < 101
         time 5s                                  |",
    );
}

#[test]
fn an_offer_that_is_over_is_not_given_again() {
    for ends in [
        "m > SDP_ANSWER p2 to v1 | v1 < SDP_ANSWER p2",
        "m > ICE_CANDIDATE p2 to v1 | v1 < ICE_CANDIDATE p2",
        "v1 > close 1000 | v1 < close 1000; v1 < end",
        "time 30s |\nv1 > ping | v1 < pong x\nm > ping | m < pong x\ntime 31s |",
    ] {
        Script::opened().play(&format!(
            "v1 > SDP_OFFER p1                    | m < SDP_OFFER p1 from v1
             {ends}
             m > close 1000                       | m < close 1000; m < end
             time 1500ms                          |
             m-b connects                         | m-b < 101
             time 5s                              |"
        ));
    }
}

/// The viewer may have come back by a connection that has sent no offer; one that has, waits for that.
#[test]
fn an_offer_is_given_again_for_a_viewer_that_is_there() {
    let reload = "m > close 1000                      | m < close 1000; m < end
         time 1500ms                              |
         m-b connects                             | m-b < 101";
    let opening = "m connects                        | m < 101
         v1 connects                              | v1 < 101
         v1 > SDP_OFFER p1                        | m < SDP_OFFER p1 from v1
         v1 vanishes                              | v1 < end";
    Script::dev().play(&format!("{opening}\n{reload}\ntime 5s"));
    Script::dev().play(&format!(
        "{opening}
         v1-b connects                            | v1-b < 101
         {reload}
         time 3s                                  | m-b < SDP_OFFER p1 from v1"
    ));
    let strict = |settings: &mut Settings| settings.signaling.repeat_offers_ms = 0;
    Script::with(1, true, strict).play(&format!(
        "{opening}
         v1-b connects                            | v1-b < 101
         {reload}
         time 5s                                  |"
    ));
}

/// A newer offer of the viewer ends the older one: it drops what waited for that, and waits for nothing.
#[test]
fn a_newer_offer_goes_at_once_and_leaves_nothing_behind() {
    Script::opened().play(
        "v1 > SDP_OFFER p1                        | m < SDP_OFFER p1 from v1
         m > close 1000                           | m < close 1000; m < end
         time 1500ms                              |
         m-b connects                             | m-b < 101
         v1 > ICE_CANDIDATE p2                    |
         v1 > SDP_OFFER p3                        | m-b < SDP_OFFER p3 from v1
         v1 > ICE_CANDIDATE p4                    | m-b < ICE_CANDIDATE p4 from v1
         m-b > SDP_ANSWER p5 to v1                | v1 < SDP_ANSWER p5
         m-b > close 1000                         | m-b < close 1000; m-b < end
         m-c connects                             | m-c < 101
         time 5s                                  |",
    );
}

/// So does the viewer's close frame: what waited is not passed by what its next connection sends.
#[test]
fn a_viewer_that_closes_keeps_nothing_waiting_for_its_offer() {
    Script::opened().play(
        "v1 > SDP_OFFER p1                        | m < SDP_OFFER p1 from v1
         m > close 1000                           | m < close 1000; m < end
         time 1500ms                              |
         m-b connects                             | m-b < 101
         v1 > ICE_CANDIDATE p2                    |
         v1 > close 1000                          | v1 < close 1000; v1 < end
         v1-b connects                            | v1-b < 101
         v1-b > ICE_CANDIDATE p3                  |
         time 100ms                               | m-b < ICE_CANDIDATE p2 from v1; m-b < ICE_CANDIDATE p3 from v1",
    );
}

/// A slot that a former connection still holds when the offer is due keeps it until then, without a look meanwhile.
#[test]
fn an_offer_is_given_again_when_the_slot_is_free() {
    let mut script = Script::opened();
    script.play(
        "v1 > SDP_OFFER p1                        | m < SDP_OFFER p1 from v1
         time 1500ms                              |
         v2 connects                              | v2 < 101
         m stalls                                 |
         v2 > SDP_OFFER p2                        |
         m reads 5                                |
         m-b connects                             | m-b < 101
         time 3s                                  |",
    );
    let (before, _) = script.turns();
    script.play("time 1s");
    assert_eq!(script.turns().0, before);
    script.play(
        "time 2s                                  | m < end; m-b < SDP_OFFER p2 from v2
         time 5s                                  | m-b < SDP_OFFER p1 from v1",
    );
}

/// Those that are over have no part in the bound: answered, replaced, or their viewers closed.
#[test]
fn an_offer_is_given_again_whatever_came_before() {
    // An offer takes 73 bytes: one has room.
    let small = |settings: &mut Settings| settings.limits.pending_bytes_per_shard = 4 * 77;
    for ends in [
        "m > SDP_ANSWER p2 to v1 | v1 < SDP_ANSWER p2",
        "v1 > SDP_OFFER p2 | m < SDP_OFFER p2 from v1\nm > SDP_ANSWER p3 to v1 | v1 < SDP_ANSWER p3",
        "v1 > close 1000 | v1 < close 1000; v1 < end",
    ] {
        Script::with(1, true, small).play(&format!(
            "m connects                           | m < 101
             v1 connects                          | v1 < 101
             v2 connects                          | v2 < 101
             v1 > SDP_OFFER p1                    | m < SDP_OFFER p1 from v1
             time 1500ms                          |
             {ends}
             v2 > SDP_OFFER p4                    | m < SDP_OFFER p4 from v2
             m > close 1000                       | m < close 1000; m < end
             m-b connects                         | m-b < 101
             time 3s                              | m-b < SDP_OFFER p4 from v2"
        ));
    }
}

/// One that makes room for other offers is not given again; what waits for it goes when it is due.
#[test]
fn what_waits_for_an_offer_that_makes_room_keeps_its_order() {
    // An offer takes 73 bytes: one has room.
    let small = |settings: &mut Settings| settings.limits.pending_bytes_per_shard = 4 * 77;
    Script::with(1, true, small).play(
        "m connects                               | m < 101
         v1 connects                              | v1 < 101
         v2 connects                              | v2 < 101
         v1 > SDP_OFFER p1                        | m < SDP_OFFER p1 from v1
         m > close 1000                           | m < close 1000; m < end
         time 1500ms                              |
         m-b connects                             | m-b < 101
         v1 > ICE_CANDIDATE p2                    |
         v2 > SDP_OFFER p3                        | m-b < SDP_OFFER p3 from v2
         time 1200ms                              |
         v1 > ICE_CANDIDATE p4                    |
         time 1s                                  | m-b < ICE_CANDIDATE p2 from v1; m-b < ICE_CANDIDATE p4 from v1",
    );
}

/// A fault of the next message that it is about.
fn once(script: &mut Script, act: FaultAct) {
    script.inspect(&Question::AddFault(Arc::new(FaultRule {
        number: 1,
        matches: FaultMatch::default(),
        act,
        skip: 0,
        times: Some(1),
        chance: None,
        lasts_ms: None,
        counts: FaultCounts::default(),
    })));
}

/// A master's message answers an offer when it comes, also one that a test held back until then.
#[test]
fn what_waits_for_an_offer_follows_an_answer_that_was_held_back() {
    let mut script = Script::opened();
    once(&mut script, FaultAct::Message(MessageAct::Delay(3_000)));
    script.play(
        "m > ICE_CANDIDATE p1 to v1               |
         v1 > SDP_OFFER p2                        | m < SDP_OFFER p2 from v1
         m > close 1000                           | m < close 1000; m < end
         time 1500ms                              |
         m-b connects                             | m-b < 101
         v1 > ICE_CANDIDATE p3                    |
         time 1s                                  |
         time 800ms                               | v1 < ICE_CANDIDATE p1; m-b < ICE_CANDIDATE p3 from v1
         time 5s                                  |",
    );
}

/// An offer that a test held back on its way from where it was kept is its viewer's still.
#[test]
fn an_offer_that_was_kept_and_held_back_is_given_once_more() {
    let mut script = Script::opened();
    once(&mut script, FaultAct::Delivery(DeliveryAct::Delay(1_000)));
    script.play(
        "m > close 1000                           | m < close 1000; m < end
         v1 > SDP_OFFER p1                        |
         m-b connects                             | m-b < 101
         time 1100ms                              | m-b < SDP_OFFER p1 from v1
         m-b > close 1000                         | m-b < close 1000; m-b < end
         m-c connects                             | m-c < 101
         time 2100ms                              | m-c < SDP_OFFER p1 from v1",
    );
}

/// Nothing waits for one whose time was over when it was confirmed.
#[test]
fn nothing_waits_for_an_offer_that_was_confirmed_too_late() {
    Script::with(1, true, |settings| settings.timeouts.ping_ms = 0).play(
        "m connects                               | m < 101
         v1 connects                              | v1 < 101
         m is cut                                 |
         v1 > SDP_OFFER p1                        |
         time 61s                                 |
         m is mended                              |
         m-b connects                             | m-b < 101
         v1 > ICE_CANDIDATE p2                    | m-b < ICE_CANDIDATE p2 from v1",
    );
}

/// A machine that confirms an offer has whatever its viewer sent before: what was taken back of that is not given to
/// the next connection behind the offer.
#[test]
fn what_came_back_before_a_newer_offer_was_confirmed_is_dropped() {
    Script::opened().play(
        "m is cut                                 |
         v1 > SDP_OFFER p1                        |
         time 400ms                               |
         v1 > SDP_OFFER p2                        |
         m-b connects                             | m-b < 101
         m is mended                              |
         time 1s                                  |
         time 2s                                  | m-b < SDP_OFFER p2 from v1
         time 5s                                  |",
    );
}

/// What was begun ends before our close frame. A client that has sent its own reads nothing that comes later.
#[test]
fn what_is_written_behind_the_close_frame_of_its_recipient_comes_back() {
    let begun = "m connects                           | m < 101
         v1 connects                              | v1 < 101
         v1 > SDP_OFFER p1                        | m < SDP_OFFER p1 from v1
         m stalls                                 |
         v1 > SDP_OFFER p2                        |
         m reads 5                                |";
    let next = "m-b connects | m-b < 101";
    let next_gets_it = "m-b connects | m-b < 101; m-b < SDP_OFFER p2 from v1";
    #[rustfmt::skip] // a table, a case per row
    let cases = [
        (&["close 1000"][..], "1000; m < end", 1, next_gets_it),
        (&["binary", "close 1003"], "1003 Binary messages are not supported.; m < end", 1, next_gets_it),
        (&["binary"], "1003 Binary messages are not supported.", 2, next),
    ];
    for (frames, close, delivered, next) in cases {
        let mut script = Script::dev();
        script.play(begun);
        let (shard, session) = script.place("m");
        for frame in frames {
            let bytes = &mut spoken(frame, &Moment::default())[..];
            script.input(shard, Input::Received { session, bytes });
        }
        script.play(&format!(
            "m reads | m < SDP_OFFER p2 from v1; m < close {close}"
        ));
        let row = script.counters().outcomes[Kind::Known(Action::SdpOffer).index()];
        let rest = u64::from(delivered == 1);
        assert_eq!(row[Outcome::Delivered.index()], delivered, "{frames:?}");
        assert_eq!(script.counters().returned, rest, "{frames:?}");
        script.play(next);
    }
}
