//! The connections of the admin listener. Their number and duration are limited, and each serves one request.
//!
//! Descriptors for admin connections and for client connections are counted separately, so neither side can exhaust the
//! other's. When all slots are taken, the oldest connection from the address with the most connections is evicted
//! ([`Inside`]). Without a token, callers can be told apart only by their addresses, and an operator's request takes
//! only milliseconds.
//!
//! Connections from devices on the local network (`--lan`) arrive through the [`Visits`] queue. A shard reserves a slot
//! for each connection that it adds to the queue. The slot is released when the connection is closed.
//!
//! A connection that becomes an event stream gives up its slot and descriptor, since the number of streams is limited
//! separately. A stream stays open for as long as its peer reads.

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

fn places(open_files: usize) -> usize {
    if open_files < ADMIN_FILES_MIN {
        ADMIN_CONNECTIONS_FEW
    } else {
        ADMIN_CONNECTIONS_MAX
    }
}

/// Returns the number of descriptors needed for admin connections, including event streams and, under `--lan`,
/// connections from the local network. `open_files` is the descriptor limit.
#[must_use]
pub fn admin_descriptors(open_files: usize, lan: bool) -> usize {
    let of_lan = if lan {
        LAN_CONNECTIONS_MAX + LEAVING_MAX
    } else {
        0
    };
    places(open_files) + LEAVING_MAX + STREAMS_MAX + of_lan
}

/// Lifetime of a connection. The slowest requests are scrapes that wait for other scrapes while a shard hangs, since
/// each scrape then takes a second.
const LIFE: Duration = Duration::from_secs(30);

/// Number of response bytes that a client must read to extend its connection's deadline by one second. The deadline is
/// never more than [`LIFE`] ahead. A large backup may therefore take longer than [`LIFE`] as long as its client keeps
/// reading.
const BYTES_PER_SECOND_MIN: u64 = 64 * 1024;

/// Pause before the next accept after an error that was not caused by a particular connection.
const ACCEPT_REST: Duration = Duration::from_secs(1);

enum Source {
    /// The sockets of the admin listener, polled together.
    Listeners {
        sockets: Vec<TcpListener>,
        inside: Inside,
        descriptors: Arc<Semaphore>,
        accepted: u64,
    },
    /// The queue of connections from shards, which have already reserved a slot for each of them.
    Shards(Visits),
}

pub(crate) struct Door {
    source: Source,
    life: Duration,
    unread: Unread,
}

pub(crate) struct Visitor {
    socket: Arc<TcpStream>,
    /// The TLS engine of a connection that a shard handed over.
    secured: Option<Secured>,
    spoke: bool,
    seat: Seat,
    /// Whether the connection has become an event stream.
    streams: bool,
    life: Duration,
    end: Pin<Box<Sleep>>,
    /// The connection's slot and descriptor permit. `None` for an event stream of the admin listener, since such
    /// streams have a separate limit.
    held: Option<(Place, OwnedSemaphorePermit)>,
}

#[derive(Clone, Debug)]
pub(crate) struct Seat {
    remote: SocketAddr,
    of_lan: bool,
    line: Line,
    streams: Arc<AtomicBool>,
    unread: Unread,
    /// Counts the bytes of the response as unread until the connection is closed.
    answer: Shared<Option<Hold>>,
}

impl Seat {
    pub(crate) fn stream(&self) -> Option<Line> {
        let streams = self.streams.load(Ordering::Relaxed);
        streams.then(|| self.line.clone())
    }

    pub(crate) fn remote(&self) -> SocketAddr {
        self.remote
    }

    /// Returns whether a shard handed the connection over. Such a connection uses TLS and does not count as coming from
    /// loopback.
    pub(crate) fn is_of_lan(&self) -> bool {
        self.of_lan
    }

    /// Marks the connection as an event stream, to which a separate limit applies.
    pub(crate) fn becomes_a_stream(&self) {
        self.streams.store(true, Ordering::Relaxed);
    }

    /// Counts bytes as unread until the returned guard is dropped.
    pub(crate) fn holds(&self, bytes: usize) -> Hold {
        self.unread.hold(&self.line, bytes)
    }

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

