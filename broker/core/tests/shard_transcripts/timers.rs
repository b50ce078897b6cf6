//! Events that come by the clock: codec/PROTOCOL.md, LIFE.

use crate::shard_transcripts::script::Script;
use broker_core::journal::Entry;
use broker_core::settings::GoAway;

/// Why connections ended.
fn ends(script: &Script) -> Vec<String> {
    let reason = |entry| {
        let Entry::ConnectionEnd(end) = entry else {
            return None;
        };
        Some(end.reason.to_string())
    };
    script.log().filter_map(reason).collect()
}

#[test]
fn a_silent_client_is_pinged_and_each_answer_earns_another_ping() {
    let mut script = Script::with(1, true, |settings| {
        (settings.timeouts.pong_ms, settings.timeouts.idle_ms) = (0, 100_000);
    });
    script.play(
        "m connects                               | m < 101
         time 44s                                 |
         time 2s                                  | m < ping
         m > pong                                 |
         time 44s                                 |
         time 2s                                  | m < ping
         # what is between them may end a connection to which nothing goes
         time 45s                                 |
         time 1s                                  | m < ping
         time 8s                                  |
         time 1s                                  | m < close 1001 Idle for too long
         time 6s                                  | m < end",
    );
}

/// A proxy may end what it gets no byte of for a minute, whatever the client sends.
#[test]
fn a_client_that_only_sends_or_only_receives_is_pinged() {
    let mut script = Script::opened();
    for second in [10, 20, 30, 40] {
        script.play(&format!(
            "time 10s |\nv1 > ICE_CANDIDATE p{second} | m < ICE_CANDIDATE p{second} from v1"
        ));
    }
    script.play(
        "time 6s                                  | m < ping; v1 < ping
         v1 > pong                                |
         m > pong                                 |
         # each with what the other lacks: a frame of its own, or one for it
         time 40s                                 |
         v1 > ping                                | v1 < pong x
         time 4s                                  |
         time 2s                                  | m < ping",
    );
}

#[test]
fn a_client_that_does_not_read_is_gone_after_its_ping_and_its_offers_wait_for_the_next() {
    let mut script = Script::opened();
    script.play(
        "v1 > SDP_OFFER p1                        | m < SDP_OFFER p1 from v1
         m stalls                                 |
         v1 > ICE_CANDIDATE p2                    |
         v1 > ICE_CANDIDATE p3                    |
         time 43s                                 |
         v1 > ping                                | v1 < pong x
         time 30s                                 |
         v1 > SDP_OFFER p4                        |
         # what it did not take is kept from here on
         time 4s                                  |
         v2 connects                              | v2 < 101
         v2 > SDP_OFFER p5                        |
         time 5s                                  | m < end
         m-b connects                             | m-b < 101; m-b < SDP_OFFER p4 from v1; m-b < SDP_OFFER p5 from v2",
    );
    let reasons: Vec<String> = ends(&script);
    assert_eq!(reasons, ["unanswered"]);
}

#[test]
fn a_superseded_connection_is_not_pinged() {
    Script::dev().play(
        "m connects                               | m < 101
         time 46s                                 | m < ping
         m-b connects                             | m-b < 101
         time 44s                                 |
         time 2s                                  | m-b < ping
         m-b > pong                               |
         time 40s                                 |",
    );
}

#[test]
fn one_turn_serves_the_pings_of_a_second() {
    let mut script = Script::with(1, true, |settings| {
        settings.limits.viewers_per_channel = 1000
    });
    for number in 0..500 {
        script.play(&format!(
            "v{number} connects | v{number} < 101\n time 3ms |"
        ));
    }
    // Connected within a second and a half: pinged in three turns, 45 seconds later.
    script.pass_by(43_000);
    let (before, bytes) = script.turns();
    script.pass_by(4_000);
    let (turns, sent) = script.turns();
    let fine = turns - before <= 4;
    assert!(fine, "{} turns for 500 pings", turns - before);
    assert_eq!(sent - bytes, 500 * 2, "a ping is two bytes");
}

