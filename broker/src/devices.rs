//! Device certificates: for which connections the broker requests one, and how it is verified.
//!
//! ```text
//! first bytes ─ the server name: one of `hosts`? ─▶ no: the usual configuration
//!                                                └▶ yes: a configuration that requests a certificate and accepts any
//!                                                   or none; the handshake proves possession of its key
//! after the handshake ─ Devices::judge ─▶ fingerprint, dates, and the authority that vouches for it, or the fault
//! ```
//! This module refuses a certificate only if the handshake fails. All other refusals come from the core, which checks
//! the registry first and can explain the refusal in a response body.
//!
//! In reading order: [`Devices`]; [`DeviceTls`], the server configuration; [`DeviceAuthority`]; thing names; the CA for
//! test devices. Revocation lists are in `devices/revocation.rs`.

mod revocation;

use crate::files::write_whole;
use crate::terminal::plain;
use broker_core::machine::{Certified, Shown, ShownCertificate};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
pub use revocation::RevocationLists;
use revocation::number_of;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, RootCertStore, ServerConfig,
    SignatureScheme, version,
};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use std::{fs, io};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::parse_x509_certificate;

/// The host names at which devices present certificates, and the CAs that issue these certificates.
#[derive(Debug)]
pub struct Devices {
    /// Lower-case server names for which a certificate is requested.
    pub hosts: Vec<Box<str>>,
    /// The CAs that issue device certificates. If several of them verify a certificate, the first one is used. A
    /// certificate is refused if it is on any CA's revocation list.
    pub authorities: Vec<DeviceAuthority>,
}

