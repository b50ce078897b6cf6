//! TLS listener certificates. They are read at startup and on reload. Warnings are logged before they expire.
//!
//! The RSA development certificate is generated during startup, on a low-priority thread. It takes effect before
//! clients can read its CA certificate.

use crate::dev_certificate::{self, DevCertificate, RsaWork};
use crate::failure::{Failure, Fallible};
use crate::server::mailboxes::{Mailboxes, post_to_all};
use crate::server::reload::{Reloadable, stamps};
use crate::side::Shared;
use crate::tls_files::{Expiry, PresentedCertificates, TlsLoader};
use crate::{data_dir::DataDir, edge::Post, files::FileStamp};
use broker_core::settings::{Scheme, Settings, TlsFiles};
use rustls::ServerConfig;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;
use std::{io, thread};
use zeroize::Zeroizing;

pub(crate) struct Certificate {
    loader: SharedLoader,
    expiries: Vec<Expiry>,
    ends: Vec<(&'static str, u64)>,
    /// Name, serial number and expiry of each leaf certificate. See [`Presented::leaves`].
    leaves: Vec<[String; 3]>,
    mailboxes: Mailboxes,
}

/// The certificate loader, shared with the thread that generates the RSA development certificate. Set to `None` at
/// shutdown, so that this thread writes nothing afterwards.
type SharedLoader = Shared<Option<TlsLoader>>;

pub(crate) struct InitialCertificate {
    pub(crate) certificate: Certificate,
    pub(crate) config: Arc<ServerConfig>,
    /// The CA certificate that clients must trust, if a development certificate is in use.
    pub(crate) ca: Option<PathBuf>,
    pub(crate) read: Vec<FileStamp>,
}

impl Certificate {
    /// Loads the operator's certificate or the development certificate. Returns `None` if there is no TLS listener. In
    /// a cluster, derives ticket keys from `ticket_keys`. Fails with [`Failure::Configuration`] if the operator's files
    /// are invalid.
    pub(crate) fn find(
        settings: &Settings,
        data_dir: &DataDir,
        mailboxes: &Mailboxes,
        ticket_keys: Option<Vec<Zeroizing<[u8; 32]>>>,
    ) -> Fallible<Option<InitialCertificate>> {
        if settings.port(Scheme::Https).is_none() {
            return Ok(None);
        }
        let (files, dev) = files(settings, data_dir)?;
        let mut loader = TlsLoader::sharing(files, ticket_keys).map_err(Failure::Fatal)?;
        let read = stamps(&loader.paths());
        let presented = loader
            .load(SystemTime::now())
            .map_err(Failure::Configuration)?;
        let loader = Shared::new(Some(loader));
        let mut certificate = Self {
            loader: loader.clone(),
            expiries: Vec::new(),
            ends: Vec::new(),
            leaves: Vec::new(),
            mailboxes: Arc::clone(mailboxes),
        };
        certificate.note(&presented);
        let ca = dev.as_ref().map(|found| found.ca.clone());
        if let Some((rsa, ca)) = dev.and_then(|found| Some((found.lacks?, found.ca))) {
            make_rsa(rsa, ca, loader, Arc::clone(mailboxes))?;
        }
        Ok(Some(InitialCertificate {
            certificate,
            config: presented.config,
            ca,
            read,
        }))
    }

    fn note(&mut self, presented: &PresentedCertificates) {
        for warning in &presented.warnings {
            tracing::warn!("{warning}");
        }
        self.ends.clone_from(&presented.ends);
        for leaf in &presented.leaves {
            let [name, serial, until] = leaf;
            if !self.leaves.contains(leaf) {
                tracing::info!(name, serial, until, "certificate in force");
            }
        }
        self.leaves.clone_from(&presented.leaves);
        self.expiries.clone_from(&presented.expiries);
        self.remind();
    }
}

impl Reloadable for Certificate {
    fn name(&self) -> &'static str {
        "certificate"
    }

    fn files(&self) -> Vec<PathBuf> {
        let loader = self.loader.lock();
        loader.as_ref().map(TlsLoader::paths).unwrap_or_default()
    }

    fn reload(&mut self) -> Result<(), String> {
        let presented = match &mut *self.loader.lock() {
            Some(loader) => loader.load(SystemTime::now())?,
            None => return Ok(()),
        };
        post_to_all(&self.mailboxes, || Post::Tls(Arc::clone(&presented.config)));
        self.note(&presented);
        Ok(())
    }

    fn ends(&self) -> Vec<(&'static str, u64)> {
        self.ends.clone()
    }

    fn remind(&self) {
        self.expiries.iter().for_each(Expiry::log);
    }
}

impl Drop for Certificate {
    fn drop(&mut self) {
        *self.loader.lock() = None;
    }
}

/// Generates the RSA development certificate on a separate thread, which then installs it.
fn make_rsa(rsa: RsaWork, ca: PathBuf, loader: SharedLoader, mailboxes: Mailboxes) -> Fallible<()> {
    let work = move || {
        let _ = rustix::process::nice(NICE); // applies to this thread only
        let made = rsa.make(SystemTime::now());
        let mut loader = loader.lock();
        let Some(loader) = &mut *loader else { return };
        let told = made.and_then(|made| {
            made.write()?;
            loader.add(made.cert.clone(), made.key.clone());
            let presented = loader.load(SystemTime::now());
            let config = presented.map_err(io::Error::other)?.config;
            post_to_all(&mailboxes, || Post::Tls(Arc::clone(&config)));
            made.publish(&ca)
        });
        let ca = ca.display();
        match told {
            Ok(()) => {
                tracing::info!(%ca, "generated an RSA development certificate: its authority was added to this file")
            }
            Err(error) => {
                tracing::warn!(%ca, "devices that support only RSA cannot connect: {error}")
            }
        }
    };
    let thread = thread::Builder::new().name("dev-rsa".into()).spawn(work);
    thread
        .map(|_| ())
        .map_err(|error| Failure::fatal("a thread cannot be started", &error))
}

/// Niceness of the thread that generates the RSA certificate. On a single-CPU machine, the thread gets a tenth of the
/// CPU time during startup. It finishes within seconds even if the machine is busy.
const NICE: i32 = 10;

fn files(settings: &Settings, data_dir: &DataDir) -> Fallible<(TlsFiles, Option<DevCertificate>)> {
    if let Some(files) = &settings.tls {
        return Ok((files.clone(), None));
    }
    let below = settings.advertise.domain.iter();
    let below = below.map(|domain| format!("*.{domain}"));
    let hosts: Vec<_> = settings.dev_hosts.iter().cloned().chain(below).collect();
    let found = dev_certificate::development(data_dir.path(), &hosts, SystemTime::now());
    let found = found
        .map_err(|error| Failure::fatal("the development certificate cannot be written", &error))?;
    if found.made {
        tracing::info!(
            ca = %found.ca.display(),
            "generated a development certificate: clients must trust this file"
        );
    }
    Ok((found.files.clone(), Some(found)))
}
