//! Log entries as plain data. Shards record entries; a separate thread formats and writes them.
//!
//! No entry has a field for a query string, a payload, a signature or a secret, so none can get there by mistake. What
//! comes from the wire (client ids, names, ARNs) is escaped and cut where it is written.

pub(crate) mod end_reasons;
mod rate_limits;
mod refusals;

use crate::id::Account;
use codec::signal::{Action, FaultKind, Role};
use codec::ws::{FrameError, close};
use end_reasons::too_long;
pub use rate_limits::{LimitedJournal, Prefix};
pub use refusals::{
    Claims, EXPLAINED_BYTES_MAX, Explain, KEY_ID_BYTES_MAX, NAMED_CHARS_MAX, Presented,
    RefusalCount, Refused, Share, Subject,
};
use std::borrow::Cow;
use std::fmt;
use std::net::SocketAddr;
use strum::{EnumCount, IntoStaticStr, VariantArray, VariantNames};

/// Takes entries; must not wait. What it has no room for it drops and counts.
pub trait Journal: Send {
    /// Notes one entry.
    fn note(&mut self, entry: Entry);

    /// Keeps a place for the entry of a change that this account is about to make; false when there is none for it, and
    /// the change must not be. Each place is used by [`Journal::note_kept`] or given back by [`Journal::give_back`].
    fn keep_place(&mut self, account: Account) -> bool {
        let _ = account;
        true
    }

    /// Notes an entry in a place that was kept for it: it is never dropped.
    fn note_kept(&mut self, account: Account, entry: Entry) {
        let _ = account;
        self.note(entry);
    }

    /// The change was not made.
    fn give_back(&mut self, account: Account) {
        let _ = account;
    }
}

/// One line of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// A WebSocket connection is over. Limited per shard: see [`LimitedJournal::ended`].
    ConnectionEnd(ConnectionEnd),
    /// A request or upgrade was refused. Limited per shard: see [`LimitedJournal::refused`].
    Refused(Box<Refused>),
    /// Some refusals were not noted, since there were too many within a window: see [`LimitedJournal::window_over`].
    Suppressed {
        /// Their number.
        refusals: u64,
        /// The same by what they were about.
        counts: Box<[RefusalCount]>,
    },
    /// Some ends of connections were not noted, since there were too many within a second.
    EndsSuppressed {
        /// Their number.
        ends: u64,
    },
    /// A message was not accepted. Limited per shard: see [`LimitedJournal::unaccepted`].
    Unaccepted(Box<UnacceptedMessage>),
    /// A newer connection took the place of another. Limited per shard: see [`LimitedJournal::superseded`].
    Superseded(Box<Superseded>),
    /// A call changed something or was not allowed to.
    Audit(Audit),
    /// Another node did not answer.
    NodeTrouble {
        /// Its name.
        node: Box<str>,
        /// Why, in a word.
        why: &'static str,
        /// Requests that got 503 since the last such line.
        requests: u64,
    },
    /// Other credentials refuse connections that are open.
    Forbidden(Forbidden),
    /// The registry's store failed.
    StoreTrouble {
        /// The text of the store's error; no wire text.
        error: Box<str>,
    },
}

/// The end of a WebSocket connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectionEnd {
    /// The role in which it was admitted.
    pub role: Role,
    /// A viewer's client id.
    pub client_id: Option<Box<str>>,
    /// The channel's name, also when the channel was deleted meanwhile; `None` would be a fault of the telemetry.
    pub channel: Option<Box<str>>,
    /// The peer's address.
    pub remote: SocketAddr,
    /// From its admission to its end, in milliseconds.
    pub duration_ms: u64,
    /// Messages that it sent, refused ones included.
    pub messages_in: u32,
    /// Messages that were handed to it whole.
    pub messages_out: u32,
    /// Those of them that its machine did not confirm: they were kept for the next connection.
    pub returned: u32,
    /// From the admission of a viewer to its first offer, in milliseconds; `None` if it sent none.
    pub offered_ms: Option<u32>,
    /// From the admission of a viewer to the first answer that was handed to it; `None` if none was.
    pub answered_ms: Option<u32>,
    /// Why it ended.
    pub reason: EndReason,
    /// Of one that may not be open any more: the policy and statement that refuse it, or what is gone.
    pub refused_by: Option<Box<str>>,
}

/// Connections that were admitted, and that other credentials refuse.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forbidden {
    /// Open connections.
    pub connections: u64,
    /// Those of them that are refused.
    pub forbidden: u64,
    /// They are more than half: none is closed for a time, in which others may come.
    pub waits: bool,
}

/// A message that was not accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnacceptedMessage {
    /// The channel's name.
    pub channel: Box<str>,
    /// The role of its sender.
    pub role: Role,
    /// The client id of a viewer that sent it.
    pub client_id: Option<Box<str>>,
    /// The sender's address.
    pub remote: SocketAddr,
    /// Its action; `None` when it could not be understood.
    pub action: Option<Action>,
    /// Why.
    pub reason: Unaccepted,
    /// The length of its frame towards the recipient; of one whose payload is too long, that of the payload; else 0.
    pub bytes: usize,
    /// The longest payload that is allowed, of one whose payload is too long; else 0.
    pub most: usize,
    /// Messages that were not accepted and have no line, since the last line about one.
    pub unlogged: u64,
}

/// A connection whose place a newer one of the same role and client id took.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Superseded {
    /// The channel's name.
    pub channel: Box<str>,
    /// The role of both.
    pub role: Role,
    /// The client id of viewers.
    pub client_id: Option<Box<str>>,
    /// The address of the older one.
    pub remote: SocketAddr,
    /// The address of the newer one.
    pub by: SocketAddr,
    /// From the admission of the older one to that of the newer one, in milliseconds.
    pub after_ms: u64,
    /// The newer one is the master since nothing named its role, under `--dev`: a viewer that lacks its client id?
    pub unnamed: bool,
    /// Connections whose place was taken and that have no line, since the last line about one.
    pub unlogged: u64,
}

