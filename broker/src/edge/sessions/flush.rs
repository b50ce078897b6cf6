//! Sends the sessions' output. Each connection that has bytes to send is flushed once per loop iteration.
//!
//! Usually, a single send(2) transfers everything. If the socket's buffer is full, the rest is copied, at most 256 KiB
//! at a time, into a buffer that the ring sends. The edge reports to the state machine that those bytes are in flight.
//! It reports `Sent` once the kernel has accepted the last byte. With TLS, this is the last byte of ciphertext.

use crate::edge::connection::{Receive, Stage, Written, ring_key, widen};
use crate::edge::io::Io;
use crate::edge::limits::{ENCRYPT_BYTES, ENCRYPTS_PER_TURN};
use crate::edge::{sessions::Sessions, tls::Piece};
use broker_core::{id::SessionKey, machine::Machine};
use socket2::SockRef;
use std::net::Shutdown;

/// The outcome of a flush.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flushed {
    /// Nothing is left unsent or in flight.
    All,
    /// The remaining bytes are in flight, or will be sent in the next loop iteration.
    Waiting,
    /// The connection is broken, so nothing more can be sent.
    Broken,
}

impl<M: Machine> Sessions<M> {
    /// Sends all unsent bytes. With TLS, they are encrypted and sent piece by piece. Without TLS, they are sent at
    /// once.
    pub(crate) fn flush(&mut self, session: SessionKey, io: &mut Io) -> Flushed {
        for _ in 0..ENCRYPTS_PER_TURN {
            let Some(connection) = self.connections.get_mut(session) else {
                return Flushed::Broken;
            };
            if connection.broken {
                return Flushed::Broken;
            }
            if connection.sending {
                return Flushed::Waiting;
            }
            let handshaking = connection.handshaking();
            let is_plain = connection.tls.is_none();
            let bytes = match connection.tls {
                None => self.machine.unsent(session),
                Some(_) if handshaking => &[],
                Some(_) => self.machine.unsent_record(session),
            };
            let most = if is_plain { usize::MAX } else { ENCRYPT_BYTES };
            let bytes = &bytes[..bytes.len().min(most)];
            let is_last = || handshaking || bytes.len() == self.machine.unsent(session).len();
            let piece = Piece {
                bytes,
                record_bytes: usize::MAX,
                is_last: connection.stage == Stage::Closing && is_last(),
            };
            let Some(Written { plain, on_wire }) = connection.write(ring_key(session), piece, io)
            else {
                return self.sunk(session, io);
            };
            let is_waiting = connection.sending;
            if is_waiting && connection.launched > 0 {
                let taken = plain + connection.launched as usize;
                if self.machine.launched(session, taken) {
                    widen(&connection.socket);
                }
            }
            if plain > 0 || (is_waiting && on_wire > 0) {
                self.report_sent(session, (plain, on_wire), io);
            }
            match (is_waiting, on_wire) {
                (true, _) => return Flushed::Waiting,
                (false, 0) => return Flushed::All,
                (false, 1..) if is_plain => break,
                (false, 1..) => {}
            }
        }
        if self.machine.unsent(session).is_empty() {
            return Flushed::All;
        }
        self.connections.touch(session); // // the rest is sent in the next turn
        Flushed::Waiting
    }

    /// Handles the completion of a send.
    pub(crate) fn sent(&mut self, key: SessionKey, flight: Vec<u8>, on_wire: usize, io: &mut Io) {
        let Some(connection) = self.connections.get_mut(key) else {
            return debug_assert!(false, "a connection outlives its send");
        };
        let (plain, is_whole) = connection.landed(flight, on_wire, io);
        if plain > 0 {
            self.report_sent(key, (plain, on_wire), io);
        }
        if !is_whole {
            self.sunk(key, io);
        }
        self.connections.touch(key);
    }

    /// Handles a broken connection. Reads any bytes that the peer sent earlier, and then tells the state machine that
    /// the connection has ended.
    pub(crate) fn sunk(&mut self, session: SessionKey, io: &mut Io) -> Flushed {
        let Some(connection) = self.connections.get_mut(session) else {
            return Flushed::Broken;
        };
        connection.broken = true;
        let _ = SockRef::from(&connection.socket).shutdown(Shutdown::Both);
        if connection.stage != Stage::Open {
            self.connections.touch(session);
        } else if connection.receive == Receive::Idle {
            // A paused connection has no armed receive whose completion could trigger this.
            self.ended(session, io);
        }
        Flushed::Broken
    }
}
