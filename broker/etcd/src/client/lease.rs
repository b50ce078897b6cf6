//! Keepalives of a lease over one stream.
//!
//! A request that was queued is no answer: the lease lives on when the stream delivers an answer whose remaining time
//! is above 0, and is gone when it is 0.

use crate::client::failure::Failure;
use crate::rpc::generated::LeaseKeepAliveRequest;
use crate::rpc::lines::{Lines, Questions};
use broker_core::cluster::types::LeaseId;
use tokio::sync::mpsc;

/// An answer of the stream, or its end.
#[derive(Debug)]
pub(crate) enum Renewal {
    /// The lease lives on.
    Renewed,
    /// There is no such lease.
    Gone,
    /// The stream has ended.
    Ended(Failure),
}

/// Sends a keepalive at once, and one for each request; reports what comes of them until the stream ends.
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
        Err(status) => return report(Renewal::Ended(Failure::of(&status))).await,
    };
    loop {
        match answers.message().await {
            Ok(Some(answer)) if answer.ttl > 0 => report(Renewal::Renewed).await,
            Ok(Some(_)) => return report(Renewal::Gone).await,
            Ok(None) => {
                let why = "the stream of keepalives ended";
                return report(Renewal::Ended(Failure::Unknown(why.into()))).await;
            }
            Err(status) => return report(Renewal::Ended(Failure::of(&status))).await,
        }
    }
}
