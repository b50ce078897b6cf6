//! Interface between the edge and the machine that it drives, and types for certificates that the edge reports.
//!
//! A [`Machine`] is the state of one shard, without sockets, clock or randomness. The edge owns descriptors, TLS and
//! the ring; the machine owns sessions. Both use the same [`SessionKey`].
//!
//! Rule for driving a machine: *one input, then [`Machine::poll_output`] until `None`, then the next input*
//! ([`Output::Send`] may be collected and processed once at the end of a turn).
//!
//! Lifecycle of a session as seen by the edge:
//! ```text
//!  open ──► handle(Received …)* ──► Output::Close ──► (flush, close_notify, FIN, linger) ──► handle(Gone) : slot free
//!    │            │                 Output::Abort ──► (shutdown at once)              ──► handle(Gone) : slot free
//!    │            ├► Output::HandOver ──► release ──► mailbox ──► adopt (on the other shard)
//!    │            │                                     └ full ──► bounce (back here, answers 503)
//!    │            ├► Output::PassOn ────► release ──► the edge makes it a stream of a link to that node
//!    │            │                                     ├ begins ► joins_link ─► Output::Displace ─► left_link
//!    │            │                                     │                  └ LoseOwner, Leave ┘
//!    │            │                                     ├ answers ► answered (a call; back here)
//!    │            │                                     └ fails ─► unanswered (back here, waits or answers 503)
//!    │            └► Output::Admin ─────► release ──► the side thread owns it
//!    │                                                  └ full ──► bounce (back here, answers 503)
//! ```

use crate::id::{NodeId, SessionKey, ShardId, Slot};
use crate::time::{Moment, Now};
use codec::link::Kind;
use std::net::SocketAddr;
use strum::{EnumCount, IntoStaticStr, VariantNames};

/// A connected peer and the listener that accepted it.
#[derive(Clone, Copy, Debug)]
pub struct Peer {
    /// Address of the peer.
    pub remote: SocketAddr,
    /// Index of the listener in the configuration.
    pub listener: u16,
    /// Whether the connection uses TLS; [`Input::Secured`] then precedes the first [`Input::Received`].
    pub tls: bool,
    /// Whether another node forwarded the connection, which is then never forwarded again.
    pub inner: bool,
}

/// A session's connection data, forwarded to another node or to the side thread.
#[derive(Debug)]
pub struct PassedOn {
    /// The client.
    pub peer: Peer,
    /// The request as received, and any bytes after it.
    pub bytes: Vec<u8>,
    /// Kind of the request. An upgrade may be retried on another node if the first one closed the connection before
    /// sending any part of its response.
    pub kind: Kind,
    /// Length of a call within `bytes`; the client's next requests follow it.
    pub call: Option<usize>,
    /// Maximum size of TLS records sent to the client, whose buffer may be small.
    pub record_bytes: usize,
    /// Where to forward the session as a stream of a link, if that is possible.
    pub home: Option<StreamHome>,
}

/// Destination of a session that becomes a stream of a link to another node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamHome {
    /// Slot of the session's channel.
    pub slot: Slot,
    /// Account of the channel; the stream counts against it.
    pub account: u64,
}

/// A forwarded request that another node did not answer.
#[derive(Clone, Debug)]
pub struct FailedPass {
    /// The other node.
    pub node: NodeId,
    /// Why the node did not answer.
    pub why: PassFailure,
    /// The request and the bytes after it, if the other node received nothing.
    pub unsent: Vec<u8>,
}

/// Why another node did not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, EnumCount, IntoStaticStr, VariantNames)]
#[strum(serialize_all = "snake_case")]
pub enum PassFailure {
    /// This node has no capacity to forward the request.
    NoRoom,
    /// The connection to the other node failed.
    Connect,
    /// The other node did not respond in time.
    Timeout,
    /// The peer is not a node of this cluster.
    Foreign,
    /// The other node closed the connection without an answer because it is full or accepts no connections from this
    /// node.
    Closed,
    /// The other node lost the channel to another one before it answered.
    Moved,
    /// The node had not answered when this node began shutting down.
    Drain,
}

