//! The end of a node's membership: nobody asks for it, waits for it or counts it any more.

use crate::operator::{Why, answer, block_on, connect};
use crate::rpc::generated::{Compare, RangeRequest, RequestOp, TxnRequest};
use crate::schema::{self, Keys, SlotValue, Watched};
use crate::{config::Options, names::Name};
use std::fmt;

/// The fate of the slots of a node that is removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slots {
    /// It has none: it left by a drain.
    Given,
    /// Its host is lost: the other nodes take them.
    Lost,
}

/// Why a node was not removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RemoveError {
    /// The name of the cluster or of the node is none.
    Name,
    /// etcd does not answer. Whether the node is removed is unknown: look, or remove it again.
    Etcd(Box<str>),
    /// It is no member.
    Unknown,
    /// It is registered: it runs, or ended less than the time of its lease ago.
    Registered,
    /// It owns slots.
    Owner(usize),
    /// Its membership changed meanwhile.
    Changed,
}

impl fmt::Display for RemoveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name => f.write_str("allowed 1 to 63 of the characters a-z 0-9 . -"),
            Self::Etcd(why) => write!(f, "etcd: {why}"),
            Self::Unknown => f.write_str("it is no member of the cluster"),
            Self::Registered => f.write_str(
                "it is registered: stop it first. A process that was killed stays registered until its lease ends",
            ),
            Self::Owner(slots) => write!(
                f,
                "it owns {slots} slots: if its host is lost forever, remove it with --lost; else start it and stop it \
                 with SIGTERM, which gives them to others"
            ),
            Self::Changed => f.write_str("it changed meanwhile: look at the cluster, then try again"),
        }
    }
}

impl std::error::Error for RemoveError {}

impl From<Why> for RemoveError {
    fn from(why: Why) -> Self {
        Self::Etcd(why)
    }
}

/// Removes a node that does not run, and says how many slots it owned.
///
/// The keys of its last batches of records stay: a copy of a batch that waits in a frozen member of etcd must not find
/// them as it left them.
///
/// # Errors
/// [`RemoveError`].
pub fn remove(
    options: &Options,
    cluster: &str,
    node: &str,
    slots: Slots,
) -> Result<usize, RemoveError> {
    let (cluster, node) = Name::new(cluster)
        .zip(Name::new(node))
        .ok_or(RemoveError::Name)?;
    let keys = Keys::new(&cluster);
    block_on(async {
        let lines = connect(options).await?;
        let read = answer(lines.range(RangeRequest::range(keys.watched()))).await?;
        let (mut member, mut owned) = (None, 0);
        for row in read.kvs {
            match keys.parse(&row.key) {
                Some(Watched::Roster(found)) if found == node => member = Some(row.mod_revision),
                Some(Watched::Registration(found)) if found == node => {
                    return Err(RemoveError::Registered);
                }
                Some(Watched::Slot(_)) => {
                    let slot: Option<SlotValue> = schema::read(&row.value).ok();
                    let owner = slot.and_then(|slot| slot.owner);
                    owned += usize::from(owner.is_some_and(|owner| *owner.node == *node.as_str()));
                }
                Some(Watched::Roster(_) | Watched::Registration(_) | Watched::Meta) | None => {}
                Some(Watched::Order(_) | Watched::Report(_)) => {}
            }
        }
        let member = member.ok_or(RemoveError::Unknown)?;
        if owned > 0 && slots == Slots::Given {
            return Err(RemoveError::Owner(owned));
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
            false => Err(RemoveError::Changed),
        }
    })
}
