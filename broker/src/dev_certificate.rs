//! The development certificate: an authority whose key is used once, and a leaf for this machine's names.
//!
//! Real clients refuse plain WebSocket or an unknown certificate, so `--dev` makes one and says which file to trust.
//! It is kept and used again while it is whole and valid; otherwise all three files are made again, and must be
//! trusted again. The authority's key is never written down, so nobody can sign anything else with what a developer
//! has come to trust.

use crate::files::write_whole;
use broker_core::settings::TlsFiles;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::sign::CertifiedKey;
use std::error::Error;
use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// The files of a development certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DevCertificate {
    /// The authority that clients trust: `dev-ca.pem`.
    pub ca: PathBuf,
    /// The certificate and key of the server: `dev-cert.pem` and `dev-key.pem`.
    pub files: TlsFiles,
    /// Whether it was made just now.
    pub made: bool,
}

/// The certificate in `directory` if it is whole, valid for another week at `now` and has all these names beside those
/// of loopback, else one made now. A name may begin with `*.`.
///
/// # Errors
/// The files cannot be written.
pub fn development(
    directory: &Path,
    hosts: &[String],
    now: SystemTime,
) -> io::Result<DevCertificate> {
    let names: Vec<&str> = NAMES
        .into_iter()
        .chain(hosts.iter().map(String::as_str))
        .collect();
    let place = |name| directory.join(name);
    let (ca, cert, key) = (
        place(AUTHORITY),
        place("dev-cert.pem"),
        place("dev-key.pem"),
    );
    let made = !is_good(&ca, &cert, &key, &names, now + RENEW_BEFORE);
    if made {
        let made = make(&names, now)
            .map_err(|error| io::Error::other(format!("the development certificate: {error}")))?;
        write_whole(&key, &made.key, 0o600)?;
        write_whole(&cert, &made.cert, 0o600)?;
        write_whole(&ca, &made.ca, READ_BY_ALL)?;
    }
    // Under any umask: the ready line shows its path to all who are to trust it.
    if fs::metadata(&ca)?.permissions().mode() & 0o777 != READ_BY_ALL {
        File::open(&ca)?.set_permissions(Permissions::from_mode(READ_BY_ALL))?;
    }
    Ok(DevCertificate {
        ca,
        files: TlsFiles {
            cert,
            key,
            client_ca: None,
        },
        made,
    })
}

/// Whether the three files belong together and serve every one of `names` at `at`.
fn is_good(ca: &Path, cert: &Path, key: &Path, names: &[&str], at: SystemTime) -> bool {
    let check = || -> Result<(), Box<dyn Error>> {
        let leaf = CertificateDer::from_pem_file(cert)?;
        let provider = Arc::new(aws_lc_rs::default_provider());
        CertifiedKey::from_der(
            vec![leaf.clone()],
            PrivateKeyDer::from_pem_file(key)?,
            &provider,
        )?;
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(ca)?)?;
        let verifier =
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build()?;
        let at = UnixTime::since_unix_epoch(at.duration_since(SystemTime::UNIX_EPOCH)?);
        for name in names {
            let name = name.replacen('*', "any", 1);
            verifier.verify_server_cert(&leaf, &[], &ServerName::try_from(name)?, &[], at)?;
        }
        Ok(())
    };
    check().is_ok()
}

struct Pem {
    ca: String,
    cert: String,
    key: String,
}

fn make(names: &[&str], now: SystemTime) -> Result<Pem, rcgen::Error> {
    let (from, to) = (now - CLOCK_SLACK, now + VALID);
    let mut ca = CertificateParams::default();
    ca.distinguished_name
        .push(DnType::CommonName, "Heliograph development authority");
    ca.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    (ca.not_before, ca.not_after) = (from.into(), to.into());
    let ca_key = KeyPair::generate()?;
    let ca_cert = ca.self_signed(&ca_key)?;

    let mut leaf =
        CertificateParams::new(names.iter().copied().map(String::from).collect::<Vec<_>>())?;
    leaf.distinguished_name
        .push(DnType::CommonName, "Heliograph development server");
    leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    leaf.use_authority_key_identifier_extension = true; // OpenSSL's strict checks want it, and Python turns them on
    (leaf.not_before, leaf.not_after) = (from.into(), to.into());
    let key = KeyPair::generate()?;
    let cert = leaf.signed_by(&key, &Issuer::new(ca, ca_key))?;
    Ok(Pem {
        ca: ca_cert.pem(),
        cert: cert.pem(),
        key: key.serialize_pem(),
    })
}

