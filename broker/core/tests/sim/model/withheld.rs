//! Acts of scripted faults on messages, and all that they hold back: messages, close frames, and all that a connection
//! would be sent. See deploy/testing/README.md, "Faults".

use super::keeping::Full;
use super::messages::Passing;
use super::scripted::{NEVER, Subject};
use super::{ConnId, Model, Stage};
use broker_core::event::Outcome;
use broker_core::journal::{EndReason, Unaccepted};
use broker_core::limits::{FAULT_REORDER_MS, FAULTS_DUE_PER_TICK};
use broker_core::shard::{DeliveryAct, FaultAct, MessageAct, SessionAct};
use codec::signal::Action;
use std::collections::VecDeque;

/// An action that is due at some time.
pub(crate) enum Later {
    /// A message, and behind whose next one it goes if that is earlier.
    Message(Passing, Option<ConnId>),
    Close(ConnId, u16, String),
}

impl Model {
    /// Applies faults to a message that came in; true when it is dealt with.
    pub(crate) fn disturb_message(&mut self, passing: &Passing, to: Option<ConnId>) -> bool {
        if self.rules.is_empty() {
            return false;
        }
        let home = self.channels[passing.channel].home;
        let peer = Some(passing.sender.as_deref());
        let arrivals = |act: &FaultAct| matches!(act, FaultAct::Message(_));
        let act = self.fault_of(passing.channel, peer, passing.action, arrivals);
        match act {
            Some(FaultAct::Message(MessageAct::Misdirect(viewer))) => {
                let mut passing = passing.clone();
                self.misdirected.insert(passing.payload.clone());
                match &mut passing.sender {
                    Some(sender) => *sender = viewer.into(),
                    None => passing.recipient = viewer.into(),
                }
                self.set_out(&passing, Self::disturb_route);
                true
            }
            Some(FaultAct::Message(MessageAct::Session(act))) => {
                if !self.disturb_route(passing, to) {
                    self.goes(passing, to);
                }
                self.act_on_session(passing.from.expect("it comes from a connection"), &act);
                true
            }
            Some(FaultAct::Message(act)) => {
                self.disturb_arrival(home, passing, act);
                true
            }
            _ => self.disturb_route(passing, to),
        }
    }

    /// Applies faults to the delivery of a message that came in; true when it is dealt with.
    fn disturb_route(&mut self, passing: &Passing, to: Option<ConnId>) -> bool {
        let home = self.channels[passing.channel].home;
        let Some(to) = to else {
            return false;
        };
        match self.delivery_fault(passing.channel, passing.viewer(), passing.action) {
            Some(DeliveryAct::Drop) => self.end(home, passing.action, Outcome::Withdrawn),
            Some(DeliveryAct::Delay(ms)) => self.hold(passing.clone(), self.now + ms, None),
            Some(DeliveryAct::Reorder) => {
                self.hold(passing.clone(), self.now + FAULT_REORDER_MS, Some(to));
            }
            Some(DeliveryAct::Duplicate) => {
                self.twice.insert(passing.payload.clone());
                let number = self.number(passing);
                self.deliver_or_refuse(to, number, passing);
                self.copy(to, number);
            }
            Some(DeliveryAct::Corrupt(_)) => unreachable!("no script spoils messages"),
            Some(DeliveryAct::Session(act)) => {
                let held = self.take_behind(home, to);
                let number = self.number(passing);
                self.deliver_or_refuse(to, number, passing);
                self.act_on_session(to, &act);
                if let Some(held) = held {
                    self.release(held);
                }
            }
            None => {
                let Some(held) = self.take_behind(home, to) else {
                    return false;
                };
                let number = self.number(passing);
                self.deliver_or_refuse(to, number, passing);
                self.release(held);
            }
        }
        true
    }

    fn disturb_arrival(&mut self, home: usize, passing: &Passing, act: MessageAct) {
        match act {
            MessageAct::Drop => self.end(home, passing.action, Outcome::Withdrawn),
            MessageAct::Expire => self.end(home, passing.action, Outcome::Expired),
            MessageAct::Status {
                error_type,
                status_code,
                description,
            } => {
                self.unaccepted(home, passing.action, Unaccepted::FaultInjected);
                let told = (&*error_type, status_code, &*description);
                self.status_of(passing, told);
            }
            MessageAct::Delay(ms) => self.hold(passing.clone(), self.now + ms, None),
            MessageAct::Misdirect(_) | MessageAct::Session(_) => unreachable!("they go on"),
        }
    }

