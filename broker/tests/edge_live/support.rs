//! Servers and clients for the tests.

use crate::edge_live::certificate;
use crate::edge_live::machine::{Counts, Echo};
use crate::edge_live::server::{Listen, Server};
use broker::edge::{EdgeCounts, EdgeSettings, Scraped};
use broker_core::id::ShardId;
use broker_core::machine::Machine;
use ring::Engine;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use socket2::{Domain, Socket, Type};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use testkit::until_true;
use tungstenite::{Message, WebSocket};

/// Shards with one plain and one TLS listener, and a client configuration that trusts them.
pub(crate) struct Bench<M: Machine = Echo> {
    pub(crate) server: Server<M>,
    pub(crate) trust: Arc<ClientConfig>,
    pub(crate) roots: RootCertStore,
}

/// A stream of either kind.
pub(crate) trait Wire: Read + Write + Send {
    fn tcp(&self) -> &TcpStream;
}

impl Wire for TcpStream {
    fn tcp(&self) -> &TcpStream {
        self
    }
}

impl Wire for StreamOwned<ClientConnection, TcpStream> {
    fn tcp(&self) -> &TcpStream {
        &self.sock
    }
}

impl Bench {
    pub(crate) fn start(shards: u16) -> Self {
        Self::with(shards, EdgeSettings::default(), (4096, 256))
    }

    pub(crate) fn with(shards: u16, settings: EdgeSettings, mailbox: (usize, usize)) -> Self {
        Self::of(shards, settings, mailbox, move |id| Echo::new(id, shards))
    }

    /// Waits until every connection is closed and checks that nothing is left of any; then ends the shards.
    pub(crate) fn finish(self) {
        self.wait_until_empty();
        let gone = |scraped: &Scraped<Counts>| scraped.snapshot.open == 0;
        assert!(
            self.server.scrape().iter().all(gone),
            "every session is Gone"
        );
        self.server.stop().unwrap();
    }
}

impl<M: Machine + 'static> Bench<M> {
    pub(crate) fn of(
        shards: u16,
        settings: EdgeSettings,
        mailbox: (usize, usize),
        make: impl Fn(ShardId) -> M + Clone + Send + 'static,
    ) -> Self {
        let settings = EdgeSettings {
            ring: ring::RingSettings {
                engine: engine(),
                ..settings.ring
            },
            ..settings
        };
        let (tls, authority) = certificate::self_made().unwrap();
        let addr = SocketAddr::from(([127, 0, 0, 1], 0));
        let listens = [Listen { addr, tls: false }, Listen { addr, tls: true }];
        let server = Server::start(&listens, shards, Some(tls), settings, mailbox, make).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(authority).unwrap();
        let trust = ClientConfig::builder()
            .with_root_certificates(roots.clone())
            .with_no_client_auth();
        Self {
            server,
            trust: Arc::new(trust),
            roots,
        }
    }

    pub(crate) fn wait_until_empty(&self) {
        let descriptors = &self.server.descriptors;
        until_true("all connections to be closed", || descriptors.count() == 0);
        let counts = self.counts();
        assert_eq!(counts.connections, 0);
        assert_eq!(counts.handshaking, 0);
        assert_eq!(counts.handshake_bytes, 0);
        assert_eq!(counts.partial_record_bytes, 0);
        assert_eq!(counts.handovers, counts.adopted);
    }

    /// A bare connection to the plain listener.
    pub(crate) fn tcp(&self) -> TcpStream {
        connect(self.server.addrs[0])
    }

    /// A stream of either kind, TLS with the handshake not done yet.
    pub(crate) fn wire(&self, tls: bool) -> Box<dyn Wire> {
        if tls {
            Box::new(self.tls(&self.trust))
        } else {
            Box::new(self.tcp())
        }
    }

    pub(crate) fn tls(
        &self,
        config: &Arc<ClientConfig>,
    ) -> StreamOwned<ClientConnection, TcpStream> {
        let name = ServerName::try_from("localhost").unwrap();
        let engine = ClientConnection::new(Arc::clone(config), name).unwrap();
        StreamOwned::new(engine, connect(self.server.addrs[1]))
    }

    pub(crate) fn websocket(&self, tls: bool) -> WebSocket<Box<dyn Wire>> {
        upgrade(self.wire(tls))
    }

    /// The edges' counters, summed.
    pub(crate) fn counts(&self) -> EdgeCounts {
        let mut sum = EdgeCounts::default();
        for scraped in self.server.scrape() {
            let edge = scraped.edge;
            sum.accepted += edge.accepted;
            sum.handovers += edge.handovers;
            sum.adopted += edge.adopted;
            sum.mailbox_refused += edge.mailbox_refused;
            sum.received_bytes += edge.received_bytes;
            sum.sent_bytes += edge.sent_bytes;
            sum.receives += edge.receives;
            sum.sends += edge.sends;
            sum.queued_sends += edge.queued_sends;
            sum.turns += edge.turns;
            sum.connections += edge.connections;
            sum.handshaking += edge.handshaking;
            sum.handshake_bytes += edge.handshake_bytes;
            sum.partial_record_bytes += edge.partial_record_bytes;
            sum.evicted += edge.evicted;
            sum.overdue += edge.overdue;
            sum.handshakes.full += edge.handshakes.full;
            sum.handshakes.resumed += edge.handshakes.resumed;
            sum.handshakes.failed += edge.handshakes.failed;
            sum.accept_errors.fd_limit += edge.accept_errors.fd_limit;
            sum.accept_errors.limit += edge.accept_errors.limit;
        }
        sum
    }
}

