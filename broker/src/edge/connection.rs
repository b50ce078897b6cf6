//! The edge's state for one connection (48 bytes).
//!
//! Stages of a connection and the events that cause each transition:
//! ```text
//!        HandOver, PassOn, Admin      nothing armed, nothing in flight
//!   Open ──────────────► Leaving ────────────────────────────────────► (another shard, another node)
//!    │ Close                │
//!    ▼                      ▼ Abort, Stop
//!   Closing ─ all sent ─► Lingering ─ end, or too much ─► Shut ─ final completions ─► Gone
//!    └── Abort, Stop, a broken socket, a peer that is done ──┘
//! ```

use crate::edge::io::{Io, Shaking};
use crate::edge::limits::{
    CALM_RECEIVES, ENCRYPT_BYTES, FILLED_IN_A_ROW, LAUNCH_BYTES, ORPHAN_BYTES,
    WEB_SOCKET_SEND_BYTES,
};
use crate::edge::tls::{Held, Piece, Read, Tls};
use broker_core::id::{NodeId, SessionKey, ShardId};
use broker_core::time::Now;
use ring::{Key, Lent};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::connect_unspec;
use socket2::{SockRef, TcpKeepalive};
use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::net::Shutdown;
use std::os::fd::{AsFd as _, OwnedFd};
use std::time::Duration;

/// Returns whether the peer has closed its side (there may still be unread bytes) or the connection is broken. Does not
/// block.
pub(crate) fn has_left(socket: &OwnedFd) -> bool {
    polls(socket, PollFlags::RDHUP, PollFlags::HUP | PollFlags::ERR)
}

/// Returns whether the socket has unread bytes. Does not block.
pub(crate) fn has_unread(socket: &OwnedFd) -> bool {
    polls(socket, PollFlags::IN, PollFlags::empty())
}

fn polls(socket: &OwnedFd, asked: PollFlags, also: PollFlags) -> bool {
    let now = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    let mut polled = [PollFd::new(socket, asked)];
    let events = asked | also;
    poll(&mut polled, Some(&now))
        .is_ok_and(|_| polled.iter().any(|it| it.revents().intersects(events)))
}

/// Lets the kernel autotune a socket's send buffer or, on old kernels, enlarges the buffer. Called once the socket
/// carries WebSocket messages, whose unacknowledged bytes are limited elsewhere.
pub(crate) fn widen(socket: &OwnedFd) {
    if !ring::adapts_buffers(socket.as_fd()) {
        let _ = SockRef::from(socket).set_send_buffer_size(WEB_SOCKET_SEND_BYTES);
    }
}

/// Returns whether closing the socket now would leave many unacknowledged bytes in the kernel.
pub(crate) fn leaves_orphan(socket: &OwnedFd) -> bool {
    ring::unacknowledged(socket.as_fd()).is_some_and(|bytes| bytes > ORPHAN_BYTES)
}

/// Makes close(2) reset the connection, which frees the socket's buffers.
pub(crate) fn reset_at_close(socket: &OwnedFd) {
    let _ = SockRef::from(socket).set_linger(Some(Duration::ZERO));
}

/// An open connection. When idle, it owns only its socket and, with TLS, its engine.
pub(crate) struct Connection {
    pub(crate) socket: OwnedFd,
    pub(crate) generation: u32,
    pub(crate) tls: Option<Box<Tls>>,
    pub(crate) stage: Stage,
    pub(crate) receive: Receive,
    pub(crate) standing: Standing,
    /// Whether the connection is already on this iteration's flush list.
    pub(crate) dirty: bool,
    /// Whether a send through the ring is in flight.
    pub(crate) sending: bool,
    /// Whether the peer has closed its sending side.
    pub(crate) ended: bool,
    /// Whether the connection can no longer send.
    pub(crate) broken: bool,
    /// Number of receive buffers that the peer has used in event loop iteration `turn`.
    pub(crate) taken: u8,
    /// Two counters in one field. Up to [`CALM_RECEIVES`], the value counts receives that did not fill their buffer,
    /// starting at the peer's last flood. Above that, it counts consecutive receives that filled their buffer.
    conduct: u8,
    pub(crate) turn: u32,
    /// Number of plaintext bytes covered by the send in flight.
    pub(crate) launched: u32,
    /// Number of bytes read and discarded while lingering.
    pub(crate) discarded: u32,
    /// The deadline that the edge tracks for this connection, or [`NEVER`].
    pub(crate) due: Now,
}

const _: () = assert!(size_of::<Option<Connection>>() <= 48);

/// A connection's stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// The connection is in use.
    Open,
    /// The connection will move to its destination once its pending operations have completed.
    Leaving(Destination),
    /// The remaining bytes are being sent.
    Closing,
    /// A FIN has been sent, and the peer's is awaited.
    Lingering,
    /// Nothing more is read or written. Pending operations have yet to complete.
    Shut,
}

