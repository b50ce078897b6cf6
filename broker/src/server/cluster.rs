//! This node's cluster membership: the cluster secret, the slot map, and the other nodes' addresses. If the cluster
//! uses etcd, `node` follows the cluster's state, `slot_orders` connects the cluster thread to the shards, and
//! `inquiries` queries other nodes.

mod inquiries;
pub(crate) mod node;
pub(crate) mod slot_orders;

use crate::edge::{Links, OwnNode};
use crate::failure::{Failure, Fallible};
use crate::files;
use crate::server::random::seeds;
use broker_core::cluster::secret::ClusterSecret;
use broker_core::cluster::slot_maps::{FixedMap, SlotMap};
use broker_core::settings::Settings;
use broker_core::{auth::SessionKeys, id::NodeId};
use link::{Keys, Purpose};
use std::path::Path;
use std::sync::Arc;
use zeroize::Zeroizing;

/// The node's cluster membership, as used by its shards and their edges.
pub(crate) struct ClusterMembership {
    pub(crate) map: Arc<SlotMap>,
    pub(crate) links: Arc<Links>,
    /// Keys that seal temporary credentials. The same on all nodes.
    pub(crate) session_keys: Arc<SessionKeys>,
    /// Secrets from which TLS ticket keys are derived. The same on all nodes.
    pub(crate) ticket_keys: Vec<Zeroizing<[u8; 32]>>,
    pub(crate) etcd: Option<EtcdPart>,
}

/// The names and the secret that a node needs in a cluster with etcd.
pub(crate) struct EtcdPart {
    pub(crate) name: String,
    pub(crate) node: String,
    pub(crate) secret: ClusterSecret,
}

impl ClusterMembership {
    /// Reads the files that the settings name. Returns `None` if no cluster is configured. Fails with
    /// [`Failure::Configuration`] if a file has become invalid since it was validated.
    pub(crate) fn find(settings: &Settings) -> Fallible<Option<Self>> {
        let cluster = &settings.cluster;
        let (Some(name), Some(node), Some(secret_file)) =
            (&cluster.name, &cluster.node, &cluster.secret_file)
        else {
            return Ok(None);
        };
        let secret = secret(secret_file).map_err(|rule| wrong("secret_file", secret_file, rule))?;
        let links = links(settings.shards, &secret, (name, node))?;
        let Some(map_file) = &cluster.map_file else {
            let (session_keys, ticket_keys) =
                (session_keys(&secret, name), secret.ticket_keys(name));
            let etcd = EtcdPart {
                name: name.clone(),
                node: node.clone(),
                secret,
            };
            return Ok(Some(Self {
                // Every node is the first entry of its own map.
                map: Arc::new(SlotMap::unknown(NodeId(0))),
                links: Arc::new(links),
                session_keys,
                ticket_keys,
                etcd: Some(etcd),
            }));
        };
        let fixed = map(map_file, node).map_err(|rule| wrong("map_file", map_file, rule))?;
        let own = fixed
            .node(node)
            .ok_or_else(|| wrong("map_file", map_file, String::new()))?;
        for (number, (name, address)) in (0..).zip(&fixed.nodes) {
            links.put(NodeId(number), name, &[*address], &[address.port()]);
        }
        Ok(Some(Self {
            map: Arc::new(fixed.slot_map(&secret.slot_key(name), own)),
            links: Arc::new(links),
            session_keys: session_keys(&secret, name),
            ticket_keys: secret.ticket_keys(name),
            etcd: None,
        }))
    }
}

/// Returns the error for a file that has become invalid since it was validated.
pub(crate) fn wrong(key: &str, path: &Path, rule: String) -> Failure {
    Failure::Configuration(format!("cluster.{key} = {}: {rule}", path.display()))
}

fn session_keys(secret: &ClusterSecret, cluster: &str) -> Arc<SessionKeys> {
    let keys = secret.session_keys(cluster);
    let current = keys.first().expect("there is a secret that is used");
    let previous = keys.get(1).map(|key| &**key);
    Arc::new(SessionKeys::new(current, previous))
}

/// Reads a secret file. The error states which rule the file breaks.
pub(crate) fn secret(path: &Path) -> Result<ClusterSecret, String> {
    let secret = ClusterSecret::parse(&files::readable_secret(path, SECRET_BYTES_MAX)?);
    secret.ok_or_else(|| {
        "must be a file with one line of 64 hexadecimal digits, or two while it is replaced".into()
    })
}

/// Reads a map file, which must list this node. The error states which rule the file breaks.
pub(crate) fn map(path: &Path, node: &str) -> Result<FixedMap, String> {
    let map = FixedMap::parse(&files::readable(path, MAP_BYTES_MAX)?.content)?;
    match map.node(node) {
        Some(_) => Ok(map),
        None => Err(format!("must be a map with a line for this node, {node}")),
    }
}

/// Maximum size of a secret file in bytes: enough for the digits of two secrets and some whitespace.
const SECRET_BYTES_MAX: usize = 1024;

/// Maximum size of a map file in bytes: enough for one line per slot.
const MAP_BYTES_MAX: usize = 1 << 20;

/// Creates this node's [`Links`], which initially contain no other nodes. Fails with [`Failure::Fatal`] if the system
/// provides no random numbers.
fn links(shards: usize, secret: &ClusterSecret, (cluster, node): (&str, &str)) -> Fallible<Links> {
    let [start, ..] = seeds()?;
    let own = OwnNode {
        cluster: cluster.into(),
        name: node.into(),
        start,
        shards: u16::try_from(shards).unwrap_or(u16::MAX),
    };
    let no_tls = |error| Failure::Fatal(format!("TLS between nodes cannot be set up: {error}"));
    let keys = Keys::derive(secret, cluster).map_err(no_tls)?;
    let server = keys.server(Purpose::Link).map_err(no_tls)?;
    // Each shard has its own TLS client for links to other nodes.
    let clients = (0..shards).map(|_| keys.client(Purpose::Link).map(Arc::new));
    let clients = clients.collect::<Result<_, _>>().map_err(no_tls)?;
    Ok(Links::new(own, Arc::new(server), clients))
}
