//! Parses and validates channels and their tags in the AWS CLI's JSON output, and writes channels in the same format. A
//! document with tags must include the channel's ARN.
//!
//! ```text
//!  {"ChannelInfoList": [CHANNEL, …]}            aws kinesisvideo list-signaling-channels
//!  {"ChannelInfo": CHANNEL}                     aws kinesisvideo describe-signaling-channel
//!  {"ChannelARN": ARN, "Tags": {KEY: VALUE}}    aws kinesisvideo list-tags-for-resource, with a --query
//! ```
//! Unknown members are ignored, since the service may add members.

use crate::files::{ReadError, read_text};
use crate::{failure::Failure, terminal::plain};
use broker_core::record::{Record, Tags, Version};
use broker_core::time::Wall;
use codec::control::{Tag, checked_tags, message_ttl_seconds};
use codec::identifiers::ChannelArn;
use serde::{Deserialize, Serialize};
use serde_json::ser::PrettyFormatter;
use serde_json::{Deserializer, Serializer};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// A channel in the JSON format of `ChannelInfo`.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "PascalCase", expecting = "a JSON object of a channel")]
pub(crate) struct ChannelDocument<'t> {
    #[serde(borrow)]
    pub(crate) channel_name: Cow<'t, str>,
    #[serde(borrow, rename = "ChannelARN")]
    pub(crate) channel_arn: Cow<'t, str>,
    #[serde(borrow)]
    channel_type: Cow<'t, str>,
    #[serde(borrow)]
    channel_status: Cow<'t, str>,
    creation_time: CreationTime<'t>,
    single_master_configuration: Option<SingleMaster>,
    #[serde(borrow, default)]
    pub(crate) version: Cow<'t, str>,
}

/// A timestamp as printed by the AWS CLI: a number in version 1, a string in version 2.
#[derive(Debug, Deserialize, Serialize)]
#[serde(
    untagged,
    expecting = "a CreationTime must be seconds since 1970 as a number, or a text of RFC 3339"
)]
enum CreationTime<'t> {
    Seconds(f64),
    #[serde(borrow)]
    Text(Cow<'t, str>),
}

impl CreationTime<'_> {
    /// Returns the timestamp in seconds since 1970. Returns `None` if it cannot be parsed, or if it is outside the
    /// range that an ARN can contain.
    pub(crate) fn seconds(&self) -> Option<f64> {
        match self {
            Self::Seconds(seconds) => Some(*seconds).filter(|it| (0.0..SECONDS_END).contains(it)),
            Self::Text(text) => {
                let moment = OffsetDateTime::parse(text, &Rfc3339).ok()?;
                let seconds = moment.unix_timestamp() as f64;
                Some(seconds + f64::from(moment.millisecond()) / 1000.0)
            }
        }
    }
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "PascalCase")]
struct SingleMaster {
    message_ttl_seconds: Option<i64>,
}

#[derive(Debug, Serialize)]
pub(crate) struct ChannelTags {
    #[serde(rename = "ChannelARN")]
    pub(crate) channel_arn: String,
    #[serde(rename = "Tags")]
    pub(crate) tags: BTreeMap<String, String>,
}

#[derive(Debug)]
pub(crate) enum Document<'t> {
    Channels(Vec<ChannelDocument<'t>>),
    Tags(ChannelTags),
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", expecting = "a JSON object")]
struct Members<'t> {
    #[serde(borrow)]
    channel_info_list: Option<Vec<ChannelDocument<'t>>>,
    #[serde(borrow)]
    channel_info: Option<ChannelDocument<'t>>,
    #[serde(rename = "ChannelARN")]
    channel_arn: Option<String>,
    #[serde(default)]
    tags: Option<BTreeMap<String, String>>,
}

/// Passes each document in the text to a callback, along with its number, which counts from 1. If a document is
/// invalid, returns an error that states its position, what is wrong, and what was expected. By then, all earlier
/// documents have been passed to the callback.
pub(crate) fn documents<'t>(
    text: &'t str,
    mut give: impl FnMut(u32, Document<'t>),
) -> Result<(), String> {
    let mut reader = Deserializer::from_str(text);
    let mut number = 0;
    while reader.end().is_err() {
        number += 1;
        let members = serde_path_to_error::deserialize::<_, Members<'_>>(&mut reader);
        let members = members.map_err(|error| {
            let path = error.path().to_string();
            let place = match path.trim_end_matches(['?', '.']) {
                "" => String::new(),
                known => format!(", {known}"),
            };
            format!("document {number}{place}: {}: {EXPECTED}", error.inner())
        })?;
        let document = members.document();
        give(
            number,
            document
                .ok_or_else(|| format!("document {number}: it is none of these: {EXPECTED}"))?,
        );
    }
    if number == 0 {
        return Err(format!("it contains no document: {EXPECTED}"));
    }
    Ok(())
}

