//! API calls and Alexa calls, handled by their channel's home.

use crate::auth::Caller;
use crate::channel::Life;
use crate::channel::players::Player;
use crate::channel::rates::Metered;
use crate::check::Check;
use crate::id::{CallRef, ChannelKey, Identity};
use crate::refusal::Refusal;
use crate::session::outbox::DeliveryMark;
use crate::shard::calls::responses::{RATE_EXCEEDED, nobody, shutting_down};
use crate::shard::context::Context;
use crate::shard::directory::calls::NewCall;
use crate::shard::directory::channels::status;
use crate::shard::directory::permissions::CallerRole;
use crate::shard::flight_recorder::NotedCall;
use crate::shard::state::State;
use crate::shard::todo::Todo;
use crate::shard::{Answer, Directory, Query, QueryKind, Sockets};
use crate::{session::NEVER, time::Moment, time::Now};
use codec::control::{ErrorKind, Operation};
use codec::{identifiers::ChannelArn, signal::Action};
use std::sync::Arc;

/// Answers a query about a channel: immediately, once its change is durable, or once the master has answered.
pub(crate) fn answer(shard: &mut State, caller: CallRef, query: Query) {
    if allows(&mut shard.directory, &mut shard.cx, caller, &query) {
        answer_allowed(shard, caller, query);
    }
}

/// Whether a query concerns a channel of this shard and its caller is authorized; if not, the query is refused.
pub(crate) fn allows(
    directory: &mut Directory,
    cx: &mut Context,
    caller: CallRef,
    query: &Query,
) -> bool {
    let kind = &query.kind;
    if !serves(directory, kind, cx.at) {
        cx.todo.answer(caller, nobody());
        return false;
    }
    let forbidden = match (&query.caller, kind) {
        (
            Some(judged),
            QueryKind::Look(identity, None)
            | QueryKind::Offer {
                identity,
                arn: None,
                ..
            },
        ) => {
            let client_id = query.client_id.as_deref();
            let mut rights = query.rights();
            rights.find_map(|right| directory.forbids_named(cx, judged, right, client_id, identity))
        }
        (Some(judged), _) => directory.forbids_tagged(cx, judged, query),
        (None, _) => None,
    };
    match forbidden {
        Some(answer) => {
            cx.todo.answer(caller, answer);
            false
        }
        None => true,
    }
}

/// Answers an authorized query if it is within its rate limit.
pub(crate) fn answer_allowed(shard: &mut State, caller: CallRef, query: Query) {
    match over_rate(&mut shard.directory, &mut shard.cx, &query) {
        Some(answer) => shard.cx.todo.answer(caller, answer),
        None => {
            note_call(shard, &query);
            serve(shard, caller, query);
        }
    }
}

/// Records a call in the trace of its channel.
fn note_call(shard: &mut State, query: &Query) {
    let State { directory, cx, .. } = shard;
    if let (Some(remote), Some(key)) = (query.remote, directory.channel_of(&query.kind)) {
        let call = NotedCall {
            operation: query.operation,
            role: query.endpoint.map(|(role, _)| role),
            remote,
            client_id: query.client_id.as_deref(),
        };
        cx.note().api_call(key, &call);
    }
}

/// Whether this shard serves the slot of the channel that a query concerns.
fn serves(directory: &Directory, kind: &QueryKind, at: Moment) -> bool {
    match kind {
        QueryKind::Look(identity, _)
        | QueryKind::Create(identity, _)
        | QueryKind::Offer { identity, .. } => directory.serves(identity, at.now),
        QueryKind::Change(arn, _) => {
            directory.slots.as_deref().is_none() || directory.serves(&Identity::of(arn), at.now)
        }
    }
}

/// Answers a query that has been authorized and is within its rate limit.
pub(crate) fn serve(shard: &mut State, caller: CallRef, query: Query) {
    let (sockets, directory, cx, ..) = shard.parts();
    let (operation, elsewhere) = (query.operation, query.elsewhere);
    let from = query.caller.as_ref();
    let asker = (from, query.client_id.as_deref(), query.posted);
    let answer = match query.kind {
        QueryKind::Look(identity, arn) => {
            let answer = look(directory, operation, &identity, arn.as_ref());
            directory.note_endpoint(cx, query.caller.as_ref(), &answer, query.endpoint);
            answer
        }
        QueryKind::Create(identity, create) => {
            let may_create = directory.may_create(identity.tenant(), elsewhere);
            let has_room = may_create.and_then(|()| room_in_store(sockets));
            match has_room.and_then(|()| directory.create(cx, &identity, create, elsewhere)) {
                Ok(begun) => {
                    directory.submit(cx, begun, Some(caller));
                    return;
                }
                Err(refusal) => refusal.into(),
            }
        }
        QueryKind::Change(arn, alteration) => {
            let asked = (operation, elsewhere);
            match directory.alter(cx, caller, arn, alteration, asked) {
                Ok(Some(begun)) => {
                    directory.submit(cx, begun, Some(caller));
                    return;
                }
                Ok(None) => return,
                Err(refusal) => refusal.into(),
            }
        }
        QueryKind::Offer {
            identity,
            arn,
            sender,
            payload,
        } => {
            let found = match &arn {
                Some(arn) => directory.find_active(arn),
                None => directory.named_active(&identity),
            };
            match found {
                Some(key) if !sockets.drains() => {
                    let new = NewCall {
                        caller,
                        sender,
                        payload,
                        player: player(directory, cx, asker, &identity),
                    };
                    return directory.take_offer(cx, key, new);
                }
                Some(_) => shutting_down().into(),
                None => directory.not_found(&identity, arn.as_ref()).into(),
            }
        }
    };
    cx.todo.answer(caller, answer);
}

