//! The load schedule, and how a run is split into shares. The load is an open loop: all start times are determined in
//! advance.
//!
//! [`SessionSchedule::moment_ns`] depends only on the session number, the seed and the arrival distribution. If the
//! target responds late or not at all, no later session is delayed. Latencies are measured from when a session is due,
//! so that a target's stalls are fully visible in them (no coordinated omission). Each [`RunShare`] computes its part
//! of the schedule without communicating with the others.

use clap::ValueEnum;
use fastrand::Rng;
use serde::Serialize;
use std::fmt;
use std::str::FromStr;
use std::time::SystemTime;
use thiserror::Error;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// How session starts are distributed over time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum ArrivalSchedule {
    /// At equal intervals.
    #[default]
    Steady,
    /// At a rate that grows linearly from zero to the full rate.
    Ramp,
    /// Five steps of equal length: a fifth of the rate, two fifths, …, the full rate.
    Step,
    /// At random, as independent clients arrive.
    ///
    /// Drawn in blocks of 1,024 sessions. Within a block, start times are uniform and sorted, which is a Poisson
    /// process conditioned on the number of events. Any session's start time can therefore be computed from its number.
    Poisson,
}

/// When each session of a run starts.
#[derive(Clone, Debug)]
pub struct SessionSchedule {
    arrival: ArrivalSchedule,
    sessions: u32,
    span_ns: u64,
    seed: u64,
    /// The most recently drawn block of a Poisson schedule: its index and its start times, relative to the block.
    drawn: Option<(u32, Vec<u64>)>,
}

/// An invalid schedule. The error is shown to the operator, and the program exits with code 2.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ScheduleError {
    /// At least two of these are needed, but not given: the number of sessions, the rate and the duration.
    #[error("give two of --sessions, --rate and --duration")]
    Incomplete,
    /// The number of sessions, the rate and the duration are all given, but contradict each other.
    #[error(
        "--sessions, --rate and --duration contradict each other under this --arrival: leave one of them out"
    )]
    Contradiction,
    /// The number of sessions, the rate or the duration is out of range.
    #[error(
        "expected 1 to {SESSIONS_MAX} sessions (--sessions) at up to {RATE_MAX:.0} a second (--rate) over at most a \
         week"
    )]
    Range,
}

