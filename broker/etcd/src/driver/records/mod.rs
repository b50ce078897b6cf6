//! The connection for records: loads of slots, and changes.
//!
//! The core decides under which epoch a change may be made: it is given [`Input::Write`], and answers with a
//! transaction that the [`Writer`] carries out with others.

use super::log::trouble::Trouble;
use super::{Event as NodeEvent, Node, Told, Which, now, reporter};
use crate::client::calls::{self, Ask};
use crate::client::failure::Failure;
use crate::client::link::Link;
use crate::client::load::{self, Part};
use crate::limits::NOTE_EVERY;
use crate::names::{Name, shown};
use crate::order::Service;
use crate::peers::Peers;
use crate::rpc::{Compare, KeyValue, RangeRequest, RequestOp, TxnRequest, TxnResponse};
use crate::schema::keys::Keys;
use crate::schema::translate::{header_of, revision_of};
use crate::store::Submission;
use crate::writer::{Answer, Change, Request, Settled, Writer};
use broker_core::cluster::message::{CallId, Held, Input, Reply, Transaction};
use broker_core::cluster::slot_map::slot_of;
use broker_core::cluster::types::{EtcdId, Incarnation, Key, Revision, Slot};
use broker_core::record::Record;
use broker_core::registry::{StoreError, Ticket, decode};
use std::collections::HashMap;
use std::rc::Rc;
use tokio::time::Instant;
use tracing::error;

/// What happens on the connection, each with the connection's number.
#[derive(Debug)]
pub(super) enum Event {
    Part(u32, Held, Part),
    Written(u32, usize, Rc<Request>, Told),
}

/// The connection, and what runs on it.
#[derive(Debug)]
pub(super) struct Records {
    pub(super) link: Link,
    pub(super) trouble: Trouble,
    /// Loads that brought what cannot be used: how many records, and of the first what the log says.
    spoilt: HashMap<Held, (u64, String)>,
    /// When the log last had a line about such a slot.
    noted: HashMap<Slot, Instant>,
    /// Changes that the core was asked about.
    asked: HashMap<u32, Submission>,
    next: u32,
    writer: Writer<Ticket>,
}

impl Records {
    pub(super) fn new(link: Link, process: Incarnation) -> Self {
        Self {
            link,
            trouble: Trouble::new("etcd, for records of channels"),
            spoilt: HashMap::new(),
            noted: HashMap::new(),
            asked: HashMap::new(),
            next: 0,
            writer: Writer::new(process),
        }
    }

    /// Whether another change may be taken.
    pub(super) fn has_room(&self) -> bool {
        self.writer.has_room()
    }
}

impl<S: Service, P: Peers> Node<S, P> {
    /// Reads the records of a slot.
    pub(super) fn load(&mut self, held: Held) {
        let Some((generation, lines)) = self.records.link.up() else {
            return self.delayed.push(Input::Loaded { held, whole: false });
        };
        let lines = lines.clone();
        let range = self.translator.keys.records(held.slot);
        let report = reporter(&self.events, move |part| {
            NodeEvent::Records(Event::Part(generation, held, part))
        });
        tokio::task::spawn_local(load::load(lines, range, report));
    }

    /// A shard wants a change. The core says whether this node may make it.
    pub(super) fn submit(&mut self, submission: Submission) {
        let Some(key) = self.meta.slot_key() else {
            return self.answer(submission.ticket, Err(refused()));
        };
        let slot = slot_of(&key, &submission.identity);
        let number = self.records.next;
        self.records.next = number.wrapping_add(1);
        self.records.asked.insert(number, submission);
        self.inputs.push_back(Input::Write(slot, number));
    }

    /// The core lets a change be made.
    pub(super) fn write(&mut self, call: CallId, transaction: &Transaction) {
        let record = transaction.puts.iter().find_map(|(key, _)| match key {
            Key::Record(slot, number) => Some((*slot, *number)),
            Key::Slot(_) | Key::Registration(_) | Key::Roster(_) => None,
        });
        let epoch = transaction.compares.first().map(|compare| compare.at);
        let (Some((slot, number)), Some(epoch)) = (record, epoch) else {
            return;
        };
        if let Some(submission) = self.records.asked.remove(&number) {
            self.records.writer.take(Change {
                call,
                held: Held { slot, epoch },
                key: submission.key.into(),
                value: submission.value.map(Into::into),
                ticket: submission.ticket,
                since: now(),
            });
        }
    }

    /// The core does not: the slot is not served here, or etcd does not answer.
    pub(super) fn write_refused(&mut self, number: u32) {
        if let Some(submission) = self.records.asked.remove(&number) {
            self.answer(submission.ticket, Err(refused()));
        }
    }

