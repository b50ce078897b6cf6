//! Unary calls to etcd, paged loads of a slot's records, and the classes of failed calls: not sent, refused, unknown.

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
    /// Reads a range linearizably: first key and exclusive end.
    Read((String, String)),
    Transaction(TxnRequest),
}

#[derive(Debug)]
pub(crate) enum EtcdAnswer {
    /// The lease, and its lifetime without a keepalive in seconds.
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

/// Waits for the response to a call, for at most [`CALL`].
pub(crate) async fn answer<T>(
    call: impl Future<Output = Result<T, Status>>,
) -> Result<T, CallFailure> {
    let answered = timeout(CALL, call).await.map_err(|_| CallFailure::late())?;
    answered.map_err(|status| CallFailure::of(&status))
}

// What a failed call to etcd means: no change, or an unknown outcome.

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum CallFailure {
    /// etcd refused the call: nothing was or will be changed.
    Refused(Box<str>),
    /// Nothing was or will be changed: the connection, or the user's token, had expired before the call was sent. The
    /// connection is abandoned; the next one gets its own token.
    NotSent(Box<str>),
    /// The call may have been carried out, or may be carried out later. The connection is abandoned.
    Unknown(Box<str>),
}

/// The connector's error when the channel requests a second connection: the first one has ended, and the call was not
/// sent. Contains why the first one ended, if known.
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
    /// Only calls that etcd rejects before proposing a change to its members count as refused. A broken connection, a
    /// leader change or a timeout within etcd leaves the outcome unknown, regardless of the status code.
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

impl fmt::Display for CallFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(text) | Self::NotSent(text) | Self::Unknown(text) => f.write_str(text),
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

/// Explains why etcd sent no response: the status, with its root cause.
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

/// Finds the error of an ended connection among the causes of an error.
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

// Records of one slot, page by page, at one revision.

#[derive(Debug)]
pub(crate) enum Part {
    /// Rows of a page, sorted by key.
    Rows(Vec<KeyValue>),
    /// The load is complete, at this revision.
    Whole(Revision),
    /// The load failed; received pages must not be used.
    Failed(CallFailure),
}

/// Reads a range page by page; reports each page and then the end.
///
/// The first page is linearizable, so it is at least as recent as the epoch of the claim. The other pages have the same
/// revision, so that a channel removed in the meantime is not missing from only some of them.
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
        for (code, message, refused) in [
            (Code::ResourceExhausted, full, true),
            (
                Code::ResourceExhausted,
                "grpc: trying to send message larger than max",
                false,
            ),
            (
                Code::NotFound,
                "etcdserver: requested lease not found",
                true,
            ),
            (Code::Unavailable, "etcdserver: no leader", true),
            (Code::Unavailable, "etcdserver: leader changed", false),
            (Code::Unavailable, "etcdserver: request timed out", false),
            (Code::Unavailable, "tcp connect error", false),
            (Code::Unknown, "etcdserver: x", false),
            (
                Code::OutOfRange,
                "Error, decoded message length too large",
                false,
            ),
            (
                Code::OutOfRange,
                "etcdserver: mvcc: required revision has been compacted",
                true,
            ),
        ] {
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
