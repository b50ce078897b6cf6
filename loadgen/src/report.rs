//! The result, as JSON with every figure and as a few lines of text.

use crate::edge::{Finished, Interval, Machine};
use crate::measure::{Errors, Latencies, Latency};
use crate::options::{Mode, Options};
use hdrhistogram::serialization::{Serializer, V2DeflateSerializer};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::{self, Write};
use std::time::{SystemTime, UNIX_EPOCH};

/// How a run ended, as the program's exit code says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// All well: 0.
    Well,
    /// Messages lost, duplicated, reordered, corrupted or misrouted: 1.
    Faulty,
    /// The target failed: connections did not come about or broke: 3.
    TargetFailed,
    /// Stopped by the operator: 130.
    Stopped,
}

impl Verdict {
    /// Judges a run. Ctrl-C outranks all; a target that is gone, or was never there, outranks what became of messages.
    #[must_use]
    pub const fn of(finished: &Finished) -> Self {
        if finished.stopped {
            Self::Stopped
        } else if !finished.all_opened || finished.connections.failed >= finished.connections.peak {
            Self::TargetFailed
        } else if !finished.tally.is_clean() {
            Self::Faulty
        } else if finished.connections.failed > 0 {
            Self::TargetFailed
        } else {
            Self::Well
        }
    }

    /// The exit code.
    #[must_use]
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Well => 0,
            Self::Faulty => 1,
            Self::TargetFailed => 3,
            Self::Stopped => 130,
        }
    }
}

/// Every figure of a run, in the shape of its JSON file (schema 1). What is not known is null.
#[derive(Debug, Serialize)]
pub struct Report<'a> {
    schema: u32,
    mode: Mode,
    target: &'a str,
    arguments: &'a Options,
    started: String,
    duration_s: f64,
    ok: bool,
    saturated: Option<&'static str>,
    schedule_lag_us: Option<u64>,
    sessions: Option<u64>,
    connections: ConnectionFigures,
    messages: MessageFigures,
    latency_us: BTreeMap<&'static str, Option<Quantiles>>,
    cpu: CpuFigures,
    memory: MemoryFigures,
    errors: &'a BTreeMap<String, u64>,
    intervals: &'a [Interval],
    machine: &'a Machine,
    versions: BTreeMap<&'static str, &'static str>,
}

#[derive(Debug, Serialize)]
struct ConnectionFigures {
    opened: u64,
    failed: u64,
    peak: u64,
    /// Opened and closed in the measured span.
    cycles: u64,
}

#[derive(Debug, Serialize)]
struct MessageFigures {
    sent: u64,
    received: u64,
    lost: u64,
    duplicated: u64,
    reordered: u64,
    corrupted: u64,
    misrouted: u64,
}

#[derive(Debug, Serialize)]
struct Quantiles {
    count: u64,
    p50: u64,
    p90: u64,
    p99: u64,
    p999: u64,
    max: u64,
    /// HDR V2 deflate in base64, in microseconds: merges exactly with others.
    hdr: Option<String>,
}

#[derive(Debug, Serialize)]
struct CpuFigures {
    driver_s: f64,
    server_s: Option<f64>,
    driver_us_per_message: Option<f64>,
    server_us_per_message: Option<f64>,
    driver_us_per_connection: Option<f64>,
    server_us_per_connection: Option<f64>,
}

#[derive(Debug, Serialize)]
struct MemoryFigures {
    driver_rss_bytes: Option<u64>,
    server_rss_bytes: Option<u64>,
    server_bytes_per_connection: Option<f64>,
}

impl<'a> Report<'a> {
    /// The report of a run.
    #[must_use]
    pub fn new(options: &'a Options, finished: &'a Finished, machine: &'a Machine) -> Self {
        let tally = finished.tally;
        let connections = finished.connections;
        Self {
            schema: 1,
            mode: options.mode,
            target: &options.target,
            arguments: options,
            started: rfc3339(finished.started),
            duration_s: finished.duration_s,
            ok: Verdict::of(finished) == Verdict::Well,
            saturated: (finished.driver_busy > SATURATED).then_some("cpu"),
            schedule_lag_us: None,
            sessions: None,
            connections: ConnectionFigures {
                opened: connections.opened,
                failed: connections.failed,
                peak: connections.peak,
                cycles: finished.cycles,
            },
            messages: MessageFigures {
                sent: tally.sent,
                received: tally.received,
                lost: tally.lost,
                duplicated: tally.duplicated,
                reordered: tally.reordered,
                corrupted: tally.corrupted,
                misrouted: tally.misrouted,
            },
            latency_us: quantiles(&finished.latencies),
            cpu: CpuFigures::new(finished),
            memory: MemoryFigures {
                driver_rss_bytes: finished.driver_rss_bytes,
                server_rss_bytes: finished.server_rss_bytes,
                server_bytes_per_connection: finished.server_bytes_per_connection,
            },
            errors: Errors::kinds(&finished.errors),
            intervals: &finished.intervals,
            machine,
            versions: BTreeMap::from([("loadgen", env!("CARGO_PKG_VERSION"))]),
        }
    }

    /// The report as JSON text.
    ///
    /// # Errors
    /// None in practice: everything in it has a JSON form.
    pub fn json(&self) -> serde_json::Result<String> {
        serde_json::to_string_pretty(self)
    }
}

