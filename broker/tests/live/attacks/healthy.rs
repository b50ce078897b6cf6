//! Masters and viewers that do nothing wrong: they exchange numbered messages all the time, and notice each one that
//! is lost, doubled, reordered or refused.

use super::HEALTHY;
use crate::http::{Connection, request};
use crate::peer::{
    Peer, candidate, candidate_to, master_query, offer, to_master, to_viewer, viewer_query,
};
use crate::process::{Broker, arn};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::thread::{self, Scope, ScopedJoinHandle};
use std::time::{Duration, Instant};

/// Pairs of a master and a viewer, each with a channel of its own: with few shards each has some of them.
const PAIRS: usize = 4;

/// Messages that follow the measured one without waiting.
const BURST: usize = 4;

/// Rest of a pair between two rounds, and of newcomers between two visits.
const REST: Duration = Duration::from_millis(2);
const VISIT_EVERY: Duration = Duration::from_millis(100);

/// How long clients are alone before the attack.
const QUIET: Duration = Duration::from_millis(500);

const PHASE_QUIET: u8 = 0;
const PHASE_ATTACKED: u8 = 1;
const PHASE_AFTER: u8 = 2;

/// Healthy clients, connected.
pub(super) struct Healthy<'b> {
    broker: &'b Broker,
    tls: bool,
    pairs: Vec<Pair>,
}

/// Healthy clients, each pair in a thread of its own.
pub(super) struct Running<'s> {
    control: Arc<Control>,
    pairs: Vec<ScopedJoinHandle<'s, Latencies>>,
    newcomer: ScopedJoinHandle<'s, ()>,
}

/// How long messages took, in microseconds, by when they were sent.
#[derive(Default)]
pub(super) struct Latencies {
    pub(super) quiet: Vec<u32>,
    pub(super) attacked: Vec<u32>,
}

#[derive(Default)]
struct Control {
    phase: AtomicU8,
    visits: AtomicBool,
    visiting: AtomicBool,
    over: AtomicBool,
}

struct Pair {
    master: Peer,
    viewer: Peer,
    sent: u32,
}

impl<'b> Healthy<'b> {
    /// Connects all.
    pub(super) fn connect(broker: &'b Broker, tls: bool) -> Self {
        let pairs = (0..PAIRS).map(|number| Pair::connect(broker, tls, number));
        Self {
            broker,
            tls,
            pairs: pairs.collect(),
        }
    }

    /// Lets all exchange messages until [`Running::stop`].
    pub(super) fn start<'s>(self, scope: &'s Scope<'s, '_>) -> Running<'s>
    where
        'b: 's,
    {
        let control = Arc::<Control>::default();
        let pairs = self.pairs.into_iter().map(|pair| {
            let control = Arc::clone(&control);
            scope.spawn(move || pair.exchange(&control))
        });
        let pairs = pairs.collect();
        let newcomer = {
            let control = Arc::clone(&control);
            scope.spawn(move || visit(self.broker, self.tls, &control))
        };
        Running {
            control,
            pairs,
            newcomer,
        }
    }
}

impl Running<'_> {
    /// Waits until the clients have been alone for a while.
    pub(super) fn quiet(&self) {
        let lasts = if super::full() { QUIET * 6 } else { QUIET };
        thread::sleep(lasts);
        self.assert_well();
    }

    /// The attack begins.
    pub(super) fn attacked(&self, newcomers: bool) {
        self.control.visits.store(newcomers, Ordering::SeqCst);
        self.control.phase.store(PHASE_ATTACKED, Ordering::SeqCst);
    }

    /// The attack is over; nobody new comes, so that descriptors can be compared.
    pub(super) fn recovering(&self) {
        self.control.phase.store(PHASE_AFTER, Ordering::SeqCst);
        self.control.visits.store(false, Ordering::SeqCst);
        while self.control.visiting.load(Ordering::SeqCst) && !self.newcomer.is_finished() {
            thread::sleep(REST);
        }
        self.assert_well();
    }

    /// Ends all; panics with the reason of the client that was not served well.
    pub(super) fn stop(self) -> Latencies {
        self.control.over.store(true, Ordering::SeqCst);
        let mut all = Latencies::default();
        for pair in self.pairs {
            let seen = pair
                .join()
                .unwrap_or_else(|cause| std::panic::resume_unwind(cause));
            all.quiet.extend(seen.quiet);
            all.attacked.extend(seen.attacked);
        }
        self.newcomer
            .join()
            .unwrap_or_else(|cause| std::panic::resume_unwind(cause));
        all
    }

    fn assert_well(&self) {
        let ended = self.pairs.iter().any(ScopedJoinHandle::is_finished);
        assert!(
            !ended && !self.newcomer.is_finished(),
            "somebody healthy was not served"
        );
    }
}

