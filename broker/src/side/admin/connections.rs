//! Connections of the admin listener: a bounded number, each for a bounded time and one request.
//!
//! Clients' descriptors are counted apart from these, so neither can take those of the other. When all places are
//! taken, the oldest connection of the address that has most makes room ([`Inside`]): without a token callers cannot be
//! distinguished, and an operator's request takes milliseconds.
//!
//! Devices of the local network (`--lan`) have a door of their own: shards pass their connections on, each with a place
//! that it keeps to its end ([`Visits`]).
//!
//! A connection that became an event stream gives up its place and its descriptor of these: streams have a bound of
//! their own. It lives for as long as its peer reads.

use crate::edge::{Secured, TakeAdmin, Visiting};
use crate::limits::{
    ADMIN_CONNECTIONS_FEW, ADMIN_CONNECTIONS_MAX, ADMIN_FILES_MIN, ADMIN_HEAD_BYTES_MAX,
    ADMIN_UNREAD_BYTES_MAX, LAN_CONNECTIONS_MAX, LEAVING_MAX, STREAMS_MAX,
};
use crate::side::admin::connection_limits::{Hold, Inside, Line, Place, Unread};
use crate::side::{process::open_files_max, shared_state::Shared};
use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::Request;
use broker_core::address_shares::{Origin, canonical};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use socket2::SockRef;
use std::future::{pending, poll_fn};
use std::io::{self, IoSlice};
use std::net::{Shutdown, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{Receiver, channel};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep, sleep, sleep_until};

/// Connections that may be inside at a time, of a process that may have this many descriptors.
fn places(open_files: usize) -> usize {
    if open_files < ADMIN_FILES_MIN {
        ADMIN_CONNECTIONS_FEW
    } else {
        ADMIN_CONNECTIONS_MAX
    }
}

/// Descriptors of the admin listener's connections, of a process that may have this many: those of event streams too,
/// and under `--lan` those of the local network.
#[must_use]
pub fn admin_descriptors(open_files: usize, lan: bool) -> usize {
    let of_lan = if lan {
        LAN_CONNECTIONS_MAX + LEAVING_MAX
    } else {
        0
    };
    places(open_files) + LEAVING_MAX + STREAMS_MAX + of_lan
}

/// From a connection's beginning to its end. The slowest answer is that to a scrape which waits behind others of a
/// shard that does not answer, a second each.
const LIFE: Duration = Duration::from_secs(30);

/// Bytes of an answer that give its connection a second more, up to [`LIFE`] from then on: a backup takes as long as
/// it is large, if the client reads it.
const BYTES_PER_SECOND_MIN: u64 = 64 * 1024;

/// The pause in accepting after an error that is not of one connection.
const ACCEPT_REST: Duration = Duration::from_secs(1);

/// The origin of connections.
enum Source {
    /// The admin listener: its sockets are one, whatever their addresses.
    Listeners {
        sockets: Vec<TcpListener>,
        inside: Inside,
        descriptors: Arc<Semaphore>,
        accepted: u64,
    },
    /// The shards, which found places.
    Shards(Visits),
}

/// A source of connections with its bounds.
pub(crate) struct Door {
    source: Source,
    life: Duration,
    unread: Unread,
}

/// One connection inside.
pub(crate) struct Visitor {
    socket: Arc<TcpStream>,
    /// TLS engine, of a connection that a shard passed on.
    secured: Option<Secured>,
    spoke: bool,
    seat: Seat,
    /// Whether it is an event stream.
    streams: bool,
    life: Duration,
    end: Pin<Box<Sleep>>,
    /// Place and descriptor, which streams of the admin listener have elsewhere.
    held: Option<(Place, OwnedSemaphorePermit)>,
}

/// A connection as the answers to its request see it.
#[derive(Clone, Debug)]
pub(crate) struct Seat {
    remote: SocketAddr,
    of_lan: bool,
    line: Line,
    streams: Arc<AtomicBool>,
    unread: Unread,
    /// The answer, until the connection ends.
    answer: Shared<Option<Hold>>,
}

impl Seat {
    /// The connection as an event stream, if it is one.
    pub(crate) fn stream(&self) -> Option<Line> {
        let streams = self.streams.load(Ordering::Relaxed);
        streams.then(|| self.line.clone())
    }