impl SessionSchedule {
    /// Creates a schedule from at least two of these: the number of sessions, the full rate per second, and the
    /// duration in seconds.
    pub fn new(
        arrival: ArrivalSchedule,
        sessions: Option<u32>,
        rate: Option<f64>,
        duration_s: Option<f64>,
        seed: u64,
    ) -> Result<Self, ScheduleError> {
        let mean = arrival.mean();
        let (count, span_s) = match (sessions, rate, duration_s) {
            (Some(sessions), Some(rate), None) => {
                (f64::from(sessions), f64::from(sessions) / (rate * mean))
            }
            (Some(sessions), None, Some(span)) => (f64::from(sessions), span),
            (None, Some(rate), Some(span)) => ((rate * mean * span).round(), span),
            (Some(sessions), Some(rate), Some(span)) => {
                let (count, wanted) = (f64::from(sessions), rate * mean * span);
                if (count - wanted).abs() > (wanted / 100.0).max(1.0) {
                    return Err(ScheduleError::Contradiction);
                }
                (count, span)
            }
            (_, None, None) | (None, Some(_), None) | (None, None, Some(_)) => {
                return Err(ScheduleError::Incomplete);
            }
        };
        let well = (1.0..=f64::from(SESSIONS_MAX)).contains(&count)
            && (0.0..=SPAN_S_MAX).contains(&span_s)
            && span_s > 0.0
            && count / (span_s * mean) <= RATE_MAX;
        if !well {
            return Err(ScheduleError::Range);
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "positive, at most SESSIONS_MAX sessions in at most a week"
        )]
        let (sessions, span_ns) = (count as u32, (span_s * 1e9) as u64);
        Ok(Self {
            arrival,
            sessions,
            span_ns,
            seed,
            drawn: None,
        })
    }

    /// Creates a schedule in which every session is due at time 0.
    #[must_use]
    pub const fn at_once(sessions: u32) -> Self {
        Self {
            arrival: ArrivalSchedule::Steady,
            sessions,
            span_ns: 0,
            seed: 0,
            drawn: None,
        }
    }

    /// Returns the number of sessions in the schedule.
    #[must_use]
    pub const fn sessions(&self) -> u32 {
        self.sessions
    }

    /// Returns how long the schedule lasts from the start of the run, in nanoseconds. No session is due later.
    #[must_use]
    pub const fn span_ns(&self) -> u64 {
        self.span_ns
    }

    /// Returns the highest rate of session starts per second, or 0 if all sessions start at once.
    #[must_use]
    pub fn rate_max(&self) -> f64 {
        if self.span_ns == 0 {
            return 0.0;
        }
        f64::from(self.sessions) * 1e9 / (self.span_ns as f64 * self.arrival.mean())
    }

    /// Returns when a session is due, in nanoseconds since the start of the run. All callers get the same result, and a
    /// session with a higher number is never due earlier. Numbers beyond the last session are treated as the last
    /// session.
    pub fn moment_ns(&mut self, number: u32) -> u64 {
        let number = number.min(self.sessions.saturating_sub(1));
        let share = f64::from(number) / f64::from(self.sessions.max(1));
        match self.arrival {
            ArrivalSchedule::Steady => self.part(share),
            // The number of sessions started grows with the square of the time.
            ArrivalSchedule::Ramp => self.part(share.sqrt()),
            ArrivalSchedule::Step => self.part(step(share)),
            ArrivalSchedule::Poisson => self.poisson(number),
        }
    }

    fn part(&self, share: f64) -> u64 {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a share of the span, which is below a week"
        )]
        let moment = (share * self.span_ns as f64) as u64;
        moment.min(self.span_ns)
    }

    fn poisson(&mut self, number: u32) -> u64 {
        let block = number / BLOCK;
        let first = block * BLOCK;
        let count = BLOCK.min(self.sessions - first);
        let edge = |sessions: u32| self.part(f64::from(sessions) / f64::from(self.sessions));
        let (start, end) = (edge(first), edge(first + count));
        if self.drawn.as_ref().is_none_or(|(drawn, _)| *drawn != block) {
            // The generator mixes its seed, so even adjacent seeds give independent streams.
            let mut random =
                Rng::with_seed(self.seed ^ u64::from(block).wrapping_mul(0x9E37_79B9_7F4A_7C15));
            let mut moments: Vec<u64> = (0..count).map(|_| random.u64(0..=end - start)).collect();
            moments.sort_unstable();
            self.drawn = Some((block, moments));
        }
        let moments = self.drawn.as_ref().map(|(_, moments)| moments);
        let within = moments.and_then(|moments| moments.get((number - first) as usize));
        start + within.copied().unwrap_or_default()
    }
}

impl ArrivalSchedule {
    const fn mean(self) -> f64 {
        match self {
            Self::Steady | Self::Poisson => 1.0,
            Self::Ramp => 0.5,
            Self::Step => 0.6, // (1 + 2 + 3 + 4 + 5) / 25
        }
    }
}

/// Returns the fraction of the duration after which a fraction `share` of the sessions has started. All five steps take
/// equally long, and step n starts n fifteenths of the sessions.
fn step(share: f64) -> f64 {
    let mut before = 0.0;
    for stair in 0..5_u8 {
        let takes = f64::from(stair + 1) / 15.0;
        if share < before + takes || stair == 4 {
            return (f64::from(stair) + ((share - before) / takes).min(1.0)) / 5.0;
        }
        before += takes;
    }
    1.0
}

const BLOCK: u32 = 1024;
/// Maximum number of sessions in a run. Sessions and masters together fit into 32 bits with plenty of margin.
const SESSIONS_MAX: u32 = 1_000_000_000;
/// Maximum rate in sessions per second. No machine can start this many.
const RATE_MAX: f64 = 1e6;
/// Maximum duration of a schedule: one week, in seconds.
const SPAN_S_MAX: f64 = 7.0 * 86_400.0;

/// A share of a run, written `K/N`: every N-th channel starting with the K-th, along with its sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(into = "String")]
pub struct RunShare {
    place: u32,
    of: u32,
}

impl RunShare {
    /// A single share that covers the whole run.
    pub const WHOLE: Self = Self { place: 0, of: 1 };

