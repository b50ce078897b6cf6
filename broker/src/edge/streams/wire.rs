//! A link's connection, and its stage.

use crate::edge::connection::{Connection, NEVER, Receive};
use crate::edge::io::Io;
use crate::edge::limits::{HELLO_MS, LINK_CONNECT_MS};
use crate::edge::links::{LinkEnd, Links, link_key};
use crate::edge::start::EdgeSettings;
use crate::edge::tls::{Piece, Tls};
use broker_core::cluster::link::Link;
use broker_core::id::{NodeId, SessionKey, ShardId};
use broker_core::{address_shares::Origin, time::Now};
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

/// A stream's local end.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Local {
    /// A client connected to this node, by its number.
    Client(u32),
    /// A session on this node, whose client is connected to another node.
    Session(SessionKey),
}

/// A link's connection.
pub(crate) struct Wire {
    pub(crate) connection: Connection,
    pub(crate) stage: Stage,
    /// The node and the remote shard that this shard opened the link to. `None` if the other node opened the link.
    pub(crate) to: Option<(NodeId, u16)>,
    /// The other node's name, once its hello has been read.
    pub(crate) peer: Arc<str>,
    pub(crate) locals: BTreeMap<u32, Local>,
    pub(crate) began: Now,
}

impl AsMut<Connection> for Wire {
    fn as_mut(&mut self) -> &mut Connection {
        &mut self.connection
    }
}

/// A link's stage, named after what the link is waiting for.
pub(crate) enum Stage {
    /// Waiting for the connect operation to complete.
    Connecting,
    /// Waiting for the TLS handshake, and then for the peer's hello. Contains the part of the hello received so far.
    Hello(Vec<u8>),
    /// The link is open and exchanges frames.
    Open(Box<Link>),
    /// The link has closed. Waiting for its final completions.
    Over,
}

impl Wire {
    pub(crate) fn new(socket: OwnedFd, tls: Option<Box<Tls>>, stage: Stage, began: Now) -> Self {
        Self {
            connection: Connection::new(SessionKey::unpack(0), socket, tls),
            stage,
            to: None,
            peer: "".into(),
            locals: BTreeMap::new(),
            began,
        }
    }

    /// Returns the link, if it is open.
    pub(crate) fn link(&mut self) -> Option<&mut Link> {
        match &mut self.stage {
            Stage::Open(link) => Some(link),
            Stage::Connecting | Stage::Hello(_) | Stage::Over => None,
        }
    }

    /// Returns the number of bytes buffered for the streams' local ends.
    pub(crate) fn held(&self) -> usize {
        match &self.stage {
            Stage::Open(link) => link.streams.held(),
            Stage::Connecting | Stage::Hello(_) | Stage::Over => 0,
        }
    }

    /// Starts the TLS handshake on a newly established connection. Returns `false` if that fails.
    pub(crate) fn connected(&mut self, shard: ShardId, links: &Links) -> bool {
        let client = self.to.and_then(|(node, _)| {
            let (config, name) = links.client(shard, node)?;
            let socket = SockRef::from(&self.connection.socket);
            let peer = socket.peer_addr().ok()?.as_socket()?;
            Tls::connect(config, name, Origin::of(peer.ip())).ok()
        });
        self.stage = Stage::Hello(Vec::new());
        self.connection.receive = Receive::Queued;
        self.connection.tls = client;
        self.connection.tls.is_some()
    }

    pub(crate) fn arm(&mut self, place: u32, io: &mut Io) {
        if self.connection.receive != Receive::Idle {
            return;
        }
        let (socket, key) = (
            self.connection.socket.as_fd(),
            link_key(LinkEnd::Link(place)),
        );
        self.connection.receive = match self.stage {
            Stage::Hello(_) => {
                io.ring.receive_once(socket, key); // a link that moves to another shard must have nothing armed
                Receive::Once
            }
            Stage::Open(_) => {
                io.ring.receive_many(socket, key);
                Receive::Many
            }
            Stage::Connecting | Stage::Over => return,
        };
    }

    /// Returns the time at which the connection must be served next.
    pub(crate) fn limit(&self, now: Now) -> Now {
        let span = match &self.stage {
            Stage::Open(link) => return link.due(now).unwrap_or(NEVER),
            Stage::Over => return NEVER,
            Stage::Connecting | Stage::Hello(_) if self.to.is_some() => LINK_CONNECT_MS,
            Stage::Connecting | Stage::Hello(_) => HELLO_MS,
        };
        self.began.after(span)
    }

    /// Returns whether the connection has timed out before its link was open.
    pub(crate) fn is_late(&self, now: Now) -> bool {
        self.begins() && self.limit(now) <= now
    }

    pub(crate) fn begins(&self) -> bool {
        matches!(self.stage, Stage::Connecting | Stage::Hello(_))
    }

    /// Sends the engine's pending output, and then encrypts and sends `plain`. Returns `false` if the connection is
    /// broken.
    pub(crate) fn send(&mut self, place: u32, plain: &[u8], io: &mut Io) -> bool {
        let key = link_key(LinkEnd::Link(place));
        let piece = Piece {
            bytes: plain,
            record_bytes: usize::MAX,
            is_last: false,
        };
        self.connection.write(key, piece, io).is_some()
    }
}

/// Enables TCP keepalive, which detects the failure of the other host even if the clients on the link are idle.
pub(crate) fn keep_alive(socket: &SockRef<'_>) -> io::Result<()> {
    let keepalive = TcpKeepalive::new()
        .with_time(Duration::from_secs(10))
        .with_interval(Duration::from_secs(5))
        .with_retries(3);
    socket.set_tcp_keepalive(&keepalive)
}

/// Creates a socket for connecting to another node.
pub(crate) fn connecting(address: SocketAddr, settings: &EdgeSettings) -> io::Result<OwnedFd> {
    let domain = Domain::for_address(address);
    let socket = Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
    socket.set_tcp_nodelay(true)?;
    keep_alive(&SockRef::from(&socket))?;
    if settings.tcp_user_ms != 0 {
        socket.set_tcp_user_timeout(Some(Duration::from_millis(settings.tcp_user_ms)))?;
    }
    Ok(socket.into())
}
