//! The flight recorder: a ring of small notes of what happened on the shard's channels, the oldest overwritten.
//!
//! A note is four words, taken from what the step has in its registers: no clock is read, nothing is
//! allocated, and nothing is decided by what a message says. Who a connection was is found out when notes are read
//! ([`super::trace`]): those that are open have their sessions, and each one that left has notes of its own with its
//! name and address. So the ring needs no other memory, and what it knows of a connection lasts as long as its notes.
//!
//! ```text
//!  word 0   time in µs: 48 | length of the name in the notes before: 16
//!  word 1   channel: 48    | tag: 8 | detail: 8
//!  word 2   who: 48        | length of the message, low 16 bits
//!  word 3   whom: 48       | high 16 bits
//! ```
//! Notes of a name or an address have data in words 0, 2 and 3. They precede the note that they belong to: who reads
//! backwards meets that one first.

use crate::channel::{Message, Towards};
use crate::id::{ChannelKey, SessionKey};
use crate::journal::EndReason;
use crate::session::Role;
use crate::time::{Moment, Now};
use ahash::RandomState;
use codec::signal::Action;
use codec::ws::FrameError;
use std::net::{IpAddr, SocketAddr};

/// One note.
pub(super) type Words = [u64; 4];

/// The ring of one shard.
pub(super) struct Recorder {
    /// As many as configured, a power of two; none when nothing is recorded.
    notes: Box<[Words]>,
    /// Notes written since the start: the serial number of the next one.
    written: u64,
    hasher: RandomState,
}

/// What a note is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Tag {
    /// Bytes of a client id; the detail says how many.
    Name = 1,
    /// An address; the detail is 4 or 6.
    Address,
    /// A connection was admitted; the detail is 1 for a viewer.
    Joined,
    /// A connection left its channel; the detail is the reason, the length the time since its admission in ms.
    Left,
    /// A connection lost its slot to another.
    Superseded,
    /// GO_AWAY was sent.
    ToldToGo,
    /// Something of a message; the detail is that of [`Passed`].
    Message,
}

/// What became of a message at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Passage {
    /// It came, and went into its recipient's outbox.
    Relayed,
    /// It came, and is kept, since its recipient is not there.
    Kept,
    /// It came, and there was no room to keep or to relay it.
    Overflow,
    /// It came, and its sender was too fast.
    Throttled,
    /// It came, and breaks a rule.
    Refused,
    /// It came, and answered an Alexa call.
    AnsweredCall,
    /// It came, and the Alexa call that it is for is over, or takes no candidates.
    TooLateForCall,
    /// It was kept, and went into its recipient's outbox.
    Delivered,
    /// It was in an outbox, and its connection ended before it was sent.
    Returned,
    /// It was kept, and a newer one took its place.
    Overwritten,
    /// It was kept, and nobody came for it in time.
    Expired,
    /// It was kept, or came back to be, and there was no room for it.
    Evicted,
}

/// A message in a note.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Passed {
    /// `None` when it could not be understood.
    pub(super) action: Option<Action>,
    pub(super) towards: Towards,
    pub(super) passage: Passage,
    /// The length of its frame towards the recipient.
    pub(super) bytes: usize,
}

impl Passed {
    /// What became of a kept message.
    pub(super) fn of(message: &Message, towards: Towards, passage: Passage) -> Self {
        Self {
            action: Some(message.action),
            towards,
            passage,
            bytes: message.frame.len(),
        }
    }

    #[inline]
    fn detail(&self) -> u8 {
        let action = match self.action {
            Some(Action::SdpOffer) => 0,
            Some(Action::SdpAnswer) => 1,
            Some(Action::IceCandidate) => 2,
            None => 3,
        };
        let towards = match self.towards {
            Towards::Master => 0,
            Towards::Viewer => 4,
        };
        action | towards | (self.passage as u8) << 3
    }

    pub(super) fn of_detail(detail: u8, bytes: usize) -> Self {
        let actions = [Action::SdpOffer, Action::SdpAnswer, Action::IceCandidate];
        let passage = PASSAGES.get(usize::from(detail >> 3)).copied();
        Self {
            action: actions.get(usize::from(detail & 3)).copied(),
            towards: if detail & 4 == 0 {
                Towards::Master
            } else {
                Towards::Viewer
            },
            passage: passage.unwrap_or(Passage::Refused),
            bytes,
        }
    }
}

impl Recorder {
    /// A ring of this many notes: 0 or a power of two. The memory is taken as notes come.
    pub(super) fn new(notes: usize, hasher: RandomState) -> Self {
        debug_assert!(notes == 0 || notes.is_power_of_two());
        Self {
            notes: vec![[0; 4]; notes].into_boxed_slice(),
            written: 0,
            hasher,
        }
    }

