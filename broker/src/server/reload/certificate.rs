//! The certificate of TLS listeners: found and read at start, and read again on a reload; the log reminds of its end.

use crate::dev_certificate::{self, DevCertificate};
use crate::server::mailboxes::post_to_all;
use crate::server::reload::{Subject, stamps};
use crate::tls_files::{Expiry, NotAfter, Presented, TlsLoader, Urgency};
use crate::{data_dir::DataDir, edge::Post, failure::Failure, files::Stamp};
use broker_core::settings::{Scheme, Settings, TlsFiles};
use broker_core::shard::Shard;
use mailbox::Mailbox;
use rustls::ServerConfig;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;
use zeroize::Zeroizing;

/// The certificate in force. One per process with a TLS listener, on the main thread.
pub(crate) struct Certificate {
    loader: TlsLoader,
    expiry: Expiry,
    not_after: NotAfter,
    /// Of the shards, which get each new one.
    mailboxes: Arc<[Mailbox<Post<Shard>>]>,
}

/// A start with a certificate.
pub(crate) struct InitialCertificate {
    pub(crate) certificate: Certificate,
    /// The configuration with which shards begin.
    pub(crate) config: Arc<ServerConfig>,
    /// The authority that clients must trust, for the development certificate.
    pub(crate) ca: Option<PathBuf>,
    /// Its files as they were just before they were read.
    pub(crate) read: Vec<Stamp>,
}

impl Certificate {
    /// The operator's certificate, else the development one; `None` without a TLS listener. In a cluster ticket keys
    /// are derived from `ticket_keys`.
    ///
    /// # Errors
    /// [`Failure::Configuration`] when the operator's files are invalid.
    pub(crate) fn find(
        settings: &Settings,
        data_dir: &DataDir,
        mailboxes: &Arc<[Mailbox<Post<Shard>>]>,
        not_after: &NotAfter,
        ticket_keys: Option<Vec<Zeroizing<[u8; 32]>>>,
    ) -> Result<Option<InitialCertificate>, Failure> {
        if settings.port(Scheme::Https).is_none() {
            return Ok(None);
        }
        let (files, ca) = files(settings, data_dir)?;
        let mut loader = TlsLoader::sharing(files, ticket_keys).map_err(Failure::Fatal)?;
        let read = stamps(&paths(loader.files()));
        let presented = loader
            .load(SystemTime::now())
            .map_err(Failure::Configuration)?;
        let mut certificate = Self {
            loader,
            expiry: presented.expiry.clone(),
            not_after: not_after.clone(),
            mailboxes: Arc::clone(mailboxes),
        };
        certificate.note(&presented);
        Ok(Some(InitialCertificate {
            certificate,
            config: presented.config,
            ca,
            read,
        }))
    }

    fn note(&mut self, presented: &Presented) {
        for warning in &presented.warnings {
            tracing::warn!("{warning}");
        }
        self.not_after.set(presented.expiry.not_after());
        self.expiry = presented.expiry.clone();
        self.remind();
    }
}

impl Subject for Certificate {
    fn name(&self) -> &'static str {
        "certificate"
    }

    fn files(&self) -> Vec<PathBuf> {
        paths(self.loader.files())
    }

    /// Connections from here on are presented the new one; others stay as they are.
    fn reload(&mut self) -> Result<(), String> {
        let presented = self.loader.load(SystemTime::now())?;
        post_to_all(&self.mailboxes, || Post::Tls(Arc::clone(&presented.config)));
        self.note(&presented);
        Ok(())
    }

    fn remind(&self) {
        match self.expiry.notice(SystemTime::now()) {
            Some((Urgency::Day, text)) => tracing::error!("{text}"),
            Some((Urgency::Week | Urgency::Month, text)) => tracing::warn!("{text}"),
            None => {}
        }
    }
}

fn files(settings: &Settings, data_dir: &DataDir) -> Result<(TlsFiles, Option<PathBuf>), Failure> {
    if let Some(files) = &settings.tls {
        return Ok((files.clone(), None));
    }
    let below = settings.advertise.domain.iter();
    let below = below.map(|domain| format!("*.{domain}"));
    let hosts: Vec<_> = settings.dev_hosts.iter().cloned().chain(below).collect();
    let found = dev_certificate::development(data_dir.path(), &hosts, SystemTime::now());
    let DevCertificate { ca, files, made } = found
        .map_err(|error| Failure::fatal("the development certificate cannot be written", &error))?;
    if made {
        tracing::info!(ca = %ca.display(), "made a development certificate: clients must trust this file");
    }
    Ok((files, Some(ca)))
}

fn paths(files: &TlsFiles) -> Vec<PathBuf> {
    let TlsFiles {
        cert,
        key,
        client_ca,
    } = files;
    [cert, key].into_iter().chain(client_ca).cloned().collect()
}
