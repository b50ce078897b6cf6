//! The values that each flag may have, by itself and in its mode.

use crate::options::{Mode, Options};
use crate::peer::{PAYLOAD_BYTES_MAX, STAMP_BYTES};
use crate::plan::OptionError;
use crate::schedule::Arrival;
use crate::visit::CANDIDATES_MAX;

impl Options {
    /// Whether every flag is in its range, and none is given that its mode would ignore.
    pub(crate) fn check_ranges(&self) -> Result<(), OptionError> {
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
                !matches!(self.mode, Mode::Relay | Mode::Storm) || self.viewers_per_channel > 0,
                "--viewers-per-channel",
                "1 to 1000 in --mode relay and --mode storm",
            ),
            (
                (0.1..=604_800.0).contains(&self.duration.unwrap_or(DURATION_S)),
                "--duration",
                "0.1 to 604800 (seconds)",
            ),
            (
                (0.0..=86_400.0).contains(&self.hold),
                "--hold",
                "0 to 86400 (seconds)",
            ),
            (self.candidates <= CANDIDATES_MAX, "--candidates", "0 to 31"),
            (
                self.trickle <= 60_000,
                "--trickle",
                "0 to 60000 (milliseconds)",
            ),
            (
                self.tls_percent.is_none_or(|percent| percent <= 100),
                "--tls-percent",
                "0 to 100",
            ),
            (
                self.processes > 0
                    && self.part.of().saturating_mul(self.processes) <= self.channels,
                "--part and --processes",
                "at most as many parts as channels",
            ),
            (
                self.sdp_payload.is_none_or(payload_fits),
                "--sdp-payload",
                "a multiple of 4 from 72 to 65536",
            ),
            (
                (1..=WINDOW_MAX).contains(&self.window),
                "--window",
                "1 to 1000",
            ),
            (
                payload_fits(self.payload),
                "--payload",
                "a multiple of 4 from 72 to 65536",
            ),
        ];
        first_fault(&checks)?;
        self.check_thresholds()?;
        self.check_pace()?;
        self.check_storm()?;
        self.check_words()
    }

    /// Whether messages on schedule have a rate that can be, and no window, which they would ignore.
    fn check_pace(&self) -> Result<(), OptionError> {
        let pace = self.rate.filter(|_| self.mode == Mode::Relay);
        first_fault(&[
            (
                pace.is_none_or(|rate| (0.1..=PACE_MAX).contains(&rate)),
                "--rate",
                "0.1 to 1000000 (messages a second) in --mode relay",
            ),
            (
                pace.is_none() || self.window == 1,
                "--window",
                "nothing else than 1 in --mode relay with --rate",
            ),
        ])
    }

    fn check_thresholds(&self) -> Result<(), OptionError> {
        let wanted = &self.thresholds;
        let latencies = [
            ("--p50-below", wanted.p50_below),
            ("--p90-below", wanted.p90_below),
            ("--p99-below", wanted.p99_below),
            ("--p999-below", wanted.p999_below),
            ("--max-below", wanted.max_below),
        ];
        let checks = latencies.map(|(flag, ms)| {
            let fits = ms.is_none_or(|ms| (0.001..=3.6e6).contains(&ms));
            (fits, flag, "0.001 to 3600000 (milliseconds)")
        });
        first_fault(&checks)?;
        let fits = |percent: f64| (0.000_001..=100.0).contains(&percent);
        let fits = wanted.failed_below.is_none_or(fits);
        first_fault(&[(fits, "--failed-below", "0.000001 to 100 (percent)")])
    }

    /// Whether no flag is given that a storm would not look at: all its sessions begin at once and are held to the end.
    fn check_storm(&self) -> Result<(), OptionError> {
        let ignored = [
            ("--sessions", self.sessions.is_some()),
            ("--rate", self.rate.is_some()),
            ("--arrival", self.arrival != Arrival::Steady),
            ("--hold", self.hold > 0.0),
            ("--window", self.window != 1),
        ];
        let first = ignored.into_iter().find(|(_, is_given)| *is_given);
        match first.filter(|_| self.mode == Mode::Storm) {
            Some((flag, _)) => Err(OptionError::InStorm(flag)),
            None => Ok(()),
        }
    }

    fn check_words(&self) -> Result<(), OptionError> {
        let word = |text: &str| {
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
            text.len() <= 200 && text.bytes().all(plain)
        };
        first_fault(&[
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
        ])
    }
}

/// The first of the checks that does not hold.
fn first_fault(checks: &[(bool, &'static str, &'static str)]) -> Result<(), OptionError> {
    match checks.iter().find(|(well, _, _)| !well) {
        Some((_, flag, allowed)) => Err(OptionError::Range(flag, allowed)),
        None => Ok(()),
    }
}

const fn payload_fits(bytes: usize) -> bool {
    bytes.is_multiple_of(4) && bytes >= STAMP_BYTES && bytes <= PAYLOAD_BYTES_MAX
}

/// Seconds that are measured by default.
pub(crate) const DURATION_S: f64 = 10.0;
const CHANNELS_MAX: u32 = 1_000_000;
const VIEWERS_MAX: u32 = 1_000;
const WINDOW_MAX: u32 = 1_000;
/// Fastest schedule of messages in messages a second: beyond any machine.
const PACE_MAX: f64 = 1e6;
