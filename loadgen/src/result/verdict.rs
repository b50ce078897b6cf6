//! The verdict on a run, in words and as an exit code.

use crate::result::{Document, Saturated};
use serde::{Deserialize, Serialize};

/// The outcome of a run, which determines its exit code. Later variants take precedence over earlier ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The run was successful. Exit code 0.
    Well,
    /// Messages were lost, duplicated, reordered, corrupted or misrouted. Exit code 1.
    Faulty,
    /// A connection or session could not be established, or was lost. Exit code 3.
    TargetFailed,
    /// The machine ran out of ports or descriptors. Exit code 2.
    Limits,
    /// The operator stopped the run. Exit code 130.
    Stopped,
}

impl Verdict {
    /// Returns the exit code for the verdict.
    #[must_use]
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Well => 0,
            Self::Faulty => 1,
            Self::Limits => 2,
            Self::TargetFailed => 3,
            Self::Stopped => 130,
        }
    }
}

/// Facts about how a run ended that only the engine knows.
#[derive(Clone, Copy, Debug)]
pub struct Ending {
    /// Whether all connections that the load needs were opened.
    pub all_opened: bool,
    /// Whether the operator stopped the run.
    pub stopped: bool,
    /// CPU usage of the load generator, as a fraction of its CPUs.
    pub driver_busy: f64,
}

impl Document {
    /// Judges a complete run, setting `verdict`, `ok` and `saturated`. Ctrl-C takes precedence over everything else,
    /// and an unreachable target takes precedence over message faults. In a run with sessions, failed connections do
    /// not matter as long as no session failed.
    pub fn judge(&mut self, ending: Ending) {
        let failed = self.connections.failed.unwrap_or_default();
        let gone = failed > 0 && failed >= self.connections.opened.unwrap_or_default();
        let failures = self.sessions.failed.unwrap_or(failed);
        let unwell = failures > 0 || self.declined() > 0 || !ending.all_opened;
        let verdict = if ending.stopped {
            Verdict::Stopped
        } else if unwell && self.exhausted().is_some() {
            Verdict::Limits
        } else if unwell && (gone || !ending.all_opened) {
            Verdict::TargetFailed
        } else if self.faults() > 0 {
            Verdict::Faulty
        } else if unwell {
            Verdict::TargetFailed
        } else {
            Verdict::Well
        };
        self.ok = verdict == Verdict::Well;
        self.verdict = Some(verdict);
        // A storm starts all sessions at once, so its lag means nothing.
        let is_late = self.schedule_lag_us.p99.is_some_and(|us| us > LAG_US_MAX);
        let is_late = is_late && self.mode != "storm";
        self.saturated = self
            .exhausted()
            .or_else(|| (ending.driver_busy > BUSY_MAX).then_some(Saturated::Cpu))
            .or_else(|| is_late.then_some(Saturated::Lag));
    }

    fn exhausted(&self) -> Option<Saturated> {
        let some = |kind: &str| self.errors.get(kind).is_some_and(|&count| count > 0);
        if some("descriptors_exhausted") {
            Some(Saturated::Descriptors)
        } else if some("ports_exhausted") {
            Some(Saturated::Ports)
        } else {
            None
        }
    }

