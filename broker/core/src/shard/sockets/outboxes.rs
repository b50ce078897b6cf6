//! The bytes that wait for a session's socket: appended, announced to the edge, and counted.

use crate::id::SessionKey;
use crate::limits::{CONTROL_BYTES_MAX, CONTROL_BYTES_WHEN_FULL};
use crate::machine::Output;
use crate::session::Load;
use crate::shard::Letter;
use crate::shard::books::Books;
use crate::shard::sockets::Sockets;

impl Sockets {
    #[inline]
    pub(in crate::shard) fn output(&mut self, output: Output<Letter>) {
        self.outputs.push_back(output);
    }

    /// The oldest output that the edge has not taken.
    pub(in crate::shard) fn next_output(&mut self) -> Option<Output<Letter>> {
        self.outputs.pop_front()
    }

    /// Announces that a session has bytes to send.
    #[inline]
    pub(in crate::shard) fn touch(&mut self, key: SessionKey) {
        if self.is_mute(key) {
            return;
        }
        let Some(session) = self.sessions.get_mut(key) else {
            return;
        };
        if !session.dirty && !session.outbox.unsent().is_empty() {
            session.dirty = true;
            self.outputs.push_back(Output::Send(key));
        }
    }

    /// Appends bytes that are no message (a response, a pong, a status, a close frame) to the outbox of a session.
    pub(in crate::shard) fn push_control(
        &mut self,
        books: &mut Books,
        key: SessionKey,
        write: impl FnOnce(&mut Vec<u8>),
    ) {
        let Some(session) = self.sessions.get_mut(key) else {
            return;
        };
        books.counters.control_bytes += session.outbox.push(&mut self.scratch.spares, write) as u64;
        self.weigh(key);
        self.touch(key);
    }

    /// A peer that makes us answer and does not read gets no more pongs; bytes of messages do not count.
    pub(in crate::shard) fn has_control_room(&self, books: &Books, key: SessionKey) -> bool {
        let session = self.sessions.get(key);
        let waiting = session.map_or(0, |session| session.outbox.load().control);
        let all = usize::try_from(books.counters.control_bytes).unwrap_or(usize::MAX);
        let most = if all > self.rules.request_bytes {
            CONTROL_BYTES_WHEN_FULL
        } else {
            CONTROL_BYTES_MAX
        };
        waiting < most
    }
}

impl Books {
    /// This many bytes wait no longer in an outbox.
    pub(in crate::shard) fn unload(&mut self, load: Load) {
        let counters = &mut self.counters;
        counters.outbox_bytes = counters.outbox_bytes.saturating_sub(load.messages as u64);
        counters.control_bytes = counters.control_bytes.saturating_sub(load.control as u64);
    }
}
