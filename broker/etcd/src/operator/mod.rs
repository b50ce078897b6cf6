//! What operators ask of etcd: how a cluster is, and that a node is no longer expected. Each call connects, asks and
//! ends, within a bounded time.

mod member;
mod remove;
mod survey;

pub use member::{EtcdMember, MemberStatus};
pub use remove::{RemoveError, Slots, remove};
pub use survey::{Meta, NodeStatus, Registration, Survey, survey};

use crate::config::Options;
use crate::failure::Failure;
use crate::limits::{CALL, CONNECT};
use crate::link::{self, Lines};
use std::future::Future;
use std::io;
use tokio::time::timeout;

/// Why etcd cannot be asked, in one line.
pub(crate) type Why = Box<str>;

/// A connection to the first member that can be reached.
pub(crate) async fn connect(options: &Options) -> Result<Lines, Why> {
    let mut why: Why = "no member is configured".into();
    for (member, endpoint) in options.endpoints.iter().enumerate() {
        match timeout(CONNECT, link::connect(options, member)).await {
            Ok(Ok(lines)) => return Ok(lines),
            Ok(Err(error)) => why = format!("{endpoint}: {error}").into(),
            Err(_) => why = format!("{endpoint}: no connection in time").into(),
        }
    }
    Err(why)
}

/// The answer of a call, which is awaited for [`CALL`].
async fn answer<T>(call: impl Future<Output = Result<T, etcd_client::Error>>) -> Result<T, Why> {
    match timeout(CALL, call).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(Failure::of(&error).to_string().into()),
        Err(_) => Err(Failure::late().to_string().into()),
    }
}

/// Runs a conversation on this thread.
pub(crate) fn block_on<T>(conversation: impl Future<Output = T>) -> io::Result<T> {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_all().build()?;
    // Connections are of one thread.
    Ok(tokio::task::LocalSet::new().block_on(&runtime, conversation))
}
