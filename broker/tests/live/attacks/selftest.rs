//! The harness itself: a trial without an attack passes, and one that harms the healthy does not.

use super::latencies::{Latencies, Wait};
use super::turns::{Sample, Step, Turns};
use super::{ATTACKER, Trial, broker, healthy};
use crate::http::Connection;
use crate::peer::{Peer, offer, viewer_query};
use crate::process::Broker;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

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
            let scrape = broker.scrape();
            let long = scrape.count("heliograph_turns_long_total");
            assert!(cpu || long > 0, "a turn of {longest} s is a long one");
            assert!(
                long < scrape.count("heliograph_turns_total"),
                "not all are long: {long}"
            );
        });
    }
}

#[test]
fn long_turns_count_unless_a_reader_of_the_clock_saw_a_step_in_their_second() {
    let ms = Duration::from_millis;
    // 1000 turns a second, and long ones as they come.
    let samples = |long: [u64; 4]| {
        let mut sum = 0;
        let one = |(second, long): (u64, u64)| {
            sum += long;
            Sample {
                at: Duration::from_secs(second),
                turns: 70 + second * 1000,
                long: sum,
            }
        };
        (0..).zip(long).map(one).collect::<Vec<_>>()
    };
    let step = |at, length| Step {
        at: ms(at),
        length: ms(length),
    };
    for (long, steps, counted, left_out, is_fault) in [
        ([5, 0, 0, 0], vec![], 0, 0, false), // before the attack
        ([0, 1, 1, 1], vec![], 3, 0, false), // one of a thousand
        ([0, 1, 2, 1], vec![], 4, 0, true),
        ([0, 0, 9, 0], vec![step(1_500, 4)], 0, 9, false),
        ([0, 0, 9, 0], vec![step(900, 4), step(2_100, 4)], 9, 0, true),
        ([0, 0, 9, 0], vec![step(2_002, 4)], 0, 9, false), // begun in their second
        ([0, 4, 9, 0], vec![step(1_002, 4)], 0, 13, false), // in two seconds
        ([0, 4, 9, 0], vec![step(1_500, 4)], 4, 9, true),
    ] {
        let turns = Turns::of(&samples(long), &steps);
        let wanted = Turns {
            all: 3_000,
            long: counted,
            left_out,
        };
        assert_eq!(turns, wanted, "{long:?} {steps:?}");
        assert_eq!(turns.fault().is_some(), is_fault, "{turns:?}");
    }
    assert!(Turns::default().fault().is_some(), "nothing was counted");
}

#[test]
fn each_wait_of_the_healthy_is_judged_by_its_own_quiet() {
    let ms = Duration::from_millis;
    // Two of a hundred are long: the p99 is one of them.
    let samples = |quiet, attacked| {
        let mut all = Latencies::default();
        for wait in Wait::ALL {
            for number in 0..200 {
                let long = number % 100 > 97;
                let (quiet, attacked) = if long { (quiet, attacked) } else { (1, 1) };
                all.quiet.note(wait, ms(quiet));
                all.attacked.note(wait, ms(attacked));
            }
        }
        all
    };
    assert!(samples(1, 5).faults(&Wait::ALL).is_empty());
    assert!(samples(2, 6).faults(&Wait::ALL).is_empty());
    for wait in Wait::ALL {
        for (quiet, attacked) in [(1, 6), (2, 7)] {
            let faults = samples(quiet, attacked).faults(&[wait]);
            let name = format!("{wait:?}").to_lowercase();
            assert!(
                faults.len() == 1
                    && faults[0].starts_with(&format!("p99 of {name} {attacked}.00 ms")),
                "{faults:?}"
            );
        }
    }
    assert_eq!(
        samples(2, 7).attacked.column(),
        "7.00 / 7.00 / 7.00 / 7.00 ms"
    );
    // An attack in which nobody came is no proof.
    let mut alone = Latencies::default();
    alone.quiet.note(Wait::Relay, ms(1));
    alone.attacked.note(Wait::Relay, ms(1));
    assert!(alone.faults(&[Wait::Relay]).is_empty());
    assert_eq!(
        alone.faults(&[Wait::Relay, Wait::Connect]),
        ["no connect was measured"]
    );
    assert_eq!(alone.quiet.column(), "1.00 / – / – / – ms");
}
