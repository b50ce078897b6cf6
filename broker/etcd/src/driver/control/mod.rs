//! The connection for the registration's lease, the watch, and slots.

pub(super) mod capacity;
pub(super) mod meta;
pub(super) mod orders;

use super::log::trouble::Trouble;
use super::{Event as NodeEvent, Node, reporter};
use crate::client::calls::{self, Ask};
use crate::client::failure::Failure;
use crate::client::lease::{self, Renewal};
use crate::client::link::Link;
use crate::client::watch::{self, Sight};
use crate::limits::SILENT;
use crate::order::Service;
use crate::peers::Peers;
use crate::rpc::TxnResponse;
use crate::schema::translate::{Unreadable, header_of};
use broker_core::cluster::message::{Call, CallId, Input, Reply, WatchId};
use broker_core::cluster::types::{LeaseId, Revision};
use std::collections::VecDeque;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tracing::info;

/// The result of a single call.
pub(super) type Told = Result<calls::Told, Failure>;

/// What happens on the connection, each with the connection's number.
#[derive(Debug)]
pub(super) enum Event {
    Told(u32, CallId, Told),
    Renewal(u32, LeaseId, Renewal),
    Sight(u32, WatchId, Sight),
}

/// The connection, and what runs on it.
#[derive(Debug)]
pub(super) struct Control {
    pub(super) link: Link,
    ttl_seconds: i64,
    lease: Option<Stream<LeaseId>>,
    watch: Option<Stream<WatchId>>,
    /// Single calls without an answer.
    under_way: usize,
    /// How long etcd took for the last keepalive that it answered.
    pub(super) took: Duration,
    pub(super) trouble: Trouble,
}

/// A stream of requests and answers.
#[derive(Debug)]
struct Stream<Id> {
    id: Id,
    requests: mpsc::Sender<()>,
    /// Requests without an answer, the oldest first.
    asked: VecDeque<(CallId, Instant)>,
    _task: Task,
}

impl<Id> Stream<Id> {
    /// Asks once more. The answer is taken for the oldest request, and answers may be left out.
    fn ask(&mut self, call: CallId) {
        if self.requests.try_send(()).is_ok() {
            self.asked.push_back((call, Instant::now()));
        }
    }

    fn is_silent(&self, now: Instant) -> bool {
        self.asked
            .front()
            .is_some_and(|(_, asked)| now.duration_since(*asked) >= SILENT)
    }

    /// The request that an answer belongs to. Those after it are forgotten: they may have been answered together.
    fn answered(&mut self) -> Option<CallId> {
        let call = self.asked.pop_front().map(|(call, _)| call);
        self.asked.clear();
        call
    }
}

/// A task that ends with its owner.
#[derive(Debug)]
struct Task(JoinHandle<()>);

