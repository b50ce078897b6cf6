//! Interface between the edge and the machine that it drives, and types for certificates reported by the edge.
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
//!    │            └► Output::Admin ─────► release ──► the side thread has it from here on
//!    │                                                  └ no room ──► bounce (back here, answers 503)
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
    /// Whether the connection uses TLS. If so, [`Input::Secured`] precedes the session's first [`Input::Received`].
    pub tls: bool,
    /// Whether another node forwarded the connection, in which case it is never forwarded again.
    pub inner: bool,
}

/// The connection data of a session that is passed on to another node or to the side thread.
#[derive(Debug)]
pub struct PassedOn {
    /// The client.
    pub peer: Peer,
    /// The request as received, followed by any bytes after it.
    pub bytes: Vec<u8>,
    /// Kind of the request. An upgrade may be retried on another node if the first one closed the connection before
    /// sending any part of its response.
    pub kind: Kind,
    /// Length of the request within `bytes`, if the request is a call; the client's next requests follow it.
    pub call: Option<usize>,
    /// Maximum size of TLS records sent to the client, whose buffer may be small.
    pub record_bytes: usize,
    /// Where to pass on the session as a stream of a link, if it can be sent that way.
    pub home: Option<StreamHome>,
}

/// Destination of a session that is passed on as a stream of a link to another node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamHome {
    /// Slot of the session's channel.
    pub slot: Slot,
    /// Account of the channel; the stream counts against this account.
    pub account: u64,
}

/// A request that was passed on to another node, which did not answer it.
#[derive(Clone, Debug)]
pub struct FailedPass {
    /// The other node.
    pub node: NodeId,
    /// Why the node did not answer.
    pub why: PassFailure,
    /// The request and the bytes after it, if nothing was sent to the other node.
    pub unsent: Vec<u8>,
}

/// Why another node did not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, EnumCount, IntoStaticStr, VariantNames)]
#[strum(serialize_all = "snake_case")]
pub enum PassFailure {
    /// No capacity on this node to pass on the request.
    NoRoom,
    /// The connection to the other node failed.
    Connect,
    /// The other node did not respond in time.
    Timeout,
    /// The peer is not a node of this cluster.
    Foreign,
    /// The other node closed the connection without an answer because it is full or does not accept connections from
    /// this node.
    Closed,
    /// The other node lost the channel to another one before it answered.
    Moved,
    /// The node had not answered when this node began shutting down.
    Drain,
}

/// Why the edge itself refused a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TurnedAway {
    /// No capacity for another connection; on a TLS listener, the connection is closed without a response.
    NoRoom,
    /// No capacity for another TLS handshake; the connection is closed without a response.
    NoHandshakeRoom,
    /// Plain HTTP was received on a TLS listener.
    PlainHttp,
    /// The client does not trust the server's certificate, according to the alert that ended the handshake.
    Distrusted,
    /// Client and broker have no TLS version, cipher suite or protocol in common.
    NoCommonTls,
    /// The client violated the protocol in the handshake, or sent non-TLS bytes to a TLS listener.
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
    /// The TLS handshake of this session has completed.
    Secured {
        /// Session whose handshake has completed.
        session: SessionKey,
    },
    /// Plaintext bytes were received. The machine may modify them in place, and copies what it needs to keep.
    Received {
        /// Session that received the bytes.
        session: SessionKey,
        /// The received bytes; never empty.
        bytes: &'a mut [u8],
    },
    /// Plaintext bytes were passed to the kernel: the oldest ones that have not been reported yet.
    Sent {
        /// Session whose bytes were sent.
        session: SessionKey,
        /// Number of plaintext bytes.
        bytes: usize,
        /// Number of bytes on the wire: the same number or, with TLS, the size of the complete records.
        on_wire: usize,
    },
    /// Response to [`Output::Ask`].
    Unacknowledged {
        /// Session that was queried.
        session: SessionKey,
        /// Number of bytes on the wire that the kernel has accepted and the peer's TCP stack has not acknowledged. May
        /// be slightly too high, because of the connection's own FIN or a send that has not been reported yet.
        bytes: u32,
        /// Smoothed round-trip time in milliseconds; needed only if bytes are unacknowledged.
        round_trip_ms: u32,
    },
    /// The peer will send no more data: EOF, reset, or a TLS failure. Reported at most once, and never after `Gone`.
    /// The machine responds with [`Output::Close`] or [`Output::Abort`] unless it has already done so.
    Ended {
        /// Session whose peer sends no more data.
        session: SessionKey,
    },
    /// The connection is closed and its descriptor is free; the machine drops the session and may reuse its slot.
    /// Reported exactly once for every session that was not released to another owner.
    Gone {
        /// Session whose connection is closed.
        session: SessionKey,
        /// See [`Input::Unacknowledged`]; queried just before the descriptor was closed.
        unacknowledged: u32,
    },
    /// A letter from another shard, or from the side thread.
    Letter(Letter),
    /// A letter from this machine did not fit into the target's mailbox. The machine answers the connection that waits
    /// for a reply to it.
    Refused(Letter),
    /// The machine's deadline has been reached. Harmless if sent early.
    Tick,
}

