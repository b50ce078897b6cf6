//! Letters that arrive in the mailbox of this shard.

pub(super) mod counts;
pub(super) mod mail;
pub(super) mod post;

use super::clock::Shift;
use super::limits::LETTERS_PER_TURN;
use super::shard::Edge;
use broker_core::leap::Leap;
use broker_core::machine::{Input, Machine};
use broker_core::work;
use counts::EdgeCounts;
use post::{Post, Scraped};

impl<M: Machine> Edge<M> {
    /// Takes letters, a bounded number; returns whether any of them is traffic. Questions of the server's own are
    /// none: they come every other second, and would have a shard without clients wake three times for each.
    pub(super) fn take_letters(&mut self) -> bool {
        let mut traffic = false;
        for _ in 0..LETTERS_PER_TURN {
            if self.work_of_turn() >= work::LETTERS {
                break;
            }
            let Some(letter) = self.mail.own().try_take() else {
                break;
            };
            self.io.turn.add_work(work::LETTER);
            match letter {
                Post::Handover(handover) => {
                    traffic = true;
                    self.adopt(*handover);
                }
                Post::Letter(letter) => {
                    traffic = true;
                    self.feed(Input::Letter(letter));
                }
                // The caller may have stopped waiting.
                Post::Scrape(answer) => drop(answer.try_send(self.scraped())),
                Post::Inspect(question, answer) => {
                    let reply = self.machine.inspect(*question, self.io.turn.at());
                    self.drain();
                    drop(answer.try_send((self.mail.id(), reply)));
                }
                Post::Shift(shift, answer) => {
                    self.leap(shift);
                    self.shifted = Some(answer);
                }
                Post::Tls(config) => self.listeners.present(config),
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
            let mut leap = Leap::begin(&mut self.machine, self.io.turn.at(), until);
            while let Some(at) = leap.next(self.machine.deadline()) {
                self.io.turn.move_to(at);
                self.feed(Input::Tick);
                self.flush_touched();
            }
        }
        self.io.turn.move_to(until);
    }

    /// Answers [`Post::Shift`] when nothing is due any more.
    pub(super) fn report_shift(&mut self) {
        let due = self.machine.deadline().into_iter();
        let due = due.chain(self.next_overdue()).min();
        if due.is_none_or(|due| due > self.io.turn.at().now)
            && let Some(answer) = self.shifted.take()
        {
            let _ = answer.try_send((self.mail.id(), self.io.turn.at())); // the asker may have stopped waiting
        }
    }

    fn scraped(&self) -> Scraped<M::Snapshot> {
        Scraped {
            shard: self.mail.id(),
            snapshot: self.machine.snapshot(),
            edge: EdgeCounts {
                clock_us: self.io.turn.at().now.0.saturating_mul(1000),
                ..self.io.counts
            },
        }
    }

    fn stop(&mut self) {
        self.io.stopping = true;
        self.listeners.stop(&mut self.io.ring);
        for session in self.connections.keys() {
            self.connections.cut(session, &mut self.io.counts);
        }
        self.end_tunnels();
        self.inners.end_all(&mut self.io);
    }
}
