//! Log entries as plain data. Shards record entries; a separate thread formats and writes them.
//!
//! No entry has a field for a query string, a payload, a signature or a secret, so none can be logged by mistake. Texts
//! from the wire (client ids, names, ARNs) are escaped and cut when written.

pub(crate) mod end_reasons;
mod rate_limits;
mod refusals;

use crate::id::Account;
use codec::signal::{Action, FaultKind, Role};
use codec::ws::{FrameError, close};
use end_reasons::too_long;
pub use rate_limits::{LimitedJournal, Prefix};
pub use refusals::{
    Claims, EXPLAINED_BYTES_MAX, Explain, KEY_ID_BYTES_MAX, LogShare, NAMED_CHARS_MAX, Presented,
    RefusalCount, Refused, Subject,
};
use std::borrow::Cow;
use std::fmt;
use std::net::SocketAddr;
use strum::{EnumCount, IntoStaticStr, VariantArray, VariantNames};

/// Receives entries without waiting. Drops and counts entries when full.
pub trait Journal: Send {
    /// Records an entry.
    fn note(&mut self, entry: Entry);

    /// Reserves a place for the audit entry of a change by this account; false when there is none, and the change must
    /// not be made. Each place is used by [`Journal::note_kept`] or returned by [`Journal::give_back`].
    fn keep_place(&mut self, account: Account) -> bool {
        let _ = account;
        true
    }

    /// Records an entry in its reserved place: it is never dropped.
    fn note_kept(&mut self, account: Account, entry: Entry) {
        let _ = account;
        self.note(entry);
    }

    /// Returns a reserved place: the change was not made.
    fn give_back(&mut self, account: Account) {
        let _ = account;
    }
}

/// One line of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// A WebSocket connection ended. Limited per shard: see [`LimitedJournal::ended`].
    ConnectionEnd(ConnectionEnd),
    /// A request or upgrade was refused. Limited per shard: see [`LimitedJournal::refused`].
    Refused(Box<Refused>),
    /// Number of refusals not logged within a window: see [`LimitedJournal::window_over`].
    Suppressed {
        /// Number of refusals.
        refusals: u64,
        /// Numbers by check and subject.
        counts: Box<[RefusalCount]>,
    },
    /// Number of connection ends not logged within a second.
    EndsSuppressed {
        /// Number of ends.
        ends: u64,
    },
    /// A message was not accepted. Limited per shard: see [`LimitedJournal::unaccepted`].
    Unaccepted(Box<UnacceptedMessage>),
    /// A connection was superseded. Limited per shard: see [`LimitedJournal::superseded`].
    Superseded(Box<Superseded>),
    /// A call changed something or was denied.
    Audit(Audit),
    /// Another node did not answer.
    NodeTrouble {
        /// Name of the node.
        node: Box<str>,
        /// Reason, in a word.
        why: &'static str,
        /// Requests answered with 503 since the last such line.
        requests: u64,
    },
    /// Replaced credentials refuse open connections.
    Forbidden(Forbidden),
    /// The registry's store failed.
    StoreTrouble {
        /// Text of the store's error; nothing from the wire.
        error: Box<str>,
    },
}

/// The end of a WebSocket connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectionEnd {
    /// Role in which it was admitted.
    pub role: Role,
    /// A viewer's client id.
    pub client_id: Option<Box<str>>,
    /// Channel's name, also if the channel was deleted meanwhile; `None` would be a fault of the telemetry.
    pub channel: Option<Box<str>>,
    /// Channel's account; not logged.
    pub account: Account,
    /// The peer's address.
    pub remote: SocketAddr,
    /// Duration from admission to end, in milliseconds.
    pub duration_ms: u64,
    /// Messages received from it, refused ones included.
    pub messages_in: u32,
    /// Messages passed to it whole.
    pub messages_out: u32,
    /// Unacknowledged ones among them: queued again for the next connection.
    pub returned: u32,
    /// Time from a viewer's admission to its first offer, in milliseconds; `None` without one.
    pub offered_ms: Option<u32>,
    /// Time from a viewer's admission to its first answer, in milliseconds; `None` without one.
    pub answered_ms: Option<u32>,
    /// Reason of the end.
    pub reason: EndReason,
    /// Policy and statement that forbid it, or what is gone, if it may no longer be open.
    pub refused_by: Option<Box<str>>,
}

