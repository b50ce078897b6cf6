//! Operator commands that use etcd. They show the state of a cluster, remove nodes, and send orders to nodes. Each call
//! connects, performs its requests and disconnects, within a bounded time.
//!
//! This file contains what the commands share: a session with etcd, the nodes of a cluster at one revision, and the
//! check of the lease duration that etcd grants.

mod drain;
pub(crate) mod member;
mod rebalance;
mod remove;
mod reports;
mod survey;
mod upgrade;

use crate::limits::PUTS_PER_BATCH;
use crate::rpc::generated::{Compare, KeyValue, RangeRequest, RequestOp, TxnRequest};
use crate::rpc::{calls, connection::Lines};
pub use crate::schema::RegistrationRecord;
use crate::schema::{
    self, Keys, MetaValue, OrderValue, OrderWord, RegistrationValue, ReportValue, RosterValue,
    SlotValue, WatchedSubject,
};
use crate::{config::Options, names::Name};
use broker_core::cluster::types::{Incarnation, RosterState};
pub use drain::{DrainProgress, drain};
pub use member::{EtcdMember, MemberStatus};
pub use rebalance::{Parts, rebalance};
pub use remove::{RemovedSlots, remove};
pub use reports::{NodeReport, NodeReports, reports};
use std::collections::BTreeMap;
use std::fmt::Display;
use std::future::Future;
pub use survey::{ClusterSurvey, Meta, NodeStatus, survey};
use thiserror::Error;
use tonic::Status;
pub use upgrade::{Raised, finish_upgrade};

pub(crate) type ConnectError = Box<str>;

pub(crate) async fn connect(options: &Options) -> Result<Lines, ConnectError> {
    let mut why: ConnectError = "no member of etcd is configured".into();
    for (member, endpoint) in options.endpoints.iter().enumerate() {
        match crate::rpc::connection::connect(options, member).await {
            Ok(lines) => return Ok(lines),
            Err(error) => why = format!("{endpoint}: {error}").into(),
        }
    }
    Err(why)
}

/// A session that reconnects after its connection fails.
struct Session<'a> {
    options: &'a Options,
    keys: Keys,
    lines: Option<Lines>,
}

impl<'a> Session<'a> {
    fn new(options: &'a Options, cluster: &Name) -> Self {
        Self {
            options,
            keys: Keys::new(cluster),
            lines: None,
        }
    }

    async fn lines(&mut self) -> Result<(Lines, Keys), ConnectError> {
        let lines = match self.lines.take() {
            Some(lines) => lines,
            None => connect(self.options).await?,
        };
        self.lines = Some(lines.clone());
        Ok((lines, self.keys.clone()))
    }

    async fn look(&mut self) -> Result<Picture, ConnectError> {
        let (lines, keys) = self.lines().await?;
        let looked = look(&lines, &keys).await;
        if looked.is_err() {
            self.lines = None;
        }
        looked
    }
}

/// Returns whether an error message indicates that etcd rejects changes because its quota is exhausted.
fn is_full(why: &str) -> bool {
    why.contains("database space exceeded")
}

/// The reason why a command failed, in one line.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{0}")]
pub enum CommandError {
    /// The operator must fix something first: for example, correct an invalid name, start or stop a node, or deal with
    /// existing records.
    Refused(Box<str>),
    /// etcd, a node or the disk failed. The operator must check the outcome, which is unknown, or run the command
    /// again.
    Failed(Box<str>),
}

impl CommandError {
    pub(crate) fn refused(why: impl Into<Box<str>>) -> Self {
        Self::Refused(why.into())
    }

    pub(crate) fn failed(why: impl Display) -> Self {
        Self::Failed(why.to_string().into())
    }
}

impl From<ConnectError> for CommandError {
    fn from(why: ConnectError) -> Self {
        if is_full(&why) {
            Self::Failed(FULL.into())
        } else {
            Self::failed(format_args!("etcd: {why}"))
        }
    }
}

pub(crate) fn name(text: &str) -> Result<Name, CommandError> {
    let rule = || CommandError::refused("expected 1 to 63 of the characters a-z 0-9 . -");
    Name::new(text).ok_or_else(rule)
}

pub(crate) async fn answer<T>(
    call: impl Future<Output = Result<T, Status>>,
) -> Result<T, ConnectError> {
    let answered = calls::answer(call).await;
    answered.map_err(|failure| failure.to_string().into())
}

fn block_on<T, E: From<ConnectError>>(
    conversation: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let built = builder.enable_all().build();
    let runtime = built.map_err(|error| ConnectError::from(error.to_string()))?;
    // Connections are bound to one thread.
    tokio::task::LocalSet::new().block_on(&runtime, conversation)
}

const NOBODY: &str = "no node is registered: start the nodes first";

const FULL: &str = "etcd takes no changes, since its quota is used up: compact and defragment it, disarm its alarm, \
                    then try again";

// The nodes of a cluster at one revision, and the code that sends orders to them.

#[derive(Debug, Default)]
pub(crate) struct Picture {
    pub(crate) meta: Option<(MetaValue, Vec<u8>, i64)>,
    pub(crate) nodes: BTreeMap<Name, SeenNode>,
}

#[derive(Debug, Default)]
pub(crate) struct SeenNode {
    /// Whether the roster expects the node to run. `None` if the roster does not list the node.
    pub(crate) is_here: Option<bool>,
    pub(crate) registered: Option<Registered>,
    pub(crate) order: Option<OrderWord>,
    pub(crate) report: Option<ReportValue>,
    /// Number of slots owned by each of the node's processes.
    slots: Vec<(Incarnation, usize)>,
}

