//! The presence of watched channels as plain data: who is connected, and who waits for a master that is not; what was
//! not told yet.
//!
//! A channel is watched when a hook of the configuration names it, and every channel is while an operator's page
//! follows them. Then its shard tells the whole state of it after each input that changed it: a state, never a change,
//! so that what is lost or replaced on the way does no harm. The sequence of one shard never repeats nor goes back
//! while the process lives; the epoch, which comes first, orders the states of processes: it is the process's, or in a
//! cluster that of the channel's slot since this process serves it.

use crate::id::{Account, CallerId, ChannelKey, Slot};
use crate::limits::{PARTING_MAX, PRESENCE_RETRY_MS, PRESENCE_TOLD_PER_TURN};
use crate::record::Record;
use crate::time::{Moment, Now, Wall};
use codec::signal::Action;
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::ops::Bound;
use strum::{EnumCount, IntoStaticStr, VariantNames};

/// The presence of one channel at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Presence {
    /// The channel's name.
    pub name: Box<str>,
    /// ARN.
    pub arn: Box<str>,
    /// Account.
    pub account: Account,
    /// The hooks that watch it: bit n is entry n of `[[hook]]`.
    pub hooks: u16,
    /// Slot, where slots move between nodes.
    pub slot: Option<Slot>,
    /// A greater one is of a later owner of the channel.
    pub epoch: u64,
    /// A greater one is of a later moment, in one epoch.
    pub sequence: u64,
    /// The moment.
    pub at: Wall,
    /// The last of what has changed.
    pub cause: PresenceCause,
    /// Why the master or the viewer of `cause` left, in a word of the log.
    pub reason: Option<&'static str>,
    /// The master, if one is connected.
    pub master: Option<Master>,
    /// Connected viewers.
    pub viewers: u32,
    /// Viewers and calls for which something is kept until a master comes, oldest first: at most
    /// [`WAITERS_TOLD_MAX`](crate::limits::WAITERS_TOLD_MAX). Of more the newest of each caller is among them.
    pub waiting: Vec<Waiter>,
    /// Number of viewers left out of `waiting`.
    pub more: u32,
}

impl Presence {
    /// Whether anybody is connected or waits.
    #[must_use]
    pub fn has_anybody(&self) -> bool {
        self.master.is_some() || self.viewers > 0 || !self.waiting.is_empty()
    }

    /// Presence of a channel on which there is nobody.
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
    /// When it connected.
    pub since: Wall,
    /// The address of the other end.
    pub remote: SocketAddr,
    /// Since when it has not confirmed a message, for long enough to be called.
    pub doubtful_since: Option<Wall>,
}

impl Master {
    /// Whether it is called as if it were absent.
    #[must_use]
    pub fn is_doubtful(&self) -> bool {
        self.doubtful_since.is_some()
    }
}

/// Somebody who waits for a master.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiter {
    /// The client id, or the sender of an Alexa call.
    pub client_id: Box<str>,
    /// The oldest offer that is kept, else the oldest message.
    pub action: Action,
    /// The caller that it connected as, where callers have parts of their own.
    pub caller: Option<CallerId>,
    /// When that was accepted.
    pub since: Wall,
    /// Until when it is kept.
    pub until: Wall,
}

/// The kinds of changes.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, EnumCount, IntoStaticStr, VariantNames,
)]
pub enum PresenceCause {
    /// Something is kept for an absent master that was not before.
    #[strum(serialize = "viewer.waiting")]
    Waiting,
    /// Something is not kept any more: the master got it, or it expired.
    #[strum(serialize = "viewer.served")]
    Served,
    /// A viewer joined.
    #[strum(serialize = "viewer.joined")]
    ViewerJoined,
    /// A viewer left.
    #[strum(serialize = "viewer.left")]
    ViewerLeft,
    /// Another hook watches the channel, by a tag.
    #[strum(serialize = "channel.watched")]
    Watched,
    /// A master joined.
    #[strum(serialize = "master.joined")]
    MasterJoined,
    /// A master that was reported gone is there after all.
    #[strum(serialize = "master.confirmed")]
    MasterConfirmed,
    /// A newer master took the place of another, or the older one has it again.
    #[strum(serialize = "master.replaced")]
    MasterReplaced,
    /// The master left.
    #[strum(serialize = "master.left")]
    MasterLeft,
    /// A hook watches the channel no longer, by a tag that is gone; told to that hook alone, as of a channel on which
    /// there is nobody.
    #[strum(serialize = "channel.unwatched")]
    Unwatched,
    /// The channel is deleted.
    #[strum(serialize = "channel.deleted")]
    Deleted,
}

