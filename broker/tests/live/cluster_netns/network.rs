//! Three hosts and their clients, each a network namespace of its own, on one bridge.
//!
//! ```text
//!   n1: 127.77.0.1, 127.77.1.1 ─┐
//!   n2: 127.77.0.2, 127.77.1.2 ─┼─ bridge, in the namespace of the clients: 127.77.0.4, 127.77.1.4 to 127.77.1.6
//!   n3: 127.77.0.3, 127.77.1.3 ─┘
//! ```
//! Nodes are at 127.77.0.x and members of etcd at 127.77.1.x, so that a host can be cut off from either alone. The
//! addresses are those of loopback, which these namespaces route like any others: so callers need not sign.
//!
//! A namespace lives as long as a process in it. Each has one that ends with the thread that made the network, whatever
//! ends that: nothing is left to be removed.

use crate::cluster_etcd::server::Host;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::fs::{self, File};
use std::net::Ipv4Addr;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::process::{Child, Command, Stdio};
use testkit::until;

/// The network, and the thread that made it among the clients until this is dropped.
pub(crate) struct Network {
    _visit: Visit,
    /// Of the hosts, then of the clients.
    namespaces: Vec<Namespace>,
}

/// A peer that a host can be cut off from: itself excepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// The node of a host, by its number.
    Node(usize),
    /// The member of etcd with this number.
    Etcd(usize),
}

impl Network {
    /// Makes it. Where that is not allowed there is none, which was said; for root it must be.
    pub(crate) fn new() -> Option<Self> {
        if !is_allowed() {
            return None;
        }
        let namespaces: Vec<Namespace> = (0..=HOSTS).map(|_| Namespace::new()).collect();
        let network = Self {
            _visit: namespaces[HOSTS].visit(),
            namespaces,
        };
        shell(&format!("{LOOPBACK} && {SWITCH}"));
        for host in 0..HOSTS {
            network.connect(host);
        }
        Some(network)
    }

    /// Joins a host to the bridge of the clients.
    fn connect(&self, host: usize) {
        let (number, process) = (host + 1, self.namespaces[host].process());
        shell(&format!(
            "ip link add port{number} type veth peer name eth0 netns {process} && \
             ip link set port{number} master bridge up"
        ));
        let words = format!(
            "{LOOPBACK} && ip addr add 127.77.0.{number}/24 dev eth0 && \
             ip addr add 127.77.1.{number}/24 dev eth0 && ip link set eth0 up"
        );
        self.namespaces[host].shell(&words);
    }

    /// The words before the name of a program that is to run on a host.
    pub(crate) fn within(&self, host: usize) -> Vec<String> {
        self.namespaces[host].within().into()
    }

    /// A host's node is there.
    pub(crate) fn ip(host: usize) -> Ipv4Addr {
        address(Part::Node(host))
    }

    /// The hosts of etcd's members: one beside each node.
    pub(crate) fn beside_nodes(&self) -> [Host; HOSTS] {
        [0, 1, 2].map(|host| Host {
            ip: address(Part::Etcd(host)),
            within: self.within(host),
        })
    }

    /// All on the host of the clients: a cut between hosts is not one between members. [`Part::Etcd`] counts from
    /// [`HOSTS`] then.
    pub(crate) fn apart() -> [Host; HOSTS] {
        [HOSTS, HOSTS + 1, HOSTS + 2].map(|member| Host {
            ip: address(Part::Etcd(member)),
            within: Vec::new(),
        })
    }

    /// Nothing that a host sends arrives there any more. It learns of that by silence alone.
    pub(crate) fn lose(&self, from: usize, to: Part) {
        let to = address(to);
        self.namespaces[from].shell(&format!(
            "ip neigh replace {to} lladdr {NOBODY} dev eth0 nud permanent"
        ));
    }

    /// It arrives again.
    pub(crate) fn carry(&self, from: usize, to: Part) {
        let to = address(to);
        self.namespaces[from].shell(&format!("ip neigh del {to} dev eth0"));
    }

    /// Cuts the links of nodes in both directions, or mends them.
    pub(crate) fn cut(&self, one: usize, other: usize, is_cut: bool) {
        for (from, to) in [(one, other), (other, one)] {
            if is_cut {
                self.lose(from, Part::Node(to));
            } else {
                self.carry(from, Part::Node(to));
            }
        }
    }