/// Returns an error for new channels if etcd is nearly full.
fn room_in_store(sockets: &Sockets) -> Result<(), Refusal> {
    if sockets.readiness().store_nearly_full() {
        return Err(Refusal::unavailable(Check::RecordsFull, STORE_FULL));
    }
    Ok(())
}

/// Returns the player that made the call, or `None` for any other kind of caller.
fn player(
    directory: &Directory,
    cx: &mut Context,
    (caller, client_id, posted): (Option<&Caller>, Option<&str>, Option<Now>),
    identity: &Identity,
) -> Option<Box<Player>> {
    let (caller, client_id, posted) = (caller?, client_id?, posted?);
    let has_ice = directory.may_have_ice(cx, caller, Some(client_id), identity);
    let channel = directory.named_channel(identity)?;
    let role = directory.caller_role(cx, caller, &channel.record.arn);
    let player = Player::new(client_id.into(), role.caller(), has_ice, posted);
    Some(Box::new(player))
}

/// Counts a call against its channel's rate limit and the caller's share of it; returns the refusal if either is
/// exceeded. Calls to a missing channel are not limited.
fn over_rate(directory: &mut Directory, cx: &mut Context, query: &Query) -> Option<Answer> {
    let what = query.metered();
    what.rate(&directory.settings().quotas)?;
    let key = directory.channel_of(&query.kind)?;
    let arn = &directory.channel(key)?.record.arn;
    let caller = query.caller.as_ref();
    let role = caller
        .filter(|_| !directory.settings().strict())
        .map_or(CallerRole::Anyone, |caller| {
            directory.caller_role(cx, caller, arn)
        });
    let what = match (role, what) {
        (CallerRole::Master, Metered::Call(operation)) => Metered::CallAsMaster(operation),
        (_, what) => what,
    };
    if directory.count_call(key, (what, role.caller()), cx.at.now) {
        cx.todo.push(Todo::Arm(key));
        return None;
    }
    let check = if what == Metered::ConnectAsViewer {
        Check::RateConnect
    } else {
        Check::RateChannel
    };
    Some(Refusal::limited(check, RATE_EXCEEDED).into())
}

fn look(
    directory: &Directory,
    operation: Operation,
    identity: &Identity,
    arn: Option<&ChannelArn>,
) -> Answer {
    let channel = directory
        .named_channel(identity)
        .filter(|channel| arn.is_none_or(|arn| channel.record.arn == *arn));
    let Some((channel, status)) = channel.and_then(|channel| Some((channel, status(channel)?)))
    else {
        return directory.not_found(identity, arn).into();
    };
    let ending = channel.state == Life::Deleting;
    if ending && operation == Operation::GetSignalingChannelEndpoint {
        let message = "The channel is being deleted.";
        let kind = ErrorKind::ResourceInUse;
        return Refusal::new(Check::ChannelDeleting, kind, message).into();
    }
    if ending && operation == Operation::GetIceServerConfig {
        return directory.not_found(identity, arn).into();
    }
    Answer::Record(Arc::clone(&channel.record), status)
}

/// Error message for new channels when etcd is nearly full.
const STORE_FULL: &str =
    "The registry's store is nearly full, so it takes no new channels. Try again later.";

/// Sends the current master the pending offers that were accepted before `before` and that it has not yet received,
/// oldest first.
pub(crate) fn give_offers(
    sockets: &mut Sockets,
    directory: &mut Directory,
    cx: &mut Context,
    key: ChannelKey,
    before: u64,
) {
    let Some((master, calls)) = directory.give_calls(key, before) else {
        return;
    };
    if sockets.web_socket(master).is_none() {
        return;
    }
    let mut too_long = Vec::new();
    for call in calls {
        if call.player.is_some() && sockets.excess_for(master, call.frame.len()) > 0 {
            too_long.push(call.order); // the master's connection would be closed for it
            continue;
        }
        let launch = DeliveryMark {
            call: true,
            counted: !call.delivered,
            ..DeliveryMark::new(Action::SdpOffer, call.order, NEVER, call.sender.len())
        };
        let Some(pushed) = sockets.push_kept(master, launch, &call.frame) else {
            return;
        };
        if call.delivered {
            cx.telemetry.count_copy_queued(pushed);
        } else {
            cx.telemetry.count_unkept();
            cx.telemetry.count_queued(pushed);
        }
    }
    sockets.touch(master);
    for order in too_long {
        directory.end_too_long(cx, (key, order));
    }
}
