//! The counters of every shard at one moment, for `/metrics`.

use crate::edge::{Post, Scraped};
use crate::side::inspect::survey::Survey;
use crate::side::metrics::{ProcessState, Report};
use broker_core::id::ShardId;
use broker_core::machine::Machine;
use broker_core::shard::Snapshot;
use mailbox::Mailbox;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Asks the shards; one exists, and one scrape runs at a time.
pub struct Scraper<M: Machine<Snapshot = Snapshot>> {
    survey: Survey<M, Scraped<Snapshot>>,
    /// Microseconds that each shard had been busy in all, at the last whole report.
    busy_us: Vec<u64>,
    /// When the last whole report was made.
    reported: Instant,
}

impl<M: Machine<Snapshot = Snapshot>> Scraper<M> {
    /// A scraper of the shards behind `mailboxes`.
    #[must_use]
    pub fn new(mailboxes: Arc<[Mailbox<Post<M>>]>) -> Self {
        Self {
            busy_us: vec![0; mailboxes.len()],
            survey: Survey::new(mailboxes),
            reported: Instant::now(),
        }
    }

    /// Every shard's counters, or `None` when a shard does not answer within `limit`. Blocks that long at most.
    pub fn scrape(&mut self, limit: Duration) -> Option<Report> {
        let all = self.survey.all();
        let answers = self.survey.ask(all, limit, Post::Scrape);
        let answers: Option<Vec<_>> = answers.into_iter().map(|(_, answer)| answer).collect();
        Some(self.report(answers?))
    }

    fn report(&mut self, shards: Vec<Scraped<Snapshot>>) -> Report {
        let span = self.reported.elapsed().as_secs_f64().max(1e-6);
        self.reported = Instant::now();
        let mut busy_ratios = Vec::with_capacity(shards.len());
        for (before, answer) in self.busy_us.iter_mut().zip(&shards) {
            let busy = Duration::from_micros(answer.edge.busy_us.saturating_sub(*before));
            *before = answer.edge.busy_us;
            busy_ratios.push((busy.as_secs_f64() / span).min(1.0));
        }
        Report {
            shards,
            busy_ratios,
            process: ProcessState::default(),
        }
    }

    /// The shards that have not answered.
    #[must_use]
    pub fn silent(&self) -> Vec<ShardId> {
        self.survey.silent()
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
    fn there_is_no_report_without_every_shard() {
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
