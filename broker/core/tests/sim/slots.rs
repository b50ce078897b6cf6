//! Slots of channels, as an operator sees them between two turns: the newest connection has its slot, messages go to
//! that one alone, and those who watch know who is there.

use crate::sim::frames::WebSocket;
use crate::sim::records::Record;
use crate::sim::socket::{ConnId, Stage};
use crate::sim::world::World;
use broker_core::limits::{
    BRIEF_MS, PENDING_CANDIDATES_MAX, PENDING_KEYS_MAX, SUPERSEDED_PER_SLOT_MAX,
};
use broker_core::machine::Machine;
use broker_core::presence::Presence;
use broker_core::shard::{ChannelView, PeerView, PendingView, Question, Reply, Towards};
use codec::signal::Action;
use std::collections::{BTreeMap, BTreeSet};

/// A channel's ARN, and a viewer's client id; none for the master.
type Slot = (String, Option<String>);

/// Slots of one shard, as read after its last step.
#[derive(Default)]
pub(crate) struct Slots {
    holders: BTreeMap<Slot, ConnId>,
    /// Since when a slot is vacant that somebody superseded had, and how many of these there are.
    pub(crate) vacant: BTreeMap<Slot, (u64, usize)>,
    /// Since when something is kept for somebody who is connected.
    pub(crate) kept: BTreeMap<(Slot, String), u64>,
    /// Sums over its channels: kept messages, their bytes, and waiting calls.
    pub(crate) pending: (u64, u64, u64),
}

/// The connection of a peer's address.
fn conn_of(peer: &PeerView) -> ConnId {
    usize::from(peer.remote.port()) - 1024
}

impl World {
    /// Whether a WebSocket is a member of its channel.
    pub(crate) fn is_member(&self, conn: ConnId) -> bool {
        let socket = &self.sockets[conn];
        let open = |ws: &WebSocket| ws.closed.is_none();
        matches!(socket.stage, Stage::Open) && !socket.ended && socket.ws.as_ref().is_some_and(open)
    }

    /// The number of current viewers of a channel.
    pub(crate) fn viewers_of(&self, shard: usize, arn: &str) -> usize {
        let holders = self.slots[shard].holders.keys();
        let viewers = holders.filter(|(of, viewer)| of == arn && viewer.is_some());
        viewers.count()
    }

    /// Whether a connection has its slot, or had it before this step.
    pub(crate) fn holds_slot(&self, conn: ConnId) -> bool {
        let socket = &self.sockets[conn];
        let ws = socket.ws.as_ref();
        ws.is_some_and(|ws| {
            let slot = (ws.arn.clone(), ws.viewer.clone());
            self.slots[socket.shard].holders.get(&slot) == Some(&conn)
        })
    }

    pub(crate) fn ask(&mut self, shard: usize, question: Question) -> Reply {
        let at = self.at();
        self.shards[shard].inspect(question, at)
    }

    /// After a step: each channel of a shard is as its record says, and its connections are the newest ones.
    pub(crate) fn look_at_channels(&mut self, shard: usize) {
        let before = std::mem::take(&mut self.slots[shard].holders);
        self.slots[shard].pending = (0, 0, 0);
        let (mut kept, mut vacant) = (BTreeMap::new(), BTreeMap::new());
        let mut told = Vec::new();
        for number in 0..self.plan.channels {
            let name = format!("channel{number}");
            let question = Question::Channel(self.identity(&name));
            let Reply::Channel(found) = self.ask(shard, question) else {
                panic!("a channel is answered by a channel");
            };
            let record = self.records.visible(&name).cloned();
            let record = record.filter(|_| self.home(&name) == shard);
            assert_eq!(found.is_some(), record.is_some(), "whether {name} is here");
            let (Some(found), Some(record)) = (found, record) else {
                continue;
            };
            self.record_is(&found, &record);
            self.members_are(shard, &found, &before);
            self.note_kept(shard, &found.pending, &record, &mut kept);
            self.note_vacant(shard, &record.arn, &mut vacant);
            let pending = &mut self.slots[shard].pending;
            pending.2 += found.waiting_calls as u64;
            if let Some(presence) = found.presence.clone() {
                let doubtful = self.presence_is(&presence, &found);
                told.push((presence, doubtful));
            }
        }
        self.read_presence(shard);
        for (presence, doubtful) in told {
            self.told_is(shard, &presence, doubtful);
        }
        for (what, since) in &mut kept {
            *since = self.slots[shard].kept.get(what).copied().unwrap_or(*since);
        }
        for (slot, (since, many)) in &mut vacant {
            if let Some((before, same)) = self.slots[shard].vacant.get(slot)
                && same == many
            {
                *since = *before;
            }
        }
        (self.slots[shard].kept, self.slots[shard].vacant) = (kept, vacant);
        self.note_superseded(shard);
    }

