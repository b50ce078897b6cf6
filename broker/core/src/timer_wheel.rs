//! A timer wheel, which finds due deadlines without scanning all of them. It needs no ticks while it has no deadlines.
//!
//! ```text
//!   near   256 slots of 64 ms, 16 s in all     each slot is a doubly linked list of entries
//!   far    256 slots of 16 s, 70 min in all
//! ```
//! Each owner (a session or a channel) has one entry, identified by its [`TimerId`], which is in at most one list.
//! Setting an earlier deadline moves the entry in constant time, so there are never more entries than owners. Setting a
//! later deadline changes nothing: the owner is called early, and checks whether its deadline has moved. A busy session
//! therefore causes no work in the wheel. An entry with a deadline beyond the far ring waits in the ring's last slot
//! and is then inserted again. Entries fire at most one near slot late, and never early.

use crate::{id::TimerId, time::Now};

/// A timer wheel. Each deadline comes with an item of type `T`.
#[derive(Debug)]
pub struct Wheel<T> {
    /// The list heads, first for the near slots and then for the far slots. Each list is circular and includes its
    /// head.
    heads: Vec<ListLinks>,
    near: TakenTimers,
    far: TakenTimers,
    entries: Entries<T>,
    /// The last near slot that was reached, counted from time 0. Entries still in it are due.
    tick: u64,
}

#[derive(Clone, Copy, Debug)]
struct ListLinks {
    before: u32,
    after: u32,
}

impl ListLinks {
    /// Returns the links of an entry that is in no list, or of an empty list.
    fn alone(place: u32) -> Self {
        Self {
            before: place,
            after: place,
        }
    }
}

#[derive(Debug)]
struct Entry<T> {
    links: ListLinks,
    tick: u64,
    what: T,
}

// Every session and channel with a deadline has an entry.
const _: () = assert!(size_of::<Entry<u64>>() <= 24);

impl<T: Copy> Default for Wheel<T> {
    fn default() -> Self {
        Self {
            heads: (0..HEADS).map(ListLinks::alone).collect(),
            near: TakenTimers::default(),
            far: TakenTimers::default(),
            entries: Entries::default(),
            tick: 0,
        }
    }
}

impl<T: Copy> Wheel<T> {
    /// Schedules a call for `owner` at `at` or shortly after, with the item `what`. Does nothing if an earlier call is
    /// already scheduled.
    pub fn call_by(&mut self, owner: &mut TimerId, at: Now, what: T) {
        let tick = at.0.div_ceil(NEAR_MS).max(self.tick + 1);
        let place = match owner.place() {
            Some(place) => {
                let listed = self.entries.get(place).filter(|entry| entry.listed(place));
                if listed.is_some_and(|entry| entry.tick <= tick) {
                    return;
                }
                self.unlink(place);
                place
            }
            None => {
                let place = self.entries.add(what);
                *owner = TimerId::at(place);
                place
            }
        };
        self.put(place, tick);
    }

    /// Returns `true` if this owner has a call scheduled for `at` or shortly after, or for an earlier time.
    #[cfg(feature = "testing")]
    pub fn calls_by(&self, owner: &TimerId, at: Now) -> bool {
        let tick = at.0.div_ceil(NEAR_MS).max(self.tick + 1);
        let place = owner.place();
        let entry = place.and_then(|place| self.entries.get(place).filter(|it| it.listed(place)));
        entry.is_some_and(|entry| entry.tick <= tick)
    }

    /// Returns the item in this owner's entry, if it has one.
    #[must_use]
    pub fn entry(&self, owner: &TimerId) -> Option<T> {
        self.entries.get(owner.place()?).map(|entry| entry.what)
    }

    /// Frees the owner's entry.
    pub fn forget(&mut self, owner: &mut TimerId) {
        if let Some(place) = std::mem::take(owner).place() {
            self.unlink(place);
            self.entries.free(place);
        }
    }

