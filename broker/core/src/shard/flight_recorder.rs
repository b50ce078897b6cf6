//! The flight recorder: a ring buffer of short notes about events on the shard's channels. New notes overwrite the
//! oldest.
//!
//! A note consists of four words whose values are already known when the event occurs. Writing a note neither reads a
//! clock nor allocates. Message contents are not recorded. Connection names are looked up only when notes are read
//! ([`crate::shard::trace`]). The name of an open connection is in its session. If a connection has left, its name is
//! in the notes about its departure. The recorder therefore needs no memory besides the ring, and keeps data about a
//! connection only as long as the notes that contain it.

use crate::channel::Towards;
use crate::channel::pending::Message;
use crate::id::{ChannelKey, SessionKey};
use crate::journal::{EndReason, UNACCEPTED, Unaccepted};
use crate::session::http::RoleBy;
use crate::session::web_socket::Role;
use crate::shard::calls::letters::Query;
use crate::shard::todo::{MemberEnd, Membership};
use crate::time::Moment;
use ahash::RandomState;
use codec::control::Operation;
use codec::signal::{Action, Role as SignalRole};
use codec::{base64, ws::Excess};
use std::net::IpAddr;
use std::num::NonZeroU8;
use std::ops::Range;

/// The ring buffer of a shard's notes.
pub(crate) struct Recorder {
    /// The buffer. Its size is configured and a power of two. Empty if recording is off.
    notes: Box<[Words]>,
    /// The timestamp of new notes.
    at: Moment,
    /// The channel of new notes.
    channel: ChannelKey,
    /// Number of notes written since startup. The next note gets this serial number.
    written: u64,
    /// Serial number of the oldest note that has not been erased because of its age.
    kept_from: u64,
    hasher: RandomState,
}

impl Recorder {
    /// Creates a ring buffer for `notes` notes, which is 0 or a power of two. Memory is committed only as notes are
    /// written.
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

    /// Sets the timestamp and channel of the notes that follow.
    #[inline]
    pub(crate) fn at(&mut self, at: Moment, channel: ChannelKey) -> &mut Self {
        (self.at, self.channel) = (at, channel);
        self
    }

    /// Records that a message was forwarded from one connection to another.
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

    /// Records that a message was received but not forwarded to a connection. `viewer` is the viewer to which a master
    /// addressed the message. If it is `None`, the note contains the limit that the message exceeded, if any.
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

    /// Records a later event in a message's lifecycle, such as its delivery or expiry. `viewer` is the viewer that sent
    /// the message or to which it is addressed. `session` is the connection that received the message, or whose outbox
    /// contained it.
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

    /// Records a player's call. `id` is the client id to which the master addresses its answer.
    pub(crate) fn called(&mut self, bytes: usize, id: &str) {
        let passed = NotedMessage::new(
            Some(Action::SdpOffer),
            Towards::Master,
            Passage::Called,
            bytes,
        );
        self.came(passed, SessionKey::unpack(NOBODY), Some(id));
    }

    /// Records that a player's call has ended, with the HTTP status of the response.
    pub(crate) fn call_ended(&mut self, status: u16, id: &str) {
        let passed = NotedMessage::new(
            Some(Action::SdpAnswer),
            Towards::Viewer,
            Passage::CallEnded,
            status.into(),
        );
        self.went(passed, id, None);
    }

    /// Records that a connection was admitted to its channel.
    pub(crate) fn joined(&mut self, session: SessionKey, role: &Role, by: RoleBy) {
        let detail = u8::from(*role != Role::Master) | (by as u8) << 1;
        self.put([
            micros(self.at),
            self.channel.pack() | tag(Tag::Joined, detail),
            session.pack(),
            0,
        ]);
    }

    /// Records that a connection has left its channel.
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

    /// Records that a newer connection has replaced `older`. `unnamed` is set if the newer one is a master only because
    /// its request did not specify a role.
    pub(crate) fn superseded(&mut self, older: SessionKey, newer: SessionKey, unnamed: bool) {
        self.put([
            micros(self.at),
            self.channel.pack() | tag(Tag::Superseded, u8::from(unnamed)),
            older.pack(),
            newer.pack(),
        ]);
    }

    /// Records that GO_AWAY was sent on a connection.
    pub(crate) fn told_to_go(&mut self, session: SessionKey) {
        self.put([
            micros(self.at),
            self.channel.pack() | tag(Tag::ToldToGo, 0),
            session.pack(),
            0,
        ]);
    }

    /// Records an API call to an existing channel. Only the calls that clients make before connecting are recorded.
    pub(crate) fn api_call(&mut self, remote: IpAddr, query: &Query) {
        let operation = NOTED_CALLS.iter().position(|it| *it == query.operation);
        let Some(operation) = operation.and_then(|place| u8::try_from(place).ok()) else {
            return;
        };
        let role = match query.endpoint {
            None => 0,
            Some((SignalRole::Master, _)) => 1,
            Some((SignalRole::Viewer, _)) => 2,
        };
        self.put([
            micros(self.at),
            self.channel.pack() | tag(Tag::ApiCall, operation | role << 2),
            self.address_mark(remote),
            (query.client_id.as_ref()).map_or(NOBODY, |id| self.mark(id)),
        ]);
    }

