//! The newest wins: codec/PROTOCOL.md, TAKE.

use crate::shard_transcripts::script::Script;

use broker_core::limits::{DISPLACED_MS, DISPLACED_TOLD_MAX};
use broker_core::shard::{DisplacedLine, Question, Reply};

#[test]
fn the_newest_master_gets_everything_and_the_older_one_may_still_speak() {
    Script::opened().play(
        "m-b connects                             | m-b < 101
         v1 > SDP_OFFER p1                        | m-b < SDP_OFFER p1 from v1
         m > SDP_ANSWER p2 to v1                  | v1 < SDP_ANSWER p2
         m > ping                                 | m < pong x
         m > SDP_OFFER p id c1                    | m < status c1 400 InvalidArgumentException A master cannot send an \
         SDP offer.
         m > close 1000                           | m < close 1000; m < end
         v1 > ICE_CANDIDATE p3                    | m-b < ICE_CANDIDATE p3 from v1",
    );
}

#[test]
fn the_same_client_id_again_takes_the_place_of_the_older_viewer() {
    Script::opened().play(
        "v1-b connects                            | v1-b < 101
         m > SDP_ANSWER p1 to v1                  | v1-b < SDP_ANSWER p1
         v1 > ICE_CANDIDATE p2                    | m < ICE_CANDIDATE p2 from v1
         time 2s                                  |
         v1-b vanishes                            | v1-b < end
         # the older one does not come back into its place
         m > SDP_ANSWER p3 to v1                  |
         v1-c connects                            | v1-c < 101; v1-c < SDP_ANSWER p3",
    );
}

#[test]
fn messages_unsent_to_the_older_master_go_to_the_newer_one() {
    Script::opened().play(
        "m stalls                                 |
         v1 > SDP_OFFER p1                        |
         v1 > ICE_CANDIDATE p2                    |
         m-b connects                             | m-b < 101; m-b < SDP_OFFER p1 from v1; m-b < ICE_CANDIDATE p2 from \
         v1
         m reads                                  |
         # what is queued for it later still finds its way
         m > ping                                 | m < pong x",
    );
}

#[test]
fn a_begun_message_is_ended_or_comes_back_before_newer_ones() {
    let opening = "m connects                        | m < 101
         v1 connects                              | v1 < 101
         m stalls                                 |
         v1 > SDP_OFFER p1                        |
         m reads 5                                |
         v1 > ICE_CANDIDATE p2                    |
         m-b connects                             | m-b < 101
         v1 > ICE_CANDIDATE p3                    |";
    let mut ended = Script::dev();
    ended.play(opening);
    ended.play(
        "m reads                                  | m < SDP_OFFER p1 from v1
         # the older one has it and does not answer: it is given to the newer one as well, before its candidates
         time 2100ms                              | m-b < SDP_OFFER p1 from v1; m-b < ICE_CANDIDATE p2 from v1; m-b < \
         ICE_CANDIDATE p3 from v1",
    );
    let mut slow = Script::dev();
    slow.play(opening);
    slow.play(
        "time 4900ms                              |
         m is cut                                 |
         m reads                                  |
         # it has taken the rest, if late: what it does not confirm is no reason to cut it off
         time 400ms                               | m-b < SDP_OFFER p1 from v1; m-b < ICE_CANDIDATE p2 from v1; m-b < \
         ICE_CANDIDATE p3 from v1",
    );
    let mut died = Script::dev();
    died.play(opening);
    died.play(
        "m vanishes | m < end; m-b < SDP_OFFER p1 from v1; m-b < ICE_CANDIDATE p2 from v1; m-b < ICE_CANDIDATE p3 from \
         v1",
    );
    let mut stuck = Script::dev();
    stuck.play(opening);
    stuck.play(
        "time 6s | m < end; m-b < SDP_OFFER p1 from v1; m-b < ICE_CANDIDATE p2 from v1; m-b < ICE_CANDIDATE p3 from v1",
    );
}

