//! One core's state: sessions, channels, deadlines, counters. The only module that sees all of them.
//!
//! The road of a message, from top to bottom:
//! ```text
//!  handle(Received)                     this file
//!    ├─ requests   HTTP: heads and bodies → calls and upgrades; turns: how many of them now
//!    │    ├─ calls       a call → a question to the channel's home; answers: its answer as an HTTP response
//!    │    ├─ home        the questions, answered where the channel lives; changes: durable before they are made
//!    │    └─ admission   an upgrade → here or handed over → 101
//!    └─ frames     WebSocket: bytes → frames → messages
//!         └─ relay       message → route → the recipient's outbox, or kept, or refused
//!  leave      a connection goes: its slot, and what it had not sent
//!  timers     what is due;  drain: the end of the process
//! ```
//! Absent here: sockets, TLS, the clock, randomness but from a seed, other shards' state. Same inputs, same outputs.

mod accounts;
mod admission;
mod alexa;
mod answers;
mod backlog;
mod calls;
mod census;
mod changes;
mod deadlines;
mod drain;
mod flights;
mod frames;
mod gate;
mod home;
mod inspect;
mod kept;
mod leave;
mod letter;
mod origins;
mod pages;
mod permits;
mod relay;
mod request_bytes;
mod requests;
mod respond;
mod shares;
mod snapshot;
mod start;
mod sts;
mod tables;
mod timers;
mod turns;
mod waits;

pub use inspect::{ChannelLine, ChannelView, PeerView, PendingView, Question, Reply};
pub use letter::{Alteration, Ask, Inquiry, Letter, Parcel, Told};
pub use snapshot::Snapshot;
pub use start::Start;

use crate::auth::{Authenticator, Caller, Nonces, SessionKeys};
use crate::channel::{Channel, Life};
use crate::crowd::Origin;
use crate::event::{Counters, PLACES};
use crate::id::{ChannelKey, Identity, SessionKey, ShardId};
use crate::journal::Diary;
use crate::limits::{CHANNELS_PER_SHARD_MAX, spare_outboxes};
use crate::machine::{Input, Intake, Machine, Output, Peer};
use crate::placement::Placement;
use crate::quota::Bucket;
use crate::registry::Store;
use crate::session::{Http, Load, NEVER, Session, Spares, State, WebSocket};
use crate::settings::Settings;
use crate::time::{Moment, Now, Wall};
use ahash::RandomState;
use codec::control::Operation;
use deadlines::Wheel;
use flights::Flights;
use start::Rules;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use tables::Table;
use timers::Timer;
use waits::Waits;

