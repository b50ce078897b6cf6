//! The part of a turn that pages may take.

use crate::id::CallRef;
use crate::limits::RECORDS_PER_TURN;
use crate::time::Moment;
use std::collections::VecDeque;

/// The remainder of a turn for pages, and the work that waits for the next one: at most as much as there are lists
/// under way on all shards.
#[derive(Debug, Default)]
pub(crate) struct PageTurn {
    /// The moment of the turn: all inputs of one turn have the same.
    at: Moment,
    /// Records looked at or merged before it, and in all.
    before: u64,
    records: u64,
    waiting: VecDeque<PageWork>,
    /// Channel records that pages have looked at.
    records_read: u64,
}

#[derive(Debug)]
pub(crate) enum PageWork {
    Send(CallRef, PageOf),
    /// All parts of this call's page have come.
    Merge(CallRef),
}

/// Which part of a page a shard is asked for: see [`crate::shard::QueryKind::Page`].
#[derive(Debug)]
pub(crate) struct PageOf {
    pub(crate) prefix: Box<str>,
    pub(crate) after: Option<Box<str>>,
    pub(crate) limit: usize,
}

impl PageTurn {
    /// Whether work waits.
    pub(crate) fn due(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Whether the turn of `at` has room for more records.
    pub(crate) fn has_room(&mut self, at: Moment) -> bool {
        if self.at != at {
            (self.at, self.before) = (at, self.records);
        }
        self.records - self.before < RECORDS_PER_TURN
    }

    /// Whether it has room for more than the work that waits.
    pub(crate) fn has_room_for_more(&mut self, at: Moment) -> bool {
        !self.due() && self.has_room(at)
    }

    /// Records of parts that have come were merged.
    pub(crate) fn merged(&mut self, records: usize) {
        self.records += records as u64;
    }

    /// Work that waits for a turn with room.
    pub(crate) fn later(&mut self, work: PageWork) {
        self.waiting.push_back(work);
    }

    /// The work that has waited longest, if the turn has room.
    pub(crate) fn next(&mut self, at: Moment) -> Option<PageWork> {
        if self.due() && self.has_room(at) {
            self.waiting.pop_front()
        } else {
            None
        }
    }

    /// Records that were looked at in turns, or merged, since the start.
    pub(crate) fn records(&self) -> u64 {
        self.records
    }

    /// Channel records that pages have looked at.
    pub(crate) fn records_read(&self) -> u64 {
        self.records_read
    }

    /// A page has looked at this many records.
    pub(crate) fn count_read(&mut self, records: usize) {
        self.records_read += records as u64;
    }

    /// The same, of the turn.
    pub(crate) fn count_in_turn(&mut self, records: u64) {
        self.records += records;
    }
}
