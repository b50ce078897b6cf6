//! The main thread while the server runs. Waits for signals and reports from shards, checks that the shards respond,
//! follows the cluster node, and shuts the process down.

use crate::edge::{Post, Scraped, ShardEvent, ShardHandle};
use crate::failure::{Failure, Fallible};
use crate::hooks::{Hooks, Order};
use crate::server::cluster::node::Node;
use crate::server::cluster::slot_orders::{NodeNews, Tallies};
use crate::server::mailboxes::Mailboxes;
use crate::server::{mailboxes::post_to_all, reload::Reloader, supervisor::Supervisor};
use crate::side::{
    History, HistoryStore, MarkKind, Shared, SideCommand, Status, StatusBoard, Survey,
    give_memory_back, unmap_code,
};
use broker_core::cluster::limits::INNER_VERSION;
use broker_core::cluster::link::sum_of;
use broker_core::cluster::message::Ending;
use broker_core::id::ShardId;
use broker_core::shard::{Letter, Shard, Snapshot};
use crossbeam_channel::{Receiver, never, select};
use std::time::{Duration, Instant};

pub(crate) struct Watch<'n> {
    pub(crate) shards: Vec<ShardHandle>,
    pub(crate) mailboxes: Mailboxes,
    pub(crate) status: StatusBoard,
    pub(crate) told: Receiver<SideCommand>,
    pub(crate) happened: Receiver<ShardEvent>,
    pub(crate) reloader: Reloader,
    pub(crate) hooks: Option<Hooks>,
    pub(crate) supervisor: Supervisor,
    pub(crate) rounds: Rounds,
    pub(crate) follower: Follower<'n>,
    pub(crate) drain_ms: u64,
}

pub(crate) struct Rounds {
    pulse: ShardPulses,
    history: Shared<History>,
    store: HistoryStore,
    tallies: Vec<Tallies>,
    /// Whether the next round is the first, which counts as part of startup because some code runs for the first time.
    is_first: bool,
    due: Instant,
    remind: Instant,
}

enum News {
    Command(SideCommand),
    Shard(ShardEvent),
    Drain,
    Node(Ending, Vec<String>),
    /// The node's thread panicked, so the reason why the node stopped is unknown.
    NodeDied,
    Late,
}

