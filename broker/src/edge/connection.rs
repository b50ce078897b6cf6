//! The edge's state of one connection: 48 bytes, under the machine's own key; and the table of a shard's connections.
//!
//! The life of a connection, by what it awaits:
//! ```text
//!        HandOver, PassOn, Admin      nothing armed, nothing in flight
//!   Open ──────────────► Leaving ────────────────────────────────────► (another shard, another node)
//!    │ Close                │
//!    ▼                      ▼ Abort, Stop
//!   Closing ─ all sent ─► Lingering ─ end, or too much ─► Shut ─ final completions ─► Gone
//!    └── Abort, Stop, a broken socket, a peer that is done ──┘
//! ```

use crate::edge::limits::{CALM_RECEIVES, FILLED_IN_A_ROW, ORPHAN_BYTES, WEB_SOCKET_SEND_BYTES};
use crate::edge::tls::Tls;
use broker_core::id::{NodeId, SessionKey, ShardId};
use broker_core::time::Now;
use ring::Key;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::connect_unspec;
use socket2::{SockRef, TcpKeepalive};
use std::os::fd::{AsFd as _, OwnedFd};
use std::time::Duration;

/// Whether the peer of a socket has closed its side, after the unread bytes, or the connection is broken. A system call
/// that does not wait.
pub(crate) fn has_left(socket: &OwnedFd) -> bool {
    polls(socket, PollFlags::RDHUP, PollFlags::HUP | PollFlags::ERR)
}

/// Whether a socket has unread bytes. A system call that does not wait.
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

/// Lets the kernel adapt the send buffer of a socket to its path: it carries messages from here on, whose
/// unacknowledged bytes are bounded elsewhere.
pub(crate) fn widen(socket: &OwnedFd) {
    if !ring::adapts_buffers(socket.as_fd()) {
        let _ = SockRef::from(socket).set_send_buffer_size(WEB_SOCKET_SEND_BYTES);
    }
}

/// Whether the kernel would keep many sent bytes of a socket closed in this way.
pub(crate) fn leaves_orphan(socket: &OwnedFd) -> bool {
    ring::unacknowledged(socket.as_fd()).is_some_and(|bytes| bytes > ORPHAN_BYTES)
}

/// Makes the close of a socket reset the connection, which frees the kernel's buffers.
pub(crate) fn reset_at_close(socket: &OwnedFd) {
    let _ = SockRef::from(socket).set_linger(Some(Duration::ZERO));
}

/// One open socket. An idle plain connection owns nothing but this, an idle TLS one also its engine.
pub(crate) struct Connection {
    pub(crate) socket: OwnedFd,
    pub(crate) generation: u32,
    pub(crate) tls: Option<Box<Tls>>,
    pub(crate) stage: Stage,
    pub(crate) receive: Receive,
    pub(crate) standing: Standing,
    /// Whether it is listed for the flush at the end of this turn.
    pub(crate) dirty: bool,
    /// Whether a send of the ring is in flight.
    pub(crate) sending: bool,
    /// Whether the peer sends no more.
    pub(crate) ended: bool,
    /// Whether nothing can be sent any more.
    pub(crate) broken: bool,
    /// Receive buffers taken in the turn `turn`.
    pub(crate) taken: u8,
    /// Up to [`CALM_RECEIVES`]: receives that left room in their buffer since the peer last flooded; beyond, plus the
    /// number of consecutive ones that filled it.
    conduct: u8,
    pub(crate) turn: u32,
    /// Plaintext bytes of the send in flight.
    pub(crate) launched: u32,
    /// Bytes read and discarded while lingering.
    pub(crate) discarded: u32,
    /// Next deadline of the edge for this connection; the end of time without one.
    pub(crate) due: Now,
}

const _: () = assert!(size_of::<Option<Connection>>() <= 48);

/// Stage of a connection, by what it awaits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Next output of the machine.
    Open,
    /// End of everything armed or in flight; then the connection leaves for its destination.
    Leaving(Destination),
    /// Last unsent byte.
    Closing,
    /// End of the peer. The own FIN was sent.
    Lingering,
    /// Final completions. Nothing is read or written any more.
    Shut,
}

/// Destination of a connection that leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Destination {
    /// Another shard.
    Shard(ShardId),
    /// Another node, as a stream of a link.
    Node(NodeId),
    /// The side thread, which serves the pages of the admin listener.
    Admin,
}

