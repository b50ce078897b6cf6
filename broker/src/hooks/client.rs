//! Requests to one receiver: no redirects, no proxy, and of the answer nothing but its status. The files that they
//! need, and the secrets that sign them.

use crate::files;
use crate::hooks::queue::Answer;
use crate::limits::{HOOK_ANSWER_BYTES_MAX, HOOK_FLIGHTS_MAX, HOOK_LOOKUPS_MAX};
use aws_lc_rs::hmac::{HMAC_SHA256, Key, sign};
use axum::body::{Body, Bytes, to_bytes};
use axum::http::{Method, Request, Response, StatusCode, Uri, header};
use base64_simd::STANDARD;
use broker_core::settings::{Hook, Settings};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client as Pool;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::dns::Name;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use std::error::Error;
use std::future::Future;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use std::{io, vec};
use tokio::sync::Semaphore;
use tower_service::Service;
use zeroize::Zeroizing;

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

// The files of a hook: its secrets, the certificate that its receiver is shown, the authorities of the receiver's own.

/// A file of a hook that is not as it should be.
pub(crate) struct HookFault {
    /// The key of the configuration that names it.
    pub(crate) key: String,
    /// The file.
    pub(crate) path: PathBuf,
    /// The rule that it breaks.
    pub(crate) rule: String,
}

/// The files of all hooks.
#[must_use]
pub(crate) fn files_of(settings: &Settings) -> Vec<PathBuf> {
    let of_hook = |hook: &Hook| {
        let client = hook.client.iter().flat_map(|(cert, key)| [cert, key]);
        let all = [&hook.secret_file].into_iter().chain(client);
        all.chain(&hook.ca).cloned().collect::<Vec<_>>()
    };
    settings.hooks.iter().flat_map(of_hook).collect()
}

/// A client for each hook, with what its files hold.
///
/// # Errors
/// Every fault.
pub(crate) fn clients(settings: &Settings) -> Result<Vec<Client>, Vec<HookFault>> {
    let (mut clients, mut faults) = (Vec::new(), Vec::new());
    for (nth, hook) in settings.hooks.iter().enumerate() {
        match client(hook) {
            Ok(client) => clients.push(client),
            Err((key, path, rule)) => faults.push(HookFault {
                key: format!("hook[{nth}].{key}"),
                path,
                rule,
            }),
        }
    }
    if faults.is_empty() {
        Ok(clients)
    } else {
        Err(faults)
    }
}

type Broken = (&'static str, PathBuf, String);

fn client(hook: &Hook) -> Result<Client, Broken> {
    let broken = |key, path: &Path| {
        let path = path.to_owned();
        move |rule| (key, path, rule)
    };
    let secrets = self::read(&hook.secret_file);
    let secrets = secrets.map_err(broken("secret_file", &hook.secret_file))?;
    let mut roots = RootCertStore::empty();
    match &hook.ca {
        Some(path) => {
            for certificate in certificates(path).map_err(broken("ca", path))? {
                let added = roots.add(certificate).map_err(|error| error.to_string());
                added.map_err(broken("ca", path))?;
            }
        }
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())
        .map_err(broken("secret_file", &hook.secret_file))?
        .with_root_certificates(roots);
    let tls = match &hook.client {
        None => tls.with_no_client_auth(),
        Some((cert, key)) => {
            let chain = certificates(cert).map_err(broken("client_cert", cert))?;
            let private = private_key(key).map_err(broken("client_key", key))?;
            let tls = tls.with_client_auth_cert(chain, private);
            let rule = |error| format!("must be the certificate of client_key: {error}");
            tls.map_err(rule).map_err(broken("client_cert", cert))?
        }
    };
    Ok(Client::new(
        tls,
        secrets,
        Duration::from_millis(hook.timeout_ms),
    ))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let read = files::read_regular(path, PEM_BYTES_MAX);
    let read = read.map_err(|error| format!("must be a readable file: {error}"))?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&read.content).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        Ok(_) | Err(_) => Err("must be a PEM file with certificates".into()),
    }
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, String> {
    let read = files::read_regular(path, PEM_BYTES_MAX);
    let read = read.map_err(|error| format!("must be a readable file: {error}"))?;
    if read.is_open_to_others() {
        return Err("must be a file that only its owner and group may read: chmod 600".into());
    }
    let key = PrivateKeyDer::from_pem_slice(&read.content);
    key.map_err(|_| "must be a PEM file with a private key".into())
}