    /// Returns the engine's verdict, or derives one if there is none. An unreachable target takes precedence over
    /// message faults.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        if let Some(verdict) = self.verdict {
            return verdict;
        }
        let failed = self.connections.failed.unwrap_or_default();
        let gone = failed > 0 && failed >= self.connections.peak.unwrap_or_default();
        let sessions = self.sessions.failed.unwrap_or_default();
        let broken = failed > 0 || sessions > 0 || self.declined() > 0;
        if gone {
            Verdict::TargetFailed
        } else if self.faults() > 0 {
            Verdict::Faulty
        } else if broken || !self.ok {
            Verdict::TargetFailed
        } else {
            Verdict::Well
        }
    }

    /// Returns the number of messages that did not arrive exactly once, in order, unmodified and at the right peer.
    #[must_use]
    pub fn faults(&self) -> u64 {
        sum(&self.messages.faults())
    }

    /// Returns the number of messages that the service rejected. These do not count as lost.
    #[must_use]
    pub fn declined(&self) -> u64 {
        sum(&self.messages.declined())
    }

    /// Returns the verdict in plain words, on one line. If the load generator was saturated, the line starts by saying
    /// so.
    #[must_use]
    pub fn headline(&self) -> String {
        let mut words = self.verdict_words();
        if let Some(thresholds) = self.thresholds() {
            words = format!("{words} {}", thresholds.words());
        }
        match self.saturated {
            None => words,
            Some(what) => format!(
                "Saturated: {}; these figures are its limit, not the service's. {words}",
                what.words()
            ),
        }
    }

    /// Returns the verdict in plain words, without mentioning saturation.
    #[must_use]
    pub fn verdict_words(&self) -> String {
        match self.verdict() {
            Verdict::Well if self.messages.sent.unwrap_or_default() > 0 => {
                "All well: every message arrived once, in order and unchanged.".into()
            }
            Verdict::Well => "All well: every connection did what it should.".into(),
            Verdict::Faulty => {
                let sessions = self.sessions.failed.unwrap_or_default();
                let more = if sessions > 0 {
                    format!("; {sessions} sessions failed")
                } else {
                    String::new()
                };
                format!("Messages went wrong: {}{more}.", self.fault_words())
            }
            Verdict::TargetFailed => {
                let faults = match self.faults() {
                    0 => String::new(),
                    _ => format!("; messages: {}", self.fault_words()),
                };
                format!("The target failed: {}{faults}.", self.failure_words())
            }
            Verdict::Limits => format!(
                "This machine's limits did not suffice: {}.",
                self.failure_words()
            ),
            Verdict::Stopped => {
                let broken = self.connections.failed.unwrap_or_default()
                    + self.sessions.failed.unwrap_or_default()
                    + self.declined();
                let until = match (self.faults(), broken) {
                    (0, 0) => "nothing was lost until then".into(),
                    (0, _) => self.failure_words(),
                    (_, 0) => self.fault_words(),
                    (_, _) => format!("{}; messages: {}", self.failure_words(), self.fault_words()),
                };
                format!("Stopped early by the operator; {until}.")
            }
        }
    }

    fn fault_words(&self) -> String {
        let faults = self.messages.faults().into_iter();
        let known = faults.filter_map(|(name, count)| Some((name, count.filter(|n| *n > 0)?)));
        let words: Vec<_> = known
            .map(|(name, count)| format!("{count} {name}"))
            .collect();
        words.join(", ")
    }

    fn failure_words(&self) -> String {
        let counts = [
            (self.connections.failed, "connections"),
            (self.sessions.failed, "sessions"),
        ];
        let known = counts.into_iter().filter_map(|(count, what)| {
            let count = count.filter(|count| *count > 0)?;
            Some(format!("{count} {what} failed"))
        });
        let declined = self.messages.declined().into_iter();
        let declined = declined.filter_map(|(what, count)| {
            let count = count.filter(|count| *count > 0)?;
            let advice = if what == "throttled" { THROTTLED } else { "" };
            Some(format!("{count} messages {what}{advice}"))
        });
        let known = known.chain(declined);
        let words: Vec<_> = known.collect();
        if words.is_empty() {
            "not every connection was established".into()
        } else {
            words.join(", ")
        }
    }
}

fn sum(counts: &[(&str, Option<u64>)]) -> u64 {
    let counts = counts.iter().filter_map(|(_, count)| *count);
    counts.fold(0, u64::saturating_add)
}

/// End of a verdict about throttled messages. Names the broker quotas that throttle messages, and the key that disables
/// them.
const THROTTLED: &str =
    " by `ice` and `sdp` of the broker's [quotas], which `off = true` there turns off";

