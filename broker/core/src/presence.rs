//! Presence of watched channels as plain data: connected members, viewers that wait for an absent master, and
//! unreported changes.
//!
//! A hook in the configuration selects the channels that it watches; while an operator's page follows all channels, all
//! are watched. After each input that changed a watched channel, its shard reports the channel's complete state, not a
//! delta, so that lost or replaced reports do no harm. A shard's sequence numbers never repeat or decrease while the
//! process runs. The epoch, which takes precedence, orders the states of different processes: it is the process's own
//! epoch or, in a cluster, that of the channel's slot since this process began to serve the slot.

use crate::id::{Account, CallerId, ChannelKey, Slot};
use crate::limits::{PARTING_MAX, PRESENCE_RETRY_MS, PRESENCE_TOLD_PER_TURN};
use crate::record::Record;
use crate::time::{Moment, Now, Wall};
use codec::signal::Action;
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::ops::Bound;
use strum::{EnumCount, IntoStaticStr, VariantNames};

/// State of a channel's presence at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Presence {
    /// The channel's name.
    pub name: Box<str>,
    /// The channel's ARN.
    pub arn: Box<str>,
    /// The channel's account.
    pub account: Account,
    /// Bitmask of the hooks that watch the channel: bit n is entry n of `[[hook]]`.
    pub hooks: u16,
    /// The channel's slot, if slots can move between nodes.
    pub slot: Option<Slot>,
    /// Epoch of the state. If the channel's owner changes, the new owner's epoch is higher.
    pub epoch: u64,
    /// Sequence number of the state, increasing within an epoch.
    pub sequence: u64,
    /// Time of this state.
    pub at: Wall,
    /// Kind of the most recent change.
    pub cause: PresenceCause,
    /// Why the master or viewer in `cause` left, as in the log.
    pub reason: Option<&'static str>,
    /// The master, if one is connected.
    pub master: Option<Master>,
    /// Number of connected viewers.
    pub viewers: u32,
    /// Viewers and calls with messages queued for an absent master, oldest first; at most
    /// [`WAITERS_TOLD_MAX`](crate::limits::WAITERS_TOLD_MAX). A truncated list includes the newest of each caller.
    pub waiting: Vec<Waiter>,
    /// Number of waiting viewers omitted from `waiting`.
    pub more: u32,
}

impl Presence {
    /// Whether anyone is connected or waiting.
    #[must_use]
    pub fn has_anybody(&self) -> bool {
        self.master.is_some() || self.viewers > 0 || !self.waiting.is_empty()
    }

    /// Creates the presence of a channel on which nobody is connected or waiting.
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
    /// Address of the master.
    pub remote: SocketAddr,
    /// When the master became suspect, if it is suspect: it left a message unacknowledged too long and must be woken.
    pub doubtful_since: Option<Wall>,
}

impl Master {
    /// Whether the master is suspect and woken as if absent.
    #[must_use]
    pub fn is_doubtful(&self) -> bool {
        self.doubtful_since.is_some()
    }
}

/// A viewer or call waiting for a master.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiter {
    /// Client id of the viewer, or sender id of an Alexa call.
    pub client_id: Box<str>,
    /// Action of the oldest queued offer or, if there is no offer, of the oldest message.
    pub action: Action,
    /// Caller of the viewer's connection, if callers have their own shares.
    pub caller: Option<CallerId>,
    /// When the message with `action` was accepted.
    pub since: Wall,
    /// When the message with `action` expires.
    pub until: Wall,
}

/// Kinds of changes to a channel's presence.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, EnumCount, IntoStaticStr, VariantNames,
)]
pub enum PresenceCause {
    /// A viewer began to wait: its message was queued for an absent master.
    #[strum(serialize = "viewer.waiting")]
    Waiting,
    /// A viewer stopped waiting: its messages were delivered or expired.
    #[strum(serialize = "viewer.served")]
    Served,
    /// A viewer joined.
    #[strum(serialize = "viewer.joined")]
    ViewerJoined,
    /// A viewer left.
    #[strum(serialize = "viewer.left")]
    ViewerLeft,
    /// A changed tag caused another hook to watch the channel.
    #[strum(serialize = "channel.watched")]
    Watched,
    /// A master joined.
    #[strum(serialize = "master.joined")]
    MasterJoined,
    /// A master that was reported gone turned out to be connected.
    #[strum(serialize = "master.confirmed")]
    MasterConfirmed,
    /// A newer master superseded the current one, or a superseded one regained its slot.
    #[strum(serialize = "master.replaced")]
    MasterReplaced,
    /// The master left.
    #[strum(serialize = "master.left")]
    MasterLeft,
    /// A hook stopped watching the channel because a tag was removed. Reported to that hook only, as a channel without
    /// members.
    #[strum(serialize = "channel.unwatched")]
    Unwatched,
    /// The channel was deleted.
    #[strum(serialize = "channel.deleted")]
    Deleted,
}

