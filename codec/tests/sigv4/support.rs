//! Requests signed by aws-sigv4, a signer that shares no code with the verifier, and a verifier as a shard has one.

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{
    PayloadChecksumKind, SignableBody, SignableRequest, SignatureLocation, SigningSettings, sign,
};
use aws_sigv4::sign::v4;
use codec::http::{Head, HeadLimits, encode};
use codec::sigv4::{
    AccessKey, Form, Refusal, RequestRules, Service, SigningKey, SigningKeys, Verifier,
};
use std::time::{Duration, UNIX_EPOCH};

pub(crate) const ID: &str = "AKIDEXAMPLE";
pub(crate) const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
pub(crate) const REGION: &str = "us-west-2";

/// The SHA-256 of nothing.
pub(crate) const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// 2026-01-02 03:04:05.
pub(crate) const NOON: u64 = 1_767_323_045;

/// A request in its parts; names and values of the query are not encoded, the path is.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) method: String,
    pub(crate) host: String,
    pub(crate) path: String,
    pub(crate) pairs: Vec<(String, String)>,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Call {
    pub(crate) fn new(method: &str, path: &str, body: &str) -> Self {
        Self {
            method: method.to_owned(),
            host: "m-0a1b2c3d.example.test:8443".to_owned(),
            path: path.to_owned(),
            pairs: Vec::new(),
            headers: Vec::new(),
            body: body.as_bytes().to_owned(),
        }
    }

    pub(crate) fn pair(mut self, name: &str, value: &str) -> Self {
        self.pairs.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Replaces a header's value.
    pub(crate) fn with(mut self, name: &str, value: &str) -> Self {
        let mut lines = self.headers.iter_mut();
        let line = lines.find(|line| line.0.eq_ignore_ascii_case(name));
        value.clone_into(&mut line.unwrap().1);
        self
    }

    pub(crate) fn query(&self) -> String {
        let mut query = String::new();
        for (name, value) in &self.pairs {
            query.push_str(if query.is_empty() { "?" } else { "&" });
            encode(&mut query, name);
            query.push('=');
            encode(&mut query, value);
        }
        query
    }

    /// The head as it goes over the wire.
    pub(crate) fn head(&self) -> String {
        let lines = self
            .headers
            .iter()
            .map(|(name, value)| format!("{name}: {value}\r\n"));
        let lines: String = lines.collect();
        let Self {
            method, host, path, ..
        } = self;
        format!(
            "{method} {path}{} HTTP/1.1\r\nHost: {host}\r\n{lines}\r\n",
            self.query()
        )
    }
}

/// A signer with its key's token and its clock.
#[derive(Clone, Debug)]
pub(crate) struct Signer {
    pub(crate) token: Option<String>,
    pub(crate) service: Service,
    pub(crate) time: u64,
    /// Whether `x-amz-content-sha256` is sent and signed.
    pub(crate) announces_hash: bool,
}

impl Default for Signer {
    fn default() -> Self {
        Self {
            token: None,
            service: Service::KinesisVideo,
            time: NOON,
            announces_hash: false,
        }
    }
}

impl Signer {
    /// Signs in the `Authorization` header.
    pub(crate) fn sign(&self, call: Call) -> Call {
        let body = call.body.clone();
        self.run(call, None, SignableBody::Bytes(&body))
    }

    /// Signs in the query, for this many seconds.
    pub(crate) fn presign(&self, call: Call, expires_s: u64) -> Call {
        let body = call.body.clone();
        self.run(call, Some(expires_s), SignableBody::Bytes(&body))
    }

    /// Signs in the `Authorization` header over whatever the body is.
    pub(crate) fn sign_unsigned_payload(&self, call: Call) -> Call {
        self.run(call, None, SignableBody::UnsignedPayload)
    }

    fn run(&self, mut call: Call, expires_s: Option<u64>, body: SignableBody<'_>) -> Call {
        let identity = Credentials::new(ID, SECRET, self.token.clone(), None, "test").into();
        let mut settings = SigningSettings::default();
        settings.expires_in = expires_s.map(Duration::from_secs);
        if expires_s.is_some() {
            settings.signature_location = SignatureLocation::QueryParams;
        }
        if self.announces_hash {
            settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
        }
        let parameters = v4::SigningParams::builder()
            .identity(&identity)
            .region(REGION)
            .name(self.service.as_str())
            .time(UNIX_EPOCH + Duration::from_secs(self.time))
            .settings(settings)
            .build()
            .unwrap()
            .into();
        let url = format!("http://{}{}{}", call.host, call.path, call.query());
        let headers = call
            .headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()));
        let request = SignableRequest::new(&call.method, &url, headers, body).unwrap();
        let (instructions, _) = sign(request, &parameters).unwrap().into_parts();
        for (name, value) in instructions.headers() {
            call.headers.push((name.to_owned(), value.to_owned()));
        }
        for (name, value) in instructions.params() {
            call.pairs
                .push(((*name).to_owned(), value.clone().into_owned()));
        }
        call
    }

    /// The key of this signer as a broker holds it.
    pub(crate) fn key(&self) -> AccessKey<'_> {
        AccessKey {
            secret_access_key: SECRET,
            session_token: self.token.as_deref(),
            expires_s: None,
            clock_tolerance_s: None,
        }
    }

    /// The rules of a server at the moment of signing.
    pub(crate) fn rules(&self) -> RequestRules<'static> {
        self.rules_at(self.time)
    }

    /// The rules of a server at a moment.
    pub(crate) fn rules_at(&self, now_s: u64) -> RequestRules<'static> {
        RequestRules {
            service: self.service,
            region: Some(REGION),
            now_s,
            clock_tolerance_s: 300,
            empty_token_is_none: true,
        }
    }
}

/// The signature of a canonical request, in the day's scope of [`Signer::default`].
pub(crate) fn signature(canonical: &str) -> String {
    let hex = |bytes: &[u8]| -> String { bytes.iter().map(|it| format!("{it:02x}")).collect() };
    let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, canonical.as_bytes());
    let scope = format!("20260102/{REGION}/kinesisvideo/aws4_request");
    let hash = hex(hash.as_ref());
    let text = format!("AWS4-HMAC-SHA256\n20260102T030405Z\n{scope}\n{hash}");
    let key = SigningKey::derive(SECRET, "20260102", REGION, "kinesisvideo");
    hex(&key.sign(text.as_bytes()))
}

/// A verifier and its keys, as a shard has them.
pub(crate) struct Shard {
    pub(crate) verifier: Verifier,
    pub(crate) keys: SigningKeys,
}

impl Shard {
    pub(crate) fn new() -> Self {
        Self {
            verifier: Verifier::new(),
            keys: SigningKeys::new(16),
        }
    }

    /// Verifies a head and its body; a head that is none counts as a mismatch. `key` is that of [`ID`].
    pub(crate) fn verify(
        &mut self,
        head: &str,
        body: &[u8],
        rules: &RequestRules<'_>,
        key: Option<&AccessKey<'_>>,
    ) -> Result<Form, Refusal> {
        let Ok(head) = Head::parse(head.as_bytes(), &HeadLimits::default()) else {
            return Err(Refusal::Mismatch);
        };
        let claim = self.verifier.read(&head, rules)?;
        let key = key.filter(|_| claim.access_key_id() == ID);
        Ok(claim.verify(key, body, &mut self.keys)?.form)
    }
}
