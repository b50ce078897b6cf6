//! Account quotas. RATE-3 of codec/PROTOCOL.md defines the rates. Each account's rate usage, channels and record bytes
//! are tracked in the catalog, which all shards of the process share. The shard that accepts a call counts it towards
//! the account's rate limit, and the shard that owns the channel reserves the bytes that a change needs. Checking the
//! quota and reserving bytes is one atomic step, so two changes cannot use the same capacity.
//!
//! In a cluster, an account's calls are spread over the nodes that serve its channels. Each node therefore enforces an
//! equal share of the rate limit, but permits at least one call per second. If the account may be near its quota, its
//! channels on other nodes are counted too before a channel is created or tags are set. A node that does not answer
//! within half a second is not counted, because losing one node is no reason to refuse calls that the other nodes can
//! serve.
//!
//! To decide whether an account may be near its quota, this node extrapolates from its own channels. Channels are
//! placed uniformly and unpredictably (`placement.rs` uses a keyed hash), so this node holds about `1 / nodes` of the
//! total. It queries the other nodes once it holds at least half of its own share of the quota. If half a share is less
//! than [`SAMPLE`] channels or maximum-size records, the sample is too small, and the other nodes are always queried.
//!
//! The estimate can be wrong. With a probability below e^-16, a node happens to hold less than half of its share
//! although the quota is used up, and permits calls until it reaches half. If nearly all of an account's channels are
//! on one node, the account can exceed its quota by up to half through the other nodes. Channels that are created on
//! several nodes at the same time are not counted against each other.

use crate::catalog::{Catalog, Shortage};
use crate::shard::calls::responses::RATE_EXCEEDED;
use crate::shard::directory::Directory;
use crate::{check::Check, id::Identity, limits::RECORD_BYTES_MAX, record::Holding};
use crate::{refusal::Refusal, settings::Limits, settings::Rate, time::Moment};
use codec::control::{ErrorKind, Operation};
use std::borrow::Cow;

impl Directory {
    /// Returns the rate at which an account may request temporary credentials from this node, or `None` if unlimited.
    pub(crate) fn federation_rate(&self) -> Option<Rate> {
        let quotas = &self.settings.quotas;
        let rate = quotas.account_federation;
        (!quotas.off && rate.rate > 0).then(|| self.part_of(rate))
    }

    /// Returns this node's share of a cluster-wide rate limit.
    fn part_of(&self, rate: Rate) -> Rate {
        let nodes = self.slots.as_ref().map_or(1, |slots| slots.map.nodes());
        let part = |whole: u32| (whole / u32::from(nodes.max(1))).max(1);
        Rate {
            rate: part(rate.rate),
            burst: part(rate.burst),
        }
    }

    /// Counts a call towards the account's rate limit. Returns the refusal if the limit is exceeded.
    pub(crate) fn over_account_rate(
        &self,
        operation: Operation,
        account: &Identity,
        at: Moment,
    ) -> Option<Refusal> {
        let (key, rate) = self.settings.quotas.account_rate(operation)?;
        let (account, rate) = (account.clone(), self.part_of(rate));
        let may = self.catalog.ask(|catalog| {
            let bucket = catalog.rates.entry((account, operation)).or_default();
            bucket.take(rate, at.now)
        });
        if may {
            return None;
        }
        let message = if self.settings.strict() {
            RATE_EXCEEDED.into()
        } else {
            let name = operation.name();
            Cow::from(format!(
                "{RATE_EXCEEDED} {name} of an account: [quotas] {key}."
            ))
        };
        Some(Refusal::limited(Check::RateAccount, message))
    }

    /// Refuses a new channel if the account has reached its quota. `elsewhere` contains the account's holdings on other
    /// nodes.
    pub(crate) fn over_quota(&self, tenant: &str, elsewhere: Holding) -> Option<Refusal> {
        let most = self.settings.limits.channels_per_account;
        let held = self.catalog.ask(|catalog| catalog.held_by(tenant));
        let is_over = most > 0 && held.and(elsewhere).channels >= most as u64;
        is_over.then(|| self.refused_by(Shortage::Channels, ACCOUNT_FULL, 0))
    }

