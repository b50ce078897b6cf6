//! The clients' own knowledge of messages, by their payloads: who sent them to whom, who got them, in which order and
//! how often, and which ends of each a shard may have counted.

use crate::sim::records::name_of;
use crate::sim::socket::{ConnId, Role};
use crate::sim::verdict::delivery;
use crate::sim::words::Offer;
use crate::sim::world::World;
use broker_core::event::{Kind, Outcome};
use broker_core::machine::Machine;
use broker_core::settings::Settings;
use codec::signal::Action;
use std::collections::{BTreeMap, BTreeSet};

/// All messages of a world.
#[derive(Default)]
pub(crate) struct Ledger {
    sent: BTreeMap<String, Sent>,
    /// Per sender and recipient: the first step and the number of each first delivery.
    deliveries: BTreeMap<(ConnId, Role), Vec<(u64, u64)>>,
    /// Behind the number of the last one, per sender and connection.
    last: BTreeMap<(ConnId, ConnId), u64>,
    pub(crate) delivered: u64,
    /// An offer that was confirmed, and a candidate of it, may come once more.
    repeats: bool,
    /// A test doubles messages, holds them back or sends them elsewhere.
    scripted: bool,
    /// Offers of Alexa calls that no shard has counted.
    pub(crate) calls: u64,
    /// The senders of such calls.
    pub(crate) callers: BTreeSet<String>,
}

#[derive(Default)]
struct Sent {
    number: u64,
    from: ConnId,
    role: Role,
    recipient: Option<String>,
    call: bool,
    /// The action and the step and time in which it came, if its text is right.
    came: Option<(Action, u64, u64)>,
    delivered: Vec<ConnId>,
    confirmed: bool,
    repeated: bool,
}

impl Sent {
    /// Where it is kept: the channel, whether it is for the master, and the viewer at its other end.
    fn key(&self) -> Option<(&str, bool, &str)> {
        match (&self.role, &self.recipient) {
            (Role::Viewer(arn, viewer), _) => Some((arn, true, viewer)),
            (Role::Master(arn), Some(viewer)) => Some((arn, false, viewer)),
            (Role::Master(_), None) | (Role::Caller, _) => None,
        }
    }

    fn arn(&self) -> Option<&str> {
        self.key().map(|(arn, ..)| arn)
    }
}

impl Ledger {
    /// Nothing yet.
    pub(crate) fn new(settings: &Settings, scripted: bool) -> Self {
        Self {
            repeats: settings.signaling.repeat_offers_ms > 0,
            scripted,
            ..Self::default()
        }
    }

    /// A client wrote a message, or a caller an offer in the name of `role`.
    pub(crate) fn wrote(
        &mut self,
        from: ConnId,
        role: Role,
        recipient: Option<String>,
        payload: &str,
        call: bool,
    ) {
        let sent = Sent {
            number: self.sent.len() as u64,
            from,
            role,
            recipient,
            call,
            ..Sent::default()
        };
        let old = self.sent.insert(canonical(payload), sent);
        assert!(old.is_none(), "payloads are unique");
    }

    /// The last byte of a message came that breaks no rule, in this step and at this time.
    pub(crate) fn came(&mut self, _conn: ConnId, action: Action, payload: &str, at: (u64, u64)) {
        let sent = self.sent.get_mut(&canonical(payload));
        sent.expect("it was written").came = Some((action, at.0, at.1));
    }

    /// The body of an Alexa call came.
    pub(crate) fn call_came(&mut self, offer: &Offer, at: (u64, u64)) {
        self.calls += 1;
        self.callers.insert(offer.sender.clone());
        self.came(0, Action::SdpOffer, &offer.payload, at);
    }

    /// Whether an answer, as it is quoted, is one that a master sent to the sender of an Alexa call.
    pub(crate) fn answers(&self, offer: &Offer, quoted: &str) -> bool {
        let sent = self.sent.get(quoted.trim_matches('"'));
        sent.is_some_and(|sent| {
            let answer = matches!(sent.came, Some((Action::SdpAnswer, ..)));
            let own = sent.role == Role::Master(offer.arn.clone());
            let named = sent.recipient.as_ref() == Some(&offer.sender);
            answer && (own && named || self.scripted)
        })
    }

