//! Operator requests that need a shard's whole state. Also reports the presence of watched channels after each input.

use crate::channel::{Channel, Live};
use crate::id::{Account, CallerId, ChannelKey, Identity, SessionKey};
use crate::limits::{INSPECTED_SLOTS_PER_STEP, LIST_PAGE_MAX, USAGE_SERIES_MAX, WAITERS_TOLD_MAX};
use crate::presence::{Master, Presence, PresenceCause, Waiter};
use crate::session::Session;
use crate::session::web_socket::{Role, WebSocket, viewer_of};
use crate::settings::Settings;
use crate::shard::dev::{Reset, ResetStep, SharedRule, connection_faults, message_faults};
use crate::shard::directory::calls::wait_ms;
use crate::shard::operator::{self, Question, Reply, read_presence, view};
use crate::shard::state::State;
use crate::shard::trace;
use crate::shard::usage::{Usage, UsageTable};
use crate::shard::{Context, Directory, Shard, Sockets, dev};
use crate::time::{Moment, Now, Wall};
use codec::signal::Action;

impl Shard {
    /// Answers an operator's query, or performs one step of an operator's request.
    pub(crate) fn answer_operator(&mut self, question: Question) -> Reply {
        let (sockets, directory, cx, ..) = self.state.parts();
        match question {
            Question::Page {
                prefix,
                after,
                limit,
                viewer,
                presence,
            } => {
                let (limit, viewer) = (limit.min(LIST_PAGE_MAX), viewer.as_deref());
                let mut reply =
                    operator::inspect_page(directory, &prefix, after.as_ref(), limit, viewer);
                if let (true, Reply::Page(lines, _)) = (presence, &mut reply) {
                    read_presence(&mut self.state, lines);
                }
                reply
            }
            Question::Channel(identity) => {
                let key = directory.key_of(&identity);
                Reply::Channel(key.and_then(|key| view(&mut self.state, key).map(Box::new)))
            }
            Question::Trace {
                identity,
                from,
                limit,
            } => {
                let step = trace::step(&self.state, &identity, from, limit);
                Reply::Trace(step.map(Box::new))
            }
            Question::Session(session, before) => {
                Reply::Session(Box::new(operator::look_up(&self.state, session, before)))
            }
            Question::ReconnectIce { channel, from } => match channel {
                Some(identity) => operator::reconnect_all(&mut self.state, &identity),
                None => operator::reconnect_some(sockets, cx, from),
            },
            Question::Usage(from) => usage(sockets, directory, cx, from),
            Question::Displaced => operator::displaced(sockets, directory, cx.at),
            Question::Reset(meant) => Reply::Reset(self.reset(meant)),
            Question::Parity => Reply::Findings(dev::findings(&self.state)),
            Question::AddFault(rule) => self.add_fault(rule),
            Question::Forget(meant, before) => {
                let (erased, next) = trace::forget(cx, &meant, before);
                Reply::Forgotten(erased, next)
            }
            Question::Import(records) => operator::begin_import(&mut self.state, &records),
            Question::ImportWithdrawn(records) => {
                operator::withdraw_import(&mut self.state, &records)
            }
            Question::Disconnect { channel, which } => {
                let closed = operator::disconnect(&mut self.state, &channel, &which);
                Reply::Disconnected(closed)
            }
        }
    }
}

// Operator requests to the `--dev` interposer.

impl Shard {
    /// Adds a fault. If it is a session fault, it is also applied to the sessions that are already open.
    fn add_fault(&mut self, rule: SharedRule) -> Reply {
        let is_of_sessions = rule.act.on_session().is_some();
        if let Some((own, _, _, cx)) = self.state.interposed() {
            own.faults.add(rule, cx.at.now);
        }
        let places = self.state.sockets.places();
        for slot in 0..if is_of_sessions { places } else { 0 } {
            if let Some(key) = self.state.sockets.session_at(slot) {
                connection_faults::on_session(&mut self.state, key);
                self.settle();
            }
        }
        Reply::Done
    }

    /// Resets a bounded number of channels that a test has used.
    fn reset(&mut self, mut reset: Reset) -> ResetStep {
        let mut done = ResetStep::default();
        let Some((own, sockets, directory, cx)) = self.state.interposed() else {
            return done;
        };
        reset.begin(own, sockets, cx);
        let channels = reset.channels(directory);
        self.settle();
        for identity in channels {
            let ended = done.end(&mut self.state, identity);
            self.settle();
            if let (Some(key), Some((own, _, _, cx))) = (ended, self.state.interposed()) {
                message_faults::withdraw_held(own, cx, key); // after messages returned by the last connections
            }
        }
        done.deleting = reset.deleting(&self.state.directory);
        done
    }
}

// Usage per account, for `GET /usage` and the metrics.

