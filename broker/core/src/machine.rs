//! The interface between the edge and the machine that it drives, and the certificates that the edge reports.
//!
//! A [`Machine`] is one shard's state without sockets, clock or randomness. The edge owns descriptors, TLS and the
//! ring; the machine owns sessions. Both keep them under the same [`SessionKey`].
//!
//! The rule of the drive loop: *one input, then [`Machine::poll_output`] until `None`, then the next input*
//! ([`Output::Send`] may be gathered and served once at the end of a turn).
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
use std::net::SocketAddr;
use strum::{EnumCount, IntoStaticStr, VariantNames};

/// A connected peer, and the listener that accepted it.
#[derive(Clone, Copy, Debug)]
pub struct Peer {
    /// The address of the other end.
    pub remote: SocketAddr,
    /// The place of the listener in the configured list.
    pub listener: u16,
    /// Whether the connection is TLS. Then the session's first [`Input::Received`] comes after [`Input::Secured`].
    pub tls: bool,
    /// Whether another node passed it on. It is never passed on again.
    pub inner: bool,
}

/// The bytes so far of a session that leaves for another node, or for the side thread.
#[derive(Debug)]
pub struct PassedOn {
    /// The client.
    pub peer: Peer,
    /// Its request as it came, and whatever followed.
    pub bytes: Vec<u8>,
    /// It may be sent to another node after one that ended without a byte of an answer.
    pub repeats: bool,
    /// Bytes of the request alone, if it is a call: the rest is the client's next ones.
    pub call: Option<usize>,
    /// It is a call that waits for its answer, as an offer of Alexa does.
    pub waits: bool,
}

/// Where a session belongs that leaves for another node as a stream of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamHome {
    /// The slot of its channel.
    pub slot: Slot,
    /// The share that it counts for: that of the channel's account.
    pub account: u64,
}

/// Why another node did not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, EnumCount, IntoStaticStr, VariantNames)]
#[strum(serialize_all = "snake_case")]
pub enum PassFailure {
    /// There is no room for it here.
    NoRoom,
    /// It cannot be connected to.
    Connect,
    /// It did not answer in time.
    Timeout,
    /// The peer that answers is no node of a cluster.
    Foreign,
    /// It ended without an answer: it has no room, or does not accept this node.
    Closed,
    /// It lost the channel to another node, and had not answered.
    Moved,
    /// It had not answered, and this node ends.
    Drain,
}

/// Why the edge turned a connection away by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TurnedAway {
    /// There is no room for another connection; on a TLS listener it is closed without an answer.
    NoRoom,
    /// There is no room for another TLS handshake; it is closed without an answer.
    NoHandshakeRoom,
    /// It sent plain HTTP to a TLS listener.
    PlainHttp,
    /// It does not trust the certificate of this server, by the alert with which it ended the handshake.
    Distrusted,
    /// It has no version, cipher or protocol of TLS in common with this server.
    NoCommonTls,
    /// It broke the protocol in the handshake, or sent something else to a TLS listener.
    BrokenTls,
    /// It left in the middle of the handshake, without an alert.
    LeftHandshake,
    /// A header of the PROXY protocol at a listener that expects none.
    ProxyUnexpected,
    /// A peer outside of `[proxy] protocol_from`; closed without an answer.
    ProxyForeign,
    /// A proxy that sent no valid header; closed without an answer.
    ProxyMalformed,
}

/// An input to a machine.
#[derive(Debug)]
pub enum Input<'a, Letter> {
    /// The TLS handshake of this session is over.
    Secured {
        /// The owner.
        session: SessionKey,
    },
    /// Plaintext bytes arrived. The machine may change them in place and keeps what it needs of them.
    Received {
        /// The owner.
        session: SessionKey,
        /// The bytes, at least one.
        bytes: &'a mut [u8],
    },
    /// The last byte of this many plaintext bytes was handed to the kernel: the oldest ones not reported yet.
    Sent {
        /// The owner.
        session: SessionKey,
        /// The number of bytes.
        bytes: usize,
        /// The bytes on the wire that the kernel took for them: as many, or of TLS those of whole records.
        on_wire: usize,
    },
    /// The answer to [`Output::Ask`].
    Unacknowledged {
        /// The owner.
        session: SessionKey,
        /// Bytes on the wire that the kernel took, and the peer's machine has not acknowledged. It may count a few
        /// more: our end, or a send that was not reported yet.
        bytes: u32,
        /// The smoothed time of a round trip; only needed where bytes are not acknowledged.
        round_trip_ms: u32,
    },
    /// The peer will send no more: end of stream, reset, or a TLS failure. Comes at most once, and not after `Gone`.
    /// The machine answers with [`Output::Close`] or [`Output::Abort`] unless it has done so before.
    Ended {
        /// The owner.
        session: SessionKey,
    },
    /// The connection is closed and its descriptor is free: the machine forgets the session and may use its slot again.
    /// Comes exactly once for every session that was not released.
    Gone {
        /// The owner.
        session: SessionKey,
        /// As in [`Input::Unacknowledged`], just before the descriptor was closed.
        unacknowledged: u32,
    },
    /// A letter from another shard, or from the side thread.
    Letter(Letter),
    /// A letter that this machine posted found no room. The machine answers the connection that waits for it.
    Refused(Letter),
    /// The deadline is due. Also harmless when it is not.
    Tick,
}

