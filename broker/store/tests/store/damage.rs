//! A damaged file yields the rows that were written, or is refused and left unchanged. It never yields other rows.

use crate::support::{Dir, Rows, fill, rows, some_rows};
use std::fs;
use store::{OpenError, Store};

/// The result of opening a changed file.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Same,
    Refused,
    Other,
    Panicked,
}

fn verdict(bytes: &[u8], expected: &Rows) -> Verdict {
    let dir = Dir::new();
    fs::write(dir.file(), bytes).unwrap();
    let path = dir.path().to_owned();
    let opened = std::panic::catch_unwind(move || {
        let store = Store::open(&path)?;
        Ok::<_, OpenError>(rows(&store))
    });
    match opened {
        Err(_) => Verdict::Panicked,
        Ok(Ok(found)) if found == *expected => Verdict::Same,
        Ok(Ok(_)) => Verdict::Other,
        Ok(Err(error)) => {
            assert!(
                matches!(error, OpenError::Damaged { .. } | OpenError::Newer { .. }),
                "{error}"
            );
            assert_eq!(
                fs::read(dir.file()).unwrap(),
                bytes,
                "a refused file was changed"
            );
            Verdict::Refused
        }
    }
}

fn images() -> (Rows, [(&'static str, Vec<u8>); 2]) {
    let expected = some_rows(400);
    let dir = Dir::new();
    let running = fill(dir.path(), &expected);
    let crashed = fs::read(dir.file()).unwrap();
    drop(running.close());
    let closed = fs::read(dir.file()).unwrap();
    (expected, [("crashed", crashed), ("closed", closed)])
}

#[test]
fn flipped_bits_never_give_other_rows() {
    let (expected, images) = images();
    for (name, image) in images {
        // Flips every bit of the head, which is the only part without a checksum, and one bit in a thousand bytes
        // elsewhere.
        let head = 0..HEAD_BYTES * 8;
        let body = (head.end..image.len() * 8).step_by(997 * 8 + 1);
        let mut refused = 0;
        for bit in head.chain(body) {
            let mut bytes = image.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let verdict = verdict(&bytes, &expected);
            let lawful = matches!(verdict, Verdict::Same | Verdict::Refused);
            assert!(
                lawful,
                "{name}: byte {} bit {}: {verdict:?}",
                bit / 8,
                bit % 8
            );
            refused += u32::from(verdict == Verdict::Refused);
        }
        assert!(
            refused > 500,
            "{name}: damage was found {refused} times only"
        );
    }
}

#[test]
fn a_truncated_file_never_gives_other_rows() {
    let (expected, images) = images();
    for (name, image) in images {
        let mut refused = 0;
        for len in (0..image.len()).step_by(PAGE_BYTES) {
            for len in [len, len + 1] {
                let verdict = verdict(&image[..len], &expected);
                let lawful = matches!(verdict, Verdict::Same | Verdict::Refused);
                assert!(lawful, "{name}: {len} bytes: {verdict:?}");
                refused += u32::from(verdict == Verdict::Refused);
            }
        }
        assert!(
            refused > 100,
            "{name}: truncation was found {refused} times only"
        );
    }
}

#[test]
fn lost_and_misplaced_pages_never_give_other_rows() {
    let (expected, images) = images();
    for (name, image) in images {
        let mut refused = 0;
        for at in (0..image.len()).step_by(PAGE_BYTES) {
            let other = (at + 7 * PAGE_BYTES) % image.len();
            for page in [&[0; PAGE_BYTES][..], &image[other..][..PAGE_BYTES]] {
                let mut bytes = image.clone();
                bytes[at..][..PAGE_BYTES].copy_from_slice(page);
                let verdict = verdict(&bytes, &expected);
                let lawful = matches!(verdict, Verdict::Same | Verdict::Refused);
                assert!(lawful, "{name}: page at {at}: {verdict:?}");
                refused += u32::from(verdict == Verdict::Refused);
            }
        }
        assert!(
            refused > 50,
            "{name}: damage was found {refused} times only"
        );
    }
}

#[test]
fn what_is_no_store_is_refused() {
    let empty = Rows::new();
    let zeros = vec![0; 1 << 20];
    let text = b"# not a store\n".repeat(1000);
    for bytes in [&b""[..], b"redb", &zeros, &text] {
        assert_eq!(verdict(bytes, &empty), Verdict::Refused);
    }
}

#[test]
fn a_refusal_names_the_file_and_the_remedy() {
    let dir = Dir::new();
    fs::write(dir.file(), b"rubbish").unwrap();
    let text = Store::open(dir.path()).unwrap_err().to_string();
    assert!(
        text.contains("store.redb") && text.contains("backup"),
        "{text}"
    );
    fs::remove_file(dir.file()).unwrap();
    fs::create_dir(dir.file()).unwrap();
    let text = Store::open(dir.path()).unwrap_err().to_string();
    assert!(
        text.contains("store.redb") && text.contains("directory"),
        "{text}"
    );
}

#[test]
fn a_newer_format_is_refused() {
    let dir = Dir::new();
    drop(Store::open(dir.path()).unwrap());
    let engine = redb::Database::open(dir.file()).unwrap();
    let mut transaction = engine.begin_write().unwrap();
    transaction.set_two_phase_commit(true);
    let meta = redb::TableDefinition::<&str, u64>::new("meta");
    transaction
        .open_table(meta)
        .unwrap()
        .insert("format", 2)
        .unwrap();
    transaction.commit().unwrap();
    drop(engine);

    let before = std::fs::read(dir.file()).unwrap();
    let error = Store::open(dir.path()).unwrap_err();
    assert!(std::fs::read(dir.file()).unwrap() == before, "written");
    assert!(
        matches!(
            error,
            OpenError::Newer {
                found: 2,
                known: 1,
                ..
            }
        ),
        "{error}"
    );
    assert!(
        error.to_string().contains("use the version that wrote it"),
        "{error}"
    );
}

/// The length of the part of the file that describes everything else.
const HEAD_BYTES: usize = 320;
const PAGE_BYTES: usize = 4096;
