//! A channel's rate limits for connections, API calls and changes. Masters have their own buckets. Every other caller
//! has its own share of each limit.

use crate::limits::{CALLER_BUCKETS_MAX, CALLER_TOKENS};
use crate::settings::{Quotas, Rate};
use crate::{id::CallerId, quota::Bucket, time::Now};
use codec::control::Operation;

/// Events that are counted per channel. Source: column "per channel" of the KVS WebRTC service quotas.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Metered {
    ConnectAsMaster,
    ConnectAsViewer,
    Call(Operation),
    /// An API call by a caller that may connect as the master.
    CallAsMaster(Operation),
}

impl Metered {
    /// Returns the rate limit of the event; `None` if the event has no per-channel limit.
    #[must_use]
    pub(crate) fn rate(self, quotas: &Quotas) -> Option<Rate> {
        if quotas.off {
            return None;
        }
        let rate = match self {
            Self::ConnectAsMaster => quotas.connect_master,
            Self::ConnectAsViewer => quotas.connect_viewer,
            Self::Call(operation) | Self::CallAsMaster(operation) => match operation {
                Operation::DescribeSignalingChannel => quotas.describe,
                Operation::GetIceServerConfig => quotas.ice_server_config,
                Operation::SendAlexaOfferToMaster => quotas.alexa,
                Operation::UpdateSignalingChannel
                | Operation::DeleteSignalingChannel
                | Operation::TagResource
                | Operation::UntagResource
                | Operation::ListTagsForResource
                | Operation::DescribeMediaStorageConfiguration
                | Operation::UpdateMediaStorageConfiguration => quotas.change,
                Operation::CreateSignalingChannel
                | Operation::ListSignalingChannels
                | Operation::GetSignalingChannelEndpoint
                | Operation::DescribeMappedResourceConfiguration
                | Operation::JoinStorageSession
                | Operation::JoinStorageSessionAsViewer => return None,
            },
        };
        (rate.rate > 0).then_some(rate)
    }
}

/// An event and the caller to which it is charged, if callers have their own shares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RateKey {
    pub what: Metered,
    pub caller: Option<CallerId>,
}

/// The rate limit buckets that are not full. The lists are nearly always empty.
#[derive(Debug, Default)]
pub(crate) struct Rates {
    /// Buckets shared by all callers, at most one per event.
    channel: Vec<Used>,
    /// Buckets of individual callers, one for each event of each caller. There are at most [`CALLER_BUCKETS_MAX`] of
    /// them in total; when the list is full, the bucket with the least debt is evicted.
    callers: Vec<Used>,
}

#[derive(Debug)]
struct Used {
    key: RateKey,
    bucket: Bucket,
}

impl Rates {
    #[must_use]
    pub(crate) fn has(&self, key: RateKey, quotas: &Quotas, now: Now) -> bool {
        let Some(rate) = key.what.rate(quotas) else {
            return true;
        };
        let all = self.channel.iter().find(|used| used.key.what == key.what);
        let own = self.callers.iter().find(|used| used.key == key);
        all.is_none_or(|all| all.bucket.has(rate, now))
            && own.is_none_or(|own| own.bucket.has_several(CALLER_TOKENS, rate, now))
    }

    /// Takes a token from the channel's bucket and one from the caller's share. If either is empty, takes nothing and
    /// returns `false`.
    pub(crate) fn take(&mut self, key: RateKey, quotas: &Quotas, now: Now) -> bool {
        let Some(rate) = key.what.rate(quotas) else {
            return true;
        };
        if !self.has(key, quotas, now) {
            return false;
        }
        let shared = RateKey {
            caller: None,
            ..key
        };
        Used::take(&mut self.channel, shared, 1, rate, now);
        if key.caller.is_some() {
            self.make_room(key, quotas, now);
            Used::take(&mut self.callers, key, CALLER_TOKENS, rate, now);
        }
        true
    }

    /// Evicts the caller bucket with the least debt if the table is full and has no bucket for `caller`.
    fn make_room(&mut self, key: RateKey, quotas: &Quotas, now: Now) {
        let known = self.callers.iter().any(|used| used.key == key);
        if known || self.callers.len() < CALLER_BUCKETS_MAX {
            return;
        }
        let all = self.callers.iter().enumerate();
        let least = all.min_by_key(|(_, used)| used.full_in(quotas, now));
        if let Some((place, _)) = least {
            self.callers.swap_remove(place);
        }
    }

    /// Drops buckets that have refilled. Returns when to check again.
    pub(crate) fn settle(&mut self, quotas: &Quotas, now: Now) -> Option<Now> {
        let in_debt = |used: &Used| used.full_in(quotas, now) > 0;
        self.channel.retain(in_debt);
        self.callers.retain(in_debt);
        let all = self.channel.iter().chain(&self.callers);
        let last = all.map(|used| used.full_in(quotas, now)).max();
        last.map(|ms| now.after(ms))
    }
}

impl Used {
    /// Takes tokens from a bucket. The caller has verified that they are available.
    fn take(all: &mut Vec<Self>, key: RateKey, tokens: u32, rate: Rate, now: Now) {
        if let Some(used) = all.iter_mut().find(|used| used.key == key) {
            used.bucket.take_several(tokens, rate, now);
            return;
        }
        let mut bucket = Bucket::default();
        bucket.take_several(tokens, rate, now);
        all.push(Self { key, bucket });
    }

    fn full_in(&self, quotas: &Quotas, now: Now) -> u64 {
        let rate = self.key.what.rate(quotas);
        rate.map_or(0, |rate| self.bucket.full_in(rate, now))
    }
}

#[cfg(test)]
mod tests;
