//! Interface between the edge and the machine it drives, and the certificates that the edge reports.
//!
//! A [`Machine`] is the state of one shard, without sockets, clock or randomness. The edge owns descriptors, TLS and
//! the ring; the machine owns sessions. Both use the same [`SessionKey`].
//!
//! Rule of the drive loop: *one input, then [`Machine::poll_output`] until `None`, then the next input*
//! ([`Output::Send`] may be collected and served once at the end of a turn).
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

/// A connected peer, and the listener that accepted it.
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

/// Received bytes of a session that is passed to another node or to the side thread.
#[derive(Debug)]
pub struct PassedOn {
    /// The client.
    pub peer: Peer,
    /// The request as received, and any bytes after it.
    pub bytes: Vec<u8>,
    /// Kind of the request: an upgrade may be retried on another node if the first one closed the connection without
    /// sending any of the response.
    pub kind: Kind,
    /// Length of the request within `bytes`, if it is a call; the client's next requests follow it.
    pub call: Option<usize>,
    /// Maximum size of a TLS record sent to the client, whose buffer may be small.
    pub record_bytes: usize,
    /// Destination as a stream of a link, if the session can use one.
    pub home: Option<StreamHome>,
}

/// Destination of a session that is passed to another node as a stream of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamHome {
    /// The slot of its channel.
    pub slot: Slot,
    /// Account of the channel, which the stream counts against.
    pub account: u64,
}

/// A request that another node did not answer.
#[derive(Clone, Debug)]
pub struct FailedPass {
    /// The other node.
    pub node: NodeId,
    /// The cause.
    pub why: PassFailure,
    /// The request and the bytes after it, if none of them were sent to the other node.
    pub unsent: Vec<u8>,
}

/// Why another node did not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, EnumCount, IntoStaticStr, VariantNames)]
#[strum(serialize_all = "snake_case")]
pub enum PassFailure {
    /// No capacity for the request on this node.
    NoRoom,
    /// The connection failed.
    Connect,
    /// Timed out.
    Timeout,
    /// The peer is not a node of a cluster.
    Foreign,
    /// Closed the connection without an answer: the node is full, or does not accept connections from this one.
    Closed,
    /// The node lost the channel to another node before it answered.
    Moved,
    /// The node had not answered when this node began shutting down.
    Drain,
}

/// Why the edge itself refused a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TurnedAway {
    /// No capacity for another connection; on a TLS listener it is closed without a response.
    NoRoom,
    /// No capacity for another TLS handshake; closed without a response.
    NoHandshakeRoom,
    /// Plain HTTP on a TLS listener.
    PlainHttp,
    /// The client does not trust the server's certificate, according to the alert that ended the handshake.
    Distrusted,
    /// No TLS version, cipher suite or protocol in common.
    NoCommonTls,
    /// A protocol violation in the handshake, or non-TLS bytes on a TLS listener.
    BrokenTls,
    /// The client disconnected during the handshake, without an alert.
    LeftHandshake,
    /// A PROXY protocol header on a listener that expects none.
    ProxyUnexpected,
    /// A peer outside `[proxy] protocol_from`; closed without a response.
    ProxyForeign,
    /// A proxy that sent no valid header; closed without a response.
    ProxyMalformed,
}

/// Input to a machine.
#[derive(Debug)]
pub enum Input<'a, Letter> {
    /// The TLS handshake of this session has completed.
    Secured {
        /// Session of the connection.
        session: SessionKey,
    },
    /// Plaintext bytes were received. The machine may modify them in place and copies what it needs.
    Received {
        /// Session of the connection.
        session: SessionKey,
        /// The bytes; never empty.
        bytes: &'a mut [u8],
    },
    /// Plaintext bytes were passed to the kernel, namely the oldest ones not yet reported.
    Sent {
        /// Session of the connection.
        session: SessionKey,
        /// Number of bytes.
        bytes: usize,
        /// Number of bytes on the wire: the same, or with TLS the size of the complete records.
        on_wire: usize,
    },
    /// Answer to [`Output::Ask`].
    Unacknowledged {
        /// Session of the connection.
        session: SessionKey,
        /// Number of bytes on the wire that the kernel accepted and the peer's machine has not acknowledged. May be
        /// slightly too high: the connection's own FIN, or a send not yet reported.
        bytes: u32,
        /// Smoothed round-trip time in milliseconds; only needed if bytes are unacknowledged.
        round_trip_ms: u32,
    },
    /// The peer will send no more data: end of stream, reset, or a TLS failure. Reported at most once, and not after
    /// `Gone`. The machine responds with [`Output::Close`] or [`Output::Abort`] unless it already has.
    Ended {
        /// Session of the connection.
        session: SessionKey,
    },
    /// The connection is closed and its descriptor is free; the machine drops the session and may reuse its slot.
    /// Reported exactly once for every session that was not released.
    Gone {
        /// Session of the connection.
        session: SessionKey,
        /// See [`Input::Unacknowledged`]; queried just before the descriptor was closed.
        unacknowledged: u32,
    },
    /// A letter from another shard, or from the side thread.
    Letter(Letter),
    /// A letter from this machine did not fit into the mailbox. The machine answers the connection that waits for it.
    Refused(Letter),
    /// The deadline is due. Harmless if it is early.
    Tick,
}

