//! Condition keys and their values. The keys name the facts about a request that conditions and variables can refer to.
//!
//! Source: IAM User Guide, "AWS global condition context keys", "IAM and AWS STS condition context keys"; AWS IoT Core
//! Developer Guide, "Authorizing direct calls to AWS services using AWS IoT Core credential provider".

use crate::calendar::WholeSeconds;
use crate::policy::rules::excerpt;
use std::cell::Cell;
use std::fmt::{self, Write};
use std::net::IpAddr;

macro_rules! keys {
    ($($(#[$doc:meta])* $key:ident = $name:literal,)+) => {
        /// The name of a condition key, without its variable part (a tag key, or an issuer and its claim).
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum KeyName {
            $($(#[$doc])* $key,)+
        }

        impl KeyName {
            /// All names. Sealed session tokens refer to names by index, so existing indices never change and new names
            /// are appended.
            const ALL: &[Self] = &[$(Self::$key,)+];

            /// Returns the name as spelled by AWS. For keys that refer to a tag, this is the part before the tag key.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$key => $name,)+
                }
            }
        }
    };
}

keys! {
    /// Client id of a viewer. Specific to this service; AWS has no such key.
    ClientId = "kinesisvideo:ClientId",
    /// Time of the request, as a date.
    CurrentTime = "aws:CurrentTime",
    /// Time of the request, in seconds since 1970 UTC.
    EpochTime = "aws:EpochTime",
    /// IP address of the client.
    SourceIp = "aws:SourceIp",
    /// Whether the client is connected to this server over TLS.
    SecureTransport = "aws:SecureTransport",
    /// Region of this server.
    RequestedRegion = "aws:RequestedRegion",
    /// `User-Agent` header.
    UserAgent = "aws:UserAgent",
    /// `Referer` header.
    Referer = "aws:Referer",
    /// Name of the calling user.
    UserName = "aws:username",
    /// Unique id of the caller.
    UserId = "aws:userid",
    /// ARN of the caller.
    PrincipalArn = "aws:PrincipalArn",
    /// Account of the caller.
    PrincipalAccount = "aws:PrincipalAccount",
    /// Type of the principal that makes the request.
    PrincipalType = "aws:PrincipalType",
    /// One of the caller's tags.
    PrincipalTag = "aws:PrincipalTag/",
    /// A tag of the channel.
    ResourceTag = "aws:ResourceTag/",
    /// A tag that the request adds.
    RequestTag = "aws:RequestTag/",
    /// The keys of the tags in the request.
    TagKeys = "aws:TagKeys",
    /// Time at which the temporary credentials were issued.
    TokenIssueTime = "aws:TokenIssueTime",
    /// ARN of the resource on whose behalf a role is assumed.
    SourceArn = "aws:SourceArn",
    /// Account of the resource on whose behalf a role is assumed.
    SourceAccount = "aws:SourceAccount",
    /// Source identity of the caller's session.
    SourceIdentity = "aws:SourceIdentity",
    /// The identity provider that authenticated the user.
    FederatedProvider = "aws:FederatedProvider",
    /// Session name given when a role is assumed.
    RoleSessionName = "sts:RoleSessionName",
    /// External id given when a role is assumed.
    ExternalId = "sts:ExternalId",
    /// Source identity given when a role is assumed.
    RequestedSourceIdentity = "sts:SourceIdentity",
    /// Keys of the session tags that the session passes on when it assumes further roles.
    TransitiveTagKeys = "sts:TransitiveTagKeys",
    /// Name of the IoT thing that signed in with a certificate.
    ThingName = "credentials-iot:ThingName",
    /// Type of the IoT thing that signed in.
    ThingTypeName = "credentials-iot:ThingTypeName",
    /// Id of the IoT thing's certificate.
    AwsCertificateId = "credentials-iot:AwsCertificateId",
    /// A claim in an identity provider's token: `ISSUER:sub`, `ISSUER:aud` and so on.
    Claim = "ISSUER:CLAIM",
    /// An AWS key that never has a value in this service.
    Foreign = "",
    /// Whether an AWS service makes the request. True only when a device signs in.
    PrincipalIsAwsService = "aws:PrincipalIsAWSService",
}

/// A condition key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key<'a> {
    /// The name of the key.
    pub name: KeyName,
    /// The tag key, or the whole key for [`KeyName::Claim`] and [`KeyName::Foreign`]. Empty for other names.
    /// Case-insensitive.
    pub detail: &'a str,
}

impl<'a> Key<'a> {
    /// Parses a key, case-insensitively. If the key is unknown, the error lists the known keys.
    pub(crate) fn parse(text: &'a str) -> Result<Self, String> {
        let of_things = THINGS
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(text));
        if let Some(&(_, name)) = of_things {
            return Ok(Self { name, detail: "" });
        }
        let is_foreign = FOREIGN.iter().any(|name| name.eq_ignore_ascii_case(text));
        if (is_foreign || is_of_iot(text)) && text.len() <= DETAIL_BYTES_MAX {
            let name = KeyName::Foreign;
            return Ok(Self { name, detail: text });
        }
        let of_name = |&name: &KeyName| {
            let known = name.as_str();
            let (begin, rest) = text.split_at_checked(known.len())?;
            let is_same = begin.eq_ignore_ascii_case(known) && !known.is_empty();
            (is_same && rest.is_empty() != known.ends_with('/'))
                .then_some(Self { name, detail: rest })
        };
        let found = KeyName::ALL.iter().find_map(of_name);
        let found = found
            .filter(|key| key.name != KeyName::Claim)
            .or_else(|| claim(text))
            .ok_or_else(|| {
                format!(
                    "condition key {}: unknown, must be one of {}, or a claim of a provider such as \
                     id.example.com:sub",
                    excerpt(text),
                    known_names()
                )
            })?;
        if found.detail.len() > DETAIL_BYTES_MAX {
            let key = excerpt(text);
            let rule =
                format!("condition key {key}: must be at most {DETAIL_BYTES_MAX} bytes longer");
            return Err(rule + " than its name");
        }
        Ok(found)
    }

    pub(crate) fn write(self, out: &mut Vec<u8>) {
        out.push(self.name as u8);
        out.push(u8::try_from(self.detail.len()).unwrap_or(0)); // bounded above
        out.extend(self.detail.bytes());
    }

    /// Reads a key. Returns the key and the remaining bytes, or `None` if the bytes were not written by
    /// [`Self::write`].
    pub(crate) fn read(bytes: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let (&[name, length], rest) = bytes.split_first_chunk()?;
        let (detail, rest) = rest.split_at_checked(length.into())?;
        let name = *KeyName::ALL.get(usize::from(name))?;
        let detail = std::str::from_utf8(detail).ok()?;
        Some((Self { name, detail }, rest))
    }

    pub(crate) const fn has_several(self) -> bool {
        matches!(
            self.name,
            KeyName::TagKeys | KeyName::TransitiveTagKeys | KeyName::Claim
        )
    }
}

