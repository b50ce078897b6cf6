//! The authority of test devices, which `serve --dev` makes at its first start.

use crate::files::write_whole;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use std::path::Path;
use std::time::{Duration, SystemTime};
use std::{fs, io};

/// A certificate and its key, in PEM.
pub(crate) struct Issued {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

/// The authority of a data directory, made if there is none.
///
/// # Errors
/// It cannot be read or written.
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

/// A certificate for a test device, of the authority of a data directory.
///
/// # Errors
/// There is no authority, or it cannot be read.
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

/// The authority. What it issues names it by its subject and its key alone.
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

/// The file of the authority's certificate in a data directory.
pub(crate) const AUTHORITY: &str = "device-ca.pem";

/// The file of its key.
const AUTHORITY_KEY: &str = "device-ca.key";

/// The server name at which `serve --dev` asks for certificates.
pub(crate) const DEV_HOST: &str = "credentials.localhost";

/// A device whose clock is a day late can still sign in.
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

const DEVICE_VALID: Duration = Duration::from_secs(365 * 24 * 60 * 60);
const AUTHORITY_VALID: Duration = Duration::from_secs(3650 * 24 * 60 * 60);
