//! Masters and viewers that do nothing wrong: they exchange numbered messages all the time, and notice each one that
//! is lost, doubled, reordered or refused. Newcomers connect, call and leave. How long each of that takes is noted.

use super::latencies::{Latencies, Wait};
use super::{HEALTHY, full, gauges};
use crate::http::{Connection, request};
use crate::peer::{
    Peer, candidate, candidate_to, client_config, master_query, offer, to_master, to_viewer,
    viewer_query,
};
use crate::process::{Broker, arn};
use rustls::ClientConfig;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::thread::{self, Scope, ScopedJoinHandle};
use std::time::{Duration, Instant};
use testkit::{until, until_true};

/// Pairs of a master and a viewer, each with a channel of its own: with few shards each has some of them.
const PAIRS: usize = 4;

/// Messages that follow the measured one without waiting.
const BURST: usize = 4;

/// Rest of a pair between two rounds.
const REST: Duration = Duration::from_millis(2);

/// The time for which clients are alone before the attack.
const QUIET: Duration = Duration::from_millis(500);
const QUIET_IN_FULL: Duration = Duration::from_secs(5);

/// Rest of newcomers between two visits. In full runs those are many, but so few that all their ends are logged: 50 of
/// an account are within a second.
const VISIT_EVERY: Duration = Duration::from_millis(100);
const VISIT_EVERY_IN_FULL: Duration = Duration::from_millis(50);

/// Calls of each kind in a visit of a full run: its visits are to have a p99.
const CALLS_IN_FULL: usize = 5;

/// Channels that a list of a newcomer asks for.
pub(crate) const LISTED: u64 = 10;

/// Visits before the quiet phase of a full run: the first one makes the channel.
const VISITS_TO_WARM_UP: u64 = 3;

const PHASE_BEFORE: u8 = 0;
const PHASE_QUIET: u8 = 1;
const PHASE_ATTACKED: u8 = 2;
const PHASE_AFTER: u8 = 3;

/// Healthy clients, connected.
pub(crate) struct Healthy<'b> {
    broker: &'b Broker,
    tls: bool,
    pairs: Vec<Pair>,
}

/// Healthy clients, each pair in a thread of its own.
pub(crate) struct Running<'s> {
    control: Arc<Control>,
    pairs: Vec<ScopedJoinHandle<'s, Latencies>>,
    newcomer: ScopedJoinHandle<'s, Latencies>,
}

#[derive(Default)]
struct Control {
    phase: AtomicU8,
    /// Whether newcomers may come, whether one is there, how many have left, and how many lists they got.
    visits: AtomicBool,
    visiting: AtomicBool,
    visited: AtomicU64,
    lists: AtomicU64,
    over: AtomicBool,
}

struct Pair {
    master: Peer,
    viewer: Peer,
    sent: u32,
}

impl<'b> Healthy<'b> {
    /// Connects all.
    pub(crate) fn connect(broker: &'b Broker, tls: bool) -> Self {
        let pairs = (0..PAIRS).map(|number| Pair::connect(broker, tls, number));
        Self {
            broker,
            tls,
            pairs: pairs.collect(),
        }
    }

    /// Lets all exchange messages until [`Running::stop`].
    pub(crate) fn start<'s>(self, scope: &'s Scope<'s, '_>) -> Running<'s>
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
    /// Waits until the clients have been alone for a while, in full runs with newcomers among them. When it is over
    /// none of those is there, so that descriptors can be compared.
    pub(crate) fn quiet(&self, broker: &Broker, newcomers: bool) {
        if full() && newcomers {
            let connections = || broker.scrape().sum("heliograph_connections");
            let before = connections();
            self.control.visits.store(true, Ordering::SeqCst);
            until("the first newcomers", || {
                let visited = self.control.visited.load(Ordering::SeqCst);
                (visited >= VISITS_TO_WARM_UP || self.newcomer.is_finished()).then_some(())
            });
            self.control.phase.store(PHASE_QUIET, Ordering::SeqCst);
            thread::sleep(QUIET_IN_FULL);
            self.end_visits();
            until_true("the end of the newcomers' connections", || {
                connections() <= before
            });
        } else {
            self.control.phase.store(PHASE_QUIET, Ordering::SeqCst);
            thread::sleep(if full() { QUIET_IN_FULL } else { QUIET });
        }
        self.assert_well();
    }

    /// The attack begins.
    pub(crate) fn attacked(&self, newcomers: bool) {
        self.control.phase.store(PHASE_ATTACKED, Ordering::SeqCst);
        self.control.visits.store(newcomers, Ordering::SeqCst);
    }

    /// The attack is over; nobody new comes, so that descriptors can be compared.
    pub(crate) fn recovering(&self) {
        self.control.phase.store(PHASE_AFTER, Ordering::SeqCst);
        self.end_visits();
        self.assert_well();
    }

    /// Lists that newcomers got.
    pub(crate) fn lists(&self) -> u64 {
        self.control.lists.load(Ordering::SeqCst)
    }

    /// Ends all; panics with the reason of the client that was not served well.
    pub(crate) fn stop(self) -> Latencies {
        self.control.over.store(true, Ordering::SeqCst);
        let mut all = Latencies::default();
        // Those that exchange messages come first: what they miss explains more.
        for client in self.pairs.into_iter().chain([self.newcomer]) {
            let seen = client.join();
            all.add(seen.unwrap_or_else(|cause| std::panic::resume_unwind(cause)));
        }
        all
    }

    fn end_visits(&self) {
        self.control.visits.store(false, Ordering::SeqCst);
        while self.control.visiting.load(Ordering::SeqCst) && !self.newcomer.is_finished() {
            thread::sleep(REST);
        }
    }

    fn assert_well(&self) {
        let ended = self.pairs.iter().any(ScopedJoinHandle::is_finished);
        assert!(
            !ended && !self.newcomer.is_finished(),
            "somebody healthy was not served"
        );
    }
}

