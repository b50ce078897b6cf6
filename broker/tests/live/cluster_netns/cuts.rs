//! Links that fail: between a node and all others, between a node and etcd, between two nodes.

use super::journal::moment;
use super::network::{HOSTS, Network, Part};
use super::{LONG_S, refuses_changes, serves_on, until_changes, until_etcd};
use crate::cluster_etcd::nodes::{Nodes, cluster, name_of, served, until_admitted};
use crate::peer::{HealthyPair, Peer, master_query, upgrade};
use crate::process::Broker;
use std::time::{Duration, Instant};
use testkit::{until, until_within};

/// Cut off in both directions, then another node in one: it lets go before others take, and passes clients on when the
/// link is mended.
#[test]
#[ignore = "needs etcd and root"]
fn a_node_that_nobody_answers_lets_go_before_others_take() {
    let Some(nodes) = Nodes::on_hosts() else {
        return;
    };
    for directions in [Directions::Both, Directions::Out] {
        until_all_know_of_etcd(&nodes);
        // The time of registrations begins again with etcd's next leader, which is a scenario of its own.
        let follows = |node: &usize| !nodes.etcd[*node].leads();
        let owner = nodes.largest_of((0..HOSTS).filter(follows));
        let others = nodes.others(owner);
        let arn = nodes.channels_of(owner, 1).remove(0);
        let mut master = Peer::master(nodes.node(owner), &arn);
        let began = Instant::now();
        cut_off(nodes.network(), owner, directions, true);
        assert_eq!(master.expect_close(1001), "Going away");
        let alone = began.elapsed();
        assert_eq!(cluster(nodes.node(owner))["standing"], "alone");
        nodes.until_owned_by(others, name_of(&arn));
        let taken = began.elapsed();
        eprintln!("{directions:?}: let go after {alone:?}, elsewhere after {taken:?}");
        assert!(taken <= TAKEN_WITHIN, "{taken:?}");
        HealthyPair::once(nodes.node(others[0]), &arn);
        let (refused, _) = upgrade(nodes.node(owner), &master_query(&arn), "");
        assert_eq!(
            refused.status, 503,
            "clients still reach the node that is alone"
        );

        cut_off(nodes.network(), owner, directions, false);
        let after = until_admitted(nodes.node(owner), &arn);
        eprintln!("{directions:?}: passes clients on {after:?} after the link is there again");
        nodes.until_served();
        assert_ne!(nodes.owner(name_of(&arn)), owner);
        HealthyPair::once(nodes.node(owner), &arn);
        until_one_leader(&nodes);
    }
    nodes.journal().assert_sound();
}

/// The cut ends when others have begun to take its slots: it admits to none of them, nor to those that they take next.
#[test]
#[ignore = "needs etcd and root"]
fn a_node_that_comes_back_in_a_takeover_overlaps_with_nobody() {
    let Some(nodes) = Nodes::on_hosts() else {
        return;
    };
    let follows = |node: &usize| !nodes.etcd[*node].leads();
    let owner = nodes.largest_of((0..HOSTS).filter(follows));
    let others = nodes.others(owner);
    let arn = nodes.channels_of(owner, 1).remove(0);
    let slots = || {
        let served = others.map(|other| served(nodes.node(other)));
        served.iter().sum::<f64>()
    };
    let before = slots();
    let began = Instant::now();
    cut_off(nodes.network(), owner, Directions::Both, true);
    until_within(TAKEN_WITHIN, "the first slots elsewhere", || {
        (slots() > before).then_some(())
    });
    let taken = began.elapsed();
    cut_off(nodes.network(), owner, Directions::Both, false);
    nodes.until_served();
    eprintln!(
        "mended {taken:?} after the cut; the others took {} of {} slots",
        slots() - before,
        4096.0 - before
    );
    HealthyPair::once(nodes.node(owner), &arn);
    nodes.journal().assert_sound();
}

