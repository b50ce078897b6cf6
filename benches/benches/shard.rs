//! A whole shard without its edge: from received bytes to the recipient's outbox and its flush, and from a request head
//! to the 101 response.
//!
//! The shard is configured as in production: channels are registered, rate limits are off, and the checks that `--dev`
//! adds are inactive.
//!
//! Not included: system calls, TLS, clock reads.

use benches::fixture::{Case, VIEWER, cases, upgrade_head, upgrade_head_of_master};
use benches::harness::{ThreadTime, Timer, group, run};
use benches::rival::Relay;
use broker_core::id::SessionKey;
use broker_core::limits::RECORDER_NOTES;
use broker_core::machine::Machine;
use codec::signal::{Delivery, Role};
use criterion::measurement::Measurement;
use driver::{AT, Driver, PEER};
use std::hint::black_box;
use std::time::Duration;

#[path = "driver/mod.rs"]
mod driver;

fn main() {
    run(|criterion| {
        for case in cases() {
            for window in [1, 4] {
                relay_to_viewer(criterion, &case, window);
                record(criterion, &case, window);
            }
        }
        let [ice, ..] = cases();
        relay_to_master(criterion, &ice);
        connect(criterion);
    });
}

/// Times `window` messages that a master sends at once to one of its ten viewers.
fn relay_to_viewer(criterion: &mut Timer, case: &Case, window: usize) {
    let name = format!("{}-window-{window}", case.name);
    let read = case.frames(Role::Master, window);
    let expected = events(case, None, window);
    let viewers: Vec<String> = (0..9).map(|number| format!("viewer-{number}")).collect();
    let mut driver = Driver::new(&["demo".into()]);
    let master = driver.connect(&upgrade_head_of_master("demo"));
    for viewer in &viewers {
        driver.connect(&upgrade_head("demo", viewer));
    }
    let viewer = driver.connect(&upgrade_head("demo", VIEWER));
    let mut group = group(criterion, "shard/relay", &name, window, read.len());
    for _ in 0..3 {
        let seen = driver.receive(master, &mut read.clone());
        assert_eq!(seen, [(viewer, expected.clone())]);
    }
    let mut buffer = read.clone();
    group.bench_function("heliograph", |bencher| {
        bencher.iter(|| {
            buffer.copy_from_slice(&read);
            driver.handle(master, &mut buffer);
            driver.flush(|_, bytes| {
                black_box(bytes);
            });
        });
    });
    let mut relay = Relay::new(&read, &[viewers, vec![VIEWER.to_owned()]].concat());
    for _ in 0..3 {
        relay.relay();
        assert_eq!(relay.flush(VIEWER, <[u8]>::to_vec), Some(expected.clone()));
    }
    group.bench_function(Relay::LIBRARY, |bencher| {
        bencher.iter(|| {
            relay.relay();
            relay.flush(VIEWER, |bytes| {
                black_box(bytes);
            })
        });
    });
    group.finish();
}

/// Times the flight recorder's share: without a recorder, and with one of the default length.
fn record(criterion: &mut Timer, case: &Case, window: usize) {
    let name = format!("{}-window-{window}", case.name);
    let read = case.frames(Role::Master, window);
    let expected = events(case, None, window);
    let mut group = group(criterion, "shard/record", &name, window, read.len());
    for notes in [0, RECORDER_NOTES] {
        let mut driver = Driver::recording(&["demo".into()], notes);
        let master = driver.connect(&upgrade_head_of_master("demo"));
        let viewer = driver.connect(&upgrade_head("demo", VIEWER));
        let seen = driver.receive(master, &mut read.clone());
        assert_eq!(seen, [(viewer, expected.clone())]);
        let mut buffer = read.clone();
        group.bench_function(format!("notes-{notes}"), |bencher| {
            bencher.iter(|| {
                buffer.copy_from_slice(&read);
                driver.handle(master, &mut buffer);
                driver.flush(|_, bytes| {
                    black_box(bytes);
                });
            });
        });
    }
    group.finish();
}

fn relay_to_master(criterion: &mut Timer, case: &Case) {
    let read = case.frames(Role::Viewer, 1);
    let mut driver = Driver::new(&["demo".into()]);
    let master = driver.connect(&upgrade_head_of_master("demo"));
    let viewer = driver.connect(&upgrade_head("demo", VIEWER));
    let seen = driver.receive(viewer, &mut read.clone());
    assert_eq!(seen, [(master, events(case, Some(VIEWER), 1))]);
    let name = format!("{}-to-master", case.name);
    let mut group = group(criterion, "shard/relay", &name, 1, read.len());
    let mut buffer = read.clone();
    group.bench_function("heliograph", |bencher| {
        bencher.iter(|| {
            buffer.copy_from_slice(&read);
            driver.handle(viewer, &mut buffer);
            driver.flush(|_, bytes| {
                black_box(bytes);
            });
        });
    });
    group.finish();
}

/// Times the connection of a viewer, from accept to the 101 response, while the master is connected.
fn connect(criterion: &mut Timer) {
    let channels = (10..10 + CHANNELS).map(|number| format!("demo-{number}"));
    let channels: Vec<String> = channels.collect();
    let mut driver = Driver::new(&channels);
    let heads: Vec<String> = channels
        .iter()
        .map(|channel| {
            driver.connect(&upgrade_head_of_master(channel));
            upgrade_head(channel, VIEWER)
        })
        .collect();
    let bytes = heads.iter().map(String::len).max().unwrap_or_default();
    let mut group = group(criterion, "shard/connect", "viewer", 1, bytes);
    group.bench_function("heliograph", |bencher| {
        bencher.iter_custom(|iterations| {
            let (mut time, mut left) = (Duration::ZERO, iterations);
            while left > 0 {
                let mut reads: Vec<_> =
                    heads.iter().map(|head| head.clone().into_bytes()).collect();
                reads.truncate(usize::try_from(left).unwrap_or(CHANNELS));
                left -= reads.len() as u64;
                let mut sessions = Vec::with_capacity(reads.len());
                let start = ThreadTime.start();
                for read in &mut reads {
                    sessions.push(accept(&mut driver, read));
                }
                time += ThreadTime.end(start);
                for session in sessions {
                    driver.leave(session);
                }
            }
            time
        });
    });
    group.finish();
}

fn accept(driver: &mut Driver, head: &mut [u8]) -> SessionKey {
    let session = driver.shard.open(PEER, AT).expect("there is room");
    driver.handle(session, head);
    driver.flush(|_, bytes| {
        black_box(bytes);
    });
    session
}

fn events(case: &Case, sender: Option<&str>, count: usize) -> Vec<u8> {
    let delivery = Delivery {
        sender,
        ..case.delivery()
    };
    let mut out = Vec::new();
    for _ in 0..count {
        delivery.write(&mut out);
    }
    out
}

const CHANNELS: usize = 64;