impl Task {
    fn spawn(task: impl Future<Output = ()> + 'static) -> Self {
        Self(tokio::task::spawn_local(task))
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Requests that wait for a stream to take them: one a second is made.
const REQUESTS_MAX: usize = 4;

impl Control {
    pub(super) fn new(link: Link, ttl_ms: u64) -> Self {
        Self {
            link,
            ttl_seconds: i64::try_from(ttl_ms / 1_000).unwrap_or(i64::MAX),
            lease: None,
            watch: None,
            under_way: 0,
            took: Duration::ZERO,
            trouble: Trouble::new("etcd"),
        }
    }

    /// Whether no single call waits for its answer.
    pub(super) fn is_idle(&self) -> bool {
        self.under_way == 0
    }

    fn works(&mut self, generation: u32) {
        self.link.works(generation);
        self.trouble.ends();
    }

    fn is_silent(&self, now: Instant) -> bool {
        let lease = self
            .lease
            .as_ref()
            .is_some_and(|stream| stream.is_silent(now));
        lease
            || self
                .watch
                .as_ref()
                .is_some_and(|stream| stream.is_silent(now))
    }
}

impl<S: Service, P: Peers> Node<S, P> {
    /// Carries out a call of the core.
    pub(super) fn call(&mut self, id: CallId, call: Call) {
        let up = self
            .control
            .link
            .up()
            .map(|(generation, lines)| (generation, lines.clone()));
        let Some((generation, lines)) = up.filter(|_| self.meta.is_found()) else {
            return self.refuse(id, &call);
        };
        let ask = match call {
            Call::KeepAlive(lease) => return self.keep_alive(id, lease),
            Call::Watch { watch, from } => return self.watch(watch, from),
            Call::Progress(watch) => {
                if let Some(stream) = self.control.watch.as_mut().filter(|open| open.id == watch) {
                    stream.ask(id);
                }
                return;
            }
            Call::Grant => Ask::Grant(self.control.ttl_seconds),
            Call::Revoke(lease) => Ask::Revoke(lease),
            Call::Read => {
                let (first, end) = self.translator.keys.watched();
                Ask::Read(first, end)
            }
            Call::Transaction(transaction) => {
                Ask::Transaction(self.translator.transaction(&transaction))
            }
        };
        self.control.under_way += 1;
        let report = reporter(&self.events, move |told| {
            NodeEvent::Control(Event::Told(generation, id, told))
        });
        tokio::task::spawn_local(async move { report(calls::ask(lines, ask).await).await });
    }

    /// Nothing was sent. The core learns it with the next tick.
    fn refuse(&mut self, id: CallId, call: &Call) {
        match call {
            Call::Watch { watch, .. } => self.delayed.push(Input::WatchEnded(*watch)),
            Call::KeepAlive(_) | Call::Progress(_) => {}
            Call::Grant | Call::Revoke(_) | Call::Read | Call::Transaction(_) => {
                self.delayed.push(Input::Reply(id, Reply::Refused));
            }
        }
    }

    fn keep_alive(&mut self, id: CallId, lease: LeaseId) {
        let Some((generation, lines)) = self.control.link.up() else {
            return;
        };
        if self
            .control
            .lease
            .as_ref()
            .is_none_or(|stream| stream.id != lease)
        {
            let lines = lines.clone();
            let (requests, receiver) = mpsc::channel(REQUESTS_MAX);
            let report = reporter(&self.events, move |renewal| {
                NodeEvent::Control(Event::Renewal(generation, lease, renewal))
            });
            // Opening the stream is a keepalive: no request is sent for it.
            self.control.lease = Some(Stream {
                id: lease,
                requests,
                asked: VecDeque::from([(id, Instant::now())]),
                _task: Task::spawn(lease::keep(lines, lease, receiver, report)),
            });
        } else if let Some(stream) = &mut self.control.lease {
            stream.ask(id);
        }
    }

    fn watch(&mut self, watch: WatchId, from: Revision) {
        let Some((generation, lines)) = self.control.link.up() else {
            return;
        };
        let range = self.translator.keys.watched();
        let (requests, receiver) = mpsc::channel(REQUESTS_MAX);
        let report = reporter(&self.events, move |sight| {
            NodeEvent::Control(Event::Sight(generation, watch, sight))
        });
        self.control.watch = Some(Stream {
            id: watch,
            requests,
            asked: VecDeque::new(),
            _task: Task::spawn(watch::follow(lines.clone(), range, from, receiver, report)),
        });
    }

    pub(super) fn control_event(&mut self, event: Event) {
        match event {
            Event::Told(generation, id, told) => {
                self.control.under_way -= 1;
                self.told(generation, id, told);
            }
            Event::Renewal(generation, lease, renewal) => self.renewed(generation, lease, renewal),
            Event::Sight(generation, watch, sight) => self.saw(generation, watch, sight),
        }
    }

    fn told(&mut self, generation: u32, id: CallId, told: Told) {
        let reply = match told {
            Ok(calls::Told::Granted(lease)) => Ok(Reply::Granted(lease)),
            Ok(calls::Told::Revoked) => return self.control.works(generation),
            Ok(calls::Told::Read(read)) => self
                .translator
                .snapshot(read.header.as_ref(), &read.kvs)
                .map(Reply::Snapshot),
            Ok(calls::Told::Outcome(outcome)) => self.outcome(&outcome),
            Err(failure @ Failure::Refused(_)) => {
                self.control.trouble.begins(&failure.to_string());
                return self.delayed.push(Input::Reply(id, Reply::Refused));
            }
            Err(failure @ Failure::NotSent(_)) => {
                self.delayed.push(Input::Reply(id, Reply::Refused));
                return self.control_failed(generation, &failure);
            }
            // Without a reply the core counts the outcome as unknown.
            Err(failure @ Failure::Unknown(_)) => return self.control_failed(generation, &failure),
        };
        match reply {
            Ok(reply) => {
                self.control.works(generation);
                self.inputs.push_back(Input::Reply(id, reply));
            }
            // What was read is not used: as if there had been no answer.
            Err(unreadable) => self.control.trouble.begins(&unreadable.to_string()),
        }
    }

    fn outcome(&mut self, outcome: &TxnResponse) -> Result<Reply, Unreadable> {
        let header = outcome.header.as_ref();
        let (revision, etcd) = header_of(header);
        let read = outcome.reads().last();
        let snapshot = read.map(|rows| self.translator.snapshot(header, rows));
        let snapshot = snapshot.transpose()?;
        Ok(Reply::Outcome {
            committed: outcome.succeeded,
            revision,
            etcd,
            snapshot,
        })
    }

    fn renewed(&mut self, generation: u32, lease: LeaseId, renewal: Renewal) {
        let Some(stream) = self.control.lease.as_mut().filter(|open| open.id == lease) else {
            return;
        };
        match renewal {
            Renewal::Renewed => {
                let asked = stream.asked.front().map(|(_, asked)| *asked);
                self.control.took = asked.map_or(self.control.took, |asked| asked.elapsed());
                let call = stream.answered();
                self.inputs
                    .extend(call.map(|id| Input::Reply(id, Reply::KeptAlive)));
            }
            Renewal::Gone => {
                let call = stream.answered();
                self.control.lease = None;
                self.inputs
                    .extend(call.map(|id| Input::Reply(id, Reply::LeaseGone)));
            }
            Renewal::Ended(failure) => {
                self.control.lease = None;
                self.control_failed(generation, &failure);
            }
        }
    }

    fn saw(&mut self, generation: u32, watch: WatchId, sight: Sight) {
        let Some(stream) = self.control.watch.as_mut().filter(|open| open.id == watch) else {
            return;
        };
        match sight {
            Sight::Changes(rows) => {
                let mut changes = Vec::with_capacity(rows.len());
                for row in &rows {
                    match self.translator.change(row) {
                        Ok(change) => changes.extend(change),
                        Err(unreadable) => {
                            self.control.trouble.begins(&unreadable.to_string());
                            return self.end_watch();
                        }
                    }
                }
                self.inputs.push_back(Input::Changed(watch, changes));
            }
            Sight::Progress(revision) => {
                let call = stream.answered();
                let reply = call.map(|id| Input::Reply(id, Reply::Progress(revision)));
                self.inputs.extend(reply);
            }
            Sight::Ended(failure) => {
                self.end_watch();
                if let Failure::Refused(_) = failure {
                    info!("etcd: {failure}: all is read again");
                } else {
                    self.control_failed(generation, &failure);
                }
            }
        }
    }

    fn end_watch(&mut self) {
        if let Some(stream) = self.control.watch.take() {
            self.inputs.push_back(Input::WatchEnded(stream.id));
        }
    }

    /// The connection is given up, unless it was given up already.
    pub(super) fn control_failed(&mut self, generation: u32, failure: &Failure) {
        let endpoint = self.control.link.endpoint().to_owned();
        if let Failure::Refused(_) = failure {
            return self.control.trouble.begins(&failure.to_string());
        }
        if self.control.link.failed(generation, Instant::now()) {
            self.control
                .trouble
                .begins(&format!("{endpoint}: {failure}"));
            self.control.lease = None;
            self.end_watch();
            self.connect(super::Which::Control);
        }
    }

    /// Gives up connections that do not answer.
    pub(super) fn watch_over_links(&mut self) {
        let current = self.control.link.up().map(|(generation, _)| generation);
        if let Some(generation) = current.filter(|_| self.control.is_silent(Instant::now())) {
            self.control_failed(generation, &Failure::late());
        }
    }
}
