//! [`EtcdConnection`] opens and reopens one of the node's two connections to etcd. It reports problems with the
//! connection, and unreadable messages from other nodes.

use crate::driver::event::{Event, TaskEvents, TaskOutcome, Which};
use crate::limits::{NOTE_EVERY, RETRY, RETRY_MAX};
use crate::rpc::calls::{self, CallFailure};
use crate::rpc::connection::{Lines, connect};
use crate::rpc::generated::TxnRequest;
use crate::{config::Options, names::Name, system::now, wire::UnreadableMessage};
use broker_core::cluster::types::NodeId;
use broker_core::time::Now;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use tracing::{info, warn};

/// A connection to etcd that is open or being opened. After a failure, the next etcd member is tried.
#[derive(Debug)]
pub(crate) struct EtcdConnection {
    which: Which,
    pub(crate) options: Arc<Options>,
    member: usize,
    /// Number of the current connection. Events from earlier connections have other numbers and are ignored.
    generation: u32,
    state: State,
    failures: u32,
    /// Problems with the connection, and with etcd itself.
    pub(crate) trouble: ConnectionTrouble,
    pub(crate) events: TaskEvents,
}

#[derive(Debug)]
enum State {
    Down { retry_at: Instant },
    Connecting,
    Up(Lines),
}

impl EtcdConnection {
    /// Creates a connection that is not open yet. `first` is the index of the first member to try.
    pub(crate) fn new(
        which: Which,
        options: Arc<Options>,
        first: usize,
        events: TaskEvents,
    ) -> Self {
        let trouble = match which {
            Which::Control => "etcd",
            Which::Records => "etcd, for records of channels",
        };
        let retry_at = Instant::now();
        Self {
            which,
            member: first % options.endpoints.len().max(1),
            options,
            generation: 0,
            state: State::Down { retry_at },
            failures: 0,
            trouble: ConnectionTrouble::new(trouble),
            events,
        }
    }

    pub(crate) fn up(&self) -> Option<(u32, &Lines)> {
        match &self.state {
            State::Up(lines) => Some((self.generation, lines)),
            State::Down { .. } | State::Connecting => None,
        }
    }

    /// Returns the endpoint of the etcd member to which the node is connected or connecting.
    pub(crate) fn endpoint(&self) -> Box<str> {
        let endpoint = self.options.endpoints.get(self.member);
        endpoint.cloned().unwrap_or_default()
    }

    /// Runs a transaction, and reports its outcome with the number of the connection. Does nothing if there is no
    /// connection.
    pub(crate) fn transact(
        &self,
        transaction: TxnRequest,
        report: impl FnOnce(u32, TaskOutcome) -> Event + 'static,
    ) {
        if let Some((generation, lines)) = self.up() {
            let lines = lines.clone();
            self.events.spawn(async move {
                report(generation, calls::answer(lines.txn(transaction)).await)
            });
        }
    }

    pub(crate) fn connect(&mut self) {
        match self.state {
            State::Down { retry_at } if Instant::now() >= retry_at => {}
            State::Down { .. } | State::Connecting | State::Up(_) => return,
        }
        self.generation += 1;
        self.state = State::Connecting;
        let (which, generation) = (self.which, self.generation);
        let (options, member) = (Arc::clone(&self.options), self.member);
        self.events.spawn(async move {
            Event::Connected(which, generation, connect(&options, member).await)
        });
    }

    /// Handles the result of a connection attempt. Returns `true` if the connection is now open.
    pub(crate) fn connected(&mut self, generation: u32, result: Result<Lines, Box<str>>) -> bool {
        if generation == self.generation {
            match result {
                Ok(lines) => self.state = State::Up(lines),
                Err(why) => self.down(&why),
            }
        }
        self.up().is_some()
    }

    pub(crate) fn works(&mut self, generation: u32) {
        if self.is_current(generation) {
            self.failures = 0;
        }
    }

