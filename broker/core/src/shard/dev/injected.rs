//! A shard's active faults and what they delay: messages, close frames, and the data of muted connections.

use crate::id::{ChannelKey, SessionKey};
use crate::limits::{FAULT_HELD_BYTES_MAX, FAULT_HELD_MAX, FAULTS_DUE_PER_TICK, FAULTS_MAX};
use crate::shard::dev::faults::{FaultAct, FaultCounts, FaultSubject, SessionAct, SharedRule};
use crate::shard::todo::Deferred;
use crate::{session::NEVER, time::Now};
use std::collections::BTreeMap;

/// A shard's active faults, and the messages and actions that they delay.
#[derive(Debug, Default)]
pub(crate) struct InjectedFaults {
    /// Rules in order of creation, each with its expiry time.
    pub(crate) rules: Vec<(Now, SharedRule)>,
    pub(crate) held: Held,
}

impl InjectedFaults {
    /// Adds a rule. There is always room, because the side thread creates at most [`FAULTS_MAX`] rules.
    pub(crate) fn add(&mut self, rule: SharedRule, now: Now) {
        self.rules
            .retain(|(end, rule)| *end > now && !rule.is_spent());
        if self.rules.len() < FAULTS_MAX {
            let end = rule.lasts_ms.map_or(NEVER, |ms| now.after(ms));
            self.rules.push((end, rule));
        }
    }

    /// Finds the first matching rule that has this kind of action and must act, and returns its action and the rule.
    /// Counts a match for this rule and for every matching rule before it.
    pub(crate) fn pick<Act: Clone>(
        &self,
        kind: fn(&FaultAct) -> Option<&Act>,
        subject: &FaultSubject<'_>,
        now: Now,
    ) -> Option<(Act, SharedRule)> {
        self.rules.iter().find_map(|(end, rule)| {
            let act = kind(&rule.act).filter(|_| *end > now)?;
            let acts = !rule.is_spent() && rule.matches.covers(subject) && rule.hit();
            acts.then(|| (act.clone(), rule.clone()))
        })
    }
}

/// A message whose delivery is delayed.
#[derive(Debug)]
pub(crate) struct HeldMessage {
    /// The delayed message. If it was pending before, its `from` does not refer to a session, and only its delivery
    /// mark identifies the sender's connection.
    pub(crate) message: Deferred,
    /// If set, the message is sent right after the next message to this connection, or when the delay ends, whichever
    /// is earlier.
    pub(crate) behind: Option<SessionKey>,
}

/// Work that the `--dev` interposer defers, either to the end of the current step or to a specific time.
#[derive(Debug)]
pub(crate) enum Later {
    /// Forwards a message that a fault has delayed.
    Message(HeldMessage),
    /// Sends a close frame to a connection.
    Close {
        session: SessionKey,
        code: u16,
        reason: Box<str>,
    },
    /// Checks an admitted connection against the strict profile, and applies session faults to it.
    Joined(SessionKey),
    /// Sends a second copy of a message to this connection.
    SendAgain(Deferred, SessionKey),
    /// Performs an action on a connection, as requested by a fault that matched a message.
    Act(SessionKey, SessionAct),
}

/// Everything that faults delay on a shard, ordered by due time.
#[derive(Debug, Default)]
pub(crate) struct Held {
    later: BTreeMap<(Now, u64), Later>,
    /// Sequence number of the newest item. Items with the same due time are ordered by sequence number.
    serial: u64,
    messages: usize,
    bytes: usize,
    /// Muted connections, each with the time at which sending resumes.
    pub(crate) mutes: BTreeMap<SessionKey, Now>,
    /// Connections whose peers appear unreachable, each with the time at which they become reachable again.
    pub(crate) half_open: BTreeMap<SessionKey, Now>,
}

impl Held {
    /// Delays a message until `until`. If there is no room for it, counts it as overflowed and returns `false`.
    pub(crate) fn hold(&mut self, message: HeldMessage, until: Now, counts: &FaultCounts) -> bool {
        let bytes = message.bytes();
        if self.messages >= FAULT_HELD_MAX || self.bytes + bytes > FAULT_HELD_BYTES_MAX {
            counts.overflow();
            return false;
        }
        self.messages += 1;
        self.bytes += bytes;
        self.put(until, Later::Message(message));
        true
    }

    /// Schedules a close frame for a connection.
    pub(crate) fn close_at(&mut self, at: Now, session: SessionKey, code: u16, reason: Box<str>) {
        let close = Later::Close {
            session,
            code,
            reason,
        };
        self.put(at, close);
    }

    fn put(&mut self, at: Now, what: Later) {
        self.serial += 1;
        self.later.insert((at, self.serial), what);
    }

    pub(crate) fn take_due(&mut self, now: Now) -> Option<Later> {
        let (&(at, serial), _) = self.later.first_key_value()?;
        if at > now {
            return None;
        }
        self.take((at, serial))
    }

    /// Takes the message that is delayed until another message has been sent to this connection.
    pub(crate) fn take_behind(&mut self, session: SessionKey) -> Option<HeldMessage> {
        self.take_message(|held| held.behind == Some(session))
    }

    /// Takes one of a channel's delayed messages.
    pub(crate) fn take_of(&mut self, channel: ChannelKey) -> Option<HeldMessage> {
        self.take_message(|held| held.message.channel == channel)
    }

