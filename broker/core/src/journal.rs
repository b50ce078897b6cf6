//! Log entries as plain data. Shards record them; a separate thread formats and writes them.
//!
//! No entry has a field for a query string, a payload, a signature or a secret, so none of these can be logged by
//! accident. Text from clients (client ids, names, ARNs) is escaped and truncated when written.

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

/// Receiver of log entries that never blocks. When full, it drops and counts entries.
pub trait Journal: Send {
    /// Records an entry.
    fn note(&mut self, entry: Entry);

    /// Reserves space for the audit entry of an account's change. Returns `false` if no space is left, in which case
    /// the change must not be made. Each reservation ends with [`Journal::note_kept`] or [`Journal::give_back`].
    fn keep_place(&mut self, account: Account) -> bool {
        let _ = account;
        true
    }

    /// Records an entry in its reserved space; it is never dropped.
    fn note_kept(&mut self, account: Account, entry: Entry) {
        let _ = account;
        self.note(entry);
    }

    /// Returns a reservation whose change was not made.
    fn give_back(&mut self, account: Account) {
        let _ = account;
    }
}

/// A log entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// A WebSocket connection ended. Rate-limited per shard; see [`LimitedJournal::ended`].
    ConnectionEnd(ConnectionEnd),
    /// A request or upgrade was refused. Rate-limited per shard; see [`LimitedJournal::refused`].
    Refused(Box<Refused>),
    /// Refusals of a window that were not logged; see [`LimitedJournal::window_over`].
    Suppressed {
        /// Number of suppressed refusals.
        refusals: u64,
        /// Number of suppressed refusals by check and subject.
        counts: Box<[RefusalCount]>,
    },
    /// Connection ends of a second that were not logged.
    EndsSuppressed {
        /// Number of unlogged connection ends.
        ends: u64,
    },
    /// A message was refused. Rate-limited per shard; see [`LimitedJournal::unaccepted`].
    Unaccepted(Box<UnacceptedMessage>),
    /// A connection was superseded. Rate-limited per shard; see [`LimitedJournal::superseded`].
    Superseded(Box<Superseded>),
    /// A call that changed something or that a policy denied.
    Audit(Audit),
    /// Another node did not respond.
    NodeTrouble {
        /// Name of the node.
        node: Box<str>,
        /// Why the node did not respond, in a few words.
        why: &'static str,
        /// Requests answered with 503 since the last entry of this kind.
        requests: u64,
    },
    /// Reloaded credentials forbid some open connections.
    Forbidden(Forbidden),
    /// The registry's store failed.
    StoreTrouble {
        /// The store's error message; contains nothing received from clients.
        error: Box<str>,
    },
}

/// The end of a WebSocket connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectionEnd {
    /// Role in which the connection was admitted.
    pub role: Role,
    /// Client id, if the connection is a viewer's.
    pub client_id: Option<Box<str>>,
    /// Name of the channel, even if it was deleted; `None` would indicate a bug in telemetry.
    pub channel: Option<Box<str>>,
    /// Account of the channel; not logged.
    pub account: Account,
    /// Address of the peer.
    pub remote: SocketAddr,
    /// Time from admission to end, in milliseconds.
    pub duration_ms: u64,
    /// Received messages, including refused ones.
    pub messages_in: u32,
    /// Messages delivered completely to the connection.
    pub messages_out: u32,
    /// Messages delivered to this connection that were not acknowledged and were queued again for the next one.
    pub returned: u32,
    /// Time from a viewer's admission to its first offer, in milliseconds; `None` if it sent no offer.
    pub offered_ms: Option<u32>,
    /// Time from a viewer's admission to its first answer, in milliseconds; `None` if it received no answer.
    pub answered_ms: Option<u32>,
    /// Why the connection ended.
    pub reason: EndReason,
    /// If the connection was closed for lack of permission: the policy and statement that forbid it, or the key, role,
    /// policy or sign-in that was removed.
    pub refused_by: Option<Box<str>>,
}

