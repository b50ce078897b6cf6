//! Log entries as plain data. Shards record them, and a separate thread formats and writes them.
//!
//! No entry has a field for a query string, a payload, a signature or a secret, so none of these can be logged by
//! accident. Text from clients (client ids, names, ARNs) is escaped and truncated on output.

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

/// Accepts log entries without ever blocking. A full journal drops further entries and counts them.
pub trait Journal: Send {
    /// Records an entry.
    fn note(&mut self, entry: Entry);

    /// Reserves space for the audit entry of a change by an account. Returns `false` if none is left, in which case the
    /// change must not be made. Every reservation ends with a call to [`Journal::note_kept`] or [`Journal::give_back`].
    fn keep_place(&mut self, _account: Account) -> bool {
        true
    }

    /// Records an entry in its reserved space. It is never dropped.
    fn note_kept(&mut self, _account: Account, entry: Entry) {
        self.note(entry);
    }

    /// Releases the space reserved for a change that was not made.
    fn give_back(&mut self, _account: Account) {}
}

/// A log entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// A WebSocket connection ended. Rate-limited per shard; see [`LimitedJournal::ended`].
    ConnectionEnd(ConnectionEnd),
    /// A request or upgrade was refused. Rate-limited per shard; see [`LimitedJournal::refused`].
    Refused(Box<Refused>),
    /// Some refusals in a time window were not logged; see [`LimitedJournal::window_over`].
    Suppressed {
        /// The number of unlogged refusals.
        refusals: u64,
        /// The number of unlogged refusals, by check and subject.
        counts: Box<[RefusalCount]>,
    },
    /// Some of the connections that ended within a second were not logged.
    EndsSuppressed {
        /// The number of unlogged connection ends.
        ends: u64,
    },
    /// A message was refused. Rate-limited per shard; see [`LimitedJournal::unaccepted`].
    Unaccepted(Box<UnacceptedMessage>),
    /// A connection was superseded. Rate-limited per shard; see [`LimitedJournal::superseded`].
    Superseded(Box<Superseded>),
    /// A call that changed something, or that a policy denied.
    Audit(Audit),
    /// Another node did not respond.
    NodeTrouble {
        /// Name of the node.
        node: Box<str>,
        /// Why the node did not respond, in a few words.
        why: &'static str,
        /// The number of requests answered with 503 since the last entry of this kind.
        requests: u64,
    },
    /// The reloaded credentials no longer permit some of the open connections.
    Forbidden(Forbidden),
    /// The registry's store failed.
    StoreTrouble {
        /// The store's error message, which contains nothing received from clients.
        error: Box<str>,
    },
}

/// A WebSocket connection that ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectionEnd {
    /// The role in which the connection was admitted.
    pub role: Role,
    /// The client id of a viewer.
    pub client_id: Option<Box<str>>,
    /// The name of the channel, which may have been deleted by now. `None` only if the telemetry has a bug.
    pub channel: Option<Box<str>>,
    /// The account of the channel. Not logged.
    pub account: Account,
    /// Address of the peer.
    pub remote: SocketAddr,
    /// Time from the connection's admission until it ended, in milliseconds.
    pub duration_ms: u64,
    /// Number of messages received, including refused ones.
    pub messages_in: u32,
    /// Number of messages delivered to the client in full.
    pub messages_out: u32,
    /// Number of messages that were sent on this connection without being acknowledged, and queued again for the
    /// client's next connection.
    pub returned: u32,
    /// Time from a viewer's admission to its first offer, in milliseconds; `None` if it sent no offer.
    pub offered_ms: Option<u32>,
    /// Time from a viewer's admission to its first answer, in milliseconds; `None` if it received no answer.
    pub answered_ms: Option<u32>,
    /// Why the connection ended.
    pub reason: EndReason,
    /// If the connection was closed for lack of permission, the policy statement that denies it, or the key, role,
    /// policy or sign-in that was removed.
    pub refused_by: Option<Box<str>>,
}

/// How many open connections the reloaded credentials no longer permit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forbidden {
    /// Number of open connections.
    pub connections: u64,
    /// Number of open connections that are no longer permitted.
    pub forbidden: u64,
    /// Whether these connections are closed only after a delay. This happens if they are more than half of all
    /// connections, because the operator may still reload corrected credentials.
    pub waits: bool,
}

/// A refused message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnacceptedMessage {
    /// The name of the channel.
    pub channel: Box<str>,
    /// The account of the channel. Not logged.
    pub account: Account,
    /// The sender's role.
    pub role: Role,
    /// The sender's client id, if it is a viewer.
    pub client_id: Option<Box<str>>,
    /// The sender's address.
    pub remote: SocketAddr,
    /// The message's action, if it could be parsed.
    pub action: Option<Action>,
    /// Why the message was refused.
    pub reason: Unaccepted,
    /// The length of the payload if it is too long. Otherwise, the length of the frame that the recipient would have
    /// received, or 0 if there is no such frame.
    pub bytes: usize,
    /// The maximum payload length if the payload is too long; otherwise, 0.
    pub most: usize,
    /// Number of refused messages that went unlogged since the last entry of this kind.
    pub unlogged: u64,
}

/// A connection superseded by a newer one with the same role and client id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Superseded {
    /// The name of the channel.
    pub channel: Box<str>,
    /// The account of the channel. Not logged.
    pub account: Account,
    /// Role of both connections.
    pub role: Role,
    /// The client id of both connections, if they belong to a viewer.
    pub client_id: Option<Box<str>>,
    /// Address of the older connection.
    pub remote: SocketAddr,
    /// Address of the newer connection.
    pub by: SocketAddr,
    /// How long after the older connection the newer one was admitted, in milliseconds.
    pub after_ms: u64,
    /// Whether the newer connection is a master's only by default, because its request specifies no role. The client
    /// may be a viewer that sends no client id. Set only under `--dev`.
    pub unnamed: bool,
    /// Number of superseded connections that went unlogged since the last entry of this kind.
    pub unlogged: u64,
}

