//! Manages the requests on HTTP connections: when they are answered, whether they wait for their channel to have an
//! owner, and how many bytes they use.

use crate::control::port_of;
use crate::id::SessionKey;
use crate::limits::{
    FRESH_REQUESTS_PER_TURN, PROVIDER_AGE_MS, PROVIDER_AGE_SPREAD_MS, REQUESTS_PER_VISIT,
};
use crate::machine::{Output, Shown};
use crate::session::http::{AwaitedWake, HttpStage, OnwardCount};
use crate::session::{Forwarded, NEVER, Session};
use crate::shard::Letter;
use crate::shard::context::Context;
use crate::shard::shares::Shares;
use crate::shard::sockets::Sockets;
use crate::shard::todo::Todo;
use crate::time::Now;
use crate::work_units;
use crate::{address_shares::Origin, time::Moment};
use codec::http::{Head, HeadScanner};
use codec::proxy;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// Unanswered requests on HTTP connections.
#[derive(Default)]
pub(crate) struct Requests {
    /// Bytes of unanswered requests.
    pub(crate) held: RequestBytes,
    /// Sessions that wait until their channel has an owner, and sessions that were answered in the meantime and are
    /// closing. At most [`OWNER_WAITERS_MAX`](crate::limits::OWNER_WAITERS_MAX) sessions.
    pub(crate) without_owner: BTreeSet<SessionKey>,
    /// Number of sessions whose request was forwarded to another node and is still unanswered.
    pub(crate) onward: OnwardCount,
    /// Whether to log the next endpoint request that arrives through an unconfigured proxy. Cleared once such a request
    /// has arrived.
    unadvertised: bool,
    /// Connections to the credentials provider. Contains each connection's TLS server name and certificate, and the
    /// time at which it started.
    shown: BTreeMap<SessionKey, (Arc<Shown>, Now)>,
}

impl Requests {
    /// Creates an empty set. `unadvertised` is set if no public address is configured.
    pub(crate) fn new(unadvertised: bool) -> Self {
        Self {
            unadvertised,
            ..Self::default()
        }
    }

    /// Returns the TLS server name and certificate of a connection to the credentials provider, or `None` for any other
    /// connection.
    pub(crate) fn shown(&self, key: SessionKey) -> Option<Arc<Shown>> {
        let (shown, _) = self.shown.get(&key)?;
        Some(Arc::clone(shown))
    }

    /// Returns whether a connection to the credentials provider has reached its maximum age and must close after the
    /// next response. The maximum age depends on the certificate, so that connections opened together do not close
    /// together.
    pub(crate) fn shown_long_ago(&self, key: SessionKey, now: Now) -> bool {
        self.shown.get(&key).is_some_and(|(shown, since)| {
            let certificate = shown.certificate.as_ref();
            let byte = certificate.and_then(|it| it.fingerprint.first());
            let earlier_ms = PROVIDER_AGE_SPREAD_MS * byte.map_or(0, |it| u64::from(*it)) / 256;
            now.0.saturating_sub(since.0) >= PROVIDER_AGE_MS - earlier_ms
        })
    }

    /// Removes all data about a session that is leaving the table.
    pub(crate) fn forget(&mut self, key: SessionKey) {
        self.without_owner.remove(&key);
        self.shown.remove(&key);
    }
}

impl Sockets {
    /// Defers the processing of this connection's requests to a later turn of the event loop.
    pub(crate) fn wait_for_turn(&mut self, key: SessionKey) {
        if let Some(http) = self.http(key)
            && !std::mem::replace(&mut http.queued, true)
        {
            self.turns.waiting.push_back(key);
        }
    }

    /// Records the TLS server name and certificate of a connection to the credentials provider.
    pub(crate) fn showed(&mut self, key: SessionKey, shown: Shown, now: Now) {
        if self.sessions.get_mut(key).is_some() {
            let since = self
                .requests
                .shown
                .get(&key)
                .map_or(now, |(_, since)| *since);
            self.requests.shown.insert(key, (Arc::new(shown), since));
        }
    }

