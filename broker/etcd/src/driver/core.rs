//! The node's core and the queue of its inputs.
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

    /// Passes the nodes' keys to the state machine. The keys are the same on all nodes of the cluster, whereas node
    /// numbers are local to this process.
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
    /// etcd's revision had decreased. No state is lost, since the node has not registered or served any slots yet.
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

    /// Records whether a shard is hanging. Each tick reports this to the core.
    pub(crate) fn set_stuck(&mut self, stuck: bool) {
        self.stuck = stuck;
    }

    pub(crate) fn tick(&mut self) {
        self.queue.extend(self.delayed.drain(..));
        self.queue.push_back(NodeInput::Tick { stuck: self.stuck });
    }
}
