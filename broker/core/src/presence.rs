//! The presence of watched channels as plain data: the connected master and viewers, the viewers waiting for an absent
//! master, and the changes that have not been reported yet.
//!
//! A hook in the configuration selects the channels that it watches. While an operator's page follows all channels, all
//! of them are watched. After each input that changes a watched channel, the shard reports the channel's complete state
//! rather than a delta. A report can therefore be lost or replaced by a newer one without harm. A shard's sequence
//! numbers never repeat or decrease while the process runs. States from different processes are ordered by epoch first.
//! The epoch is that of the process or, in a cluster, that of the channel's slot since this process started to serve
//! the slot.

use crate::id::{Account, CallerId, ChannelKey, Slot};
use crate::limits::{PARTING_MAX, PRESENCE_RETRY_MS, PRESENCE_TOLD_PER_TURN};
use crate::record::Record;
use crate::time::{Moment, Now, Wall};
use codec::signal::Action;
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::ops::Bound;
use strum::{EnumCount, IntoStaticStr, VariantNames};

/// The presence on a channel at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Presence {
    /// The name of the channel.
    pub name: Box<str>,
    /// The ARN of the channel.
    pub arn: Box<str>,
    /// The account that owns the channel.
    pub account: Account,
    /// Bitmask of the hooks that watch the channel, where bit n is entry n of `[[hook]]`.
    pub hooks: u16,
    /// The channel's slot, if slots can move between nodes.
    pub slot: Option<Slot>,
    /// The epoch of this state. A new owner of the channel has a higher epoch than the previous one.
    pub epoch: u64,
    /// The sequence number of this state, which increases within an epoch.
    pub sequence: u64,
    /// The time of this state.
    pub at: Wall,
    /// The kind of the most recent change.
    pub cause: PresenceCause,
    /// Why the master or viewer in `cause` left, as worded in the log.
    pub reason: Option<&'static str>,
    /// The master, if one is connected.
    pub master: Option<Master>,
    /// Number of connected viewers.
    pub viewers: u32,
    /// Viewers and calls with messages queued for an absent master, oldest first and at most
    /// [`WAITERS_TOLD_MAX`](crate::limits::WAITERS_TOLD_MAX). A truncated list still includes the newest entry of each
    /// caller.
    pub waiting: Vec<Waiter>,
    /// Number of waiting viewers missing from `waiting`.
    pub more: u32,
}

impl Presence {
    /// Returns `true` if a master or viewer is connected or a viewer is waiting for a master.
    #[must_use]
    pub fn has_anybody(&self) -> bool {
        self.master.is_some() || self.viewers > 0 || !self.waiting.is_empty()
    }

    /// Creates the presence of a channel without connected or waiting clients.
    #[must_use]
    pub fn nobody(record: &Record, hooks: u16, cause: PresenceCause) -> Self {
        Self {
            name: record.arn.name().into(),
            arn: record.arn.to_string().into(),
            account: Account::of(&record.arn),
            hooks,
            slot: None,
            epoch: 0,
            sequence: 0,
            at: Wall(0),
            cause,
            reason: None,
            master: None,
            viewers: 0,
            waiting: Vec::new(),
            more: 0,
        }
    }
}

/// A connected master.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Master {
    /// When the master connected.
    pub since: Wall,
    /// The master's address.
    pub remote: SocketAddr,
    /// When the master became suspect, if it is. A suspect master has left a message unacknowledged for too long, and
    /// must be woken.
    pub doubtful_since: Option<Wall>,
}

impl Master {
    /// Returns `true` if the master is suspect, and is therefore woken as if it were absent.
    #[must_use]
    pub fn is_doubtful(&self) -> bool {
        self.doubtful_since.is_some()
    }
}

/// A viewer or a call that is waiting for a master.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiter {
    /// The client id of the viewer, or the sender id of an Alexa call.
    pub client_id: Box<str>,
    /// The action of the oldest queued offer or, without an offer, of the oldest queued message.
    pub action: Action,
    /// The caller of the viewer's connection; `None` if per-caller limits do not apply to it.
    pub caller: Option<CallerId>,
    /// When the message with `action` was accepted.
    pub since: Wall,
    /// When the message with `action` expires.
    pub until: Wall,
}

