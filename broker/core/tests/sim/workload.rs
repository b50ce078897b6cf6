//! Actions of clients, the network and time: one after the other, drawn by the world's weights.

use crate::sim::faults::Action;
use crate::sim::socket::{ConnId, Role, Socket, Stage};
use crate::sim::words::{Call, Piece};
use crate::sim::world::World;
use broker_core::machine::Machine;
use codec::signal;

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
        self.new_peer(Action::ConnectMaster);
        for _ in 0..self.plan.ids {
            self.new_peer(Action::ConnectViewer);
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
            self.time(Action::NextDeadline);
            self.connect_as(Role::Master(arn));
            self.run_dry();
        }
        for _ in 0..8 {
            self.time(Action::NextDeadline);
            self.run_dry();
        }
    }

    pub(crate) fn act(&mut self, action: Action) {
        // The edge does not ask what has arrived, where a pong says it.
        if self.by_pong()
            && self.random.u8(0..3) == 0
            && let Some(conn) = self.pick(Socket::has_session)
        {
            self.arrive(conn, false);
        }
        match action {
            Action::ConnectMaster | Action::ConnectViewer => self.new_peer(action),
            Action::ConnectCaller => drop(self.new_connection(Role::Caller)),
            Action::Message => self.write_messages(1),
            Action::Burst => {
                let many = self.random.usize(2..50);
                self.write_messages(many);
            }
            Action::BadMessage => self.write_bad_message(),
            Action::Ping => self.write_ping(),
            Action::Violation => self.write_violation(),
            Action::CloseFrame => self.write_close(),
            Action::Call => self.write_call(),
            Action::Alexa => self.write_alexa(),
            Action::Pile => self.write_pile(),
            Action::Answer => self.write_alexa_answer(),
            Action::Feed | Action::FeedPart => self.feed_some(action == Action::FeedPart),
            Action::Flush | Action::FlushPart => self.flush_some(action == Action::FlushPart),
            Action::Land => self.land_some(),
            Action::Letter => {
                let shard = self.random.usize(0..self.shards.len());
                self.take_letter(shard);
            }
            Action::Leave => self.leave_some(),
            Action::Bury => self.bury_some(),
            Action::Reset | Action::HalfClose => self.cut_some(action == Action::Reset),
            Action::Stall | Action::Unstall => self.stall_some(action == Action::Stall),
            Action::ShortTime | Action::NextDeadline | Action::LongTime => self.time(action),
            Action::WallJump => {
                let hour = self.random.u64(1..3_600_000);
                let back = self.random.bool();
                self.wall = if back {
                    self.wall - hour
                } else {
                    self.wall + hour
                };
                self.hit("fault: wall clock jumps");
            }
            Action::EndAfterClose => self.end_some_closing(),
            Action::Commit => {
                let shard = self.random.usize(0..self.shards.len());
                let most = self.random.usize(1..4);
                self.commit(shard, most);
            }
            Action::Crowd => self.write_crowd(),
            Action::Rush => self.write_rush(),
            Action::Hoard => self.write_hoard(),
            Action::Inspect | Action::Reconnect => self.inspect_some(action),
            Action::CutOff => self.cut_some_off(),
            Action::HalfOpen => self.half_open_some(),
            Action::Mend => self.mend_some(),
        }
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