/// Longest file of certificates: a hundred authorities.
const PEM_BYTES_MAX: usize = 1 << 20;

// The secrets of a hook, and the signatures of its requests.
//
// Source: Standard Webhooks specification 1.0.0, "Signature scheme": HMAC-SHA256 over `id.timestamp.body`, in base64
// behind `v1,`; secrets are written as `whsec_` and 24 to 64 bytes in base64. With two secrets, each signs: a receiver
// takes a request that any of its own verifies.

/// The keys of a hook: one, or two during a rotation.
pub(crate) struct Secrets(Vec<Key>);

impl Secrets {
    /// The value of `webhook-signature`.
    fn signature(&self, id: &str, timestamp_s: u64, body: &[u8]) -> String {
        let mut signed = format!("{id}.{timestamp_s}.").into_bytes();
        signed.extend_from_slice(body);
        let one = |key| format!("v1,{}", STANDARD.encode_to_string(sign(key, &signed)));
        self.0.iter().map(one).collect::<Vec<_>>().join(" ")
    }
}

/// The secrets of a file, one a line.
///
/// # Errors
/// The rule that it breaks.
pub(crate) fn read(path: &Path) -> Result<Secrets, String> {
    let read = files::read_regular_text(path, FILE_BYTES_MAX)
        .map_err(|error| format!("must be a readable file: {error}"))?;
    if read.is_open_to_others() {
        return Err("must be a file that only its owner and group may read: chmod 600".into());
    }
    let lines = read.content.lines().map(str::trim);
    let secrets: Option<Vec<_>> = lines.filter(|line| !line.is_empty()).map(key).collect();
    match secrets {
        Some(keys) if (1..=SECRETS_MAX).contains(&keys.len()) => Ok(Secrets(keys)),
        Some(_) | None => Err(format!(
            "must be a file with one secret a line, at most {SECRETS_MAX}: whsec_ and {} to {} bytes in base64 (echo \
             whsec_$(openssl rand -base64 32))",
            SECRET_BYTES.start(),
            SECRET_BYTES.end()
        )),
    }
}

fn key(line: &str) -> Option<Key> {
    let text = line.strip_prefix("whsec_")?;
    let bytes = Zeroizing::new(STANDARD.decode_to_vec(text).ok()?);
    SECRET_BYTES
        .contains(&bytes.len())
        .then(|| Key::new(HMAC_SHA256, &bytes))
}

const SECRET_BYTES: std::ops::RangeInclusive<usize> = 24..=64;

/// The secret in force and the one before or after it.
const SECRETS_MAX: usize = 2;

/// Two secrets with their line ends, and room for blanks.
const FILE_BYTES_MAX: usize = 1024;

#[cfg(test)]
mod secret_tests {
    use super::*;

    /// Source: the test vector of the specification's reference libraries.
    #[test]
    fn the_vector_of_the_specification() {
        let key = key("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let body = br#"{"test": 2432232314}"#;
        let signature =
            Secrets(vec![key]).signature("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, body);
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn only_secrets_of_the_right_form_and_length() {
        let of = |bytes: usize| format!("whsec_{}", STANDARD.encode_to_string(vec![7; bytes]));
        for (line, right) in [
            (of(24), true),
            (of(64), true),
            (of(23), false),
            (of(65), false),
            (of(32).replace("whsec_", ""), false),
            ("whsec_not base64".into(), false),
        ] {
            assert_eq!(key(&line).is_some(), right, "{line}");
        }
    }
}
