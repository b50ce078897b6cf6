//! TLS listener certificates. They are loaded from PEM files, and their expiry is watched.
//!
//! In reading order: this module (the server configuration); `chain` (the files and their faults, and the order,
//! validity and keys of certificates); `expiry` (the remaining time, and warnings); `tickets` (tickets that are valid
//! throughout a cluster and expire with the certificates).

mod chain;
mod expiry;
mod tickets;

use crate::files::FileFault;
use broker_core::settings::{Expired, TlsFiles};
use chain::Chain;
pub(crate) use chain::{first_end, first_end_of};
pub use expiry::{Expiry, Urgency};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::CertificateDer;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{
    ClientHello, NoServerSessionStorage, ProducesTickets, ResolvesServerCert, WebPkiClientVerifier,
};
use rustls::sign::{CertifiedKey, SigningKey};
use rustls::{CipherSuite, RootCertStore, ServerConfig, SignatureAlgorithm, SupportedCipherSuite};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;
use tickets::{EndingTickets, SharedTickets};
use zeroize::Zeroizing;

/// The certificates that TLS listeners present, loaded and validated.
#[derive(Clone, Debug)]
pub struct PresentedCertificates {
    /// The configuration for new connections, shared by all shards.
    pub config: Arc<ServerConfig>,
    /// Each certificate's expiry. Never empty.
    pub expiries: Vec<Expiry>,
    /// Certificate expiry times to export as metrics, by kind of certificate. Includes the CAs for client certificates.
    pub ends: Vec<(&'static str, u64)>,
    /// Each server certificate's name and serial number, with the expiry of its chain.
    pub leaves: Vec<[String; 3]>,
    /// Warnings about settings that are valid but probably unintended, one sentence each.
    pub warnings: Vec<String>,
}

/// Loads TLS listener certificates from files. Clients can resume sessions across shards and reloads, because the
/// ticket keys stay the same.
///
/// There is one loader per process. rustls generates the ticket keys, keeps them only in memory, and replaces them
/// every six hours. In a cluster, they are instead derived from the cluster's secret, so that clients can resume
/// sessions on any node. In both cases, a ticket is valid for six to twelve hours, but no longer than its session's
/// certificates. The keys are also replaced when the CAs for client certificates change, since a resumed session
/// requests no certificate.
#[derive(Debug)]
pub struct TlsLoader {
    files: TlsFiles,
    tickets: Arc<dyn ProducesTickets>,
    /// Secrets from which ticket keys are derived. `None` outside a cluster.
    shared: Option<Vec<Zeroizing<[u8; 32]>>>,
    /// The CAs for client certificates at the time when `tickets` was created. Empty if there were none.
    authorities: Vec<CertificateDer<'static>>,
    /// Expiry of the most recently loaded certificates. 0 before the first load.
    not_after: u64,
}

impl TlsLoader {
    /// Creates a loader with random ticket keys.
    ///
    /// # Errors
    /// Fails if the system provides no randomness.
    pub fn new(files: TlsFiles) -> Result<Self, String> {
        Self::sharing(files, None)
    }

    /// Creates a loader whose ticket keys are derived from the secrets in `shared`. The first secret seals and opens
    /// tickets. The others only open them.
    ///
    /// # Errors
    /// Fails if the system provides no randomness.
    pub fn sharing(
        files: TlsFiles,
        shared: Option<Vec<Zeroizing<[u8; 32]>>>,
    ) -> Result<Self, String> {
        Ok(Self {
            files,
            tickets: tickets(shared.as_deref(), &[])?,
            shared,
            authorities: Vec::new(),
            not_after: 0,
        })
    }

    /// Adds a certificate and its key, which take effect with the next load.
    pub fn add(&mut self, cert: PathBuf, key: PathBuf) {
        self.files.cert.push(cert);
        self.files.key.push(key);
    }

    /// Returns the paths of all files.
    #[must_use]
    pub fn paths(&self) -> Vec<PathBuf> {
        let TlsFiles {
            cert,
            key,
            client_ca,
            expired: _,
        } = &self.files;
        cert.iter().chain(key).chain(client_ca).cloned().collect()
    }

