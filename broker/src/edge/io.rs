//! Input and output of a shard, which all its parts use: the ring and its buffers, the turn, counters and bounds; the
//! handshakes that wait for a step; and answers to connections that no session serves.

use crate::edge::limits::{
    ENCRYPT_BYTES, HANDSHAKE_STEPS_PER_TURN, LAUNCH_BYTES, REFUSAL_READ_BYTES,
};
use crate::edge::start::{Descriptors, EdgeSettings};
use crate::edge::{counters::EdgeCounts, tls::Kind, turn::Turn};
use broker_core::work_units;
use broker_core::{address_shares::canonical, id::SessionKey, time::Wall};
use codec::http::{ErrorHead, Meta, respond};
use ring::Ring;
use socket2::SockRef;
use std::collections::VecDeque;
use std::io::{ErrorKind, Read};
use std::net::{Shutdown, SocketAddr};
use std::os::fd::OwnedFd;
use std::sync::Arc;

/// The ring of one shard, and what belongs to its use. Each step that does input or output is given it.
pub(crate) struct Io {
    pub(crate) ring: Ring,
    pub(crate) turn: Turn,
    pub(crate) handshakes: Handshakes,
    /// Decrypted bytes on their way to the machine.
    pub(crate) plain: Vec<u8>,
    /// Encrypted bytes on their way to a socket.
    pub(crate) cipher: Vec<u8>,
    pub(crate) spares: Spares,
    pub(crate) counts: EdgeCounts,
    pub(crate) settings: EdgeSettings,
    pub(crate) descriptors: Arc<Descriptors>,
    /// The shard ends: nothing begins any more.
    pub(crate) stopping: bool,
}

impl Io {
    /// A ring with nothing armed, and empty buffers.
    pub(crate) fn new(ring: Ring, settings: EdgeSettings, descriptors: Arc<Descriptors>) -> Self {
        Self {
            ring,
            turn: Turn::new(settings.turn_cpu),
            handshakes: Handshakes::default(),
            plain: Vec::new(),
            cipher: Vec::new(),
            spares: Spares::new(settings.spare_sends),
            counts: EdgeCounts::default(),
            settings,
            descriptors,
            stopping: false,
        }
    }

    /// Counts a descriptor that was opened. Returns whether it is one more than connections may be.
    pub(crate) fn count_descriptor(&self) -> bool {
        self.descriptors.opened() > self.settings.connections
    }

    /// Counts bytes received, from a client or another node.
    #[inline]
    pub(crate) fn count_received(&mut self, bytes: usize) {
        self.counts.receives += 1;
        self.counts.received_bytes += bytes as u64;
        self.turn
            .add_work(bytes as u64 / work_units::RECEIVED_BYTES_PER_UNIT);
    }

    /// Counts a handshake step, and the handshake if it is over with it.
    pub(crate) fn count_handshake(&mut self, kind: Option<Kind>) {
        self.handshakes.stepped();
        self.turn.add_work(work_units::HANDSHAKE_STEP);
        match kind {
            None => {}
            Some(Kind::Full) => self.counts.handshakes.full += 1,
            Some(Kind::Resumed) => self.counts.handshakes.resumed += 1,
        }
    }
}

/// Empty buffers for sends of the ring.
pub(crate) struct Spares {
    buffers: Vec<Vec<u8>>,
    most: usize,
}

impl Spares {
    fn new(most: usize) -> Self {
        let buffers = Vec::new();
        Self { buffers, most }
    }

    /// An empty buffer.
    #[inline]
    pub(crate) fn take(&mut self) -> Vec<u8> {
        self.buffers.pop().unwrap_or_default()
    }

    /// Keeps the buffer of a send that is over, unless there are enough or it is too large.
    pub(crate) fn recycle(&mut self, mut flight: Vec<u8>) {
        if self.buffers.len() < self.most && flight.capacity() <= LAUNCH_BYTES + ENCRYPT_BYTES {
            flight.clear();
            self.buffers.push(flight);
        }
    }
}

