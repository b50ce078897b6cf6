//! One world: hosts, the network, etcd, and what happens to them, from one seed.

use crate::cluster::check::Check;
use crate::cluster::etcd::Etcd;
use crate::cluster::host::{Host, Pause};
use crate::cluster::net::{ETCD, End, Net};
use crate::cluster::script::{Script, Step};
use crate::cluster::traffic::Stream;
use broker_core::cluster::limits::Spans;
use broker_core::cluster::limits::TICK_MS;
use broker_core::cluster::message::{Call, CallId, Held, NodeInput, Reply};
use broker_core::cluster::types::{Key, RosterState, Slot, Value};
use broker_core::time::Now;
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// From one look at all slots to the next.
pub(crate) const SAMPLE_MS: u64 = 200;

/// Messages on a cut way are given up after this long.
const SENT_AGAIN_MS: u64 = 15_000;

pub(crate) struct World {
    pub(crate) now: u64,
    pub(crate) rng: fastrand::Rng,
    pub(crate) hosts: Vec<Host>,
    /// By node: the host of the address that the roster has.
    pub(crate) homes: Vec<usize>,
    pub(crate) net: Net,
    pub(crate) etcd: Etcd,
    pub(crate) etcd_state: EtcdState,
    pub(crate) check: Check,
    pub(crate) script: Script,
    pub(crate) log: Option<String>,
    pub(crate) watches: Vec<Option<Stream>>,
    /// Number of changes in etcd's history that watches were sent.
    pub(crate) published: usize,
    /// Events by their time and number.
    queue: BTreeMap<(u64, u64), What>,
    sequence: u64,
    /// Events that wait for a process that is stopped, a way that is cut, or an etcd that is frozen.
    waiting: Vec<(u64, What)>,
    pub(crate) loads_max: u64,
}

/// The state of etcd.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EtcdState {
    Up,
    Down,
    Frozen,
}

/// From one end to another, and the process there or here that it is for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Way {
    pub(crate) from: End,
    pub(crate) process: u32,
    pub(crate) to: End,
}

/// An event.
#[derive(Clone, Debug)]
pub(crate) enum What {
    Tick(usize, u32),
    /// An input for a node's process, from another end; with the messages of a parcel.
    Arrives(Way, NodeInput, Vec<u32>),
    /// A question of a process for whatever process runs on a host by then.
    Asks(Way, NodeInput),
    /// A question for the process that last answered a host under the name of the one that asks.
    Seeks(Way, Now),
    /// A call at etcd.
    Calls(Way, CallId, Call),
    Loaded(usize, u32, Held),
    Step(usize),
    Sample,
}

impl What {
    /// Part of a watch: never lost while the watch lives.
    fn is_stream(&self) -> bool {
        match self {
            Self::Arrives(_, input, _) => {
                matches!(
                    input,
                    NodeInput::Changed(..) | NodeInput::Reply(_, Reply::Progress(_))
                )
            }
            Self::Tick(..) | Self::Asks(..) | Self::Seeks(..) | Self::Calls(..) => false,
            Self::Loaded(..) | Self::Step(_) | Self::Sample => false,
        }
    }
}

