//! The task that fetches: one of the side thread, for all providers whose keys are not in a file.

use crate::edge::clock::calendar;
use crate::providers::address::Reach;
use crate::providers::client::{Fetched, fetch};
use crate::providers::endpoints::Endpoints;
use crate::providers::kept::{Kept, KeptKeys};
use crate::providers::report::{ProviderReport, ProvidersReport};
use crate::providers::schedule::Schedule;
use broker_core::auth::Credentials;
use broker_core::auth::provider::{Discovery, KeySet, KeySource, Keyring, Provider, ProviderKeys};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// The keys of all providers that are asked for them. One per process that asks for signatures.
pub struct Fetcher {
    /// The credentials in force, which name the providers.
    in_force: InForce,
    /// Hands a snapshot to every shard.
    hand_over: Box<dyn Fn(Arc<Keyring>) + Send + Sync>,
    report: watch::Sender<ProvidersReport>,
    /// The same keys for the side thread, with the places at which people sign in.
    known: watch::Sender<Known>,
    directory: PathBuf,
    dev: bool,
    entries: BTreeMap<Box<str>, Entry>,
    flights: JoinSet<Landed>,
    began: Instant,
    /// Something changed since it was last published, at that moment of [`Self::now`].
    is_news: bool,
    published: Option<u64>,
}

struct Entry {
    provider: Arc<Provider>,
    schedule: Schedule,
    /// The wish of shards, and the last good keys.
    ring: ProviderKeys,
    keys: Option<Arc<KeySet>>,
    kept: Option<KeptKeys>,
    /// As of the last good fetch of this process.
    endpoints: Option<Result<Endpoints, String>>,
    fetches: [u64; 2],
    error: Option<String>,
}

/// The latest knowledge of providers that are asked for their keys.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// Their keys.
    pub keyring: Arc<Keyring>,
    /// The places at which people sign in, by issuer, or why they cannot.
    pub endpoints: BTreeMap<Box<str>, Result<Endpoints, String>>,
}

/// The latest of what is known.
pub type Knowledge = watch::Receiver<Known>;

/// The end of a fetch.
struct Landed {
    issuer: Box<str>,
    outcome: Result<Fetched, String>,
}

/// The credentials in force.
type InForce = watch::Receiver<Arc<Credentials>>;

/// The latest figures of all providers.
pub type Figures = watch::Receiver<ProvidersReport>;

