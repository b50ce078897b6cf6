//! What the strict profile would have refused, noted for tests while it is not enforced: under `--dev` only.
//!
//! The numbers are those of the table of settings, under the strict profile, and the buckets are those that enforce
//! them elsewhere. A client that passes its tests without a finding keeps the limits that AWS documents.

use super::account_use::AccountUse;
use crate::channel::{Channel, Metered, Rates};
use crate::id::{ChannelKey, Identity, SessionKey};
use crate::limits::{FINDINGS_MAX, PARITY_BUCKETS_MAX};
use crate::session::{MessageRates, Role, Session};
use crate::settings::{Profile, Settings, channels_per_account_strict};
use crate::shard::Query;
use crate::shard::directory::Directory;
use crate::shard::directory::accounts::account_rate;
use crate::shard::road::relay::Passing;
use crate::shard::sockets::Sockets;
use crate::time::{Moment, Wall};
use ahash::RandomState;
use codec::control::Operation;
use codec::signal::Action;
use std::collections::HashMap;
use std::sync::Arc;

/// Something that the strict profile would have refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The rule that it breaks.
    pub rule: &'static str,
    /// The channel's name; empty where there are too many channels with findings.
    pub channel: Box<str>,
    /// How often.
    pub count: u64,
    /// When first.
    pub first: Wall,
    /// What happened first, and what would have been allowed.
    pub says: Box<str>,
}

/// The findings of a shard, and the buckets that they come from.
#[derive(Debug)]
pub(in crate::shard) struct Parity {
    strict: Settings,
    /// By the name of the channel, of each rule one.
    found: HashMap<Box<str>, Vec<Finding>, RandomState>,
    /// Of sessions, where they have buckets for quotas that are enforced.
    messages: HashMap<SessionKey, MessageRates, RandomState>,
    channels: HashMap<ChannelKey, Rates, RandomState>,
    floods: HashMap<ChannelKey, Flood, RandomState>,
    /// Shared with the other shards, where there are any.
    account_use: Option<Arc<AccountUse>>,
}

/// Messages of a channel that came too fast, counted by action beside its findings, where finding the finding would
/// cost each of them more than all the rest.
#[derive(Debug)]
struct Flood {
    channel: Box<str>,
    /// `None` while there is no finding to add them to.
    counts: [Option<u64>; Action::ALL.len()],
}

impl Parity {
    /// Of a server in this region.
    pub(in crate::shard) fn new(
        region: &str,
        hasher: &RandomState,
        account_use: Option<Arc<AccountUse>>,
    ) -> Self {
        let mut strict = Settings::new(Profile::Strict, true);
        strict.limits.channels_per_account = channels_per_account_strict(region);
        Self {
            strict,
            account_use,
            found: HashMap::with_hasher(hasher.clone()),
            messages: HashMap::with_hasher(hasher.clone()),
            channels: HashMap::with_hasher(hasher.clone()),
            floods: HashMap::with_hasher(hasher.clone()),
        }
    }

    /// Counts a finding. A client under load breaks a rule with each of its messages: only the first one costs text.
    fn note(
        &mut self,
        rule: &'static str,
        channel: &str,
        at: Moment,
        says: impl FnOnce() -> String,
    ) {
        if self.count(rule, channel) {
            return;
        }
        let kept: usize = self.found.values().map(Vec::len).sum();
        let channel = if kept < FINDINGS_MAX { channel } else { "" };
        if self.count(rule, channel) {
            return;
        }
        self.found.entry(channel.into()).or_default().push(Finding {
            rule,
            channel: channel.into(),
            count: 1,
            first: at.wall,
            says: says().into(),
        });
    }

    /// Whether there is such a finding, which is counted then.
    fn count(&mut self, rule: &'static str, channel: &str) -> bool {
        let of_channel = self.found.get_mut(channel);
        let known = of_channel.and_then(|all| all.iter_mut().find(|finding| finding.rule == rule));
        known.is_some_and(|finding| {
            finding.count += 1;
            true
        })
    }

    /// Counts a message that came too fast; false where it is the first one of its channel and action.
    fn floods(&mut self, channel: ChannelKey, action: Action) -> bool {
        let counts = self.floods.get_mut(&channel).map(|flood| &mut flood.counts);
        let count = counts.and_then(|counts| counts.get_mut(action.index())?.as_mut());
        count.is_some_and(|count| {
            *count += 1;
            true
        })
    }

    /// From here on its messages of this action are counted by [`Self::floods`], if it has a finding of its own.
    fn begin_flood(&mut self, key: ChannelKey, channel: &str, action: Action) {
        let rule = rate_rule(action);
        let mut all = self.found.get(channel).into_iter().flatten();
        if !all.any(|finding| finding.rule == rule) {
            return;
        }
        if self.floods.len() >= PARITY_BUCKETS_MAX {
            self.settle_floods();
        }
        let flood = self.floods.entry(key).or_insert_with(|| Flood {
            channel: channel.into(),
            counts: Default::default(),
        });
        if let Some(count) = flood.counts.get_mut(action.index()) {
            *count = Some(0);
        }
    }

    /// Adds what was counted beside the findings to them.
    fn settle_floods(&mut self) {
        let found = &mut self.found;
        self.floods.retain(|_, flood| {
            for finding in found.get_mut(&flood.channel).into_iter().flatten() {
                let mut actions = Action::ALL.into_iter();
                let action = actions.find(|action| rate_rule(*action) == finding.rule);
                let count = action.and_then(|action| *flood.counts.get(action.index())?);
                finding.count += count.unwrap_or_default();
            }
            false
        });
    }

