//! From PEM files to the certificates of TLS listeners, with their expiry.
//!
//! In reading order: this page (the server configuration), `chain` (a file and what is wrong with it; order, validity
//! and key of certificates), `expiry` (how long is left, and when to say so), `tickets` (those of a cluster, and their
//! end with certificates).

mod chain;
mod expiry;
mod tickets;

use broker_core::settings::{Expired, TlsFiles};
use chain::Chain;
pub use chain::TlsFault;
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

/// The certificates that TLS listeners present, read and checked.
#[derive(Clone, Debug)]
pub struct PresentedCertificates {
    /// For connections from here on; the same for every shard.
    pub config: Arc<ServerConfig>,
    /// Until when each holds: at least one.
    pub expiries: Vec<Expiry>,
    /// Ends for metrics, by what ends; with the authorities of clients.
    pub ends: Vec<(&'static str, u64)>,
    /// Name and serial number of each leaf, and the end of its chain.
    pub leaves: Vec<[String; 3]>,
    /// Warnings of what works, but probably not as meant: one sentence each.
    pub warnings: Vec<String>,
}

impl PresentedCertificates {
    /// The last second at which all of them are valid, in seconds since 1970.
    #[must_use]
    pub fn not_after(&self) -> u64 {
        self.expiries
            .iter()
            .map(Expiry::not_after)
            .min()
            .unwrap_or(0)
    }
}

/// Reads the files again and again under the same ticket keys, so that a client resumes its session across shards and
/// reloads.
///
/// One per process. Ticket keys are made by rustls, live in memory only, and are replaced every six hours; in a cluster
/// they follow from its secret, so that a client resumes on any node. Either way a ticket is good for six to twelve
/// hours, and no longer than the certificates of its session. Keys are also replaced when other authorities of client
/// certificates come into force: a resumed session is not asked for its certificate again.
#[derive(Debug)]
pub struct TlsLoader {
    files: TlsFiles,
    tickets: Arc<dyn ProducesTickets>,
    /// The secrets that ticket keys are derived from, in a cluster.
    shared: Option<Vec<Zeroizing<[u8; 32]>>>,
    /// The authorities of client certificates that `tickets` go with; empty for none.
    authorities: Vec<CertificateDer<'static>>,
    /// The end of what was read last; 0 before.
    not_after: u64,
}

impl TlsLoader {
    /// A loader with ticket keys of its own.
    ///
    /// # Errors
    /// The system gives no random bytes.
    pub fn new(files: TlsFiles) -> Result<Self, String> {
        Self::sharing(files, None)
    }

    /// A loader whose ticket keys are derived from these: the first seals, the others open as well.
    ///
    /// # Errors
    /// The system gives no random bytes.
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

    /// Reads these beside the others from here on.
    pub fn add(&mut self, cert: PathBuf, key: PathBuf) {
        self.files.cert.push(cert);
        self.files.key.push(key);
    }

    /// The files that are read.
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