/// The obstacle that keeps an event from happening.
enum Obstacle {
    None,
    /// It happens when a process goes on, a way is mended, or etcd thaws.
    Waits,
    Lost,
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        let script = Script::new(&mut rng);
        Self::of(script, rng)
    }

    /// The world of a script.
    pub(crate) fn of(script: Script, mut rng: fastrand::Rng) -> Self {
        let slots = script.slots;
        let mut hosts: Vec<Host> = (0..script.hosts)
            .map(|number| Host::new(number, slots, u32::try_from(number).unwrap_or(0) + 1))
            .collect();
        for host in &mut hosts[..script.members] {
            host.is_wanted = true;
        }
        let net = Net::new(1, script.delay_max, script.sends_again);
        let mut world = Self {
            now: 0,
            homes: (0..script.hosts).collect(),
            hosts,
            net,
            etcd: Etcd::new(slots, script.lease_ms),
            etcd_state: EtcdState::Up,
            check: Check::new(
                usize::from(slots),
                script.hosts,
                Spans::of_lease(script.lease_ms),
            ),
            log: None,
            watches: vec![None; script.hosts],
            published: 0,
            queue: BTreeMap::new(),
            sequence: 0,
            waiting: Vec::new(),
            loads_max: rng.u64(5..400),
            rng,
            script,
        };
        world.populate();
        world
    }

    /// The cluster existed before, unless the script wants a new one: every slot has an owner that is to start again.
    fn populate(&mut self) {
        if !self.script.is_new {
            for host in &self.hosts[..self.script.members] {
                self.etcd.seed(
                    Key::Roster(host.node),
                    Value::Roster(RosterState::Here, host.address),
                );
            }
            for slot in 0..self.script.slots {
                let host = &self.hosts[self.rng.usize(..self.script.members)];
                let owner = Some(host.owner());
                self.etcd.seed(
                    Key::Slot(Slot(slot)),
                    Value::Slot {
                        owner,
                        parcel: None,
                        presence: 1,
                    },
                );
            }
        }
        self.published = self.etcd.history.len();
        for number in 0..self.script.members {
            self.start(number);
        }
        for index in 0..self.script.steps.len() {
            let at = self.script.steps[index].0;
            self.push(at, What::Step(index));
        }
        self.push(SAMPLE_MS, What::Sample);
    }

    /// Runs to the end, or until a rule is broken.
    pub(crate) fn run(&mut self) {
        while let Some(((at, _), what)) = self.queue.pop_first() {
            if at > self.script.ends {
                self.check.ended(&self.hosts, &self.script, self.now);
                return self.check.ends(self.now, &self.script);
            }
            self.now = at;
            self.happens(what);
            if self.check.fault.is_some() {
                return;
            }
        }
    }

    pub(crate) fn push_in(&mut self, delay: u64, what: Step) {
        self.script.at(self.now + delay, what);
        let index = self.script.steps.len() - 1;
        self.push(self.now + delay, What::Step(index));
    }

    pub(crate) fn push(&mut self, at: u64, what: What) {
        self.sequence += 1;
        self.queue.insert((at, self.sequence), what);
    }

    fn happens(&mut self, what: What) {
        match self.obstacle(&what) {
            Obstacle::None => {}
            Obstacle::Waits => return self.waiting.push((self.now, what)),
            Obstacle::Lost => return,
        }
        if let Some(log) = &mut self.log {
            let _ = writeln!(log, "{} {what:?}", self.now);
        }
        match what {
            What::Tick(host, process) => {
                if self.hosts[host].process == process {
                    let stuck = self.hosts[host].is_stuck;
                    self.push(self.now + TICK_MS, What::Tick(host, process));
                    self.input(host, NodeInput::Tick { stuck });
                }
            }
            What::Arrives(way, input, messages) => {
                if self.hosts[way.to].process == way.process {
                    self.arrives(way.to, input, messages);
                }
            }
            What::Asks(way, input) => self.asked(way, input),
            What::Seeks(way, asked) => self.sought(way, asked),
            What::Calls(way, id, call) => self.called(way.from, way.process, id, call),
            What::Loaded(host, process, held) => self.loaded(host, process, held),
            What::Step(index) => {
                let step = self.script.steps[index].1.clone();
                step.happens(self);
            }
            What::Sample => {
                self.push(self.now + SAMPLE_MS, What::Sample);
                self.sample();
            }
        }
    }

    /// The obstacle that keeps an event from happening now.
    fn obstacle(&self, what: &What) -> Obstacle {
        let (from, to) = match what {
            What::Arrives(way, ..) | What::Asks(way, _) => (way.from, way.to),
            What::Seeks(way, _) | What::Calls(way, ..) => (way.from, way.to),
            What::Tick(host, _) | What::Loaded(host, ..) => (*host, *host),
            What::Step(_) | What::Sample => return Obstacle::None,
        };
        if !self.script.is_understood(from, to) {
            return Obstacle::Lost;
        }
        if self.net.is_cut(from, to) {
            return if self.net.sends_again || what.is_stream() {
                Obstacle::Waits
            } else {
                Obstacle::Lost
            };
        }
        if to != ETCD && self.hosts[to].pause != Pause::None {
            return Obstacle::Waits;
        }
        if to == ETCD {
            return match self.etcd_state {
                EtcdState::Up => Obstacle::None,
                EtcdState::Down => Obstacle::Lost,
                EtcdState::Frozen => Obstacle::Waits,
            };
        }
        Obstacle::None
    }

    /// Events that waited may happen: a process goes on, a way is mended, etcd thaws.
    pub(crate) fn release(&mut self) {
        let waiting = std::mem::take(&mut self.waiting);
        for (since, what) in waiting {
            let is_old = self.now - since > SENT_AGAIN_MS;
            let is_tick = matches!(what, What::Tick(..));
            let is_local = is_tick || matches!(what, What::Loaded(..));
            if is_local || what.is_stream() || !is_old {
                // A process that goes on finds its timer among what else waits for it.
                let later = if is_tick { self.rng.u64(..3) } else { 0 };
                self.push(self.now + later, what);
            }
        }
    }

    fn asked(&mut self, way: Way, input: NodeInput) {
        let Way { from, process, to } = way;
        let host = &self.hosts[to];
        if host.cluster.is_some() {
            return self.arrives(to, input, Vec::new());
        }
        if host.is_up {
            let refused = NodeInput::Refused(host.node);
            self.send(to, from, process, refused, Vec::new());
        }
    }

    fn loaded(&mut self, host: usize, process: u32, held: Held) {
        if self.hosts[host].process != process {
            return;
        }
        let whole = self.etcd_state == EtcdState::Up
            && self.net.passes(host, ETCD)
            && !self.hosts[host].member_is_alone
            && !self.hosts[host].cannot_load;
        self.input(host, NodeInput::Loaded { held, whole });
    }

    pub(crate) fn send(
        &mut self,
        from: End,
        to: usize,
        process: u32,
        input: NodeInput,
        messages: Vec<u32>,
    ) {
        let at = self.net.arrival(self.now, (from, to), &mut self.rng);
        self.push(
            at,
            What::Arrives(Way { from, process, to }, input, messages),
        );
    }

    fn arrives(&mut self, to: usize, input: NodeInput, messages: Vec<u32>) {
        if let NodeInput::Parcel(_, parcel) = &input {
            self.hosts[to].kept.insert(parcel.id, messages);
        }
        self.contacts(to, &input);
        if let NodeInput::Answer(_, answer) = &input {
            self.check.answered(to, answer, self.now);
        }
        self.input(to, input);
    }

    /// Clients send, owners write; all slots are looked at.
    fn sample(&mut self) {
        if self.etcd_state == EtcdState::Up {
            self.etcd.expire(self.now);
            self.publish();
        }
        let slot = self.rng.usize(..usize::from(self.script.slots));
        let number = self.rng.usize(..self.hosts.len());
        if let Some(held) = self.hosts[number].admits(slot, self.now) {
            let message = self.check.accepts();
            self.hosts[number]
                .pending
                .entry(held.slot)
                .or_default()
                .push(message);
        }
        let number = self.rng.usize(..self.hosts.len());
        if self.hosts[number].admits(slot, self.now).is_some() {
            self.input(
                number,
                NodeInput::Write(Slot(u16::try_from(slot).expect("few slots")), 1),
            );
        }
        self.check.looks(self.now, &self.hosts, &self.script);
        self.overlaps();
    }

    pub(crate) fn overlaps(&mut self) {
        if self.check.is_doubled() {
            let etcd_is_up = self.etcd_state == EtcdState::Up;
            let slow = self.script.delay_max + self.script.lag.iter().max().copied().unwrap_or(0);
            self.check
                .overlaps(self.now, &self.hosts, &self.net, etcd_is_up, slow);
        }
    }

    /// Starts the process of a host.
    pub(crate) fn start(&mut self, number: usize) {
        let seed = self.rng.u64(..);
        let now = self.now;
        let host = &mut self.hosts[number];
        if host.cluster.is_some() || !host.is_up {
            return;
        }
        host.is_wanted = true;
        host.start(Spans::of_lease(self.script.asked_ms), seed, now);
        let process = host.process;
        let offset = self.rng.u64(..TICK_MS);
        self.push(now + offset, What::Tick(number, process));
        self.check.started(number);
    }

    /// Ends the process of a host at once.
    pub(crate) fn end_process(&mut self, number: usize) {
        for slot in 0..self.script.slots {
            self.set_serving(number, Slot(slot), None);
        }
        let lost = self.hosts[number].end();
        self.check.idle(&lost);
        self.check.lost(&lost);
    }
}
