//! Reading: what is armed on the socket of a connection, and each peer's share of a turn.

use crate::edge::connections::Connections;
use crate::edge::connections::connection::{Receive, Stage, ring_key};
use crate::edge::io::Io;
use crate::edge::limits::{BUFFERS_PER_PEER, REARMS_PER_TURN, WORK_PER_BUFFER};
use broker_core::id::SessionKey;
use broker_core::machine::{Intake, Machine};
use ring::Ring;
use std::os::fd::AsFd;

impl Connections {
    /// Sees to it that a connection is read as it should be: armed, listed, paused, or awaited at its end.
    ///
    /// Called after everything that may change the answer; an open connection that is neither armed nor listed nor
    /// paused after it would be forgotten.
    pub(crate) fn watch<M: Machine>(&mut self, session: SessionKey, machine: &M, ring: &mut Ring) {
        let Some(connection) = self.table.get_mut(session) else {
            return;
        };
        let wanted = match connection.stage {
            Stage::Open if connection.ended => return,
            Stage::Open if connection.handshaking() => Intake::Once,
            Stage::Open => machine.intake(session),
            Stage::Lingering if !connection.ended => Intake::Once,
            Stage::Leaving(_) => Intake::Paused,
            Stage::Closing | Stage::Lingering | Stage::Shut => return,
        };
        if wanted == Intake::Paused
            && let Some(tls) = &mut connection.tls
        {
            tls.pause();
        }
        let socket = connection.socket.as_fd();
        let key = ring_key(session);
        match (wanted, connection.receive) {
            (Intake::Once, Receive::Idle) => {
                ring.receive_once(socket, key);
                connection.receive = Receive::Once;
            }
            (Intake::Many, Receive::Idle) => {
                if connection.is_calm() {
                    ring.receive_many(socket, key);
                    connection.receive = Receive::Many;
                } else {
                    ring.receive_once(socket, key);
                    connection.receive = Receive::Once;
                }
                self.settle_guest(session);
            }
            (Intake::Paused, Receive::Once | Receive::Many) => {
                ring.cancel_receive(key);
                connection.receive = Receive::Cancelling;
            }
            (Intake::Paused, Receive::Idle)
            | (Intake::Once | Intake::Many, Receive::Once | Receive::Many)
            | (_, Receive::Listed | Receive::Queued | Receive::Cancelling) => {}
        }
    }

    /// Arms some of the listed receives again. All buffers of this turn are back by now.
    pub(crate) fn rearm_some<M: Machine>(&mut self, machine: &M, ring: &mut Ring) {
        for _ in 0..self.listed.len().min(REARMS_PER_TURN) {
            let Some(session) = self.listed.pop_front() else {
                return;
            };
            if let Some(connection) = self.get_mut(session)
                && connection.receive == Receive::Listed
            {
                connection.receive = Receive::Idle;
                self.watch(session, machine, ring);
            }
        }
    }

    /// One receive buffer of a peer was served, which took this much work: many small messages count as more buffers.
    #[inline]
    pub(crate) fn charge(&mut self, session: SessionKey, work: u64, io: &mut Io) {
        let more = u8::try_from(work / WORK_PER_BUFFER).unwrap_or(u8::MAX);
        let turn = io.turn.number();
        if let Some(connection) = self.get_mut(session)
            && connection.spent(turn, more.saturating_add(1), BUFFERS_PER_PEER)
        {
            self.cap(session, io);
        }
    }

    /// One peer has had its share of a turn: its receive is cancelled, and armed again behind all others.
    pub(crate) fn cap(&mut self, session: SessionKey, io: &mut Io) {
        if let Some(connection) = self.get_mut(session)
            && connection.receive == Receive::Many
        {
            io.counts.capped += 1;
            connection.receive = Receive::Cancelling;
            io.ring.cancel_receive(ring_key(session));
        }
    }
}