    fn delivery_fault(
        &mut self,
        channel: usize,
        viewer: Option<&str>,
        action: Action,
    ) -> Option<DeliveryAct> {
        let deliveries = |act: &FaultAct| matches!(act, FaultAct::Delivery(_));
        match self.fault_of(channel, Some(viewer), action, deliveries)? {
            FaultAct::Delivery(act) => Some(act),
            _ => None,
        }
    }

    fn fault_of(
        &mut self,
        channel: usize,
        peer: Option<Option<&str>>,
        action: Action,
        kind: impl Fn(&FaultAct) -> bool,
    ) -> Option<FaultAct> {
        let name = self.channels[channel].name.clone();
        let subject = Subject {
            channel: Some(&name),
            peer,
            operation: None,
            action: Some(action),
        };
        self.fault(kind, &subject).map(|(_, act)| act)
    }

    /// Applies faults to kept messages that go to a connection; returns those that are left, in their new order, some
    /// with a copy, and what is done to the connection then.
    pub(crate) fn disturb_kept(
        &mut self,
        to: ConnId,
        channel: usize,
        viewer: Option<&str>,
        all: Vec<usize>,
    ) -> (Vec<(usize, bool)>, Vec<SessionAct>) {
        let (mut going, mut behind, mut acts) = (Vec::new(), VecDeque::new(), Vec::new());
        let home = self.channels[channel].home;
        for number in all {
            let action = self.messages[number].action;
            if self.messages[number].call {
                going.push((number, false));
                continue;
            }
            match self.delivery_fault(channel, viewer, action) {
                Some(DeliveryAct::Drop) => {
                    self.met("scripted: kept message dropped");
                    self.end(home, action, Outcome::Withdrawn);
                }
                Some(DeliveryAct::Delay(ms)) => {
                    self.met("scripted: kept message delayed");
                    self.hold(self.passing_of(channel, number), self.now + ms, None);
                }
                Some(DeliveryAct::Duplicate) => {
                    self.met("scripted: kept message doubled");
                    self.twice.insert(self.messages[number].payload.clone());
                    going.push((number, true));
                }
                Some(DeliveryAct::Reorder) => {
                    self.met("scripted: kept message swapped");
                    self.twice.insert(self.messages[number].payload.clone());
                    behind.push_back(number);
                }
                Some(DeliveryAct::Corrupt(_)) => unreachable!("no script spoils messages"),
                act => {
                    if let Some(DeliveryAct::Session(act)) = act {
                        self.met("scripted: kept message ended or changed a session");
                        acts.push(act);
                    }
                    going.push((number, false));
                    going.extend(behind.pop_front().map(|number| (number, false)));
                }
            }
        }
        for number in behind {
            let held = self.passing_of(channel, number);
            self.hold(held, self.now + FAULT_REORDER_MS, Some(to));
        }
        (going, acts)
    }

    fn passing_of(&self, channel: usize, number: usize) -> Passing {
        let message = &self.messages[number];
        let viewer = message.viewer.clone();
        let (sender, recipient) = if message.to_master {
            (Some(viewer), String::new())
        } else {
            (None, viewer)
        };
        Passing {
            from: None,
            held_from: None,
            channel,
            by: message.by,
            first: message.first,
            sender,
            recipient,
            action: message.action,
            payload: message.payload.clone(),
            correlation: None,
            expires: message.expires,
        }
    }

    /// Holds a message back.
    fn hold(&mut self, passing: Passing, until: u64, behind: Option<ConnId>) {
        let home = self.channels[passing.channel].home;
        self.twice.insert(passing.payload.clone());
        let passing = Passing {
            from: None,
            held_from: passing.from.or(passing.held_from),
            ..passing
        };
        self.put_off(home, until, Later::Message(passing, behind));
    }

    /// Something happens later.
    pub(crate) fn put_off(&mut self, shard: usize, until: u64, what: Later) {
        let shard = &mut self.shards[shard];
        shard.serial += 1;
        shard.later.insert((until, shard.serial), what);
    }

