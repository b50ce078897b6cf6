//! Validated identifiers. Client ids, correlation ids and channel names have distinct types, but share the pattern
//! `[a-zA-Z0-9_.-]{1,256}`.

use crate::limits::{ARN_BYTES, WORD_BYTES};
use serde::{Deserialize, Serialize, Serializer};
use std::fmt;

macro_rules! word_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name<'a>(&'a str);

        impl<'a> $name<'a> {
            /// Validates a string. The length is checked first, then the characters.
            pub fn parse(text: &'a str) -> Result<Self, crate::identifiers::WordError> {
                crate::identifiers::check_word(text.as_bytes())?;
                Ok(Self(text))
            }

            /// Returns the validated text.
            #[must_use]
            pub const fn as_str(self) -> &'a str {
                self.0
            }
        }

        impl std::fmt::Display for $name<'_> {
            fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str(self.0)
            }
        }
    };
}

/// The reason why a string is not a valid client id, correlation id or channel name. The caller adds the member's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WordError {
    /// The string is empty or longer than 256 characters.
    Length,
    /// The string contains a character outside `[a-zA-Z0-9_.-]`.
    Character,
}

fn check_word(text: &[u8]) -> Result<(), WordError> {
    if text.is_empty() || text.len() > WORD_BYTES {
        return Err(WordError::Length);
    }
    if !text
        .iter()
        .fold(true, |good, &byte| good & is_word_byte(byte))
    {
        return Err(WordError::Character);
    }
    Ok(())
}

#[inline]
fn is_word_byte(byte: u8) -> bool {
    WORD.get(usize::from(byte)).is_some_and(|&word| word)
}

/// Lookup table of the permitted bytes. For strings of up to about thirty bytes, which includes most ids, a table is
/// faster than comparisons.
const WORD: [bool; 256] = {
    let mut table = [false; 256];
    let mut rest: &mut [bool] = &mut table;
    let mut byte = 0u8;
    while let Some((entry, after)) = rest.split_first_mut() {
        *entry = byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
        byte = byte.wrapping_add(1);
        rest = after;
    }
    table
};

word_type! {
    /// Client id of a viewer. Source: API reference, `ClientId`, `SenderClientId`; WebRTC guide, "ConnectAsViewer".
    ClientId
}

impl ClientId<'_> {
    /// Returns whether the id starts with the reserved prefix `AWS_`, in upper or lower case. Source: WebRTC guide,
    /// "ConnectAsViewer".
    #[must_use]
    pub fn is_reserved(self) -> bool {
        self.0
            .get(..4)
            .is_some_and(|start| start.eq_ignore_ascii_case("AWS_"))
    }
}

word_type! {
    /// Correlation id of a message, which never needs escaping. Source: WebRTC guide, "SendSdpOffer", `correlationId`.
    CorrelationId
}

word_type! {
    /// Name of a channel, which is unique within an account and region. Source: API reference,
    /// "CreateSignalingChannel".
    ChannelName
}

/// A channel ARN, with the offsets of its parts. The text determines the offsets, so ARNs are ordered by their text
/// alone.
///
/// Source: API reference, `ChannelARN`: 1 to 1024 characters of
/// `arn:[a-z\d-]+:kinesisvideo:[a-z0-9-]+:[0-9]+:[a-z]+/[a-zA-Z0-9_.-]+/[0-9]+`. In addition, the resource type must be
/// `channel`, the name must be a valid channel name, and the creation time must have at most [`CREATED_DIGITS_MAX`]
/// digits.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(try_from = "&str")]
pub struct ChannelArn {
    text: Box<str>,
    parts: Parts,
}

/// The reason why a string is not a valid channel ARN. The response is `InvalidArgumentException` with status 400.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ArnError {
    /// The string is empty or longer than 1024 characters.
    Length,
    /// The string does not match the documented pattern.
    Pattern,
    /// The strict rules apply, but the partition is not `aws`.
    Partition,
    /// The resource does not have the form `channel/…`.
    Resource,
    /// The name is longer than a channel name may be.
    Name,
}

