//! The things that faults hold back: messages, close frames, and everything that a connection would be sent.

use crate::id::{ChannelKey, SessionKey};
use crate::limits::{FAULT_HELD_BYTES_MAX, FAULT_HELD_MAX};
use crate::session::NEVER;
use crate::session::outbox::Launch;
use crate::shard::dev::faults::rule::FaultCounts;
use crate::time::Now;
use std::collections::BTreeMap;

/// A message that is delivered later.
#[derive(Debug)]
pub(crate) struct HeldMessage {
    /// The connection that sent it; `None` when it was kept, which forgets that.
    pub(crate) from: Option<SessionKey>,
    pub(crate) channel: ChannelKey,
    /// The viewer that sent it; `None` for the master.
    pub(crate) viewer: Option<Box<str>>,
    pub(crate) launch: Launch,
    pub(crate) payload: Box<[u8]>,
    pub(crate) recipient: Box<str>,
    /// It is delivered after the next message for this connection, if that is earlier.
    pub(crate) behind: Option<SessionKey>,
}

/// A thing that is due at some time.
#[derive(Debug)]
pub(crate) enum Later {
    Message(HeldMessage),
    Close {
        session: SessionKey,
        code: u16,
        reason: Box<str>,
    },
}

/// All of it, by when it is due.
#[derive(Debug, Default)]
pub(crate) struct Held {
    later: BTreeMap<(Now, u64), Later>,
    /// Numbers those of one moment.
    serial: u64,
    messages: usize,
    bytes: usize,
    /// Connections that are sent nothing, and until when.
    mutes: BTreeMap<SessionKey, Now>,
}

impl Held {
    /// Holds a message back; false, and counted, when there is no room.
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

    /// A close frame is sent at this moment.
    pub(crate) fn close_at(&mut self, at: Now, session: SessionKey, code: u16, reason: Box<str>) {
        self.put(
            at,
            Later::Close {
                session,
                code,
                reason,
            },
        );
    }

    fn put(&mut self, at: Now, what: Later) {
        self.serial += 1;
        self.later.insert((at, self.serial), what);
    }

    /// The next thing that is due.
    pub(crate) fn take_due(&mut self, now: Now) -> Option<Later> {
        let (&(at, serial), _) = self.later.first_key_value()?;
        if at > now {
            return None;
        }
        self.take((at, serial))
    }

    /// Whether nothing is held back.
    pub(crate) fn is_empty(&self) -> bool {
        self.later.is_empty() && self.mutes.is_empty()
    }

    /// The message that waits for the next one to this connection.
    pub(crate) fn take_behind(&mut self, session: SessionKey) -> Option<HeldMessage> {
        self.take_message(|message| message.behind == Some(session))
    }

    /// A message of this channel.
    pub(crate) fn take_of(&mut self, channel: ChannelKey) -> Option<HeldMessage> {
        self.take_message(|message| message.channel == channel)
    }

    fn take_message(&mut self, which: impl Fn(&HeldMessage) -> bool) -> Option<HeldMessage> {
        let meant = |what: &Later| match what {
            Later::Message(message) => which(message),
            Later::Close { .. } => false,
        };
        let mut all = self.later.iter();
        let place = all.find(|(_, what)| meant(what)).map(|(place, _)| *place)?;
        match self.take(place)? {
            Later::Message(message) => Some(message),
            Later::Close { .. } => None,
        }
    }

    fn take(&mut self, place: (Now, u64)) -> Option<Later> {
        let what = self.later.remove(&place)?;
        if let Later::Message(message) = &what {
            self.messages -= 1;
            self.bytes -= message.bytes();
        }
        Some(what)
    }

    /// Nothing is sent to this connection until then, or until what another fault has said. Returns when.
    pub(crate) fn mute(&mut self, session: SessionKey, until: Now) -> Now {
        let mute = self.mutes.entry(session).or_insert(until);
        *mute = until.max(*mute);
        *mute
    }

    /// A connection that is sent something again.
    pub(crate) fn take_unmuted(&mut self, now: Now) -> Option<SessionKey> {
        let over = self.mutes.iter().find(|(_, until)| **until <= now);
        let session = over.map(|(session, _)| *session)?;
        self.forget(session);
        Some(session)
    }

    /// Forgets the connections that are not there any more.
    pub(crate) fn forget_gone(&mut self, is_there: impl Fn(SessionKey) -> bool) {
        self.mutes.retain(|session, _| is_there(*session));
    }

    /// A connection is gone, or mute no longer.
    pub(crate) fn forget(&mut self, session: SessionKey) {
        self.mutes.remove(&session);
    }

    /// When something is due.
    pub(crate) fn next(&self) -> Option<Now> {
        let later = self.later.first_key_value().map(|(&(at, _), _)| at);
        let mutes = self.mutes.values().copied().min();
        let next = later.into_iter().chain(mutes).min();
        next.filter(|next| *next != NEVER)
    }
}

impl HeldMessage {
    fn bytes(&self) -> usize {
        let viewer = self.viewer.as_ref().map_or(0, |viewer| viewer.len());
        size_of::<Self>() + self.payload.len() + self.recipient.len() + viewer
    }
}

#[cfg(test)]
mod tests {

    use super::*;
    use codec::signal::Action;

    fn message(behind: Option<SessionKey>, bytes: usize) -> HeldMessage {
        HeldMessage {
            from: None,
            channel: ChannelKey::new(0, 0),
            viewer: None,
            launch: Launch {
                action: Action::SdpOffer,
                expires: NEVER,
                order: 1,
                sender_bytes: 0,
                call: false,
                counted: true,
                accepted_us: None,
            },
            payload: vec![b'A'; bytes].into(),
            recipient: "v1".into(),
            behind,
        }
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
            held.take_behind(session).map(|it| it.payload.len()),
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
        assert_eq!(held.take_unmuted(Now(4)), None);
        assert_eq!(held.take_unmuted(Now(5)), Some(one));
        assert_eq!((held.take_unmuted(Now(5)), held.next()), (None, None));
        assert_eq!(held.mute(other, Now(9)), NEVER);
        held.forget(other);
        assert_eq!(held.mute(other, Now(9)), Now(9));
    }
}
