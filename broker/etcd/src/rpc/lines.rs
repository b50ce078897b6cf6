//! The calls over one connection to a member of etcd.

use crate::limits::ANSWER_BYTES_MAX;
use crate::rpc::generated::auth_client::AuthClient;
use crate::rpc::generated::kv_client::KvClient;
use crate::rpc::generated::lease_client::LeaseClient;
use crate::rpc::generated::maintenance_client::MaintenanceClient;
use crate::rpc::generated::watch_client::WatchClient;
use crate::rpc::generated::{
    AuthenticateRequest, LeaseGrantRequest, LeaseGrantResponse, LeaseKeepAliveRequest,
    LeaseKeepAliveResponse, LeaseRevokeRequest, RangeRequest, RangeResponse, StatusRequest,
    StatusResponse, TxnRequest, TxnResponse, WatchRequest, WatchResponse,
};
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::sync::mpsc;
use tonic::codegen::InterceptedService;
use tonic::codegen::tokio_stream::Stream;
use tonic::metadata::AsciiMetadataValue;
use tonic::service::Interceptor;
use tonic::transport::Channel;
use tonic::{Request, Status, Streaming};

/// A connection, and the user whose calls it carries. Clones are of the same connection.
#[derive(Clone, Debug)]
pub(crate) struct Lines {
    channel: InterceptedService<Channel, Headers>,
}

impl Lines {
    /// A connection over which calls are made; for a user (name, password) etcd is asked for a token first.
    pub(crate) async fn open(channel: Channel, user: Option<(&str, &str)>) -> Result<Self, Status> {
        let mut headers = Headers { token: None };
        if let Some((name, password)) = user {
            let request = AuthenticateRequest {
                name: name.into(),
                password: password.into(),
            };
            let without = InterceptedService::new(channel.clone(), headers.clone());
            let answer = AuthClient::new(without).authenticate(request).await?;
            let token: Result<AsciiMetadataValue, _> = answer.into_inner().token.parse();
            let mut token = token.map_err(|_| Status::internal("the token fits no header"))?;
            token.set_sensitive(true);
            headers.token = Some(token);
        }
        let channel = InterceptedService::new(channel, headers);
        Ok(Self { channel })
    }

    /// A read: linearizable, unless it names a revision.
    pub(crate) async fn range(&self, request: RangeRequest) -> Result<RangeResponse, Status> {
        Ok(self.kv().range(request).await?.into_inner())
    }

    /// A transaction.
    pub(crate) async fn txn(&self, request: TxnRequest) -> Result<TxnResponse, Status> {
        Ok(self.kv().txn(request).await?.into_inner())
    }

    /// A lease of at least this many seconds.
    pub(crate) async fn grant(&self, ttl: i64) -> Result<LeaseGrantResponse, Status> {
        let granted = self.lease().lease_grant(LeaseGrantRequest { ttl }).await?;
        Ok(granted.into_inner())
    }

    /// The end of a lease.
    pub(crate) async fn revoke(&self, id: i64) -> Result<(), Status> {
        self.lease().lease_revoke(LeaseRevokeRequest { id }).await?;
        Ok(())
    }

    /// A stream of keepalives.
    pub(crate) async fn keep_alive(
        &self,
        questions: Questions<LeaseKeepAliveRequest>,
    ) -> Result<Streaming<LeaseKeepAliveResponse>, Status> {
        Ok(self.lease().lease_keep_alive(questions).await?.into_inner())
    }

    /// A stream of what changes.
    pub(crate) async fn watch(
        &self,
        questions: Questions<WatchRequest>,
    ) -> Result<Streaming<WatchResponse>, Status> {
        let client = WatchClient::new(self.channel.clone());
        let mut client = client.max_decoding_message_size(ANSWER_BYTES_MAX);
        Ok(client.watch(questions).await?.into_inner())
    }

    /// The status of the member, by its own account.
    pub(crate) async fn status(&self) -> Result<StatusResponse, Status> {
        let mut client = MaintenanceClient::new(self.channel.clone());
        Ok(client.status(StatusRequest {}).await?.into_inner())
    }

    fn kv(&self) -> KvClient<InterceptedService<Channel, Headers>> {
        KvClient::new(self.channel.clone()).max_decoding_message_size(ANSWER_BYTES_MAX)
    }

    fn lease(&self) -> LeaseClient<InterceptedService<Channel, Headers>> {
        LeaseClient::new(self.channel.clone())
    }
}

/// The metadata of each call: only a member that knows a leader is to answer, and the user's token.
#[derive(Clone)]
struct Headers {
    token: Option<AsciiMetadataValue>,
}

impl Interceptor for Headers {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        let headers = request.metadata_mut();
        headers.insert("hasleader", AsciiMetadataValue::from_static("true"));
        if let Some(token) = &self.token {
            headers.insert("token", token.clone());
        }
        Ok(request)
    }
}

/// The requests of a stream: one at once, then one for each word that comes.
pub(crate) struct Questions<R> {
    first: Option<R>,
    each: R,
    words: mpsc::Receiver<()>,
}

impl<R> Questions<R> {
    pub(crate) fn new(first: impl Into<R>, each: impl Into<R>, words: mpsc::Receiver<()>) -> Self {
        Self {
            first: Some(first.into()),
            each: each.into(),
            words,
        }
    }
}

impl<R: Clone + Unpin> Stream for Questions<R> {
    type Item = R;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<R>> {
        let this = self.get_mut();
        if let Some(first) = this.first.take() {
            return Poll::Ready(Some(first));
        }
        let word = this.words.poll_recv(context);
        word.map(|word| word.map(|()| this.each.clone()))
    }
}
