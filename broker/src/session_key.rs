//! Keys that seal temporary credentials. They are stored in the file `session.key` in the data directory.
//!
//! ```text
//! <64 hexadecimal digits>      the key that seals
//! <64 hexadecimal digits>      the former key, which still opens; optional
//! ```
//! To rotate the key, an operator inserts a new first line and keeps one of the old lines. Nodes that share the file
//! accept each other's credentials.

use crate::files::{self, ReadError};
use crate::{edge::fill_random, failure::Failure};
use broker_core::auth::SessionKeys;
use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE};
use std::fs::File;
use std::io;
use std::path::Path;
use zeroize::Zeroizing;

/// Reads the keys from a data directory that this process has locked, or creates a random key. Fails with
/// [`Failure::Fatal`] if the file is corrupted or unreadable, or if it cannot be created. The error states a remedy.
pub(crate) fn open(data_dir: &Path) -> Result<SessionKeys, Failure> {
    let path = data_dir.join(NAME);
    let failed = |error: io::Error| {
        Failure::Fatal(format!(
            "{}: the key of temporary credentials can be neither read nor created: {error}",
            path.display()
        ))
    };
    match files::read_text(&path, BYTES_MAX) {
        Ok(file) => {
            if file.is_open_to_others() {
                tracing::warn!("{}", files::open_notice(&path));
            }
            read(&file.content).ok_or_else(|| damaged(&path))
        }
        // A file that is too long or is not UTF-8 counts as corrupted.
        Err(ReadError::TooLong(_) | ReadError::NotRegular) => Err(damaged(&path)),
        Err(ReadError::Failed(error)) if error.kind() == io::ErrorKind::InvalidData => {
            Err(damaged(&path))
        }
        Err(ReadError::Failed(error)) if error.kind() == io::ErrorKind::NotFound => {
            make(data_dir, &path).map_err(failed)
        }
        Err(ReadError::Failed(error)) => Err(failed(error)),
    }
}

/// Returns the key file's contents if they are valid. Fails if the file is unreadable or corrupted.
pub(crate) fn text(data_dir: &Path) -> io::Result<Zeroizing<String>> {
    let file = files::read_text(&data_dir.join(NAME), BYTES_MAX)?;
    match read(&file.content) {
        Some(_) => Ok(file.content),
        None => Err(io::Error::new(io::ErrorKind::InvalidData, "it is damaged")),
    }
}

fn make(data_dir: &Path, path: &Path) -> io::Result<SessionKeys> {
    let mut key = Zeroizing::new([0; 32]);
    fill_random(&mut *key)?;
    let mut text = Zeroizing::new(String::with_capacity(2 * key.len() + 1));
    HEXLOWER.encode_append(&*key, &mut text);
    text.push('\n');
    files::write_whole(path, &text, 0o600)?;
    File::open(data_dir)?.sync_all()?;
    Ok(SessionKeys::new(&key, None))
}

fn read(text: &str) -> Option<SessionKeys> {
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let current = key(lines.next()?)?;
    let previous = match lines.next() {
        Some(line) => Some(key(line)?),
        None => None,
    };
    let nothing_else = lines.next().is_none();
    nothing_else.then(|| SessionKeys::new(&current, previous.as_deref()))
}

fn key(line: &str) -> Option<Zeroizing<[u8; 32]>> {
    let mut key = Zeroizing::new([0; 32]);
    if line.len() != 2 * key.len() {
        return None;
    }
    let decoded = HEXLOWER_PERMISSIVE.decode_mut(line.as_bytes(), &mut *key);
    decoded.ok().map(|_| key)
}

fn damaged(path: &Path) -> Failure {
    Failure::Fatal(format!(
        "{}: damaged: it must have one or two lines of 64 hexadecimal digits: put back a copy of it, or remove it, \
         which creates a key at the next start and invalidates all temporary credentials issued so far",
        path.display()
    ))
}

pub(crate) const NAME: &str = "session.key";

/// Maximum file size in bytes. Enough for two keys with line endings and some whitespace.
const BYTES_MAX: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use broker_core::auth::{Grant, Temporary};
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use testkit::Directory;

    fn seal(keys: &SessionKeys) -> Temporary {
        let grant = Grant::federated("AKIDEXAMPLE", "123456789012", "web", None, 1);
        keys.seal(&[1; 32], &grant, "secret").unwrap()
    }

    fn opens(keys: &SessionKeys, temporary: &Temporary) -> bool {
        let token = temporary.session_token.reveal().as_bytes();
        keys.open(&temporary.access_key_id, token).is_some()
    }

    #[test]
    fn a_key_is_made_once_and_for_its_owner_only() {
        let folder = Directory::temporary();
        fs::write(
            folder.join("session.key.part"),
            "of a start that was cut off",
        )
        .unwrap();
        let sealed = seal(&open(&folder).unwrap());
        let mode = fs::metadata(folder.join(NAME))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(!folder.join("session.key.part").exists());
        assert!(opens(&open(&folder).unwrap(), &sealed));
        assert!(!opens(&open(&Directory::temporary()).unwrap(), &sealed));
    }

    #[test]
    fn a_second_line_still_opens_what_it_sealed() {
        let folder = Directory::temporary();
        let sealed = seal(&open(&folder).unwrap());
        let path = folder.join(NAME);
        let old = fs::read_to_string(&path).unwrap();
        fs::write(&path, format!("{}\n{old}", "AB".repeat(32))).unwrap();
        let rotated = open(&folder).unwrap();
        assert!(opens(&rotated, &sealed) && opens(&rotated, &seal(&rotated)));
        fs::write(&path, format!("{}\n", "ab".repeat(32))).unwrap();
        let later = open(&folder).unwrap();
        assert!(!opens(&later, &sealed) && opens(&later, &seal(&rotated)));
    }

    #[test]
    fn a_damaged_file_is_kept_and_refused() {
        let folder = Directory::temporary();
        let path = folder.join(NAME);
        let key = "0f".repeat(32);
        for content in [
            Vec::new(),
            b"\n".to_vec(),
            key.as_bytes()[1..].to_vec(),
            format!("{key}0").into_bytes(),
            format!("{key}0f").into_bytes(),
            key.replace('f', "g").into_bytes(),
            format!("+{}", &key[1..]).into_bytes(),
            format!("{key}\n{key}\n{key}\n").into_bytes(),
            format!("{key}\nx\n").into_bytes(),
            vec![0xFF; 64],
            vec![b'0'; 1 << 20],
        ] {
            fs::write(&path, &content).unwrap();
            let Err(Failure::Fatal(text)) = open(&folder) else {
                panic!("{content:?}");
            };
            testkit::assert_has(&text, &["session.key: damaged", "remove it"]);
            assert!(!text.contains("0f0f"), "{text}");
            assert_eq!(fs::read(&path).unwrap(), content);
        }
    }

    #[test]
    fn a_folder_in_its_place_is_an_error() {
        let folder = Directory::temporary();
        fs::create_dir(folder.join(NAME)).unwrap();
        let error = open(&folder).map(|_| ()).unwrap_err();
        testkit::assert_has(&error.to_string(), &["neither read nor created"]);
    }
}
