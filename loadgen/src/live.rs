//! Live progress of a run. On a terminal, this is a progress bar; elsewhere, it is a plain line every few seconds, or
//! nothing.
//!
//! The engine passes a [`Progress`] to a [`LiveView`] four times a second, and a [`PartNews`] carries it between
//! processes. The view draws on the thread that controls the run, where it does not slow down the load.

use crate::result::words;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::{self, IsTerminal, Write};

/// An observer of a run's progress.
pub trait RunFollower {
    /// Displays a line of text.
    fn say(&mut self, line: &str);
    /// Called once all connections are open and the load is waiting for the start signal.
    fn ready(&mut self) {}
    /// Displays the progress of the run. Called at most four times a second.
    fn show(&mut self, progress: &Progress);
}

/// The progress of a run at one point in time. A value is `None` if it is unknown or does not apply to the mode.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// Name of the phase, such as `opening`, `measuring` or `closing`.
    pub phase: Cow<'static, str>,
    /// Time spent in the phase, in seconds.
    pub elapsed_s: f64,
    /// Expected duration of the phase in seconds, if it is known.
    pub total_s: Option<f64>,
    /// Number of connections attempted so far and number of connections planned. In `sessions` mode, only masters are
    /// counted. `None` outside the opening phase.
    pub done: Option<(u64, u64)>,
    /// Number of sessions completed per second, averaged over the last second.
    pub sessions_per_s: Option<f64>,
    /// Number of messages received per second, averaged over the last second.
    pub messages_per_s: Option<f64>,
    /// Number of connections that are currently open.
    pub open: u64,
    /// Median setup latency of the sessions answered during the last interval, in microseconds.
    pub p50_us: Option<u64>,
    /// 99th percentile setup latency of the sessions answered during the last interval, in microseconds.
    pub p99_us: Option<u64>,
    /// Failures by kind, most frequent first. The view shows at most [`KINDS_MAX`](crate::live::KINDS_MAX) kinds.
    pub errors: Vec<(String, u64)>,
    /// Total number of failures.
    pub failed: u64,
}

/// How to display progress.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ViewMode {
    /// A progress bar, for a terminal.
    Bar,
    /// A plain line at intervals, for a file, pipe or log.
    Lines,
    /// No output.
    Quiet,
}

/// Displays progress on a stream, which is standard error except in tests. Ignores write errors, so that the load
/// continues.
#[derive(Debug)]
pub struct LiveView<W> {
    mode: ViewMode,
    out: W,
    bar: Option<ProgressBar>,
    said_s: Option<f64>,
    phase: Cow<'static, str>,
}

impl LiveView<io::Stderr> {
    /// Creates a view on standard error: a bar if it is a terminal, and otherwise plain lines. If `quiet` is set, the
    /// view displays nothing.
    #[must_use]
    pub fn new(quiet: bool) -> Self {
        let mode = match quiet {
            true => ViewMode::Quiet,
            false if io::stderr().is_terminal() => ViewMode::Bar,
            false => ViewMode::Lines,
        };
        Self::on(mode, io::stderr())
    }
}

impl<W: Write> LiveView<W> {
    /// Creates a view that writes to a stream. The progress bar itself always goes to standard error.
    #[must_use]
    pub fn on(mode: ViewMode, out: W) -> Self {
        Self {
            mode,
            out,
            bar: (mode == ViewMode::Bar).then(bar),
            said_s: None,
            phase: Cow::Borrowed(""),
        }
    }

    /// Removes the progress bar, leaving only the report on the terminal.
    pub fn end(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}

impl<W: Write> RunFollower for LiveView<W> {
    fn show(&mut self, progress: &Progress) {
        match (self.mode, &self.bar) {
            (ViewMode::Bar, Some(bar)) => {
                let share = progress.share().unwrap_or_default();
                #[expect(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "the share lies between 0 and 1"
                )]
                bar.set_position((share * BAR_STEPS as f64) as u64);
                bar.set_prefix(progress.phase.clone());
                let left = progress.left_s().map_or_else(String::new, |left| {
                    format!("{} left  ", words::seconds(left.ceil()))
                });
                bar.set_message(left + &progress.figures());
            }
            (ViewMode::Lines, _) => {
                let begun = self.phase != progress.phase;
                let due = self
                    .said_s
                    .is_none_or(|said| progress.elapsed_s - said >= LINE_EVERY_S);
                if begun {
                    self.phase = progress.phase.clone();
                    // Print the first figures of each phase early, so that a failing run is noticed soon.
                    self.said_s = Some(progress.elapsed_s - LINE_EVERY_S + FIRST_LINE_S);
                } else if due {
                    self.said_s = Some(progress.elapsed_s);
                    let _ = writeln!(self.out, "{}", progress.line());
                }
            }
            (ViewMode::Bar, None) | (ViewMode::Quiet, _) => {}
        }
    }

    fn say(&mut self, line: &str) {
        match (self.mode, &self.bar) {
            (ViewMode::Quiet, _) => {}
            (ViewMode::Bar, Some(bar)) => bar.suspend(|| {
                let _ = writeln!(self.out, "{line}");
            }),
            (ViewMode::Lines, _) | (ViewMode::Bar, None) => {
                let _ = writeln!(self.out, "{line}");
            }
        }
    }
}

