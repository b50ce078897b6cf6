//! The world around the machines: a clock, sockets, mailboxes. It plays the edge to the letter of
//! `broker/core/src/machine.rs`.
//!
//! Each operation drives the model first, then the machine, then has everything compared (`check`).

use crate::clients::account_of;
use crate::faults::Plan;
use crate::ledger::Ledger;
use crate::model::timers::GRAIN_MS;
use crate::model::{Caller, Conn, ConnId, Model, Question, Refusal, Told};
use crate::notes::Notes;
use crate::recorder::Traces;
use crate::scripts::Script;
use crate::socket::{Role, Socket, Stage};
use crate::store::{Given, SimStore, trouble};
use crate::words::Piece;
use broker_core::auth::SessionKeys;
use broker_core::check::Check;
use broker_core::id::{ChannelKey, Identity, SessionKey, ShardId};
use broker_core::journal::Entry;
use broker_core::machine::{Input, Intake, Machine, Peer};
use broker_core::placement::Placement;
use broker_core::refusal_id::RefusalReader;
use broker_core::shard::{Letter, Parcel, Shard, Start};
use broker_core::time::{Moment, Now, Wall};
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};

/// One world: shards, the connections between them and their clients, and what should be.
pub(crate) struct World {
    pub(crate) random: fastrand::Rng,
    pub(crate) plan: Plan,
    pub(crate) script: Script,
    /// From how many networks clients come: the log shares its lines out among them.
    pub(crate) networks: usize,
    pub(crate) shards: Vec<Shard>,
    pub(crate) journals: Vec<Receiver<Entry>>,
    /// Reads the request ids of refusals.
    pub(crate) reader: RefusalReader,
    pub(crate) stores: Vec<Receiver<Given>>,
    /// What each store has not reported, in order.
    pub(crate) changes: Vec<VecDeque<Change>>,
    pub(crate) mail: Vec<VecDeque<Post>>,
    pub(crate) sockets: Vec<Socket>,
    pub(crate) keys: Vec<BTreeMap<SessionKey, ConnId>>,
    pub(crate) callers: BTreeMap<(u16, u64, u32), Caller>,
    pub(crate) model: Model,
    pub(crate) ledger: Ledger,
    pub(crate) hits: BTreeMap<&'static str, u64>,
    pub(crate) step: u64,
    /// Shards whose tick of this moment is still to come.
    pub(crate) ticks_due: Vec<usize>,
    pub(crate) drained: Vec<bool>,
    /// What is compared next was an input.
    pub(crate) input: bool,
    pub(crate) traces: Traces,
    /// Each input is printed: for the replay of one seed.
    pub(crate) traced: bool,
}

/// A change that a store keeps later, or not.
#[derive(Clone)]
pub(crate) struct Change {
    pub(crate) key: ChannelKey,
    pub(crate) channel: usize,
    pub(crate) number: u64,
    pub(crate) kept: bool,
}

/// What lies in a mailbox.
pub(crate) enum Post {
    /// A letter, with what the model knows of it.
    Letter(Letter, Tag),
    /// A connection.
    Handover(Box<Parcel>, ConnId),
}

/// What the model knows of a letter.
pub(crate) enum Tag {
    Ask(Caller, Question),
    /// Of which home, like the two that follow.
    Tell(Caller, usize, Told),
    Taken(Caller, usize),
    Answer(Caller, usize, Told),
    Withdraw(Caller),
    Over(Caller),
    Drain(u64),
    /// Of this channel; whether it was kept.
    Committed(usize, bool),
}

/// Less than lies between the longest wait of an Alexa call and that of any call.
const PIECE_MS: u64 = 400 * GRAIN_MS;

