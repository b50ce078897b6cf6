//! Liveness of shards: each is asked for its counters every two seconds, and replies between two turns.

use crate::edge::{Post, Scraped};
use crate::side::Survey;
use broker_core::shard::{Shard, Snapshot};
use mailbox::Mailbox;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The liveness of each shard. One per process, on the main thread.
pub(crate) struct Pulse {
    survey: Survey<Shard, Scraped<Snapshot>>,
    shards: Vec<Rhythm>,
}

#[derive(Clone, Copy)]
struct Rhythm {
    /// When it was asked last, or the answer before.
    asked: Instant,
    /// The silence at which it is reported next; doubles each time.
    report_at: Duration,
}

/// A change that a poll found, for the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ShardChange {
    /// This shard has not answered for so long.
    Silent(usize, Duration),
    /// This shard was silent, and has answered.
    Back(usize, Duration),
}

impl Pulse {
    /// With all shards well at `now`.
    pub(crate) fn new(mailboxes: Arc<[Mailbox<Post<Shard>>]>, now: Instant) -> Self {
        let rhythm = Rhythm {
            asked: now,
            report_at: SILENT,
        };
        Self {
            shards: vec![rhythm; mailboxes.len()],
            survey: Survey::new(mailboxes),
        }
    }

    /// Collects answers, which `note` gets, and asks the shards that are due. Returns shards that stopped or resumed
    /// answering.
    pub(crate) fn poll(
        &mut self,
        now: Instant,
        mut note: impl FnMut(Scraped<Snapshot>),
    ) -> Vec<ShardChange> {
        let mut findings = Vec::new();
        for (shard, rhythm) in self.shards.iter_mut().enumerate() {
            let silence = self.survey.silence(shard, now);
            if let Some(answer) = self.survey.take(shard) {
                note(answer);
                if rhythm.report_at > SILENT {
                    findings.push(ShardChange::Back(shard, silence.unwrap_or_default()));
                }
                rhythm.report_at = SILENT;
            } else if let Some(silence) = silence.filter(|silence| *silence > rhythm.report_at) {
                rhythm.report_at *= 2;
                findings.push(ShardChange::Silent(shard, silence));
            }
            let waits = self.survey.silence(shard, now).is_some();
            if waits || now.saturating_duration_since(rhythm.asked) >= ASK_EVERY {
                if !waits {
                    rhythm.asked = now;
                }
                // One that owes an answer gets no second question.
                self.survey.post(shard, now, Post::Scrape);
            }
        }
        findings
    }

    /// Whether no shard is stuck.
    pub(crate) fn is_well(&self, now: Instant) -> bool {
        let stuck = |shard| self.survey.silence(shard, now) >= Some(STUCK);
        !self.survey.all().any(stuck)
    }
}

/// A shard that sleeps is woken for it: half of the time it may rest as deeply as it can.
const ASK_EVERY: Duration = Duration::from_secs(2);
/// A turn takes milliseconds. A shard that is silent for longer than this is reported, and again each time it has
/// doubled.
const SILENT: Duration = Duration::from_secs(1);
/// A shard that is silent for so long is stuck: the service manager's watchdog is no longer fed.
const STUCK: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {

    use super::*;
    use crate::edge::EdgeCounts;
    use broker_core::id::ShardId;

    fn answer(mailbox: &Mailbox<Post<Shard>>, shard: u16) {
        let Some(Post::Scrape(to)) = mailbox.try_take() else {
            panic!("shard {shard} was not asked")
        };
        let answer = Scraped {
            shard: ShardId(shard),
            snapshot: Snapshot::default(),
            edge: EdgeCounts::default(),
        };
        to.try_send(answer).unwrap();
    }

    #[test]
    fn a_shard_that_hangs_is_reported_and_not_queried_twice() {
        let mailboxes: Vec<_> = (0..2).map(|_| Mailbox::new(8, 4).unwrap()).collect();
        let mailboxes: Arc<[_]> = mailboxes.into();
        let start = Instant::now();
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        let mut pulse = Pulse::new(Arc::clone(&mailboxes), start);
        assert_eq!(pulse.poll(at(1), drop), []);
        assert!(
            mailboxes.iter().all(Mailbox::is_empty),
            "asked every other second"
        );
        assert_eq!(pulse.poll(at(2), drop), []);
        answer(&mailboxes[0], 0);
        assert_eq!(pulse.poll(at(3), drop), []);
        let silent = |seconds| ShardChange::Silent(1, Duration::from_secs(seconds));
        for second in 4..12 {
            let told: &[ShardChange] = match second {
                4 => &[silent(2)],
                5 => &[silent(3)],
                7 => &[silent(5)],
                11 => &[silent(9)],
                _ => &[],
            };
            assert_eq!(pulse.poll(at(second), drop), told);
            assert!(pulse.is_well(at(second)), "busy, perhaps");
            if second % 2 == 0 {
                answer(&mailboxes[0], 0);
            }
        }
        assert_eq!(pulse.poll(at(12), drop), []);
        assert!(!pulse.is_well(at(12)), "stuck");
        answer(&mailboxes[1], 1);
        assert!(mailboxes[1].is_empty(), "asked once in all that time");
        let back = ShardChange::Back(1, Duration::from_secs(11));
        assert_eq!(pulse.poll(at(13), drop), [back]);
        assert!(pulse.is_well(at(13)));
    }

    #[test]
    fn a_shard_whose_mailbox_is_full_is_silent_too() {
        let mailboxes: Arc<[_]> = [Mailbox::new(2, 1).unwrap()].into();
        while mailboxes[0].post_always(Post::Stop).is_ok() {}
        let start = Instant::now();
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        let mut pulse = Pulse::new(Arc::clone(&mailboxes), start);
        for second in 2..12 {
            pulse.poll(at(second), drop);
        }
        assert!(!pulse.is_well(at(12)));
        while let Some(Post::Stop) = mailboxes[0].try_take() {}
        assert!(mailboxes[0].is_empty(), "no letter of ours among them");
        pulse.poll(at(12), drop);
        answer(&mailboxes[0], 0);
        pulse.poll(at(13), drop);
        assert!(pulse.is_well(at(13)));
    }
}