/// Action requested by a machine.
#[derive(Debug)]
pub enum Output<Letter> {
    /// [`Machine::unsent`] of this session is not empty. Emitted once until the edge has taken all the bytes.
    Send(SessionKey),
    /// The connection belongs to another shard: [`Machine::release`] the session and post it there. The head was read
    /// with single receives, so no receive is armed.
    HandOver(SessionKey, ShardId),
    /// The connection belongs to another node: [`Machine::release`] the session and forward it. As with a handover, no
    /// receive is armed.
    PassOn(SessionKey, NodeId),
    /// The connection requests a page of the admin listener: [`Machine::release`] the session and pass it to the side
    /// thread. As with a handover, no receive is armed.
    Admin(SessionKey),
    /// The link client with this number is evicted in favour of another connection: answer 503 if the other node has
    /// sent nothing, otherwise close the connection.
    Displace(u32),
    /// The channel of the link client with this number is now owned by another node. A WebSocket is closed with 1001
    /// after the last complete frame sent to its client, or reset if a frame is incomplete. An unanswered request is
    /// returned ([`Machine::unanswered`]).
    LoseOwner(u32),
    /// Detach the link client with this number because this node is shutting down: the client receives the rest of what
    /// the other node has sent, up to EOF. The other node receives nothing more, and closes a WebSocket after
    /// processing everything it accepted. An unanswered upgrade is returned ([`Machine::unanswered`]).
    Leave(u32),
    /// The peer of this session has been silent for minutes; enable keepalive so that the kernel probes the peer every
    /// minute.
    KeepAlive(SessionKey),
    /// Query which bytes this session's peer has acknowledged; [`Input::Unacknowledged`] must be the next input, before
    /// anything from the network.
    Ask(SessionKey),
    /// Send a letter to another shard (or this one); boxed, since letters are rare and the other outputs are small.
    Post(ShardId, Box<Letter>),
    /// Send the unsent bytes, then close the connection gracefully. The machine still accepts `Sent` and ignores
    /// `Received`.
    Close(SessionKey),
    /// Close the connection immediately; unsent bytes are dropped. May follow a `Close` that takes too long.
    Abort(SessionKey),
    /// Reset the connection (RST) to test its peer; [`Output::Abort`] follows.
    Reset(SessionKey),
    /// The drain has finished: no WebSockets and no waiting calls are left, or its time limit has expired. Emitted
    /// once.
    Drained,
}

