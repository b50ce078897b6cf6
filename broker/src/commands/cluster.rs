//! `heliograph cluster`: shows and changes the state of a configured cluster. Every command accesses etcd directly, and
//! gives instructions to nodes by writing to etcd.
//!
//! This file contains `drain`, `rebalance`, `finish-upgrade`, `import` and `export`. The commands that only inspect a
//! cluster are in `cluster_check.rs` and `cluster_status.rs`. Helpers that all cluster commands share are in
//! `cluster_status.rs`.

use crate::commands::cluster_status::{self, Place, table};
use crate::commands::{PartialFolder, cluster_check};
use crate::config::{ClusterCommand, ClusterFlags};
use crate::presence_epoch;
use crate::terminal::{Finding, counted, plain, write};
use crate::{channels::Plan, data_dir::DataDir, failure::Failure};
use broker_etcd::Existing;
use broker_etcd::operator::{
    CommandError, DrainProgress, Parts, RemovedSlots, drain as drained, finish_upgrade as upgraded,
    rebalance as rebalanced, remove,
};
use std::io::Write;
use std::path::{Path, PathBuf};

/// Runs a command and writes its output to `out`.
///
/// # Errors
/// Returns [`Failure::Configuration`] for an error that the operator must fix, and [`Failure::Fatal`] if etcd or an I/O
/// operation fails or a check finds an error.
pub fn run(flags: &ClusterFlags, out: &mut dyn Write) -> Result<(), Failure> {
    let Some(config) = &flags.config else {
        let text = "heliograph cluster: --config FILE is needed, the configuration of a node";
        return Err(Failure::Configuration(text.into()));
    };
    let place = Place::of(config)?;
    let text = match &flags.command {
        ClusterCommand::Status => cluster_status::text(&place, &place.survey()?),
        ClusterCommand::Check => return cluster_check::run(&place, out),
        ClusterCommand::Remove { node, lost } => removed(&place, node, *lost)?,
        ClusterCommand::Import { from, replace } => match &from[..] {
            [directory] if directory.is_dir() || *replace => import(&place, directory, *replace)?,
            files => import_files(&place, files, *replace)?,
        },
        ClusterCommand::Export { directory } => export(&place, directory)?,
        ClusterCommand::Drain { node } => return drain(&place, node, out),
        ClusterCommand::Rebalance => return rebalance(&place, out),
        ClusterCommand::FinishUpgrade => finish_upgrade(&place)?,
    };
    write(out, &text)
}

/// Returns the findings of `heliograph cluster check`. Fails with [`Failure::Configuration`] if the configuration does
/// not specify etcd, or if one of its files cannot be used.
pub(crate) fn findings(config: &Path) -> Result<Vec<Finding>, Failure> {
    Place::of(config).map(|place| cluster_check::findings(&place))
}

fn removed(place: &Place, node: &str, lost: bool) -> Result<String, Failure> {
    let slots = if lost {
        RemovedSlots::Lost
    } else {
        RemovedSlots::Given
    };
    match remove(&place.etcd, &place.name, node, slots) {
        Ok(0) => Ok(format!("{node} is removed\n")),
        Ok(slots) => Ok(format!(
            "{node} is removed; the other nodes take its {slots} slots\n"
        )),
        Err(error) => Err(failure(&format!("{node}: "), &error)),
    }
}

// `heliograph cluster drain`, `rebalance` and `finish-upgrade`.

pub(crate) fn drain(place: &Place, node: &str, out: &mut dyn Write) -> Result<(), Failure> {
    let shown = plain(node);
    let mut broken = None;
    let mut say = |progress: DrainProgress| {
        let (slots, seconds) = (progress.slots, progress.after.as_secs());
        let waiting = match progress.waiting {
            Some(waiting) => format!("{waiting} messages wait"),
            None => "has not answered yet".into(),
        };
        let text = format!("{shown}: {slots} slots left, {waiting}, {seconds} s\n");
        broken = broken.take().or_else(|| write(out, &text).err());
    };
    let result = drained(&place.etcd, &place.name, node, &mut say);
    broken.map_or(Ok(()), Err)?;
    match result {
        Ok(after) => {
            let seconds = after.as_secs_f64();
            let text =
                format!("{shown} has given all slots to other nodes in {seconds:.1} s, and ends\n");
            write(out, &text)
        }
        Err(error) => Err(failure(&format!("{node}: "), &error)),
    }
}

