//! The etcd connection over which the node loads the records of its slots and writes changes to them.
//!
//! The core decides whether a change may be made, and under which epoch. It receives [`NodeInput::Write`] and returns a
//! transaction, which the [`Writer`] combines with others.

use crate::driver::event::{Event, TaskOutcome};
use crate::driver::{connection::EtcdConnection, core::Inputs};
use crate::names::{Name, shown};
use crate::rpc::calls::{self, CallFailure, Part};
use crate::rpc::connection::Lines;
use crate::rpc::generated::{Compare, KeyValue, RangeRequest, RequestOp, TxnRequest, TxnResponse};
use crate::service::{HostService, Submission};
use crate::translate::{Translator, header_of, revision_of};
use crate::writer::{Answer, Change, Request, Settled, Writer};
use crate::{limits::NOTE_EVERY, schema::Keys, system::now};
use broker_core::cluster::message::{CallId, Held, NodeInput, Reply, Transaction};
use broker_core::cluster::slot_maps::slot_of;
use broker_core::cluster::types::{EtcdId, Incarnation, Key, Revision, Slot};
use broker_core::record::Record;
use broker_core::registry::{StoreError, Ticket, decode};
use std::collections::HashMap;
use tokio::time::Instant;
use tracing::error;

#[derive(Debug)]
pub(crate) struct Records {
    pub(crate) connection: EtcdConnection,
    loads: Loads,
    /// Changes that the core has neither permitted nor refused yet.
    asked: HashMap<u32, Submission>,
    next: u32,
    writer: Writer<Ticket>,
}

#[derive(Clone, Copy)]
pub(crate) struct LoadOf {
    pub(crate) generation: u32,
    pub(crate) held: Held,
}

#[derive(Clone, Copy)]
pub(crate) struct BatchOf {
    pub(crate) generation: u32,
    pub(crate) lane: usize,
}

impl Records {
    pub(crate) fn new(connection: EtcdConnection, process: Incarnation) -> Self {
        Self {
            connection,
            loads: Loads::default(),
            asked: HashMap::new(),
            next: 0,
            writer: Writer::new(process),
        }
    }

    pub(crate) fn has_room(&self) -> bool {
        self.writer.has_room()
    }

    pub(crate) fn connected(&mut self, generation: u32, result: Result<Lines, Box<str>>) {
        if self.connection.connected(generation, result) {
            // The connection may be idle for hours, so connecting successfully counts as recovery.
            self.connection.trouble.ends();
        }
    }

    pub(crate) fn load(&self, held: Held, translator: &Translator, inputs: &mut Inputs) {
        let Some((generation, lines)) = self.connection.up() else {
            return inputs.delay(NodeInput::Loaded { held, whole: false });
        };
        let range = translator.keys.records(held.slot);
        let events = &self.connection.events;
        let report = events.reporter(move |part| Event::Loaded(generation, held, part));
        tokio::task::spawn_local(calls::load(lines.clone(), range, report));
    }

    /// Asks the core whether a shard's change may be made. Refuses the change immediately if the slot hash key is
    /// unknown, since the slot cannot be determined without it.
    pub(crate) fn submit(
        &mut self,
        submission: Submission,
        slot_key: Option<[u8; 16]>,
        inputs: &mut Inputs,
        service: &mut impl HostService,
    ) {
        let Some(key) = slot_key else {
            return refuse(&submission, service);
        };
        let slot = slot_of(&key, &submission.identity);
        let number = self.next;
        self.next = number.wrapping_add(1);
        self.asked.insert(number, submission);
        inputs.push(NodeInput::Write(slot, number));
    }

    /// Queues a change that the core has permitted.
    pub(crate) fn write(&mut self, call: CallId, transaction: &Transaction) {
        let record = transaction.puts.iter().find_map(|(key, _)| match key {
            Key::Record(slot, number) => Some((*slot, *number)),
            Key::Slot(_) | Key::Registration(_) | Key::Roster(_) => None,
        });
        let epoch = transaction.compares.first().map(|compare| compare.at);
        let (Some((slot, number)), Some(epoch)) = (record, epoch) else {
            return;
        };
        if let Some(submission) = self.asked.remove(&number) {
            self.writer.take(Change {
                call,
                held: Held { slot, epoch },
                key: submission.key.into(),
                value: submission.value.map(Into::into),
                ticket: submission.ticket,
                since: now(),
            });
        }
    }

