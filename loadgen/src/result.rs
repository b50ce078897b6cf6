//! The result of a run as data: the JSON document of schema 1, and how it is parsed and serialized.
//!
//! | module | contents |
//! |---|---|
//! | [`figures`] | groups of figures in a document |
//! | [`error_kind`] | a fixed set of failure kinds, each with advice |
//! | [`spread`] | a latency distribution: quantiles and the full histogram |
//! | [`verdict`] | a document's verdict, in words and as an exit code |
//! | [`merge`] | exact sum of the documents of a run's parts |
//! | [`threshold`] | the operator's limits on latency and failures |
//! | [`words`] | figures for human readers |
//! | [`rows`] [`table`] | a document as rows; as a text table, several side by side |
//!
//! Each worker fills a [`Document`] with its counts, and [`merge()`] sums the documents of workers, processes and
//! machines. Finally, the engine adds the whole-run figures and calls [`Document::judge`]. This module uses no I/O and
//! no clock.

pub mod error_kind;
pub mod figures;
pub mod merge;
pub mod rows;
pub mod spread;
pub mod table;
pub mod threshold;
pub mod verdict;
pub mod words;

pub use error_kind::{ErrorKind, KINDS};
pub use figures::{
    ConnectionFigures, Cpu, CutOff, Interval, LatencyFigures, MemoryFigures, Messages, STEPS,
    Saturated, ScheduleLag, Sessions, TargetCounts, known,
};
pub use merge::{MergeError, merge};
use serde::{Deserialize, Serialize};
pub use spread::Spread;
use std::collections::BTreeMap;
use thiserror::Error;
pub use threshold::{Threshold, Thresholds};
pub use verdict::{Ending, Verdict};

// The JSON document of a run, in schema 1. Figures that are not known are null.
//
// Parsing ignores unknown members, so that files from later builds can be read, but rejects any other schema.

/// The complete results of a run.
///
/// The document extends schema 1 with these members:
/// * `verdict`, from which the exit code follows,
/// * `latency_us.setup`, `connections.resumed`, and `connections.cycles` (the result of the mode `connect`),
/// * `targets`, `cut_off` and `latency_us.recovery`, for services with several nodes,
/// * per-connection as well as per-message figures, and
/// * the schedule lag and the `hdr` of intervals, which make exact merging possible.
///
/// The JSON also contains `thresholds` and `thresholds_met`. They are derived from other members, and do not affect
/// `ok`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Document {
    /// Always [`SCHEMA`].
    pub schema: u32,
    /// The mode: `sessions`, `relay`, `idle`, `connect` or `storm`.
    pub mode: String,
    /// The target as given on the command line. Several targets are separated by commas.
    pub target: String,
    /// The command-line flags and their values.
    pub arguments: EventArguments,
    /// When the run started, in RFC 3339 format (UTC).
    pub started: String,
    /// Duration of the measured phase, in seconds.
    pub duration_s: f64,
    /// Whether the run succeeded, according to [`Document::verdict`].
    pub ok: bool,
    /// The engine's verdict, if it reached one. Otherwise, [`Document::verdict`] derives the verdict from the figures.
    #[serde(default)]
    pub verdict: Option<Verdict>,
    /// The resource that the load generator ran out of, if any. If set, the figures do not show the limits of the
    /// service.
    pub saturated: Option<Saturated>,
    /// How far behind schedule sessions started or messages were sent, in microseconds.
    #[serde(default, deserialize_with = "or_default")]
    pub schedule_lag_us: ScheduleLag,
    /// Number of sessions by outcome.
    #[serde(default, deserialize_with = "or_default")]
    pub sessions: Sessions,
    /// Number of connections by outcome.
    #[serde(default, deserialize_with = "or_default")]
    pub connections: ConnectionFigures,
    /// Connection counts per target, if there are several targets.
    #[serde(default, deserialize_with = "or_default")]
    pub targets: Vec<TargetCounts>,
    /// Number of channels that were cut off, and how many of them recovered.
    #[serde(default, deserialize_with = "or_default")]
    pub cut_off: CutOff,
    /// Number of messages by outcome.
    #[serde(default, deserialize_with = "or_default")]
    pub messages: Messages,
    /// Latencies of each kind, in microseconds.
    #[serde(default, deserialize_with = "or_default")]
    pub latency_us: LatencyFigures,
    /// CPU time of the load generator and of the service.
    #[serde(default, deserialize_with = "or_default")]
    pub cpu: Cpu,
    /// Memory of the load generator and of the service.
    #[serde(default, deserialize_with = "or_default")]
    pub memory: MemoryFigures,
    /// Number of failures of each kind.
    #[serde(default, deserialize_with = "or_default")]
    pub errors: Errors,
    /// Request id of the first refused request of each kind, to be passed to `heliograph why ID`.
    #[serde(default, deserialize_with = "or_default")]
    pub request_ids: BTreeMap<String, String>,
    /// The figures for each second.
    #[serde(default, deserialize_with = "or_default")]
    pub intervals: Vec<Interval>,
    /// Properties of the machine that generated the load: `cpu`, `cpus`, `kernel`, `memory_bytes`.
    #[serde(default, deserialize_with = "or_default")]
    pub machine: EventArguments,
    /// Versions of the programs involved.
    #[serde(default, deserialize_with = "or_default")]
    pub versions: EventArguments,
}

