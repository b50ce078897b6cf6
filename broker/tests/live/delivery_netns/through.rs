//! Cameras that are cut off behind another node than that of their channel, and behind a proxy that ends TCP.

use super::cameras::{Case, Outcome, assert_delivered, play};
use super::cuts::COMEBACKS;
use super::site::{BROKER, Door, Site};
use super::{seconds, texts};
use crate::cluster::nodes::{Files, create};
use crate::process::{Broker, arn, directory};
use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use testkit::{Directory, until_true};

/// The camera comes through one node, its channel is the other's, as is the viewer in half of the cases. Long cuts end
/// after the node in front has given its connection up.
#[test]
#[ignore = "needs root"]
fn a_camera_behind_another_node_gets_what_it_never_confirmed() {
    const BACKS: [u64; 2] = [5, 45];
    let Some(site) = Site::new(6) else { return };
    let files = Files::new();
    let listen = format!("http://{BROKER}:0");
    let [front, owner] = ["n1", "n2"].map(|node| {
        let arguments = ["--auth", "none", "--listen", &listen];
        files.start(node, 2, "", &arguments)
    });
    let mut arns = channels_of(&owner, &front);
    let mut cases = Vec::new();
    for viewer in [&front, &owner] {
        for (nth, back) in BACKS.into_iter().enumerate() {
            for (way, comeback) in COMEBACKS.into_iter().enumerate() {
                cases.push(Case {
                    arn: arns.next().expect("there are more"),
                    camera: Door::Plain(front.plain),
                    viewer: Door::Plain(viewer.plain),
                    host: nth * COMEBACKS.len() + way,
                    offer: seconds(1),
                    back: seconds(back),
                    comeback,
                });
            }
        }
    }
    assert_delivered(&play(&site, &cases, seconds(60)));
}

/// Channels of a node, made through another one.
fn channels_of<'n>(owner: &'n Broker, through: &'n Broker) -> impl Iterator<Item = String> {
    let channels = || owner.scrape().sum("heliograph_channels");
    (0..).filter_map(move |number| {
        let before = channels();
        let arn = create(through.plain, &format!("cam{number}"));
        (channels() > before).then_some(arn)
    })
}

/// A pong is of the client itself.
#[test]
#[ignore = "needs haproxy and root"]
fn a_camera_behind_a_proxy_gets_what_it_never_confirmed_by_pong() {
    if let Some(outcomes) = behind_a_proxy("pong") {
        assert_delivered(&outcomes);
    }
}

/// TCP's confirmation is of the proxy, which goes on: why `deploy/cluster` has `proof = "pong"`.
#[test]
#[ignore = "needs haproxy and root"]
fn what_a_proxy_confirmed_is_lost_with_proof_by_tcp() {
    for outcome in behind_a_proxy("tcp").into_iter().flatten() {
        let (case, arrived) = (&outcome.case, texts(&outcome.arrived));
        assert!(arrived.is_empty(), "{case:?}: {arrived:?}");
    }
}

/// The short cases, of cameras that come through HAProxy, plain and over TLS. No offer is repeated: what arrives was
/// never confirmed.
fn behind_a_proxy(proof: &str) -> Option<Vec<Outcome>> {
    let site = Site::new(3)?;
    let broker = site.broker(&format!(
        "[signaling]\nproof = \"{proof}\"\nrepeat_offers = \"off\"\n"
    ));
    let _proxy = Proxy::before([broker.plain, broker.tls]);
    let mut cases = Vec::new();
    for (way, comeback) in COMEBACKS.into_iter().enumerate() {
        for (door, through) in Door::both(&broker).into_iter().zip(PORTS) {
            let through = SocketAddr::from((BROKER, through));
            let camera = match &door {
                Door::Plain(_) => Door::Plain(through),
                Door::Tls(_, client) => Door::Tls(through, client.clone()),
            };
            cases.push(Case {
                arn: arn(&format!("proxy{}", cases.len())),
                camera,
                viewer: door,
                host: way,
                offer: seconds(1),
                back: seconds(5),
                comeback,
            });
        }
    }
    Some(play(&site, &cases, seconds(12)))
}

/// Debian's HAProxy, with the defaults of `deploy/cluster/haproxy.cfg`.
struct Proxy {
    process: Child,
    _directory: Directory,
}

impl Proxy {
    fn before(targets: [SocketAddr; 2]) -> Self {
        let (defaults, _) = CONFIG.split_once("\nfrontend ").expect("as written");
        let listeners = [0, 1].map(|nth: usize| {
            let (port, target) = (PORTS[nth], targets[nth]);
            format!("listen l{nth}\n    bind {BROKER}:{port}\n    server s {target}\n")
        });
        let directory = directory();
        let file = directory.join("haproxy.cfg");
        let text = format!("{defaults}\n{}", listeners.concat());
        fs::write(&file, text).expect("a file under target/");
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "haproxy", "-db", "-f"]);
        command
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        let process = command.stderr(Stdio::null()).spawn();
        let process = process.expect("haproxy: deploy/ci/check.sh installs it");
        until_true("the proxy", || {
            TcpStream::connect((BROKER, PORTS[1])).is_ok()
        });
        Self {
            process,
            _directory: directory,
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The proxy's, for each port of the broker: the network is the test's own.
const PORTS: [u16; 2] = [8080, 8443];

const CONFIG: &str = include_str!("../../../../deploy/cluster/haproxy.cfg");