    /// The other end.
    pub(crate) fn remote(&self) -> SocketAddr {
        self.remote
    }

    /// Whether a shard passed the connection on: it came over TLS, and is never treated like one of loopback.
    pub(crate) fn is_of_lan(&self) -> bool {
        self.of_lan
    }

    /// From here on the connection is an event stream, which has a place elsewhere.
    pub(crate) fn becomes_a_stream(&self) {
        self.streams.store(true, Ordering::Relaxed);
    }

    /// Counts bytes that wait for the other end, until the result is dropped.
    pub(crate) fn holds(&self, bytes: usize) -> Hold {
        self.unread.hold(&self.line, bytes)
    }

    /// Counts the bytes of the answer, until the connection ends.
    pub(crate) fn answers(&self, bytes: usize) {
        *self.answer.lock() = Some(self.holds(bytes));
    }
}

impl Door {
    pub(crate) fn new(listeners: Vec<TcpListener>) -> Self {
        let files = usize::try_from(open_files_max()).unwrap_or(usize::MAX);
        Self::of(listeners, LIFE, places(files))
    }

    fn of(sockets: Vec<TcpListener>, life: Duration, places: usize) -> Self {
        let source = Source::Listeners {
            sockets,
            inside: Inside::new(places),
            descriptors: Arc::new(Semaphore::new(places + LEAVING_MAX)),
            accepted: 0,
        };
        Self::with(source, life)
    }

    /// Connections of devices of the local network.
    pub(crate) fn of_lan(visits: Visits) -> Self {
        Self::with(Source::Shards(visits), LIFE)
    }

    fn with(source: Source, life: Duration) -> Self {
        Self {
            source,
            life,
            unread: Unread::new(ADMIN_UNREAD_BYTES_MAX),
        }
    }

    /// The next one that comes in.
    pub(crate) async fn accept(&mut self) -> Visitor {
        let of_lan = matches!(self.source, Source::Shards(_));
        let (socket, from, held, secured) = match &mut self.source {
            Source::Listeners {
                sockets,
                inside,
                descriptors,
                accepted,
            } => {
                // Never closed, so there is one in the end.
                let descriptor = Arc::clone(descriptors).acquire_owned().await.ok();
                let (socket, from) = next_of(sockets, *accepted).await;
                *accepted += 1;
                let from = canonical(from);
                let place = inside.enter(Origin::of(from.ip()));
                let held = descriptor.map(|one| (place, one));
                (Arc::new(socket), from, held, None)
            }
            Source::Shards(visits) => match visits.next().await {
                Some(Visit {
                    socket,
                    remote,
                    secured,
                    held,
                }) => (Arc::new(socket), remote, Some(held), Some(secured)),
                None => pending().await, // all shards have ended, and the process ends
            },
        };
        let line = Line::of(&socket);
        if let Some((place, _)) = &held {
            place.has(line.clone());
        }
        let seat = Seat {
            remote: from,
            of_lan,
            line,
            streams: Arc::default(),
            unread: self.unread.clone(),
            answer: Shared::default(),
        };
        Visitor {
            socket,
            secured,
            spoke: false,
            seat,
            streams: false,
            life: self.life,
            end: Box::pin(sleep_until(Instant::now() + self.life)),
            held,
        }
    }
}

/// The next connection of the admin listener.
async fn next_of(listeners: &[TcpListener], turn: u64) -> (TcpStream, SocketAddr) {
    loop {
        match poll_fn(|context| poll_next(listeners, turn, context)).await {
            Ok(accepted) => return accepted,
            Err(error) if is_of_the_peer(&error) => {}
            // No descriptor, or no memory: there may be some later.
            Err(_) => sleep(ACCEPT_REST).await,
        }
    }
}

/// A connection of any socket; they take turns at being first.
fn poll_next(
    listeners: &[TcpListener],
    turn: u64,
    context: &mut Context<'_>,
) -> Poll<io::Result<(TcpStream, SocketAddr)>> {
    let first = turn % listeners.len().max(1) as u64;
    let (back, front) = listeners.split_at(usize::try_from(first).unwrap_or(0));
    for listener in front.iter().chain(back) {
        if let Poll::Ready(accepted) = listener.poll_accept(context) {
            return Poll::Ready(accepted);
        }
    }
    Poll::Pending
}