/// A document together with a display name, such as its file name.
#[derive(Clone, Debug)]
pub struct Run {
    /// The name used in headings and legends.
    pub name: String,
    /// Results of the run.
    pub document: Document,
}

/// JSON values by name, in alphabetical order.
pub type EventArguments = BTreeMap<String, serde_json::Value>;

/// Failure counts by name, in alphabetical order. [`crate::result::error_kind::ErrorKind`] classifies the names.
pub type Errors = BTreeMap<String, u64>;

/// Converts the members of a value, such as the flags of a run, to a map for the document.
#[must_use]
pub fn members(value: &impl Serialize) -> EventArguments {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::Object(members)) => members.into_iter().collect(),
        Ok(_) | Err(_) => EventArguments::new(),
    }
}

impl Document {
    /// Creates a document that describes the run but has no results yet. `ok` is false.
    #[must_use]
    pub fn new(mode: &str, target: &str, arguments: EventArguments, started: String) -> Self {
        Self {
            schema: SCHEMA,
            mode: mode.to_owned(),
            target: target.to_owned(),
            arguments,
            started,
            ..Self::default()
        }
    }

    /// Parses a document from at most [`TEXT_BYTES_MAX`] bytes of JSON.
    pub fn parse(text: &str) -> Result<Self, DocumentError> {
        #[derive(Deserialize)]
        struct Head {
            schema: Option<serde_json::Value>,
        }
        if text.len() > TEXT_BYTES_MAX {
            return Err(DocumentError::Length(text.len()));
        }
        let head: Head = serde_json::from_str(text).map_err(DocumentError::Json)?;
        match head.schema {
            Some(schema) if schema == SCHEMA => {}
            Some(other) => return Err(DocumentError::Schema(other.to_string())),
            None => return Err(DocumentError::NoSchema),
        }
        let document: Self = serde_json::from_str(text).map_err(DocumentError::Json)?;
        if document.intervals.len() > INTERVALS_MAX {
            return Err(DocumentError::Intervals(document.intervals.len()));
        }
        Ok(document)
    }

    /// Returns whether the load followed a schedule. In a closed loop, it is the service that sets the pace.
    #[must_use]
    pub fn is_open_loop(&self) -> bool {
        let is_paced = self.mode == "relay" && self.schedule_lag_us.max.is_some();
        self.mode == "sessions" || self.mode == "storm" || is_paced
    }

    /// Serializes the document as JSON. In practice, this never fails.
    pub fn json(&self) -> serde_json::Result<String> {
        #[derive(Serialize)]
        struct Judged<'d> {
            #[serde(flatten)]
            document: &'d Document,
            thresholds: &'d [Threshold],
            thresholds_met: bool,
        }
        let thresholds = self.thresholds();
        let judged = Judged {
            document: self,
            thresholds: thresholds.as_ref().map_or(&[], Thresholds::all),
            thresholds_met: !thresholds.as_ref().is_some_and(Thresholds::are_missed),
        };
        serde_json::to_string_pretty(&judged).map(|text| text + "\n")
    }
}

/// The text is not a valid document. The error is shown to the operator.
#[derive(Debug, Error)]
pub enum DocumentError {
    /// The text exceeds the maximum length.
    #[error("{0} bytes, expected at most {TEXT_BYTES_MAX}")]
    Length(usize),
    /// The text is not JSON, or a member has the wrong type. Contains the position and the member's name.
    #[error("not a report of loadgen: {0}")]
    Json(serde_json::Error),
    /// The member `schema` is missing.
    #[error("not a report of loadgen: it has no \"schema\", expected {SCHEMA}")]
    NoSchema,
    /// The document uses an unsupported schema. Contains the schema.
    #[error("schema {0}, expected {SCHEMA}: read it with the loadgen that wrote it")]
    Schema(String),
    /// The document contains too many intervals.
    #[error("{0} intervals, expected at most {INTERVALS_MAX}")]
    Intervals(usize),
}

/// Deserializes a group of figures. `null` means that none of the group's figures are known.
fn or_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}

/// The schema version that this build reads and writes.
pub const SCHEMA: u32 = 1;
/// Maximum document length, in bytes. A day of intervals with histograms takes less.
pub const TEXT_BYTES_MAX: usize = 512 * 1024 * 1024;
/// Maximum number of intervals in a document. A day of one-second intervals has fewer.
pub const INTERVALS_MAX: usize = 100_000;

