//! Observations of the `--dev` interposer, which records violations of the strict profile as findings, and copies
//! messages for tests.

use crate::channel::Towards;
use crate::channel::rates::{Metered, RateKey};
use crate::event::Purpose;
use crate::id::{ChannelKey, Identity, SessionKey};
use crate::journal::end_reasons::grouped;
use crate::refusal::Refusal;
use crate::session::http::{HttpStage, Target};
use crate::session::web_socket::{Role, WebSocket};
use crate::settings::Settings;
use crate::shard::calls::responses;
use crate::shard::dev::message_faults::name_of;
use crate::shard::dev::signatures::WouldRefuse;
use crate::shard::dev::state::{Captured, Fate, Interposer, Parity};
use crate::shard::evidence::Evidence;
use crate::shard::road::delivery::InTransit;
use crate::shard::state::State;
use crate::shard::todo::Gone;
use crate::shard::{Directory, Query, QueryKind, Sockets};
use crate::time::{Moment, Now};
use crate::{limits::PARITY_BUCKETS_MAX, session::Session};
use codec::base64;
use codec::control::Operation;
use codec::http::Head;
use codec::signal::{Action, Request};

impl Parity {
    /// Counts the channels created or removed since the previous call, and checks the account's number of channels
    /// against the strict profile.
    pub(crate) fn count_channels(&mut self, directory: &Directory, at: Moment) {
        let Some(account) = self.account_use.clone() else {
            return;
        };
        let channels = directory.held_by(&account.tenant).channels;
        for _ in channels..self.channels_counted {
            account.channel_went();
        }
        for _ in self.channels_counted..channels {
            let (all, most) = (
                account.channel_came(),
                self.strict.limits.channels_per_account,
            );
            if all > most as u64 {
                let says = || {
                    let (all, most) = (grouped(all), grouped(most as u64));
                    format!("{all} channels of the account; the cloud service takes {most}")
                };
                self.note("channels", "", at, says);
            }
        }
        self.channels_counted = channels;
    }

    /// Checks an account's call rate in a region against the strict profile. Called for each authenticated call.
    pub(crate) fn on_call(&mut self, account: &Identity, operation: Operation, at: Moment) {
        let quotas = &self.strict.quotas;
        let used = (self.account_use.as_ref()).filter(|used| used.is_about(account));
        if used.is_none_or(|used| used.take(operation, quotas, at.now)) {
            return;
        }
        let rate = quotas
            .account_rate(operation)
            .map_or(0, |(_, rate)| rate.rate);
        let says = || {
            format!(
                "{} of the account faster than {rate} a second: the cloud service refuses it",
                operation.name()
            )
        };
        self.note("rate_account", "", at, says);
    }

    /// Checks how long a closed connection was open, and how long it had been silent by the time it closed.
    pub(crate) fn on_gone(&mut self, directory: &Directory, gone: &Gone, at: Moment) {
        let (ours, name) = (
            directory.settings(),
            name_of(directory, gone.member.channel),
        );
        if let Some(last_frame) = gone.last_frame {
            self.on_silence(ours, name, last_frame, at);
        }
        self.messages.remove(&gone.member.session);
        let Some(tally) = gone.tally.filter(|_| !name.is_empty()) else {
            return;
        };
        let ours = ours.timeouts.connection_age_ms;
        let most = self.strict.timeouts.connection_age_ms;
        let age = at.now.since(tally.opened);
        if (ours == 0 || ours > most) && age > most {
            let says = || {
                format!(
                    "a connection of {} s; the cloud service ends it after {} s",
                    grouped(age / 1000),
                    grouped(most / 1000)
                )
            };
            self.note("connection_age", name, at, says);
        }
    }

    /// Checks how long a connection was silent. Called when the connection sends something or after it has closed.
    fn on_silence(&mut self, ours: &Settings, name: &str, last_frame: Now, at: Moment) {
        let most = self.strict.timeouts.idle_ms;
        let silent = at.now.since(last_frame);
        if ours.timeouts.idle_ms > most && silent > most && !name.is_empty() {
            let says = || {
                format!(
                    "no frame of a connection for {} s; the cloud service ends it after {} s",
                    grouped(silent / 1000),
                    grouped(most / 1000)
                )
            };
            self.note("idle", name, at, says);
        }
    }

