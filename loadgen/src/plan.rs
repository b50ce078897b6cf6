//! A run, checked before anything is opened.

use crate::address::{AddressError, Sources, Target};
use crate::credentials::{Credentials, MissingKeys};
use crate::options::{CpuList, Mode, Options};
use crate::peer::{Name, Naming, PAYLOAD_BYTES_MAX, STAMP_BYTES};
use crate::schedule::{Arrival, Schedule, ScheduleError, Share};
use crate::visit::{self, CANDIDATES_MAX};
use codec::aws::sigv4::signer::Signer;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// A run, checked: everything in it can be done as far as the command line can tell.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Kind of load.
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
    /// How long is measured.
    pub duration: Duration,
    /// One thread is pinned to each; `None` is one thread, not pinned.
    pub cores: Option<CpuList>,
    /// Whose certificate is taken.
    pub trust: Trust,
    /// Which channels, and so which sessions, are this process's.
    pub share: Share,
    /// When sessions begin; `None` in the closed modes.
    pub schedule: Option<Schedule>,
    /// What is the same for every party.
    pub terms: visit::Terms,
    /// How long a session stays after its last message.
    pub hold: Duration,
    /// How long a session may take from its connect to its last message.
    pub patience: Duration,
    /// Another way to the service, and how much of a hundred sessions takes it.
    pub detour: Option<(Target, u32)>,
    /// The keys to sign with.
    pub credentials: Option<Credentials>,
    /// Whether each session makes its API calls first.
    pub discover: bool,
    /// Whether what discovery names may be on another machine: it is owned, and the load is modest or confirmed.
    pub abroad: bool,
    /// Whether the channels are made before the run and removed after it.
    pub create_channels: bool,
}

/// Whose certificate is taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trust {
    /// One that this authority (a PEM file) vouches for.
    Authority(PathBuf),
    /// One that an authority of this system's vouches for.
    System,
    /// Any, on loopback.
    Anyone,
    /// No TLS is spoken.
    NotNeeded,
}

