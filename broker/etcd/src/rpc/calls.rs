//! Unary calls to etcd, paged loads of a slot's records, and the three kinds of failed calls: not sent, refused, and
//! unknown.

use crate::limits::{CALL, LOAD_ROWS};
use crate::rpc::connection::Lines;
use crate::rpc::generated::{KeyValue, RangeRequest, RangeResponse, TxnRequest, TxnResponse};
use crate::translate::header_of;
use broker_core::cluster::types::{LeaseId, Revision};
use std::error::Error;
use std::{fmt, io};
use tokio::time::timeout;
use tonic::{Code, Status};

#[derive(Debug)]
pub(crate) enum SingleCall {
    /// Grants a lease of this many seconds.
    Grant(i64),
    Revoke(LeaseId),
    /// Reads a range linearizably, from the first key up to, but not including, the second.
    Read((String, String)),
    Transaction(TxnRequest),
}

#[derive(Debug)]
pub(crate) enum EtcdAnswer {
    /// A lease was granted. Contains its id, and how many seconds it lasts without a keepalive.
    Granted(LeaseId, i64),
    Revoked,
    Read(RangeResponse),
    Outcome(TxnResponse),
}

pub(crate) async fn ask(lines: Lines, ask: SingleCall) -> Result<EtcdAnswer, CallFailure> {
    Ok(match ask {
        SingleCall::Grant(seconds) => {
            let granted = answer(lines.grant(seconds)).await?;
            EtcdAnswer::Granted(LeaseId(granted.id.cast_unsigned()), granted.ttl)
        }
        SingleCall::Revoke(lease) => {
            answer(lines.revoke(lease.0.cast_signed())).await?;
            EtcdAnswer::Revoked
        }
        SingleCall::Read(range) => {
            EtcdAnswer::Read(answer(lines.range(RangeRequest::range(range))).await?)
        }
        SingleCall::Transaction(transaction) => {
            EtcdAnswer::Outcome(answer(lines.txn(transaction)).await?)
        }
    })
}

/// Waits up to [`CALL`] for the response to a call.
pub(crate) async fn answer<T>(
    call: impl Future<Output = Result<T, Status>>,
) -> Result<T, CallFailure> {
    let answered = timeout(CALL, call).await.map_err(|_| CallFailure::late())?;
    answered.map_err(|status| CallFailure::of(&status))
}

// What a failed call to etcd means: either nothing was changed, or the outcome is unknown.

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) enum CallFailure {
    /// etcd refused the call. Nothing was changed, and nothing will be.
    Refused(Box<str>),
    /// The call was not sent because the connection had ended or the user's token had expired. Nothing was changed, and
    /// nothing will be. The connection is abandoned, and the next connection requests its own token.
    NotSent(Box<str>),
    /// The call may have been carried out, or may still be carried out later. The connection is abandoned.
    Unknown(Box<str>),
}

/// The error returned when the channel tries to open a second connection. The first one has ended, and the call was not
/// sent. Contains the reason why the first connection ended, if known.
#[derive(Clone, Debug)]
pub(crate) struct Spent(pub(crate) Option<Box<str>>);

impl fmt::Display for Spent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the connection has ended")?;
        match &self.0 {
            Some(why) => write!(f, ": {why}"),
            None => Ok(()),
        }
    }
}

impl Error for Spent {}

impl CallFailure {
    pub(crate) fn late() -> Self {
        Self::Unknown("no answer in time".into())
    }

    /// Classifies the status of a failed call.
    ///
    /// A call counts as refused only if etcd rejects it before proposing a change to its members. A broken connection,
    /// a leader change or a timeout within etcd leaves the outcome unknown, regardless of the status code.
    pub(crate) fn of(status: &Status) -> Self {
        if let Some(spent) = spent(status) {
            return Self::NotSent(spent.to_string().into());
        }
        let is_of_etcd = status.message().starts_with("etcdserver: ");
        let text = if is_of_etcd {
            status.message().into()
        } else {
            broken(status)
        };
        let is_old = status.message() == "etcdserver: revision of auth store is old";
        if is_of_etcd && (status.code() == Code::Unauthenticated || is_old) {
            return Self::NotSent(text);
        }
        let is_refused = match status.code() {
            Code::InvalidArgument | Code::NotFound | Code::FailedPrecondition => is_of_etcd,
            Code::PermissionDenied | Code::OutOfRange => is_of_etcd,
            Code::ResourceExhausted => is_of_etcd,
            Code::Unavailable => status.message() == "etcdserver: no leader",
            Code::Ok | Code::Cancelled | Code::Unknown | Code::DeadlineExceeded => false,
            Code::Unauthenticated | Code::AlreadyExists | Code::Aborted | Code::Unimplemented => {
                false
            }
            Code::Internal | Code::DataLoss => false,
        };
        if is_refused {
            Self::Refused(text)
        } else {
            Self::Unknown(text)
        }
    }
}

