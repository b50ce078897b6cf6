//! `heliograph cluster`: how the cluster of a configuration is, by what etcd has of it, and what operators change
//! there. Each command asks etcd itself; what nodes are to do is asked through it.
//!
//! In reading order: `status`, `check` with `nodes`, `dns`; `moves` (drain, rebalance, the end of an upgrade);
//! `exchange` (records from a data directory into etcd, and back); `table`.

mod check;
mod dns;
mod exchange;
mod moves;
mod nodes;
mod status;
mod table;

use crate::config::{self, ClusterCommand, ClusterFlags};
use crate::failure::Failure;
use crate::files::etcd;
use crate::terminal::plain;
use broker_core::settings::Settings;
use broker_etcd::Options;
use broker_etcd::operator::{RemoveError, Slots, Survey, remove, survey};
use std::io::Write;

/// Runs a command; what there is to say goes to `out`.
///
/// # Errors
/// [`Failure::Configuration`] when the operator has something to set right, [`Failure::Fatal`] when etcd or the machine
/// has, or a check found an error.
pub fn run(flags: &ClusterFlags, out: &mut dyn Write) -> Result<(), Failure> {
    let place = Place::of(flags)?;
    let text = match &flags.command {
        ClusterCommand::Status => status::text(&place, &place.survey()?),
        ClusterCommand::Check => return check::run(&place, out),
        ClusterCommand::Remove { node, lost } => removed(&place, node, *lost)?,
        ClusterCommand::Import { directory, replace } => {
            exchange::import(&place, directory, *replace)?
        }
        ClusterCommand::Export { directory } => exchange::export(&place, directory)?,
        ClusterCommand::Drain { node } => return moves::drain(&place, node, out),
        ClusterCommand::Rebalance => return moves::rebalance(&place, out),
        ClusterCommand::FinishUpgrade => moves::finish_upgrade(&place)?,
        ClusterCommand::Dns => dns::text(&place, &place.survey()?)?,
    };
    written(out, &text)
}

fn written(out: &mut dyn Write, text: &str) -> Result<(), Failure> {
    let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    written.map_err(|error| Failure::Fatal(format!("stdout: {error}")))
}

/// A cluster, and how its etcd is reached.
struct Place {
    settings: Settings,
    name: String,
    etcd: Options,
}

impl Place {
    /// Of the configuration file.
    fn of(flags: &ClusterFlags) -> Result<Self, Failure> {
        let Some(config) = &flags.config else {
            let text = "heliograph cluster: --config FILE is needed, the configuration of a node";
            return Err(Failure::Configuration(text.into()));
        };
        let mut draft = config::draft_of(config, "cluster");
        let mut etcd = None;
        if let Some(cluster) = draft.settings().map(|settings| settings.cluster.clone()) {
            if cluster.etcd.is_on() {
                match etcd::options(&cluster.etcd) {
                    Ok(options) => etcd = Some(options),
                    Err(faults) => {
                        for fault in faults {
                            draft.fault(fault.key, fault.path.display(), fault.rule);
                        }
                    }
                }
            } else {
                draft.fault(
                    "cluster.etcd",
                    "",
                    "allowed the members of etcd, which this command asks",
                );
            }
        }
        let settings = draft.finish(Vec::new());
        let settings = settings.map_err(|error| Failure::Configuration(error.to_string()))?;
        let place = settings.cluster.name.clone().zip(etcd);
        let (name, etcd) =
            place.ok_or_else(|| Failure::Configuration("[cluster] is needed".into()))?;
        Ok(Self {
            settings,
            name,
            etcd,
        })
    }

    fn survey(&self) -> Result<Survey, Failure> {
        survey(&self.etcd, &self.name).map_err(|why| Failure::Fatal(format!("etcd: {why}")))
    }
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
