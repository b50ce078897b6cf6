//! The mailbox: what others want of this shard.

use super::limits::LETTERS_PER_TURN;
use super::post::{Post, Scraped};
use super::shard::Edge;
use crate::machine::{Input, Machine};

impl<M: Machine> Edge<M> {
    /// Takes letters, a bounded number; returns whether there were any.
    pub(super) fn take_letters(&mut self) -> bool {
        for taken in 0..LETTERS_PER_TURN {
            let Some(letter) = self.mailbox().try_take() else {
                return taken > 0;
            };
            match letter {
                Post::Handover(handover) => self.adopt(*handover),
                Post::Letter(letter) => self.feed(Input::Letter(letter)),
                // Whoever asked may have stopped waiting.
                Post::Scrape(answer) => drop(answer.try_send(self.scraped())),
                Post::Inspect(question, answer) => {
                    let reply = self.machine.inspect(question, self.at);
                    self.drain();
                    drop(answer.try_send((self.id, reply)));
                }
                Post::Tls(config) => self.tls = Some(config),
                Post::Stop => self.stop(),
            }
        }
        true
    }

    fn scraped(&self) -> Scraped<M::Snapshot> {
        Scraped {
            shard: self.id,
            snapshot: self.machine.snapshot(),
            edge: self.counts,
        }
    }

    fn stop(&mut self) {
        self.stopping = true;
        self.stop_listening();
        for session in self.table.keys() {
            self.cut(session);
        }
    }
}
