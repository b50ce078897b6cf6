//! Tests of the queue: the order of events, retries, and limits.

use super::{What, *};
use crate::limits::HOOK_WAITING_MAX;
use broker_core::presence::{Master, Presence, PresenceCause, Waiter};
use broker_core::time::Wall;
use codec::signal::Action;
use proptest::prelude::*;
use std::sync::Arc;

fn key(channel: u64) -> Key {
    Key {
        half: Half::States,
        channel: channel.to_string().into(),
    }
}

fn job(channel: u64, sequence: u64) -> HookDelivery {
    let presence = Presence {
        name: channel.to_string().into(),
        arn: channel.to_string().into(),
        account: Account(channel % 3),
        hooks: 1,
        slot: None,
        epoch: 1,
        sequence,
        at: Wall(0),
        cause: PresenceCause::MasterJoined,
        reason: None,
        master: None,
        viewers: 0,
        waiting: Vec::new(),
        more: 0,
    };
    HookDelivery {
        key: key(channel),
        account: Account(channel % 3),
        number: sequence,
        what: What::Presence(Arc::new(presence)),
        ready: 0,
        came: false,
        expires: None,
    }
}

/// Returns a state of channel 1 with this cause. If the cause is that the master left, the state is delayed by the
/// linger.
fn state(cause: PresenceCause, there: bool, now: u64) -> HookDelivery {
    let mut job = job(1, now);
    if let What::Presence(presence) = &mut job.what {
        let presence = Arc::make_mut(presence);
        presence.cause = cause;
        presence.master = there.then_some(Master {
            since: Wall(now),
            remote: "127.0.0.1:1".parse().unwrap(),
            doubtful_since: None,
        });
    }
    let linger = if cause == PresenceCause::MasterLeft {
        LINGER
    } else {
        0
    };
    job.ready = now + linger;
    job
}

const LINGER: u64 = 2_000;

/// When a state was sent, with which cause, and whether it had a master.
type Sent = (u64, PresenceCause, bool);

/// Changes of a channel, and the states that must be sent for them.
type Case = (&'static [(PresenceCause, bool)], &'static [Sent]);

/// Returns the states of channel 1 that are sent up to `until`: when, with which cause, and whether there is a master.
/// The receiver accepts each state at once.
fn sent(queue: &mut Queue, until: u64) -> Vec<Sent> {
    let mut sent = Vec::new();
    while let Some(due) = queue.next_due().filter(|due| *due <= until) {
        let job = next(queue, due).unwrap();
        queue.done(&job.key, Answer::Taken, due);
        let state = job.what.state().unwrap();
        sent.push((due, state.cause, state.master.is_some()));
    }
    sent
}

/// A camera that reconnects forty times, each time within the linger, is never reported as gone.
#[test]
fn a_master_that_reconnects_within_the_linger_was_never_gone() {
    let mut queue = Queue::new(60_000, 1);
    let mut all = Vec::new();
    queue.put(state(PresenceCause::MasterJoined, true, 0), 0);
    for nth in 1..=40 {
        let now = nth * 700;
        all.extend(sent(&mut queue, now));
        queue.put(state(PresenceCause::MasterLeft, false, now), now);
        // A change in the meantime is reported, as long as it does not reveal that the master has left.
        all.extend(sent(&mut queue, now + 100));
        queue.put(
            state(PresenceCause::ViewerLeft, false, now + 100),
            now + 100,
        );
        all.extend(sent(&mut queue, now + 300));
        queue.put(
            state(PresenceCause::MasterJoined, true, now + 300),
            now + 300,
        );
    }
    all.extend(sent(&mut queue, 90_000));
    assert_eq!(all.remove(0), (0, PresenceCause::MasterJoined, true));
    assert!(all.len() > 20, "{all:?}");
    let replaced = |(_, cause, there): &Sent| *there && *cause == PresenceCause::MasterReplaced;
    assert!(all.iter().all(replaced), "{all:?}");
    // After that, the camera stays away.
    queue.put(state(PresenceCause::MasterLeft, false, 90_000), 90_000);
    queue.put(state(PresenceCause::ViewerLeft, false, 90_500), 90_500);
    assert_eq!(
        sent(&mut queue, 200_000),
        [(92_000, PresenceCause::MasterLeft, false)]
    );
}

