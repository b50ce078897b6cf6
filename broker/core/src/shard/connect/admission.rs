//! Admits upgrades on the shard that owns their channel: performs the checks that depend on the channel, and assigns a
//! channel slot to the connection. See codec/PROTOCOL.md, CON. The checks that depend only on the request are in
//! `connect/upgrades.rs`.

use crate::channel::members::Joined;
use crate::event::{ConnectionRole, Purpose, UpgradeOutcome};
use crate::id::{Account, CallerId, ChannelKey, Identity, SessionKey};
use crate::journal::{EndReason, Superseded};
use crate::session::http::{Admission, Asks};
use crate::session::web_socket::{AdmissionTerms, Role, WebSocket};
use crate::settings::Program;
use crate::shard::admitted::{Holder, Standing};
use crate::shard::calls::responses::{no_place, no_room, nobody, refuse, shutting_down};
use crate::shard::connect::upgrades::{no_client_id, refuse_upgrade};
use crate::shard::dev::injected::Later;
use crate::shard::dev::{connection_faults, message_faults};
use crate::shard::directory::ChangeStep;
use crate::shard::directory::members::SlotRequest;
use crate::shard::evidence::Evidence;
use crate::shard::road::repeats;
use crate::shard::shares::too_busy;
use crate::shard::state::State;
use crate::shard::todo::Todo;
use crate::shard::{Parcel, ParcelLoad, recheck, sockets::Sockets};
use crate::time::{Now, Wall};
use crate::{
    channel::Life,
    check::Check,
    presence::PresenceCause,
    record::{Holding, Record},
    refusal::Refusal,
};
use codec::http::{Meta, switching_protocols};
use codec::{control::ErrorKind, identifiers::ChannelArn};
use std::rc::Rc;

/// Admits a connection to its channel. Returns `false` if the connection was refused or a fault leaves it unanswered.
pub(crate) fn enter(shard: &mut State, key: SessionKey, mut admission: Admission) -> bool {
    let sockets = &shard.sockets;
    shard.directory.complete(&mut admission);
    let caller = &admission.caller;
    let holder = sockets.admitted.holder(caller, admission.arn.account());
    let full = (!sockets.admitted.may_enter(holder)).then(no_place);
    let draining = sockets.drains().then(shutting_down);
    if let Some(refusal) = draining.or(full) {
        refuse(shard, &Evidence::of_admission(key, &admission), &refusal);
        return false;
    }
    if shard.interposer.is_some() && connection_faults::on_connect(shard, key, &admission) {
        return false;
    }
    let is_admitted = admit(shard, key, &admission, holder);
    if let Some((own, _, directory, cx)) = shard.interposed() {
        if is_admitted {
            message_faults::leave(cx, Later::Joined(key));
        }
        own.observe(|it| it.count_channels(directory, cx.at));
    }
    if is_admitted && recheck::hold(shard, key, &admission.caller) {
        shard.cx.todo.push(Todo::AskAgain(key));
    }
    is_admitted
}

/// Admits a connection to its channel, and sends the 101 response and then the pending messages. Returns `false` if the
/// connection was refused.
fn admit(shard: &mut State, key: SessionKey, admission: &Admission, holder: Holder) -> bool {
    let (sockets, directory, cx, ..) = shard.parts();
    let evidence = Evidence::of_admission(key, admission);
    // The upgrade may be forbidden for reasons that only the shard that owns the channel can know.
    let forbidden = if directory.lacks_client_id(sockets, admission) {
        Some(no_client_id())
    } else {
        directory.forbids_upgrade(cx, admission)
    };
    if let Some(refusal) = forbidden {
        refuse_upgrade(shard, &evidence, admission, &refusal);
        return false;
    }
    let newcomer = match take_place(shard, key, admission, holder) {
        Ok(newcomer) => newcomer,
        Err(refusal) => {
            refuse(shard, &evidence, &refusal);
            return false;
        }
    };
    let (sockets, directory, cx, ..) = shard.parts();
    if let Purpose::Upgrade(role) = evidence.purpose {
        cx.telemetry.count_upgrade(role, UpgradeOutcome::Accepted);
    }
    // To watchers, a master that was reported gone has already left, so nothing is being replaced.
    let older = newcomer.joined.superseded;
    let replaced = older.filter(|older| !sockets.unconfirmed.is_gone(*older));
    let cause = match (&newcomer.role, replaced) {
        (Role::Master, None) => PresenceCause::MasterJoined,
        (Role::Master, Some(_)) => PresenceCause::MasterReplaced,
        (Role::Viewer(_), _) => PresenceCause::ViewerJoined,
    };
    directory.changed(newcomer.channel, (cause, None));
    welcome(shard, newcomer);
    true
}

