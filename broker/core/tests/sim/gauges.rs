//! Counters and gauges of a shard: they add up, agree with what the wire has shown, only grow or stay within their
//! bounds, and what they count had a cause.

use crate::sim::clients::account_of;
use crate::sim::records::Life;
use crate::sim::socket::ConnId;
use crate::sim::wire::{Item, Placed};
use crate::sim::world::{Cause, World};
use broker_core::check::ByCheck;
use broker_core::event::{CONNECTION_ROLES, ConnectionRole, Counters, Kind, Outcome};
use broker_core::journal::{END_REASONS, Unaccepted};
use broker_core::limits::ANSWER_BYTES_MAX;
use broker_core::machine::Machine;
use broker_core::record::ListedChannel;
use broker_core::shard::Snapshot;
use broker_core::time::Now;
use codec::control::ChannelStatus;
use codec::signal::Action;
use std::collections::BTreeMap;

/// Sums of the checkers for one shard, and the counters of that shard after the last step.
#[derive(Default)]
pub(crate) struct Gauges {
    /// Answers to requests, and to upgrades.
    pub(crate) requests: u64,
    pub(crate) upgrades: u64,
    pub(crate) refusals: ByCheck,
    pub(crate) ends: [u64; END_REASONS],
    /// Ends of connections without a line.
    pub(crate) ends_unlogged: u64,
    /// Lines that the log has left out.
    pub(crate) suppressed: u64,
    /// Bytes of the records of its channels.
    record_bytes: u64,
    last: Counters,
}

impl Gauges {
    /// Bytes of messages that waited before this step.
    pub(crate) fn behind(&self) -> usize {
        usize::try_from(self.last.outbox_bytes).expect("it fits")
    }

    /// Messages that were counted as delivered without a proof.
    pub(crate) fn unproved(&self) -> u64 {
        let outcomes = self.last.outcomes.iter();
        outcomes
            .map(|kind| kind[Outcome::DeliveredUnproved.index()])
            .sum()
    }
}

/// Acknowledgement of a connection's peer, as the edge or a pong reported it in this step.
#[derive(Default)]
pub(crate) struct Known {
    pub(crate) conn: ConnId,
    /// Payloads of messages that were not known to be there before.
    pub(crate) acknowledged: Vec<String>,
    /// Whether the messages must be counted as delivered.
    pub(crate) sure: bool,
}

/// The bytes of requests and answers that may wait beside a connection's messages.
const REST: usize = 64 * 6000 + 4096;

impl World {
    pub(crate) fn outbox_bytes(&self, conn: ConnId) -> usize {
        let socket = &self.sockets[conn];
        let queued = self.shards[socket.shard].queued(socket.key).len();
        socket.stream.len() - socket.sent + queued
    }

    /// The number of these bytes that belong to messages. Of an HTTP connection's answers none but the last is begun
    /// beyond the bound.
    fn message_bytes(&self, conn: ConnId, own: usize) -> usize {
        if own == 0 {
            return 0;
        }
        let sent = self.sockets[conn].sent;
        let items = self.items(conn);
        if self.sockets[conn].ws.is_none() {
            let last = items.last().map_or(0, |last| last.end - last.begin);
            let bound = own.saturating_sub(last) < ANSWER_BYTES_MAX;
            assert!(bound, "connection {conn} has {own} bytes of answers");
        }
        let message = |placed: &&Placed| matches!(placed.item, Item::Message { .. });
        let messages = items.iter().filter(message);
        messages
            .map(|placed| placed.end.saturating_sub(placed.begin.max(sent)))
            .sum()
    }

