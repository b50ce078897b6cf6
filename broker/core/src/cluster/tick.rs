//! A node's time-driven actions (questions, keepalives and registration), and the decisions made after each input.

use crate::cluster::authority::{Grounds, Standing};
use crate::cluster::limits::{GRACE_MS, ROUND_MS};
use crate::cluster::message::{Call, Ending, NodeOutput, Question, SlotOrder};
use crate::cluster::types::{
    Kinship, Owner, ParcelId, Registration, RosterState, SlotRecord, Value,
};
use crate::cluster::{etcd_calls::Purpose, registration::Place};
use crate::{cluster::Cluster, time::Now};

impl Cluster {
    pub(crate) fn tick(&mut self, stuck: bool, now: Now) {
        self.last_tick = now;
        self.obstacles.stuck = stuck;
        for call in self.calls.overdue(now) {
            if !matches!(
                call.purpose,
                Purpose::Progress | Purpose::KeepAlive(_) | Purpose::Write(..)
            ) {
                self.calls.wanted = true;
            }
        }
        if now >= self.next_round {
            self.next_round = now.after(ROUND_MS);
            self.ask(now);
            self.write_off(now);
            if !self.obstacles.other_history {
                if let Some(lease) = self.lease().filter(|_| !stuck) {
                    self.call(Purpose::KeepAlive(lease), Call::KeepAlive(lease), now);
                }
                self.ask_progress(now);
                self.leave_roster(now);
            }
        } else if !self.obstacles.other_history && self.an_owner_is_absent() {
            // Absences count only up to the watch's last report, so a late report delays claims on a lost node's slots.
            self.ask_progress(now);
        }
        if !self.obstacles.other_history {
            self.calls.end_blind_watch(now);
            self.read(now);
            self.register(now);
        }
        for id in self.slots.parcels.expire(now) {
            self.outputs.push_back(NodeOutput::Discard(id));
        }
        self.give_up_unloaded(now);
        self.check_transfers(now);
    }

    /// Handles a pause of the process that ended at `now`. The pause invalidates everything received before it, so all
    /// nodes are queried again at once.
    pub(crate) fn gap(&mut self, now: Now) {
        self.last_tick = now;
        self.silence.gap(now);
        self.authority.gap(now);
        self.plan.gap();
        self.view.lose_currency();
        self.calls.gap();
        self.next_round = now;
    }

    /// Makes the decisions that follow each input. Updates the owned slots from the view, decides whether to serve
    /// them, and decides which slots to load, claim and transfer.
    pub(crate) fn settle(&mut self, now: Now) {
        if self.obstacles.ended {
            return;
        }
        self.reconcile(now);
        if let Some(ending) = self.unwelcome() {
            self.revoke(now);
            return self.end(ending);
        }
        match self.place(now) {
            Place::Removed => return self.end(Ending::Removed),
            Place::Taken => return self.end(Ending::NameTaken),
            Place::Own | Place::Occupied => {}
        }
        if self.registering.notices(&self.view) {
            self.view.renew_currency(now);
            self.authority.registers();
        }
        let grounds = Grounds {
            peers: self.silence.newest_answered(),
            etcd_is_near: self.silence.peers_have_etcd(now) || self.authority.has_etcd(now),
            lease: self.registering.kept_since(&self.view),
            is_full: self.registering.refused && !self.obstacles.stuck,
            has_all_peers: self.silence.has_all_peers(&self.view, self.me.node, now),
            may_be_taken: self.may_be_taken(),
        };
        if self.authority.decide(&grounds, now) {
            self.order(SlotOrder::CloseAll);
        }
        for held in self.slots.start_loads(now) {
            self.outputs.push_back(NodeOutput::Load(held));
        }
        if self.can_act(now) {
            self.claim(now);
            self.transfer(now);
        }
        self.finish_drain(now);
    }

    fn place(&mut self, now: Now) -> Place {
        let mut others = self.view.nodes().filter(|node| *node != self.me.node);
        let is_answered = others.any(|node| self.silence.reaches(node, now));
        let spans = self.spans;
        let registering = &mut self.registering;
        let place = registering.place(&self.view, is_answered, spans, now);
        self.obstacles.awaits_name = place == Place::Occupied;
        place
    }

    /// Returns the reason why a starting process must not join, if there is one. Either a registered process has an
    /// incompatible version, or all other registered processes belong to another cluster.
    ///
    /// A process that has already joined continues. If two processes start at the same time, the one that registered
    /// later exits.
    fn unwelcome(&self) -> Option<Ending> {
        if self.authority.standing() != Standing::Starting {
            return None;
        }
        let own = self.view.registered(self.me);
        let is_before = |registration: &Registration| {
            own.is_none_or(|own| registration.revision < own.revision)
        };
        let mut is_stranger = false;
        for (node, registration) in self.view.strangers() {
            let directory = registration.incarnation.directory;
            let is_mine = node == self.me.node && directory == self.me.incarnation.directory;
            if is_mine || !is_before(&registration) {
                continue;
            }
            if let Kinship::OtherVersion(inner) = registration.kinship {
                return Some(Ending::OtherVersion { inner });
            }
            is_stranger = true;
        }
        let mut others = self.view.nodes().filter(|node| *node != self.me.node);
        let has_peer = others.any(|node| self.view.registration(node).is_some());
        (is_stranger && !has_peer).then_some(Ending::Unproven)
    }

