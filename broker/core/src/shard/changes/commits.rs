//! The end of a change of the registry: what is durable happens, what is not did not, and its caller gets the answer.

use crate::channel::Life;
use crate::check::Check;
use crate::id::{Account, ChannelKey};
use crate::journal::EndReason;
use crate::record::Record;
use crate::registry::StoreError;
use crate::shard::books::Books;
use crate::shard::calls::home::absent;
use crate::shard::calls::{alexa, home};
use crate::shard::changes::{ChangeStep, ChangeUnderWay};
use crate::shard::directory::Directory;
use crate::shard::end::leave;
use crate::shard::road::kept;
use crate::shard::sockets::{Sockets, census};
use crate::shard::{Answer, Fault};
use crate::time::Moment;
use codec::control::{ChannelStatus, ErrorKind};

/// The store has reported a change.
pub(in crate::shard) fn committed(
    sockets: &mut Sockets,
    directory: &mut Directory,
    books: &mut Books,
    key: ChannelKey,
    result: Result<(), StoreError>,
    at: Moment,
) {
    if let Some(changing) = directory.changes.take(key) {
        conclude(sockets, directory, books, key, changing, result, at);
    }
}

/// Makes a change, or not, answers its caller, and serves the changes that waited for it.
pub(in crate::shard) fn conclude(
    sockets: &mut Sockets,
    directory: &mut Directory,
    books: &mut Books,
    key: ChannelKey,
    changing: ChangeUnderWay,
    result: Result<(), StoreError>,
    at: Moment,
) {
    let ChangeUnderWay {
        caller,
        step,
        mut waiting,
        ..
    } = changing;
    if matches!(step, ChangeStep::Delete) {
        directory.changes.deleting -= 1;
    }
    let answer = match result {
        Ok(()) => make(sockets, directory, books, key, step, at),
        Err(error) => unmake(sockets, directory, books, key, &step, &error, at),
    };
    if let Some(caller) = caller {
        sockets.send_answer(caller, answer);
    }
    while let Some((caller, query)) = directory.changes.next_waiting(&mut waiting) {
        home::serve(sockets, directory, books, caller, *query, at);
        if let Some(next) = directory.changes.under_way.get_mut(&key) {
            next.waiting.append(&mut waiting);
        }
    }
}

/// What is durable happens.
fn make(
    sockets: &mut Sockets,
    directory: &mut Directory,
    books: &mut Books,
    key: ChannelKey,
    step: ChangeStep,
    at: Moment,
) -> Answer {
    let Some(channel) = directory.channels.get_mut(key) else {
        return absent(Check::ChannelAbsent).into();
    };
    match step {
        ChangeStep::Create => {
            channel.state = Life::Active;
            Answer::Record(channel.record.clone(), ChannelStatus::Active)
        }
        ChangeStep::Replace(record) => {
            let (before, after) = (channel.record.bytes(), record.bytes());
            channel.record = record;
            directory.recount(key, before.max(after), after);
            Answer::Done
        }
        ChangeStep::Delete => {
            let end = (absent(Check::ChannelDeleting), EndReason::ChannelDeleted);
            end_channel(sockets, directory, books, key, &end, at);
            Answer::Done
        }
    }
}

/// What is not durable did not happen.
fn unmake(
    sockets: &mut Sockets,
    directory: &mut Directory,
    books: &mut Books,
    key: ChannelKey,
    step: &ChangeStep,
    error: &StoreError,
    at: Moment,
) -> Answer {
    let (check, message) = match error {
        StoreError::Busy => (
            Check::ChangesFull,
            "Too many changes are under way. Try again.",
        ),
        StoreError::Failed(text) => {
            books.diary.trouble(at.now, text.clone());
            let message = "The registry takes no changes at the moment. Try again later.";
            (Check::StoreFailed, message)
        }
    };
    let channel = directory.channels.get_mut(key);
    match (step, channel) {
        (ChangeStep::Create, Some(channel)) if channel.state == Life::Creating => {
            directory.free_name(key);
            census::remove_channel(sockets, directory, key);
        }
        (ChangeStep::Replace(record), Some(_)) => directory.not_replaced(key, record),
        (ChangeStep::Delete, Some(channel)) => channel.state = Life::Active,
        (ChangeStep::Create | ChangeStep::Replace(_) | ChangeStep::Delete, _) => {}
    }
    Fault::new(check, ErrorKind::ServiceUnavailable, message).into()
}

impl Directory {
    /// This record does not take the place of a channel's: its bytes no longer count.
    pub(in crate::shard) fn not_replaced(&mut self, key: ChannelKey, next: &Record) {
        if let Some(channel) = self.channels.get(key) {
            let own = channel.record.bytes();
            self.recount(key, own.max(next.bytes()), own);
        }
    }
}

/// Ends a channel, or its time on this node: calls get this answer, connections are closed for this reason, what was
/// kept is withdrawn, the name is free. See codec/PROTOCOL.md, CHAN-5.
pub(in crate::shard) fn end_channel(
    sockets: &mut Sockets,
    directory: &mut Directory,
    books: &mut Books,
    key: ChannelKey,
    (fault, reason): &(Fault, EndReason),
    at: Moment,
) {
    alexa::fail_calls(sockets, directory, books, key, fault);
    directory.free_name(key);
    let Some(channel) = census::remove_channel(sockets, directory, key) else {
        return;
    };
    if channel.connections > 0 {
        let arn = &channel.record.arn;
        let former = (Account::of(arn), arn.name().into(), channel.connections);
        directory.former.insert(key, former);
    }
    kept::kept_withdrawn(directory, books, key, &channel);
    sockets.backlog.withdraw(key);
    let Some(live) = channel.live() else { return };
    for session in live.members.all() {
        leave::close_web_socket(sockets, directory, books, session, *reason, at);
    }
}
