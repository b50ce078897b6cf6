//! Figures and lines for operators: requests and upgrades counted, durations measured, and the lines of the log.

use super::admission::role_of;
use super::{ConnId, Model, Named, Queued, Refusal, Stage};
use broker_core::check::Check;
pub(crate) use broker_core::event::Purpose;
use broker_core::event::{BUCKETS, Histogram, LARGE_FRAMES, Requested, UpgradeOutcome};
use broker_core::id::Account;
use broker_core::journal::{Audit, Claims, ConnectionEnd, EndReason, Entry, Refused, Superseded};
use broker_core::time::Wall;
use codec::control::Operation;
use codec::identifiers::ChannelName;
use codec::signal::{Action, Role};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

/// Refusals are logged by windows of the clock, in milliseconds: the first of each group of a network, and some more of
/// each network and of all. The others are counted.
const REFUSAL_WINDOW: u64 = 10_000;
const GROUPS_OF_NETWORK: usize = 64;
const GROUPS_TOLD: usize = 80;
const REPEATED_OF_NETWORK: u32 = 15;
const REPEATED: u32 = 128;

/// Changes refused that are logged within one second, in all and of one /24 network.
const DENIALS_TOLD: [usize; 2] = [50, 10];

/// Failures of the store that are logged within one second.
const TROUBLES_TOLD: u32 = 5;

/// Ends of connections that are logged within one second, in all and of one account.
const ENDS_TOLD: [usize; 2] = [200, 50];

/// A check, and the channel that it is about, unless that does not exist.
type Group = (Check, Option<Box<str>>);

/// The lines that a shard has logged where their number is limited.
#[derive(Default)]
pub(crate) struct DiaryModel {
    /// The second of the last change that was refused, and the networks of those logged in it.
    denials: (u64, Vec<[u8; 3]>),
    window: u64,
    /// Refused in this window, by network: what was refused, and how often more than once.
    networks: BTreeMap<[u8; 3], (BTreeSet<Group>, u32)>,
    /// Refusals that were not logged, and that no line has counted yet.
    untold: u64,
    /// The second of the last end of a connection, and whose were logged in it.
    ends: (u64, Vec<String>),
    ends_untold: u64,
    /// The same of connections whose place a newer one took.
    takeovers: (u64, Vec<String>),
    takeovers_untold: u64,
    /// The second of the last failure of the store, and how many were logged in it.
    troubles: (u64, u32),
}

impl DiaryModel {
    fn is_full(&self) -> bool {
        let all = self.networks.values();
        all.clone().map(|(groups, _)| groups.len()).sum::<usize>() == GROUPS_TOLD
            || all.map(|(_, repeated)| repeated).sum::<u32>() == REPEATED
    }

    /// Whether a refusal is logged.
    fn takes(&mut self, network: [u8; 3], group: Group) -> bool {
        let groups: usize = self.networks.values().map(|(groups, _)| groups.len()).sum();
        let repeated: u32 = self.networks.values().map(|(_, repeated)| repeated).sum();
        let (known, own) = self.networks.entry(network).or_default();
        if !known.contains(&group) {
            return groups < GROUPS_TOLD && known.len() < GROUPS_OF_NETWORK && known.insert(group);
        }
        let again = *own < REPEATED_OF_NETWORK && repeated < REPEATED;
        *own += u32::from(again);
        again
    }
}

/// Whether no further change of a network that is refused is logged.
fn full(told: &[[u8; 3]], network: &[u8; 3]) -> bool {
    let own = told.iter().filter(|it| *it == network).count();
    told.len() == DENIALS_TOLD[0] || own == DENIALS_TOLD[1]
}

fn network_of(remote: SocketAddr) -> [u8; 3] {
    let SocketAddr::V4(remote) = remote else {
        panic!("clients have addresses of IPv4")
    };
    let [a, b, c, _] = remote.ip().octets();
    [a, b, c]
}

impl Model {
    /// A line of the log is due.
    pub(crate) fn note(&mut self, entry: Entry) {
        self.out.notes.push((entry, None));
    }

    /// A request was answered.
    pub(crate) fn responded(
        &mut self,
        id: ConnId,
        purpose: Purpose,
        status: u16,
        refused: Option<(Refusal, Named)>,
    ) {
        let shard = self.conns[id].shard;
        let requested = match purpose {
            Purpose::Api(operation) => Some(Requested::Api(operation)),
            Purpose::Sts(requested) => Some(requested),
            Purpose::Wake => Some(Requested::Wake),
            Purpose::RoleAlias => Some(Requested::RoleAlias),
            Purpose::Unknown => Some(Requested::Unknown),
            Purpose::Upgrade(_) => None,
        };
        if let Some(requested) = requested {
            self.shards[shard].counters.request(requested, status);
        }
        let Some((refusal, named)) = refused else {
            return;
        };
        self.shards[shard].counters.refusals.count(refusal.check);
        self.met(refusal.check.id());
        let remote = self.conns[id].remote;
        let refused = Refused {
            request_id: "".into(),
            at: Wall(self.wall),
            status,
            error_type: refusal.error,
            check: refusal.check,
            remote,
            proxy: None,
            what: purpose.word(),
            action: purpose.action(),
            claims: Claims {
                channel: named.channel.map(Into::into),
                client_id: named.viewer.map(Into::into),
                ..Claims::default()
            },
            fault: named.fault,
            policy: None,
            explain: None,
        };
        self.note_refused(shard, refused);
    }

