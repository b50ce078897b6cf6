//! Trouble of one connection to etcd, while it lasts, for the log and for operators who ask; and of messages of other
//! nodes.

use crate::limits::NOTE_EVERY;
use crate::names::Name;
use crate::system::now;
use crate::wire::Unreadable;
use broker_core::cluster::types::NodeId;
use broker_core::time::Now;
use std::collections::BTreeMap;
use std::time::Duration;
use tracing::{info, warn};

/// Trouble of one connection.
#[derive(Debug)]
pub(crate) struct Trouble {
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
    pub(crate) fn begins(&mut self, why: &str) {
        self.current = Some(why.into());
        let is_logged = self.logged.iter().any(|logged| **logged == *why);
        if !is_logged && self.logged.len() < LINES_MAX {
            warn!("{}: {why}", self.of);
            self.logged.push(why.into());
        }
    }

    /// All is well.
    pub(crate) fn ends(&mut self) {
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
mod tests {

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
