//! The frames of one read: messages, pings, ends, and those without effect.

use super::{ConnId, Expect, Model, Stage};
use crate::sim::words::Piece;
use broker_core::journal::EndReason;
use broker_core::limits::ASK_BYTES;
use codec::ws::{Excess, FrameError};

/// Pings, pongs, empty, refused and throttled messages within one second of the clock. More: closed.
const IDLE_PER_SECOND: u32 = 200;

impl Model {
    /// Goes through the frames of one read.
    pub(crate) fn frames(&mut self, id: ConnId) {
        let mut pings = 0;
        while let Some(piece) = self.conns[id].pieces.pop_front() {
            if let Some(ws) = &mut self.conns[id].ws {
                ws.message_began = None;
            }
            match piece {
                Piece::Message(text) => self.message(id, &text),
                Piece::Pong(payload) if self.proves(id, &payload) => {}
                Piece::Empty | Piece::Pong(_) => self.idle_frame(id),
                Piece::Ping(payload) => {
                    pings += 1;
                    if pings <= 16 && self.has_control_room(id) {
                        let bytes = crate::sim::wire::frame_bytes(payload.len());
                        self.expect(id, Expect::Pong(payload), bytes);
                    } else {
                        self.met("ping not answered");
                    }
                    self.idle_frame(id);
                }
                Piece::Close(code) => {
                    let bytes = if code == 0 { 2 } else { 4 };
                    self.expect(id, Expect::Close(code, String::new()), bytes);
                    self.because(id, EndReason::PeerClosed);
                    self.is_over(id);
                    self.finish(id);
                    self.takes_leave(id);
                }
                Piece::Bad(code, reason, failed) => {
                    let most = self.settings.limits.message_bytes as u64;
                    self.close_ws(id, code, reason, violation(code, most));
                    self.conns[id].stage = Stage::AwaitEcho(self.now, failed);
                }
                other => panic!("the workload sends no {other:?} here"),
            }
            if !matches!(self.conns[id].stage, Stage::Open) {
                self.conns[id].lost_sync = self.conns[id].partial;
                self.conns[id].pieces.clear();
            }
        }
        if matches!(self.conns[id].stage, Stage::Open) {
            self.look_behind(id, ASK_BYTES);
        }
    }

    /// Something without effect came.
    pub(crate) fn idle_frame(&mut self, id: ConnId) {
        if !matches!(self.conns[id].stage, Stage::Open) || self.counts_idle_frame(id) {
            return;
        }
        self.met("flood of frames without effect cut off");
        let reason = "too many frames without effect";
        self.close_ws(id, 1008, reason, EndReason::Flood);
    }

    /// Counts such a frame; false when there were too many.
    pub(crate) fn counts_idle_frame(&mut self, id: ConnId) -> bool {
        let second = self.now / 1000;
        let ws = self.conns[id].ws.as_mut().expect("a WebSocket");
        if ws.idle.0 != second {
            ws.idle = (second, 0);
        }
        ws.idle.1 += 1;
        ws.idle.1 <= IDLE_PER_SECOND
    }
}

/// The log's word for a violation that ends a connection with this code.
fn violation(code: u16, most: u64) -> EndReason {
    match code {
        1002 => EndReason::ProtocolError(FrameError::Unmasked),
        1003 => EndReason::Unsupported,
        1007 => EndReason::ProtocolError(FrameError::TextNotUtf8),
        1009 => EndReason::ProtocolError(FrameError::MessageTooBig(Excess::new(0xff_0000, most))),
        other => panic!("no violation ends with {other}"),
    }
}
