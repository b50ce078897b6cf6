//! The world around the machines: a clock, sockets, mailboxes. It plays the edge to the letter of
//! `broker/core/src/machine.rs`.
//!
//! Each operation drives the model first, then the machine, then has everything compared (`check`).

use crate::sim::clients::account_of;
use crate::sim::faults::Plan;
use crate::sim::ledger::Ledger;
use crate::sim::letters::{Change, Post};
use crate::sim::model::{Caller, ConnId, Model};
use crate::sim::notes::Notes;
use crate::sim::presence::Watcher;
use crate::sim::recorder::Traces;
use crate::sim::scripts::Script;
use crate::sim::socket::Socket;
use crate::sim::store::{Given, SimStore};
use broker_core::auth::SessionKeys;
use broker_core::id::{Identity, SessionKey, ShardId};
use broker_core::journal::Entry;
use broker_core::machine::{Input, Machine};
use broker_core::placement::Placement;
use broker_core::refusal_id::RefusalReader;
use broker_core::shard::{Letter, Shard, Start, StartKeys};
use broker_core::time::{Moment, Now, Wall};
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
    /// Those who watch all channels.
    pub(crate) watchers: Vec<Watcher>,
    pub(crate) stores: Vec<Receiver<Given>>,
    /// Changes that each store has not reported, in order.
    pub(crate) changes: Vec<VecDeque<Change>>,
    pub(crate) mail: Vec<VecDeque<Post>>,
    pub(crate) sockets: Vec<Socket>,
    /// Connections of which the edge is to say what their peers have.
    pub(crate) looks: VecDeque<ConnId>,
    pub(crate) keys: Vec<BTreeMap<SessionKey, ConnId>>,
    pub(crate) callers: BTreeMap<(u16, u64, u32), Caller>,
    pub(crate) model: Model,
    pub(crate) ledger: Ledger,
    pub(crate) hits: BTreeMap<&'static str, u64>,
    pub(crate) step: u64,
    /// Shards whose tick of this moment is still to come.
    pub(crate) ticks_due: Vec<usize>,
    pub(crate) drained: Vec<bool>,
    /// The next comparison follows an input.
    pub(crate) input: bool,
    pub(crate) traces: Traces,
    /// Each input is printed: for the replay of one seed.
    pub(crate) traced: bool,
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
        let (verdicts, waiting_calls, places) =
            (plan.verdicts(seed), plan.waiting_calls, plan.audits);
        let keys = Arc::new(SessionKeys::new(&[7; 32], None));
        let (mut journals, mut stores, mut watchers) = (Vec::new(), Vec::new(), Vec::new());
        let seeds = |id: u16| [seed ^ u64::from(id), 5, 6, 7];
        let shards = (0..count).map(|id| {
            let (notes, journal) = channel();
            journals.push(journal);
            let (given, taken) = channel();
            stores.push(taken);
            let audience = Watcher::joins(&mut watchers, seed, id);
            let store = SimStore {
                shard: usize::from(id),
                verdicts,
                number: 0,
                given,
            };
            let start = Start {
                keys: StartKeys::bare(ShardId(id), Arc::clone(&keys)),
                journal: Box::new(Notes { to: notes, places }),
                store: Box::new(store),
                waiting_calls,
                audience,
                ..Start::bare(settings.clone(), ShardId(id), placement.clone(), seeds(id))
            };
            Shard::new(start)
        });
        let shards: Vec<Shard> = shards.collect();
        let accounts = plan.accounts;
        let home = move |name: &str| home_of(name, &placement, accounts);
        let mut model = Model::new(
            settings,
            verdicts,
            (waiting_calls, places),
            shards.len(),
            home,
        );
        (model.now, model.wall) = (640, 1_750_000_000_000 + random.u64(0..1_000_000_000));
        Self {
            random,
            mail: shards.iter().map(|_| VecDeque::new()).collect(),
            keys: shards.iter().map(|_| BTreeMap::new()).collect(),
            drained: vec![false; shards.len()],
            shards,
            journals,
            watchers,
            reader: RefusalReader::new(&keys),
            stores,
            changes: vec![VecDeque::new(); usize::from(count)],
            script,
            plan,
            networks: [1, 3, 61][usize::try_from(seed % 3).expect("small")],
            sockets: Vec::new(),
            looks: VecDeque::new(),
            callers: BTreeMap::new(),
            ledger: Ledger::of(model.settings.signaling.repeat_offers_ms > 0),
            model,
            hits: BTreeMap::new(),
            step: 0,
            ticks_due: Vec::new(),
            input: false,
            traces: Traces::new(seed, (0..count).map(seeds)),
            traced: crate::sim::setting("SIM_TRACE").is_some(),
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
