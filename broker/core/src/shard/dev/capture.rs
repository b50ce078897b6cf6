//! Copies of messages for tests of clients: under `--dev` only. A production shard has nowhere to put them.

use crate::channel::Towards;
use crate::channel::route::Route;
use crate::limits::CAPTURES_PER_SECOND_MAX;
use crate::time::{Moment, Wall};
use codec::signal::Action;

/// Takes copies of messages. Never waits: what it has no room for it counts.
pub trait Capture: Send {
    /// A message was dealt with.
    fn take(&mut self, copy: Captured);

    /// This many more were too many for a second.
    fn missed(&mut self, messages: u64);
}

/// A message, and what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Captured {
    /// When.
    pub at: Wall,
    /// The channel's name.
    pub channel: Box<str>,
    /// Which way it went; `None` when it was refused before that was known.
    pub towards: Option<Towards>,
    /// The viewer at its other end, or the viewer that sent what was refused; empty for a master that did.
    pub viewer: Box<str>,
    /// Its action; `None` for what could not be understood.
    pub action: Option<Action>,
    /// The payload as it came, base64.
    pub payload: Box<str>,
    /// Its fate so far.
    pub fate: Fate,
}

/// The fate of a message when it arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is on its way to a connected recipient.
    Delivered,
    /// It is kept for an absent one.
    Kept,
    /// A fault dropped it.
    Dropped,
    /// A fault ended its time to live.
    Expired,
    /// It answers an Alexa call, or comes too late for one.
    Call,
    /// It breaks a rule, or a fault has it refused.
    Refused,
    /// Its sender is too fast.
    Throttled,
}

impl Fate {
    /// The fate of a message by its route alone.
    pub(crate) const fn of(route: Route) -> Self {
        match route {
            Route::To(_) => Self::Delivered,
            Route::Keep(_) => Self::Kept,
            Route::AnswersCall | Route::TooLateForCall => Self::Call,
        }
    }

    /// The word of `/dev/messages`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Kept => "kept",
            Self::Dropped => "dropped",
            Self::Expired => "expired",
            Self::Call => "call",
            Self::Refused => "refused",
            Self::Throttled => "throttled",
        }
    }
}

/// The destination of a shard's copies, and the number that went there in the current second.
pub(crate) struct Copies {
    to: Box<dyn Capture>,
    second: u64,
    taken: u32,
}

impl Copies {
    pub(crate) fn new(to: Box<dyn Capture>) -> Self {
        Self {
            to,
            second: 0,
            taken: 0,
        }
    }

    /// Whether there may be one more in this second.
    fn has_room(&mut self, at: Moment) -> bool {
        let second = at.now.0 / 1000;
        if second != self.second {
            (self.second, self.taken) = (second, 0);
        }
        self.taken = self.taken.saturating_add(1);
        self.taken <= CAPTURES_PER_SECOND_MAX
    }
}

impl Copies {
    /// Hands a copy over, if this second has room for it.
    pub(crate) fn take(&mut self, copy: impl FnOnce() -> Captured, at: Moment) {
        if self.has_room(at) {
            self.to.take(copy());
        } else {
            self.to.missed(1);
        }
    }
}

#[cfg(test)]
mod tests {

    use super::*;
    use crate::time::Now;

    struct Nowhere;

    impl Capture for Nowhere {
        fn take(&mut self, _: Captured) {}
        fn missed(&mut self, _: u64) {}
    }

    #[test]
    fn copies_of_a_second_are_limited() {
        let mut copies = Copies::new(Box::new(Nowhere));
        let at = |ms| Moment {
            now: Now(ms),
            ..Moment::default()
        };
        let mut taken = |ms| {
            (0..2 * CAPTURES_PER_SECOND_MAX)
                .filter(|_| copies.has_room(at(ms)))
                .count()
        };
        assert_eq!(taken(0), CAPTURES_PER_SECOND_MAX as usize);
        assert_eq!(taken(999), 0);
        assert_eq!(taken(1000), CAPTURES_PER_SECOND_MAX as usize);
    }
}