impl Watch<'_> {
    /// Waits for a signal, then drains, stops and joins the shards. Records startup and shutdown in the history.
    pub(crate) fn until_the_end(mut self) -> Fallible<()> {
        let store = self.rounds.store.clone();
        let mut history = self.rounds.history.lock();
        history.hooks.clone_from(&self.hooks);
        drop(history);
        self.reloader.history = store.clone();
        store.mark(MarkKind::Start, crate::version::label());
        let ended = self.run();
        let says = match &ended {
            Ok(()) => "clean shutdown".to_owned(),
            Err(failure) => format!("ended: {failure}"),
        };
        store.mark(MarkKind::Stop, says);
        store.settle();
        ended
    }

    fn run(mut self) -> Fallible<()> {
        self.serve()?;
        self.supervisor.stopping();
        if self.supervisor.keeps_listeners {
            // No more clients are accepted. New ones wait in the backlogs of the listening sockets, which stay open for
            // the next process. The drain is short, since disconnected clients can reconnect immediately.
            post_to_all(&self.mailboxes, || Post::StopAccepting);
            self.drain_ms = self.drain_ms.min(KEPT_DRAIN_MS);
            self.wait_for_all(KEPT_SETTLE, |_| false)?;
        }
        self.status.set(Status::Draining);
        let within = format!("within {} ms", self.drain_ms);
        self.rounds.store.mark(MarkKind::Drain, within);
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
                .map_err(|error| Failure::fatal(&format!("shard {shard} failed"), &error))?;
        }
        tracing::info!("ended");
        Ok(())
    }

    fn serve(&mut self) -> Fallible<()> {
        loop {
            match self.next(Instant::now() + REMIND_EVERY) {
                News::Command(SideCommand::End) | News::Drain => return Ok(()),
                News::Command(SideCommand::Reload) => {
                    self.supervisor.reloading();
                    self.reloader.reload_all();
                    self.supervisor.ready();
                }
                News::Shard(ShardEvent::Drained(_)) | News::Late => {}
                News::Shard(ShardEvent::Ended(id)) => return Err(self.died(id)),
                News::Node(ending, others) => return Err(failure(ending, &others)),
                News::NodeDied => return Err(died()),
            }
        }
    }

    /// Hands this node's slots over to other nodes, if the cluster's slots can change owners. Meanwhile, clients whose
    /// channels are on other nodes are still served.
    fn give_slots(&mut self) -> Fallible<()> {
        // Fails if the node has already ended.
        if !self.follower.node.is_some_and(|node| node.handle.drain()) {
            return Ok(());
        }
        tracing::info!(
            "giving all slots to other nodes: press Ctrl-C again to stop now, or send SIGTERM again"
        );
        let until = Instant::now() + GIVING_MAX;
        loop {
            match self.next(until) {
                News::Command(SideCommand::End) => return Err(Failure::Impatience),
                News::Command(SideCommand::Reload) | News::Drain => {}
                News::Shard(ShardEvent::Drained(_)) => {}
                News::Shard(ShardEvent::Ended(id)) => return Err(self.died(id)),
                News::Node(ending, others) => {
                    report(ending, &others);
                    if ending.leaves_slots() {
                        // The remaining clients belong to slots that no other node took, so a shorter drain is enough.
                        self.drain_ms /= 2;
                    }
                    return Ok(());
                }
                News::NodeDied => {
                    tracing::warn!("{}", died());
                    return Ok(());
                }
                News::Late => {
                    tracing::warn!("not every slot was transferred in time");
                    return Ok(());
                }
            }
        }
    }

    fn died(&self, id: ShardId) -> Failure {
        let shard = id.0;
        let handle = self.shards.get(id.index());
        let why = handle.and_then(ShardHandle::failure).unwrap_or("no error");
        Failure::Fatal(format!(
            "shard {shard} died: {why}; the process exits so that its supervisor restarts it"
        ))
    }

    /// Waits up to `limit` until every shard has reported the wanted event. Returns whether all of them have.
    fn wait_for_all(
        &mut self,
        limit: Duration,
        wanted: impl Fn(ShardEvent) -> bool,
    ) -> Fallible<bool> {
        let until = Instant::now() + limit;
        let mut left = self.shards.len();
        while left > 0 {
            match self.next(until) {
                News::Command(SideCommand::End) => return Err(Failure::Impatience),
                News::Command(SideCommand::Reload) | News::Drain => {}
                News::Shard(event) if wanted(event) => left -= 1,
                News::Shard(ShardEvent::Drained(_)) | News::Node(..) | News::NodeDied => {}
                News::Shard(ShardEvent::Ended(id)) => return Err(self.died(id)),
                News::Late => return Ok(false),
            }
        }
        Ok(true)
    }

    /// Returns the next event, or [`News::Late`] if none occurs before `until`. Performs the periodic work while it
    /// waits.
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
            if !matches!(news, News::Late) || now >= until {
                return news;
            }
        }
    }

    /// Performs the work that is due every second: checks the shards, polls the files, and releases memory.
    fn go_round(&mut self, now: Instant) {
        self.rounds.due = now + ROUND_EVERY;
        for finding in self.rounds.look(now) {
            let (shard, silence, says) = match finding {
                ShardChange::Silent(shard, silence) => {
                    let says = "the shard does not answer: it is stuck or has no CPU";
                    (shard, silence, says)
                }
                ShardChange::Back(shard, silence) => (shard, silence, "the shard answers again"),
            };
            tracing::warn!(shard, ?silence, "{says}");
            let says = format!("shard {shard}, silent for {silence:.1?}: {says}");
            self.rounds.store.mark(MarkKind::Alert, says);
        }
        if self.rounds.pulse.is_well(now) {
            self.supervisor.alive();
        }
        self.follower.look(&self.rounds, &self.status, now);
        let is_read = self.reloader.look(now);
        give_memory_back();
        if std::mem::take(&mut self.rounds.is_first) || is_read {
            unmap_code();
        }
        if now >= self.rounds.remind {
            self.rounds.remind = now + REMIND_EVERY;
            self.reloader.remind();
        }
    }
}

