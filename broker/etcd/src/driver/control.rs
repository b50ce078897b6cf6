//! The etcd connection over which the node keeps its lease alive, watches the cluster's keys and changes slots. It also
//! carries requests for the meta key, database size queries, and reports on operators' orders.

use crate::driver::event::{Event, TaskOutcome};
use crate::driver::{connection::EtcdConnection, core::Inputs};
use crate::rpc::calls::{self, CallFailure, EtcdAnswer, SingleCall};
use crate::rpc::connection::Lines;
use crate::rpc::generated::{
    Compare, RangeRequest, RequestOp, TxnRequest, TxnResponse, WatchResponse,
};
use crate::rpc::streams::{self, Renewal};
use crate::schema::{self, Keys, MetaValue};
use crate::system::{random, unix_ms};
use crate::translate::{Translator, Unreadable, header_of, meta as meta_in};
use crate::{directory::Kept, limits::SILENT};
use broker_core::cluster::limits::SLOTS;
use broker_core::cluster::message::{Call, CallId, NodeInput, Reply, WatchId};
use broker_core::cluster::types::{LeaseId, Revision};
use std::collections::VecDeque;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tracing::{info, warn};

#[derive(Debug)]
pub(crate) struct Control {
    pub(crate) connection: EtcdConnection,
    pub(crate) meta: Meta,
    lease_s: i64,
    lease: Option<EtcdStream<LeaseId>>,
    watch: Option<EtcdStream<WatchId>>,
    /// Number of calls that have not been answered.
    pub(crate) under_way: usize,
    /// How long etcd took to answer the last keepalive.
    pub(crate) took: Duration,
}

impl Control {
    pub(crate) fn new(connection: EtcdConnection, lease_ms: u64, kept: &Kept) -> Self {
        Self {
            connection,
            meta: Meta::new(kept),
            lease_s: i64::try_from(lease_ms / 1_000).unwrap_or(i64::MAX),
            lease: None,
            watch: None,
            under_way: 0,
            took: Duration::ZERO,
        }
    }

    /// Abandons the connection if etcd has stopped responding.
    pub(crate) fn look_after(&mut self, inputs: &mut Inputs) {
        let current = self.connection.up().map(|(generation, _)| generation);
        if let Some(generation) = current.filter(|_| self.is_silent(Instant::now())) {
            self.failed(generation, &CallFailure::late(), inputs);
        }
    }

    pub(crate) fn call(
        &mut self,
        id: CallId,
        call: Call,
        translator: &Translator,
        inputs: &mut Inputs,
    ) {
        let up = self.connection.up().filter(|_| self.meta.is_found());
        let Some((generation, lines)) = up else {
            return refuse(id, &call, inputs);
        };
        let lines = lines.clone();
        let ask = match call {
            Call::KeepAlive(lease) => return self.keep_alive(id, lease, (generation, lines)),
            Call::Watch { watch, from } => {
                let range = translator.keys.watched();
                return self.watch(watch, range, from, (generation, lines));
            }
            Call::Progress(watch) => {
                if let Some(stream) = self.watch.as_mut().filter(|open| open.is_of(&watch)) {
                    stream.ask(id);
                }
                return;
            }
            Call::Grant => SingleCall::Grant(self.lease_s),
            Call::Revoke(lease) => SingleCall::Revoke(lease),
            Call::Read => SingleCall::Read(translator.keys.watched()),
            Call::Transaction(transaction) => {
                SingleCall::Transaction(translator.transaction(&transaction, unix_ms()))
            }
        };
        self.under_way += 1;
        self.connection.events.spawn(async move {
            let told = calls::ask(lines, ask).await;
            Event::Called(generation, id, told)
        });
    }

    /// Reads the meta key, and writes it if it is absent and this node may do so.
    pub(crate) fn ask_meta(&mut self, keys: &Keys) {
        if self.meta.is_due()
            && self.connection.up().is_some()
            && let Some(transaction) = self.meta.request(keys)
        {
            self.connection.transact(transaction, Event::Meta);
        }
    }