/// The caller in an audit entry. The session name alone proves nothing about the caller's identity, because the caller
/// chooses it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditCaller {
    /// The caller's name: a principal, `federated-user/NAME`, `ROLE/SESSION`, or the identity that signed in.
    pub name: Box<str>,
    /// The caller's account.
    pub account: Box<str>,
    /// The access key id that signed the request; `None` for a sign-in.
    pub key_id: Option<Box<str>>,
    /// Source identity: the person or program that the session acts for.
    pub source_identity: Option<Box<str>>,
    /// The certificate or token with which the caller signed in to obtain the session.
    pub sign_in: Presented,
}

/// An API call that is audited because it changes something or a policy denied it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Audit {
    /// The caller; `None` if the request needed no signature.
    pub caller: Option<Box<AuditCaller>>,
    /// The name of the AWS operation, or `ConnectAsMaster` or `ConnectAsViewer` for an upgrade.
    pub operation: &'static str,
    /// The ARN of the channel, as far as it is known.
    pub channel_arn: Option<Box<str>>,
    /// The session requested by an STS call: the federated user, or `ROLE/SESSION`.
    pub session: Option<Box<str>>,
    /// The access key id of the temporary credentials that were issued.
    pub new_key_id: Option<Box<str>>,
    /// `ok`, or the error type in the response. `unanswered` if the caller disconnected or timed out before the outcome
    /// was known.
    pub outcome: &'static str,
    /// The request id in the response.
    pub request_id: Box<str>,
    /// Address of the peer.
    pub remote: SocketAddr,
}

/// Why a WebSocket connection ended. If there are several causes, the first one counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, EnumCount, IntoStaticStr, VariantNames)]
#[strum(serialize_all = "snake_case")]
pub enum EndReason {
    /// The peer sent a close frame.
    PeerClosed,
    /// The peer disconnected without a close frame.
    PeerGone,
    /// No bytes arrived within the idle timeout.
    Idle,
    /// The connection reached its maximum age.
    Age,
    /// The connection had been superseded. It was closed because its slot had too many superseded connections, and all
    /// the others were newer.
    SupersededEvicted,
    /// The connection was superseded while a message was partly sent, and its peer did not read the rest of that
    /// message.
    SupersededStuck,
    /// The connection was superseded by one that has since ended. Closed so that its client reconnects.
    SupersededVacant,
    /// The peer sent no frame in response to a ping.
    Unanswered,
    /// The operator asked all clients to fetch the ICE servers again. To do so, this client has to reconnect.
    IceReconnect,
    /// The client read too slowly and its outbox filled up.
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
    /// The connection was evicted to make room for another one, because its account or caller had the most connections.
    MadeRoom,
    /// The caller may no longer connect, because the credentials or the channel's tags changed.
    Forbidden,
}

/// The number of reasons, where all protocol errors count as one.
pub const END_REASONS: usize = EndReason::COUNT;

impl EndReason {
    /// The names of all reasons, in the order of [`EndReason::index`].
    pub const LABELS: &'static [&'static str] = Self::VARIANTS;

    /// Returns this reason's index in tables of counters.
    #[must_use]
    pub fn index(self) -> usize {
        let word: &str = self.into();
        let place = Self::LABELS.iter().position(|label| *label == word);
        place.unwrap_or_default()
    }

    /// Returns the status code and reason text for the close frame (RFC 6455 section 7.4).
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

/// Formats the reason as one of a fixed set of names. A protocol error's name is followed by its close code.
impl fmt::Display for EndReason {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str(self.into())?;
        if let Self::ProtocolError(error) = self {
            write!(to, ":{}", error.close_code())?;
        }
        Ok(())
    }
}

/// Why a message was refused. Every message that is refused, throttled or dropped for lack of space has exactly one
/// reason.
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
    /// A JSON member is repeated or has the wrong type, or the correlation id does not match its pattern.
    Malformed,
    /// The action is missing or unknown.
    UnknownAction,
    /// The master named no recipient, or one that is not a client id.
    UnknownRecipient,
    /// The master sent an offer, but the configuration allows only viewers to send offers.
    MasterOffer,
    /// An injected test fault refused the message. Only under `--dev`.
    FaultInjected,
    /// The sender has exceeded its rate limit.
    TooFast,
    /// There was no space left to forward or queue the message.
    NoRoom,
    /// The recipient cannot receive a message of this length.
    TooLongForRecipient,
}

/// The number of reasons.
pub const UNACCEPTED: usize = Unaccepted::COUNT;

impl Unaccepted {
    /// All reasons, in the order of [`Unaccepted::index`].
    pub const ALL: &'static [Self] = Self::VARIANTS;

    /// Converts a fault in a message into the reason for refusing it. Also returns the payload length if it is too
    /// long; otherwise, 0.
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

    /// Returns the name used in metrics, in the log and on the pages for operators.
    #[must_use]
    pub fn label(self) -> &'static str {
        self.into()
    }

    /// Returns a sentence that explains the reason and states any limit that was exceeded. `bytes` and `most` are the
    /// actual and the maximum length of an oversized payload or message, or 0 if unknown.
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

    /// Returns this reason's index in tables of counters.
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
