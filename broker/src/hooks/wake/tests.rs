//! Calls for a master as transcripts.

use super::*;
use broker_core::presence::{Cause, Master, Waiter};
use broker_core::time::Wall;
use codec::signal::Action;

fn state(master: bool, waiting: &[(u64, Option<u64>)]) -> Arc<Presence> {
    let remote = "127.0.0.1:1".parse().unwrap();
    let waiter = |(until, caller): &(u64, Option<u64>)| Waiter {
        client_id: "v1".into(),
        action: Action::SdpOffer,
        caller: caller.map(CallerId::of_hash),
        since: Wall(*until),
        until: Wall(*until),
    };
    Arc::new(Presence {
        name: "cam".into(),
        arn: "arn".into(),
        hooks: 1,
        sequence: 1,
        at: Wall(0),
        cause: Cause::Waiting,
        reason: None,
        master: master.then_some(Master {
            since: Wall(0),
            remote,
        }),
        viewers: 1,
        waiting: waiting.iter().map(waiter).collect(),
        more: 0,
    })
}

fn words(acts: &[Act]) -> Vec<String> {
    let word = |act: &Act| match act {
        Act::Call(_, attempt) => format!("call {attempt}"),
        Act::Withdraw(_) => "withdraw".into(),
        Act::Ended(result, after) => {
            let result: &str = result.into();
            format!("{result} {after}")
        }
    };
    acts.iter().map(word).collect()
}

struct Case {
    wakes: Wakes,
    channel: Arc<str>,
}

impl Case {
    fn new() -> Self {
        Self {
            wakes: Wakes::default(),
            channel: "arn".into(),
        }
    }

    fn saw(&mut self, state: &Arc<Presence>, now: u64) -> Vec<String> {
        words(&self.wakes.saw(&self.channel, state, now))
    }

    fn until(&mut self, end: u64) -> Vec<(u64, String)> {
        let mut all = Vec::new();
        while let Some(due) = self.wakes.next_due().filter(|due| *due <= end) {
            let acts = words(&self.wakes.due(due));
            all.extend(acts.into_iter().map(|act| (due, act)));
        }
        all
    }
}

#[test]
fn a_master_is_called_four_times_while_somebody_waits() {
    let mut case = Case::new();
    let waiting = state(false, &[(120_000, None)]);
    assert_eq!(case.saw(&waiting, 0), ["call 1"]);
    assert_eq!(
        case.saw(&waiting, 1),
        [""; 0],
        "the same again is no reason"
    );
    let calls: Vec<_> = case.until(100_000);
    let expected = [
        (5_000, "call 2"),
        (15_000, "call 3"),
        (35_000, "call 4"),
        (65_000, "withdraw"),
        (65_000, "gave_up 65000"),
    ];
    assert_eq!(calls, expected.map(|(at, act)| (at, act.to_owned())));
    assert!(
        case.until(3_600_000).is_empty(),
        "what was called for is not again"
    );
    assert!(
        case.wakes.channels.is_empty(),
        "and is forgotten after an hour"
    );
}

#[test]
fn calls_end_with_the_master_or_with_what_is_kept() {
    let mut case = Case::new();
    case.saw(&state(false, &[(60_000, None)]), 0);
    case.until(5_000);
    let ends = case.saw(&state(true, &[]), 7_000);
    assert_eq!(ends, ["withdraw", "connected 7000"]);
    // The cooldown holds; then a newer message is called for.
    let newer = state(false, &[(90_000, None)]);
    assert_eq!(case.saw(&newer, 10_000), [""; 0]);
    assert_eq!(case.until(37_000), [(37_000, "call 1".to_owned())]);
    let ends = case.saw(&state(false, &[]), 38_000);
    assert_eq!(ends, ["withdraw", "expired 1000"]);
}

#[test]
fn a_channel_without_anybody_who_waits_costs_nothing() {
    let mut case = Case::new();
    assert!(case.saw(&state(true, &[]), 0).is_empty());
    assert!(case.saw(&state(false, &[]), 0).is_empty());
    assert!(case.wakes.channels.is_empty() && case.wakes.due.is_empty());
}

/// Calls within the hour, each for a newer message, with the master there a moment later.
fn calls_in_an_hour(case: &mut Case, caller: Option<u64>) -> (usize, usize) {
    let (mut called, mut limited) = (0, 0);
    for nth in 0..60 {
        let now = nth * 40_000;
        let acts = case.saw(&state(false, &[(now + 20_000, caller)]), now);
        called += usize::from(acts == ["call 1"]);
        limited += usize::from(acts == ["limited 0"]);
        case.saw(&state(true, &[]), now + 1_000);
    }
    (called, limited)
}

#[test]
fn a_loop_of_one_viewer_does_not_empty_a_battery() {
    assert_eq!(calls_in_an_hour(&mut Case::new(), None), (30, 30));
    let mut case = Case::new();
    assert_eq!(calls_in_an_hour(&mut case, Some(7)), (10, 50));
    // Another caller still has its part, and the next hour begins at zero.
    let now = 60 * 40_000;
    assert_eq!(
        case.saw(&state(false, &[(now + 20_000, Some(8))]), now),
        ["call 1"]
    );
    case.saw(&state(true, &[]), now + 1);
    let now = 3_700_000;
    assert_eq!(
        case.saw(&state(false, &[(now + 20_000, Some(7))]), now),
        ["call 1"]
    );
}
