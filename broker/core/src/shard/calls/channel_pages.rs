//! Lists an account's channels. The list is a page of this node's catalog, or a page merged from all nodes' answers.

use crate::session::http::HttpStage;
use crate::shard::Answer;
pub use crate::shard::calls::letters::{PagePart, PageQuestion};
use crate::shard::shares::too_busy;
use crate::shard::state::State;

/// Handles the next queued list request, by answering it from this node's catalog or, if slots can move between nodes,
/// by sending it to all nodes. Drops the request if its caller has hung up. Returns `false` if the queue is empty.
pub(crate) fn begin_list(shard: &mut State) -> bool {
    let (sockets, directory, cx, ..) = shard.parts();
    let Some((caller, question)) = directory.lists.next() else {
        return false;
    };
    if !sockets.awaits(caller) {
        directory.lists.end(caller);
    } else if let Some(http) = sockets.http(caller.session).filter(|http| http.ended) {
        http.stage = HttpStage::AwaitHead; // responses to earlier requests on the connection are still sent
        sockets.close_when_sent(caller.session, cx.at);
        directory.lists.end(caller);
    } else if let Some(slots) = directory.slots.as_deref_mut() {
        if !slots.orders.list(caller, question) {
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
