//! Defines the faults that tests can script: what a fault applies to, what it does, and how often. Faults exist only
//! with `--dev`.
//!
//! Faults act at four points: when a connection or a call is admitted (`on_connect`, `on_call`), when a message is
//! routed (`on_message`), when a pending message is delivered (`deliver_pending`), and when a WebSocket is opened or a
//! fault is created (`on_session`). The first matching rule that is not exhausted acts. The message counters remain
//! consistent. A dropped message counts as withdrawn, and a message that is held back counts as pending. The second
//! copy of a duplicated message is not counted.
//!
//! A rule is shared by all shards, so its counts apply to the whole process. `injected` contains a shard's rules and
//! the messages that they hold back, `fault_errors` contains the errors that they return, and `connection_faults` and
//! `message_faults` implement their effects.

use crate::shard::Glob;
use crate::shard::dev::fault_errors::FaultError;
use codec::control::Operation;
use codec::signal::{Action, Role};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// A scripted fault.
#[derive(Debug)]
pub struct FaultRule {
    /// The number of the fault; part of the fault's id.
    pub number: u64,
    /// The requests, messages or connections that the rule applies to.
    pub matches: FaultMatch,
    /// The action to take on a match.
    pub act: FaultAct,
    /// Number of matches to skip before acting.
    pub skip: u64,
    /// Maximum number of times to act; `None` if unlimited.
    pub times: Option<u64>,
    /// Probability of acting on a match; `None` to act on every match.
    pub chance: Option<Chance>,
    /// How long the rule stays in force, in milliseconds; `None` if unlimited.
    pub lasts_ms: Option<u64>,
    /// The number of matches, and how often the rule has acted on a match.
    pub counts: FaultCounts,
}

/// Selects what a fault applies to. Every criterion that is set must match.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FaultMatch {
    /// Pattern for the name of the channel.
    pub channel: Option<Glob>,
    /// The role of the client that connects, sends or receives.
    pub role: Option<Role>,
    /// Pattern for the client id of the client that calls, connects, sends or receives. Never matches a master, since
    /// masters have no client id.
    pub client_id: Option<Glob>,
    /// The operation that is called.
    pub operation: Option<Operation>,
    /// The action field of the message.
    pub action: Option<Action>,
}

/// The action of a fault, and the point at which it is taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FaultAct {
    /// Act on a WebSocket request.
    Connect(RequestAct),
    /// Act on an API call.
    Api(RequestAct),
    /// Act on a message when it is received.
    Message(MessageAct),
    /// Act on a message that is about to be delivered to a connected recipient.
    Delivery(DeliveryAct),
    /// Act on an open WebSocket.
    Session(SessionAct),
}

/// An action on a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RequestAct {
    /// Refuse the request.
    Refuse {
        /// The error to return.
        error: &'static FaultError,
        /// The HTTP status; `None` for the usual status of the error.
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

/// An action on a message when it is received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MessageAct {
    /// Drop the message.
    Drop,
    /// Delay the delivery by this many milliseconds.
    Delay(u64),
    /// Refuse the message with a status response, if it has a correlation id.
    Status {
        /// The error type, without a prefix.
        error_type: Box<str>,
        /// The status code.
        status_code: u16,
        /// The text of the description.
        description: Box<str>,
    },
    /// Expire the message immediately.
    Expire,
    /// Replace the viewer of the message. A message from a master is delivered to the given viewer instead. A message
    /// from a viewer is delivered as if the given viewer had sent it.
    Misdirect(Box<str>),
    /// Forward the message as usual, then act on the WebSocket of its sender.
    Session(SessionAct),
}

/// An action on a message that is about to be delivered to a connected recipient.
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
    /// Queue the message for its recipient. Before any of it is sent, act on the recipient's WebSocket.
    Session(SessionAct),
}

/// The part of a message to corrupt. The message keeps its length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Corruption {
    /// Replace the payload with base64-encoded zero bytes, which are not JSON.
    Payload,
    /// Make the payload invalid base64.
    Base64,
    /// Make the text of the message invalid JSON.
    Message,
}

/// An action on an open WebSocket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SessionAct {
    /// Send GO_AWAY, then a close frame some time later.
    GoAway {
        ///  Delay between GO_AWAY and the close frame, in milliseconds.
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
    /// Keep the connection open but send nothing on it, not even pongs. Ends after this many milliseconds; if `None`,
    /// when the connection closes.
    Stall(Option<u64>),
    /// Make the peer appear unreachable: read nothing from it, and acknowledge nothing that was sent to it. Ends after
    /// this many milliseconds; if `None`, when the connection closes.
    HalfOpen(Option<u64>),
    /// Send RECONNECT_ICE_SERVER.
    ReconnectIce,
    /// Send an empty text message, as the cloud service has been observed to do.
    SendEmpty,
    /// Reset the TCP connection. Since there is no close frame, the client reports code 1006.
    Reset,
}

/// The probability of acting on a match. Runs with equal seeds act on the same matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chance {
    /// The seed that determines which matches to act on.
    pub seed: u64,
    /// The number of matches to act on, out of 2³².
    pub of_2_32: u64,
}

/// Counters of a fault's matches and acts.
#[derive(Debug, Default)]
pub struct FaultCounts {
    seen: AtomicU64,
    hits: AtomicU64,
    overflowed: AtomicU64,
    ended: AtomicBool,
}

/// A request, message or connection that may match a fault.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct FaultSubject<'a> {
    pub(crate) channel: Option<&'a str>,
    pub(crate) role: Option<Role>,
    pub(crate) client_id: Option<&'a str>,
    pub(crate) operation: Option<Operation>,
    pub(crate) action: Option<Action>,
}

/// Accessors for the action of each kind of fault.
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
    /// Creates the subject for a message that a client sends or receives. `name` is the name of the channel.
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
    /// Counts a match. Returns `true` if the fault must act on this match.
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
    /// Creates a probability from the fraction of matches to act on, which must be above 0 and at most 1.
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

    /// Returns whether to act on the match with this number, according to the output function of SplitMix64.
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

    /// Returns the number of matches, whether acted on or not.
    #[must_use]
    pub fn seen(&self) -> u64 {
        self.seen.load(Ordering::Relaxed)
    }

    /// Returns the number of messages that could not be held back because there was no capacity.
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

/// A rule that all shards share.
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