/// Of several states within a second, the newest is sent when the second ends, with the most significant of their
/// causes.
#[test]
fn states_of_a_channel_are_a_second_apart() {
    #[rustfmt::skip] // a table, a case per row
    let cases: [Case; 5] = [
        (&[(PresenceCause::MasterJoined, true), (PresenceCause::Served, true)],
            &[(1_000, PresenceCause::MasterJoined, true)]),
        (&[(PresenceCause::MasterJoined, true), (PresenceCause::MasterLeft, false)],
            &[(2_200, PresenceCause::MasterLeft, false)]),
        // The receiver has not been told of any master, so this one is reported as having joined.
        (
            &[
                (PresenceCause::MasterJoined, true),
                (PresenceCause::MasterLeft, false),
                (PresenceCause::MasterJoined, true),
            ],
            &[(1_000, PresenceCause::MasterJoined, true)],
        ),
        (&[(PresenceCause::MasterLeft, false), (PresenceCause::Deleted, false)],
            &[(1_000, PresenceCause::Deleted, false)]),
        (&[(PresenceCause::Unwatched, false), (PresenceCause::Watched, true)],
            &[(1_000, PresenceCause::Watched, true)]),
    ];
    for (changes, expected) in cases {
        let mut queue = Queue::new(60_000, 1);
        queue.put(state(PresenceCause::Waiting, false, 0), 0);
        assert_eq!(sent(&mut queue, 0), [(0, PresenceCause::Waiting, false)]);
        for (nth, (cause, there)) in (1..).zip(changes) {
            let now = nth * 100;
            queue.put(state(*cause, *there, now), now);
        }
        assert_eq!(sent(&mut queue, 60_000), expected, "{changes:?}");
        assert!(queue.len() == 0 && queue.oldest().is_none());
    }
}

#[test]
fn calls_and_words_of_the_process_and_states_of_other_channels_are_not_apart() {
    let mut queue = Queue::new(60_000, 1);
    for now in [0, 10, 20] {
        let mut call = job(1, 1);
        call.key.half = Half::Wakes;
        let call = HookDelivery {
            what: What::Wake(Arc::clone(call.what.state().unwrap()), 1),
            ..call
        };
        let word = HookDelivery {
            what: What::Node("node.resync"),
            ..job(2, 1)
        };
        for job in [call, word] {
            queue.put(job, now);
            let sent = next(&mut queue, now).unwrap();
            queue.done(&sent.key, Answer::Taken, now);
        }
    }
    assert!(queue.rests.is_empty());
    for channel in 0..2_000 {
        queue.put(job(channel, 1), 100);
    }
    while let Some(sent) = next(&mut queue, 100) {
        queue.done(&sent.key, Answer::Taken, 100);
    }
    assert_eq!(queue.rests.len(), 2_000);
    assert!(next(&mut queue, 1_100).is_none() && queue.rests.is_empty());
}

