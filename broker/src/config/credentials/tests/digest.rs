//! The SHA-256 with which nodes determine whether their files are equal.

use super::*;

#[test]
fn every_byte_of_every_file_is_in_the_digest_and_no_folder() {
    let digest = |loaded: &Loaded| loaded.credentials.files().unwrap();
    let (folder, loaded) = good();
    let first = digest(&loaded);
    assert_eq!(digest(&good().1), first, "in another folder");
    folder.write("web.secret", "0123456789abcdef0123456789abcdef01234567");
    let second = digest(&folder.load(GOOD).unwrap());
    assert_ne!(second, first, "a line break less");
    let third = digest(&folder.load(&format!("{GOOD}|#")).unwrap());
    assert!(third != second && third != first);
}
