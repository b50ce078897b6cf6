//! Letters that arrive in the mailbox of this shard.

pub(crate) mod counts;
pub(crate) mod mail;
pub(crate) mod post;

use crate::edge::clock::Shift;
use crate::edge::limits::LETTERS_PER_TURN;
use crate::edge::shard::Edge;
use broker_core::clock_jump::Leap;
use broker_core::machine::{Input, Machine};
use broker_core::work_units;
use counts::EdgeCounts;
use post::{Post, Scraped};

impl<M: Machine> Edge<M> {
    /// Takes letters, a bounded number; returns whether any of them is traffic. Questions of the server's own are
    /// none: they come every other second, and would have a shard without clients wake three times for each.
    pub(crate) fn take_letters(&mut self) -> bool {
        let mut traffic = false;
        for _ in 0..LETTERS_PER_TURN {
            if self.work_of_turn() >= work_units::LETTERS {
                break;
            }
            let Some(letter) = self.sessions.mail().own().try_take() else {
                break;
            };
            self.io.turn.add_work(work_units::LETTER);
            match letter {
                Post::Handover(handover) => {
                    traffic = true;
                    self.adopt(*handover);
                }
                Post::Letter(letter) => {
                    traffic = true;
                    let letter = Input::Letter(letter);
                    self.sessions.feed(letter, &mut self.io);
                }
                // The caller may have stopped waiting.
                Post::Scrape(answer) => drop(answer.try_send(self.scraped())),
                Post::Inspect(question, answer) => {
                    let machine = self.sessions.machine_mut();
                    let reply = machine.inspect(*question, self.io.turn.at());
                    self.sessions.drain(&mut self.io);
                    drop(answer.try_send((self.sessions.mail().id(), reply)));
                }
                Post::Shift(shift, answer) => {
                    self.leap(shift);
                    self.shifted = Some(answer);
                }
                Post::Tls(config) => self.listeners.present(config),
                Post::Devices(devices) => self.listeners.ask(devices),
                Post::Stop => self.stop(),
            }
        }
        traffic
    }

    /// Moves the clocks. What falls due within an advance is done and sent deadline by deadline, before anything that
    /// has arrived meanwhile.
    fn leap(&mut self, shift: Shift) {
        let (advances, until) = self.io.turn.shift(shift);
        if advances {
            let mut leap = Leap::begin(self.sessions.machine_mut(), self.io.turn.at(), until);
            while let Some(at) = leap.next(self.sessions.machine().deadline()) {
                self.io.turn.move_to(at);
                self.sessions.feed(Input::Tick, &mut self.io);
                self.flush_touched();
            }
        }
        self.io.turn.move_to(until);
    }

    /// Answers [`Post::Shift`] when nothing is due any more.
    pub(crate) fn report_shift(&mut self) {
        if !self.is_due()
            && let Some(answer) = self.shifted.take()
        {
            let id = self.sessions.mail().id();
            let _ = answer.try_send((id, self.io.turn.at())); // the asker may have stopped waiting
        }
    }

    fn scraped(&self) -> Scraped<M::Snapshot> {
        Scraped {
            shard: self.sessions.mail().id(),
            snapshot: self.sessions.machine().snapshot(),
            edge: EdgeCounts {
                clock_us: self.io.turn.at().now.0.saturating_mul(1000),
                ..self.io.counts
            },
        }
    }

    fn stop(&mut self) {
        self.answer_calls();
        self.io.stopping = true;
        self.listeners.stop(&mut self.io.ring);
        let connections = self.sessions.connections_mut();
        for session in connections.keys() {
            connections.cut(session, &mut self.io.counts);
        }
        self.sessions.close_tunnels(&mut self.io);
        self.sessions.end_calls(&mut self.io);
        self.inners.end_all(&mut self.io);
    }
}
