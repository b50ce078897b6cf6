//! What remains to be done of an input when its step is over. Only the shard does it.

use super::calls::answers;
use super::{Answer, Shard, turns};
use crate::id::CallRef;
use crate::time::Moment;

/// One thing that a step leaves to the shard.
#[derive(Debug)]
pub(super) enum Todo {
    /// The answer of a call whose caller is connected to this shard: as one that comes from another shard by a letter.
    Answer(CallRef, Answer),
}

impl Shard {
    /// Does what steps left, and what that leaves, in order; then the requests that waited for it begin.
    pub(super) fn work_off(&mut self, at: Moment) {
        loop {
            let (sockets, directory, books, gate) = self.parts();
            match sockets.todo.pop_front() {
                Some(Todo::Answer(caller, answer)) => {
                    answers::take_answer(sockets, directory, books, caller, answer, at);
                }
                None if !turns::receive_answered(sockets, directory, books, gate, at) => return,
                None => {}
            }
        }
    }
}
