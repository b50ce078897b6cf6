//! A shard's sessions: inserts them, looks them up, changes their state, handles their timeouts, and removes them with
//! everything that belongs to them.

use crate::cluster::leads::CloseCause;
use crate::event::{CONNECTION_ROLES, ConnectionRole};
use crate::id::{ChannelKey, SessionKey, TimerId};
use crate::limits::{LEADS_PER_TICK, PIPELINED_BYTES_MAX};
use crate::machine::{Intake, Output, Peer};
use crate::session::http::{Expected, Http, HttpStage};
use crate::session::web_socket::{Role, WebSocket};
use crate::session::{Ending, NEVER, Session, SessionState, Wait};
use crate::shard::admitted::{Holder, Standing};
use crate::shard::context::Context;
use crate::shard::sockets::{Owner, Sockets, Timer};
use crate::shard::{Parcel, ParcelLoad};
use crate::time::{Moment, Now};
use crate::{
    channel::Channel,
    journal::EndReason,
    settings::{Program, Settings},
};
use std::iter;

impl Sockets {
    #[inline]
    pub(crate) fn session(&self, key: SessionKey) -> Option<&Session> {
        self.sessions.get(key)
    }

    pub(crate) fn session_mut(&mut self, key: SessionKey) -> Option<&mut Session> {
        self.sessions.get_mut(key)
    }

    /// Returns a session's HTTP state, if it is an HTTP connection.
    #[inline]
    pub(crate) fn http(&mut self, key: SessionKey) -> Option<&mut Http> {
        self.sessions.get_mut(key).and_then(Session::http_mut)
    }

    /// Returns a session's open WebSocket, if any.
    #[inline]
    pub(crate) fn web_socket(&mut self, key: SessionKey) -> Option<&mut WebSocket> {
        self.sessions.get_mut(key).and_then(Session::open_mut)
    }

    /// Returns an open WebSocket, and the settings that define its deadlines and rates.
    #[inline]
    pub(crate) fn web_socket_and_settings(
        &mut self,
        key: SessionKey,
    ) -> Option<(&mut WebSocket, &Settings)> {
        let session = self.sessions.get_mut(key)?;
        Some((session.open_mut()?, &self.settings))
    }

    /// Returns a session's WebSocket if it is waiting for the peer's close frame.
    pub(crate) fn closing_web_socket(&mut self, key: SessionKey) -> Option<&mut WebSocket> {
        match &mut self.sessions.get_mut(key)?.state {
            SessionState::AwaitCloseEcho(web_socket, _) => Some(web_socket),
            SessionState::Http(_) | SessionState::Open(_) | SessionState::AwaitGone(_) => None,
        }
    }

    /// Returns whether another session can be inserted.
    pub(crate) fn has_room(&self) -> bool {
        self.sessions.has_room()
    }

    /// Returns the number of allocated table positions. From this position on, [`Sockets::session_at`] returns `None`.
    pub(crate) fn places(&self) -> usize {
        self.sessions.slots()
    }

    /// Returns the session at this table position. Used to iterate over the table in steps.
    pub(crate) fn session_at(&self, place: usize) -> Option<SessionKey> {
        self.sessions.at(place)
    }

    /// Returns how the edge should read from a session's socket: repeatedly, once, or not at all.
    pub(crate) fn intake_of(&self, key: SessionKey) -> Intake {
        let Some(session) = self.session(key).filter(|it| !it.asking.is_half_open()) else {
            return Intake::Paused;
        };
        match &session.state {
            SessionState::Http(http) => {
                let full = match http.stage {
                    HttpStage::AwaitReply(..) | HttpStage::AwaitWake(_) => {
                        http.buffer.len() >= PIPELINED_BYTES_MAX
                    }
                    HttpStage::AwaitHead => session.answers_wait(),
                    HttpStage::AwaitTls | HttpStage::AwaitBody(_) => false,
                    // The next shard or node will process the received bytes, so the edge keeps them.
                    HttpStage::AwaitHandover(..)
                    | HttpStage::AwaitLink(_)
                    | HttpStage::AwaitAdmin(_)
                    | HttpStage::AwaitOwner(_) => true,
                };
                if full || http.queued {
                    Intake::Paused
                } else {
                    Intake::Once
                }
            }
            SessionState::Open(_)
            | SessionState::AwaitCloseEcho(..)
            | SessionState::AwaitGone(_) => Intake::Many,
        }
    }

