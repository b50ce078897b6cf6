//! Tests when tickets expire, using a clock that the tests control.

use super::*;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{PrivateKeyDer, UnixTime};
use rustls::time_provider::TimeProvider;
use rustls::{ClientConfig, HandshakeKind};
use std::sync::atomic::{AtomicU64, Ordering};

#[test]
fn tickets_end_with_the_certificate_of_the_server() {
    let case = Case::new();
    let own = make("own", None);
    let presented = case.load(&own.cert, &own.key).unwrap();
    let end = presented.expiries[0].not_after;
    let clock = Arc::new(SetClock(AtomicU64::new(end - 60)));
    let keys = tickets(None, &[]).unwrap();
    let until = |not_after| EndingTickets {
        keys: Arc::clone(&keys),
        not_after,
        clock: Arc::clone(&clock) as Arc<dyn TimeProvider>,
    };
    let (own, renewed) = (until(end), until(end + 1_000));
    assert_eq!(own.lifetime(), 60);
    let ticket = own.encrypt(&SESSION).unwrap();
    let later = renewed.encrypt(&SESSION).unwrap();
    clock.0.store(end, Ordering::Relaxed);
    for opened in [own.decrypt(&ticket), renewed.decrypt(&ticket)] {
        assert_eq!(opened.as_deref(), Some(&SESSION[..]));
    }
    // A renewed certificate does not extend tickets that were issued under the previous one.
    clock.0.store(end + 1, Ordering::Relaxed);
    assert_eq!(own.decrypt(&ticket), None);
    assert_eq!(renewed.decrypt(&ticket), None);
    assert_eq!(renewed.decrypt(&later).as_deref(), Some(&SESSION[..]));
    assert_eq!(own.decrypt(&later), None);
    assert!(own.encrypt(b"no session").is_none());
}

/// A resumed session presents no certificate. If tickets did not expire, a client could come back forever, using
/// tickets that it received when it resumed a session.
#[test]
fn tickets_end_with_the_certificate_of_the_client() {
    let case = Case::new();
    let authority = make("authority", None);
    let now = SystemTime::now();
    let soon = now + Duration::from_secs(600);
    let own = make_leaf("localhost", &authority, now + Duration::from_secs(60 * 60));
    let short = make_leaf("client", &authority, soon);
    let files = case.files(&own.cert, &own.key, Some(&authority.cert));
    let mut loader = TlsLoader::new(files).unwrap();
    let presented = loader.load(now).unwrap();
    let seconds = |at: SystemTime| at.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    for version in [&rustls::version::TLS13, &rustls::version::TLS12] {
        let clock = Arc::new(SetClock(AtomicU64::new(seconds(now))));
        let not_after = presented.expiries[0].not_after;
        let server = by_clock(&presented.config, not_after, &clock);
        let client = client_of(&authority, &short, version);
        assert_eq!(shake(&server, &client), Ok(HandshakeKind::Full));
        assert_eq!(shake(&server, &client), Ok(HandshakeKind::Resumed));
        clock.0.store(seconds(soon) + 1, Ordering::Relaxed);
        let refused = shake(&server, &client).unwrap_err();
        assert!(refused.contains("Expired"), "{version:?}: {refused}");
    }
}

/// A clock that stands still until it is set.
#[derive(Debug)]
struct SetClock(AtomicU64);

impl TimeProvider for SetClock {
    fn current_time(&self) -> Option<UnixTime> {
        let seconds = self.0.load(Ordering::Relaxed);
        Some(UnixTime::since_unix_epoch(Duration::from_secs(seconds)))
    }
}

/// Returns the configuration with another clock for tickets and checks.
fn by_clock(config: &ServerConfig, not_after: u64, clock: &Arc<SetClock>) -> Arc<ServerConfig> {
    let mut config = config.clone();
    config.time_provider = Arc::clone(clock) as Arc<dyn TimeProvider>;
    config.ticketer = Arc::new(EndingTickets {
        keys: tickets(None, &[]).unwrap(),
        not_after,
        clock: Arc::clone(clock) as Arc<dyn TimeProvider>,
    });
    Arc::new(config)
}

/// Creates a certificate for a server or client that is valid until `to`.
fn make_leaf(name: &str, by: &Made, to: SystemTime) -> Made {
    let mut params = CertificateParams::new([name.to_owned()]).unwrap();
    params.not_after = to.into();
    let key = KeyPair::generate().unwrap();
    let cert = params.signed_by(&key, &by.issuer).unwrap();
    Made {
        cert: cert.pem(),
        key: key.serialize_pem(),
        issuer: Issuer::new(params, key),
    }
}

/// Returns a client that trusts `authority`, presents the certificate of `own`, and keeps its tickets.
fn client_of(
    authority: &Made,
    own: &Made,
    version: &'static rustls::SupportedProtocolVersion,
) -> Arc<ClientConfig> {
    let der = |made: &Made| CertificateDer::from_pem_slice(made.cert.as_bytes()).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(der(authority)).unwrap();
    let provider = Arc::new(aws_lc_rs::default_provider());
    let client = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[version])
        .unwrap()
        .with_root_certificates(roots)
        .with_client_auth_cert(
            vec![der(own)],
            PrivateKeyDer::from_pem_slice(own.key.as_bytes()).unwrap(),
        );
    Arc::new(client.unwrap())
}

/// Completes a handshake in memory, including the tickets that follow it.
fn shake(server: &Arc<ServerConfig>, client: &Arc<ClientConfig>) -> Result<HandshakeKind, String> {
    let name = "localhost".try_into().unwrap();
    let mut client = rustls::ClientConnection::new(Arc::clone(client), name).unwrap();
    let mut server = rustls::ServerConnection::new(Arc::clone(server)).unwrap();
    for _ in 0..4 {
        let mut bytes = Vec::new();
        client.write_tls(&mut bytes).unwrap();
        server.read_tls(&mut &bytes[..]).unwrap();
        server
            .process_new_packets()
            .map_err(|error| format!("{error:?}"))?;
        bytes.clear();
        server.write_tls(&mut bytes).unwrap();
        client.read_tls(&mut &bytes[..]).unwrap();
        client
            .process_new_packets()
            .map_err(|error| format!("{error:?}"))?;
    }
    Ok(server.handshake_kind().unwrap())
}
