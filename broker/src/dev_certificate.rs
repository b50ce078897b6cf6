//! Development certificates: a CA whose key is discarded after use, and server certificates for this machine's names.
//! There are two sets, one with ECDSA keys and one with RSA keys. The RSA set is for devices whose TLS library supports
//! nothing else.
//!
//! Real clients reject plain WebSocket connections and unknown certificates. Therefore, `--dev` generates certificates
//! and prints the path of the file that clients must trust. Certificates are reused as long as they are complete and
//! valid, because each client has to be configured to trust new ones. The CA's key is never stored. Although the
//! developer's machine trusts the CA, nobody can use it to sign anything else.
//!
//! Generating an RSA key takes a tenth of a second or more, so startup never waits for it. [`development`] creates the
//! ECDSA certificates, and a low-priority thread creates the RSA certificates with [`RsaWork::make`].

use crate::files::write_whole;
use broker_core::settings::{Expired, TlsFiles};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_RSA_SHA256, RsaKeySize,
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

/// Files of a development certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DevCertificate {
    /// The CA certificates that clients must trust: `dev-ca.pem`.
    pub ca: PathBuf,
    /// The server's certificate and key: `dev-cert.pem` and `dev-key.pem`. Also `dev-rsa-cert.pem` and
    /// `dev-rsa-key.pem`, if they are valid.
    pub files: TlsFiles,
    /// Whether this call created the certificate.
    pub made: bool,
    /// The work needed to create the RSA certificate, or `None` if a valid one exists.
    pub lacks: Option<RsaWork>,
}

/// Parameters for creating an RSA development certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RsaWork {
    cert: PathBuf,
    key: PathBuf,
    names: Vec<String>,
}

/// Loads the certificate in `directory` if it is complete, is valid for another week at `now`, and covers all `hosts`
/// and the loopback names. Otherwise, creates a new one. A name may start with `*.`.
///
/// # Errors
/// Fails if the files cannot be written.
pub fn development(
    directory: &Path,
    hosts: &[String],
    now: SystemTime,
) -> io::Result<DevCertificate> {
    let usual = NAMES.into_iter().map(str::to_owned);
    let names: Vec<String> = usual.chain(hosts.iter().cloned()).collect();
    let place = |name| directory.join(name);
    let (ca, cert, key) = (
        place(AUTHORITY),
        place("dev-cert.pem"),
        place("dev-key.pem"),
    );
    let (rsa_cert, rsa_key) = (place("dev-rsa-cert.pem"), place("dev-rsa-key.pem"));
    let until = now + RENEW_BEFORE;
    // Returns the CA that issued this certificate, if the certificate can be reused.
    let good = |cert: &Path, key: &Path| {
        let authorities = CertificateDer::pem_file_iter(&ca).ok()?;
        let mut whole = authorities.flatten();
        whole.find(|authority| is_good(authority, cert, key, &names, until))
    };
    let (kept, rsa) = (good(&cert, &key), good(&rsa_cert, &rsa_key));
    let made = kept.is_none();
    if made {
        let made = make(&names, now, KeyPair::generate).map_err(failed)?;
        write_whole(&key, &made.key, 0o600)?;
        write_whole(&cert, &made.cert, 0o600)?;
        let rsa = rsa.as_ref().map(|authority| pem(authority));
        write_whole(
            &ca,
            &[made.ca, rsa.unwrap_or_default()].concat(),
            READ_BY_ALL,
        )?;
    }
    // Clients must be able to read the CA certificate file, regardless of the umask.
    if fs::metadata(&ca)?.permissions().mode() & 0o777 != READ_BY_ALL {
        File::open(&ca)?.set_permissions(Permissions::from_mode(READ_BY_ALL))?;
    }
    let (mut certs, mut keys, mut lacks) = (vec![cert], vec![key], None);
    if rsa.is_some() {
        certs.push(rsa_cert);
        keys.push(rsa_key);
    } else {
        lacks = Some(RsaWork {
            cert: rsa_cert,
            key: rsa_key,
            names,
        });
    }
    Ok(DevCertificate {
        ca,
        files: TlsFiles {
            cert: certs,
            key: keys,
            client_ca: None,
            expired: Expired::Refuse, // replaced before its expiry
        },
        made,
        lacks,
    })
}

