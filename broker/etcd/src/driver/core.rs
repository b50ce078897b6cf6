//! The node's core and its queued inputs.
//!
//! One input is processed, then all of its outputs, then the next input, as in the simulation of the core. Inputs that
//! result from outputs are queued behind them; refusals by etcd are reported on the next tick, so that nothing is
//! retried in a tight loop.

use crate::{names::Names, system::now};
use broker_core::cluster::message::{Ending, NodeInput, NodeOutput};
use broker_core::cluster::types::Owner;
use broker_core::cluster::{Cluster, Config};
use std::collections::VecDeque;

#[derive(Debug)]
pub(crate) struct Core {
    cluster: Cluster,
    settings: Config,
    /// Number of nodes whose keys the state machine has.
    named: usize,
    inputs: Inputs,
    ending: Option<Ending>,
}

#[derive(Debug, Default)]
pub(crate) struct Inputs {
    queue: VecDeque<NodeInput>,
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

    pub(crate) fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    pub(crate) fn me(&self) -> Owner {
        self.settings.me
    }

    pub(crate) fn inputs(&mut self) -> &mut Inputs {
        &mut self.inputs
    }

    /// Passes the nodes' cluster-wide keys to the state machine, whose node numbers are local to this process.
    pub(crate) fn give_keys(&mut self, names: &Names) {
        for (node, name) in names.all().skip(self.named) {
            self.cluster.set_key(node, name.key());
            self.named += 1;
        }
    }

    /// Handles the next input; returns `false` if none is queued. The caller then polls [`Self::poll_output`] until it
    /// returns `None`.
    pub(crate) fn handle_next(&mut self) -> bool {
        let Some(input) = self.inputs.queue.pop_front() else {
            return false;
        };
        self.cluster.handle(input, now());
        true
    }

    pub(crate) fn poll_output(&mut self) -> Option<NodeOutput> {
        self.cluster.poll_output()
    }

    /// Starts over because etcd has another history, which the core treats like a lower revision. The state machine is
    /// recreated, since the node has neither registered nor served.
    pub(crate) fn start_with_other_history(&mut self) {
        let mut memory = self.cluster.memory();
        memory.other_history = true;
        self.settings.memory = memory;
        self.cluster = Cluster::new(&self.settings, now());
    }

    pub(crate) fn end(&mut self, ending: Ending) {
        self.ending = Some(ending);
    }

    pub(crate) fn ending(&self) -> Option<Ending> {
        self.ending
    }
}

impl Inputs {
    pub(crate) fn push(&mut self, input: NodeInput) {
        self.queue.push_back(input);
    }

    pub(crate) fn delay(&mut self, input: NodeInput) {
        self.delayed.push(input);
    }

    /// Sets whether a shard hangs, which each tick reports.
    pub(crate) fn set_stuck(&mut self, stuck: bool) {
        self.stuck = stuck;
    }

    pub(crate) fn tick(&mut self) {
        self.queue.extend(self.delayed.drain(..));
        self.queue.push_back(NodeInput::Tick { stuck: self.stuck });
    }
}