    /// Sends what waits, while there is a connection.
    pub(super) fn send_writes(&mut self) {
        while let Some((generation, lines)) = self.records.link.up() {
            let lines = lines.clone();
            let Some((lane, request)) = self.records.writer.next(now()) else {
                return;
            };
            let me = self.translator.me();
            let transaction = transaction(&self.translator.keys, me, lane, &request);
            let request = Rc::new(request);
            let report = reporter(&self.events, move |told| {
                NodeEvent::Records(Event::Written(generation, lane, Rc::clone(&request), told))
            });
            tokio::task::spawn_local(async move {
                report(calls::ask(lines, Ask::Transaction(transaction)).await).await;
            });
        }
    }

    /// Refuses a change of a node that has ended.
    pub(super) fn refuse_change(&mut self, change: &Submission) {
        self.answer(change.ticket, Err(refused()));
    }

    /// Refuses changes that could not be sent in time.
    pub(super) fn expire_writes(&mut self) {
        let late = self.records.writer.expire(now());
        self.settle_writes(late, None);
    }

    /// Reports every change that has no outcome, at the end.
    pub(super) fn end_writes(&mut self) {
        let asked = std::mem::take(&mut self.records.asked).into_values();
        let mut left: Vec<Ticket> = asked.map(|submission| submission.ticket).collect();
        let sent = self.records.writer.end().into_iter();
        left.extend(sent.map(|change| change.ticket));
        for ticket in left {
            self.answer(ticket, Err(refused()));
        }
    }

    pub(super) fn records_event(&mut self, event: Event) {
        match event {
            Event::Part(generation, held, part) => self.part(generation, held, part),
            Event::Written(generation, lane, request, told) => {
                self.written(generation, lane, &request, told);
            }
        }
    }

    fn written(&mut self, generation: u32, lane: usize, request: &Request, told: Told) {
        let writer = &mut self.records.writer;
        let (settled, header) = match &told {
            Ok(calls::Told::Outcome(outcome)) => {
                self.records.link.works(generation);
                if request.lane.is_some() {
                    // Removals are made also where etcd's quota is used up.
                    self.records.trouble.ends();
                }
                let answer = answer_of(outcome, request);
                (
                    writer.answered(lane, &answer, now()),
                    Some(header_of(outcome.header.as_ref())),
                )
            }
            Ok(_) => return,
            Err(Failure::Refused(_)) => (writer.refused(lane, true, now()), None),
            Err(Failure::NotSent(_)) => (writer.refused(lane, false, now()), None),
            Err(Failure::Unknown(_)) => {
                writer.unknown(lane, now());
                (Vec::new(), None)
            }
        };
        self.settle_writes(settled, header.map(|(_, etcd)| etcd));
        if let Err(failure) = told {
            self.records_failed(generation, &failure);
        }
    }

    fn settle_writes(&mut self, settled: Vec<(Change<Ticket>, Settled)>, etcd: Option<EtcdId>) {
        for (change, outcome) in settled {
            let result = match outcome {
                Settled::Made(_) => Ok(()),
                Settled::Fenced(_) => Err(fenced()),
                Settled::Refused => Err(refused()),
            };
            let reply = match (outcome, etcd) {
                (Settled::Made(revision), Some(etcd)) => outcome_of(true, revision, etcd),
                (Settled::Fenced(revision), Some(etcd)) => outcome_of(false, revision, etcd),
                (Settled::Refused, _) | (_, None) => Reply::Refused,
            };
            self.inputs.push_back(Input::Reply(change.call, reply));
            self.answer(change.ticket, result);
        }
    }

    fn answer(&mut self, ticket: Ticket, result: Result<(), StoreError>) {
        self.service.written(ticket, result);
    }

    fn part(&mut self, generation: u32, held: Held, part: Part) {
        match part {
            Part::Rows(rows) => self.rows(held, &rows),
            Part::Whole(revision) => {
                self.records.link.works(generation);
                self.records.writer.knows(revision);
                let is_spoilt = self.spoils(held);
                let whole = !is_spoilt && revision >= held.epoch;
                let loaded = Input::Loaded { held, whole };
                if whole {
                    self.inputs.push_back(loaded);
                } else {
                    self.delayed.push(loaded);
                }
            }
            Part::Failed(failure) => {
                self.spoils(held);
                self.delayed.push(Input::Loaded { held, whole: false });
                self.records_failed(generation, &failure);
            }
        }
    }

