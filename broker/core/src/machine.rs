//! Interface between the edge and the machine that it drives, and the certificates that the edge reports.
//!
//! A [`Machine`] is one shard's state without sockets, clock or randomness. The edge owns descriptors, TLS and the
//! ring; the machine owns sessions. Both use the same [`SessionKey`].
//!
//! The rule of the drive loop: *one input, then [`Machine::poll_output`] until `None`, then the next input*
//! ([`Output::Send`] may be collected and served once at the end of a turn).
//!
//! Life of a session as the edge sees it:
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
    /// Address of the other end.
    pub remote: SocketAddr,
    /// Index of the listener in the configuration.
    pub listener: u16,
    /// Whether the connection uses TLS. Then the session's first [`Input::Received`] follows [`Input::Secured`].
    pub tls: bool,
    /// Whether another node forwarded it. It is never forwarded again.
    pub inner: bool,
}

/// Received bytes of a session that leaves for another node, or for the side thread.
#[derive(Debug)]
pub struct PassedOn {
    /// The client.
    pub peer: Peer,
    /// Request as received, and further bytes.
    pub bytes: Vec<u8>,
    /// Kind of the request: an upgrade may be retried at another node after one that ended without a byte of an answer.
    pub kind: Kind,
    /// Length of the request alone, if it is a call: the client's next requests follow.
    pub call: Option<usize>,
    /// Most bytes of a TLS record to the client, whose buffer may be small.
    pub record_bytes: usize,
    /// Destination as a stream of a link, if it may be one.
    pub home: Option<StreamHome>,
}

/// Destination of a session that leaves for another node as a stream of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamHome {
    /// The slot of its channel.
    pub slot: Slot,
    /// Account of the channel, whose share the stream uses.
    pub account: u64,
}

/// Reason why another node did not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, EnumCount, IntoStaticStr, VariantNames)]
#[strum(serialize_all = "snake_case")]
pub enum PassFailure {
    /// No room for the request here.
    NoRoom,
    /// The connection failed.
    Connect,
    /// Timed out.
    Timeout,
    /// The peer is not a node of a cluster.
    Foreign,
    /// Closed without an answer: the node is full, or does not accept this one.
    Closed,
    /// The node lost the channel to another one before it answered.
    Moved,
    /// The node had not answered, and this node shuts down.
    Drain,
}

/// Reason why the edge itself refused a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TurnedAway {
    /// No room for another connection; on a TLS listener it is closed without an answer.
    NoRoom,
    /// No room for another TLS handshake; closed without an answer.
    NoHandshakeRoom,
    /// Plain HTTP on a TLS listener.
    PlainHttp,
    /// The client does not trust the server's certificate, by the alert with which it ended the handshake.
    Distrusted,
    /// No version, cipher or protocol of TLS in common.
    NoCommonTls,
    /// A violation of the protocol in the handshake, or other bytes on a TLS listener.
    BrokenTls,
    /// The client left during the handshake, without an alert.
    LeftHandshake,
    /// A header of the PROXY protocol at a listener that expects none.
    ProxyUnexpected,
    /// A peer outside of `[proxy] protocol_from`; closed without an answer.
    ProxyForeign,
    /// A proxy that sent no valid header; closed without an answer.
    ProxyMalformed,
}

