//! Questions to the shards of this process.

use broker_core::id::{Identity, ShardId};
use broker_core::shard::{Question, Reply};
use std::sync::Arc;
use tokio::sync::Mutex;

/// Answers the inspector: returns the answer of each shard that was meant, in the order of shards, `None` for one that
/// does not answer; blocks for a bounded time.
pub type Inspect = Box<dyn FnMut(&Whom, &Question) -> Vec<(ShardId, Option<Reply>)> + Send>;

/// Which shards a question is for.
#[derive(Clone, Debug)]
pub enum Whom {
    /// Every shard.
    All,
    /// The one where this channel lives, if it exists.
    Home(Identity),
    /// This one.
    One(ShardId),
}

/// The shards, as pages ask them: one question at a time, off this thread. A clone is another way to the same.
#[derive(Clone)]
pub(crate) struct Shards {
    inspect: Arc<Mutex<Inspect>>,
    count: usize,
}

impl Shards {
    pub(crate) fn new(inspect: Inspect, count: usize) -> Self {
        Self {
            inspect: Arc::new(Mutex::new(inspect)),
            count,
        }
    }

    /// Whether there is a shard of this number.
    pub(crate) fn has(&self, shard: ShardId) -> bool {
        shard.index() < self.count
    }

    /// Asks every shard: their answers in the order of shards, or `None` when one does not answer.
    pub(crate) async fn ask_all(&self, question: Question) -> Option<Vec<(ShardId, Reply)>> {
        let answers = self.ask(Whom::All, question).await;
        let whole = answers.into_iter();
        let whole = whole.map(|(shard, reply)| reply.map(|reply| (shard, reply)));
        whole.collect()
    }

    /// Asks the shard where a channel lives; `None` when it does not answer.
    pub(crate) async fn ask_home(
        &self,
        channel: Identity,
        question: Question,
    ) -> Option<(ShardId, Reply)> {
        let answers = self.ask(Whom::Home(channel), question).await;
        let first = answers.into_iter().next();
        first.and_then(|(shard, reply)| reply.map(|reply| (shard, reply)))
    }

    /// Asks one shard; `None` when it does not answer.
    pub(crate) async fn ask_one(&self, shard: ShardId, question: Question) -> Option<Reply> {
        let answers = self.ask(Whom::One(shard), question).await;
        answers.into_iter().next().and_then(|(_, reply)| reply)
    }

    async fn ask(&self, whom: Whom, question: Question) -> Vec<(ShardId, Option<Reply>)> {
        let mut inspect = self.inspect.clone().lock_owned().await;
        let answers = tokio::task::spawn_blocking(move || (*inspect)(&whom, &question)).await;
        answers.unwrap_or_default()
    }
}
