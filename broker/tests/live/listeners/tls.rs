//! TLS as clients see it: versions, resumption, client certificates, bounds; and certificates of the operator.

use crate::http::call;
use crate::peer::tcp;
use crate::process::{Broker, directory, run_to_end};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::client::Resumption;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{
    ClientConfig, ClientConnection, ProtocolVersion, RootCertStore, StreamOwned, version,
};
use serde_json::json;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};
use testkit::{Directory, until};

#[test]
fn sessions_are_resumed_on_any_shard_under_both_versions() {
    let identity = Identity::new("localhost");
    let broker = identity.serve(4, "");
    for version in [&version::TLS12, &version::TLS13] {
        let client = identity.client(&[version], None);
        let before = handshakes(&broker);
        for _ in 0..12 {
            assert!(ask(&broker, &client).is_ok());
        }
        let after = handshakes(&broker);
        let gained = [after[0] - before[0], after[1] - before[1]];
        assert_eq!(gained, [1.0, 11.0], "{version:?}");
    }
}

#[test]
fn both_versions_are_spoken_and_http_1_1_over_them() {
    let identity = Identity::new("localhost");
    let broker = identity.serve(1, "");
    for (version, spoken) in [
        (&version::TLS12, ProtocolVersion::TLSv1_2),
        (&version::TLS13, ProtocolVersion::TLSv1_3),
    ] {
        let mut client = ClientConfig::clone(&identity.client(&[version], None));
        client.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let stream = ask(&broker, &Arc::new(client.clone())).expect("a handshake");
        assert_eq!(stream.conn.protocol_version(), Some(spoken));
        assert_eq!(stream.conn.alpn_protocol(), Some(&b"http/1.1"[..]));
        client.alpn_protocols = vec![b"h2".to_vec()];
        let refused = ask(&broker, &Arc::new(client)).expect_err("HTTP/2 alone");
        assert!(refused.contains("NoApplicationProtocol"), "{refused}");
    }
}

#[test]
fn client_certificates_are_wanted_only_with_an_authority() {
    let identity = Identity::new("localhost");
    let (ours, theirs) = (Identity::new("ours"), Identity::new("theirs"));
    let authority = format!("client_ca = {:?}\n", ours.ca);
    let broker = identity.serve(2, &authority);
    for version in [&version::TLS12, &version::TLS13] {
        let before = handshakes(&broker);
        for wrong in [None, Some(&theirs)] {
            ask(&broker, &identity.client(&[version], wrong)).expect_err("not one of ours");
        }
        let client = identity.client(&[version], Some(&ours));
        for _ in 0..2 {
            assert!(ask(&broker, &client).is_ok());
        }
        let after = handshakes(&broker);
        let gained: Vec<f64> = after.iter().zip(before).map(|(a, b)| a - b).collect();
        assert_eq!(gained, [1.0, 1.0, 2.0], "{version:?}");
    }
    let open = identity.serve(1, "");
    assert!(ask(&open, &identity.client(BOTH, Some(&theirs))).is_ok());
}

#[test]
fn a_handshake_that_does_not_begin_ends_at_its_deadline() {
    let identity = Identity::new("localhost");
    let broker = identity.serve(1, "[timeouts]\ntls = \"1s\"\n");
    let started = Instant::now();
    let ended = tcp(broker.tls).read(&mut [0; 16]);
    let took = started.elapsed();
    assert!(matches!(ended, Ok(0)), "{ended:?}");
    assert!(
        (Duration::from_millis(900)..Duration::from_secs(8)).contains(&took),
        "{took:?}"
    );
    let overdue = "heliograph_tls_handshakes_total{outcome=\"timeout\"}";
    assert_eq!(broker.scrape().sum(overdue), 1.0);
}

#[test]
fn a_start_with_files_that_cannot_work_is_refused() {
    let (own, other) = (Identity::new("localhost"), Identity::new("localhost"));
    let day = Duration::from_secs(24 * 60 * 60);
    let now = SystemTime::now();
    let early = Identity::valid("localhost", now + day, now + 2 * day);
    let start = |cert: &Path, key: &Path| {
        #[rustfmt::skip] // a list
        let arguments = ["serve", "--dev", "--admin", "off", "--listen", "https://127.0.0.1:0", "--tls-cert"];
        let (cert, key) = (cert.to_str().expect("UTF-8"), key.to_str().expect("UTF-8"));
        let (code, text) = run_to_end(&[&arguments[..], &[cert, "--tls-key", key]].concat());
        assert_eq!(code, Some(2), "{text}");
        text
    };
    for (text, said) in [
        (start(&own.cert, &other.key), "it is the key of another one"),
        (start(&own.key, &own.cert), "are cert and key swapped?"),
        (
            start(&early.cert, &early.key),
            "is not yet valid: it begins ",
        ),
    ] {
        assert!(text.contains(said), "{said}: {text}");
    }
}

