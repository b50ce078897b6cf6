//! The real clients: AWS CLI and boto3, and the official JavaScript SDK, each run as scripts of deploy/conformance
//! against a broker of their own; and the helpers of deploy/testing, with the same clients. [`hosts`]: where
//! `localhost` is `::1`. [`things`]: devices with certificates.

mod hosts;

mod blocks;

mod things;

use crate::client_coturn::TurnServer;
use crate::cluster::nodes::{Files, with_tls};
use crate::cluster_netns::network::{LOOPBACK, Namespace, is_allowed, shell};
use crate::listeners::tls::Identity;
use crate::process::{Broker, binary, directory};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;
use testkit::ended_within;

/// The longest script takes half a minute on a busy machine.
const SCRIPT_WITHIN: Duration = Duration::from_secs(180);

/// Makes a test per shard count out of a script, and one with a broker that checks every signature.
macro_rules! client_on_shards {
    ($($name:ident => $run:ident($script:literal)),+ $(,)?) => { $(
        mod $name {
            use crate::process::Broker;
            #[test]
            #[ignore = "needs the clients that deploy/ci/check.sh installs"]
            fn one_shard() { super::$run($script, &Broker::dev(1)); }
            #[test]
            #[ignore = "needs the clients that deploy/ci/check.sh installs"]
            fn two_shards() { super::$run($script, &Broker::dev(2)); }
            #[test]
            #[ignore = "needs the clients that deploy/ci/check.sh installs"]
            fn four_shards() { super::$run($script, &Broker::dev(4)); }
            #[test]
            #[ignore = "needs the clients that deploy/ci/check.sh installs"]
            fn signed() { super::$run($script, &Broker::signed(&super::credentials(), 2)); }
        }
    )+ };
}

client_on_shards!(
    boto3_channels => python("test_channels"),
    boto3_alexa => python("test_alexa"),
    botocore_models => python("test_models"),
    aws_cli => python("test_cli"),
    prometheus_parsers => python("test_metrics"),
    javascript_session => node("session.mjs"),
    javascript_peer_connection => node("peer_connection.mjs"),
);

/// Clients whose keys are wrong, are lent, or may not: only a broker that checks them notices.
#[test]
#[ignore = "needs the clients that deploy/ci/check.sh installs"]
fn wrong_and_temporary_keys_of_aws_cli() {
    python("test_signed", &Broker::signed(&credentials(), 2));
    python("test_roles", &Broker::signed(&credentials(), 2));
    python("test_web_identity", &Broker::signed(&credentials(), 2));
}

/// Each fault that a test can make, as boto3 sees it.
#[test]
#[ignore = "needs the clients that deploy/ci/check.sh installs"]
fn faults_of_boto3() {
    python("test_faults", &Broker::dev(2));
}

/// The same of the official SDK and the AWS SDK for JavaScript; those of messages and sessions as well.
#[test]
#[ignore = "needs the clients that deploy/ci/check.sh installs"]
fn faults_of_javascript() {
    node("faults.mjs", &Broker::dev(2));
}

/// Another emulator in the same program.
#[test]
#[ignore = "needs the clients that deploy/ci/check.sh installs"]
fn moto() {
    python("test_moto", &Broker::dev(2));
}

/// The plugin of deploy/testing starts brokers of its own.
#[test]
#[ignore = "needs the clients that deploy/ci/check.sh installs"]
fn pytest_plugin() {
    alone(python_script("test_plugin"));
}

/// The session of the official SDK in deploy/FIRST-SESSION.md.
#[test]
#[ignore = "needs the clients that deploy/ci/check.sh installs"]
fn readme_of_javascript() {
    node("readme.mjs", &Broker::dev(2));
}

/// So does the module for node.
#[test]
#[ignore = "needs the clients that deploy/ci/check.sh installs"]
fn node_helper() {
    alone(node_script("helper.mjs"));
}

#[test]
#[ignore = "needs the clients that deploy/ci/check.sh installs"]
fn wrong_and_temporary_keys_of_javascript() {
    node("signed.mjs", &Broker::signed(&credentials(), 2));
}

/// What AWS' samples for Python do, on a host of its own, where aiortc finds an address.
#[test]
#[ignore = "needs root and the clients that deploy/ci/check.sh installs"]
fn media_of_aiortc() {
    on_a_host(python_script("test_media"));
}

