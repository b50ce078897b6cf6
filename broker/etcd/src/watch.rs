//! A watch of slots, registrations and members over one stream.

use crate::failure::Failure;
use crate::link::Lines;
use crate::translate::revision_of;
use broker_core::cluster::types::Revision;
use etcd_client::{KeyValue, ResponseHeader, WatchOptions, WatchResponse};
use tokio::sync::mpsc;

/// What the stream delivered.
#[derive(Debug)]
pub(crate) enum Sight {
    /// Changes in the order of their revisions. A deleted key has no version.
    Changes(Vec<KeyValue>),
    /// Everything up to this revision was delivered.
    Progress(Revision),
    /// The stream has ended, or what it wanted was compacted.
    Ended(Failure),
}

/// Watches a range from a revision on, and asks how far it is for each request; reports until the stream ends.
///
/// Large revisions come in parts, so that no message exceeds what is taken. What a part of a revision lacks when the
/// stream ends is read afterwards: the core reads the whole before it watches again.
pub(crate) async fn follow(
    lines: Lines,
    (first, end): (String, String),
    from: Revision,
    mut requests: mpsc::Receiver<()>,
    report: impl AsyncFn(Sight),
) {
    let options = WatchOptions::new()
        .with_range(end)
        .with_start_revision(from.0.cast_signed())
        .with_fragment();
    let opened = lines.watch().watch(first, Some(options)).await;
    let (mut questions, mut answers) = match opened {
        Ok(stream) => stream.split(),
        Err(error) => return report(Sight::Ended(Failure::of(&error))).await,
    };
    loop {
        tokio::select! {
            request = requests.recv() => {
                if request.is_none() {
                    return;
                }
                if let Err(error) = questions.request_progress().await {
                    return report(Sight::Ended(Failure::of(&error))).await;
                }
            }
            answer = answers.message() => match answer {
                Ok(Some(answer)) if answer.canceled() => {
                    return report(Sight::Ended(canceled(&answer))).await;
                }
                Ok(Some(answer)) if answer.created() => {}
                Ok(Some(answer)) => report(sight(&answer)).await,
                Ok(None) => {
                    let why = "the stream of the watch ended";
                    return report(Sight::Ended(Failure::Unknown(why.into()))).await;
                }
                Err(error) => return report(Sight::Ended(Failure::of(&error))).await,
            }
        }
    }
}

fn sight(answer: &WatchResponse) -> Sight {
    if answer.events().is_empty() {
        let revision = answer.header().map_or(0, ResponseHeader::revision);
        return Sight::Progress(revision_of(revision));
    }
    let rows = answer
        .events()
        .iter()
        .filter_map(|event| event.kv().cloned());
    Sight::Changes(rows.collect())
}

/// The connection is fine, the watch is not: nothing else on the connection is given up.
fn canceled(answer: &WatchResponse) -> Failure {
    let text = match answer.compact_revision() {
        0 => format!("the watch was cancelled: {}", answer.cancel_reason()),
        revision => format!("what was to be watched is compacted up to revision {revision}"),
    };
    Failure::Refused(text.into())
}
