//! Requests on HTTP connections: when they are answered, which of them wait for an owner of their channel, and the
//! bytes they hold.

use crate::control::port_of;
use crate::id::{SessionKey, ShardId};
use crate::limits::{
    FRESH_REQUESTS_PER_TURN, PROVIDER_AGE_MS, PROVIDER_AGE_SPREAD_MS, REQUESTS_PER_VISIT,
};
use crate::machine::{Output, Shown};
use crate::session::http::{Admission, AwaitedWake, HttpStage, OnwardCount};
use crate::session::{Forwarded, NEVER, SendState, Session};
use crate::shard::context::Context;
use crate::shard::shares::Shares;
use crate::shard::sockets::Sockets;
use crate::shard::todo::Todo;
use crate::time::Now;
use crate::work_units;
use crate::{address_shares::Origin, limits::OWNER_WAITERS_MAX, time::Moment};
use codec::http::HeadError;
use codec::{http::Head, proxy};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// Unanswered requests on HTTP connections.
#[derive(Default)]
pub(crate) struct Requests {
    /// Bytes of unanswered requests, held by connections.
    pub(crate) held: RequestBytes,
    /// Sessions that are waiting for their channel to have an owner, or that were answered while waiting and are now
    /// closing: at most [`OWNER_WAITERS_MAX`](crate::limits::OWNER_WAITERS_MAX).
    pub(crate) without_owner: BTreeSet<SessionKey>,
    /// Number of sessions with a request that another node has yet to answer.
    pub(crate) onward: OnwardCount,
    /// Whether the first endpoint request through an unconfigured proxy has yet to be logged.
    unadvertised: bool,
    /// Server names and certificates of connections to the credentials provider, and when each connection began; no
    /// other connections are included.
    shown: BTreeMap<SessionKey, (Arc<Shown>, Now)>,
}

impl Requests {
    /// Creates an empty set. `unadvertised`: whether no public address is configured.
    pub(crate) fn new(unadvertised: bool) -> Self {
        Self {
            unadvertised,
            ..Self::default()
        }
    }

    /// Whether another request may wait for an owner; if so, counts it.
    pub(crate) fn may_wait(&mut self, key: SessionKey) -> bool {
        let has_room = self.without_owner.len() < OWNER_WAITERS_MAX;
        if has_room {
            self.without_owner.insert(key);
        }
        has_room
    }

    /// Returns the server name and certificate of a connection to the credentials provider; `None` for any other
    /// connection.
    pub(crate) fn shown(&self, key: SessionKey) -> Option<Arc<Shown>> {
        let (shown, _) = self.shown.get(&key)?;
        Some(Arc::clone(shown))
    }

    /// Whether a connection to the credentials provider has reached its maximum age, so that it closes after its next
    /// response. The maximum age is spread by certificate, so that connections opened together do not all close
    /// together.
    pub(crate) fn shown_long_ago(&self, key: SessionKey, now: Now) -> bool {
        self.shown.get(&key).is_some_and(|(shown, since)| {
            let certificate = shown.certificate.as_ref();
            let byte = certificate.and_then(|it| it.fingerprint.first());
            let earlier_ms = PROVIDER_AGE_SPREAD_MS * byte.map_or(0, |it| u64::from(*it)) / 256;
            now.0.saturating_sub(since.0) >= PROVIDER_AGE_MS - earlier_ms
        })
    }

    /// Removes all data of a session that is leaving the table.
    pub(crate) fn forget(&mut self, key: SessionKey) {
        self.without_owner.remove(&key);
        self.shown.remove(&key);
    }
}

impl Sockets {
    /// Defers this connection's requests to a later turn.
    pub(crate) fn wait_for_turn(&mut self, key: SessionKey) {
        if let Some(http) = self.http(key)
            && !std::mem::replace(&mut http.queued, true)
        {
            self.turns.waiting.push_back(key);
        }
    }

    /// Removes the connection that has been waiting longest; the connection may be gone already.
    pub(crate) fn next_waiting(&mut self) -> Option<SessionKey> {
        let key = self.turns.waiting.pop_front()?;
        if let Some(http) = self.http(key) {
            http.queued = false;
        }
        Some(key)
    }

    /// Records the server name and certificate of a connection to the credentials provider.
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

    /// Whether this connection carries a single call and closes after the response.
    pub(crate) fn brings_one_call(&mut self, key: SessionKey) -> bool {
        self.http(key).is_some_and(|http| http.one_call)
    }

    /// Whether this connection was forwarded by another node.
    pub(crate) fn is_inner(&self, key: SessionKey) -> bool {
        self.session(key)
            .is_some_and(|session| session.peer().inner)
    }

    /// Whether slots move between nodes.
    pub(crate) fn owners_change(&self) -> bool {
        let map = self.placement().cluster();
        map.is_some_and(|map| !map.is_fixed())
    }

