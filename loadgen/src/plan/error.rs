//! Faults of the flags.

use crate::address::AddressError;
use crate::credentials::MissingKeys;
use crate::plan::{ABROAD_MAX, ABROAD_RATE_MAX};
use crate::schedule::ScheduleError;
use thiserror::Error;

/// A fault of the flags; exit code 2.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum OptionError {
    /// A flag's value is out of range: the flag, and what is allowed.
    #[error("{0}: allowed is {1}")]
    Range(&'static str, &'static str),
    /// A flag without effect in a storm.
    #[error(
        "{0}: a storm has no use for it: all sessions begin at once and stay for --duration; how many they are is \
         --channels times --viewers-per-channel"
    )]
    InStorm(&'static str),
    /// `--insecure` off loopback.
    #[error("--insecure: allowed towards loopback addresses only")]
    InsecureAbroad,
    /// A heavy load on another machine, without `--yes`.
    #[error(
        "more than {ABROAD_RATE_MAX} connections per second, or {ABROAD_MAX} at once, on another machine: confirm it \
         with --yes"
    )]
    Unconfirmed,
    /// See [`AddressError`].
    #[error(transparent)]
    Address(#[from] AddressError),
    /// See [`ScheduleError`].
    #[error(transparent)]
    Schedule(#[from] ScheduleError),
    /// See [`MissingKeys`].
    #[error(transparent)]
    Keys(#[from] MissingKeys),
}
