//! The configuration and what it names: credentials, certificate, data directory.

use crate::config::ConfigError;
use crate::data_dir::{self, session_key};
use crate::doctor::line::Line;
use crate::finding::counted;
use crate::server::Checked;
use crate::tls_files::TlsLoader;
use broker_core::settings::{Scheme, Settings};
use rustix::fs::statvfs;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};
use store::Store;

/// The faults for which a start would be refused.
pub(crate) fn faults(error: &ConfigError) -> Vec<Line> {
    let text = error.to_string();
    let lines = text.lines();
    lines
        .map(|line| Line::error("configuration", line))
        .collect()
}

/// A configuration without faults.
pub(crate) fn of_configuration(config: Option<&Path>, checked: &Checked) -> Vec<Line> {
    let settings = &checked.settings;
    let name = config.map_or_else(
        || "that of `heliograph serve --dev`; name a file by --config".to_owned(),
        |path| format!("{} has no faults", path.display()),
    );
    let mut lines = vec![Line::ok("configuration", name)];
    if let Some(loaded) = &checked.credentials {
        let count = loaded.credentials.len();
        let warnings = loaded.warnings.iter();
        lines.extend(warnings.map(|warning| Line::warning("credentials", warning)));
        if loaded.warnings.is_empty() {
            lines.push(Line::ok("credentials", counted(count, "principal")));
        }
    }
    lines.extend(of_certificate(settings, &checked.warnings));
    lines
}

/// The certificate that TLS listeners present, its names and its end.
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
        Ok(presented) => match presented.expiry.notice(now) {
            Some((_, notice)) if warnings.iter().any(|it| it.contains(&*notice)) => {}
            Some((_, notice)) => lines.push(Line::warning(check, notice)),
            None => lines.push(Line::ok(check, presented.expiry.text())),
        },
    }
    lines
}

/// Room on the file system of the data directory, and how long it takes to write for good.
pub(crate) fn of_data_dir(data_dir: &Path) -> Vec<Line> {
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

/// Whether a start could have the data directory.
pub(crate) fn of_lock(data_dir: &Path) -> Line {
    let free = || format!("{} is free to use", data_dir.display());
    Line::of(
        "data_dir",
        data_dir::may_be_opened(data_dir).map(|()| free()),
    )
}

/// Whether a start could read the channels and the key of temporary credentials, where a directory has them.
pub(crate) fn of_contents(data_dir: &Path) -> Vec<Line> {
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

/// The directory, or the nearest one above it that exists.
fn existing(data_dir: &Path) -> Option<&Path> {
    let named = |path: &&Path| !path.as_os_str().is_empty();
    let mut above = data_dir.ancestors().filter(named);
    above
        .find(|path| path.is_dir())
        .or_else(|| data_dir.is_relative().then_some(Path::new(".")))
}

/// The middle one of some times in which bytes in a new file are on the disk.
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

/// The store, its copy while it is made smaller, and some years of growth of a small fleet.
const FREE_USUAL: u64 = 1 << 30;

/// Less than this is full.
const FREE_LEAST: u64 = 64 << 20;

/// The number of times.
const FSYNCS: usize = 5;

/// More than this is a disk that turns, or that others keep busy.
const FSYNC_MAX: Duration = Duration::from_millis(50);

#[cfg(test)]
mod tests {

    use super::*;
    use crate::finding::Level;

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
