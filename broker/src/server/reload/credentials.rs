//! The credentials file, which contains the principals that may sign requests. It is read at startup and when it
//! changes. Also creates the task that fetches the keys of the OpenID providers named in the file.

use crate::config::{Loaded, load_credentials};
use crate::devices::{Devices, unix_s};
use crate::failure::{Failure, Fallible};
use crate::providers::{self, Fetcher};
use crate::server::mailboxes::Mailboxes;
use crate::server::{mailboxes::post_to_all, reload::Reloadable};
use crate::side::{InForce, Shows};
use crate::tls_files::first_end;
use crate::{edge::Post, files::FileStamp};
use broker_core::auth::Credentials;
use broker_core::auth::provider::{Discovery, KeySource, Provider};
use broker_core::settings::{Auth, Settings};
use broker_core::shard::Letter;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;
use tokio::sync::watch;

pub(crate) struct CredentialsFile {
    path: PathBuf,
    account_id: String,
    console: Option<Box<str>>,
    files: Vec<PathBuf>,
    /// Devices that may authenticate with a certificate. Used for reminders.
    devices: Option<Arc<Devices>>,
    /// Principals that shards use or have used. Unused ones are freed here, since freeing them on a shard could stall
    /// it.
    in_force: Vec<Arc<Credentials>>,
    of_side: watch::Sender<Arc<Credentials>>,
    mailboxes: Mailboxes,
}

pub(crate) struct InitialCredentials {
    pub(crate) file: CredentialsFile,
    pub(crate) credentials: Arc<Credentials>,
    pub(crate) devices: Option<Arc<Devices>>,
    pub(crate) read: Vec<FileStamp>,
}

impl CredentialsFile {
    /// Loads the principals from the credentials file. Returns `None` if requests need not be signed. Fails with
    /// [`Failure::Configuration`], which lists all faults in the file.
    pub(crate) fn find(
        settings: &Settings,
        mailboxes: &Mailboxes,
    ) -> Fallible<Option<InitialCredentials>> {
        let path = match (settings.auth, &settings.credentials) {
            (Auth::Sigv4, Some(path)) => path.clone(),
            (Auth::Sigv4 | Auth::None, _) => return Ok(None),
        };
        let mut file = Self {
            files: vec![path.clone()],
            path,
            account_id: settings.account_id.clone(),
            console: settings
                .admin
                .oidc
                .as_ref()
                .map(|it| it.provider.as_str().into()),
            devices: None,
            in_force: Vec::new(),
            of_side: watch::Sender::default(),
            mailboxes: Arc::clone(mailboxes),
        };
        let loaded = file.load().map_err(Failure::Configuration)?;
        file.take(&loaded);
        Self::tell(&loaded);
        file.of_side.send_replace(Arc::clone(&loaded.credentials));
        file.in_force.push(Arc::clone(&loaded.credentials));
        Ok(Some(InitialCredentials {
            file,
            credentials: loaded.credentials,
            devices: loaded.devices,
            read: loaded.stamps,
        }))
    }

    /// Returns the receiver of the current principals, for threads other than shards.
    pub(crate) fn in_force(&self) -> InForce {
        self.of_side.subscribe()
    }

    fn load(&self) -> Result<Loaded, String> {
        let console = self.console.as_deref();
        let loaded = load_credentials(&self.path, &self.account_id, console);
        loaded.map_err(|error| error.to_string())
    }

    fn take(&mut self, loaded: &Loaded) {
        self.files.clone_from(&loaded.files);
        self.devices.clone_from(&loaded.devices);
    }

    fn tell(loaded: &Loaded) {
        if let Some(things) = loaded.credentials.things() {
            let (certificates, bytes) = (things.registry.len(), things.registry.bytes());
            tracing::info!(
                certificates,
                bytes,
                "the registry of things was loaded: a reload holds two for a moment"
            );
        }
        for warning in &loaded.warnings {
            tracing::warn!("{warning}");
        }
    }
}