    /// Handles the result of reading or writing the meta key. Returns whether etcd's history differs from the one
    /// recorded in the data directory: a cluster is recorded there, but the key is absent or belongs to another
    /// cluster.
    pub(crate) fn meta_told(
        &mut self,
        generation: u32,
        told: TaskOutcome,
        translator: &mut Translator,
        inputs: &mut Inputs,
    ) -> bool {
        self.meta.is_asked = false;
        let outcome = match told {
            Ok(outcome) => outcome,
            Err(failure) => {
                self.failed(generation, &failure, inputs);
                return false;
            }
        };
        self.works(generation);
        let rows = outcome.reads().next().unwrap_or_default();
        let learned = match meta_in(&translator.keys, rows) {
            Ok(found) => self.meta.learn(found, &translator.keys),
            Err(unreadable) => Err(MetaError::Unusable(unreadable.to_string())),
        };
        match learned {
            Ok(found) => translator.founded(found),
            Err(MetaError::Unusable(why)) => self.connection.trouble.begins(&why),
            Err(MetaError::OtherCluster) => {
                self.connection.trouble.begins(OTHER_CLUSTER);
                return true;
            }
        }
        false
    }

    fn keep_alive(&mut self, id: CallId, lease: LeaseId, (generation, lines): (u32, Lines)) {
        if let Some(stream) = self.lease.as_mut().filter(|open| open.is_of(&lease)) {
            return stream.ask(id);
        }
        let events = &self.connection.events;
        let report = events.reporter(move |renewal| Event::Renewal(generation, lease, renewal));
        let keep = |requests| streams::keep(lines, lease, requests, report);
        let mut stream = EtcdStream::open(lease, keep);
        // Opening the stream sends the first keepalive, so no further request is needed.
        stream.note(id);
        self.lease = Some(stream);
    }

    fn watch(
        &mut self,
        watch: WatchId,
        range: (String, String),
        from: Revision,
        (generation, lines): (u32, Lines),
    ) {
        let events = &self.connection.events;
        let report = events.reporter(move |seen| Event::Watched(generation, watch, seen));
        let follow = |requests| streams::follow(lines, range, from, requests, report);
        self.watch = Some(EtcdStream::open(watch, follow));
    }

    /// Handles a granted lease. etcd may grant a longer lease than requested. The node accepts it, although a longer
    /// lease delays the detection of lost nodes.
    fn granted(&self, lease: LeaseId, granted_s: i64) -> Reply {
        if granted_s != self.lease_s {
            let asked_s = self.lease_s;
            warn!(
                "etcd grants leases of {granted_s} s, cluster.lease is {asked_s} s: lost hosts are detected later"
            );
        }
        let seconds = u64::try_from(granted_s).unwrap_or(0);
        Reply::Granted(lease, seconds.saturating_mul(1_000))
    }

    pub(crate) fn told(
        &mut self,
        generation: u32,
        id: CallId,
        told: Result<EtcdAnswer, CallFailure>,
        translator: &mut Translator,
        inputs: &mut Inputs,
    ) {
        self.under_way -= 1;
        let reply = match told {
            Ok(EtcdAnswer::Granted(lease, granted_s)) => Ok(self.granted(lease, granted_s)),
            Ok(EtcdAnswer::Revoked) => return self.works(generation),
            Ok(EtcdAnswer::Read(read)) => translator
                .snapshot(read.header.as_ref(), &read.kvs)
                .map(Reply::Snapshot),
            Ok(EtcdAnswer::Outcome(outcome)) => reply_of(&outcome, translator),
            Err(failure @ CallFailure::Refused(_)) => {
                self.connection.trouble.begins(&failure.to_string());
                return inputs.delay(NodeInput::Reply(id, Reply::Refused));
            }
            Err(failure @ CallFailure::NotSent(_)) => {
                inputs.delay(NodeInput::Reply(id, Reply::Refused));
                return self.failed(generation, &failure, inputs);
            }
            // Without an answer, the outcome is unknown.
            Err(failure @ CallFailure::Unknown(_)) => {
                return self.failed(generation, &failure, inputs);
            }
        };
        match reply {
            Ok(reply) => {
                self.works(generation);
                inputs.push(NodeInput::Reply(id, reply));
            }
            // Treats an unreadable answer like a missing one.
            Err(unreadable) => self.connection.trouble.begins(&unreadable.to_string()),
        }
    }

    pub(crate) fn renewed(
        &mut self,
        generation: u32,
        lease: LeaseId,
        renewal: Renewal,
        inputs: &mut Inputs,
    ) {
        let Some(stream) = self.lease.as_mut().filter(|open| open.is_of(&lease)) else {
            return;
        };
        match renewal {
            Renewal::Renewed => {
                let asked = stream.asked.front();
                self.took = asked.map_or(self.took, |(_, asked)| asked.elapsed());
                if let Some(id) = stream.answered() {
                    inputs.push(NodeInput::Reply(id, Reply::KeptAlive));
                }
            }
            Renewal::Gone => {
                let call = stream.answered();
                self.lease = None;
                if let Some(id) = call {
                    inputs.push(NodeInput::Reply(id, Reply::LeaseGone));
                }
            }
            Renewal::Ended(failure) => {
                self.lease = None;
                self.failed(generation, &failure, inputs);
            }
        }
    }

