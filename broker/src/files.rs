//! Whole-file operations: bounded reads, atomic writes, and change detection. Used for the configuration, credentials,
//! tokens, certificates and keys. Also parses CA certificates and tokens.

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process;
use std::sync::Arc;
use thiserror::Error;
use zeroize::Zeroizing;

/// A file's contents. They may be secret, so they are zeroized on drop.
pub(crate) struct Content<T: zeroize::Zeroize> {
    pub(crate) content: Zeroizing<T>,
    mode: u32,
}

#[derive(Debug, Error)]
pub(crate) enum ReadError {
    #[error(transparent)]
    Failed(#[from] io::Error),
    #[error("it is not a regular file")]
    NotRegular,
    #[error("it is longer than {0} bytes")]
    TooLong(usize),
}

/// A fault in a file that a setting names.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{key} = {path}: {rule}")]
pub struct FileFault {
    /// Configuration key that specifies the file, such as `tls.cert`.
    pub key: &'static str,
    /// Path of the file.
    pub path: PathBuf,
    /// The rule that the file breaks, and what was found in the file.
    pub rule: String,
}

impl FileFault {
    pub(crate) fn new(key: &'static str, path: &Path, rule: String) -> Self {
        let path = path.into();
        Self { key, path, rule }
    }
}

/// Reads UTF-8 text of at most `bytes_max` bytes from a file of any kind, such as a pipe. Fails if the text is too
/// long, not UTF-8, or unreadable.
pub(crate) fn read_text(path: &Path, bytes_max: usize) -> Result<Content<String>, ReadError> {
    let file = File::open(path).map_err(|error| located(path, error))?;
    text(read(&file, bytes_max)?)
}

/// Like [`read_text`], for a file that a setting names. The error states which rule the file breaks.
pub(crate) fn readable(path: &Path, bytes_max: usize) -> Result<Content<String>, String> {
    read_text(path, bytes_max).map_err(|error| format!("must be a readable file: {error}"))
}

/// Like [`readable`], for a secret. Logs a warning if all users can read the file.
pub(crate) fn readable_secret(path: &Path, bytes_max: usize) -> Result<Zeroizing<String>, String> {
    let read = readable(path, bytes_max)?;
    if read.is_open_to_others() {
        tracing::warn!("{}", open_notice(path));
    }
    Ok(read.content)
}

/// Reads UTF-8 text of at most `bytes_max` bytes from a regular file. Fails if the file is not regular, too long, not
/// UTF-8, or unreadable.
pub(crate) fn read_regular_text(
    path: &Path,
    bytes_max: usize,
) -> Result<Content<String>, ReadError> {
    text(read_regular(path, bytes_max)?)
}

/// Reads at most `bytes_max` bytes from a regular file. Fails if the file is not regular, too long, or unreadable.
pub(crate) fn read_regular(path: &Path, bytes_max: usize) -> Result<Content<Vec<u8>>, ReadError> {
    read(&open_regular(path)?, bytes_max)
}

/// Opens a regular file. Fails if the file is not regular or cannot be opened.
pub(crate) fn open_regular(path: &Path) -> Result<File, ReadError> {
    // Without this flag, opening a pipe without a writer would block forever.
    let file = File::options()
        .read(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(path)
        .map_err(|error| located(path, error))?;
    if !file.metadata()?.is_file() {
        return Err(ReadError::NotRegular);
    }
    Ok(file)
}

/// If a relative path does not exist, adds the absolute path to the error.
fn located(path: &Path, error: io::Error) -> io::Error {
    let is_meant = error.kind() == io::ErrorKind::NotFound && path.is_relative();
    match std::path::absolute(path) {
        Ok(whole) if is_meant => io::Error::new(
            error.kind(),
            format!(
                "{error}: looked for {}, relative to the working directory",
                whole.display()
            ),
        ),
        Ok(_) | Err(_) => error,
    }
}

fn read(file: &File, bytes_max: usize) -> Result<Content<Vec<u8>>, ReadError> {
    let about = file.metadata()?;
    // Allocated up front, since a growing buffer would leave copies of the secret behind.
    let expected = usize::try_from(about.len()).unwrap_or(bytes_max);
    let mut content = Zeroizing::new(Vec::with_capacity(expected.min(bytes_max) + 1));
    file.take(bytes_max as u64 + 1).read_to_end(&mut content)?;
    if content.len() > bytes_max {
        return Err(ReadError::TooLong(bytes_max));
    }
    Ok(Content {
        content,
        mode: about.permissions().mode(),
    })
}

fn text(mut read: Content<Vec<u8>>) -> Result<Content<String>, ReadError> {
    let bytes = std::mem::take(&mut *read.content);
    let content = String::from_utf8(bytes).map_err(|error| {
        drop(Zeroizing::new(error.into_bytes()));
        io::Error::new(
            io::ErrorKind::InvalidData,
            "stream did not contain valid UTF-8",
        )
    })?;
    Ok(Content {
        content: Zeroizing::new(content),
        mode: read.mode,
    })
}

/// Writes a file atomically and durably. No other process may write to the file's directory at the same time.
pub(crate) fn write_whole(path: &Path, text: &str, mode: u32) -> io::Result<()> {
    write_beside(path, ".part", text, mode, File::sync_all)
}

/// Writes a file atomically, even if other processes write the same file. The file is not synced, since its contents
/// are meaningless after a crash.
pub(crate) fn write_shared(path: &Path, text: &str, mode: u32) -> io::Result<()> {
    let ending = format!(".{}", process::id());
    write_beside(path, &ending, text, mode, |_| Ok(()))
}

/// Writes a temporary file next to the target, then renames it. The temporary name is the target's name followed by
/// `ending`. The umask applies to `mode`. An existing file with the temporary name may be a leftover or a malicious
/// link, so it is removed rather than opened.
fn write_beside(
    path: &Path,
    ending: &str,
    text: &str,
    mode: u32,
    finish: impl FnOnce(&File) -> io::Result<()>,
) -> io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(ending);
    let unfinished = path.with_file_name(name);
    match fs::remove_file(&unfinished) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let mut options = File::options();
    let file = options.write(true).create_new(true).mode(mode);
    let written = file.open(&unfinished).and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        finish(&file)?;
        fs::rename(&unfinished, path)
    });
    if written.is_err() {
        let _ = fs::remove_file(&unfinished);
    }
    written
}

