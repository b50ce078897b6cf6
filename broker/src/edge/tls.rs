//! A connection's TLS engine, which decrypts and encrypts but owns no socket. If the server name determines how the
//! connection is served, this module also examines the connection's first bytes.
//!
//! A rustls unbuffered connection holds keys and states, but no bytes. Received data is decrypted in place, in the
//! borrowed receive buffer. Only an incomplete record at the end is kept, in `held`, and the next received bytes are
//! appended to it. The output of rustls itself (handshake messages, tickets, alerts) is collected in `out`, and sent
//! before the next application data.
//!
//! ```text
//!  receive ──► [held ++] bytes ──► process_tls_records ──► plain (the shard's scratch) ──► machine
//!                      └ unfinished tail ──► held
//!                                           └► out ──► write() ──► the shard's other scratch ──► socket
//! ```
//! rustls identifies an incomplete handshake message by its offset in the bytes passed to it. Therefore, every call
//! must pass exactly the held bytes, even a call that only writes.
//!
//! On a client's connection, the engine is always the accepting side. On an inter-node connection, it may be either
//! side. The engine itself is in `tls_engine.rs`.

use crate::devices::{CertificateJudgement, DeviceTls, Devices};
use crate::edge::limits::{HELD_BYTES, HELD_BYTES_SECURED, TLS_OUT_BYTES};
use crate::edge::tls_engine::{Engine, Fault, Step};
use crate::edge::tls_offer;
use broker_core::machine::{Shown, TurnedAway};
use broker_core::{address_shares::Origin, time::Now};
use codec::proxy;
use rustls::client::UnbufferedClientConnection;
use rustls::pki_types::ServerName;
use rustls::server::{Acceptor, UnbufferedServerConnection};
use rustls::{ClientConfig, HandshakeKind, ServerConfig};
use std::sync::Arc;

/// A connection's TLS state. Boxed once; the box moves with the connection, even to another shard.
pub(crate) struct Tls {
    engine: Engine,
    /// The state of the client certificate request. `None` if no certificate is requested.
    asked: Option<Box<Asked>>,
    /// The incomplete record or handshake message.
    held: Vec<u8>,
    /// Bytes to send before any application data.
    pub(crate) out: Vec<u8>,
    /// The peer's address, which is charged for buffered bytes.
    origin: Origin,
    /// Bytes of this connection that the shard's counters currently include.
    charged: Held,
    /// The time when the incomplete record started, once the handshake has finished. `None` while reading is paused.
    begun: Option<Now>,
    /// Whether the handshake has been counted as finished, whatever its outcome.
    over: bool,
    /// Whether our close_notify is in `out` or has been sent.
    notified: bool,
    /// Whether the engine has failed. If so, `out` contains the last bytes to send.
    failed: bool,
    /// Whether no bytes from the peer have been processed yet.
    untouched: bool,
    /// Whether the peer started with plain HTTP and expects a response.
    plain_http: bool,
    /// Whether the peer started with a PROXY protocol header.
    proxied: bool,
    /// Whether the response to a plain HTTP request has been written.
    pub(crate) told: bool,
    /// Why the engine failed, if it did.
    fault: Option<Fault>,
    /// Describes the peer's offer, if the handshake failed because the two sides had nothing in common.
    offer: Option<Box<str>>,
}

/// Bytes held in incomplete records, by phase.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Held {
    /// Bytes held during handshakes.
    pub(crate) handshake: u64,
    /// Bytes held after handshakes.
    pub(crate) secured: u64,
}

/// The outcome of a read, apart from the plaintext.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Read {
    /// The peer may send more data.
    More,
    /// The peer sent close_notify and will send no more data.
    End,
    /// The peer violated the protocol, or the two sides have no version, cipher or protocol in common. An alert is
    /// pending. Nothing more will be read.
    Failed,
}

/// The kind of a successful handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A full handshake, in which this side produced a signature.
    Full,
    /// A session resumed with a ticket that this side had issued.
    Resumed,
}

