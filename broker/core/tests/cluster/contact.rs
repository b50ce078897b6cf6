//! I2, the part of one node alone: whether what it was answered lets it admit. I10: whether it lets it deny a channel.

use crate::cluster::check::Check;
use crate::cluster::host::Host;
use broker_core::cluster::Cluster;
use broker_core::cluster::authority::Standing;
use broker_core::cluster::limits::HAS_ETCD_MS;
use broker_core::cluster::types::NodeId;
use broker_core::time::Now;

impl Check {
    /// I2: a host got an answer that shows the slots, to a question that it sent at `asked`.
    pub(crate) fn contact(&mut self, host: usize, asked: Now) {
        let contact = &mut self.contacts[host];
        *contact = (*contact).max(asked);
    }

    /// I2: etcd shows the slots to a host, which asked for that at `asked`.
    pub(crate) fn etcd_shows(&mut self, host: usize, asked: Now) {
        let known = &mut self.etcd[host];
        *known = (*known).max(asked);
    }

    /// I2: a host has handled an input, by its clock at `clock`; `until`: up to when it may admit since.
    ///
    /// One whose right had ended comes back: within the time that others need at least to take a slot from a node that
    /// is registered, none may be taken from it. Except where neither it nor a peer that answers it had etcd.
    pub(crate) fn admits_until(&mut self, host: usize, until: Now, clock: Now, now: u64) {
        let (before, _) = self.rights[host];
        if until <= clock {
            return;
        }
        if before <= clock {
            let has_etcd = clock.since(self.etcd[host]) <= HAS_ETCD_MS
                || self.lately(host, clock).any(|had_etcd| had_etcd);
            self.rights[host].1 = has_etcd.then_some(now);
        }
        self.rights[host].0 = until;
    }

    /// I2: whether a host has come back so lately that nothing can have been taken from it since.
    pub(crate) fn has_come_back(&self, number: usize, host: &Host, now: u64) -> bool {
        let (_, back) = self.rights[number];
        back.is_some_and(|at| now - at < self.spans.absence_ms()) && !self.is_thawed(host, now)
    }

    /// I2: whether a host has only what etcd answered to go on by. Nobody has its slots before it stops, unless etcd
    /// has ended its lease meanwhile although it was kept, or was full, or the host's clock stood still.
    pub(crate) fn is_alone(&self, number: usize, host: &Host, now: u64) -> bool {
        let is_answered = self.lately(number, host.clock(now)).next().is_some();
        let is_of_lately = |at: u64| now - at <= self.spans.lease_ms();
        !is_answered && !self.is_thawed(host, now) && !self.unforeseen.is_some_and(is_of_lately)
    }

    /// Of each peer whose answer still counts for a host: whether it had etcd.
    fn lately(&self, number: usize, clock: Now) -> impl Iterator<Item = bool> {
        let words = self.had_etcd.range((number, 0)..(number + 1, 0));
        let hearing_ms = self.spans.hearing_ms();
        words
            .filter(move |(_, (asked, _))| clock.since(*asked) < hearing_ms)
            .map(|(_, (_, had_etcd))| *had_etcd)
    }

    /// A host whose clock stood still may go on by what it was answered before.
    fn is_thawed(&self, host: &Host, now: u64) -> bool {
        host.thawed
            .is_some_and(|at| now - at < self.spans.hearing_ms())
    }

    /// I2: a peer says whether it has etcd, in answer to a question of `asked`.
    pub(crate) fn says(&mut self, host: usize, peer: NodeId, asked: Now, has_etcd: bool) {
        let known = self.had_etcd.entry((host, peer.index())).or_default();
        if asked >= known.0 {
            *known = (asked, has_etcd);
        }
    }

    /// I2: a peer leaves, or nothing listens on its host.
    pub(crate) fn leaves(&mut self, host: usize, peer: NodeId) {
        if let Some(known) = self.had_etcd.get_mut(&(host, peer.index())) {
            known.1 = false;
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
            if let Some(peer) = self.taker(number, cluster, hosts) {
                return self.breaks(format!(
                    "I2 at {now}: host {number} goes on although {peer:?} may take"
                ));
            }
        }
    }

    /// I10: a host that admits says that a channel does not exist.
    pub(crate) fn denials(&mut self, now: u64, hosts: &[Host]) {
        for (number, host) in hosts.iter().enumerate() {
            let Some(cluster) = host.cluster.as_ref().filter(|_| host.runs()) else {
                continue;
            };
            let clock = host.clock(now);
            if clock >= cluster.valid_until() || !cluster.knows_absence(clock) {
                continue;
            }
            let since = clock.since(self.etcd[number]);
            let taker = self.taker(number, cluster, hosts);
            if let Some(peer) = taker.filter(|_| since > self.spans.lease_ms()) {
                return self.breaks(format!(
                    "I10 at {now}: host {number} denies channels {since} ms after etcd, although {peer:?} may take"
                ));
            }
        }
    }

    /// A peer that may take from a host, as far as its last word says.
    fn taker(&self, number: usize, cluster: &Cluster, hosts: &[Host]) -> Option<NodeId> {
        let can_take = |peer: &&Host| {
            let word = self.had_etcd.get(&(number, peer.node.index()));
            let had_etcd = word.filter(|(_, had)| *had).map(|(asked, _)| *asked);
            let shown = self.etcd[number];
            let is_written_off = |asked: Now| shown.since(asked) >= self.spans.hearing_ms();
            cluster.expects(peer.node) && had_etcd.is_some_and(|asked| !is_written_off(asked))
        };
        let peer = hosts.iter().find(can_take)?;
        Some(peer.node)
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
            if admits
                && since > self.spans.hearing_ms()
                && cluster.standing() != Standing::Exception
            {
                self.breaks(format!(
                    "I2 at {now}: host {number} admits {since} ms after its last answer"
                ));
            }
        }
    }
}