impl<T: zeroize::Zeroize> Content<T> {
    /// Returns whether other users may read or write the file.
    pub(crate) fn is_open_to_others(&self) -> bool {
        self.mode & OTHERS != 0
    }
}

impl From<ReadError> for io::Error {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Failed(error) => error,
            ReadError::NotRegular | ReadError::TooLong(_) => {
                Self::new(io::ErrorKind::InvalidData, error.to_string())
            }
        }
    }
}

// Trusted CAs.

/// Returns the CAs that server certificates must chain to: the CAs in `pem` if it is given, and otherwise the system's
/// CAs. The error states which rule the PEM text breaks.
pub(crate) fn roots(pem: Option<&[u8]>) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    let Some(pem) = pem else {
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        return Ok(roots);
    };
    let rule = || "expected a PEM file with certificates of authorities".to_owned();
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let found = found.map_err(|_| rule())?;
    if found.is_empty() {
        return Err(rule());
    }
    for certificate in found {
        roots
            .add(certificate)
            .map_err(|error| format!("{}: {error}", rule()))?;
    }
    Ok(roots)
}

// Change detection.

/// A file's state, for detecting changes. `None` if the file does not exist.
pub(crate) type FileStamp = Option<(u64, u64, u64, i64, i64, i64, i64)>;

/// Takes a file's stamp. It includes the change time, since a permission change may make the file readable.
pub(crate) fn stamp(file: &Path) -> FileStamp {
    let metadata = fs::metadata(file).ok()?;
    Some((
        metadata.dev(),
        metadata.ino(),
        metadata.size(),
        metadata.mtime(),
        metadata.mtime_nsec(),
        metadata.ctime(),
        metadata.ctime_nsec(),
    ))
}

