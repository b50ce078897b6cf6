//! The part of `/metrics` about clients: upgrades, requests, authentication, durations.

use super::metrics::Page;
use broker_core::event::{
    AuthFailure, Counters, Histogram, LARGE_FRAMES, Requested, STATUS, UpgradeOutcome, UpgradeRole,
};
use prometheus_client::encoding::{EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use std::fmt;

impl Page<'_> {
    /// Upgrades, requests and failures of authentication.
    pub(super) fn access(&mut self, counters: &Counters) -> fmt::Result {
        let rows = UpgradeRole::LABELS.iter().zip(&counters.upgrades);
        let upgrades = rows.flat_map(|(role, row)| {
            let cells = UpgradeOutcome::LABELS.iter().zip(row);
            cells.map(|(outcome, count)| ([("role", *role), ("outcome", *outcome)], *count))
        });
        let help = "Requests for a WebSocket by role and what became of them";
        self.counters("heliograph_upgrades", help, upgrades)?;
        let statuses = STATUS.map(|status| status.to_string());
        let rows = Requested::labels().into_iter().zip(&counters.requests);
        let requests = rows.flat_map(|(operation, row)| {
            let cells = statuses.iter().zip(row);
            cells.map(move |(status, count)| {
                (
                    [("operation", operation), ("status", status.as_str())],
                    *count,
                )
            })
        });
        let help = "HTTP requests by operation and the status of their answer";
        self.counters("heliograph_http_requests", help, requests)?;
        let failures = AuthFailure::labels()
            .into_iter()
            .zip(counters.auth_failures);
        self.counters(
            "heliograph_auth_failures",
            "Callers that were not let in by reason",
            failures.map(|(reason, count)| ([("reason", reason)], count)),
        )
    }

    /// Frames that some clients cannot hold, and how long messages and the making of sessions took.
    pub(super) fn durations(&mut self, counters: &Counters) -> fmt::Result {
        let bounds = LARGE_FRAMES.map(|over| over.to_string());
        let frames = bounds.iter().zip(counters.large_frames);
        self.counters(
            "heliograph_large_frames",
            "Frames delivered that are longer than this many bytes, which old C SDK builds cannot hold",
            frames.map(|(over, count)| ([("over", over.as_str())], count)),
        )?;
        self.histogram(
            "heliograph_delivery_seconds",
            "From the read of a message to its last byte's being handed to the kernel; messages that were kept are not \
             in it",
            &counters.delivery,
        )?;
        self.histogram(
            "heliograph_session_setup_seconds",
            "From a viewer's admission to the delivery of its first SDP_ANSWER",
            &counters.session_setup,
        )
    }

    fn histogram(&mut self, name: &str, help: &str, histogram: &Histogram) -> fmt::Result {
        let durations = Durations(histogram);
        durations.encode(
            self.0
                .encode_descriptor(name, help, None, durations.metric_type())?,
        )
    }
}

/// A histogram in seconds.
struct Durations<'h>(&'h Histogram);

impl EncodeMetric for Durations<'_> {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        let seconds = super::metrics::seconds;
        let buckets: Vec<(f64, u64)> = self
            .0
            .buckets()
            .map(|(bound, count)| (bound.map_or(f64::INFINITY, seconds), count))
            .collect();
        encoder.encode_histogram::<NoLabelSet>(
            seconds(self.0.sum_us),
            self.0.count(),
            &buckets,
            None,
        )
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Histogram
    }
}

#[cfg(test)]
mod tests {
    use crate::edge::{EdgeCounts, Scraped};
    use crate::side::Report;
    use broker_core::event::{AuthFailure, Requested, UpgradeOutcome, UpgradeRole};
    use broker_core::id::ShardId;
    use broker_core::shard::Snapshot;
    use codec::aws::sigv4::Reason;

    fn text(snapshot: Snapshot) -> String {
        let scraped = Scraped {
            shard: ShardId(0),
            snapshot,
            edge: EdgeCounts::default(),
        };
        let report = Report {
            shards: vec![scraped],
            busy_ratios: vec![0.0],
            log_dropped: 0,
            tls_not_after: 0,
        };
        report.text().unwrap()
    }

    fn has(text: &str, series: &str) {
        assert!(text.contains(&format!("\n{series}\n")), "{series}: {text}");
    }

    #[test]
    fn every_series_exists_at_zero() {
        let text = text(Snapshot::default());
        for role in ["master", "viewer"] {
            for outcome in [
                "accepted",
                "invalid",
                "unauthenticated",
                "forbidden",
                "not_found",
                "limited",
                "unavailable",
            ] {
                let labels = format!("role=\"{role}\",outcome=\"{outcome}\"");
                has(&text, &format!("heliograph_upgrades_total{{{labels}}} 0"));
            }
        }
        for operation in ["CreateSignalingChannel", "GetCallerIdentity", "unknown"] {
            for status in [
                200, 400, 401, 403, 404, 405, 408, 411, 413, 426, 431, 500, 503,
            ] {
                let labels = format!("operation=\"{operation}\",status=\"{status}\"");
                has(
                    &text,
                    &format!("heliograph_http_requests_total{{{labels}}} 0"),
                );
            }
        }
        for reason in [
            "missing",
            "malformed",
            "expired",
            "early",
            "scope",
            "unknown_key",
            "token",
            "mismatch",
            "policy",
        ] {
            let labels = format!("reason=\"{reason}\"");
            has(
                &text,
                &format!("heliograph_auth_failures_total{{{labels}}} 0"),
            );
        }
        for series in [
            "heliograph_large_frames_total{over=\"10240\"} 0",
            "heliograph_large_frames_total{over=\"18750\"} 0",
            "heliograph_delivery_seconds_count 0",
            "heliograph_delivery_seconds_bucket{le=\"0.000016\"} 0",
            "heliograph_session_setup_seconds_bucket{le=\"+Inf\"} 0",
            "heliograph_log_suppressed_total 0",
        ] {
            has(&text, series);
        }
    }

    #[test]
    fn what_was_counted_is_told_under_its_labels() {
        let mut snapshot = Snapshot::default();
        let counters = &mut snapshot.counters;
        counters.upgrade(UpgradeRole::Viewer, UpgradeOutcome::NotFound);
        counters.request(Requested::Unknown, 404);
        counters.auth_failure(AuthFailure::Signature(Reason::UnknownKey));
        counters.frame(12_000);
        counters.delivery.observe(16, 1);
        counters.delivery.observe(17, 2);
        counters.session_setup.observe(80_000_000, 1);
        let text = text(snapshot);
        for series in [
            "heliograph_upgrades_total{role=\"viewer\",outcome=\"not_found\"} 1",
            "heliograph_http_requests_total{operation=\"unknown\",status=\"404\"} 1",
            "heliograph_auth_failures_total{reason=\"unknown_key\"} 1",
            "heliograph_large_frames_total{over=\"10240\"} 1",
            "heliograph_large_frames_total{over=\"18750\"} 0",
            "heliograph_delivery_seconds_sum 0.00005",
            "heliograph_delivery_seconds_bucket{le=\"0.000016\"} 1",
            "heliograph_delivery_seconds_bucket{le=\"0.000032\"} 3",
            "heliograph_delivery_seconds_bucket{le=\"+Inf\"} 3",
            "heliograph_session_setup_seconds_bucket{le=\"67.108864\"} 0",
            "heliograph_session_setup_seconds_bucket{le=\"+Inf\"} 1",
        ] {
            has(&text, series);
        }
    }
}
