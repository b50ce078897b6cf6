//! `heliograph cluster import` and `export`: all channels of a data directory into etcd, and back into one that a
//! single node can be started from.

use super::place::Place;
use crate::backup::Folder;
use crate::data_dir::DataDir;
use crate::failure::Failure;
use crate::terminal::plain;
use broker_etcd::{ExchangeError, Existing};
use std::path::Path;

/// From the data directory of a broker that does not run.
pub(super) fn import(place: &Place, directory: &Path, replace: bool) -> Result<String, Failure> {
    if !directory.join("store.redb").is_file() {
        let directory = directory.display();
        return Err(Failure::Configuration(format!(
            "{directory}: must be the data directory of a broker, with its store.redb"
        )));
    }
    let _locked = DataDir::of_stopped(directory)?;
    let existing = if replace {
        Existing::Replace
    } else {
        Existing::Refuse
    };
    let count = broker_etcd::import(&place.etcd, &place.name, directory, existing);
    let count = count.map_err(|error| failure(&error, directory))?;
    Ok(format!("{count} channels are in etcd\n"))
}

/// Into a directory that is absent or empty.
pub(super) fn export(place: &Place, directory: &Path) -> Result<String, Failure> {
    let shown = directory.display();
    let folder = Folder::begin(directory).map_err(|error| {
        Failure::Configuration(format!(
            "{shown}: must be a directory that is absent or empty, in one that can be written: {error}"
        ))
    })?;
    let count = broker_etcd::export(&place.etcd, &place.name, folder.path());
    let count = count.map_err(|error| failure(&error, directory))?;
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
