//! Reports from the node's tasks to its thread. Tasks have no access to the node's state: each makes one call or reads
//! one stream, and includes the number of its connection in its report.

use crate::rpc::calls::{CallFailure, EtcdAnswer, Part};
use crate::rpc::generated::{TxnResponse, WatchResponse};
use crate::rpc::{connection::Lines, streams::Renewal};
use crate::{limits::EVENTS_MAX, operator::MemberStatus, writer::Request};
use broker_core::cluster::message::{CallId, Held, WatchId};
use broker_core::cluster::types::{LeaseId, Revision};
use std::net::IpAddr;
use std::rc::Rc;
use tokio::sync::mpsc;

/// A report from a task. The `u32` numbers identify the connection.
#[derive(Debug)]
pub(crate) enum Event {
    /// A connection attempt has completed.
    Connected(Which, u32, Result<Lines, Box<str>>),
    /// A call about leases or slots was answered or failed.
    Called(u32, CallId, Result<EtcdAnswer, CallFailure>),
    /// A keepalive of a lease was answered, or the keepalive stream has ended.
    Renewal(u32, LeaseId, Renewal),
    /// The watch delivered a response or has ended.
    Watched(u32, WatchId, Result<WatchResponse, CallFailure>),
    /// A page of a slot's records was read, or the load has ended.
    Loaded(u32, Held, Part),
    /// A batch of record changes was answered or failed.
    Written(u32, usize, Box<Request>, TaskOutcome),
    /// The meta key was read or written.
    Meta(u32, TaskOutcome),
    /// The report on this order was written; `None` if writing it failed.
    Reported(Option<Revision>),
    /// The lookup of a host name has completed.
    LookedUp(Box<str>, Resolved),
    /// An etcd member reported its status, or failed to.
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

/// Result of an etcd transaction.
pub(crate) type TaskOutcome = Result<TxnResponse, CallFailure>;

/// Addresses for a host name, from the system's resolver.
pub(crate) type Resolved = Result<Vec<IpAddr>, Box<str>>;

/// Spawns tasks that report to the node's thread. Each of the node's components holds a clone.
#[derive(Clone, Debug)]
pub(crate) struct TaskEvents(mpsc::Sender<Event>);

impl TaskEvents {
    /// Creates both ends of the report queue, which holds at most [`EVENTS_MAX`].
    pub(crate) fn channel() -> (Self, mpsc::Receiver<Event>) {
        let (sender, receiver) = mpsc::channel(EVENTS_MAX);
        (Self(sender), receiver)
    }

    /// Spawns a task on the node's thread; its result is reported to the node.
    pub(crate) fn spawn(&self, task: impl Future<Output = Event> + 'static) {
        let events = self.0.clone();
        tokio::task::spawn_local(async move {
            let event = task.await;
            // Nobody listens any more if the node has ended.
            let _ = events.send(event).await;
        });
    }

    /// Creates the callback through which a task sends multiple reports.
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
