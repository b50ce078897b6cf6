//! Messages on schedule: peers that are connected for the whole run send in turn, whatever the service does.

use crate::edge::board::Phase;
use crate::edge::worker::Worker;
use crate::visit::Party;

/// When each message of a worker is due, and on which line.
#[derive(Debug)]
pub(crate) struct Pace {
    /// The lines of its peers, in whose order they send.
    lines: Vec<u32>,
    begun_ns: u64,
    /// The time from one message to the next.
    gap_ns: f64,
    /// The number of messages that were due so far.
    count: u64,
}

impl Pace {
    /// When the next message is due, in nanoseconds of the run's clock.
    pub(crate) fn next_due(&self) -> u64 {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "positive, and of a run's length"
        )]
        let since_ns = (self.count as f64 * self.gap_ns) as u64;
        self.begun_ns + since_ns
    }

    /// The line whose turn it is, and how many turns each line had before.
    fn take(&mut self) -> Option<(u32, u64)> {
        let lines = self.lines.len() as u64;
        let place = self.count.checked_rem(lines)?;
        let round = self.count / lines;
        self.count += 1;
        let line = self.lines.get(usize::try_from(place).ok()?)?;
        Some((*line, round))
    }
}

impl Worker<'_> {
    /// Begins the schedule of messages of this worker's peers: its channels' part of all messages.
    pub(crate) fn begin_pace(&mut self) {
        let plan = self.shared.plan;
        let Some(rate) = plan.pace else {
            return;
        };
        let channels = self.share.channels(plan.channels).count();
        let is_peer = |line: &u32| matches!(self.crew.party(*line), Party::Peer(_));
        self.pace = Some(Pace {
            lines: (0..self.lines.len()).filter(is_peer).collect(),
            begun_ns: self.now_ns(),
            gap_ns: 1e9 * f64::from(plan.channels) / (rate * channels as f64),
            count: 0,
        });
    }

    /// Sends the messages that are due.
    pub(crate) fn say_due(&mut self) {
        let now_ns = self.now_ns();
        let is_measured = self.phase() == Phase::Measure;
        for _ in 0..MESSAGES_PER_TURN {
            let Some(pace) = &mut self.pace else {
                return;
            };
            let due_ns = pace.next_due();
            if due_ns > now_ns {
                return;
            }
            let Some((line, round)) = pace.take() else {
                return;
            };
            let crew = &mut self.crew;
            if is_measured {
                crew.desk.latencies.lag.record_ns(now_ns - due_ns);
            }
            self.lines
                .write(line, |out| crew.say(line, round, due_ns, out));
        }
    }
}

/// Most messages sent in one turn, so that what arrives is looked at in between.
const MESSAGES_PER_TURN: usize = 256;

#[cfg(test)]
mod tests {

    use super::*;

    #[test]
    fn lines_take_turns_at_equal_distances() {
        let mut pace = Pace {
            lines: vec![4, 7],
            begun_ns: 1_000,
            gap_ns: 2.5,
            count: 0,
        };
        let mut turns = Vec::new();
        for _ in 0..5 {
            turns.push((pace.next_due(), pace.take().unwrap()));
        }
        assert_eq!(
            turns,
            [
                (1_000, (4, 0)),
                (1_002, (7, 0)),
                (1_005, (4, 1)),
                (1_007, (7, 1)),
                (1_010, (4, 2))
            ]
        );
        pace.lines.clear();
        assert_eq!(pace.take(), None);
    }
}