#[derive(Clone, Debug)]
pub(crate) struct Registered {
    pub(crate) process: Incarnation,
    pub(crate) inner: u32,
    pub(crate) at: i64,
    lease: i64,
}

impl SeenNode {
    /// Returns whether the node is running and is expected to run according to the roster.
    fn runs(&self) -> bool {
        self.is_here == Some(true) && self.registered.is_some()
    }

    fn count(&mut self, process: Incarnation) {
        match self.slots.iter_mut().find(|(owner, _)| *owner == process) {
            Some((_, count)) => *count += 1,
            None => self.slots.push((process, 1)),
        }
    }

    fn slots_of(&self, process: Incarnation) -> usize {
        let mut slots = self.slots.iter();
        let found = slots.find(|(owner, _)| *owner == process);
        found.map_or(0, |(_, count)| *count)
    }

    /// Returns the number of slots owned by the node's registered process.
    pub(crate) fn slots(&self) -> usize {
        let registered = self.registered.as_ref();
        registered.map_or(0, |found| self.slots_of(found.process))
    }
}

/// Reads the watched keys. Fails if this version recognizes a key but cannot parse its value, since that value might
/// mean anything.
pub(crate) async fn look(lines: &Lines, keys: &Keys) -> Result<Picture, ConnectError> {
    let read = answer(lines.range(RangeRequest::range(keys.watched()))).await?;
    let mut picture = Picture::default();
    for row in read.kvs {
        let taken = picture.take(keys, &row);
        taken.map_err(|why| format!("the key {}: {why}", String::from_utf8_lossy(&row.key)))?;
    }
    Ok(picture)
}

impl Picture {
    fn take(&mut self, keys: &Keys, row: &KeyValue) -> Result<(), schema::ValueError> {
        match keys.parse(&row.key) {
            None => {}
            Some(WatchedSubject::Order(node)) => {
                let value: Option<OrderValue> = schema::read(&row.value).ok();
                self.node(node).order = value.map(|value| value.order);
            }
            Some(WatchedSubject::Meta) => {
                let meta = schema::read(&row.value)?;
                self.meta = Some((meta, row.value.clone(), row.mod_revision));
            }
            Some(WatchedSubject::Roster(node)) => {
                let value: RosterValue = schema::read(&row.value)?;
                self.node(node).is_here = Some(value.state == RosterState::Here);
            }
            Some(WatchedSubject::Registration(node)) => {
                let value: RegistrationValue = schema::read(&row.value)?;
                self.node(node).registered = Some(Registered {
                    process: value.process,
                    inner: value.inner,
                    at: row.mod_revision,
                    lease: row.lease,
                });
            }
            Some(WatchedSubject::Report(node)) => {
                // A report from a later version is treated as absent.
                self.node(node).report = schema::read(&row.value).ok();
            }
            Some(WatchedSubject::Slot(_)) => {
                let value: SlotValue = schema::read(&row.value)?;
                let owner = value.owner;
                if let Some((node, process)) =
                    owner.and_then(|owner| Some((Name::new(&owner.node)?, owner.process)))
                {
                    self.node(node).count(process);
                }
            }
        }
        Ok(())
    }

    fn node(&mut self, name: Name) -> &mut SeenNode {
        self.nodes.entry(name).or_default()
    }

    /// Returns the nodes that are running and are expected to run according to the roster.
    pub(crate) fn running(&self) -> impl Iterator<Item = (&Name, &SeenNode)> {
        self.nodes.iter().filter(|(_, node)| node.runs())
    }
}

/// Writes an order for each of the given nodes, provided that none of their registrations has changed. Returns the
/// revision of the first order, or `None` if a registration has changed. A report on any of these orders contains this
/// revision or a later one.
pub(crate) async fn order(
    lines: &Lines,
    keys: &Keys,
    nodes: &[(Name, Registered)],
    word: OrderWord,
) -> Result<Option<u64>, ConnectError> {
    let mut first = None;
    for some in nodes.chunks(PUTS_PER_BATCH) {
        let compares = some
            .iter()
            .map(|(node, registered)| Compare::unchanged(keys.registration(node), registered.at));
        let puts = some.iter().map(|(node, registered)| {
            let value = schema::write(&OrderValue::new(registered.process, word));
            RequestOp::put_under(registered.lease, keys.order(node), value)
        });
        let orders = TxnRequest {
            compare: compares.collect(),
            success: puts.collect(),
            failure: Vec::new(),
        };
        let outcome = answer(lines.txn(orders)).await?;
        if !outcome.succeeded {
            return Ok(None);
        }
        let revision = outcome.header.map_or(0, |header| header.revision);
        first = first.or_else(|| u64::try_from(revision).ok());
    }
    Ok(first)
}

/// Requests a lease of this many seconds and revokes it. Returns the number of seconds that etcd granted. etcd grants
/// more than requested if its elections take longer than two thirds of the requested duration.
///
/// # Errors
/// Returns the reason why no lease was granted, in one line.
pub fn granted(options: &Options, seconds: i64) -> Result<i64, Box<str>> {
    block_on(async {
        let lines = connect(options).await?;
        let lease = answer(lines.grant(seconds)).await?;
        answer(lines.revoke(lease.id)).await?;
        Ok::<_, ConnectError>(lease.ttl)
    })
}
