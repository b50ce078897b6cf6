//! The files of a credentials file: itself, policies, secrets. Bounded, and checked for permissions that are too wide.

use super::error::{Fault, Place};
use broker_core::settings::value::{self, Checked};
use codec::aws::policy::{POLICY_BYTES_MAX, Policy, PolicyError};
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
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
        let content = self.secretive(main.clone(), MAIN_BYTES_MAX);
        content.map_err(|rule| Fault {
            place: Place::Default,
            key: String::new(),
            value: String::new(),
            rule,
        })
    }

    /// A policy of a file that is relative to the credentials file.
    ///
    /// # Errors
    /// All faults of the document, or why there is none.
    pub(super) fn policy(&mut self, written: &str) -> Result<Policy, Vec<String>> {
        let path = self.beside(written).map_err(|rule| vec![rule])?;
        self.note(&path);
        let (content, _) = read(&path, POLICY_BYTES_MAX).map_err(|rule| vec![rule])?;
        let path = path.display();
        let told = |error: &PolicyError| match error.line() {
            0 => format!("{path}: {error}"),
            line => format!("{path}:{line}:{}: {}", error.column(), error.rule()),
        };
        Policy::parse_telling_all(&content)
            .map_err(|errors| errors.iter().map(told).collect::<Vec<_>>())
    }

    /// A secret of a file that is relative to the credentials file.
    pub(super) fn secret(&mut self, written: &str) -> Checked<SecretFile> {
        let path = self.beside(written)?;
        let content = self.secretive(path.clone(), SECRET_BYTES_MAX)?;
        let content = Zeroizing::new(content.trim().to_owned());
        Ok(SecretFile { content, path })
    }

    fn secretive(&mut self, path: PathBuf, bytes_max: usize) -> Checked<Zeroizing<String>> {
        let is_first = self.note(&path);
        let (content, mode) = read(&path, bytes_max)?;
        if is_first && mode & OTHERS != 0 {
            let warning = "everybody on this machine may read or change it: chmod 600";
            self.warnings.push(format!("{}: {warning}", path.display()));
        }
        Ok(Zeroizing::new(content))
    }

    fn beside(&self, written: &str) -> Checked<PathBuf> {
        let written = value::filled(written)?;
        let folder = self.main.parent().unwrap_or_else(|| Path::new(""));
        Ok(folder.join(written))
    }

    /// Tells whether it is read for the first time.
    fn note(&mut self, path: &Path) -> bool {
        let is_first = self.known.insert(path.into());
        if is_first {
            self.paths.push(path.into());
        }
        is_first
    }
}

/// A text file's content and mode.
fn read(path: &Path, bytes_max: usize) -> Checked<(String, u32)> {
    let failed = |error: io::Error| format!("{}: cannot be read: {error}", path.display());
    let file = File::open(path).map_err(failed)?;
    let about = file.metadata().map_err(failed)?;
    if !about.is_file() {
        return Err(format!("{}: allowed a regular file", path.display()));
    }
    let mut content = String::new();
    let mut bounded = file.take(bytes_max as u64 + 1);
    bounded.read_to_string(&mut content).map_err(failed)?;
    if content.len() > bytes_max {
        return Err(format!(
            "{}: allowed at most {bytes_max} bytes",
            path.display()
        ));
    }
    Ok((content, about.permissions().mode()))
}

/// Longest credentials file: 1 KiB for each principal there may be.
const MAIN_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Longest file of one secret.
const SECRET_BYTES_MAX: usize = 4096;

/// The bits of a mode that let everybody read or write.
const OTHERS: u32 = 0o006;
