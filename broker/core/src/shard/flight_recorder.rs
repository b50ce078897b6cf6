//! The flight recorder: a ring buffer of short notes about events on the shard's channels; the oldest notes are
//! overwritten.
//!
//! A note consists of four words taken from values that the step already has in registers: no clock is read, nothing is
//! allocated, and message contents are not recorded. Connections are identified only when notes are read
//! ([`crate::shard::trace`]): an open connection by its session, a connection that has left by the notes with its name
//! and address. The ring therefore needs no other memory, and data about a connection is kept only as long as its
//! notes.

use crate::channel::Towards;
use crate::channel::pending::Message;
use crate::id::{ChannelKey, SessionKey};
use crate::journal::{EndReason, UNACCEPTED, Unaccepted};
use crate::session::http::RoleBy;
use crate::session::web_socket::Role;
use crate::shard::todo::{MemberEnd, Membership};
use crate::time::Moment;
use ahash::RandomState;
use codec::control::Operation;
use codec::signal::{Action, Role as SignalRole};
use codec::{base64, ws::Excess};
use std::net::IpAddr;
use std::num::NonZeroU8;
use std::ops::Range;

/// The ring buffer of a shard.
pub(crate) struct Recorder {
    /// Buffer of the configured size, a power of two; empty if recording is off.
    notes: Box<[Words]>,
    /// Time of the notes being written.
    at: Moment,
    /// Channel of the notes being written.
    channel: ChannelKey,
    /// Number of notes written since startup, which is the serial number of the next one.
    written: u64,
    /// Serial number of the oldest note not yet erased because of its age.
    kept_from: u64,
    hasher: RandomState,
}

impl Recorder {
    /// Creates a ring for this many notes: 0 or a power of two. Memory is committed only as notes are written.
    pub(crate) fn new(notes: usize, hasher: RandomState) -> Self {
        debug_assert!(notes == 0 || notes.is_power_of_two());
        Self {
            notes: vec![[0; 4]; notes].into_boxed_slice(),
            written: 0,
            at: Moment::default(),
            channel: ChannelKey::default(),
            kept_from: 0,
            hasher,
        }
    }

    /// Sets the time and the channel of the notes that follow.
    #[inline]
    pub(crate) fn at(&mut self, at: Moment, channel: ChannelKey) -> &mut Self {
        (self.at, self.channel) = (at, channel);
        self
    }

    /// Notes a message forwarded from one connection to another.
    #[inline]
    pub(crate) fn relayed(&mut self, passed: NotedMessage, from: SessionKey, to: SessionKey) {
        let [low, high] = halves(passed.bytes);
        self.put([
            micros(self.at) | passed.looked(),
            self.channel.pack() | tag(Tag::Message, passed.detail()),
            from.pack() | low,
            to.pack() | high,
        ]);
    }

    /// Notes a message that was received but not forwarded to a connection. `viewer`: the viewer that a master
    /// addressed; if there is none, the note contains the limit that the message exceeded.
    pub(crate) fn came(&mut self, passed: NotedMessage, from: SessionKey, viewer: Option<&str>) {
        let name = viewer.map_or(0, |id| self.put_name(id));
        let mark = viewer.map_or(passed.most as u64 & LOW, |id| self.mark(id));
        let [low, high] = halves(passed.bytes);
        self.put([
            micros(self.at) | name << SHIFT | passed.looked(),
            self.channel.pack() | tag(Tag::Message, passed.detail()),
            from.pack() | low,
            mark | high,
        ]);
    }

    /// Notes a later event in the life of a message from or to `viewer`; `session` is the connection that received it
    /// or whose outbox held it.
    pub(crate) fn went(&mut self, passed: NotedMessage, viewer: &str, session: Option<SessionKey>) {
        let mark = self.mark(viewer);
        let [low, high] = halves(passed.bytes);
        self.put([
            micros(self.at),
            self.channel.pack() | tag(Tag::Message, passed.detail()),
            mark | low,
            session.map_or(NOBODY, SessionKey::pack) | high,
        ]);
    }