#[test]
fn four_superseded_connections_are_kept_and_the_fifth_closes_the_oldest() {
    Script::dev().play(
        "m0 connects                              | m0 < 101
         m1 connects                              | m1 < 101
         m2 connects                              | m2 < 101
         m3 connects                              | m3 < 101
         m4 connects                              | m4 < 101
         m5 connects                              | m0 < close 1001 Going away; m5 < 101
         m0 > close 1001                          | m0 < end
         v1 connects                              | v1 < 101
         v1 > SDP_OFFER p1                        | m5 < SDP_OFFER p1 from v1",
    );
}

#[test]
fn superseding_counts_against_no_limit() {
    let mut script = Script::with(1, true, |settings| settings.limits.viewers_per_channel = 1);
    script.play(
        "v1 connects                              | v1 < 101
         v1-b connects                            | v1-b < 101
         v2 connects                              | v2 < 400 ClientLimitExceededException; v2 < end
         time 2s                                  |
         v1-b vanishes                            | v1-b < end
         v2-b connects                            | v2-b < 101",
    );
}

#[test]
fn an_older_master_comes_back_when_the_newest_has_left_for_five_seconds() {
    let mut script = Script::dev();
    script.play(
        "m connects                               | m < 101
         m-b connects                             | m-b < 101
         m-c connects                             | m-c < 101
         v1 connects                              | v1 < 101
         time 2s                                  |
         m-c vanishes                             | m-c < end
         v1 > SDP_OFFER p1                        |
         time 4900ms                              |
         # the last one that was superseded
         time 200ms                               | m-b < close 1001 Going away
         m-b > close 1001                         | m-b < end
         m-d connects                             | m-d < 101; m-d < SDP_OFFER p1 from v1
         # and only that one: there is a master again
         time 20s                                 |
         v1 > ping                                | v1 < pong x
         m-d vanishes                             | m-d < end
         time 4s                                  |
         m-e connects                             | m-e < 101
         time 20s                                 | m-e < SDP_OFFER p1 from v1
         m-e vanishes                             | m-e < end
         time 5100ms                              | m < close 1001 Going away",
    );
}

#[test]
fn a_connection_that_ends_within_a_second_gives_the_slot_back() {
    let mut script = Script::opened();
    script.play(
        "m-b connects                             | m-b < 101
         time 900ms                               |
         m-b vanishes                             | m-b < end
         v1 > SDP_OFFER p1                        | m < SDP_OFFER p1 from v1
         # it is nobody's successor: it stays
         time 20s                                 |
         # two at once, whichever ends first
         m-c connects                             | m-c < 101
         m-d connects                             | m-d < 101
         m-c vanishes                             | m-c < end
         m-d stalls                               |
         v1 > ICE_CANDIDATE p2                    |
         m-d vanishes                             | m < ICE_CANDIDATE p2 from v1; m-d < end
         v1-b connects                            | v1-b < 101
         v1-b vanishes                            | v1-b < end
         m > SDP_ANSWER p3 to v1                  | v1 < SDP_ANSWER p3
         # one that was there for longer leaves a vacant slot
         m-e connects                             | m-e < 101
         time 1100ms                              |
         m-e vanishes                             | m-e < end
         v1 > ICE_CANDIDATE p4                    |
         time 5100ms                              | m < close 1001 Going away",
    );
    assert_eq!(script.counters().pending_messages, 1);
}

#[test]
fn a_connection_whose_client_sent_a_frame_gives_no_slot_back() {
    let ends = [
        "m-b > close 1000                         | m-b < close 1000; m-b < end",
        "m-b > binary                             | m-b < close 1003 Binary messages are not supported.",
        "m-b > unmasked                           | m-b < close 1002 a client's frame must be masked",
        "m-b > ICE_CANDIDATE p to v2              |
         m-b vanishes                             | m-b < end",
        "m-b > raw nonsense                       |
         m-b vanishes                             | m-b < end",
        "m-b > ping                               | m-b < pong x
         m-b vanishes                             | m-b < end",
        "m-b > pong                               |
         m-b vanishes                             | m-b < end",
        "m-b > empty                              |
         m-b vanishes                             | m-b < end",
    ];
    for end in ends {
        let mut script = Script::opened();
        script.play(
            "m-b connects                             | m-b < 101
             time 700ms                               |",
        );
        script.play(end);
        script.play(
            "# the older one may be dead: the offer waits for the next one
             v1 > SDP_OFFER p1                        |
             m-c connects                             | m-c < 101; m-c < SDP_OFFER p1 from v1",
        );
    }
}

