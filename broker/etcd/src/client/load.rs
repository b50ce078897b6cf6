//! The records of one slot, a page at a time, all of one revision.

use crate::client::failure::Failure;
use crate::limits::{CALL, LOAD_ROWS};
use crate::rpc::generated::{KeyValue, RangeRequest};
use crate::rpc::lines::Lines;
use crate::schema::translate::header_of;
use broker_core::cluster::types::Revision;
use tokio::time::timeout;

/// A page of a load, or its end.
#[derive(Debug)]
pub(crate) enum Part {
    /// Some rows, in the order of their keys.
    Rows(Vec<KeyValue>),
    /// That was all, as of this revision.
    Whole(Revision),
    /// It cannot go on: what came is not used.
    Failed(Failure),
}

/// Reads a range, page by page; reports each page, then the end.
///
/// The first page is linearizable, so it shows at least the epoch under which the slot was taken; the others are of its
/// revision, so that a channel that is removed meanwhile is in all of it or in none.
pub(crate) async fn load(lines: Lines, (first, end): (String, String), report: impl AsyncFn(Part)) {
    let mut next = first.into_bytes();
    let mut revision = None;
    loop {
        let read = RangeRequest {
            limit: LOAD_ROWS,
            revision: revision.map_or(0, |Revision(number)| number.cast_signed()),
            ..RangeRequest::range((next, end.as_str()))
        };
        let page = match timeout(CALL, lines.range(read)).await {
            Ok(Ok(page)) => page,
            Ok(Err(error)) => return report(Part::Failed(Failure::of(&error))).await,
            Err(_) => return report(Part::Failed(Failure::late())).await,
        };
        let of = *revision.get_or_insert_with(|| header_of(page.header.as_ref()).0);
        let (more, rows) = (page.more, page.kvs);
        next = rows
            .last()
            .map_or_else(Vec::new, |row| [&row.key[..], b"\0"].concat());
        let is_last = !more || rows.is_empty();
        if !rows.is_empty() {
            report(Part::Rows(rows)).await;
        }
        if is_last {
            return report(Part::Whole(of)).await;
        }
    }
}
