//! The keys of providers that were fetched: a snapshot for all shards, replaced whole.

use crate::auth::provider::{KeySet, KeySource, Provider};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// The keys of every provider that is asked for them, by issuer. One per process, shared as `Arc<Keyring>`.
#[derive(Clone, Debug, Default)]
pub struct Keyring {
    by_issuer: BTreeMap<Box<str>, ProviderKeys>,
}

/// The keys of one provider, and the wish for newer ones.
#[derive(Clone, Debug, Default)]
pub struct ProviderKeys {
    /// The last good ones; `None` before the first, and when they are too old.
    keys: Option<Arc<KeySet>>,
    /// Set by shards, taken by the task that fetches; the same in each snapshot.
    wish: Arc<AtomicBool>,
}

impl Keyring {
    /// A snapshot of these.
    #[must_use]
    pub fn of(entries: impl IntoIterator<Item = (Box<str>, ProviderKeys)>) -> Self {
        Self {
            by_issuer: entries.into_iter().collect(),
        }
    }

    /// The keys of a provider in force, from its file or fetched.
    #[must_use]
    pub fn keys_of<'k>(&'k self, provider: &'k Provider) -> Option<&'k KeySet> {
        match &provider.keys {
            KeySource::File(keys) => Some(keys),
            KeySource::Discovery(_) => {
                let entry = self.by_issuer.get(&provider.issuer)?;
                entry.keys.as_deref()
            }
        }
    }

    /// Asks for newer keys of a provider: a token named one that is not known, and its other claims fit.
    pub fn wish(&self, provider: &Provider) {
        if let Some(entry) = self.by_issuer.get(&provider.issuer) {
            entry.wish.store(true, Ordering::Relaxed);
        }
    }
}

impl ProviderKeys {
    /// The same provider with these keys.
    #[must_use]
    pub fn with(&self, keys: Option<Arc<KeySet>>) -> Self {
        let wish = Arc::clone(&self.wish);
        Self { keys, wish }
    }

    /// Whether newer keys were asked for since the last call.
    #[must_use]
    pub fn take_wish(&self) -> bool {
        self.wish.swap(false, Ordering::Relaxed)
    }
}
