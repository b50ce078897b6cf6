//! The resources that a run needs, checked against this machine's limits before any connection is opened.

use crate::options::{Mode, Options};
use crate::{edge::MachineLimits, plan::Plan, result::words};
use std::fmt;

/// The connections and memory that a plan needs, compared with this machine's limits.
#[derive(Clone, Debug)]
pub struct Needs {
    lines: Vec<String>,
    shortages: Vec<String>,
}

impl Needs {
    /// Computes the resources that a plan needs, summed over all its processes on this machine.
    #[must_use]
    pub fn of(options: &Options, plan: &Plan, limits: MachineLimits) -> Self {
        let mut needs = Self {
            lines: Vec::new(),
            shortages: Vec::new(),
        };
        needs.load(options, plan);
        needs.descriptors(plan, u64::from(options.processes), limits);
        needs.ports(plan, limits);
        needs.memory(plan, limits);
        needs
    }

    /// Returns whether this machine has everything that the run needs.
    #[must_use]
    pub const fn are_met(&self) -> bool {
        self.shortages.is_empty()
    }

    fn load(&mut self, options: &Options, plan: &Plan) {
        let channels = plan.share.channels(plan.channels).count();
        let mode = plan.mode.name();
        self.lines.push(format!(
            "mode         {mode}, {channels} channels, part {} in {} processes",
            plan.share, options.processes
        ));
        if let Some(schedule) = &plan.schedule {
            let (all, of) = (schedule.sessions(), plan.share.of());
            let seconds = match plan.mode {
                Mode::Storm => plan.duration.as_secs_f64(),
                Mode::Sessions | Mode::Relay | Mode::Idle | Mode::Connect => {
                    schedule.span_ns() as f64 / 1e9 + plan.hold.as_secs_f64()
                }
            };
            let rate = schedule.rate_max();
            let how = if rate > 0.0 {
                format!("up to {rate:.0} a second")
            } else {
                "all at once".into()
            };
            self.lines.push(format!(
                "sessions     {all} over all parts ({} here), {how}, over {seconds:.0} s",
                all / of
            ));
            let each = 2 * (u64::from(plan.terms.candidates) + 1);
            self.lines.push(format!(
                "messages     {} here, {each} a session",
                u64::from(all / of) * each
            ));
        }
        self.lines
            .push(format!("connections  {} at once", plan.connections()));
    }

    fn descriptors(&mut self, plan: &Plan, processes: u64, limits: MachineLimits) {
        let needed = plan.connections() / processes.max(1) + DESCRIPTORS_BESIDE;
        let Some(allowed) = limits.descriptors else {
            return;
        };
        self.lines.push(format!(
            "descriptors  {needed} in each process; {allowed} are allowed"
        ));
        if needed > allowed {
            let processes =
                plan.connections() / allowed.saturating_sub(DESCRIPTORS_BESIDE).max(1) + 1;
            self.shortages.push(format!(
                "descriptors: raise the hard limit (`ulimit -Hn {needed}`, LimitNOFILE= in a unit), or use --processes \
                 {processes}"
            ));
        }
    }

    fn ports(&mut self, plan: &Plan, limits: MachineLimits) {
        let Some(each) = limits.ports else {
            return;
        };
        let sources = plan.sources.map_or(1, |sources| u64::from(sources.count()));
        let targets: u64 = plan
            .ways()
            .map(|target| target.addresses().count() as u64)
            .sum();
        let rate = plan.schedule.as_ref().map_or(0.0, |schedule| {
            schedule.rate_max() / f64::from(plan.share.of())
        });
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "at most a million a second"
        )]
        let waiting = (rate * TIME_WAIT_S) as u64;
        let needed = plan.connections();
        let allowed = each * sources * targets;
        let from = words::counted(sources, "address", "addresses");
        let to = words::counted(targets, "target", "targets");
        self.lines.push(format!(
            "ports        {needed}; {allowed} from {from} to {to}"
        ));
        if needed + waiting > allowed {
            let sources = (needed + waiting) / (each * targets) + 1;
            self.lines.push(format!(
                "             where loadgen closes first, {waiting} more are in TIME_WAIT for a minute: {sources} \
                 --source-addresses suffice"
            ));
        }
        if needed > allowed {
            let sources = needed / (each * targets) + 1;
            self.shortages.push(format!(
                "ports: give {sources} --source-addresses (on loopback 127.0.1.1-127.0.1.{} need no set-up), or widen \
                 net.ipv4.ip_local_port_range",
                sources.min(254)
            ));
        }
    }

    fn memory(&mut self, plan: &Plan, limits: MachineLimits) {
        let secured = match (&plan.detour, plan.targets.iter().any(|target| target.tls)) {
            (_, true) => plan.connections(),
            (Some((_, percent)), false) => plan.connections() * u64::from(*percent) / 100,
            (None, false) => 0,
        };
        let needed = BASE_BYTES
            + plan.connections() * (CONNECTION_BYTES + KERNEL_BYTES)
            + secured * TLS_BYTES;
        let mib = |bytes: u64| bytes.div_ceil(1 << 20);
        let allowed = limits.memory_bytes.unwrap_or(u64::MAX);
        let available = limits
            .memory_bytes
            .map_or_else(|| "unknown".into(), |bytes| format!("{} MiB", mib(bytes)));
        self.lines.push(format!(
            "memory       about {} MiB with the kernel's share; {available} available (a server on this machine needs \
             its own)",
            mib(needed)
        ));
        if needed > allowed {
            self.shortages.push(
                "memory: open fewer connections at once, or spread the run over machines with \
                                 --part"
                    .into(),
            );
        }
    }
}