    /// Returns the number of connections per [`ConnectionRole`].
    pub(crate) fn connections(&self) -> [u64; CONNECTION_ROLES] {
        self.census
    }
}

impl Sockets {
    /// Adds a session that waits for its first request head. Before that, it may have to wait for the TLS handshake,
    /// the PROXY protocol header, or both.
    pub(crate) fn open(&mut self, peer: Peer, anyway: bool, at: Moment) -> Option<SessionKey> {
        let timeouts = &self.settings.timeouts;
        let shakes = peer.tls || !peer.inner && self.settings.awaits_proxy(peer.listener);
        let deadline = at.now.after(if shakes {
            timeouts.tls_ms
        } else {
            timeouts.head_ms
        });
        let mut session = Session::accepted(peer, deadline);
        if shakes && let Some(http) = session.http_mut() {
            http.stage = HttpStage::AwaitTls;
            session.place = ConnectionRole::Handshake;
        }
        let key = self.add_session(session, anyway)?;
        self.arm(key, deadline);
        Some(key)
    }

    pub(crate) fn add_session(&mut self, session: Session, anyway: bool) -> Option<SessionKey> {
        let place = session.place;
        let added = if anyway {
            self.sessions.insert_anyway(session)
        } else {
            self.sessions.insert(session)
        };
        let key = added.ok()?;
        self.count_place(place, true);
        Some(key)
    }

    /// Removes a session with its timer, its admission and its charges.
    pub(crate) fn remove_session(&mut self, key: SessionKey) -> Option<Session> {
        self.discharge(key);
        self.requests.forget(key);
        let mut session = self.sessions.remove(key)?;
        self.wheel.forget(&mut session.timer);
        self.count_place(session.place, false);
        if session.cut {
            self.cut_shrinks(session.outbox.bytes());
        }
        self.forget_doubt(&session, key);
        if session.channel().is_some() {
            self.web_sockets = self.web_sockets.saturating_sub(1);
            self.admitted.leave(key);
        }
        Some(session)
    }

    /// Drops the timer and the backlog entries of a channel that was removed from the tables.
    pub(crate) fn channel_went(&mut self, key: ChannelKey, channel: &mut Channel) {
        self.wheel.forget(&mut channel.timer);
        self.backlog.withdraw(key);
    }

    /// Moves a session to a different connection gauge.
    pub(crate) fn place(&mut self, key: SessionKey, place: ConnectionRole) {
        let Some(session) = self.sessions.get_mut(key) else {
            return;
        };
        let old = std::mem::replace(&mut session.place, place);
        self.count_place(old, false);
        self.count_place(place, true);
    }

    fn count_place(&mut self, place: ConnectionRole, comes: bool) {
        if let Some(gauge) = self.census.get_mut(place.index()) {
            *gauge = if comes {
                *gauge + 1
            } else {
                gauge.saturating_sub(1)
            };
        }
    }
}

impl Sockets {
    /// Creates a session for a connection that another shard has handed over, or that was handed back to this shard.
    pub(crate) fn take_session(&mut self, parcel: &mut Parcel, at: Moment) -> SessionKey {
        let deadline = at.now.after(self.settings().timeouts.head_ms);
        let mut session = Session::accepted(parcel.peer, deadline);
        session.forwards(parcel.forwarded.take());
        let key = self
            .add_session(session, true)
            .expect("a process has fewer descriptors than a table has slots");
        self.arm(key, deadline);
        key
    }