/// The receiver takes 20 ms per request, and one account has 10,000 calls queued. Calls of another account are served
/// next, and calls that are replaced while they are queued keep their turns.
#[test]
fn accounts_take_turns_and_a_repeated_call_keeps_its_own() {
    let call = |channel: u64, account, now| {
        let mut call = job(channel, 1);
        call.key.half = Half::Wakes;
        HookDelivery {
            account: Account(account),
            what: What::Wake(Arc::clone(call.what.state().unwrap()), 1),
            ready: now,
            expires: Some(60_000),
            ..call
        }
    };
    let mut queue = Queue::new(60_000, 1);
    let (greedy, other) = (1, 2);
    for channel in 0..10_000 {
        queue.put(call(channel, greedy, 0), 0);
    }
    let mut flights: Vec<HookDelivery> = Vec::new();
    let mut launched = BTreeMap::new();
    for now in (0..30_000).step_by(20) {
        for job in flights.drain(..) {
            queue.done(&job.key, Answer::Taken, now);
        }
        if now == 100 {
            for channel in 20_000..20_010 {
                queue.put(call(channel, other, now), now);
            }
        }
        if now % 5_000 == 0 {
            // Every queued call is replaced, beginning with the one that was queued last.
            let waiting = |channel: &u64| now > 0 && !launched.contains_key(channel);
            for channel in (0..10_000).rev().filter(waiting) {
                queue.put(call(channel, greedy, now), now);
            }
        }
        while let Some(job) = next(&mut queue, now) {
            let channel: u64 = job.key.channel.parse().unwrap();
            launched.insert(channel, now);
            flights.push(job);
        }
    }
    assert_eq!(launched.len(), 10_010);
    for channel in 20_000..20_010 {
        assert!(launched[&channel] <= 160, "{}", launched[&channel]);
    }
    // All calls were queued at the same time, so they are sent in the order of their keys.
    let mut order: Vec<_> = (0..10_000_u64).collect();
    order.sort_by_key(ToString::to_string);
    let moments = order.iter().map(|channel| launched[channel]);
    assert!(moments.is_sorted(), "a call lost its turn");
}

fn next(queue: &mut Queue, now: u64) -> Option<HookDelivery> {
    queue.next(now, &mut 0)
}

#[test]
fn one_is_in_flight_and_the_newest_waits() {
    let mut queue = Queue::new(60_000, 1);
    queue.put(job(1, 1), 0);
    assert_eq!(next(&mut queue, 0).unwrap().number, 1);
    queue.put(job(1, 2), 0);
    queue.put(job(1, 3), 0);
    assert!(
        next(&mut queue, 0).is_none(),
        "one of a channel is in flight"
    );
    assert_eq!(queue.done(&key(1), Answer::Taken, 1), Outcome::Delivered);
    assert_eq!(next(&mut queue, 1_000).unwrap().number, 3);
    assert_eq!(
        queue.done(&key(1), Answer::Taken, 1_000),
        Outcome::Delivered
    );
    assert_eq!((queue.len(), queue.next_due()), (0, None));
}

#[test]
fn a_failure_is_tried_again_until_its_time_is_over() {
    let mut queue = Queue::new(10_000, 1);
    queue.put(job(1, 1), 0);
    let (mut now, mut tries) = (0, 0);
    let last = loop {
        assert!(next(&mut queue, now).is_some());
        tries += 1;
        let outcome = queue.done(&key(1), Answer::Later(None), now);
        if outcome != Outcome::Retried {
            break outcome;
        }
        now = queue.next_due().unwrap();
    };
    assert_eq!(last, Outcome::GaveUp);
    assert!(now <= 10_000 && tries > 2, "{tries} tries until {now}");
    assert!(queue.take_lost(), "the receiver is to read all states");
    assert_eq!(queue.len(), 0);
}

#[test]
fn a_pause_that_the_receiver_asks_for_is_kept() {
    let mut queue = Queue::new(600_000, 1);
    queue.put(job(1, 1), 0);
    next(&mut queue, 0);
    queue.done(&key(1), Answer::Later(Some(30_000)), 0);
    assert_eq!(queue.next_due(), Some(30_000));
    queue.put(job(1, 2), 1);
    assert_eq!(queue.next_due(), Some(30_000), "also by a newer state");
    next(&mut queue, 30_000);
    queue.done(&key(1), Answer::Later(Some(u64::MAX)), 30_000);
    assert_eq!(queue.next_due(), Some(30_000 + HOOK_RETRY_MS_MAX));
}