impl ArnError {
    /// Returns the error message for the caller.
    #[must_use]
    pub const fn message(self) -> &'static str {
        match self {
            Self::Length => "ChannelARN must have 1 to 1024 characters.",
            Self::Pattern => {
                "ChannelARN must match \
                 arn:[a-z\\d-]+:kinesisvideo:[a-z0-9-]+:[0-9]+:[a-z]+/[a-zA-Z0-9_.-]+/[0-9]{1,15}."
            }
            Self::Partition => "ChannelARN must begin with arn:aws:.",
            Self::Resource => "ChannelARN must name a resource of the kind channel.",
            Self::Name => "ChannelARN must hold a channel name of at most 256 characters.",
        }
    }
}

impl fmt::Display for ArnError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.message())
    }
}

impl TryFrom<&str> for ChannelArn {
    type Error = ArnError;

    fn try_from(text: &str) -> Result<Self, ArnError> {
        Self::parse(text, false)
    }
}

impl Serialize for ChannelArn {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&self.text)
    }
}

impl ChannelArn {
    /// Parses an ARN. If `strict` is set, only the partition `aws` is accepted.
    pub fn parse(text: &str, strict: bool) -> Result<Self, ArnError> {
        let parts = Parts::find(text)?;
        let arn = Self {
            text: text.into(),
            parts,
        };
        if strict && arn.partition() != "aws" {
            return Err(ArnError::Partition);
        }
        Ok(arn)
    }

    /// Builds the ARN of a channel that was created at `created_ms`, in milliseconds since 1970.
    ///
    /// # Errors
    /// Returns an error if a part is invalid.
    pub fn build(
        partition: &str,
        region: &str,
        account: &str,
        name: ChannelName<'_>,
        created_ms: u64,
    ) -> Result<Self, ArnError> {
        Self::parse(
            &format!("arn:{partition}:kinesisvideo:{region}:{account}:channel/{name}/{created_ms}"),
            false,
        )
    }

    /// Returns the whole ARN as a string slice.
    #[must_use]
    pub const fn as_str(&self) -> &str {
        &self.text
    }

    /// Returns the partition, such as `aws`, `aws-cn` or `aws-us-gov`.
    #[must_use]
    pub fn partition(&self) -> &str {
        self.part(ARN.len(), self.parts.partition_end)
    }

    /// Returns the region, such as `us-west-2`.
    #[must_use]
    pub fn region(&self) -> &str {
        self.part(self.parts.region.into(), self.parts.region_end)
    }

    /// Returns the account id, in decimal digits.
    #[must_use]
    pub fn account(&self) -> &str {
        self.part(
            usize::from(self.parts.region_end) + 1,
            self.parts.account_end,
        )
    }

    /// Returns the name of the channel.
    #[must_use]
    pub fn name(&self) -> &str {
        self.part(
            usize::from(self.parts.account_end) + CHANNEL.len(),
            self.parts.name_end,
        )
    }

    /// Returns the creation time as written, in decimal digits. AWS writes milliseconds since 1970.
    #[must_use]
    pub fn creation_time(&self) -> &str {
        self.text
            .get(usize::from(self.parts.name_end) + 1..)
            .unwrap_or_default()
    }

    /// Returns the region, account and name, such as `us-west-2:123456789012:channel/demo`. No two existing channels
    /// share this string, which determines the shard that owns the channel.
    #[must_use]
    pub fn identity(&self) -> &str {
        self.part(self.parts.region.into(), self.parts.name_end)
    }

    fn part(&self, start: usize, end: u16) -> &str {
        self.text.get(start..end.into()).unwrap_or_default()
    }
}

