//! Fuzz tests of the functions that parse files and streams, with seeded mutations of valid input. No parser may panic,
//! and all input that a parser accepts must survive a round trip.

use crate::backup_stream::{MAGIC, Part, Reader, put};
use crate::channel_documents::{gather_text, write};
use crate::config::{last_line, read_lines};
use broker_core::record::{Record, Version};
use broker_core::registry::{decode, encode, key};
use broker_core::time::Wall;
use codec::control::Tag;
use codec::identifiers::ChannelArn;
use std::collections::BTreeMap;
use std::path::Path;
use testkit::mutations;

const NUMBERS: [&[u8]; 4] = [&[0], &[0xff; 2], &[0xff; 8], &[0, 0, 0, 0x80]];

#[test]
fn records_of_the_store() {
    let records = records();
    let samples: Vec<_> = records.iter().map(|it| encode(it).into_vec()).collect();
    mutations(&samples, &NUMBERS, |bytes| {
        let mut read = false;
        for record in &records {
            if let Ok(record) = decode(key(&record.arn), bytes) {
                assert_eq!(*encode(&record), *bytes);
                read = true;
            }
        }
        read
    });
}

#[test]
fn lines_of_things() {
    let fingerprint = "ab".repeat(32);
    let lines = format!(
        "# a file\n\n{fingerprint}, cam-1\n{fingerprint}, cam-2, t, inactive, p\n, cam-3, , inactive\n"
    );
    let counted = format!("{lines}{}", last_line(&lines));
    let samples = [lines.into_bytes(), counted.into_bytes()];
    let known = BTreeMap::from([("p".to_owned(), None)]);
    let pieces: [&[u8]; 6] = [b"\n", b",", b"# lines=", b" sha256=", b"inactive", b"\r"];
    mutations(&samples, &pieces, |bytes| {
        let read = read_lines(&mut &*bytes, "things.csv", &known, 1_000);
        if let Err(faults) = &read {
            let is_told =
                |fault: &String| fault.starts_with("things.csv:") && !fault.contains('\n');
            assert!(
                !faults.is_empty() && faults.iter().all(is_told),
                "{faults:?}"
            );
        }
        read.is_ok()
    });
}

#[test]
fn streams_of_backups() {
    let stream = |parts: &[Part<'_>]| {
        let mut stream = MAGIC.to_vec();
        parts.iter().for_each(|part| put(&mut stream, part));
        stream
    };
    let (row, second) = (Part::Row("a", b"1"), Part::Row("b", &[7; 300]));
    let samples = [
        stream(&[Part::SessionKey("key"), row, second, Part::End(2)]),
        stream(&[Part::End(0)]),
    ];
    let read = |bytes: &[u8]| {
        let mut again = MAGIC.to_vec();
        let mut reader = Reader::new(bytes).ok()?;
        loop {
            let part = reader.next().ok()?;
            put(&mut again, &part);
            if let Part::End(_) = part {
                return Some(again);
            }
        }
    };
    let pieces = [&NUMBERS[..], &[MAGIC, &[0, 0, 0, 2, 2, 0]]].concat();
    mutations(&samples, &pieces, |bytes| {
        let Some(again) = read(bytes) else {
            return false;
        };
        assert_eq!(read(&again), Some(again.clone()));
        true
    });
}

#[test]
fn documents_of_an_import() {
    let mut written = Vec::new();
    write(&records(), &mut written).unwrap();
    let pieces: [&[u8]; 8] = [
        b"\"",
        b"{",
        b"}",
        b"[",
        b"\\u0000",
        b"-1e400",
        b"null",
        b"\"Tags\":{}",
    ];
    mutations(&[written], &pieces, |bytes| {
        let text = String::from_utf8_lossy(bytes);
        let file = Path::new("channels.json");
        let mut random = fastrand::Rng::with_seed(1);
        let mut gathered = gather_text(file, &text, &mut random);
        if gathered.faults.none_or("").is_err() {
            return false;
        }
        let records = |gathered: crate::channel_documents::WantedChannels<'_>| -> Vec<Record> {
            let wanted = gathered.channels.into_values();
            wanted.map(|wanted| wanted.record).collect()
        };
        let (read, mut again) = (records(gathered), Vec::new());
        write(&read, &mut again).unwrap();
        let again = String::from_utf8(again).unwrap();
        let again = records(gather_text(file, &again, &mut random));
        assert_eq!(format!("{again:?}"), format!("{read:?}"));
        true
    });
}

fn records() -> Vec<Record> {
    let tag = |key: &str, value: &str| Tag {
        key: key.into(),
        value: value.into(),
    };
    let tags = vec![tag("site", "Köln"), tag("empty", "")];
    [("demo", tags), ("other", Vec::new())]
        .map(|(name, tags)| {
            let arn =
                format!("arn:aws:kinesisvideo:us-west-2:123456789012:channel/{name}/1700000000000");
            Record {
                arn: ChannelArn::parse(&arn, true).unwrap(),
                ttl_seconds: 60,
                created: Wall(1_700_000_000_000),
                version: Version::from_bytes(*b"0123456789ABCDEFGHIJ").unwrap(),
                tags: tags.into(),
            }
        })
        .into()
}
