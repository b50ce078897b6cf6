//! Tests files of every kind, and the messages about them.

mod validity;

use super::*;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use std::fs;
use std::time::Duration;
use testkit::Directory;

/// A certificate and its key in PEM, and the issuer that signs other certificates with it.
struct Made {
    cert: String,
    key: String,
    issuer: Issuer<'static, KeyPair>,
}

/// Creates a certificate that is valid from 50 days ago until 50 days from now.
fn make(name: &str, by: Option<&Made>) -> Made {
    let day = Duration::from_secs(24 * 60 * 60);
    let now = SystemTime::now();
    make_valid(name, by, now - 50 * day, now + 50 * day)
}

fn make_valid(name: &str, by: Option<&Made>, from: SystemTime, to: SystemTime) -> Made {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    (params.not_before, params.not_after) = (from.into(), to.into());
    let key = KeyPair::generate().unwrap();
    let cert = match by {
        None => params.self_signed(&key).unwrap(),
        Some(by) => params.signed_by(&key, &by.issuer).unwrap(),
    };
    Made {
        cert: cert.pem(),
        key: key.serialize_pem(),
        issuer: Issuer::new(params, key),
    }
}

/// A directory with the files of a configuration.
struct Case(Directory);

impl Case {
    fn new() -> Self {
        Self(Directory::temporary())
    }

    fn load(&self, cert: &str, key: &str) -> Result<PresentedCertificates, String> {
        TlsLoader::new(self.files(cert, key, None))?.load(SystemTime::now())
    }

    fn files(&self, cert: &str, key: &str, client_ca: Option<&str>) -> TlsFiles {
        fs::write(self.0.join("cert.pem"), cert).unwrap();
        fs::write(self.0.join("key.pem"), key).unwrap();
        let client_ca = client_ca.map(|text| {
            fs::write(self.0.join("ca.pem"), text).unwrap();
            self.0.join("ca.pem")
        });
        TlsFiles {
            cert: vec![self.0.join("cert.pem")],
            key: vec![self.0.join("key.pem")],
            client_ca,
            expired: Expired::Refuse,
        }
    }

    /// Returns the text of the error, without the directory.
    fn refused(&self, cert: &str, key: &str) -> String {
        let text = self.load(cert, key).expect_err("it must be refused");
        text.replace(&format!("{}/", self.0.display()), "")
    }
}

#[test]
fn a_chain_is_accepted_in_order_and_refused_in_another() {
    let case = Case::new();
    let root = make("root", None);
    let middle = make("middle", Some(&root));
    let leaf = make("leaf", Some(&middle));
    let chain = |parts: &[&Made]| {
        let texts: Vec<&str> = parts.iter().map(|made| made.cert.as_str()).collect();
        texts.concat()
    };
    for whole in [
        chain(&[&leaf]),
        chain(&[&leaf, &middle]),
        chain(&[&leaf, &middle, &root]),
    ] {
        let presented = case.load(&whole, &leaf.key).unwrap();
        assert!(presented.warnings.is_empty());
        assert!(presented.expiries[0].notice(SystemTime::now()).is_none());
    }
    assert_eq!(
        case.load(&root.cert, &root.key).unwrap().warnings.len(),
        0,
        "who signed itself is no stranger"
    );
    #[rustfmt::skip] // a table, a case per row
    let cases = [
        (chain(&[&middle, &leaf]),
            "certificate 1 (middle) issued certificate 2 (leaf), so that one belongs before it, the leaf first"),
        (chain(&[&root, &middle, &leaf]),
            "certificate 1 (root) issued certificate 2 (middle), so that one belongs before it, the leaf first"),
        (chain(&[&leaf, &root, &middle]),
            "certificate 1 (leaf) was issued by certificate 3 (middle), which belongs right after it"),
    ];
    for (parts, said) in cases {
        assert_eq!(
            case.refused(&parts, &leaf.key),
            format!(
                "tls.cert = cert.pem: must be a PEM file with one certificate or a chain, the leaf first: \
                 the chain is in the wrong order: {said}"
            )
        );
    }
}

