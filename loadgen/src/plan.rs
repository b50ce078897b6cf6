//! A run, checked before anything is opened.

use crate::address::{AddressError, Sources, Target};
use crate::options::{CpuList, Mode, Options};
use crate::peer::{Naming, PAYLOAD_BYTES_MAX, STAMP_BYTES, Terms};
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// A run, checked: everything in it can be done as far as the command line can tell.
#[derive(Clone, Debug)]
pub struct Plan {
    /// What kind of load.
    pub mode: Mode,
    /// Where it goes.
    pub target: Target,
    /// Where it comes from; `None` leaves it to the kernel.
    pub sources: Option<Sources>,
    /// How channels are called.
    pub naming: Naming,
    /// Channels.
    pub channels: u32,
    /// Viewers of each.
    pub viewers: u32,
    /// Whether masters connect at all.
    pub with_masters: bool,
    /// What is the same for every message.
    pub terms: Terms,
    /// How long is measured.
    pub duration: Duration,
    /// One thread is pinned to each; `None` is one thread, not pinned.
    pub cores: Option<CpuList>,
    /// Whose certificate is taken.
    pub trust: Trust,
}

/// Whose certificate is taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trust {
    /// One that this authority (a PEM file) vouches for.
    Authority(PathBuf),
    /// Any.
    Anyone,
    /// No TLS is spoken.
    NotNeeded,
}

/// What is wrong with the flags. Told to the operator; exit code 2.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OptionError {
    /// A flag's value is out of range: the flag, and what is allowed.
    Range(&'static str, &'static str),
    /// TLS without a word on whom to trust.
    Trust,
    /// Any certificate, off loopback.
    InsecureAbroad,
    /// See there.
    Address(AddressError),
}

impl fmt::Display for OptionError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Range(flag, allowed) => write!(formatter, "{flag}: allowed is {allowed}"),
            Self::Trust => formatter.write_str(
                "--target speaks TLS: name its authority with --tls-ca FILE (the broker's ready line tells it as ca=), \
                 or take any certificate with --insecure",
            ),
            Self::InsecureAbroad => {
                formatter.write_str("--insecure: allowed towards loopback addresses only")
            }
            Self::Address(error) => error.fmt(formatter),
        }
    }
}

impl std::error::Error for OptionError {}

impl From<AddressError> for OptionError {
    fn from(error: AddressError) -> Self {
        Self::Address(error)
    }
}

impl Options {
    /// Checks the flags against each other. `run` tells this run's messages from others'.
    ///
    /// # Errors
    /// The first fault, see [`OptionError`].
    pub fn plan(&self, run: u32) -> Result<Plan, OptionError> {
        self.check_ranges()?;
        let target = Target::parse(&self.target, self.i_own_this_target)?;
        let trust = match (target.tls, &self.tls_ca, self.insecure) {
            (false, _, _) => Trust::NotNeeded,
            (true, Some(file), _) => Trust::Authority(file.clone()),
            (true, None, true) if target.address.ip().is_loopback() => Trust::Anyone,
            (true, None, true) => return Err(OptionError::InsecureAbroad),
            (true, None, false) => return Err(OptionError::Trust),
        };
        let sources = match &self.source_addresses {
            Some(text) => Some(Sources::parse(text)?),
            None => None,
        };
        Ok(Plan {
            mode: self.mode,
            target,
            sources,
            naming: Naming {
                region: self.region.clone(),
                account: self.account_id.clone(),
                prefix: self.channel_prefix.clone(),
            },
            channels: self.channels,
            viewers: self.viewers_per_channel,
            with_masters: self.mode != Mode::Connect || self.viewers_per_channel == 0,
            terms: Terms {
                run,
                payload_bytes: self.payload,
                window: self.window,
            },
            duration: Duration::from_secs_f64(self.duration),
            cores: self.cores.clone(),
            trust,
        })
    }

    fn check_ranges(&self) -> Result<(), OptionError> {
        let word = |text: &str| {
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
            text.len() <= 200 && text.bytes().all(plain)
        };
        let checks = [
            (
                (1..=CHANNELS_MAX).contains(&self.channels),
                "--channels",
                "1 to 1000000",
            ),
            (
                self.viewers_per_channel <= VIEWERS_MAX,
                "--viewers-per-channel",
                "0 to 1000",
            ),
            (
                self.mode != Mode::Relay || self.viewers_per_channel > 0,
                "--viewers-per-channel",
                "1 to 1000 in --mode relay",
            ),
            (
                (0.1..=86_400.0).contains(&self.duration),
                "--duration",
                "0.1 to 86400 (seconds)",
            ),
            (
                (1..=WINDOW_MAX).contains(&self.window),
                "--window",
                "1 to 1000",
            ),
            (
                self.payload.is_multiple_of(4)
                    && (STAMP_BYTES..=PAYLOAD_BYTES_MAX).contains(&self.payload),
                "--payload",
                "a multiple of 4 from 72 to 65536",
            ),
            (
                word(&self.channel_prefix),
                "--channel-prefix",
                "up to 200 of a-z A-Z 0-9 _ . -",
            ),
            (
                word(&self.region) && !self.region.is_empty(),
                "--region",
                "a region's name",
            ),
            (
                self.account_id.len() == 12 && self.account_id.bytes().all(|b| b.is_ascii_digit()),
                "--account-id",
                "twelve digits",
            ),
        ];
        match checks.into_iter().find(|(well, _, _)| !well) {
            Some((_, flag, allowed)) => Err(OptionError::Range(flag, allowed)),
            None => Ok(()),
        }
    }
}

