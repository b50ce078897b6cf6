//! The TLS client: which certificates it trusts, its session tickets, and how data moves between socket and peer.

use crate::plan::CertificateTrust;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{
    ClientConfig, ClientConnection, ClientSessionStore, Resumption, Tls12ClientSessionValue,
    Tls12Resumption, Tls13ClientSessionValue,
};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, NamedGroup, RootCertStore, SignatureScheme};
use rustls_native_certs::load_native_certs;
use std::collections::{HashMap, VecDeque};
use std::fmt::Display;
use std::io::{self, Read, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use ureq::tls::{Certificate, RootCerts, TlsConfig};

/// The TLS configuration of a run, and the host name of one route.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
}

#[derive(Debug)]
pub(crate) struct TlsConnection(pub(crate) ClientConnection);

impl Client {
    /// Creates a client that accepts the certificates in `trust`. Returns `None` if the run does not use TLS. Unless
    /// `resumes` is set, every handshake is a full one. Returns an error if no authority can be read, or if the host
    /// name cannot appear in a certificate.
    pub(crate) fn new(
        trust: &CertificateTrust,
        resumes: bool,
        host: &str,
    ) -> io::Result<Option<Self>> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?;
        let builder = match trust {
            CertificateTrust::NotNeeded => return Ok(None),
            CertificateTrust::Authority(file) => builder.with_root_certificates(roots(file)?),
            CertificateTrust::System => builder.with_root_certificates(system_roots()?),
            CertificateTrust::Anyone => builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(Anyone(provider))),
        };
        let mut config = builder.with_no_client_auth();
        config.resumption = if resumes {
            let tickets = Arc::new(Tickets::default());
            Resumption::store(tickets).tls12_resumption(Tls12Resumption::Disabled)
        } else {
            Resumption::disabled()
        };
        let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
        let config = Arc::new(config);
        Ok(Some(Self { config, name }))
    }

    /// Creates a client with the same configuration for a different host.
    pub(crate) fn towards(&self, host: &str) -> io::Result<Self> {
        let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
        let config = Arc::clone(&self.config);
        Ok(Self { config, name })
    }

    pub(crate) fn connect(&self, out: &mut Vec<u8>) -> io::Result<TlsConnection> {
        let connection = ClientConnection::new(Arc::clone(&self.config), self.name.clone());
        let mut tls = TlsConnection(connection.map_err(io::Error::other)?);
        tls.0.set_buffer_limit(None); // all written data is taken out at once
        tls.flush(out)?;
        Ok(tls)
    }
}

impl TlsConnection {
    /// Decrypts received records into `plain`. Appends replies to `out`, including an alert if there is an error.
    pub(crate) fn receive(
        &mut self,
        mut records: &[u8],
        plain: &mut Vec<u8>,
        out: &mut Vec<u8>,
    ) -> io::Result<()> {
        while !records.is_empty() {
            let taken = self.0.read_tls(&mut records)?;
            let processed = self.0.process_new_packets();
            if let Ok(state) = &processed {
                let start = plain.len();
                plain.resize(start + state.plaintext_bytes_to_read(), 0);
                self.0.reader().read_exact(&mut plain[start..])?;
            }
            self.flush(out)?;
            processed.map_err(io::Error::other)?;
            if taken == 0 {
                break; // after the peer's close_notify
            }
        }
        Ok(())
    }

    pub(crate) fn send(&mut self, plain: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
        self.0.writer().write_all(plain)?;
        self.flush(out)
    }

    fn flush(&mut self, out: &mut Vec<u8>) -> io::Result<()> {
        while self.0.wants_write() {
            self.0.write_tls(out)?;
        }
        Ok(())
    }
}

/// Creates the TLS configuration for [`crate::edge::http`], whose connections are not measured.
pub(crate) fn of_calls(trust: &CertificateTrust) -> io::Result<TlsConfig> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let config = TlsConfig::builder().unversioned_rustls_crypto_provider(provider);
    let trusting = |authorities: Vec<CertificateDer<'_>>| {
        let authorities = authorities.iter();
        let authorities = authorities.map(|one| Certificate::from_der(one).to_owned());
        RootCerts::new_with_certs(&authorities.collect::<Vec<_>>())
    };
    let config = match trust {
        CertificateTrust::NotNeeded => config,
        CertificateTrust::Authority(file) => config.root_certs(trusting(authorities(file)?)),
        CertificateTrust::System => config.root_certs(trusting(load_native_certs().certs)),
        CertificateTrust::Anyone => config.disable_verification(true),
    };
    Ok(config.build())
}

fn roots(file: &Path) -> io::Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    for certificate in authorities(file)? {
        let added = roots.add(certificate);
        added.map_err(|error| about(file, &error))?;
    }
    Ok(roots)
}

fn authorities(file: &Path) -> io::Result<Vec<CertificateDer<'static>>> {
    let certificates = CertificateDer::pem_file_iter(file).and_then(Iterator::collect);
    let certificates: Vec<_> = certificates.map_err(|error| about(file, &error))?;
    if certificates.is_empty() {
        return Err(about(file, &"contains no certificate"));
    }
    Ok(certificates)
}

fn about(file: &Path, what: &dyn Display) -> io::Error {
    io::Error::other(format!("--tls-ca {}: {what}", file.display()))
}

fn system_roots() -> io::Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    let (added, _) = roots.add_parsable_certificates(load_native_certs().certs);
    if added == 0 {
        return Err(io::Error::other(
            "this system has no trusted authorities: name one with --tls-ca FILE (the broker's ready line names it \
             as ca=)",
        ));
    }
    Ok(roots)
}

/// Accepts any certificate but still verifies the signature made with its private key. A handshake thus costs as much
/// as usual, apart from verifying the chain.
#[derive(Debug)]
struct Anyone(Arc<CryptoProvider>);

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// A cache of TLS 1.3 tickets by server name, oldest first. Each ticket is used only once (RFC 8446 appendix C.4). The
/// ticket store in rustls keeps eight tickets per name, which is too few for concurrent connections.
#[derive(Debug, Default)]
struct Tickets(Mutex<TicketsByName>);

type TicketsByName = HashMap<ServerName<'static>, VecDeque<Tls13ClientSessionValue>>;

impl Tickets {
    fn all(&self) -> MutexGuard<'_, TicketsByName> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClientSessionStore for Tickets {
    fn set_kx_hint(&self, _: ServerName<'static>, _: NamedGroup) {}

    fn kx_hint(&self, _: &ServerName<'_>) -> Option<NamedGroup> {
        None
    }

    fn set_tls12_session(&self, _: ServerName<'static>, _: Tls12ClientSessionValue) {}

    fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        None
    }

    fn remove_tls12_session(&self, _: &ServerName<'static>) {}

    fn insert_tls13_ticket(&self, name: ServerName<'static>, ticket: Tls13ClientSessionValue) {
        let mut all = self.all();
        if all.len() >= NAMES_MAX && !all.contains_key(&name) {
            return;
        }
        let tickets = all.entry(name).or_default();
        if tickets.len() >= TICKETS_MAX {
            tickets.pop_front();
        }
        tickets.push_back(ticket);
    }

    fn take_tls13_ticket(&self, name: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        self.all().get_mut(name)?.pop_front()
    }
}

/// Maximum number of server names with tickets. Usually there is one name per target.
const NAMES_MAX: usize = 64;
/// Maximum number of tickets per server name. This exceeds the number of concurrent handshakes.
const TICKETS_MAX: usize = 4_096;
