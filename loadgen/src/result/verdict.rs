//! What a document comes to.

use super::Document;
use serde::{Deserialize, Serialize};

/// How a run ended, as the program's exit code says it; each outranks those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// All well: 0.
    Well,
    /// Messages lost, duplicated, reordered, corrupted or misrouted: 1.
    Faulty,
    /// The target failed: connections or sessions did not come about or broke: 3.
    TargetFailed,
    /// This machine's ports or descriptors did not suffice: 2.
    Limits,
    /// Stopped by the operator: 130.
    Stopped,
}

impl Verdict {
    /// The exit code.
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

impl Document {
    /// What the engine said, or else what the figures say: a target that is gone, or was never there, outranks what became of
    /// messages, and `ok` is looked at last.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        if let Some(verdict) = self.verdict {
            return verdict;
        }
        let failed = self.connections.failed.unwrap_or_default();
        let gone = failed > 0 && failed >= self.connections.peak.unwrap_or_default();
        let broken = failed > 0 || self.sessions.failed.unwrap_or_default() > 0;
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

    /// Messages that did not arrive once, in order, unchanged and where they belong.
    #[must_use]
    pub fn faults(&self) -> u64 {
        let counts = self.messages.faults().into_iter();
        counts.fold(0, |sum, (_, count)| {
            sum.saturating_add(count.unwrap_or_default())
        })
    }

    /// The verdict in plain words, one line, the saturation of the driver first.
    #[must_use]
    pub fn headline(&self) -> String {
        let words = self.verdict_words();
        match self.saturated {
            None => words,
            Some(what) => format!(
                "Saturated: {}; these figures are its limit, not the service's. {words}",
                what.words()
            ),
        }
    }

    /// The verdict in plain words, without the saturation.
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
            Verdict::Stopped => match self.faults() {
                0 => "Stopped early by the operator; nothing was lost until then.".into(),
                _ => format!("Stopped early by the operator; {}.", self.fault_words()),
            },
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
        let words: Vec<_> = known.collect();
        if words.is_empty() {
            "not every connection came about".into()
        } else {
            words.join(", ")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::result::{Arguments, Saturated};

    /// What is spoilt, the exit code, words of the verdict.
    type Case = (fn(&mut Document), u8, &'static str);

    fn well() -> Document {
        let mut document = Document::new("relay", "http://t", Arguments::new(), String::new());
        document.ok = true;
        document.connections.peak = Some(2);
        document.messages.sent = Some(1);
        document
    }

    #[test]
    fn verdicts_and_exit_codes() {
        let cases: &[Case] = &[
            (|_| {}, 0, "All well: every message"),
            (|d| d.messages.sent = None, 0, "every connection"),
            (|d| d.messages.lost = Some(3), 1, "3 lost"),
            (|d| d.messages.duplicated = Some(1), 1, "1 duplicated"),
            (|d| d.messages.reordered = Some(1), 1, "1 reordered"),
            (|d| d.messages.corrupted = Some(1), 1, "1 corrupted"),
            (|d| d.messages.misrouted = Some(1), 1, "1 misrouted"),
            (
                |d| d.connections.failed = Some(1),
                3,
                "1 connections failed",
            ),
            (|d| d.sessions.failed = Some(7), 3, "7 sessions failed"),
            (|d| d.verdict = Some(Verdict::Limits), 2, "machine's limits"),
            (|d| d.ok = false, 3, "not every connection came about"),
            (
                |d| {
                    d.connections.failed = Some(2);
                    d.messages.lost = Some(9);
                },
                3,
                "messages: 9 lost",
            ),
            (
                |d| {
                    d.connections.failed = Some(1);
                    d.messages.lost = Some(9);
                },
                1,
                "9 lost",
            ),
            (
                |d| d.verdict = Some(Verdict::Stopped),
                130,
                "nothing was lost",
            ),
            (
                |d| {
                    d.verdict = Some(Verdict::Stopped);
                    d.messages.lost = Some(4);
                },
                130,
                "4 lost",
            ),
        ];
        for (number, (spoil, code, words)) in cases.iter().enumerate() {
            let mut document = well();
            spoil(&mut document);
            assert_eq!(document.verdict().exit_code(), *code, "case {number}");
            let said = document.headline();
            assert!(said.contains(words), "case {number}: {said}");
        }
    }

    #[test]
    fn saturation_is_said_first() {
        let mut document = well();
        document.saturated = Some(Saturated::Cpu);
        assert!(
            document
                .headline()
                .starts_with("Saturated: the driver's CPU")
        );
        assert_eq!(document.verdict(), Verdict::Well);
    }
}
