//! The meta key: what never changes in the life of a cluster, and the lowest inner version of its nodes. Nothing else
//! is asked of etcd until it is known.
//!
//! The first node writes it. A node that has seen etcd before never does: where the key is absent then, or is another
//! cluster's, etcd has another history.

use crate::directory::Kept;
use crate::rpc::generated::{Compare, RangeRequest, RequestOp, TxnRequest};
use crate::schema::keys::Keys;
use crate::schema::values::{self, MetaValue};
use crate::system::random;
use broker_core::cluster::limits::SLOTS;

/// The key, as far as it is known.
#[derive(Debug)]
pub(crate) struct Meta {
    /// The id of the cluster that the data directory knows.
    expected: Option<Box<str>>,
    /// The directory has seen etcd before.
    is_known: bool,
    found: Option<MetaValue>,
    is_asked: bool,
}

/// A key that cannot be used.
#[derive(Debug)]
pub(crate) enum MetaError {
    /// It is absent or another cluster's, and this node has seen etcd before.
    OtherCluster,
    /// It cannot be read, or is of another version: the reason.
    Unusable(String),
}

impl Meta {
    pub(crate) fn new(kept: &Kept) -> Self {
        Self {
            expected: kept.cluster.clone(),
            is_known: kept.cluster.is_some() || kept.memory().newest.0 > 0,
            found: None,
            is_asked: false,
        }
    }

    /// The cluster's id, as far as it is known.
    pub(crate) fn id(&self) -> Option<Box<str>> {
        let found = self.found.as_ref().map(|meta| meta.id.clone());
        found.or_else(|| self.expected.clone())
    }

    /// Whether etcd may be asked for more.
    pub(crate) fn is_found(&self) -> bool {
        self.found.is_some()
    }

    /// The key of the hash that finds a channel's slot.
    pub(crate) fn slot_key(&self) -> Option<[u8; 16]> {
        self.found.as_ref().and_then(MetaValue::slot_key)
    }

    /// Whether it is unknown, and not being asked.
    pub(crate) fn is_due(&self) -> bool {
        !self.is_found() && !self.is_asked
    }

    /// The transaction that reads the key, or writes it if it is absent and this node may; nothing without random bytes
    /// for it. Then [`Self::answered`].
    pub(crate) fn request(&mut self, keys: &Keys) -> Option<TxnRequest> {
        let key = keys.meta();
        let read = RequestOp::read(RangeRequest::key(key.as_str()));
        let mut write = Vec::new();
        if !self.is_known {
            let proposal = MetaValue::new(random()?, SLOTS, random()?);
            write.push(RequestOp::put(key.as_str(), values::write(&proposal)));
        }
        write.push(read.clone());
        self.is_asked = true;
        Some(TxnRequest {
            compare: vec![Compare::absent(key)],
            success: write,
            failure: vec![read],
        })
    }

    /// A request has ended: another may be made.
    pub(crate) fn answered(&mut self) {
        self.is_asked = false;
    }

    /// The key was read; nothing if it is absent. Returns its value if it is that of this node's cluster.
    pub(crate) fn learn(
        &mut self,
        found: Option<MetaValue>,
        keys: &Keys,
    ) -> Result<&MetaValue, MetaError> {
        let is_expected = match (&self.expected, &found) {
            (Some(expected), Some(found)) => found.id == *expected,
            (_, None) => false,
            (None, Some(_)) => true,
        };
        let Some(found) = found.filter(|_| is_expected) else {
            return Err(MetaError::OtherCluster);
        };
        if found.slots != SLOTS || found.slot_key().is_none() {
            return Err(MetaError::Unusable(format!(
                "the key {} of etcd: it is of {} slots, and this version has {SLOTS}: use the version that wrote it",
                keys.meta(),
                found.slots
            )));
        }
        Ok(self.found.insert(found))
    }
}