    /// Removes a session whose connection is being handed over to another shard, to another node or to the side thread.
    pub(crate) fn release_parcel(&mut self, cx: &mut Context, key: SessionKey) -> Box<Parcel> {
        let mut session = self
            .remove_session(key)
            .expect("the edge releases what was just announced");
        cx.telemetry.unload(session.outbox.load());
        let forwarded = session.take_forwarded();
        let peer = session.own_peer();
        let SessionState::Http(http) = session.state else {
            unreachable!("only a request is handed over")
        };
        let load = match http.stage {
            HttpStage::AwaitHandover(admission, unread) => ParcelLoad::Upgrade {
                admission: *admission,
                unread,
            },
            HttpStage::AwaitLink(mut onward) => {
                onward.bytes.extend_from_slice(&http.buffer); // pipelined behind the request
                ParcelLoad::Onward(*onward)
            }
            HttpStage::AwaitAdmin(mut bytes) => {
                bytes.extend_from_slice(&http.buffer);
                ParcelLoad::Admin(bytes)
            }
            HttpStage::AwaitTls
            | HttpStage::AwaitHead
            | HttpStage::AwaitBody(_)
            | HttpStage::AwaitReply(..)
            | HttpStage::AwaitWake(_)
            | HttpStage::AwaitOwner(_) => unreachable!("its head was read"),
        };
        Box::new(Parcel {
            peer,
            forwarded,
            load,
        })
    }
}

/// Session state transitions.
impl Sockets {
    /// Turns an admitted HTTP connection into a WebSocket.
    pub(crate) fn begin_web_socket(&mut self, key: SessionKey, web_socket: WebSocket) {
        if let Some(session) = self.sessions.get_mut(key) {
            session.state = SessionState::Open(web_socket);
            self.web_sockets += 1;
        }
        self.charge(key);
    }

    /// Waits for the edge to close a session's connection. Returns `false` if the session is already waiting for this.
    pub(crate) fn await_gone(&mut self, key: SessionKey, deadline: Now) -> bool {
        let Some(session) = self.sessions.get_mut(key) else {
            return false;
        };
        if let SessionState::AwaitGone(ending) = &mut session.state {
            ending.deadline = deadline;
            return false;
        }
        let program = match &session.state {
            SessionState::Open(web_socket) => web_socket.program(),
            SessionState::AwaitCloseEcho(web_socket, _) => web_socket.program(),
            SessionState::Http(_) | SessionState::AwaitGone(_) => Program::default(),
        };
        session.state = SessionState::AwaitGone(Box::new(Ending {
            deadline,
            was: session.membership(),
            tally: session.tally().copied(),
            reason: session.reason(),
            refused_by: session.take_refused(),
            peer_is_done: session.peer_is_done(),
            program,
        }));
        self.charge(key);
        true
    }

    /// Postpones the deadline by which the edge must close a connection. Returns `false` if the edge is not about to
    /// close it, or if it was aborted.
    pub(crate) fn put_off_end(&mut self, key: SessionKey, deadline: Now) -> bool {
        let Some(session) = self.sessions.get_mut(key) else {
            return false;
        };
        match &mut session.state {
            SessionState::AwaitGone(ending) if ending.deadline != NEVER => {
                ending.deadline = deadline;
                self.arm(key, deadline);
                true
            }
            SessionState::AwaitGone(_)
            | SessionState::Http(_)
            | SessionState::Open(_)
            | SessionState::AwaitCloseEcho(..) => false,
        }
    }

    /// Records why a connection is closing. Only the first reason is kept.
    pub(crate) fn because(&mut self, key: SessionKey, reason: EndReason) {
        if let Some(session) = self.sessions.get_mut(key) {
            session.because(reason);
        }
    }
}

/// Admission of WebSockets and forwarded clients. See [`Admitted`](crate::shard::admitted::Admitted).
impl Sockets {
    /// Returns the viewer to evict from a full channel so that `holder` can be admitted.
    pub(crate) fn viewer_that_pays(
        &self,
        holder: Holder,
        viewers: Vec<SessionKey>,
    ) -> Option<SessionKey> {
        let admitted = |key: SessionKey| Some((key, self.session(key)?.open()?.opened()));
        let viewers = viewers.into_iter().filter_map(admitted);
        self.admitted.viewer_that_pays(holder, viewers)
    }

    /// Closes forwarded clients whose channel has moved to another node, or that have to disconnect because this node
    /// is shutting down.
    pub(crate) fn end_leads(&mut self, now: Now) {
        if let Some(map) = self.shards.placement.cluster() {
            self.leads.follow(map, now);
        }
        let closed: Vec<_> = iter::from_fn(|| self.leads.next(now))
            .take(LEADS_PER_TICK)
            .collect();
        for (place, cause) in closed {
            self.output(match cause {
                CloseCause::Lost => Output::LoseOwner(place),
                CloseCause::Drain => Output::Leave(place),
            });
        }
    }
}

