//! Channel records. A record contains everything that is stored about a channel except its connections.

use crate::time::Wall;
use codec::control::{ChannelStatus, Tag};
use codec::identifiers::ChannelArn;
use serde::{Deserialize, Serialize};
use std::borrow::Borrow;
use std::cmp::Ordering;
use std::ops::Deref;
use std::sync::Arc;

/// Length of a version, in characters of `[A-Za-z0-9]`. The same as in the cloud service.
pub const VERSION_BYTES: usize = 20;

/// A channel's version, which every update changes. Update and Delete can name the version that they expect, so that
/// they do not act on stale data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "[u8; VERSION_BYTES]")]
pub struct Version([u8; VERSION_BYTES]);

impl Version {
    /// Generates a random version.
    #[must_use]
    pub fn draw(random: &mut fastrand::Rng) -> Self {
        Self(std::array::from_fn(|_| {
            u8::try_from(random.alphanumeric()).unwrap_or(b'0')
        }))
    }

    /// Creates a version from stored bytes. Returns `None` if one of them is not a letter or digit.
    #[must_use]
    pub fn from_bytes(bytes: [u8; VERSION_BYTES]) -> Option<Self> {
        bytes
            .iter()
            .all(u8::is_ascii_alphanumeric)
            .then_some(Self(bytes))
    }

    /// Returns the version as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl TryFrom<[u8; VERSION_BYTES]> for Version {
    type Error = &'static str;

    fn try_from(bytes: [u8; VERSION_BYTES]) -> Result<Self, Self::Error> {
        Self::from_bytes(bytes).ok_or("a version is of letters and digits")
    }
}

/// The record of a channel.
///
/// Source: KVS API reference, "`ChannelInfo`". All channels have the type `SINGLE_MASTER`, and are ACTIVE once created.
#[derive(Clone, Debug)]
pub struct Record {
    /// The ARN: region, account, name and creation time.
    pub arn: ChannelArn,
    /// How long undelivered messages are kept, in seconds (5 to 120).
    pub ttl_seconds: u32,
    /// When the channel was created.
    pub created: Wall,
    /// The current version.
    pub version: Version,
    /// The tags in the order in which they were given, at most 50 pairs of key and value.
    pub tags: Tags,
}

/// A channel's tags. Nearly all channels have none, so an empty list takes only one machine word.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tags(
    #[expect(
        clippy::box_collection,
        reason = "8 bytes instead of 24 in every channel"
    )]
    Option<Box<Vec<Tag>>>,
);

impl Tags {
    /// Returns the tags as a vector.
    #[must_use]
    pub fn into_vec(self) -> Vec<Tag> {
        self.0.map_or_else(Vec::new, |tags| *tags)
    }
}

impl From<Vec<Tag>> for Tags {
    /// Shrinks the list to its length, because [`Record::bytes`] ignores spare capacity.
    fn from(mut tags: Vec<Tag>) -> Self {
        tags.shrink_to_fit();
        Self((!tags.is_empty()).then(|| Box::new(tags)))
    }
}

impl Deref for Tags {
    type Target = [Tag];

    fn deref(&self) -> &[Tag] {
        self.0.as_ref().map_or(&[], |tags| tags)
    }
}

/// A channel's entry in a list. Contains everything but the tags, which may take about 80 KiB.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ListedChannel {
    /// The ARN; see [`Record::arn`].
    pub arn: ChannelArn,
    /// The lifetime of messages; see [`Record::ttl_seconds`].
    pub ttl_seconds: u32,
    /// When the channel was created; see [`Record::created`].
    pub created: Wall,
    /// The current version; see [`Record::version`].
    pub version: Version,
    /// The status of the channel.
    pub status: ChannelStatus,
}

impl Record {
    /// Returns how many bytes of shard memory the record takes, including its table entries and the allocator's
    /// overhead.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let text = |text: &str| allocated(text.len());
        let tag = |tag: &Tag| size_of::<Tag>() + text(&tag.key) + text(&tag.value);
        let list = allocated(size_of::<Vec<Tag>>()) + allocated(0);
        let list = if self.tags.is_empty() { 0 } else { list };
        let arn = text(self.arn.as_str());
        RECORD_BYTES_FIXED + arn + list + self.tags.iter().map(tag).sum::<usize>()
    }

    /// Returns what the channel adds to its account's totals.
    #[must_use]
    pub fn holding(&self) -> Holding {
        Holding {
            channels: 1,
            bytes: self.bytes() as u64,
        }
    }

    /// Returns the channel's entry for a list.
    #[must_use]
    pub fn listed(&self, status: ChannelStatus) -> ListedChannel {
        ListedChannel {
            arn: self.arn.clone(),
            ttl_seconds: self.ttl_seconds,
            created: self.created,
            version: self.version,
            status,
        }
    }
}