    /// A message went from one connection to another.
    #[inline]
    pub(super) fn relayed(
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
    pub(super) fn came(
        &mut self,
        at: Moment,
        channel: ChannelKey,
        passed: Passed,
        from: SessionKey,
        viewer: Option<&str>,
    ) {
        let name = viewer.map_or(0, |id| self.put_name(channel, id));
        let mark = viewer.map_or(0, |id| self.mark(id));
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
    pub(super) fn went(
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
    pub(super) fn joined(
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
    pub(super) fn left(&mut self, at: Moment, channel: ChannelKey, who: &Leaver<'_>) {
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
            channel.pack() | tag(Tag::Left, code(who.reason)),
            who.session.pack() | low,
            high,
        ]);
    }

    /// A connection lost its slot to another.
    pub(super) fn superseded(
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
    pub(super) fn told_to_go(&mut self, at: Moment, channel: ChannelKey, session: SessionKey) {
        self.put([
            micros(at),
            channel.pack() | tag(Tag::ToldToGo, 0),
            session.pack(),
            0,
        ]);
    }

    /// What stands for a client id in notes: 48 bits of its hash.
    pub(super) fn mark(&self, client_id: &str) -> u64 {
        self.hasher.hash_one(client_id) >> 16
    }

    /// Whether anything is recorded.
    pub(super) fn is_on(&self) -> bool {
        !self.notes.is_empty()
    }

    /// The serial number that the next note gets.
    pub(super) fn written(&self) -> u64 {
        self.written
    }

    /// The serial number of the oldest note that is left.
    pub(super) fn oldest(&self) -> u64 {
        self.written.saturating_sub(self.notes.len() as u64)
    }

    /// The note of a serial number, unless it was overwritten or is not written yet.
    pub(super) fn get(&self, serial: u64) -> Option<Words> {
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
pub(super) struct Leaver<'a> {
    pub(super) session: SessionKey,
    pub(super) role: &'a Role,
    pub(super) remote: SocketAddr,
    pub(super) opened: Now,
    pub(super) reason: EndReason,
}

/// The time of a turn in microseconds since the start. The clock of microseconds wraps, that of milliseconds does not.
#[inline]
pub(super) fn micros(at: Moment) -> u64 {
    let ms = at.now.0.wrapping_mul(1000);
    #[expect(clippy::cast_possible_truncation, reason = "as the other clock wraps")]
    let within = at.micros.wrapping_sub(ms as u32);
    // Both clocks are read at once; of a pair that does not fit, the milliseconds count.
    let within = if within < 1000 { within } else { 0 };
    (ms + u64::from(within)) & LOW
}

#[inline]
fn tag(tag: Tag, detail: u8) -> u64 {
    (tag as u64) << SHIFT | u64::from(detail) << 56
}

/// A length of 32 bits, in the upper 16 bits of two words.
#[inline]
fn halves(length: usize) -> [u64; 2] {
    let length = (length as u64).min(u64::from(u32::MAX));
    [length << SHIFT, length >> 16 << SHIFT]
}

/// The code of a reason in a note.
fn code(reason: EndReason) -> u8 {
    let place = REASONS.iter().position(|known| *known == reason);
    place
        .and_then(|place| u8::try_from(place).ok())
        .unwrap_or(u8::MAX)
}

/// The reason of a code.
pub(super) fn reason(code: u8) -> Option<EndReason> {
    REASONS.get(usize::from(code)).copied()
}

/// Where the upper 16 bits of a word begin.
pub(super) const SHIFT: u32 = 48;

/// The lower bits of a word.
pub(super) const LOW: u64 = (1 << SHIFT) - 1;

/// In place of a connection: none.
pub(super) const NOBODY: u64 = LOW;

/// Bytes of a client id in one note.
pub(super) const NAME_BYTES: usize = 24;

/// In the order of their numbers.
const PASSAGES: [Passage; 12] = [
    Passage::Relayed,
    Passage::Kept,
    Passage::Overflow,
    Passage::Throttled,
    Passage::Refused,
    Passage::AnsweredCall,
    Passage::TooLateForCall,
    Passage::Delivered,
    Passage::Returned,
    Passage::Overwritten,
    Passage::Expired,
    Passage::Evicted,
];

/// All reasons: a note has a reason's place among them.
const REASONS: [EndReason; 32] = [
    EndReason::PeerClosed,
    EndReason::PeerGone,
    EndReason::Idle,
    EndReason::Age,
    EndReason::SupersededEvicted,
    EndReason::SupersededStuck,
    EndReason::SupersededVacant,
    EndReason::Unanswered,
    EndReason::IceReconnect,
    EndReason::SlowConsumer,
    EndReason::ChannelDeleted,
    EndReason::Unsupported,
    EndReason::Drain,
    EndReason::SlowMessage,
    EndReason::Flood,
    EndReason::Operator,
    EndReason::ProtocolError(FrameError::ReservedBits),
    EndReason::ProtocolError(FrameError::UnknownOpcode),
    EndReason::ProtocolError(FrameError::Unmasked),
    EndReason::ProtocolError(FrameError::Masked),
    EndReason::ProtocolError(FrameError::LengthNotMinimal),
    EndReason::ProtocolError(FrameError::LengthTopBit),
    EndReason::ProtocolError(FrameError::ControlTooLong),
    EndReason::ProtocolError(FrameError::ControlFragmented),
    EndReason::ProtocolError(FrameError::ContinuationWithoutStart),
    EndReason::ProtocolError(FrameError::StartInsideMessage),
    EndReason::ProtocolError(FrameError::CloseTooShort),
    EndReason::ProtocolError(FrameError::CloseCode),
    EndReason::ProtocolError(FrameError::CloseReasonNotUtf8),
    EndReason::ProtocolError(FrameError::TextNotUtf8),
    EndReason::ProtocolError(FrameError::MessageTooBig),
    EndReason::ProtocolError(FrameError::TooManyFragments),
];

const _: () = assert!(size_of::<Words>() == crate::limits::NOTE_BYTES);

#[cfg(test)]
mod tests {
    use super::*;

    fn recorder(notes: usize) -> Recorder {
        Recorder::new(notes, RandomState::with_seeds(1, 2, 3, 4))
    }

    fn goes(recorder: &mut Recorder, ms: u64) {
        let at = Moment {
            now: Now(ms),
            ..Moment::default()
        };
        recorder.told_to_go(at, ChannelKey::new(1, 0), SessionKey::new(2, 0));
    }

    #[test]
    fn the_oldest_notes_are_overwritten() {
        let mut recorder = recorder(4);
        for ms in 0..6 {
            goes(&mut recorder, ms);
        }
        assert_eq!((recorder.oldest(), recorder.written()), (2, 6));
        let times = (0..8).map(|serial| recorder.get(serial).map(|[first, ..]| first / 1000));
        let left = [None, None, Some(2), Some(3), Some(4), Some(5), None, None];
        assert_eq!(times.collect::<Vec<_>>(), left);
    }

    #[test]
    fn a_recorder_that_is_off_has_no_notes_and_no_memory() {
        let mut recorder = recorder(0);
        goes(&mut recorder, 1);
        assert!(!recorder.is_on() && recorder.notes.is_empty());
        assert_eq!(
            (recorder.oldest(), recorder.written(), recorder.get(0)),
            (0, 0, None)
        );
    }

    #[test]
    fn time_goes_on_when_the_clock_of_microseconds_wraps() {
        let at = |us: u64| Moment {
            now: Now(us / 1000),
            micros: u32::try_from(us & u64::from(u32::MAX)).unwrap(),
            ..Moment::default()
        };
        for us in [
            0,
            1,
            999,
            1000,
            4_294_967_295,
            4_294_967_296,
            4_294_968_001,
            1 << 40,
        ] {
            assert_eq!(micros(at(us)), us);
        }
        let odd = Moment {
            now: Now(5),
            micros: 77_777,
            ..Moment::default()
        };
        assert_eq!(micros(odd), 5_000, "the milliseconds count");
    }

    #[test]
    fn messages_come_out_of_their_notes_as_they_went_in() {
        let actions = [
            None,
            Some(Action::SdpOffer),
            Some(Action::SdpAnswer),
            Some(Action::IceCandidate),
        ];
        for passage in PASSAGES {
            for action in actions {
                for towards in [Towards::Master, Towards::Viewer] {
                    let passed = Passed {
                        action,
                        towards,
                        passage,
                        bytes: 7,
                    };
                    assert_eq!(Passed::of_detail(passed.detail(), 7), passed);
                }
            }
        }
        let [low, high] = halves(0x0123_4567);
        assert_eq!((low >> SHIFT, high >> SHIFT), (0x4567, 0x0123));
        let whole = halves(usize::MAX).map(|half| half >> SHIFT);
        assert_eq!(whole, [0xffff; 2], "the greatest length that fits");
    }

    #[test]
    fn every_reason_has_a_code() {
        for known in REASONS {
            assert_eq!(reason(code(known)), Some(known));
            // A reason that is missing here is missing in the list as well.
            match known {
                EndReason::PeerClosed
                | EndReason::PeerGone
                | EndReason::Idle
                | EndReason::Age
                | EndReason::SupersededEvicted
                | EndReason::SupersededStuck
                | EndReason::SupersededVacant
                | EndReason::Unanswered
                | EndReason::IceReconnect
                | EndReason::SlowConsumer
                | EndReason::ChannelDeleted
                | EndReason::ProtocolError(
                    FrameError::ReservedBits
                    | FrameError::UnknownOpcode
                    | FrameError::Unmasked
                    | FrameError::Masked
                    | FrameError::LengthNotMinimal
                    | FrameError::LengthTopBit
                    | FrameError::ControlTooLong
                    | FrameError::ControlFragmented
                    | FrameError::ContinuationWithoutStart
                    | FrameError::StartInsideMessage
                    | FrameError::CloseTooShort
                    | FrameError::CloseCode
                    | FrameError::CloseReasonNotUtf8
                    | FrameError::TextNotUtf8
                    | FrameError::MessageTooBig
                    | FrameError::TooManyFragments,
                )
                | EndReason::Unsupported
                | EndReason::Drain
                | EndReason::SlowMessage
                | EndReason::Flood
                | EndReason::Operator => {}
            }
        }
        let mut codes: Vec<u8> = REASONS.map(code).to_vec();
        codes.sort_unstable();
        assert_eq!(codes, (0..32).collect::<Vec<u8>>());
        assert_eq!(reason(u8::MAX), None);
    }
}
