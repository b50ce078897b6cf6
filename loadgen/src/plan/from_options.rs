//! The plan of a command line: flags checked against each other.

use crate::address::{Sources, Target};
use crate::credentials::Credentials;
use crate::options::{Mode, Options};
use crate::peer::Naming;
use crate::plan::ranges::DURATION_S;
use crate::plan::{OptionError, Plan, Trust};
use crate::schedule::{Schedule, ScheduleError};
use crate::visit;
use std::time::Duration;

impl Options {
    /// Checks the flags against each other. `run` distinguishes this run's messages from others'; `variable` looks an
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
                true => Some(Credentials::from_environment(variable)?),
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
                let is_free = self.rate.is_none() && self.sessions.is_none();
                let rate = if is_free { Some(RATE) } else { self.rate };
                let schedule = Schedule::new(self.arrival, self.sessions, rate, span, self.seed)?;
                Ok(Some(schedule))
            }
        }
    }

    fn trust(
        &self,
        targets: &[Target],
        detour: Option<&(Target, u32)>,
    ) -> Result<Trust, OptionError> {
        let ways = || targets.iter().chain(detour.map(|(target, _)| target));
        let secured = || ways().filter(|target| target.tls);
        // A discovered endpoint may speak TLS where the target does not.
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
}

/// Sessions started per second where neither their rate nor their number is given.
const RATE: f64 = 10.0;

/// Most targets: each has a TLS configuration and a route in every thread.
const TARGETS_MAX: usize = 64;
