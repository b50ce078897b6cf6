//! The official SDKs through a load balancer, while nodes leave: they reconnect as they do by themselves.

use super::balancer::Balancer;
use crate::clients::{credentials, node_script, python_with_clients};
use crate::cluster_etcd::nodes::setup::Setup;
use crate::cluster_etcd::nodes::{Nodes, name_of};
use crate::listeners::tls::Identity;
use crossbeam_channel::{Receiver, unbounded};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// First the owner drains, then the host of the next one is lost.
#[test]
#[ignore = "needs etcd, root and the clients that deploy/ci/check.sh installs"]
fn sdks_find_their_channel_again_when_nodes_leave() {
    let identity = Identity::new("localhost");
    let credentials = credentials();
    let path = |path: &Path| path.to_str().expect("a path in UTF-8").to_owned();
    let arguments = [
        "--auth",
        "sigv4",
        "--credentials",
        &path(&credentials),
        "--listen",
        "https://{ip}:8443",
        "--tls-cert",
        &path(&identity.cert),
        "--tls-key",
        &path(&identity.key),
    ];
    let setup = Setup {
        arguments: &arguments,
        ..Setup::default()
    };
    let Some(mut nodes) = Nodes::on_hosts_as(setup) else {
        return;
    };
    let balancer = Balancer::before(nodes.all().map(|(_, node)| node.tls).collect());
    let url = format!("https://localhost:{}", balancer.address.port());
    let mut maker = python_with_clients();
    maker.args(["-c", MAKE]);
    let arn = Sdk::start(maker, &url, &identity, "").next(WITHIN);
    let javascript = Sdk::start(node_script("outage.mjs"), &url, &identity, &arn);
    let mut python = python_with_clients();
    python.arg("outage.py");
    let boto3 = Sdk::start(python, &url, &identity, &arn);
    assert_eq!(javascript.next(WITHIN), "meeting");
    assert_eq!(boto3.next(WITHIN), "well");

    let owner = nodes.owner(name_of(&arn));
    let began = Instant::now();
    nodes.node(owner).signal("TERM");
    assert!(nodes.take(owner).ended_within(WITHIN).success());
    eprintln!("drained after {:?}", began.elapsed());
    let met = javascript.meets_again() - began;
    eprintln!("drain: the JavaScript SDK's peers met again after {met:?}");
    let calls = boto3.so_far();
    assert!(calls.iter().all(|call| call == "well"), "{calls:?}");

    let lost = nodes.owner(name_of(&arn));
    let began = Instant::now();
    nodes.network().unplug(lost);
    nodes.node(lost).signal("KILL");
    nodes.take(lost).ended_within(WITHIN);
    let met = javascript.meets_again() - began;
    eprintln!("host loss: the JavaScript SDK's peers met again after {met:?}");
    boto3.so_far();
    while boto3.next(WITHIN) != "well" {}
    eprintln!(
        "host loss: boto3's calls succeed after {:?}",
        began.elapsed()
    );
    nodes.journal().assert_sound();
}

/// A script that says how its SDK fares, a line each behind `> `. It ends when its input does, with this.
struct Sdk {
    child: Child,
    lines: Receiver<String>,
}

impl Sdk {
    fn start(mut command: Command, url: &str, identity: &Identity, arn: &str) -> Self {
        let mut child = command
            .env("HELIOGRAPH_HTTP", url)
            .env("HELIOGRAPH_HTTPS", url)
            .env("HELIOGRAPH_ADMIN", url)
            .env("HELIOGRAPH_CA", &identity.ca)
            .env("NODE_EXTRA_CA_CERTS", &identity.ca)
            .env("HELIOGRAPH_CHANNEL", arn)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| {
                panic!("{command:?}: {error}; does deploy/ci/check.sh install it?")
            });
        let output = child.stdout.take().expect("it is piped");
        let (said, lines) = unbounded();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                // The rest is node's own.
                let Some(line) = line.strip_prefix("> ") else {
                    continue;
                };
                // Nobody waits any more when the test has ended.
                let _ = said.send(line.to_owned());
            }
        });
        Self { child, lines }
    }

    /// Its next line.
    fn next(&self, within: Duration) -> String {
        self.lines.recv_timeout(within).expect("it says something")
    }

    /// Its peers are apart, and meet again, to stay: if they reconnect through a node that is about to end, more than
    /// once. When that was.
    fn meets_again(&self) -> Instant {
        assert_eq!(self.next(WITHIN), "apart");
        let began = Instant::now();
        let (mut last, mut at) = ("apart".to_owned(), began);
        loop {
            match self.lines.recv_timeout(STAYS) {
                Ok(line) => (last, at) = (line, Instant::now()),
                Err(_) if last == "meeting" => return at,
                Err(_) => assert!(began.elapsed() < WITHIN, "they do not meet"),
            }
        }
    }

    /// The lines that it has said since.
    fn so_far(&self) -> Vec<String> {
        self.lines.try_iter().collect()
    }
}

impl Drop for Sdk {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Makes a channel, and says its ARN.
const MAKE: &str = "from broker import *; \
                    print('>', control(HTTPS).create_signaling_channel(ChannelName=new_name())['ChannelARN'])";

/// A peer that does not notice an end within that has none.
const STAYS: Duration = Duration::from_secs(4);

/// Far more than a lease and what follows it.
const WITHIN: Duration = Duration::from_secs(60);
