//! Bad messages and bad frames: codec/PROTOCOL.md, MSG and STAT; RFC 6455.

use crate::shard_transcripts::script::Script;
use broker_core::event::{Kind, Outcome};
use broker_core::settings::Rate;

#[test]
fn a_fault_with_a_correlation_id_gets_a_status_response() {
    let mut script = Script::opened();
    script.play(
        r#"v1 > raw {"action":"SDP_NOTHING","messagePayload":"p","correlationId":"c1"} | v1 < status c1 400 InvalidArgumentException Unsupported action.
           v1 > raw {"messagePayload":"p","correlationId":"c1"}                        | v1 < status c1 400 InvalidArgumentException Unsupported action.
           v1 > raw {"action":"SDP_OFFER","messagePayload":"","correlationId":"c1"}    | v1 < status c1 400 InvalidArgumentException messagePayload must be 1 to 32768 base64 characters.
           v1 > raw {"action":"SDP_OFFER","messagePayload":"p!","correlationId":"c1"}  | v1 < status c1 400 InvalidArgumentException messagePayload must be 1 to 32768 base64 characters.
           v1 > raw {"action":"SDP_OFFER","correlationId":"c1"}                        | v1 < status c1 400 InvalidArgumentException messagePayload must be 1 to 32768 base64 characters.
           v1 > raw {"action":"SDP_OFFER","messagePayload":7,"correlationId":"c1"}     | v1 < status c1 400 InvalidArgumentException Malformed message.
           v1 > raw {"action":"SDP_OFFER","Action":"SDP_OFFER","messagePayload":"p","correlationId":"c1"} | v1 < status c1 400 InvalidArgumentException Malformed message.
           m > raw {"action":"SDP_ANSWER","messagePayload":"p","correlationId":"c1"}   | m < status c1 400 InvalidArgumentException recipientClientId is required and must match [a-zA-Z0-9_.-]{1,256}.
           m > raw {"action":"SDP_ANSWER","messagePayload":"p","recipientClientId":"a b","correlationId":"c1"} | m < status c1 400 InvalidArgumentException recipientClientId is required and must match [a-zA-Z0-9_.-]{1,256}."#,
    );
    let counters = script.counters();
    assert_eq!(counters.received[Kind::Unknown.index()], 9);
    let found = counters.outcomes[Kind::Unknown.index()][Outcome::Refused.index()];
    assert_eq!(found, 9);
}

#[test]
fn a_fault_without_a_usable_correlation_id_is_only_counted() {
    let mut script = Script::opened();
    script.play(
        r#"v1 > raw {"action":"SDP_NOTHING","messagePayload":"p"}                            |
           v1 > raw {"action":"SDP_NOTHING","messagePayload":"p","correlationId":""}         |
           v1 > raw {"action":"SDP_OFFER","messagePayload":"p","correlationId":"a b"}        |
           v1 > raw {"action":"SDP_OFFER","messagePayload":"p","correlationId":7}            |
           v1 > raw {"action":"SDP_OFFER",                                                   |
           v1 > raw [1]                                                                      |
           v1 > raw {"action":"SDP_OFFER","messagePayload":"p","correlationId":null}         | m < SDP_OFFER p from v1"#,
    );
    assert_eq!(script.counters().received, [1, 0, 0, 6]);
}

#[test]
fn an_empty_message_is_a_sign_of_life() {
    let mut script = Script::opened();
    script.play(
        "v1 > empty                               |
         v1 > pong                                |
         v1 > ping                                | v1 < pong x",
    );
    assert_eq!(script.counters().received, [0; 4]);
}

#[test]
fn violations_close_with_their_codes_and_harm_nobody_else() {
    let mut script = Script::opened();
    script.play(
        "v2 connects                              | v2 < 101
         v2 > unmasked                            | v2 < close 1002 a client's frame must be masked
         v2 > ping                                | v2 < end
         v3 connects                              | v3 < 101
         v3 > binary                              | v3 < close 1003 Binary messages are not supported.
         v3 > SDP_OFFER p                         |
         v3 > close 1003                          | v3 < end
         v4 connects                              | v4 < 101
         v4 > huge                                | v4 < close 1009 message is too big
         v4 vanishes                              | v4 < end
         v5 connects                              | v5 < 101
         v5 > bytes \\x81\\x82\\x00\\x00\\x00\\x00\\xff\\xfe | v5 < close 1007 text message is not UTF-8
         time 6s                                  | v5 < end
         v1 > SDP_OFFER p1                        | m < SDP_OFFER p1 from v1",
    );
}

#[test]
fn a_close_is_echoed_and_ends_the_connection() {
    let mut script = Script::opened();
    script.play(
        "v1 > close 4000                          | v1 < close 4000; v1 < end
         m > SDP_ANSWER p1 to v1                  |
         v1-b connects                            | v1-b < 101; v1-b < SDP_ANSWER p1",
    );
}

#[test]
fn two_hundred_control_frames_a_second_are_enough() {
    let mut script = Script::opened();
    for _ in 0..200 {
        script.play("v1 > pong |");
    }
    script.play("v1 > pong | v1 < close 1008 too many frames without effect");
}

#[test]
fn empty_faulty_and_throttled_messages_cost_as_much_as_control_frames() {
    for (frame, answer) in [
        ("empty", ""),
        ("raw not JSON at all", ""),
        ("SDP_OFFER not*base64", ""),
    ] {
        let mut script = Script::opened();
        for _ in 0..200 {
            script.play(&format!("v1 > {frame} | {answer}"));
        }
        script.play(&format!(
            "v1 > {frame} | v1 < close 1008 too many frames without effect"
        ));
        script.play(
            "v1-b connects                        | v1-b < 101
             v1-b > SDP_OFFER p1                  | m < SDP_OFFER p1 from v1",
        );
    }
    let mut script = Script::with(1, true, |settings| {
        settings.quotas.off = false;
        settings.quotas.sdp = Rate { rate: 1, burst: 1 };
    });
    script.play("m connects | m < 101\nv1 connects | v1 < 101");
    script.play("v1 > SDP_OFFER p1 | m < SDP_OFFER p1 from v1");
    for _ in 0..200 {
        script.play("v1 > SDP_OFFER p2 |");
    }
    script.play("v1 > SDP_OFFER p2 | v1 < close 1008 too many frames without effect");
}
