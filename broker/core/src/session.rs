//! The protocol state of one connection: HTTP until an upgrade, then WebSocket, then closing. Sessions refer to
//! channels only by key.

pub(crate) mod http;
pub(crate) mod outbox;
pub(crate) mod web_socket;

use crate::id::{ChannelKey, TimerId};
use crate::limits::{ANSWER_BYTES_MAX, ASK_STEP_BYTES, REQUEST_BYTES_FREE, UNREAD_BYTES_FREE};
use crate::settings::{Program, Timeouts};
use crate::time::Now;
use crate::{event::ConnectionRole, journal::EndReason, machine::Peer};
use codec::proxy::Unclear;
use codec::ws::first_bytes;
use http::{Http, HttpStage};
use outbox::Outbox;
use std::net::{SocketAddr, SocketAddrV4, SocketAddrV6};
use web_socket::{Due, Role, Tally, WebSocket};

/// The state of one connection. Rare states are boxed, because nearly all connections are open WebSockets that are
/// idle.
#[derive(Debug)]
pub(crate) struct Session {
    remote: Remote,
    listener: u16,
    entry: Entry,
    pub state: SessionState,
    pub outbox: Outbox,
    pub timer: TimerId,
    /// The role under which this connection is counted in the connection gauge.
    pub place: ConnectionRole,
    pub sending: SendState,
    /// Whether the socket was full at some point, and the outbox has not been empty since.
    pub behind: bool,
    /// Whether the connection was aborted because its peer stopped reading.
    pub cut: bool,
    /// The number of bytes that this connection contributes to the shard's metrics for slow connections.
    pub weight: u32,
    pub asking: ProofQueries,
}

/// The state of acknowledgement queries, packed into one byte: whether the connection is listed for queries, whether a
/// test simulates a disconnected peer, and how many bytes the kernel has accepted since the last query.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ProofQueries(u8);

impl ProofQueries {
    const LISTED: u8 = 1 << 7;
    const HALF_OPEN: u8 = 1 << 6;
    const FLAGS: u8 = Self::LISTED | Self::HALF_OPEN;

    pub(crate) fn is_half_open(self) -> bool {
        self.0 & Self::HALF_OPEN != 0
    }

    /// Starts or stops simulating a disconnected peer. During the simulation, nothing is read from the peer, and its
    /// acknowledgements are ignored.
    pub(crate) fn set_half_open(&mut self, half_open: bool) {
        self.0 = self.0 & !Self::HALF_OPEN | if half_open { Self::HALF_OPEN } else { 0 };
    }

    pub(crate) fn is_listed(self) -> bool {
        self.0 & Self::LISTED != 0
    }

    /// Adds the connection to the list for acknowledgement queries or removes it. Returns `true` if the connection was
    /// already listed.
    pub(crate) fn list(&mut self, listed: bool) -> bool {
        let before = self.is_listed();
        self.0 = self.0 & !Self::LISTED | if listed { Self::LISTED } else { 0 };
        before
    }

    /// Counts bytes that the kernel has accepted, in steps of [`ASK_STEP_BYTES`]. If the next query is due, returns
    /// `true` and starts counting again.
    pub(crate) fn took(&mut self, bytes: usize) -> bool {
        let steps = usize::from(self.0 & !Self::FLAGS) + bytes.div_ceil(ASK_STEP_BYTES);
        let is_due = steps >= UNREAD_BYTES_FREE / ASK_STEP_BYTES;
        let steps = if is_due { 0 } else { steps };
        self.0 = self.0 & Self::FLAGS | u8::try_from(steps).unwrap_or(0);
        is_due
    }

    pub(crate) fn was_asked(&mut self) {
        self.0 &= Self::FLAGS;
    }
}

const _: () = assert!(UNREAD_BYTES_FREE / ASK_STEP_BYTES < ProofQueries::HALF_OPEN as usize);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Entry {
    Plain,
    Tls,
    InnerPlain,
    InnerTls,
}