impl Tls {
    /// Creates an engine that expects a ClientHello from `origin`.
    pub(crate) fn new(
        config: &Arc<ServerConfig>,
        origin: Origin,
    ) -> Result<Box<Self>, rustls::Error> {
        let engine = UnbufferedServerConnection::new(Arc::clone(config))?;
        Ok(Self::with(Engine::Server(engine), origin))
    }

    /// Creates an engine that requests a certificate from clients that ask for one of the devices' server names.
    pub(crate) fn behind(
        door: &Arc<DeviceTls>,
        config: &Arc<ServerConfig>,
        origin: Origin,
    ) -> Result<Box<Self>, rustls::Error> {
        let mut tls = Self::new(config, origin)?;
        tls.asked = Some(Box::new(Asked::Hello(Box::new(Hello::new(door)))));
        Ok(tls)
    }

    /// Returns the server name, and the client's certificate with the verdict on it. Returns `None` if no certificate
    /// was requested, if the handshake has not completed, or if the previous verdict is still valid.
    pub(crate) fn shown(&mut self, in_force: Option<&Arc<Devices>>, now_s: u64) -> Option<Shown> {
        if self.engine.is_handshaking() {
            return None;
        }
        let Asked::Certificate(began, name, judgement) = self.asked.as_deref_mut()? else {
            return None;
        };
        let devices = in_force.unwrap_or(began);
        let judged = judgement.as_ref();
        if judged.is_some_and(|judgement| judgement.holds(devices, now_s)) {
            return None;
        }
        let chain = self.engine.peer_certificates();
        let (passed, shown) = CertificateJudgement::pass(devices, name, chain, now_s);
        *judgement = Some(passed);
        Some(shown)
    }

    /// Creates a connecting engine on behalf of `origin`, with session tickets stored under `name`. The caller starts
    /// the handshake by calling [`Self::read`] without bytes.
    pub(crate) fn connect(
        config: &Arc<ClientConfig>,
        name: ServerName<'static>,
        origin: Origin,
    ) -> Result<Box<Self>, rustls::Error> {
        let engine = UnbufferedClientConnection::new(Arc::clone(config), name)?;
        Ok(Self::with(Engine::Client(engine), origin))
    }

    fn with(engine: Engine, origin: Origin) -> Box<Self> {
        Box::new(Self {
            engine,
            asked: None,
            held: Vec::new(),
            out: Vec::new(),
            origin,
            charged: Held::default(),
            begun: None,
            over: false,
            notified: false,
            failed: false,
            untouched: true,
            plain_http: false,
            proxied: false,
            told: false,
            fault: None,
            offer: None,
        })
    }

    /// Returns whether a handshake is in progress, that is, neither completed nor abandoned.
    pub(crate) fn handshaking(&self) -> bool {
        !self.over
    }

    /// Returns the kind of handshake once it has completed, and `None` on later calls.
    pub(crate) fn just_secured(&mut self) -> Option<Kind> {
        if self.over || self.engine.is_handshaking() {
            return None;
        }
        self.over = true;
        Some(match self.engine.handshake_kind() {
            Some(HandshakeKind::Resumed) => Kind::Resumed,
            Some(HandshakeKind::Full | HandshakeKind::FullWithHelloRetryRequest) | None => {
                Kind::Full
            }
        })
    }

    /// Returns the address that the connection comes from.
    pub(crate) fn origin(&self) -> Origin {
        self.origin
    }

    /// Abandons the handshake. Returns `false` if it has already finished.
    pub(crate) fn give_up(&mut self) -> bool {
        !std::mem::replace(&mut self.over, true)
    }

    /// Returns the number of bytes held in an incomplete record.
    pub(crate) fn held_bytes(&self) -> u64 {
        self.held.len() as u64
    }

    /// Returns the time at which the incomplete record started, once the handshake has finished.
    pub(crate) fn begun(&self) -> Option<Now> {
        self.begun.filter(|_| self.over)
    }

    /// Suspends the incomplete record's timeout while the connection is not being read.
    pub(crate) fn pause(&mut self) {
        self.begun = None;
    }

