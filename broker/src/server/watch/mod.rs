//! The main thread once everything runs: it waits for signals and reports of shards, and ends the process in order.

pub(crate) mod pulse;

use crate::edge::{Post, ShardEvent, ShardHandle};
use crate::failure::Failure;
use crate::hooks::{Hooks, Order};
use crate::server::cluster::follower::{self, Follower, GIVING_MAX};
use crate::server::mailboxes::post_to_all;
use crate::server::node::service::NodeNews;
use crate::server::reload::Reloader;
use crate::server::supervisor::Supervisor;
use crate::side::{Command, History, Shared, Status, StatusBoard, give_memory_back};
use broker_core::cluster::message::Ending;
use broker_core::id::ShardId;
use broker_core::shard::{Letter, Shard};
use crossbeam_channel::{Receiver, never, select};
use mailbox::Mailbox;
use pulse::{Pulse, ShardChange};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A running server, as the main thread sees it.
pub(crate) struct Watch<'n> {
    pub(crate) shards: Vec<ShardHandle>,
    pub(crate) mailboxes: Arc<[Mailbox<Post<Shard>>]>,
    pub(crate) status: StatusBoard,
    pub(crate) told: Receiver<Command>,
    pub(crate) happened: Receiver<ShardEvent>,
    /// The files that are read again when the operator says so or when they change.
    pub(crate) reloader: Reloader,
    /// The ways to the courier of hooks, if there are any.
    pub(crate) hooks: Option<Hooks>,
    /// The service manager.
    pub(crate) supervisor: Supervisor,
    pub(crate) rounds: Rounds,
    /// The node of a cluster, if this is one.
    pub(crate) follower: Follower<'n>,
    pub(crate) drain_ms: u64,
}

/// The periodic work beside waiting.
pub(crate) struct Rounds {
    pulse: Pulse,
    /// Made of the pulse's answers.
    history: Shared<History>,
    /// Messages that wait for peers, by shard, as of its last answer.
    waiting: Vec<u64>,
    /// The next one.
    due: Instant,
    /// The next reminder of the operator.
    remind: Instant,
}

/// The event that ended a wait.
enum News {
    Command(Command),
    Shard(ShardEvent),
    /// An operator wants the node of the cluster to end in order.
    Drain,
    /// The node of the cluster has ended.
    Node(Ending, Vec<String>),
    /// Its thread has ended without a word: it panicked.
    NodeDied,
    /// The wait's time is over.
    Late,
}

