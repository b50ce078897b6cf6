//! Options for connecting to etcd. They are read from the settings, and from files that may change.

use crate::files::{self, FileFault, FileStamp, stamp};
use crate::side::Shared;
use crate::tls_files::{Expiry, first_end_of};
use broker_core::settings::Etcd;
use broker_etcd::{Options, TlsError};
use rustls::ClientConfig;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Options for connecting to etcd, including those read from files. If a file becomes invalid, its last valid contents
/// remain in use. All clones share the same state.
#[derive(Clone)]
pub(crate) struct EtcdFiles(Shared<InForce>);

struct InForce {
    settings: Etcd,
    /// The files' stamps, taken just before `options` was read.
    read: Vec<FileStamp>,
    options: Options,
}

impl EtcdFiles {
    /// Reads the files. The error lists all files that cannot be used.
    pub(crate) fn open(settings: &Etcd) -> Result<Self, Vec<FileFault>> {
        Ok(Self(Shared::new(InForce {
            settings: settings.clone(),
            read: stamps(settings),
            options: options(settings)?,
        })))
    }

    /// Returns options for a client that reconnects. Each connection attempt uses the files' current contents or, if
    /// they are invalid, the last valid ones.
    pub(crate) fn options(&self) -> Options {
        let files = self.clone();
        let renew = move || {
            if files.stamps() != stamps(&files.settings()) {
                let _ = files.read(); // the file watcher logs any fault
            }
            files.0.lock().options.clone()
        };
        Options {
            renew: Some(Arc::new(renew)),
            ..self.0.lock().options.clone()
        }
    }

    /// Reloads the files. If any of them cannot be used, changes nothing and returns an error that lists all such
    /// files.
    pub(crate) fn read(&self) -> Result<(), Vec<FileFault>> {
        let mut in_force = self.0.lock();
        let read = stamps(&in_force.settings);
        in_force.options = options(&in_force.settings)?;
        in_force.read = read;
        Ok(())
    }

    pub(crate) fn settings(&self) -> Etcd {
        self.0.lock().settings.clone()
    }

    pub(crate) fn stamps(&self) -> Vec<FileStamp> {
        self.0.lock().read.clone()
    }
}

fn stamps(settings: &Etcd) -> Vec<FileStamp> {
    files_of(settings).iter().map(|file| stamp(file)).collect()
}

pub(crate) fn files_of(settings: &Etcd) -> Vec<PathBuf> {
    let pem = [&settings.ca, &settings.cert, &settings.key];
    let files = pem.into_iter().chain([&settings.password_file]);
    files.flatten().cloned().collect()
}

/// Returns the earliest expiry of the configured certificates, with the configuration key of that certificate's file.
/// Returns `None` if no certificates are configured.
pub(crate) fn expiry(settings: &Etcd) -> Option<Expiry> {
    let files = [
        ("cluster.etcd_cert", &settings.cert),
        ("cluster.etcd_ca", &settings.ca),
    ];
    let end = |(key, file): (_, &Option<PathBuf>)| Some((first_end_of(file.as_ref()?)?, key));
    let (end, key) = files.into_iter().filter_map(end).min()?;
    Some(Expiry::of_client(end, key))
}

pub(crate) fn told(faults: &[FileFault]) -> String {
    let lines: Vec<_> = faults.iter().map(FileFault::to_string).collect();
    lines.join("\n")
}

/// Reads the certificates and the password. The error lists all files that cannot be used.
pub(crate) fn options(etcd: &Etcd) -> Result<Options, Vec<FileFault>> {
    let (tls, mut faults) = match tls(etcd) {
        Ok(tls) => (tls, Vec::new()),
        Err(faults) => (None, faults),
    };
    let mut user = None;
    if let (Some(name), Some(path)) = (&etcd.user, &etcd.password_file) {
        match password(path) {
            Ok(password) => user = Some((name.as_str().into(), password)),
            Err(rule) => faults.push(FileFault::new("cluster.etcd_password_file", path, rule)),
        }
    }
    if !faults.is_empty() {
        return Err(faults);
    }
    let endpoints = etcd.endpoints.iter().map(|url| url.as_str().into());
    Ok(Options {
        endpoints: endpoints.collect(),
        tls: tls.map(Arc::new),
        user,
        renew: None,
    })
}

