//! Requests signed by aws-sigv4, a signer that shares no code with the broker, and their bytes.

use crate::peer::percent_encoded;
use crate::process::Broker;
use aws_credential_types::Credentials;
use aws_sigv4::http_request::{
    SignableBody, SignableRequest, SignatureLocation, SigningSettings, UriPathNormalizationMode,
    sign,
};
use aws_sigv4::sign::v4;
use serde_json::Value;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A request in its parts. Names and values of the query are not encoded; the path is.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    /// The method.
    pub(crate) method: &'static str,
    /// With its port.
    pub(crate) host: String,
    /// The path.
    pub(crate) path: String,
    /// The query.
    pub(crate) pairs: Vec<(String, String)>,
    /// All but `Host` and `Content-Length`.
    pub(crate) headers: Vec<(String, String)>,
    /// The body.
    pub(crate) body: String,
}

/// A signing principal with the scope of its signatures and its clock.
#[derive(Clone, Debug)]
pub(crate) struct Signer {
    /// The access key id.
    pub(crate) id: String,
    /// Its secret.
    pub(crate) secret: String,
    /// The token of a temporary key.
    pub(crate) token: Option<String>,
    /// The service of the scope.
    pub(crate) service: &'static str,
    /// The region of the scope.
    pub(crate) region: &'static str,
    /// By how many seconds its clock is ahead.
    pub(crate) ahead_s: i64,
}

impl Call {
    /// A call of the API.
    pub(crate) fn api(broker: &Broker, path: &str, body: &Value) -> Self {
        Self {
            body: body.to_string(),
            ..Self::new(broker, "POST", path)
        }
        .header("Content-Type", "application/json")
    }

    /// A call of STS.
    pub(crate) fn sts(broker: &Broker, form: &[(&str, &str)]) -> Self {
        let pairs = [("Version", "2011-06-15")].iter().chain(form);
        let pairs: Vec<_> = pairs
            .map(|(name, value)| format!("{name}={}", percent_encoded(value)))
            .collect();
        Self {
            body: pairs.join("&"),
            ..Self::new(broker, "POST", "/")
        }
        .header("Content-Type", "application/x-www-form-urlencoded")
    }

    /// A master's request for a WebSocket.
    pub(crate) fn master(broker: &Broker, arn: &str) -> Self {
        let call = Self::new(broker, "GET", "/").pair("X-Amz-ChannelARN", arn);
        call.header("Connection", "Upgrade")
            .header("Upgrade", "websocket")
            .header("Sec-WebSocket-Version", "13")
            .header("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")
    }

    /// A viewer's.
    pub(crate) fn viewer(broker: &Broker, arn: &str, client_id: &str) -> Self {
        Self::master(broker, arn).pair("X-Amz-ClientId", client_id)
    }

    /// A request without query, headers and body.
    pub(crate) fn new(broker: &Broker, method: &'static str, path: &str) -> Self {
        Self {
            method,
            host: broker.plain.to_string(),
            path: path.to_owned(),
            pairs: Vec::new(),
            headers: Vec::new(),
            body: String::new(),
        }
    }

    /// One more query parameter.
    pub(crate) fn pair(mut self, name: &str, value: &str) -> Self {
        self.pairs.push((name.to_owned(), value.to_owned()));
        self
    }

    /// One more header line.
    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The query parameter or header of this name changed.
    pub(crate) fn with(mut self, name: &str, change: impl Fn(&str) -> String) -> Self {
        let parts = self.pairs.iter_mut().chain(&mut self.headers);
        for (_, value) in parts.filter(|part| part.0.eq_ignore_ascii_case(name)) {
            *value = change(value);
        }
        self
    }

    /// The query parameter or header of this name left out.
    pub(crate) fn without(mut self, name: &str) -> Self {
        let differs = |part: &(String, String)| !part.0.eq_ignore_ascii_case(name);
        self.pairs.retain(differs);
        self.headers.retain(differs);
        self
    }

    fn query(&self) -> String {
        let pairs = self.pairs.iter();
        let pairs: Vec<_> = pairs
            .map(|(name, value)| format!("{name}={}", percent_encoded(value)))
            .collect();
        match pairs.join("&") {
            none if none.is_empty() => none,
            some => format!("?{some}"),
        }
    }