/// Open connections that replaced credentials refuse.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forbidden {
    /// Open connections.
    pub connections: u64,
    /// Refused ones among them.
    pub forbidden: u64,
    /// Whether closing is delayed, since more than half are refused: other credentials may follow.
    pub waits: bool,
}

/// A message that was not accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnacceptedMessage {
    /// The channel's name.
    pub channel: Box<str>,
    /// Account of the channel; not logged.
    pub account: Account,
    /// Role of its sender.
    pub role: Role,
    /// The client id of a viewer that sent it.
    pub client_id: Option<Box<str>>,
    /// The sender's address.
    pub remote: SocketAddr,
    /// Action; `None` if it could not be parsed.
    pub action: Option<Action>,
    /// Reason.
    pub reason: Unaccepted,
    /// Length of its frame for the recipient; if the payload is too long, that of the payload; else 0.
    pub bytes: usize,
    /// Longest accepted payload, if the payload is too long; else 0.
    pub most: usize,
    /// Unaccepted messages without a line since the last such line.
    pub unlogged: u64,
}

/// A connection superseded by a newer one of the same role and client id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Superseded {
    /// The channel's name.
    pub channel: Box<str>,
    /// Account of the channel; not logged.
    pub account: Account,
    /// Role of both connections.
    pub role: Role,
    /// The client id of viewers.
    pub client_id: Option<Box<str>>,
    /// Address of the older connection.
    pub remote: SocketAddr,
    /// Address of the newer connection.
    pub by: SocketAddr,
    /// Time between their admissions, in milliseconds.
    pub after_ms: u64,
    /// Under `--dev`: the newer one is the master only because nothing names its role. Perhaps a viewer without its
    /// client id.
    pub unnamed: bool,
    /// Superseded connections without a line since the last such line.
    pub unlogged: u64,
}

/// Caller in an audit entry. The name of a session alone proves nothing: the caller chose it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditCaller {
    /// The principal, `federated-user/NAME`, `ROLE/SESSION`, or the sign-in.
    pub name: Box<str>,
    /// Account of the caller.
    pub account: Box<str>,
    /// Access key id of the signature; `None` for a sign-in.
    pub key_id: Option<Box<str>>,
    /// Source identity: the person or program behind the session.
    pub source_identity: Option<Box<str>>,
    /// Certificate or token at the root of the session.
    pub sign_in: Presented,
}

/// An API call that changes something, or that a policy denied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Audit {
    /// `None` where requests are not signed.
    pub caller: Option<Box<AuditCaller>>,
    /// The operation's AWS name, or `ConnectAsMaster` and `ConnectAsViewer`.
    pub operation: &'static str,
    /// Channel's ARN, as far as it is known.
    pub channel_arn: Option<Box<str>>,
    /// Session that a call of STS requests: the federated user, or `ROLE/SESSION`.
    pub session: Option<Box<str>>,
    /// Access key id of granted temporary credentials.
    pub new_key_id: Option<Box<str>>,
    /// `ok`, or the error type of the answer; `unanswered` when the caller had left, or timed out, before the outcome
    /// of the change was known.
    pub outcome: &'static str,
    /// Request id of the answer.
    pub request_id: Box<str>,
    /// The peer's address.
    pub remote: SocketAddr,
}

/// Reason why a WebSocket connection ended: the first cause.
#[derive(Clone, Copy, Debug, PartialEq, Eq, EnumCount, IntoStaticStr, VariantNames)]
#[strum(serialize_all = "snake_case")]
pub enum EndReason {
    /// The peer sent a close frame.
    PeerClosed,
    /// The peer left without a close frame.
    PeerGone,
    /// Silent for the whole idle limit.
    Idle,
    /// Reached the age limit of connections.
    Age,
    /// Superseded, and so were too many after it.
    SupersededEvicted,
    /// Superseded, and did not take the rest of a begun message.
    SupersededStuck,
    /// Superseded by a connection that has left: closed so that its client may reconnect.
    SupersededVacant,
    /// No frame followed a ping.
    Unanswered,
    /// The operator requested new ICE servers, and this client must not get the message for that.
    IceReconnect,
    /// The outbox was full.
    SlowConsumer,
    /// The channel was deleted.
    ChannelDeleted,
    /// Violation of the WebSocket protocol.
    ProtocolError(FrameError),
    /// Binary message.
    Unsupported,
    /// The process is shutting down.
    Drain,
    /// A message took too long from its first byte to its last.
    SlowMessage,
    /// Too many control frames within a second.
    Flood,
    /// The operator closed it.
    Operator,
    /// Evicted: its account, or caller, had most connections, and another one needed a place.
    MadeRoom,
    /// Caller may no longer connect, by other credentials or other tags of its channel.
    Forbidden,
}

