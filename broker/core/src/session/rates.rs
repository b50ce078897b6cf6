//! The rates at which one connection may send. Source: KVS WebRTC service quotas, "SendSdpOffer", "SendSdpAnswer",
//! "SendIceCandidate".

use crate::quota::Bucket;
use crate::settings::Quotas;
use crate::time::Now;
use codec::signal::Action;

/// The buckets of one connection: made by its first message, so that a silent one has none.
#[derive(Debug, Default)]
pub(crate) struct MessageRates(Option<Box<Buckets>>);

#[derive(Debug, Default)]
struct Buckets {
    offer: Bucket,
    answer: Bucket,
    candidate: Bucket,
}

impl MessageRates {
    /// Takes a token for one message; false when there is none.
    pub(crate) fn take(&mut self, action: Action, quotas: &Quotas, now: Now) -> bool {
        if quotas.off {
            return true;
        }
        let buckets = self.0.get_or_insert_default();
        match action {
            Action::SdpOffer => buckets.offer.take(quotas.sdp, now),
            Action::SdpAnswer => buckets.answer.take(quotas.sdp, now),
            Action::IceCandidate => buckets.candidate.take(quotas.ice, now),
        }
    }
}

#[cfg(test)]
mod tests {

    use super::*;
    use crate::settings::{Profile, Settings};

    #[test]
    fn each_action_has_its_own_bucket() {
        let quotas = Settings::default().quotas;
        let mut rates = MessageRates::default();
        let mut taken = |action| {
            (0..1000)
                .filter(|_| rates.take(action, &quotas, Now(9)))
                .count()
        };
        assert_eq!(taken(Action::SdpOffer), 25);
        assert_eq!(taken(Action::SdpAnswer), 25);
        assert_eq!(taken(Action::IceCandidate), 100);
    }

    #[test]
    fn without_quotas_nothing_is_counted() {
        let quotas = Settings::new(Profile::Default, true).quotas;
        let mut rates = MessageRates::default();
        assert!((0..1000).all(|_| rates.take(Action::SdpOffer, &quotas, Now(9))));
        assert!(rates.0.is_none());
    }
}
