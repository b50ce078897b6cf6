//! Connects the parties: masters and peers first, then sessions on schedule.

use crate::edge::board::RunPhase;
use crate::peer::{client_id, unsigned_target};
use crate::visit::{self, DiscoveryCalls, Party, Peer, Role, Stage, Viewer};
use crate::worker::{directory::EndpointRoute, socket::kind_of};
use crate::{options::Mode, worker::Worker};
use codec::sigv4::signer;

impl Worker<'_> {
    /// Connects waiting masters and peers: a few at a time, or many if the run measures connecting.
    pub(crate) fn open_waiting(&mut self) {
        if self.phase >= RunPhase::Drain {
            self.waiting.clear();
        }
        for _ in 0..self.room() {
            let Some(name) = self.waiting.pop_front() else {
                return;
            };
            self.opening += 1;
            if self.phase == RunPhase::OpenFirst {
                self.first -= 1;
            }
            let is_open_loop = self.shared.plan.mode.is_open_loop();
            self.connect(if is_open_loop {
                Party::Master(name.channel)
            } else {
                let stage = Stage::AwaitOpen;
                Party::Peer(Peer { name, stage })
            });
        }
    }

    fn room(&self) -> usize {
        let begins_ns = self.shared.board.begins_ns().unwrap_or(u64::MAX);
        let room = match self.shared.plan.mode {
            Mode::Storm if self.now_ns() < begins_ns => 0,
            Mode::Storm | Mode::Connect => LAUNCHES_PER_TURN,
            Mode::Sessions | Mode::Relay | Mode::Idle => OPENING_MAX.saturating_sub(self.opening),
        };
        if self.phase > RunPhase::OpenFirst {
            return room;
        }
        usize::try_from(self.first).map_or(room, |first| room.min(first))
    }

    pub(crate) fn launch(&mut self) {
        let now_ns = self.now_ns();
        for _ in 0..LAUNCHES_PER_TURN {
            let (Some(session), Some(due_ns)) = (self.next, self.next_due()) else {
                return;
            };
            if due_ns > now_ns {
                return;
            }
            self.next = session.checked_add(1).and_then(|next| {
                let sessions = self.schedule.as_ref()?.sessions();
                self.share
                    .session_from(next, self.shared.plan.channels, sessions)
            });
            self.crew.desk.latencies.lag.record_ns(now_ns - due_ns);
            self.crew.desk.sessions.scheduled += 1;
            self.active += 1;
            let mut viewer = Viewer::new(session, due_ns);
            viewer.stage = self.first_stage();
            self.connect(Party::Viewer(viewer));
        }
    }

    pub(crate) fn next_due(&mut self) -> Option<u64> {
        if self.phase != RunPhase::Measure {
            return None;
        }
        let begins_ns = self.shared.board.begins_ns()?;
        let next = self.next?;
        Some(begins_ns + self.schedule.as_mut()?.moment_ns(next))
    }

    pub(crate) fn connect(&mut self, party: Party) {
        let (route, role) = match &party {
            Party::Nobody => return,
            Party::Master(channel) => {
                let attempts = self.master_attempts.get(self.share.index(*channel));
                let attempts = attempts.copied().unwrap_or_default();
                (self.target_of(*channel, 0, attempts), Role::Master)
            }
            Party::Viewer(viewer) => (self.route_of(viewer), Role::Viewer),
            Party::Peer(Peer { name, .. }) => {
                let role = if name.place == 0 {
                    Role::Master
                } else {
                    Role::Viewer
                };
                (self.target_of(name.channel, name.place, 0), role)
            }
        };
        let discovers = self.shared.plan.discover;
        let discovery = discovers.then(|| Box::new(DiscoveryCalls::new(role)));
        self.connect_over(route, party, discovery);
    }

    fn connect_over(&mut self, route: u16, party: Party, discovery: Option<Box<DiscoveryCalls>>) {
        let plan = self.shared.plan;
        let number = match &party {
            Party::Nobody => return,
            Party::Master(channel) => *channel,
            Party::Viewer(viewer) => viewer.session.wrapping_add(plan.channels),
            Party::Peer(Peer { name, .. }) => name
                .channel
                .wrapping_mul(plan.peers_per_channel())
                .wrapping_add(name.place),
        };
        let source = plan.sources.map(|sources| sources.of(number));
        match self.lines.open(route, source) {
            Ok(line) => {
                let now_ns = self.now_ns();
                self.lines.step(line, now_ns);
                self.crew.seat(line, party, discovery);
                self.be_patient(line);
            }
            Err(error) => {
                self.connections.failed += 1;
                self.crew.desk.errors.count(&kind_of(&error));
                self.again_or_failed(party);
            }
        }
    }

    pub(crate) fn first_stage(&self) -> Stage {
        if self.shared.plan.discover {
            Stage::AwaitCalls
        } else {
            Stage::AwaitOpen
        }
    }

    pub(crate) fn call(&mut self, line: u32) {
        let Some(discovery) = self.crew.discovery(line) else {
            return;
        };
        let here = self.lines.route_number(line);
        let way = match discovery.place() {
            None => EndpointRoute::Known(here),
            Some(endpoint) => {
                let connection = (line, self.lines.generation(line));
                self.directory.way(endpoint, connection)
            }
        };
        match (way, discovery.next()) {
            (EndpointRoute::Asked, _) => {}
            (EndpointRoute::Refused(kind), _) => self.lost(line, kind),
            (EndpointRoute::Known(route), Some(call)) if route == here && !discovery.over => {
                self.write_call(line, call);
            }
            (EndpointRoute::Known(route), _) => self.move_on(line, route),
        }
    }

    fn move_on(&mut self, line: u32, route: u16) {
        let Some((mut party, mut discovery)) = self.crew.move_on(line) else {
            return;
        };
        self.lines.cut(line);
        discovery.over = false;
        let calls = discovery.next().is_some();
        if let Party::Viewer(viewer) = &mut party
            && !calls
        {
            viewer.stage = Stage::AwaitOpen;
        }
        self.connect_over(route, party, calls.then_some(discovery));
    }

    fn write_call(&mut self, line: u32, call: visit::Call) {
        let Some(route) = self.lines.route(line) else {
            return;
        };
        let Some((arn, client_id)) = self.name_of(line) else {
            return;
        };
        let (path, body) = call.request(&arn, client_id.as_deref());
        let call = signer::Call {
            host: &route.target.authority,
            path,
            body: &body,
            now_s: self.now_s(),
        };
        let signer = self.signer.as_mut();
        self.lines
            .write(line, |out| visit::write_call(out, &call, signer));
    }

    /// Returns the channel ARN of the party on a connection and, if the party is a viewer, its client id.
    fn name_of(&self, line: u32) -> Option<(String, Option<String>)> {
        let plan = self.shared.plan;
        let (channel, client_id) = match self.crew.party(line) {
            Party::Nobody => return None,
            Party::Master(channel) => (*channel, None),
            Party::Viewer(viewer) => {
                let channel = viewer.session % plan.channels;
                (channel, Some(client_id(viewer.session + 1)))
            }
            Party::Peer(Peer { name, .. }) => {
                let id = (name.place > 0).then(|| client_id(name.place));
                (name.channel, id)
            }
        };
        let made = self.shared.arns.get(plan.share.index(channel));
        let arn = made.map_or_else(|| plan.naming.arn(channel), Clone::clone);
        Some((arn, client_id))
    }

    fn now_s(&self) -> u64 {
        self.shared.zero_s + self.now_ns() / 1_000_000_000
    }

    pub(crate) fn ask(&mut self, line: u32) {
        let Some(route) = self.lines.route(line) else {
            return;
        };
        let Some((arn, client_id)) = self.name_of(line) else {
            return;
        };
        let host = route.target.authority.as_str();
        let upgrade = signer::Upgrade {
            host,
            channel_arn: &arn,
            client_id: client_id.as_deref(),
            expires_s: EXPIRES_S,
            now_s: self.now_s(),
        };
        let target = match &mut self.signer {
            Some(signer) => signer.presign(&upgrade),
            None => unsigned_target(&arn, client_id.as_deref()),
        };
        let crew = &mut self.crew;
        self.lines
            .write(line, |out| crew.ask(line, host, &target, out));
    }

    /// Selects a peer's target. Within a channel, peers use the targets in rotation. After a failure, a peer tries the
    /// next one.
    fn target_of(&self, channel: u32, place: u32, attempts: u32) -> u16 {
        let targets = self.shared.plan.targets.len().max(1) as u64;
        let number = u64::from(channel) + u64::from(place) + u64::from(attempts);
        u16::try_from(number % targets).unwrap_or_default()
    }

    /// Selects a session's route. The configured percentage of sessions uses the alternative target, spread across all
    /// channels.
    fn route_of(&self, viewer: &Viewer) -> u16 {
        let plan = self.shared.plan;
        let session = viewer.session;
        // Multiplying by an odd constant scatters adjacent sessions in the upper bits, so that any range of sessions
        // contains the configured percentage.
        let scattered = (u64::from(session.wrapping_mul(0x9E37_79B9)) * 100) >> 32;
        match plan.detour {
            Some((_, percent)) if scattered < u64::from(percent) => {
                u16::try_from(plan.targets.len()).unwrap_or_default()
            }
            Some(_) | None => {
                let (channel, place) = (session % plan.channels, 1 + session / plan.channels);
                self.target_of(channel, place, viewer.attempts)
            }
        }
    }
}

/// How long a presigned URL is valid, in seconds. The same as in the JavaScript SDK.
const EXPIRES_S: u32 = 299;
/// Maximum number of masters and peers per thread that connect at the same time, unless the run measures connecting.
const OPENING_MAX: usize = 64;
/// Maximum number of connections started per event loop iteration, so that existing connections are served in between.
const LAUNCHES_PER_TURN: usize = 256;
