//! Authorities of certificates, from a text that was read.

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

/// The authorities that vouch for a server: those of a PEM text, or those that the system trusts.
///
/// # Errors
/// The rule that the text breaks.
pub(crate) fn roots(pem: Option<&[u8]>) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    let Some(pem) = pem else {
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        return Ok(roots);
    };
    let rule = || "allowed a PEM file with certificates of authorities".to_owned();
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let found = found.map_err(|_| rule())?;
    if found.is_empty() {
        return Err(rule());
    }
    for certificate in found {
        roots
            .add(certificate)
            .map_err(|error| format!("{}: {error}", rule()))?;
    }
    Ok(roots)
}
