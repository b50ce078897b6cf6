//! Deadlines of a worker: session timeouts, ends of hold times, reconnects, and scheduled messages.
//!
//! Timeouts of equal duration share a queue, which is always sorted; only reconnects, whose back-off varies, need an
//! ordered map. Entries are skipped if their connection has been replaced since.

use crate::edge::board::RunPhase;
use crate::visit::{LINE_BYTES, Party, Stage, Verdict};
use crate::worker::Worker;
use crate::worker::socket::Line;
use std::collections::{BTreeMap, VecDeque};

/// The deadlines of a worker.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    /// Deadlines by which connections must make progress.
    patience: VecDeque<DueMoment>,
    /// Times at which sessions send their next candidates.
    trickles: VecDeque<DueMoment>,
    /// Times at which hold times end.
    holds: VecDeque<DueMoment>,
    /// Deadlines by which closing connections must be closed.
    farewells: VecDeque<DueMoment>,
    /// Parties waiting to reconnect, by due time; the second number makes keys with equal times distinct.
    retries: BTreeMap<(u64, u64), Party>,
    ticket: u64,
}

/// A deadline that applies to a particular connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct DueMoment {
    at_ns: u64,
    line: u32,
    generation: u32,
}

impl Timers {
    /// Time of the earliest deadline, if any.
    pub(crate) fn next_due(&self) -> Option<u64> {
        let queues = [&self.patience, &self.trickles, &self.holds, &self.farewells];
        let queued = queues
            .into_iter()
            .filter_map(|queue| queue.front().map(|due| due.at_ns));
        let retry = self.retries.keys().next().map(|(at_ns, _)| *at_ns);
        queued.chain(retry).min()
    }
}

impl Worker<'_> {
    /// Starts the timeout for the session on a connection.
    pub(crate) fn be_patient(&mut self, line: u32) {
        let patience = self.shared.plan.patience;
        let due = self.due(line, u64::try_from(patience.as_nanos()).unwrap_or(u64::MAX));
        self.timers.patience.push_back(due);
    }

    /// Schedules the next candidates of the session on a connection, both the viewer's and the master's.
    pub(crate) fn trickle_later(&mut self, line: u32) {
        let due = self.due(line, self.shared.plan.terms.trickle_ns);
        self.timers.trickles.push_back(due);
    }

    /// Sends the next candidate of each side of a session.
    fn trickle(&mut self, line: u32) {
        let crew = &mut self.crew;
        // A master that is not connected sends nothing until it is.
        if let Some(master) = crew.master_line(line) {
            self.lines.write(master, |out| crew.trickle_back(line, out));
        }
        self.lines.write(line, |out| crew.trickle(line, out));
        if crew.has_more(line) {
            self.trickle_later(line);
        }
    }

    /// Starts the hold time of the party on a connection.
    pub(crate) fn hold(&mut self, line: u32, span_ns: u64) {
        let due = self.due(line, span_ns);
        self.timers.holds.push_back(due);
    }

    /// Starts the timeout for closing a connection.
    pub(crate) fn say_farewell(&mut self, line: u32) {
        let due = self.due(line, FAREWELL_NS);
        self.timers.farewells.push_back(due);
    }

    fn due(&self, line: u32, span_ns: u64) -> DueMoment {
        DueMoment {
            at_ns: self.now_ns() + span_ns,
            line,
            generation: self.lines.generation(line),
        }
    }

    /// Schedules a reconnect after `attempts` consecutive failures, as the SDKs do: after a random delay of at most 100
    /// ms, a maximum that doubles with each failure up to 10 s (full jitter).
    pub(crate) fn try_again(&mut self, party: Party, attempts: u32) {
        let span_ns = BACK_OFF_NS
            .checked_shl(attempts.min(16))
            .map_or(BACK_OFF_NS_MAX, |span| span.min(BACK_OFF_NS_MAX));
        let at_ns = self.now_ns() + self.crew.desk.random.u64(0..=span_ns);
        self.timers.ticket += 1;
        self.timers
            .retries
            .insert((at_ns, self.timers.ticket), party);
    }

    /// Drops the viewers that are waiting to reconnect, and returns their number.
    pub(crate) fn forget_retries(&mut self) -> u64 {
        let retries = std::mem::take(&mut self.timers.retries);
        let viewers = retries
            .values()
            .filter(|party| matches!(party, Party::Viewer(_)));
        viewers.count() as u64
    }

    /// Handles all deadlines that have been reached.
    pub(crate) fn on_time(&mut self) {
        let now_ns = self.now_ns();
        while let Some(line) = self.next_line(|timers| &mut timers.patience) {
            self.too_late(line);
        }
        while let Some(line) = self.next_line(|timers| &mut timers.trickles) {
            self.trickle(line);
        }
        while let Some(line) = self.next_line(|timers| &mut timers.holds) {
            self.close(line);
        }
        while let Some(line) = self.next_line(|timers| &mut timers.farewells) {
            self.still_there(line);
        }
        while let Some(entry) = self.timers.retries.first_entry()
            && entry.key().0 <= now_ns
        {
            let party = entry.remove();
            self.connect(party);
        }
    }

    /// Returns the connection of the next due entry in a queue, skipping entries whose connection has been replaced.
    fn next_line(&mut self, list: impl Fn(&mut Timers) -> &mut VecDeque<DueMoment>) -> Option<u32> {
        let now_ns = self.now_ns();
        loop {
            let list = list(&mut self.timers);
            list.front().filter(|due| due.at_ns <= now_ns)?;
            let due = list.pop_front()?;
            if self.lines.generation(due.line) == due.generation {
                return Some(due.line);
            }
        }
    }

    /// Handles a connection that has not made progress in time.
    fn too_late(&mut self, line: u32) {
        match self.crew.party(line) {
            Party::Nobody => {}
            Party::Master(channel) => {
                if self.crew.discovery(line).is_some() {
                    self.lost(line, "timeout_call");
                } else if !self.crew.is_master_open(*channel) {
                    self.lost(line, "timeout_upgrade");
                }
            }
            Party::Peer(peer) if !peer.stage.is_open() => self.lost(line, "timeout_upgrade"),
            Party::Peer(_) => {}
            Party::Viewer(viewer) => match viewer.stage {
                Stage::AwaitCalls => self.lost(line, "timeout_call"),
                Stage::AwaitOpen => self.lost(line, "timeout_upgrade"),
                Stage::AwaitAnswer => self.unanswered(line, "timeout_answer"),
                Stage::AwaitRest => self.unanswered(line, "timeout_messages"),
                Stage::Hold | Stage::AwaitCloseEcho => {}
            },
        }
    }

    /// Handles a session that timed out while its connection was open.
    fn unanswered(&mut self, line: u32, kind: &str) {
        self.crew.desk.errors.count(kind);
        self.opened.remove(line);
        let party = self.crew.leave(line, Verdict::TimedOut);
        self.lines.cut(line);
        self.again_or_failed(party);
    }

    /// Handles a connection that was not closed in time.
    fn still_there(&mut self, line: u32) {
        match self.crew.party(line) {
            // It was closed or given up: only the socket is left.
            Party::Nobody => self.lines.cut(line),
            Party::Master(_) | Party::Viewer(_) | Party::Peer(_) => {
                self.lost(line, "timeout_close");
            }
        }
    }
}

