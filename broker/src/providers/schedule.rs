//! When a provider is asked for its keys: a state machine in milliseconds of any clock.

/// The moments of one provider.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Schedule {
    /// The next fetch; 0 is at once.
    due: u64,
    /// The begin of the last one.
    began: Option<u64>,
    in_flight: bool,
    /// The fetch under way is of an entry that is no longer in force.
    is_stale: bool,
    /// The begin of the hour of the last wish that did not wait, and how many did not since.
    hour: Option<u64>,
    at_once: u8,
}

impl Schedule {
    /// Begins a fetch if one is due and none is under way.
    pub(crate) fn begin(&mut self, now: u64) -> bool {
        if self.in_flight || now < self.due {
            return false;
        }
        self.in_flight = true;
        self.is_stale = false;
        self.began = Some(now);
        true
    }

    /// The fetch has ended; false when its outcome does not count.
    pub(crate) fn ended(&mut self, now: u64, well: bool) -> bool {
        self.in_flight = false;
        if self.is_stale {
            return false;
        }
        self.due = now + if well { EVERY_MS } else { AGAIN_MS };
        true
    }

    /// The provider's entry is another one: it is asked at once.
    pub(crate) fn restart(&mut self) {
        self.due = 0;
        self.is_stale = self.in_flight;
    }

    /// Newer keys are wished for. Wishes are met once a minute; the first few in an hour do not wait for it, since a
    /// provider that has just been asked may have other keys a moment later.
    pub(crate) fn wish(&mut self, now: u64) {
        if self.in_flight || self.due <= now {
            return;
        }
        let soonest = self.began.map_or(0, |began| began + WISH_MS);
        if soonest > now && self.may_hurry(now) {
            self.due = now;
        }
        self.due = self.due.min(soonest.max(now));
    }

    /// Counts one more wish that does not wait, if the hour has one left.
    fn may_hurry(&mut self, now: u64) -> bool {
        if self.hour.is_none_or(|began| now >= began + EVERY_MS) {
            (self.hour, self.at_once) = (Some(now), 0);
        }
        let may = self.at_once < AT_ONCE_MAX;
        self.at_once += u8::from(may);
        may
    }
}

/// Keys are at most as old while their provider answers.
const EVERY_MS: u64 = 60 * 60 * 1000;

/// A provider that did not answer is asked again.
const AGAIN_MS: u64 = 30_000;

/// Tokens with unknown keys have their provider asked at most as often, except [`AT_ONCE_MAX`].
const WISH_MS: u64 = 60_000;

/// Wishes of an hour that are met at once.
const AT_ONCE_MAX: u8 = 3;

const _: () = assert!(AGAIN_MS < WISH_MS && WISH_MS < EVERY_MS);

#[cfg(test)]
mod tests {

    use super::*;

    #[test]
    fn an_hour_after_good_keys_and_half_a_minute_after_none() {
        let mut one = Schedule::default();
        assert!(one.begin(5));
        assert!(!one.begin(6), "one request at a time");
        let _ = one.ended(10, true);
        assert!(!one.begin(10 + EVERY_MS - 1));
        assert!(one.begin(10 + EVERY_MS));
        let _ = one.ended(4_000_000, false);
        assert!(!one.begin(4_000_000 + AGAIN_MS - 1) && one.begin(4_000_000 + AGAIN_MS));
    }

    #[test]
    fn the_outcome_of_an_entry_that_was_replaced_does_not_count() {
        let mut one = Schedule::default();
        assert!(one.begin(5));
        one.restart();
        assert!(!one.begin(6));
        assert!(!one.ended(10, true));
        assert!(one.begin(10) && one.ended(20, true));
        assert!(!one.begin(21));
        one.restart();
        assert!(one.begin(22));
    }

    #[test]
    fn wishes_are_met_at_once_three_times_an_hour_and_else_once_a_minute() {
        let mut one = Schedule::default();
        assert!(one.begin(0));
        one.wish(50);
        let _ = one.ended(100, true);
        assert!(!one.begin(150), "the fetch was under way");
        for at in [200, 300, 400] {
            for _ in 0..1000 {
                one.wish(at); // all are one
            }
            assert!(one.begin(at));
            let _ = one.ended(at + 50, true);
        }
        one.wish(500);
        assert!(!one.begin(400 + WISH_MS - 1));
        assert!(one.begin(400 + WISH_MS));
        let _ = one.ended(WISH_MS + 500, true);
        assert!(!one.begin(3 * WISH_MS), "nobody wished since");
        one.wish(3 * WISH_MS);
        assert!(one.begin(3 * WISH_MS), "a minute was over");
        let _ = one.ended(3 * WISH_MS + 50, true);
        // An hour after the first that did not wait there are three again, behind one that has no need to.
        for at in [200, 300, 400, 500].map(|at| at + EVERY_MS) {
            one.wish(at);
            assert!(one.begin(at), "{at}");
            let _ = one.ended(at + 50, true);
        }
        one.wish(EVERY_MS + 600);
        assert!(!one.begin(EVERY_MS + 700));
    }
}
