//! Records that are added to those that a cluster has in etcd, while no node runs.

use crate::config::Options;
use crate::exchange::{Batch, End, ExchangeError, runtime};
use broker_core::cluster::slot_maps::slot_of;
use broker_core::id::Identity;
use broker_core::record::Record;
use broker_core::registry::{decode, encode, key};
use std::rc::Rc;
use tokio::task::LocalSet;

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
pub fn add(etcd: &Options, cluster: &str, records: &[Record]) -> Result<(), (u64, ExchangeError)> {
    let runtime = runtime().map_err(|error| (0, error))?;
    let mut done = 0;
    let added = LocalSet::new().block_on(&runtime, async {
        let end = Rc::new(End::connect(etcd, cluster).await?);
        let slot_key = end.found().await?;
        if records.is_empty() {
            return Ok(());
        }
        let mut rest = records.iter();
        let batches = || {
            let mut batch = Batch::default();
            while batch.has_room()
                && let Some(record) = rest.next()
            {
                let slot = slot_of(&slot_key, &Identity::of(&record.arn));
                batch.put(end.keys.record(slot, key(&record.arn)), encode(record));
            }
            Ok((batch, !rest.as_slice().is_empty()))
        };
        end.put_batches(batches, &mut done).await
    });
    added.map_err(|error| (done, error))
}
