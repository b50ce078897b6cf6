//! The node's core and its input queue.
//!
//! The core processes one input at a time. All outputs of an input are handled before the next input is processed, as
//! in the simulation of the core. If an output causes another input, that input is added to the end of the queue. A
//! refusal by etcd is reported only at the next tick, so that the core does not retry in a tight loop.

use crate::{names::Names, system::now};
use broker_core::cluster::message::{Ending, NodeInput, NodeOutput};
use broker_core::cluster::types::Owner;
use broker_core::cluster::{Cluster, Config};
use std::collections::VecDeque;

#[derive(Debug)]
pub(crate) struct Core {
    cluster: Cluster,
    settings: Config,
    /// Number of nodes whose keys have been passed to the state machine.
    named: usize,
    inputs: Inputs,
    pub(crate) ending: Option<Ending>,
}

#[derive(Debug, Default)]
pub(crate) struct Inputs {
    queue: VecDeque<NodeInput>,
    delayed: Vec<NodeInput>,
    /// Whether a shard is hanging. Each tick reports this to the core.
    pub(crate) stuck: bool,
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

    /// Passes the nodes' keys to the state machine. A node's key is the same throughout the cluster, whereas its number
    /// is local to this process.
    pub(crate) fn give_keys(&mut self, names: &Names) {
        for (node, name) in names.all().skip(self.named) {
            self.cluster.set_key(node, name.key());
            self.named += 1;
        }
    }

    /// Handles the next input, or returns `false` if none is queued. The caller must then call [`Self::poll_output`]
    /// until it returns `None`.
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

    /// Recreates the state machine because etcd's data does not match what this node saw before. The core reacts as if
    /// etcd's revision had gone backwards. No state is lost, since the node has not registered or served any slots yet.
    pub(crate) fn start_with_other_history(&mut self) {
        self.settings.memory = self.cluster.memory();
        self.settings.memory.other_history = true;
        self.cluster = Cluster::new(&self.settings, now());
    }
}

impl Inputs {
    pub(crate) fn push(&mut self, input: NodeInput) {
        self.queue.push_back(input);
    }

    pub(crate) fn delay(&mut self, input: NodeInput) {
        self.delayed.push(input);
    }

    pub(crate) fn tick(&mut self) {
        self.queue.extend(self.delayed.drain(..));
        self.queue.push_back(NodeInput::Tick { stuck: self.stuck });
    }
}