/// A shard's report to its audience.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// The state of a channel.
    Presence(Box<Presence>),
    /// A full queue dropped some final states of deleted channels.
    Lost,
}

/// Receiver of shards' reports; must not block.
pub trait Audience: Send {
    /// Delivers a report.
    ///
    /// # Errors
    /// The report itself if there is no space for it. The shard retries later with the channel's state at that time.
    fn tell(&mut self, told: Told) -> Result<(), Told>;

    /// Whether anyone reads the states of all channels, including unwatched ones. Queried at each join and leave.
    fn is_read(&self) -> bool {
        false
    }
}

/// An audience that discards all reports, for tests and benchmarks.
#[derive(Clone, Copy, Debug, Default)]
pub struct Nobody;

impl Audience for Nobody {
    fn tell(&mut self, _told: Told) -> Result<(), Told> {
        Ok(())
    }
}

// Unreported presence changes of a shard's channels.

/// The latest change of a channel and, if the master or a viewer left, the reason.
pub type Change = (PresenceCause, Option<&'static str>);

/// Unreported changes of a shard, at most one per watched channel. If a state cannot be delivered, a retry sends the
/// state at that time, so nothing is lost except final states of deleted channels beyond [`PARTING_MAX`]; such a loss
/// is reported as well.
pub struct News {
    audience: Box<dyn Audience>,
    sequence: u64,
    changed: BTreeMap<ChannelKey, Change>,
    /// Channel whose state was sent last. The next one in order follows, so that a channel that changes constantly does
    /// not starve the others.
    turn: Option<ChannelKey>,
    parting: VecDeque<Box<Presence>>,
    lost: bool,
    /// Time until which reports wait for space in the audience.
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

    /// Whether anyone reads the state of a channel watched by these hooks.
    #[inline]
    #[must_use]
    pub fn is_watched(&self, hooks: u16) -> bool {
        hooks != 0 || self.audience.is_read()
    }

    /// Records a change of a watched channel. Of several unreported changes, the most significant one remains.
    pub fn changed(&mut self, channel: ChannelKey, change: Change) {
        let last = self.changed.entry(channel).or_insert(change);
        if change.0 >= last.0 {
            *last = change;
        }
    }

    /// Whether a channel has an unreported change.
    #[must_use]
    pub fn is_untold(&self, channel: ChannelKey) -> bool {
        self.changed.contains_key(&channel)
    }

    /// Records the final state of a channel that was deleted or that some hooks stopped watching.
    pub fn parted(&mut self, channel: ChannelKey, last: Box<Presence>) {
        self.changed.remove(&channel);
        self.parting.push_back(last);
        if self.parting.len() > PARTING_MAX {
            self.parting.pop_front();
            self.lost = true;
        }
    }

    /// Drops the unreported change of a channel that another process has taken over.
    pub fn forget(&mut self, channel: ChannelKey) {
        self.changed.remove(&channel);
    }

    /// Whether a report is due at `now`.
    #[inline]
    #[must_use]
    pub fn is_due(&self, now: Now) -> bool {
        !self.is_empty() && self.waits.is_none_or(|until| until <= now)
    }

    /// When to retry, if anything is unreported.
    #[must_use]
    pub fn next_due(&self) -> Option<Now> {
        self.waits.filter(|_| !self.is_empty())
    }

    /// Whether there is nothing to report.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.changed.is_empty() && self.parting.is_empty() && !self.lost
    }

    /// Sends the due reports. `presence` returns a channel's state for the given sequence number, or `None` if there is
    /// nothing to report.
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

    /// Returns the sequence number for a state that is read at this moment.
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

    /// One channel changes before each turn, and each turn has space for one state.
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
