//! The options of the connection to etcd, from the settings and the files that they name.

use crate::files;
use broker_core::settings::Etcd;
use broker_etcd::{Options, TlsError};
use rustls::ClientConfig;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A file that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct EtcdFault {
    /// The key that names it.
    pub(crate) key: &'static str,
    /// The file.
    pub(crate) path: PathBuf,
    /// The rule that the file breaks.
    pub(crate) rule: String,
}

/// Reads the certificates and the password.
///
/// # Errors
/// Every file that cannot be used.
pub(crate) fn options(etcd: &Etcd) -> Result<Options, Vec<EtcdFault>> {
    let mut faults = Vec::new();
    let tls = match tls(etcd) {
        Ok(tls) => tls,
        Err(found) => {
            faults.extend(found);
            None
        }
    };
    let mut user = None;
    if let (Some(name), Some(path)) = (&etcd.user, &etcd.password_file) {
        match password(path) {
            Ok(password) => user = Some((name.as_str().into(), password)),
            Err(rule) => faults.push(fault("cluster.etcd_password_file", path, rule)),
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
    })
}

/// The authorities alone first, so that a fault has the key of its file.
fn tls(etcd: &Etcd) -> Result<Option<ClientConfig>, Vec<EtcdFault>> {
    let Some(ca_path) = &etcd.ca else {
        return Ok(None);
    };
    let mut faults = Vec::new();
    let mut take = |key, path: &PathBuf| match pem(path) {
        Ok(content) => Some(content),
        Err(rule) => {
            faults.push(fault(key, path, rule));
            None
        }
    };
    let ca = take("cluster.etcd_ca", ca_path);
    let identity = match (&etcd.cert, &etcd.key) {
        (Some(cert), Some(key)) => {
            let (cert_pem, key_pem) = (
                take("cluster.etcd_cert", cert),
                take("cluster.etcd_key", key),
            );
            cert_pem.zip(key_pem).map(|pair| (cert, key, pair))
        }
        (_, _) => None,
    };
    let Some(ca) = ca.filter(|_| faults.is_empty()) else {
        return Err(faults);
    };
    let alone = broker_etcd::tls(ca.as_bytes(), None);
    let alone = alone.map_err(|error| {
        let rule = format!("must be a PEM file with certificates of authorities: {error}");
        vec![fault("cluster.etcd_ca", ca_path, rule)]
    })?;
    let Some((cert, key, (cert_pem, key_pem))) = identity else {
        return Ok(Some(alone));
    };
    let pair = (cert_pem.as_bytes(), key_pem.as_bytes());
    let whole = broker_etcd::tls(ca.as_bytes(), Some(pair)).map_err(|error| {
        let (name, path, what) = match &error {
            TlsError::Pem("the key") => ("cluster.etcd_key", key, "a PEM file with a private key"),
            TlsError::Pem(_) => ("cluster.etcd_cert", cert, "a PEM file with a certificate"),
            TlsError::Refused(_) => ("cluster.etcd_cert", cert, "the certificate of etcd_key"),
        };
        vec![fault(name, path, format!("must be {what}: {error}"))]
    })?;
    Ok(Some(whole))
}

fn pem(path: &Path) -> Result<zeroize::Zeroizing<String>, String> {
    let read = files::read_text(path, PEM_BYTES_MAX);
    let read = read.map_err(|error| format!("must be a readable file: {error}"))?;
    Ok(read.content)
}

/// The password of a file: its one line.
fn password(path: &Path) -> Result<Box<str>, String> {
    let read = files::read_text(path, PASSWORD_BYTES_MAX)
        .map_err(|error| format!("must be a readable file: {error}"))?;
    if read.is_open_to_others() {
        let path = path.display();
        tracing::warn!("{path}: everybody on this machine may read or change it: chmod 600");
    }
    let password = read.content.trim_end_matches(['\r', '\n']);
    if password.is_empty() || password.chars().any(char::is_control) {
        return Err("must be a file with one line, the password".into());
    }
    Ok(password.into())
}

fn fault(key: &'static str, path: &Path, rule: String) -> EtcdFault {
    EtcdFault {
        key,
        path: path.to_owned(),
        rule,
    }
}

/// Longest file of certificates: a hundred authorities.
const PEM_BYTES_MAX: usize = 1 << 20;

/// Longest file of a password.
const PASSWORD_BYTES_MAX: usize = 1024;
