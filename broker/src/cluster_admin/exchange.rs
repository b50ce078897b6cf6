//! `heliograph cluster import` and `export`: all channels of a data directory into etcd, and back into one that a
//! single node can be started from.

use crate::backup::folder::Folder;
use crate::channels::Plan;
use crate::cluster_admin::place::Place;
use crate::data_dir::{DataDir, epoch};
use crate::failure::Failure;
use crate::finding::counted;
use crate::terminal::plain;
use broker_etcd::{ExchangeError, Existing};
use std::path::{Path, PathBuf};

/// From the data directory of a broker that does not run.
pub(crate) fn import(place: &Place, directory: &Path, replace: bool) -> Result<String, Failure> {
    if !directory.join("store.redb").is_file() {
        let directory = directory.display();
        return Err(Failure::Configuration(format!(
            "{directory}: must be the data directory of a broker, with its store.redb"
        )));
    }
    let _locked = DataDir::of_stopped(directory)?;
    let epoch = epoch::kept(directory)?.unwrap_or_default();
    let existing = if replace {
        Existing::Replace
    } else {
        Existing::Refuse
    };
    let count = broker_etcd::import(&place.etcd, &place.name, (directory, epoch), existing);
    let count = count.map_err(|error| failure(&error, directory))?;
    Ok(format!("{count} channels are in etcd\n"))
}

/// From documents, beside the channels that are in etcd.
pub(crate) fn import_files(
    place: &Place,
    files: &[PathBuf],
    replace: bool,
) -> Result<String, Failure> {
    if replace {
        let text = "--replace goes with the data directory of a broker alone, not with files";
        return Err(Failure::Configuration(text.into()));
    }
    let mut plan = Plan::of_files(files)?;
    let etcd = Path::new("etcd");
    broker_etcd::each_record(&place.etcd, &place.name, |record| plan.compare(&record))
        .map_err(|error| failure(&error, etcd))?;
    let (make, there) = plan.finish()?;
    broker_etcd::add(&place.etcd, &place.name, &make).map_err(|(done, error)| {
        let all = make.len();
        let more =
            format!("{done} of {all} channels were made: the same command again makes the others");
        match failure(&error, etcd) {
            Failure::Configuration(said) => Failure::Configuration(format!("{said}: {more}")),
            said @ (Failure::Fatal(_) | Failure::Impatience) => {
                Failure::Fatal(format!("{said}: {more}"))
            }
        }
    })?;
    let made = counted(make.len(), "channel");
    Ok(format!("etcd: {made} made, {there} there already\n"))
}

/// Into a directory that is absent or empty.
pub(crate) fn export(place: &Place, directory: &Path) -> Result<String, Failure> {
    let shown = directory.display();
    let folder = Folder::begin(directory).map_err(|error| {
        Failure::Configuration(format!(
            "{shown}: must be a directory that is absent or empty, in one that can be written: {error}"
        ))
    })?;
    let count = broker_etcd::export(&place.etcd, &place.name, folder.path());
    let (count, epoch) = count.map_err(|error| failure(&error, directory))?;
    let kept = folder.write(epoch::NAME, epoch::text(epoch).as_bytes());
    kept.map_err(|error| Failure::Fatal(format!("{shown}: cannot be written: {error}")))?;
    let finished = folder.finish();
    finished.map_err(|error| Failure::Fatal(format!("{shown}: cannot be written: {error}")))?;
    Ok(format!("{shown}: {count} channels\n"))
}

fn failure(error: &ExchangeError, directory: &Path) -> Failure {
    let said = plain(&error.to_string());
    match error {
        ExchangeError::NotEmpty => Failure::Configuration(
            "the cluster has channels in etcd already: --replace removes them first, or use another name".into(),
        ),
        ExchangeError::Name | ExchangeError::Nodes | ExchangeError::NoCluster => {
            Failure::Configuration(said)
        }
        ExchangeError::Etcd(_) | ExchangeError::Record(..) => Failure::Fatal(said),
        ExchangeError::Open(_) | ExchangeError::Read(_) | ExchangeError::Disk(_) => {
            Failure::Fatal(format!("{}: {said}", directory.display()))
        }
    }
}
