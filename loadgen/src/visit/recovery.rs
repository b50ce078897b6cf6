//! Measures how long channels take to recover after the service closes their connections: from the first lost
//! connection until the master and the viewers have reconnected to each other.

use crate::measure::Latency;
use std::collections::BTreeMap;

/// The channels on a thread that are currently cut off, and the recovery times of earlier cut-offs. Other channels use
/// no memory.
#[derive(Debug, Default)]
pub struct Recovery {
    cut_off: BTreeMap<u32, CutOff>,
    /// Number of times that a channel was cut off.
    pub cut_offs: u64,
    /// Recovery times of the channels that have recovered.
    pub spans: Latency,
}

#[derive(Clone, Copy, Debug)]
struct CutOff {
    since_ns: u64,
    lacks_master: bool,
    /// Number of viewers that lost their connection after being answered and have not been answered again.
    viewers: u32,
}

impl Recovery {
    /// Records that the service closed the master's connection.
    pub fn master_lost(&mut self, channel: u32, now_ns: u64) {
        self.begin(channel, now_ns).lacks_master = true;
    }

    /// Records that the service closed the connection of a viewer that had been answered.
    pub fn viewer_lost(&mut self, channel: u32, now_ns: u64) {
        self.begin(channel, now_ns).viewers += 1;
    }

    /// Records that the master has connected.
    pub fn master_came(&mut self, channel: u32, now_ns: u64) {
        if let Some(cut_off) = self.cut_off.get_mut(&channel) {
            cut_off.lacks_master = false;
            self.end(channel, now_ns);
        }
    }

    /// Records that a viewer that had lost its connection was answered again.
    pub fn viewer_answered(&mut self, channel: u32, now_ns: u64) {
        if let Some(cut_off) = self.cut_off.get_mut(&channel) {
            cut_off.viewers = cut_off.viewers.saturating_sub(1);
            self.end(channel, now_ns);
        }
    }

    /// Returns the number of times that a channel has recovered.
    #[must_use]
    pub fn recovered(&self) -> u64 {
        self.cut_offs - self.cut_off.len() as u64
    }

    fn begin(&mut self, channel: u32, now_ns: u64) -> &mut CutOff {
        let cut_offs = &mut self.cut_offs;
        self.cut_off.entry(channel).or_insert_with(|| {
            *cut_offs += 1;
            CutOff {
                since_ns: now_ns,
                lacks_master: false,
                viewers: 0,
            }
        })
    }

    fn end(&mut self, channel: u32, now_ns: u64) {
        if let Some(cut_off) = self.cut_off.get(&channel)
            && !cut_off.lacks_master
            && cut_off.viewers == 0
        {
            self.spans
                .record_ns(now_ns.saturating_sub(cut_off.since_ns));
            self.cut_off.remove(&channel);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    fn figures(recovery: &Recovery) -> (u64, u64, u64) {
        let longest_us = recovery.spans.histogram().max();
        (recovery.cut_offs, recovery.recovered(), longest_us / 1000)
    }

    #[test]
    fn a_channel_has_met_again_when_all_that_it_lost_are_back() {
        let mut recovery = Recovery::default();
        recovery.viewer_lost(7, 10 * MS);
        recovery.master_lost(7, 20 * MS);
        recovery.viewer_lost(7, 30 * MS);
        recovery.viewer_lost(8, 30 * MS);
        recovery.master_came(7, 100 * MS);
        recovery.viewer_answered(7, 110 * MS);
        assert_eq!(figures(&recovery), (2, 0, 0));
        recovery.viewer_answered(7, 210 * MS);
        assert_eq!(figures(&recovery), (2, 1, 200));
        recovery.master_lost(7, 300 * MS);
        recovery.master_came(7, 310 * MS);
        assert_eq!(figures(&recovery), (3, 2, 200));
    }

    #[test]
    fn parties_that_were_not_lost_change_nothing() {
        let mut recovery = Recovery::default();
        recovery.master_came(1, MS);
        recovery.viewer_answered(1, MS);
        assert_eq!(figures(&recovery), (0, 0, 0));
        recovery.master_lost(1, MS);
        recovery.viewer_answered(1, 2 * MS);
        recovery.master_lost(1, 3 * MS);
        assert_eq!(figures(&recovery), (1, 0, 0));
    }
}
