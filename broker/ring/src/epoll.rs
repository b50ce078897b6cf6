//! The epoll engine: the kernel reports readiness, and the ring performs the operations.
//!
//! Theory of operation. Each descriptor is registered once, edge-triggered, for all events. The ring considers a
//! descriptor ready until a system call finds otherwise. Arming, cancelling and rearming therefore only change a slot
//! (`descriptors.rs`) and need no system call:
//! ```text
//!  armed, and known to be ready ──► listed ──► enter: one buffer, one send … in turn ──► completion
//!        ▲                            ▲                     │
//!        │                            └── still ready ──────┤
//!        └───── epoll_wait ◄──────── no longer ready ───────┘
//! ```
//! An enter performs at most one receive and one send per listed slot, even if more data is ready, so a flood on one
//! connection does not delay the others. It does not block while any slot is listed. A receive that does not fill its
//! buffer has read everything except EOF or bytes after urgent data, which the kernel reports before the receive. Sends
//! continue until the socket is full.
//!
//! If an operation is cancelled or cannot be started, its final completion waits for the next
//! [`Ring::enter`](crate::Ring::enter), so that it follows any bytes that were already received.
//!
//! Only the system calls are specific to Linux. kqueue would work too, since it has edge-triggered events (`EV_CLEAR`)
//! and enough user data for a slot.
#![expect(unsafe_code, reason = "descriptors are remembered by their numbers")]

use crate::completion::{Completion, Key, Received};
use crate::descriptors::{DescriptorSet, Place, ReadState, Writing};
use crate::pool::{Filled, Stack};
use crate::ring::RingSettings;
use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, SocketFlags, sockopt};
use socket2::SockRef;
use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

pub(crate) struct Epoll {
    set: OwnedFd,
    descriptors: DescriptorSet,
    pub(crate) pool: Stack,
    sends: HashMap<u32, Sending>,
    listed: VecDeque<Place>,
    completions: VecDeque<Completion>,
    completions_max: usize,
    ended: Vec<Completion>,
    events: Vec<epoll::Event>,
    due: Option<Instant>,
    grown: bool,
}

struct Sending {
    bytes: Vec<u8>,
    from: usize,
    done: usize,
}

impl Epoll {
    pub(crate) fn new(settings: &RingSettings) -> io::Result<Self> {
        Ok(Self {
            set: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            descriptors: DescriptorSet::default(),
            pool: Stack::new(
                settings.buffers,
                settings.buffer_bytes,
                settings.buffers_at_start,
            ),
            sends: HashMap::new(),
            listed: VecDeque::new(),
            completions: VecDeque::new(),
            completions_max: settings.completions as usize,
            ended: Vec::new(),
            events: Vec::with_capacity(EVENTS),
            due: None,
            grown: false,
        })
    }

    #[inline]
    pub(crate) fn next(&mut self) -> Option<Completion> {
        self.completions.pop_front()
    }

    pub(crate) fn has_completions(&self) -> bool {
        !self.completions.is_empty() || !self.ended.is_empty() || !self.listed.is_empty()
    }

    pub(crate) fn add_buffers(&mut self) -> bool {
        if !self.grown {
            let offered = self.pool.buffers.offered;
            self.grown = self.pool.offer(offered.saturating_mul(2));
        }
        self.grown
    }
}

impl Epoll {
    pub(crate) fn accept(&mut self, listener: BorrowedFd<'_>, key: Key) {
        // Accept has no non-blocking flag, so the listener itself must be non-blocking. Errors are ignored here,
        // because the epoll set refuses descriptors that are not sockets.
        let _ = SockRef::from(&listener).set_nonblocking(true);
        self.read(listener, ReadState::Accept, key);
    }

    pub(crate) fn receive_once(&mut self, socket: BorrowedFd<'_>, key: Key) {
        self.read(socket, ReadState::Once, key);
    }

    pub(crate) fn receive_many(&mut self, socket: BorrowedFd<'_>, key: Key) {
        self.read(socket, ReadState::Many, key);
    }

    pub(crate) fn bell(&mut self, eventfd: BorrowedFd<'_>, key: Key) {
        self.read(eventfd, ReadState::Bell, key);
    }

    pub(crate) fn cancel_receive(&mut self, socket: BorrowedFd<'_>, key: Key) {
        for armed in [ReadState::Once, ReadState::Many] {
            if self.cancel_read(socket, armed, key) {
                self.ended.push(received(key, Received::Cancelled, false));
            }
        }
    }