    fn take_message(&mut self, which: impl Fn(&HeldMessage) -> bool) -> Option<HeldMessage> {
        let meant = |what: &Later| matches!(what, Later::Message(message) if which(message));
        let mut all = self.later.iter();
        let place = all.find(|(_, what)| meant(what)).map(|(place, _)| *place)?;
        let Some(Later::Message(message)) = self.take(place) else {
            return None;
        };
        Some(message)
    }

    fn take(&mut self, place: (Now, u64)) -> Option<Later> {
        let what = self.later.remove(&place)?;
        if let Later::Message(message) = &what {
            self.messages -= 1;
            self.bytes -= message.bytes();
        }
        Some(what)
    }

    /// Mutes a connection until `until`, or longer if another fault requires it. Returns when sending resumes.
    pub(crate) fn mute(&mut self, session: SessionKey, until: Now) -> Now {
        let mute = self.mutes.entry(session).or_insert(until);
        *mute = until.max(*mute);
        *mute
    }

    /// Removes connections that no longer exist.
    pub(crate) fn forget_gone(&mut self, is_there: impl Fn(SessionKey) -> bool) {
        self.mutes.retain(|session, _| is_there(*session));
        self.half_open.retain(|session, _| is_there(*session));
    }

    /// Removes a connection that has closed or is no longer affected by faults.
    pub(crate) fn forget(&mut self, session: SessionKey) {
        self.mutes.remove(&session);
        self.half_open.remove(&session);
    }

    /// Returns when the next item is due.
    pub(crate) fn next(&self) -> Option<Now> {
        let later = self.later.first_key_value().map(|(&(at, _), _)| at);
        let mutes = self.mutes.values().copied().min();
        let half_open = self.half_open.values().copied().min();
        let next = later.into_iter().chain(mutes).chain(half_open).min();
        next.filter(|next| *next != NEVER)
    }
}

/// Removes and returns connections whose mute or other fault has ended by `now`, up to a limit.
pub(crate) fn take_over(faults: &mut BTreeMap<SessionKey, Now>, now: Now) -> Vec<SessionKey> {
    let over = faults.iter().filter(|(_, until)| **until <= now);
    let over = Vec::from_iter(over.map(|(key, _)| *key).take(FAULTS_DUE_PER_TICK));
    for key in &over {
        faults.remove(key);
    }
    over
}

impl HeldMessage {
    fn bytes(&self) -> usize {
        let message = &self.message;
        let sender = message.sender.as_ref().map_or(0, |sender| sender.len());
        size_of::<Self>() + message.payload.len() + message.recipient.len() + sender
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::outbox::DeliveryMark;
    use codec::signal::Action;

    fn message(behind: Option<SessionKey>, bytes: usize) -> HeldMessage {
        let message = Deferred {
            from: SessionKey::new(0, 0),
            channel: ChannelKey::new(0, 0),
            sender: None,
            launch: DeliveryMark::new(Action::SdpOffer, 1, NEVER, 0),
            payload: vec![b'A'; bytes].into(),
            recipient: "v1".into(),
            correlation_id: None,
        };
        HeldMessage { message, behind }
    }

    #[test]
    fn messages_are_held_up_to_a_number_and_up_to_bytes() {
        let (mut held, counts) = (Held::default(), FaultCounts::default());
        for _ in 0..FAULT_HELD_MAX + 3 {
            held.hold(message(None, 1), Now(5), &counts);
        }
        assert_eq!((held.messages, counts.overflowed()), (FAULT_HELD_MAX, 3));
        while held.take_due(Now(5)).is_some() {}
        assert_eq!((held.messages, held.bytes, held.next()), (0, 0, None));
        for _ in 0..5 {
            held.hold(message(None, 1 << 20), Now(5), &counts);
        }
        assert_eq!((held.messages, counts.overflowed()), (3, 3 + 2));
    }

    #[test]
    fn what_is_due_comes_in_order() {
        let (mut held, counts) = (Held::default(), FaultCounts::default());
        let session = SessionKey::new(7, 0);
        held.close_at(Now(9), session, 1001, "".into());
        held.hold(message(None, 1), Now(5), &counts);
        held.hold(message(Some(session), 2), Now(5), &counts);
        assert_eq!(held.next(), Some(Now(5)));
        assert!(held.take_due(Now(4)).is_none());
        assert!(held.take_behind(SessionKey::new(8, 0)).is_none());
        assert_eq!(
            held.take_behind(session).map(|it| it.message.payload.len()),
            Some(2)
        );
        assert!(matches!(held.take_due(Now(9)), Some(Later::Message(_))));
        assert!(matches!(held.take_due(Now(9)), Some(Later::Close { .. })));
    }

    #[test]
    fn a_mute_connection_is_sent_something_again_when_its_longest_fault_is_over() {
        let mut held = Held::default();
        let (one, other) = (SessionKey::new(1, 0), SessionKey::new(2, 0));
        held.mute(one, Now(5));
        held.mute(other, NEVER);
        assert_eq!(held.mute(one, Now(3)), Now(5), "the longer one counts");
        assert_eq!(held.next(), Some(Now(5)));
        let over = [4, 5, 5].map(|now| take_over(&mut held.mutes, Now(now)));
        assert_eq!(over, [vec![], vec![one], vec![]]);
        assert_eq!(held.next(), None);
        assert_eq!(held.mute(other, Now(9)), NEVER);
        held.forget(other);
        assert_eq!(held.mute(other, Now(9)), Now(9));
    }
}