/// Action requested by a machine.
#[derive(Debug)]
pub enum Output<Letter> {
    /// [`Machine::unsent`] of this session is not empty. Emitted once until the edge has taken everything.
    Send(SessionKey),
    /// The connection belongs to another shard: [`Machine::release`] it and post it there. The head was read with
    /// single receives, so no receive is armed.
    HandOver(SessionKey, ShardId),
    /// The connection belongs to another node: [`Machine::release`] it and forward it. As with a handover, no receive
    /// is armed.
    PassOn(SessionKey, NodeId),
    /// The connection requests a page of the admin listener: [`Machine::release`] it and pass it to the side thread. As
    /// with a handover, no receive is armed.
    Admin(SessionKey),
    /// The client on a link with this number is evicted in favour of another connection: answer 503 if the other node
    /// has sent nothing, otherwise close.
    Displace(u32),
    /// Another node now owns the channel of the client with this number. A WebSocket is closed with 1001 after the last
    /// complete frame sent to its client, or reset in the middle of one. An unanswered request is returned
    /// ([`Machine::unanswered`]).
    LoseOwner(u32),
    /// Detach the client with this number, since this node is shutting down: the client receives the rest of what the
    /// other node has sent, up to its end of stream. The other node receives nothing more, and closes a WebSocket after
    /// everything it accepted. An unanswered upgrade is returned ([`Machine::unanswered`]).
    Leave(u32),
    /// The peer of this session has been silent for minutes: have the kernel probe it every minute.
    KeepAlive(SessionKey),
    /// Report what the peer of this session has acknowledged; [`Input::Unacknowledged`] must be the next input, before
    /// anything from the network.
    Ask(SessionKey),
    /// Letter for another shard (or this one); boxed, since letters are rare and the other outputs are small.
    Post(ShardId, Box<Letter>),
    /// Send the unsent bytes, then close the connection gracefully. The machine still accepts `Sent` and ignores
    /// `Received`.
    Close(SessionKey),
    /// Close the connection at once; unsent bytes are dropped. May follow a `Close` that takes too long.
    Abort(SessionKey),
    /// Reset the connection (RST), for a test of its peer; [`Output::Abort`] follows.
    Reset(SessionKey),
    /// The drain has finished: no WebSocket and no waiting call is left, or its time limit has expired. Emitted once.
    Drained,
}

/// How the edge reads a session's socket; queried after each input of that session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Intake {
    /// Single receives: for a request head or body, or to detect that a call's caller disconnected.
    Once,
    /// Multishot receive: for a stream of frames.
    Many,
    /// No reads until the session's next output.
    Paused,
}

/// State of one shard, driven by the edge.
pub trait Machine {
    /// Message between shards. Connections are sent as [`Self::Parcel`].
    type Letter: Send + 'static;
    /// Session in transit to another shard.
    type Parcel: Send + 'static;
    /// Copy of the machine's counters, taken between two turns.
    type Snapshot: Send + 'static;
    /// Query from an operator.
    type Question: Send + 'static;
    /// Answer to an operator's query.
    type Reply: Send + 'static;

    /// Opens a session for an accepted connection; `None` if the machine is full, in which case the edge answers 503
    /// and closes.
    fn open(&mut self, peer: Peer, at: Moment) -> Option<SessionKey>;

