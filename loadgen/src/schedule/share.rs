//! The split of one run over machines, processes and threads, without a coordinator.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// One of several shares of a run, written `2/5`: it has the channels whose number leaves its remainder, with all their
/// sessions. The shares of a run have no channel in common and leave none out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Share {
    /// Counted from 0.
    place: u32,
    of: u32,
}

impl Share {
    /// The whole run.
    pub const WHOLE: Self = Self { place: 0, of: 1 };

    /// Share `place` (from 0) of `of` shares of this share; `None` when there is no such one, or too many.
    #[must_use]
    pub fn split(self, place: u32, of: u32) -> Option<Self> {
        let all = self.of.checked_mul(of).filter(|&all| all <= SHARES_MAX)?;
        (place < of).then(|| Self {
            place: self.place + place * self.of,
            of: all,
        })
    }

    /// The number of shares.
    #[must_use]
    pub const fn of(self) -> u32 {
        self.of
    }

    /// Whether this channel is in it.
    #[must_use]
    pub const fn has(self, channel: u32) -> bool {
        channel % self.of == self.place
    }

    /// Its channels of a run with this many, ascending.
    pub fn channels(self, channels: u32) -> impl Iterator<Item = u32> {
        (self.place..channels).step_by(self.of as usize)
    }

    /// The place in [`Self::channels`] of a channel that is in it.
    #[must_use]
    pub const fn index(self, channel: u32) -> usize {
        (channel / self.of) as usize
    }

    /// The first session of this share from `session` on; session n is one of channel n modulo `channels`. `None`
    /// beyond the last of `sessions`, or when the share has no channel.
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
            // None of this share's is left in this round: its first one of the next.
            session
                .checked_add(channels - channel)?
                .checked_add(self.place)?
        };
        (next < sessions).then_some(next)
    }
}

impl fmt::Display for Share {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}/{}", self.place + 1, self.of)
    }
}

impl FromStr for Share {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text}: allowed is K/N, K from 1 to N, N at most {SHARES_MAX}");
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

impl TryFrom<String> for Share {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Share> for String {
    fn from(share: Share) -> Self {
        share.to_string()
    }
}

/// Most shares of a run: machines × processes × threads.
const SHARES_MAX: u32 = 65_536;

#[cfg(test)]
mod tests {

    use super::*;
    use proptest::prelude::*;

    fn sessions(share: Share, channels: u32, sessions: u32) -> Vec<u32> {
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
                    let share = Share::WHOLE.split(machine, machines).unwrap().split(thread, threads).unwrap();
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
        let share: Share = "2/5".parse().unwrap();
        assert_eq!(
            (share.to_string(), share.has(1), share.has(6), share.has(2)),
            ("2/5".into(), true, true, false)
        );
        for text in [
            "", "0/5", "6/5", "1/0", "2", "a/b", "1/65537", "-1/2", "1/2/3",
        ] {
            assert!(text.parse::<Share>().is_err(), "{text}");
        }
        assert_eq!(Share::WHOLE.split(0, 65_536).unwrap().split(0, 2), None);
    }
}
