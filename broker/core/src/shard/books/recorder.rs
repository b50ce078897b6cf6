//! The flight recorder: a ring of small notes of what happened on the shard's channels, the oldest overwritten.
//!
//! A note is four words, taken from what the step has in its registers: no clock is read, nothing is
//! allocated, and nothing is decided by what a message says. Who a connection was is found out when notes are read
//! ([`crate::shard::operator::trace`]): those that are open have their sessions, and each one that left has notes of
//! its own with its name and address. So the ring needs no other memory, and what it knows of a connection lasts as
//! long as its notes.

pub(crate) mod notes;

use crate::id::{ChannelKey, SessionKey};
use crate::journal::EndReason;
use crate::session::web_socket::Role;
use crate::time::{Moment, Now};
use ahash::RandomState;
pub use notes::Passage;
use notes::{LOW, NAME_BYTES, NOBODY, Passed, SHIFT, Tag, Words, halves, lengths, reason, tag};
use std::net::{IpAddr, SocketAddr};

/// The ring of one shard.
pub(crate) struct Recorder {
    /// As many as configured, a power of two; none when nothing is recorded.
    notes: Box<[Words]>,
    /// Notes written since the start: the serial number of the next one.
    written: u64,
    hasher: RandomState,
}

impl Recorder {
    /// A ring of this many notes: 0 or a power of two. The memory is taken as notes come.
    pub(crate) fn new(notes: usize, hasher: RandomState) -> Self {
        debug_assert!(notes == 0 || notes.is_power_of_two());
        Self {
            notes: vec![[0; 4]; notes].into_boxed_slice(),
            written: 0,
            hasher,
        }
    }

    /// A message went from one connection to another.
    #[inline]
    pub(crate) fn relayed(
        &mut self,
        at: Moment,
        channel: ChannelKey,
        passed: Passed,
        from: SessionKey,
        to: SessionKey,
    ) {
        let detail = passed.detail();
        let [low, high] = halves(passed.bytes);
        self.put([
            micros(at),
            channel.pack() | tag(Tag::Message, detail),
            from.pack() | low,
            to.pack() | high,
        ]);
    }

    /// A message came from a connection and did not go on to another. `viewer` is whom a master named.
    pub(crate) fn came(
        &mut self,
        at: Moment,
        channel: ChannelKey,
        passed: Passed,
        from: SessionKey,
        viewer: Option<&str>,
    ) {
        self.came_against(at, channel, passed, from, (viewer, 0));
    }

    /// The same of a message that is longer than `most`: noted where no viewer is named.
    pub(crate) fn came_against(
        &mut self,
        at: Moment,
        channel: ChannelKey,
        passed: Passed,
        from: SessionKey,
        (viewer, most): (Option<&str>, usize),
    ) {
        let name = viewer.map_or(0, |id| self.put_name(channel, id));
        let mark = viewer.map_or(most as u64 & LOW, |id| self.mark(id));
        let [low, high] = halves(passed.bytes);
        self.put([
            micros(at) | name << SHIFT,
            channel.pack() | tag(Tag::Message, passed.detail()),
            from.pack() | low,
            mark | high,
        ]);
    }

    /// Something became of a message that had come before, from or for `viewer`; `session` is the one that got it, or
    /// had it.
    pub(crate) fn went(
        &mut self,
        at: Moment,
        channel: ChannelKey,
        passed: Passed,
        viewer: &str,
        session: Option<SessionKey>,
    ) {
        let mark = self.mark(viewer);
        let [low, high] = halves(passed.bytes);
        self.put([
            micros(at),
            channel.pack() | tag(Tag::Message, passed.detail()),
            mark | low,
            session.map_or(NOBODY, SessionKey::pack) | high,
        ]);
    }

    /// A connection was admitted.
    pub(crate) fn joined(
        &mut self,
        at: Moment,
        channel: ChannelKey,
        session: SessionKey,
        role: &Role,
    ) {
        let detail = u8::from(*role != Role::Master);
        self.put([
            micros(at),
            channel.pack() | tag(Tag::Joined, detail),
            session.pack(),
            0,
        ]);
    }