/// The kinds of changes to a channel's presence.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, EnumCount, IntoStaticStr, VariantNames,
)]
pub enum PresenceCause {
    /// A viewer started waiting, because its message was queued for an absent master.
    #[strum(serialize = "viewer.waiting")]
    Waiting,
    /// A viewer stopped waiting, because its messages were delivered or expired.
    #[strum(serialize = "viewer.served")]
    Served,
    /// A viewer joined.
    #[strum(serialize = "viewer.joined")]
    ViewerJoined,
    /// A viewer left.
    #[strum(serialize = "viewer.left")]
    ViewerLeft,
    /// A tag changed, so a hook started to watch the channel.
    #[strum(serialize = "channel.watched")]
    Watched,
    /// A master joined.
    #[strum(serialize = "master.joined")]
    MasterJoined,
    /// A master that had been reported as gone turned out to be still connected.
    #[strum(serialize = "master.confirmed")]
    MasterConfirmed,
    /// A newer master superseded the current one, or a superseded master regained its slot.
    #[strum(serialize = "master.replaced")]
    MasterReplaced,
    /// The master left.
    #[strum(serialize = "master.left")]
    MasterLeft,
    /// A tag was removed, so a hook stopped watching the channel. Reported only to that hook, as a channel without
    /// members.
    #[strum(serialize = "channel.unwatched")]
    Unwatched,
    /// The channel was deleted.
    #[strum(serialize = "channel.deleted")]
    Deleted,
}

/// A presence report that a shard passes to its [`Audience`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// The state of a channel.
    Presence(Box<Presence>),
    /// The queue was full, so the final states of some deleted channels were dropped.
    Lost,
}

/// Receives a shard's presence reports. Must not block.
pub trait Audience: Send {
    /// Delivers a report.
    ///
    /// # Errors
    /// Returns the report itself if there is no space for it. The shard retries later, with the state that the channel
    /// has by then.
    fn tell(&mut self, told: Told) -> Result<(), Told>;

    /// Returns `true` if all channels must be reported, including those that no hook watches. Called whenever a client
    /// joins or leaves.
    fn is_read(&self) -> bool {
        false
    }
}

/// An audience that discards all reports. For tests and benchmarks.
#[derive(Clone, Copy, Debug, Default)]
pub struct Nobody;

impl Audience for Nobody {
    fn tell(&mut self, _told: Told) -> Result<(), Told> {
        Ok(())
    }
}

// Presence changes that a shard has not reported yet.

