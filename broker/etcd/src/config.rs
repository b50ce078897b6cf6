//! The configuration of a node, and the options for its connections to etcd.

use crate::limits::INNER_PORTS_MAX;
use broker_core::cluster::secret::ProofKeys;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use thiserror::Error;

/// The configuration of a node. There is one per process.
#[derive(Clone, Debug)]
pub struct NodeConfig {
    /// Name of the cluster. It is part of every key, so several clusters can share one etcd.
    pub cluster: Box<str>,
    /// Name of this node, unique in the cluster.
    pub node: Box<str>,
    /// Address at which this node accepts client connections that other nodes forward.
    pub inner: InnerAddress,
    /// Host and port at which this node receives messages from other nodes.
    pub peers: Box<str>,
    /// Data directory, which must exist and must not be shared by two processes.
    pub directory: PathBuf,
    /// Keys with which the process proves in its registration that it knows the cluster secret.
    pub proofs: ProofKeys,
    /// The etcd members, and the options for connecting to them.
    pub etcd: Options,
    /// Size limit of etcd's database in bytes, used if the etcd members do not report one.
    pub etcd_quota_bytes: u64,
    /// How long a registration lives without a keepalive, in milliseconds: 5 to 60 whole seconds.
    pub lease_ms: u64,
    /// Presence epoch of this process. Every slot that the process owns has a higher presence epoch.
    pub presence: u64,
    /// Whether the operator accepts etcd's current state, even if it contradicts what the data directory recorded.
    pub accept_etcd: bool,
    /// The commit from which this program was built, and when the process started, in seconds since 1970. Both are
    /// shown to operators.
    pub build: (Box<str>, u64),
}

/// An address at which a node accepts client connections forwarded by other nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InnerAddress {
    /// Host and port.
    pub address: Box<str>,
    /// The distinct ports on which the host accepts client connections forwarded by other nodes. At most
    /// [`INNER_PORTS_MAX`].
    pub ports: Box<[u16]>,
}

impl InnerAddress {
    /// Creates an address from `HOST:PORT` and any additional ports. Drops invalid ports and ports beyond the limit.
    #[must_use]
    pub fn new(address: &str, ports: &[u16]) -> Self {
        let own = address.rsplit_once(':');
        let own = own.and_then(|(_, port)| port.parse().ok());
        let mut all: Vec<u16> = Vec::new();
        for port in own.into_iter().chain(ports.iter().copied()) {
            if port != 0 && !all.contains(&port) && all.len() < INNER_PORTS_MAX {
                all.push(port);
            }
        }
        Self {
            address: address.into(),
            ports: all.into(),
        }
    }

    /// Returns all ports, or an empty list if the only port is the one in the address.
    pub(crate) fn several(&self) -> Vec<u16> {
        match &*self.ports {
            [] | [_] => Vec::new(),
            several => several.to_vec(),
        }
    }
}

/// Formats the address, followed by any additional ports. Consecutive ports are shown as ranges such as `7445-7447`.
impl fmt::Display for InnerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.address)?;
        let further = self.ports.get(1..).unwrap_or_default();
        for run in further.chunk_by(|one, next| one.checked_add(1) == Some(*next)) {
            match run {
                [] => {}
                [port] => write!(f, ",{port}")?,
                [first, .., last] => write!(f, ",{first}-{last}")?,
            }
        }
        Ok(())
    }
}

/// The endpoints of etcd, and the options for connecting to them.
#[derive(Clone, Default)]
pub struct Options {
    /// One endpoint per etcd member: `http://` or `https://`, followed by the host and the port.
    pub endpoints: Vec<Box<str>>,
    /// TLS configuration for `https://`; see [`tls`].
    pub tls: Option<Arc<ClientConfig>>,
    /// User name and password, if etcd requires them.
    pub user: Option<(Box<str>, Box<str>)>,
    /// A callback that returns the current options. Set if the options come from files that may change. Called before
    /// each connection attempt, and may block.
    pub renew: Option<Arc<dyn Fn() -> Self + Send + Sync>>,
}

impl Options {
    pub(crate) async fn in_force(&self) -> Self {
        let Some(renew) = self.renew.clone() else {
            return self.clone();
        };
        let renewed = tokio::task::spawn_blocking(move || renew()).await;
        renewed.unwrap_or_else(|_| self.clone())
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("endpoints", &self.endpoints)
            .field("user", &self.user.as_ref().map(|(name, _)| name))
            .finish_non_exhaustive()
    }
}

/// The reason why the TLS certificate files cannot be used.
#[derive(Debug, Error)]
pub enum TlsError {
    /// A file is not PEM or lacks the expected items, which the string describes.
    #[error("the file is not PEM, or lacks {0}")]
    Pem(&'static str),
    /// The TLS library rejected the certificates.
    #[error("{0}")]
    Refused(rustls::Error),
}

/// Creates the TLS configuration for connections to etcd from PEM files. `ca` contains the CA certificates that issue
/// etcd's certificates. `identity` contains a client certificate and its key, and is needed only if etcd requires
/// client certificates.
///
/// # Errors
/// Returns a [`TlsError`] if a file is unusable.
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
    fn ports_are_shown_as_runs_and_none_is_there_twice() {
        let shown = |address: &str, ports: &[u16]| InnerAddress::new(address, ports).to_string();
        assert_eq!(shown("10.0.0.1:7443", &[]), "10.0.0.1:7443");
        assert_eq!(shown("10.0.0.1:7443", &[7443, 7445]), "10.0.0.1:7443,7445");
        let ports = [7443, 7445, 7446, 7447, 7446, 0, 9000, 65535];
        assert_eq!(
            shown("[::1]:7443", &ports),
            "[::1]:7443,7445-7447,9000,65535"
        );
        let many: Vec<u16> = (1..1000).collect();
        let inner = InnerAddress::new("a:1", &many);
        assert_eq!(inner.ports.len(), INNER_PORTS_MAX);
        assert_eq!(InnerAddress::new("a:1", &[1]).several(), Vec::<u16>::new());
        assert_eq!(InnerAddress::new("a:1", &[1, 3]).several(), [1, 3]);
        assert_eq!(*InnerAddress::new("no port", &[7]).ports, [7]);
    }

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
