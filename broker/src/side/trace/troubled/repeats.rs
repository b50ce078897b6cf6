//! Events that are no trouble by themselves, only when they are repeated.

use crate::limits::REPEATS_WATCHED_MAX;
use broker_core::time::Wall;
use std::collections::VecDeque;
use std::fmt;

/// The channel and client id of an event; no client id is the master's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    channel: Box<str>,
    client_id: Option<Box<str>>,
}

impl Place {
    pub(crate) fn of(channel: &str, client_id: Option<&str>) -> Self {
        Self {
            channel: channel.into(),
            client_id: client_id.map(Box::from),
        }
    }
}

/// The events of one place that followed each other within [`PAUSE_MS`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Repeated {
    count: usize,
    first: Wall,
    last: Wall,
}

impl Repeated {
    pub(crate) fn count(&self) -> usize {
        self.count
    }

    fn goes_on(&self, at: Wall) -> bool {
        at.0.saturating_sub(self.last.0) <= PAUSE_MS
    }
}

/// As in `7 times in 35 s`.
impl fmt::Display for Repeated {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.last.0.saturating_sub(self.first.0).div_ceil(1000);
        write!(to, "{} times in {seconds} s", self.count)
    }
}

/// The places of the last events: at most [`REPEATS_WATCHED_MAX`], the one whose last event is the oldest makes room.
#[derive(Debug, Default)]
pub(crate) struct Repeats {
    /// The one with the oldest event first.
    places: VecDeque<(Place, Repeated)>,
}

impl Repeats {
    /// Counts an event: those of its place so far, if they are as many as are trouble.
    pub(crate) fn count(&mut self, place: Place, at: Wall) -> Option<Repeated> {
        let known = self.places.iter().position(|(known, _)| *known == place);
        let known = known.and_then(|known| self.places.remove(known));
        let going_on = known.filter(|(_, repeated)| repeated.goes_on(at));
        let mut repeated = going_on.map_or(
            Repeated {
                count: 0,
                first: at,
                last: at,
            },
            |(_, repeated)| repeated,
        );
        repeated.count += 1;
        repeated.last = at;
        if self.places.len() >= REPEATS_WATCHED_MAX {
            self.places.pop_front();
        }
        self.places.push_back((place, repeated.clone()));
        (repeated.count >= TROUBLE).then_some(repeated)
    }

    /// Whether events of a place were trouble a moment ago.
    pub(crate) fn knows(&self, place: &Place, at: Wall) -> bool {
        let same = |(known, repeated): &(Place, Repeated)| {
            known == place && repeated.count >= TROUBLE && repeated.goes_on(at)
        };
        self.places.iter().any(same)
    }
}

/// As many events of one place are trouble.
const TROUBLE: usize = 3;

/// Between two events that belong together, in milliseconds at most: clients wait up to half a minute to connect again.
const PAUSE_MS: u64 = 60_000;

#[cfg(test)]
mod tests {

    use super::*;

    #[test]
    fn the_third_within_a_minute_each_is_trouble() {
        let mut repeats = Repeats::default();
        let place = || Place::of("c", None);
        let mut count = |ms| {
            repeats
                .count(place(), Wall(ms))
                .map(|repeated| repeated.to_string())
        };
        assert_eq!((count(0), count(PAUSE_MS)), (None, None));
        assert_eq!(count(60_500).as_deref(), Some("3 times in 61 s"));
        assert_eq!(count(60_500 + PAUSE_MS + 1), None);
        let other = repeats.count(Place::of("c", Some("v")), Wall(200_000));
        assert_eq!(other, None, "another place");
    }

    #[test]
    fn a_storm_of_names_makes_room_for_itself_alone() {
        let mut repeats = Repeats::default();
        for number in 0..2 * REPEATS_WATCHED_MAX {
            let name = format!("c{number}");
            let _ = repeats.count(Place::of(&name, None), Wall(0));
        }
        assert_eq!(repeats.places.len(), REPEATS_WATCHED_MAX);
    }
}
