//! Reads one PEM file within a bound; an error names what the file contains instead.
//!
//! Nothing of a file's text is ever quoted: it may be a key.

use crate::files::{self, ReadError};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::fmt::Display;
use std::path::{Path, PathBuf};
use thiserror::Error;
use zeroize::Zeroizing;

/// A key of the configuration and what its file may hold.
#[derive(Clone, Copy)]
pub(crate) struct Rule {
    key: &'static str,
    allowed: &'static str,
}

/// A fault of a file of `[tls]`.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{key} = {path}: {rule}")]
pub struct TlsFault {
    /// The key that names the file, such as `tls.cert`.
    pub key: &'static str,
    /// The file.
    pub path: PathBuf,
    /// The rule that the file breaks, and what was found.
    pub rule: String,
}

/// `[tls] cert`.
pub(crate) const CERT: Rule = Rule {
    key: "tls.cert",
    allowed: "a PEM file with one certificate or a chain, the leaf first",
};
/// `[tls] client_ca`.
pub(crate) const CLIENT_CA: Rule = Rule {
    key: "tls.client_ca",
    allowed: "a PEM file with the certificates of authorities",
};
/// `[tls] key`.
const KEY: Rule = Rule {
    key: "tls.key",
    allowed: "a PEM file with an unencrypted private key",
};

/// The certificates of a file, in its order: at least one, [`CERTIFICATES_MAX`] at most.
///
/// # Errors
/// The fault of the file.
pub(crate) fn certificates(
    rule: Rule,
    path: &Path,
) -> Result<Vec<CertificateDer<'static>>, TlsFault> {
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

/// The private key of `[tls] key`: PKCS #8, PKCS #1 or SEC 1.
///
/// # Errors
/// The fault of the file.
pub(crate) fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsFault> {
    let text = read(KEY, path)?;
    PrivateKeyDer::from_pem_slice(&text)
        .map_err(|error| fault(KEY, path, &what(&error, "PRIVATE KEY", &text)))
}

/// A key that was read, but is of no use.
pub(crate) fn key_fault(path: &Path, error: &dyn Display) -> TlsFault {
    fault(KEY, path, error)
}

/// `key = FILE: must be …: …`.
pub(crate) fn fault(rule: Rule, path: &Path, error: &dyn Display) -> TlsFault {
    let Rule { key, allowed } = rule;
    TlsFault {
        key,
        path: path.into(),
        rule: format!("must be {allowed}: {error}"),
    }
}

fn read(rule: Rule, path: &Path) -> Result<Zeroizing<Vec<u8>>, TlsFault> {
    let read = files::read_regular(path, FILE_BYTES_MAX).map_err(|error| match error {
        ReadError::Failed(error) => fault(rule, path, &format_args!("it cannot be read: {error}")),
        ReadError::NotRegular => fault(rule, path, &"it is not a file"),
        ReadError::TooLong(_) => fault(rule, path, &error),
    })?;
    if read.content.iter().all(u8::is_ascii_whitespace) {
        return Err(fault(rule, path, &"it is empty"));
    }
    Ok(read.content)
}

/// Why a file without the wanted section has none.
fn missing(wanted: &str, text: &[u8]) -> String {
    let has = |label: &str| {
        let begin = format!("{label}-----");
        text.windows(begin.len())
            .any(|window| window == begin.as_bytes())
    };
    let hint = if text.starts_with(&[0x30]) {
        ", but DER, it seems: `openssl` converts it with `-inform der`"
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

/// Describes the fault of a PEM file, without its text.
fn what(error: &pem::Error, wanted: &str, text: &[u8]) -> String {
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "an enum of another crate that may grow, and whose own text could quote the file"
    )]
    match error {
        pem::Error::MissingSectionEnd { .. } => {
            "a section in it has no end: was it written whole?".into()
        }
        pem::Error::IllegalSectionStart { .. } => "a line `-----BEGIN …` in it is broken".into(),
        pem::Error::Base64Decode(_) => {
            "a section in it is not base64: was it written whole?".into()
        }
        pem::Error::NoItemsFound => missing(wanted, text),
        _ => "it is not PEM".into(),
    }
}

const CERTIFICATE: &str = "CERTIFICATE";

/// A chain is a few KiB, a bundle of all public authorities 250 KiB. A longer file is refused.
const FILE_BYTES_MAX: usize = 1 << 20;
/// All public authorities are 150. A longer list is refused.
const CERTIFICATES_MAX: usize = 1000;
