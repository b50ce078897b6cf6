//! A watch of slots, registrations and members over one stream.

use crate::client::failure::Failure;
use crate::rpc::{
    KeyValue, Lines, Questions, WatchCreateRequest, WatchProgressRequest, WatchResponse,
};
use crate::schema::translate::header_of;
use broker_core::cluster::types::Revision;
use tokio::sync::mpsc;

/// An answer of the stream, or its end.
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
    requests: mpsc::Receiver<()>,
    report: impl AsyncFn(Sight),
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
        Err(status) => return report(Sight::Ended(Failure::of(&status))).await,
    };
    loop {
        match answers.message().await {
            Ok(Some(answer)) if answer.canceled => {
                return report(Sight::Ended(canceled(&answer))).await;
            }
            Ok(Some(answer)) if answer.created => {}
            Ok(Some(answer)) => report(sight(answer)).await,
            Ok(None) => {
                let why = "the stream of the watch ended";
                return report(Sight::Ended(Failure::Unknown(why.into()))).await;
            }
            Err(status) => return report(Sight::Ended(Failure::of(&status))).await,
        }
    }
}

fn sight(answer: WatchResponse) -> Sight {
    if answer.events.is_empty() {
        let (revision, _) = header_of(answer.header.as_ref());
        return Sight::Progress(revision);
    }
    let rows = answer.events.into_iter().filter_map(|event| event.kv);
    Sight::Changes(rows.collect())
}

/// The connection is fine, the watch is not: nothing else on the connection is given up.
fn canceled(answer: &WatchResponse) -> Failure {
    let text = match answer.compact_revision {
        0 => format!("the watch was cancelled: {}", answer.cancel_reason),
        revision => format!("what was to be watched is compacted up to revision {revision}"),
    };
    Failure::Refused(text.into())
}