    /// A client's machine has confirmed a message.
    ///
    /// # Panics
    /// When one has before: only an offer of a call goes to the next one all the same.
    pub(crate) fn confirmed(&mut self, payload: &str) {
        let sent = self.sent.get_mut(payload).expect("somebody sent it");
        let again = std::mem::replace(&mut sent.confirmed, true);
        let fine = !again || sent.call || sent.repeated || self.scripted;
        assert!(fine, "{payload} was confirmed twice");
    }

    /// Whether it is the offer of a call; and its action.
    pub(crate) fn facts(&self, payload: &str) -> (bool, Action) {
        let sent = self.sent.get(payload).expect("somebody sent it");
        (sent.call, sent.came.expect("it came").0)
    }

    /// A message was queued for a client.
    ///
    /// # Panics
    /// When it is not for this client, was not sent, or is another text.
    pub(crate) fn queued(&self, conn: ConnId, role: &Role, text: &str, payload: &str) {
        let sent = self.sent.get(payload);
        let sent = sent.unwrap_or_else(|| panic!("nobody sent {text}"));
        let (action, ..) = sent.came.unwrap_or_else(|| panic!("{text} has not come"));
        if self.scripted {
            return; // it may be misdirected
        }
        let sender = match (&sent.role, role) {
            (Role::Viewer(from, sender), Role::Master(at)) if from == at => Some(Some(&**sender)),
            (Role::Master(from), Role::Viewer(at, id)) if from == at => {
                (sent.recipient.as_ref() == Some(id)).then_some(None)
            }
            _ => None,
        };
        let wanted = sender.map(|sender| delivery(action, payload, sender));
        assert_eq!(Some(text), wanted.as_deref(), "connection {conn} got it");
    }

    /// A whole message was handed to the kernel for a client, its first byte in step `begun`.
    ///
    /// # Panics
    /// When it comes twice on one connection, behind its confirmation, or out of order.
    pub(crate) fn delivered(&mut self, conn: ConnId, role: &Role, begun: u64, payload: &str) {
        self.delivered += 1;
        let sent = self.sent.get_mut(payload).expect("it was queued");
        if self.scripted {
            return;
        }
        let twice = sent.delivered.contains(&conn);
        assert!(!twice, "connection {conn} got {payload} twice");
        if sent.confirmed && !sent.call {
            let action = sent.came.map(|(action, ..)| action);
            let offer = action != Some(Action::SdpAnswer) && matches!(role, Role::Master(_));
            let again = std::mem::replace(&mut sent.repeated, true);
            let fine = self.repeats && offer && !again;
            assert!(fine, "{payload} was confirmed before");
        }
        let again = !sent.delivered.is_empty();
        sent.delivered.push(conn);
        if sent.call {
            return;
        }
        let last = self.last.entry((sent.from, conn)).or_default();
        assert!(*last <= sent.number, "{payload} came behind a newer one");
        *last = sent.number + 1;
        if again {
            return;
        }
        let others = self.deliveries.entry((sent.from, role.clone()));
        let others = others.or_default();
        for &(other_begun, other) in others.iter() {
            let in_order = (other < sent.number && other_begun <= begun)
                || (other > sent.number && other_begun >= begun);
            assert!(in_order, "{payload} came out of order");
        }
        others.push((begun, sent.number));
    }

    /// Messages that came, with their action, in the order in which they came.
    fn all(&self) -> Vec<(&Sent, Action, u64, u64)> {
        let all = self.sent.values();
        let all =
            all.filter_map(|sent| sent.came.map(|(action, step, at)| (sent, action, step, at)));
        let mut all: Vec<_> = all.collect();
        all.sort_by_key(|(sent, _, step, _)| (*step, sent.number));
        all
    }
}

fn canonical(payload: &str) -> String {
    payload.replace('-', "+").replace('_', "/")
}

