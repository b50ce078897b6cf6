//! The presence of watched channels as plain data: who is connected, and who waits for a master that is not; what was
//! not told yet, and when viewers learn of their master.
//!
//! A channel is watched when a hook of the configuration names it, and every channel is while an operator's page
//! follows them. Then its shard tells the whole state of it after each input that changed it: a state, never a change,
//! so that what is lost or replaced on the way does no harm. The sequence of one shard never repeats nor goes back
//! while the process lives; the epoch, which comes first, orders the states of processes: it is the process's, or in a
//! cluster that of the channel's slot since this process serves it.

use crate::id::{Account, CallerId, ChannelKey, SessionKey, Slot};
use crate::limits::{PARTING_MAX, PRESENCE_RETRY_MS, PRESENCE_TOLD_PER_TURN};
use crate::record::Record;
use crate::time::{Moment, Now, Wall};
use codec::signal::Action;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::ops::Bound;
use std::vec::IntoIter;
use strum::{EnumCount, IntoStaticStr, VariantNames};

/// The presence of one channel at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Presence {
    /// The channel's name.
    pub name: Box<str>,
    /// Its ARN.
    pub arn: Box<str>,
    /// Its account.
    pub account: Account,
    /// The hooks that watch it: bit n is entry n of `[[hook]]`.
    pub hooks: u16,
    /// Its slot, where slots go from one node to another.
    pub slot: Option<Slot>,
    /// A greater one is of a later owner of the channel.
    pub epoch: u64,
    /// A greater one is of a later moment, in one epoch.
    pub sequence: u64,
    /// The moment.
    pub at: Wall,
    /// The last of what has changed.
    pub cause: Cause,
    /// Why the master or the viewer of `cause` left, in a word of the log.
    pub reason: Option<&'static str>,
    /// The master, if one is connected.
    pub master: Option<Master>,
    /// Connected viewers.
    pub viewers: u32,
    /// Viewers and calls for which something is kept until a master comes, oldest first: at most
    /// [`WAITERS_TOLD_MAX`](crate::limits::WAITERS_TOLD_MAX). Of more the newest of each caller is among them.
    pub waiting: Vec<Waiter>,
    /// Those that are left out of `waiting`.
    pub more: u32,
}

impl Presence {
    /// Whether anybody is connected or waits.
    #[must_use]
    pub fn has_anybody(&self) -> bool {
        self.master.is_some() || self.viewers > 0 || !self.waiting.is_empty()
    }