/// Whether a connection may be evicted for others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// A guest: the machine has not admitted it, and nothing was received from the peer.
    Silent,
    /// Guest that has sent something.
    Guest,
    /// Guest whose client is unknown until its PROXY protocol header arrives.
    Unnamed,
    /// Never evicted: admitted by the machine, from another shard, or closing.
    Admitted,
}

/// Receive on the socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Receive {
    /// Not armed.
    Idle,
    /// Not armed: listed for arming.
    Listed,
    /// Not armed: its bytes wait for a handshake step of a turn.
    Queued,
    /// A single receive is armed.
    Once,
    /// A multishot receive is armed.
    Many,
    /// A receive is armed and being cancelled; its final completion follows.
    Cancelling,
}

impl Receive {
    /// Whether the kernel holds a receive on the socket.
    pub(crate) fn armed(self) -> bool {
        match self {
            Self::Idle | Self::Listed | Self::Queued => false,
            Self::Once | Self::Many | Self::Cancelling => true,
        }
    }
}

impl Connection {
    /// Bytes that the kernel accepted and the peer's machine has not acknowledged; all if the kernel does not tell.
    pub(crate) fn unacknowledged(&self) -> u32 {
        ring::unacknowledged(self.socket.as_fd()).unwrap_or(u32::MAX)
    }

    /// Smoothed round trip, rounded up.
    pub(crate) fn round_trip_ms(&self) -> u32 {
        let us = ring::round_trip_us(self.socket.as_fd());
        us.unwrap_or(0).div_ceil(1000)
    }

    /// A connection with nothing armed.
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

    /// Whether the kernel holds nothing of the connection.
    pub(crate) fn at_rest(&self) -> bool {
        !self.sending && !self.receive.armed()
    }

    /// Whether the machine may get bytes of the connection.
    #[inline]
    pub(crate) fn is_open(&self) -> bool {
        self.stage == Stage::Open
    }

    /// Whether the connection can proceed only when nothing is armed on it.
    #[inline]
    pub(crate) fn awaits_rest(&self) -> bool {
        match self.stage {
            Stage::Leaving(_) | Stage::Closing | Stage::Shut => true,
            Stage::Open | Stage::Lingering => false,
        }
    }

    /// Makes the kernel send RST in place of FIN, where it can.
    pub(crate) fn reset(&self) {
        let _ = connect_unspec(&self.socket);
    }

    /// Makes the kernel probe the peer each minute. Where that fails, the session's deadline ends the connection.
    pub(crate) fn keep_alive(&self) {
        let keepalive = TcpKeepalive::new()
            .with_time(Duration::from_secs(60))
            .with_interval(Duration::from_secs(60))
            .with_retries(2);
        let _ = SockRef::from(&self.socket).set_tcp_keepalive(&keepalive);
    }

    /// Whether the TLS handshake is in progress.
    pub(crate) fn handshaking(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.handshaking())
    }

    /// Records whether a receive filled its buffer, and returns whether the peer has just started to flood: see
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

    /// Whether the peer may have more than one buffer at a time: see [`CALM_RECEIVES`].
    pub(crate) fn is_calm(&self) -> bool {
        self.conduct >= CALM_RECEIVES
    }

    /// Counts receive buffers of this turn and returns whether the last of its share was among them.
    pub(crate) fn spent(&mut self, turn: u32, buffers: u8, most: u8) -> bool {
        if self.turn != turn {
            (self.turn, self.taken) = (turn, 0);
        }
        self.taken = self.taken.saturating_add(buffers);
        self.taken >= most
    }
}

/// No deadline.
pub(crate) const NEVER: Now = Now(u64::MAX);

/// Ring key of a session.
pub(crate) fn ring_key(session: SessionKey) -> Key {
    Key::new(session.pack())
}

/// Session of a ring key.
pub(crate) fn session(key: Key) -> SessionKey {
    SessionKey::unpack(key.bits())
}

// Table of the shard's connections, by the machine's session keys.
//
// Slots are in chunks that never move: growth copies nothing, and a machine that numbers its slots from 0 makes it
// dense.

/// All connections of one shard. Memory grows with the highest slot in use, 48 bytes each, and is not freed.
#[derive(Default)]
pub(crate) struct Table {
    chunks: Vec<Chunk>,
    len: usize,
}

type Chunk = Box<[Option<Connection>]>;

/// Slots of a chunk: 12 KiB, a size class of the allocator.
const CHUNK: usize = 256;

