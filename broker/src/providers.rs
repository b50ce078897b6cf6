//! The keys of OpenID providers. They are fetched from the providers, stored on disk for a restart, and passed to the
//! shards.
//!
//! ```text
//!  shards ── wish for newer keys ──► Fetcher ── when: Schedule ──► client ──► discovery document ──► keys
//!                                       │                           Reach: permitted addresses
//!                                       ├──► Kept: a file of the data directory
//!                                       └──► shards: a Keyring in a letter; ProvidersReport: metrics
//! ```
//! Addresses never come from a token. The operator configures the issuer. The issuer's document contains the address of
//! its keys, which must be on the issuer's host or on another configured host. Redirects are not followed, and proxies
//! are not used.
//!
//! Source: OpenID Connect Discovery 1.0, section 4, "Obtaining OpenID Provider Configuration Information".

mod client;
mod discovery;
pub(crate) mod exchange;

use crate::edge::turn::calendar;
use crate::files;
use crate::outbound::Reach;
use broker_core::auth::Credentials;
use broker_core::auth::provider::{KeySet, KeySource, Keyring, Provider, ProviderKeys};
use broker_core::limits::{KEY_SET_BYTES_MAX, PROVIDERS_MAX};
use client::{Fetched, fetch};
pub use discovery::SignInEndpoints;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::task::JoinSet;

// The fetcher, a task on the side thread. It serves all providers whose keys are not in a file.

/// Fetches the keys of all providers that use discovery. Each process that checks signatures has one fetcher.
pub struct Fetcher {
    in_force: InForce,
    /// Passes a snapshot of the keys to every shard.
    hand_over: Box<dyn Fn(Arc<Keyring>) + Send + Sync>,
    report: watch::Sender<ProvidersReport>,
    known: watch::Sender<KnownProviders>,
    directory: PathBuf,
    dev: bool,
    entries: BTreeMap<Box<str>, FetchEntry>,
    flights: JoinSet<(Box<str>, Result<Fetched, String>)>,
    began: Instant,
    /// Whether there are unpublished changes. `published` is the time of the last publication, as returned by
    /// [`Self::now`].
    is_news: bool,
    published: Option<u64>,
}

struct FetchEntry {
    provider: Arc<Provider>,
    schedule: FetchSchedule,
    /// The shards' requests for newer keys, and the last valid keys.
    ring: ProviderKeys,
    keys: Option<Arc<KeySet>>,
    kept: Option<KeptKeys>,
    /// The sign-in endpoints from the last successful fetch, or why there are none.
    endpoints: Option<Result<SignInEndpoints, String>>,
    fetches: [u64; 2],
    error: Option<String>,
}

/// Keys and endpoints of providers that use discovery.
#[derive(Clone, Debug, Default)]
pub struct KnownProviders {
    /// All providers' keys.
    pub keyring: Arc<Keyring>,
    /// Sign-in endpoints by issuer, or why there are none.
    pub endpoints: BTreeMap<Box<str>, Result<SignInEndpoints, String>>,
}

/// Receives the latest [`KnownProviders`].
pub type Knowledge = watch::Receiver<KnownProviders>;

type InForce = watch::Receiver<Arc<Credentials>>;

/// Receives the latest statistics of all providers.
pub type ProviderFigures = watch::Receiver<ProvidersReport>;

/// Creates the fetcher, which runs on the side thread, and the receivers of its statistics and results.
pub(crate) fn fetcher(
    in_force: InForce,
    (directory, dev): (PathBuf, bool),
    hand_over: Box<dyn Fn(Arc<Keyring>) + Send + Sync>,
) -> (Fetcher, ProviderFigures, Knowledge) {
    let (report, figures) = watch::channel(ProvidersReport::default());
    let (known, knowledge) = watch::channel(KnownProviders::default());
    let fetcher = Fetcher {
        in_force,
        hand_over,
        report,
        known,
        directory,
        dev,
        entries: BTreeMap::new(),
        flights: JoinSet::new(),
        began: Instant::now(),
        is_news: false,
        published: None,
    };
    (fetcher, figures, knowledge)
}

