//! Close codes and reasons, and those of each error.
//!
//! Source: RFC 6455 sections 5.5.1 and 7.4.

use crate::ws::FrameError;

/// The purpose of the connection was fulfilled.
pub const NORMAL: u16 = 1000;
/// The endpoint is going down or away.
pub const GOING_AWAY: u16 = 1001;
/// The peer broke the protocol.
pub const PROTOCOL: u16 = 1002;
/// A kind of data that the endpoint cannot take.
pub const UNSUPPORTED: u16 = 1003;
/// Data that is not what its kind says: text that is not UTF-8.
pub const INVALID_PAYLOAD: u16 = 1007;
/// A message against a policy that no other code names.
pub const POLICY: u16 = 1008;
/// A message too big to process.
pub const TOO_BIG: u16 = 1009;

/// Longest reason in bytes: what a control frame holds, less the code.
pub const REASON_BYTES_MAX: usize = super::CONTROL_BYTES_MAX - 2;

/// The body of a close frame that has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CloseFrame<'a> {
    /// The status code; one that [`valid_code`] allows.
    pub code: u16,
    /// The reason, at most [`REASON_BYTES_MAX`] bytes; often empty.
    pub reason: &'a str,
}

impl<'a> CloseFrame<'a> {
    /// Reads the payload of a close frame; `None` when it is empty, which means code 1005; that code is never sent.
    ///
    /// # Errors
    /// One byte of payload, a code that must not be sent, a reason that is not UTF-8.
    pub fn parse(payload: &'a [u8]) -> Result<Option<Self>, FrameError> {
        if payload.is_empty() {
            return Ok(None);
        }
        //= https://www.rfc-editor.org/rfc/rfc6455#section-5.5.1
        //# If there is a body, the first two bytes of
        //# the body MUST be a 2-byte unsigned integer (in network byte order)
        //# representing a status code with value /code/ defined in Section 7.4.
        let Some((code, reason)) = payload.split_first_chunk() else {
            return Err(FrameError::CloseTooShort);
        };
        let code = u16::from_be_bytes(*code);
        if !valid_code(code) {
            return Err(FrameError::CloseCode);
        }
        let Ok(reason) = std::str::from_utf8(reason) else {
            return Err(FrameError::CloseReasonNotUtf8);
        };
        Ok(Some(Self { code, reason }))
    }
}

/// Whether a code may be in a close frame.
///
/// 1000 to 1003 and 1007 to 1011 of the RFC, 1012 to 1014 registered since with IANA ("WebSocket Close Code Number
/// Registry": service restart, try again later, bad gateway), 3000 to 3999 for libraries, 4000 to 4999 for
/// applications.
#[must_use]
pub const fn valid_code(code: u16) -> bool {
    //= https://www.rfc-editor.org/rfc/rfc6455#section-7.4.1
    //# 1005 is a reserved value and MUST NOT be set as a status code in a
    //# Close control frame by an endpoint.
    //= https://www.rfc-editor.org/rfc/rfc6455#section-7.4.2
    //# Status codes in the range 0-999 are not used.
    matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999)
}

impl FrameError {
    /// The code that is sent to the peer.
    #[must_use]
    pub const fn close_code(self) -> u16 {
        match self {
            Self::ReservedBits
            | Self::UnknownOpcode
            | Self::Unmasked
            | Self::Masked
            | Self::LengthNotMinimal
            | Self::LengthTopBit
            | Self::ControlTooLong
            | Self::ControlFragmented
            | Self::ContinuationWithoutStart
            | Self::StartInsideMessage
            | Self::CloseTooShort
            | Self::CloseCode => PROTOCOL,
            Self::CloseReasonNotUtf8 | Self::TextNotUtf8 => INVALID_PAYLOAD,
            Self::MessageTooBig(_) => TOO_BIG,
            Self::TooManyFragments => POLICY,
        }
    }