/// Open connections that reloaded credentials forbid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forbidden {
    /// Number of open connections.
    pub connections: u64,
    /// Number of open connections that the credentials forbid.
    pub forbidden: u64,
    /// Whether closing is postponed because more than half of all connections are forbidden and another reload may
    /// follow.
    pub waits: bool,
}

/// A message that was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnacceptedMessage {
    /// The channel's name.
    pub channel: Box<str>,
    /// Account of the channel; not logged.
    pub account: Account,
    /// Role of the sender.
    pub role: Role,
    /// Client id of the sender, if it is a viewer.
    pub client_id: Option<Box<str>>,
    /// Address of the sender.
    pub remote: SocketAddr,
    /// Action of the message, if it could be parsed.
    pub action: Option<Action>,
    /// Why the message was refused.
    pub reason: Unaccepted,
    /// Length of an oversized payload; otherwise, length of the frame for the recipient, or 0 if there is none.
    pub bytes: usize,
    /// Maximum payload length if the payload is oversized; otherwise, 0.
    pub most: usize,
    /// Refused messages not logged since the last entry of this kind.
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
    /// Client id, for viewers.
    pub client_id: Option<Box<str>>,
    /// Address of the older connection.
    pub remote: SocketAddr,
    /// Address of the newer connection.
    pub by: SocketAddr,
    /// Time between the two admissions, in milliseconds.
    pub after_ms: u64,
    /// Whether the newer connection counts as the master only because nothing specifies its role; it may be a viewer
    /// without a client id. Only under `--dev`.
    pub unnamed: bool,
    /// Superseded connections not logged since the last entry of this kind.
    pub unlogged: u64,
}

/// Caller in an audit entry. The session name alone proves no identity, since the caller chose it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditCaller {
    /// The principal, `federated-user/NAME`, `ROLE/SESSION`, or the identity of the sign-in.
    pub name: Box<str>,
    /// Account of the caller.
    pub account: Box<str>,
    /// Access key id of the signature; `None` for a sign-in.
    pub key_id: Option<Box<str>>,
    /// Source identity: the person or program on whose behalf the session acts.
    pub source_identity: Option<Box<str>>,
    /// Certificate or token from which the session originates.
    pub sign_in: Presented,
}

/// An audited API call: it changes something, or a policy denied it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Audit {
    /// The caller; `None` if the request needed no signature.
    pub caller: Option<Box<AuditCaller>>,
    /// AWS name of the operation, `ConnectAsMaster` or `ConnectAsViewer`.
    pub operation: &'static str,
    /// ARN of the channel, or as much of it as is known.
    pub channel_arn: Option<Box<str>>,
    /// Session requested by an STS call: the federated user, or `ROLE/SESSION`.
    pub session: Option<Box<str>>,
    /// Access key id of the issued temporary credentials.
    pub new_key_id: Option<Box<str>>,
    /// `ok`, or the error type of the response; `unanswered` if the caller disconnected or timed out before the outcome
    /// was known.
    pub outcome: &'static str,
    /// Request id of the response.
    pub request_id: Box<str>,
    /// Address of the peer.
    pub remote: SocketAddr,
}

