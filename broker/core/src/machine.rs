//! The interface between the edge and the machine that it drives, and the types in which the edge reports certificates.
//!
//! A [`Machine`] is the state of one shard, without sockets, clocks or randomness. The edge owns the file descriptors,
//! the TLS state and the ring, while the machine owns the sessions. Both identify a session by its [`SessionKey`].
//!
//! A machine is driven as follows: *one input, then [`Machine::poll_output`] until it returns `None`, then the next
//! input*. The edge may collect several [`Output::Send`] and process them once at the end of a turn.
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

/// A connected peer, and the listener that accepted it.
#[derive(Clone, Copy, Debug)]
pub struct Peer {
    /// The address of the peer.
    pub remote: SocketAddr,
    /// The index of the listener in the configuration.
    pub listener: u16,
    /// Whether the connection uses TLS. If so, [`Input::Secured`] precedes the first [`Input::Received`].
    pub tls: bool,
    /// Whether another node forwarded the connection. Such a connection is never forwarded again.
    pub inner: bool,
}

/// The data of a connection that is forwarded to another node or to the side thread.
#[derive(Debug)]
pub struct PassedOn {
    /// The client.
    pub peer: Peer,
    /// The request as it was received, and any bytes after it.
    pub bytes: Vec<u8>,
    /// The kind of the request. If the first node closed the connection without sending any part of its response to an
    /// upgrade, the upgrade may be retried on another node.
    pub kind: Kind,
    /// If the request is a call, its length within `bytes`. The client's next requests follow it.
    pub call: Option<usize>,
    /// Maximum size in bytes of the TLS records sent to the client. The client may have only a small buffer.
    pub record_bytes: usize,
    /// The slot and the account needed to forward the session as a stream of a link; `None` if this is not possible.
    pub home: Option<StreamHome>,
}

/// The slot and the account of a session that becomes a stream of a link to another node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamHome {
    /// The slot of the session's channel.
    pub slot: Slot,
    /// The account that owns the channel. The stream counts towards the limits of this account.
    pub account: u64,
}

/// A request that was forwarded to another node but not answered.
#[derive(Clone, Debug)]
pub struct FailedPass {
    /// The other node.
    pub node: NodeId,
    /// The reason why the node did not answer.
    pub why: PassFailure,
    /// The request and the bytes after it, if the request may be sent to another node; otherwise empty.
    pub unsent: Vec<u8>,
}

/// The reason why another node did not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, EnumCount, IntoStaticStr, VariantNames)]
#[strum(serialize_all = "snake_case")]
pub enum PassFailure {
    /// This node has no capacity to forward the request.
    NoRoom,
    /// The connection to the other node failed.
    Connect,
    /// The other node did not respond in time.
    Timeout,
    /// The peer that answered is not a node of this cluster.
    Foreign,
    /// The other node closed the connection without an answer, because it is full or accepts no connections from this
    /// node.
    Closed,
    /// The channel moved away from the other node before that node answered.
    Moved,
    /// The other node had not answered when this node began to shut down.
    Drain,
}

/// The reason why the edge itself refused a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TurnedAway {
    /// There is no capacity for another connection. On a TLS listener, the connection is closed without a response.
    NoRoom,
    /// There is no capacity for another TLS handshake. The connection is closed without a response.
    NoHandshakeRoom,
    /// The client sent plain HTTP to a TLS listener.
    PlainHttp,
    /// The client does not trust the server's certificate, according to the alert that ended the handshake.
    Distrusted,
    /// The client and the broker have no TLS version, cipher suite or protocol in common.
    NoCommonTls,
    /// The client violated the TLS protocol during the handshake, or sent bytes that are not TLS.
    BrokenTls,
    /// The client disconnected during the handshake, without an alert.
    LeftHandshake,
    /// A PROXY protocol header was received on a listener that expects none.
    ProxyUnexpected,
    /// The peer is not in `[proxy] protocol_from`. The connection is closed without a response.
    ProxyForeign,
    /// The proxy sent no valid header. The connection is closed without a response.
    ProxyMalformed,
}

