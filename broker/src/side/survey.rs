//! Queries to shards. A query is posted to a shard's mailbox, and its response is awaited for a limited time.
//!
//! Scrapes, the inspector and the shard liveness checks each have their own survey.

use crate::edge::Post;
use broker_core::{id::ShardId, machine::Machine};
use crossbeam_channel::{Receiver, Sender, bounded};
use mailbox::Mailbox;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Queries shards for responses of type `A`.
///
/// A shard is not queried again until it has responded. If a shard hangs, its mailbox therefore contains at most one
/// query per survey, and only the first call waits for its full time limit.
pub struct Survey<M: Machine, A> {
    mailboxes: Arc<[Mailbox<Post<M>>]>,
    shards: Vec<SurveyedShard<A>>,
}

struct SurveyedShard<A> {
    from: Option<Receiver<A>>,
    /// The time since which the shard has not responded. Also set if a query could not be posted because the mailbox
    /// was full.
    silent_since: Option<Instant>,
}

impl<M: Machine, A> Survey<M, A> {
    /// Creates a survey of the shards with these mailboxes.
    #[must_use]
    pub fn new(mailboxes: Arc<[Mailbox<Post<M>>]>) -> Self {
        let one = |_| SurveyedShard {
            from: None,
            silent_since: None,
        };
        let shards = mailboxes.iter().map(one).collect();
        Self { mailboxes, shards }
    }

    /// Returns the indices of all shards.
    #[must_use]
    pub fn all(&self) -> Range<usize> {
        0..self.shards.len()
    }

    /// Queries shards and returns their responses in order. The response is `None` for a shard that does not respond
    /// within `limit` or has yet to respond to an earlier query. Blocks for at most `limit`.
    pub fn ask(
        &mut self,
        shards: Range<usize>,
        limit: Duration,
        question: impl Fn(Sender<A>) -> Post<M>,
    ) -> Vec<(ShardId, Option<A>)> {
        let now = Instant::now();
        let until = now + limit;
        let post = |shard| {
            // Drops a late response to an earlier query.
            self.take(shard);
            (shard, self.post(shard, now, &question))
        };
        let posted: Vec<(usize, bool)> = shards.map(post).collect();
        let answer = |(shard, posted): (usize, bool)| {
            let id = ShardId(u16::try_from(shard).unwrap_or(u16::MAX));
            let wait = |from: &Receiver<A>| from.recv_deadline(until).ok();
            (id, posted.then(|| self.receive(shard, wait)).flatten())
        };
        posted.into_iter().map(answer).collect()
    }

    /// Posts a query to a shard. Returns `false` if the shard has yet to respond or its mailbox is full.
    pub fn post(
        &mut self,
        shard: usize,
        now: Instant,
        question: impl FnOnce(Sender<A>) -> Post<M>,
    ) -> bool {
        let (Some(awaited), Some(mailbox)) =
            (self.shards.get_mut(shard), self.mailboxes.get(shard))
        else {
            return false;
        };
        if awaited.from.is_some() {
            return false;
        }
        awaited.silent_since.get_or_insert(now);
        let (to, from) = bounded(1);
        let posted = mailbox.post_always(question(to)).is_ok();
        awaited.from = posted.then_some(from);
        posted
    }

    /// Takes the response of a shard, if there is one.
    pub fn take(&mut self, shard: usize) -> Option<A> {
        self.receive(shard, |from| from.try_recv().ok())
    }

    /// Returns how long the shard has failed to respond, or `None` if no response is outstanding.
    #[must_use]
    pub fn silence(&self, shard: usize, now: Instant) -> Option<Duration> {
        let since = self.shards.get(shard)?.silent_since?;
        Some(now.saturating_duration_since(since))
    }

    /// Returns the shards that have yet to respond.
    #[must_use]
    pub fn silent(&self) -> Vec<ShardId> {
        let owing = self.shards.iter().zip(0..);
        let owing = owing.filter(|(awaited, _)| awaited.silent_since.is_some());
        owing.map(|(_, shard)| ShardId(shard)).collect()
    }

