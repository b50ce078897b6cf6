//! Removes a node from the cluster. The cluster then no longer expects the node, waits for it or counts it.

use crate::config::Options;
use crate::operator::{CommandError, answer, block_on, connect, name};
use crate::rpc::generated::{Compare, RangeRequest, RequestOp, TxnRequest};
use crate::schema::{self, Keys, SlotValue, WatchedSubject};

/// The state of the slots of a node that is being removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RemovedSlots {
    /// The node was drained and owns no slots.
    Given,
    /// The node's host was lost. The other nodes will claim its remaining slots.
    Lost,
}

/// Removes a node that is not running. Returns the number of slots that it still owned.
///
/// The keys that identify the node's last batches of records are left in etcd. If they were deleted, a copy of such a
/// batch that is stuck in a frozen etcd member could still be applied.
///
/// # Errors
/// Returns the reason why the node cannot be removed.
pub fn remove(
    options: &Options,
    cluster: &str,
    node: &str,
    slots: RemovedSlots,
) -> Result<usize, CommandError> {
    let (keys, node) = (Keys::new(&name(cluster)?), name(node)?);
    block_on(async {
        let lines = connect(options).await?;
        let read = answer(lines.range(RangeRequest::range(keys.watched()))).await?;
        let (mut member, mut owned) = (None, 0);
        for row in read.kvs {
            match keys.parse(&row.key) {
                Some(WatchedSubject::Roster(found)) if found == node => {
                    member = Some(row.mod_revision)
                }
                Some(WatchedSubject::Registration(found)) if found == node => {
                    return Err(CommandError::refused(
                        "it is registered: stop it first. A process that was killed stays registered until its lease \
                         ends",
                    ));
                }
                Some(WatchedSubject::Slot(_)) => {
                    let slot: Option<SlotValue> = schema::read(&row.value).ok();
                    let owner = slot.and_then(|slot| slot.owner);
                    owned += usize::from(owner.is_some_and(|owner| *owner.node == *node.as_str()));
                }
                Some(
                    WatchedSubject::Roster(_)
                    | WatchedSubject::Registration(_)
                    | WatchedSubject::Meta,
                )
                | None => {}
                Some(WatchedSubject::Order(_) | WatchedSubject::Report(_)) => {}
            }
        }
        let unknown = || CommandError::refused("it is not a member of the cluster");
        let member = member.ok_or_else(unknown)?;
        if owned > 0 && slots == RemovedSlots::Given {
            return Err(CommandError::refused(format!(
                "it owns {owned} slots: if its host is lost forever, remove it with --lost; else start it and stop it \
                 with SIGTERM, which gives them to others"
            )));
        }
        let (roster, live) = (keys.roster(&node), keys.registration(&node));
        let unchanged = Compare::unchanged(roster.as_str(), member);
        let removal = TxnRequest {
            compare: vec![unchanged, Compare::absent(live)],
            success: vec![RequestOp::delete(roster)],
            failure: Vec::new(),
        };
        let outcome = answer(lines.txn(removal)).await?;
        match outcome.succeeded {
            true => Ok(owned),
            false => Err(CommandError::failed(
                "it changed meanwhile: look at the cluster, then try again",
            )),
        }
    })
}