/// Where a connection moves when it leaves this shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Destination {
    /// Another shard.
    Shard(ShardId),
    /// Another node. The client becomes a stream on a link to that node.
    Node(NodeId),
    /// The side thread, which serves the admin pages.
    Admin,
}

/// Whether a connection may be evicted to make room for others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Not admitted yet, and no bytes have been received.
    Silent,
    /// Not admitted yet, but bytes have been received.
    Guest,
    /// Not admitted yet. Its client is unknown until a PROXY protocol header arrives.
    Unnamed,
    /// Never evicted, because it has been admitted, comes from another shard, or is closing.
    Admitted,
}

/// The state of a socket's receive operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Receive {
    /// Not armed.
    Idle,
    /// Not armed, but queued to be rearmed.
    Listed,
    /// Not armed. Received handshake bytes are queued until an iteration has capacity for another handshake step.
    Queued,
    /// A single receive is armed.
    Once,
    /// A multishot receive is armed.
    Many,
    /// Being cancelled. The final completion has not arrived yet.
    Cancelling,
}

impl Receive {
    /// Returns whether the kernel still has a receive pending on the socket.
    pub(crate) fn armed(self) -> bool {
        match self {
            Self::Idle | Self::Listed | Self::Queued => false,
            Self::Once | Self::Many | Self::Cancelling => true,
        }
    }
}

impl Connection {
    /// Returns the number of bytes that the kernel has accepted but the peer has not acknowledged, or the maximum value
    /// if the number is unknown.
    pub(crate) fn unacknowledged(&self) -> u32 {
        ring::unacknowledged(self.socket.as_fd()).unwrap_or(u32::MAX)
    }

    /// Returns the smoothed round-trip time in milliseconds, rounded up.
    pub(crate) fn round_trip_ms(&self) -> u32 {
        let us = ring::round_trip_us(self.socket.as_fd());
        us.unwrap_or(0).div_ceil(1000)
    }

    /// Creates a connection with no operations in flight.
    pub(crate) fn new(session: SessionKey, socket: OwnedFd, tls: Option<Box<Tls>>) -> Self {
        Self {
            socket,
            generation: session.generation(),
            tls,
            stage: Stage::Open,
            receive: Receive::Idle,
            standing: Standing::Admitted,
            dirty: false,
            sending: false,
            ended: false,
            broken: false,
            taken: 0,
            conduct: 0,
            turn: 0,
            launched: 0,
            discarded: 0,
            due: NEVER,
        }
    }

    /// Returns whether the kernel has no operation pending on the connection.
    pub(crate) fn at_rest(&self) -> bool {
        !self.sending && !self.receive.armed()
    }

    /// Returns whether received bytes may be passed to the state machine.
    #[inline]
    pub(crate) fn is_open(&self) -> bool {
        self.stage == Stage::Open
    }

    /// Disconnects with an RST instead of a FIN, if possible.
    pub(crate) fn reset(&self) {
        let _ = connect_unspec(&self.socket);
    }

    /// Enables keepalive probes every minute. If they fail, the session's deadline closes the connection.
    pub(crate) fn keep_alive(&self) {
        let keepalive = TcpKeepalive::new()
            .with_time(Duration::from_secs(60))
            .with_interval(Duration::from_secs(60))
            .with_retries(2);
        let _ = SockRef::from(&self.socket).set_tcp_keepalive(&keepalive);
    }

    /// Returns whether a TLS handshake is in progress.
    pub(crate) fn handshaking(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.handshaking())
    }

    /// Returns the deadline for the rest of the connection's incomplete TLS record.
    pub(crate) fn record_due(&self, io: &Io) -> Now {
        let begun = self.tls.as_ref().and_then(|tls| tls.begun());
        begun.map_or(NEVER, |begun| begun.after(io.settings.record_ms))
    }

    /// Records whether a receive filled its buffer. Returns whether the peer has now started to flood; see
    /// [`FILLED_IN_A_ROW`].
    pub(crate) fn filled(&mut self, whole: bool) -> bool {
        if !whole {
            self.conduct = (self.conduct + 1).min(CALM_RECEIVES);
        } else if self.is_calm() {
            self.conduct += 1;
        }
        let floods = self.conduct == CALM_RECEIVES + FILLED_IN_A_ROW;
        if floods {
            self.conduct = 0;
        }
        floods
    }

    /// Returns whether the peer may use more than one buffer at a time; see [`CALM_RECEIVES`].
    pub(crate) fn is_calm(&self) -> bool {
        self.conduct >= CALM_RECEIVES
    }
}

// Sending, receiving and closing, as used by sessions, by clients on links, and by the links themselves.

