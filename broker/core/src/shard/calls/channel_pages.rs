//! Lists an account's channels: a page of the catalog, or the merged answers of all nodes.

use crate::id::CallRef;
pub use crate::shard::calls::letters::{PagePart, PageQuestion};
use crate::shard::calls::responses::too_busy;
use crate::shard::context::Context;
use crate::shard::{Answer, Directory, Sockets};

/// Answers the next queued list request, or queries the nodes for it, skipping callers that have hung up. Returns
/// `false` if none is queued.
pub(crate) fn begin_list(
    sockets: &mut Sockets,
    directory: &mut Directory,
    cx: &mut Context,
) -> bool {
    let Some((caller, question)) = directory.lists().next() else {
        return false;
    };
    if !sockets.awaits(caller) {
        directory.lists().end(caller);
    } else if sockets.http(caller.session).is_some_and(|http| http.ended) {
        directory.lists().end(caller);
        sockets.drop_call(caller.session, cx.at);
    } else if let Some(slots) = directory.slots_mut() {
        if !slots.list(caller, question) {
            cx.todo.answer(caller, too_busy());
        }
    } else {
        let (page, more) = directory.page(&question);
        cx.todo.answer(caller, Answer::Page(page, more));
    }
    true
}

impl Directory {
    /// Enqueues a list request, or refuses it.
    pub(crate) fn ask_for_list(
        &mut self,
        cx: &mut Context,
        caller: CallRef,
        question: PageQuestion,
    ) {
        if let Some(refused) = self.lists().ask(caller, question) {
            cx.todo.answer(refused, too_busy());
        }
    }
}

#[cfg(test)]
mod tests;
