//! Which stretches of a run say less than the others: until the first sessions can be over, after the last has begun,
//! and an interval that was cut short. They are shaded, so that nobody takes them for an outage.

use crate::page::Run;
use crate::result::Document;

/// The explanation of the shaded ground in a note.
pub(crate) const NOTE: &str = "shaded: sessions start or end";

/// The shaded stretches of these runs, in seconds: where any of them is not at its full load.
pub(crate) fn shades(runs: &[Run]) -> Vec<(f64, f64)> {
    let documents = || runs.iter().map(|run| &run.document);
    let ends = documents().filter_map(|document| document.intervals.last());
    let end = ends.map(|last| last.t_s).fold(0.0, f64::max);
    let full_from = documents().map(full_from).fold(0.0, f64::max);
    let full_to = documents().map(full_to).fold(end, f64::min);
    let all = [(0.0, full_from.min(end)), (full_to.max(0.0), end)];
    let is_seen = |(from, to): &(f64, f64)| to - from > SHORTEST_S;
    all.into_iter().filter(is_seen).collect()
}

/// When the first sessions can be over: they trickle their candidates and hold. Before that none is completed.
fn full_from(document: &Document) -> f64 {
    if document.mode != "sessions" {
        return 0.0;
    }
    let number = |name| number(document, name).unwrap_or_default();
    let first_s = number("hold") + number("candidates") * number("trickle") / 1e3;
    // The interval in which they end is a partial one, too.
    if first_s > SHORTEST_S {
        first_s.ceil()
    } else {
        0.0
    }
}

/// When the schedule ends, or else the last whole interval.
fn full_to(document: &Document) -> f64 {
    let ends: Vec<f64> = document.intervals.iter().map(|one| one.t_s).collect();
    let Some((last, before)) = ends.split_last() else {
        return f64::MAX;
    };
    let before = before.last().copied().unwrap_or_default();
    let whole = if last - before < WHOLE_S {
        before
    } else {
        *last
    };
    schedule_s(document).map_or(whole, |schedule_s| whole.min(schedule_s))
}

/// The time in which sessions begin, in seconds.
fn schedule_s(document: &Document) -> Option<f64> {
    if document.mode != "sessions" {
        return None;
    }
    let share = match document.arguments.get("arrival")?.as_str()? {
        "ramp" => 0.5,
        "step" => 0.6,
        _ => 1.0,
    };
    number(document, "duration").or_else(|| {
        let (sessions, rate) = (number(document, "sessions")?, number(document, "rate")?);
        Some(sessions / (rate * share)).filter(|span| span.is_finite())
    })
}

fn number(document: &Document, name: &str) -> Option<f64> {
    document.arguments.get(name)?.as_f64()
}

/// A stretch that is shorter is not seen.
const SHORTEST_S: f64 = 0.2;
/// An interval that is shorter was cut short.
const WHOLE_S: f64 = 0.9;

#[cfg(test)]
mod tests {

    use super::*;
    use crate::result::{Arguments, Interval};
    use serde_json::json;

    fn run(mode: &str, arguments: &serde_json::Value, ends: &[f64]) -> Run {
        let arguments: Arguments = serde_json::from_value(arguments.clone()).unwrap();
        let mut document = Document::new(mode, "t", arguments, String::new());
        let interval = |t_s: &f64| Interval {
            t_s: *t_s,
            ..Interval::default()
        };
        document.intervals = ends.iter().map(interval).collect();
        Run {
            name: mode.into(),
            document,
        }
    }

    #[test]
    fn beginning_and_end_are_shaded() {
        let ends: Vec<f64> = (1..=14).map(f64::from).collect();
        let sessions = json!({"arrival": "poisson", "duration": 10, "hold": 2, "candidates": 4, "trickle": 50});
        let held = run("sessions", &sessions, &ends);
        let both = [(0.0, 3.0), (10.0, 14.0)];
        assert_eq!(shades(std::slice::from_ref(&held)), both);
        let steady = json!({"arrival": "ramp", "sessions": 50, "rate": 10.0});
        let short = run("sessions", &steady, &ends[..10]);
        assert_eq!(shades(&[short]), []);
        assert_eq!(shades(&[run("storm", &sessions, &ends)]), []);
        // An interval that was cut short; and side by side, what any of them has.
        let cut = run("relay", &json!({}), &[1.0, 2.0, 2.5]);
        assert_eq!(shades(std::slice::from_ref(&cut)), [(2.0, 2.5)]);
        assert_eq!(shades(&[held, cut]), [(0.0, 3.0), (2.0, 14.0)]);
        assert_eq!(shades(&[run("idle", &json!({}), &[])]), []);
    }
}
