//! Condition keys, names of facts about a request that conditions and variables ask for, and their values.
//!
//! Source: IAM User Guide, "AWS global condition context keys", "IAM and AWS STS condition context keys"; AWS IoT Core
//! Developer Guide, "Authorizing direct calls to AWS services using AWS IoT Core credential provider".

use crate::calendar;
use crate::policy::rules::excerpt;
use std::cell::Cell;
use std::fmt::{self, Write};
use std::net::IpAddr;

/// Makes the enum of the keys with their names from one table.
macro_rules! keys {
    ($($(#[$doc:meta])* $key:ident = $name:literal,)+) => {
        /// The name of a condition key, without what it is about (the key of a tag, an issuer and its claim).
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum KeyName {
            $($(#[$doc])* $key,)+
        }

        impl KeyName {
            /// Every name. Part of sealed session tokens: a name keeps its place, and another one comes last.
            const ALL: &[Self] = &[$(Self::$key,)+];

            /// The name as AWS spells it; of keys of tags all that stands before the tag's.
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
    /// The client id of a viewer. Ours: AWS has none for it.
    ClientId = "kinesisvideo:ClientId",
    /// The moment of the request, as a date.
    CurrentTime = "aws:CurrentTime",
    /// Time in seconds since 1970 UTC.
    EpochTime = "aws:EpochTime",
    /// The address of the client.
    SourceIp = "aws:SourceIp",
    /// Whether the client speaks TLS to this server.
    SecureTransport = "aws:SecureTransport",
    /// The region of this server.
    RequestedRegion = "aws:RequestedRegion",
    /// The header User-Agent.
    UserAgent = "aws:UserAgent",
    /// The header Referer.
    Referer = "aws:Referer",
    /// The name of a user.
    UserName = "aws:username",
    /// The unique id of the caller.
    UserId = "aws:userid",
    /// The ARN of the caller.
    PrincipalArn = "aws:PrincipalArn",
    /// The account of the caller.
    PrincipalAccount = "aws:PrincipalAccount",
    /// The kind of the caller.
    PrincipalType = "aws:PrincipalType",
    /// A tag of the caller.
    PrincipalTag = "aws:PrincipalTag/",
    /// A tag of the channel that the request is about.
    ResourceTag = "aws:ResourceTag/",
    /// A tag that the request sets.
    RequestTag = "aws:RequestTag/",
    /// The keys of tags that the request names.
    TagKeys = "aws:TagKeys",
    /// The moment at which temporary credentials were issued.
    TokenIssueTime = "aws:TokenIssueTime",
    /// The ARN of a resource on whose behalf a role is assumed.
    SourceArn = "aws:SourceArn",
    /// Account of the source.
    SourceAccount = "aws:SourceAccount",
    /// The source identity of a session.
    SourceIdentity = "aws:SourceIdentity",
    /// The provider that signed a user in.
    FederatedProvider = "aws:FederatedProvider",
    /// The session name that a role is assumed with.
    RoleSessionName = "sts:RoleSessionName",
    /// The external id that a role is assumed with.
    ExternalId = "sts:ExternalId",
    /// The source identity that a role is assumed with.
    RequestedSourceIdentity = "sts:SourceIdentity",
    /// The keys of session tags that go on to further roles.
    TransitiveTagKeys = "sts:TransitiveTagKeys",
    /// The name of a thing that signed in with a certificate.
    ThingName = "credentials-iot:ThingName",
    /// Type of the thing.
    ThingTypeName = "credentials-iot:ThingTypeName",
    /// The id of its certificate.
    AwsCertificateId = "credentials-iot:AwsCertificateId",
    /// A claim of a provider's token: `ISSUER:sub`, `ISSUER:aud` and so on.
    Claim = "ISSUER:CLAIM",
    /// A key of AWS whose fact cannot be here.
    Foreign = "",
    /// Whether a service asks: that of the devices' sign-ins is the only one.
    PrincipalIsAwsService = "aws:PrincipalIsAWSService",
}

/// A condition key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key<'a> {
    /// Name of the key.
    pub name: KeyName,
    /// The key of a tag, or all of a [`KeyName::Claim`] or [`KeyName::Foreign`]; of others empty. Compared without
    /// regard to case.
    pub detail: &'a str,
}

impl<'a> Key<'a> {
    /// Reads a key, without regard to case.
    ///
    /// # Errors
    /// There is none of this name; the message lists those that there are.
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

    /// Appends the bytes of a key.
    pub(crate) fn write(self, out: &mut Vec<u8>) {
        out.push(self.name as u8);
        out.push(u8::try_from(self.detail.len()).unwrap_or(0)); // bounded above
        out.extend(self.detail.bytes());
    }

    /// The key of these bytes, and what is behind it; `None` when they are none of [`Self::write`].
    pub(crate) fn read(bytes: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let (&[name, length], rest) = bytes.split_first_chunk()?;
        let (detail, rest) = rest.split_at_checked(length.into())?;
        let name = *KeyName::ALL.get(usize::from(name))?;
        let detail = std::str::from_utf8(detail).ok()?;
        Some((Self { name, detail }, rest))
    }

    /// Whether a request may have several values of it.
    pub(crate) const fn has_several(self) -> bool {
        matches!(
            self.name,
            KeyName::TagKeys | KeyName::TransitiveTagKeys | KeyName::Claim
        )
    }
}

/// A set of names of keys: a bit for each.
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

/// A claim's key: an issuer, which is a host with or without a path, and the name of a claim.
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

/// Whether a key is one of IoT policies, which things have for their messages.
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

/// Longest part of a key behind its name, in bytes: one byte holds its length, and no byte is that of a marker.
const DETAIL_BYTES_MAX: usize = 240;

/// Names by which IoT policies ask for what the credentials provider knows. Source: AWS IoT Core Developer Guide,
/// "Thing policy variables".
const THINGS: &[(&str, KeyName)] = &[
    ("iot:Connection.Thing.ThingName", KeyName::ThingName),
    ("iot:Connection.Thing.ThingTypeName", KeyName::ThingTypeName),
];

/// Keys of AWS whose facts cannot be here: several factors, virtual networks, organisations, services that call on
/// behalf of others. They load, so that policies can be pasted, and are absent.
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

/// The values of a request's condition keys.
///
/// A policy asks for those that it names and for no others, so that a value may be made when it is asked for.
pub trait Context {
    /// A value of a key, counted from 0 where a request may have several; [`Value::Absent`] behind the last one.
    fn value(&self, key: Key<'_>, nth: usize) -> Value<'_>;
}

/// No values.
impl Context for () {
    fn value(&self, _: Key<'_>, _: usize) -> Value<'_> {
        Value::Absent
    }
}

/// A value of a condition key.
#[derive(Clone, Debug)]
pub enum Value<'a> {
    /// The request has none.
    Absent,
    /// Unknown here: the decision is [`crate::policy::condition::Decision::Open`] where it depends on it.
    Unknown,
    /// Nobody can tell which value counts, if any: a statement that depends on it allows nothing, and denies what it
    /// would deny by some value.
    Lost,
    /// A text. One of more than [`VALUE_BYTES_MAX`] bytes is as absent.
    Text(&'a str),
    /// A text that was made for the question.
    Made(ShortText),
    /// A number.
    Number(u64),
    /// A date, in seconds since 1970 UTC.
    Date(u64),
    /// Yes or no.
    Flag(bool),
    /// An address.
    Address(IpAddr),
}

impl<'a> Value<'a> {
    /// A text, if there is one.
    #[must_use]
    pub fn of(text: Option<&'a str>) -> Self {
        text.map_or(Self::Absent, Self::Text)
    }
}

impl Value<'_> {
    /// The value as policies write it; `None` where there is none. `room` is for one that is no text yet.
    pub(crate) fn text<'t>(&'t self, room: &'t mut ShortText) -> Option<&'t str> {
        let written = match self {
            Value::Absent | Value::Unknown | Value::Lost => return None,
            Value::Text(text) => return Some(text),
            Value::Made(text) => return Some(text.as_str()),
            Value::Number(number) => write!(room, "{number}"),
            Value::Date(seconds) => write_date(room, *seconds),
            Value::Flag(flag) => write!(room, "{flag}"),
            Value::Address(address) => write!(room, "{address}"),
        };
        written.ok().map(|()| room.as_str())
    }
}

/// All values of a request.
pub(crate) struct Values<'a> {
    client_id: Option<&'a str>,
    context: &'a dyn Context,
    /// Values that were asked for are known elsewhere.
    elsewhere: Cell<bool>,
    /// Values that were asked for are lost.
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

    /// Forgets which values were asked for.
    pub(crate) fn begin(&self) {
        self.elsewhere.set(false);
        self.lost.set(false);
    }

    /// Whether values that were asked for since [`Self::begin`] are lost, and none is known elsewhere.
    pub(crate) fn only_lost(&self) -> bool {
        self.lost.get() && !self.elsewhere.get()
    }

    /// A value of a key. One that is longer than any may be is absent; one that is lost is as unknown.
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

/// `2026-11-22T05:54:46Z`. Source: IAM User Guide, "Condition operators", dates.
fn write_date(out: &mut ShortText, seconds: u64) -> fmt::Result {
    let days = i64::try_from(seconds / 86_400).unwrap_or(i64::MAX / 2);
    let (year, month, day) = calendar::civil(days.min(DAYS_MAX));
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    write!(
        out,
        "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z"
    )
}

/// A text of up to [`ShortText::BYTES_MAX`] bytes in place. Writing more is an error.
#[derive(Clone, Copy)]
pub struct ShortText {
    bytes: [u8; Self::BYTES_MAX],
    length: u8,
}

impl ShortText {
    /// Longest text in bytes: the ARN of a session of a role.
    pub const BYTES_MAX: usize = 192;

    /// An empty text.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            bytes: [0; Self::BYTES_MAX],
            length: 0,
        }
    }

    /// The text of these parts; as far as it has room, which callers see to.
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

    /// The text.
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

/// Longest text of a value in bytes: 256 characters of a tag. A longer one would take more work than one of an ARN.
pub const VALUE_BYTES_MAX: usize = crate::limits::ARN_BYTES;

/// The last day of the year 9999.
const DAYS_MAX: i64 = 2_932_896;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_without_regard_to_case() {
        for (text, name, detail) in [
            ("AWS:sourceip", KeyName::SourceIp, ""),
            ("iot:Connection.Thing.ThingName", KeyName::ThingName, ""),
            (
                "iot:Connection.Thing.Attributes[site]",
                KeyName::Foreign,
                "iot:Connection.Thing.Attributes[site]",
            ),
            (
                "aws:ResourceTag/House hold",
                KeyName::ResourceTag,
                "House hold",
            ),
            (
                "aws:multifactorauthpresent",
                KeyName::Foreign,
                "aws:multifactorauthpresent",
            ),
            (
                "id.example.com/realms/home:aud",
                KeyName::Claim,
                "id.example.com/realms/home:aud",
            ),
            (
                "accounts.google.com:sub",
                KeyName::Claim,
                "accounts.google.com:sub",
            ),
        ] {
            assert_eq!(Key::parse(text), Ok(Key { name, detail }), "{text}");
        }
        for text in [
            "",
            "aws:",
            "aws:Tagkey",
            "aws:ResourceTag/",
            "aws:TagKeys/x",
            "ISSUER:CLAIM",
            "s3:prefix",
            "a.b:",
        ] {
            let error = Key::parse(text).unwrap_err();
            assert!(
                error.contains("aws:ResourceTag/KEY, aws:RequestTag/KEY, aws:TagKeys"),
                "{error}"
            );
        }
        assert!(
            Key::parse(&format!(
                "aws:RequestTag/{}",
                "a".repeat(DETAIL_BYTES_MAX + 1)
            ))
            .is_err()
        );
    }

    /// Sealed session tokens hold the numbers.
    #[test]
    fn keys_keep_their_numbers_and_are_their_bytes() {
        let numbers: Vec<_> = KeyName::ALL.iter().map(|name| *name as usize).collect();
        assert_eq!(numbers, Vec::from_iter(0..KeyName::ALL.len()));
        assert_eq!(
            (
                KeyName::ResourceTag as u8,
                KeyName::ThingName as u8,
                KeyName::Foreign as u8
            ),
            (14, 26, 30)
        );
        let key = Key::parse("aws:PrincipalTag/é").unwrap();
        let mut bytes = Vec::new();
        key.write(&mut bytes);
        assert_eq!(Key::read(&bytes), Some((key, &[][..])));
        assert_eq!(Key::read(&bytes[..bytes.len() - 1]), None);
    }
}
