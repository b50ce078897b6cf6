//! Findings of what the strict profile would have refused, for tests while it is not enforced: under `--dev` only.
//!
//! The numbers are those of the table of settings, under the strict profile, and the buckets are those that enforce
//! them elsewhere. A client that passes its tests without a finding keeps the limits that AWS documents.

use crate::channel::Channel;
use crate::channel::rates::Rates;
use crate::id::{ChannelKey, Identity, SessionKey};
use crate::limits::{FINDINGS_MAX, PARITY_BUCKETS_MAX};
use crate::session::rates::MessageRates;
use crate::settings::{Profile, Settings, channels_per_account_strict};
use crate::shard::dev::account_use::AccountUse;
use crate::time::{Moment, Wall};
use ahash::RandomState;
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
    /// The number of times.
    pub count: u64,
    /// When first.
    pub first: Wall,
    /// The first occurrence, and the limit that it passes.
    pub says: Box<str>,
}

/// The findings of a shard, and the buckets that they come from.
#[derive(Debug)]
pub(crate) struct Parity {
    pub(crate) strict: Settings,
    /// By the name of the channel, of each rule one.
    pub(crate) found: HashMap<Box<str>, Vec<Finding>, RandomState>,
    /// Of sessions, where they have buckets for quotas that are enforced.
    pub(crate) messages: HashMap<SessionKey, MessageRates, RandomState>,
    pub(crate) channels: HashMap<ChannelKey, Rates, RandomState>,
    floods: HashMap<ChannelKey, Flood, RandomState>,
    /// Shared with the other shards, where there are any.
    pub(crate) account_use: Option<Arc<AccountUse>>,
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
    pub(crate) fn new(
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
    pub(crate) fn note(
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
    pub(crate) fn floods(&mut self, channel: ChannelKey, action: Action) -> bool {
        let counts = self.floods.get_mut(&channel).map(|flood| &mut flood.counts);
        let count = counts.and_then(|counts| counts.get_mut(action.index())?.as_mut());
        count.is_some_and(|count| {
            *count += 1;
            true
        })
    }

    /// From here on its messages of this action are counted by [`Self::floods`], if it has a finding of its own.
    pub(crate) fn begin_flood(&mut self, key: ChannelKey, channel: &str, action: Action) {
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
    pub(crate) fn findings(&mut self) -> Vec<Finding> {
        self.settle_floods();
        let mut found: Vec<Finding> = self.found.values().flatten().cloned().collect();
        found.sort_by(|one, other| (one.rule, &one.channel).cmp(&(other.rule, &other.channel)));
        found
    }

    /// Forgets those of channels whose names begin with this.
    pub(crate) fn forget(&mut self, prefix: &str) {
        self.found.retain(|channel, _| !channel.starts_with(prefix));
        self.floods
            .retain(|_, flood| !flood.channel.starts_with(prefix));
    }

    /// A connection is gone.
    pub(crate) fn forget_session(&mut self, key: SessionKey) {
        self.messages.remove(&key);
    }

    /// A channel is gone.
    pub(crate) fn channel_went(&self, channel: &Channel) {
        if let Some(account) = &self.account_use
            && account.is_about(&Identity::of(&channel.record.arn))
        {
            account.channel_went();
        }
    }
}

/// The rule of messages of one connection that come too fast.
pub(crate) fn rate_rule(action: Action) -> &'static str {
    match action {
        Action::SdpOffer => "rate_offer",
        Action::SdpAnswer => "rate_answer",
        Action::IceCandidate => "rate_candidate",
    }
}

#[cfg(test)]
mod tests;
