//! Authority: how long this node may admit clients, and when it is considered alone (cut off from etcd and all peers).
//!
//! ```text
//!            first registration           nobody answers, and somebody could claim
//!  Starting ───────────────────► Answered ───────────────────────────────────► Alone
//!                                 │    ▲                                        │
//!      nobody answers, and nobody │    │ somebody answers                       │ somebody answers
//!      is known who could claim   ▼    │                                        ▼
//!                               Exception            Answered, or after the second time in 10 minutes Held
//! ```
//! A process that was paused resumes in `Asking` and completes one round of queries before it decides.
//!
//! The validity of an etcd answer is counted from the time its query was sent or the time the last acknowledged
//! keepalive was sent, whichever is earlier. Other nodes wait for the lease to expire before they claim a slot. By
//! then, the owner has stopped admitting clients.
//!
//! If a node was alone or paused for a lease or longer, others may be claiming its slots when it returns. A
//! registration blocks claims, so the node admits clients as soon as etcd shows its own registration. Answers from
//! peers suffice only if no peer can reach etcd. If etcd's storage is full, etcd accepts neither registrations nor
//! claims. The node then first announces to its peers that it serves, and all of them must answer.

use crate::cluster::limits::{
    ALONE_AGAIN_MS, ANNOUNCED_MS, GAP_MS, HAS_ETCD_MS, ROUND_MS, Spans, TICK_MS,
};
use crate::time::Now;

/// Decides whether and for how long a node may serve its slots. Each process has one instance.
#[derive(Debug)]
pub struct Authority {
    standing: Standing,
    valid_until: Now,
    /// When this node sent the latest answered etcd query, either for the slots or for the watch's progress.
    pub(crate) etcd: Option<Now>,
    /// Like `etcd`, but updated only while no other node could claim a slot, because etcd held this node's registration
    /// or accepted no claims.
    protected: Option<Now>,
    /// When the process last resumed after a pause.
    gap: Option<Now>,
    alone_at: Option<Now>,
    held_until: Option<Now>,
    /// When the node started to announce that it serves. A returning node does so if etcd accepts no registrations.
    announced: Option<Now>,
    /// Whether the node's permission to admit clients has expired, so that other nodes may have claimed its slots.
    lapsed: bool,
    spans: Spans,
}

/// The inputs to `Authority::decide`.
#[derive(Clone, Copy, Debug)]
pub struct Grounds {
    /// Send time of the latest query that a peer has answered.
    pub peers: Option<Now>,
    /// Whether this process can reach etcd, either directly or through a peer that answers.
    pub etcd_is_near: bool,
    /// When the last acknowledged keepalive (or the grant request) for the registration's lease was sent.
    pub lease: Option<Now>,
    /// Whether etcd's storage is full, so that etcd accepts neither registrations nor claims.
    pub is_full: bool,
    /// Whether every other registered node answers this one.
    pub has_all_peers: bool,
    /// Whether any peer could claim slots.
    pub may_be_taken: bool,
}

/// The reason why a node serves or does not serve its slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// The node has never registered and serves nothing.
    Starting,
    /// etcd or a peer answers.
    Answered,
    /// Neither etcd nor any peer answers, but no other node can claim this node's slots, so it continues to serve.
    Exception,
    /// The node was paused and is completing one round of queries.
    Asking,
    /// Neither etcd nor any peer answers, and other nodes may claim this node's slots.
    Alone,
    /// The node was alone twice within a short time. It waits for a lease although others answer again.
    Held,
}

impl Authority {
    /// Creates the state of a process that has never registered.
    #[must_use]
    pub fn new(spans: Spans) -> Self {
        Self {
            standing: Standing::Starting,
            valid_until: Now(0),
            etcd: None,
            protected: None,
            gap: None,
            alone_at: None,
            held_until: None,
            announced: None,
            lapsed: true,
            spans,
        }
    }

    /// Adopts the time spans of the lease that etcd has granted.
    pub fn set_spans(&mut self, spans: Spans) {
        self.spans = spans;
    }

    /// Returns the time until which this node may admit clients.
    #[must_use]
    pub fn valid_until(&self) -> Now {
        self.valid_until
    }