    /// Whether some refusals are not logged any more: then it does not show which of one tick are not.
    pub(crate) fn diary_leaves_out(&self, shard: usize) -> bool {
        let diary = &self.shards[shard].diary;
        let denials = &diary.denials.1;
        let denied = denials.iter().any(|it| full(denials, it));
        let mut networks = diary.networks.values();
        let refused = networks.any(|(_, repeated)| *repeated == REPEATED_OF_NETWORK);
        (diary.denials.0 == self.now / 1000 && denied)
            || (diary.window == self.now / REFUSAL_WINDOW && (refused || diary.is_full()))
    }

    /// A refusal that peers can cause at will.
    fn note_refused(&mut self, shard: usize, refused: Refused) {
        let (diary, now) = (&mut self.shards[shard].diary, self.now);
        if diary.window != now / REFUSAL_WINDOW {
            diary.window = now / REFUSAL_WINDOW;
            diary.networks.clear();
        }
        let absent = matches!(refused.check, Check::ChannelAbsent | Check::AccountHidden);
        let channel = refused.claims.channel.clone();
        let named = channel.filter(|name| !absent && ChannelName::parse(name).is_ok());
        if !diary.takes(network_of(refused.remote), (refused.check, named)) {
            diary.untold += 1;
            self.shards[shard].counters.log_suppressed += 1;
            self.out.left_out = true;
            if self.out.calls_ended {
                self.give_up(); // which of them are logged follows from the order of channels
            }
            return self.met("refusals not logged");
        }
        self.note(Entry::Refused(Box::new(refused)));
    }

    /// Refusals that were not logged are counted by a line.
    pub(crate) fn counted_untold(&mut self, shard: usize, refusals: u64) {
        let untold = &mut self.shards[shard].diary.untold;
        *untold = untold.checked_sub(refusals).expect("counted twice");
    }

    /// The line of a change that was refused.
    fn note_denied(&mut self, shard: usize, remote: SocketAddr, entry: Entry) {
        let (diary, second) = (&mut self.shards[shard].diary, self.now / 1000);
        if diary.denials.0 != second {
            diary.denials = (second, Vec::new());
        }
        let network = network_of(remote);
        if full(&diary.denials.1, &network) {
            self.shards[shard].counters.log_suppressed += 1;
            self.out.left_out = true;
            return self.met("refusals of one network not logged");
        }
        diary.denials.1.push(network);
        self.note(entry);
    }

    /// The store of a shard failed.
    pub(crate) fn store_failed(&mut self, shard: usize, error: Box<str>) {
        let second = self.now / 1000;
        let this = &mut self.shards[shard];
        if this.diary.troubles.0 != second {
            this.diary.troubles = (second, 0);
        }
        if this.diary.troubles.1 == TROUBLES_TOLD {
            this.counters.log_suppressed += 1;
            return self.met("failures of the store not logged");
        }
        this.diary.troubles.1 += 1;
        self.note(Entry::StoreTrouble { error });
    }

    /// An upgrade was answered.
    pub(crate) fn upgraded(&mut self, shard: usize, viewer: bool, outcome: UpgradeOutcome) {
        let role = role_of(viewer);
        self.shards[shard].counters.upgrade(role, outcome);
    }

    /// A call that changes something, or was to, is answered.
    pub(crate) fn audited(
        &mut self,
        id: ConnId,
        operation: Operation,
        subject: String,
        error: &'static str,
    ) {
        let outcome = if error.is_empty() { "ok" } else { error };
        self.note_audit(id, operation, subject, outcome);
    }

    /// The line of a change: limited unless it was made, or may have been.
    pub(crate) fn note_audit(
        &mut self,
        id: ConnId,
        operation: Operation,
        subject: String,
        outcome: &'static str,
    ) {
        let conn = &self.conns[id];
        let (shard, remote) = (conn.shard, conn.remote);
        let audit = Entry::Audit(Audit {
            caller: None,
            operation: operation.name(),
            channel_arn: Some(subject.into()),
            session: None,
            new_key_id: None,
            outcome,
            request_id: "".into(),
            remote,
        });
        match outcome {
            "ok" | "unanswered" => self.note(audit),
            _ => self.note_denied(shard, remote, audit),
        }
    }

    /// Why a connection ends, unless that is known.
    pub(crate) fn because(&mut self, id: ConnId, reason: EndReason) {
        if let Some(ws) = &mut self.conns[id].ws {
            ws.reason.get_or_insert(reason);
        }
    }