impl Plan {
    /// The peers of each channel, its master counted whether it connects or not.
    #[must_use]
    pub const fn peers_per_channel(&self) -> u32 {
        1 + self.viewers
    }

    /// Connections that are open at the same time when all are.
    #[must_use]
    pub const fn connections(&self) -> u64 {
        let per_channel = self.viewers + if self.with_masters { 1 } else { 0 };
        self.channels as u64 * per_channel as u64
    }

    /// The threads of the run, each with the CPU that it is pinned to.
    #[must_use]
    pub fn threads(&self) -> Vec<Option<usize>> {
        match &self.cores {
            None => vec![None],
            Some(CpuList(list)) => list.iter().copied().map(Some).collect(),
        }
    }
}

const CHANNELS_MAX: u32 = 1_000_000;
const VIEWERS_MAX: u32 = 1_000;
const WINDOW_MAX: u32 = 1_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::{Command, CommandLine};
    use clap::Parser;

    fn plan(flags: &str) -> Result<Plan, String> {
        let words = ["loadgen", "run"].into_iter().chain(flags.split(' '));
        let line = CommandLine::try_parse_from(words).map_err(|error| error.to_string())?;
        let Command::Run(options) = line.command;
        options.plan(1).map_err(|error| error.to_string())
    }

    #[test]
    fn defaults_make_a_plan() {
        let plan = plan("--target http://127.0.0.1:8080 --mode relay").unwrap();
        assert_eq!((plan.connections(), plan.threads()), (200, vec![None]));
        assert_eq!(plan.trust, Trust::NotNeeded);
    }

    #[test]
    fn who_connects() {
        let count = |flags: &str| {
            plan(&format!("--target http://127.0.0.1:1 {flags}"))
                .unwrap()
                .connections()
        };
        assert_eq!(
            count("--mode idle --channels 900 --viewers-per-channel 9"),
            9_000
        );
        assert_eq!(count("--mode connect --channels 50"), 50);
        assert_eq!(
            count("--mode connect --channels 50 --viewers-per-channel 0"),
            50
        );
    }

    #[test]
    fn faults_name_the_flag_and_what_is_allowed() {
        for (flags, word) in [
            ("--mode relay", "--target"),
            ("--target http://127.0.0.1:1", "--mode"),
            ("--target http://127.0.0.1:1 --mode fast", "relay"),
            ("--target http://192.0.2.1:1 --mode relay", "loopback"),
            ("--target https://127.0.0.1:1 --mode relay", "--tls-ca"),
            (
                "--target https://192.0.2.1:1 --mode relay --insecure --i-own-this-target",
                "--insecure",
            ),
            (
                "--target http://127.0.0.1:1 --mode relay --payload 70",
                "multiple of 4",
            ),
            (
                "--target http://127.0.0.1:1 --mode relay --payload 201",
                "multiple of 4",
            ),
            (
                "--target http://127.0.0.1:1 --mode relay --viewers-per-channel 0",
                "1 to 1000 in",
            ),
            (
                "--target http://127.0.0.1:1 --mode idle --channels 0",
                "--channels",
            ),
            (
                "--target http://127.0.0.1:1 --mode idle --window 0",
                "--window",
            ),
            (
                "--target http://127.0.0.1:1 --mode idle --duration 0",
                "--duration",
            ),
            (
                "--target http://127.0.0.1:1 --mode idle --duration NaN",
                "--duration",
            ),
            (
                "--target http://127.0.0.1:1 --mode idle --cores 1-",
                "CPU numbers",
            ),
            (
                "--target http://127.0.0.1:1 --mode idle --cores 9-1",
                "CPU numbers",
            ),
            (
                "--target http://127.0.0.1:1 --mode idle --source-addresses x",
                "FIRST-LAST",
            ),
            (
                "--target http://127.0.0.1:1 --mode idle --account-id 7",
                "twelve digits",
            ),
            (
                "--target http://127.0.0.1:1 --mode idle --channel-prefix a/b",
                "--channel-prefix",
            ),
        ] {
            let error = plan(flags).unwrap_err();
            assert!(error.contains(word), "{flags}: {error}");
        }
    }
}
