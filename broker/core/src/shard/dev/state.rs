//! The interposer's state: the findings, the API usage of the server's account, and the receiver of message copies.

use crate::channel::rates::Rates;
use crate::channel::{Route, Towards};
use crate::check::Check;
use crate::id::{ChannelKey, Identity, SessionKey};
use crate::limits::{
    CAPTURES_PER_SECOND_MAX, DEV_SIGNATURES_NOTED_MAX, DEV_SIGNATURES_PER_HOUR_MAX, FINDINGS_MAX,
};
use crate::quota::SharedBucket;
use crate::session::web_socket::MessageRates;
use crate::settings::{Profile, Quotas, Settings, channels_per_account_strict};
use crate::shard::dev::injected::InjectedFaults;
use crate::shard::dev::signatures::Signatures;
use crate::shard::{Directory, Sockets};
use crate::time::{Moment, Now, Wall};
use ahash::RandomState;
use codec::{control::Operation, signal::Action};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The part of a shard's initial state that exists only with `--dev`.
#[derive(Default)]
pub struct StartDev {
    /// Receives copies of messages, or `None` if no test has requested them.
    pub copies: Option<Box<dyn Capture>>,
    /// API usage and channel count of the server's account, shared by all shards.
    pub account_use: Option<Arc<AccountUse>>,
}

/// Shard state that exists only with `--dev`.
pub(crate) struct Interposer {
    pub(crate) faults: InjectedFaults,
    /// Checks signatures, or `None` if the server already verifies them itself.
    pub(crate) signatures: Option<Signatures>,
    /// Collects findings, or `None` if the server enforces the strict profile.
    pub(crate) parity: Option<Parity>,
    /// Passes copies of messages to tests, or `None` if no test has requested them.
    pub(crate) copies: Option<Copies>,
}

impl Interposer {
    /// Creates a shard's interposer, given the shard's channels. Returns `None` without `--dev`.
    pub(crate) fn begin(of: &Directory, dev: StartDev, hasher: &RandomState) -> Option<Box<Self>> {
        let settings = of.settings();
        if !settings.dev {
            return None;
        }
        let mut interposer = Self {
            faults: InjectedFaults::default(),
            signatures: Signatures::of(settings, dev.account_use.as_ref()),
            parity: (!settings.strict())
                .then(|| Parity::new(&settings.region, hasher, dev.account_use)),
            copies: dev.copies.map(Copies::new),
        };
        interposer.observe(|it| it.count_channels(of, Moment::default()));
        Some(Box::new(interposer))
    }

    /// Calls `see` with the findings collector, if there is one.
    pub(crate) fn observe(&mut self, see: impl FnOnce(&mut Parity)) {
        if let Some(parity) = &mut self.parity {
            see(parity);
        }
    }

    /// Removes a connection from all faults. Called when it has closed or faults no longer affect it.
    pub(crate) fn forget(&mut self, sockets: &mut Sockets, key: SessionKey) {
        self.faults.held.forget(key);
        sockets.half_open(key, false);
        sockets.show(key);
    }
}

// Findings are requests that the strict profile would have refused. They are collected under `--dev` for tests that do
// not enable the strict profile.
//
// The limits come from the strict profile in the settings table, and the buckets have the type that enforces limits
// elsewhere. If a client's tests produce no finding, the client stays within the limits documented by AWS.

/// A violation of the strict profile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StrictFinding {
    /// The name of the violated rule.
    pub rule: &'static str,
    /// The channel's name. Empty if too many channels have findings.
    pub channel: Box<str>,
    /// How often the rule was violated.
    pub count: u64,
    /// When the rule was first violated.
    pub first: Wall,
    /// Describes the first violation, including the limit that was exceeded.
    pub says: Box<str>,
}

