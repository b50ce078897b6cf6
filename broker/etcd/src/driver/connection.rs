//! One of the node's two connections to etcd: the attempts to get it, and its trouble. Also the trouble with messages
//! of other nodes.

use crate::driver::event::{Event, Events, Which};
use crate::rpc::calls::Failure;
use crate::rpc::connection::{Lines, Link};
use crate::{config::Options, limits::NOTE_EVERY, names::Name, system::now, wire::Unreadable};
use broker_core::cluster::types::NodeId;
use broker_core::time::Now;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use tracing::{info, warn};

/// A connection, or the attempts to get one. After one that failed the next member is tried.
#[derive(Debug)]
pub(crate) struct Connection {
    which: Which,
    link: Link,
    trouble: Trouble,
    events: Events,
}

impl Connection {
    /// No connection yet; the first member to try is `first`, of those there are.
    pub(crate) fn new(which: Which, options: Arc<Options>, first: usize, events: Events) -> Self {
        let trouble = match which {
            Which::Control => "etcd",
            Which::Records => "etcd, for records of channels",
        };
        Self {
            which,
            link: Link::new(options, first, Instant::now()),
            trouble: Trouble::new(trouble),
            events,
        }
    }

    /// The connection, if there is one, and its number.
    pub(crate) fn up(&self) -> Option<(u32, &Lines)> {
        self.link.up()
    }

    /// The configured members, and the one that is used.
    pub(crate) fn member(&self) -> (Arc<Options>, usize) {
        self.link.member()
    }

    /// Runs tasks whose calls go over it.
    pub(crate) fn events(&self) -> &Events {
        &self.events
    }

    /// Connects if it is time.
    pub(crate) fn connect(&mut self) {
        let Some((generation, attempt)) = self.link.attempt(Instant::now()) else {
            return;
        };
        let which = self.which;
        self.events
            .spawn(async move { Event::Connected(which, generation, attempt.await) });
    }

    /// An attempt has ended. Returns whether there is a connection.
    pub(crate) fn connected(&mut self, generation: u32, result: Result<Lines, Box<str>>) -> bool {
        let endpoint = self.link.endpoint().to_owned();
        let failed = self.link.connected(generation, result, Instant::now());
        if let Some(why) = failed {
            self.trouble.begins(&format!("{endpoint}: {why}"));
            return false;
        }
        self.link.up().is_some()
    }

    /// A call over the connection was answered.
    pub(crate) fn works(&mut self, generation: u32) {
        self.link.works(generation);
    }

    /// A call failed. Returns true if the connection is given up for it: not where etcd refused the call, nor if
    /// the connection was given up already.
    pub(crate) fn failed(&mut self, generation: u32, failure: &Failure) -> bool {
        let endpoint = self.link.endpoint().to_owned();
        if let Failure::Refused(_) = failure {
            self.trouble.begins(&failure.to_string());
            return false;
        }
        let is_given_up = self.link.failed(generation, Instant::now());
        if is_given_up {
            self.trouble.begins(&format!("{endpoint}: {failure}"));
        }
        is_given_up
    }

    /// Something is wrong with etcd, not with the connection.
    pub(crate) fn trouble_begins(&mut self, why: &str) {
        self.trouble.begins(why);
    }

    /// All is well.
    pub(crate) fn trouble_ends(&mut self) {
        self.trouble.ends();
    }

    /// The current trouble, if there is any.
    pub(crate) fn trouble(&self) -> Option<&str> {
        self.trouble.current()
    }
}

// Trouble while it lasts, for the log and for operators who ask: of a connection to etcd, and of messages of other
// nodes.

/// Trouble of one connection.
#[derive(Debug)]
struct Trouble {
    /// The purpose of the connection, in the log.
    of: &'static str,
    current: Option<Box<str>>,
    /// Its lines of the log: each thing once, until nothing is wrong any more.
    logged: Vec<Box<str>>,
}

impl Trouble {
    /// None so far.
    pub(crate) fn new(of: &'static str) -> Self {
        Self {
            of,
            current: None,
            logged: Vec::new(),
        }
    }

    /// The current trouble, if there is any.
    pub(crate) fn current(&self) -> Option<&str> {
        self.current.as_deref()
    }

    /// Something is wrong: logged, unless it was logged since all was well.
    fn begins(&mut self, why: &str) {
        self.current = Some(why.into());
        let is_logged = self.logged.iter().any(|logged| **logged == *why);
        if !is_logged && self.logged.len() < LINES_MAX {
            warn!("{}: {why}", self.of);
            self.logged.push(why.into());
        }
    }

    /// All is well.
    fn ends(&mut self) {
        if self.current.take().is_some() {
            info!("{}: it answers again", self.of);
            self.logged.clear();
        }
    }
}

/// Nodes whose messages cannot be read: when the log had a line about each.
#[derive(Debug, Default)]
pub(crate) struct Strange(BTreeMap<NodeId, Now>);

impl Strange {
    /// A message of this node cannot be read: logged at most every [`NOTE_EVERY`].
    pub(crate) fn note(&mut self, node: NodeId, name: &Name, why: Unreadable) {
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

/// Lines of one trouble: some for each member of an etcd.
const LINES_MAX: usize = 16;

#[cfg(test)]
mod trouble_tests {
    use super::*;

    #[test]
    fn each_thing_that_is_wrong_is_logged_once() {
        let mut trouble = Trouble::new("etcd");
        for why in [
            "a: refused",
            "b: refused",
            "a: refused",
            "it cannot be read",
        ] {
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