#[test]
fn a_master_that_has_its_slot_again_gets_no_offer_twice() {
    Script::dev().play(
        "m connects                               | m < 101
         a1 connects                              |
         a1 > alexa p1 as echo                    | m < SDP_OFFER p1 from echo
         m-b connects                             | m-b < 101; m-b < SDP_OFFER p1 from echo
         m-b vanishes                             | m-b < end
         a2 connects                              |
         a2 > alexa p2 as dot                     | m < SDP_OFFER p2 from dot
         m stalls                                 |
         a3 connects                              |
         a3 > alexa p3 as plug                    |
         m reads 5                                |
         # and while one is begun
         m-c connects                             | m-c < 101
         m-c vanishes                             | m-c < end
         m reads                                  | m < SDP_OFFER p3 from plug
         m > SDP_ANSWER p4 to echo                | a1 < 200 {\"Answer\":\"p4\"}
         m vanishes                               | m < end
         m-d connects                             | m-d < 101; m-d < SDP_OFFER p2 from dot; m-d < SDP_OFFER p3 from \
         plug",
    );
}

#[test]
fn an_upgrade_whose_client_has_left_takes_nobodys_place() {
    let mut script = Script::with(2, true, |_| ());
    script.play(
        "m connects                               | m < 101
         v1 connects                              | v1 < 101
         m-b connects gone                        | m-b < end
         v1-b connects gone                       | v1-b < end
         v1 > SDP_OFFER p1                        | m < SDP_OFFER p1 from v1
         m > SDP_ANSWER p2 to v1                  | v1 < SDP_ANSWER p2",
    );
}

fn displaced(script: &mut Script) -> Vec<DisplacedLine> {
    let replies = script.inspect(&Question::Displaced).into_iter();
    let lines = replies.flat_map(|reply| {
        let Reply::Displaced(lines) = reply else {
            panic!("displaced connections are answered by a list, not {reply:?}");
        };
        lines
    });
    lines.collect()
}

#[test]
fn a_connection_that_lost_its_slot_and_stays_is_displaced_until_it_leaves() {
    let mut script = Script::opened();
    script.play(
        "m-b connects                             | m-b < 101
         v1-b connects                            | v1-b < 101",
    );
    assert_eq!(displaced(&mut script), [], "it may be about to close");
    script.pass_by(DISPLACED_MS);
    let mut lines = displaced(&mut script);
    lines.sort_by_key(|line| line.client_id.clone());
    let shown = |line: &DisplacedLine| (line.client_id.clone(), line.sends);
    let shown: Vec<_> = lines.iter().map(shown).collect();
    assert_eq!(shown, [(None, false), (Some("v1".into()), false)]);
    script.play("m > ping                             | m < pong x");
    assert!(displaced(&mut script).iter().any(|line| line.sends));
    script.play(
        "m > close 1000                           | m < close 1000; m < end
         v1-b > close 1000                        | v1-b < close 1000; v1-b < end",
    );
    script.pass_by(1);
    let left = displaced(&mut script);
    assert_eq!(left, [], "it closed, or nobody has the slot that it lost");
}

#[test]
fn an_answer_names_a_bounded_number_of_displaced_connections() {
    let mut script = Script::dev();
    for number in 0..=DISPLACED_TOLD_MAX {
        script.play(&format!(
            "m{number} connects c{number}   | m{number} < 101
             m{number}-b connects c{number} | m{number}-b < 101"
        ));
    }
    script.pass_by(DISPLACED_MS);
    assert_eq!(displaced(&mut script).len(), DISPLACED_TOLD_MAX);
}