/// The file of the development certificate's authority.
pub(crate) const AUTHORITY: &str = "dev-ca.pem";

/// Of a file that others need.
const READ_BY_ALL: u32 = 0o644;

/// The names that a server on loopback is called by.
const NAMES: [&str; 4] = ["localhost", "127.0.0.1", "::1", "credentials.localhost"];

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// The longest validity that browsers and Apple's clients take from a public authority.
const VALID: Duration = Duration::from_secs(397 * 24 * 60 * 60);
const RENEW_BEFORE: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// A client whose clock is a day late can still connect.
const CLOCK_SLACK: Duration = DAY;

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    struct Directory(PathBuf);

    impl Directory {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!(
                "heliograph-certificate-{name}-{}",
                std::process::id()
            ));
            let _ = fs::remove_dir_all(&path);
            fs::create_dir_all(&path).unwrap();
            Self(path)
        }
    }

    impl Drop for Directory {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn a_certificate_is_kept_while_it_is_valid() {
        let directory = Directory::new("kept");
        let now = SystemTime::now();
        let first = development(&directory.0, &[], now).unwrap();
        assert!(first.made);
        let ca = fs::read(&first.ca).unwrap();
        assert!(
            !development(&directory.0, &[], now + 300 * DAY)
                .unwrap()
                .made
        );
        assert_eq!(fs::read(&first.ca).unwrap(), ca);
        assert_eq!(
            fs::metadata(&first.files.key).unwrap().permissions().mode() & 0o777,
            0o600
        );
        assert!(
            development(&directory.0, &[], now + 391 * DAY)
                .unwrap()
                .made,
            "a week before its end it is made again"
        );
        assert_ne!(fs::read(&first.ca).unwrap(), ca);
    }

    #[test]
    fn damaged_missing_or_foreign_files_are_made_anew() {
        let (directory, other) = (Directory::new("damaged"), Directory::new("foreign"));
        let now = SystemTime::now();
        let ours = development(&directory.0, &[], now).unwrap();
        let theirs = development(&other.0, &[], now).unwrap();
        for (own, foreign) in [
            (&ours.ca, &theirs.ca),
            (&ours.files.cert, &theirs.files.cert),
            (&ours.files.key, &theirs.files.key),
        ] {
            let damages: [fn(&Path, &Path); 3] = [
                |own, _| fs::remove_file(own).unwrap(),
                |own, _| fs::write(own, "-----BEGIN CERTIFICATE-----\nAAAA").unwrap(),
                |own, foreign| assert!(fs::copy(foreign, own).unwrap() > 0),
            ];
            for damage in damages {
                damage(own, foreign);
                assert!(development(&directory.0, &[], now).unwrap().made);
                assert!(!development(&directory.0, &[], now).unwrap().made);
                load(&ours.files).unwrap();
            }
        }
    }

    #[test]
    fn another_name_makes_another_certificate_and_fewer_do_not() {
        let directory = Directory::new("names");
        let now = SystemTime::now();
        let two = ["bench.test".to_owned(), "192.0.2.7".to_owned()];
        let made = |hosts: &[String]| development(&directory.0, hosts, now).unwrap().made;
        assert!(made(&[]) && made(&two));
        assert!(!made(&two) && !made(&two[1..]) && !made(&[]));
        assert!(made(&["2001:db8::7".to_owned()]));
        let below = ["*.kvs.localhost".to_owned()];
        assert!(made(&below) && !made(&below));
    }

    fn load(files: &TlsFiles) -> Result<crate::tls_files::Presented, String> {
        crate::tls_files::TlsLoader::new(files.clone())?.load(SystemTime::now())
    }
}