    /// That of a channel on which there is nobody.
    #[must_use]
    pub fn nobody(record: &Record, hooks: u16, cause: Cause) -> Self {
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
pub enum Cause {
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
pub type Change = (Cause, Option<&'static str>);

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

// When the viewers of a channel learn that its master is there or not: at once when it comes, after the linger when
// it goes, and one state in [`VIEWERS_TOLD_MS`] at most, the newest.
//
// Channels are here whose owner wants that, while a viewer of them asks for it. Each has one entry among those that
// are due, if it has any.

/// Whether the master of a channel is there, as its viewers learn it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MasterState {
    /// Whether it is there, or was until less than the linger ago.
    pub there: bool,
    /// Since when, if that is known.
    pub since: Option<Wall>,
    /// A greater one is of a later state. Nothing of other channels can be learnt from it but how often, if thousands
    /// of them change in a second.
    pub sequence: u64,
}

/// The news for the viewers of a shard's channels.
#[derive(Debug, Default)]
pub struct ViewerNews {
    linger_ms: u64,
    channels: BTreeMap<ChannelKey, Telling>,
    due: BTreeSet<(Now, ChannelKey)>,
    sequence: u64,
}

/// One channel.
#[derive(Debug)]
struct Telling {
    state: MasterState,
    /// The master left then and did not come back; the state does not show it yet.
    left: Option<Now>,
    /// The last state that viewers were sent, and those who still are to get it.
    round: (MasterState, IntoIter<SessionKey>),
    /// When another state may be sent.
    opens: Now,
    /// Its entry among those that are due.
    due: Option<Now>,
}

/// Some viewers of a channel, and the state that they get.
#[derive(Debug, PartialEq, Eq)]
pub struct Round {
    /// The channel.
    pub channel: ChannelKey,
    /// The state.
    pub state: MasterState,
    /// Those who get it, if they ask for it.
    pub viewers: Vec<SessionKey>,
}

impl ViewerNews {
    /// No news yet. The departure of a master is held back for this time.
    #[must_use]
    pub fn new(linger_ms: u64) -> Self {
        Self {
            linger_ms,
            ..Self::default()
        }
    }

    /// The state of a channel, for a viewer that asks for it from here on. `master`: since when one is connected.
    pub fn state(&mut self, key: ChannelKey, master: Option<Wall>, at: Moment) -> MasterState {
        let sequence = self.next(at.now);
        if let Some(telling) = self.channels.get_mut(&key) {
            telling.look_at_departure(self.linger_ms, sequence, at);
            let state = telling.state;
            self.arm(key);
            return state;
        }
        let state = MasterState {
            there: master.is_some(),
            since: master,
            sequence,
        };
        self.channels.insert(key, Telling::new(state, state));
        state
    }

    /// The owner of a channel in use wants its viewers told from here on.
    pub fn begin(&mut self, key: ChannelKey, there: bool, now: Now) {
        let state = MasterState {
            there,
            since: None,
            sequence: self.next(now),
        };
        let before = MasterState {
            sequence: 0,
            ..state
        };
        self.channels.insert(key, Telling::new(state, before));
        self.arm(key);
    }

    /// No viewer of a channel gets any more.
    pub fn forget(&mut self, key: ChannelKey) {
        if let Some(due) = self.channels.remove(&key).and_then(|telling| telling.due) {
            self.due.remove(&(due, key));
        }
    }

    /// A master of this channel connected.
    pub fn master_came(&mut self, key: ChannelKey, at: Moment) {
        let sequence = self.next(at.now);
        let Some(telling) = self.channels.get_mut(&key) else {
            return;
        };
        telling.left = None;
        if !telling.state.there {
            telling.state = MasterState {
                there: true,
                since: Some(at.wall),
                sequence,
            };
        }
        self.arm(key);
    }

    /// The master of this channel left, and nobody has its place.
    pub fn master_left(&mut self, key: ChannelKey, now: Now) {
        if let Some(telling) = self.channels.get_mut(&key) {
            telling.left = Some(now);
            self.arm(key);
        }
    }

    /// When something is due.
    #[must_use]
    pub fn next_due(&self) -> Option<Now> {
        self.due.first().map(|(due, _)| *due)
    }

    /// Takes out what is due next: at most this many viewers of a channel, all of whose viewers are in `viewers`. Empty
    /// when a state has changed that is sent later. `None` when nothing is due.
    pub fn take(
        &mut self,
        at: Moment,
        most: usize,
        viewers: impl FnOnce(ChannelKey) -> Vec<SessionKey>,
    ) -> Option<Round> {
        let (due, key) = *self.due.first().filter(|(due, _)| *due <= at.now)?;
        self.due.remove(&(due, key));
        let next = self.next(at.now);
        let linger_ms = self.linger_ms;
        let telling = self.channels.get_mut(&key)?;
        telling.due = None;
        telling.look_at_departure(linger_ms, next, at);
        if telling.has_news() && telling.opens <= at.now {
            telling.round = (telling.state, viewers(key).into_iter());
            telling.opens = at.now.after(VIEWERS_TOLD_MS);
        }
        let (state, rest) = &mut telling.round;
        let round = Round {
            channel: key,
            state: *state,
            viewers: rest.take(most).collect(),
        };
        self.arm(key);
        Some(round)
    }

    /// Checks what always holds. `tells` says whether the owner of a channel that exists wants its viewers told.
    ///
    /// # Panics
    /// When it does not.
    pub fn invariants(&self, tells: impl Fn(ChannelKey) -> bool) {
        let listed = self.channels.iter();
        let listed = listed.filter_map(|(key, telling)| Some((telling.due?, *key)));
        let listed: BTreeSet<_> = listed.collect();
        assert_eq!(listed, self.due, "what is due is what channels wait for");
        assert!(
            self.channels.keys().all(|key| tells(*key)),
            "viewers get news of a channel whose owner does not want it"
        );
    }

    fn next(&mut self, now: Now) -> u64 {
        self.sequence = now.0.max(self.sequence + 1);
        self.sequence
    }

    fn arm(&mut self, key: ChannelKey) {
        let Some(telling) = self.channels.get_mut(&key) else {
            return;
        };
        let due = telling.next_due(self.linger_ms);
        if due != telling.due {
            if let Some(before) = telling.due {
                self.due.remove(&(before, key));
            }
            telling.due = due;
            self.due.extend(due.map(|due| (due, key)));
        }
    }
}

impl Telling {
    fn new(state: MasterState, told: MasterState) -> Self {
        Self {
            state,
            left: None,
            round: (told, Vec::new().into_iter()),
            opens: Now(0),
            due: None,
        }
    }

    /// The master is gone, once it left the linger ago.
    fn look_at_departure(&mut self, linger_ms: u64, sequence: u64, at: Moment) {
        if let Some(left) = self.left.filter(|left| left.after(linger_ms) <= at.now) {
            self.left = None;
            self.state = MasterState {
                there: false,
                since: Some(Wall(at.wall.0.saturating_sub(at.now.since(left)))),
                sequence,
            };
        }
    }

    fn has_news(&self) -> bool {
        self.state.sequence != self.round.0.sequence
    }

    fn next_due(&self, linger_ms: u64) -> Option<Now> {
        if !self.round.1.as_slice().is_empty() {
            // In the order in which they began.
            return Some(Now(self.opens.0.saturating_sub(VIEWERS_TOLD_MS)));
        }
        let opens = Some(self.opens).filter(|_| self.has_news());
        let left = self.left.map(|left| left.after(linger_ms));
        opens.into_iter().chain(left).min()
    }
}

/// The least time between two states of a master that the viewers of one channel are sent. Of what changes meanwhile
/// the newest follows then.
const VIEWERS_TOLD_MS: u64 = 5_000;

/// Viewers that are sent the state of their master in one turn: the next ones in the next turn. Each is a send of its
/// own, as with [`CLOSES_PER_TURN`](crate::limits::CLOSES_PER_TURN): a channel of 10,000 viewers takes 40 turns.
pub const VIEWERS_TOLD_PER_TURN: usize = 256;

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
            news.changed(channel(number), (Cause::MasterLeft, Some("peer_gone")));
            news.changed(channel(number), (Cause::Waiting, None));
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
        assert_eq!((&*last.name, last.cause), ("2", Cause::MasterLeft));
        assert!(last.sequence > 2 && news.is_empty());
    }

    /// One channel changes before each turn, and there is room for one state in each.
    #[test]
    fn a_channel_that_changes_all_the_time_keeps_no_other_waiting() {
        let (sender, receiver) = sync_channel(1);
        let mut news = News::new(Box::new(Small(sender)));
        let channel = |number| ChannelKey::new(number, 0);
        news.changed(channel(9), (Cause::Waiting, None));
        let mut told = Vec::new();
        for turn in 0..3 {
            news.changed(channel(0), (Cause::Waiting, None));
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
            let last = presence(number, (Cause::Deleted, None), 0);
            news.parted(ChannelKey::new(number, 0), last);
        }
        news.tell(at(0), |_, _, _| None);
        assert_eq!(receiver.try_recv(), Ok(Told::Lost));
        assert_eq!(receiver.try_iter().count(), PARTING_MAX);
        assert!(news.is_empty());
    }
}

#[cfg(test)]
mod viewers_tests {
    use super::*;

