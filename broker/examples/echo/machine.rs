//! The echo machine: the smallest whole user of the edge's seam. Any path upgrades; text and binary come back as they
//! were.
//!
//! With several shards every second connection goes over to the next shard when its head is complete, so that handover
//! is exercised by every test.

use super::session::{Phase, Session, Step};
use broker_core::id::{SessionKey, ShardId};
use broker_core::machine::{Input, Intake, Machine, Output, Peer};
use broker_core::time::{Moment, Now};
use std::collections::VecDeque;

/// One shard's echo sessions.
pub(crate) struct Echo {
    id: ShardId,
    shards: u16,
    sessions: Vec<Slot>,
    free: Vec<u32>,
    outputs: VecDeque<Output<Letter>>,
    /// When a session's patience is over, in the order of time: head and close have the same one.
    deadlines: VecDeque<(Now, SessionKey, Phase)>,
    counts: Counts,
}

/// Letters between shards beside connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Letter {
    /// Say that you are drained.
    Drain,
}

/// The counters of a machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Sessions open.
    pub(crate) open: u64,
    /// Upgrades answered.
    pub(crate) upgraded: u64,
    /// Messages echoed.
    pub(crate) messages: u64,
    /// Bytes of those.
    pub(crate) bytes: u64,
    /// Sessions taken back because the other shard had no room.
    pub(crate) bounced: u64,
}

struct Slot {
    generation: u32,
    session: Option<Session>,
}

impl Echo {
    /// A machine for the shard `id` of `shards`.
    pub(crate) fn new(id: ShardId, shards: u16) -> Self {
        Self {
            id,
            shards,
            sessions: Vec::new(),
            free: Vec::new(),
            outputs: VecDeque::new(),
            deadlines: VecDeque::new(),
            counts: Counts::default(),
        }
    }

    fn insert(&mut self, session: Session) -> SessionKey {
        self.counts.open += 1;
        let slot = self.free.pop().unwrap_or_else(|| {
            self.sessions.push(Slot {
                generation: 0,
                session: None,
            });
            u32::try_from(self.sessions.len() - 1).expect("bounded by SESSIONS_MAX")
        });
        let place = &mut self.sessions[slot as usize];
        place.session = Some(session);
        SessionKey::new(slot, place.generation)
    }

    fn remove(&mut self, key: SessionKey) -> Session {
        let place = &mut self.sessions[key.slot()];
        assert_eq!(
            place.generation,
            key.generation(),
            "a key outlived its session"
        );
        place.generation = (place.generation + 1) & 0x00ff_ffff;
        self.free
            .push(u32::try_from(key.slot()).expect("a slot has 24 bits"));
        self.counts.open -= 1;
        place
            .session
            .take()
            .expect("the edge knows only sessions that exist")
    }

    fn find(&mut self, key: SessionKey) -> Option<&mut Session> {
        let place = self.sessions.get_mut(key.slot())?;
        if place.generation == key.generation() {
            place.session.as_mut()
        } else {
            None
        }
    }

    fn received(&mut self, key: SessionKey, bytes: &mut [u8], at: Moment) {
        let next = ShardId((self.id.0 + 1) % self.shards);
        let odd = self.shards > 1 && self.counts.upgraded % 2 == 1;
        let Some(session) = self.find(key) else {
            return;
        };
        match session.phase {
            Phase::AwaitHead => match session.head(bytes, at, odd) {
                Step::More => {}
                Step::Away => {
                    self.counts.upgraded += 1;
                    self.outputs.push_back(Output::HandOver(key, next));
                }
                Step::Upgraded => {
                    self.counts.upgraded += 1;
                    self.frames(key, at);
                }
                Step::Over => self.close(key, at),
            },
            Phase::Open => self.echo(key, bytes, at),
            Phase::Leaving | Phase::Closing => {}
        }
    }

    /// Frames that came in the same piece as the head.
    fn frames(&mut self, key: SessionKey, at: Moment) {
        let Some(session) = self.find(key) else {
            return;
        };
        // Not appended: the answer would keep its buffer for as long as the session lives.
        session.outbox.bytes = std::mem::take(&mut session.answer);
        let mut kept = std::mem::take(&mut session.kept);
        self.echo(key, &mut kept, at);
    }

    fn echo(&mut self, key: SessionKey, bytes: &mut [u8], at: Moment) {
        let Some(session) = self.find(key) else {
            return;
        };
        let (mut messages, mut payload_bytes) = (0, 0);
        let over = session.echo(bytes, |payload| {
            (messages, payload_bytes) = (messages + 1, payload_bytes + payload)
        });
        self.counts.messages += messages;
        self.counts.bytes += payload_bytes as u64;
        if over {
            self.close(key, at)
        } else {
            self.announce(key)
        }
    }

    /// Says that there is something to send, once.
    fn announce(&mut self, key: SessionKey) {
        let Some(session) = self.find(key) else {
            return;
        };
        session.paused |= session.outbox.unsent().len() > OUTBOX_PAUSE;
        if !session.outbox.unsent().is_empty() && !std::mem::replace(&mut session.announced, true) {
            self.outputs.push_back(Output::Send(key));
        }
    }