    /// After a step.
    pub(crate) fn gauges_agree(&mut self, shard: usize, cause: Cause) {
        let snapshot = self.shards[shard].snapshot();
        self.loads_agree(shard, &snapshot);
        self.tables_agree(shard, &snapshot);
        let (now, last) = (&snapshot.counters, &self.gauges[shard].last);
        assert_eq!(now.unaccounted(), 0, "the conservation law");
        assert!(now.all_have_their_reason(), "reasons of refused messages");
        only_grow(last, now);
        let requests: u64 = now.requests.iter().flatten().sum();
        let upgrades: u64 = now.upgrades.iter().flatten().sum();
        let gauges = &self.gauges[shard];
        let counted = (gauges.requests, gauges.upgrades);
        assert_eq!((requests, upgrades), counted, "requests and upgrades");
        assert_eq!(now.refusals, gauges.refusals, "refusals by check");
        let ends: u64 = now.connection_ends.iter().sum();
        let logged: u64 = gauges.ends.iter().sum();
        assert_eq!(ends, logged + gauges.ends_unlogged, "ends of connections");
        let exact = gauges.ends_unlogged == 0;
        let fine = !exact || now.connection_ends == gauges.ends;
        assert!(fine, "their reasons");
        let last = std::mem::replace(&mut self.gauges[shard].last, snapshot.counters);
        self.received_is(shard, &last);
        self.delivered_is(shard, &last, cause);
        self.note_outcomes(shard, &last);
    }

    /// The bytes and messages that wait are those in the streams, and within their bounds.
    fn loads_agree(&mut self, shard: usize, snapshot: &Snapshot) {
        let limits = &self.settings.limits;
        let most = limits.outbox_bytes + limits.pending_bytes_per_channel + REST;
        let (mut messages, mut control, mut items) = (0, 0, 0);
        let (mut unconfirmed, mut sure) = (0, 0);
        for conn in self.keys[shard].values().copied().collect::<Vec<_>>() {
            let own = self.outbox_bytes(conn);
            assert!(own <= most, "connection {conn} has {own} bytes waiting");
            let of_messages = self.message_bytes(conn, own);
            self.sockets[conn].waits = (own, of_messages);
            messages += of_messages as u64;
            control += (own - of_messages) as u64;
            items += self.sockets[conn].queued.len() as u64;
            let bytes = self.unacknowledged_bytes(conn) as u64;
            unconfirmed += bytes;
            sure += if self.confirms_exactly(conn) {
                bytes
            } else {
                0
            };
        }
        let counters = &snapshot.counters;
        assert_eq!(counters.outbox_bytes, messages, "bytes of messages");
        assert_eq!(counters.control_bytes, control, "bytes of all else");
        assert!(counters.outbox_messages <= items, "messages in outboxes");
        let copies = self.is_scripted() || self.settings.signaling.repeat_offers_ms > 0;
        let calls = !self.ledger.callers.is_empty();
        let exact = copies || calls || counters.outbox_messages == items;
        assert!(
            exact,
            "{} messages in outboxes, not {items}",
            counters.outbox_messages
        );
        let bytes = counters.unconfirmed_bytes;
        assert!(
            (sure..=unconfirmed).contains(&bytes),
            "{bytes} bytes are not confirmed, of {sure} to {unconfirmed}"
        );
        let (kept, bytes, calls) = self.slots[shard].pending;
        assert_eq!(counters.waiting_calls, calls, "calls that wait");
        assert_eq!(counters.pending_bytes, bytes, "bytes that are kept");
        let found = counters.pending_messages;
        let held = self.is_scripted() && found > kept;
        let more = held || (kept..=kept + calls).contains(&found);
        assert!(more, "{found} messages are kept, not {kept}");
        let most = self.settings.pending_bytes_of_shard() as u64;
        assert!(bytes <= most, "{bytes} bytes are kept");
        let most = self.plan.waiting_calls as u64;
        assert!(calls <= most, "{calls} calls wait");
        assert!(snapshot.call_places <= 2 * most, "places of calls");
    }

