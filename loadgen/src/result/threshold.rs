//! The operator's thresholds for a run (`--p99-below` and the like) beside the measurements: they colour the verdict,
//! and change no exit code.

use super::{Document, Spread, words};
use serde_json::Value;

/// The thresholds of a run, each as a clause; at least one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Thresholds {
    missed: Vec<String>,
    met: Vec<String>,
}

impl Document {
    /// The thresholds that the command line or the scenario sets, as far as there is something to compare; `None`
    /// without any.
    #[must_use]
    pub fn thresholds(&self) -> Option<Thresholds> {
        let mut thresholds = Thresholds {
            missed: Vec::new(),
            met: Vec::new(),
        };
        let wanted = |key: &str| self.arguments.get(key).and_then(Value::as_f64);
        for (key, name, figure) in LATENCIES {
            if let Some(wanted_us) = wanted(key).map(|ms| ms * 1e3)
                && let Some((span, spread)) = self.latency_us.headline()
                && let Some(us) = figure(spread)
            {
                let fact = format!("{} {name} is {}", span.label(), words::span_us(us));
                thresholds.add(us as f64 >= wanted_us, &fact, &words::cost_us(wanted_us));
            }
        }
        if let Some(wanted) = wanted("failed_below")
            && let Some((failed, all, what)) = self.failures()
        {
            let is_missed = failed as f64 * 100.0 >= wanted * all as f64;
            let (failed, all) = (words::count(failed), words::count(all));
            let fact = format!("{failed} of {all} {what} failed");
            thresholds.add(is_missed, &fact, &format!("{wanted} %"));
        }
        let is_empty = thresholds.missed.is_empty() && thresholds.met.is_empty();
        (!is_empty).then_some(thresholds)
    }

    /// The number of failures, the number of all, and their noun: sessions, or connections where there are none. `None`
    /// if there was nothing that could fail.
    fn failures(&self) -> Option<(u64, u64, &'static str)> {
        let sessions = self.sessions.failed.zip(self.sessions.scheduled);
        let (failed, all, what) = match sessions {
            Some((failed, all)) => (failed, all, "sessions"),
            None => {
                let failed = self.connections.failed?;
                let all = failed.saturating_add(self.connections.opened?);
                (failed, all, "connections")
            }
        };
        (all > 0).then_some((failed, all, what))
    }
}

impl Thresholds {
    fn add(&mut self, is_missed: bool, fact: &str, wanted: &str) {
        if is_missed {
            self.missed.push(format!("{fact}, wanted below {wanted}"));
        } else {
            self.met.push(format!("{fact}, below {wanted}"));
        }
    }

    /// Whether one of them is missed.
    #[must_use]
    pub const fn are_missed(&self) -> bool {
        !self.missed.is_empty()
    }

    /// The thresholds in one sentence or two, those that are missed first.
    #[must_use]
    pub fn words(&self) -> String {
        let sentence = |how: &str, clauses: &[String]| match clauses {
            [] => None,
            [one] => Some(format!("Threshold {how}: {one}.")),
            several => Some(format!("Thresholds {how}: {}.", several.join("; "))),
        };
        let sentences = [sentence("missed", &self.missed), sentence("met", &self.met)];
        let sentences: Vec<_> = sentences.into_iter().flatten().collect();
        sentences.join(" ")
    }
}

/// A figure of the latency, in microseconds, if it is known.
type Figure = fn(&Spread) -> Option<u64>;

