//! A validated run: the plan that the command line describes, the permitted values of each flag, and the errors for
//! invalid flags.

use crate::address::{AddressError, SourceRange, Target};
use crate::credentials::{LoadCredentials, MissingKeys};
use crate::options::{CpuList, EngineChoice, Mode, Options};
use crate::peer::{Name, Naming, PAYLOAD_BYTES_MAX, STAMP_BYTES};
use crate::schedule::{ArrivalSchedule, RunShare, ScheduleError, SessionSchedule};
use crate::visit::{self, CANDIDATES_MAX};
use codec::sigv4::signer::Signer;
use std::path::PathBuf;
use std::time::Duration;
use thiserror::Error;

/// The validated parameters of a run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Kind of load.
    pub mode: Mode,
    /// The service's nodes. There is at least one.
    pub targets: Vec<Target>,
    /// The source addresses to connect from. If `None`, the kernel chooses.
    pub sources: Option<SourceRange>,
    /// How channels are named.
    pub naming: Naming,
    /// Number of channels.
    pub channels: u32,
    /// Number of viewers per channel.
    pub viewers: u32,
    /// Duration of the measured phase.
    pub duration: Duration,
    /// The CPUs to pin threads to, one thread per CPU. `None` means a single unpinned thread.
    pub cores: Option<CpuList>,
    /// The kernel interface to use.
    pub engine: EngineChoice,
    /// Which server certificates to accept.
    pub trust: CertificateTrust,
    /// Whether to resume TLS sessions.
    pub resumes: bool,
    /// The share of the channels, and thus of the sessions, that this process handles.
    pub share: RunShare,
    /// When the sessions start. `None` in closed-loop modes.
    pub schedule: Option<SessionSchedule>,
    /// Total rate at which the peers of all parts send scheduled messages, per second. `None` in a closed loop and in
    /// every mode other than `relay`.
    pub pace: Option<f64>,
    /// Parameters shared by all parties.
    pub terms: visit::PartyTerms,
    /// How long a session stays connected after its last message.
    pub hold: Duration,
    /// Maximum time from a session's connect to its last message.
    pub patience: Duration,
    /// An alternative target and the percentage of sessions that use it.
    pub detour: Option<(Target, u32)>,
    /// The credentials to sign requests with.
    pub credentials: Option<LoadCredentials>,
    /// Whether each session makes API calls to discover its endpoints.
    pub discover: bool,
    /// Whether discovered endpoints may be on other machines. This requires that the operator owns the target, and that
    /// the load is modest or confirmed.
    pub abroad: bool,
    /// Whether to create the channels before the run and delete them afterwards.
    pub create_channels: bool,
}

/// Which server certificates to accept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CertificateTrust {
    /// Certificates issued by the authority in this PEM file.
    Authority(PathBuf),
    /// Certificates issued by an authority that the system trusts.
    System,
    /// Any certificate. Permitted only with loopback addresses.
    Anyone,
    /// No certificate, because the run does not use TLS.
    NotNeeded,
}

impl Plan {
    /// Returns the number of peers per channel, including the master even if it does not connect.
    #[must_use]
    pub const fn peers_per_channel(&self) -> u32 {
        1 + self.viewers
    }

    /// Returns the peers of this share that stay connected: all of them in closed-loop modes, and only the masters
    /// otherwise.
    pub fn held(&self, share: RunShare) -> impl Iterator<Item = Name> {
        let places = match self.mode {
            Mode::Relay | Mode::Idle => 0..=self.viewers,
            Mode::Connect if self.viewers > 0 => 1..=self.viewers,
            Mode::Connect | Mode::Sessions | Mode::Storm => 0..=0,
        };
        let channels = share.channels(self.channels);
        channels.flat_map(move |channel| places.clone().map(move |place| Name { channel, place }))
    }

    /// Returns how many connections this share has open at a time. In `sessions` mode, this is an estimate based on the
    /// schedule.
    #[must_use]
    pub fn connections(&self) -> u64 {
        let channels = self.share.channels(self.channels).count() as u64;
        if self.mode == Mode::Sessions {
            return channels + self.sessions_at_once();
        }
        let per_channel = match self.mode {
            Mode::Connect => self.viewers.max(1),
            Mode::Relay | Mode::Idle | Mode::Storm | Mode::Sessions => self.peers_per_channel(),
        };
        channels * u64::from(per_channel)
    }

