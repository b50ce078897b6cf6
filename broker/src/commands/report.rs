//! `heliograph report`: summarizes a broker's activity since a given time, as text for a support ticket. The summary
//! contains metrics, the causes of problems, and marks for events such as restarts.

use crate::config::ReportFlags;
use crate::edge::turn::calendar;
use crate::side::admin::http::{encoded, moment};
use crate::side::{REFUSED, local_ahead_s, trace::text::list};
use crate::terminal::{self, Screen, plain};
use crate::{admin_client::AdminListener, failure::Failure};
use codec::calendar::rfc3339;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write;

/// Requests the history and prints it.
///
/// # Errors
/// Returns [`Failure::Configuration`] for invalid flags or arguments, and [`Failure::Fatal`] if the broker does not
/// answer or refuses the request.
pub fn run(flags: &ReportFlags, out: &mut dyn Write) -> Result<(), Failure> {
    let listener = AdminListener::of(&flags.asked)?;
    let clock = if flags.utc {
        ReportClock::Utc
    } else {
        ReportClock::Local
    };
    let since = match flags.since.as_str() {
        "yesterday" => rfc3339(clock.yesterday(calendar().0)),
        other => other.to_owned(),
    };
    let target = format!("/history?from={}", encoded(&since));
    let document = listener.get(&target)?.map_err(Failure::from)?;
    let text = if flags.json {
        format!("{}\n", terminal::json(&document))
    } else {
        text(&document, clock)
    };
    terminal::write(out, &text)
}

/// Formats the report. Lines are at most 80 characters long, except for the broker's messages, which are not wrapped.
fn text(document: &Value, clock: ReportClock) -> String {
    let at = |name: &str| document[name].as_str().and_then(parsed);
    let (from, to) = (at("from").unwrap_or(0), at("to").unwrap_or(0));
    let mut text = format!("From {} to {}\n", clock.whole(from), clock.whole(to));
    match at("begins") {
        Some(begins) if begins > from => {
            let _ = writeln!(text, "The history begins at {}.", clock.whole(begins));
        }
        Some(_) => {}
        None => text.push_str("The history has no rows yet.\n"),
    }
    text.push_str(&table(&document["columns"], to.saturating_sub(from), clock));
    text.push_str(&causes(document, clock));
    text.push_str(&marks(document, clock));
    text
}

// The metrics table.

/// Formats one row per ten minutes, hour or day, depending on the span. Each row shows the minimum, mean and maximum
/// number of masters, followed by sums or maxima of the other metrics. Returns an empty string if there are no rows.
fn table(columns: &Value, span_ms: u64, clock: ReportClock) -> String {
    let width_ms = match span_ms / HOUR_MS {
        0..=3 => 10 * 60_000,
        4..=50 => HOUR_MS,
        51.. => 24 * HOUR_MS,
    };
    let mut parts = BTreeMap::<u64, Vec<usize>>::new();
    let times = columns["t"].as_array().into_iter().flatten();
    for (row, at_ms) in times.filter_map(Value::as_u64).enumerate() {
        let local = at_ms.saturating_add_signed(clock.ahead_ms(at_ms));
        parts.entry(local / width_ms).or_default().push(row);
    }
    if parts.is_empty() {
        return String::new();
    }
    let mut text = format!(
        "\n{:<12}{:>17}{:>8}{:>9}{:>8}{:>8}{:>8}{:>6}\n",
        "from", "masters", "viewers", "connects", "refused", "unansw.", "p99 ms", "busy"
    );
    for (local, rows) in &parts {
        let of = |column: &'static str| {
            rows.iter()
                .filter_map(move |row| columns[column][*row].as_f64())
        };
        let masters: Vec<f64> = of("masters").collect();
        let mean = masters.iter().sum::<f64>() / masters.len().max(1) as f64;
        let least = of("mastersLeast").fold(mean, f64::min);
        let most = masters.iter().copied().fold(mean, f64::max);
        let refused: f64 = REFUSED.into_iter().flat_map(of).sum();
        let worst = |column| of(column).reduce(f64::max);
        let shown =
            |number: Option<f64>| number.map_or_else(|| "-".into(), |it| format!("{it:.0}"));
        let _ = writeln!(
            text,
            "{:<12.11}{:>17}{:>8}{:>9.0}{refused:>8.0}{:>8.0}{:>8}{:>5}%",
            ReportClock::Utc.moment(local * width_ms),
            format!("{least:.0} / {mean:.1} / {most:.0}"),
            shown(worst("viewers")),
            of("connects").sum::<f64>(),
            of("unanswered").sum::<f64>(),
            shown(worst("setupP99Ms")),
            shown(worst("busyMax").map(|busy| busy * 100.0)),
        );
    }
    text
}

// Causes and marks.

fn causes(document: &Value, clock: ReportClock) -> String {
    let causes = list(&document["problems"]);
    let mut text = format!("\nCauses: {}\n", terminal::counted(causes.len(), "cause"));
    for cause in causes {
        let part = |name: &str| plain(cause[name].as_str().unwrap_or("-"));
        let at = |name: &str| {
            let at = cause[name].as_str().and_then(parsed);
            at.map_or_else(|| "open".into(), |at| clock.moment(at))
        };
        let count = |name: &str| cause[name].as_u64().unwrap_or_default();
        let _ = writeln!(
            text,
            "{} to {}, last {}\n  {}\n  {} ({} channels, {} events)",
            at("first"),
            at("ended"),
            at("last"),
            part("title"),
            part("says"),
            count("channels"),
            count("events"),
        );
    }
    text
}