    fn receive(
        &mut self,
        shard: usize,
        receive: impl FnOnce(&Receiver<A>) -> Option<A>,
    ) -> Option<A> {
        let awaited = self.shards.get_mut(shard)?;
        let answer = receive(awaited.from.as_ref()?)?;
        (awaited.from, awaited.silent_since) = (None, None);
        Some(answer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use broker_core::shard::{Question, Reply, Shard};
    use std::thread;

    type Answer = (ShardId, Reply);

    fn mailboxes() -> Arc<[Mailbox<Post<Shard>>]> {
        (0..2)
            .map(|_| Mailbox::new(8, 4).unwrap())
            .collect::<Vec<_>>()
            .into()
    }

    fn question(to: Sender<Answer>) -> Post<Shard> {
        let question = Question::ReconnectIce {
            channel: None,
            from: 0,
        };
        Post::Inspect(Box::new(question), to)
    }

    fn answer(mailbox: &Mailbox<Post<Shard>>, shard: u16) {
        let Some(Post::Inspect(_, to)) = mailbox.try_take() else {
            panic!("no question in the mailbox")
        };
        // The survey may have given up in the meantime.
        let _ = to.try_send((ShardId(shard), Reply::Reconnected(u64::from(shard), None)));
    }

    fn answered(answers: &[(ShardId, Option<Answer>)]) -> Vec<(u16, bool)> {
        let one = |(shard, answer): &(ShardId, Option<Answer>)| (shard.0, answer.is_some());
        answers.iter().map(one).collect()
    }

    #[test]
    fn a_shard_that_hangs_costs_the_time_limit_once_and_one_letter() {
        let mailboxes = mailboxes();
        let mut survey = Survey::new(Arc::clone(&mailboxes));
        let nobody = [(0, false), (1, false)];
        let answers = survey.ask(0..2, Duration::from_millis(5), question);
        assert_eq!(answered(&answers), nobody);
        let began = Instant::now();
        let answers = survey.ask(0..2, Duration::from_secs(60), question);
        assert_eq!(answered(&answers), nobody);
        assert!(
            began.elapsed() < Duration::from_secs(30),
            "it is known to hang"
        );
        assert_eq!(survey.silent(), [ShardId(0), ShardId(1)]);
        assert!(survey.silence(0, Instant::now()) >= Some(Duration::from_millis(5)));
        answer(&mailboxes[0], 0);
        answer(&mailboxes[1], 1);
        let empty = mailboxes.iter().all(Mailbox::is_empty);
        assert!(empty, "asked once");
    }

    #[test]
    fn one_shard_that_hangs_does_not_keep_the_answers_of_others() {
        let mailboxes = mailboxes();
        let mut survey = Survey::new(Arc::clone(&mailboxes));
        survey.ask(0..1, Duration::ZERO, question);
        let other = Arc::clone(&mailboxes);
        let shard = thread::spawn(move || {
            while other[1].is_empty() {
                thread::yield_now();
            }
            answer(&other[1], 1);
        });
        let answers = survey.ask(0..2, Duration::from_secs(60), question);
        shard.join().unwrap();
        assert_eq!(answered(&answers), [(0, false), (1, true)]);
        assert_eq!(survey.silent(), [ShardId(0)]);
    }

    #[test]
    fn only_the_named_shards_are_queried() {
        let mailboxes = mailboxes();
        let mut survey = Survey::new(Arc::clone(&mailboxes));
        assert_eq!(survey.ask(1..2, Duration::ZERO, question).len(), 1);
        assert!(mailboxes[0].is_empty() && !mailboxes[1].is_empty());
        assert_eq!(survey.ask(2..3, Duration::ZERO, question).len(), 1);
    }

    #[test]
    fn a_late_shard_is_queried_again_and_answers_are_in_order() {
        let mailboxes = mailboxes();
        let mut survey = Survey::new(Arc::clone(&mailboxes));
        survey.ask(0..2, Duration::from_millis(5), question);
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
        let answers = survey.ask(0..2, Duration::from_secs(30), question);
        shards.join().unwrap();
        assert_eq!(answered(&answers), [(0, true), (1, true)]);
        assert_eq!(survey.silent(), []);
    }

    #[test]
    fn a_full_mailbox_is_a_silent_shard() {
        let mailboxes = mailboxes();
        while mailboxes[0].post_always(Post::Stop).is_ok() {}
        let mut survey = Survey::new(Arc::clone(&mailboxes));
        let now = Instant::now();
        assert!(!survey.post(0, now, question));
        let later = now + Duration::from_secs(3);
        assert!(!survey.post(0, later, question));
        assert_eq!(survey.silence(0, later), Some(Duration::from_secs(3)));
        while let Some(Post::Stop) = mailboxes[0].try_take() {}
        assert!(survey.post(0, later, question));
        answer(&mailboxes[0], 0);
        assert!(survey.take(0).is_some());
        assert_eq!(survey.silence(0, later), None);
    }
}
