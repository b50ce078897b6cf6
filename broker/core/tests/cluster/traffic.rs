//! Between nodes and etcd: calls, replies, and the streams of watches, which keep their order.

use crate::cluster::etcd::Effect;
use crate::cluster::net::ETCD;
use crate::cluster::world::{EtcdState, Way, What, World};
use broker_core::cluster::message::{Call, CallId, NodeInput, Reply, WatchId};
use broker_core::cluster::types::{Change, Key, Owner, Revision, Slot, Value};

/// A node's watch.
#[derive(Clone, Copy)]
pub(crate) struct Stream {
    id: WatchId,
    process: u32,
    /// The first revision that was not sent.
    next: Revision,
    /// When what was sent last arrives: a stream keeps its order.
    arrives: u64,
}

impl World {
    pub(crate) fn called(&mut self, from: usize, process: u32, id: CallId, call: Call) {
        if self.hosts[from].member_is_alone && !matches!(call, Call::Progress(_)) {
            return;
        }
        let written = self.written(from, process, &call);
        let call = self.script.proves(from, call);
        let effect = self.etcd.call(call, self.now);
        if let (
            Some((slot, writer)),
            Effect::Reply(Reply::Outcome {
                committed: true, ..
            }),
        ) = (written, &effect)
        {
            let owner = self.etcd.owner(slot.index());
            self.check.writes(slot, writer, owner, self.now);
        }
        self.publish();
        match effect {
            Effect::Reply(reply) => {
                let input = self.script.reads(from, NodeInput::Reply(id, reply));
                self.send(ETCD, from, process, input, Vec::new());
            }
            Effect::None => {}
            Effect::Watch(watch, next) => {
                if self.etcd.is_compacted(next) {
                    let ended = NodeInput::WatchEnded(watch);
                    self.send(ETCD, from, process, ended, Vec::new());
                    return;
                }
                if self.hosts[from].is_overtaken {
                    // Waiting messages wait in the former stream.
                    self.hosts[from].sees();
                }
                self.watches[from] = Some(Stream {
                    id: watch,
                    process,
                    next,
                    arrives: self.now,
                });
                self.deliver(from);
            }
            Effect::Progress(watch) => {
                let Some(stream) = self.watches[from].filter(|stream| stream.id == watch) else {
                    return;
                };
                let host = &self.hosts[from];
                let shown = if host.is_blind && !host.is_overtaken {
                    Revision(stream.next.0 - 1)
                } else {
                    self.etcd.revision
                };
                self.stream(from, NodeInput::Reply(id, Reply::Progress(shown)));
            }
        }
    }

    /// The slot of a record that a call writes, and who writes, unless that process has ended since.
    fn written(&self, from: usize, process: u32, call: &Call) -> Option<(Slot, Owner)> {
        let Call::Transaction(transaction) = call else {
            return None;
        };
        let host = &self.hosts[from];
        let slot = transaction.puts.iter().find_map(|(key, _)| match key {
            Key::Record(slot, _) => Some(*slot),
            Key::Slot(_) | Key::Registration(_) | Key::Roster(_) => None,
        })?;
        (host.process == process).then(|| (slot, host.owner()))
    }

    /// Sends new changes to all watches.
    pub(crate) fn publish(&mut self) {
        if self.published >= self.etcd.history.len() {
            self.published = self.etcd.history.len();
            return;
        }
        for index in self.published..self.etcd.history.len() {
            let change = self.etcd.history[index];
            self.namesakes(change);
            if let (Key::Slot(slot), Some(Value::Slot { owner, .. })) = (change.key, change.value) {
                self.check.commits(slot, owner);
                if let Some(owner) = owner {
                    self.check.comes_to(slot, owner, &self.script, self.now);
                }
            }
        }
        self.published = self.etcd.history.len();
        for host in 0..self.hosts.len() {
            self.deliver(host);
        }
    }

    /// Sends a watch what it is due.
    pub(crate) fn deliver(&mut self, host: usize) {
        let Some(stream) = self.watches[host] else {
            return;
        };
        if self.hosts[host].is_blind || self.etcd_state != EtcdState::Up {
            return;
        }
        let history = &self.etcd.history;
        let begin = history.partition_point(|change| change.revision < stream.next);
        if begin == history.len() {
            return;
        }
        let changes: Vec<Change> = history[begin..].to_vec();
        let next = changes
            .last()
            .map_or(stream.next, |change| change.revision.next());
        self.watches[host] = Some(Stream { next, ..stream });
        self.stream(host, NodeInput::Changed(stream.id, changes));
    }

    fn stream(&mut self, host: usize, input: NodeInput) {
        let arrival = self.net.arrival(self.now, (ETCD, host), &mut self.rng);
        let lag = self.script.lag[host];
        let Some(stream) = &mut self.watches[host] else {
            return;
        };
        stream.arrives = stream.arrives.max(arrival + lag);
        let (at, process) = (stream.arrives, stream.process);
        let input = self.script.reads(host, input);
        let (from, to) = (ETCD, host);
        let way = Way { from, process, to };
        self.push(at, What::Arrives(way, input, Vec::new()));
    }

    /// All watches end: etcd's connections were reset.
    pub(crate) fn end_watches(&mut self) {
        for host in 0..self.hosts.len() {
            if let Some(stream) = self.watches[host].take() {
                let ended = NodeInput::WatchEnded(stream.id);
                self.send(ETCD, host, stream.process, ended, Vec::new());
            }
        }
    }
}
