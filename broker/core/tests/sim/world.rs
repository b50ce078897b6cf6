//! The world around the machines: a clock, sockets, mailboxes. It plays the edge to the letter of
//! `broker/core/src/machine.rs`.
//!
//! Each operation drives a machine, then the checkers look at everything that it let out (`check`).

use crate::shard_transcripts::notes::Notes;
use crate::sim::clients::account_of;
use crate::sim::faults::Plan;
use crate::sim::frames::Came;
use crate::sim::gauges::{Gauges, Known};
use crate::sim::letters::{Change, OpenLetters, Post};
use crate::sim::lines::Answered;
use crate::sim::messages::Ledger;
use crate::sim::presence::Watcher;
use crate::sim::records::Records;
use crate::sim::scripts::Script;
use crate::sim::slots::Slots;
use crate::sim::socket::{ConnId, Socket};
use crate::sim::store::{Given, SimStore};
use broker_core::auth::SessionKeys;
use broker_core::catalog::SharedCatalog;
use broker_core::id::{Identity, SessionKey, ShardId};
use broker_core::journal::Entry;
use broker_core::machine::{Input, Machine};
use broker_core::placement::Placement;
use broker_core::refusal_id::RefusalReader;
use broker_core::settings::{Proof, Settings};
use broker_core::shard::{Letter, Shard, SharedRule, Start, StartKeys};
use broker_core::testing::TestCatalog;
use broker_core::time::{Moment, Now, Wall};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};

/// One world: shards, the connections between them and their clients, and what checkers know of them.
pub(crate) struct World {
    pub(crate) random: fastrand::Rng,
    pub(crate) plan: Plan,
    pub(crate) settings: Arc<Settings>,
    pub(crate) script: Script,
    /// Faults that tests script, in the order in which they were made.
    pub(crate) rules: Vec<SharedRule>,
    /// Milliseconds of the clock that only goes on, and of the calendar.
    pub(crate) now: u64,
    pub(crate) wall: u64,
    /// The last time for which the process did not run.
    pub(crate) standstill: (u64, u64),
    /// From how many networks clients come: the log shares its lines out among them.
    pub(crate) networks: usize,
    pub(crate) shards: Vec<Shard>,
    pub(crate) placement: Placement,
    pub(crate) journals: Vec<Receiver<Entry>>,
    /// Reads the request ids of refusals.
    pub(crate) reader: RefusalReader,
    /// Those who watch all channels.
    pub(crate) watchers: Vec<Watcher>,
    pub(crate) stores: Vec<Receiver<Given>>,
    /// Changes that each store has not reported, in order.
    pub(crate) changes: Vec<VecDeque<Change>>,
    pub(crate) mail: Vec<VecDeque<Post>>,
    pub(crate) letters: OpenLetters,
    pub(crate) sockets: Vec<Socket>,
    /// Connections of which the edge is to say what their peers have.
    pub(crate) looks: VecDeque<ConnId>,
    pub(crate) keys: Vec<BTreeMap<SessionKey, ConnId>>,
    pub(crate) records: Records,
    pub(crate) catalog: Arc<dyn SharedCatalog>,
    pub(crate) ledger: Ledger,
    pub(crate) slots: Vec<Slots>,
    pub(crate) gauges: Vec<Gauges>,
    pub(crate) hits: BTreeMap<&'static str, u64>,
    pub(crate) step: u64,
    /// WebSockets that were admitted.
    pub(crate) admitted: u64,
    /// Shards whose tick of this moment is still to come.
    pub(crate) ticks_due: Vec<usize>,
    /// Since when each shard drains, and until when.
    pub(crate) drains: Vec<Option<(u64, u64)>>,
    pub(crate) drained: Vec<bool>,
    /// Of this step: frames that came, what is known to be there, offers of calls that the kernel took, answers that
    /// were queued, whether an operator has clients fetch ICE servers, and who is gone.
    pub(crate) came: Came,
    pub(crate) known: Known,
    pub(crate) calls_sent: u64,
    pub(crate) answers: Vec<Answered>,
    pub(crate) recalls: bool,
    pub(crate) gone: Option<ConnId>,
    /// Each input is printed: for the replay of one seed.
    pub(crate) traced: bool,
}

/// The cause of a step: what may follow from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// An input about this connection: bytes of it, or its end.
    Of(ConnId),
    /// Bytes of this connection were handed to the kernel.
    Sent(ConnId),
    /// It is known what the peer of this connection has.
    Known(ConnId),
    /// A letter, or a connection from another shard.
    Letter,
    /// The clock.
    Tick,
    /// An operator, or a test's script.
    Operator,
}

fn home_of(name: &str, placement: &Placement, accounts: usize) -> usize {
    let identity = Identity::new("us-west-2", &account_of(name, accounts), name);
    placement.shard(&identity).index()
}