    fn record_is(&self, found: &ChannelView, wanted: &Record) {
        let record = &found.record;
        let tags = record.tags.iter();
        let tags = tags.map(|tag| (tag.key.to_string(), tag.value.to_string()));
        let tags: Vec<_> = tags.collect();
        let put = &wanted.put;
        assert_eq!(record.arn.as_str(), wanted.arn);
        assert_eq!(u64::from(record.ttl_seconds), put.ttl, "{}", wanted.arn);
        assert_eq!(record.version.as_str(), put.version, "{}", wanted.arn);
        assert_eq!(tags, put.tags, "{}", wanted.arn);
    }

    /// Checks the holders of a channel's slots.
    fn members_are(&mut self, shard: usize, found: &ChannelView, before: &BTreeMap<Slot, ConnId>) {
        let arn = found.record.arn.as_str();
        let most = self.settings.limits.viewers_per_channel;
        assert!(found.viewers.len() <= most, "viewers of {arn}");
        for peer in found.master.iter().chain(&found.viewers) {
            let conn = conn_of(peer);
            self.peer_is(shard, arn, peer, conn);
            let slot = (arn.to_owned(), peer.client_id.as_deref().map(str::to_owned));
            let twice = self.slots[shard].holders.insert(slot, conn);
            assert_eq!(twice, None, "one connection has a slot");
        }
        let (mut open, mut newest) = (BTreeMap::<Slot, usize>::new(), BTreeMap::new());
        for conn in self.keys[shard].values().copied() {
            let Some(ws) = self.sockets[conn].ws.as_ref().filter(|ws| ws.arn == arn) else {
                continue;
            };
            let slot = (ws.arn.clone(), ws.viewer.clone());
            if self.is_member(conn) {
                *open.entry(slot.clone()).or_default() += 1;
                let last = newest.entry(slot).or_insert((ws.order, conn));
                *last = (*last).max((ws.order, conn));
            }
        }
        let mut superseded = 0;
        for (slot, many) in open {
            let holder = self.slots[shard].holders.get(&slot).copied();
            let others = many - usize::from(holder.is_some());
            superseded += others;
            assert!(others <= SUPERSEDED_PER_SLOT_MAX, "superseded of {slot:?}");
            let (_, newest) = newest[&slot];
            let former = before.get(&slot).copied();
            let newest_lost = self.sockets[newest].ws.as_ref().is_some_and(|it| it.lost);
            let newest_lost = newest_lost || self.has_newer(&slot, newest);
            match holder {
                Some(holder) => assert_eq!(holder, newest, "who has {slot:?}"),
                None => assert!(newest_lost, "{newest} has no slot {slot:?}"),
            }
            if let (Some(holder), Some(former)) = (holder, former)
                && self.sockets[holder].ws.as_ref().is_some_and(|it| it.lost)
                && former != holder
            {
                self.hit("slot given back");
                let ws = self.sockets[former].ws.as_ref().expect("it had a slot");
                let brief = self.now <= ws.opened + BRIEF_MS && ws.frames == 0;
                assert!(brief, "{former} gave {slot:?} back");
            }
        }
        assert_eq!(found.superseded, superseded, "superseded of {arn}");
    }

    /// Whether a connection that is open no more came behind this one.
    fn has_newer(&self, (arn, viewer): &Slot, conn: ConnId) -> bool {
        let order = |conn: &ConnId| self.sockets[*conn].ws.as_ref().map(|ws| ws.order);
        let all = self.sockets.iter().filter_map(|socket| socket.ws.as_ref());
        let mut same = all.filter(|ws| ws.arn == *arn && ws.viewer == *viewer);
        same.any(|ws| Some(ws.order) > order(&conn))
    }

    /// A member is as the wire has shown it.
    fn peer_is(&self, shard: usize, arn: &str, found: &PeerView, conn: ConnId) {
        let socket = &self.sockets[conn];
        let ws = socket.ws.as_ref().expect("a member is a WebSocket");
        let fine = self.is_member(conn) && socket.shard == shard;
        assert!(fine, "connection {conn} of {arn} is closed: {ws:?}");
        let got = (arn, found.client_id.as_deref());
        assert_eq!(got, (&*ws.arn, ws.viewer.as_deref()));
        assert_eq!(found.tls, socket.tls);
        let age = self.now - ws.opened;
        assert_eq!(found.connected_at.0, self.wall - age);
        assert_eq!(found.last_frame_age_ms, self.now - ws.heard);
        assert_eq!(found.messages_in, ws.messages_in, "messages of {conn}");
        assert_eq!(found.messages_out, ws.messages_out, "messages to {conn}");
        assert_eq!(
            found.outbox_bytes,
            self.outbox_bytes(conn),
            "bytes that wait"
        );
        let unconfirmed = self.unacknowledged_bytes(conn);
        let (found, exact) = (found.unconfirmed_bytes, self.confirms_exactly(conn));
        assert!(
            found == unconfirmed || !exact && found < unconfirmed,
            "connection {conn} has {found} bytes to confirm, not {unconfirmed}"
        );
    }

