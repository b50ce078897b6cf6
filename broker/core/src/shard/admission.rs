//! Upgrades: parsing the request, finding its channel, and admission. See codec/PROTOCOL.md, CON.
//!
//! The order of refusals is that of the protocol's table; what needs only the request is decided by the accepting
//! shard, what needs the channel by its home.

use super::books::Books;
use super::directory::Directory;
use super::evidence::Evidence;
use super::gate::Gate;
use super::home::{RATE_EXCEEDED, absent};
use super::leave::slot_of;
use super::sockets::Sockets;
use super::{Fault, changes, drain, faults, leave, outboxes, parity, respond, unsent};
use crate::auth::{Caller, Unsigned};
use crate::channel::{Joined, Life, Metered, TableFull};
use crate::check::Check;
use crate::event::{ConnectionRole, Purpose, UpgradeOutcome, UpgradeRole};
use crate::id::{ChannelKey, Identity, SessionKey};
use crate::journal::EndReason;
use crate::record::{Record, Version};
use crate::session::{Admission, NEVER, Role, SessionState, Terms, WebSocket};
use crate::settings::GoAway;
use crate::time::{Moment, Now, Wall};
use codec::aws::policy::Action;
use codec::aws::{ChannelArn, ClientId};
use codec::control::ErrorKind;
use codec::http::{Head, Meta, Upgrade, decode, pairs, switching_protocols};
use std::rc::Rc;

/// Parameters that may come once: a second one is refused, since two readers might disagree about which counts.
const SINGLE: [&str; 9] = [
    "X-Amz-ChannelARN",
    "X-Amz-ClientId",
    "X-Amz-Algorithm",
    "X-Amz-Credential",
    "X-Amz-Date",
    "X-Amz-Expires",
    "X-Amz-SignedHeaders",
    "X-Amz-Signature",
    "X-Amz-Security-Token",
];

/// Why an upgrade is refused by the shard that accepted its connection.
pub(super) enum NotAdmitted {
    /// Its signature.
    Unsigned(Unsigned),
    /// Its parameters, or its channel cannot exist. Who asks, if that is known.
    Refused(Fault, Option<Caller>),
    /// The policy of this caller, who asked for that channel; under which client id.
    Denied(Caller, Action, ChannelArn, Option<Box<str>>),
}

/// Reads what an upgrade asks for.
///
/// Refuses in the order of the protocol: a parameter given twice, the signature, the parameters, the policy; then what
/// cannot exist for this caller.
pub(super) fn admission(
    sockets: &Sockets,
    gate: &mut Gate,
    head: &Head<'_>,
    asked: &Upgrade<'_>,
    at: Moment,
) -> Result<Admission, NotAdmitted> {
    let invalid = |check, message| {
        let fault = Fault::new(check, ErrorKind::InvalidArgument, message);
        NotAdmitted::Refused(fault, None)
    };
    let mut found: [Option<&str>; SINGLE.len()] = [None; SINGLE.len()];
    for (name, value) in pairs(head.query().unwrap_or_default()) {
        // As the signature reads them: `X-Amz%2DClientId` is that parameter too.
        let name = decode(name).map_err(|_| {
            let message = "A query parameter's name is not percent-encoded UTF-8.";
            invalid(Check::QueryMalformed, message)
        })?;
        let Some(place) = SINGLE.iter().position(|known| *known == name) else {
            continue;
        };
        let Some(slot) = found.get_mut(place) else {
            continue;
        };
        if slot.replace(value).is_some() {
            let message = "A query parameter was given twice.";
            return Err(invalid(Check::ParameterTwice, message));
        }
    }
    let caller = gate.authenticate_upgrade(head, at);
    let caller = caller.map_err(NotAdmitted::Unsigned)?;
    let [arn, client_id, ..] = found;
    let (arn, client_id) = match parameters(sockets, head, arn, client_id) {
        Ok(named) => named,
        Err((check, message)) => {
            let fault = Fault::new(check, ErrorKind::InvalidArgument, message);
            return Err(NotAdmitted::Refused(fault, Some(caller)));
        }
    };
    let action = if client_id.is_some() {
        Action::ConnectAsViewer
    } else {
        Action::ConnectAsMaster
    };
    if !caller.may(action, arn.as_str(), client_id.as_deref()) {
        return Err(NotAdmitted::Denied(caller, action, arn, client_id));
    }
    if !caller.sees(&arn) {
        let fault = absent(Check::AccountHidden);
        return Err(NotAdmitted::Refused(fault, Some(caller)));
    }
    Ok(Admission {
        arn,
        client_id,
        accept: codec::ws::accept_key(asked.key),
        wss: asked.offers_wss,
        caller,
    })
}

