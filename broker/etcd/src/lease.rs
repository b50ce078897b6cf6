//! Keepalives of a lease over one stream.
//!
//! A request that was queued is no answer: the lease lives on when the stream delivers an answer whose remaining time
//! is above 0, and is gone when it is 0.

use crate::failure::Failure;
use crate::link::Lines;
use broker_core::cluster::types::LeaseId;
use tokio::sync::mpsc;

/// What the stream said.
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
    mut requests: mpsc::Receiver<()>,
    report: impl AsyncFn(Renewal),
) {
    let opened = lines
        .client
        .lease_client()
        .keep_alive(lease.0.cast_signed())
        .await;
    let (mut keeper, mut answers) = match opened {
        Ok(opened) => opened,
        // The client opens the stream with a keepalive, whose answer had no time left.
        Err(etcd_client::Error::LeaseKeepAliveError(_)) => return report(Renewal::Gone).await,
        Err(error) => return report(Renewal::Ended(Failure::of(&error))).await,
    };
    report(Renewal::Renewed).await;
    loop {
        tokio::select! {
            request = requests.recv() => {
                if request.is_none() {
                    return;
                }
                if let Err(error) = keeper.keep_alive().await {
                    return report(Renewal::Ended(Failure::of(&error))).await;
                }
            }
            answer = answers.message() => match answer {
                Ok(Some(answer)) if answer.ttl() > 0 => report(Renewal::Renewed).await,
                Ok(Some(_)) => return report(Renewal::Gone).await,
                Ok(None) => return report(Renewal::Ended(ended())).await,
                Err(error) => return report(Renewal::Ended(Failure::of(&error))).await,
            }
        }
    }
}

fn ended() -> Failure {
    Failure::Unknown("the stream of keepalives ended".into())
}
