//! Every way in which a peer can break the protocol.

/// A peer's violation: the connection is to be failed (RFC 6455 section 7.1.7) with
/// [`close_code`](FrameError::close_code) and [`reason`](FrameError::reason).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FrameError {
    /// A reserved bit is set and no extension was negotiated (section 5.2). Closed with 1002.
    ReservedBits,
    /// An opcode that is reserved (section 5.2). Closed with 1002.
    UnknownOpcode,
    /// A client's frame that is not masked (section 5.1). Closed with 1002.
    Unmasked,
    /// A server's frame that is masked (section 5.1). Closed with 1002.
    Masked,
    /// A length in a longer form than it needs (section 5.2). Closed with 1002.
    LengthNotMinimal,
    /// A 64-bit length with its most significant bit set (section 5.2). Closed with 1002.
    LengthTopBit,
    /// A control frame of more than 125 bytes (section 5.5). Closed with 1002.
    ControlTooLong,
    /// A control frame without FIN (section 5.5). Closed with 1002.
    ControlFragmented,
    /// A continuation while no message is under way (section 5.4). Closed with 1002.
    ContinuationWithoutStart,
    /// A text or binary frame while a fragmented message is under way (section 5.4). Closed with 1002.
    StartInsideMessage,
    /// A close frame with one byte of payload (section 5.5.1). Closed with 1002.
    CloseTooShort,
    /// A close code that must not be on the wire (sections 7.4.1 and 7.4.2). Closed with 1002.
    CloseCode,
    /// A close reason that is not UTF-8 (section 5.5.1). Closed with 1007.
    CloseReasonNotUtf8,
    /// A text message that is not UTF-8 (section 8.1). Closed with 1007.
    TextNotUtf8,
    /// A message longer than the receiver's rules allow (section 10.4). Closed with 1009.
    MessageTooBig(Excess),
    /// A message in more frames than the receiver's rules allow (section 10.4). Closed with 1008, because the message
    /// may be small enough: 1009 would have the peer look for the wrong fault.
    TooManyFragments,
}

/// The length of a message that is too big, and the longest that is allowed. In three bytes each, so that a receiver
/// stays small; greater ones are shown as [`Excess::GREATEST`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Excess {
    bytes: [u8; 3],
    most: [u8; 3],
}

impl Excess {
    /// The greatest length that can be shown: one byte less than 16 MiB.
    pub const GREATEST: u32 = (1 << 24) - 1;

    /// No lengths.
    pub const NONE: Self = Self {
        bytes: [0; 3],
        most: [0; 3],
    };

    /// Of a message of `bytes` where `most` are allowed.
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

    /// The length of the message in bytes, as far as its headers show it.
    #[must_use]
    pub fn bytes(self) -> u32 {
        let [low, middle, high] = self.bytes;
        u32::from_le_bytes([low, middle, high, 0])
    }

    /// The longest message that is allowed, in bytes.
    #[must_use]
    pub fn most(self) -> u32 {
        let [low, middle, high] = self.most;
        u32::from_le_bytes([low, middle, high, 0])
    }
}

impl FrameError {
    /// The error of a message of `bytes` where `most` are allowed.
    #[cold]
    pub(crate) fn too_big(bytes: u64, most: usize) -> Self {
        Self::MessageTooBig(Excess::new(bytes, most as u64))
    }
}

#[cfg(test)]
mod tests {

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
