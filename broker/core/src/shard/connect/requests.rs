//! HTTP on a connection: heads and bodies, with keep-alive and pipelining, to calls and upgrades.

use super::heads;
use crate::event::Purpose;
use crate::id::SessionKey;
use crate::session::{HttpStage, Mute, NEVER, SessionState};
use crate::shard::books::Books;
use crate::shard::books::evidence::Evidence;
use crate::shard::directory::Directory;
use crate::shard::gate::Gate;
use crate::shard::road;
use crate::shard::sockets::{Sockets, request_bytes, turns};
use crate::time::Moment;

/// What one step through the bytes did.
pub(in crate::shard) enum Step {
    /// More bytes are needed, or a call's answer.
    Wait,
    /// This many bytes were used; there may be more to do.
    Used(usize),
    /// The connection became a WebSocket: what follows this many bytes are frames.
    Frames(usize),
    /// The connection ends or has left: no byte more.
    Over,
}

impl Sockets {
    /// The TLS handshake is over: the first head is awaited.
    pub(in crate::shard) fn secured(&mut self, key: SessionKey, at: Moment) {
        let deadline = at.now.after(self.settings.timeouts.head_ms);
        let Some(http) = self.http(key) else {
            return;
        };
        http.stage = HttpStage::AwaitHead;
        http.deadline = deadline;
        self.arm(key, deadline);
        self.place(key, crate::event::ConnectionRole::Http);
    }
}

/// Handles bytes of an HTTP connection. They are used where they are; only what is incomplete, or must wait, is copied
/// aside. Answers at most `visit` heads and bodies; returns how many are left of them.
pub(in crate::shard) fn take_requests(
    sockets: &mut Sockets,
    directory: &mut Directory,
    books: &mut Books,
    gate: &mut Gate,
    key: SessionKey,
    bytes: &mut [u8],
    mut visit: u32,
    at: Moment,
) -> u32 {
    let Some(http) = sockets.http(key) else {
        return visit;
    };
    if http.queued {
        http.buffer.extend_from_slice(bytes); // behind what waits already
        request_bytes::charge_received(sockets, directory, books, key, at);
        return visit;
    }
    if http.buffer.is_empty() {
        let used = requests(sockets, directory, books, gate, key, bytes, &mut visit, at);
        sockets.keep_rest(key, bytes.get(used..).unwrap_or_default());
    } else {
        let mut buffer = std::mem::take(&mut http.buffer);
        buffer.extend_from_slice(bytes);
        let used = requests(
            sockets,
            directory,
            books,
            gate,
            key,
            &mut buffer,
            &mut visit,
            at,
        );
        buffer.drain(..used.min(buffer.len()));
        if let Some(http) = sockets.http(key)
            && !buffer.is_empty()
        {
            http.buffer = buffer;
        }
    }
    sockets.await_rest(key, at);
    request_bytes::charge_received(sockets, directory, books, key, at);
    visit
}

impl Sockets {
    /// What is awaited next on an HTTP connection, and until when.
    fn await_rest(&mut self, key: SessionKey, at: Moment) {
        let head_ms = self.settings.timeouts.head_ms;
        let Some(session) = self.sessions.get_mut(key) else {
            return;
        };
        let (waits, blocked) = (session.answers_wait(), session.outbox.in_flight());
        let SessionState::Http(http) = &mut session.state else {
            return;
        };
        let awaits_head = matches!(http.stage, HttpStage::AwaitHead) && !http.queued && !waits;
        if http.served && awaits_head && !http.begun && !http.buffer.is_empty() {
            (http.begun, http.deadline) = (true, at.now.after(head_ms)); // the next request has begun
        }
        let over = http.ended && !http.awaits_reply() && !http.has_more(waits);
        let answer_due = if blocked { http.answer_due } else { NEVER };
        let deadline = http.deadline.min(answer_due);
        if over {
            return self.close_when_sent(key, at);
        }
        self.arm(key, deadline);
    }

    fn keep_rest(&mut self, key: SessionKey, rest: &[u8]) {
        if let Some(http) = self.http(key)
            && !rest.is_empty()
        {
            http.buffer.extend_from_slice(rest);
        }
    }
}

