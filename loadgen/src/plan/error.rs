//! Faults of the flags.

use super::{ABROAD_MAX, ABROAD_RATE_MAX};
use crate::address::AddressError;
use crate::credentials::MissingKeys;
use crate::schedule::ScheduleError;
use std::fmt;

/// A fault of the flags; exit code 2.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OptionError {
    /// A flag's value is out of range: the flag, and what is allowed.
    Range(&'static str, &'static str),
    /// A flag without effect in a storm.
    InStorm(&'static str),
    /// `--insecure` off loopback.
    InsecureAbroad,
    /// A heavy load on another machine, without `--yes`.
    Unconfirmed,
    /// See [`AddressError`].
    Address(AddressError),
    /// See [`ScheduleError`].
    Schedule(ScheduleError),
    /// See [`MissingKeys`].
    Keys(MissingKeys),
}

impl fmt::Display for OptionError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Range(flag, allowed) => write!(formatter, "{flag}: allowed is {allowed}"),
            Self::InStorm(flag) => write!(
                formatter,
                "{flag}: a storm has no use for it: all sessions begin at once and stay for --duration; \
                 how many they are is --channels times --viewers-per-channel"
            ),
            Self::InsecureAbroad => {
                formatter.write_str("--insecure: allowed towards loopback addresses only")
            }
            Self::Unconfirmed => write!(
                formatter,
                "more than {ABROAD_RATE_MAX} connections per second, or {ABROAD_MAX} at once, on another machine: \
                 confirm it with --yes"
            ),
            Self::Address(error) => error.fmt(formatter),
            Self::Schedule(error) => error.fmt(formatter),
            Self::Keys(error) => error.fmt(formatter),
        }
    }
}

impl std::error::Error for OptionError {}

impl From<AddressError> for OptionError {
    fn from(error: AddressError) -> Self {
        Self::Address(error)
    }
}

impl From<ScheduleError> for OptionError {
    fn from(error: ScheduleError) -> Self {
        Self::Schedule(error)
    }
}

impl From<MissingKeys> for OptionError {
    fn from(error: MissingKeys) -> Self {
        Self::Keys(error)
    }
}