    /// Returns whether this connection was forwarded by another node.
    pub(crate) fn is_inner(&self, key: SessionKey) -> bool {
        self.session(key)
            .is_some_and(|session| session.peer().inner)
    }

    /// Returns whether channels can move between the nodes of the cluster.
    pub(crate) fn owners_change(&self) -> bool {
        let map = self.placement().cluster();
        map.is_some_and(|map| !map.is_fixed())
    }

    /// Records what a trusted proxy says about the client in a request head. If another node forwarded the connection,
    /// that node has already reported the client's address. In that case, only `X-Forwarded-Proto` applies, and only if
    /// it agrees with what that node reported about TLS. Endpoints in the response then contain the proxy's host and
    /// scheme.
    pub(crate) fn note_forwarded(&mut self, key: SessionKey, head: &Head<'_>) {
        let networks = &self.settings.proxy.forwarded_from;
        let is_proxy = |address: IpAddr| networks.iter().any(|it| it.contains(&address));
        let Some(session) = self.sessions.get_mut(key).filter(|_| !networks.is_empty()) else {
            return;
        };
        let proxy = session.origin();
        let mut tls = proxy::forwarded_tls(head);
        let client = if session.is_inner() {
            tls = tls.filter(|tls| *tls == session.has_tls());
            if tls.is_none() {
                return session.forwards(None);
            }
            Ok(None)
        } else if is_proxy(proxy.ip()) {
            proxy::forwarded_for(head, is_proxy)
        } else {
            return;
        };
        let address = client.unwrap_or_default();
        session.forwards(Some(Box::new(Forwarded {
            proxy,
            client: address.map_or(proxy, |address| SocketAddr::new(address, 0)),
            tls,
            unclear: client.err(),
        })));
    }

    /// Returns whether this endpoint request is the first to show that an unconfigured proxy terminates TLS or listens
    /// on a different port. Until that proxy is configured, clients are given this listener's address instead.
    pub(crate) fn shows_unknown_proxy(&mut self, key: SessionKey, head: &Head<'_>) -> bool {
        if !self.requests.unadvertised {
            return false;
        }
        let Some(peer) = self.session(key).map(Session::peer) else {
            return false;
        };
        let own = self.settings.listen.get(usize::from(peer.listener));
        let port = port_of(head.host().unwrap_or_default()).unwrap_or(80);
        let shows = proxy::forwarded_tls(head) == Some(true)
            || own.is_some_and(|own| own.addr.port() != port);
        self.requests.unadvertised = peer.inner || !shows;
        shows && !peer.inner
    }
}

/// The result of one parsing step.
#[derive(Clone, Copy)]
pub(crate) enum Step {
    /// Nothing can be processed until more bytes arrive or a call is answered.
    Wait,
    /// The number of bytes consumed. There may be more input to process.
    Used(usize),
    /// The connection became a WebSocket, whose frames start at this byte offset.
    Frames(usize),
    /// The connection is closing or has been handed over. No more bytes are processed.
    Over,
}

impl Sockets {
    /// Starts to wait for the first request head, because the TLS handshake is complete.
    pub(crate) fn secured(&mut self, key: SessionKey, at: Moment) {
        let deadline = at.now.after(self.settings().timeouts.head_ms);
        let Some(http) = self.http(key) else {
            return;
        };
        http.stage = HttpStage::AwaitHead;
        http.deadline = deadline;
        self.arm(key, deadline);
        self.place(key, crate::event::ConnectionRole::Http);
    }

    /// Starts the timeout for further input on an HTTP connection, or closes the connection if no input is expected.
    pub(crate) fn await_rest(&mut self, key: SessionKey, at: Moment) {
        let head_ms = self.settings().timeouts.head_ms;
        let Some(session) = self.session(key) else {
            return;
        };
        let (waits, blocked) = (session.answers_wait(), session.outbox.in_flight());
        let Some(http) = self.http(key) else {
            return;
        };
        let awaits_head = matches!(http.stage, HttpStage::AwaitHead) && !http.queued && !waits;
        if http.served && awaits_head && !http.begun && !http.buffer.is_empty() {
            (http.begun, http.deadline) = (true, at.now.after(head_ms)); // the next request has begun
        }
        let over = http.ended && !http.awaits_reply() && !http.has_more(waits);
        let answer_due = if blocked { http.answer_due } else { NEVER };
        let deadline = http.deadline.min(answer_due);
        if over {
            return self.close_when_sent(key, at);
        }
        self.arm(key, deadline);
    }