impl Connection {
    /// Queues received handshake bytes for a later iteration if this one has no handshake steps left. Otherwise,
    /// returns the bytes.
    pub(crate) fn put_off(&mut self, mut lent: Lent, whose: Shaking, io: &mut Io) -> Option<Lent> {
        let waits = io.handshakes.wait() && self.handshaking() && self.receive == Receive::Idle;
        let Some(tls) = self.tls.as_mut().filter(|_| waits) else {
            return Some(lent);
        };
        tls.hold(io.ring.bytes(&mut lent));
        io.ring.give_back(lent);
        io.handshakes.push(whose);
        self.receive = Receive::Queued;
        None
    }

    /// Appends received bytes to `io.plain`, decrypting them if the connection uses TLS.
    pub(crate) fn read(&mut self, mut lent: Lent, io: &mut Io) -> Read {
        let bytes = io.ring.bytes(&mut lent);
        let read = match &mut self.tls {
            Some(tls) => tls.read(bytes, &mut io.plain, io.turn.at().now),
            None => {
                io.plain.extend_from_slice(bytes);
                Read::More
            }
        };
        io.ring.give_back(lent);
        read
    }

    /// Updates the shard's counters with the size of this connection's incomplete TLS record. Used for connections
    /// without a session. Returns `false` if the record has grown although the shard is over its limit.
    pub(crate) fn charge(&mut self, io: &mut Io) -> bool {
        let Some(tls) = &mut self.tls else {
            return true;
        };
        let (before, after) = tls.recharge();
        io.counts.count_held(before, after);
        let most = io.settings.partial_record_bytes as u64;
        io.counts.partial_record_bytes <= most || after.secured <= before.secured
    }

    /// Subtracts this connection's incomplete TLS record from the shard's counters.
    pub(crate) fn discharge(&mut self, io: &mut Io) {
        if let Some(tls) = &mut self.tls {
            let before = tls.discharge();
            io.counts.count_held(before, Held::default());
        }
    }

    /// Sends any pending output of the TLS engine, and then encrypts and sends a piece, which may be empty. Whatever
    /// the socket does not accept immediately is sent through the ring, under `key`. Returns `None` if the connection
    /// is broken. Must not be called while a send is in flight.
    pub(crate) fn write(&mut self, key: Key, piece: Piece<'_>, io: &mut Io) -> Option<Written> {
        let mut is_sound = true;
        let wire = match &mut self.tls {
            None => piece.bytes,
            Some(tls) => {
                io.cipher.clear();
                is_sound = tls.seal(piece, &mut io.cipher);
                &io.cipher
            }
        };
        if wire.is_empty() {
            return is_sound.then(Written::default);
        }
        io.counts.sends += 1;
        // The FIN follows immediately and shares a packet with the bytes held back here. Nothing is held back after the
        // peer's FIN: the descriptor may then be closed without another send, and a reset would discard the bytes.
        let is_held_back = self.stage == Stage::Closing && !self.ended;
        let more = if is_held_back { libc::MSG_MORE } else { 0 };
        let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL | more;
        let on_wire = match SockRef::from(&self.socket).send_with_flags(wire, flags) {
            Ok(sent) => sent,
            Err(error)
                if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) =>
            {
                0
            }
            Err(_) => return None,
        };
        io.counts.sent_bytes += on_wire as u64;
        if !is_sound {
            return None; // the alert that explains the failure has been sent
        }
        let rest = wire.get(on_wire..).unwrap_or_default();
        if rest.is_empty() {
            let plain = piece.bytes.len();
            return Some(Written { plain, on_wire });
        }
        let (plain, rest, launched) = match self.tls {
            None => {
                let rest = &rest[..rest.len().min(LAUNCH_BYTES)];
                (on_wire, rest, rest.len())
            }
            Some(_) => (0, rest, piece.bytes.len()),
        };
        self.launched = u32::try_from(launched).expect("at most a launch's bytes");
        let mut flight = io.spares.pop().unwrap_or_default();
        flight.extend_from_slice(rest);
        io.counts.queued_sends += 1;
        self.sending = true;
        io.ring.send(self.socket.as_fd(), key, flight, 0);
        Some(Written { plain, on_wire })
    }

    /// Handles the completion of a ring send after the kernel has accepted `on_wire` bytes. Returns the number of
    /// plaintext bytes accepted, and whether the whole send was accepted.
    pub(crate) fn landed(
        &mut self,
        mut flight: Vec<u8>,
        on_wire: usize,
        io: &mut Io,
    ) -> (usize, bool) {
        let is_whole = on_wire == flight.len();
        io.counts.sent_bytes += on_wire as u64;
        flight.clear();
        // The buffer returns to the pool, unless the pool is full or the buffer is too large.
        if io.spares.len() < io.settings.spare_sends
            && flight.capacity() <= LAUNCH_BYTES + ENCRYPT_BYTES
        {
            io.spares.push(flight);
        }
        self.sending = false;
        let launched = std::mem::take(&mut self.launched) as usize;
        let plain = match (&self.tls, is_whole) {
            (None, _) => on_wire.min(launched),
            (Some(_), true) => launched,
            (Some(_), false) => 0,
        };
        (plain, is_whole)
    }

    /// Shuts down both directions, so that all operations in flight complete. If `reset` is set, the peer receives an
    /// RST.
    pub(crate) fn shut(&self, reset: bool) {
        if reset {
            self.reset();
        }
        if !self.at_rest() {
            let _ = SockRef::from(&self.socket).shutdown(Shutdown::Both);
        }
    }

    /// Closes a connection that has no session and no pending operations.
    pub(crate) fn close(mut self, io: &mut Io) {
        self.discharge(io);
        if !io.stopping && leaves_orphan(&self.socket) {
            reset_at_close(&self.socket);
        }
        io.ring.release(self.socket.as_fd());
        drop(self);
        io.descriptors.closed();
    }
}

