//! Three nodes on hosts of their own, each with a member of etcd, while links, members and hosts fail. The clients are
//! on a fourth host and reach all of them throughout. `deploy/ci/check.sh` runs them by name; for root only.
//!
//! * [`network`]: the hosts, namespaces of this machine; [`journal`]: what nodes did with slots, and its rules, which
//!   each scenario checks at its end.
//! * [`cuts`]: links that fail; [`split`]: two sides that go on.
//! * [`identity`]: processes that are not the node that they say they are.
//! * [`silent`]: clients that wait behind another node than that which fails.
//! * [`clocks`]: wall clocks that jump.
//! * [`members`]: members of etcd that fail.
//! * [`hosts`]: hosts that fail, and all of them at once; [`sdks`]: what the official SDKs make of it, through a
//!   [`balancer`]; [`load`]: what loadgen counts.
//! * [`upgrade`]: nodes that get another program, one by one.
//! * [`names`]: clients that a balancer brings to the owner;
//!   [`page`]: three nodes on one host, as `deploy/CLUSTER.md` says.

mod balancer;
mod clocks;
mod cuts;
mod hosts;
mod identity;
pub(crate) mod journal;
mod load;
mod members;
mod names;
pub(crate) mod network;
mod page;
mod sdks;
mod silent;
mod split;
mod upgrade;

use crate::cluster_etcd::nodes::{Nodes, cluster};
use crate::http::{Answer, Connection};
use crate::peer::{HealthyPair, Peer};
use crate::process::Broker;
use serde_json::json;
use std::time::{Duration, Instant};
use testkit::{until, until_true};

/// For this many seconds everybody meets through each of these nodes. Longer than it takes others to find that a
/// registration is gone and that its node does not answer.
fn serves_on(nodes: &Nodes, through: &[usize], pair: &mut HealthyPair, arn: &str, seconds: u32) {
    for _ in 0..seconds {
        // A round a second: within the rate at which a channel is connected to.
        std::thread::sleep(Duration::from_secs(1));
        pair.relay();
        for number in through {
            Peer::viewer(nodes.node(*number), arn, &format!("v{number}")).close();
        }
    }
}

/// The nodes that say so see etcd again, or no more.
fn until_etcd(nodes: &[&Broker], is: &str) {
    until(&format!("etcd is {is}"), || {
        let says = |node: &&Broker| cluster(node)["etcd"] == is;
        nodes.iter().all(says).then_some(())
    });
}

/// Asks through this node for a change of a channel that is there.
fn tag(through: &Broker, arn: &str) -> Answer {
    let tag = json!({ "Key": "changed", "Value": "yes" });
    let body = json!({ "ResourceARN": arn, "Tags": [tag] });
    Connection::open(through.plain).call("/TagResource", &body)
}

/// A change is refused at once.
fn refuses_changes(through: &Broker, arn: &str) {
    let began = Instant::now();
    tag(through, arn).refused(503, "ServiceUnavailable");
    let after = began.elapsed();
    assert!(after <= REFUSED_WITHIN, "{after:?}");
}

/// Changes are made again; how long that took.
fn until_changes(through: &Broker, arn: &str) -> Duration {
    let began = Instant::now();
    until_true("changes again", || tag(through, arn).status == 200);
    began.elapsed()
}

/// The nodes' promise is a second; the rest is for a busy machine. What waits for an answer of etcd takes three.
const REFUSED_WITHIN: Duration = Duration::from_secs(2);

/// Longer than a lease and the silence that others wait for.
const LONG_S: u32 = 15;
