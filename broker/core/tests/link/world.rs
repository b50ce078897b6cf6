//! The world: what is there, its time and faults, and what must hold in the end.

use super::nodes::NODES;
use super::pipe::Pipe;
use broker_core::cluster::limits::LINK_WINDOW_BYTES;
use broker_core::cluster::link::{Death, Link, Role};
use broker_core::time::Now;
use codec::link::Kind;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Places of the two ends of a link in lists of both; pipe `n` is written by end `n`.
pub(crate) const FRONT: usize = 0;
pub(crate) const OWNER: usize = 1;

/// What a world is made of, by its seed.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    clients: usize,
    ends: u64,
    pub(crate) window: u32,
    delay: u64,
    /// Of a thousand steps, those in which a node stops, a way is cut, a link is reset.
    stops: u32,
    cuts: u32,
    resets: u32,
    /// Of ten thousand, those in which a client gets another owner, a node starts again.
    moves: u32,
    restarts: u32,
    /// Lengths of messages.
    pub(crate) sizes: [u64; 4],
    /// Bytes that a client's kernel takes.
    pub(crate) kernel: u64,
    /// No faults but the reset: a few messages alone.
    pub(crate) is_short: bool,
    /// The way and byte behind which the first connection is reset.
    pub(crate) dies_at: Option<(usize, usize)>,
}

pub(crate) struct World {
    pub(crate) plan: Plan,
    pub(crate) rng: fastrand::Rng,
    pub(crate) now: u64,
    pub(crate) met: BTreeMap<&'static str, u64>,
    /// The last turn of each node, and until when it is stopped.
    pub(crate) last_turn: [u64; NODES],
    pub(crate) stopped: [u64; NODES],
    /// The process of each node, and what each front knows of it.
    pub(crate) starts: [u64; NODES],
    pub(crate) known: [[u64; NODES]; 2],
    pub(crate) conns: Vec<Conn>,
    pub(crate) clients: Vec<Client>,
    pub(crate) dials: Vec<Dial>,
    pub(crate) sessions: Vec<Session>,
    /// Nothing new is asked for.
    pub(crate) settles: bool,
    /// Clients end, and none comes again.
    pub(crate) ends: bool,
}

/// A connection between the nodes.
pub(crate) struct Conn {
    pub(crate) nodes: [usize; 2],
    pub(crate) ends: [Link; 2],
    pub(crate) pipes: [Pipe; 2],
    /// Bytes of a write that the kernel has not taken.
    pub(crate) pending: [Vec<u8>; 2],
    /// When each end died.
    pub(crate) dead: [Option<u64>; 2],
    /// Until when each way is cut.
    pub(crate) cut: [u64; 2],
    /// When the front last woke, or began to doubt.
    pub(crate) fence: Option<u64>,
    /// By stream: the client's connection; the session.
    pub(crate) dial_of: BTreeMap<u32, usize>,
    pub(crate) session_of: BTreeMap<u32, usize>,
    pub(crate) gone: [BTreeSet<u32>; 2],
}

/// Who has a queue of messages, whichever connection it has.
#[derive(Default)]
pub(crate) struct Client {
    pub(crate) queue: VecDeque<u64>,
    pub(crate) messages: u64,
    pub(crate) dial: Option<usize>,
    /// Its owner, the one before, and from when on each front knows of the change.
    pub(crate) owner: usize,
    pub(crate) before: usize,
    pub(crate) known_at: [u64; 2],
    /// Messages that were lost with the memory of a process.
    pub(crate) lost: BTreeSet<u64>,
}