impl Watch<'_> {
    /// Waits for a signal, then drains, stops and joins the shards.
    pub(crate) fn until_the_end(mut self) -> Result<(), Failure> {
        self.serve()?;
        self.status.set(Status::Draining);
        self.supervisor.stopping();
        if let Some(hooks) = &self.hooks {
            hooks.order(Order::Draining);
        }
        self.give_slots()?;
        tracing::info!(
            within_ms = self.drain_ms,
            "draining: press Ctrl-C again to stop now, or send SIGTERM again"
        );
        post_to_all(&self.mailboxes, || {
            Post::Letter(Letter::Drain(self.drain_ms))
        });
        let drained = self.wait_for_all(
            Duration::from_millis(self.drain_ms) + DRAIN_SLACK,
            |event| match event {
                ShardEvent::Drained(_) => true,
                ShardEvent::Ended(_) => false,
            },
        )?;
        if !drained {
            tracing::warn!("not every shard drained in time");
        }
        post_to_all(&self.mailboxes, || Post::Stop);
        let ended = self.wait_for_all(STOP_MAX, |event| match event {
            ShardEvent::Drained(_) => false,
            ShardEvent::Ended(_) => true,
        })?;
        if !ended {
            return Err(Failure::Fatal(
                "not every shard ended in time; connections were cut off".into(),
            ));
        }
        for (shard, handle) in self.shards.into_iter().enumerate() {
            handle
                .join()
                .map_err(|error| Failure::fatal(&format!("shard {shard} ended badly"), &error))?;
        }
        tracing::info!("ended");
        Ok(())
    }

    /// Until the first signal to end.
    fn serve(&mut self) -> Result<(), Failure> {
        loop {
            match self.next(Instant::now() + REMIND_EVERY) {
                News::Command(Command::End) | News::Drain => return Ok(()),
                News::Command(Command::Reload) => {
                    self.supervisor.reloading();
                    self.reloader.reload_all();
                    self.supervisor.ready();
                }
                News::Shard(ShardEvent::Drained(_)) | News::Late => {}
                News::Shard(ShardEvent::Ended(id)) => return Err(self.died(id)),
                News::Node(ending, others) => return Err(follower::failure(ending, &others)),
                News::NodeDied => return Err(follower::died()),
            }
        }
    }

    /// In a cluster whose owners change: gives the slots of this node to others. Clients of other nodes' channels are
    /// served meanwhile.
    fn give_slots(&mut self) -> Result<(), Failure> {
        if !self.follower.drain() {
            return Ok(());
        }
        tracing::info!(
            "giving all slots to other nodes: press Ctrl-C again to stop now, or send SIGTERM again"
        );
        let until = Instant::now() + GIVING_MAX;
        loop {
            match self.next(until) {
                News::Command(Command::End) => return Err(Failure::Impatience),
                News::Command(Command::Reload) | News::Drain => {}
                News::Shard(ShardEvent::Drained(_)) => {}
                News::Shard(ShardEvent::Ended(id)) => return Err(self.died(id)),
                News::Node(ending, others) => {
                    follower::report(ending, &others);
                    if ending.leaves_slots() {
                        // No other node awaits those clients: the rest of the end is not spread as far.
                        self.drain_ms /= 2;
                    }
                    return Ok(());
                }
                News::NodeDied => {
                    tracing::warn!("{}", follower::died());
                    return Ok(());
                }
                News::Late => {
                    tracing::warn!("not every slot was given away in time");
                    return Ok(());
                }
            }
        }
    }

    /// A shard ended by itself.
    fn died(&self, id: ShardId) -> Failure {
        let shard = id.0;
        let handle = self.shards.get(id.index());
        let why = handle.and_then(ShardHandle::failure).unwrap_or("no error");
        Failure::Fatal(format!(
            "shard {shard} died: {why}; the process ends, so that a supervisor starts it whole again"
        ))
    }

    /// Until every shard has reported what `wanted` looks for, or `limit` is over: whether they all have.
    fn wait_for_all(
        &mut self,
        limit: Duration,
        wanted: impl Fn(ShardEvent) -> bool,
    ) -> Result<bool, Failure> {
        let until = Instant::now() + limit;
        let mut left = self.shards.len();
        while left > 0 {
            match self.next(until) {
                News::Command(Command::End) => return Err(Failure::Impatience),
                News::Command(Command::Reload) | News::Drain => {}
                News::Shard(event) if wanted(event) => left -= 1,
                News::Shard(ShardEvent::Drained(_)) | News::Node(..) | News::NodeDied => {}
                News::Shard(ShardEvent::Ended(id)) => return Err(self.died(id)),
                News::Late => return Ok(false),
            }
        }
        Ok(true)
    }

    /// The next news, or [`News::Late`] at `until`. Does its rounds meanwhile.
    fn next(&mut self, until: Instant) -> News {
        loop {
            let wake = until.min(self.rounds.due);
            let limit = wake.saturating_duration_since(Instant::now());
            let news = select! {
                recv(self.told) -> command => command.map_or(News::Late, News::Command),
                recv(self.happened) -> event => event.map_or(News::Late, News::Shard),
                recv(self.follower.news) -> news => match news {
                    Ok(NodeNews::Drain) => News::Drain,
                    Ok(NodeNews::Ended(ending, others)) => News::Node(ending, others),
                    Err(_) => {
                        self.follower.news = never();
                        News::NodeDied
                    }
                },
                default(limit) => News::Late,
            };
            let now = Instant::now();
            if now >= self.rounds.due {
                self.go_round(now);
            }
            match news {
                News::Late if now < until => {}
                News::Command(_) | News::Shard(_) | News::Drain | News::Late => return news,
                News::Node(..) | News::NodeDied => return news,
            }
        }
    }

    /// Once a second: are the shards well, have files changed, is there memory to give back?
    fn go_round(&mut self, now: Instant) {
        self.rounds.due = now + ROUND_EVERY;
        for finding in self.rounds.look(now) {
            match finding {
                ShardChange::Silent(shard, silence) => {
                    tracing::warn!(
                        shard,
                        ?silence,
                        "the shard does not answer: it is stuck or has no CPU"
                    );
                }
                ShardChange::Back(shard, silence) => {
                    tracing::warn!(shard, ?silence, "the shard answers again");
                }
            }
        }
        if self.rounds.pulse.is_well(now) {
            self.supervisor.alive();
        }
        let waiting = self.rounds.waiting.iter().sum();
        self.follower
            .look(&self.rounds.pulse, &self.status, waiting, now);
        self.reloader.look();
        give_memory_back();
        if now >= self.rounds.remind {
            self.rounds.remind = now + REMIND_EVERY;
            self.reloader.remind();
        }
    }
}

