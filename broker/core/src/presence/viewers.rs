//! When the viewers of a channel learn that its master is there or not: at once when it comes, after the linger when
//! it goes, and one state in [`VIEWERS_TOLD_MS`] at most, the newest.
//!
//! Channels are here whose owner wants that, while a viewer of them asks for it. Each has one entry among those that
//! are due, if it has any.

use crate::id::{ChannelKey, SessionKey};
use crate::time::{Moment, Now, Wall};
use std::collections::{BTreeMap, BTreeSet};
use std::vec::IntoIter;

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
mod tests {

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
