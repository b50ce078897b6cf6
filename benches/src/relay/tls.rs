//! TLS 1.3 for rivals, configured as in the broker: the same library and provider, the same cipher suite, a P-256 key,
//! and one stateless ticket.

use rcgen::{CertificateParams, KeyPair};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs::Ticketer;
use rustls::crypto::aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use std::io;
use std::sync::Arc;
use tokio_rustls::TlsAcceptor;

/// A self-signed certificate for `localhost`. The driver accepts it with `--insecure`.
#[derive(Debug)]
pub struct Identity {
    /// The certificate, in PEM.
    pub cert: String,
    /// The private key, in PEM.
    pub key: String,
}

impl Identity {
    /// Generates a key and a certificate.
    #[must_use]
    pub fn new() -> Self {
        let (key, cert) = certified();
        Self {
            cert: cert.pem(),
            key: key.serialize_pem(),
        }
    }
}

impl Default for Identity {
    fn default() -> Self {
        Self::new()
    }
}

pub(crate) fn acceptor() -> io::Result<TlsAcceptor> {
    let (key, cert) = certified();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let provider = CryptoProvider {
        cipher_suites: vec![TLS13_AES_128_GCM_SHA256],
        ..aws_lc_rs::default_provider()
    };
    let mut config = ServerConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .and_then(|config| {
            config
                .with_no_client_auth()
                .with_single_cert(vec![cert.der().clone()], key)
        })
        .map_err(io::Error::other)?;
    config.ticketer = Ticketer::new().map_err(io::Error::other)?;
    config.send_tls13_tickets = 1;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

fn certified() -> (KeyPair, rcgen::Certificate) {
    let key = KeyPair::generate().expect("the system has random bytes");
    let params = CertificateParams::new(["localhost".to_owned()]).expect("a valid name");
    let cert = params.self_signed(&key).expect("a key that signs");
    (key, cert)
}
