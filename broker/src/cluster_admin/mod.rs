//! `heliograph cluster`: how the cluster of a configuration is, by what etcd has of it, and what operators change
//! there. Each command asks etcd itself; what nodes are to do is asked through it.
//!
//! In reading order: `status`, `check` with `nodes`, `dns` and `haproxy`; `moves` (drain, rebalance, the end of an
//! upgrade); `exchange` (records from a data directory into etcd, and back); `place`, `table`.

mod check;
mod dns;
mod exchange;
mod haproxy;
mod moves;
mod nodes;
mod place;
mod status;
mod table;

use crate::config::{ClusterCommand, ClusterFlags};
use crate::failure::Failure;
use crate::finding::Finding;
use crate::terminal::{plain, write};
use broker_etcd::operator::{RemoveError, Slots, remove};
use place::Place;
use std::io::Write;
use std::path::Path;

/// Runs a command; what there is to say goes to `out`.
///
/// # Errors
/// [`Failure::Configuration`] when the operator has something to set right, [`Failure::Fatal`] when etcd or the machine
/// has, or a check found an error.
pub fn run(flags: &ClusterFlags, out: &mut dyn Write) -> Result<(), Failure> {
    let Some(config) = &flags.config else {
        let text = "heliograph cluster: --config FILE is needed, the configuration of a node";
        return Err(Failure::Configuration(text.into()));
    };
    let place = Place::of(config)?;
    let text = match &flags.command {
        ClusterCommand::Status => status::text(&place, &place.survey()?),
        ClusterCommand::Check => return check::run(&place, out),
        ClusterCommand::Remove { node, lost } => removed(&place, node, *lost)?,
        ClusterCommand::Import { from, replace } => match &from[..] {
            [directory] if directory.is_dir() || *replace => {
                exchange::import(&place, directory, *replace)?
            }
            files => exchange::import_files(&place, files, *replace)?,
        },
        ClusterCommand::Export { directory } => exchange::export(&place, directory)?,
        ClusterCommand::Drain { node } => return moves::drain(&place, node, out),
        ClusterCommand::Rebalance => return moves::rebalance(&place, out),
        ClusterCommand::FinishUpgrade => moves::finish_upgrade(&place)?,
        ClusterCommand::Dns { haproxy: false } => dns::text(&place, &place.survey()?)?,
        ClusterCommand::Dns { haproxy: true } => haproxy::text(&place, &place.survey()?)?,
    };
    write(out, &text)
}

/// Everything that [`ClusterCommand::Check`] looks at.
///
/// # Errors
/// [`Failure::Configuration`] for a configuration that names no etcd, or files that cannot be used.
pub(crate) fn findings(config: &Path) -> Result<Vec<Finding>, Failure> {
    Place::of(config).map(|place| check::findings(&place))
}

fn removed(place: &Place, node: &str, lost: bool) -> Result<String, Failure> {
    let slots = if lost { Slots::Lost } else { Slots::Given };
    match remove(&place.etcd, &place.name, node, slots) {
        Ok(0) => Ok(format!("{node} is removed\n")),
        Ok(slots) => Ok(format!(
            "{node} is removed; the other nodes take its {slots} slots\n"
        )),
        Err(error) => {
            let text = format!("{}: {}", plain(node), plain(&error.to_string()));
            Err(match error {
                RemoveError::Etcd(_) | RemoveError::Changed => Failure::Fatal(text),
                RemoveError::Name
                | RemoveError::Owner(_)
                | RemoveError::Registered
                | RemoveError::Unknown => Failure::Configuration(text),
            })
        }
    }
}
