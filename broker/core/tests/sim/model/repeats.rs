//! Offers that a master had and did not answer: its next connection gets each once more. See codec/PROTOCOL.md, KEEP-9.

use super::messages::Passing;
use super::{ConnId, Model, Queued, Stage};
use broker_core::journal::EndReason;
use broker_core::limits::{
    UNANSWERED_BYTES_PARTS, UNANSWERED_CANDIDATES_MAX, UNANSWERED_PER_CHANNEL_MAX,
};
use broker_core::shard::{AwaitedMaster, Passage};
use broker_core::time::Now;
use codec::signal::Action;
use std::collections::BTreeMap;

/// An offer without an answer.
pub(crate) struct Unanswered {
    number: usize,
    viewer: String,
    from: ConnId,
    /// Counted from when it went on its way, if a test held it back.
    expires: u64,
    /// The candidates that followed it and were confirmed.
    candidates: Vec<usize>,
    stage: Offered,
    /// It made room for others.
    forgotten: bool,
    /// Its viewer has closed: it is over at the next tick.
    closed: bool,
}

/// How far it has come.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Offered {
    /// No master has confirmed it.
    UnderWay,
    Had,
    /// This master gets it then.
    Due(ConnId, u64),
}

impl Unanswered {
    /// Whether its viewer's messages wait for it.
    fn is_due(&self) -> bool {
        matches!(self.stage, Offered::Due(..))
    }

    fn is_due_by(&self, now: u64) -> bool {
        matches!(self.stage, Offered::Due(_, at) if at <= now)
    }
}

impl Model {
    fn repeats(&self) -> bool {
        self.settings.signaling.repeat_offers_ms > 0
    }

    /// Whether messages of a viewer wait for its offer.
    pub(crate) fn holds(&self, channel: usize, viewer: &str) -> bool {
        let mut offers = self.channels[channel].unanswered.iter();
        offers.any(|offer| offer.is_due() && offer.viewer == viewer)
    }

    /// The master that gets the offer of a viewer's connection again.
    pub(crate) fn awaited(&self, channel: usize, id: ConnId) -> Option<AwaitedMaster> {
        let viewer = self.conns[id].ws.as_ref()?.viewer.as_ref()?;
        let mut offers = self.channels[channel].unanswered.iter();
        let offer = offers.find(|offer| offer.viewer == *viewer && !offer.forgotten)?;
        match offer.stage {
            Offered::UnderWay => None,
            Offered::Had => Some(AwaitedMaster::Next),
            Offered::Due(_, at) => Some(AwaitedMaster::Current(Now(at))),
        }
    }

    /// Some offers of a channel are over. Whether messages waited for one.
    fn offers_end(&mut self, channel: usize, over: impl Fn(&Unanswered) -> bool) -> bool {
        let offers = &mut self.channels[channel].unanswered;
        let waited = offers.iter().any(|offer| over(offer) && offer.is_due());
        offers.retain(|offer| !over(offer));
        waited
    }

    /// A master's message to a viewer is an answer, and a viewer's new offer is in place of its older one. Whether
    /// messages waited for that.
    pub(crate) fn ends_offer(&mut self, passing: &Passing) -> bool {
        let Some(viewer) = &passing.sender else {
            let answered = |offer: &Unanswered| offer.viewer == passing.recipient;
            return self.offers_end(passing.channel, answered);
        };
        let replaces = passing.action == Action::SdpOffer && passing.by.is_some();
        let waited = replaces
            && self.repeats()
            && self.offers_end(passing.channel, |offer| offer.viewer == *viewer);
        if waited {
            self.met("newer offer in place of one that was to be given once more");
        }
        waited
    }

    /// A viewer's offer has its number.
    pub(crate) fn offer_begins(&mut self, passing: &Passing, number: usize) {
        let (Some(viewer), Some(from)) = (&passing.sender, passing.by) else {
            return;
        };
        if passing.action != Action::SdpOffer || !self.repeats() {
            return;
        }
        let channel = &mut self.channels[passing.channel];
        let expires = self.now + channel.ttl * 1000;
        let offers = &mut channel.unanswered;
        assert!(offers.len() < UNANSWERED_PER_CHANNEL_MAX, "few viewers");
        offers.push(Unanswered {
            number,
            viewer: viewer.clone(),
            from,
            expires,
            candidates: Vec::new(),
            stage: Offered::UnderWay,
            forgotten: false,
            closed: false,
        });
    }