    /// The tables of a shard have what the wire and the stores have shown.
    fn tables_agree(&mut self, shard: usize, snapshot: &Snapshot) {
        let mut places = [0; CONNECTION_ROLES];
        let mut unclear = 0;
        for conn in self.keys[shard].values().copied() {
            let socket = &self.sockets[conn];
            let role = match &socket.ws {
                None if socket.secured => ConnectionRole::Http,
                None => ConnectionRole::Handshake,
                Some(ws) if ws.superseded => ConnectionRole::Superseded,
                Some(ws) if ws.viewer.is_some() => ConnectionRole::Viewer,
                Some(_) => ConnectionRole::Master,
            };
            unclear += u64::from(socket.ws.is_some() && !self.is_member(conn));
            places[role.index()] += 1;
        }
        for (place, (found, wanted)) in snapshot.connections.iter().zip(places).enumerate() {
            let fits = found.abs_diff(wanted) <= if place < 2 { 0 } else { unclear };
            assert!(fits, "{:?}, not {places:?}", snapshot.connections);
        }
        let all: u64 = places.iter().sum();
        assert_eq!(snapshot.connections.iter().sum::<u64>(), all, "connections");
        let records = self
            .records
            .all()
            .filter(|(name, _)| self.home(name) == shard);
        let (mut channels, mut deleting) = (0, 0);
        for (_, record) in records {
            channels += 1;
            deleting += u64::from(record.life == Life::Deleting);
        }
        assert_eq!(snapshot.channels, channels, "channels");
        assert_eq!(snapshot.deleting, deleting, "channels that end");
        self.gauges[shard].record_bytes = snapshot.record_bytes;
        self.catalog_agrees();
        assert!(snapshot.timers <= all + channels, "timer entries");
        assert!(snapshot.doubtful <= all, "doubtful peers");
        let forgotten = self.shards[shard].forgotten(Now(self.now));
        assert_eq!(forgotten, 0, "sessions or channels without a deadline");
    }

    /// The catalog has the records that callers can see, and counts what accounts hold: as many bytes as all shards do.
    fn catalog_agrees(&self) {
        let mut wanted: BTreeMap<String, (Vec<_>, u64)> = BTreeMap::new();
        for (name, record) in self.records.all() {
            let tenant = format!("us-west-2:{}:", account_of(name, self.plan.accounts));
            let (seen, channels) = wanted.entry(tenant).or_default();
            *channels += 1;
            if record.life != Life::Creating {
                seen.push((record.arn.clone(), record.life == Life::Deleting));
            }
        }
        let mut bytes = 0;
        for (tenant, (seen, channels)) in wanted {
            let held = self.catalog.ask(|catalog| catalog.held_by(&tenant));
            assert_eq!(held.channels, channels, "channels of {tenant}");
            bytes += held.bytes;
            let (page, more) = self.catalog.page(&tenant, None, 1_000);
            let line = |it: &ListedChannel| {
                let is_deleted = it.status == ChannelStatus::Deleting;
                (it.arn.as_str().to_owned(), is_deleted)
            };
            assert!(!more && page.iter().map(line).eq(seen), "{page:?}");
        }
        let counted: u64 = self.gauges.iter().map(|it| it.record_bytes).sum();
        assert_eq!(bytes, counted, "bytes of records");
    }

    /// The messages that came were counted, by their kinds and by why they were refused.
    fn received_is(&mut self, shard: usize, last: &Counters) {
        let now = &self.gauges[shard].last;
        let conn = self.came.whose();
        let open = conn < self.sockets.len() && self.is_member(conn);
        let fits = |found: u64, wanted: u64| found == wanted || !open && found < wanted;
        for kind in [
            Kind::Unknown,
            Kind::Known(Action::SdpAnswer),
            Kind::Known(Action::IceCandidate),
        ] {
            let found = now.received[kind.index()] - last.received[kind.index()];
            let wanted = self.came.received[kind.index()];
            let holds = fits(found, wanted);
            assert!(holds, "{found} of {kind:?} came, not {wanted}");
        }
        let offer = Kind::Known(Action::SdpOffer).index();
        let found = now.received[offer] - last.received[offer];
        let wanted = self.came.received[offer];
        let calls = found.saturating_sub(wanted);
        let holds = found >= wanted || !open;
        assert!(holds, "{found} offers came, not {wanted}");
        assert!(calls <= self.ledger.calls, "{calls} offers too many");
        for reason in Unaccepted::ALL {
            let found = now.unaccepted[reason.index()] - last.unaccepted[reason.index()];
            let wanted = self.faulty(*reason);
            let may = match reason {
                Unaccepted::TooFast => !self.settings.quotas.off,
                Unaccepted::TooLong => self.settings.strict(),
                Unaccepted::NoRoom => true,
                Unaccepted::FaultInjected => self.is_scripted(),
                _ => false,
            };
            let fine = fits(found, wanted) || may && found > wanted;
            assert!(fine, "{found} are {reason:?}, not {wanted}");
        }
        self.ledger.calls -= calls;
    }