/// Number of reasons; protocol errors are one.
pub const END_REASONS: usize = EndReason::COUNT;

impl EndReason {
    /// Words of all reasons in the order of [`EndReason::index`].
    pub const LABELS: &'static [&'static str] = Self::VARIANTS;

    /// Index in tables of counters.
    #[must_use]
    pub fn index(self) -> usize {
        let word: &str = self.into();
        let place = Self::LABELS.iter().position(|label| *label == word);
        place.unwrap_or_default()
    }

    /// Status code and text of the close frame that starts the close handshake (RFC 6455 section 7.4).
    #[must_use]
    pub const fn close(self) -> (u16, &'static str) {
        match self {
            Self::PeerClosed
            | Self::PeerGone
            | Self::Age
            | Self::SupersededEvicted
            | Self::SupersededStuck
            | Self::SupersededVacant
            | Self::IceReconnect
            | Self::Drain => (close::GOING_AWAY, "Going away"),
            Self::Idle => (close::GOING_AWAY, "Idle for too long"),
            Self::Unanswered => (close::GOING_AWAY, "Ping not answered"),
            Self::Operator => (close::GOING_AWAY, "Closed by the operator"),
            Self::MadeRoom => (close::GOING_AWAY, "Made room for another client"),
            Self::ChannelDeleted => (close::GOING_AWAY, "Channel deleted"),
            Self::SlowConsumer => (close::POLICY, "slow consumer"),
            Self::ProtocolError(error) => (error.close_code(), error.reason()),
            Self::Unsupported => (close::UNSUPPORTED, "Binary messages are not supported."),
            Self::SlowMessage => (close::POLICY, "message took too long"),
            Self::Flood => (close::POLICY, "too many frames without effect"),
            Self::Forbidden => (close::POLICY, "no longer allowed"),
        }
    }
}

/// Word in the log: one of a closed set, for a protocol error with its close code.
impl fmt::Display for EndReason {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str(self.into())?;
        if let Self::ProtocolError(error) = self {
            write!(to, ":{}", error.close_code())?;
        }
        Ok(())
    }
}

// Reasons are the labels of `heliograph_messages_unaccepted_total{reason}`.

/// Reason why a message was not accepted. Each message that ends as refused, throttled or overflow has exactly one.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, EnumCount, IntoStaticStr, VariantArray,
)]
#[strum(serialize_all = "snake_case")]
pub enum Unaccepted {
    /// The payload exceeds the limit.
    TooLong,
    /// The payload is missing or empty.
    NoPayload,
    /// The payload is not base64.
    NotBase64,
    /// Not one JSON object.
    NotJson,
    /// A member is repeated or of a wrong type, or the correlation id does not match its pattern.
    Malformed,
    /// The action is missing or unknown.
    UnknownAction,
    /// The master names no viewer, or not by a client id.
    UnknownRecipient,
    /// A master's offer, although the rules accept offers from viewers only.
    MasterOffer,
    /// Refused by a fault of a test; under `--dev` only.
    FaultInjected,
    /// The sender exceeds its rate.
    TooFast,
    /// There is no room to forward or to queue it.
    NoRoom,
    /// The recipient cannot receive a message of this length.
    TooLongForRecipient,
}

/// Number of reasons.
pub const UNACCEPTED: usize = Unaccepted::COUNT;

impl Unaccepted {
    /// All reasons, in the order of [`Unaccepted::index`].
    pub const ALL: &'static [Self] = Self::VARIANTS;

