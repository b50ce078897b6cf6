//! Messages kept for absent peers: codec/PROTOCOL.md, KEEP.

use crate::shard_transcripts::script::Script;
use broker_core::event::{Kind, Outcome};
use broker_core::settings::Profile;
use codec::signal::Action;

#[test]
fn the_latest_offer_and_answer_overwrite_and_a_new_offer_drops_old_candidates() {
    let mut script = Script::dev();
    script.play(
        "v1 connects                              | v1 < 101
         v1 > SDP_OFFER p1                        |
         v1 > ICE_CANDIDATE p2                    |
         v1 > SDP_ANSWER p3                       |
         v1 > SDP_OFFER p4                        |
         v1 > SDP_ANSWER p5                       |
         v1 > ICE_CANDIDATE p6                    |
         m connects                               | m < 101; m < SDP_OFFER p4 from v1; m < SDP_ANSWER p5 from v1; m < \
         ICE_CANDIDATE p6 from v1",
    );
    let outcomes = script.counters().outcomes;
    let overwritten = |action| outcomes[Kind::Known(action).index()][Outcome::Overwritten.index()];
    assert_eq!(Action::ALL.map(overwritten), [1, 1, 1]);
}

#[test]
fn candidates_before_the_first_offer_of_their_connection_are_kept() {
    let mut script = Script::dev();
    script.play(
        "v1 connects                              | v1 < 101
         v1 > ICE_CANDIDATE p1                    |
         v1-b connects                            | v1-b < 101
         v1-b > ICE_CANDIDATE p2                  |
         # the first of this connection: what another one sent goes
         v1-b > SDP_OFFER p3                      |
         v2 connects                              | v2 < 101
         v2 > ICE_CANDIDATE q1                    |
         v2 > SDP_OFFER q2                        |
         v2 > ICE_CANDIDATE q3                    |
         # another one: all before it goes
         v2 > SDP_OFFER q4                        |
         m connects                               | m < 101; m < ICE_CANDIDATE p2 from v1; m < SDP_OFFER p3 from v1; m \
         < SDP_OFFER q4 from v2
         # what comes back from an outbox is as it was
         m stalls                                 |
         v3 connects                              | v3 < 101
         v3 > ICE_CANDIDATE r1                    |
         v3 > SDP_OFFER r2                        |
         m-b connects                             | m-b < 101; m-b < ICE_CANDIDATE r1 from v3; m-b < SDP_OFFER r2 from \
         v3",
    );
}

#[test]
fn a_master_gets_all_viewers_messages_oldest_offer_first() {
    Script::dev().play(
        "v1 connects                              | v1 < 101
         v2 connects                              | v2 < 101
         v1 > ICE_CANDIDATE p1                    |
         v2 > SDP_OFFER p2                        |
         v1 > SDP_OFFER p3                        |
         v2 > ICE_CANDIDATE p4                    |
         m connects                               | m < 101; m < SDP_OFFER p2 from v2; m < ICE_CANDIDATE p4 from v2; m \
         < ICE_CANDIDATE p1 from v1; m < SDP_OFFER p3 from v1",
    );
}

#[test]
fn connected_viewers_come_first_and_calls_among_them() {
    Script::dev().play(
        "v1 connects                              | v1 < 101
         v1 > SDP_OFFER p1                        |
         v1 vanishes                              | v1 < end
         v2 connects                              | v2 < 101
         v2 > SDP_OFFER p2                        |
         a connects                               |
         a > alexa p3 as echo                     |
         v3 connects                              | v3 < 101
         v3 > SDP_OFFER p4                        |
         v2 > ICE_CANDIDATE p5                    |
         a2 connects                              |
         a2 > alexa p6 as dot                     |
         m connects                               | m < 101; m < SDP_OFFER p2 from v2; m < ICE_CANDIDATE p5 from v2; m \
         < SDP_OFFER p3 from echo; m < SDP_OFFER p4 from v3; m < SDP_OFFER p6 from dot; m < SDP_OFFER p1 from v1",
    );
}

fn withdrawn(script: &Script) -> u64 {
    let rows = script.counters().outcomes;
    rows.iter().map(|row| row[Outcome::Withdrawn.index()]).sum()
}

/// A page with a client id of its own each time it is loaded.
fn reload(script: &mut Script, times: usize) {
    for number in 1..=times {
        script.play(&format!(
            "v{number} connects                   | v{number} < 101
             v{number} > SDP_OFFER p{number}      |
             v{number} > close 1001               | v{number} < close 1001; v{number} < end"
        ));
    }
}

#[test]
fn what_a_reloaded_page_left_comes_last_and_goes_after_five_seconds() {
    for (seconds, dropped) in [(1, 0), (6, 11)] {
        let mut script = Script::dev();
        reload(&mut script, 11);
        let older = dropped + 1..=11;
        let older = older.map(|number| format!("; m < SDP_OFFER p{number} from v{number}"));
        script.play(&format!(
            "v12 connects                         | v12 < 101
             v12 > SDP_OFFER p12                  |
             time {seconds}s                      |
             m connects                           | m < 101; m < SDP_OFFER p12 from v12{}",
            String::from_iter(older)
        ));
        assert_eq!(withdrawn(&script), dropped);
    }
}