    /// Notes a player's call, with the id that the master addresses its reply to.
    pub(crate) fn called(&mut self, bytes: usize, id: &str) {
        let passed = NotedMessage::new(
            Some(Action::SdpOffer),
            Towards::Master,
            Passage::Called,
            bytes,
        );
        self.came(passed, SessionKey::unpack(NOBODY), Some(id));
    }

    /// Notes the end of a player's call, with the status of the response.
    pub(crate) fn call_ended(&mut self, status: u16, id: &str) {
        let passed = NotedMessage::new(
            Some(Action::SdpAnswer),
            Towards::Viewer,
            Passage::CallEnded,
            status.into(),
        );
        self.went(passed, id, None);
    }

    /// Notes an admitted connection.
    pub(crate) fn joined(&mut self, session: SessionKey, role: &Role, by: RoleBy) {
        let detail = u8::from(*role != Role::Master) | (by as u8) << 1;
        self.put([
            micros(self.at),
            self.channel.pack() | tag(Tag::Joined, detail),
            session.pack(),
            0,
        ]);
    }

    /// Notes a connection that left its channel.
    pub(crate) fn left(&mut self, who: &Membership, end: &MemberEnd) {
        let name = who.role.client_id();
        let length = name.map_or(0, |id| self.put_name(id));
        let (kind, [low, high]) = match end.remote.ip() {
            IpAddr::V4(ip) => (4, [u64::from(ip.to_bits()), 0]),
            IpAddr::V6(ip) => {
                let [a, b, c, d, e, f, g, h] = ip.segments().map(u64::from);
                let word = |[a, b, c, d]: [u64; 4]| a << 48 | b << 32 | c << 16 | d;
                (6, [word([e, f, g, h]), word([a, b, c, d])])
            }
        };
        self.put([
            u64::from(end.remote.port()),
            self.channel.pack() | tag(Tag::Address, kind),
            low,
            high,
        ]);
        let ms = usize::try_from(self.at.now.since(end.opened)).unwrap_or(usize::MAX);
        let [low, high] = halves(ms);
        self.put([
            micros(self.at) | length << SHIFT,
            self.channel.pack() | tag(Tag::Left, end.reason.code().get()),
            who.session.pack() | low,
            lengths(end.reason) | high,
        ]);
    }

    /// Notes that a connection lost its slot to another, which may be a master only by default because its request
    /// named no role.
    pub(crate) fn superseded(&mut self, older: SessionKey, newer: SessionKey, unnamed: bool) {
        self.put([
            micros(self.at),
            self.channel.pack() | tag(Tag::Superseded, u8::from(unnamed)),
            older.pack(),
            newer.pack(),
        ]);
    }

    /// Notes that GO_AWAY was sent to a connection.
    pub(crate) fn told_to_go(&mut self, session: SessionKey) {
        self.put([
            micros(self.at),
            self.channel.pack() | tag(Tag::ToldToGo, 0),
            session.pack(),
            0,
        ]);
    }

    /// Notes that an API call preceding a connection found its channel. Other calls are not noted.
    pub(crate) fn api_call(&mut self, call: &NotedCall<'_>) {
        let operation = NOTED_CALLS.iter().position(|it| *it == call.operation);
        let Some(operation) = operation.and_then(|place| u8::try_from(place).ok()) else {
            return;
        };
        let role = match call.role {
            None => 0,
            Some(SignalRole::Master) => 1,
            Some(SignalRole::Viewer) => 2,
        };
        self.put([
            micros(self.at),
            self.channel.pack() | tag(Tag::ApiCall, operation | role << 2),
            self.address_mark(call.remote),
            call.client_id.map_or(NOBODY, |id| self.mark(id)),
        ]);
    }

    /// Returns the hash that replaces an address in notes of calls.
    pub(crate) fn address_mark(&self, address: IpAddr) -> u64 {
        self.hasher.hash_one(address.to_canonical()) >> 16
    }

    /// Returns the 48-bit hash that replaces a client id in notes.
    pub(crate) fn mark(&self, client_id: &str) -> u64 {
        self.hasher.hash_one(client_id) >> 16
    }

    /// Whether recording is on.
    pub(crate) fn is_on(&self) -> bool {
        !self.notes.is_empty()
    }