/// Input to a machine.
#[derive(Debug)]
pub enum Input<'a, Letter> {
    /// The TLS handshake of this session has finished.
    Secured {
        /// Session of the connection.
        session: SessionKey,
    },
    /// Plaintext bytes were received. The machine may change them in place and copies what it needs.
    Received {
        /// Session of the connection.
        session: SessionKey,
        /// The bytes, at least one.
        bytes: &'a mut [u8],
    },
    /// Plaintext bytes were passed to the kernel: the oldest ones not yet reported.
    Sent {
        /// Session of the connection.
        session: SessionKey,
        /// The number of bytes.
        bytes: usize,
        /// Bytes on the wire: as many, or with TLS those of whole records.
        on_wire: usize,
    },
    /// Answer to [`Output::Ask`].
    Unacknowledged {
        /// Session of the connection.
        session: SessionKey,
        /// Bytes on the wire that the kernel accepted and the peer's machine has not acknowledged. May include a few
        /// more: the connection's own FIN, or a send not yet reported.
        bytes: u32,
        /// Smoothed round trip; only needed if bytes are unacknowledged.
        round_trip_ms: u32,
    },
    /// The peer will send no more: end of stream, reset, or a TLS failure. At most once, and not after `Gone`. The
    /// machine answers with [`Output::Close`] or [`Output::Abort`] unless it has done so before.
    Ended {
        /// Session of the connection.
        session: SessionKey,
    },
    /// The connection is closed and its descriptor is free: the machine drops the session and may reuse its slot.
    /// Exactly once for every session that was not released.
    Gone {
        /// Session of the connection.
        session: SessionKey,
        /// See [`Input::Unacknowledged`]; taken just before the descriptor was closed.
        unacknowledged: u32,
    },
    /// A letter from another shard, or from the side thread.
    Letter(Letter),
    /// A letter of this machine found no room. The machine answers the connection that waits for it.
    Refused(Letter),
    /// The deadline is due. Harmless if it is not.
    Tick,
}

/// Action that a machine requests.
#[derive(Debug)]
pub enum Output<Letter> {
    /// [`Machine::unsent`] of this session is not empty. Emitted once until the edge has taken all of it.
    Send(SessionKey),
    /// The connection belongs to another shard: [`Machine::release`] it and post it there. The head was read by single
    /// receives, so nothing is armed.
    HandOver(SessionKey, ShardId),
    /// The connection belongs to another node: [`Machine::release`] it and forward it. As with a handover nothing is
    /// armed.
    PassOn(SessionKey, NodeId),
    /// The connection requests a page of the admin listener: [`Machine::release`] it and pass it to the side thread. As
    /// with a handover nothing is armed.
    Admin(SessionKey),
    /// The client on a link with this number is evicted for another connection: answer 503 if the other node has sent
    /// nothing, else close.
    Displace(u32),
    /// Another node has the channel of the client with this number. A WebSocket is closed with 1001 after the last
    /// whole frame that its client got, or reset within one. An unanswered request returns ([`Machine::unanswered`]).
    LoseOwner(u32),
    /// Let the client with this number go, since this node shuts down: it gets what the other node has for it, and the
    /// end of that. The other node gets nothing more, and closes a WebSocket after everything that it accepted. An
    /// unanswered upgrade returns ([`Machine::unanswered`]).
    Leave(u32),
    /// The peer of this session is silent for minutes: have the kernel probe it, each minute.
    KeepAlive(SessionKey),
    /// Report what the peer of this session has acknowledged: [`Input::Unacknowledged`] is the next input, before
    /// anything from the network.
    Ask(SessionKey),
    /// Letter for another shard (or this one): boxed, since it is rare and the other outputs are small.
    Post(ShardId, Box<Letter>),
    /// Send what is unsent, then close the connection gracefully. The machine still takes `Sent` and ignores
    /// `Received`.
    Close(SessionKey),
    /// Close the connection at once; unsent bytes are dropped. May follow a `Close` that takes too long.
    Abort(SessionKey),
    /// Reset the connection (RST), for a test of its peer; [`Output::Abort`] follows.
    Reset(SessionKey),
    /// The drain has finished: no WebSocket and no waiting call is left, or its time is over. Emitted once.
    Drained,
}

/// How the edge reads a session's socket. Queried after each input of that session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Intake {
    /// One receive at a time: for a request head or body, or for the end of a call's caller.
    Once,
    /// Multishot receive: for a stream of frames.
    Many,
    /// No reads until an output of this session.
    Paused,
}

/// State of one shard, driven by the edge.
pub trait Machine {
    /// Message between shards. Connections travel as [`Self::Parcel`].
    type Letter: Send + 'static;
    /// Session in transit to another shard.
    type Parcel: Send + 'static;
    /// Copy of the machine's counters, taken between two turns.
    type Snapshot: Send + 'static;
    /// Query of an operator.
    type Question: Send + 'static;
    /// Answer to such a query.
    type Reply: Send + 'static;

    /// Opens a session for an accepted connection; `None` when the machine is full: the edge answers 503 and closes.
    fn open(&mut self, peer: Peer, at: Moment) -> Option<SessionKey>;

