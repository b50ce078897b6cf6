//! What a link says: of its streams, of itself, and why.

use codec::link::{Client, FrameError, How};
use strum::{EnumCount, IntoStaticStr};

/// What the edge is to do, or to know.
#[derive(Debug, PartialEq, Eq)]
pub enum Event {
    /// Of an owner: a client began. With the length of its request in bytes, which follow as [`Event::Inbox`].
    Opened(u32, Box<Client>, u32),
    /// More bytes came for the local side, with their number: [`Link::inbox`](super::Link::inbox) has them. An owner
    /// gives them to the session before the next event.
    Inbox(u32, usize),
    /// The local side may push again: [`Link::room`](super::Link::room).
    Room(u32),
    /// Of a front: ask the client's kernel, and answer by [`Link::unacknowledged`](super::Link::unacknowledged).
    Ask(u32),
    /// Of an owner: the client has confirmed.
    Confirmed(u32, Confirmation),
    /// The other side has ended the stream, or this one has for its bound: behind all bytes that were held. A client,
    /// or session, that has ended in an orderly way may still be cut off: then a second one follows.
    Ended(u32, Ending),
    /// The stream is gone. With the bytes that were pushed, and that nobody confirmed.
    Gone(u32, u64),
    /// The other side begins, or takes, no more streams.
    Away,
    /// The link has ended: its connection is to be reset, except where it was idle. The ends of its streams follow.
    Dead(Death),
}

/// How far a client is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Confirmation {
    /// Bytes that were pushed and are not confirmed.
    pub unconfirmed: u64,
    /// The client's round trip in milliseconds.
    pub round_trip_ms: u32,
    /// Milliseconds since the oldest unconfirmed byte was written.
    pub oldest_ms: u32,
}

/// What the end of a stream is for its local side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Of an owner: the client has ended, in this way.
    Left(How),
    /// Of a front: the client has all, and its connection is closed.
    AllSent,
    /// Of a front: a close frame of this code may follow what the client has, and then the end.
    Close(u16),
    /// The connection is reset: the client has a part of a frame or of an answer.
    Reset,
    /// Of a front: nothing has come of the owner. The request, with what followed it, may go to the next one.
    Repeat(Vec<u8>),
    /// Of a front: a call without an answer, which may have been carried out: 503.
    Unavailable,
    /// The local side took too little, and the bound for what is held is reached.
    Slow,
}

/// Why a link has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum Death {
    /// Its connection was reset.
    Reset,
    /// The other side closed its connection.
    Fin,
    /// The other side gave no sign for [`LINK_DEAD_MS`](crate::cluster::limits::LINK_DEAD_MS).
    Silent,
    /// It had no stream for [`LINK_IDLE_MS`](crate::cluster::limits::LINK_IDLE_MS).
    Idle,
    /// The other side broke a rule.
    Fault(Fault),
}

/// The rule that the other side broke.
#[derive(Clone, Copy, Debug, PartialEq, Eq, EnumCount, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum Fault {
    /// The bytes are no frame.
    Frame(FrameError),
    /// The other side does not send such a frame.
    WrongSide,
    /// A frame for a stream that never began.
    NeverOpened,
    /// A stream begins with an id that is not higher than all before.
    IdReused,
    /// More than [`LINK_STREAMS_MAX`](crate::cluster::limits::LINK_STREAMS_MAX) streams.
    TooManyStreams,
    /// More is confirmed than was sent.
    AckBeyond,
    /// More was sent than is confirmed, by more than a window.
    DataBeyond,
    /// Bytes, or another END, behind the END of a stream.
    BehindEnd,
}

/// Why no stream begins: another link or node is to be asked, or 503.
#[derive(Clone, Copy, Debug, PartialEq, Eq, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum Refused {
    /// The link has ended.
    Dead,
    /// The other side gives no sign.
    Doubtful,
    /// Either side begins no more, or ids are used up.
    Away,
    /// [`LINK_STREAMS_MAX`](crate::cluster::limits::LINK_STREAMS_MAX) is reached, or the bound for waiting bytes.
    Full,
}