    /// A connection left its channel.
    pub(crate) fn left(&mut self, at: Moment, channel: ChannelKey, who: &Leaver<'_>) {
        let name = who.role.client_id();
        let length = name.map_or(0, |id| self.put_name(channel, id));
        let (kind, [low, high]) = match who.remote.ip() {
            IpAddr::V4(ip) => (4, [u64::from(ip.to_bits()), 0]),
            IpAddr::V6(ip) => {
                let [a, b, c, d, e, f, g, h] = ip.segments().map(u64::from);
                let word = |[a, b, c, d]: [u64; 4]| a << 48 | b << 32 | c << 16 | d;
                (6, [word([e, f, g, h]), word([a, b, c, d])])
            }
        };
        self.put([
            u64::from(who.remote.port()),
            channel.pack() | tag(Tag::Address, kind),
            low,
            high,
        ]);
        let ms = usize::try_from(at.now.since(who.opened)).unwrap_or(usize::MAX);
        let [low, high] = halves(ms);
        self.put([
            micros(at) | length << SHIFT,
            channel.pack() | tag(Tag::Left, who.reason.code().get()),
            who.session.pack() | low,
            lengths(who.reason) | high,
        ]);
    }

    /// A connection lost its slot to another.
    pub(crate) fn superseded(
        &mut self,
        at: Moment,
        channel: ChannelKey,
        older: SessionKey,
        newer: SessionKey,
    ) {
        self.put([
            micros(at),
            channel.pack() | tag(Tag::Superseded, 0),
            older.pack(),
            newer.pack(),
        ]);
    }

    /// GO_AWAY was sent to a connection.
    pub(crate) fn told_to_go(&mut self, at: Moment, channel: ChannelKey, session: SessionKey) {
        self.put([
            micros(at),
            channel.pack() | tag(Tag::ToldToGo, 0),
            session.pack(),
            0,
        ]);
    }

    /// The mark that replaces a client id in notes: 48 bits of its hash.
    pub(crate) fn mark(&self, client_id: &str) -> u64 {
        self.hasher.hash_one(client_id) >> 16
    }

    /// Whether anything is recorded.
    pub(crate) fn is_on(&self) -> bool {
        !self.notes.is_empty()
    }

    /// The serial number that the next note gets.
    pub(crate) fn written(&self) -> u64 {
        self.written
    }

    /// The serial number of the oldest note that is left.
    pub(crate) fn oldest(&self) -> u64 {
        self.written.saturating_sub(self.notes.len() as u64)
    }

    /// The note of a serial number, unless it was overwritten or is not written yet.
    pub(crate) fn get(&self, serial: u64) -> Option<Words> {
        let there = serial >= self.oldest() && serial < self.written;
        let note = self.notes.get(self.place(serial));
        note.filter(|_| there).copied()
    }

    /// Puts a client id into as many notes as it takes; its length.
    fn put_name(&mut self, channel: ChannelKey, id: &str) -> u64 {
        for piece in id.as_bytes().chunks(NAME_BYTES) {
            let mut words = [0; 3];
            for (word, bytes) in words.iter_mut().zip(piece.chunks(8)) {
                let mut whole = [0; 8];
                for (to, from) in whole.iter_mut().zip(bytes) {
                    *to = *from;
                }
                *word = u64::from_le_bytes(whole);
            }
            let [first, second, third] = words;
            let length = u8::try_from(piece.len()).unwrap_or_default();
            let head = channel.pack() | tag(Tag::Name, length);
            self.put([first, head, second, third]);
        }
        id.len() as u64
    }

    #[inline]
    fn put(&mut self, words: Words) {
        let place = self.place(self.written);
        if let Some(note) = self.notes.get_mut(place) {
            *note = words;
            self.written += 1;
        }
    }

    #[inline]
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the mask cuts off what does not fit"
    )]
    fn place(&self, serial: u64) -> usize {
        serial as usize & self.notes.len().wrapping_sub(1)
    }
}

/// A connection that leaves.
pub(crate) struct Leaver<'a> {
    pub(crate) session: SessionKey,
    pub(crate) role: &'a Role,
    pub(crate) remote: SocketAddr,
    pub(crate) opened: Now,
    pub(crate) reason: EndReason,
}

/// The time of a turn in microseconds since the start. The clock of microseconds wraps, that of milliseconds does not.
#[inline]
pub(crate) fn micros(at: Moment) -> u64 {
    let ms = at.now.0.wrapping_mul(1000);
    #[expect(clippy::cast_possible_truncation, reason = "as the other clock wraps")]
    let within = at.micros.wrapping_sub(ms as u32);
    // Both clocks are read at once; of a pair that does not fit, the milliseconds count.
    let within = if within < 1000 { within } else { 0 };
    (ms + u64::from(within)) & LOW
}

#[cfg(test)]
mod tests;