/// Goes through whole requests; returns how many bytes are done with.
fn requests(
    sockets: &mut Sockets,
    directory: &mut Directory,
    books: &mut Books,
    gate: &mut Gate,
    key: SessionKey,
    bytes: &mut [u8],
    visit: &mut u32,
    at: Moment,
) -> usize {
    let mut used = 0;
    loop {
        let rest = bytes.get_mut(used..).unwrap_or_default();
        match request_step(sockets, directory, books, gate, key, rest, visit, at) {
            Step::Wait => return used,
            Step::Used(more) => used += more,
            Step::Frames(head) => {
                receive_first_frames(
                    sockets,
                    directory,
                    books,
                    key,
                    rest.get_mut(head..).unwrap_or_default(),
                    at,
                );
                return bytes.len();
            }
            Step::Over => return bytes.len(),
        }
    }
}

fn receive_first_frames(
    sockets: &mut Sockets,
    directory: &mut Directory,
    books: &mut Books,
    key: SessionKey,
    frames: &mut [u8],
    at: Moment,
) {
    if !frames.is_empty() {
        road::receive(sockets, directory, books, key, frames, at);
    }
}

fn request_step(
    sockets: &mut Sockets,
    directory: &mut Directory,
    books: &mut Books,
    gate: &mut Gate,
    key: SessionKey,
    rest: &mut [u8],
    visit: &mut u32,
    at: Moment,
) -> Step {
    let limits = sockets.rules.head;
    let done = turns::work(sockets, directory, books, gate);
    let waits = *visit == 0 || sockets.requests.turns.is_over(done);
    let Some(session) = sockets.sessions.get_mut(key) else {
        return Step::Over;
    };
    let answers_wait = session.answers_wait();
    let SessionState::Http(http) = &mut session.state else {
        return Step::Over;
    };
    match &http.stage {
        HttpStage::AwaitTls
        | HttpStage::AwaitReply(..)
        | HttpStage::AwaitHandover(..)
        | HttpStage::AwaitTunnel(_)
        | HttpStage::AwaitAdmin(_)
        | HttpStage::AwaitOwner(_) => Step::Wait,
        HttpStage::AwaitHead if rest.is_empty() || answers_wait => Step::Wait,
        // A fault leaves this connection without an answer: nothing more is done for it.
        HttpStage::AwaitHead if http.mute == Mute::ForGood => Step::Used(rest.len()),
        HttpStage::AwaitHead | HttpStage::AwaitBody(_) if waits => {
            sockets.wait_for_turn(key);
            Step::Wait
        }
        HttpStage::AwaitHead => match http.scanner.end(rest, &limits) {
            Ok(None) => Step::Wait,
            Ok(Some(end)) => {
                *visit -= 1;
                sockets.requests.turns.take();
                let (head, after) = rest.split_at(end.min(rest.len()));
                heads::take_head(sockets, directory, books, gate, key, head, after, at)
            }
            Err(error) => {
                sockets.note_method(key, rest);
                let (purpose, evidence) = (Purpose::Unknown, Evidence::default());
                heads::refuse_step(sockets, books, key, purpose, error.into(), &evidence, at)
            }
        },
        HttpStage::AwaitBody(awaited) => {
            let bytes = awaited.length;
            match rest.get_mut(..bytes) {
                None => Step::Wait,
                Some(body) => {
                    *visit -= 1;
                    sockets.requests.turns.take();
                    heads::take_body(sockets, directory, books, gate, key, body, at);
                    Step::Used(bytes)
                }
            }
        }
    }
}

impl Sockets {
    /// Whether the answer to this head has a body, also when the head cannot be understood.
    pub(in crate::shard) fn note_method(&mut self, key: SessionKey, head: &[u8]) {
        //= https://www.rfc-editor.org/rfc/rfc9110#section-9.3.2
        //# The HEAD method is identical to GET except that the server MUST NOT send content in the response.
        let line = head.strip_prefix(b"\r\n").unwrap_or(head);
        if let Some(http) = self.http(key) {
            http.bodiless = line.starts_with(b"HEAD ");
        }
    }
}
