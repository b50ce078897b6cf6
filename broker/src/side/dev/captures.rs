//! Copies of messages for `/dev/messages`: the queue of new copies from the shards, and the store of recent copies.
//!
//! ```text
//!  a shard's Capture ── Captured ──► one bounded queue ──► drained by each request, and by a task ──► NewestCopies
//! ```
//! Shards never wait: if the queue is full, copies are dropped and counted. A message is copied before it is sent, so
//! its copy is available by the time the client has received it.

use broker_core::shard::{Capture, Captured};
use crossbeam_channel::{Receiver, Sender, bounded};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use tokio::sync::{Mutex, Notify};

/// The queue and the store of copies. Clones share them.
#[derive(Clone)]
pub struct Captures(Arc<SharedCaptures>);

struct SharedCaptures {
    to: Sender<Captured>,
    from: Receiver<Captured>,
    queued_bytes: AtomicUsize,
    missed: AtomicU64,
    kept: Mutex<NewestCopies>,
    news: Notify,
}

#[derive(Debug, Default)]
pub(crate) struct NewestCopies {
    rows: VecDeque<(u64, Captured)>,
    bytes: usize,
    last: u64,
}

impl Default for Captures {
    fn default() -> Self {
        let (to, from) = bounded(QUEUED_MAX);
        Self(Arc::new(SharedCaptures {
            to,
            from,
            queued_bytes: AtomicUsize::new(0),
            missed: AtomicU64::new(0),
            kept: Mutex::default(),
            news: Notify::new(),
        }))
    }
}

impl Captures {
    /// Returns the handle with which a shard delivers its copies.
    #[must_use]
    pub fn of_shard(&self) -> Box<dyn Capture> {
        Box::new(self.clone())
    }

    /// Moves copies from the queue to the store, so that the queue does not fill up and the newest copies are kept.
    /// Runs for the lifetime of the process.
    pub(crate) async fn keep_all(self) {
        loop {
            let news = self.0.news.notified();
            self.with(|_| ()).await;
            news.await;
        }
    }

    pub(crate) fn news(&self) -> tokio::sync::futures::Notified<'_> {
        self.0.news.notified()
    }

    /// Moves all queued copies to the store, then calls `use_kept` with the store.
    pub(crate) async fn with<T>(&self, use_kept: impl FnOnce(&mut NewestCopies) -> T) -> T {
        let mut kept = self.0.kept.lock().await;
        while let Ok(copy) = self.0.from.try_recv() {
            let order = Ordering::Relaxed;
            self.0.queued_bytes.fetch_sub(size(&copy), order);
            kept.push(copy);
        }
        use_kept(&mut kept)
    }

    /// Returns how many copies were dropped because of the rate limit or a full queue.
    pub(crate) fn missed(&self) -> u64 {
        self.0.missed.load(Ordering::Relaxed)
    }
}

impl Capture for Captures {
    fn take(&mut self, copy: Captured) {
        let (bytes, order) = (size(&copy), Ordering::Relaxed);
        let room = |queued: usize| (queued + bytes <= QUEUED_BYTES_MAX).then_some(queued + bytes);
        let fits = self.0.queued_bytes.fetch_update(order, order, room);
        if fits.is_err() {
            return self.missed(1);
        }
        if self.0.to.try_send(copy).is_err() {
            self.0.queued_bytes.fetch_sub(bytes, order);
            return Capture::missed(self, 1);
        }
        self.0.news.notify_waiters();
    }

    fn missed(&mut self, messages: u64) {
        self.0.missed.fetch_add(messages, Ordering::Relaxed);
    }
}

impl NewestCopies {
    fn push(&mut self, copy: Captured) {
        self.last += 1;
        self.bytes += size(&copy);
        self.rows.push_back((self.last, copy));
        while self.rows.len() > KEPT_MAX || self.bytes > KEPT_BYTES_MAX {
            let Some((_, oldest)) = self.rows.pop_front() else {
                return;
            };
            self.bytes -= size(&oldest);
        }
    }

    /// Returns the copies whose number is greater than `number`, from oldest to newest.
    pub(crate) fn after(&self, number: u64) -> impl Iterator<Item = &(u64, Captured)> {
        let first = self.rows.partition_point(|(other, _)| *other <= number);
        self.rows.range(first..)
    }

    pub(crate) fn forget(&mut self, which: impl Fn(&Captured) -> bool) -> usize {
        let before = self.rows.len();
        self.rows.retain(|(_, copy)| !which(copy));
        self.bytes = self.rows.iter().map(|(_, copy)| size(copy)).sum();
        before - self.rows.len()
    }

    pub(crate) fn last(&self) -> u64 {
        self.last
    }
}

fn size(copy: &Captured) -> usize {
    size_of::<Captured>() + copy.channel.len() + copy.viewer.len() + copy.payload.len()
}

const QUEUED_MAX: usize = 1024;

const QUEUED_BYTES_MAX: usize = 16 << 20;

/// Maximum number of copies in the store. If there are more, the oldest are evicted.
const KEPT_MAX: usize = 2000;

const KEPT_BYTES_MAX: usize = 16 << 20;

#[cfg(test)]
mod tests {
    use super::*;
    use broker_core::shard::Fate;
    use broker_core::time::Wall;

    pub(crate) fn copy(channel: &str, payload_bytes: usize) -> Captured {
        Captured {
            at: Wall(0),
            channel: channel.into(),
            towards: None,
            viewer: "v1".into(),
            action: None,
            payload: "A".repeat(payload_bytes).into(),
            fate: Fate::Kept,
        }
    }

    #[test]
    fn the_newest_are_kept_by_number_and_by_bytes() {
        let mut kept = NewestCopies::default();
        for _ in 0..KEPT_MAX + 5 {
            kept.push(copy("a", 4));
        }
        let numbers: Vec<u64> = kept.after(0).map(|(number, _)| *number).collect();
        assert_eq!((numbers.len(), numbers[0]), (KEPT_MAX, 6));
        assert_eq!(kept.after(kept.last() - 1).count(), 1);
        for _ in 0..20 {
            kept.push(copy("b", 1 << 20));
        }
        assert_eq!(kept.after(0).count(), 15, "16 MiB with what is around them");
        assert!(kept.bytes <= KEPT_BYTES_MAX);
        assert_eq!(kept.forget(|copy| &*copy.channel == "b"), 15);
        assert_eq!((kept.after(0).count(), kept.bytes), (0, 0));
    }

    #[tokio::test]
    async fn a_full_queue_loses_and_counts() {
        let captures = Captures::default();
        let mut shard = captures.of_shard();
        for _ in 0..QUEUED_MAX + 3 {
            shard.take(copy("a", 4));
        }
        assert_eq!(captures.missed(), 3);
        assert_eq!(
            captures.with(|kept| kept.after(0).count()).await,
            QUEUED_MAX
        );
        for _ in 0..20 {
            shard.take(copy("a", 1 << 20));
        }
        assert_eq!(captures.missed(), 3 + 5, "16 MiB with what is around them");
    }
}
