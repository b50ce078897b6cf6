//! Changes of channels: durable before they are made, one of a channel at a time, then answered. See codec/PROTOCOL.md,
//! CHAN and MEDIA.

use super::{Caller, Channel, LIMITED, Model, Refusal, Told, UNAVAILABLE};
use crate::sim::store::{Given, Verdict, trouble};
use crate::sim::words::Call;
use broker_core::check::Check;
use broker_core::registry::StoreError;
use std::collections::VecDeque;

/// Changes of one channel that wait for the one under way.
const WAITING: usize = 16;

/// Tags of one channel.
const TAGS: usize = 50;

/// Keys and values.
pub(crate) type Tags = Vec<(String, String)>;

/// The state of a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Life {
    Creating,
    Active,
    Deleting,
}

impl Channel {
    /// Its status for callers.
    pub(crate) fn status(&self) -> &'static str {
        match self.life {
            Life::Creating => panic!("callers do not see it"),
            Life::Active => "ACTIVE",
            Life::Deleting => "DELETING",
        }
    }

    /// The bytes that it counts with: those of its record, and of the one that is to be, if these are more.
    pub(crate) fn record_bytes(&self) -> u64 {
        let own = record_bytes(&self.arn, &self.tags);
        match self.changing.as_ref().map(|changing| &changing.step) {
            Some(Step::Replace(_, tags, _)) => own.max(record_bytes(&self.arn, tags)),
            Some(Step::Create | Step::Delete) | None => own,
        }
    }
}

/// Bytes of a record: an allocation for each text and for the list of tags, which has two boxes of texts for each.
pub(crate) fn record_bytes(arn: &str, tags: &Tags) -> u64 {
    let block = |bytes: usize| (bytes + bytes / 8 + 16) as u64;
    let parts: Vec<&str> = arn.split([':', '/']).collect();
    let name = parts[3].len() + parts[4].len() + parts[6].len() + 2;
    let list = if tags.is_empty() {
        0
    } else {
        block(24) + block(0)
    };
    let of_tag = |(key, value): &(String, String)| 32 + block(key.len()) + block(value.len());
    256 + block(arn.len()) + block(name) + list + tags.iter().map(of_tag).sum::<u64>()
}

/// A change that the store has not reported.
pub(crate) struct Changing {
    number: u64,
    caller: Option<Caller>,
    step: Step,
    /// The version that the record to be has, once it was seen.
    version: Option<String>,
    waiting: VecDeque<(Caller, Call)>,
}

/// The effect of a change.
#[derive(Clone)]
pub(crate) enum Step {
    Create,
    /// The time to live, the tags, and whether a version is drawn.
    Replace(u64, Tags, bool),
    Delete,
}

/// A change that a store must be given in this step.
pub(crate) struct Submission {
    pub(crate) number: u64,
    pub(crate) channel: usize,
    pub(crate) put: Option<(u64, Tags, bool)>,
    pub(crate) verdict: Verdict,
}

impl Model {
    /// A channel that a call or a connect makes.
    pub(crate) fn begin_channel(&mut self, channel: usize, caller: Option<Caller>, life: Life) {
        self.channels[channel].life = life;
        self.submit(channel, caller, Step::Create);
    }

    /// A call that changes a channel, or waits until it may.
    pub(crate) fn alter(&mut self, home: usize, caller: Caller, arn: &str, call: Call) {
        let Some(channel) = self.by_arn(arn) else {
            let told = Told::Fault(404, self.absent(arn));
            return self.tell(home, caller, told);
        };
        if let Some(changing) = &mut self.channels[channel].changing {
            if changing.waiting.len() < WAITING {
                changing.waiting.push_back((caller, call));
                return self.met("change waits for the one before");
            }
            self.met("too many changes wait");
            let told = Told::Fault(400, Refusal::new(Check::ChangesFull, LIMITED));
            return self.tell(home, caller, told);
        }
        let step = altered(&self.channels[channel], call);
        if let Ok(Step::Replace(_, tags, _)) = &step {
            let own = record_bytes(arn, &self.channels[channel].tags);
            let wanted = record_bytes(arn, tags);
            if wanted > own && !self.has_bytes(home, caller, wanted - own) {
                let told = Told::Fault(400, Refusal::new(Check::RecordsFull, LIMITED));
                return self.tell(home, caller, told);
            }
        }
        match step {
            Err(refusal) => self.tell(home, caller, Told::Fault(400, refusal)),
            Ok(step) => {
                if matches!(step, Step::Delete) {
                    self.channels[channel].life = Life::Deleting;
                }
                self.submit(channel, Some(caller), step);
            }
        }
    }

    /// A test ends a channel; false when a change of it is under way, or it cannot be ended.
    pub(crate) fn end_by_reset(&mut self, channel: usize) -> bool {
        if self.channels[channel].changing.is_some() {
            return false;
        }
        self.channels[channel].life = Life::Deleting;
        self.submit(channel, None, Step::Delete);
        let this = &self.channels[channel];
        !this.alive || this.life == Life::Deleting
    }

