//! From PEM files to the certificates of TLS listeners, with their expiry.
//!
//! In reading order: this page (the server configuration), `chain` (a file and what is wrong with it; order, validity
//! and key of certificates), `expiry` (how long is left, and when to say so), `tickets` (those of a cluster, and their
//! end with certificates).

mod chain;
mod expiry;
mod tickets;

use broker_core::settings::TlsFiles;
use chain::Chain;
pub use chain::TlsFault;
pub use expiry::{Expiry, NotAfter, Urgency};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::CertificateDer;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, ProducesTickets, WebPkiClientVerifier};
use rustls::sign::SigningKey;
use rustls::{CipherSuite, RootCertStore, ServerConfig, SupportedCipherSuite};
use std::sync::Arc;
use std::time::SystemTime;
use tickets::{EndingTickets, SharedTickets};
use zeroize::Zeroizing;

/// The certificate that TLS listeners present, read and checked.
#[derive(Clone, Debug)]
pub struct Presented {
    /// For connections from here on; the same for every shard.
    pub config: Arc<ServerConfig>,
    /// Until when it holds.
    pub expiry: Expiry,
    /// Warnings of what works, but probably not as meant: one sentence each.
    pub warnings: Vec<String>,
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
        })
    }

    /// The files that are read.
    #[must_use]
    pub fn files(&self) -> &TlsFiles {
        &self.files
    }

    /// Reads the files into a server configuration: TLS 1.2 and 1.3, the cipher suite by our own preference,
    /// `http/1.1` only, one stateless ticket a connection and no session store, so that all shards can share it without
    /// writing to it. With `client_ca`, clients must show a certificate of one of its authorities.
    ///
    /// # Errors
    /// `key = FILE: must be …`: what is wrong with which file and what to do. Then nothing has changed.
    pub fn load(&mut self, now: SystemTime) -> Result<Presented, String> {
        let provider = Arc::new(ordered());
        let Material {
            chain,
            key,
            clients: (authorities, verifier),
        } = Material::read(&self.files, &provider, now).map_err(|faults| {
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
        let presented = rustls::sign::CertifiedKey::new(chain.certificates().to_vec(), key);
        let mut config =
            verified.with_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(presented)));
        if authorities != self.authorities {
            self.tickets = tickets(self.shared.as_deref(), &authorities)?;
            self.authorities = authorities;
        }
        config.ignore_client_order = true;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.ticketer = Arc::new(EndingTickets {
            keys: Arc::clone(&self.tickets),
            not_after: chain.expiry().not_after(),
            clock: Arc::clone(&config.time_provider),
        });
        config.send_tls13_tickets = 1; // each costs a write after the handshake; clients use the last
        Ok(Presented {
            config: Arc::new(config),
            expiry: chain.expiry().clone(),
            warnings: chain.warnings().to_vec(),
        })
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

/// Checks the files as [`TlsLoader::load`] does: what works, but probably not as meant, a sentence each.
///
/// # Errors
/// The faults of all files.
pub fn check(files: &TlsFiles, now: SystemTime) -> Result<Vec<String>, Vec<TlsFault>> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let chain = Material::read(files, &provider, now)?.chain;
    let notice = chain.expiry().notice(now).map(|(_, text)| text);
    Ok(chain.warnings().iter().cloned().chain(notice).collect())
}

/// The content of the files, each valid and fitting the others.
struct Material {
    chain: Chain,
    key: Arc<dyn SigningKey>,
    clients: Clients,
}

impl Material {
    /// Reads every file, also when another one is wrong.
    fn read(
        files: &TlsFiles,
        provider: &Arc<CryptoProvider>,
        now: SystemTime,
    ) -> Result<Self, Vec<TlsFault>> {
        let chain = Chain::read(&files.cert, now);
        let key = chain::private_key(&files.key).and_then(|key| {
            let loaded = provider.key_provider.load_private_key(key);
            loaded.map_err(|error| chain::key_fault(&files.key, &error))
        });
        let fits = match (&chain, &key) {
            (Ok(chain), Ok(key)) => chain.fits(&**key, files),
            (Err(_), _) | (_, Err(_)) => Ok(()),
        };
        match (chain, key, fits, clients(files, provider)) {
            (Ok(chain), Ok(key), Ok(()), Ok(clients)) => Ok(Self {
                chain,
                key,
                clients,
            }),
            (chain, key, fits, clients) => {
                let faults = [chain.err(), key.err(), fits.err(), clients.err()];
                Err(faults.into_iter().flatten().collect())
            }
        }
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
