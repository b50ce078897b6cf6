//! The end of the process: codec/PROTOCOL.md, LIFE-4.

use crate::shard_transcripts::script::Script;

#[test]
fn all_get_go_away_then_close_and_messages_pass_meanwhile() {
    let mut script = Script::opened();
    script.play(
        "v1-b connects                            | v1-b < 101
         drain 20s                                |
         v1-b > SDP_OFFER p1                      | m < SDP_OFFER p1 from v1
         # no other node serves them: they stay until the last two seconds
         time 18s                                 |
         # all but the superseded one
         time 1s                                  | m < GO_AWAY; v1-b < GO_AWAY
         m > SDP_ANSWER p2 to v1                  | v1-b < SDP_ANSWER p2
         time 510ms                               | m < close 1001 Going away; v1 < close 1001 Going away; v1-b < \
         close 1001 Going away
         m > close 1001                           | m < end
         v1 > close 1001                          | v1 < end",
    );
    assert!(!script.is_drained());
    script.play("v1-b > close 1001                    | v1-b < end");
    assert!(script.is_drained());
}

#[test]
fn waiting_calls_are_answered_at_the_end_and_their_connections_close() {
    let mut script = Script::dev();
    script.play(
        "v1 connects                              | v1 < 101
         v1 vanishes                              | v1 < end
         a connects                               |
         a > alexa p1 as echo                     |
         # a request behind the call is not taken any more
         a > describe cam                         |
         drain 20s                                |
         time 19s                                 |",
    );
    assert!(!script.is_drained());
    script.play("time 1s                              | a < 503 ServiceUnavailable; a < end");
    assert!(script.is_drained());
}

#[test]
fn a_client_of_the_subprotocol_wss_gets_the_close_alone() {
    Script::dev().play(
        "m connects wss                           | m < 101
         v1 connects wss                          | v1 < 101
         v2 connects                              | v2 < 101
         drain 20s                                |
         time 19s                                 | v2 < GO_AWAY
         v1 > SDP_OFFER p1                        | m < SDP_OFFER p1 from v1
         time 510ms                               | m < close 1001 Going away; v1 < close 1001 Going away; v2 < close \
         1001 Going away",
    );
}