    /// Messages counted as delivered reached the recipient's machine; all known to have reached it are counted.
    fn delivered_is(&mut self, shard: usize, last: &Counters, cause: Cause) {
        let known = std::mem::take(&mut self.known);
        let facts = |payload: &String| self.ledger.facts(payload);
        let mut all = true;
        for action in Action::ALL {
            let kind = Kind::Known(action).index();
            let of = |counters: &Counters| counters.outcomes[kind][Outcome::Delivered.index()];
            let found = of(&self.gauges[shard].last) - of(last);
            let own = known.acknowledged.iter().map(facts);
            let own = own.filter(|(call, of)| !call && *of == action).count() as u64;
            let more = match cause {
                _ if action == Action::SdpAnswer => self.came.received[kind],
                Cause::Sent(_) if action == Action::SdpOffer => self.calls_sent,
                _ => 0,
            };
            assert!(
                found <= own + more,
                "{found} of {action:?} are delivered, of {own} that {} has",
                known.conn
            );
            let exact = found == own || more > 0 && found > own;
            assert!(
                !known.sure || exact,
                "{} has {own} of {action:?}, and {found} are counted",
                known.conn
            );
            all &= found == own;
        }
        if all {
            for payload in &known.acknowledged {
                self.ledger.confirmed(payload);
            }
        }
        self.calls_sent = 0;
    }

    fn note_outcomes(&mut self, shard: usize, last: &Counters) {
        let now = self.gauges[shard].last.clone();
        let sums = |counters: &Counters, place: usize| -> u64 {
            let kinds = counters.outcomes.iter();
            kinds.map(|kind| kind[place]).sum()
        };
        for (place, label) in Outcome::LABELS.iter().enumerate() {
            if sums(&now, place) > sums(last, place) {
                self.hit(label);
            }
        }
        for reason in Unaccepted::ALL {
            if now.unaccepted[reason.index()] > last.unaccepted[reason.index()] {
                self.hit(reason.label());
            }
        }
        #[rustfmt::skip] // a table, a case per row
        let cases = [
            ("message kept", last.pending_messages, now.pending_messages),
            ("message returned", last.returned, now.returned),
            ("message confirmed after it was returned", last.repeated, now.repeated),
            ("lines of the log left out", last.log_suppressed, now.log_suppressed),
            ("call waits", last.waiting_calls, now.waiting_calls),
        ];
        for (what, before, after) in cases {
            if after > before {
                self.hit(what);
            }
        }
    }

    /// At the very end: nobody is there, nothing is left.
    pub(crate) fn at_rest(&self) {
        for (number, shard) in self.shards.iter().enumerate() {
            let snapshot = shard.snapshot();
            let counters = &snapshot.counters;
            assert_eq!(snapshot.connections, [0; CONNECTION_ROLES]);
            #[rustfmt::skip] // a list
            let gauges = [
                counters.pending_messages, counters.pending_bytes, counters.outbox_messages, counters.outbox_bytes,
                counters.control_bytes, counters.waiting_calls, counters.written_messages, counters.unconfirmed_bytes,
                snapshot.call_places, snapshot.doubtful,
            ];
            assert_eq!(gauges, [0; 10], "gauges of shard {number} at the end");
            assert_eq!(counters.unaccounted(), 0);
            let changing = self.records.changing(|name| self.home(name) == number);
            assert_eq!(changing, 0, "no change is under way");
        }
        assert!(self.letters.are_closed(), "no question is open");
        self.ends_are_explained();
    }
}

/// Counters never go back.
fn only_grow(last: &Counters, now: &Counters) {
    let all = |counters: &Counters| {
        let rows = counters.outcomes.iter().flatten().copied();
        let rows = rows.chain(counters.received).chain(counters.unaccepted);
        let rows = rows.chain(counters.upgrades.iter().flatten().copied());
        let rows = rows.chain(counters.requests.iter().flatten().copied());
        let rows = rows
            .chain(counters.connection_ends)
            .chain(counters.large_frames);
        #[rustfmt::skip] // a list
        let rest = [counters.returned, counters.repeated, counters.log_suppressed, counters.audit_refused];
        rows.chain(rest).collect::<Vec<u64>>()
    };
    let pairs = all(last).into_iter().zip(all(now));
    let back = pairs.enumerate().find(|(_, (last, now))| last > now);
    assert_eq!(back, None, "a counter went back");
}
