//! One fault as a test describes it: what it is about, what it does, and how often.
//!
//! A rule is the same value on every shard, so that its counts hold for the process.

use crate::shard::Glob;
use crate::shard::dev::faults::error::FaultError;
use codec::control::Operation;
use codec::signal::{Action, Role};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// A fault.
#[derive(Debug)]
pub struct FaultRule {
    /// Which fault it is: the number in its id.
    pub number: u64,
    /// The requests, messages or connections that it is about.
    pub matches: FaultMatch,
    /// Its act.
    pub act: FaultAct,
    /// Matches that it lets pass before the first one it acts on.
    pub skip: u64,
    /// Matches that it acts on; `None` for all.
    pub times: Option<u64>,
    /// It acts on some matches only.
    pub chance: Option<Chance>,
    /// It ends this many milliseconds after it was made.
    pub lasts_ms: Option<u64>,
    /// Its matches and acts so far.
    pub counts: FaultCounts,
}

/// The subjects of a fault: all that is named must agree.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FaultMatch {
    /// The channel's name.
    pub channel: Option<Glob>,
    /// The role: of the client that connects, sends, or receives.
    pub role: Option<Role>,
    /// That client's id; a master has none.
    pub client_id: Option<Glob>,
    /// The operation of a call.
    pub operation: Option<Operation>,
    /// The action of a message.
    pub action: Option<Action>,
}

/// The act of a fault, and its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FaultAct {
    /// To a request for a WebSocket.
    Connect(RequestAct),
    /// To an API call.
    Api(RequestAct),
    /// To a message when it arrives.
    Message(MessageAct),
    /// To a message for a connected recipient.
    Delivery(DeliveryAct),
    /// To an open WebSocket.
    Session(SessionAct),
}

/// An act on a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RequestAct {
    /// It is refused.
    Refuse {
        /// The error.
        error: &'static FaultError,
        /// The HTTP status, unless it is the error's own.
        status: Option<u16>,
        /// The text.
        message: Box<str>,
    },
    /// Its answer leaves this many milliseconds later.
    Delay(u64),
    /// It is never answered.
    Hang,
    /// Its connection is reset.
    Reset,
}

/// An act on a message when it arrives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MessageAct {
    /// It is dropped.
    Drop,
    /// It is delivered this many milliseconds later.
    Delay(u64),
    /// It is refused with a status response, if it has a correlation id.
    Status {
        /// The bare name of the error.
        error_type: Box<str>,
        /// The code.
        status_code: u16,
        /// The text.
        description: Box<str>,
    },
    /// Its time to live is over at once.
    Expire,
    /// Its viewer is another one: a master's message goes to that one, a viewer's comes from it.
    Misdirect(Box<str>),
    /// It goes on; then its sender's WebSocket is acted on.
    Session(SessionAct),
}

/// An act on a message for a connected recipient.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeliveryAct {
    /// It is dropped.
    Drop,
    /// It is delivered this many milliseconds later.
    Delay(u64),
    /// It is sent twice.
    Duplicate,
    /// It is sent after the next one for the same recipient.
    Reorder,
    /// It is sent with this part of it spoiled.
    Corrupt(Corruption),
    /// It is put into its recipient's outbox; then that one's WebSocket is acted on, before anything is sent.
    Session(SessionAct),
}

/// The part of a message that a fault spoils. The message stays as long as it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Corruption {
    /// The payload is base64 of zeros: no JSON.
    Payload,
    /// The payload is not base64.
    Base64,
    /// The text of the message is not JSON.
    Message,
}

/// An act on an open WebSocket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SessionAct {
    /// GO_AWAY, and the close frame some time later.
    GoAway {
        /// Milliseconds that it stays.
        grace_ms: u64,
    },
    /// A close frame.
    Close {
        /// Its code.
        code: u16,
        /// Its text, 123 bytes at most.
        reason: Box<str>,
        /// After this many milliseconds.
        after_ms: u64,
    },
    /// It stays open, and nothing is sent to it any more, no pong either; for this many milliseconds, or until its end.
    Stall(Option<u64>),
    /// RECONNECT_ICE_SERVER.
    ReconnectIce,
    /// A TCP reset: its client sees 1006, the end without a close frame.
    Reset,
}

/// A part of the matches, the same in every run with the same seed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chance {
    /// The seed.
    pub seed: u64,
    /// Of 2³² matches this many are acted on.
    pub of_2_32: u64,
}

/// The matches and acts of a fault so far.
#[derive(Debug, Default)]
pub struct FaultCounts {
    seen: AtomicU64,
    hits: AtomicU64,
    overflowed: AtomicU64,
    ended: AtomicBool,
}

/// A request, message or connection that a fault may be about.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Subject<'a> {
    pub(crate) channel: Option<&'a str>,
    pub(crate) role: Option<Role>,
    pub(crate) client_id: Option<&'a str>,
    pub(crate) operation: Option<Operation>,
    pub(crate) action: Option<Action>,
}

impl DeliveryAct {
    /// The act on the recipient's WebSocket, if it is one.
    pub(crate) fn on_session(&self) -> Option<&SessionAct> {
        match self {
            Self::Session(act) => Some(act),
            Self::Drop | Self::Delay(_) | Self::Duplicate | Self::Reorder | Self::Corrupt(_) => {
                None
            }
        }
    }
}

