//! Clients that only wait, connected through other nodes than the owner of their channel: they are closed when it is
//! another node's, and meet again there. No byte of theirs would show them that the owner is gone.

use super::journal::moment;
use super::network::HOSTS;
use crate::cluster_etcd::nodes::Nodes;
use crate::http::Connection;
use crate::peer::{Peer, master_query, offer, to_master, upgrade, viewer_query};
use crate::process::Broker;
use std::thread;
use std::time::{Duration, Instant};
use testkit::{slow, until};

#[test]
#[ignore = "needs etcd and root"]
fn clients_of_a_node_that_hangs_meet_elsewhere() {
    let Some(nodes) = Nodes::on_hosts() else {
        return;
    };
    let owner = follower(&nodes);
    let waiting = Waiting::on(&nodes, owner);
    let before = moment();
    nodes.node(owner).signal("STOP");
    waiting.meet_again(&nodes, LOST_WITHIN, Duration::from_secs(2));
    nodes.node(owner).signal("CONT");
    nodes.until_served();
    let journal = nodes.journal();
    assert!(journal.moves_since(before) > 0);
    journal.assert_sound();
}

#[test]
#[ignore = "needs etcd and root"]
fn clients_of_a_host_that_is_lost_meet_elsewhere() {
    let Some(nodes) = Nodes::on_hosts() else {
        return;
    };
    let owner = follower(&nodes);
    let waiting = Waiting::on(&nodes, owner);
    nodes.network().unplug(owner);
    waiting.meet_again(&nodes, LOST_WITHIN, Duration::from_secs(2));
    nodes.journal().assert_sound();
}

#[test]
#[ignore = "needs etcd and root"]
fn clients_of_a_node_that_drains_meet_elsewhere_at_once() {
    let Some(mut nodes) = Nodes::on_hosts() else {
        return;
    };
    let owner = follower(&nodes);
    let waiting = Waiting::on(&nodes, owner);
    nodes.node(owner).signal("TERM");
    waiting.meet_again(&nodes, DRAINED_WITHIN, Duration::from_secs(2));
    let ended = nodes.take(owner).ended_within(Duration::from_secs(60));
    assert!(ended.success(), "{ended:?}");
    nodes.until_served();
    nodes.journal().assert_sound();
}

/// A third of the slots goes to each of two nodes that have come back. The upgrades of those that were closed wait for
/// the next owner, and none is refused.
#[test]
#[ignore = "needs etcd and root"]
fn clients_whose_channels_are_given_away_are_back_at_once() {
    let Some(mut nodes) = Nodes::on_hosts() else {
        return;
    };
    let giver = follower(&nodes);
    for node in nodes.others(giver) {
        nodes.node(node).signal("TERM");
        let ended = nodes.take(node).ended_within(Duration::from_secs(60));
        assert!(ended.success(), "{ended:?}");
        nodes.until_served();
    }
    for node in nodes.others(giver) {
        nodes.start_one(node, 1);
    }
    let waiting = Waiting::of(&nodes, giver, MANY_CHANNELS);
    let through = waiting.through.map(|node| nodes.node(node));
    let mut times = thread::scope(|scope| {
        let peers = waiting
            .channels
            .into_iter()
            .flat_map(|(arn, peers)| clients(through, &arn, peers));
        let waits = peers.map(|(peer, node, query)| scope.spawn(move || back(peer, node, &query)));
        let waits: Vec<_> = waits.collect();
        nodes.rebalance();
        let waits = waits
            .into_iter()
            .filter_map(|it| it.join().expect("it came back"));
        waits.map(|(away, _)| away).collect::<Vec<_>>()
    });
    times.sort_unstable();
    eprintln!("{} clients moved: away for {times:?}", times.len());
    assert!(
        times.len() >= MANY_CHANNELS,
        "two thirds of three for each channel"
    );
    assert!(times.last() <= Some(&Duration::from_secs(1)), "{times:?}");
    nodes.journal().assert_sound();
}

/// Waits for a peer to be closed, and connects it again through the same node: the time that it was away, and its new
/// connection; nothing for one whose slot stays where it is.
fn back(mut peer: Peer, node: &Broker, query: &str) -> Option<(Duration, Connection)> {
    peer.is_closed_within(1001, REBALANCED_WITHIN).then(|| {
        let closed = Instant::now();
        let (answer, connection) = upgrade(node, query, "");
        assert_eq!(answer.status, 101, "{}", answer.text());
        (closed.elapsed(), connection)
    })
}