    /// Loads the files into a server configuration. The configuration supports TLS 1.2 and 1.3, chooses cipher suites
    /// in the server's order of preference, and offers only `http/1.1`. Each connection gets one stateless ticket.
    /// There is no session store, so all shards can share the configuration without writing to it. With `client_ca`,
    /// clients must present a certificate issued by one of its CAs. An expired certificate never replaces a valid one.
    ///
    /// # Errors
    /// Returns `key = FILE: must be …`, with the fault and the remedy, and changes nothing.
    pub fn load(&mut self, now: SystemTime) -> Result<PresentedCertificates, String> {
        let provider = Arc::new(ordered());
        let Material {
            pairs,
            clients: (authorities, verifier),
        } = Material::read(&self.files, &provider, now, self.expired(now)).map_err(|faults| {
            let lines: Vec<_> = faults.iter().map(FileFault::to_string).collect();
            lines.join("; ")
        })?;
        let versions = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
            .map_err(|error| format!("TLS cannot be set up: {error}"))?;
        let verified = match verifier {
            None => versions.with_no_client_auth(),
            Some(verifier) => versions.with_client_cert_verifier(verifier),
        };
        let mut config = verified.with_cert_resolver(Arc::new(ByOffer::of(&pairs)));
        if authorities != self.authorities {
            self.tickets = tickets(self.shared.as_deref(), &authorities)?;
            self.authorities = authorities;
        }
        let chains = || pairs.iter().map(|(chain, _)| chain);
        let expiries: Vec<_> = chains().map(|chain| chain.expiry.clone()).collect();
        let ends = ends(&pairs, &self.authorities);
        let not_after = expiries.iter().map(|it| it.not_after).min();
        self.not_after = not_after.unwrap_or(0);
        config.ignore_client_order = true;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.ticketer = Arc::new(EndingTickets {
            keys: Arc::clone(&self.tickets),
            not_after: self.not_after,
            clock: Arc::clone(&config.time_provider),
        });
        config.send_tls13_tickets = 1; // each costs a write after the handshake, and clients use the last one
        Ok(PresentedCertificates {
            config: Arc::new(config),
            warnings: chains().flat_map(|it| &it.warnings).cloned().collect(),
            leaves: chains().map(Chain::leaf).collect(),
            expiries,
            ends,
        })
    }

    fn expired(&self, now: SystemTime) -> Expired {
        let now = now.duration_since(SystemTime::UNIX_EPOCH);
        match now.is_ok_and(|since| since.as_secs() <= self.not_after) {
            true => Expired::Refuse,
            false => self.files.expired,
        }
    }
}

/// Returns the certificate expiry times to export as metrics, for the server certificate, a second server certificate
/// with an RSA key (if any), and each of the CAs for client certificates.
fn ends(pairs: &[Pair], authorities: &[CertificateDer<'_>]) -> Vec<(&'static str, u64)> {
    let of_pair = |(chain, key): &Pair| {
        let is_second = pairs.len() > 1 && key.algorithm() == SignatureAlgorithm::RSA;
        let of = if is_second {
            "listener_rsa"
        } else {
            "listener"
        };
        (of, chain.expiry.not_after)
    };
    let of_authority = |der: &CertificateDer<'_>| Some(("authority", chain::not_after(der)?));
    let authorities = authorities.iter().filter_map(of_authority);
    pairs.iter().map(of_pair).chain(authorities).collect()
}

/// The certificates to choose from, cheapest first. An RSA signature takes ten times as long as an ECDSA signature.
#[derive(Debug)]
struct ByOffer(Vec<Arc<CertifiedKey>>);

impl ByOffer {
    fn of(pairs: &[Pair]) -> Self {
        let certified = |(chain, key): &Pair| {
            Arc::new(CertifiedKey::new(
                chain.certificates.clone(),
                Arc::clone(key),
            ))
        };
        let mut all: Vec<_> = pairs.iter().map(certified).collect();
        all.sort_by_key(|certified| certified.key.algorithm() == SignatureAlgorithm::RSA);
        Self(all)
    }
}

impl ResolvesServerCert for ByOffer {
    /// Selects the first certificate whose key can sign with one of the client's schemes. rustls has already removed
    /// the schemes that the offered cipher suites rule out. If nothing matches, returns the first certificate, and
    /// rustls reports the mismatch.
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let signs = |certified: &&Arc<CertifiedKey>| {
            let schemes = hello.signature_schemes();
            certified.key.choose_scheme(schemes).is_some()
        };
        let Self(all) = self;
        all.iter().find(signs).or_else(|| all.first()).cloned()
    }
}

/// Returns the library's provider with its cipher suites ordered by cost. Processors have instructions for SHA-256, so
/// a full handshake takes a quarter less time than with SHA-384. OpenSSL clients prefer SHA-384, but all suites are
/// strong, so the server may choose the cheapest one.
fn ordered() -> CryptoProvider {
    let mut provider = aws_lc_rs::default_provider();
    let first = |suite: &SupportedCipherSuite| {
        matches!(
            suite.suite(),
            CipherSuite::TLS13_AES_128_GCM_SHA256
                | CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256
                | CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256
        )
    };
    provider.cipher_suites.sort_by_key(|suite| !first(suite));
    provider
}

/// Validates the files at least as strictly as the first [`TlsLoader::load`] does. Returns warnings about settings that
/// are valid but probably unintended, one sentence each.
///
/// # Errors
/// Returns the faults of all files.
pub fn check(
    files: &TlsFiles,
    now: SystemTime,
    expired: Expired,
) -> Result<Vec<String>, Vec<FileFault>> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let pairs = Material::read(files, &provider, now, expired)?.pairs;
    let told = |(chain, _): &Pair| {
        let notice = chain.expiry.notice(now).map(|(_, text)| text);
        let warnings = chain.warnings.iter().cloned();
        warnings.chain(notice).collect::<Vec<_>>()
    };
    Ok(pairs.iter().flat_map(told).collect())
}

