//! Bidirectional streams: keepalives of a lease, and a watch.
//!
//! A queued keepalive proves nothing: the lease is alive if the stream delivers a response with a remaining time above
//! 0, and gone if the time is 0.

use crate::rpc::calls::CallFailure;
use crate::rpc::connection::{Lines, Questions};
use crate::rpc::generated::{
    LeaseKeepAliveRequest, WatchCreateRequest, WatchProgressRequest, WatchResponse,
};
use broker_core::cluster::types::{LeaseId, Revision};
use tokio::sync::mpsc;

#[derive(Debug)]
pub(crate) enum Renewal {
    Renewed,
    Gone,
    Ended(CallFailure),
}

/// Sends a keepalive at once and then one per request; reports the results until the stream ends.
pub(crate) async fn keep(
    lines: Lines,
    lease: LeaseId,
    requests: mpsc::Receiver<()>,
    report: impl AsyncFn(Renewal),
) {
    let id = lease.0.cast_signed();
    let keepalive = LeaseKeepAliveRequest { id };
    let questions = Questions::new(keepalive, keepalive, requests);
    let mut answers = match lines.keep_alive(questions).await {
        Ok(answers) => answers,
        Err(status) => return report(Renewal::Ended(CallFailure::of(&status))).await,
    };
    loop {
        match answers.message().await {
            Ok(Some(answer)) if answer.ttl > 0 => report(Renewal::Renewed).await,
            Ok(Some(_)) => return report(Renewal::Gone).await,
            Ok(None) => {
                let why = "the stream of keepalives ended";
                return report(Renewal::Ended(CallFailure::Unknown(why.into()))).await;
            }
            Err(status) => return report(Renewal::Ended(CallFailure::of(&status))).await,
        }
    }
}

// A watch of slots, registrations and members over one stream.

/// Watches a range from a revision on, and asks etcd for progress on each request. Reports each response: changes in
/// revision order, where a deleted key has no version; or no changes, which means that everything up to the header's
/// revision was delivered. The last report is the failure: the stream ended, or the requested revision was compacted.
///
/// Large revisions arrive in fragments, so that no message exceeds the maximum size. If the stream ends within a
/// revision, the core reads the rest with the full read before the next watch.
pub(crate) async fn follow(
    lines: Lines,
    (first, end): (String, String),
    from: Revision,
    requests: mpsc::Receiver<()>,
    report: impl AsyncFn(Result<WatchResponse, CallFailure>),
) {
    let create = WatchCreateRequest {
        key: first.into(),
        range_end: end.into(),
        start_revision: from.0.cast_signed(),
        fragment: true,
    };
    let questions = Questions::new(create, WatchProgressRequest {}, requests);
    let mut answers = match lines.watch(questions).await {
        Ok(answers) => answers,
        Err(status) => return report(Err(CallFailure::of(&status))).await,
    };
    loop {
        match answers.message().await {
            Ok(Some(answer)) if answer.canceled => {
                return report(Err(canceled(&answer))).await;
            }
            Ok(Some(answer)) if answer.created => {}
            Ok(Some(answer)) => report(Ok(answer)).await,
            Ok(None) => {
                let why = "the stream of the watch ended";
                return report(Err(CallFailure::Unknown(why.into()))).await;
            }
            Err(status) => return report(Err(CallFailure::of(&status))).await,
        }
    }
}

/// Returns the failure of a watch; the connection and everything else on it remain usable.
fn canceled(answer: &WatchResponse) -> CallFailure {
    let text = match answer.compact_revision {
        0 => format!("the watch was cancelled: {}", answer.cancel_reason),
        revision => format!("the watched revisions were compacted up to {revision}"),
    };
    CallFailure::Refused(text.into())
}