/// How the edge reads a session's socket; queried after each input of that session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Intake {
    /// Single receives, used for a request head or body, or to detect that the caller of a pending call has
    /// disconnected.
    Once,
    /// Multishot receive, used for a stream of frames.
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
    /// Query from an operator to the machine.
    type Question: Send + 'static;
    /// Answer to an operator's query.
    type Reply: Send + 'static;

    /// Opens a session for an accepted connection. Returns `None` if the machine is full, in which case the edge
    /// answers 503 and closes the connection.
    fn open(&mut self, peer: Peer, at: Moment) -> Option<SessionKey>;

    /// Like [`Machine::open`], but evicts another session, whose connection the edge has closed; [`Input::Gone`]
    /// follows.
    fn open_instead(&mut self, peer: Peer, at: Moment) -> Option<SessionKey> {
        self.open(peer, at)
    }

    /// Sets the client address of a newly opened session to the one reported by the proxy in front of it.
    fn comes_from(&mut self, session: SessionKey, client: SocketAddr) {
        let _ = (session, client);
    }

    /// Returns the address under which a session's connection is counted, or `None` if the address must be read from
    /// the socket.
    fn remote(&self, session: SessionKey) -> Option<SocketAddr> {
        let _ = session;
        None
    }

    /// Client address of a session in transit to another shard.
    fn remote_of(parcel: &Self::Parcel) -> Option<SocketAddr> {
        let _ = parcel;
        None
    }

    /// Removes a session that moves to another shard, a node or the side thread, after [`Output::HandOver`],
    /// [`Output::PassOn`] or [`Output::Admin`], and frees its slot.
    fn release(&mut self, session: SessionKey) -> Self::Parcel;

    /// Adds a session released by another shard. Always succeeds; if the session must be refused, the connection
    /// receives an error response.
    fn adopt(&mut self, parcel: Self::Parcel, at: Moment) -> SessionKey;

    /// Takes back a session for which the other shard or the side thread had no capacity; answers 503 and closes the
    /// connection.
    fn bounce(&mut self, parcel: Self::Parcel, at: Moment) -> SessionKey;

    /// Takes the contents meant for another node or the side thread out of a parcel; `None` if the parcel is for a
    /// shard.
    fn passed_on(parcel: &mut Self::Parcel) -> Option<PassedOn> {
        let _ = parcel;
        None
    }

    /// Takes back a session that the other node did not answer. The session waits for another owner, or is answered
    /// with 503 and closed.
    fn unanswered(&mut self, parcel: Self::Parcel, failed: FailedPass, at: Moment) -> SessionKey {
        let _ = failed;
        self.bounce(parcel, at)
    }

    /// Takes back a session whose call the other node has answered: the client receives that answer, and the connection
    /// continues unless the answer closes it. `rest` contains the bytes received from the client after the call.
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

    /// Marks a newly opened session as a stream of a link. Acknowledgements of its bytes are those of the client's TCP
    /// stack; after a response to [`Output::Ask`], a newer value may arrive as another [`Input::Unacknowledged`]. A
    /// call ends with its response ([`Output::Close`]), which determines whether the client's connection closes as
    /// well.
    fn comes_by_link(&mut self, session: SessionKey, kind: Kind) {
        let _ = (session, kind);
    }

    /// Adds a client, under this number, on a link to the other node. Returns `false` if there is no capacity and no
    /// client can be evicted, in which case the caller returns the parcel to the machine. Outputs may follow.
    fn joins_link(
        &mut self,
        parcel: &Self::Parcel,
        (place, node): (u32, NodeId),
        at: Moment,
    ) -> bool {
        let _ = (parcel, place, node, at);
        true
    }

    /// Handles the loss of the link that carried these clients; [`Output::LoseOwner`] follows for each of them, spread
    /// over time.
    fn link_died(&mut self, places: &[u32], now: Now) {
        let _ = (places, now);
    }

    /// Removes a client on a link and frees its number. Has no effect if there is no such client.
    fn left_link(&mut self, place: u32) {
        let _ = place;
    }

    /// Counts a connection refused by the edge and returns the request id for the response. Machines that do not track
    /// refusals use a fixed id for all of them.
    fn turned_away(&mut self, remote: SocketAddr, why: TurnedAway, at: Moment) -> String {
        let _ = (remote, why, at);
        NO_REQUEST_ID.to_owned()
    }

    /// Counts a failed TLS handshake, with a reason determined by the edge. If client and broker have no version,
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

    /// Reports the server name and client certificate of a connection to the credentials provider: once before
    /// [`Input::Secured`], and again before received bytes whenever the state of the certificate has changed.
    fn showed(&mut self, session: SessionKey, shown: Shown, now: Now) {
        let _ = (session, shown, now);
    }

    /// Whether a slot is free; checked before a connection or a handover is accepted.
    fn has_room(&self) -> bool;

    /// Handles one input.
    fn handle(&mut self, input: Input<'_, Self::Letter>, at: Moment);

    /// Returns the next output, in order.
    fn poll_output(&mut self) -> Option<Output<Self::Letter>>;

    /// Returns the latest time at which the next [`Input::Tick`] is due.
    fn deadline(&self) -> Option<Now>;

    /// Returns how the edge should read this session's socket.
    fn intake(&self, session: SessionKey) -> Intake;

    /// Plaintext bytes queued for the socket, excluding those in flight. Empty if the session is unknown.
    fn unsent(&self, session: SessionKey) -> &[u8];

    /// Returns the first of the unsent bytes, possibly all of them, that the edge may encrypt together, subject to its
    /// own limits.
    fn unsent_record(&self, session: SessionKey) -> &[u8] {
        self.unsent(session)
    }

    /// Records that the first `bytes` of [`Machine::unsent`] have been copied out (encrypted, or copied into a buffer
    /// that the kernel reads) and are in flight until [`Input::Sent`] reports them. Bytes that are sent directly need
    /// only `Sent`. Returns whether the connection is a WebSocket, whose send buffer may grow beyond the size used for
    /// requests.
    fn launched(&mut self, session: SessionKey, bytes: usize) -> bool;

    /// Whether a nearly full mailbox may refuse this letter. A query may be refused (and returns as
    /// [`Input::Refused`]); an answer, a cancellation or a drain is never refused, since the mailbox has reserved
    /// capacity for it.
    fn refusable(letter: &Self::Letter) -> bool;

    /// Current counters.
    fn snapshot(&self) -> Self::Snapshot;

    /// Answers an operator's query; called between two turns. Outputs may follow.
    fn inspect(&mut self, question: Self::Question, at: Moment) -> Self::Reply;

    /// Work done since the start, in units of [`crate::work_units`]; bounded per turn.
    fn work(&self) -> u64 {
        0
    }

    /// Whether the peer of a closing session has announced, by means of the protocol, that it will send nothing more,
    /// so that there is no need to wait for its EOF after [`Output::Close`].
    fn peer_is_done(&self, session: SessionKey) -> bool {
        let _ = session;
        false
    }

    /// Whether acknowledgements of the session's bytes matter; if not, [`Input::Gone`] reports 0 unacknowledged bytes.
    fn is_unconfirmed(&self, session: SessionKey) -> bool {
        let _ = session;
        false
    }

    /// Announces a simulated jump of the clock to `until`, in tests. For moments before `until`, [`Input::Tick`]
    /// follows, but no input from peers. See [`crate::clock_jump`].
    fn leap(&mut self, until: Now) {
        let _ = until;
    }

    /// Records that the shard has not run since `since`, a pause longer than `STALL_MS`; bytes read next may have
    /// arrived during the pause.
    fn stood_still(&mut self, since: Now, at: Moment) {
        let _ = (since, at);
    }

    /// Whether these bytes may be the beginning of a WebSocket upgrade, in which case the edge checks whether their
    /// sender is still connected.
    fn may_begin_web_socket(bytes: &[u8]) -> bool {
        let _ = bytes;
        false
    }

    /// Announces that the peer's EOF follows the next bytes, possibly with more bytes in between. [`Input::Ended`]
    /// follows.
    fn ends_behind(&mut self, session: SessionKey) {
        let _ = session;
    }

    /// Records that all sends of a turn are complete; `at` was read after the last of them. Called at most once per
    /// turn, after its [`Input::Sent`] inputs, so that durations can be measured without reading the clock for each
    /// one.
    fn flushed(&mut self, at: Moment) {
        let _ = at;
    }
}