impl Pair {
    fn connect(broker: &Broker, tls: bool, number: usize) -> Self {
        let arn = own(&format!("healthy-{number}"));
        Self {
            master: connect(broker, tls, &master_query(&arn)),
            viewer: connect(broker, tls, &viewer_query(&arn, "well")),
            sent: 0,
        }
    }

    fn exchange(mut self, control: &Control) -> Latencies {
        if super::full() {
            super::gauges::go_first();
        }
        let mut seen = Latencies::default();
        while !control.over.load(Ordering::SeqCst) {
            let phase = control.phase.load(Ordering::SeqCst);
            let micros = self.round();
            match phase {
                PHASE_QUIET => seen.quiet.push(micros),
                PHASE_ATTACKED => seen.attacked.push(micros),
                _ => {}
            }
            thread::sleep(REST);
        }
        // Nothing more has come than was expected: no message was doubled.
        self.master.expect_silence();
        self.viewer.expect_silence();
        self.viewer.close();
        self.master.close();
        seen
    }

    /// One message each way and a burst each way, all in order; returns how long the first took.
    fn round(&mut self) -> u32 {
        let payload = self.next();
        let sent = Instant::now();
        self.viewer.send(&offer(&payload));
        self.master
            .expect(&to_master("SDP_OFFER", &payload, "well"));
        let micros = u32::try_from(sent.elapsed().as_micros()).unwrap_or(u32::MAX);
        let up: Vec<String> = (0..BURST).map(|_| self.next()).collect();
        let down: Vec<String> = (0..BURST).map(|_| self.next()).collect();
        for (up, down) in up.iter().zip(&down) {
            self.viewer.send(&candidate(up));
            self.master.send(&candidate_to("well", down));
        }
        for (up, down) in up.iter().zip(&down) {
            self.master.expect(&to_master("ICE_CANDIDATE", up, "well"));
            self.viewer.expect(&to_viewer("ICE_CANDIDATE", down));
        }
        micros
    }

    fn next(&mut self) -> String {
        self.sent += 1;
        format!("healthy{:08}=", self.sent)
    }
}

/// Who comes while the attack is under way: connects, is served, calls, and leaves.
fn visit(broker: &Broker, tls: bool, control: &Control) {
    let mut visits = 0;
    while !control.over.load(Ordering::SeqCst) {
        control.visiting.store(true, Ordering::SeqCst);
        if control.visits.load(Ordering::SeqCst) {
            visits += 1;
            let arn = own("visited");
            let mut master = connect(broker, tls, &master_query(&arn));
            let mut viewer = connect(broker, tls, &viewer_query(&arn, "visitor"));
            let payload = format!("visitor{visits:08}=");
            viewer.send(&offer(&payload));
            master.expect(&to_master("SDP_OFFER", &payload, "visitor"));
            let mut caller = Connection::open_from(HEALTHY, broker.plain);
            let body = format!(r#"{{"ChannelARN":"{arn}"}}"#);
            caller.send(&request("/describeSignalingChannel", &body));
            let answer = caller.answer().expect("an answer to somebody healthy");
            assert_eq!(answer.status, 200, "{answer:?} {}", answer.text());
            viewer.close();
            master.close();
        }
        control.visiting.store(false, Ordering::SeqCst);
        thread::sleep(VISIT_EVERY);
    }
}

/// A channel of the healthy clients, whose account is not the attackers'.
pub(super) fn own(name: &str) -> String {
    arn(name).replace("123456789012", "999999999999")
}

fn connect(broker: &Broker, tls: bool, query: &str) -> Peer {
    if tls {
        Peer::secure_from(HEALTHY, broker, query)
    } else {
        Peer::plain_from(HEALTHY, broker, query)
    }
}