impl Rounds {
    fn look(&mut self, now: Instant) -> Vec<ShardChange> {
        let mut history = self.history.lock();
        let tallies = &mut self.tallies;
        let findings = self.pulse.poll(now, |mut answer| {
            if let Some(tallies) = tallies.get_mut(answer.shard.index()) {
                tallies.waiting = answer.snapshot.counters.pending_messages;
                tallies.links = std::mem::take(&mut answer.links);
            }
            history.note(answer);
        });
        history.close(now);
        findings
    }

    pub(crate) fn new(mailboxes: Mailboxes, history: Shared<History>, now: Instant) -> Self {
        let store = history.lock().store();
        Self {
            tallies: vec![Tallies::default(); mailboxes.len()],
            is_first: true,
            pulse: ShardPulses::new(mailboxes, now),
            store,
            history,
            due: now + ROUND_EVERY,
            remind: now + REMIND_EVERY,
        }
    }
}

/// How long the main thread waits past a drain's deadline in case a shard hangs. Normally, the shards themselves finish
/// the drain.
const DRAIN_SLACK: Duration = Duration::from_secs(2);
/// Duration of a drain whose clients can reconnect immediately, in milliseconds. Long enough to send close frames.
const KEPT_DRAIN_MS: u64 = 140;
/// How long newly accepted connections are still served before the drain refuses them.
const KEPT_SETTLE: Duration = Duration::from_millis(60);
/// Timeout for stopping the shards. Stopping is quick, since the shards abort their connections.
const STOP_MAX: Duration = Duration::from_secs(5);
/// Interval of the periodic work. Each round takes three stat calls and a datagram.
const ROUND_EVERY: Duration = Duration::from_secs(1);
const REMIND_EVERY: Duration = Duration::from_secs(24 * 60 * 60);

// Shard liveness. Every two seconds, each shard is asked for its counters, and replies between two loop iterations.

/// Tracks whether each shard responds. The main thread has the process's only tracker.
pub(crate) struct ShardPulses {
    survey: Survey<Shard, Scraped<Snapshot>>,
    shards: Vec<Rhythm>,
}

#[derive(Clone, Copy)]
struct Rhythm {
    asked: Instant,
    /// How long the shard must be silent before it is reported again. Doubles after each report.
    report_at: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ShardChange {
    Silent(usize, Duration),
    Back(usize, Duration),
}

impl ShardPulses {
    pub(crate) fn new(mailboxes: Mailboxes, now: Instant) -> Self {
        let rhythm = Rhythm {
            asked: now,
            report_at: SILENT,
        };
        Self {
            shards: vec![rhythm; mailboxes.len()],
            survey: Survey::new(mailboxes),
        }
    }

    /// Collects the shards' responses, passes each one to `note`, and queries the shards that are due for a query.
    /// Returns the shards that have stopped or resumed responding.
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
                // A shard that still owes a response is not queried again.
                self.survey.post(shard, now, Post::Scrape);
            }
        }
        findings
    }

    fn is_well(&self, now: Instant) -> bool {
        let stuck = |shard| self.survey.silence(shard, now) >= Some(STUCK);
        !self.survey.all().any(stuck)
    }
}

