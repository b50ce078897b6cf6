//! A connection to one etcd member, and the calls made over it.
//!
//! The driver selects the member. If a connection stops responding, the driver abandons it together with everything in
//! flight.

use crate::config::Options;
use crate::limits::{
    ANSWER_BYTES_MAX, CONNECT, HTTP2_PING, HTTP2_PONG, PROBE, PROBE_AGAIN, PROBES,
};
use crate::rpc::calls::{CallFailure, Spent, chain};
use crate::rpc::generated::{
    AuthenticateRequest, AuthenticateResponse, LeaseGrantRequest, LeaseGrantResponse,
    LeaseKeepAliveRequest, LeaseKeepAliveResponse, LeaseRevokeRequest, LeaseRevokeResponse,
    RangeRequest, RangeResponse, StatusRequest, StatusResponse, TxnRequest, TxnResponse,
    WatchRequest, WatchResponse,
};
use hyper_util::rt::TokioIo;
use prost::Message;
use rustls::pki_types::ServerName;
use socket2::{SockRef, TcpKeepalive};
use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tonic::client::Grpc;
use tonic::codegen::http::Uri;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::codegen::tokio_stream::Stream;
use tonic::codegen::{InterceptedService, Service};
use tonic::metadata::AsciiMetadataValue;
use tonic::service::Interceptor;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status, Streaming};
use tonic_prost::ProstCodec;

/// Connects to an etcd member within [`CONNECT`].
pub(crate) async fn connect(options: &Options, member: usize) -> Result<Lines, Box<str>> {
    let connected = timeout(CONNECT, connect_to(options, member)).await;
    connected.unwrap_or_else(|_| Err("connect timed out".into()))
}

async fn connect_to(options: &Options, member: usize) -> Result<Lines, Box<str>> {
    let options = options.in_force().await;
    let endpoint = options
        .endpoints
        .get(member)
        .ok_or("no member of etcd is configured")?;
    // tonic's own TLS support is not used. The connector below sets up TLS if needed.
    let (plain, tls) = match endpoint.strip_prefix("https://") {
        Some(rest) => {
            let tls = options.tls.clone().ok_or("https:// needs a CA file")?;
            (format!("http://{rest}"), Some(TlsConnector::from(tls)))
        }
        None => (endpoint.to_string(), None),
    };
    let endpoint = Endpoint::from_shared(plain)
        .map_err(|error| error.to_string())?
        .connect_timeout(CONNECT)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(HTTP2_PING)
        .keep_alive_timeout(HTTP2_PONG);
    let channel = endpoint
        .connect_with_connector(Dial {
            tls,
            is_spent: Arc::default(),
            fault: Arc::default(),
        })
        .await
        .map_err(|error| chain(&error))?;
    let user = options.user.as_ref();
    let user = user.map(|(name, password)| (&**name, &**password));
    let lines = Lines::open(channel, user).await;
    let lines = lines.map_err(|status| CallFailure::of(&status).to_string())?;
    Ok(lines)
}

/// Opens the TCP connection, with TLS if configured.
///
/// Connects only once. If the channel reconnected on its own, a call that was not sent could not be distinguished from
/// one whose answer was lost.
#[derive(Clone)]
struct Dial {
    tls: Option<TlsConnector>,
    is_spent: Arc<AtomicBool>,
    fault: Fault,
}

/// The reason why a connection ended. It may become known only after the handshake, for example if the member rejects
/// the client's certificate with an alert.
type Fault = Arc<OnceLock<Box<str>>>;

/// A stream that carries HTTP/2. Either TCP, or TLS over TCP.
trait ByteStream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> ByteStream for S {}

struct Noted {
    stream: Box<dyn ByteStream>,
    fault: Fault,
}

impl Noted {
    /// Writes to the stream. If this fails, waits for the peer's last bytes, which may state why it closed the
    /// connection. They can still be read after the peer has closed its socket.
    fn write<T>(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        write: impl FnOnce(Pin<&mut dyn ByteStream>, &mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        let written = write(Pin::new(&mut *self.stream), context);
        if let Poll::Ready(Err(error)) = &written {
            let mut last = [0; 64];
            let mut last = ReadBuf::new(&mut last);
            if self.as_mut().poll_read(context, &mut last).is_pending() {
                return Poll::Pending;
            }
            self.fault.get_or_init(|| error.to_string().into());
        }
        written
    }
}

impl AsyncRead for Noted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        to: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.stream).poll_read(context, to);
        if let Poll::Ready(Err(error)) = &read {
            self.fault.get_or_init(|| error.to_string().into());
        }
        read
    }
}