#[test]
fn a_stray_certificate_is_accepted_with_a_warning() {
    let case = Case::new();
    let (own, other) = (make("own", None), make("other", None));
    let both = own.cert.clone() + &other.cert;
    let warnings = case.load(&both, &own.key).unwrap().warnings;
    assert!(
        warnings.len() == 1
            && warnings[0].contains(
                "certificate 2 (other) issued none of those before it: clients do not need it"
            ),
        "{warnings:?}"
    );
    let text = case.refused(&both, &other.key);
    assert!(
        text.ends_with("the key in key.pem is that of certificate 2 (other): put that one first"),
        "{text}"
    );
}

#[test]
fn a_key_of_another_certificate_is_refused() {
    let case = Case::new();
    let (own, other) = (make("own", None), make("other", None));
    assert_eq!(
        case.refused(&own.cert, &other.key),
        "tls.key = key.pem: must be the private key of the first certificate in cert.pem (own): it is the key of \
         another one"
    );
}

#[test]
fn the_clock_decides_what_is_valid() {
    let case = Case::new();
    let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
    let (from, to) = (1_700_000_000, 1_700_086_400);
    let own = make_valid("own", None, at(from), at(to));
    let mut loader = TlsLoader::new(case.files(&own.cert, &own.key, None)).unwrap();
    let presented = loader.load(at(from)).unwrap();
    assert_eq!(presented.expiries[0].not_after, to);
    loader.load(at(to)).unwrap();
    let early = loader.load(at(from - 1)).unwrap_err();
    assert!(
        early.ends_with(
            "certificate 1 (own) is not yet valid: it begins 2023-11-14 22:13:20 UTC, and this machine's clock says \
             2023-11-14 22:13:19 UTC"
        ),
        "{early}"
    );
    let late = loader.load(at(to + 1)).unwrap_err();
    assert!(
        late.ends_with(
            "certificate 1 (own) has expired: it ended 2023-11-15 22:13:20 UTC, and this machine's clock says \
             2023-11-15 22:13:21 UTC: renew it"
        ),
        "{late}"
    );
    let (long, now) = (make("long", Some(&own)), SystemTime::now());
    let text = case.refused(&(long.cert.clone() + &own.cert), &long.key);
    testkit::assert_has(&text, &["certificate 2 (own) has expired"]);
    let stray = make("stray", None).cert + &own.cert;
    let presented = TlsLoader::new(case.files(&stray, &make("x", None).key, None))
        .unwrap()
        .load(now);
    assert!(
        !presented.unwrap_err().contains("expired"),
        "clients need no stray"
    );
}

#[test]
fn an_expired_certificate_is_served_unless_a_valid_one_is_in_force() {
    let case = Case::new();
    let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
    let (from, to) = (1_700_000_000, 1_700_086_400);
    let own = make_valid("own", None, at(from), at(to));
    let other = make_valid("other", None, at(from), at(to + 10));
    let files = TlsFiles {
        expired: Expired::Serve,
        ..case.files(&own.cert, &own.key, Some(&other.cert))
    };
    let mut loader = TlsLoader::new(files.clone()).unwrap();
    let presented = loader.load(at(to + 1)).unwrap();
    let ends = [("listener", to), ("authority", to + 10)];
    assert_eq!(presented.ends, ends);
    let notice = presented.expiries[0].notice(at(to + 1)).unwrap();
    assert_eq!(notice.0, Urgency::Day);
    assert!(notice.1.contains("of own expired"), "{}", notice.1);
    // Every other fault is still an error.
    case.files(&own.cert, &other.key, None);
    let mixed = loader.load(at(to + 1)).unwrap_err();
    assert!(mixed.contains("it is the key of another one"), "{mixed}");
    assert!(TlsLoader::new(files).unwrap().load(at(from - 1)).is_err());
    // A valid certificate stays in use until it expires.
    case.files(&other.cert, &other.key, None);
    loader.load(at(to + 1)).unwrap();
    case.files(&own.cert, &own.key, None);
    let late = loader.load(at(to + 10)).unwrap_err();
    assert!(late.contains("has expired"), "{late}");
    loader.load(at(to + 11)).unwrap();
}