    /// Cuts the way of a host to these members of etcd, or mends it: nothing that it sends arrives.
    pub(crate) fn cut_etcd(&self, host: usize, members: &[usize], is_cut: bool) {
        for member in members {
            if is_cut {
                self.lose(host, Part::Etcd(*member));
            } else {
                self.carry(host, Part::Etcd(*member));
            }
        }
    }

    /// Pulls a host's cable.
    pub(crate) fn unplug(&self, host: usize) {
        shell(&format!("ip link set port{} down", host + 1));
    }
}

/// Whether this process can make networks; if not, that was said.
pub(crate) fn is_allowed() -> bool {
    let root = fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0);
    if !root {
        eprintln!("skipped: only root can make network namespaces");
    }
    root
}

/// The stay of a thread in a namespace, until this is dropped.
pub(crate) struct Visit {
    home: File,
}

impl Drop for Visit {
    fn drop(&mut self) {
        let back = move_into_link_name_space(self.home.as_fd(), Some(LinkNameSpaceType::Network));
        back.expect("this thread was there before");
    }
}

/// A namespace, and the process that keeps it.
pub(crate) struct Namespace {
    holder: Child,
}

impl Namespace {
    pub(crate) fn new() -> Self {
        #[rustfmt::skip] // a list
        let holder = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "unshare", "--net", "sleep", "infinity"])
            .stdin(Stdio::null())
            .spawn();
        let holder = holder.expect("setpriv, unshare and sleep");
        let namespace = Self { holder };
        let own = fs::read_link("/proc/thread-self/ns/net").expect("this thread has a network");
        until("a namespace", || {
            (fs::read_link(namespace.path()).ok()? != own).then_some(())
        });
        namespace
    }

    /// The process that keeps it.
    pub(crate) fn process(&self) -> u32 {
        self.holder.id()
    }

    fn path(&self) -> String {
        format!("/proc/{}/ns/net", self.process())
    }

    /// The words before the name of a program that is to run there.
    pub(crate) fn within(&self) -> [String; 2] {
        ["nsenter".into(), format!("--net={}", self.path())]
    }

    /// Runs a script there.
    pub(crate) fn shell(&self, words: &str) {
        let [program, to] = self.within();
        let mut command = Command::new(program);
        command.args([&to, "sh", "-c", words]);
        succeed(command);
    }

    /// Moves this thread there, and with it what it starts.
    pub(crate) fn visit(&self) -> Visit {
        let home = File::open("/proc/thread-self/ns/net").expect("this thread has a network");
        let network = File::open(self.path()).expect("its process lives");
        let moved = move_into_link_name_space(network.as_fd(), Some(LinkNameSpaceType::Network));
        moved.expect("root may");
        Visit { home }
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

fn address(of: Part) -> Ipv4Addr {
    let (net, number) = match of {
        Part::Node(host) => (0, host),
        Part::Etcd(member) => (1, member),
    };
    Ipv4Addr::new(127, 77, net, u8::try_from(number + 1).expect("few"))
}

/// Runs a script where this thread is.
pub(crate) fn shell(words: &str) {
    let mut command = Command::new("sh");
    command.args(["-c", words]);
    succeed(command);
}

fn succeed(mut command: Command) {
    let output = command.output().expect("sh and nsenter");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}");
}

/// The number of hosts.
pub(crate) const HOSTS: usize = 3;

/// Loopback is 127.0.0.1 alone, and the rest of its addresses may be elsewhere.
pub(crate) const LOOPBACK: &str = "ip link set lo up && ip route del local 127.0.0.0/8 dev lo table local && \
                        echo 1 > /proc/sys/net/ipv4/conf/all/route_localnet";

/// The address of a card that nobody has.
pub(crate) const NOBODY: &str = "02:00:00:00:00:01";

/// The bridge, and the addresses of those who are on its host.
const SWITCH: &str = "ip link add bridge type bridge && ip link set bridge up && \
                      ip addr add 127.77.0.4/24 dev bridge && ip addr add 127.77.1.4/24 dev bridge && \
                      ip addr add 127.77.1.5/24 dev bridge && ip addr add 127.77.1.6/24 dev bridge";