    /// Refuses a change because this node does not serve the slot or etcd does not answer.
    pub(crate) fn write_refused(&mut self, number: u32, service: &mut impl HostService) {
        if let Some(submission) = self.asked.remove(&number) {
            refuse(&submission, service);
        }
    }

    pub(crate) fn send(&mut self, translator: &Translator) {
        while self.connection.up().is_some() {
            let Some((lane, request)) = self.writer.next(now()) else {
                return;
            };
            let transaction = transaction(&translator.keys, translator.me(), lane, &request);
            let request = Box::new(request);
            self.connection
                .transact(transaction, move |generation, told| {
                    Event::Written(generation, lane, request, told)
                });
        }
    }

    /// Refuses changes that could not be sent in time.
    pub(crate) fn expire(&mut self, inputs: &mut Inputs, service: &mut impl HostService) {
        let late = self.writer.expire(now());
        settle(late, None, inputs, service);
    }

    /// Refuses all changes that have not completed. Called at shutdown.
    pub(crate) fn end(&mut self, service: &mut impl HostService) {
        let asked = std::mem::take(&mut self.asked).into_values();
        let mut left: Vec<Ticket> = asked.map(|submission| submission.ticket).collect();
        let sent = self.writer.end().into_iter();
        left.extend(sent.map(|change| change.ticket));
        for ticket in left {
            service.written(ticket, Err(refused()));
        }
    }

    pub(crate) fn loaded(
        &mut self,
        load: LoadOf,
        part: Part,
        translator: &Translator,
        inputs: &mut Inputs,
        service: &mut impl HostService,
    ) {
        let LoadOf { generation, held } = load;
        match part {
            Part::Rows(rows) => {
                let (prefix, _) = translator.keys.records(held.slot);
                let records = self.loads.page(held, &prefix, &rows);
                service.records(held, records);
            }
            Part::Whole(revision) => self.loaded_whole(generation, held, revision, inputs),
            Part::Failed(failure) => {
                self.loads.is_spoilt(held);
                inputs.delay(NodeInput::Loaded { held, whole: false });
                self.failed(generation, &failure);
            }
        }
    }

    pub(crate) fn written(
        &mut self,
        batch: BatchOf,
        request: &Request,
        told: TaskOutcome,
        inputs: &mut Inputs,
        service: &mut impl HostService,
    ) {
        let BatchOf { generation, lane } = batch;
        let (settled, etcd) = self.settled(generation, lane, request, &told);
        settle(settled, etcd, inputs, service);
        if let Err(failure) = told {
            self.failed(generation, &failure);
        }
    }

    fn loaded_whole(
        &mut self,
        generation: u32,
        held: Held,
        revision: Revision,
        inputs: &mut Inputs,
    ) {
        self.connection.works(generation);
        self.writer.knows(revision);
        let is_spoilt = self.loads.is_spoilt(held);
        let whole = !is_spoilt && revision >= held.epoch;
        let loaded = NodeInput::Loaded { held, whole };
        if whole {
            inputs.push(loaded);
        } else {
            inputs.delay(loaded);
        }
    }

    /// Handles the result of a batch. Returns the changes whose outcome is now known, and the id of the etcd cluster
    /// that answered.
    fn settled(
        &mut self,
        generation: u32,
        lane: usize,
        request: &Request,
        told: &TaskOutcome,
    ) -> (Vec<(Change<Ticket>, Settled)>, Option<EtcdId>) {
        match told {
            Ok(outcome) => {
                self.connection.works(generation);
                if request.lane.is_some() {
                    // A removal does not show that the problem is solved: etcd accepts removals even when full.
                    self.connection.trouble.ends();
                }
                let settled = self
                    .writer
                    .answered(lane, &answer_of(outcome, request), now());
                let (_, etcd) = header_of(outcome.header.as_ref());
                (settled, Some(etcd))
            }
            Err(CallFailure::Refused(_)) => (self.writer.refused(lane, true, now()), None),
            Err(CallFailure::NotSent(_)) => (self.writer.refused(lane, false, now()), None),
            Err(CallFailure::Unknown(_)) => {
                self.writer.unknown(lane, now());
                (Vec::new(), None)
            }
        }
    }