    /// Removes the next item that is due at `now`. Its owner keeps the entry.
    pub fn pop(&mut self, now: Now) -> Option<T> {
        let last = now.0 / NEAR_MS;
        loop {
            if let Some(place) = self.first(near_head(self.tick)) {
                self.unlink(place);
                return self.entries.get(place).map(|entry| entry.what);
            }
            if self.tick >= last {
                return None;
            }
            if self.near.is_empty() && self.far.is_empty() {
                self.tick = last;
                return None;
            }
            self.tick += 1;
            if self.tick.is_multiple_of(SLOTS) {
                self.bring_near(self.tick / SLOTS);
            }
        }
    }

    /// Returns the latest time by which [`Wheel::pop`] must be called next.
    #[must_use]
    pub fn next(&self) -> Option<Now> {
        if self.first(near_head(self.tick)).is_some() {
            return Some(Now(0));
        }
        let near = self.near.first_after(self.tick).map(|tick| tick * NEAR_MS);
        let far = self
            .far
            .first_after(self.tick / SLOTS)
            .map(|slot| slot * SLOTS * NEAR_MS);
        near.into_iter().chain(far).min().map(Now)
    }

    /// Returns the number of entries in use, which never exceeds the number of owners.
    #[must_use]
    pub fn places(&self) -> usize {
        self.entries.used
    }

    /// Moves the entries in a far slot to the near slots for their deadlines.
    fn bring_near(&mut self, slot: u64) {
        while let Some(place) = self.first(far_head(slot)) {
            let tick = self.entries.get(place).map_or(0, |entry| entry.tick);
            self.unlink(place);
            self.put(place, tick.max(self.tick));
        }
    }

    fn put(&mut self, place: u32, tick: u64) {
        let head = if tick - self.tick < SLOTS {
            self.near.set(tick);
            near_head(tick)
        } else {
            let now = self.tick / SLOTS;
            let slot = now + (tick / SLOTS - now).min(SLOTS - 1);
            self.far.set(slot);
            far_head(slot)
        };
        let last = self.links(head).before;
        self.link(last, place);
        self.link(place, head);
        if let Some(entry) = self.entries.get_mut(place) {
            entry.tick = tick;
        }
    }

    fn unlink(&mut self, place: u32) {
        let ListLinks { before, after } = self.links(place);
        self.link(before, after);
        self.link(place, place);
        if before == after && before < HEADS && before != place {
            let slot = u64::from(before);
            match slot < SLOTS {
                true => self.near.clear(slot),
                false => self.far.clear(slot),
            }
        }
    }

    fn first(&self, head: u32) -> Option<u32> {
        let first = self.links(head).after;
        (first != head).then_some(first)
    }

    fn links(&self, place: u32) -> ListLinks {
        let head = self.heads.get(place as usize).copied();
        head.or_else(|| self.entries.get(place).map(|entry| entry.links))
            .unwrap_or_else(|| ListLinks::alone(place))
    }

    fn links_mut(&mut self, place: u32) -> Option<&mut ListLinks> {
        match self.heads.get_mut(place as usize) {
            Some(head) => Some(head),
            None => self.entries.get_mut(place).map(|entry| &mut entry.links),
        }
    }

    fn link(&mut self, before: u32, after: u32) {
        if let Some(links) = self.links_mut(before) {
            links.after = after;
        }
        if let Some(links) = self.links_mut(after) {
            links.before = before;
        }
    }
}

impl<T> Entry<T> {
    /// Returns `true` if an entry is in a list. An entry that is in none is its own neighbor.
    fn listed(&self, place: u32) -> bool {
        self.links.after != place
    }
}

/// The entries of a wheel, stored in chunks so that growing the wheel never copies them. Indexes start at [`HEADS`].
#[derive(Debug)]
struct Entries<T> {
    chunks: Vec<Vec<Entry<T>>>,
    free: Vec<u32>,
    used: usize,
}

