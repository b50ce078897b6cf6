//! Commands of operators over etcd: they show the state of a cluster, remove nodes, and give orders to its nodes. Each
//! call connects, asks and ends, within a bounded time.

mod drain;
mod lease;
mod look;
pub(crate) mod member;
mod rebalance;
mod remove;
mod reports;
mod survey;
mod upgrade;

use crate::client::failure::Failure;
use crate::config::Options;
use crate::limits::{CALL, CONNECT};
use crate::names::Name;
use crate::rpc::lines::Lines;
use crate::schema::keys::Keys;
pub use drain::{DrainError, DrainProgress, drain};
pub use lease::granted;
use look::Picture;
pub use member::{EtcdMember, MemberStatus};
pub use rebalance::{Parts, RebalanceError, rebalance};
pub use remove::{RemoveError, Slots, remove};
pub use reports::{NodeReport, Reports, reports};
use std::future::Future;
pub use survey::{Meta, NodeStatus, Registration, Survey, survey};
use tokio::time::timeout;
use tonic::Status;
pub use upgrade::{Raised, UpgradeError, finish_upgrade};

/// Why etcd cannot be asked, in one line.
pub(crate) type Why = Box<str>;

/// A connection to the first member that can be reached.
pub(crate) async fn connect(options: &Options) -> Result<Lines, Why> {
    let mut why: Why = "no member is configured".into();
    for (member, endpoint) in options.endpoints.iter().enumerate() {
        match timeout(CONNECT, crate::client::link::connect(options, member)).await {
            Ok(Ok(lines)) => return Ok(lines),
            Ok(Err(error)) => why = format!("{endpoint}: {error}").into(),
            Err(_) => why = format!("{endpoint}: no connection in time").into(),
        }
    }
    Err(why)
}

/// A conversation that goes on over another connection when one fails.
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

    /// The connection, and the keys of the cluster.
    async fn lines(&mut self) -> Result<(Lines, Keys), Why> {
        let lines = match self.lines.take() {
            Some(lines) => lines,
            None => connect(self.options).await?,
        };
        self.lines = Some(lines.clone());
        Ok((lines, self.keys.clone()))
    }

    /// The cluster as it is.
    async fn look(&mut self) -> Result<Picture, Why> {
        let (lines, keys) = self.lines().await?;
        let looked = look::look(&lines, &keys).await;
        if looked.is_err() {
            self.lines = None;
        }
        looked
    }
}

/// Whether etcd takes no changes since its quota is used up.
fn is_full(why: &str) -> bool {
    why.contains("database space exceeded")
}

/// The answer of a call, which is awaited for [`CALL`].
async fn answer<T>(call: impl Future<Output = Result<T, Status>>) -> Result<T, Why> {
    match timeout(CALL, call).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(status)) => Err(Failure::of(&status).to_string().into()),
        Err(_) => Err(Failure::late().to_string().into()),
    }
}

/// Runs a conversation on this thread.
fn block_on<T, E: From<Why>>(conversation: impl Future<Output = Result<T, E>>) -> Result<T, E> {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let built = builder.enable_all().build();
    let runtime = built.map_err(|error| Why::from(error.to_string()))?;
    // Connections are of one thread.
    tokio::task::LocalSet::new().block_on(&runtime, conversation)
}

/// The error for an operator where [`is_full`].
const FULL: &str = "etcd takes no changes, since its quota is used up: compact and defragment it, disarm its alarm, \
                    then try again";