    pub(crate) fn cancel_accept(&mut self, listener: BorrowedFd<'_>, key: Key) {
        if self.cancel_read(listener, ReadState::Accept, key) {
            let error = Errno::CANCELED.into();
            self.ended.push(not_begun(ReadState::Accept, key, error));
        }
    }

    pub(crate) fn cancel_connect(&mut self, socket: BorrowedFd<'_>, key: Key) {
        let Some(slot) = self.descriptors.find(socket.as_raw_fd()) else {
            return;
        };
        let slot = self.descriptors.at(slot);
        if slot.write == Writing::Connect && slot.write_key == key {
            slot.write = Writing::Nothing;
            let result = Err(Errno::CANCELED.into());
            self.ended.push(Completion::Connected { key, result });
        }
    }

    pub(crate) fn send(&mut self, socket: BorrowedFd<'_>, key: Key, bytes: Vec<u8>, from: usize) {
        let rest = bytes.get(from..).map(<[u8]>::len);
        let is_sendable = rest.is_some_and(|rest| u32::try_from(rest).is_ok());
        assert!(is_sendable, "a send is below 4 GiB");
        match self.registered(socket) {
            Ok(slot) => {
                let sending = Sending {
                    bytes,
                    from,
                    done: 0,
                };
                self.sends.insert(slot, sending);
                let armed = self.descriptors.at(slot);
                debug_assert!(armed.write == Writing::Nothing, "one send at a time");
                (armed.write, armed.write_key) = (Writing::Send, key);
                // Tries to send even if the kernel has not reported space, since its last report may be out of date.
                armed.writable = true;
                self.list(slot);
            }
            Err(error) => {
                let result = Err(error);
                self.ended.push(Completion::Sent { key, bytes, result });
            }
        }
    }

    pub(crate) fn connect(&mut self, socket: BorrowedFd<'_>, key: Key, to: SocketAddr) {
        // Connects before registering the socket, because an unconnected socket would report a hang-up.
        let begun = begin_connect(socket, to).and_then(|()| self.registered(socket));
        match begun {
            Ok(slot) => {
                let armed = self.descriptors.at(slot);
                (armed.write, armed.write_key) = (Writing::Connect, key);
                self.list(slot);
            }
            Err(error) => {
                let result = Err(error);
                self.ended.push(Completion::Connected { key, result });
            }
        }
    }

    pub(crate) fn wake_by(&mut self, due: Instant, _now: Instant) {
        if self.due.is_none_or(|armed| due < armed) {
            self.due = Some(due);
        }
    }

    pub(crate) fn release(&mut self, descriptor: BorrowedFd<'_>) {
        if self.descriptors.forget(descriptor.as_raw_fd()).is_some() {
            // Fails only for a descriptor that was never in the set.
            let _ = epoll::delete(&self.set, descriptor);
        }
    }

    fn read(&mut self, fd: BorrowedFd<'_>, reading: ReadState, key: Key) {
        match self.registered(fd) {
            Ok(slot) => {
                let armed = self.descriptors.at(slot);
                debug_assert!(armed.read == ReadState::Nothing, "one at a time");
                (armed.read, armed.read_key) = (reading, key);
                self.list(slot);
            }
            Err(error) => self.ended.push(not_begun(reading, key, error)),
        }
    }

    fn cancel_read(&mut self, fd: BorrowedFd<'_>, reading: ReadState, key: Key) -> bool {
        let Some(slot) = self.descriptors.find(fd.as_raw_fd()) else {
            return false;
        };
        let slot = self.descriptors.at(slot);
        let is_armed = slot.read == reading && slot.read_key == key;
        if is_armed {
            slot.read = ReadState::Nothing;
        }
        is_armed
    }

    fn registered(&mut self, fd: BorrowedFd<'_>) -> io::Result<u32> {
        let number = fd.as_raw_fd();
        if let Some(slot) = self.descriptors.find(number) {
            return Ok(slot);
        }
        let place = self.descriptors.claim(number);
        let data = epoll::EventData::new_u64(place.pack());
        let everything = epoll::EventFlags::IN
            | epoll::EventFlags::OUT
            | epoll::EventFlags::RDHUP
            | epoll::EventFlags::PRI
            | epoll::EventFlags::ET;
        if let Err(error) = epoll::add(&self.set, fd, data, everything) {
            self.descriptors.forget(number);
            return Err(error.into());
        }
        Ok(place.slot)
    }