    const LINGER_MS: u64 = 2_000;

    fn at(now: u64) -> Moment {
        Moment {
            now: Now(now),
            wall: Wall(1_000_000 + now),
            micros: 0,
        }
    }

    fn key(number: u32) -> ChannelKey {
        ChannelKey::new(number, 0)
    }

    fn viewers(count: u32) -> Vec<SessionKey> {
        (0..count).map(|slot| SessionKey::new(slot, 0)).collect()
    }

    /// The news that two viewers get from then until then, when nothing else happens.
    fn told(news: &mut ViewerNews, from: u64, until: u64) -> Vec<(u64, bool, Option<u64>)> {
        let mut told = Vec::new();
        while let Some(due) = news.next_due().filter(|due| due.0 <= until) {
            let now = due.0.max(from);
            let round = news.take(at(now), 256, |_| viewers(2)).unwrap();
            news.invariants(|_| true);
            if !round.viewers.is_empty() {
                let since = round.state.since.map(|since| since.0 - 1_000_000);
                told.push((now, round.state.there, since));
            }
        }
        told
    }

    #[test]
    fn a_master_is_told_at_once_and_its_departure_after_the_linger() {
        let mut news = ViewerNews::new(LINGER_MS);
        let state = news.state(key(0), None, at(100));
        assert_eq!((state.there, state.since), (false, None));
        assert_eq!(news.next_due(), None, "a viewer got it when it came");
        news.master_came(key(0), at(1_000));
        assert_eq!(told(&mut news, 1_000, 1_000), [(1_000, true, Some(1_000))]);
        news.master_left(key(0), Now(20_000));
        assert_eq!(told(&mut news, 20_000, 21_999), []);
        assert_eq!(
            told(&mut news, 22_000, 90_000),
            [(22_000, false, Some(20_000))]
        );
        let state = news.state(key(0), None, at(90_000));
        assert_eq!((state.there, state.since), (false, Some(Wall(1_020_000))));
    }