#[test]
fn what_the_last_page_left_stays() {
    let mut script = Script::dev();
    reload(&mut script, 3);
    // For each of the others something of another viewer is kept; for the last one nothing is.
    script.play(
        "time 4900ms                              |
         time 200ms                               |
         m connects                               | m < 101; m < SDP_OFFER p3 from v3",
    );
    assert_eq!(withdrawn(&script), 2);
}

#[test]
fn what_a_viewer_left_stays_if_it_did_not_close_or_is_connected_again() {
    let mut script = Script::dev();
    script.play(
        "v1 connects                              | v1 < 101
         v1 > SDP_OFFER p1                        |
         v1 vanishes                              | v1 < end
         v2 connects                              | v2 < 101
         v2 > SDP_OFFER p2                        |
         v2 > close 1000                          | v2 < close 1000; v2 < end
         v3 connects                              | v3 < 101
         v3 > SDP_OFFER p3                        |
         v3 > close 1000                          | v3 < close 1000; v3 < end
         v4 connects                              | v4 < 101
         time 2s                                  |
         v2-b connects                            | v2-b < 101
         v3-b connects                            | v3-b < 101
         v3-b vanishes                            | v3-b < end
         time 20s                                 |
         m connects                               | m < 101; m < SDP_OFFER p2 from v2; m < SDP_OFFER p1 from v1; m < \
         SDP_OFFER p3 from v3",
    );
    assert_eq!(withdrawn(&script), 0);
}

#[test]
fn what_comes_back_to_a_closed_viewer_s_key_goes_with_it() {
    let mut script = Script::opened();
    script.play(
        "m stalls                                 |
         v1 > SDP_OFFER p1                        |
         m reads 5                                |
         m-b connects                             | m-b < 101
         # the older one has begun a message: what follows waits
         v1 > ICE_CANDIDATE p2                    |
         v1 > close 1000                          | v1 < close 1000; v1 < end
         v2 connects                              | v2 < 101
         time 2s                                  |
         m-b vanishes                             | m-b < end
         m vanishes                               | m < end
         time 3100ms                              |
         m-c connects                             | m-c < 101",
    );
    assert_eq!(withdrawn(&script), 2);
}

#[test]
fn under_the_strict_profile_nothing_is_withdrawn() {
    let mut script = Script::with(1, true, |settings| settings.profile = Profile::Strict);
    reload(&mut script, 2);
    script.play(
        "v3 connects                              | v3 < 101
         time 20s                                 |
         m connects                               | m < 101; m < SDP_OFFER p1 from v1; m < SDP_OFFER p2 from v2",
    );
}

#[test]
fn an_answer_waits_for_a_client_id_that_never_connected() {
    Script::dev().play(
        "m connects                               | m < 101
         m > SDP_ANSWER p1 to v9                  |
         m > ICE_CANDIDATE p2 to v9               |
         m > SDP_ANSWER p3 to v8                  |
         v9 connects                              | v9 < 101; v9 < SDP_ANSWER p1; v9 < ICE_CANDIDATE p2",
    );
}

