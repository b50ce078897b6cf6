//! What happens by the clock: protocol.md 4.4.

use crate::script::Script;

#[test]
fn a_silent_client_is_pinged_and_each_answer_earns_another_ping() {
    Script::dev().play(
        "m connects                               | m < 101
         time 119s                                |
         time 2s                                  | m < ping
         m > pong                                 |
         time 119s                                |
         time 2s                                  | m < ping
         time 479s                                |
         time 2s                                  | m < close 1001 Idle for too long
         time 6s                                  | m < end",
    );
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