/// Why the edge itself refused a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TurnedAway {
    /// No capacity for another connection. On a TLS listener, the connection is closed without a response.
    NoRoom,
    /// No capacity for another TLS handshake; the connection is closed without a response.
    NoHandshakeRoom,
    /// Plain HTTP was received on a TLS listener.
    PlainHttp,
    /// The client does not trust the server's certificate, according to the alert that ended the handshake.
    Distrusted,
    /// Client and broker have no TLS version, cipher suite or protocol in common.
    NoCommonTls,
    /// The client violated the protocol in the handshake or sent non-TLS bytes to a TLS listener.
    BrokenTls,
    /// The client disconnected during the handshake, without an alert.
    LeftHandshake,
    /// A PROXY protocol header was received on a listener that expects none.
    ProxyUnexpected,
    /// The peer is not in `[proxy] protocol_from`; the connection is closed without a response.
    ProxyForeign,
    /// The proxy sent no valid header; the connection is closed without a response.
    ProxyMalformed,
}

/// Input to a machine.
#[derive(Debug)]
pub enum Input<'a, Letter> {
    /// This session's TLS handshake is complete.
    Secured {
        /// Session of the handshake.
        session: SessionKey,
    },
    /// Plaintext bytes were received. The machine may modify them in place, and copies what it needs to keep.
    Received {
        /// Session that received the bytes.
        session: SessionKey,
        /// The received bytes; never empty.
        bytes: &'a mut [u8],
    },
    /// The oldest unreported plaintext bytes were passed to the kernel.
    Sent {
        /// Session whose bytes were sent.
        session: SessionKey,
        /// Number of plaintext bytes.
        bytes: usize,
        /// Number of bytes on the wire: the same or, with TLS, the size of the complete records.
        on_wire: usize,
    },
    /// Response to [`Output::Ask`].
    Unacknowledged {
        /// Session that was queried.
        session: SessionKey,
        /// Number of bytes on the wire that the kernel accepted and the peer's TCP stack has not acknowledged. May be
        /// slightly too high because of the connection's FIN or a send that was not reported yet.
        bytes: u32,
        /// Smoothed round-trip time in milliseconds; needed only for unacknowledged bytes.
        round_trip_ms: u32,
    },
    /// The peer will send no more data: EOF, reset or a TLS failure. Reported at most once, and never after `Gone`. The
    /// machine responds with [`Output::Close`] or [`Output::Abort`] unless it has already done so.
    Ended {
        /// Session whose peer sends no more data.
        session: SessionKey,
    },
    /// The connection is closed and its descriptor free; the machine drops the session and may reuse its slot. Reported
    /// exactly once for every session that was not released to another owner.
    Gone {
        /// Session whose connection is closed.
        session: SessionKey,
        /// See [`Input::Unacknowledged`]; read just before the descriptor was closed.
        unacknowledged: u32,
    },
    /// A letter from another shard or from the side thread.
    Letter(Letter),
    /// A letter from this machine did not fit into the target's mailbox. The machine answers the connection that waits
    /// for a reply.
    Refused(Letter),
    /// The machine's deadline has passed. Harmless if sent early.
    Tick,
}

