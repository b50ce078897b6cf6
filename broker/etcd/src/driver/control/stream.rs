//! A stream of requests and answers to etcd: the keepalives of a lease, or a watch.

use crate::limits::SILENT;
use broker_core::cluster::message::CallId;
use std::collections::VecDeque;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// An open stream. Dropping it ends its task.
#[derive(Debug)]
pub(crate) struct Stream<Id> {
    id: Id,
    requests: mpsc::Sender<()>,
    /// Requests without an answer, the oldest first.
    asked: VecDeque<(CallId, Instant)>,
    _task: Task,
}

impl<Id: PartialEq> Stream<Id> {
    /// Runs the task of a stream, which is given the receiver of its requests.
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

    /// Whether it is the stream of this id.
    pub(crate) fn is_of(&self, id: &Id) -> bool {
        self.id == *id
    }

    pub(crate) fn into_id(self) -> Id {
        self.id
    }

    /// Asks once more. The answer is taken for the oldest request, and answers may be left out.
    pub(crate) fn ask(&mut self, call: CallId) {
        if self.requests.try_send(()).is_ok() {
            self.note(call);
        }
    }

    /// Notes a request that opening the stream has made.
    pub(crate) fn note(&mut self, call: CallId) {
        self.asked.push_back((call, Instant::now()));
    }

    /// Whether an answer is overdue.
    pub(crate) fn is_silent(&self, now: Instant) -> bool {
        self.asked
            .front()
            .is_some_and(|(_, asked)| now.duration_since(*asked) >= SILENT)
    }

    /// The time since the oldest request without an answer.
    pub(crate) fn waits_for(&self) -> Option<Duration> {
        self.asked.front().map(|(_, asked)| asked.elapsed())
    }

    /// The request that an answer belongs to. Those after it are forgotten: they may have been answered together.
    pub(crate) fn answered(&mut self) -> Option<CallId> {
        let call = self.asked.pop_front().map(|(call, _)| call);
        self.asked.clear();
        call
    }
}

/// A task that ends with its owner.
#[derive(Debug)]
struct Task(JoinHandle<()>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Requests that wait for a stream to take them: one a second is made.
const REQUESTS_MAX: usize = 4;