    /// Returns the serial number of the next note.
    pub(crate) fn written(&self) -> u64 {
        self.written
    }

    /// Returns the serial number of the oldest available note.
    pub(crate) fn oldest(&self) -> u64 {
        let overwritten = self.written.saturating_sub(self.notes.len() as u64);
        overwritten.max(self.kept_from)
    }

    /// Erases the notes with these serial numbers that are still available.
    pub(crate) fn erase(&mut self, serials: Range<u64>) {
        for serial in serials.start.max(self.oldest())..serials.end.min(self.written) {
            let place = self.place(serial);
            if let Some(note) = self.notes.get_mut(place) {
                *note = [0; 4]; // no tag has the number 0
            }
        }
    }

    /// Permanently erases all notes before this serial number.
    pub(crate) fn erase_before(&mut self, serial: u64) {
        self.erase(0..serial);
        self.kept_from = self.kept_from.max(serial.min(self.written));
    }

    /// Returns the note with this serial number, unless it has been overwritten or not yet written.
    pub(crate) fn get(&self, serial: u64) -> Option<Words> {
        let there = serial >= self.oldest() && serial < self.written;
        let note = self.notes.get(self.place(serial));
        note.filter(|_| there).copied()
    }

    /// Writes a client id, using as many notes as needed; returns its length in bytes.
    fn put_name(&mut self, id: &str) -> u64 {
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
            let head = self.channel.pack() | tag(Tag::Name, length);
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

/// An API call that found its channel.
pub(crate) struct NotedCall<'a> {
    pub(crate) operation: Operation,
    /// The role named in the call.
    pub(crate) role: Option<SignalRole>,
    pub(crate) remote: IpAddr,
    /// The client id named in the call.
    pub(crate) client_id: Option<&'a str>,
}

/// Returns the time of a turn in microseconds since startup. Based on both clocks, since the microsecond clock wraps
/// and the millisecond clock does not.
#[inline]
pub(crate) fn micros(at: Moment) -> u64 {
    let ms = at.now.0.wrapping_mul(1000);
    #[expect(clippy::cast_possible_truncation, reason = "as the other clock wraps")]
    let within = at.micros.wrapping_sub(ms as u32);
    // Both clocks are read together; if their values do not match, only the milliseconds count.
    let within = if within < 1000 { within } else { 0 };
    (ms + u64::from(within)) & LOW
}

// One note: the contents of its four words.
//
// ```text
//  word 0   time in µs: 48 | length of the name in the notes before: 9 | candidates in a description, plus 1: 7
//  word 1   channel: 48    | tag: 8 | detail: 8
//  word 2   who: 48        | length of the message, low 16 bits
//  word 3   whom: 48       | high 16 bits
// ```
// If no second party is named, `whom` contains the limit for a message that is too long, and the lengths of [`Excess`]
// for a connection that left because of one. Notes of a name or an address have data in words 0, 2 and 3. They precede
// the note to which they belong, so that reading backwards finds that note first.

/// The words that make up a note.
pub(crate) type Words = [u64; 4];

/// The kinds of notes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Tag {
    /// Part of a client id; the detail is the number of bytes.
    Name = 1,
    /// An address; the detail is its IP version, 4 or 6.
    Address,
    /// A connection was admitted; the detail contains 1 for a viewer, and how the role was determined.
    Joined,
    /// A connection left its channel; the detail is the reason, and the length field is the time since admission in
    /// milliseconds.
    Left,
    /// A connection lost its slot to another; the detail is 1 if the new connection is a master whose request named no
    /// role.
    Superseded,
    /// GO_AWAY was sent.
    ToldToGo,
    /// A message event; the detail is described at [`NotedMessage`].
    Message,
    /// An API call; the detail is its index in [`NOTED_CALLS`] and its role. `who` is the hash of the address, `whom`
    /// that of the client id.
    ApiCall,
}