// Deadlines of sessions and channels in their shard's timer wheel.

impl Sockets {
    /// Returns the owner of the next timer due by `now`.
    pub(crate) fn next_due(&mut self, now: Now) -> Option<Owner> {
        self.wheel.pop(now).map(Timer::owner)
    }

    /// Returns when the next timer is due.
    pub(crate) fn next_deadline(&self) -> Option<Now> {
        self.wheel.next()
    }

    /// Returns the number of timers, at most one per session or channel.
    pub(crate) fn timers(&self) -> usize {
        self.wheel.places()
    }

    /// Arms a session's timer for `deadline`. Has no effect if it is already armed for an earlier time.
    #[inline]
    pub(crate) fn arm(&mut self, key: SessionKey, deadline: Now) {
        let Some(session) = self.sessions.get_mut(key) else {
            return;
        };
        if deadline != NEVER {
            let timer = &mut session.timer;
            self.wheel.call_by(timer, deadline, Timer::session(key));
        }
    }

    /// Arms a session's timer for the deadline of its current state.
    #[inline]
    pub(crate) fn arm_open(&mut self, key: SessionKey, now: Now) {
        let session = self.sessions.get(key);
        if let Some(Wait::Until(next)) = session.map(|it| it.waits(&self.settings.timeouts, now)) {
            self.arm(key, next);
        }
    }

    /// Arms a channel's timer for `next`, or disarms it if `next` is `None`.
    pub(crate) fn arm_channel(&mut self, key: ChannelKey, timer: &mut TimerId, next: Option<Now>) {
        match next {
            Some(next) => self.wheel.call_by(timer, next, Timer::channel(key)),
            None => self.wheel.forget(timer),
        }
    }

    /// Returns whether a session has a deadline but no timer for it.
    #[cfg(feature = "testing")]
    pub(crate) fn forgets_session(&self, key: SessionKey, now: Now) -> bool {
        let Some(session) = self.sessions.get(key) else {
            return false;
        };
        match session.waits(&self.settings.timeouts, now) {
            // Before the turn ends, announced bytes are either sent or given a deadline.
            Wait::Until(next) => {
                session.sending != crate::session::SendState::Announced
                    && !session.stands_still()
                    && !self.wheel.calls_by(&session.timer, next)
            }
            Wait::OwnTurn | Wait::Aborted => false,
        }
    }

    /// Returns whether a channel has a deadline but no timer for it.
    #[cfg(feature = "testing")]
    pub(crate) fn forgets_channel(&self, timer: &TimerId, next: Option<Now>) -> bool {
        let calls = |next| self.wheel.calls_by(timer, next);
        !next.is_none_or(calls)
    }
}

// Invariants of [`Sockets`] between inputs: the tables agree with each other and with the sessions.

/// Sums over all sessions.
#[derive(Default)]
struct Sums {
    places: [u64; CONNECTION_ROLES],
    web_sockets: usize,
    /// Bytes queued for connections that have fallen behind. `behind` counts those connections whose channel is in the
    /// backlog.
    weight: usize,
    behind: usize,
    /// Bytes still queued for connections that were cut off because their peers stopped reading.
    cut: usize,
    unconfirmed: (usize, usize),
    /// Number of connections charged for request bytes.
    charged: usize,
    /// Number of connections whose requests are waiting for a turn.
    queued: usize,
    without_owner: usize,
    offers_out: usize,
}

