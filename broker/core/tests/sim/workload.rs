//! Actions of clients, the network and time: one after the other, drawn by the world's weights.

use crate::sim::socket::{ConnId, Role, Socket, Stage};
use crate::sim::words::{Call, Piece};
use crate::sim::world::World;
use broker_core::machine::Machine;
use codec::signal;

/// How often in the average world, whether a world may lack it, and what it does.
type Action = (u32, bool, fn(&mut World));

/// Everything that may happen next.
#[rustfmt::skip] // a table, an action per entry
pub(crate) const ACTIONS: [Action; 39] = [
    (5, true, |world| world.new_peer(false)),
    (8, true, |world| world.new_peer(true)),
    (4, true, |world| _ = world.new_connection(Role::Caller)),
    (40, false, |world| world.write_messages(1..2)),
    (4, true, |world| world.write_messages(2..50)),
    (5, true, World::write_bad_message),
    (4, true, World::write_ping),
    (1, true, World::write_violation),
    (2, true, World::write_close),
    (9, true, World::write_call),
    (5, true, World::write_alexa),
    (1, true, World::write_pile),
    (4, true, World::write_alexa_answer),
    (90, false, |world| world.feed_some(false)),
    (20, true, |world| world.feed_some(true)),
    (80, false, |world| world.flush_some(false)),
    (15, true, |world| world.flush_some(true)),
    (30, false, World::land_some),
    (40, false, World::take_some_letter),
    (30, false, World::leave_some),
    (30, false, World::bury_some),
    (2, true, |world| world.cut_some(true)),
    (1, true, |world| world.cut_some(false)),
    (6, true, |world| world.stall_some(true)),
    (2, true, |world| world.stall_some(false)),
    (6, false, World::short_time),
    (2, true, World::next_deadline),
    (1, true, World::long_time),
    (1, true, World::jump),
    (1, true, World::end_some_closing),
    (6, false, World::commit_some),
    (1, true, World::write_crowd),
    (2, true, World::write_rush),
    (1, true, World::write_hoard),
    (5, true, World::inspect_some),
    (1, true, World::reconnect_some),
    (2, true, World::cut_some_off),
    (1, true, World::half_open_some),
    (2, true, World::mend_some),
];

/// The places of the actions by which much time passes.
pub(crate) const LONG: [usize; 2] = [26, 27];

impl World {
    /// Runs the whole life of the world.
    pub(crate) fn run(&mut self) {
        if self.plan.settled {
            self.settle();
        }
        if self.plan.restarts() {
            self.restart();
        }
        for _ in 0..self.plan.steps {
            let action = self.plan.next(&mut self.random);
            self.act(action);
            self.script_some();
        }
        if self.plan.drains {
            self.drain();
        }
        self.end_script();
        self.wind_down();
        self.at_rest();
        self.read_all_traces();
        self.drain_nothing();
    }

    /// A channel with its master and some viewers, all connected.
    pub(crate) fn settle(&mut self) {
        if !self.settings.dev
            && let Some(conn) = self.new_connection(Role::Caller)
        {
            self.write(
                conn,
                Piece::Body(Call::Create("channel0".to_owned(), 60, Vec::new())),
            );
            self.run_dry();
        }
        self.new_peer(false);
        for _ in 0..self.plan.ids {
            self.new_peer(true);
        }
        self.run_dry();
    }

    /// Viewers offer and send candidates; their masters confirm them, and others come.
    fn restart(&mut self) {
        for conn in 0..self.sockets.len() {
            let Role::Viewer(arn, _) = self.sockets[conn].role.clone() else {
                continue;
            };
            if !self.sockets[conn].writes() || self.sockets[conn].up.is_empty() {
                continue;
            }
            for action in [signal::Action::SdpOffer, signal::Action::IceCandidate] {
                let mut text = self.text(conn);
                text.action = Some(action);
                self.write(conn, Piece::Message(text));
            }
            self.run_dry();
            self.next_deadline();
            self.connect_as(Role::Master(arn));
            self.run_dry();
        }
        for _ in 0..8 {
            self.next_deadline();
            self.run_dry();
        }
    }

    /// An action happens, by its place in [`ACTIONS`].
    pub(crate) fn act(&mut self, action: usize) {
        // The edge does not ask what has arrived, where a pong says it.
        if self.by_pong()
            && self.random.u8(0..3) == 0
            && let Some(conn) = self.pick(Socket::has_session)
        {
            self.arrive(conn, false);
        }
        let (.., happens) = ACTIONS[action];
        happens(self);
    }

    fn jump(&mut self) {
        let hour = self.random.u64(1..3_600_000);
        let back = self.random.bool();
        self.wall = if back {
            self.wall - hour
        } else {
            self.wall + hour
        };
        self.hit("fault: wall clock jumps");
    }

    /// Any connection that fits.
    pub(crate) fn pick(&mut self, fits: impl Fn(&Socket) -> bool) -> Option<ConnId> {
        let all: Vec<ConnId> = (0..self.sockets.len())
            .filter(|&conn| fits(&self.sockets[conn]))
            .collect();
        (!all.is_empty()).then(|| all[self.random.usize(0..all.len())])
    }

