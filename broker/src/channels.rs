//! `heliograph channels`: imports channels from the cloud service, and exports channels, in the AWS CLI's JSON format.
//!
//! ```text
//!  FILE… ─► channel_documents (checked whole) ─► compared with the data directory ─► one commit
//!                       └─────► POST /import of a running broker: the same steps
//!  data directory ─► channel_documents ─► stdout
//! ```
//! Devices and apps store ARNs. An imported channel therefore keeps its ARN, including the creation time in it.

use crate::channel_documents::{self, WantedChannels, differences, gather, gather_text};
use crate::config::{AdminFlags, ChannelsCommand, ChannelsFlags};
use crate::data_dir::{DataDir, OtherUsers};
use crate::registry;
use crate::terminal::{self, counted};
use crate::{admin_client::AdminListener, failure::Failure};
use broker_core::registry::{encode, key};
use broker_core::{limits::IMPORTED_MAX, record::Record};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

/// Runs a command and writes its output to `out`.
///
/// # Errors
/// Returns [`Failure::Configuration`] if the files cannot be imported or the directory cannot be used. Returns
/// [`Failure::Fatal`] if a broker is using the directory or an I/O error occurs. In these cases, nothing is imported.
pub fn run(flags: &ChannelsFlags, out: &mut dyn Write) -> Result<(), Failure> {
    let data_dir = &flags.data_dir;
    match &flags.command {
        ChannelsCommand::Import {
            files,
            dry_run,
            asked,
        } if is_meant(asked)? => terminal::write(out, &import_online(files, asked, *dry_run)?),
        ChannelsCommand::Import {
            files,
            dry_run: false,
            asked: _,
        } => terminal::write(out, &import(files, data_dir)?),
        ChannelsCommand::Import {
            files,
            dry_run: true,
            asked: _,
        } => try_import(files, data_dir, out),
        ChannelsCommand::Export => export(data_dir, out),
    }
}

fn import(files: &[PathBuf], data_dir: &Path) -> Result<String, Failure> {
    let mut plan = Plan::of_files(files)?;
    let directory = DataDir::open(data_dir, OtherUsers::Nothing);
    let directory = directory.map_err(|failure| in_use(failure, data_dir))?;
    let store = registry::open(directory.path(), |record| plan.compare(&record))
        .map_err(|error| Failure::Fatal(error.to_string()))?;
    let (make, there) = plan.finish()?;
    store
        .put(&mut |put| {
            let mut rows = make.iter();
            rows.try_for_each(|record| put(key(&record.arn), &encode(record)))
        })
        .map_err(|error| {
            let directory = data_dir.display();
            Failure::Fatal(format!(
                "{directory}: the channels cannot be written: {error}"
            ))
        })?;
    let made = counted(make.len(), "channel");
    let directory = data_dir.display();
    Ok(format!("{directory}: {made} made, {there} there already\n"))
}

/// Reports what an import would do, without creating anything, not even the data directory.
fn try_import(files: &[PathBuf], data_dir: &Path, out: &mut dyn Write) -> Result<(), Failure> {
    let gathered = gather(files, &mut random()?);
    let mut plan = Plan { gathered, there: 0 };
    if has_store(data_dir) {
        let _locked = locked(data_dir)?;
        registry::open(data_dir, |record| plan.compare(&record))
            .map_err(|error| Failure::Fatal(error.to_string()))?;
    }
    let (make, there) = (counted(plan.wanted(), "channel"), plan.there);
    let faults = counted(plan.gathered.faults.count(), "fault");
    let text = format!("{make} would be made, {there} there already, {faults}\n");
    terminal::write(out, &text)?;
    plan.finish().map(drop)
}

fn export(data_dir: &Path, out: &mut dyn Write) -> Result<(), Failure> {
    if !has_store(data_dir) {
        return Err(Failure::Configuration(format!(
            "--data-dir {}: must be the data directory of a broker, with its store.redb",
            data_dir.display()
        )));
    }
    let _locked = locked(data_dir)?;
    let mut records: Vec<Record> = Vec::new();
    registry::open(data_dir, |record| records.push(record))
        .map_err(|error| Failure::Fatal(error.to_string()))?;
    match channel_documents::write(&records, &mut BufWriter::new(out)) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::Fatal(format!("stdout: {error}")))
        }
        _ => Ok(()), // the reader may close the pipe
    }
}

/// The channels to create, and how many of the requested channels already exist.
pub(crate) struct Plan<'f> {
    gathered: WantedChannels<'f>,
    there: usize,
}

impl<'f> Plan<'f> {
    /// Reads the files. If they contain faults, fails with a [`Failure::Configuration`] that lists all of them.
    pub(crate) fn of_files(files: &'f [PathBuf]) -> Result<Self, Failure> {
        let mut gathered = gather(files, &mut random()?);
        gathered.faults.none_or(NOTHING_WRITTEN)?;
        Ok(Self { gathered, there: 0 })
    }