impl<'t> Members<'t> {
    /// Returns the document if its members match exactly one kind of document.
    fn document(self) -> Option<Document<'t>> {
        match self {
            Self {
                channel_info_list: Some(channels),
                channel_info: None,
                channel_arn: None,
                tags: None,
            } => Some(Document::Channels(channels)),
            Self {
                channel_info_list: None,
                channel_info: Some(channel),
                channel_arn: None,
                tags: None,
            } => Some(Document::Channels(vec![channel])),
            Self {
                channel_info_list: None,
                channel_info: None,
                channel_arn: Some(channel_arn),
                tags,
            } => Some(Document::Tags(ChannelTags {
                channel_arn,
                tags: tags.unwrap_or_default(),
            })),
            Self { .. } => None,
        }
    }
}

/// Exclusive upper bound for a creation time in seconds. An ARN contains the time in milliseconds, with at most 15
/// digits.
const SECONDS_END: f64 = 1e12;

const EXPECTED: &str = "expected the JSON documents of list-signaling-channels and describe-signaling-channel, and \
                       {\"ChannelARN\": ARN, \"Tags\": {KEY: VALUE}}";

// The records requested by an import. All files are validated before any record is used.

#[derive(Debug, Default)]
pub(crate) struct WantedChannels<'f> {
    pub(crate) channels: BTreeMap<Box<str>, Wanted<'f>>,
    pub(crate) faults: Faults,
}

#[derive(Debug)]
pub(crate) struct Wanted<'f> {
    pub(crate) record: Record,
    pub(crate) source: Source<'f>,
    tagged: bool,
}

/// Tags whose channel has not been read yet. The channel may follow in a later file.
type Untied<'f> = Vec<(Source<'f>, ChannelTags)>;

/// Reads all files. `random` generates a version for each channel whose own version is not valid in this broker.
pub(crate) fn gather<'f>(files: &'f [PathBuf], random: &mut fastrand::Rng) -> WantedChannels<'f> {
    let mut gathered = WantedChannels::default();
    let mut untied = Untied::new();
    for file in files {
        let text = match read_text(file, FILE_BYTES_MAX) {
            Ok(text) => text,
            Err(ReadError::TooLong(most)) => {
                let text =
                    format!("it is too long: expected at most {most} bytes; use several files");
                gathered.faults.of_file(file, &text);
                continue;
            }
            Err(error) => {
                let text = format!("{error}: expected a readable file of JSON documents");
                gathered.faults.of_file(file, &text);
                continue;
            }
        };
        gathered.read(file, &text.content, &mut untied, random);
    }
    gathered.tie_all(&untied)
}

/// Reads channels and tags from a string. Error messages call the string `name`.
pub(crate) fn gather_text<'f>(
    name: &'f Path,
    text: &str,
    random: &mut fastrand::Rng,
) -> WantedChannels<'f> {
    let (mut gathered, mut untied) = (WantedChannels::default(), Untied::new());
    gathered.read(name, text, &mut untied, random);
    gathered.tie_all(&untied)
}

impl<'f> WantedChannels<'f> {
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

    fn take(
        &mut self,
        source: Source<'f>,
        channel: &ChannelDocument<'_>,
        random: &mut fastrand::Rng,
    ) {
        let taken = record(channel, random).and_then(|record| self.add(source, record));
        if let Err(fault) = taken {
            self.faults
                .of_channel(source, &channel.channel_name, &fault);
        }
    }

