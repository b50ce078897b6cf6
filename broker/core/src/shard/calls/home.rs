//! Calls on the shard that owns their channel.

use super::pages::PageOf;
use super::{alexa, pages};
use crate::channel::{Channel, Life, Metered};
use crate::check::Check;
use crate::id::{CallRef, ChannelKey, Identity};
use crate::machine::Output;
use crate::shard::books::Books;
use crate::shard::dev::parity;
use crate::shard::directory::Directory;
use crate::shard::directory::permits::CallerRole;
use crate::shard::end::drain::shutting_down;
use crate::shard::end::leave;
use crate::shard::nodes::tunnel;
use crate::shard::sockets::Sockets;
use crate::shard::sockets::todo::Todo;
use crate::shard::{Answer, Fault, Letter, Query, QueryKind, changes};
use crate::time::Moment;
use codec::aws::ChannelArn;
use codec::control::{ChannelStatus, ErrorKind, Operation};

/// Answers a question about a channel: at once, or when a change is durable, or when the master has answered.
pub(in crate::shard) fn answer(
    sockets: &mut Sockets,
    directory: &mut Directory,
    books: &mut Books,
    caller: CallRef,
    query: Query,
    at: Moment,
) {
    let (operation, kind) = (query.operation, &query.kind);
    if !serves(directory, kind, at) {
        let answer = tunnel::nobody().into();
        return sockets.send_answer(caller, answer);
    }
    let forbidden = match (&query.caller, kind) {
        (Some(judged), QueryKind::Look(identity, None)) => {
            directory.forbids_named(books, judged, operation, identity)
        }
        (Some(_) | None, _) => None,
    };
    match forbidden.or_else(|| over_rate(sockets, directory, books, &query, at)) {
        Some(answer) => sockets.send_answer(caller, answer),
        None => serve(sockets, directory, books, caller, query, at),
    }
}

/// Whether the channel that a question is about is here, as far as its slot goes.
fn serves(directory: &Directory, kind: &QueryKind, at: Moment) -> bool {
    match kind {
        QueryKind::Look(identity, _) | QueryKind::Create(identity, _) => {
            directory.serves(identity, at.now)
        }
        QueryKind::Change(arn, _) | QueryKind::Offer { arn, .. } => {
            directory.slots.is_none() || directory.serves(&Identity::of(arn), at.now)
        }
        QueryKind::Page { .. } | QueryKind::Permit(_) | QueryKind::Count { .. } => true,
    }
}

