//! From PEM files to what TLS listeners present.

use crate::config::TlsFiles;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig};
use std::path::Path;
use std::sync::Arc;

/// Reads the files into a server configuration: TLS 1.2 and 1.3, `http/1.1` only, one stateless ticket a connection and no
/// session store, so that all shards can share it without writing to it.
///
/// # Errors
/// `key = FILE: allowed …`: what is wrong with which file and what to do.
pub fn server_config(files: &TlsFiles) -> Result<Arc<ServerConfig>, String> {
    let chain = certificates("tls.cert", &files.cert)?;
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(|error| {
        fault(
            "tls.key",
            &files.key,
            "allowed a PEM file with an unencrypted private key",
            &error,
        )
    })?;
    let provider = Arc::new(aws_lc_rs::default_provider());
    let versions = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .map_err(|error| format!("TLS cannot be set up: {error}"))?;
    let verified = match &files.client_ca {
        None => versions.with_no_client_auth(),
        Some(path) => {
            let mut roots = RootCertStore::empty();
            for certificate in certificates("tls.client_ca", path)? {
                roots.add(certificate).map_err(|error| {
                    fault(
                        "tls.client_ca",
                        path,
                        "allowed certificates of authorities",
                        &error,
                    )
                })?;
            }
            let verifier =
                WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
            versions.with_client_cert_verifier(verifier.map_err(|error| {
                fault(
                    "tls.client_ca",
                    path,
                    "allowed certificates of authorities",
                    &error,
                )
            })?)
        }
    };
    let mut config = verified.with_single_cert(chain, key).map_err(|error| {
        let rule = format!(
            "allowed the private key of the first certificate in {}",
            files.cert.display()
        );
        fault("tls.key", &files.key, &rule, &error)
    })?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.ticketer = aws_lc_rs::Ticketer::new()
        .map_err(|error| format!("TLS tickets cannot be set up: {error}"))?;
    config.send_tls13_tickets = 1; // each costs a write after the handshake; clients use the last
    Ok(Arc::new(config))
}

/// The certificates of a PEM file, at least one.
fn certificates(key: &str, path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    const RULE: &str = "allowed a PEM file with one certificate or a chain, the leaf first";
    let chain = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| fault(key, path, RULE, &error))?;
    if chain.is_empty() {
        return Err(fault(key, path, RULE, &"there is none in it"));
    }
    Ok(chain)
}

fn fault(key: &str, path: &Path, rule: &str, error: &dyn std::fmt::Display) -> String {
    format!("{key} = {}: {rule}: {error}", path.display())
}
