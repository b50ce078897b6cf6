//! I2, the part of one node alone: whether what it was answered lets it admit.

use crate::check::Check;
use crate::host::Host;
use crate::world::TTL_MS;
use broker_core::cluster::limits::MARGIN_MS;
use broker_core::cluster::node::authority::Standing;
use broker_core::cluster::types::NodeId;
use broker_core::time::Now;

impl Check {
    /// I2: a host got an answer that shows the slots, to a question that it sent at `asked`.
    pub(crate) fn contact(&mut self, host: usize, asked: Now) {
        let contact = &mut self.contacts[host];
        *contact = (*contact).max(asked);
    }

    /// I2: etcd shows the slots to a host.
    pub(crate) fn etcd_shows(&mut self, host: usize, now: u64) {
        self.etcd[host] = now;
    }

    /// I2: a peer says whether it has etcd, in answer to a question of `asked`.
    pub(crate) fn says(&mut self, host: usize, answer: (NodeId, Now), has_etcd: bool, now: u64) {
        let (peer, asked) = answer;
        let known = self.had_etcd.entry((host, peer.index())).or_default();
        if asked >= known.0 {
            *known = (asked, has_etcd.then_some(now));
        }
    }

    /// I2: a peer leaves, or nothing listens on its host.
    pub(crate) fn leaves(&mut self, host: usize, peer: NodeId) {
        if let Some(known) = self.had_etcd.get_mut(&(host, peer.index())) {
            known.1 = None;
        }
    }

    /// I2: the exception is for hosts of which no peer had etcd last, except those that could be taken from since.
    pub(crate) fn exceptions(&mut self, now: u64, hosts: &[Host]) {
        for (number, host) in hosts.iter().enumerate() {
            let Some(cluster) = host.cluster.as_ref().filter(|_| host.runs()) else {
                continue;
            };
            if cluster.standing() != Standing::Exception {
                continue;
            }
            let can_take = |peer: &Host| {
                let word = self.had_etcd.get(&(number, peer.node.index()));
                let had_etcd = word.and_then(|(_, at)| *at);
                let is_written_off = |at: u64| self.etcd[number] >= at + TTL_MS - MARGIN_MS;
                cluster.expects(peer.node) && had_etcd.is_some_and(|at| !is_written_off(at))
            };
            if let Some(peer) = hosts.iter().find(|peer| can_take(peer)) {
                let peer = peer.node;
                return self.breaks(format!(
                    "I2 at {now}: host {number} goes on although {peer:?} may take"
                ));
            }
        }
    }

    /// I2: no host admits that is alone.
    pub(crate) fn contacts(&mut self, now: u64, hosts: &[Host]) {
        for (number, host) in hosts.iter().enumerate() {
            let Some(cluster) = &host.cluster else {
                continue;
            };
            let clock = host.clock(now);
            let since = clock.since(self.contacts[number]);
            let admits = host.runs() && clock < cluster.valid_until();
            if admits && since > TTL_MS - MARGIN_MS && cluster.standing() != Standing::Exception {
                self.breaks(format!(
                    "I2 at {now}: host {number} admits {since} ms after its last answer"
                ));
            }
        }
    }
}