/// Answers one step of a query for all accounts' usage. Each step adds up the messages on a limited number of open
/// connections, starting at table position `from`. The first step also returns everything else. If a connection closes
/// between two steps, its messages are missing from the result and appear in the next query.
fn usage(sockets: &Sockets, directory: &Directory, cx: &Context, from: usize) -> Reply {
    let mut table = UsageTable::default();
    if from == 0 {
        table = cx.telemetry.usage().clone();
        for (account, connections) in sockets.admitted.by_account().accounts() {
            table.of(Some(account)).connections += connections as u64;
        }
        for (account, bytes) in directory.queued().accounts() {
            table.of(Some(account)).queued_bytes += bytes as u64;
        }
    }
    let slots = sockets.places();
    let end = from.saturating_add(INSPECTED_SLOTS_PER_STEP).min(slots);
    for session in (from..end).filter_map(|place| sockets.session_at(place)) {
        let open = sockets.session(session).and_then(|it| it.open());
        let Some(web_socket) = open else { continue };
        let channel = directory.channel(web_socket.channel);
        let account = channel.map(|channel| Account::of(&channel.record.arn));
        table.of(account).messages += u64::from(web_socket.tally.messages_in);
    }
    Reply::Usage(Box::new(table), (end < slots).then_some(end))
}

/// Returns the gauges of the first [`USAGE_SERIES_MAX`] of `accounts`, and the sum for all other accounts.
pub(crate) fn usage_gauges(shard: &State, accounts: impl Iterator<Item = Account>) -> UsageTable {
    let (admitted, queued) = (
        shard.sockets.admitted.by_account(),
        shard.directory.queued(),
    );
    let mut table = UsageTable::default();
    let mut others = Usage {
        connections: admitted.bytes() as u64,
        queued_bytes: queued.bytes() as u64,
        ..Usage::default()
    };
    for account in accounts.take(USAGE_SERIES_MAX) {
        let usage = table.of(Some(account));
        usage.connections = admitted.held(account) as u64;
        usage.queued_bytes = queued.held(account) as u64;
        others.connections = others.connections.saturating_sub(usage.connections);
        others.queued_bytes = others.queued_bytes.saturating_sub(usage.queued_bytes);
    }
    *table.of(None) = others;
    table
}

// Reports the presence of watched channels after each input.

impl Shard {
    /// Reports presence changes to watchers if any reports are due.
    #[inline]
    pub(crate) fn tell_presence(&mut self) {
        if self.state.directory.news.is_due(self.state.cx.at.now) {
            self.tell_changed();
        }
    }

    #[cold]
    fn tell_changed(&mut self) {
        let mut news = std::mem::take(&mut self.state.directory.news);
        let is_read = news.is_watched(0);
        let shard = &self.state;
        news.tell(shard.cx.at, |key, (cause, reason), sequence| {
            let channel = shard.directory.channel(key)?;
            if channel.hooks == 0 && !is_read {
                return None;
            }
            let presence = presence(shard, key, cause)?;
            Some(Box::new(Presence {
                reason,
                sequence,
                ..presence
            }))
        });
        self.state.directory.news = news;
    }
}

/// Returns a channel's presence at a watcher's request. Its sequence number exceeds all earlier ones.
pub(crate) fn watched_presence(shard: &mut State, key: ChannelKey) -> Option<Presence> {
    let sequence = shard.directory.news.next_sequence();
    let presence = presence(shard, key, PresenceCause::Watched)?;
    Some(Presence {
        sequence,
        ..presence
    })
}

/// Returns a channel's presence, or `None` if there is nothing to report.
fn presence(shard: &State, key: ChannelKey, cause: PresenceCause) -> Option<Presence> {
    let (sockets, directory, at) = (&shard.sockets, &shard.directory, shard.cx.at);
    let channel = directory.channel(key)?;
    let wall = |now: Now| Wall(at.wall.0.saturating_sub(at.now.since(now)));
    let mut presence = Presence::nobody(&channel.record, channel.hooks, cause);
    let identity = Identity::of(&channel.record.arn);
    (presence.slot, presence.epoch) = directory.presence_epoch(&identity)?;
    presence.at = at.wall;
    let Some(live) = channel.live() else {
        return Some(presence);
    };
    let master = |session: SessionKey| {
        let session = sockets.session(session)?;
        let since = session.open().map(WebSocket::opened);
        Some(Master {
            since: wall(since.unwrap_or(at.now)),
            remote: session.remote(),
            doubtful_since: session.outbox.doubtful_since().map(wall),
        })
    };
    let connected = live.members.master();
    let there = connected.filter(|master| !sockets.unconfirmed.is_gone(*master));
    presence.master = there.and_then(master);
    presence.viewers = u32::try_from(live.members.viewers()).unwrap_or(u32::MAX);
    let doubtful = connected.and_then(|master| sockets.session(master));
    let doubtful = doubtful.filter(|master| master.outbox.doubtful_since().is_some());
    let waiting = waiting((live, doubtful), channel, directory.settings());
    if cause == PresenceCause::Waiting && waiting.is_empty() {
        return None;
    }
    presence.more = u32::try_from(waiting.len().saturating_sub(WAITERS_TOLD_MAX)).ok()?;
    let waiting = told(waiting).into_iter();
    presence.waiting = waiting.map(|one| one.waiter(at)).collect();
    Some(presence)
}

