//! The epochs of presence of a cluster that gets the channels of a single broker, or gives its own to one.

use crate::exchange::{End, ExchangeError};
use crate::rpc::generated::{Compare, RangeRequest, RequestOp, TxnRequest};
use crate::schema::keys::Watched;
use crate::schema::values::{self, MetaValue, SlotValue};

impl End {
    /// The greatest epoch of presence that the cluster has had.
    pub(crate) async fn presence(&self) -> Result<u64, ExchangeError> {
        let outcome = self.transact(TxnRequest {
            success: vec![RequestOp::read(RangeRequest::range(self.keys.watched()))],
            ..TxnRequest::default()
        });
        let outcome = outcome.await?;
        let epochs = outcome.reads().flatten().filter_map(|row| {
            let bytes = &*row.value;
            match self.keys.parse(&row.key)? {
                Watched::Slot(_) => Some(values::read::<SlotValue>(bytes).ok()?.presence),
                Watched::Meta => Some(values::read::<MetaValue>(bytes).ok()?.presence),
                Watched::Registration(_) | Watched::Roster(_) => None,
                Watched::Order(_) | Watched::Report(_) => None,
            }
        });
        Ok(epochs.max().unwrap_or(0))
    }

    /// Epochs of presence exceed this one from now on. No node may run.
    pub(crate) async fn raise_presence(&self, epoch: u64) -> Result<(), ExchangeError> {
        let key = self.keys.meta();
        let read = self.transact(TxnRequest {
            success: vec![RequestOp::read(RangeRequest::key(key.as_str()))],
            ..TxnRequest::default()
        });
        let read = read.await?;
        let row = read.reads().flatten().next();
        let row = row.ok_or(ExchangeError::NoCluster)?;
        let meta: MetaValue = values::read(&row.value)
            .map_err(|error| ExchangeError::Etcd(format!("the key {key}: {error}").into()))?;
        if meta.presence >= epoch {
            return Ok(());
        }
        let raised = values::with_number(&row.value, "presence", epoch);
        let raise = TxnRequest {
            compare: vec![Compare::unchanged(key.as_str(), row.mod_revision)],
            success: vec![RequestOp::put(key, raised.ok_or(ExchangeError::NoCluster)?)],
            failure: Vec::new(),
        };
        let outcome = self.transact(raise).await?;
        if outcome.succeeded {
            Ok(())
        } else {
            Err(ExchangeError::Nodes)
        }
    }
}
