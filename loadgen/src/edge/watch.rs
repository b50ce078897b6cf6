//! Progress reports. During a run, a [`RunFollower`] receives the workers' counters four times a second.

use crate::edge::board::Sum;
use crate::live::{Progress, RunFollower};
use crate::result::KINDS;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Reports the progress of a single run. Used only on the thread that controls the run.
pub(crate) struct Watch<'a>(RefCell<WatchState<'a>>);

struct WatchState<'a> {
    audience: &'a mut dyn RunFollower,
    phase: Option<(&'static str, Instant, Goal)>,
    seen: VecDeque<(Instant, Sum)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Goal {
    Span(Duration),
    Opened(u64),
    Masters(u64),
    Unknown,
}

impl<'a> Watch<'a> {
    pub(crate) fn new(audience: &'a mut dyn RunFollower) -> Self {
        Self(RefCell::new(WatchState {
            audience,
            phase: None,
            seen: VecDeque::new(),
        }))
    }

    pub(crate) fn say(&self, line: &str) {
        self.0.borrow_mut().audience.say(line);
    }

    pub(crate) fn ready(&self) {
        self.0.borrow_mut().audience.ready();
    }

    pub(crate) fn enter(&self, phase: &'static str, goal: Goal) {
        self.0.borrow_mut().phase = Some((phase, Instant::now(), goal));
    }

    pub(crate) fn look(&self, sum: &Sum) {
        let inner = &mut *self.0.borrow_mut();
        let now = Instant::now();
        let last = inner.seen.back().map(|(at, _)| *at);
        if last.is_some_and(|last| now - last < SHOW_EVERY) {
            return;
        }
        let Some((phase, begun, goal)) = inner.phase else {
            return;
        };
        while inner.seen.len() >= SHOWS_A_SECOND {
            inner.seen.pop_front();
        }
        let oldest = inner.seen.front().copied();
        inner.seen.push_back((now, *sum));
        let mut progress = progress(phase, now - begun, goal, sum);
        if let Some((at, before)) = oldest {
            progress.sessions_per_s = rate(now - at, before.completed, sum.completed);
            progress.messages_per_s = rate(now - at, before.received, sum.received);
        }
        inner.audience.show(&progress);
    }
}

fn progress(phase: &'static str, elapsed: Duration, goal: Goal, sum: &Sum) -> Progress {
    let known = |us: u64| (us > 0).then_some(us);
    Progress {
        phase: phase.into(),
        elapsed_s: elapsed.as_secs_f64(),
        total_s: match goal {
            Goal::Span(span) => Some(span.as_secs_f64()),
            Goal::Opened(_) | Goal::Masters(_) | Goal::Unknown => None,
        },
        done: match goal {
            Goal::Opened(wanted) => Some((sum.opened + sum.failed, wanted)),
            Goal::Masters(wanted) => Some((sum.masters, wanted)),
            Goal::Span(_) | Goal::Unknown => None,
        },
        open: sum.open,
        p50_us: known(sum.p50_us),
        p99_us: known(sum.p99_us),
        // In an open loop, a failed session usually has a failed connection too. Take the maximum so as not to count
        // the failure twice.
        failed: sum.failed.max(sum.unwell),
        errors: errors(sum),
        ..Progress::default()
    }
}

fn errors(sum: &Sum) -> Vec<(String, u64)> {
    let mut errors: Vec<_> = KINDS
        .iter()
        .zip(sum.kinds)
        .filter(|(_, count)| *count > 0)
        .map(|(kind, count)| (kind.name.to_owned(), count))
        .collect();
    errors.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    errors
}

/// Returns the number of events per second, or `None` for events that do not occur in the current mode.
fn rate(span: Duration, before: u64, after: u64) -> Option<f64> {
    let count = after.saturating_sub(before) as f64;
    (after > 0).then(|| count / span.as_secs_f64().max(1e-3))
}

const SHOW_EVERY: Duration = Duration::from_millis(250);
const SHOWS_A_SECOND: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::result::ErrorKind;

    #[test]
    fn goals_and_rates() {
        let sum = Sum {
            opened: 30,
            failed: 10,
            unwell: 4,
            open: 25,
            p99_us: 7,
            completed: 300,
            ..Sum::default()
        };
        let opening = progress("opening", Duration::from_secs(2), Goal::Opened(80), &sum);
        assert_eq!((opening.share(), opening.failed), (Some(0.5), 10));
        assert_eq!((opening.p50_us, opening.p99_us), (None, Some(7)));
        let span = Goal::Span(Duration::from_secs(8));
        let measuring = progress("measuring", Duration::from_secs(2), span, &sum);
        assert_eq!(measuring.left_s(), Some(6.0));
        let rates = [(100, sum.completed), (0, sum.received)]
            .map(|(before, after)| rate(Duration::from_secs(2), before, after));
        assert_eq!(rates, [Some(100.0), None]);
    }

    #[test]
    fn failures_are_named_the_most_frequent_first() {
        let mut sum = Sum {
            failed: 12,
            ..Sum::default()
        };
        assert_eq!(errors(&sum), []);
        for (kind, count) in [("refused", 2), ("reset", 2), ("status:503", 7)] {
            sum.kinds[ErrorKind::place(kind)] = count;
        }
        let told = progress("measuring", Duration::ZERO, Goal::Unknown, &sum);
        let fine = told
            .line()
            .ends_with("failed: 7 status 503, 2 refused, 2 reset, 1 others");
        assert!(fine, "{}", told.line());
    }

    #[test]
    fn the_audience_is_not_hurried() {
        struct Count(Vec<String>);
        impl RunFollower for Count {
            fn say(&mut self, _: &str) {
                self.0.push("said".into());
            }
            fn show(&mut self, progress: &Progress) {
                self.0.push(progress.phase.clone().into_owned());
            }
        }
        let mut count = Count(Vec::new());
        let watch = Watch::new(&mut count);
        watch.look(&Sum::default()); // nothing has begun
        watch.say("a line");
        watch.enter("opening", Goal::Unknown);
        (0..1000).for_each(|_| watch.look(&Sum::default()));
        let wanted = ["said", "opening"];
        assert_eq!(count.0, wanted, "a thousand looks take less than 250 ms");
    }
}
