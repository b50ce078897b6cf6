//! Faults scripted by tests, available only with `--dev`: what a fault applies to, what it does, and how often.
//! Production shards contain none of this.
//!
//! Faults act at four points: when a connection or call is admitted (`on_connect`, `on_call`), when a message is routed
//! (`on_message`), when a pending message is delivered (`deliver_pending`), and when a WebSocket is opened or a fault
//! is created (`on_session`). The first matching rule that is not exhausted acts. Counters stay consistent: a dropped
//! message counts as withdrawn, a held one is included in the gauge of pending messages, and the extra copy of a
//! duplicated message is not counted.
//!
//! All shards share the same rule value, so that its counts apply to the whole process. A shard's rules and what they
//! hold back are in `injected`, their errors in `fault_errors`, and their effects in `connection_faults` and
//! `message_faults`.

use crate::shard::Glob;
use crate::shard::dev::fault_errors::FaultError;
use codec::control::Operation;
use codec::signal::{Action, Role};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// A scripted fault.
#[derive(Debug)]
pub struct FaultRule {
    /// The fault's number, which is part of its id.
    pub number: u64,
    /// The requests, messages or connections that the rule applies to.
    pub matches: FaultMatch,
    /// Action to take on a match.
    pub act: FaultAct,
    /// Number of matches to skip before acting.
    pub skip: u64,
    /// Maximum number of times to act; `None` means unlimited.
    pub times: Option<u64>,
    /// Probability of acting on a match; `None` means that the rule acts on every match.
    pub chance: Option<Chance>,
    /// Lifetime of the rule, in milliseconds.
    pub lasts_ms: Option<u64>,
    /// Number of matches and acts so far.
    pub counts: FaultCounts,
}

/// Selects what a fault applies to: all criteria given must match.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FaultMatch {
    /// The channel's name.
    pub channel: Option<Glob>,
    /// The role of the client that connects, sends or receives.
    pub role: Option<Role>,
    /// The client id of the client that calls, connects, sends or receives; a master has none.
    pub client_id: Option<Glob>,
    /// The operation of a call.
    pub operation: Option<Operation>,
    /// The action of a message.
    pub action: Option<Action>,
}

/// Action of a fault, and the point at which it applies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FaultAct {
    /// Acts on a WebSocket request.
    Connect(RequestAct),
    /// Acts on an API call.
    Api(RequestAct),
    /// Acts on a message when it is received.
    Message(MessageAct),
    /// Acts on a message for a connected recipient.
    Delivery(DeliveryAct),
    /// Acts on an open WebSocket.
    Session(SessionAct),
}

/// Action on a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RequestAct {
    /// Refuse the request.
    Refuse {
        /// The error to return.
        error: &'static FaultError,
        /// The HTTP status, if it differs from the error's default.
        status: Option<u16>,
        /// The error message.
        message: Box<str>,
    },
    /// Delay the response by this many milliseconds.
    Delay(u64),
    /// Never answer.
    Hang,
    /// Reset the connection.
    Reset,
}

/// Action on a message when it is received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MessageAct {
    /// Drop the message.
    Drop,
    /// Delay delivery by this many milliseconds.
    Delay(u64),
    /// Refuse the message with a status response, if it has a correlation id.
    Status {
        /// The error type, without a prefix.
        error_type: Box<str>,
        /// The status code.
        status_code: u16,
        /// The description text.
        description: Box<str>,
    },
    /// Expire the message immediately.
    Expire,
    /// Replace the message's viewer: a message from a master is sent to this viewer, one from a viewer appears to come
    /// from it.
    Misdirect(Box<str>),
    /// Forward the message, then act on its sender's WebSocket.
    Session(SessionAct),
}

/// Action on a message for a connected recipient.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeliveryAct {
    /// Drop the message.
    Drop,
    /// Delay delivery by this many milliseconds.
    Delay(u64),
    /// Send the message twice.
    Duplicate,
    /// Send the message after the next one for the same recipient.
    Reorder,
    /// Send the message with this part of it corrupted.
    Corrupt(Corruption),
    /// Queue the message for its recipient, then act on the recipient's WebSocket before anything is sent.
    Session(SessionAct),
}

/// The part of a message to corrupt; its length is preserved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Corruption {
    /// Replaces the payload with base64-encoded zeros, which are not JSON.
    Payload,
    /// Makes the payload invalid base64.
    Base64,
    /// Makes the text of the message invalid JSON.
    Message,
}

