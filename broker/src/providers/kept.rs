//! The last good keys of providers in a file of the data directory, so that a restart while a provider is down lets
//! nobody out.
//!
//! The keys are public, but who may write the file decides who is let in: it is as private as the directory.

use crate::files;
use broker_core::limits::{KEY_SET_BYTES_MAX, PROVIDERS_MAX};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io;
use std::path::Path;

/// The kept keys, by issuer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Kept(pub(crate) BTreeMap<Box<str>, KeptKeys>);

/// The keys of one provider.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct KeptKeys {
    /// When they were fetched, in seconds since 1970 UTC.
    pub(crate) fetched_s: u64,
    /// As they were published.
    pub(crate) keys: String,
}

impl Kept {
    /// The keys that an earlier process kept; none if they cannot be read, which is logged.
    pub(crate) fn read(directory: &Path) -> Self {
        let path = directory.join(FILE);
        if !path.exists() {
            return Self::default();
        }
        let read = files::read_regular_text(&path, BYTES_MAX).map_err(|error| error.to_string());
        let parsed = read.and_then(|read| {
            serde_json::from_str(&read.content).map_err(|error| error.to_string())
        });
        parsed.unwrap_or_else(|error| {
            tracing::warn!(path = %path.display(), "kept keys of providers are not used: {error}");
            Self::default()
        })
    }

    /// Replaces the kept keys.
    ///
    /// # Errors
    /// The file cannot be written; what was there before stays.
    pub(crate) fn write(&self, directory: &Path) -> io::Result<()> {
        let text = serde_json::to_string(self).map_err(io::Error::other)?;
        files::write_whole(&directory.join(FILE), &text, 0o600)
    }
}

const FILE: &str = "oidc-keys.json";

/// Longest file: keys as text in JSON take up to twice their bytes.
const BYTES_MAX: usize = 2 * PROVIDERS_MAX * (KEY_SET_BYTES_MAX + 512);

#[cfg(test)]
mod tests {

    use super::*;
    use std::fs;

    #[test]
    fn what_is_kept_is_read_again() {
        let directory =
            std::env::temp_dir().join(format!("heliograph-kept-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        assert_eq!(Kept::read(&directory), Kept::default());
        let keys = KeptKeys {
            fetched_s: 7,
            keys: "{\"keys\": []}".into(),
        };
        let kept = Kept([("id.example.com".into(), keys)].into());
        kept.write(&directory).unwrap();
        assert_eq!(Kept::read(&directory), kept);
        fs::write(directory.join(FILE), "{").unwrap();
        assert_eq!(Kept::read(&directory), Kept::default());
        fs::remove_dir_all(&directory).unwrap();
    }
}
