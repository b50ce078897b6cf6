use super::*;
use rustls::pki_types::ServerName;
use rustls::{ClientConnection, Connection, HandshakeKind, ServerConnection};
use std::io::{Read, Write};

fn keys(byte: &str, cluster: &str) -> Keys {
    let secret = ClusterSecret::parse(&byte.repeat(32)).unwrap();
    Keys::derive(&secret, cluster).unwrap()
}

/// The two ends of a connection within a test.
struct Pair {
    client: Connection,
    server: Connection,
}

/// The result of each side's handshake.
type Ends = (Result<(), rustls::Error>, Result<(), rustls::Error>);

impl Pair {
    fn new(client: &Arc<ClientConfig>, server: &Arc<ServerConfig>) -> Self {
        let name = ServerName::try_from("n2").unwrap();
        let client = ClientConnection::new(Arc::clone(client), name).unwrap();
        let server = ServerConnection::new(Arc::clone(server)).unwrap();
        Self {
            client: client.into(),
            server: server.into(),
        }
    }

    /// Carries bytes between the two ends until nothing is left to carry, or until one end has failed and the other one
    /// has received its alert.
    fn run(&mut self) -> Ends {
        let (mut client, mut server) = (Ok(()), Ok(()));
        while self.client.wants_write() || self.server.wants_write() {
            carry(&mut self.client, &mut self.server, &mut server);
            carry(&mut self.server, &mut self.client, &mut client);
        }
        (client, server)
    }
}

fn carry(from: &mut Connection, to: &mut Connection, outcome: &mut Result<(), rustls::Error>) {
    let mut bytes = Vec::new();
    while from.wants_write() {
        from.write_tls(&mut bytes).unwrap();
    }
    let mut rest = &bytes[..];
    while !rest.is_empty() && outcome.is_ok() {
        to.read_tls(&mut rest).unwrap();
        *outcome = to.process_new_packets().map(|_| ());
    }
}

fn shake_hands(client: &Keys, server: &Keys) -> Ends {
    let client = Arc::new(client.client(Purpose::Link).unwrap());
    let server = Arc::new(server.server(Purpose::Link).unwrap());
    Pair::new(&client, &server).run()
}

#[test]
fn nodes_of_one_secret_and_cluster_speak_with_each_other() {
    let (one, other) = (keys("0f", "prod"), keys("0f", "prod"));
    let client = Arc::new(one.client(Purpose::Link).unwrap());
    let server = Arc::new(other.server(Purpose::Link).unwrap());
    let mut pair = Pair::new(&client, &server);
    assert_eq!(pair.run(), (Ok(()), Ok(())));
    pair.client.writer().write_all(b"hello").unwrap();
    assert_eq!(pair.run(), (Ok(()), Ok(())));
    let mut read = [0; 5];
    pair.server.reader().read_exact(&mut read).unwrap();
    assert_eq!(&read, b"hello");
}

#[test]
fn another_secret_or_cluster_is_refused_and_both_sides_know_why() {
    let own = keys("0f", "prod");
    for other in [keys("0e", "prod"), keys("0f", "test")] {
        for (client, server) in [(&own, &other), (&other, &own)] {
            let (client, server) = shake_hands(client, server);
            assert!(is_of_another_cluster(&client.unwrap_err()));
            assert!(is_of_another_cluster(&server.unwrap_err()));
        }
    }
}

/// Replaces the secret node by node, in four steps: the old secret, both with the old one first, both with the new one
/// first, and the new secret. Nodes can talk to each other at any time.
#[test]
fn nodes_speak_with_each_other_while_the_secret_is_replaced() {
    let [old, new] = ["0f", "0e"].map(|byte| byte.repeat(32));
    let steps = [
        old.clone(),
        format!("{old}\n{new}"),
        format!("{new}\n{old}"),
        new,
    ];
    let steps = steps.map(|text| {
        let secret = ClusterSecret::parse(&text).unwrap();
        Keys::derive(&secret, "prod").unwrap()
    });
    for (one, next) in steps.iter().zip(&steps[1..]) {
        assert_eq!(shake_hands(one, next), (Ok(()), Ok(())));
        assert_eq!(shake_hands(next, one), (Ok(()), Ok(())));
    }
    assert!(shake_hands(&steps[0], &steps[3]).0.is_err());
}