/// An IP address and port in 16 bytes instead of 32. IPv6 addresses are boxed.
#[derive(Debug)]
enum Remote {
    V4(SocketAddrV4),
    V6(Box<SocketAddrV6>),
    Forwarded(Box<Forwarded>),
}

#[derive(Debug)]
pub(crate) struct Forwarded {
    pub(crate) proxy: SocketAddr,
    /// The address of the client, or of the proxy if the client's address is unclear.
    pub(crate) client: SocketAddr,
    /// Whether the client uses TLS, if the proxy reports this.
    pub(crate) tls: Option<bool>,
    pub(crate) unclear: Option<Unclear>,
}

impl Remote {
    fn of(remote: SocketAddr) -> Self {
        match remote {
            SocketAddr::V4(remote) => Self::V4(remote),
            SocketAddr::V6(remote) => Self::V6(Box::new(remote)),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SendState {
    /// No send has been announced. The edge takes bytes only after an announcement.
    Idle,
    /// An [`crate::machine::Output::Send`] has been emitted, but the edge has not processed it yet.
    Announced,
    /// A test fault withholds the bytes until the fault ends.
    Withheld,
    /// A test fault withholds the bytes until the connection ends.
    WithheldForGood,
}

#[derive(Debug)]
pub(crate) enum SessionState {
    Http(Box<Http>),
    Open(WebSocket),
    /// A close frame is queued, and the peer's close frame has not arrived. Anything else from the peer is discarded.
    AwaitCloseEcho(Box<WebSocket>, Now),
    /// The edge is closing or aborting the connection, and will report when the descriptor is free.
    AwaitGone(Box<Ending>),
}

#[derive(Debug, Default)]
pub(crate) struct Ending {
    /// When to abort the connection if it has not closed by then; `NEVER` after it has been aborted.
    pub deadline: Now,
    pub was: Option<(ChannelKey, Role)>,
    /// Statistics of a WebSocket for the log.
    pub tally: Option<Tally>,
    /// The reason why the connection ended. If there are several causes, the first one is kept.
    pub reason: Option<EndReason>,
    /// If the connection was closed for lack of permission, the policy statement that denies it, or the key, role,
    /// policy or sign-in that was removed.
    pub refused_by: Option<Box<str>>,
    pub peer_is_done: bool,
    pub program: Program,
}

impl Session {
    /// Creates the session for an accepted connection. By `deadline`, the client must have completed the TLS handshake
    /// or sent the head of its first request.
    #[must_use]
    pub(crate) fn accepted(peer: Peer, deadline: Now) -> Self {
        Self {
            remote: Remote::of(peer.remote),
            listener: peer.listener,
            entry: match (peer.inner, peer.tls) {
                (false, false) => Entry::Plain,
                (false, true) => Entry::Tls,
                (true, false) => Entry::InnerPlain,
                (true, true) => Entry::InnerTls,
            },
            state: SessionState::Http(Box::new(Http::new(HttpStage::AwaitHead, deadline))),
            outbox: Outbox::default(),
            timer: TimerId::default(),
            place: ConnectionRole::Http,
            sending: SendState::Idle,
            behind: false,
            cut: false,
            weight: 0,
            asking: ProofQueries::default(),
        }
    }

    pub(crate) fn comes_from(&mut self, client: SocketAddr) {
        self.remote = Remote::of(client);
    }

    /// Returns the client that sent the request: the connected peer, or the client reported by an intermediate proxy.
    #[must_use]
    pub(crate) fn peer(&self) -> Peer {
        let says = self.forwarded().and_then(|it| it.tls);
        Peer {
            remote: self.remote(),
            tls: says.unwrap_or_else(|| self.has_tls()),
            ..self.own_peer()
        }
    }

    #[must_use]
    pub(crate) fn own_peer(&self) -> Peer {
        Peer {
            remote: self.origin(),
            listener: self.listener,
            tls: self.has_tls(),
            inner: self.is_inner(),
        }
    }

    /// Returns `true` if this connection uses TLS, regardless of what a proxy reports about the client's connection.
    #[must_use]
    pub(crate) fn has_tls(&self) -> bool {
        matches!(self.entry, Entry::Tls | Entry::InnerTls)
    }

    /// Returns the client of the current request, as reported by a proxy.
    #[must_use]
    pub(crate) fn forwarded(&self) -> Option<&Forwarded> {
        match &self.remote {
            Remote::Forwarded(forwarded) => Some(forwarded),
            Remote::V4(_) | Remote::V6(_) => None,
        }
    }

    /// Stores what a proxy reported about the current request, replacing its report about the previous one.
    pub(crate) fn forwards(&mut self, says: Option<Box<Forwarded>>) {
        if says.is_some() || self.forwarded().is_some() {
            self.remote = says.map_or_else(|| Remote::of(self.origin()), Remote::Forwarded);
        }
    }

    /// Removes and returns what a proxy reported about the request, because the session moves to another shard or node.
    pub(crate) fn take_forwarded(&mut self) -> Option<Box<Forwarded>> {
        let own = Remote::of(self.origin());
        match std::mem::replace(&mut self.remote, own) {
            Remote::Forwarded(says) => Some(says),
            Remote::V4(_) | Remote::V6(_) => None,
        }
    }

    /// Returns `true` if the connection is a stream of a link, which means that another node forwarded it.
    #[inline]
    #[must_use]
    pub(crate) fn is_inner(&self) -> bool {
        !matches!(self.entry, Entry::Plain | Entry::Tls)
    }

    #[must_use]
    pub(crate) fn remote(&self) -> SocketAddr {
        self.forwarded()
            .map_or_else(|| self.origin(), |it| it.client)
    }

    #[must_use]
    pub(crate) fn origin(&self) -> SocketAddr {
        match &self.remote {
            Remote::V4(remote) => SocketAddr::V4(*remote),
            Remote::V6(remote) => SocketAddr::V6(**remote),
            Remote::Forwarded(says) => says.proxy,
        }
    }

    #[must_use]
    pub(crate) fn open(&self) -> Option<&WebSocket> {
        let SessionState::Open(web_socket) = &self.state else {
            return None;
        };
        Some(web_socket)
    }

    pub(crate) fn open_mut(&mut self) -> Option<&mut WebSocket> {
        let SessionState::Open(web_socket) = &mut self.state else {
            return None;
        };
        Some(web_socket)
    }

    /// Returns `true` if the next request must wait, because the peer has not read the earlier responses or a test
    /// fault withholds a response.
    #[must_use]
    pub(crate) fn answers_wait(&self) -> bool {
        let is_http = matches!(self.state, SessionState::Http(_));
        self.outbox.bytes() >= ANSWER_BYTES_MAX || (is_http && self.sending == SendState::Withheld)
    }

    /// Returns the bytes that the edge may send: the queued bytes, or none while they are withheld.
    #[inline]
    #[must_use]
    pub(crate) fn unsent(&self) -> &[u8] {
        match self.sending {
            SendState::Idle | SendState::Announced => self.outbox.unsent(),
            SendState::Withheld | SendState::WithheldForGood => &[],
        }
    }

    /// Returns the first unsent bytes that may share TLS records. If the client's buffer is small, these are only the
    /// bytes of the first frame.
    #[inline]
    #[must_use]
    pub(crate) fn unsent_record(&self) -> &[u8] {
        let unsent = self.unsent();
        let takes_small = match &self.state {
            SessionState::Open(it) => it.program().takes_small_records(),
            SessionState::AwaitCloseEcho(it, _) => it.program().takes_small_records(),
            SessionState::AwaitGone(ending) => ending.program.takes_small_records(),
            SessionState::Http(_) => false,
        };
        if takes_small {
            return unsent.get(..first_bytes(unsent)).unwrap_or(unsent);
        }
        unsent
    }

    /// Returns `true` if there are queued bytes that have not been announced to the edge, and marks them as announced.
    #[inline]
    pub(crate) fn announces(&mut self) -> bool {
        let announces = self.sending == SendState::Idle && !self.outbox.unsent().is_empty();
        if announces {
            self.sending = SendState::Announced;
        }
        announces
    }

    /// Records that the edge has taken the announced bytes, or that they were returned to the queue.
    #[inline]
    pub(crate) fn was_taken(&mut self) {
        if self.sending == SendState::Announced {
            self.sending = SendState::Idle;
        }
    }

    /// Returns `true` if the session has no timer because a test fault withholds its bytes. The connection is then
    /// either open, or cannot end until these bytes are sent.
    #[must_use]
    pub(crate) fn stands_still(&self) -> bool {
        let for_a_time = match self.sending {
            SendState::Idle | SendState::Announced => return false,
            SendState::Withheld => true,
            SendState::WithheldForGood => false,
        };
        match &self.state {
            SessionState::Http(_) | SessionState::Open(_) => true,
            SessionState::AwaitGone(ending) => for_a_time && ending.deadline != NEVER,
            SessionState::AwaitCloseEcho(..) => false,
        }
    }

    /// Returns the deadline of an HTTP connection. During a call, only the call's deadline applies. While requests wait
    /// for their turn, or for the peer to read responses, only the deadline for reading responses applies.
    #[must_use]
    fn http_due(&self, http: &Http) -> Now {
        let awaits_head = matches!(http.stage, HttpStage::AwaitHead);
        if http.awaits_reply() {
            http.deadline
        } else if http.queued || (awaits_head && self.answers_wait()) {
            http.answer_due
        } else {
            http.answer_due.min(http.deadline)
        }
    }

    /// Returns the number of bytes that the connection holds beyond its free allowance. An HTTP connection holds
    /// unfinished or waiting requests and unread responses. A WebSocket holds an unfinished message.
    #[must_use]
    pub(crate) fn held(&self) -> usize {
        let answers = self.outbox.bytes();
        let waiting = if self.outbox.in_flight() || answers >= ANSWER_BYTES_MAX {
            answers
        } else {
            0 // sent at the end of the turn
        };
        let held = match &self.state {
            SessionState::Http(http) => http.held() + waiting,
            SessionState::AwaitGone(ending) if ending.was.is_none() => waiting,
            SessionState::Open(web_socket) => web_socket.receiver.kept_bytes(),
            SessionState::AwaitCloseEcho(web_socket, _) => web_socket.receiver.kept_bytes(),
            SessionState::AwaitGone(_) => 0,
        };
        if held > REQUEST_BYTES_FREE { held } else { 0 }
    }

    /// Returns the channel of a WebSocket, even if the WebSocket has ended.
    #[must_use]
    pub(crate) fn channel(&self) -> Option<ChannelKey> {
        match &self.state {
            SessionState::Open(web_socket) => Some(web_socket.channel),
            SessionState::AwaitCloseEcho(web_socket, _) => Some(web_socket.channel),
            SessionState::AwaitGone(ending) => ending.was.as_ref().map(|(channel, _)| *channel),
            SessionState::Http(_) => None,
        }
    }

    /// Returns the channel and the role of a WebSocket, even if the WebSocket has ended.
    #[must_use]
    pub(crate) fn membership(&self) -> Option<(ChannelKey, Role)> {
        let of = |web_socket: &WebSocket| Some((web_socket.channel, web_socket.role.clone()));
        match &self.state {
            SessionState::Open(web_socket) => of(web_socket),
            SessionState::AwaitCloseEcho(web_socket, _) => of(web_socket),
            SessionState::AwaitGone(ending) => ending.was.clone(),
            SessionState::Http(_) => None,
        }
    }

    pub(crate) fn tally_mut(&mut self) -> Option<&mut Tally> {
        match &mut self.state {
            SessionState::Open(web_socket) => Some(&mut web_socket.tally),
            SessionState::AwaitCloseEcho(web_socket, _) => Some(&mut web_socket.tally),
            SessionState::AwaitGone(ending) => ending.tally.as_mut(),
            SessionState::Http(_) => None,
        }
    }

    #[must_use]
    pub(crate) fn tally(&self) -> Option<&Tally> {
        match &self.state {
            SessionState::Open(web_socket) => Some(&web_socket.tally),
            SessionState::AwaitCloseEcho(web_socket, _) => Some(&web_socket.tally),
            SessionState::AwaitGone(ending) => ending.tally.as_ref(),
            SessionState::Http(_) => None,
        }
    }

    #[must_use]
    pub(crate) fn reason(&self) -> Option<EndReason> {
        match &self.state {
            SessionState::Open(web_socket) => web_socket.reason(),
            SessionState::AwaitCloseEcho(web_socket, _) => web_socket.reason(),
            SessionState::AwaitGone(ending) => ending.reason,
            SessionState::Http(_) => None,
        }
    }

    /// Removes and returns the reason why permission was lost: the policy and the statement that forbid the WebSocket,
    /// or the name of the key, role, policy or sign-in that was removed.
    pub(crate) fn take_refused(&mut self) -> Option<Box<str>> {
        match &mut self.state {
            SessionState::Open(web_socket) => web_socket.held.take_refused(),
            SessionState::AwaitCloseEcho(web_socket, _) => web_socket.held.take_refused(),
            SessionState::AwaitGone(ending) => ending.refused_by.take(),
            SessionState::Http(_) => None,
        }
    }

    /// Returns `true` if the peer will send nothing more, because it has started the closing handshake (RFC 6455
    /// section 5.5.1) and no ping is in flight to which it might still respond.
    #[must_use]
    pub(crate) fn peer_is_done(&self) -> bool {
        let done = |web_socket: &WebSocket| {
            let awaits_pong = web_socket.awaits_pong() || self.outbox.awaits_proof();
            web_socket.reason() == Some(EndReason::PeerClosed) && !awaits_pong
        };
        match &self.state {
            SessionState::Open(web_socket) => done(web_socket),
            SessionState::AwaitCloseEcho(web_socket, _) => done(web_socket),
            SessionState::AwaitGone(ending) => ending.peer_is_done,
            SessionState::Http(_) => false,
        }
    }

    pub(crate) fn because(&mut self, reason: EndReason) {
        match &mut self.state {
            SessionState::Open(web_socket) => web_socket.because(reason),
            SessionState::AwaitCloseEcho(web_socket, _) => web_socket.because(reason),
            SessionState::AwaitGone(ending) if ending.tally.is_some() => {
                ending.reason.get_or_insert(reason);
            }
            SessionState::AwaitGone(_) | SessionState::Http(_) => {}
        }
    }

    #[must_use]
    pub(crate) fn awaits_wake(&self) -> bool {
        matches!(&self.state, SessionState::Http(http) if matches!(http.stage, HttpStage::AwaitWake(_)))
    }

    pub(crate) fn http_mut(&mut self) -> Option<&mut Http> {
        let SessionState::Http(http) = &mut self.state else {
            return None;
        };
        Some(http)
    }
}

/// The deadline of a state that does not time out.
pub(crate) const NEVER: Now = Now(u64::MAX);

/// An event that is guaranteed to happen and that ends a session's current state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wait {
    /// The shard's timer fires no later than this time. The session is in the timer wheel.
    Until(Now),
    /// The shard answers the waiting requests in its next turn of the event loop.
    OwnTurn,
    /// An aborted connection ends. The edge reports this once the kernel has completed all operations, regardless of
    /// the peer.
    Aborted,
}

impl Session {
    /// Returns the event that ends the session's current state if nothing else ends it earlier.
    ///
    /// The match is exhaustive, so a new state must be handled here. After every step, the simulation checks that the
    /// returned event will occur.
    #[must_use]
    pub(crate) fn waits(&self, timeouts: &Timeouts, now: Now) -> Wait {
        match &self.state {
            SessionState::Http(http) => match &http.stage {
                // If responses are waiting to be read, the `answer` timeout applies. Otherwise, the following apply, in
                // the order of the stages: `tls`; `head`, or `keep_alive` between two requests; `body`; a call's
                // maximum wait; the wait that a device requested; `head` for handing over the request; the next check
                // for an owner.
                HttpStage::AwaitTls
                | HttpStage::AwaitHead
                | HttpStage::AwaitBody(_)
                | HttpStage::AwaitReply(..)
                | HttpStage::AwaitWake(_)
                | HttpStage::AwaitHandover(..)
                | HttpStage::AwaitLink(_)
                | HttpStage::AwaitAdmin(_)
                | HttpStage::AwaitOwner(_) => match self.http_due(http) {
                    NEVER if http.queued => Wait::OwnTurn,
                    due => Wait::Until(due),
                },
            },
            // The action is due no later than the `idle` timeout.
            SessionState::Open(web_socket) => match web_socket.due(timeouts, now) {
                Due::At(next) => Wait::Until(next),
                Due::Ping
                | Due::GoAway
                | Due::Idle
                | Due::Unanswered
                | Due::Old
                | Due::SlowMessage => Wait::Until(now),
            },
            // The `close` timeout applies twice: until the peer's close frame arrives, and then until the unsent bytes
            // are sent and the connection ends.
            SessionState::AwaitCloseEcho(_, deadline) => Wait::Until(*deadline),
            SessionState::AwaitGone(ending) if ending.deadline == NEVER => Wait::Aborted,
            SessionState::AwaitGone(ending) => Wait::Until(ending.deadline),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::web_socket::{AdmissionTerms, BoundsPlace};
    use crate::settings::Program;

    #[test]
    fn a_peer_is_who_it_was() {
        for remote in [
            "192.0.2.7:443".parse().unwrap(),
            SocketAddr::V6(SocketAddrV6::new("fe80::1".parse().unwrap(), 65_535, 3, 4)),
        ] {
            let peer = Peer {
                remote,
                listener: 700,
                tls: true,
                inner: true,
            };
            let kept = Session::accepted(peer, Now(0)).peer();
            let found = (kept.remote, kept.listener, kept.tls, kept.inner);
            assert_eq!(found, (remote, 700, true, true));
        }
    }

    #[test]
    fn who_began_the_end_is_done_unless_it_may_answer_a_ping() {
        let peer = Peer {
            remote: ([127, 0, 0, 1], 9).into(),
            listener: 0,
            tls: false,
            inner: false,
        };
        let terms = AdmissionTerms {
            notices: true,
            program: Program::default(),
            bounds: BoundsPlace::default(),
            ends: NEVER,
        };
        let done = |reason, pinged| {
            let mut session = Session::accepted(peer, Now(1));
            assert!(!session.peer_is_done());
            let channel = ChannelKey::default();
            let mut web_socket = WebSocket::new(channel, Role::Master, terms, Now(0));
            if pinged {
                web_socket.pinged(Now(2));
            }
            session.state = SessionState::Open(web_socket);
            assert!(!session.peer_is_done());
            session.because(reason);
            session.peer_is_done()
        };
        assert!(done(EndReason::PeerClosed, false));
        assert!(!done(EndReason::PeerClosed, true));
        assert!(!done(EndReason::Operator, false));
    }

    #[test]
    fn a_session_stays_small() {
        // Bytes per idle viewer, not counting the surrounding tables. A shard may have a million viewers. 16 of the
        // bytes store the caller, so that it can be rechecked when the credentials change.
        assert!(size_of::<Session>() <= 168, "{}", size_of::<Session>());
    }
}
