//! Calls that wait for the master's answer: SendAlexaOfferToMaster requests and players' calls. See codec/PROTOCOL.md,
//! ALEXA and WHEP.
//!
//! A call stores its offer as a complete frame until the call ends. If a master leaves before answering, the next
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
    /// Superseded masters that have already received the offer and must not receive it again. The maximum number of
    /// superseded connections bounds the length of the list.
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

    /// Returns `true` if the offer has never been put into an outbox. If so, its outcome has not been counted yet.
    pub(crate) fn never_left(&self) -> bool {
        self.given.is_none() && !self.delivered
    }
}

/// The calls of one channel, oldest first. Each sender has at most one.
pub(crate) type Calls = Rare<Waiting>;

impl Calls {
    /// Adds a call. The caller must have removed the sender's previous call.
    pub(crate) fn add(&mut self, call: Waiting) {
        debug_assert!(self.of(&call.sender).is_none());
        self.push(call);
    }

    #[must_use]
    pub(crate) fn of(&self, sender: &str) -> Option<&Waiting> {
        self.iter().find(|call| *call.sender == *sender)
    }

    pub(crate) fn by_order(&mut self, order: u64) -> Option<&mut Waiting> {
        self.iter_mut().find(|call| call.order == order)
    }

    #[must_use]
    pub(crate) fn next_expiry(&self) -> Option<Now> {
        self.iter().map(|call| call.expires).min()
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
            .take_first(|it| it.caller == call("x", 3).caller)
            .map(|call| call.order);
        assert_eq!(found, Some(3));
        assert_eq!(calls.next_expiry(), Some(Now(1)));
        assert_eq!(
            calls
                .take_first(|it| it.expires <= Now(1))
                .map(|call| call.order),
            Some(1)
        );
        assert!(calls.take_first(|it| it.expires <= Now(1)).is_none());
        assert_eq!(
            calls
                .take_first(|it| *it.sender == *"d")
                .map(|call| call.order),
            Some(4)
        );
        assert_eq!((calls.len(), calls.is_empty()), (1, false));
        assert!(calls.take_first(|it| it.order == 4).is_none());
        assert_eq!(
            calls.take_first(|it| it.order == 2).map(|call| call.order),
            Some(2)
        );
    }
}