#[test]
fn what_is_no_pem_is_named_for_what_it_is() {
    let case = Case::new();
    let own = make("own", None);
    let half = &own.cert[..own.cert.len() / 2];
    let rule =
        "tls.cert = cert.pem: must be a PEM file with one certificate or a chain, the leaf first: ";
    #[rustfmt::skip] // a table, a case per row
    let cases = [
        ("", "it is empty"),
        (" \n", "it is empty"),
        ("hello", "there is no `-----BEGIN CERTIFICATE-----` in it"),
        (
            "\u{30}\u{7f}\u{2}\u{1}",
            "there is no `-----BEGIN CERTIFICATE-----` in it, but apparently DER: `openssl` converts it with \
             `-inform der`",
        ),
        (&own.key, "there is no `-----BEGIN CERTIFICATE-----` in it, but a private key: are cert and key swapped?"),
        (half, "a section in it has no end: is the file complete?"),
        ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "certificate 1 is broken: "),
        ("-----BEGIN CERTIFICATE-----\n????\n-----END CERTIFICATE-----\n",
            "a section in it is not base64: is the file complete?"),
    ];
    for (text, said) in cases {
        let text = case.refused(text, &own.key);
        assert!(text.starts_with(&format!("{rule}{said}")), "{said}: {text}");
    }
    let long = "#".repeat(1 << 20) + "#";
    assert!(
        case.refused(&long, &own.key)
            .ends_with("it is longer than 1048576 bytes")
    );
}

#[test]
fn what_is_no_key_is_named_for_what_it_is() {
    let case = Case::new();
    let own = make("own", None);
    let half = &own.key[..own.key.len() / 2];
    let rule = "tls.key = key.pem: must be a PEM file with an unencrypted private key: ";
    let encrypted =
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
    let broken = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
    for (text, said) in [
        ("", "it is empty"),
        (half, "a section in it has no end: is the file complete?"),
        (
            own.cert.as_str(),
            "there is no `-----BEGIN PRIVATE KEY-----` in it, but a certificate: are cert and key swapped?",
        ),
        (
            encrypted,
            "there is no `-----BEGIN PRIVATE KEY-----` in it, but an encrypted private key: `openssl pkey -in FILE \
             -out PLAIN` \
             decrypts it",
        ),
        (broken, ""),
    ] {
        let text = case.refused(&own.cert, text);
        assert!(text.starts_with(&format!("{rule}{said}")), "{said}: {text}");
    }
}

#[test]
fn what_is_no_file_is_refused() {
    let case = Case::new();
    let own = make("own", None);
    let good = case.files(&own.cert, &own.key, None);
    let refused = |files: TlsFiles| {
        let mut loader = TlsLoader::new(files).unwrap();
        loader.load(SystemTime::now()).unwrap_err()
    };
    let absent = refused(TlsFiles {
        cert: vec![case.0.join("absent.pem")],
        ..good.clone()
    });
    assert!(
        absent.contains("absent.pem: must be a PEM file with one certificate")
            && absent.contains("it cannot be read: No such file"),
        "{absent}"
    );
    let folder = refused(TlsFiles {
        key: vec![case.0.to_path_buf()],
        ..good.clone()
    });
    assert!(folder.ends_with("it is not a regular file"), "{folder}");
    let authority = refused(case.files(&own.cert, &own.key, Some(&own.key)));
    testkit::assert_begins(&authority, "tls.client_ca = ");
    testkit::assert_has(&authority, &["are cert and key swapped"]);
    let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let authority = refused(case.files(&own.cert, &own.key, Some(&(own.cert.clone() + broken))));
    testkit::assert_has(&authority, &["certificate 2 cannot be used"]);
}

/// If there are two certificates, each fault names its file, and the earliest expiry is that of both together.
#[test]
fn two_certificates_are_of_different_kinds_of_keys() {
    let case = Case::new();
    let (own, other) = (make("own", None), make("other", None));
    let rsa = KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, rcgen::RsaKeySize::_2048).unwrap();
    let now = SystemTime::now();
    let mut params = CertificateParams::default();
    let soon = now + Duration::from_secs(600);
    (params.not_before, params.not_after) = (now.into(), soon.into());
    let second = params.self_signed(&rsa).unwrap().pem();
    let load = |cert: &str, key: &str| {
        let mut files = case.files(&own.cert, &own.key, None);
        let place = |name: &str, text: &str| {
            fs::write(case.0.join(name), text).unwrap();
            case.0.join(name)
        };
        files.cert.push(place("cert2.pem", cert));
        files.key.push(place("key2.pem", key));
        let told = check(&files, now, Expired::Refuse);
        let loaded = TlsLoader::new(files).unwrap().load(now);
        let loaded = loaded.map_err(|text| text.replace(&format!("{}/", case.0.display()), ""));
        (loaded, told)
    };
    let (loaded, told) = load(&second, &rsa.serialize_pem());
    let loaded = loaded.unwrap();
    let ends: Vec<_> = loaded.expiries.iter().map(|it| it.not_after).collect();
    assert!(ends[0] > ends[1], "{ends:?}");
    assert!(matches!(&told.unwrap()[..], [notice] if notice.contains("expires")));
    #[rustfmt::skip] // a table, a case per row
    let cases = [
        (
            &other.cert,
            &other.key,
            "tls.cert = cert2.pem: must be a PEM file with one certificate or a chain, the leaf first: its key has \
             the same algorithm",
        ),
        (&second, &other.key, "tls.key = key2.pem: must be the private key of the first certificate in cert2.pem"),
        (&own.key, &own.cert, "tls.cert = cert2.pem: "),
    ];
    for (cert, key, said) in cases {
        let (loaded, told) = load(cert, key);
        let refused = loaded.expect_err("it must be refused");
        assert!(refused.starts_with(said) && told.is_err(), "{refused}");
    }
}