    /// Returns why the node serves or does not serve its slots.
    #[must_use]
    pub fn standing(&self) -> Standing {
        self.standing
    }

    /// Records that etcd has answered a query sent at `asked`, either for the slots or for the watch's progress.
    pub fn etcd_answers(&mut self, asked: Now) {
        if self.gap.is_none_or(|gap| asked >= gap) {
            self.etcd = self.etcd.max(Some(asked));
        }
    }

    /// Discards earlier answers from etcd, because its history has changed or the process was paused.
    pub fn lose_etcd(&mut self) {
        self.etcd = None;
        self.protected = None;
    }

    /// Returns `true` if etcd has answered recently.
    #[must_use]
    pub fn has_etcd(&self, now: Now) -> bool {
        self.etcd
            .is_some_and(|asked| now.since(asked) <= HAS_ETCD_MS)
    }

    /// Returns `true` if slots may have moved, because etcd's latest answer about them is more than a lease old.
    #[must_use]
    pub fn is_outdated(&self, now: Now) -> bool {
        self.etcd
            .is_none_or(|asked| now.since(asked) > self.spans.lease_ms())
    }

    /// Records that the node has registered or renewed its registration.
    pub fn registers(&mut self) {
        if self.standing == Standing::Starting {
            self.standing = Standing::Alone;
        }
    }

    /// Records that the process was paused until `now`.
    pub fn gap(&mut self, now: Now) {
        self.lose_etcd();
        self.gap = Some(now);
        self.lapsed |= self.valid_until <= now;
        self.valid_until = Now(0);
        match self.standing {
            Standing::Answered | Standing::Exception => self.standing = Standing::Asking,
            Standing::Starting | Standing::Asking | Standing::Alone | Standing::Held => {}
        }
    }

    /// Decides how long the node may admit clients. Returns `true` if the node has just become [`Standing::Alone`].
    pub fn decide(&mut self, grounds: &Grounds, now: Now) -> bool {
        let may_be_taken = grounds.may_be_taken;
        self.announce(grounds, now);
        self.protect(grounds);
        let until = self
            .answered(grounds)
            .map_or(Now(0), |asked| asked.after(self.spans.hearing_ms()));
        match self.standing {
            Standing::Starting => return false,
            Standing::Held if self.held_until.is_some_and(|held| now < held) => return false,
            Standing::Held | Standing::Alone if until > now => {
                return self.answered_again(until, now);
            }
            Standing::Alone | Standing::Held => return false,
            Standing::Answered | Standing::Exception | Standing::Asking => {}
        }
        let asking = self
            .gap
            .is_some_and(|gap| now.since(gap) < ROUND_MS + GAP_MS / 2);
        if until > now.after(TICK_MS) || (until > now && may_be_taken) {
            self.standing = Standing::Answered;
            self.valid_until = until;
        } else if asking {
            self.valid_until = until;
            self.standing = Standing::Asking;
        } else if !may_be_taken {
            self.standing = Standing::Exception;
            self.valid_until = now.after(GAP_MS).max(until);
        } else {
            return self.becomes_alone(now);
        }
        self.lapsed &= self.valid_until <= now;
        false
    }

    fn announce(&mut self, grounds: &Grounds, now: Now) {
        let is_refused = grounds.is_full && grounds.lease.is_none();
        let is_held = self.held_until.is_some_and(|held| now < held);
        let announces = self.lapsed && is_refused && grounds.has_all_peers && !is_held;
        let since = *self.announced.get_or_insert(now);
        self.announced = announces.then_some(since);
    }

    /// Extends `protected` if no other node can have claimed a slot by the time of etcd's last answer. If the node is
    /// registered, `protected` extends at most to the last keepalive, because claims wait for a lease after that. If
    /// etcd's storage is full, etcd accepts no claims until space is freed. A returning node must then have announced
    /// that it serves, and etcd must have returned the slots since.
    fn protect(&mut self, grounds: &Grounds) {
        let asked = match (grounds.lease, self.announced) {
            (Some(lease), _) => self.etcd.min(Some(lease)),
            (None, Some(since)) => self.etcd.filter(|it| it.since(since) >= ANNOUNCED_MS),
            (None, None) => self.etcd.filter(|_| grounds.is_full && !self.lapsed),
        };
        self.protected = self.protected.max(asked);
    }

