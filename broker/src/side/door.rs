//! Connections of the admin listener: a bounded number, each for a bounded time and one request.
//!
//! Clients' descriptors are counted apart from these, so neither can take those of the other. When all places are
//! taken, the oldest connection of the address that has most makes room ([`Crowd`]): without a token callers cannot be
//! distinguished, and an operator's request takes milliseconds.
//!
//! Devices of the local network (`--lan`) have a door of their own: shards pass their connections on, each with a place
//! that it keeps to its end ([`Visits`]).
//!
//! A connection that became an event stream gives up its place and its descriptor of these: streams have a bound of
//! their own. It lives for as long as its peer reads.

use super::limits::{
    ADMIN_CONNECTIONS_FEW, ADMIN_CONNECTIONS_MAX, ADMIN_FILES_MIN, ADMIN_UNREAD_BYTES_MAX,
    LAN_CONNECTIONS_MAX, STREAMS_MAX,
};
use super::process::open_files_max;
use super::shared::Shared;
use super::unread::{Hold, Unread};
use super::visits::Visits;
use broker_core::crowd::{Crowd, Origin, canonical};
use broker_core::time::Now;
use socket2::SockRef;
use std::collections::BTreeMap;
use std::future::{pending, poll_fn};
use std::io::{self, IoSlice};
use std::net::{Shutdown, SocketAddr};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep, sleep, sleep_until};

/// Descriptors of connections that made room and are on their way out. Further ones wait in the backlog.
const LEAVING_MAX: usize = 8;

/// How many connections may be inside at a time, of a process that may have this many descriptors.
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
    let of_lan = if lan { LAN_CONNECTIONS_MAX } else { 0 };
    places(open_files) + LEAVING_MAX + STREAMS_MAX + of_lan
}

/// From a connection's beginning to its end. The slowest answer is that to a scrape which waits behind others of a
/// shard that does not answer, a second each.
const LIFE: Duration = Duration::from_secs(30);

/// Bytes of an answer that give its connection a second more, up to [`LIFE`] from then on: a backup takes as long as
/// it is large, if the client reads it.
const BYTES_PER_SECOND_MIN: u64 = 64 * 1024;

/// How long nothing is accepted after an error that is not of one connection.
const ACCEPT_REST: Duration = Duration::from_secs(1);

/// Where connections come from.
enum Source {
    /// The admin listener: its sockets are one, whatever their addresses.
    Listeners(Vec<TcpListener>),
    /// The shards.
    Shards(Visits),
}

/// A source of connections with its bounds.
pub(super) struct Door {
    source: Source,
    opened: Instant,
    next: u64,
    life: Duration,
    places: usize,
    descriptors: Arc<Semaphore>,
    unread: Unread,
    inside: Inside,
    /// What visitors report: twice each at most, so that there are few when the next one is let in.
    reports: UnboundedReceiver<Report>,
    reporting: UnboundedSender<Report>,
}

#[derive(Default)]
struct Inside {
    crowd: Crowd<u64>,
    /// By number: the oldest first.
    sockets: BTreeMap<u64, Weak<TcpStream>>,
}

/// What becomes of the connection of this number.
enum Report {
    Spoke(u64),
    Left(u64),
}

/// One connection inside.
pub(super) struct Visitor {
    number: u64,
    socket: Arc<TcpStream>,
    spoke: bool,
    seat: Seat,
    /// Whether it has given up its place.
    streams: bool,
    life: Duration,
    end: Pin<Box<Sleep>>,
    reporting: UnboundedSender<Report>,
    descriptor: Option<OwnedSemaphorePermit>,
    /// Of a device of the local network; free when this is dropped.
    _place: Option<OwnedSemaphorePermit>,
}

/// A connection as the answers to its request see it.
#[derive(Clone, Debug)]
pub(super) struct Seat {
    remote: SocketAddr,
    of_lan: bool,
    socket: Weak<TcpStream>,
    streams: Arc<AtomicBool>,
    unread: Unread,
    /// The answer, until the connection ends.
    answer: Shared<Option<Hold>>,
}

impl Seat {
    /// The other end.
    pub(super) fn remote(&self) -> SocketAddr {
        self.remote
    }

    /// Whether a shard passed the connection on: it came over TLS, and is never treated like one of loopback.
    pub(super) fn is_of_lan(&self) -> bool {
        self.of_lan
    }

    /// From here on the connection is an event stream, which has a place elsewhere.
    pub(super) fn becomes_a_stream(&self) {
        self.streams.store(true, Ordering::Relaxed);
    }

    /// Counts bytes that wait for the other end, until the result is dropped.
    pub(super) fn holds(&self, bytes: usize) -> Hold {
        self.unread.hold(&self.socket, bytes)
    }

    /// Counts the bytes of the answer, until the connection ends.
    pub(super) fn answers(&self, bytes: usize) {
        *self.answer.lock() = Some(self.holds(bytes));
    }
}

impl Door {
    pub(super) fn new(listeners: Vec<TcpListener>) -> Self {
        let files = usize::try_from(open_files_max()).unwrap_or(usize::MAX);
        Self::with(Source::Listeners(listeners), LIFE, places(files))
    }

    /// That of devices of the local network.
    pub(super) fn of_lan(visits: Visits) -> Self {
        Self::with(Source::Shards(visits), LIFE, LAN_CONNECTIONS_MAX)
    }

