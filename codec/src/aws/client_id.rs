//! Who a message is for, and which message an answer is about.

use super::{WordError, check_word};
use std::fmt;

/// A viewer's client id: 1 to 256 characters of `[a-zA-Z0-9_.-]`, borrowed from the text it was read in.
///
/// Source: API reference, `ClientId`, `SenderClientId`; WebRTC guide, "ConnectAsViewer", `X-Amz-ClientId`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientId<'a>(&'a str);

impl<'a> ClientId<'a> {
    /// Checks a text.
    ///
    /// # Errors
    /// [`WordError`] when length or characters are not those of the pattern.
    pub fn parse(text: &'a str) -> Result<Self, WordError> {
        check_word(text.as_bytes())?;
        Ok(Self(text))
    }

    /// The id as text.
    #[must_use]
    pub const fn as_str(self) -> &'a str {
        self.0
    }

    /// Whether the id begins with `AWS_` in any case, which viewers may not use.
    ///
    /// Source: WebRTC guide, "ConnectAsViewer".
    #[must_use]
    pub fn is_reserved(self) -> bool {
        self.0
            .get(..4)
            .is_some_and(|start| start.eq_ignore_ascii_case("AWS_"))
    }
}

impl fmt::Display for ClientId<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.0)
    }
}

/// A message's correlation id: 1 to 256 characters of `[a-zA-Z0-9_.-]`. Safe to echo in JSON as it is.
///
/// Source: WebRTC guide, "SendSdpOffer", `correlationId`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CorrelationId<'a>(&'a str);

impl<'a> CorrelationId<'a> {
    /// Checks a text.
    ///
    /// # Errors
    /// [`WordError`] when length or characters are not those of the pattern.
    pub fn parse(text: &'a str) -> Result<Self, WordError> {
        check_word(text.as_bytes())?;
        Ok(Self(text))
    }

    /// The id as text.
    #[must_use]
    pub const fn as_str(self) -> &'a str {
        self.0
    }
}

impl fmt::Display for CorrelationId<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.0)
    }
}

#[cfg(test)]
mod tests {
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