/// An action that a machine wants done.
#[derive(Debug)]
pub enum Output<Letter> {
    /// [`Machine::unsent`] of this session is not empty. Emitted once until the edge has taken all of it.
    Send(SessionKey),
    /// The connection belongs on another shard: [`Machine::release`] it and post it there. The head was read by single
    /// receives, so nothing is armed.
    HandOver(SessionKey, ShardId),
    /// The connection belongs on another node: [`Machine::release`] it and pass it on. As with a handover nothing is
    /// armed.
    PassOn(SessionKey, NodeId),
    /// The connection asks for a page of the admin listener: [`Machine::release`] it and pass it to the side thread. As
    /// with a handover nothing is armed.
    Admin(SessionKey),
    /// The client on a link with this number makes room for another connection: 503 if nothing has come of the other
    /// node, else it is closed.
    Displace(u32),
    /// Another node has the channel of the client with this number. A WebSocket is closed with 1001 behind the last
    /// whole frame that its client got, or reset within one. A request that is not answered comes back
    /// ([`Machine::unanswered`]).
    LoseOwner(u32),
    /// This node ends: the client with this number gets what the other node has for it, and the end of
    /// that. The other node gets nothing more, and closes a WebSocket behind all that it accepted. An upgrade that is
    /// not answered comes back ([`Machine::unanswered`]).
    Leave(u32),
    /// The session is a WebSocket from here on: the send buffer of its connection is no longer that of requests.
    Widen(SessionKey),
    /// The peer of this session says nothing for minutes: have the kernel look whether it is there, each minute.
    KeepAlive(SessionKey),
    /// Say what the peer of this session has acknowledged: [`Input::Unacknowledged`] is the next input, before anything
    /// of the network.
    Ask(SessionKey),
    /// A letter for another shard (or this one): boxed, since it is rare and the others are small.
    Post(ShardId, Box<Letter>),
    /// Send what is unsent, then end the connection politely. The machine still takes `Sent` and ignores `Received`.
    Close(SessionKey),
    /// End the connection at once; unsent bytes are dropped. May follow a `Close` that takes too long.
    Abort(SessionKey),
    /// Reset the connection (RST), for a test of its peer; [`Output::Abort`] follows.
    Reset(SessionKey),
    /// Nothing is left to wait for in a drain: no WebSocket, no waiting call; or the drain's time is over. Emitted
    /// once.
    Drained,
}

/// The mode in which the edge reads a session's socket. Asked after each input of that session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Intake {
    /// One receive at a time: a request head or body is awaited, or a call's caller is watched for its end.
    Once,
    /// A stream of frames: a multishot receive.
    Many,
    /// No room for more until the machine asks again by an output of this session.
    Paused,
}

/// One shard's state: what the edge drives.
pub trait Machine {
    /// A message between shards. Connections travel as [`Self::Parcel`].
    type Letter: Send + 'static;
    /// A session on its way to another shard.
    type Parcel: Send + 'static;
    /// A copy of the machine's counters, taken between two turns.
    type Snapshot: Send + 'static;
    /// An operator's question to the machine.
    type Question: Send + 'static;
    /// The answer to such a question.
    type Reply: Send + 'static;

    /// A connection was accepted; `None` when the machine has no room: the edge answers 503 and closes.
    fn open(&mut self, peer: Peer, at: Moment) -> Option<SessionKey>;

    /// As [`Machine::open`], while another session makes room: the edge has cut its connection off, and
    /// [`Input::Gone`] follows.
    fn open_instead(&mut self, peer: Peer, at: Moment) -> Option<SessionKey> {
        self.open(peer, at)
    }

