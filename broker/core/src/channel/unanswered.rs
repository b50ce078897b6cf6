//! Offers that a master has received but not yet answered; see codec/PROTOCOL.md, KEEP-9.
//!
//! ```text
//!  accepted ──► in flight ── confirmed ──► with the master ── another master connects ──► due: redelivered once,
//!                   │                            │                                             then removed
//!                   └── answered, replaced by a newer offer, viewer closed, expired: removed ──┘
//! ```
//! A master that restarts after receiving an offer but before answering it has lost the offer, so the viewer would wait
//! in vain. While a redelivery is due, newer messages from the viewer are queued, so that they follow the offer and its
//! candidates.

use crate::channel::rare::Rare;
use crate::id::{CallerId, SessionKey};
use crate::limits::{UNANSWERED_CANDIDATES_MAX, UNANSWERED_PER_CHANNEL_MAX};
use crate::time::Now;
use std::rc::Rc;

#[derive(Debug)]
pub(crate) struct Offer {
    pub viewer: Rc<str>,
    pub from: SessionKey,
    /// The viewer's caller, if it has its own share of the queue. Set when a master acknowledges the offer.
    pub caller: Option<CallerId>,
    /// The offer's number in the channel's order of acceptance.
    pub order: u64,
    pub expires: Now,
    /// Candidates that followed the offer and that the master has acknowledged.
    pub candidates: Rare<Candidate>,
    stage: Stage,
}

#[derive(Debug)]
pub(crate) struct Candidate {
    /// The candidate's number in the channel's order of acceptance.
    pub order: u64,
    pub frame: Box<[u8]>,
}

#[derive(Debug)]
enum Stage {
    /// The offer is in flight, and the master has not acknowledged it.
    UnderWay,
    /// A master has acknowledged the offer. Contains the offer's frame.
    Had(Box<[u8]>),
    /// The offer is due for redelivery to this master connection at this time.
    Due(Box<[u8]>, SessionKey, Now),
}

/// The master connection to which an offer is redelivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AwaitedMaster {
    /// The current connection, which receives the offer at this time.
    Current(Now),
    /// The master's next connection.
    Next,
}

/// The offers of one channel, at most one per viewer.
#[derive(Debug, Default)]
pub(crate) struct Unanswered(Rare<Offer>);

impl Unanswered {
    /// Records an accepted offer, which replaces the viewer's previous one. If the table is full, the oldest offer is
    /// evicted. Returns `true` if messages were waiting for the redelivery of the replaced or evicted offer.
    pub(crate) fn begin(
        &mut self,
        viewer: &str,
        from: SessionKey,
        (order, expires): (u64, Now),
    ) -> bool {
        let mut releases = self.end(viewer);
        if self.0.len() >= UNANSWERED_PER_CHANNEL_MAX {
            releases |= self.0.remove(0).is_due();
        }
        self.0.push(Offer {
            viewer: viewer.into(),
            from,
            caller: None,
            order,
            expires,
            candidates: Rare::default(),
            stage: Stage::UnderWay,
        });
        releases
    }

    /// Removes a viewer's offer when it has been answered. Returns `true` if messages were waiting for its redelivery.
    pub(crate) fn end(&mut self, viewer: &str) -> bool {
        let holds = self.holds(viewer);
        self.0.retain(|offer| *offer.viewer != *viewer);
        holds
    }

    /// Removes the offers of a viewer connection that has closed. If messages are waiting for an offer's redelivery,
    /// the offer is made to expire instead, which releases those messages.
    pub(crate) fn end_of(&mut self, from: SessionKey) {
        self.0.retain(|offer| offer.from != from || offer.is_due());
        for offer in self.0.iter_mut().filter(|offer| offer.from == from) {
            offer.expires = Now(0);
        }
    }

    /// Records that a master has acknowledged an offer. Returns the viewer, or `None` if the offer has been removed. If
    /// the master has reconnected in the meantime, `then` contains the new connection and the redelivery time.
    pub(crate) fn confirmed(
        &mut self,
        order: u64,
        frame: &[u8],
        then: Option<(SessionKey, Now)>,
        caller_of: impl FnOnce(SessionKey) -> Option<CallerId>,
    ) -> Option<Rc<str>> {
        let mut offers = self.0.iter_mut();
        let offer = offers.find(|offer| offer.order == order)?;
        if !matches!(offer.stage, Stage::UnderWay) {
            return None;
        }
        offer.caller = caller_of(offer.from);
        offer.stage = match then {
            None => Stage::Had(frame.into()),
            Some((by, at)) => Stage::Due(frame.into(), by, at),
        };
        Some(Rc::clone(&offer.viewer))
    }

