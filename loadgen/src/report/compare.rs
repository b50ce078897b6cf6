//! Runs side by side, as a table.

use super::{Quantiles, Report};
use std::fmt::Write;

/// A table of several reports: a row for each figure, a column for each report under its name. What a run does not know is `–`;
/// a figure that none knows has no row.
#[must_use]
pub fn table(reports: &[(String, Report)]) -> String {
    let widths = reports.iter().map(|(name, _)| name.chars().count());
    let width = widths.max().unwrap_or_default().max(COLUMN);
    let mut out = String::new();
    put(
        &mut out,
        "",
        width,
        &reports
            .iter()
            .map(|(name, _)| Some(name.clone()))
            .collect::<Vec<_>>(),
    );
    let mut row = |title: &str, cell: &dyn Fn(&Report) -> Option<String>| {
        let cells: Vec<_> = reports.iter().map(|(_, report)| cell(report)).collect();
        if cells.iter().any(Option::is_some) {
            put(&mut out, title, width, &cells);
        }
    };
    for (title, cell) in OUTCOME {
        row(title, cell);
    }
    for name in [
        "connect",
        "tls",
        "upgrade",
        "offer_answer",
        "message",
        "setup",
    ] {
        for (quantile, of) in QUANTILES {
            row(&format!("{name} {quantile}, µs"), &|report| {
                let latency = report.latency_us.get(name)?.as_ref();
                latency.map(|latency| of(latency).to_string())
            });
        }
    }
    for (title, cell) in COST {
        row(title, cell);
    }
    out
}

fn put(out: &mut String, title: &str, width: usize, cells: &[Option<String>]) {
    // Writing to a string cannot fail.
    let _ = write!(out, "{title:<24}");
    for cell in cells {
        let _ = write!(out, "  {:>width$}", cell.as_deref().unwrap_or("–"));
    }
    out.push('\n');
}

fn two(figure: Option<f64>) -> Option<String> {
    figure.map(|figure| format!("{figure:.2}"))
}

/// A row: its title, and what stands in it for a report.
type Row = (&'static str, &'static dyn Fn(&Report) -> Option<String>);

const OUTCOME: [Row; 10] = [
    ("mode", &|report| {
        Some(format!("{:?}", report.mode).to_lowercase())
    }),
    ("verdict", &|report| {
        Some(format!("{:?}", report.verdict).to_lowercase())
    }),
    ("saturated", &|report| {
        report
            .saturated
            .map(|what| format!("{what:?}").to_lowercase())
    }),
    ("seconds", &|report| {
        Some(format!("{:.1}", report.duration_s))
    }),
    ("sessions completed", &|report| {
        report
            .sessions
            .map(|sessions| sessions.completed.to_string())
    }),
    ("sessions failed", &|report| {
        report.sessions.map(|sessions| sessions.failed.to_string())
    }),
    ("connections opened", &|report| {
        Some(report.connections.opened.to_string())
    }),
    ("connections failed", &|report| {
        Some(report.connections.failed.to_string())
    }),
    ("messages received", &|report| {
        Some(report.messages.received.to_string())
    }),
    ("messages lost", &|report| {
        Some(report.messages.lost.to_string())
    }),
];

const COST: [Row; 6] = [
    ("server CPU, s", &|report| two(report.cpu.server_s)),
    ("driver CPU, s", &|report| two(Some(report.cpu.driver_s))),
    ("server µs a message", &|report| {
        two(report.cpu.server_us_per_message)
    }),
    ("driver µs a message", &|report| {
        two(report.cpu.driver_us_per_message)
    }),
    ("server µs a session", &|report| {
        two(report.cpu.server_us_per_connection)
    }),
    ("server RSS, MiB", &|report| {
        report
            .memory
            .server_rss_bytes
            .map(|bytes| (bytes >> 20).to_string())
    }),
];

/// A figure of a histogram.
type Figure = (&'static str, fn(&Quantiles) -> u64);

/// Which figures of a histogram stand in the table.
const QUANTILES: [Figure; 3] = [
    ("p50", |latency| latency.p50),
    ("p99", |latency| latency.p99),
    ("max", |latency| latency.max),
];
/// Width of a column at least.
const COLUMN: usize = 12;

#[cfg(test)]
mod tests {
    use super::super::tests::report;
    use super::*;

    #[test]
    fn runs_stand_side_by_side() {
        let text = table(&[
            ("before".into(), report(1..=100)),
            ("after".into(), report(1..=10)),
        ]);
        let line = |title: &str| text.lines().find(|line| line.starts_with(title)).unwrap();
        assert!(
            line("sessions completed").ends_with("         100            10"),
            "{text}"
        );
        assert!(line("setup max, µs").contains("100"), "{text}");
        assert!(line("                        ").contains("before"));
        assert!(!text.contains("tls p50"), "what no run knows has no row");
    }
}