    #[test]
    fn a_master_that_comes_again_within_the_linger_was_never_gone() {
        let mut news = ViewerNews::new(LINGER_MS);
        let before = news.state(key(0), Some(Wall(7)), at(0));
        for now in [10_000, 12_000, 14_000] {
            news.master_left(key(0), Now(now));
            assert_eq!(told(&mut news, now, now + LINGER_MS - 1), []);
            news.master_came(key(0), at(now + LINGER_MS - 1));
        }
        assert_eq!(told(&mut news, 16_000, 90_000), []);
        assert_eq!(news.state(key(0), None, at(90_000)), before);
    }

    /// A master that comes and goes all the time, each time for longer than the linger.
    #[test]
    fn of_what_changes_within_the_time_the_newest_is_told_at_its_end() {
        let mut news = ViewerNews::new(0);
        news.state(key(0), None, at(0));
        let mut all = Vec::new();
        for step in 0..40 {
            let now = 1_000 + step * 400;
            news.master_came(key(0), at(now));
            all.extend(told(&mut news, now, now + 199));
            news.master_left(key(0), Now(now + 200));
            all.extend(told(&mut news, now + 200, now + 399));
        }
        all.extend(told(&mut news, 17_000, 90_000));
        let moments: Vec<_> = all.iter().map(|(now, ..)| *now).collect();
        assert_eq!(moments, [1_000, 6_000, 11_000, 16_000, 21_000], "{all:?}");
        assert_eq!(all.last(), Some(&(21_000, false, Some(16_800))));
    }

    #[test]
    fn many_viewers_are_told_one_state_over_several_turns() {
        let mut news = ViewerNews::new(LINGER_MS);
        let first = news.state(key(0), None, at(0));
        news.master_came(key(0), at(50));
        let (mut all, mut turns) = (Vec::new(), 0);
        while news.next_due().is_some_and(|due| due <= Now(60)) {
            // It goes meanwhile: the state that was begun goes to all first.
            news.master_left(key(0), Now(60));
            let round = news.take(at(60), 256, |_| viewers(10_000)).unwrap();
            assert!(round.state.there && round.state.sequence > first.sequence);
            assert!(round.viewers.len() <= 256);
            all.extend(round.viewers);
            turns += 1;
        }
        assert_eq!((all, turns), (viewers(10_000), 40));
        assert_eq!(told(&mut news, 60, 5_059), []);
        assert_eq!(told(&mut news, 5_060, 90_000), [(5_060, false, Some(60))]);
    }

    #[test]
    fn what_is_forgotten_is_not_due() {
        let mut news = ViewerNews::new(LINGER_MS);
        news.begin(key(1), true, Now(5));
        news.begin(key(2), false, Now(5));
        assert_eq!(
            told(&mut news, 5, 5).len(),
            2,
            "viewers who were there before"
        );
        news.master_left(key(1), Now(6));
        news.forget(key(1));
        news.master_came(key(1), at(7));
        assert_eq!(news.next_due(), None);
        news.invariants(|key| key == self::key(2));
    }

    #[test]
    fn sequences_only_grow() {
        let mut news = ViewerNews::new(0);
        let mut last = 0;
        for now in [5, 5, 5, 6, 900] {
            news.forget(key(0));
            let state = news.state(key(0), None, at(now));
            assert!(state.sequence > last);
            last = state.sequence;
        }
        assert_eq!(last, 900);
    }
}
