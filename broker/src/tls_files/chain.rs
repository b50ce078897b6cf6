//! Checks of a certificate chain: its order, its validity, its key.

use crate::tls_files::expiry::{Expiry, moment};
use crate::tls_files::pem::{self, CERT, TlsFault};
use broker_core::settings::TlsFiles;
use rustls::pki_types::CertificateDer;
use rustls::sign::SigningKey;
use std::path::Path;
use std::time::SystemTime;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

/// Certificates that are presented together: the leaf, then who issued each one before.
pub(crate) struct Chain {
    certificates: Vec<CertificateDer<'static>>,
    /// The public key of each, as the certificate has it (SubjectPublicKeyInfo in DER).
    public_keys: Vec<Vec<u8>>,
    names: Vec<String>,
    expiry: Expiry,
    warnings: Vec<String>,
}

impl Chain {
    /// Reads `[tls] cert`.
    ///
    /// # Errors
    /// The file is no PEM of certificates, their order is wrong, or one that clients need is not valid at `now`.
    pub(crate) fn read(path: &Path, now: SystemTime) -> Result<Self, TlsFault> {
        let certificates = pem::certificates(CERT, path)?;
        let refused = |what: String| pem::fault(CERT, path, &what);
        let parsed = certificates
            .iter()
            .enumerate()
            .map(|(place, der)| match X509Certificate::from_der(der) {
                Ok(([], certificate)) => Ok(certificate),
                Ok(_) => Err(format!("certificate {} has bytes after its end", place + 1)),
                Err(error) => Err(format!("certificate {} is broken: {error}", place + 1)),
            })
            .collect::<Result<Vec<_>, _>>()
            .map_err(refused)?;
        let linked = linked(&parsed).map_err(refused)?;
        let needed = parsed.iter().enumerate().take(linked);
        let invalid: Vec<_> = needed
            .filter_map(|(place, certificate)| valid(certificate, place, now).err())
            .collect();
        if !invalid.is_empty() {
            return Err(refused(invalid.join("; ")));
        }
        let warnings = parsed.iter().enumerate().skip(linked).map(|(place, stray)| {
            let name = name(stray);
            format!(
                "{}: certificate {} ({name}) issued none of those before it: clients have no use for it",
                path.display(),
                place + 1
            )
        });
        let ends = parsed.iter().map(|certificate| {
            (
                seconds(certificate.validity().not_after.timestamp()),
                name(certificate),
            )
        });
        let (not_after, whose) = ends.min().unwrap_or_default();
        Ok(Self {
            expiry: Expiry::new(not_after, whose),
            warnings: warnings.collect(),
            public_keys: parsed
                .iter()
                .map(|certificate| certificate.public_key().raw.to_vec())
                .collect(),
            names: parsed.iter().map(name).collect(),
            certificates,
        })
    }

    /// Checks that `key` is the leaf's.
    ///
    /// # Errors
    /// It is another certificate's of the file, or none's.
    pub(crate) fn fits(&self, key: &dyn SigningKey, files: &TlsFiles) -> Result<(), TlsFault> {
        let Some(public) = key.public_key() else {
            return Err(pem::key_fault(&files.key, &"its public key cannot be read"));
        };
        let place = self
            .public_keys
            .iter()
            .position(|own| own.as_slice() == public.as_ref());
        match place {
            Some(0) => Ok(()),
            Some(place) => Err(pem::fault(
                CERT,
                &files.cert,
                &format_args!(
                    "the key in {} is that of certificate {} ({}): put that one first",
                    files.key.display(),
                    place + 1,
                    self.names[place]
                ),
            )),
            None => Err(TlsFault {
                key: "tls.key",
                path: files.key.clone(),
                rule: format!(
                    "must be the private key of the first certificate in {} ({}): it is the key of another one",
                    files.cert.display(),
                    self.names[0]
                ),
            }),
        }
    }

    pub(crate) fn certificates(&self) -> &[CertificateDer<'static>] {
        &self.certificates
    }