/// Above this CPU usage, as a fraction of its CPUs, the load generator is considered the bottleneck.
const BUSY_MAX: f64 = 0.95;
/// Above this 99th percentile schedule lag, in microseconds, the load generator is considered the bottleneck.
const LAG_US_MAX: u64 = 20_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::result::{EventArguments, ScheduleLag, Sessions};

    fn well() -> Document {
        let mut document = Document::new("relay", "http://t", EventArguments::new(), String::new());
        document.ok = true;
        document.connections.peak = Some(2);
        document.messages.sent = Some(1);
        document
    }

    macro_rules! cases {
        ($($code:literal, $words:literal, $run:ident => $spoiled:expr;)+) => {
            $({
                let mut $run = well();
                $spoiled;
                let said = $run.headline();
                assert_eq!(($run.verdict().exit_code(), said.contains($words)), ($code, true), "{said}");
            })+
        };
    }

    #[test]
    fn verdicts_and_exit_codes() {
        cases! {
            0, "All well: every message", d => d.ok = true;
            0, "every connection", d => d.messages.sent = None;
            1, "3 lost", d => d.messages.lost = Some(3);
            1, "1 duplicated", d => d.messages.duplicated = Some(1);
            1, "1 reordered", d => d.messages.reordered = Some(1);
            1, "1 corrupted", d => d.messages.corrupted = Some(1);
            1, "1 misrouted", d => d.messages.misrouted = Some(1);
            3, "1 connections failed", d => d.connections.failed = Some(1);
            3, "5 messages throttled by `ice` and `sdp` of", d => d.messages.throttled = Some(5);
            3, "5 messages refused.", d => d.messages.refused = Some(5);
            3, "7 sessions failed", d => d.sessions.failed = Some(7);
            2, "machine's limits", d => d.verdict = Some(Verdict::Limits);
            3, "not every connection was established", d => d.ok = false;
            3, "messages: 9 lost", d => (d.connections.failed, d.messages.lost) = (Some(2), Some(9));
            1, "9 lost", d => (d.connections.failed, d.messages.lost) = (Some(1), Some(9));
            130, "nothing was lost", d => d.verdict = Some(Verdict::Stopped);
            130, "operator; 4 lost", d => (d.verdict, d.messages.lost) = (Some(Verdict::Stopped), Some(4));
            130, "5 connections failed.", d => (d.verdict, d.connections.failed) = (Some(Verdict::Stopped), Some(5));
            0, "Saturated: the driver's CPU", d => d.saturated = Some(Saturated::Cpu);
        }
    }

    const WELL: Ending = Ending {
        all_opened: true,
        stopped: false,
        driver_busy: 0.5,
    };

    /// Returns a run of this mode, with its verdict. The run was successful except for the change that `change` makes.
    fn judged(mode: &str, ending: Ending, change: impl Fn(&mut Document)) -> Document {
        let mut document = Document::new(mode, "http://t", EventArguments::new(), String::new());
        document.connections.opened = Some(10);
        if mode == "sessions" || mode == "storm" {
            document.sessions = Sessions {
                scheduled: Some(10),
                completed: Some(10),
                failed: Some(0),
            };
        }
        change(&mut document);
        document.judge(ending);
        document
    }

    #[test]
    fn verdicts_by_rank() {
        let of = |ending, change: &dyn Fn(&mut Document)| {
            let document = judged("sessions", ending, change);
            assert_eq!(document.ok, document.verdict() == Verdict::Well);
            document.verdict()
        };
        let unwell = |run: &mut Document| run.sessions.failed = Some(1);
        assert_eq!(of(WELL, &|_| {}), Verdict::Well);
        let storm = |run: &mut Document| run.connections.failed = Some(100);
        let found = of(WELL, &storm);
        assert_eq!(found, Verdict::Well, "they may fail and come back");
        let found = of(WELL, &|run| run.messages.lost = Some(1));
        assert_eq!(found, Verdict::Faulty);
        assert_eq!(of(WELL, &unwell), Verdict::TargetFailed);
        let closed = Ending {
            all_opened: false,
            ..WELL
        };
        assert_eq!(of(closed, &|_| {}), Verdict::TargetFailed);
        let lossy = |run: &mut Document| {
            unwell(run);
            run.messages.lost = Some(1);
        };
        assert_eq!(of(WELL, &lossy), Verdict::Faulty);
        let gone = |run: &mut Document| {
            lossy(run);
            run.connections.failed = Some(10);
        };
        assert_eq!(of(WELL, &gone), Verdict::TargetFailed);
        let short = |run: &mut Document| {
            gone(run);
            run.errors.insert("ports_exhausted".into(), 1);
        };
        assert_eq!(of(WELL, &short), Verdict::Limits);
        let stopped = Ending {
            stopped: true,
            ..WELL
        };
        assert_eq!(of(stopped, &short), Verdict::Stopped);
        let broken = judged("relay", WELL, |run| run.connections.failed = Some(1));
        assert_eq!(broken.verdict(), Verdict::TargetFailed);
    }

    #[test]
    fn the_limit_of_the_driver_is_named() {
        let of = |mode: &str, ending, change: &dyn Fn(&mut Document)| {
            judged(mode, ending, change).saturated
        };
        let late: &dyn Fn(&mut Document) = &|run| {
            run.schedule_lag_us = ScheduleLag {
                p99: Some(30_000),
                ..ScheduleLag::default()
            };
        };
        assert_eq!(of("sessions", WELL, &|_| {}), None);
        assert_eq!(of("sessions", WELL, late), Some(Saturated::Lag));
        assert_eq!(of("relay", WELL, late), Some(Saturated::Lag));
        assert_eq!(of("storm", WELL, late), None);
        let busy = Ending {
            driver_busy: 0.97,
            ..WELL
        };
        assert_eq!(of("relay", busy, &|_| {}), Some(Saturated::Cpu));
        let ports: &dyn Fn(&mut Document) = &|run| {
            run.errors.insert("ports_exhausted".into(), 1);
        };
        assert_eq!(of("storm", WELL, ports), Some(Saturated::Ports));
    }
}