    pub(crate) fn writer(&mut self, fits: impl Fn(&Socket) -> bool) -> Option<ConnId> {
        let upgrades = |socket: &Socket| socket.role == Role::Caller || !socket.up.is_empty();
        self.pick(|socket| socket.writes() && upgrades(socket) && fits(socket))
    }

    pub(crate) fn feed_some(&mut self, part: bool) {
        let Some(conn) = self.pick(|socket| {
            socket.stage == Stage::Open
                && !socket.ended
                && socket.is_heard()
                && (socket.has_more() || !socket.secured || socket.fin)
        }) else {
            return;
        };
        let socket = &self.sockets[conn];
        if !socket.secured {
            return self.secure(conn);
        }
        let left = socket.up.len() - socket.fed;
        if left == 0 {
            return self.end(conn);
        }
        if part && left > 1 {
            self.hit("fault: partial read");
            let bytes = self.random.usize(1..left.min(3000));
            return self.feed(conn, bytes);
        }
        self.feed(conn, left);
    }

    pub(crate) fn flush_some(&mut self, part: bool) {
        let Some(conn) = self.pick(|socket| {
            let due =
                socket.asked_to_send || matches!(socket.stage, Stage::Closing | Stage::Leaving(_));
            due && !socket.stuck && socket.sends()
        }) else {
            return;
        };
        let most = if part {
            self.random.usize(1..600)
        } else {
            1 << 18
        };
        let launch = self.random.u32(0..100) < self.plan.launches;
        self.flush(conn, most, launch);
    }

    pub(crate) fn land_some(&mut self) {
        let Some(conn) = self.pick(|socket| !socket.at_rest() && socket.has_session()) else {
            return;
        };
        let socket = &self.sockets[conn];
        if socket.stuck && !socket.reset && socket.stage != Stage::Shut {
            return;
        }
        let most = self.random.usize(0..2000);
        if socket.stage == Stage::Shut {
            self.sockets[conn].reset = true;
        }
        self.land(conn, most);
    }

    pub(crate) fn leave_some(&mut self) {
        let Some(conn) =
            self.pick(|socket| matches!(socket.stage, Stage::Leaving(_)) && socket.at_rest())
        else {
            return;
        };
        let socket = &self.sockets[conn];
        let unsent = self.shards[socket.shard].unsent(socket.key).len();
        if let Stage::Leaving(to) = socket.stage
            && (unsent == 0 || socket.reset)
        {
            let refused = self.plan.refuses(&mut self.random);
            self.hand_over(conn, to, refused);
        }
    }

    pub(crate) fn bury_some(&mut self) {
        let found = self.pick(|socket| {
            matches!(socket.stage, Stage::Closing | Stage::Shut) && socket.at_rest()
        });
        let Some(conn) = found else { return };
        let socket = &self.sockets[conn];
        let unsent = self.shards[socket.shard].unsent(socket.key).len();
        if socket.stage == Stage::Shut || unsent == 0 || socket.reset {
            self.bury(conn);
        }
    }

    /// The network breaks a connection, or the client half-closes it.
    pub(crate) fn cut_some(&mut self, reset: bool) {
        let Some(conn) = self.pick(|socket| socket.stage != Stage::Over && !socket.reset) else {
            return;
        };
        if reset {
            self.reset(conn);
        } else {
            self.hit("fault: half close");
            self.sockets[conn].fin = true;
        }
    }

    pub(crate) fn reset(&mut self, conn: ConnId) {
        self.hit("fault: reset");
        let socket = &mut self.sockets[conn];
        socket.reset = true;
        socket.fin = true;
        if self.sockets[conn].tcp.cut || self.random.bool() {
            // Messages that had not come through are lost as well.
            let socket = &mut self.sockets[conn];
            socket.up.truncate(socket.fed);
        }
        if !self.sockets[conn].at_rest() {
            self.hit("fault: reset with bytes in flight");
        }
    }

    pub(crate) fn stall_some(&mut self, stall: bool) {
        if let Some(conn) = self.pick(|socket| socket.has_session() && socket.stuck != stall) {
            self.sockets[conn].stuck = stall;
            if stall {
                self.hit("fault: reader stalls");
            }
        }
    }

    pub(crate) fn end_some_closing(&mut self) {
        let found = self
            .pick(|socket| socket.stage == Stage::Closing && !socket.ended && socket.is_heard());
        if let Some(conn) = found {
            self.hit("fault: end told after the close");
            self.end(conn);
        }
    }
}

impl Socket {
    /// Whether its client still writes.
    pub(crate) fn writes(&self) -> bool {
        !self.fin && !self.reset && !matches!(self.stage, Stage::Over | Stage::Shut)
    }

    /// Whether the edge may send on it.
    pub(crate) fn sends(&self) -> bool {
        let open = matches!(self.stage, Stage::Open | Stage::Leaving(_) | Stage::Closing);
        open && self.at_rest() && !self.reset
    }

    /// Whether a machine has a session of it.
    pub(crate) fn has_session(&self) -> bool {
        !matches!(self.stage, Stage::Over | Stage::Travelling)
    }
}
