//! Reports of the node's tasks to its thread. A task has no state of the node: it makes one call or reads one stream,
//! and its report says over which connection.

use crate::rpc::calls::{CallFailure, EtcdAnswer, Part};
use crate::rpc::generated::{TxnResponse, WatchResponse};
use crate::rpc::{connection::Lines, streams::Renewal};
use crate::{limits::EVENTS_MAX, operator::MemberStatus, writer::Request};
use broker_core::cluster::message::{CallId, Held, WatchId};
use broker_core::cluster::types::{LeaseId, Revision};
use std::net::IpAddr;
use std::rc::Rc;
use tokio::sync::mpsc;

/// One report. Numbers are those of the connection.
#[derive(Debug)]
pub(crate) enum Event {
    /// An attempt to connect has ended.
    Connected(Which, u32, Result<Lines, Box<str>>),
    /// A call about leases and slots was answered, or failed.
    Called(u32, CallId, Result<EtcdAnswer, CallFailure>),
    /// A keepalive of a lease was answered, or its stream has ended.
    Renewal(u32, LeaseId, Renewal),
    /// The watch has an answer, or has ended.
    Watched(u32, WatchId, Result<WatchResponse, CallFailure>),
    /// A page of a slot's records was read, or the load has ended.
    Loaded(u32, Held, Part),
    /// A batch of changes of records was answered, or failed.
    Written(u32, usize, Box<Request>, TaskOutcome),
    /// The meta key was read or written.
    Meta(u32, TaskOutcome),
    /// The report about this order was written, or a report was not.
    Reported(Option<Revision>),
    /// The look-up of a host's name has ended.
    LookedUp(Box<str>, Resolved),
    /// The report of a member of etcd.
    Measured(u32, Result<MemberStatus, Box<str>>),
    /// The data directory was written.
    Kept(Result<(), Box<str>>),
}

/// The two connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Which {
    Control,
    Records,
}

/// The result of a transaction.
pub(crate) type TaskOutcome = Result<TxnResponse, CallFailure>;

/// The addresses of a name, from the system's resolver.
pub(crate) type Resolved = Result<Vec<IpAddr>, Box<str>>;

/// Runs tasks that report to the node's thread. A clone for each part of the node.
#[derive(Clone, Debug)]
pub(crate) struct TaskEvents(mpsc::Sender<Event>);

impl TaskEvents {
    /// The tasks' end and the node's: at most [`EVENTS_MAX`] wait between them.
    pub(crate) fn channel() -> (Self, mpsc::Receiver<Event>) {
        let (sender, receiver) = mpsc::channel(EVENTS_MAX);
        (Self(sender), receiver)
    }

    /// Runs a task on the node's thread, and reports its result.
    pub(crate) fn spawn(&self, task: impl Future<Output = Event> + 'static) {
        let events = self.0.clone();
        tokio::task::spawn_local(async move {
            let event = task.await;
            // Nobody listens any more if the node has ended.
            let _ = events.send(event).await;
        });
    }

    /// Reports what each task with several reports is given.
    pub(crate) fn reporter<T: 'static>(
        &self,
        name: impl Fn(T) -> Event + 'static,
    ) -> impl AsyncFn(T) + 'static {
        let shared = Rc::new((self.0.clone(), name));
        async move |what| {
            let (events, name) = &*shared;
            let _ = events.send(name(what)).await;
        }
    }
}
