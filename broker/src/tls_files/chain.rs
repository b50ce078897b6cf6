//! Certificate chains: their order, validity and keys, and the PEM files that contain them.

use crate::devices::{unix_s, validity_s};
use crate::files::{self, FileFault, ReadError};
use crate::tls_files::expiry::{Expiry, moment};
use broker_core::settings::Expired;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::SigningKey;
use std::fmt::Display;
use std::path::Path;
use std::time::SystemTime;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;
use zeroize::Zeroizing;

/// The certificates presented together: the server certificate, followed by its issuer's certificate, and so on.
pub(crate) struct Chain {
    pub(crate) certificates: Vec<CertificateDer<'static>>,
    /// Each certificate's public key (SubjectPublicKeyInfo, DER-encoded).
    public_keys: Vec<Vec<u8>>,
    names: Vec<String>,
    serial: String,
    /// The earliest expiry of the presented certificates.
    pub(crate) expiry: Expiry,
    pub(crate) warnings: Vec<String>,
}

impl Chain {
    /// Reads the file of `[tls] cert`. Fails if it contains no PEM certificates, or if they are in the wrong order.
    /// Also fails if a certificate that clients need is not valid yet at `now`, or if it has expired and `expired` does
    /// not allow expired certificates.
    pub(crate) fn read(path: &Path, now: SystemTime, expired: Expired) -> Result<Self, FileFault> {
        let certificates = read_certificates(CERT, path)?;
        let refused = |what: String| fault(CERT, path, &what);
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
            .filter_map(|(place, certificate)| valid(certificate, place, now, expired).err())
            .collect();
        if !invalid.is_empty() {
            return Err(refused(invalid.join("; ")));
        }
        let warnings = parsed.iter().enumerate().skip(linked).map(|(place, stray)| {
            let name = name(stray);
            format!(
                "{}: certificate {} ({name}) issued none of those before it: clients do not need it",
                path.display(),
                place + 1
            )
        });
        let certificate_ends = parsed.iter().map(|it| (validity_s(it).1, name(it)));
        let (not_after, whose) = certificate_ends.min().unwrap_or_default();
        Ok(Self {
            expiry: Expiry::new(not_after, whose),
            warnings: warnings.collect(),
            public_keys: parsed
                .iter()
                .map(|certificate| certificate.public_key().raw.to_vec())
                .collect(),
            names: parsed.iter().map(name).collect(),
            serial: parsed
                .first()
                .map(|leaf| leaf.raw_serial_as_string())
                .unwrap_or_default(),
            certificates,
        })
    }

    /// Checks that `key` is the server certificate's key. Fails if it belongs to another certificate in the file, or to
    /// none.
    pub(crate) fn fits(
        &self,
        key: &dyn SigningKey,
        cert: &Path,
        key_path: &Path,
    ) -> Result<(), FileFault> {
        let Some(public) = key.public_key() else {
            return Err(fault(KEY, key_path, &"its public key cannot be read"));
        };
        let mut keys = self.public_keys.iter();
        match keys.position(|own| own.as_slice() == public.as_ref()) {
            Some(0) => Ok(()),
            Some(place) => Err(fault(
                CERT,
                cert,
                &format_args!(
                    "the key in {} is that of certificate {} ({}): put that one first",
                    key_path.display(),
                    place + 1,
                    self.names[place]
                ),
            )),
            None => {
                let rule = format!(
                    "must be the private key of the first certificate in {} ({}): it is the key of another one",
                    cert.display(),
                    self.names[0]
                );
                Err(FileFault::new(KEY.key, key_path, rule))
            }
        }
    }

    /// Returns the server certificate's name and serial number, and the earliest expiry of the presented certificates.
    pub(crate) fn leaf(&self) -> [String; 3] {
        let name = self.names.first().cloned().unwrap_or_default();
        [name, self.serial.clone(), moment(self.expiry.not_after)]
    }
}