#[test]
fn each_message_expires_by_itself() {
    let mut script = Script::dev();
    script.play(
        "a connects                               |
         a > create cam 5                         | a < 200 \
         {\"ChannelARN\":\"arn:aws:kinesisvideo:us-west-2:123456789012:channel/cam/1767323075123\"}
         v1 connects cam@1767323075123            | v1 < 101
         v1 > SDP_OFFER p1                        |
         time 3s                                  |
         v1 > ICE_CANDIDATE p2                    |
         time 3s                                  |
         m connects cam@1767323075123             | m < 101; m < ICE_CANDIDATE p2 from v1
         v1 > SDP_OFFER p3                        | m < SDP_OFFER p3 from v1
         time 2s                                  |",
    );
    let row = script.counters().outcomes[Kind::Known(Action::SdpOffer).index()];
    let found = (
        row[Outcome::Expired.index()],
        row[Outcome::Delivered.index()],
    );
    assert_eq!(found, (1, 1));
}

#[test]
fn thirty_two_candidates_are_kept_and_the_oldest_is_evicted() {
    let mut script = Script::dev();
    script.play("v1 connects | v1 < 101");
    for number in 0..34 {
        script.play(&format!("v1 > ICE_CANDIDATE p{number} |"));
    }
    let kept: Vec<String> = (2..34)
        .map(|number| format!("m < ICE_CANDIDATE p{number} from v1"))
        .collect();
    script.play(&format!("m connects | m < 101; {}", kept.join("; ")));
}

#[test]
fn a_full_store_refuses_with_a_status_response() {
    let mut script = Script::with(1, true, |settings| {
        settings.limits.pending_bytes_per_channel = 200;
    });
    script.play(
        "v1 connects                              | v1 < 101
         v2 connects                              | v2 < 101
         v1 > SDP_OFFER p1                        |
         v2 > SDP_OFFER p2                        |
         v2 > ICE_CANDIDATE p3                    |
         v2 > ICE_CANDIDATE p4 id c1              | v2 < status c1 400 ClientLimitExceededException Too many \
         undelivered messages.
         v1 > SDP_OFFER p5 id c2                  |
         m connects                               | m < 101; m < SDP_OFFER p2 from v2; m < SDP_OFFER p5 from v1",
    );
    let found = script
        .counters()
        .outcomes
        .map(|row| row[Outcome::Overflow.index()]);
    assert_eq!(found, [0, 0, 2, 0]);
}

#[test]
fn sixty_four_keys_are_kept() {
    let mut script = Script::dev();
    script.play("m connects | m < 101");
    for number in 0..64 {
        script.play(&format!("m > SDP_ANSWER p to w{number} id c |"));
    }
    script.play(
        "m > SDP_ANSWER p to w64 id c             | m < status c 400 ClientLimitExceededException Too many undelivered \
         messages.
         m > SDP_ANSWER q to w63 id c             |",
    );
}

#[test]
fn a_slow_reader_is_closed_and_gets_unsent_messages_when_it_returns() {
    let mut script = Script::with(1, true, |settings| {
        settings.limits.outbox_bytes = 250;
        settings.limits.pending_bytes_per_channel = 250;
    });
    script.play(
        "m connects                               | m < 101
         v1 connects                              | v1 < 101
         m stalls                                 |
         v1 > SDP_OFFER p1                        |
         v1 > ICE_CANDIDATE p2                    |
         v1 > ICE_CANDIDATE p3                    |
         # more than may wait for one connection: it is closed, and the store takes what it can
         v1 > SDP_ANSWER p4 id c1                 | v1 < status c1 400 ClientLimitExceededException Too many \
         undelivered messages.
         m-b connects                             | m-b < 101; m-b < SDP_OFFER p1 from v1; m-b < ICE_CANDIDATE p2 from \
         v1; m-b < ICE_CANDIDATE p3 from v1
         m reads                                  | m < close 1008 slow consumer",
    );
}

#[test]
fn a_message_beyond_what_waits_in_the_shard_is_refused_with_a_status_response() {
    let mut script = Script::with(1, true, |settings| {
        settings.limits.outbox_bytes_per_shard = 250;
    });
    script.play(
        "m connects                               | m < 101
         v1 connects                              | v1 < 101
         m stalls                                 |
         v1 > SDP_OFFER p1                        |
         v1 > ICE_CANDIDATE p2                    |
         v1 > ICE_CANDIDATE p3                    |
         v1 > ICE_CANDIDATE p4 id c1              | v1 < status c1 400 ClientLimitExceededException Too many \
         undelivered messages.
         m reads                                  | m < SDP_OFFER p1 from v1; m < ICE_CANDIDATE p2 from v1; m < \
         ICE_CANDIDATE p3 from v1",
    );
}

#[test]
fn a_deleted_channel_takes_what_it_kept_with_it() {
    let mut script = Script::dev();
    script.play(
        "v1 connects                              | v1 < 101
         v1 > SDP_OFFER p1                        |
         a connects                               |
         a > delete cam                           | v1 < close 1001 Channel deleted; a < 200 {}
         v1 > close 1001                          | v1 < end
         m connects                               | m < 101",
    );
    let row = script.counters().outcomes[Kind::Known(Action::SdpOffer).index()];
    assert_eq!(row[Outcome::Withdrawn.index()], 1);
}

#[test]
fn a_channel_below_its_share_is_served_when_the_shard_is_full() {
    // A candidate takes 77 bytes, an offer 73: four candidates fit.
    let mut script = Script::with(1, true, |settings| {
        settings.limits.pending_bytes_per_shard = 4 * 77;
    });
    script.play("v1 connects loud | v1 < 101");
    for number in 0..4 {
        script.play(&format!("v1 > ICE_CANDIDATE p{number} |"));
    }
    script.play(
        "# the channel that keeps all of it has had its share
         v1 > ICE_CANDIDATE p4 id c1              | v1 < status c1 400 ClientLimitExceededException Too many \
         undelivered messages.
         v2 connects quiet                        | v2 < 101
         # another one has not: the oldest message of the first makes room, silently
         v2 > SDP_OFFER p5 id c2                  |
         v2 > ICE_CANDIDATE p6 id c3              |
         # now both hold the same
         v2 > ICE_CANDIDATE p7 id c4              | v2 < status c4 400 ClientLimitExceededException Too many \
         undelivered messages.
         m connects quiet                         | m < 101; m < SDP_OFFER p5 from v2; m < ICE_CANDIDATE p6 from v2
         m-b connects loud                        | m-b < 101; m-b < ICE_CANDIDATE p2 from v1; m-b < ICE_CANDIDATE p3 \
         from v1",
    );
    let of = |outcome: Outcome| {
        let rows = script.counters().outcomes;
        rows[Kind::Known(Action::IceCandidate).index()][outcome.index()]
    };
    assert_eq!((of(Outcome::Evicted), of(Outcome::Overflow)), (2, 2));
}