    /// A session that was opened just now is that of a client elsewhere: so says the proxy in front of it.
    fn comes_from(&mut self, session: SessionKey, client: SocketAddr) {
        let _ = (session, client);
    }

    /// The address that the connection of a session counts for; `None` where only its socket knows.
    fn remote(&self, session: SessionKey) -> Option<SocketAddr> {
        let _ = session;
        None
    }

    /// Address of the client of a session that is on its way to another shard.
    fn remote_of(parcel: &Self::Parcel) -> Option<SocketAddr> {
        let _ = parcel;
        None
    }

    /// Takes a session out for another shard, a node or the side thread, after [`Output::HandOver`],
    /// [`Output::PassOn`] or [`Output::Admin`]. Its slot is free.
    fn release(&mut self, session: SessionKey) -> Self::Parcel;

    /// Takes a session in that another shard released. Always succeeds; refusals become answers on the connection.
    fn adopt(&mut self, parcel: Self::Parcel, at: Moment) -> SessionKey;

    /// Takes back a session that the other shard, or the side thread, had no room for; it answers 503 and closes.
    fn bounce(&mut self, parcel: Self::Parcel, at: Moment) -> SessionKey;

    /// Takes out of a parcel what goes to another node or the side thread; `None` if it is for a shard.
    fn passed_on(parcel: &mut Self::Parcel) -> Option<PassedOn> {
        let _ = parcel;
        None
    }

    /// Takes back a session that the other node did not answer; it waits for another owner, or answers 503 and closes.
    /// `unsent`: the request and what followed it, if nothing of that went to the other node.
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

    /// Takes back a session whose call the other node has answered: that is what its client gets, and the connection
    /// goes on unless the answer says that it ends. `rest`: what the client sent behind the call.
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

    /// The bytes of a session that was opened just now are one call that another node passed on. It ends with its
    /// answer ([`Output::Close`]), which says of the client's connection alone whether that ends as well.
    fn brings_one_call(&mut self, session: SessionKey) {
        let _ = session;
    }

    /// A session that was opened just now is a stream of a link: what it sends is confirmed as its client's machine
    /// confirms it, and an answer to [`Output::Ask`] is followed by a newer one, as [`Input::Unacknowledged`].
    fn comes_by_link(&mut self, session: SessionKey) {
        let _ = session;
    }

    /// Where a session that was released for another node belongs there; `None` if it may not be a stream.
    fn stream_home(&self, parcel: &Self::Parcel) -> Option<StreamHome> {
        let _ = parcel;
        None
    }

    /// There is a link to the other node: from here on the client has a place, under this number. False when there is
    /// none and nobody makes room: then the parcel comes back. Outputs may follow.
    fn joins_link(
        &mut self,
        parcel: &Self::Parcel,
        (place, node): (u32, NodeId),
        at: Moment,
    ) -> bool {
        let _ = (parcel, place, node, at);
        true
    }

    /// The link of these clients has died: [`Output::LoseOwner`] follows for each, spread over
    /// a time.
    fn link_died(&mut self, places: &[u32], now: Now) {
        let _ = (places, now);
    }

    /// A client on a link is gone, and its number is free. Harmless for one that has no place.
    fn left_link(&mut self, place: u32) {
        let _ = place;
    }

    /// The edge turns a connection away: the request id of the answer, if there is one. A machine that keeps no account
    /// of refusals has one id for all.
    fn turned_away(&mut self, remote: SocketAddr, why: TurnedAway, at: Moment) -> String {
        let _ = (remote, why, at);
        NO_REQUEST_ID.to_owned()
    }

    /// The TLS handshake of a session came to nothing, for a reason that the edge knows; `offer`: what its peer offered
    /// and what would have matched, in words, where that is the reason.
    fn handshake_failed(
        &mut self,
        session: SessionKey,
        why: TurnedAway,
        offer: Option<&str>,
        at: Moment,
    ) {
        let _ = (session, why, offer, at);
    }

    /// The connection of a session is one to a name of the credentials provider, and began with this: said before
    /// [`Input::Secured`], and again before bytes where something else is found out about its certificate.
    fn showed(&mut self, session: SessionKey, shown: Shown, now: Now) {
        let _ = (session, shown, now);
    }

    /// Whether a connection would find a free slot: asked before one is accepted or a handover is taken in.
    fn has_room(&self) -> bool;

