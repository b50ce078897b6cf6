//! The SHA-256 of a credentials file with all files that it names, by which nodes see whether theirs are equal.

use crate::files;
use aws_lc_rs::digest::{Context, SHA256};
use std::io::Read;
use std::path::PathBuf;

/// The digest of the files in this order: of each its SHA-256, so that no byte moves from one file to the next unseen.
/// Their places do not count: nodes may have them in different folders. `None` where one cannot be read any more; it is
/// about to be read again then, since it changed.
pub(super) fn of(paths: &[PathBuf]) -> Option<[u8; 32]> {
    let mut all = Context::new(&SHA256);
    let mut piece = vec![0; PIECE_BYTES];
    for path in paths {
        let mut file = files::open_regular(path).ok()?;
        let mut one = Context::new(&SHA256);
        loop {
            match file.read(&mut piece).ok()? {
                0 => break,
                bytes => one.update(piece.get(..bytes)?),
            }
        }
        all.update(one.finish().as_ref());
    }
    all.finish().as_ref().try_into().ok()
}

/// Files are read in pieces of this size: a registry of a million devices has a hundred megabytes.
const PIECE_BYTES: usize = 1 << 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_counts_and_no_folder_does() {
        let folder = std::env::temp_dir().join(format!("heliograph-digest-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let mut next = 0..;
        let mut written = |contents: &[&str]| {
            let paths = contents.iter().map(|content| {
                let path = folder.join(next.next().unwrap().to_string());
                std::fs::write(&path, content).unwrap();
                path
            });
            of(&paths.collect::<Vec<_>>()).unwrap()
        };
        let first = written(&["ab", "c"]);
        assert_eq!(written(&["ab", "c"]), first);
        for other in [&["a", "bc"][..], &["ab", "d"], &["ab"], &["ab", "c", ""]] {
            assert_ne!(written(other), first, "{other:?}");
        }
        std::fs::remove_dir_all(&folder).unwrap();
        assert_eq!(of(&[PathBuf::from("/no/such/file")]), None);
    }
}
