//! Observations of the test double, under `--dev` only: the checks that findings come from (what the strict profile
//! would have refused), and the copies of messages.

use crate::channel::{Channel, Towards};
use crate::channel::{pending::Message, rates::Metered};
use crate::event::Purpose;
use crate::id::{ChannelKey, Identity, SessionKey};
use crate::journal::end_reasons::grouped;
use crate::refusal::Refusal;
use crate::session::http::{HttpStage, Target};
use crate::session::web_socket::{Role, WebSocket};
use crate::shard::calls::responses;
use crate::shard::context::Context;
use crate::shard::dev::signatures::WouldRefuse;
use crate::shard::dev::state::{AccountUse, Captured, Fate, rate_rule};
use crate::shard::road::in_flight::InTransit;
use crate::shard::telemetry::Evidence;
use crate::shard::todo::{Gone, Own, Todo};
use crate::shard::{Directory, Gate, Sockets};
use crate::shard::{Query, QueryKind};
use crate::time::{Moment, Now};
use crate::{limits::PARITY_BUCKETS_MAX, session::Session};
use codec::base64;
use codec::http::Head;
use codec::signal::{Action, Delivery, Request};
use codec::{control::Operation, identifiers::ChannelArn};
use std::sync::Arc;

/// A channel is there.
pub(crate) fn on_channel(
    sockets: &mut Sockets,
    directory: &Directory,
    key: ChannelKey,
    at: Moment,
) {
    let (Some(parity), Some(channel)) = (
        sockets.dev_mut().parity.as_deref_mut(),
        directory.channel(key),
    ) else {
        return;
    };
    let meant = |account: &&Arc<AccountUse>| account.is_about(&Identity::of(&channel.record.arn));
    let Some(channels) = (parity.account_use.as_ref().filter(meant)).map(|it| it.channel_came())
    else {
        return;
    };
    let most = parity.strict.limits.channels_per_account as u64;
    if channels > most {
        let says = || {
            let (channels, most) = (grouped(channels), grouped(most));
            format!("{channels} channels of the account; the cloud service takes {most}")
        };
        parity.note("channels", "", at, says);
    }
}

/// A call that passed its signature check, of an account in a region.
pub(crate) fn on_call(sockets: &mut Sockets, account: &Identity, operation: Operation, at: Moment) {
    let Some(parity) = sockets.dev_mut().parity.as_deref_mut() else {
        return;
    };
    let used = (parity.account_use.as_ref()).filter(|used| used.is_about(account));
    if used.is_none_or(|used| used.take(operation, &parity.strict.quotas, at.now)) {
        return;
    }
    let rate = parity
        .strict
        .quotas
        .account_rate(operation)
        .map_or(0, |(_, rate)| rate.rate);
    let says = || {
        format!(
            "{} of the account faster than {rate} a second: the cloud service refuses it",
            operation.name()
        )
    };
    parity.note("rate_account", "", at, says);
}

/// A request that may be signed.
pub(crate) struct Signed<'a> {
    pub(crate) head: &'a Head<'a>,
    pub(crate) purpose: Purpose,
    /// Of a call; `None` for an upgrade.
    pub(crate) body: Option<&'a [u8]>,
}

/// A signature that would be refused where signatures are checked is noted beside requests that are refused, once of
/// each key and check.
pub(crate) fn on_signed(
    sockets: &mut Sockets,
    cx: &mut Context,
    key: SessionKey,
    signed: &Signed<'_>,
) {
    let Some(signatures) = sockets.dev_mut().signatures.as_deref_mut() else {
        return;
    };
    let Some(WouldRefuse { check, reason }) = signatures.look(signed.head, signed.body, cx.at)
    else {
        return;
    };
    let evidence = Evidence::of_head(signed.purpose, signed.head);
    let claimed = evidence.claimed();
    let key_id = claimed.key_id.as_deref().unwrap_or_default();
    let noted = signatures.noted.as_deref();
    if !noted.is_none_or(|noted| noted.is_first(key_id, check, cx.at.now)) {
        return;
    }
    let says = reason.map_or_else(|| check.says().to_owned(), |signed| signed.to_string());
    let says = format!("refused without --dev: {says}");
    let noticed = Refusal::noticed(check, Some(says.into()));
    let id = cx
        .telemetry
        .refusal_id(check, signed.purpose, 200, cx.at.wall);
    let id = Some(&*id);
    responses::note(sockets, cx, key, &Evidence { id, ..evidence }, &noticed);
}

