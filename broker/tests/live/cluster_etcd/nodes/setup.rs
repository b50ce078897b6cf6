//! The differences between clusters of tests.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

/// The differences from the usual, where nodes are on hosts of their own.
pub(crate) struct Setup<'s> {
    /// Further arguments of each node, in which `{ip}` is its address.
    pub(crate) arguments: &'s [&'s str],
    /// More arguments of etcd.
    pub(crate) etcd: &'s [&'s str],
    /// etcd is on a fourth host.
    pub(crate) etcd_is_apart: bool,
    /// The library that is loaded before each node's program: its clock is in a file, see [`super::Nodes::set_clock`].
    pub(crate) library: Option<&'s str>,
    /// The links between nodes.
    pub(crate) link: Link,
    /// Further lines of each node's configuration.
    pub(crate) config: &'s str,
    /// The program of all nodes, until a test gives one another: see [`super::Nodes::set_program`].
    pub(crate) program: Option<PathBuf>,
}

impl Default for Setup<'_> {
    fn default() -> Self {
        let (arguments, etcd): (&[&str], &[&str]) = (&NONE, &[]);
        let (etcd_is_apart, library) = (false, None);
        Self {
            arguments,
            etcd,
            etcd_is_apart,
            library,
            link: Link::Default,
            config: "",
            program: None,
        }
    }
}

/// The links between nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Link {
    /// As where nothing is configured.
    Default,
    /// With a port for messages that is not the next one, and endpoints that name the owner.
    Direct,
    /// As where nothing is configured; all at the name of this machine, on ports that the system chooses.
    Named,
}

impl Link {
    /// The address at which a node listens, given its usual one.
    pub(crate) fn listen(self, usual: SocketAddr) -> SocketAddr {
        match self {
            Self::Default | Self::Direct => usual,
            Self::Named => (Ipv4Addr::LOCALHOST, 0).into(),
        }
    }

    /// Further lines of the configuration of a node that listens here.
    pub(crate) fn config(self, mut listen: SocketAddr) -> String {
        listen.set_port(listen.port() + 20);
        match self {
            Self::Default => String::new(),
            Self::Named => "peers = '127.0.0.1:0'\nadvertise = 'localhost'\n".into(),
            Self::Direct => {
                format!("peers = '{listen}'\ndirect = true\n[advertise]\ndomain = '{DOMAIN}'\n")
            }
        }
    }
}

/// Below it nodes have their names, where these are in endpoints.
pub(crate) const DOMAIN: &str = "signal.example";

/// Nobody signs.
pub(crate) const NONE: [&str; 2] = ["--auth", "none"];
