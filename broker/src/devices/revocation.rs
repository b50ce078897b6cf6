//! The revocation lists of device CAs, and the numbers that identify revoked certificates.

use crate::devices::{fingerprint, seconds};
use crate::terminal::plain;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer};
use x509_parser::certificate::X509Certificate;
use x509_parser::{parse_x509_certificate, parse_x509_crl};

/// The revocation lists of a configuration table. All lists apply to every CA of the table.
#[derive(Debug, Default)]
pub struct RevocationLists {
    pub(crate) all: Vec<RevocationList>,
}

#[derive(Debug)]
pub(crate) struct RevocationList {
    pub(crate) der: CertificateRevocationListDer<'static>,
    issuer: Box<[u8]>,
    signer: ListSigner,
    /// The time when the next update of the list is due, in seconds since 1970 UTC.
    pub(crate) ends_s: Option<u64>,
    revoked: Vec<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ListSigner {
    Authority,
    Between,
    /// A CA that is no longer configured. Its revocation list still applies.
    Unknown,
}

impl RevocationLists {
    /// Parses the lists. They are issued by CAs, or by intermediates between a CA and its devices.
    ///
    /// # Errors
    /// Returns a message that identifies the unreadable list.
    pub fn new(
        lists: Vec<CertificateRevocationListDer<'static>>,
        authorities: &[CertificateDer<'_>],
        intermediates: &[CertificateDer<'_>],
    ) -> Result<Self, String> {
        let (authorities, intermediates) = (subjects(authorities)?, subjects(intermediates)?);
        let mut all = Vec::new();
        for der in lists {
            let (_, read) =
                parse_x509_crl(&der).map_err(|error| format!("a list cannot be read: {error}"))?;
            let issuer: Box<[u8]> = read.issuer().as_raw().into();
            let signer = match &issuer {
                own if authorities.contains(own) => ListSigner::Authority,
                between if intermediates.contains(between) => ListSigner::Between,
                _ => ListSigner::Unknown,
            };
            let revoked = read.iter_revoked_certificates();
            let revoked = revoked.map(|it| number(&issuer, it.raw_serial())).collect();
            let ends_s = read.next_update().map(|next| seconds(next.timestamp()));
            all.push(RevocationList {
                der,
                issuer,
                signer,
                ends_s,
                revoked,
            });
        }
        Ok(Self { all })
    }

    /// Returns the names of list issuers that are neither in `ca` nor in `intermediates`.
    pub(crate) fn strangers(&self) -> impl Iterator<Item = String> {
        let lists = self.all.iter();
        let lists = lists.filter(|list| list.signer == ListSigner::Unknown);
        let read = lists.filter_map(|list| parse_x509_crl(&list.der).ok());
        read.map(|(_, read)| plain(&read.issuer().to_string()))
    }

    /// Iterates over the numbers that identify the revoked certificates.
    pub fn revoked(&self) -> impl Iterator<Item = u64> {
        self.all
            .iter()
            .flat_map(|list| list.revoked.iter().copied())
    }

    /// Returns how many certificates the CA with this DER-encoded name has revoked, or `None` if it has no list.
    pub(crate) fn revoked_by(&self, authority: &[u8]) -> Option<usize> {
        let own = self.all.iter().filter(|list| *list.issuer == *authority);
        let counts = own.map(|list| list.revoked.len());
        counts.reduce(|sum, count| sum + count)
    }

    /// Returns the earliest next update among the lists of a CA and its intermediates.
    pub(crate) fn end_s(&self, authority: &[u8]) -> Option<u64> {
        let hangs_on = |list: &&RevocationList| match list.signer {
            ListSigner::Authority => *list.issuer == *authority,
            ListSigner::Between => true,
            ListSigner::Unknown => false,
        };
        let lists = self.all.iter().filter(hangs_on);
        lists.filter_map(|list| list.ends_s).min()
    }

    /// Returns whether any issuer of these certificates has a revocation list that should have been updated before this
    /// second.
    pub(crate) fn is_stale(&self, chain: &[X509Certificate<'_>], before_s: u64) -> bool {
        let overdue = self.all.iter();
        let mut overdue =
            overdue.filter(|list| list.ends_s.is_some_and(|ends_s| ends_s < before_s));
        overdue.any(|list| chain.iter().any(|it| it.issuer().as_raw() == &*list.issuer))
    }
}

/// Derives a number from the issuer and the serial number of a certificate, which together identify it (RFC 5280,
/// section 4.1.2.2). A collision would revoke a certificate by mistake, but is improbable with 64 bits of the digest.
pub(crate) fn number_of(certificate: &X509Certificate<'_>) -> u64 {
    number(certificate.issuer().as_raw(), certificate.raw_serial())
}

/// Hashes the issuer and the serial number. Ignores leading zeros, which a certificate and a list may write
/// differently.
fn number(issuer: &[u8], serial: &[u8]) -> u64 {
    let zeros = serial.iter().take_while(|byte| **byte == 0).count();
    let serial = serial.get(zeros..).unwrap_or_default();
    let digest = fingerprint(&[issuer, serial].concat());
    digest
        .first_chunk()
        .map_or(0, |first| u64::from_be_bytes(*first))
}

fn subjects(certificates: &[CertificateDer<'_>]) -> Result<Vec<Box<[u8]>>, String> {
    let read = certificates.iter().map(|certificate| {
        let (_, parsed) = parse_x509_certificate(certificate)
            .map_err(|error| format!("a certificate cannot be read: {error}"))?;
        Ok(parsed.subject().as_raw().into())
    });
    read.collect()
}