    /// Returns the hash that represents an IP address in notes about API calls.
    pub(crate) fn address_mark(&self, address: IpAddr) -> u64 {
        self.hasher.hash_one(address.to_canonical()) >> 16
    }

    /// Returns the 48-bit hash that represents a client id in notes.
    pub(crate) fn mark(&self, client_id: &str) -> u64 {
        self.hasher.hash_one(client_id) >> 16
    }

    /// Returns whether recording is on.
    pub(crate) fn is_on(&self) -> bool {
        !self.notes.is_empty()
    }

    /// Returns the serial number of the next note.
    pub(crate) fn written(&self) -> u64 {
        self.written
    }

    /// Returns the serial number of the oldest note that is still available.
    pub(crate) fn oldest(&self) -> u64 {
        let overwritten = self.written.saturating_sub(self.notes.len() as u64);
        overwritten.max(self.kept_from)
    }

    /// Erases the notes in this range of serial numbers, unless they have already been overwritten.
    pub(crate) fn erase(&mut self, serials: Range<u64>) {
        for serial in serials.start.max(self.oldest())..serials.end.min(self.written) {
            let place = self.place(serial);
            if let Some(note) = self.notes.get_mut(place) {
                *note = [0; 4]; // no tag has the number 0
            }
        }
    }

    /// Permanently erases all notes before `serial`.
    pub(crate) fn erase_before(&mut self, serial: u64) {
        self.erase(0..serial);
        self.kept_from = self.kept_from.max(serial.min(self.written));
    }

    /// Returns the note with this serial number, or `None` if it has been overwritten or not been written yet.
    pub(crate) fn get(&self, serial: u64) -> Option<Words> {
        let there = serial >= self.oldest() && serial < self.written;
        let note = self.notes.get(self.place(serial));
        note.filter(|_| there).copied()
    }

    /// Returns the note before this serial number, if it is still available.
    pub(crate) fn before(&self, serial: u64) -> Option<Words> {
        self.get(serial.checked_sub(1)?)
    }

    /// Writes a client id, using as many notes as needed. Returns the length of the client id in bytes.
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

/// Returns the time of an event loop turn in microseconds since startup. Combines the microsecond clock, which wraps
/// around, with the millisecond clock, which does not.
#[inline]
pub(crate) fn micros(at: Moment) -> u64 {
    let ms = at.now.0.wrapping_mul(1000);
    #[expect(clippy::cast_possible_truncation, reason = "as the other clock wraps")]
    let within = at.micros.wrapping_sub(ms as u32);
    // Both clocks are read together. If they disagree, only the milliseconds are used.
    let within = if within < 1000 { within } else { 0 };
    (ms + u64::from(within)) & LOW
}

// Layout of a note's four words.
//
// ```text
//  word 0   time in µs: 48 | length of the name in the notes before: 9 | candidates in a description, plus 1: 7
//  word 1   channel: 48    | tag: 8 | detail: 8
//  word 2   who: 48        | length of the message, low 16 bits
//  word 3   whom: 48       | high 16 bits
// ```
// If an event involves only one party, `whom` contains other data: the limit if a message was too long, or the
// [`Excess`] lengths if such a message made a connection leave. Notes that hold a name or an address have their data in
// words 0, 2 and 3. They precede the note to which they belong, so a reader that moves backwards finds that note first.

/// The four words of a note.
pub(crate) type Words = [u64; 4];

/// The kind of a note.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Tag {
    /// Part of a client id. The detail is the number of bytes in this note.
    Name = 1,
    /// An IP address and port. The detail is the IP version, 4 or 6.
    Address,
    /// A connection was admitted. The detail tells whether it is a viewer (1) and how its role was determined.
    Joined,
    /// A connection left its channel. The detail is the reason, and the length field contains the time in milliseconds
    /// since the connection was admitted.
    Left,
    /// A newer connection took over this one's slot. The detail is 1 if the newer connection is a master whose request
    /// did not specify a role.
    Superseded,
    /// GO_AWAY was sent.
    ToldToGo,
    /// A message lifecycle event. See [`NotedMessage`] for the detail.
    Message,
    /// An API call. The detail contains the call's index in [`NOTED_CALLS`] and the role. `who` is the hash of the
    /// caller's IP address, and `whom` is the hash of the client id.
    ApiCall,
}

