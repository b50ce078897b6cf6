//! Messages that were held back on their way: codec/PROTOCOL.md, TAKE-5.

use crate::shard_transcripts::script::Script;
use broker_core::event::{Kind, Outcome};
use codec::signal::Action;

/// The candidates that ended in this way.
fn ended(script: &Script, outcome: Outcome) -> u64 {
    let row = Kind::Known(Action::IceCandidate).index();
    script.counters().outcomes[row][outcome.index()]
}

#[test]
fn what_was_overtaken_is_withdrawn_after_five_seconds() {
    let mut script = Script::opened();
    script.play(
        "v1-b connects                            | v1-b < 101
         v1-b > ICE_CANDIDATE p1                  | m < ICE_CANDIDATE p1 from v1
         time 5s                                  |
         v1 > ICE_CANDIDATE p2                    | m < ICE_CANDIDATE p2 from v1
         time 1ms                                 |
         v1 > ICE_CANDIDATE p3 id c3              |
         # it is read, and may go on
         v1 > ping                                | v1 < pong x
         v1-b > ICE_CANDIDATE p4                  | m < ICE_CANDIDATE p4 from v1",
    );
    assert_eq!(ended(&script, Outcome::Withdrawn), 1);
}

#[test]
fn what_was_not_overtaken_expires() {
    let mut script = Script::with(1, true, |settings| settings.timeouts.ping_ms = 0);
    script.play(
        "m connects                               | m < 101
         v1 connects                              | v1 < 101
         v1-b connects                            | v1-b < 101
         time 59s                                 |
         v1 > ICE_CANDIDATE p1                    | m < ICE_CANDIDATE p1 from v1
         time 1s                                  |
         v1 > ICE_CANDIDATE p2                    |",
    );
    assert_eq!(ended(&script, Outcome::Expired), 1);
}

#[test]
fn what_a_stopped_process_held_does_not_come_behind_newer_ones() {
    let mut script = Script::opened();
    script.play(
        "v2 connects                              | v2 < 101
         stop 9s                                  |
         v1-b connects                            | v1-b < 101
         v1 > ICE_CANDIDATE p1                    | m < ICE_CANDIDATE p1 from v1
         v1-b > ICE_CANDIDATE p2                  | m < ICE_CANDIDATE p2 from v1
         v1 > ICE_CANDIDATE p3                    |
         v2 > ICE_CANDIDATE p4                    | m < ICE_CANDIDATE p4 from v2
         # what it sends when all was read is its own
         time 2s                                  |
         v1 > ICE_CANDIDATE p5                    | m < ICE_CANDIDATE p5 from v1",
    );
    assert_eq!(ended(&script, Outcome::Withdrawn), 1);
    script.play(
        "stop 60s                                 |
         v2 > ICE_CANDIDATE p6                    |
         v2-b connects                            | v2-b < 101
         v2-b > ICE_CANDIDATE p7                  | m < ICE_CANDIDATE p7 from v2
         time 2s                                  | m < ping; v1-b < ping
         v2-b > ICE_CANDIDATE p8                  | m < ICE_CANDIDATE p8 from v2",
    );
    assert_eq!(ended(&script, Outcome::Expired), 1);
}
