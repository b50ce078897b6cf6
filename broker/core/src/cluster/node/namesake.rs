//! Another process of this node's name, such as one on a copy of its data directory: whether it lives, as the other
//! nodes say.
//!
//! etcd alone cannot say: a registration outlives its process by a lease, and a process outlives its registration when
//! etcd stands still.

use crate::cluster::message::Heard;
use crate::cluster::types::Incarnation;
use crate::time::Now;

/// The signs of life of other processes of this node's name, from the start of this one on.
#[derive(Debug)]
pub(crate) struct Namesake {
    me: Incarnation,
    started: Now,
    /// The last moment at which one may have answered.
    sign: Now,
    /// When the newest question was sent that another node has replied to.
    replied: Option<Now>,
    lives: bool,
}

impl Namesake {
    /// Nothing is known by a process that starts now.
    pub(crate) fn new(me: Incarnation, now: Now) -> Self {
        Self {
            me,
            started: now,
            sign: now,
            replied: None,
            lives: false,
        }
    }

    /// A node was asked at `asked`, and says which process last answered it under this name; `is_peer`: another node.
    pub(crate) fn found(&mut self, is_peer: bool, asked: Now, heard: Option<Heard>, now: Now) {
        if is_peer {
            self.replied = self.replied.max(Some(asked));
        }
        let Some(heard) = heard.filter(|heard| heard.incarnation != self.me) else {
            return;
        };
        // The reply was under way for a while, at most since it was asked for.
        let latest = Now(now.0.saturating_sub(heard.ago_ms));
        self.sign = self.sign.max(latest);
        self.lives |= self.started.after(heard.ago_ms) <= asked;
    }

    /// Whether one has certainly answered after this process had started.
    pub(crate) fn lives(&self) -> bool {
        self.lives
    }

    /// Whether none has answered for `silence_ms`, as another node said within that time, if there is any to ask.
    pub(crate) fn is_silent(&self, has_peers: bool, silence_ms: u64, now: Now) -> bool {
        let replied = self
            .replied
            .is_some_and(|asked| now.since(asked) < silence_ms);
        !self.lives && now.since(self.sign) >= silence_ms && (replied || !has_peers)
    }
}

#[cfg(test)]
mod tests {

    use super::*;

    const ME: Incarnation = Incarnation {
        directory: 1,
        start: 2,
    };
    const LEASE_MS: u64 = 10_000;

    fn heard(start: u64, ago_ms: u64) -> Option<Heard> {
        let incarnation = Incarnation { start, ..ME };
        Some(Heard {
            incarnation,
            ago_ms,
        })
    }

    #[test]
    fn one_that_answered_after_the_start_lives() {
        for (started, asked, ago_ms, lives) in [
            (5_000, 7_000, 1_000, true),
            (5_000, 7_000, 2_000, true),
            (5_000, 7_000, 2_001, false),
            (5_000, 7_000, u64::MAX, false),
        ] {
            let mut namesake = Namesake::new(ME, Now(started));
            namesake.found(true, Now(asked), heard(1, ago_ms), Now(asked + 10));
            assert_eq!(namesake.lives(), lives, "{ago_ms} ms ago");
        }
        let mut namesake = Namesake::new(ME, Now(5_000));
        namesake.found(true, Now(7_000), heard(ME.start, 0), Now(7_010));
        assert!(!namesake.lives(), "it is this process itself");
    }

    #[test]
    fn it_is_silent_when_nobody_heard_it_for_a_lease() {
        let mut namesake = Namesake::new(ME, Now(0));
        assert!(!namesake.is_silent(false, LEASE_MS, Now(9_999)));
        assert!(namesake.is_silent(false, LEASE_MS, Now(10_000)));
        assert!(
            !namesake.is_silent(true, LEASE_MS, Now(60_000)),
            "none said so"
        );
        namesake.found(true, Now(1_000), heard(1, 2_000), Now(3_000));
        assert!(!namesake.is_silent(true, LEASE_MS, Now(10_999)));
        assert!(
            !namesake.is_silent(true, LEASE_MS, Now(11_000)),
            "of before"
        );
        namesake.found(true, Now(10_500), heard(1, 11_500), Now(10_600));
        assert!(namesake.is_silent(true, LEASE_MS, Now(11_000)));
        namesake.found(false, Now(20_400), None, Now(20_400));
        assert!(!namesake.is_silent(true, LEASE_MS, Now(20_500)), "no peer");
    }
}