    /// Reason of a fault, with the excessive length.
    #[must_use]
    pub const fn of(fault: FaultKind) -> (Self, usize) {
        match fault {
            FaultKind::PayloadTooLong(bytes) => (Self::TooLong, bytes),
            FaultKind::NoPayload => (Self::NoPayload, 0),
            FaultKind::PayloadAlphabet => (Self::NotBase64, 0),
            FaultKind::NotJson => (Self::NotJson, 0),
            FaultKind::Malformed => (Self::Malformed, 0),
            FaultKind::UnsupportedAction => (Self::UnknownAction, 0),
            FaultKind::Recipient => (Self::UnknownRecipient, 0),
            FaultKind::MasterOffer => (Self::MasterOffer, 0),
        }
    }

    /// Word in metrics, pages and the log.
    #[must_use]
    pub fn label(self) -> &'static str {
        self.into()
    }

    /// The reason in plain words, with the limit. `bytes` and `most` are the length and the limit of a payload or
    /// message that is too long, 0 if unknown.
    #[must_use]
    pub fn says(self, bytes: usize, most: usize) -> Cow<'static, str> {
        if most > 0 {
            let (bytes, most) = (bytes as u64, most as u64);
            if self == Self::TooLong {
                return too_long("messagePayload", bytes, most, "characters").into();
            }
            if self == Self::TooLongForRecipient {
                let lengths = too_long("a message", bytes, most, "bytes");
                return format!(
                    "{lengths} for its recipient by [limits] wss_message_bytes or [clients]"
                )
                .into();
            }
        }
        self.words().into()
    }

    const fn words(self) -> &'static str {
        match self {
            Self::TooLong => "messagePayload is longer than [limits] payload_bytes",
            Self::NoPayload => "messagePayload is missing or empty",
            Self::NotBase64 => "messagePayload is not base64",
            Self::NotJson => "it is not one JSON object",
            Self::Malformed => {
                "a member is there twice or of a wrong type, or correlationId has characters out of [a-zA-Z0-9_.-]"
            }
            Self::UnknownAction => {
                "action must be SDP_OFFER, SDP_ANSWER or ICE_CANDIDATE, in upper case"
            }
            Self::UnknownRecipient => {
                "recipientClientId must be the viewer's client id, 1 to 256 of [a-zA-Z0-9_.-]"
            }
            Self::MasterOffer => {
                "a master sent SDP_OFFER: viewers offer, unless [options] master_offers allows it"
            }
            Self::FaultInjected => "a fault of a test refused it",
            Self::TooFast => "it came faster than [quotas] sdp and ice allow one connection",
            Self::TooLongForRecipient => {
                "it is longer than its recipient can take: [limits] wss_message_bytes, [clients]"
            }
            Self::NoRoom => {
                "nobody took it, and there is no room to keep it: [limits] pending_bytes_per_channel"
            }
        }
    }

    /// Index in tables of counters.
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_one_word_with_the_code_of_a_protocol_error() {
        assert_eq!(EndReason::SlowConsumer.to_string(), "slow_consumer");
        let error = EndReason::ProtocolError(FrameError::Unmasked);
        assert_eq!(error.to_string(), "protocol_error:1002");
        assert_eq!(error.close().0, 1002);
        for reason in [error, EndReason::PeerClosed, EndReason::Flood] {
            let word: &str = reason.into();
            assert_eq!(EndReason::LABELS[reason.index()], word);
        }
        assert_eq!(EndReason::LABELS.len(), END_REASONS);
    }
}

#[cfg(test)]
mod unaccepted_tests {
    use super::*;

    #[test]
    fn every_reason_has_its_place_its_label_and_words() {
        for (place, reason) in Unaccepted::ALL.iter().copied().enumerate() {
            assert_eq!(reason.index(), place);
            let word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
            assert!(reason.label().chars().all(word), "{}", reason.label());
            assert!(!reason.says(0, 0).is_empty());
        }
        assert_eq!(Unaccepted::NotBase64.label(), "not_base64");
        assert_eq!(Unaccepted::of(FaultKind::PayloadTooLong(7)).1, 7);
        assert_eq!(
            Unaccepted::TooLong.says(40_112, 32_768),
            "messagePayload of 40,112 characters; 32,768 are allowed"
        );
        assert_eq!(
            Unaccepted::TooLongForRecipient.says(28_122, 18_750),
            "a message of 28,122 bytes; 18,750 are allowed for its recipient by [limits] wss_message_bytes or [clients]"
        );
    }
}
