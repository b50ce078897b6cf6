//! One of the node's two connections to etcd: the attempts to get it, and its trouble.

use crate::client::failure::Failure;
use crate::client::link::Link;
use crate::config::Options;
use crate::driver::event::{Event, Events, Which};
use crate::driver::log::trouble::Trouble;
use crate::rpc::lines::Lines;
use std::sync::Arc;
use tokio::time::Instant;

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
