//! The test double: faults on request, copies of messages, findings, and a clean start. Empty but under `--dev`.
//!
//! It takes part in four steps of the shard ([`Scripted`], the [`Double`](crate::shard::road::Double) of `--dev`). What
//! is due of it is done in `event_loop`, what operators ask for in `operator_requests`. The steps that it leaves to
//! itself are [`Own`](crate::shard::todo::Own).

pub(crate) mod connection_faults;
pub(crate) mod faults;
pub(crate) mod message_faults;
pub(crate) mod observations;
mod pending_faults;
pub(crate) mod signatures;
pub(crate) mod state;

use crate::id::{ChannelKey, Identity, SessionKey};
use crate::session::http::Admission;
pub use crate::settings::Glob;
use crate::shard::calls::{self, BegunCall, home};
use crate::shard::context::Context;
use crate::shard::road::{Aside, Double, Judged, conclude};
use crate::shard::state::State;
use crate::shard::todo::{Each, Own, Todo};
use crate::shard::{Directory, Sockets};
use crate::shard::{connect::admission, shares::Holder};
use crate::{channel::Life, journal::EndReason, limits::RESET_CHANNELS_PER_STEP, time::Moment};
use ahash::RandomState;
pub use faults::{
    Chance, Corruption, DeliveryAct, FaultAct, FaultCounts, FaultError, FaultMatch, FaultRule,
    MessageAct, RequestAct, SessionAct, SharedRule,
};
use observations::OfferCopy;
use signatures::Signatures;
pub use state::{AccountUse, Capture, Captured, Fate, Finding, StartDev};
use state::{Copies, Dev, Parity};

/// Equips a shard that has its channels with the double's state; without `--dev` it has none.
pub(crate) fn begin(
    sockets: &mut Sockets,
    directory: &Directory,
    start: StartDev,
    hasher: &RandomState,
) {
    let settings = sockets.settings();
    if !settings.dev {
        return;
    }
    let parity = |account_use| Box::new(Parity::new(&settings.region, hasher, account_use));
    let signatures = Signatures::of(settings, start.account_use.as_ref());
    *sockets.dev_mut() = Dev {
        signatures: signatures.map(Box::new),
        faults: Some(Box::default()),
        parity: (!settings.strict()).then(|| parity(start.account_use)),
        copies: start.copies.map(Copies::new).map(Box::new),
    };
    for (_, key) in directory.names() {
        observations::on_channel(sockets, directory, key, Moment::default());
    }
}

// The double of `--dev`: the shard's steps, with the faults, findings and copies of tests before and behind them.

/// The double of a shard under `--dev`. It keeps nothing itself: that is in [`Dev`](crate::shard::dev::state::Dev).
#[derive(Clone, Copy, Default)]
pub(crate) struct Scripted;

impl Double for Scripted {
    fn admission(
        &self,
        shard: &mut State,
        key: SessionKey,
        (admission, holder): (&Admission, Holder),
    ) -> bool {
        if connection_faults::on_connect(&mut shard.sockets, &mut shard.cx, key, admission) {
            return false;
        }
        let admitted = (admission, holder);
        let is_admitted = admission::admit(shard, key, admitted);
        if is_admitted {
            shard.cx.todo.push(Todo::Double(Box::new(Own::Joined(key))));
        }
        is_admitted
    }

    fn call(&self, shard: &mut State, begun: BegunCall) {
        if connection_faults::on_call(&mut shard.sockets, &mut shard.cx, &begun) {
            return;
        }
        let account = shard.directory.named(&begun.asked.caller, "");
        observations::on_call(
            &mut shard.sockets,
            &account,
            begun.asked.operation,
            shard.cx.at,
        );
        calls::begin(shard, begun);
    }

    fn message(&self, shard: &mut State, judged: Judged<'_>) -> Result<(), Aside> {
        match &judged {
            Judged::Faulty(from, _) => {
                observations::copy_refused(&mut shard.sockets, &mut shard.cx, *from, None)
            }
            Judged::Throttled(sender, request) => {
                observations::copy_refused(
                    &mut shard.sockets,
                    &mut shard.cx,
                    sender.session,
                    Some(request),
                );
            }
            Judged::Routed(route, transit) => {
                observations::on_message(
                    &mut shard.sockets,
                    &mut shard.directory,
                    transit,
                    shard.cx.at,
                );
                if message_faults::on_message(shard, transit, *route) {
                    return Ok(());
                }
            }
        }
        conclude(shard, judged)
    }

    fn delivery(&self, shard: &mut State, left: Todo) -> Option<Todo> {
        if let Todo::Double(own) = left {
            do_own(shard, *own);
            return None;
        }
        if let Todo::Deliver(channel, role) = left {
            pending_faults::deliver_pending(shard, (channel, &role));
            return None;
        }
        if let Todo::Query(caller, query) = left {
            if home::allows(&mut shard.directory, &mut shard.cx, caller, &query) {
                observations::on_query(
                    &mut shard.sockets,
                    &mut shard.directory,
                    &query,
                    shard.cx.at,
                );
                let offer = OfferCopy::of(&mut shard.sockets, &mut shard.directory, &query.kind);
                home::answer_allowed(shard, caller, *query);
                if let Some(offer) = offer {
                    offer.take(&mut shard.sockets, &mut shard.directory, shard.cx.at);
                }
            }
            return None;
        }
        look_at(&mut shard.sockets, &mut shard.directory, &left, shard.cx.at);
        Some(left)
    }
}