/// How much of a write the kernel has accepted. The rest is in flight ([`Connection::launched`]).
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Written {
    /// Number of plaintext bytes accepted. With TLS, 0 unless the entire piece was accepted.
    pub(crate) plain: usize,
    /// Number of bytes accepted, including TLS overhead.
    pub(crate) on_wire: usize,
}

/// A deadline that never expires.
pub(crate) const NEVER: Now = Now(u64::MAX);

/// The edge's own connection deadlines. Each connection has at most one ([`Connection::due`]).
pub(crate) struct Deadlines<K>(BTreeSet<(Now, K)>);

impl<K> Default for Deadlines<K> {
    fn default() -> Self {
        Self(BTreeSet::new())
    }
}

impl<K: Copy + Ord> Deadlines<K> {
    /// Sets a connection's deadline, or clears it if `due` is [`NEVER`].
    pub(crate) fn set(&mut self, key: K, connection: &mut Connection, due: Now) {
        let before = std::mem::replace(&mut connection.due, due);
        if before != due {
            self.0.remove(&(before, key));
            self.0.extend(Some((due, key)).filter(|_| due != NEVER));
        }
    }

    /// Returns the earliest deadline and its connection.
    pub(crate) fn next(&self) -> Option<(Now, K)> {
        self.0.first().copied()
    }

    /// Returns all connections that have a deadline.
    pub(crate) fn keys(&self) -> Vec<K> {
        self.0.iter().map(|&(_, key)| key).collect()
    }
}

/// Converts a session key to a ring key.
pub(crate) fn ring_key(session: SessionKey) -> Key {
    Key::new(session.pack())
}

/// Converts a ring key to a session key.
pub(crate) fn session(key: Key) -> SessionKey {
    SessionKey::unpack(key.bits())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The party that ends a stage if the peer does nothing. The edge needs no timers for connections. As long as it
    /// has a connection, the machine has the session, and sessions have deadlines.
    #[derive(Debug, PartialEq, Eq)]
    enum EndedBy {
        /// The session's deadline, at which the machine emits [`broker_core::machine::Output::Close`] or `Abort`.
        Session,
        /// The kernel, which completes operations that are being cancelled or whose socket has been shut down.
        Kernel,
    }

    #[test]
    fn a_peer_is_calm_after_a_number_of_receives_until_it_floods() {
        let (socket, _) = std::os::unix::net::UnixStream::pair().unwrap();
        let mut connection = Connection::new(SessionKey::unpack(0), socket.into(), None);
        for _ in 0..2 {
            for _ in 0..CALM_RECEIVES {
                assert!(!connection.is_calm());
                // Receives that fill their buffer do not count. As they are single receives, they are no flood.
                assert!((0..1_000).all(|_| !connection.filled(true)));
                assert!(!connection.filled(false));
            }
            for _ in 0..1_000 {
                assert!((1..FILLED_IN_A_ROW).all(|_| !connection.filled(true)));
                assert!(!connection.filled(false) && connection.is_calm());
            }
            assert!((1..FILLED_IN_A_ROW).all(|_| !connection.filled(true)));
            assert!(connection.filled(true), "a row of full buffers");
        }
    }

    #[test]
    fn no_stage_lasts_as_long_as_its_peer_likes() {
        // A new stage does not compile until this match covers it.
        let ended_by = |stage| match stage {
            Stage::Open | Stage::Leaving(_) | Stage::Closing | Stage::Lingering => EndedBy::Session,
            Stage::Shut => EndedBy::Kernel,
        };
        let leaving = Stage::Leaving(Destination::Shard(ShardId(1)));
        assert_eq!(ended_by(leaving), EndedBy::Session);
        assert_eq!(ended_by(Stage::Shut), EndedBy::Kernel);
    }
}
