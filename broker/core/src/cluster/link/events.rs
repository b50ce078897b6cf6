//! Events of a link, and reasons for its end.

use codec::link::{Client, FrameError, How};
use strum::{EnumCount, IntoStaticStr};

/// Event for the edge.
#[derive(Debug, PartialEq, Eq)]
pub enum Event {
    /// Owner: a client began, with the length of its request in bytes, which follow as [`Event::Inbox`].
    Opened(u32, Box<Client>, u32),
    /// More bytes for the local side, with their number, are in [`Link::inbox`](super::Link::inbox). An owner passes
    /// them to the session before the next event.
    Inbox(u32, usize),
    /// The local side may push again: [`Link::room`](super::Link::room).
    Room(u32),
    /// Front: query the client's kernel, and answer by [`Link::unacknowledged`](super::Link::unacknowledged).
    Ask(u32),
    /// Owner: the client has acknowledged bytes.
    Confirmed(u32, Confirmation),
    /// The stream was ended by the other side, or by this one for its bound; follows all buffered bytes. After an
    /// orderly end of a client or session, a second, abrupt one may follow.
    Ended(u32, Ending),
    /// The stream is gone, with this many pushed bytes unacknowledged.
    Gone(u32, u64),
    /// The other side opens and accepts no more streams.
    Away,
    /// The link has ended: reset its connection, unless it was idle. The ends of its streams follow.
    Dead(Death),
}

/// Progress of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Confirmation {
    /// Pushed bytes that are unacknowledged.
    pub unconfirmed: u64,
    /// The client's round trip in milliseconds.
    pub round_trip_ms: u32,
    /// Milliseconds since the oldest unconfirmed byte was written.
    pub oldest_ms: u32,
}

/// Meaning of a stream's end for the local side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Owner: the client has ended, in this way.
    Left(How),
    /// Front: the client has everything, and its connection is closed.
    AllSent,
    /// Front: after everything sent, a close frame with this code may follow, and then the end.
    Close(u16),
    /// The connection is reset: the client has a part of a frame or of an answer.
    Reset,
    /// Front: the owner has sent nothing. The request, with the bytes after it, may be retried at the next owner.
    Repeat(Vec<u8>),
    /// Front: a call without an answer, which may have been carried out: 503.
    Unavailable,
    /// The local side read too slowly, and a bound of buffered bytes is reached.
    Slow,
}

/// Reason why a link has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum Death {
    /// The connection was reset.
    Reset,
    /// The other side closed the connection.
    Fin,
    /// The other side was silent for [`LINK_DEAD_MS`](crate::cluster::limits::LINK_DEAD_MS).
    Silent,
    /// The link had no stream for [`LINK_IDLE_MS`](crate::cluster::limits::LINK_IDLE_MS).
    Idle,
    /// The other side violated the protocol.
    Fault(Fault),
}

/// Violation of the protocol by the other side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, EnumCount, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum Fault {
    /// Bytes that are not a frame.
    Frame(FrameError),
    /// A frame that the other side must not send.
    WrongSide,
    /// A frame for a stream that never began.
    NeverOpened,
    /// A stream id that is not higher than all before.
    IdReused,
    /// More than [`LINK_STREAMS_MAX`](crate::cluster::limits::LINK_STREAMS_MAX) streams.
    TooManyStreams,
    /// Acknowledges more than was sent.
    AckBeyond,
    /// Exceeds the window.
    DataBeyond,
    /// Bytes, or another END, after the END of a stream.
    BehindEnd,
}

/// Reason why no stream begins: another link or node is tried, or 503.
#[derive(Clone, Copy, Debug, PartialEq, Eq, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum Refused {
    /// The link has ended.
    Dead,
    /// The link is suspect.
    Doubtful,
    /// Either side opens no more streams, or ids are used up.
    Away,
    /// [`LINK_STREAMS_MAX`](crate::cluster::limits::LINK_STREAMS_MAX) or the bound of waiting bytes is reached.
    Full,
}
