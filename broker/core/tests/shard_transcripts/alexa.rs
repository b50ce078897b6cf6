//! SendAlexaOfferToMaster: codec/PROTOCOL.md, ALEXA.

use crate::shard_transcripts::script::Script;
use broker_core::event::{Kind, Outcome};
use codec::signal::Action;

#[test]
fn the_masters_answer_is_the_response() {
    Script::dev().play(
        "m connects                               | m < 101
         a connects                               |
         a > alexa p1 as echo                     | m < SDP_OFFER p1 from echo
         # Alexa does not trickle
         m > ICE_CANDIDATE p2 to echo             |
         m > SDP_ANSWER p3 to echo                | a < 200 {\"Answer\":\"p3\"}
         # the call is over: what follows is for a viewer of that name
         m > SDP_ANSWER p4 to echo                |
         a > alexa p5 as echo                     | m < SDP_OFFER p5 from echo",
    );
}

/// Those that follow the end of a call are for nobody, until a viewer of that name has connected.
#[test]
fn candidates_for_a_call_are_dropped_whenever_they_come() {
    for ends in [
        "m > SDP_ANSWER p2 to v9                | a < 200 {\"Answer\":\"p2\"}",
        "a vanishes                               | a < end",
        "time 46s | m < ping\n m > pong |\n time 15s | a < 200 {\"Answer\":null}",
    ] {
        let mut script = Script::dev();
        script.play(&format!(
            "m connects                           | m < 101
             a connects                           |
             a > alexa p1 as v9                 | m < SDP_OFFER p1 from v9
             {ends}
             m > ICE_CANDIDATE c1 to v9         |
             m > ICE_CANDIDATE c2 to v9         |
             m > ICE_CANDIDATE c3 to v8        |",
        ));
        assert_eq!(script.counters().pending_messages, 1, "v8's alone: {ends}");
        script.play(
            "v9 connects                        | v9 < 101
             m > ICE_CANDIDATE c4 to v9         | v9 < ICE_CANDIDATE c4
             v9 vanishes                        | v9 < end
             m > ICE_CANDIDATE c5 to v9         |
             v9-b connects                      | v9-b < 101; v9-b < ICE_CANDIDATE c5",
        );
        let row = script.counters().outcomes[Kind::Known(Action::IceCandidate).index()];
        assert_eq!(row[Outcome::Withdrawn.index()], 2, "{ends}");
    }
}

#[test]
fn a_call_waits_for_a_master_and_is_looked_up_before_the_viewers() {
    Script::dev().play(
        "v1 connects                              | v1 < 101
         a connects                               |
         a > alexa p1 as v1                       |
         v1 > ICE_CANDIDATE p2                    |
         m connects                               | m < 101; m < SDP_OFFER p1 from v1; m < ICE_CANDIDATE p2 from v1
         m > SDP_ANSWER p3 to v1                  | a < 200 {\"Answer\":\"p3\"}
         m > SDP_ANSWER p4 to v1                  | v1 < SDP_ANSWER p4",
    );
}

#[test]
fn nothing_in_time_is_null_and_the_offer_is_withdrawn() {
    let mut script = Script::dev();
    script.play(
        "v1 connects                              | v1 < 101
         v1 vanishes                              | v1 < end
         a connects                               |
         a > alexa p1 as echo                     |
         time 59s                                 |
         time 2s                                  | a < 200 {\"Answer\":null}
         m connects                               | m < 101",
    );
    let row = script.counters().outcomes[Kind::Known(Action::SdpOffer).index()];
    assert_eq!(row[Outcome::Expired.index()], 1);
}

#[test]
fn a_configured_wait_shortens_the_ttl() {
    let mut script = Script::with(1, true, |settings| {
        settings.timeouts.alexa_wait_max_ms = 7_000
    });
    script.play(
        "m connects                               | m < 101
         a connects                               |
         a > alexa p1 as echo                     | m < SDP_OFFER p1 from echo
         time 8s                                  | a < 200 {\"Answer\":null}",
    );
}

#[test]
fn the_newest_call_of_a_sender_wins() {
    Script::dev().play(
        "m connects                               | m < 101
         m vanishes                               | m < end
         a1 connects                              |
         a2 connects                              |
         a1 > alexa p1 as echo                    |
         a2 > alexa p2 as echo                    | a1 < 200 {\"Answer\":null}
         m-b connects                             | m-b < 101; m-b < SDP_OFFER p2 from echo
         m-b > SDP_ANSWER p3 to echo              | a2 < 200 {\"Answer\":\"p3\"}",
    );
}

#[test]
fn an_unanswered_offer_goes_to_the_next_master_and_counts_once() {
    let mut script = Script::dev();
    script.play(
        "m connects                               | m < 101
         a connects                               |
         a > alexa p1 as echo                     | m < SDP_OFFER p1 from echo
         m vanishes                               | m < end
         m-b connects                             | m-b < 101; m-b < SDP_OFFER p1 from echo
         m-c connects                             | m-c < 101; m-c < SDP_OFFER p1 from echo
         m-b > SDP_ANSWER p2 to echo              | a < 200 {\"Answer\":\"p2\"}",
    );
    let row = script.counters().outcomes[Kind::Known(Action::SdpOffer).index()];
    assert_eq!(row, [1, 0, 0, 0, 0, 0, 0, 0, 0]);
}

#[test]
fn an_offer_under_way_to_a_superseded_master_is_given_to_the_next_one_once() {
    Script::dev().play(
        "m connects                               | m < 101
         a connects                               |
         a > alexa p1 as echo                     | m < SDP_OFFER p1 from echo
         m vanishes                               | m < end
         m-b connects                             | m-b < 101; m-b < SDP_OFFER p1 from echo
         m-b stalls                               |
         v1 connects                              | v1 < 101
         m-c connects                             | m-c < 101; m-c < SDP_OFFER p1 from echo
         m-b reads                                |
         m-c > ping                               | m-c < pong x",
    );
}

#[test]
fn a_caller_that_hangs_up_withdraws_its_offer() {
    let mut script = Script::dev();
    script.play(
        "v1 connects                              | v1 < 101
         a connects                               |
         a > alexa p1 as echo                     |
         a vanishes                               | a < end
         m connects                               | m < 101",
    );
    let row = script.counters().outcomes[Kind::Known(Action::SdpOffer).index()];
    let found = (
        row[Outcome::Withdrawn.index()],
        script.counters().waiting_calls,
    );
    assert_eq!(found, (1, 0));
}

#[test]
fn a_deleted_channel_ends_its_calls_with_404() {
    Script::dev().play(
        "v1 connects                              | v1 < 101
         v1 vanishes                              | v1 < end
         a1 connects                              |
         a1 > alexa p1 as echo                    |
         a2 connects                              |
         a2 > delete cam                          | a1 < 404 ResourceNotFoundException; a2 < 200 {}
         a1 > alexa p2 as echo                    | a1 < 404 ResourceNotFoundException",
    );
}

#[test]
fn a_request_behind_a_replaced_call_begins_when_that_is_over() {
    let mut script = Script::dev();
    script.play(
        "v1 connects                              | v1 < 101
         a1 connects                              |
         a2 connects                              |
         a1 > alexa p1 as echo                    |
         a1 > alexa p2 as echo                    |
         a2 > alexa p3 as echo                    | a1 < 200 {\"Answer\":null}; a2 < 200 {\"Answer\":null}
         a2 > alexa p4 as echo                    | a1 < 200 {\"Answer\":null}
         a1 > delete cam                          | v1 < close 1001 Channel deleted; a1 < 200 {}; a2 < 404 \
         ResourceNotFoundException",
    );
    assert_eq!(script.counters().waiting_calls, 0);
}

#[test]
fn calls_cross_shards_and_back() {
    let mut script = Script::with(4, true, |_| ());
    script.play(
        "m connects                               | m < 101
         a1 connects                              |
         a2 connects                              |
         a1 > alexa p1 as echo                    | m < SDP_OFFER p1 from echo
         a2 > alexa p2 as dot                     | m < SDP_OFFER p2 from dot
         a2 vanishes                              | a2 < end
         m > SDP_ANSWER p3 to dot                 |
         m > SDP_ANSWER p4 to echo                | a1 < 200 {\"Answer\":\"p4\"}",
    );
}
