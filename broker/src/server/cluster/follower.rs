//! The main thread's part in a cluster whose owners change: it says when a shard hangs, how much waits and when the
//! process is to end, and learns of the node's own end.

use crate::failure::Failure;
use crate::server::node::Node;
use crate::server::node::service::NodeNews;
use crate::server::reload::credentials::InitialCredentials;
use crate::server::watch::pulse::Pulse;
use crate::side::{Status, StatusBoard};
use broker_core::cluster::limits::INNER_VERSION;
use broker_core::cluster::message::Ending;
use crossbeam_channel::{Receiver, never};
use std::time::{Duration, Instant};

/// One per process; without a node it does nothing.
pub(crate) struct Follower<'n> {
    node: Option<&'n Node>,
    /// Reports of the node.
    pub(crate) news: Receiver<NodeNews>,
    is_stuck: bool,
}

impl<'n> Follower<'n> {
    /// With a node clients are served as soon as it says so, without one from here on.
    pub(crate) fn new(
        node: Option<&'n Node>,
        status: &StatusBoard,
        who: Option<&InitialCredentials>,
    ) -> Self {
        if let (Some(node), Some(who)) = (node, who) {
            node.reports_on(who.file.in_force());
        }
        if node.is_none() {
            status.set(Status::Ok);
        }
        Self {
            node,
            news: node.map_or_else(never, Node::news),
            is_stuck: false,
        }
    }

    /// Once a second: are the shards well, can clients be served, and how many messages wait?
    pub(crate) fn look(&mut self, pulse: &Pulse, status: &StatusBoard, waiting: u64, now: Instant) {
        let Some(node) = self.node else { return };
        node.waiting(waiting);
        let is_stuck = !pulse.is_well(now);
        if is_stuck != self.is_stuck && node.stuck(is_stuck) {
            self.is_stuck = is_stuck;
        }
        if status.status() == Status::Starting && node.is_ready() {
            status.set(Status::Ok);
            tracing::info!("ready: the channels of the cluster can be reached");
        }
    }

    /// Begins to give all slots to other nodes. True when their end is to be awaited, for [`GIVING_MAX`] at most.
    pub(crate) fn drain(&self) -> bool {
        self.node.is_some_and(Node::drain)
    }
}

/// The node has ended by itself, because of these other nodes if there are any.
pub(crate) fn failure(ending: Ending, others: &[String]) -> Failure {
    let others = others.join(", ");
    match ending {
        Ending::Drained { .. } => Failure::Fatal("the node left its cluster".into()),
        Ending::Removed => Failure::Fatal("this node was removed from its cluster".into()),
        Ending::NameTaken => Failure::Configuration(format!(
            "cluster.node: another process runs under this name: {others}; give each machine a name that no other node \
             has, and a data directory of its own: one that was copied from another node must be emptied. Where that \
             process is to end, stop it first, and start this one again"
        )),
        Ending::Unproven => Failure::Configuration(format!(
            "cluster.secret_file: of the nodes that are registered in etcd under cluster.name none has a proof that is \
             valid under this secret, for this cluster's id and slot hash key: {others}; give this node the secret of \
             those, or a cluster.name that they do not have. Where the secret was changed, stop all nodes first"
        )),
        Ending::OtherVersion { inner } => Failure::Configuration(format!(
            "this program has inner version {INNER_VERSION}, and a registered node has {inner}: {others}; only \
             neighbouring versions share a cluster: upgrade all nodes one version at a time, or stop all of them first"
        )),
        Ending::Outdated { lowest } => Failure::Configuration(format!(
            "this program is too old for its cluster, whose nodes have agreed on inner version {lowest}; this one has \
             {INNER_VERSION}: install the version of the other nodes"
        )),
    }
}

/// The node's thread panicked, so nobody renews this process's right to serve, and its slots are others' soon.
pub(crate) fn died() -> Failure {
    let why = "the thread that follows the cluster died; the process ends, so that a supervisor starts it whole again";
    Failure::Fatal(why.into())
}

/// The node has given its slots away, or could not.
pub(crate) fn report(ending: Ending, others: &[String]) {
    match ending {
        Ending::Drained { left: 0 } => tracing::info!("all slots were given to other nodes"),
        Ending::Drained { left } => tracing::warn!(
            left,
            "slots that no other node took: their channels are away until another node takes them"
        ),
        Ending::Removed | Ending::NameTaken | Ending::Outdated { .. } => {
            tracing::warn!("{}", failure(ending, others))
        }
        Ending::Unproven | Ending::OtherVersion { .. } => {
            tracing::warn!("{}", failure(ending, others))
        }
    }
}

/// Time for giving all slots away, at most. The node gives up earlier when 25 s pass without a slot given; it nearly
/// always takes some seconds.
pub(crate) const GIVING_MAX: Duration = Duration::from_secs(120);