    /// Returns this connection's current contribution to the shard's counters, and the new contribution that must
    /// replace it.
    pub(crate) fn recharge(&mut self) -> (Held, Held) {
        let (handshake, secured) = if self.over {
            (0, self.held_bytes())
        } else {
            (self.held_bytes(), 0)
        };
        let holds = Held { handshake, secured };
        (std::mem::replace(&mut self.charged, holds), holds)
    }

    /// Withdraws this connection's contribution to the shard's counters, and returns it.
    pub(crate) fn discharge(&mut self) -> Held {
        std::mem::take(&mut self.charged)
    }

    /// Frees the buffer of held bytes. The connection can no longer read or encrypt.
    pub(crate) fn let_go(&mut self) {
        self.failed = true;
        self.held = Vec::new();
        self.begun = None;
    }

    /// Stores bytes for the next call of [`Self::read`], which may pass more bytes or none.
    pub(crate) fn hold(&mut self, bytes: &[u8]) {
        self.held.extend_from_slice(bytes);
    }

    /// Decrypts ciphertext and appends the plaintext to `plain`. If `bytes` is empty, continues with the held bytes.
    /// The plaintext is never longer than `bytes` and the held bytes together.
    pub(crate) fn read(&mut self, bytes: &mut [u8], plain: &mut Vec<u8>, now: Now) -> Read {
        let (used, read) = self.process(bytes, plain);
        if self.held.is_empty() {
            self.begun = None;
        } else if used > 0 || self.begun.is_none() {
            self.begun = Some(now); // an earlier record is complete, so this one has just begun
        }
        read
    }

    /// Processes bytes from the peer. Returns the number of bytes consumed, and the outcome.
    fn process(&mut self, bytes: &mut [u8], plain: &mut Vec<u8>) -> (usize, Read) {
        if self.failed {
            return (0, Read::Failed);
        }
        if self.asked.is_some() && !self.over && !self.has_chosen(bytes) {
            self.held.extend_from_slice(bytes);
            return (0, self.conclude(Step::More));
        }
        if self.held.is_empty() {
            let speaks_http = self.speaks_http(bytes);
            let (used, read) = self.engine.advance(bytes, plain, &mut self.out);
            self.offer = offer(read, bytes);
            self.held
                .extend_from_slice(bytes.get(used..).unwrap_or_default());
            self.first(used, speaks_http);
            return (used, self.conclude(read));
        }
        self.held.extend_from_slice(bytes);
        let held = std::mem::take(&mut self.held);
        let speaks_http = self.speaks_http(&held);
        self.held = held;
        let (used, read) = self.engine.advance(&mut self.held, plain, &mut self.out);
        self.offer = offer(read, &self.held);
        if used >= self.held.len() {
            self.held = Vec::new(); // an idle connection owns no buffer
        } else {
            self.held.drain(..used);
        }
        self.first(used, speaks_http);
        (used, self.conclude(read))
    }

    /// Returns whether `bytes`, together with the held bytes, are enough to determine how the connection is served.
    fn has_chosen(&mut self, bytes: &[u8]) -> bool {
        let Some(Asked::Hello(hello)) = self.asked.as_deref_mut() else {
            return true;
        };
        let held = self.held.get(hello.seen..).unwrap_or_default();
        let choice = match hello.look(held) {
            Choice::Open => hello.look(bytes),
            known @ (Choice::Ordinary | Choice::Certificate(..)) => known,
        };
        self.asked = match choice {
            Choice::Open => return false,
            Choice::Ordinary => None,
            Choice::Certificate(config, door, name) => {
                // This cannot fail. Otherwise, creating the first engine would have failed as well.
                if let Ok(engine) = UnbufferedServerConnection::new(config) {
                    self.engine = Engine::Server(engine);
                }
                Some(Box::new(Asked::Certificate(
                    Arc::clone(&door.devices),
                    name,
                    None,
                )))
            }
        };
        true
    }

    /// Returns whether the peer's first bytes are plain HTTP.
    fn speaks_http(&mut self, bytes: &[u8]) -> bool {
        self.proxied |= self.untouched && proxy::begins(bytes);
        self.untouched && !self.proxied && is_plain_http(bytes)
    }

