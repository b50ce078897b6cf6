//! Compares the measurements with the thresholds that the operator set for a run (`--p99-below` and the like).
//! Thresholds affect the color of the verdict and, with `--fail-on-threshold`, the exit code.

use crate::result::{Document, Spread, Verdict, words};
use serde::Serialize;
use serde_json::Value;

/// The thresholds of a run. There is at least one.
#[derive(Clone, Debug, PartialEq)]
pub struct Thresholds(Vec<Threshold>);

/// A threshold and the value measured for it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Threshold {
    /// Name of the flag: `p50_below`, `p90_below`, `p99_below`, `p999_below`, `max_below` or `failed_below`.
    name: &'static str,
    /// The limit, in milliseconds, or in percent for `failed_below`.
    limit: f64,
    value: Option<f64>,
    /// Whether the value is below the limit. False if nothing was measured.
    met: bool,
    #[serde(skip)]
    words: String,
}

impl Document {
    /// Returns the thresholds from the command line or the scenario, or `None` if there are none.
    #[must_use]
    pub fn thresholds(&self) -> Option<Thresholds> {
        let mut all = Vec::new();
        let wanted = |key: &str| self.arguments.get(key).and_then(Value::as_f64);
        for (name, figure_name, figure) in LATENCIES {
            let Some(limit) = wanted(name) else { continue };
            let headline = self.latency_us.headline();
            let measured = headline.and_then(|(span, spread)| Some((span, figure(spread)?)));
            let fact = measured.map(|(span, us)| {
                let fact = format!("{} {figure_name} is {}", span, words::span_us(us));
                (us as f64 / 1e3, fact)
            });
            let fact = fact.ok_or_else(|| format!("{figure_name} is not known"));
            all.push(Threshold::new(
                name,
                limit,
                fact,
                &words::cost_us(limit * 1e3),
            ));
        }
        if let Some(limit) = wanted(FAILED) {
            let fact = self.failures().map(|(failed, all, what)| {
                let percent = failed as f64 * 100.0 / all as f64;
                let (failed, all) = (words::count(failed), words::count(all));
                (percent, format!("{failed} of {all} {what} failed"))
            });
            let fact = fact.ok_or_else(|| "nothing was tried".to_owned());
            all.push(Threshold::new(FAILED, limit, fact, &format!("{limit} %")));
        }
        (!all.is_empty()).then_some(Thresholds(all))
    }

    /// Returns the exit code: [`MISSED`] if the run was successful but missed a threshold with `--fail-on-threshold`,
    /// or else the verdict's exit code.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        let is_wanted = self.arguments.get("fail_on_threshold") == Some(&Value::Bool(true));
        let is_missed = || self.thresholds().is_some_and(|all| all.are_missed());
        let verdict = self.verdict();
        if verdict == Verdict::Well && is_wanted && is_missed() {
            return MISSED;
        }
        verdict.exit_code()
    }

    /// Returns the number of failures, the total, and what they count (sessions or connections). Returns `None` if the
    /// total is 0 or unknown.
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

impl Threshold {
    /// Creates a threshold. `fact` is the measured value, as a number and as text, or the reason why there is none.
    fn new(
        name: &'static str,
        limit: f64,
        fact: Result<(f64, String), String>,
        wanted: &str,
    ) -> Self {
        let (value, fact) = match fact {
            Ok((value, fact)) => (Some(value), fact),
            Err(why) => (None, why),
        };
        let met = value.is_some_and(|value| value < limit);
        let how = if met { "" } else { "wanted " };
        Self {
            name,
            limit,
            value,
            met,
            words: format!("{fact}, {how}below {wanted}"),
        }
    }
}

impl Thresholds {
    /// Returns all thresholds, in the order of the flags.
    #[must_use]
    pub fn all(&self) -> &[Threshold] {
        &self.0
    }

    /// Returns whether any threshold is missed.
    #[must_use]
    pub fn are_missed(&self) -> bool {
        self.0.iter().any(|threshold| !threshold.met)
    }

    /// Describes the thresholds in one or two sentences, starting with those that were missed.
    #[must_use]
    pub fn words(&self) -> String {
        let sentence = |how: &str, is_met: bool| {
            let clauses = self.0.iter().filter(|one| one.met == is_met);
            let clauses: Vec<_> = clauses.map(|one| one.words.as_str()).collect();
            match &clauses[..] {
                [] => None,
                [one] => Some(format!("Threshold {how}: {one}.")),
                several => Some(format!("Thresholds {how}: {}.", several.join("; "))),
            }
        };
        let sentences = [sentence("missed", false), sentence("met", true)];
        let sentences: Vec<_> = sentences.into_iter().flatten().collect();
        sentences.join(" ")
    }
}

type Figure = fn(&Spread) -> Option<u64>;

const FAILED: &str = "failed_below";

/// Exit code of a successful run that missed a threshold with `--fail-on-threshold`.
pub const MISSED: u8 = 4;

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
    use crate::result::spread::histogram;
    use crate::result::{ConnectionFigures, EventArguments, Sessions};

    /// Returns a run of this mode with these thresholds, whose latencies are 1 to 1,000 ms.
    fn document(mode: &str, thresholds: &[(&str, f64)]) -> Document {
        let arguments = thresholds.iter();
        let arguments = arguments.map(|(key, wanted)| ((*key).to_owned(), (*wanted).into()));
        let mut document = Document::new(mode, "t", arguments.collect(), String::new());
        let spread = Spread::of(&histogram((1..=1_000).map(|ms| ms * 1_000)));
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
        let unknown = "Threshold missed: nothing was tried, wanted below 0.5 %.";
        assert_eq!(words(&storm), unknown);
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
        connect.connections = ConnectionFigures {
            opened: Some(199),
            failed: Some(1),
            ..ConnectionFigures::default()
        };
        let sentence = "Threshold missed: 1 of 200 connections failed, wanted below 0.5 %.";
        assert_eq!(words(&connect), sentence);
        connect.connections.opened = Some(0);
        connect.connections.failed = Some(0);
        assert_eq!(words(&connect), unknown);
    }

    #[test]
    fn a_threshold_without_a_measurement_is_missed() {
        let mut document = document("sessions", &[("p99_below", 50.0)]);
        document.latency_us.setup = None;
        let missed = "Threshold missed: p99 is not known, wanted below 50 ms.";
        assert_eq!(words(&document), missed);
        document.arguments = EventArguments::new();
        assert_eq!(document.thresholds(), None);
    }

    #[test]
    fn the_exit_code_says_it_only_where_that_is_asked_for_and_all_else_was_well() {
        let code = |is_wanted: bool, verdict, limit| {
            let mut document = document("sessions", &[("p99_below", limit)]);
            document.verdict = Some(verdict);
            let arguments = &mut document.arguments;
            arguments.insert("fail_on_threshold".into(), is_wanted.into());
            document.exit_code()
        };
        assert_eq!(code(true, Verdict::Well, 50.0), MISSED);
        assert_eq!(code(true, Verdict::Well, 2_000.0), 0);
        assert_eq!(code(false, Verdict::Well, 50.0), 0);
        for verdict in [Verdict::Faulty, Verdict::TargetFailed, Verdict::Stopped] {
            assert_eq!(code(true, verdict, 50.0), verdict.exit_code());
        }
    }
}
