//! Quotas of accounts: RATE-3 of codec/PROTOCOL.md defines the rates that apply. An account's bucket lives on one
//! shard, which is queried by a message before the call proceeds. Channels and the bytes of their records are counted
//! on all shards, before a channel is created or tags are set, if the account may be near its quota.
//!
//! Whether the account may be near its quota is estimated from its holdings on the shard that makes the call. Placement
//! is even and unknown to clients (`placement.rs`: a keyed hash), so this shard holds about `1 / parts` of the
//! account's holdings in the process, and the process at least the node's share of the total. The other shards and
//! nodes are queried if the holdings here exceed half of that. Where half is less than [`SAMPLE`] of the largest
//! pieces, too few for an estimate, they are always queried. A shard that nevertheless holds less than half of its
//! share (probability below e^-16) permits calls until it reaches half. Where nearly all of an account's channels are
//! on one node, the other nodes together let it exceed its quota by up to half.
//!
//! If several nodes serve channels, each allows an equal share of a rate, at least one call per second: the calls of an
//! account go to the nodes that serve its channels. Channels of the other nodes are counted too; a node that does not
//! answer within half a second is left out, since a lost node is no reason to refuse calls that the others could serve.
//!
//! Concurrent creations on several shards do not see each other, so an account may exceed its quota of channels by the
//! number requested within the milliseconds that one creation takes. Later calls count them all.

use crate::shard::Answer;
use crate::shard::calls::responses::RATE_EXCEEDED;
use crate::shard::directory::Directory;
use crate::{auth::Caller, check::Check, id::Identity, limits::RECORD_BYTES_MAX, record::Holding};
use crate::{refusal::Refusal, settings::Rate, time::Moment};
use codec::control::{ErrorKind, Operation};
use std::borrow::Cow;

impl Directory {
    /// Whether a call needs a permit of its account.
    pub(crate) fn asks_for_permit(&self, operation: Operation, caller: &Caller) -> bool {
        self.settings.quotas.account_rate(operation).is_some()
            || grows(operation) && self.counts(operation, self.named(caller, "").as_str())
    }

    /// Rate limit of this node on an account's requests for temporary credentials; `None` if unlimited.
    pub(crate) fn federation_rate(&self) -> Option<Rate> {
        let quotas = &self.settings.quotas;
        let rate = quotas.account_federation;
        (!quotas.off && rate.rate > 0).then(|| self.part_of(rate))
    }

    /// Share of this node in a rate limit that applies to all nodes together.
    fn part_of(&self, rate: Rate) -> Rate {
        let nodes = self.slots.as_ref().map_or(1, |slots| slots.nodes());
        let part = |whole: u32| (whole / u32::from(nodes.max(1))).max(1);
        Rate {
            rate: part(rate.rate),
            burst: part(rate.burst),
        }
    }

    /// Counts a call of an account, on the shard that holds the account's rate bucket.
    pub(crate) fn permit(
        &mut self,
        operation: Operation,
        account: &Identity,
        at: Moment,
    ) -> Answer {
        let Some((key, rate)) = self.settings.quotas.account_rate(operation) else {
            return Answer::Done;
        };
        let rate = self.part_of(rate);
        let bucket = self
            .account_rates
            .entry((account.clone(), operation))
            .or_default();
        if bucket.take(rate, at.now) {
            return Answer::Done;
        }
        let message = if self.settings.strict() {
            RATE_EXCEEDED.into()
        } else {
            let name = operation.name();
            Cow::from(format!(
                "{RATE_EXCEEDED} {name} of an account: [quotas] {key}."
            ))
        };
        Refusal::limited(Check::RateAccount, message).into()
    }

    /// Refuses a call whose account has exceeded its quota. `answer`: the last answer received, or an earlier refusal.
    pub(crate) fn over_quota(
        &self,
        operation: Operation,
        held: Holding,
        answer: Answer,
    ) -> Option<Answer> {
        if let Answer::Refusal(_) = answer {
            return Some(answer);
        }
        let most = self.settings.limits.channels_per_account;
        let creates = operation == Operation::CreateSignalingChannel && most > 0;
        (creates && held.channels >= most as u64).then(|| {
            let message =
                format!("The account has {most} channels, which is as many as it may have.");
            let kind = ErrorKind::AccountChannelLimitExceeded;
            Refusal::new(Check::ChannelsFull, kind, message).into()
        })
    }

    /// Checks that the records of an account, and all of this shard, stay within their limits. `held`: the account's
    /// bytes on all shards, if they were queried.
    ///
    /// # Errors
    /// Returns a refusal, of the given `kind` if the account's own limit is exceeded.
    pub(crate) fn has_bytes(
        &self,
        tenant: &str,
        held: u64,
        more: usize,
        kind: ErrorKind,
    ) -> Result<(), Refusal> {
        let most = self.settings.limits.record_bytes_per_account as u64;
        let held = held.max(self.holdings.of_tenant(tenant).bytes);
        if held.saturating_add(more as u64) > most {
            let message = format!(
                "The account's channels with their tags take {held} of the {most} bytes that they may take, and this \
                 needs {more}. Delete channels or tags that are not used."
            );
            return Err(Refusal::new(Check::RecordsFull, kind, message));
        }
        if self.holdings.has_room(more) {
            return Ok(());
        }
        Err(Refusal::unavailable(Check::RecordsFull, RECORDS_FULL))
    }

