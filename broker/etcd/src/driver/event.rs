//! Reports from the node's tasks to its main thread. A task cannot access the node's state. It makes a single call or
//! reads a single stream, and reports the result together with the number of the connection that it used.

use crate::rpc::calls::{CallFailure, EtcdAnswer, Part};
use crate::rpc::generated::{TxnResponse, WatchResponse};
use crate::rpc::{connection::Lines, streams::Renewal};
use crate::{limits::EVENTS_MAX, operator::MemberStatus, writer::Request};
use broker_core::cluster::message::{CallId, Held, WatchId};
use broker_core::cluster::types::{LeaseId, Revision};
use std::net::IpAddr;
use std::rc::Rc;
use tokio::sync::mpsc;

/// A report from a task. The `u32` numbers identify connections.
#[derive(Debug)]
pub(crate) enum Event {
    Connected(Which, u32, Result<Lines, Box<str>>),
    /// A call about leases or slots was answered, or failed.
    Called(u32, CallId, Result<EtcdAnswer, CallFailure>),
    Renewal(u32, LeaseId, Renewal),
    Watched(u32, WatchId, Result<WatchResponse, CallFailure>),
    /// A page of a slot's records has been read, or the load has ended.
    Loaded(u32, Held, Part),
    Written(u32, usize, Box<Request>, TaskOutcome),
    Meta(u32, TaskOutcome),
    /// An attempt to write the report for an operator's order has finished. Contains the revision of the order, or
    /// `None` if the attempt failed.
    Reported(Option<Revision>),
    LookedUp(Box<str>, Resolved),
    Measured(u32, Result<MemberStatus, Box<str>>),
    Kept(Result<(), Box<str>>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Which {
    Control,
    Records,
}

pub(crate) type TaskOutcome = Result<TxnResponse, CallFailure>;

pub(crate) type Resolved = Result<Vec<IpAddr>, Box<str>>;

/// Spawns tasks that report to the node's thread. Each component of the node has a clone.
#[derive(Clone, Debug)]
pub(crate) struct TaskEvents(mpsc::Sender<Event>);

impl TaskEvents {
    /// Creates both ends of the report queue, which holds at most [`EVENTS_MAX`] reports.
    pub(crate) fn channel() -> (Self, mpsc::Receiver<Event>) {
        let (sender, receiver) = mpsc::channel(EVENTS_MAX);
        (Self(sender), receiver)
    }

    /// Spawns a task on the node's thread, and reports its result to the node.
    pub(crate) fn spawn(&self, task: impl Future<Output = Event> + 'static) {
        let events = self.0.clone();
        tokio::task::spawn_local(async move {
            let event = task.await;
            // The node may have ended.
            let _ = events.send(event).await;
        });
    }

    /// Creates a callback for a task that reports more than once.
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
