//! The I/O for tens of thousands of connections on one ring: connecting, TLS, receiving, sending and closing. The
//! [`Crew`] interprets the bytes.
//!
//! ```text
//!  open ─► Connecting ─► Securing (TLS) ─► Up ─► finish ─► Ending ─► Free
//!              └─────────────┴─── broken, cut ───┴────────────▲
//! ```
//! Each step is reported as [`News`]. A connection is freed once the kernel has no connect, receive or send pending on
//! its socket. Sends are batched: each event loop iteration submits one send per connection that has output.

use crate::address::Target;
use crate::edge::machine::bind_address_no_port;
use crate::visit::{Crew, ReceiveOutcome};
use crate::worker::socket::{Line, LineState, index_of, kind_of, narrow};
use crate::worker::tls::Client;
use ring::{Completion, Engine, Lent, Received, Ring, RingSettings};
use rustls::HandshakeKind;
use socket2::{Domain, Socket, Type};
use std::collections::VecDeque;
use std::io;
use std::net::{Ipv4Addr, Shutdown, SocketAddr};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

#[derive(Clone, Debug)]
pub(crate) struct Route {
    pub(crate) target: Target,
    pub(crate) tls: Option<Client>,
}

#[derive(Debug)]
pub(crate) enum News {
    Connected(u32),
    /// The connection can carry data: TCP is established and, if the route uses TLS, the handshake is complete.
    Ready(u32),
    /// Bytes were received. Process them with [`Lines::read`].
    Bytes(u32, Lent),
    /// The connection was lost unexpectedly. Reported at most once, and never after this side closed the connection.
    Broken(u32, String),
    /// The connection was freed. Reported exactly once for every connection opened.
    Freed(u32),
}

pub(crate) struct Lines {
    ring: Ring,
    engine: Engine,
    routes: Vec<Arc<Route>>,
    lines: Vec<Line>,
    free: Vec<u32>,
    /// Number of connections started so far, modulo 256.
    opened: u8,
    news: VecDeque<News>,
    rearm: Vec<u32>,
    dirty: Vec<u32>,
    spare: Vec<Vec<u8>>,
    plain: Vec<u8>,
    reply: Vec<u8>,
}

impl Lines {
    /// Creates a table of connections. Routes are numbered in the given order. Returns an error if creating the ring
    /// fails.
    pub(crate) fn new(routes: Vec<Arc<Route>>, engine: Engine) -> io::Result<Self> {
        let settings = RingSettings {
            engine,
            ..RingSettings::default()
        };
        Ok(Self {
            ring: Ring::new(&settings)?,
            engine,
            routes,
            lines: Vec::new(),
            free: Vec::new(),
            opened: u8::MAX,
            news: VecDeque::new(),
            rearm: Vec::new(),
            dirty: Vec::new(),
            spare: Vec::new(),
            plain: Vec::new(),
            reply: Vec::new(),
        })
    }

    /// Starts a connection over a route and returns its number. `source` is the local address to connect from, if
    /// given. Connections are spread over the route's addresses.
    pub(crate) fn open(&mut self, route: u16, source: Option<Ipv4Addr>) -> io::Result<u32> {
        let way = self.routes.get(usize::from(route));
        let way = way.ok_or_else(|| io::Error::other("no such route"))?;
        self.opened = self.opened.wrapping_add(1);
        let address = self.opened;
        let target = way.target.address_of(usize::from(address));
        let socket = dial(target, source)?;
        let index = self.free.pop().unwrap_or_else(|| {
            self.lines.push(Line::default());
            narrow(self.lines.len() - 1)
        });
        let line = &mut self.lines[index as usize];
        line.route = route;
        line.address = address;
        line.source = source;
        self.connect(index, socket, target);
        Ok(index)
    }

    fn connect(&mut self, index: u32, socket: Socket, target: SocketAddr) {
        let line = &mut self.lines[index as usize];
        line.state = LineState::Connecting;
        line.connecting = true;
        self.ring.connect(socket.as_fd(), line.key(index), target);
        if let Some(former) = line.socket.replace(socket) {
            self.ring.release(former.as_fd());
        }
    }

