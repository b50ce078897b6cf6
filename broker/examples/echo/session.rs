//! One connection of the echo machine: its upgrade, its frames, and what is to be sent.

use broker_core::time::Moment;
use codec::http::{Head, HeadLimits, HeadScanner, Meta, respond, switching_protocols, upgrade};
use codec::ws::{
    FrameError, FrameRules, Item, Kind, Opcode, Receiver, Side, accept_key, close_frame, frame,
    valid_key,
};

/// One session, also on its way.
pub(crate) struct Session {
    pub(crate) phase: Phase,
    /// Bytes of an unfinished head, or those that came behind it.
    pub(crate) kept: Vec<u8>,
    scanner: HeadScanner,
    receiver: Receiver,
    /// The answer to the head, until it is in the outbox: a shard that takes the session in says it.
    pub(crate) answer: Vec<u8>,
    pub(crate) outbox: Outbox,
    /// `Output::Send` was said and not all was taken since.
    pub(crate) announced: bool,
    pub(crate) paused: bool,
    /// Its peer's close frame came.
    pub(crate) peer_closed: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    AwaitHead,
    Leaving,
    Open,
    Closing,
}

/// Bytes to send: `[reported][in flight][unsent]`.
#[derive(Default)]
pub(crate) struct Outbox {
    pub(crate) bytes: Vec<u8>,
    pub(crate) reported: usize,
    pub(crate) launched: usize,
}

impl Outbox {
    pub(crate) fn unsent(&self) -> &[u8] {
        &self.bytes[self.reported + self.launched..]
    }

    pub(crate) fn sent(&mut self, bytes: usize) {
        self.reported += bytes;
        self.launched = self.launched.saturating_sub(bytes);
        assert!(
            self.reported + self.launched <= self.bytes.len(),
            "more was sent than there was"
        );
        if self.reported == self.bytes.len() {
            *self = Self::default();
        }
    }
}

pub(crate) enum Step {
    More,
    Away,
    Upgraded,
    Over,
}

impl Session {
    pub(crate) fn new() -> Self {
        Self {
            phase: Phase::AwaitHead,
            kept: Vec::new(),
            scanner: HeadScanner::new(),
            receiver: Receiver::new(Side::Server),
            answer: Vec::new(),
            outbox: Outbox::default(),
            announced: false,
            paused: false,
            peer_closed: false,
        }
    }

    pub(crate) fn head(&mut self, bytes: &[u8], at: Moment, away: bool) -> Step {
        self.kept.extend_from_slice(bytes);
        let end = match self.scanner.end(&self.kept, &HEAD_LIMITS) {
            Ok(None) => return Step::More,
            Ok(Some(end)) => end,
            Err(error) => return self.refuse(error.status(), at),
        };
        let rest = self.kept.split_off(end);
        let head = std::mem::replace(&mut self.kept, rest);
        let head = match Head::parse(&head, &HEAD_LIMITS) {
            Ok(head) => head,
            Err(error) => return self.refuse(error.status(), at),
        };
        let upgrade = match upgrade(&head, valid_key) {
            Ok(Some(upgrade)) => upgrade,
            Ok(None) => return self.refuse(404, at),
            Err(error) => return self.refuse(error.status(), at),
        };
        let accept = accept_key(upgrade.key);
        switching_protocols(&mut self.answer, &meta(at), &accept, upgrade.offers_wss);
        self.phase = if away { Phase::Leaving } else { Phase::Open };
        if away { Step::Away } else { Step::Upgraded }
    }

    pub(crate) fn refuse(&mut self, status: u16, at: Moment) -> Step {
        respond(
            &mut self.outbox.bytes,
            &meta(at),
            status,
            None,
            "text/plain",
            b"",
        );
        Step::Over
    }

    /// Echoes every item in `bytes`; `true` when the connection is to be closed.
    pub(crate) fn echo(&mut self, mut bytes: &mut [u8], mut count: impl FnMut(usize)) -> bool {
        let out = &mut self.outbox.bytes;
        loop {
            let (used, item) = match self.receiver.next(&RULES, bytes) {
                Ok(next) => next,
                Err(error) => return refuse_frame(out, error),
            };
            match item {
                None => return false,
                Some(Item::Message { kind, payload }) => {
                    let opcode = match kind {
                        Kind::Text => Opcode::Text,
                        Kind::Binary => Opcode::Binary,
                    };
                    count(payload.len());
                    frame(out, opcode, payload);
                }
                Some(Item::Ping(payload)) => frame(out, Opcode::Pong, payload),
                Some(Item::Pong(_)) => {}
                Some(Item::Close(Some(close))) => {
                    close_frame(out, close.code, "");
                    self.peer_closed = true;
                    return true;
                }
                Some(Item::Close(None)) => {
                    frame(out, Opcode::Close, b"");
                    self.peer_closed = true;
                    return true;
                }
            }
            bytes = &mut bytes[used..];
        }
    }
}

fn refuse_frame(out: &mut Vec<u8>, error: FrameError) -> bool {
    close_frame(out, error.close_code(), error.reason());
    true
}

fn meta(at: Moment) -> Meta<'static> {
    Meta {
        fields: "",
        wall_ms: at.wall.0,
        request_id: "00000000-0000-4000-8000-000000000000",
        close: false,
    }
}

/// 16 MiB, the most that Autobahn sends.
const RULES: FrameRules = FrameRules {
    message_bytes: 16 << 20,
    fragments: 1 << 20,
};
const HEAD_LIMITS: HeadLimits = HeadLimits {
    head_bytes: 16 * 1024,
    header_lines: 64,
};