    /// Records whether the response to a request may have a body. The request head may be invalid.
    pub(crate) fn note_method(&mut self, key: SessionKey, head: &[u8]) {
        //= https://www.rfc-editor.org/rfc/rfc9110#section-9.3.2
        //# The HEAD method is identical to GET except that the server MUST NOT send content in the response.
        let line = head.strip_prefix(b"\r\n").unwrap_or(head);
        if let Some(http) = self.http(key) {
            http.bodiless = line.starts_with(b"HEAD ");
        }
    }

    /// Prepares an HTTP connection for its next request after a response has been queued or, if `close` is set, closes
    /// it. An EOF takes effect once all received requests have been answered.
    pub(crate) fn next_request(&mut self, key: SessionKey, close: bool, at: Moment) {
        let timeouts = &self.settings().timeouts;
        let from = self.waits_from(at);
        let deadline = from.after(timeouts.keep_alive_ms);
        let answer_due = from.after(timeouts.answer_ms);
        let Some(http) = self.http(key) else {
            return;
        };
        http.stage = HttpStage::AwaitHead;
        http.scanner = HeadScanner::new();
        http.deadline = deadline;
        http.serial = http.serial.wrapping_add(1);
        http.served = true;
        (http.begun, http.bodiless) = (false, false);
        if http.buffer.is_empty() {
            http.buffer = Vec::new();
        }
        http.answer_due = http.answer_due.min(answer_due);
        if close || http.one_call {
            self.close_when_sent(key, at);
        }
    }

    /// Ends the wait of the device that is using this connection. Returns `None` if there is no such device.
    pub(crate) fn take_awaited_wake(&mut self, key: SessionKey) -> Option<AwaitedWake> {
        let http = self.http(key)?;
        let stage = std::mem::replace(&mut http.stage, HttpStage::AwaitHead);
        if let HttpStage::AwaitWake(awaited) = stage {
            return Some(*awaited);
        }
        http.stage = stage;
        None
    }

    /// Ends the wait of a device that has hung up. Returns `false` if no device is waiting on this connection.
    pub(crate) fn leave_wait(&mut self, cx: &mut Context, key: SessionKey) -> bool {
        let awaited = self.take_awaited_wake(key);
        if let Some(awaited) = &awaited {
            cx.todo.push(Todo::PollOver(awaited.channel, key));
        }
        awaited.is_some()
    }

    /// Announces with `output` that a connection will be handed over to another shard, to another node or to the side
    /// thread. `stage` contains its request. [`Self::release_parcel`] follows.
    ///
    /// The connection is handed over once all earlier responses have been sent. If the peer does not read them in time,
    /// it is disconnected.
    pub(crate) fn announce(
        &mut self,
        key: SessionKey,
        stage: HttpStage,
        output: Output<Letter>,
        at: Moment,
    ) {
        let deadline = at.now.after(self.settings().timeouts.head_ms);
        if self.wait_in(key, stage, deadline) {
            self.output(output);
        }
    }

    /// Lets an HTTP connection wait in this stage until `deadline`. Returns `false` if the session is not an HTTP
    /// connection.
    pub(crate) fn wait_in(&mut self, key: SessionKey, stage: HttpStage, deadline: Now) -> bool {
        let Some(http) = self.http(key) else {
            return false;
        };
        (http.stage, http.deadline) = (stage, deadline);
        self.charge(key);
        self.arm(key, deadline);
        true
    }
}

// Bytes held by HTTP connections (incomplete requests, waiting requests, unread responses) and by WebSockets
// (incomplete messages). They share a single budget and are charged to the client's address.
//
// As long as there is room, an address may use any amount. At the limit, the largest connection of the address with the
// most bytes receives 503 if it is still sending a request, and is closed otherwise. An address below its equal share
// of the budget is therefore always served, however much others use.