    /// Like [`Machine::open`], but evicts another session, whose connection the edge has closed; [`Input::Gone`]
    /// follows.
    fn open_instead(&mut self, peer: Peer, at: Moment) -> Option<SessionKey> {
        self.open(peer, at)
    }

    /// Sets the client address of a newly opened session, as reported by the proxy in front of it.
    fn comes_from(&mut self, session: SessionKey, client: SocketAddr) {
        let _ = (session, client);
    }

    /// Address that a session's connection is counted under; `None` if it must be read from the socket.
    fn remote(&self, session: SessionKey) -> Option<SocketAddr> {
        let _ = session;
        None
    }

    /// Client address of a session in transit to another shard.
    fn remote_of(parcel: &Self::Parcel) -> Option<SocketAddr> {
        let _ = parcel;
        None
    }

    /// Removes a session bound for another shard, a node or the side thread, after [`Output::HandOver`],
    /// [`Output::PassOn`] or [`Output::Admin`]. Frees its slot.
    fn release(&mut self, session: SessionKey) -> Self::Parcel;

    /// Adds a session released by another shard. Always succeeds; refusals become responses on the connection.
    fn adopt(&mut self, parcel: Self::Parcel, at: Moment) -> SessionKey;

    /// Takes back a session for which the other shard, or the side thread, had no capacity; answers 503 and closes.
    fn bounce(&mut self, parcel: Self::Parcel, at: Moment) -> SessionKey;

    /// Takes the contents for another node or the side thread out of a parcel; `None` if the parcel is for a shard.
    fn passed_on(parcel: &mut Self::Parcel) -> Option<PassedOn> {
        let _ = parcel;
        None
    }

    /// Takes back a session that the other node did not answer; it waits for another owner, or answers 503 and closes.
    fn unanswered(&mut self, parcel: Self::Parcel, failed: FailedPass, at: Moment) -> SessionKey {
        let _ = failed;
        self.bounce(parcel, at)
    }

    /// Takes back a session whose call the other node has answered: the client gets that answer, and the connection
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

    /// Marks a newly opened session as a stream of a link. Acknowledgements of its bytes are those of the client's
    /// machine; an answer to [`Output::Ask`] is followed by a newer one as another [`Input::Unacknowledged`]. A call
    /// ends with its answer ([`Output::Close`]), which determines whether the client's connection closes as well.
    fn comes_by_link(&mut self, session: SessionKey, kind: Kind) {
        let _ = (session, kind);
    }

    /// Adds a client on a link to the other node under this number. Returns `false` if there is no capacity and no
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

    /// Handles the loss of the link of these clients; [`Output::LoseOwner`] follows for each, spread over time.
    fn link_died(&mut self, places: &[u32], now: Now) {
        let _ = (places, now);
    }

    /// Removes a client on a link and frees its number. No effect if there is none.
    fn left_link(&mut self, place: u32) {
        let _ = place;
    }

    /// Counts a connection refused by the edge; returns the request id of the response. Machines that do not track
    /// refusals use a single id for all.
    fn turned_away(&mut self, remote: SocketAddr, why: TurnedAway, at: Moment) -> String {
        let _ = (remote, why, at);
        NO_REQUEST_ID.to_owned()
    }

    /// Counts a failed TLS handshake, for a reason determined by the edge. If client and broker have no version, cipher
    /// suite or protocol in common, `offer` describes what the peer offered and what would have matched.
    fn handshake_failed(
        &mut self,
        session: SessionKey,
        why: TurnedAway,
        offer: Option<&str>,
        at: Moment,
    ) {
        let _ = (session, why, offer, at);
    }

    /// Reports the server name and certificate of a connection to the credentials provider: before [`Input::Secured`],
    /// and again before bytes whenever the state of the certificate changes.
    fn showed(&mut self, session: SessionKey, shown: Shown, now: Now) {
        let _ = (session, shown, now);
    }

    /// Whether a slot is free; checked before a connection or a handover is accepted.
    fn has_room(&self) -> bool;