/// A connection of a client to the front.
pub(crate) struct Dial {
    pub(crate) client: usize,
    pub(crate) front: usize,
    /// Until when the front seeks an owner.
    pub(crate) seeks: u64,
    /// A session has begun with its call.
    pub(crate) is_carried_out: bool,
    pub(crate) kind: Kind,
    /// Its link and stream, unless it waits for one.
    pub(crate) at: Option<(usize, u32)>,
    pub(crate) request: u64,
    /// Bytes that the client sent, and that the front read.
    pub(crate) sent: u64,
    pub(crate) read: u64,
    pub(crate) has_fin: bool,
    pub(crate) fin_told: bool,
    /// The front has all of the session's bytes and its end.
    pub(crate) all_sent: bool,
    pub(crate) is_over: bool,
    /// The machine confirms nothing more; nobody learns of it.
    pub(crate) is_vanished: bool,
    /// Bytes of the session whose answer it has.
    pub(crate) session: Option<usize>,
    pub(crate) passed: u64,
    pub(crate) in_flight: VecDeque<usize>,
    /// Sends: offsets behind them, plain and on the wire; what the machine has of the latter.
    pub(crate) sends: Vec<(u64, u64)>,
    pub(crate) acked: u64,
    /// Bytes on the wire that each send takes on top.
    pub(crate) overhead: u64,
}

/// A session at the owner.
pub(crate) struct Session {
    pub(crate) dial: usize,
    pub(crate) at: (usize, u32),
    pub(crate) kind: Kind,
    pub(crate) request: u64,
    pub(crate) taken: u64,
    /// Bytes that were made, and pushed.
    pub(crate) made: u64,
    pub(crate) pushed: u64,
    pub(crate) boundaries: BTreeSet<u64>,
    /// Messages by the offset behind them: all, and how many are confirmed.
    pub(crate) marks: Vec<(u64, u64)>,
    pub(crate) confirmed: usize,
    pub(crate) is_answered: bool,
    pub(crate) awaits_room: bool,
    pub(crate) paused: u64,
    /// The session is over and sends nothing more. Its end is told.
    pub(crate) closes: bool,
    pub(crate) end_told: bool,
    pub(crate) is_gone: bool,
}

impl Plan {
    pub(crate) fn of(seed: u64) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        let clients = rng.usize(1..=12);
        let window = [LINK_WINDOW_BYTES, 20_000, 3_000][rng.usize(..3)];
        let is_small = window < LINK_WINDOW_BYTES;
        let mut often = |most| {
            let is_on = rng.u8(..3) > 0;
            if is_on { rng.u32(1..=most) } else { 0 }
        };
        let (stops, cuts, resets) = (often(20), often(20), often(6));
        let (moves, restarts) = (often(200), often(40));
        Self {
            seed,
            clients,
            ends: rng.u64(4_000..=25_000),
            window: u32::try_from(window).unwrap_or(u32::MAX),
            sizes: if is_small {
                [30, 31, 300, 2_500]
            } else {
                [30, 700, 5_000, 40_000]
            },
            delay: [1, 30, 400][rng.usize(..3)],
            stops,
            cuts,
            resets,
            moves,
            restarts,
            kernel: [2_000, 20_000, 200_000][rng.usize(..3)],
            is_short: false,
            dies_at: None,
        }
    }
}

impl World {
    pub(crate) fn new(mut plan: Plan) -> Self {
        if plan.is_short {
            (plan.clients, plan.ends, plan.delay) = (2, 300, 1);
            (plan.stops, plan.cuts, plan.resets) = (0, 0, 0);
            (plan.moves, plan.restarts) = (0, 0);
            (plan.window, plan.kernel) = (3_000, 20_000);
        }
        let client = |place| Client {
            owner: 2 + place / 2 % 2,
            ..Client::default()
        };
        let clients = (0..plan.clients).map(client).collect();
        Self {
            rng: fastrand::Rng::with_seed(plan.seed ^ 0x5eed),
            plan,
            now: 0,
            met: BTreeMap::new(),
            last_turn: [0; NODES],
            stopped: [0; NODES],
            starts: [1; NODES],
            known: [[0; NODES]; 2],
            conns: Vec::new(),
            clients,
            dials: Vec::new(),
            sessions: Vec::new(),
            settles: false,
            ends: false,
        }
    }

    pub(crate) fn meet(&mut self, what: &'static str) {
        *self.met.entry(what).or_default() += 1;
    }

    pub(crate) fn chance(&mut self, of_thousand: u32) -> bool {
        self.rng.u32(..1000) < of_thousand
    }

