//! The signing side: presigned URLs and signed API calls, for `heliograph presign` and load tests.
//!
//! Signing has no side effects: keys and time are passed as arguments. Source: AWS, "Create a signed AWS API request".
//! URLs follow the KVS WebRTC SDK for JavaScript, and calls follow botocore (codec/PROTOCOL.md, SIG).

use crate::sigv4::{ALGORITHM, SigningKey, Stamp, TERMINATOR};
use crate::sigv4::{
    canonical::string_to_sign, escape::encode_path, keys::hex, verify::EMPTY_SHA256,
};
use crate::whep;
use aws_lc_rs::digest::{SHA256, digest};
use std::fmt::{self, Write};

/// Long-term or temporary credentials. Debug output hides the secrets.
#[derive(Clone, Copy)]
pub struct Keys<'a> {
    /// Access key id: `AKID…` or `ASIA…`.
    pub access_key_id: &'a str,
    /// Secret access key.
    pub secret_access_key: &'a str,
    /// Session token. Only temporary keys have one.
    pub session_token: Option<&'a str>,
}

impl fmt::Debug for Keys<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Keys(…)")
    }
}

/// A WebSocket upgrade for which a URL is presigned.
#[derive(Clone, Copy, Debug)]
pub struct Upgrade<'a> {
    /// Host and port, as sent in the `Host` header.
    pub host: &'a str,
    /// ARN of the channel.
    pub channel_arn: &'a str,
    /// Client id of the viewer, or `None` for the master.
    pub client_id: Option<&'a str>,
    /// Lifetime of the URL in seconds: 1 to 604,800.
    pub expires_s: u32,
    /// Current time, in seconds since 1970.
    pub now_s: u64,
}

/// A player's request for which a URL is presigned. The player POSTs an offer to the channel's path.
#[derive(Clone, Copy, Debug)]
pub struct Player<'a> {
    /// Host and port, as sent in the `Host` header.
    pub host: &'a str,
    /// Name of the channel to play.
    pub channel: &'a str,
    /// Client id of the viewer, as used in policies.
    pub client_id: &'a str,
    /// Lifetime of the URL in seconds: 1 to 31,536,000.
    pub expires_s: u32,
    /// Current time, in seconds since 1970.
    pub now_s: u64,
}

/// An API call: a POST with a JSON body.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    /// Host and port, as sent in the `Host` header.
    pub host: &'a str,
    /// Path of the call, percent-encoded.
    pub path: &'a str,
    /// Request body, sent with the `Content-Type` [`JSON`].
    pub body: &'a str,
    /// Current time, in seconds since 1970.
    pub now_s: u64,
}

/// The headers of a signed call, except for `Host` and `Content-Type`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedHeaders<'a> {
    authorization: String,
    date: String,
    session_token: Option<&'a str>,
}

impl SignedHeaders<'_> {
    /// Returns the headers as pairs of name and value.
    pub fn lines(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let always = [
            ("Authorization", self.authorization.as_str()),
            ("X-Amz-Date", self.date.as_str()),
        ];
        let token = self
            .session_token
            .map(|token| ("X-Amz-Security-Token", token));
        always.into_iter().chain(token)
    }
}

/// Signs requests for one region and caches the current day's key. Each thread should have its own signer.
#[derive(Clone, Debug)]
pub struct Signer<'a> {
    keys: Keys<'a>,
    region: &'a str,
    /// `YYYYMMDD/REGION/SERVICE/aws4_request`. Empty until the first request is signed.
    scope: String,
    key: Option<SigningKey>,
    text: Vec<u8>,
}

impl<'a> Signer<'a> {
    /// Creates a signer that uses these keys to sign requests for a region.
    #[must_use]
    pub const fn new(keys: Keys<'a>, region: &'a str) -> Self {
        Self {
            keys,
            region,
            scope: String::new(),
            key: None,
            text: Vec::new(),
        }
    }

    /// Returns the path and query of a presigned URL.
    pub fn presign(&mut self, upgrade: &Upgrade<'_>) -> String {
        self.presigned("/", Some(upgrade.channel_arn), upgrade)
    }

    /// Returns the path and query of a player's URL. The query on its own is the player's token.
    pub fn presign_player(&mut self, player: &Player<'_>) -> String {
        let upgrade = Upgrade {
            host: player.host,
            channel_arn: "",
            client_id: Some(player.client_id),
            expires_s: player.expires_s,
            now_s: player.now_s,
        };
        let path = [whep::PATH, player.channel].concat();
        self.presigned(&path, None, &upgrade)
    }