    /// Returns how many sessions of this share run at a time, assuming that each takes at most its hold time plus one
    /// second.
    fn sessions_at_once(&self) -> u64 {
        let Some(schedule) = &self.schedule else {
            return 0;
        };
        let rate = schedule.rate_max() / f64::from(self.share.of());
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "bounded by the number of sessions"
        )]
        let likely = (rate * (self.hold.as_secs_f64() + 1.0)).ceil() as u64;
        likely.min(u64::from(schedule.sessions()))
    }

    /// Returns whether the run puts so much load on another machine that `--yes` is required.
    fn is_bold(&self) -> bool {
        let abroad = self.ways().any(|target| !target.is_near());
        abroad && self.is_heavy()
    }

    fn is_heavy(&self) -> bool {
        let rate = self
            .schedule
            .as_ref()
            .map_or(0.0, SessionSchedule::rate_max);
        let unbounded = matches!(self.mode, Mode::Relay | Mode::Connect);
        unbounded || rate > ABROAD_RATE_MAX || self.connections() > ABROAD_MAX
    }

    /// Returns all targets, including the alternative target.
    pub fn ways(&self) -> impl Iterator<Item = &Target> {
        let detour = self.detour.as_ref().map(|(target, _)| target);
        self.targets.iter().chain(detour)
    }

    /// Creates a signer for the channels' region. Returns `None` if requests are not signed.
    #[must_use]
    pub fn signer(&self) -> Option<Signer<'_>> {
        let credentials = self.credentials.as_ref()?;
        Some(Signer::new(credentials.keys(), &self.naming.region))
    }

    /// Returns one entry per thread: the CPU to pin it to, or `None` if it is not pinned.
    #[must_use]
    pub fn threads(&self) -> Vec<Option<usize>> {
        match &self.cores {
            None => vec![None],
            Some(CpuList(list)) => list.iter().copied().map(Some).collect(),
        }
    }
}

/// Connections per second above which a load on another machine must be confirmed.
const ABROAD_RATE_MAX: f64 = 100.0;
/// Concurrent connections above which a load on another machine must be confirmed.
const ABROAD_MAX: u64 = 1_000;

