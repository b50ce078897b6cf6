//! Sending, once per turn for each connection with bytes to send.
//!
//! A single send(2) usually transfers everything. If the socket's buffer is full, the rest is copied (at most 256 KiB
//! at a time) into a buffer that the ring sends, and the machine is informed that those bytes are in flight. `Sent` is
//! reported once the kernel has accepted the last byte; with TLS, the last byte of the ciphertext.

use crate::edge::connection::{Connection, Receive, Stage, ring_key, widen};
use crate::edge::io::{Io, send_at_once};
use crate::edge::limits::{ENCRYPT_BYTES, ENCRYPTS_PER_TURN, LAUNCH_BYTES};
use crate::edge::sessions::Sessions;
use broker_core::{id::SessionKey, machine::Machine};
use socket2::SockRef;
use std::net::Shutdown;
use std::os::fd::AsFd;

/// The result of a flush.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flushed {
    /// Nothing remains unsent or in flight.
    All,
    /// The remaining bytes are in flight, or will be sent in the next turn.
    Waiting,
    /// The connection is broken, so nothing more can be sent.
    Broken,
}

impl<M: Machine> Sessions<M> {
    /// Sends all unsent bytes.
    pub(crate) fn flush(&mut self, session: SessionKey, io: &mut Io) -> Flushed {
        let Some(connection) = self.connections.get(session) else {
            return Flushed::Broken;
        };
        match (connection.broken, connection.sending, &connection.tls) {
            (true, ..) => Flushed::Broken,
            (false, true, _) => Flushed::Waiting,
            (false, false, None) => self.flush_plain(session, io),
            (false, false, Some(_)) => self.flush_tls(session, io),
        }
    }

    fn flush_plain(&mut self, session: SessionKey, io: &mut Io) -> Flushed {
        let unsent = self.machine.unsent(session);
        if unsent.is_empty() {
            return Flushed::All;
        }
        let (len, Some(connection)) = (unsent.len(), self.connections.get(session)) else {
            return Flushed::Broken;
        };
        io.counts.sends += 1;
        let Some(sent) = send(connection, unsent) else {
            return self.sunk(session, io);
        };
        io.counts.sent_bytes += sent as u64;
        if sent > 0 {
            self.report_sent(session, (sent, sent), io);
        }
        let rest = self.machine.unsent(session);
        if rest.is_empty() {
            return Flushed::All;
        }
        if sent == len {
            // The machine had more to send: left to the next turn.
            self.connections.touch(session);
            return Flushed::Waiting;
        }
        let chunk = rest.len().min(LAUNCH_BYTES);
        let mut flight = io.spares.take();
        flight.extend_from_slice(&rest[..chunk]);
        self.launch(session, flight, chunk, io)
    }

    fn flush_tls(&mut self, session: SessionKey, io: &mut Io) -> Flushed {
        for _ in 0..ENCRYPTS_PER_TURN {
            let Some(connection) = self.connections.get_mut(session) else {
                return Flushed::Broken;
            };
            let handshaking = connection.handshaking();
            let is_closing = connection.stage == Stage::Closing;
            let Some(tls) = &mut connection.tls else {
                return Flushed::Broken;
            };
            let unsent = if handshaking {
                &[]
            } else {
                self.machine.unsent_record(session)
            };
            let piece = &unsent[..unsent.len().min(ENCRYPT_BYTES)];
            let chunk = piece.len();
            io.cipher.clear();
            let written = tls.write(piece, &mut io.cipher);
            let is_last = || handshaking || chunk == self.machine.unsent(session).len();
            if is_closing && written.is_ok() && is_last() {
                // The alert shares a send with the last bytes.
                tls.notify_close();
                let _ = tls.write(&[], &mut io.cipher);
            }
            if io.cipher.is_empty() {
                return if written.is_ok() {
                    Flushed::All
                } else {
                    self.sunk(session, io)
                };
            }
            io.counts.sends += 1;
            let Some(sent) = send(connection, &io.cipher) else {
                return self.sunk(session, io);
            };
            io.counts.sent_bytes += sent as u64;
            if written.is_err() {
                // The alert that explains the failure was sent.
                return self.sunk(session, io);
            }
            if sent < io.cipher.len() {
                let mut flight = io.spares.take();
                flight.extend_from_slice(&io.cipher[sent..]);
                self.report_sent(session, (0, sent), io);
                return self.launch(session, flight, chunk, io);
            }
            if chunk > 0 {
                self.report_sent(session, (chunk, sent), io);
            }
        }
        self.connections.touch(session);
        Flushed::Waiting
    }

    /// Passes bytes to the ring, which waits for space in the socket's buffer; `plain` is the number of the machine's
    /// bytes that they contain.
    pub(crate) fn launch(
        &mut self,
        session: SessionKey,
        flight: Vec<u8>,
        plain: usize,
        io: &mut Io,
    ) -> Flushed {
        let Some(connection) = self.connections.get_mut(session) else {
            return Flushed::Broken;
        };
        if plain > 0 && self.machine.launched(session, plain) {
            widen(&connection.socket);
        }
        connection.launched = u32::try_from(plain).expect("at most a launch's bytes");
        connection.sending = true;
        io.counts.queued_sends += 1;
        io.ring
            .send(connection.socket.as_fd(), ring_key(session), flight, 0);
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

    /// Handles a broken connection: bytes that the peer sent before are still read, and then the machine is informed of
    /// the end.
    pub(crate) fn sunk(&mut self, session: SessionKey, io: &mut Io) -> Flushed {
        let Some(connection) = self.connections.get_mut(session) else {
            return Flushed::Broken;
        };
        connection.broken = true;
        let _ = SockRef::from(&connection.socket).shutdown(Shutdown::Both);
        match (connection.stage, connection.receive) {
            // A paused connection has nothing armed that would end.
            (Stage::Open, Receive::Idle) => self.ended(session, io),
            (
                Stage::Open,
                Receive::Listed
                | Receive::Queued
                | Receive::Once
                | Receive::Many
                | Receive::Cancelling,
            ) => {}
            (Stage::Leaving(_) | Stage::Closing | Stage::Lingering | Stage::Shut, _) => {
                self.connections.touch(session);
            }
        }
        Flushed::Broken
    }
}

/// Calls send(2) once without blocking; returns the number of bytes that the kernel accepted, or `None` if the socket
/// is broken.
fn send(connection: &Connection, bytes: &[u8]) -> Option<usize> {
    // The end of the stream follows at once, and shares a packet with what is held back here. Not where the peer's has
    // come: then the descriptor may be closed without another word, and what is held back is dropped if that resets.
    let hold = connection.stage == Stage::Closing && !connection.ended;
    send_at_once(
        &connection.socket,
        bytes,
        if hold { libc::MSG_MORE } else { 0 },
    )
}
