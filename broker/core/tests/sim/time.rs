//! The passing of time, and the end of a world: by a drain, and by everybody's going.

use crate::sim::faults::Action;
use crate::sim::letters::{Post, Tag};
use crate::sim::model::timers::GRAIN_MS;
use crate::sim::model::{Conn, ConnId};
use crate::sim::socket::{Socket, Stage};
use crate::sim::words::Piece;
use crate::sim::world::World;
use broker_core::machine::{Input, Machine};
use broker_core::shard::Letter;
use broker_core::time::Now;

/// Less than lies between the longest wait of an Alexa call and that of any call.
const PIECE_MS: u64 = 400 * GRAIN_MS;

impl World {
    pub(crate) fn time(&mut self, action: Action) {
        let now = self.model.now;
        let ms = match action {
            Action::NextDeadline => {
                let next = self.shards.iter().filter_map(Machine::deadline).min();
                next.map_or(GRAIN_MS, |next| next.0.saturating_sub(now))
            }
            // Long silence, or one connection's whole life in pieces that keep it alive.
            Action::LongTime if self.random.bool() => return self.long_life(),
            Action::LongTime => self.random.u64(10_000..700_000),
            Action::ShortTime if self.step.is_multiple_of(5) => return self.stand_still(),
            _ => self.random.u64(1..3_000),
        };
        let grains = ms.div_ceil(GRAIN_MS).max(1);
        self.pass(grains * GRAIN_MS);
        if self.random.u32(0..4) > 0 || grains > 60 {
            self.settle_time();
        }
    }

    /// The process is stopped: what peers send meanwhile is read later.
    fn stand_still(&mut self) {
        self.tick_all();
        let most = if self.awaits_replies() {
            PIECE_MS
        } else {
            100_000
        };
        let since = self.model.now;
        let mut random = fastrand::Rng::with_seed(self.step); // other worlds stay as they are
        let grains = random.u64(2_048..most) / GRAIN_MS;
        self.pass_piece(grains * GRAIN_MS);
        let at = self.at();
        for shard in &mut self.shards {
            shard.stood_still(Now(since), at);
        }
        self.model.standstill = (since, at.now.0);
        self.hit("fault: process stopped");
    }

    fn awaits_replies(&self) -> bool {
        let waits = |conn: &Conn| matches!(conn.stage, crate::sim::model::Stage::AwaitReply(_));
        self.model.conns.iter().any(waits)
    }

    /// Most of an hour, with a sign of life of every client each few minutes.
    pub(crate) fn long_life(&mut self) {
        for _ in 0..self.random.u32(1..40) {
            for conn in 0..self.sockets.len() {
                let socket = &self.sockets[conn];
                if socket.upgraded && socket.writes() && !socket.has_more() && socket.is_heard() {
                    self.write(conn, Piece::Pong(Vec::new()));
                    if socket_is_open(&self.sockets[conn]) {
                        let left = self.sockets[conn].up.len() - self.sockets[conn].fed;
                        self.feed(conn, left);
                    }
                }
            }
            let grains = self.random.u64(300..4_700);
            self.pass(grains * GRAIN_MS);
            self.settle_time();
        }
    }

    /// Ticks until nothing is left over from this moment.
    pub(crate) fn settle_time(&mut self) {
        self.tick_all();
        for _ in 0..4 {
            self.pass(GRAIN_MS);
            self.tick_all();
        }
        self.model.nothing_overdue();
    }

    /// Time passes for everybody. Ticks follow at once, or after some of what else happens at that moment.
    ///
    /// While calls wait, a long time passes in pieces: whether a call expires or is not answered in time must show.
    pub(crate) fn pass(&mut self, ms: u64) {
        let mut left = ms;
        self.tick_all(); // a call that waited for its turn may begin to wait for its answer
        while left > PIECE_MS && self.awaits_replies() {
            self.pass_piece(PIECE_MS);
            self.tick_all();
            left -= PIECE_MS;
        }
        self.pass_piece(left);
    }

    fn pass_piece(&mut self, ms: u64) {
        self.model.now += ms;
        self.model.wall += ms;
        self.ticks_due = (0..self.shards.len()).collect();
    }

    /// All ticks of this moment.
    pub(crate) fn tick_all(&mut self) {
        while let Some(shard) = self.ticks_due.pop() {
            self.tick(shard);
        }
    }