/// Why a WebSocket connection ended. If there are several causes, the first one is reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, EnumCount, IntoStaticStr, VariantNames)]
#[strum(serialize_all = "snake_case")]
pub enum EndReason {
    /// The peer sent a close frame.
    PeerClosed,
    /// The peer disconnected without a close frame.
    PeerGone,
    /// No bytes were received within the idle timeout.
    Idle,
    /// The connection reached its maximum age.
    Age,
    /// The connection was superseded, then evicted because too many newer connections of its slot were superseded as
    /// well.
    SupersededEvicted,
    /// The connection was superseded, and its peer did not accept the rest of a partially sent message.
    SupersededStuck,
    /// The connection was superseded, the newer connection has left, and this one was closed so that its client
    /// reconnects.
    SupersededVacant,
    /// The peer sent no frame after a ping.
    Unanswered,
    /// The operator asked clients to fetch ICE servers again, and this client must reconnect to do so.
    IceReconnect,
    /// The client read too slowly and filled its outbox.
    SlowConsumer,
    /// The channel was deleted.
    ChannelDeleted,
    /// The peer violated the WebSocket protocol.
    ProtocolError(FrameError),
    /// The peer sent a binary message.
    Unsupported,
    /// The process is shutting down.
    Drain,
    /// A message took too long to arrive.
    SlowMessage,
    /// The peer sent too many control frames within a second.
    Flood,
    /// The operator closed the connection.
    Operator,
    /// Evicted in favour of another connection, because its account or caller had the most connections.
    MadeRoom,
    /// The caller lost its permission to connect because the credentials or the channel's tags have changed.
    Forbidden,
}

/// Number of reasons; all protocol errors count as one.
pub const END_REASONS: usize = EndReason::COUNT;

impl EndReason {
    /// Names of all reasons, in the order of [`EndReason::index`].
    pub const LABELS: &'static [&'static str] = Self::VARIANTS;

    /// Index of the reason in tables of counters.
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

/// Formats the reason as a name from a closed set, followed by the close code of a protocol error.
impl fmt::Display for EndReason {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str(self.into())?;
        if let Self::ProtocolError(error) = self {
            write!(to, ":{}", error.close_code())?;
        }
        Ok(())
    }
}

/// Why a message was refused. Every refused, throttled or overflowed message has exactly one reason.
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
    /// The payload is not a single JSON object.
    NotJson,
    /// A member is repeated or has the wrong type, or the correlation id does not match its pattern.
    Malformed,
    /// The action is missing or unknown.
    UnknownAction,
    /// The recipient named by the master is missing or is not a client id.
    UnknownRecipient,
    /// The master sent an offer, which only viewers may send under these rules.
    MasterOffer,
    /// An injected test fault refused the message; only under `--dev`.
    FaultInjected,
    /// The sender has exceeded its rate limit.
    TooFast,
    /// No space is left to forward or queue the message.
    NoRoom,
    /// The recipient cannot receive a message of this length.
    TooLongForRecipient,
}

/// Number of reasons.
pub const UNACCEPTED: usize = Unaccepted::COUNT;

impl Unaccepted {
    /// All reasons, in the order of [`Unaccepted::index`].
    pub const ALL: &'static [Self] = Self::VARIANTS;

    /// Returns the reason for a fault, and the payload's length if it is oversized, or 0 otherwise.
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

    /// Name in metrics, pages and the log.
    #[must_use]
    pub fn label(self) -> &'static str {
        self.into()
    }

    /// Explains the reason, including the limit. `bytes` and `most` are the length and limit of an oversized payload or
    /// message, or 0 if unknown.
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
            Self::NotJson => "it is not a JSON object",
            Self::Malformed => {
                "a member is repeated or of a wrong type, or correlationId has characters other than [a-zA-Z0-9_.-]"
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
            Self::FaultInjected => "a test fault refused it",
            Self::TooFast => "it exceeds the rate of one connection: [quotas] sdp, ice",
            Self::TooLongForRecipient => {
                "it is longer than its recipient supports: [limits] wss_message_bytes, [clients]"
            }
            Self::NoRoom => {
                "its recipient is not connected, and the queue is full: [limits] pending_bytes_per_channel"
            }
        }
    }

    /// Index of the reason in tables of counters.
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
            "messagePayload of 40,112 characters; expected at most 32,768"
        );
        assert_eq!(
            Unaccepted::TooLongForRecipient.says(28_122, 18_750),
            "a message of 28,122 bytes; expected at most 18,750 for its recipient by [limits] wss_message_bytes or \
             [clients]"
        );
    }
}
