//! A master that shows nothing is doubtful, and then gone: codec/PROTOCOL.md, PRES-1.

use crate::shard_transcripts::script::Script;
use broker_core::settings::{Proof, Settings};
use std::sync::atomic::Ordering::Relaxed;

/// Two seconds without a confirmation are a doubt: the camera is called, and is no less connected. Ten more are an end,
/// which one confirmed byte takes back.
#[test]
fn a_master_that_confirms_nothing_is_doubtful_and_then_gone() {
    let mut script = Script::dev().followed(
        "m connects                               | m < 101
         v1 connects                              | v1 < 101
         v1 > SDP_OFFER p1                        | m < SDP_OFFER p1 from v1
         time 5s                                  |
         m is cut                                 |
         v1 > SDP_OFFER p2                        |",
    );
    script.tells("time 1900ms", "");
    script.tells("time 200ms", "viewer.waiting: doubtful, 1 wait");
    script.tells("time 9800ms", "");
    script.tells("time 300ms", "master.left (unconfirmed): gone, 1 wait");
    script.tells(
        "time 5s                                  |
         m is mended                              |
         time 1s                                  |",
        "master.confirmed: there, 0 wait",
    );
    // Of one that is replaced while it is gone, nobody knew any more.
    script.play(
        "m is cut                                 |
         v1 > SDP_OFFER p3                        |
         time 13s                                 |
         m-b connects                             | m-b < 101; m-b < SDP_OFFER p3 from v1",
    );
    let told = script.told();
    assert_eq!(told[1], "master.left (unconfirmed): gone, 1 wait");
    assert!(told[2].starts_with("master.joined: there"), "{told:?}");
}

/// A radio that sleeps between two messages is reported gone three times in ten minutes, and then only there again when
/// it has confirmed for a minute.
#[test]
fn a_master_that_comes_and_goes_is_told_a_bounded_number_of_times() {
    let mut script = Script::dev().followed("m connects | m < 101\nv1 connects | v1 < 101");
    let mut told = Vec::new();
    for payload in 0..12 {
        script.play(&format!(
            "m is cut\nv1 > ICE_CANDIDATE p{payload}\ntime 15s\nm is mended\nm > pong\nv1 > ping | v1 < pong x\ntime 1s"
        ));
        told.extend(script.told());
    }
    let gone = |told: &[String]| {
        told.iter()
            .filter(|one| one.starts_with("master.left"))
            .count()
    };
    assert_eq!(gone(&told), 3, "{told:?}");
    let back = told
        .iter()
        .filter(|one| one.starts_with("master.confirmed"))
        .count();
    assert_eq!(back, 2, "{told:?}");
    let last = told.last().map(String::as_str);
    let wanted = Some("viewer.served: gone, 0 wait");
    assert_eq!(last, wanted, "what it confirms waits no longer");
    script.play("v1 > ICE_CANDIDATE last | m < ICE_CANDIDATE last from v1");
    script.pass_by(40_000);
    script.play("m > pong |\nv1 > ICE_CANDIDATE more | m < ICE_CANDIDATE more from v1");
    script.pass_by(30_000);
    let fine = script
        .told()
        .contains(&"master.confirmed: there, 0 wait".to_owned());
    assert!(fine);
}

/// What is dropped unproved, since too much is unconfirmed, says nothing of its recipient.
#[test]
fn a_master_that_is_gone_is_not_there_by_messages_that_make_room() {
    let payload = "x".repeat(30_000);
    let mut script = Script::with(1, true, |settings| {
        settings.limits.unconfirmed_bytes_total = 4 * 33_000;
    });
    script.follow();
    script.play(
        "m connects | m < 101\nv1 connects | v1 < 101\nm is cut\nv1 > SDP_OFFER p1\ntime 15s",
    );
    let told = script.told();
    assert_eq!(
        told.last().map(String::as_str),
        Some("master.left (unconfirmed): gone, 1 wait")
    );
    for _ in 0..8 {
        script.play(&format!("v1 > ICE_CANDIDATE {payload}\ntime 100ms"));
    }
    script.play("time 15s");
    let told = script.told();
    assert!(!told.iter().any(|one| one.contains("there")), "{told:?}");
}