    /// The message that waits for the next one to this connection.
    fn take_behind(&mut self, shard: usize, to: ConnId) -> Option<Passing> {
        self.take_held(shard, |_, behind| behind == Some(to))
    }

    fn take_held(
        &mut self,
        shard: usize,
        which: impl Fn(&Passing, Option<ConnId>) -> bool,
    ) -> Option<Passing> {
        let later = &mut self.shards[shard].later;
        let meant = |what: &Later| match what {
            Later::Message(held, behind) => which(held, *behind),
            Later::Close(..) => false,
        };
        let place = later.iter().find(|(_, what)| meant(what))?;
        let place = *place.0;
        match later.remove(&place)? {
            Later::Message(held, _) => Some(held),
            Later::Close(..) => None,
        }
    }

    /// Messages of a channel that are held back are withdrawn.
    pub(crate) fn withdraw_held(&mut self, channel: usize) {
        let home = self.channels[channel].home;
        while let Some(held) = self.take_held(home, |held, _| held.channel == channel) {
            self.met("scripted: held message withdrawn");
            self.end(home, held.action, Outcome::Withdrawn);
        }
    }

    /// The number of messages that a shard holds back.
    pub(crate) fn held(&self, shard: usize) -> usize {
        let messages = self.shards[shard].later.values();
        messages
            .filter(|what| matches!(what, Later::Message(..)))
            .count()
    }

    /// A message that was held back goes on, as if it came now.
    fn release(&mut self, held: Passing) {
        if !self.channels[held.channel].alive {
            self.met("scripted: held message outlived its channel");
            let home = self.channels[held.channel].home;
            return self.end(home, held.action, Outcome::Withdrawn);
        }
        let due = self.member_is_due(held.channel) || self.offer_is_due(held.channel);
        if self.out.ticks && due {
            self.give_up(); // that first, or this
        }
        self.hand_on(&held);
    }

    /// The same message once more, where there is room.
    pub(super) fn copy(&mut self, to: ConnId, number: usize) {
        let conn = &self.conns[to];
        let bytes = self.messages[number].bytes();
        let all = self.shards[conn.shard].outbox_bytes;
        let shard_full = all + bytes > self.settings.outbox_bytes_of_shard();
        let full = shard_full || self.kept_bytes(to) + bytes > self.settings.limits.outbox_bytes;
        if matches!(conn.stage, Stage::Open) && !full {
            self.queue(to, number, false, false);
        }
    }

    /// Puts a kept message into an outbox, some twice.
    pub(crate) fn queue_kept(&mut self, to: ConnId, number: usize, twice: bool) {
        self.queue(to, number, true, false);
        if twice {
            self.copy(to, number);
        }
    }

    /// A message that goes to its recipient, or is refused.
    pub(crate) fn deliver_or_refuse(&mut self, to: ConnId, number: usize, passing: &Passing) {
        // The time of a message that was held back says nothing.
        let timed = passing.from.is_some();
        if let Err(Full) = self.deliver(to, passing.channel, number, timed) {
            let shard = self.conns[to].shard;
            if self.out.ticks && self.outboxes_due(shard) > 0 {
                self.give_up(); // what it holds goes first, or this
            }
            self.refuse_for_room(passing);
        }
    }

    /// Nothing is sent to a connection until then.
    pub(crate) fn mute(&mut self, id: ConnId, until: u64) {
        let mute = &mut self.conns[id].mute;
        *mute = Some(mute.map_or(until, |other| other.max(until)));
    }

    /// Whether nothing of a connection is due, since it is sent nothing.
    pub(crate) fn stands_still(&self, id: ConnId) -> bool {
        let conn = &self.conns[id];
        let waits = match conn.stage {
            Stage::Ending(since) => since != NEVER && conn.deferred,
            Stage::AwaitEcho(..) | Stage::Gone => false,
            _ => true,
        };
        conn.mute.is_some() && waits
    }

    /// Until when its end waits for its answers.
    pub(crate) fn defers_end(&self, id: ConnId) -> Option<u64> {
        self.conns[id].mute.filter(|until| *until != NEVER)
    }