impl Fetcher {
    /// Runs the fetcher until the process exits.
    pub async fn run(mut self) {
        let mut kept = read_kept(&self.directory);
        self.take_providers(&mut kept);
        loop {
            self.let_old_keys_go();
            self.launch();
            self.publish();
            let has_work = self.is_news || !self.entries.is_empty();
            tokio::select! {
                Some(landed) = self.flights.join_next(), if !self.flights.is_empty() => {
                    if let Ok((issuer, outcome)) = landed {
                        self.landed(issuer, outcome).await;
                    }
                }
                changed = self.in_force.changed() => {
                    if changed.is_err() {
                        return; // the process is ending
                    }
                    self.take_providers(&mut kept);
                }
                () = tokio::time::sleep(LOOK_EVERY), if has_work => {}
            }
        }
    }

    /// Applies the providers of the current credentials. Unchanged providers keep their keys. Changed ones are fetched
    /// immediately.
    fn take_providers(&mut self, kept: &mut KeptKeySets) {
        let credentials = Arc::clone(&self.in_force.borrow_and_update());
        let mut before = std::mem::take(&mut self.entries);
        if before.is_empty() && credentials.providers().next().is_none() {
            return;
        }
        for provider in credentials.providers() {
            if !matches!(provider.keys, KeySource::Discovery(_)) {
                continue;
            }
            let known = before.remove(&provider.issuer);
            let mut entry =
                known.unwrap_or_else(|| FetchEntry::new(provider, kept.remove(&provider.issuer)));
            if entry.provider.keys != provider.keys {
                entry.schedule.restart();
            }
            entry.provider = Arc::clone(provider);
            self.entries.insert(provider.issuer.clone(), entry);
        }
        self.is_news = true;
    }

    fn launch(&mut self) {
        let now = self.now();
        for (issuer, entry) in &mut self.entries {
            if entry.ring.take_wish() {
                entry.schedule.wish(now);
            }
            let provider = Arc::clone(&entry.provider);
            let KeySource::Discovery(discovery) = &provider.keys else {
                continue;
            };
            if self.flights.len() == FLIGHTS_MAX || !entry.schedule.begin(now) {
                continue;
            }
            let (issuer, reach) = (issuer.clone(), Reach::of(discovery.private, self.dev));
            let discovery = discovery.clone();
            let fetched = async move { (issuer, fetch(&provider, discovery, reach).await) };
            self.flights.spawn(fetched);
        }
    }

    async fn landed(&mut self, issuer: Box<str>, outcome: Result<Fetched, String>) {
        let now = self.now();
        let Some(entry) = self.entries.get_mut(&issuer) else {
            return; // removed from the file in the meantime
        };
        let is_good = outcome.is_ok();
        if !entry.schedule.ended(now, is_good) {
            return;
        }
        entry.take(outcome);
        if is_good {
            self.keep().await;
        }
        self.is_news = true;
    }

    /// Drops the keys of providers that have not responded for [`SERVES_S`].
    fn let_old_keys_go(&mut self) {
        let now_s = now_s();
        for (issuer, entry) in &mut self.entries {
            if entry.keys.is_some() && !entry.kept.as_ref().is_some_and(|kept| kept.serves(now_s)) {
                tracing::error!(%issuer, "its last keys are a day old: its tokens are refused until it answers");
                entry.keys = None;
                self.is_news = true;
            }
        }
    }

