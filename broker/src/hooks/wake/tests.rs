//! Tests of wake calls, written as transcripts.

use super::*;
use broker_core::{presence::Master, time::Wall};
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
        account: Account(1),
        hooks: 1,
        slot: None,
        epoch: 1,
        sequence: 1,
        at: Wall(0),
        cause: PresenceCause::Waiting,
        reason: None,
        master: master.then_some(Master {
            doubtful_since: None,
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
            let acts = words(&self.wakes.due(due, |_| true));
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
    // During the cooldown, no call is made. After that, the master is called for the newer message.
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

/// Returns how many calls are made and how many are refused in an hour. Each call is for a newer message, and the
/// master connects a moment after it.
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
    // Another caller still has calls left, and the next hour begins with none used.
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

/// A caller that retries in a loop does not use up the calls of others, nor does it make their messages count as called
/// for.
#[test]
fn a_caller_that_is_limited_hides_nobody() {
    let mut case = Case::new();
    assert_eq!(calls_in_an_hour(&mut case, Some(7)), (10, 50));
    let now = 60 * 40_000;
    let greedy = (now + 20_000, Some(7));
    assert_eq!(case.saw(&state(false, &[greedy]), now), ["limited 0"]);
    let both = [greedy, (now + 20_400, Some(8)), (now + 20_500, Some(7))];
    assert_eq!(case.saw(&state(false, &both), now + 500), ["call 1"]);
}

#[test]
fn a_calendar_that_is_set_back_keeps_no_call_back() {
    let mut case = Case::new();
    let at = |ms: u64, until: u64| {
        let state = Presence::clone(&state(false, &[(until, None)]));
        Arc::new(Presence {
            at: Wall(ms),
            ..state
        })
    };
    const HOUR: u64 = 3_600_000;
    case.saw(&at(HOUR, HOUR + 120_000), 0);
    case.until(65_000);
    assert_eq!(case.saw(&at(1_000, 121_000), 100_000), ["call 1"]);
}

/// Calls that became due in the meantime are made as one, and no channel is forgotten.
#[test]
fn a_process_that_stood_still_goes_on_calling() {
    let mut case = Case::new();
    case.saw(&state(false, &[(120_000, None)]), 0);
    assert_eq!(words(&case.wakes.due(50_000, |_| true)), ["call 4"]);
    let ends = case.saw(&state(true, &[]), 51_000);
    assert_eq!(ends, ["withdraw", "connected 51000"]);
    case.saw(&state(false, &[(300_000, None)]), 90_000);
    let ends = words(&case.wakes.due(90_000 + 200_000, |_| true));
    assert_eq!(ends, ["withdraw", "gave_up 200000"]);
}

/// One account has taken all places. Even so, a camera of another account is called.
#[test]
fn the_account_with_most_makes_room() {
    let mut wakes = Wakes::default();
    let of = |account: u64, name: &str| {
        let state = Presence::clone(&state(false, &[(60_000, None)]));
        let state = Presence {
            account: Account(account),
            arn: name.into(),
            ..state
        };
        (Arc::<str>::from(name), Arc::new(state))
    };
    for nth in 0..WAKE_CHANNELS_MAX {
        let (arn, state) = of(1, &nth.to_string());
        assert_eq!(words(&wakes.saw(&arn, &state, 0)), ["call 1"]);
    }
    let (arn, more) = of(1, "more");
    assert_eq!(words(&wakes.saw(&arn, &more, 1)), ["limited 0"]);
    let (arn, other) = of(2, "other");
    let acts = words(&wakes.saw(&arn, &other, 1));
    assert_eq!(acts, ["withdraw", "limited 0", "call 1"]);
    assert_eq!(wakes.channels.len(), WAKE_CHANNELS_MAX);
    // Once the channels of the first account are idle, another of its channels can replace one of them.
    while let Some(due) = wakes.next_due().filter(|due| *due <= 65_000) {
        wakes.due(due, |_| true);
    }
    let (arn, more) = of(1, "more");
    assert_eq!(words(&wakes.saw(&arn, &more, 65_001)), ["call 1"]);
    let places = [wakes.due.len(), wakes.ranks.len(), wakes.shares.bytes()];
    assert_eq!(places, [WAKE_CHANNELS_MAX; 3]);
}

#[test]
fn a_deleted_channel_has_no_place() {
    let mut case = Case::new();
    case.saw(&state(false, &[(60_000, None)]), 0);
    let gone = Presence::clone(&state(false, &[]));
    let gone = Arc::new(Presence {
        cause: PresenceCause::Deleted,
        ..gone
    });
    assert_eq!(case.saw(&gone, 1_000), ["withdraw", "expired 1000"]);
    let wakes = &case.wakes;
    assert!(wakes.channels.is_empty() && wakes.due.is_empty() && wakes.ranks.is_empty());
    assert_eq!(wakes.shares.bytes(), 0);
}
