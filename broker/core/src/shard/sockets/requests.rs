//! Requests on HTTP connections: whose turn it is, which wait for an owner of their channel, the bytes that all hold,
//! and their questions to other shards.

use crate::control::port_of;
use crate::id::{CallRef, Identity, SessionKey, ShardId};
use crate::session::http::{Expected, HttpStage, OnwardCount};
use crate::session::{Forwarded, Session};
use crate::shard::{shares::ShareQuestions, sockets::Sockets};
use crate::{address_shares::Origin, limits::OWNER_WAITERS_MAX, time::Moment};
use codec::{http::Head, proxy};
use std::net::{IpAddr, SocketAddr};

/// Turns: see [`crate::shard::sockets`].
impl Sockets {
    /// The number of heads and bodies of a connection that may be answered as they arrive, after this much work.
    pub(crate) fn begin_visit(&mut self, done: u64, at: Moment) -> u32 {
        self.requests.turns.visit(done, at)
    }

    /// Ends a visit that answered this many requests.
    pub(crate) fn end_visit(&mut self, answered: u32) {
        self.requests.turns.fresh += answered;
    }

    /// Whether the next request waits, by a shard that has done this work.
    pub(crate) fn turn_is_over(&self, done: u64) -> bool {
        self.requests.turns.is_over(done)
    }

    /// One more head or body is answered.
    pub(crate) fn count_request(&mut self) {
        self.requests.turns.take();
    }

    /// Heads and bodies answered since the start.
    pub(crate) fn requests_taken(&self) -> u64 {
        self.requests.turns.taken()
    }

    /// The requests of this connection wait for a later turn.
    pub(crate) fn wait_for_turn(&mut self, key: SessionKey) {
        if let Some(http) = self.http(key)
            && !std::mem::replace(&mut http.queued, true)
        {
            self.requests.turns.waiting.push_back(key);
        }
    }

    /// Requests that wait are answered from here on, after this much work.
    pub(crate) fn begin_tick(&mut self, done: u64) {
        self.requests.turns.begin_tick(done);
    }

    /// The number of connections whose requests wait for a turn.
    pub(crate) fn waiting_requests(&self) -> usize {
        self.requests.turns.waiting()
    }

    /// The connection that waits longest: it waits no more. It may be gone.
    pub(crate) fn next_waiting(&mut self) -> Option<SessionKey> {
        let key = self.requests.turns.next_waiting()?;
        if let Some(http) = self.http(key) {
            http.queued = false;
        }
        Some(key)
    }

    /// The wait of a connection's next request is over: it begins at the end of this input.
    pub(crate) fn requests_go_on(&mut self, key: SessionKey) {
        self.requests.turns.answered.push_back(key);
    }

    /// The next connection whose requests go on.
    pub(crate) fn next_going_on(&mut self) -> Option<SessionKey> {
        self.requests.turns.answered.pop_front()
    }

    /// Whether there is such a connection.
    #[inline]
    pub(crate) fn has_going_on(&self) -> bool {
        !self.requests.turns.answered.is_empty()
    }
}

/// Requests that wait for a node that has their channel.
impl Sockets {
    /// Whether this connection brings one call, and ends with its answer.
    pub(crate) fn brings_one_call(&mut self, key: SessionKey) -> bool {
        self.http(key).is_some_and(|http| http.one_call)
    }

    /// Whether another node passed this connection on.
    pub(crate) fn is_inner(&self, key: SessionKey) -> bool {
        self.session(key)
            .is_some_and(|session| session.peer().inner)
    }

    /// Whether slots go from one node to another.
    pub(crate) fn owners_change(&self) -> bool {
        let map = self.placement().cluster();
        map.is_some_and(|map| !map.is_fixed())
    }

    /// Whether one more request may wait for an owner; it is counted then.
    pub(crate) fn may_wait(&mut self, key: SessionKey) -> bool {
        let waiting = &mut self.requests.without_owner;
        let has_room = waiting.len() < OWNER_WAITERS_MAX;
        if has_room {
            waiting.insert(key);
        }
        has_room
    }

    /// An entry in the count of requests for other nodes.
    pub(crate) fn count_onward(&self) -> OnwardCount {
        self.requests.onward.clone()
    }

    /// A request waits for an owner no more.
    pub(crate) fn ends_waiting(&mut self, key: SessionKey) {
        self.requests.without_owner.remove(&key);
    }