impl<T> Default for Entries<T> {
    fn default() -> Self {
        Self {
            chunks: Vec::new(),
            free: Vec::new(),
            used: 0,
        }
    }
}

impl<T> Entries<T> {
    /// Adds an entry that is not in a list yet, and returns its index.
    fn add(&mut self, what: T) -> u32 {
        self.used += 1;
        let entry = |place| Entry {
            links: ListLinks::alone(place),
            tick: 0,
            what,
        };
        if let Some(place) = self.free.pop() {
            if let Some(old) = self.get_mut(place) {
                *old = entry(place);
            }
            return place;
        }
        if self.chunks.last().is_none_or(|last| last.len() == CHUNK) {
            self.chunks.push(Vec::with_capacity(CHUNK));
        }
        let full = self.chunks.len().saturating_sub(1) * CHUNK;
        let last = self.chunks.last().map_or(0, Vec::len);
        let place = HEADS + u32::try_from(full + last).expect("tables have 24-bit slots");
        if let Some(chunk) = self.chunks.last_mut() {
            chunk.push(entry(place));
        }
        place
    }

    fn free(&mut self, place: u32) {
        self.used -= 1;
        self.free.push(place);
    }

    fn get(&self, place: u32) -> Option<&Entry<T>> {
        let number = place.checked_sub(HEADS)? as usize;
        self.chunks.get(number / CHUNK)?.get(number % CHUNK)
    }

    fn get_mut(&mut self, place: u32) -> Option<&mut Entry<T>> {
        let number = place.checked_sub(HEADS)? as usize;
        self.chunks.get_mut(number / CHUNK)?.get_mut(number % CHUNK)
    }
}

#[derive(Debug, Default)]
struct TakenTimers([u64; WORDS]);

impl TakenTimers {
    fn set(&mut self, slot: u64) {
        let place = Self::index(slot);
        if let Some(word) = self.0.get_mut(place / WORD) {
            *word |= 1 << (place % WORD);
        }
    }

    fn clear(&mut self, slot: u64) {
        let place = Self::index(slot);
        if let Some(word) = self.0.get_mut(place / WORD) {
            *word &= !(1 << (place % WORD));
        }
    }

    fn is_empty(&self) -> bool {
        self.0 == [0; WORDS]
    }

    /// Returns the first non-empty slot after `slot`, wrapping around at the end. Called in every event loop iteration,
    /// so it checks a word of slots at a time.
    fn first_after(&self, slot: u64) -> Option<u64> {
        let first = Self::index(slot + 1);
        let (word, bit) = (first / WORD, first % WORD);
        for step in 0..=WORDS {
            let place = (word + step) % WORDS;
            let part = match step {
                0 => u64::MAX << bit,
                WORDS => !(u64::MAX << bit),
                _ => u64::MAX,
            };
            let taken = self.0.get(place).copied().unwrap_or_default() & part;
            if taken != 0 {
                let found = place * WORD + taken.trailing_zeros() as usize;
                let ahead = (found + WORDS * WORD - first) % (WORDS * WORD);
                return Some(slot + 1 + ahead as u64);
            }
        }
        None
    }

    fn index(slot: u64) -> usize {
        usize::try_from(slot % SLOTS).unwrap_or_default()
    }
}

fn near_head(tick: u64) -> u32 {
    u32::try_from(tick % SLOTS).unwrap_or_default()
}

fn far_head(slot: u64) -> u32 {
    u32::try_from(SLOTS + slot % SLOTS).unwrap_or_default()
}

const SLOTS: u64 = (WORDS * WORD) as u64;
const WORD: usize = 64;
const WORDS: usize = 4;
const NEAR_MS: u64 = 64;
/// Number of list heads. Their indexes precede the indexes of the entries.
const HEADS: u32 = 512;
const _: () = assert!(HEADS as u64 == 2 * SLOTS);
/// Number of entries per allocation of about 32 KiB.
const CHUNK: usize = 1024;

#[cfg(test)]
mod tests;
