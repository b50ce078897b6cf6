//! `heliograph doctor`: finds problems that prevent a broker from running on this machine, now or soon. Prints a line
//! for each check, with a remedy if there is a problem. Leaves no files behind and does not disturb a running broker.
//!
//! This file starts with the report as a whole. Then come the checks of a running broker (or of the ports that a new
//! one needs), of the configuration, certificate and data directory, and of the machine (kernel, limits, CPUs and
//! clock). The last part defines the report line type.

use crate::admin_client::{AdminListener, reached};
use crate::config::{self, Cpus, DoctorFlags, ServeFlags};
use crate::server::{self, CheckedConfiguration, preflight};
use crate::terminal::{Colour, Finding, Level, Screen, count, counted, json, plain, write};
use crate::{commands::cluster, failure::Failure, tls_files::TlsLoader};
use crate::{data_dir, session_key};
use broker_core::settings::{EngineChoice, Scheme, Settings};
use rustix::fs::statvfs;
use serde_json::{Value, json};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant, SystemTime};
use store::Store;

/// Runs all checks and prints a line for each. With `--ready`, only asks the running broker whether it is ready.
///
/// # Errors
/// Returns [`Failure::Configuration`] if a check found an error, [`Failure::Warnings`] if checks found only warnings,
/// and [`Failure::Fatal`] if `--ready` was given and the broker is not ready.
pub fn run(flags: &DoctorFlags, out: &mut dyn Write, screen: Screen) -> Result<(), Failure> {
    if flags.ready {
        return ready(&AdminListener::of(&flags.asked)?.at_once(), out);
    }
    let lines = lines(flags);
    let text = if flags.json {
        format!("{}\n", json(&document(&lines)))
    } else {
        lines.iter().map(|line| line.text(screen)).collect()
    };
    write(out, &text)?;
    let findings: Vec<_> = lines.into_iter().map(|line| line.finding).collect();
    let warnings = count(&findings, Level::Warning, "warning");
    match (count(&findings, Level::Error, "failure"), warnings) {
        (None, None) => Ok(()),
        (None, Some(warnings)) => Err(Failure::Warnings(warnings)),
        (Some(failures), None) => Err(Failure::Configuration(failures)),
        (Some(failures), Some(warnings)) => {
            Err(Failure::Configuration(format!("{failures}, {warnings}")))
        }
    }
}

pub(crate) fn lines(flags: &DoctorFlags) -> Vec<Line> {
    let config = flags.asked.config.as_deref();
    let flags_of_serve = ServeFlags {
        dev: config.is_none(),
        config: config.map(Into::into),
        ..ServeFlags::default()
    };
    let cpus = Cpus::of_this_process();
    let draft = config::draft(&flags_of_serve);
    let engine = draft.settings().map(|settings| settings.engine);
    let mut lines = of_kernel(engine.unwrap_or_default());
    lines.push(clock());
    match server::check(draft, SystemTime::now()) {
        Err(error) => {
            let faults = error.to_string();
            lines.extend(
                faults
                    .lines()
                    .map(|line| Line::error("configuration", line)),
            );
        }
        Ok(checked) => {
            lines.extend(of_configuration(config, &checked));
            let settings = &checked.settings;
            lines.push(descriptors(settings));
            lines.push(cpus_line(settings, &cpus));
            lines.extend(of_data_dir(&settings.data_dir));
            lines.extend(of_broker(flags, settings));
            if let Some(config) = config.filter(|_| settings.cluster.etcd.is_on()) {
                match cluster::findings(config) {
                    Ok(findings) => lines.extend(findings.into_iter().map(|finding| Line {
                        check: "cluster",
                        finding,
                    })),
                    Err(failure) => lines.push(Line::error("cluster", failure.to_string())),
                }
            }
        }
    }
    lines
}

/// Checks the running broker that uses this configuration. If there is none, checks whether one could start.
fn of_broker(flags: &DoctorFlags, settings: &Settings) -> Vec<Line> {
    let is_asked = settings.admin.listen.is_some() || flags.asked.admin.is_some();
    let asked = is_asked.then(|| AdminListener::of(&flags.asked).map(AdminListener::at_once));
    match asked.map(|asked| asked.map(|asked| (status(&asked), asked))) {
        Some(Err(failure)) => return vec![Line::error("broker", failure.to_string())],
        Some(Ok((Ok(status), asked))) => return of_running(&asked, &status, settings),
        Some(Ok((Err(error), asked))) if error.kind() == io::ErrorKind::TimedOut => {
            let text = format!("http://{}: {error}", asked.host);
            return vec![Line::error("broker", text)];
        }
        Some(Ok((Err(_), _))) | None => {}
    }
    let free = format!("{} is free to use", settings.data_dir.display());
    let mut lines = vec![
        Line::ok("broker", "none answers with this configuration"),
        shards(settings),
        Line::of(
            "data_dir",
            data_dir::may_be_opened(&settings.data_dir).map(|()| free),
        ),
    ];
    let is_free = lines.iter().all(|line| line.finding.level != Level::Error);
    if is_free {
        lines.extend(of_contents(&settings.data_dir));
    }
    for (addr, bound) in preflight::listeners(settings) {
        lines.push(Line::of("ports", bound.map(|()| format!("{addr} is free"))));
    }
    lines
}