/// Action requested by a machine.
#[derive(Debug)]
pub enum Output<Letter> {
    /// [`Machine::unsent`] of this session is not empty. Not emitted again until the edge has taken all bytes.
    Send(SessionKey),
    /// The connection belongs to another shard: [`Machine::release`] the session and post it there. No receive is
    /// armed, since the head was read with single receives.
    HandOver(SessionKey, ShardId),
    /// The connection belongs to another node: [`Machine::release`] the session and forward it. No receive is armed.
    PassOn(SessionKey, NodeId),
    /// The connection requests a page of the admin listener: [`Machine::release`] the session and give it to the side
    /// thread. No receive is armed.
    Admin(SessionKey),
    /// Evict this link client in favour of another connection: answer 503 if the other node has sent nothing, otherwise
    /// close the connection.
    Displace(u32),
    /// Another node owns the channel of this link client. A WebSocket is closed with 1001 after the last complete frame
    /// sent to its client, or reset if a frame is incomplete. An unanswered request is returned
    /// ([`Machine::unanswered`]).
    LoseOwner(u32),
    /// Detach this link client because the node shuts down: the client receives what the other node has sent, up to
    /// EOF. The other node receives nothing more and closes a WebSocket after processing everything it accepted. An
    /// unanswered upgrade is returned ([`Machine::unanswered`]).
    Leave(u32),
    /// This session's peer has been silent for minutes: enable keepalive, which probes the peer every minute.
    KeepAlive(SessionKey),
    /// Query the bytes that this session's peer has acknowledged. [`Input::Unacknowledged`] must be the next input,
    /// before anything from the network.
    Ask(SessionKey),
    /// Send a letter to a shard, possibly this one; boxed, since letters are rare and the other outputs are small.
    Post(ShardId, Box<Letter>),
    /// Send the unsent bytes, then close the connection gracefully. The machine accepts `Sent` and ignores `Received`.
    Close(SessionKey),
    /// Close the connection immediately and drop unsent bytes. May follow a `Close` that takes too long.
    Abort(SessionKey),
    /// Reset the connection (RST) to test its peer; [`Output::Abort`] follows.
    Reset(SessionKey),
    /// The drain is complete: no WebSockets and waiting calls are left, or its time limit has expired. Emitted once.
    Drained,
}

/// How the edge reads a session's socket, queried after each of the session's inputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Intake {
    /// Single receives, for a request head or body, or to detect that the caller of a pending call has disconnected.
    Once,
    /// Multishot receive, for a stream of frames.
    Many,
    /// Do not read until the session's next output.
    Paused,
}

/// The state machine of one shard, driven by the edge.
pub trait Machine {
    /// Message between shards. Connections are sent separately, as [`Self::Parcel`].
    type Letter: Send + 'static;
    /// Session in transit to another shard.
    type Parcel: Send + 'static;
    /// Copy of the machine's counters, taken between two turns.
    type Snapshot: Send + 'static;
    /// Query from an operator.
    type Question: Send + 'static;
    /// Answer to an operator's query.
    type Reply: Send + 'static;

    /// Opens a session for an accepted connection. Returns `None` if the machine is full; the edge then answers 503 and
    /// closes the connection.
    fn open(&mut self, peer: Peer, at: Moment) -> Option<SessionKey>;

    /// Like [`Machine::open`], but evicts a session whose connection the edge has closed; [`Input::Gone`] follows.
    fn open_instead(&mut self, peer: Peer, at: Moment) -> Option<SessionKey> {
        self.open(peer, at)
    }

    /// Sets a new session's client address, as reported by the proxy in front of it.
    fn comes_from(&mut self, session: SessionKey, client: SocketAddr) {
        let _ = (session, client);
    }

    /// Returns the address under which a session's connection is counted, or `None` if it must be read from the socket.
    fn remote(&self, session: SessionKey) -> Option<SocketAddr> {
        let _ = session;
        None
    }

    /// Client address of a session in transit to another shard.
    fn remote_of(parcel: &Self::Parcel) -> Option<SocketAddr> {
        let _ = parcel;
        None
    }

    /// Removes a session that moves to another shard, a node or the side thread, and frees its slot. Follows
    /// [`Output::HandOver`], [`Output::PassOn`] or [`Output::Admin`].
    fn release(&mut self, session: SessionKey) -> Self::Parcel;

    /// Adds a session released by another shard. Always succeeds: a refused session receives an error response.
    fn adopt(&mut self, parcel: Self::Parcel, at: Moment) -> SessionKey;

    /// Takes back a session for which the other shard or the side thread had no capacity; answers 503 and closes it.
    fn bounce(&mut self, parcel: Self::Parcel, at: Moment) -> SessionKey;

