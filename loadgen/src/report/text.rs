//! The report as text, for people.

use super::{Report, Saturated};
use crate::measure::Sessions;
use std::fmt::{self, Write};

/// The report as text: the verdict first, then what there is to say.
impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}", if self.ok { "ok" } else { "NOT OK" })?;
        if let Some(what) = self.saturated {
            write!(out, " ({})", what.reason())?;
        }
        let seconds = self.duration_s;
        writeln!(out, ", {seconds:.1} s measured")?;
        if let Some(sessions) = &self.sessions {
            let Sessions {
                scheduled,
                completed,
                failed,
            } = sessions;
            let rate = *completed as f64 / seconds.max(1e-9);
            write!(
                out,
                "sessions     {scheduled} begun, {completed} completed, {failed} failed, {rate:.0} a second"
            )?;
            if let Some(lag) = &self.schedule_lag_us {
                write!(
                    out,
                    "; begun late by p99 {} µs, max {} µs",
                    lag.p99, lag.max
                )?;
            }
            writeln!(out)?;
        }
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
        for (kind, count) in &self.errors {
            writeln!(out, "error        {kind}: {count}")?;
        }
        Ok(())
    }
}

impl Report {
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
                if self.sessions.is_some() {
                    "session"
                } else {
                    "connection"
                },
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

impl Saturated {
    /// What it means and what helps.
    const fn reason(self) -> &'static str {
        match self {
            Self::Cpu => {
                "the driver's CPU was saturated: figures are its limit, not the target's; give it more --cores"
            }
            Self::Lag => {
                "sessions began too late: figures are the driver's limit, not the target's; lower --rate or free its CPU"
            }
            Self::Ports => "local ports ran out: give more --source-addresses",
            Self::Descriptors => {
                "descriptors ran out: raise the hard limit (ulimit -Hn) or use --processes"
            }
        }
    }
}

const MIB: f64 = 1024.0 * 1024.0;
