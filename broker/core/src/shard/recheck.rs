//! Reauthorizes open connections when the credentials or channel tags change. See codec/PROTOCOL.md, CON.

use crate::auth::{Caller, HeldCaller, Origin, PolicyQuestion, RecheckSum, ResourceTags};
use crate::limits::{INSPECTED_SLOTS_PER_STEP, RECHECK_CLOSE_MS, RECHECKS_PER_TURN};
use crate::session::web_socket::{Held, Refused, WebSocket};
use crate::shard::connect::upgrades::action_of;
use crate::shard::context::Context;
use crate::shard::gate::{Gate, WalkStage};
use crate::shard::{Sockets, state::State};
use crate::time::{Moment, Now};
use crate::work_units;
use crate::{id::SessionKey, journal::Forbidden, machine::Peer, record::Record, session::Session};
use codec::policy::KeyName;

/// Stores the caller of a newly admitted connection. Returns `true` if the credentials changed while the connection was
/// moving between shards and the caller is no longer authorized.
pub(crate) fn hold(shard: &mut State, key: SessionKey, caller: &Caller) -> bool {
    let (sockets, _, cx, gate) = shard.parts();
    if !sockets.settings().auth_recheck {
        return false;
    }
    let is_recent = gate.walk().is_some_and(|walk| walk.is_recent(cx.at.now));
    let held = caller.held();
    let (Some(held), Some(in_force)) = (held, gate.in_force(cx.at)) else {
        return false;
    };
    let held = if is_recent {
        held
    } else {
        held.shared(in_force.sessions)
    };
    if let Some(web_socket) = sockets.web_socket(key) {
        web_socket.held = Held::Caller(held);
    }
    is_recent && refuses(shard, key)
}

/// Checks whether an open connection is still authorized. If not, records the reason and returns `true`, in which case
/// the caller of this function must close the connection.
pub(crate) fn refuses(shard: &mut State, key: SessionKey) -> bool {
    let answer = ask(shard, key);
    let State { sockets, cx, .. } = shard;
    let (Some(answer), Some(web_socket)) = (answer, sockets.web_socket(key)) else {
        return false;
    };
    match answer {
        Ok(caller) => web_socket.held = Held::Caller(caller),
        Err(refused) => {
            web_socket.held = Held::Refused(Box::new(refused));
            return true;
        }
    }
    if web_socket.is_asked() {
        let (notices, opened) = (web_socket.takes_notices(), web_socket.opened());
        let ends = sockets.age_end(notices, opened);
        if let Some(web_socket) = sockets.web_socket(key) {
            web_socket.may_stay(ends);
        }
        sockets.arm_open(key, cx.at.now);
    }
    false
}

/// Looks up an open connection's caller in the current credentials. Returns the caller, or the reason why it is no
/// longer authorized. Returns `None` if the session has no open WebSocket or no caller.
fn ask(shard: &mut State, key: SessionKey) -> Option<Result<HeldCaller, Refused>> {
    let (sockets, directory, cx, gate) = shard.parts();
    let session = sockets.session(key)?;
    let web_socket = session.open()?;
    let asked = AllowedCaller {
        held: web_socket.held.caller()?,
        client_id: web_socket.role.client_id(),
        since: web_socket.opened(),
        peer: session.peer(),
    };
    let record = &directory.channel(web_socket.channel)?.record;
    judge(&asked, record, cx, gate)
}

/// The caller of an authorized request that is still in progress.
pub(crate) struct AllowedCaller<'a> {
    pub(crate) held: &'a HeldCaller,
    /// The viewer's client id, or `None` for a master or a master's device.
    pub(crate) client_id: Option<&'a str>,
    /// When the request was made.
    pub(crate) since: Now,
    pub(crate) peer: Peer,
}

/// Looks up a caller in the current credentials. Returns the caller, or the reason why it may no longer connect to the
/// channel. Returns `None` if signatures are not required.
pub(crate) fn judge(
    asked: &AllowedCaller<'_>,
    record: &Record,
    cx: &mut Context,
    gate: &mut Gate,
) -> Option<Result<HeldCaller, Refused>> {
    let (peer, mut in_force) = (asked.peer, gate.in_force(cx.at)?);
    let since_ms = cx.at.now.since(asked.since);
    let origin = Origin::of(peer, cx.at.wall.0.saturating_sub(since_ms) / 1000);
    let caller = match asked.held.again(&mut in_force, origin) {
        Ok(caller) => caller,
        Err(gone) => return Some(Err(Refused(gone.to_string().into()))),
    };
    let client_id = asked.client_id;
    let question = PolicyQuestion {
        client_id,
        resource_tags: ResourceTags::Known(&record.tags),
        ..PolicyQuestion::new(action_of(client_id), record.arn.as_str())
    };
    let ruling = caller.decide(&question);
    cx.telemetry.count_policy_steps(ruling.steps);
    if ruling.denied.is_some() {
        return Some(Err(Refused(caller.ground_of(&ruling).unwrap_or_default())));
    }
    if !caller.sees(&record.arn) {
        return Some(Err(Refused(HIDDEN.into())));
    }
    caller.held().map(Ok)
}