impl AsyncWrite for Noted {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.write(context, |stream, context| stream.poll_write(context, bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.write(context, |to, context| {
            to.poll_write_vectored(context, bytes)
        })
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.write(context, |stream, context| stream.poll_flush(context))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.write(context, |stream, context| stream.poll_shutdown(context))
    }
}

impl Service<Uri> for Dial {
    type Response = TokioIo<Noted>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let (tls, fault) = (self.tls.clone(), Arc::clone(&self.fault));
        if self.is_spent.swap(true, Ordering::Relaxed) {
            let spent = Spent(fault.get().cloned());
            return Box::pin(async { Err(io::Error::other(spent)) });
        }
        Box::pin(async move {
            let host = uri.host().unwrap_or_default();
            let bare = host.trim_matches(['[', ']']).to_owned();
            let port = uri.port_u16().unwrap_or(2379);
            let stream = TcpStream::connect((bare.as_str(), port)).await?;
            stream.set_nodelay(true)?;
            // Keepalive probes detect a lost peer on a connection without calls.
            let keepalive = TcpKeepalive::new()
                .with_time(PROBE)
                .with_interval(PROBE_AGAIN)
                .with_retries(PROBES);
            let options = SockRef::from(&stream);
            options.set_tcp_keepalive(&keepalive)?;
            // Few bytes are in flight. Retransmitting at equal intervals lets a keepalive arrive in time.
            options.set_tcp_thin_linear_timeouts(true)?;
            let stream: Box<dyn ByteStream> = match tls {
                None => Box::new(stream),
                Some(tls) => {
                    let name = ServerName::try_from(bare).map_err(io::Error::other)?;
                    Box::new(tls.connect(name, stream).await?)
                }
            };
            Ok(TokioIo::new(Noted { stream, fault }))
        })
    }
}

// Calls over one connection to an etcd member.

/// A connection to an etcd member, with the credentials for calls. All clones share the connection.
#[derive(Clone, Debug)]
pub(crate) struct Lines {
    channel: InterceptedService<Channel, Headers>,
}

impl Lines {
    /// Prepares a connection for calls. If a user (name and password) is given, first requests a token from etcd.
    pub(crate) async fn open(channel: Channel, user: Option<(&str, &str)>) -> Result<Self, Status> {
        let with = |token| Self {
            channel: InterceptedService::new(channel.clone(), Headers { token }),
        };
        let Some((name, password)) = user else {
            return Ok(with(None));
        };
        let request = AuthenticateRequest {
            name: name.into(),
            password: password.into(),
        };
        let lines = with(None);
        let answer = lines.call("/etcdserverpb.Auth/Authenticate", request);
        let answer: AuthenticateResponse = answer.await?;
        let token: Result<AsciiMetadataValue, _> = answer.token.parse();
        let mut token = token.map_err(|_| Status::internal("invalid token"))?;
        token.set_sensitive(true);
        Ok(with(Some(token)))
    }

    /// Reads a range. The read is linearizable, unless the request contains a revision.
    pub(crate) async fn range(&self, request: RangeRequest) -> Result<RangeResponse, Status> {
        self.call("/etcdserverpb.KV/Range", request).await
    }

    pub(crate) async fn txn(&self, request: TxnRequest) -> Result<TxnResponse, Status> {
        self.call("/etcdserverpb.KV/Txn", request).await
    }

    /// Grants a lease of at least this many seconds.
    pub(crate) async fn grant(&self, ttl: i64) -> Result<LeaseGrantResponse, Status> {
        let request = LeaseGrantRequest { ttl };
        self.call("/etcdserverpb.Lease/LeaseGrant", request).await
    }

    pub(crate) async fn revoke(&self, id: i64) -> Result<LeaseRevokeResponse, Status> {
        let request = LeaseRevokeRequest { id };
        self.call("/etcdserverpb.Lease/LeaseRevoke", request).await
    }

    pub(crate) async fn keep_alive(
        &self,
        questions: Questions<LeaseKeepAliveRequest>,
    ) -> Result<Streaming<LeaseKeepAliveResponse>, Status> {
        self.stream("/etcdserverpb.Lease/LeaseKeepAlive", questions)
            .await
    }

    pub(crate) async fn watch(
        &self,
        questions: Questions<WatchRequest>,
    ) -> Result<Streaming<WatchResponse>, Status> {
        self.stream("/etcdserverpb.Watch/Watch", questions).await
    }

    pub(crate) async fn status(&self) -> Result<StatusResponse, Status> {
        self.call("/etcdserverpb.Maintenance/Status", StatusRequest {})
            .await
    }

    async fn call<Q, A>(&self, path: &'static str, request: Q) -> Result<A, Status>
    where
        Q: Message + 'static,
        A: Message + Default + 'static,
    {
        let (mut client, path) = (self.client().await?, PathAndQuery::from_static(path));
        let answer = client.unary(Request::new(request), path, ProstCodec::default());
        Ok(answer.await?.into_inner())
    }

    async fn stream<Q, A>(
        &self,
        path: &'static str,
        questions: Questions<Q>,
    ) -> Result<Streaming<A>, Status>
    where
        Q: Message + Clone + Unpin + 'static,
        A: Message + Default + 'static,
    {
        let (mut client, path) = (self.client().await?, PathAndQuery::from_static(path));
        let answers = client.streaming(Request::new(questions), path, ProstCodec::default());
        Ok(answers.await?.into_inner())
    }

    async fn client(&self) -> Result<Grpc<InterceptedService<Channel, Headers>>, Status> {
        let client = Grpc::new(self.channel.clone());
        let mut client = client.max_decoding_message_size(ANSWER_BYTES_MAX);
        let ready = client.ready().await;
        ready.map_err(|error| Status::unknown(format!("Service was not ready: {error}")))?;
        Ok(client)
    }
}

/// The metadata sent with each call: the user's token, and the requirement that the member has a leader.
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

/// The requests of a stream. The first request is sent when the stream opens, and one more for each signal received.
pub(crate) struct Questions<R> {
    first: Option<R>,
    each: R,
    words: mpsc::Receiver<()>,
}

impl<R> Questions<R> {
    pub(crate) fn new(first: R, each: R, words: mpsc::Receiver<()>) -> Self {
        let first = Some(first);
        Self { first, each, words }
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
