//! The courier: a task on the side thread that receives events from the shards and delivers them to the hooks'
//! receivers.

use crate::edge::turn::calendar;
use crate::hooks::client::{Client, Letter};
use crate::hooks::event::{self, EventTerms};
use crate::hooks::queue::{Answer, Half, HookDelivery, Key, Outcome, Queue, What};
use crate::hooks::wake::{Act, WakeResult, Wakes};
use crate::hooks::{HookReport, Hooks, HooksReport, ORDERS_WAITING_MAX, Order, address};
use crate::limits::PRESENCES_WAITING_MAX;
use broker_core::cluster::slot_maps::SlotMap;

use broker_core::presence::{PresenceCause, Told};
use broker_core::settings::{Hook, Settings, mask_of};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;

/// Delivers events for all hooks. A process with hooks runs a single courier.
pub struct Courier {
    settings: Arc<Settings>,
    terms: EventTerms,
    receivers: Vec<HookReceiver>,
    wakes: Wakes,
    told: mpsc::Receiver<Told>,
    orders: mpsc::Receiver<Order>,
    report: watch::Sender<HooksReport>,
    flights: JoinSet<EndedRequest>,
    seed: u64,
    began: Instant,
    /// Number of the most recently queued job.
    jobs: u64,
    /// Time of the next report update.
    tells_at: u64,
}

struct HookReceiver {
    client: Client,
    queue: Queue,
    error: Option<String>,
    /// Whether `error` has been logged.
    said: bool,
    /// No further line about this receiver is logged before this time.
    says_at: u64,
}

struct EndedRequest {
    hook: usize,
    key: Key,
    answer: Answer,
    error: Option<String>,
}

impl Courier {
    /// Creates the courier, which runs on the side thread, and its handle.
    pub(crate) fn new(
        settings: &Arc<Settings>,
        (epoch, slots): (u64, Option<Arc<SlotMap>>),
        clients: Vec<Client>,
        seed: u64,
    ) -> (Self, Hooks) {
        let (tell, told) = mpsc::channel(PRESENCES_WAITING_MAX);
        let (order, orders) = mpsc::channel(ORDERS_WAITING_MAX);
        let (report, reports) = watch::channel(HooksReport {
            hooks: settings.hooks.iter().map(HookReport::of).collect(),
            ..HooksReport::default()
        });
        let receivers = clients.into_iter().zip(&settings.hooks).zip(0..);
        let receivers =
            receivers.map(|((client, hook), nth)| HookReceiver::new(client, hook, seed ^ nth));
        let courier = Self {
            settings: Arc::clone(settings),
            terms: EventTerms::new(epoch, slots),
            receivers: receivers.collect(),
            seed,
            wakes: Wakes::default(),
            told,
            orders,
            report,
            flights: JoinSet::new(),
            began: Instant::now(),
            jobs: 0,
            tells_at: 0,
        };
        let hooks = Hooks {
            told: tell,
            orders: order,
            report: reports,
        };
        (courier, hooks)
    }

