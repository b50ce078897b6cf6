//! Bidirectional streams: the keepalives of a lease, and a watch.
//!
//! A queued keepalive does not prove that the lease is alive. The lease is alive if the stream delivers a response with
//! a remaining time above 0, and has expired if the remaining time is 0.

use crate::rpc::calls::CallFailure;
use crate::rpc::connection::{Lines, Questions};
use crate::rpc::generated::watch_request::RequestUnion;
use crate::rpc::generated::{
    LeaseKeepAliveRequest, WatchCreateRequest, WatchProgressRequest, WatchRequest, WatchResponse,
};
use broker_core::cluster::types::{LeaseId, Revision};
use tokio::sync::mpsc;

#[derive(Debug)]
pub(crate) enum Renewal {
    Renewed,
    Gone,
    Ended(CallFailure),
}

/// Sends a keepalive immediately, and another one for each request that is received. Reports the results until the
/// stream ends.
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

// A watch of slots, registrations and members, over one stream.

/// Watches a range, starting at a revision, and reports every response. A response contains changes ordered by
/// revision; a deleted key has no version. A response without changes means that everything up to the revision in its
/// header has been delivered. For each request that is received, etcd is asked for such a progress notification. The
/// last report is always a failure: the stream ended, or the requested revision was compacted.
///
/// etcd splits a large revision into fragments, so that no message exceeds the maximum size. If the stream ends in the
/// middle of a revision, the full read that precedes the next watch supplies the missing part.
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
    let request = |request_union| WatchRequest { request_union };
    let create = request(Some(RequestUnion::CreateRequest(create)));
    let progress = RequestUnion::ProgressRequest(WatchProgressRequest {});
    let progress = request(Some(progress));
    let questions = Questions::new(create, progress, requests);
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

/// Returns the failure that ended a watch. The connection and everything else on it remain usable.
fn canceled(answer: &WatchResponse) -> CallFailure {
    let text = match answer.compact_revision {
        0 => format!("the watch was cancelled: {}", answer.cancel_reason),
        revision => format!("the watched revisions were compacted up to {revision}"),
    };
    CallFailure::Refused(text.into())
}
