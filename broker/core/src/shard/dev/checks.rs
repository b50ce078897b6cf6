//! The checks that findings come from: what the strict profile would have refused, under `--dev` only.

use crate::channel::Channel;
use crate::channel::rates::Metered;
use crate::id::{ChannelKey, Identity};
use crate::journal::words::grouped;
use crate::limits::PARITY_BUCKETS_MAX;
use crate::session::Session;
use crate::session::web_socket::{Role, WebSocket};
use crate::shard::Query;
use crate::shard::dev::account_use::AccountUse;
use crate::shard::dev::parity::rate_rule;
use crate::shard::directory::Directory;
use crate::shard::road::passing::Passing;
use crate::shard::sockets::Sockets;
use crate::shard::todo::Gone;
use crate::time::{Moment, Now};
use codec::control::Operation;
use codec::signal::Action;
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
        .map_or(0, |rate| rate.rate);
    let says = || {
        format!(
            "{} of the account faster than {rate} a second: the cloud service refuses it",
            operation.name()
        )
    };
    parity.note("rate_account", "", at, says);
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
    passing: &Passing<'_>,
    at: Moment,
) {
    let sender = sockets.session(passing.from).and_then(Session::open);
    if let Some(last_frame) = sender.map(WebSocket::last_frame) {
        on_silence(sockets, directory, passing.channel, last_frame, at);
    }
    let Some(parity) = sockets.dev_mut().parity.as_deref_mut() else {
        return;
    };
    // Looked up for a finding only.
    let name = || {
        let channel = directory.channel(passing.channel);
        channel.map_or("", |channel| channel.record.arn.name())
    };
    let action = passing.launch.action;
    let payload = passing.delivery.payload;
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
    if action == Action::SdpOffer && passing.delivery.sender.is_none() {
        let says = "an SDP_OFFER of a master; the cloud service takes offers of viewers only";
        parity.note("master_offer", name(), at, || says.into());
    }
    let rate = match action {
        Action::SdpOffer | Action::SdpAnswer => parity.strict.quotas.sdp,
        Action::IceCandidate => parity.strict.quotas.ice,
    };
    // Without quotas the session's own buckets are free.
    let lends = sockets.settings().quotas.off;
    let own = sockets.web_socket(passing.from).filter(|_| lends);
    let mut own = own.map(|it| std::mem::take(&mut it.rates));
    let Some(parity) = sockets.dev_mut().parity.as_deref_mut() else {
        return;
    };
    let buckets = match &mut own {
        Some(own) => own,
        None => parity.messages.entry(passing.from).or_default(),
    };
    let is_allowed = buckets.take(action, &parity.strict.quotas, at.now);
    if !is_allowed && !parity.floods(passing.channel, action) {
        let says = || {
            let (action, rate) = (action.as_str(), rate.rate);
            format!(
                "{action} of one connection faster than {rate} a second: the cloud service refuses it"
            )
        };
        parity.note(rate_rule(action), name(), at, says);
        parity.begin_flood(passing.channel, name(), action);
    }
    if let (Some(own), Some(web_socket)) = (own, sockets.web_socket(passing.from)) {
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