    /// Records that the master has acknowledged a candidate that followed a viewer's offer. The candidate is stored
    /// with the offer if `is_senders` returns `true`.
    pub(crate) fn followed(
        &mut self,
        viewer: &str,
        candidate: Candidate,
        is_senders: impl FnOnce(&Offer) -> bool,
    ) {
        let has_it = |offer: &&mut Offer| {
            *offer.viewer == *viewer && offer.order < candidate.order && offer.bytes() > 0
        };
        let offer = self.0.iter_mut().find(has_it);
        let Some(offer) = offer.filter(|offer| is_senders(offer)) else {
            return;
        };
        if offer.candidates.len() >= UNANSWERED_CANDIDATES_MAX {
            offer.candidates.remove(0);
        }
        offer.candidates.push(candidate);
    }

    /// Schedules the redelivery of acknowledged offers to `by`, another connection of the master.
    pub(crate) fn give_to(&mut self, by: SessionKey, at: Now) {
        for offer in self.0.iter_mut() {
            offer.stage = match std::mem::replace(&mut offer.stage, Stage::UnderWay) {
                Stage::UnderWay => Stage::UnderWay,
                Stage::Had(frame) | Stage::Due(frame, ..) => Stage::Due(frame, by, at),
            };
        }
    }

    /// Cancels redeliveries to a master connection that has ended or lost its slot. The offers wait for the next
    /// connection.
    pub(crate) fn take_from(&mut self, by: SessionKey) {
        for offer in self.0.iter_mut() {
            offer.stage = match std::mem::replace(&mut offer.stage, Stage::UnderWay) {
                Stage::Due(frame, to, _) if to == by => Stage::Had(frame),
                stage @ (Stage::UnderWay | Stage::Had(_) | Stage::Due(..)) => stage,
            };
        }
    }

    #[inline]
    pub(crate) fn holds(&self, viewer: &str) -> bool {
        let mut offers = self.0.iter();
        offers.any(|offer| offer.is_due() && *offer.viewer == *viewer)
    }

    #[inline]
    pub(crate) fn is_of(&self, viewer: &str) -> bool {
        self.0.iter().any(|offer| *offer.viewer == *viewer)
    }

    pub(crate) fn awaited(&self, viewer: &str) -> Option<AwaitedMaster> {
        let offer = self.0.iter().find(|offer| *offer.viewer == *viewer)?;
        match &offer.stage {
            Stage::Had(_) => Some(AwaitedMaster::Next),
            Stage::Due(frame, _, at) if !frame.is_empty() => Some(AwaitedMaster::Current(*at)),
            Stage::UnderWay | Stage::Due(..) => None,
        }
    }

    /// Removes an offer whose redelivery is due at `now`, and returns it with its frame.
    pub(crate) fn take_due(&mut self, now: Now) -> Option<(Offer, Box<[u8]>)> {
        let due = |offer: &Offer| matches!(offer.stage, Stage::Due(_, _, at) if at <= now);
        let mut offer = self.0.take_first(due)?;
        match std::mem::replace(&mut offer.stage, Stage::UnderWay) {
            Stage::UnderWay => None,
            Stage::Had(frame) | Stage::Due(frame, ..) => Some((offer, frame)),
        }
    }

    /// Removes expired offers. Returns `true` if messages were waiting for the redelivery of one of them.
    pub(crate) fn expire(&mut self, now: Now) -> bool {
        let is_over = |offer: &Offer| offer.expires <= now;
        let releases = self.0.iter().any(|offer| is_over(offer) && offer.is_due());
        self.0.retain(|offer| !is_over(offer));
        releases
    }

    /// Frees memory by dropping the candidates of the oldest offer that has any. If no offer has candidates, drops the
    /// oldest frame. Returns `false` if there is nothing to drop. If messages are waiting for the redelivery of a
    /// dropped frame, they are released when the redelivery is due.
    pub(crate) fn evict(&mut self) -> bool {
        let mut offers = self.0.iter_mut();
        if let Some(offer) = offers.find(|offer| !offer.candidates.is_empty()) {
            offer.candidates.take();
            return true;
        }
        let Some(place) = self.0.iter().position(|offer| offer.bytes() > 0) else {
            return false;
        };
        let mut offer = self.0.remove(place);
        if let Stage::Due(frame, ..) = &mut offer.stage {
            *frame = Box::default();
            self.0.push(offer);
        }
        true
    }

    /// Returns when the next acknowledged offer must be redelivered or expires. If `reached` is `false`, the master
    /// cannot receive messages, and no redelivery is due.
    pub(crate) fn next_due(&self, reached: bool) -> Option<Now> {
        let due = self.0.iter().filter_map(|offer| match offer.stage {
            Stage::UnderWay => None,
            Stage::Due(_, _, at) if reached => Some(at.min(offer.expires)),
            Stage::Had(_) | Stage::Due(..) => Some(offer.expires),
        });
        due.min()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.0.iter().map(Offer::bytes).sum()
    }