impl fmt::Display for Key<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The detail of a claim is the whole key.
        if self.name != KeyName::Claim {
            out.write_str(self.name.as_str())?;
        }
        out.write_str(self.detail)
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct KeyNames(u32);

impl KeyNames {
    pub(crate) const fn add(&mut self, name: KeyName) {
        self.0 |= 1 << name as u8;
    }

    pub(crate) const fn has(self, name: KeyName) -> bool {
        self.0 >> name as u8 & 1 != 0
    }
}

const _: () = assert!(KeyName::ALL.len() <= u32::BITS as usize);

fn claim(text: &str) -> Option<Key<'_>> {
    let (issuer, claim) = text.rsplit_once(':')?;
    let host = issuer.split('/').next().unwrap_or_default();
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
    let is_claim = !claim.is_empty() && claim.bytes().all(is_word);
    let is_host = host.contains('.') && host.bytes().all(|byte| is_word(byte) || byte == b':');
    let is_path = issuer.bytes().all(|byte| byte.is_ascii_graphic());
    let name = KeyName::Claim;
    (is_claim && is_host && is_path).then_some(Key { name, detail: text })
}

fn is_of_iot(text: &str) -> bool {
    let (begin, rest) = text.split_at_checked(4).unwrap_or_default();
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.:[]".contains(&byte);
    begin.eq_ignore_ascii_case("iot:") && !rest.is_empty() && rest.bytes().all(is_word)
}

fn known_names() -> String {
    let shown = |name: &&KeyName| !matches!(name, KeyName::Claim | KeyName::Foreign);
    let names = KeyName::ALL.iter().filter(shown).map(|name| {
        let tag = if name.as_str().ends_with('/') {
            "KEY"
        } else {
            ""
        };
        format!("{}{tag}", name.as_str())
    });
    names.collect::<Vec<_>>().join(", ")
}

/// Maximum length of the part of a key that follows its name, in bytes. The length is stored in one byte, which must
/// differ from every marker.
const DETAIL_BYTES_MAX: usize = 240;

/// Variable names that IoT policies use for values from the credentials provider. Source: AWS IoT Core Developer Guide,
/// "Thing policy variables".
const THINGS: &[(&str, KeyName)] = &[
    ("iot:Connection.Thing.ThingName", KeyName::ThingName),
    ("iot:Connection.Thing.ThingTypeName", KeyName::ThingTypeName),
];

