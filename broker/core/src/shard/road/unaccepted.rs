//! A message that is not accepted: counted by its reason, noted for operators, and logged within the limit of its
//! account.

use crate::channel::Channel;
use crate::id::Account;
use crate::journal::UnacceptedMessage;
use crate::session::Session;
use crate::shard::books::Books;
use crate::shard::books::recorder::Passage;
use crate::shard::books::recorder::notes::Passed;
use crate::shard::sockets::Sockets;
use crate::shard::todo::{Declined, Todo, TodoList};
use crate::time::Moment;

/// Counts and notes a message that is not accepted; its line in the log is left to the shard. `viewer` is the one that
/// a master named.
#[cold]
pub(crate) fn decline(
    books: &mut Books,
    todo: &mut TodoList,
    declined: Declined,
    viewer: Option<&str>,
    at: Moment,
) {
    books.count_unaccepted(declined.kind, declined.reason);
    let passed = Passed {
        action: declined.kind.action(),
        towards: declined.towards,
        passage: Passage::Unaccepted(declined.reason),
        bytes: declined.bytes,
    };
    let about = (viewer, declined.most);
    let note = books.note();
    note.came_against(at, declined.channel, passed, declined.from, about);
    todo.push(Todo::Unaccepted(Box::new(declined)));
}

/// Notes the line of a message that was not accepted in the log, unless its sender or its channel is gone.
pub(crate) fn log(
    sockets: &Sockets,
    channel: Option<&Channel>,
    books: &mut Books,
    declined: &Declined,
    at: Moment,
) {
    let sender = sockets.session(declined.from);
    let role = sender.and_then(Session::membership);
    let (Some(sender), Some((_, role)), Some(channel)) = (sender, role, channel) else {
        return;
    };
    let arn = &channel.record.arn;
    let line = |unlogged| UnacceptedMessage {
        channel: arn.name().into(),
        role: role.on_wire(),
        client_id: role.client_id().map(Box::from),
        remote: sender.remote(),
        action: declined.kind.action(),
        reason: declined.reason,
        bytes: declined.bytes,
        most: declined.most,
        unlogged,
    };
    books.diary().unaccepted(at.now, Account::of(arn), line);
}