/// Memory used by requests in bytes, by client address and by connection.
#[derive(Debug, Default)]
pub(crate) struct RequestBytes {
    /// Bytes by client address.
    pub(crate) shares: Shares<Origin, SessionKey>,
    pub(crate) bytes: usize,
    /// Bytes of each connection that uses any.
    pub(crate) charges: BTreeMap<SessionKey, usize>,
    /// Number of connections refused or closed to free memory for other connections' requests.
    pub(crate) refused: u64,
}

impl RequestBytes {
    /// Updates a connection's charge to `after` bytes.
    fn change(&mut self, key: SessionKey, origin: Origin, after: usize) {
        if after == 0 && self.charges.is_empty() {
            return; // the usual case
        }
        let before = if after == 0 {
            self.charges.remove(&key)
        } else {
            self.charges.insert(key, after)
        };
        let before = before.unwrap_or(0);
        self.shares.change(origin, key, before, after);
        self.bytes = (self.bytes + after).saturating_sub(before);
    }

    /// Checks that the total and the shares match the charges, and returns the number of charges.
    ///
    /// # Panics
    /// Panics if the total or the shares do not match.
    pub(crate) fn invariants(&self) -> usize {
        let sum: usize = self.charges.values().sum();
        assert_eq!(sum, self.bytes, "the sum of the charges");
        assert_eq!(sum, self.shares.bytes(), "the shares of the charges");
        self.charges.len()
    }
}

impl Sockets {
    /// Updates a session's charge to the number of bytes that it currently holds.
    pub(crate) fn charge(&mut self, key: SessionKey) {
        if let Some(session) = self.sessions.get(key) {
            let held = session.held() + self.unconfirmed.unproved_of(key);
            let origin = Origin::of(session.origin().ip());
            self.requests.held.change(key, origin, held);
        }
    }

    /// Removes a session's charge, because the session is about to be removed or its memory is about to be freed.
    pub(crate) fn discharge(&mut self, key: SessionKey) {
        if let Some(session) = self.sessions.get(key) {
            let origin = Origin::of(session.origin().ip());
            self.requests.held.change(key, origin, 0);
        }
    }
}

// Decides which requests are answered now and which have to wait. The number of requests answered on arrival is
// bounded, both per connection and in total. The others are answered by ticks that are due immediately, in the order in
// which their connections were queued.

/// The work budget of the event loop's current turn, and the connections waiting for the next turn. Not shared between
/// shards.
#[derive(Debug, Default)]
pub(crate) struct WorkTurns {
    /// Time of the event loop's current turn, which is the same for all inputs of that turn.
    at: Moment,
    /// Number of heads and bodies that were processed in this turn as soon as they arrived.
    pub(crate) fresh: u32,
    /// Once the shard has done this much work in total, newly arriving requests must wait.
    fresh_until: u64,
    /// Once the shard has done this much work in total, all further requests must wait.
    pub(crate) until: u64,
    /// Number of heads and bodies processed since startup.
    pub(crate) taken: u64,
    /// Connections whose buffers may contain complete requests. There are no duplicates, but some of the connections
    /// may no longer exist.
    pub(crate) waiting: VecDeque<SessionKey>,
    /// Connections to resume because a call was answered or the peer has read its responses. Empty between inputs.
    pub(crate) answered: VecDeque<SessionKey>,
}

impl WorkTurns {
    /// Starts a visit to a connection. Returns how many heads and bodies may be processed as they arrive. `done` is the
    /// amount of work that the shard has done so far.
    pub(crate) fn visit(&mut self, done: u64, at: Moment) -> u32 {
        if self.at != at {
            (self.at, self.fresh, self.fresh_until) = (at, 0, done + work_units::RECEIVES);
        }
        self.until = self.fresh_until;
        REQUESTS_PER_VISIT.min(FRESH_REQUESTS_PER_TURN.saturating_sub(self.fresh))
    }

    /// Returns whether the next request has to wait. `done` is the amount of work that the shard has done so far.
    pub(crate) fn is_over(&self, done: u64) -> bool {
        done >= self.until
    }
}
