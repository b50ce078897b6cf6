//! The rate limit for issuing temporary credentials. Each account has its own limit, which its callers share fairly.

use crate::limits::{GRANT_CALLERS, GRANT_WAIT_MS};
use crate::quota::{Rate, SharedBucket};
use crate::time::Now;
use std::sync::atomic::{AtomicU64, Ordering};

/// An account's usage of its rate limit, shared by all shards. Refused calls are not counted.
///
/// A caller may use the full rate as long as no other caller of the account is waiting. Otherwise, each caller is
/// limited to half the rate.
#[derive(Debug, Default)]
pub(crate) struct GrantRates {
    account: SharedBucket,
    /// Buckets indexed by a keyed hash of the caller. Callers with the same index share a bucket.
    callers: [SharedBucket; GRANT_CALLERS],
    /// The most recently refused caller and the time of the refusal. The upper half stores the caller's index plus one.
    /// The lower half stores the time in milliseconds, modulo 2³².
    waiting: AtomicU64,
}

impl GrantRates {
    pub(crate) fn has(&self, caller: u64, rate: Rate, now: Now) -> bool {
        let (place, own) = self.of(caller);
        if self.others_wait(place, now) && !own.has(half(rate), now) {
            return false;
        }
        let has = self.account.has(rate, now);
        if !has {
            let waits = (place as u64 + 1) << 32 | wrap(now);
            self.waiting.store(waits, Ordering::Relaxed);
        }
        has
    }

    pub(crate) fn take(&self, caller: u64, rate: Rate, now: Now) {
        self.account.take(rate, now);
        self.of(caller).1.take(half(rate), now); // a caller that has used more than half the rate gets nothing
    }

    fn of(&self, caller: u64) -> (usize, &SharedBucket) {
        let place = usize::try_from(caller % GRANT_CALLERS as u64).unwrap_or_default();
        (place, self.callers.get(place).unwrap_or(&self.account))
    }

    fn others_wait(&self, place: usize, now: Now) -> bool {
        let waiting = self.waiting.load(Ordering::Relaxed);
        let since_ms = wrap(now).wrapping_sub(waiting) & u64::from(u32::MAX);
        // Shard clocks differ by a few milliseconds.
        let is_recent = since_ms < GRANT_WAIT_MS || since_ms > u64::from(u32::MAX) - GRANT_WAIT_MS;
        waiting != 0 && waiting >> 32 != place as u64 + 1 && is_recent
    }
}

fn half(rate: Rate) -> Rate {
    Rate {
        rate: (rate.rate / 2).max(1),
        burst: (rate.burst / 2).max(1),
    }
}

fn wrap(now: Now) -> u64 {
    now.0 & u64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate {
        rate: 10,
        burst: 10,
    };

    fn taken(rates: &GrantRates, caller: u64, calls: usize, now: u64) -> usize {
        let call = |_: &usize| {
            let has = rates.has(caller, RATE, Now(now));
            if has {
                rates.take(caller, RATE, Now(now));
            }
            has
        };
        (0..calls).filter(call).count()
    }

    #[test]
    fn a_caller_alone_has_the_whole_rate_and_beside_one_that_waits_half() {
        let rates = GrantRates::default();
        assert_eq!(taken(&rates, 1, 50, 0), 10);
        assert_eq!(taken(&rates, 1, 50, 1_000), 10, "nobody else waits");
        // A second caller is refused. From then on, the first caller is limited to half the rate.
        assert_eq!(taken(&rates, 2, 1, 1_000), 0);
        let (mut of_first, mut of_second) = (0, 0);
        for now in (1_100..=1_900).step_by(100) {
            of_first += taken(&rates, 1, 50, now);
            of_second += taken(&rates, 2, 1, now);
        }
        assert!(of_first <= 5 && of_second >= 4, "{of_first}, {of_second}");
        // A second after the last refusal, a caller may use the full rate again.
        assert_eq!(taken(&rates, 1, 50, 10_000), 10);
    }
}