    /// Reads the files into a server configuration: TLS 1.2 and 1.3, the cipher suite by our own preference,
    /// `http/1.1` only, one stateless ticket a connection and no session store, so that all shards can share it without
    /// writing to it. With `client_ca`, clients must show a certificate of one of its authorities. A certificate that
    /// has expired never replaces one that is valid.
    ///
    /// # Errors
    /// `key = FILE: must be …`: what is wrong with which file and what to do. Then nothing has changed.
    pub fn load(&mut self, now: SystemTime) -> Result<PresentedCertificates, String> {
        let provider = Arc::new(ordered());
        let Material {
            pairs,
            clients: (authorities, verifier),
        } = Material::read(&self.files, &provider, now, self.expired(now)).map_err(|faults| {
            let lines: Vec<_> = faults.iter().map(TlsFault::to_string).collect();
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
        let expiries: Vec<_> = chains().map(|chain| chain.expiry().clone()).collect();
        let ends = ends(&pairs, &self.authorities);
        self.not_after = expiries.iter().map(Expiry::not_after).min().unwrap_or(0);
        config.ignore_client_order = true;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.ticketer = Arc::new(EndingTickets {
            keys: Arc::clone(&self.tickets),
            not_after: self.not_after,
            clock: Arc::clone(&config.time_provider),
        });
        config.send_tls13_tickets = 1; // each costs a write after the handshake; clients use the last
        Ok(PresentedCertificates {
            config: Arc::new(config),
            warnings: chains().flat_map(Chain::warnings).cloned().collect(),
            leaves: chains().map(Chain::leaf).collect(),
            expiries,
            ends,
        })
    }

    /// The treatment of files that have expired.
    fn expired(&self, now: SystemTime) -> Expired {
        let now = now.duration_since(SystemTime::UNIX_EPOCH);
        match now.is_ok_and(|since| since.as_secs() <= self.not_after) {
            true => Expired::Refuse,
            false => self.files.expired,
        }
    }
}

/// The ends for metrics: of the certificate, of the second one if its key is of RSA, and of authorities of clients.
fn ends(pairs: &[Pair], authorities: &[CertificateDer<'_>]) -> Vec<(&'static str, u64)> {
    let of_pair = |(chain, key): &Pair| {
        let is_second = pairs.len() > 1 && key.algorithm() == SignatureAlgorithm::RSA;
        let of = if is_second {
            "listener_rsa"
        } else {
            "listener"
        };
        (of, chain.expiry().not_after())
    };
    let of_authority = |der: &CertificateDer<'_>| Some(("authority", chain::not_after(der)?));
    let authorities = authorities.iter().filter_map(of_authority);
    pairs.iter().map(of_pair).chain(authorities).collect()
}

/// The certificates that may be presented, those first that take least: a signature with RSA takes ten times as long.
#[derive(Debug)]
struct ByOffer(Vec<Arc<CertifiedKey>>);

impl ByOffer {
    fn of(pairs: &[Pair]) -> Self {
        let certified = |(chain, key): &Pair| {
            Arc::new(CertifiedKey::new(
                chain.certificates().to_vec(),
                Arc::clone(key),
            ))
        };
        let mut all: Vec<_> = pairs.iter().map(certified).collect();
        all.sort_by_key(|certified| certified.key.algorithm() == SignatureAlgorithm::RSA);
        Self(all)
    }
}

impl ResolvesServerCert for ByOffer {
    /// The first whose key makes a signature that the client can verify; the library has removed those that go with
    /// none of the offered cipher suites. Where there is none, it says so of any.
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let signs = |certified: &&Arc<CertifiedKey>| {
            let schemes = hello.signature_schemes();
            certified.key.choose_scheme(schemes).is_some()
        };
        let Self(all) = self;
        all.iter().find(signs).or_else(|| all.first()).cloned()
    }
}

/// The library's cipher suites, those first that take least: with SHA-256, for which processors have instructions, a
/// full handshake takes a quarter less than with SHA-384, which OpenSSL offers first. All of them are strong, so the
/// server's preference counts.
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

/// Checks the files as the first [`TlsLoader::load`] does, or more strictly: what works, but probably not as meant, a
/// sentence each.
///
/// # Errors
/// The faults of all files.
pub fn check(
    files: &TlsFiles,
    now: SystemTime,
    expired: Expired,
) -> Result<Vec<String>, Vec<TlsFault>> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let pairs = Material::read(files, &provider, now, expired)?.pairs;
    let told = |(chain, _): &Pair| {
        let notice = chain.expiry().notice(now).map(|(_, text)| text);
        let warnings = chain.warnings().iter().cloned();
        warnings.chain(notice).collect::<Vec<_>>()
    };
    Ok(pairs.iter().flat_map(told).collect())
}

/// A certificate with its chain, and its key.
type Pair = (Chain, Arc<dyn SigningKey>);

/// The content of the files, each valid and fitting the others.
struct Material {
    /// At least one, each of another kind of key.
    pairs: Vec<Pair>,
    clients: Clients,
}

impl Material {
    /// Reads every file, also when another one is wrong.
    fn read(
        files: &TlsFiles,
        provider: &Arc<CryptoProvider>,
        now: SystemTime,
        expired: Expired,
    ) -> Result<Self, Vec<TlsFault>> {
        let (mut pairs, mut faults): (Vec<Pair>, _) = (Vec::new(), Vec::new());
        for (cert, key) in files.cert.iter().zip(&files.key) {
            match pair(cert, key, provider, now, expired) {
                Ok(pair) => {
                    let same = |(_, other): &Pair| other.algorithm() == pair.1.algorithm();
                    if pairs.iter().any(same) {
                        let algorithm = pair.1.algorithm();
                        let same = format!(
                            "its key is of the same kind as that of the other one ({algorithm:?}), which every client \
                             would get"
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

/// Reads a certificate and its key.
fn pair(
    cert: &Path,
    key_path: &Path,
    provider: &CryptoProvider,
    now: SystemTime,
    expired: Expired,
) -> Result<Pair, Vec<TlsFault>> {
    let chain = Chain::read(cert, now, expired);
    let key = chain::private_key(key_path).and_then(|key| {
        let loaded = provider.key_provider.load_private_key(key);
        loaded.map_err(|error| chain::key_fault(key_path, &error))
    });
    match (chain, key) {
        (Ok(chain), Ok(key)) => match chain.fits(&*key, cert, key_path) {
            Ok(()) => Ok((chain, key)),
            Err(fault) => Err(vec![fault]),
        },
        (chain, key) => Err([chain.err(), key.err()].into_iter().flatten().collect()),
    }
}

/// The authorities of client certificates, and who checks against them.
fn clients(files: &TlsFiles, provider: &Arc<CryptoProvider>) -> Result<Clients, TlsFault> {
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
