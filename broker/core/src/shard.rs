//! The state of one shard: its sessions, channels, deadlines and counters. Only this module has access to all of them
//! at once.
//!
//! The state is divided into four parts: [`Sockets`] (connections), [`Directory`] (the channels that this shard owns),
//! [`Telemetry`] (counters and notes) and [`Gate`] (signatures). Each step borrows the parts that it needs. Work that
//! affects other parts is deferred: for example, when a WebSocket leaves its channel, the step pushes a
//! [`Todo`](crate::shard::todo::Todo) to a list, and the shard drains that list before the next step. This file
//! dispatches each input to its first step; the loops are in `event_loop`:
//! ```text
//!  handle(Received)
//!    ├─ event_loop                HTTP: one head or body per step; WebSocket: one frame per step
//!    │    ├─ connect              the next chunk of the input; sockets: how much is processed at once
//!    │    │    ├─ requests        a head or body → a call or an upgrade
//!    │    │    └─ admission       an upgrade → here, or handed over to the channel's shard → 101
//!    │    ├─ calls                a call → a query to the channel's shard
//!    │    │    ├─ home            the query, answered by the channel's shard
//!    │    │    └─ answers         the answer as an HTTP response
//!    │    ├─ directory::changes   changes to channels: durable before they are applied
//!    │    ├─ onward               requests for channels of other nodes
//!    │    └─ road                 frame → message → route → the recipient's outbox, or pending, or refused
//!    │         └─ delivery        the steps on the recipient's side
//!    └─ todo_dispatch             work deferred by the step; follow-up work runs first
//!  handle(Sent)    sockets: delivered
//!  handle(Gone)    disconnect: the connection's slot; road::unsent: its unsent messages
//!  handle(Tick)    event_loop: deadlines, slot moves, the end of the process
//! ```
//! No code here touches a socket, TLS, the clock, an unseeded random generator or another shard's state, so the same
//! inputs always produce the same outputs.

mod admitted;
mod calls;
mod connect;
mod context;
mod dev;
mod directory;
mod disconnect;
mod event_loop;
mod evidence;
mod flight_recorder;
mod gate;
mod onward;
mod operator;
mod operator_requests;
mod recheck;
mod road;
mod shares;
mod sign_in_rates;
mod slot_moves;
mod sockets;
mod start;
mod state;
mod telemetry;
mod todo;
mod todo_dispatch;
mod trace;
#[cfg(test)]
mod transitions;
mod usage;

pub use crate::channel::{AwaitedMaster, Towards};
use crate::event::Counters;
use crate::id::{Account, NodeId, SessionKey};
use crate::machine::{
    FailedPass, Input, Intake, Machine, Output, PassedOn, Peer, Shown, TurnedAway,
};
use crate::refusal_id::RefusalIds;
use crate::session::http::Asks;
pub use crate::session::http::RoleBy;
use crate::session::{NEVER, Session, SessionState};
use crate::shard::admitted::Member;
use crate::shard::calls::wake;
use crate::shard::connect::admission;
use crate::shard::road::confirmation;
use crate::shard::sockets::Drain;
use crate::time::{Moment, Now};
use ahash::RandomState;
pub use calls::letters::{Alteration, Answer, Letter, PagePart, PageQuestion};
pub use calls::letters::{Parcel, ParcelLoad, Query, QueryKind};
use codec::link::Kind;
use context::Context;
use dev::Interposer;
pub use dev::{
    AccountUse, Capture, Captured, Chance, Corruption, DeliveryAct, Fate, FaultAct, FaultCounts,
    FaultError, FaultMatch, FaultRule, Glob, MessageAct, RequestAct, Reset, ResetStep, SessionAct,
    SharedRule, StartDev, StrictFinding,
};
use directory::slots::DirectorySlots;
pub use directory::slots::{NodesAnswer, ShardOrder, SlotOrders};
use directory::{Directory, DirectoryStart};
pub use flight_recorder::Passage;
use flight_recorder::Recorder;
use gate::Gate;
pub use operator::{
    ChannelLine, ChannelView, Connections, DisplacedLine, ImportPart, PeerView, PendingView,
    Question, Reply, SessionStep,
};
use operator_requests::usage_gauges;
pub use shares::Shares;
use sockets::Sockets;
pub use start::{Start, StartKeys};
use state::State;
use std::net::SocketAddr;
pub use telemetry::Snapshot;
use telemetry::Telemetry;
use todo::TodoList;
pub use trace::{Forget, TraceEvent, TraceKind, TracePeer, TracePlace, TraceStep};
pub use usage::{Usage, UsageTable};