/// A shard's findings, and the rate buckets that detect violations.
#[derive(Debug)]
pub(crate) struct Parity {
    pub(crate) strict: Settings,
    /// Findings by channel name. Each channel has at most one per rule.
    pub(crate) found: HashMap<Box<str>, Vec<StrictFinding>, RandomState>,
    /// The sessions' message rate buckets. Used only if quotas are enforced, since otherwise the buckets in the
    /// sessions serve the same purpose.
    pub(crate) messages: HashMap<SessionKey, MessageRates, RandomState>,
    pub(crate) channels: HashMap<ChannelKey, Rates, RandomState>,
    /// API usage and channel count of the server's account, shared with the other shards.
    pub(crate) account_use: Option<Arc<AccountUse>>,
    /// Number of this shard's channels that are included in the account's channel count.
    pub(crate) channels_counted: u64,
}

impl Parity {
    /// Creates the state for a server in this region, with no findings.
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
            channels_counted: 0,
            found: HashMap::with_hasher(hasher.clone()),
            messages: HashMap::with_hasher(hasher.clone()),
            channels: HashMap::with_hasher(hasher.clone()),
        }
    }

    /// Counts a violation. The description is formatted only for a rule's first violation, because a client under load
    /// may violate the rule with every message.
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
        self.found
            .entry(channel.into())
            .or_default()
            .push(StrictFinding {
                rule,
                channel: channel.into(),
                count: 1,
                first: at.wall,
                says: says().into(),
            });
    }

    /// Counts another violation of a rule on a channel. Returns `false` if the channel has no finding for this rule
    /// yet.
    fn count(&mut self, rule: &'static str, channel: &str) -> bool {
        let of_channel = self.found.get_mut(channel);
        let known = of_channel.and_then(|all| all.iter_mut().find(|finding| finding.rule == rule));
        known.is_some_and(|finding| {
            finding.count += 1;
            true
        })
    }

    /// Returns the findings so far, sorted by rule and channel.
    pub(crate) fn findings(&self) -> Vec<StrictFinding> {
        let mut found: Vec<StrictFinding> = self.found.values().flatten().cloned().collect();
        found.sort_by(|one, other| (one.rule, &one.channel).cmp(&(other.rule, &other.channel)));
        found
    }

    /// Discards the findings of channels whose names start with `prefix`.
    pub(crate) fn forget(&mut self, prefix: &str) {
        self.found.retain(|channel, _| !channel.starts_with(prefix));
    }
}

// The server account's usage across all shards, tracked for findings only under `--dev`. It is separate from the quotas
// that the strict profile enforces ([`crate::shard::directory::accounts`]).

/// API usage and channel count of one account in one region, shared by all shards. Other accounts are not tracked.
#[derive(Debug)]
pub struct AccountUse {
    /// Identity prefix shared by all of the account's channels.
    pub(crate) tenant: Box<str>,
    /// One rate bucket per operation.
    buckets: [SharedBucket; Operation::ALL.len()],
    channels: AtomicU64,
    /// Hashes of the reported signatures, each computed from the key and the check. A value of 0 marks an unused
    /// element. `signatures_of_hour` combines the current hour and the number of signatures reported in it.
    signatures: [AtomicU64; DEV_SIGNATURES_NOTED_MAX],
    signatures_of_hour: AtomicU64,
}

impl AccountUse {
    /// Creates the usage record of an account that has no channels.
    #[must_use]
    pub fn new(region: &str, account: &str) -> Self {
        Self {
            tenant: Identity::new(region, account, "").tenant().into(),
            buckets: Default::default(),
            channels: AtomicU64::new(0),
            signatures: [const { AtomicU64::new(0) }; DEV_SIGNATURES_NOTED_MAX],
            signatures_of_hour: AtomicU64::new(0),
        }
    }

    /// Returns whether a channel belongs to this account and region.
    pub(crate) fn is_about(&self, identity: &Identity) -> bool {
        identity.tenant() == &*self.tenant
    }

    /// Takes a token for a call from the operation's rate bucket. Returns `false` if the bucket is empty.
    pub(crate) fn take(&self, operation: Operation, quotas: &Quotas, now: Now) -> bool {
        let bucket = self.buckets.get(operation.index());
        let (Some((_, rate)), Some(bucket)) = (quotas.account_rate(operation), bucket) else {
            return true;
        };
        bucket.take(rate, now)
    }

