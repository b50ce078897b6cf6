//! The rules of this node, and what waits for them.
//!
//! One input, then all outputs, then the next input, as the core is driven in its simulation. What the outputs cause at
//! once is queued behind them; what etcd refuses is reported with the next tick, so that nothing is tried in a loop.

use crate::{names::Names, system::now};
use broker_core::cluster::message::{Ending, NodeInput, NodeOutput};
use broker_core::cluster::types::Owner;
use broker_core::cluster::{Cluster, Config};
use std::collections::VecDeque;

/// The rules, their inputs, and the end that they come to.
#[derive(Debug)]
pub(crate) struct Core {
    cluster: Cluster,
    settings: Config,
    /// Nodes whose keys the rules have.
    named: usize,
    inputs: Inputs,
    ending: Option<Ending>,
}

/// Inputs that wait.
#[derive(Debug, Default)]
pub(crate) struct Inputs {
    queue: VecDeque<NodeInput>,
    /// Queued with the next tick.
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

    /// The rules, to be read.
    pub(crate) fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// Owner of slots that this process is: node and process.
    pub(crate) fn me(&self) -> Owner {
        self.settings.me
    }

    pub(crate) fn inputs(&mut self) -> &mut Inputs {
        &mut self.inputs
    }

    /// The rules know nodes by numbers of this process: they get what all nodes have in common.
    pub(crate) fn give_keys(&mut self, names: &Names) {
        for (node, name) in names.all().skip(self.named) {
            self.cluster.set_key(node, name.key());
            self.named += 1;
        }
    }

    /// Handles the next input; false if none waits. Then [`Self::poll_output`] until it returns `None`.
    pub(crate) fn handle_next(&mut self) -> bool {
        let Some(input) = self.inputs.queue.pop_front() else {
            return false;
        };
        self.cluster.handle(input, now());
        true
    }

    /// The next output of the last input.
    pub(crate) fn poll_output(&mut self) -> Option<NodeOutput> {
        self.cluster.poll_output()
    }

    /// etcd has another history: as if it showed a lower revision. The node has neither registered nor served so far,
    /// so its rules are made again.
    pub(crate) fn start_with_other_history(&mut self) {
        let mut memory = self.cluster.memory();
        memory.other_history = true;
        self.settings.memory = memory;
        self.cluster = Cluster::new(&self.settings, now());
    }

    /// The node ends for this reason.
    pub(crate) fn end(&mut self, ending: Ending) {
        self.ending = Some(ending);
    }

    /// The reason of the node's end, once it ends.
    pub(crate) fn ending(&self) -> Option<Ending> {
        self.ending
    }
}

impl Inputs {
    pub(crate) fn push(&mut self, input: NodeInput) {
        self.queue.push_back(input);
    }

    /// Queues an input with the next tick.
    pub(crate) fn delay(&mut self, input: NodeInput) {
        self.delayed.push(input);
    }

    /// Sets whether a shard hangs, which each tick says.
    pub(crate) fn set_stuck(&mut self, stuck: bool) {
        self.stuck = stuck;
    }

    /// Queues what was delayed, then the tick.
    pub(crate) fn tick(&mut self) {
        self.queue.extend(self.delayed.drain(..));
        self.queue.push_back(NodeInput::Tick { stuck: self.stuck });
    }
}