    pub(crate) fn run(&mut self) {
        while self.now < self.plan.ends {
            self.break_things();
            self.step();
        }
        self.settles = true;
        (self.stopped, self.plan.kernel) = (self.last_turn, 200_000);
        for conn in &mut self.conns {
            conn.cut = [0; 2];
        }
        let until = self.now + 200_000;
        while !self.is_quiet() {
            assert!(self.now < until, "messages wait: {}", self.state());
            self.step();
        }
        self.ends = true;
        for dial in &mut self.dials {
            dial.has_fin = true;
        }
        while self.conns.iter().any(Conn::has_streams) {
            assert!(self.now < until, "streams stay: {}", self.state());
            self.step();
        }
        self.check_end();
    }

    fn state(&self) -> String {
        let streams = |conn: &Conn| {
            (
                conn.ends[0].streams.len(),
                conn.ends[1].streams.len(),
                conn.dead,
            )
        };
        let conns: Vec<_> = self.conns.iter().map(streams).collect();
        let queues: Vec<_> = self.clients.iter().map(|it| it.queue.len()).collect();
        format!("{conns:?} {queues:?}")
    }

    fn step(&mut self) {
        self.now += self.rng.u64(1..=80);
        self.use_clients();
        self.let_machines_read();
        let first = self.rng.usize(..NODES);
        for node in (first..NODES).chain(0..first) {
            if self.now >= self.stopped[node] && !self.chance(200) {
                self.turn(node);
            }
        }
        for conn in self.conns.iter().filter(|conn| !conn.is_over()) {
            conn.ends.iter().for_each(|end| end.streams.invariants());
        }
    }

    fn break_things(&mut self) {
        let spans = [300, 2_500, 6_000, 16_000];
        let span = spans[self.rng.usize(..4)];
        if self.chance(self.plan.stops) {
            let node = self.rng.usize(..NODES);
            self.stopped[node] = self.stopped[node].max(self.now + span);
        }
        if self.chance(self.plan.cuts)
            && let Some(place) = self.some_conn()
        {
            let conn = &mut self.conns[place];
            let both = self.rng.u8(..3);
            for way in [FRONT, OWNER] {
                if usize::from(both) != way {
                    conn.cut[way] = self.now + span;
                }
            }
        }
        if self.chance(self.plan.resets)
            && let Some(conn) = self.some_conn()
        {
            self.reset(conn);
        }
        if self.rng.u32(..10_000) < self.plan.moves {
            self.move_client();
        }
        if self.rng.u32(..10_000) < self.plan.restarts {
            let node = self.rng.usize(..NODES);
            self.restart(node);
        }
    }

    /// The connection between the nodes is reset, by neither of them.
    pub(crate) fn reset(&mut self, conn: usize) {
        let conn = &mut self.conns[conn];
        for way in [FRONT, OWNER] {
            conn.pipes[way].close(Death::Reset, self.now, true);
        }
    }

    /// A moment at which something that is sent now arrives.
    pub(crate) fn arrival(&mut self) -> u64 {
        self.now + self.rng.u64(1..=self.plan.delay)
    }

