//! Handles connection events: a party takes its next step, retries later, or finishes.

use crate::edge::board::RunPhase;
use crate::visit::{Call, DiscoveryCalls, Party, Peer, ReceiveOutcome, Stage, Verdict, Viewer};
use crate::worker::lines::News;
use crate::{options::Mode, worker::Worker};

impl Worker<'_> {
    pub(crate) fn advance(&mut self, news: News) {
        match news {
            News::Connected(line) => self.connected(line),
            News::Ready(line) => self.ready(line),
            News::Bytes(line, lent) => {
                if let Some(heard) = self.lines.read(line, lent, &mut self.crew) {
                    self.heard(line, heard);
                }
                while let Some(answered) = self.crew.answered() {
                    self.trickle_later(answered);
                }
                while let Some(settled) = self.crew.settled() {
                    self.settled(settled);
                }
            }
            News::Broken(line, kind) => self.lost(line, &kind),
            News::Freed(_) => {}
        }
    }

    /// Handles an established TCP connection. The latency of a session's first connection is measured from when the
    /// session is due.
    fn connected(&mut self, line: u32) {
        let now_ns = self.now_ns();
        let begun_ns = self.lines.step(line, now_ns);
        // With discovery, a session's first connection is the one for its first API call.
        let asks = self.crew.discovery(line).map(DiscoveryCalls::next);
        let is_first = !self.shared.plan.discover || asks == Some(Some(Call::Endpoint));
        let since_ns = match self.crew.party(line) {
            Party::Viewer(viewer) if viewer.attempts == 0 && is_first => viewer.due_ns,
            Party::Viewer(_) | Party::Peer(_) => begun_ns,
            Party::Master(_) if self.is_storm() => begun_ns,
            Party::Master(_) | Party::Nobody => return,
        };
        self.crew
            .desk
            .latencies
            .connect
            .record_ns(now_ns.saturating_sub(since_ns));
    }

    fn ready(&mut self, line: u32) {
        let now_ns = self.now_ns();
        let secured = self
            .lines
            .route(line)
            .is_some_and(|route| route.tls.is_some());
        let since_ns = self.lines.step(line, now_ns);
        self.connections.resumed += u64::from(self.lines.is_resumed(line));
        if secured && self.is_measured(line) {
            self.crew.desk.latencies.tls.record_ns(now_ns - since_ns);
        }
        if self.crew.discovery(line).is_some() {
            self.call(line);
        } else {
            self.ask(line);
        }
    }

    fn heard(&mut self, line: u32, heard: Result<ReceiveOutcome, String>) {
        match heard {
            Ok(ReceiveOutcome::Nothing) => {}
            Ok(ReceiveOutcome::Answered) => self.call(line),
            Ok(ReceiveOutcome::Refused) => {
                let party = self.gone(line);
                self.lines.cut(line);
                self.again_or_failed(party);
            }
            Ok(ReceiveOutcome::Opened) => self.opened(line),
            Ok(ReceiveOutcome::Closed) => self.closed(line),
            Ok(ReceiveOutcome::ClosedByService) => {
                let party = self.gone(line);
                self.lines.finish(line);
                self.say_farewell(line);
                self.again_or_failed(party);
            }
            Err(kind) => self.lost(line, &kind),
        }
    }

    fn opened(&mut self, line: u32) {
        let now_ns = self.now_ns();
        let since_ns = self.lines.step(line, now_ns);
        if self.is_measured(line) {
            self.crew
                .desk
                .latencies
                .upgrade
                .record_ns(now_ns - since_ns);
        }
        self.opened.add(line);
        let target = usize::from(self.lines.route_number(line));
        if let Some(counts) = self.by_target.get_mut(target) {
            counts.opened += 1;
        }
        self.connections.opened += 1;
        self.connections.peak = self.connections.peak.max(self.opened.count);
        match self.crew.party(line) {
            Party::Nobody | Party::Viewer(_) => {}
            Party::Master(channel) => {
                let channel = *channel;
                let place = self.share.index(channel);
                self.settle_master(place);
                if let Some(attempts) = self.master_attempts.get_mut(place) {
                    *attempts = 0;
                }
                self.crew.desk.recovery.master_came(channel, now_ns);
            }
            Party::Peer(_) => self.opening -= 1,
        }
        if self.phase == RunPhase::Close || self.shared.plan.mode == Mode::Connect {
            self.close(line);
        }
    }

    fn settled(&mut self, line: u32) {
        if self.phase >= RunPhase::Drain {
            self.close(line);
        } else if !self.is_storm() {
            let hold = self.shared.plan.hold;
            if hold.is_zero() {
                self.close(line);
            } else {
                self.hold(line, u64::try_from(hold.as_nanos()).unwrap_or(u64::MAX));
            }
        }
    }

    pub(crate) fn close(&mut self, line: u32) {
        let crew = &mut self.crew;
        self.lines.write(line, |out| crew.close(line, out));
        self.say_farewell(line);
    }

    fn closed(&mut self, line: u32) {
        self.opened.remove(line);
        match self.crew.leave(line, Verdict::Completed) {
            Party::Nobody | Party::Master(_) => {}
            Party::Viewer(viewer) => {
                self.active -= 1;
                let whole = viewer.is_complete(self.shared.plan.terms.candidates);
                let sessions = &mut self.crew.desk.sessions;
                sessions.completed += u64::from(whole);
                sessions.failed += u64::from(!whole);
            }
            Party::Peer(peer) => {
                self.connections.cycles += 1;
                if self.phase < RunPhase::Drain {
                    self.waiting.push_back(peer.name);
                } else {
                    self.active -= 1;
                }
            }
        }
        self.lines.finish(line);
        self.say_farewell(line);
    }

    pub(crate) fn lost(&mut self, line: u32, kind: &str) {
        if *self.crew.party(line) == Party::Nobody {
            return self.lines.cut(line);
        }
        self.crew.desk.errors.count(kind);
        let party = self.gone(line);
        self.lines.cut(line);
        self.again_or_failed(party);
    }

    fn gone(&mut self, line: u32) -> Party {
        self.connections.failed += 1;
        let target = usize::from(self.lines.route_number(line));
        if let Some(counts) = self.by_target.get_mut(target) {
            counts.failed += 1;
        }
        let is_open = self.is_open(line);
        self.opened.remove(line);
        let now_ns = self.now_ns();
        if let Party::Master(channel) = *self.crew.party(line)
            && is_open
            && self.phase == RunPhase::Measure
        {
            self.crew.desk.recovery.master_lost(channel, now_ns);
        }
        self.crew.leave(line, Verdict::Broken)
    }

    fn is_open(&self, line: u32) -> bool {
        match self.crew.party(line) {
            Party::Nobody => false,
            Party::Master(channel) => self.crew.is_master_open(*channel),
            Party::Viewer(Viewer { stage, .. }) | Party::Peer(Peer { stage, .. }) => {
                stage.is_open()
            }
        }
    }

    pub(crate) fn again_or_failed(&mut self, party: Party) {
        match party {
            Party::Nobody => {}
            Party::Peer(peer) => {
                self.opening -= usize::from(!peer.stage.is_open());
                self.active -= 1;
            }
            Party::Master(channel) => {
                let place = self.share.index(channel);
                let Some(attempts) = self.master_attempts.get_mut(place) else {
                    return;
                };
                *attempts = attempts.saturating_add(1);
                let attempts = *attempts;
                if attempts >= MASTER_ATTEMPTS {
                    self.settle_master(place);
                }
                if self.phase < RunPhase::Close {
                    self.try_again(party, attempts - 1);
                }
            }
            Party::Viewer(mut viewer) => {
                if self.is_storm() && self.phase < RunPhase::Drain {
                    let attempts = viewer.attempts;
                    // A session without an answer is still in its original setup, so it keeps the time at which it was
                    // due.
                    let unanswered = matches!(
                        viewer.stage,
                        Stage::AwaitCalls | Stage::AwaitOpen | Stage::AwaitAnswer
                    );
                    let due_ns = if !unanswered {
                        self.now_ns()
                    } else {
                        viewer.due_ns
                    };
                    if !unanswered {
                        let channel = viewer.session % self.shared.plan.channels;
                        self.crew.desk.recovery.viewer_lost(channel, due_ns);
                        viewer.returns = true;
                    }
                    viewer.restart(due_ns);
                    viewer.attempts = attempts + 1;
                    viewer.stage = self.first_stage();
                    self.try_again(Party::Viewer(viewer), attempts);
                } else {
                    self.active -= 1;
                    self.crew.desk.sessions.failed += 1;
                }
            }
        }
    }

    /// Counts a master that has connected or repeatedly failed to connect, so that the load stops waiting for it.
    /// Counts each master once.
    fn settle_master(&mut self, place: usize) {
        let settled = self
            .settled
            .get_mut(place)
            .map(|settled| std::mem::replace(settled, true));
        if settled == Some(false) {
            self.masters_settled += 1;
            self.opening = self.opening.saturating_sub(1);
        }
    }

    pub(crate) fn stop_sessions(&mut self) {
        let given_up = self.forget_retries();
        self.active -= given_up;
        self.crew.desk.sessions.failed += given_up;
        for line in 0..self.lines.len() {
            let holds = |party: &Party| matches!(party, Party::Viewer(viewer) if viewer.stage == Stage::Hold);
            if self.lines.is_taken(line) && holds(self.crew.party(line)) {
                self.close(line);
            }
        }
    }

    pub(crate) fn close_all(&mut self) {
        let _ = self.forget_retries();
        for line in 0..self.lines.len() {
            let is_open = self.is_open(line);
            match self.crew.party(line) {
                Party::Viewer(Viewer { stage, .. }) | Party::Peer(Peer { stage, .. })
                    if *stage == Stage::AwaitCloseEcho => {}
                Party::Master(_) | Party::Viewer(_) | Party::Peer(_) if is_open => self.close(line),
                Party::Master(_) | Party::Viewer(_) => self.lost(line, "unfinished_at_the_end"),
                // In `connect` mode, some connections are always opening or closing.
                Party::Peer(peer) => {
                    let peer = *peer;
                    self.crew.leave(line, Verdict::Broken);
                    self.lines.cut(line);
                    self.again_or_failed(Party::Peer(peer));
                }
                Party::Nobody => {}
            }
        }
    }

    /// Returns whether to record the latencies of a connection. A master's latencies are recorded only in a storm.
    fn is_measured(&self, line: u32) -> bool {
        match self.crew.party(line) {
            Party::Viewer(_) | Party::Peer(_) => true,
            Party::Master(_) => self.is_storm(),
            Party::Nobody => false,
        }
    }
}

/// After this many consecutive failures, a master no longer delays the start of the load, but keeps retrying.
const MASTER_ATTEMPTS: u32 = 5;