    /// Records what a trusted proxy reports about the client in a request head. An address reported by another node has
    /// already arrived with the connection; in that case, `X-Forwarded-Proto` is accepted if it matches that node's
    /// report about TLS, so that the response contains the proxy's host and scheme.
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

    /// Whether this endpoint request is the first to reveal a proxy that terminates TLS or publishes another port,
    /// while discovery names this listener.
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
    /// More bytes or the answer to a call are needed.
    Wait,
    /// Number of bytes consumed; unprocessed input may remain.
    Used(usize),
    /// The connection became a WebSocket; its frames begin at this byte offset.
    Frames(usize),
    /// The connection is closing or has moved away: no more bytes are processed.
    Over,
}

/// The next part of the input on an HTTP connection.
pub(crate) enum Part {
    /// Nothing to process.
    None(Step),
    /// A request head of this many bytes.
    Head(usize),
    /// Bytes that are not a valid request head.
    NoHead(HeadError),
    /// A request body of this many bytes.
    Body(usize),
}

impl Sockets {
    /// Starts waiting for the first request head after the TLS handshake.
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

    /// Arms an HTTP connection's timeout for its next input.
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

    /// Scans the input for its next part. `waits`: whether the part must be left for a later turn.
    pub(crate) fn next_part(&mut self, key: SessionKey, rest: &[u8], waits: bool) -> Part {
        let limits = self.rules().head;
        let session = self.session(key);
        let answers_wait = session.is_some_and(Session::answers_wait);
        let unheard = session.is_some_and(|it| it.sending == SendState::WithheldForGood);
        let Some(http) = self.http(key) else {
            return Part::None(Step::Over);
        };
        match &http.stage {
            HttpStage::AwaitTls
            | HttpStage::AwaitReply(..)
            | HttpStage::AwaitWake(_)
            | HttpStage::AwaitHandover(..)
            | HttpStage::AwaitLink(_)
            | HttpStage::AwaitAdmin(_)
            | HttpStage::AwaitOwner(_) => Part::None(Step::Wait),
            HttpStage::AwaitHead if rest.is_empty() || answers_wait => Part::None(Step::Wait),
            // No response could be sent, so no further request is processed.
            HttpStage::AwaitHead if unheard => Part::None(Step::Used(rest.len())),
            HttpStage::AwaitHead | HttpStage::AwaitBody(_) if waits => {
                self.wait_for_turn(key);
                Part::None(Step::Wait)
            }
            HttpStage::AwaitHead => match http.scanner.end(rest, &limits) {
                Ok(None) => Part::None(Step::Wait),
                Ok(Some(end)) => Part::Head(end.min(rest.len())),
                Err(error) => Part::NoHead(error),
            },
            HttpStage::AwaitBody(awaited) if awaited.length > rest.len() => Part::None(Step::Wait),
            HttpStage::AwaitBody(awaited) => Part::Body(awaited.length),
        }
    }

    /// Records whether the response to this head may have a body, even if the head is malformed.
    pub(crate) fn note_method(&mut self, key: SessionKey, head: &[u8]) {
        //= https://www.rfc-editor.org/rfc/rfc9110#section-9.3.2
        //# The HEAD method is identical to GET except that the server MUST NOT send content in the response.
        let line = head.strip_prefix(b"\r\n").unwrap_or(head);
        if let Some(http) = self.http(key) {
            http.bodiless = line.starts_with(b"HEAD ");
        }
    }

    /// Continues with the next request after a response has been queued, if the connection stays open. EOF is handled
    /// once all received requests have been answered.
    pub(crate) fn next_request(&mut self, key: SessionKey, close: bool, at: Moment) {
        let timeouts = &self.settings().timeouts;
        let from = self.waits_from(at);
        let deadline = from.after(timeouts.keep_alive_ms);
        let answer_due = from.after(timeouts.answer_ms);
        let Some(http) = self.http(key) else {
            return;
        };
        http.await_head(deadline);
        http.answer_due = http.answer_due.min(answer_due);
        if close || http.one_call {
            self.close_when_sent(key, at);
        }
    }

    /// Ends the wait of the device on this connection; `None` if no device is waiting on it.
    pub(crate) fn take_awaited_wake(&mut self, key: SessionKey) -> Option<AwaitedWake> {
        let http = self.http(key)?;
        let stage = std::mem::replace(&mut http.stage, HttpStage::AwaitHead);
        if let HttpStage::AwaitWake(awaited) = stage {
            return Some(*awaited);
        }
        http.stage = stage;
        None
    }

    /// Ends the wait of a device that hung up. Returns `false` if it was not waiting.
    pub(crate) fn leave_wait(&mut self, cx: &mut Context, key: SessionKey) -> bool {
        let awaited = self.take_awaited_wake(key);
        if let Some(awaited) = &awaited {
            cx.todo.push(Todo::PollOver(awaited.channel, key));
        }
        awaited.is_some()
    }