    /// Divides this share into `of` equal shares and returns number `place`, counting from 0. Returns `None` if `place`
    /// is too large or the run would have too many shares.
    #[must_use]
    pub fn split(self, place: u32, of: u32) -> Option<Self> {
        let all = self.of.checked_mul(of).filter(|&all| all <= SHARES_MAX)?;
        (place < of).then(|| Self {
            place: self.place + place * self.of,
            of: all,
        })
    }

    /// Returns the total number of shares in the run.
    #[must_use]
    pub const fn of(self) -> u32 {
        self.of
    }

    /// Returns whether a channel belongs to this share.
    #[must_use]
    pub const fn has(self, channel: u32) -> bool {
        channel % self.of == self.place
    }

    /// Returns the channels of this share in a run with `channels` channels, in ascending order.
    pub fn channels(self, channels: u32) -> impl Iterator<Item = u32> {
        (self.place..channels).step_by(self.of as usize)
    }

    /// Returns the index that a channel of this share has in [`Self::channels`].
    #[must_use]
    pub const fn index(self, channel: u32) -> usize {
        (channel / self.of) as usize
    }

    /// Returns this share's first session whose number is at least `session`, if there is one. Session n belongs to
    /// channel n modulo `channels`.
    #[must_use]
    pub fn session_from(self, session: u32, channels: u32, sessions: u32) -> Option<u32> {
        if self.place >= channels {
            return None;
        }
        let channel = session % channels;
        let ahead = (self.place + self.of - channel % self.of) % self.of;
        let next = if channel + ahead < channels {
            session.checked_add(ahead)?
        } else {
            // The share has no more sessions in this round, so select its first one in the next round.
            session
                .checked_add(channels - channel)?
                .checked_add(self.place)?
        };
        (next < sessions).then_some(next)
    }
}

impl fmt::Display for RunShare {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}/{}", self.place + 1, self.of)
    }
}

impl FromStr for RunShare {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text}: expected K/N, K from 1 to N, N at most {SHARES_MAX}");
        let (place, of) = text.split_once('/').ok_or_else(wrong)?;
        let place: u32 = place.parse().map_err(|_| wrong())?;
        let of: u32 = of.parse().map_err(|_| wrong())?;
        let whole = Self::WHOLE;
        place
            .checked_sub(1)
            .and_then(|place| whole.split(place, of))
            .ok_or_else(wrong)
    }
}

impl From<RunShare> for String {
    fn from(share: RunShare) -> Self {
        share.to_string()
    }
}

/// Maximum number of shares in a run: machines × processes × threads.
const SHARES_MAX: u32 = 65_536;

/// A time as given on the command line: `2026-01-31T23:59:59Z`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(into = "String")]
pub struct PlannedMoment(pub SystemTime);

impl FromStr for PlannedMoment {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text}: expected a time in UTC, such as 2026-01-31T23:59:59Z");
        let moment = OffsetDateTime::parse(text, &Rfc3339).ok();
        let moment = moment.filter(|moment| moment.unix_timestamp() >= 0);
        let moment = Self(moment.ok_or_else(wrong)?.into());
        // Reject fractions and other time zones, because they do not format back to the same text.
        (moment.to_string() == text)
            .then_some(moment)
            .ok_or_else(wrong)
    }
}

impl fmt::Display for PlannedMoment {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&crate::result::words::rfc3339(self.0))
    }
}

impl From<PlannedMoment> for String {
    fn from(moment: PlannedMoment) -> Self {
        moment.to_string()
    }
}

#[cfg(test)]
mod arrival_tests {
    use super::*;
    use proptest::prelude::*;

    #[rustfmt::skip] // a list
    const ALL: [ArrivalSchedule; 4] = [
        ArrivalSchedule::Steady, ArrivalSchedule::Ramp, ArrivalSchedule::Step, ArrivalSchedule::Poisson,
    ];

    fn moments(schedule: &mut SessionSchedule) -> Vec<u64> {
        (0..schedule.sessions())
            .map(|number| schedule.moment_ns(number))
            .collect()
    }