    fn connect_elsewhere(&mut self, index: u32) -> Option<io::Result<()>> {
        let line = &mut self.lines[index as usize];
        let target = &self.routes.get(usize::from(line.route))?.target;
        line.tried += 1;
        if usize::from(line.tried) > target.others.len() {
            return None;
        }
        let number = usize::from(line.address) + usize::from(line.tried);
        let target = target.address_of(number);
        Some(dial(target, line.source).map(|socket| self.connect(index, socket, target)))
    }

    pub(crate) fn route(&self, index: u32) -> Option<Arc<Route>> {
        self.routes
            .get(usize::from(self.route_number(index)))
            .cloned()
    }

    pub(crate) fn route_number(&self, index: u32) -> u16 {
        self.lines[index as usize].route
    }

    pub(crate) fn add_route(&mut self, route: Arc<Route>) -> Option<u16> {
        let number = u16::try_from(self.routes.len()).ok()?;
        self.routes.push(route);
        Some(number)
    }

    /// Returns a connection's generation, which increments each time its number is reused.
    pub(crate) fn generation(&self, index: u32) -> u32 {
        self.lines[index as usize].generation
    }

    pub(crate) fn is_resumed(&self, index: u32) -> bool {
        let tls = self.lines[index as usize].tls.as_deref();
        tls.is_some_and(|tls| tls.0.handshake_kind() == Some(HandshakeKind::Resumed))
    }

    /// Returns whether a connection number is in use. It remains in use while the connection is closing.
    pub(crate) fn is_taken(&self, index: u32) -> bool {
        self.lines[index as usize].state != LineState::Free
    }

    /// Records when a step starts, and returns when the previous one did.
    pub(crate) fn step(&mut self, index: u32, now_ns: u64) -> u64 {
        std::mem::replace(&mut self.lines[index as usize].since_ns, now_ns)
    }

    pub(crate) fn taken(&self) -> usize {
        self.lines.len() - self.free.len()
    }

    pub(crate) fn len(&self) -> u32 {
        narrow(self.lines.len())
    }

