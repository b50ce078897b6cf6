//! I/O state shared by all parts of a shard's edge: the ring and its buffers, the current loop iteration, the counters
//! and the limits. Also contains the queue of handshakes, and the responses to connections that get no session.

use crate::edge::limits::{HANDSHAKE_STEPS_PER_TURN, REFUSAL_READ_BYTES};
use crate::edge::start::{Descriptors, EdgeSettings};
use crate::edge::{counters::EdgeCounts, tls::Kind, turn::Turn};
use broker_core::work_units;
use broker_core::{address_shares::canonical, id::SessionKey, time::Wall};
use codec::http::{ErrorHead, Meta, respond};
use ring::{Received, Ring};
use socket2::SockRef;
use std::collections::VecDeque;
use std::io::Read;
use std::net::{Shutdown, SocketAddr};
use std::os::fd::OwnedFd;
use std::sync::Arc;

/// A shard's ring, with everything needed to use it. Passed to each step that performs I/O.
pub(crate) struct Io {
    pub(crate) ring: Ring,
    pub(crate) turn: Turn,
    pub(crate) handshakes: WaitingHandshakes,
    /// Scratch buffer for plaintext on its way to the state machine.
    pub(crate) plain: Vec<u8>,
    /// Scratch buffer for ciphertext on its way to a socket.
    pub(crate) cipher: Vec<u8>,
    /// A pool of empty buffers for sends through the ring.
    pub(crate) spares: Vec<Vec<u8>>,
    pub(crate) counts: EdgeCounts,
    pub(crate) settings: EdgeSettings,
    pub(crate) descriptors: Arc<Descriptors>,
    /// Whether the shard is stopping. If so, no new operations are started.
    pub(crate) stopping: bool,
}

impl Io {
    /// Creates the I/O state, with empty buffers and no operations in flight.
    pub(crate) fn new(ring: Ring, settings: EdgeSettings, descriptors: Arc<Descriptors>) -> Self {
        Self {
            ring,
            turn: Turn::new(settings.turn_cpu),
            handshakes: WaitingHandshakes::default(),
            plain: Vec::new(),
            cipher: Vec::new(),
            spares: Vec::new(),
            counts: EdgeCounts::default(),
            settings,
            descriptors,
            stopping: false,
        }
    }

    /// Counts a newly opened descriptor. Returns whether the connection limit is exceeded.
    pub(crate) fn count_descriptor(&self) -> bool {
        self.descriptors.opened() > self.settings.connections
    }

    /// Counts bytes received from a client or another node.
    #[inline]
    pub(crate) fn count_received(&mut self, bytes: usize) {
        self.counts.receives += 1;
        self.counts.received_bytes += bytes as u64;
        self.turn
            .add_work(bytes as u64 / work_units::RECEIVED_BYTES_PER_UNIT);
    }

    /// Returns the buffer of a receive whose connection no longer exists.
    pub(crate) fn drop_received(&mut self, received: Received) {
        debug_assert!(false, "a connection outlives what is armed on it");
        if let Received::Bytes(lent) = received {
            self.ring.give_back(lent);
        }
    }

    /// Counts a handshake step and, if `kind` is set, a completed handshake.
    pub(crate) fn count_handshake(&mut self, kind: Option<Kind>) {
        self.handshakes.steps += 1;
        self.turn.add_work(work_units::HANDSHAKE_STEP);
        match kind {
            None => {}
            Some(Kind::Full) => self.counts.handshakes.full += 1,
            Some(Kind::Resumed) => self.counts.handshakes.resumed += 1,
        }
    }
}

// Handshakes that are waiting for a step. Clients and other nodes share the steps of an iteration.

/// A connection with queued handshake bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shaking {
    /// A client's session.
    Session(SessionKey),
    /// A link, by its number.
    Link(u32),
}

/// A shard's handshakes whose received bytes have not been processed yet.
#[derive(Default)]
pub(crate) struct WaitingHandshakes {
    waiting: VecDeque<Shaking>,
    /// Number of steps taken in this iteration.
    pub(crate) steps: u32,
}

impl WaitingHandshakes {
    /// Dequeues the oldest handshake, unless this iteration's steps are used up.
    pub(crate) fn next(&mut self) -> Option<Shaking> {
        if self.steps >= HANDSHAKE_STEPS_PER_TURN {
            return None;
        }
        self.waiting.pop_front()
    }

    /// Returns whether a handshake must be queued, either because this iteration has no steps left or because other
    /// handshakes are already queued.
    #[inline]
    pub(crate) fn wait(&self) -> bool {
        self.steps >= HANDSHAKE_STEPS_PER_TURN || !self.waiting.is_empty()
    }

    /// Appends a handshake to the queue.
    pub(crate) fn push(&mut self, handshake: Shaking) {
        self.waiting.push_back(handshake);
    }

    /// Returns whether no handshake is queued.
    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}

// Responses to connections that get no session, because there is no capacity or because the client does not speak TLS
// on a TLS port.

/// Writes a complete 503 response for a connection that cannot be served.
pub(crate) fn unavailable(out: &mut Vec<u8>, wall: Wall, request_id: &str) {
    let body = br#"{"message":"The service has no room for another connection."}"#;
    refusal(out, wall, request_id, 503, "ServiceUnavailable", body);
}

/// Writes the response to a plain HTTP request on a TLS listener.
pub(crate) fn not_tls(out: &mut Vec<u8>, wall: Wall, request_id: &str) {
    let body = br#"{"message":"This port speaks TLS: the URL begins with https:// or wss://."}"#;
    refusal(out, wall, request_id, 400, "InvalidArgumentException", body);
}

fn refusal(out: &mut Vec<u8>, wall: Wall, id: &str, status: u16, error_type: &str, body: &[u8]) {
    let meta = Meta {
        wall_ms: wall.0,
        request_id: id,
        close: true,
        fields: "",
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

/// Writes a response and shuts the socket down, without blocking. First drains the received bytes: closing a socket
/// with unread bytes would reset the connection before the response arrives.
pub(crate) fn say_and_close(socket: &OwnedFd, answer: &[u8]) {
    let socket = SockRef::from(socket);
    let _ = socket.set_nonblocking(true);
    let mut scratch = [0; 1024];
    for _ in 0..REFUSAL_READ_BYTES / scratch.len() {
        if !matches!((&*socket).read(&mut scratch), Ok(1..)) {
            break;
        }
    }
    // A client that misses the response has either left or receives a reset, so it still learns that it was refused.
    let _ = socket.send_with_flags(answer, libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL);
    let _ = socket.shutdown(Shutdown::Write);
}

/// Returns the peer's address in the form used for display and counting: an IPv4 client of a listener on `[::]` has an
/// IPv4 address.
pub(crate) fn remote(socket: &OwnedFd) -> Option<SocketAddr> {
    let remote = SockRef::from(socket).peer_addr().ok()?.as_socket()?;
    Some(canonical(remote))
}
