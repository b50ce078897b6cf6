//! Settings for a node of a cluster, in which several nodes form one service.

use std::net::SocketAddr;
use std::path::PathBuf;

/// A node's cluster settings. None of them is set outside a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterSettings {
    /// The name of the cluster, the same on all nodes.
    pub name: Option<String>,
    /// The name of this node in the cluster.
    pub node: Option<String>,
    /// The file with the secret that all nodes share.
    pub secret_file: Option<PathBuf>,
    /// The address on which this node accepts links from other nodes.
    pub listen: Option<SocketAddr>,
    /// The name or address under which other nodes reach this host, if it is not the host in [`Self::listen`]. Used
    /// with etcd.
    pub advertise: Option<String>,
    /// The ports on the advertised host that the shards listen on, once they are bound. Empty if all shards share the
    /// port in [`Self::listen`].
    pub ports: Vec<u16>,
    /// The file that assigns slots to nodes.
    pub map_file: Option<PathBuf>,
    /// Whether host names returned by discovery identify the node that owns the channel.
    pub direct: bool,
    /// The configured address on which this node receives messages from other nodes; see [`Self::peers`]. Used with
    /// etcd.
    pub peers: Option<SocketAddr>,
    /// The etcd cluster through which the nodes agree on the slot map. Used instead of `map_file`.
    pub etcd: Etcd,
    /// Size limit in bytes for etcd's database, used if the etcd members do not report one.
    pub etcd_quota_bytes: usize,
    /// How long this node's registration remains valid without a keepalive, in milliseconds. A multiple of 1000.
    pub lease_ms: u64,
}

/// The members of the etcd cluster, and the certificates for connecting to them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Etcd {
    /// The URL of each member: `http://` or `https://`, a host and an optional port. Empty if etcd is not used.
    pub endpoints: Vec<String>,
    /// PEM file with the certificate authorities for the members' certificates.
    pub ca: Option<PathBuf>,
    /// PEM file with this node's certificate, if etcd requires one.
    pub cert: Option<PathBuf>,
    /// PEM file with the private key of this node's certificate.
    pub key: Option<PathBuf>,
    /// User name, if etcd requires authentication.
    pub user: Option<String>,
    /// File with the user's password.
    pub password_file: Option<PathBuf>,
}

impl ClusterSettings {
    /// Returns the address on which this node receives messages from other nodes. Used only with etcd. The default port
    /// is that of [`Self::listen`] plus one.
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
    /// With etcd, the first shard listens on [`Self::listen`], and the others use the ports after the one for messages.
    /// A fixed map has only one port per node, so all shards then listen on [`Self::listen`].
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

    /// Returns this node's name if host names returned by discovery identify the node.
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
        let names = self.name.is_some() && self.node.is_some();
        let owners = self.map_file.is_some() || self.etcd.is_on();
        names && owners && self.secret_file.is_some() && self.listen.is_some()
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
    /// Returns `true` if the nodes use etcd to agree on slot owners.
    #[must_use]
    pub fn is_on(&self) -> bool {
        !self.endpoints.is_empty()
    }
}

/// The default of `cluster.etcd_quota_bytes`, the same as etcd's own.
const ETCD_QUOTA_BYTES: usize = 2 << 30;

/// The default of `cluster.lease`, in milliseconds. The lease determines how soon the loss of a host is detected.
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
    fn a_cluster_is_whole_with_names_owners_a_secret_and_a_listener() {
        let whole = ClusterSettings {
            name: Some("prod".into()),
            node: Some("n1".parse().unwrap()),
            map_file: Some("map.toml".into()),
            secret_file: Some("secret".into()),
            listen: Some("10.0.0.1:7443".parse().unwrap()),
            ..ClusterSettings::default()
        };
        assert!(whole.is_whole());
        for take in [
            &|it: &mut ClusterSettings| it.name = None,
            &|it: &mut ClusterSettings| it.node = None,
            &|it: &mut ClusterSettings| it.map_file = None,
            &|it: &mut ClusterSettings| it.secret_file = None,
            &|it: &mut ClusterSettings| it.listen = None,
        ] as [&dyn Fn(&mut ClusterSettings); 5]
        {
            let mut part = whole.clone();
            take(&mut part);
            assert!(!part.is_whole());
        }
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