    /// Returns `true` if this node may change slot owners. The node must be registered, etcd must have answered
    /// recently and with an unchanged history, and no shard may be hanging.
    pub(crate) fn can_act(&self, now: Now) -> bool {
        !self.obstacles.stuck
            && !self.obstacles.other_history
            && self.authority.has_etcd(now)
            && self.registering.current(&self.view).is_some()
    }

    pub(crate) fn read(&mut self, now: Now) {
        if self.calls.read_is_due(now) {
            self.call(Purpose::Read, Call::Read, now);
        }
    }

    pub(crate) fn register(&mut self, now: Now) {
        let is_waiting =
            self.calls.awaits(&Purpose::Grant) || self.calls.awaits(&Purpose::Register);
        let is_registered = self.registering.current(&self.view).is_some();
        if is_waiting
            || is_registered
            || self.obstacles.stuck
            || self.obstacles.ended
            || self.calls.is_unsure()
        {
            return;
        }
        if self.place(now) != Place::Own {
            return;
        }
        if self.registering.granted.is_none() {
            return self.call(Purpose::Grant, Call::Grant, now);
        }
        let is_stopping = self.transfers.is_draining();
        if let Some(attempt) = self.registering.attempt(&self.view, is_stopping) {
            self.call(Purpose::Register, Call::Transaction(attempt), now);
        }
    }

    /// Queries every node that is present in the roster, is registered, or owns a slot.
    ///
    /// While another process may be using this node's name, this node sends queries only about that process, because
    /// nodes have one connection per name and send answers to the address in the roster.
    fn ask(&mut self, now: Now) {
        if self.place(now) == Place::Occupied {
            return self.seek(now);
        }
        let owning = self.owning();
        let complete = self.view.complete();
        for node in self.view.nodes().filter(|node| *node != self.me.node) {
            let is_asked = owning[node.index()]
                || self.view.roster(node) == Some(RosterState::Here)
                || self.view.registration(node).is_some();
            if is_asked {
                self.silence.asks(node, now);
                let question = Question {
                    asked: now,
                    asker: self.me.incarnation,
                    complete,
                };
                self.outputs.push_back(NodeOutput::Ask(node, question));
            }
        }
    }

    fn seek(&mut self, now: Now) {
        for node in self.view.nodes() {
            let is_here = self.view.roster(node) == Some(RosterState::Here);
            if is_here || self.view.registration(node).is_some() {
                self.outputs.push_back(NodeOutput::Seek(node, now));
            }
        }
    }

    fn owning(&self) -> Vec<bool> {
        let mut owning = vec![false; self.view.nodes().count()];
        for owner in self.view.slots().iter().filter_map(|record| record.owner) {
            if let Some(place) = owning.get_mut(owner.node.index()) {
                *place = true;
            }
        }
        owning
    }

    /// Returns `true` if a node that owns slots is not registered. Its slots may have to be claimed.
    fn an_owner_is_absent(&self) -> bool {
        let owning = self.view.nodes().zip(self.owning());
        let mut owners = owning.filter_map(|(node, owns)| owns.then_some(node));
        owners.any(|node| self.view.registration(node).is_none())
    }

    fn write_off(&mut self, now: Now) {
        let Some(as_of) = self.authority.etcd else {
            return;
        };
        if !self.authority.has_etcd(now) || self.obstacles.other_history {
            return;
        }
        for node in self.view.nodes() {
            let is_gone = self.silence.is_gone(node, as_of)
                && self.view.absent_ms(node) >= self.spans.absence_ms()
                && (self.silence.ever_answered(node) || self.plan.runs_for(GRACE_MS, as_of));
            self.silence.write_off(node, is_gone);
        }
    }

    /// Returns `true` if any node in the roster may be in a network partition that can claim slots.
    pub(crate) fn may_be_taken(&self) -> bool {
        self.view.nodes().any(|node| {
            node != self.me.node
                && self.view.roster(node) == Some(RosterState::Here)
                && self.silence.may_take(node)
        })
    }

    fn ask_progress(&mut self, now: Now) {
        if let Some(watch) = self.calls.watch() {
            self.call(Purpose::Progress, Call::Progress(watch), now);
        }
    }
}

/// Returns the value that assigns a slot to `owner`, or to no node, given the slot's current record.
pub(crate) fn owned(owner: Option<Owner>, parcel: Option<ParcelId>, former: SlotRecord) -> Value {
    Value::Slot {
        owner,
        parcel,
        presence: former.presence.saturating_add(1),
    }
}
