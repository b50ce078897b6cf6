//! Liveness of shards: each is asked for its counters every two seconds, and replies between two turns.

use crate::edge::{Post, Scraped};
use broker_core::shard::{Shard, Snapshot};
use crossbeam_channel::{Receiver, Sender, bounded};
use mailbox::Mailbox;
use std::time::{Duration, Instant};

/// What is known of each shard. One per process, on the main thread; a shard has at most one letter of ours in its
/// mailbox.
pub(super) struct Pulse {
    to: Sender<Scraped<Snapshot>>,
    from: Receiver<Scraped<Snapshot>>,
    shards: Vec<Asked>,
}

#[derive(Clone, Copy)]
struct Asked {
    at: Instant,
    state: State,
    /// The silence at which it is reported next; doubles each time.
    tell: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Answered,
    /// The letter is posted.
    Awaited,
    /// There was no room for it.
    Unasked,
}

/// What one look found out, for the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Finding {
    /// This shard has not answered for so long.
    Silent(usize, Duration),
    /// This shard was silent, and has answered.
    Back(usize, Duration),
}

impl Pulse {
    /// With all shards well at `now`.
    pub(super) fn new(shards: usize, now: Instant) -> Self {
        let (to, from) = bounded(shards);
        let asked = Asked {
            at: now,
            state: State::Answered,
            tell: SILENT,
        };
        Self {
            to,
            from,
            shards: vec![asked; shards],
        }
    }

    /// Collects answers and asks the shards that are due. Returns shards that stopped or resumed answering.
    pub(super) fn poll(
        &mut self,
        mailboxes: &[Mailbox<Post<Shard>>],
        now: Instant,
    ) -> Vec<Finding> {
        let mut findings = Vec::new();
        for answer in self.from.try_iter() {
            let shard = answer.shard.index();
            if let Some(asked) = self.shards.get_mut(shard) {
                let silence = now.saturating_duration_since(asked.at);
                if asked.tell > SILENT {
                    findings.push(Finding::Back(shard, silence));
                }
                (asked.state, asked.tell) = (State::Answered, SILENT);
            }
        }
        for (shard, (asked, mailbox)) in self.shards.iter_mut().zip(mailboxes).enumerate() {
            let since = now.saturating_duration_since(asked.at);
            match asked.state {
                State::Answered if since < ASK_EVERY => continue,
                State::Answered => asked.at = now,
                State::Awaited | State::Unasked if since > asked.tell => {
                    asked.tell *= 2;
                    findings.push(Finding::Silent(shard, since));
                }
                State::Awaited | State::Unasked => {}
            }
            if asked.state != State::Awaited {
                let posted = mailbox.post_always(Post::Scrape(self.to.clone()));
                asked.state = if posted.is_ok() {
                    State::Awaited
                } else {
                    State::Unasked
                };
            }
        }
        findings
    }

    /// Whether no shard is stuck.
    pub(super) fn is_well(&self, now: Instant) -> bool {
        self.shards.iter().all(|asked| {
            asked.state == State::Answered || now.saturating_duration_since(asked.at) < STUCK
        })
    }
}

/// A shard that sleeps is woken for it: half of the time it may rest as deeply as it can.
const ASK_EVERY: Duration = Duration::from_secs(2);
/// A turn takes milliseconds. A shard that is silent for longer than this is reported, and again each time it has
/// doubled.
const SILENT: Duration = Duration::from_secs(1);
/// A shard that is silent for so long is stuck: the service manager is no more told that all is well.
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
    fn a_shard_that_hangs_is_told_of_and_not_asked_twice() {
        let mailboxes: Vec<_> = (0..2).map(|_| Mailbox::new(8, 4).unwrap()).collect();
        let start = Instant::now();
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        let mut pulse = Pulse::new(2, start);
        assert_eq!(pulse.poll(&mailboxes, at(1)), []);
        assert!(
            mailboxes.iter().all(Mailbox::is_empty),
            "asked every other second"
        );
        assert_eq!(pulse.poll(&mailboxes, at(2)), []);
        answer(&mailboxes[0], 0);
        assert_eq!(pulse.poll(&mailboxes, at(3)), []);
        let silent = |seconds| Finding::Silent(1, Duration::from_secs(seconds));
        for second in 4..12 {
            let told: &[Finding] = match second {
                4 => &[silent(2)],
                5 => &[silent(3)],
                7 => &[silent(5)],
                11 => &[silent(9)],
                _ => &[],
            };
            assert_eq!(pulse.poll(&mailboxes, at(second)), told);
            assert!(pulse.is_well(at(second)), "busy, perhaps");
            if second % 2 == 0 {
                answer(&mailboxes[0], 0);
            }
        }
        assert_eq!(pulse.poll(&mailboxes, at(12)), []);
        assert!(!pulse.is_well(at(12)), "stuck");
        answer(&mailboxes[1], 1);
        assert!(mailboxes[1].is_empty(), "asked once in all that time");
        let back = Finding::Back(1, Duration::from_secs(11));
        assert_eq!(pulse.poll(&mailboxes, at(13)), [back]);
        assert!(pulse.is_well(at(13)));
    }

    #[test]
    fn a_shard_whose_mailbox_is_full_is_silent_too() {
        let mailboxes = [Mailbox::new(2, 1).unwrap()];
        while mailboxes[0].post_always(Post::Stop).is_ok() {}
        let start = Instant::now();
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        let mut pulse = Pulse::new(1, start);
        for second in 2..12 {
            pulse.poll(&mailboxes, at(second));
        }
        assert!(!pulse.is_well(at(12)));
        while let Some(Post::Stop) = mailboxes[0].try_take() {}
        assert!(mailboxes[0].is_empty(), "no letter of ours among them");
        pulse.poll(&mailboxes, at(12));
        answer(&mailboxes[0], 0);
        pulse.poll(&mailboxes, at(13));
        assert!(pulse.is_well(at(13)));
    }
}