/// AWS condition keys that have no value in this service. They concern multi-factor authentication, VPCs,
/// organizations, and services calling on behalf of others. They are accepted so that existing policies work unchanged.
const FOREIGN: &[&str] = &[
    "aws:AssumedRoot",
    "aws:CalledVia",
    "aws:CalledViaFirst",
    "aws:CalledViaLast",
    "aws:ChatbotSourceArn",
    "aws:Ec2InstanceSourcePrivateIPv4",
    "aws:Ec2InstanceSourceVpc",
    "aws:MultiFactorAuthAge",
    "aws:MultiFactorAuthPresent",
    "aws:PrincipalOrgID",
    "aws:PrincipalOrgPaths",
    "aws:PrincipalServiceName",
    "aws:PrincipalServiceNamesList",
    "aws:ResourceOrgID",
    "aws:ResourceOrgPaths",
    "aws:SourceOrgID",
    "aws:SourceOrgPaths",
    "aws:SourceVpc",
    "aws:SourceVpcArn",
    "aws:SourceVpce",
    "aws:ViaAWSService",
    "aws:VpcSourceIp",
    "aws:VpceAccount",
    "aws:VpceOrgID",
    "aws:VpceOrgPaths",
];

/// Provides the values of a request's condition keys. A policy queries only the values that it uses, so they may be
/// computed on demand.
pub trait Context {
    /// Returns a key's value at index `nth`, counted from 0, since a key may have several values. Returns
    /// [`Value::Absent`] after the last one.
    fn value(&self, key: Key<'_>, nth: usize) -> Value<'_>;
}

impl Context for () {
    fn value(&self, _: Key<'_>, _: usize) -> Value<'_> {
        Value::Absent
    }
}

/// The value of a condition key.
#[derive(Clone, Debug)]
pub enum Value<'a> {
    /// The request has no value for the key.
    Absent,
    /// The value is not known on this shard. A decision that depends on it is [`crate::policy::Decision::Open`].
    Unknown,
    /// The value is ambiguous or unavailable. An `Allow` statement that depends on it does not apply; a `Deny`
    /// statement does.
    Lost,
    /// A string of at most [`VALUE_BYTES_MAX`] bytes. A longer string counts as absent.
    Text(&'a str),
    /// A string computed on demand.
    Made(ShortText),
    /// A number.
    Number(u64),
    /// A date and time, in seconds since 1970 UTC.
    Date(u64),
    /// A boolean.
    Flag(bool),
    /// An IP address.
    Address(IpAddr),
}

impl<'a> Value<'a> {
    /// Creates a text value from `Some`, or an absent value from `None`.
    #[must_use]
    pub fn of(text: Option<&'a str>) -> Self {
        text.map_or(Self::Absent, Self::Text)
    }
}

impl Value<'_> {
    /// Returns the value as a string in policy notation, or `None` if the request has no value. Values of other types
    /// are formatted into `room`.
    pub(crate) fn text<'t>(&'t self, room: &'t mut ShortText) -> Option<&'t str> {
        let written = match self {
            Value::Absent | Value::Unknown | Value::Lost => return None,
            Value::Text(text) => return Some(text),
            Value::Made(text) => return Some(text.as_str()),
            Value::Number(number) => write!(room, "{number}"),
            // Source: IAM User Guide, "Condition operators", dates.
            Value::Date(seconds) => write!(room, "{}Z", WholeSeconds(*seconds)),
            Value::Flag(flag) => write!(room, "{flag}"),
            Value::Address(address) => write!(room, "{address}"),
        };
        written.ok().map(|()| room.as_str())
    }
}

pub(crate) struct Values<'a> {
    client_id: Option<&'a str>,
    context: &'a dyn Context,
    /// Whether any value queried since `Self::begin` is known only on another shard.
    elsewhere: Cell<bool>,
    /// Whether any value queried since `Self::begin` is [`Value::Lost`].
    lost: Cell<bool>,
}

impl<'a> Values<'a> {
    pub(crate) const fn new(client_id: Option<&'a str>, context: &'a dyn Context) -> Self {
        Self {
            client_id,
            context,
            elsewhere: Cell::new(false),
            lost: Cell::new(false),
        }
    }

    pub(crate) fn begin(&self) {
        self.elsewhere.set(false);
        self.lost.set(false);
    }

    /// Returns whether any value queried since [`Self::begin`] is lost and none is known only on another shard.
    pub(crate) fn only_lost(&self) -> bool {
        self.lost.get() && !self.elsewhere.get()
    }

