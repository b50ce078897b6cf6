//! The memory of etcd in the data directory, written as it changes.

use crate::directory::{self, Directory, Kept};
use crate::driver::event::{Event, Events};
use crate::limits::{NOTE_EVERY, REMEMBER_MS};
use crate::system::now;
use broker_core::cluster::Memory;
use broker_core::time::Now;
use std::time::Duration;
use tracing::warn;

/// The contents of the directory, and those that are being written to it.
#[derive(Debug)]
pub(crate) struct Keeping {
    directory: Directory,
    kept: Kept,
    writing: Option<Kept>,
    last: Now,
    /// When the log last said that it cannot be written.
    noted: Option<Now>,
    events: Events,
}

impl Keeping {
    pub(crate) fn new(directory: Directory, kept: Kept, events: Events) -> Self {
        Self {
            directory,
            kept,
            writing: None,
            last: Now(0),
            noted: None,
            events,
        }
    }

    /// Writes the data directory when something changed: at once, or once a second if only the revision rose.
    /// `cluster` is the cluster's id, as far as it is known.
    pub(crate) fn remember(&mut self, memory: Memory, cluster: Option<Box<str>>) {
        let wanted = self.kept.with(memory).with_cluster(cluster);
        if self.writing.is_some() || wanted == self.kept {
            return;
        }
        let is_important = !wanted.differs_by_revision(&self.kept);
        if !is_important && now().since(self.last) < REMEMBER_MS {
            return;
        }
        self.last = now();
        self.writing = Some(wanted.clone());
        let path = self.directory.path().to_owned();
        self.events.spawn(async move {
            let write = move || directory::write(&path, &wanted, is_important);
            Event::Kept(match tokio::task::spawn_blocking(write).await {
                Ok(result) => result.map_err(|error| error.to_string().into()),
                Err(error) => Err(error.to_string().into()),
            })
        });
    }

    /// A write has ended. One that failed is tried again with the next tick.
    pub(crate) fn written(&mut self, result: Result<(), Box<str>>) {
        let written = self.writing.take();
        match result {
            Ok(()) => self.kept = written.unwrap_or_else(|| self.kept.clone()),
            Err(why) => self.note(&why),
        }
    }

    fn note(&mut self, why: &str) {
        let now = now();
        let is_recent = |at: Now| Duration::from_millis(now.since(at)) < NOTE_EVERY;
        if !self.noted.is_some_and(is_recent) {
            self.noted = Some(now);
            let path = self.directory.path().display();
            warn!("{path}: what is known of etcd cannot be kept for the next start: {why}");
        }
    }
}
