//! The log of a run, second by second.

use crate::measure::Latency;
use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

/// About one second of the measured span. What is not known is null.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// Its end, in seconds since the span began.
    pub t_s: f64,
    /// Sessions that went all the way in it.
    pub sessions: Option<u64>,
    /// Messages that arrived in it.
    pub messages: u64,
    /// Connections open at its end.
    pub open: u64,
    /// Median of what the mode is about: from the moment that a session was due to its SDP answer.
    pub p50_us: Option<u64>,
    /// Its 99th percentile.
    pub p99_us: Option<u64>,
    /// Connections and sessions that failed in it.
    pub errors: u64,
    /// The histogram of these percentiles (two digits) as HDR V2 deflate in base64, so that they merge exactly.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub hdr: Option<String>,
}

impl Interval {
    /// Adds what another worker, process or machine saw in the same second.
    pub fn add(&mut self, other: &Self) {
        self.t_s = self.t_s.max(other.t_s);
        self.sessions = match (self.sessions, other.sessions) {
            (Some(own), Some(others)) => Some(own + others),
            (own, others) => own.or(others),
        };
        self.messages += other.messages;
        self.open += other.open;
        self.errors += other.errors;
        let histograms = [&self.hdr, &other.hdr].map(|hdr| hdr.as_deref().and_then(Latency::read));
        if let [own, Some(others)] = histograms {
            let mut sum = own.unwrap_or_else(Latency::coarse);
            sum.add(&others);
            self.set(&sum);
        }
    }

    /// Takes the percentiles from a histogram and keeps it; an empty one leaves them unknown.
    pub fn set(&mut self, latency: &Latency) {
        let histogram = latency.histogram();
        if histogram.is_empty() {
            return;
        }
        let quantile = |share| Some(Histogram::value_at_quantile(histogram, share));
        self.p50_us = quantile(0.5);
        self.p99_us = quantile(0.99);
        self.hdr = latency.text();
    }
}

/// Adds a log to another, second by second.
pub fn add_log(log: &mut Vec<Interval>, other: &[Interval]) {
    for (place, interval) in other.iter().enumerate() {
        match log.get_mut(place) {
            Some(own) => own.add(interval),
            None => log.push(interval.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interval(t_s: f64, spans_us: &[u64]) -> Interval {
        let mut latency = Latency::coarse();
        spans_us
            .iter()
            .for_each(|span| latency.record_ns(span * 1000));
        let mut interval = Interval {
            t_s,
            sessions: Some(spans_us.len() as u64),
            messages: 10,
            open: 2,
            p50_us: None,
            p99_us: None,
            errors: 1,
            hdr: None,
        };
        interval.set(&latency);
        interval
    }

    #[test]
    fn logs_merge_by_their_histograms() {
        let mut log = vec![interval(1.0, &[10, 10, 10])];
        add_log(&mut log, &[interval(1.01, &[90]), interval(2.0, &[])]);
        assert_eq!(
            log[0],
            Interval {
                messages: 20,
                open: 4,
                errors: 2,
                ..interval(1.01, &[10, 10, 10, 90])
            }
        );
        assert_eq!((log[0].p50_us, log[0].p99_us), (Some(10), Some(90)));
        assert_eq!(log[1], interval(2.0, &[]));
        assert_eq!(log[1].p50_us, None);
    }
}
