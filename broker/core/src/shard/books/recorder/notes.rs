//! One note: what its four words hold.
//!
//! ```text
//!  word 0   time in µs: 48 | length of the name in the notes before: 16
//!  word 1   channel: 48    | tag: 8 | detail: 8
//!  word 2   who: 48        | length of the message, low 16 bits
//!  word 3   whom: 48       | high 16 bits
//! ```
//! Notes of a name or an address have data in words 0, 2 and 3. They precede the note that they belong to: a
//! reader that goes backwards meets that one first.

use crate::channel::{Message, Towards};
use crate::journal::EndReason;
use codec::signal::Action;
use codec::ws::FrameError;

/// One note.
pub(in crate::shard) type Words = [u64; 4];

/// The kinds of notes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(in crate::shard) enum Tag {
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
}

/// A message in a note.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::shard) struct Passed {
    /// `None` when it could not be understood.
    pub(in crate::shard) action: Option<Action>,
    pub(in crate::shard) towards: Towards,
    pub(in crate::shard) passage: Passage,
    /// The length of its frame towards the recipient.
    pub(in crate::shard) bytes: usize,
}

impl Passed {
    /// The passage of a kept message.
    pub(in crate::shard) fn of(message: &Message, towards: Towards, passage: Passage) -> Self {
        Self {
            action: Some(message.action),
            towards,
            passage,
            bytes: message.frame.len(),
        }
    }

    #[inline]
    pub(super) fn detail(&self) -> u8 {
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

    pub(in crate::shard) fn of_detail(detail: u8, bytes: usize) -> Self {
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

#[inline]
pub(super) fn tag(tag: Tag, detail: u8) -> u64 {
    (tag as u64) << SHIFT | u64::from(detail) << 56
}

/// A length of 32 bits, in the upper 16 bits of two words.
#[inline]
pub(super) fn halves(length: usize) -> [u64; 2] {
    let length = (length as u64).min(u64::from(u32::MAX));
    [length << SHIFT, length >> 16 << SHIFT]
}

/// The code of a reason in a note.
pub(super) fn code(reason: EndReason) -> u8 {
    let place = REASONS.iter().position(|known| *known == reason);
    place
        .and_then(|place| u8::try_from(place).ok())
        .unwrap_or(u8::MAX)
}

/// The reason of a code.
pub(in crate::shard) fn reason(code: u8) -> Option<EndReason> {
    REASONS.get(usize::from(code)).copied()
}

/// The place where the upper 16 bits of a word begin.
pub(in crate::shard) const SHIFT: u32 = 48;

/// The lower bits of a word.
pub(in crate::shard) const LOW: u64 = (1 << SHIFT) - 1;

/// In place of a connection: none.
pub(in crate::shard) const NOBODY: u64 = LOW;

/// Bytes of a client id in one note.
pub(in crate::shard) const NAME_BYTES: usize = 24;

/// In the order of their numbers.
pub(super) const PASSAGES: [Passage; 13] = [
    Passage::Relayed,
    Passage::Kept,
    Passage::Overflow,
    Passage::Throttled,
    Passage::Refused,
    Passage::AnsweredCall,
    Passage::TooLateForCall,
    Passage::Late,
    Passage::Delivered,
    Passage::Returned,
    Passage::Overwritten,
    Passage::Expired,
    Passage::Evicted,
];

/// All reasons: a note has a reason's place among them.
pub(super) const REASONS: [EndReason; 33] = [
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
    EndReason::MadeRoom,
];

const _: () = assert!(size_of::<Words>() == crate::limits::NOTE_BYTES);