// The handshakes that wait for a step, and the steps of a turn: those of clients and of other nodes share them.

/// The connection whose handshake bytes wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shaking {
    /// A client's.
    Session(SessionKey),
    /// That of a link, by its number.
    Link(u32),
}

/// Handshakes of one shard whose bytes were put aside.
#[derive(Default)]
pub(crate) struct Handshakes {
    waiting: VecDeque<Shaking>,
    /// Steps taken in this turn.
    steps: u32,
}

impl Handshakes {
    /// Begins a turn.
    pub(crate) fn begin(&mut self) {
        self.steps = 0;
    }

    /// The next one that may take a step in this turn, the oldest first.
    pub(crate) fn next(&mut self) -> Option<Shaking> {
        if self.steps >= HANDSHAKE_STEPS_PER_TURN {
            return None;
        }
        self.waiting.pop_front()
    }

    /// Whether one more has to wait: this turn has had its share of steps, or others wait already.
    #[inline]
    pub(crate) fn wait(&self) -> bool {
        self.steps >= HANDSHAKE_STEPS_PER_TURN || !self.waiting.is_empty()
    }

    /// Puts one behind all others.
    pub(crate) fn push(&mut self, handshake: Shaking) {
        self.waiting.push_back(handshake);
    }

    /// Counts a step.
    fn stepped(&mut self) {
        self.steps += 1;
    }

    /// Whether none waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}

// Answers to connections that no session serves: no room, or no TLS where it is spoken.

/// The whole answer to a connection that there is no room for.
pub(crate) fn unavailable(out: &mut Vec<u8>, wall: Wall, request_id: &str) {
    let body = br#"{"message":"The service has no room for another connection."}"#;
    refusal(out, wall, request_id, 503, "ServiceUnavailable", body);
}

/// The answer to a request of plain HTTP on a TLS listener.
pub(crate) fn not_tls(out: &mut Vec<u8>, wall: Wall, request_id: &str) {
    let body = br#"{"message":"This port speaks TLS: the URL begins with https:// or wss://."}"#;
    refusal(out, wall, request_id, 400, "InvalidArgumentException", body);
}

fn refusal(
    out: &mut Vec<u8>,
    wall: Wall,
    request_id: &str,
    status: u16,
    error_type: &str,
    body: &[u8],
) {
    let meta = Meta {
        wall_ms: wall.0,
        request_id,
        close: true,
    };
    respond(
        out,
        &meta,
        status,
        Some(ErrorHead {
            error_type,
            why: None,
            retry_after_s: None,
        }),
        "application/json",
        body,
    );
}

/// Reads what has come, so that closing does not reset the connection under the answer; then writes it and says the
/// end. Never waits.
pub(crate) fn say_and_close(socket: &OwnedFd, answer: &[u8]) {
    let socket = SockRef::from(socket);
    let _ = socket.set_nonblocking(true);
    let mut scratch = [0; 1024];
    for _ in 0..REFUSAL_READ_BYTES / scratch.len() {
        if !matches!((&*socket).read(&mut scratch), Ok(1..)) {
            break;
        }
    }
    // A client that does not get it had left, or gets a reset, which means the same.
    let _ = socket.send_with_flags(answer, libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL);
    let _ = socket.shutdown(Shutdown::Write);
}

/// One send(2) that does not wait: how many bytes the kernel took, `None` when the socket is broken.
pub(crate) fn send_at_once(socket: &OwnedFd, bytes: &[u8], more: i32) -> Option<usize> {
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL | more;
    match SockRef::from(socket).send_with_flags(bytes, flags) {
        Ok(sent) => Some(sent),
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
            Some(0)
        }
        Err(_) => None,
    }
}

/// The other end, as it is shown and counted: a client of IPv4 at a listener on `[::]` is one of IPv4.
pub(crate) fn remote(socket: &OwnedFd) -> Option<SocketAddr> {
    let remote = SockRef::from(socket).peer_addr().ok()?.as_socket()?;
    Some(canonical(remote))
}