/// GStreamer as a camera and as a player, on such a host. Built by the test: the first time some minutes.
#[test]
#[ignore = "needs root, the registry of crates, and what gstreamer_packages of deploy/ci/install.sh installs"]
fn camera_and_player_of_gstreamer() {
    let mut config = Command::new("pkg-config");
    let found = config.args(["--exists", "gstreamer-webrtc-1.0"]).status();
    if !found.is_ok_and(|status| status.success()) {
        return eprintln!(
            "skipped: no GStreamer; HELIOGRAPH_STEP=1 deploy/ci/check.sh gstreamer_packages installs it"
        );
    }
    let mut command = python_script("test_gstreamer");
    command.env(
        "HELIOGRAPH_PIPELINE",
        rust_program("pipeline", &["--features", "pipeline"]),
    );
    on_a_host(command);
}

/// Runs a script where there is an address beside loopback.
fn on_a_host(script: Command) {
    if !is_allowed() {
        return;
    }
    let host = Namespace::new();
    let _visit = host.visit();
    give_card();
    alone(script);
}

/// Gives a host an address beside loopback.
pub(crate) fn give_card() {
    shell(&format!(
        "{LOOPBACK} && ip link add card type bridge && ip addr add 192.0.2.1/24 dev card && ip link set card up"
    ));
}

/// Media of the same, with no way between camera and viewer but the relay.
#[test]
#[ignore = "needs the clients and the coturn that deploy/ci/check.sh installs"]
fn media_of_aiortc_through_a_relay() {
    let turn = TurnServer::start("use-auth-secret\nstatic-auth-secret=north-wind\n");
    let broker = Broker::configured(&turn.ice("secret = \"north-wind\""), 2);
    python("test_relay", &broker);
}

/// Built by the test: the first time some minutes.
#[test]
#[ignore = "needs the registry of crates; deploy/ci/check.sh runs it"]
fn aws_sdk_for_rust() {
    let program = rust_program("control_plane", &[]);
    for broker in [Broker::dev(2), Broker::signed(&credentials(), 2)] {
        run(with_aws(Command::new(&program), &broker), &broker);
    }
}

/// A program of deploy/conformance/rust, built with its own lock file.
fn rust_program(name: &str, features: &[&str]) -> PathBuf {
    let target = clients().join("rust");
    let mut cargo = Command::new("cargo");
    cargo
        .args(["build", "--quiet", "--locked", "--bin", name])
        .args(features);
    cargo
        .arg("--manifest-path")
        .arg(scripts("rust").join("Cargo.toml"));
    let status = cargo.arg("--target-dir").arg(&target).status();
    assert!(status.is_ok_and(|status| status.success()), "{cargo:?}");
    target.join("debug").join(name)
}