    /// Returns the `nth` value of a key. A value that is too long counts as absent, and a lost value as unknown.
    pub(crate) fn value(&self, key: Key<'_>, nth: usize) -> Value<'_> {
        let value = match (key.name, nth) {
            (KeyName::ClientId, 0) => self.client_id.map_or(Value::Absent, Value::Text),
            (KeyName::ClientId | KeyName::Foreign, _) => Value::Absent,
            _ => self.context.value(key, nth),
        };
        match value {
            Value::Text(text) if text.len() > VALUE_BYTES_MAX => Value::Absent,
            Value::Unknown => {
                self.elsewhere.set(true);
                Value::Unknown
            }
            Value::Lost => {
                self.lost.set(true);
                Value::Unknown
            }
            Value::Absent
            | Value::Text(_)
            | Value::Made(_)
            | Value::Number(_)
            | Value::Date(_)
            | Value::Flag(_)
            | Value::Address(_) => value,
        }
    }
}

/// A string of at most [`ShortText::BYTES_MAX`] bytes, stored inline. Writing more is an error.
#[derive(Clone, Copy)]
pub struct ShortText {
    bytes: [u8; Self::BYTES_MAX],
    length: u8,
}

impl ShortText {
    /// Maximum length in bytes. Sufficient for the ARN of a role session.
    pub const BYTES_MAX: usize = 192;

    /// Creates an empty text.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            bytes: [0; Self::BYTES_MAX],
            length: 0,
        }
    }

    /// Creates a string from format arguments. The caller must ensure that the string fits. A longer string is
    /// truncated.
    #[must_use]
    pub fn of(parts: fmt::Arguments<'_>) -> Self {
        let mut text = Self::new();
        let written = text.write_fmt(parts);
        debug_assert!(
            written.is_ok(),
            "the text is longer than {}",
            Self::BYTES_MAX
        );
        text
    }

    /// Returns the text as a string slice.
    #[must_use]
    pub fn as_str(&self) -> &str {
        let bytes = self.bytes.get(..self.length.into()).unwrap_or_default();
        std::str::from_utf8(bytes).unwrap_or_default()
    }
}

impl Default for ShortText {
    fn default() -> Self {
        Self::new()
    }
}

impl Write for ShortText {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let from = usize::from(self.length);
        let end = from + text.len();
        let room = self.bytes.get_mut(from..end).ok_or(fmt::Error)?;
        room.copy_from_slice(text.as_bytes());
        self.length = u8::try_from(end).map_err(|_| fmt::Error)?;
        Ok(())
    }
}

impl fmt::Debug for ShortText {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), out)
    }
}

/// Maximum length of a text value, in bytes. Sufficient for a tag value of 256 characters.
pub const VALUE_BYTES_MAX: usize = crate::limits::ARN_BYTES;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_without_regard_to_case() {
        #[rustfmt::skip] // a table, a case per row
        let cases = [
            ("AWS:sourceip", KeyName::SourceIp, ""),
            ("iot:Connection.Thing.ThingName", KeyName::ThingName, ""),
            ("iot:Connection.Thing.Attributes[site]", KeyName::Foreign, "iot:Connection.Thing.Attributes[site]"),
            ("aws:ResourceTag/House hold", KeyName::ResourceTag, "House hold"),
            ("aws:multifactorauthpresent", KeyName::Foreign, "aws:multifactorauthpresent"),
            ("id.example.com/realms/home:aud", KeyName::Claim, "id.example.com/realms/home:aud"),
            ("accounts.google.com:sub", KeyName::Claim, "accounts.google.com:sub"),
        ];
        for (text, name, detail) in cases {
            assert_eq!(Key::parse(text), Ok(Key { name, detail }), "{text}");
        }
        #[rustfmt::skip] // a list
        let all = [
            "", "aws:", "aws:Tagkey", "aws:ResourceTag/", "aws:TagKeys/x", "ISSUER:CLAIM", "s3:prefix", "a.b:",
        ];
        for text in all {
            let error = Key::parse(text).unwrap_err();
            let fine = error.contains("aws:ResourceTag/KEY, aws:RequestTag/KEY, aws:TagKeys");
            assert!(fine, "{error}");
        }
        let fine = Key::parse(&format!(
            "aws:RequestTag/{}",
            "a".repeat(DETAIL_BYTES_MAX + 1)
        ))
        .is_err();
        assert!(fine);
    }

    /// The numbers are part of sealed session tokens.
    #[test]
    fn keys_keep_their_numbers_and_are_their_bytes() {
        let numbers: Vec<_> = KeyName::ALL.iter().map(|name| *name as usize).collect();
        assert_eq!(numbers, Vec::from_iter(0..KeyName::ALL.len()));
        let found = (
            KeyName::ResourceTag as u8,
            KeyName::ThingName as u8,
            KeyName::Foreign as u8,
        );
        assert_eq!(found, (14, 26, 30));
        let key = Key::parse("aws:PrincipalTag/é").unwrap();
        let mut bytes = Vec::new();
        key.write(&mut bytes);
        assert_eq!(Key::read(&bytes), Some((key, &[][..])));
        assert_eq!(Key::read(&bytes[..bytes.len() - 1]), None);
    }
}