/// The thresholds of the latency: the argument, the figure's name, the figure.
const LATENCIES: [(&str, &str, Figure); 5] = [
    ("p50_below", "p50", |spread| spread.quantile(0.5)),
    ("p90_below", "p90", |spread| spread.quantile(0.9)),
    ("p99_below", "p99", |spread| spread.quantile(0.99)),
    ("p999_below", "p999", |spread| spread.quantile(0.999)),
    ("max_below", "max", |spread| Some(spread.max())),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::result::{Arguments, Connections, Sessions};
    use hdrhistogram::Histogram;

    /// A run of this mode with these thresholds and spans of 1 to 1,000 ms.
    fn document(mode: &str, thresholds: &[(&str, f64)]) -> Document {
        let arguments = thresholds.iter();
        let arguments = arguments.map(|(key, wanted)| ((*key).to_owned(), (*wanted).into()));
        let mut document = Document::new(mode, "t", arguments.collect(), String::new());
        let mut histogram = Histogram::new_with_bounds(1, 3_600_000_000, 3).unwrap();
        (1..=1_000).for_each(|ms| histogram.record(ms * 1_000).unwrap());
        let spread = Spread::of(&histogram);
        match mode {
            "relay" => document.latency_us.message = spread,
            "connect" => document.latency_us.upgrade = spread,
            _ => document.latency_us.setup = spread,
        }
        document
    }

    fn words(document: &Document) -> String {
        let words = document.thresholds().unwrap().words();
        assert!(document.headline().ends_with(&words));
        words
    }

    #[test]
    fn each_figure_of_each_headline_has_a_threshold() {
        for (mode, span) in [
            ("sessions", "session start to answer"),
            ("storm", "session start to answer"),
            ("relay", "message"),
            ("connect", "upgrade"),
        ] {
            for (key, name, ms) in [
                ("p50_below", "p50", 500.0),
                ("p90_below", "p90", 900.0),
                ("p99_below", "p99", 990.0),
                ("p999_below", "p999", 999.0),
                ("max_below", "max", 1_000.0),
            ] {
                let missed = words(&document(mode, &[(key, ms * 0.99)]));
                let begins = format!("Threshold missed: {span} {name} is ");
                assert!(missed.starts_with(&begins), "{missed}");
                let met = words(&document(mode, &[(key, ms * 1.01)]));
                let begins = format!("Threshold met: {span} {name} is ");
                assert!(met.starts_with(&begins), "{met}");
            }
        }
    }

    #[test]
    fn what_is_missed_comes_first() {
        let both = [
            ("p50_below", 600.0),
            ("p99_below", 50.0),
            ("max_below", 5.0),
        ];
        let document = document("sessions", &both);
        assert!(document.thresholds().unwrap().are_missed());
        let [p99, max, p50] = ["p99 is 990 ms", "max is 1 s", "p50 is 500 ms"]
            .map(|fact| format!("session start to answer {fact}"));
        let missed = format!("{p99}, wanted below 50 ms; {max}, wanted below 5 ms");
        let wanted = format!("Thresholds missed: {missed}. Threshold met: {p50}, below 600 ms.");
        assert_eq!(words(&document), wanted);
    }

    #[test]
    fn failures_are_of_sessions_or_else_of_connections() {
        let mut storm = document("storm", &[("failed_below", 0.5)]);
        assert_eq!(storm.thresholds(), None, "nothing is known of failures");
        storm.connections.failed = Some(900);
        storm.connections.opened = Some(100);
        for (failed, sentence) in [
            (9, "Threshold met: 9 of 2,000 sessions failed, below 0.5 %."),
            (
                10,
                "Threshold missed: 10 of 2,000 sessions failed, wanted below 0.5 %.",
            ),
        ] {
            storm.sessions = Sessions {
                scheduled: Some(2_000),
                completed: None,
                failed: Some(failed),
            };
            assert_eq!(words(&storm), sentence);
        }
        let mut connect = document("connect", &[("failed_below", 0.5)]);
        connect.connections = Connections {
            opened: Some(199),
            failed: Some(1),
            ..Connections::default()
        };
        let sentence = "Threshold missed: 1 of 200 connections failed, wanted below 0.5 %.";
        assert_eq!(words(&connect), sentence);
        connect.connections.opened = Some(0);
        connect.connections.failed = Some(0);
        assert_eq!(connect.thresholds(), None, "nothing could fail");
    }

    #[test]
    fn without_a_measurement_there_is_nothing_to_compare() {
        let mut document = document("sessions", &[("p99_below", 50.0)]);
        assert!(document.thresholds().is_some());
        document.latency_us.setup = None;
        assert_eq!(document.thresholds(), None);
        document.arguments = Arguments::new();
        assert_eq!(document.thresholds(), None);
    }
}
