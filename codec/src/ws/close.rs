//! Close codes and reasons, and the protocol violations that they report.
//!
//! Source: RFC 6455 sections 5.5.1 and 7.4.

/// The connection has fulfilled its purpose.
pub const NORMAL: u16 = 1000;
/// The server is shutting down, or the client is leaving.
pub const GOING_AWAY: u16 = 1001;
/// The peer violated the protocol.
pub const PROTOCOL: u16 = 1002;
/// The endpoint received data of a kind that it does not support.
pub const UNSUPPORTED: u16 = 1003;
/// The data does not match the type of its message, such as text that is not UTF-8.
pub const INVALID_PAYLOAD: u16 = 1007;
/// A message violated a policy and no more specific code applies.
pub const POLICY: u16 = 1008;
/// A message is too large to process.
pub const TOO_BIG: u16 = 1009;

/// Maximum length of a close reason in bytes: the maximum payload of a control frame, minus the code.
pub const REASON_BYTES_MAX: usize = super::CONTROL_BYTES_MAX - 2;

/// The payload of a close frame, if it is not empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CloseFrame<'a> {
    /// The status code, which is valid according to [`valid_code`].
    pub code: u16,
    /// The reason, of at most [`REASON_BYTES_MAX`] bytes. Often empty.
    pub reason: &'a str,
}

impl<'a> CloseFrame<'a> {
    /// Parses the payload of a close frame. Returns `None` if it is empty, which the RFC represents as code 1005. That
    /// code is never sent.
    ///
    /// # Errors
    /// Returns an error if the payload is a single byte, the code must not be sent, or the reason is not UTF-8.
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

/// Returns whether a close frame may contain a code. Valid codes are 1000 to 1003 and 1007 to 1011 from the RFC; 1012
/// to 1014 from IANA's registry (service restart, try again later, bad gateway); 3000 to 3999 for libraries; and 4000
/// to 4999 for applications.
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
    /// Returns the close code to send to the peer.
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

    /// Returns the close reason to send to the peer: at most [`REASON_BYTES_MAX`] bytes of ASCII.
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

/// A protocol violation by the peer. The connection is closed (RFC 6455 section 7.1.7) with the code
/// [`close_code`](FrameError::close_code) and the reason [`reason`](FrameError::reason).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FrameError {
    /// A reserved bit is set although no extension was negotiated (section 5.2). Closed with 1002.
    ReservedBits,
    /// The opcode is reserved (section 5.2). Closed with 1002.
    UnknownOpcode,
    /// A frame from a client is not masked (section 5.1). Closed with 1002.
    Unmasked,
    /// A frame from a server is masked (section 5.1). Closed with 1002.
    Masked,
    /// The length is not encoded in its shortest form (section 5.2). Closed with 1002.
    LengthNotMinimal,
    /// The most significant bit of a 64-bit length is set (section 5.2). Closed with 1002.
    LengthTopBit,
    /// A control frame exceeds 125 bytes (section 5.5). Closed with 1002.
    ControlTooLong,
    /// A control frame is fragmented, that is, FIN is not set (section 5.5). Closed with 1002.
    ControlFragmented,
    /// A continuation frame arrived outside a message (section 5.4). Closed with 1002.
    ContinuationWithoutStart,
    /// A text or binary frame arrived inside a fragmented message (section 5.4). Closed with 1002.
    StartInsideMessage,
    /// The payload of a close frame is a single byte (section 5.5.1). Closed with 1002.
    CloseTooShort,
    /// A close frame contains a code that must not be sent (sections 7.4.1 and 7.4.2). Closed with 1002.
    CloseCode,
    /// The reason of a close frame is not UTF-8 (section 5.5.1). Closed with 1007.
    CloseReasonNotUtf8,
    /// A text message is not UTF-8 (section 8.1). Closed with 1007.
    TextNotUtf8,
    /// A message exceeds the length permitted by the receiver's rules (section 10.4). Closed with 1009.
    MessageTooBig(Excess),
    /// A message has more frames than the receiver's rules permit (section 10.4). Closed with 1008, since 1009 would be
    /// misleading.
    TooManyFragments,
}

/// The length of an oversized message, and the maximum permitted. Each is stored in three bytes and saturates at
/// [`Excess::GREATEST`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Excess {
    bytes: [u8; 3],
    most: [u8; 3],
}

impl Excess {
    /// The largest length that can be represented: one byte less than 16 MiB.
    pub const GREATEST: u32 = (1 << 24) - 1;

    /// Placeholder for use when the lengths are not known.
    pub const NONE: Self = Self {
        bytes: [0; 3],
        most: [0; 3],
    };

    /// Describes a message of `bytes` bytes that exceeds the maximum of `most` bytes.
    #[must_use]
    pub fn new(bytes: u64, most: u64) -> Self {
        let three = |length: u64| {
            let length = length.min(Self::GREATEST.into());
            let [low, middle, high, ..] = length.to_le_bytes();
            [low, middle, high]
        };
        Self {
            bytes: three(bytes),
            most: three(most),
        }
    }

    /// Returns the message's length in bytes, as declared by the frame headers so far.
    #[must_use]
    pub fn bytes(self) -> u32 {
        let [low, middle, high] = self.bytes;
        u32::from_le_bytes([low, middle, high, 0])
    }

    /// Returns the maximum length permitted, in bytes.
    #[must_use]
    pub fn most(self) -> u32 {
        let [low, middle, high] = self.most;
        u32::from_le_bytes([low, middle, high, 0])
    }
}

impl FrameError {
    #[cold]
    pub(crate) fn too_big(bytes: u64, most: usize) -> Self {
        Self::MessageTooBig(Excess::new(bytes, most as u64))
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
            let bytes = u16::to_be_bytes(code);
            assert_eq!(
                CloseFrame::parse(&bytes),
                Err(FrameError::CloseCode),
                "{code}"
            );
        }
        #[rustfmt::skip] // a list
        let ours = [
            NORMAL, GOING_AWAY, PROTOCOL, UNSUPPORTED, INVALID_PAYLOAD, POLICY, TOO_BIG,
        ];
        for code in ours
            .into_iter()
            .chain([1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999])
        {
            assert!(valid_code(code), "{code}");
            let bytes = u16::to_be_bytes(code);
            assert_eq!(
                CloseFrame::parse(&bytes),
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
        let found = CloseFrame::parse(b"\x03\xE9gr\xC3\xBC\xC3\x9Fe");
        assert_eq!(found, close(1001, "gr\u{FC}\u{DF}e"));
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
            let fine = !told.reason.is_empty() && told.reason.len() <= REASON_BYTES_MAX;
            assert!(fine, "{error:?}");
            assert!(told.reason.is_ascii(), "{error:?}");
        }
    }
}

#[cfg(test)]
mod error_tests {
    use super::Excess;

    #[test]
    fn an_excess_has_both_lengths_as_far_as_they_fit() {
        let greatest = Excess::GREATEST;
        for (bytes, most, shown) in [
            (65_537, 65_536, (65_537, 65_536)),
            (greatest.into(), 0x0001_0203, (greatest, 0x0001_0203)),
            (u64::MAX, u64::from(greatest) + 1, (greatest, greatest)),
        ] {
            let excess = Excess::new(bytes, most);
            assert_eq!((excess.bytes(), excess.most()), shown);
        }
    }
}