/// Timeout for closing a connection, in nanoseconds.
const FAREWELL_NS: u64 = 5_000_000_000;
/// Initial and maximum back-off, in nanoseconds. Source: C SDK `StateMachine.c`.
const BACK_OFF_NS: u64 = 100_000_000;
const BACK_OFF_NS_MAX: u64 = 10_000_000_000;

/// Maximum number of deadlines per connection: patience, next candidate or hold time, and farewell.
const DUES: usize = 3;
// A plain connection: its line, its party and its moments, in tables that double as they grow.
const _: () = assert!(2 * (size_of::<Line>() + LINE_BYTES + DUES * size_of::<DueMoment>()) <= 700);
// A viewer between its connections: in the order of its moment, in nodes that are filled to a half at least.
const _: () = assert!(2 * (size_of::<(u64, u64)>() + size_of::<Party>()) <= 300);

// Messages on schedule: peers that are connected for the whole run send in turn, whatever the service does.

/// The message schedule of a worker: when each message is due, and on which connection it is sent.
#[derive(Debug)]
pub(crate) struct MessagePace {
    /// Connections of the peers, in the order in which they send.
    lines: Vec<u32>,
    begun_ns: u64,
    /// Time between messages, in nanoseconds.
    gap_ns: f64,
    /// Number of messages that have become due so far.
    count: u64,
}

impl MessagePace {
    /// Time at which the next message is due, in nanoseconds of the run's clock.
    pub(crate) fn next_due(&self) -> u64 {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "positive, and of a run's length"
        )]
        let since_ns = (self.count as f64 * self.gap_ns) as u64;
        self.begun_ns + since_ns
    }

    /// Returns the connection whose turn it is to send, and the number of completed rounds.
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
    /// Starts the message schedule for this worker's peers, which send a share of all messages.
    pub(crate) fn begin_pace(&mut self) {
        let plan = self.shared.plan;
        let Some(rate) = plan.pace else {
            return;
        };
        let channels = self.share.channels(plan.channels).count();
        let is_peer = |line: &u32| matches!(self.crew.party(*line), Party::Peer(_));
        self.pace = Some(MessagePace {
            lines: (0..self.lines.len()).filter(is_peer).collect(),
            begun_ns: self.now_ns(),
            gap_ns: 1e9 * f64::from(plan.channels) / (rate * channels as f64),
            count: 0,
        });
    }

    /// Sends all messages that are due.
    pub(crate) fn say_due(&mut self) {
        let now_ns = self.now_ns();
        let is_measured = self.phase() == RunPhase::Measure;
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

/// Maximum number of messages sent per turn, so that received data is handled in between.
const MESSAGES_PER_TURN: usize = 256;

#[cfg(test)]
mod pace_tests {
    use super::*;

    #[test]
    fn lines_take_turns_at_equal_distances() {
        let mut pace = MessagePace {
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
