//! How connections end, and what goes back. protocol.md 4.4, design of a connection's life.

use super::{ConnId, Expect, Model, Queued, Stage};
use broker::journal::EndReason;

impl Model {
    /// Our close frame, for an open WebSocket.
    pub(super) fn close_ws(&mut self, id: ConnId, code: u16, text: &str, reason: EndReason) {
        if !matches!(self.conns[id].stage, Stage::Open) {
            return;
        }
        self.because(id, reason);
        self.leave(id);
        let bytes = crate::wire::frame_bytes(2 + text.len());
        self.expect(id, Expect::Close(code, text.to_owned()), bytes);
        self.conns[id].stage = Stage::AwaitEcho(self.now, false);
    }

    /// The rest is sent, then the connection ends.
    pub(super) fn finish(&mut self, id: ConnId) {
        self.leave(id);
        if !matches!(self.conns[id].stage, Stage::Ending(_)) {
            self.conns[id].stage = Stage::Ending(self.now);
            self.conns[id].pieces.clear();
            self.out.closes.push(id);
        }
    }

    /// The connection ends at once.
    pub(super) fn abort(&mut self, id: ConnId) {
        if matches!(self.conns[id].stage, Stage::Ending(u64::MAX)) {
            return;
        }
        self.leave(id);
        self.conns[id].stage = Stage::Ending(u64::MAX);
        self.conns[id].pieces.clear();
        self.out.aborts.push(id);
    }

    /// The peer sends no more.
    pub(crate) fn peer_ended(&mut self, id: ConnId) {
        self.out.touched.insert(id);
        match &self.conns[id].stage {
            Stage::AwaitReply(_) => {
                self.conns[id].ended = true;
                if self.hang_up(id) {
                    self.abort(id);
                }
            }
            // All that it has sent is answered first.
            Stage::AwaitHead | Stage::AwaitBody(_) if self.has_more(id) => {
                self.met("half-closed before its requests were answered");
                self.conns[id].ended = true;
            }
            Stage::AwaitTls | Stage::AwaitHead | Stage::AwaitBody(_) | Stage::AwaitHandover(..) => {
                self.finish(id);
            }
            Stage::Open => {
                self.because(id, EndReason::PeerGone);
                self.abort(id);
            }
            Stage::AwaitEcho(..) => self.finish(id),
            Stage::Ending(_) | Stage::Gone => {}
        }
    }

    /// The descriptor is free.
    pub(crate) fn gone(&mut self, id: ConnId) {
        self.out.touched.insert(id);
        self.leave(id);
        self.hang_up(id);
        self.connection_over(id);
        let conn = &mut self.conns[id];
        (conn.live, conn.stage, conn.begun) = (false, Stage::Gone, 0);
        let left: Vec<Queued> = std::mem::take(&mut conn.outbox).into();
        let (control, messages) = (conn.control, conn.bytes - conn.control);
        let ws = conn.ws.as_ref().map(|ws| (ws.channel, ws.viewer.clone()));
        self.shrink(id, messages);
        self.shrink_control(id, control);
        if let Some((channel, viewer)) = ws {
            if !left.is_empty() {
                self.met("begun message given back");
            }
            (self.channels[channel].held).retain(|(_, by, _)| *by != id);
            self.give_back(id, channel, viewer.as_deref(), left);
        }
    }

    /// It is offline from here on; what no byte of was taken goes back.
    pub(super) fn leave(&mut self, id: ConnId) {
        let conn = &self.conns[id];
        let (Stage::Open, Some(ws)) = (&conn.stage, &conn.ws) else {
            return;
        };
        let (channel, viewer, superseded) = (ws.channel, ws.viewer.clone(), ws.superseded);
        self.conns[id].stage = Stage::AwaitEcho(self.now, false);
        let slots = &mut self.channels[channel];
        slots.superseded.retain(|(_, other)| *other != id);
        match &viewer {
            None => drop(slots.master.take_if(|master| *master == id)),
            Some(viewer) => {
                if slots.viewers.get(viewer) == Some(&id) {
                    slots.viewers.remove(viewer);
                }
            }
        }
        if !superseded {
            if viewer.is_none() {
                self.offers_lost_their_master(channel);
            }
            self.take_back(id);
        }
    }

    pub(super) fn take_back(&mut self, id: ConnId) {
        let conn = &mut self.conns[id];
        let ws = conn.ws.as_ref().expect("a WebSocket");
        let (channel, viewer) = (ws.channel, ws.viewer.clone());
        let taken: Vec<Queued> = conn.outbox.split_off(conn.begun).into();
        let numbers: Vec<usize> = taken.iter().map(|one| one.number).collect();
        let bytes = self.bytes_of(&numbers);
        self.shrink(id, bytes);
        self.out.touched.insert(id);
        if !taken.is_empty() {
            self.met("unsent messages taken back");
        }
        if self.conns[id].begun > 0 && self.channels[channel].alive {
            self.met("slot held for a begun message");
            let until = self.now + self.settings.timeouts.close_ms;
            (self.channels[channel].held).push((viewer.clone(), id, until));
        }
        self.give_back(id, channel, viewer.as_deref(), taken);
    }
}
