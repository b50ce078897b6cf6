//! The interface between the edge and the machine that it drives, with the types in which the edge reports
//! certificates.
//!
//! A [`Machine`] is the state of one shard, without sockets, clocks or randomness. The edge owns the file descriptors,
//! the TLS state and the ring, and the machine owns the sessions. Both identify a session by its [`SessionKey`].
//!
//! The edge drives a machine as follows: *one input, then [`Machine::poll_output`] until it returns `None`, then the
//! next input*. It may collect several [`Output::Send`] and process them once per event loop iteration.
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
    /// The address of the peer.
    pub remote: SocketAddr,
    /// The listener's index in the configuration.
    pub listener: u16,
    /// Whether the connection uses TLS. If so, [`Input::Secured`] comes before the first [`Input::Received`].
    pub tls: bool,
    /// Whether another node forwarded the connection, in which case it is never forwarded again.
    pub inner: bool,
}

/// The data of a connection that is forwarded to another node or to the side thread.
#[derive(Debug)]
pub struct PassedOn {
    /// The client whose connection is forwarded.
    pub peer: Peer,
    /// The request as received, followed by any further bytes.
    pub bytes: Vec<u8>,
    /// The kind of the request. An upgrade may be retried on another node if the first one closed the connection
    /// without sending any of its response.
    pub kind: Kind,
    /// For a call, its length within `bytes`. The client's next requests follow it.
    pub call: Option<usize>,
    /// Maximum size in bytes of TLS records sent to the client, which may have only a small buffer.
    pub record_bytes: usize,
    /// The slot and account needed to forward the session as a stream of a link; `None` if it cannot be forwarded this
    /// way.
    pub home: Option<StreamHome>,
}

/// The slot and account of a session that becomes a stream of a link to another node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamHome {
    /// The slot of the session's channel.
    pub slot: Slot,
    /// The account that owns the channel. The stream counts towards its limits.
    pub account: u64,
}

/// A request that was forwarded to another node and not answered.
#[derive(Clone, Debug)]
pub struct FailedPass {
    /// The node to which the request was forwarded.
    pub node: NodeId,
    /// Why that node did not answer.
    pub why: PassFailure,
    /// The request and the bytes after it if the request may be sent to another node; empty otherwise.
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
    /// The peer answered, but is not a node of this cluster.
    Foreign,
    /// The other node closed the connection without answering, because it is full or does not accept connections from
    /// this node.
    Closed,
    /// The channel moved away from the other node before it answered.
    Moved,
    /// The other node had not answered by the time this node began to shut down.
    Drain,
}

/// Why the edge itself refused a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TurnedAway {
    /// The connection limit is reached. On a TLS listener, the connection is closed without a response.
    NoRoom,
    /// The limit on concurrent TLS handshakes is reached. The connection is closed without a response.
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
    /// A session's TLS handshake is complete.
    Secured {
        /// The session that performed the handshake.
        session: SessionKey,
    },
    /// Plaintext bytes arrived. The machine may modify them in place, and must copy whatever it needs to keep.
    Received {
        /// The session that received the bytes.
        session: SessionKey,
        /// The received bytes, never empty.
        bytes: &'a mut [u8],
    },
    /// The kernel has accepted bytes for the socket, namely the oldest ones that had not been reported yet.
    Sent {
        /// The session whose bytes were sent.
        session: SessionKey,
        /// Number of plaintext bytes.
        bytes: usize,
        /// Number of bytes on the wire. Equal to `bytes` without TLS; with TLS, the total size of the complete records.
        on_wire: usize,
    },
    /// The response to [`Output::Ask`].
    Unacknowledged {
        /// The session that was queried.
        session: SessionKey,
        /// Number of bytes on the wire that the kernel has accepted and the peer's TCP stack has not acknowledged. May
        /// be slightly too high, because the kernel also counts the connection's FIN and any send that has not been
        /// reported yet.
        bytes: u32,
        /// Smoothed round-trip time in milliseconds. Only used if there are unacknowledged bytes.
        round_trip_ms: u32,
    },
    /// The peer will send no more data, because of EOF, a reset or a TLS failure. Reported at most once, and never
    /// after `Gone`. The machine responds with [`Output::Close`] or [`Output::Abort`] unless it has already emitted
    /// either.
    Ended {
        /// The session whose peer sends no more data.
        session: SessionKey,
    },
    /// The connection is closed and its descriptor is free. The machine drops the session and may reuse its slot.
    /// Reported exactly once for every session that the machine has not released.
    Gone {
        /// The session whose connection is closed.
        session: SessionKey,
        /// The number of unacknowledged bytes, as in [`Input::Unacknowledged`], read just before the descriptor was
        /// closed.
        unacknowledged: u32,
    },
    /// A message from another shard or from the side thread.
    Letter(Letter),
    /// A message from this machine did not fit into the target shard's mailbox. If a connection is waiting for a reply
    /// to it, the machine answers that connection.
    Refused(Letter),
    /// The machine's deadline has passed. Ticking early does no harm.
    Tick,
}

