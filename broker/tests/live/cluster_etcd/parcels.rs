//! A slot with more waiting messages than one message between nodes holds: they go to its next owner in parts.

use super::nodes::setup::NONE;
use super::nodes::{Nodes, served};
use crate::peer::{Peer, candidate, offer, to_master};
use std::time::Duration;

/// Messages of 60 viewers for a master that is not there, half a mebibyte each.
#[test]
#[ignore = "needs etcd"]
fn thirty_mebibytes_wait_at_the_next_owner_in_their_order() {
    let Some(mut nodes) = Nodes::configured(&NONE, CONFIG) else {
        return;
    };
    nodes.share_slots();
    // The drain of thousands of slots takes longer.
    let slots = |node: &usize| served(nodes.node(*node));
    let giver = (0..3).min_by(|one, other| slots(one).total_cmp(&slots(other)));
    let giver = giver.expect("three");
    let others = nodes.others(giver);
    let arn = nodes.channels_of(giver, 1).remove(0);
    for number in 0..VIEWERS {
        let mut viewer = Peer::viewer(nodes.node(number % 3), &arn, &format!("v{number}"));
        viewer.send(&offer(&payload(number, OFFER_BYTES)));
        viewer.send(&candidate(&payload(number, 8)));
        viewer.expect_silence();
    }
    let before = nodes.node(giver).scrape();
    assert_eq!(
        before.sum("heliograph_pending_messages"),
        2.0 * VIEWERS as f64
    );
    let bytes = before.sum("heliograph_pending_bytes");
    assert!(bytes > 30.0 * f64::from(1 << 20), "{bytes}");

    nodes.node(giver).signal("TERM");
    let mut drained = nodes.take(giver);
    let ended = drained.ended_within(Duration::from_secs(60));
    assert!(ended.success(), "{ended:?}");
    let log = drained.log();
    assert!(log.contains("all slots were given to other nodes"), "{log}");
    nodes.until_served();
    let waiting = others.map(|node| nodes.node(node).scrape().sum("heliograph_pending_bytes"));
    assert_eq!(waiting.iter().sum::<f64>(), bytes);

    let mut master = Peer::master(nodes.node(others[0]), &arn);
    for number in 0..VIEWERS {
        let sender = format!("v{number}");
        let sent = payload(number, OFFER_BYTES);
        master.expect(&to_master("SDP_OFFER", &sent, &sender));
        let sent = payload(number, 8);
        master.expect(&to_master("ICE_CANDIDATE", &sent, &sender));
    }
    master.expect_silence();
    master.close();
    for (_, node) in nodes.all() {
        node.assert_balanced();
    }
    nodes.journal().assert_sound();
}

/// This many characters, other ones of each viewer.
fn payload(viewer: usize, bytes: usize) -> String {
    format!("v{viewer:03}").repeat(bytes / 4)
}

const VIEWERS: usize = 60;

/// A multiple of four.
const OFFER_BYTES: usize = 525_000;

const CONFIG: &str = "[limits]\npayload_bytes = 600_000\nmessage_bytes = 700_000\nviewers_per_channel = 100\n\
                      pending_bytes_per_channel = 40_000_000\noutbox_bytes = 40_000_000\n\
                      [quotas]\nconnect_viewer = { rate = 100, burst = 100 }\n";