    /// Records that bytes from the peer have been processed (if `used` is not 0), and whether they are plain HTTP.
    fn first(&mut self, used: usize, speaks_http: bool) {
        self.untouched &= used == 0;
        self.plain_http |= speaks_http;
    }

    /// Returns whether the connection failed because its peer speaks plain HTTP. Returns `true` only once.
    pub(crate) fn met_plain_http(&mut self) -> bool {
        self.failed && std::mem::take(&mut self.plain_http)
    }

    /// Returns whether the connection failed because the peer is not a node of this cluster.
    pub(crate) fn is_foreign(&self) -> bool {
        self.fault == Some(Fault::Foreign)
    }

    /// Returns why the handshake in progress cannot succeed. Returns `None` if the handshake is over, if no bytes from
    /// the peer have been processed, or if the peer has been told, in plain HTTP, that this port requires TLS.
    pub(crate) fn vain(&self) -> Option<TurnedAway> {
        match self.fault {
            _ if self.over || self.told => None,
            Some(Fault::Distrusted) => Some(TurnedAway::Distrusted),
            Some(Fault::Disagreed) => Some(TurnedAway::NoCommonTls),
            Some(Fault::Broken | Fault::Foreign) if self.proxied => {
                Some(TurnedAway::ProxyUnexpected)
            }
            Some(Fault::Broken | Fault::Foreign) => Some(TurnedAway::BrokenTls),
            None => (!self.untouched).then_some(TurnedAway::LeftHandshake),
        }
    }

    /// Returns what the peer offered and what would have been accepted, if the two had nothing in common.
    pub(crate) fn offer(&self) -> Option<&str> {
        self.offer.as_deref()
    }

    /// Appends the engine's pending output to `cipher`, followed by the encrypted `plain`, which may be empty.
    ///
    /// # Errors
    /// Fails if the connection has failed or its keys are exhausted, so that it can no longer send.
    pub(crate) fn write(&mut self, plain: &[u8], cipher: &mut Vec<u8>) -> Result<(), Unwritable> {
        if !plain.is_empty() {
            self.gather_out();
        }
        cipher.append(&mut self.out);
        self.out = Vec::new();
        if plain.is_empty() {
            return Ok(());
        }
        if self.failed || self.engine.is_handshaking() {
            return Err(Unwritable);
        }
        self.engine.encrypt(&mut self.held, plain, cipher)
    }

    /// Writes a piece as TLS records, followed by a close_notify if it is the last piece. Returns `false` if the
    /// connection can no longer send.
    pub(crate) fn seal(&mut self, piece: Piece<'_>, cipher: &mut Vec<u8>) -> bool {
        let bytes = piece.bytes;
        let (first, rest) = bytes.split_at(bytes.len().min(piece.record_bytes));
        // Writes even an empty piece, since the engine may have pending output.
        let mut writes = |record: &[u8]| self.write(record, cipher).is_ok();
        let is_sound = writes(first) && rest.chunks(piece.record_bytes).all(&mut writes);
        if is_sound && piece.is_last {
            self.notify_close();
            let _ = self.write(&[], cipher);
        }
        is_sound
    }

    /// Queues a close_notify after the pending output, unless one is already queued. If it cannot be written, the
    /// connection closes without it.
    pub(crate) fn notify_close(&mut self) {
        if std::mem::replace(&mut self.notified, true)
            || self.failed
            || self.engine.is_handshaking()
        {
            return;
        }
        self.gather_out();
        let said = self.engine.close(&mut self.held, &mut self.out);
        self.failed |= said.is_err();
    }

    /// Collects whatever the engine must send before application data, such as the response to a key update. Must not
    /// be called during the handshake, when `held` may contain complete records.
    fn gather_out(&mut self) {
        if self.failed || self.engine.is_handshaking() {
            return;
        }
        let mut nothing = Vec::new();
        let (used, read) = self
            .engine
            .advance(&mut self.held, &mut nothing, &mut self.out);
        debug_assert!(
            used == 0 && nothing.is_empty(),
            "all whole records were read before"
        );
        self.conclude(read);
    }