    /// Returns whether to report a signature. Only the first one per key and check is reported, and only a limited
    /// number per hour.
    pub(crate) fn is_first(&self, key_id: &str, check: Check, now: Now) -> bool {
        let bytes = key_id.bytes().chain([0, check as u8]);
        let hash = bytes.fold(0xCBF2_9CE4_8422_2325u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3)
        });
        let order = Ordering::Relaxed;
        let hour = now.0 / HOUR_MS * (DEV_SIGNATURES_PER_HOUR_MAX + 1);
        let one_more = |so_far: u64| {
            let so_far = so_far.max(hour);
            (so_far < hour + DEV_SIGNATURES_PER_HOUR_MAX).then_some(so_far + 1)
        };
        let mut places = self.signatures.iter();
        let place = places.find(|place| {
            let taken = place.load(order);
            taken == hash || taken == 0
        });
        place.is_some_and(|place| {
            place.load(order) == 0
                && self
                    .signatures_of_hour
                    .fetch_update(order, order, one_more)
                    .is_ok()
                && place.swap(hash, order) == 0
        })
    }

    /// Counts a new channel. Returns the account's new number of channels.
    pub(crate) fn channel_came(&self) -> u64 {
        self.channels.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Counts a removed channel.
    pub(crate) fn channel_went(&self) {
        self.channels.fetch_sub(1, Ordering::Relaxed);
    }
}

// Copies of messages for client tests, made only under `--dev`. Production shards have no receiver for them.

/// Receives copies of messages. Implementations must not block. If there is no room for a copy, it is dropped and
/// counted.
pub trait Capture: Send {
    /// Receives a copy of a message that has been processed.
    fn take(&mut self, copy: Captured);

    /// Reports the number of messages that were not copied because the per-second limit was reached.
    fn missed(&mut self, messages: u64);
}

/// A copy of a message, and how the message was handled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Captured {
    /// When the message was received.
    pub at: Wall,
    /// The channel's name.
    pub channel: Box<str>,
    /// The message's direction, or `None` if the message was refused before its direction was known.
    pub towards: Option<Towards>,
    /// The viewer that sent the message or to which it is addressed. For a refused message, always the sender. Empty if
    /// the sender is a master.
    pub viewer: Box<str>,
    /// The message's action, or `None` if the message was malformed.
    pub action: Option<Action>,
    /// The payload as received, base64-encoded.
    pub payload: Box<str>,
    /// How the message was handled on arrival.
    pub fate: Fate,
}

/// How a message is handled on arrival.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Forwarded to its connected recipient.
    Delivered,
    /// Pending until its recipient connects.
    Kept,
    /// Dropped by a fault.
    Dropped,
    /// Made to expire by a fault.
    Expired,
    /// Addressed to an Alexa call or a player's call. The call either accepts it or has already ended.
    Call,
    /// Refused because it violates a rule, or by a fault.
    Refused,
    /// Refused because its sender has exceeded the rate limit.
    Throttled,
}

impl Fate {
    /// Returns how a message that takes this route is handled.
    pub(crate) const fn of(route: Route) -> Self {
        match route {
            Route::To(_) => Self::Delivered,
            Route::Keep(_) => Self::Kept,
            Route::AnswersCall | Route::ForCall => Self::Call,
        }
    }

    /// Returns the name used in `/dev/messages`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Kept => "kept",
            Self::Dropped => "dropped",
            Self::Expired => "expired",
            Self::Call => "call",
            Self::Refused => "refused",
            Self::Throttled => "throttled",
        }
    }
}

/// The receiver of a shard's copies, and a counter that limits copies per second.
pub(crate) struct Copies {
    to: Box<dyn Capture>,
    second: u64,
    taken: u32,
}

impl Copies {
    pub(crate) fn new(to: Box<dyn Capture>) -> Self {
        Self {
            to,
            second: 0,
            taken: 0,
        }
    }

