//! Sends requests to one receiver, and reads the files of its hook. Only a response's status and `Retry-After` are
//! used.

use crate::files;
use crate::hooks::queue::Answer;
use crate::limits::{HOOK_ANSWER_BYTES_MAX, HOOK_FLIGHTS_MAX};
use crate::outbound::{self, Outbound, OutboundBounds, Reach};
use aws_lc_rs::hmac::{HMAC_SHA256, Key, sign};
use axum::body::{Body, Bytes};
use axum::http::{Method, Request, Response, StatusCode, Uri, header};
use base64_simd::STANDARD;
use broker_core::settings::{Hook, Settings};
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use zeroize::Zeroizing;

/// The HTTP client for one receiver, with the secrets for signing its requests. Clones share connections.
#[derive(Clone)]
pub(crate) struct Client {
    outbound: Outbound,
    secrets: Arc<HookSecrets>,
}

pub(crate) struct Letter {
    /// Event id, the same for all delivery attempts.
    pub(crate) id: String,
    pub(crate) timestamp_s: u64,
    pub(crate) body: Bytes,
}

impl Client {
    /// Posts an event to the URL `to`. Returns the outcome and, unless the event was accepted, an explanation for the
    /// operator.
    pub(crate) async fn post(&self, to: Option<Uri>, letter: Letter) -> (Answer, Option<String>) {
        let Some(request) = to.and_then(|to| self.request(to, letter)) else {
            return (Answer::Refused, Some("its URL cannot be built".into()));
        };
        match self.outbound.send(request).await {
            Ok(response) => judged(&response),
            Err(why) => (Answer::Later(None), Some(why)),
        }
    }

    fn request(&self, to: Uri, letter: Letter) -> Option<Request<Body>> {
        let (id, at_s) = (letter.id, letter.timestamp_s);
        let signature = self.secrets.signature(&id, at_s, &letter.body);
        let request = Request::builder()
            .method(Method::POST)
            .uri(to)
            .header(header::CONTENT_TYPE, "application/json")
            .header("webhook-id", id)
            .header("webhook-timestamp", at_s)
            .header("webhook-signature", signature);
        request.body(Body::from(letter.body)).ok()
    }
}

fn judged<B>(response: &Response<B>) -> (Answer, Option<String>) {
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

/// Returns the value of `Retry-After` in milliseconds, or `None` if the header contains a date. In that case, the
/// default delay applies.
fn retry_after<B>(response: &Response<B>) -> Option<u64> {
    let value = response.headers().get(header::RETRY_AFTER)?.to_str().ok()?;
    let seconds: u64 = value.trim().parse().ok()?;
    Some(seconds.saturating_mul(1000))
}

// The files of a hook: its secrets, its client certificate, and the CA certificates for its receiver.

pub(crate) struct HookFault {
    pub(crate) key: String,
    pub(crate) path: PathBuf,
    pub(crate) rule: String,
}

#[must_use]
pub(crate) fn files_of(settings: &Settings) -> Vec<PathBuf> {
    let of_hook = |hook: &Hook| {
        let client = hook.client.iter().flat_map(|(cert, key)| [cert, key]);
        let all = [&hook.secret_file].into_iter().chain(client);
        all.chain(&hook.ca).cloned().collect::<Vec<_>>()
    };
    settings.hooks.iter().flat_map(of_hook).collect()
}

/// Creates each hook's client from the contents of the hook's files. The error lists every fault found.
pub(crate) fn clients(settings: &Settings) -> Result<Vec<Client>, Vec<HookFault>> {
    let (mut clients, mut faults) = (Vec::new(), Vec::new());
    for (nth, hook) in settings.hooks.iter().enumerate() {
        match client(nth, hook) {
            Ok(client) => clients.push(client),
            Err(fault) => faults.push(fault),
        }
    }
    if faults.is_empty() {
        Ok(clients)
    } else {
        Err(faults)
    }
}

fn client(nth: usize, hook: &Hook) -> Result<Client, HookFault> {
    let broken = |key: &str, path: &Path| {
        let (key, path) = (format!("hook[{nth}].{key}"), path.to_owned());
        move |rule| HookFault { key, path, rule }
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
    let tls = outbound::tls(roots).map_err(broken("secret_file", &hook.secret_file))?;
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
    let bounds = OutboundBounds {
        reach: Reach::AsWritten,
        timeout: Duration::from_millis(hook.timeout_ms),
        answer_bytes: HOOK_ANSWER_BYTES_MAX,
        idle_connections: HOOK_FLIGHTS_MAX,
    };
    Ok(Client {
        outbound: Outbound::new(tls, bounds),
        secrets: Arc::new(secrets),
    })
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

/// Maximum size of a certificate file in bytes, enough for a hundred CA certificates.
const PEM_BYTES_MAX: usize = 1 << 20;

// The secrets of a hook, and the signatures of its requests.
//
// Source: Standard Webhooks specification 1.0.0, "Signature scheme". A signature is `v1,` followed by the base64 of
// HMAC-SHA256 over `id.timestamp.body`. A secret is `whsec_` followed by 24 to 64 bytes in base64. If there are two
// secrets, every request carries two signatures, and the receiver accepts it if either is valid.

/// A hook's signing keys: one, or two while a key is being rotated.
pub(crate) struct HookSecrets(Vec<Key>);

impl HookSecrets {
    fn signature(&self, id: &str, timestamp_s: u64, body: &[u8]) -> String {
        let mut signed = format!("{id}.{timestamp_s}.").into_bytes();
        signed.extend_from_slice(body);
        let one = |key| format!("v1,{}", STANDARD.encode_to_string(sign(key, &signed)));
        self.0.iter().map(one).collect::<Vec<_>>().join(" ")
    }
}

/// Reads the secrets from a file with one secret per line. The error states which rule the file violates.
pub(crate) fn read(path: &Path) -> Result<HookSecrets, String> {
    let read = files::read_regular_text(path, FILE_BYTES_MAX)
        .map_err(|error| format!("must be a readable file: {error}"))?;
    if read.is_open_to_others() {
        return Err("must be a file that only its owner and group may read: chmod 600".into());
    }
    let lines = read.content.lines().map(str::trim);
    let secrets: Option<Vec<_>> = lines.filter(|line| !line.is_empty()).map(key).collect();
    match secrets {
        Some(keys) if (1..=SECRETS_MAX).contains(&keys.len()) => Ok(HookSecrets(keys)),
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

/// Maximum number of secrets: the current one, and either its predecessor or its successor.
const SECRETS_MAX: usize = 2;

/// Maximum size of a secrets file in bytes, enough for two secrets with line breaks and some spaces.
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
            HookSecrets(vec![key]).signature("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, body);
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