#[test]
fn any_frame_is_a_sign_of_life() {
    let mut script = Script::with(1, true, |settings| settings.timeouts.ping_ms = 0);
    script.play(
        "m connects                               | m < 101
         time 599s                                |
         m > empty                                |
         time 599s                                |
         m > pong                                 |
         time 599s                                |
         time 2s                                  | m < close 1001 Idle for too long
         m > close 1001                           | m < end",
    );
}

#[test]
fn an_hour_ends_with_a_minutes_notice() {
    let mut script = Script::with(1, true, |settings| {
        settings.timeouts.ping_ms = 0;
        settings.timeouts.idle_ms = 10_000_000;
    });
    script.play(
        "m connects                               | m < 101
         m-b connects                             | m-b < 101
         time 3539s                               |
         time 2s                                  | m-b < GO_AWAY
         time 58s                                 |
         time 2s                                  | m < close 1001 Going away; m-b < close 1001 Going away",
    );
}

/// A jump of the clock does the same as time, though no client is read meanwhile.
#[test]
fn a_jump_beyond_the_hour_has_its_notice_before_the_end() {
    for strict in [false, true] {
        let mut script = Script::with(1, true, |settings| {
            if strict {
                settings.timeouts.ping_ms = 0;
                settings.signaling.go_away = GoAway::Always;
            }
        });
        script.play(
            "m connects                               | m < 101
             v1 connects                              | v1 < 101
             time 20s                                 |
             leap 120min | m < GO_AWAY; m < close 1001 Going away; v1 < GO_AWAY; v1 < close 1001 Going away
             m > close 1001                           | m < end
             # the time to answer the close frame begins after the jump
             time 4s                                  |
             time 2s                                  | v1 < end",
        );
        assert_eq!(ends(&script), ["age", "age"]);
    }
}

#[test]
fn a_jump_into_the_grace_brings_the_notice_alone() {
    Script::dev().play(
        "m connects                               | m < 101
         leap 9min                                | m < ping
         m > pong                                 |
         leap 9min                                | m < ping
         m > pong                                 |
         leap 41min                               | m < ping; m < close 1001 Idle for too long
         v1 connects                              | v1 < 101
         leap 59min                               | m < end; v1 < ping; v1 < close 1001 Idle for too long",
    );
    let mut script = Script::with(1, true, |settings| settings.timeouts.idle_ms = 10_000_000);
    script.play(
        "m connects                               | m < 101
         leap 3541s                               | m < ping; m < GO_AWAY
         time 29s                                 |
         # the ping of the jump has its whole time after it
         time 3s                                  | m < close 1001 Ping not answered",
    );
}

#[test]
fn a_client_of_the_subprotocol_wss_is_closed_without_notice_within_that_minute() {
    let mut script = Script::with(1, true, |settings| {
        settings.timeouts.ping_ms = 0;
        settings.timeouts.idle_ms = 10_000_000;
    });
    script.play(
        "m connects wss                           | m < 101
         v1 connects wss                          | v1 < 101
         v2 connects                              | v2 < 101
         time 3539s                               |
         # each at a moment of its own, though they came together
         time 15s                                 | v2 < GO_AWAY
         time 10s                                 | m < close 1001 Going away
         m > close 1001                           | m < end
         time 23s                                 | v1 < close 1001 Going away
         v1 > close 1001                          | v1 < end
         time 12s                                 |
         time 2s                                  | v2 < close 1001 Going away",
    );
    assert_eq!(ends(&script), ["age", "age"]);
}