impl World {
    /// The world of a seed.
    pub(crate) fn new(seed: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let plan = Plan::draw(&mut random);
        let (script, settings) = Script::draw(seed, &plan);
        let count = u16::try_from(plan.shards).expect("few");
        let placement = Placement::new([seed, 2, 3, 4], count);
        let (mut journals, mut stores, mut watchers) = (Vec::new(), Vec::new(), Vec::new());
        let keys = Arc::new(SessionKeys::new(&[7; 32], None));
        let catalog = Arc::<TestCatalog>::default();
        let shard = |id: u16| {
            let ((notes, journal), (given, taken)) = (channel(), channel());
            journals.push(journal);
            stores.push(taken);
            let seeds = [seed ^ u64::from(id), 5, 6, 7];
            let start = Start {
                catalog: catalog.clone(),
                keys: StartKeys::bare(ShardId(id), Arc::clone(&keys)),
                journal: Box::new(Notes {
                    to: notes,
                    places: Arc::new(plan.audits.into()),
                    is_read: true,
                }),
                store: Box::new(SimStore::new(usize::from(id), plan.verdicts(seed), given)),
                waiting_calls: plan.waiting_calls,
                audience: Watcher::joins(&mut watchers, seed, id),
                ..Start::bare(settings.clone(), ShardId(id), placement.clone(), seeds)
            };
            Shard::new(start)
        };
        let shards: Vec<Shard> = (0..count).map(shard).collect();
        Self {
            wall: 1_750_000_000_000 + random.u64(0..1_000_000_000),
            random,
            mail: shards.iter().map(|_| VecDeque::new()).collect(),
            keys: shards.iter().map(|_| BTreeMap::new()).collect(),
            drains: vec![None; shards.len()],
            drained: vec![false; shards.len()],
            slots: shards.iter().map(|_| Slots::default()).collect(),
            gauges: shards.iter().map(|_| Gauges::default()).collect(),
            changes: vec![VecDeque::new(); shards.len()],
            records: Records::default(),
            catalog,
            ledger: Ledger::new(&settings, script.is_on()),
            shards,
            placement,
            journals,
            watchers,
            reader: RefusalReader::new(&keys),
            stores,
            letters: OpenLetters::default(),
            script,
            rules: Vec::new(),
            plan,
            settings,
            now: 640,
            standstill: (0, 0),
            networks: [1, 3, 61][usize::try_from(seed % 3).expect("small")],
            sockets: Vec::new(),
            looks: VecDeque::new(),
            hits: BTreeMap::new(),
            step: 0,
            admitted: 0,
            ticks_due: Vec::new(),
            came: Came::default(),
            known: Known::default(),
            calls_sent: 0,
            answers: Vec::new(),
            recalls: false,
            gone: None,
            traced: crate::sim::setting("SIM_TRACE").is_some(),
        }
    }

    /// Prints a line of a replay.
    pub(crate) fn trace(&self, shard: usize, line: &dyn std::fmt::Debug) {
        if self.traced {
            eprintln!("{:6} at {} shard {shard}: {line:?}", self.step, self.now);
        }
    }

    /// Counts an action, a fault or an effect for the coverage table.
    pub(crate) fn hit(&mut self, what: &'static str) {
        *self.hits.entry(what).or_default() += 1;
    }

    pub(crate) fn at(&self) -> Moment {
        Moment {
            now: Now(self.now),
            wall: Wall(self.wall),
            micros: u32::try_from((self.now * 1000) & u64::from(u32::MAX)).expect("masked"),
        }
    }

    pub(crate) fn handle(&mut self, shard: usize, input: Input<'_, Letter>, cause: Cause) {
        let at = self.at();
        let sent = matches!(&input, Input::Sent { .. });
        self.shards[shard].handle(input, at);
        if sent {
            self.shards[shard].flushed(at);
        }
        self.trace(shard, &self.shards[shard]);
        self.after(shard, cause);
    }

    pub(crate) fn place(&self, conn: ConnId) -> (usize, SessionKey) {
        (self.sockets[conn].shard, self.sockets[conn].key)
    }

    /// The shard where a channel lives.
    pub(crate) fn home(&self, name: &str) -> usize {
        home_of(name, &self.placement, self.plan.accounts)
    }

    pub(crate) fn identity(&self, name: &str) -> Identity {
        Identity::new("us-west-2", &account_of(name, self.plan.accounts), name)
    }

    /// Whether a pong is the proof.
    pub(crate) fn by_pong(&self) -> bool {
        self.settings.signaling.proof == Proof::Pong
    }

    /// Whether a test scripts faults here: what they delay, double or drop is allowed to be so.
    pub(crate) fn is_scripted(&self) -> bool {
        self.script.is_on()
    }
}