/// A message lifecycle event, as recorded by the flight recorder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Passage {
    /// Put into its recipient's outbox.
    Relayed,
    /// Became pending because the recipient was absent.
    Kept,
    /// Accepted as the answer to a pending call.
    AnsweredCall,
    /// Dropped because the call that it answers had already ended.
    TooLateForCall,
    /// Dropped because it arrived too late. Either a newer connection of the sender had already sent a message, or the
    /// message had expired.
    Late,
    /// Moved from the pending messages to its recipient's outbox.
    Delivered,
    /// Confirmed by the recipient's host. Recorded only for offers and answers, once the shard learns of the
    /// confirmation.
    Confirmed,
    /// Taken back before it was sent, because its connection closed or lost its slot.
    Returned,
    /// Became pending again because the recipient's host did not acknowledge it.
    Unconfirmed,
    /// Sent again, to the next master: an offer that the previous master received but did not answer, or a candidate
    /// for such an offer.
    Repeated,
    /// Overwritten by a newer message while it was pending.
    Overwritten,
    /// Expired while pending, because no recipient connected in time.
    Expired,
    /// Evicted for lack of space, either while pending or when it was about to become pending again.
    Evicted,
    /// Withdrawn while pending, because the viewer had closed its connection and the same caller connected another
    /// viewer.
    Withdrawn,
    /// Dropped because the call to which it is addressed cannot use it. For example, an Alexa call cannot use
    /// candidates.
    ForCall,
    /// The offer of a player's call, which arrived over HTTP rather than over a WebSocket.
    Called,
    /// A candidate that was added to the answer to a player's call.
    Gathered,
    /// A player's call has ended. The length field contains the HTTP status of the response.
    CallEnded,
    /// Rejected, for this reason.
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
    /// The action of the message; `None` if the message was malformed.
    pub(crate) action: Option<Action>,
    pub(crate) towards: Towards,
    pub(crate) passage: Passage,
    /// Length of the frame sent to the recipient. If the payload is too long, the payload length instead.
    pub(crate) bytes: usize,
    /// Number of candidates in an offer or answer. `None` for other messages, and for messages that were not parsed.
    pub(crate) candidates: Option<usize>,
    /// The maximum length, if the message exceeds it. Otherwise 0.
    pub(crate) most: usize,
}

impl NotedMessage {
    /// Creates a note without a candidate count.
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

    /// Creates a note about a lifecycle event of a pending message.
    pub(crate) fn of(message: &Message, towards: Towards, passage: Passage) -> Self {
        Self {
            candidates: (passage == Passage::Kept)
                .then(|| look_into(message.action, &message.frame))
                .flatten(),
            ..Self::new(Some(message.action), towards, passage, message.frame.len())
        }
    }

    /// Returns the candidate count as encoded in notes.
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

/// Counts the candidates in an offer or answer, given its payload or frame. Returns `None` for candidate messages.
pub(crate) fn look_into(action: Action, text: &[u8]) -> Option<usize> {
    (action != Action::IceCandidate).then(|| base64::candidates(text))
}

/// Decodes the name length and the number of candidates from the first word of a note.
pub(crate) fn name_and_candidates(first: u64) -> (u64, Option<u64>) {
    let name = (first & !(u64::MAX << LOOKED_SHIFT)) >> SHIFT;
    (name, (first >> LOOKED_SHIFT).checked_sub(1))
}

#[inline]
pub(crate) fn tag(tag: Tag, detail: u8) -> u64 {
    (tag as u64) << SHIFT | u64::from(detail) << 56
}

/// Splits a 32-bit length into halves, each shifted into the upper 16 bits of a word.
#[inline]
fn halves(length: usize) -> [u64; 2] {
    let length = (length as u64).min(u64::from(u32::MAX));
    [length << SHIFT, length >> 16 << SHIFT]
}

/// Encodes the actual and maximum lengths of an overlong message, in 24 bits each. Returns 0 for other close reasons.
pub(crate) fn lengths(reason: EndReason) -> u64 {
    let excess = reason.excess();
    u64::from(excess.bytes()) | u64::from(excess.most()) << 24
}

/// Decodes a close reason from `code` and the encoded `lengths`. Returns `None` if `code` is unknown.
pub(crate) fn reason(code: u8, lengths: u64) -> Option<EndReason> {
    let length = |bits: u64| bits & Excess::GREATEST as u64;
    let excess = Excess::new(length(lengths), length(lengths >> 24));
    EndReason::of_code(NonZeroU8::new(code)?, excess)
}

/// Position of the upper 16 bits of a word.
pub(crate) const SHIFT: u32 = 48;

/// Position of the candidate count in a note's first word. The 9 bits below it contain the length of a name.
const LOOKED_SHIFT: u32 = SHIFT + 9;

/// Largest candidate count that a note can store. Larger counts are clamped to it.
const LOOKED_MAX: usize = (1 << (64 - LOOKED_SHIFT)) - 2;

/// Mask of the lower 48 bits of a word.
pub(crate) const LOW: u64 = (1 << SHIFT) - 1;

/// Value that represents no connection.
pub(crate) const NOBODY: u64 = LOW;

/// Number of client id bytes that fit into one note.
pub(crate) const NAME_BYTES: usize = 24;

/// The API calls to record: those that clients make before they connect.
pub(crate) const NOTED_CALLS: [Operation; 3] = [
    Operation::DescribeSignalingChannel,
    Operation::GetSignalingChannelEndpoint,
    Operation::GetIceServerConfig,
];

/// All events except [`Passage::Unaccepted`]. An event is encoded as its index.
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