impl RsaWork {
    /// Creates the certificate. Takes a few tenths of a second, mostly to generate two keys.
    ///
    /// # Errors
    /// Fails if key generation fails.
    pub fn make(self, now: SystemTime) -> io::Result<MadeRsa> {
        let Self { cert, key, names } = self;
        let generate = || KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048);
        let pem = make(&names, now, generate).map_err(failed)?;
        Ok(MadeRsa { cert, key, pem })
    }
}

/// An RSA certificate that has not been written to its files yet.
pub struct MadeRsa {
    /// Path of `dev-rsa-cert.pem`.
    pub cert: PathBuf,
    /// Path of `dev-rsa-key.pem`.
    pub key: PathBuf,
    pem: Pem,
}

impl MadeRsa {
    /// Writes the certificate and its key.
    ///
    /// # Errors
    /// Fails if the files cannot be written.
    pub fn write(&self) -> io::Result<()> {
        write_whole(&self.key, &self.pem.key, 0o600)?;
        write_whole(&self.cert, &self.pem.cert, 0o600)
    }

    /// Adds the RSA CA to the file of CAs that clients must trust. Must not be called before the server presents the
    /// RSA certificate. Otherwise, clients that trust only this CA could not connect.
    ///
    /// # Errors
    /// Fails if the file cannot be read or written.
    pub fn publish(&self, ca: &Path) -> io::Result<()> {
        let first = CertificateDer::from_pem_file(ca).map_err(io::Error::other)?;
        write_whole(ca, &[&*pem(&first), &*self.pem.ca].concat(), READ_BY_ALL)
    }
}

fn failed(error: rcgen::Error) -> io::Error {
    io::Error::other(format!("the development certificate: {error}"))
}

fn pem(certificate: &CertificateDer<'_>) -> String {
    let text = data_encoding::BASE64.encode(certificate);
    let mut out = String::from("-----BEGIN CERTIFICATE-----\n");
    for line in text.as_bytes().chunks(64) {
        out.extend(line.iter().copied().map(char::from));
        out.push('\n');
    }
    out + "-----END CERTIFICATE-----\n"
}