type Pair = (Chain, Arc<dyn SigningKey>);

struct Material {
    /// The certificates with their keys. No two keys are of the same type. Never empty.
    pairs: Vec<Pair>,
    clients: Clients,
}

impl Material {
    fn read(
        files: &TlsFiles,
        provider: &Arc<CryptoProvider>,
        now: SystemTime,
        expired: Expired,
    ) -> Result<Self, Vec<FileFault>> {
        let (mut pairs, mut faults): (Vec<Pair>, _) = (Vec::new(), Vec::new());
        for (cert, key) in files.cert.iter().zip(&files.key) {
            match pair(cert, key, provider, now, expired) {
                Ok(pair) => {
                    let same = |(_, other): &Pair| other.algorithm() == pair.1.algorithm();
                    if pairs.iter().any(same) {
                        let algorithm = pair.1.algorithm();
                        let same = format!(
                            "its key has the same algorithm as that of the other one ({algorithm:?}), which every \
                             client would get"
                        );
                        faults.push(chain::fault(chain::CERT, cert, &same));
                    }
                    pairs.push(pair);
                }
                Err(found) => faults.extend(found),
            }
        }
        match clients(files, provider) {
            Ok(clients) if faults.is_empty() => return Ok(Self { pairs, clients }),
            Ok(_) => {}
            Err(fault) => faults.push(fault),
        }
        Err(faults)
    }
}

fn pair(
    cert: &Path,
    key_path: &Path,
    provider: &CryptoProvider,
    now: SystemTime,
    expired: Expired,
) -> Result<Pair, Vec<FileFault>> {
    let chain = Chain::read(cert, now, expired);
    let key = chain::private_key(key_path).and_then(|key| {
        let loaded = provider.key_provider.load_private_key(key);
        loaded.map_err(|error| chain::fault(chain::KEY, key_path, &error))
    });
    match (chain, key) {
        (Ok(chain), Ok(key)) => match chain.fits(&*key, cert, key_path) {
            Ok(()) => Ok((chain, key)),
            Err(fault) => Err(vec![fault]),
        },
        (chain, key) => Err([chain.err(), key.err()].into_iter().flatten().collect()),
    }
}

fn clients(files: &TlsFiles, provider: &Arc<CryptoProvider>) -> Result<Clients, FileFault> {
    let Some(path) = &files.client_ca else {
        return Ok((Vec::new(), None));
    };
    let authorities = chain::read_certificates(chain::CLIENT_CA, path)?;
    let refused = |error: &dyn std::fmt::Display| chain::fault(chain::CLIENT_CA, path, error);
    let mut roots = RootCertStore::empty();
    for (place, authority) in authorities.iter().enumerate() {
        roots.add(authority.clone()).map_err(|error| {
            refused(&format_args!(
                "certificate {} cannot be used: {error}",
                place + 1
            ))
        })?;
    }
    let verifier =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider))
            .build()
            .map_err(|error| refused(&error))?;
    Ok((authorities, Some(verifier)))
}

type Clients = (
    Vec<CertificateDer<'static>>,
    Option<Arc<dyn ClientCertVerifier>>,
);

fn tickets(
    shared: Option<&[Zeroizing<[u8; 32]>]>,
    authorities: &[CertificateDer<'_>],
) -> Result<Arc<dyn ProducesTickets>, String> {
    if let Some(secrets) = shared {
        return Ok(Arc::new(SharedTickets::new(secrets, authorities)));
    }
    aws_lc_rs::Ticketer::new().map_err(|error| format!("TLS tickets cannot be set up: {error}"))
}

#[cfg(test)]
mod tests;