/// One shard.
pub struct Shard {
    settings: Arc<Settings>,
    rules: Rules,
    id: ShardId,
    placement: Placement,
    hasher: RandomState,
    random: fastrand::Rng,
    store: Box<dyn Store>,
    diary: Diary,
    authenticator: Option<Authenticator>,
    /// The caller where no signature is checked.
    anyone: Caller,
    session_keys: Arc<SessionKeys>,
    nonces: Nonces,
    /// What was used up of the rates of accounts: as many as there are accounts and operations.
    account_rates: HashMap<(Identity, Operation), Bucket, RandomState>,
    sessions: Table<SessionKey, Session>,
    channels: Table<ChannelKey, Channel>,
    names: BTreeMap<Identity, ChannelKey>,
    /// How many channels each account has in each region: by `region:account:`.
    tenants: BTreeMap<Box<str>, u64>,
    /// Channel records that pages have looked at.
    records_read: u64,
    page_turn: pages::PageTurn,
    /// Changes that the store has not reported: at most one for each channel.
    changes: HashMap<ChannelKey, changes::Changing, RandomState>,
    outputs: VecDeque<Output<Letter>>,
    wheel: Wheel<Timer>,
    spares: Spares,
    /// Lent out while bytes of a WebSocket are taken in; boxed, since it moves each time.
    parser: Option<Box<codec::signal::Parser>>,
    counters: Counters,
    /// Who does not take what waits for them.
    backlog: backlog::Backlog,
    /// Frames taken in since the start.
    frames: u64,
    /// Who holds how much of what is kept for absent peers.
    kept: shares::Shares,
    /// Channels whose deletion is not durable yet.
    deleting: u64,
    /// Names of channels that are gone before their connections, which the log tells at the end of each; and how many.
    former: BTreeMap<ChannelKey, (Box<str>, u32)>,
    /// Messages delivered in this turn, not measured yet.
    flights: Flights,
    connections: [u64; PLACES],
    /// When the youngest channel was made: a name made again at once is another channel all the same.
    last_created: Wall,
    /// Connections that were admitted as WebSockets and are not gone.
    web_sockets: usize,
    /// Questions under way to each other shard.
    asking: Vec<usize>,
    /// Connections here whose Alexa call waits on another shard.
    offers_out: usize,
    /// Alexa calls that wait here.
    waits: Waits,
    drain: Option<drain::Drain>,
    /// Where in the spread of their ends the last connection is that is closed without notice: a fraction of 2³².
    spread: u32,
    /// When the last connection that an operator recalled is closed: the next one follows at a distance.
    recalled: Now,
    /// Connections whose call was answered, or whose answers were taken: the request behind is next. Empty between two inputs.
    answered: VecDeque<SessionKey>,
    turns: turns::Turns,
    /// What HTTP connections hold by the address they come from, and its sum.
    requests_held: shares::Shares<Origin, SessionKey>,
    request_bytes: usize,
    /// The same by connection: only those that hold more than each may.
    request_charges: BTreeMap<SessionKey, usize>,
    /// Connections that had to make room for others' requests.
    requests_refused: u64,
}

impl Shard {
    /// A shard with the channels of an earlier life. Those that do not fit are left out, which the configuration rules out.
    #[must_use]
    pub fn new(start: Start) -> Self {
        let Start {
            settings,
            id,
            placement,
            seeds: [a, b, c, d],
            records,
            newest,
            store,
            journal,
            authenticator,
            session_keys,
            nonces,
            waiting_calls,
        } = start;
        let rules = Rules::of(&settings);
        let hasher = RandomState::with_seeds(a, b, c, d);
        let mut shard = Self {
            rules,
            id,
            asking: vec![0; usize::from(placement.shards())],
            placement,
            changes: HashMap::with_hasher(hasher.clone()),
            account_rates: HashMap::with_hasher(hasher.clone()),
            waits: Waits::new(waiting_calls, hasher.clone()),
            hasher,
            random: fastrand::Rng::with_seed(a ^ c.rotate_left(17)),
            store,
            diary: Diary::new(journal),
            authenticator,
            anyone: Caller::anyone(&settings.account_id),
            session_keys,
            nonces,
            sessions: Table::new(settings.connections_per_shard()),
            channels: Table::new(CHANNELS_PER_SHARD_MAX),
            names: BTreeMap::new(),
            tenants: BTreeMap::new(),
            records_read: 0,
            page_turn: pages::PageTurn::default(),
            outputs: VecDeque::new(),
            wheel: Wheel::default(),
            spares: Spares::of(spare_outboxes(settings.shards)),
            parser: None,
            counters: Counters::default(),
            backlog: backlog::Backlog::default(),
            frames: 0,
            kept: shares::Shares::default(),
            deleting: 0,
            former: BTreeMap::new(),
            flights: Flights::default(),
            connections: [0; PLACES],
            last_created: newest,
            web_sockets: 0,
            offers_out: 0,
            drain: None,
            spread: 0,
            recalled: Now(0),
            answered: VecDeque::new(),
            turns: turns::Turns::default(),
            requests_held: shares::Shares::default(),
            request_bytes: 0,
            request_charges: BTreeMap::new(),
            requests_refused: 0,
            settings,
        };
        for record in records {
            shard.insert_channel(record, Life::Active);
        }
        shard
    }