/// Messages that made room are still in the kernel: a connection that acknowledges nothing is closed as soon as it
/// would hold more than its outbox may. A connection that has acknowledged them gets more.
#[test]
fn what_made_room_counts_for_its_connection_until_it_is_acknowledged() {
    let payload = "QUJD".repeat(7_500);
    for is_mended in [false, true] {
        let mut script = Script::with(1, true, |settings| {
            settings.limits.unconfirmed_bytes_total = 1
        });
        let most = Settings::default().limits.outbox_bytes / payload.len();
        script.play("m connects | m < 101\nv1 connects | v1 < 101\nm is cut");
        for _ in 0..most - 4 {
            script.play(&format!("v1 > ICE_CANDIDATE {payload}"));
        }
        let charged = || usize::try_from(script.snapshot().request_bytes).unwrap();
        let unproved = (most - 4) * payload.len() - 4 * 33_000..most * payload.len();
        assert!(unproved.contains(&charged()), "{}", charged());
        assert_eq!(script.counters().pending_messages, 0);
        if is_mended {
            script.play("m is mended\ntime 2s");
            assert_eq!(script.snapshot().request_bytes, 0);
            script.play("m is cut");
        }
        for _ in 0..8 {
            script.play(&format!("v1 > ICE_CANDIDATE {payload}"));
        }
        let kept = script.counters().pending_messages;
        assert_eq!(kept > 0, !is_mended, "{kept} wait for its next connection");
    }
}

/// One that does not answer a ping is reported gone as well, before it is closed.
#[test]
fn a_master_that_does_not_answer_a_ping_is_told_gone() {
    let mut script = Script::dev().followed(
        "m connects                               | m < 101
         time 46s                                 | m < ping",
    );
    script.tells("time 11s", "master.left (unconfirmed): gone, 0 wait");
    script.tells("m > pong\ntime 1s", "master.confirmed: there, 0 wait");
}

/// Also where it had no slot when the answer was due, and has it again.
#[test]
fn a_master_that_did_not_answer_and_has_its_slot_again_is_told_gone() {
    let mut script = Script::dev();
    script.follow();
    script.play(
        "m connects                               | m < 101
         time 46s                                 | m < ping
         time 8500ms                              |
         m-b connects                             | m-b < 101
         time 900ms                               |
         m-b vanishes                             | m-b < end
         time 1s                                  |",
    );
    let told = script.told();
    let last = told.last().map(String::as_str);
    let gone = "master.left (unconfirmed): gone, 0 wait";
    assert_eq!(last, Some(gone), "{told:?}");
}

/// One that answers no ping stays gone, whatever its machine confirms: else it came and went with each message.
#[test]
fn a_master_that_answers_no_ping_is_not_there_by_what_it_confirms() {
    let mut script = Script::dev().followed(
        "m connects                               | m < 101
         time 46s                                 | m < ping
         v1 connects                              | v1 < 101
         time 11s                                 |
         m is cut                                 |",
    );
    script.tells(
        "v1 > SDP_OFFER p1\ntime 5s\nm is mended\ntime 1s",
        "viewer.waiting: gone, 1 wait; viewer.served: gone, 0 wait",
    );
}

/// A master that is gone, and gets its slot back, is gone until it shows something.
#[test]
fn a_master_that_is_gone_and_has_its_slot_again_is_looked_at() {
    let mut script = Script::dev();
    script.follow();
    script.play(
        "m connects                               | m < 101
         time 46s                                 | m < ping
         time 16s                                 |
         m-b connects                             | m-b < 101
         time 1s                                  |
         m-b vanishes                             | m-b < end
         time 6s                                  |",
    );
    script.told();
    script.tells("m > pong\ntime 1s", "master.confirmed: there, 0 wait");
}

/// A ping whose answer is due is no reason to doubt what the kernel was not asked about.
#[test]
fn a_master_is_doubtful_by_a_fresh_answer_of_the_kernel_alone() {
    let mut script = Script::dev().followed(
        "m connects                               | m < 101
         time 46s                                 | m < ping
         m > pong                                 |
         v1 connects                              | v1 < 101
         time 7056ms                              |
         m is cut                                 |
         v1 > SDP_OFFER p1                        |
         time 1500ms                              |
         m is mended                              |",
    );
    script.tells("time 1s", "");
}

