//! Lists the channels of an account. The list is a page of this node's catalog, or a page merged from the answers of
//! all nodes.

use crate::shard::Answer;
pub use crate::shard::calls::letters::{PagePart, PageQuestion};
use crate::shard::shares::too_busy;
use crate::shard::state::State;

/// Handles the next queued list request. Answers the request from this node's catalog, or sends it to all nodes if
/// slots can move between nodes. Drops the request if its caller has hung up. Returns `false` if the queue is empty.
pub(crate) fn begin_list(shard: &mut State) -> bool {
    let (sockets, directory, cx, ..) = shard.parts();
    let Some((caller, question)) = directory.lists.next() else {
        return false;
    };
    if !sockets.awaits(caller) {
        directory.lists.end(caller);
    } else if sockets.http(caller.session).is_some_and(|http| http.ended) {
        directory.lists.end(caller);
        sockets.drop_call(caller.session, cx.at);
    } else if let Some(slots) = directory.slots.as_deref_mut() {
        if !slots.list(caller, question) {
            cx.todo.answer(caller, too_busy());
        }
    } else {
        let (page, more) = directory.page(&question);
        cx.todo.answer(caller, Answer::Page(page, more));
    }
    true
}

#[cfg(test)]
mod tests;
