//! ListSignalingChannels, `/listSignalingChannels`.
//!
//! Order is by name, bytewise. A page's token is the last name in base64, so that paging survives channels that come
//! and go between two pages.

use crate::aws::ChannelName;
use crate::base64;
use crate::control::channels::channel_info::{ChannelInfo, channel_info};
use crate::control::constraint::{channel_name, integer, next_token, required};
use crate::control::error::ApiError;
use crate::control::member::Member;
use crate::control::owned::OwnedName;
use crate::json::value::Object;
use std::ops::RangeInclusive;

/// Most entries of one page, whatever `MaxResults` says: about 400 KiB of text.
pub const LIST_ENTRIES_MAX: usize = 1000;

/// The values that `MaxResults` may have. Source: API Reference, "ListSignalingChannels".
const MAX_RESULTS: RangeInclusive<u32> = 1..=10_000;

/// Entries of one page when the caller does not say. Source: API Reference, "ListSignalingChannels".
const MAX_RESULTS_DEFAULT: u32 = 500;

/// Lists channels by name, in pages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListSignalingChannels {
    /// Most entries wanted: 1 to [`LIST_ENTRIES_MAX`].
    pub entries_max: usize,
    /// The page begins after this name; absent, it is the first.
    pub after: Option<OwnedName>,
    /// Only names that begin like this.
    pub prefix: Option<OwnedName>,
}

impl ListSignalingChannels {
    pub(crate) fn parse(object: Object<'_, '_>) -> Result<Self, ApiError> {
        let [max_results, token, condition] =
            object.members(["MaxResults", "NextToken", "ChannelNameCondition"])?;
        let (max_results, token) = (max_results.integer()?, token.text()?);
        let condition = read_condition(condition)?;

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
        let prefix = condition.map(check_condition).transpose()?;
        Ok(Self {
            entries_max,
            after,
            prefix,
        })
    }
}

/// Appends the response: a page of channels, and the token of the next page if there is one.
pub fn list<'a>(
    out: &mut Vec<u8>,
    channels: impl IntoIterator<Item = ChannelInfo<'a>>,
    next_token: Option<&str>,
) {
    crate::control::write::member(out, b'{', "ChannelInfoList");
    out.push(b'[');
    for (position, info) in channels.into_iter().enumerate() {
        if position > 0 {
            out.push(b',');
        }
        channel_info(out, &info);
    }
    out.push(b']');
    if let Some(token) = next_token {
        crate::control::write::member(out, b',', "NextToken");
        crate::json::write::string(out, token);
    }
    out.push(b'}');
}

/// The token of the page that begins after this name: at most 344 characters of `[a-zA-Z0-9+/=]`.
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

/// `ChannelNameCondition` with its JSON types known: operator and value.
type RawCondition<'b> = (Option<&'b str>, Option<&'b str>);

fn read_condition<'b>(condition: Member<'_, 'b>) -> Result<Option<RawCondition<'b>>, ApiError> {
    let Some(condition) = condition.object()? else {
        return Ok(None);
    };
    let [operator, value] = condition.members(["ComparisonOperator", "ComparisonValue"])?;
    Ok(Some((operator.text()?, value.text()?)))
}

fn check_condition((operator, value): RawCondition<'_>) -> Result<OwnedName, ApiError> {
    if required("ComparisonOperator", operator)? != "BEGINS_WITH" {
        return Err(ApiError::invalid("ComparisonOperator must be BEGINS_WITH."));
    }
    channel_name("ComparisonValue", required("ComparisonValue", value)?)
}