    pub(crate) fn tick(&mut self, shard: usize) {
        let due = |world: &Self| {
            let deadline = world.shards[shard].deadline();
            deadline.is_some_and(|deadline| deadline.0 <= world.model.now)
        };
        let mut ticks = 0;
        let mut unsettled = true;
        while unsettled || due(self) {
            self.before(shard);
            self.trace(shard, &"tick");
            self.model.tick(shard);
            self.model.go_on();
            let at = self.at();
            self.shards[shard].handle(Input::Tick, at);
            self.input = true;
            self.after(shard, true);
            unsettled = std::mem::take(&mut self.model.haze_now);
            if unsettled {
                // Events of one tick whose order does not show have settled after the next one.
                self.model.now += GRAIN_MS;
                self.model.wall += GRAIN_MS;
                self.ticks_due = (0..self.shards.len())
                    .filter(|&other| other != shard)
                    .collect();
            }
            ticks += 1;
            assert!(ticks < 100, "deadline() stays in the past");
        }
    }

    /// The end of the process, announced to every shard.
    pub(crate) fn drain(&mut self) {
        self.hit("drain");
        let within = [2_000, 20_000][self.random.usize(0..2)];
        for mail in &mut self.mail {
            mail.push_back(Post::Letter(Letter::Drain(within), Tag::Drain(within)));
        }
        let steps = within / 500;
        for _ in 0..steps {
            for _ in 0..self.random.usize(0..40) {
                let action = self.plan.next(&mut self.random);
                if !matches!(action, Action::LongTime | Action::NextDeadline) {
                    self.act(action);
                }
            }
            while let Some(shard) = (0..self.mail.len()).find(|&shard| !self.mail[shard].is_empty())
            {
                self.take_letter(shard);
            }
            self.pass(512);
            self.settle_time();
        }
        for _ in 0..40 {
            self.pass(512);
            self.settle_time();
        }
        assert!(
            self.drained.iter().all(|drained| *drained),
            "every drain ends"
        );
    }

    /// A shard on which nothing is left, not even in its books, is drained at once.
    pub(crate) fn drain_nothing(&mut self) {
        for shard in 0..self.shards.len() {
            self.mail[shard].push_back(Post::Letter(Letter::Drain(9_000), Tag::Drain(9_000)));
            self.take_letter(shard);
            assert!(self.drained[shard], "shard {shard} waits for something");
        }
    }

    /// Everybody goes, one way or another, and all time limits pass.
    pub(crate) fn wind_down(&mut self) {
        for conn in 0..self.sockets.len() {
            self.sockets[conn].stuck = false;
            match self.random.u32(0..3) {
                0 if self.sockets[conn].stage != Stage::Over => self.reset(conn),
                1 => self.sockets[conn].fin = true,
                _ => {}
            }
        }
        self.run_dry();
        for _ in 0..30 {
            self.pass(5_120);
            self.settle_time();
            self.run_dry();
        }
        for conn in 0..self.sockets.len() {
            if self.sockets[conn].stage != Stage::Over {
                self.reset(conn);
            }
        }
        self.run_dry();
        for _ in 0..30 {
            self.pass(5_120);
            self.settle_time();
            self.run_dry(); // who had not taken its answers is aborted only now
        }
        let left = self
            .sockets
            .iter()
            .position(|socket| socket.stage != Stage::Over);
        assert_eq!(left, None, "every connection ends");
    }

    /// Does whatever there is to do, until nothing is.
    pub(crate) fn run_dry(&mut self) {
        for _ in 0..200 {
            let before = self.step;
            for conn in 0..self.sockets.len() {
                self.run_connection(conn);
            }
            for shard in 0..self.shards.len() {
                self.commit(shard, usize::MAX);
                while !self.mail[shard].is_empty() {
                    self.take_letter(shard);
                }
            }
            if self.step == before {
                return;
            }
        }
        panic!("the world never becomes idle");
    }

    pub(crate) fn run_connection(&mut self, conn: ConnId) {
        if !self.sockets[conn].has_session() {
            return;
        }
        self.land(conn, 0);
        self.arrive(conn, true);
        let socket = &self.sockets[conn];
        let heard = socket.is_heard() && !socket.ended;
        let (left, stage) = (socket.up.len() - socket.fed, socket.stage);
        let unsent = self.shards[socket.shard].unsent(socket.key).len();
        match stage {
            Stage::Open if !socket.secured => self.secure(conn),
            Stage::Open if left > 0 && heard => self.feed(conn, left),
            Stage::Open if socket.fin && heard => self.end(conn),
            Stage::Leaving(to) if unsent == 0 || socket.reset => self.hand_over(conn, to, false),
            Stage::Closing if unsent == 0 || socket.reset => return self.bury(conn),
            Stage::Shut => return self.bury(conn),
            Stage::Open | Stage::Leaving(_) | Stage::Closing | Stage::Travelling | Stage::Over => {}
        }
        if self.sockets[conn].has_session() && self.sockets[conn].sends() {
            self.flush(conn, 1 << 20, false);
        }
    }
}

fn socket_is_open(socket: &Socket) -> bool {
    socket.stage == Stage::Open && !socket.ended
}
