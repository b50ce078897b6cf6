//! The gRPC interface of etcd: its messages, and calls over a connection.
//!
//! * `connection`: a connection to one member, and the code that opens it;
//! * `calls`: single calls, paged reads of a slot's records, and the classification of failed calls;
//! * `streams`: the keepalives of a lease, and a watch.
//!
//! `tonic-prost-build` generates `generated.rs` from `proto/rpc.proto`. The test in `broker/etcd/generator` checks that
//! the two match. Only this test needs `protoc`.

pub(crate) mod calls;
pub(crate) mod connection;
#[rustfmt::skip]
#[expect(
    unreachable_pub,
    clippy::allow_attributes,
    clippy::doc_markdown,
    reason = "generated, and kept as it is"
)]
pub(crate) mod generated;
pub(crate) mod streams;

use generated::compare::{CompareResult, CompareTarget, TargetUnion};
use generated::request_op::Request;
use generated::response_op::Response;
use generated::{
    Compare, DeleteRangeRequest, KeyValue, PutRequest, RangeRequest, RequestOp, TxnResponse,
};

impl RangeRequest {
    pub(crate) fn key(key: impl Into<Vec<u8>>) -> Self {
        Self {
            key: key.into(),
            ..Self::default()
        }
    }

    /// Creates a request that reads all keys from `first` up to, but not including, `end`.
    pub(crate) fn range((first, end): (impl Into<Vec<u8>>, impl Into<Vec<u8>>)) -> Self {
        Self {
            range_end: end.into(),
            ..Self::key(first)
        }
    }
}

impl RequestOp {
    pub(crate) fn read(read: RangeRequest) -> Self {
        Request::RequestRange(read).into()
    }

    pub(crate) fn put(key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) -> Self {
        Self::put_under(0, key, value)
    }

    pub(crate) fn put_under(
        lease: i64,
        key: impl Into<Vec<u8>>,
        value: impl Into<Vec<u8>>,
    ) -> Self {
        let (key, value) = (key.into(), value.into());
        Request::RequestPut(PutRequest { key, value, lease }).into()
    }

    pub(crate) fn delete(key: impl Into<Vec<u8>>) -> Self {
        Self::delete_range((key, Vec::new()))
    }

    /// Creates an operation that deletes all keys from `first` up to, but not including, `end`.
    pub(crate) fn delete_range((first, end): (impl Into<Vec<u8>>, impl Into<Vec<u8>>)) -> Self {
        let (key, range_end) = (first.into(), end.into());
        Request::RequestDeleteRange(DeleteRangeRequest { key, range_end }).into()
    }
}

impl From<Request> for RequestOp {
    fn from(request: Request) -> Self {
        Self {
            request: Some(request),
        }
    }
}

impl Compare {
    /// Requires that the key does not exist.
    pub(crate) fn absent(key: impl Into<Vec<u8>>) -> Self {
        let created = TargetUnion::CreateRevision(0);
        Self::new(key, CompareTarget::Create, CompareResult::Equal, created)
    }

    /// Requires that the key was last changed at this revision; 0 means that the key must not exist.
    pub(crate) fn unchanged(key: impl Into<Vec<u8>>, at: i64) -> Self {
        let changed = TargetUnion::ModRevision(at);
        Self::new(key, CompareTarget::Mod, CompareResult::Equal, changed)
    }

    /// Requires that the key was last changed before this revision.
    pub(crate) fn older(key: impl Into<Vec<u8>>, than: i64) -> Self {
        let changed = TargetUnion::ModRevision(than);
        Self::new(key, CompareTarget::Mod, CompareResult::Less, changed)
    }

    /// Extends the comparison to all keys up to, but not including, `end`. The comparison succeeds if there are no such
    /// keys.
    pub(crate) fn up_to(self, end: impl Into<Vec<u8>>) -> Self {
        Self {
            range_end: end.into(),
            ..self
        }
    }

    fn new(
        key: impl Into<Vec<u8>>,
        target: CompareTarget,
        result: CompareResult,
        to: TargetUnion,
    ) -> Self {
        Self {
            result: result.into(),
            target: target.into(),
            key: key.into(),
            target_union: Some(to),
            range_end: Vec::new(),
        }
    }
}

impl TxnResponse {
    /// Returns the rows found by each read, in the order of the reads.
    pub(crate) fn reads(&self) -> impl Iterator<Item = &[KeyValue]> {
        let responses = self.responses.iter();
        let read = responses.filter_map(|response| response.response.as_ref());
        read.map(|Response::ResponseRange(read)| &*read.kvs)
    }
}