    /// The findings so far, by rule and channel.
    pub(in crate::shard) fn findings(&mut self) -> Vec<Finding> {
        self.settle_floods();
        let mut found: Vec<Finding> = self.found.values().flatten().cloned().collect();
        found.sort_by(|one, other| (one.rule, &one.channel).cmp(&(other.rule, &other.channel)));
        found
    }

    /// Forgets those of channels whose names begin with this.
    pub(in crate::shard) fn forget(&mut self, prefix: &str) {
        self.found.retain(|channel, _| !channel.starts_with(prefix));
        self.floods
            .retain(|_, flood| !flood.channel.starts_with(prefix));
    }

    /// A connection is gone.
    pub(in crate::shard) fn forget_session(&mut self, key: SessionKey) {
        self.messages.remove(&key);
    }

    /// A channel is gone.
    pub(in crate::shard) fn channel_went(&self, channel: &Channel) {
        if let Some(account) = &self.account_use
            && account.is_about(&Identity::of(&channel.record.arn))
        {
            account.channel_went();
        }
    }
}

/// A channel is there.
pub(in crate::shard) fn on_channel(
    sockets: &mut Sockets,
    directory: &Directory,
    key: ChannelKey,
    at: Moment,
) {
    let (Some(parity), Some(channel)) = (
        sockets.dev.parity.as_deref_mut(),
        directory.channels.get(key),
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
pub(in crate::shard) fn on_call(
    sockets: &mut Sockets,
    account: &Identity,
    operation: Operation,
    at: Moment,
) {
    let Some(parity) = sockets.dev.parity.as_deref_mut() else {
        return;
    };
    let used = (parity.account_use.as_ref()).filter(|used| used.is_about(account));
    if used.is_none_or(|used| used.take(operation, &parity.strict.quotas, at.now)) {
        return;
    }
    let rate = account_rate(&parity.strict.quotas, operation).map_or(0, |rate| rate.rate);
    let says = || {
        format!(
            "{} of the account faster than {rate} a second: the cloud service refuses it",
            operation.name()
        )
    };
    parity.note("rate_account", "", at, says);
}

/// A connection is gone, or is silent no more: how long it was there, and silent.
pub(in crate::shard) fn on_gone(
    sockets: &mut Sockets,
    directory: &Directory,
    session: SessionKey,
    at: Moment,
) {
    on_silence(sockets, directory, session, at);
    let Some(parity) = sockets.dev.parity.as_deref_mut() else {
        return;
    };
    let Some(session) = sockets.sessions.get_mut(session) else {
        return;
    };
    let channel = session
        .channel()
        .and_then(|key| directory.channels.get(key));
    let (Some(channel), Some(tally)) = (channel, session.tally_mut()) else {
        return;
    };
    let (ours, most) = (
        sockets.settings.timeouts.connection_age_ms,
        parity.strict.timeouts.connection_age_ms,
    );
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

/// A connection has sent something, or is gone: how long it was silent.
fn on_silence(sockets: &mut Sockets, directory: &Directory, session: SessionKey, at: Moment) {
    let Some(parity) = sockets.dev.parity.as_deref_mut() else {
        return;
    };
    let (ours, most) = (
        sockets.settings.timeouts.idle_ms,
        parity.strict.timeouts.idle_ms,
    );
    let Some(web_socket) = sockets.sessions.get(session).and_then(Session::open) else {
        return;
    };
    let silent = at.now.since(web_socket.last_frame());
    if ours <= most || silent <= most {
        return;
    }
    if let Some(channel) = directory.channels.get(web_socket.channel) {
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
pub(in crate::shard) fn on_message(
    sockets: &mut Sockets,
    directory: &Directory,
    passing: &Passing<'_>,
    at: Moment,
) {
    on_silence(sockets, directory, passing.from, at);
    let (Some(parity), Some(channel)) = (
        sockets.dev.parity.as_deref_mut(),
        directory.channels.get(passing.channel),
    ) else {
        return;
    };
    let (name, action) = (channel.record.arn.name(), passing.launch.action);
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
        parity.note("payload_over_10240", name, at, says);
    }
    if action == Action::SdpOffer && passing.delivery.sender.is_none() {
        let says = "an SDP_OFFER of a master; the cloud service takes offers of viewers only";
        parity.note("master_offer", name, at, || says.into());
    }
    let rate = match action {
        Action::SdpOffer | Action::SdpAnswer => parity.strict.quotas.sdp,
        Action::IceCandidate => parity.strict.quotas.ice,
    };
    // Where no quotas are enforced, the session's own buckets are free.
    let own = sockets.sessions.get_mut(passing.from);
    let own = own.and_then(Session::open_mut).map(|it| &mut it.rates);
    let buckets = match own.filter(|_| sockets.settings.quotas.off) {
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
        parity.note(rate_rule(action), name, at, says);
        parity.begin_flood(passing.channel, name, action);
    }
}

/// The rule of messages of one connection that come too fast.
fn rate_rule(action: Action) -> &'static str {
    match action {
        Action::SdpOffer => "rate_offer",
        Action::SdpAnswer => "rate_answer",
        Action::IceCandidate => "rate_candidate",
    }
}

/// A connection that was admitted.
pub(in crate::shard) fn on_join(
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
        sockets.dev.parity.as_deref_mut(),
        directory.channels.get(key),
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
pub(in crate::shard) fn on_query(
    sockets: &mut Sockets,
    directory: &Directory,
    query: &Query,
    at: Moment,
) {
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
        sockets.dev.parity.as_deref_mut(),
        directory.channels.get(key),
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

/// `13,014`.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests;
