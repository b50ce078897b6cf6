//! The accounts that may use the console. They are read at startup together with the client secret, and again when
//! either file changes.

use crate::config;
use crate::failure::{Failure, Fallible};
use crate::server::check::secret_of_client;
use crate::server::reload::{Reloadable, Reloader, stamps};
use crate::side::{Console, ConsoleAdmission, Shows};
use broker_core::settings::{Oidc, Settings};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::watch;

/// The accounts that may use the console. Exists only if accounts are configured, and is owned by the main thread.
pub(crate) struct AccountsFile {
    config: PathBuf,
    listen: Option<SocketAddr>,
    /// Path of the file from which the client secret was last read successfully.
    secret: Option<PathBuf>,
    of_side: watch::Sender<Option<Arc<ConsoleAdmission>>>,
}

/// Passes the permitted accounts to the admin listener. The caller must then call [`AccountsFile::watch`]. Fails with
/// [`Failure::Configuration`] if the client secret cannot be read.
pub(crate) fn prepare(settings: &Settings, shows: &mut Shows) -> Fallible<Option<AccountsFile>> {
    let Some(oidc) = &settings.admin.oidc else {
        return Ok(None);
    };
    let admission = admission(oidc.clone()).map_err(Failure::Configuration)?;
    let (of_side, in_force) = watch::channel(Some(Arc::new(admission)));
    shows.accounts = Some(Console {
        admission: in_force,
        dev: settings.dev,
    });
    let secret = oidc.client_secret_file.clone();
    let config = settings.config.clone();
    Ok(config.map(|config| AccountsFile {
        config,
        listen: settings.admin.listen,
        secret,
        of_side,
    }))
}

impl AccountsFile {
    pub(crate) fn watch(self, reloader: &mut Reloader) {
        let read = stamps(&self.files());
        reloader.watch(Box::new(self), read);
    }
}

impl Reloadable for AccountsFile {
    fn name(&self) -> &'static str {
        "table of accounts"
    }

    fn files(&self) -> Vec<PathBuf> {
        [Some(self.config.clone()), self.secret.clone()]
            .into_iter()
            .flatten()
            .collect()
    }

    /// Closes the sessions of accounts that have lost access. If the file has no accounts table, no account has access.
    fn reload(&mut self) -> Result<(), String> {
        let oidc =
            config::accounts_of(&self.config, self.listen).map_err(|error| error.to_string())?;
        let secret = oidc.as_ref().and_then(|it| it.client_secret_file.clone());
        let admission = oidc.map(admission).transpose()?;
        self.of_side.send_replace(admission.map(Arc::new));
        self.secret = secret;
        Ok(())
    }
}

fn admission(oidc: Oidc) -> Result<ConsoleAdmission, String> {
    let path = oidc.client_secret_file.as_ref();
    let secret = path.map(|path| {
        let refused = |rule| format!("admin.oidc.client_secret_file = {}: {rule}", path.display());
        secret_of_client(path)
            .map(|(secret, _)| secret)
            .map_err(refused)
    });
    let secret = secret.transpose()?;
    Ok(ConsoleAdmission { oidc, secret })
}
