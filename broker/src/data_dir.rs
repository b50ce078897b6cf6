//! The data directory. It is created if it does not exist. It is private, and only one process at a time can lock it.
//!
//! ```text
//!  directory    0700; under --dev 0711, so that other users can read dev-ca.pem
//!  files        0600; dev-ca.pem 0644
//! ```
//! File modes do not depend on the umask. If an earlier version of the broker or a copy of the directory has left modes
//! that are too permissive, startup restricts them. A directory that also contains unrelated files keeps its mode,
//! since those files may be meant for other users.

use crate::dev_certificate;
use crate::failure::Failure;
use rustix::process::geteuid;
use std::fs::{self, DirBuilder, File, Permissions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;
use store::Lock;

/// A locked data directory. The system releases the lock when the process exits, for whatever reason.
#[derive(Debug)]
pub(crate) struct DataDir {
    path: PathBuf,
    _lock: Lock,
    /// Whether the directory is temporary. If so, it is removed when the process exits.
    ends: bool,
}

impl Drop for DataDir {
    fn drop(&mut self) {
        if self.ends
            && let Err(error) = fs::remove_dir_all(&self.path)
        {
            tracing::warn!(path = %self.path.display(), %error, "the data directory could not be removed");
        }
    }
}

impl DataDir {
    /// Creates the directory if it does not exist, revokes excess permissions of other users, and locks it. Fails with
    /// [`Failure::Configuration`] if the directory belongs to another user or cannot be created or written to, and with
    /// [`Failure::Fatal`] if another process holds the lock.
    pub(crate) fn open(path: &Path, reach: OtherUsers) -> Result<Self, Failure> {
        make(path, reach).map_err(|error| unusable(path, &error))?;
        check_owner(path)?;
        let locked = Self::lock(path, false)?;
        tighten(path, reach);
        Ok(locked)
    }

    /// Locks a stopped broker's directory, for a command that reads it. Fails with [`Failure::Configuration`] if the
    /// directory is not writable, and with [`Failure::Fatal`] if another process holds the lock.
    pub(crate) fn of_stopped(path: &Path) -> Result<Self, Failure> {
        Self::lock(path, false)
    }

    /// Creates a private directory that is removed when the process exits. If it cannot be created at `path`, uses the
    /// first writable directory of `others` instead, with the same name, and logs the location. If no location is
    /// writable, fails with a [`Failure::Fatal`] that states the reason for each location.
    pub(crate) fn temporary(path: &Path, others: &[PathBuf]) -> Result<Self, Failure> {
        let name = path.file_name().unwrap_or_default();
        let others = others.iter().map(|parent| parent.join(name));
        let mut refused = String::new();
        for place in std::iter::once(path.to_owned()).chain(others) {
            match make_private(&place) {
                Ok(()) => {
                    if !refused.is_empty() {
                        let place = place.display();
                        tracing::warn!(
                            "--data-dir :memory: is not in memory: {refused}; its files are in {place}"
                        );
                    }
                    return Self::lock(&place, true);
                }
                Err(error) => {
                    let parent = place.parent().unwrap_or(&place).display();
                    let comma = if refused.is_empty() { "" } else { ", " };
                    refused.push_str(&format!("{comma}{parent} cannot be written ({error})"));
                }
            }
        }
        Err(Failure::Fatal(format!(
            "--data-dir :memory: has no place: {refused}: it needs a directory with {} KiB free: make one writable, \
             set TMPDIR, or name a directory by --data-dir",
            ROOM_BYTES / 1024
        )))
    }

    fn lock(path: &Path, ends: bool) -> Result<Self, Failure> {
        let lock = Lock::take(&path.join("lock")).map_err(|error| not_locked(path, error))?;
        Ok(Self {
            path: path.into(),
            _lock: lock,
            ends,
        })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

/// Access of other users to a data directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OtherUsers {
    Nothing,
    /// Other users can open readable files whose path they know. The only such file contains the development CA
    /// certificate.
    Known,
}

impl OtherUsers {
    const fn mode(self) -> u32 {
        match self {
            Self::Nothing => 0o700,
            Self::Known => 0o711,
        }
    }
}

fn unusable(path: &Path, error: &io::Error) -> Failure {
    let name = path.display();
    Failure::Configuration(format!(
        "data_dir = {name}: must be a directory that can be created and written: {error}"
    ))
}

fn make(path: &Path, reach: OtherUsers) -> io::Result<()> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    match DirBuilder::new().mode(reach.mode()).create(path) {
        // The umask may have removed bits from the directory's mode.
        Ok(()) => set_mode(path, reach.mode()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => fs::create_dir_all(path),
        Err(error) => Err(error),
    }
}

/// Returns whether a process that runs as `own` may store its data in a directory owned by `owner`. Root is accepted as
/// the owner, since root can read everything anyway, and since volumes mounted for a group belong to root (`fsGroup` in
/// Kubernetes).
fn may_use(own: u32, owner: u32) -> bool {
    owner == own || owner == ROOT
}

fn check_owner(path: &Path) -> Result<(), Failure> {
    let owner = fs::metadata(path)
        .map_err(|error| unusable(path, &error))?
        .uid();
    let own = geteuid().as_raw();
    if may_use(own, owner) {
        return Ok(());
    }
    let name = path.display();
    Err(Failure::Configuration(format!(
        "data_dir = {name}: must belong to the broker's user, whose number is {own}, or to root: it belongs to user \
         {owner}: start the broker as that user, chown the directory, or name another one by --data-dir"
    )))
}

/// Checks that [`DataDir::open`] would accept a directory, without creating anything. The directory need not exist.
/// Fails like [`DataDir::open`].
pub(crate) fn may_be_opened(path: &Path) -> Result<(), Failure> {
    if !path.exists() {
        return Ok(());
    }
    check_owner(path)?;
    match File::open(path.join("lock")) {
        Ok(file) => Lock::of(file)
            .map(drop)
            .map_err(|error| not_locked(path, error)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(unusable(path, &error)),
    }
}

fn not_locked(path: &Path, error: TryLockError) -> Failure {
    match error {
        TryLockError::WouldBlock => Failure::Fatal(format!(
            "the data directory {} is in use by another process: stop that one, or give this one another --data-dir",
            path.display()
        )),
        TryLockError::Error(error) => unusable(path, &error),
    }
}

/// Removes permissions that other users should not have, and logs a line if there were any.
fn tighten(path: &Path, reach: OtherUsers) {
    let mut taken = Vec::new();
    for name in FILES {
        let file = path.join(name);
        if fs::symlink_metadata(&file).is_ok_and(|found| found.is_file()) {
            taken.extend(narrowed(&file, PRIVATE_FILE, name));
        }
    }
    if is_for_the_broker_alone(path) {
        taken.extend(narrowed(path, reach.mode(), "the directory"));
    } else if fs::metadata(path).is_ok_and(|found| found.mode() & !reach.mode() & 0o777 != 0) {
        tracing::warn!(
            "data_dir = {}: other users can enter it, and it contains files that are not the broker's: give the \
             broker a directory of its own, or chmod 700",
            path.display()
        );
    }
    if !taken.is_empty() {
        let taken = taken.join(", ");
        tracing::info!(data_dir = %path.display(), "other users could read private files of the broker: {taken}");
    }
}

fn narrowed(path: &Path, most: u32, name: &str) -> Option<String> {
    let mode = fs::metadata(path).ok()?.mode() & 0o7777;
    let narrow = mode & (most | 0o7000);
    if narrow == mode {
        return None;
    }
    Some(match set_mode(path, narrow) {
        Ok(()) => format!("{name}: mode {mode:04o} changed to {narrow:04o}"),
        Err(error) => format!("{name} has mode {mode:04o}, which cannot be changed ({error})"),
    })
}

/// Sets the mode through a descriptor, since `seccomp.json` forbids changing modes by path.
fn set_mode(path: &Path, mode: u32) -> io::Result<()> {
    File::open(path)?.set_permissions(Permissions::from_mode(mode))
}

/// Returns whether a directory contains only the broker's files and entries that the file system itself creates.
fn is_for_the_broker_alone(path: &Path) -> bool {
    let Ok(mut entries) = fs::read_dir(path) else {
        return false;
    };
    entries.all(|entry| {
        let name = entry.map(|entry| entry.file_name()).unwrap_or_default();
        name == "lost+found"
            || name == dev_certificate::AUTHORITY
            || FILES.iter().any(|file| name == *file)
    })
}

fn make_private(path: &Path) -> io::Result<()> {
    remove_leftovers(path);
    DirBuilder::new()
        .mode(OtherUsers::Nothing.mode())
        .create(path)?;
    let room = path.join("room");
    let written = fs::write(&room, vec![0; ROOM_BYTES]).and_then(|()| fs::remove_file(&room));
    if written.is_err() {
        let _ = fs::remove_dir_all(path);
    }
    written
}

/// Returns the locations for `--data-dir :memory:` on machines without an in-memory file system.
pub(crate) fn places_on_disk() -> Vec<PathBuf> {
    let mut places = vec![std::env::temp_dir(), PathBuf::from("/tmp")];
    places.dedup(); // equal if TMPDIR is not set
    places
}

fn remove_leftovers(path: &Path) {
    let entries = path.parent().and_then(|parent| fs::read_dir(parent).ok());
    for entry in entries.into_iter().flatten().flatten() {
        let name = entry.file_name();
        let process = name.to_str().and_then(process_of);
        let gone = process.is_some_and(|id| !Path::new(&format!("/proc/{id}")).exists());
        if gone && is_left(&entry.path()) {
            let _ = fs::remove_dir_all(entry.path()); // fails for directories of other users
        }
    }
}

/// Extracts the process id from a temporary directory's name. Such a name consists of `heliograph-`, the process id,
/// and the process's start time in nanoseconds. Permanent directories never have such a name.
fn process_of(name: &str) -> Option<u32> {
    let (process, started) = name.strip_prefix("heliograph-")?.split_once('-')?;
    let digits = started.len() >= 18 && started.bytes().all(|byte| byte.is_ascii_digit());
    process.parse().ok().filter(|_| digits)
}

/// Returns whether a data directory is unlocked. A process id is not enough to determine this, since a process in
/// another container may share the file system but not the process ids.
fn is_left(path: &Path) -> bool {
    let is_dir = fs::symlink_metadata(path).is_ok_and(|found| found.is_dir());
    let lock = path.join("lock");
    // Opening anything other than a regular file may block.
    let is_file = fs::symlink_metadata(&lock).map(|found| found.is_file());
    match is_file {
        Err(error) => is_dir && error.kind() == io::ErrorKind::NotFound && is_old(path),
        Ok(is_file) => {
            is_dir && is_file && File::open(&lock).is_ok_and(|file| Lock::of(file).is_ok())
        }
    }
}

/// Returns whether an unlocked directory is older than [`STARTED_WITHIN`]. A younger directory may be about to be
/// locked by the process that created it.
fn is_old(path: &Path) -> bool {
    let made = fs::metadata(path).and_then(|found| found.modified());
    made.is_ok_and(|made| made.elapsed().is_ok_and(|age| age > STARTED_WITHIN))
}

const FILES: [&str; 29] = [
    "lock",
    "store.redb",
    "store.redb.new",
    "store.lock",
    "store.room",
    "session.key",
    "session.key.part",
    "admin.token",
    "admin.token.part",
    "presence.epoch",
    "presence.epoch.part",
    "dev-cert.pem",
    "dev-key.pem",
    "dev-rsa-cert.pem",
    "dev-rsa-cert.pem.part",
    "dev-rsa-key.pem",
    "dev-rsa-key.pem.part",
    "dev-ca.pem.part",
    "device-ca.pem",
    "device-ca.pem.part",
    "device-ca.key",
    "device-ca.key.part",
    "oidc-keys.json",
    "oidc-keys.json.part",
    "history.ring",
    "history.notes",
    "cluster.lock",
    "cluster.json",
    "cluster.json.new",
];

const PRIVATE_FILE: u32 = 0o600;

const ROOT: u32 = 0;

/// Minimum free space in bytes. Enough for the keys, the certificates and the first records of a test broker.
const ROOM_BYTES: usize = 256 * 1024;

/// Maximum time between creating a directory and locking it.
const STARTED_WITHIN: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    /// A process id that is greater than any that Linux assigns.
    const NOBODY: u32 = u32::MAX;

    #[test]
    fn directories_of_killed_processes_are_removed_and_nothing_else() {
        let parent = testkit::Directory::temporary();
        let make = |name: &str, locked: bool| {
            let path = parent.join(name);
            fs::create_dir(&path).unwrap();
            if locked {
                fs::write(path.join("lock"), "").unwrap();
            }
            path
        };
        let killed = make(&format!("heliograph-{NOBODY}-1795236066869557548"), true);
        let served = make(&format!("heliograph-{NOBODY}-1795236066869557549"), true);
        let lock = File::open(served.join("lock")).unwrap();
        lock.try_lock().unwrap();
        #[rustfmt::skip] // a table, a case per row
        let others = [
            served,
            make(&format!("heliograph-{NOBODY}-1795236066869557550"), false),
            make(&format!("heliograph-{NOBODY}-data"), true),
            make(&format!("heliograph-{NOBODY}"), true),
            make(&format!("heliograph-{}-1795236066869557551", std::process::id()), true),
        ];
        let (link, target) = (
            parent.join(format!("heliograph-{NOBODY}-1795236066869557552")),
            make("target", true),
        );
        symlink(&target, &link).unwrap();
        let started = DataDir::temporary(&parent.join("heliograph-1-1"), &[]).unwrap();
        assert!(!killed.exists(), "its process was killed");
        for other in others.iter().chain([&link, &target]) {
            assert!(other.exists(), "{} stays", other.display());
        }
        let own = started.path().to_owned();
        drop(started);
        assert!(!own.exists(), "it ends with the process");
    }

    #[test]
    fn a_directory_is_used_by_its_owner_and_one_of_root_by_all_who_may_write_it() {
        for (own, owner, may) in [
            (0, 0, true),
            (1000, 1000, true),
            (1000, 0, true),
            (0, 1000, false),
            (1000, 1001, false),
        ] {
            assert_eq!(may_use(own, owner), may, "{own} {owner}");
        }
    }

    #[test]
    fn a_directory_with_other_files_keeps_its_mode_and_the_files_of_the_broker_are_closed() {
        let path = testkit::Directory::temporary();
        let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o7777;
        let open_to = |path: &Path, mode| fs::set_permissions(path, Permissions::from_mode(mode));
        for (name, before) in [
            ("store.redb", 0o644),
            ("notes", 0o644),
            ("dev-ca.pem", 0o644),
        ] {
            fs::write(path.join(name), "").unwrap();
            open_to(&path.join(name), before).unwrap();
        }
        open_to(&path, 0o755).unwrap();
        // A symbolic link that leads out of the directory must not be followed.
        symlink(path.join("notes"), path.join("session.key")).unwrap();
        tighten(&path, OtherUsers::Nothing);
        for (name, after) in [
            ("store.redb", 0o600),
            ("notes", 0o644),
            ("dev-ca.pem", 0o644),
        ] {
            assert_eq!(mode(&path.join(name)), after, "{name}");
        }
        assert_eq!(mode(&path), 0o755);
        fs::remove_file(path.join("notes")).unwrap();
        tighten(&path, OtherUsers::Known);
        assert_eq!(mode(&path), 0o711);
        open_to(&path, 0o2775).unwrap();
        tighten(&path, OtherUsers::Nothing);
        assert_eq!(mode(&path), 0o2700);
    }

    #[test]
    fn a_place_that_cannot_be_written_is_passed_over_and_none_is_an_error_with_all() {
        let parent = testkit::Directory::temporary();
        let (absent, full) = (parent.join("absent"), PathBuf::from("/dev/full"));
        let own = absent.join("heliograph-1-2");
        let started = DataDir::temporary(&own, &[full.clone(), parent.to_path_buf()]).unwrap();
        assert_eq!(started.path(), parent.join("heliograph-1-2"));
        assert_eq!(fs::read_dir(started.path()).unwrap().count(), 1, "the lock");
        drop(started);
        assert_eq!(fs::read_dir(&parent).unwrap().count(), 0);
        let error = DataDir::temporary(&own, &[full]).unwrap_err().to_string();
        for part in ["absent cannot be written (", "/dev/full cannot", "TMPDIR"] {
            assert!(error.contains(part), "{error}");
        }
    }
}