/// A shard: its state, and the `Machine` implementation that processes one input at a time.
pub struct Shard {
    state: State,
    /// Number of inputs since startup. Counted in debug builds only.
    inputs: usize,
}

impl Shard {
    /// Creates a shard and restores the channels that the previous process stored. Drops channels that exceed the
    /// limits, which cannot happen with a valid configuration.
    #[must_use]
    pub fn new(start: Start) -> Self {
        let (settings, id, [a, b, c, d]) = (start.settings, start.id, start.seeds);
        let hasher = RandomState::with_seeds(a, b, c, d);
        let mut random = fastrand::Rng::with_seed(a ^ c.rotate_left(17));
        let recorder = Recorder::new(settings.recorder_notes_of_shard(), hasher.clone());
        let sockets = Sockets::new(
            settings.clone(),
            id,
            start.placement,
            start.readiness,
            start.connections,
            hasher.clone(),
        );
        let refusal_ids = RefusalIds::new(&start.keys.session_keys, id, random.u64(..));
        let gate = Gate::new(start.keys, &settings.account_id, sockets.rules().head);
        let placement = sockets.placement().clone();
        let slots = placement.map().zip(start.slot_orders);
        let slots = slots.map(|(map, orders)| Box::new(DirectorySlots::new(map, orders)));
        let directory = Directory::new(DirectoryStart {
            settings,
            shard: id,
            placement,
            hasher: hasher.clone(),
            store: start.store,
            catalog: start.catalog,
            newest: start.newest,
            waiting_calls: start.waiting_calls,
            wake_polls: start.wake_polls,
            slots,
            audience: start.audience,
            epoch: start.epoch,
        });
        let mut shard = Self {
            state: State {
                sockets,
                directory,
                cx: Context {
                    at: Moment::default(),
                    telemetry: Telemetry::new(start.journal, recorder, random, refusal_ids),
                    todo: TodoList::default(),
                },
                gate,
                interposer: None,
            },
            inputs: 0,
        };
        let state = &mut shard.state;
        state.directory.load(start.records);
        state.interposer = Interposer::begin(&state.directory, start.dev, &hasher);
        shard
    }

    /// Returns the bytes queued for a connection, including those that the shard is currently withholding.
    #[cfg(feature = "testing")]
    #[must_use]
    pub fn queued(&self, session: SessionKey) -> &[u8] {
        let session = self.state.sockets.session(session);
        session.map_or(&[], |session| session.outbox.unsent())
    }

    /// Returns the number of sessions and channels whose deadline has no timer. Tests assert that this is 0.
    #[cfg(feature = "testing")]
    #[must_use]
    pub fn forgotten(&mut self, now: Now) -> usize {
        let sockets = &self.state.sockets;
        let keys = (0..sockets.places()).filter_map(|place| sockets.session_at(place));
        let mut forgotten = keys
            .filter(|key| sockets.forgets_session(*key, now))
            .count();
        self.state.directory.each_timer(now, |timer, next| {
            forgotten += usize::from(sockets.forgets_channel(timer, next));
        });
        forgotten
    }
}

impl Machine for Shard {
    type Letter = Letter;
    type Parcel = Box<Parcel>;
    type Snapshot = Snapshot;
    type Question = Question;
    type Reply = Reply;

    fn open(&mut self, peer: Peer, at: Moment) -> Option<SessionKey> {
        self.state.cx.at = at;
        self.state.sockets.open(peer, false, at)
    }

    fn open_instead(&mut self, peer: Peer, at: Moment) -> Option<SessionKey> {
        self.state.cx.at = at;
        self.state.sockets.open(peer, true, at)
    }

