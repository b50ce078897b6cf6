//! An OpenID provider of the tests' own: a server of HTTP/1.1 over TLS that publishes what the test wants, and keys
//! that sign tokens.

#![expect(
    clippy::disallowed_types,
    reason = "a server of a test, whose pages the test changes"
)]

use crate::listeners::tls::Identity;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::thread;

/// A provider; it ends with the process.
pub(crate) struct Provider {
    /// `127.0.0.1:PORT/realms/home`.
    pub(crate) issuer: String,
    pub(crate) identity: Identity,
    port: u16,
    pages: Arc<Mutex<Pages>>,
}

/// Answers by path, and how often each was asked for.
#[derive(Default)]
struct Pages {
    answers: BTreeMap<String, (u16, String)>,
    asked: BTreeMap<String, u64>,
    posted: Option<Posted>,
    page: Option<SignInPage>,
}

/// Answers a browser that comes to sign in, by the query that it brings: where it is sent, and what the next code is
/// exchanged for.
type SignInPage = Box<dyn Fn(&str) -> (String, Value) + Send>;

/// A form that it got.
#[derive(Clone, Debug)]
pub(crate) struct Posted {
    /// The value of `Authorization`, if there was one.
    pub(crate) authorization: Option<String>,
    pub(crate) form: String,
}

/// A key that signs tokens, under an id.
#[derive(Clone)]
pub(crate) struct TokenKey {
    id: &'static str,
    key: EncodingKey,
}

impl TokenKey {
    pub(crate) fn new(id: &'static str) -> Self {
        let random = SystemRandom::new();
        let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
        let key = EcdsaKeyPair::generate_pkcs8(algorithm, &random).expect("a key");
        let key = EncodingKey::from_ec_der(key.as_ref());
        Self { id, key }
    }

    pub(crate) fn token(&self, claims: &Value) -> String {
        let mut header = Header::new(Algorithm::ES256);
        header.kid = Some(self.id.to_owned());
        encode(&header, claims, &self.key).expect("a token")
    }

    fn jwk(&self) -> Value {
        let jwk = Jwk::from_encoding_key(&self.key, Algorithm::ES256).expect("a key");
        let mut jwk = serde_json::to_value(jwk).expect("JSON");
        jwk["kid"] = json!(self.id);
        jwk
    }
}

impl Provider {
    /// One whose keys are on its own host.
    pub(crate) fn start() -> Self {
        let identity = Identity::new("127.0.0.1");
        let pages = Arc::default();
        let port = serve(&identity, &pages);
        let provider = Self {
            issuer: format!("127.0.0.1:{port}/realms/home"),
            identity,
            port,
            pages,
        };
        provider.publish_document(&format!("https://127.0.0.1:{port}/keys"));
        provider
    }

    pub(crate) fn url(&self) -> String {
        format!("https://{}", self.issuer)
    }

    /// The address of the keys on another name of the same server.
    pub(crate) fn foreign_keys(&self) -> String {
        format!("https://localhost:{}/keys", self.port)
    }

    pub(crate) fn publish_document(&self, keys: &str) {
        let document = json!({"issuer": self.url(), "jwks_uri": keys});
        self.publish(
            "/realms/home/.well-known/openid-configuration",
            &document.to_string(),
        );
    }

    pub(crate) fn publish_keys(&self, keys: &[&TokenKey]) {
        let keys: Vec<_> = keys.iter().map(|key| key.jwk()).collect();
        self.publish("/keys", &json!({ "keys": keys }).to_string());
    }

    /// A document that names the places at which people sign in as well, with these changes.
    pub(crate) fn publish_places(&self, changes: &Value) {
        let (url, port) = (self.url(), self.port);
        let mut document = json!({
            "issuer": url,
            "jwks_uri": format!("https://127.0.0.1:{port}/keys"),
            "authorization_endpoint": format!("{url}/authorize"),
            "token_endpoint": format!("https://127.0.0.1:{port}/token"),
        });
        for (name, value) in changes.as_object().expect("an object") {
            document[name] = value.clone();
        }
        let path = "/realms/home/.well-known/openid-configuration";
        self.publish(path, &document.to_string());
    }

