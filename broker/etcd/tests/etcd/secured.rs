//! Tests etcd with TLS and client certificates, and with users.

use crate::contract;
use crate::records::Client;
use crate::server::{self, Etcd, Scratch};
use crate::world::{World, wait};
use broker_core::registry::Change;
use broker_etcd::{Options, tls};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use std::fs;
use std::sync::Arc;
use std::time::Duration;

/// A certificate authority.
struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self {
            pem,
            issuer: Issuer::new(params, key),
        }
    }

    /// Issues a certificate for a name. Returns it with its key.
    fn sign(&self, name: &str) -> (String, String) {
        let params = CertificateParams::new([name.to_owned()]).unwrap();
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        (certificate.pem(), key.serialize_pem())
    }
}

#[test]
#[ignore = "deploy/ci/check.sh runs it by name: it needs etcd"]
fn etcd_is_reached_over_tls_with_a_certificate_of_its_authority_only() {
    if !server::is_installed() {
        return;
    }
    let (authority, stranger) = (Authority::new(), Authority::new());
    let files = Scratch::new("certificates");
    let (certificate, key) = authority.sign("127.0.0.1");
    let written = [
        ("ca.pem", &authority.pem),
        ("cert.pem", &certificate),
        ("key.pem", &key),
    ];
    let paths = written.map(|(name, text)| {
        let path = files.0.join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    });
    let [ca, cert, key] = paths.each_ref().map(String::as_str);
    #[rustfmt::skip] // a list
    let arguments = [
        "--client-cert-auth", "--trusted-ca-file", ca, "--cert-file", cert, "--key-file", key,
    ];
    let etcd = Etcd::start_with("https", &arguments);

    let (own, own_key) = authority.sign("node");
    let (strange, strange_key) = stranger.sign("node");
    let identity = Some((own.as_bytes(), own_key.as_bytes()));
    let strange = Some((strange.as_bytes(), strange_key.as_bytes()));
    let world = World::default();
    let reaches = |ca: &str, identity| Options {
        tls: Some(Arc::new(tls(ca.as_bytes(), identity).unwrap())),
        ..etcd.options()
    };
    let node = world.node_with("n1", reaches(&authority.pem, identity));
    wait("it has etcd", Duration::from_secs(20), || {
        node.inspect().has_etcd
    });
    assert_eq!(node.inspect().trouble, None);
    for (name, options) in [
        ("n2", reaches(&stranger.pem, identity)),
        ("n3", reaches(&authority.pem, None)),
        ("n4", reaches(&authority.pem, strange)),
    ] {
        let node = world.node_with(name, options);
        wait("it says why not", Duration::from_secs(20), || {
            node.inspect().trouble.is_some()
        });
        eprintln!("{name}: {:?}", node.inspect().trouble);
        assert!(!node.inspect().has_etcd, "{name}");
    }
    let refused = tls(b"no certificate", None).unwrap_err();
    assert!(refused.to_string().contains("authorities"), "{refused}");
}

#[test]
#[ignore = "deploy/ci/check.sh runs it by name: it needs etcd"]
fn where_etcd_has_users_a_node_needs_one() {
    if !server::is_installed() {
        return;
    }
    let etcd = with_users();
    let world = World::default();
    let node = world.node_with("n1", as_user(&etcd, Some(("root", "secret"))));
    wait("it has etcd", Duration::from_secs(20), || {
        node.inspect().has_etcd
    });
    for (name, user) in [("n2", None), ("n3", Some(("root", "wrong")))] {
        let node = world.node_with(name, as_user(&etcd, user));
        wait("it says why not", Duration::from_secs(20), || {
            node.inspect().trouble.is_some()
        });
        eprintln!("{name}: {:?}", node.inspect().trouble);
        assert!(!node.inspect().has_etcd, "{name}");
    }
}

/// etcd forgets tokens that have not been used for five minutes, and all tokens when authentication is disabled.
#[test]
#[ignore = "deploy/ci/check.sh runs it by name: it needs etcd"]
fn a_node_whose_token_has_ended_gets_another_one() {
    if !server::is_installed() {
        return;
    }
    let etcd = with_users();
    let world = World::default();
    let node = world.node_with("n1", as_user(&etcd, Some(("root", "secret"))));
    world.all_served(Duration::from_secs(40));
    let mut client = Client::of(&node, &world);
    for name in ["one", "two"] {
        etcd.ctl(&["--user", "root:secret", "auth", "disable"]);
        etcd.ctl(&["auth", "enable"]);
        let record = contract::record(name, 1);
        assert_eq!(client.change(Change::Put(&record)), Ok(()));
        wait("nothing is wrong", Duration::from_secs(5), || {
            let found = node.inspect();
            found.has_etcd && found.trouble.is_none()
        });
    }
    assert_eq!(world.book().alone, 0);
    world.sound();
}

/// Starts an etcd that requires a password.
fn with_users() -> Etcd {
    let etcd = Etcd::start();
    etcd.ctl(&["user", "add", "root:secret"]);
    etcd.ctl(&["user", "grant-role", "root", "root"]);
    etcd.ctl(&["auth", "enable"]);
    etcd
}

fn as_user(etcd: &Etcd, user: Option<(&str, &str)>) -> Options {
    Options {
        user: user.map(|(name, password)| (name.into(), password.into())),
        ..etcd.options()
    }
}