/// A member of etcd that was cut off comes back with a later term, and so makes the others elect again.
fn until_one_leader(nodes: &Nodes) {
    until("one leader of etcd", || {
        let [first, second, third] = [0, 1, 2].map(|node| nodes.etcd[node].term_and_leader());
        (first.1 != 0 && first == second && second == third).then_some(())
    });
}

/// Each node has etcd and has said so: one that nobody answers goes on if the last word of all others was that they had
/// none, as while a leader was elected.
fn until_all_know_of_etcd(nodes: &Nodes) {
    let all: Vec<&Broker> = nodes.all().map(|(_, node)| node).collect();
    until_etcd(&all, "up");
    let received = |node: &Broker| {
        let name = "heliograph_cluster_messages_total{outcome=\"received\"}";
        node.scrape().sum(name)
    };
    let before: Vec<f64> = all.iter().map(|node| received(node)).collect();
    until("four rounds of questions and answers of two others", || {
        let mut each = all.iter().zip(&before);
        let all_have = each.all(|(node, before)| received(node) >= before + 16.0);
        all_have.then_some(())
    });
}

/// First a node has no etcd, then two nodes have no link: nothing moves.
#[test]
#[ignore = "needs etcd and root"]
fn a_node_without_etcd_and_nodes_without_a_link_go_on() {
    let Some(nodes) = Nodes::on_hosts() else {
        return;
    };
    let network = nodes.network();
    let owner = nodes.largest();
    let [one, other] = nodes.others(owner);
    let arn = nodes.channels_of(owner, 1).remove(0);
    let elsewhere = nodes.channels_of(one, 1).remove(0);
    let mut pair = HealthyPair::on(nodes.node(one), &arn);

    // Its own member of etcd is beside it, but without the others.
    let before = moment();
    network.cut_etcd(owner, &[one, other], true);
    until_etcd(&[nodes.node(owner)], "down");
    for _ in 0..3 {
        refuses_changes(nodes.node(other), &arn);
        serves_on(&nodes, &[0, 1, 2], &mut pair, &arn, LONG_S / 3);
    }
    until_changes(nodes.node(other), &elsewhere);
    network.cut_etcd(owner, &[one, other], false);
    until_etcd(&[nodes.node(owner)], "up");
    until_changes(nodes.node(other), &arn);
    assert_eq!(nodes.journal().changes_since(before), 0);

    network.cut(owner, other, true);
    serves_on(&nodes, &[owner, one], &mut pair, &arn, LONG_S);
    let began = Instant::now();
    let (refused, _) = upgrade(nodes.node(other), &master_query(&arn), "");
    assert_eq!(refused.status, 503, "there is no way to the owner");
    let after = began.elapsed();
    eprintln!("no way to the owner: refused after {after:?}");
    assert!(after <= WAITS, "{after:?}");
    for node in [owner, other] {
        assert_eq!(cluster(nodes.node(node))["etcd"], "up");
    }
    network.cut(owner, other, false);
    until("the way to the owner", || {
        let (answer, _) = upgrade(nodes.node(other), &master_query(&arn), "");
        (answer.status == 101).then_some(())
    });
    assert_eq!(nodes.journal().changes_since(before), 0);
    nodes.journal().assert_sound();
    nodes.until_served();
}

/// Which packets between a host and the others are lost.
#[derive(Clone, Copy, Debug)]
enum Directions {
    Both,
    /// Those that it sends.
    Out,
}

fn cut_off(network: &Network, host: usize, directions: Directions, is_cut: bool) {
    let change = |from, to| match is_cut {
        true => network.lose(from, to),
        false => network.carry(from, to),
    };
    for other in (0..HOSTS).filter(|other| *other != host) {
        for (from, to) in [(host, other), (other, host)] {
            if from == host || matches!(directions, Directions::Both) {
                change(from, Part::Node(to));
                change(from, Part::Etcd(to));
            }
        }
    }
}

/// The target is 10 s: a lease, 1 s without a registration, the wait of those that hashing does not name.
const TAKEN_WITHIN: Duration = Duration::from_secs(15);

/// A request waits 3 s for a way to the owner; the rest is for a busy machine.
const WAITS: Duration = Duration::from_millis(3_500);
