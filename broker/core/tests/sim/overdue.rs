//! Every state has a deadline: once all that was due at a moment is served, no connection has been in any state for
//! longer than that may last.

use crate::sim::frames::{MESSAGE_MS, whole_second};
use crate::sim::socket::{ConnId, Socket, Stage};
use crate::sim::world::World;
use broker_core::limits::{
    ALONE_CLOSE_MS, ASK_AFTER_MS, ASK_STEP_MS, REPLY_MS_MAX, TAKEOVER_MS_MAX, VACANT_SLOT_MS,
};

/// The grain of the wheel and of the world's clock, in milliseconds.
pub(crate) const GRAIN_MS: u64 = 64;

/// The most by which a deadline may be served late: its own slot, and one more for each thing that was due before it.
const LATE_MS: u64 = 4 * GRAIN_MS;

/// From when it is doubtful that a master is there until it is reported gone, by the slowest networks here.
const GONE_MS: u64 = 20_000;

/// Bytes that may wait for a connection without being in the way of a ping.
const UNREAD: usize = 4_096;

impl World {
    /// Nothing that is due is long overdue.
    ///
    /// # Panics
    /// When something is.
    pub(crate) fn nothing_overdue(&self) {
        if self.is_scripted() {
            return; // nothing is due of what a fault holds back
        }
        let now = self.now.saturating_sub(LATE_MS);
        for conn in 0..self.sockets.len() {
            let socket = &self.sockets[conn];
            let most = match socket.stage {
                Stage::Over | Stage::Shut | Stage::Travelling => continue,
                Stage::Closing => socket
                    .closing
                    .map(|at| at + self.settings.timeouts.close_ms),
                Stage::Leaving(_) => continue, // for as long as the edge lets it
                Stage::Open if socket.ws.is_some() => self.web_socket_ends(socket, now),
                Stage::Open => Some(self.request_ends(socket)),
            };
            let fine = most.is_none_or(|most| now < most);
            assert!(
                fine,
                "connection {conn} is overdue since {most:?}: {:?} {:?}",
                socket.stage, socket.ws
            );
            self.is_asked(conn, now);
        }
        for shard in 0..self.shards.len() {
            self.slots_move_on(shard, now);
        }
    }

    /// When an HTTP connection ends, or is answered, at the latest.
    fn request_ends(&self, socket: &Socket) -> u64 {
        let timeouts = &self.settings.timeouts;
        let requests = &socket.requests;
        if !socket.secured {
            return socket.opened + timeouts.tls_ms;
        }
        let wait = timeouts.head_ms.max(timeouts.keep_alive_ms);
        let idle = requests.answered + wait;
        let waits = requests.waiting.front().map(|first| {
            // An account's permission, then the call itself.
            first.at.max(requests.answered) + 2 * REPLY_MS_MAX + timeouts.body_ms
        });
        let part = requests.begun.map(|at| {
            let since = at.max(requests.answered);
            since + timeouts.head_ms + timeouts.body_ms
        });
        let untaken = (socket.waits.0 > 0).then(|| requests.taken + timeouts.answer_ms);
        let busy = waits.or(part).unwrap_or(idle);
        busy.max(untaken.unwrap_or(0))
    }

    /// When something must have happened to a WebSocket.
    fn web_socket_ends(&self, socket: &Socket, now: u64) -> Option<u64> {
        let timeouts = &self.settings.timeouts;
        let ws = socket.ws.as_ref()?;
        if let Some((.., at)) = &ws.closed {
            return Some(at + timeouts.close_ms);
        }
        let idle = whole_second(ws.heard + timeouts.idle_ms);
        let age = timeouts.connection_age_ms;
        let age = if age == 0 { u64::MAX } else { ws.opened + age };
        let slow = ws.began.map_or(u64::MAX, |at| at + MESSAGE_MS);
        let drained = self.drains[socket.shard].filter(|_| !self.drained[socket.shard]);
        let drained = drained.map_or(u64::MAX, |(began, ends)| {
            ends.saturating_sub(ALONE_CLOSE_MS / 4).max(began)
        });
        let mut most = idle.min(age).min(slow).min(drained);
        // Without room for a ping none is sent.
        let unread = socket.waits.0 + socket.tcp.unacknowledged();
        if !ws.superseded && unread < UNREAD {
            let came = ws.pinged.map_or(ws.heard, |_| u64::MAX);
            if timeouts.ping_ms > 0 {
                most = most.min(whole_second(came.min(ws.went) + timeouts.ping_ms));
            }
            let pong = ws.pinged.filter(|_| timeouts.pong_ms > 0);
            // A shard that did not run when answers were due gives them their whole time again.
            let pong = pong.filter(|at| now <= whole_second(at + timeouts.pong_ms) + 2_000);
            most = pong.map_or(most, |at| most.min(whole_second(at + timeouts.pong_ms)));
        }
        Some(most)
    }

    /// Connections with unconfirmed messages are queried each second.
    fn is_asked(&self, conn: ConnId, now: u64) {
        let socket = &self.sockets[conn];
        if self.by_pong() || !self.holds_slot(conn) || socket.over.is_some() {
            return;
        }
        let Some(first) = socket.written.iter().find(|one| one.payload.is_some()) else {
            return;
        };
        let unproved = self.gauges[socket.shard].unproved() > 0;
        let asked = now < first.at.max(socket.asked) + ASK_AFTER_MS + ASK_STEP_MS;
        assert!(asked || unproved, "nobody asks what {conn} has");
        let master = socket.ws.as_ref().is_some_and(|ws| ws.viewer.is_none());
        let since = socket.late.map(|at| at.max(self.standstill.1) + GONE_MS);
        let fine = unproved || since.is_none_or(|since| now < since);
        let told = socket.gone_told.is_some() || fine;
        assert!(told || !master, "master {conn} is not reported gone");
    }

    /// Checks deadlines of slots: queued messages reach a connected peer, and a vacant slot is given up.
    fn slots_move_on(&self, shard: usize, now: u64) {
        let slots = &self.slots[shard];
        let held = self.settings.timeouts.close_ms + 3 * TAKEOVER_MS_MAX + ASK_AFTER_MS;
        let held = held + self.settings.signaling.repeat_offers_ms;
        for (what, since) in &slots.kept {
            let fine = now < since + held || self.is_held(shard, &what.0);
            assert!(fine, "kept for {what:?} since {since}");
        }
        for (slot, (since, _)) in &slots.vacant {
            let holds = now < since + VACANT_SLOT_MS;
            assert!(holds, "{slot:?} is vacant since {since}");
        }
    }

    /// Whether a former connection of a slot holds it, whose end the edge has not reported.
    fn is_held(&self, shard: usize, (arn, viewer): &(String, Option<String>)) -> bool {
        let former = self.keys[shard]
            .values()
            .filter(|conn| !self.is_member(**conn));
        let mut former = former.filter(|conn| {
            let socket = &self.sockets[**conn];
            !socket.queued.is_empty() || self.unacknowledged_bytes(**conn) > 0
        });
        former.any(|conn| {
            let ws = self.sockets[*conn].ws.as_ref();
            ws.is_some_and(|ws| ws.arn == *arn && ws.viewer == *viewer)
        })
    }
}
