//! Questions between shards, and the answers that callers read.

use super::{ConnId, Refusal, changes};

/// Which call of which connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Caller {
    pub(crate) conn: ConnId,
    pub(crate) number: u32,
    pub(crate) shard: usize,
}

/// The question of a letter on behalf of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Question {
    /// The call's own question.
    Call,
    /// A token of its account.
    Permit,
    /// The number of a shard's channels.
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

/// The record of a channel that callers read.
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
