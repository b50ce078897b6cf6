//! One connection to one member of etcd, and the calls over it. When it fails, the next member is tried.
//!
//! The driver chooses members: a connection that does not answer is given up, with everything under way on it.

use crate::config::Options;
use crate::limits::{
    ANSWER_BYTES_MAX, CONNECT, HTTP2_PING, HTTP2_PONG, PROBE, PROBE_AGAIN, PROBES, RETRY, RETRY_MAX,
};
use crate::rpc::calls::{Failure, Spent, chain};
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
use hyper_util::rt::TokioIo;
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
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsConnector;
use tonic::codegen::http::Uri;
use tonic::codegen::tokio_stream::Stream;
use tonic::codegen::{InterceptedService, Service};
use tonic::metadata::AsciiMetadataValue;
use tonic::service::Interceptor;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status, Streaming};

/// A connection, or the attempts to get one. One per purpose.
#[derive(Debug)]
pub(crate) struct Link {
    options: Arc<Options>,
    /// The member that is used, or tried next.
    member: usize,
    /// Counts connections: what belongs to an earlier one is not of this one.
    generation: u32,
    state: State,
    /// Attempts in a row that came to nothing.
    failures: u32,
}

#[derive(Debug)]
enum State {
    Down { retry_at: Instant },
    Connecting,
    Up(Lines),
}

/// An attempt to connect: which one it is, and what it does.
type Attempt = (u32, Pin<Box<dyn Future<Output = Result<Lines, Box<str>>>>>);

impl Link {
    /// No connection yet; the first member to try is `first`, of those there are.
    pub(crate) fn new(options: Arc<Options>, first: usize, now: Instant) -> Self {
        Self {
            options,
            member: first,
            generation: 0,
            state: State::Down { retry_at: now },
            failures: 0,
        }
    }

    /// The connection, if there is one, and its number.
    pub(crate) fn up(&self) -> Option<(u32, &Lines)> {
        match &self.state {
            State::Up(lines) => Some((self.generation, lines)),
            State::Down { .. } | State::Connecting => None,
        }
    }

    /// Whether `generation` is the connection that is used now.
    pub(crate) fn is_current(&self, generation: u32) -> bool {
        self.generation == generation && self.up().is_some()
    }

    /// The next attempt, if there is no connection and its time has come. Its outcome belongs to [`Self::connected`].
    pub(crate) fn attempt(&mut self, now: Instant) -> Option<Attempt> {
        match self.state {
            State::Down { retry_at } if now >= retry_at => {}
            State::Down { .. } | State::Connecting | State::Up(_) => return None,
        }
        self.generation += 1;
        self.state = State::Connecting;
        let options = Arc::clone(&self.options);
        let member = self.member % options.endpoints.len().max(1);
        let attempt = async move {
            let connecting = timeout(CONNECT, connect(&options, member)).await;
            connecting.unwrap_or_else(|_| Err("no connection in time".into()))
        };
        Some((self.generation, Box::pin(attempt)))
    }

    /// An attempt has ended. Returns why, if it failed.
    pub(crate) fn connected(
        &mut self,
        generation: u32,
        result: Result<Lines, Box<str>>,
        now: Instant,
    ) -> Option<Box<str>> {
        if generation != self.generation {
            return None;
        }
        match result {
            Ok(lines) => {
                self.state = State::Up(lines);
                None
            }
            Err(why) => {
                self.down(now);
                Some(why)
            }
        }
    }

    /// A call over the connection was answered.
    pub(crate) fn works(&mut self, generation: u32) {
        if self.is_current(generation) {
            self.failures = 0;
        }
    }

    /// A connection failed. False if it is not the one that is used now.
    pub(crate) fn failed(&mut self, generation: u32, now: Instant) -> bool {
        let is_current = self.is_current(generation);
        if is_current {
            self.down(now);
        }
        is_current
    }

    /// The member that is used or tried, for the log.
    pub(crate) fn endpoint(&self) -> &str {
        let count = self.options.endpoints.len().max(1);
        self.options
            .endpoints
            .get(self.member % count)
            .map_or("", |endpoint| endpoint)
    }

    /// The same, for a connection of another kind.
    pub(crate) fn member(&self) -> (Arc<Options>, usize) {
        let count = self.options.endpoints.len().max(1);
        (Arc::clone(&self.options), self.member % count)
    }

    fn down(&mut self, now: Instant) {
        self.member = self.member.wrapping_add(1);
        // The first attempt after a connection that worked is made at once.
        let pause = match self.failures {
            0 => std::time::Duration::ZERO,
            count => RETRY.saturating_mul(1 << count.min(8)).min(RETRY_MAX),
        };
        self.failures += 1;
        self.state = State::Down {
            retry_at: now + pause,
        };
    }
}

/// Connects to one member.
pub(crate) async fn connect(options: &Options, member: usize) -> Result<Lines, Box<str>> {
    let options = options.in_force().await;
    let endpoint = options
        .endpoints
        .get(member)
        .ok_or("no member is configured")?;
    // The scheme is of no use to tonic: the connector below decides.
    let (plain, tls) = match endpoint.strip_prefix("https://") {
        Some(rest) => {
            let tls = options.tls.clone().ok_or("https:// needs authorities")?;
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
    let lines = lines.map_err(|status| Failure::of(&status).to_string())?;
    Ok(lines)
}

/// Opens the TCP connection, and TLS on it.
///
/// Once: the channel would connect again by itself, and then nobody could tell a call that was not sent from one whose
/// answer is lost.
#[derive(Clone)]
struct Dial {
    tls: Option<TlsConnector>,
    is_spent: Arc<AtomicBool>,
    fault: Fault,
}

/// Why a connection ended, once it did: such as the alert by which a member refuses the client's certificate, which
/// comes after the handshake.
type Fault = Arc<OnceLock<Box<str>>>;

/// A connection that HTTP/2 runs on: TCP, or TLS over it.
trait ByteStream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> ByteStream for S {}

/// A connection that notes why it ended.
struct Noted {
    stream: Box<dyn ByteStream>,
    fault: Fault,
}

impl Noted {
    /// Writes. Where that fails, the other end may have said why before, so its last bytes are awaited first: a socket
    /// that its peer has closed can be read, to its end at least.
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
            let bare = host
                .trim_start_matches('[')
                .trim_end_matches(']')
                .to_owned();
            let port = uri.port_u16().unwrap_or(2379);
            let stream = TcpStream::connect((bare.as_str(), port)).await?;
            stream.set_nodelay(true)?;
            // Of a connection without a call under way the system finds out that its other end is gone.
            let keepalive = TcpKeepalive::new()
                .with_time(PROBE)
                .with_interval(PROBE_AGAIN)
                .with_retries(PROBES);
            let options = SockRef::from(&stream);
            options.set_tcp_keepalive(&keepalive)?;
            // Lost bytes are sent again at equal intervals, while few are under way: a keepalive arrives in time.
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

// The calls over one connection to a member of etcd.

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
