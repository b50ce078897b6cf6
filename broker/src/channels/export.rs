//! Channels as documents that an import takes, in the form in which the AWS CLI prints them.

use crate::channels::document::{Channel, ChannelTags, CreationTime, SingleMaster};
use broker_core::record::Record;
use serde::Serialize;
use serde_json::Serializer;
use serde_json::ser::PrettyFormatter;
use std::borrow::Cow;
use std::io::{self, Write};

/// A document of all channels.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct List<'r> {
    channel_info_list: Vec<Channel<'r>>,
}

/// Writes a list of all channels, then the tags of each that has some.
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

fn channel(record: &Record) -> Channel<'_> {
    let seconds = record.created.0 as f64 / 1000.0;
    Channel {
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