    /// A viewer's connection has left for this reason. What waits for its offer goes with the next tick.
    pub(crate) fn viewer_closes(&mut self, id: ConnId, channel: usize, reason: EndReason) {
        if reason != EndReason::PeerClosed {
            return;
        }
        let offers = &mut self.channels[channel].unanswered;
        offers.retain(|offer| offer.from != id || offer.is_due());
        let mut own = offers.iter_mut().filter(|offer| offer.from == id);
        if let Some(offer) = own.next() {
            offer.closed = true;
            self.met("viewer closed while its offer was to be given once more");
        }
    }

    /// A connection has confirmed a message: it may be an offer that its master had. Whether messages waited for others
    /// that are over.
    pub(crate) fn notes_offer(&mut self, id: ConnId, queued: Queued) -> bool {
        let message = &self.messages[queued.number];
        let offer = message.action == Action::SdpOffer && message.by.is_some() && !message.call;
        let Some(ws) = self.conns[id].ws.as_ref() else {
            return false;
        };
        let channel = ws.channel;
        if ws.viewer.is_none() && message.action == Action::IceCandidate && queued.counted {
            self.notes_candidate(channel, queued.number);
            return false;
        }
        if ws.viewer.is_some() || !offer || !queued.counted || !self.channels[channel].alive {
            return false;
        }
        let other = self.channels[channel].master.filter(|master| *master != id);
        let stage = match other {
            None => Offered::Had,
            Some(by) => Offered::Due(by, self.repeats_at(by)),
        };
        let waited = self.offers_expire(channel);
        let offers = self.channels[channel].unanswered.iter_mut();
        let mut same = offers.filter(|offer| offer.number == queued.number);
        if let Some(offer) = same.find(|offer| offer.stage == Offered::UnderWay) {
            offer.stage = stage;
            self.forget_too_many(self.channels[channel].home);
            self.drop_older(channel, queued.number);
        }
        if waited {
            self.met("offer over when another one was confirmed: what waited for it goes");
        }
        waited
    }

    /// A master has a candidate: it is kept with the offer that it followed.
    fn notes_candidate(&mut self, channel: usize, number: usize) {
        let message = &self.messages[number];
        let Some(by) = message.by.filter(|_| self.channels[channel].alive) else {
            return;
        };
        let is_open = self.conns[by].ws.is_some() && matches!(self.conns[by].stage, Stage::Open);
        let mut offers = self.channels[channel].unanswered.iter_mut();
        let offer = offers.find(|offer| {
            let had = offer.stage != Offered::UnderWay && !offer.forgotten;
            let same = offer.viewer == message.viewer && offer.number < number;
            had && same && (offer.from == by || is_open)
        });
        let Some(offer) = offer else { return };
        offer.candidates.push(number);
        if offer.candidates.len() > UNANSWERED_CANDIDATES_MAX {
            offer.candidates.remove(0);
        }
        self.forget_too_many(self.channels[channel].home);
    }

    /// A master has an offer, and so whatever its viewer sent before: that is kept no longer.
    fn drop_older(&mut self, channel: usize, offer: usize) {
        let key = self.of_key(channel, true, &self.messages[offer].viewer);
        for gone in key.into_iter().filter(|number| *number < offer) {
            self.met("kept message that its recipient had with a newer offer");
            self.overwrite(channel, gone);
        }
        self.forget_closed(channel);
    }

    /// A master gets what a former one had, once it has been there for a while.
    fn repeats_at(&self, master: ConnId) -> u64 {
        let opened = self.conns[master].ws.as_ref().map_or(0, |ws| ws.opened);
        self.now
            .max(opened + self.settings.signaling.repeat_offers_ms)
    }

    /// Another master is there.
    pub(crate) fn offers_go_to(&mut self, channel: usize, master: ConnId) {
        let at = self.repeats_at(master);
        for offer in &mut self.channels[channel].unanswered {
            if offer.stage != Offered::UnderWay {
                offer.stage = Offered::Due(master, at);
            }
        }
    }

