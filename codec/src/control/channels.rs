//! Operations on channels: create, describe, list, update, delete, and get endpoint.

use crate::base64;
use crate::control::constraint::{
    BodyRules, OwnedName, channel_arn, channel_name, integer, message_ttl_seconds, next_token,
    required, ttl_seconds, version,
};
use crate::control::json;
use crate::control::tags::{self, Tag};
use crate::identifiers::{ChannelArn, ChannelName};
use crate::json::{Object, write::string};
use crate::{control::ApiError, signal::Role};
use serde::{Deserialize, Serialize};
use std::ops::RangeInclusive;
use strum::IntoStaticStr;

/// Metadata of a channel, taken from its record.
#[derive(Clone, Copy, Debug)]
pub struct ChannelInfo<'a> {
    /// Name of the channel.
    pub name: &'a str,
    /// ARN of the channel.
    pub arn: &'a str,
    /// State of the channel.
    pub status: ChannelStatus,
    /// Creation time, in milliseconds since the epoch.
    pub created_ms: u64,
    /// How long undelivered messages are kept, in seconds.
    pub ttl_seconds: u32,
    /// Version of the record: 1 to 64 characters of `[a-zA-Z0-9]`.
    pub version: &'a str,
}

/// A channel's state, as defined by AWS. This service responds only after a change is complete, so callers never see an
/// intermediate state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, IntoStaticStr, Serialize, Deserialize)]
#[strum(serialize_all = "UPPERCASE")]
pub enum ChannelStatus {
    /// The channel is being created.
    Creating,
    /// The channel is in use.
    Active,
    /// The channel is being updated.
    Updating,
    /// The channel is being deleted. The C SDK does not connect to it.
    Deleting,
}

impl ChannelStatus {
    /// Returns the AWS name of the state.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// Appends a channel as a JSON object. The C SDK scans the tokens in sequence and ignores nesting, so the order of the
/// members must not change, and `SingleMasterConfiguration` must have exactly one member.
fn channel_info(out: &mut Vec<u8>, info: &ChannelInfo<'_>) {
    json::member(out, b'{', "ChannelName");
    string(out, info.name);
    json::member(out, b',', "ChannelARN");
    string(out, info.arn);
    json::member(out, b',', "ChannelType");
    string(out, "SINGLE_MASTER");
    json::member(out, b',', "ChannelStatus");
    string(out, info.status.as_str());
    json::member(out, b',', "CreationTime");
    json::epoch_seconds(out, info.created_ms);
    json::member(out, b',', "SingleMasterConfiguration");
    json::member(out, b'{', "MessageTtlSeconds");
    out.extend(info.ttl_seconds.to_string().bytes());
    out.push(b'}');
    json::member(out, b',', "Version");
    string(out, info.version);
    out.push(b'}');
}

/// A request to create a channel. Not idempotent: it fails with `ResourceInUseException` if the name is already in use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreateSignalingChannel {
    /// Name of the channel, which must be unique within an account and region.
    pub name: OwnedName,
    /// How long undelivered messages are kept, in seconds: 5 to 120.
    pub ttl_seconds: u32,
    /// Up to 50 tags with unique keys, in the order of the request.
    pub tags: Vec<Tag>,
}

impl CreateSignalingChannel {
    pub(crate) fn parse(object: Object<'_, '_>) -> Result<Self, ApiError> {
        let [name, channel_type, configuration, tags] = object.members([
            "ChannelName",
            "ChannelType",
            "SingleMasterConfiguration",
            "Tags",
        ])?;
        let name = name.text()?;
        let channel_type = channel_type.text()?;
        let ttl_seconds = match configuration.members(["MessageTtlSeconds"])? {
            Some([ttl_seconds]) => ttl_seconds.integer()?,
            None => None,
        };
        let tags = tags::read(tags)?.unwrap_or_default();

        let name = channel_name("ChannelName", required("ChannelName", name)?)?;
        if channel_type.is_some_and(|channel_type| channel_type != "SINGLE_MASTER") {
            // The service model lists FULL_MESH, but the documentation does not permit it anywhere.
            return Err(ApiError::invalid("ChannelType must be SINGLE_MASTER."));
        }
        Ok(Self {
            name,
            ttl_seconds: message_ttl_seconds(ttl_seconds)?,
            tags: tags::check(&tags)?,
        })
    }
}

/// Appends the response to a create request, with the ARN of the new channel.
pub fn create(out: &mut Vec<u8>, arn: &str) {
    json::strings(out, &[("ChannelARN", arn)]);
}

/// Selects a channel, either by its name in the caller's account and region or by its ARN.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selector {
    /// The channel that currently has this name.
    ByName(OwnedName),
    /// The channel that has exactly this ARN. Also used if the request contains both an ARN and the name in that ARN.
    ByArn(ChannelArn),
}