impl fmt::Display for Needs {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.lines {
            writeln!(out, "{line}")?;
        }
        if self.shortages.is_empty() {
            return writeln!(out, "this machine allows it");
        }
        writeln!(out, "this machine does not allow it:")?;
        for shortage in &self.shortages {
            writeln!(out, "  {shortage}")?;
        }
        Ok(())
    }
}

/// Number of descriptors that a process needs besides one per connection: for its ring, files and standard streams.
pub const DESCRIPTORS_BESIDE: u64 = 64;
/// Number of seconds before a port can be reused with the same addresses. Source: Linux, `TCP_TIMEWAIT_LEN`.
const TIME_WAIT_S: f64 = 60.0;
/// User-space memory per connection, in bytes. This is twice the asserted size of the table entries, because tables
/// grow by doubling.
const CONNECTION_BYTES: u64 = 500;
/// Kernel memory of an idle TCP socket and its file, in bytes. Measured on Linux 6.18: 4.5 GB per million sockets.
const KERNEL_BYTES: u64 = 4_500;
/// Additional memory per TLS connection, in bytes. Measured on Linux 6.18.
const TLS_BYTES: u64 = 9_500;
/// Memory that a process uses without any connections, in bytes: its ring, histograms and code.
const BASE_BYTES: u64 = 32 << 20;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::{CommandLine, LoadCommand};

    fn needs(flags: &str, limits: MachineLimits) -> Needs {
        let words = format!("loadgen plan --target http://127.0.0.1:1 {flags}");
        let words = words.split(' ').map(str::to_owned).collect();
        let line = CommandLine::read(words, |_| Ok(String::new())).unwrap();
        let LoadCommand::Plan(options) = line.command else {
            panic!("it is a plan");
        };
        let plan = options.plan(1, |_| None).unwrap();
        Needs::of(&options, &plan, limits)
    }

    const ROOMY: MachineLimits = MachineLimits {
        descriptors: Some(20_000),
        ports: Some(28_232),
        memory_bytes: Some(8 << 30),
    };

    #[test]
    fn shortages_say_what_helps() {
        let idle = "--mode idle --channels 15000";
        #[rustfmt::skip] // a table, a case per row
        let cases = [
            (idle, ROOMY, "--processes 2"),
            ("--mode idle --channels 15000 --processes 2", ROOMY, "give 2 --source-addresses"),
            ("--rate 1000 --hold 60 --duration 90", ROOMY, "give 3 --source-addresses"),
            ("--mode idle", MachineLimits { memory_bytes: Some(1),..ROOMY }, "--part"),
        ];
        for (flags, limits, help) in cases {
            let needs = needs(flags, limits);
            let fine = !needs.are_met() && needs.to_string().contains(help);
            assert!(fine, "{flags}: {needs}");
        }
    }

    #[test]
    fn what_fits_is_allowed() {
        let needs = needs(
            "--rate 1000 --sessions 100000 --source-addresses 127.0.1.1-127.0.1.9 --hold 5",
            ROOMY,
        );
        let text = needs.to_string();
        assert!(needs.are_met(), "{text}");
        #[rustfmt::skip] // a list
        let cases = ["100000 over all parts", "6100 at once", "1000000 here, 10 a session", "over 105 s"];
        for part in cases {
            assert!(text.contains(part), "{part}: {text}");
        }
    }
}
