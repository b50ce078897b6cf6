//! The files of a hook: its secrets, the certificate that its receiver is shown, the authorities of the receiver's own.

use crate::files;
use crate::hooks::client::Client;
use crate::hooks::secret;
use broker_core::settings::{Hook, Settings};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// A file of a hook that is not as it should be.
pub(crate) struct HookFault {
    /// The key of the configuration that names it.
    pub(crate) key: String,
    /// The file.
    pub(crate) path: PathBuf,
    /// The rule that it breaks.
    pub(crate) rule: String,
}

/// The files of all hooks.
#[must_use]
pub(crate) fn files_of(settings: &Settings) -> Vec<PathBuf> {
    let of_hook = |hook: &Hook| {
        let client = hook.client.iter().flat_map(|(cert, key)| [cert, key]);
        let all = [&hook.secret_file].into_iter().chain(client);
        all.chain(&hook.ca).cloned().collect::<Vec<_>>()
    };
    settings.hooks.iter().flat_map(of_hook).collect()
}

/// A client for each hook, with what its files hold.
///
/// # Errors
/// Every fault.
pub(crate) fn clients(settings: &Settings) -> Result<Vec<Client>, Vec<HookFault>> {
    let (mut clients, mut faults) = (Vec::new(), Vec::new());
    for (nth, hook) in settings.hooks.iter().enumerate() {
        match client(hook) {
            Ok(client) => clients.push(client),
            Err((key, path, rule)) => faults.push(HookFault {
                key: format!("hook[{nth}].{key}"),
                path,
                rule,
            }),
        }
    }
    if faults.is_empty() {
        Ok(clients)
    } else {
        Err(faults)
    }
}

type Broken = (&'static str, PathBuf, String);

fn client(hook: &Hook) -> Result<Client, Broken> {
    let broken = |key, path: &Path| {
        let path = path.to_owned();
        move |rule| (key, path, rule)
    };
    let secrets = secret::read(&hook.secret_file);
    let secrets = secrets.map_err(broken("secret_file", &hook.secret_file))?;
    let mut roots = RootCertStore::empty();
    match &hook.ca {
        Some(path) => {
            for certificate in certificates(path).map_err(broken("ca", path))? {
                let added = roots.add(certificate).map_err(|error| error.to_string());
                added.map_err(broken("ca", path))?;
            }
        }
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())
        .map_err(broken("secret_file", &hook.secret_file))?
        .with_root_certificates(roots);
    let tls = match &hook.client {
        None => tls.with_no_client_auth(),
        Some((cert, key)) => {
            let chain = certificates(cert).map_err(broken("client_cert", cert))?;
            let private = private_key(key).map_err(broken("client_key", key))?;
            let tls = tls.with_client_auth_cert(chain, private);
            let rule = |error| format!("must be the certificate of client_key: {error}");
            tls.map_err(rule).map_err(broken("client_cert", cert))?
        }
    };
    Ok(Client::new(
        tls,
        secrets,
        Duration::from_millis(hook.timeout_ms),
    ))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let read = files::read_regular(path, PEM_BYTES_MAX);
    let read = read.map_err(|error| format!("must be a readable file: {error}"))?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&read.content).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        Ok(_) | Err(_) => Err("must be a PEM file with certificates".into()),
    }
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, String> {
    let read = files::read_regular(path, PEM_BYTES_MAX);
    let read = read.map_err(|error| format!("must be a readable file: {error}"))?;
    if read.is_open_to_others() {
        return Err("must be a file that only its owner and group may read: chmod 600".into());
    }
    let key = PrivateKeyDer::from_pem_slice(&read.content);
    key.map_err(|_| "must be a PEM file with a private key".into())
}

/// Longest file of certificates: a hundred authorities.
const PEM_BYTES_MAX: usize = 1 << 20;
