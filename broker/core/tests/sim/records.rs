//! The records of channels as the stores have them, and what callers may have been told of them since when.

use crate::sim::letters::Change;
use crate::sim::store::{Given, Put, Verdict};
use crate::sim::world::World;
use std::collections::BTreeMap;

/// The creation time in the ARNs of channels that nobody created by a call.
pub(crate) const BORN: &str = "1700000000000";

/// The state of a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Life {
    Creating,
    Active,
    Deleting,
}

/// The record of a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) arn: String,
    pub(crate) put: Put,
    pub(crate) life: Life,
}

/// A change that a store has kept.
#[derive(Debug)]
pub(crate) struct Made {
    pub(crate) step: u64,
    pub(crate) arn: String,
    /// `None` when the channel was removed.
    pub(crate) put: Option<Put>,
    pub(crate) created: bool,
    /// Whether a response has acknowledged the change.
    pub(crate) told: bool,
}

/// Everything of one name.
#[derive(Default)]
struct Channel {
    /// Each state with the step in which it began.
    history: Vec<(u64, Option<Record>)>,
    /// The change under way, and whether it makes the channel.
    changing: Option<(Given, bool)>,
}

/// All records.
#[derive(Default)]
pub(crate) struct Records {
    channels: BTreeMap<String, Channel>,
    pub(crate) made: Vec<Made>,
}

/// The channel's name in an ARN.
pub(crate) fn name_of(arn: &str) -> &str {
    arn.rsplit('/').nth(1).unwrap_or_default()
}

impl Channel {
    fn current(&self) -> Option<&Record> {
        self.history.last().and_then(|(_, record)| record.as_ref())
    }
}

impl Records {
    /// The record of a name, also if it is only being created.
    pub(crate) fn current(&self, name: &str) -> Option<&Record> {
        self.channels.get(name)?.current()
    }

    /// The record of a name that callers can see.
    pub(crate) fn visible(&self, name: &str) -> Option<&Record> {
        let record = self.current(name)?;
        (record.life != Life::Creating).then_some(record)
    }

    /// All records.
    pub(crate) fn all(&self) -> impl Iterator<Item = (&str, &Record)> {
        let all = self.channels.iter();
        all.filter_map(|(name, channel)| Some((&**name, channel.current()?)))
    }

    /// How often a channel of this name was made.
    pub(crate) fn lives(&self, name: &str) -> usize {
        let history = self.channels.get(name).map_or(&[][..], |it| &it.history);
        let mut before = true;
        let begins = |(_, record): &&(u64, Option<Record>)| {
            let begins = before && record.is_some();
            before = record.is_none();
            begins
        };
        history.iter().filter(begins).count()
    }

    /// The states of a name that somebody may have met since this step.
    pub(crate) fn states(&self, name: &str, since: u64) -> impl Iterator<Item = Option<&Record>> {
        let history = self.channels.get(name).map_or(&[][..], |it| &it.history);
        let before = history.iter().rposition(|(step, _)| *step <= since);
        let first = before.is_none().then_some(None);
        let states = history[before.unwrap_or(0)..].iter();
        first
            .into_iter()
            .chain(states.map(|(_, record)| record.as_ref()))
    }

    /// A store was given a change. One that it reports later is returned.
    ///
    /// # Panics
    /// When it is none that may follow.
    fn given(&mut self, given: Given, step: u64) -> Option<Change> {
        let name = name_of(&given.arn).to_owned();
        let channel = self.channels.entry(name.clone()).or_default();
        let fine = channel.changing.is_none();
        assert!(fine, "one change of a channel at a time");
        let before = channel.current().cloned();
        let is_new = before.is_none();
        // A connect of a test makes the channel of an ARN that its client knows, and does not wait for the store.
        let mut known = channel.history.iter().filter_map(|(_, it)| it.as_ref());
        let is_known = given.arn.ends_with(BORN) || known.any(|it| it.arn == given.arn);
        if let Some(before) = &before {
            assert_eq!(before.arn, given.arn, "whose record");
            assert_ne!(before.life, Life::Deleting, "it is deleted once");
        }
        let record = match (&given.put, before) {
            (None, before) => Record {
                life: Life::Deleting,
                ..before.expect("what is removed is there")
            },
            (Some(put), None) => Record {
                arn: given.arn.clone(),
                put: put.clone(),
                life: match is_known {
                    true => Life::Active,
                    false => Life::Creating,
                },
            },
            (Some(put), Some(before)) => {
                let drawn = before.put.version != put.version;
                let tags = before.put.tags != put.tags;
                assert!(!(drawn && tags), "a version is drawn by updates");
                before
            }
        };
        channel.history.push((step, Some(record)));
        let (key, number, verdict) = (given.key, given.number, given.verdict);
        channel.changing = Some((given, is_new));
        let kept = match verdict {
            Verdict::Later(kept) => {
                return Some(Change {
                    key,
                    name,
                    number,
                    kept,
                });
            }
            Verdict::Kept => true,
            Verdict::Refused => false,
        };
        self.committed(&name, kept, step);
        None
    }

    /// A store has kept a change, or not.
    pub(crate) fn committed(&mut self, name: &str, kept: bool, step: u64) {
        let channel = self.channels.get_mut(name).expect("it has a change");
        let (change, created) = channel.changing.take().expect("it is under way");
        let before = channel.current().cloned().expect("it is there");
        let after = match (&change.put, kept) {
            (Some(put), true) => Some(Record {
                arn: change.arn.clone(),
                put: put.clone(),
                life: Life::Active,
            }),
            (None, true) => None,
            (_, false) if before.life == Life::Creating => None,
            (_, false) => Some(Record {
                life: Life::Active,
                ..before
            }),
        };
        channel.history.push((step, after));
        if kept {
            self.made.push(Made {
                step,
                arn: change.arn,
                put: change.put,
                created,
                told: false,
            });
        }
    }

    /// The number of changes that the stores of some channels have not reported.
    pub(crate) fn changing(&self, here: impl Fn(&str) -> bool) -> usize {
        let all = self.channels.iter();
        let changing = all.filter(|(_, channel)| channel.changing.is_some());
        changing.filter(|(name, _)| here(name)).count()
    }
}

impl World {
    /// Reads the changes that a shard passed to its store in this step.
    pub(crate) fn read_store(&mut self, shard: usize) {
        for given in self.stores[shard].try_iter() {
            if let Some(change) = self.records.given(given, self.step) {
                self.changes[shard].push_back(change);
            }
        }
    }
}
