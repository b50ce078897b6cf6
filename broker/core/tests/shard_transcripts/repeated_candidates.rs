//! The candidates of an offer that is given once more: codec/PROTOCOL.md, KEEP-9.

use crate::shard_transcripts::script::Script;
use broker_core::event::{Kind, Outcome};
use broker_core::settings::Settings;
use codec::signal::Action;

/// Wherever they were meanwhile: with the former master, waiting for one, taken back from one that did not confirm
/// them, sent by a newer connection of their sender. What came before the offer is not repeated.
#[test]
fn the_candidates_of_an_offer_that_is_given_again_follow_it_once() {
    let mut script = Script::dev();
    script.play(
        "v1 connects                              | v1 < 101
         m connects                               | m < 101
         v1 > ICE_CANDIDATE p0                    | m < ICE_CANDIDATE p0 from v1
         m vanishes                               | m < end
         v1 > SDP_OFFER p1                        |
         v1 > ICE_CANDIDATE p2                    |
         m-b connects                             | m-b < 101; m-b < SDP_OFFER p1 from v1; m-b < ICE_CANDIDATE p2 from \
         v1
         v1 vanishes                              | v1 < end
         v1-b connects                            | v1-b < 101
         v1-b > ICE_CANDIDATE p3                  | m-b < ICE_CANDIDATE p3 from v1
         time 2s                                  |
         m-b is cut                               |
         v1-b > ICE_CANDIDATE p4                  |
         m-b vanishes                             | m-b < end
         v1-b > ICE_CANDIDATE p5                  |
         m-c connects                             | m-c < 101
         v1-b > ICE_CANDIDATE p6                  |
         time 3s                                  | m-c < SDP_OFFER p1 from v1; m-c < ICE_CANDIDATE p2 from v1; m-c < \
         ICE_CANDIDATE p3 from v1; m-c < ICE_CANDIDATE p4 from v1; m-c < ICE_CANDIDATE p5 from v1; m-c < \
         ICE_CANDIDATE p6 from v1
         v1-b > ICE_CANDIDATE p7                  | m-c < ICE_CANDIDATE p7 from v1
         m-c > close 1000                         | m-c < close 1000; m-c < end
         m-d connects                             | m-d < 101
         time 5s                                  |",
    );
    let row = script.counters().outcomes[Kind::Known(Action::IceCandidate).index()];
    assert_eq!(row[Outcome::Delivered.index()], 7, "a copy counts nothing");
}

/// An offer has 32 of them, and a shard a part of its kept bytes for all: what has no room is not given again.
#[test]
fn the_candidates_of_an_offer_that_is_given_again_have_bounds() {
    let large = "QUJD".repeat(100);
    // An offer takes 73 bytes, a candidate that long some 480: 32 short ones and no long one have room.
    for (payload, bytes, first) in [("", 16 << 10, 2), (large.as_str(), 4 * 400, 35)] {
        let mut script = Script::with(1, true, |settings: &mut Settings| {
            settings.limits.pending_bytes_per_shard = bytes;
        });
        script.play(
            "m connects                           | m < 101
             v1 connects                          | v1 < 101
             v1 > SDP_OFFER p1                    | m < SDP_OFFER p1 from v1",
        );
        let candidate = |number: usize| format!("ICE_CANDIDATE {payload}c{number:02}");
        for number in 0..34 {
            let sent = candidate(number);
            script.play(&format!("v1 > {sent} | m < {sent} from v1"));
        }
        let again = (first..34).map(|number| format!("; m-b < {} from v1", candidate(number)));
        script.play(&format!(
            "time 2s                              |
             m > close 1000                       | m < close 1000; m < end
             m-b connects                         | m-b < 101
             time 3s                              | m-b < SDP_OFFER p1 from v1{}",
            again.collect::<String>()
        ));
    }
}