/// Loads the TLS configuration. CA certificates are parsed first, so that an error names the right configuration key.
fn tls(etcd: &Etcd) -> Result<Option<ClientConfig>, Vec<FileFault>> {
    let Some(ca_path) = &etcd.ca else {
        return Ok(None);
    };
    let mut faults = Vec::new();
    let mut take = |key, path: &PathBuf| {
        let read = files::readable(path, PEM_BYTES_MAX);
        let read = read.map_err(|rule| faults.push(FileFault::new(key, path, rule)));
        read.ok().map(|read| read.content)
    };
    let ca = take("cluster.etcd_ca", ca_path);
    let pair = etcd.cert.as_ref().zip(etcd.key.as_ref());
    let identity = pair.and_then(|(cert, key)| {
        let cert_pem = take("cluster.etcd_cert", cert);
        let key_pem = take("cluster.etcd_key", key);
        Some((cert, key, cert_pem?, key_pem?))
    });
    let Some(ca) = ca.filter(|_| faults.is_empty()) else {
        return Err(faults);
    };
    let alone = broker_etcd::tls(ca.as_bytes(), None);
    let alone = alone.map_err(|error| {
        let rule = format!("must be a PEM file with certificates of authorities: {error}");
        vec![FileFault::new("cluster.etcd_ca", ca_path, rule)]
    })?;
    let Some((cert, key, cert_pem, key_pem)) = identity else {
        return Ok(Some(alone));
    };
    let pair = (cert_pem.as_bytes(), key_pem.as_bytes());
    let whole = broker_etcd::tls(ca.as_bytes(), Some(pair)).map_err(|error| {
        let (name, path, what) = match &error {
            TlsError::Pem("the key") => ("cluster.etcd_key", key, "a PEM file with a private key"),
            TlsError::Pem(_) => ("cluster.etcd_cert", cert, "a PEM file with a certificate"),
            TlsError::Refused(_) => ("cluster.etcd_cert", cert, "the certificate of etcd_key"),
        };
        vec![FileFault::new(
            name,
            path,
            format!("must be {what}: {error}"),
        )]
    })?;
    Ok(Some(whole))
}

fn password(path: &Path) -> Result<Box<str>, String> {
    let read = files::readable_secret(path, PASSWORD_BYTES_MAX)?;
    let password = read.trim_end_matches(['\r', '\n']);
    if password.is_empty() || password.chars().any(char::is_control) {
        return Err("must be a file with one line, the password".into());
    }
    Ok(password.into())
}

/// Maximum size of a certificate file, in bytes. Enough for a hundred CA certificates.
const PEM_BYTES_MAX: usize = 1 << 20;

const PASSWORD_BYTES_MAX: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn each_connection_is_made_with_the_files_as_they_are_or_were_last_right() {
        let name = format!("heliograph-etcd-files-{}", std::process::id());
        let file = std::env::temp_dir().join(name);
        fs::write(&file, "first\n").unwrap();
        let settings = Etcd {
            endpoints: vec!["http://127.0.0.1:1".into()],
            user: Some("node".into()),
            password_file: Some(file.clone()),
            ..Etcd::default()
        };
        let files = EtcdFiles::open(&settings).unwrap();
        let options = files.options();
        let password = || {
            let renewed = options.renew.as_ref().unwrap()();
            renewed.user.unwrap().1.into_string()
        };
        assert_eq!(password(), "first");
        fs::write(&file, "the second\n").unwrap();
        assert_eq!(password(), "the second");
        fs::write(&file, "two\nlines\n").unwrap();
        assert_eq!(password(), "the second");
        let faults = files.read().unwrap_err();
        assert!(told(&faults).starts_with("cluster.etcd_password_file = "));
        fs::remove_file(&file).unwrap();
        assert_eq!(password(), "the second");
        assert_eq!(expiry(&settings), None);
        assert!(EtcdFiles::open(&settings).is_err(), "a start needs it");
    }
}
