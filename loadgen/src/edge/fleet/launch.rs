//! Who connects, and when: masters first, sessions on schedule.

use super::super::board::Phase;
use super::super::connection::kind_of;
use super::worker::Worker;
use crate::sign::unsigned_call;
use crate::visit::{Party, Stage, Viewer};
use std::net::IpAddr;

impl Worker<'_> {
    /// Opens masters, a few at a time, before the first session is due. A storm has them connect with all others.
    pub(super) fn open_masters(&mut self) {
        let at_once = if self.is_storm() {
            if self.is_begun() {
                LAUNCHES_PER_TURN
            } else {
                0
            }
        } else {
            OPENING_MAX.saturating_sub(self.masters_opening)
        };
        if self.phase() >= Phase::Drain {
            self.masters.clear();
        }
        for _ in 0..at_once {
            let Some(channel) = self.masters.pop_front() else {
                return;
            };
            self.masters_opening += 1;
            self.connect(Party::Master(channel));
        }
    }

    /// Begins the sessions that are due.
    pub(super) fn launch(&mut self) {
        let now_ns = self.now_ns();
        for _ in 0..LAUNCHES_PER_TURN {
            let (Some(session), Some(due_ns)) = (self.next, self.next_due()) else {
                return;
            };
            if due_ns > now_ns {
                return;
            }
            self.next = session.checked_add(1).and_then(|next| {
                let (channels, sessions) = (self.shared.plan.channels, self.schedule.sessions());
                self.share.session_from(next, channels, sessions)
            });
            self.crew.desk.latencies.lag.record_ns(now_ns - due_ns);
            self.crew.desk.sessions.scheduled += 1;
            self.active += 1;
            let mut viewer = Viewer::new(session, due_ns);
            viewer.stage = self.first_stage();
            self.connect(Party::Viewer(viewer));
        }
    }

    /// When the next session is due; `None` while nothing is to begin.
    pub(super) fn next_due(&mut self) -> Option<u64> {
        if self.phase() != Phase::Measure {
            return None;
        }
        let begins_ns = self.shared.board.begins_ns()?;
        Some(begins_ns + self.schedule.moment_ns(self.next?))
    }

    fn is_begun(&self) -> bool {
        let begins_ns = self.shared.board.begins_ns();
        begins_ns.is_some_and(|begins_ns| begins_ns <= self.now_ns())
    }

    /// Begins a party's connection.
    pub(super) fn connect(&mut self, party: Party) {
        let plan = self.shared.plan;
        let (number, route) = match &party {
            Party::Nobody => return,
            Party::Master(channel) => (*channel, 0),
            Party::Viewer(viewer) => (
                viewer.session.wrapping_add(plan.channels),
                self.route_of(viewer.session),
            ),
        };
        let source = plan.sources.map(|sources| IpAddr::V4(sources.of(number)));
        match self.lines.open(route, source) {
            Ok(line) => {
                let now_ns = self.now_ns();
                self.lines.step(line, now_ns);
                self.crew.seat(line, party);
                self.be_patient(line);
            }
            Err(error) => {
                self.connections.failed += 1;
                self.crew.desk.errors.count(&kind_of(&error));
                self.again_or_failed(party);
            }
        }
    }

    /// What a viewer awaits first.
    pub(super) fn first_stage(&self) -> Stage {
        if self.shared.plan.discover {
            Stage::AwaitCalls
        } else {
            Stage::AwaitOpen
        }
    }

    /// Makes a viewer's next API call on its line; after the last one it connects on another.
    pub(super) fn call(&mut self, line: u32) {
        let Party::Viewer(viewer) = self.crew.party(line) else {
            return;
        };
        let session = viewer.session;
        let Some(call) = self.crew.next_call(line) else {
            if let Some(mut viewer) = self.crew.move_on(line) {
                viewer.stage = Stage::AwaitOpen;
                self.lines.cut(line);
                self.connect(Party::Viewer(viewer));
            }
            return;
        };
        let Some(route) = self.lines.route(line) else {
            return;
        };
        let arn = self.arn(session % self.shared.plan.channels);
        let (path, body) = call.request(&arn, &crate::visit::client_id(session));
        let host = route.target.authority.as_str();
        let now_s = self.now_s();
        let signer = &mut self.signer;
        self.lines.write(line, |out| match signer {
            Some(signer) => signer.call(out, host, path, &body, now_s),
            None => unsigned_call(out, host, path, &body),
        });
    }

    fn arn(&self, channel: u32) -> String {
        let plan = self.shared.plan;
        let made = self.shared.arns.get(plan.share.index(channel));
        made.map_or_else(|| plan.naming.arn(channel), Clone::clone)
    }

    /// Seconds since 1970.
    fn now_s(&self) -> u64 {
        self.shared.zero_s + self.now_ns() / 1_000_000_000
    }

    /// Sends the upgrade request of the party on a line.
    pub(super) fn ask(&mut self, line: u32) {
        let plan = self.shared.plan;
        let Some(route) = self.lines.route(line) else {
            return;
        };
        let (channel, session) = match self.crew.party(line) {
            Party::Nobody => return,
            Party::Master(channel) => (*channel, None),
            Party::Viewer(viewer) => (viewer.session % plan.channels, Some(viewer.session)),
        };
        let arn = self.arn(channel);
        let client_id = session.map(crate::visit::client_id);
        let host = route.target.authority.as_str();
        let now_s = self.now_s();
        let target = match &mut self.signer {
            Some(signer) => signer.presign(host, &arn, client_id.as_deref(), now_s),
            None => crate::sign::unsigned_target(&arn, client_id.as_deref()),
        };
        let crew = &mut self.crew;
        self.lines
            .write(line, |out| crew.ask(line, host, &target, out));
    }

    /// Which route a session takes: the detour for its share of them, spread over all channels.
    fn route_of(&self, session: u32) -> u8 {
        let Some((_, percent)) = self.shared.plan.detour else {
            return 0;
        };
        // The upper bits of a product with an odd constant: neighbours fall far apart, and the share is kept over any stretch.
        let scattered = (u64::from(session.wrapping_mul(0x9E37_79B9)) * 100) >> 32;
        u8::from(scattered < u64::from(percent))
    }
}

/// Masters that connect at one time in one thread before the run.
const OPENING_MAX: usize = 64;
/// Most connections begun in one turn, so that what is under way is looked at in between.
const LAUNCHES_PER_TURN: usize = 256;
