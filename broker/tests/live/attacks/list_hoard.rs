//! Lists that one tenant asks for on many connections, beside a tenant of another account.

use super::latencies::{Latencies, Wait};
use super::{Raised, full, gauges, print_late, resident_bytes};
use crate::http::Connection;
use crate::process::Broker;
use crate::signed::service::Service;
use crate::signed::signer::{Call, Signer};
use serde_json::json;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use testkit::until;

/// Channels of the attacker, and connections that ask for all of them; more of these in a full run.
const CHANNELS: usize = 600;
const CONNECTIONS: usize = 500;
const CONNECTIONS_IN_FULL: usize = 5000;

/// Channels of the neighbour, and how often it asks meanwhile.
const OWN: usize = 5;
const ASKS: usize = 40;

/// Its lists in a full run, before the attack and in it; the first of all are not measured.
const LISTS_IN_FULL: usize = 500;
const LISTS_TO_WARM_UP: usize = 5;

/// Memory that the attack may take beyond what the process had: that of lists, of which the parts of all that are asked
/// for would take twice as much, and that of a connection with a call that waits.
const GROWTH_MAX: u64 = 40 << 20;
const CONNECTION_BYTES_MAX: u64 = 8 << 10;

#[test]
fn lists_of_a_tenant_take_no_memory_and_no_places_of_another() {
    let service = Service::start(2);
    let (tenant, signer) = (Signer::new("admin"), Signer::new("neighbour"));
    fill(&service, &tenant, "theirs", CHANNELS);
    fill(&service, &signer, "own", OWN);
    let before = resident_bytes(&service.broker);
    let list = list_of(&service.broker, &tenant);
    let mut neighbour = Neighbour {
        broker: &service.broker,
        signer,
        connection: Connection::open(service.broker.plain),
        peak: before,
    };
    let mut latencies = Latencies::default();
    if full() {
        gauges::go_first();
        for _ in 0..LISTS_TO_WARM_UP {
            neighbour.list();
        }
        for _ in 0..LISTS_IN_FULL {
            latencies.quiet.note(Wait::List, neighbour.list());
        }
    }
    let connections = if full() {
        CONNECTIONS_IN_FULL
    } else {
        CONNECTIONS
    };
    let mut callers: Vec<_> = (0..connections)
        .map(|_| Connection::open(service.broker.plain))
        .collect();
    callers.iter_mut().for_each(|caller| caller.send(&list));
    if full() {
        let over = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| insist(&mut callers, &list, service.broker.plain, &over));
            let _over = Raised(&over);
            for _ in 0..LISTS_IN_FULL {
                latencies.attacked.note(Wait::List, neighbour.list());
            }
            // No more: a channel has a rate.
            (0..ASKS).for_each(|number| neighbour.describe(number));
        });
        let [quiet, attacked] = [&latencies.quiet, &latencies.attacked].map(|it| it.column());
        eprintln!(
            "lists of another tenant: p99 {quiet}, attacked {attacked}, {connections} connections"
        );
        print_late("lists of another tenant", latencies.faults(&[Wait::List]));
    } else {
        for number in 0..ASKS {
            neighbour.list();
            neighbour.describe(number);
        }
        for caller in &mut callers {
            assert_answered(caller);
            neighbour.look();
        }
    }
    let growth = neighbour.peak.saturating_sub(before);
    let most = GROWTH_MAX + connections as u64 * CONNECTION_BYTES_MAX;
    assert!(growth <= most, "{} MiB more", growth >> 20);
    drop((callers, neighbour));
    service.end();
}

/// The tenant of another account, which asks for its own channels.
struct Neighbour<'b> {
    broker: &'b Broker,
    signer: Signer,
    connection: Connection,
    /// The most memory of the broker that it saw.
    peak: u64,
}

impl Neighbour<'_> {
    /// Asks for all of its channels; returns how long that took.
    fn list(&mut self) -> Duration {
        let list = list_of(self.broker, &self.signer);
        let begun = Instant::now();
        self.connection.send(&list);
        let answer = self.connection.answer().expect("an answer");
        let took = begun.elapsed();
        let page = answer.ok();
        let infos = page["ChannelInfoList"].as_array().map(Vec::len);
        assert_eq!(infos, Some(OWN), "{page}");
        self.look();
        took
    }

    /// Asks for one of them.
    fn describe(&mut self, number: usize) {
        let body = json!({"ChannelName": format!("own-{}", number % OWN)});
        let call = Call::api(self.broker, "/describeSignalingChannel", &body);
        self.connection.send(&self.signer.sign(call).bytes());
        self.connection.answer().expect("an answer").ok();
        self.look();
    }

    fn look(&mut self) {
        self.peak = self.peak.max(resident_bytes(self.broker));
    }
}

/// Asks again on each connection that was answered, until it is over. A connection that the broker closed, since it did
/// not read its answer while their budget was full, is opened again.
fn insist(callers: &mut [Connection], list: &[u8], to: SocketAddr, over: &AtomicBool) {
    gauges::give_way();
    loop {
        let again = !over.load(Ordering::SeqCst);
        for caller in &mut *callers {
            match caller.answer_or_part() {
                Some((answer, true)) => assert!(matches!(answer.status, 200 | 503), "{answer:?}"),
                Some((_, false)) | None => *caller = Connection::open(to),
            }
            if again {
                caller.send(list);
            }
        }
        if !again {
            return;
        }
    }
}

fn assert_answered(caller: &mut Connection) {
    let answer = caller.answer().expect("an answer");
    assert!(matches!(answer.status, 200 | 503), "{answer:?}");
}

#[test]
fn lists_of_callers_who_hung_up_are_not_made() {
    let service = Service::start(2);
    let tenant = Signer::new("admin");
    fill(&service, &tenant, "theirs", CHANNELS);
    let read = || service.broker.scrape().sum("heliograph_records_read_total");
    let before = read();
    let list = list_of(&service.broker, &tenant);
    let callers: Vec<_> = (0..CONNECTIONS)
        .map(|_| {
            let mut caller = Connection::open(service.broker.plain);
            caller.send(&list);
            caller.finish();
            caller
        })
        .collect();
    drop(callers);
    until("the end of all connections", || {
        let scrape = service.broker.scrape();
        (scrape.sum("heliograph_connections{role=\"http\"}") == 0.0).then_some(())
    });
    let lists = (read() - before) / CHANNELS as f64;
    assert!(lists < CONNECTIONS as f64 / 2.0, "{lists} lists were made");
    service.end();
}

fn list_of(broker: &Broker, signer: &Signer) -> Vec<u8> {
    let body = json!({"MaxResults": 999});
    let call = Call::api(broker, "/listSignalingChannels", &body);
    signer.sign(call).bytes()
}

fn fill(service: &Service, signer: &Signer, name: &str, channels: usize) {
    let path = "/createSignalingChannel";
    let broker = &service.broker;
    let call = |number| {
        let body = json!({"ChannelName": format!("{name}-{number}")});
        signer.sign(Call::api(broker, path, &body)).bytes()
    };
    thread::scope(|scope| {
        for caller in 0..8 {
            let mut connection = Connection::open(broker.plain);
            let call = &call;
            scope.spawn(move || {
                for number in (caller..channels).step_by(8) {
                    connection.send(&call(number));
                    connection.answer().expect("an answer").ok();
                }
            });
        }
    });
}
