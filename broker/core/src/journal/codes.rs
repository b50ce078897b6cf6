//! Ends of connections in a byte, as a session keeps them, and a note of the recorder. The lengths of a message that
//! was too big are kept apart.

use crate::journal::EndReason;
use codec::ws::{Excess, FrameError};
use std::num::NonZeroU8;

impl EndReason {
    /// The code of the reason: its place among all of them, from 1 on.
    #[must_use]
    pub(crate) fn code(self) -> NonZeroU8 {
        let is_too_big = matches!(self, Self::ProtocolError(FrameError::MessageTooBig(_)));
        let plain = if is_too_big { TOO_BIG } else { self };
        let place = REASONS.iter().position(|known| *known == plain);
        let code = place.and_then(|place| u8::try_from(place + 1).ok());
        code.and_then(NonZeroU8::new).unwrap_or(NonZeroU8::MAX)
    }

    /// The reason of a code, with the lengths of a message that was too big.
    #[must_use]
    pub(crate) fn of_code(code: NonZeroU8, excess: Excess) -> Option<Self> {
        let known = REASONS.get(usize::from(code.get()) - 1).copied()?;
        let is_too_big = known == TOO_BIG;
        let whole = Self::ProtocolError(FrameError::MessageTooBig(excess));
        Some(if is_too_big { whole } else { known })
    }

    /// The lengths of a message that was too big; none for any other reason.
    #[must_use]
    pub(crate) fn excess(self) -> Excess {
        if let Self::ProtocolError(FrameError::MessageTooBig(excess)) = self {
            excess
        } else {
            Excess::NONE
        }
    }
}

/// A message that was too big, without its lengths.
const TOO_BIG: EndReason = EndReason::ProtocolError(FrameError::MessageTooBig(Excess::NONE));

/// All reasons, in the order of their codes.
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

    #[test]
    fn every_reason_has_a_code() {
        for known in REASONS {
            assert_eq!(EndReason::of_code(known.code(), Excess::NONE), Some(known));
            // A reason that is missing here is missing in the list as well.
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