/// An action that a machine requests from the edge.
#[derive(Debug)]
pub enum Output<Letter> {
    /// The session has bytes to send; see [`Machine::unsent`]. Not emitted again until the edge has taken all of them.
    Send(SessionKey),
    /// The connection belongs to another shard. The edge calls [`Machine::release`] and sends the result to that shard.
    /// No receive is pending, because single receives were used to read the request head.
    HandOver(SessionKey, ShardId),
    /// The connection belongs to another node. The edge calls [`Machine::release`] and forwards the result. No receive
    /// is pending.
    PassOn(SessionKey, NodeId),
    /// The connection requests a page from the admin listener. The edge calls [`Machine::release`] and passes the
    /// result to the side thread. No receive is pending.
    Admin(SessionKey),
    /// Evict the link client with this number (a client whose channel is on another node) to make room for another
    /// connection. Respond with 503 if the other node has not sent anything yet; otherwise, close the connection.
    Displace(u32),
    /// The channel of the link client with this number has a new owner. A WebSocket is closed with 1001 after the last
    /// complete frame sent to its client, or reset if a frame is incomplete. A request that has not been answered is
    /// returned with [`Machine::unanswered`].
    LoseOwner(u32),
    /// Detach the link client with this number, because the node is shutting down. The client still receives everything
    /// that the other node has sent, up to EOF. The other node receives nothing more from the client, and closes a
    /// WebSocket once it has processed everything that it accepted. An upgrade that has not been answered is returned
    /// with [`Machine::unanswered`].
    Leave(u32),
    /// A session's peer has been silent for minutes. Enable keepalive, which probes the peer every minute.
    KeepAlive(SessionKey),
    /// Ask the kernel how many bytes a session's peer has acknowledged. [`Input::Unacknowledged`] must be the next
    /// input, before anything from the network.
    Ask(SessionKey),
    /// Send a message to a shard, possibly this one. Boxed, because such messages are rare and the other outputs are
    /// small.
    Post(ShardId, Box<Letter>),
    /// Send the unsent bytes, then close the connection gracefully. Meanwhile, the machine still accepts `Sent` and
    /// ignores `Received`.
    Close(SessionKey),
    /// Close the connection immediately and drop unsent bytes. May follow [`Output::Close`] if that takes too long.
    Abort(SessionKey),
    /// Reset the connection (RST), to test how its peer reacts. [`Output::Abort`] follows.
    Reset(SessionKey),
    /// The drain is complete: no WebSockets or waiting calls are left, or its time limit has expired. Emitted once.
    Drained,
}