    /// Checks the bounds of a channel's queue, and notes messages that are queued for a connected peer.
    fn note_kept(
        &mut self,
        shard: usize,
        pending: &[PendingView],
        record: &Record,
        kept: &mut BTreeMap<(Slot, String), u64>,
    ) {
        let mut keys: BTreeMap<(bool, &str), [usize; 3]> = BTreeMap::new();
        let mut bytes = 0;
        for one in pending {
            bytes += one.bytes;
            let to_master = one.towards == Towards::Master;
            let key = keys.entry((to_master, &one.viewer)).or_default();
            key[match one.action {
                Action::SdpOffer => 0,
                Action::SdpAnswer => 1,
                Action::IceCandidate => 2,
            }] += 1;
            let slot = (
                record.arn.clone(),
                (!to_master).then(|| one.viewer.to_string()),
            );
            if self.slots[shard].holders.contains_key(&slot) {
                kept.insert((slot, one.viewer.to_string()), self.now);
            }
        }
        let most = self.settings.limits.pending_bytes_per_channel;
        let holds = bytes <= most && keys.len() <= PENDING_KEYS_MAX;
        assert!(holds, "{}", record.arn);
        for (key, [offers, answers, candidates]) in keys {
            let fine = offers <= 1 && answers <= 1 && candidates <= PENDING_CANDIDATES_MAX;
            assert!(fine, "kept for {key:?} of {}", record.arn);
        }
        let sums = &mut self.slots[shard].pending;
        (sums.0, sums.1) = (sums.0 + pending.len() as u64, sums.1 + bytes as u64);
    }

    fn note_vacant(&self, shard: usize, arn: &str, vacant: &mut BTreeMap<Slot, (u64, usize)>) {
        for conn in self.keys[shard].values().copied() {
            let Some(ws) = self.sockets[conn].ws.as_ref().filter(|ws| ws.arn == arn) else {
                continue;
            };
            let slot = (ws.arn.clone(), ws.viewer.clone());
            if self.is_member(conn) && !self.slots[shard].holders.contains_key(&slot) {
                let (_, many) = vacant.entry(slot).or_insert((self.now, 0));
                *many += 1;
            }
        }
    }

    /// Which connections lost their slots in this step, or have them again.
    fn note_superseded(&mut self, shard: usize) {
        for conn in self.keys[shard].values().copied().collect::<Vec<_>>() {
            if !self.is_member(conn) {
                continue;
            }
            let holds = self.holds_slot(conn);
            let ws = self.sockets[conn].ws.as_mut().expect("a member");
            let lost = !holds && !ws.superseded;
            (ws.superseded, ws.lost) = (!holds, ws.lost || !holds);
            if lost {
                self.hit("connection superseded");
            }
        }
    }

    /// Reported presence equals the members and the viewers with pending messages. Returns whether the master is
    /// doubtful.
    fn presence_is(&mut self, told: &Presence, found: &ChannelView) -> bool {
        let arn = found.record.arn.as_str();
        let got = told.viewers as usize;
        assert_eq!(got, found.viewers.len(), "viewers of {arn}");
        match (&found.master, &told.master) {
            (None, there) => assert!(there.is_none(), "a master of {arn}"),
            (Some(peer), Some(there)) => {
                assert_eq!(there.remote, peer.remote, "which master of {arn}");
                self.sockets[conn_of(peer)].gone_told = None;
            }
            (Some(peer), None) => self.master_may_be_gone(conn_of(peer)),
        }
        let kept = found.pending.iter();
        let kept = kept.filter(|one| one.towards == Towards::Master);
        let kept: BTreeSet<&str> = kept.map(|one| &*one.viewer).collect();
        let waiting: BTreeSet<&str> = told.waiting.iter().map(|one| &*one.client_id).collect();
        let missing = kept.difference(&waiting).count();
        let fine = missing <= told.more as usize;
        assert!(fine, "{missing} wait for {arn} unsaid");
        let doubtful = told.master.is_some_and(|master| master.is_doubtful());
        let doubtful = doubtful || told.master.is_none() && found.master.is_some();
        let called = |client: &&&str| !self.ledger.callers.contains(**client);
        let others = waiting.difference(&kept).filter(called).count();
        let fine = others == 0 || doubtful;
        assert!(fine, "{waiting:?} wait for {arn}, not {kept:?}");
        doubtful
    }

    /// A master is reported gone that has neither answered a ping nor confirmed a message for long.
    fn master_may_be_gone(&mut self, conn: ConnId) {
        let presence = self.settings.presence;
        let socket = &self.sockets[conn];
        let ws = socket.ws.as_ref().expect("a member");
        let silent = ws
            .pinged
            .is_some_and(|at| at + presence.gone_ms <= self.now);
        let first = socket.written.iter().find(|one| one.payload.is_some());
        let doubt = presence.doubt_ms + presence.gone_ms;
        let doubtful = first.is_some_and(|one| one.at + doubt <= self.now);
        let told = socket.gone_told.is_some();
        let fine = silent || doubtful || told;
        assert!(fine, "{conn} is gone for no reason: {ws:?}");
        self.sockets[conn].gone_told.get_or_insert(self.now);
        if !told {
            self.hit("master reported gone");
        }
    }
}
