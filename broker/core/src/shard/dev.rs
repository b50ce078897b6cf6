//! The interposer, which exists only with `--dev`. It injects faults, copies messages, collects findings, and resets
//! channels.
//!
//! Without `--dev`, a shard has no [`Interposer`]. With `--dev`, the interposer runs before the shard's own steps, and
//! replaces them if a fault requires this. It runs before a connection ([`connection_faults::on_connect`]) or a call
//! ([`answers_call`]) is admitted. It also runs after a message has been routed and before the message enters the
//! recipient's outbox ([`message_faults::on_message`], called by [`with_care`](crate::shard::road::with_care)), and
//! before deferred work is done ([`act`]). Work that the interposer itself defers or holds back is represented by
//! [`Later`](injected::Later). Each tick does the part of this work that is due ([`take_due`]).

pub(crate) mod connection_faults;
mod fault_errors;
pub(crate) mod faults;
pub(crate) mod injected;
pub(crate) mod message_faults;
pub(crate) mod observations;
pub(crate) mod signatures;
pub(crate) mod state;

use crate::id::{ChannelKey, Identity, SessionKey};
use crate::limits::RESET_CHANNELS_PER_STEP;
pub use crate::settings::Glob;
use crate::shard::calls::{BegunCall, home, letters::Query};
use crate::shard::context::Context;
use crate::shard::state::State;
use crate::shard::todo::{Each, Todo};
use crate::shard::{Directory, Sockets};
use crate::{channel::Life, id::CallRef, journal::EndReason};
pub use fault_errors::FaultError;
pub use faults::{
    Chance, Corruption, DeliveryAct, FaultAct, FaultCounts, FaultMatch, FaultRule, MessageAct,
    RequestAct, SessionAct, SharedRule,
};
use injected::Later;
use observations::OfferCopy;
pub(crate) use state::Interposer;
use state::Parity;
pub use state::{AccountUse, Capture, Captured, Fate, StartDev, StrictFinding};
use std::ops::Bound;

// What the interposer does before the shard's own steps.

/// Applies faults to a call whose signature has been verified. Returns `true` if a fault has taken over the call.
pub(crate) fn answers_call(shard: &mut State, begun: &BegunCall) -> bool {
    let is_dealt_with = connection_faults::on_call(shard, begun);
    if !is_dealt_with && let Some((own, _, directory, cx)) = shard.interposed() {
        let account = directory.named(&begun.asked.caller, "");
        own.observe(|it| it.on_call(&account, begun.asked.operation, cx.at));
    }
    is_dealt_with
}

/// Intercepts deferred work. Returns the work if the shard should do it as usual.
pub(crate) fn act(shard: &mut State, left: Todo) -> Option<Todo> {
    if let Todo::Deliver(channel, role) = left {
        message_faults::deliver_pending(shard, channel, role);
        return None;
    }
    if let Todo::Query(caller, query) = left {
        answer(shard, caller, *query);
        return None;
    }
    if let Todo::Gone(gone) = &left
        && let Some((own, sockets, directory, cx)) = shard.interposed()
    {
        own.observe(|it| it.on_gone(directory, gone, cx.at));
        own.forget(sockets, gone.member.session);
    }
    Some(left)
}

/// Reports to the findings collector which channels were created or removed since the previous call.
pub(crate) fn count_channels(shard: &mut State) {
    if let Some((own, _, directory, cx)) = shard.interposed() {
        own.observe(|it| it.count_channels(directory, cx.at));
    }
}

/// Answers a query about a channel, and checks it against the strict profile. If the query contains an offer and the
/// channel accepts it, captures a copy of the offer.
fn answer(shard: &mut State, caller: CallRef, query: Query) {
    if !home::allows(shard, caller, &query) {
        return;
    }
    let Some((own, _, directory, cx)) = shard.interposed() else {
        return;
    };
    own.observe(|it| it.on_query(directory, &query, cx.at));
    let offer = OfferCopy::of(directory, &query.kind);
    home::answer_allowed(shard, caller, query);
    if let (Some(offer), Some((own, _, directory, cx))) = (offer, shard.interposed()) {
        offer.take(own, directory, cx.at);
    }
}

/// Performs work that the interposer deferred.
pub(crate) fn go_on(shard: &mut State, later: Later) {
    let (sockets, _, cx, ..) = shard.parts();
    match later {
        Later::Message(held) => message_faults::release(shard, &held.message),
        Later::Close {
            session,
            code,
            reason,
        } => sockets.close_with(cx, session, (EndReason::Operator, code, &reason)),
        Later::Joined(session) => joined(shard, session),
        Later::SendAgain(message, to) => {
            let transit = message.transit();
            let bytes = transit.delivery.frame_bytes();
            let write = |out: &mut Vec<u8>| transit.delivery.write(out);
            sockets.push_copy(cx, to, transit.launch, bytes, write);
        }
        Later::Act(session, act) => connection_faults::act_on_session(shard, session, &act),
    }
}