    /// The earliest end of all that is presented.
    pub(crate) fn expiry(&self) -> &Expiry {
        &self.expiry
    }

    pub(crate) fn warnings(&self) -> &[String] {
        &self.warnings
    }
}

/// The last second at which a certificate is valid; `None` if it cannot be read.
pub(crate) fn not_after(certificate: &[u8]) -> Option<u64> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    Some(seconds(certificate.validity().not_after.timestamp()))
}

/// The number of certificates from the first on of which each but the last was issued by the next.
///
/// RFC 5246 section 7.4.2: *Each following certificate MUST directly certify the one preceding it.* TLS 1.3 lets
/// strays be, and so do we; but the issuer at a wrong place is a mistake that some clients do not forgive.
fn linked(chain: &[X509Certificate<'_>]) -> Result<usize, String> {
    let mut linked = 1;
    while let (Some(last), Some(next)) = (chain.get(linked - 1), chain.get(linked)) {
        if issued(next, last) {
            linked += 1;
            continue;
        }
        let displaced = |(_, other): &(usize, &X509Certificate<'_>)| {
            issued(other, last) && !issued(last, last) // an authority at the end has issued itself
        };
        if let Some((place, issuer)) = chain.iter().enumerate().skip(linked).find(displaced) {
            return Err(format!(
                "the chain is in the wrong order: certificate {linked} ({}) was issued by certificate {} ({}), which \
                 belongs right after it",
                name(last),
                place + 1,
                name(issuer)
            ));
        }
        if let Some((place, below)) = chain
            .iter()
            .enumerate()
            .skip(linked)
            .find(|(_, other)| issued(last, other))
        {
            return Err(format!(
                "the chain is in the wrong order: certificate {linked} ({}) issued certificate {} ({}), so that one \
                 belongs before it, the leaf first",
                name(last),
                place + 1,
                name(below)
            ));
        }
        break;
    }
    Ok(linked)
}

/// Whether `authority` is the issuer that `certificate` names.
fn issued(authority: &X509Certificate<'_>, certificate: &X509Certificate<'_>) -> bool {
    authority.subject().as_raw() == certificate.issuer().as_raw()
}

/// # Errors
/// It is not yet valid, or has expired.
fn valid(certificate: &X509Certificate<'_>, place: usize, now: SystemTime) -> Result<(), String> {
    let validity = certificate.validity();
    let (from, to) = (
        seconds(validity.not_before.timestamp()),
        seconds(validity.not_after.timestamp()),
    );
    let clock = now
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    let (number, name) = (place + 1, name(certificate));
    if clock < from {
        return Err(format!(
            "certificate {number} ({name}) is not yet valid: it begins {}, and this machine's clock says {}",
            moment(from),
            moment(clock)
        ));
    }
    if clock > to {
        return Err(format!(
            "certificate {number} ({name}) has expired: it ended {}, and this machine's clock says {}: renew it",
            moment(to),
            moment(clock)
        ));
    }
    Ok(())
}

/// The name for people: the first alternative name, else the subject.
fn name(certificate: &X509Certificate<'_>) -> String {
    let common = certificate
        .subject()
        .iter_common_name()
        .find_map(|name| name.as_str().ok());
    let alternative = certificate.subject_alternative_name().ok().flatten();
    let first = alternative.and_then(|names| match names.value.general_names.first() {
        Some(x509_parser::extensions::GeneralName::DNSName(name)) => Some(*name),
        Some(_) | None => None,
    });
    let name = first.or(common).unwrap_or("without a name");
    name.chars()
        .filter(|c| !c.is_control())
        .take(NAME_CHARS_MAX)
        .collect()
}

/// Seconds since 1970; what is before is 0.
fn seconds(timestamp: i64) -> u64 {
    u64::try_from(timestamp).unwrap_or(0)
}

/// A host name is 253 at most.
const NAME_CHARS_MAX: usize = 253;