/// A record that is its own map key, which saves a separate copy of the identity. Records are ordered by identity.
#[derive(Clone, Debug)]
pub(crate) struct NamedRecord(pub(crate) Arc<Record>);

impl Borrow<str> for NamedRecord {
    fn borrow(&self) -> &str {
        self.0.arn.identity()
    }
}

impl PartialEq for NamedRecord {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for NamedRecord {}

impl PartialOrd for NamedRecord {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for NamedRecord {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.arn.identity().cmp(other.0.arn.identity())
    }
}

/// Number of channels and total record size of an account, on one or more shards.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holding {
    /// Number of channels, including those that are being created.
    pub channels: u64,
    /// Total size of the records, in bytes.
    pub bytes: u64,
}

impl Holding {
    /// Returns the sum of the two totals.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            channels: self.channels.saturating_add(other.channels),
            bytes: self.bytes.saturating_add(other.bytes),
        }
    }
}

/// A large number of records in insertion order. They are stored in chunks, and each chunk is freed once its last
/// record is taken. Converting a million records to another representation thus never needs memory for both at once.
#[derive(Debug, Default)]
pub struct Records(Vec<Vec<Record>>);

impl Records {
    /// Appends a record.
    pub fn push(&mut self, record: Record) {
        match self.0.last_mut().filter(|last| last.len() < CHUNK) {
            Some(last) => last.push(record),
            None => {
                let mut chunk = Vec::with_capacity(CHUNK);
                chunk.push(record);
                self.0.push(chunk);
            }
        }
    }

    /// Returns the number of records.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.iter().map(Vec::len).sum()
    }

    /// Returns `true` if there are no records.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromIterator<Record> for Records {
    fn from_iter<I: IntoIterator<Item = Record>>(records: I) -> Self {
        let mut all = Self::default();
        records.into_iter().for_each(|record| all.push(record));
        all
    }
}

impl IntoIterator for Records {
    type Item = Record;
    type IntoIter = std::iter::Flatten<std::vec::IntoIter<Vec<Record>>>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter().flatten()
    }
}

/// Returns the maximum memory in bytes for an allocation of this size. Neighboring size classes of the allocator are
/// one eighth apart, or 16 bytes if that is more.
fn allocated(bytes: usize) -> usize {
    bytes + bytes / 8 + 16
}

/// Number of bytes that a channel takes in tables, besides its text. A channel has a slot, entries in a half-full map
/// and a half-full catalog chunk, and entries in the list of free slots and in the node's list of slots.
const RECORD_BYTES_FIXED: usize = 256;

/// Number of records in a chunk of about 48 KiB.
const CHUNK: usize = 512;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_come_out_as_they_went_in() {
        for count in [0, 1, CHUNK, CHUNK + 1, 3 * CHUNK] {
            let record = |number: usize| Record {
                arn: ChannelArn::parse("arn:aws:kinesisvideo:us-west-2:1:channel/x/17", false)
                    .unwrap(),
                ttl_seconds: 60,
                created: Wall(number as u64),
                version: Version([b'A'; VERSION_BYTES]),
                tags: Tags::default(),
            };
            let records: Records = (0..count).map(record).collect();
            assert_eq!((records.len(), records.is_empty()), (count, count == 0));
            let created: Vec<u64> = records.into_iter().map(|record| record.created.0).collect();
            assert_eq!(created, Vec::from_iter(0..count as u64));
        }
    }

    #[test]
    fn versions_are_twenty_letters_and_digits_and_differ() {
        let mut random = fastrand::Rng::with_seed(7);
        let (one, two) = (Version::draw(&mut random), Version::draw(&mut random));
        let fine = one.as_str().len() == VERSION_BYTES
            && one.as_str().bytes().all(|b| b.is_ascii_alphanumeric());
        assert!(fine);
        assert_ne!(one, two);
    }
}