pub(crate) fn document(lines: &[Line]) -> Value {
    let worst = lines.iter().map(|line| line.finding.level).max();
    let checks: Vec<_> = lines
        .iter()
        .map(|Line { check, finding }| {
            json!({ "check": check, "level": word(finding.level), "text": finding.text })
        })
        .collect();
    json!({ "checks": checks, "level": word(worst.unwrap_or(Level::Ok)) })
}

// Checks of the running broker, or of the ports needed to start one.

/// Returns the status reported by a running broker, such as `ok` or `draining`. Fails with [`io::ErrorKind::TimedOut`]
/// if a process listens but does not answer, and with another error if nothing listens.
pub(crate) fn status(listener: &AdminListener) -> io::Result<String> {
    let answer = listener.ask("GET", "/ready")?;
    let text = answer.text(STATUS_BYTES_MAX)?;
    let document: Value = serde_json::from_str(&text)?;
    let status = document["status"].as_str().map(plain);
    status.ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// Checks whether a broker is ready. Fails with [`Failure::Fatal`] if it is not ready or does not answer.
pub(crate) fn ready(listener: &AdminListener, out: &mut dyn Write) -> Result<(), Failure> {
    let host = &listener.host;
    match status(listener) {
        Ok(status) if status == READY => write(out, "ready\n"),
        Ok(status) => Err(Failure::Fatal(format!(
            "the broker at http://{host} is not ready: {status}"
        ))),
        Err(error) if error.kind() == io::ErrorKind::TimedOut => Err(Failure::Fatal(format!(
            "the broker at http://{host} does not answer: {error}"
        ))),
        Err(_) => Err(Failure::Fatal(format!(
            "no broker answers at http://{host}: is it running? If its admin listener is elsewhere, name it by --admin \
             URL"
        ))),
    }
}

fn of_running(listener: &AdminListener, status: &str, settings: &Settings) -> Vec<Line> {
    let host = &listener.host;
    let metrics = listener.ask("GET", "/metrics");
    let metrics = metrics.and_then(|answer| answer.text(METRICS_BYTES_MAX));
    let metrics = metrics.unwrap_or_default();
    let version = label(&metrics, "heliograph_build_info", "version").map_or_else(
        || "of a version that is shown with its token alone".to_owned(),
        |version| format!("version {version}"),
    );
    let engine = label(&metrics, "heliograph_engine", "engine");
    let engine = engine.map_or_else(String::new, |engine| format!(", on {engine}"));
    let version = version + &engine;
    let mut lines = vec![match status {
        READY => Line::ok("broker", format!("one runs and is ready, {version}")),
        _ => Line::error(
            "broker",
            format!(
                "one runs, {version}, and is not ready: {status}: `curl -i http://{host}/ready`, and its log"
            ),
        ),
    }];
    for what in labels(&metrics, "heliograph_reload_ok{what=\"", "\"} 0") {
        let text = format!(
            "the reload of the {what} failed, and the former one stays in force, with all that was withdrawn since: \
             see the broker's log, and `heliograph check-config`"
        );
        lines.push(Line::error("reload", text));
    }
    for (needs, by) in [("a restart", "restart"), ("a SIGHUP", "sighup")] {
        let end = format!("\",needs=\"{by}\"}} 1");
        let keys = labels(&metrics, "heliograph_config_waiting{key=\"", &end);
        if !keys.is_empty() {
            let text = format!("the configuration file needs {needs}: {}", keys.join(", "));
            lines.push(Line::warning("reload", text));
        }
    }
    for listen in &settings.listen {
        let addr = reached(listen.addr);
        let reaches = TcpStream::connect_timeout(&addr, CONNECT_MAX);
        lines.push(match reaches {
            Ok(_) => Line::ok("listen", format!("{listen} accepts connections")),
            Err(error) => Line::error(
                "listen",
                format!(
                    "{listen} does not accept connections: {error}: does the broker that runs have this configuration? \
                     `ss -ltnp sport = :{}`",
                    addr.port()
                ),
            ),
        });
    }
    lines
}

/// Returns the label value between `begin` and `end` for each line that starts with `begin` and ends with `end`.
fn labels(metrics: &str, begin: &str, end: &str) -> Vec<String> {
    let lines = metrics.lines();
    let labels = lines.filter_map(|line| line.strip_prefix(begin)?.strip_suffix(end));
    labels.map(plain).collect()
}

/// Returns the value of a label in the first sample of a metric.
fn label(metrics: &str, metric: &str, label: &str) -> Option<String> {
    let mut lines = metrics.lines();
    let labels = lines.find_map(|line| line.strip_prefix(metric)?.strip_prefix('{'))?;
    let (_, rest) = labels.split_once(&format!("{label}=\""))?;
    Some(plain(rest.split_once('"')?.0))
}

const READY: &str = "ok";

const CONNECT_MAX: Duration = Duration::from_secs(2);

/// Maximum number of bytes to read from a status response.
const STATUS_BYTES_MAX: u64 = 4 << 10;
const METRICS_BYTES_MAX: u64 = 16 << 20;

// Checks of the configuration and everything it refers to: credentials, certificate and data directory.

fn of_configuration(config: Option<&Path>, checked: &CheckedConfiguration) -> Vec<Line> {
    let settings = &checked.settings;
    let name = config.map_or_else(
        || "that of `heliograph serve --dev`; name a file by --config".to_owned(),
        |path| format!("{} has no faults", path.display()),
    );
    let mut lines = vec![Line::ok("configuration", name)];
    let notices = checked.notices.iter();
    lines.extend(notices.map(|notice| Line::warning("configuration", notice)));
    if let Some(loaded) = &checked.credentials {
        let count = loaded.credentials.len();
        let warnings = loaded.warnings.iter();
        lines.extend(warnings.map(|warning| Line::warning("credentials", warning)));
        if loaded.warnings.is_empty() {
            lines.push(Line::ok("credentials", counted(count, "principal")));
        }
    }
    lines.extend(of_certificate(settings, &checked.warnings));
    lines.extend((settings.unadvertised()).map(|warning| Line::warning("advertise", warning)));
    lines
}

fn of_certificate(settings: &Settings, warnings: &[String]) -> Vec<Line> {
    let check = "certificate";
    let mut lines: Vec<_> = warnings
        .iter()
        .map(|warning| Line::warning(check, warning))
        .collect();
    let is_used = settings.port(Scheme::Https).is_some();
    let Some(files) = settings.tls.clone().filter(|_| is_used) else {
        let text = match is_used {
            true => "the development certificate: made at the start, for this machine's names",
            false => "none, since there is no listener with TLS",
        };
        lines.push(Line::ok(check, text));
        return lines;
    };
    let now = SystemTime::now();
    match TlsLoader::new(files).and_then(|mut loader| loader.load(now)) {
        Err(why) => lines.push(Line::error(check, why)),
        Ok(presented) => {
            for expiry in &presented.expiries {
                match expiry.notice(now) {
                    Some((_, notice)) if warnings.iter().any(|it| it.contains(&*notice)) => {}
                    Some((_, notice)) => lines.push(Line::warning(check, notice)),
                    None => lines.push(Line::ok(check, expiry.text())),
                }
            }
        }
    }
    lines
}

/// Checks how much space is free on the data directory's file system, and how long an fsync takes.
fn of_data_dir(data_dir: &Path) -> Vec<Line> {
    let Some(place) = existing(data_dir) else {
        let text = format!("{} has no parent that exists", data_dir.display());
        return vec![Line::error("disk", text)];
    };
    let state = statvfs(place).ok();
    let free = state.map(|state| state.f_bavail.saturating_mul(state.f_frsize));
    let disk = free.map(|free| room(free, place));
    let fsync = match fsync_time(place) {
        Ok(time) => fsync(time),
        Err(error) => {
            let text = format!("{}: must be writable: {error}", place.display());
            Line::error("fsync", text)
        }
    };
    disk.into_iter().chain([fsync]).collect()
}

fn room(free: u64, place: &Path) -> Line {
    let text = format!("{} MiB free at {}", free >> 20, place.display());
    let remedy = "make room, or name a place on another disk by data_dir";
    match free {
        0..FREE_LEAST => Line::error(
            "disk",
            format!("{text}: too little for the store: {remedy}"),
        ),
        FREE_LEAST..FREE_USUAL => Line::warning(
            "disk",
            format!("{text}: soon too little for the store: {remedy}"),
        ),
        _ => Line::ok("disk", text),
    }
}

fn fsync(time: Duration) -> Line {
    let ms = time.as_secs_f64() * 1_000.0;
    let text = format!("{ms:.1} ms, which each change of a channel waits for");
    if time <= FSYNC_MAX {
        return Line::ok("fsync", text);
    }
    let remedy = "name a place on another disk by data_dir, or end what else writes there";
    Line::warning("fsync", format!("{text}: {remedy}"))
}

/// Checks that a broker could read the stored channels and the key for temporary credentials, if any, at startup.
fn of_contents(data_dir: &Path) -> Vec<Line> {
    let mut lines = Vec::new();
    let file = data_dir.join("store.redb");
    if file.exists() {
        lines.push(match Store::verify(data_dir) {
            Ok(()) => Line::ok("store", format!("{} is sound", file.display())),
            Err(error) => Line::error("store", error.to_string()),
        });
    }
    let key = data_dir.join(session_key::NAME);
    if key.exists()
        && let Err(error) = session_key::text(data_dir)
    {
        lines.push(Line::error(
            "data_dir",
            format!("{}: {error}", key.display()),
        ));
    }
    lines
}

fn existing(data_dir: &Path) -> Option<&Path> {
    let named = |path: &&Path| !path.as_os_str().is_empty();
    let mut above = data_dir.ancestors().filter(named);
    above
        .find(|path| path.is_dir())
        .or_else(|| data_dir.is_relative().then_some(Path::new(".")))
}

fn fsync_time(place: &Path) -> io::Result<Duration> {
    let path = place.join(format!(".heliograph-doctor-{}", std::process::id()));
    let mut options = File::options();
    let mut file = options.create_new(true).write(true).open(&path)?;
    let mut once = || {
        let began = Instant::now();
        file.write_all(&[0; 4096])?;
        file.sync_data()?;
        Ok(began.elapsed())
    };
    let times: io::Result<Vec<_>> = (0..FSYNCS).map(|_| once()).collect();
    fs::remove_file(&path)?;
    let mut times = times?;
    times.sort_unstable();
    Ok(times.get(FSYNCS / 2).copied().unwrap_or_default())
}

/// Free space, in bytes, below which the check warns. Enough for the store, its copy during compaction, and several
/// years of growth for a small fleet.
const FREE_USUAL: u64 = 1 << 30;

/// Free space, in bytes, below which the disk is considered full.
const FREE_LEAST: u64 = 64 << 20;

const FSYNCS: usize = 5;

/// fsync latency above which the check warns. A slower disk is probably rotational or busy.
const FSYNC_MAX: Duration = Duration::from_millis(50);

// Checks of the machine: kernel, process limits, CPUs and clock.

/// Checks the kernel release, and whether an io_uring with the broker's flags can be created.
fn of_kernel(engine: EngineChoice) -> Vec<Line> {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease");
    let release = release.unwrap_or_else(|_| "of an unknown release".into());
    let check = "io_uring";
    let ring = match (preflight::io_uring(), engine) {
        (Ok(()), EngineChoice::Auto | EngineChoice::IoUring) => {
            Line::ok(check, "a ring with the broker's flags can be made")
        }
        (Ok(()), EngineChoice::Epoll) => Line::ok(check, "it is available; engine = \"epoll\""),
        (Err(_), EngineChoice::Epoll) => Line::ok(check, "it is not needed: engine = \"epoll\""),
        (Err(why), EngineChoice::Auto) => {
            Line::warning(check, format!("shards use epoll in its place: {why}"))
        }
        (Err(why), EngineChoice::IoUring) => Line::error(check, why),
    };
    vec![
        Line::ok("kernel", format!("Linux {}", release.trim())),
        ring,
    ]
}

pub(crate) fn descriptors(settings: &Settings) -> Line {
    let check = "descriptors";
    let wanted = settings.limits.connections;
    match preflight::descriptors(settings) {
        // A limit that allows nine tenths of the configured connections is close enough. On development machines, any
        // limit is accepted.
        Ok(room) if room >= wanted / 10 * 9 || settings.dev => {
            Line::ok(check, format!("room for {room} connections"))
        }
        Ok(room) => Line::warning(
            check,
            format!(
                "the limit of open files leaves room for {room} connections, limits.connections allows {wanted}: raise \
                 it (`ulimit -Hn {}`, LimitNOFILE= in the unit, --ulimit nofile= of the container), or lower \
                 limits.connections",
                // In addition to `DESCRIPTORS_BESIDE`, the broker keeps a twentieth of the descriptors free.
                wanted.saturating_mul(20) / 19 + DESCRIPTORS_BESIDE
            ),
        ),
        Err(failure) => Line::error(check, failure.to_string()),
    }
}

/// Checks the limits on locked memory, threads and total memory by creating the configured shards.
pub(crate) fn shards(settings: &Settings) -> Line {
    let (check, wanted) = ("locked memory", settings.shards);
    match preflight::shards(settings) {
        Ok((room, EngineChoice::Epoll)) => {
            let text = format!("none is needed: {} on epoll", counted(room, "shard"));
            Line::ok(check, text)
        }
        Ok((room, _)) if room >= wanted => {
            Line::ok(check, format!("room for {}", counted(room, "shard")))
        }
        Ok((room, _)) => Line::warning(
            check,
            format!(
                "room for {room} of {wanted} shards: raise its limit (`ulimit -Hl`, LimitMEMLOCK= in the unit, \
                 --ulimit memlock= of the container), or start with --shards {room}"
            ),
        ),
        Err(failure) => Line::error(check, failure.to_string()),
    }
}

/// Compares the number of shards with the CPUs that the process may use and with the CPU quota of its cgroup.
fn cpus_line(settings: &Settings, cpus: &Cpus) -> Line {
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

/// Checks whether systemd considers the clock synchronized, since signatures and certificates depend on the time.
pub(crate) fn clock() -> Line {
    let check = "clock";
    match timedatectl(&["show", "--property=NTPSynchronized", "--value"]) {
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

/// Runs `timedatectl` and returns the beginning of its output. Returns `None` if it fails or takes too long.
fn timedatectl(arguments: &[&str]) -> Option<String> {
    let mut command = Command::new("timedatectl");
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

/// Number of descriptors, apart from connections, that a process with few shards needs. Used to suggest a limit.
const DESCRIPTORS_BESIDE: usize = 1_024;

const ANSWER_MAX: Duration = Duration::from_secs(2);
const LOOK_EVERY: Duration = Duration::from_millis(10);

const ANSWER_BYTES_MAX: u64 = 256;

pub(crate) struct Line {
    pub(crate) check: &'static str,
    pub(crate) finding: Finding,
}

impl Line {
    pub(crate) fn ok(check: &'static str, text: impl Into<String>) -> Self {
        let finding = crate::terminal::ok(text);
        Self { check, finding }
    }

    pub(crate) fn warning(check: &'static str, text: impl Into<String>) -> Self {
        let finding = crate::terminal::warning(text);
        Self { check, finding }
    }

    pub(crate) fn error(check: &'static str, text: impl Into<String>) -> Self {
        let finding = crate::terminal::error(text);
        Self { check, finding }
    }

    pub(crate) fn of(check: &'static str, done: Result<String, Failure>) -> Self {
        match done {
            Ok(text) => Self::ok(check, text),
            Err(failure) => Self::error(check, failure.to_string()),
        }
    }

    pub(crate) fn text(&self, screen: Screen) -> String {
        let level = self.finding.level;
        let text = plain(&self.finding.text);
        let line = format!("{:<4}  {:<13}  {text}", word(level), self.check);
        let shown = screen.wrapped(&line, TEXT_COLUMN);
        let (word, rest) = shown.split_at_checked(4).unwrap_or((&shown, ""));
        let colour = match level {
            Level::Ok => Colour::Green,
            Level::Warning => Colour::Yellow,
            Level::Error => Colour::Red,
        };
        format!("{}{rest}\n", screen.paint(colour, word))
    }
}

const TEXT_COLUMN: usize = 21;

pub(crate) const fn word(level: Level) -> &'static str {
    match level {
        Level::Ok => "ok",
        Level::Warning => "warn",
        Level::Error => "fail",
    }
}

#[cfg(test)]
mod files_tests {
    use super::*;
    use crate::terminal::Level;

    #[test]
    fn little_room_and_a_slow_disk_are_said() {
        let level = |free| room(free, Path::new("/")).finding.level;
        assert_eq!(level(FREE_LEAST - 1), Level::Error);
        assert_eq!(level(FREE_LEAST), Level::Warning);
        assert_eq!(level(FREE_USUAL), Level::Ok);
        assert_eq!(fsync(FSYNC_MAX).finding.level, Level::Ok);
        assert_eq!(fsync(FSYNC_MAX * 2).finding.level, Level::Warning);
    }

    #[test]
    fn the_nearest_directory_that_exists_is_looked_at() {
        let here = std::env::temp_dir();
        assert_eq!(existing(&here), Some(here.as_path()));
        let further = here.join("absent-by-name").join("data");
        assert_eq!(existing(&further), Some(here.as_path()));
        assert_eq!(existing(Path::new("absent-by-name")), Some(Path::new(".")));
    }
}
