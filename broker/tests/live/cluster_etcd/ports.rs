//! Addresses at which other nodes reach a node: a port for each shard, each of which gets a part of what they pass on;
//! and by name.

use super::nodes::setup::Link;
use super::nodes::{Nodes, cluster};
use crate::peer::{Peer, answer, offer, to_master, to_viewer};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;
use testkit::until_true;

#[test]
#[ignore = "needs etcd"]
fn each_inner_port_gets_links() {
    let Some(nodes) = Nodes::start(2) else { return };
    let owner = nodes.largest();
    let [accepts, _] = nodes.others(owner);
    let (address, ports) = inner(&nodes, accepts, owner);
    let address: SocketAddrV4 = address.parse().expect("an address");
    assert_eq!(ports.len(), 2, "one a shard: {ports:?}");
    let arn = nodes.channels_of(owner, 1).remove(0);
    let mut master = Peer::master(nodes.node(owner), &arn);
    let names: Vec<String> = (0..8).map(|number| format!("v{number}")).collect();
    let mut viewers: Vec<Peer> = names
        .iter()
        .map(|name| Peer::viewer(nodes.node(accepts), &arn, name))
        .collect();
    until_true("a connection to each port", || {
        connected_to(*address.ip()).intersection(&ports).count() == 2
    });
    for (viewer, name) in viewers.iter_mut().zip(&names) {
        viewer.send(&offer("b2ZmZXI="));
        master.expect(&to_master("SDP_OFFER", "b2ZmZXI=", name));
        master.send(&answer(name, "YW5zd2Vy"));
        viewer.expect(&to_viewer("SDP_ANSWER", "YW5zd2Vy"));
    }
    viewers.into_iter().for_each(Peer::close);
    master.close();
    for (_, node) in nodes.all() {
        node.assert_balanced();
    }
    nodes.journal().assert_sound();
}

/// Nodes that know each other by the name of their host.
#[test]
#[ignore = "needs etcd"]
fn nodes_reach_each_other_by_name() {
    let Some(mut nodes) = Nodes::linked(Link::Named, 2) else {
        return;
    };
    let owner = nodes.largest();
    let [accepts, other] = nodes.others(owner);
    for (of, _) in nodes.all() {
        let (address, ports) = inner(&nodes, accepts, of);
        assert!(address.starts_with("localhost:"), "{address}");
        assert_eq!(ports.len(), 2, "{ports:?}");
    }
    let arn = nodes.channels_of(owner, 1).remove(0);
    let mut master = Peer::master(nodes.node(accepts), &arn);
    let mut viewer = Peer::viewer(nodes.node(other), &arn, "v1");
    viewer.send(&offer("b2ZmZXI="));
    master.expect(&to_master("SDP_OFFER", "b2ZmZXI=", "v1"));
    // A drain gives parcels to the others, by name as well.
    viewer.close();
    master.close();
    let mut viewer = Peer::viewer(nodes.node(other), &arn, "v2");
    viewer.send(&offer("d2FpdHM="));
    viewer.expect_silence();
    let mut leaves = nodes.take(owner);
    leaves.signal("TERM");
    let ended = leaves.ended_within(Duration::from_secs(30));
    assert!(ended.success(), "{}", leaves.log());
    nodes.until_served();
    let mut master = Peer::master(nodes.node(accepts), &arn);
    master.expect(&to_master("SDP_OFFER", "d2FpdHM=", "v2"));
    nodes.journal().assert_sound();
}

/// The address and the ports of a node, as another one knows them.
fn inner(nodes: &Nodes, asked: usize, of: usize) -> (String, BTreeSet<u16>) {
    let view = cluster(nodes.node(asked));
    let mut listed = view["nodes"].as_array().expect("a list").iter();
    let name = format!("n{}", of + 1);
    let node = listed.find(|node| node["name"] == name.as_str());
    let node = node.expect("it is a member");
    let address = node["address"].as_str().expect("a text");
    let ports = node["ports"].as_array().expect("a list").iter();
    let ports = ports
        .filter_map(Value::as_u64)
        .map(|port| u16::try_from(port).expect("a port"));
    (address.to_owned(), ports.collect())
}

/// The ports of an address that connections lead to.
fn connected_to(host: Ipv4Addr) -> BTreeSet<u16> {
    let table = fs::read_to_string("/proc/net/tcp").expect("a table of the system");
    let ports = table.lines().skip(1).filter_map(|line| {
        let mut words = line.split_whitespace().skip(2);
        let (remote, state) = (words.next()?, words.next()?);
        let (address, port) = remote.split_once(':')?;
        let address = u32::from_str_radix(address, 16).ok()?;
        let is_there = Ipv4Addr::from(address.to_le_bytes()) == host && state == ESTABLISHED;
        is_there.then(|| u16::from_str_radix(port, 16).ok())?
    });
    ports.collect()
}

/// As that table has it.
const ESTABLISHED: &str = "01";