/// Who made a call. A session's name alone proves nothing: the caller chose it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditCaller {
    /// The principal, `federated-user/NAME`, `ROLE/SESSION`, or what signs in.
    pub name: Box<str>,
    /// Its account.
    pub account: Box<str>,
    /// The access key id that it signed with; `None` of one that signs in.
    pub key_id: Option<Box<str>>,
    /// The person or program behind its session.
    pub source_identity: Option<Box<str>>,
    /// The certificate or the token that its session hangs on.
    pub sign_in: Presented,
}

/// An API call that changes something, or that the policy refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Audit {
    /// `None` where requests are not signed.
    pub caller: Option<Box<AuditCaller>>,
    /// The operation's AWS name, or `ConnectAsMaster` and `ConnectAsViewer`.
    pub operation: &'static str,
    /// The channel's ARN, as far as it is known.
    pub channel_arn: Option<Box<str>>,
    /// The session that a call of STS asks for: the federated user, or `ROLE/SESSION`.
    pub session: Option<Box<str>>,
    /// The access key id of the temporary credentials that a call was granted.
    pub new_key_id: Option<Box<str>>,
    /// `ok`, or the error type of the answer; `unanswered` when the caller had left, or got a timeout, before
    /// it was known what came of the change.
    pub outcome: &'static str,
    /// The request id that the answer carries.
    pub request_id: Box<str>,
    /// The peer's address.
    pub remote: SocketAddr,
}

/// Why a WebSocket connection ended: the first thing that happened to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, EnumCount, IntoStaticStr, VariantNames)]
#[strum(serialize_all = "snake_case")]
pub enum EndReason {
    /// The peer sent a close frame.
    PeerClosed,
    /// The peer left without one.
    PeerGone,
    /// Nothing came for the whole idle limit.
    Idle,
    /// It reached the age limit of connections.
    Age,
    /// It was superseded, and so were too many after it.
    SupersededEvicted,
    /// It was superseded and did not take the rest of a message it had begun.
    SupersededStuck,
    /// It was superseded, and the connection that had taken its place left: it may come back.
    SupersededVacant,
    /// A ping was not answered by any frame.
    Unanswered,
    /// The operator made clients fetch ICE servers again, and this one must not get the message.
    IceReconnect,
    /// Its outbox was full.
    SlowConsumer,
    /// Its channel was deleted.
    ChannelDeleted,
    /// It broke the WebSocket protocol.
    ProtocolError(FrameError),
    /// It sent a binary message.
    Unsupported,
    /// The process ends.
    Drain,
    /// A message took too long from its first byte to its last.
    SlowMessage,
    /// Too many control frames within a second.
    Flood,
    /// The operator closed it.
    Operator,
    /// Its account, or caller, held most connections, and another one needed a place.
    MadeRoom,
    /// Its caller may not connect any more: other credentials, or other tags of its channel.
    Forbidden,
}

/// The number of reasons; protocol errors are one.
pub const END_REASONS: usize = EndReason::COUNT;

impl EndReason {
    /// The words of all reasons in the order of [`EndReason::index`].
    pub const LABELS: &'static [&'static str] = Self::VARIANTS;

    /// The reason's place in a table of counters.
    #[must_use]
    pub fn index(self) -> usize {
        let word: &str = self.into();
        let place = Self::LABELS.iter().position(|label| *label == word);
        place.unwrap_or_default()
    }

    /// The status code and the text of the close frame that we begin the close handshake with (RFC 6455 section 7.4).
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

/// The word in the log: one of a closed set, for a protocol error with its close code.
impl fmt::Display for EndReason {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str(self.into())?;
        if let Self::ProtocolError(error) = self {
            write!(to, ":{}", error.close_code())?;
        }
        Ok(())
    }
}

// The reasons are the labels of `heliograph_messages_unaccepted_total{reason}`.

/// Why a message was not accepted. Exactly one for each that ends as refused, throttled or overflow.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, EnumCount, IntoStaticStr, VariantArray,
)]
#[strum(serialize_all = "snake_case")]
pub enum Unaccepted {
    /// Its payload is longer than the limit.
    TooLong,
    /// It has no payload, or an empty one.
    NoPayload,
    /// Its payload is no base64.
    NotBase64,
    /// It is not one JSON object.
    NotJson,
    /// A member is there twice or of a wrong type, or the correlation id is against its pattern.
    Malformed,
    /// It has no action, or one that does not exist.
    UnknownAction,
    /// A master names no viewer, or not by a client id.
    UnknownRecipient,
    /// A master offers, and the rules say that viewers do.
    MasterOffer,
    /// A fault of a test refused it; under `--dev` only.
    FaultInjected,
    /// Its sender is faster than its quota.
    TooFast,
    /// There is no room to pass it on or to keep it.
    NoRoom,
    /// The client that it is for cannot take a message as long.
    TooLongForRecipient,
}

/// The number of reasons.
pub const UNACCEPTED: usize = Unaccepted::COUNT;

impl Unaccepted {
    /// All reasons, in the order of [`Unaccepted::index`].
    pub const ALL: &'static [Self] = Self::VARIANTS;

    /// The reason of a fault, with the length that is too long.
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

    /// The word in metrics, pages and the log.
    #[must_use]
    pub fn label(self) -> &'static str {
        self.into()
    }

    /// The reason in plain words, and what is allowed. `bytes` and `most` are the length and the limit of a payload,
    /// or of a message, that is too long, 0 where they are not known.
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

    /// The reason's place in a table of counters.
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
