//! A device as the C SDK's credential provider is one: a connection for each question, server name and Host, ALPN, and
//! an answer that it must get by its last read.

use crate::peer::tcp;
use crate::process::Broker;
use crate::things::fleet::{Certified, HOST};
use rustls::client::{
    ClientSessionMemoryCache, ClientSessionStore, ResolvesClientCert, Resumption,
    Tls12ClientSessionValue, Tls13ClientSessionValue,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::sign::CertifiedKey;
use rustls::{
    ClientConfig, ClientConnection, HandshakeKind, NamedGroup, RootCertStore, SignatureScheme,
    SupportedProtocolVersion, version,
};
use serde_json::Value;
use std::cell::Cell;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// A device, and what its next question is made of.
pub(crate) struct Device {
    to: SocketAddr,
    config: ClientConfig,
    resolver: Arc<Shows>,
    pub(crate) server_name: String,
    pub(crate) host: String,
    pub(crate) method: &'static str,
    pub(crate) path: String,
    pub(crate) thing: Option<String>,
    /// Bytes of each piece in which the first flight is sent.
    pub(crate) piece: usize,
    /// Of the last question.
    kind: Cell<Option<HandshakeKind>>,
}

/// Sessions of any server name under one.
#[derive(Debug)]
struct AnyName(ClientSessionMemoryCache, ServerName<'static>);

impl Default for AnyName {
    fn default() -> Self {
        let name = ServerName::try_from("any.example").expect("a name");
        Self(ClientSessionMemoryCache::new(8), name)
    }
}

impl ClientSessionStore for AnyName {
    fn set_kx_hint(&self, _: ServerName<'static>, group: NamedGroup) {
        self.0.set_kx_hint(self.1.clone(), group);
    }

    fn kx_hint(&self, _: &ServerName<'_>) -> Option<NamedGroup> {
        self.0.kx_hint(&self.1)
    }

    fn set_tls12_session(&self, _: ServerName<'static>, value: Tls12ClientSessionValue) {
        self.0.set_tls12_session(self.1.clone(), value);
    }

    fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        self.0.tls12_session(&self.1)
    }

    fn remove_tls12_session(&self, _: &ServerName<'static>) {
        self.0.remove_tls12_session(&self.1);
    }

    fn insert_tls13_ticket(&self, _: ServerName<'static>, value: Tls13ClientSessionValue) {
        self.0.insert_tls13_ticket(self.1.clone(), value);
    }

    fn take_tls13_ticket(&self, _: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        self.0.take_tls13_ticket(&self.1)
    }
}

/// Shows a certificate, whatever it is asked for.
#[derive(Debug)]
struct Shows {
    key: Option<Arc<CertifiedKey>>,
    asked: AtomicU32,
    hints: AtomicU32,
}

impl ResolvesClientCert for Shows {
    fn resolve(&self, hints: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let hints = u32::try_from(hints.len()).expect("few");
        self.hints.fetch_add(hints, Ordering::Relaxed);
        self.key.clone()
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Value,
    /// It came by one read.
    pub(crate) whole: bool,
}

impl Device {
    pub(crate) fn new(broker: &Broker, certified: Option<Certified>) -> Self {
        Self::speaking(&[&version::TLS13, &version::TLS12], broker, certified)
    }

    /// One that speaks these versions of TLS.
    pub(crate) fn speaking(
        versions: &[&'static SupportedProtocolVersion],
        broker: &Broker,
        certified: Option<Certified>,
    ) -> Self {
        let key = certified.map(|it| key_of(vec![it.certificate], &it.key));
        let mut roots = RootCertStore::empty();
        let authority = broker
            .authority
            .as_deref()
            .expect("a development certificate");
        let authority = CertificateDer::from_pem_file(authority).expect("an authority");
        roots.add(authority).expect("an authority");
        let resolver = Arc::new(Shows {
            key,
            asked: AtomicU32::new(0),
            hints: AtomicU32::new(0),
        });
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .expect("versions")
            .with_root_certificates(roots)
            .with_client_cert_resolver(Arc::<Shows>::clone(&resolver));
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Self {
            to: broker.tls,
            config,
            resolver,
            server_name: HOST.to_owned(),
            host: HOST.to_owned(),
            method: "GET",
            path: format!("/role-aliases/{}/credentials", super::fleet::ALIAS),
            thing: None,
            piece: usize::MAX,
            kind: Cell::new(None),
        }
    }

    pub(crate) fn named(mut self, thing: &str) -> Self {
        self.thing = Some(thing.to_owned());
        self
    }

    pub(crate) fn alias(mut self, alias: &str) -> Self {
        self.path = format!("/role-aliases/{alias}/credentials");
        self
    }

    /// Shows the certificate of another one with a key of its own.
    pub(crate) fn pretends(
        mut self,
        certificate: CertificateDer<'static>,
        own: &Certified,
    ) -> Self {
        self.resolver = Arc::new(Shows {
            key: Some(key_of(vec![certificate], &own.key)),
            asked: AtomicU32::new(0),
            hints: AtomicU32::new(0),
        });
        self.config.client_auth_cert_resolver = Arc::<Shows>::clone(&self.resolver);
        self
    }

    /// Shows its certificate with the one that signed it.
    pub(crate) fn behind(mut self, issuer: &CertificateDer<'static>) -> Self {
        let own = self.resolver.key.as_ref().expect("a certificate");
        let chain = [own.cert.clone(), vec![issuer.clone()]].concat();
        let key = CertifiedKey::new(chain, Arc::clone(&own.key));
        self.resolver = Arc::new(Shows {
            key: Some(Arc::new(key)),
            asked: AtomicU32::new(0),
            hints: AtomicU32::new(0),
        });
        self.config.client_auth_cert_resolver = Arc::<Shows>::clone(&self.resolver);
        self
    }

    /// The number of times it was asked for a certificate, and of authorities that were named.
    pub(crate) fn asked(&self) -> (u32, u32) {
        let load = |count: &AtomicU32| count.load(Ordering::Relaxed);
        (load(&self.resolver.asked), load(&self.resolver.hints))
    }

    /// Asks, on a connection of its own.
    pub(crate) fn ask(&self) -> Result<Told, String> {
        self.ask_on(&mut self.shake()?)
    }

    /// Asks on a connection that is open.
    pub(crate) fn ask_on(
        &self,
        (tls, stream): &mut (ClientConnection, TcpStream),
    ) -> Result<Told, String> {
        self.kind.set(tls.handshake_kind());
        if let Some(protocol) = tls.alpn_protocol() {
            assert_eq!(protocol, b"http/1.1");
        }
        let thing = self.thing.iter();
        let thing: String = thing
            .map(|name| format!("x-amzn-iot-thingname: {name}\r\n"))
            .collect();
        let request = format!(
            "{} {} HTTP/1.1\r\nHost: {}:{}\r\naccept: */*\r\n{thing}\r\n",
            self.method,
            self.path,
            self.host,
            self.to.port()
        );
        tls.writer().write_all(request.as_bytes()).expect("kept");
        let (mut answer, mut reads) = (Vec::new(), 0);
        loop {
            tls.complete_io(stream).map_err(|error| error.to_string())?;
            let mut part = [0; 10_000];
            match tls.reader().read(&mut part) {
                Ok(0) => return Err("no answer".to_owned()),
                Ok(bytes) => {
                    reads += 1;
                    answer.extend_from_slice(&part[..bytes]);
                    if let Some(told) = told(&answer, reads) {
                        return Ok(told);
                    }
                }
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error.to_string()),
            }
        }
    }

    /// Keeps what servers give for resumption, and shows it to every server name.
    pub(crate) fn resumes_anywhere(mut self) -> Self {
        self.config.resumption = Resumption::store(Arc::new(AnyName::default()));
        self
    }

    /// Asks, and returns the answer with the kind of the handshake.
    pub(crate) fn ask_at(&mut self, name: &str) -> (Told, HandshakeKind) {
        (self.server_name, self.host) = (name.to_owned(), name.to_owned());
        let told = self.ask().expect("an answer");
        (told, self.kind.take().expect("a handshake"))
    }

    /// A connection whose handshake is done.
    pub(crate) fn shake(&self) -> Result<(ClientConnection, TcpStream), String> {
        let name = ServerName::try_from(self.server_name.clone()).expect("a name");
        let mut tls = ClientConnection::new(Arc::new(self.config.clone()), name)
            .map_err(|error| error.to_string())?;
        let mut stream = tcp(self.to);
        stream.set_nodelay(true).expect("a socket");
        let mut first = Vec::new();
        while tls.wants_write() {
            tls.write_tls(&mut first).expect("kept");
        }
        for piece in first.chunks(self.piece) {
            stream.write_all(piece).map_err(|error| error.to_string())?;
        }
        while tls.is_handshaking() {
            tls.complete_io(&mut stream)
                .map_err(|error| error.to_string())?;
        }
        Ok((tls, stream))
    }
}

fn told(answer: &[u8], reads: u32) -> Option<Told> {
    let text = String::from_utf8_lossy(answer);
    let (head, body) = text.split_once("\r\n\r\n")?;
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("Content-Length: "))?;
    (body.len() >= length.parse().ok()?).then(|| Told {
        status: head
            .split(' ')
            .nth(1)
            .and_then(|it| it.parse().ok())
            .unwrap_or(0),
        head: head.to_owned(),
        body: serde_json::from_str(body).unwrap_or(Value::Null),
        whole: reads == 1,
    })
}

fn key_of(
    chain: Vec<CertificateDer<'static>>,
    key: &rustls::pki_types::PrivateKeyDer<'static>,
) -> Arc<CertifiedKey> {
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let key = provider.key_provider.load_private_key(key.clone_key());
    Arc::new(CertifiedKey::new(chain, key.expect("a key")))
}