    /// Sets its answer to each code from here on.
    pub(crate) fn publish_token(&self, status: u16, answer: &Value) {
        let answer = (status, answer.to_string());
        let mut pages = self.pages.lock().expect("no panic");
        pages.answers.insert("/token".into(), answer);
    }

    /// Has a page that signs in everybody who comes, as the function says.
    pub(crate) fn publish_page(&self, page: SignInPage) {
        self.pages.lock().expect("no panic").page = Some(page);
    }

    /// The last form that it got, which is then forgotten.
    pub(crate) fn posted(&self) -> Option<Posted> {
        self.pages.lock().expect("no panic").posted.take()
    }

    fn publish(&self, path: &str, answer: &str) {
        let mut pages = self.pages.lock().expect("no panic");
        pages.answers.insert(path.into(), (200, answer.into()));
    }

    /// Answers nothing but 404 from here on.
    pub(crate) fn forget_everything(&self) {
        self.pages.lock().expect("no panic").answers.clear();
    }

    /// Number of requests for its keys.
    pub(crate) fn asked(&self) -> u64 {
        let pages = self.pages.lock().expect("no panic");
        pages.asked.get("/keys").copied().unwrap_or(0)
    }
}

impl Pages {
    /// The status with which a browser that comes to sign in is sent back, and the address.
    fn sent_back(&mut self, path: &str) -> Option<(String, String)> {
        let query = path.strip_prefix("/realms/home/authorize?")?;
        let (to, token) = self.page.as_ref()?(query);
        let answer = (200, token.to_string());
        self.answers.insert("/token".into(), answer);
        let status = format!("303 See Other\r\nlocation: {to}");
        Some((status, String::new()))
    }
}

/// Serves the pages of a port that is chosen.
fn serve(identity: &Identity, pages: &Arc<Mutex<Pages>>) -> u16 {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let chain = CertificateDer::pem_file_iter(&identity.cert).expect("a chain");
    let chain = chain.map(|one| one.expect("a certificate")).collect();
    let key = PrivateKeyDer::from_pem_file(&identity.key).expect("a key");
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .expect("a certificate and its key");
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let port = listener.local_addr().expect("bound").port();
    let pages = Arc::clone(pages);
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let connection = ServerConnection::new(config.clone()).expect("a configuration");
            let mut stream = BufReader::new(StreamOwned::new(connection, stream));
            let Some((path, posted)) = read_request(&mut stream) else {
                continue;
            };
            let answer = {
                let mut pages = pages.lock().expect("no panic");
                *pages.asked.entry(path.clone()).or_default() += 1;
                pages.posted = posted.or_else(|| pages.posted.take());
                pages.sent_back(&path).or_else(|| {
                    let (status, body) = pages.answers.get(&path).cloned()?;
                    Some((format!("{status} Answer"), body))
                })
            };
            let (status, body) = answer.unwrap_or_else(|| ("404 Not Found".into(), String::new()));
            let head = format!(
                "HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
                body.len()
            );
            let _ = stream.get_mut().write_all((head + &body).as_bytes());
            stream.get_mut().conn.send_close_notify();
            let _ = stream.get_mut().flush();
        }
    });
    port
}

/// The path of a request, and the form that it brings.
fn read_request(stream: &mut impl BufRead) -> Option<(String, Option<Posted>)> {
    let (mut path, mut authorization, mut length) = (None, None, 0);
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).ok().filter(|read| *read > 0)?;
        if line == "\r\n" {
            break;
        }
        if path.is_none() {
            path = line.split(' ').nth(1).map(str::to_owned);
        } else if let Some((name, value)) = line.split_once(": ") {
            match &*name.to_ascii_lowercase() {
                "authorization" => authorization = Some(value.trim().to_owned()),
                "content-length" => length = value.trim().parse().ok()?,
                _ => {}
            }
        }
    }
    let mut form = vec![0; length];
    stream.read_exact(&mut form).ok()?;
    let form = String::from_utf8(form).ok()?;
    let posted = (length > 0).then_some(Posted {
        authorization,
        form,
    });
    Some((path?, posted))
}
