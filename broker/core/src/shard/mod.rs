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
mod books;
mod calls;
mod census;
mod changes;
mod deadlines;
mod directory;
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
mod sockets;
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

use crate::auth::Caller;
use crate::channel::Life;
use crate::event::Counters;
use crate::id::SessionKey;
use crate::machine::{Input, Intake, Machine, Output, Peer};
use crate::session::{Http, Load, NEVER, Session, State, WebSocket};
use crate::time::{Moment, Now};
use ahash::RandomState;
use books::Books;
use directory::Directory;
use gate::Gate;
use sockets::Sockets;

/// One shard: four parts, each with its own promise. What a step may change stands in its signature; only this file has all of
/// them at hand.
pub struct Shard {
    sockets: Sockets,
    directory: Directory,
    books: Books,
    gate: Gate,
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
        let hasher = RandomState::with_seeds(a, b, c, d);
        let random = fastrand::Rng::with_seed(a ^ c.rotate_left(17));
        let sockets = Sockets::new(settings.clone(), id, placement);
        let gate = Gate {
            authenticator,
            anyone: Caller::anyone(&settings.account_id),
            head: sockets.rules.head,
            session_keys,
            nonces,
        };
        let mut shard = Self {
            sockets,
            directory: Directory::new(settings, hasher, store, newest, waiting_calls),
            books: Books::new(journal, random),
            gate,
        };
        for record in records {
            shard.insert_channel(record, Life::Active);
        }
        shard
    }

    fn output(&mut self, output: Output<Letter>) {
        self.sockets.outputs.push_back(output);
    }

    /// A session's HTTP state, while it speaks HTTP.
    fn http(&mut self, key: SessionKey) -> Option<&mut Http> {
        self.sockets
            .sessions
            .get_mut(key)
            .and_then(Session::http_mut)
    }

    /// A session's open WebSocket, while it is one.
    fn web_socket(&mut self, key: SessionKey) -> Option<&mut WebSocket> {
        self.sockets
            .sessions
            .get_mut(key)
            .and_then(Session::open_mut)
    }

    /// Notes that a session has bytes to send.
    fn touch(&mut self, key: SessionKey) {
        let Some(session) = self.sockets.sessions.get_mut(key) else {
            return;
        };
        if !session.dirty && !session.outbox.unsent().is_empty() {
            session.dirty = true;
            self.sockets.outputs.push_back(Output::Send(key));
        }
    }

    /// Appends control bytes (a response, a pong, a status) to a session's outbox.
    fn push(&mut self, key: SessionKey, write: impl FnOnce(&mut Vec<u8>)) {
        let Some(session) = self.sockets.sessions.get_mut(key) else {
            return;
        };
        self.books.counters.control_bytes +=
            session.outbox.push(&mut self.sockets.scratch.spares, write) as u64;
        self.weigh(key);
        self.touch(key);
    }

    /// This many bytes wait no longer in an outbox.
    fn unload(&mut self, load: Load) {
        let counters = &mut self.books.counters;
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
        self.sockets.sessions.has_room()
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
        self.sockets.outputs.pop_front()
    }

    fn deadline(&self) -> Option<Now> {
        let drain = self
            .sockets
            .ends
            .drain
            .as_ref()
            .and_then(drain::Drain::next);
        let waiting = (self.sockets.turns.due() || self.directory.pages.due()).then_some(Now(0));
        let others = drain.into_iter().chain(waiting);
        self.sockets.wheel.next().into_iter().chain(others).min()
    }

    fn intake(&self, session: SessionKey) -> Intake {
        self.intake_of(session)
    }

    fn unsent(&self, session: SessionKey) -> &[u8] {
        self.sockets
            .sessions
            .get(session)
            .map(|session| session.outbox.unsent())
            .unwrap_or_default()
    }

    fn launched(&mut self, session: SessionKey, bytes: usize) {
        let Some(found) = self.sockets.sessions.get_mut(session) else {
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
            connections: self.sockets.census.places,
            channels: self.directory.channels.len() as u64,
            deleting: self.directory.changes.deleting,
            timers: self.sockets.wheel.len() as u64,
            records_read: self.directory.pages.records_read,
            call_places: self.directory.waits.places() as u64,
            request_bytes: self.sockets.held.bytes as u64,
            requests_refused: self.sockets.held.refused,
            counters: Counters {
                log_suppressed: self.books.diary.suppressed(),
                audit_refused: self.books.diary.unauditable(),
                ..self.books.counters.clone()
            },
        }
    }

    fn inspect(&mut self, question: Question, at: Moment) -> Reply {
        self.answer_operator(question, at)
    }

    fn work(&self) -> u64 {
        self.books.frames
    }

    fn flushed(&mut self, at: Moment) {
        self.books
            .delivery_times
            .land_all(at, &mut self.books.counters.delivery);
    }
}

impl Shard {
    fn received(&mut self, key: SessionKey, bytes: &mut [u8], at: Moment) {
        match self.sockets.sessions.get(key).map(|session| &session.state) {
            Some(State::Http(_)) => self.receive_requests(key, bytes, at),
            Some(State::Open(_)) => self.receive_frames(key, bytes, at),
            Some(State::AwaitCloseEcho(..)) => self.receive_close_echo(key, bytes, at),
            Some(State::AwaitGone(_)) | None => {}
        }
    }

    /// Requests that waited behind a call which was answered, or for their peer to take answers, begin.
    fn go_on(&mut self, at: Moment) {
        while let Some(session) = self.sockets.turns.answered.pop_front() {
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
            Letter::Over(caller) => self.directory.waits.free(caller),
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
