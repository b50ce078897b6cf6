//! The server configuration of the names whose connections are asked for a certificate.

use crate::devices::Devices;
use broker_core::machine::Shown;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::NoServerSessionStorage;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    DigitallySignedStruct, DistinguishedName, Error, ServerConfig, SignatureScheme, version,
};
use std::sync::Arc;
use std::time::SystemTime;

/// The names, and what connections to them are served with. One of each shard, replaced whole.
#[derive(Debug)]
pub struct Door {
    devices: Arc<Devices>,
    config: Arc<ServerConfig>,
}

impl Door {
    /// Connections to these names, with the certificate that all others are presented.
    ///
    /// Nothing is kept of a session: each handshake shows the certificate, and a ticket of another name opens
    /// nothing here.
    ///
    /// # Errors
    /// The library refuses its own protocol versions.
    pub fn new(devices: Arc<Devices>, ordinary: &ServerConfig) -> Result<Self, Error> {
        let provider = Arc::clone(ordinary.crypto_provider());
        let ask = Arc::new(Ask {
            provider: Arc::clone(&provider),
        });
        let builder = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&version::TLS13, &version::TLS12])?;
        let mut config = builder
            .with_client_cert_verifier(ask)
            .with_cert_resolver(Arc::clone(&ordinary.cert_resolver));
        config.ignore_client_order = ordinary.ignore_client_order;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        config.max_early_data_size = 0;
        Ok(Self {
            devices,
            config: Arc::new(config),
        })
    }

    /// The configuration for a connection that asks for this server name; `None` for an ordinary one.
    #[must_use]
    pub fn opens(&self, server_name: &str) -> Option<&Arc<ServerConfig>> {
        let mut hosts = self.devices.hosts.iter();
        let is_one = hosts.any(|host| host.eq_ignore_ascii_case(server_name));
        is_one.then_some(&self.config)
    }

    /// The beginning of a connection: its server name and its certificate.
    #[must_use]
    pub fn shown(&self, server_name: &str, chain: Option<&[CertificateDer<'_>]>) -> Shown {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let now = UnixTime::since_unix_epoch(now.unwrap_or_default());
        Shown {
            server_name: server_name.to_ascii_lowercase().into(),
            certificate: chain.and_then(|chain| self.devices.judge(chain, now)),
        }
    }
}

/// Asks for a certificate, and takes any, or none, whose key signs the handshake.
#[derive(Debug)]
struct Ask {
    provider: Arc<CryptoProvider>,
}

impl ClientCertVerifier for Ask {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    /// None: clients that do not find their authority among them would show nothing.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        Ok(ClientCertVerified::assertion()) // judged after the handshake
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        let algorithms = &self.provider.signature_verification_algorithms;
        algorithms.supported_schemes()
    }
}
