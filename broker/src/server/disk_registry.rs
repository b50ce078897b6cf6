//! The on-disk registry. Opens the store at startup, accepts changes from shards, and reports the results.

use crate::failure::{Failure, Fallible};
use crate::registry::{self, DurableStore, ProcessCatalog};
use crate::server::mailboxes::{Mailboxes, post};
use crate::{data_dir::DataDir, edge::Post, side::StatusBoard};
use broker_core::id::{Identity, ShardId};
use broker_core::placement::{Home, Placement};
use broker_core::shard::{Letter, Shard};
use broker_core::time::{Now, Wall};
use broker_core::{record::Records, registry::Ticket};
use mailbox::Mailbox;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use store::{CommitError, Committer, Done, Writer};

pub(crate) struct Registry {
    pub(crate) writer: Writer<Ticket>,
    pub(crate) catalog: Arc<ProcessCatalog>,
    /// The stored records, grouped by owning shard. Each shard takes its records when it starts.
    records: Vec<Records>,
    /// The latest creation time of all records. Every new channel is assigned a later time, and is therefore newer than
    /// any earlier channel of the same name.
    pub(crate) newest: Wall,
}

impl Registry {
    /// Opens the store in a data directory and reads all of its records. Fails with [`Failure::Fatal`] if the store is
    /// corrupted, was written by a later version, or cannot be read.
    pub(crate) fn open(
        data_dir: &DataDir,
        placement: &Placement,
        mailboxes: &Mailboxes,
        status: &StatusBoard,
        record_bytes_total: usize,
    ) -> Fallible<Self> {
        let began = Instant::now();
        let mut records: Vec<Records> = mailboxes.iter().map(|_| Records::default()).collect();
        let (mut newest, clock_max) = (Wall::default(), clock_max(SystemTime::now()));
        let (mut foreign, mut record_bytes) = (0usize, 0usize);
        let store = registry::open(data_dir.path(), |record| {
            if record.created <= clock_max {
                newest = newest.max(record.created);
            }
            record_bytes += record.bytes();
            let identity = Identity::of(&record.arn);
            foreign += usize::from(!matches!(placement.home(&identity, Now(0)), Home::Here(_)));
            let home = placement.shard(&identity);
            if let Some(records) = records.get_mut(home.index()) {
                records.push(record);
            }
        });
        let store = store.map_err(|error| Failure::Fatal(error.to_string()))?;
        let (mailboxes, status, room) = (Arc::clone(mailboxes), status.clone(), status.clone());
        let writer = store
            .start(
                move |done| tell(&mailboxes, &status, done),
                move || tell_health(&room, &Ok(())),
            )
            .map_err(|error| Failure::Fatal(error.to_string()))?;
        let channels: usize = records.iter().map(Records::len).sum();
        let ms = began.elapsed().as_millis();
        tracing::info!(channels, ms, "the registry was loaded");
        if foreign > 0 {
            tracing::warn!(
                channels = foreign,
                "the map assigns channels of this data directory to other nodes: clients cannot reach them"
            );
        }
        if record_bytes > record_bytes_total {
            tracing::warn!(
                record_bytes,
                record_bytes_total,
                "the channels take more memory than `[limits] record_bytes_total` allows: they are served, but new \
                 channels and tags are refused with 503 until it is raised or some are deleted"
            );
        }
        Ok(Self {
            writer,
            catalog: Arc::default(),
            records,
            newest,
        })
    }

    pub(crate) fn of(&mut self, shard: ShardId) -> (DurableStore, Records) {
        let store = DurableStore::new(shard, self.writer.committer());
        let records = self.records.get_mut(shard.index());
        (store, records.map(std::mem::take).unwrap_or_default())
    }

    pub(crate) fn committer(&self) -> Committer<Ticket> {
        self.writer.committer()
    }
}

/// Returns the latest plausible creation time. With `--dev`, clients choose the creation times in ARNs. Without this
/// limit, a single time in the far future would move the creation times of all later channels into the future.
fn clock_max(now: SystemTime) -> Wall {
    let latest = now + CLOCK_AHEAD_MAX;
    let since = latest.duration_since(UNIX_EPOCH).unwrap_or_default();
    Wall(u64::try_from(since.as_millis()).unwrap_or(0))
}

/// Reports a change's result to the shard that requested it. Runs on the store's thread.
fn tell(mailboxes: &[Mailbox<Post<Shard>>], status: &StatusBoard, done: Done<Ticket>) {
    tell_health(status, &done.result);
    let Ticket { shard, channel } = done.ticket;
    let letter = Letter::Committed(
        channel,
        done.result.map_err(|error| registry::not_kept(&error)),
    );
    post(mailboxes, shard.index(), Post::Letter(letter));
}

fn tell_health(status: &StatusBoard, result: &Result<(), CommitError>) {
    if status.set_store_failed(result.is_err()) {
        match result {
            Ok(()) => tracing::info!("the registry takes changes again"),
            Err(error) => tracing::error!(%error, "the registry takes no changes"),
        }
    }
}

/// Maximum amount by which the clock is assumed to have been set back while the server was not running.
const CLOCK_AHEAD_MAX: Duration = Duration::from_secs(24 * 60 * 60);