impl Sockets {
    /// Checks that the tables are consistent: each gauge equals what it counts, each index refers to a session that
    /// refers back to it, and no data about removed sessions remains.
    ///
    /// Takes linear time in the number of sessions, and does not allocate.
    ///
    /// # Panics
    /// Panics if the tables are inconsistent.
    pub(crate) fn invariants(&self) {
        let mut sums = Sums::default();
        let keys = (0..self.places()).filter_map(|place| self.session_at(place));
        for key in keys {
            let session = self.session(key).expect("a place that is taken");
            self.agrees(key, session, &mut sums);
        }
        assert_eq!(sums.places, self.census, "connections by role");
        assert_eq!(sums.web_sockets, self.web_sockets, "WebSockets");
        let (bytes, entries) = self.backlog.invariants();
        assert_eq!(sums.behind, entries, "connections that are behind");
        assert_eq!(sums.weight, bytes, "bytes that are behind");
        assert_eq!(sums.cut, self.backlog.cut, "bytes that were cut off");
        assert_eq!(
            sums.unconfirmed,
            (self.unconfirmed.bytes, self.unconfirmed.doubtful),
            "bytes not confirmed"
        );
        let charges = self.requests.held.invariants();
        assert_eq!(sums.charged, charges, "a charge of a session that is gone");
        let waiting = self.turns.waiting.iter();
        let waiting = waiting.filter(|key| self.session(**key).is_some_and(is_queued));
        assert_eq!(sums.queued, waiting.count(), "a place in two turns");
        let goes_on = self.turns.answered.is_empty();
        assert!(goes_on, "a request is left behind an answer");
        let waiters = self.requests.without_owner.len();
        assert_eq!(sums.without_owner, waiters, "a waiter that is gone");
        assert_eq!(sums.offers_out, self.shards.offers_out, "offers elsewhere");
        self.leads.invariants();
        for (is_viewer, key) in self.ends.closings.waiting() {
            let open = self.session(key).and_then(Session::open);
            let found = open.map(|it| it.role.client_id().is_some());
            assert_eq!(found, Some(is_viewer), "{key:?} is to be closed again");
        }
    }

    /// Checks that the tables agree with one session's state, and adds the session to `sums`.
    fn agrees(&self, key: SessionKey, session: &Session, sums: &mut Sums) {
        if let Some(gauge) = sums.places.get_mut(session.place.index()) {
            *gauge += 1;
        }
        if session.timer.place().is_some() {
            let owner = self.wheel.entry(&session.timer).map(Timer::owner);
            assert_eq!(owner, Some(Owner::Session(key)), "the timer of {key:?}");
        }
        self.weighs(key, session, sums);
        self.is_charged(key, session, sums);
        if session.channel().is_some() {
            sums.web_sockets += 1;
        }
        match &session.state {
            SessionState::Http(http) => match &http.stage {
                HttpStage::AwaitOwner(_) => {
                    let waits = self.requests.without_owner.contains(&key);
                    assert!(waits, "{key:?} waits for an owner uncounted");
                }
                HttpStage::AwaitReply(_, Expected::Answer(_, true, _)) => sums.offers_out += 1,
                HttpStage::AwaitTls
                | HttpStage::AwaitHead
                | HttpStage::AwaitBody(_)
                | HttpStage::AwaitReply(..)
                | HttpStage::AwaitWake(_)
                | HttpStage::AwaitHandover(..)
                | HttpStage::AwaitLink(_)
                | HttpStage::AwaitAdmin(_) => {}
            },
            SessionState::Open(web_socket) => {
                let standing = match web_socket.role {
                    _ if web_socket.superseded => Standing::Superseded,
                    Role::Master => Standing::Master,
                    Role::Viewer(_) => Standing::Viewer,
                };
                let has = self.admitted.standing(key);
                assert_eq!(has, Some(standing), "the place of {key:?}");
            }
            SessionState::AwaitCloseEcho(..) | SessionState::AwaitGone(_) => {
                let has = self.admitted.standing(key);
                let ends = has.is_none_or(|standing| standing == Standing::Ending);
                assert!(ends, "{key:?} has left, and has a place as {has:?}");
            }
        }
    }

    /// Checks that a connection that has fallen behind is in the backlog with its queued bytes.
    fn weighs(&self, key: SessionKey, session: &Session, sums: &mut Sums) {
        let (weight, waiting) = (session.weight as usize, session.outbox.bytes());
        let expected = if session.behind { waiting } else { 0 };
        assert_eq!(weight, expected, "the weight of {key:?}");
        sums.weight += weight;
        if session.cut {
            sums.cut += waiting;
        }
        sums.unconfirmed.0 += session.outbox.unconfirmed_bytes();
        sums.unconfirmed.1 += usize::from(session.outbox.doubtful_since().is_some());
        let channel = session.channel().filter(|_| weight > 0);
        if let Some(channel) = channel.filter(|channel| self.backlog.has(*channel)) {
            let listed = self.backlog.lists(channel, session.weight, key);
            assert!(listed, "{key:?} is behind unlisted");
            sums.behind += 1;
        }
    }

