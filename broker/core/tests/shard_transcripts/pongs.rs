//! Where a pong is the proof, since what acknowledges may be a proxy. See codec/PROTOCOL.md, ROUTE-3.

use crate::shard_transcripts::script::Script;
use broker_core::settings::Proof;

/// A script whose proof is the pong, as behind a proxy that ends connections.
fn by_pongs() -> Script {
    Script::with(1, true, |settings| settings.signaling.proof = Proof::Pong)
}

#[test]
fn behind_a_proxy_a_pong_proves_what_was_before_its_ping() {
    let mut script = by_pongs();
    script.play(
        "m connects                               | m < 101
         v1 connects                              | v1 < 101
         v1 > SDP_OFFER p1                        | m < SDP_OFFER p1 from v1; m < ping 1
         v1 > ICE_CANDIDATE p2                    | m < ICE_CANDIDATE p2 from v1
         # what followed the ping has one of its own
         m > pong 1                               | m < ping 2
         m > pong 2                               |
         m vanishes                               | m < end
         m-b connects                             | m-b < 101
         v1 > SDP_OFFER p3                        | m-b < SDP_OFFER p3 from v1; m-b < ping 3
         m-b vanishes                             | m-b < end
         m-c connects                             | m-c < 101; m-c < SDP_OFFER p3 from v1; m-c < ping 3
         m-c > pong 3                             |
         v1 > ICE_CANDIDATE p4                    | m-c < ICE_CANDIDATE p4 from v1
         time 1100ms                              | m-c < ping 4
         m-c > pong 4                             |
         m-d connects                             | m-d < 101",
    );
    assert_eq!(script.counters().returned, 1);
}

/// TAKE-4: its client is alive, and the connection before it may be dead.
#[test]
fn a_master_that_has_sent_only_the_pong_that_proves_gives_no_slot_back() {
    by_pongs().play(
        "m connects                               | m < 101
         v1 connects                              | v1 < 101
         m-b connects                             | m-b < 101
         v1 > SDP_OFFER p1                        | m-b < SDP_OFFER p1 from v1; m-b < ping 1
         m-b > pong 1                             |
         m-b vanishes                             | m-b < end
         v1 > SDP_OFFER p2                        |
         m-c connects                             | m-c < 101; m-c < SDP_OFFER p2 from v1; m-c < ping 2",
    );
}

/// The slot is held no longer than until the pong has come: newer messages go on with it.
#[test]
fn a_pong_of_a_connection_that_lost_its_slot_releases_that() {
    by_pongs().play(
        "m connects                               | m < 101
         v1 connects                              | v1 < 101
         m > SDP_ANSWER p1 to v1                  | v1 < SDP_ANSWER p1; v1 < ping 1
         v1-b connects                            | v1-b < 101
         m > ICE_CANDIDATE p2 to v1               |
         v1 > pong 1                              | v1-b < ICE_CANDIDATE p2; v1-b < ping 2
         m > ICE_CANDIDATE p3 to v1               | v1-b < ICE_CANDIDATE p3",
    );
}

/// The same message, sent to a connection that has its slot again, is not proved by the pong of the ping before it.
#[test]
fn a_pong_proves_nothing_that_came_again_behind_its_ping() {
    let mut script = by_pongs();
    script.play(
        "m connects                               | m < 101
         v1 connects                              | v1 < 101
         m stalls                                 |
         v1 > SDP_OFFER p1                        |
         m-b connects                             | m-b < 101; m-b < SDP_OFFER p1 from v1; m-b < ping 1
         m reads                                  | m < ping 1
         m-b vanishes                             | m < SDP_OFFER p1 from v1; m-b < end
         m > pong 1                               | m < ping 1
         m vanishes                               | m < end
         m-c connects                             | m-c < 101; m-c < SDP_OFFER p1 from v1; m-c < ping 1",
    );
    assert_eq!(script.counters().returned, 2);
}

/// What waits for an offer that is over goes at once, also where that shows only when another offer is confirmed.
#[test]
fn what_waited_for_an_offer_goes_when_that_is_over() {
    by_pongs().play(
        "m connects                               | m < 101
         v1 connects                              | v1 < 101
         v2 connects                              | v2 < 101
         v1 > SDP_OFFER p1                        | m < SDP_OFFER p1 from v1; m < ping 1
         m > pong 1                               |
         m vanishes                               | m < end
         m-b connects                             | m-b < 101
         v1 > ICE_CANDIDATE p2                    |
         v2 > SDP_OFFER p3                        | m-b < SDP_OFFER p3 from v2; m-b < ping 3
         v1 > close 1000                          | v1 < close 1000; v1 < end
         m-b > pong 3                             | m-b < ICE_CANDIDATE p2 from v1; m-b < ping 2",
    );
}
