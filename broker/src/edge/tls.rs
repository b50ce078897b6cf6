//! TLS of one connection: ciphertext in, plaintext out, and the reverse; and its first bytes, where the server name
//! decides how it is served. No socket.
//!
//! Theory of operation. rustls' unbuffered connection holds keys and states, and no bytes. What comes from the socket
//! is worked on where it lies, in the lent receive buffer; only the tail of an unfinished record is kept aside
//! (`held`), and then the next receive is appended to it. What rustls itself wants to say (handshake, tickets, alerts)
//! gathers in `out` and goes before the next application data.
//!
//! ```text
//!  receive ──► [held ++] bytes ──► process_tls_records ──► plain (the shard's scratch) ──► machine
//!                      └ unfinished tail ──► held
//!                                           └► out ──► write() ──► the shard's other scratch ──► socket
//! ```
//! rustls numbers an unfinished handshake message by its place in the bytes it was shown. So every call, also one that
//! only wants to write, shows it exactly what is held.
//!
//! Towards clients it is the side that accepts; between nodes it is either. The engine itself is in `tls_engine.rs`.

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

/// One connection's TLS state. Boxed once and moved by its box, also to another shard.
pub(crate) struct Tls {
    engine: Engine,
    /// Whether the client is asked for a certificate, once known.
    asked: Option<Box<Asked>>,
    /// Bytes of an unfinished record or handshake message.
    held: Vec<u8>,
    /// Bytes to send before any application data.
    out: Vec<u8>,
    /// Origin of the connection, charged for its buffers.
    origin: Origin,
    /// Bytes counted for it by the shard.
    charged: Held,
    /// Start of the incomplete record, once the handshake is over; `None` also while nobody reads it.
    begun: Option<Now>,
    /// Whether the handshake is counted as finished, with whatever outcome.
    over: bool,
    /// Whether the own close_notify is in `out` or sent.
    notified: bool,
    /// Whether the engine failed: `out` has the last bytes that can be sent.
    failed: bool,
    /// Whether no bytes of the peer were processed yet.
    untouched: bool,
    /// Whether the peer began with plain HTTP, and waits for its answer.
    plain_http: bool,
    /// Whether the peer began with a PROXY protocol header.
    proxied: bool,
    /// Whether that answer was written.
    told: bool,
    /// Reason why the engine failed, if it did.
    fault: Option<Fault>,
    /// Offer of the peer, if that was the reason.
    offer: Option<Box<str>>,
}

/// Bytes of unfinished records, by what they wait for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Held {
    /// Of handshakes under way.
    pub(crate) handshake: u64,
    /// Of connections whose handshake is over.
    pub(crate) secured: u64,
}

/// The result of a read, beside the plaintext.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Read {
    /// All well; more is awaited.
    More,
    /// The peer's close_notify: it sends no more.
    End,
    /// The peer broke the protocol, or cannot agree with us. An alert waits to be sent; nothing will be read any more.
    Failed,
}

/// The kind of a handshake that ended well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// With our signature.
    Full,
    /// With a ticket of ours.
    Resumed,
}

impl Tls {
    /// An engine that awaits a ClientHello from `origin`.
    pub(crate) fn new(
        config: &Arc<ServerConfig>,
        origin: Origin,
    ) -> Result<Box<Self>, rustls::Error> {
        let engine = UnbufferedServerConnection::new(Arc::clone(config))?;
        Ok(Self::with(Engine::Server(engine), origin))
    }

    /// Engine that asks for a certificate if the client names a server of this door.
    pub(crate) fn behind(
        door: &Arc<DeviceTls>,
        config: &Arc<ServerConfig>,
        origin: Origin,
    ) -> Result<Box<Self>, rustls::Error> {
        let mut tls = Self::new(config, origin)?;
        tls.asked = Some(Box::new(Asked::Hello(Box::new(Hello::new(door)))));
        Ok(tls)
    }

    /// The name and the certificate that it began with, if it was asked for one: once the handshake is done, and again
    /// where what was found out about them then may be outdated, by the devices in force.
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

    /// An engine that connects, on behalf of `origin`, to what tickets know as `name`. It begins with [`Self::read`] of
    /// no bytes.
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

    /// Whether the handshake is under way: neither done nor given up.
    pub(crate) fn handshaking(&self) -> bool {
        !self.over
    }

    /// Whether the handshake was done just now; said once.
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

    /// The address that the connection comes from.
    pub(crate) fn origin(&self) -> Origin {
        self.origin
    }

    /// Abandons the handshake; `false` when it was over already.
    pub(crate) fn give_up(&mut self) -> bool {
        !std::mem::replace(&mut self.over, true)
    }

    /// Bytes kept because their record is unfinished.
    pub(crate) fn held_bytes(&self) -> u64 {
        self.held.len() as u64
    }

    /// When the unfinished record began, once the handshake is over.
    pub(crate) fn begun(&self) -> Option<Now> {
        self.begun.filter(|_| self.over)
    }

    /// Nobody reads the connection: its unfinished record is not late meanwhile.
    pub(crate) fn pause(&mut self) {
        self.begun = None;
    }

    /// Returns the bytes that the shard's counters have for it, and those that they are to have from now on.
    pub(crate) fn recharge(&mut self) -> (Held, Held) {
        let (handshake, secured) = if self.over {
            (0, self.held_bytes())
        } else {
            (self.held_bytes(), 0)
        };
        let holds = Held { handshake, secured };
        (std::mem::replace(&mut self.charged, holds), holds)
    }