    /// The number of requests that wait for an owner.
    pub(crate) fn without_owner(&self) -> usize {
        self.requests.without_owner.len()
    }
}

/// The client of a request, where a proxy passed it on.
impl Sockets {
    /// Notes what the proxy that connected says of the client in a request's head, if its word counts. Another node's
    /// word on the address came with the connection; the request's `X-Forwarded-Proto` counts if it is what that node
    /// says of TLS, so that the answer names the host and scheme of the proxy.
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

    /// Whether a request for an endpoint is the first that shows a proxy which ends TLS, or publishes another port,
    /// where discovery names this listener.
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

/// Bytes: see [`crate::shard::sockets`].
impl Sockets {
    /// Charges a session for what it holds now, and for nothing else.
    pub(crate) fn charge(&mut self, key: SessionKey) {
        let Some(session) = self.sessions.get(key) else {
            return;
        };
        let held = session.held() + self.unproved_of(key);
        self.charge_with(key, Origin::of(session.origin().ip()), held);
    }

    /// Nothing is charged for a session any more: it leaves the table, or its memory is free soon.
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

    /// The connection that pays when one that has just received makes it too much: itself, if no other holds more.
    /// `None` when there is room, or others hold it all, who pay when they send more.
    pub(crate) fn payer_for(&self, key: SessionKey) -> Option<SessionKey> {
        let held = &self.requests.held;
        if held.bytes <= self.rules.request_bytes {
            return None;
        }
        let origin = Origin::of(self.sessions.get(key)?.origin().ip());
        let own = *held.charges.get(&key)?;
        Some(held.shares.payer(origin, own, 0).unwrap_or(key))
    }

    /// The connection with most, when all hold too much.
    pub(crate) fn largest_payer(&self) -> Option<SessionKey> {
        let held = &self.requests.held;
        let too_much = held.bytes > self.rules.request_bytes;
        too_much.then(|| held.shares.largest()).flatten()
    }

    /// One more connection had to make room for others' requests.
    pub(crate) fn count_payer(&mut self) {
        self.requests.held.refused += 1;
    }

    /// Connections that had to make room for others' requests.
    pub(crate) fn payers(&self) -> u64 {
        self.requests.held.refused
    }

    /// The bytes that are charged to connections.
    pub(crate) fn request_bytes(&self) -> usize {
        self.requests.held.bytes
    }
}

// Questions of connections here to other shards, and their Alexa calls that wait there.

impl Sockets {
    /// Takes a place for one more question to a shard. False when the caller's account has its share.
    pub(crate) fn begin_question(&mut self, home: ShardId, caller: CallRef) -> bool {
        let asking = self.shards.asking.get_mut(home.index());
        asking.is_some_and(|asking| asking.begin(caller))
    }

    /// One question of this call to `shard` is no longer under way.
    pub(crate) fn heard_from(&mut self, shard: ShardId, caller: CallRef) {
        if let Some(asking) = self.shards.asking.get_mut(shard.index()) {
            asking.end(caller);
        }
    }

    /// Whether no question is under way, and no Alexa call waits on another shard.
    pub(crate) fn asks_nothing(&self) -> bool {
        self.shards.offers_out == 0 && self.shards.asking.iter().all(ShareQuestions::is_empty)
    }

    /// The call whose reply a session awaits.
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

    /// Another shard has taken in an Alexa call, which waits there. False when its caller does not wait any more.
    pub(crate) fn begin_offer(&mut self, caller: CallRef) -> bool {
        let Some(taken) = self.awaited_offer(caller) else {
            return false;
        };
        if !std::mem::replace(taken, true) {
            self.shards.offers_out += 1;
        }
        true
    }

    /// An Alexa call that waited on another shard is over. False when its caller does not wait any more.
    pub(crate) fn end_offer(&mut self, caller: CallRef) -> bool {
        let taken = self.awaited_offer(caller).is_some_and(std::mem::take);
        if taken {
            self.shards.offers_out -= 1;
        }
        taken
    }

    /// The caller of an Alexa call is gone, whose answer finds nobody from here on: the call, its channel, and whether
    /// it waits on another shard. `None` when the session waits for none.
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

    /// Whether the Alexa call that this caller waits for was taken in; `None` when it waits for none, or another.
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
