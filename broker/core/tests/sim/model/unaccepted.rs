//! Messages that are not accepted: counted by reason, recorded, and logged within the limit of their account.

use super::messages::{self, delivery};
use super::trail::{Passing, What};
use super::{ConnId, Model, Stage};
use broker_core::event::Kind;
use broker_core::id::Account;
use broker_core::journal::{Entry, Unaccepted, UnacceptedMessage};
use broker_core::shard::Passage;
use codec::signal::{Action, Role};

/// Lines about such messages within one second, in all and of one account.
const TOLD: [usize; 2] = [50, 10];

/// The lines about such messages that a shard has logged.
#[derive(Default)]
pub(crate) struct UnacceptedLog {
    /// The second of the last one, and whose were logged in it.
    told: (u64, Vec<String>),
    untold: u64,
}

/// Why a message is not accepted, with its length and, of one that is too long, the limit.
#[derive(Clone, Copy)]
pub(crate) struct Why {
    pub(crate) reason: Unaccepted,
    pub(crate) bytes: usize,
    pub(crate) most: usize,
}

impl Why {
    /// A reason without figures.
    pub(crate) fn plain(reason: Unaccepted) -> Self {
        let (bytes, most) = (0, 0);
        Self {
            reason,
            bytes,
            most,
        }
    }
}

impl Model {
    /// A message of a connection breaks a rule.
    pub(crate) fn decline_faulty(&mut self, id: ConnId, kind: Kind, why: Why) {
        self.decline(id, kind, why, None);
    }

    /// A message that was understood is not accepted.
    pub(crate) fn decline_understood(
        &mut self,
        id: ConnId,
        action: Action,
        payload: &str,
        recipient: &str,
        reason: Unaccepted,
    ) {
        let ws = self.conns[id].ws.as_ref().expect("it was open");
        let delivered = delivery(action, payload, ws.viewer.as_deref());
        let why = Why {
            bytes: crate::sim::wire::frame_bytes(delivered.len()),
            ..Why::plain(reason)
        };
        let named = ws.viewer.is_none().then(|| recipient.to_owned());
        self.decline(id, Kind::Known(action), why, named);
    }

    /// The same of one that was on its way.
    pub(crate) fn decline_passing(&mut self, passing: &messages::Passing, reason: Unaccepted) {
        let Some(from) = passing.from.or(passing.held_from) else {
            let home = self.channels[passing.channel].home;
            return self.unaccepted(home, passing.action, reason);
        };
        let (payload, recipient) = (&passing.payload, &passing.recipient);
        self.decline_understood(from, passing.action, payload, recipient, reason);
    }

    /// A message that has no sender any more is not accepted.
    pub(crate) fn unaccepted(&mut self, shard: usize, action: Action, reason: Unaccepted) {
        let counters = &mut self.shards[shard].counters;
        counters.unaccepted(Kind::Known(action), reason);
    }

    fn decline(&mut self, id: ConnId, kind: Kind, why: Why, viewer: Option<String>) {
        let Why {
            reason,
            bytes,
            most,
        } = why;
        self.met(reason.label());
        let conn = &self.conns[id];
        let (shard, remote) = (conn.shard, conn.remote);
        let gone = matches!(conn.stage, Stage::Gone);
        let ws = conn.ws.as_ref().expect("it was open");
        let (channel, client_id) = (ws.channel, ws.viewer.clone());
        self.shards[shard].counters.unaccepted(kind, reason);
        let passing = Passing {
            action: kind.action(),
            to_master: client_id.is_some(),
            passage: Passage::Unaccepted(reason),
            bytes,
            most,
            from: Some(id),
            to: None,
            viewer,
        };
        self.happens(channel, What::Message(passing));
        if gone {
            return;
        }
        let account = self.channels[channel].account.clone();
        let log = &mut self.shards[shard].unaccepted;
        if log.told.0 != self.now / 1000 {
            log.told = (self.now / 1000, Vec::new());
        }
        let own = log.told.1.iter().filter(|one| **one == account).count();
        if log.told.1.len() == TOLD[0] || own == TOLD[1] {
            log.untold += 1;
            self.shards[shard].counters.log_suppressed += 1;
            return self.met("messages not accepted and not logged");
        }
        log.told.1.push(account);
        let unlogged = std::mem::take(&mut log.untold);
        let role = client_id.as_ref().map_or(Role::Master, |_| Role::Viewer);
        self.note(Entry::Unaccepted(Box::new(UnacceptedMessage {
            channel: self.channels[channel].name.as_str().into(),
            account: Account::of_digits(&self.channels[channel].account),
            role,
            client_id: client_id.map(Into::into),
            remote,
            action: kind.action(),
            reason,
            bytes,
            most,
            unlogged,
        })));
    }
}
