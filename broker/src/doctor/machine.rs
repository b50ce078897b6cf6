//! The machine: kernel, limits of the process, CPUs, and whether its clock is right.

use crate::config::Cpus;
use crate::doctor::line::Line;
use crate::finding::counted;
use crate::server::preflight;
use broker_core::settings::Settings;
use std::io::Read;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use std::{fs, thread};

/// The kernel's release, and whether it allows a ring with the broker's flags: one is made.
pub(crate) fn of_kernel() -> Vec<Line> {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease");
    let release = release.unwrap_or_else(|_| "of an unknown release".into());
    let works = || "a ring with the broker's flags can be made".to_owned();
    vec![
        Line::ok("kernel", format!("Linux {}", release.trim())),
        Line::of("io_uring", preflight::io_uring().map(|()| works())),
    ]
}

/// Open files, against the connections that are configured.
pub(crate) fn descriptors(settings: &Settings) -> Line {
    let check = "descriptors";
    let wanted = settings.limits.connections;
    match preflight::descriptors(settings) {
        // A tenth less is as good; and a machine of development is not asked for as many.
        Ok(room) if room >= wanted / 10 * 9 || settings.dev => {
            Line::ok(check, format!("room for {room} connections"))
        }
        Ok(room) => Line::warning(
            check,
            format!(
                "the limit of open files leaves room for {room} connections, limits.connections allows {wanted}: raise \
                 it (`ulimit -Hn {}`, LimitNOFILE= in the unit, --ulimit nofile= of the container), or lower \
                 limits.connections",
                // A twentieth of the rest stays free.
                wanted.saturating_mul(20) / 19 + DESCRIPTORS_BESIDE
            ),
        ),
        Err(failure) => Line::error(check, failure.to_string()),
    }
}

/// Locked memory, threads and memory: each shard is made.
pub(crate) fn shards(settings: &Settings) -> Line {
    let (check, wanted) = ("locked memory", settings.shards);
    match preflight::shards(settings) {
        Ok(room) if room >= wanted => {
            Line::ok(check, format!("room for {}", counted(room, "shard")))
        }
        Ok(room) => Line::warning(
            check,
            format!(
                "room for {room} of {wanted} shards: raise its limit (`ulimit -Hl`, LimitMEMLOCK= in the unit, \
                 --ulimit memlock= of the container), or start with --shards {room}"
            ),
        ),
        Err(failure) => Line::error(check, failure.to_string()),
    }
}

/// Shards, against the CPUs that the process may use and its cgroup's quota.
pub(crate) fn cpus(settings: &Settings, cpus: &Cpus) -> Line {
    let (shards, count) = (settings.shards, cpus.count);
    let text = format!("{} on {}", counted(shards, "shard"), counted(count, "CPU"));
    if shards <= count {
        return Line::ok("cpus", text);
    }
    Line::warning(
        "cpus",
        format!(
            "{text}, by the process's affinity and its cgroup's quota: shards wait for each \
             other: set shards = {count}, or give it more (CPUQuota= in the unit, --cpus of the container)"
        ),
    )
}

/// Whether the machine's clock follows others, by the word of systemd: signatures and certificates have times.
pub(crate) fn clock() -> Line {
    let check = "clock";
    match answer_of(
        "timedatectl",
        &["show", "--property=NTPSynchronized", "--value"],
    ) {
        Some(answer) if answer.trim() == "yes" => Line::ok(check, "it is synchronized"),
        Some(answer) if answer.trim() == "no" => Line::warning(
            check,
            "it is not synchronized: clients whose clocks are right are refused once it is off by five minutes: \
             `timedatectl set-ntp true`",
        ),
        Some(_) | None => Line::ok(
            check,
            "not known: timedatectl does not say whether it is synchronized; in a container it is the host's",
        ),
    }
}

/// The first bytes that a program writes, if it ends well and in time.
fn answer_of(program: &str, arguments: &[&str]) -> Option<String> {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null());
    command.stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().ok()?;
    let until = Instant::now() + ANSWER_MAX;
    let ended = loop {
        match child.try_wait() {
            Ok(None) if Instant::now() < until => thread::sleep(LOOK_EVERY),
            Ok(Some(ended)) => break Some(ended),
            Ok(None) | Err(_) => break None,
        }
    };
    if ended.is_none() {
        let _ = child.kill();
        let _ = child.wait();
    }
    let mut text = String::new();
    let out = child.stdout.take()?;
    out.take(ANSWER_BYTES_MAX).read_to_string(&mut text).ok()?;
    ended.filter(|ended| ended.success()).map(|_| text)
}

/// Descriptors of a process of a few shards beside connections, for the number that a remedy names.
const DESCRIPTORS_BESIDE: usize = 1_024;

/// Time for another program to answer, and the interval at which that is checked.
const ANSWER_MAX: Duration = Duration::from_secs(2);
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// More than this is no answer.
const ANSWER_BYTES_MAX: u64 = 256;