/// An invalid flag. The program exits with code 2.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum OptionError {
    /// A flag's value is out of range. Contains the flag and the permitted values.
    #[error("{0}: expected {1}")]
    Range(&'static str, &'static str),
    /// The flag has no effect in `storm` mode.
    #[error(
        "{0}: not supported by --mode storm: all sessions begin at once and last for --duration; their number is \
         --channels times --viewers-per-channel"
    )]
    InStorm(&'static str),
    /// `--insecure` was given for a target that is not a loopback address.
    #[error("--insecure: expected loopback addresses only")]
    InsecureAbroad,
    /// `--yes` was not given for a heavy load on another machine.
    #[error(
        "more than {ABROAD_RATE_MAX} connections per second, or {ABROAD_MAX} at once, on another machine: confirm it \
         with --yes"
    )]
    Unconfirmed,
    /// A target or an address range is invalid.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// The schedule is invalid.
    #[error(transparent)]
    Schedule(#[from] ScheduleError),
    /// The credentials are missing.
    #[error(transparent)]
    Keys(#[from] MissingKeys),
}

impl Options {
    /// Validates the flags and builds a plan. `run` is the run id. `variable` looks up environment variables, which
    /// hold the credentials.
    pub fn plan(
        &self,
        run: u32,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Plan, OptionError> {
        self.check_ranges()?;
        let sources = match &self.source_addresses {
            Some(text) => Some(SourceRange::parse(text)?),
            None => None,
        };
        let parse = |url: &str| -> Result<Target, OptionError> {
            let target = Target::parse(url, self.i_own_this_target)?;
            if sources.is_none() {
                return Ok(target);
            }
            let allowed = "a target with an IPv4 address";
            let wrong = OptionError::Range("--source-addresses", allowed);
            target.of_v4().ok_or(wrong)
        };
        if self.targets.len() > TARGETS_MAX {
            return Err(OptionError::Range("--target", "at most 64 of them"));
        }
        let targets: Vec<Target> = self
            .targets
            .iter()
            .map(|url| parse(url))
            .collect::<Result<_, _>>()?;
        let detour = match (&self.tls_target, self.tls_percent) {
            (Some(url), Some(percent)) => Some((parse(url)?, percent)),
            (None, _) | (_, None) => None,
        };
        let trust = self.trust(&targets, detour.as_ref())?;
        let mut plan = Plan {
            mode: self.mode,
            sources,
            naming: Naming {
                region: self.region.clone(),
                account: self.account_id.clone(),
                prefix: self.channel_prefix.clone(),
            },
            channels: self.channels,
            viewers: self.viewers_per_channel,
            duration: Duration::from_secs_f64(self.duration.unwrap_or(DURATION_S)),
            cores: self.cores.clone(),
            engine: self.engine,
            trust,
            resumes: self.resume,
            share: self.part,
            schedule: self.schedule()?,
            pace: self.rate.filter(|_| self.mode == Mode::Relay),
            terms: self.terms(run),
            hold: Duration::from_secs_f64(self.hold),
            patience: Duration::from_secs_f64(self.patience),
            detour,
            credentials: match self.presign {
                true => Some(LoadCredentials::from_environment(variable)?),
                false => None,
            },
            discover: self.discover && self.mode.is_open_loop(),
            abroad: false,
            create_channels: self.create_channels,
            targets,
        };
        if plan.is_bold() && !self.yes {
            return Err(OptionError::Unconfirmed);
        }
        plan.abroad = self.i_own_this_target && (self.yes || !plan.is_heavy());
        Ok(plan)
    }

    fn terms(&self, run: u32) -> visit::PartyTerms {
        visit::PartyTerms {
            run,
            payload_bytes: self.payload,
            sdp_bytes: self.sdp_payload.unwrap_or(self.payload),
            candidates: self.candidates,
            trickle_ns: self.trickle * 1_000_000,
            channels: self.channels,
            viewers: self.viewers_per_channel,
            window: if self.mode == Mode::Relay {
                self.window
            } else {
                0
            },
        }
    }

    fn schedule(&self) -> Result<Option<SessionSchedule>, OptionError> {
        match self.mode {
            Mode::Relay | Mode::Idle | Mode::Connect => Ok(None),
            Mode::Storm => {
                let sessions = self.channels.checked_mul(self.viewers_per_channel);
                let sessions = sessions.ok_or(ScheduleError::Range)?;
                Ok(Some(SessionSchedule::at_once(sessions)))
            }
            Mode::Sessions => {
                let whole = self.sessions.is_some() && self.rate.is_some();
                let span = if whole {
                    self.duration
                } else {
                    Some(self.duration.unwrap_or(DURATION_S))
                };
                let is_free = self.rate.is_none() && self.sessions.is_none();
                let rate = if is_free { Some(RATE) } else { self.rate };
                let schedule =
                    SessionSchedule::new(self.arrival, self.sessions, rate, span, self.seed)?;
                Ok(Some(schedule))
            }
        }
    }

    fn trust(
        &self,
        targets: &[Target],
        detour: Option<&(Target, u32)>,
    ) -> Result<CertificateTrust, OptionError> {
        let ways = || targets.iter().chain(detour.map(|(target, _)| target));
        let secured = || ways().filter(|target| target.tls);
        // Discovered endpoints may use TLS even if the target does not.
        let discovers = self.discover && self.mode.is_open_loop();
        if secured().next().is_none() && !discovers {
            return Ok(CertificateTrust::NotNeeded);
        }
        let near = secured().all(Target::is_near);
        Ok(match (&self.tls_ca, self.insecure) {
            (Some(file), _) => CertificateTrust::Authority(file.clone()),
            (None, true) if near => CertificateTrust::Anyone,
            (None, true) => return Err(OptionError::InsecureAbroad),
            (None, false) => CertificateTrust::System,
        })
    }
}

/// Default number of sessions per second, if neither the rate nor the number of sessions is given.
const RATE: f64 = 10.0;

/// Maximum number of targets. Every thread needs a TLS configuration and a route for each of them.
const TARGETS_MAX: usize = 64;

impl Options {
    fn check_ranges(&self) -> Result<(), OptionError> {
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
                "1 in --mode relay with --rate",
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

    fn check_storm(&self) -> Result<(), OptionError> {
        let ignored = [
            ("--sessions", self.sessions.is_some()),
            ("--rate", self.rate.is_some()),
            ("--arrival", self.arrival != ArrivalSchedule::Steady),
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

fn first_fault(checks: &[(bool, &'static str, &'static str)]) -> Result<(), OptionError> {
    match checks.iter().find(|(well, _, _)| !well) {
        Some((_, flag, allowed)) => Err(OptionError::Range(flag, allowed)),
        None => Ok(()),
    }
}

const fn payload_fits(bytes: usize) -> bool {
    bytes.is_multiple_of(4) && bytes >= STAMP_BYTES && bytes <= PAYLOAD_BYTES_MAX
}

const DURATION_S: f64 = 10.0;
const CHANNELS_MAX: u32 = 1_000_000;
const VIEWERS_MAX: u32 = 1_000;
const WINDOW_MAX: u32 = 1_000;
/// Maximum rate of scheduled messages per second. No machine can send this many.
const PACE_MAX: f64 = 1e6;

#[cfg(test)]
pub(crate) mod tests;