/// An Alexa caller waits as a viewer does whose offer a doubtful master has not confirmed.
#[test]
fn the_caller_of_a_doubtful_master_waits() {
    let mut script = Script::dev().followed(
        "m connects                               | m < 101
         a connects                               |
         m is cut                                 |
         a > alexa p1 as echo                     |",
    );
    script.tells("time 2100ms", "viewer.waiting: doubtful, 1 wait");
}

/// What made room for others' messages is delivered, as far as is known: its viewers do not wait.
#[test]
fn nobody_waits_for_what_made_room() {
    let payload = "QUJD".repeat(7_500);
    let mut script = Script::with(1, true, |settings| {
        settings.limits.unconfirmed_bytes_total = 1
    })
    .followed(
        "m connects                               | m < 101
         v1 connects                              | v1 < 101
         m is cut                                 |
         v1 > SDP_OFFER p1                        |",
    );
    script.tells("time 3s", "viewer.waiting: doubtful, 1 wait");
    for _ in 0..8 {
        script.play(&format!("v1 > ICE_CANDIDATE {payload}"));
    }
    assert_eq!(script.told(), ["viewer.served: there, 0 wait"]);
}

/// Nor is a recipient doubtful by it that takes no more.
#[test]
fn nobody_is_doubtful_by_what_made_room() {
    let payload = "QUJD".repeat(7_500);
    let mut script = Script::with(1, true, |settings| {
        settings.limits.unconfirmed_bytes_total = 1
    })
    .followed(
        "m connects                               | m < 101
         v1 connects                              | v1 < 101
         m is cut                                 |
         v1 is cut                                |
         v1 > SDP_OFFER p1                        |
         time 3s                                  |
         m stalls                                 |
         v1 > ICE_CANDIDATE p2                    |",
    );
    for _ in 0..8 {
        script.play(&format!("m > ICE_CANDIDATE {payload} to v1"));
    }
    assert_eq!(script.told(), ["viewer.served: there, 0 wait"]);
    script.play("m-b connects | m-b < 101; m-b < ICE_CANDIDATE p2 from v1");
}

/// The pong that proves what a master has answers the ping of its silence as well.
#[test]
fn a_master_that_proves_late_is_not_told_gone() {
    let mut script = Script::with(1, true, |settings| settings.signaling.proof = Proof::Pong)
        .followed(
            "m connects                               | m < 101
         time 46s                                 | m < ping
         v1 connects                              | v1 < 101
         v1 > SDP_OFFER p1                        | m < SDP_OFFER p1 from v1; m < ping 1
         time 11s                                 |",
        );
    script.tells("m > pong 1 |", "viewer.served: there, 0 wait");
}

/// A ping that has its whole time again, since the shards stood still when its answer was due, is no answer.
#[test]
fn a_master_that_is_gone_is_not_there_by_a_standstill_of_the_shards() {
    let mut script = Script::dev();
    script.follow();
    script.play(
        "m connects                               | m < 101
         time 46s                                 | m < ping
         time 11s                                 |",
    );
    let told = script.told();
    assert_eq!(
        told.last().map(String::as_str),
        Some("master.left (unconfirmed): gone, 0 wait")
    );
    script.tells("time 18s\nstop 9s\ntime 3s", "");
    script.tells("m > pong\ntime 1s", "master.confirmed: there, 0 wait");
}

/// Such a ping is looked at when its answer is due.
#[test]
fn a_master_that_answers_nothing_after_a_standstill_is_told_gone() {
    let mut script = Script::dev().followed(
        "m connects                               | m < 101
         time 46s                                 | m < ping
         stop 33s                                 |
         time 1s                                  |",
    );
    script.tells("time 11s", "master.left (unconfirmed): gone, 0 wait");
}

/// A departure that found no room is not forgotten when its channel is deleted meanwhile: those who follow it would
/// know a viewer for good.
#[test]
fn a_channel_that_is_deleted_before_its_last_state_was_told_is_told() {
    let mut script = Script::dev().followed("v1 connects | v1 < 101\na connects |");
    script.is_full.store(true, Relaxed);
    script.tells("v1 vanishes | v1 < end", "");
    script.tells("a > delete cam | a < 200 {}", "");
    script.is_full.store(false, Relaxed);
    script.tells("time 100ms", "channel.deleted: gone, 0 wait");
}