/// A node with slots, beside a member of etcd that does not lead: the time of registrations begins again with etcd's
/// next leader, which is a scenario of its own.
fn follower(nodes: &Nodes) -> usize {
    nodes.largest_of((0..HOSTS).filter(|node| !nodes.etcd[*node].leads()))
}

/// Masters and viewers of a node's channels, connected through the two others.
struct Waiting {
    through: [usize; 2],
    channels: Vec<(String, [Peer; 3])>,
}

impl Waiting {
    fn on(nodes: &Nodes, owner: usize) -> Self {
        Self::of(nodes, owner, CHANNELS)
    }

    fn of(nodes: &Nodes, owner: usize, channels: usize) -> Self {
        let through = nodes.others(owner);
        let [one, other] = through.map(|node| nodes.node(node));
        let channels = nodes.channels_of(owner, channels).into_iter();
        let channels = channels.map(|arn| {
            let mut master = Peer::master(one, &arn);
            let mut viewers = [(one, "near"), (other, "far")].map(|(node, id)| {
                let mut viewer = Peer::viewer(node, &arn, id);
                viewer.send(&offer("YmVmb3Jl"));
                master.expect(&to_master("SDP_OFFER", "YmVmb3Jl", id));
                viewer
            });
            let [near, far] = &mut viewers;
            near.expect_silence();
            far.expect_silence();
            let [near, far] = viewers;
            (arn, [master, near, far])
        });
        Self {
            through,
            channels: channels.collect(),
        }
    }

    /// On a quiet machine each is closed with 1001 within this time, is admitted again through the same node within
    /// that time of its close, and reaches its peers.
    fn meet_again(self, nodes: &Nodes, closed_within: Duration, back_within: Duration) {
        let (closed_within, back_within) = (closed_within * slow(), back_within * slow());
        let began = Instant::now();
        let [one, other] = self.through.map(|node| nodes.node(node));
        let times = thread::scope(|scope| {
            let channels = self.channels.into_iter().map(|(arn, [master, near, far])| {
                clients([one, other], &arn, [master, near, far]).map(|(peer, node, query)| {
                    scope.spawn(move || come_back(peer, node, &query, began, closed_within))
                })
            });
            let channels: Vec<_> = channels.collect();
            let channels = channels.into_iter().map(|waits| {
                let [master, near, far] = waits.map(|it| it.join().expect("it came back"));
                let times = [master.1, near.1, far.1];
                let mut master = master.0;
                for (mut viewer, id) in [(near.0, "near"), (far.0, "far")] {
                    viewer.send(&offer("YWZ0ZXI="));
                    master.expect(&to_master("SDP_OFFER", "YWZ0ZXI=", id));
                }
                times
            });
            channels.flatten().collect::<Vec<_>>()
        });
        let closed = times.iter().map(|(closed, _)| *closed).max();
        let away = times.iter().map(|(_, away)| *away).max();
        eprintln!(
            "{} clients: closed after {closed:?}, back {away:?} later",
            times.len()
        );
        assert!(away <= Some(back_within), "{times:?}");
    }
}

/// The peers of a channel, each with its node and its query.
fn clients<'n>(
    [one, other]: [&'n Broker; 2],
    arn: &str,
    [master, near, far]: [Peer; 3],
) -> [(Peer, &'n Broker, String); 3] {
    [
        (master, one, master_query(arn)),
        (near, one, viewer_query(arn, "near")),
        (far, other, viewer_query(arn, "far")),
    ]
}

/// Waits for the close of a connection, and connects again through the same node. Returns the new connection, when the
/// old one was closed, and how long the client was away.
fn come_back(
    mut peer: Peer,
    node: &Broker,
    query: &str,
    began: Instant,
    closed_within: Duration,
) -> (Peer, (Duration, Duration)) {
    let reason = peer.expect_close_within(1001, closed_within);
    assert_eq!(reason, "Going away");
    let closed = Instant::now();
    let connection = until("an admission", || {
        let (answer, connection) = upgrade(node, query, "");
        (answer.status == 101).then_some(connection)
    });
    let times = (closed - began, closed.elapsed());
    (Peer::after_upgrade(connection), times)
}

const CHANNELS: usize = 4;

/// With three clients each.
const MANY_CHANNELS: usize = 15;

/// Longer than two thirds of the slots take, eight at a time.
const REBALANCED_WITHIN: Duration = Duration::from_secs(30);

/// The target is 10 s until they meet again: 5 s of a lease, 1 s of absence, 1.5 s for those that hashing does not
/// name, and a second over which they are closed. The rest is for a busy machine.
const LOST_WITHIN: Duration = Duration::from_secs(14);

/// A drain gives eight slots at a time.
const DRAINED_WITHIN: Duration = Duration::from_secs(30);
