//! The store of the simulation: it keeps at once, later, or not at all, as the seed says, and reports to the world what
//! it was given.

use broker_core::id::ChannelKey;
use broker_core::registry::{Change, Store, StoreError, Submitted};
use std::sync::mpsc::Sender;

/// The behaviour of a world's stores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Everything is kept at once.
    Immediate,
    /// Everything is kept later.
    Delayed,
    /// Later, and some of it not.
    Failing,
    /// Some of it is refused, the rest kept at once or later.
    Refusing,
}

/// The verdict on one change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Kept,
    Later(bool),
    Refused,
}

/// The verdicts of a world: the same for every caller.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Verdicts {
    pub(crate) kind: Kind,
    pub(crate) seed: u64,
}

impl Verdicts {
    /// Of the `number`th change of a shard. Some stores fail for a while: as long as a crowd of callers takes.
    pub(crate) fn of(self, shard: usize, number: u64) -> Verdict {
        let seed = self.seed ^ ((shard as u64) << 48);
        let draw = |number, of| fastrand::Rng::with_seed(seed ^ number).u32(0..of);
        let fails = draw(!(number / FAILING_CHANGES), 3) == 0;
        match (self.kind, draw(number, 4)) {
            (Kind::Failing, _) if fails => Verdict::Later(false),
            (Kind::Refusing, _) if fails => Verdict::Refused,
            (Kind::Immediate, _) | (Kind::Refusing, 0) => Verdict::Kept,
            (Kind::Delayed, _) | (Kind::Failing, 1..) | (Kind::Refusing, 1) => Verdict::Later(true),
            (Kind::Failing, 0) => Verdict::Later(false),
            (Kind::Refusing, _) => Verdict::Refused,
        }
    }
}

/// Changes of a shard that its store fails to keep, one after the other, when it does for a while.
const FAILING_CHANGES: u64 = 24;

/// The error of the store for a change that it did not keep: that it is busy, or what is wrong.
pub(crate) fn trouble(number: u64) -> StoreError {
    if number.is_multiple_of(4) {
        return StoreError::Busy;
    }
    StoreError::Failed(format!("change {number} is not kept").into())
}

/// A change as it was given to a store.
#[derive(Debug)]
pub(crate) struct Given {
    pub(crate) key: ChannelKey,
    pub(crate) arn: String,
    pub(crate) put: Option<Put>,
    /// Its number on this shard, and what becomes of it.
    pub(crate) number: u64,
    pub(crate) verdict: Verdict,
}

/// The parts of a record that can change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Put {
    pub(crate) ttl: u64,
    pub(crate) version: String,
    pub(crate) tags: Vec<(String, String)>,
}

/// The store of one shard.
pub(crate) struct SimStore {
    shard: usize,
    verdicts: Verdicts,
    number: u64,
    given: Sender<Given>,
}

impl SimStore {
    /// A store that reports to the world what it was given.
    pub(crate) fn new(shard: usize, verdicts: Verdicts, given: Sender<Given>) -> Self {
        let number = 0;
        Self {
            shard,
            verdicts,
            number,
            given,
        }
    }
}

impl Store for SimStore {
    fn submit(&mut self, of: ChannelKey, change: Change<'_>) -> Result<Submitted, StoreError> {
        let number = self.number;
        self.number += 1;
        let verdict = self.verdicts.of(self.shard, number);
        let (arn, put) = match change {
            Change::Put(record) => {
                let tags = record.tags.iter();
                let tags = tags.map(|tag| (tag.key.to_string(), tag.value.to_string()));
                let put = Put {
                    ttl: u64::from(record.ttl_seconds),
                    version: record.version.as_str().to_owned(),
                    tags: tags.collect(),
                };
                (&record.arn, Some(put))
            }
            Change::Remove(arn) => (arn, None),
        };
        let given = Given {
            key: of,
            arn: arn.as_str().to_owned(),
            put,
            number,
            verdict,
        };
        self.given.send(given).expect("the world has the other end");
        match verdict {
            Verdict::Kept => Ok(Submitted::Kept),
            Verdict::Later(_) => Ok(Submitted::Later),
            Verdict::Refused => Err(trouble(number)),
        }
    }
}
