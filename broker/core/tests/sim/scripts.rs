//! The script of a client's test: faults, clocks that are moved, and a clean state. With a generator of its own, so
//! that worlds without it are the same as if there were none.

use crate::sim::faults::Plan;
use crate::sim::overdue::GRAIN_MS;
use crate::sim::presence::Watcher;
use crate::sim::world::{Cause, World};
use broker_core::settings::Settings;
use broker_core::shard::{
    DeliveryAct, FaultAct, FaultCounts, FaultError, FaultMatch, FaultRule, Glob, MessageAct,
    Question, Reply, RequestAct, Reset, SessionAct,
};
use codec::control::Operation;
use codec::signal::{Action, Role};
use std::sync::Arc;

/// The script of a world.
pub(crate) struct Script {
    random: fastrand::Rng,
    /// Of how many actions one is followed by something of it; never, if 0.
    one_in: u32,
}

impl Script {
    /// A quarter of the worlds under development have one.
    pub(crate) fn draw(seed: u64, plan: &Plan) -> (Self, Arc<Settings>) {
        let mut random = fastrand::Rng::with_seed(seed.wrapping_mul(31) ^ 0x5c24);
        let scripted = plan.dev && random.u32(0..4) == 0;
        let one_in = if scripted { random.u32(4..40) } else { 0 };
        let mut settings = plan.settings();
        if Watcher::reads(seed) {
            settings.hooks.clear();
        }
        if scripted {
            settings.recorder.notes = 0; // what is noted of faults is not looked at
        }
        (Self { random, one_in }, Arc::new(settings))
    }

    /// Whether there is one.
    pub(crate) fn is_on(&self) -> bool {
        self.one_in > 0
    }

    fn pick<T: Clone>(&mut self, all: &[T]) -> T {
        all[self.random.usize(0..all.len())].clone()
    }

    fn maybe<T>(&mut self, one_in: u32, draw: impl FnOnce(&mut Self) -> T) -> Option<T> {
        (self.random.u32(0..one_in) == 0).then(|| draw(self))
    }

    fn span(&mut self) -> u64 {
        let most = self.pick(&[100, 3_000, 60_000, 600_000]);
        self.random.u64(1..most)
    }

    fn act(&mut self) -> FaultAct {
        match self.random.u32(0..10) {
            0 => FaultAct::Connect(self.request_act()),
            1 => FaultAct::Api(self.request_act()),
            2 | 3 => FaultAct::Message(match self.random.u32(0..6) {
                0 => MessageAct::Drop,
                1 => MessageAct::Expire,
                2 => MessageAct::Status {
                    error_type: "InternalFailure".into(),
                    status_code: 500,
                    description: "As a test has it.".into(),
                },
                3 => MessageAct::Misdirect(self.pick(&["viewer-0", "viewer-1", "viewer-9"]).into()),
                4 => MessageAct::Session(self.session_act()),
                _ => MessageAct::Delay(self.span()),
            }),
            4..8 => FaultAct::Delivery(match self.random.u32(0..5) {
                0 => DeliveryAct::Drop,
                1 => DeliveryAct::Duplicate,
                2 => DeliveryAct::Reorder,
                3 => DeliveryAct::Session(self.session_act()),
                _ => DeliveryAct::Delay(self.span()),
            }),
            _ => FaultAct::Session(self.session_act()),
        }
    }

    fn session_act(&mut self) -> SessionAct {
        match self.random.u32(0..7) {
            0 => SessionAct::GoAway {
                grace_ms: self.span(),
            },
            1 => SessionAct::Close {
                code: 4001,
                reason: "as scripted".into(),
                after_ms: 0,
            },
            2 => SessionAct::Close {
                code: 1001,
                reason: "".into(),
                after_ms: self.span(),
            },
            3 => SessionAct::ReconnectIce,
            4 => SessionAct::Stall(self.maybe(2, Self::span)),
            5 => SessionAct::Reset,
            _ => SessionAct::Stall(Some(self.span())),
        }
    }

    fn request_act(&mut self) -> RequestAct {
        let errors = [
            ("AccessDeniedException", 403),
            ("ClientLimitExceededException", 400),
            ("InternalFailure", 500),
            ("InvalidArgumentException", 400),
            ("NotAuthorizedException", 401),
            ("ResourceNotFoundException", 404),
        ];
        match self.random.u32(0..7) {
            0 | 1 => {
                let (name, status) = self.pick(&errors);
                RequestAct::Refuse {
                    error: FaultError::named(name).expect("an error of the service"),
                    status: Some(status),
                    message: "As a test has it.".into(),
                }
            }
            2 => RequestAct::Hang,
            3 => RequestAct::Reset,
            _ => RequestAct::Delay(self.span()),
        }
    }

