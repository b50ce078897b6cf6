//! Calls on the shard that owns their channel.

use crate::channel::rates::Metered;
use crate::channel::{Channel, Life};
use crate::check::Check;
use crate::id::{CallRef, ChannelKey, Identity};
use crate::shard::books::Books;
use crate::shard::calls::alexa::Offer;
use crate::shard::calls::refusals::{
    RATE_EXCEEDED, absence_unknown, absent, nobody, shutting_down,
};
use crate::shard::directory::Directory;
use crate::shard::directory::channels::status;
use crate::shard::directory::page_turn::PageOf;
use crate::shard::directory::permits::CallerRole;
use crate::shard::directory::slots::Slots;
use crate::shard::road::parts::Parts;
use crate::shard::todo::{Todo, TodoList};
use crate::shard::{Answer, Fault, Query, QueryKind};
use crate::time::Moment;
use codec::control::{ErrorKind, Operation};
use codec::identifiers::ChannelArn;

/// Answers a question about a channel: at once, or when a change is durable, or when the master has answered.
pub(crate) fn answer(parts: Parts<'_>, caller: CallRef, query: Query, at: Moment) {
    if allows(parts.directory, parts.books, parts.todo, caller, &query, at) {
        answer_allowed(parts, caller, query, at);
    }
}

/// Whether a channel of this shard is asked for, by a caller that may; if not, that is the answer.
pub(crate) fn allows(
    directory: &mut Directory,
    books: &mut Books,
    todo: &mut TodoList,
    caller: CallRef,
    query: &Query,
    at: Moment,
) -> bool {
    let (operation, kind) = (query.operation, &query.kind);
    if !serves(directory, kind, at) {
        todo.answer(caller, nobody());
        return false;
    }
    let forbidden = match (&query.caller, kind) {
        (Some(judged), QueryKind::Look(identity, None)) => {
            directory.forbids_named(books, judged, operation, identity)
        }
        (Some(judged), _) => directory.forbids_tagged(books, judged, query),
        (None, _) => None,
    };
    match forbidden {
        Some(answer) => {
            todo.answer(caller, answer);
            false
        }
        None => true,
    }
}

/// The same for a question that its caller may ask: counted, then answered.
pub(crate) fn answer_allowed(parts: Parts<'_>, caller: CallRef, query: Query, at: Moment) {
    let directory = &mut *parts.directory;
    match directory.over_rate(parts.books, parts.todo, &query, at) {
        Some(answer) => parts.todo.answer(caller, answer),
        None => serve(parts, caller, query, at),
    }
}

/// Whether the channel that a question is about is here, as far as its slot goes.
fn serves(directory: &Directory, kind: &QueryKind, at: Moment) -> bool {
    match kind {
        QueryKind::Look(identity, _) | QueryKind::Create(identity, _) => {
            directory.serves(identity, at.now)
        }
        QueryKind::Change(arn, _) | QueryKind::Offer { arn, .. } => {
            directory.slots().is_none() || directory.serves(&Identity::of(arn), at.now)
        }
        QueryKind::Page { .. } | QueryKind::Permit(_) | QueryKind::Count { .. } => true,
    }
}

/// Answers a question that is allowed and counted.
pub(crate) fn serve(parts: Parts<'_>, caller: CallRef, query: Query, at: Moment) {
    let Parts {
        sockets,
        directory,
        books,
        todo,
    } = parts;
    let (operation, held) = (query.operation, query.held);
    let answer = match query.kind {
        QueryKind::Look(identity, arn) => directory.look(operation, &identity, arn.as_ref()),
        QueryKind::Create(..) if sockets.readiness().store_nearly_full() => {
            let kind = ErrorKind::ServiceUnavailable;
            Fault::new(Check::RecordsFull, kind, STORE_FULL).into()
        }
        QueryKind::Create(identity, create) => {
            match directory.create(books, &identity, create, held, at) {
                Ok(begun) => {
                    directory.submit(todo, begun, Some(caller));
                    return;
                }
                Err(fault) => fault.into(),
            }
        }
        QueryKind::Change(arn, alteration) => {
            let asked = (operation, held);
            match directory.alter(books, caller, arn, alteration, asked) {
                Ok(Some(begun)) => {
                    directory.submit(todo, begun, Some(caller));
                    return;
                }
                Ok(None) => return,
                Err(fault) => fault.into(),
            }
        }
        QueryKind::Page {
            of: _,
            prefix,
            after,
            limit,
        } => {
            let of = PageOf {
                prefix,
                after,
                limit,
            };
            return directory.send_page(todo, caller, of, at);
        }
        QueryKind::Permit(account) => directory.permit(operation, &account, at),
        QueryKind::Count { of: _, prefix } => Answer::Holding(directory.held_by(&prefix)),
        QueryKind::Offer {
            arn,
            sender,
            payload,
        } => match directory.find_active(&arn) {
            Some(key) if !sockets.drains() => {
                let offer = Offer {
                    caller,
                    channel: key,
                    sender: &sender,
                    payload: &payload,
                };
                return directory.take_offer(books, todo, &offer, at);
            }
            Some(_) => shutting_down().into(),
            None => directory.not_found(&Identity::of(&arn), Some(&arn)).into(),
        },
    };
    todo.answer(caller, answer);
}