    /// Handles one input.
    fn handle(&mut self, input: Input<'_, Self::Letter>, at: Moment);

    /// The next output, in order.
    fn poll_output(&mut self) -> Option<Output<Self::Letter>>;

    /// Latest time at which [`Input::Tick`] is due.
    fn deadline(&self) -> Option<Now>;

    /// How to read this session's socket.
    fn intake(&self, session: SessionKey) -> Intake;

    /// Plaintext bytes queued for the socket, excluding those in flight. Empty for an unknown session.
    fn unsent(&self, session: SessionKey) -> &[u8];

    /// A prefix of the unsent bytes, possibly all of them, that the edge encrypts together within its own limits.
    fn unsent_record(&self, session: SessionKey) -> &[u8] {
        self.unsent(session)
    }

    /// Records that the first `bytes` of [`Machine::unsent`] were copied out (encrypted, or into a buffer that the
    /// kernel reads); they are in flight until [`Input::Sent`] reports them. Bytes sent directly need only `Sent`.
    /// Returns whether the connection is a WebSocket, so that its send buffer may grow beyond the size for requests.
    fn launched(&mut self, session: SessionKey, bytes: usize) -> bool;

    /// Whether a nearly full mailbox may refuse this letter: a query may be refused (it returns as [`Input::Refused`]);
    /// an answer, a cancellation or a drain never is, since the mailbox has reserved capacity for them.
    fn refusable(letter: &Self::Letter) -> bool;

    /// Current counters.
    fn snapshot(&self) -> Self::Snapshot;

    /// Answers an operator's query, between two turns. Outputs may follow.
    fn inspect(&mut self, question: Self::Question, at: Moment) -> Self::Reply;

    /// Work done since the start, in units of [`crate::work_units`]; bounded per turn.
    fn work(&self) -> u64 {
        0
    }

    /// Whether the peer of a closing session has announced, by the protocol, that it sends nothing more, so that there
    /// is no need to wait for its EOF after [`Output::Close`].
    fn peer_is_done(&self, session: SessionKey) -> bool {
        let _ = session;
        false
    }

    /// Whether acknowledgements of the session's bytes matter; if not, [`Input::Gone`] reports 0.
    fn is_unconfirmed(&self, session: SessionKey) -> bool {
        let _ = session;
        false
    }

    /// Announces a simulated jump of the clock to `until`, in tests: [`Input::Tick`] follows for moments before it, and
    /// no input from peers. See [`crate::clock_jump`].
    fn leap(&mut self, until: Now) {
        let _ = until;
    }

    /// Records that the shard has not run since `since`, for longer than `STALL_MS`; bytes read next may date from the
    /// pause.
    fn stood_still(&mut self, since: Now, at: Moment) {
        let _ = (since, at);
    }

    /// Whether bytes may begin a WebSocket, in which case the edge checks whether their sender is still connected.
    fn may_begin_web_socket(bytes: &[u8]) -> bool {
        let _ = bytes;
        false
    }

    /// Announces that the peer's EOF follows the next bytes, possibly after more bytes. [`Input::Ended`] follows.
    fn ends_behind(&mut self, session: SessionKey) {
        let _ = session;
    }

    /// Records that all sends of a turn are complete; `at` was read after the last of them. Called at most once per
    /// turn, after its [`Input::Sent`], so that durations are measured without a clock call for each.
    fn flushed(&mut self, at: Moment) {
        let _ = at;
    }
}

/// Request id used by machines that do not generate request ids.
const NO_REQUEST_ID: &str = "00000000-0000-4000-8000-000000000000";

// Certificate that a client presented in its TLS handshake, with facts found by the edge.
//
// Only connections to the names of the credentials provider are asked for one. The core decides whether it is accepted.

/// TLS properties of a connection to one of the credentials provider's names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// Requested server name (SNI), in lower case.
    pub server_name: Box<str>,
    /// Certificate of the client, if it presented one.
    pub certificate: Option<ShownCertificate>,
}

/// A certificate whose private key the client holds, since it signed the handshake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShownCertificate {
    /// SHA-256 of the certificate's DER.
    pub fingerprint: [u8; 32],
    /// Numbers that identify the certificate, and those presented with it, in revocation lists.
    pub numbers: Box<[u64]>,
    /// Start of the validity period, in seconds since 1970 UTC.
    pub not_before_s: u64,
    /// Last second of the validity period, since 1970 UTC.
    pub not_after_s: u64,
    /// The authority that certifies the certificate, or why none does.
    pub vouched: Result<Certified, Box<str>>,
}

/// A certificate's authority and name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certified {
    /// SHA-256 of the authority's public key.
    pub authority: [u8; 32],
    /// Name of the thing in the certificate.
    pub name: Box<str>,
}