/// What is wrong with the flags. Told to the operator; exit code 2.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OptionError {
    /// A flag's value is out of range: the flag, and what is allowed.
    Range(&'static str, &'static str),
    /// A flag that means nothing in a storm.
    InStorm(&'static str),
    /// Any certificate, off loopback.
    InsecureAbroad,
    /// A load on another machine that is worth a second thought, without `--yes`.
    Unconfirmed,
    /// See there.
    Address(AddressError),
    /// See there.
    Schedule(ScheduleError),
    /// See there.
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
                "more than {ABROAD_RATE_MAX} connections a second, or {ABROAD_MAX} at once, on another machine: \
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

impl Options {
    fn terms(&self, run: u32) -> visit::Terms {
        visit::Terms {
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

    /// Checks the flags against each other. `run` tells this run's messages from others'; `variable` looks an
    /// environment variable up, for the keys.
    ///
    /// # Errors
    /// The first fault, see [`OptionError`].
    pub fn plan(
        &self,
        run: u32,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Plan, OptionError> {
        self.check_ranges()?;
        let sources = match &self.source_addresses {
            Some(text) => Some(Sources::parse(text)?),
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
        let target = parse(&self.target)?;
        let detour = match (&self.tls_target, self.tls_percent) {
            (Some(url), Some(percent)) => Some((parse(url)?, percent)),
            (None, _) | (_, None) => None,
        };
        let trust = self.trust(&target, detour.as_ref())?;
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
            trust,
            share: self.part,
            schedule: self.schedule()?,
            terms: self.terms(run),
            hold: Duration::from_secs_f64(self.hold),
            patience: Duration::from_secs_f64(self.patience),
            detour,
            credentials: match self.presign {
                true => Some(Credentials::from_environment(variable)?),
                false => None,
            },
            discover: self.discover && self.mode.is_open_loop(),
            abroad: false,
            create_channels: self.create_channels,
            target,
        };
        if plan.is_bold() && !self.yes {
            return Err(OptionError::Unconfirmed);
        }
        plan.abroad = self.i_own_this_target && (self.yes || !plan.is_heavy());
        Ok(plan)
    }

    fn schedule(&self) -> Result<Option<Schedule>, OptionError> {
        match self.mode {
            Mode::Relay | Mode::Idle | Mode::Connect => Ok(None),
            Mode::Storm => {
                let sessions = self.channels.checked_mul(self.viewers_per_channel);
                let sessions = sessions.ok_or(ScheduleError::Range)?;
                Ok(Some(Schedule::at_once(sessions)))
            }
            Mode::Sessions => {
                let whole = self.sessions.is_some() && self.rate.is_some();
                let span = if whole {
                    self.duration
                } else {
                    Some(self.duration.unwrap_or(DURATION_S))
                };
                let schedule =
                    Schedule::new(self.arrival, self.sessions, self.rate, span, self.seed)?;
                Ok(Some(schedule))
            }
        }
    }

    fn trust(&self, target: &Target, detour: Option<&(Target, u32)>) -> Result<Trust, OptionError> {
        let ways = [Some(target), detour.map(|(target, _)| target)];
        let secured = || ways.into_iter().flatten().filter(|target| target.tls);
        // What is discovered may speak TLS where the target does not.
        let discovers = self.discover && self.mode.is_open_loop();
        if secured().next().is_none() && !discovers {
            return Ok(Trust::NotNeeded);
        }
        let near = secured().all(Target::is_near);
        Ok(match (&self.tls_ca, self.insecure) {
            (Some(file), _) => Trust::Authority(file.clone()),
            (None, true) if near => Trust::Anyone,
            (None, true) => return Err(OptionError::InsecureAbroad),
            (None, false) => Trust::System,
        })
    }

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
                self.p99_below
                    .is_none_or(|ms| (0.001..=3.6e6).contains(&ms)),
                "--p99-below",
                "0.001 to 3600000 (milliseconds)",
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
        self.check_storm()?;
        self.check_words()
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

impl Plan {
    /// The peers of each channel, its master counted whether it connects or not.
    #[must_use]
    pub const fn peers_per_channel(&self) -> u32 {
        1 + self.viewers
    }

    /// Who is connected, of this share of the channels: all peers in the closed modes, else the masters.
    pub fn held(&self, share: Share) -> impl Iterator<Item = Name> {
        let places = match self.mode {
            Mode::Relay | Mode::Idle => 0..=self.viewers,
            Mode::Connect if self.viewers > 0 => 1..=self.viewers,
            Mode::Connect | Mode::Sessions | Mode::Storm => 0..=0,
        };
        let channels = share.channels(self.channels);
        channels.flat_map(move |channel| places.clone().map(move |place| Name { channel, place }))
    }

    /// Connections of this share that are open at the same time: all of them, or as many as the schedule makes likely.
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

    /// Sessions of this share that run at the same time if none takes longer than a second beside its hold.
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

    /// Whether it is more than another machine should be given without a second thought.
    fn is_bold(&self) -> bool {
        let abroad = [
            Some(&self.target),
            self.detour.as_ref().map(|(target, _)| target),
        ];
        let abroad = abroad.into_iter().flatten().any(|target| !target.is_near());
        abroad && self.is_heavy()
    }

    /// Whether it would be, were it on another machine.
    fn is_heavy(&self) -> bool {
        let rate = self.schedule.as_ref().map_or(0.0, Schedule::rate_max);
        let unbounded = matches!(self.mode, Mode::Relay | Mode::Connect);
        unbounded || rate > ABROAD_RATE_MAX || self.connections() > ABROAD_MAX
    }

    /// A signer for the channels' region, if requests are signed.
    #[must_use]
    pub fn signer(&self) -> Option<Signer<'_>> {
        let credentials = self.credentials.as_ref()?;
        Some(Signer::new(credentials.keys(), &self.naming.region))
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

/// Seconds that are measured if nothing is said.
const DURATION_S: f64 = 10.0;
/// From here on a load on another machine is to be confirmed: connections a second, and at once.
const ABROAD_RATE_MAX: f64 = 100.0;
const ABROAD_MAX: u64 = 1_000;
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
        let Command::Run(options) = line.command else {
            return Err("not a run".into());
        };
        options.plan(1, |_| None).map_err(|error| error.to_string())
    }

    #[test]
    fn defaults_make_a_plan() {
        let plan = plan("--target http://127.0.0.1:8080 --mode relay").unwrap();
        assert_eq!((plan.connections(), plan.threads()), (200, vec![None]));
        assert_eq!(plan.trust, Trust::NotNeeded);
    }

    #[test]
    fn who_is_trusted_and_whether_discovery_may_lead_abroad() {
        let authority = || Trust::Authority("x".into());
        for (flags, trust, abroad) in [
            ("http://127.0.0.1:1 --rate 1", Trust::NotNeeded, false),
            ("https://127.0.0.1:1 --rate 1", Trust::System, false),
            (
                "https://127.0.0.1:1 --rate 1 --tls-ca x",
                authority(),
                false,
            ),
            (
                "http://127.0.0.1:1 --rate 1 --tls-ca x",
                Trust::NotNeeded,
                false,
            ),
            (
                "http://127.0.0.1:1 --rate 1 --discover",
                Trust::System,
                false,
            ),
            (
                "http://127.0.0.1:1 --rate 1 --discover --tls-ca x --i-own-this-target",
                authority(),
                true,
            ),
            (
                "http://127.0.0.1:1 --rate 1 --discover --insecure --i-own-this-target",
                Trust::Anyone,
                true,
            ),
            (
                "http://127.0.0.1:1 --rate 101 --discover --i-own-this-target",
                Trust::System,
                false,
            ),
            (
                "http://127.0.0.1:1 --rate 101 --discover --i-own-this-target --yes",
                Trust::System,
                true,
            ),
            (
                "http://127.0.0.1:1 --rate 101 --discover --yes",
                Trust::System,
                false,
            ),
            (
                "http://127.0.0.1:1 --mode relay --discover",
                Trust::NotNeeded,
                false,
            ),
        ] {
            let plan = plan(&format!("--target {flags}")).unwrap();
            assert_eq!((plan.trust, plan.abroad), (trust, abroad), "{flags}");
        }
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
    fn faults_of_schedules_name_the_flag_and_what_is_allowed() {
        refused(&[
            ("--target http://127.0.0.1:1", "two of"),
            (
                "--target http://127.0.0.1:1 --rate 1 --presign",
                "AWS_ACCESS_KEY_ID",
            ),
            (
                "--target http://127.0.0.1:1 --rate 1 --sessions 99 --duration 9",
                "contradict",
            ),
            (
                "--target http://127.0.0.1:1 --rate 1 --candidates 32",
                "0 to 31",
            ),
            (
                "--target http://127.0.0.1:1 --rate 1 --part 1/101",
                "as many parts as",
            ),
            ("--target http://127.0.0.1:1 --rate 1 --part 3/2", "K/N"),
            (
                "--target http://127.0.0.1:1 --rate 1 --sdp-payload 70",
                "--sdp-payload",
            ),
            (
                "--target http://127.0.0.1:1 --rate 1 --tls-percent 5",
                "--tls-target",
            ),
            (
                "--target http://127.0.0.1:1 --rate 1 --tls-target https://192.0.2.1:2 --tls-percent 5 --insecure \
                 --i-own-this-target",
                "--insecure",
            ),
            (
                "--target http://[::1]:1 --rate 1 --source-addresses 127.0.1.1/24",
                "an IPv4 address",
            ),
            (
                "--target http://192.0.2.1:1 --i-own-this-target --rate 101",
                "--yes",
            ),
            (
                "--target http://192.0.2.1:1 --i-own-this-target --mode relay",
                "--yes",
            ),
        ]);
    }

    /// Each of these flags is refused with a text that has this word.
    fn refused(cases: &[(&str, &str)]) {
        for (flags, word) in cases {
            let error = plan(flags).unwrap_err();
            assert!(error.contains(word), "{flags}: {error}");
        }
    }

    #[test]
    fn a_storm_refuses_what_it_would_ignore() {
        for flags in [
            "--sessions 5",
            "--rate 5",
            "--arrival ramp",
            "--hold 1",
            "--window 2",
        ] {
            let target = "--target http://127.0.0.1:1";
            let error = plan(&format!("{target} --mode storm {flags}")).unwrap_err();
            let flag = flags.split(' ').next().unwrap();
            assert!(error.starts_with(flag), "{flags}: {error}");
            let others = plan(&format!("{target} --duration 9 --rate 5 {flags}"));
            assert!(flag == "--sessions" || others.is_ok(), "{flags}");
        }
        assert!(
            plan("--target http://127.0.0.1:1 --mode storm --candidates 2 --trickle 5").is_ok()
        );
    }

    #[test]
    fn faults_name_the_flag_and_what_is_allowed() {
        refused(&[
            ("--mode relay", "--target"),
            ("--target http://127.0.0.1:1 --mode fast", "relay"),
            ("--target http://192.0.2.1:1 --mode relay", "loopback"),
            (
                "--target https://127.0.0.1:1 --mode relay --insecure --tls-ca x",
                "--tls-ca",
            ),
            (
                "--target https://192.0.2.1:1 --mode idle --insecure --i-own-this-target",
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
        ]);
    }
}
