//! Rates of one channel: connects, calls and changes.

use crate::quota::Bucket;
use crate::settings::{Quotas, Rate};
use crate::time::Now;
use codec::control::Operation;

/// What is counted per channel. Source: KVS WebRTC service quotas, the column "per channel".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Metered {
    /// A master that connects.
    ConnectAsMaster,
    /// A viewer that connects, whichever it is.
    ConnectAsViewer,
    /// A call.
    Call(Operation),
}

impl Metered {
    /// The rate of it; `None` where none is limited per channel.
    #[must_use]
    pub(crate) fn rate(self, quotas: &Quotas) -> Option<Rate> {
        if quotas.off {
            return None;
        }
        let rate = match self {
            Self::ConnectAsMaster => quotas.connect_master,
            Self::ConnectAsViewer => quotas.connect_viewer,
            Self::Call(operation) => match operation {
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

/// The buckets of one channel that are in use, at most one for each thing that is metered. Nearly always none.
#[derive(Debug, Default)]
pub(crate) struct Rates(Vec<(Metered, Bucket)>);

impl Rates {
    /// Whether [`Rates::take`] would find a token.
    #[must_use]
    pub(crate) fn has(&self, what: Metered, quotas: &Quotas, now: Now) -> bool {
        let Some(rate) = what.rate(quotas) else {
            return true;
        };
        let bucket = self.0.iter().find(|(metered, _)| *metered == what);
        bucket.is_none_or(|(_, bucket)| bucket.has(rate, now))
    }

    /// Takes a token; false when there is none.
    pub(crate) fn take(&mut self, what: Metered, quotas: &Quotas, now: Now) -> bool {
        let Some(rate) = what.rate(quotas) else {
            return true;
        };
        if let Some((_, bucket)) = self.0.iter_mut().find(|(metered, _)| *metered == what) {
            return bucket.take(rate, now);
        }
        let mut bucket = Bucket::default();
        let taken = bucket.take(rate, now);
        self.0.push((what, bucket));
        taken
    }

    /// Forgets every bucket that is full again; returns when the next look is worth it.
    pub(crate) fn settle(&mut self, quotas: &Quotas, now: Now) -> Option<Now> {
        let full_in = |what: Metered, bucket: &Bucket| {
            what.rate(quotas)
                .map_or(0, |rate| bucket.full_in(rate, now))
        };
        self.0.retain(|(what, bucket)| full_in(*what, bucket) > 0);
        let last = self
            .0
            .iter()
            .map(|(what, bucket)| full_in(*what, bucket))
            .max();
        last.map(|ms| now.after(ms))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Profile;

    #[test]
    fn each_thing_has_its_own_bucket() {
        let quotas = Quotas::of(Profile::Default, false);
        let mut rates = Rates::default();
        let mut taken = |what| {
            (0..100)
                .filter(|_| rates.take(what, &quotas, Now(5)))
                .count()
        };
        assert_eq!(taken(Metered::ConnectAsMaster), 15);
        assert_eq!(taken(Metered::ConnectAsViewer), 15);
        assert_eq!(
            taken(Metered::Call(Operation::DescribeSignalingChannel)),
            25
        );
        assert_eq!(taken(Metered::Call(Operation::ListSignalingChannels)), 100);
        assert!(!rates.has(Metered::ConnectAsMaster, &quotas, Now(5)));
    }

    #[test]
    fn full_buckets_are_forgotten() {
        let quotas = Quotas::of(Profile::Default, false);
        let mut rates = Rates::default();
        assert!(rates.take(Metered::ConnectAsMaster, &quotas, Now(0)));
        assert!(rates.take(
            Metered::Call(Operation::DescribeSignalingChannel),
            &quotas,
            Now(0)
        ));
        assert_eq!(rates.settle(&quotas, Now(100)), Some(Now(334)));
        assert_eq!(rates.settle(&quotas, Now(250)), Some(Now(334)));
        assert_eq!(rates.0.len(), 1);
        assert_eq!(rates.settle(&quotas, Now(334)), None);
        assert!(rates.0.is_empty());
    }

    #[test]
    fn quotas_that_are_off_limit_nothing() {
        let quotas = Quotas::of(Profile::Default, true);
        let mut rates = Rates::default();
        assert!((0..1000).all(|_| rates.take(Metered::ConnectAsMaster, &quotas, Now(0))));
        assert!(rates.0.is_empty());
    }
}
