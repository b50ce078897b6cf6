//! The documents: what the AWS CLI prints of channels, and tags with the ARN of their channel.
//!
//! ```text
//!  {"ChannelInfoList": [CHANNEL, …]}            aws kinesisvideo list-signaling-channels
//!  {"ChannelInfo": CHANNEL}                     aws kinesisvideo describe-signaling-channel
//!  {"ChannelARN": ARN, "Tags": {KEY: VALUE}}    aws kinesisvideo list-tags-for-resource, with a --query
//! ```
//! Members that are not known are ignored: the service may add some.

use serde::{Deserialize, Serialize};
use serde_json::Deserializer;
use std::borrow::Cow;
use std::collections::BTreeMap;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// A channel as `ChannelInfo` has it.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "PascalCase", expecting = "a JSON object of a channel")]
pub(crate) struct Channel<'t> {
    #[serde(borrow)]
    pub(crate) channel_name: Cow<'t, str>,
    #[serde(borrow, rename = "ChannelARN")]
    pub(crate) channel_arn: Cow<'t, str>,
    #[serde(borrow)]
    pub(crate) channel_type: Cow<'t, str>,
    #[serde(borrow)]
    pub(crate) channel_status: Cow<'t, str>,
    pub(crate) creation_time: CreationTime<'t>,
    pub(crate) single_master_configuration: Option<SingleMaster>,
    #[serde(borrow, default)]
    pub(crate) version: Cow<'t, str>,
}

/// A moment as the AWS CLI prints it: version 1 the number of the service's answer, version 2 a text.
#[derive(Debug, Deserialize, Serialize)]
#[serde(
    untagged,
    expecting = "a CreationTime must be seconds since 1970 as a number, or a text of RFC 3339"
)]
pub(crate) enum CreationTime<'t> {
    Seconds(f64),
    #[serde(borrow)]
    Text(Cow<'t, str>),
}

impl CreationTime<'_> {
    /// Seconds since 1970; `None` for a text that is no moment, and for a number that no ARN can have.
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
pub(crate) struct SingleMaster {
    pub(crate) message_ttl_seconds: Option<i64>,
}

/// The tags of one channel.
#[derive(Debug, Serialize)]
pub(crate) struct ChannelTags {
    #[serde(rename = "ChannelARN")]
    pub(crate) channel_arn: String,
    #[serde(rename = "Tags")]
    pub(crate) tags: BTreeMap<String, String>,
}

/// One document.
#[derive(Debug)]
pub(crate) enum Document<'t> {
    Channels(Vec<Channel<'t>>),
    Tags(ChannelTags),
}

/// The members that tell documents apart.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", expecting = "a JSON object")]
struct Members<'t> {
    #[serde(borrow)]
    channel_info_list: Option<Vec<Channel<'t>>>,
    #[serde(borrow)]
    channel_info: Option<Channel<'t>>,
    #[serde(rename = "ChannelARN")]
    channel_arn: Option<String>,
    #[serde(default)]
    tags: Option<BTreeMap<String, String>>,
}

/// Gives each document of a text with its number, from 1.
///
/// # Errors
/// The place of the first thing that is no such document, what is wrong with it, and what is allowed. Documents before
/// it were given.
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
            format!("document {number}{place}: {}: {ALLOWED}", error.inner())
        })?;
        let document = members.document();
        give(
            number,
            document.ok_or_else(|| format!("document {number}: it is none of these: {ALLOWED}"))?,
        );
    }
    if number == 0 {
        return Err(format!("it holds no document: {ALLOWED}"));
    }
    Ok(())
}

impl<'t> Members<'t> {
    /// The document, if the members are those of one kind.
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

/// A creation time has at most 15 digits, of milliseconds.
const SECONDS_END: f64 = 1e12;

const ALLOWED: &str = "allowed are the JSON documents of list-signaling-channels and describe-signaling-channel, and \
                       {\"ChannelARN\": ARN, \"Tags\": {KEY: VALUE}}";