/// An input to a machine.
#[derive(Debug)]
pub enum Input<'a, Letter> {
    /// The TLS handshake of this session is complete.
    Secured {
        /// The session that performed the handshake.
        session: SessionKey,
    },
    /// Plaintext bytes were received. The machine may modify them in place, and must copy what it needs to keep.
    Received {
        /// The session that received the bytes.
        session: SessionKey,
        /// The received bytes; never empty.
        bytes: &'a mut [u8],
    },
    /// The kernel has accepted bytes for the socket: the oldest ones that had not been reported yet.
    Sent {
        /// The session whose bytes were sent.
        session: SessionKey,
        /// Number of plaintext bytes.
        bytes: usize,
        /// Number of bytes on the wire. Without TLS, this is equal to `bytes`. With TLS, this is the total size of the
        /// complete records.
        on_wire: usize,
    },
    /// The response to [`Output::Ask`].
    Unacknowledged {
        /// The session that was queried.
        session: SessionKey,
        /// Number of bytes on the wire that the kernel has accepted and the peer's TCP stack has not acknowledged. The
        /// number may be slightly too high: the kernel also counts the connection's FIN and any send that has not been
        /// reported yet.
        bytes: u32,
        /// Smoothed round-trip time in milliseconds. Used only if there are unacknowledged bytes.
        round_trip_ms: u32,
    },
    /// The peer will send no more data, because of EOF, a reset or a TLS failure. Reported at most once, and never
    /// after `Gone`. The machine responds with [`Output::Close`] or [`Output::Abort`] unless it has already emitted one
    /// of them.
    Ended {
        /// The session whose peer sends no more data.
        session: SessionKey,
    },
    /// The connection is closed and its descriptor is free. The machine drops the session and may reuse its slot.
    /// Reported exactly once for every session, except those that the machine has released.
    Gone {
        /// The session whose connection is closed.
        session: SessionKey,
        /// The number of unacknowledged bytes, as in [`Input::Unacknowledged`], read just before the descriptor was
        /// closed.
        unacknowledged: u32,
    },
    /// A message from another shard or from the side thread.
    Letter(Letter),
    /// A message from this machine did not fit into the mailbox of its target. If the message was sent for a connection
    /// that waits for a reply, the machine answers that connection.
    Refused(Letter),
    /// The machine's deadline has passed. An early tick does no harm.
    Tick,
}

/// An action that a machine requests.
#[derive(Debug)]
pub enum Output<Letter> {
    /// The session has bytes to send; see [`Machine::unsent`]. Emitted again only after the edge has taken all of these
    /// bytes.
    Send(SessionKey),
    /// The connection belongs to another shard. The edge calls [`Machine::release`] and posts the result to that shard.
    /// No receive is pending, because the request head was read with single receives.
    HandOver(SessionKey, ShardId),
    /// The connection belongs to another node. The edge calls [`Machine::release`] and forwards the result. No receive
    /// is pending.
    PassOn(SessionKey, NodeId),
    /// The connection requests a page from the admin listener. The edge calls [`Machine::release`] and passes the
    /// result to the side thread. No receive is pending.
    Admin(SessionKey),
    /// Evict a link client (a client whose channel is on another node), given by its number, to make room for another
    /// connection. If the other node has not sent anything yet, answer 503; otherwise, close the connection.
    Displace(u32),
    /// The channel of the link client with this number now has another owner. A WebSocket is closed with 1001 after the
    /// last complete frame that was sent to its client, or reset if a frame is incomplete. A request that has not been
    /// answered is returned with [`Machine::unanswered`].
    LoseOwner(u32),
    /// Detach the link client with this number, because the node is shutting down. The client still receives what the
    /// other node has sent, up to EOF. The other node receives nothing more from the client, and closes a WebSocket
    /// after it has processed everything it accepted. An upgrade that has not been answered is returned with
    /// [`Machine::unanswered`].
    Leave(u32),
    /// The peer of this session has been silent for minutes. Enable keepalive, which probes the peer every minute.
    KeepAlive(SessionKey),
    /// Ask the kernel how many bytes the peer of this session has acknowledged. [`Input::Unacknowledged`] must be the
    /// next input, before anything from the network.
    Ask(SessionKey),
    /// Send a message to a shard, possibly to this one. Boxed, because such messages are rare and the other outputs are
    /// small.
    Post(ShardId, Box<Letter>),
    /// Send the unsent bytes, then close the connection gracefully. The machine still accepts `Sent` and ignores
    /// `Received`.
    Close(SessionKey),
    /// Close the connection immediately and drop unsent bytes. May follow [`Output::Close`] if closing takes too long.
    Abort(SessionKey),
    /// Reset the connection (RST), to test how its peer reacts. [`Output::Abort`] follows.
    Reset(SessionKey),
    /// The drain is complete, because no WebSockets or waiting calls are left or because its time limit has expired.
    /// Emitted once.
    Drained,
}