    fn submit(&mut self, channel: usize, caller: Option<Caller>, step: Step) {
        let home = self.channels[channel].home;
        let number = self.shards[home].submissions;
        self.shards[home].submissions += 1;
        let verdict = self.verdicts.of(home, number);
        let this = &mut self.channels[channel];
        let put = match &step {
            Step::Create => {
                this.drawn_by = Some(number);
                Some((this.ttl, this.tags.clone(), true))
            }
            Step::Replace(ttl, tags, drawn) => Some((*ttl, tags.clone(), *drawn)),
            Step::Delete => None,
        };
        self.out.submissions.push_back(Submission {
            number,
            channel,
            put,
            verdict,
        });
        let changing = Changing {
            number,
            caller,
            step,
            version: None,
            waiting: VecDeque::new(),
        };
        match verdict {
            Verdict::Kept => self.conclude(channel, changing, true),
            Verdict::Refused => self.conclude(channel, changing, false),
            Verdict::Later(_) => self.channels[channel].changing = Some(changing),
        }
    }

    /// The store reports the change of a channel.
    pub(crate) fn committed(&mut self, channel: usize, kept: bool) {
        let changing = self.channels[channel].changing.take();
        self.conclude(channel, changing.expect("it was under way"), kept);
    }

    fn conclude(&mut self, channel: usize, changing: Changing, kept: bool) {
        let home = self.channels[channel].home;
        let Changing {
            number,
            caller,
            step,
            version,
            mut waiting,
        } = changing;
        let told = if kept {
            self.make(channel, number, step, version)
        } else {
            self.met("change not kept");
            let check = match trouble(number) {
                StoreError::Failed(error) => {
                    self.store_failed(home, error);
                    Check::StoreFailed
                }
                StoreError::Busy => Check::ChangesFull,
            };
            let this = &mut self.channels[channel];
            match step {
                Step::Create if this.life == Life::Creating => this.alive = false,
                Step::Delete => this.life = Life::Active,
                Step::Create | Step::Replace(..) => {}
            }
            Told::Fault(503, Refusal::new(check, UNAVAILABLE))
        };
        if let Some(caller) = caller {
            self.tell(home, caller, told);
        }
        while let Some((caller, call)) = waiting.pop_front() {
            self.serve(home, caller, call);
            if let Some(next) = &mut self.channels[channel].changing {
                next.waiting.append(&mut waiting);
            }
        }
    }

    fn make(&mut self, channel: usize, number: u64, step: Step, version: Option<String>) -> Told {
        let this = &mut self.channels[channel];
        match step {
            Step::Create => {
                this.life = Life::Active;
                self.record(Some(channel))
            }
            Step::Replace(ttl, tags, drawn) => {
                this.ttl = ttl;
                this.tags = tags;
                if drawn {
                    this.drawn_by = version.is_none().then_some(number);
                    this.version = version;
                }
                Told::Done
            }
            Step::Delete => {
                self.end_channel(channel);
                Told::Done
            }
        }
    }

    /// A store was given something. Returns whose it is, and what becomes of it.
    ///
    /// # Panics
    /// When it is not what was to be given next.
    pub(crate) fn given(&mut self, given: &Given) -> Submission {
        let next = self.out.submissions.pop_front();
        let next = next.expect("nothing was to be stored");
        let this = &mut self.channels[next.channel];
        assert_eq!(given.arn, this.arn, "whose record");
        this.key = Some(given.key);
        match (&given.put, &next.put) {
            (None, None) => {}
            (Some(put), Some((ttl, tags, drawn))) => {
                assert_eq!((put.ttl, &put.tags), (*ttl, tags), "the record");
                let same = this.version.as_ref() == Some(&put.version);
                assert!(
                    !(*drawn && same) && (*drawn || same || this.version.is_none()),
                    "a version is drawn by updates"
                );
                let version = || Some(put.version.clone());
                if let Some(changing) = &mut this.changing
                    && changing.number == next.number
                {
                    changing.version = version();
                }
                if this.drawn_by == Some(next.number) {
                    (this.version, this.drawn_by) = (version(), None);
                }
            }
            other => panic!("{other:?} was stored"),
        }
        next
    }

    /// Changes that a shard's store has not reported.
    pub(crate) fn changes(&self, shard: usize) -> usize {
        let here = |channel: &&Channel| channel.home == shard && channel.changing.is_some();
        self.channels.iter().filter(here).count()
    }
}

fn altered(channel: &Channel, call: Call) -> Result<Step, Refusal> {
    let stale = Refusal::new(Check::ChannelVersionStale, "VersionMismatchException");
    let current = |version: &str| channel.version.as_deref() == Some(version);
    let mut tags = channel.tags.clone();
    match call {
        Call::Update(_, version, _) if !current(&version) => Err(stale),
        Call::Update(_, _, ttl) => Ok(Step::Replace(u64::from(ttl), tags, true)),
        Call::Delete(_, Some(version)) if !current(&version) => Err(stale),
        Call::Delete(..) => Ok(Step::Delete),
        Call::Tag(_, more) => {
            for (key, value) in more {
                match tags.iter().position(|(old, _)| *old == key) {
                    Some(place) => tags[place].1 = value,
                    None => tags.push((key, value)),
                }
            }
            if tags.len() > TAGS {
                let error = "TagsPerResourceExceededLimitException";
                return Err(Refusal::new(Check::TagsFull, error));
            }
            Ok(Step::Replace(channel.ttl, tags, false))
        }
        Call::Untag(_, keys) => {
            tags.retain(|(key, _)| !keys.contains(key));
            Ok(Step::Replace(channel.ttl, tags, false))
        }
        other => panic!("{other:?} changes nothing"),
    }
}
