//! A viewer: exchanges messages with its channel's master.

use super::desk::{Desk, Heard};
use super::name::Name;
use super::sequence::Sequence;

/// A viewer's messages. One per viewer; no heap while nothing is missing.
#[derive(Debug, Default)]
pub struct Viewer {
    sent: u64,
    heard: Sequence,
}

impl Viewer {
    /// Sends a window of messages.
    pub(super) fn start(&mut self, name: Name, desk: &mut Desk, out: &mut Vec<u8>) {
        for _ in 0..desk.window() {
            desk.write(name, MASTER, &mut self.sent, out);
        }
    }

    /// Takes a text in and answers it while the desk speaks.
    pub(super) fn hear(&mut self, name: Name, text: &mut [u8], desk: &mut Desk, out: &mut Vec<u8>) {
        let heard = desk.judge(name, text, |from| {
            (from == MASTER).then_some(&mut self.heard)
        });
        if let Heard::Turn(_) = heard
            && desk.speaking
        {
            desk.write(name, MASTER, &mut self.sent, out);
        }
    }

    /// How many messages went to the master, and what came from it.
    pub(super) const fn exchange(&self) -> (u64, &Sequence) {
        (self.sent, &self.heard)
    }
}

/// The master's place in its channel.
const MASTER: u32 = 0;