    fn output(&mut self, output: Output<Letter>) {
        self.outputs.push_back(output);
    }

    /// A session's HTTP state, while it speaks HTTP.
    fn http(&mut self, key: SessionKey) -> Option<&mut Http> {
        self.sessions.get_mut(key).and_then(Session::http_mut)
    }

    /// A session's open WebSocket, while it is one.
    fn web_socket(&mut self, key: SessionKey) -> Option<&mut WebSocket> {
        self.sessions.get_mut(key).and_then(Session::open_mut)
    }

    /// Notes that a session has bytes to send.
    fn touch(&mut self, key: SessionKey) {
        let Some(session) = self.sessions.get_mut(key) else {
            return;
        };
        if !session.dirty && !session.outbox.unsent().is_empty() {
            session.dirty = true;
            self.outputs.push_back(Output::Send(key));
        }
    }

    /// Appends control bytes (a response, a pong, a status) to a session's outbox.
    fn push(&mut self, key: SessionKey, write: impl FnOnce(&mut Vec<u8>)) {
        let Some(session) = self.sessions.get_mut(key) else {
            return;
        };
        self.counters.control_bytes += session.outbox.push(&mut self.spares, write) as u64;
        self.weigh(key);
        self.touch(key);
    }

    /// This many bytes wait no longer in an outbox.
    fn unload(&mut self, load: Load) {
        let counters = &mut self.counters;
        counters.outbox_bytes = counters.outbox_bytes.saturating_sub(load.messages as u64);
        counters.control_bytes = counters.control_bytes.saturating_sub(load.control as u64);
    }
}

impl Machine for Shard {
    type Letter = Letter;
    type Parcel = Box<Parcel>;
    type Snapshot = Snapshot;
    type Question = Question;
    type Reply = Reply;

    fn open(&mut self, peer: Peer, at: Moment) -> Option<SessionKey> {
        self.open_session(peer, false, at)
    }

    fn open_instead(&mut self, peer: Peer, at: Moment) -> Option<SessionKey> {
        self.open_session(peer, true, at)
    }

    fn release(&mut self, session: SessionKey) -> Self::Parcel {
        self.release_parcel(session)
    }

    fn adopt(&mut self, parcel: Self::Parcel, at: Moment) -> SessionKey {
        let session = self.adopt_parcel(*parcel, at);
        self.go_on(at);
        session
    }

    fn bounce(&mut self, parcel: Self::Parcel, at: Moment) -> SessionKey {
        self.bounce_parcel(*parcel, at)
    }

    fn has_room(&self) -> bool {
        self.sessions.has_room()
    }

    fn handle(&mut self, input: Input<'_, Letter>, at: Moment) {
        match input {
            Input::Secured { session } => self.secured(session, at),
            Input::Received { session, bytes } => self.received(session, bytes, at),
            Input::Sent { session, bytes } => self.sent(session, bytes, at),
            Input::Ended { session } => self.peer_ended(session, at),
            Input::Gone { session } => self.gone(session, at),
            Input::Letter(letter) => self.take_in(letter, at),
            Input::Refused(letter) => self.refused(letter, at),
            Input::Tick => self.tick(at),
        }
        self.go_on(at);
        self.look_at_drain(at);
    }

    fn poll_output(&mut self) -> Option<Output<Letter>> {
        self.outputs.pop_front()
    }

    fn deadline(&self) -> Option<Now> {
        let drain = self.drain.as_ref().and_then(drain::Drain::next);
        let waiting = (self.turns.due() || self.page_turn.due()).then_some(Now(0));
        let others = drain.into_iter().chain(waiting);
        self.wheel.next().into_iter().chain(others).min()
    }

    fn intake(&self, session: SessionKey) -> Intake {
        self.intake_of(session)
    }

