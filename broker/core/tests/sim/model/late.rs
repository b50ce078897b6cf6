//! Messages that come late, and slots that are given back. See codec/PROTOCOL.md, TAKE.

use super::{ConnId, Model, Stage};
use broker_core::event::{ConnectionRole, Outcome};
use broker_core::journal::EndReason;

/// Time within which a connection that lost its slot sends as before.
const LATE_AFTER_MS: u64 = 5_000;

/// Time after a standstill in which what is read may have come meanwhile.
pub(crate) const HELD_MS: u64 = 2_000;

/// A connection that ends so soon, and whose client sent nothing, gives the slot back.
const BRIEF_MS: u64 = 1_000;

impl Model {
    /// The outcome of a message that comes too late.
    pub(crate) fn late(&mut self, id: ConnId) -> Option<Outcome> {
        let ws = self.conns[id].ws.as_ref().expect("open");
        let (began, over) = self.standstill;
        let held = ws.opened < over && self.now < over + HELD_MS;
        let lost = ws.lost.filter(|lost| self.now > lost.since + LATE_AFTER_MS);
        let since = match (held, lost) {
            (false, None) => return None,
            (true, None) => began,
            (false, Some(lost)) => lost.since,
            (true, Some(lost)) => lost.since.min(began),
        };
        let newer = |other: &super::Ws| {
            let same = other.channel == ws.channel && other.viewer == ws.viewer;
            let after = ws.lost.is_some_and(|lost| other.admitted >= lost.to);
            same && after && other.messages_in > 0
        };
        let mut others = self.conns.iter().filter_map(|conn| conn.ws.as_ref());
        let overtaken = others.any(newer);
        let ttl = self.channels[ws.channel].ttl * 1000;
        if overtaken {
            self.met("late message withdrawn");
            Some(Outcome::Withdrawn)
        } else if self.now >= since + ttl {
            self.met("late message expired");
            Some(Outcome::Expired)
        } else {
            self.met("held message in time");
            None
        }
    }

    /// Whether a connection that ends now gives its slot back.
    fn is_brief(&self, id: ConnId) -> bool {
        let ws = self.conns[id].ws.as_ref().expect("a WebSocket");
        use EndReason::{MadeRoom, PeerClosed, ProtocolError, Unsupported};
        let last = matches!(
            ws.reason,
            Some(PeerClosed | ProtocolError(_) | Unsupported | MadeRoom)
        );
        let silent = ws.messages_in == 0 && ws.idle.1 == 0 && !last;
        silent && self.now <= ws.opened + BRIEF_MS
    }

    /// A connection that had lost its slot leaves: those that give way to it give way to its successor, if it was there
    /// for a moment only.
    pub(crate) fn gives_way_no_more(&mut self, id: ConnId) {
        let lost = self.conns[id].ws.as_ref().and_then(|ws| ws.lost);
        let Some(lost) = lost.filter(|_| self.is_brief(id)) else {
            return;
        };
        for conn in &mut self.conns {
            if let Some(older) = conn.ws.as_mut().and_then(|ws| ws.lost.as_mut())
                && older.by == Some(id)
            {
                older.by = lost.by;
            }
        }
    }

    /// The connection that gets its slot back from one that ends now, and had it.
    pub(crate) fn returning(&self, id: ConnId, channel: usize) -> Option<ConnId> {
        let gave_way = |older: &&(Option<String>, ConnId)| {
            let ws = self.conns[older.1].ws.as_ref();
            ws.and_then(|ws| ws.lost)
                .is_some_and(|lost| lost.by == Some(id))
        };
        let slots = &self.channels[channel];
        let gives_back = slots.alive && self.is_brief(id);
        let mut superseded = slots.superseded.iter().filter(|_| gives_back);
        let older = superseded.find(gave_way)?;
        Some(older.1)
    }

    /// Whether one that would get its slot back from this one, which ends now, has ended at this moment.
    pub(crate) fn gave_way_and_ended(&self, id: ConnId) -> bool {
        let ended = |conn: &super::Conn| {
            let lost = conn.ws.as_ref().and_then(|ws| ws.lost);
            let now = matches!(conn.stage, Stage::AwaitEcho(at, _) if at == self.now);
            now && lost.is_some_and(|lost| lost.by == Some(id))
        };
        self.is_brief(id) && self.conns.iter().any(ended)
    }

    /// Whether a connection that lost its slot may have it again in this tick: the one that has it ends by itself.
    pub(crate) fn may_return(&self, id: ConnId) -> bool {
        let lost = self.conns[id].ws.as_ref().and_then(|ws| ws.lost);
        lost.and_then(|lost| lost.by).is_some_and(|by| {
            let open = matches!(self.conns[by].stage, Stage::Open);
            open && self.is_brief(by) && self.ends_by_itself(by)
        })
    }

    /// A connection has its slot again.
    pub(crate) fn takes_place_again(&mut self, older: ConnId, channel: usize) {
        self.met("slot given back");
        assert!(matches!(self.conns[older].stage, Stage::Open));
        self.out.touched.insert(older);
        let slots = &mut self.channels[channel];
        slots.superseded.retain(|(_, other)| *other != older);
        slots.held.retain(|held| held.by != older);
        let conn = &mut self.conns[older];
        let ws = conn.ws.as_mut().expect("it is open");
        (ws.superseded, ws.lost) = (false, None);
        let place = match &ws.viewer {
            None => {
                slots.master = Some(older);
                ConnectionRole::Master
            }
            Some(viewer) => {
                slots.viewers.insert(viewer.clone(), older);
                ConnectionRole::Viewer
            }
        };
        conn.place = place.index();
        self.moves_up(older);
    }
}