    pub(crate) fn watched(
        &mut self,
        generation: u32,
        watch: WatchId,
        seen: Result<WatchResponse, CallFailure>,
        translator: &mut Translator,
        inputs: &mut Inputs,
    ) {
        let Some(stream) = self.watch.as_mut().filter(|open| open.is_of(&watch)) else {
            return;
        };
        match seen {
            Ok(answer) if answer.events.is_empty() => {
                let (revision, _) = header_of(answer.header.as_ref());
                if let Some(id) = stream.answered() {
                    inputs.push(NodeInput::Reply(id, Reply::Progress(revision)));
                }
            }
            Ok(answer) => {
                let mut changes = Vec::with_capacity(answer.events.len());
                let rows = answer.events.iter().filter_map(|event| event.kv.as_ref());
                for row in rows {
                    match translator.change(row) {
                        Ok(change) => changes.extend(change),
                        Err(unreadable) => {
                            self.connection.trouble.begins(&unreadable.to_string());
                            return self.end_watch(inputs);
                        }
                    }
                }
                inputs.push(NodeInput::Changed(watch, changes));
            }
            Err(failure) => {
                self.end_watch(inputs);
                if let CallFailure::Refused(_) = failure {
                    info!("etcd: {failure}: reading all keys again");
                } else {
                    self.failed(generation, &failure, inputs);
                }
            }
        }
    }

    fn end_watch(&mut self, inputs: &mut Inputs) {
        if let Some(stream) = self.watch.take() {
            inputs.push(NodeInput::WatchEnded(stream.id));
        }
    }

    fn works(&mut self, generation: u32) {
        self.connection.works(generation);
        self.connection.trouble.ends();
    }

    fn is_silent(&self, now: Instant) -> bool {
        let lease = self.lease.as_ref();
        let watch = self.watch.as_ref();
        lease.is_some_and(|stream| stream.is_silent(now))
            || watch.is_some_and(|stream| stream.is_silent(now))
    }

    /// Handles a failure by abandoning the connection and opening another one. Does nothing if that connection has
    /// already been abandoned.
    fn failed(&mut self, generation: u32, failure: &CallFailure, inputs: &mut Inputs) {
        if self.connection.failed(generation, failure) {
            self.lease = None;
            self.end_watch(inputs);
            self.connection.connect();
        }
    }
}

fn refuse(id: CallId, call: &Call, inputs: &mut Inputs) {
    match call {
        Call::Watch { watch, .. } => inputs.delay(NodeInput::WatchEnded(*watch)),
        Call::KeepAlive(_) | Call::Progress(_) => {}
        Call::Grant | Call::Revoke(_) | Call::Read | Call::Transaction(_) => {
            inputs.delay(NodeInput::Reply(id, Reply::Refused));
        }
    }
}

fn reply_of(outcome: &TxnResponse, translator: &mut Translator) -> Result<Reply, Unreadable> {
    let header = outcome.header.as_ref();
    let (revision, etcd) = header_of(header);
    let read = outcome.reads().last();
    let snapshot = read.map(|rows| translator.snapshot(header, rows));
    let snapshot = snapshot.transpose()?;
    Ok(Reply::Outcome {
        committed: outcome.succeeded,
        revision,
        etcd,
        snapshot,
    })
}

const OTHER_CLUSTER: &str = "this etcd was emptied, or its cluster is not the one of this node's data directory: \
                             check [cluster] etcd and name, or restore etcd";

// The meta key contains the cluster's constants and the lowest inner version (inter-node protocol version) that its
// nodes may have. All other requests to etcd wait until it is known.
//
// The first node of the cluster writes it. A node that has seen etcd before never writes it: if the key is absent or
// belongs to another cluster, etcd's history is not the one that the node has seen.

#[derive(Debug)]
pub(crate) struct Meta {
    expected: Option<Box<str>>,
    /// Whether this node's data directory shows that the node has connected to etcd before.
    is_known: bool,
    found: Option<MetaValue>,
    is_asked: bool,
}

#[derive(Debug)]
pub(crate) enum MetaError {
    /// The key is absent or belongs to another cluster, although this node has connected to etcd before.
    OtherCluster,
    /// The key is unreadable or was written by another version. Contains the reason.
    Unusable(String),
}

impl Meta {
    pub(crate) fn new(kept: &Kept) -> Self {
        Self {
            expected: kept.cluster.clone(),
            is_known: kept.cluster.is_some() || kept.memory().newest.0 > 0,
            found: None,
            is_asked: false,
        }
    }

