//! Condition keys: names of facts about a request that conditions and variables ask for.
//!
//! Source: IAM User Guide, "AWS global condition context keys", "IAM and AWS STS condition context keys"; AWS IoT Core
//! Developer Guide, "Authorizing direct calls to AWS services using AWS IoT Core credential provider".

use crate::aws::policy::rules::excerpt;

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
    /// The same in seconds since 1970 UTC.
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
    /// Its account.
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
    /// Its type.
    ThingTypeName = "credentials-iot:ThingTypeName",
    /// The id of its certificate.
    AwsCertificateId = "credentials-iot:AwsCertificateId",
    /// A claim of a provider's token: `ISSUER:sub`, `ISSUER:aud` and so on.
    Claim = "ISSUER:CLAIM",
    /// A key of AWS whose fact cannot be here.
    Foreign = "",
}

/// A condition key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key<'a> {
    /// Its name.
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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
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
    "aws:PrincipalIsAWSService",
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