    /// Handles a failure by abandoning the connection and opening another one. Does nothing if that connection has
    /// already been abandoned.
    fn failed(&mut self, generation: u32, failure: &CallFailure) {
        if self.connection.failed(generation, failure) {
            self.connection.connect();
        }
    }
}

pub(crate) fn refuse(change: &Submission, service: &mut impl HostService) {
    service.written(change.ticket, Err(refused()));
}

fn settle(
    settled: Vec<(Change<Ticket>, Settled)>,
    etcd: Option<EtcdId>,
    inputs: &mut Inputs,
    service: &mut impl HostService,
) {
    for (change, outcome) in settled {
        let result = match outcome {
            Settled::Made(_) => Ok(()),
            Settled::Fenced(_) => Err(StoreError::Failed(
                "the channel's slot or its record was changed by another node".into(),
            )),
            Settled::Refused => Err(refused()),
        };
        let reply = match (outcome, etcd) {
            (Settled::Made(revision), Some(etcd)) => outcome_of(true, revision, etcd),
            (Settled::Fenced(revision), Some(etcd)) => outcome_of(false, revision, etcd),
            (Settled::Refused, _) | (_, None) => Reply::Refused,
        };
        inputs.push(NodeInput::Reply(change.call, reply));
        service.written(change.ticket, result);
    }
}

fn outcome_of(committed: bool, revision: Revision, etcd: EtcdId) -> Reply {
    Reply::Outcome {
        committed,
        revision,
        etcd,
        snapshot: None,
    }
}

fn refused() -> StoreError {
    StoreError::Failed(
        "this node does not serve the channel's slot, or etcd takes no changes: try again later"
            .into(),
    )
}

// Converts [`crate::writer`] batches to etcd transactions, and etcd's responses to answers.

pub(crate) fn transaction(keys: &Keys, me: &Name, lane: usize, request: &Request) -> TxnRequest {
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

/// Converts etcd's response to the answer for a batch. For a batch that was not applied, the response contains reads in
/// the order in which [`transaction`] requested them.
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

// Slot loads. Converts etcd's rows to records, and keeps track of loads with unreadable rows.

#[derive(Debug, Default)]
struct Loads {
    /// For each load, the number of unreadable rows and a log message about the first one.
    spoilt: HashMap<Held, (u64, String)>,
    /// When unreadable rows were last logged, per slot.
    noted: HashMap<Slot, Instant>,
}

impl Loads {
    /// Decodes the records on a page, whose keys start with `prefix`. An unreadable row invalidates the whole load.
    pub(crate) fn page(&mut self, held: Held, prefix: &str, rows: &[KeyValue]) -> Vec<Record> {
        let mut records: Vec<Record> = Vec::with_capacity(rows.len());
        for row in rows {
            let key = row.key.strip_prefix(prefix.as_bytes());
            let key = key.unwrap_or_default();
            let key = String::from_utf8_lossy(key);
            match decode(&key, &row.value) {
                Ok(record) => records.push(record),
                Err(why) => {
                    let first = || (0, format!("{}: {why}", shown(&key)));
                    let (count, _) = self.spoilt.entry(held).or_insert_with(first);
                    *count += 1;
                }
            }
        }
        records
    }

    /// Ends a load. Returns whether unreadable rows have invalidated it. Logs this only at intervals, since the load is
    /// retried.
    fn is_spoilt(&mut self, held: Held) -> bool {
        let Some((count, first)) = self.spoilt.remove(&held) else {
            return false;
        };
        let (slot, now) = (held.slot, Instant::now());
        let noted = self.noted.get(&slot);
        if noted.is_none_or(|at| now.duration_since(*at) >= NOTE_EVERY) {
            self.noted.insert(slot, now);
            error!(
                "slot {:03x} is not served, since etcd has {count} records in it that cannot be read, the first of \
                 {first}",
                slot.0
            );
        }
        true
    }
}
