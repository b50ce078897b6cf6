//! The records that files of documents ask for, checked whole.

use crate::channels::document::{Channel, ChannelTags, Document, documents};
use crate::channels::fault::{Faults, Source};
use crate::channels::limits::{CHANNELS_MAX, FILE_BYTES_MAX};
use crate::files::{ReadError, read_text};
use broker_core::record::{Record, Tags, Version};
use broker_core::time::Wall;
use codec::control::{Tag, checked_tags, message_ttl_seconds};
use codec::identifiers::ChannelArn;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::path::{Path, PathBuf};

/// The channels that files ask for, by region, account and name.
#[derive(Debug, Default)]
pub(crate) struct Gathered<'f> {
    pub(crate) channels: BTreeMap<Box<str>, Wanted<'f>>,
    pub(crate) faults: Faults,
}

/// One of them.
#[derive(Debug)]
pub(crate) struct Wanted<'f> {
    pub(crate) record: Record,
    pub(crate) source: Source<'f>,
    /// A document has given its tags.
    tagged: bool,
}

/// Tags whose channel may come in a later file.
type Untied<'f> = Vec<(Source<'f>, ChannelTags)>;

/// Reads all files. `random` draws the versions of channels whose own cannot be kept.
pub(crate) fn gather<'f>(files: &'f [PathBuf], random: &mut fastrand::Rng) -> Gathered<'f> {
    let mut gathered = Gathered::default();
    let mut untied = Untied::new();
    for file in files {
        let text = match read_text(file, FILE_BYTES_MAX) {
            Ok(text) => text,
            Err(ReadError::TooLong(most)) => {
                let text = format!("it is too long: allowed are {most} bytes, and several files");
                gathered.faults.of_file(file, &text);
                continue;
            }
            Err(error) => {
                let text = format!("{error}: allowed is a file of JSON documents that can be read");
                gathered.faults.of_file(file, &text);
                continue;
            }
        };
        gathered.read(file, &text.content, &mut untied, random);
    }
    gathered.tie_all(&untied);
    gathered
}

/// Reads one text, which faults name so.
pub(crate) fn gather_text<'f>(
    name: &'f Path,
    text: &str,
    random: &mut fastrand::Rng,
) -> Gathered<'f> {
    let (mut gathered, mut untied) = (Gathered::default(), Untied::new());
    gathered.read(name, text, &mut untied, random);
    gathered.tie_all(&untied);
    gathered
}

impl<'f> Gathered<'f> {
    fn read(
        &mut self,
        file: &'f Path,
        text: &str,
        untied: &mut Untied<'f>,
        random: &mut fastrand::Rng,
    ) {
        let read = documents(text, |document, found| {
            let source = Source { file, document };
            match found {
                Document::Channels(channels) => {
                    for channel in &channels {
                        self.take(source, channel, random);
                    }
                }
                Document::Tags(tags) => untied.push((source, tags)),
            }
        });
        if let Err(text) = read {
            self.faults.of_file(file, &text);
        }
    }

    fn tie_all(&mut self, untied: &Untied<'f>) {
        for (source, tags) in untied {
            self.tie(*source, tags);
        }
    }

    fn take(&mut self, source: Source<'f>, channel: &Channel<'_>, random: &mut fastrand::Rng) {
        let fault = match record(channel, random) {
            Ok(record) => self.add(source, record),
            Err(fault) => Err(fault),
        };
        if let Err(fault) = fault {
            self.faults
                .of_channel(source, &channel.channel_name, &fault);
        }
    }

    fn add(&mut self, source: Source<'f>, record: Record) -> Result<(), String> {
        let count = self.channels.len();
        match self.channels.entry(record.arn.identity().into()) {
            Entry::Occupied(entry) => {
                let Wanted {
                    record: known,
                    source: first,
                    ..
                } = entry.get();
                differences(known, &record, false).map_or(Ok(()), |differences| {
                    let (file, document) = (first.file.display(), first.document);
                    Err(format!(
                        "it comes twice with other values ({differences}), first in {file} (document {document}): \
                         allowed once, or with equal values"
                    ))
                })
            }
            Entry::Vacant(_) if count >= CHANNELS_MAX => Err(format!(
                "it is one too many: allowed are {CHANNELS_MAX} channels in all files together"
            )),
            Entry::Vacant(entry) => {
                entry.insert(Wanted {
                    record,
                    source,
                    tagged: false,
                });
                Ok(())
            }
        }
    }

    /// Gives a channel its tags.
    fn tie(&mut self, source: Source<'f>, given: &ChannelTags) {
        let arn = ChannelArn::parse(&given.channel_arn, false);
        let name = arn.as_ref().map_or(&*given.channel_arn, ChannelArn::name);
        let fault = match &arn {
            Ok(arn) => tied(&mut self.channels, arn, given),
            Err(error) => Err(format!("the ARN of its tags is none: {error}")),
        };
        if let Err(fault) = fault {
            self.faults.of_channel(source, name, &fault);
        }
    }
}

