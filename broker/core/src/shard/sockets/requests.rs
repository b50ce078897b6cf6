//! Requests on HTTP connections: when they are answered, which of them wait for an owner of their channel, the bytes
//! they hold, and their queries to other shards.

use crate::control::port_of;
use crate::id::{CallRef, Identity, SessionKey, ShardId};
use crate::session::http::{Expected, HttpStage, OnwardCount};
use crate::session::{Forwarded, Session};
use crate::shard::{shares::ShareQuestions, sockets::Sockets};
use crate::{address_shares::Origin, limits::OWNER_WAITERS_MAX, time::Moment};
use codec::{http::Head, proxy};
use std::net::{IpAddr, SocketAddr};

/// The order in which requests are answered; see [`crate::shard::sockets`].
impl Sockets {
    /// Returns how many of a connection's heads and bodies may be answered on arrival. `done`: the work done by the
    /// shard so far.
    pub(crate) fn begin_visit(&mut self, done: u64, at: Moment) -> u32 {
        self.requests.turns.visit(done, at)
    }

    /// Ends a visit in which `answered` requests were answered.
    pub(crate) fn end_visit(&mut self, answered: u32) {
        self.requests.turns.fresh += answered;
    }

    /// Whether the next request must wait, given the work done by the shard so far.
    pub(crate) fn turn_is_over(&self, done: u64) -> bool {
        self.requests.turns.is_over(done)
    }

    /// Counts a head or body that was answered.
    pub(crate) fn count_request(&mut self) {
        self.requests.turns.take();
    }

    /// Returns the number of heads and bodies answered since startup.
    pub(crate) fn requests_taken(&self) -> u64 {
        self.requests.turns.taken()
    }

    /// Defers this connection's requests to a later turn.
    pub(crate) fn wait_for_turn(&mut self, key: SessionKey) {
        if let Some(http) = self.http(key)
            && !std::mem::replace(&mut http.queued, true)
        {
            self.requests.turns.waiting.push_back(key);
        }
    }

    /// Starts answering waiting requests. `done`: the work done by the shard so far.
    pub(crate) fn begin_tick(&mut self, done: u64) {
        self.requests.turns.begin_tick(done);
    }

    /// Returns the number of connections whose requests are waiting for a turn.
    pub(crate) fn waiting_requests(&self) -> usize {
        self.requests.turns.waiting()
    }

    /// Removes the connection that has been waiting longest; the connection may be gone already.
    pub(crate) fn next_waiting(&mut self) -> Option<SessionKey> {
        let key = self.requests.turns.next_waiting()?;
        if let Some(http) = self.http(key) {
            http.queued = false;
        }
        Some(key)
    }

    /// Schedules a connection's next request to be resumed at the end of this input.
    pub(crate) fn requests_go_on(&mut self, key: SessionKey) {
        self.requests.turns.answered.push_back(key);
    }

    /// Takes the next connection to resume.
    pub(crate) fn next_going_on(&mut self) -> Option<SessionKey> {
        self.requests.turns.answered.pop_front()
    }

    /// Whether any connection is to be resumed.
    #[inline]
    pub(crate) fn has_going_on(&self) -> bool {
        !self.requests.turns.answered.is_empty()
    }
}

/// Requests waiting for an owner of their channel.
impl Sockets {
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

    /// Whether another request may wait for an owner; if so, counts it.
    pub(crate) fn may_wait(&mut self, key: SessionKey) -> bool {
        let waiting = &mut self.requests.without_owner;
        let has_room = waiting.len() < OWNER_WAITERS_MAX;
        if has_room {
            waiting.insert(key);
        }
        has_room
    }

    /// Creates an entry in the number of requests for other nodes.
    pub(crate) fn count_onward(&self) -> OnwardCount {
        self.requests.onward.clone()
    }

    /// Removes a request from those waiting for an owner.
    pub(crate) fn ends_waiting(&mut self, key: SessionKey) {
        self.requests.without_owner.remove(&key);
    }

    /// Returns the number of requests waiting for an owner.
    pub(crate) fn without_owner(&self) -> usize {
        self.requests.without_owner.len()
    }
}

/// The client of a request that a proxy forwarded.
impl Sockets {
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

/// The bytes charged to HTTP connections; see [`crate::shard::sockets`].
impl Sockets {
    /// Updates a session's charge to the number of bytes that it currently holds.
    pub(crate) fn charge(&mut self, key: SessionKey) {
        let Some(session) = self.sessions.get(key) else {
            return;
        };
        let held = session.held() + self.unproved_of(key);
        self.charge_with(key, Origin::of(session.origin().ip()), held);
    }