/// Whether a connection ended before it was accepted: the next one may be fine.
fn is_of_the_peer(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
    )
}

impl Visitor {
    pub(crate) fn seat(&self) -> Seat {
        self.seat.clone()
    }

    /// The end of its time is an error of whatever it does.
    fn in_time(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        if !self.streams && self.seat.streams.load(Ordering::Relaxed) {
            self.streams = true;
            if !self.seat.of_lan {
                self.held = None;
            }
        }
        match self.end.as_mut().poll(context) {
            Poll::Pending => Ok(()),
            Poll::Ready(()) => Err(io::ErrorKind::TimedOut.into()),
        }
    }

    /// Writes what the socket takes of an answer, or of what was encrypted.
    fn write(
        &mut self,
        context: &mut Context<'_>,
        write: impl Fn(&TcpStream, Option<&Secured>) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        self.in_time(context)?;
        loop {
            ready!(self.socket.poll_write_ready(context))?;
            match write(&self.socket, self.secured.as_ref()) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                written => {
                    self.prolong(written.as_ref().map_or(0, |bytes| *bytes));
                    return Poll::Ready(written);
                }
            }
        }
    }

    /// Receives bytes, or the end.
    fn receive(&self, context: &mut Context<'_>, to: &mut [u8]) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.socket.poll_read_ready(context))?;
            match self.socket.try_read(to) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                read => return Poll::Ready(read),
            }
        }
    }

    /// Moves the end away for what was taken of an answer; that of a stream, by a whole life.
    fn prolong(&mut self, bytes: usize) {
        if self.streams && bytes > 0 {
            self.end.as_mut().reset(Instant::now() + self.life);
            return;
        }
        let earned = Duration::from_secs(1) * u32::try_from(bytes).unwrap_or(u32::MAX);
        let earned = earned / u32::try_from(BYTES_PER_SECOND_MIN).unwrap_or(u32::MAX);
        let end = (self.end.deadline() + earned).min(Instant::now() + self.life);
        if end > self.end.deadline() {
            self.end.as_mut().reset(end);
        }
    }
}

// The bytes of a connection that a shard passed on.

impl Visitor {
    /// Reads decrypted bytes, or the end.
    fn poll_secured(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut received = [0; RECEIVED_BYTES];
        loop {
            // What the engine has to say need not be taken before more is read.
            let _ = self.flush_secured(context)?;
            let Some(secured) = &mut self.secured else {
                return Poll::Ready(Ok(()));
            };
            let ready = secured.plain.len().min(buffer.remaining());
            if ready > 0 || secured.has_ended {
                buffer.put_slice(&secured.plain[..ready]);
                secured.plain.drain(..ready);
                return Poll::Ready(Ok(()));
            }
            let read = ready!(self.receive(context, &mut received))?;
            if let Some(secured) = &mut self.secured {
                secured.received(&mut received[..read])?;
            }
        }
    }

    /// Encrypts some bytes and sends what the socket takes of them; the rest goes before any others.
    fn write_secured(
        &mut self,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.flush_secured(context))?;
        let mut taken = 0;
        for part in parts {
            let piece = &part[..part.len().min(PIECE_BYTES - taken)];
            if let Some(secured) = &mut self.secured {
                secured.encrypt(piece)?;
            }
            taken += piece.len();
        }
        let _ = self.flush_secured(context)?;
        Poll::Ready(Ok(taken))
    }

    /// Sends what was encrypted; nothing on a connection of the admin listener.
    fn flush_secured(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.in_time(context)?;
        let unsent = |secured: Option<&Secured>| secured.is_some_and(|it| !it.unsent().is_empty());
        while unsent(self.secured.as_ref()) {
            let sent = ready!(self.write(context, |socket, secured| {
                socket.try_write(secured.map_or(&[], Secured::unsent))
            }))?;
            if let Some(secured) = &mut self.secured {
                secured.sent(sent);
            }
        }
        Poll::Ready(Ok(()))
    }
}

/// Bytes received at a time.
const RECEIVED_BYTES: usize = 8 << 10;

/// Bytes encrypted at a time: the most of a record.
const PIECE_BYTES: usize = 16 << 10;