    /// Checks that a connection is charged for the bytes it holds, and that it is queued if it is waiting for a turn.
    fn is_charged(&self, key: SessionKey, session: &Session, sums: &mut Sums) {
        let charge = self.requests.held.charges.get(&key);
        sums.charged += usize::from(charge.is_some());
        if !matches!(session.state, SessionState::AwaitGone(_)) {
            let charge = charge.copied().unwrap_or(0);
            let held = session.held() + self.unconfirmed.unproved_of(key);
            assert_eq!(charge, held, "the charge of {key:?}");
        }
        if is_queued(session) {
            let waits = self.turns.waiting.contains(&key);
            assert!(waits, "{key:?} waits for a turn that does not come");
            sums.queued += 1;
        }
        let waits = self.requests.without_owner.contains(&key);
        sums.without_owner += usize::from(waits);
    }
}

/// Returns whether a connection's requests are waiting for a turn.
fn is_queued(session: &Session) -> bool {
    matches!(&session.state, SessionState::Http(http) if http.queued)
}

#[cfg(test)]
mod invariants_tests {
    use super::*;
    use crate::address_shares::Origin;
    use crate::auth::Caller;
    use crate::event::{ConnectionRole, Purpose};
    use crate::id::{Account, ChannelKey, Identity, ShardId, TimerId};
    use crate::limits::REQUEST_BYTES_FREE;
    use crate::machine::Peer;
    use crate::placement::Placement;
    use crate::readiness::Readiness;
    use crate::session::NEVER;
    use crate::session::http::Onward;
    use crate::session::outbox::DeliveryMark;
    use crate::session::web_socket::{AdmissionTerms, BoundsPlace, WebSocket};
    use crate::settings::Program;
    use crate::settings::Settings;
    use crate::time::{Moment, Now};
    use ahash::RandomState;
    use codec::signal::Action;
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::Arc;

    const ACCOUNT: &str = "123456789012";

    fn channel() -> ChannelKey {
        ChannelKey::new(1, 0)
    }

    /// The key of a session that is gone.
    fn gone() -> SessionKey {
        SessionKey::new(0, 9)
    }

    /// Creates a connection whose request waits for its turn, and a master that has fallen behind.
    fn busy() -> (Sockets, SessionKey, SessionKey) {
        let seeds = [1, 2, 3, 4];
        let [a, b, c, d] = seeds;
        let mut sockets = Sockets::new(
            Arc::new(Settings::default()),
            ShardId(0),
            Placement::new(seeds, 2),
            Readiness::ready(),
            100,
            RandomState::with_seeds(a, b, c, d),
        );
        let peer = Peer {
            remote: ([192, 0, 2, 1], 9).into(),
            listener: 0,
            tls: false,
            inner: false,
        };
        let mut open = || sockets.open(peer, false, Moment::default());
        let (http, master) = (open().unwrap(), open().unwrap());
        sockets.http(http).unwrap().buffer = vec![0; REQUEST_BYTES_FREE + 1];
        sockets.charge(http);
        sockets.wait_for_turn(http);
        let terms = AdmissionTerms {
            notices: true,
            program: Program::default(),
            bounds: BoundsPlace::default(),
            ends: NEVER,
        };
        let web_socket = WebSocket::new(channel(), Role::Master, terms, Now(0));
        sockets.begin_web_socket(master, web_socket);
        let holder = sockets.admitted.holder(&Caller::anyone(ACCOUNT), ACCOUNT);
        sockets.admitted.enter(master, holder, Standing::Master);
        sockets.place(master, ConnectionRole::Master);
        let launch = DeliveryMark::new(Action::SdpOffer, 0, NEVER, 0);
        sockets.push_kept(master, launch, b"frame");
        sockets.launched(master, 5);
        sockets.begin_behind(master, Some(Account(7)));
        (sockets, http, master)
    }