    /// Publishes changes to the shards and the metrics, but at most once per [`PUBLISH_EVERY_MS`], since each
    /// publication sends a message to every shard.
    fn publish(&mut self) {
        let now = self.now();
        if !self.is_news || self.published.is_some_and(|at| now < at + PUBLISH_EVERY_MS) {
            return;
        }
        (self.is_news, self.published) = (false, Some(now));
        let entries = || self.entries.iter();
        let rings = entries().map(|(name, it)| (name.clone(), it.ring.with(it.keys.clone())));
        let keyring = Arc::new(Keyring::of(rings));
        (self.hand_over)(Arc::clone(&keyring));
        let found = entries().filter_map(|(name, it)| Some((name.clone(), it.endpoints.clone()?)));
        let endpoints = found.collect();
        self.known
            .send_replace(KnownProviders { keyring, endpoints });
        let providers = self.entries.values().map(FetchEntry::report);
        let providers = providers.collect();
        self.report.send_replace(ProvidersReport { providers });
    }

    async fn keep(&self) {
        let entries = self.entries.iter();
        let kept = entries.filter_map(|(name, it)| Some((name.clone(), it.kept.clone()?)));
        let (kept, directory): (KeptKeySets, _) = (kept.collect(), self.directory.clone());
        let written = tokio::task::spawn_blocking(move || write_kept(&kept, &directory)).await;
        let error = match written {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error.to_string(),
            Err(error) => error.to_string(),
        };
        tracing::warn!("keys of providers cannot be saved for the next start: {error}");
    }

    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

impl FetchEntry {
    fn new(provider: &Arc<Provider>, kept: Option<KeptKeys>) -> Self {
        let kept = kept.filter(|kept| kept.serves(now_s()));
        let keys = kept
            .as_ref()
            .and_then(|kept| KeySet::parse(kept.keys.as_bytes()).ok());
        Self {
            provider: Arc::clone(provider),
            schedule: FetchSchedule::default(),
            ring: ProviderKeys::default(),
            keys: keys.map(Arc::new),
            kept,
            endpoints: None,
            fetches: [0; 2],
            error: None,
        }
    }

    /// Applies a fetch's outcome. After a failed fetch, the last valid keys are kept.
    fn take(&mut self, outcome: Result<Fetched, String>) {
        let issuer = &self.provider.issuer;
        match outcome {
            Ok(Fetched {
                text,
                keys,
                endpoints,
            }) => {
                self.endpoints = Some(endpoints);
                let (count, dropped) = (keys.len(), keys.dropped());
                if self.error.take().is_some() || self.keys.as_deref() != Some(&keys) {
                    tracing::info!(%issuer, keys = count, dropped, "loaded the keys of a provider");
                }
                self.kept = Some(KeptKeys {
                    fetched_s: now_s(),
                    keys: String::from_utf8_lossy(&text).into_owned(),
                });
                self.keys = Some(Arc::new(keys));
                self.fetches[0] += 1;
            }
            Err(error) => {
                if self.error.as_ref() != Some(&error) {
                    tracing::warn!(%issuer, "no keys of the provider: {error}");
                }
                self.error = Some(error);
                self.fetches[1] += 1;
            }
        }
    }

    fn report(&self) -> ProviderReport {
        ProviderReport {
            issuer: self.provider.issuer.clone(),
            keys: self.keys.as_ref().map_or(0, |keys| keys.len()),
            fetches: self.fetches,
            fetched_s: self.kept.as_ref().map(|kept| kept.fetched_s),
            error: self.error.clone(),
        }
    }
}

impl KeptKeys {
    /// Returns whether the keys are recent enough to be used. Keys fetched in the future, according to the current
    /// clock, do not count as recent.
    fn serves(&self, now_s: u64) -> bool {
        (self.fetched_s..=self.fetched_s.saturating_add(SERVES_S)).contains(&now_s)
    }
}

fn now_s() -> u64 {
    calendar().0 / 1000
}

/// How often the shards' requests for newer keys are polled.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Minimum interval in milliseconds between messages to the shards.
const PUBLISH_EVERY_MS: u64 = 500;

/// Maximum number of concurrent fetches, each for a different provider.
const FLIGHTS_MAX: usize = 8;

/// How long keys remain in use while their provider does not respond, in seconds.
const SERVES_S: u64 = 24 * 60 * 60;

// The fetch schedule: a state machine that works with any clock. Times are in milliseconds.

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct FetchSchedule {
    /// The time when the next fetch is due. 0 means immediately.
    due: u64,
    began: Option<u64>,
    in_flight: bool,
    /// Whether the fetch in flight was started for an entry that has since been replaced.
    is_stale: bool,
    /// Start of the hour for which `at_once` counts the requests that were served immediately.
    hour: Option<u64>,
    at_once: u8,
}

impl FetchSchedule {
    pub(crate) fn begin(&mut self, now: u64) -> bool {
        if self.in_flight || now < self.due {
            return false;
        }
        self.in_flight = true;
        self.is_stale = false;
        self.began = Some(now);
        true
    }