impl AsyncRead for Visitor {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.in_time(context)?;
        if this.secured.is_some() {
            ready!(this.poll_secured(context, buffer))?;
        } else {
            let read = ready!(this.receive(context, buffer.initialize_unfilled()))?;
            buffer.advance(read);
        }
        if !std::mem::replace(&mut this.spoke, true)
            && let Some((place, _)) = &this.held
        {
            place.spoke();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Visitor {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(context, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.secured.is_some() {
            return this.write_secured(context, parts);
        }
        this.write(context, |socket, _| socket.try_write_vectored(parts))
    }

    /// So an answer is in memory once: it is not copied behind its head.
    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().flush_secured(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if let Some(secured) = &mut this.secured {
            secured.notify_close()?;
        }
        ready!(this.flush_secured(context))?;
        Poll::Ready(SockRef::from(&*this.socket).shutdown(Shutdown::Write))
    }
}

// The admin listener's connections, each served by the routes: a bounded head, within a bounded time.

/// Serves who comes in, forever.
pub(crate) async fn serve(mut door: Door, routes: Router) {
    loop {
        let visitor = door.accept().await;
        tokio::spawn(one(visitor, routes.clone()));
    }
}

async fn one(visitor: Visitor, routes: Router) {
    let seat = visitor.seat();
    let routes = TowerToHyperService::new(routes);
    let service = service_fn(move |request: Request<Incoming>| {
        let mut request = request.map(Body::new);
        let seat = ConnectInfo(seat.clone());
        request.extensions_mut().insert(seat);
        routes.call(request)
    });
    let connection = http1::Builder::new()
        .max_buf_size(ADMIN_HEAD_BYTES_MAX)
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_WITHIN)
        .serve_connection(TokioIo::new(visitor), service);
    // One that breaks is nothing to tell anybody of: its peer knows.
    let _ = connection.await;
}

/// From a connection's beginning to the end of its head.
const HEAD_WITHIN: Duration = Duration::from_secs(10);

// Connections that shards pass on: clients of a TLS listener that ask for pages, under `--lan`.
//
// A shard has read the request, and gives all that it has of the connection. A place is kept for as long as that is
// served. When none is left, the address with most makes room for others; to that one the shard answers 503.

/// Connections that shards have passed on and nobody serves yet.
pub struct Visits(Receiver<Passed>);

/// Such a connection.
struct Passed {
    visiting: Visiting,
    held: Held,
}

/// A place, and a descriptor of those that may be in use.
type Held = (Place, OwnedSemaphorePermit);

/// A connection of a client at this address, and what it has.
pub(crate) struct Visit {
    pub(crate) socket: TcpStream,
    pub(crate) remote: SocketAddr,
    pub(crate) secured: Secured,
    pub(crate) held: Held,
}

/// Both ends: what shards call, and what is served.
#[must_use]
pub fn visits() -> (TakeAdmin, Visits) {
    let (passed, visits) = channel(LAN_CONNECTIONS_MAX);
    let descriptors = Arc::new(Semaphore::new(LAN_CONNECTIONS_MAX + LEAVING_MAX));
    let inside = Inside::new(LAN_CONNECTIONS_MAX);
    let take = move |visiting: Visiting| {
        let Ok(descriptor) = Arc::clone(&descriptors).try_acquire_owned() else {
            return Err(visiting);
        };
        let Some(place) = inside.enter_if_fair(Origin::of(visiting.remote.ip())) else {
            return Err(visiting);
        };
        let held = (place, descriptor);
        let sent = passed.try_send(Passed { visiting, held });
        sent.map_err(|refused| refused.into_inner().visiting)
    };
    (Arc::new(take), Visits(visits))
}

impl Visits {
    /// The next one; `None` when no shard is left.
    pub(crate) async fn next(&mut self) -> Option<Visit> {
        loop {
            let Passed { visiting, held } = self.0.recv().await?;
            let socket = std::net::TcpStream::from(visiting.socket);
            let opened = socket.set_nonblocking(true);
            if let Ok(socket) = opened.and_then(|()| TcpStream::from_std(socket)) {
                return Some(Visit {
                    socket,
                    remote: visiting.remote,
                    secured: visiting.secured,
                    held,
                });
            }
        }
    }
}

#[cfg(test)]
mod tests;