    /// Handles a failed call. Returns `true` if the failure ended the connection, or `false` if etcd merely refused the
    /// call or the connection had already ended.
    pub(crate) fn failed(&mut self, generation: u32, failure: &CallFailure) -> bool {
        if let CallFailure::Refused(_) = failure {
            self.trouble.begins(&failure.to_string());
            return false;
        }
        let is_given_up = self.is_current(generation);
        if is_given_up {
            self.down(&failure.to_string());
        }
        is_given_up
    }

    fn is_current(&self, generation: u32) -> bool {
        self.up().is_some_and(|(current, _)| current == generation)
    }

    fn down(&mut self, why: &str) {
        self.trouble.begins(&format!("{}: {why}", self.endpoint()));
        self.member = (self.member + 1) % self.options.endpoints.len().max(1);
        // After a working connection is lost, the first attempt is made immediately.
        let pause = match self.failures {
            0 => Duration::ZERO,
            count => RETRY.saturating_mul(1 << count.min(8)).min(RETRY_MAX),
        };
        self.failures += 1;
        let retry_at = Instant::now() + pause;
        self.state = State::Down { retry_at };
    }
}

// The current problems with a connection to etcd, or with messages from other nodes. Shown in the log and to operators.

#[derive(Debug)]
pub(crate) struct ConnectionTrouble {
    of: &'static str,
    current: Option<Box<str>>,
    /// Problems that have been logged. A problem is not logged again until all problems have been resolved.
    logged: Vec<Box<str>>,
}

impl ConnectionTrouble {
    pub(crate) fn new(of: &'static str) -> Self {
        Self {
            of,
            current: None,
            logged: Vec::new(),
        }
    }

    pub(crate) fn current(&self) -> Option<&str> {
        self.current.as_deref()
    }

    /// Records a problem. Logs it unless it has already been logged since the last recovery.
    pub(crate) fn begins(&mut self, why: &str) {
        self.current = Some(why.into());
        let is_logged = self.logged.iter().any(|logged| **logged == *why);
        if !is_logged && self.logged.len() < LINES_MAX {
            warn!("{}: {why}", self.of);
            self.logged.push(why.into());
        }
    }

    pub(crate) fn ends(&mut self) {
        if self.current.take().is_some() {
            info!("{}: it answers again", self.of);
            self.logged.clear();
        }
    }
}

/// The nodes that sent unreadable messages, and when this was last logged for each of them.
#[derive(Debug, Default)]
pub(crate) struct Strange(BTreeMap<NodeId, Now>);

impl Strange {
    /// Records that `node` sent an unreadable message. For each node, logs at most one line every [`NOTE_EVERY`].
    pub(crate) fn note(&mut self, node: NodeId, name: &Name, why: UnreadableMessage) {
        let now = now();
        let is_recent = |at: &Now| Duration::from_millis(now.since(*at)) < NOTE_EVERY;
        if !self.0.get(&node).is_some_and(is_recent) {
            self.0.insert(node, now);
            warn!(
                "messages of {name} cannot be read, so it counts as silent: {why}; versions that follow each other \
                 share a cluster, for others stop all nodes, then start all with one version"
            );
        }
    }
}

/// Maximum number of distinct problems logged before all of them have been resolved. Enough for several problems per
/// etcd member.
const LINES_MAX: usize = 16;

#[cfg(test)]
mod trouble_tests {
    use super::*;

    #[test]
    fn each_thing_that_is_wrong_is_logged_once() {
        let mut trouble = ConnectionTrouble::new("etcd");
        #[rustfmt::skip] // a list
        let cases = ["a: refused", "b: refused", "a: refused", "it cannot be read"];
        for why in cases {
            trouble.begins(why);
            assert_eq!(trouble.current(), Some(why));
        }
        let logged: Vec<&str> = trouble.logged.iter().map(|logged| &**logged).collect();
        assert_eq!(logged, ["a: refused", "b: refused", "it cannot be read"]);
        for number in 0..2 * LINES_MAX {
            trouble.begins(&number.to_string());
        }
        assert_eq!(trouble.logged.len(), LINES_MAX);
        trouble.ends();
        assert_eq!((trouble.current(), trouble.logged.len()), (None, 0));
    }
}