    fn comes_from(&mut self, session: SessionKey, client: SocketAddr) {
        if let Some(session) = self.state.sockets.session_mut(session) {
            session.comes_from(client);
        }
    }

    fn remote(&self, session: SessionKey) -> Option<SocketAddr> {
        self.state.sockets.session(session).map(Session::origin)
    }

    fn remote_of(parcel: &Self::Parcel) -> Option<SocketAddr> {
        Some(parcel.peer.remote)
    }

    fn release(&mut self, session: SessionKey) -> Self::Parcel {
        let State { sockets, cx, .. } = &mut self.state;
        let parcel = sockets.release_parcel(cx, session);
        self.check();
        parcel
    }

    fn adopt(&mut self, mut parcel: Self::Parcel, at: Moment) -> SessionKey {
        self.state.cx.at = at;
        let key = self.state.sockets.take_session(&mut parcel, at);
        let ParcelLoad::Upgrade {
            admission,
            mut unread,
        } = parcel.load
        else {
            unreachable!("what goes to another node passes no other shard")
        };
        if let Asks::Wake { .. } = admission.asks {
            wake::begin(&mut self.state, key, &admission);
            self.receive_requests(key, &mut unread);
        } else if admission::enter(&mut self.state, key, admission) && !unread.is_empty() {
            self.settle();
            self.receive_frames(key, &mut unread);
        }
        self.work_off();
        self.check();
        key
    }

    fn bounce(&mut self, parcel: Self::Parcel, at: Moment) -> SessionKey {
        self.state.cx.at = at;
        let key = admission::bounce_parcel(&mut self.state, *parcel);
        self.check();
        key
    }

    fn passed_on(parcel: &mut Self::Parcel) -> Option<PassedOn> {
        onward::passed_on(parcel)
    }

    fn unanswered(&mut self, parcel: Self::Parcel, failed: FailedPass, at: Moment) -> SessionKey {
        self.state.cx.at = at;
        let key = onward::bounce(&mut self.state, *parcel, failed);
        self.check();
        key
    }

    fn answered(
        &mut self,
        mut parcel: Self::Parcel,
        answer: &[u8],
        rest: Vec<u8>,
        at: Moment,
    ) -> SessionKey {
        self.state.cx.at = at;
        let key = self.state.sockets.take_session(&mut parcel, at);
        onward::answered(&mut self.state, key, answer, rest);
        self.check();
        key
    }

    fn comes_by_link(&mut self, session: SessionKey, kind: Kind) {
        if let Some(http) = self.state.sockets.http(session) {
            http.one_call = kind != Kind::Upgrade; // a call closes its stream after the response
        }
    }

    fn joins_link(&mut self, parcel: &Self::Parcel, to: (u32, NodeId), at: Moment) -> bool {
        self.state.cx.at = at;
        let enters = onward::enters(&mut self.state, parcel, to);
        self.work_off();
        self.check();
        enters
    }

    fn link_died(&mut self, places: &[u32], now: Now) {
        self.state.sockets.leads.lose(places, now);
    }

    fn left_link(&mut self, place: u32) {
        self.state.sockets.admitted.leave(Member::OnLink(place));
        self.state.sockets.leads.leave(place);
    }

    fn turned_away(&mut self, remote: SocketAddr, why: TurnedAway, at: Moment) -> String {
        self.state.cx.at = at;
        connect::turned_away(&mut self.state.cx, remote, why, None)
    }

    fn handshake_failed(
        &mut self,
        session: SessionKey,
        why: TurnedAway,
        offer: Option<&str>,
        at: Moment,
    ) {
        self.state.cx.at = at;
        if let Some(session) = self.state.sockets.session(session) {
            let remote = session.remote();
            connect::turned_away(&mut self.state.cx, remote, why, offer);
        }
    }

    fn showed(&mut self, session: SessionKey, shown: Shown, now: Now) {
        self.state.sockets.showed(session, shown, now);
    }

    fn has_room(&self) -> bool {
        self.state.sockets.has_room()
    }