/// A channel, and the client id of a viewer.
type Named = (ChannelArn, Option<Box<str>>);

/// What an upgrade names, or what is wrong with it.
fn parameters(
    sockets: &Sockets,
    head: &Head<'_>,
    arn: Option<&str>,
    client_id: Option<&str>,
) -> Result<Named, (Check, &'static str)> {
    let malformed = |message| (Check::ArnMalformed, message);
    let arn = arn.ok_or_else(|| malformed("X-Amz-ChannelARN is required."))?;
    let undecoded = malformed("X-Amz-ChannelARN is not percent-encoded UTF-8.");
    let arn = decode(arn).map_err(|_| undecoded)?;
    let arn = ChannelArn::parse(&arn, sockets.settings.strict())
        .map_err(|error| malformed(error.message()))?;
    let client_id = match sockets.role_of_host(head.host().unwrap_or_default()) {
        Some(codec::signal::Role::Master) => None,
        Some(codec::signal::Role::Viewer) => {
            Some(client_id.ok_or((Check::RoleHostMismatch, CLIENT_ID))?)
        }
        None => client_id,
    };
    let client_id = client_id.map(viewer_id).transpose();
    let client_id = client_id.map_err(|message| (Check::ClientIdMalformed, message))?;
    Ok((arn, client_id))
}

impl Sockets {
    /// The role that a host name of ours tells: `m-` and `v-` below the advertised domain (CON-2).
    fn role_of_host(&self, host: &str) -> Option<codec::signal::Role> {
        let domain = self.settings.advertise.domain.as_deref()?;
        let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
        let label = name.get(..name.len().checked_sub(domain.len() + 1)?)?;
        let rest = name.get(label.len() + 1..)?;
        let hex = label.get(2..)?;
        if !rest.eq_ignore_ascii_case(domain)
            || hex.len() != 8
            || !hex.bytes().all(|byte| byte.is_ascii_hexdigit())
        {
            return None;
        }
        match label.get(..2)? {
            "m-" | "M-" => Some(codec::signal::Role::Master),
            "v-" | "V-" => Some(codec::signal::Role::Viewer),
            _ => None,
        }
    }

    /// Whether another shard owns the channel.
    pub(super) fn sends_home(&self, admission: &Admission) -> bool {
        self.shards.placement.home(&Identity::of(&admission.arn)) != self.shards.id
    }
}