/// How the edge reads the socket of a session. Queried after each input of the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Intake {
    /// Use single receives. Used while reading a request head or body, and to detect that the caller of a pending call
    /// has disconnected.
    Once,
    /// Use a multishot receive. Used for a stream of frames.
    Many,
    /// Do not read until the next output for the session.
    Paused,
}

/// The state machine of one shard, driven by the edge.
pub trait Machine {
    /// A message between shards. Connections are sent separately, as [`Self::Parcel`].
    type Letter: Send + 'static;
    /// A session that is moving to another shard.
    type Parcel: Send + 'static;
    /// A copy of the machine's counters, taken between two turns.
    type Snapshot: Send + 'static;
    /// A query from an operator.
    type Question: Send + 'static;
    /// An answer to an operator's query.
    type Reply: Send + 'static;

    /// Opens a session for an accepted connection. Returns `None` if the machine is full, in which case the edge
    /// answers 503 and closes the connection.
    fn open(&mut self, peer: Peer, at: Moment) -> Option<SessionKey>;

    /// Like [`Machine::open`], but succeeds even if no slot is free, because the edge has closed the connection of
    /// another session. [`Input::Gone`] follows for that session.
    fn open_instead(&mut self, peer: Peer, at: Moment) -> Option<SessionKey> {
        self.open(peer, at)
    }

    /// Sets the client address of a new session, as reported by the proxy in front of the broker.
    fn comes_from(&mut self, session: SessionKey, client: SocketAddr) {
        let _ = (session, client);
    }

    /// Returns the address under which the session's connection is counted, or `None` if the edge must read it from the
    /// socket.
    fn remote(&self, session: SessionKey) -> Option<SocketAddr> {
        let _ = session;
        None
    }

    /// Returns the client address of a session that is moving to another shard.
    fn remote_of(parcel: &Self::Parcel) -> Option<SocketAddr> {
        let _ = parcel;
        None
    }

    /// Removes a session that is moving to another shard, to another node or to the side thread, and frees its slot.
    /// Called after [`Output::HandOver`], [`Output::PassOn`] or [`Output::Admin`].
    fn release(&mut self, session: SessionKey) -> Self::Parcel;

    /// Adds a session that another shard has released. Never fails: if the session must be refused, its client receives
    /// an error response.
    fn adopt(&mut self, parcel: Self::Parcel, at: Moment) -> SessionKey;

    /// Takes back a session for which the other shard or the side thread had no capacity. Answers 503 and closes the
    /// session.
    fn bounce(&mut self, parcel: Self::Parcel, at: Moment) -> SessionKey;

    /// Takes the data for another node or for the side thread out of a parcel. Returns `None` if the parcel is meant
    /// for a shard.
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

