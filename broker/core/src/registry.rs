//! The registry: channel records, which survive a restart of the process.
//!
//! The shards that own the channels keep the records in memory, and a [`Store`] makes changes durable. This module
//! defines how records are encoded. Sessions and messages are not stored.

use crate::id::{ChannelKey, ShardId};
use crate::record::{Record, VERSION_BYTES, Version};
use crate::time::Wall;
use codec::control::{TAGS_MAX, Tag};
use codec::identifiers::ChannelArn;
use std::fmt;

/// A single change to the registry.
#[derive(Debug)]
pub enum Change<'a> {
    /// Stores a new record, or replaces the one with the same identity.
    Put(&'a Record),
    /// Deletes the channel.
    Remove(&'a ChannelArn),
}

/// Why a change could not be stored. The call that requested it is answered with `ServiceUnavailable`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreError {
    /// Too many changes are in flight. A retry may succeed.
    Busy,
    /// The store failed. Contains the error and what to do about it.
    Failed(Box<str>),
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Busy => f.write_str("too many changes are under way: try again"),
            Self::Failed(text) => f.write_str(text),
        }
    }
}

impl std::error::Error for StoreError {}

/// The state of a submitted change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Submitted {
    /// The change has been stored, as durably as this store can.
    Kept,
    /// The change is pending. Its result arrives later in a message to the shard, under the same channel key.
    Later,
}

/// Where to send the result of a pending change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket {
    /// The shard that owns the channel.
    pub shard: ShardId,
    /// The key of the channel that the change affects.
    pub channel: ChannelKey,
}

/// Persistent storage for records. Each shard has its own store for its channels. Never blocks.
pub trait Store: Send {
    /// Submits a change to the channel `of`, which must not have another change in flight.
    ///
    /// # Errors
    /// Fails if the change could not be stored. It then has no effect.
    fn submit(&mut self, of: ChannelKey, change: Change<'_>) -> Result<Submitted, StoreError>;
}

// Encoding of a record:
//
// ```text
//  format (1) | ARN | MessageTtlSeconds (4) | created, ms since 1970 (8) | version (20) | number of tags (2) | tags
//  text: length in bytes (2) and UTF-8      tag: text, text      numbers: the least significant byte first
// ```
// A new field requires a new format number, and the program then decodes both formats. Unknown formats are refused,
// because the next change would lose any field that was dropped. The store returns bytes exactly as they were written,
// so bytes that cannot be decoded come from another program.

/// Why bytes cannot be decoded as a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordError {
    /// The program does not know this format number. A later version probably wrote the record.
    Format(u8),
    /// The bytes end within a field or continue after the last one.
    Length,
    /// A text field is not valid UTF-8.
    Text,
    /// The ARN is invalid.
    Arn,
    /// The version contains a character that is neither a letter nor a digit.
    Version,
    /// The record has more tags than a channel may have.
    Tags,
    /// The record belongs under another key.
    Key,
}

impl fmt::Display for RecordError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Format(found) => write!(
                f,
                "format {found}, and this version reads format {FORMAT}: use the version that wrote it"
            ),
            Self::Length => f.write_str("it ends too early or too late"),
            Self::Text => f.write_str("a text is not UTF-8"),
            Self::Arn => f.write_str("its ARN is none of a channel"),
            Self::Version => f.write_str("its version is not of letters and digits"),
            Self::Tags => f.write_str("it has more tags than a channel can have"),
            Self::Key => f.write_str("it belongs to another channel than its key"),
        }
    }
}

impl std::error::Error for RecordError {}

/// Maximum size of an encoded record in bytes. Enough for the longest ARN in a request, and for the maximum number of
/// tags with the longest text, at four bytes per character.
pub const ENCODED_BYTES_MAX: usize = 80 << 10;

/// Returns the key of a channel's record. At any time, at most one channel has this identity.
#[must_use]
pub fn key(arn: &ChannelArn) -> &str {
    arn.identity()
}

