//! Reads the credentials' files: the main file, policies and secrets. Also limits their sizes and warns about
//! permissive file modes.
//!
//! Each file's stamp is taken before the file is opened, so that no later change is missed. The file is also hashed
//! while it is read, since nodes compare the SHA-256 of all their files.

use crate::config::document::{TableReader, text};
use crate::config::draft::{Fault, ValuePlace};
use crate::files::{self, Content, FileStamp, ReadError, stamp};
use aws_lc_rs::digest::{self, Context, Digest, SHA256};
use broker_core::auth::provider::KeySet;
use broker_core::limits::KEY_SET_BYTES_MAX;
use broker_core::settings::value::{self, Checked};
use codec::policy::{POLICY_BYTES_MAX, PolicyError};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

pub(crate) struct Files {
    main: PathBuf,
    known: BTreeMap<PathBuf, usize>,
    read: Vec<FileRead>,
    /// Warnings about permissive modes of secret files and about unusable keys.
    pub(crate) warnings: Vec<String>,
}

struct FileRead {
    path: PathBuf,
    /// The file's stamp, for detecting changes. Taken just before the file was opened.
    stamp: FileStamp,
    /// SHA-256 of the whole file. `None` until the file has been read to its end.
    sha256: Option<Digest>,
}

/// A file that is hashed while it is read.
pub(crate) struct Hashed {
    file: File,
    pub(crate) sha256: Context,
}

impl Read for Hashed {
    fn read(&mut self, piece: &mut [u8]) -> io::Result<usize> {
        let bytes = self.file.read(piece)?;
        self.sha256.update(piece.get(..bytes).unwrap_or_default());
        Ok(bytes)
    }
}

impl Files {
    pub(crate) fn of(main: &Path) -> Self {
        Self {
            main: main.into(),
            known: BTreeMap::new(),
            read: Vec::new(),
            warnings: Vec::new(),
        }
    }

    /// Returns the files and their stamps, starting with the credentials file.
    pub(crate) fn stamped(&self) -> (Vec<PathBuf>, Vec<FileStamp>) {
        let each = self.read.iter();
        each.map(|file| (file.path.clone(), file.stamp)).unzip()
    }

    /// Returns the SHA-256 of the files' concatenated SHA-256 hashes. Because each file is hashed separately, the
    /// result changes if bytes move from one file to another. Paths are not included, since nodes may use different
    /// folders. Returns `None` if a file was not read to its end.
    pub(crate) fn sha256(&self) -> Option<[u8; 32]> {
        let mut all = Context::new(&SHA256);
        for file in &self.read {
            all.update(file.sha256?.as_ref());
        }
        all.finish().as_ref().try_into().ok()
    }

    pub(crate) fn read_main(&mut self) -> Result<Zeroizing<String>, Fault> {
        let main = self.main.clone();
        let content = self.secretive(main, MAIN_BYTES_MAX);
        content.map_err(|rule| Fault::of_text(ValuePlace::Default, rule))
    }

    /// Reads a policy or a trust document from the file at the path `written`. As everywhere in this module, the path
    /// is relative to the credentials file. The error lists all faults in the document, or says why it cannot be read.
    pub(crate) fn document<T>(
        &mut self,
        written: &str,
        parse: impl FnOnce(&str) -> Result<T, Vec<PolicyError>>,
    ) -> Result<T, Vec<String>> {
        let path = self.beside(written).map_err(|rule| vec![rule])?;
        let content = self
            .text(&path, POLICY_BYTES_MAX)
            .map_err(|rule| vec![rule])?;
        let path = path.display();
        let told = |error: &PolicyError| match error.line {
            0 => format!("{path}: {error}"),
            line => format!("{path}:{line}:{}: {}", error.column, error.rule),
        };
        parse(&content.content).map_err(|errors| errors.iter().map(told).collect())
    }

    /// Reads a secret, without leading and trailing whitespace. Also returns the path of its file.
    pub(crate) fn secret(&mut self, written: &str) -> Checked<(Zeroizing<String>, PathBuf)> {
        let path = self.beside(written)?;
        let content = self.secretive(path.clone(), SECRET_BYTES_MAX)?;
        Ok((Zeroizing::new(content.trim().to_owned()), path))
    }

    pub(crate) fn key_set(&mut self, written: &str) -> Checked<KeySet> {
        let path = self.beside(written)?;
        let read = self.text(&path, KEY_SET_BYTES_MAX)?;
        let keys = KeySet::parse(read.content.as_bytes());
        let keys = keys.map_err(|fault| format!("{}: {fault}", path.display()))?;
        if keys.dropped() > 0 {
            let dropped = keys.dropped();
            let text = "of its keys are ignored: they are not for signatures, or too weak";
            self.warnings
                .push(format!("{}: {dropped} {text}", path.display()));
        }
        Ok(keys)
    }

