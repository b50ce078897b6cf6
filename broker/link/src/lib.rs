//! TLS 1.3 between the nodes of a cluster, with mutual authentication by keys that every node derives from the
//! cluster's shared secret.
//!
//! There are no certificates. Each side presents a raw public key (RFC 7250), and accepts only keys derived from the
//! secret. As a result, nothing expires, clocks do not matter, and no certificate authority is needed. Anyone who knows
//! the secret is considered a node. Which node it is must be determined by the protocols on top of TLS. See
//! broker/decisions/0028-links.md.
//!
//! The two sides agree on the purpose of a connection by ALPN (RFC 7301). A listener refuses connections for any other
//! purpose.

use aws_lc_rs::signature::Ed25519KeyPair;
use broker_core::cluster::secret::ClusterSecret;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{AlwaysResolvesClientRawPublicKeys, Resumption, Tls12Resumption};
use rustls::crypto::aws_lc_rs::sign::any_eddsa_type;
use rustls::crypto::aws_lc_rs::{Ticketer, cipher_suite, default_provider, kx_group};
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, verify_tls13_signature_with_raw_key,
};
use rustls::pki_types::{
    CertificateDer, PrivatePkcs8KeyDer, ServerName, SubjectPublicKeyInfoDer, UnixTime,
};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{AlwaysResolvesServerRawPublicKeys, NoServerSessionStorage};
use rustls::sign::CertifiedKey;
use rustls::version::TLS13;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, Error,
    PeerIncompatible, ServerConfig, SignatureScheme,
};
use std::sync::Arc;

/// The purpose of a connection between nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Exchange of messages between nodes.
    Messages,
    /// A link, which carries client connections as streams.
    Link,
}

impl Purpose {
    /// Returns the ALPN protocol name for the purpose.
    #[must_use]
    pub const fn protocol(self) -> &'static [u8] {
        match self {
            Self::Messages => b"heliograph-messages/1",
            Self::Link => b"heliograph-link/1",
        }
    }
}

/// The keys for the nodes of one cluster. Hidden in debug output.
#[derive(Clone)]
pub struct Keys {
    shown: Arc<CertifiedKey>,
    accepted: Arc<AcceptedKeys>,
    provider: Arc<CryptoProvider>,
}

impl Keys {
    /// Derives the keys from the secret, for the cluster with this name.
    ///
    /// # Errors
    /// Fails only if the TLS library has a bug.
    pub fn derive(secret: &ClusterSecret, cluster: &str) -> Result<Self, rustls::Error> {
        let seeds = secret.node_seeds(cluster);
        let pairs = seeds
            .iter()
            .map(|seed| pair(seed))
            .collect::<Result<Vec<_>, _>>()?;
        let keys = pairs.iter().flat_map(|pair| pair.cert.clone()).collect();
        let shown = pairs.into_iter().next().ok_or_else(refused)?;
        let provider = CryptoProvider {
            cipher_suites: vec![cipher_suite::TLS13_AES_128_GCM_SHA256],
            kx_groups: vec![kx_group::X25519],
            ..default_provider()
        };
        let algorithms = provider.signature_verification_algorithms;
        Ok(Self {
            shown: Arc::new(shown),
            accepted: Arc::new(AcceptedKeys { keys, algorithms }),
            provider: Arc::new(provider),
        })
    }

    /// Creates the configuration for the connecting side. Sessions are resumed with tickets, which are stored by server
    /// name. Each thread should use its own configuration, because the ticket store has a lock.
    pub fn client(&self, purpose: Purpose) -> Result<ClientConfig, rustls::Error> {
        let mut config = ClientConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(&[&TLS13])?
            .dangerous() // with a custom verifier
            .with_custom_certificate_verifier(Arc::clone(&self.accepted) as Arc<_>)
            .with_client_cert_resolver(Arc::new(AlwaysResolvesClientRawPublicKeys::new(
                Arc::clone(&self.shown),
            )));
        config.alpn_protocols = vec![purpose.protocol().to_vec()];
        config.enable_sni = false;
        config.resumption =
            Resumption::in_memory_sessions(TICKETS_MAX).tls12_resumption(Tls12Resumption::Disabled);
        Ok(config)
    }

