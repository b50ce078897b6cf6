//! Those who watch channels: what they know in the end is what is so, also when they often have no room.

use crate::sim::model::Model;
use crate::sim::model::changes::Life;
use crate::sim::world::World;
use broker_core::limits::WAITERS_TOLD_MAX;
use broker_core::presence::{Audience, Told};
use broker_core::shard::{Question, Reply};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};

/// A channel as it is known: whether a master is there, how many viewers, and who waits.
#[derive(Debug, Default, PartialEq, Eq)]
struct Known {
    master: bool,
    viewers: usize,
    waiting: BTreeSet<String>,
    /// Those that are left out.
    more: usize,
}

/// One shard's audience, as the test sees it.
pub(crate) struct Watcher {
    told: Receiver<Told>,
    /// The last word found no room.
    behind: Arc<AtomicBool>,
    /// By ARN, with the sequence of its newest state.
    known: BTreeMap<String, (u64, Known)>,
}

struct Ear {
    to: Sender<Told>,
    behind: Arc<AtomicBool>,
    random: fastrand::Rng,
    refuses: bool,
    reads: bool,
}

impl Audience for Ear {
    fn tell(&mut self, told: Told) -> Result<(), Told> {
        let refused = self.refuses && self.random.u8(..) < 90;
        self.behind.store(refused, Ordering::Relaxed);
        if refused {
            return Err(told);
        }
        self.to.send(told).expect("the world listens");
        Ok(())
    }

    fn is_read(&self) -> bool {
        self.reads
    }
}

impl Watcher {
    /// Whether it reads the states of all channels in the world of this seed, where no hook names any.
    pub(crate) fn reads(seed: u64) -> bool {
        seed.is_multiple_of(3)
    }

    /// One that has no room now and then, in every other world.
    pub(crate) fn joins(all: &mut Vec<Self>, seed: u64, shard: u16) -> Box<dyn Audience> {
        let (to, told) = channel();
        let behind = Arc::new(AtomicBool::new(false));
        let ear = Ear {
            to,
            behind: Arc::clone(&behind),
            random: fastrand::Rng::with_seed(seed.rotate_left(u32::from(shard) + 3)),
            refuses: seed.is_multiple_of(2),
            reads: Self::reads(seed),
        };
        all.push(Self {
            told,
            behind,
            known: BTreeMap::new(),
        });
        Box::new(ear)
    }
}

impl World {
    /// After an input: which masters are reported gone.
    pub(crate) fn masters_are_there(&mut self, shard: usize) {
        for channel in 0..self.model.channels.len() {
            let one = &self.model.channels[channel];
            let here = one.alive && one.home == shard && one.life != Life::Creating;
            let master = one.master.filter(|_| here);
            let Some(master) = master.filter(|id| self.model.may_be_gone(*id)) else {
                continue;
            };
            let identity = self.identity(&one.name);
            let Reply::Channel(Some(found)) = self.ask(shard, Question::Channel(identity)) else {
                panic!("the channel is there");
            };
            let presence = found.presence.expect("no slot moves");
            self.model.observe_master(master, presence.master.is_none());
            self.model.note_callers(master);
        }
    }

    /// After an input: each state is newer than the one before, and if all found room, they are what the model says.
    pub(crate) fn told_as_predicted(&mut self, shard: usize) {
        let mut hits = 0;
        let watcher = &mut self.watchers[shard];
        for told in watcher.told.try_iter() {
            let Told::Presence(told) = told else {
                panic!("there was room for all last states")
            };
            let waiting = told.waiting.iter().map(|one| one.client_id.to_string());
            let known = Known {
                master: told.master.is_some(),
                viewers: told.viewers as usize,
                waiting: waiting.collect(),
                more: told.more as usize,
            };
            let is_full = told.waiting.len() == WAITERS_TOLD_MAX;
            assert!(is_full || told.more == 0, "there was room for more");
            let told = (told.arn.to_string(), told.sequence);
            let last = watcher.known.insert(told.0, (told.1, known));
            assert!(last.is_none_or(|(last, _)| last < told.1), "it went back");
            hits += 1;
        }
        if watcher.behind.load(Ordering::Relaxed) {
            return self.hit("fault: no room for a presence");
        }
        let all = known_to(&self.model, shard, 0);
        let lasting = known_to(&self.model, shard, self.model.now);
        for ((arn, mut wanted), (_, lasting)) in all.zip(lasting) {
            let nobody = Known::default();
            let known = self.watchers[shard].known.get(&arn);
            let known = known.map_or(&nobody, |(_, known)| known);
            // A message whose time is over may have been taken out, or not yet.
            let over: Vec<_> = wanted
                .waiting
                .difference(&lasting.waiting)
                .cloned()
                .collect();
            for client in over
                .iter()
                .filter(|client| !known.waiting.contains(*client))
            {
                wanted.waiting.remove(client);
            }
            let (doubted, may) = doubted(&self.model, &arn);
            wanted.waiting.extend(doubted);
            wanted
                .waiting
                .extend(known.waiting.intersection(&may).cloned());
            leave_out(&mut wanted, known);
            assert_eq!(*known, wanted, "the presence of {arn}");
        }
        for _ in 0..hits {
            self.hit("presence told");
        }
    }
}

/// Of too many who wait some are left out: as many as is said at most, since one may wait for several reasons.
fn leave_out(wanted: &mut Known, known: &Known) {
    let all = wanted.waiting.len();
    if known.more > 0 {
        (wanted.waiting).retain(|client| known.waiting.contains(client));
        wanted.more = known.more;
    }
    let left_out = all - wanted.waiting.len();
    assert!(left_out <= known.more, "{left_out} are left out: {known:?}");
}

/// The viewers whose messages a doubtful master has not confirmed: those that are told to wait, and all that may be,
/// since who comes later is told with the next change. So may callers that wait for its answer, or waited since then.
fn doubted(model: &Model, arn: &str) -> (BTreeSet<String>, BTreeSet<String>) {
    let mut channels = model.channels.iter();
    let channel = channels.find(|one| one.alive && one.arn == arn);
    let master = channel.and_then(|channel| channel.master);
    let Some(master) = master.filter(|master| model.conns[*master].doubtful.is_some()) else {
        return Default::default();
    };
    let (now, then) = (
        model.unconfirmed_viewers(master),
        &model.conns[master].doubted,
    );
    let told = then.intersection(&now).cloned().collect();
    let mut may: BTreeSet<String> = now.union(then).cloned().collect();
    may.extend(model.conns[master].doubted_calls.iter().cloned());
    (told, may)
}

/// The channels of a shard as they are, with those who wait beyond this moment.
fn known_to(model: &Model, shard: usize, beyond: u64) -> impl Iterator<Item = (String, Known)> {
    let here = model.channels.iter();
    let here = here.filter(move |one| one.alive && one.home == shard);
    here.map(move |one| {
        let kept = one.pending.iter().map(|nth| &model.messages[*nth]);
        let kept = kept.filter(|message| message.to_master && message.expires > beyond);
        let kept = kept.map(|message| message.viewer.clone());
        // A master that had an offer before has it still.
        let has = |had: &[_]| one.master.is_some_and(|master| had.contains(&master));
        let calls = one.calls.iter();
        let calls =
            calls.filter(|call| call.given.is_none() && call.expires > beyond && !has(&call.had));
        let calls = calls.map(|call| call.sender.clone());
        let known = Known {
            master: one.master.is_some_and(|master| !model.is_gone(master)),
            viewers: one.viewers.len(),
            waiting: kept.chain(calls).collect(),
            more: 0,
        };
        (one.arn.clone(), known)
    })
}
