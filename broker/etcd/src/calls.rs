//! Single calls of etcd: what has one answer.

use crate::failure::Failure;
use crate::limits::CALL;
use crate::link::Lines;
use broker_core::cluster::types::LeaseId;
use etcd_client::{GetOptions, GetResponse, Txn, TxnResponse};
use tokio::time::timeout;

/// What is asked.
#[derive(Debug)]
pub(crate) enum Ask {
    /// A lease of this many seconds.
    Grant(i64),
    /// The end of a lease.
    Revoke(LeaseId),
    /// A linearizable read of a range: first key, and the first beyond the last.
    Read(String, String),
    /// A transaction.
    Transaction(Txn),
}

/// What is answered.
#[derive(Debug)]
pub(crate) enum Told {
    Granted(LeaseId),
    Revoked,
    Read(GetResponse),
    Outcome(TxnResponse),
}

/// Asks, and waits for the answer for [`CALL`].
pub(crate) async fn ask(lines: Lines, ask: Ask) -> Result<Told, Failure> {
    match timeout(CALL, answer(lines, ask)).await {
        Ok(result) => result.map_err(|error| Failure::of(&error)),
        Err(_) => Err(Failure::late()),
    }
}

async fn answer(lines: Lines, ask: Ask) -> Result<Told, etcd_client::Error> {
    Ok(match ask {
        Ask::Grant(seconds) => {
            let granted = lines.client.lease_client().grant(seconds, None).await?;
            Told::Granted(LeaseId(granted.id().cast_unsigned()))
        }
        Ask::Revoke(lease) => {
            lines
                .client
                .lease_client()
                .revoke(lease.0.cast_signed())
                .await?;
            Told::Revoked
        }
        Ask::Read(first, end) => {
            let options = GetOptions::new().with_range(end);
            Told::Read(lines.kv().get(first, Some(options)).await?)
        }
        Ask::Transaction(transaction) => Told::Outcome(lines.kv().txn(transaction).await?),
    })
}