    /// Submits pending sends, and waits up to `patience` for events. Returns an error if the ring fails.
    pub(crate) fn turn(&mut self, patience: Duration) -> io::Result<()> {
        for index in std::mem::take(&mut self.rearm) {
            let line = &self.lines[index as usize];
            if !line.receiving
                && matches!(
                    line.state,
                    LineState::Securing | LineState::Up | LineState::Ending
                )
                && !line.cut
            {
                self.arm(index);
            }
        }
        self.flush();
        let patience = match self.engine {
            Engine::IoUring => patience,
            // Truncate the wait: epoll rounds up to milliseconds, but due events must not be handled late.
            #[expect(
                clippy::cast_possible_truncation,
                reason = "a turn waits for milliseconds"
            )]
            Engine::Epoll => Duration::from_millis(patience.as_millis() as u64),
        };
        let want = u32::from(self.news.is_empty() && !patience.is_zero());
        self.ring.enter(want, Some(patience))
    }

    pub(crate) fn next(&mut self) -> Option<News> {
        loop {
            if let Some(news) = self.news.pop_front() {
                if let News::Freed(index) = news {
                    // Reuse the number only after all events of the old connection have been taken.
                    self.free.push(index);
                }
                return Some(news);
            }
            match self.ring.next()? {
                Completion::Connected { key, result } => self.connected(index_of(key), result),
                Completion::Received {
                    key,
                    received,
                    more,
                } => {
                    if let Some(news) = self.received(index_of(key), received, more) {
                        return Some(news);
                    }
                }
                Completion::Sent { key, bytes, result } => self.sent(index_of(key), bytes, result),
                Completion::Accepted { .. } | Completion::Rang { .. } | Completion::TimedOut => {}
            }
        }
    }

    /// Passes received bytes to the [`Crew`]. Returns `None` if they contain no application data, or if the connection
    /// does not expect data.
    pub(crate) fn read(
        &mut self,
        index: u32,
        mut lent: Lent,
        crew: &mut Crew,
    ) -> Option<Result<ReceiveOutcome, String>> {
        // Take the line out of the table, because its buffers are written while the crew reads the received bytes in
        // place.
        let mut line = std::mem::take(&mut self.lines[index as usize]);
        if line.out.capacity() == 0 {
            line.out = self.spare.pop().unwrap_or_default();
        }
        let waiting = line.out.len();
        let bytes = self.ring.bytes(&mut lent);
        let mut ready = false;
        let heard = match (&mut line.tls, line.state) {
            (_, LineState::Free | LineState::Connecting | LineState::Ending) => None,
            (None, LineState::Securing | LineState::Up) => Some(
                crew.receive(index, bytes, &mut line.out)
                    .map_err(|error| crew.kind_of(&error)),
            ),
            (Some(tls), LineState::Securing | LineState::Up) => {
                self.plain.clear();
                self.reply.clear();
                let taken = tls.receive(bytes, &mut self.plain, &mut line.out);
                ready = line.state == LineState::Securing && !tls.0.is_handshaking();
                match taken {
                    Err(error) => Some(Err(kind_of(&error))),
                    Ok(()) if self.plain.is_empty() => None,
                    Ok(()) => {
                        let heard = crew.receive(index, &mut self.plain, &mut self.reply);
                        let sent = tls
                            .send(&self.reply, &mut line.out)
                            .map_err(|error| kind_of(&error));
                        Some(sent.and_then(|()| heard.map_err(|error| crew.kind_of(&error))))
                    }
                }
            }
        };
        if ready {
            line.state = LineState::Up;
            self.news.push_back(News::Ready(index));
        }
        // The service does not read our replies (pongs or a close frame).
        let is_unread = line.out.len() > waiting && line.out.len() > OUT_BYTES_MAX;
        let heard = match is_unread {
            true => Some(Err("answers_not_read".into())),
            false => heard,
        };
        self.lines[index as usize] = line;
        self.ring.give_back(lent);
        self.mark(index);
        heard
    }

    pub(crate) fn write(&mut self, index: u32, write: impl FnOnce(&mut Vec<u8>)) {
        let line = &mut self.lines[index as usize];
        if line.state != LineState::Up {
            return;
        }
        if line.out.capacity() == 0 {
            line.out = self.spare.pop().unwrap_or_default();
        }
        match &mut line.tls {
            None => write(&mut line.out),
            Some(tls) => {
                self.reply.clear();
                write(&mut self.reply);
                if let Err(error) = tls.send(&self.reply, &mut line.out) {
                    return self.broken(index, kind_of(&error));
                }
            }
        }
        self.mark(index);
    }

    pub(crate) fn finish(&mut self, index: u32) {
        let line = &mut self.lines[index as usize];
        if line.state != LineState::Free {
            line.state = LineState::Ending;
        }
        self.mark(index);
        self.release(index);
    }

    /// Closes a connection immediately, which also completes its pending operations in the kernel.
    pub(crate) fn cut(&mut self, index: u32) {
        let line = &mut self.lines[index as usize];
        if line.state == LineState::Free {
            return;
        }
        line.state = LineState::Ending;
        line.cut = true;
        if let Some(socket) = &line.socket {
            // Shutting down fails if the peer has already closed the connection.
            let _ = socket.shutdown(Shutdown::Both);
        }
        self.release(index);
    }

    fn broken(&mut self, index: u32, kind: String) {
        if !matches!(
            self.lines[index as usize].state,
            LineState::Free | LineState::Ending
        ) {
            self.news.push_back(News::Broken(index, kind));
        }
        self.cut(index);
    }

    fn connected(&mut self, index: u32, result: io::Result<()>) {
        let line = &mut self.lines[index as usize];
        line.connecting = false;
        if line.state != LineState::Connecting {
            return self.release(index);
        }
        if let Err(error) = result {
            let error = match self.connect_elsewhere(index) {
                Some(Ok(())) => return,
                Some(Err(next)) => next,
                None => error,
            };
            return self.broken(index, kind_of(&error));
        }
        line.state = LineState::Up;
        self.news.push_back(News::Connected(index));
        self.arm(index);
        let route = self.route(index);
        match route.as_ref().and_then(|route| route.tls.as_ref()) {
            None => self.news.push_back(News::Ready(index)),
            Some(client) => {
                let line = &mut self.lines[index as usize];
                line.state = LineState::Securing;
                match client.connect(&mut line.out) {
                    Ok(tls) => line.tls = Some(Box::new(tls)),
                    Err(error) => return self.broken(index, kind_of(&error)),
                }
                self.mark(index);
            }
        }
    }

    fn received(&mut self, index: u32, received: Received, more: bool) -> Option<News> {
        self.lines[index as usize].receiving = more;
        match received {
            Received::Bytes(lent) => {
                if !more {
                    self.rearm.push(index);
                }
                return Some(News::Bytes(index, lent));
            }
            Received::NoBuffers => self.rearm.push(index),
            Received::End | Received::Cancelled => self.broken(index, "ended_early".into()),
            Received::Failed(error) => self.broken(index, kind_of(&error)),
        }
        None
    }

    fn sent(&mut self, index: u32, bytes: Vec<u8>, result: io::Result<usize>) {
        self.lines[index as usize].sending = false;
        self.keep(bytes);
        if let Err(error) = result {
            self.broken(index, kind_of(&error));
        }
        self.mark(index);
        self.release(index);
    }

    fn release(&mut self, index: u32) {
        let line = &mut self.lines[index as usize];
        if line.is_over() {
            if let Some(socket) = &line.socket {
                self.ring.release(socket.as_fd());
            }
            line.clear();
            self.news.push_back(News::Freed(index));
        }
    }

    fn arm(&mut self, index: u32) {
        let line = &mut self.lines[index as usize];
        if let Some(socket) = &line.socket {
            self.ring.receive_many(socket.as_fd(), line.key(index));
            line.receiving = true;
        }
    }

    fn mark(&mut self, index: u32) {
        let line = &mut self.lines[index as usize];
        if line.out.is_empty() {
            let bytes = std::mem::take(&mut line.out);
            self.keep(bytes);
        } else if !line.dirty {
            line.dirty = true;
            self.dirty.push(index);
        }
    }

    fn flush(&mut self) {
        for place in 0..self.dirty.len() {
            let index = self.dirty[place];
            let line = &mut self.lines[index as usize];
            line.dirty = false;
            if !(line.sending || line.connecting || line.cut || line.out.is_empty())
                && let Some(socket) = &line.socket
            {
                let bytes = std::mem::take(&mut line.out);
                self.ring.send(socket.as_fd(), line.key(index), bytes, 0);
                line.sending = true;
            }
        }
        self.dirty.clear();
    }

    fn keep(&mut self, mut bytes: Vec<u8>) {
        if (1..=SPARE_BYTES).contains(&bytes.capacity()) && self.spare.len() < SPARE_MAX {
            bytes.clear();
            self.spare.push(bytes);
        }
    }
}

fn dial(target: SocketAddr, source: Option<Ipv4Addr>) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(target), Type::STREAM.cloexec(), None)?;
    socket.set_tcp_nodelay(true)?;
    if let Some(source) = source {
        // Let the kernel choose the port on connect, so that one port can be used with several targets.
        bind_address_no_port(&socket)?;
        socket.bind(&SocketAddr::from((source, 0)).into())?;
    }
    Ok(socket)
}

/// Maximum number of pending bytes after a reply. Limits memory if the service sends pings but does not read the
/// replies.
const OUT_BYTES_MAX: usize = 256 * 1024;
/// Maximum number of buffers kept for reuse.
const SPARE_MAX: usize = 1024;
/// Maximum size in bytes of a buffer kept for reuse.
const SPARE_BYTES: usize = 256 * 1024;

#[cfg(test)]
mod tests;