    /// Reads what has arrived at a node, in pieces.
    pub(crate) fn read(&mut self, node: usize, conn: usize, span: u64) -> bool {
        let (now, is_partial) = (self.now, self.chance(100));
        let it = &mut self.conns[conn];
        if it.dead[node].is_some() {
            return false;
        }
        if span > STALL_MS {
            it.ends[node].stood_still(span, Now(now));
        }
        let is_cut = now < it.cut[1 - node];
        let pipe = &mut it.pipes[1 - node];
        pipe.arrive(now, is_cut);
        let all = pipe.arrived.len();
        let some = if is_partial {
            self.rng.usize(..=all)
        } else {
            all
        };
        let bytes: Vec<u8> = pipe.arrived.drain(..some).collect();
        // The end is often read in a later turn than what came before it.
        let end = pipe.end(now, is_cut).filter(|_| self.rng.bool());
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let (piece, later) = rest.split_at(self.rng.usize(1..=rest.len()));
            rest = later;
            self.conns[conn].ends[node].read(piece, Now(now));
            self.take_events(node, conn);
        }
        if let Some(why) = end {
            self.conns[conn].ends[node].broke(why);
            self.take_events(node, conn);
        }
        some == all
    }

    /// The end of a turn: what is due, and one write.
    pub(crate) fn write(&mut self, node: usize, conn: usize, all_read: bool) {
        let (now, at) = (self.now, self.arrival());
        let it = &mut self.conns[conn];
        if it.dead[node].is_some() {
            return;
        }
        if all_read {
            let was_doubtful = it.ends[node].is_doubtful();
            it.ends[node].tick(Now(now));
            if node == FRONT && !was_doubtful && it.ends[node].is_doubtful() {
                it.fence = Some(now);
            }
        }
        if it.pending[node].is_empty() {
            it.ends[node].write(&mut it.pending[node], Now(now));
            let role = [Role::Front, Role::Owner][node];
            it.pipes[node].check(&it.pending[node], role);
        }
        if it.pipes[node].write(&mut it.pending[node], at) {
            self.meet("died at a byte");
            self.reset(conn);
        }
        self.take_events(node, conn);
    }

    fn take_events(&mut self, node: usize, conn: usize) {
        while let Some(event) = self.conns[conn].ends[node].poll() {
            match node {
                FRONT => self.event_at_front(conn, event),
                _ => self.event_at_owner(conn, event),
            }
        }
    }

    /// A node's end is dead: the other one learns of it by a reset.
    pub(crate) fn died(&mut self, node: usize, conn: usize, why: Death) {
        assert!(!matches!(why, Death::Fault(_)), "{why:?}");
        let (now, at) = (self.now, self.arrival());
        let conn = &mut self.conns[conn];
        conn.dead[node] = Some(now);
        let is_cut = now < conn.cut[node];
        conn.pipes[node].close(Death::Reset, at, is_cut);
        if why == Death::Silent {
            self.meet(["front silent", "owner silent"][node]);
        }
    }

    /// Every message is where it belongs, and all clients are there.
    fn is_quiet(&self) -> bool {
        let sessions = &self.sessions;
        self.clients.iter().all(|client| client.queue.is_empty())
            && sessions.iter().all(|it| it.confirmed == it.marks.len())
    }

    fn check_end(&mut self) {
        let mut received: BTreeMap<(usize, u64), u64> = BTreeMap::new();
        for (place, session) in self.sessions.iter().enumerate() {
            let dial = &self.dials[session.dial];
            assert!(session.is_gone, "session {place}");
            let has = if dial.session == Some(place) {
                dial.has()
            } else {
                0
            };
            for (_, id) in session.marks.iter().take_while(|(end, _)| *end <= has) {
                *received.entry((dial.client, *id)).or_default() += 1;
            }
        }
        for (place, client) in self.clients.iter().enumerate() {
            for id in 0..client.messages {
                let is_there = received.contains_key(&(place, id)) || client.lost.contains(&id);
                assert!(is_there, "lost: {place}, {id}");
            }
        }
        for conn in &self.conns {
            for node in [FRONT, OWNER] {
                conn.ends[node].streams.invariants();
                assert_eq!(conn.ends[node].streams.len(), 0);
            }
        }
    }
}

impl Conn {
    fn has_streams(&self) -> bool {
        self.ends.iter().any(|end| !end.streams.is_empty())
    }

    fn is_over(&self) -> bool {
        self.dead.iter().all(Option::is_some)
    }
}

impl Dial {
    /// Bytes of the session that the client's machine has.
    pub(crate) fn has(&self) -> u64 {
        let whole = self.sends.iter().rev();
        let mut whole = whole.filter(|(_, wire)| *wire <= self.acked);
        whole.next().map_or(0, |(plain, _)| *plain)
    }

    /// Bytes on the wire that the kernel has, and the machine has not.
    pub(crate) fn unacknowledged(&self) -> u64 {
        self.sends.last().map_or(0, |(_, wire)| wire - self.acked)
    }
}

/// A node that did not run for longer knows it.
const STALL_MS: u64 = 250;

/// The byte of a stream at an offset.
pub(crate) fn byte(stream: usize, offset: u64) -> u8 {
    let mixed = (stream as u64).wrapping_mul(97) ^ offset ^ (offset >> 7);
    mixed.to_le_bytes()[0]
}

/// Bytes of a stream.
pub(crate) fn bytes(stream: usize, from: u64, upto: u64) -> Vec<u8> {
    (from..upto).map(|offset| byte(stream, offset)).collect()
}
