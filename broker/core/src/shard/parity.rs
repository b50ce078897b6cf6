//! What the strict profile would have refused, noted for tests while it is not enforced: under `--dev` only.
//!
//! The numbers are those of the table of settings, under the strict profile, and the buckets are those that enforce
//! them elsewhere. A client that passes its tests without a finding keeps the limits that AWS documents.

use super::directory::Directory;
use super::relay::Passing;
use super::sockets::Sockets;
use crate::channel::{Metered, Rates};
use crate::id::{ChannelKey, SessionKey};
use crate::limits::{FINDINGS_MAX, PARITY_BUCKETS_MAX};
use crate::session::{MessageRates, Role};
use crate::settings::{Profile, Settings};
use crate::time::{Moment, Wall};
use codec::signal::Action;
use std::collections::BTreeMap;

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
pub(super) struct Parity {
    strict: Settings,
    found: BTreeMap<(&'static str, Box<str>), Finding>,
    messages: BTreeMap<SessionKey, MessageRates>,
    channels: BTreeMap<ChannelKey, Rates>,
}

impl Default for Parity {
    fn default() -> Self {
        Self {
            strict: Settings::new(Profile::Strict, true),
            found: BTreeMap::new(),
            messages: BTreeMap::new(),
            channels: BTreeMap::new(),
        }
    }
}

impl Parity {
    fn note(&mut self, rule: &'static str, channel: &str, at: Moment, says: String) {
        let room = self.found.len() < FINDINGS_MAX;
        let known = self.found.contains_key(&(rule, channel.into()));
        let channel: Box<str> = if known || room { channel } else { "" }.into();
        let finding = self.found.entry((rule, channel.clone()));
        let finding = finding.or_insert_with(|| Finding {
            rule,
            channel,
            count: 0,
            first: at.wall,
            says: says.into(),
        });
        finding.count += 1;
    }

    /// The findings so far.
    pub(super) fn findings(&self) -> Vec<Finding> {
        self.found.values().cloned().collect()
    }

    /// Forgets those of channels whose names begin with this.
    pub(super) fn forget(&mut self, prefix: &str) {
        self.found
            .retain(|(_, channel), _| !channel.starts_with(prefix));
    }

    /// A connection is gone.
    pub(super) fn forget_session(&mut self, key: SessionKey) {
        self.messages.remove(&key);
    }
}

/// A message that was understood.
#[cold]
pub(super) fn on_message(
    sockets: &mut Sockets,
    directory: &Directory,
    passing: &Passing<'_>,
    at: Moment,
) {
    let (Some(parity), Some(channel)) = (
        sockets.parity.as_deref_mut(),
        directory.channels.get(passing.channel),
    ) else {
        return;
    };
    let (name, action) = (channel.record.arn.name(), passing.launch.action);
    let payload = passing.delivery.payload;
    let most = parity.strict.limits.payload_bytes;
    if payload.len() > most {
        let (length, most) = (grouped(payload.len()), grouped(most));
        let says = format!(
            "{} of {length} characters; the cloud service takes {most}",
            action.as_str()
        );
        parity.note("payload_over_10240", name, at, says);
    }
    if action == Action::SdpOffer && passing.delivery.sender.is_none() {
        let says = "an SDP_OFFER of a master; the cloud service takes offers of viewers only";
        parity.note("master_offer", name, at, says.into());
    }
    let (rule, rate) = match action {
        Action::SdpOffer => ("rate_offer", parity.strict.quotas.sdp),
        Action::SdpAnswer => ("rate_answer", parity.strict.quotas.sdp),
        Action::IceCandidate => ("rate_candidate", parity.strict.quotas.ice),
    };
    let buckets = parity.messages.entry(passing.from).or_default();
    if !buckets.take(action, &parity.strict.quotas, at.now) {
        let (action, rate) = (action.as_str(), rate.rate);
        let says = format!(
            "{action} of one connection faster than {rate} a second: the cloud service refuses it"
        );
        parity.note(rule, name, at, says);
    }
}

/// A connection that was admitted.
pub(super) fn on_join(
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
    let (Some(parity), Some(channel)) =
        (sockets.parity.as_deref_mut(), directory.channels.get(key))
    else {
        return;
    };
    let most = parity.strict.limits.viewers_per_channel;
    let viewers = channel.live().map_or(0, |live| live.members.viewers());
    if viewers > most {
        let says = format!("{viewers} viewers of one channel; the cloud service takes {most}");
        parity.note("viewers", channel.record.arn.name(), at, says);
    }
}

/// A connect or call that the strict profile counts for its channel.
pub(super) fn on_metered(
    sockets: &mut Sockets,
    directory: &Directory,
    key: ChannelKey,
    what: Metered,
    at: Moment,
) {
    let (Some(parity), Some(channel)) =
        (sockets.parity.as_deref_mut(), directory.channels.get(key))
    else {
        return;
    };
    let Some(rate) = what.rate(&parity.strict.quotas) else {
        return;
    };
    if parity.channels.len() >= PARITY_BUCKETS_MAX {
        parity.channels.clear(); // full ones would have been forgotten anyway; others find too little, never too much
    }
    let buckets = parity.channels.entry(key).or_default();
    if buckets.take(what, &parity.strict.quotas, at.now) {
        return;
    }
    let (rule, call) = match what {
        Metered::ConnectAsMaster => ("rate_connect_master", "connects of masters"),
        Metered::ConnectAsViewer => ("rate_connect_viewer", "connects of viewers"),
        Metered::Call(operation) => ("rate_call", operation.name()),
    };
    let says = format!(
        "{call} of one channel faster than {} a second: the cloud service refuses it",
        rate.rate
    );
    parity.note(rule, channel.record.arn.name(), at, says);
}

/// `13,014`.
fn grouped(number: usize) -> String {
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
mod tests {
    use super::*;

    #[test]
    fn findings_have_a_bound_and_are_forgotten_by_prefix() {
        let mut parity = Parity::default();
        for number in 0..FINDINGS_MAX + 5 {
            parity.note(
                "viewers",
                &format!("c{number}"),
                Moment::default(),
                String::new(),
            );
        }
        parity.note("viewers", "c0", Moment::default(), String::new());
        let found = parity.findings();
        assert_eq!(
            found.len(),
            FINDINGS_MAX + 1,
            "and one for all further channels"
        );
        let count = |channel: &str| {
            found
                .iter()
                .find(|it| &*it.channel == channel)
                .map(|it| it.count)
        };
        assert_eq!((count("c0"), count("")), (Some(2), Some(5)));
        parity.forget("c");
        assert_eq!(parity.findings().len(), 1);
    }

    #[test]
    fn the_rule_of_payloads_is_named_for_the_number_of_the_table() {
        assert_eq!(Parity::default().strict.limits.payload_bytes, 10_240);
        assert_eq!(
            (grouped(13_014), grouped(999)),
            ("13,014".into(), "999".into())
        );
    }
}
