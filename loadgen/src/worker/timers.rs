//! A worker's deadlines: session timeouts, ends of hold times, reconnects, and scheduled messages.
//!
//! Timeouts of equal duration share a queue, which is therefore always sorted. Only reconnects need an ordered map,
//! because their back-off varies. Deadlines of connections that have since been replaced are skipped.

use crate::edge::board::RunPhase;
use crate::visit::{LINE_BYTES, Party, Stage, Verdict};
use crate::worker::Worker;
use crate::worker::socket::Line;
use std::collections::{BTreeMap, VecDeque};

#[derive(Debug, Default)]
pub(crate) struct Timers {
    patience: VecDeque<DueMoment>,
    trickles: VecDeque<DueMoment>,
    holds: VecDeque<DueMoment>,
    farewells: VecDeque<DueMoment>,
    /// Parties waiting to reconnect, sorted by when they are due. The second number of the key distinguishes parties
    /// that are due at the same time.
    retries: BTreeMap<(u64, u64), Party>,
    ticket: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct DueMoment {
    at_ns: u64,
    line: u32,
    generation: u32,
}

impl Timers {
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
    pub(crate) fn be_patient(&mut self, line: u32) {
        let patience = self.shared.plan.patience;
        let due = self.due(line, u64::try_from(patience.as_nanos()).unwrap_or(u64::MAX));
        self.timers.patience.push_back(due);
    }

    pub(crate) fn trickle_later(&mut self, line: u32) {
        let due = self.due(line, self.shared.plan.terms.trickle_ns);
        self.timers.trickles.push_back(due);
    }

    fn trickle(&mut self, line: u32) {
        let crew = &mut self.crew;
        // A master that is not connected sends its candidates once it has reconnected.
        if let Some(master) = crew.master_line(line) {
            self.lines.write(master, |out| crew.trickle_back(line, out));
        }
        self.lines.write(line, |out| crew.trickle(line, out));
        if crew.has_more(line) {
            self.trickle_later(line);
        }
    }

    pub(crate) fn hold(&mut self, line: u32, span_ns: u64) {
        let due = self.due(line, span_ns);
        self.timers.holds.push_back(due);
    }

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

    /// Schedules a reconnect after `attempts` consecutive failures, as the SDKs do. The delay is random, with a maximum
    /// that starts at 100 ms and doubles with each failure up to 10 s (full jitter).
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

    pub(crate) fn forget_retries(&mut self) -> u64 {
        let retries = std::mem::take(&mut self.timers.retries);
        let viewers = retries
            .values()
            .filter(|party| matches!(party, Party::Viewer(_)));
        viewers.count() as u64
    }

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
            // If the party has already closed or abandoned the connection, only the socket is left to be cut.
            self.lost(line, "timeout_close");
        }
        while let Some(entry) = self.timers.retries.first_entry()
            && entry.key().0 <= now_ns
        {
            let party = entry.remove();
            self.connect(party);
        }
    }

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

    fn unanswered(&mut self, line: u32, kind: &str) {
        self.crew.desk.errors.count(kind);
        self.opened.remove(line);
        let party = self.crew.leave(line, Verdict::TimedOut);
        self.lines.cut(line);
        self.again_or_failed(party);
    }
}

const FAREWELL_NS: u64 = 5_000_000_000;
/// Initial back-off, in nanoseconds. Source: C SDK `StateMachine.c`.
const BACK_OFF_NS: u64 = 100_000_000;
/// Maximum back-off, in nanoseconds.
const BACK_OFF_NS_MAX: u64 = 10_000_000_000;

/// Maximum number of deadlines per connection: the timeout, the next candidate or the hold time, and the closing
/// handshake.
const DUES: usize = 3;
// Bounds the memory of a plain connection: its line, party and deadlines, in tables that grow by doubling.
const _: () = assert!(2 * (size_of::<Line>() + LINE_BYTES + DUES * size_of::<DueMoment>()) <= 700);
// Bounds the memory of a viewer waiting to reconnect, in a map whose nodes are at least half full.
const _: () = assert!(2 * (size_of::<(u64, u64)>() + size_of::<Party>()) <= 300);

#[derive(Debug)]
pub(crate) struct MessagePace {
    lines: Vec<u32>,
    begun_ns: u64,
    gap_ns: f64,
    count: u64,
}

impl MessagePace {
    pub(crate) fn next_due(&self) -> u64 {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "positive, and of a run's length"
        )]
        let since_ns = (self.count as f64 * self.gap_ns) as u64;
        self.begun_ns + since_ns
    }

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

    pub(crate) fn say_due(&mut self) {
        let now_ns = self.now_ns();
        let is_measured = self.phase == RunPhase::Measure;
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

/// Maximum number of messages sent per event loop iteration, so that received data is handled in between.
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
        let wanted = [
            (1_000, (4, 0)),
            (1_002, (7, 0)),
            (1_005, (4, 1)),
            (1_007, (7, 1)),
            (1_010, (4, 2)),
        ];
        assert_eq!(turns, wanted);
        pace.lines.clear();
        assert_eq!(pace.take(), None);
    }
}