    /// Leaves the shard: returns the bytes that the shard's counters have for it.
    pub(crate) fn discharge(&mut self) -> Held {
        std::mem::take(&mut self.charged)
    }

    /// Nothing is read or written any more.
    pub(crate) fn let_go(&mut self) {
        self.failed = true;
        self.held = Vec::new();
        self.begun = None;
    }

    /// Keeps bytes aside until [`Self::read`] is called with more, or with none.
    pub(crate) fn hold(&mut self, bytes: &[u8]) {
        self.held.extend_from_slice(bytes);
    }

    /// Takes ciphertext in (`bytes` may be empty to go on with what is held) and appends its plaintext to `plain`: at
    /// most as many bytes as were held and given.
    pub(crate) fn read(&mut self, bytes: &mut [u8], plain: &mut Vec<u8>, now: Now) -> Read {
        let (used, read) = self.process(bytes, plain);
        if self.held.is_empty() {
            self.begun = None;
        } else if used > 0 || self.begun.is_none() {
            self.begun = Some(now); // what was begun before is whole
        }
        read
    }

    /// Returns how many bytes are done with.
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

    /// Whether it is known how the connection is served, now that these bytes have come behind those that are held.
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
                // That it cannot be made was found out when the first one was.
                if let Ok(engine) = UnbufferedServerConnection::new(config) {
                    self.engine = Engine::Server(engine);
                }
                Some(Box::new(Asked::Certificate(
                    Arc::clone(door.devices()),
                    name,
                    None,
                )))
            }
        };
        true
    }

    /// Whether the first bytes are those of plain HTTP.
    fn speaks_http(&mut self, bytes: &[u8]) -> bool {
        self.proxied |= self.untouched && proxy::begins(bytes);
        self.untouched && !self.proxied && is_plain_http(bytes)
    }

    /// Notes what the first bytes were: a whole record begins a handshake, and a method of HTTP never does.
    fn first(&mut self, used: usize, speaks_http: bool) {
        self.untouched &= used == 0;
        self.plain_http |= speaks_http;
    }

    /// Whether the connection failed since its peer began with plain HTTP: said once.
    pub(crate) fn met_plain_http(&mut self) -> bool {
        self.failed && std::mem::take(&mut self.plain_http)
    }

    /// Whether the connection failed since its peer is no node of this cluster.
    pub(crate) fn is_foreign(&self) -> bool {
        self.fault == Some(Fault::Foreign)
    }

    /// Why the handshake under way comes to nothing; `None` if it is over, if the peer sent nothing that begins one, or
    /// got the answer that this port speaks TLS.
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

    /// Offer of the peer, and what would have matched, where nothing was in common.
    pub(crate) fn offer(&self) -> Option<&str> {
        self.offer.as_deref()
    }

    /// The last words to a peer that does not speak TLS, in place of an alert.
    pub(crate) fn say_plainly(&mut self, answer: Vec<u8>) {
        self.out = answer;
        self.told = true;
    }

    /// Appends to `cipher` what the engine has to say and then the encrypted `plain`, which may be empty.
    ///
    /// # Errors
    /// The connection can send no more: its keys are used up, or it failed.
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

    /// Whether the engine has something to say.
    pub(crate) fn has_out(&self) -> bool {
        !self.out.is_empty()
    }

    /// Puts a close_notify behind what waits, once. A connection that cannot say it closes without.
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

    /// Lets the engine write what must precede application data (an answer to a key update, say). Not while it
    /// shakes hands: then whole records may be held.
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

    /// The result of a read, after our own bounds; a failure is for good.
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

/// The offer of a peer whose handshake just failed for it, in the bytes of its ClientHello.
fn offer(step: Step, bytes: &[u8]) -> Option<Box<str>> {
    match step {
        Step::Failed(Fault::Disagreed) => Some(tls_offer::offer(bytes)?.into()),
        Step::Failed(_) | Step::More | Step::End => None,
    }
}

/// The connection can send no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unwritable;

/// Whether bytes begin with a method in capitals and a space. A TLS record begins with a number below 32 (RFC 8446
/// section 5.1).
fn is_plain_http(bytes: &[u8]) -> bool {
    let method = bytes.iter().take_while(|byte| byte.is_ascii_uppercase());
    let length = method.count();
    (3..=7).contains(&length) && bytes.get(length) == Some(&b' ')
}

// The first bytes of a connection, where its server name decides how it is served.
//
// A copy of them is shown to the library's acceptor, for the name alone; then the engine is shown the bytes
// themselves, all of them. So a ClientHello may come in pieces of any size.

/// A connection whose server name is not known yet, or that is asked for a certificate.
pub(crate) enum Asked {
    /// Waits for the server name.
    Hello(Box<Hello>),
    /// Asks for a certificate of this name of these devices, which was judged.
    Certificate(Arc<Devices>, Box<str>, Option<CertificateJudgement>),
}

/// A ClientHello that is not whole.
pub(crate) struct Hello {
    acceptor: Acceptor,
    door: Arc<DeviceTls>,
    /// The bytes of it that were looked at.
    pub(crate) seen: usize,
}

/// The way in which a connection is served.
pub(crate) enum Choice {
    /// Waits for more of the first bytes.
    Open,
    /// As any other.
    Ordinary,
    /// Asks for a certificate, under this name.
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

    /// Looks at further bytes. What is no ClientHello is ordinary: the engine says what is wrong with it.
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