/// What the AWS SDKs read from the environment, for the TLS listener of a broker.
fn with_aws(mut command: Command, broker: &Broker) -> Command {
    command
        .env("AWS_ENDPOINT_URL", format!("https://{}", broker.tls))
        .env("AWS_REGION", "us-west-2")
        .env("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
        .env(
            "AWS_SECRET_ACCESS_KEY",
            "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
        )
        .env("SSL_CERT_FILE", broker.authority.as_ref().expect("one"));
    command
}

/// The file of those who may sign, as the scripts know them.
pub(crate) fn credentials() -> PathBuf {
    workspace().join("deploy/conformance/credentials.toml")
}

/// Two nodes with a fixed map, of which the script uses both.
#[test]
#[ignore = "needs the clients that deploy/ci/check.sh installs"]
fn cluster_of_javascript() {
    let identity = Identity::new("127.0.0.1");
    let files = Files::new();
    let credentials = credentials();
    let credentials = credentials.to_str().expect("a path in UTF-8");
    let signed = ["--auth", "sigv4", "--credentials", credentials];
    let own = with_tls(&identity);
    let arguments: Vec<&str> = own
        .iter()
        .skip(2)
        .map(String::as_str)
        .chain(signed)
        .collect();
    let nodes = ["n1", "n2"].map(|node| files.start(node, 2, "", &arguments));
    let urls = nodes.each_ref().map(|node| format!("https://{}", node.tls));
    let mut command = node_script("cluster.mjs");
    command
        .env("HELIOGRAPH_NODES", urls.join(" "))
        .env("HELIOGRAPH_HTTPS", &urls[0])
        .env("NODE_EXTRA_CA_CERTS", &identity.ca);
    alone(command);
    for node in &nodes {
        node.assert_balanced();
        assert!(
            node.scrape()
                .sum("heliograph_cluster_link_clients_opened_total")
                > 0.0
        );
    }
}

fn python(script: &str, broker: &Broker) {
    run(python_script(script), broker);
}

fn node(script: &str, broker: &Broker) {
    run(node_script(script), broker);
}

fn python_script(script: &str) -> Command {
    let mut command = python_with_clients();
    command.args(["-m", "unittest", "--verbose", script]);
    command
}

/// Python, among its scripts.
pub(crate) fn python_with_clients() -> Command {
    let mut command = Command::new(clients().join("python/bin/python"));
    command
        .env("PYTHONPATH", workspace().join("deploy/testing/python"))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .current_dir(scripts("python"));
    command
}

pub(crate) fn node_script(script: &str) -> Command {
    let mut command = Command::new("node");
    command
        .arg(scripts("js").join(script))
        .env("HELIOGRAPH_CLIENTS", clients());
    command
}

/// Lets a script know a broker.
pub(crate) fn at(command: &mut Command, broker: &Broker) {
    let authority = broker
        .authority
        .as_ref()
        .expect("a development certificate");
    command
        .env("HELIOGRAPH_HTTP", format!("http://{}", broker.plain))
        .env("HELIOGRAPH_HTTPS", format!("https://{}", broker.tls))
        .env("HELIOGRAPH_ADMIN", format!("http://{}", broker.admin))
        .env("HELIOGRAPH_CA", authority)
        .env("NODE_EXTRA_CA_CERTS", authority);
}

/// Runs a script against a broker that nobody else uses; shows what it said if it failed.
pub(crate) fn run(mut command: Command, broker: &Broker) {
    at(&mut command, broker);
    alone(command);
    assert_eq!(
        broker.further_output(),
        Vec::<String>::new(),
        "stdout carries the ready line alone"
    );
    broker.assert_balanced();
}

/// Runs a script that starts its brokers itself; shows what it said if it failed.
pub(crate) fn alone(mut command: Command) {
    let directory = directory();
    let said = directory.join("said");
    let file = File::create(&said).expect("a file under target/");
    let mut script = command
        .env("HELIOGRAPH_BROKER", binary())
        .env("HELIOGRAPH_CLIENTS", clients())
        .stdin(Stdio::null())
        .stdout(file.try_clone().expect("a second handle"))
        .stderr(file)
        .spawn()
        .unwrap_or_else(|error| {
            panic!("{command:?}: {error}; is the client installed by deploy/ci/check.sh?")
        });
    let status = ended_within(&mut script, SCRIPT_WITHIN);
    let said = fs::read_to_string(&said).unwrap_or_default();
    assert!(
        status.is_some_and(|status| status.success()),
        "{status:?}\n{said}"
    );
}

pub(crate) fn clients() -> PathBuf {
    std::env::var_os("HELIOGRAPH_CLIENTS")
        .map_or_else(|| workspace().join("target/clients"), PathBuf::from)
}

/// The directory of a language's scripts.
pub(crate) fn scripts(language: &str) -> PathBuf {
    workspace().join("deploy/conformance").join(language)
}

pub(crate) fn workspace() -> PathBuf {
    let broker = Path::new(env!("CARGO_MANIFEST_DIR"));
    broker
        .parent()
        .expect("the broker is a member of the workspace")
        .to_owned()
}

/// One suite, one group, TLS 1.2, as small TLS libraries have them; the authorities are those of the file that a
/// developer trusts.
const RSA_ALONE: &str = "
import socket, ssl, sys
context = ssl.create_default_context(cafile=sys.argv[1])
context.maximum_version = ssl.TLSVersion.TLSv1_2
context.set_ciphers('ECDHE-RSA-AES128-GCM-SHA256')
context.set_ecdh_curve('prime256v1')
with socket.create_connection(('127.0.0.1', int(sys.argv[2]))) as tcp:
    with context.wrap_socket(tcp, server_hostname='localhost') as tls:
        print(tls.version(), tls.cipher()[0])
";

#[test]
#[ignore = "needs the clients that deploy/ci/check.sh installs"]
fn a_client_of_one_suite_with_rsa_trusts_the_file_of_a_development_server() {
    let broker = Broker::dev(1);
    let ca = broker.authority.as_ref().expect("a file");
    let said = testkit::until("the certificate with an RSA key", || {
        let mut client = Command::new("python3");
        let client = client
            .arg("-c")
            .arg(RSA_ALONE)
            .arg(ca)
            .arg(broker.tls.port().to_string());
        let output = client.output().expect("python3");
        output.status.success().then_some(output.stdout)
    });
    assert_eq!(said, b"TLSv1.2 ECDHE-RSA-AES128-GCM-SHA256\n");
}