    /// Reads channels from a string, which error messages call `name`. If the string contains faults, fails with a
    /// [`Failure::Configuration`] that lists all of them.
    pub(crate) fn of_text(name: &'f Path, text: &str) -> Result<Self, Failure> {
        let mut gathered = gather_text(name, text, &mut random()?);
        gathered.faults.none_or(NOTHING_WRITTEN)?;
        Ok(Self { gathered, there: 0 })
    }

    pub(crate) fn records(&self) -> impl Iterator<Item = &Record> {
        self.gathered.channels.values().map(|wanted| &wanted.record)
    }

    fn wanted(&self) -> usize {
        self.gathered.channels.len()
    }

    pub(crate) fn compare(&mut self, found: &Record) {
        let WantedChannels { channels, faults } = &mut self.gathered;
        let Some(wanted) = channels.remove(found.arn.identity()) else {
            return;
        };
        match differences(&wanted.record, found, true) {
            None => self.there += 1,
            Some(differences) => {
                let text = format!(
                    "it exists with other values ({differences}): expected a channel that is absent or equal: delete \
                     the existing one, or leave this one out"
                );
                faults.of_channel(wanted.source, found.arn.name(), &text);
            }
        }
    }

    /// Fails with [`Failure::Configuration`] if there are conflicts. The error lists all of them.
    pub(crate) fn check(&mut self) -> Result<(), Failure> {
        self.gathered.faults.none_or(NOTHING_WRITTEN)
    }

    /// Returns the records to create and the number of channels that already exist. If there are conflicts, fails with
    /// a [`Failure::Configuration`] that lists all of them.
    pub(crate) fn finish(self) -> Result<(Vec<Record>, usize), Failure> {
        let WantedChannels {
            channels,
            mut faults,
        } = self.gathered;
        faults.none_or(NOTHING_WRITTEN)?;
        let records = channels.into_values().map(|wanted| wanted.record);
        Ok((records.collect(), self.there))
    }
}

fn has_store(data_dir: &Path) -> bool {
    data_dir.join("store.redb").is_file()
}

fn locked(data_dir: &Path) -> Result<DataDir, Failure> {
    DataDir::of_stopped(data_dir).map_err(|failure| in_use(failure, data_dir))
}

/// Replaces a fatal failure with one that says that another process is using the data directory.
fn in_use(failure: Failure, data_dir: &Path) -> Failure {
    match failure {
        Failure::Fatal(_) => Failure::Fatal(format!(
            "the data directory {} is in use by another process, a broker that runs or a command: stop it first",
            data_dir.display()
        )),
        Failure::Configuration(_) | Failure::Warnings(_) | Failure::Impatience => failure,
    }
}

fn random() -> Result<fastrand::Rng, Failure> {
    let mut seed = [0; 8];
    aws_lc_rs::rand::fill(&mut seed)
        .map_err(|_| Failure::Fatal("the system's random generator failed".into()))?;
    Ok(fastrand::Rng::with_seed(u64::from_ne_bytes(seed)))
}

const NOTHING_WRITTEN: &str = "nothing was written";

// Imports through a running broker's admin listener. The files are checked here first, and then again by the broker.

/// Returns whether the flags tell the command to use a running broker. Fails with [`Failure::Configuration`] if
/// `--token-file` or `--config` is given without `--admin`.
fn is_meant(asked: &AdminFlags) -> Result<bool, Failure> {
    let others = asked.token_file.is_some() || asked.config.is_some();
    if asked.admin.is_none() && others {
        let rule = "--token-file and --config: need --admin URL, of a broker that runs";
        return Err(Failure::Configuration(rule.into()));
    }
    Ok(asked.admin.is_some())
}

fn import_online(files: &[PathBuf], asked: &AdminFlags, dry_run: bool) -> Result<String, Failure> {
    let listener = AdminListener::of(asked)?;
    let plan = Plan::of_files(files)?;
    let records: Vec<Record> = plan.records().cloned().collect();
    let channels = records.len();
    if channels > IMPORTED_MAX {
        return Err(Failure::Configuration(format!(
            "{channels} channels: expected at most {IMPORTED_MAX} while the broker runs, all in one commit: import \
             them in parts, or stop the broker and name its --data-dir"
        )));
    }
    let mut body = Vec::new();
    let written = channel_documents::write(&records, &mut body).map(|()| String::from_utf8(body));
    let body = written.ok().and_then(Result::ok).unwrap_or_default();
    let target = if dry_run {
        "/import?dry_run=true"
    } else {
        "/import"
    };
    let answer = listener.post_json(target, &body)?;
    let answer = answer.map_err(|refusal| match refusal.status.as_str() {
        "400" => Failure::Configuration(refusal.why),
        _ => refusal.into(),
    })?;
    let number = |name: &str| answer[name].as_u64().unwrap_or_default();
    let made = counted(
        usize::try_from(number("made")).unwrap_or_default(),
        "channel",
    );
    let (there, host) = (number("there"), &listener.host);
    let verb = if dry_run { "would be made" } else { "made" };
    Ok(format!(
        "http://{host}: {made} {verb}, {there} there already\n"
    ))
}
