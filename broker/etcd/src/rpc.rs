//! etcd's gRPC interface: its messages, and the calls over one connection.
//!
//! * `connection`: one connection to one member, and the attempts to get one;
//! * `calls`: single calls, the records of a slot page by page, and what a failed call means;
//! * `streams`: the keepalives of a lease, and a watch.
//!
//! `generated.rs` is what `tonic-prost-build` makes of `proto/rpc.proto`; the test of `broker/etcd/generator` compares
//! the two, and is all that needs `protoc`.

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
use generated::watch_request::RequestUnion;
use generated::{
    Compare, DeleteRangeRequest, KeyValue, PutRequest, RangeRequest, RequestOp, TxnResponse,
    WatchCreateRequest, WatchProgressRequest, WatchRequest,
};

impl RangeRequest {
    /// A read of one key.
    pub(crate) fn key(key: impl Into<Vec<u8>>) -> Self {
        Self {
            key: key.into(),
            ..Self::default()
        }
    }

    /// A read of all keys from the first up to the end, which is not among them.
    pub(crate) fn range((first, end): (impl Into<Vec<u8>>, impl Into<Vec<u8>>)) -> Self {
        Self {
            range_end: end.into(),
            ..Self::key(first)
        }
    }
}

impl RequestOp {
    /// A read.
    pub(crate) fn read(read: RangeRequest) -> Self {
        Request::RequestRange(read).into()
    }

    /// A key that stays.
    pub(crate) fn put(key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) -> Self {
        Self::put_under(0, key, value)
    }

    /// A key that ends with a lease.
    pub(crate) fn put_under(
        lease: i64,
        key: impl Into<Vec<u8>>,
        value: impl Into<Vec<u8>>,
    ) -> Self {
        let (key, value) = (key.into(), value.into());
        Request::RequestPut(PutRequest { key, value, lease }).into()
    }

    /// The removal of one key.
    pub(crate) fn delete(key: impl Into<Vec<u8>>) -> Self {
        Self::delete_range((key, Vec::new()))
    }

    /// The removal of all keys from the first up to the end, which is not among them.
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
    /// The key is absent.
    pub(crate) fn absent(key: impl Into<Vec<u8>>) -> Self {
        let created = TargetUnion::CreateRevision(0);
        Self::new(key, CompareTarget::Create, CompareResult::Equal, created)
    }

    /// The last change of the key is that of this revision; 0 if it is absent.
    pub(crate) fn unchanged(key: impl Into<Vec<u8>>, at: i64) -> Self {
        let changed = TargetUnion::ModRevision(at);
        Self::new(key, CompareTarget::Mod, CompareResult::Equal, changed)
    }

    /// The last change of the key is of an earlier revision than this one.
    pub(crate) fn older(key: impl Into<Vec<u8>>, than: i64) -> Self {
        let changed = TargetUnion::ModRevision(than);
        Self::new(key, CompareTarget::Mod, CompareResult::Less, changed)
    }

    /// Compares every key up to an end; met if there is none.
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
    /// The rows of each read, in the order of the reads.
    pub(crate) fn reads(&self) -> impl Iterator<Item = &[KeyValue]> {
        let responses = self.responses.iter();
        let read = responses.filter_map(|response| response.response.as_ref());
        read.map(|Response::ResponseRange(read)| &*read.kvs)
    }
}

impl From<WatchCreateRequest> for WatchRequest {
    fn from(request: WatchCreateRequest) -> Self {
        Self {
            request_union: Some(RequestUnion::CreateRequest(request)),
        }
    }
}

impl From<WatchProgressRequest> for WatchRequest {
    fn from(request: WatchProgressRequest) -> Self {
        Self {
            request_union: Some(RequestUnion::ProgressRequest(request)),
        }
    }
}
