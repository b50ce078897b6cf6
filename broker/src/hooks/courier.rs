//! The courier, a task on the side thread that receives events from the shards and delivers them to the hooks'
//! receivers.

use crate::edge::turn::calendar;
use crate::hooks::client::{Client, Letter};
use crate::hooks::event::{self, EventTerms};
use crate::hooks::queue::{Answer, Half, HookDelivery, Key, Outcome, Queue, What};
use crate::hooks::wake::{Act, WakeResult, Wakes};
use crate::hooks::{Order, address};
use broker_core::presence::{Presence, PresenceCause, Told};
use broker_core::settings::{Hook, Settings, mask_of};
use broker_core::{event::Histogram, id::Account, time::Wall};
use std::sync::Arc;
use std::time::{Duration, Instant};
use strum::EnumCount;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;

/// Delivers the events of all hooks. A process that has hooks runs one courier.
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
    /// Number of the job that was queued last.
    jobs: u64,
    /// Time at which the report is updated next.
    tells_at: u64,
}

struct HookReceiver {
    client: Client,
    queue: Queue,
    error: Option<String>,
    /// Whether `error` has been logged.
    said: bool,
    /// Time until which nothing more is logged about this receiver.
    says_at: u64,
}

struct EndedRequest {
    hook: usize,
    key: Key,
    answer: Answer,
    error: Option<String>,
}

pub(crate) struct CourierEnds {
    pub(crate) told: mpsc::Receiver<Told>,
    pub(crate) orders: mpsc::Receiver<Order>,
    pub(crate) report: watch::Sender<HooksReport>,
}

impl Courier {
    pub(crate) fn new(
        settings: &Arc<Settings>,
        terms: EventTerms,
        clients: Vec<Client>,
        seed: u64,
        ends: CourierEnds,
    ) -> Self {
        let receivers = clients.into_iter().zip(&settings.hooks).zip(0..);
        let receivers =
            receivers.map(|((client, hook), nth)| HookReceiver::new(client, hook, seed ^ nth));
        Self {
            settings: Arc::clone(settings),
            terms,
            receivers: receivers.collect(),
            seed,
            wakes: Wakes::default(),
            told: ends.told,
            orders: ends.orders,
            report: ends.report,
            flights: JoinSet::new(),
            began: Instant::now(),
            jobs: 0,
            tells_at: 0,
        }
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
        let lingers = state.cause == PresenceCause::MasterLeft;
        let ready = now
            + if lingers {
                self.settings.presence.linger_ms
            } else {
                0
            };
        let what = What::Presence(Arc::clone(&state));
        let key = Key {
            half: Half::States,
            channel,
        };
        self.put(&state, (key, what), |hook| hook.presence, (ready, None));
    }

