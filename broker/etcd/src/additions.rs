//! Records that are added to those that a cluster has in etcd, while no node runs.

use crate::config::Options;
use crate::exchange::{End, ExchangeError, runtime};
use crate::limits::{BATCH_BYTES_MAX, IMPORT_BATCHES_UNDER_WAY, PUTS_PER_BATCH};
use crate::rpc::RequestOp;
use broker_core::cluster::maps::slot_map::slot_of;
use broker_core::id::Identity;
use broker_core::record::Record;
use broker_core::registry::{decode, encode, key};
use std::rc::Rc;
use tokio::task::{JoinSet, LocalSet};

/// Gives every record that the cluster has in etcd, of one moment; none where there is no such cluster.
///
/// # Errors
/// [`ExchangeError`]; what was given is then not all.
pub fn each_record(
    etcd: &Options,
    cluster: &str,
    mut give: impl FnMut(Record),
) -> Result<(), ExchangeError> {
    runtime()?.block_on(async {
        let end = End::connect(etcd, cluster).await?;
        end.each_row(|identity, value| {
            let record = decode(identity, value);
            give(record.map_err(|why| ExchangeError::Record(identity.into(), why))?);
            Ok(())
        })
        .await
    })
}

/// Puts records into etcd that are not there, in batches. A cluster that is not there is founded.
///
/// # Errors
/// [`ExchangeError`], and how many of them are in etcd for certain: the others may be put again.
pub fn add(
    etcd: &Options,
    cluster: &str,
    records: &[Record],
) -> Result<(), (usize, ExchangeError)> {
    let runtime = runtime().map_err(|error| (0, error))?;
    let mut done = 0;
    let added = LocalSet::new().block_on(&runtime, async {
        let end = Rc::new(End::connect(etcd, cluster).await?);
        let slot_key = end.found().await?;
        let mut under_way = JoinSet::new();
        let mut rest = records;
        while !rest.is_empty() {
            let (batch, later) = rest.split_at(batch(rest));
            rest = later;
            let put = |record: &Record| {
                let slot = slot_of(&slot_key, &Identity::of(&record.arn));
                RequestOp::put(end.keys.record(slot, key(&record.arn)), encode(record))
            };
            let puts: Vec<_> = batch.iter().map(put).collect();
            let (end, count) = (Rc::clone(&end), batch.len());
            under_way.spawn_local(async move { end.without_nodes(puts).await.map(|_| count) });
            let most = usize::from(!rest.is_empty()) * (IMPORT_BATCHES_UNDER_WAY - 1);
            while under_way.len() > most
                && let Some(ended) = under_way.join_next().await
            {
                done += ended.map_err(|gone| ExchangeError::Etcd(gone.to_string().into()))??;
            }
        }
        Ok(())
    });
    added.map_err(|error| (done, error))
}

/// The number of records at the beginning that one transaction takes.
fn batch(records: &[Record]) -> usize {
    let mut bytes = 0;
    let fits = |record: &&Record| {
        let fits = bytes < BATCH_BYTES_MAX;
        bytes += encode(record).len();
        fits
    };
    records.iter().take(PUTS_PER_BATCH).take_while(fits).count()
}