/// The latest change to a channel's presence, with the reason if a master or viewer left.
pub type Change = (PresenceCause, Option<&'static str>);

/// Presence changes that a shard has not reported yet, at most one per watched channel. If a report cannot be
/// delivered, it is retried later with the channel's state at that time. Nothing is lost except the final states of
/// deleted channels beyond [`PARTING_MAX`], and such a loss is itself reported.
pub struct News {
    audience: Box<dyn Audience>,
    sequence: u64,
    changed: BTreeMap<ChannelKey, Change>,
    /// The channel that was reported last. The next report starts with the channel after it, so that a channel that
    /// changes all the time does not delay the others forever.
    turn: Option<ChannelKey>,
    parting: VecDeque<Box<Presence>>,
    lost: bool,
    /// When to continue, if reports are waiting for the next event loop iteration or for space in the audience's queue.
    waits: Option<Now>,
}

impl Default for News {
    fn default() -> Self {
        Self::new(Box::new(Nobody))
    }
}

impl News {
    /// Creates an empty queue that reports to `audience`.
    #[must_use]
    pub fn new(audience: Box<dyn Audience>) -> Self {
        Self {
            audience,
            sequence: 0,
            changed: BTreeMap::new(),
            turn: None,
            parting: VecDeque::new(),
            lost: false,
            waits: None,
        }
    }

    /// Returns `true` if a channel with these hooks must be reported.
    #[inline]
    #[must_use]
    pub fn is_watched(&self, hooks: u16) -> bool {
        hooks != 0 || self.audience.is_read()
    }

    /// Records a change to a watched channel. Of several unreported changes to a channel, only the most significant one
    /// is kept.
    pub fn changed(&mut self, channel: ChannelKey, change: Change) {
        let last = self.changed.entry(channel).or_insert(change);
        if change.0 >= last.0 {
            *last = change;
        }
    }

    /// Returns `true` if the channel has an unreported change.
    #[must_use]
    pub fn is_untold(&self, channel: ChannelKey) -> bool {
        self.changed.contains_key(&channel)
    }

    /// Records the final state of a channel that was deleted, or that some hooks no longer watch.
    pub fn parted(&mut self, channel: ChannelKey, last: Box<Presence>) {
        self.changed.remove(&channel);
        self.parting.push_back(last);
        if self.parting.len() > PARTING_MAX {
            self.parting.pop_front();
            self.lost = true;
        }
    }

    /// Drops the unreported change to a channel that now belongs to another process.
    pub fn forget(&mut self, channel: ChannelKey) {
        self.changed.remove(&channel);
    }

    /// Returns `true` if a report is due at `now`.
    #[inline]
    #[must_use]
    pub fn is_due(&self, now: Now) -> bool {
        !self.is_empty() && self.waits.is_none_or(|until| until <= now)
    }

    /// Returns when to retry, if there is anything to report.
    #[must_use]
    pub fn next_due(&self) -> Option<Now> {
        self.waits.filter(|_| !self.is_empty())
    }

    /// Returns `true` if there is nothing to report.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.changed.is_empty() && self.parting.is_empty() && !self.lost
    }

    /// Sends the reports that are due. `presence` returns a channel's current state with the given sequence number, or
    /// `None` if there is nothing to report.
    pub fn tell(
        &mut self,
        at: Moment,
        mut presence: impl FnMut(ChannelKey, Change, u64) -> Option<Box<Presence>>,
    ) {
        let now = at.now;
        self.waits = None;
        if self.lost && self.send(now, Told::Lost).is_ok() {
            self.lost = false;
        }
        while let Some(mut last) = self.parting.pop_front() {
            (last.sequence, last.at) = (self.next_sequence(), at.wall);
            if let Err(Told::Presence(last)) = self.send(now, Told::Presence(last)) {
                return self.parting.push_front(last);
            }
        }
        for told in 0.. {
            if told == PRESENCE_TOLD_PER_TURN {
                self.waits = Some(now);
                return;
            }
            let Some((channel, change)) = self.take_next() else {
                return;
            };
            let sequence = self.next_sequence();
            let Some(told) = presence(channel, change, sequence) else {
                continue;
            };
            if self.send(now, Told::Presence(told)).is_err() {
                self.changed.insert(channel, change);
                return;
            }
            self.turn = Some(channel);
        }
    }

    fn take_next(&mut self) -> Option<(ChannelKey, Change)> {
        let behind = self.turn.map_or(Bound::Unbounded, Bound::Excluded);
        let behind = self.changed.range((behind, Bound::Unbounded)).next();
        let (channel, _) = behind.or_else(|| self.changed.first_key_value())?;
        let channel = *channel;
        self.changed.remove_entry(&channel)
    }

    /// Returns the sequence number for a state that is read now.
    pub fn next_sequence(&mut self) -> u64 {
        self.sequence += 1;
        self.sequence
    }

    fn send(&mut self, now: Now, told: Told) -> Result<(), Told> {
        let sent = self.audience.tell(told);
        if sent.is_err() {
            self.waits = Some(now.after(PRESENCE_RETRY_MS));
        }
        sent
    }
}

#[cfg(test)]
mod news_tests {
    use super::*;
    use crate::id::Account;
    use crate::time::Wall;
    use std::sync::mpsc::{SyncSender, sync_channel};

