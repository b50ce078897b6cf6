//! The sides of a link, the events of a link, and the reasons why a hello is refused or a link ends.

use codec::link::{Client, FrameError, Hello, How};
use strum::{EnumCount, IntoStaticStr};

/// The side of a link.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Role {
    /// Accepts the clients' connections and opens streams.
    #[default]
    Front,
    /// Owns the clients' channels and has a session for each stream.
    Owner,
}

/// An event reported to the edge.
#[derive(Debug, PartialEq, Eq)]
pub enum Event {
    /// On the owner: a client opened a stream. The client's request, of this length in bytes, follows as
    /// [`Event::Inbox`].
    Opened(u32, Box<Client>, u32),
    /// The given number of additional bytes for the local side are in [`Link::inbox`](super::Link::inbox). An owner
    /// must pass them to the session before it handles the next event.
    Inbox(u32, usize),
    /// The local side may push again: [`LinkStreams::room`](super::LinkStreams::room).
    Room(u32),
    /// On the front: the client's kernel must be queried, and the result reported with
    /// [`LinkStreams::unacknowledged`](super::LinkStreams::unacknowledged).
    Ask(u32),
    /// On the owner: the client has acknowledged all pushed bytes except this many. The last value is the client's
    /// round-trip time in milliseconds.
    Confirmed(u32, u64, u32),
    /// The other side ended the stream, or this side did because a limit was exceeded. Reported after all buffered
    /// bytes. An orderly end may be followed by an abrupt one.
    Ended(u32, Ending),
    /// The stream was removed with this many pushed bytes unacknowledged.
    Gone(u32, u64),
    /// The other side neither opens nor accepts further streams.
    Away,
    /// The link has ended. Its connection must be reset, unless the link was idle. Events for the ends of its streams
    /// follow.
    Dead(Death),
}

/// How the local side must handle the end of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// On the owner: the client has disconnected in the given way.
    Left(How),
    /// On the front: everything has been delivered, and the client's connection is to be closed.
    AllSent,
    /// On the front: after all pending data, a close frame with this code may be sent before the connection ends.
    Close(u16),
    /// The connection must be reset because the client has received a partial frame or response.
    Reset,
    /// On the front: the owner has not responded yet. The request, with any bytes that follow it, may be retried at the
    /// next owner.
    Repeat(Vec<u8>),
    /// On the front: the call received no response but may have been executed; respond with 503.
    Unavailable,
    /// The local side read too slowly, and a limit on buffered bytes was reached.
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
    /// The frame must not be sent by the other side.
    WrongSide,
    /// The frame is for a stream that was never opened.
    NeverOpened,
    /// The stream id is not greater than all earlier ones.
    IdReused,
    /// The other side opened more than [`LINK_STREAMS_MAX`](crate::cluster::limits::LINK_STREAMS_MAX) streams.
    TooManyStreams,
    /// More bytes were acknowledged than were sent.
    AckBeyond,
    /// More data was received than the window allows.
    DataBeyond,
    /// Data or another END was received after the END of a stream.
    BehindEnd,
}

/// Why no stream can be opened. The client tries another link or node, or receives 503.
#[derive(Clone, Copy, Debug, PartialEq, Eq, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum Refused {
    /// The link has ended.
    Dead,
    /// The link is suspect.
    Doubtful,
    /// Either side has stopped opening streams, or all ids have been used.
    Away,
    /// [`LINK_STREAMS_MAX`](crate::cluster::limits::LINK_STREAMS_MAX) or the limit on waiting bytes has been reached.
    Full,
}

/// Why a hello is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum Mismatch {
    /// The peer's inner version is neither equal nor adjacent to this one.
    Version,
    /// The hello is from another cluster.
    Cluster,
    /// The hello is addressed to another node.
    Node,
    /// The hello is addressed to another process of this node.
    Process,
}

/// Checks the other side's hello against this side's hello.
///
/// # Errors
/// Returns the first mismatch.
pub fn check_hello(own: &Hello<'_>, theirs: &Hello<'_>) -> Result<(), Mismatch> {
    let (me, meant) = (own.from, theirs.to);
    if own.version.abs_diff(theirs.version) > 1 {
        return Err(Mismatch::Version);
    }
    if own.cluster != theirs.cluster {
        return Err(Mismatch::Cluster);
    }
    if me.name != meant.name {
        return Err(Mismatch::Node);
    }
    let is_known = (meant.directory, meant.start) != (0, 0);
    if is_known && (me.directory, me.start) != (meant.directory, meant.start) {
        return Err(Mismatch::Process);
    }
    Ok(())
}
