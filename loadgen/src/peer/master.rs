//! The master of a channel: exchanges messages with each of its viewers.

use super::desk::{Desk, Heard};
use super::name::Name;
use super::sequence::Sequence;

/// A master's messages. One per channel; 40 bytes for each viewer.
#[derive(Debug)]
pub struct Master {
    /// By the viewer's place less one.
    viewers: Vec<Exchange>,
}

/// What went to one viewer and came from it.
#[derive(Clone, Debug, Default)]
struct Exchange {
    sent: u64,
    heard: Sequence,
}

impl Master {
    /// A master of so many viewers.
    #[must_use]
    pub fn new(viewers: u32) -> Self {
        Self {
            viewers: vec![Exchange::default(); viewers as usize],
        }
    }

    /// Sends a window of messages to every viewer.
    pub(super) fn start(&mut self, name: Name, desk: &mut Desk, out: &mut Vec<u8>) {
        for (place, exchange) in (1..).zip(&mut self.viewers) {
            for _ in 0..desk.window() {
                desk.write(name, place, &mut exchange.sent, out);
            }
        }
    }

    /// Takes a text in and answers it while the desk speaks.
    pub(super) fn hear(&mut self, name: Name, text: &mut [u8], desk: &mut Desk, out: &mut Vec<u8>) {
        let viewers = &mut self.viewers;
        let heard = desk.judge(name, text, |from| {
            let exchange = viewers.get_mut((from as usize).checked_sub(1)?)?;
            Some(&mut exchange.heard)
        });
        if let Heard::Turn(to) = heard
            && desk.speaking
            && let Some(index) = (to as usize).checked_sub(1)
            && let Some(exchange) = self.viewers.get_mut(index)
        {
            desk.write(name, to, &mut exchange.sent, out);
        }
    }

    /// How many messages went to the viewer at this place, and what came from it.
    pub(super) fn exchange(&self, place: u32) -> Option<(u64, &Sequence)> {
        let exchange = self.viewers.get((place as usize).checked_sub(1)?)?;
        Some((exchange.sent, &exchange.heard))
    }
}