/// Schedules a recheck of each connection of a channel whose tags have changed. Skips connections whose caller has no
/// policies that test tags. The rechecks are spread over [`RECHECK_CLOSE_MS`].
pub(crate) fn tags_changed(sockets: &mut Sockets, members: Vec<SessionKey>, at: Moment) {
    for key in members {
        let held = sockets.web_socket(key).map(|it| &it.held);
        let held = held.and_then(Held::caller);
        if held.is_some_and(|held| held.reads(KeyName::ResourceTag)) {
            ends_by(sockets, key, at.now.after(RECHECK_CLOSE_MS), at);
        }
    }
}

/// Continues the recheck of all open connections, if it is due.
pub(crate) fn step(shard: &mut State) {
    let (sockets, _, cx, gate) = shard.parts();
    let due = gate.next_walk().filter(|due| *due <= cx.at.now);
    let stage = gate.walk().filter(|_| due.is_some());
    match stage.map(|walk| walk.stage) {
        Some(WalkStage::Counting(from, sum)) => count(shard, from, sum),
        Some(WalkStage::Summing(_, is_known)) => add_up(sockets, gate, is_known, cx.at),
        Some(WalkStage::Marking(from, by)) => mark(shard, from, by),
        Some(WalkStage::Over) | None => {}
    }
}

/// Checks up to [`RECHECKS_PER_TURN`] more connections, or fewer if their policies are slow to evaluate. After the last
/// connection, this shard's counts are complete.
fn count(shard: &mut State, from: usize, mut sum: RecheckSum) {
    let (mut place, mut asked, before) = (from, 0, shard.cx.telemetry.work());
    let last = shard.sockets.places();
    let to = last.min(from + INSPECTED_SLOTS_PER_STEP);
    let is_long = |cx: &Context| cx.telemetry.work() - before >= work_units::TICK;
    while place < to && asked < RECHECKS_PER_TURN && !is_long(&shard.cx) {
        let key = shard.sockets.session_at(place);
        place += 1;
        let is_open = |key: &SessionKey| shard.sockets.session(*key)?.open();
        let Some(key) = key.filter(|key| is_open(key).is_some()) else {
            continue;
        };
        sum.connections += 1;
        let answer = ask(shard, key);
        asked += usize::from(answer.is_some());
        let (Some(web_socket), Some(answer)) = (shard.sockets.web_socket(key), answer) else {
            continue;
        };
        web_socket.was_asked(answer.is_err());
        sum.forbidden += u64::from(answer.is_err());
        if let Ok(caller) = answer {
            web_socket.held = Held::Caller(caller);
        }
    }
    let (sockets, _, cx, gate) = shard.parts();
    let shards = sockets.placement().shards().into();
    let Some(walk) = gate.walk() else {
        return;
    };
    if place < last {
        walk.stage = WalkStage::Counting(place, sum);
        return;
    }
    walk.looks_again(cx.at.now);
    let all = gate
        .credentials()
        .and_then(|all| all.recheck().counted(sum, shards));
    if let Some(all) = all.filter(|all| all.forbidden > 0) {
        cx.telemetry.journal().forbidden(Forbidden {
            connections: all.connections,
            forbidden: all.forbidden,
            waits: all.is_most(),
        });
    }
}

/// Adds up all shards' counts, and decides whether to close the connections that are no longer authorized.
fn add_up(sockets: &Sockets, gate: &mut Gate, is_known: bool, at: Moment) {
    let shards = sockets.placement().shards().into();
    let recheck = gate.credentials().map(|all| all.recheck());
    let sum = recheck.and_then(|recheck| recheck.result(shards));
    if let Some(recheck) = recheck.filter(|_| sum.is_some_and(RecheckSum::is_most)) {
        recheck.waits(!is_known);
    }
    let Some(walk) = gate.walk() else {
        return;
    };
    match sum {
        None => walk.looks_again(at.now),
        Some(sum) if sum.forbidden == 0 => walk.stage = WalkStage::Over,
        Some(sum) if sum.is_most() && !is_known => walk.waits(),
        Some(_) => walk.marks(is_known),
    }
}

/// Schedules the closing of connections that are no longer authorized, spread evenly over the time until `by`.
fn mark(shard: &mut State, from: usize, by: Now) {
    let (sockets, _, cx, gate) = shard.parts();
    let last = sockets.places();
    let to = last.min(from + INSPECTED_SLOTS_PER_STEP);
    for place in from..to {
        let key = sockets.session_at(place);
        let is_forbidden = |key: &SessionKey| {
            let open = sockets.session(*key).and_then(Session::open);
            open.is_some_and(WebSocket::is_forbidden)
        };
        if let Some(key) = key.filter(is_forbidden) {
            ends_by(sockets, key, by, cx.at);
        }
    }
    if let Some(walk) = gate.walk() {
        walk.stage = if to < last {
            WalkStage::Marking(to, by)
        } else {
            WalkStage::Over
        };
    }
}

/// Schedules a connection's next check before `by`. The checks of all connections are spread evenly over that time.
fn ends_by(sockets: &mut Sockets, key: SessionKey, by: Now, at: Moment) {
    let end = sockets.ends.spread_until(by, at.now);
    if let Some(web_socket) = sockets.web_socket(key) {
        web_socket.ask_by(end);
        sockets.arm(key, end);
    }
}

/// Close reason for a connection whose principal no longer belongs to the channel's account and region.
const HIDDEN: &str = "its caller is of another account or region than the channel";

#[cfg(test)]
mod tests;