/// Request id used by machines that do not generate request ids.
const NO_REQUEST_ID: &str = "00000000-0000-4000-8000-000000000000";

// Certificate that a client presented in its TLS handshake, with facts found by the edge.
//
// Only connections to the names of the credentials provider are asked for one. The core decides whether it is accepted.

/// TLS properties of a connection to one of the credentials provider's host names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// Requested server name (SNI), in lower case.
    pub server_name: Box<str>,
    /// Certificate of the client, if it presented one.
    pub certificate: Option<ShownCertificate>,
}

/// A certificate whose private key the client has proved to hold by signing the handshake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShownCertificate {
    /// SHA-256 of the DER-encoded certificate.
    pub fingerprint: [u8; 32],
    /// Numbers that identify the certificate, and the certificates presented with it, in revocation lists.
    pub numbers: Box<[u64]>,
    /// Start of the validity period, in seconds since 1970 UTC.
    pub not_before_s: u64,
    /// Last second of the validity period, since 1970 UTC.
    pub not_after_s: u64,
    /// The authority that certifies the certificate, or the reason why no authority does.
    pub vouched: Result<Certified, Box<str>>,
}

/// A certificate's authority and name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certified {
    /// SHA-256 of the certificate authority's public key.
    pub authority: [u8; 32],
    /// Name of the thing in the certificate.
    pub name: Box<str>,
}
