//! From offer to answer over sockets, plain and TLS, on the shard that accepts and on another. Who gets which message,
//! in which words, is in `shard_transcripts` of the core.

use crate::peer::{
    HealthyPair, Peer, answer, candidate, candidate_to, master_query, offer, to_master, to_viewer,
    viewer_query,
};
use crate::process::{Broker, arn};

on_shards!(
    plain_and_tls_peers_meet,
    connections_move_to_their_channel,
    order_is_kept_in_bursts,
);

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

fn order_is_kept_in_bursts(broker: &Broker) {
    let arn = arn("demo");
    let mut master = Peer::master(broker, &arn);
    let mut viewer = Peer::viewer(broker, &arn, "v1");
    for n in 0..300 {
        viewer.send(&candidate(&format!("up{n:06}")));
        master.send(&candidate_to("v1", &format!("down{n:04}")));
    }
    for n in 0..300 {
        master.expect(&to_master("ICE_CANDIDATE", &format!("up{n:06}"), "v1"));
        viewer.expect(&to_viewer("ICE_CANDIDATE", &format!("down{n:04}")));
    }
}

#[test]
fn stdout_carries_the_ready_line_alone() {
    let broker = Broker::dev(2);
    let words: Vec<&str> = broker.ready.split(' ').collect();
    assert_eq!(words.len(), 7, "{words:?}");
    let expected = [
        "ready".to_owned(),
        format!("http://{}", broker.plain),
        format!("https://{}", broker.tls),
        format!("admin=http://{}", broker.admin),
    ];
    assert_eq!(words[..4], expected);
    assert!(words[4].starts_with("ca="), "{words:?}");
    assert_eq!(words[5], format!("try=http://{}/try", broker.admin));
    assert!(words[6].starts_with("engine="), "{words:?}");
    HealthyPair::new(&broker).relay();
    assert_eq!(broker.further_output(), Vec::<String>::new());
}