    fn with(source: Source, life: Duration, places: usize) -> Self {
        let (reporting, reports) = unbounded_channel();
        Self {
            source,
            opened: Instant::now(),
            next: 0,
            life,
            places,
            descriptors: Arc::new(Semaphore::new(places + LEAVING_MAX)),
            unread: Unread::new(ADMIN_UNREAD_BYTES_MAX),
            inside: Inside::default(),
            reports,
            reporting,
        }
    }

    /// The next one that comes in.
    pub(super) async fn accept(&mut self) -> Visitor {
        // Never closed, so there is one in the end.
        let descriptor = Arc::clone(&self.descriptors).acquire_owned().await.ok();
        let (socket, from, place) = match &mut self.source {
            Source::Listeners(listeners) => {
                let (socket, from) = next_of(listeners, self.next).await;
                (socket, canonical(from), None)
            }
            Source::Shards(visits) => match visits.next().await {
                Some((socket, from, place)) => (socket, from, Some(place)),
                None => pending().await, // all shards have ended, and the process ends
            },
        };
        self.admit(socket, from, place, descriptor)
    }

    fn admit(
        &mut self,
        socket: TcpStream,
        from: SocketAddr,
        place: Option<OwnedSemaphorePermit>,
        descriptor: Option<OwnedSemaphorePermit>,
    ) -> Visitor {
        let origin = Origin::of(from.ip());
        let now = Now(u64::try_from(self.opened.elapsed().as_millis()).unwrap_or(u64::MAX));
        let socket = Arc::new(socket);
        self.next += 1;
        while let Ok(report) = self.reports.try_recv() {
            self.inside.note(&report);
        }
        let inside = &mut self.inside;
        if inside.sockets.len() >= self.places {
            inside.make_room(origin, now);
        }
        inside.crowd.enter(self.next, origin, now);
        let weak = Arc::downgrade(&socket);
        inside.sockets.insert(self.next, Weak::clone(&weak));
        Visitor {
            number: self.next,
            socket,
            spoke: false,
            seat: Seat {
                remote: from,
                of_lan: place.is_some(),
                socket: weak,
                streams: Arc::default(),
                unread: self.unread.clone(),
                answer: Shared::default(),
            },
            streams: false,
            life: self.life,
            end: Box::pin(sleep_until(Instant::now() + self.life)),
            reporting: self.reporting.clone(),
            descriptor,
            _place: place,
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

impl Inside {
    fn note(&mut self, report: &Report) {
        match report {
            Report::Spoke(number) => self.crowd.spoke(*number),
            Report::Left(number) => {
                self.crowd.leave(*number);
                self.sockets.remove(number);
            }
        }
    }

    fn make_room(&mut self, origin: Origin, now: Now) {
        let oldest = || self.sockets.first_key_value().map(|(&number, _)| number);
        let victim = self.crowd.victim(origin, now);
        let own = || self.crowd.first_of(origin);
        let Some(victim) = victim.or_else(own).or_else(oldest) else {
            return;
        };
        self.crowd.leave(victim);
        if let Some(socket) = self.sockets.remove(&victim).and_then(|weak| weak.upgrade()) {
            // Its task reads the end, or fails to write, and closes the descriptor.
            let _ = SockRef::from(&*socket).shutdown(Shutdown::Both);
        }
    }
}

impl Visitor {
    pub(super) fn seat(&self) -> Seat {
        self.seat.clone()
    }

    /// The end of its time is an error of whatever it does.
    fn in_time(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        if !self.streams && self.seat.streams.load(Ordering::Relaxed) {
            self.streams = true;
            self.descriptor = None;
            let _ = self.reporting.send(Report::Left(self.number));
        }
        match self.end.as_mut().poll(context) {
            Poll::Pending => Ok(()),
            Poll::Ready(()) => Err(io::ErrorKind::TimedOut.into()),
        }
    }

    fn write(
        &mut self,
        context: &mut Context<'_>,
        write: impl Fn(&TcpStream) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        self.in_time(context)?;
        loop {
            ready!(self.socket.poll_write_ready(context))?;
            match write(&self.socket) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                written => {
                    self.prolong(written.as_ref().map_or(0, |bytes| *bytes));
                    return Poll::Ready(written);
                }
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

impl AsyncRead for Visitor {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.in_time(context)?;
        loop {
            ready!(this.socket.poll_read_ready(context))?;
            match this.socket.try_read(buffer.initialize_unfilled()) {
                Ok(read) => {
                    buffer.advance(read);
                    if !std::mem::replace(&mut this.spoke, true) {
                        let _ = this.reporting.send(Report::Spoke(this.number));
                    }
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

impl AsyncWrite for Visitor {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.get_mut()
            .write(context, |socket| socket.try_write(bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.get_mut()
            .write(context, |socket| socket.try_write_vectored(parts))
    }

    /// So an answer is in memory once: it is not copied behind its head.
    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(SockRef::from(&*self.socket).shutdown(Shutdown::Write))
    }
}

impl Drop for Visitor {
    fn drop(&mut self) {
        if !self.streams {
            // A door that is gone lets nobody in.
            let _ = self.reporting.send(Report::Left(self.number));
        }
    }
}

#[cfg(test)]
mod tests;
