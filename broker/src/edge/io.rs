//! Input and output of a shard, which all its parts use: the ring and its buffers, the turn, counters and bounds.

use crate::edge::handshakes::Handshakes;
use crate::edge::letters::counts::EdgeCounts;
use crate::edge::limits::{ENCRYPT_BYTES, LAUNCH_BYTES};
use crate::edge::start::{Descriptors, EdgeSettings};
use crate::edge::tls::Kind;
use crate::edge::turn::Turn;
use broker_core::work_units;
use ring::Ring;
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

    /// Counts bytes received, from a client or of a tunnel.
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
