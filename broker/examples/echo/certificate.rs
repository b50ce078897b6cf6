//! The TLS configuration of an echo server: files, or a certificate made on the spot.

use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::path::Path;
use std::sync::Arc;

type Failure = Box<dyn std::error::Error>;

/// The chain and key of two PEM files.
pub(crate) fn from_files(cert: &Path, key: &Path) -> Result<Arc<ServerConfig>, Failure> {
    let chain = CertificateDer::pem_file_iter(cert)?.collect::<Result<Vec<_>, _>>()?;
    config(chain, PrivateKeyDer::from_pem_file(key)?)
}

/// A certificate for localhost that signs itself, and what a client has to trust.
pub(crate) fn self_made() -> Result<(Arc<ServerConfig>, CertificateDer<'static>), Failure> {
    let names = ["localhost", "127.0.0.1"].map(String::from);
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(names)?;
    let der = cert.der().clone();
    let key = PrivateKeyDer::try_from(signing_key.serialize_der())?;
    Ok((config(vec![der.clone()], key)?, der))
}

fn config(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<Arc<ServerConfig>, Failure> {
    let mut config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config.ticketer = rustls::crypto::aws_lc_rs::Ticketer::new()?;
    config.send_tls13_tickets = 1;
    config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
    Ok(Arc::new(config))
}
