//! The cluster that a command is about.

use crate::config;
use crate::failure::Failure;
use crate::files::etcd;
use crate::server::cluster::secret as cluster_secret;
use broker_core::cluster::secret::ProofKeys;
use broker_core::settings::Settings;
use broker_etcd::Options;
use broker_etcd::operator::{Survey, survey};
use std::path::Path;

/// A cluster, and how its etcd is reached.
pub(crate) struct Place {
    pub(crate) settings: Settings,
    pub(crate) name: String,
    pub(crate) etcd: Options,
}

impl Place {
    /// Of the configuration file.
    pub(crate) fn of(config: &Path) -> Result<Self, Failure> {
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
                    "must name the members of etcd, which this command asks",
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

    /// The keys of proofs in registrations, where this user can read the secret.
    pub(crate) fn proofs(&self) -> Option<ProofKeys> {
        let path = self.settings.cluster.secret_file.as_ref()?;
        let secret = cluster_secret(path).ok()?;
        Some(secret.proof_keys(&self.name))
    }

    /// Reads the state of the cluster from etcd.
    pub(crate) fn survey(&self) -> Result<Survey, Failure> {
        survey(&self.etcd, &self.name, self.proofs().as_ref())
            .map_err(|why| Failure::Fatal(format!("etcd: {why}")))
    }
}
