//! Why a message was not accepted, as `heliograph_messages_unaccepted_total{reason}` names it.

use crate::journal::words::too_long;
use codec::signal::FaultKind;
use std::borrow::Cow;
use strum::{EnumCount, IntoStaticStr, VariantArray};

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
                return format!("{lengths} for its recipient by [limits] wss_message_bytes").into();
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
                "it is longer than its recipient can take: [limits] wss_message_bytes"
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
            "a message of 28,122 bytes; 18,750 are allowed for its recipient by [limits] wss_message_bytes"
        );
    }
}
