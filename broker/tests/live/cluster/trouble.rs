//! Two nodes of which one is slow, gone, or of another opinion.

use super::meeting::exchange;
use super::nodes::{Files, Nodes, create, with_tls};
use crate::listeners::tls::{BOTH, Identity};
use crate::peer::{HealthyPair, Peer, master_query, offer, to_master, viewer_query};
use crate::service::readers::longest_record;
use testkit::{until, until_true};

/// A peer of another node that does not read is closed by the owner as one of its own would be; nobody else waits.
#[test]
fn a_peer_that_stops_reading_holds_up_nobody_else() {
    let limits =
        "[limits]\noutbox_bytes = 65536\npending_bytes_per_channel = 65536\n[quotas]\noff = true";
    let nodes = Nodes::configured(1, [limits, limits]);
    let [own, others] = nodes.channels();
    let mut on_first = HealthyPair::on(&nodes.n1, &own);
    let mut on_second = HealthyPair::on(&nodes.n2, &nodes_own(&nodes));
    let master = Peer::master(&nodes.n1, &others);
    let mut viewer = Peer::viewer(&nodes.n2, &others, "v1");
    let payload = "A".repeat(30_000);
    let ended = || {
        let ends = "heliograph_connection_ends_total{reason=\"slow_consumer\"}";
        nodes.n2.scrape().sum(ends) > 0.0
    };
    for _ in 0..200 {
        for _ in 0..10 {
            viewer.send(&offer(&payload));
        }
        on_first.relay();
        on_second.relay();
    }
    until("the end of the peer", || {
        on_first.relay();
        on_second.relay();
        ended().then_some(())
    });
    until_true("its end", || {
        nodes.n1.scrape().sum("heliograph_cluster_link_clients") == 0.0
    });
    on_first.relay();
    on_second.relay();
    // An unsent message waits for the next master, on whichever node.
    let mut next = Peer::master(&nodes.n1, &others);
    next.expect(&to_master("SDP_OFFER", &payload, "v1"));
    drop(master);
}

/// A channel of the second node, made there.
fn nodes_own(nodes: &Nodes) -> String {
    (0..64)
        .map(|number| format!("pair{number}"))
        .find_map(|name| {
            let before = nodes.n2.scrape().sum("heliograph_channels");
            let arn = create(nodes.n2.plain, &name);
            (nodes.n2.scrape().sum("heliograph_channels") > before).then_some(arn)
        })
        .expect("half of all names are its own")
}

#[test]
fn tls_ends_at_the_node_of_the_client() {
    let files = Files::new();
    let identity = Identity::new("localhost");
    let arguments = with_tls(&identity);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let nodes = Nodes {
        n1: files.start("n1", 2, "", &arguments),
        n2: files.start("n2", 2, "", &arguments),
        files,
    };
    let client = identity.client(BOTH, None);
    let channels = nodes.channels();
    for arn in &channels {
        for (one, other) in [(&nodes.n1, &nodes.n2), (&nodes.n2, &nodes.n1)] {
            let master = master_query(arn);
            let mut master = Peer::secure_as(one, &master, client.clone());
            let viewer = viewer_query(arn, "v1");
            let mut viewer = Peer::secure_as(other, &viewer, client.clone());
            exchange(&mut master, &mut viewer);
            viewer.close();
            master.close();
        }
    }
    for (agent, is_small) in [("ESP32 Websocket Client", true), ("Mozilla/5.0", false)] {
        for (owner, arn) in [&nodes.n1, &nodes.n2].into_iter().zip(&channels) {
            for front in [&nodes.n1, &nodes.n2] {
                let longest = longest_record(owner, (front, &client), arn, agent);
                assert_eq!(longest <= 4_096 + 16, is_small, "{agent}: {longest}");
            }
        }
    }
    super::meeting::assert_quiet(&nodes);
}
