//! API calls that a relay answers. The relay verifies each signature (AWS Signature Version 4) and returns a constant
//! response. It caches derived keys for a day, as the broker does.

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::hmac::{self, HMAC_SHA256};
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use codec::sigv4::Stamp;
use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

/// Id of the only valid access key.
pub const KEY_ID: &str = "AKIDOFTHEBENCHES";
/// Secret of the only valid access key.
pub const SECRET: &str = "of-the-benches-and-nobody-else";

pub(crate) fn routes() -> Router {
    Router::new()
        .route("/createSignalingChannel", post(call))
        .route("/getSignalingChannelEndpoint", post(call))
        .route("/v1/get-ice-server-config", post(call))
        .with_state(Arc::default())
}

async fn call(
    State(checker): State<Arc<Mutex<Checker>>>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now_s = now.map_or(0, |span| span.as_secs());
    let mut checker = checker.lock().unwrap_or_else(PoisonError::into_inner);
    if checker.check(uri.path(), &headers, &body, now_s).is_none() {
        return StatusCode::FORBIDDEN.into_response();
    }
    let body = match uri.path() {
        "/createSignalingChannel" => CHANNEL,
        "/getSignalingChannelEndpoint" => ENDPOINTS,
        _ => ICE_SERVERS,
    };
    ([(header::CONTENT_TYPE, "application/json")], body).into_response()
}

#[derive(Default)]
struct Checker {
    /// The signing key that was derived last, with the day and region in its scope.
    key: Option<(String, hmac::Key)>,
    text: Vec<u8>,
}

impl Checker {
    /// Verifies a call. Returns `None` if the call is not signed or its signature does not match.
    fn check(&mut self, path: &str, headers: &HeaderMap, body: &[u8], now_s: u64) -> Option<()> {
        let line = |name: &str| headers.get(name)?.to_str().ok().map(str::trim);
        let mut parts = line("authorization")?
            .strip_prefix(ALGORITHM)?
            .split(',')
            .map(str::trim);
        let (id, scope) = parts.next()?.strip_prefix("Credential=")?.split_once('/')?;
        let names = parts.next()?.strip_prefix("SignedHeaders=")?;
        let signature = parts.next()?.strip_prefix("Signature=")?;
        let date = line("x-amz-date")?;
        let day_and_region = scope.strip_suffix("/kinesisvideo/aws4_request")?;
        let (day, region) = day_and_region.split_once('/')?;
        let signed_s = u64::try_from(Stamp::parse(date.as_bytes())?.epoch()).ok()?;
        if id != KEY_ID || !date.starts_with(day) || signed_s.abs_diff(now_s) > TOLERANCE_S {
            return None;
        }
        self.text.clear();
        self.push(&["POST\n", path, "\n\n"]);
        for name in names.split(';') {
            self.push(&[name, ":", line(name)?, "\n"]);
        }
        self.push(&["\n", names, "\n"]);
        self.push_hash(body);
        let hash = digest(&SHA256, &self.text);
        self.text.clear();
        self.push(&[ALGORITHM, "\n", date, "\n", scope, "\n"]);
        self.push_hex(hash.as_ref());
        if self.key.as_ref().is_none_or(|(of, _)| of != day_and_region) {
            self.key = Some((day_and_region.to_owned(), derive(day, region)));
        }
        let (_, key) = self.key.as_ref()?;
        let signature = HEXLOWER_PERMISSIVE.decode(signature.as_bytes()).ok()?;
        hmac::verify(key, &self.text, &signature).ok()
    }

    fn push(&mut self, parts: &[&str]) {
        for part in parts {
            self.text.extend_from_slice(part.as_bytes());
        }
    }

    fn push_hash(&mut self, bytes: &[u8]) {
        self.push_hex(digest(&SHA256, bytes).as_ref());
    }

    fn push_hex(&mut self, bytes: &[u8]) {
        self.text.extend(HEXLOWER.encode(bytes).bytes());
    }
}

fn derive(day: &str, region: &str) -> hmac::Key {
    let key = |bytes: &[u8]| hmac::Key::new(HMAC_SHA256, bytes);
    let first = key(format!("AWS4{SECRET}").as_bytes());
    let parts = [day, region, "kinesisvideo", "aws4_request"];
    parts.into_iter().fold(first, |last, part| {
        key(hmac::sign(&last, part.as_bytes()).as_ref())
    })
}

const ALGORITHM: &str = "AWS4-HMAC-SHA256";
/// Maximum difference between the time of a signature and the clock, in seconds.
const TOLERANCE_S: u64 = 300;
const CHANNEL: &str =
    r#"{"ChannelARN":"arn:aws:kinesisvideo:us-west-2:123456789012:channel/bench/1700000000000"}"#;
const ENDPOINTS: &str = concat!(
    r#"{"ResourceEndpointList":[{"Protocol":"WSS","ResourceEndpoint":"ws://127.0.0.1:40000"},"#,
    r#"{"Protocol":"HTTPS","ResourceEndpoint":"http://127.0.0.1:40000"}]}"#
);
const ICE_SERVERS: &str = concat!(
    r#"{"IceServerList":[{"Uris":["turn:127.0.0.1:3478?transport=udp"],"Username":"user","Password":"password","#,
    r#""Ttl":300}]}"#
);

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::{HeaderName, HeaderValue};
    use codec::sigv4::signer::{Call, Keys, Signer};

    #[test]
    fn only_the_call_that_was_signed_is_good() {
        let keys = Keys {
            access_key_id: KEY_ID,
            secret_access_key: SECRET,
            session_token: None,
        };
        let (path, body, now_s) = ("/getSignalingChannelEndpoint", "{}", 1_790_000_000);
        let call = Call {
            host: "127.0.0.1:9",
            path,
            body,
            now_s,
        };
        let signed = Signer::new(keys, "us-west-2").sign(&call);
        let mut headers = HeaderMap::new();
        for (name, value) in signed
            .lines()
            .chain([("Host", call.host), ("Content-Type", "application/json")])
        {
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            headers.insert(name, HeaderValue::from_str(value).unwrap());
        }
        let mut checker = Checker::default();
        let mut check =
            |path, body: &str, now_s| checker.check(path, &headers, body.as_bytes(), now_s);
        assert_eq!(check(path, body, now_s), Some(()));
        assert_eq!(check(path, body, now_s + TOLERANCE_S), Some(()));
        assert_eq!(check(path, "{ }", now_s), None);
        assert_eq!(check("/other", body, now_s), None);
        assert_eq!(check(path, body, now_s + TOLERANCE_S + 1), None);
        headers.insert("host", HeaderValue::from_static("127.0.0.1:8"));
        assert_eq!(checker.check(path, &headers, body.as_bytes(), now_s), None);
    }
}
