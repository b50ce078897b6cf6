//! Collects the counters of every shard, within a bounded time.

use super::metrics::Report;
use crate::edge::{Post, Scraped};
use broker_core::id::ShardId;
use broker_core::machine::Machine;
use broker_core::shard::Snapshot;
use crossbeam_channel::{Receiver, Sender, bounded};
use mailbox::Mailbox;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Asks the shards; one exists, and one scrape runs at a time.
///
/// A shard that has not answered an earlier scrape is not asked again: its answer to that one is as good when it
/// comes, and a shard that hangs has at most one letter of ours in its mailbox.
pub struct Scraper<M: Machine<Snapshot = Snapshot>> {
    mailboxes: Arc<[Mailbox<Post<M>>]>,
    to: Sender<Scraped<Snapshot>>,
    from: Receiver<Scraped<Snapshot>>,
    shards: Vec<Asked>,
    /// When the last whole report was made.
    reported: Instant,
}

#[derive(Clone, Copy, Debug, Default)]
struct Asked {
    /// An answer is on its way.
    waiting: bool,
    /// How long the shard had been busy in all, in microseconds, at the last whole report.
    busy_us: u64,
}

impl<M: Machine<Snapshot = Snapshot>> Scraper<M> {
    /// A scraper of the shards behind `mailboxes`.
    #[must_use]
    pub fn new(mailboxes: Arc<[Mailbox<Post<M>>]>) -> Self {
        let (to, from) = bounded(mailboxes.len());
        let shards = vec![Asked::default(); mailboxes.len()];
        Self {
            mailboxes,
            to,
            from,
            shards,
            reported: Instant::now(),
        }
    }

    /// Every shard's counters, or `None` when a shard does not answer within `limit`. Blocks that long at most.
    pub fn scrape(&mut self, limit: Duration) -> Option<Report> {
        let began = Instant::now();
        for late in self.from.try_iter() {
            if let Some(asked) = self.shards.get_mut(late.shard.index()) {
                asked.waiting = false;
            }
        }
        for (asked, mailbox) in self.shards.iter_mut().zip(&*self.mailboxes) {
            if !asked.waiting {
                asked.waiting = mailbox.post_always(Post::Scrape(self.to.clone())).is_ok();
            }
        }
        let mut answers = Vec::with_capacity(self.shards.len());
        while answers.len() < self.shards.len() {
            let answer = self
                .from
                .recv_timeout(limit.saturating_sub(began.elapsed()))
                .ok()?;
            self.shards.get_mut(answer.shard.index())?.waiting = false;
            answers.push(answer);
        }
        answers.sort_by_key(|answer| answer.shard.index());
        Some(self.report(answers))
    }

    fn report(&mut self, shards: Vec<Scraped<Snapshot>>) -> Report {
        let span = self.reported.elapsed().as_secs_f64().max(1e-6);
        self.reported = Instant::now();
        let mut busy_ratios = Vec::with_capacity(shards.len());
        for (asked, answer) in self.shards.iter_mut().zip(&shards) {
            let busy = Duration::from_micros(answer.edge.busy_us.saturating_sub(asked.busy_us));
            asked.busy_us = answer.edge.busy_us;
            busy_ratios.push((busy.as_secs_f64() / span).min(1.0));
        }
        Report {
            shards,
            busy_ratios,
            tls_not_after: 0,
            log_dropped: 0,
        }
    }

    /// The shards that have not answered.
    #[must_use]
    pub fn silent(&self) -> Vec<ShardId> {
        let silent = self
            .shards
            .iter()
            .zip(0..)
            .filter(|(asked, _)| asked.waiting);
        silent.map(|(_, shard)| ShardId(shard)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::edge::EdgeCounts;
    use broker_core::shard::Shard;

    fn mailboxes() -> Arc<[Mailbox<Post<Shard>>]> {
        (0..2)
            .map(|_| Mailbox::new(8, 4).unwrap())
            .collect::<Vec<_>>()
            .into()
    }

    fn answer(mailbox: &Mailbox<Post<Shard>>, shard: u16, busy_us: u64) {
        let Some(Post::Scrape(to)) = mailbox.try_take() else {
            panic!("no scrape in the mailbox")
        };
        let edge = EdgeCounts {
            busy_us,
            ..EdgeCounts::default()
        };
        to.try_send(Scraped {
            shard: ShardId(shard),
            snapshot: Snapshot::default(),
            edge,
        })
        .unwrap();
    }

    #[test]
    fn a_shard_that_hangs_costs_the_time_limit_and_one_letter() {
        let mailboxes = mailboxes();
        let mut scraper = Scraper::new(Arc::clone(&mailboxes));
        for _ in 0..3 {
            assert!(scraper.scrape(Duration::from_millis(5)).is_none());
        }
        assert_eq!(scraper.silent(), [ShardId(0), ShardId(1)]);
        answer(&mailboxes[0], 0, 0);
        assert!(scraper.scrape(Duration::from_millis(5)).is_none());
        assert_eq!(
            scraper.silent(),
            [ShardId(0), ShardId(1)],
            "the first has answered and was asked again"
        );
        answer(&mailboxes[1], 1, 0);
        assert!(mailboxes[1].is_empty(), "asked once, not four times");
    }

    #[test]
    fn answers_become_a_report_in_the_order_of_shards() {
        let mailboxes = mailboxes();
        let mut scraper = Scraper::new(Arc::clone(&mailboxes));
        let shards = std::thread::spawn(move || {
            for (shard, busy_us) in [(1, 0), (0, u64::MAX)] {
                while mailboxes[usize::from(shard)].is_empty() {
                    std::thread::yield_now();
                }
                answer(&mailboxes[usize::from(shard)], shard, busy_us);
            }
        });
        let report = scraper.scrape(Duration::from_secs(30)).unwrap();
        shards.join().unwrap();
        assert_eq!(
            report
                .shards
                .iter()
                .map(|scraped| scraped.shard)
                .collect::<Vec<_>>(),
            [ShardId(0), ShardId(1)]
        );
        assert_eq!(report.busy_ratios, [1.0, 0.0]);
    }
}