/// An event in the life of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Passage {
    /// Accepted into its recipient's outbox.
    Relayed,
    /// Accepted as pending, since its recipient is absent.
    Kept,
    /// Accepted as the answer to an Alexa call.
    AnsweredCall,
    /// Accepted as the answer to an Alexa call that had already ended.
    TooLateForCall,
    /// Late: held back until its sender's newer connection had sent a message, or until it expired.
    Late,
    /// Moved from pending into its recipient's outbox.
    Delivered,
    /// Offer or answer that the recipient's host has confirmed, noted when this was discovered.
    Confirmed,
    /// Returned from the outbox of a connection that ended before the message was sent.
    Returned,
    /// Sent but not acknowledged by its recipient's host; pending again.
    Unconfirmed,
    /// Sent to the next master: an offer that the previous master received but did not answer, or a candidate belonging
    /// to such an offer.
    Repeated,
    /// Overwritten by a newer message while pending.
    Overwritten,
    /// Expired while pending: no recipient connected in time.
    Expired,
    /// Evicted for lack of space, either while pending or when it was to become pending again.
    Evicted,
    /// Withdrawn while pending, because its viewer closed its connection and another viewer of the same caller has
    /// connected.
    Withdrawn,
    /// Candidate for an Alexa call, pending or ended. Alexa calls do not accept candidates.
    ForCall,
    /// Accepted as the offer of a player's call, which did not arrive over a WebSocket.
    Called,
    /// Candidate accepted by a player's call.
    Gathered,
    /// End of a player's call; the length field contains the response status.
    CallEnded,
    /// Not accepted.
    Unaccepted(Unaccepted),
}

impl Passage {
    #[inline]
    const fn number(self) -> u8 {
        match self {
            Self::Relayed => 0,
            Self::Kept => 1,
            Self::AnsweredCall => 2,
            Self::TooLateForCall => 3,
            Self::Late => 4,
            Self::Delivered => 5,
            Self::Returned => 6,
            Self::Unconfirmed => 7,
            Self::Repeated => 8,
            Self::Overwritten => 9,
            Self::Expired => 10,
            Self::Evicted => 11,
            Self::Withdrawn => 12,
            Self::ForCall => 13,
            Self::Called => 14,
            Self::Gathered => 15,
            Self::CallEnded => 16,
            Self::Confirmed => 17,
            Self::Unaccepted(reason) => 18 + reason as u8,
        }
    }

    fn of_number(number: u8) -> Option<Self> {
        let number = usize::from(number);
        let reason = |place| Unaccepted::ALL.get(place).copied().map(Self::Unaccepted);
        let plain = PASSAGES.get(number).copied();
        plain.or_else(|| number.checked_sub(PASSAGES.len()).and_then(reason))
    }
}

/// A message as recorded in a note.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NotedMessage {
    /// The action, or `None` for a malformed message.
    pub(crate) action: Option<Action>,
    pub(crate) towards: Towards,
    pub(crate) passage: Passage,
    /// Length of the message's frame as sent to the recipient, or of the payload if it is too long.
    pub(crate) bytes: usize,
    /// Number of candidates in a parsed offer or answer; `None` for all other messages.
    pub(crate) candidates: Option<usize>,
    /// Maximum length, if the message is too long; otherwise 0.
    pub(crate) most: usize,
}

impl NotedMessage {
    /// Creates the note of an event, without candidates.
    #[inline]
    pub(crate) fn new(action: Option<Action>, to: Towards, passage: Passage, bytes: usize) -> Self {
        Self {
            action,
            towards: to,
            passage,
            bytes,
            candidates: None,
            most: 0,
        }
    }

    /// Creates the note of an event concerning a pending message.
    pub(crate) fn of(message: &Message, towards: Towards, passage: Passage) -> Self {
        Self {
            candidates: (passage == Passage::Kept)
                .then(|| look_into(message.action, &message.frame))
                .flatten(),
            ..Self::new(Some(message.action), towards, passage, message.frame.len())
        }
    }

    /// Returns the number of candidates in the description, encoded for a note.
    #[inline]
    fn looked(&self) -> u64 {
        let count = self.candidates.map_or(0, |count| count.min(LOOKED_MAX) + 1);
        (count as u64) << LOOKED_SHIFT
    }

    #[inline]
    pub(crate) fn detail(&self) -> u8 {
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
        action | towards | self.passage.number() << 3
    }