impl fmt::Debug for ChannelArn {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

impl fmt::Display for ChannelArn {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Parts {
    partition_end: u16,
    region: u16,
    region_end: u16,
    account_end: u16,
    name_end: u16,
}

impl Parts {
    fn find(text: &str) -> Result<Self, ArnError> {
        if text.is_empty() || text.len() > ARN_BYTES {
            return Err(ArnError::Length);
        }
        let lower = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        let mut rest = Rest {
            whole: text,
            left: text,
        };
        rest.word(ARN)?;
        let partition_end = rest.run(lower)?;
        rest.word(SERVICE)?;
        let region = rest.at();
        let region_end = rest.run(lower)?;
        rest.word(":")?;
        let account_end = rest.run(|byte| byte.is_ascii_digit())?;
        rest.word(":")?;
        let resource = rest.at();
        let resource_end = rest.run(|byte| byte.is_ascii_lowercase())?;
        rest.word("/")?;
        let name = rest.at();
        let name_end = rest.run(is_word_byte)?;
        rest.word("/")?;
        let created = rest.left.len();
        rest.run(|byte| byte.is_ascii_digit())?;
        if !rest.left.is_empty() || created > CREATED_DIGITS_MAX {
            return Err(ArnError::Pattern);
        }
        if text.get(resource.into()..resource_end.into()) != Some("channel") {
            return Err(ArnError::Resource);
        }
        let name = text.get(name.into()..name_end.into()).unwrap_or_default();
        check_word(name.as_bytes()).map_err(|_| ArnError::Name)?;
        Ok(Self {
            partition_end,
            region,
            region_end,
            account_end,
            name_end,
        })
    }
}

struct Rest<'a> {
    whole: &'a str,
    left: &'a str,
}

impl Rest<'_> {
    fn at(&self) -> u16 {
        u16::try_from(self.whole.len() - self.left.len()).unwrap_or(u16::MAX)
    }

    fn word(&mut self, word: &str) -> Result<(), ArnError> {
        self.left = self.left.strip_prefix(word).ok_or(ArnError::Pattern)?;
        Ok(())
    }

    fn run(&mut self, belongs: impl Fn(u8) -> bool) -> Result<u16, ArnError> {
        let run = self.left.bytes().take_while(|&byte| belongs(byte)).count();
        if run == 0 {
            return Err(ArnError::Pattern);
        }
        self.left = self.left.get(run..).unwrap_or_default();
        Ok(self.at())
    }
}

/// Maximum number of digits in a creation time. In milliseconds, 15 digits suffice until the year 33658.
const CREATED_DIGITS_MAX: usize = 15;

const ARN: &str = "arn:";
const SERVICE: &str = ":kinesisvideo:";
const CHANNEL: &str = ":channel/";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_hold_their_pattern_and_length() {
        assert_eq!(check_word(b"viewer-1.A_b"), Ok(()));
        assert_eq!(check_word(&[b'a'; 256]), Ok(()));
        assert_eq!(check_word(b""), Err(WordError::Length));
        assert_eq!(check_word(&[b'a'; 257]), Err(WordError::Length));
        for bad in ["a b", "a/b", "a\n", "ä", "a:", "\0"] {
            let found = check_word(bad.as_bytes());
            assert_eq!(found, Err(WordError::Character), "{bad:?}");
        }
    }
}

#[cfg(test)]
mod client_id_tests {
    use super::*;

    #[test]
    fn ids_that_aws_keeps_for_itself_are_known() {
        for (id, reserved) in [
            ("AWS_x", true),
            ("aws_", true),
            ("aWs_1", true),
            ("AWS-x", false),
            ("AWS", false),
            ("xAWS_", false),
        ] {
            assert_eq!(ClientId::parse(id).unwrap().is_reserved(), reserved, "{id}");
        }
    }
}

#[cfg(test)]
mod arn_tests {
    use super::*;

