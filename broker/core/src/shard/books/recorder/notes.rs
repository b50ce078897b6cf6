//! One note: what its four words hold.
//!
//! ```text
//!  word 0   time in µs: 48 | length of the name in the notes before: 16
//!  word 1   channel: 48    | tag: 8 | detail: 8
//!  word 2   who: 48        | length of the message, low 16 bits
//!  word 3   whom: 48       | high 16 bits
//! ```
//! If nobody is named, `whom` of a message that is too long has the limit, and of a connection that left for one the
//! lengths of [`Excess`]. Notes of a name or an address have data in words 0, 2 and 3. They precede the note that they
//! belong to: a reader that goes backwards meets that one first.

use crate::channel::Towards;
use crate::channel::pending::Message;
use crate::journal::{EndReason, UNACCEPTED, Unaccepted};
use codec::signal::Action;
use codec::ws::Excess;
use std::num::NonZeroU8;

/// One note.
pub(crate) type Words = [u64; 4];

/// The kinds of notes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Tag {
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

/// The passage of a message at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Passage {
    /// It came, and went into its recipient's outbox.
    Relayed,
    /// It came, and is kept, since its recipient is not there.
    Kept,
    /// It came, and answered an Alexa call.
    AnsweredCall,
    /// It came, and the Alexa call that it is for is over, or takes no candidates.
    TooLateForCall,
    /// It came, and had been held back on its way: a newer connection of its sender has sent since, or its time was
    /// over.
    Late,
    /// It was kept, and went into its recipient's outbox.
    Delivered,
    /// It was in an outbox, and its connection ended before it was sent.
    Returned,
    /// It was kept, and a newer one took its place.
    Overwritten,
    /// It was kept, and no recipient connected in time.
    Expired,
    /// It was kept, or came back to be, and there was no room for it.
    Evicted,
    /// It came, and was not accepted.
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
            Self::Overwritten => 7,
            Self::Expired => 8,
            Self::Evicted => 9,
            Self::Unaccepted(reason) => 10 + reason as u8,
        }
    }

    fn of_number(number: u8) -> Option<Self> {
        let number = usize::from(number);
        let reason = |place| Unaccepted::ALL.get(place).copied().map(Self::Unaccepted);
        let plain = PASSAGES.get(number).copied();
        plain.or_else(|| number.checked_sub(PASSAGES.len()).and_then(reason))
    }
}

/// A message in a note.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Passed {
    /// `None` when it could not be understood.
    pub(crate) action: Option<Action>,
    pub(crate) towards: Towards,
    pub(crate) passage: Passage,
    /// The length of its frame towards the recipient; of one whose payload is too long, that of the payload.
    pub(crate) bytes: usize,
}

impl Passed {
    /// The passage of a kept message.
    pub(crate) fn of(message: &Message, towards: Towards, passage: Passage) -> Self {
        Self {
            action: Some(message.action),
            towards,
            passage,
            bytes: message.frame.len(),
        }
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
        let passage = Passage::of_number(detail >> 3);
        Self {
            action: actions.get(usize::from(detail & 3)).copied(),
            towards: if detail & 4 == 0 {
                Towards::Master
            } else {
                Towards::Viewer
            },
            passage: passage.unwrap_or(Passage::Unaccepted(Unaccepted::Malformed)),
            bytes,
        }
    }
}

#[inline]
pub(crate) fn tag(tag: Tag, detail: u8) -> u64 {
    (tag as u64) << SHIFT | u64::from(detail) << 56
}

/// A length of 32 bits, in the upper 16 bits of two words.
#[inline]
pub(crate) fn halves(length: usize) -> [u64; 2] {
    let length = (length as u64).min(u64::from(u32::MAX));
    [length << SHIFT, length >> 16 << SHIFT]
}

/// The lengths of a message that was too big, 24 bits each; 0 for any other reason.
pub(crate) fn lengths(reason: EndReason) -> u64 {
    let excess = reason.excess();
    u64::from(excess.bytes()) | u64::from(excess.most()) << 24
}

/// The reason of a code in a note, and of those lengths.
pub(crate) fn reason(code: u8, lengths: u64) -> Option<EndReason> {
    let length = |bits: u64| bits & Excess::GREATEST as u64;
    let excess = Excess::new(length(lengths), length(lengths >> 24));
    EndReason::of_code(NonZeroU8::new(code)?, excess)
}

/// The place where the upper 16 bits of a word begin.
pub(crate) const SHIFT: u32 = 48;

/// The lower bits of a word.
pub(crate) const LOW: u64 = (1 << SHIFT) - 1;

/// In place of a connection: none.
pub(crate) const NOBODY: u64 = LOW;

/// Bytes of a client id in one note.
pub(crate) const NAME_BYTES: usize = 24;

/// In the order of their numbers.
pub(crate) const PASSAGES: [Passage; 10] = [
    Passage::Relayed,
    Passage::Kept,
    Passage::AnsweredCall,
    Passage::TooLateForCall,
    Passage::Late,
    Passage::Delivered,
    Passage::Returned,
    Passage::Overwritten,
    Passage::Expired,
    Passage::Evicted,
];

const _: () = assert!(
    PASSAGES.len() + UNACCEPTED <= 32,
    "a detail has five bits for it"
);

const _: () = assert!(size_of::<Words>() == crate::limits::recorder::NOTE_BYTES);
