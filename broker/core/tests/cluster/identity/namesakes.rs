//! Several processes of one name: what reaches which of them, and which of them may register.

use crate::cluster::classes::SETTLED_MS;
use crate::cluster::net::ETCD;
use crate::cluster::script::{Script, Step};
use crate::cluster::world::{Way, What, World};
use broker_core::cluster::message::NodeInput;
use broker_core::cluster::types::{Address, Change, Key, NodeId, Value};
use broker_core::time::Now;

impl World {
    /// A host asks which process last answered under its name, at the address that the roster has of a node.
    pub(crate) fn seek(&mut self, from: usize, of: NodeId, asked: Now) {
        let to = self.homes[of.index()];
        let process = self.hosts[from].process;
        let at = self.net.arrival(self.now, (from, to), &mut self.rng);
        self.push(at, What::Seeks(Way { from, process, to }, asked));
    }

    /// A host is asked.
    pub(crate) fn sought(&mut self, way: Way, asked: Now) {
        let Way { from, process, to } = way;
        let sought = self.hosts[from].node;
        let host = &self.hosts[to];
        let Some(cluster) = &host.cluster else { return };
        let heard = cluster.heard(sought, host.clock(self.now));
        let from_node = host.node;
        let found = NodeInput::Found {
            from: from_node,
            asked,
            heard,
        };
        self.send(to, from, process, found, Vec::new());
    }

    /// I11, and where the roster leads to.
    pub(crate) fn namesakes(&mut self, change: Change) {
        match (change.key, change.value) {
            (Key::Roster(node), Some(Value::Roster(_, Address(host)))) => {
                self.homes[node.index()] = usize::try_from(host).expect("few hosts");
            }
            (Key::Registration(node), Some(Value::Registration { incarnation, .. })) => {
                let known = self.check.registered.entry(node).or_default();
                if known.last() == Some(&incarnation) {
                    return;
                }
                let is_again = known.contains(&incarnation);
                known.push(incarnation);
                if is_again {
                    let now = self.now;
                    self.check.breaks(format!(
                        "I11 at {now}: {incarnation:?} of {node:?} registers after another one did"
                    ));
                }
            }
            _ => {}
        }
    }
}

/// Another machine starts under the name of a node that answers its peers, on a copy of its data directory or its own:
/// it ends. Meanwhile etcd may stand still for longer than a lease, or not be reached by the node.
pub(crate) fn name_of_one_that_lives(script: &mut Script, rng: &mut fastrand::Rng) {
    script.class = "name of one that lives";
    let (original, other) = joins_under_a_name(script, rng);
    let at = script.begins + rng.u64(..3_000);
    let mut until = at;
    match rng.u8(..3) {
        0 => {}
        1 => {
            until += rng.u64(13_000..20_000);
            script.cut_both(original, ETCD, at, until);
        }
        _ => {
            until += rng.u64(13_000..20_000);
            script.at(at, Step::EtcdFreeze);
            let revokes = rng.u8(..4) > 0;
            script.at(until, Step::EtcdUp(revokes));
        }
    }
    let directory = rng.bool().then_some(9_999);
    let starts = at - 1_000 + rng.u64(..until - at + 2_000);
    let takes = Step::TakeName(other, original, directory);
    script.at(starts, takes);
    script.ended.push(other);
    script.moves_max = Some(0);
    script.unserved_max = Some(0);
    script.heals(until.max(starts), 6_000);
}

/// A node is cut off, and another machine starts on a copy of its data directory: it takes the name over once the node
/// has answered nobody for a lease, and the node ends as soon as it sees that.
pub(crate) fn name_of_one_that_is_gone(script: &mut Script, rng: &mut fastrand::Rng) {
    script.class = "name of one that is gone";
    let (original, other) = joins_under_a_name(script, rng);
    let at = script.begins + rng.u64(..3_000);
    let starts = at + rng.u64(..5_000);
    let until = starts + 2 * script.lease_ms + rng.u64(5_000..20_000);
    for end in (0..script.hosts)
        .filter(|end| *end != original)
        .chain([ETCD])
    {
        script.cut_both(original, end, at, until);
    }
    script.at(starts, Step::TakeName(other, original, None));
    script.ended.push(original);
    script.unserved(SETTLED_MS);
    script.heals(until, SETTLED_MS);
}

/// A host of the cluster, and another one that will have its name.
fn joins_under_a_name(script: &mut Script, rng: &mut fastrand::Rng) -> (usize, usize) {
    script.hosts = script.members + 1;
    (rng.usize(..script.members), script.members)
}