    /// Applies this module's own limits to an engine step, and returns the outcome. Failures are permanent.
    fn conclude(&mut self, read: Step) -> Read {
        let read = match read {
            Step::More => Read::More,
            Step::End => Read::End,
            Step::Failed(fault) => {
                self.fault = self.fault.or(Some(fault));
                Read::Failed
            }
        };
        let most = if self.over {
            HELD_BYTES_SECURED
        } else {
            HELD_BYTES
        };
        self.failed |=
            read == Read::Failed || self.held.len() > most || self.out.len() > TLS_OUT_BYTES;
        if self.failed {
            self.held = Vec::new();
            return Read::Failed;
        }
        read
    }
}

/// Describes the offer in the ClientHello in `bytes`, if `step` has just failed because nothing in that offer is
/// acceptable.
fn offer(step: Step, bytes: &[u8]) -> Option<Box<str>> {
    match step {
        Step::Failed(Fault::Disagreed) => Some(tls_offer::offer(bytes)?.into()),
        Step::Failed(_) | Step::More | Step::End => None,
    }
}

/// Plaintext to write to a connection.
#[derive(Clone, Copy)]
pub(crate) struct Piece<'a> {
    pub(crate) bytes: &'a [u8],
    /// Maximum TLS record size in bytes.
    pub(crate) record_bytes: usize,
    /// Whether this is the last piece. On a TLS connection, a close_notify follows it.
    pub(crate) is_last: bool,
}

/// The error for a connection that can no longer send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unwritable;

/// Returns whether `bytes` start with an upper-case HTTP method and a space. These cannot be mistaken for a TLS record,
/// whose first byte is less than 32 (RFC 8446 section 5.1).
fn is_plain_http(bytes: &[u8]) -> bool {
    let method = bytes.iter().take_while(|byte| byte.is_ascii_uppercase());
    let length = method.count();
    (3..=7).contains(&length) && bytes.get(length) == Some(&b' ')
}

// The first bytes of a connection whose server name determines how the connection is served.
//
// A rustls acceptor gets a copy of these bytes, and is used only to extract the name. The engine then gets the original
// bytes. A ClientHello may therefore arrive in pieces of any size.

/// A connection whose server name is not known yet, or whose client is asked for a certificate.
pub(crate) enum Asked {
    /// The server name is not known yet.
    Hello(Box<Hello>),
    /// A certificate is requested for this server name, on behalf of these devices. Includes the verdict on the
    /// certificate, once there is one.
    Certificate(Arc<Devices>, Box<str>, Option<CertificateJudgement>),
}

/// An incomplete ClientHello.
pub(crate) struct Hello {
    acceptor: Acceptor,
    door: Arc<DeviceTls>,
    /// Number of bytes already examined.
    pub(crate) seen: usize,
}

/// How to serve a connection.
pub(crate) enum Choice {
    /// Undecided until more bytes arrive.
    Open,
    /// Serve the connection without requesting a certificate.
    Ordinary,
    /// Request a certificate for this server name.
    Certificate(Arc<ServerConfig>, Arc<DeviceTls>, Box<str>),
}

impl Hello {
    pub(crate) fn new(door: &Arc<DeviceTls>) -> Self {
        Self {
            acceptor: Acceptor::default(),
            door: Arc::clone(door),
            seen: 0,
        }
    }

    /// Examines more bytes. Bytes that are not a ClientHello make the connection ordinary, so that the engine reports
    /// the error.
    pub(crate) fn look(&mut self, bytes: &[u8]) -> Choice {
        self.seen += bytes.len();
        let mut rest = bytes;
        while !rest.is_empty() {
            let Ok(1..) = self.acceptor.read_tls(&mut rest) else {
                return Choice::Ordinary;
            };
            match self.acceptor.accept() {
                Ok(None) => {}
                Err(_) => return Choice::Ordinary,
                Ok(Some(accepted)) => {
                    let hello = accepted.client_hello();
                    let name = hello.server_name().unwrap_or_default();
                    return match self.door.opens(name) {
                        None => Choice::Ordinary,
                        Some(config) => {
                            let door = Arc::clone(&self.door);
                            Choice::Certificate(Arc::clone(config), door, name.into())
                        }
                    };
                }
            }
        }
        Choice::Open
    }
}
