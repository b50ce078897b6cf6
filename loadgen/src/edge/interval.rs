//! The log of a run, second by second, as its threads write it.

use crate::measure::Latency;

/// About one second of the measured span. What is not known is `None`.
#[derive(Clone, Debug, PartialEq)]
pub struct Interval {
    /// Its end, in seconds since the span began.
    pub t_s: f64,
    /// Sessions that went all the way in it.
    pub sessions: Option<u64>,
    /// Messages that arrived in it.
    pub messages: u64,
    /// Connections open at its end.
    pub open: u64,
    /// Connections and sessions that failed in it.
    pub errors: u64,
    /// From the moment that a session was due to its SDP answer, of two digits, packed; see [`Latency::text`].
    pub spans: Option<String>,
}

impl Interval {
    /// Adds what another worker saw in the same second.
    fn add(&mut self, other: &Self) {
        self.t_s = self.t_s.max(other.t_s);
        self.sessions = match (self.sessions, other.sessions) {
            (Some(own), Some(others)) => Some(own + others),
            (own, others) => own.or(others),
        };
        self.messages += other.messages;
        self.open += other.open;
        self.errors += other.errors;
        let mut sum = self.latency().unwrap_or_else(Latency::coarse);
        if let Some(others) = other.latency() {
            sum.add(&others);
            self.spans = sum.text();
        }
    }

    /// The spans, unpacked; `None` without any.
    #[must_use]
    pub fn latency(&self) -> Option<Latency> {
        self.spans.as_deref().and_then(Latency::read)
    }
}

/// Adds a worker's log to another, second by second.
pub(super) fn add_log(log: &mut Vec<Interval>, other: &[Interval]) {
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
        Interval {
            t_s,
            sessions: Some(spans_us.len() as u64),
            messages: 10,
            open: 2,
            errors: 1,
            spans: (!spans_us.is_empty()).then(|| latency.text().unwrap()),
        }
    }

    #[test]
    fn logs_merge_by_their_histograms() {
        let mut log = vec![interval(1.0, &[10, 10, 10])];
        add_log(&mut log, &[interval(1.01, &[90]), interval(2.0, &[])]);
        let sum = Interval {
            messages: 20,
            open: 4,
            errors: 2,
            ..interval(1.01, &[10, 10, 10, 90])
        };
        assert_eq!(log, [sum, interval(2.0, &[])]);
        assert_eq!(log[1].latency(), None);
    }
}