    proptest! {
        #[test]
        fn moments_never_go_back_and_stay_in_the_span(
            shape in 0_usize..4, sessions in 1_u32..5_000, span in 0.001_f64..1_000.0, seed in any::<u64>(),
        ) {
            prop_assume!(f64::from(sessions) / (span * 0.5) < RATE_MAX);
            let mut schedule = SessionSchedule::new(ALL[shape], Some(sessions), None, Some(span), seed).unwrap();
            let moments = moments(&mut schedule);
            prop_assert!(moments.is_sorted());
            prop_assert!(moments.iter().all(|&moment| moment <= schedule.span_ns()));
        }

        #[test]
        fn a_moment_depends_on_its_number_alone(
            shape in 0_usize..4, numbers in proptest::collection::vec(0_u32..10_000, 1..50), seed in any::<u64>(),
        ) {
            let fresh = || SessionSchedule::new(ALL[shape], Some(10_000), Some(500.0), None, seed).unwrap();
            let mut used = fresh();
            for number in numbers {
                prop_assert_eq!(used.moment_ns(number), fresh().moment_ns(number));
            }
        }
    }

    #[test]
    fn shapes_have_the_rates_that_they_promise() {
        // The number of sessions started in each fifth of 10 s, at a full rate of 1,000 per second.
        for (arrival, fifths) in [
            (ArrivalSchedule::Steady, [2_000, 2_000, 2_000, 2_000, 2_000]),
            (ArrivalSchedule::Ramp, [200, 600, 1_000, 1_400, 1_800]),
            (ArrivalSchedule::Step, [400, 800, 1_200, 1_600, 2_000]),
        ] {
            let mut schedule =
                SessionSchedule::new(arrival, None, Some(1_000.0), Some(10.0), 1).unwrap();
            let moments = moments(&mut schedule);
            assert!((schedule.rate_max() - 1_000.0).abs() < 1.0);
            for (fifth, wanted) in (0_u64..).zip(fifths) {
                let span = fifth * 2_000_000_000..(fifth + 1) * 2_000_000_000;
                let begun = moments
                    .iter()
                    .filter(|moment| span.contains(moment))
                    .count();
                assert!(begun.abs_diff(wanted) <= 2, "{arrival:?} {fifth}: {begun}");
            }
        }
    }

    #[test]
    fn poisson_gaps_have_no_memory() {
        let mut schedule = SessionSchedule::new(
            ArrivalSchedule::Poisson,
            Some(100_000),
            Some(1_000.0),
            None,
            7,
        )
        .unwrap();
        let moments = moments(&mut schedule);
        let gaps: Vec<f64> = moments
            .windows(2)
            .map(|pair| (pair[1] - pair[0]) as f64 / 1e6)
            .collect();
        let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
        let variance = gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / gaps.len() as f64;
        assert!((mean - 1.0).abs() < 0.01, "mean {mean} ms");
        assert!(
            (variance - 1.0).abs() < 0.05,
            "variance {variance}: an exponential one is the mean's square"
        );
        let long = gaps.iter().filter(|&&gap| gap > 3.0).count() as f64 / gaps.len() as f64;
        let fine = (long - (-3.0_f64).exp()).abs() < 0.005;
        assert!(fine, "{long} of the gaps exceed three means");
    }

    #[test]
    fn seeds_matter_to_chance_alone() {
        let at = |arrival, seed| {
            SessionSchedule::new(arrival, Some(100), Some(1.0), None, seed)
                .unwrap()
                .moment_ns(50)
        };
        let found = at(ArrivalSchedule::Poisson, 1);
        assert_ne!(found, at(ArrivalSchedule::Poisson, 2));
        let found = at(ArrivalSchedule::Steady, 1);
        assert_eq!(found, at(ArrivalSchedule::Steady, 2));
    }

    #[test]
    fn all_at_once() {
        let mut schedule = SessionSchedule::at_once(3);
        assert_eq!(moments(&mut schedule), [0, 0, 0]);
        assert_eq!((schedule.span_ns(), schedule.rate_max()), (0, 0.0));
    }