#[cfg(test)]
mod document_tests {
    use super::{Spread, *};
    use serde_json::{Value, json};

    #[test]
    fn the_members_of_schema_1() {
        let document = Document::new(
            "relay",
            "http://t",
            EventArguments::new(),
            "2026-01-01T00:00:00Z".into(),
        );
        let json: Value = serde_json::from_str(&document.json().unwrap()).unwrap();
        // Members may be added, but must not be removed.
        let known = json!({
            "schema": 1, "mode": "relay", "target": "http://t", "started": "2026-01-01T00:00:00Z", "duration_s": 0.0,
            "ok": false, "verdict": null, "saturated": null, "thresholds": [], "thresholds_met": true,
            "schedule_lag_us": {"p99": null, "max": null, "hdr": null},
            "sessions": {"scheduled": null, "completed": null, "failed": null},
            "connections": {"opened": null, "failed": null, "peak": null, "cycles": null, "resumed": null},
            "targets": [], "cut_off": {"channels": null, "recovered": null},
            "messages": {
                "sent": null, "received": null, "lost": null, "duplicated": null, "reordered": null, "corrupted": null,
                "misrouted": null, "throttled": null, "refused": null
            },
            "latency_us": {
                "connect": null, "tls": null, "upgrade": null, "offer_answer": null, "message": null, "setup": null,
                "recovery": null
            },
            "cpu": {
                "driver_s": null, "server_s": null, "driver_us_per_message": null, "server_us_per_message": null,
                "driver_us_per_connection": null, "server_us_per_connection": null
            },
            "memory": {"driver_rss_bytes": null, "server_rss_bytes": null, "server_bytes_per_connection": null},
            "errors": {}, "request_ids": {}, "intervals": [], "machine": {}, "versions": {}, "arguments": {}
        });
        assert_eq!(json, known);
    }

    #[test]
    fn members_of_filled_groups() {
        let mut document = Document::new("relay", "http://t", EventArguments::new(), String::new());
        document.latency_us.message = Spread::of(&spread::histogram([5]));
        document.errors.insert("status:403".into(), 2);
        document.saturated = Some(Saturated::Lag);
        document.intervals = vec![Interval::default()];
        let arguments = &mut document.arguments;
        arguments.insert("p50_below".into(), json!(0.003));
        arguments.insert("max_below".into(), json!(1));
        let json: Value = serde_json::from_str(&document.json().unwrap()).unwrap();
        let names = |path: &str| -> Vec<String> {
            let value = json.pointer(path).and_then(Value::as_object);
            value.unwrap().keys().cloned().collect()
        };
        let found = names("/latency_us/message");
        assert_eq!(found, ["count", "hdr", "max", "p50", "p90", "p99", "p999"]);
        let wanted = [
            "errors", "messages", "open", "p50_us", "p99_us", "sessions", "t_s",
        ];
        assert_eq!(names("/intervals/0"), wanted);
        assert_eq!(json["errors"]["status:403"], 2);
        assert_eq!(json["saturated"], "lag");
        assert_eq!(
            json["thresholds"],
            json!([
                { "name": "p50_below", "limit": 0.003, "value": 0.005, "met": false },
                { "name": "max_below", "limit": 1.0, "value": 0.005, "met": true },
            ])
        );
        assert_eq!(json["thresholds_met"], false);
    }

    #[test]
    fn groups_may_be_null_or_absent() {
        let text = r#"{"schema":1,"mode":"idle","target":"t","arguments":{},"started":"","duration_s":1,"ok":true,
            "saturated":null,"sessions":null,"errors":null,"of_a_newer_build":[1]}"#;
        let document = Document::parse(text).unwrap();
        assert_eq!(document.sessions, Sessions::default());
        assert_eq!(document.cpu, Cpu::default());
    }

    #[test]
    fn other_texts_are_refused_with_a_reason() {
        let with = |member: &str| {
            format!(
                r#"{{"schema":1,"mode":"idle","target":"t","arguments":{{}},"started":"","duration_s":1,"ok":true,{member}}}"#
            )
        };
        for (text, words) in [
            (String::new(), "not a report"),
            ("[]".into(), "not a report"),
            ("{}".into(), "no \"schema\", expected 1"),
            (r#"{"schema":2}"#.into(), "schema 2, expected 1"),
            (r#"{"schema":"1"}"#.into(), "schema \"1\""),
            (r#"{"schema":1}"#.into(), "mode"),
            (with(r#""saturated":"nerves""#), "nerves"),
            (with(r#""messages":{"sent":-1}"#), "-1"),
            (
                with(r#""latency_us":{"tls":{"count":1,"max":1,"hdr":"AAAA"}}"#),
                "hdr",
            ),
        ] {
            let error = Document::parse(&text).unwrap_err().to_string();
            assert!(error.contains(words), "{text}: {error}");
        }
    }
}