/// Action on an open WebSocket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SessionAct {
    /// Send GO_AWAY, then a close frame some time later.
    GoAway {
        /// Milliseconds between GO_AWAY and the close frame.
        grace_ms: u64,
    },
    /// Send a close frame.
    Close {
        /// Close code to send.
        code: u16,
        /// Close reason to send, at most 123 bytes.
        reason: Box<str>,
        /// Delay before closing, in milliseconds.
        after_ms: u64,
    },
    /// Keep the connection open but send nothing on it, not even pongs, for this many milliseconds or until the
    /// connection closes.
    Stall(Option<u64>),
    /// Make the peer appear unreachable: nothing it sends is read, and nothing sent to it is acknowledged, for this
    /// many milliseconds or until the connection closes.
    HalfOpen(Option<u64>),
    /// Send RECONNECT_ICE_SERVER.
    ReconnectIce,
    /// Send an empty text message, as the cloud service has been observed to do.
    SendEmpty,
    /// Reset the TCP connection. The client sees code 1006, which means a close without a close frame.
    Reset,
}

/// Probability of acting on a match. With the same seed, every run selects the same matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chance {
    /// Seed from which the selection is derived.
    pub seed: u64,
    /// Number of matches acted on out of every 2³².
    pub of_2_32: u64,
}

/// Number of matches and acts of a fault.
#[derive(Debug, Default)]
pub struct FaultCounts {
    seen: AtomicU64,
    hits: AtomicU64,
    overflowed: AtomicU64,
    ended: AtomicBool,
}

/// A request, message or connection that a fault may apply to.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct FaultSubject<'a> {
    pub(crate) channel: Option<&'a str>,
    pub(crate) role: Option<Role>,
    pub(crate) client_id: Option<&'a str>,
    pub(crate) operation: Option<Operation>,
    pub(crate) action: Option<Action>,
}

/// Accessors for the acts of each kind.
impl FaultAct {
    pub(crate) fn on_connect(&self) -> Option<&RequestAct> {
        if let Self::Connect(act) = self {
            Some(act)
        } else {
            None
        }
    }

    pub(crate) fn on_call(&self) -> Option<&RequestAct> {
        if let Self::Api(act) = self {
            Some(act)
        } else {
            None
        }
    }

    pub(crate) fn on_message(&self) -> Option<&MessageAct> {
        if let Self::Message(act) = self {
            Some(act)
        } else {
            None
        }
    }

    pub(crate) fn on_delivery(&self) -> Option<&DeliveryAct> {
        if let Self::Delivery(act) = self {
            Some(act)
        } else {
            None
        }
    }

    pub(crate) fn on_session(&self) -> Option<&SessionAct> {
        if let Self::Session(act) = self {
            Some(act)
        } else {
            None
        }
    }
}

impl<'a> FaultSubject<'a> {
    /// Creates the subject for a message that a client of the named channel sends or receives.
    pub(crate) fn of_client(name: &'a str, client_id: Option<&'a str>, action: Action) -> Self {
        Self {
            channel: Some(name),
            role: Some(client_id.map_or(Role::Master, |_| Role::Viewer)),
            client_id,
            operation: None,
            action: Some(action),
        }
    }
}

impl FaultMatch {
    /// Whether all criteria match.
    pub(crate) fn covers(&self, subject: &FaultSubject<'_>) -> bool {
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
    /// Counts a match. Returns `true` if the rule must act on it.
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

    /// Whether the rule can no longer act.
    #[must_use]
    pub fn is_spent(&self) -> bool {
        self.counts.ended.load(Ordering::Relaxed)
            || self.times.is_some_and(|times| self.counts.hits() >= times)
    }
}

impl Chance {
    /// Creates a probability that selects the fraction `part` of all matches, above 0 and at most 1.
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

    /// Whether to act on the match with this number, as decided by the output function of SplitMix64.
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
    /// Returns the number of matches acted on.
    #[must_use]
    pub fn hits(&self) -> u64 {
        self.hits.load(Ordering::Relaxed)
    }

    /// Returns the number of matches, including those not acted on.
    #[must_use]
    pub fn seen(&self) -> u64 {
        self.seen.load(Ordering::Relaxed)
    }

    /// Returns the number of messages that could not be held back for lack of capacity.
    #[must_use]
    pub fn overflowed(&self) -> u64 {
        self.overflowed.load(Ordering::Relaxed)
    }

    /// Stops the fault on all shards.
    pub fn end(&self) {
        self.ended.store(true, Ordering::Relaxed);
    }

    pub(crate) fn overflow(&self) {
        self.overflowed.fetch_add(1, Ordering::Relaxed);
    }
}

/// A rule shared between the shards.
pub type SharedRule = Arc<FaultRule>;

#[cfg(test)]
pub(crate) mod rule_tests {
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
        let subject = FaultSubject {
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
            FaultSubject {
                channel: None,
                ..subject
            },
            FaultSubject {
                channel: Some("door"),
                ..subject
            },
            FaultSubject {
                role: Some(Role::Master),
                ..subject
            },
            FaultSubject {
                client_id: None,
                ..subject
            },
            FaultSubject {
                action: None,
                ..subject
            },
        ];
        for other in others {
            assert!(!wanted.covers(&other), "{other:?}");
        }
    }
}