impl Control {
    fn is_over(&self) -> bool {
        self.over.load(Ordering::SeqCst)
    }

    /// Does something and notes how long it took, by the phase in which it began.
    fn timed<T>(&self, seen: &mut Latencies, wait: Wait, what: impl FnOnce() -> T) -> T {
        let phase = self.phase.load(Ordering::SeqCst);
        let begun = Instant::now();
        let done = what();
        let took = begun.elapsed();
        match phase {
            PHASE_QUIET => seen.quiet.note(wait, took),
            PHASE_ATTACKED => seen.attacked.note(wait, took),
            PHASE_BEFORE | PHASE_AFTER => {}
            other => panic!("phase {other}"),
        }
        done
    }
}

impl Pair {
    fn connect(broker: &Broker, tls: bool, number: usize) -> Self {
        let arn = own(&format!("healthy-{number}"));
        let join = |query: &str| connect(broker, client(broker, tls), query);
        Self {
            master: join(&master_query(&arn)),
            viewer: join(&viewer_query(&arn, "well")),
            sent: 0,
        }
    }

    fn exchange(mut self, control: &Control) -> Latencies {
        if full() {
            gauges::go_first();
        }
        let mut seen = Latencies::default();
        while !control.is_over() {
            control.timed(&mut seen, Wait::Relay, || self.relay());
            self.burst();
            thread::sleep(REST);
        }
        // Nothing more has come than was expected: no message was doubled.
        self.master.expect_silence();
        self.viewer.expect_silence();
        self.viewer.close();
        self.master.close();
        seen
    }

    /// One message.
    fn relay(&mut self) {
        let payload = self.next();
        self.viewer.send(&offer(&payload));
        self.master
            .expect(&to_master("SDP_OFFER", &payload, "well"));
    }

    /// Some each way, all in order.
    fn burst(&mut self) {
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
    }

    fn next(&mut self) -> String {
        self.sent += 1;
        format!("healthy{:08}=", self.sent)
    }
}

/// Newcomers, one after the other.
fn visit(broker: &Broker, tls: bool, control: &Control) -> Latencies {
    let every = if full() {
        gauges::go_first();
        VISIT_EVERY_IN_FULL
    } else {
        VISIT_EVERY
    };
    let mut seen = Latencies::default();
    while !control.is_over() {
        control.visiting.store(true, Ordering::SeqCst);
        if control.visits.load(Ordering::SeqCst) {
            come_and_leave(broker, tls, control, &mut seen);
            control.visited.fetch_add(1, Ordering::SeqCst);
        }
        control.visiting.store(false, Ordering::SeqCst);
        thread::sleep(every);
    }
    seen
}

/// Connects, is served, calls, and leaves.
fn come_and_leave(broker: &Broker, tls: bool, control: &Control, seen: &mut Latencies) {
    let arn = own("visited");
    let mut join = |query: &str| {
        let client = client(broker, tls);
        control.timed(seen, Wait::Connect, || connect(broker, client, query))
    };
    let mut master = join(&master_query(&arn));
    let mut viewer = join(&viewer_query(&arn, "visitor"));
    let number = control.visited.load(Ordering::SeqCst);
    let payload = format!("visitor{number:08}=");
    viewer.send(&offer(&payload));
    master.expect(&to_master("SDP_OFFER", &payload, "visitor"));
    let describe = format!(r#"{{"ChannelARN":"{arn}"}}"#);
    let list = format!(r#"{{"MaxResults":{LISTED}}}"#);
    #[rustfmt::skip] // a table, a case per row
    let calls = [
        (Wait::Describe, request("/describeSignalingChannel", &describe)),
        (Wait::List, request("/listSignalingChannels", &list)),
    ];
    let mut caller = Connection::open_from(HEALTHY, broker.plain);
    for _ in 0..if full() { CALLS_IN_FULL } else { 1 } {
        for (wait, call) in &calls {
            let answer = control.timed(seen, *wait, || {
                caller.send(call);
                caller.answer()
            });
            let answer = answer.expect("an answer to somebody healthy");
            assert_eq!(answer.status, 200, "{wait:?} {answer:?} {}", answer.text());
        }
        control.lists.fetch_add(1, Ordering::SeqCst);
    }
    viewer.close();
    master.close();
}

/// A channel of the healthy clients, whose account is not the attackers'.
pub(crate) fn own(name: &str) -> String {
    arn(name).replace("123456789012", "999999999999")
}

/// A client of TLS, without a ticket of an earlier connection.
fn client(broker: &Broker, tls: bool) -> Option<Arc<ClientConfig>> {
    tls.then(|| client_config(broker))
}

fn connect(broker: &Broker, client: Option<Arc<ClientConfig>>, query: &str) -> Peer {
    match client {
        Some(client) => Peer::secure_from(HEALTHY, broker.tls, query, client),
        None => Peer::plain_from(HEALTHY, broker, query),
    }
}