    pub(crate) fn id(&self) -> Option<Box<str>> {
        let found = self.found.as_ref().map(|meta| meta.id.clone());
        found.or_else(|| self.expected.clone())
    }

    fn is_found(&self) -> bool {
        self.found.is_some()
    }

    /// Returns the key of the hash that maps channels to slots, or `None` until the meta key has been read.
    pub(crate) fn slot_key(&self) -> Option<[u8; 16]> {
        self.found.as_ref().and_then(MetaValue::slot_key)
    }

    fn is_due(&self) -> bool {
        !self.is_found() && !self.is_asked
    }

    /// Returns a transaction that reads the meta key. If the key is absent and this node may create it, the same
    /// transaction creates it. Returns `None` if the system's random number generator fails. Once the transaction has
    /// ended, `is_asked` must be reset.
    pub(crate) fn request(&mut self, keys: &Keys) -> Option<TxnRequest> {
        let key = keys.meta();
        let read = RequestOp::read(RangeRequest::key(key.as_str()));
        let mut write = Vec::new();
        if !self.is_known {
            let proposal = MetaValue::new(random()?, SLOTS, random()?);
            write.push(RequestOp::put(key.as_str(), schema::write(&proposal)));
        }
        write.push(read.clone());
        self.is_asked = true;
        Some(TxnRequest {
            compare: vec![Compare::absent(key)],
            success: write,
            failure: vec![read],
        })
    }

    /// Records the meta key's value, which is `None` if the key is absent. Returns the value if it belongs to this
    /// node's cluster.
    pub(crate) fn learn(
        &mut self,
        found: Option<MetaValue>,
        keys: &Keys,
    ) -> Result<&MetaValue, MetaError> {
        let is_expected = match (&self.expected, &found) {
            (Some(expected), Some(found)) => found.id == *expected,
            (_, None) => false,
            (None, Some(_)) => true,
        };
        let Some(found) = found.filter(|_| is_expected) else {
            return Err(MetaError::OtherCluster);
        };
        if found.slots != SLOTS || found.slot_key().is_none() {
            return Err(MetaError::Unusable(format!(
                "the key {} of etcd: it is of {} slots, and this version has {SLOTS}: use the version that wrote it",
                keys.meta(),
                found.slots
            )));
        }
        Ok(self.found.insert(found))
    }
}

// A stream of requests to etcd: either the keepalives of a lease or a watch.

/// An open stream. Dropping it aborts the stream's task.
#[derive(Debug)]
pub(crate) struct EtcdStream<Id> {
    id: Id,
    requests: mpsc::Sender<()>,
    /// The unanswered requests and the times at which they were sent, oldest first.
    asked: VecDeque<(CallId, Instant)>,
    _task: Task,
}

impl<Id: PartialEq> EtcdStream<Id> {
    /// Spawns the stream's task, which receives the requests.
    pub(crate) fn open<T: Future<Output = ()> + 'static>(
        id: Id,
        task: impl FnOnce(mpsc::Receiver<()>) -> T,
    ) -> Self {
        let (requests, receiver) = mpsc::channel(REQUESTS_MAX);
        Self {
            id,
            requests,
            asked: VecDeque::new(),
            _task: Task(tokio::task::spawn_local(task(receiver))),
        }
    }

    fn is_of(&self, id: &Id) -> bool {
        self.id == *id
    }

    /// Sends a request. etcd does not answer every request, so an answer is attributed to the oldest unanswered one.
    pub(crate) fn ask(&mut self, call: CallId) {
        if self.requests.try_send(()).is_ok() {
            self.note(call);
        }
    }

    /// Records the request that is implicitly sent when the stream opens.
    pub(crate) fn note(&mut self, call: CallId) {
        self.asked.push_back((call, Instant::now()));
    }

    fn is_silent(&self, now: Instant) -> bool {
        self.asked
            .front()
            .is_some_and(|(_, asked)| now.duration_since(*asked) >= SILENT)
    }

    /// Returns the oldest unanswered request, to which the received answer is attributed. Forgets all later requests,
    /// because etcd may have answered them together.
    pub(crate) fn answered(&mut self) -> Option<CallId> {
        let call = self.asked.pop_front().map(|(call, _)| call);
        self.asked.clear();
        call
    }
}

/// A task that is aborted when its owner is dropped.
#[derive(Debug)]
struct Task(JoinHandle<()>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Maximum number of requests queued for a stream. One request is sent per second.
const REQUESTS_MAX: usize = 4;