// The admin listener's token file. It is read by the server, and by subcommands that query the server.

/// Environment variable with the token file's path. `heliograph env` never prints this variable from a response.
/// Otherwise, any process listening on the port could set the variable to the path of some file, whose contents the
/// next command would send to it as a token.
pub(crate) const TOKEN_FILE: &str = "HELIOGRAPH_ADMIN_TOKEN_FILE";

pub(crate) type Token = Arc<Zeroizing<String>>;

/// Returns the first token in the file, which is the one to send with requests. The error states which rule the file
/// breaks.
pub(crate) fn token(path: &Path) -> Result<String, String> {
    Ok(tokens(path)?.swap_remove(0).to_string())
}

/// Reads a file's tokens: one token, or two during a rotation. The error states which rule the file breaks.
pub(crate) fn tokens(path: &Path) -> Result<Vec<Token>, String> {
    let read = readable(path, TOKEN_BYTES_MAX)?;
    let lines: Vec<_> = read.content.trim().lines().map(str::trim).collect();
    let is_token =
        |line: &&str| line.len() >= TOKEN_MIN && line.bytes().all(|byte| byte.is_ascii_graphic());
    if !(1..=TOKENS_MAX).contains(&lines.len()) || !lines.iter().all(is_token) {
        return Err(format!(
            "must have one line of at least {TOKEN_MIN} printable ASCII characters, or two while it is replaced"
        ));
    }
    let token = |line: &str| Arc::new(Zeroizing::new(line.to_owned()));
    Ok(lines.into_iter().map(token).collect())
}

/// Maximum number of admin tokens. Each request is compared with all of them.
const TOKENS_MAX: usize = 2;

/// Returns whether a file exists and all users of this machine may read or write it.
pub(crate) fn is_open_to_others(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|about| about.permissions().mode() & OTHERS != 0)
}

pub(crate) fn open_notice(path: &Path) -> String {
    let path = path.display();
    format!("{path}: every user of this machine can read or change it: chmod 600")
}

const OTHERS: u32 = 0o006;

const TOKEN_MIN: usize = 16;

const TOKEN_BYTES_MAX: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_read_within_their_bound() {
        let folder = testkit::Directory::temporary();
        let path = folder.join("file");
        fs::write(&path, "12345").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        let read = read_text(&path, 5).unwrap();
        assert!(read.content.as_str() == "12345" && read.is_open_to_others());
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(!read_regular_text(&path, 5).unwrap().is_open_to_others());
        for error in [read_text(&path, 4).err(), read_regular_text(&path, 4).err()] {
            assert_eq!(error.unwrap().to_string(), "it is longer than 4 bytes");
        }
        fs::write(&path, [0xff; 5]).unwrap();
        assert_eq!(
            read_regular(&path, 5).unwrap().content.as_slice(),
            [0xff; 5]
        );
        let error = read_text(&path, 5).err().unwrap().to_string();
        assert_eq!(error, "stream did not contain valid UTF-8");
    }

    /// Pipes, which would wait for a writer, and endless devices are refused as well.
    #[test]
    fn only_what_may_be_read_is_read() {
        let pipe = std::env::temp_dir().join(format!("heliograph-pipe-{}", std::process::id()));
        let made = std::process::Command::new("mkfifo").arg(&pipe).status();
        assert!(made.unwrap().success());
        for path in [pipe.as_path(), Path::new("/dev/zero"), Path::new("/")] {
            let error = read_regular(path, 5).err().unwrap();
            assert!(matches!(error, ReadError::NotRegular), "{error}");
        }
        fs::remove_file(&pipe).unwrap();
        let endless = read_text(Path::new("/dev/zero"), 5).err().unwrap();
        assert!(matches!(endless, ReadError::TooLong(5)), "{endless}");
        let folder = read_text(Path::new("/"), 5).err().unwrap();
        assert_eq!(folder.to_string(), "Is a directory (os error 21)");
    }
}