fn bar() -> ProgressBar {
    let bar =
        ProgressBar::with_draw_target(Some(BAR_STEPS), ProgressDrawTarget::stderr_with_hz(10));
    // If a future version of the crate rejects this constant template, use the default style.
    let style =
        ProgressStyle::with_template("{prefix} [{bar:24.cyan/blue}] {percent:>3} %  {wide_msg}");
    bar.set_style(
        style
            .unwrap_or_else(|_| ProgressStyle::default_bar())
            .progress_chars("━╸─"),
    );
    bar
}

/// Number of steps in the progress bar. No terminal has this many columns.
const BAR_STEPS: u64 = 1_000;
const LINE_EVERY_S: f64 = 5.0;
const FIRST_LINE_S: f64 = 1.0;

impl Progress {
    /// Returns how much of the phase is complete, from 0 to 1, or `None` if this is unknown.
    #[must_use]
    pub fn share(&self) -> Option<f64> {
        let share = match (self.done, self.total_s) {
            (Some((done, of)), _) if of > 0 => done as f64 / of as f64,
            (_, Some(total)) if total > 0.0 => self.elapsed_s / total,
            (_, Some(_) | None) => return None,
        };
        Some(share.clamp(0.0, 1.0))
    }

    /// Returns how many seconds remain in the phase. If the phase has no fixed duration, this is an estimate based on
    /// the progress so far.
    #[must_use]
    pub fn left_s(&self) -> Option<f64> {
        if let Some(total) = self.total_s {
            return Some((total - self.elapsed_s).max(0.0));
        }
        let share = self.share().filter(|share| *share >= SHARE_MIN)?;
        Some(self.elapsed_s / share - self.elapsed_s)
    }

    /// Returns the figures to display after the bar, at most [`FIGURES_CHARS_MAX`] characters.
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

    /// Returns a plain line with the percentage completed, the time remaining and the figures.
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

    /// Lists the most frequent kinds of failure, and the number of other failures. Returns `None` if there are no
    /// failures.
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

/// Truncates a text and removes control characters, because error names may contain text from the service.
fn clipped(text: &str, chars: usize) -> String {
    text.chars()
        .filter(|c| !c.is_control())
        .take(chars)
        .collect()
}

/// Maximum number of failure kinds in a line.
pub const KINDS_MAX: usize = 3;
/// Maximum length of the figures in a line, in characters.
pub const FIGURES_CHARS_MAX: usize = 200;
const NAME_CHARS_MAX: usize = 32;
/// Fraction of a phase that must be complete before the remaining time is estimated.
const SHARE_MIN: f64 = 0.01;

/// A message from a part to its parent process, sent as one line of JSON.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub enum PartNews {
    /// A line of text. See [`RunFollower::say`].
    Said(String),
    /// The part is ready to start. See [`RunFollower::ready`].
    Ready,
    /// The progress of the part. See [`RunFollower::show`].
    Shown(Progress),
}

/// Follows a part's run and writes each message to a stream.
#[derive(Debug)]
pub struct Part<W>(pub W);

impl<W: Write> Part<W> {
    /// Writes a message. Ignores write errors, so that the load continues.
    fn tell(&mut self, news: &PartNews) {
        if let Ok(line) = serde_json::to_string(news) {
            let _ = writeln!(self.0, "{line}").and_then(|()| self.0.flush());
        }
    }
}

impl<W: Write> RunFollower for Part<W> {
    fn say(&mut self, line: &str) {
        self.tell(&PartNews::Said(line.to_owned()));
    }

    fn ready(&mut self) {
        self.tell(&PartNews::Ready);
    }

    fn show(&mut self, progress: &Progress) {
        self.tell(&PartNews::Shown(progress.clone()));
    }
}

impl Progress {
    /// Combines the progress of all parts of a run. Counts and rates are added up. Quantiles use the highest value, as
    /// an upper bound. The phase and its times come from the part that entered its phase last.
    #[must_use]
    pub fn of_parts<'p>(parts: impl Iterator<Item = &'p Self> + Clone) -> Option<Self> {
        let last = parts
            .clone()
            .min_by(|one, other| one.elapsed_s.total_cmp(&other.elapsed_s))?;
        let done = parts.clone().map(|part| part.done);
        let done = done.reduce(|sum, part| {
            let ((done, of), (more, more_of)) = sum.zip(part)?;
            Some((done + more, of + more_of))
        });
        let mut errors: BTreeMap<&str, u64> = BTreeMap::new();
        for (name, count) in parts.clone().flat_map(|part| &part.errors) {
            *errors.entry(name).or_default() += count;
        }
        let mut errors: Vec<_> = errors
            .into_iter()
            .map(|(name, count)| (name.to_owned(), count))
            .collect();
        errors.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        let rate = |of: fn(&Self) -> Option<f64>| {
            let rates = parts.clone().filter_map(of);
            rates.reduce(|sum, rate| sum + rate)
        };
        Some(Self {
            done: done.flatten(),
            sessions_per_s: rate(|part| part.sessions_per_s),
            messages_per_s: rate(|part| part.messages_per_s),
            open: parts.clone().map(|part| part.open).sum(),
            p50_us: parts.clone().filter_map(|part| part.p50_us).max(),
            p99_us: parts.clone().filter_map(|part| part.p99_us).max(),
            failed: parts.clone().map(|part| part.failed).sum(),
            errors,
            ..last.clone()
        })
    }
}

