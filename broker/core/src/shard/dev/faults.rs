//! Defines the faults that tests can script: what a fault applies to, what it does, and how often. Faults exist only
//! with `--dev`.
//!
//! Faults act at four points: when a connection or a call is admitted (`on_connect`, `on_call`), when a message is
//! routed (`on_message`), when a pending message is delivered (`deliver_pending`), and when a WebSocket is opened or a
//! fault is created (`on_session`). The first matching rule that is not exhausted acts. Message counters stay
//! consistent: a dropped message counts as withdrawn, a delayed one as pending, and the second copy of a duplicated
//! message does not count.
//!
//! All shards share a rule, so its counts cover the whole process. `injected` contains a shard's rules and the messages
//! that they delay, and `fault_errors` the errors that they return. `connection_faults` and `message_faults` implement
//! their effects.

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
    /// The requests, messages or connections to which the rule applies.
    pub matches: FaultMatch,
    /// The action to take on a match.
    pub act: FaultAct,
    /// Number of matches to skip before acting.
    pub skip: u64,
    /// Maximum number of times to act, or `None` if unlimited.
    pub times: Option<u64>,
    /// Probability of acting on a match, or `None` to act on every match.
    pub chance: Option<Chance>,
    /// How long the rule is in force, in milliseconds, or `None` if unlimited.
    pub lasts_ms: Option<u64>,
    /// How often the rule has matched, and how often it has acted on a match.
    pub counts: FaultCounts,
}

/// Selects the requests, messages or connections that a fault affects. Every criterion that is set must match.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FaultMatch {
    /// Pattern for the channel name.
    pub channel: Option<Glob>,
    /// The role of the client that connects, sends or receives.
    pub role: Option<Role>,
    /// Pattern for the client id of the client that calls, connects, sends or receives. Never matches a master, because
    /// masters have no client id.
    pub client_id: Option<Glob>,
    /// The operation being called.
    pub operation: Option<Operation>,
    /// The message's action field.
    pub action: Option<Action>,
}

/// The effect of a fault, and the point at which it occurs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FaultAct {
    /// Act on a WebSocket request.
    Connect(RequestAct),
    /// Act on an API call.
    Api(RequestAct),
    /// Act on a received message.
    Message(MessageAct),
    /// Act on a message just before it is delivered to a connected recipient.
    Delivery(DeliveryAct),
    /// Act on an open WebSocket.
    Session(SessionAct),
}

/// The effect of a fault on a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RequestAct {
    /// Refuse the request.
    Refuse {
        /// The error to return.
        error: &'static FaultError,
        /// The HTTP status, or `None` for the error's usual status.
        status: Option<u16>,
        /// The error message.
        message: Box<str>,
    },
    /// Delay the response by this many milliseconds.
    Delay(u64),
    /// Never answer the request.
    Hang,
    /// Reset the connection.
    Reset,
}

/// The effect of a fault on a received message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MessageAct {
    /// Drop the message.
    Drop,
    /// Delay the delivery by this many milliseconds.
    Delay(u64),
    /// Refuse the message with a status response if it has a correlation id.
    Status {
        /// The error type, without a prefix.
        error_type: Box<str>,
        /// The status code.
        status_code: u16,
        /// The description text.
        description: Box<str>,
    },
    /// Make the message expire immediately.
    Expire,
    /// Replace the message's viewer. A message from a master is delivered to this viewer instead, and a message from a
    /// viewer is delivered as if this viewer had sent it.
    Misdirect(Box<str>),
    /// Forward the message as usual, then act on its sender's WebSocket.
    Session(SessionAct),
}

/// The effect of a fault on a message just before it is delivered to a connected recipient.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeliveryAct {
    /// Drop the message.
    Drop,
    /// Delay the delivery by this many milliseconds.
    Delay(u64),
    /// Send the message twice.
    Duplicate,
    /// Send the message after the next one for the same recipient.
    Reorder,
    /// Send the message with one part corrupted.
    Corrupt(Corruption),
    /// Queue the message for its recipient, but act on the recipient's WebSocket before any of it is sent.
    Session(SessionAct),
}