    /// Returns `true` if none of the offers stores a frame.
    pub(crate) fn is_idle(&self) -> bool {
        self.0.iter().all(|offer| offer.bytes() == 0)
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Offer {
    fn is_due(&self) -> bool {
        matches!(self.stage, Stage::Due(..))
    }

    fn bytes(&self) -> usize {
        let candidates = self.candidates.iter().map(|one| one.frame.len());
        match &self.stage {
            Stage::UnderWay => 0,
            Stage::Had(frame) | Stage::Due(frame, ..) => frame.len() + candidates.sum::<usize>(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(slot: u32) -> SessionKey {
        SessionKey::new(slot, 0)
    }

    impl Unanswered {
        fn had(&mut self, order: u64) -> bool {
            self.confirmed(order, b"one", None, |_| None).is_some()
        }
    }

    fn of(viewers: &[&str]) -> Unanswered {
        let mut offers = Unanswered::default();
        for (order, viewer) in (1..).zip(viewers) {
            offers.begin(viewer, key(9), (order, Now(100)));
        }
        offers
    }

    #[test]
    fn an_offer_that_was_had_is_due_once_at_the_next_master() {
        let mut offers = of(&["v1", "v2"]);
        assert!(offers.had(1) && !offers.had(7));
        assert_eq!((offers.next_due(true), offers.bytes()), (Some(Now(100)), 3));
        offers.give_to(key(2), Now(20));
        assert!(offers.holds("v1") && !offers.holds("v2"));
        assert!(offers.take_due(Now(19)).is_none());
        offers.take_from(key(2));
        assert!(!offers.holds("v1"));
        offers.give_to(key(3), Now(30));
        let (offer, frame) = offers.take_due(Now(30)).expect("it is due");
        assert_eq!((&*offer.viewer, &*frame), ("v1", &b"one"[..]));
        assert!(offers.take_due(Now(99)).is_none() && offers.is_idle());
    }

    #[test]
    fn it_ends_by_an_answer_a_newer_one_a_close_and_its_time() {
        let ends: [fn(&mut Unanswered); 4] = [
            |offers| assert!(!offers.end("v1"), "nobody waits for it"),
            |offers| {
                offers.begin("v1", key(9), (5, Now(100)));
            },
            |offers| offers.end_of(key(9)),
            |offers| assert!(!offers.expire(Now(100)), "nobody waits for it"),
        ];
        for end in ends {
            let mut offers = of(&["v1"]);
            end(&mut offers);
            assert!(!offers.had(1));
        }
    }

    #[test]
    fn candidates_of_its_sender_are_kept_with_an_offer_that_was_had() {
        let mut offers = of(&["v1", "v2"]);
        let follow = |offers: &mut Unanswered, viewer, order, of| {
            let frame = Box::from(*b"candidate");
            offers.followed(viewer, Candidate { order, frame }, |_| of);
            offers.bytes()
        };
        assert_eq!(follow(&mut offers, "v1", 3, true), 0, "it is under way");
        assert!(offers.had(1) && offers.had(2));
        assert_eq!(follow(&mut offers, "v1", 4, false), 6, "another's");
        assert_eq!(follow(&mut offers, "v2", 1, true), 6, "before its offer");
        for order in 5..40 {
            follow(&mut offers, "v1", order, true);
        }
        assert_eq!(offers.bytes(), 6 + 9 * UNANSWERED_CANDIDATES_MAX);
        offers.give_to(key(2), Now(20));
        let (offer, _) = offers.take_due(Now(20)).expect("it is due");
        let orders: Vec<u64> = offer.candidates.iter().map(|one| one.order).collect();
        assert_eq!(orders, Vec::from_iter(8..40), "the newest, in order");
        // Candidates are evicted first, and then their offer.
        follow(&mut offers, "v2", 50, true);
        assert!(offers.evict() && offers.bytes() == 3 && offers.evict() && offers.is_idle());
        let found = follow(&mut offers, "v2", 51, true);
        assert_eq!(found, 0, "nothing that it is kept with");
    }

    #[test]
    fn a_channel_has_a_bound() {
        let mut offers = Unanswered::default();
        for order in 0..=UNANSWERED_PER_CHANNEL_MAX as u64 {
            offers.begin(&order.to_string(), key(9), (order, Now(100)));
        }
        assert!(!offers.had(0) && offers.had(1));
        offers.give_to(key(2), Now(20));
        let waited = offers.begin("newest", key(9), (99, Now(100)));
        assert!(waited && offers.had(2) && offers.evict() && !offers.evict());
    }
}