impl World {
    /// The world of a seed.
    pub(crate) fn new(seed: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let plan = Plan::draw(&mut random);
        let (script, settings) = Script::draw(seed, &plan);
        let count = u16::try_from(plan.shards).expect("few");
        let placement = Placement::new([seed, 2, 3, 4], count);
        let verdicts = plan.verdicts(seed);
        let (waiting_calls, places) = (plan.waiting_calls, plan.audits);
        let keys = Arc::new(SessionKeys::new(&[7; 32], None));
        let reader = RefusalReader::new(&keys);
        let (mut journals, mut stores) = (Vec::new(), Vec::new());
        let seeds = |id: u16| [seed ^ u64::from(id), 5, 6, 7];
        let shards = (0..count).map(|id| {
            let (notes, journal) = channel();
            journals.push(journal);
            let (given, taken) = channel();
            stores.push(taken);
            let store = SimStore {
                shard: usize::from(id),
                verdicts,
                number: 0,
                given,
            };
            let start = Start {
                session_keys: Arc::clone(&keys),
                journal: Box::new(Notes { to: notes, places }),
                store: Box::new(store),
                waiting_calls,
                ..Start::bare(settings.clone(), ShardId(id), placement.clone(), seeds(id))
            };
            Shard::new(start)
        });
        let shards: Vec<Shard> = shards.collect();
        let accounts = plan.accounts;
        let home = move |name: &str| {
            let identity = Identity::new("us-west-2", &account_of(name, accounts), name);
            placement.shard(&identity).index()
        };
        let mut model = Model::new(
            settings,
            verdicts,
            (waiting_calls, places),
            shards.len(),
            home,
        );
        model.now = 640;
        model.wall = 1_750_000_000_000 + random.u64(0..1_000_000_000);
        Self {
            random,
            mail: shards.iter().map(|_| VecDeque::new()).collect(),
            keys: shards.iter().map(|_| BTreeMap::new()).collect(),
            drained: vec![false; shards.len()],
            shards,
            journals,
            reader,
            stores,
            changes: vec![VecDeque::new(); usize::from(count)],
            script,
            plan,
            networks: [1, 3, 61][usize::try_from(seed % 3).expect("small")],
            sockets: Vec::new(),
            callers: BTreeMap::new(),
            model,
            ledger: Ledger::default(),
            hits: BTreeMap::new(),
            step: 0,
            ticks_due: Vec::new(),
            input: false,
            traces: Traces::new(seed, (0..count).map(seeds)),
            traced: crate::setting("SIM_TRACE").is_some(),
        }
    }

    /// Prints a line of a replay.
    pub(crate) fn trace(&self, shard: usize, line: &dyn std::fmt::Debug) {
        if self.traced {
            eprintln!(
                "{:6} at {} shard {shard}: {line:?}",
                self.step, self.model.now
            );
        }
    }

    /// Counts an action or a fault for the coverage table.
    pub(crate) fn hit(&mut self, what: &'static str) {
        *self.hits.entry(what).or_default() += 1;
    }

    pub(crate) fn at(&self) -> Moment {
        Moment {
            now: Now(self.model.now),
            wall: Wall(self.model.wall),
            micros: u32::try_from((self.model.now * 1000) & u64::from(u32::MAX)).expect("masked"),
        }
    }

    /// A client connects; `None` when the shard has no room.
    pub(crate) fn connect(&mut self, shard: usize, tls: bool, role: Role) -> Option<ConnId> {
        let network = self.sockets.len() % self.networks;
        let network = u8::try_from(network).expect("few");
        let port = 1024 + u16::try_from(self.sockets.len()).expect("few");
        let peer = Peer {
            remote: ([127, 0, network, 1], port).into(),
            listener: u16::from(tls),
            tls,
            inner: false,
        };
        self.before(shard);
        let room = self.shards[shard].has_room();
        let at = self.at();
        let key = self.shards[shard].open(peer, at);
        assert_eq!(room, key.is_some(), "a machine with room opens");
        let Some(key) = key else {
            self.hit("fault: session table full");
            return None;
        };
        let conn = self.sockets.len();
        self.model.open(shard, tls, peer.remote);
        let taken = self.keys[shard].insert(key, conn);
        assert!(taken.is_none(), "a key is given once");
        self.sockets.push(Socket {
            shard,
            key,
            stage: Stage::Open,
            secured: !tls,
            ended: false,
            up: Vec::new(),
            fed: 0,
            pieces: VecDeque::new(),
            next_begin: 0,
            stream: Vec::new(),
            sent: 0,
            lost: false,
            read: 0,
            upgraded: false,
            reader: RefCell::default(),
            looked: Cell::default(),
            waits: (0, 0),
            seen: 0,
            begun: VecDeque::new(),
            asked: false,
            stuck: false,
            fin: false,
            reset: false,
            role,
        });
        self.after(shard, false);
        Some(conn)
    }

    /// The TLS handshake ends.
    pub(crate) fn secure(&mut self, conn: ConnId) {
        let (shard, session) = self.place(conn);
        self.before(shard);
        self.sockets[conn].secured = true;
        self.model.secured(conn);
        self.handle(shard, Input::Secured { session });
    }

