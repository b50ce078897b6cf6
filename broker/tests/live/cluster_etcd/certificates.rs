//! etcd that wants client certificates, whose ends come while nodes run.

use super::nodes::{Nodes, try_create};
use super::server::{self, Etcd, Scratch};
use crate::process::{Broker, command};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};
use testkit::{run, until, until_within};

/// An authority, and the files of what it signs.
struct Authority {
    files: Scratch,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let files = Scratch::new("authority");
        let certificate = params.self_signed(&key).expect("a certificate");
        fs::write(files.0.join("ca.pem"), certificate.pem()).expect("written");
        Self {
            files,
            issuer: Issuer::new(params, key),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.files.0.join(name)
    }

    /// Writes `FILE.pem` and `FILE.key`, of a certificate that is valid until then.
    fn sign(&self, file: &str, until: SystemTime) {
        let mut params = CertificateParams::new(["127.0.0.1".to_owned()]).expect("a name");
        params.not_after = until.into();
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        fs::write(self.path(&format!("{file}.pem")), certificate.pem()).expect("written");
        fs::write(self.path(&format!("{file}.key")), key.serialize_pem()).expect("written");
    }

    /// An etcd that lets in whom this authority has signed.
    fn etcd(&self) -> Etcd {
        self.sign("server", SystemTime::now() + DAY);
        let files = ["ca.pem", "server.pem", "server.key"].map(|name| self.path(name));
        let [ca, cert, key] = files.each_ref().map(|path| path.to_str().expect("UTF-8"));
        let wants = ["--client-cert-auth", "--trusted-ca-file", ca];
        let shows = ["--cert-file", cert, "--key-file", key];
        Etcd::start_with("https", &[&wants[..], &shows].concat())
    }
}

#[test]
#[ignore = "needs etcd"]
fn a_client_certificate_that_has_ended_is_replaced_while_the_node_runs() {
    if !server::is_installed() {
        return;
    }
    let authority = Authority::new();
    let etcd = authority.etcd();
    let end = SystemTime::now() + LIFE;
    authority.sign("client", end);
    let files = ["ca.pem", "client.pem", "client.key"].map(|name| authority.path(name));
    let [ca, cert, key] = &files;
    let config = format!("etcd_ca = {ca:?}\netcd_cert = {cert:?}\netcd_key = {key:?}\n");
    let mut nodes = Nodes::first_on(etcd, &config);
    assert_eq!(try_create(nodes.node(0), "first").status, 200);
    assert_eq!(shown(nodes.node(0)), seconds(end));
    nodes.node(0).logged(
        &["ERROR", "the certificate of cluster.etcd_cert expires"],
        1,
    );

    until_within(LIFE + LIFE, "the end", || {
        (SystemTime::now() > end + Duration::from_secs(1)).then_some(())
    });
    assert_eq!(
        try_create(nodes.node(0), "second").status,
        200,
        "the connection stays"
    );
    nodes.etcd[0].kill();
    nodes.etcd[0].restart();
    // The alert of etcd, which has seen the certificate.
    nodes
        .node(0)
        .logged(&["WARN", "etcd: https://", "received fatal alert: "], 1);
    try_create(nodes.node(0), "third").refused(503, "ServiceUnavailable");
    let file = nodes.directory.join("n1/broker.toml");
    let check = [
        "cluster",
        "check",
        "--config",
        file.to_str().expect("UTF-8"),
    ];
    let found = run(command().args(check));
    let text = found.stdout;
    assert_eq!(found.code, Some(1), "{text}");
    for part in [
        "error    the certificate of cluster.etcd_cert expired ",
        "received fatal alert: ",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }

    authority.sign("client", end + 3 * DAY);
    until("etcd again", || creates(nodes.node(0), "third"));
    nodes.node(0).logged(&["files of etcd reloaded"], 1);
    assert_eq!(shown(nodes.node(0)), seconds(end + 3 * DAY));
    let text = run(command().args(check)).stdout;
    let wanted = "warning  the certificate of cluster.etcd_cert expires ";
    testkit::assert_has(&text, &[wanted]);

    // Files that are wrong: the former ones stay, also for the next connection.
    fs::write(key, "no key").expect("written");
    nodes.node(0).logged(
        &["the files of etcd stays as it was: cluster.etcd_key = "],
        1,
    );
    let refused = "heliograph_reload_ok{what=\"files of etcd\"}";
    assert_eq!(nodes.node(0).scrape().sum(refused), 0.0);
    nodes.etcd[0].kill();
    nodes.etcd[0].restart();
    until("etcd by the former files", || {
        creates(nodes.node(0), "fourth")
    });
}

/// Has a channel of a new name made: one whose call ran out of time may be there.
fn creates(node: &Broker, name: &str) -> Option<()> {
    let name = format!("{name}-{}", seconds(SystemTime::now()));
    (try_create(node, &name).status == 200).then_some(())
}

fn shown(node: &Broker) -> f64 {
    let series = "heliograph_certificate_not_after_seconds{of=\"etcd\"}";
    node.scrape().sum(series)
}

fn seconds(at: SystemTime) -> f64 {
    let since = at
        .duration_since(SystemTime::UNIX_EPOCH)
        .expect("after 1970");
    #[expect(clippy::cast_precision_loss, reason = "seconds of this century")]
    let seconds = since.as_secs() as f64;
    seconds
}

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Longer than a node takes to its first connection on a busy machine.
const LIFE: Duration = Duration::from_secs(30);