    #[test]
    fn two_of_three_make_a_schedule() {
        let new = |sessions, rate, span| {
            SessionSchedule::new(ArrivalSchedule::Steady, sessions, rate, span, 0)
                .map(|s| (s.sessions, s.span_ns))
        };
        assert_eq!(new(Some(100), Some(10.0), None), Ok((100, 10_000_000_000)));
        assert_eq!(new(Some(100), None, Some(10.0)), Ok((100, 10_000_000_000)));
        assert_eq!(new(None, Some(10.0), Some(10.0)), Ok((100, 10_000_000_000)));
        let found = new(Some(100), Some(10.0), Some(10.0));
        assert_eq!(found, Ok((100, 10_000_000_000)));
        let found = new(Some(200), Some(10.0), Some(10.0));
        assert_eq!(found, Err(ScheduleError::Contradiction));
        assert_eq!(new(Some(1), None, None), Err(ScheduleError::Incomplete));
        assert_eq!(new(None, Some(1.0), None), Err(ScheduleError::Incomplete));
        for rate in [0.0, -1.0, f64::NAN, 1e12, f64::INFINITY] {
            let found = new(Some(1), Some(rate), None);
            assert_eq!(found, Err(ScheduleError::Range), "{rate}");
        }
        assert_eq!(new(Some(0), Some(1.0), None), Err(ScheduleError::Range));
        assert_eq!(new(None, Some(1.0), Some(0.0)), Err(ScheduleError::Range));
    }
}

#[cfg(test)]
mod share_tests {
    use super::*;
    use proptest::prelude::*;

    fn sessions(share: RunShare, channels: u32, sessions: u32) -> Vec<u32> {
        let (mut next, mut all) = (0, Vec::new());
        while let Some(session) = share.session_from(next, channels, sessions) {
            all.push(session);
            next = session + 1;
        }
        all
    }

    proptest! {
        #[test]
        fn shares_of_shares_have_every_session_once(
            machines in 1_u32..6, threads in 1_u32..5, channels in 1_u32..40, count in 0_u32..300,
        ) {
            let mut all = Vec::new();
            let mut all_channels = Vec::new();
            for machine in 0..machines {
                for thread in 0..threads {
                    let share = RunShare::WHOLE.split(machine, machines).unwrap().split(thread, threads).unwrap();
                    let own = sessions(share, channels, count);
                    prop_assert!(own.iter().all(|session| share.has(session % channels)));
                    all.extend(own);
                    for (index, channel) in share.channels(channels).enumerate() {
                        prop_assert_eq!(share.index(channel), index);
                        all_channels.push(channel);
                    }
                }
            }
            all.sort_unstable();
            all_channels.sort_unstable();
            prop_assert_eq!(all, (0..count).collect::<Vec<_>>());
            prop_assert_eq!(all_channels, (0..channels).collect::<Vec<_>>());
        }
    }

    #[test]
    fn written_as_the_operator_counts() {
        let share: RunShare = "2/5".parse().unwrap();
        let found = (share.to_string(), share.has(1), share.has(6), share.has(2));
        assert_eq!(found, ("2/5".into(), true, true, false));
        for text in [
            "", "0/5", "6/5", "1/0", "2", "a/b", "1/65537", "-1/2", "1/2/3",
        ] {
            assert!(text.parse::<RunShare>().is_err(), "{text}");
        }
        assert_eq!(RunShare::WHOLE.split(0, 65_536).unwrap().split(0, 2), None);
    }
}

#[cfg(test)]
mod start_tests {
    use super::*;
    use std::time::{Duration, UNIX_EPOCH};

    #[test]
    fn moments_are_read_as_they_are_written() {
        #[rustfmt::skip] // a list
        let rows = ["1970-01-01T00:00:00Z", "2024-02-29T12:30:00Z", "2026-12-31T23:59:59Z"];
        for text in rows {
            let moment: PlannedMoment = text.parse().unwrap();
            assert_eq!(moment.to_string(), text);
        }
        let moment: PlannedMoment = "1970-01-02T00:00:01Z".parse().unwrap();
        assert_eq!(moment.0, UNIX_EPOCH + Duration::from_secs(86_401));
        #[rustfmt::skip] // a list
        let cases = [
            "", "now", "12:30", "2026-02-29T00:00:00Z", "2026-01-31T24:00:00Z", "2026-01-31T23:60:00Z",
            "2026-01-31 23:59:59Z", "2026-01-31T23:59:59+01:00", "1969-12-31T23:59:59Z", "+026-01-31T23:59:59Z",
        ];
        for text in cases {
            assert!(text.parse::<PlannedMoment>().is_err(), "{text}");
        }
    }
}
