//! The files of a credentials file: itself, policies, secrets. Bounded, and checked for permissions that are too wide.

use super::super::error::{Fault, ValuePlace};
use crate::files::{self, Content, ReadError, authorities};
use broker_core::auth::provider::KeySet;
use broker_core::limits::KEY_SET_BYTES_MAX;
use broker_core::settings::value::{self, Checked};
use codec::aws::policy::{POLICY_BYTES_MAX, Policy, PolicyError, TRUST_BYTES_MAX, Trust};
use std::collections::BTreeSet;
use std::fs::File;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// The files that were read so far.
pub(super) struct Files {
    main: PathBuf,
    known: BTreeSet<PathBuf>,
    /// Each once, in the order in which they were read first.
    pub(super) paths: Vec<PathBuf>,
    /// Secrets that everybody may read.
    pub(super) warnings: Vec<String>,
}

/// A secret from a file of its own.
pub(super) struct SecretFile {
    /// Without the blanks around it.
    pub(super) content: Zeroizing<String>,
    pub(super) path: PathBuf,
}

impl Files {
    pub(super) fn of(main: &Path) -> Self {
        Self {
            main: main.into(),
            known: BTreeSet::new(),
            paths: Vec::new(),
            warnings: Vec::new(),
        }
    }

    /// The credentials file.
    pub(super) fn read_main(&mut self) -> Result<Zeroizing<String>, Fault> {
        let main = self.main.clone();
        let content = self.secretive(main, MAIN_BYTES_MAX);
        content.map_err(|rule| Fault::of_text(ValuePlace::Default, rule))
    }

    /// A policy of a file that is relative to the credentials file.
    ///
    /// # Errors
    /// All faults of the document, or why there is none.
    pub(super) fn policy(&mut self, written: &str) -> Result<Policy, Vec<String>> {
        self.document(written, POLICY_BYTES_MAX, Policy::parse_with_faults)
    }

    /// A trust document of a file that is relative to the credentials file.
    ///
    /// # Errors
    /// As [`Self::policy`].
    pub(super) fn trust(&mut self, written: &str) -> Result<Trust, Vec<String>> {
        self.document(written, TRUST_BYTES_MAX, Trust::parse_with_faults)
    }

    fn document<T>(
        &mut self,
        written: &str,
        bytes_max: usize,
        parse: impl FnOnce(&str) -> Result<T, Vec<PolicyError>>,
    ) -> Result<T, Vec<String>> {
        let path = self.beside(written).map_err(|rule| vec![rule])?;
        self.note(&path);
        let content = read(&path, bytes_max).map_err(|rule| vec![rule])?;
        let path = path.display();
        let told = |error: &PolicyError| match error.line() {
            0 => format!("{path}: {error}"),
            line => format!("{path}:{line}:{}: {}", error.column(), error.rule()),
        };
        parse(&content.content).map_err(|errors| errors.iter().map(told).collect())
    }

    /// A secret of a file that is relative to the credentials file.
    pub(super) fn secret(&mut self, written: &str) -> Checked<SecretFile> {
        let path = self.beside(written)?;
        let content = self.secretive(path.clone(), SECRET_BYTES_MAX)?;
        let content = Zeroizing::new(content.trim().to_owned());
        Ok(SecretFile { content, path })
    }

    /// The keys of a provider, of a file that is relative to the credentials file.
    pub(super) fn key_set(&mut self, written: &str) -> Checked<KeySet> {
        let path = self.beside(written)?;
        self.note(&path);
        let read = read(&path, KEY_SET_BYTES_MAX)?;
        let keys = KeySet::parse(read.content.as_bytes());
        let keys = keys.map_err(|fault| format!("{}: {fault}", path.display()))?;
        if keys.dropped() > 0 {
            let dropped = keys.dropped();
            let text = "keys of it are not used: they are not for signatures, or too weak";
            self.warnings
                .push(format!("{}: {dropped} {text}", path.display()));
        }
        Ok(keys)
    }

    /// The certificates of authorities, in PEM, of a file that is relative to the credentials file.
    pub(super) fn certificates(&mut self, written: &str) -> Checked<Box<[u8]>> {
        let path = self.beside(written)?;
        self.note(&path);
        let read = read(&path, CERTIFICATES_BYTES_MAX)?;
        let pem = read.content.as_bytes();
        authorities::roots(Some(pem)).map_err(|rule| format!("{}: {rule}", path.display()))?;
        Ok(pem.into())
    }

    /// The bytes of a file that is relative to the credentials file.
    pub(super) fn bytes(&mut self, written: &str, bytes_max: usize) -> Checked<(Vec<u8>, PathBuf)> {
        let path = self.beside(written)?;
        self.note(&path);
        let read = files::read_regular(&path, bytes_max).map_err(|error| told(&path, error))?;
        Ok((read.content.to_vec(), path))
    }

    /// A file that is relative to the credentials file, to be read line by line.
    pub(super) fn open(&mut self, written: &str) -> Checked<(File, PathBuf)> {
        let path = self.beside(written)?;
        self.note(&path);
        let file = files::open_regular(&path).map_err(|error| told(&path, error))?;
        Ok((file, path))
    }

    fn secretive(&mut self, path: PathBuf, bytes_max: usize) -> Checked<Zeroizing<String>> {
        let is_first = self.note(&path);
        let read = read(&path, bytes_max)?;
        if is_first && read.is_open_to_others() {
            let warning = "everybody on this machine may read or change it: chmod 600";
            self.warnings.push(format!("{}: {warning}", path.display()));
        }
        Ok(read.content)
    }

    fn beside(&self, written: &str) -> Checked<PathBuf> {
        let written = value::filled(written)?;
        let folder = self.main.parent().unwrap_or_else(|| Path::new(""));
        Ok(folder.join(written))
    }

    /// Returns whether it is read for the first time.
    fn note(&mut self, path: &Path) -> bool {
        let is_first = self.known.insert(path.into());
        if is_first {
            self.paths.push(path.into());
        }
        is_first
    }
}

/// A text file.
fn read(path: &Path, bytes_max: usize) -> Checked<Content<String>> {
    files::read_regular_text(path, bytes_max).map_err(|error| told(path, error))
}

fn told(path: &Path, error: ReadError) -> String {
    let name = path.display();
    match error {
        ReadError::Failed(error) => format!("{name}: cannot be read: {error}"),
        ReadError::NotRegular => format!("{name}: allowed a regular file"),
        ReadError::TooLong(bytes_max) => format!("{name}: allowed at most {bytes_max} bytes"),
    }
}

/// Longest credentials file: 1 KiB for each principal there may be.
const MAIN_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Longest file of one secret.
const SECRET_BYTES_MAX: usize = 4096;

/// Longest file of authorities of a provider: each is kept in memory.
const CERTIFICATES_BYTES_MAX: usize = 64 * 1024;
