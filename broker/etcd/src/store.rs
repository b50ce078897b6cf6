//! The registry's end of a node, for one shard.

use crate::limits::CHANGES_MAX;
use broker_core::id::{ChannelKey, Identity, ShardId};
use broker_core::registry::{Change, Store, StoreError, Submitted, Ticket, encode, key};
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

/// A change on its way to the node's thread.
#[derive(Debug)]
pub(crate) struct Submission {
    pub(crate) ticket: Ticket,
    /// The channel, whose slot the node finds.
    pub(crate) identity: Identity,
    /// The record's key in the slot.
    pub(crate) key: Box<str>,
    /// `None` removes the record.
    pub(crate) value: Option<Box<[u8]>>,
}

pub(crate) fn queue() -> (mpsc::Sender<Submission>, mpsc::Receiver<Submission>) {
    mpsc::channel(CHANGES_MAX)
}

/// One shard's end of the registry on etcd. What becomes of each change is reported by [`crate::Service::written`].
///
/// A change is made if this node serves the channel's slot and etcd answers; otherwise it is refused within a second.
/// One that was sent and has no answer is neither: it is reported when its outcome is known.
#[derive(Debug)]
pub struct EtcdStore {
    shard: ShardId,
    queue: mpsc::Sender<Submission>,
}

impl EtcdStore {
    pub(crate) fn new(shard: ShardId, queue: mpsc::Sender<Submission>) -> Self {
        Self { shard, queue }
    }
}

impl Store for EtcdStore {
    fn submit(&mut self, of: ChannelKey, change: Change<'_>) -> Result<Submitted, StoreError> {
        let (arn, value) = match change {
            Change::Put(record) => (&record.arn, Some(encode(record))),
            Change::Remove(arn) => (arn, None),
        };
        let submission = Submission {
            ticket: Ticket {
                shard: self.shard,
                channel: of,
            },
            identity: Identity::of(arn),
            key: key(arn).into(),
            value,
        };
        match self.queue.try_send(submission) {
            Ok(()) => Ok(Submitted::Later),
            Err(TrySendError::Full(_)) => Err(StoreError::Busy),
            Err(TrySendError::Closed(_)) => Err(StoreError::Failed(
                "the node has ended: it takes no changes until it is restarted".into(),
            )),
        }
    }
}