/// Counts what the shard does next.
fn look_at(sockets: &mut Sockets, directory: &Directory, left: &Todo, at: Moment) {
    if let Todo::ChannelCame(channel) = left {
        observations::on_channel(sockets, directory, *channel, at);
    } else if let Todo::ChannelWent(went) = left {
        observations::channel_went(sockets, &went.1);
    } else if let Todo::Gone(gone) = left {
        observations::on_gone(sockets, directory, gone, at);
        sockets.forget_faults(gone.session);
    }
}

/// Does what an earlier step of the double has left.
fn do_own(shard: &mut State, own: Own) {
    match own {
        Own::Joined(session) => joined(shard, session),
        Own::SendAgain(message, to) => {
            message_faults::send_again(&mut shard.sockets, &mut shard.cx, to, &message.transit());
        }
        Own::Release(held) => message_faults::release(shard, held),
        Own::Act(session, act) => {
            connection_faults::act_on_session(&mut shard.sockets, &mut shard.cx, session, &act);
        }
        Own::Copy(channel, copy) => observations::copy_named(
            &mut shard.sockets,
            &mut shard.directory,
            channel,
            copy,
            shard.cx.at,
        ),
    }
}

/// A connection was admitted: noted, and disturbed by faults about sessions.
fn joined(shard: &mut State, key: SessionKey) {
    let web_socket = shard.sockets.web_socket(key);
    let Some((channel, role)) = web_socket.map(|it| (it.channel, it.role.clone())) else {
        return;
    };
    observations::on_join(
        &mut shard.sockets,
        &mut shard.directory,
        channel,
        &role,
        shard.cx.at,
    );
    let channel = shard.directory.channel(channel);
    let name = channel.map(|channel| channel.record.arn.name());
    connection_faults::on_session(&mut shard.sockets, &mut shard.cx, key, name);
}

// The end of channels that a test has used, under `--dev`: connections are closed, what was kept is withdrawn, names
// are free.

/// The channels that a shard is to end.
#[derive(Clone, Debug)]
pub struct Reset {
    /// Channels whose names begin with this.
    pub prefix: Box<str>,
    /// Only these, which an earlier step has left; `None` in the first step.
    pub only: Option<Vec<Identity>>,
}

/// The result of a step.
#[derive(Clone, Debug, Default)]
pub struct ResetStep {
    /// Connections that are being closed.
    pub connections: u64,
    /// Channels that are being deleted.
    pub channels: u64,
    /// Channels that the next step has to look at: changes of them were under way, or there were many.
    pub left: Vec<Identity>,
    /// Channels whose deletion is not durable yet.
    pub deleting: u64,
}

impl Reset {
    /// The channels that it is about.
    pub(crate) fn channels(&mut self, directory: &Directory) -> Vec<Identity> {
        self.only.take().unwrap_or_else(|| {
            let names = directory.names().map(|(identity, _)| identity);
            let meant = names.filter(|identity| identity.name().starts_with(&*self.prefix));
            meant.cloned().collect()
        })
    }

    /// Its first step: what is not about single channels.
    pub(crate) fn begin(&self, sockets: &mut Sockets, cx: &mut Context) {
        if self.only.is_none() && self.prefix.is_empty() {
            end_mute_requests(sockets, cx);
        }
        if let Some(parity) = &mut sockets.dev_mut().parity {
            parity.forget(&self.prefix);
        }
    }

    /// The channels that it is about whose deletion is not durable yet.
    pub(crate) fn deleting(&self, directory: &Directory) -> u64 {
        let deleting = directory.names().filter(|(identity, key)| {
            let channel = directory.channel(*key);
            identity.name().starts_with(&*self.prefix)
                && channel.is_some_and(|channel| channel.state == Life::Deleting)
        });
        deleting.count() as u64
    }
}

impl ResetStep {
    /// Ends a channel, if the step may end one more.
    pub(crate) fn end(
        &mut self,
        sockets: &mut Sockets,
        directory: &mut Directory,
        cx: &mut Context,
        identity: Identity,
    ) -> Option<ChannelKey> {
        if self.channels >= RESET_CHANNELS_PER_STEP {
            self.left.push(identity);
            return None;
        }
        let key = directory.key_of(&identity)?;
        let members = directory.members(key);
        self.connections += members.len() as u64;
        for session in &members {
            sockets.forget_faults(*session); // else one that a fault keeps silent would not get its close frame
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

/// Ends requests that a fault leaves without an answer.
fn end_mute_requests(sockets: &mut Sockets, cx: &mut Context) {
    let mut mute = Vec::new();
    for slot in 0..sockets.places() {
        let Some(key) = sockets.session_at(slot) else {
            continue;
        };
        let session = sockets.session(key);
        if session.is_some_and(|it| it.channel().is_none() && it.stands_still()) {
            sockets.forget_faults(key);
            mute.push(key);
        }
    }
    cx.todo.each(Each::abort(mute, None));
}