/// Assigns a channel slot to a connection. Fails if no slot is free, or if the channel's rate limit or the caller's
/// share of it is exceeded. If the channel is full, may evict a viewer to free a slot.
fn take_place<'a>(
    shard: &mut State,
    key: SessionKey,
    admission: &'a Admission,
    holder: Holder,
) -> Result<Newcomer<'a>, Refusal> {
    let channel = joinable(shard, &admission.arn)?;
    let (sockets, directory, cx, ..) = shard.parts();
    let (role, caller) = match admission.client_id.as_deref() {
        None => (Role::Master, None),
        Some(id) => {
            let counted_as = directory.role(cx, &admission.caller, &admission.arn);
            (Role::Viewer(Rc::from(id)), counted_as.caller())
        }
    };
    let slot = role.clone();
    let viewers = directory.viewers_if_full(channel, &slot);
    let payer = viewers.and_then(|all| sockets.viewer_that_pays(holder, all));
    let request = SlotRequest {
        channel,
        session: key,
        slot,
        caller,
        payer,
    };
    let joined = directory.take_slot(request, cx.at.now)?;
    cx.todo.push(Todo::Arm(channel));
    if let Some(payer) = payer {
        sockets.close(cx, payer, EndReason::MadeRoom);
    }
    if let Some(slots) = directory.slots.as_deref_mut() {
        slots.admitted(&admission.arn);
    }
    Ok(Newcomer {
        key,
        admission,
        holder,
        channel,
        role,
        caller,
        joined,
    })
}

/// Finds the channel with this ARN. Creates it if it does not exist and `--dev` is set.
fn joinable(shard: &mut State, arn: &ChannelArn) -> Result<ChannelKey, Refusal> {
    let State { directory, cx, .. } = shard;
    let identity = Identity::of(arn);
    if !directory.serves(&identity, cx.at.now) {
        return Err(nobody());
    }
    if let Some(key) = directory.find_active(arn) {
        return Ok(key);
    }
    if !directory.settings().dev || directory.key_of(&identity).is_some() {
        return Err(directory.not_found(&identity, Some(arn)));
    }
    let record = Record {
        arn: arn.clone(),
        ttl_seconds: TTL_SECONDS_DEFAULT,
        created: arn.creation_time().parse().map_or(cx.at.wall, Wall),
        version: cx.telemetry.version(),
        tags: Vec::new().into(),
    };
    let kind = ErrorKind::ServiceUnavailable;
    directory.reserve(
        identity.tenant(),
        record.holding(),
        Holding::default(),
        kind,
    )?;
    directory
        .changes
        .note_created(record.created.min(cx.at.wall));
    // The channel becomes active immediately, before the store has reported that it is durable.
    let key = directory.insert_channel(record, Life::Active);
    let key = key.ok_or_else(|| {
        let message = "The server has as many channels as it may have.";
        Refusal::unavailable(Check::ChannelsFull, message)
    })?;
    directory.submit(cx, (key, ChangeStep::Create), None);
    Ok(key)
}

/// A connection that has been assigned a channel slot.
struct Newcomer<'a> {
    key: SessionKey,
    admission: &'a Admission,
    /// The caller charged for the connection.
    holder: Holder,
    channel: ChannelKey,
    role: Role,
    /// The caller whose share of the channel's rate limit is charged.
    caller: Option<CallerId>,
    /// The connections that held the slot before, if any.
    joined: Joined,
}

