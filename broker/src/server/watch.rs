//! The main thread once everything runs: it waits for signals and for what shards tell, and ends the process in order.

use super::{Failure, fatal};
use crate::config::TlsFiles;
use crate::edge::{Post, ShardEvent, ShardHandle};
use crate::shard::{Letter, Shard};
use crate::side::{Command, Status, StatusBoard};
use crate::tls_files;
use crossbeam_channel::{Receiver, select};
use mailbox::Mailbox;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A running server, as the main thread sees it.
pub(super) struct Watch {
    pub(super) shards: Vec<ShardHandle>,
    pub(super) mailboxes: Arc<[Mailbox<Post<Shard>>]>,
    pub(super) status: StatusBoard,
    pub(super) told: Receiver<Command>,
    pub(super) happened: Receiver<ShardEvent>,
    /// What a reload reads again; `None` without a TLS listener.
    pub(super) certificate: Option<TlsFiles>,
    pub(super) drain_ms: u64,
}

/// What ended a wait.
enum News {
    Command(Command),
    Shard(ShardEvent),
    /// The wait's time is over.
    Late,
}

impl Watch {
    /// Waits for a signal, then drains, stops and joins the shards.
    pub(super) fn until_the_end(self) -> Result<(), Failure> {
        self.serve()?;
        self.status.set(Status::Draining);
        tracing::info!(within_ms = self.drain_ms, "draining");
        self.post_to_all(|| Post::Letter(Letter::Drain(self.drain_ms)));
        let drained = self.wait_for_all(
            Duration::from_millis(self.drain_ms) + DRAIN_SLACK,
            |event| match event {
                ShardEvent::Drained(_) => true,
                ShardEvent::Ended(_) => false,
            },
        )?;
        if !drained {
            tracing::warn!("not every shard drained in time");
        }
        self.post_to_all(|| Post::Stop);
        let ended = self.wait_for_all(STOP_MAX, |event| match event {
            ShardEvent::Drained(_) => false,
            ShardEvent::Ended(_) => true,
        })?;
        if !ended {
            return Err(Failure::Fatal(
                "not every shard ended in time; connections were cut off".into(),
            ));
        }
        for (shard, handle) in self.shards.into_iter().enumerate() {
            handle
                .join()
                .map_err(|error| fatal(&format!("shard {shard} ended badly"), &error))?;
        }
        tracing::info!("ended");
        Ok(())
    }

    /// Until the first signal to end.
    fn serve(&self) -> Result<(), Failure> {
        loop {
            match self.next(None) {
                News::Command(Command::End) => return Ok(()),
                News::Command(Command::Reload) => self.reload(),
                News::Shard(ShardEvent::Drained(_)) | News::Late => {}
                News::Shard(ShardEvent::Ended(id)) => return Err(died(id.0)),
            }
        }
    }

    /// Until every shard has told what `wanted` knows, or `limit` is over: whether they all have.
    fn wait_for_all(
        &self,
        limit: Duration,
        wanted: impl Fn(ShardEvent) -> bool,
    ) -> Result<bool, Failure> {
        let until = Instant::now() + limit;
        let mut left = self.shards.len();
        while left > 0 {
            match self.next(Some(until)) {
                News::Command(Command::End) => return Err(Failure::Impatience),
                News::Command(Command::Reload) => {}
                News::Shard(event) if wanted(event) => left -= 1,
                News::Shard(ShardEvent::Drained(_)) => {}
                News::Shard(ShardEvent::Ended(id)) => return Err(died(id.0)),
                News::Late => return Ok(false),
            }
        }
        Ok(true)
    }

    fn next(&self, until: Option<Instant>) -> News {
        let limit = until.map_or(FOREVER, |until| {
            until.saturating_duration_since(Instant::now())
        });
        select! {
            recv(self.told) -> command => command.map_or(News::Late, News::Command),
            recv(self.happened) -> event => event.map_or(News::Late, News::Shard),
            default(limit) => News::Late,
        }
    }

    /// Reads the certificate again for connections from here on. A bad one changes nothing.
    fn reload(&self) {
        let Some(files) = &self.certificate else {
            return tracing::info!("nothing to reload");
        };
        match tls_files::server_config(files) {
            Ok(config) => {
                self.post_to_all(|| Post::Tls(Arc::clone(&config)));
                tracing::info!(cert = %files.cert.display(), "certificate reloaded");
            }
            Err(error) => tracing::error!("the certificate stays as it was: {error}"),
        }
    }

    fn post_to_all(&self, letter: impl Fn() -> Post<Shard>) {
        for (shard, mailbox) in self.mailboxes.iter().enumerate() {
            if mailbox.post_always(letter()).is_err() {
                tracing::error!(shard, "the mailbox is full");
            }
        }
    }
}

fn died(shard: u16) -> Failure {
    Failure::Fatal(format!(
        "shard {shard} died; the process ends, so that a supervisor starts it whole again"
    ))
}

/// Shards end their drain by themselves; this is for one that hangs.
const DRAIN_SLACK: Duration = Duration::from_secs(2);
/// Stop cuts connections off, so it takes no time to speak of.
const STOP_MAX: Duration = Duration::from_secs(5);
/// Long enough between two looks at nothing.
const FOREVER: Duration = Duration::from_secs(24 * 60 * 60);