impl Selector {
    /// Returns the name of the channel.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::ByName(name) => name.as_str(),
            Self::ByArn(arn) => arn.name(),
        }
    }

    pub(crate) fn parse(object: Object<'_, '_>, rules: &BodyRules) -> Result<Self, ApiError> {
        let [name, arn] = object.members(["ChannelName", "ChannelARN"])?;
        let (name, arn) = (name.text()?, arn.text()?);

        let name = name
            .map(|name| channel_name("ChannelName", name))
            .transpose()?;
        let arn = arn.map(|arn| channel_arn(Some(arn), rules)).transpose()?;
        match (name, arn) {
            (None, None) => Err(ApiError::invalid("ChannelName or ChannelARN is required.")),
            (Some(name), None) => Ok(Self::ByName(name)),
            (None, Some(arn)) => Ok(Self::ByArn(arn)),
            (Some(name), Some(arn)) if name.as_str() == arn.name() => Ok(Self::ByArn(arn)),
            (Some(_), Some(_)) => Err(ApiError::invalid(
                "ChannelName and ChannelARN must mean the same channel.",
            )),
        }
    }
}

/// Appends the response to a describe request: the channel's metadata.
pub fn describe(out: &mut Vec<u8>, info: &ChannelInfo<'_>) {
    json::member(out, b'{', "ChannelInfo");
    channel_info(out, info);
    out.push(b'}');
}

// ListSignalingChannels, `/listSignalingChannels`.
//
// Channels are ordered by name, bytewise. A page's token is the last name on that page, in base64, so creating or
// deleting channels between two pages does not disturb paging.

/// Maximum number of entries per page, even if `MaxResults` is larger. A full page is about 400 KiB long.
pub const LIST_ENTRIES_MAX: usize = 1000;

/// Valid range of `MaxResults`. Source: API Reference, "ListSignalingChannels".
const MAX_RESULTS: RangeInclusive<u32> = 1..=10_000;

/// Default number of entries per page. Source: API Reference, "ListSignalingChannels".
const MAX_RESULTS_DEFAULT: u32 = 500;

/// A request to list channels ordered by name, one page at a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListSignalingChannels {
    /// Maximum number of entries per page: 1 to [`LIST_ENTRIES_MAX`].
    pub entries_max: usize,
    /// Last name on the previous page, or `None` for the first page.
    pub after: Option<OwnedName>,
    /// Prefix that all listed names must have.
    pub prefix: Option<OwnedName>,
}

impl ListSignalingChannels {
    pub(crate) fn parse(object: Object<'_, '_>) -> Result<Self, ApiError> {
        let [max_results, token, condition] =
            object.members(["MaxResults", "NextToken", "ChannelNameCondition"])?;
        let (max_results, token) = (max_results.integer()?, token.text()?);
        let condition = match condition.members(["ComparisonOperator", "ComparisonValue"])? {
            Some([operator, value]) => Some((operator.text()?, value.text()?)),
            None => None,
        };

        let max_results = match max_results {
            Some(max_results) => integer("MaxResults", max_results, MAX_RESULTS)?,
            None => MAX_RESULTS_DEFAULT,
        };
        let entries_max = usize::try_from(max_results)
            .map_or(LIST_ENTRIES_MAX, |wanted| wanted.min(LIST_ENTRIES_MAX));
        let after = match token {
            Some("") | None => None,
            Some(token) => Some(name_of_token(token)?),
        };
        let prefix = match condition {
            Some((operator, value)) => {
                if required("ComparisonOperator", operator)? != "BEGINS_WITH" {
                    return Err(ApiError::invalid("ComparisonOperator must be BEGINS_WITH."));
                }
                let value = required("ComparisonValue", value)?;
                Some(channel_name("ComparisonValue", value)?)
            }
            None => None,
        };
        Ok(Self {
            entries_max,
            after,
            prefix,
        })
    }
}

/// Appends the response to a list request: a page of channels, with a token if there is a next page.
pub fn list<'a>(
    out: &mut Vec<u8>,
    channels: impl IntoIterator<Item = ChannelInfo<'a>>,
    next_token: Option<&str>,
) {
    json::member(out, b'{', "ChannelInfoList");
    json::array(out, channels, |out, info| channel_info(out, &info));
    if let Some(token) = next_token {
        json::member(out, b',', "NextToken");
        string(out, token);
    }
    out.push(b'}');
}

/// Returns the token for the page that follows `last_name`: at most 344 characters of `[a-zA-Z0-9+/=]`.
#[must_use]
pub fn page_token(last_name: &str) -> String {
    let mut token = Vec::new();
    base64::encode(&mut token, last_name.as_bytes());
    token.into_iter().map(char::from).collect()
}

fn name_of_token(token: &str) -> Result<OwnedName, ApiError> {
    let refused = || {
        ApiError::invalid("NextToken must be one that an earlier ListSignalingChannels returned.")
    };
    next_token(token)?;
    let name = base64::decode(token.as_bytes()).ok_or_else(refused)?;
    let name = str::from_utf8(&name).map_err(|_| refused())?;
    ChannelName::parse(name)
        .map(OwnedName::from)
        .map_err(|_| refused())
}

/// A request to change how long a channel keeps undelivered messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpdateSignalingChannel {
    /// The channel to update.
    pub arn: ChannelArn,
    /// Expected version of the channel: 1 to 64 characters of `[a-zA-Z0-9]`.
    pub version: Box<str>,
    /// How long the channel keeps undelivered messages, in seconds: 5 to 120. Applies to messages that are accepted
    /// after the change.
    pub ttl_seconds: u32,
}