    /// The machine gets this many of the bytes that the client wrote. A violation is the last thing in its read.
    pub(crate) fn feed(&mut self, conn: ConnId, bytes: usize) {
        let (shard, session) = self.place(conn);
        if self.shards[shard].intake(session) == Intake::Paused {
            self.hit("intake paused");
            if self.sockets[conn].reset {
                self.end(conn); // a paused connection has nothing armed that would wait for its turn
            }
            return;
        }
        let socket = &mut self.sockets[conn];
        let mut end = (socket.fed + bytes).min(socket.up.len());
        let mut begin = socket.fed;
        for (piece_end, piece) in &socket.pieces {
            if matches!(piece, Piece::Bad(..)) && begin < end {
                end = *piece_end;
                break;
            }
            begin = *piece_end;
        }
        let mut bytes = socket.up[socket.fed..end].to_vec();
        if bytes.is_empty() {
            return;
        }
        let (pieces, partial) = socket.advance(end);
        self.before(shard);
        self.trace(shard, &("feed", conn, &pieces, partial));
        self.model.feed(conn, pieces, partial);
        let input = Input::Received {
            session,
            bytes: &mut bytes,
        };
        self.handle(shard, input);
    }

    /// The peer will send no more.
    pub(crate) fn end(&mut self, conn: ConnId) {
        let (shard, session) = self.place(conn);
        if std::mem::replace(&mut self.sockets[conn].ended, true) {
            return;
        }
        self.before(shard);
        self.trace(shard, &("ended", conn));
        self.model.peer_ended(conn);
        self.handle(shard, Input::Ended { session });
    }

    /// The descriptor is free.
    pub(crate) fn bury(&mut self, conn: ConnId) {
        let (shard, session) = self.place(conn);
        self.before(shard);
        self.sockets[conn].stage = Stage::Over;
        self.keys[shard].remove(&session);
        self.trace(shard, &("gone", conn));
        self.model.gone(conn);
        self.handle(shard, Input::Gone { session });
        assert!(
            self.shards[shard].unsent(session).is_empty(),
            "a stale key finds nothing"
        );
        assert_eq!(self.shards[shard].intake(session), Intake::Paused);
    }

    /// A connection leaves for its channel's home, or finds the mailbox full.
    pub(crate) fn hand_over(&mut self, conn: ConnId, to: usize, refused: bool) {
        let (shard, session) = self.place(conn);
        self.before(shard);
        let parcel = self.shards[shard].release(session);
        self.keys[shard].remove(&session);
        self.model.conns[conn].live = false;
        let socket = &mut self.sockets[conn];
        if socket.reset {
            // What it had not sent is lost; the new session begins with nothing unsent.
            (socket.sent, socket.read, socket.seen) = (socket.stream.len(), socket.stream.len(), 0);
            socket.lost = false;
        }
        self.after(shard, false);
        if !refused {
            self.sockets[conn].stage = Stage::Travelling;
            self.mail[to].push_back(Post::Handover(parcel, conn));
            return self.hit("handover");
        }
        self.hit("fault: handover refused");
        self.before(shard);
        self.model.bounce(conn);
        let at = self.at();
        let session = self.shards[shard].bounce(parcel, at);
        self.settle_in(conn, shard, session);
        self.after(shard, false);
    }

    pub(crate) fn settle_in(&mut self, conn: ConnId, shard: usize, session: SessionKey) {
        let taken = self.keys[shard].insert(session, conn);
        assert!(taken.is_none(), "a key is given once");
        let socket = &mut self.sockets[conn];
        (socket.shard, socket.key, socket.stage) = (shard, session, Stage::Open);
        socket.asked = false;
    }

    /// A shard takes the oldest letter out of its mailbox.
    pub(crate) fn take_letter(&mut self, shard: usize) {
        let Some(post) = self.mail[shard].pop_front() else {
            return;
        };
        self.before(shard);
        if let Post::Letter(letter, _) = &post {
            self.trace(shard, letter);
        }
        match post {
            Post::Handover(parcel, conn) => self.adopt(shard, parcel, conn),
            Post::Letter(letter, tag) => {
                match tag {
                    Tag::Ask(caller, question) => self.model.answer(shard, caller, question),
                    Tag::Tell(caller, home, told) => self.model.heard_back(caller, home, told),
                    Tag::Taken(caller, home) => self.model.taken(caller, home),
                    Tag::Answer(caller, home, told) => {
                        self.model.offer_answered(caller, home, told);
                    }
                    Tag::Withdraw(caller) => self.model.withdrawn(shard, caller),
                    Tag::Over(caller) => self.model.over(shard, caller),
                    Tag::Drain(within) => self.model.drain(shard, within),
                    Tag::Committed(channel, kept) => self.model.committed(channel, kept),
                }
                self.handle(shard, Input::Letter(letter));
            }
        }
    }

