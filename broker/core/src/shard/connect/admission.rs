//! Admits upgrades on the shard that owns their channel. Performs the checks that depend on the channel, and gives the
//! connection a slot of the channel. See codec/PROTOCOL.md, CON. The checks that depend on the request alone are in
//! `connect/upgrades.rs`.

use crate::channel::members::Joined;
use crate::event::{ConnectionRole, Purpose, UpgradeOutcome};
use crate::id::{Account, CallerId, ChannelKey, Identity, SessionKey};
use crate::journal::{EndReason, Superseded};
use crate::session::http::{Admission, Asks};
use crate::session::web_socket::{AdmissionTerms, Role, WebSocket};
use crate::settings::Program;
use crate::shard::admitted::{Holder, Standing};
use crate::shard::calls::responses::{
    RATE_EXCEEDED, absent, no_place, nobody, refuse, shutting_down,
};
use crate::shard::connect::upgrades::{no_client_id, refuse_upgrade};
use crate::shard::directory::ChangeStep;
use crate::shard::directory::members::{NoSlot, SlotRequest};
use crate::shard::evidence::Evidence;
use crate::shard::road::repeats;
use crate::shard::shares::too_busy;
use crate::shard::state::State;
use crate::shard::todo::{Todo, slot_of};
use crate::shard::{Parcel, ParcelLoad};
use crate::shard::{connect::public_pages, sockets::Sockets};
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

/// Returns the holder to charge for a connection. If the process is shutting down or at capacity, refuses the
/// connection and returns `None`.
pub(crate) fn holder(shard: &mut State, key: SessionKey, admission: &Admission) -> Option<Holder> {
    let sockets = &mut shard.sockets;
    let evidence = Evidence::of_admission(key, admission);
    if sockets.drains() {
        refuse(shard, &evidence, &shutting_down());
        return None;
    }
    let holder = sockets
        .admitted
        .holder(&admission.caller, admission.arn.account());
    if !sockets.admitted.may_enter(holder) {
        refuse(shard, &evidence, &no_place());
        return None;
    }
    Some(holder)
}

/// A connection to be admitted to its channel.
#[derive(Clone, Copy)]
pub(crate) struct Entrant<'a> {
    pub(crate) key: SessionKey,
    pub(crate) admission: &'a Admission,
    /// The holder charged for the connection.
    pub(crate) holder: Holder,
}

/// Admits a connection to its channel. Sends the 101 response and then the pending messages. Returns `false` if the
/// connection was refused.
pub(crate) fn admit(shard: &mut State, entrant: Entrant<'_>) -> bool {
    let Entrant { key, admission, .. } = entrant;
    let (sockets, directory, cx, ..) = shard.parts();
    let evidence = Evidence::of_admission(key, admission);
    // The upgrade may be forbidden by facts that only the shard owning the channel knows.
    let forbidden = if directory.lacks_client_id(sockets, admission) {
        Some(no_client_id())
    } else {
        directory.forbids_upgrade(cx, admission)
    };
    if let Some(refusal) = forbidden {
        refuse_upgrade(shard, &evidence, admission, &refusal);
        return false;
    }
    let newcomer = match take_place(shard, entrant) {
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
    directory.changed(newcomer.channel, (newcomer.cause(sockets), None));
    welcome(shard, newcomer);
    true
}

/// Gives a connection a slot of its channel. Fails if no slot is free, or if the channel's rate limit or the caller's
/// share of it is exceeded. If the channel is full, a viewer may be evicted to free a slot.
fn take_place<'a>(shard: &mut State, entrant: Entrant<'a>) -> Result<Newcomer<'a>, Refusal> {
    let admission = entrant.admission;
    let channel = joinable(shard, &admission.arn)?;
    let (sockets, directory, cx, ..) = shard.parts();
    let (role, caller) = match admission.client_id.as_deref() {
        None => (Role::Master, None),
        Some(id) => {
            let counted_as = directory.role(cx, &admission.caller, &admission.arn);
            (Role::Viewer(Rc::from(id)), counted_as.caller())
        }
    };
    let slot = slot_of(&role);
    let viewers = directory.viewers_if_full(channel, &slot);
    let payer = viewers.and_then(|all| sockets.viewer_that_pays(entrant.holder, all));
    let request = SlotRequest {
        channel,
        session: entrant.key,
        slot,
        caller,
        payer,
    };
    let joined = directory.take_slot(request, cx.at.now);
    let joined = joined.map_err(|refused| match refused {
        NoSlot::Gone => absent(Check::ChannelAbsent),
        NoSlot::Rate => Refusal::limited(Check::RateConnect, RATE_EXCEEDED),
        NoSlot::Full => {
            let message = "The channel has reached its limit of viewers.";
            Refusal::limited(Check::ViewersFull, message)
        }
    })?;
    cx.todo.push(Todo::Arm(channel));
    if let Some(payer) = payer {
        sockets.close(cx, payer, EndReason::MadeRoom);
    }
    if let Some(slots) = directory.slots.as_deref_mut() {
        slots.admitted(&admission.arn);
    }
    Ok(Newcomer {
        entrant,
        channel,
        role,
        caller,
        joined,
    })
}