/// Candidates of one viewer that are kept.
const CANDIDATES: usize = 32;

impl World {
    /// At the end: each end that was counted has as many messages, by their ids, to which it may have happened.
    pub(crate) fn ends_are_explained(&self) {
        if self.is_scripted() {
            return;
        }
        let all = self.ledger.all();
        for shard in 0..self.shards.len() {
            let counters = self.shards[shard].snapshot().counters;
            for outcome in [Outcome::Expired, Outcome::Overwritten, Outcome::Withdrawn] {
                for action in Action::ALL {
                    let kind = Kind::Known(action).index();
                    let counted = counters.outcomes[kind][outcome.index()];
                    let may = |place: &usize| {
                        let (sent, own, ..) = &all[*place];
                        let home = sent.arn().map(|arn| self.home(name_of(arn)));
                        let here = *own == action && home == Some(shard);
                        here && (!sent.confirmed || sent.call)
                            && self.may_end(&all, *place, outcome)
                    };
                    let most = (0..all.len()).filter(may).count() as u64;
                    assert!(
                        counted <= most,
                        "{counted} of {action:?} are {outcome:?} on shard {shard}, of {most}"
                    );
                }
            }
            let sum = |outcome: Outcome| {
                let ended = counters.outcomes.iter();
                ended.map(|kind| kind[outcome.index()]).sum::<u64>()
            };
            let quotas = &self.settings.quotas;
            assert!(!quotas.off || sum(Outcome::Throttled) == 0, "no quotas");
            let most = self.settings.pending_bytes_of_shard();
            assert!(most < LARGE || sum(Outcome::Evicted) == 0, "nothing pays");
            let most = self.settings.unconfirmed_bytes_of_shard();
            let unproved = sum(Outcome::DeliveredUnproved);
            assert!(most < LARGE || unproved == 0, "nothing makes room");
        }
    }

    /// Whether a message that came may have ended so.
    fn may_end(&self, all: &[(&Sent, Action, u64, u64)], place: usize, outcome: Outcome) -> bool {
        let (sent, action, step, at) = all[place];
        let Some((arn, to_master, viewer)) = sent.key() else {
            return false;
        };
        let ws = self.sockets[sent.from].ws.as_ref();
        let late = ws.is_some_and(|ws| ws.lost) || self.standstill.1 > 0;
        match outcome {
            Outcome::Expired => {
                let states = self.records.states(name_of(arn), 0).flatten();
                let ttl = states.map(|record| record.put.ttl * 1000).min();
                let most = self.settings.timeouts.alexa_wait_max_ms;
                let ttl = ttl.map(|ttl| match sent.call && most > 0 {
                    true => ttl.min(most),
                    false => ttl,
                });
                late || ttl.is_some_and(|ttl| at + ttl <= self.now)
            }
            Outcome::Overwritten => {
                let newer = all[place + 1..].iter().filter(|(other, ..)| {
                    other.key() == Some((arn, to_master, viewer)) && other.call == sent.call
                });
                let of = |wanted| newer.clone().filter(|(_, own, ..)| *own == wanted).count();
                match action {
                    Action::SdpOffer => of(Action::SdpOffer) > 0,
                    Action::SdpAnswer => of(Action::SdpAnswer) > 0,
                    Action::IceCandidate => {
                        of(Action::SdpOffer) > 0 || of(Action::IceCandidate) >= CANDIDATES
                    }
                }
            }
            _ => {
                let mut states = self.records.states(name_of(arn), step);
                let deleted = states.any(|it| it.is_none_or(|it| it.arn != arn));
                let for_call = !to_master && self.ledger.callers.contains(viewer);
                let mut others = self.sockets.iter().filter_map(|socket| socket.ws.as_ref());
                let closed = others.any(|ws| {
                    ws.said_goodbye && ws.arn == arn && ws.viewer.as_deref() == Some(viewer)
                });
                sent.call || deleted || for_call || late || closed && to_master
            }
        }
    }
}

/// More bytes than any world keeps where nobody has to make room.
const LARGE: usize = 1 << 20;
