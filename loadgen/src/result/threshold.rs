//! What the operator wants of a run's latency (`--p99-below`): it colours the verdict, and changes no exit code.

use super::{Document, Span, words};
use serde_json::Value;

/// A threshold beside what was measured, in microseconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Threshold {
    span: Span,
    wanted_us: f64,
    p99_us: u64,
}

impl Document {
    /// The threshold of the 99th percentile that the command line or the scenario sets, if there is one and something
    /// to compare.
    #[must_use]
    pub fn threshold(&self) -> Option<Threshold> {
        let wanted_ms = self.arguments.get("p99_below").and_then(Value::as_f64)?;
        let (span, spread) = self.latency_us.headline()?;
        Some(Threshold {
            span,
            wanted_us: wanted_ms * 1e3,
            p99_us: spread.quantile(0.99)?,
        })
    }
}

impl Threshold {
    /// Whether the latency is not below it.
    #[must_use]
    pub fn is_missed(self) -> bool {
        self.p99_us as f64 >= self.wanted_us
    }

    /// In a sentence.
    #[must_use]
    pub fn words(self) -> String {
        let (span, p99) = (self.span.label(), words::span_us(self.p99_us));
        let wanted = words::cost_us(self.wanted_us);
        if self.is_missed() {
            format!("Threshold missed: {span} p99 is {p99}, wanted below {wanted}.")
        } else {
            format!("Threshold met: {span} p99 is {p99}, below {wanted}.")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::result::{Arguments, Spread};
    use hdrhistogram::Histogram;

    #[test]
    fn thresholds_are_met_or_missed() {
        let mut document = Document::new("sessions", "t", Arguments::new(), String::new());
        let mut histogram = Histogram::new_with_bounds(1, 3_600_000_000, 3).unwrap();
        histogram.record(20_000).unwrap();
        document.latency_us.setup = Spread::of(&histogram);
        assert_eq!(document.threshold(), None);
        for (wanted, missed, words) in [
            (50.0, false, "p99 is 20 ms, below 50 ms"),
            (5.0, true, "p99 is 20 ms, wanted below 5 ms"),
        ] {
            document.arguments.insert("p99_below".into(), wanted.into());
            let threshold = document.threshold().unwrap();
            assert_eq!(threshold.is_missed(), missed);
            assert!(threshold.words().contains(words), "{}", threshold.words());
            assert!(document.headline().contains(words));
        }
        document.latency_us.setup = None;
        assert_eq!(document.threshold(), None, "nothing was measured");
    }
}