impl FaultMatch {
    /// Whether all that is named agrees.
    pub(crate) fn covers(&self, subject: &Subject<'_>) -> bool {
        fn same<T: PartialEq>(wanted: Option<&T>, is: Option<&T>) -> bool {
            wanted.is_none_or(|wanted| is == Some(wanted))
        }
        let glob = |wanted: &Option<Glob>, is: Option<&str>| {
            let covers = |glob: &Glob| is.is_some_and(|text| glob.covers(text));
            wanted.as_ref().is_none_or(covers)
        };
        glob(&self.channel, subject.channel)
            && same(self.role.as_ref(), subject.role.as_ref())
            && glob(&self.client_id, subject.client_id)
            && same(self.operation.as_ref(), subject.operation.as_ref())
            && same(self.action.as_ref(), subject.action.as_ref())
    }
}

impl FaultRule {
    /// Counts a match; true when it is to be acted on.
    pub(crate) fn hit(&self) -> bool {
        let counts = &self.counts;
        let number = counts.seen.fetch_add(1, Ordering::Relaxed);
        if number < self.skip || self.chance.is_some_and(|chance| !chance.takes(number)) {
            return false;
        }
        let most = self.times.unwrap_or(u64::MAX);
        let one_more = |hits: u64| (hits < most).then_some(hits + 1);
        let order = Ordering::Relaxed;
        counts.hits.fetch_update(order, order, one_more).is_ok()
    }

    /// Whether it may still act.
    #[must_use]
    pub fn is_spent(&self) -> bool {
        self.counts.ended.load(Ordering::Relaxed)
            || self.times.is_some_and(|times| self.counts.hits() >= times)
    }
}

impl Chance {
    /// This part of all matches, above 0 and up to 1.
    #[must_use]
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "between 0 and 2^32"
    )]
    pub fn new(seed: u64, part: f64) -> Self {
        let of_2_32 = (part.clamp(0.0, 1.0) * 4_294_967_296.0) as u64;
        Self { seed, of_2_32 }
    }

    /// Whether the match of this number is acted on: the last step of the generator SplitMix64.
    fn takes(self, number: u64) -> bool {
        let mut bits = self
            .seed
            .wrapping_add(number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (bits ^ (bits >> 31)) >> 32 < self.of_2_32
    }
}

impl FaultCounts {
    /// Matches acted on.
    #[must_use]
    pub fn hits(&self) -> u64 {
        self.hits.load(Ordering::Relaxed)
    }

    /// Matches of all kinds.
    #[must_use]
    pub fn seen(&self) -> u64 {
        self.seen.load(Ordering::Relaxed)
    }

    /// Messages that should have been held back, for which there was no room.
    #[must_use]
    pub fn overflowed(&self) -> u64 {
        self.overflowed.load(Ordering::Relaxed)
    }

    /// No shard acts on the fault any more.
    pub fn end(&self) {
        self.ended.store(true, Ordering::Relaxed);
    }

    pub(crate) fn overflow(&self) {
        self.overflowed.fetch_add(1, Ordering::Relaxed);
    }
}

/// A rule as shards share it.
pub type SharedRule = Arc<FaultRule>;

#[cfg(test)]
pub(crate) mod tests {

    use super::*;

    pub(crate) fn rule(act: FaultAct) -> FaultRule {
        FaultRule {
            number: 1,
            matches: FaultMatch::default(),
            act,
            skip: 0,
            times: Some(1),
            chance: None,
            lasts_ms: None,
            counts: FaultCounts::default(),
        }
    }

    #[test]
    fn a_rule_acts_after_those_it_skips_as_often_as_it_says() {
        let rule = FaultRule {
            skip: 2,
            times: Some(3),
            ..rule(FaultAct::Message(MessageAct::Drop))
        };
        let hits: Vec<bool> = (0..7).map(|_| rule.hit()).collect();
        assert_eq!(hits, [false, false, true, true, true, false, false]);
        assert_eq!((rule.counts.seen(), rule.counts.hits()), (7, 3));
        assert!(rule.is_spent());
    }

    #[test]
    fn a_chance_is_the_same_with_the_same_seed_and_about_right() {
        let chance = |seed| Chance {
            seed,
            of_2_32: (1 << 32) / 10,
        };
        let taken = |seed| {
            (0..10_000)
                .filter(|number| chance(seed).takes(*number))
                .count()
        };
        assert!((900..1100).contains(&taken(7)), "{}", taken(7));
        let which = |seed| {
            (0..64)
                .map(|number| chance(seed).takes(number))
                .collect::<Vec<_>>()
        };
        assert_eq!(which(7), which(7));
        assert_ne!(which(7), which(8));
    }

    #[test]
    fn all_that_is_named_must_agree() {
        let subject = Subject {
            channel: Some("cam-1"),
            role: Some(Role::Viewer),
            client_id: Some("phone-1"),
            operation: None,
            action: Some(Action::SdpOffer),
        };
        let wanted = FaultMatch {
            channel: Some(Glob::new("cam-*")),
            role: Some(Role::Viewer),
            client_id: Some(Glob::new("phone-?")),
            operation: None,
            action: Some(Action::SdpOffer),
        };
        assert!(FaultMatch::default().covers(&subject) && wanted.covers(&subject));
        let others = [
            Subject {
                channel: None,
                ..subject
            },
            Subject {
                channel: Some("door"),
                ..subject
            },
            Subject {
                role: Some(Role::Master),
                ..subject
            },
            Subject {
                client_id: None,
                ..subject
            },
            Subject {
                action: None,
                ..subject
            },
        ];
        for other in others {
            assert!(!wanted.covers(&other), "{other:?}");
        }
    }
}
