//! The recipients of messages: codec/PROTOCOL.md, ROUTE.

use crate::shard_transcripts::script::Script;

#[test]
fn viewers_reach_the_master_and_the_master_each_viewer() {
    Script::opened().play(
        "v2 connects                              | v2 < 101
         v1 > SDP_OFFER p1                        | m < SDP_OFFER p1 from v1
         m > SDP_ANSWER p2 to v1                  | v1 < SDP_ANSWER p2
         m > ICE_CANDIDATE p3 to v2               | v2 < ICE_CANDIDATE p3
         v2 > ICE_CANDIDATE p4                    | m < ICE_CANDIDATE p4 from v2
         v2 > SDP_ANSWER p5                       | m < SDP_ANSWER p5 from v2",
    );
}

#[test]
fn a_viewer_never_reaches_a_viewer_whomever_it_names() {
    Script::opened().play(
        "v2 connects                              | v2 < 101
         v1 > SDP_OFFER p1 to v2                  | m < SDP_OFFER p1 from v1
         v1 > ICE_CANDIDATE p2 to MASTER          | m < ICE_CANDIDATE p2 from v1
         v1 > raw \
         {\"action\":\"ICE_CANDIDATE\",\"messagePayload\":\"p3\",\"recipientClientId\":\"\",\"senderClientId\":\"v2\"} \
         | m < ICE_CANDIDATE p3 from v1",
    );
}

#[test]
fn a_master_offers_only_where_that_is_allowed() {
    let opening = "m connects                     | m < 101
                   v1 connects                    | v1 < 101";
    let mut closed = Script::dev();
    closed.play(opening);
    closed.play(
        "m > SDP_OFFER p1 to v1 id c1 | m < status c1 400 InvalidArgumentException A master cannot send an SDP offer.",
    );
    let mut open = Script::with(1, true, |settings| settings.options.master_offers = true);
    open.play(opening);
    open.play(
        "m > SDP_OFFER p1 to v1 id c1             | v1 < SDP_OFFER p1
         v1 > SDP_ANSWER p2                       | m < SDP_ANSWER p2 from v1",
    );
}

#[test]
fn a_handover_joins_clients_of_all_shards() {
    let mut script = Script::with(4, true, |_| ());
    for shard in 0..4 {
        let channel = script.name_on(shard);
        let (m, v) = (format!("m{shard}"), format!("v{shard}"));
        script.play(&format!(
            "{m} connects {channel}              | {m} < 101
             {v} connects {channel}              | {v} < 101
             {v} > SDP_OFFER p1                  | {m} < SDP_OFFER p1 from {v}
             {m} > SDP_ANSWER p2 to {v}          | {v} < SDP_ANSWER p2"
        ));
    }
}
