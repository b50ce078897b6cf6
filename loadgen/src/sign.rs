//! Signatures of the client's side: presigned WebSocket URLs and signed API calls.
//!
//! Pure: keys and time are arguments. Source: AWS "Signature Version 4"; the URL is as the KVS WebRTC SDK for
//! JavaScript makes it (codec/PROTOCOL.md, SIG), the call as botocore does.

use aws_lc_rs::digest;
use codec::aws::sigv4::{SigningKey, Stamp};
use data_encoding::HEXLOWER;
use std::fmt;

/// Long-lived or temporary credentials. Shows nothing of its secrets.
#[derive(Clone)]
pub struct Credentials {
    access_key_id: String,
    secret_access_key: String,
    session_token: Option<String>,
}

/// Credentials that are not there. Told to the operator; exit code 2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MissingKeys;

impl fmt::Display for MissingKeys {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(
            "--presign: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (and AWS_SESSION_TOKEN for temporary keys), \
             or send no signatures with --no-auth",
        )
    }
}

impl std::error::Error for MissingKeys {}

impl Credentials {
    /// The keys of AWS' own variables, looked up by `variable`.
    ///
    /// # Errors
    /// [`MissingKeys`]: one of the two is not set, or empty.
    pub fn from_environment(
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, MissingKeys> {
        let set = |name: &str| variable(name).filter(|value| !value.is_empty());
        Ok(Self {
            access_key_id: set("AWS_ACCESS_KEY_ID").ok_or(MissingKeys)?,
            secret_access_key: set("AWS_SECRET_ACCESS_KEY").ok_or(MissingKeys)?,
            session_token: set("AWS_SESSION_TOKEN"),
        })
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Credentials(…)")
    }
}

/// Signs for one region. Keeps the derived key of the day; one per thread.
#[derive(Clone, Debug)]
pub struct Signer {
    credentials: Credentials,
    region: String,
    /// `YYYYMMDD`, empty before the first signature.
    day: String,
    key: Option<SigningKey>,
}

impl Signer {
    /// A signer with these keys for this region.
    #[must_use]
    pub const fn new(credentials: Credentials, region: String) -> Self {
        Self {
            credentials,
            region,
            day: String::new(),
            key: None,
        }
    }

    /// Path and query of an upgrade, signed for `host` (as the `Host` header tells it). `client_id` is the viewer's,
    /// `None` for the master; `now_s` is in seconds since 1970. The URL is good for five minutes, as the SDKs make it.
    pub fn presign(
        &mut self,
        host: &str,
        arn: &str,
        client_id: Option<&str>,
        now_s: u64,
    ) -> String {
        let time = Stamp::from_epoch(now_s).to_string();
        let scope = self.scope(&time);
        let credential = format!("{}/{scope}", self.credentials.access_key_id);
        // In the order of their names, which is the order that is signed.
        let parameters = [
            ("X-Amz-Algorithm", Some(ALGORITHM)),
            ("X-Amz-ChannelARN", Some(arn)),
            ("X-Amz-ClientId", client_id),
            ("X-Amz-Credential", Some(credential.as_str())),
            ("X-Amz-Date", Some(time.as_str())),
            ("X-Amz-Expires", Some(EXPIRES_S)),
            (
                "X-Amz-Security-Token",
                self.credentials.session_token.as_deref(),
            ),
            ("X-Amz-SignedHeaders", Some("host")),
        ];
        let mut target = String::with_capacity(URL_BYTES);
        target.push_str("/?");
        for (name, value) in parameters {
            if let Some(value) = value {
                if target.len() > 2 {
                    target.push('&');
                }
                target.push_str(name);
                target.push('=');
                codec::http::encode(&mut target, value);
            }
        }
        let query = target.get(2..).unwrap_or_default();
        let request = format!("GET\n/\n{query}\nhost:{host}\n\nhost\n{EMPTY}");
        let signature = self.signature(&time, &scope, &request);
        target.push_str("&X-Amz-Signature=");
        target.push_str(&signature);
        target
    }

    /// Appends a whole signed API call: `POST path` with this JSON body, keeping the connection.
    pub fn call(&mut self, out: &mut Vec<u8>, host: &str, path: &str, body: &str, now_s: u64) {
        let time = Stamp::from_epoch(now_s).to_string();
        let scope = self.scope(&time);
        let (token_line, token_name, token_header) = match &self.credentials.session_token {
            Some(token) => (
                format!("x-amz-security-token:{token}\n"),
                ";x-amz-security-token",
                format!("X-Amz-Security-Token: {token}\r\n"),
            ),
            None => (String::new(), "", String::new()),
        };
        let names = format!("content-type;host;x-amz-date{token_name}");
        let request = format!(
            "POST\n{path}\n\ncontent-type:{JSON}\nhost:{host}\nx-amz-date:{time}\n{token_line}\n{names}\n{}",
            sha256(body.as_bytes())
        );
        let signature = self.signature(&time, &scope, &request);
        let id = &self.credentials.access_key_id;
        let authorization = format!(
            "Authorization: {ALGORITHM} Credential={id}/{scope}, SignedHeaders={names}, \
             Signature={signature}\r\nX-Amz-Date: {time}\r\n{token_header}"
        );
        post(out, host, path, &authorization, body);
    }

    fn scope(&self, time: &str) -> String {
        let day = time.get(..8).unwrap_or_default();
        format!("{day}/{}/{SERVICE}/aws4_request", self.region)
    }