    fn close(&mut self, key: SessionKey, at: Moment) {
        let Some(session) = self.find(key) else {
            return;
        };
        if session.phase == Phase::Closing {
            return;
        }
        session.phase = Phase::Closing;
        self.announce(key);
        self.outputs.push_back(Output::Close(key));
        self.deadlines
            .push_back((at.now.after(PATIENCE_MS), key, Phase::Closing));
    }

    fn tick(&mut self, now: Now) {
        while let Some(&(due, key, phase)) = self.deadlines.front() {
            if due > now {
                return;
            }
            self.deadlines.pop_front();
            if self.find(key).is_some_and(|session| session.phase == phase) {
                self.outputs.push_back(Output::Abort(key));
            }
        }
    }
}

impl Machine for Echo {
    type Letter = Letter;
    type Parcel = Session;
    type Snapshot = Counts;
    type Question = ();
    type Reply = ();

    fn open(&mut self, _peer: Peer, at: Moment) -> Option<SessionKey> {
        if !self.has_room() {
            return None;
        }
        let key = self.insert(Session::new());
        self.deadlines
            .push_back((at.now.after(PATIENCE_MS), key, Phase::AwaitHead));
        Some(key)
    }

    fn release(&mut self, key: SessionKey) -> Session {
        self.remove(key)
    }

    fn adopt(&mut self, mut session: Session, at: Moment) -> SessionKey {
        session.phase = Phase::Open;
        let key = self.insert(session);
        self.frames(key, at);
        key
    }

    fn bounce(&mut self, mut session: Session, at: Moment) -> SessionKey {
        session.refuse(503, at);
        self.counts.bounced += 1;
        let key = self.insert(session);
        self.close(key, at);
        key
    }

    fn has_room(&self) -> bool {
        self.counts.open < SESSIONS_MAX
    }

    fn handle(&mut self, input: Input<'_, Letter>, at: Moment) {
        match input {
            Input::Secured { .. } | Input::Unacknowledged { .. } => {}
            Input::Received { session, bytes } => self.received(session, bytes, at),
            Input::Sent {
                session: key,
                bytes,
                ..
            } => {
                let Some(session) = self.find(key) else {
                    return;
                };
                session.outbox.sent(bytes);
                session.announced &= !session.outbox.unsent().is_empty();
                if session.paused && session.outbox.unsent().len() < OUTBOX_RESUME {
                    session.paused = false;
                    // Any output makes the edge ask again how to read.
                    self.outputs.push_back(Output::Send(key));
                }
            }
            Input::Ended { session } => self.close(session, at),
            Input::Gone { session, .. } => drop(self.remove(session)),
            Input::Letter(Letter::Drain) => self.outputs.push_back(Output::Drained),
            Input::Refused(Letter::Drain) => {}
            Input::Tick => self.tick(at.now),
        }
    }

    fn poll_output(&mut self) -> Option<Output<Letter>> {
        self.outputs.pop_front()
    }

    fn deadline(&self) -> Option<Now> {
        self.deadlines.front().map(|(due, ..)| *due)
    }

    fn intake(&self, key: SessionKey) -> Intake {
        let session = self
            .sessions
            .get(key.slot())
            .and_then(|place| place.session.as_ref());
        match session {
            None => Intake::Paused,
            Some(session) if session.paused => Intake::Paused,
            Some(session) if session.phase == Phase::AwaitHead => Intake::Once,
            Some(_) => Intake::Many,
        }
    }

    fn unsent(&self, key: SessionKey) -> &[u8] {
        let place = self
            .sessions
            .get(key.slot())
            .filter(|place| place.generation == key.generation());
        place
            .and_then(|place| place.session.as_ref())
            .map_or(&[], |session| session.outbox.unsent())
    }

    fn peer_is_done(&self, key: SessionKey) -> bool {
        let place = self
            .sessions
            .get(key.slot())
            .filter(|place| place.generation == key.generation());
        let session = place.and_then(|place| place.session.as_ref());
        session.is_some_and(|session| session.peer_closed)
    }

    fn launched(&mut self, key: SessionKey, bytes: usize) -> bool {
        if let Some(session) = self.find(key) {
            session.outbox.launched += bytes;
        }
        true
    }

    fn refusable(letter: &Letter) -> bool {
        match letter {
            Letter::Drain => false,
        }
    }

    fn inspect(&mut self, (): (), _at: Moment) {}

    fn snapshot(&self) -> Counts {
        self.counts
    }
}

const SESSIONS_MAX: u64 = 1 << 20;
/// A peer that does not read is not read from, beyond this many bytes of its echoes.
const OUTBOX_PAUSE: usize = 1 << 20;
const OUTBOX_RESUME: usize = 256 * 1024;
const PATIENCE_MS: u64 = 10_000;