/// Answers an upgrade that is refused, and ends the connection.
pub(super) fn refuse_upgrade(
    sockets: &mut Sockets,
    books: &mut Books,
    gate: &Gate,
    key: SessionKey,
    purpose: Purpose,
    (head, refusal): (&Head<'_>, &NotAdmitted),
    at: Moment,
) {
    let of = |caller| Evidence {
        caller,
        ..Evidence::of_head(head)
    };
    match refusal {
        NotAdmitted::Unsigned(unsigned) => {
            let evidence = gate.evidence(Some(head));
            respond::respond_unsigned(sockets, books, key, purpose, unsigned, &evidence, true, at);
        }
        NotAdmitted::Refused(fault, caller) => {
            let evidence = of(caller.as_ref());
            respond::respond_error(sockets, books, key, purpose, fault, &evidence, true, at);
        }
        NotAdmitted::Denied(caller, action, arn, client_id) => {
            let kind = ErrorKind::AccessDenied;
            let check = caller.policy_check(*action, arn.as_str(), client_id.as_deref());
            let id = books.refusal_id(check, purpose, purpose.status(kind), at.wall);
            if let Some(mut audit) = sockets.audit_of(key, &id, caller, action.name()) {
                audit.channel_arn = Some(arn.as_str().into());
                audit.outcome = kind.error_type();
                books.diary.denied(at.now, audit);
            }
            let fault = Fault::new(check, kind, caller.denial(*action, arn.as_str()));
            let told = (purpose, &fault, &of(Some(caller)));
            respond::respond_error_as(sockets, books, key, &id, told, true, at);
        }
    }
}

/// Admits a connection to its channel, whose home this is: 101, then what was kept for it. False when it was refused.
pub(super) fn admit(
    sockets: &mut Sockets,
    directory: &mut Directory,
    books: &mut Books,
    key: SessionKey,
    admission: &Admission,
    at: Moment,
) -> bool {
    let (purpose, evidence) = (purpose_of(admission), Evidence::of_admission(admission));
    if drain::refuses_in_drain(sockets, books, key, purpose, &evidence, at) {
        return false;
    }
    if sockets.faults.is_some() && faults::on_connect(sockets, directory, books, key, admission, at)
    {
        return false;
    }
    let role = admission
        .client_id
        .as_deref()
        .map_or(Role::Master, |id| Role::Viewer(Rc::from(id)));
    let joined =
        channel_to_join(sockets, directory, books, &admission.arn, at).and_then(|channel| {
            let joined = join(sockets, directory, channel, &role, key, at)?;
            Ok((channel, joined))
        });
    match joined {
        Err(fault) => {
            respond::respond_error(sockets, books, key, purpose, &fault, &evidence, true, at);
            false
        }
        Ok((channel, joined)) => {
            if let Purpose::Upgrade(role) = purpose {
                books.counters.upgrade(role, UpgradeOutcome::Accepted);
            }
            welcome(
                sockets,
                directory,
                books,
                key,
                (channel, role),
                admission,
                &joined,
                at,
            );
            true
        }
    }
}

/// The channel of an ARN; in `--dev` it is created with the ARN as given.
fn channel_to_join(
    sockets: &mut Sockets,
    directory: &mut Directory,
    books: &mut Books,
    arn: &ChannelArn,
    at: Moment,
) -> Result<ChannelKey, Fault> {
    let identity = Identity::of(arn);
    if let Some(&key) = directory.names.get(&identity) {
        let found = directory
            .channels
            .get(key)
            .is_some_and(|channel| channel.record.arn == *arn && channel.state == Life::Active);
        return if found {
            Ok(key)
        } else {
            Err(directory.not_found(&identity, Some(arn)))
        };
    }
    if !sockets.settings.dev {
        return Err(absent(Check::ChannelAbsent));
    }
    let record = Record {
        arn: arn.clone(),
        ttl_seconds: TTL_SECONDS_DEFAULT,
        created: arn.creation_time().parse().map_or(at.wall, Wall),
        version: Version::draw(&mut books.random),
        tags: Vec::new(),
    };
    directory.changes.last_created = directory
        .changes
        .last_created
        .max(record.created.min(at.wall));
    // In use at once: it was not reported as durable.
    let key = directory.insert_channel(record, Life::Active);
    let key = key.ok_or_else(|| {
        let message = "The server has as many channels as it may have.";
        Fault::new(Check::ChannelsFull, ErrorKind::ServiceUnavailable, message)
    })?;
    changes::keep_channel(sockets, directory, books, key, at);
    Ok(key)
}

/// Takes a place in the channel, if there is one and the channel's rate allows it.
fn join(
    sockets: &mut Sockets,
    directory: &mut Directory,
    key: ChannelKey,
    role: &Role,
    session: SessionKey,
    at: Moment,
) -> Result<Joined, Fault> {
    let limited = |check, message| Fault::new(check, ErrorKind::ClientLimitExceeded, message);
    let settings = &sockets.settings;
    let Some(channel) = directory.channels.get_mut(key) else {
        return Err(absent(Check::ChannelAbsent));
    };
    let what = match role {
        Role::Master => Metered::ConnectAsMaster,
        Role::Viewer(_) => Metered::ConnectAsViewer,
    };
    if !channel.may(what, &settings.quotas, at.now) {
        return Err(limited(Check::RateConnect, RATE_EXCEEDED));
    }
    let viewers_max = settings.limits.viewers_per_channel;
    let members = &mut channel.wake(&directory.hasher).members;
    let joined = members
        .join(slot_of(role), session, viewers_max)
        .map_err(|TableFull| {
            let message = "The channel has as many viewers as it may have.";
            limited(Check::ViewersFull, message)
        })?;
    channel.count(what, &settings.quotas, at.now); // a connect that was refused costs nothing
    leave::arm_channel(sockets, directory, key, at);
    Ok(joined)
}

fn welcome(
    sockets: &mut Sockets,
    directory: &mut Directory,
    books: &mut Books,
    key: SessionKey,
    (channel, role): (ChannelKey, Role),
    admission: &Admission,
    joined: &Joined,
    at: Moment,
) {
    let id = books.request_id();
    let meta = Meta {
        wall_ms: at.wall.0,
        request_id: &id,
        close: false,
    };
    outboxes::push_response(sockets, books, key, |out| {
        switching_protocols(out, &meta, &admission.accept, admission.wss)
    });
    let terms = sockets.terms(admission, at.now);
    if let Some(session) = sockets.sessions.get_mut(key) {
        session.state = SessionState::Open(WebSocket::new(channel, role.clone(), terms, at.now));
    }
    sockets.charge(key);
    sockets.census.web_sockets += 1;
    if let Some(channel) = directory.channels.get_mut(channel) {
        channel.connections += 1;
    }
    sockets.place(
        key,
        if role == Role::Master {
            ConnectionRole::Master
        } else {
            ConnectionRole::Viewer
        },
    );
    books.recorder.joined(at, channel, key, &role);
    if let Some(older) = joined.superseded {
        books.recorder.superseded(at, channel, older, key);
        supersede(sockets, directory, books, older, channel, &role, at);
    }
    if let Some(evicted) = joined.evicted {
        leave::close_web_socket(
            sockets,
            directory,
            books,
            evicted,
            EndReason::SupersededEvicted,
            at,
        );
    }
    unsent::deliver_kept(sockets, directory, books, channel, &role, at);
    if sockets.faults.is_some() {
        parity::on_join(sockets, directory, channel, &role, at);
        faults::on_session(sockets, directory, books, key, at);
    }
    sockets.arm_open(key, at.now);
}

impl Sockets {
    /// What is settled with a connection that is admitted.
    ///
    /// Clients that get GO_AWAY leave in their own time. The others leave when they are closed, and those admitted
    /// together would come back together, every hour again: their ends are spread over the last `go_away_grace` of
    /// their age, each as far as possible from those before it (multiples of the golden ratio).
    fn terms(&mut self, admission: &Admission, now: Now) -> Terms {
        let timeouts = &self.settings.timeouts;
        let notices = match self.settings.signaling.go_away {
            GoAway::Auto => !admission.wss,
            GoAway::Always => true,
            GoAway::Never => false,
        };
        let mut age = timeouts.connection_age_ms;
        if age == 0 {
            return Terms {
                notices,
                ends: NEVER,
            };
        }
        if !notices {
            self.ends.spread = self.ends.spread.wrapping_add(GOLDEN);
            let early =
                (u128::from(timeouts.go_away_grace_ms) * u128::from(self.ends.spread)) >> u32::BITS;
            age = age.saturating_sub(u64::try_from(early).unwrap_or(u64::MAX));
        }
        Terms {
            notices,
            ends: now.after(age),
        }
    }
}

/// The older connection of a slot falls silent; what it was not sent is for the newer one.
fn supersede(
    sockets: &mut Sockets,
    directory: &mut Directory,
    books: &mut Books,
    older: SessionKey,
    channel: ChannelKey,
    role: &Role,
    at: Moment,
) {
    if let Some(web_socket) = sockets.web_socket(older) {
        web_socket.superseded = true;
    }
    sockets.place(older, ConnectionRole::Superseded);
    if *role == Role::Master {
        directory.offers_lost_their_master(channel);
    }
    unsent::take_back(sockets, directory, books, older, channel, role, at);
}

pub(super) fn purpose_of(admission: &Admission) -> Purpose {
    Purpose::Upgrade(if admission.client_id.is_some() {
        UpgradeRole::Viewer
    } else {
        UpgradeRole::Master
    })
}

fn viewer_id(text: &str) -> Result<Box<str>, &'static str> {
    let text = decode(text).map_err(|_| CLIENT_ID)?;
    let id = ClientId::parse(&text).map_err(|_| CLIENT_ID)?;
    if id.is_reserved() {
        return Err("X-Amz-ClientId must not begin with AWS_.");
    }
    Ok(id.as_str().into())
}

const CLIENT_ID: &str = "X-Amz-ClientId must be 1 to 256 characters of [a-zA-Z0-9_.-].";

/// The error for a channel that does not exist, in the words of the service.
pub(super) const NOT_FOUND: &str = "The requested channel is not found or not active.";

/// MessageTtlSeconds of a channel that names none. Source: KVS API reference, "SingleMasterConfiguration".
const TTL_SECONDS_DEFAULT: u32 = 60;

/// 2³² divided by the golden ratio, odd.
const GOLDEN: u32 = 0x9e37_79b9;