    pub(crate) fn certificates(&mut self, written: &str) -> Checked<Box<[u8]>> {
        let path = self.beside(written)?;
        let read = self.text(&path, CERTIFICATES_BYTES_MAX)?;
        let pem = read.content.as_bytes();
        files::roots(Some(pem)).map_err(|rule| format!("{}: {rule}", path.display()))?;
        Ok(pem.into())
    }

    pub(crate) fn bytes(&mut self, written: &str, bytes_max: usize) -> Checked<(Vec<u8>, PathBuf)> {
        let path = self.beside(written)?;
        self.note(&path);
        let read = files::read_regular(&path, bytes_max).map_err(|error| told(&path, error))?;
        self.hashed(&path, digest::digest(&SHA256, &read.content));
        Ok((read.content.to_vec(), path))
    }

    /// Opens a file that is to be read line by line. The caller must call [`Self::hashed`] afterwards.
    pub(crate) fn open(&mut self, written: &str) -> Checked<(Hashed, PathBuf)> {
        let path = self.beside(written)?;
        self.note(&path);
        let file = files::open_regular(&path).map_err(|error| told(&path, error))?;
        let sha256 = Context::new(&SHA256);
        Ok((Hashed { file, sha256 }, path))
    }

    fn secretive(&mut self, path: PathBuf, bytes_max: usize) -> Checked<Zeroizing<String>> {
        let is_first = !self.known.contains_key(&path);
        let read = self.text(&path, bytes_max)?;
        if is_first && read.is_open_to_others() {
            self.warnings.push(files::open_notice(&path));
        }
        Ok(read.content)
    }

    fn beside(&self, written: &str) -> Checked<PathBuf> {
        let written = value::filled(written)?;
        let folder = self.main.parent().unwrap_or_else(|| Path::new(""));
        Ok(folder.join(written))
    }

    fn text(&mut self, path: &Path, bytes_max: usize) -> Checked<Content<String>> {
        self.note(path);
        let read = files::read_regular_text(path, bytes_max).map_err(|error| told(path, error))?;
        self.hashed(path, digest::digest(&SHA256, read.content.as_bytes()));
        Ok(read)
    }

    /// Records the file's stamp, which is used to detect changes, unless the file has been opened before.
    fn note(&mut self, path: &Path) {
        if !self.known.contains_key(path) {
            self.known.insert(path.into(), self.read.len());
            self.read.push(FileRead {
                path: path.into(),
                stamp: stamp(path),
                sha256: None,
            });
        }
    }

    pub(crate) fn hashed(&mut self, path: &Path, sha256: Digest) {
        let place = self.known.get(path).copied();
        if let Some(file) = place.and_then(|place| self.read.get_mut(place)) {
            file.sha256.get_or_insert(sha256);
        }
    }
}

/// Reads a document that is specified by one of two keys. The key whose name ends in `file` names a file, and the other
/// key contains the document itself.
pub(crate) fn document<T>(
    section: &mut TableReader<'_, '_>,
    keys: [&'static str; 2],
    kind: &str,
    files: &mut Files,
    parse: fn(&str) -> Result<T, Vec<PolicyError>>,
) -> Option<T> {
    let told = |error: PolicyError| format!("the document is not a valid {kind}: {error}");
    let read = keys.map(|key| {
        section.read_with_faults(key, |value| {
            let written = text(value, Ok).map_err(|rule| vec![rule])?;
            match key.ends_with("file") {
                true => files.document(written, parse),
                false => parse(written).map_err(|errors| errors.into_iter().map(told).collect()),
            }
        })
    });
    section.either(keys[0], keys[1]);
    read.into_iter().flatten().next()
}

fn told(path: &Path, error: ReadError) -> String {
    let name = path.display();
    match error {
        ReadError::Failed(error) => format!("{name}: cannot be read: {error}"),
        ReadError::NotRegular => format!("{name}: expected a regular file"),
        ReadError::TooLong(bytes_max) => format!("{name}: expected at most {bytes_max} bytes"),
    }
}

/// Maximum size of a credentials file in bytes. Enough for the maximum number of principals, at 1 KiB each.
const MAIN_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Maximum size of a file with a single secret, in bytes.
const SECRET_BYTES_MAX: usize = 4096;

/// Maximum size of a provider's certificate authority file in bytes. Its contents stay in memory.
const CERTIFICATES_BYTES_MAX: usize = 64 * 1024;
