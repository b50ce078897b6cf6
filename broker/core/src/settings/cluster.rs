//! Several nodes as one service: this node's part.

use std::net::SocketAddr;
use std::path::PathBuf;
use strum::{Display, EnumString, VariantNames};

/// What this node needs to be one of several; all unset where it is the whole service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cluster {
    /// The name of the cluster, the same on every node.
    pub name: Option<String>,
    /// The name of this node.
    pub node: Option<String>,
    /// A file with the secret that all nodes share.
    pub secret_file: Option<PathBuf>,
    /// Where other nodes pass connections on.
    pub listen: Option<SocketAddr>,
    /// What is spoken there.
    pub link: Option<Link>,
    /// A file that says which node owns which slots.
    pub map_file: Option<PathBuf>,
}

impl Cluster {
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
            link,
            map_file,
        } = self;
        let names = name.is_some() && node.is_some();
        let files = secret_file.is_some() && map_file.is_some();
        names && files && listen.is_some() && link.is_some()
    }
}

/// What nodes speak with each other.
#[derive(Clone, Copy, Debug, Display, EnumString, PartialEq, Eq, VariantNames)]
#[strum(serialize_all = "lowercase")]
pub enum Link {
    /// Plain TCP; each connection begins with a header that is signed. For networks that nobody else listens to.
    Plain,
}
