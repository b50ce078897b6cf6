//! Sentences that explain why connections ended. The log and the metrics use single words instead.

use crate::journal::EndReason;
use codec::ws::{Excess, FrameError};
use std::borrow::Cow;
use std::num::NonZeroU8;

impl EndReason {
    /// Explains the reason in a sentence.
    #[must_use]
    pub fn says(self) -> Cow<'static, str> {
        let says = match self {
            Self::PeerClosed => "the client closed it",
            Self::PeerGone => "the client or its network left without a close frame",
            Self::Idle => "no frame arrived within [timeouts] idle",
            Self::Age => "it reached the age of [timeouts] connection_age",
            Self::SupersededEvicted => "too many newer connections took its place",
            Self::SupersededStuck => {
                "a newer connection took its place while it did not read the rest of a message"
            }
            Self::SupersededVacant => "a newer connection took its place, and ended",
            Self::Unanswered => "it did not answer a ping",
            Self::IceReconnect => "the operator requested that clients fetch ICE servers again",
            Self::SlowConsumer => "it reads too slowly: its queue exceeded [limits] outbox_bytes",
            Self::ChannelDeleted => "its channel was deleted",
            Self::ProtocolError(FrameError::MessageTooBig(excess)) => {
                let (bytes, most) = (excess.bytes().into(), excess.most().into());
                return too_long("a message", bytes, most, "bytes").into();
            }
            Self::ProtocolError(error) => error.reason(),
            Self::Unsupported => "it sent a binary message: only text is supported",
            Self::Drain => "the broker drained, or moved its channel to another node",
            Self::SlowMessage => "a message took too long from its first byte to its last",
            Self::Flood => {
                "too many frames without effect within a second: pings, or messages not accepted"
            }
            Self::Operator => "the operator closed it",
            Self::MadeRoom => {
                "it was evicted for another one: its account or caller held most connections"
            }
            Self::Forbidden => "the credentials or the channel's tags no longer let it connect",
        };
        says.into()
    }
}

/// Formats a length and its limit, as in "a message of 70,112 bytes; expected at most 65,536".
pub(crate) fn too_long(what: &str, length: u64, most: u64, unit: &str) -> String {
    format!(
        "{what} of {} {unit}; expected at most {}",
        grouped(length),
        grouped(most)
    )
}

/// Formats a number with commas between thousands, such as `13,014`.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

// One-byte codes for the reasons, as stored in sessions and flight recorder notes. The lengths of an oversized message
// are stored separately.

impl EndReason {
    /// Returns the reason's index in `REASONS`, counted from 1.
    #[must_use]
    pub(crate) fn code(self) -> NonZeroU8 {
        let is_too_big = matches!(self, Self::ProtocolError(FrameError::MessageTooBig(_)));
        let plain = if is_too_big { TOO_BIG } else { self };
        let place = REASONS.iter().position(|known| *known == plain);
        let code = place.and_then(|place| u8::try_from(place + 1).ok());
        code.and_then(NonZeroU8::new).unwrap_or(NonZeroU8::MAX)
    }

    /// Returns the reason with this code. `excess` contains the actual and the maximum length of an oversized message.
    #[must_use]
    pub(crate) fn of_code(code: NonZeroU8, excess: Excess) -> Option<Self> {
        let known = REASONS.get(usize::from(code.get()) - 1).copied()?;
        let is_too_big = known == TOO_BIG;
        let whole = Self::ProtocolError(FrameError::MessageTooBig(excess));
        Some(if is_too_big { whole } else { known })
    }

    #[must_use]
    pub(crate) fn excess(self) -> Excess {
        if let Self::ProtocolError(FrameError::MessageTooBig(excess)) = self {
            excess
        } else {
            Excess::NONE
        }
    }
}

const TOO_BIG: EndReason = EndReason::ProtocolError(FrameError::MessageTooBig(Excess::NONE));