    /// Returns whether another copy may be sent in the current second.
    fn has_room(&mut self, at: Moment) -> bool {
        let second = at.now.0 / 1000;
        if second != self.second {
            (self.second, self.taken) = (second, 0);
        }
        self.taken = self.taken.saturating_add(1);
        self.taken <= CAPTURES_PER_SECOND_MAX
    }

    /// Passes a copy to the receiver, unless this second's limit has been reached.
    pub(crate) fn take(&mut self, copy: impl FnOnce() -> Captured, at: Moment) {
        if self.has_room(at) {
            self.to.take(copy());
        } else {
            self.to.missed(1);
        }
    }
}

const HOUR_MS: u64 = 3_600_000;

#[cfg(test)]
mod account_use_tests {
    use super::*;
    use crate::settings::{Profile, Settings};

    #[test]
    fn shards_take_from_the_same_buckets() {
        let used = AccountUse::new("us-west-2", "123456789012");
        let quotas = Settings::new(Profile::Strict, false).quotas;
        let rate = quotas.account_list;
        let mut taken = 0;
        // The clock of the second shard is behind.
        for now in (0..).map(|number| Now(1_000 - 3 * (number % 2))) {
            if !used.take(Operation::ListSignalingChannels, &quotas, now) {
                break;
            }
            taken += 1;
        }
        assert_eq!(taken, rate.burst);
        assert!(used.take(Operation::DescribeSignalingChannel, &quotas, Now(1_000)));
        assert!(used.take(Operation::GetIceServerConfig, &quotas, Now(1_000)));
        let second = Now(1_000 + 1_000 / u64::from(rate.rate));
        assert!(used.take(Operation::ListSignalingChannels, &quotas, second));
    }

    #[test]
    fn a_signature_is_noted_once_by_key_and_check_and_sixteen_times_an_hour() {
        let used = AccountUse::new("us-west-2", "123456789012");
        let mismatch = Check::SignatureMismatch;
        let first = |key: &str, check, ms| used.is_first(key, check, Now(ms));
        assert!(first("one", mismatch, 0) && !first("one", mismatch, 1));
        assert!(first("one", Check::SignatureExpired, 1) && !first("one", mismatch, HOUR_MS));
        let more = |ms| {
            (0..40)
                .filter(|n| first(&format!("{ms}-{n}"), mismatch, ms))
                .count()
        };
        assert_eq!([more(2), more(3), more(HOUR_MS + 1)], [14, 0, 16]);
        let all: usize = (2..40).map(|hour| more(hour * HOUR_MS)).sum();
        assert_eq!(all, DEV_SIGNATURES_NOTED_MAX - 32);
    }

    #[test]
    fn channels_of_one_account_and_region_are_meant() {
        let used = AccountUse::new("us-west-2", "123456789012");
        for (region, account, meant) in [
            ("us-west-2", "123456789012", true),
            ("us-west-2", "210987654321", false),
            ("eu-west-1", "123456789012", false),
        ] {
            assert_eq!(used.is_about(&Identity::new(region, account, "c")), meant);
        }
        assert_eq!((used.channel_came(), used.channel_came()), (1, 2));
        used.channel_went();
        assert_eq!(used.channel_came(), 2);
    }
}

#[cfg(test)]
mod capture_tests {
    use super::*;
    use crate::time::Now;

    struct Nowhere;

    impl Capture for Nowhere {
        fn take(&mut self, _: Captured) {}
        fn missed(&mut self, _: u64) {}
    }

    #[test]
    fn copies_of_a_second_are_limited() {
        let mut copies = Copies::new(Box::new(Nowhere));
        let at = |ms| Moment {
            now: Now(ms),
            ..Moment::default()
        };
        let mut taken = |ms| {
            (0..2 * CAPTURES_PER_SECOND_MAX)
                .filter(|_| copies.has_room(at(ms)))
                .count()
        };
        assert_eq!(taken(0), CAPTURES_PER_SECOND_MAX as usize);
        assert_eq!(taken(999), 0);
        assert_eq!(taken(1000), CAPTURES_PER_SECOND_MAX as usize);
    }
}

#[cfg(test)]
mod parity_tests;