    /// Checks a valid message against the strict profile. `name` is the channel's name.
    pub(crate) fn on_message(
        &mut self,
        sockets: &mut Sockets,
        name: &str,
        transit: &InTransit<'_>,
        at: Moment,
    ) {
        let sender = sockets.session(transit.from).and_then(Session::open);
        if let Some(last_frame) = sender.map(WebSocket::last_frame) {
            self.on_silence(sockets.settings(), name, last_frame, at);
        }
        let action = transit.launch.action;
        let payload = transit.delivery.payload;
        let most = self.strict.limits.payload_bytes;
        if payload.len() > most {
            let says = || {
                let (length, most) = (grouped(payload.len() as u64), grouped(most as u64));
                format!(
                    "{} of {length} characters; the cloud service takes {most}",
                    action.as_str()
                )
            };
            self.note("payload_over_10240", name, at, says);
        }
        if action == Action::SdpOffer && transit.delivery.sender.is_none() {
            let says = "an SDP_OFFER of a master; the cloud service takes offers of viewers only";
            self.note("master_offer", name, at, || says.into());
        }
        // If quotas are off, nothing else uses the session's own buckets.
        let lends = sockets.settings().quotas.off;
        let buckets = match sockets.web_socket(transit.from).filter(|_| lends) {
            Some(web_socket) => &mut web_socket.rates,
            None => self.messages.entry(transit.from).or_default(),
        };
        let is_allowed = buckets.take(action, &self.strict.quotas, at.now);
        if is_allowed {
            return;
        }
        let quotas = &self.strict.quotas;
        let (rule, rate) = match action {
            Action::SdpOffer => ("rate_offer", quotas.sdp.rate),
            Action::SdpAnswer => ("rate_answer", quotas.sdp.rate),
            Action::IceCandidate => ("rate_candidate", quotas.ice.rate),
        };
        let says = || {
            let action = action.as_str();
            format!(
                "{action} of one connection faster than {rate} a second: the cloud service refuses it"
            )
        };
        self.note(rule, name, at, says);
    }

    /// Checks an admitted connection against the strict profile.
    pub(crate) fn on_join(&mut self, directory: &Directory, joined: &WebSocket, at: Moment) {
        let (key, what) = match joined.role {
            Role::Master => (joined.channel, Metered::ConnectAsMaster),
            Role::Viewer(_) => (joined.channel, Metered::ConnectAsViewer),
        };
        self.on_metered(directory, key, what, at);
        let Some(channel) = directory.channel(key) else {
            return;
        };
        let most = self.strict.limits.viewers_per_channel;
        let viewers = channel.live().map_or(0, |live| live.members.viewers());
        if viewers > most {
            let says =
                || format!("{viewers} viewers of one channel; the cloud service takes {most}");
            self.note("viewers", channel.record.arn.name(), at, says);
        }
    }

    /// Records that a connection without a client id has replaced the connected master of the channel `name`.
    pub(crate) fn on_unnamed(&mut self, name: &str, at: Moment) {
        let says =
            "connected as master: no X-Amz-ClientId; it took the place of a connected master";
        self.note("master_without_client_id", name, at, || says.into());
    }

    /// Checks an authorized query against the strict profile.
    pub(crate) fn on_query(&mut self, directory: &Directory, query: &Query, at: Moment) {
        if let Some(key) = directory.channel_of(&query.kind) {
            self.on_metered(directory, key, query.metered(), at);
        }
    }

    /// Checks the rate of upgrades or calls to a channel against the strict profile.
    fn on_metered(&mut self, directory: &Directory, key: ChannelKey, what: Metered, at: Moment) {
        let (Some(rate), Some(channel)) = (what.rate(&self.strict.quotas), directory.channel(key))
        else {
            return;
        };
        if self.channels.len() >= PARITY_BUCKETS_MAX {
            self.channels.clear(); // clearing loses findings, but never adds any
        }
        let buckets = self.channels.entry(key).or_default();
        let shared = RateKey { what, caller: None };
        if buckets.take(shared, &self.strict.quotas, at.now) {
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
        self.note(rule, channel.record.arn.name(), at, says);
    }
}

/// Checks a signature that this server accepts without verifying it. If a production server would refuse the request,
/// logs a notice, once per key and check. `body` is the body of a call, or `None` for an upgrade.
pub(crate) fn on_signed(
    shard: &mut State,
    key: SessionKey,
    head: &Head<'_>,
    purpose: Purpose,
    body: Option<&[u8]>,
) {
    let Some((own, _, _, cx)) = shard.interposed() else {
        return;
    };
    let Some(signatures) = &mut own.signatures else {
        return;
    };
    let Some(WouldRefuse { check, reason }) = signatures.look(head, body, cx.at) else {
        return;
    };
    let evidence = Evidence::of_head(key, purpose, head);
    let claimed = evidence.claimed();
    let key_id = claimed.key_id.as_deref().unwrap_or_default();
    let noted = signatures.noted.as_deref();
    if !noted.is_none_or(|noted| noted.is_first(key_id, check, cx.at.now)) {
        return;
    }
    let says = reason.map_or_else(|| check.says().to_owned(), |signed| signed.to_string());
    let says = format!("refused without --dev: {says}");
    let noticed = Refusal::noticed(check, Some(says.into()));
    let id = cx.telemetry.refusal_id(&noticed, purpose, cx.at.wall);
    let id = Some(&*id);
    responses::note(shard, &Evidence { id, ..evidence }, &noticed);
}

/// Checks the signature of a call whose body has been received in full.
pub(crate) fn on_body(shard: &mut State, key: SessionKey, body: &[u8]) {
    let (sockets, _, _, gate) = shard.parts();
    let Some(HttpStage::AwaitBody(awaited)) = sockets.http(key).map(|http| &http.stage) else {
        return;
    };
    let (Target::Api(_), Some(text)) = (awaited.target, awaited.head.clone()) else {
        return;
    };
    let purpose = awaited.target.purpose();
    if let Some(head) = gate.reread(&text) {
        on_signed(shard, key, &head, purpose, Some(body));
    }
}

// Copies of messages for client tests, made only under `--dev`.

/// The parts of a message that are copied. The channel's name is passed separately.
pub(crate) struct CopySource<'a> {
    pub(crate) towards: Option<Towards>,
    pub(crate) viewer: &'a str,
    pub(crate) action: Option<Action>,
    pub(crate) payload: &'a [u8],
    pub(crate) fate: Fate,
}