    /// A connection's descriptor is free: a line of the log, if it was a WebSocket.
    pub(crate) fn connection_over(&mut self, id: ConnId) {
        let conn = &self.conns[id];
        let Some(ws) = &conn.ws else { return };
        let end = ConnectionEnd {
            role: ws.viewer.as_ref().map_or(Role::Master, |_| Role::Viewer),
            client_id: ws.viewer.clone().map(String::into_boxed_str),
            channel: Some(self.channels[ws.channel].name.as_str().into()),
            account: Account::of_digits(&self.channels[ws.channel].account),
            remote: conn.remote,
            duration_ms: self.now - ws.opened,
            messages_in: ws.messages_in,
            messages_out: ws.messages_out,
            returned: u32::try_from(conn.returned.len() + conn.written.len()).expect("few")
                + conn.repeated,
            offered_ms: ws.setup[0].map(|ms| u32::try_from(ms).expect("hours")),
            answered_ms: ws.setup[1].map(|ms| u32::try_from(ms).expect("hours")),
            reason: ws.reason.expect("something ended it"),
            refused_by: None, // nobody signs here
        };
        let sessions = end.clone();
        let note = (Entry::ConnectionEnd(end), ws.or_reason);
        let (shard, account) = (conn.shard, self.channels[ws.channel].account.clone());
        let this = &mut self.shards[shard];
        if this.diary.ends.0 != self.now / 1000 {
            this.diary.ends = (self.now / 1000, Vec::new());
        }
        let told = &mut this.diary.ends.1;
        let own = told.iter().filter(|one| **one == account).count();
        if told.len() == ENDS_TOLD[0] || own == ENDS_TOLD[1] {
            this.diary.ends_untold += 1;
            this.counters.log_suppressed += 1;
            this.counters
                .connection_end(ws.reason.expect("something ended it"));
            this.counters.sessions.ended(&sessions);
            return self.met("ends of connections not logged");
        }
        told.push(account);
        let ends = std::mem::take(&mut this.diary.ends_untold);
        if ends > 0 {
            self.note(Entry::EndsSuppressed { ends });
        }
        self.out.notes.push(note);
    }

    /// A newer connection takes the place of another: a line of the log.
    pub(crate) fn taken_over(&mut self, older: ConnId, newer: ConnId) {
        let (conn, by) = (&self.conns[older], self.conns[newer].remote);
        let ws = conn.ws.as_ref().expect("it was open");
        let (shard, remote) = (conn.shard, conn.remote);
        let (client_id, after_ms) = (ws.viewer.clone(), self.now - ws.opened);
        let channel = &self.channels[ws.channel];
        let (name, account) = (channel.name.as_str().into(), channel.account.clone());
        let of = Account::of_digits(&account);
        let role = client_id.as_ref().map_or(Role::Master, |_| Role::Viewer);
        let this = &mut self.shards[shard];
        this.counters.sessions.superseded(role);
        if this.diary.takeovers.0 != self.now / 1000 {
            this.diary.takeovers = (self.now / 1000, Vec::new());
        }
        let told = &mut this.diary.takeovers.1;
        let own = told.iter().filter(|one| **one == account).count();
        if told.len() == ENDS_TOLD[0] || own == ENDS_TOLD[1] {
            this.diary.takeovers_untold += 1;
            this.counters.log_suppressed += 1;
            return;
        }
        told.push(account);
        let unlogged = std::mem::take(&mut this.diary.takeovers_untold);
        self.note(Entry::Superseded(Box::new(Superseded {
            channel: name,
            account: of,
            role,
            client_id: client_id.map(String::into_boxed_str),
            remote,
            by,
            after_ms,
            unnamed: self.settings.dev && role == Role::Master && !self.is_gone(older),
            unlogged,
        })));
    }

    /// A message was handed over whole.
    pub(crate) fn measure(&mut self, id: ConnId, queued: Queued) {
        let now = self.now;
        let message = &self.messages[queued.number];
        let conn = &mut self.conns[id];
        let counters = &mut self.shards[conn.shard].counters;
        for (count, over) in counters.large_frames.iter_mut().zip(LARGE_FRAMES) {
            *count += u64::from(message.bytes() > over);
        }
        if queued.timed {
            let us = (now - message.accepted) * 1000;
            observe(&mut counters.delivery, us & u64::from(u32::MAX));
        }
        let Some(ws) = &mut conn.ws else { return };
        ws.messages_out += 1;
        let answer = message.action == Action::SdpAnswer && matches!(conn.stage, Stage::Open);
        if answer && ws.setup[1].is_none() && ws.viewer.is_some() {
            ws.setup[1] = Some(now - ws.opened);
            observe(&mut counters.session_setup, (now - ws.opened) * 1000);
        }
    }
}

/// Counts a duration in the first bucket whose bound, a power of two of microseconds from the first on, holds it. The
/// clock of microseconds comes around after 71 minutes, which no connection outlives that has an age.
fn observe(histogram: &mut Histogram, us: u64) {
    // 1 to 4 µs, then quarters of octaves: 5, 6, 7, 8, 10, 12, 14, 16 …
    let bound = |bucket: usize| match bucket {
        0..4 => bucket as u64 + 1,
        _ => (bucket as u64 % 4 + 5) << (bucket / 4 - 1),
    };
    let bucket = (0..BUCKETS).find(|bucket| us <= bound(*bucket));
    histogram.counts[bucket.unwrap_or(BUCKETS)] += 1;
    histogram.sum_us += us;
}