impl Devices {
    /// Parses a certificate with its chain, and verifies it against the CAs. Returns `None` if it cannot be parsed.
    #[must_use]
    pub fn judge(&self, chain: &[CertificateDer<'_>], now: UnixTime) -> Option<ShownCertificate> {
        let (leaf, others) = chain.split_first()?;
        let (_, parsed) = parse_x509_certificate(leaf).ok()?;
        let (not_before_s, not_after_s) = validity_s(&parsed);
        let mut numbers = vec![number_of(&parsed)];
        let others_read = others.iter().take(CHAIN_CERTIFICATES_MAX - 1);
        let others_read = others_read.filter_map(|it| parse_x509_certificate(it).ok());
        numbers.extend(others_read.map(|(_, other)| number_of(&other)));
        let vouched = self.vouched(leaf, others, now);
        // A CA's own certificate can be revoked, too. Devices need not present the CA's certificate.
        numbers.extend(vouched.iter().map(|(authority, _)| authority.number));
        Some(ShownCertificate {
            fingerprint: fingerprint(leaf),
            numbers: numbers.into(),
            not_before_s,
            not_after_s,
            vouched: vouched.map(|(_, it)| it).map_err(Into::into),
        })
    }

    /// Returns the time, in seconds, at which the result of [`Self::judge`] may change next, because a CA, a
    /// certificate in the chain or a revocation list becomes valid or expires. `u64::MAX` means never.
    fn changes_s(&self, chain: &[CertificateDer<'_>], now_s: u64) -> u64 {
        let of_authorities = self.authorities.iter().flat_map(|authority| {
            let (first_s, last_s) = authority.validity_s;
            let lists = authority.lists.all.iter();
            let ends = lists.filter_map(|list| list.ends_s);
            let stale = ends.map(|ends_s| ends_s.saturating_add(authority.grace_s + 1));
            stale.chain([first_s, last_s.saturating_add(1)])
        });
        let read = chain.iter().take(CHAIN_CERTIFICATES_MAX);
        let read = read.filter_map(|it| parse_x509_certificate(it).ok());
        let of_chain = read.flat_map(|(_, it)| {
            let (first_s, last_s) = validity_s(&it);
            [first_s, last_s.saturating_add(1)]
        });
        let later = of_authorities.chain(of_chain).filter(|at_s| *at_s > now_s);
        later.min().unwrap_or(u64::MAX)
    }

    /// Returns warnings about overdue revocation lists, and about CAs that have expired or will expire within a month.
    #[must_use]
    pub fn endings(&self, now_s: u64) -> Vec<String> {
        let of_authorities = self.authorities.iter().filter_map(|authority| {
            let (subject, (_, last_s)) = (&authority.subject, authority.validity_s);
            if last_s < now_s {
                return Some(format!(
                    "the authority {subject}, which has expired: its certificates are refused"
                ));
            }
            let days = (last_s - now_s) / DAY_S;
            (days < ENDS_SOON_DAYS)
                .then(|| format!("the authority {subject}, which expires in {days} days"))
        });
        let of_lists = self.authorities.iter().filter_map(|authority| {
            let overdue_s = now_s.checked_sub(authority.list_ends_s?)?;
            let (subject, hours) = (&authority.subject, overdue_s / 3600);
            Some(format!(
                "a revocation list of the authority {subject} that is overdue by {hours} hours: beyond crl_grace its \
                 certificates are refused"
            ))
        });
        of_authorities.chain(of_lists).collect()
    }

    pub(crate) fn strangers(&self) -> impl Iterator<Item = String> {
        self.lists()
            .into_iter()
            .flat_map(RevocationLists::strangers)
    }

    /// Returns the numbers that identify the revoked certificates, in ascending order.
    pub(crate) fn revoked(&self) -> Box<[u64]> {
        let lists = self.lists().into_iter();
        let mut numbers: Vec<u64> = lists.flat_map(RevocationLists::revoked).collect();
        numbers.sort_unstable();
        numbers.dedup();
        numbers.into()
    }

    /// Returns each configuration table's revocation lists. All CAs of a table share the same lists.
    fn lists(&self) -> Vec<&RevocationLists> {
        let mut lists: Vec<&RevocationLists> =
            self.authorities.iter().map(|it| &*it.lists).collect();
        lists.dedup_by(|one, other| std::ptr::eq(*one, *other));
        lists
    }

    fn vouched(
        &self,
        leaf: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(&DeviceAuthority, Certified), String> {
        if others.len() >= CHAIN_CERTIFICATES_MAX {
            return Err(format!(
                "its chain has more than {CHAIN_CERTIFICATES_MAX} certificates"
            ));
        }
        let bytes = others.iter().fold(leaf.len(), |sum, it| sum + it.len());
        if bytes > CHAIN_BYTES_MAX {
            return Err(format!("its chain has more than {CHAIN_BYTES_MAX} bytes"));
        }
        let mut why = AuthorityFault::NotItsIssuer;
        let mut first = None;
        for authority in &self.authorities {
            match authority.vouch(leaf, others, now) {
                Ok(vouched) => first = first.or(Some((authority, vouched))),
                Err(AuthorityFault::NotItsIssuer) => {}
                // A revoked certificate, or an unknown revocation status, overrides the results for other CAs.
                Err(fault @ (AuthorityFault::Revoked | AuthorityFault::Stale)) => {
                    return Err(fault.to_string());
                }
                Err(fault) => why = fault,
            }
        }
        first.ok_or_else(|| why.to_string())
    }
}

/// Maximum number of certificates in a device's chain: its own certificate and up to three intermediates.
const CHAIN_CERTIFICATES_MAX: usize = 4;

const ENDS_SOON_DAYS: u64 = 30;

const DAY_S: u64 = 24 * 60 * 60;

/// Maximum total size of the certificates in a chain, in bytes.
const CHAIN_BYTES_MAX: usize = 16 * 1024;

// The server configuration for names that request a certificate.

/// The devices, and the TLS configuration for their host names. Each shard has one, and replaces it as a whole.
#[derive(Debug)]
pub struct DeviceTls {
    pub(crate) devices: Arc<Devices>,
    config: Arc<ServerConfig>,
}

impl DeviceTls {
    /// Creates the TLS configuration for connections to the devices' host names, with the server certificate of
    /// `ordinary`.
    ///
    /// Session resumption is disabled, so every device must present its certificate, and tickets issued for other host
    /// names are not accepted.
    ///
    /// # Errors
    /// Fails if the TLS library rejects its own protocol versions.
    pub fn new(devices: Arc<Devices>, ordinary: &ServerConfig) -> Result<Self, Error> {
        let provider = Arc::clone(ordinary.crypto_provider());
        let ask = Arc::new(CertificateRequest {
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

    /// Returns the TLS configuration for a connection to this server name, or `None` if no certificate is requested for
    /// that name.
    #[must_use]
    pub fn opens(&self, server_name: &str) -> Option<&Arc<ServerConfig>> {
        let mut hosts = self.devices.hosts.iter();
        let is_one = hosts.any(|host| host.eq_ignore_ascii_case(server_name));
        is_one.then_some(&self.config)
    }
}

/// Determines whether an earlier verification of a connection's certificate is still valid. Contains the [`Devices`]
/// that the certificate was verified against, and the second (since 1970 UTC) at which the result expires.
#[derive(Debug)]
pub struct CertificateJudgement {
    devices: Arc<Devices>,
    until_s: u64,
}

impl CertificateJudgement {
    /// Verifies the certificate on a connection to this server name.
    #[must_use]
    pub fn pass(
        devices: &Arc<Devices>,
        server_name: &str,
        chain: Option<&[CertificateDer<'_>]>,
        now_s: u64,
    ) -> (Self, Shown) {
        let now = UnixTime::since_unix_epoch(Duration::from_secs(now_s));
        let judgement = Self {
            devices: Arc::clone(devices),
            until_s: devices.changes_s(chain.unwrap_or_default(), now_s),
        };
        let shown = Shown {
            server_name: server_name.to_ascii_lowercase().into(),
            certificate: chain.and_then(|chain| devices.judge(chain, now)),
        };
        (judgement, shown)
    }

    /// Returns whether the result is still valid at this second, for these devices.
    #[must_use]
    pub fn holds(&self, devices: &Arc<Devices>, now_s: u64) -> bool {
        Arc::ptr_eq(&self.devices, devices) && now_s < self.until_s
    }
}

/// Requests a certificate from clients. Accepts clients without one, and accepts any certificate whose key has signed
/// the handshake.
#[derive(Debug)]
struct CertificateRequest {
    provider: Arc<CryptoProvider>,
}

impl ClientCertVerifier for CertificateRequest {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    /// Returns an empty list, because a client that does not find its CA in a list of CAs would present no certificate.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        Ok(ClientCertVerified::assertion()) // verified after the handshake
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

// A device CA: its certificate, its revocation lists, and the field that contains the thing name.

/// A CA that issues certificates to things, as AWS IoT calls devices.
#[derive(Debug)]
pub struct DeviceAuthority {
    /// SHA-256 of the public key.
    pub key: [u8; 32],
    /// Identifies the CA's own certificate, in case a superior CA revokes it.
    number: u64,
    /// Number of certificates that this CA has revoked. `None` if it has no revocation list.
    pub revoked: Option<usize>,
    /// First and last second of validity, in seconds since 1970 UTC.
    pub validity_s: (u64, u64),
    /// The certificate's subject, without control characters, which a terminal would interpret.
    pub subject: String,
    /// The time at which the first revocation list of the CA or its intermediates is due for an update, in seconds
    /// since 1970 UTC. `None` if no list specifies such a time.
    pub list_ends_s: Option<u64>,
    lists: Arc<RevocationLists>,
    grace_s: u64,
    name: NameSource,
    verifier: Arc<dyn ClientCertVerifier>,
}

/// Why a CA does not vouch for a certificate.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuthorityFault {
    /// The CA did not sign the certificate.
    #[error("no trusted authority issued it")]
    NotItsIssuer,
    /// The CA signed the certificate, but the certificate is invalid for this reason.
    #[error("it cannot be verified with its authority: {0}")]
    Refused(String),
    /// The certificate or an intermediate certificate has been revoked.
    #[error("its authority has revoked it (`crl` of [things])")]
    Revoked,
    /// The certificate does not contain a valid thing name.
    #[error("{0}")]
    Name(&'static str),
    /// The CA's certificate is not valid at this time.
    #[error("the certificate of its authority is not valid now")]
    NotValid,
    /// A revocation list that covers the certificate is overdue.
    #[error("the revocation list that applies to it is too old")]
    Stale,
}

impl DeviceAuthority {
    /// Creates a CA from its certificate and its revocation lists. A list becomes stale once its update is overdue by
    /// more than `grace_s` seconds.
    ///
    /// # Errors
    /// Returns what is wrong with the certificate or a list.
    pub fn new(
        certificate: &CertificateDer<'static>,
        lists: &Arc<RevocationLists>,
        name: NameSource,
        grace_s: u64,
    ) -> Result<Self, String> {
        let (_, parsed) = parse_x509_certificate(certificate)
            .map_err(|error| format!("a certificate cannot be read: {error}"))?;
        let subject = parsed.subject();
        let revoked = lists.revoked_by(subject.as_raw());
        let mut roots = RootCertStore::empty();
        roots
            .add(certificate.clone())
            .map_err(|error| format!("a certificate cannot be that of an authority: {error}"))?;
        let provider = Arc::new(aws_lc_rs::default_provider());
        let mut verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
            .with_crls(lists.all.iter().map(|list| list.der.clone()));
        if revoked.is_none() {
            // If this CA has no list, a certificate's revocation status is checked only if its issuer has a list.
            verifier = verifier.allow_unknown_revocation_status();
        }
        let verifier = verifier
            .build()
            .map_err(|error| format!("a revocation list cannot be used: {error}"))?;
        Ok(Self {
            key: fingerprint(parsed.public_key().raw),
            number: number_of(&parsed),
            revoked,
            validity_s: validity_s(&parsed),
            subject: plain(&subject.to_string()),
            list_ends_s: lists.end_s(subject.as_raw()),
            lists: Arc::clone(lists),
            grace_s,
            name,
            verifier,
        })
    }

    /// Verifies a certificate and returns its thing name. For the errors, see [`AuthorityFault`].
    fn vouch(
        &self,
        leaf: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<Certified, AuthorityFault> {
        let verified = self.verifier.verify_client_cert(leaf, others, now);
        verified.map_err(|error| {
            use CertificateError::{BadSignature, Revoked, UnknownIssuer};
            if let Error::InvalidCertificate(UnknownIssuer | BadSignature) = error {
                return AuthorityFault::NotItsIssuer;
            }
            if let Error::InvalidCertificate(Revoked) = error {
                return AuthorityFault::Revoked;
            }
            AuthorityFault::Refused(error.to_string())
        })?;
        let (first_s, last_s) = self.validity_s;
        if !(first_s..=last_s).contains(&now.as_secs()) {
            return Err(AuthorityFault::NotValid);
        }
        let chain = std::iter::once(leaf).chain(others);
        let parsed = chain.map(|it| parse_x509_certificate(it).map(|(_, parsed)| parsed));
        let parsed: Result<Vec<_>, _> = parsed.collect();
        let parsed = parsed.map_err(|error| AuthorityFault::Refused(error.to_string()))?;
        let before_s = now.as_secs().saturating_sub(self.grace_s);
        if self.lists.is_stale(&parsed, before_s) {
            return Err(AuthorityFault::Stale);
        }
        let leaf = parsed.first().ok_or(AuthorityFault::NotItsIssuer)?;
        Ok(Certified {
            authority: self.key,
            name: self.name.of(leaf).map_err(AuthorityFault::Name)?,
        })
    }
}

pub(crate) fn fingerprint(der: &[u8]) -> [u8; 32] {
    let digest = ::aws_lc_rs::digest::digest(&::aws_lc_rs::digest::SHA256, der);
    let mut fingerprint = [0; 32];
    fingerprint.copy_from_slice(digest.as_ref());
    fingerprint
}

/// Returns the first and the last second of validity, since 1970 UTC.
pub(crate) fn validity_s(certificate: &X509Certificate<'_>) -> (u64, u64) {
    let validity = certificate.validity();
    let (first, last) = (validity.not_before, validity.not_after);
    (seconds(first.timestamp()), seconds(last.timestamp()))
}

/// Returns the seconds since 1970 UTC, or 0 for earlier times.
pub(crate) fn unix_s(at: SystemTime) -> u64 {
    let since = at.duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

/// Returns the seconds since 1970, or 0 for earlier times.
fn seconds(timestamp: i64) -> u64 {
    u64::try_from(timestamp).unwrap_or(0)
}

// The thing name in a certificate.

/// The certificate field that contains the thing name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameSource {
    /// The subject's common name.
    CommonName,
    /// A DNS name among the subject alternative names.
    Dns,
    /// A URI among the subject alternative names.
    Uri,
}

impl NameSource {
    /// Parses a field's name as written in the configuration.
    #[must_use]
    pub fn named(text: &str) -> Option<Self> {
        match text {
            "subject.CN" => Some(Self::CommonName),
            "san.dns" => Some(Self::Dns),
            "san.uri" => Some(Self::Uri),
            _ => None,
        }
    }

    /// Returns a certificate's thing name. The field must contain exactly one valid name.
    pub(crate) fn of(self, certificate: &X509Certificate<'_>) -> Result<Box<str>, &'static str> {
        let names = match self {
            Self::CommonName => {
                let names = certificate.subject().iter_common_name();
                names.map(|name| name.as_str().ok()).collect()
            }
            Self::Dns | Self::Uri => {
                let found = certificate.subject_alternative_name().ok().flatten();
                let names = found.into_iter().flat_map(|it| &it.value.general_names);
                Some(names.filter_map(|name| self.alternative(name)).collect())
            }
        };
        let names: Vec<&str> = names.ok_or("the name of its thing cannot be read")?;
        match names[..] {
            [] => Err("it has no name of a thing in the configured field"),
            [name] if is_thing_name(name) => Ok(name.into()),
            [_] => Err(
                "its name is not one of a thing: expected 1 to 128 of the characters a-z A-Z 0-9 : _ -",
            ),
            _ => Err("it has several names in the configured field"),
        }
    }

    fn alternative<'a>(self, name: &GeneralName<'a>) -> Option<&'a str> {
        match (self, name) {
            (Self::Dns, GeneralName::DNSName(text)) | (Self::Uri, GeneralName::URI(text)) => {
                Some(text)
            }
            _ => None,
        }
    }
}

/// Returns whether a string is a valid thing name. Source: AWS IoT API Reference, `ThingName`.
#[must_use]
pub(crate) fn is_thing_name(text: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b":_-".contains(&byte);
    (1..=THING_NAME_BYTES_MAX).contains(&text.len()) && text.bytes().all(is_allowed)
}

/// Maximum length of a thing name, in bytes. Source: AWS IoT API Reference, `ThingName`.
const THING_NAME_BYTES_MAX: usize = 128;

// The CA for test devices, which `serve --dev` creates on first start.

pub(crate) struct Issued {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

/// Loads the CA for test devices from a data directory, or creates one. Fails if the CA cannot be read or written.
pub(crate) fn development(
    directory: &Path,
    now: SystemTime,
) -> io::Result<CertificateDer<'static>> {
    let (certificate, key) = (directory.join(AUTHORITY), directory.join(AUTHORITY_KEY));
    if !certificate.exists() || !key.exists() {
        let made = make(now).map_err(io::Error::other)?;
        write_whole(&key, &made.key, 0o600)?;
        write_whole(&certificate, &made.certificate, 0o600)?;
    }
    CertificateDer::from_pem_file(&certificate).map_err(io::Error::other)
}

/// Issues a certificate for a test device, signed by the CA in a data directory. Fails if the CA is missing or cannot
/// be read.
pub(crate) fn issue(directory: &Path, name: &str, now: SystemTime) -> io::Result<Issued> {
    let key = fs::read_to_string(directory.join(AUTHORITY_KEY))?;
    let sign = || -> Result<Issued, rcgen::Error> {
        let issuer = Issuer::new(authority(now), KeyPair::from_pem(&key)?);
        let mut params = params(name, now, DEVICE_VALID);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate()?;
        Ok(Issued {
            certificate: params.signed_by(&key, &issuer)?.pem(),
            key: key.serialize_pem(),
        })
    };
    sign().map_err(io::Error::other)
}

fn make(now: SystemTime) -> Result<Issued, rcgen::Error> {
    let key = KeyPair::generate()?;
    Ok(Issued {
        certificate: authority(now).self_signed(&key)?.pem(),
        key: key.serialize_pem(),
    })
}

/// Returns the CA's parameters. Only the subject and the key matter for the certificates that it issues.
fn authority(now: SystemTime) -> CertificateParams {
    let name = "Heliograph authority of test devices";
    let mut params = params(name, now, AUTHORITY_VALID);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

fn params(name: &str, now: SystemTime, valid: Duration) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.remove(DnType::CommonName);
    params.distinguished_name.push(DnType::CommonName, name);
    (params.not_before, params.not_after) = ((now - DAY).into(), (now + valid).into());
    params
}

pub(crate) const AUTHORITY: &str = "device-ca.pem";

const AUTHORITY_KEY: &str = "device-ca.key";

pub(crate) const DEV_HOST: &str = "credentials.localhost";

/// Tolerance for devices whose clocks are slow.
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

const DEVICE_VALID: Duration = Duration::from_secs(365 * 24 * 60 * 60);
const AUTHORITY_VALID: Duration = Duration::from_secs(3650 * 24 * 60 * 60);

#[cfg(test)]
mod tests;