/// Returns whether a certificate may be reused: it matches the key, was signed by `authority`, and is valid for all
/// `names` at `at`.
fn is_good(
    authority: &CertificateDer<'_>,
    cert: &Path,
    key: &Path,
    names: &[String],
    at: SystemTime,
) -> bool {
    let check = || -> Result<(), Box<dyn Error>> {
        let leaf = CertificateDer::from_pem_file(cert)?;
        let provider = Arc::new(aws_lc_rs::default_provider());
        CertifiedKey::from_der(
            vec![leaf.clone()],
            PrivateKeyDer::from_pem_file(key)?,
            &provider,
        )?;
        let mut roots = RootCertStore::empty();
        roots.add(authority.clone())?;
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

fn make(
    names: &[String],
    now: SystemTime,
    generate: impl Fn() -> Result<KeyPair, rcgen::Error>,
) -> Result<Pem, rcgen::Error> {
    let (from, to) = (now - CLOCK_SLACK, now + VALID);
    let mut ca = CertificateParams::default();
    ca.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    (ca.not_before, ca.not_after) = (from.into(), to.into());
    let ca_key = generate()?;
    let mut name = String::from("Heliograph development authority");
    if ca_key.algorithm() == &PKCS_RSA_SHA256 {
        name.push_str(" (RSA)"); // clients look up CAs by name
    }
    ca.distinguished_name.push(DnType::CommonName, name);
    let ca_cert = ca.self_signed(&ca_key)?;

    let mut leaf = CertificateParams::new(names)?;
    leaf.distinguished_name
        .push(DnType::CommonName, "Heliograph development server");
    leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    leaf.use_authority_key_identifier_extension = true; // required by OpenSSL's strict checks, which Python enables
    (leaf.not_before, leaf.not_after) = (from.into(), to.into());
    let key = generate()?;
    let cert = leaf.signed_by(&key, &Issuer::new(ca, ca_key))?;
    Ok(Pem {
        ca: ca_cert.pem(),
        cert: cert.pem(),
        key: key.serialize_pem(),
    })
}

pub(crate) const AUTHORITY: &str = "dev-ca.pem";

const READ_BY_ALL: u32 = 0o644;

const NAMES: [&str; 4] = ["localhost", "127.0.0.1", "::1", "credentials.localhost"];

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// Validity period of the certificates: the maximum that browsers and Apple's clients accept from public CAs.
const VALID: Duration = Duration::from_secs(397 * 24 * 60 * 60);
const RENEW_BEFORE: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// Tolerance for clients whose clocks are slow.
const CLOCK_SLACK: Duration = DAY;

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;
    use testkit::Directory;

    #[test]
    fn a_certificate_is_kept_while_it_is_valid() {
        let directory = Directory::temporary();
        let now = SystemTime::now();
        let first = development(&directory, &[], now).unwrap();
        assert!(first.made);
        let ca = fs::read(&first.ca).unwrap();
        assert!(!development(&directory, &[], now + 300 * DAY).unwrap().made);
        assert_eq!(fs::read(&first.ca).unwrap(), ca);
        assert_eq!(
            fs::metadata(&first.files.key[0])
                .unwrap()
                .permissions()
                .mode()
                & 0o777,
            0o600
        );
        assert!(
            development(&directory, &[], now + 391 * DAY).unwrap().made,
            "a week before its end it is made again"
        );
        assert_ne!(fs::read(&first.ca).unwrap(), ca);
    }

    #[test]
    fn damaged_missing_or_foreign_files_are_made_anew() {
        let (directory, other) = (Directory::temporary(), Directory::temporary());
        let now = SystemTime::now();
        let ours = development(&directory, &[], now).unwrap();
        let theirs = development(&other, &[], now).unwrap();
        for (own, foreign) in [
            (&ours.ca, &theirs.ca),
            (&ours.files.cert[0], &theirs.files.cert[0]),
            (&ours.files.key[0], &theirs.files.key[0]),
        ] {
            let damages: [fn(&Path, &Path); 3] = [
                |own, _| fs::remove_file(own).unwrap(),
                |own, _| fs::write(own, "-----BEGIN CERTIFICATE-----\nAAAA").unwrap(),
                |own, foreign| assert!(fs::copy(foreign, own).unwrap() > 0),
            ];
            for damage in damages {
                damage(own, foreign);
                assert!(development(&directory, &[], now).unwrap().made);
                assert!(!development(&directory, &[], now).unwrap().made);
                load(&ours.files).unwrap();
            }
        }
    }

    #[test]
    fn another_name_makes_another_certificate_and_fewer_do_not() {
        let directory = Directory::temporary();
        let now = SystemTime::now();
        let two = ["bench.test".to_owned(), "192.0.2.7".to_owned()];
        let made = |hosts: &[String]| development(&directory, hosts, now).unwrap().made;
        assert!(made(&[]) && made(&two));
        assert!(!made(&two) && !made(&two[1..]) && !made(&[]));
        assert!(made(&["2001:db8::7".to_owned()]));
        let below = ["*.kvs.localhost".to_owned()];
        assert!(made(&below) && !made(&below));
    }

    /// A device whose TLS library supports only RSA gets the RSA certificate, whose CA is in the same file. All other
    /// clients get the ECDSA certificate, which takes less CPU time.
    #[test]
    fn a_client_is_presented_the_certificate_that_it_can_verify() {
        let directory = Directory::temporary();
        let now = SystemTime::now();
        let first = development(&directory, &[], now).unwrap();
        let authorities = || -> Vec<_> {
            let all = CertificateDer::pem_file_iter(&first.ca).unwrap();
            all.map(Result::unwrap).collect()
        };
        assert_eq!((first.files.cert.len(), authorities().len()), (1, 1));
        let mut loader = crate::tls_files::TlsLoader::new(first.files.clone()).unwrap();
        let made = first.lacks.clone().unwrap().make(now).unwrap();
        made.write().unwrap();
        loader.add(made.cert.clone(), made.key.clone());
        let server = loader.load(now).unwrap();
        assert_eq!(server.expiries.len(), 2);
        made.publish(&first.ca).unwrap();
        #[rustfmt::skip] // a table, a case per row
        let cases = [
            (client(&authorities(), &[], &[]), false),
            (client(&authorities(), &["ECDHE_ECDSA"], &[]), false),
            (client(&authorities(), &["ECDHE_RSA_WITH_AES_128_GCM"], &["RSA_PKCS1_SHA256"]), true),
            (client(&authorities(), &["ECDHE_RSA"], &["ECDSA_NISTP256_SHA256", "RSA_PKCS1_SHA256"]), true),
            (client(&authorities(), &["TLS13"], &["RSA_PSS_SHA256", "RSA_PKCS1_SHA256"]), true),
        ];
        for (device, is_rsa) in cases {
            assert_eq!(presents_rsa(&server.config, device), is_rsa);
        }
        // The RSA certificate is reused even if the ECDSA certificate is created again.
        let again = development(&directory, &[], now).unwrap();
        assert!(!again.made && again.lacks.is_none() && again.files.cert.len() == 2);
        let rsa = authorities().pop();
        fs::remove_file(&first.files.key[0]).unwrap();
        let again = development(&directory, &[], now).unwrap();
        assert!(again.made && again.lacks.is_none());
        assert_eq!((authorities().len(), authorities().pop()), (2, rsa));
        let other = ["bench.test".to_owned()];
        let again = development(&directory, &other, now).unwrap();
        assert!(again.made && again.lacks.is_some() && again.files.cert.len() == 1);
    }

    /// Creates a client that offers the named suites and schemes, or all of them if none are named.
    fn client(
        authorities: &[CertificateDer<'static>],
        suites: &[&str],
        schemes: &[&str],
    ) -> rustls::ClientConnection {
        let mut provider = aws_lc_rs::default_provider();
        let is_named = |names: &[&str], name: String| {
            names.is_empty() || names.iter().any(|it| name.contains(it))
        };
        let suite = |it: &rustls::SupportedCipherSuite| format!("{:?}", it.suite());
        provider
            .cipher_suites
            .retain(|it| is_named(suites, suite(it)));
        provider.kx_groups = vec![aws_lc_rs::kx_group::SECP256R1];
        let known = &mut provider.signature_verification_algorithms;
        let all = known.mapping.iter().copied();
        let offered: Vec<_> = all
            .filter(|(it, _)| is_named(schemes, format!("{it:?}")))
            .collect();
        known.mapping = offered.leak();
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(authorities.iter().cloned());
        let config = rustls::ClientConfig::builder_with_provider(Arc::new(provider));
        let config = match suites {
            ["TLS13"] => config.with_protocol_versions(&[&rustls::version::TLS13]),
            [] => config.with_safe_default_protocol_versions(),
            _ => config.with_protocol_versions(&[&rustls::version::TLS12]),
        };
        let config = config
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        rustls::ClientConnection::new(Arc::new(config), "localhost".try_into().unwrap()).unwrap()
    }

    /// Completes a handshake. Returns whether the certificate that the client verified has an RSA key.
    fn presents_rsa(
        server: &Arc<rustls::ServerConfig>,
        mut client: rustls::ClientConnection,
    ) -> bool {
        let mut server = rustls::ServerConnection::new(Arc::clone(server)).unwrap();
        while client.is_handshaking() || server.is_handshaking() {
            let mut wire = Vec::new();
            while client.wants_write() {
                client.write_tls(&mut wire).unwrap();
            }
            server.read_tls(&mut &*wire).unwrap();
            server.process_new_packets().unwrap();
            wire.clear();
            while server.wants_write() {
                server.write_tls(&mut wire).unwrap();
            }
            client.read_tls(&mut &*wire).unwrap();
            client.process_new_packets().unwrap();
        }
        let leaf = &client.peer_certificates().unwrap()[0];
        let (_, leaf) = x509_parser::parse_x509_certificate(leaf).unwrap();
        let key = leaf.public_key().parsed().unwrap();
        matches!(key, x509_parser::public_key::PublicKey::RSA(_))
    }

    fn load(files: &TlsFiles) -> Result<crate::tls_files::PresentedCertificates, String> {
        crate::tls_files::TlsLoader::new(files.clone())?.load(SystemTime::now())
    }
}
