//! Batches of the [`crate::writer`] as transactions of etcd, and their answers.

use crate::names::Name;
use crate::rpc::generated::{Compare, KeyValue, RangeRequest, RequestOp, TxnRequest, TxnResponse};
use crate::schema::keys::Keys;
use crate::schema::translate::{header_of, revision_of};
use crate::writer::{Answer, Request};
use broker_core::cluster::types::Revision;

/// A batch as a transaction of etcd.
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

/// The answer of etcd to a batch. The reads of one that was not made come in the order of [`transaction`].
pub(crate) fn answer_of(outcome: &TxnResponse, request: &Request) -> Answer {
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
