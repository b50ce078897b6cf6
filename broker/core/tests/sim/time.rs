//! The passing of time, and the end of a world: by a drain, and by everybody's going.

use crate::sim::letters::Post;
use crate::sim::overdue::GRAIN_MS;
use crate::sim::socket::{ConnId, Socket, Stage};
use crate::sim::words::Piece;
use crate::sim::workload::LONG;
use crate::sim::world::{Cause, World};
use broker_core::machine::{Input, Machine};
use broker_core::shard::Letter;
use broker_core::time::Now;

impl World {
    pub(crate) fn next_deadline(&mut self) {
        let next = self.shards.iter().filter_map(Machine::deadline).min();
        let ms = next.map_or(GRAIN_MS, |next| next.0.saturating_sub(self.now));
        self.time(ms);
    }

    /// Long silence, or one connection's whole life in pieces that keep it alive.
    pub(crate) fn long_time(&mut self) {
        if self.random.bool() {
            return self.long_life();
        }
        let ms = self.random.u64(10_000..700_000);
        self.time(ms);
    }

    pub(crate) fn short_time(&mut self) {
        if self.step.is_multiple_of(5) {
            return self.stand_still();
        }
        let ms = self.random.u64(1..3_000);
        self.time(ms);
    }

    fn time(&mut self, ms: u64) {
        let grains = ms.div_ceil(GRAIN_MS).max(1);
        self.pass(grains * GRAIN_MS);
        if self.random.u32(0..4) > 0 || grains > 60 {
            self.settle_time();
        }
    }

    /// The process is stopped: what peers send meanwhile is read later.
    fn stand_still(&mut self) {
        self.tick_all();
        let since = self.now;
        let mut random = fastrand::Rng::with_seed(self.step); // other worlds stay as they are
        let grains = random.u64(2_048..100_000) / GRAIN_MS;
        self.pass(grains * GRAIN_MS);
        let at = self.at();
        for shard in &mut self.shards {
            shard.stood_still(Now(since), at);
        }
        self.standstill = (since, at.now.0);
        self.hit("fault: process stopped");
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
        self.nothing_overdue();
    }

    /// Time passes for everybody. Ticks follow at once, or after some of what else happens at that moment.
    pub(crate) fn pass(&mut self, ms: u64) {
        self.tick_all();
        self.now += ms;
        self.wall += ms;
        self.ticks_due = (0..self.shards.len()).collect();
    }

    /// All ticks of this moment.
    pub(crate) fn tick_all(&mut self) {
        while let Some(shard) = self.ticks_due.pop() {
            self.tick(shard);
        }
    }

    pub(crate) fn tick(&mut self, shard: usize) {
        let mut ticks = 0;
        loop {
            self.trace(shard, &"tick");
            self.handle(shard, Input::Tick, Cause::Tick);
            let deadline = self.shards[shard].deadline();
            if deadline.is_none_or(|deadline| deadline.0 > self.now) {
                return;
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
            mail.push_back(Post::Letter(Letter::Drain(within)));
        }
        let steps = within / 500;
        for _ in 0..steps {
            for _ in 0..self.random.usize(0..40) {
                let action = self.plan.next(&mut self.random);
                if !LONG.contains(&action) {
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
        let fine = self.drained.iter().all(|drained| *drained);
        assert!(fine, "every drain ends");
    }

    /// A shard on which nothing is left, not even in its books, is drained at once.
    pub(crate) fn drain_nothing(&mut self) {
        for shard in 0..self.shards.len() {
            self.mail[shard].push_back(Post::Letter(Letter::Drain(9_000)));
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
