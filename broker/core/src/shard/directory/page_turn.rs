//! The part of a turn that pages may take.

use crate::id::CallRef;
use crate::limits::RECORDS_PER_TURN;
use crate::time::Moment;
use std::collections::VecDeque;

/// The remainder of a turn for pages, and the work that waits for the next one: at most as much as there are lists
/// under way on all shards.
#[derive(Debug, Default)]
pub(in crate::shard) struct PageTurn {
    /// The moment of the turn: all inputs of one turn have the same.
    pub(in crate::shard) at: Moment,
    /// Records looked at or merged before it, and in all.
    pub(in crate::shard) before: u64,
    pub(in crate::shard) records: u64,
    pub(in crate::shard) waiting: VecDeque<PageWork>,
    /// Channel records that pages have looked at.
    pub(in crate::shard) records_read: u64,
}

#[derive(Debug)]
pub(in crate::shard) enum PageWork {
    Send(CallRef, PageOf),
    /// All parts of this call's page have come.
    Merge(CallRef),
}

/// Which part of a page a shard is asked for: see [`crate::shard::QueryKind::Page`].
#[derive(Debug)]
pub(in crate::shard) struct PageOf {
    pub(in crate::shard) prefix: Box<str>,
    pub(in crate::shard) after: Option<Box<str>>,
    pub(in crate::shard) limit: usize,
}

impl PageTurn {
    /// Whether work waits.
    pub(in crate::shard) fn due(&self) -> bool {
        !self.waiting.is_empty()
    }

    pub(in crate::shard) fn has_room(&mut self, at: Moment) -> bool {
        if self.at != at {
            (self.at, self.before) = (at, self.records);
        }
        self.records - self.before < RECORDS_PER_TURN
    }

    /// Records that were looked at or merged since the start.
    pub(in crate::shard) fn records(&self) -> u64 {
        self.records
    }
}