/// A client that is waiting for a master.
#[derive(Clone, Copy, Debug)]
struct Waits<'a> {
    client_id: &'a str,
    action: Action,
    caller: Option<CallerId>,
    /// When the client's waiting message was accepted.
    since: Now,
    expires: Now,
    /// Whether this is the newest waiting client of its caller.
    is_newest: bool,
}

impl Waits<'_> {
    fn waiter(&self, at: Moment) -> Waiter {
        let until = Wall(at.wall.0 + self.expires.since(at.now));
        Waiter {
            client_id: self.client_id.into(),
            action: self.action,
            caller: self.caller,
            since: Wall(until.0.saturating_sub(self.expires.since(self.since))),
            until,
        }
    }
}

/// Selects the waiting clients to report, and sorts them oldest first. If there are too many, the newest client of each
/// caller takes precedence, followed by the oldest of the rest, so that one caller cannot crowd out another caller's
/// clients.
fn told(mut all: Vec<Waits<'_>>) -> Vec<Waits<'_>> {
    all.sort_by_key(|one| one.since);
    if all.len() > WAITERS_TOLD_MAX {
        let mut callers = Vec::new();
        for one in all.iter_mut().rev() {
            one.is_newest = !callers.contains(&one.caller);
            if one.is_newest {
                callers.push(one.caller);
            }
        }
        all.sort_by_key(|one| match one.is_newest {
            true => (false, u64::MAX - one.since.0),
            false => (true, one.since.0),
        });
        all.truncate(WAITERS_TOLD_MAX);
        all.sort_by_key(|one| one.since);
    }
    all
}

/// Lists the clients that are waiting for a master.
fn waiting<'a>(
    (live, doubtful): (&'a Live, Option<&'a Session>),
    channel: &Channel,
    settings: &Settings,
) -> Vec<Waits<'a>> {
    let ttl = u64::from(channel.record.ttl_seconds) * 1000;
    let kept_ms = if channel.hooks & settings.waking_hooks() == 0 {
        ttl
    } else {
        ttl.max(settings.presence.wake_ttl_ms)
    };
    let called_ms = wait_ms(
        channel.record.ttl_seconds,
        settings.timeouts.alexa_wait_max_ms,
    );
    let waits = |client_id, (action, caller), expires: Now, for_ms: u64| Waits {
        client_id,
        action,
        caller,
        since: Now(expires.0.saturating_sub(for_ms)),
        expires,
        is_newest: false,
    };
    let kept = live.pending.for_master().map(|kept| {
        let what = (kept.message.action, kept.caller);
        waits(&**kept.viewer, what, kept.message.expires, kept_ms)
    });
    // A master is doubtful if it has left messages unconfirmed for too long. These messages are also waiting for the
    // next master. For each viewer, list only an offer or, if there is none, the oldest message.
    let mut unconfirmed: Vec<Waits<'_>> = Vec::new();
    for (launch, frame) in doubtful.into_iter().flat_map(|it| it.outbox.unconfirmed()) {
        let viewer = viewer_of(&Role::Master, frame, launch.sender_bytes);
        let waiter = waits(viewer, (launch.action, None), launch.expires, kept_ms);
        match unconfirmed.iter_mut().find(|one| one.client_id == viewer) {
            Some(known) if launch.action == Action::SdpOffer => *known = waiter,
            Some(_) => {}
            None => unconfirmed.push(waiter),
        }
    }
    // A master that has received an offer normally still has it, but a doubtful one may not.
    let master = live.members.master();
    let has = |had: &[SessionKey]| master.is_some_and(|master| had.contains(&master));
    let calls = live.calls.iter().filter(|call| {
        let is_absent = call.awaits_master() && !has(&call.had);
        doubtful.is_some() || is_absent
    });
    let calls = calls.map(|call| match call.player.as_deref() {
        None => waits(
            &*call.sender,
            (Action::SdpOffer, None),
            call.expires,
            called_ms,
        ),
        Some(player) => {
            let what = (Action::SdpOffer, player.caller);
            waits(
                &*player.client_id,
                what,
                call.expires,
                settings.whep.wait_ms,
            )
        }
    });
    kept.chain(unconfirmed).chain(calls).collect()
}

#[cfg(test)]
mod presence_tests {
    use super::*;

    #[test]
    fn no_caller_hides_that_another_one_waits() {
        let waits = |since: u64, caller: u64| Waits {
            client_id: "v",
            action: Action::SdpOffer,
            caller: Some(CallerId::of_hash(caller)),
            since: Now(since),
            expires: Now(since + 60),
            is_newest: false,
        };
        let many = (0..40).map(|since| waits(since, 1));
        let all = many.chain([waits(20, 2), waits(41, 3)]).collect();
        let told = told(all);
        let since: Vec<_> = told.iter().map(|one| one.since.0).collect();
        let oldest: Vec<_> = (0..13).chain([20, 39, 41]).collect();
        assert_eq!(since, oldest, "the newest of each, and the oldest");
    }
}