    /// Takes back a session whose call the other node has answered. Queues `answer` for the client. The connection
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

    /// Marks a new session as a stream of a link. Its bytes are acknowledged by the TCP stack of the client, which is
    /// connected to another node. A newer number of acknowledged bytes may therefore arrive after the response to
    /// [`Output::Ask`], as another [`Input::Unacknowledged`]. A session for a single call ends with its response
    /// ([`Output::Close`]), which determines whether the client's connection is closed as well.
    fn comes_by_link(&mut self, session: SessionKey, kind: Kind) {
        let _ = (session, kind);
    }

    /// Adds a client whose channel is on another node. Its bytes are forwarded over a link, under the given number.
    /// Returns `false` if there is no capacity and no client can be evicted. The caller then returns the parcel to the
    /// machine. Outputs may follow.
    fn joins_link(
        &mut self,
        parcel: &Self::Parcel,
        (place, node): (u32, NodeId),
        at: Moment,
    ) -> bool {
        let _ = (parcel, place, node, at);
        true
    }

    /// Handles the loss of the link that these clients use. [`Output::LoseOwner`] follows for each client, spread over
    /// time.
    fn link_died(&mut self, places: &[u32], now: Now) {
        let _ = (places, now);
    }

    /// Removes the link client with this number, if it is present, and frees the number.
    fn left_link(&mut self, place: u32) {
        let _ = place;
    }

    /// Counts a connection that the edge has refused. Returns the request id for the error response. Machines that do
    /// not track refusals return a fixed id.
    fn turned_away(&mut self, remote: SocketAddr, why: TurnedAway, at: Moment) -> String {
        let _ = (remote, why, at);
        NO_REQUEST_ID.to_owned()
    }

    /// Counts a failed TLS handshake. The edge has determined why it failed. If the client and the broker have no
    /// version, cipher suite or protocol in common, `offer` describes what the client offered and what the broker would
    /// have accepted.
    fn handshake_failed(
        &mut self,
        session: SessionKey,
        why: TurnedAway,
        offer: Option<&str>,
        at: Moment,
    ) {
        let _ = (session, why, offer, at);
    }

    /// Reports the server name and the client certificate of a connection to the credentials provider. Called before
    /// [`Input::Secured`], and again before received bytes if checking the certificate now has a different result.
    fn showed(&mut self, session: SessionKey, shown: Shown, now: Now) {
        let _ = (session, shown, now);
    }

    /// Returns `true` if there is a free slot for another session. Called before a connection or a handover is
    /// accepted.
    fn has_room(&self) -> bool;