    fn matches(&mut self, act: &FaultAct) -> FaultMatch {
        let names = ["channel0", "channel1", "channel?", "*", "c*1", "other"];
        let mut about = FaultMatch {
            channel: self.maybe(2, |script| Glob::new(script.pick(&names))),
            role: None,
            client_id: None,
            operation: None,
            action: None,
        };
        if !matches!(act, FaultAct::Api(_)) {
            let ids = ["viewer-0", "viewer-?", "*-1"];
            about.client_id = self.maybe(5, |script| Glob::new(script.pick(&ids)));
            about.role = self.maybe(3, |script| script.pick(&[Role::Viewer, Role::Master]));
        } else {
            about.operation = self.maybe(2, |script| script.pick(Operation::ALL));
        }
        if matches!(act, FaultAct::Message(_) | FaultAct::Delivery(_)) {
            about.action = self.maybe(3, |script| script.pick(&Action::ALL));
        }
        about
    }
}

impl World {
    /// Now and then a test does something.
    pub(crate) fn script_some(&mut self) {
        if self.script.one_in == 0 || self.script.random.u32(0..self.script.one_in) > 0 {
            return;
        }
        match self.script.random.u32(0..20) {
            0..13 if self.rules.len() < FAULTS => self.make_fault(),
            0..16 => self.end_fault(),
            16..18 => self.advance(),
            18 => self.reset_some(),
            _ => {}
        }
    }

    fn make_fault(&mut self) {
        let script = &mut self.script;
        let act = script.act();
        let rule = Arc::new(FaultRule {
            number: 1 + self.rules.len() as u64,
            matches: script.matches(&act),
            act,
            skip: script.maybe(4, |it| it.random.u64(1..4)).unwrap_or(0),
            times: Some(script.random.u64(1..13)).filter(|times| *times < 12),
            chance: None,
            lasts_ms: script.maybe(3, Script::span),
            counts: FaultCounts::default(),
        });
        self.rules.push(Arc::clone(&rule));
        self.hit("scripted: fault");
        for shard in 0..self.shards.len() {
            self.trace(shard, &("fault", &rule));
            self.ask(shard, Question::AddFault(Arc::clone(&rule)));
            self.after(shard, Cause::Operator);
        }
    }

    fn end_fault(&mut self) {
        let many = self.rules.len();
        if many > 0 {
            let rule = self.script.random.usize(0..many);
            self.rules[rule].counts.end();
        }
    }

    /// Time that a test does not wait for.
    fn advance(&mut self) {
        self.hit("scripted: clocks advanced");
        let seconds = self.script.pick(&[1, 61, 600, 7_200]);
        self.pass((seconds * 1000_u64).next_multiple_of(GRAIN_MS));
        self.settle_time();
    }

    fn reset_some(&mut self) {
        let prefix = self
            .script
            .pick(&["", "channel", "channel1", "channel0", "x"]);
        self.hit("scripted: reset");
        for shard in 0..self.shards.len() {
            self.trace(shard, &("reset", prefix));
            let question = Question::Reset(Reset {
                prefix: prefix.into(),
                only: None,
            });
            let Reply::Reset(done) = self.ask(shard, question) else {
                panic!("a reset is answered by what it did");
            };
            let here = self.records.all();
            let here =
                here.filter(|(name, _)| self.home(name) == shard && name.starts_with(prefix));
            let most = here.count() as u64;
            let all = done.channels + done.left.len() as u64;
            assert!(all <= most, "a reset of {prefix:?}: {done:?}, of {most}");
            self.after(shard, Cause::Operator);
        }
    }

    /// Every fault ends, and what they hold back goes on.
    pub(crate) fn end_script(&mut self) {
        if self.script.one_in == 0 {
            return;
        }
        for rule in &self.rules {
            let counts = &rule.counts;
            counts.end();
            assert!(counts.hits() <= counts.seen(), "{rule:?}");
            if counts.hits() > 0 {
                *self.hits.entry(word_of(&rule.act)).or_default() += counts.hits();
            }
        }
        self.pass(LONGEST_MS.next_multiple_of(GRAIN_MS));
        self.settle_time();
    }
}

/// Faults of one world: no more than a shard has room for.
const FAULTS: usize = 40;

/// Longer than anything is held back.
const LONGEST_MS: u64 = 640_000;

/// For the coverage table.
fn word_of(act: &FaultAct) -> &'static str {
    match act {
        FaultAct::Connect(_) => "scripted: connect",
        FaultAct::Api(_) => "scripted: call",
        FaultAct::Message(_) => "scripted: message",
        FaultAct::Delivery(_) => "scripted: delivery",
        FaultAct::Session(_) => "scripted: session",
    }
}