    /// Takes the contents for another node or the side thread out of a parcel; `None` if the parcel is for a shard.
    fn passed_on(parcel: &mut Self::Parcel) -> Option<PassedOn> {
        let _ = parcel;
        None
    }

    /// Takes back a session that the other node did not answer. It waits for another owner, or is answered with 503 and
    /// closed.
    fn unanswered(&mut self, parcel: Self::Parcel, failed: FailedPass, at: Moment) -> SessionKey {
        let _ = failed;
        self.bounce(parcel, at)
    }

    /// Takes back a session whose call the other node has answered. The client receives the answer, and the connection
    /// continues unless the answer closes it. `rest` contains the client's bytes after the call.
    fn answered(
        &mut self,
        parcel: Self::Parcel,
        answer: &[u8],
        rest: Vec<u8>,
        at: Moment,
    ) -> SessionKey {
        let _ = (answer, rest);
        self.bounce(parcel, at)
    }

    /// Marks a new session as a stream of a link. The client's TCP stack acknowledges the session's bytes; after the
    /// response to [`Output::Ask`], a newer value may arrive as another [`Input::Unacknowledged`]. A call ends with its
    /// response ([`Output::Close`]), which decides whether the client's connection closes as well.
    fn comes_by_link(&mut self, session: SessionKey, kind: Kind) {
        let _ = (session, kind);
    }

    /// Adds a client with this number on a link to the other node. Returns `false` if there is no capacity and no
    /// client can be evicted; the caller then returns the parcel to the machine. Outputs may follow.
    fn joins_link(
        &mut self,
        parcel: &Self::Parcel,
        (place, node): (u32, NodeId),
        at: Moment,
    ) -> bool {
        let _ = (parcel, place, node, at);
        true
    }

    /// Handles the loss of the link of these clients; [`Output::LoseOwner`] follows for each, spread over time.
    fn link_died(&mut self, places: &[u32], now: Now) {
        let _ = (places, now);
    }

    /// Removes a client on a link, if present, and frees its number.
    fn left_link(&mut self, place: u32) {
        let _ = place;
    }

    /// Counts a connection that the edge refused and returns the request id of the response. Machines that do not track
    /// refusals return a fixed id.
    fn turned_away(&mut self, remote: SocketAddr, why: TurnedAway, at: Moment) -> String {
        let _ = (remote, why, at);
        NO_REQUEST_ID.to_owned()
    }

    /// Counts a failed TLS handshake for a reason that the edge determined. If client and broker have no version,
    /// cipher suite or protocol in common, `offer` describes what the peer offered and what would have matched.
    fn handshake_failed(
        &mut self,
        session: SessionKey,
        why: TurnedAway,
        offer: Option<&str>,
        at: Moment,
    ) {
        let _ = (session, why, offer, at);
    }

    /// Reports the server name and client certificate of a connection to the credentials provider: before
    /// [`Input::Secured`], and before received bytes whenever the certificate's state has changed.
    fn showed(&mut self, session: SessionKey, shown: Shown, now: Now) {
        let _ = (session, shown, now);
    }

    /// Whether a slot is free; checked before accepting a connection or a handover.
    fn has_room(&self) -> bool;