    struct Small(SyncSender<Told>);

    impl Audience for Small {
        fn tell(&mut self, told: Told) -> Result<(), Told> {
            self.0.try_send(told).map_err(|error| match error {
                std::sync::mpsc::TrySendError::Full(told)
                | std::sync::mpsc::TrySendError::Disconnected(told) => told,
            })
        }
    }

    fn presence(name: u32, (cause, reason): Change, sequence: u64) -> Box<Presence> {
        Box::new(Presence {
            name: name.to_string().into(),
            arn: Box::default(),
            account: Account(0),
            hooks: 1,
            slot: None,
            epoch: 1,
            sequence,
            at: Wall(0),
            cause,
            reason,
            master: None,
            viewers: 0,
            waiting: Vec::new(),
            more: 0,
        })
    }

    fn at(now: u64) -> Moment {
        Moment {
            now: Now(now),
            ..Moment::default()
        }
    }

    #[test]
    fn what_finds_no_room_is_told_later_and_once() {
        let (sender, receiver) = sync_channel(2);
        let mut news = News::new(Box::new(Small(sender)));
        let channel = |number| ChannelKey::new(number, 0);
        for number in 0..3 {
            news.changed(
                channel(number),
                (PresenceCause::MasterLeft, Some("peer_gone")),
            );
            news.changed(channel(number), (PresenceCause::Waiting, None));
        }
        let state = |key, change, sequence| {
            let number = (0..3).find(|number| channel(*number) == key)?;
            Some(presence(number, change, sequence))
        };
        assert!(news.is_due(Now(5)));
        news.tell(at(5), state);
        assert!(!news.is_due(Now(5)), "it waits for room");
        assert_eq!(news.next_due(), Some(Now(5 + PRESENCE_RETRY_MS)));
        let told: Vec<_> = receiver.try_iter().collect();
        assert_eq!(told.len(), 2);
        news.tell(at(5 + PRESENCE_RETRY_MS), state);
        let last: Vec<_> = receiver.try_iter().collect();
        let [Told::Presence(last)] = &*last else {
            panic!("{last:?}")
        };
        assert_eq!((&*last.name, last.cause), ("2", PresenceCause::MasterLeft));
        assert!(last.sequence > 2 && news.is_empty());
    }

    /// The same channel changes before each turn, and each turn has space for one state.
    #[test]
    fn a_channel_that_changes_all_the_time_keeps_no_other_waiting() {
        let (sender, receiver) = sync_channel(1);
        let mut news = News::new(Box::new(Small(sender)));
        let channel = |number| ChannelKey::new(number, 0);
        news.changed(channel(9), (PresenceCause::Waiting, None));
        let mut told = Vec::new();
        for turn in 0..3 {
            news.changed(channel(0), (PresenceCause::Waiting, None));
            news.tell(at(turn * PRESENCE_RETRY_MS), |key, change, sequence| {
                let number = u32::from(key == channel(9)) * 9;
                Some(presence(number, change, sequence))
            });
            told.extend(receiver.try_iter().map(|told| match told {
                Told::Presence(told) => told.name,
                Told::Lost => panic!("nothing was lost"),
            }));
        }
        assert!(told.contains(&"9".into()), "{told:?}");
    }

    #[test]
    fn last_states_beyond_the_bound_are_lost_and_said_to_be() {
        let (sender, receiver) = sync_channel(2 * PARTING_MAX);
        let mut news = News::new(Box::new(Small(sender)));
        for number in 0..=u32::try_from(PARTING_MAX).unwrap() {
            let last = presence(number, (PresenceCause::Deleted, None), 0);
            news.parted(ChannelKey::new(number, 0), last);
        }
        news.tell(at(0), |_, _, _| None);
        assert_eq!(receiver.try_recv(), Ok(Told::Lost));
        assert_eq!(receiver.try_iter().count(), PARTING_MAX);
        assert!(news.is_empty());
    }
}
