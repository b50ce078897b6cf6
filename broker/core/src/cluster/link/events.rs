//! Events of a link, and why links end.

use codec::link::{Client, FrameError, How};
use strum::{EnumCount, IntoStaticStr};

/// An event reported to the edge.
#[derive(Debug, PartialEq, Eq)]
pub enum Event {
    /// On the owner: a client opened a stream. Its request, of this length in bytes, follows as [`Event::Inbox`].
    Opened(u32, Box<Client>, u32),
    /// This many more bytes are in [`Link::inbox`](super::Link::inbox). An owner must pass them to the session before
    /// it handles the next event.
    Inbox(u32, usize),
    /// The local side may push again; see [`Link::room`](super::Link::room).
    Room(u32),
    /// On the front: query the client's kernel and report the result with
    /// [`Link::unacknowledged`](super::Link::unacknowledged).
    Ask(u32),
    /// On the owner: the client has acknowledged bytes.
    Confirmed(u32, Confirmation),
    /// The other side ended the stream, or this side did so because of a limit. Follows all buffered bytes. An abrupt
    /// end may follow an orderly one.
    Ended(u32, Ending),
    /// The stream was removed with this many pushed bytes unacknowledged.
    Gone(u32, u64),
    /// The other side opens and accepts no further streams.
    Away,
    /// The link has ended. The edge resets its connection unless the link was idle. Events for the ends of its streams
    /// follow.
    Dead(Death),
}

/// Progress of delivery to a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Confirmation {
    /// Number of unacknowledged pushed bytes.
    pub unconfirmed: u64,
    /// The client's round-trip time, in milliseconds.
    pub round_trip_ms: u32,
    /// Time since the oldest unacknowledged byte was written, in milliseconds.
    pub oldest_ms: u32,
}

/// How the local side handles the end of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// On the owner: the client disconnected in this way.
    Left(How),
    /// On the front: everything was delivered; close the client's connection.
    AllSent,
    /// On the front: after pending data, a close frame with this code may precede the end of the connection.
    Close(u16),
    /// Reset the connection: the client has received a partial frame or response.
    Reset,
    /// On the front: the owner has not responded. The request and the bytes that follow may be retried at the next
    /// owner.
    Repeat(Vec<u8>),
    /// On the front: the call has no response and may have been executed; respond with 503.
    Unavailable,
    /// The local side read too slowly, and the buffered bytes reached a limit.
    Slow,
}

/// Why a link has ended.
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

/// A protocol violation by the other side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, EnumCount, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum Fault {
    /// The received bytes are not a frame.
    Frame(FrameError),
    /// The other side must not send this frame.
    WrongSide,
    /// The frame names a stream that was never opened.
    NeverOpened,
    /// The stream id is not greater than all earlier ones.
    IdReused,
    /// The other side opened more than [`LINK_STREAMS_MAX`](crate::cluster::limits::LINK_STREAMS_MAX) streams.
    TooManyStreams,
    /// The other side acknowledged more bytes than were sent.
    AckBeyond,
    /// The other side sent more data than the window allows.
    DataBeyond,
    /// Data or another END followed the END of a stream.
    BehindEnd,
}

/// Why no stream can be opened. Another link or node is tried, or the client receives 503.
#[derive(Clone, Copy, Debug, PartialEq, Eq, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum Refused {
    /// The link has ended.
    Dead,
    /// The link is suspect.
    Doubtful,
    /// Either side has stopped opening streams, or all ids are used.
    Away,
    /// [`LINK_STREAMS_MAX`](crate::cluster::limits::LINK_STREAMS_MAX) or the limit of unframed bytes is reached.
    Full,
}
