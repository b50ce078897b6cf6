//! Endpoints that name the owner, through the balancer that `deploy/CLUSTER.md` describes: clients come to the owner at
//! once, and to any other node while it is gone.

use super::network::{Network, is_allowed};
use crate::cluster_etcd::nodes::setup::{DOMAIN, Link, NONE, Setup};
use crate::cluster_etcd::nodes::{Nodes, create, name_of};
use crate::listeners::tls::{BOTH, Identity};
use crate::peer::master_query;
use broker_core::control::host_label;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use serde_json::{Value, json};
use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;
use testkit::until;
use tungstenite::WebSocket;

type Stream = StreamOwned<ClientConnection, TcpStream>;

#[test]
#[ignore = "needs etcd, haproxy and root"]
fn clients_that_asked_for_an_endpoint_arrive_at_the_owner() {
    if !is_allowed() {
        return;
    }
    let identity = Identity::new(&format!("*.{DOMAIN}"));
    let config = format!(
        "[tls]\ncert = {:?}\nkey = {:?}\n",
        identity.cert, identity.key
    );
    let listen = format!("https://{{ip}}:{PORT}");
    let setup = Setup {
        arguments: &[&NONE[..], &["--listen", &listen]].concat(),
        link: Link::Direct,
        config: &config,
        ..Setup::default()
    };
    let Some(mut nodes) = Nodes::on_hosts_as(setup) else {
        return;
    };
    let _balancer = Balancer::before(&nodes);
    let clients = Clients(identity.client(BOTH, None));
    let anywhere = format!("any.{DOMAIN}");
    until("the balancer passes on", || clients.ping(&anywhere));

    let arns: Vec<String> = (0..CLIENTS)
        .map(|number| create(nodes.node(number % 3), &format!("cam{number}")))
        .collect();
    let hosts: Vec<String> = arns
        .iter()
        .map(|arn| clients.endpoint(&anywhere, arn))
        .collect();
    let before = on_links(&nodes);
    let connected: Vec<_> = hosts
        .iter()
        .zip(&arns)
        .map(|(host, arn)| clients.master(host, arn))
        .collect();
    let passed_on = on_links(&nodes) - before;
    eprintln!("{passed_on} of {CLIENTS} connects were passed on");
    assert!(passed_on <= MISSED_MAX, "{passed_on}");
    drop(connected);

    let lost = nodes.owner(name_of(&arns[0]));
    nodes.node(lost).signal("KILL");
    nodes.take(lost).ended_within(Duration::from_secs(5));
    until("its name leads to the others", || clients.ping(&hosts[0]));
}

/// Debian's HAProxy among the clients.
struct Balancer(Child);

impl Balancer {
    fn before(nodes: &Nodes) -> Self {
        let file = nodes.directory.join("haproxy.cfg");
        fs::write(&file, configuration()).expect("a file under target/");
        let haproxy = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "haproxy", "-db", "-f"])
            .arg(file)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        Self(haproxy.expect("haproxy: deploy/ci/check.sh installs it"))
    }
}

/// `deploy/cluster/haproxy.cfg` with the frontend and the backends of the page.
fn configuration() -> String {
    let (general, rest) = CONFIG.split_once("frontend ").expect("as written");
    let (_, nodes) = rest.split_once("\nbackend nodes\n").expect("as written");
    let (_, block) = PAGE.split_once("```text\nfrontend ").expect("as written");
    let (block, _) = block.split_once("```").expect("as written");
    let (frontend, backend) = block.split_once("\n\n").expect("as written");
    let each = |text: &str| {
        let of_node = |number: usize| {
            let name = format!("n{number}");
            let text = text.replace(&host_label("n1"), &host_label(&name));
            text.replace("n1", &name)
                .replace("172.30.7.21", &format!("172.30.7.2{number}"))
        };
        [1, 2, 3].map(of_node).join("\n")
    };
    let own = frontend
        .lines()
        .find(|line| line.contains(" use_backend n1 "));
    let own = own.expect("as written");
    let frontend = frontend.replace(own, &each(own));
    let text = format!(
        "{general}frontend {frontend}\n\n{}\nbackend nodes\n{nodes}",
        each(backend)
    );
    let at = |text: String, node: usize| {
        text.replace(
            &format!("172.30.7.2{}:", node + 1),
            &format!("{}:", Network::ip(node)),
        )
    };
    (0..3).fold(text, at)
}

impl Drop for Balancer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Clients that resolve every name to the balancer.
struct Clients(Arc<ClientConfig>);

impl Clients {
    fn connect(&self, host: &str) -> Option<Stream> {
        let tcp = TcpStream::connect((Ipv4Addr::LOCALHOST, HTTPS)).ok()?;
        tcp.set_read_timeout(Some(ANSWER_WITHIN)).expect("a socket");
        let name = ServerName::try_from(host.to_owned()).expect("a name");
        let client = ClientConnection::new(Arc::clone(&self.0), name).expect("a client");
        Some(StreamOwned::new(client, tcp))
    }

    /// The body of an answer with 200.
    fn ask(&self, host: &str, request: &str) -> Option<String> {
        let mut stream = self.connect(host)?;
        stream.write_all(request.as_bytes()).ok()?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).ok()?;
        let answer = String::from_utf8(answer).ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        head.starts_with("HTTP/1.1 200 ").then(|| body.to_owned())
    }

    fn ping(&self, host: &str) -> Option<()> {
        let request = format!("GET /ping HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        self.ask(host, &request).map(drop)
    }

    /// The host of a master's endpoint, asked for at this one.
    fn endpoint(&self, host: &str, arn: &str) -> String {
        let wanted = json!({ "Protocols": ["WSS"], "Role": "MASTER" });
        let body = json!({ "ChannelARN": arn, "SingleMasterChannelEndpointConfiguration": wanted });
        let body = body.to_string();
        let request = format!(
            "POST /getSignalingChannelEndpoint HTTP/1.1\r\nHost: {host}\r\nContent-Length: {}\r\n\
             Connection: close\r\n\r\n{body}",
            body.len()
        );
        let answer = self.ask(host, &request).expect("an answer with 200");
        let answer: Value = serde_json::from_str(&answer).expect("JSON");
        let endpoint = &answer["ResourceEndpointList"][0]["ResourceEndpoint"];
        let url = endpoint.as_str().expect("a URL");
        let host = url.strip_prefix("wss://").expect("a host without a port");
        assert!(host.ends_with(DOMAIN), "{host}");
        host.to_owned()
    }

    fn master(&self, host: &str, arn: &str) -> WebSocket<Stream> {
        let stream = self.connect(host).expect("the balancer accepts");
        let url = format!("wss://{host}/?{}", master_query(arn));
        let (socket, _) = tungstenite::client(url, stream).expect("it is admitted");
        socket
    }
}

/// Connections that any node has passed on.
fn on_links(nodes: &Nodes) -> f64 {
    let opened = |node: &crate::process::Broker| {
        let now = node.scrape();
        now.sum("heliograph_cluster_link_clients_opened_total")
    };
    nodes.all().map(|(_, node)| opened(node)).sum()
}

const PAGE: &str = include_str!("../../../../deploy/CLUSTER.md");
const CONFIG: &str = include_str!("../../../../deploy/cluster/haproxy.cfg");

/// The port of the nodes, as on the page.
const PORT: u16 = 8443;

/// The port of the balancer: names below a domain are without one.
const HTTPS: u16 = 443;

const CLIENTS: usize = 60;

/// Connects of these that may miss the owner.
const MISSED_MAX: f64 = 3.0;

const ANSWER_WITHIN: Duration = Duration::from_secs(10);