    /// Releases all that faults held back until now.
    pub(crate) fn end_waits(&mut self, shard: usize) {
        for _ in 0..FAULTS_DUE_PER_TICK {
            let later = &mut self.shards[shard].later;
            let Some(first) = later.first_entry().filter(|it| it.key().0 <= self.now) else {
                break;
            };
            match first.remove() {
                Later::Message(held, _) => self.release(held),
                Later::Close(id, code, reason) => {
                    let open = matches!(self.conns[id].stage, Stage::Open);
                    if open && (self.ends_by_itself(id) || self.may_return(id)) {
                        self.give_up(); // for which reason, or whether it had its slot again
                    }
                    self.close_ws(id, code, &reason, EndReason::Operator);
                }
            }
        }
        let now = self.now;
        let due = |conn: &super::Conn| conn.mute.is_some_and(|until| until <= now);
        let conns = self.conns.iter().enumerate();
        let mut over: Vec<_> = conns
            .filter(|(_, conn)| conn.live && conn.shard == shard && due(conn))
            .map(|(id, conn)| (conn.key, id))
            .collect();
        over.sort_unstable();
        for (_, id) in over.into_iter().take(FAULTS_DUE_PER_TICK) {
            self.unmute(id);
        }
    }

    fn unmute(&mut self, id: ConnId) {
        self.met("scripted: silence over");
        let (now, keep_alive) = (self.now, self.settings.timeouts.keep_alive_ms);
        self.out.touched.insert(id);
        let conn = &mut self.conns[id];
        (conn.mute, conn.unmuted) = (None, now);
        match conn.stage {
            Stage::AwaitTls
            | Stage::AwaitHead
            | Stage::AwaitBody(_)
            | Stage::AwaitReply(_)
            | Stage::AwaitHandover(..) => {
                conn.untaken = conn.untaken.map(|_| now);
                conn.deadline = conn.deadline.max(now + keep_alive);
                if conn.partial || !conn.pieces.is_empty() {
                    self.answered.push_back(id);
                }
            }
            Stage::Ending(since) if since != NEVER && conn.deferred => {
                (conn.deferred, conn.stage) = (false, Stage::Ending(now));
                self.out.closes.push(id);
            }
            Stage::Open | Stage::AwaitEcho(..) | Stage::Ending(_) | Stage::Gone => {}
        }
    }

    /// A test ends the channels of a shard whose names begin with this: how many connections are closed, channels end,
    /// are left for a later step, and are ending.
    pub(crate) fn reset(&mut self, shard: usize, prefix: &str) -> [usize; 4] {
        let conns = self.conns.iter().enumerate();
        let mut here: Vec<_> = conns
            .filter(|(_, conn)| conn.live && conn.shard == shard)
            .map(|(id, conn)| (conn.key, id))
            .collect();
        here.sort_unstable();
        for &(_, id) in here.iter().filter(|_| prefix.is_empty()) {
            if self.stands_still(id) && self.conns[id].ws.is_none() {
                self.met("scripted: request ended by a reset");
                self.conns[id].mute = None;
                self.hang_up(id);
                self.note_unanswered(id);
                self.abort(id);
            }
        }
        let meant =
            |one: &super::Channel| one.alive && one.home == shard && one.name.starts_with(prefix);
        let mut channels: Vec<usize> = (0..self.channels.len()).collect();
        channels.retain(|&channel| meant(&self.channels[channel]));
        channels.sort_unstable_by_key(|&channel| {
            let one = &self.channels[channel];
            (one.account.clone(), one.name.clone())
        });
        let (mut connections, mut ended, mut left) = (0, 0, 0);
        for channel in channels {
            let conns = &self.conns;
            let of = |id: usize| conns[id].ws.as_ref().map(|ws| ws.channel) == Some(channel);
            let open = |id: usize| of(id) && matches!(conns[id].stage, Stage::Open);
            let members = here.iter().map(|(_, id)| *id).filter(|id| open(*id));
            let members: Vec<_> = members.collect();
            connections += members.len();
            for id in members {
                self.conns[id].mute = None;
                self.close_ws(id, 1001, "Channel deleted", EndReason::ChannelDeleted);
            }
            self.withdraw_held(channel);
            if self.end_by_reset(channel) {
                ended += 1;
            } else {
                left += 1;
            }
        }
        let deleting = self.channels.iter().filter(|one| {
            let deleting = one.life == super::changes::Life::Deleting;
            meant(one) && deleting
        });
        [connections, ended, left, deleting.count()]
    }
}
