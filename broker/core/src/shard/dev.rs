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
use crate::shard::road::in_flight::Parts;
use crate::shard::road::{Aside, Double, Judged, conclude};
use crate::shard::todo::{Each, Own, Todo, TodoList};
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
        mut parts: Parts<'_>,
        key: SessionKey,
        (admission, holder): (&Admission, Holder),
        at: Moment,
    ) -> bool {
        if connection_faults::on_connect(parts.sockets, parts.books, parts.todo, key, admission, at)
        {
            return false;
        }
        let admitted = (admission, holder);
        let is_admitted = admission::admit(parts.lend(), key, admitted, at);
        if is_admitted {
            parts.todo.push(Todo::Double(Box::new(Own::Joined(key))));
        }
        is_admitted
    }

    fn call(&self, parts: Parts<'_>, begun: BegunCall, at: Moment) {
        if connection_faults::on_call(parts.sockets, parts.books, parts.todo, &begun, at) {
            return;
        }
        let account = parts.directory.named(&begun.asked.caller, "");
        observations::on_call(parts.sockets, &account, begun.asked.operation, at);
        calls::begin(parts, begun, at);
    }

    fn message(&self, mut parts: Parts<'_>, judged: Judged<'_>, at: Moment) -> Result<(), Aside> {
        match &judged {
            Judged::Faulty(from, _) => {
                observations::copy_refused(parts.sockets, parts.todo, *from, None, at)
            }
            Judged::Throttled(sender, request) => {
                observations::copy_refused(
                    parts.sockets,
                    parts.todo,
                    sender.session,
                    Some(request),
                    at,
                );
            }
            Judged::Routed(route, passing) => {
                observations::on_message(parts.sockets, parts.directory, passing, at);
                if message_faults::on_message(parts.lend(), passing, *route, at) {
                    return Ok(());
                }
            }
        }
        conclude(parts, judged, at)
    }

    fn delivery(&self, mut parts: Parts<'_>, left: Todo, at: Moment) -> Option<Todo> {
        if let Todo::Double(own) = left {
            do_own(parts, *own, at);
            return None;
        }
        if let Todo::Deliver(channel, role) = left {
            pending_faults::deliver_pending(parts, (channel, &role), at);
            return None;
        }
        if let Todo::Query(caller, query) = left {
            if home::allows(parts.directory, parts.books, parts.todo, caller, &query, at) {
                observations::on_query(parts.sockets, parts.directory, &query, at);
                let offer = OfferCopy::of(parts.sockets, parts.directory, &query.kind);
                home::answer_allowed(parts.lend(), caller, *query, at);
                if let Some(offer) = offer {
                    offer.take(parts.sockets, parts.directory, at);
                }
            }
            return None;
        }
        look_at(parts.sockets, parts.directory, &left, at);
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
fn do_own(parts: Parts<'_>, own: Own, at: Moment) {
    match own {
        Own::Joined(session) => joined(parts, session, at),
        Own::SendAgain(message, to) => {
            message_faults::send_again(parts.sockets, parts.books, to, &message.passing());
        }
        Own::Release(held) => message_faults::release(parts, held, at),
        Own::Act(session, act) => {
            connection_faults::act_on_session(
                parts.sockets,
                parts.books,
                parts.todo,
                session,
                &act,
                at,
            );
        }
        Own::Copy(channel, copy) => {
            observations::copy_named(parts.sockets, parts.directory, channel, copy, at)
        }
    }
}

/// A connection was admitted: noted, and disturbed by faults about sessions.
fn joined(parts: Parts<'_>, key: SessionKey, at: Moment) {
    let web_socket = parts.sockets.web_socket(key);
    let Some((channel, role)) = web_socket.map(|it| (it.channel, it.role.clone())) else {
        return;
    };
    observations::on_join(parts.sockets, parts.directory, channel, &role, at);
    let channel = parts.directory.channel(channel);
    let name = channel.map(|channel| channel.record.arn.name());
    connection_faults::on_session(parts.sockets, parts.books, parts.todo, key, name, at);
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
    pub(crate) fn begin(&self, sockets: &mut Sockets, todo: &mut TodoList) {
        if self.only.is_none() && self.prefix.is_empty() {
            end_mute_requests(sockets, todo);
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
        todo: &mut TodoList,
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
        todo.each(Each::close(members, EndReason::ChannelDeleted));
        if directory.delete(todo, key) {
            self.channels += 1;
        } else {
            self.left.push(identity);
        }
        Some(key)
    }
}

/// Ends requests that a fault leaves without an answer.
fn end_mute_requests(sockets: &mut Sockets, todo: &mut TodoList) {
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
    todo.each(Each::abort(mute, None));
}