    /// Records the end of a fetch. Returns `false` if its outcome is stale.
    pub(crate) fn ended(&mut self, now: u64, well: bool) -> bool {
        self.in_flight = false;
        if self.is_stale {
            return false;
        }
        self.due = now + if well { EVERY_MS } else { AGAIN_MS };
        true
    }

    /// Schedules an immediate fetch for an entry that has been replaced.
    fn restart(&mut self) {
        self.due = 0;
        self.is_stale = self.in_flight;
    }

    /// Requests newer keys. At most one request per minute leads to a fetch. In addition, up to [`AT_ONCE_MAX`]
    /// requests per hour are fetched immediately, because keys may change right after a fetch.
    pub(crate) fn wish(&mut self, now: u64) {
        if self.in_flight || self.due <= now {
            return;
        }
        let soonest = self.began.map_or(0, |began| began + WISH_MS);
        if soonest > now && self.hour.is_none_or(|began| now >= began + EVERY_MS) {
            (self.hour, self.at_once) = (Some(now), 0);
        }
        if soonest > now && self.at_once < AT_ONCE_MAX {
            self.at_once += 1;
            self.due = now;
        }
        self.due = self.due.min(soonest.max(now));
    }
}

const EVERY_MS: u64 = 60 * 60 * 1000;

const AGAIN_MS: u64 = 30_000;

/// Minimum interval between fetches caused by unknown keys, in milliseconds. Does not apply to [`AT_ONCE_MAX`] of these
/// fetches per hour.
const WISH_MS: u64 = 60_000;

const AT_ONCE_MAX: u8 = 3;

const _: () = assert!(AGAIN_MS < WISH_MS && WISH_MS < EVERY_MS);

// Stored keys. Each provider's last valid keys are kept in a file in the data directory, so that users can still sign
// in if a provider is down after a restart.
//
// The keys are public, but anyone who can write to the file decides who may sign in. The file therefore has mode 0600.

/// The stored keys, by issuer.
type KeptKeySets = BTreeMap<Box<str>, KeptKeys>;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct KeptKeys {
    fetched_s: u64,
    keys: String,
}

/// Loads the keys that an earlier process stored. If the file is unreadable, logs this and returns no keys.
fn read_kept(directory: &Path) -> KeptKeySets {
    let path = directory.join(FILE);
    if !path.exists() {
        return KeptKeySets::new();
    }
    let read = files::read_regular_text(&path, BYTES_MAX).map_err(io::Error::from);
    let parsed = read.and_then(|read| Ok(serde_json::from_str(&read.content)?));
    parsed.unwrap_or_else(|error| {
        tracing::warn!(path = %path.display(), "saved keys of providers are ignored: {error}");
        KeptKeySets::new()
    })
}

/// Stores the keys, replacing any previously stored ones. If the file cannot be written, returns an error and preserves
/// the previous content.
fn write_kept(kept: &KeptKeySets, directory: &Path) -> io::Result<()> {
    let text = serde_json::to_string(kept).map_err(io::Error::other)?;
    files::write_whole(&directory.join(FILE), &text, 0o600)
}

const FILE: &str = "oidc-keys.json";

/// Maximum file size in bytes. As JSON text, keys take up to twice their size.
const BYTES_MAX: usize = 2 * PROVIDERS_MAX * (KEY_SET_BYTES_MAX + 512);

// Statistics of the providers whose keys are fetched.

/// All providers' statistics, sorted by issuer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProvidersReport {
    /// One entry per provider.
    pub providers: Vec<ProviderReport>,
}