/// A shard's word to those who watch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// The state of a channel.
    Presence(Box<Presence>),
    /// The last states of some deleted channels were dropped, since there was no room for them.
    Lost,
}

/// Takes what shards tell; must not wait.
pub trait Audience: Send {
    /// Takes this.
    ///
    /// # Errors
    /// It comes back when there is no room: the shard tells it later, as it is then.
    fn tell(&mut self, told: Told) -> Result<(), Told>;

    /// Whether somebody reads the states of all channels, also of those that no hook watches. Asked at each join and
    /// leave.
    fn is_read(&self) -> bool {
        false
    }
}

/// Nobody: what tests and benches begin with.
#[derive(Clone, Copy, Debug, Default)]
pub struct Nobody;

impl Audience for Nobody {
    fn tell(&mut self, _told: Told) -> Result<(), Told> {
        Ok(())
    }
}

// The channels of a shard whose presence has changed and was not told yet.

/// The last change of a channel, with the reason of a departure.
pub type Change = (PresenceCause, Option<&'static str>);

/// The news of a shard for those who watch. At most one entry a watched channel: a state that finds no room is sent
/// later, as it is then, so nothing is lost but the last states of deleted channels beyond [`PARTING_MAX`], which is
/// reported as well.
pub struct News {
    audience: Box<dyn Audience>,
    sequence: u64,
    changed: BTreeMap<ChannelKey, Change>,
    /// The channel whose state went last: the one behind it is next, so that none that changes all the time keeps
    /// others waiting.
    turn: Option<ChannelKey>,
    /// The last states of channels that are gone.
    parting: VecDeque<Box<Presence>>,
    lost: bool,
    /// There was no room: until when nothing is tried.
    waits: Option<Now>,
}

impl Default for News {
    fn default() -> Self {
        Self::new(Box::new(Nobody))
    }
}

impl News {
    /// Nothing to tell yet.
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

    /// Whether anybody gets the states of a channel that these hooks watch.
    #[inline]
    #[must_use]
    pub fn is_watched(&self, hooks: u16) -> bool {
        hooks != 0 || self.audience.is_read()
    }

    /// A watched channel has changed. Of several changes the one that says most counts.
    pub fn changed(&mut self, channel: ChannelKey, change: Change) {
        let last = self.changed.entry(channel).or_insert(change);
        if change.0 >= last.0 {
            *last = change;
        }
    }

    /// Whether a channel has a change that its followers have not received.
    #[must_use]
    pub fn is_untold(&self, channel: ChannelKey) -> bool {
        self.changed.contains_key(&channel)
    }

    /// A watched channel is gone, or for some who watched it: its last state for them.
    pub fn parted(&mut self, channel: ChannelKey, last: Box<Presence>) {
        self.changed.remove(&channel);
        self.parting.push_back(last);
        if self.parting.len() > PARTING_MAX {
            self.parting.pop_front();
            self.lost = true;
        }
    }

    /// There is nothing to tell of a channel: another process has it.
    pub fn forget(&mut self, channel: ChannelKey) {
        self.changed.remove(&channel);
    }

    /// Whether there is anything to tell at `now`.
    #[inline]
    #[must_use]
    pub fn is_due(&self, now: Now) -> bool {
        !self.is_empty() && self.waits.is_none_or(|until| until <= now)
    }

    /// When it is to be tried again.
    #[must_use]
    pub fn next_due(&self) -> Option<Now> {
        self.waits.filter(|_| !self.is_empty())
    }

    /// Whether there is nothing to tell.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.changed.is_empty() && self.parting.is_empty() && !self.lost
    }

    /// Tells what is due. `presence` is the state of a channel with this sequence; `None` when there is nothing to tell
    /// of it.
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

    /// The sequence of a state that somebody gets at this moment.
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

    /// One channel changes before each turn, and there is room for one state in each.
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