    fn signature(&mut self, time: &str, scope: &str, request: &str) -> String {
        let text = format!(
            "{ALGORITHM}\n{time}\n{scope}\n{}",
            sha256(request.as_bytes())
        );
        let day = time.get(..8).unwrap_or_default();
        if self.day != day {
            self.key = None;
            day.clone_into(&mut self.day);
        }
        let (credentials, region) = (&self.credentials, &self.region);
        let key = self.key.get_or_insert_with(|| {
            SigningKey::derive(&credentials.secret_access_key, day, region, SERVICE)
        });
        HEXLOWER.encode(&key.sign(text.as_bytes()))
    }
}

/// Path and query of an upgrade without a signature.
#[must_use]
pub fn unsigned_target(arn: &str, client_id: Option<&str>) -> String {
    let mut target = String::from("/?X-Amz-ChannelARN=");
    codec::http::encode(&mut target, arn);
    if let Some(client_id) = client_id {
        target.push_str("&X-Amz-ClientId=");
        codec::http::encode(&mut target, client_id);
    }
    target
}

/// Appends an API call without a signature.
pub fn unsigned_call(out: &mut Vec<u8>, host: &str, path: &str, body: &str) {
    post(out, host, path, "", body);
}

fn post(out: &mut Vec<u8>, host: &str, path: &str, lines: &str, body: &str) {
    let length = body.len();
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: {JSON}\r\n{lines}Content-Length: {length}\r\n\r\n{body}"
    );
    out.extend_from_slice(head.as_bytes());
}

fn sha256(text: &[u8]) -> String {
    HEXLOWER.encode(digest::digest(&digest::SHA256, text).as_ref())
}

const ALGORITHM: &str = "AWS4-HMAC-SHA256";
const SERVICE: &str = "kinesisvideo";
const JSON: &str = "application/json";
/// Life of a URL in seconds, as the SDK for JavaScript signs it.
const EXPIRES_S: &str = "299";
/// Room for a URL without a session token.
const URL_BYTES: usize = 640;
/// SHA-256 of nothing: the body of a GET.
const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

#[cfg(test)]
mod tests {
    use super::*;

    const ARN: &str = "arn:aws:kinesisvideo:us-east-1:123456789012:channel/demo/1700000000123";

    fn signer(id: &str, token: Option<&str>) -> Signer {
        let credentials = Credentials {
            access_key_id: id.into(),
            secret_access_key: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY".into(),
            session_token: token.map(Into::into),
        };
        Signer::new(credentials, "us-east-1".into())
    }

    /// The signatures of the KVS SDK for JavaScript for the same URLs.
    #[test]
    fn signatures_are_those_of_another_signer() {
        let mut temporary = signer(
            "ASIAEXAMPLE",
            Some("FwoGZXIvYXdzEXAMPLE//token+with/odd==chars"),
        );
        let host = "m-0a1b2c3d.kinesisvideo.us-east-1.amazonaws.com";
        for (mut signer, host, client_id, signature) in [
            (
                signer("AKIDEXAMPLE", None),
                host,
                None,
                "b9efb52daab942e988f36e5dc151b5cd78a5cccb6c80596011e8f136b6e5f72f",
            ),
            (
                temporary.clone(),
                host,
                None,
                "7ff74180623fc6fab2d647c41ca29f310938a4024f95b3554fb79221898abca4",
            ),
            (
                temporary.clone(),
                "signaling.example.test:8443",
                Some("viewer-1.A_b"),
                "3971b94a65b123e09d45f71ecb6767989c6438fcf06a25a8b903fdcab54df17b",
            ),
        ] {
            let target = signer.presign(host, ARN, client_id, 1_767_323_045);
            assert!(target.ends_with(signature), "{target}");
        }
        let first = temporary.presign(host, ARN, None, 1_767_323_045);
        let next_day = temporary.presign(host, ARN, None, 1_767_323_045 + 86_400);
        assert_ne!(first, next_day);
        assert_eq!(first, temporary.presign(host, ARN, None, 1_767_323_045));
    }

    #[test]
    fn targets_without_a_signature_are_what_the_service_expects() {
        let arn =
            "arn%3Aaws%3Akinesisvideo%3Aus-east-1%3A123456789012%3Achannel%2Fdemo%2F1700000000123";
        let master = format!("/?X-Amz-ChannelARN={arn}");
        assert_eq!(unsigned_target(ARN, None), master);
        let viewer = format!("{master}&X-Amz-ClientId=viewer-12");
        assert_eq!(unsigned_target(ARN, Some("viewer-12")), viewer);
    }

    #[test]
    fn calls_carry_their_token_in_the_head() {
        let mut out = Vec::new();
        signer("ASIAEXAMPLE", Some("token")).call(
            &mut out,
            "h:1",
            "/describeSignalingChannel",
            "{}",
            1_767_323_045,
        );
        let text = String::from_utf8(out).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(
            head.contains("\r\nX-Amz-Security-Token: token\r\n")
                && head.contains(";x-amz-security-token, Signature=")
        );
        assert_eq!(body, "{}");
    }

    #[test]
    fn keys_come_from_the_environment_and_are_not_shown() {
        let credentials =
            Credentials::from_environment(|name| Some(format!("value of {name}"))).unwrap();
        assert_eq!(
            credentials.session_token.as_deref(),
            Some("value of AWS_SESSION_TOKEN")
        );
        assert!(!format!("{:?}", Signer::new(credentials, String::new())).contains("value"));
        for missing in ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"] {
            let variable = |name: &str| Some(if name == missing { "" } else { "x" }.to_owned());
            assert!(Credentials::from_environment(variable).is_err());
        }
    }
}