impl CpuFigures {
    fn new(finished: &Finished) -> Self {
        let driver_s = finished.driver_cpu_ns as f64 / 1e9;
        let server_s = finished.server_cpu_ns.map(|ns| ns as f64 / 1e9);
        let each = |seconds: f64, count: u64| (count > 0).then(|| seconds * 1e6 / count as f64);
        Self {
            driver_s,
            server_s,
            driver_us_per_message: each(driver_s, finished.messages),
            server_us_per_message: server_s.and_then(|s| each(s, finished.messages)),
            driver_us_per_connection: each(driver_s, finished.cycles),
            server_us_per_connection: server_s.and_then(|s| each(s, finished.cycles)),
        }
    }
}

/// The report as text: the verdict first, then what there is to say.
impl fmt::Display for Report<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}", if self.ok { "ok" } else { "NOT OK" })?;
        if let Some(what) = self.saturated {
            write!(
                out,
                " (the driver's {what} was saturated: figures are its limit, not the server's)"
            )?;
        }
        let seconds = self.duration_s;
        writeln!(out, ", {seconds:.1} s measured")?;
        let open = &self.connections;
        writeln!(
            out,
            "connections  {} opened, {} failed, {} at once, {} cycles",
            open.opened, open.failed, open.peak, open.cycles
        )?;
        let messages = &self.messages;
        if messages.sent > 0 {
            writeln!(
                out,
                "messages     {} sent, {} received, {} lost, {} duplicated, {} reordered, {} corrupted, {} misrouted",
                messages.sent,
                messages.received,
                messages.lost,
                messages.duplicated,
                messages.reordered,
                messages.corrupted,
                messages.misrouted
            )?;
        }
        for (name, latency) in &self.latency_us {
            if let Some(latency) = latency {
                writeln!(
                    out,
                    "{name:<12} p50 {} µs, p99 {} µs, p99.9 {} µs, max {} µs, {} values",
                    latency.p50, latency.p99, latency.p999, latency.max, latency.count
                )?;
            }
        }
        out.write_str(&self.cpu_line())?;
        let memory = &self.memory;
        if let Some(rss) = memory.server_rss_bytes {
            write!(out, "server RSS   {:.1} MiB", rss as f64 / MIB)?;
            if let Some(each) = memory.server_bytes_per_connection {
                write!(out, ", grown by {each:.0} bytes a connection")?;
            }
            writeln!(out)?;
        }
        for (kind, count) in self.errors {
            writeln!(out, "error        {kind}: {count}")?;
        }
        Ok(())
    }
}

impl Report<'_> {
    fn cpu_line(&self) -> String {
        let cpu = &self.cpu;
        let mut line = String::from("CPU         ");
        // Writing to a string cannot fail.
        let mut put = |what: fmt::Arguments<'_>| line.write_fmt(what).unwrap_or_default();
        if let Some(seconds) = cpu.server_s {
            put(format_args!(" server {seconds:.3} s"));
        }
        put(format_args!(" driver {:.3} s", cpu.driver_s));
        for (what, server, driver) in [
            (
                "message",
                cpu.server_us_per_message,
                cpu.driver_us_per_message,
            ),
            (
                "connection",
                cpu.server_us_per_connection,
                cpu.driver_us_per_connection,
            ),
        ] {
            if let Some(driver) = driver {
                let server = server.map_or_else(|| "unknown".into(), |us| format!("{us:.2} µs"));
                put(format_args!(
                    "; a {what}: server {server}, driver {driver:.2} µs"
                ));
            }
        }
        line.push('\n');
        line
    }
}

fn quantiles(latencies: &Latencies) -> BTreeMap<&'static str, Option<Quantiles>> {
    let of = |latency: &Latency| {
        let histogram = latency.histogram();
        (!histogram.is_empty()).then(|| Quantiles {
            count: histogram.len(),
            p50: histogram.value_at_quantile(0.5),
            p90: histogram.value_at_quantile(0.9),
            p99: histogram.value_at_quantile(0.99),
            p999: histogram.value_at_quantile(0.999),
            max: histogram.max(),
            hdr: hdr(latency),
        })
    };
    BTreeMap::from([
        ("connect", of(&latencies.connect)),
        ("tls", of(&latencies.tls)),
        ("upgrade", of(&latencies.upgrade)),
        ("offer_answer", None),
        ("message", of(&latencies.message)),
    ])
}

fn hdr(latency: &Latency) -> Option<String> {
    let mut bytes = Vec::new();
    let mut serializer = V2DeflateSerializer::new();
    serializer.serialize(latency.histogram(), &mut bytes).ok()?;
    let mut text = Vec::new();
    codec::base64::encode(&mut text, &bytes);
    String::from_utf8(text).ok()
}

/// A moment as `2026-01-31T23:59:59Z`.
fn rfc3339(moment: SystemTime) -> String {
    let seconds = moment
        .duration_since(UNIX_EPOCH)
        .map_or(0, |span| span.as_secs());
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = codec::calendar::civil(days.cast_signed());
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

const MIB: f64 = 1024.0 * 1024.0;
/// From this share of its CPUs on the driver is what limits the run.
const SATURATED: f64 = 0.95;

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn moments() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_735_689_599, "2024-12-31T23:59:59Z"),
        ] {
            assert_eq!(rfc3339(UNIX_EPOCH + Duration::from_secs(seconds)), text);
        }
    }

    #[test]
    fn histograms_survive_the_file() {
        let mut latency = Latency::new();
        (1..1000).for_each(|us| latency.record_ns(us * 1000));
        let bytes = codec::base64::decode(hdr(&latency).unwrap().as_bytes()).unwrap();
        let mut reader = hdrhistogram::serialization::Deserializer::new();
        let read: hdrhistogram::Histogram<u64> = reader.deserialize(&mut &bytes[..]).unwrap();
        assert_eq!(&read, latency.histogram());
    }
}