    fn unsent(&self, session: SessionKey) -> &[u8] {
        self.sessions
            .get(session)
            .map(|session| session.outbox.unsent())
            .unwrap_or_default()
    }

    fn launched(&mut self, session: SessionKey, bytes: usize) {
        let Some(found) = self.sessions.get_mut(session) else {
            return;
        };
        found.outbox.launched(bytes);
        found.dirty = false;
        if let State::Http(http) = &found.state {
            // Its socket had no room: from here on it is watched.
            let due = http.answer_due;
            self.arm(session, due);
            self.charge(session);
        }
        self.falls_behind(session);
    }

    fn refusable(letter: &Letter) -> bool {
        match letter {
            Letter::Ask(..) => true,
            Letter::Tell(..)
            | Letter::Taken(..)
            | Letter::Answer(..)
            | Letter::Withdraw(_)
            | Letter::Over(_)
            | Letter::Committed(..)
            | Letter::Credentials(_)
            | Letter::Drain(_) => false,
        }
    }

    fn snapshot(&self) -> Snapshot {
        Snapshot {
            connections: self.connections,
            channels: self.channels.len() as u64,
            deleting: self.deleting,
            timers: self.wheel.len() as u64,
            records_read: self.records_read,
            call_places: self.waits.places() as u64,
            request_bytes: self.request_bytes as u64,
            requests_refused: self.requests_refused,
            counters: Counters {
                log_suppressed: self.diary.suppressed(),
                audit_refused: self.diary.unauditable(),
                ..self.counters.clone()
            },
        }
    }

    fn inspect(&mut self, question: Question, at: Moment) -> Reply {
        self.answer_operator(question, at)
    }

    fn work(&self) -> u64 {
        self.frames
    }

    fn flushed(&mut self, at: Moment) {
        self.flights.land_all(at, &mut self.counters.delivery);
    }
}

impl Shard {
    fn received(&mut self, key: SessionKey, bytes: &mut [u8], at: Moment) {
        match self.sessions.get(key).map(|session| &session.state) {
            Some(State::Http(_)) => self.receive_requests(key, bytes, at),
            Some(State::Open(_)) => self.receive_frames(key, bytes, at),
            Some(State::AwaitCloseEcho(..)) => self.receive_close_echo(key, bytes, at),
            Some(State::AwaitGone(_)) | None => {}
        }
    }

    /// Requests that waited behind a call which was answered, or for their peer to take answers, begin.
    fn go_on(&mut self, at: Moment) {
        while let Some(session) = self.answered.pop_front() {
            self.receive_requests(session, &mut [], at);
        }
    }

    fn take_in(&mut self, letter: Letter, at: Moment) {
        match letter {
            Letter::Ask(caller, ask) => self.answer(caller, *ask, at),
            Letter::Tell(from, caller, told) => {
                self.heard_from(from);
                self.told(caller, *told, at);
            }
            Letter::Taken(from, caller) => {
                self.heard_from(from);
                self.offer_taken(from, caller);
            }
            Letter::Answer(from, caller, told) => self.offer_answered(from, caller, *told, at),
            Letter::Withdraw(caller) => self.withdraw_offer(caller, at),
            Letter::Over(caller) => self.waits.free(caller),
            Letter::Committed(key, result) => self.committed(key, result, at),
            Letter::Credentials(credentials) => self.replace_credentials(credentials),
            Letter::Drain(within_ms) => self.begin_drain(within_ms, at),
        }
    }

    /// A question found no room in its mailbox: its caller gets an error.
    fn refused(&mut self, letter: Letter, at: Moment) {
        if let Letter::Ask(caller, inquiry) = letter {
            self.heard_from(self.home_of(&inquiry.ask));
            self.told(caller, calls::too_busy(), at);
        }
    }
}

const _: () = assert!(NEVER.0 == u64::MAX);