/// Finds the channel with this ARN. With `--dev`, creates the channel if it does not exist.
fn joinable(shard: &mut State, arn: &ChannelArn) -> Result<ChannelKey, Refusal> {
    let State { directory, cx, .. } = shard;
    let identity = Identity::of(arn);
    if !directory.serves(&identity, cx.at.now) {
        return Err(nobody());
    }
    if let Some(key) = directory.key_of(&identity) {
        let found = directory
            .channel(key)
            .is_some_and(|channel| channel.record.arn == *arn && channel.state == Life::Active);
        return if found {
            Ok(key)
        } else {
            Err(directory.not_found(&identity, Some(arn)))
        };
    }
    if !directory.settings().dev {
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
    // The channel is active immediately, before it is known to be durable.
    let key = directory.insert_channel(record, Life::Active);
    let key = key.ok_or_else(|| {
        let message = "The server has as many channels as it may have.";
        Refusal::unavailable(Check::ChannelsFull, message)
    })?;
    directory.submit(cx, (key, ChangeStep::Create), None);
    Ok(key)
}

/// A connection that has been given a slot of its channel.
struct Newcomer<'a> {
    entrant: Entrant<'a>,
    channel: ChannelKey,
    role: Role,
    /// The caller whose share of the channel's rate is charged.
    caller: Option<CallerId>,
    /// The connections that previously held the slot, if any.
    joined: Joined,
}

impl Newcomer<'_> {
    /// Returns the cause to report to the channel's watchers when this connection is admitted.
    fn cause(&self, sockets: &Sockets) -> PresenceCause {
        // For watchers, a master that was reported gone has left, so nothing is replaced.
        let replaced = self
            .joined
            .superseded
            .filter(|older| !sockets.unconfirmed.is_gone(*older));
        match (&self.role, replaced) {
            (Role::Master, None) => PresenceCause::MasterJoined,
            (Role::Master, Some(_)) => PresenceCause::MasterReplaced,
            (Role::Viewer(_), _) => PresenceCause::ViewerJoined,
        }
    }
}

/// Sends the 101 response and opens the WebSocket. Then sends the messages that the replaced connection did not send,
/// followed by the pending messages.
fn welcome(shard: &mut State, newcomer: Newcomer<'_>) {
    let Entrant {
        key,
        admission,
        holder,
    } = newcomer.entrant;
    let (channel, role) = (newcomer.channel, &newcomer.role);
    let Asks::WebSocket {
        ref accept,
        program,
    } = admission.asks
    else {
        return debug_assert!(false, "a device that asks joins nothing");
    };
    switch_protocols(shard, key, accept, program.offers_wss());
    let (sockets, _, cx, _) = shard.parts();
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
        sockets.ask(cx, former, cx.at.now);
    }
    sockets.make_room(cx, holder);
    sockets.admitted.enter(key, holder, standing);
    sockets.arm_open(key, cx.at.now);
    if *role == Role::Master {
        let due = repeats::repeats_at(sockets, key, cx.at.now);
        directory.offers_change(channel, |offers| offers.give_to(key, due));
        cx.todo.push(Todo::Arm(channel));
    }
    if let Role::Viewer(client_id) = role {
        directory.waits.forget(channel, client_id);
    }
    cx.todo.push(Todo::Deliver(channel, newcomer.role));
}

/// Sends the 101 response.
fn switch_protocols(shard: &mut State, key: SessionKey, accept: &[u8; 28], offers_wss: bool) {
    let (sockets, _, cx, _) = shard.parts();
    let id = cx.telemetry.request_id();
    let meta = Meta {
        wall_ms: cx.at.wall.0,
        request_id: &id,
        close: false,
        fields: "",
    };
    sockets.push_control(cx, key, |out| {
        switching_protocols(out, &meta, accept, offers_wss)
    });
}

/// Counts and logs that a newer connection has replaced `older`. Returns `true` if the newer connection is a master
/// only because its request named no role, which `--dev` permits.
fn log_superseded(shard: &mut State, older: SessionKey, by: &Newcomer<'_>) -> bool {
    let (sockets, _, cx, _) = shard.parts();
    let (admission, role) = (by.entrant.admission, &by.role);
    let arn = &admission.arn;
    let unnamed =
        admission.is_unnamed() && sockets.settings().dev && !sockets.unconfirmed.is_gone(older);
    cx.telemetry.count_superseded(role.on_wire());
    let newer = sockets.session(by.entrant.key);
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

/// Returns the terms under which a connection is admitted.
///
/// Clients that support GO_AWAY disconnect at a moment of their choosing. All others are closed when they reach their
/// maximum age. Clients that were admitted together would then reconnect together, so their closes are spread over the
/// last `go_away_grace` of the maximum age.
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

// Connections that another shard or the side thread did not accept.

/// Takes back a connection that another shard or the side thread had no capacity for, and refuses its request.
pub(crate) fn bounce_parcel(shard: &mut State, mut parcel: Parcel) -> SessionKey {
    let (sockets, _, cx, _) = shard.parts();
    let key = sockets.take_session(&mut parcel, cx.at);
    match parcel.load {
        ParcelLoad::Upgrade { admission, .. } => {
            let evidence = Evidence::of_admission(key, &admission);
            refuse(shard, &evidence, &too_busy());
        }
        ParcelLoad::Admin(_) => public_pages::refuse_admin_page(shard, key),
        ParcelLoad::Onward(_) => {
            unreachable!("what goes to another node passes no other shard")
        }
    }
    key
}
