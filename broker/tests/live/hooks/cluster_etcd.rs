//! Hooks of three nodes that agree in an etcd on who owns what: the owner of a channel's slot has its news.

use super::receiver::{Receiver, ok};
use super::{BOTH, text_of};
use crate::cluster_etcd::nodes::Nodes;
use crate::cluster_etcd::nodes::setup::NONE;
use crate::peer::{Peer, offer, to_master};
use crate::process::directory;
use serde_json::Value;
use std::time::Duration;

/// A slot goes to another node while an offer waits, and then while a master is there: the state of the later owner has
/// the greater epoch, and `slots.serving` ends the belief in those of the former.
#[test]
#[ignore = "needs etcd"]
fn a_slot_that_moves_takes_its_presence_along() {
    let receiver = Receiver::start(ok);
    let directory = directory();
    let lines = BOTH.replace("cam-*", "*");
    let text = text_of(&directory, &[("home", &receiver.url("/{channel}"), &lines)]);
    let Some(mut nodes) = Nodes::configured(&NONE, &text) else {
        return;
    };
    nodes.share_slots();
    let giver = nodes.largest();
    let others = nodes.others(giver);
    let arn = nodes.channels_of(giver, 1).remove(0);
    let is_of = |data: &Value| data["channel"]["arn"] == arn.as_str();
    // Through a node that is not the owner: the owner's hook alone has the news.
    let mut viewer = Peer::viewer(nodes.node(others[0]), &arn, "v1");
    viewer.send(&offer("b2ZmZXI="));
    let wake = receiver.until("channel.wake", is_of);
    assert_eq!(wake.data()["node"], format!("n{}", giver + 1));
    let slot = wake.data()["slot"].clone();
    assert!(slot.is_u64(), "{slot}");
    assert!(
        wake.id.ends_with(&format!("_n{}", giver + 1)),
        "{}",
        wake.id
    );

    nodes.node(giver).signal("TERM");
    let mut drained = nodes.take(giver);
    assert!(drained.ended_within(Duration::from_secs(60)).success());
    nodes.until_served();
    let mut master = Peer::master(nodes.node(others[1]), &arn);
    master.expect(&to_master("SDP_OFFER", "b2ZmZXI=", "v1"));
    let there = |data: &Value| is_of(data) && !data["master"].is_null();
    let state = receiver.until("channel.presence", there);
    assert!(state.number().0 > wake.number().0, "{state:?} {wake:?}");
    let owner = state.data()["node"].clone();

    // Its owner is gone without a word, and the master with it: nobody says that it left.
    let owner = (0..3).find(|node| owner == format!("n{}", node + 1));
    let owner = owner.expect("one of three");
    let rest = others.into_iter().find(|node| *node != owner);
    let rest = rest.expect("the third");
    nodes.node(owner).signal("KILL");
    nodes.take(owner).ended_within(Duration::from_secs(10));
    nodes.until_served();
    let serves = |data: &Value| {
        let runs = data["slots"].as_array().expect("slots");
        data["node"] == format!("n{}", rest + 1)
            && runs.iter().any(|run| {
                let number = |at: usize| run[at].as_u64().expect("a number");
                let slot = slot.as_u64().expect("a slot");
                (number(0)..=number(1)).contains(&slot) && number(2) > state.number().0
            })
    };
    receiver.until("slots.serving", serves);
}