#[cfg(test)]
mod view_tests {
    use super::*;

    fn shown(mode: ViewMode) -> String {
        let mut out = Vec::new();
        let mut view = LiveView::on(mode, &mut out);
        view.say("opening 10 connections");
        for quarter in 0..=80 {
            view.show(&Progress {
                phase: "measuring".into(),
                elapsed_s: f64::from(quarter) / 4.0,
                total_s: Some(20.0),
                open: 10,
                ..Progress::default()
            });
        }
        view.end();
        view.say("closing");
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn plain_lines_come_every_few_seconds() {
        let text = shown(ViewMode::Lines);
        let lines: Vec<&str> = text.lines().collect();
        #[rustfmt::skip] // a list
        let wanted = [
            "opening 10 connections", "measuring 5 %, 19 s left: 10 open", "measuring 30 %, 14 s left: 10 open",
            "measuring 55 %, 9 s left: 10 open", "measuring 80 %, 4 s left: 10 open", "closing",
        ];
        assert_eq!(lines, wanted);
    }

    #[test]
    fn quiet_is_quiet() {
        assert_eq!(shown(ViewMode::Quiet), "");
    }

    #[test]
    fn a_bar_leaves_only_finished_lines() {
        assert_eq!(shown(ViewMode::Bar), "opening 10 connections\nclosing\n");
    }

    #[test]
    fn a_phase_that_begins_anew_starts_a_new_count() {
        let mut out = Vec::new();
        let mut view = LiveView::on(ViewMode::Lines, &mut out);
        for (phase, elapsed_s) in [
            ("opening", 0.0),
            ("opening", 100.0),
            ("measuring", 0.0),
            ("measuring", 5.0),
        ] {
            view.show(&Progress {
                phase: phase.into(),
                elapsed_s,
                ..Progress::default()
            });
        }
        let found = String::from_utf8(out).unwrap();
        assert_eq!(found, "opening: 0 open\nmeasuring: 0 open\n");
    }

    #[test]
    fn a_stream_that_is_gone_stops_nothing() {
        struct Gone;
        impl Write for Gone {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
        }
        let mut view = LiveView::on(ViewMode::Lines, Gone);
        view.say("a");
        view.show(&Progress::default());
    }
}

#[cfg(test)]
mod words_tests {
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
        let fine = progress.line().ends_with("  12 failed");
        assert!(fine, "{}", progress.line());
        let kinds = [
            ("reset", 5),
            ("status:503", 3),
            ("timeout", 2),
            ("closed", 1),
            ("ports", 1),
        ];
        progress.errors = kinds.map(|(name, count)| (name.to_owned(), count)).into();
        let fine = progress
            .line()
            .ends_with("  failed: 5 reset, 3 status:503, 2 timeout, 2 others");
        assert!(fine, "{}", progress.line());
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
        let found = of(Some((1, 4_000)), 5.0, None).left_s();
        assert_eq!(found, None, "too early to say");
        assert_eq!(of(Some((1, 4)), 5.0, Some(60.0)).left_s(), Some(55.0));
        assert_eq!(of(Some((9, 4)), 70.0, Some(60.0)).share(), Some(1.0));
        assert_eq!(of(None, 70.0, Some(60.0)).left_s(), Some(0.0));
        assert_eq!(of(None, f64::NAN, Some(60.0)).left_s(), Some(0.0));
    }
}

#[cfg(test)]
mod part_tests {
    use super::*;

    #[test]
    fn parts_are_shown_as_one() {
        let part = |elapsed_s: f64, open, error: &str| Progress {
            phase: "opening".into(),
            elapsed_s,
            done: Some((open, 10)),
            messages_per_s: Some(5.0),
            open,
            p99_us: Some(open),
            errors: vec![("x".into(), 1), (error.to_owned(), 2)],
            failed: 3,
            ..Progress::default()
        };
        let parts = [part(2.0, 4, "a"), part(1.0, 6, "x")];
        let sum = Progress::of_parts(parts.iter()).unwrap();
        let whole = Progress {
            done: Some((10, 20)),
            messages_per_s: Some(10.0),
            open: 10,
            p99_us: Some(6),
            errors: vec![("x".into(), 4), ("a".into(), 2)],
            failed: 6,
            ..part(1.0, 0, "")
        };
        assert_eq!(sum, whole);
        assert_eq!(Progress::of_parts([].iter()), None);
    }
}
