//! Single calls of etcd: what has one answer.

use crate::client::failure::Failure;
use crate::limits::CALL;
use crate::rpc::generated::{RangeRequest, RangeResponse, TxnRequest, TxnResponse};
use crate::rpc::lines::Lines;
use broker_core::cluster::types::LeaseId;
use tokio::time::timeout;
use tonic::Status;

/// A single call.
#[derive(Debug)]
pub(crate) enum Ask {
    /// A lease of this many seconds.
    Grant(i64),
    /// The end of a lease.
    Revoke(LeaseId),
    /// A linearizable read of a range: first key, and the first beyond the last.
    Read(String, String),
    /// A transaction.
    Transaction(TxnRequest),
}

/// The answer to a call.
#[derive(Debug)]
pub(crate) enum Told {
    /// With its life without a keepalive, in seconds.
    Granted(LeaseId, i64),
    Revoked,
    Read(RangeResponse),
    Outcome(TxnResponse),
}

/// Asks, and waits for the answer for [`CALL`].
pub(crate) async fn ask(lines: Lines, ask: Ask) -> Result<Told, Failure> {
    match timeout(CALL, answer(lines, ask)).await {
        Ok(result) => result.map_err(|error| Failure::of(&error)),
        Err(_) => Err(Failure::late()),
    }
}

async fn answer(lines: Lines, ask: Ask) -> Result<Told, Status> {
    Ok(match ask {
        Ask::Grant(seconds) => {
            let granted = lines.grant(seconds).await?;
            Told::Granted(LeaseId(granted.id.cast_unsigned()), granted.ttl)
        }
        Ask::Revoke(lease) => {
            lines.revoke(lease.0.cast_signed()).await?;
            Told::Revoked
        }
        Ask::Read(first, end) => Told::Read(lines.range(RangeRequest::range((first, end))).await?),
        Ask::Transaction(transaction) => Told::Outcome(lines.txn(transaction).await?),
    })
}
