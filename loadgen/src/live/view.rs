//! Brings progress to where it is read.

use crate::live::{Audience, Progress};
use crate::result::words;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::borrow::Cow;
use std::io::{self, IsTerminal, Write};

/// The form in which a run is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// A bar that moves, on a terminal.
    Bar,
    /// A plain line now and then: into a file, a pipe, a log.
    Lines,
    /// Not at all.
    Quiet,
}

impl Mode {
    /// The form that suits the standard error stream.
    #[must_use]
    pub fn of_stderr(quiet: bool) -> Self {
        if quiet {
            Self::Quiet
        } else if io::stderr().is_terminal() {
            Self::Bar
        } else {
            Self::Lines
        }
    }
}

/// Shows a run on a stream, which is standard error outside of tests. A stream that takes no more is passed over: the
/// load goes on.
#[derive(Debug)]
pub struct View<W> {
    mode: Mode,
    out: W,
    bar: Option<ProgressBar>,
    /// When the last line was written in this phase.
    said_s: Option<f64>,
    phase: Cow<'static, str>,
}

impl View<io::Stderr> {
    /// A view on standard error.
    #[must_use]
    pub fn new(mode: Mode) -> Self {
        Self::on(mode, io::stderr())
    }
}

impl<W: Write> View<W> {
    /// A view on a stream. The bar itself is always drawn on standard error.
    #[must_use]
    pub fn on(mode: Mode, out: W) -> Self {
        Self {
            mode,
            out,
            bar: (mode == Mode::Bar).then(bar),
            said_s: None,
            phase: Cow::Borrowed(""),
        }
    }

    /// Removes the bar, so that only the report remains.
    pub fn end(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}

impl<W: Write> Audience for View<W> {
    fn show(&mut self, progress: &Progress) {
        match (self.mode, &self.bar) {
            (Mode::Bar, Some(bar)) => {
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
            (Mode::Lines, _) => {
                let begun = self.phase != progress.phase;
                let due = self
                    .said_s
                    .is_none_or(|said| progress.elapsed_s - said >= LINE_EVERY_S);
                if begun {
                    self.phase = progress.phase.clone();
                    // Its first figures come soon: they show whether it works at all.
                    self.said_s = Some(progress.elapsed_s - LINE_EVERY_S + FIRST_LINE_S);
                } else if due {
                    self.said_s = Some(progress.elapsed_s);
                    let _ = writeln!(self.out, "{}", progress.line());
                }
            }
            (Mode::Bar, None) | (Mode::Quiet, _) => {}
        }
    }

    /// Prints the line above the bar if there is one.
    fn say(&mut self, line: &str) {
        match (self.mode, &self.bar) {
            (Mode::Quiet, _) => {}
            (Mode::Bar, Some(bar)) => bar.suspend(|| {
                let _ = writeln!(self.out, "{line}");
            }),
            (Mode::Lines, _) | (Mode::Bar, None) => {
                let _ = writeln!(self.out, "{line}");
            }
        }
    }
}

fn bar() -> ProgressBar {
    let bar =
        ProgressBar::with_draw_target(Some(BAR_STEPS), ProgressDrawTarget::stderr_with_hz(10));
    // The template is a constant; if a later version of the crate refused it, its own default would be shown.
    let style =
        ProgressStyle::with_template("{prefix} [{bar:24.cyan/blue}] {percent:>3} %  {wide_msg}");
    bar.set_style(
        style
            .unwrap_or_else(|_| ProgressStyle::default_bar())
            .progress_chars("━╸─"),
    );
    bar
}

/// Steps of a bar: more than a terminal has columns.
const BAR_STEPS: u64 = 1_000;
/// Seconds between plain lines.
const LINE_EVERY_S: f64 = 5.0;
/// Seconds from the beginning of a phase to its first line.
const FIRST_LINE_S: f64 = 1.0;

#[cfg(test)]
mod tests {

    use super::*;

    fn shown(mode: Mode) -> String {
        let mut out = Vec::new();
        let mut view = View::on(mode, &mut out);
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
        let text = shown(Mode::Lines);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines,
            [
                "opening 10 connections",
                "measuring 5 %, 19 s left: 10 open",
                "measuring 30 %, 14 s left: 10 open",
                "measuring 55 %, 9 s left: 10 open",
                "measuring 80 %, 4 s left: 10 open",
                "closing"
            ]
        );
    }

    #[test]
    fn quiet_is_quiet() {
        assert_eq!(shown(Mode::Quiet), "");
    }

    #[test]
    fn a_bar_leaves_only_finished_lines() {
        assert_eq!(shown(Mode::Bar), "opening 10 connections\nclosing\n");
    }

    #[test]
    fn a_phase_that_begins_anew_starts_a_new_count() {
        let mut out = Vec::new();
        let mut view = View::on(Mode::Lines, &mut out);
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
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "opening: 0 open\nmeasuring: 0 open\n"
        );
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
        let mut view = View::on(Mode::Lines, Gone);
        view.say("a");
        view.show(&Progress::default());
    }
}