    fn presigned(&mut self, path: &str, arn: Option<&str>, upgrade: &Upgrade<'_>) -> String {
        let time = self.begin(upgrade.now_s);
        let keys = self.keys;
        let token_bytes = keys.session_token.map_or(0, str::len);
        let mut target = String::with_capacity(TARGET_BYTES + ESCAPED_BYTES * token_bytes);
        // The parameters are sorted by name, as in the canonical request.
        target.push_str(path);
        target.push_str("?X-Amz-Algorithm=");
        target.push_str(ALGORITHM);
        if let Some(arn) = arn {
            push_pair(&mut target, "X-Amz-ChannelARN", arn);
        }
        if let Some(client_id) = upgrade.client_id {
            push_pair(&mut target, "X-Amz-ClientId", client_id);
        }
        push_pair(&mut target, "X-Amz-Credential", keys.access_key_id);
        target.push_str("%2F");
        crate::http::encode(&mut target, &self.scope);
        push_pair(&mut target, "X-Amz-Date", text_of(&time));
        let expires_s = upgrade.expires_s;
        write!(target, "&X-Amz-Expires={expires_s}").expect("a string takes what is written");
        if let Some(token) = keys.session_token {
            push_pair(&mut target, "X-Amz-Security-Token", token);
        }
        push_pair(&mut target, "X-Amz-SignedHeaders", "host");

        let query = target.get(path.len() + 1..).unwrap_or_default();
        self.text.extend_from_slice(b"GET\n");
        encode_path(&mut self.text, path.as_bytes());
        for part in ["\n", query, "\nhost:", upgrade.host, "\n\nhost\n"] {
            self.text.extend_from_slice(part.as_bytes());
        }
        self.text.extend_from_slice(EMPTY_SHA256);
        push_pair(
            &mut target,
            "X-Amz-Signature",
            text_of(&self.signature(&time)),
        );
        target
    }

    /// Returns the headers of a signed API call.
    pub fn sign(&mut self, call: &Call<'_>) -> SignedHeaders<'a> {
        let time = self.begin(call.now_s);
        let session_token = self.keys.session_token;
        let date = text_of(&time);
        let names = match session_token {
            Some(_) => "content-type;host;x-amz-date;x-amz-security-token",
            None => "content-type;host;x-amz-date",
        };
        self.text.extend_from_slice(b"POST\n");
        encode_path(&mut self.text, call.path.as_bytes());
        for part in ["\n\ncontent-type:", JSON, "\nhost:", call.host] {
            self.text.extend_from_slice(part.as_bytes());
        }
        self.text.extend_from_slice(b"\nx-amz-date:");
        self.text.extend_from_slice(&time);
        if let Some(token) = session_token {
            self.text.extend_from_slice(b"\nx-amz-security-token:");
            self.text.extend_from_slice(token.as_bytes());
        }
        for part in ["\n\n", names, "\n"] {
            self.text.extend_from_slice(part.as_bytes());
        }
        let body_hash = digest(&SHA256, call.body.as_bytes());
        self.text.extend_from_slice(&hex(body_hash.as_ref()));
        let signature = self.signature(&time);
        let (id, scope) = (self.keys.access_key_id, &self.scope);
        SignedHeaders {
            authorization: format!(
                "{ALGORITHM} Credential={id}/{scope}, SignedHeaders={names}, Signature={}",
                text_of(&signature)
            ),
            date: date.to_owned(),
            session_token,
        }
    }

    /// Clears the buffer, and updates the scope if the day has changed. Returns the time in the format that is signed.
    fn begin(&mut self, now_s: u64) -> [u8; 16] {
        let time = Stamp::from_epoch(now_s).basic();
        let day = text_of(&time).get(..DAY_BYTES).unwrap_or_default();
        if !self.scope.starts_with(day) {
            self.scope = [day, self.region, SERVICE, TERMINATOR].join("/");
            self.key = None;
        }
        self.text.clear();
        time
    }

    fn signature(&mut self, time: &[u8; 16]) -> [u8; 64] {
        let hash = digest(&SHA256, &self.text);
        string_to_sign(&mut self.text, time, &self.scope, hash.as_ref());
        let key = self.key.get_or_insert_with(|| {
            let day = self.scope.get(..DAY_BYTES).unwrap_or_default();
            SigningKey::derive(self.keys.secret_access_key, day, self.region, SERVICE)
        });
        hex(&key.sign(&self.text))
    }
}

fn push_pair(target: &mut String, name: &str, value: &str) {
    target.push('&');
    target.push_str(name);
    target.push('=');
    crate::http::encode(target, value);
}

fn text_of(ascii: &[u8]) -> &str {
    std::str::from_utf8(ascii).unwrap_or_default()
}

/// The `Content-Type` of a call's body. This header is signed.
pub const JSON: &str = "application/json";
const SERVICE: &str = "kinesisvideo";
const DAY_BYTES: usize = 8;
const TARGET_BYTES: usize = 640;
const ESCAPED_BYTES: usize = 3;