    /// A function that breaks an invariant, given an HTTP connection and a master.
    type Break = fn(&mut Sockets, SessionKey, SessionKey);

    fn fault_of(breaks: Break) -> Option<String> {
        let (mut sockets, http, master) = busy();
        breaks(&mut sockets, http, master);
        let result = catch_unwind(AssertUnwindSafe(|| sockets.invariants()));
        let panic = result.err()?;
        let text = panic.downcast_ref::<String>().cloned();
        text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
    }

    /// Checks that each broken invariant is detected, with the given message.
    fn are_noticed(breaks: &[(&str, Break)]) {
        for (expected, breaks) in breaks {
            let fault = fault_of(*breaks).unwrap_or_default();
            assert!(fault.contains(expected), "{expected}: {fault:?}");
        }
    }

    #[test]
    fn broken_promises_about_sessions_are_noticed() {
        assert_eq!(fault_of(|_, _, _| {}), None);
        are_noticed(&[
            ("connections by role", |it, _, _| it.census[0] += 1),
            ("WebSockets", |it, _, _| it.web_sockets = 0),
            ("the timer of", |it, http, master| {
                let place = it.sessions.get(http).unwrap().timer.place().unwrap();
                it.sessions.get_mut(master).unwrap().timer = TimerId::at(place);
            }),
            ("the weight of", |it, _, master| {
                it.sessions.get_mut(master).unwrap().weight += 1;
            }),
            ("bytes that are behind", |it, _, _| it.backlog.bytes += 1),
            ("behind with more than all", |it, _, _| it.backlog.bytes = 0),
            ("is behind unlisted", |it, _, master| {
                it.backlog.change(Some(channel()), master, (5, 6));
            }),
            ("connections that are behind", |it, _, _| {
                it.backlog.change(Some(channel()), gone(), (0, 6));
            }),
            ("bytes that were cut off", |it, _, _| it.backlog.cut = 1),
            ("the place of", |it, _, master| it.admitted.leave(master)),
            ("has left, and has a place", |it, _, master| {
                it.await_gone(master, Now(9));
                it.weigh(master);
            }),
        ]);
    }

    #[test]
    fn broken_promises_about_requests_are_noticed() {
        are_noticed(&[
            ("the charge of", |it, http, _| {
                it.http(http).unwrap().buffer = Vec::new();
            }),
            ("the sum of the charges", |it, _, _| {
                it.requests.held.bytes += 1;
            }),
            ("the shares of the charges", |it, _, _| {
                (it.requests.held.shares).change(Origin::V4(1), gone(), 0, 5);
            }),
            ("a charge of a session that is gone", |it, _, _| {
                it.requests.held.bytes += 5;
                it.requests.held.charges.insert(gone(), 5);
                (it.requests.held.shares).change(Origin::V4(1), gone(), 0, 5);
            }),
            ("a turn that does not come", |it, _, _| {
                it.turns.waiting.clear();
            }),
            ("a place in two turns", |it, http, _| {
                it.turns.waiting.push_back(http);
            }),
            ("left behind an answer", |it, http, _| {
                it.turns.answered.push_back(http);
            }),
            ("a waiter that is gone", |it, _, _| {
                it.requests.without_owner.insert(gone());
            }),
            ("offers elsewhere", |it, _, _| it.shards.offers_out = 1),
            ("waits for an owner uncounted", await_owner),
        ]);
    }

    fn await_owner(sockets: &mut Sockets, http: SessionKey, _: SessionKey) {
        let onward = Onward {
            purpose: Purpose::Unknown,
            identity: Identity::new("us-west-2", ACCOUNT, "demo"),
            home: None,
            until: None,
            channel: "demo".into(),
            client_id: None,
            caller: Caller::anyone(ACCOUNT),
            bytes: Vec::new(),
            call: None,
            record_bytes: usize::MAX,
            failed: None,
            counted: sockets.requests.onward.clone(),
        };
        sockets.http(http).unwrap().stage = HttpStage::AwaitOwner(Box::new(onward));
    }
}
