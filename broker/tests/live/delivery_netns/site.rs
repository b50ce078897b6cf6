//! A broker's host and those of clients, each a network namespace of its own, on one bridge.
//!
//! ```text
//!   first client:  127.10.1.1, then 127.10.1.2 … ─┐
//!   second client: 127.10.2.1, …                 ─┼─ bridge, in the namespace of the broker and the test: 127.10.0.1
//!   …                                            ─┘
//! ```
//! Neighbours are permanent on both sides, and a cut leads both to a card that nobody has: no ARP ends, so the kernel
//! makes no ICMP of its own, and no carrier is lost. The addresses are those of loopback, so callers need not sign.

use crate::cluster_netns::network::{LOOPBACK, NOBODY, Namespace, Visit, is_allowed, shell};
use crate::peer::{Peer, client_config};
use crate::process::Broker;
use rustls::ClientConfig;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

/// The network, and the thread that made it on the broker's host until this is dropped.
pub(crate) struct Site {
    _visit: Visit,
    hosts: Vec<Host>,
    _center: Namespace,
}

struct Host {
    namespace: Namespace,
    /// From 1 on.
    number: u8,
    /// The last number of its address.
    address: AtomicU8,
}

/// A listener as clients come to it.
#[derive(Clone, Debug)]
pub(crate) enum Door {
    Plain(SocketAddr),
    Tls(SocketAddr, Arc<ClientConfig>),
}

impl Site {
    /// Makes it with so many hosts of clients. Where that is not allowed there is none, which was said.
    pub(crate) fn new(hosts: u8) -> Option<Self> {
        if !is_allowed() {
            return None;
        }
        let center = Namespace::new();
        let visit = center.visit();
        shell(&format!(
            "{LOOPBACK} && ip route add local {NODES} dev lo && ip link add bridge address {} type bridge && \
             ip link set bridge up && ip addr add {BROKER}/16 dev bridge",
            card(0)
        ));
        let hosts = (1..=hosts).map(Host::new).collect();
        let site = Self {
            _visit: visit,
            hosts,
            _center: center,
        };
        for host in 0..site.hosts.len() {
            site.mend(host);
        }
        Some(site)
    }

    /// `heliograph serve --dev` with this configuration, plain and over TLS.
    pub(crate) fn broker(&self, config: &str) -> Broker {
        let [plain, tls] = ["http", "https"].map(|scheme| format!("{scheme}://{BROKER}:0"));
        let arguments = ["--dev", "--listen", &plain, "--listen", &tls];
        Broker::configured_as(config, &arguments, 2)
    }

    /// Does this on a host of clients: sockets that are made there stay there.
    pub(crate) fn on<T>(&self, host: usize, action: impl FnOnce() -> T) -> T {
        let _visit = self.hosts[host].namespace.visit();
        action()
    }

    /// Loses all packets between a host and the others, in both directions.
    pub(crate) fn cut(&self, host: usize) {
        self.hosts[host].lead([NOBODY, NOBODY]);
    }

    /// Ends a cut.
    pub(crate) fn mend(&self, host: usize) {
        let host = &self.hosts[host];
        host.lead([&card(0), &card(host.number)]);
    }

    /// Ends a cut where the host has another address: packets to the former one are lost for good.
    pub(crate) fn mend_elsewhere(&self, host: usize) {
        let moved = &self.hosts[host];
        let former = moved.ip();
        moved.address.fetch_add(1, Ordering::Relaxed);
        moved.namespace.shell(&format!(
            "ip addr del {former}/16 dev eth0 && ip addr add {}/16 dev eth0",
            moved.ip()
        ));
        self.mend(host);
    }
}

impl Host {
    /// Joins the bridge of the calling thread's host.
    fn new(number: u8) -> Self {
        let host = Self {
            namespace: Namespace::new(),
            number,
            address: AtomicU8::new(1),
        };
        let (process, card) = (host.namespace.process(), card(number));
        shell(&format!(
            "ip link add port{number} type veth peer name eth0 address {card} netns {process} && \
             ip link set port{number} master bridge up"
        ));
        host.namespace.shell(&format!(
            "{LOOPBACK} && ip addr add {}/16 dev eth0 && ip link set eth0 up",
            host.ip()
        ));
        host
    }

    fn ip(&self) -> Ipv4Addr {
        Ipv4Addr::new(127, 10, self.number, self.address.load(Ordering::Relaxed))
    }

    /// Has packets to the broker, and those from it, go to these cards.
    fn lead(&self, [there, back]: [&str; 2]) {
        self.namespace.shell(&format!(
            "ip neigh replace {BROKER} lladdr {there} dev eth0 nud permanent"
        ));
        shell(&format!(
            "ip neigh replace {} lladdr {back} dev bridge nud permanent",
            self.ip()
        ));
    }
}

impl Door {
    /// Those of a broker.
    pub(crate) fn both(broker: &Broker) -> [Self; 2] {
        [
            Self::Plain(broker.plain),
            Self::Tls(broker.tls, client_config(broker)),
        ]
    }

    /// Opens a connection with this query.
    pub(crate) fn connect(&self, query: &str) -> Peer {
        match self {
            Self::Plain(to) => Peer::plain_at(*to, query),
            Self::Tls(to, client) => Peer::secure_at(*to, query, Arc::clone(client)),
        }
    }

    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Plain(_) => "plain",
            Self::Tls(..) => "TLS",
        }
    }
}

/// The card of a client's host, or of the bridge.
fn card(host: u8) -> String {
    format!("02:00:00:00:01:{host:02x}")
}

/// The host of the broker and of the test.
pub(crate) const BROKER: Ipv4Addr = Ipv4Addr::new(127, 10, 0, 1);

/// Nodes of clusters listen for each other there.
const NODES: &str = "127.64.0.0/10";