    fn list(&mut self, slot: u32) {
        let place = self.descriptors.place(slot);
        let slot = self.descriptors.at(slot);
        if !slot.listed && slot.can_be_served() {
            slot.listed = true;
            self.listed.push_back(place);
        }
    }
}

impl Epoll {
    pub(crate) fn enter(&mut self, want: u32, limit: Option<Duration>) -> io::Result<()> {
        self.grown = false;
        self.completions.extend(self.ended.drain(..));
        let want = want as usize;
        let until = match (want, limit) {
            (0, _) => None, // polling only: does not wait
            (_, limit) => limit.and_then(|limit| Instant::now().checked_add(limit)),
        };
        loop {
            let is_due = self.completions.len() >= want || !self.listed.is_empty();
            let wait = if is_due {
                Duration::ZERO
            } else {
                self.wait_until(until)
            };
            let is_interrupted = self.look(wait)?;
            self.serve();
            if self.due.take_if(|due| *due <= Instant::now()).is_some() {
                self.completions.push_back(Completion::TimedOut);
            }
            if self.completions.len() >= want
                || is_interrupted
                || until.is_some_and(|until| until <= Instant::now())
            {
                return Ok(());
            }
        }
    }

    /// Returns how long to wait: until `until` or the armed timeout, whichever is earlier, but at most [`WAIT_MAX`].
    fn wait_until(&self, until: Option<Instant>) -> Duration {
        let next = until.into_iter().chain(self.due).min();
        next.map_or(WAIT_MAX, |next| {
            WAIT_MAX.min(next.saturating_duration_since(Instant::now()))
        })
    }

    /// Polls the kernel, with the timeout rounded up to whole milliseconds. Returns `true` if a signal interrupted it.
    fn look(&mut self, wait: Duration) -> io::Result<bool> {
        let wait = Timespec::try_from(wait).map_err(io::Error::other)?;
        self.events.clear();
        match epoll::wait(&self.set, spare_capacity(&mut self.events), Some(&wait)) {
            Ok(_) => {}
            Err(Errno::INTR) => return Ok(true),
            Err(error) => return Err(error.into()),
        }
        for at in 0..self.events.len() {
            let epoll::Event { flags, data, .. } = self.events[at];
            let place = Place::unpack(data.u64());
            let Some(slot) = self.descriptors.get(place) else {
                continue;
            };
            let has = |any| flags.intersects(any);
            let over = epoll::EventFlags::HUP | epoll::EventFlags::ERR;
            slot.goes_on |= has(over | epoll::EventFlags::RDHUP | epoll::EventFlags::PRI);
            slot.readable |= has(epoll::EventFlags::IN) || slot.goes_on;
            slot.writable |= has(epoll::EventFlags::OUT | over);
            self.list(place.slot);
        }
        Ok(false)
    }

    fn serve(&mut self) {
        for _ in 0..self.listed.len() {
            if self.completions.len() >= self.completions_max {
                return;
            }
            let Some(place) = self.listed.pop_front() else {
                return;
            };
            let Some(slot) = self.descriptors.get(place) else {
                continue; // released in the meantime
            };
            slot.listed = false;
            match slot.read {
                ReadState::Accept if slot.readable => self.accept_some(place.slot),
                ReadState::Once | ReadState::Many if slot.readable => self.receive(place.slot),
                ReadState::Bell if slot.readable => {
                    slot.readable = false; // never read: each write to the bell is an edge
                    let (key, more) = (slot.read_key, true);
                    self.completions.push_back(Completion::Rang { key, more });
                }
                ReadState::Nothing
                | ReadState::Accept
                | ReadState::Once
                | ReadState::Many
                | ReadState::Bell => {}
            }
            let slot = self.descriptors.at(place.slot);
            match slot.write {
                Writing::Send if slot.writable => self.send_on(place.slot),
                Writing::Connect if slot.writable => self.connected(place.slot),
                Writing::Nothing | Writing::Send | Writing::Connect => {}
            }
            self.list(place.slot);
        }
    }

    fn accept_some(&mut self, slot: u32) {
        for _ in 0..ACCEPTS.min(self.completions_max - self.completions.len()) {
            let listener = self.descriptors.at(slot);
            let key = listener.read_key;
            match rustix::net::accept_with(descriptor(listener.fd), SocketFlags::CLOEXEC) {
                Ok(socket) => {
                    // The previous descriptor with this number has been closed.
                    self.descriptors.forget(socket.as_raw_fd());
                    self.completions.push_back(Completion::Accepted {
                        key,
                        socket: Ok(socket),
                        more: true,
                    });
                }
                Err(Errno::AGAIN) => return listener.readable = false,
                Err(Errno::CONNABORTED | Errno::INTR) => {}
                Err(error) => {
                    // Pending connections stay in the backlog until the next accept.
                    listener.read = ReadState::Nothing;
                    let last = not_begun(ReadState::Accept, key, error.into());
                    return self.completions.push_back(last);
                }
            }
        }
    }

