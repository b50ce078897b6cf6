//! What a node is given, and how etcd is reached.

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

/// What a node is given. One per process.
#[derive(Clone, Debug)]
pub struct Config {
    /// The cluster's name: part of all keys, so that several share an etcd.
    pub cluster: Box<str>,
    /// This node's name, one in the cluster.
    pub node: Box<str>,
    /// Where other nodes pass connections of clients on: host and port.
    pub address: Box<str>,
    /// Where other nodes send messages to it: host and port.
    pub peers: Box<str>,
    /// Its data directory, which exists. Two processes never share one.
    pub directory: PathBuf,
    /// How etcd is reached.
    pub etcd: Options,
    /// Life of a registration without a keepalive, in milliseconds: whole seconds, 5 to 60 of them.
    pub ttl_ms: u64,
    /// The operator accepts etcd as it is, whatever the data directory remembers.
    pub accept_etcd: bool,
}

/// How etcd is reached.
#[derive(Clone, Default)]
pub struct Options {
    /// `http://` or `https://` with host and port, one for each member.
    pub endpoints: Vec<Box<str>>,
    /// For `https://`; see [`tls`].
    pub tls: Option<Arc<ClientConfig>>,
    /// User and password, where etcd wants them.
    pub user: Option<(Box<str>, Box<str>)>,
}

/// Shows no password.
impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("endpoints", &self.endpoints)
            .field("user", &self.user.as_ref().map(|(name, _)| name))
            .finish_non_exhaustive()
    }
}

/// Why certificates cannot be used.
#[derive(Debug)]
pub enum TlsError {
    /// The file of authorities, of the certificate or of the key is not PEM, or has nothing of the kind.
    Pem(&'static str),
    /// The TLS library does not take what they say.
    Refused(rustls::Error),
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pem(what) => write!(f, "the file of {what} is not PEM, or has none"),
            Self::Refused(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for TlsError {}

/// TLS towards etcd: the authorities that sign its certificates, and a client certificate with its key where etcd wants
/// one, all PEM.
///
/// # Errors
/// [`TlsError`].
pub fn tls(ca: &[u8], identity: Option<(&[u8], &[u8])>) -> Result<ClientConfig, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(ca, "authorities")? {
        roots.add(certificate).map_err(TlsError::Refused)?;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Refused)?
        .with_root_certificates(roots);
    let mut config = match identity {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => {
            let chain = certificates(certificate, "the certificate")?;
            let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| TlsError::Pem("the key"))?;
            builder
                .with_client_auth_cert(chain, key)
                .map_err(TlsError::Refused)?
        }
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(config)
}

fn certificates(pem: &[u8], what: &'static str) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match read {
        Ok(found) if !found.is_empty() => Ok(found),
        Ok(_) | Err(_) => Err(TlsError::Pem(what)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_not_shown() {
        let options = Options {
            user: Some(("node".into(), "hidden".into())),
            ..Options::default()
        };
        let shown = format!("{options:?}");
        assert!(
            shown.contains("node") && !shown.contains("hidden"),
            "{shown}"
        );
    }
}
