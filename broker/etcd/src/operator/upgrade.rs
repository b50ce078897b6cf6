//! The end of an upgrade: nodes of the former inner version may not start any more.

use crate::operator::{Picture, Session, Why, answer, block_on, look};
use crate::rpc::generated::{Compare, RequestOp, TxnRequest};
use crate::schema;
use crate::{config::Options, names::Name};
use std::fmt;

/// The lowest inner version before and after.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Raised {
    /// Before.
    pub from: u32,
    /// After: that of every node.
    pub to: u32,
}

/// Why an upgrade is not finished.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UpgradeError {
    /// The name of the cluster is none.
    Name,
    /// etcd does not answer, or refuses. Repeat the command.
    Etcd(Box<str>),
    /// The cluster was never founded.
    NoCluster,
    /// No node runs.
    Nobody,
    /// A member that is expected to run does not, so that nobody knows its version.
    Absent(Box<str>),
    /// A node is older than another one: which, its inner version, and the newest.
    Older(Box<str>, u32, u32),
    /// Nodes came or left meanwhile.
    Changed,
}

impl fmt::Display for UpgradeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name => f.write_str("the name of the cluster is none"),
            Self::Etcd(why) => write!(f, "etcd: {why}"),
            Self::NoCluster => f.write_str("the cluster is not founded: its first node does that"),
            Self::Nobody => f.write_str("no node is registered: start them first"),
            Self::Absent(node) => write!(
                f,
                "{node} is a member that is expected to run, and is not registered: start it, or remove it"
            ),
            Self::Older(node, inner, newest) => write!(
                f,
                "{node} has inner version {inner}, and another node {newest}: upgrade it first"
            ),
            Self::Changed => f.write_str("nodes came or left meanwhile: try again"),
        }
    }
}

impl std::error::Error for UpgradeError {}

impl From<Why> for UpgradeError {
    fn from(why: Why) -> Self {
        Self::Etcd(why)
    }
}

/// Raises the lowest inner version of a cluster to the one that all its nodes have.
///
/// # Errors
/// [`UpgradeError`].
pub fn finish_upgrade(options: &Options, cluster: &str) -> Result<Raised, UpgradeError> {
    let cluster = Name::new(cluster).ok_or(UpgradeError::Name)?;
    block_on(async {
        let (lines, keys) = Session::new(options, &cluster).lines().await?;
        let picture = look(&lines, &keys).await?;
        let to = inner_of_all(&picture)?;
        let (meta, text, at) = picture.meta.as_ref().ok_or(UpgradeError::NoCluster)?;
        let raised = Raised {
            from: meta.lowest,
            to: to.max(meta.lowest),
        };
        if raised.from == raised.to {
            return Ok(raised);
        }
        let changed =
            schema::with_number(text, "lowest", raised.to.into()).ok_or(UpgradeError::NoCluster)?;
        // No other node than these may have registered, nor one of these again: none has been read since.
        let (first, end) = keys.registrations();
        let newest = picture.nodes.values();
        let newest = newest.filter_map(|seen| Some(seen.registered.as_ref()?.at));
        let after = newest.max().unwrap_or(0) + 1;
        let same_nodes = Compare::older(first, after).up_to(end);
        let change = TxnRequest {
            compare: vec![Compare::unchanged(keys.meta(), *at), same_nodes],
            success: vec![RequestOp::put(keys.meta(), changed)],
            failure: Vec::new(),
        };
        let outcome = answer(lines.txn(change)).await?;
        if outcome.succeeded {
            Ok(raised)
        } else {
            Err(UpgradeError::Changed)
        }
    })
}

/// The inner version that every node has.
fn inner_of_all(picture: &Picture) -> Result<u32, UpgradeError> {
    let mut inner = Vec::new();
    for (name, seen) in &picture.nodes {
        match (&seen.registered, seen.is_here) {
            (Some(registered), _) => inner.push((name, registered.inner)),
            (None, Some(true)) => return Err(UpgradeError::Absent(name.as_str().into())),
            (None, Some(false) | None) => {}
        }
    }
    let newest = inner.iter().map(|(_, inner)| *inner).max();
    let newest = newest.ok_or(UpgradeError::Nobody)?;
    match inner.iter().find(|(_, inner)| *inner < newest) {
        None => Ok(newest),
        Some((name, inner)) => Err(UpgradeError::Older(name.as_str().into(), *inner, newest)),
    }
}