/// Interval between queries to a shard. Each query wakes a sleeping shard. At this interval, an idle shard can spend
/// half of its time in deep sleep.
const ASK_EVERY: Duration = Duration::from_secs(2);
/// How long a shard may take to respond before it is reported. Doubles after each report. For comparison, a loop
/// iteration takes milliseconds.
const SILENT: Duration = Duration::from_secs(1);
/// How long a shard may take to respond before it counts as stuck. From then on, the watchdog gets no keepalives.
const STUCK: Duration = Duration::from_secs(10);

// Cluster membership on the main thread. Tells the node about hanging shards, queued messages and shutdown, and
// receives the node's report that it has stopped.

/// Follows this node's state in a cluster. There is one follower per process. It does nothing without a cluster.
pub(crate) struct Follower<'n> {
    node: Option<&'n Node>,
    pub(crate) news: Receiver<NodeNews>,
    is_stuck: bool,
    /// Number of slots that this node owned at the last check, and the number that it owned when the last mark was
    /// added to the history.
    slots: [usize; 2],
}

impl<'n> Follower<'n> {
    /// Creates the follower. Without a node, clients are served immediately. Otherwise, they are served once the node
    /// is ready.
    pub(crate) fn new(node: Option<&'n Node>, status: &StatusBoard) -> Self {
        if node.is_none() {
            status.set(Status::Ok);
        }
        Self {
            node,
            news: node.map_or_else(never, |node| node.news.clone()),
            is_stuck: false,
            slots: [0; 2],
        }
    }

    /// Performs the checks that are due every second: whether shards respond, whether clients can be served, and how
    /// many messages are queued.
    pub(crate) fn look(&mut self, rounds: &Rounds, status: &StatusBoard, now: Instant) {
        let Some(node) = self.node else { return };
        *node.tallies.lock() = Tallies {
            waiting: rounds.tallies.iter().map(|of| of.waiting).sum(),
            links: sum_of(rounds.tallies.iter().map(|of| &of.links)),
        };
        let is_stuck = !rounds.pulse.is_well(now);
        if is_stuck != self.is_stuck && node.stuck(is_stuck) {
            self.is_stuck = is_stuck;
        }
        let (slots, [last, marked]) = (node.slots(), self.slots);
        self.slots = [slots, marked];
        // Many slots may move within a second. A single mark in the history records all of these moves.
        if slots == last && slots != marked {
            self.slots = [slots; 2];
            let says = format!("this node owns {slots} slots; before: {marked}");
            rounds.store.mark(MarkKind::Slots, says);
        }
        if status.status() == Status::Starting && node.map.has_owners() {
            status.set(Status::Ok);
            tracing::info!("ready: the channels of the cluster can be reached");
        }
    }
}

/// Returns the failure to report when the node has stopped. `others` names the nodes that caused this, if any.
pub(crate) fn failure(ending: Ending, others: &[String]) -> Failure {
    let others = others.join(", ");
    match ending {
        Ending::Drained { .. } => Failure::Fatal("the node left its cluster".into()),
        Ending::Removed => Failure::Fatal("this node was removed from its cluster".into()),
        Ending::NameTaken => Failure::Configuration(format!(
            "cluster.node: another process runs under this name: {others}; give each machine a unique name and its \
             own data directory: one that was copied from another node must be emptied. To replace that process, \
             stop it first, then start this one again"
        )),
        Ending::Unproven => Failure::Configuration(format!(
            "cluster.secret_file: no node that is registered in etcd under cluster.name has a proof that is valid \
             under this secret, for this cluster's id and slot hash key: {others}; give this node their secret, or \
             another cluster.name. After a change of the secret, stop all nodes first"
        )),
        Ending::OtherVersion { inner } => Failure::Configuration(format!(
            "this program has inner version {INNER_VERSION}, and a registered node has {inner}: {others}; only \
             neighbouring versions share a cluster: upgrade all nodes one version at a time, or stop all of them first"
        )),
        Ending::Outdated { lowest } => Failure::Configuration(format!(
            "this program is too old for its cluster, whose nodes have agreed on inner version {lowest}; this one has \
             {INNER_VERSION}: install the version of the other nodes"
        )),
    }
}