/// A ticket admits a client without its certificate, so it must not outlive the CAs that vouched for the certificate.
#[test]
fn ticket_keys_last_until_the_clients_authorities_change() {
    let case = Case::new();
    let (own, first, second) = (make("own", None), make("first", None), make("second", None));
    let mut loader = TlsLoader::new(case.files(&own.cert, &own.key, Some(&first.cert))).unwrap();
    let now = SystemTime::now();
    let before = loader.load(now).unwrap().config;
    let renewed = make("own", None);
    case.files(&renewed.cert, &renewed.key, Some(&first.cert));
    let after = loader.load(now).unwrap().config;
    let ticket = before.ticketer.encrypt(&SESSION).unwrap();
    assert_eq!(after.ticketer.decrypt(&ticket).unwrap(), SESSION);
    case.files(&renewed.cert, &own.key, Some(&second.cert));
    loader.load(now).unwrap_err();
    case.files(&renewed.cert, &renewed.key, Some(&second.cert));
    let other = loader.load(now).unwrap().config;
    assert!(other.ticketer.decrypt(&ticket).is_none());
}

/// A session as rustls passes it to the ticketer: no name, version, suite, secret, and no client certificate.
const SESSION: [u8; 11] = [0, 3, 4, 0x13, 1, 1, 9, 1, 0, 0, 0];

/// Returns the suite that is negotiated with a client that offers all suites of a version in the library's order, or
/// only one suite.
fn agreed(
    server: &Arc<ServerConfig>,
    version: &'static rustls::SupportedProtocolVersion,
    only: Option<CipherSuite>,
) -> CipherSuite {
    let mut provider = aws_lc_rs::default_provider();
    provider
        .cipher_suites
        .retain(|suite| only.is_none_or(|only| suite.suite() == only));
    let client = rustls::ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[version])
        .unwrap()
        .with_root_certificates(RootCertStore::empty()) // the handshake does not get that far
        .with_no_client_auth();
    let name = "own".try_into().unwrap();
    let mut client = rustls::ClientConnection::new(Arc::new(client), name).unwrap();
    let mut server = rustls::ServerConnection::new(Arc::clone(server)).unwrap();
    let mut hello = Vec::new();
    client.write_tls(&mut hello).unwrap();
    server.read_tls(&mut hello.as_slice()).unwrap();
    server.process_new_packets().unwrap();
    server.negotiated_cipher_suite().unwrap().suite()
}

/// Processors have instructions for SHA-256, which makes a handshake a quarter cheaper.
#[test]
fn the_suite_with_the_cheapest_hash_is_agreed_on_and_the_others_are_taken() {
    use rustls::version::{TLS12, TLS13};
    let (case, own) = (Case::new(), make("own", None));
    let server = case.load(&own.cert, &own.key).unwrap().config;
    for (version, suite) in [
        (&TLS13, CipherSuite::TLS13_AES_128_GCM_SHA256),
        (&TLS12, CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256),
    ] {
        assert_eq!(agreed(&server, version, None), suite);
    }
    for only in [
        CipherSuite::TLS13_AES_256_GCM_SHA384,
        CipherSuite::TLS13_CHACHA20_POLY1305_SHA256,
    ] {
        assert_eq!(agreed(&server, &TLS13, Some(only)), only);
    }
}