    /// Removes a session's charge, because the session is leaving the table or its memory is about to be freed.
    pub(crate) fn discharge(&mut self, key: SessionKey) {
        let Some(session) = self.sessions.get(key) else {
            return;
        };
        let remote = session.origin();
        self.charge_with(key, Origin::of(remote.ip()), 0);
    }

    fn charge_with(&mut self, key: SessionKey, origin: Origin, after: usize) {
        let held = &mut self.requests.held;
        if after == 0 && held.charges.is_empty() {
            return; // the usual case
        }
        let before = if after == 0 {
            held.charges.remove(&key)
        } else {
            held.charges.insert(key, after)
        };
        let before = before.unwrap_or(0);
        held.shares.change(origin, key, before, after);
        held.bytes = (held.bytes + after).saturating_sub(before);
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

    /// Counts a connection refused or closed to free memory for other connections' requests.
    pub(crate) fn count_payer(&mut self) {
        self.requests.held.refused += 1;
    }

    /// Returns the number of connections refused or closed to free memory for other connections' requests.
    pub(crate) fn payers(&self) -> u64 {
        self.requests.held.refused
    }

    /// Returns the number of bytes charged to connections.
    pub(crate) fn request_bytes(&self) -> usize {
        self.requests.held.bytes
    }
}

// Questions of connections here to other shards, and their Alexa calls that wait there.

impl Sockets {
    /// Reserves capacity for another query to a shard. Returns `false` if the caller's account has used up its share.
    pub(crate) fn begin_question(&mut self, home: ShardId, caller: CallRef) -> bool {
        let asking = self.shards.asking.get_mut(home.index());
        asking.is_some_and(|asking| asking.begin(caller))
    }

    /// Removes this call's query to `shard` from the queries in flight.
    pub(crate) fn heard_from(&mut self, shard: ShardId, caller: CallRef) {
        if let Some(asking) = self.shards.asking.get_mut(shard.index()) {
            asking.end(caller);
        }
    }

    /// Whether no query is in flight and no Alexa call is pending on another shard.
    pub(crate) fn asks_nothing(&self) -> bool {
        self.shards.offers_out == 0 && self.shards.asking.iter().all(ShareQuestions::is_empty)
    }

    /// Returns the call whose answer a session is awaiting.
    pub(crate) fn awaiting(&mut self, key: SessionKey) -> Option<CallRef> {
        let shard = self.shards.id;
        let http = self.http(key)?;
        let HttpStage::AwaitReply(asked, _) = &http.stage else {
            return None;
        };
        Some(CallRef {
            shard,
            session: key,
            serial: http.serial,
            account: asked.account(),
            change: false,
        })
    }

    /// Records that another shard has queued an Alexa call. Returns `false` if its caller is no longer waiting.
    pub(crate) fn begin_offer(&mut self, caller: CallRef) -> bool {
        let Some(taken) = self.awaited_offer(caller) else {
            return false;
        };
        if !std::mem::replace(taken, true) {
            self.shards.offers_out += 1;
        }
        true
    }

    /// Records the end of an Alexa call that was pending on another shard. Returns `false` if its caller is no longer
    /// waiting.
    pub(crate) fn end_offer(&mut self, caller: CallRef) -> bool {
        let taken = self.awaited_offer(caller).is_some_and(std::mem::take);
        if taken {
            self.shards.offers_out -= 1;
        }
        taken
    }

    /// Abandons the Alexa call of a caller that hung up, whose answer will be dropped. Returns the call, its channel,
    /// and whether it is pending on another shard; `None` if the session is not waiting for one.
    pub(crate) fn give_up_offer(&mut self, key: SessionKey) -> Option<(CallRef, Identity, bool)> {
        let caller = self.awaiting(key)?;
        let http = self.http(key)?;
        let HttpStage::AwaitReply(_, Expected::Answer(identity, taken, _)) = &mut http.stage else {
            return None;
        };
        let (identity, taken) = (identity.clone(), std::mem::take(taken));
        http.serial = http.serial.wrapping_add(1);
        if taken {
            self.shards.offers_out -= 1;
        }
        Some((caller, identity, taken))
    }

    /// Returns whether the Alexa call that this caller is waiting for was queued; `None` if the caller is waiting for a
    /// different call or none.
    fn awaited_offer(&mut self, caller: CallRef) -> Option<&mut bool> {
        let http = self.http(caller.session)?;
        if http.serial != caller.serial {
            return None;
        }
        if let HttpStage::AwaitReply(_, Expected::Answer(_, taken, _)) = &mut http.stage {
            Some(taken)
        } else {
            None
        }
    }
}