    /// Whether the account's holdings must be queried from all shards and nodes.
    pub(crate) fn counts(&self, operation: Operation, tenant: &str) -> bool {
        let (settings, held) = (&self.settings, self.holdings.of_tenant(tenant));
        let nodes = self.slots.as_ref().map_or(1, |slots| slots.nodes());
        let parts = settings.shards.max(1) as u64 * u64::from(nodes.max(1));
        let may_be_near = |held: u64, most: usize, piece: usize| {
            let half = most as u64 / parts / 2;
            held >= half || half < SAMPLE * piece as u64
        };
        let (channels, bytes) = (
            settings.limits.channels_per_account,
            settings.limits.record_bytes_per_account,
        );
        let creates = operation == Operation::CreateSignalingChannel && channels > 0;
        creates && may_be_near(held.channels, channels, 1)
            || grows(operation) && may_be_near(held.bytes, bytes, RECORD_BYTES_MAX)
    }
}

/// Whether an operation may enlarge records.
fn grows(operation: Operation) -> bool {
    matches!(
        operation,
        Operation::CreateSignalingChannel | Operation::TagResource
    )
}

/// The refusal of a change that would exceed this shard's share of `record_bytes_total`.
const RECORDS_FULL: &str = "The server's channels take as many bytes as they may (`record_bytes_total`). Delete \
                            channels or tags that are not used, or try again later.";

/// Minimum number of pieces for estimating the holdings of the other shards.
const SAMPLE: u64 = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::ShardId;
    use crate::placement::Placement;
    use crate::settings::Settings;
    use crate::shard::directory::DirectoryStart;
    use crate::testing::MemoryStore;
    use crate::time::Wall;
    use ahash::RandomState;
    use std::sync::Arc;

    const TENANT: &str = "us-west-2:123456789012:";

    fn directory(settings: Settings) -> Directory {
        let hasher = RandomState::with_seeds(1, 2, 3, 4);
        let start = DirectoryStart {
            store: Box::new(MemoryStore),
            newest: Wall(0),
            waiting_calls: 1,
            wake_polls: 1,
            slots: None,
            audience: Box::new(crate::presence::Nobody),
            epoch: 1,
        };
        let id = (ShardId(0), Placement::new([1, 2, 3, 4], 1));
        Directory::new(Arc::new(settings), id, hasher, start)
    }

    #[test]
    fn other_shards_are_asked_from_half_of_the_part_of_this_one() {
        let (creates, tags) = (Operation::CreateSignalingChannel, Operation::TagResource);
        let mut settings = Settings {
            shards: 4,
            ..Settings::default()
        };
        let mut many = directory(settings.clone());
        for channel in 0..12_500 {
            assert!(!many.counts(creates, TENANT), "with {channel} of 100,000");
            many.holdings.came(TENANT, 480);
        }
        assert!(many.counts(creates, TENANT) && !many.counts(tags, TENANT));
        assert!(!many.counts(creates, "us-west-2:000000000001:"));
        let mut large = directory(settings.clone());
        large.holdings.came(TENANT, (32 << 20) - 1);
        assert!(!large.counts(creates, TENANT) && !large.counts(tags, TENANT));
        large.holdings.came(TENANT, 1);
        assert!(large.counts(creates, TENANT) && large.counts(tags, TENANT));
        assert!(!large.counts(Operation::DeleteSignalingChannel, TENANT));
        assert!(!large.counts(Operation::UntagResource, TENANT));
        // Too few to judge by.
        settings.limits.channels_per_account = 500;
        assert!(directory(settings.clone()).counts(creates, TENANT));
        settings.limits.channels_per_account = 0;
        assert!(!directory(settings.clone()).counts(creates, TENANT));
        settings.limits.record_bytes_per_account = 4 << 20;
        assert!(directory(settings).counts(tags, TENANT));
    }

    #[test]
    fn growth_is_refused_by_the_account_and_by_the_shard() {
        let mut settings = Settings::default();
        settings.limits.record_bytes_per_account = 1 << 20;
        settings.limits.record_bytes_total = 2 << 20;
        let mut directory = directory(settings);
        let kind = ErrorKind::ClientLimitExceeded;
        let refused = |directory: &Directory, tenant, held, more| {
            let result = directory.has_bytes(tenant, held, more, kind);
            result.err().map(|refusal| refusal.error)
        };
        directory.holdings.came(TENANT, 1000 << 10);
        assert_eq!(refused(&directory, TENANT, 0, 24 << 10), None);
        assert_eq!(
            refused(&directory, TENANT, 0, (24 << 10) + 1),
            Some(kind.into())
        );
        // Here and elsewhere.
        assert_eq!(refused(&directory, TENANT, 1 << 20, 1), Some(kind.into()));
        directory
            .holdings
            .came("us-west-2:000000000001:", 1000 << 10);
        let full = Some(ErrorKind::ServiceUnavailable.into());
        let third = "us-west-2:000000000002:";
        assert_eq!(refused(&directory, third, 0, 48 << 10), None);
        assert_eq!(refused(&directory, third, 0, (48 << 10) + 1), full);
    }
}
