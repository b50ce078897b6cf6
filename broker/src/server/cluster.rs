//! This node's part of a cluster: its secret, the map of slots, and where the other nodes are.

use super::Failure;
use crate::edge::Links;
use crate::files;
use broker_core::cluster::fixed_map::FixedMap;
use broker_core::cluster::secret::ClusterSecret;
use broker_core::cluster::slot_map::SlotMap;
use broker_core::settings::Settings;
use std::path::Path;
use std::sync::Arc;

/// What shards and their edges need of it.
#[derive(Debug)]
pub(super) struct Cluster {
    /// Who owns which channel.
    pub(super) map: Arc<SlotMap>,
    /// How others are reached.
    pub(super) links: Arc<Links>,
}

impl Cluster {
    /// Reads the files that the settings name; `None` where one process is the whole service.
    ///
    /// # Errors
    /// [`Failure::Configuration`] when one of them changed since it was checked, and is wrong.
    pub(super) fn find(settings: &Settings) -> Result<Option<Self>, Failure> {
        let cluster = &settings.cluster;
        let (Some(name), Some(node), Some(secret_file), Some(map_file)) = (
            &cluster.name,
            &cluster.node,
            &cluster.secret_file,
            &cluster.map_file,
        ) else {
            return Ok(None);
        };
        let wrong = |key: &str, path: &Path, rule| {
            Failure::Configuration(format!("cluster.{key} = {}: {rule}", path.display()))
        };
        let secret = secret(secret_file).map_err(|rule| wrong("secret_file", secret_file, rule))?;
        let fixed = map(map_file, node).map_err(|rule| wrong("map_file", map_file, rule))?;
        let own = fixed
            .node(node)
            .ok_or_else(|| wrong("map_file", map_file, String::new()))?;
        Ok(Some(Self {
            map: Arc::new(fixed.slot_map(&secret.slot_key(name), own)),
            links: Arc::new(Links {
                key: secret.link_key(name),
                own: node.as_str().into(),
                nodes: fixed.nodes,
            }),
        }))
    }
}

/// The secret of a file.
///
/// # Errors
/// What is allowed.
pub(super) fn secret(path: &Path) -> Result<ClusterSecret, String> {
    let read = files::read_text(path, SECRET_BYTES_MAX)
        .map_err(|error| format!("allowed a file that can be read: {error}"))?;
    if read.is_open_to_others() {
        let path = path.display();
        tracing::warn!("{path}: everybody on this machine may read or change it: chmod 600");
    }
    let secret = ClusterSecret::parse(&read.content);
    secret.ok_or_else(|| "allowed a file with one line of 64 hexadecimal digits".into())
}

/// The map of a file, in which this node is.
///
/// # Errors
/// What is allowed.
pub(super) fn map(path: &Path, node: &str) -> Result<FixedMap, String> {
    let read = files::read_text(path, MAP_BYTES_MAX)
        .map_err(|error| format!("allowed a file that can be read: {error}"))?;
    let map = FixedMap::parse(&read.content)?;
    match map.node(node) {
        Some(_) => Ok(map),
        None => Err(format!("allowed a map with a line for this node, {node}")),
    }
}

/// Longest file of a secret: its digits, and room for blanks.
const SECRET_BYTES_MAX: usize = 1024;

/// Longest map: a line for each slot.
const MAP_BYTES_MAX: usize = 1 << 20;