/// Distributes the slots evenly among the running nodes. Prints the initial distribution, the distribution after each
/// change, and finally a comparison of the initial and final distributions.
pub(crate) fn rebalance(place: &Place, out: &mut dyn Write) -> Result<(), Failure> {
    let mut broken = None;
    let mut before: Option<Parts> = None;
    let mut say = |parts: &Parts| {
        let text = match &before {
            None => format!("before: {}\n", line(parts)),
            Some(_) => format!("        {}\n", line(parts)),
        };
        before.get_or_insert_with(|| parts.clone());
        broken = broken.take().or_else(|| write(out, &text).err());
    };
    let result = rebalanced(&place.etcd, &place.name, &mut say);
    broken.map_or(Ok(()), Err)?;
    let before = before.unwrap_or_default();
    let (parts, unequal) = result.map_err(|error| failure("", &error))?;
    let rows = parts.iter().map(|(node, slots)| {
        let before = before.get(node);
        let before = before.map_or_else(|| "-".into(), ToString::to_string);
        [plain(node), before, slots.to_string()]
    });
    write(out, &table(Some(["node", "slots before", "after"]), rows))?;
    unequal.map_or(Ok(()), |why| Err(failure("", &why)))
}

fn line(parts: &Parts) -> String {
    let parts = parts.iter();
    let parts = parts.map(|(node, slots)| format!("{} {slots}", plain(node)));
    parts.collect::<Vec<_>>().join(", ")
}

/// Raises the minimum inner version (the version of the inter-node protocol) that the cluster accepts. From then on,
/// nodes with the previous version cannot start.
fn finish_upgrade(place: &Place) -> Result<String, Failure> {
    match upgraded(&place.etcd, &place.name) {
        Ok(raised) if raised.from == raised.to => Ok(format!(
            "nothing to finish: all nodes have inner version {}, which is the lowest allowed\n",
            raised.to
        )),
        Ok(raised) => Ok(format!(
            "the lowest inner version was raised from {} to {}: older programs no longer start\n",
            raised.from, raised.to
        )),
        Err(error) => Err(failure("", &error)),
    }
}

// `heliograph cluster import` and `export`: copy all channels from a data directory to etcd and back.

pub(crate) fn import(place: &Place, directory: &Path, replace: bool) -> Result<String, Failure> {
    if !directory.join("store.redb").is_file() {
        let directory = directory.display();
        return Err(Failure::Configuration(format!(
            "{directory}: must be the data directory of a broker, with its store.redb"
        )));
    }
    let _locked = DataDir::of_stopped(directory)?;
    let epoch = presence_epoch::kept(directory)?.unwrap_or_default();
    let existing = if replace {
        Existing::Replace
    } else {
        Existing::Refuse
    };
    let count = broker_etcd::import(&place.etcd, &place.name, (directory, epoch), existing);
    let count = count.map_err(|error| failure("", &error))?;
    Ok(format!("{count} channels are in etcd\n"))
}

/// Imports channels from JSON documents. Channels that already exist in etcd are left unchanged.
fn import_files(place: &Place, files: &[PathBuf], replace: bool) -> Result<String, Failure> {
    if replace {
        let text = "--replace needs the data directory of a broker, not files";
        return Err(Failure::Configuration(text.into()));
    }
    let mut plan = Plan::of_files(files)?;
    broker_etcd::each_record(&place.etcd, &place.name, |record| plan.compare(&record))
        .map_err(|error| failure("", &error))?;
    let (make, there) = plan.finish()?;
    broker_etcd::add(&place.etcd, &place.name, &make).map_err(|(done, error)| {
        let all = make.len();
        let more =
            format!("{done} of {all} channels were created: run the command again for the others");
        let said = format!("{error}: {more}");
        failure(
            "",
            &match error {
                CommandError::Refused(_) => CommandError::Refused(said.into()),
                CommandError::Failed(_) => CommandError::Failed(said.into()),
            },
        )
    })?;
    let made = counted(make.len(), "channel");
    Ok(format!("etcd: {made} made, {there} there already\n"))
}

pub(crate) fn export(place: &Place, directory: &Path) -> Result<String, Failure> {
    let shown = directory.display();
    let folder = PartialFolder::begin(directory).map_err(|error| {
        Failure::Configuration(format!(
            "{shown}: must be a directory that is absent or empty, in one that can be written: {error}"
        ))
    })?;
    let count = broker_etcd::export(&place.etcd, &place.name, folder.path());
    let (count, epoch) = count.map_err(|error| failure("", &error))?;
    let kept = folder.write(presence_epoch::NAME, presence_epoch::text(epoch).as_bytes());
    kept.map_err(|error| Failure::Fatal(format!("{shown}: cannot be written: {error}")))?;
    let finished = folder.finish();
    finished.map_err(|error| Failure::Fatal(format!("{shown}: cannot be written: {error}")))?;
    Ok(format!("{shown}: {count} channels\n"))
}

/// Converts a command error to a failure whose message starts with `of`.
fn failure(of: &str, error: &CommandError) -> Failure {
    let text = plain(&format!("{of}{error}"));
    match error {
        CommandError::Refused(_) => Failure::Configuration(text),
        CommandError::Failed(_) => Failure::Fatal(text),
    }
}