/// A provider's statistics.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProviderReport {
    /// The issuer, without `https://`.
    pub issuer: Box<str>,
    /// Number of the provider's keys that are in use.
    pub keys: usize,
    /// Number of successful fetches, and number of failed ones.
    pub fetches: [u64; 2],
    /// Time of the last successful fetch, in seconds since 1970 UTC.
    pub fetched_s: Option<u64>,
    /// The last fetch's error, if it failed.
    pub error: Option<String>,
}

#[cfg(test)]
mod schedule_tests {
    use super::*;

    #[test]
    fn an_hour_after_good_keys_and_half_a_minute_after_none() {
        let mut one = FetchSchedule::default();
        assert!(one.begin(5));
        assert!(!one.begin(6), "one request at a time");
        let _ = one.ended(10, true);
        assert!(!one.begin(10 + EVERY_MS - 1));
        assert!(one.begin(10 + EVERY_MS));
        let _ = one.ended(4_000_000, false);
        assert!(!one.begin(4_000_000 + AGAIN_MS - 1) && one.begin(4_000_000 + AGAIN_MS));
    }

    #[test]
    fn the_outcome_of_an_entry_that_was_replaced_does_not_count() {
        let mut one = FetchSchedule::default();
        assert!(one.begin(5));
        one.restart();
        assert!(!one.begin(6));
        assert!(!one.ended(10, true));
        assert!(one.begin(10) && one.ended(20, true));
        assert!(!one.begin(21));
        one.restart();
        assert!(one.begin(22));
    }

    #[test]
    fn wishes_are_met_at_once_three_times_an_hour_and_else_once_a_minute() {
        let mut one = FetchSchedule::default();
        assert!(one.begin(0));
        one.wish(50);
        let _ = one.ended(100, true);
        assert!(!one.begin(150), "the fetch was under way");
        for at in [200, 300, 400] {
            for _ in 0..1000 {
                one.wish(at); // all of them count as one
            }
            assert!(one.begin(at));
            let _ = one.ended(at + 50, true);
        }
        one.wish(500);
        assert!(!one.begin(400 + WISH_MS - 1));
        assert!(one.begin(400 + WISH_MS));
        let _ = one.ended(WISH_MS + 500, true);
        assert!(!one.begin(3 * WISH_MS), "nobody wished since");
        one.wish(3 * WISH_MS);
        assert!(one.begin(3 * WISH_MS), "a minute was over");
        let _ = one.ended(3 * WISH_MS + 50, true);
        // One hour after the first immediate fetch, three more are allowed. Before them, there is a fetch that was due
        // anyway.
        for at in [200, 300, 400, 500].map(|at| at + EVERY_MS) {
            one.wish(at);
            assert!(one.begin(at), "{at}");
            let _ = one.ended(at + 50, true);
        }
        one.wish(EVERY_MS + 600);
        assert!(!one.begin(EVERY_MS + 700));
    }
}

#[cfg(test)]
mod kept_tests {
    use super::*;
    use std::fs;

    #[test]
    fn what_is_kept_is_read_again() {
        let directory = testkit::Directory::temporary();
        assert_eq!(read_kept(&directory), KeptKeySets::new());
        let keys = KeptKeys {
            fetched_s: 7,
            keys: "{\"keys\": []}".into(),
        };
        let kept = [("id.example.com".into(), keys)].into();
        write_kept(&kept, &directory).unwrap();
        assert_eq!(read_kept(&directory), kept);
        fs::write(directory.join(FILE), "{").unwrap();
        assert_eq!(read_kept(&directory), KeptKeySets::new());
    }
}