    fn add(&mut self, source: Source<'f>, record: Record) -> Result<(), String> {
        let count = self.channels.len();
        match self.channels.entry(record.arn.identity().into()) {
            Entry::Occupied(entry) => {
                let (known, first) = (&entry.get().record, entry.get().source);
                differences(known, &record, false).map_or(Ok(()), |differences| {
                    let (file, document) = (first.file.display(), first.document);
                    Err(format!(
                        "it is repeated with other values ({differences}), first in {file} (document {document})"
                    ))
                })
            }
            Entry::Vacant(_) if count >= CHANNELS_MAX => Err(format!(
                "it is one too many: expected at most {CHANNELS_MAX} channels in all files together"
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

    fn tie_all(mut self, untied: &Untied<'f>) -> Self {
        for (source, given) in untied {
            let arn = ChannelArn::parse(&given.channel_arn, false);
            let name = arn.as_ref().map_or(&*given.channel_arn, ChannelArn::name);
            let fault = match &arn {
                Ok(arn) => tied(&mut self.channels, arn, given),
                Err(error) => Err(format!("the ARN of its tags is invalid: {error}")),
            };
            if let Err(fault) = fault {
                self.faults.of_channel(*source, name, &fault);
            }
        }
        self
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
            "there are tags for {arn}, but no document of list-signaling-channels or \
             describe-signaling-channel has it"
        )
    })?;
    let pairs = given.tags.iter().map(|(key, value)| (&**key, &**value));
    let tags: Tags = checked_tags(pairs)
        .map_err(|error| error.message.into_owned())?
        .into();
    if wanted.tagged && !same_tags(&wanted.record.tags, &tags) {
        return Err("its tags are repeated with other values".into());
    }
    (wanted.record.tags, wanted.tagged) = (tags, true);
    Ok(())
}

/// Converts a document to a record without tags. The error states what is wrong and what was expected.
fn record(channel: &ChannelDocument<'_>, random: &mut fastrand::Rng) -> Result<Record, String> {
    let arn = ChannelArn::parse(&channel.channel_arn, false).map_err(|error| error.to_string())?;
    if arn.name() != channel.channel_name {
        return Err(format!(
            "its ARN names another channel, {}: expected the ARN of this channel",
            arn.name()
        ));
    }
    if channel.channel_type != "SINGLE_MASTER" {
        return Err(format!(
            "ChannelType is {:?}: expected SINGLE_MASTER, the only supported type",
            channel.channel_type
        ));
    }
    if channel.channel_status != "ACTIVE" {
        return Err(format!(
            "ChannelStatus is {:?}: expected ACTIVE: list it again once it is, or leave it out",
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

/// Checks that a channel's two creation times agree. The time in the ARN takes precedence, because clients store the
/// ARN, and because it is exact to the millisecond.
fn check_created(channel: &ChannelDocument<'_>, created_ms: u64) -> Result<(), String> {
    let seconds = channel.creation_time.seconds().ok_or(
        "CreationTime is invalid: expected seconds since 1970 as a number, or a text of RFC 3339",
    )?;
    let of_arn = created_ms as f64 / 1000.0;
    // Written so that NaN fails the check.
    if (seconds - of_arn).abs() <= CREATED_APART_MAX_S {
        return Ok(());
    }
    Err(format!(
        "CreationTime is {seconds:.3} s after 1970, but {of_arn:.3} in its ARN: expected at most one \
         second between them"
    ))
}

/// Describes how two records of the same channel differ, ignoring their versions. Returns `None` if there are no
/// differences.
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

fn same_tags(one: &[Tag], other: &[Tag]) -> bool {
    let sorted = |tags: &[Tag]| {
        let pairs = tags.iter().map(|tag| (tag.key.clone(), tag.value.clone()));
        pairs.collect::<BTreeMap<_, _>>()
    };
    one.len() == other.len() && sorted(one) == sorted(other)
}

/// Maximum difference in seconds between `CreationTime` and the ARN's creation time that is attributed to rounding.
const CREATED_APART_MAX_S: f64 = 1.0;

// Exports channels in the AWS CLI's JSON format, which `import` accepts.

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct List<'r> {
    channel_info_list: Vec<ChannelDocument<'r>>,
}

pub(crate) fn write(records: &[Record], out: &mut dyn Write) -> io::Result<()> {
    let channel_info_list = records.iter().map(channel).collect();
    document(&List { channel_info_list }, out)?;
    for record in records.iter().filter(|record| !record.tags.is_empty()) {
        let pair = |tag: &codec::control::Tag| (tag.key.to_string(), tag.value.to_string());
        let tags = ChannelTags {
            channel_arn: record.arn.to_string(),
            tags: record.tags.iter().map(pair).collect(),
        };
        document(&tags, out)?;
    }
    out.flush()
}

fn channel(record: &Record) -> ChannelDocument<'_> {
    let seconds = record.created.0 as f64 / 1000.0;
    ChannelDocument {
        channel_name: Cow::Borrowed(record.arn.name()),
        channel_arn: Cow::Borrowed(record.arn.as_str()),
        channel_type: Cow::Borrowed("SINGLE_MASTER"),
        channel_status: Cow::Borrowed("ACTIVE"),
        creation_time: CreationTime::Seconds(seconds),
        single_master_configuration: Some(SingleMaster {
            message_ttl_seconds: Some(record.ttl_seconds.into()),
        }),
        version: Cow::Borrowed(record.version.as_str()),
    }
}

fn document(value: &impl Serialize, out: &mut dyn Write) -> io::Result<()> {
    let format = PrettyFormatter::with_indent(b"    ");
    value.serialize(&mut Serializer::with_formatter(&mut *out, format))?;
    out.write_all(b"\n")
}

// The faults found in the files, in order. At most [`FAULTS_SHOWN_MAX`] of them are kept.

/// Where a channel or its tags come from: the file, and the document's number in the file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Source<'f> {
    pub(crate) file: &'f Path,
    pub(crate) document: u32,
}

#[derive(Debug, Default)]
pub(crate) struct Faults {
    shown: Vec<Fault>,
    count: usize,
}

/// A fault to display: its text, where it first occurred, and how many times it occurred.
#[derive(Debug)]
struct Fault {
    file: PathBuf,
    place: String,
    text: String,
    count: usize,
}

impl Faults {
    /// Records a fault that concerns a whole file. If `text` refers to a position in the file, it starts with that
    /// position.
    pub(crate) fn of_file(&mut self, file: &Path, text: &str) {
        self.add(file, String::new, text);
    }

    /// Records a fault in a channel. `text` states what is wrong and what was expected. If channels of the same file
    /// have identical faults, the fault is shown once.
    pub(crate) fn of_channel(&mut self, source: Source<'_>, name: &str, text: &str) {
        let Source { file, document } = source;
        let place = || {
            let name = plain(&shortened(name));
            format!("channel {name} (document {document}): ")
        };
        self.add(file, place, text);
    }

    fn add(&mut self, file: &Path, place: impl FnOnce() -> String, text: &str) {
        self.count += 1;
        let mut known = self.shown.iter_mut();
        if let Some(known) = known.find(|it| it.text == text && it.file == file) {
            known.count += 1;
        } else if self.shown.len() < FAULTS_SHOWN_MAX {
            self.shown.push(Fault {
                file: file.into(),
                place: place(),
                text: text.into(),
                count: 1,
            });
        }
    }

    pub(crate) const fn count(&self) -> usize {
        self.count
    }

    /// Fails with [`Failure::Configuration`] if there are faults. The error lists them and ends with `outcome`.
    pub(crate) fn none_or(&mut self, outcome: &str) -> Result<(), Failure> {
        if self.count == 0 {
            return Ok(());
        }
        let shown: usize = self.shown.iter().map(|fault| fault.count).sum();
        let more = self.count - shown;
        let faults = std::mem::take(&mut self.shown);
        let mut lines: Vec<String> = faults.iter().map(Fault::line).collect();
        if more > 0 {
            lines.push(format!("{more} more faults are not shown"));
        }
        lines.push(outcome.into());
        Err(Failure::Configuration(lines.join("\n")))
    }
}

impl Fault {
    fn line(&self) -> String {
        let (file, place, text) = (self.file.display(), &self.place, plain(&self.text));
        match self.count {
            1 => format!("{file}: {place}{text}"),
            count => format!("{file}: {place}{text} ({} more like this)", count - 1),
        }
    }
}

/// Truncates a name to the maximum length of a channel name, since names in files may have any length.
fn shortened(name: &str) -> String {
    let most = codec::limits::WORD_BYTES;
    match name.char_indices().nth(most) {
        Some((at, _)) => format!("{}…", &name[..at]),
        None => name.into(),
    }
}

// Import limits. An import that exceeds a limit writes nothing and reports which limit it exceeded.

/// Maximum file size in bytes. Enough for a million channels as printed by the AWS CLI, at about 500 bytes each. A file
/// is read into memory as a whole.
pub(crate) const FILE_BYTES_MAX: usize = 512 << 20;

/// Maximum number of channels in all files of an import. This is the largest number of channels for which measurements
/// on a single node exist. Each channel takes about 400 bytes of memory, plus its tags.
pub(crate) const CHANNELS_MAX: usize = 1_000_000;

/// Maximum number of distinct faults to show. Any further faults are only counted.
pub(crate) const FAULTS_SHOWN_MAX: usize = 100;
