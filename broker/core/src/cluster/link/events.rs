//! The two sides of a link, its events, and the reasons why a hello is refused or a link ends.

use codec::link::{Client, FrameError, Hello, How};
use strum::{EnumCount, IntoStaticStr};

/// A side of a link.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Role {
    /// The side that accepts the clients' connections and opens streams.
    #[default]
    Front,
    /// The side that owns the clients' channels and has a session for each stream.
    Owner,
}

/// An event that a link reports to the edge (the code that owns the sockets).
#[derive(Debug, PartialEq, Eq)]
pub enum Event {
    /// On the owner: a client has opened a stream. Contains the length of the client's request in bytes. The request
    /// itself follows as [`Event::Inbox`].
    Opened(u32, Box<Client>, u32),
    /// More bytes for the client or session have arrived in [`Link::inbox`](super::Link::inbox). Contains the number of
    /// new bytes. On the owner, they must be passed to the session before the next event is handled.
    Inbox(u32, usize),
    /// The local side may push again; see [`LinkStreams::room`](super::LinkStreams::room).
    Room(u32),
    /// On the client's node: the caller must ask the kernel how many bytes the client has not acknowledged, and report
    /// the result with [`LinkStreams::unacknowledged`](super::LinkStreams::unacknowledged).
    Ask(u32),
    /// On the owner: the client's node has reported which bytes the client has acknowledged. Contains the number of
    /// pushed bytes that are still unacknowledged, and the client's round-trip time in milliseconds.
    Confirmed(u32, u64, u32),
    /// The other side has ended the stream, or this side has ended it because a limit was exceeded. Reported after all
    /// buffered bytes. An orderly end may be followed by an abrupt one.
    Ended(u32, Ending),
    /// The stream has been removed. Contains the number of pushed bytes that were not acknowledged.
    Gone(u32, u64),
    /// The other side neither opens nor accepts further streams.
    Away,
    /// The link has ended. The caller must reset the connection between the nodes, unless the link was idle. The final
    /// events of all remaining streams follow.
    Dead(Death),
}

/// How the client or session must react when its stream ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// On the owner: the client has disconnected. Contains how its connection ended.
    Left(How),
    /// On the client's node: everything has been delivered. The client's connection must be closed.
    AllSent,
    /// On the client's node: once all pending data has been sent, a close frame with this code may be sent before the
    /// connection ends.
    Close(u16),
    /// The connection must be reset, because the client has received part of a frame or response.
    Reset,
    /// On the client's node: the owner has not responded yet. The request and any bytes that follow it may be retried
    /// at the next owner.
    Repeat(Vec<u8>),
    /// On the client's node: the call received no response, but it may have been executed. Respond with 503.
    Unavailable,
    /// The local side read too slowly, and the limit on buffered bytes was reached.
    Slow,
}

/// The reason why a link has ended.
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
    /// The received bytes are not a valid frame.
    Frame(FrameError),
    /// Only the other role may send frames of this kind.
    WrongSide,
    /// The frame is for a stream that was never opened.
    NeverOpened,
    /// The id of a new stream is not greater than every earlier id.
    IdReused,
    /// The other side opened more than [`LINK_STREAMS_MAX`](crate::cluster::limits::LINK_STREAMS_MAX) streams.
    TooManyStreams,
    /// More bytes were acknowledged than were sent.
    AckBeyond,
    /// More data was received than the window allows.
    DataBeyond,
    /// Data or another END frame was received after the END frame of a stream.
    BehindEnd,
}

/// The reason why no stream can be opened. The client tries another link or node, or receives 503.
#[derive(Clone, Copy, Debug, PartialEq, Eq, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum Refused {
    /// The link has ended.
    Dead,
    /// The link is suspect.
    Doubtful,
    /// Either side has stopped opening streams, or all ids have been used.
    Away,
    /// [`LINK_STREAMS_MAX`](crate::cluster::limits::LINK_STREAMS_MAX) or the limit on unframed bytes has been reached.
    Full,
}

/// The reason why a hello is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum Mismatch {
    /// The two nodes' inter-node protocol versions are neither equal nor adjacent; see
    /// [`INNER_VERSION`](crate::cluster::limits::INNER_VERSION).
    Version,
    /// The hello is from another cluster.
    Cluster,
    /// The hello is addressed to another node.
    Node,
    /// The hello is addressed to another process of this node.
    Process,
}

/// Compares the other node's hello with this node's own.
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