    pub(crate) fn adopt(&mut self, shard: usize, parcel: Box<Parcel>, conn: ConnId) {
        if !self.shards[shard].has_room() {
            self.hit("fault: no room for an adopted connection");
            self.sockets[conn].stage = Stage::Over;
            self.model.conns[conn].stage = crate::model::Stage::Gone;
            return;
        }
        if self.sockets[conn].reset {
            self.hit("fault: connection lost during its handover");
        }
        self.trace(shard, &("adopt", conn));
        self.model.adopt(conn, shard);
        self.model.go_on();
        let at = self.at();
        let session = self.shards[shard].adopt(parcel, at);
        self.settle_in(conn, shard, session);
        self.after(shard, false);
    }

    /// A store reports its oldest changes, up to this many.
    pub(crate) fn commit(&mut self, shard: usize, most: usize) {
        let many = most.min(self.changes[shard].len());
        for change in self.changes[shard].drain(..many).collect::<Vec<_>>() {
            let result = if change.kept {
                Ok(())
            } else {
                Err(trouble(change.number))
            };
            let letter = Letter::Committed(change.key, result);
            let tag = Tag::Committed(change.channel, change.kept);
            self.mail[shard].push_back(Post::Letter(letter, tag));
        }
    }

    /// A letter found no room at its home.
    pub(crate) fn refuse(&mut self, shard: usize, letter: Letter, caller: Caller, home: usize) {
        self.hit("fault: letter refused");
        self.before(shard);
        let refusal = Refusal::new(Check::MailboxFull, "ServiceUnavailable");
        let told = Told::Fault(503, refusal);
        self.model.heard_back(caller, home, told);
        self.handle(shard, Input::Refused(letter));
    }

    /// Time passes for everybody. Ticks follow at once, or after some of what else happens at that moment.
    ///
    /// While calls wait, a long time passes in pieces: whether a call expires or is not answered in time must show.
    pub(crate) fn pass(&mut self, ms: u64) {
        let mut left = ms;
        let waits = |conn: &Conn| matches!(conn.stage, crate::model::Stage::AwaitReply(_));
        self.tick_all(); // a call that waited for its turn may begin to wait for its answer
        while left > PIECE_MS && self.model.conns.iter().any(waits) {
            self.pass_piece(PIECE_MS);
            self.tick_all();
            left -= PIECE_MS;
        }
        self.pass_piece(left);
    }

    fn pass_piece(&mut self, ms: u64) {
        self.model.now += ms;
        self.model.wall += ms;
        self.ticks_due = (0..self.shards.len()).collect();
    }

    /// All ticks of this moment.
    pub(crate) fn tick_all(&mut self) {
        while let Some(shard) = self.ticks_due.pop() {
            self.tick(shard);
        }
    }

    pub(crate) fn tick(&mut self, shard: usize) {
        let due = |world: &Self| {
            let deadline = world.shards[shard].deadline();
            deadline.is_some_and(|deadline| deadline.0 <= world.model.now)
        };
        let mut ticks = 0;
        let mut unsettled = true;
        while unsettled || due(self) {
            self.before(shard);
            self.trace(shard, &"tick");
            self.model.tick(shard);
            self.model.go_on();
            let at = self.at();
            self.shards[shard].handle(Input::Tick, at);
            self.input = true;
            self.after(shard, true);
            unsettled = std::mem::take(&mut self.model.haze_now);
            if unsettled {
                // What fell into one tick in an order that does not show has settled after the next one.
                self.model.now += GRAIN_MS;
                self.model.wall += GRAIN_MS;
                self.ticks_due = (0..self.shards.len())
                    .filter(|&other| other != shard)
                    .collect();
            }
            ticks += 1;
            assert!(ticks < 100, "deadline() stays in the past");
        }
    }

    pub(crate) fn handle(&mut self, shard: usize, input: Input<'_, Letter>) {
        let at = self.at();
        let clock = matches!(&input, Input::Letter(Letter::Drain(_)));
        self.model.go_on();
        self.model.departures = 0;
        let sent = matches!(&input, Input::Sent { .. });
        self.shards[shard].handle(input, at);
        if sent {
            self.shards[shard].flushed(at);
        }
        self.trace(shard, &self.shards[shard]);
        self.input = true;
        self.after(shard, clock);
    }

    pub(crate) fn place(&self, conn: ConnId) -> (usize, SessionKey) {
        (self.sockets[conn].shard, self.sockets[conn].key)
    }
}
