//! Calls that wait for the master's answer: SendAlexaOfferToMaster requests and players' calls. See codec/PROTOCOL.md,
//! ALEXA and WHEP.
//!
//! A call stores its offer as a complete frame until the call ends. If a master leaves before it has answered, the next
//! master receives the offer.

use crate::channel::players::Player;
use crate::channel::rare::Rare;
use crate::id::{CallRef, SessionKey};
use crate::time::Now;

#[derive(Debug)]
pub(crate) struct Waiting {
    pub caller: CallRef,
    /// The sender id of the offer. The master's answer names this id as its recipient.
    pub sender: Box<str>,
    /// When the call times out. The caller then receives an empty response.
    pub expires: Now,
    /// The call's number in the channel's order of acceptance.
    pub order: u64,
    pub frame: Box<[u8]>,
    /// The master that has received the offer or has it in its outbox; `None` while the call waits for the next master.
    pub given: Option<SessionKey>,
    /// Superseded masters that have already received the offer. It is not sent to them again. The maximum number of
    /// superseded connections limits the length of the list.
    pub had: Vec<SessionKey>,
    /// Whether a master has received the complete offer. Used to count the offer only once.
    pub delivered: bool,
    /// State of a player's call; `None` for an Alexa call, which ends when the answer arrives.
    pub player: Option<Box<Player>>,
}

/// The kind of a call. Each kind has its own limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CallKind {
    Alexa,
    Player,
}

impl CallKind {
    pub(crate) fn of(player: &Option<Box<Player>>) -> Self {
        match player {
            None => Self::Alexa,
            Some(_) => Self::Player,
        }
    }
}

impl Waiting {
    pub(crate) fn was_had(&mut self, by: SessionKey) {
        if !self.had.contains(&by) {
            self.had.push(by);
        }
    }

    pub(crate) fn kind(&self) -> CallKind {
        CallKind::of(&self.player)
    }

    /// Returns `true` if the call waits for a master: the current master does not have the offer, and no master has
    /// answered.
    pub(crate) fn awaits_master(&self) -> bool {
        let player = self.player.as_deref();
        self.given.is_none() && player.is_none_or(|player| !player.has_answer())
    }

    /// Returns `true` if the offer has never been put into an outbox. In that case, its outcome has not been counted
    /// yet.
    pub(crate) fn never_left(&self) -> bool {
        self.given.is_none() && !self.delivered
    }
}

/// The calls of one channel, oldest first. Each sender has at most one.
#[derive(Debug, Default)]
pub(crate) struct Calls(Rare<Waiting>);

impl Calls {
    #[must_use]
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    #[must_use]
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Adds a call. The caller must have removed the sender's previous call.
    pub(crate) fn add(&mut self, call: Waiting) {
        debug_assert!(self.of(&call.sender).is_none());
        self.0.push(call);
    }

    #[must_use]
    pub(crate) fn of(&self, sender: &str) -> Option<&Waiting> {
        self.0.iter().find(|call| *call.sender == *sender)
    }

    pub(crate) fn of_mut(&mut self, sender: &str) -> Option<&mut Waiting> {
        self.0.iter_mut().find(|call| *call.sender == *sender)
    }

    pub(crate) fn take(&mut self, sender: &str) -> Option<Waiting> {
        let place = self.0.iter().position(|call| *call.sender == *sender)?;
        Some(self.0.remove(place))
    }

    pub(crate) fn take_of_caller(&mut self, caller: CallRef) -> Option<Waiting> {
        let place = self.0.iter().position(|call| call.caller == caller)?;
        Some(self.0.remove(place))
    }

    pub(crate) fn take_of_order(&mut self, order: u64) -> Option<Waiting> {
        let place = self.0.iter().position(|call| call.order == order)?;
        Some(self.0.remove(place))
    }

    pub(crate) fn take_expired(&mut self, now: Now) -> Option<Waiting> {
        let place = self.0.iter().position(|call| call.expires <= now)?;
        Some(self.0.remove(place))
    }

    pub(crate) fn take_any(&mut self) -> Option<Waiting> {
        let last = self.0.len().checked_sub(1)?;
        Some(self.0.remove(last))
    }

    pub(crate) fn by_order(&mut self, order: u64) -> Option<&mut Waiting> {
        self.0.iter_mut().find(|call| call.order == order)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Waiting> {
        self.0.iter()
    }

    pub(crate) fn all(&mut self) -> impl Iterator<Item = &mut Waiting> {
        self.0.iter_mut()
    }

    #[must_use]
    pub(crate) fn next_expiry(&self) -> Option<Now> {
        self.0.iter().map(|call| call.expires).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::ShardId;

    fn call(sender: &str, order: u64) -> Waiting {
        let caller = CallRef {
            shard: ShardId(0),
            session: SessionKey::new(1, 1),
            serial: u32::try_from(order).unwrap(),
            account: crate::id::Account(0),
            change: false,
        };
        let frame = Box::default();
        Waiting {
            caller,
            sender: sender.into(),
            expires: Now(order),
            order,
            frame,
            given: None,
            had: Vec::new(),
            delivered: false,
            player: None,
        }
    }

    #[test]
    fn calls_are_found_by_sender_caller_order_and_time() {
        let mut calls = Calls::default();
        for (order, sender) in [(1, "a"), (2, "b"), (3, "c"), (4, "d")] {
            calls.add(call(sender, order));
        }
        assert_eq!(calls.of("b").map(|call| call.order), Some(2));
        assert_eq!(calls.by_order(3).map(|call| &*call.sender), Some("c"));
        let found = calls
            .take_of_caller(call("x", 3).caller)
            .map(|call| call.order);
        assert_eq!(found, Some(3));
        assert_eq!(calls.next_expiry(), Some(Now(1)));
        assert_eq!(calls.take_expired(Now(1)).map(|call| call.order), Some(1));
        assert!(calls.take_expired(Now(1)).is_none());
        assert_eq!(calls.take("d").map(|call| call.order), Some(4));
        assert_eq!((calls.len(), calls.is_empty()), (1, false));
        assert!(calls.take_of_order(4).is_none());
        assert_eq!(calls.take_of_order(2).map(|call| call.order), Some(2));
    }
}