/// Checks an admitted connection against the strict profile, and applies session faults to it.
fn joined(shard: &mut State, key: SessionKey) {
    let Some((own, sockets, directory, cx)) = shard.interposed() else {
        return;
    };
    if let Some(web_socket) = sockets.web_socket(key) {
        own.observe(|it| it.on_join(directory, web_socket, cx.at));
        connection_faults::on_session(shard, key);
    }
}

/// Takes the next delayed item that is due.
pub(crate) fn take_due(shard: &mut State) -> Option<Later> {
    let (own, _, _, cx) = shard.interposed()?;
    own.faults.held.take_due(cx.at.now)
}

/// Resumes sending to connections whose mute has expired.
pub(crate) fn unmute_due(shard: &mut State) {
    if let Some((own, sockets, _, cx)) = shard.interposed() {
        connection_faults::unmute_due(own, sockets, cx.at);
    }
}

// Operator requests to the interposer.

/// Returns the strict-profile violations found so far.
pub(crate) fn findings(shard: &State) -> Vec<StrictFinding> {
    let parity = shard
        .interposer
        .as_ref()
        .and_then(|own| own.parity.as_ref());
    parity.map(Parity::findings).unwrap_or_default()
}

// Resets the channels that a test has used under `--dev`: closes their connections, withdraws their pending messages
// and frees their names.

/// Selects the channels that a shard should reset.
#[derive(Clone, Debug)]
pub struct Reset {
    /// Name prefix of the channels to reset.
    pub prefix: Box<str>,
    /// The channels that the previous step did not reset; this step resets only these. `None` in the first step.
    pub only: Option<Vec<Identity>>,
}

/// The result of a reset step.
#[derive(Clone, Debug, Default)]
pub struct ResetStep {
    /// Number of connections being closed.
    pub connections: u64,
    /// Number of channels being deleted.
    pub channels: u64,
    /// Channels left for the next step, because a change to the channel was in progress or this step reached its limit.
    pub left: Vec<Identity>,
    /// Number of channels whose deletion is not yet durable.
    pub deleting: u64,
}

impl Reset {
    /// Returns the channels to reset in this step.
    pub(crate) fn channels(&mut self, directory: &Directory) -> Vec<Identity> {
        self.only.take().unwrap_or_else(|| {
            let all = directory.names_from(Bound::Unbounded);
            let meant = all.filter(|(arn, _)| arn.name().starts_with(&*self.prefix));
            meant.map(|(arn, _)| Identity::of(arn)).collect()
        })
    }

    /// Discards the findings about the channels to reset. In the first step of a reset of all channels, also aborts the
    /// requests whose responses a fault has suppressed.
    pub(crate) fn begin(&self, own: &mut Interposer, sockets: &mut Sockets, cx: &mut Context) {
        if self.only.is_none() && self.prefix.is_empty() {
            end_mute_requests(own, sockets, cx);
        }
        own.observe(|it| it.forget(&self.prefix));
    }

    /// Returns the number of channels being reset whose deletion is still in progress.
    pub(crate) fn deleting(&self, directory: &Directory) -> u64 {
        let deleting = directory.names_from(Bound::Unbounded);
        let deleting = deleting.filter(|(arn, key)| {
            let channel = directory.channel(*key);
            arn.name().starts_with(&*self.prefix)
                && channel.is_some_and(|channel| channel.state == Life::Deleting)
        });
        deleting.count() as u64
    }
}

impl ResetStep {
    /// Starts to delete a channel and closes its connections. Returns the channel's key, or `None` if the channel does
    /// not exist or is left for the next step because this step has reached its limit.
    pub(crate) fn end(&mut self, shard: &mut State, identity: Identity) -> Option<ChannelKey> {
        if self.channels >= RESET_CHANNELS_PER_STEP {
            self.left.push(identity);
            return None;
        }
        let (own, sockets, directory, cx) = shard.interposed()?;
        let key = directory.key_of(&identity)?;
        let members = directory.members(key);
        self.connections += members.len() as u64;
        for session in &members {
            own.forget(sockets, *session); // a muted connection would not get its close frame
            sockets.touch(*session);
        }
        cx.todo
            .each(Each::close(members, EndReason::ChannelDeleted));
        if directory.delete(cx, key) {
            self.channels += 1;
        } else {
            self.left.push(identity);
        }
        Some(key)
    }
}

/// Aborts connections that are waiting for a response suppressed by a fault.
fn end_mute_requests(own: &mut Interposer, sockets: &mut Sockets, cx: &mut Context) {
    let mut mute = Vec::new();
    for slot in 0..sockets.places() {
        let Some(key) = sockets.session_at(slot) else {
            continue;
        };
        let session = sockets.session(key);
        if session.is_some_and(|it| it.channel().is_none() && it.stands_still()) {
            own.forget(sockets, key);
            mute.push(key);
        }
    }
    cx.todo.each(Each::abort(mute, None));
}