/// How the edge should read a session's socket. Queried after each input for the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Intake {
    /// Use single receives, to read a request head or body or to detect that the caller of a pending call has
    /// disconnected.
    Once,
    /// Use a multishot receive, for a stream of frames.
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
    /// A copy of the machine's counters, taken between two event loop iterations.
    type Snapshot: Send + 'static;
    /// A query from an operator.
    type Question: Send + 'static;
    /// An answer to an operator's query.
    type Reply: Send + 'static;

    /// Opens a session for an accepted connection. Returns `None` if the machine is full. The edge then answers 503 and
    /// closes the connection.
    fn open(&mut self, peer: Peer, at: Moment) -> Option<SessionKey>;

    /// Like [`Machine::open`], but succeeds even if no slot is free, because the edge has just closed another session's
    /// connection. [`Input::Gone`] follows for that session.
    fn open_instead(&mut self, peer: Peer, at: Moment) -> Option<SessionKey> {
        self.open(peer, at)
    }

    /// Sets the client address of a new session, as reported by the proxy in front of the broker.
    fn comes_from(&mut self, _session: SessionKey, _client: SocketAddr) {}

    /// Returns the address that the session's connection counts towards, or `None` if the edge must read it from the
    /// socket.
    fn remote(&self, _session: SessionKey) -> Option<SocketAddr> {
        None
    }

    /// Returns the client address of a session that is moving to another shard.
    fn remote_of(_parcel: &Self::Parcel) -> Option<SocketAddr> {
        None
    }

    /// Removes a session that is moving to another shard, to another node or to the side thread, and frees its slot.
    /// Called after [`Output::HandOver`], [`Output::PassOn`] or [`Output::Admin`].
    fn release(&mut self, session: SessionKey) -> Self::Parcel;

    /// Adds a session that another shard has released. Never fails: a session that must be refused receives an error
    /// response.
    fn adopt(&mut self, parcel: Self::Parcel, at: Moment) -> SessionKey;

    /// Takes back a session for which the other shard or the side thread had no capacity. Answers 503 and closes the
    /// session.
    fn bounce(&mut self, parcel: Self::Parcel, at: Moment) -> SessionKey;

    /// Removes and returns the data that a released session carries for another node or for the side thread. Returns
    /// `None` if the session is meant for a shard.
    fn passed_on(_parcel: &mut Self::Parcel) -> Option<PassedOn> {
        None
    }

    /// Takes back a session that the other node did not answer. The session waits for another owner, or is answered
    /// with 503 and closed.
    fn unanswered(&mut self, parcel: Self::Parcel, _failed: FailedPass, at: Moment) -> SessionKey {
        self.bounce(parcel, at)
    }

    /// Takes back a session whose call the other node has answered, and queues `answer` for the client. The connection
    /// stays open unless the answer closes it. `rest` contains the client's bytes after the call.
    fn answered(
        &mut self,
        parcel: Self::Parcel,
        _answer: &[u8],
        _rest: Vec<u8>,
        at: Moment,
    ) -> SessionKey {
        self.bounce(parcel, at)
    }

    /// Marks a new session as a stream of a link. Its client is connected to another node, where the client's TCP stack
    /// acknowledges the bytes. After the response to [`Output::Ask`], a newer number of acknowledged bytes may
    /// therefore arrive as another [`Input::Unacknowledged`]. A session for a single call ends with the response
    /// ([`Output::Close`]), which decides whether the client's connection is closed too.
    fn comes_by_link(&mut self, _session: SessionKey, _kind: Kind) {}

    /// Adds a client whose channel is on another node. The client's bytes are forwarded over a link, under the given
    /// number. Returns `false` if there is no capacity and no client can be evicted. In that case, the caller hands the
    /// session back to the state machine. The call may produce outputs.
    fn joins_link(&mut self, _parcel: &Self::Parcel, _client: (u32, NodeId), _at: Moment) -> bool {
        true
    }

    /// Handles the loss of the link that these clients use. [`Output::LoseOwner`] follows for each client, spread out
    /// over time.
    fn link_died(&mut self, _places: &[u32], _now: Now) {}

    /// Removes the link client with this number, if there is one, and frees the number.
    fn left_link(&mut self, _place: u32) {}

    /// Counts a connection that the edge refused. Returns the request id for the error response. Machines that do not
    /// track refusals return a fixed id.
    fn turned_away(&mut self, _remote: SocketAddr, _why: TurnedAway, _at: Moment) -> String {
        NO_REQUEST_ID.to_owned()
    }

    /// Counts a failed TLS handshake, for the reason that the edge has determined. If the client and the broker have no
    /// version, cipher suite or protocol in common, `offer` states what the client offered and what the broker would
    /// have accepted.
    fn handshake_failed(
        &mut self,
        _session: SessionKey,
        _why: TurnedAway,
        _offer: Option<&str>,
        _at: Moment,
    ) {
    }

    /// Reports the server name and client certificate of a connection to the credentials provider. Called before
    /// [`Input::Secured`], and again before received bytes if checking the certificate now gives a different result.
    fn showed(&mut self, _session: SessionKey, _shown: Shown, _now: Now) {}

    /// Returns `true` if another session fits. Called before a connection or a handover is accepted.
    fn has_room(&self) -> bool;

    /// Handles one input.
    fn handle(&mut self, input: Input<'_, Self::Letter>, at: Moment);

    /// Returns the next output. Outputs must be handled in order.
    fn poll_output(&mut self) -> Option<Output<Self::Letter>>;

    /// Returns when the next [`Input::Tick`] is due.
    fn deadline(&self) -> Option<Now>;

    /// Returns how the edge should read this session's socket.
    fn intake(&self, session: SessionKey) -> Intake;

    /// Returns the plaintext bytes queued for the socket, excluding those in flight. Empty for an unknown session.
    fn unsent(&self, session: SessionKey) -> &[u8];

    /// Returns the prefix of the unsent bytes that the edge may encrypt as one unit, within its own limits. The prefix
    /// may be all of them.
    fn unsent_record(&self, session: SessionKey) -> &[u8] {
        self.unsent(session)
    }

    /// Records that the first `bytes` bytes of [`Machine::unsent`] have been copied: they were encrypted, or moved to a
    /// buffer that the kernel reads. They are in flight until [`Input::Sent`]. If bytes are sent without a copy, only
    /// [`Input::Sent`] is needed. Returns `true` for a WebSocket, whose send buffer may grow larger than that of an
    /// HTTP connection.
    fn launched(&mut self, session: SessionKey, bytes: usize) -> bool;

    /// Returns `true` if this message may be refused when the mailbox is nearly full. A refused query comes back as
    /// [`Input::Refused`]. Answers, cancellations and drains are never refused, because the mailbox reserves capacity
    /// for them.
    fn refusable(letter: &Self::Letter) -> bool;

    /// Returns the current counters.
    fn snapshot(&self) -> Self::Snapshot;

    /// Answers an operator's query between two event loop iterations. Outputs may follow.
    fn inspect(&mut self, question: Self::Question, at: Moment) -> Self::Reply;

    /// Returns the total work done since startup, in units of [`crate::work_units`]. The edge uses it to limit the work
    /// per event loop iteration.
    fn work(&self) -> u64 {
        0
    }

    /// Returns `true` if the session is closing and its peer has already announced, within the connection's protocol,
    /// that it will send nothing more. The edge then does not wait for the peer's EOF after [`Output::Close`].
    fn peer_is_done(&self, _session: SessionKey) -> bool {
        false
    }

    /// Returns `true` if the machine needs to know which of the session's bytes are acknowledged. If not,
    /// [`Input::Gone`] reports 0 unacknowledged bytes.
    fn is_unconfirmed(&self, _session: SessionKey) -> bool {
        false
    }

    /// Announces that a test is about to make the clock jump to `until`. Until then, the edge passes only
    /// [`Input::Tick`] and no input from peers. See [`crate::clock_jump`].
    fn leap(&mut self, _until: Now) {}

    /// Records that the shard did not run between `since` and `at`, for longer than `STALL_MS`. Bytes that are read
    /// next may have arrived during this pause.
    fn stood_still(&mut self, _since: Now, _at: Moment) {}

    /// Returns `true` if these bytes may be the start of a WebSocket upgrade request. The edge then checks whether the
    /// sender is still connected.
    fn may_begin_web_socket(_bytes: &[u8]) -> bool {
        false
    }

    /// Announces that the peer has already sent EOF. The bytes received next, and perhaps more, come before the EOF.
    /// [`Input::Ended`] follows them.
    fn ends_behind(&mut self, _session: SessionKey) {}

    /// Records that all sends of an event loop iteration are complete. `at` was read after the last of them, so that
    /// durations can be measured without reading the clock for each send. Called at most once per iteration, after all
    /// of its [`Input::Sent`].
    fn flushed(&mut self, _at: Moment) {}
}