    /// Something happened.
    fn handle(&mut self, input: Input<'_, Self::Letter>, at: Moment);

    /// The next thing to do, in order.
    fn poll_output(&mut self) -> Option<Output<Self::Letter>>;

    /// When [`Input::Tick`] is due at the latest.
    fn deadline(&self) -> Option<Now>;

    /// The mode in which to read this session's socket.
    fn intake(&self, session: SessionKey) -> Intake;

    /// The plaintext bytes that wait for the socket, without those in flight. Empty for an unknown session.
    fn unsent(&self, session: SessionKey) -> &[u8];

    /// The first of these bytes, which may be all: the edge encrypts them together, within its own bounds.
    fn unsent_record(&self, session: SessionKey) -> &[u8] {
        self.unsent(session)
    }

    /// The first `bytes` of [`Machine::unsent`] were copied out (encrypted, or into a buffer that the kernel reads):
    /// they are in flight until [`Input::Sent`] reports them. Bytes sent directly need no `launched`, only `Sent`.
    fn launched(&mut self, session: SessionKey, bytes: usize);

    /// Whether a mailbox may refuse this letter when it is nearly full: a new question may be (it comes back as
    /// [`Input::Refused`]); an answer, a cancel or a drain never is, the reserve of the mailbox holds it.
    fn refusable(letter: &Self::Letter) -> bool;

    /// The counters at this moment.
    fn snapshot(&self) -> Self::Snapshot;

    /// Answers an operator, between two turns. Outputs may follow it.
    fn inspect(&mut self, question: Self::Question, at: Moment) -> Self::Reply;

    /// The work done since the start, in units of [`crate::work_units`]: a turn has a part of it.
    fn work(&self) -> u64 {
        0
    }

    /// Whether the peer of a session that ends has said, by the protocol, that it sends nothing more, so that its end
    /// need not be awaited after [`Output::Close`].
    fn peer_is_done(&self, session: SessionKey) -> bool {
        let _ = session;
        false
    }

    /// Whether anything was sent to a session of which it matters what its peer has: else [`Input::Gone`] says 0.
    fn is_unconfirmed(&self, session: SessionKey) -> bool {
        let _ = session;
        false
    }

    /// The clock jumps to `until`, for a test: [`Input::Tick`] comes at moments before it, and nothing of any peer. See
    /// [`crate::clock_jump`].
    fn leap(&mut self, until: Now) {
        let _ = until;
    }

    /// The shard did not run from `since` until now, for longer than `STALL_MS`: what is read next may have come
    /// meanwhile.
    fn stood_still(&mut self, since: Now, at: Moment) {
        let _ = (since, at);
    }

    /// Whether bytes may begin a WebSocket: then the edge looks whether their sender is there still.
    fn may_begin_web_socket(bytes: &[u8]) -> bool {
        let _ = bytes;
        false
    }

    /// The peer's end lies behind the bytes that come next, and perhaps behind more. [`Input::Ended`] follows.
    fn ends_behind(&mut self, session: SessionKey) {
        let _ = session;
    }

    /// The sends of a turn are over; `at` was read after the last of them. Comes at most once a turn, after the
    /// [`Input::Sent`] of it, so that durations can be measured without a clock call for each.
    fn flushed(&mut self, at: Moment) {
        let _ = at;
    }
}

/// The request id of a machine that has none.
const NO_REQUEST_ID: &str = "00000000-0000-4000-8000-000000000000";

// The certificate that a client showed in its TLS handshake, and what the edge found out about it.
//
// Only connections to the names of the credentials provider are asked for one. Whether it is let in is decided in the
// core: here are facts.

/// The beginning of a connection to a name of the credentials provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// The server name that it asked for, in lower case.
    pub server_name: Box<str>,
    /// Its certificate; `None` if it showed none.
    pub certificate: Option<ShownCertificate>,
}

/// A certificate whose key the client has: it signed the handshake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShownCertificate {
    /// SHA-256 of its DER.
    pub fingerprint: [u8; 32],
    /// By which revocation lists name it and the certificates that were shown with it.
    pub numbers: Box<[u64]>,
    /// Its first second, since 1970 UTC.
    pub not_before_s: u64,
    /// Its last second, since 1970 UTC.
    pub not_after_s: u64,
    /// The authority that vouches for it, or why none does.
    pub vouched: Result<Certified, Box<str>>,
}

/// An authority vouches for a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certified {
    /// SHA-256 of the authority's public key.
    pub authority: [u8; 32],
    /// The thing's name in it.
    pub name: Box<str>,
}