impl Reloadable for CredentialsFile {
    fn name(&self) -> &'static str {
        "credentials file"
    }

    fn files(&self) -> Vec<PathBuf> {
        self.files.clone()
    }

    fn ends(&self) -> Vec<(&'static str, u64)> {
        let in_force = || self.in_force.last().into_iter();
        let things = in_force().filter_map(|credentials| credentials.things());
        let authorities = things.flat_map(|things| &things.authorities);
        let providers = in_force().flat_map(|credentials| credentials.providers());
        let of_provider = |provider: &Arc<Provider>| match &provider.keys {
            KeySource::Discovery(Discovery { ca: Some(ca), .. }) => first_end(ca),
            KeySource::Discovery(_) | KeySource::File(_) => None,
        };
        let providers = providers.filter_map(of_provider);
        let authorities = authorities.map(|authority| ("authority", authority.ends_s));
        authorities
            .chain(providers.map(|end| ("oidc", end)))
            .collect()
    }

    fn remind(&self) {
        let now_s = unix_s(SystemTime::now());
        let devices = self.devices.iter();
        for ending in devices.flat_map(|devices| devices.endings(now_s)) {
            tracing::warn!("things have {ending}");
        }
    }

    fn reload(&mut self) -> Result<(), String> {
        let loaded = self.load()?;
        if let Some(former) = self.in_force.last() {
            refuse_emptied(former, &loaded.credentials)
                .map_err(|rule| format!("{}: {rule}", self.path.display()))?;
        }
        self.take(&loaded);
        Self::tell(&loaded);
        let principals = loaded.credentials.len();
        post_to_all(&self.mailboxes, || {
            Post::Letter(Letter::Credentials(Arc::clone(&loaded.credentials)))
        });
        post_to_all(&self.mailboxes, || Post::Devices(loaded.devices.clone()));
        self.of_side.send_replace(Arc::clone(&loaded.credentials));
        self.in_force.retain(|old| Arc::strong_count(old) > 1);
        self.in_force.push(loaded.credentials);
        tracing::info!(principals, "credentials in force");
        Ok(())
    }
}

/// Rejects a file that seems to have been emptied or truncated by mistake. Accepts such a file if the current one is
/// just as empty.
fn refuse_emptied(former: &Credentials, new: &Credentials) -> Result<(), String> {
    let is_nobody = |credentials: &Credentials| {
        let has_providers = credentials.providers().next().is_some();
        credentials.is_empty() && !has_providers && credentials.things().is_none()
    };
    if is_nobody(new) && !is_nobody(former) {
        let principals = former.len();
        return Err(format!(
            "it has no [[principal]], [oidc_provider] or [things], while {principals} principals are in force: a \
             file that was emptied by mistake would lock out every client. To withdraw all keys on purpose, leave \
             one principal without policies, or restart the broker"
        ));
    }
    let (Some(former), Some(new)) = (former.things(), new.things()) else {
        return Ok(());
    };
    if new.registry.is_counted() {
        return Ok(());
    }
    let (certificates, off) = (former.registry.len(), former.registry.switched_off());
    if former.registry.is_counted() {
        return Err(
            "the registry of [things] in force ends with its number of lines, and the new one does not: it may be \
             truncated. `heliograph things import` writes that line; after a manual edit, end it with # lines=N, the \
             number of lines before that one"
                .to_owned(),
        );
    }
    if new.registry.is_empty() && new.registry.switched_off() == 0 && certificates + off > 0 {
        return Err(format!(
            "the registry of [things] is empty, while {certificates} certificates and {off} names that are switched \
             off are in force. To withdraw all of them on purpose, end it with # lines=N, the number of lines before \
             that one"
        ));
    }
    Ok(())
}

// The task that fetches the keys of OpenID providers, and how the keys reach the shards.

/// Creates the task that fetches the keys of OpenID providers, which runs on the side thread, and the receiver of the
/// current credentials. Returns `None` if requests need not be signed.
pub(crate) fn fetcher(
    settings: &Settings,
    who: Option<&InitialCredentials>,
    mailboxes: &Mailboxes,
    shows: &mut Shows,
) -> (Option<Fetcher>, Option<InForce>) {
    let Some(in_force) = who.map(|found| found.file.in_force()) else {
        return (None, None);
    };
    let mailboxes = Arc::clone(mailboxes);
    let hand_over = Box::new(move |keyring| {
        post_to_all(&mailboxes, || {
            Post::Letter(Letter::Keyring(Arc::clone(&keyring)))
        });
    });
    let place = (settings.data_dir.clone(), settings.dev);
    let (fetcher, figures, known) = providers::fetcher(in_force.clone(), place, hand_over);
    (shows.providers, shows.known) = (Some(figures), Some(known));
    (Some(fetcher), Some(in_force))
}