#[test]
fn a_receiver_that_is_gone_gets_nothing_until_it_is_switched_on() {
    let mut queue = Queue::new(60_000, 1);
    for channel in 0..3 {
        queue.put(job(channel, 1), 0);
    }
    next(&mut queue, 0);
    queue.done(&key(0), Answer::Gone, 0);
    assert!(queue.off && queue.len() == 0);
    queue.put(job(1, 2), 0);
    assert!(next(&mut queue, 0).is_none());
    queue.switch_on(queue.retry_ms);
    queue.put(job(1, 3), 0);
    assert_eq!(next(&mut queue, 0).unwrap().number, 3);
    assert!(queue.take_lost());
}

#[test]
fn who_fails_all_the_time_gets_one_request_at_a_time() {
    let mut queue = Queue::new(600_000, 1);
    for channel in 0..40 {
        queue.put(job(channel, 1), 0);
    }
    let mut now = 0;
    while queue.failures < HOOK_FAILURES_MAX {
        match next(&mut queue, now) {
            Some(job) => drop(queue.done(&job.key, Answer::Later(None), now)),
            None => now = queue.next_due().unwrap(),
        }
    }
    now += 100_000;
    let probe = next(&mut queue, now).unwrap();
    assert!(next(&mut queue, now).is_none());
    queue.done(&probe.key, Answer::Taken, now);
    let flights = std::iter::from_fn(|| next(&mut queue, now)).count();
    assert_eq!(flights, HOOK_FLIGHTS_MAX / 2, "the other half is for calls");
}

#[test]
fn the_account_with_most_makes_room_and_calls_have_their_own() {
    let mut queue = Queue::new(60_000, 1);
    let of = |channel: u64, account| HookDelivery {
        account,
        ..job(channel, 1)
    };
    let (greedy, other) = (Account(1), Account(2));
    // The account runs out of bytes or of places, whichever comes first.
    let mut taken = 0;
    while queue.put(of(taken, greedy), 0) == 0 {
        taken += 1;
    }
    assert!((1_000..=HOOK_WAITING_MAX as u64).contains(&taken));
    assert_eq!(queue.put(of(1_000_000, other), 0), 1);
    assert!(
        queue.entries.contains_key(&key(1_000_000)),
        "it has its place"
    );
    let mut call = of(1_000_001, greedy);
    call.key.half = Half::Wakes;
    assert_eq!(queue.put(call, 0), 0);
    assert!(queue.take_lost());
}

/// A few channels with many waiting viewers hold as much as many channels, so they make room for other accounts.
#[test]
fn bytes_are_what_an_account_holds() {
    let mut queue = Queue::new(60_000, 1);
    let (greedy, other) = (Account(1), Account(2));
    let waiter = Waiter {
        client_id: "v".repeat(256).into(),
        action: Action::SdpOffer,
        caller: None,
        since: Wall(0),
        until: Wall(60_000),
    };
    let large = |channel: u64| {
        let mut job = job(channel, 1);
        job.account = greedy;
        if let What::Presence(presence) = &mut job.what {
            Arc::make_mut(presence).waiting = vec![waiter.clone(); 16];
        }
        job
    };
    for channel in 0..4_000 {
        let small = HookDelivery {
            account: other,
            ..job(channel, 1)
        };
        assert_eq!(queue.put(small, 0), 0);
    }
    for channel in 10_000..13_000 {
        queue.put(large(channel), 0);
    }
    let kept = (0..4_000).filter(|channel| queue.entries.contains_key(&key(*channel)));
    assert_eq!(kept.count(), 4_000, "nobody pays for the larger account");
}

/// A wake call that fails in flight is not repeated once its master has connected.
#[test]
fn what_is_withdrawn_in_flight_is_not_repeated() {
    let mut queue = Queue::new(60_000, 1);
    let mut call = job(1, 1);
    (call.key.half, call.expires) = (Half::Wakes, Some(60_000));
    let key = call.key.clone();
    queue.put(call, 0);
    assert!(next(&mut queue, 0).is_some());
    queue.withdraw(&key);
    assert_eq!(queue.done(&key, Answer::Later(None), 500), Outcome::Expired);
    assert_eq!((queue.len(), queue.next_due()), (0, None));
}