/// Sends the 101 response and opens the WebSocket. Then sends the messages left in the replaced connection's outbox,
/// followed by the pending messages.
fn welcome(shard: &mut State, newcomer: Newcomer<'_>) {
    let (key, admission) = (newcomer.key, newcomer.admission);
    let (channel, role) = (newcomer.channel, &newcomer.role);
    let Asks::WebSocket {
        ref accept,
        program,
    } = admission.asks
    else {
        return debug_assert!(false, "a device that asks joins nothing");
    };
    let (sockets, _, cx, _) = shard.parts();
    let id = cx.telemetry.request_id();
    let meta = Meta {
        wall_ms: cx.at.wall.0,
        request_id: &id,
        close: false,
        fields: "",
    };
    sockets.push_control(cx, key, |out| {
        switching_protocols(out, &meta, accept, program.offers_wss());
    });
    let terms = terms(sockets, program, cx.at.now);
    let mut web_socket = WebSocket::new(channel, role.clone(), terms, cx.at.now);
    web_socket.caller = newcomer.caller;
    sockets.begin_web_socket(key, web_socket);
    let (place, standing) = match role {
        Role::Master => (ConnectionRole::Master, Standing::Master),
        Role::Viewer(_) => (ConnectionRole::Viewer, Standing::Viewer),
    };
    sockets.place(key, place);
    cx.note(channel).joined(key, role, admission.role_by);
    if let Some(older) = newcomer.joined.superseded {
        let unnamed = log_superseded(shard, older, &newcomer);
        shard.cx.note(channel).superseded(older, key, unnamed);
        if unnamed && let Some((own, _, _, cx)) = shard.interposed() {
            own.observe(|it| it.on_unnamed(admission.arn.name(), cx.at));
        }
        shard.sockets.supersede(&mut shard.cx, older);
    }
    let (sockets, directory, cx, _) = shard.parts();
    if let Some(evicted) = newcomer.joined.evicted {
        let reason = EndReason::SupersededEvicted;
        sockets.close(cx, evicted, reason);
    }
    for former in newcomer.joined.holders {
        sockets.ask(cx, former);
    }
    sockets.make_room(cx, newcomer.holder);
    (sockets.admitted).enter(key, newcomer.holder, standing);
    sockets.arm_open(key, cx.at.now);
    match role {
        Role::Master => {
            let due = repeats::repeats_at(sockets, key, cx.at.now);
            directory.offers_change(channel, |offers| offers.give_to(key, due));
            cx.todo.push(Todo::Arm(channel));
        }
        Role::Viewer(client_id) => directory.waits.forget(channel, client_id),
    }
    cx.todo.push(Todo::Deliver(channel, newcomer.role));
}

/// Counts and logs that a newer connection has replaced `older`. Returns `true` if the newer connection is a master
/// only because its request did not specify a role, which `--dev` permits.
fn log_superseded(shard: &mut State, older: SessionKey, by: &Newcomer<'_>) -> bool {
    let (sockets, _, cx, _) = shard.parts();
    let (admission, role) = (by.admission, &by.role);
    let arn = &admission.arn;
    let unnamed =
        admission.is_unnamed() && sockets.settings().dev && !sockets.unconfirmed.is_gone(older);
    cx.telemetry.count_superseded(role.on_wire());
    let newer = sockets.session(by.key);
    let (Some(older), Some(newer)) = (sockets.session(older), newer) else {
        return unnamed;
    };
    let opened = older.open().map_or(cx.at.now, WebSocket::opened);
    let line = |unlogged| Superseded {
        channel: arn.name().into(),
        account: Account::of(arn),
        role: role.on_wire(),
        client_id: role.client_id().map(Box::from),
        remote: older.remote(),
        by: newer.remote(),
        after_ms: cx.at.now.since(opened),
        unnamed,
        unlogged,
    };
    cx.telemetry
        .journal()
        .superseded(cx.at.now, Account::of(arn), line);
    unnamed
}

/// Determines the limits and the maximum age of a connection that is being admitted.
///
/// A client that supports GO_AWAY chooses when to disconnect. Any other connection is closed when it reaches its
/// maximum age. Clients that were admitted together would then all reconnect at once, so these closes are spread over
/// the last `go_away_grace` of the maximum age.
fn terms(sockets: &mut Sockets, program: Program, now: Now) -> AdmissionTerms {
    let notices = sockets.settings().reader(program).notices;
    AdmissionTerms {
        notices,
        program,
        bounds: sockets.message_bounds().in_force(),
        ends: sockets.age_end(notices, now),
    }
}

/// Default MessageTtlSeconds of a channel. Source: KVS API reference, "SingleMasterConfiguration".
const TTL_SECONDS_DEFAULT: u32 = 60;

// Connections that another shard or the side thread has returned.

/// Takes back a connection for which another shard or the side thread had no capacity, and refuses its request.
pub(crate) fn bounce_parcel(shard: &mut State, mut parcel: Parcel) -> SessionKey {
    let (sockets, _, cx, _) = shard.parts();
    let key = sockets.take_session(&mut parcel, cx.at);
    match parcel.load {
        ParcelLoad::Upgrade { admission, .. } => {
            let evidence = Evidence::of_admission(key, &admission);
            refuse(shard, &evidence, &too_busy());
        }
        ParcelLoad::Admin(_) => {
            // The side thread has no capacity for the connection, or closed it without a response.
            refuse(shard, &Evidence::of(key, Purpose::Unknown), &no_room());
        }
        ParcelLoad::Onward(_) => {
            unreachable!("what goes to another node passes no other shard")
        }
    }
    key
}
