//! Lists an account's channels. The list is a page of this node's catalog, or a page merged from all nodes' answers.

use crate::session::http::HttpStage;
use crate::shard::shares::too_busy;
use crate::shard::state::State;
use crate::shard::todo::Todo;
use crate::shard::{Answer, connect};

/// Handles the next queued list request if the turn's budget permits. Answers it from this node's catalog or, if slots
/// can move between nodes, sends it to all nodes. Drops the request if its caller has hung up. All work deferred by the
/// request is done before the next one starts.
pub(crate) fn begin_list(shard: &mut State) {
    if !shard.directory.pages.has_room(shard.cx.at) {
        return;
    }
    connect::hold(shard);
    let (sockets, directory, cx, ..) = shard.parts();
    let Some((caller, question)) = directory.lists.next() else {
        return;
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
    cx.todo.push(Todo::BeginLists);
}

#[cfg(test)]
mod tests;