/// Answers a question that is allowed and counted.
pub(in crate::shard) fn serve(
    sockets: &mut Sockets,
    directory: &mut Directory,
    books: &mut Books,
    caller: CallRef,
    query: Query,
    at: Moment,
) {
    let Query {
        operation,
        held,
        caller: _,
        kind,
    } = query;
    let answer = match kind {
        QueryKind::Look(identity, arn) => directory.look(operation, &identity, arn.as_ref()),
        QueryKind::Create(..) if sockets.shards.readiness.store_nearly_full() => {
            let kind = ErrorKind::ServiceUnavailable;
            Fault::new(Check::RecordsFull, kind, STORE_FULL).into()
        }
        QueryKind::Create(identity, create) => {
            match changes::create(directory, books, &identity, create, held, at) {
                Ok(begun) => {
                    return changes::submit(sockets, directory, books, begun, Some(caller), at);
                }
                Err(fault) => fault.into(),
            }
        }
        QueryKind::Change(arn, alteration) => {
            let asked = (operation, held);
            match changes::alter(directory, books, caller, arn, alteration, asked) {
                Ok(Some(begun)) => {
                    return changes::submit(sockets, directory, books, begun, Some(caller), at);
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
            return pages::send_page(sockets, directory, caller, of, at);
        }
        QueryKind::Permit(account) => directory.permit(operation, &account, at),
        QueryKind::Count { of: _, prefix } => {
            Answer::Holding(directory.holdings.of_tenant(&prefix))
        }
        QueryKind::Offer {
            arn,
            sender,
            payload,
        } => match directory.find_active(&arn) {
            Some(key) if !sockets.drains() => {
                return alexa::take_offer(
                    sockets, directory, books, caller, key, &sender, &payload, at,
                );
            }
            Some(_) => shutting_down().into(),
            None => directory.not_found(&Identity::of(&arn), Some(&arn)).into(),
        },
    };
    sockets.send_answer(caller, answer);
}

impl Sockets {
    /// Sends an answer to its caller.
    pub(in crate::shard) fn send_answer(&mut self, caller: CallRef, answer: Answer) {
        if caller.shard == self.shards.id {
            self.todo.push_back(Todo::Answer(caller, answer));
        } else {
            let letter = Letter::Answer(self.shards.id, caller, Box::new(answer));
            self.output(Output::Post(caller.shard, letter));
        }
    }
}

impl Directory {
    /// The channel that an ARN names, creation time included, unless it is only being created.
    pub(in crate::shard) fn find(&self, arn: &ChannelArn) -> Option<ChannelKey> {
        let key = *self.names.get(&Identity::of(arn))?;
        let found =
            |channel: &&Channel| channel.record.arn == *arn && channel.state != Life::Creating;
        self.channels.get(key).filter(found).map(|_| key)
    }

    /// The same, if it is in use.
    pub(in crate::shard) fn find_active(&self, arn: &ChannelArn) -> Option<ChannelKey> {
        let active = |key: &ChannelKey| {
            let channel = self.channels.get(*key);
            channel.is_some_and(|channel| channel.state == Life::Active)
        };
        self.find(arn).filter(active)
    }
}

/// Counts a call against its channel's rate and its caller's part; the refusal when it is over one of them. A channel
/// that is not there has none.
fn over_rate(
    sockets: &mut Sockets,
    directory: &mut Directory,
    books: &mut Books,
    query: &Query,
    at: Moment,
) -> Option<Answer> {
    let what = Metered::Call(query.operation);
    if sockets.dev.parity.is_none() {
        what.rate(&sockets.settings.quotas)?;
    }
    let key = match &query.kind {
        QueryKind::Look(identity, None) => directory.names.get(identity).copied(),
        QueryKind::Look(_, Some(arn))
        | QueryKind::Change(arn, _)
        | QueryKind::Offer { arn, .. } => directory.find(arn),
        QueryKind::Create(..)
        | QueryKind::Page { .. }
        | QueryKind::Permit(_)
        | QueryKind::Count { .. } => None,
    };
    let key = key?;
    parity::on_metered(sockets, directory, key, what, at);
    let arn = &directory.channels.get(key)?.record.arn;
    let caller = query.caller.as_ref();
    let role = caller
        .filter(|_| !sockets.settings.strict())
        .map_or(CallerRole::Anyone, |caller| {
            directory.caller_role(books, caller, arn)
        });
    let what = match role {
        CallerRole::Master => Metered::CallAsMaster(query.operation),
        CallerRole::Viewer(_) | CallerRole::Anyone => what,
    };
    let channel = directory.channels.get_mut(key)?;
    if channel.count(what, role.caller(), &sockets.settings.quotas, at.now) {
        leave::arm_channel(sockets, directory, key, at);
        return None;
    }
    let kind = ErrorKind::ClientLimitExceeded;
    Some(Fault::new(Check::RateChannel, kind, RATE_EXCEEDED).into())
}

impl Directory {
    fn look(&self, operation: Operation, identity: &Identity, arn: Option<&ChannelArn>) -> Answer {
        let channel = self
            .names
            .get(identity)
            .and_then(|&key| self.channels.get(key))
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

/// A channel's status for callers; `None` while it is only being created.
pub(in crate::shard) fn status(channel: &Channel) -> Option<ChannelStatus> {
    match channel.state {
        Life::Creating => None,
        Life::Active => Some(ChannelStatus::Active),
        Life::Deleting => Some(ChannelStatus::Deleting),
    }
}

impl Directory {
    /// The refusal of a channel that is not there, or not in use, for callers the same whatever the reason. `arn`:
    /// what they called it, if not by its name.
    pub(in crate::shard) fn not_found(
        &self,
        identity: &Identity,
        arn: Option<&ChannelArn>,
    ) -> Fault {
        let channel = self.names.get(identity);
        let channel = channel.and_then(|&key| self.channels.get(key));
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

/// The refusal of a channel that is not there, in the words of the service.
pub(in crate::shard) fn absent(check: Check) -> Fault {
    Fault::new(check, ErrorKind::ResourceNotFound, NOT_FOUND)
}

/// The error for a channel that does not exist, in the words of the service.
const NOT_FOUND: &str = "The requested channel is not found or not active.";

/// The error for new channels where etcd is nearly full.
const STORE_FULL: &str =
    "The registry's store is nearly full, so it takes no new channels. Try again later.";

/// The error for callers over their rate.
pub(in crate::shard) const RATE_EXCEEDED: &str = "Rate exceeded.";