    /// Like [`Machine::open`], but evicts another session: the edge has closed its connection, and [`Input::Gone`]
    /// follows.
    fn open_instead(&mut self, peer: Peer, at: Moment) -> Option<SessionKey> {
        self.open(peer, at)
    }

    /// Sets the client's address of a session opened just now, from the proxy in front of it.
    fn comes_from(&mut self, session: SessionKey, client: SocketAddr) {
        let _ = (session, client);
    }

    /// Address that the connection of a session counts for; `None` if only its socket knows.
    fn remote(&self, session: SessionKey) -> Option<SocketAddr> {
        let _ = session;
        None
    }

    /// Address of the client of a session in transit to another shard.
    fn remote_of(parcel: &Self::Parcel) -> Option<SocketAddr> {
        let _ = parcel;
        None
    }

    /// Removes a session for another shard, a node or the side thread, after [`Output::HandOver`], [`Output::PassOn`]
    /// or [`Output::Admin`]. Its slot is free.
    fn release(&mut self, session: SessionKey) -> Self::Parcel;

    /// Adds a session that another shard released. Always succeeds; refusals become answers on the connection.
    fn adopt(&mut self, parcel: Self::Parcel, at: Moment) -> SessionKey;

    /// Takes back a session that the other shard, or the side thread, had no room for; it answers 503 and closes.
    fn bounce(&mut self, parcel: Self::Parcel, at: Moment) -> SessionKey;

    /// Takes the contents for another node or the side thread out of a parcel; `None` if it is for a shard.
    fn passed_on(parcel: &mut Self::Parcel) -> Option<PassedOn> {
        let _ = parcel;
        None
    }

    /// Takes back a session that the other node did not answer; it waits for another owner, or answers 503 and closes.
    /// `unsent`: the request and the bytes after it, if nothing of that was sent to the other node.
    fn unanswered(
        &mut self,
        parcel: Self::Parcel,
        (node, why): (NodeId, PassFailure),
        unsent: Vec<u8>,
        at: Moment,
    ) -> SessionKey {
        let _ = (node, why, unsent);
        self.bounce(parcel, at)
    }

    /// Takes back a session whose call the other node has answered: the client gets that answer, and the connection
    /// continues unless the answer closes it. `rest`: bytes of the client after the call.
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

    /// Marks a session opened just now as a stream of a link: its bytes are acknowledged as by its client's machine,
    /// and an answer to [`Output::Ask`] is followed by a newer one, as [`Input::Unacknowledged`]. A call ends with its
    /// answer ([`Output::Close`]), which decides whether the client's connection closes as well.
    fn comes_by_link(&mut self, session: SessionKey, kind: Kind) {
        let _ = (session, kind);
    }

    /// Adds a client on a link to the other node under this number. False when there is no place and nobody is evicted:
    /// then the parcel returns. Outputs may follow.
    fn joins_link(
        &mut self,
        parcel: &Self::Parcel,
        (place, node): (u32, NodeId),
        at: Moment,
    ) -> bool {
        let _ = (parcel, place, node, at);
        true
    }

    /// Handles the death of the link of these clients: [`Output::LoseOwner`] follows for each, spread over time.
    fn link_died(&mut self, places: &[u32], now: Now) {
        let _ = (places, now);
    }

    /// Removes a client on a link; its number is free. Harmless if there is none.
    fn left_link(&mut self, place: u32) {
        let _ = place;
    }

    /// Counts a connection that the edge refuses; returns the request id of the answer. Machines without accounting of
    /// refusals have one id for all.
    fn turned_away(&mut self, remote: SocketAddr, why: TurnedAway, at: Moment) -> String {
        let _ = (remote, why, at);
        NO_REQUEST_ID.to_owned()
    }

    /// Counts a failed TLS handshake, for a reason that the edge knows; `offer`: what the peer offered and what would
    /// have matched, in words, where that is the reason.
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
    /// and again before bytes whenever facts about the certificate change.
    fn showed(&mut self, session: SessionKey, shown: Shown, now: Now) {
        let _ = (session, shown, now);
    }

    /// Whether a slot is free: checked before a connection is accepted or a handover is taken.
    fn has_room(&self) -> bool;