    /// A master has left, or has lost its slot: what it was to get is for the next one.
    pub(crate) fn offers_stay_behind(&mut self, channel: usize, master: ConnId) {
        for offer in &mut self.channels[channel].unanswered {
            if matches!(offer.stage, Offered::Due(by, _) if by == master) {
                offer.stage = Offered::Had;
            }
        }
    }

    fn offers_expire(&mut self, channel: usize) -> bool {
        let now = self.now;
        let offers = &mut self.channels[channel].unanswered;
        let over = |offer: &Unanswered| offer.closed || offer.expires <= now;
        let waited = offers.iter().any(|offer| over(offer) && offer.is_due());
        offers.retain(|offer| !over(offer));
        waited
    }

    /// Whether an offer is to be given once more.
    pub(crate) fn offer_is_due(&self, channel: usize) -> bool {
        let mut offers = self.channels[channel].unanswered.iter();
        offers.any(|offer| offer.is_due_by(self.now))
    }

    /// Offers that are due go to the master, if their viewers still wait; these viewers' other messages follow.
    pub(crate) fn repeat_offers(&mut self, channel: usize) {
        let waited = self.offers_expire(channel);
        let now = self.now;
        if waited || self.offer_is_due(channel) {
            if self.member_is_due(channel) {
                self.give_up(); // whether it left before does not show
            }
            let Some(master) = self.reach(channel, None) else {
                return;
            };
            let offers = &mut self.channels[channel].unanswered;
            let due = offers.extract_if(.., |offer| offer.is_due_by(now));
            let going: Vec<Unanswered> = due.collect();
            for offer in going {
                let slots = &self.channels[channel];
                let viewer = slots.viewers.get(&offer.viewer).copied();
                let newer = |id: ConnId| {
                    let ws = self.conns[id].ws.as_ref();
                    ws.is_some_and(|ws| ws.setup[0].is_none())
                };
                let waits = viewer.is_some_and(|viewer| viewer == offer.from || newer(viewer));
                if waits && !offer.forgotten {
                    self.met("offer given once more");
                    self.record_kept(channel, offer.number, Passage::Repeated, Some(master));
                    self.copy(master, offer.number);
                    for number in offer.candidates {
                        self.met("candidate given once more with its offer");
                        self.record_kept(channel, number, Passage::Repeated, Some(master));
                        self.copy(master, number);
                    }
                } else {
                    self.met("offer not given once more: nobody waits");
                }
            }
            self.deliver_kept(channel, None);
        }
    }

    /// Frames of offers have a bound: the account with most forgets its channel's oldest.
    fn forget_too_many(&mut self, shard: usize) {
        let most = self.settings.pending_bytes_of_shard() / UNANSWERED_BYTES_PARTS;
        loop {
            let has = |offer: &Unanswered| offer.stage != Offered::UnderWay && !offer.forgotten;
            let bytes = |offer: &Unanswered| {
                self.messages[offer.number].bytes() + self.bytes_of(&offer.candidates)
            };
            let mut accounts: BTreeMap<&str, (usize, Vec<_>)> = BTreeMap::new();
            for (place, channel) in self.channels.iter().enumerate() {
                let own = channel.unanswered.iter().filter(|offer| has(offer));
                let own: usize = own.map(bytes).sum();
                if channel.alive && channel.home == shard && own > 0 {
                    let (sum, all) = accounts.entry(&channel.account).or_default();
                    *sum += own;
                    all.push((own, channel.key, place));
                }
            }
            if accounts.values().map(|(sum, _)| sum).sum::<usize>() <= most {
                return;
            }
            let by_bytes = (accounts.iter()).map(|(account, (sum, all))| (*sum, *account, all));
            let (.., all) = by_bytes.max().expect("somebody has them");
            let (.., payer) = *all.iter().max().expect("it has some");
            let offers = &mut self.channels[payer].unanswered;
            let mut with_any = offers.iter_mut().filter(|it| !it.candidates.is_empty());
            if let Some(offer) = with_any.next() {
                offer.candidates.clear();
                self.met("candidates of an offer without an answer forgotten: no room");
                continue;
            }
            let first = offers.iter().position(has).expect("it has bytes");
            if offers[first].is_due() {
                offers[first].forgotten = true; // what waits for it goes when it is due
            } else {
                offers.remove(first);
            }
            self.met("offer without an answer forgotten: no room");
        }
    }
}