impl Table {
    /// The number of connections.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Connection of this session; `None` when it is gone, also if its slot was reused.
    pub(crate) fn get(&self, session: SessionKey) -> Option<&Connection> {
        let slot = self
            .chunks
            .get(session.slot() / CHUNK)?
            .get(session.slot() % CHUNK)?;
        slot.as_ref()
            .filter(|connection| connection.generation == session.generation())
    }

    /// Mutable version of [`Self::get`].
    pub(crate) fn get_mut(&mut self, session: SessionKey) -> Option<&mut Connection> {
        let slot = self
            .chunks
            .get_mut(session.slot() / CHUNK)?
            .get_mut(session.slot() % CHUNK)?;
        slot.as_mut()
            .filter(|connection| connection.generation == session.generation())
    }

    /// Adds a connection.
    ///
    /// # Panics
    /// If the slot is taken: the machine reused a key whose session was not reported as gone.
    pub(crate) fn insert(&mut self, session: SessionKey, connection: Connection) {
        while self.chunks.len() <= session.slot() / CHUNK {
            self.chunks.push((0..CHUNK).map(|_| None).collect());
        }
        let slot = &mut self.chunks[session.slot() / CHUNK][session.slot() % CHUNK];
        assert!(slot.is_none(), "the machine gave a slot out twice");
        *slot = Some(connection);
        self.len += 1;
    }

    /// Removes a connection.
    pub(crate) fn remove(&mut self, session: SessionKey) -> Option<Connection> {
        self.get(session)?;
        self.len -= 1;
        self.chunks[session.slot() / CHUNK][session.slot() % CHUNK].take()
    }

    /// The keys of all connections, by slot.
    pub(crate) fn keys(&self) -> Vec<SessionKey> {
        let slots = self.chunks.iter().flatten().enumerate();
        let key = |(slot, connection): (usize, &Option<Connection>)| {
            let generation = connection.as_ref()?.generation;
            Some(SessionKey::new(u32::try_from(slot).ok()?, generation))
        };
        slots.filter_map(key).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The end of a stage in which the peer does nothing. The edge has no clock for connections: while it has one, the
    /// machine has its session, and that a deadline.
    #[derive(Debug, PartialEq, Eq)]
    enum EndedBy {
        /// A deadline of the session: it then says [`broker_core::machine::Output::Close`] or `Abort`.
        Session,
        /// The kernel, which completes what is armed on a socket that was shut down or is being cancelled.
        Kernel,
    }

    #[test]
    fn a_peer_is_calm_after_a_number_of_receives_until_it_floods() {
        let (socket, _) = std::os::unix::net::UnixStream::pair().unwrap();
        let mut connection = Connection::new(SessionKey::unpack(0), socket.into(), None);
        for _ in 0..2 {
            for _ in 0..CALM_RECEIVES {
                assert!(!connection.is_calm());
                // Those that fill their buffer do not count, and are no flood: they are single ones.
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
        // A stage that is added does not compile without an answer.
        let ended_by = |stage| match stage {
            Stage::Open | Stage::Leaving(_) | Stage::Closing | Stage::Lingering => EndedBy::Session,
            Stage::Shut => EndedBy::Kernel,
        };
        let leaving = Stage::Leaving(Destination::Shard(ShardId(1)));
        assert_eq!(ended_by(leaving), EndedBy::Session);
        assert_eq!(ended_by(Stage::Shut), EndedBy::Kernel);
    }
}

#[cfg(test)]
mod table_tests {
    use super::*;
    use std::fs::File;

    fn connection(session: SessionKey) -> Connection {
        Connection::new(session, File::open("/dev/null").unwrap().into(), None)
    }

    #[test]
    fn a_key_finds_its_own_generation_only() {
        let mut table = Table::default();
        let (old, young) = (SessionKey::new(2000, 1), SessionKey::new(2000, 2));
        table.insert(old, connection(old));
        assert!(table.get(old).is_some() && table.get(young).is_none());
        assert!(table.remove(young).is_none());
        assert!(table.remove(old).is_some() && table.get(old).is_none());
        table.insert(young, connection(young));
        assert!(table.get_mut(old).is_none() && table.get_mut(young).is_some());
        assert_eq!((table.len(), table.keys()), (1, vec![young]));
    }

    #[test]
    #[should_panic(expected = "twice")]
    fn a_slot_holds_one_connection() {
        let mut table = Table::default();
        let key = SessionKey::new(0, 0);
        table.insert(key, connection(key));
        table.insert(key, connection(key));
    }

    #[test]
    fn a_key_beyond_the_table_finds_nothing() {
        assert!(Table::default().get(SessionKey::new(5, 0)).is_none());
    }
}
