//! The text of a line of progress.

use crate::live::Progress;
use crate::result::words;

impl Progress {
    /// The share that is done, from 0 to 1; `None` if unknown.
    #[must_use]
    pub fn share(&self) -> Option<f64> {
        let share = match (self.done, self.total_s) {
            (Some((done, of)), _) if of > 0 => done as f64 / of as f64,
            (_, Some(total)) if total > 0.0 => self.elapsed_s / total,
            (_, Some(_) | None) => return None,
        };
        Some(share.clamp(0.0, 1.0))
    }

    /// Seconds that are left at the present rate. By the schedule where there is one, as it does not depend on
    /// luck.
    #[must_use]
    pub fn left_s(&self) -> Option<f64> {
        if let Some(total) = self.total_s {
            return Some((total - self.elapsed_s).max(0.0));
        }
        let share = self.share().filter(|share| *share >= SHARE_MIN)?;
        Some(self.elapsed_s / share - self.elapsed_s)
    }

    /// The figures after the bar, at most [`FIGURES_CHARS_MAX`] characters.
    #[must_use]
    pub fn figures(&self) -> String {
        let mut parts = Vec::new();
        if let Some(rate) = self.sessions_per_s {
            parts.push(format!("{} sessions/s", words::figure(rate)));
        }
        if let Some(rate) = self.messages_per_s {
            parts.push(format!("{} msg/s", words::figure(rate)));
        }
        parts.push(format!("{} open", words::count(self.open)));
        if let Some((p50, p99)) = self.p50_us.zip(self.p99_us) {
            parts.push(format!(
                "p50 {}  p99 {}",
                words::span_us(p50),
                words::span_us(p99)
            ));
        }
        parts.extend(self.failures());
        clipped(&parts.join("  "), FIGURES_CHARS_MAX)
    }

    /// One line for where nothing moves: share, time left, figures.
    #[must_use]
    pub fn line(&self) -> String {
        let mut line = self.phase.clone().into_owned();
        if let Some(share) = self.share() {
            line.push_str(&format!(" {:.0} %", 100.0 * share));
        }
        if let Some(left) = self.left_s() {
            line.push_str(&format!(", {} left", words::seconds(left.ceil())));
        }
        format!("{line}: {}", self.figures())
    }

    /// The most frequent failures by name, and how many others there are.
    fn failures(&self) -> Option<String> {
        let shown = self.errors.iter().take(KINDS_MAX);
        let named: Vec<String> = shown
            .clone()
            .map(|(name, count)| {
                format!("{} {}", words::count(*count), clipped(name, NAME_CHARS_MAX))
            })
            .collect();
        let others = shown.fold(self.failed, |rest, (_, count)| rest.saturating_sub(*count));
        match (named.is_empty(), others) {
            (true, 0) => None,
            (true, others) => Some(format!("{} failed", words::count(others))),
            (false, 0) => Some(format!("failed: {}", named.join(", "))),
            (false, others) => Some(format!(
                "failed: {}, {} others",
                named.join(", "),
                words::count(others)
            )),
        }
    }
}

/// The beginning of a text, its control characters left out: names of errors hold words of the service.
fn clipped(text: &str, chars: usize) -> String {
    text.chars()
        .filter(|c| !c.is_control())
        .take(chars)
        .collect()
}

/// Kinds of failure in a line.
pub const KINDS_MAX: usize = 3;
/// Characters of the figures in a line.
pub const FIGURES_CHARS_MAX: usize = 200;
/// Characters of a failure's name in a line.
const NAME_CHARS_MAX: usize = 32;
/// Before this much is done no remaining time is estimated.
const SHARE_MIN: f64 = 0.01;

#[cfg(test)]
mod tests {

    use super::*;

    fn progress() -> Progress {
        Progress {
            phase: "measuring".into(),
            elapsed_s: 30.0,
            total_s: Some(120.0),
            sessions_per_s: Some(2_204.4),
            messages_per_s: Some(22_044.0),
            open: 4_610,
            p50_us: Some(1_130),
            p99_us: Some(2_690),
            ..Progress::default()
        }
    }

    #[test]
    fn a_line_says_all() {
        assert_eq!(
            progress().line(),
            "measuring 25 %, 90 s left: 2,204 sessions/s  22,044 msg/s  4,610 open  p50 1.13 ms  p99 2.69 ms"
        );
    }

    #[test]
    fn failures_by_kind() {
        let mut progress = progress();
        progress.failed = 12;
        assert!(
            progress.line().ends_with("  12 failed"),
            "{}",
            progress.line()
        );
        let kinds = [
            ("reset", 5),
            ("status:503", 3),
            ("timeout", 2),
            ("closed", 1),
            ("ports", 1),
        ];
        progress.errors = kinds.map(|(name, count)| (name.to_owned(), count)).into();
        assert!(
            progress
                .line()
                .ends_with("  failed: 5 reset, 3 status:503, 2 timeout, 2 others"),
            "{}",
            progress.line()
        );
        progress.errors = vec![(format!("\u{1b}[2J{}", "x".repeat(500)), 12)];
        let line = progress.line();
        assert!(!line.contains('\u{1b}') && line.len() < 250, "{line}");
    }

    #[test]
    fn shares_and_time_left() {
        let of = |done, elapsed_s, total_s| Progress {
            done,
            elapsed_s,
            total_s,
            ..Progress::default()
        };
        assert_eq!(of(None, 5.0, None).share(), None);
        assert_eq!(of(None, 5.0, None).left_s(), None);
        assert_eq!(of(Some((5, 0)), 5.0, None).share(), None);
        assert_eq!(of(Some((1, 4)), 5.0, None).left_s(), Some(15.0));
        assert_eq!(
            of(Some((1, 4_000)), 5.0, None).left_s(),
            None,
            "too early to say"
        );
        assert_eq!(of(Some((1, 4)), 5.0, Some(60.0)).left_s(), Some(55.0));
        assert_eq!(of(Some((9, 4)), 70.0, Some(60.0)).share(), Some(1.0));
        assert_eq!(of(None, 70.0, Some(60.0)).left_s(), Some(0.0));
        assert_eq!(of(None, f64::NAN, Some(60.0)).left_s(), Some(0.0));
    }
}