    pub(crate) async fn accept(&mut self) -> Visitor {
        let of_lan = matches!(self.source, Source::Shards(_));
        let (socket, from, held, secured) = match &mut self.source {
            Source::Listeners {
                sockets,
                inside,
                descriptors,
                accepted,
            } => {
                // The semaphore is never closed, so this always obtains a permit.
                let descriptor = Arc::clone(descriptors).acquire_owned().await.ok();
                let (socket, from) = next_of(sockets, *accepted).await;
                *accepted += 1;
                let from = canonical(from);
                let place = inside.enter(Origin::of(from.ip()));
                let held = descriptor.map(|one| (place, one));
                (Arc::new(socket), from, held, None)
            }
            Source::Shards(visits) => match visits.next().await {
                Some((socket, from, held, secured)) => (socket, from, Some(held), Some(secured)),
                None => pending().await, // all shards have ended, and the process is about to exit
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

/// Waits for a connection on any of the sockets. `turn` selects the socket that is polled first.
async fn next_of(listeners: &[TcpListener], turn: u64) -> (TcpStream, SocketAddr) {
    let first = turn % listeners.len().max(1) as u64;
    let (back, front) = listeners.split_at(usize::try_from(first).unwrap_or(0));
    let poll = |context: &mut Context<'_>| {
        let all = front.iter().chain(back);
        let mut polled = all.map(|listener| listener.poll_accept(context));
        polled.find(Poll::is_ready).unwrap_or(Poll::Pending)
    };
    loop {
        match poll_fn(poll).await {
            Ok(accepted) => return accepted,
            Err(error) if is_of_the_peer(&error) => {}
            // Descriptors or memory have run out, so pause before the next attempt.
            Err(_) => sleep(ACCEPT_REST).await,
        }
    }
}

/// Returns whether accepting failed because the peer had already closed the connection. The next accept may succeed.
fn is_of_the_peer(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
    )
}

impl Visitor {
    /// Fails once the deadline of the connection has passed.
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

    fn receive(&self, context: &mut Context<'_>, to: &mut [u8]) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.socket.poll_read_ready(context))?;
            match self.socket.try_read(to) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                read => return Poll::Ready(read),
            }
        }
    }

    /// Extends the deadline in proportion to the number of response bytes sent. For an event stream, sets the deadline
    /// to a full lifetime from now instead.
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

// I/O on a connection that a shard handed over.

impl Visitor {
    fn poll_secured(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut received = [0; RECEIVED_BYTES];
        loop {
            // Input can be read even while output is waiting to be sent.
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

    /// Encrypts bytes and sends as many as the socket accepts. Bytes left over from earlier calls are sent first.
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

    /// Sends pending encrypted bytes. Does nothing on a connection that the admin listener accepted.
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

const RECEIVED_BYTES: usize = 8 << 10;

/// Maximum number of bytes to encrypt at once, which is the maximum size of a TLS record.
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

    /// Head and body are sent in a single vectored write, so only one copy of a response is in memory.
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

// Serves connections with the routes. Limits the size of the request head and the time to receive it.

pub(crate) async fn serve(mut door: Door, routes: Router) {
    loop {
        let visitor = door.accept().await;
        tokio::spawn(one(visitor, routes.clone()));
    }
}

async fn one(visitor: Visitor, routes: Router) {
    let seat = visitor.seat.clone();
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
    // Failures are not logged, since the peer already knows about them.
    let _ = connection.await;
}

/// Time limit for receiving the request head, measured from when the connection was accepted.
const HEAD_WITHIN: Duration = Duration::from_secs(10);

// Connections that shards hand over under `--lan`. They belong to clients of a TLS listener that request pages.
//
// The shard has read the request and hands over the whole connection, which holds a slot while it is served. If no slot
// is free, a connection from the address with the most connections is evicted. If the new connection's address would
// then have as many connections as that address, nothing is evicted, and the shard responds with 503.

/// Connections that shards have handed over and that have not been served yet.
pub struct Visits(Receiver<Passed>);

struct Passed {
    visiting: Visiting,
    held: Held,
}

type Held = (Place, OwnedSemaphorePermit);

/// Creates the function that shards call to hand over connections, and the queue from which these connections are
/// served.
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
    /// Waits for the next connection. Returns `None` once all shards have stopped.
    async fn next(&mut self) -> Option<(Arc<TcpStream>, SocketAddr, Held, Secured)> {
        loop {
            let Passed { visiting, held } = self.0.recv().await?;
            let socket = std::net::TcpStream::from(visiting.socket);
            let opened = socket.set_nonblocking(true);
            if let Ok(socket) = opened.and_then(|()| TcpStream::from_std(socket)) {
                return Some((Arc::new(socket), visiting.remote, held, visiting.secured));
            }
        }
    }
}

#[cfg(test)]
mod tests;
