//! `heliograph backup DIR`: writes a data directory that a broker can be started from. The backup is a consistent
//! snapshot, taken from a running broker or from the data directory of a stopped one.
//!
//! ```text
//! running:  POST /backup ──► backup_stream: rows ────┐
//! stopped:  data directory, locked, verified ────────┴─► DIR.partial-PID/{store.redb, session.key, presence.epoch}
//!                                                        ──► verified ──► synced ──► DIR
//! ```
//! The broker never writes to a path taken from a request. Instead, the command writes the files, with the permissions
//! of the user who runs it. A backup contains the registry, the key for temporary credentials and the last presence
//! epoch, but no files that operators maintain, such as the configuration, credentials or certificates.

use crate::backup_stream::{self, Part, Reader};
use crate::failure::Failure;
use crate::{
    admin_client::AdminListener, commands::PartialFolder, config::BackupFlags, data_dir::DataDir,
};
use crate::{presence_epoch, registry, session_key};
use serde_json::json;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// Makes a backup and returns a message that ends with a newline.
///
/// # Errors
/// Returns [`Failure::Configuration`] for invalid flags or arguments, and [`Failure::Fatal`] if the backup fails.
/// Either way, no directory is left behind, not even a partial one.
pub fn run(flags: &BackupFlags) -> Result<String, Failure> {
    let directory = flags.directory.display();
    let folder = PartialFolder::begin(&flags.directory).map_err(|error| {
        Failure::Configuration(format!(
            "{directory}: must be a directory that is absent or empty, in one that can be written: {error}"
        ))
    })?;
    let copied = match &flags.data_dir {
        Some(data_dir) => stopped(data_dir, &folder)?,
        None => running(flags, &folder)?,
    };
    let (channels, last) = (copied.channels, copied.epoch);
    let key = match copied.key {
        Ok(_) | Err(_) if flags.without_session_key => None,
        Ok(key) => Some(key),
        Err(why) => {
            return Err(Failure::Fatal(format!(
                "the key of temporary credentials cannot be read: {why}: run the command as the broker's user, or with \
                 the --token-file of its admin listener; or leave the key out with --without-session-key, which ends \
                 temporary credentials at a restore"
            )));
        }
    };
    let unwritten = |error: io::Error| {
        Failure::Fatal(format!(
            "{directory}: the backup cannot be written: {error}"
        ))
    };
    if let Some(key) = &key {
        let written = folder.write(session_key::NAME, key.as_bytes());
        written.map_err(unwritten)?;
    }
    if let Some(last) = last {
        let written = folder.write(presence_epoch::NAME, presence_epoch::text(last).as_bytes());
        written.map_err(unwritten)?;
    }
    verify(&folder, channels)?;
    folder.finish().map_err(unwritten)?;
    let with_key = key.is_some();
    Ok(if flags.json {
        let text =
            json!({ "directory": flags.directory, "channels": channels, "sessionKey": with_key });
        format!("{text}\n")
    } else {
        let and = if with_key {
            " and the session key"
        } else {
            ", no session key"
        };
        format!("{directory}: {channels} channels{and}\n")
    })
}

/// The parts of a backup that have not been written to its folder yet. The folder already contains the channels.
struct Copied {
    channels: u64,
    /// The key for temporary credentials, or the reason why it cannot be read.
    key: Result<Zeroizing<String>, String>,
    epoch: Option<u64>,
}

fn key_of(data_dir: &Path) -> Result<Zeroizing<String>, String> {
    let path = data_dir.join(session_key::NAME);
    session_key::text(data_dir).map_err(|error| format!("{}: {error}", path.display()))
}

/// Requests a backup from the admin listener of a running broker (`POST /backup`), and stores its rows.
fn running(flags: &BackupFlags, folder: &PartialFolder) -> Result<Copied, Failure> {
    let listener = AdminListener::of(&flags.asked)?;
    let host = &listener.host;
    let answer = listener.ask("POST", "/backup").map_err(|error| {
        Failure::Fatal(format!(
            "the broker at http://{host} does not answer: {error}: if none runs, copy its directory with --data-dir \
             DIR; if its admin listener is elsewhere, name it by --admin URL"
        ))
    })?;
    if answer.status != "200" {
        return Err(listener.refusal(answer)?.into());
    }
    let is_local = answer.peer.ip().is_loopback();
    let data_dir = answer.header(backup_stream::DATA_DIR_HEADER);
    let data_dir = data_dir.filter(|_| is_local).map(PathBuf::from);
    let epoch = answer.header(backup_stream::EPOCH_HEADER);
    let epoch = epoch.and_then(|epoch| epoch.parse().ok());
    let (mut sent, mut rows) = (None, 0);
    let made = Reader::new(answer.body).and_then(|mut reader| {
        store::create(folder.path(), &mut |insert| {
            loop {
                match reader.next()? {
                    Part::SessionKey(text) => sent = Some(Zeroizing::new(text.to_owned())),
                    Part::Row(key, value) => insert(key, value)?,
                    Part::End(count) => {
                        rows = count;
                        return Ok(());
                    }
                }
            }
        })
    });
    made.map_err(|error| Failure::Fatal(format!("no backup from http://{host}: {error}")))?;
    let key = match (sent, data_dir) {
        (Some(text), _) => Ok(text),
        (None, Some(data_dir)) => key_of(&data_dir),
        (None, None) => Err("the broker gives it only to clients that show its token".into()),
    };
    Ok(Copied {
        channels: rows,
        key,
        epoch,
    })
}

fn stopped(data_dir: &Path, folder: &PartialFolder) -> Result<Copied, Failure> {
    if !data_dir.join("store.redb").is_file() {
        return Err(Failure::Configuration(format!(
            "--data-dir {}: must be the data directory of a broker, with its store.redb",
            data_dir.display()
        )));
    }
    let _locked = DataDir::of_stopped(data_dir)?;
    let store =
        registry::open(data_dir, |_| {}).map_err(|error| Failure::Fatal(error.to_string()))?;
    let mut rows = 0;
    let made = store
        .snapshot()
        .map_err(io::Error::other)
        .and_then(|mut snapshot| {
            store::create(folder.path(), &mut |insert| {
                let mut failed = None;
                let read = snapshot.read(|key, value| {
                    rows += 1;
                    failed = insert(key, value).err();
                    failed.is_none()
                });
                match (read, failed) {
                    (Ok(_), None) => Ok(()),
                    (_, Some(error)) => Err(error),
                    (Err(error), None) => Err(io::Error::other(error)),
                }
            })
        });
    made.map_err(|error| {
        Failure::Fatal(format!(
            "{}: the backup cannot be written: {error}",
            data_dir.display()
        ))
    })?;
    Ok(Copied {
        channels: rows,
        key: key_of(data_dir),
        epoch: presence_epoch::kept(data_dir)?,
    })
}

/// Opens the backup as a broker would at startup, to check that it is usable.
fn verify(folder: &PartialFolder, channels: u64) -> Result<(), Failure> {
    let mut found = 0;
    let opened = registry::open(folder.path(), |_| found += 1);
    drop(opened.map_err(|error| Failure::Fatal(format!("the backup is invalid: {error}")))?);
    if found != channels {
        let text = format!("the backup is incomplete: {found} of {channels} channels are in it");
        return Err(Failure::Fatal(text));
    }
    // Opening the copy leaves a lock file behind.
    fs::remove_file(folder.path().join("store.lock"))
        .map_err(|error| Failure::Fatal(format!("the backup cannot be written: {error}")))
}