    /// Runs the courier until the process ends.
    pub async fn run(mut self) {
        self.notify_all("node.started");
        loop {
            let now = self.now();
            for act in self.wakes.due(now, |state| self.terms.is_current(state)) {
                self.act(&act, now);
            }
            if let Some(serving) = self.terms.news(now) {
                self.tell_all("slots.serving", &What::Slots(serving));
            }
            self.send(now);
            self.tell();
            let wait = self.next_due().map_or(LOOK_EVERY, |due| {
                Duration::from_millis(due.saturating_sub(now)).min(LOOK_EVERY)
            });
            tokio::select! {
                biased; // handle orders first: they may change the hooks that apply to the states after them
                Some(order) = self.orders.recv() => self.obey(order),
                Some(landed) = self.flights.join_next(), if !self.flights.is_empty() => {
                    if let Ok(landed) = landed {
                        self.landed(landed);
                    }
                }
                Some(told) = self.told.recv() => {
                    self.heard(told);
                    for _ in 0..TOLD_PER_TURN {
                        let Ok(told) = self.told.try_recv() else { break };
                        self.heard(told);
                    }
                }
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    fn heard(&mut self, told: Told) {
        let now = self.now();
        let state = match told {
            Told::Presence(state) => Arc::new(*state),
            Told::Lost => return self.notify_all("node.resync"),
        };
        if !self.terms.is_current(&state) {
            return;
        }
        let channel: Arc<str> = (*state.arn).into();
        if state.hooks & self.settings.waking_hooks() != 0 {
            for act in self.wakes.saw(&channel, &state, now) {
                self.act(&act, now);
            }
        }
        let mut job = HookDelivery::new(Half::States, channel, What::Presence(state), now);
        if job
            .what
            .state()
            .is_some_and(|state| state.cause == PresenceCause::MasterLeft)
        {
            job.ready += self.settings.presence.linger_ms;
        }
        self.put(&job, |hook| hook.presence);
    }

    fn act(&mut self, act: &Act, now: u64) {
        match act {
            Act::Call(state, attempt) => {
                let until = state.waiting.iter().map(|waiter| waiter.until.0).max();
                let left = until.map_or(0, |until| until.saturating_sub(state.at.0));
                let what = What::Wake(Arc::clone(state), *attempt);
                let mut job = HookDelivery::new(Half::Wakes, (*state.arn).into(), what, now);
                job.expires = Some(now + left);
                self.put(&job, |hook| hook.wakes);
            }
            Act::Withdraw(channel) => {
                let key = Key {
                    half: Half::Wakes,
                    channel: Arc::clone(channel),
                };
                for receiver in &mut self.receivers {
                    receiver.queue.withdraw(&key);
                }
            }
            Act::Ended(result, after_ms) => self.report.send_modify(|report| {
                if let Some(count) = report.wakes.get_mut(*result as usize) {
                    *count += 1;
                }
                if *result == WakeResult::Connected {
                    report
                        .wake_seconds
                        .observe(after_ms.saturating_mul(1000), 1);
                }
            }),
        }
    }

    /// Queues a job for each hook that watches the job's channel and subscribes to this type of event.
    fn put(&mut self, job: &HookDelivery, wants: impl Fn(&Hook) -> bool) {
        let hooks = job.what.state().map_or(0, |state| state.hooks);
        for nth in 0..self.receivers.len() {
            let hook = self.settings.hooks.get(nth).filter(|hook| wants(hook));
            if hook.is_some() && hooks & mask_of(nth) != 0 {
                self.put_to(nth, job.clone());
            }
        }
    }

    fn put_to(&mut self, nth: usize, mut job: HookDelivery) {
        self.jobs += 1;
        job.number = self.jobs;
        let now = self.now();
        let receiver = self.receivers.get_mut(nth);
        let dropped = receiver.map_or(0, |receiver| receiver.queue.put(job, now));
        self.count(nth, Outcome::Dropped, dropped);
    }

    fn notify_all(&mut self, kind: &'static str) {
        self.tell_all(kind, &What::Node(kind));
    }

    fn tell_all(&mut self, kind: &str, what: &What) {
        for nth in 0..self.receivers.len() {
            self.notify(nth, kind, what.clone());
        }
    }

    fn notify(&mut self, nth: usize, kind: &str, what: What) {
        let job = HookDelivery::new(Half::States, kind.into(), what, self.now());
        self.put_to(nth, job);
    }

    fn send(&mut self, now: u64) {
        for nth in 0..self.receivers.len() {
            let mut expired = 0;
            while let Some(receiver) = self.receivers.get_mut(nth)
                && let Some(job) = receiver.queue.next(now, &mut expired)
            {
                let state = job.what.state();
                if state.is_none_or(|state| self.terms.is_current(state)) {
                    self.launch(nth, job);
                } else {
                    receiver.queue.done(&job.key, Answer::Refused, now);
                    expired += 1;
                }
            }
            self.count(nth, Outcome::Expired, expired);
        }
    }

    fn launch(&mut self, nth: usize, job: HookDelivery) {
        let (Some(receiver), Some(hook)) = (self.receivers.get(nth), self.settings.hooks.get(nth))
        else {
            return;
        };
        let wall = calendar();
        let letter = Letter {
            id: self.terms.message_id(job.number),
            timestamp_s: wall.0 / 1000,
            body: match &job.what {
                What::Presence(state) => event::presence(hook, &self.terms, state),
                What::Wake(state, attempt) => event::wake(hook, &self.terms, state, *attempt),
                What::Slots(serving) => event::slots(&self.terms, serving, wall),
                What::Node(kind) => event::node(kind, &self.terms, wall),
                What::Problem(problem) => event::problem(problem, &self.terms, wall),
            },
        };
        let name = job.what.state().map_or("", |state| &state.name);
        let to = address::of_channel(&hook.url, name);
        let client = receiver.client.clone();
        self.flights.spawn(async move {
            let (answer, error) = client.post(to, letter).await;
            EndedRequest {
                hook: nth,
                key: job.key,
                answer,
                error,
            }
        });
    }

    fn landed(&mut self, landed: EndedRequest) {
        let (now, nth) = (self.now(), landed.hook);
        let Some(receiver) = self.receivers.get_mut(nth) else {
            return;
        };
        let outcome = receiver.queue.done(&landed.key, landed.answer, now);
        let resync = landed.answer == Answer::Taken && receiver.queue.take_lost();
        let (failures, off) = receiver.queue.health();
        receiver.error.clone_from(&landed.error);
        self.report.send_modify(|report| {
            if let Some(of_hook) = report.hooks.get_mut(nth) {
                of_hook.count(outcome, 1);
                (of_hook.failures, of_hook.off) = (failures, off);
                of_hook.error = landed.error;
            }
        });
        if resync {
            self.notify(nth, "node.resync", What::Node("node.resync"));
        }
    }

    fn obey(&mut self, order: Order) {
        match order {
            Order::Clients(settings, clients) => self.replace(settings, clients),
            Order::Draining => self.notify_all("node.draining"),
            Order::Test(name, done) => self.test(&name, done),
            Order::Problem(problem) => {
                let key = format!("node.problem {}", problem["id"]);
                let what = What::Problem(problem.into());
                let settings = Arc::clone(&self.settings);
                let hooks = settings.hooks.iter().zip(0..self.receivers.len());
                for (_, nth) in hooks.filter(|(hook, _)| hook.problems) {
                    self.notify(nth, &key, what.clone());
                }
            }
        }
    }

    fn replace(&mut self, settings: Arc<Settings>, clients: Vec<Client>) {
        self.settings = settings;
        let settings = Arc::clone(&self.settings);
        for (nth, (hook, client)) in settings.hooks.iter().zip(clients).enumerate() {
            if let Some(receiver) = self.receivers.get_mut(nth) {
                receiver.client = client;
                receiver.queue.switch_on(hook.retry_ms);
                continue;
            }
            let receiver = HookReceiver::new(client, hook, self.seed ^ nth as u64);
            self.receivers.push(receiver);
            self.report
                .send_modify(|report| report.hooks.push(HookReport::of(hook)));
            self.notify(nth, "node.started", What::Node("node.started"));
        }
    }

    /// Sends a test event immediately, without queueing it.
    fn test(&mut self, name: &str, done: oneshot::Sender<Option<String>>) {
        let hooks = self.settings.hooks.iter().zip(&self.receivers);
        let found = hooks.into_iter().find(|(hook, _)| *hook.name == *name);
        let Some((hook, receiver)) = found else {
            return drop(done);
        };
        self.jobs += 1;
        let wall = calendar();
        let letter = Letter {
            id: self.terms.message_id(self.jobs),
            timestamp_s: wall.0 / 1000,
            body: event::node("hook.test", &self.terms, wall),
        };
        let (client, to) = (receiver.client.clone(), address::of_channel(&hook.url, ""));
        tokio::spawn(async move {
            let (_, error) = client.post(to, letter).await;
            let _ = done.send(error);
        });
    }

    fn tell(&mut self) {
        let now = self.now();
        if now < self.tells_at {
            return;
        }
        self.tells_at = now + TELL_EVERY_MS;
        for (receiver, hook) in self.receivers.iter_mut().zip(&self.settings.hooks) {
            receiver.say(&hook.name, now);
        }
        self.report.send_modify(|report| {
            for (of_hook, receiver) in report.hooks.iter_mut().zip(&self.receivers) {
                let queue = &receiver.queue;
                of_hook.waiting = queue.len() as u64;
                of_hook.oldest_ms = queue.oldest().map_or(0, |since| now.saturating_sub(since));
                (of_hook.failures, of_hook.off) = queue.health();
            }
        });
    }

    fn count(&self, nth: usize, outcome: Outcome, times: usize) {
        if times > 0 {
            self.report.send_modify(|report| {
                if let Some(of_hook) = report.hooks.get_mut(nth) {
                    of_hook.count(outcome, times);
                }
            });
        }
    }

    fn next_due(&self) -> Option<u64> {
        let queues = self.receivers.iter().map(|receiver| &receiver.queue);
        let due = queues.filter_map(Queue::next_due);
        due.chain(self.wakes.next_due()).min()
    }

    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

impl HookReceiver {
    fn new(client: Client, hook: &Hook, seed: u64) -> Self {
        Self {
            client,
            queue: Queue::new(hook.retry_ms, seed),
            error: None,
            said: false,
            says_at: 0,
        }
    }

    /// Logs when a receiver starts to fail or recovers. Because any number of events may fail, at most one line is
    /// logged every [`SAY_EVERY_MS`].
    fn say(&mut self, name: &str, now: u64) {
        if self.error.is_some() == self.said || now < self.says_at {
            return;
        }
        match &self.error {
            Some(error) => tracing::warn!(hook = name, "not delivered: {error}"),
            None => tracing::info!(hook = name, "delivers again"),
        }
        self.said = self.error.is_some();
        self.says_at = now + SAY_EVERY_MS;
    }
}

const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Minimum interval between updates of the report, in milliseconds. Each update visits all queued events.
const TELL_EVERY_MS: u64 = 200;

const SAY_EVERY_MS: u64 = 5_000;

/// Maximum number of channel states that the courier processes per loop iteration, in addition to the first.
const TOLD_PER_TURN: usize = 256;