    pub(crate) fn of_detail(detail: u8, bytes: usize) -> Self {
        let actions = [Action::SdpOffer, Action::SdpAnswer, Action::IceCandidate];
        let action = actions.get(usize::from(detail & 3)).copied();
        let to = if detail & 4 == 0 {
            Towards::Master
        } else {
            Towards::Viewer
        };
        let passage = Passage::of_number(detail >> 3);
        let passage = passage.unwrap_or(Passage::Unaccepted(Unaccepted::Malformed));
        Self::new(action, to, passage, bytes)
    }
}

/// Counts the candidates in an offer or answer, given its payload or frame; `None` if the message is a candidate
/// itself.
pub(crate) fn look_into(action: Action, text: &[u8]) -> Option<usize> {
    (action != Action::IceCandidate).then(|| base64::candidates(text))
}

/// Extracts the length of a name and the number of candidates from the first word of a note.
pub(crate) fn name_and_candidates(first: u64) -> (u64, Option<u64>) {
    let name = (first & !(u64::MAX << LOOKED_SHIFT)) >> SHIFT;
    (name, (first >> LOOKED_SHIFT).checked_sub(1))
}

#[inline]
pub(crate) fn tag(tag: Tag, detail: u8) -> u64 {
    (tag as u64) << SHIFT | u64::from(detail) << 56
}

/// Splits a 32-bit length into two parts for the upper 16 bits of two words.
#[inline]
fn halves(length: usize) -> [u64; 2] {
    let length = (length as u64).min(u64::from(u32::MAX));
    [length << SHIFT, length >> 16 << SHIFT]
}

/// Packs the actual and maximum length of an oversized message, 24 bits each; 0 for any other close reason.
pub(crate) fn lengths(reason: EndReason) -> u64 {
    let excess = reason.excess();
    u64::from(excess.bytes()) | u64::from(excess.most()) << 24
}

/// Returns the close reason encoded by `code` and the packed `lengths`, or `None` if `code` is unknown.
pub(crate) fn reason(code: u8, lengths: u64) -> Option<EndReason> {
    let length = |bits: u64| bits & Excess::GREATEST as u64;
    let excess = Excess::new(length(lengths), length(lengths >> 24));
    EndReason::of_code(NonZeroU8::new(code)?, excess)
}

/// Position of the upper 16 bits of a word.
pub(crate) const SHIFT: u32 = 48;

/// Position of the candidate count in the first word, after the 9 bits of a name's length.
const LOOKED_SHIFT: u32 = SHIFT + 9;

/// Largest number of candidates that a note can represent; larger numbers are clamped.
const LOOKED_MAX: usize = (1 << (64 - LOOKED_SHIFT)) - 2;

/// Mask of the lower bits of a word.
pub(crate) const LOW: u64 = (1 << SHIFT) - 1;

/// Sentinel for no connection.
pub(crate) const NOBODY: u64 = LOW;

/// Number of client id bytes that fit in one note.
pub(crate) const NAME_BYTES: usize = 24;

/// API calls that are noted: those that clients make before they connect.
pub(crate) const NOTED_CALLS: [Operation; 3] = [
    Operation::DescribeSignalingChannel,
    Operation::GetSignalingChannelEndpoint,
    Operation::GetIceServerConfig,
];

/// All events in the life of a message, sorted by number.
const PASSAGES: [Passage; 18] = [
    Passage::Relayed,
    Passage::Kept,
    Passage::AnsweredCall,
    Passage::TooLateForCall,
    Passage::Late,
    Passage::Delivered,
    Passage::Returned,
    Passage::Unconfirmed,
    Passage::Repeated,
    Passage::Overwritten,
    Passage::Expired,
    Passage::Evicted,
    Passage::Withdrawn,
    Passage::ForCall,
    Passage::Called,
    Passage::Gathered,
    Passage::CallEnded,
    Passage::Confirmed,
];

const _: () = assert!(
    PASSAGES.len() + UNACCEPTED <= 32,
    "a detail has five bits for it"
);

const _: () = assert!(size_of::<Words>() == crate::limits::NOTE_BYTES);

#[cfg(test)]
mod tests;