    /// Handles one input.
    fn handle(&mut self, input: Input<'_, Self::Letter>, at: Moment);

    /// The next output, in order.
    fn poll_output(&mut self) -> Option<Output<Self::Letter>>;

    /// When [`Input::Tick`] is due at the latest.
    fn deadline(&self) -> Option<Now>;

    /// How to read this session's socket.
    fn intake(&self, session: SessionKey) -> Intake;

    /// Plaintext bytes queued for the socket, without those in flight. Empty for an unknown session.
    fn unsent(&self, session: SessionKey) -> &[u8];

    /// A prefix of these bytes, possibly all: the edge encrypts them together, within its own bounds.
    fn unsent_record(&self, session: SessionKey) -> &[u8] {
        self.unsent(session)
    }

    /// Records that the first `bytes` of [`Machine::unsent`] were copied out (encrypted, or into a buffer that the
    /// kernel reads): they are in flight until [`Input::Sent`] reports them. Bytes sent directly need only `Sent`.
    /// Whether the send buffer of its connection may grow from that of requests, since it is a WebSocket.
    fn launched(&mut self, session: SessionKey, bytes: usize) -> bool;

    /// Whether a nearly full mailbox may refuse this letter: a query may be (it returns as [`Input::Refused`]); an
    /// answer, a cancellation or a drain never is, the mailbox has reserved places for them.
    fn refusable(letter: &Self::Letter) -> bool;

    /// Current counters.
    fn snapshot(&self) -> Self::Snapshot;

    /// Answers an operator, between two turns. Outputs may follow.
    fn inspect(&mut self, question: Self::Question, at: Moment) -> Self::Reply;

    /// Work done since the start, in units of [`crate::work_units`]: bounded per turn.
    fn work(&self) -> u64 {
        0
    }

    /// Whether the peer of a closing session has announced, by the protocol, that it sends nothing more, so that its
    /// end need not be awaited after [`Output::Close`].
    fn peer_is_done(&self, session: SessionKey) -> bool {
        let _ = session;
        false
    }

    /// Whether acknowledgements of the session's bytes matter; otherwise [`Input::Gone`] reports 0.
    fn is_unconfirmed(&self, session: SessionKey) -> bool {
        let _ = session;
        false
    }

    /// Announces a jump of the clock to `until`, for a test: [`Input::Tick`] follows at moments before it, and no input
    /// of peers. See [`crate::clock_jump`].
    fn leap(&mut self, until: Now) {
        let _ = until;
    }

    /// Records that the shard did not run since that moment, for longer than `STALL_MS`: bytes read next may date from
    /// the pause.
    fn stood_still(&mut self, since: Now, at: Moment) {
        let _ = (since, at);
    }

    /// Whether bytes may begin a WebSocket: then the edge checks whether their sender is still there.
    fn may_begin_web_socket(bytes: &[u8]) -> bool {
        let _ = bytes;
        false
    }

    /// Announces that the peer's end follows the next bytes, and perhaps more. [`Input::Ended`] follows.
    fn ends_behind(&mut self, session: SessionKey) {
        let _ = session;
    }

    /// Ends the sends of a turn; `at` was read after the last of them. At most once a turn, after its [`Input::Sent`],
    /// so that durations are measured without a clock call for each.
    fn flushed(&mut self, at: Moment) {
        let _ = at;
    }
}

/// Request id of a machine without request ids.
const NO_REQUEST_ID: &str = "00000000-0000-4000-8000-000000000000";

// Certificate that a client presented in its TLS handshake, with facts found by the edge.
//
// Only connections to the names of the credentials provider are asked for one. The core decides whether it is accepted.

/// Facts about a connection to a name of the credentials provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// Requested server name (SNI), in lower case.
    pub server_name: Box<str>,
    /// Certificate of the client, if any.
    pub certificate: Option<ShownCertificate>,
}

/// A certificate whose key the client has: it signed the handshake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShownCertificate {
    /// SHA-256 of the certificate's DER.
    pub fingerprint: [u8; 32],
    /// Numbers by which revocation lists name it and the certificates presented with it.
    pub numbers: Box<[u64]>,
    /// First valid second, since 1970 UTC.
    pub not_before_s: u64,
    /// Last valid second, since 1970 UTC.
    pub not_after_s: u64,
    /// The authority that certifies it, or the reason why none does.
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
