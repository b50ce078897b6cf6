//! What people call a channel.

use super::{WordError, check_word};
use std::fmt;

/// A channel's name: 1 to 256 characters of `[a-zA-Z0-9_.-]`, unique per account and region.
///
/// Source: API reference, "CreateSignalingChannel", `ChannelName`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChannelName<'a>(&'a str);

impl<'a> ChannelName<'a> {
    /// Checks a text.
    ///
    /// # Errors
    /// [`WordError`] when length or characters are not those of the pattern.
    pub fn parse(text: &'a str) -> Result<Self, WordError> {
        check_word(text.as_bytes())?;
        Ok(Self(text))
    }

    /// The name as text.
    #[must_use]
    pub const fn as_str(self) -> &'a str {
        self.0
    }
}

impl fmt::Display for ChannelName<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.0)
    }
}