/// Encodes a record into at most [`ENCODED_BYTES_MAX`] bytes.
///
/// # Panics
/// Panics if a text is longer than the API allows.
#[must_use]
pub fn encode(record: &Record) -> Box<[u8]> {
    let Record {
        arn,
        ttl_seconds,
        created,
        version,
        tags,
    } = record;
    let mut bytes = Vec::with_capacity(64 + arn.as_str().len() + tags.len() * 32);
    bytes.push(FORMAT);
    put_text(&mut bytes, arn.as_str());
    bytes.extend(ttl_seconds.to_le_bytes());
    bytes.extend(created.0.to_le_bytes());
    bytes.extend(version.as_str().as_bytes());
    put_length(&mut bytes, tags.len());
    for Tag { key, value } in tags.iter() {
        put_text(&mut bytes, key);
        put_text(&mut bytes, value);
    }
    bytes.into()
}

/// Decodes the record stored under a key.
pub fn decode(key: &str, bytes: &[u8]) -> Result<Record, RecordError> {
    let mut rest = Rest(bytes);
    match rest.take(1)? {
        [FORMAT] => {}
        other => return Err(RecordError::Format(other.first().copied().unwrap_or(0))),
    }
    let arn = ChannelArn::parse(rest.text()?, false).map_err(|_| RecordError::Arn)?;
    if self::key(&arn) != key {
        return Err(RecordError::Key);
    }
    let ttl_seconds = u32::from_le_bytes(rest.array()?);
    let created = Wall(u64::from_le_bytes(rest.array()?));
    let version: [u8; VERSION_BYTES] = rest.array()?;
    let version = Version::from_bytes(version).ok_or(RecordError::Version)?;
    let count = rest.length()?;
    if count > TAGS_MAX {
        return Err(RecordError::Tags);
    }
    let mut tags = Vec::with_capacity(count);
    for _ in 0..count {
        let (key, value) = (rest.text()?.into(), rest.text()?.into());
        tags.push(Tag { key, value });
    }
    if !rest.0.is_empty() {
        return Err(RecordError::Length);
    }
    Ok(Record {
        arn,
        ttl_seconds,
        created,
        version,
        tags: tags.into(),
    })
}

struct Rest<'b>(&'b [u8]);

impl<'b> Rest<'b> {
    fn take(&mut self, len: usize) -> Result<&'b [u8], RecordError> {
        let (taken, rest) = self.0.split_at_checked(len).ok_or(RecordError::Length)?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], RecordError> {
        let taken = self.take(N)?;
        taken.try_into().map_err(|_| RecordError::Length)
    }

    fn length(&mut self) -> Result<usize, RecordError> {
        Ok(u16::from_le_bytes(self.array()?).into())
    }

    fn text(&mut self) -> Result<&'b str, RecordError> {
        let len = self.length()?;
        std::str::from_utf8(self.take(len)?).map_err(|_| RecordError::Text)
    }
}

fn put_text(bytes: &mut Vec<u8>, text: &str) {
    put_length(bytes, text.len());
    bytes.extend(text.as_bytes());
}

/// Appends the length of a text to an encoded record. Panics if the text is longer than the API allows.
fn put_length(bytes: &mut Vec<u8>, len: usize) {
    let len = u16::try_from(len).expect("ARNs have at most 1,024 bytes, tags at most 1,024");
    bytes.extend(len.to_le_bytes());
}

const FORMAT: u8 = 1;

