//! The settings of this node as part of a cluster, in which several nodes form one service.

use std::net::SocketAddr;
use std::path::PathBuf;

/// The settings of a node in a cluster. Outside a cluster, none of them is set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterSettings {
    /// The name of the cluster. All nodes have the same one.
    pub name: Option<String>,
    /// The name of this node in the cluster.
    pub node: Option<String>,
    /// The file that contains the secret shared by all nodes.
    pub secret_file: Option<PathBuf>,
    /// The address at which this node accepts links from other nodes.
    pub listen: Option<SocketAddr>,
    /// The name or address by which other nodes reach this host, if it differs from the host of [`Self::listen`]. Used
    /// with etcd.
    pub advertise: Option<String>,
    /// The ports on which the shards listen at the advertised host, once they are bound. Empty if all shards share the
    /// port of [`Self::listen`].
    pub ports: Vec<u16>,
    /// The file that assigns slots to nodes.
    pub map_file: Option<PathBuf>,
    /// Whether the host names returned by discovery contain the name of the node that owns the channel.
    pub direct: bool,
    /// The configured address at which this node receives messages from other nodes; see [`Self::peers`]. Used with
    /// etcd.
    pub peers: Option<SocketAddr>,
    /// The etcd cluster through which the nodes agree on the slot map. Used instead of `map_file`.
    pub etcd: Etcd,
    /// Size limit of etcd's database in bytes, if the members of etcd do not report one.
    pub etcd_quota_bytes: usize,
    /// How long the registration of this node remains valid without a keepalive, in milliseconds. A multiple of 1000.
    pub lease_ms: u64,
}

/// The members of the etcd cluster, and the certificates for connections to them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Etcd {
    /// The URL of each member: `http://` or `https://`, a host and an optional port. Empty if etcd is not used.
    pub endpoints: Vec<String>,
    /// PEM file with the certificate authorities for the members' certificates.
    pub ca: Option<PathBuf>,
    /// PEM file with the certificate of this node, if etcd requires one.
    pub cert: Option<PathBuf>,
    /// PEM file with the private key of this node's certificate.
    pub key: Option<PathBuf>,
    /// User name, if etcd requires authentication.
    pub user: Option<String>,
    /// File that contains the user's password.
    pub password_file: Option<PathBuf>,
}

impl ClusterSettings {
    /// Returns the address at which this node receives messages from other nodes. Used only with etcd. By default, its
    /// port is the port of [`Self::listen`] plus one.
    #[must_use]
    pub fn peers(&self) -> Option<SocketAddr> {
        let behind = |listen: SocketAddr| match listen.port() {
            0 => Some(listen),
            port => Some(SocketAddr::new(listen.ip(), port.checked_add(1)?)),
        };
        self.peers.or_else(|| self.listen.and_then(behind))
    }

    /// Returns the addresses on which the shards listen for links; `None` if a port number would be too high.
    ///
    /// With etcd, the first shard listens at [`Self::listen`]. The other shards use the ports that follow the port for
    /// messages. A fixed map contains only one port per node, so all shards then listen at [`Self::listen`].
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

    /// Returns the host and port under which other nodes reach this listener.
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

    /// Returns the name of this node if the host names returned by discovery contain it.
    #[must_use]
    pub fn direct_node(&self) -> Option<&str> {
        self.node.as_deref().filter(|_| self.direct)
    }

    /// Returns `true` if this node is part of a cluster.
    #[must_use]
    pub fn is_on(&self) -> bool {
        *self != Self::default()
    }

    /// Returns `true` if all required settings are present.
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
    /// Returns `true` if the nodes use etcd to agree on the owners of slots.
    #[must_use]
    pub fn is_on(&self) -> bool {
        !self.endpoints.is_empty()
    }
}

/// The default of `cluster.etcd_quota_bytes`. The same as etcd's own default.
const ETCD_QUOTA_BYTES: usize = 2 << 30;

/// The default of `cluster.lease` in milliseconds. Determines how fast the loss of a host is detected.
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
        let fine = found
            .iter()
            .all(|at| at.ip() == cluster.listen.unwrap().ip());
        assert!(fine);
        Some(found.iter().map(SocketAddr::port).collect())
    }

    #[test]
    fn further_shards_have_the_ports_behind_that_of_messages() {
        let etcd = &["http://a:1"];
        assert_eq!(inner("10.0.0.1:7443", etcd, 1), Some(vec![7443]));
        let found = inner("10.0.0.1:7443", etcd, 3);
        assert_eq!(found, Some(vec![7443, 7445, 7446]));
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