/// A crash on the day after the end is no outage of everything: it takes what it finds, and says so.
#[test]
fn an_expired_certificate_is_served_unless_that_is_refused() {
    let day = Duration::from_secs(24 * 60 * 60);
    let now = SystemTime::now();
    let (expired, next) = (
        Identity::valid("localhost", now - 2 * day, now - day),
        Identity::new("localhost"),
    );
    let files = format!(
        "auth = 'none'\ndata_dir = ':memory:'\nlisten = ['https://127.0.0.1:0']\n[tls]\ncert = {:?}\nkey = {:?}\n",
        expired.cert, expired.key
    );
    let config = expired.cert.with_file_name("b.toml");
    let path = config.to_str().expect("UTF-8");
    for (more, command) in [
        ("expired = 'refuse'\n", &["serve", "--config", path][..]),
        ("expired = 'refuse'\n", &["check-config", path]),
        ("", &["check-config", path]),
    ] {
        fs::write(&config, format!("{files}{more}")).expect("written");
        let (code, text) = run_to_end(command);
        assert_eq!(code, Some(2), "{command:?} {more}: {text}");
        assert!(
            text.contains("has expired: it ended "),
            "{command:?} {more}: {text}"
        );
    }

    let broker = expired.serve(1, "");
    broker.logged(&["ERROR", "expired", "clients reject it"], 1);
    let end = |broker: &Broker| {
        broker
            .scrape()
            .sum("heliograph_certificate_not_after_seconds{of=\"listener\"}")
    };
    assert_eq!(end(&broker), seconds(now - day));
    let refused = ask(&broker, &expired.client(BOTH, None)).expect_err("it checks");
    assert!(
        refused.contains("Expired") || refused.contains("expired"),
        "{refused}"
    );
    assert!(call(broker.plain, "/listSignalingChannels", &json!({})).status == 200);
    let former = [&expired.cert, &expired.key].map(|path| fs::read(path).expect("a file"));
    expired.become_another(&next);
    let client = next.client(BOTH, None);
    until("the next certificate", || ask(&broker, &client).ok());
    // Back to the expired one: a valid one is worth more.
    fs::write(&expired.cert, &former[0]).expect("written");
    fs::write(&expired.key, &former[1]).expect("written");
    broker.logged(&["the certificate stays as it was", "has expired"], 1);
    assert!(ask(&broker, &client).is_ok());
    assert!(end(&broker) > seconds(now));
}

fn seconds(at: SystemTime) -> f64 {
    let since = at
        .duration_since(SystemTime::UNIX_EPOCH)
        .expect("after 1970");
    #[expect(clippy::cast_precision_loss, reason = "seconds of this century")]
    let seconds = since.as_secs() as f64;
    seconds
}

#[test]
fn the_end_of_a_certificate_is_shown_and_logged_in_time() {
    let now = SystemTime::now();
    let end = now + Duration::from_secs(3 * 24 * 60 * 60 + 60);
    let identity = Identity::valid("localhost", now - Duration::from_secs(60), end);
    let broker = identity.serve(1, "");
    assert_eq!(
        broker.scrape().sum("heliograph_tls_not_after_seconds"),
        seconds(end)
    );
    testkit::assert_has(&broker.log(), &["in 3 days: renew it"]);
    let plain = Broker::start(&["--dev", "--listen", "http://127.0.0.1:0"], 1);
    assert_eq!(plain.scrape().sum("heliograph_tls_not_after_seconds"), 0.0);
}

/// What is in a device of a small TLS library: TLS 1.2, one suite, one group, RSA.
#[test]
fn a_device_that_knows_rsa_alone_is_served_under_dev_and_found_where_it_is_not() {
    let broker = Broker::dev(2);
    let ca = broker.authority.as_ref().expect("a file");
    let authorities = testkit::until("both authorities", || {
        let all = CertificateDer::pem_file_iter(ca).ok()?;
        let all: Vec<_> = all.filter_map(Result::ok).collect();
        (all.len() == 2).then_some(all)
    });
    let device = rsa_device(authorities);
    // The certificate is in force soon after its CA is in the file.
    testkit::until_true("it trusts the second CA", || ask(&broker, &device).is_ok());
    let identity = Identity::new("localhost");
    let broker = identity.serve(1, "");
    ask(&broker, &device).expect_err("a certificate with an ECDSA key");
    let noted = testkit::until("the record", || {
        let all = broker.page("/refusals?check=tls_nothing_common").json();
        all["refusals"][0]["policy"].as_str().map(str::to_owned)
    });
    testkit::assert_has(&noted, &["RSA_PKCS1_SHA256; a certificate whose key"]);
}

/// A client with these authorities and one suite, one group and one signature.
fn rsa_device(authorities: Vec<CertificateDer<'static>>) -> Arc<ClientConfig> {
    use rustls::crypto::aws_lc_rs;
    let mut provider = aws_lc_rs::default_provider();
    let suite = rustls::CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256;
    provider.cipher_suites.retain(|it| it.suite() == suite);
    provider.kx_groups = vec![aws_lc_rs::kx_group::SECP256R1];
    let known = &mut provider.signature_verification_algorithms;
    let rsa = rustls::SignatureScheme::RSA_PKCS1_SHA256;
    let offered = known.mapping.iter().copied().filter(|(it, _)| *it == rsa);
    known.mapping = offered.collect::<Vec<_>>().leak();
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(authorities);
    let builder = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&version::TLS12])
        .expect("a version");
    Arc::new(builder.with_root_certificates(roots).with_no_client_auth())
}