    fn handle(&mut self, input: Input<'_, Letter>, at: Moment) {
        self.state.cx.at = at;
        let State { sockets, cx, .. } = &mut self.state;
        match input {
            Input::Secured { session } => sockets.secured(session, at),
            Input::Received { session, bytes } => {
                if !self.receive_frames(session, bytes) {
                    match self.state.sockets.session(session).map(|it| &it.state) {
                        Some(SessionState::Http(_)) => self.receive_requests(session, bytes),
                        Some(SessionState::AwaitCloseEcho(..)) => {
                            road::receive_close_echo(&mut self.state, session, bytes);
                        }
                        Some(SessionState::Open(_) | SessionState::AwaitGone(_)) | None => {}
                    }
                }
            }
            Input::Sent {
                session,
                bytes,
                on_wire,
            } => sockets.sent(cx, session, (bytes, on_wire)),
            Input::Unacknowledged {
                session,
                bytes,
                round_trip_ms,
            } => confirmation::unacknowledged(&mut self.state, session, bytes, round_trip_ms),
            Input::Ended { session } => sockets.peer_ended(cx, session),
            Input::Gone {
                session,
                unacknowledged,
            } => sockets.gone(cx, session, unacknowledged),
            Input::Letter(letter) => self.take_in(letter),
            Input::Refused(letter) => sockets.refused(cx, letter),
            Input::Tick => self.tick(),
        }
        self.work_off();
        self.look_at_drain();
        self.check();
    }

    fn poll_output(&mut self) -> Option<Output<Letter>> {
        self.state.sockets.next_output()
    }

    fn deadline(&self) -> Option<Now> {
        let drain = self.state.sockets.ends.drain.as_ref().and_then(Drain::next);
        let waiting = !self.state.sockets.turns.waiting.is_empty()
            || self.state.sockets.ends.closings.has_more()
            || self.state.directory.lists.due();
        let waiting = waiting.then_some(Now(0));
        let interposer = self.state.interposer.as_deref();
        let faults = interposer.and_then(|it| it.faults.held.next());
        let slots = self.state.directory.slots.as_deref();
        let slots = slots.and_then(|slots| slots.next_due(self.state.sockets.places()));
        let leads = self.state.sockets.leads.next_due();
        // Compares plain times rather than `Option`s, since this code runs on every turn of the event loop.
        let mut due = self.state.sockets.next_deadline().unwrap_or(NEVER);
        let mut also = |other: Option<Now>| due = due.min(other.unwrap_or(NEVER));
        also(drain);
        also(waiting);
        also(faults);
        also(slots);
        also(leads);
        also(self.state.sockets.unconfirmed.next_due());
        also(self.state.cx.telemetry.next_due());
        also(self.state.gate.next_walk());
        also(self.state.directory.rewatch_due());
        also(self.state.directory.news.next_due());
        Some(due).filter(|due| *due != NEVER)
    }

    fn leap(&mut self, until: Now) {
        self.state.sockets.leap(until);
    }

    fn peer_is_done(&self, session: SessionKey) -> bool {
        let session = self.state.sockets.session(session);
        session.is_some_and(Session::peer_is_done)
    }

    fn is_unconfirmed(&self, key: SessionKey) -> bool {
        let session = self.state.sockets.session(key);
        let is_unread = self.state.sockets.unconfirmed.unread_of(key) > 0;
        is_unread || session.is_some_and(|session| !session.outbox.is_empty())
    }

    fn intake(&self, session: SessionKey) -> Intake {
        self.state.sockets.intake_of(session)
    }

    #[inline]
    fn unsent(&self, session: SessionKey) -> &[u8] {
        let session = self.state.sockets.session(session);
        session.map(Session::unsent).unwrap_or_default()
    }

    #[inline]
    fn unsent_record(&self, session: SessionKey) -> &[u8] {
        let session = self.state.sockets.session(session);
        session.map(Session::unsent_record).unwrap_or_default()
    }