    /// Reserves record bytes for an account, if the limits permit. For a call that creates a channel (`kind` is
    /// [`ACCOUNT_FULL`]), also checks the account's channel quota. Channels created by operators or by upgrades are
    /// exempt from this quota.
    ///
    /// # Errors
    /// Returns the refusal. Its kind is `kind` if one of the account's own limits is exceeded.
    pub(crate) fn reserve(
        &self,
        tenant: &str,
        more: Holding,
        elsewhere: Holding,
        kind: ErrorKind,
    ) -> Result<(), Refusal> {
        let limits = &self.settings.limits;
        let most = if kind == ACCOUNT_FULL {
            limits.channels_per_account
        } else {
            0
        };
        let reserve =
            |catalog: &mut Catalog| catalog.reserve(tenant, more, elsewhere, limits, most);
        let reserved = self.catalog.ask(reserve);
        reserved.map_err(|shortage| self.refused_by(shortage, kind, more.bytes))
    }

    fn refused_by(&self, shortage: Shortage, kind: ErrorKind, more: u64) -> Refusal {
        let limits = &self.settings.limits;
        match shortage {
            Shortage::Channels => {
                let most = limits.channels_per_account;
                let message =
                    format!("The account has {most} channels, which is as many as it may have.");
                Refusal::new(Check::ChannelsFull, kind, message)
            }
            Shortage::Account(held) => {
                let most = limits.record_bytes_per_account;
                let message = format!(
                    "The account's channels with their tags take {held} of the {most} bytes that they may take, and \
                     this needs {more}. Delete channels or tags that are not used."
                );
                Refusal::new(Check::RecordsFull, kind, message)
            }
            Shortage::Process => Refusal::unavailable(Check::RecordsFull, RECORDS_FULL),
        }
    }

    /// Returns whether this operation must first ask the other nodes for the account's channels and record bytes there.
    pub(crate) fn counts(&self, operation: Operation, tenant: &str) -> bool {
        let Some(slots) = self.slots.as_ref().filter(|_| grows(operation)) else {
            return false;
        };
        let held = self.catalog.ask(|catalog| catalog.held_by(tenant));
        may_be_near(operation, held, slots.map.nodes(), &self.settings.limits)
    }
}

/// Returns whether an account that holds this much on one of `nodes` nodes may be near its quota.
fn may_be_near(operation: Operation, held: Holding, nodes: u16, limits: &Limits) -> bool {
    let is_near = |held: u64, most: usize, piece: usize| {
        let half = most as u64 / u64::from(nodes.max(1)) / 2;
        held >= half || half < SAMPLE * piece as u64
    };
    let most = limits.channels_per_account;
    let creates = operation == Operation::CreateSignalingChannel && most > 0;
    creates && is_near(held.channels, most, 1)
        || is_near(
            held.bytes,
            limits.record_bytes_per_account,
            RECORD_BYTES_MAX,
        )
}

/// Returns whether an operation may enlarge records.
fn grows(operation: Operation) -> bool {
    matches!(
        operation,
        Operation::CreateSignalingChannel | Operation::TagResource
    )
}

/// The error for a call that would exceed the account's channel quota.
const ACCOUNT_FULL: ErrorKind = ErrorKind::AccountChannelLimitExceeded;

/// Error message for a change that would exceed `record_bytes_total`.
const RECORDS_FULL: &str = "The server's channels take as many bytes as they may (`record_bytes_total`). Delete \
                            channels or tags that are not used, or try again later.";

/// Minimum number of channels or maximum-size records on this node from which the total over all nodes can be
/// estimated.
const SAMPLE: u64 = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Settings;

    #[test]
    fn other_nodes_are_asked_from_half_of_the_part_of_this_one() {
        let (creates, tags) = (Operation::CreateSignalingChannel, Operation::TagResource);
        let mut limits = Settings::default().limits;
        let asked = |limits: &Limits, channels, bytes| {
            let held = Holding { channels, bytes };
            [creates, tags].map(|operation| may_be_near(operation, held, 4, limits))
        };
        assert_eq!(asked(&limits, 12_499, 0), [false, false]);
        assert_eq!(asked(&limits, 12_500, 0), [true, false]);
        assert_eq!(asked(&limits, 0, (32 << 20) - 1), [false, false]);
        assert_eq!(asked(&limits, 0, 32 << 20), [true, true]);
        // Too few channels for an estimate.
        limits.channels_per_account = 500;
        assert_eq!(asked(&limits, 0, 0), [true, false]);
        limits.channels_per_account = 0;
        assert_eq!(asked(&limits, 0, 0), [false, false]);
        limits.record_bytes_per_account = 4 << 20;
        assert_eq!(asked(&limits, 0, 0), [true, true]);
        assert!(!grows(Operation::DeleteSignalingChannel) && !grows(Operation::UntagResource));
    }
}