/// The body of a request is whole.
pub(crate) fn on_body(
    sockets: &mut Sockets,
    cx: &mut Context,
    gate: &Gate,
    key: SessionKey,
    body: &[u8],
) {
    if sockets.dev().signatures.is_none() {
        return;
    }
    let Some(HttpStage::AwaitBody(awaited)) = sockets.http(key).map(|http| &http.stage) else {
        return;
    };
    let (Target::Api(_), Some(text)) = (awaited.target, awaited.head.clone()) else {
        return;
    };
    let purpose = awaited.target.purpose();
    if let Some(head) = gate.reread(&text) {
        let signed = Signed {
            head: &head,
            purpose,
            body: Some(body),
        };
        on_signed(sockets, cx, key, &signed);
    }
}

/// A channel is gone.
pub(crate) fn channel_went(sockets: &Sockets, channel: &Channel) {
    if let Some(parity) = &sockets.dev().parity {
        parity.channel_went(channel);
    }
}

/// A connection is gone: how long it was there, and silent.
pub(crate) fn on_gone(sockets: &mut Sockets, directory: &Directory, gone: &Gone, at: Moment) {
    if let Some(last_frame) = gone.last_frame {
        on_silence(sockets, directory, gone.channel, last_frame, at);
    }
    let ours = sockets.settings().timeouts.connection_age_ms;
    let Some(parity) = sockets.dev_mut().parity.as_deref_mut() else {
        return;
    };
    parity.forget_session(gone.session);
    let channel = directory.channel(gone.channel);
    let (Some(channel), Some(tally)) = (channel, gone.tally) else {
        return;
    };
    let most = parity.strict.timeouts.connection_age_ms;
    let age = at.now.since(tally.opened);
    if (ours == 0 || ours > most) && age > most {
        let says = || {
            format!(
                "a connection of {} s; the cloud service ends it after {} s",
                grouped(age / 1000),
                grouped(most / 1000)
            )
        };
        parity.note("connection_age", channel.record.arn.name(), at, says);
    }
}

/// A connection of this channel has sent something, or is gone: how long it was silent.
fn on_silence(
    sockets: &mut Sockets,
    directory: &Directory,
    channel: ChannelKey,
    last_frame: Now,
    at: Moment,
) {
    let ours = sockets.settings().timeouts.idle_ms;
    let Some(parity) = sockets.dev_mut().parity.as_deref_mut() else {
        return;
    };
    let most = parity.strict.timeouts.idle_ms;
    let silent = at.now.since(last_frame);
    if ours <= most || silent <= most {
        return;
    }
    if let Some(channel) = directory.channel(channel) {
        let says = || {
            format!(
                "no frame of a connection for {} s; the cloud service ends it after {} s",
                grouped(silent / 1000),
                grouped(most / 1000)
            )
        };
        parity.note("idle", channel.record.arn.name(), at, says);
    }
}

/// A message that was understood.
#[cold]
pub(crate) fn on_message(
    sockets: &mut Sockets,
    directory: &Directory,
    transit: &InTransit<'_>,
    at: Moment,
) {
    let sender = sockets.session(transit.from).and_then(Session::open);
    if let Some(last_frame) = sender.map(WebSocket::last_frame) {
        on_silence(sockets, directory, transit.channel, last_frame, at);
    }
    let Some(parity) = sockets.dev_mut().parity.as_deref_mut() else {
        return;
    };
    // Looked up for a finding only.
    let name = || {
        let channel = directory.channel(transit.channel);
        channel.map_or("", |channel| channel.record.arn.name())
    };
    let action = transit.launch.action;
    let payload = transit.delivery.payload;
    let most = parity.strict.limits.payload_bytes;
    if payload.len() > most {
        let says = || {
            let (length, most) = (grouped(payload.len() as u64), grouped(most as u64));
            format!(
                "{} of {length} characters; the cloud service takes {most}",
                action.as_str()
            )
        };
        parity.note("payload_over_10240", name(), at, says);
    }
    if action == Action::SdpOffer && transit.delivery.sender.is_none() {
        let says = "an SDP_OFFER of a master; the cloud service takes offers of viewers only";
        parity.note("master_offer", name(), at, || says.into());
    }
    let rate = match action {
        Action::SdpOffer | Action::SdpAnswer => parity.strict.quotas.sdp,
        Action::IceCandidate => parity.strict.quotas.ice,
    };
    // Without quotas the session's own buckets are free.
    let lends = sockets.settings().quotas.off;
    let own = sockets.web_socket(transit.from).filter(|_| lends);
    let mut own = own.map(|it| std::mem::take(&mut it.rates));
    let Some(parity) = sockets.dev_mut().parity.as_deref_mut() else {
        return;
    };
    let buckets = match &mut own {
        Some(own) => own,
        None => parity.messages.entry(transit.from).or_default(),
    };
    let is_allowed = buckets.take(action, &parity.strict.quotas, at.now);
    if !is_allowed && !parity.floods(transit.channel, action) {
        let says = || {
            let (action, rate) = (action.as_str(), rate.rate);
            format!(
                "{action} of one connection faster than {rate} a second: the cloud service refuses it"
            )
        };
        parity.note(rate_rule(action), name(), at, says);
        parity.begin_flood(transit.channel, name(), action);
    }
    if let (Some(own), Some(web_socket)) = (own, sockets.web_socket(transit.from)) {
        web_socket.rates = own;
    }
}