impl Interposer {
    /// Copies a message and passes the copy to tests, if copies are enabled. `channel` is the channel's name.
    pub(crate) fn take_copy(&mut self, source: &CopySource<'_>, channel: &str, at: Moment) {
        let copy = || Captured {
            at: at.wall,
            channel: channel.into(),
            towards: source.towards,
            viewer: source.viewer.into(),
            action: source.action,
            payload: base64::text(source.payload).into(),
            fate: source.fate,
        };
        if let Some(copies) = &mut self.copies {
            copies.take(copy, at);
        }
    }

    /// Passes a copy of a message to tests, together with how the message was handled. `channel` is the channel's name.
    pub(crate) fn copy(&mut self, transit: &InTransit<'_>, channel: &str, fate: Fate, at: Moment) {
        let (towards, viewer) = match transit.delivery.sender {
            Some(viewer) => (Towards::Master, viewer),
            None => (Towards::Viewer, transit.recipient),
        };
        let source = CopySource {
            towards: Some(towards),
            viewer,
            action: Some(transit.launch.action),
            payload: transit.delivery.payload,
            fate,
        };
        self.take_copy(&source, channel, at);
    }
}

/// Passes a copy of a refused message to tests. `request` is the message if its sender has exceeded the rate limit, or
/// `None` if the message was invalid.
pub(crate) fn copy_refused(shard: &mut State, from: SessionKey, request: Option<&Request<'_>>) {
    let Some((own, sockets, directory, cx)) = shard.interposed() else {
        return;
    };
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
    own.take_copy(&source, name_of(directory, web_socket.channel), cx.at);
}

/// Copy of an Alexa call's offer that is about to be queued. Also contains the position of the same sender's pending
/// call, if any.
pub(crate) struct OfferCopy {
    identity: Identity,
    sender: Box<str>,
    payload: Box<str>,
    older: Option<u64>,
}

impl OfferCopy {
    /// Returns a copy of the offer in a query, if any.
    pub(crate) fn of(directory: &Directory, kind: &QueryKind) -> Option<Self> {
        let QueryKind::Offer {
            identity,
            arn: _,
            sender,
            payload,
        } = kind
        else {
            return None;
        };
        Some(Self {
            identity: identity.clone(),
            sender: sender.clone(),
            payload: payload.clone(),
            older: waiting(directory, identity, sender),
        })
    }

    /// Passes the copy of the offer to tests if the call was queued.
    pub(crate) fn take(self, own: &mut Interposer, directory: &Directory, at: Moment) {
        let waits = waiting(directory, &self.identity, &self.sender);
        if waits.is_none() || waits == self.older {
            return;
        }
        let channel = directory.key_of(&self.identity);
        let live = channel.and_then(|key| directory.live(key));
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
        own.take_copy(&source, self.identity.name(), at);
    }
}

/// Returns the position of a sender's pending call in the channel's order of acceptance.
fn waiting(directory: &Directory, identity: &Identity, sender: &str) -> Option<u64> {
    let channel = directory.channel(directory.key_of(identity)?)?;
    channel.live()?.calls.of(sender).map(|call| call.order)
}