    fn act(&mut self, act: &Act, now: u64) {
        match act {
            Act::Call(state, attempt) => {
                let key = Key {
                    half: Half::Wakes,
                    channel: (*state.arn).into(),
                };
                let until = state.waiting.iter().map(|waiter| waiter.until.0).max();
                let left = until.map_or(0, |until| until.saturating_sub(state.at.0));
                let what = What::Wake(Arc::clone(state), *attempt);
                self.put(
                    state,
                    (key, what),
                    |hook| hook.wakes,
                    (now, Some(now + left)),
                );
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

    /// Queues a job for each hook that watches the channel and subscribes to this type of event.
    fn put(
        &mut self,
        state: &Presence,
        (key, what): (Key, What),
        wants: impl Fn(&Hook) -> bool,
        (ready, expires): (u64, Option<u64>),
    ) {
        for nth in 0..self.receivers.len() {
            let hook = self.settings.hooks.get(nth).filter(|hook| wants(hook));
            if hook.is_some() && state.hooks & mask_of(nth) != 0 {
                let job = HookDelivery {
                    key: key.clone(),
                    account: state.account,
                    number: 0,
                    what: what.clone(),
                    ready,
                    came: false,
                    expires,
                };
                self.put_to(nth, job);
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
        let job = HookDelivery {
            key: Key {
                half: Half::States,
                channel: kind.into(),
            },
            account: Account(0),
            number: 0,
            what,
            ready: self.now(),
            came: false,
            expires: None,
        };
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
            body: self.body(hook, &job.what, wall),
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

    fn body(&self, hook: &Hook, what: &What, at: Wall) -> axum::body::Bytes {
        match what {
            What::Presence(state) => event::presence(hook, &self.terms, state),
            What::Wake(state, attempt) => event::wake(hook, &self.terms, state, *attempt),
            What::Slots(serving) => event::slots(&self.terms, serving, at),
            What::Node(kind) => event::node(kind, &self.terms, at),
            What::Problem(problem) => event::problem(problem, &self.terms, at),
        }
    }

    fn landed(&mut self, landed: EndedRequest) {
        let now = self.now();
        let EndedRequest {
            hook: nth,
            key,
            answer,
            error,
        } = landed;
        let Some(receiver) = self.receivers.get_mut(nth) else {
            return;
        };
        let outcome = receiver.queue.done(&key, answer, now);
        let resync = answer == Answer::Taken && receiver.queue.take_lost();
        let (failures, off) = (receiver.queue.failures(), receiver.queue.is_off());
        receiver.error.clone_from(&error);
        self.report.send_modify(|report| {
            if let Some(of_hook) = report.hooks.get_mut(nth) {
                of_hook.count(outcome, 1);
                (of_hook.failures, of_hook.off) = (failures, off);
                of_hook.error = error;
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
                receiver.queue.retry_for(hook.retry_ms);
                receiver.queue.switch_on();
                continue;
            }
            let receiver = HookReceiver::new(client, hook, self.seed ^ nth as u64);
            self.receivers.push(receiver);
            self.report
                .send_modify(|report| report.hooks.push(HookReport::of(hook)));
            self.notify(nth, "node.started", What::Node("node.started"));
        }
    }

    /// Sends a test event at once, without queueing it.
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
                (of_hook.failures, of_hook.off) = (queue.failures(), queue.is_off());
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

    /// Logs that a receiver has started to fail or has recovered. Because any number of events may fail, logs at most
    /// one line every [`SAY_EVERY_MS`].
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

/// Maximum number of additional channel states that the courier processes per turn after the first.
const TOLD_PER_TURN: usize = 256;

// Statistics of hooks, updated by the courier and read by other tasks.

/// Statistics of all hooks at a point in time.
#[derive(Clone, Debug, Default)]
pub struct HooksReport {
    /// Statistics of each hook, in configuration order.
    pub hooks: Vec<HookReport>,
    /// Number of completed series of wake calls for each [`WakeResult`].
    pub wakes: [u64; WakeResult::COUNT],
    /// Distribution of the time between the first pending message and the connection of the master, over all successful
    /// series of wake calls.
    pub wake_seconds: Histogram,
}

/// Statistics of one hook.
#[derive(Clone, Debug, Default)]
pub struct HookReport {
    /// Name of the hook.
    pub name: String,
    /// Number of requests and jobs for each [`Outcome`].
    pub outcomes: [u64; Outcome::COUNT],
    /// Number of channels that have an event queued or in flight.
    pub waiting: u64,
    /// Age in milliseconds of the oldest event that is queued or in flight.
    pub oldest_ms: u64,
    /// Number of consecutive failed requests.
    pub failures: u32,
    /// Whether the receiver has responded with 410. If so, nothing is sent to it until a reload.
    pub off: bool,
    /// Error of the last request, or `None` if it succeeded.
    pub error: Option<String>,
}

impl HookReport {
    pub(crate) fn of(hook: &Hook) -> Self {
        Self {
            name: hook.name.clone(),
            ..Self::default()
        }
    }

    pub(crate) fn count(&mut self, outcome: Outcome, times: usize) {
        if let Some(count) = self.outcomes.get_mut(outcome as usize) {
            *count += times as u64;
        }
    }
}