    #[test]
    fn an_arn_is_taken_apart() {
        let text =
            "arn:aws-us-gov:kinesisvideo:us-gov-west-1:123456789012:channel/a_B.c-9/1604032767453";
        let arn = ChannelArn::parse(text, false).unwrap();
        assert_eq!(arn.as_str(), text);
        let found = [
            arn.partition(),
            arn.region(),
            arn.account(),
            arn.name(),
            arn.creation_time(),
        ];
        #[rustfmt::skip] // a list
        let wanted = [
            "aws-us-gov", "us-gov-west-1", "123456789012", "a_B.c-9", "1604032767453",
        ];
        assert_eq!(found, wanted);
        assert_eq!(arn.identity(), "us-gov-west-1:123456789012:channel/a_B.c-9");
        assert_eq!(ChannelArn::parse(text, true), Err(ArnError::Partition));
    }

    #[test]
    fn what_is_built_is_what_is_parsed() {
        let name = ChannelName::parse("demo").unwrap();
        let arn = ChannelArn::build("aws", "us-west-2", "1", name, 17).unwrap();
        let found = arn.as_str();
        assert_eq!(found, "arn:aws:kinesisvideo:us-west-2:1:channel/demo/17");
        assert_eq!(ChannelArn::parse(arn.as_str(), true).unwrap(), arn);
        let found = ChannelArn::build("aws", "US", "1", name, 17);
        assert_eq!(found, Err(ArnError::Pattern));
    }

    #[test]
    fn what_is_no_channel_arn_is_refused() {
        let long_name = format!("arn:aws:kinesisvideo:r:1:channel/{}/1", "n".repeat(257));
        let long = format!("arn:aws:kinesisvideo:r:1:channel/n/{}", "1".repeat(1024));
        let good = "arn:aws:kinesisvideo:r:1:channel/n/1";
        for (text, error) in [
            ("", ArnError::Length),
            (&*long, ArnError::Length),
            (&*long_name, ArnError::Name),
            ("arn:aws:kinesisvideo:r:1:stream/n/1", ArnError::Resource),
            ("arn:aws:kinesisvideo:r:1:channels/n/1", ArnError::Resource),
            ("ARN:aws:kinesisvideo:r:1:channel/n/1", ArnError::Pattern),
            ("arn:Aws:kinesisvideo:r:1:channel/n/1", ArnError::Pattern),
            ("arn::kinesisvideo:r:1:channel/n/1", ArnError::Pattern),
            ("arn:aws:kinesis:r:1:channel/n/1", ArnError::Pattern),
            ("arn:aws:kinesisvideo::1:channel/n/1", ArnError::Pattern),
            ("arn:aws:kinesisvideo:R:1:channel/n/1", ArnError::Pattern),
            ("arn:aws:kinesisvideo:r::channel/n/1", ArnError::Pattern),
            ("arn:aws:kinesisvideo:r:a:channel/n/1", ArnError::Pattern),
            ("arn:aws:kinesisvideo:r:1:Channel/n/1", ArnError::Pattern),
            ("arn:aws:kinesisvideo:r:1:channel//1", ArnError::Pattern),
            ("arn:aws:kinesisvideo:r:1:channel/n/", ArnError::Pattern),
            ("arn:aws:kinesisvideo:r:1:channel/n", ArnError::Pattern),
            ("arn:aws:kinesisvideo:r:1:channel/n/1a", ArnError::Pattern),
            (
                "arn:aws:kinesisvideo:r:1:channel/n/1234567890123456",
                ArnError::Pattern,
            ),
            ("arn:aws:kinesisvideo:r:1:channel/n/1\n", ArnError::Pattern),
            ("arn:aws:kinesisvideo:r:1:channel/n m/1", ArnError::Pattern),
            ("arn:aws:kinesisvideo:r:1:channel/n/1/2", ArnError::Pattern),
            (" arn:aws:kinesisvideo:r:1:channel/n/1", ArnError::Pattern),
            ("arn:aws:kinesisvideo:r:1:channel/ñ/1", ArnError::Pattern),
        ] {
            let found = ChannelArn::parse(text, false).map(|_| ());
            assert_eq!(found, Err(error), "{text}");
        }
        for end in 0..good.len() {
            assert!(ChannelArn::parse(&good[..end], false).is_err());
        }
        assert!(ChannelArn::parse(&format!("{good}23456789012345"), false).is_ok());
    }
}
