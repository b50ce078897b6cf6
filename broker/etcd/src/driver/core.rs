//! The node's core, and its queued inputs.
//!
//! Processes one input, then all of its outputs, then the next input, as the simulation of the core does. Inputs that
//! result immediately from outputs are queued after them; refusals by etcd are reported on the next tick, so that
//! nothing is retried in a tight loop.

use crate::{names::Names, system::now};
use broker_core::cluster::message::{Ending, NodeInput, NodeOutput};
use broker_core::cluster::types::Owner;
use broker_core::cluster::{Cluster, Config};
use std::collections::VecDeque;

/// The cluster's state machine, its inputs, and the reason why it ended.
#[derive(Debug)]
pub(crate) struct Core {
    cluster: Cluster,
    settings: Config,
    /// Number of nodes whose keys have been passed to the state machine.
    named: usize,
    inputs: Inputs,
    ending: Option<Ending>,
}

/// Queued inputs.
#[derive(Debug, Default)]
pub(crate) struct Inputs {
    queue: VecDeque<NodeInput>,
    /// Inputs to be queued on the next tick.
    delayed: Vec<NodeInput>,
    stuck: bool,
}

impl Core {
    pub(crate) fn new(settings: Config) -> Self {
        Self {
            cluster: Cluster::new(&settings, now()),
            settings,
            named: 0,
            inputs: Inputs::default(),
            ending: None,
        }
    }

    /// Returns the cluster's state machine, read-only.
    pub(crate) fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// Returns this process as an owner of slots: its node and incarnation.
    pub(crate) fn me(&self) -> Owner {
        self.settings.me
    }

    pub(crate) fn inputs(&mut self) -> &mut Inputs {
        &mut self.inputs
    }

    /// Passes the nodes' cluster-wide keys to the state machine, which identifies nodes by numbers local to this
    /// process.
    pub(crate) fn give_keys(&mut self, names: &Names) {
        for (node, name) in names.all().skip(self.named) {
            self.cluster.set_key(node, name.key());
            self.named += 1;
        }
    }

    /// Handles the next input; returns `false` if none is queued. Afterwards, [`Self::poll_output`] must be called
    /// until it returns `None`.
    pub(crate) fn handle_next(&mut self) -> bool {
        let Some(input) = self.inputs.queue.pop_front() else {
            return false;
        };
        self.cluster.handle(input, now());
        true
    }

    /// Returns the next output of the last input.
    pub(crate) fn poll_output(&mut self) -> Option<NodeOutput> {
        self.cluster.poll_output()
    }

    /// Starts over because etcd has a different history, which the core treats like a lower revision. The node has
    /// neither registered nor served yet, so its state machine is recreated.
    pub(crate) fn start_with_other_history(&mut self) {
        let mut memory = self.cluster.memory();
        memory.other_history = true;
        self.settings.memory = memory;
        self.cluster = Cluster::new(&self.settings, now());
    }

    /// Ends the node for the given reason.
    pub(crate) fn end(&mut self, ending: Ending) {
        self.ending = Some(ending);
    }

    /// Returns the reason why the node is ending, if it is.
    pub(crate) fn ending(&self) -> Option<Ending> {
        self.ending
    }
}

impl Inputs {
    pub(crate) fn push(&mut self, input: NodeInput) {
        self.queue.push_back(input);
    }

    /// Queues an input for the next tick.
    pub(crate) fn delay(&mut self, input: NodeInput) {
        self.delayed.push(input);
    }

    /// Sets whether a shard is unresponsive, which each tick reports.
    pub(crate) fn set_stuck(&mut self, stuck: bool) {
        self.stuck = stuck;
    }

    /// Queues the delayed inputs, then the tick.
    pub(crate) fn tick(&mut self) {
        self.queue.extend(self.delayed.drain(..));
        self.queue.push_back(NodeInput::Tick { stuck: self.stuck });
    }
}