    /// Announces that the connection will move to the shard that owns its channel; [`Self::release_parcel`] follows.
    ///
    /// The connection moves once earlier responses have been sent; a peer that does not read them in time is
    /// disconnected.
    pub(crate) fn hand_over(
        &mut self,
        key: SessionKey,
        home: ShardId,
        admission: Admission,
        unread: &[u8],
        at: Moment,
    ) {
        let deadline = at.now.after(self.settings().timeouts.head_ms);
        let Some(http) = self.http(key) else {
            return;
        };
        http.stage = HttpStage::AwaitHandover(Box::new(admission), unread.to_vec());
        http.deadline = deadline;
        self.charge(key);
        self.output(Output::HandOver(key, home));
        self.arm(key, deadline);
    }
}

// Bytes held by HTTP connections (unfinished requests, waiting requests, unread responses) and by WebSockets
// (unfinished messages), charged to the client's address within a single budget.
//
// No address has a fixed share while there is room. At the limit, the largest connection of the address that holds the
// most receives 503 if it awaits a request, and is closed otherwise. An address that holds less than an equal part of
// the budget is therefore served, whatever others hold.

/// Bytes of requests held by connections, by address and connection.
#[derive(Debug, Default)]
pub(crate) struct RequestBytes {
    /// Bytes by client address.
    pub(crate) shares: Shares<Origin, SessionKey>,
    pub(crate) bytes: usize,
    /// Bytes by connection, not including connections that hold none.
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

    /// Removes a session's charge, because the session is leaving the table or its memory is about to be freed.
    pub(crate) fn discharge(&mut self, key: SessionKey) {
        if let Some(session) = self.sessions.get(key) {
            let origin = Origin::of(session.origin().ip());
            self.requests.held.change(key, origin, 0);
        }
    }

    /// Returns the connection whose memory is freed if received bytes exceed the limit: the receiving one, unless
    /// another holds more. `None` if there is room or the receiving connection holds no bytes.
    pub(crate) fn payer_for(&self, key: SessionKey) -> Option<SessionKey> {
        let held = &self.requests.held;
        if held.bytes <= self.rules.request_bytes {
            return None;
        }
        let origin = Origin::of(self.sessions.get(key)?.origin().ip());
        let own = *held.charges.get(&key)?;
        Some(held.shares.payer(origin, own, 0).unwrap_or(key))
    }

    /// Returns the connection that holds the most bytes, if the limit is exceeded.
    pub(crate) fn largest_payer(&self) -> Option<SessionKey> {
        let held = &self.requests.held;
        let too_much = held.bytes > self.rules.request_bytes;
        too_much.then(|| held.shares.largest()).flatten()
    }
}

// Which requests are answered now and which wait: the number answered at once is bounded, per connection and in total.
// Waiting requests are answered in the order in which their connections were queued, by ticks that are due immediately.

/// The remaining work budget of a turn, and the connections waiting for the next turn. Each shard has its own.
#[derive(Debug, Default)]
pub(crate) struct WorkTurns {
    /// The time of the turn, shared by all its inputs.
    at: Moment,
    /// Number of heads and bodies that were answered on arrival in this turn.
    fresh: u32,
    /// Amount of work after which newly arriving requests must wait.
    fresh_until: u64,
    /// Amount of work after which the requests currently being processed must wait.
    until: u64,
    /// Number of heads and bodies answered since startup.
    pub(crate) taken: u64,
    /// Connections with buffered bytes that may contain complete requests, without duplicates; some of the connections
    /// may be gone.
    pub(crate) waiting: VecDeque<SessionKey>,
    /// Connections whose call has been answered or whose peer has read its responses, so that their next request is
    /// due. Empty between inputs.
    pub(crate) answered: VecDeque<SessionKey>,
}

impl WorkTurns {
    /// Returns how many of a connection's heads and bodies may be answered on arrival. `done`: the work done by the
    /// shard so far.
    pub(crate) fn visit(&mut self, done: u64, at: Moment) -> u32 {
        if self.at != at {
            (self.at, self.fresh, self.fresh_until) = (at, 0, done + work_units::RECEIVES);
        }
        self.until = self.fresh_until;
        REQUESTS_PER_VISIT.min(FRESH_REQUESTS_PER_TURN.saturating_sub(self.fresh))
    }

    /// Starts answering waiting requests. `done`: the work done by the shard so far.
    pub(crate) fn begin_tick(&mut self, done: u64) {
        self.until = done + work_units::TICK;
    }

    /// Whether the next request must wait, given the work done by the shard so far.
    pub(crate) fn is_over(&self, done: u64) -> bool {
        done >= self.until
    }

    /// Ends a visit in which `answered` requests were answered.
    pub(crate) fn end_visit(&mut self, answered: u32) {
        self.fresh += answered;
    }

    /// Counts a head or body that was answered.
    pub(crate) fn take(&mut self) {
        self.taken += 1;
    }
}