#[test]
fn what_nobody_waits_for_is_not_sent() {
    let mut queue = Queue::new(60_000, 1);
    let mut late = job(1, 1);
    late.expires = Some(50);
    queue.put(late, 0);
    let mut expired = 0;
    assert!(queue.next(50, &mut expired).is_none());
    assert_eq!((expired, queue.len()), (1, 0));
    queue.put(job(2, 1), 0);
    queue.withdraw(&key(2));
    assert!(next(&mut queue, 50).is_none() && queue.len() == 0);
}

#[derive(Clone, Debug)]
enum Step {
    Put(u64),
    Pass(u64),
    Send,
    Answer(usize, Answer),
    Withdraw(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let answer = prop_oneof![
        4 => Just(Answer::Taken),
        3 => (prop::option::of(0..90_000_u64)).prop_map(Answer::Later),
        1 => Just(Answer::Refused),
    ];
    prop_oneof![
        4 => (0..6_u64).prop_map(Step::Put),
        2 => (0..20_000_u64).prop_map(Step::Pass),
        4 => Just(Step::Send),
        4 => (0..16_usize, answer).prop_map(|(nth, answer)| Step::Answer(nth, answer)),
        1 => (6..8_u64).prop_map(Step::Withdraw),
    ]
}

proptest! {
    /// No failure makes a receiver get an older state after a newer one. In the end, it has the newest state of
    /// each channel or has been told to read all of them again.
    #[test]
    fn in_the_end_the_receiver_has_the_newest_states(
        steps in prop::collection::vec(step(), 1..200),
        seed: u64,
    ) {
        let mut queue = Queue::new(60_000, seed);
        let (mut now, mut sequence, mut lost) = (0, 0, false);
        let (mut newest, mut received) = (BTreeMap::new(), BTreeMap::<u64, u64>::new());
        let mut flights: Vec<HookDelivery> = Vec::new();
        let mut land = |queue: &mut Queue, job: HookDelivery, answer, now| {
            let channel: u64 = job.key.channel.parse().unwrap();
            if answer == Answer::Taken {
                let before = received.insert(channel, job.number);
                assert!(before.is_none_or(|before| before < job.number), "it went back");
            }
            queue.done(&job.key, answer, now);
        };
        for step in steps {
            match step {
                Step::Put(channel) => {
                    sequence += 1;
                    newest.insert(channel, sequence);
                    queue.put(job(channel, sequence), now);
                }
                Step::Pass(ms) => now += ms,
                Step::Send => if let Some(job) = next(&mut queue, now) {
                    prop_assert!(flights.iter().all(|other| other.key != job.key));
                    flights.push(job);
                },
                Step::Answer(nth, answer) if nth < flights.len() => {
                    let job = flights.swap_remove(nth);
                    land(&mut queue, job, answer, now);
                }
                Step::Answer(..) => {}
                Step::Withdraw(channel) => {
                    queue.put(job(channel, sequence), now);
                    queue.withdraw(&key(channel));
                }
            }
        }
        for job in flights {
            land(&mut queue, job, Answer::Taken, now);
        }
        loop {
            match next(&mut queue, now) {
                Some(job) => land(&mut queue, job, Answer::Taken, now),
                None => match queue.next_due() {
                    Some(due) => now = now.max(due),
                    None => break,
                },
            }
        }
        lost |= queue.take_lost();
        prop_assert_eq!(queue.len(), 0);
        let places = &queue.halves[Half::States as usize];
        prop_assert!(places.bytes == 0 && places.flights == 0 && places.shares.bytes() == 0);
        prop_assert!(places.due.is_empty() && places.ready.is_empty() && places.turns.is_empty());
        prop_assert!(lost || received == newest, "{received:?} {newest:?}");
    }
}