fn marks(document: &Value, clock: ReportClock) -> String {
    let marks = list(&document["marks"]);
    let mut text = format!("\nMarks: {}\n", terminal::counted(marks.len(), "mark"));
    for mark in marks {
        let part = |name: &str| plain(mark[name].as_str().unwrap_or("-"));
        let at = clock.moment(mark["at"].as_u64().unwrap_or_default());
        let line = format!("{at}  {:<7} {}", part("kind"), part("says"));
        text.push_str(Screen::EIGHTY.wrapped(line.trim_end(), 24).trim_end());
        text.push('\n');
    }
    text
}

// Time formatting.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ReportClock {
    Utc,
    Local,
}

impl ReportClock {
    /// Returns the offset from UTC in milliseconds at the time `at_ms`.
    fn ahead_ms(self, at_ms: u64) -> i64 {
        match self {
            Self::Utc => 0,
            Self::Local => local_ahead_s(at_ms / 1000) * 1000,
        }
    }

    fn text(self, at_ms: u64) -> String {
        let mut text = rfc3339(at_ms.saturating_add_signed(self.ahead_ms(at_ms)));
        text.truncate("2026-11-29 07:00:01".len());
        text.replace('T', " ")
    }

    fn moment(self, at_ms: u64) -> String {
        self.text(at_ms).split_off("2026-".len())
    }

    fn whole(self, at_ms: u64) -> String {
        let minutes = self.ahead_ms(at_ms) / 60_000;
        let zone = match (self, minutes.unsigned_abs()) {
            (Self::Utc, _) => "UTC".to_owned(),
            (Self::Local, ahead) => {
                let sign = if minutes < 0 { '-' } else { '+' };
                format!("{sign}{:02}:{:02}", ahead / 60, ahead % 60)
            }
        };
        format!("{} {zone}", self.text(at_ms))
    }

    fn yesterday(self, now_ms: u64) -> u64 {
        let of_day = now_ms.saturating_add_signed(self.ahead_ms(now_ms)) % (24 * HOUR_MS);
        let begin = now_ms.saturating_sub(of_day + 24 * HOUR_MS);
        // Adjusts for a change to or from daylight saving time since the start of yesterday.
        begin.saturating_add_signed(self.ahead_ms(now_ms) - self.ahead_ms(begin))
    }
}

fn parsed(text: &str) -> Option<u64> {
    moment(text).map(|at| at.0)
}

const HOUR_MS: u64 = 3_600_000;

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const NOW: u64 = 1_795_176_001_000; // 2026-11-20T12:00:01Z

    fn document() -> Value {
        json!({
            "from": "2026-11-20T06:00:00.000Z", "to": "2026-11-20T08:30:00.000Z", "step": 60,
            "begins": "2026-11-20T07:00:00.000Z",
            "columns": {
                "t": [1_795_158_000_000_u64, 1_795_158_060_000_u64, 1_795_158_600_000_u64],
                "masters": [40, 12.5, 40], "mastersLeast": [40, 3, 40], "viewers": [1, 2, 3],
                "connects": [60, 0, 6], "refused_signature": [0, 500, 0], "refused_other": [0, 75, 0],
                "offers": [5, 0, 5], "unanswered": [0, 0, 0], "setupP50Ms": [null, null, 61.5],
                "setupP99Ms": [null, 140.5, 90], "busyMax": [0.25, 0.5, 0.01],
                "memoryBytes": [52_428_800, 52_428_800, 52_428_800],
            },
            "problems": [{
                "title": "Key AKIA1: signature does not match", "says": "30 cameras\u{1b}[2J", "channels": 30,
                "events": 575, "first": "2026-11-20T07:01:02.000Z", "last": "2026-11-20T07:09:00.000Z", "ended": null,
            }],
            "marks": [{ "at": 1_795_158_000_000_u64, "kind": "start", "says": "word ".repeat(20) }],
        })
    }

    #[test]
    fn a_report_has_figures_causes_and_marks_within_80_columns() {
        let text = text(&document(), ReportClock::Utc);
        for part in [
            "From 2026-11-20 06:00:00 UTC to 2026-11-20 08:30:00 UTC\n",
            "The history begins at 2026-11-20 07:00:00 UTC.\n",
            "11-20 07:00     3 / 26.2 / 40       2       60     575       0     140   50%\n",
            "11-20 07:10    40 / 40.0 / 40       3        6       0       0      90    1%\n",
            "11-20 07:01:02 to open, last 11-20 07:09:00\n  Key AKIA1",
            "30 cameras\\u{1b}[2J (30 channels, 575 events)\n",
            "11-20 07:00:00  start   word word",
        ] {
            assert!(text.contains(part), "{part} is not in\n{text}");
        }
        let wide = text.lines().find(|line| line.chars().count() > 80);
        assert_eq!(wide, None);
        let none = json!({ "begins": null });
        assert!(super::text(&none, ReportClock::Utc).contains("no rows yet"));
    }

    #[test]
    fn yesterday_begins_at_midnight() {
        let midnight = NOW - NOW % 86_400_000;
        assert_eq!(ReportClock::Utc.yesterday(NOW), midnight - 86_400_000);
        let local = ReportClock::Local.yesterday(NOW);
        assert!(ReportClock::Local.text(local).ends_with(" 00:00:00"));
        assert!((24..=49).contains(&((NOW - local) / HOUR_MS)));
        assert_eq!(ReportClock::Utc.whole(NOW), "2026-11-20 12:00:01 UTC");
        assert!(ReportClock::Local.whole(NOW).contains(':'));
    }
}