/// A connection that was admitted.
pub(crate) fn on_join(
    sockets: &mut Sockets,
    directory: &Directory,
    key: ChannelKey,
    role: &Role,
    at: Moment,
) {
    let what = match role {
        Role::Master => Metered::ConnectAsMaster,
        Role::Viewer(_) => Metered::ConnectAsViewer,
    };
    on_metered(sockets, directory, key, what, at);
    let (Some(parity), Some(channel)) = (
        sockets.dev_mut().parity.as_deref_mut(),
        directory.channel(key),
    ) else {
        return;
    };
    let most = parity.strict.limits.viewers_per_channel;
    let viewers = channel.live().map_or(0, |live| live.members.viewers());
    if viewers > most {
        let says = || format!("{viewers} viewers of one channel; the cloud service takes {most}");
        parity.note("viewers", channel.record.arn.name(), at, says);
    }
}

/// A question that its caller may ask.
pub(crate) fn on_query(sockets: &mut Sockets, directory: &Directory, query: &Query, at: Moment) {
    if let Some(key) = directory.channel_of(&query.kind) {
        let what = Metered::Call(query.operation);
        on_metered(sockets, directory, key, what, at);
    }
}

/// A connect or call that the strict profile counts for its channel.
fn on_metered(
    sockets: &mut Sockets,
    directory: &Directory,
    key: ChannelKey,
    what: Metered,
    at: Moment,
) {
    let (Some(parity), Some(channel)) = (
        sockets.dev_mut().parity.as_deref_mut(),
        directory.channel(key),
    ) else {
        return;
    };
    let Some(rate) = what.rate(&parity.strict.quotas) else {
        return;
    };
    if parity.channels.len() >= PARITY_BUCKETS_MAX {
        parity.channels.clear(); // full ones would have been forgotten anyway; others find too little, never too much
    }
    let buckets = parity.channels.entry(key).or_default();
    if buckets.take(what, None, &parity.strict.quotas, at.now) {
        return;
    }
    let (rule, call) = match what {
        Metered::ConnectAsMaster => ("rate_connect_master", "connects of masters"),
        Metered::ConnectAsViewer => ("rate_connect_viewer", "connects of viewers"),
        Metered::Call(operation) | Metered::CallAsMaster(operation) => {
            ("rate_call", operation.name())
        }
    };
    let says = || {
        format!(
            "{call} of one channel faster than {} a second: the cloud service refuses it",
            rate.rate
        )
    };
    parity.note(rule, channel.record.arn.name(), at, says);
}

// The copies that are made of messages, for tests of clients: under `--dev` only.

/// A copy except its channel's name.
struct CopySource<'a> {
    towards: Option<Towards>,
    viewer: &'a str,
    action: Option<Action>,
    payload: &'a [u8],
    fate: Fate,
}

impl CopySource<'_> {
    fn of_channel(&self, name: &str, at: Moment) -> Captured {
        Captured {
            at: at.wall,
            channel: name.into(),
            towards: self.towards,
            viewer: self.viewer.into(),
            action: self.action,
            payload: base64::text(self.payload).into(),
            fate: self.fate,
        }
    }
}

impl Sockets {
    /// Hands a copy over, if copies are taken.
    fn copy(&mut self, copy: impl FnOnce() -> Captured, at: Moment) {
        if let Some(copies) = &mut self.dev_mut().copies {
            copies.take(copy, at);
        }
    }
}