impl Directory {
    /// The channel that an ARN names, creation time included, unless it is only being created.
    pub(crate) fn find(&self, arn: &ChannelArn) -> Option<ChannelKey> {
        let key = self.key_of(&Identity::of(arn))?;
        let found =
            |channel: &&Channel| channel.record.arn == *arn && channel.state != Life::Creating;
        self.channel(key).filter(found).map(|_| key)
    }

    /// The same, if it is in use.
    pub(crate) fn find_active(&self, arn: &ChannelArn) -> Option<ChannelKey> {
        let active = |key: &ChannelKey| {
            let channel = self.channel(*key);
            channel.is_some_and(|channel| channel.state == Life::Active)
        };
        self.find(arn).filter(active)
    }

    /// Counts a call against its channel's rate and its caller's part; the refusal when it is over one of them. A
    /// channel that is not there has none.
    fn over_rate(
        &mut self,
        books: &mut Books,
        todo: &mut TodoList,
        query: &Query,
        at: Moment,
    ) -> Option<Answer> {
        let what = Metered::Call(query.operation);
        what.rate(&self.settings().quotas)?;
        let key = self.channel_of(&query.kind)?;
        let arn = &self.channel(key)?.record.arn;
        let caller = query.caller.as_ref();
        let role = caller
            .filter(|_| !self.settings().strict())
            .map_or(CallerRole::Anyone, |caller| {
                self.caller_role(books, caller, arn)
            });
        let what = match role {
            CallerRole::Master => Metered::CallAsMaster(query.operation),
            CallerRole::Viewer(_) | CallerRole::Anyone => what,
        };
        if self.count_call(key, (what, role.caller()), at.now) {
            todo.push(Todo::Arm(key));
            return None;
        }
        let kind = ErrorKind::ClientLimitExceeded;
        Some(Fault::new(Check::RateChannel, kind, RATE_EXCEEDED).into())
    }

    /// The channel that a question is about, if it is there.
    pub(crate) fn channel_of(&self, kind: &QueryKind) -> Option<ChannelKey> {
        match kind {
            QueryKind::Look(identity, None) => self.key_of(identity),
            QueryKind::Look(_, Some(arn))
            | QueryKind::Change(arn, _)
            | QueryKind::Offer { arn, .. } => self.find(arn),
            QueryKind::Create(..)
            | QueryKind::Page { .. }
            | QueryKind::Permit(_)
            | QueryKind::Count { .. } => None,
        }
    }

    fn look(&self, operation: Operation, identity: &Identity, arn: Option<&ChannelArn>) -> Answer {
        let channel = self
            .named_channel(identity)
            .filter(|channel| arn.is_none_or(|arn| channel.record.arn == *arn));
        let Some((channel, status)) = channel.and_then(|channel| Some((channel, status(channel)?)))
        else {
            return self.not_found(identity, arn).into();
        };
        let ending = channel.state == Life::Deleting;
        if ending && operation == Operation::GetSignalingChannelEndpoint {
            let message = "The channel is being deleted.";
            let kind = ErrorKind::ResourceInUse;
            return Fault::new(Check::ChannelDeleting, kind, message).into();
        }
        if ending && operation == Operation::GetIceServerConfig {
            return self.not_found(identity, arn).into();
        }
        Answer::Record(channel.record.clone(), status)
    }
}

impl Directory {
    /// The refusal of a channel that is not there, or not in use, for callers the same whatever the reason. `arn`:
    /// what they called it, if not by its name.
    ///
    /// SDKs create a channel that is not found: where it may exist at another node, they have to try again.
    pub(crate) fn not_found(&self, identity: &Identity, arn: Option<&ChannelArn>) -> Fault {
        if !self.slots().is_none_or(Slots::knows_absence) {
            return absence_unknown();
        }
        let channel = self.named_channel(identity);
        let check = match channel.map(|channel| (channel, channel.state)) {
            None | Some((_, Life::Creating)) => Check::ChannelAbsent,
            Some((channel, Life::Active | Life::Deleting))
                if arn.is_some_and(|arn| channel.record.arn != *arn) =>
            {
                Check::ChannelStaleArn
            }
            Some((_, Life::Deleting)) => Check::ChannelDeleting,
            Some((_, Life::Active)) => Check::ChannelAbsent,
        };
        absent(check)
    }
}

/// The error for new channels where etcd is nearly full.
const STORE_FULL: &str =
    "The registry's store is nearly full, so it takes no new channels. Try again later.";
