//! From offer to answer over sockets, plain and TLS, on the shard that accepts and on another. Who gets which message,
//! in which words, is in `shard_transcripts` of the core.

use crate::peer::{Peer, answer, master_query, offer, to_master, to_viewer, viewer_query};
use crate::process::{Broker, arn};

on_shards!(plain_and_tls_peers_meet, connections_move_to_their_channel);

fn plain_and_tls_peers_meet(broker: &Broker) {
    let arn = arn("demo");
    let mut master = Peer::secure(broker, &master_query(&arn));
    let mut plain = Peer::viewer(broker, &arn, "plain");
    let mut secure = Peer::secure(broker, &viewer_query(&arn, "secure"));
    for (viewer, id) in [(&mut plain, "plain"), (&mut secure, "secure")] {
        let long = "A".repeat(20_000);
        viewer.send(&offer(&long));
        master.expect(&to_master("SDP_OFFER", &long, id));
        master.send(&answer(id, &long));
        viewer.expect(&to_viewer("SDP_ANSWER", &long));
    }
    secure.close();
    master.close();
}

/// Which shard accepts a connection is the kernel's choice, so with several shards some of these must have moved.
fn connections_move_to_their_channel(broker: &Broker) {
    let mut pairs: Vec<(Peer, Peer)> = (0..24)
        .map(|n| {
            let arn = arn(&format!("channel-{n}"));
            (
                Peer::master(broker, &arn),
                Peer::secure(broker, &viewer_query(&arn, "v")),
            )
        })
        .collect();
    for (n, (master, viewer)) in pairs.iter_mut().enumerate() {
        viewer.send(&offer(&format!("offer{n}==")));
        master.expect(&to_master("SDP_OFFER", &format!("offer{n}=="), "v"));
        master.send(&answer("v", &format!("answer{n}=")));
        viewer.expect(&to_viewer("SDP_ANSWER", &format!("answer{n}=")));
    }
    let handovers = broker.scrape().sum("heliograph_handovers_total");
    assert_eq!(
        handovers > 0.0,
        broker.shards > 1,
        "{handovers} handovers on {} shards",
        broker.shards
    );
}
