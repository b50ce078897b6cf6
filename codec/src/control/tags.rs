//! Operations on the tags of a channel.

use crate::control::constraint::{BodyRules, arn, only_page, required};
use crate::control::json::{self, Member};
use crate::control::{ApiError, ErrorKind};
use crate::{identifiers::ChannelArn, json::Object};
use unicode_general_category::{GeneralCategory, get_general_category};

/// Maximum number of tags per channel. Source: API Reference, "TagResource".
pub const TAGS_MAX: usize = 50;

/// Maximum length of a key, in characters. Source: model `kinesisvideo`, shape `TagKey`.
const KEY_CHARS_MAX: usize = 128;

/// Maximum length of a value, in characters. Source: model `kinesisvideo`, shape `TagValue`.
const VALUE_CHARS_MAX: usize = 256;

/// A tag. Its key and value consist of letters, separators and numbers (Unicode classes `L`, `Z`, `N`) and `_.:/=+-@`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tag {
    /// The key, 1 to 128 characters.
    pub key: Box<str>,
    /// The value, 0 to 256 characters.
    pub value: Box<str>,
}

/// The key and the value of a tag, where `None` means that the request does not contain it.
pub(crate) type RawTag<'b> = (Option<&'b str>, Option<&'b str>);

pub(crate) fn read<'b>(member: Member<'_, 'b>) -> Result<Option<Vec<RawTag<'b>>>, ApiError> {
    let read = |object: Object<'_, 'b>| {
        let [key, value] = object.members(["Key", "Value"])?;
        Ok((key.text()?, value.text()?))
    };
    let tags = member.objects()?;
    tags.map(|tags| tags.into_iter().map(read).collect())
        .transpose()
}

fn tag_key(name: &'static str, text: &str) -> Result<Box<str>, ApiError> {
    if text.is_empty() || !fits(text, KEY_CHARS_MAX) {
        return Err(ApiError::invalid(format!(
            "{name} must be 1 to 128 letters, separators, numbers or characters of _.:/=+-@."
        )));
    }
    Ok(text.into())
}

pub(crate) fn check(raw: &[RawTag<'_>]) -> Result<Vec<Tag>, ApiError> {
    if raw.len() > TAGS_MAX {
        let message = "Tags must be at most 50: a channel cannot have more.";
        return Err(ApiError::new(
            ErrorKind::TagsPerResourceExceededLimit,
            message,
        ));
    }
    let mut tags: Vec<Tag> = Vec::with_capacity(raw.len());
    for &(key, value) in raw {
        let given = required("Key of a tag", key)?;
        let value = required("Value of a tag", value)?;
        let key = tag_key("Key of a tag", given)?;
        if !fits(value, VALUE_CHARS_MAX) {
            return Err(ApiError::invalid(
                "Value of a tag must be 0 to 256 letters, separators, numbers or characters of _.:/=+-@.",
            ));
        }
        if tags.iter().any(|known| *known.key == *key) {
            return Err(ApiError::invalid("Tags must not repeat a Key."));
        }
        tags.push(Tag {
            key,
            value: value.into(),
        });
    }
    Ok(tags)
}

/// Validates keys and values by the rules of [`TagResource`]. If a rule is violated, the error message states that
/// rule.
pub fn checked_tags<'b>(
    pairs: impl IntoIterator<Item = (&'b str, &'b str)>,
) -> Result<Vec<Tag>, ApiError> {
    let raw = |(key, value)| (Some(key), Some(value));
    check(&pairs.into_iter().map(raw).collect::<Vec<_>>())
}

fn fits(text: &str, chars_max: usize) -> bool {
    text.chars().all(is_tag_char) && text.chars().count() <= chars_max
}

/// Returns whether a character is in Unicode class `L`, `Z` or `N`, or is permitted punctuation. Rust's
/// `is_alphabetic`, `is_whitespace` and `is_numeric` are unsuitable: they also accept marks and tabs.
fn is_tag_char(char: char) -> bool {
    if char.is_ascii() {
        return char.is_ascii_alphanumeric() || " _.:/=+-@".contains(char);
    }
    matches!(
        get_general_category(char),
        GeneralCategory::UppercaseLetter
            | GeneralCategory::LowercaseLetter
            | GeneralCategory::TitlecaseLetter
            | GeneralCategory::ModifierLetter
            | GeneralCategory::OtherLetter
            | GeneralCategory::SpaceSeparator
            | GeneralCategory::LineSeparator
            | GeneralCategory::ParagraphSeparator
            | GeneralCategory::DecimalNumber
            | GeneralCategory::LetterNumber
            | GeneralCategory::OtherNumber
    )
}