/// The protocol versions that clients of today speak.
pub(crate) const BOTH: &[&rustls::SupportedProtocolVersion] = &[&version::TLS13, &version::TLS12];

/// An authority, a certificate of it and its key, as files; removed on drop.
pub(crate) struct Identity {
    _directory: Directory,
    /// The authority's certificate, which others trust.
    pub(crate) ca: PathBuf,
    /// The leaf.
    pub(crate) cert: PathBuf,
    /// Its key.
    pub(crate) key: PathBuf,
}

impl Identity {
    /// Valid for a hundred days.
    pub(crate) fn new(name: &str) -> Self {
        let now = SystemTime::now();
        let day = Duration::from_secs(24 * 60 * 60);
        Self::valid(name, now - day, now + 100 * day)
    }

    /// Valid from one moment to another.
    pub(crate) fn valid(name: &str, from: SystemTime, to: SystemTime) -> Self {
        let directory = directory();
        let mut authority = CertificateParams::default();
        authority
            .distinguished_name
            .push(DnType::CommonName, "tests");
        authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        let authority_key = KeyPair::generate().expect("a key");
        let ca = authority.self_signed(&authority_key).expect("an authority");
        let mut leaf = CertificateParams::new([name.to_owned()]).expect("a name");
        (leaf.not_before, leaf.not_after) = (from.into(), to.into());
        let key = KeyPair::generate().expect("a key");
        let cert = leaf
            .signed_by(&key, &Issuer::new(authority, authority_key))
            .expect("a certificate");
        let file = |name: &str, text: String| {
            let path = directory.join(name);
            fs::write(&path, text).expect("a file under target/");
            path
        };
        Self {
            ca: file("ca.pem", ca.pem()),
            cert: file("cert.pem", cert.pem()),
            key: file("key.pem", key.serialize_pem()),
            _directory: directory,
        }
    }

    /// A broker that presents it; `more` goes into its configuration file, first into `[tls]`.
    pub(crate) fn serve(&self, shards: u16, more: &str) -> Broker {
        let tls = format!(
            "[tls]\ncert = {:?}\nkey = {:?}\n{more}",
            self.cert, self.key
        );
        Broker::configured(&tls, shards)
    }

    /// A client that trusts it, and shows the certificate of `own`.
    pub(crate) fn client(
        &self,
        versions: &[&'static rustls::SupportedProtocolVersion],
        own: Option<&Self>,
    ) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(certificate(&self.ca)).expect("an authority");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .expect("versions")
            .with_root_certificates(roots);
        let mut config = match own {
            None => builder.with_no_client_auth(),
            Some(own) => builder
                .with_client_auth_cert(
                    vec![certificate(&own.cert)],
                    PrivateKeyDer::from_pem_file(&own.key).expect("a key"),
                )
                .expect("a pair"),
        };
        config.resumption = Resumption::in_memory_sessions(64);
        Arc::new(config)
    }

    /// Puts another certificate and its key at the place of this one's.
    pub(crate) fn become_another(&self, other: &Self) {
        fs::copy(&other.cert, &self.cert).expect("copied");
        fs::copy(&other.key, &self.key).expect("copied");
    }
}

/// The first certificate of a file.
pub(crate) fn certificate(path: &Path) -> CertificateDer<'static> {
    CertificateDer::from_pem_file(path).expect("a certificate")
}

/// A handshake and a request over it, so that the broker's tickets arrive; what went wrong otherwise.
pub(crate) fn ask(
    broker: &Broker,
    client: &Arc<ClientConfig>,
) -> Result<StreamOwned<ClientConnection, TcpStream>, String> {
    ask_over(tcp(broker.tls), client)
}

fn ask_over(
    stream: TcpStream,
    client: &Arc<ClientConfig>,
) -> Result<StreamOwned<ClientConnection, TcpStream>, String> {
    let name = "localhost".try_into().expect("a name");
    let session = ClientConnection::new(Arc::clone(client), name).expect("a session");
    let mut stream = StreamOwned::new(session, stream);
    let mut answer = [0; 12];
    let asked = stream
        .write_all(b"GET /nowhere HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .and_then(|()| stream.read_exact(&mut answer));
    match asked {
        Ok(()) if answer.starts_with(b"HTTP/1.1 4") => Ok(stream),
        Ok(()) => Err(String::from_utf8_lossy(&answer).into_owned()),
        Err(error) => Err(error.to_string()),
    }
}

/// Handshakes so far: full, resumed, failed.
pub(crate) fn handshakes(broker: &Broker) -> [f64; 3] {
    let scrape = broker.scrape();
    ["full", "resumed", "failed"].map(|outcome| {
        scrape.sum(&format!(
            "heliograph_tls_handshakes_total{{outcome=\"{outcome}\"}}"
        ))
    })
}
