//! The end of a connection without another byte.

use crate::edge::connections::Connections;
use crate::edge::connections::connection::Stage;
use crate::edge::letters::counts::EdgeCounts;
use broker_core::id::SessionKey;
use socket2::SockRef;
use std::net::Shutdown;

impl Connections {
    /// The machine wants a connection gone at once: its time is over.
    pub(crate) fn abort(&mut self, session: SessionKey, counts: &mut EdgeCounts) {
        self.give_up_handshake(session, GivenUp::Late, counts);
        self.cut(session, counts);
    }

    /// Ends a connection without another byte. What is armed on it completes now.
    pub(crate) fn cut(&mut self, session: SessionKey, counts: &mut EdgeCounts) {
        self.give_up_handshake(session, GivenUp::Failed, counts);
        let Some(connection) = self.get_mut(session) else {
            return;
        };
        if connection.stage != Stage::Shut {
            connection.stage = Stage::Shut;
            if !connection.at_rest() {
                let _ = SockRef::from(&connection.socket).shutdown(Shutdown::Both);
            }
            if let Some(tls) = &mut connection.tls {
                tls.let_go();
            }
            self.recharge(session, counts); // what is on its way out is not counted against those who stay
            self.settle_guest(session);
        }
        self.touch(session);
    }

    /// A handshake under way is over, since the connection is.
    pub(crate) fn give_up_handshake(
        &mut self,
        session: SessionKey,
        why: GivenUp,
        counts: &mut EdgeCounts,
    ) {
        let connection = self.get_mut(session);
        let Some(tls) = connection.and_then(|connection| connection.tls.as_mut()) else {
            return;
        };
        if tls.give_up() {
            self.handshake_over(session, counts);
            match why {
                GivenUp::Failed => counts.handshakes.failed += 1,
                GivenUp::Late => counts.handshakes.timeout += 1,
            }
        }
    }
}

/// Why a handshake is given up.
#[derive(Clone, Copy, Debug)]
pub(crate) enum GivenUp {
    Failed,
    /// It took too long.
    Late,
}