/// The part of a message to corrupt. The message's length does not change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Corruption {
    /// Replace the payload with base64-encoded zero bytes, which are not JSON.
    Payload,
    /// Make the payload invalid base64.
    Base64,
    /// Make the message text invalid JSON.
    Message,
}

/// The effect of a fault on an open WebSocket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SessionAct {
    /// Send GO_AWAY, followed by a close frame some time later.
    GoAway {
        /// Delay between GO_AWAY and the close frame, in milliseconds.
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
    /// Keep the connection open but send nothing on it, not even pongs. Ends after this many milliseconds or, if
    /// `None`, when the connection closes.
    Stall(Option<u64>),
    /// Make the peer appear unreachable: read nothing from it, and acknowledge nothing that was sent to it. Ends after
    /// this many milliseconds or, if `None`, when the connection closes.
    HalfOpen(Option<u64>),
    /// Send RECONNECT_ICE_SERVER.
    ReconnectIce,
    /// Send an empty text message, as the cloud service has been observed to do.
    SendEmpty,
    /// Reset the TCP connection. Without a close frame, the client reports code 1006.
    Reset,
}

/// The probability of acting on a match. Runs with the same seed act on the same matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chance {
    /// The seed that determines which matches to act on.
    pub seed: u64,
    /// How many out of 2³² matches to act on.
    pub of_2_32: u64,
}

/// Counts how often a fault has matched and acted.
#[derive(Debug, Default)]
pub struct FaultCounts {
    seen: AtomicU64,
    hits: AtomicU64,
    overflowed: AtomicU64,
    ended: AtomicBool,
}

/// A request, message or connection to be compared with the faults' criteria.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct FaultSubject<'a> {
    pub(crate) channel: Option<&'a str>,
    pub(crate) role: Option<Role>,
    pub(crate) client_id: Option<&'a str>,
    pub(crate) operation: Option<Operation>,
    pub(crate) action: Option<Action>,
}

/// Accessors for each kind of fault action.
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
    /// Creates the subject for a message that a client sends or receives. `name` is the channel's name.
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
    /// Returns whether every criterion that is set matches.
    pub(crate) fn covers(&self, subject: &FaultSubject<'_>) -> bool {
        let glob = |wanted: &Option<Glob>, is: Option<&str>| {
            let covers = |glob: &Glob| is.is_some_and(|text| glob.covers(text));
            wanted.as_ref().is_none_or(covers)
        };
        glob(&self.channel, subject.channel)
            && (self.role.is_none() || self.role == subject.role)
            && glob(&self.client_id, subject.client_id)
            && (self.operation.is_none() || self.operation == subject.operation)
            && (self.action.is_none() || self.action == subject.action)
    }
}

impl FaultRule {
    /// Counts a match. Returns `true` if the fault has to act on it.
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

    /// Returns whether the rule can no longer act.
    #[must_use]
    pub fn is_spent(&self) -> bool {
        self.counts.ended.load(Ordering::Relaxed)
            || self.times.is_some_and(|times| self.counts.hits() >= times)
    }
}

impl Chance {
    /// Creates a probability from the fraction of matches to act on, which must be greater than 0 and at most 1.
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

    /// Decides whether to act on the match with this number, using the output function of SplitMix64.
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
    /// Returns the number of matches that the fault acted on.
    #[must_use]
    pub fn hits(&self) -> u64 {
        self.hits.load(Ordering::Relaxed)
    }

    /// Returns the number of matches, whether or not the fault acted on them.
    #[must_use]
    pub fn seen(&self) -> u64 {
        self.seen.load(Ordering::Relaxed)
    }

    /// Returns the number of messages that could not be delayed for lack of capacity.
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

/// A rule shared by all shards.
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