/// Returns the failure for a panic of the node's thread. Other nodes will claim the node's slots when its lease
/// expires.
fn died() -> Failure {
    let why = "the cluster thread died; the process exits so that its supervisor restarts it";
    Failure::Fatal(why.into())
}

pub(crate) fn report(ending: Ending, others: &[String]) {
    match ending {
        Ending::Drained { left: 0 } => tracing::info!("all slots were transferred to other nodes"),
        Ending::Drained { left } => tracing::warn!(
            left,
            "no other node claimed these slots: their channels are unavailable until one does"
        ),
        Ending::Removed | Ending::NameTaken | Ending::Outdated { .. } => {
            tracing::warn!("{}", failure(ending, others))
        }
        Ending::Unproven | Ending::OtherVersion { .. } => {
            tracing::warn!("{}", failure(ending, others))
        }
    }
}

/// Time limit for handing over all slots, which usually takes seconds. Without progress, the node gives up after 25 s.
const GIVING_MAX: Duration = Duration::from_secs(120);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::watch;
    use crossbeam_channel::unbounded;
    use std::sync::Arc;
    use std::thread;

    /// Returns the watch of a process without shards whose node reports `news`. Stops the test if it takes too long.
    fn watch(news: Receiver<NodeNews>) -> Watch<'static> {
        let mailboxes: Mailboxes = Arc::from([]);
        let (now, status) = (Instant::now(), StatusBoard::default());
        let (commands, told) = unbounded();
        thread::spawn(move || {
            thread::sleep(Duration::from_secs(10));
            let _ = commands.send(SideCommand::End);
        });
        let mut follower = Follower::new(None, &status);
        follower.news = news;
        Watch {
            hooks: None,
            shards: Vec::new(),
            rounds: Rounds::new(
                Arc::clone(&mailboxes),
                Shared::new(History::new(0, now, HistoryStore::default())),
                now,
            ),
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
        assert_eq!(watch(news).serve(), Err(watch::died()));
    }

    #[test]
    fn a_node_that_says_how_it_ended_did_not_die() {
        let (reports, news) = unbounded();
        let ended = NodeNews::Ended(Ending::Removed, Vec::new());
        reports.send(ended).unwrap();
        drop(reports);
        let mut watch = watch(news);
        let why = watch::failure(Ending::Removed, &[]);
        assert_eq!(watch.serve(), Err(why));
        let all_drained = watch.wait_for_all(Duration::from_secs(1), |_| true);
        assert_eq!(all_drained, Ok(true));
    }
}

#[cfg(test)]
mod pulse_tests {
    use super::*;
    use crate::edge::EdgeCounts;
    use broker_core::cluster::link::LinkTable;
    use broker_core::id::ShardId;
    use mailbox::Mailbox;
    use std::sync::Arc;

    fn answer(mailbox: &Mailbox<Post<Shard>>, shard: u16) {
        let Some(Post::Scrape(to)) = mailbox.try_take() else {
            panic!("shard {shard} was not asked")
        };
        let answer = Scraped {
            shard: ShardId(shard),
            snapshot: Snapshot::default(),
            edge: EdgeCounts::default(),
            links: LinkTable::new(),
        };
        to.try_send(answer).unwrap();
    }

    #[test]
    fn a_shard_that_hangs_is_reported_and_not_queried_twice() {
        let mailboxes: Vec<_> = (0..2).map(|_| Mailbox::new(8, 4).unwrap()).collect();
        let mailboxes: Arc<[_]> = mailboxes.into();
        let start = Instant::now();
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        let mut pulse = ShardPulses::new(Arc::clone(&mailboxes), start);
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
        let mut pulse = ShardPulses::new(Arc::clone(&mailboxes), start);
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
