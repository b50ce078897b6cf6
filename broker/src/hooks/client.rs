//! Requests to one receiver: no redirects, no proxy, and of the answer nothing but its status.

use crate::hooks::queue::Answer;
use crate::hooks::secret::Secrets;
use crate::limits::{HOOK_ANSWER_BYTES_MAX, HOOK_FLIGHTS_MAX, HOOK_LOOKUPS_MAX};
use axum::body::{Body, Bytes, to_bytes};
use axum::http::{Method, Request, Response, StatusCode, Uri, header};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client as Pool;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::dns::Name;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::ClientConfig;
use std::error::Error;
use std::future::Future;
use std::net::{SocketAddr, ToSocketAddrs};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use std::{io, vec};
use tokio::sync::Semaphore;
use tower_service::Service;

/// The connections to one receiver, and the secrets that its requests are signed with. A clone is another way to them.
#[derive(Clone)]
pub(crate) struct Client {
    pool: Pool<HttpsConnector<HttpConnector<Lookups>>, Body>,
    secrets: Arc<Secrets>,
    timeout: Duration,
}

/// A request's head beside its address.
pub(crate) struct Letter {
    /// Its name, the same in every try.
    pub(crate) id: String,
    /// Now, in seconds since 1970.
    pub(crate) timestamp_s: u64,
    pub(crate) body: Bytes,
}

impl Client {
    pub(crate) fn new(tls: ClientConfig, secrets: Secrets, timeout: Duration) -> Self {
        let mut tcp = HttpConnector::new_with_resolver(Lookups::default());
        tcp.enforce_http(false);
        tcp.set_connect_timeout(Some(timeout));
        tcp.set_nodelay(true);
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_http1()
            .wrap_connector(tcp);
        let pool = Pool::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_MAX)
            .pool_max_idle_per_host(HOOK_FLIGHTS_MAX)
            .http1_max_buf_size(HEAD_BYTES_MAX)
            .build(connector);
        Self {
            pool,
            secrets: Arc::new(secrets),
            timeout,
        }
    }

    /// Posts an event. With the answer comes why it was none that a receiver should give, in a word for operators.
    pub(crate) async fn post(&self, to: Uri, letter: Letter) -> (Answer, Option<String>) {
        let Some(request) = self.request(to, letter) else {
            return (Answer::Refused, Some("the address cannot be made".into()));
        };
        match tokio::time::timeout(self.timeout, self.ask(request)).await {
            Ok(Ok(response)) => judged(&response),
            Ok(Err(error)) => (Answer::Later(None), Some(told(&error))),
            Err(_) => (Answer::Later(None), Some("no answer in time".into())),
        }
    }

    async fn ask(
        &self,
        request: Request<Body>,
    ) -> Result<Response<()>, hyper_util::client::legacy::Error> {
        let (head, body) = self.pool.request(request).await?.into_parts();
        // A body that is short is read, so that the connection can be used again.
        let _ = to_bytes(Body::new(body), HOOK_ANSWER_BYTES_MAX).await;
        Ok(Response::from_parts(head, ()))
    }

    fn request(&self, to: Uri, letter: Letter) -> Option<Request<Body>> {
        let Letter {
            id,
            timestamp_s,
            body,
        } = letter;
        let signature = self.secrets.signature(&id, timestamp_s, &body);
        let request = Request::builder()
            .method(Method::POST)
            .uri(to)
            .header(header::CONTENT_TYPE, "application/json")
            .header(
                header::USER_AGENT,
                concat!("heliograph/", env!("CARGO_PKG_VERSION")),
            )
            .header("webhook-id", id)
            .header("webhook-timestamp", timestamp_s)
            .header("webhook-signature", signature);
        request.body(Body::from(body)).ok()
    }
}

/// The meaning of a status.
fn judged(response: &Response<()>) -> (Answer, Option<String>) {
    let status = response.status();
    let answer = match status {
        status if status.is_success() => return (Answer::Taken, None),
        StatusCode::GONE => Answer::Gone,
        StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_EARLY | StatusCode::TOO_MANY_REQUESTS => {
            Answer::Later(retry_after(response))
        }
        status if status.is_server_error() => Answer::Later(retry_after(response)),
        _ => Answer::Refused,
    };
    (answer, Some(format!("status {}", status.as_u16())))
}

/// The seconds of `Retry-After`, in milliseconds; a date is not understood, and the usual pause holds.
fn retry_after(response: &Response<()>) -> Option<u64> {
    let value = response.headers().get(header::RETRY_AFTER)?.to_str().ok()?;
    let seconds: u64 = value.trim().parse().ok()?;
    Some(seconds.saturating_mul(1000))
}

/// The causes of an error, shortest first; no address is in them.
pub(crate) fn told(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        text = next.to_string();
        cause = next.source();
    }
    text.truncate(text.floor_char_boundary(ERROR_BYTES_MAX));
    text
}

/// Look-ups of a host, of which few are under way: the system's resolver takes a thread for each, for as long as it
/// likes.
#[derive(Clone, Debug)]
pub(crate) struct Lookups(Arc<Semaphore>);

impl Default for Lookups {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(HOOK_LOOKUPS_MAX)))
    }
}

impl Service<Name> for Lookups {
    type Response = vec::IntoIter<SocketAddr>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let places = Arc::clone(&self.0);
        Box::pin(async move {
            let place = places.acquire_owned().await.map_err(io::Error::other)?;
            let look_up = move || {
                let found = (name.as_str(), 0).to_socket_addrs();
                drop(place);
                found
            };
            tokio::task::spawn_blocking(look_up)
                .await
                .map_err(io::Error::other)?
        })
    }
}

/// Time after which a connection that is not used is closed.
const IDLE_MAX: Duration = Duration::from_secs(60);

/// Longest head of an answer.
const HEAD_BYTES_MAX: usize = 16 * 1024;

/// Longest error that is shown.
const ERROR_BYTES_MAX: usize = 160;
