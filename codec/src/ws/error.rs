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
    MessageTooBig,
    /// A message in more frames than the receiver's rules allow (section 10.4). Closed with 1008, because the message
    /// may be small enough: 1009 would have the peer look for the wrong fault.
    TooManyFragments,
}