/// Returns the earliest expiry among the certificates in a PEM text, in seconds since 1970. Returns `None` if no
/// certificate can be read.
pub(crate) fn first_end(pem: &[u8]) -> Option<u64> {
    let certificates = CertificateDer::pem_slice_iter(pem).flatten();
    certificates.filter_map(|der| not_after(&der)).min()
}

/// Returns the earliest expiry among the certificates in a file, in seconds since 1970.
pub(crate) fn first_end_of(path: &Path) -> Option<u64> {
    let read = files::read_regular(path, FILE_BYTES_MAX).ok()?;
    first_end(&read.content)
}

/// Returns the last time at which a certificate is valid, in seconds since 1970. Returns `None` if the certificate
/// cannot be parsed.
pub(crate) fn not_after(certificate: &[u8]) -> Option<u64> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    Some(validity_s(&certificate).1)
}

/// Returns how many certificates at the start of the list form a chain, in which each one is issued by the next.
///
/// RFC 5246, section 7.4.2: *Each following certificate MUST directly certify the one preceding it.* TLS 1.3 permits
/// unrelated certificates, which are accepted here. An issuer in the wrong position is rejected, since some clients do
/// not accept it.
fn linked(chain: &[X509Certificate<'_>]) -> Result<usize, String> {
    let mut linked = 1;
    while let (Some(last), Some(next)) = (chain.get(linked - 1), chain.get(linked)) {
        if issued(next, last) {
            linked += 1;
            continue;
        }
        let displaced = |(_, other): &(usize, &X509Certificate<'_>)| {
            issued(other, last) && !issued(last, last) // a self-signed CA certificate may end the chain
        };
        let later = || chain.iter().enumerate().skip(linked);
        if let Some((place, issuer)) = later().find(displaced) {
            return Err(format!(
                "the chain is in the wrong order: certificate {linked} ({}) was issued by certificate {} ({}), which \
                 belongs right after it",
                name(last),
                place + 1,
                name(issuer)
            ));
        }
        if let Some((place, below)) = later().find(|(_, other)| issued(last, other)) {
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

fn issued(authority: &X509Certificate<'_>, certificate: &X509Certificate<'_>) -> bool {
    authority.subject().as_raw() == certificate.issuer().as_raw()
}

/// Fails if the certificate is not valid yet, or if it has expired and `expired` does not allow expired certificates.
fn valid(
    certificate: &X509Certificate<'_>,
    place: usize,
    now: SystemTime,
    expired: Expired,
) -> Result<(), String> {
    let ((from, to), clock) = (validity_s(certificate), unix_s(now));
    let (number, name) = (place + 1, name(certificate));
    if clock < from {
        return Err(format!(
            "certificate {number} ({name}) is not yet valid: it begins {}, and this machine's clock says {}",
            moment(from),
            moment(clock)
        ));
    }
    if clock > to && expired == Expired::Refuse {
        return Err(format!(
            "certificate {number} ({name}) has expired: it ended {}, and this machine's clock says {}: renew it",
            moment(to),
            moment(clock)
        ));
    }
    Ok(())
}

/// Returns a certificate's display name: its first alternative name, or its subject if it has none.
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

const NAME_CHARS_MAX: usize = 253;

// PEM files are read up to a limit. Errors name what a file contains, but never quote its text, which may be a key.

#[derive(Clone, Copy)]
pub(crate) struct ChainRule {
    key: &'static str,
    allowed: &'static str,
}

pub(crate) const CERT: ChainRule = ChainRule {
    key: "tls.cert",
    allowed: "a PEM file with one certificate or a chain, the leaf first",
};
pub(crate) const CLIENT_CA: ChainRule = ChainRule {
    key: "tls.client_ca",
    allowed: "a PEM file with the certificates of authorities",
};
pub(crate) const KEY: ChainRule = ChainRule {
    key: "tls.key",
    allowed: "a PEM file with an unencrypted private key",
};

/// Reads a file's certificates, in order. There must be at least one, and at most [`CERTIFICATES_MAX`]. The error
/// describes what is wrong with the file.
pub(crate) fn read_certificates(
    rule: ChainRule,
    path: &Path,
) -> Result<Vec<CertificateDer<'static>>, FileFault> {
    let text = read(rule, path)?;
    let certificates = CertificateDer::pem_slice_iter(&text)
        .take(CERTIFICATES_MAX + 1)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| fault(rule, path, &what(&error, CERTIFICATE, &text)))?;
    if certificates.is_empty() {
        return Err(fault(rule, path, &missing(CERTIFICATE, &text)));
    }
    if certificates.len() > CERTIFICATES_MAX {
        let many = format!("there are more than {CERTIFICATES_MAX} certificates in it");
        return Err(fault(rule, path, &many));
    }
    Ok(certificates)
}

/// Reads the private key of `[tls] key`, in PKCS #8, PKCS #1 or SEC 1 format. The error describes what is wrong with
/// the file.
pub(crate) fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, FileFault> {
    let text = read(KEY, path)?;
    PrivateKeyDer::from_pem_slice(&text)
        .map_err(|error| fault(KEY, path, &what(&error, "PRIVATE KEY", &text)))
}

pub(crate) fn fault(rule: ChainRule, path: &Path, error: &dyn Display) -> FileFault {
    let ChainRule { key, allowed } = rule;
    FileFault::new(key, path, format!("must be {allowed}: {error}"))
}

fn read(rule: ChainRule, path: &Path) -> Result<Zeroizing<Vec<u8>>, FileFault> {
    let read = files::read_regular(path, FILE_BYTES_MAX).map_err(|error| match error {
        ReadError::Failed(error) => fault(rule, path, &format_args!("it cannot be read: {error}")),
        ReadError::NotRegular | ReadError::TooLong(_) => fault(rule, path, &error),
    })?;
    if read.content.iter().all(u8::is_ascii_whitespace) {
        return Err(fault(rule, path, &"it is empty"));
    }
    Ok(read.content)
}

/// Returns why a file does not contain the expected section.
fn missing(wanted: &str, text: &[u8]) -> String {
    let has = |label: &str| {
        let begin = format!("{label}-----");
        text.windows(begin.len())
            .any(|window| window == begin.as_bytes())
    };
    let hint = if text.starts_with(&[0x30]) {
        ", but apparently DER: `openssl` converts it with `-inform der`"
    } else if has("ENCRYPTED PRIVATE KEY") {
        ", but an encrypted private key: `openssl pkey -in FILE -out PLAIN` decrypts it"
    } else if has("PRIVATE KEY") {
        ", but a private key: are cert and key swapped?"
    } else if has("BEGIN CERTIFICATE") {
        ", but a certificate: are cert and key swapped?"
    } else if has("TRUSTED CERTIFICATE") {
        ", but OpenSSL's TRUSTED CERTIFICATE: `openssl x509 -in FILE` writes a plain one"
    } else {
        ""
    };
    format!("there is no `-----BEGIN {wanted}-----` in it{hint}")
}

/// Describes what is wrong with a PEM file, without quoting it.
fn what(error: &pem::Error, wanted: &str, text: &[u8]) -> String {
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "an enum of another crate that may grow, and whose own text could quote the file"
    )]
    match error {
        pem::Error::MissingSectionEnd { .. } => {
            "a section in it has no end: is the file complete?".into()
        }
        pem::Error::IllegalSectionStart { .. } => "a line `-----BEGIN …` in it is broken".into(),
        pem::Error::Base64Decode(_) => {
            "a section in it is not base64: is the file complete?".into()
        }
        pem::Error::NoItemsFound => missing(wanted, text),
        _ => "it is not PEM".into(),
    }
}

const CERTIFICATE: &str = "CERTIFICATE";

/// Maximum file size in bytes. A chain takes a few KiB, and a bundle of all public CAs takes 250 KiB.
const FILE_BYTES_MAX: usize = 1 << 20;
/// Maximum number of certificates per file. There are about 150 public CAs.
const CERTIFICATES_MAX: usize = 1000;