    /// Creates the configuration for the accepting side. All threads of a process should share it, so that every thread
    /// can resume any session.
    ///
    /// # Errors
    /// Fails if the system cannot provide random bytes for ticket keys.
    pub fn server(&self, purpose: Purpose) -> Result<ServerConfig, rustls::Error> {
        let mut config = ServerConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(&[&TLS13])?
            .with_client_cert_verifier(Arc::clone(&self.accepted) as Arc<_>)
            .with_cert_resolver(Arc::new(AlwaysResolvesServerRawPublicKeys::new(
                Arc::clone(&self.shown),
            )));
        config.alpn_protocols = vec![purpose.protocol().to_vec()];
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.ticketer = Ticketer::new()?;
        config.send_tls13_tickets = match purpose {
            // A node keeps a single connection, so it needs no ticket.
            Purpose::Messages => 0,
            // The ticket is used for the next link.
            Purpose::Link => 1,
        };
        Ok(config)
    }
}

fn pair(seed: &[u8; 32]) -> Result<CertifiedKey, rustls::Error> {
    let pair = Ed25519KeyPair::from_seed_unchecked(seed).map_err(|_| refused())?;
    let document = pair.to_pkcs8v1().map_err(|_| refused())?;
    let signing = any_eddsa_type(&PrivatePkcs8KeyDer::from(document.as_ref()))?;
    let public = signing.public_key().ok_or_else(refused)?;
    let public = CertificateDer::from(public.as_ref().to_vec());
    Ok(CertifiedKey::new(vec![public], signing))
}

fn refused() -> rustls::Error {
    rustls::Error::General("the derived key is not accepted".into())
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Keys")
    }
}

/// Returns `true` if a handshake failed because the other side derived different keys, from another secret or another
/// cluster name.
#[must_use]
pub fn is_of_another_cluster(error: &rustls::Error) -> bool {
    use rustls::{AlertDescription, CertificateError, Error};
    matches!(
        error,
        Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure)
            | Error::AlertReceived(AlertDescription::AccessDenied)
    )
}

#[derive(Debug)]
pub(crate) struct AcceptedKeys {
    keys: Vec<CertificateDer<'static>>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl AcceptedKeys {
    /// Checks that a public key is accepted. The handshake signature proves possession of the private key.
    fn verify(&self, shown: &CertificateDer<'_>) -> Result<(), Error> {
        let is_known = self.keys.iter().any(|key| key.as_ref() == shown.as_ref());
        let refusal = CertificateError::ApplicationVerificationFailure;
        is_known.then_some(()).ok_or_else(|| refusal.into())
    }
}

/// Implements methods of both verifier traits: they verify TLS 1.3 signatures with raw keys, and refuse TLS 1.2 with
/// `$refusal`.
macro_rules! raw_keys_of_tls13 {
    ($refusal:ident) => {
        fn verify_tls12_signature(
            &self,
            _message: &[u8],
            _cert: &CertificateDer<'_>,
            _dss: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            Err(PeerIncompatible::$refusal.into())
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            shown: &CertificateDer<'_>,
            signature: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            let key = SubjectPublicKeyInfoDer::from(shown.as_ref());
            verify_tls13_signature_with_raw_key(message, &key, signature, &self.algorithms)
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            vec![SignatureScheme::ED25519]
        }

        fn requires_raw_public_keys(&self) -> bool {
            true
        }
    };
}

impl ServerCertVerifier for AcceptedKeys {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.verify(end_entity)?;
        Ok(ServerCertVerified::assertion())
    }

    raw_keys_of_tls13!(Tls13RequiredForQuic);
}

impl ClientCertVerifier for AcceptedKeys {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.verify(end_entity)?;
        Ok(ClientCertVerified::assertion())
    }

    raw_keys_of_tls13!(ServerDoesNotSupportTls12Or13);
}

/// Maximum number of stored tickets, eight per node. Further links start with full handshakes.
const TICKETS_MAX: usize = 8 * 64;

#[cfg(test)]
mod tests;
