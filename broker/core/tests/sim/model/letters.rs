//! What shards ask each other, and what callers learn.

use super::{ConnId, Refusal, changes};

/// Which call of which connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Caller {
    pub(crate) conn: ConnId,
    pub(crate) number: u32,
    pub(crate) shard: usize,
}

/// What a letter asks on behalf of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Question {
    /// What the call is about.
    Call,
    /// A token of its account.
    Permit,
    /// How many channels a shard has.
    Count,
}

/// An answer of a channel's home.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    Record(Box<Record>),
    Page(Vec<String>, bool),
    Holding(usize, u64),
    Done,
    Answer(Option<String>),
    Fault(u16, Refusal),
}

/// What callers learn of a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) name: String,
    pub(crate) arn: String,
    pub(crate) ttl: u64,
    pub(crate) deleting: bool,
    /// `None` if it was drawn in this very step.
    pub(crate) version: Option<String>,
    pub(crate) tags: changes::Tags,
}