    fn launched(&mut self, session: SessionKey, bytes: usize) -> bool {
        let (sockets, directory, ..) = self.state.parts();
        sockets.launched(session, bytes);
        let channel = sockets.session(session).and_then(Session::channel);
        let channel = channel.and_then(|channel| directory.channel(channel));
        let account = channel.map(|channel| Account::of(&channel.record.arn));
        sockets.begin_behind(session, account);
        sockets.web_socket(session).is_some()
    }

    fn refusable(letter: &Letter) -> bool {
        letter.is_refusable()
    }

    fn snapshot(&self) -> Snapshot {
        Snapshot {
            connections: self.state.sockets.connections(),
            channels: self.state.directory.len() as u64,
            deleting: self.state.directory.changes.deleting,
            record_bytes: self.state.directory.record_bytes(),
            timers: self.state.sockets.timers() as u64,
            records_read: self.state.directory.pages.records,
            call_places: self.state.directory.waits.places() as u64,
            waiting_devices: self.state.directory.polls.len() as u64,
            doubtful: self.state.sockets.unconfirmed.doubtful as u64,
            parked: self.state.sockets.requests.without_owner.len() as u64,
            request_bytes: self.state.sockets.requests.held.bytes as u64,
            requests_refused: self.state.sockets.requests.held.refused,
            recorded_since_us: trace::since(&self.state.cx.telemetry.recorder),
            slow_setups: self.state.cx.telemetry.slow_setups(),
            accounts: self.state.gate.credentials().map_or_else(
                UsageTable::default,
                |credentials| {
                    usage_gauges(&self.state, credentials.accounts().map(Account::of_digits))
                },
            ),
            counters: Counters {
                hashed_bytes: self.state.gate.hashed_bytes(),
                unconfirmed_bytes: self.state.sockets.unconfirmed.bytes as u64,
                ..self.state.cx.telemetry.counters()
            },
        }
    }

    fn inspect(&mut self, question: Question, at: Moment) -> Reply {
        self.state.cx.at = at;
        let reply = self.answer_operator(question);
        // When a channel ends, its pending calls are answered. Start the requests that were queued behind those calls.
        self.work_off();
        self.check();
        reply
    }

    fn work(&self) -> u64 {
        self.work_done()
    }

    fn stood_still(&mut self, since: Now, at: Moment) {
        self.state.cx.at = at;
        self.state.sockets.stood_still(since, at.now);
    }

    #[inline]
    fn may_begin_web_socket(bytes: &[u8]) -> bool {
        bytes.starts_with(b"GET ")
    }

    fn ends_behind(&mut self, session: SessionKey) {
        if let Some(http) = self.state.sockets.http(session) {
            http.ends_behind = true;
        }
    }

    fn flushed(&mut self, at: Moment) {
        self.state.cx.at = at;
        self.state.cx.telemetry.flushed(at);
    }
}

impl std::fmt::Debug for Shard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shard")
            .field("id", &self.state.sockets.shard())
            .field("snapshot", &self.snapshot())
            .finish_non_exhaustive()
    }
}

const _: () = assert!(NEVER.0 == u64::MAX);

// Invariants of the whole state, checked in debug builds.

impl Shard {
    /// Checks the invariants of the whole state after an input, once all deferred work is done. With many sessions, it
    /// checks the session table less often, so that the cost per input stays constant.
    #[inline]
    pub(crate) fn check(&mut self) {
        if !cfg!(debug_assertions) {
            return;
        }
        self.state.cx.telemetry.invariants();
        self.state.directory.invariants();
        self.state.gate.invariants();
        self.state.directory.polls.invariants();
        let polls = self.state.directory.polls.sessions();
        for session in polls.take(PLACES_CHECKED_PER_INPUT) {
            let session = self.state.sockets.session(session);
            let waits = session.is_some_and(Session::awaits_wake);
            assert!(waits, "a device has an answer and waits");
        }
        self.inputs += 1;
        let places = self.state.sockets.places();
        let between = places.div_ceil(PLACES_CHECKED_PER_INPUT).max(1);
        if self.inputs.is_multiple_of(between) {
            self.state.sockets.invariants();
        }
    }
}

/// Average number of session table entries that a debug build checks after each input.
const PLACES_CHECKED_PER_INPUT: usize = 128;