    fn rows(&mut self, held: Held, rows: &[KeyValue]) {
        let (prefix, _) = self.translator.keys.records(held.slot);
        let mut records: Vec<Record> = Vec::with_capacity(rows.len());
        for row in rows {
            let key = row.key.strip_prefix(prefix.as_bytes());
            let key = key.unwrap_or_default();
            let key = String::from_utf8_lossy(key);
            match decode(&key, &row.value) {
                Ok(record) => records.push(record),
                Err(why) => {
                    let first = || (0, format!("{}: {why}", shown(&key)));
                    let (count, _) = self.records.spoilt.entry(held).or_insert_with(first);
                    *count += 1;
                }
            }
        }
        self.service.records(held, records);
    }

    /// Whether a load that ends brought what cannot be used. The load is tried again, so the log has a line now and
    /// then.
    fn spoils(&mut self, held: Held) -> bool {
        let Some((count, first)) = self.records.spoilt.remove(&held) else {
            return false;
        };
        let (slot, now) = (held.slot, Instant::now());
        let noted = self.records.noted.get(&slot);
        if noted.is_none_or(|at| now.duration_since(*at) >= NOTE_EVERY) {
            self.records.noted.insert(slot, now);
            error!(
                "slot {:03x} is not served, since etcd has {count} records in it that cannot be read, the first of \
                 {first}",
                slot.0
            );
        }
        true
    }

    /// The connection is given up, unless it was given up already.
    pub(super) fn records_failed(&mut self, generation: u32, failure: &Failure) {
        let endpoint = self.records.link.endpoint().to_owned();
        if let Failure::Refused(_) = failure {
            return self.records.trouble.begins(&failure.to_string());
        }
        if self.records.link.failed(generation, Instant::now()) {
            self.records
                .trouble
                .begins(&format!("{endpoint}: {failure}"));
            self.connect(Which::Records);
        }
    }
}

/// A batch as a transaction of etcd.
fn transaction(keys: &Keys, me: &Name, lane: usize, request: &Request) -> TxnRequest {
    let lane = keys.lane(me, lane);
    let is_at = |key: &str, revision: Revision| Compare::unchanged(key, revision.0.cast_signed());
    let look = |key: String| {
        RequestOp::read(RangeRequest {
            keys_only: true,
            ..RangeRequest::key(key)
        })
    };
    let mut compares = Vec::new();
    let mut makes = Vec::new();
    let mut reads = Vec::new();
    if let Some((revision, tag)) = &request.lane {
        compares.push(is_at(&lane, *revision));
        makes.push(RequestOp::put(lane.as_str(), tag.as_bytes()));
        reads.push(RequestOp::read(RangeRequest::key(lane)));
    }
    for (slot, epoch) in &request.slots {
        compares.push(is_at(&keys.slot(*slot), *epoch));
        reads.push(look(keys.slot(*slot)));
    }
    for (slot, key, value) in &request.records {
        let record = keys.record(*slot, key);
        match value {
            Some(value) => makes.push(RequestOp::put(record, &**value)),
            None => {
                let next = request.before.next().0.cast_signed();
                compares.push(Compare::older(record.as_str(), next));
                reads.push(look(record.clone()));
                makes.push(RequestOp::delete(record));
            }
        }
    }
    TxnRequest {
        compare: compares,
        success: makes,
        failure: reads,
    }
}

/// What etcd says of a batch. The reads of one that was not made come in the order of [`transaction`].
fn answer_of(outcome: &TxnResponse, request: &Request) -> Answer {
    let (revision, _) = header_of(outcome.header.as_ref());
    let mut rows = outcome.reads().map(<[_]>::first);
    let at = |row: Option<&KeyValue>| revision_of(row.map_or(0, |row| row.mod_revision));
    let made = outcome.succeeded;
    let mut answer = Answer {
        made,
        revision,
        lane: (Revision(0), Box::default()),
        slots: Vec::new(),
        records: Vec::new(),
    };
    if made {
        return answer;
    }
    if request.lane.is_some() {
        let row = rows.next().flatten();
        let value = row.map_or_else(Box::default, |row| {
            String::from_utf8_lossy(&row.value).into_owned().into()
        });
        answer.lane = (at(row), value);
    }
    let revisions: Vec<Revision> = rows.map(at).collect();
    let (slots, records) = revisions.split_at(request.slots.len().min(revisions.len()));
    answer.slots = slots.to_vec();
    answer.records = records.to_vec();
    answer
}

fn outcome_of(committed: bool, revision: Revision, etcd: EtcdId) -> Reply {
    Reply::Outcome {
        committed,
        revision,
        etcd,
        snapshot: None,
    }
}

fn fenced() -> StoreError {
    StoreError::Failed("the channel's slot or its record was changed by another node".into())
}

fn refused() -> StoreError {
    StoreError::Failed(
        "this node does not serve the channel's slot, or etcd takes no changes: try again later"
            .into(),
    )
}
