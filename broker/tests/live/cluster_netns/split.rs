//! A network in two parts, each with nodes that clients reach, and etcd in one of them.

use super::journal::moment;
use super::refuses_changes;
use crate::cluster_etcd::nodes::setup::Setup;
use crate::cluster_etcd::nodes::{
    Nodes, SERVED_WITHIN, cluster, create, name_of, served, until_admitted,
};
use crate::http::call;
use crate::peer::{HealthyPair, Peer, master_query, upgrade};
use serde_json::json;
use testkit::{until, until_within};

/// Those on the side without etcd meet there, and their slots are also taken on the other side: the one case in which
/// two nodes admit to a slot. The older owners let go when they learn of it.
#[test]
#[ignore = "needs etcd and root"]
fn both_sides_of_a_split_go_on_until_it_ends() {
    let setup = Setup {
        etcd_is_apart: true,
        ..Setup::default()
    };
    let Some(nodes) = Nodes::on_hosts_as(setup) else {
        return;
    };
    let (without, with) = ([0, 1], 2);
    let arn = nodes.channels_of(without[0], 1).remove(0);
    let mut pair = HealthyPair::on(nodes.node(without[1]), &arn);
    let mut viewer = Peer::viewer(nodes.node(without[0]), &arn, "left");
    let network = nodes.network();
    let began = moment();
    let split = |is_split| {
        for node in without {
            network.cut(node, with, is_split);
            network.cut_etcd(node, &MEMBERS, is_split);
        }
    };
    split(true);
    until_within(SERVED_WITHIN, "all slots on the side of etcd", || {
        (served(nodes.node(with)) == 4096.0).then_some(())
    });
    for node in without {
        assert_eq!(cluster(nodes.node(node))["etcd"], "down");
        assert_eq!(cluster(nodes.node(node))["standing"], "serving");
        refuses_changes(nodes.node(node), &arn);
    }
    pair.relay();
    pair.close();
    HealthyPair::once(nodes.node(without[0]), &arn);
    let mut other_side = HealthyPair::on(nodes.node(with), &arn);
    made_elsewhere(&nodes, with, without[0]);
    assert!(!nodes.journal().overlaps().is_empty(), "the one case");

    let mended = moment();
    split(false);
    assert_eq!(viewer.expect_close(1001), "Going away");
    until("the end of what the others had", || {
        let left = without.iter().map(|node| served(nodes.node(*node)));
        (left.sum::<f64>() == 0.0).then_some(())
    });
    let journal = nodes.journal();
    let last = journal
        .overlaps()
        .iter()
        .map(|overlap| overlap.span.end)
        .max();
    eprintln!(
        "the last slot was let go {:?} ms after the split",
        last.map(|last| last.saturating_sub(mended))
    );
    journal.assert_except_in(began..mended + HEALED_WITHIN_MS);
    other_side.relay();
    for node in without {
        until_admitted(nodes.node(node), &arn);
    }
    assert_eq!(nodes.owner(name_of(&arn)), with);
    nodes.until_served();
}

/// SDKs create a channel that is not found: those that one side makes are not denied on the other, which may have had
/// their slots.
fn made_elsewhere(nodes: &Nodes, with: usize, without: usize) {
    let mut in_slots_of_both = 0;
    for number in 0..32 {
        let arn = create(nodes.node(with), &format!("late{number}"));
        let to = nodes.node(without);
        let described = call(
            to.plain,
            "/describeSignalingChannel",
            &json!({ "ChannelARN": arn }),
        );
        let (connected, _) = upgrade(to, &master_query(&arn), "");
        for answer in [described, connected] {
            answer.refused(503, "ServiceUnavailable");
            in_slots_of_both += usize::from(answer.header("retry-after").is_some());
        }
        if in_slots_of_both >= 4 {
            return;
        }
    }
    panic!("hardly any slot is with both sides");
}

/// Members of etcd that are not on the hosts of nodes.
const MEMBERS: [usize; 3] = [3, 4, 5];

/// 2 s after a node gets answers of the others; and connections that repeat what was lost are given up after 2 s.
const HEALED_WITHIN_MS: u64 = 6_000;
