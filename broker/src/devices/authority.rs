//! An authority of devices: its certificate, its revocation list, and where its certificates name their thing.

use crate::devices::NameSource;
use broker_core::machine::Certified;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::{CertificateError, Error, RootCertStore};
use std::fmt;
use std::sync::Arc;
use x509_parser::{parse_x509_certificate, parse_x509_crl};

/// An authority whose certificates name their thing.
#[derive(Debug)]
pub struct Authority {
    /// SHA-256 of its public key.
    pub key: [u8; 32],
    /// The serial numbers that it has revoked, in their order.
    pub revoked: Vec<Box<[u8]>>,
    /// It has a revocation list.
    pub is_checked: bool,
    /// Its first and its last second, since 1970 UTC.
    pub validity_s: (u64, u64),
    /// Its subject, as the log names it.
    pub subject: String,
    /// When the first of its revocation lists is to be replaced, since 1970 UTC; `None` without one that says so.
    pub list_ends_s: Option<u64>,
    /// By how many seconds its lists may be overdue.
    grace_s: u64,
    name: NameSource,
    verifier: Arc<dyn ClientCertVerifier>,
}

/// Why an authority does not vouch for a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AuthorityFault {
    /// It did not sign it.
    NotItsIssuer,
    /// It did, and refuses it for this reason.
    Refused(String),
    /// Its revocation list has the certificate.
    Revoked,
    /// The certificate names no thing.
    Name(&'static str),
    /// Its own certificate is not valid at this moment.
    NotValid,
    /// Its revocation list is too old.
    Stale,
}

impl fmt::Display for AuthorityFault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotItsIssuer => out.write_str("no authority vouches for it"),
            Self::Refused(why) => write!(out, "its authority does not vouch for it: {why}"),
            Self::Revoked => out.write_str("its authority has revoked it (`crl` of [things])"),
            Self::Name(why) => out.write_str(why),
            Self::NotValid => out.write_str("its authority's own certificate is not valid now"),
            Self::Stale => out.write_str("the revocation list of its authority is too old"),
        }
    }
}

impl Authority {
    /// An authority of this certificate, with those of the lists that are its own. A list that should have been
    /// replaced longer than `grace_s` ago is too old.
    ///
    /// # Errors
    /// The fault of the certificate or of a list.
    pub fn new(
        certificate: &CertificateDer<'static>,
        lists: &[CertificateRevocationListDer<'static>],
        name: NameSource,
        grace_s: u64,
    ) -> Result<Self, String> {
        let (_, parsed) = parse_x509_certificate(certificate)
            .map_err(|error| format!("a certificate cannot be read: {error}"))?;
        let (mut own, mut revoked, mut list_ends_s) = (Vec::new(), Vec::new(), None::<u64>);
        for list in lists {
            let (_, read) = parse_x509_crl(list)
                .map_err(|error| format!("a revocation list cannot be read: {error}"))?;
            if read.issuer().as_raw() != parsed.subject().as_raw() {
                continue;
            }
            own.push(list.clone());
            let next = read.next_update().map(|next| seconds(next.timestamp()));
            list_ends_s = list_ends_s.into_iter().chain(next).min();
            let serials = read.iter_revoked_certificates();
            revoked.extend(serials.map(|it| Box::<[u8]>::from(serial(it.raw_serial()))));
        }
        revoked.sort_unstable();
        let mut roots = RootCertStore::empty();
        roots
            .add(certificate.clone())
            .map_err(|error| format!("a certificate is not of an authority: {error}"))?;
        let provider = Arc::new(aws_lc_rs::default_provider());
        let is_checked = !own.is_empty();
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
            .with_crls(own)
            .build()
            .map_err(|error| format!("a revocation list cannot be used: {error}"))?;
        let validity = parsed.validity();
        Ok(Self {
            key: fingerprint(parsed.public_key().raw),
            revoked,
            is_checked,
            validity_s: (
                seconds(validity.not_before.timestamp()),
                seconds(validity.not_after.timestamp()),
            ),
            subject: parsed.subject().to_string(),
            list_ends_s,
            grace_s,
            name,
            verifier,
        })
    }

    /// Vouches for a certificate, or says why not.
    ///
    /// # Errors
    /// Why it does not.
    pub(crate) fn vouch(
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
        let overdue_s = |ends_s| now.as_secs().saturating_sub(ends_s);
        if self
            .list_ends_s
            .is_some_and(|ends_s| overdue_s(ends_s) > self.grace_s)
        {
            return Err(AuthorityFault::Stale);
        }
        let parsed = parse_x509_certificate(leaf);
        let (_, parsed) = parsed.map_err(|error| AuthorityFault::Refused(error.to_string()))?;
        Ok(Certified {
            authority: self.key,
            serial: serial(parsed.raw_serial()).into(),
            name: self.name.of(&parsed).map_err(AuthorityFault::Name)?,
        })
    }
}

/// SHA-256.
pub(crate) fn fingerprint(der: &[u8]) -> [u8; 32] {
    let digest = ::aws_lc_rs::digest::digest(&::aws_lc_rs::digest::SHA256, der);
    let mut fingerprint = [0; 32];
    fingerprint.copy_from_slice(digest.as_ref());
    fingerprint
}

/// A serial number without the zeros before it, which certificates and lists may have or not.
fn serial(raw: &[u8]) -> &[u8] {
    let zeros = raw.iter().take_while(|byte| **byte == 0).count();
    raw.get(zeros..).unwrap_or_default()
}

fn seconds(timestamp: i64) -> u64 {
    u64::try_from(timestamp).unwrap_or(0)
}
