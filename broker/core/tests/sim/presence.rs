//! Those who watch channels: what they know in the end is what is so, also when they often have no room.

use crate::sim::world::World;
use broker_core::limits::WAITERS_TOLD_MAX;
use broker_core::presence::{Audience, Presence, Told};
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
    /// The sequence of the newest state while it was doubtful that the master is there.
    doubted: BTreeMap<String, u64>,
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
            doubted: BTreeMap::new(),
        });
        Box::new(ear)
    }
}

impl Known {
    fn of(told: &Presence) -> Self {
        let waiting = told.waiting.iter().map(|one| one.client_id.to_string());
        Self {
            master: told.master.is_some(),
            viewers: told.viewers as usize,
            waiting: waiting.collect(),
            more: told.more as usize,
        }
    }
}

impl World {
    /// After an input: what those who watch were told; each state is newer than the one before.
    pub(crate) fn read_presence(&mut self, shard: usize) {
        let mut hits = 0;
        let watcher = &mut self.watchers[shard];
        for told in watcher.told.try_iter() {
            let Told::Presence(told) = told else {
                panic!("there was room for all last states")
            };
            let is_full = told.waiting.len() == WAITERS_TOLD_MAX;
            assert!(is_full || told.more == 0, "there was room for more");
            let (known, sequence) = (Known::of(&told), told.sequence);
            let last = (watcher.known).insert(told.arn.to_string(), (sequence, known));
            assert!(last.is_none_or(|(last, _)| last < sequence), "it went back");
            hits += 1;
        }
        let behind = watcher.behind.load(Ordering::Relaxed);
        for _ in 0..hits {
            self.hit("presence told");
        }
        if behind {
            return self.hit("fault: no room for a presence");
        }
        for (arn, (_, known)) in &self.watchers[shard].known {
            let mut all = self.records.all();
            let there = all.any(|(_, record)| record.arn == *arn);
            assert!(there || *known == Known::default(), "{known:?} of {arn}");
        }
    }

    /// If all states found room, those who watch know what is so.
    pub(crate) fn told_is(&mut self, shard: usize, presence: &Presence, doubtful: bool) {
        let watcher = &mut self.watchers[shard];
        if watcher.behind.load(Ordering::Relaxed) {
            return;
        }
        let nobody = Known::default();
        let known = watcher.known.get(&*presence.arn);
        let (sequence, known) = known.map_or((0, &nobody), |(sequence, known)| (*sequence, known));
        let mut wanted = Known::of(presence);
        // A viewer that waits for a doubtful master may be reported with the next change only.
        let late = watcher.doubted.get(&*presence.arn) == Some(&sequence);
        if doubtful || late {
            watcher.doubted.insert(presence.arn.to_string(), sequence);
            wanted.waiting.clone_from(&known.waiting);
            wanted.more = known.more;
        }
        assert_eq!(*known, wanted, "the presence of {}", presence.arn);
    }
}
