//! The harness itself: a trial without an attack passes, and one that harms the healthy does not.

use super::{ATTACKER, Trial, broker, healthy};
use crate::http::Connection;
use crate::peer::{Peer, offer, viewer_query};
use crate::process::Broker;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

#[test]
fn an_idle_crowd_harms_nobody() {
    for shards in [1, 2] {
        let broker = broker("", shards);
        let mut trial = Trial::new("idle crowd", &broker).lasting(Duration::from_millis(500));
        if shards == 2 {
            trial = trial.over_tls();
        }
        let outcome = trial.run(|attack| {
            let crowd: Vec<_> = (0..50)
                .map(|_| Connection::open_from(ATTACKER, broker.plain))
                .collect();
            attack.did(crowd.len() as u64);
            while !attack.over() {
                std::thread::sleep(Duration::from_millis(20));
            }
        });
        assert_eq!(outcome.did, 50);
        assert!(
            outcome.peak.descriptors >= outcome.before.descriptors + 50,
            "{outcome:?}"
        );
        broker.assert_balanced();
    }
}

#[test]
fn a_message_too_many_is_noticed() {
    let broker = broker("", 1);
    let taken = catch_unwind(AssertUnwindSafe(|| {
        let trial = Trial::new("intruder", &broker).without_newcomers();
        trial.run(|_| {
            // Without signatures anybody may be a viewer of this channel.
            let query = viewer_query(&healthy::own("healthy-0"), "intruder");
            let mut intruder = Peer::plain_from(ATTACKER, &broker, &query);
            intruder.send(&offer("aW50cnVkZXI="));
            intruder.close();
        })
    }));
    assert!(taken.is_err(), "it went unnoticed");
}

/// A process that is stopped within a turn was not at work in it: the clock counts that, CPU time does not.
#[test]
fn turns_are_measured_by_the_clock_or_as_cpu_time() {
    const STOPPED: Duration = Duration::from_millis(400);
    for cpu in [false, true] {
        let broker = Broker::measuring(cpu, 1);
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let get = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(100);
                let mut busy = Connection::open_from(ATTACKER, broker.plain);
                let until = Instant::now() + Duration::from_secs(60);
                while !over.load(Ordering::Relaxed) && Instant::now() < until {
                    busy.send(&get);
                    (0..100).for_each(|_| drop(busy.answer()));
                }
            });
            let mut longest = 0.0_f64;
            // On a busy machine most stops come between two turns.
            for _ in 0..if cpu { 20 } else { 100 } {
                broker.signal("STOP");
                std::thread::sleep(STOPPED);
                broker.signal("CONT");
                longest = broker.scrape().sum("heliograph_turn_seconds");
                if longest >= STOPPED.as_secs_f64() {
                    break;
                }
            }
            over.store(true, Ordering::Relaxed);
            let stopped_in_one = longest >= STOPPED.as_secs_f64();
            assert_eq!(stopped_in_one, !cpu, "{longest} s");
        });
    }
}