/// The accepting side checks the other side's key itself. It also refuses a client that would accept our key but
/// presents no key or another one.
#[test]
fn a_client_that_accepts_any_server_is_refused_as_well() {
    let (own, other) = (keys("0f", "prod"), keys("0e", "prod"));
    let server = Arc::new(own.server(Purpose::Link).unwrap());
    let careless = Keys {
        shown: Arc::clone(&other.shown),
        accepted: Arc::clone(&own.accepted),
        provider: Arc::clone(&other.provider),
    };
    let client = Arc::new(careless.client(Purpose::Link).unwrap());
    let (_, refused) = Pair::new(&client, &server).run();
    assert!(is_of_another_cluster(&refused.unwrap_err()));

    let mut nobody = careless.client(Purpose::Link).unwrap();
    nobody.client_auth_cert_resolver = Arc::new(Nobody);
    let (_, refused) = Pair::new(&Arc::new(nobody), &server).run();
    assert_eq!(refused.unwrap_err(), rustls::Error::NoCertificatesPresented);
}

/// A node that presents a public key must also have the private key.
#[test]
fn a_public_key_alone_is_of_no_use() {
    let (own, other) = (keys("0f", "prod"), keys("0e", "prod"));
    let stolen = CertifiedKey::new(own.shown.cert.clone(), Arc::clone(&other.shown.key));
    let thief = Keys {
        shown: Arc::new(stolen),
        accepted: Arc::clone(&own.accepted),
        provider: Arc::clone(&own.provider),
    };
    let (client, _) = shake_hands(&own, &thief);
    assert!(client.is_err(), "as a server");
    let (_, server) = shake_hands(&thief, &own);
    assert!(server.is_err(), "as a client");
}

#[test]
fn a_connection_for_another_purpose_is_refused() {
    let keys = keys("0f", "prod");
    let client = Arc::new(keys.client(Purpose::Link).unwrap());
    let server = Arc::new(keys.server(Purpose::Messages).unwrap());
    let (client, server) = Pair::new(&client, &server).run();
    assert!(client.is_err() && server.is_err());
}

/// As many sessions are resumed at the same time as there were before, up to eight.
#[test]
fn sessions_are_resumed() {
    let keys = keys("0f", "prod");
    let client = Arc::new(keys.client(Purpose::Link).unwrap());
    let server = Arc::new(keys.server(Purpose::Link).unwrap());
    let resumed = |at_once: usize| {
        let mut pairs: Vec<Pair> = (0..at_once).map(|_| Pair::new(&client, &server)).collect();
        for pair in &mut pairs {
            assert_eq!(pair.run(), (Ok(()), Ok(())));
        }
        let kinds = pairs.iter().map(|pair| pair.client.handshake_kind());
        kinds
            .filter(|kind| *kind == Some(HandshakeKind::Resumed))
            .count()
    };
    assert_eq!([resumed(1), resumed(1), resumed(1)], [0, 1, 1]);
    assert_eq!([resumed(30), resumed(30), resumed(3)], [1, 8, 3]);
}

#[test]
fn nothing_of_the_keys_is_shown() {
    assert_eq!(format!("{:?}", keys("0f", "prod")), "Keys");
}

/// A client that presents no key.
#[derive(Debug)]
struct Nobody;

impl rustls::client::ResolvesClientCert for Nobody {
    fn resolve(
        &self,
        _hints: &[&[u8]],
        _schemes: &[rustls::SignatureScheme],
    ) -> Option<Arc<CertifiedKey>> {
        None
    }

    fn only_raw_public_keys(&self) -> bool {
        true
    }

    fn has_certs(&self) -> bool {
        false
    }
}