fn tied(
    channels: &mut BTreeMap<Box<str>, Wanted<'_>>,
    arn: &ChannelArn,
    given: &ChannelTags,
) -> Result<(), String> {
    let wanted = channels
        .get_mut(arn.identity())
        .filter(|wanted| wanted.record.arn == *arn);
    let wanted = wanted.ok_or_else(|| {
        format!(
            "there are tags for {arn}, which no document has as a channel: allowed are tags of channels that a \
             document of list-signaling-channels or describe-signaling-channel in one of the files has"
        )
    })?;
    let pairs = given.tags.iter().map(|(key, value)| (&**key, &**value));
    let tags: Tags = checked_tags(pairs)
        .map_err(|error| error.message.into_owned())?
        .into();
    if wanted.tagged && !same_tags(&wanted.record.tags, &tags) {
        return Err("its tags come twice with other values: allowed once, or equal".into());
    }
    (wanted.record.tags, wanted.tagged) = (tags, true);
    Ok(())
}

/// The record that a document asks for, without tags; else what is wrong, and what is allowed.
fn record(channel: &Channel<'_>, random: &mut fastrand::Rng) -> Result<Record, String> {
    let arn = ChannelArn::parse(&channel.channel_arn, false).map_err(|error| error.to_string())?;
    if arn.name() != channel.channel_name {
        return Err(format!(
            "its ARN names another channel, {}: allowed is the ARN of this channel",
            arn.name()
        ));
    }
    if channel.channel_type != "SINGLE_MASTER" {
        return Err(format!(
            "ChannelType is {:?}: allowed is SINGLE_MASTER, the only type that this service has",
            channel.channel_type
        ));
    }
    if channel.channel_status != "ACTIVE" {
        return Err(format!(
            "ChannelStatus is {:?}: allowed is ACTIVE: list it again when it is, or leave it out",
            channel.channel_status
        ));
    }
    let created_ms = arn
        .creation_time()
        .parse()
        .map_err(|_| "its ARN has no creation time")?;
    check_created(channel, created_ms)?;
    let single_master = channel.single_master_configuration.as_ref();
    let ttl = single_master.and_then(|configuration| configuration.message_ttl_seconds);
    let ttl_seconds = message_ttl_seconds(ttl).map_err(|error| error.message.into_owned())?;
    let version = channel.version.as_bytes().try_into().ok();
    let version = version.and_then(Version::from_bytes);
    Ok(Record {
        arn,
        ttl_seconds,
        created: Wall(created_ms),
        version: version.unwrap_or_else(|| Version::draw(random)),
        tags: Tags::default(),
    })
}

/// The ARN has milliseconds and is what clients keep, so it wins; but both are of one channel.
fn check_created(channel: &Channel<'_>, created_ms: u64) -> Result<(), String> {
    let seconds = channel.creation_time.seconds().ok_or(
        "CreationTime is no moment: allowed are seconds since 1970 as a number, or a text of RFC 3339",
    )?;
    let of_arn = created_ms as f64 / 1000.0;
    // Also for what is no number.
    if (seconds - of_arn).abs() <= CREATED_APART_MAX_S {
        return Ok(());
    }
    Err(format!(
        "CreationTime is {seconds:.3} s after 1970, but its ARN says {of_arn:.3}: allowed is a second between them"
    ))
}

/// The members in which two records of one name differ, beside their versions; `None` when there is none.
pub(crate) fn differences(one: &Record, other: &Record, with_tags: bool) -> Option<String> {
    let mut names = Vec::new();
    if one.arn != other.arn {
        names.push(format!("ARN {} and {}", one.arn, other.arn));
    }
    if one.ttl_seconds != other.ttl_seconds {
        let (one, other) = (one.ttl_seconds, other.ttl_seconds);
        names.push(format!("MessageTtlSeconds {one} and {other}"));
    }
    if with_tags && !same_tags(&one.tags, &other.tags) {
        names.push(format!("{} and {} tags", one.tags.len(), other.tags.len()));
    }
    (!names.is_empty()).then(|| names.join(", "))
}

/// Whether they are the same, in any order.
fn same_tags(one: &[Tag], other: &[Tag]) -> bool {
    let sorted = |tags: &[Tag]| {
        let pairs = tags.iter().map(|tag| (tag.key.clone(), tag.value.clone()));
        pairs.collect::<BTreeMap<_, _>>()
    };
    one.len() == other.len() && sorted(one) == sorted(other)
}

/// The difference of `CreationTime` and ARN that is taken for rounding, in seconds.
const CREATED_APART_MAX_S: f64 = 1.0;
