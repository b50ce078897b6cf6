//! Events that are to be sent to a receiver.

use crate::hooks::terms::Serving;
use crate::limits::{HOOK_BYTES_MAX, HOOK_WAITING_MAX};
use broker_core::id::Account;
use broker_core::presence::Presence;
use std::sync::Arc;

/// The half of a receiver's places that a job takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Half {
    /// Calls for a master, which somebody waits for.
    Wakes,
    /// States.
    States,
}

impl Half {
    /// Both, in the order in which they are served.
    pub(crate) const ALL: [Self; 2] = [Self::Wakes, Self::States];
}

/// The channel of a job; empty for what is of the process.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    pub(crate) half: Half,
    /// The ARN.
    pub(crate) channel: Arc<str>,
}

/// One event for one receiver.
#[derive(Clone, Debug)]
pub(crate) struct Job {
    pub(crate) key: Key,
    /// The account of the channel; 0 for what is of the process.
    pub(crate) account: Account,
    /// Its number in the process, which names it in all tries.
    pub(crate) number: u64,
    pub(crate) what: What,
    /// It is not sent before.
    pub(crate) ready: u64,
    /// From then on nobody wants it.
    pub(crate) expires: Option<u64>,
}

/// The kinds of events.
#[derive(Clone, Debug)]
pub(crate) enum What {
    /// The state of a channel.
    Presence(Arc<Presence>),
    /// A call for a master, with the number of the attempt.
    Wake(Arc<Presence>, u32),
    /// The slots that the node serves.
    Slots(Serving),
    /// A word about the process.
    Node(&'static str),
}

impl What {
    /// The state of a channel.
    pub(crate) fn state(&self) -> Option<&Arc<Presence>> {
        match self {
            Self::Presence(state) | Self::Wake(state, _) => Some(state),
            Self::Slots(_) | Self::Node(_) => None,
        }
    }
}

impl Job {
    /// Whether a receiver knows less without it.
    pub(crate) fn is_state(&self) -> bool {
        match self.what {
            What::Presence(_) | What::Slots(_) | What::Node(_) => true,
            What::Wake(..) => false,
        }
    }

    /// Bytes that it holds, about.
    pub(crate) fn bytes(&self) -> usize {
        let of = |presence: &Presence| {
            let waiting = presence.waiting.iter();
            let waiting = waiting.map(|waiter| waiter.client_id.len() + 64);
            waiting.sum::<usize>() + presence.name.len() + presence.arn.len()
        };
        JOB_BYTES
            + match &self.what {
                What::Presence(presence) | What::Wake(presence, _) => of(presence),
                What::Slots(serving) => size_of_val(&**serving),
                What::Node(_) => 0,
            }
    }
}

/// Bytes of a job beside its texts, with its places in the tables: so bytes bound their number as well.
const JOB_BYTES: usize = HOOK_BYTES_MAX / HOOK_WAITING_MAX;