/// A request to add tags to a channel. Existing tags with the same keys are replaced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TagResource {
    /// The channel to tag.
    pub arn: ChannelArn,
    /// 1 to 50 tags with unique keys, in the order of the request.
    pub tags: Vec<Tag>,
}

impl TagResource {
    pub(crate) fn parse(object: Object<'_, '_>, rules: &BodyRules) -> Result<Self, ApiError> {
        let [resource, tags] = object.members(["ResourceARN", "Tags"])?;
        let (resource, tags) = (resource.text()?, read(tags)?);

        let arn = arn("ResourceARN", resource, rules)?;
        let tags = required("Tags", tags)?;
        if tags.is_empty() {
            return Err(ApiError::invalid("Tags must have 1 to 50 entries."));
        }
        // A request with more than 50 keys always exceeds the channel's limit, so the error is the same as for Create.
        let tags = check(&tags)?;
        Ok(Self { arn, tags })
    }
}

/// A request to remove tags from a channel. Unknown keys are ignored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UntagResource {
    /// The channel to remove tags from.
    pub arn: ChannelArn,
    /// 1 to 50 valid keys, in the order of the request. Duplicates are allowed.
    pub keys: Vec<Box<str>>,
}

impl UntagResource {
    pub(crate) fn parse(object: Object<'_, '_>, rules: &BodyRules) -> Result<Self, ApiError> {
        let [resource, keys] = object.members(["ResourceARN", "TagKeyList"])?;
        let (resource, keys) = (resource.text()?, keys.texts()?);

        let arn = arn("ResourceARN", resource, rules)?;
        let keys = required("TagKeyList", keys)?;
        if !(1..=TAGS_MAX).contains(&keys.len()) {
            return Err(ApiError::invalid("TagKeyList must have 1 to 50 entries."));
        }
        let keys = keys
            .into_iter()
            .map(|key| tag_key("Key of TagKeyList", key));
        Ok(Self {
            arn,
            keys: keys.collect::<Result<_, _>>()?,
        })
    }
}

/// A request to list the tags of a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListTagsForResource {
    /// The channel whose tags are to be listed.
    pub arn: ChannelArn,
}

impl ListTagsForResource {
    pub(crate) fn parse(object: Object<'_, '_>, rules: &BodyRules) -> Result<Self, ApiError> {
        let [resource, next_token] = object.members(["ResourceARN", "NextToken"])?;
        let (resource, next_token) = (resource.text()?, next_token.text()?);

        let arn = arn("ResourceARN", resource, rules)?;
        only_page(next_token)?;
        Ok(Self { arn })
    }
}

/// Appends a response that maps tag keys to tag values. A channel has at most 50 tags, which fit on one page, so there
/// is no token.
pub fn list_tags(out: &mut Vec<u8>, tags: &[Tag]) {
    json::member(out, b'{', "Tags");
    let tags = tags.iter().map(|tag| (&*tag.key, &*tag.value));
    json::strings(out, &tags.collect::<Vec<_>>());
    out.push(b'}');
}

#[cfg(test)]
mod tag_tests {
    use super::*;

    #[test]
    fn classes_are_those_of_unicode() {
        let inside = "aZ09 _.:/=+-@éßǅʰ中א\u{a0}\u{2028}\u{2029}\u{3000}٣Ⅷ½²𝔸";
        let outside = "\t\n\0!\"#$%&'()*,;<>?[\\]^`{|}~\u{7f}\u{301}\u{903}€©。\u{200b}\u{200d}😀\u{e000}\u{378}";
        for char in inside.chars() {
            assert!(is_tag_char(char), "{char:?}");
        }
        for char in outside.chars() {
            assert!(!is_tag_char(char), "{char:?}");
        }
    }
}