    /// The reason that is sent to the peer: at most [`REASON_BYTES_MAX`] bytes of ASCII.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Self::ReservedBits => "reserved bits are set without an extension",
            Self::UnknownOpcode => "unknown opcode",
            Self::Unmasked => "a client's frame must be masked",
            Self::Masked => "a server's frame must not be masked",
            Self::LengthNotMinimal => "payload length in a longer form than needed",
            Self::LengthTopBit => "payload length with its top bit set",
            Self::ControlTooLong => "control frame longer than 125 bytes",
            Self::ControlFragmented => "control frame is fragmented",
            Self::ContinuationWithoutStart => "continuation without a message to continue",
            Self::StartInsideMessage => "a message starts inside a fragmented one",
            Self::CloseTooShort => "close frame with one byte of payload",
            Self::CloseCode => "close code that must not be sent",
            Self::CloseReasonNotUtf8 => "close reason is not UTF-8",
            Self::TextNotUtf8 => "text message is not UTF-8",
            Self::MessageTooBig(_) => "message is too big",
            Self::TooManyFragments => "message has too many fragments",
        }
    }
}

impl From<FrameError> for CloseFrame<'static> {
    fn from(error: FrameError) -> Self {
        Self {
            code: error.close_code(),
            reason: error.reason(),
        }
    }
}

#[cfg(test)]
mod tests {

    use super::*;

    //= https://www.rfc-editor.org/rfc/rfc6455#section-7.4.1
    //= type=test
    //# 1005 is a reserved value and MUST NOT be set as a status code in a
    //# Close control frame by an endpoint.
    #[test]
    fn codes_that_may_be_sent() {
        let invalid = [
            0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535,
        ];
        for code in invalid {
            assert!(!valid_code(code), "{code}");
            assert_eq!(
                CloseFrame::parse(&u16::to_be_bytes(code)),
                Err(FrameError::CloseCode),
                "{code}"
            );
        }
        let ours = [
            NORMAL,
            GOING_AWAY,
            PROTOCOL,
            UNSUPPORTED,
            INVALID_PAYLOAD,
            POLICY,
            TOO_BIG,
        ];
        for code in ours
            .into_iter()
            .chain([1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999])
        {
            assert!(valid_code(code), "{code}");
            assert_eq!(
                CloseFrame::parse(&u16::to_be_bytes(code)),
                Ok(Some(CloseFrame { code, reason: "" }))
            );
        }
    }

    #[test]
    fn bodies() {
        let close = |code, reason| Ok(Some(CloseFrame { code, reason }));
        assert_eq!(CloseFrame::parse(b""), Ok(None));
        assert_eq!(CloseFrame::parse(b"\x03"), Err(FrameError::CloseTooShort));
        assert_eq!(CloseFrame::parse(b"\x03\xE8"), close(1000, ""));
        assert_eq!(
            CloseFrame::parse(b"\x03\xE9gr\xC3\xBC\xC3\x9Fe"),
            close(1001, "gr\u{FC}\u{DF}e")
        );
        let cut = CloseFrame::parse(b"\x03\xE8gr\xC3");
        assert_eq!(cut, Err(FrameError::CloseReasonNotUtf8));
    }

    #[test]
    fn every_error_has_a_code_and_a_reason_that_fit_a_close_frame() {
        let errors = [
            FrameError::ReservedBits,
            FrameError::UnknownOpcode,
            FrameError::Unmasked,
            FrameError::Masked,
            FrameError::LengthNotMinimal,
            FrameError::LengthTopBit,
            FrameError::ControlTooLong,
            FrameError::ControlFragmented,
            FrameError::ContinuationWithoutStart,
            FrameError::StartInsideMessage,
            FrameError::CloseTooShort,
            FrameError::CloseCode,
            FrameError::CloseReasonNotUtf8,
            FrameError::TextNotUtf8,
            FrameError::too_big(70_112, 65_536),
            FrameError::TooManyFragments,
        ];
        for error in errors {
            let told = CloseFrame::from(error);
            assert!(valid_code(told.code), "{error:?}");
            assert!(
                !told.reason.is_empty() && told.reason.len() <= REASON_BYTES_MAX,
                "{error:?}"
            );
            assert!(told.reason.is_ascii(), "{error:?}");
        }
    }
}
