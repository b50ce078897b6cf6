//! A run, checked before anything is opened.
//!
//! | module | what it is |
//! |---|---|
//! | [`from_options`] | the plan of a command line |
//! | [`ranges`] | what each flag may be |
//! | [`error`] | what is wrong with the flags |

mod error;
mod from_options;
mod ranges;

use crate::address::{Sources, Target};
use crate::credentials::Credentials;
use crate::options::{CpuList, Mode};
use crate::peer::{Name, Naming};
use crate::schedule::{Schedule, Share};
use crate::visit;
use codec::sigv4::signer::Signer;
pub use error::OptionError;
use std::path::PathBuf;
use std::time::Duration;

/// A run, checked: everything in it can be done as far as the command line shows.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Kind of load.
    pub mode: Mode,
    /// The targets of the load: the nodes of the service, one at least.
    pub targets: Vec<Target>,
    /// The addresses that it comes from; `None` leaves them to the kernel.
    pub sources: Option<Sources>,
    /// The names of the channels.
    pub naming: Naming,
    /// Number of channels.
    pub channels: u32,
    /// Viewers of each channel.
    pub viewers: u32,
    /// The measured time.
    pub duration: Duration,
    /// One thread is pinned to each; `None` is one thread, not pinned.
    pub cores: Option<CpuList>,
    /// Which certificates are accepted.
    pub trust: Trust,
    /// Whether TLS sessions are resumed.
    pub resumes: bool,
    /// Which channels, and so which sessions, are this process's.
    pub share: Share,
    /// When sessions begin; `None` in the closed modes.
    pub schedule: Option<Schedule>,
    /// Messages that the peers of all parts send a second, on schedule; `None` outside of mode relay, and there in the
    /// closed loop.
    pub pace: Option<f64>,
    /// The terms that are the same for every party.
    pub terms: visit::Terms,
    /// The time that a session stays after its last message.
    pub hold: Duration,
    /// The time that a session may take from its connect to its last message.
    pub patience: Duration,
    /// Another way to the service, and the percentage of sessions that take it.
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

/// Which certificates are accepted.
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

impl Plan {
    /// The peers of each channel, its master counted whether it connects or not.
    #[must_use]
    pub const fn peers_per_channel(&self) -> u32 {
        1 + self.viewers
    }

    /// The connected peers of this share of the channels: all peers in the closed modes, else the masters.
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

    /// Whether it is a heavy load on another machine, which `--yes` must confirm.
    fn is_bold(&self) -> bool {
        let abroad = self.ways().any(|target| !target.is_near());
        abroad && self.is_heavy()
    }

    /// Whether it is heavy: unbounded, or above the limits for other machines.
    fn is_heavy(&self) -> bool {
        let rate = self.schedule.as_ref().map_or(0.0, Schedule::rate_max);
        let unbounded = matches!(self.mode, Mode::Relay | Mode::Connect);
        unbounded || rate > ABROAD_RATE_MAX || self.connections() > ABROAD_MAX
    }

    /// The ways to the service: the targets, and a detour behind them if there is one.
    pub fn ways(&self) -> impl Iterator<Item = &Target> {
        let detour = self.detour.as_ref().map(|(target, _)| target);
        self.targets.iter().chain(detour)
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

/// Above these a load on another machine must be confirmed: connections per second, and at once.
const ABROAD_RATE_MAX: f64 = 100.0;
const ABROAD_MAX: u64 = 1_000;

#[cfg(test)]
mod tests;