#[test]
fn a_connection_without_notices_is_closed_instead() {
    for (go_away, told) in [
        (GoAway::Auto, [false, true]),
        (GoAway::Always, [true, true]),
        (GoAway::Never, [false, false]),
    ] {
        let mut script = Script::with(1, true, |settings| settings.signaling.go_away = go_away);
        script.play("m connects wss | m < 101\n v1 connects | v1 < 101");
        assert_eq!(script.reconnect_ice(), 2);
        script.pass_by(100);
        let heard = script.hear();
        let wanted = ["m", "v1"].iter().zip(told).map(|(name, told)| {
            if told {
                format!("{name} < RECONNECT_ICE_SERVER")
            } else {
                format!("{name} < close 1001 Going away")
            }
        });
        assert_eq!(heard, wanted.collect::<Vec<_>>(), "{go_away:?}");
    }
}

#[test]
fn clients_that_come_back_for_ice_servers_do_so_one_after_the_other() {
    let mut script = Script::with(1, true, |settings| {
        settings.limits.viewers_per_channel = 1000
    });
    for number in 0..300 {
        script.play(&format!("v{number} connects wss | v{number} < 101"));
    }
    assert_eq!(script.reconnect_ice(), 300);
    let mut closed = Vec::new();
    for _ in 0..4 {
        script.pass_by(1_000);
        closed.push(script.hear().len());
    }
    let fine = closed[..2].iter().all(|one| (90..=107).contains(one));
    assert!(fine, "{closed:?}");
    assert_eq!(closed.iter().sum::<usize>(), 300);
}

#[test]
fn a_frame_must_end_in_ten_seconds() {
    Script::dev().play(
        "v1 connects                              | v1 < 101
         v1 > bytes \\x81                         |
         time 9s                                  |
         v1 > bytes \\x85                         |
         time 2s                                  | v1 < close 1008 message took too long
         v2 connects                              | v2 < 101
         v2 > bytes \\x89                         |
         time 6s                                  | v1 < end
         # this ping ended in time, and the next one has its own ten seconds
         v2 > bytes \\x80\\x00\\x00\\x00\\x00\\x89 | v2 < pong
         time 6s                                  |
         v2 > bytes \\x80\\x00\\x00\\x00\\x00      | v2 < pong",
    );
}

#[test]
fn a_connection_has_one_timer_however_often_its_deadline_moves() {
    let mut script = Script::with(1, true, |settings| settings.timeouts.ping_ms = 0);
    script.play("m connects | m < 101");
    for number in 0..100 {
        // A frame begun is due in ten seconds; once it has ended, nothing is due for minutes.
        script.play(
            "m > bytes \\x89                         |
             m > bytes \\x80\\x00\\x00\\x00\\x00      | m < pong
             time 11s                                 |",
        );
        // A caller that leaves at once leaves nothing behind.
        let lost = "POST / HTTP/1.1\\r\\nHost: h\\r\\nContent-Length: 0\\r\\n\\r\\n";
        script.play(&format!(
            "a{number} connects                       |
             a{number} > http {lost}                  | a{number} < 404 UnknownOperationException
             a{number} vanishes                       | a{number} < end"
        ));
        let (timers, owners) = script.timers();
        assert!(
            timers <= owners,
            "{timers} timers for {owners} sessions and channels in round {number}"
        );
    }
}

#[test]
fn a_call_that_nobody_answers_is_refused_after_a_while() {
    let mut script = Script::with(2, true, |_| ());
    let far = script.name_on(1);
    script.play(&format!(
        "letters wait                             |
         a connects                               |
         a > describe {far}                       |
         time 149s                                |
         time 2s                                  | a < 503 ServiceUnavailable
         # an answer that comes after that finds nobody
         letters taken                            |
         a > describe {far}                       | a < 404 ResourceNotFoundException"
    ));
}

#[test]
fn a_connection_that_cannot_leave_for_its_channels_shard_is_cut_off() {
    let mut script = Script::with(2, true, |_| ());
    let far = script.name_on(1);
    script.play(&format!(
        "handovers wait                           |
         m connects {far}                         |
         time 9s                                  |
         time 2s                                  | m < end"
    ));
}