    fn answered(&self, grounds: &Grounds) -> Option<Now> {
        let counts = !self.lapsed || !grounds.etcd_is_near;
        self.protected.max(grounds.peers.filter(|_| counts))
    }

    /// Returns `true` if this node tells its peers that it serves or is about to serve.
    ///
    /// If etcd accepts no registrations, this announcement is the only protection that a returning node has, because
    /// etcd may accept claims again at any time.
    #[must_use]
    pub fn says_that_it_serves(&self, now: Now) -> bool {
        now < self.valid_until || self.announced.is_some()
    }

    fn becomes_alone(&mut self, now: Now) -> bool {
        let is_again = self
            .alone_at
            .is_some_and(|before| now.since(before) < ALONE_AGAIN_MS);
        self.held_until = is_again.then_some(Now(0));
        self.alone_at = Some(now);
        self.lapsed = true;
        self.valid_until = Now(0);
        self.standing = Standing::Alone;
        true
    }

    fn answered_again(&mut self, until: Now, now: Now) -> bool {
        if self.standing == Standing::Alone && self.held_until.is_some() {
            self.standing = Standing::Held;
            self.held_until = Some(now.after(self.spans.lease_ms()));
            return false;
        }
        self.held_until = None;
        self.lapsed = false;
        self.standing = Standing::Answered;
        self.valid_until = until;
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the grounds of a registered node whose peers cannot reach etcd.
    fn on(peers: Option<Now>, may_be_taken: bool) -> Grounds {
        Grounds {
            peers,
            etcd_is_near: false,
            lease: Some(Now(u64::MAX)),
            is_full: false,
            has_all_peers: false,
            may_be_taken,
        }
    }

    /// Returns the authority of a node that registered and received an answer at time 0.
    fn answered() -> Authority {
        let mut authority = Authority::new(Spans::of_lease(10_000));
        authority.registers();
        authority.etcd_answers(Now(0));
        assert!(!authority.decide(&on(None, true), Now(0)));
        assert_eq!(authority.standing(), Standing::Answered);
        authority
    }

    #[test]
    fn nothing_is_served_before_the_first_registration() {
        let mut authority = Authority::new(Spans::of_lease(10_000));
        authority.etcd_answers(Now(5));
        authority.decide(&on(Some(Now(5)), false), Now(6));
        assert_eq!(authority.standing(), Standing::Starting);
        assert_eq!(authority.valid_until(), Now(0));
    }

    #[test]
    fn an_answer_counts_from_its_question_on() {
        let mut authority = answered();
        assert_eq!(authority.valid_until(), Now(8_000));
        assert!(!authority.decide(&on(Some(Now(3_000)), true), Now(7_900)));
        assert_eq!(authority.valid_until(), Now(11_000));
        assert!(authority.decide(&on(Some(Now(3_000)), true), Now(11_000)));
        assert_eq!(authority.standing(), Standing::Alone);
        assert_eq!(authority.valid_until(), Now(0));
    }

    /// An expired registration does not protect the node. Answers from etcd count only up to the last keepalive.
    #[test]
    fn an_answer_of_etcd_counts_from_the_last_keepalive_on() {
        let mut authority = answered();
        let with = |lease, is_full| Grounds {
            lease,
            is_full,
            ..on(None, true)
        };
        authority.etcd_answers(Now(3_000));
        authority.decide(&with(Some(Now(2_000)), false), Now(3_000));
        assert_eq!(authority.valid_until(), Now(10_000));
        authority.etcd_answers(Now(5_000));
        authority.decide(&with(None, false), Now(5_000));
        assert_eq!(authority.valid_until(), Now(10_000), "unregistered");
        authority.decide(&with(None, true), Now(5_000));
        assert_eq!(authority.valid_until(), Now(13_000), "nobody can claim");
    }

    #[test]
    fn where_nobody_can_take_a_node_goes_on_tick_by_tick() {
        let mut authority = answered();
        for now in [7_800, 9_000, 60_000] {
            assert!(!authority.decide(&on(None, false), Now(now)));
            assert_eq!(authority.standing(), Standing::Exception);
            assert!(authority.valid_until() >= Now(now + GAP_MS));
        }
        assert!(authority.decide(&on(None, true), Now(60_500)));
        assert_eq!(authority.standing(), Standing::Alone);
    }

    #[test]
    fn a_node_that_was_alone_twice_waits_a_ttl() {
        let mut authority = answered();
        assert!(authority.decide(&on(None, true), Now(8_000)));
        authority.decide(&on(Some(Now(9_000)), true), Now(9_100));
        assert_eq!(authority.valid_until(), Now(17_000));
        assert!(authority.decide(&on(Some(Now(9_000)), true), Now(17_000)));
        authority.decide(&on(Some(Now(18_000)), true), Now(18_100));
        assert_eq!(authority.standing(), Standing::Held);
        assert_eq!(authority.valid_until(), Now(0));
        authority.decide(&on(Some(Now(28_000)), true), Now(28_100));
        assert_eq!(authority.standing(), Standing::Answered);
    }

    #[test]
    fn a_stopped_process_asks_before_it_decides() {
        let mut authority = answered();
        authority.gap(Now(30_000));
        assert_eq!(authority.valid_until(), Now(0));
        authority.etcd_answers(Now(29_000));
        assert!(!authority.decide(&on(None, false), Now(30_500)));
        assert_eq!(authority.standing(), Standing::Asking);
        assert_eq!(authority.valid_until(), Now(0));
        assert!(authority.decide(&on(None, true), Now(32_000)));
    }

    /// Others may be claiming the node's slots. Neither their answers nor what etcd showed earlier proves that they are
    /// not.
    #[test]
    fn after_it_was_alone_a_node_admits_by_its_registration() {
        let mut authority = answered();
        assert!(authority.decide(&on(None, true), Now(8_000)));
        let taken = Grounds {
            etcd_is_near: true,
            lease: None,
            ..on(Some(Now(9_000)), true)
        };
        authority.decide(&taken, Now(9_100));
        authority.etcd_answers(Now(9_100));
        authority.decide(&taken, Now(9_200));
        assert_eq!(authority.standing(), Standing::Alone);
        let registered = Grounds {
            lease: Some(Now(9_050)),
            ..taken
        };
        authority.decide(&registered, Now(9_300));
        assert_eq!(authority.valid_until(), Now(17_050));
        authority.decide(&taken, Now(9_400));
        assert_eq!(authority.valid_until(), Now(17_050), "it goes on as before");
    }

    /// etcd may accept claims again at any time, so the node is protected only by its announcement to its peers.
    #[test]
    fn where_etcd_takes_no_registration_a_node_says_first_that_it_serves() {
        let mut authority = answered();
        assert!(authority.decide(&on(None, true), Now(8_000)));
        let refused = Grounds {
            etcd_is_near: true,
            lease: None,
            is_full: true,
            has_all_peers: true,
            ..on(Some(Now(9_000)), true)
        };
        authority.etcd_answers(Now(9_100));
        authority.decide(&refused, Now(9_100));
        assert!(authority.says_that_it_serves(Now(9_100)));
        assert_eq!(authority.valid_until(), Now(0));
        authority.etcd_answers(Now(14_099));
        authority.decide(&refused, Now(15_000));
        assert_eq!(authority.standing(), Standing::Alone, "asked too early");
        authority.etcd_answers(Now(14_100));
        authority.decide(&refused, Now(15_000));
        assert_eq!(authority.valid_until(), Now(22_100));
    }

    #[test]
    fn a_process_that_was_stopped_for_long_was_alone() {
        for (until, goes_on) in [(7_999, true), (8_000, false)] {
            let mut authority = answered();
            authority.gap(Now(until));
            let peers = Grounds {
                etcd_is_near: true,
                ..on(Some(Now(until)), true)
            };
            authority.decide(&peers, Now(until + 10));
            assert_eq!(authority.valid_until() > Now(until), goes_on, "{until}");
        }
    }

    #[test]
    fn what_etcd_showed_is_outdated_after_a_lease() {
        let mut authority = Authority::new(Spans::of_lease(10_000));
        assert!(authority.is_outdated(Now(0)));
        authority.etcd_answers(Now(5));
        assert!(!authority.is_outdated(Now(10_005)));
        assert!(authority.is_outdated(Now(10_006)));
    }
}
