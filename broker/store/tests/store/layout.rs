//! The file of the engine must begin as `src/file_check.rs` expects. This layout is private to the engine, so the
//! version of the engine is pinned. Before another version is used, compare its `header.rs` with `file_check.rs`, and
//! then change the version here and in `Cargo.toml`.

use crate::support::Dir;
use redb::{Database, TableDefinition};
use std::fs;

const ENGINE: &str = "4.4.0";
const ROWS: TableDefinition<'_, u64, u64> = TableDefinition::new("rows");

/// Returns the transaction number in a slot of the head.
fn transaction(head: &[u8], slot: usize) -> u64 {
    let at = 64 + 128 * slot + 104;
    u64::from_le_bytes(head[at..at + 8].try_into().unwrap())
}

#[test]
fn the_engine_has_the_version_whose_layout_is_known() {
    let lock = include_str!("../../../../Cargo.lock");
    let locked = format!("name = \"redb\"\nversion = \"{ENGINE}\"\n");
    assert!(lock.contains(&locked), "Cargo.lock has another redb");
    let manifest = include_str!("../../../../Cargo.toml");
    let pinned = format!("redb = {{ version = \"={ENGINE}\"");
    assert!(manifest.contains(&pinned), "Cargo.toml does not pin redb");
}

#[test]
fn each_commit_is_named_by_the_flag_and_numbered_in_its_slot() {
    let dir = Dir::new();
    let file = dir.file();
    let database = Database::create(&file).unwrap();
    let mut last = None;
    for commit in 0..6 {
        let transaction_begun = database.begin_write().unwrap();
        let mut rows = transaction_begun.open_table(ROWS).unwrap();
        rows.insert(commit, commit).unwrap();
        drop(rows);
        transaction_begun.commit().unwrap();
        let bytes = fs::read(&file).unwrap();
        assert!(bytes.starts_with(b"redb\x1a\x0a\xa9\x0d\x0a"));
        let geometry: [&[u8]; 4] = [&[0, 0], &4_096_u32.to_le_bytes(), &[0; 4], &[0, 0, 16, 0]];
        assert_eq!(bytes[10..24], geometry.concat());
        let named = usize::from(bytes[9] & 1);
        let number = transaction(&bytes, named);
        assert!(
            number > transaction(&bytes, 1 - named),
            "the named slot is the newer one"
        );
        if let Some((slot, before)) = last {
            assert_eq!(slot, 1 - named, "slots take turns");
            assert_eq!(transaction(&bytes, 1 - named), before);
        }
        last = Some((named, number));
    }
}