    /// Handles one input.
    fn handle(&mut self, input: Input<'_, Self::Letter>, at: Moment);

    /// Returns the next output, in order.
    fn poll_output(&mut self) -> Option<Output<Self::Letter>>;

    /// Returns when the next [`Input::Tick`] is due.
    fn deadline(&self) -> Option<Now>;

    /// Returns how the edge should read this session's socket.
    fn intake(&self, session: SessionKey) -> Intake;

    /// Returns the plaintext bytes queued for the socket, excluding those in flight. Empty if the session is unknown.
    fn unsent(&self, session: SessionKey) -> &[u8];

    /// Returns the first unsent bytes that the edge may encrypt as one unit, within its own limits. These may be all of
    /// the unsent bytes.
    fn unsent_record(&self, session: SessionKey) -> &[u8] {
        self.unsent(session)
    }

    /// Records that the first `bytes` bytes of [`Machine::unsent`] have been copied: they were encrypted, or moved to a
    /// buffer that the kernel reads. They are in flight until [`Input::Sent`]. If bytes are sent without a copy, only
    /// [`Input::Sent`] is needed. Returns `true` for a WebSocket. Its send buffer may grow larger than an HTTP
    /// connection's.
    fn launched(&mut self, session: SessionKey, bytes: usize) -> bool;

    /// Returns `true` if this message may be refused when the mailbox is nearly full. A refused query returns as
    /// [`Input::Refused`]. Answers, cancellations and drains are never refused, because the mailbox reserves capacity
    /// for them.
    fn refusable(letter: &Self::Letter) -> bool;

    /// Returns the current counters.
    fn snapshot(&self) -> Self::Snapshot;

    /// Answers an operator's query between two turns. Outputs may follow.
    fn inspect(&mut self, question: Self::Question, at: Moment) -> Self::Reply;

    /// Returns the total work done since the start, in units of [`crate::work_units`]. The edge uses the total to limit
    /// the work per turn.
    fn work(&self) -> u64 {
        0
    }

    /// Returns `true` if the session is closing and its peer has announced, in the protocol of the connection, that it
    /// will send nothing more. The edge then does not wait for the peer's EOF after [`Output::Close`].
    fn peer_is_done(&self, session: SessionKey) -> bool {
        let _ = session;
        false
    }

    /// Returns `true` if the machine needs to know which bytes of the session are acknowledged. If not, [`Input::Gone`]
    /// reports 0 unacknowledged bytes.
    fn is_unconfirmed(&self, session: SessionKey) -> bool {
        let _ = session;
        false
    }

    /// Announces a simulated jump of the clock to `until`, in tests. Until then, the edge passes only [`Input::Tick`]
    /// and no input from peers. See [`crate::clock_jump`].
    fn leap(&mut self, until: Now) {
        let _ = until;
    }

    /// Records that the shard has not run since `since`, which was more than `STALL_MS` ago. The bytes read next may
    /// have arrived during this pause.
    fn stood_still(&mut self, since: Now, at: Moment) {
        let _ = (since, at);
    }

    /// Returns `true` if these bytes may be the start of a WebSocket upgrade request. In this case, the edge checks
    /// whether the sender is still connected.
    fn may_begin_web_socket(bytes: &[u8]) -> bool {
        let _ = bytes;
        false
    }

    /// Announces that the peer has already sent EOF. The next received bytes, and perhaps further ones, precede the
    /// EOF. [`Input::Ended`] follows them.
    fn ends_behind(&mut self, session: SessionKey) {
        let _ = session;
    }

    /// Records that all sends of a turn have completed. `at` is a time read after the last of them, so that durations
    /// can be measured without reading the clock for each send. Called at most once per turn, after all [`Input::Sent`]
    /// of the turn.
    fn flushed(&mut self, at: Moment) {
        let _ = at;
    }
}

const NO_REQUEST_ID: &str = "00000000-0000-4000-8000-000000000000";

// TLS client certificates, as the edge reports them.
//
// Only connections to the names of the credentials provider must present a certificate. The core decides whether it is
// accepted.

/// TLS properties of a connection to one of the host names of the credentials provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// The requested server name (SNI), in lower case.
    pub server_name: Box<str>,
    /// The certificate of the client, if it presented one.
    pub certificate: Option<ShownCertificate>,
}

/// A certificate that the client presented. The client proved in the handshake that it holds the certificate's private
/// key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShownCertificate {
    /// SHA-256 of the DER-encoded certificate.
    pub fingerprint: [u8; 32],
    /// Numbers by which revocation lists identify the certificate and its chain.
    pub numbers: Box<[u64]>,
    /// First second of the validity period, in seconds since 1970 UTC.
    pub not_before_s: u64,
    /// Last second of the validity period, in seconds since 1970 UTC.
    pub not_after_s: u64,
    /// The authority that issued the certificate, or the reason why the certificate is not trusted.
    pub vouched: Result<Certified, Box<str>>,
}

/// The authority that issued a certificate, and the name in the certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certified {
    /// SHA-256 of the certificate authority's public key.
    pub authority: [u8; 32],
    /// The AWS IoT thing name in the certificate.
    pub name: Box<str>,
}