/// A fetcher, which is to be run on the side thread, and its figures.
pub(crate) fn fetcher(
    in_force: InForce,
    (directory, dev): (PathBuf, bool),
    hand_over: Box<dyn Fn(Arc<Keyring>) + Send + Sync>,
) -> (Fetcher, Figures, Knowledge) {
    let (report, figures) = watch::channel(ProvidersReport::default());
    let (known, knowledge) = watch::channel(Known::default());
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
    /// Works until the process ends.
    pub async fn run(mut self) {
        let mut kept = Kept::read(&self.directory).0;
        self.take_providers(&mut kept);
        loop {
            self.let_old_keys_go();
            self.launch();
            self.publish();
            let has_work = self.is_news || !self.entries.is_empty();
            tokio::select! {
                Some(landed) = self.flights.join_next(), if !self.flights.is_empty() => {
                    if let Ok(landed) = landed {
                        self.landed(landed).await;
                    }
                }
                changed = self.in_force.changed() => {
                    if changed.is_err() {
                        return; // the process ends
                    }
                    self.take_providers(&mut kept);
                }
                () = tokio::time::sleep(LOOK_EVERY), if has_work => {}
            }
        }
    }

    /// Takes the providers of the credentials in force. Keys of those that stay are kept; those that changed are asked
    /// again at once.
    fn take_providers(&mut self, kept: &mut BTreeMap<Box<str>, KeptKeys>) {
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
                known.unwrap_or_else(|| Entry::new(provider, kept.remove(&provider.issuer)));
            if entry.provider.keys != provider.keys {
                entry.schedule.restart();
            }
            entry.provider = Arc::clone(provider);
            self.entries.insert(provider.issuer.clone(), entry);
        }
        self.is_news = true;
    }

    /// Begins what is due.
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
            let discovery: Discovery = discovery.clone();
            self.flights.spawn(async move {
                let outcome = fetch(&provider, discovery, reach).await;
                Landed { issuer, outcome }
            });
        }
    }

    async fn landed(&mut self, Landed { issuer, outcome }: Landed) {
        let now = self.now();
        let Some(entry) = self.entries.get_mut(&issuer) else {
            return; // it was taken out of the file meanwhile
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

    /// Keys of providers that have been silent for too long serve no more.
    fn let_old_keys_go(&mut self) {
        let now_s = now_s();
        for (issuer, entry) in &mut self.entries {
            if entry.keys.is_some() && !entry.kept.as_ref().is_some_and(|kept| kept.serves(now_s)) {
                tracing::error!(%issuer, "its last keys are a day old: its tokens let nobody in until it answers");
                entry.keys = None;
                self.is_news = true;
            }
        }
    }

    /// Hands the keys to the shards, and the figures to who reads them, if there is news: once in a while only, since
    /// each is a letter to every shard.
    fn publish(&mut self) {
        let now = self.now();
        if !self.is_news || self.published.is_some_and(|at| now < at + PUBLISH_EVERY_MS) {
            return;
        }
        (self.is_news, self.published) = (false, Some(now));
        let rings = self
            .entries
            .iter()
            .map(|(issuer, entry)| (issuer.clone(), entry.ring.with(entry.keys.clone())));
        let keyring = Arc::new(Keyring::of(rings));
        (self.hand_over)(Arc::clone(&keyring));
        let endpoints = self
            .entries
            .iter()
            .filter_map(|(issuer, entry)| Some((issuer.clone(), entry.endpoints.clone()?)));
        let endpoints = endpoints.collect();
        self.known.send_replace(Known { keyring, endpoints });
        let providers = self.entries.values().map(Entry::report);
        let providers = providers.collect();
        self.report.send_replace(ProvidersReport { providers });
    }

    /// Writes the last good keys of all providers where a later process finds them.
    async fn keep(&self) {
        let kept = self
            .entries
            .iter()
            .filter_map(|(issuer, entry)| Some((issuer.clone(), entry.kept.clone()?)));
        let (kept, directory) = (Kept(kept.collect()), self.directory.clone());
        let written = tokio::task::spawn_blocking(move || kept.write(&directory)).await;
        let error = match written {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error.to_string(),
            Err(error) => error.to_string(),
        };
        tracing::warn!("keys of providers are not kept for a restart: {error}");
    }

    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

impl Entry {
    fn new(provider: &Arc<Provider>, kept: Option<KeptKeys>) -> Self {
        let kept = kept.filter(|kept| kept.serves(now_s()));
        let keys = kept
            .as_ref()
            .and_then(|kept| KeySet::parse(kept.keys.as_bytes()).ok());
        Self {
            provider: Arc::clone(provider),
            schedule: Schedule::default(),
            ring: ProviderKeys::default(),
            keys: keys.map(Arc::new),
            kept,
            endpoints: None,
            fetches: [0; 2],
            error: None,
        }
    }

    /// Takes the outcome of a fetch. What fails leaves the last good keys.
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
                    tracing::info!(%issuer, keys = count, dropped, "keys of a provider in force");
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
    /// Whether they are young enough. Those of a time to come are not: the clock was wrong then or is now.
    fn serves(&self, now_s: u64) -> bool {
        (self.fetched_s..=self.fetched_s.saturating_add(SERVES_S)).contains(&now_s)
    }
}

/// Now, in seconds since 1970 UTC.
fn now_s() -> u64 {
    calendar().0 / 1000
}

/// Wishes of shards are looked for as often.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Shards get letters at most as often.
const PUBLISH_EVERY_MS: u64 = 500;

/// Providers that are asked at the same time; each is asked once at a time.
const FLIGHTS_MAX: usize = 8;

/// Time for which the last good keys serve while their provider does not answer, in seconds.
const SERVES_S: u64 = 24 * 60 * 60;
