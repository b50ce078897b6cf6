//! Several nodes as one service: this node's part.

use std::net::SocketAddr;
use std::path::PathBuf;

/// Settings of a node that is one of several; all unset where it is the whole service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterSettings {
    /// The name of the cluster, the same on every node.
    pub name: Option<String>,
    /// The name of this node.
    pub node: Option<String>,
    /// A file with the secret that all nodes share.
    pub secret_file: Option<PathBuf>,
    /// The address at which this node takes links of other nodes.
    pub listen: Option<SocketAddr>,
    /// The name or address of this node's host for other nodes, with etcd, where it is not that of [`Self::listen`].
    pub advertise: Option<String>,
    /// The port of each shard there, once they are bound; empty where all share that of [`Self::listen`].
    pub ports: Vec<u16>,
    /// A file that says which node owns which slots.
    pub map_file: Option<PathBuf>,
    /// Whether discovery names the owner in the host.
    pub direct: bool,
    /// The address to which other nodes send messages for this one, with etcd, if it was configured: see
    /// [`Self::peers`].
    pub peers: Option<SocketAddr>,
    /// Instead of the file: where the nodes agree on it.
    pub etcd: Etcd,
    /// Bytes that the database of etcd may have, where its members do not report that.
    pub etcd_quota_bytes: usize,
    /// Life of this node's registration in etcd without a keepalive, in milliseconds: whole seconds.
    pub lease_ms: u64,
}

/// The members of etcd, and the certificates for connections to them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Etcd {
    /// `http://` or `https://` with a host and perhaps a port, one for each member; none without etcd.
    pub endpoints: Vec<String>,
    /// PEM: the authorities of the members' certificates.
    pub ca: Option<PathBuf>,
    /// PEM: this node's certificate, where etcd asks for one.
    pub cert: Option<PathBuf>,
    /// PEM: its key.
    pub key: Option<PathBuf>,
    /// The user, where etcd has users.
    pub user: Option<String>,
    /// A file with the user's password.
    pub password_file: Option<PathBuf>,
}

impl ClusterSettings {
    /// The address to which other nodes send messages, with etcd: the port behind that of [`Self::listen`], unless
    /// configured otherwise.
    #[must_use]
    pub fn peers(&self) -> Option<SocketAddr> {
        let behind = |listen: SocketAddr| match listen.port() {
            0 => Some(listen),
            port => Some(SocketAddr::new(listen.ip(), port.checked_add(1)?)),
        };
        self.peers.or_else(|| self.listen.and_then(behind))
    }

    /// The addresses at which the shards listen for links: with etcd the first at
    /// [`Self::listen`], the others alone on the ports behind that of messages; with a fixed map, which names one port,
    /// all at [`Self::listen`]. `None` where there is no port of so high a number.
    #[must_use]
    pub fn inner(&self, shards: usize) -> Option<Vec<SocketAddr>> {
        let listen = self.listen?;
        if !self.etcd.is_on() {
            return Some(vec![listen; shards]);
        }
        let port = |shard: usize| match (listen.port(), shard) {
            (first, 0) => Some(first),
            (0, _) => Some(0),
            (first, later) => first.checked_add(u16::try_from(later + 1).ok()?),
        };
        let mut at = listen;
        let one = |shard| {
            at.set_port(port(shard)?);
            Some(at)
        };
        (0..shards).map(one).collect()
    }

    /// Host and port at which other nodes reach what listens there.
    #[must_use]
    pub fn advertised(&self, listener: SocketAddr) -> String {
        let Some(host) = &self.advertise else {
            return listener.to_string();
        };
        match host.parse() {
            Ok(address) => SocketAddr::new(address, listener.port()).to_string(),
            Err(_) => format!("{host}:{}", listener.port()),
        }
    }

    /// Name of this node, if discovery names it in the host.
    #[must_use]
    pub fn direct_node(&self) -> Option<&str> {
        self.node.as_deref().filter(|_| self.direct)
    }

    /// Whether this node is one of several.
    #[must_use]
    pub fn is_on(&self) -> bool {
        *self != Self::default()
    }

    /// Whether all is there that it needs.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        let Self {
            name,
            node,
            secret_file,
            listen,
            advertise: _,
            ports: _,
            map_file,
            direct: _,
            peers: _,
            etcd,
            etcd_quota_bytes: _,
            lease_ms: _,
        } = self;
        let names = name.is_some() && node.is_some();
        let owners = map_file.is_some() || etcd.is_on();
        names && owners && secret_file.is_some() && listen.is_some()
    }
}

impl Default for ClusterSettings {
    fn default() -> Self {
        Self {
            name: None,
            node: None,
            secret_file: None,
            listen: None,
            advertise: None,
            ports: Vec::new(),
            map_file: None,
            direct: false,
            peers: None,
            etcd: Etcd::default(),
            etcd_quota_bytes: ETCD_QUOTA_BYTES,
            lease_ms: LEASE_MS,
        }
    }
}

impl Etcd {
    /// Whether the nodes agree in etcd on who owns what.
    #[must_use]
    pub fn is_on(&self) -> bool {
        !self.endpoints.is_empty()
    }
}

/// The default of `cluster.etcd_quota_bytes`, which is etcd's own.
const ETCD_QUOTA_BYTES: usize = 2 << 30;

/// The default of `cluster.lease`, of which the longest detection of a lost host follows.
const LEASE_MS: u64 = 5_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn inner(listen: &str, etcd: &[&str], shards: usize) -> Option<Vec<u16>> {
        let cluster = ClusterSettings {
            listen: Some(listen.parse().unwrap()),
            etcd: Etcd {
                endpoints: etcd.iter().map(|url| (*url).into()).collect(),
                ..Etcd::default()
            },
            ..ClusterSettings::default()
        };
        let found = cluster.inner(shards)?;
        assert!(
            found
                .iter()
                .all(|at| at.ip() == cluster.listen.unwrap().ip())
        );
        Some(found.iter().map(SocketAddr::port).collect())
    }

    #[test]
    fn further_shards_have_the_ports_behind_that_of_messages() {
        let etcd = &["http://a:1"];
        assert_eq!(inner("10.0.0.1:7443", etcd, 1), Some(vec![7443]));
        assert_eq!(
            inner("10.0.0.1:7443", etcd, 3),
            Some(vec![7443, 7445, 7446])
        );
        assert_eq!(inner("[::1]:0", etcd, 2), Some(vec![0, 0]));
        assert_eq!(inner("10.0.0.1:65533", etcd, 2), Some(vec![65533, 65535]));
        assert_eq!(inner("10.0.0.1:65534", etcd, 2), None);
        assert_eq!(inner("10.0.0.1:7443", &[], 3), Some(vec![7443; 3]));
    }

    #[test]
    fn others_reach_a_listener_at_the_host_that_is_advertised() {
        let at = "0.0.0.0:7443".parse().unwrap();
        let shown = |host: Option<&str>| {
            let cluster = ClusterSettings {
                advertise: host.map(Into::into),
                ..ClusterSettings::default()
            };
            cluster.advertised(at)
        };
        assert_eq!(shown(None), "0.0.0.0:7443");
        assert_eq!(shown(Some("n1.internal")), "n1.internal:7443");
        assert_eq!(shown(Some("192.0.2.7")), "192.0.2.7:7443");
        assert_eq!(shown(Some("2001:db8::7")), "[2001:db8::7]:7443");
    }
}