pub(crate) fn chain(error: &dyn Error) -> Box<str> {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text.into()
}

/// Returns the reason why etcd sent no response: the status and its root cause.
fn broken(status: &Status) -> Box<str> {
    let mut cause = status.source();
    while let Some(inner) = cause.and_then(Error::source) {
        cause = Some(inner);
    }
    match cause {
        Some(cause) => format!("{}: {cause}", status.message()).into(),
        None => format!("{:?}: {}", status.code(), status.message()).into(),
    }
}

/// Searches the causes of an error for [`Spent`], the error of an ended connection.
fn spent<'e>(error: &'e (dyn Error + 'static)) -> Option<&'e Spent> {
    let mut next = Some(error);
    while let Some(error) = next {
        let inner = error
            .downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref);
        let inner = inner.and_then(|inner| inner.downcast_ref());
        if let Some(spent) = error.downcast_ref().or(inner) {
            return Some(spent);
        }
        next = error.source();
    }
    None
}

// The records of a slot, read page by page at a single revision.

#[derive(Debug)]
pub(crate) enum Part {
    /// The rows of a page, sorted by key.
    Rows(Vec<KeyValue>),
    /// The load is complete. All rows are as of this revision.
    Whole(Revision),
    /// The load failed. The pages received so far must not be used.
    Failed(CallFailure),
}

/// Reads a range page by page. Reports each page, and finally whether the load has succeeded.
///
/// The first page is read linearizably, so it is at least as recent as the claim of the slot. All further pages are
/// read at the same revision, so together they show a single state, even if channels are removed in the meantime.
pub(crate) async fn load(lines: Lines, (first, end): (String, String), report: impl AsyncFn(Part)) {
    let mut next = first.into_bytes();
    let mut revision = None;
    loop {
        let read = RangeRequest {
            limit: LOAD_ROWS,
            revision: revision.map_or(0, |Revision(number)| number.cast_signed()),
            ..RangeRequest::range((next, end.as_str()))
        };
        let page = match answer(lines.range(read)).await {
            Ok(page) => page,
            Err(failure) => return report(Part::Failed(failure)).await,
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

#[cfg(test)]
mod failure_tests {
    use super::*;

    #[test]
    fn only_what_etcd_refuses_is_refused() {
        let full = "etcdserver: mvcc: database space exceeded";
        #[rustfmt::skip] // a table, a case per row
        let cases = [
            (Code::ResourceExhausted, full, true),
            (Code::ResourceExhausted, "grpc: trying to send message larger than max", false),
            (Code::NotFound, "etcdserver: requested lease not found", true),
            (Code::Unavailable, "etcdserver: no leader", true),
            (Code::Unavailable, "etcdserver: leader changed", false),
            (Code::Unavailable, "etcdserver: request timed out", false),
            (Code::Unavailable, "tcp connect error", false),
            (Code::Unknown, "etcdserver: x", false),
            (Code::OutOfRange, "Error, decoded message length too large", false),
            (Code::OutOfRange, "etcdserver: mvcc: required revision has been compacted", true),
        ];
        for (code, message, refused) in cases {
            let failure = CallFailure::of(&Status::new(code, message));
            let is_refused = matches!(failure, CallFailure::Refused(_));
            assert_eq!(is_refused, refused, "{code:?} {message}");
        }
    }

    #[test]
    fn a_token_that_has_ended_ends_its_connection() {
        for (code, message) in [
            (Code::Unauthenticated, "etcdserver: invalid auth token"),
            (
                Code::InvalidArgument,
                "etcdserver: revision of auth store is old",
            ),
        ] {
            let failure = CallFailure::of(&Status::new(code, message));
            assert_eq!(failure, CallFailure::NotSent(message.into()));
        }
    }
}