const NO_REQUEST_ID: &str = "00000000-0000-4000-8000-000000000000";

// TLS client certificates, as the edge reports them.
//
// Only connections to the credentials provider's host names must present a certificate. The core decides whether to
// accept it.

/// TLS properties of a connection to one of the credentials provider's host names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// The requested server name (SNI), in lower case.
    pub server_name: Box<str>,
    /// The client's certificate, if it presented one.
    pub certificate: Option<ShownCertificate>,
}

/// A certificate that the client presented. In the handshake, the client proved that it has the private key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShownCertificate {
    /// SHA-256 of the DER-encoded certificate.
    pub fingerprint: [u8; 32],
    /// The numbers by which revocation lists identify the certificate and its chain.
    pub numbers: Box<[u64]>,
    /// First second of the validity period, in seconds since 1970 UTC.
    pub not_before_s: u64,
    /// Last second of the validity period, in seconds since 1970 UTC.
    pub not_after_s: u64,
    /// The authority that issued the certificate, or why the certificate is not trusted.
    pub vouched: Result<Certified, Box<str>>,
}

/// The authority that issued a certificate, and the name that the certificate contains.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certified {
    /// SHA-256 of the certificate authority's public key.
    pub authority: [u8; 32],
    /// The AWS IoT thing name in the certificate.
    pub name: Box<str>,
}