impl UpdateSignalingChannel {
    pub(crate) fn parse(object: Object<'_, '_>, rules: &BodyRules) -> Result<Self, ApiError> {
        let [arn, current, configuration] =
            object.members(["ChannelARN", "CurrentVersion", "SingleMasterConfiguration"])?;
        let (arn, current) = (arn.text()?, current.text()?);
        // The service model makes this member optional because of FULL_MESH. For SINGLE_MASTER, the API Reference
        // requires it.
        let configuration = match configuration.members(["MessageTtlSeconds"])? {
            Some([ttl_seconds]) => Some(ttl_seconds.integer()?),
            None => None,
        };

        let arn = channel_arn(arn, rules)?;
        let version = version(required("CurrentVersion", current)?)?;
        let configuration = required("SingleMasterConfiguration", configuration)?;
        let ttl_seconds = ttl_seconds(required("MessageTtlSeconds", configuration)?)?;
        Ok(Self {
            arn,
            version,
            ttl_seconds,
        })
    }
}

/// A request to delete a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeleteSignalingChannel {
    /// The channel to delete.
    pub arn: ChannelArn,
    /// Expected version of the channel: 1 to 64 characters of `[a-zA-Z0-9]`. `None` matches any version.
    pub version: Option<Box<str>>,
}

impl DeleteSignalingChannel {
    pub(crate) fn parse(object: Object<'_, '_>, rules: &BodyRules) -> Result<Self, ApiError> {
        let [arn, current] = object.members(["ChannelARN", "CurrentVersion"])?;
        let (arn, current) = (arn.text()?, current.text()?);

        let arn = channel_arn(arn, rules)?;
        let version = current.map(version).transpose()?;
        Ok(Self { arn, version })
    }
}

/// Valid number of protocols in a request. Source: API Reference, "SingleMasterChannelEndpointConfiguration".
const PROTOCOLS: RangeInclusive<usize> = 1..=5;

/// A request for the endpoints to connect to. The response grants no permission: permissions are checked when a client
/// connects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GetSignalingChannelEndpoint {
    /// The channel to connect to.
    pub arn: ChannelArn,
    /// Requested protocols without duplicates, in request order. Never empty; defaults to `[WSS]`.
    pub protocols: Vec<Protocol>,
    /// Role in which the client will connect. The default is viewer.
    pub role: Role,
}

/// The protocol of an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::IntoStaticStr)]
#[strum(serialize_all = "UPPERCASE")]
pub enum Protocol {
    /// WebSocket, for signaling.
    Wss,
    /// HTTPS, for the ICE configuration and for Alexa offers.
    Https,
}

impl Protocol {
    /// Returns the AWS name of the protocol.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

impl GetSignalingChannelEndpoint {
    pub(crate) fn parse(object: Object<'_, '_>, rules: &BodyRules) -> Result<Self, ApiError> {
        let [arn, configuration] =
            object.members(["ChannelARN", "SingleMasterChannelEndpointConfiguration"])?;
        let arn = arn.text()?;
        let (protocols, role) = match configuration.members(["Protocols", "Role"])? {
            Some([protocols, role]) => (protocols.texts()?, role.text()?),
            None => (None, None),
        };

        let arn = channel_arn(arn, rules)?;
        let protocols = match protocols {
            Some(protocols) => check_protocols(&protocols)?,
            None => vec![Protocol::Wss],
        };
        let role = match role {
            Some("MASTER") => Role::Master,
            Some("VIEWER") | None => Role::Viewer,
            Some(_) => return Err(ApiError::invalid("Role must be MASTER or VIEWER.")),
        };
        Ok(Self {
            arn,
            protocols,
            role,
        })
    }
}

/// Appends the response to an endpoint request: one entry per requested protocol, in request order.
pub fn endpoint(out: &mut Vec<u8>, endpoints: &[(Protocol, &str)]) {
    json::member(out, b'{', "ResourceEndpointList");
    json::array(out, endpoints, |out, (protocol, url)| {
        let members = [("Protocol", protocol.as_str()), ("ResourceEndpoint", url)];
        json::strings(out, &members);
    });
    out.push(b'}');
}

fn check_protocols(asked: &[&str]) -> Result<Vec<Protocol>, ApiError> {
    if !PROTOCOLS.contains(&asked.len()) {
        return Err(ApiError::invalid("Protocols must have 1 to 5 entries."));
    }
    let mut protocols = Vec::with_capacity(2);
    for &name in asked {
        let protocol = match name {
            "WSS" => Protocol::Wss,
            "HTTPS" => Protocol::Https,
            "WEBRTC" => {
                return Err(ApiError::invalid(
                    "Protocols must not contain WEBRTC: this server stores no media. Use WSS and HTTPS.",
                ));
            }
            _ => return Err(ApiError::invalid("Protocols must be WSS or HTTPS.")),
        };
        if !protocols.contains(&protocol) {
            protocols.push(protocol);
        }
    }
    Ok(protocols)
}