#[cfg(test)]
mod encoding_tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_bytes_of_format_1_are_these() {
        let record = sample();
        let mut expected = vec![1, 70, 0];
        expected.extend(b"arn:aws:kinesisvideo:us-west-2:123456789012:channel/demo/1700000000000");
        expected.extend([60, 0, 0, 0, 0, 0x68, 0xe5, 0xcf, 0x8b, 1, 0, 0]);
        expected.extend(b"0123456789ABCDEFGHIJ");
        expected.extend([1, 0, 4, 0]);
        expected.extend(b"site");
        expected.extend([5, 0]);
        expected.extend("Köln".as_bytes());
        assert_eq!(*encode(&record), *expected);
        same(&decode(key(&record.arn), &expected).unwrap(), &record);
    }

    #[test]
    fn what_does_not_fit_is_refused_by_what_is_wrong() {
        let record = sample();
        let (key, bytes) = (key(&record.arn), encode(&record).into_vec());
        let refused = |change: &dyn Fn(&mut Vec<u8>)| {
            let mut bytes = bytes.clone();
            change(&mut bytes);
            decode(key, &bytes).unwrap_err()
        };
        assert_eq!(refused(&|bytes| bytes[0] = 2), RecordError::Format(2));
        assert_eq!(refused(&|bytes| bytes[0] = 0), RecordError::Format(0));
        assert_eq!(refused(&|bytes| bytes.push(0)), RecordError::Length);
        assert_eq!(refused(&|bytes| bytes[3] = b'x'), RecordError::Arn);
        assert_eq!(refused(&|bytes| bytes[3] = 0xff), RecordError::Text);
        let version_at = 3 + record.arn.as_str().len() + 12;
        let found = refused(&|bytes| bytes[version_at] = b'-');
        assert_eq!(found, RecordError::Version);
        let tags_at = version_at + VERSION_BYTES;
        assert_eq!(refused(&|bytes| bytes[tags_at] = 51), RecordError::Tags);
        let found = decode("us-west-2:123456789012:channel/other", &bytes).unwrap_err();
        assert_eq!(found, RecordError::Key);
        for len in 0..bytes.len() {
            let found = decode(key, &bytes[..len]).unwrap_err();
            assert_eq!(found, RecordError::Length, "{len} bytes");
        }
        let text = RecordError::Format(2).to_string();
        assert!(text.contains("use the version that wrote it"), "{text}");
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(
            name in "[a-zA-Z0-9_.-]{1,256}",
            partition in "[a-z-]{1,10}",
            numbers in (any::<u32>(), any::<u64>(), 0..1_000_000_000_000_000u64),
            seed in any::<u64>(),
            tags in proptest::collection::vec(("\\PC{1,128}", "\\PC{0,256}"), 0..=TAGS_MAX),
        ) {
            let (ttl_seconds, created, time) = numbers;
            let arn = format!("arn:{partition}:kinesisvideo:eu-1:1:channel/{name}/{time}");
            let tag = |(key, value): (String, String)| Tag { key: key.into(), value: value.into() };
            let record = Record {
                arn: ChannelArn::parse(&arn, false).unwrap(),
                ttl_seconds,
                created: Wall(created),
                version: Version::draw(&mut fastrand::Rng::with_seed(seed)),
                tags: tags.into_iter().map(tag).collect::<Vec<_>>().into(),
            };
            let bytes = encode(&record);
            prop_assert!(bytes.len() <= ENCODED_BYTES_MAX);
            same(&decode(key(&record.arn), &bytes).unwrap(), &record);
        }

        #[test]
        fn any_bytes_are_a_record_or_refused(
            bytes in proptest::collection::vec(any::<u8>(), 0..300), at in 0..200_usize
        ) {
            let sample = sample();
            let key = key(&sample.arn);
            drop(decode(key, &bytes));
            let mut changed = encode(&sample).into_vec();
            let at = at % changed.len();
            changed.splice(at.., bytes);
            if let Ok(record) = decode(key, &changed) {
                prop_assert_eq!(&*encode(&record), &*changed);
            }
        }
    }

    fn sample() -> Record {
        let arn = "arn:aws:kinesisvideo:us-west-2:123456789012:channel/demo/1700000000000";
        Record {
            arn: ChannelArn::parse(arn, true).unwrap(),
            ttl_seconds: 60,
            created: Wall(1_700_000_000_000),
            version: Version::from_bytes(*b"0123456789ABCDEFGHIJ").unwrap(),
            tags: vec![Tag {
                key: "site".into(),
                value: "Köln".into(),
            }]
            .into(),
        }
    }

    fn same(left: &Record, right: &Record) {
        assert_eq!(format!("{left:?}"), format!("{right:?}"));
    }
}
