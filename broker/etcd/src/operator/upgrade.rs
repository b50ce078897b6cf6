//! Completes an upgrade. Afterwards, nodes that use the previous version of the inter-node protocol can no longer
//! start.

use crate::operator::{CommandError, NOBODY, Picture, Session, answer, block_on, look, name};
use crate::rpc::generated::{Compare, RequestOp, TxnRequest};
use crate::{config::Options, schema};

/// The minimum inner version (the inter-node protocol version) before and after an upgrade.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Raised {
    /// Minimum before the upgrade was completed.
    pub from: u32,
    /// The new minimum, equal to the inner version of all nodes.
    pub to: u32,
}

/// Raises a cluster's minimum inter-node protocol version to the version that all of its nodes use.
///
/// # Errors
/// Returns the reason why the minimum cannot be raised.
pub fn finish_upgrade(options: &Options, cluster: &str) -> Result<Raised, CommandError> {
    let cluster = name(cluster)?;
    block_on(async {
        let (lines, keys) = Session::new(options, &cluster).lines().await?;
        let picture = look(&lines, &keys).await?;
        let to = inner_of_all(&picture)?;
        let unfounded =
            || CommandError::refused("the cluster is not founded: its first node founds it");
        let (meta, text, at) = picture.meta.as_ref().ok_or_else(unfounded)?;
        let raised = Raised {
            from: meta.lowest,
            to: to.max(meta.lowest),
        };
        if raised.from == raised.to {
            return Ok(raised);
        }
        let changed = schema::with_number(text, "lowest", raised.to.into());
        let changed = changed.ok_or_else(unfounded)?;
        // The transaction fails if any node has registered since the read, whether for the first time or again.
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
            Err(CommandError::failed(
                "the registered nodes changed meanwhile: try again",
            ))
        }
    })
}

fn inner_of_all(picture: &Picture) -> Result<u32, CommandError> {
    let mut inner = Vec::new();
    for (name, seen) in &picture.nodes {
        match (&seen.registered, seen.is_here) {
            (Some(registered), _) => inner.push((name, registered.inner)),
            (None, Some(true)) => {
                return Err(CommandError::refused(format!(
                    "{name} is a member that is expected to run, and is not registered: start it, or remove it"
                )));
            }
            (None, Some(false) | None) => {}
        }
    }
    let newest = inner.iter().map(|(_, inner)| *inner).max();
    let newest = newest.ok_or_else(|| CommandError::refused(NOBODY))?;
    match inner.iter().find(|(_, inner)| *inner < newest) {
        None => Ok(newest),
        Some((name, inner)) => Err(CommandError::refused(format!(
            "{name} has inner version {inner}, and another node {newest}: upgrade it first"
        ))),
    }
}
