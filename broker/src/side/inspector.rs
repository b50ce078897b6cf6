//! Inspection of shards, within a bounded time.

use crate::edge::Post;
use broker_core::id::ShardId;
use broker_core::machine::Machine;
use broker_core::shard::{Question, Reply};
use crossbeam_channel::{Receiver, TryRecvError, bounded};
use mailbox::Mailbox;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Asks the shards; one exists, and one question is under way at a time.
///
/// A shard that has not answered an earlier question is not asked again, so a shard that hangs has at most one letter
/// of ours in its mailbox.
pub struct Inspector<M: Machine<Question = Question, Reply = Reply>> {
    mailboxes: Arc<[Mailbox<Post<M>>]>,
    /// The answers that did not come in time, by shard.
    late: Vec<Option<Receiver<(ShardId, Reply)>>>,
}

impl<M: Machine<Question = Question, Reply = Reply>> Inspector<M> {
    /// An inspector of the shards behind `mailboxes`.
    #[must_use]
    pub fn new(mailboxes: Arc<[Mailbox<Post<M>>]>) -> Self {
        let late = mailboxes.iter().map(|_| None).collect();
        Self { mailboxes, late }
    }

    /// Every shard's answer in the order of shards, or `None` when one does not answer within `limit`. Blocks that
    /// long at most.
    pub fn ask(&mut self, question: &Question, limit: Duration) -> Option<Vec<(ShardId, Reply)>> {
        let until = Instant::now() + limit;
        for late in &mut self.late {
            let hangs =
                |from: &mut Receiver<_>| matches!(from.try_recv(), Err(TryRecvError::Empty));
            late.take_if(|from| !hangs(from));
        }
        if self.late.iter().any(Option::is_some) {
            return None;
        }
        for (late, mailbox) in self.late.iter_mut().zip(&*self.mailboxes) {
            let (to, from) = bounded(1);
            mailbox
                .post_always(Post::Inspect(question.clone(), to))
                .ok()?;
            *late = Some(from);
        }
        let mut answers = Vec::with_capacity(self.late.len());
        for late in &mut self.late {
            let answer = late.as_ref()?.recv_deadline(until).ok()?;
            *late = None;
            answers.push(answer);
        }
        Some(answers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use broker_core::id::Identity;
    use broker_core::shard::Shard;
    use std::thread;

    fn mailboxes() -> Arc<[Mailbox<Post<Shard>>]> {
        (0..2)
            .map(|_| Mailbox::new(8, 4).unwrap())
            .collect::<Vec<_>>()
            .into()
    }

    fn answer(mailbox: &Mailbox<Post<Shard>>, shard: u16) {
        let Some(Post::Inspect(_, to)) = mailbox.try_take() else {
            panic!("no question in the mailbox")
        };
        // Nobody may be waiting any more.
        let _ = to.try_send((ShardId(shard), Reply::Reconnected(u64::from(shard), None)));
    }

    fn question() -> Question {
        Question::Channel(Identity::new("r", "a", "n"))
    }

    #[test]
    fn a_shard_that_hangs_costs_the_time_limit_once_and_one_letter() {
        let mailboxes = mailboxes();
        let mut inspector = Inspector::new(Arc::clone(&mailboxes));
        assert!(
            inspector
                .ask(&question(), Duration::from_millis(5))
                .is_none()
        );
        let began = Instant::now();
        assert!(
            inspector
                .ask(&question(), Duration::from_secs(60))
                .is_none()
        );
        assert!(
            began.elapsed() < Duration::from_secs(30),
            "it is known to hang"
        );
        answer(&mailboxes[0], 0);
        answer(&mailboxes[1], 1);
        assert!(
            mailboxes[0].is_empty() && mailboxes[1].is_empty(),
            "asked once"
        );
    }

    #[test]
    fn a_shard_that_answered_late_is_asked_again_and_answers_come_in_order() {
        let mailboxes = mailboxes();
        let mut inspector = Inspector::new(Arc::clone(&mailboxes));
        assert!(
            inspector
                .ask(&question(), Duration::from_millis(5))
                .is_none()
        );
        for shard in [0, 1] {
            answer(&mailboxes[usize::from(shard)], shard);
        }
        let shards = thread::spawn(move || {
            for shard in [1, 0] {
                while mailboxes[usize::from(shard)].is_empty() {
                    thread::yield_now();
                }
                answer(&mailboxes[usize::from(shard)], shard);
            }
        });
        let answers = inspector.ask(&question(), Duration::from_secs(30)).unwrap();
        shards.join().unwrap();
        let shards: Vec<u16> = answers.iter().map(|(shard, _)| shard.0).collect();
        assert_eq!(shards, [0, 1]);
    }
}