impl InTransit<'_> {
    /// Hands a copy over, once it is known what becomes of the message. `channel`: its channel's name.
    pub(crate) fn copy(&self, sockets: &mut Sockets, channel: &str, fate: Fate, at: Moment) {
        let (towards, viewer) = match self.delivery.sender {
            Some(viewer) => (Towards::Master, viewer),
            None => (Towards::Viewer, self.recipient),
        };
        let source = CopySource {
            towards: Some(towards),
            viewer,
            action: Some(self.launch.action),
            payload: self.delivery.payload,
            fate,
        };
        sockets.copy(|| source.of_channel(channel, at), at);
    }
}

/// Hands over another copy of a message that was kept, which a fault drops in place of its delivery.
pub(crate) fn copy_dropped(
    sockets: &mut Sockets,
    (channel, towards, viewer): (&str, Towards, &str),
    message: &Message,
    at: Moment,
) {
    let source = CopySource {
        towards: Some(towards),
        viewer,
        action: Some(message.action),
        payload: Delivery::payload_of(&message.frame),
        fate: Fate::Dropped,
    };
    sockets.copy(|| source.of_channel(channel, at), at);
}

/// Leaves a copy of what went nowhere: too much of it, or not understood. The shard knows the channel's name.
#[cold]
pub(crate) fn copy_refused(
    sockets: &mut Sockets,
    cx: &mut Context,
    from: SessionKey,
    request: Option<&Request<'_>>,
) {
    if sockets.dev().copies.is_none() {
        return;
    }
    let Some(web_socket) = sockets.web_socket(from) else {
        return;
    };
    let source = CopySource {
        towards: None,
        viewer: web_socket.role.client_id().unwrap_or_default(),
        action: request.map(|request| request.action),
        payload: request.map_or(&[], |request| request.payload),
        fate: request.map_or(Fate::Refused, |_| Fate::Throttled),
    };
    let copy = Own::Copy(web_socket.channel, source.of_channel("", cx.at));
    cx.todo.push(Todo::Double(Box::new(copy)));
}

/// The offer of an Alexa call that asks to be taken in, and the older one of its sender.
pub(crate) struct OfferCopy {
    arn: ChannelArn,
    sender: Box<str>,
    payload: Box<str>,
    older: Option<u64>,
}

impl OfferCopy {
    /// That of a question, if copies are taken.
    pub(crate) fn of(sockets: &Sockets, directory: &Directory, kind: &QueryKind) -> Option<Self> {
        let QueryKind::Offer {
            arn,
            sender,
            payload,
        } = kind
        else {
            return None;
        };
        sockets.dev().copies.as_ref()?;
        Some(Self {
            arn: arn.clone(),
            sender: sender.clone(),
            payload: payload.clone(),
            older: waiting(directory, arn, sender),
        })
    }

    /// Hands the copy over, if the call was taken in.
    pub(crate) fn take(self, sockets: &mut Sockets, directory: &Directory, at: Moment) {
        let waits = waiting(directory, &self.arn, &self.sender);
        if waits.is_none() || waits == self.older {
            return;
        }
        let channel = directory.find_active(&self.arn);
        let live = channel.and_then(|key| directory.channel(key)?.live());
        let source = CopySource {
            towards: Some(Towards::Master),
            viewer: &self.sender,
            action: Some(Action::SdpOffer),
            payload: self.payload.as_bytes(),
            fate: match live.and_then(|live| live.members.to_master()) {
                Some(_) => Fate::Delivered,
                None => Fate::Kept,
            },
        };
        sockets.copy(|| source.of_channel(self.arn.name(), at), at);
    }
}

/// The place in its channel's order of the call of this sender that waits.
fn waiting(directory: &Directory, arn: &ChannelArn, sender: &str) -> Option<u64> {
    let channel = directory.channel(directory.find_active(arn)?)?;
    channel.live()?.calls.of(sender).map(|call| call.order)
}

/// Hands a copy over that lacks the name of its channel.
pub(crate) fn copy_named(
    sockets: &mut Sockets,
    directory: &Directory,
    channel: ChannelKey,
    copy: Captured,
    at: Moment,
) {
    let channel = directory.channel(channel);
    let name = channel.map_or("", |channel| channel.record.arn.name());
    let channel = name.into();
    sockets.copy(|| Captured { channel, ..copy }, at);
}