/// The engine of all shards here: one that the environment names, as it does for brokers that are started.
fn engine() -> Engine {
    let named = testkit::engine();
    let both = [Engine::IoUring, Engine::Epoll];
    let found = both
        .into_iter()
        .find(|it| Some(it.name()) == named.as_deref());
    assert!(named.is_none() || found.is_some(), "no engine {named:?}");
    found.unwrap_or_default()
}

pub(crate) fn connect(addr: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(addr).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

/// The same from another address of this machine: 127.0.0.`host`.
pub(crate) fn connect_from(host: u8, addr: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    let from = SocketAddr::from(([127, 0, 0, host], 0));
    socket.bind(&from.into()).unwrap();
    socket.connect(&addr.into()).unwrap();
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

pub(crate) fn upgrade(wire: Box<dyn Wire>) -> WebSocket<Box<dyn Wire>> {
    let limits = tungstenite::protocol::WebSocketConfig::default().max_frame_size(Some(64 << 20));
    tungstenite::client::client_with_config("ws://localhost/any", wire, Some(limits))
        .unwrap()
        .0
}

/// Sends a message and awaits its echo.
pub(crate) fn echo(socket: &mut WebSocket<Box<dyn Wire>>, message: &Message) {
    socket.send(message.clone()).unwrap();
    assert!(
        socket.read().unwrap() == *message,
        "the echo of {} bytes differs",
        message.len()
    );
}

/// Closes as the protocol wants it: close frame, its echo, the end of the stream.
pub(crate) fn close(mut socket: WebSocket<Box<dyn Wire>>) {
    socket.close(None).unwrap();
    loop {
        match socket.read() {
            Ok(_) => {}
            Err(tungstenite::Error::ConnectionClosed) => return,
            Err(error) => panic!("{error}"),
        }
    }
}

/// Lets time pass that is the subject of a test: a rest, a second without traffic.
pub(crate) fn pause(span: Duration) {
    std::thread::sleep(span);
}

/// Open descriptors of this process.
pub(crate) fn open_files() -> usize {
    std::fs::read_dir(Path::new("/proc/self/fd"))
        .unwrap()
        .count()
}

/// A masked client frame, FIN as asked.
pub(crate) fn frame(fin: bool, opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = vec![u8::from(fin) << 7 | opcode];
    match u16::try_from(payload.len()) {
        Ok(len @ 0..126) => out.push(0x80 | u8::try_from(len).unwrap()),
        Ok(len) => {
            out.push(0xfe);
            out.extend(len.to_be_bytes());
        }
        Err(_) => {
            out.push(0xff);
            out.extend((payload.len() as u64).to_be_bytes());
        }
    }
    let key = [0x12, 0x34, 0x56, 0x78];
    out.extend(key);
    out.extend(
        payload
            .iter()
            .zip(key.iter().cycle())
            .map(|(byte, key)| byte ^ key),
    );
    out
}

pub(crate) const HEAD: &[u8] =
    b"GET /any HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// Reads a response head.
pub(crate) fn read_head(wire: &mut dyn Read) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        assert_eq!(
            wire.read(&mut byte).unwrap(),
            1,
            "the head ended early: {}",
            String::from_utf8_lossy(&head)
        );
        head.push(byte[0]);
    }
    String::from_utf8(head).unwrap()
}

pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