const REASONS: [EndReason; 34] = [
    EndReason::PeerClosed,
    EndReason::PeerGone,
    EndReason::Idle,
    EndReason::Age,
    EndReason::SupersededEvicted,
    EndReason::SupersededStuck,
    EndReason::SupersededVacant,
    EndReason::Unanswered,
    EndReason::IceReconnect,
    EndReason::SlowConsumer,
    EndReason::ChannelDeleted,
    EndReason::Unsupported,
    EndReason::Drain,
    EndReason::SlowMessage,
    EndReason::Flood,
    EndReason::Operator,
    EndReason::ProtocolError(FrameError::ReservedBits),
    EndReason::ProtocolError(FrameError::UnknownOpcode),
    EndReason::ProtocolError(FrameError::Unmasked),
    EndReason::ProtocolError(FrameError::Masked),
    EndReason::ProtocolError(FrameError::LengthNotMinimal),
    EndReason::ProtocolError(FrameError::LengthTopBit),
    EndReason::ProtocolError(FrameError::ControlTooLong),
    EndReason::ProtocolError(FrameError::ControlFragmented),
    EndReason::ProtocolError(FrameError::ContinuationWithoutStart),
    EndReason::ProtocolError(FrameError::StartInsideMessage),
    EndReason::ProtocolError(FrameError::CloseTooShort),
    EndReason::ProtocolError(FrameError::CloseCode),
    EndReason::ProtocolError(FrameError::CloseReasonNotUtf8),
    EndReason::ProtocolError(FrameError::TextNotUtf8),
    TOO_BIG,
    EndReason::ProtocolError(FrameError::TooManyFragments),
    EndReason::MadeRoom,
    EndReason::Forbidden,
];

#[cfg(test)]
mod tests {
    use super::*;
    use codec::ws::Excess;

    #[test]
    fn a_message_that_is_too_big_shows_its_length_and_the_limit() {
        let of = |bytes, most| {
            let error = FrameError::MessageTooBig(Excess::new(bytes, most));
            EndReason::ProtocolError(error).says().into_owned()
        };
        let wanted = "a message of 70,112 bytes; expected at most 65,536";
        assert_eq!(of(70_112, 65_536), wanted);
        let wanted = "a message of 16,777,215 bytes; expected at most 999";
        assert_eq!(of(u64::MAX, 999), wanted);
        let unmasked = EndReason::ProtocolError(FrameError::Unmasked);
        assert_eq!(unmasked.says(), "a client's frame must be masked");
    }
}

#[cfg(test)]
mod codes_tests {
    use super::*;

    #[test]
    fn every_reason_has_a_code() {
        for known in REASONS {
            assert_eq!(EndReason::of_code(known.code(), Excess::NONE), Some(known));
            // A reason that is missing here is also missing in `REASONS`.
            match known {
                EndReason::PeerClosed
                | EndReason::PeerGone
                | EndReason::Idle
                | EndReason::Age
                | EndReason::SupersededEvicted
                | EndReason::SupersededStuck
                | EndReason::SupersededVacant
                | EndReason::Unanswered
                | EndReason::IceReconnect
                | EndReason::SlowConsumer
                | EndReason::ChannelDeleted
                | EndReason::ProtocolError(
                    FrameError::ReservedBits
                    | FrameError::UnknownOpcode
                    | FrameError::Unmasked
                    | FrameError::Masked
                    | FrameError::LengthNotMinimal
                    | FrameError::LengthTopBit
                    | FrameError::ControlTooLong
                    | FrameError::ControlFragmented
                    | FrameError::ContinuationWithoutStart
                    | FrameError::StartInsideMessage
                    | FrameError::CloseTooShort
                    | FrameError::CloseCode
                    | FrameError::CloseReasonNotUtf8
                    | FrameError::TextNotUtf8
                    | FrameError::MessageTooBig(_)
                    | FrameError::TooManyFragments,
                )
                | EndReason::Unsupported
                | EndReason::Drain
                | EndReason::SlowMessage
                | EndReason::Flood
                | EndReason::Operator
                | EndReason::MadeRoom
                | EndReason::Forbidden => {}
            }
        }
        let mut codes: Vec<u8> = REASONS.map(|known| known.code().get()).to_vec();
        codes.sort_unstable();
        assert_eq!(codes, (1..=34).collect::<Vec<u8>>());
        assert_eq!(EndReason::of_code(NonZeroU8::MAX, Excess::NONE), None);
    }
}