impl Rounds {
    /// Collects what shards answered and asks again.
    fn look(&mut self, now: Instant) -> Vec<ShardChange> {
        let mut history = self.history.lock();
        let waiting = &mut self.waiting;
        let findings = self.pulse.poll(now, |answer| {
            if let Some(waiting) = waiting.get_mut(answer.shard.index()) {
                *waiting = answer.snapshot.counters.pending_messages;
            }
            history.note(answer);
        });
        history.close(now);
        findings
    }

    /// The first one is a second from `now`.
    pub(crate) fn new(
        mailboxes: Arc<[Mailbox<Post<Shard>>]>,
        history: Shared<History>,
        now: Instant,
    ) -> Self {
        Self {
            waiting: vec![0; mailboxes.len()],
            pulse: Pulse::new(mailboxes, now),
            history,
            due: now + ROUND_EVERY,
            remind: now + REMIND_EVERY,
        }
    }
}

/// Shards end their drain by themselves; this is for one that hangs.
const DRAIN_SLACK: Duration = Duration::from_secs(2);
/// Stop cuts connections off, so it takes no time to speak of.
const STOP_MAX: Duration = Duration::from_secs(5);
/// The interval of the rounds: three calls of stat and a datagram cost nothing to speak of.
const ROUND_EVERY: Duration = Duration::from_secs(1);
/// The interval of reminders to the operator.
const REMIND_EVERY: Duration = Duration::from_secs(24 * 60 * 60);

#[cfg(test)]
mod tests {

    use super::*;
    use crossbeam_channel::unbounded;
    use std::thread;

    /// A process without shards, whose node reports this. It ends when a test takes too long.
    fn watch(news: Receiver<NodeNews>) -> Watch<'static> {
        let mailboxes: Arc<[Mailbox<Post<Shard>>]> = Arc::from([]);
        let (now, status) = (Instant::now(), StatusBoard::default());
        let (commands, told) = unbounded();
        thread::spawn(move || {
            thread::sleep(Duration::from_secs(10));
            let _ = commands.send(Command::End);
        });
        let mut follower = Follower::new(None, &status, None);
        follower.news = news;
        Watch {
            hooks: None,
            shards: Vec::new(),
            rounds: Rounds::new(Arc::clone(&mailboxes), History::shared(0, now), now),
            mailboxes,
            told,
            happened: never(),
            reloader: Reloader::default(),
            supervisor: Supervisor::of_environment(),
            follower,
            status,
            drain_ms: 0,
        }
    }

    #[test]
    fn a_node_that_dies_ends_the_process() {
        let (reports, news) = unbounded();
        drop(reports);
        assert_eq!(watch(news).serve(), Err(follower::died()));
    }

    #[test]
    fn a_node_that_says_how_it_ended_did_not_die() {
        let (reports, news) = unbounded();
        let ended = NodeNews::Ended(Ending::Removed, Vec::new());
        reports.send(ended).unwrap();
        drop(reports);
        let mut watch = watch(news);
        let why = follower::failure(Ending::Removed, &[]);
        assert_eq!(watch.serve(), Err(why));
        let all_drained = watch.wait_for_all(Duration::from_secs(1), |_| true);
        assert_eq!(all_drained, Ok(true));
    }
}