    /// Handles one input.
    fn handle(&mut self, input: Input<'_, Self::Letter>, at: Moment);

    /// Returns the next output, in order.
    fn poll_output(&mut self) -> Option<Output<Self::Letter>>;

    /// Time at which the next [`Input::Tick`] is due.
    fn deadline(&self) -> Option<Now>;

    /// Returns how the edge should read this session's socket.
    fn intake(&self, session: SessionKey) -> Intake;

    /// Plaintext bytes queued for the socket, excluding those in flight. Empty if the session is unknown.
    fn unsent(&self, session: SessionKey) -> &[u8];

    /// Returns the first unsent bytes, possibly all, that the edge may encrypt together within its own limits.
    fn unsent_record(&self, session: SessionKey) -> &[u8] {
        self.unsent(session)
    }

    /// Records that the first `bytes` of [`Machine::unsent`] were copied (by encryption or into a buffer that the
    /// kernel reads) and are in flight until [`Input::Sent`]. Bytes that are sent directly need only `Sent`. Returns
    /// whether the connection is a WebSocket, whose send buffer may grow larger than that of an HTTP connection.
    fn launched(&mut self, session: SessionKey, bytes: usize) -> bool;

    /// Whether this letter may be refused because the mailbox is nearly full. A refused query returns as
    /// [`Input::Refused`]. Answers, cancellations and drains are never refused, since the mailbox reserves capacity for
    /// them.
    fn refusable(letter: &Self::Letter) -> bool;

    /// Current counters.
    fn snapshot(&self) -> Self::Snapshot;

    /// Answers an operator's query between two turns. Outputs may follow.
    fn inspect(&mut self, question: Self::Question, at: Moment) -> Self::Reply;

    /// Work done since the start, in units of [`crate::work_units`]; bounded per turn.
    fn work(&self) -> u64 {
        0
    }

    /// Whether the peer of a closing session has announced in its protocol that it will send nothing more, so that the
    /// edge need not await its EOF after [`Output::Close`].
    fn peer_is_done(&self, session: SessionKey) -> bool {
        let _ = session;
        false
    }

    /// Whether acknowledgements of the session's bytes matter; otherwise, [`Input::Gone`] reports 0 bytes.
    fn is_unconfirmed(&self, session: SessionKey) -> bool {
        let _ = session;
        false
    }

    /// Announces a simulated jump of the clock to `until`, in tests. Until then, [`Input::Tick`] follows, but no input
    /// from peers. See [`crate::clock_jump`].
    fn leap(&mut self, until: Now) {
        let _ = until;
    }

    /// Records that the shard has not run since `since`, for more than `STALL_MS`. The bytes read next may have arrived
    /// during the pause.
    fn stood_still(&mut self, since: Now, at: Moment) {
        let _ = (since, at);
    }

    /// Whether these bytes may begin a WebSocket upgrade; the edge then checks whether their sender is still connected.
    fn may_begin_web_socket(bytes: &[u8]) -> bool {
        let _ = bytes;
        false
    }

    /// Announces that the peer has sent EOF, behind the next bytes and perhaps more. [`Input::Ended`] follows.
    fn ends_behind(&mut self, session: SessionKey) {
        let _ = session;
    }

    /// Records that all sends of a turn are complete; `at` was read after the last of them. At most once per turn,
    /// after its [`Input::Sent`] inputs, so that durations can be measured without reading the clock for each send.
    fn flushed(&mut self, at: Moment) {
        let _ = at;
    }
}

const NO_REQUEST_ID: &str = "00000000-0000-4000-8000-000000000000";

// TLS client certificates, as the edge reports them.
//
// Only connections to the credentials provider's names must present one. The core decides whether it is accepted.

/// TLS properties of a connection to one of the credentials provider's host names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// Requested server name (SNI), in lower case.
    pub server_name: Box<str>,
    /// Certificate of the client, if presented.
    pub certificate: Option<ShownCertificate>,
}

/// A client certificate. The client's handshake was signed with its private key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShownCertificate {
    /// SHA-256 of the DER-encoded certificate.
    pub fingerprint: [u8; 32],
    /// Numbers that identify the certificate and its chain in revocation lists.
    pub numbers: Box<[u64]>,
    /// Start of the validity period, in seconds since 1970 UTC.
    pub not_before_s: u64,
    /// Last second of the validity period, since 1970 UTC.
    pub not_after_s: u64,
    /// Authority that certifies the certificate, or why none does.
    pub vouched: Result<Certified, Box<str>>,
}

/// A certificate's authority and name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certified {
    /// SHA-256 of the certificate authority's public key.
    pub authority: [u8; 32],
    /// Name of the thing, from the certificate.
    pub name: Box<str>,
}