    fn receive(&mut self, slot: u32) {
        let slot = self.descriptors.at(slot);
        let (socket, key) = (descriptor(slot.fd), slot.read_key);
        let is_more = slot.read == ReadState::Many;
        let filled = self.pool.fill(|bytes| {
            let received = rustix::net::recv(socket, bytes, RecvFlags::DONTWAIT);
            received.map(|(len, _)| len)
        });
        let (result, more) = match filled {
            Filled::Bytes(lent) => {
                slot.readable = slot.goes_on || self.pool.buffers.fills(&lent);
                (Received::Bytes(lent), is_more)
            }
            Filled::End => (Received::End, false),
            Filled::NoBuffers => (Received::NoBuffers, false),
            Filled::Failed(Errno::AGAIN) => return slot.readable = false,
            Filled::Failed(Errno::INTR) => return,
            Filled::Failed(error) => (Received::Failed(error.into()), false),
        };
        if !more {
            slot.read = ReadState::Nothing;
        }
        self.completions.push_back(received(key, result, more));
    }

    fn send_on(&mut self, slot: u32) {
        let Some(sending) = self.sends.get_mut(&slot) else {
            return debug_assert!(false, "a send that is armed is kept");
        };
        let armed = self.descriptors.at(slot);
        let rest = sending.bytes.get(sending.from + sending.done..);
        let rest = rest.unwrap_or_default();
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        let failed = match rustix::net::send(descriptor(armed.fd), rest, flags) {
            Ok(sent) => {
                sending.done += sent;
                if sent < rest.len() {
                    return; // retried: the kernel reports space only after it has refused a send
                }
                None
            }
            Err(Errno::AGAIN) => return armed.writable = false,
            Err(Errno::INTR) => return,
            Err(error) => Some(error).filter(|_| sending.done == 0),
        };
        armed.write = Writing::Nothing;
        let (key, done) = (armed.write_key, sending.done);
        let bytes = self.sends.remove(&slot).map(|sending| sending.bytes);
        self.completions.push_back(Completion::Sent {
            key,
            bytes: bytes.unwrap_or_default(),
            result: failed.map_or(Ok(done), |error| Err(error.into())),
        });
    }

    fn connected(&mut self, slot: u32) {
        let slot = self.descriptors.at(slot);
        slot.write = Writing::Nothing;
        let asked = sockopt::socket_error(descriptor(slot.fd));
        self.completions.push_back(Completion::Connected {
            key: slot.write_key,
            result: asked.and_then(|result| result).map_err(io::Error::from),
        });
    }
}

fn received(key: Key, received: Received, more: bool) -> Completion {
    Completion::Received {
        key,
        received,
        more,
    }
}

/// Creates the completion of an operation that could not start, or the final completion of one that ended.
fn not_begun(reading: ReadState, key: Key, error: io::Error) -> Completion {
    let more = false;
    match reading {
        ReadState::Accept => Completion::Accepted {
            key,
            socket: Err(error),
            more,
        },
        ReadState::Once | ReadState::Many | ReadState::Nothing => {
            received(key, Received::Failed(error), more)
        }
        ReadState::Bell => Completion::Rang { key, more },
    }
}

fn begin_connect(socket: BorrowedFd<'_>, to: SocketAddr) -> io::Result<()> {
    SockRef::from(&socket).set_nonblocking(true)?;
    match rustix::net::connect(socket, &to) {
        Ok(()) | Err(Errno::INPROGRESS | Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn descriptor<'a>(fd: RawFd) -> BorrowedFd<'a> {
    // SAFETY: the caller has an operation armed on the descriptor and keeps it open until the operation has ended (rule
    // 2 of this crate). The borrow ends with the call.
    unsafe { BorrowedFd::borrow_raw(fd) }
}

/// Maximum number of events per poll. The next poll returns the rest.
const EVENTS: usize = 256;

/// Maximum number of connections that one `enter` accepts from a listener before it moves on to other descriptors.
const ACCEPTS: usize = 64;

/// Maximum wait per system call. Before Linux 5.11, no call could wait for more than 24 days.
const WAIT_MAX: Duration = Duration::from_secs(3600);
