//! SendAlexaOfferToMaster calls that wait for the master's answer: codec/PROTOCOL.md, ALEXA.
//!
//! A call keeps its offer as a whole frame until it ends: a master that goes before it answered leaves the offer to
//! the next.

use crate::channel::rare::Rare;
use crate::id::{CallRef, SessionKey};
use crate::time::Now;

/// A call without an answer.
#[derive(Clone, Debug)]
pub(crate) struct Waiting {
    /// The call that is to be answered.
    pub caller: CallRef,
    /// The sender's id, which the master answers to.
    pub sender: Box<str>,
    /// When it is answered with nothing.
    pub expires: Now,
    /// The offer's place in the channel's order of acceptance.
    pub order: u64,
    /// The offer as the master gets it.
    pub frame: Box<[u8]>,
    /// The master in whose outbox it is, or that got it and may answer. `None`: it waits for the next one.
    pub given: Option<SessionKey>,
    /// Masters that had it and gave way to another one: they do not get it twice. As many as may be superseded.
    pub had: Vec<SessionKey>,
    /// Some master got it whole. Giving it again counts nothing.
    pub delivered: bool,
}

impl Waiting {
    /// A master has it, and gave way to another one.
    pub(crate) fn was_had(&mut self, by: SessionKey) {
        if !self.had.contains(&by) {
            self.had.push(by);
        }
    }

    /// Whether no outbox ever had its offer: then that has no end of its own.
    pub(crate) fn never_left(&self) -> bool {
        self.given.is_none() && !self.delivered
    }
}

/// The calls of one channel, oldest first. At most one per sender.
#[derive(Debug, Default)]
pub(crate) struct Calls(Rare<Waiting>);

impl Calls {
    /// Whether none waits.
    #[must_use]
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The number of waiting calls.
    #[must_use]
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// A new call waits. The caller has taken an older one of the same sender out before.
    pub(crate) fn add(&mut self, call: Waiting) {
        debug_assert!(self.of(&call.sender).is_none());
        self.0.push(call);
    }

    /// The call that waits for an answer to `sender`.
    #[must_use]
    pub(crate) fn of(&self, sender: &str) -> Option<&Waiting> {
        self.0.iter().find(|call| *call.sender == *sender)
    }

    /// Takes that call out: it ends.
    pub(crate) fn take(&mut self, sender: &str) -> Option<Waiting> {
        let place = self.0.iter().position(|call| *call.sender == *sender)?;
        Some(self.0.remove(place))
    }

    /// Takes a caller's call out: the caller hung up.
    pub(crate) fn take_of_caller(&mut self, caller: CallRef) -> Option<Waiting> {
        let place = self.0.iter().position(|call| call.caller == caller)?;
        Some(self.0.remove(place))
    }

    /// Takes the call whose offer has this place in the order out.
    pub(crate) fn take_of_order(&mut self, order: u64) -> Option<Waiting> {
        let place = self.0.iter().position(|call| call.order == order)?;
        Some(self.0.remove(place))
    }

    /// Takes one call that expired by `now` out.
    pub(crate) fn take_expired(&mut self, now: Now) -> Option<Waiting> {
        let place = self.0.iter().position(|call| call.expires <= now)?;
        Some(self.0.remove(place))
    }

    /// Takes any call out: the channel ends.
    pub(crate) fn take_any(&mut self) -> Option<Waiting> {
        let last = self.0.len().checked_sub(1)?;
        Some(self.0.remove(last))
    }

    /// The call whose offer has this place in the order.
    pub(crate) fn by_order(&mut self, order: u64) -> Option<&mut Waiting> {
        self.0.iter_mut().find(|call| call.order == order)
    }

    /// All of them.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Waiting> {
        self.0.iter()
    }

    /// All of them, to be given to a master.
    pub(crate) fn all(&mut self) -> impl Iterator<Item = &mut Waiting> {
        self.0.iter_mut()
    }

    /// When the next one expires.
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
        assert_eq!(
            calls
                .take_of_caller(call("x", 3).caller)
                .map(|call| call.order),
            Some(3)
        );
        assert_eq!(calls.next_expiry(), Some(Now(1)));
        assert_eq!(calls.take_expired(Now(1)).map(|call| call.order), Some(1));
        assert!(calls.take_expired(Now(1)).is_none());
        assert_eq!(calls.take("d").map(|call| call.order), Some(4));
        assert_eq!((calls.len(), calls.is_empty()), (1, false));
        assert!(calls.take_of_order(4).is_none());
        assert_eq!(calls.take_of_order(2).map(|call| call.order), Some(2));
    }
}
