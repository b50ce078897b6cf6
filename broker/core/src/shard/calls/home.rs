//! Handles API calls and Alexa calls on the shard that owns the channel.

use crate::auth::Caller;
use crate::channel::Life;
use crate::channel::players::Player;
use crate::check::Check;
use crate::id::{CallRef, ChannelKey, Identity};
use crate::refusal::Refusal;
use crate::session::outbox::DeliveryMark;
use crate::shard::calls::letters::Right;
use crate::shard::calls::responses::{nobody, shutting_down};
use crate::shard::context::Context;
use crate::shard::directory::calls::NewCall;
use crate::shard::directory::channels::status;
use crate::shard::state::State;
use crate::shard::{Answer, Directory, Query, QueryKind};
use crate::{session::NEVER, time::Now};
use codec::control::{ErrorKind, Operation};
use codec::{identifiers::ChannelArn, policy, signal::Action};
use std::sync::Arc;

/// Returns `true` if this shard owns the queried channel and the caller is authorized. Otherwise, refuses the query and
/// returns `false`.
pub(crate) fn allows(shard: &mut State, caller: CallRef, query: &Query) -> bool {
    let State { directory, cx, .. } = shard;
    let kind = &query.kind;
    // If slots do not move between nodes, this shard serves every channel that it is queried about.
    if directory.slots.is_some() && !directory.serves(&kind.identity(), cx.at.now) {
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
        (_, _) => directory.forbids_tagged(cx, query),
    };
    match forbidden {
        Some(refusal) => {
            cx.todo.answer(caller, refusal);
            false
        }
        None => true,
    }
}

/// Answers an authorized query, or refuses it if its rate limit has been exceeded.
pub(crate) fn answer_allowed(shard: &mut State, caller: CallRef, query: Query) {
    let State { directory, cx, .. } = shard;
    if let Some(refusal) = directory.over_rate(cx, &query) {
        return cx.todo.answer(caller, refusal);
    }
    if let (Some(remote), Some(key)) = (query.remote, directory.channel_of(&query.kind)) {
        cx.note(key).api_call(remote, &query);
    }
    serve(shard, caller, query);
}

/// Answers a query that has passed the authorization and rate limit checks: immediately, once the requested change is
/// durable, or once the master has answered.
pub(crate) fn serve(shard: &mut State, caller: CallRef, query: Query) {
    let (sockets, directory, cx, ..) = shard.parts();
    let query = match directory.queue(caller, query) {
        Ok(Some(query)) => query,
        Ok(None) => return,
        Err(refusal) => return cx.todo.answer(caller, refusal),
    };
    let (operation, elsewhere) = (query.operation, query.elsewhere);
    let from = query.caller.as_ref();
    let asker = (from, query.client_id.as_deref(), query.posted);
    let begun = match query.kind {
        QueryKind::Look(identity, arn) => {
            let answer = look(directory, operation, &identity, arn.as_ref());
            directory.note_endpoint(cx, from, &answer, query.endpoint);
            return cx.todo.answer(caller, answer);
        }
        QueryKind::Create(identity, create) => {
            let over_quota = directory.over_quota(identity.tenant(), elsewhere);
            let is_full = sockets.readiness().store_nearly_full();
            let no_room = || Refusal::unavailable(Check::RecordsFull, STORE_FULL);
            match over_quota.or_else(|| is_full.then(no_room)) {
                Some(refusal) => Err(refusal),
                None => directory.create(cx, &identity, create, elsewhere),
            }
        }
        QueryKind::Change(arn, alteration) => directory.alter(cx, &arn, alteration, elsewhere),
        QueryKind::Offer {
            identity,
            arn,
            sender,
            payload,
        } => {
            let found = match &arn {
                Some(arn) => directory.find(arn),
                None => directory.key_of(&identity),
            };
            match found.filter(|key| directory.is_active(*key)) {
                Some(key) if !sockets.drains() => {
                    let new = NewCall {
                        caller,
                        sender,
                        payload,
                        player: player(directory, cx, asker, &identity),
                    };
                    return directory.take_offer(cx, key, new);
                }
                Some(_) => Err(shutting_down()),
                None => Err(directory.not_found(&identity, arn.as_ref())),
            }
        }
    };
    match begun {
        Ok(begun) => drop(directory.submit(cx, begun, Some(caller))),
        Err(refusal) => cx.todo.answer(caller, refusal),
    }
}

/// Returns the player on whose behalf a query was sent, or `None` if the query was not sent for a player.
fn player(
    directory: &Directory,
    cx: &mut Context,
    (caller, client_id, posted): (Option<&Caller>, Option<&str>, Option<Now>),
    identity: &Identity,
) -> Option<Box<Player>> {
    let (caller, client_id, posted) = (caller?, client_id?, posted?);
    let right = Right {
        action: policy::Action::GetIceServerConfig,
        denied: ErrorKind::AccessDenied,
    };
    let has_ice = !directory.settings().ice.is_empty()
        && (directory.forbids_named(cx, caller, right, Some(client_id), identity)).is_none();
    let channel = directory.named_channel(identity)?;
    let role = directory.role(cx, caller, &channel.record.arn);
    let player = Player::new(client_id.into(), role.caller(), has_ice, posted);
    Some(Box::new(player))
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

/// Error message for a channel that cannot be created because etcd is nearly full.
const STORE_FULL: &str =
    "The registry's store is nearly full, so it takes no new channels. Try again later.";

/// Sends pending offers to the current master, oldest first. Skips offers that this master already has, and offers
/// accepted at position `before` or later.
pub(crate) fn give_offers(shard: &mut State, key: ChannelKey, before: u64) {
    let (sockets, directory, cx, _) = shard.parts();
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
