//! Ends of connections in words, for people; the log and the metrics have one word each.

use crate::journal::EndReason;
use codec::ws::FrameError;
use std::borrow::Cow;

impl EndReason {
    /// The reason in plain words.
    #[must_use]
    pub fn says(self) -> Cow<'static, str> {
        let says = match self {
            Self::PeerClosed => "the client closed it",
            Self::PeerGone => "the client or its network left without a close frame",
            Self::Idle => "nothing came for the time of [timeouts] idle",
            Self::Age => "it reached the age of [timeouts] connection_age",
            Self::SupersededEvicted => "newer connections took its place, too many of them",
            Self::SupersededStuck => {
                "a newer connection took its place, and it did not read the rest of a message"
            }
            Self::SupersededVacant => "a newer connection took its place, and left it",
            Self::Unanswered => "it did not answer a ping",
            Self::IceReconnect => "the operator had clients fetch ICE servers again",
            Self::SlowConsumer => {
                "it reads too slowly: more waited for it than [limits] outbox_bytes"
            }
            Self::ChannelDeleted => "its channel was deleted",
            Self::ProtocolError(FrameError::MessageTooBig(excess)) => {
                let (bytes, most) = (excess.bytes().into(), excess.most().into());
                return too_long("a message", bytes, most, "bytes").into();
            }
            Self::ProtocolError(error) => error.reason(),
            Self::Unsupported => "it sent a binary message, and only text is understood",
            Self::Drain => "the broker, or its part of the channels, moved or ended",
            Self::SlowMessage => "a message took too long from its first byte to its last",
            Self::Flood => {
                "too many frames without effect within a second: pings, or messages not accepted"
            }
            Self::Operator => "the operator closed it",
            Self::MadeRoom => {
                "its account or caller held most connections, and another one needed a place"
            }
            Self::Forbidden => "the credentials or the channel's tags no longer let it connect",
        };
        says.into()
    }
}

/// A length and its limit: "a message of 70,112 bytes; 65,536 are allowed".
pub(crate) fn too_long(what: &str, length: u64, most: u64, unit: &str) -> String {
    format!(
        "{what} of {} {unit}; {} are allowed",
        grouped(length),
        grouped(most)
    )
}

/// A number with a comma between thousands, such as `13,014`.
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
        let wanted = "a message of 70,112 bytes; 65,536 are allowed";
        assert_eq!(of(70_112, 65_536), wanted);
        let wanted = "a message of 16,777,215 bytes; 999 are allowed";
        assert_eq!(of(u64::MAX, 999), wanted);
        let unmasked = EndReason::ProtocolError(FrameError::Unmasked);
        assert_eq!(unmasked.says(), "a client's frame must be masked");
    }
}