    /// The head as it goes over the wire.
    pub(crate) fn head(&self) -> String {
        let Self {
            method, host, path, ..
        } = self;
        let lines = self.headers.iter();
        let mut lines: String = lines
            .map(|(name, value)| format!("{name}: {value}\r\n"))
            .collect();
        if *method == "POST" {
            lines += &format!("Content-Length: {}\r\n", self.body.len());
        }
        format!(
            "{method} {path}{} HTTP/1.1\r\nHost: {host}\r\n{lines}\r\n",
            self.query()
        )
    }

    /// All of it.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        (self.head() + &self.body).into_bytes()
    }

    /// The parts that nobody but its sender and the broker may see: signatures and tokens.
    pub(crate) fn secrets(&self) -> Vec<String> {
        let mut found = Vec::new();
        for (name, value) in self.pairs.iter().chain(&self.headers) {
            match name.to_ascii_lowercase().as_str() {
                "x-amz-signature" | "x-amz-security-token" => found.push(value.clone()),
                "authorization" => {
                    found.extend(value.split_once("Signature=").map(|two| two.1.to_owned()));
                }
                _ => {}
            }
        }
        found.retain(|secret| secret.len() > 12); // shorter ones are those of broken requests
        found
    }
}

impl Signer {
    /// A principal of a test's credentials file.
    pub(crate) fn new(name: &str) -> Self {
        Self {
            id: format!("AKID{}", name.to_ascii_uppercase()),
            secret: format!("Secret/of+{name}/{:a>20}", name.len()),
            token: None,
            service: "kinesisvideo",
            region: "us-west-2",
            ahead_s: 0,
        }
    }

    /// The same with another clock.
    pub(crate) fn ahead(&self, ahead_s: i64) -> Self {
        Self {
            ahead_s,
            ..self.clone()
        }
    }

    /// The same for another service.
    pub(crate) fn of_service(&self, service: &'static str) -> Self {
        Self {
            service,
            ..self.clone()
        }
    }

    /// Signs in the `Authorization` header.
    pub(crate) fn sign(&self, call: Call) -> Call {
        self.run(call, None)
    }

    /// Signs in the query, for this many seconds.
    pub(crate) fn presign(&self, call: Call, expires_s: u64) -> Call {
        self.run(call, Some(expires_s))
    }

    fn run(&self, mut call: Call, expires_s: Option<u64>) -> Call {
        let (id, secret, token) = (self.id.clone(), self.secret.clone(), self.token.clone());
        let identity = Credentials::new(id, secret, token, None, "test").into();
        let mut settings = SigningSettings::default();
        settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled; // as sent
        settings.expires_in = expires_s.map(Duration::from_secs);
        if expires_s.is_some() {
            settings.signature_location = SignatureLocation::QueryParams;
        }
        let time = now_s().saturating_add_signed(self.ahead_s);
        let parameters = v4::SigningParams::builder()
            .identity(&identity)
            .region(self.region)
            .name(self.service)
            .time(UNIX_EPOCH + Duration::from_secs(time))
            .settings(settings)
            .build()
            .expect("all parameters are there")
            .into();
        let url = format!("http://{}{}{}", call.host, call.path, call.query());
        // Whatever happens to a connection on its way is no part of the signature.
        let own = |name: &str| name.starts_with("X-") || name == "Content-Type";
        let headers = call.headers.iter().filter(|(name, _)| own(name));
        let headers = headers.map(|(name, value)| (name.as_str(), value.as_str()));
        let body = SignableBody::Bytes(call.body.as_bytes());
        let request = SignableRequest::new(call.method, &url, headers, body);
        let signed = sign(request.expect("a request"), &parameters).expect("a signature");
        let (instructions, _) = signed.into_parts();
        for (name, value) in instructions.headers() {
            call.headers.push((name.to_owned(), value.to_owned()));
        }
        for (name, value) in instructions.params() {
            let pair = ((*name).to_owned(), value.clone().into_owned());
            call.pairs.push(pair);
        }
        call
    }
}

/// The clock, in seconds since 1970.
pub(crate) fn now_s() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.expect("after 1970").as_secs()
}
