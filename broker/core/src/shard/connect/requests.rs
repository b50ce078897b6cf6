//! HTTP on a connection: heads and bodies, with keep-alive and pipelining, to calls and upgrades.

use crate::id::SessionKey;
use crate::session::http::HttpStage;
use crate::session::{NEVER, Sending, Session};
use crate::shard::sockets::Sockets;
use crate::time::Moment;
use codec::http::{Body, Head, HeadError};

/// The result of one step through the bytes.
pub(crate) enum Step {
    /// More bytes are needed, or a call's answer.
    Wait,
    /// This many bytes were used; there may be more to do.
    Used(usize),
    /// The connection became a WebSocket: what follows this many bytes are frames.
    Frames(usize),
    /// The connection ends or has left: no byte more.
    Over,
}

/// Whether the connection ends with the answer to a head whose body, if it has one, is not read.
pub(crate) fn ends_with(head: &Head<'_>) -> bool {
    let no_body = matches!(head.body(), Ok(Body::None | Body::Length(0)));
    !head.keep_alive() || !no_body
}

impl Sockets {
    /// The TLS handshake is over: the first head is awaited.
    pub(crate) fn secured(&mut self, key: SessionKey, at: Moment) {
        let deadline = at.now.after(self.settings().timeouts.head_ms);
        let Some(http) = self.http(key) else {
            return;
        };
        http.stage = HttpStage::AwaitHead;
        http.deadline = deadline;
        self.arm(key, deadline);
        self.place(key, crate::event::ConnectionRole::Http);
    }
}

impl Sockets {
    /// Arms an HTTP connection for what it awaits next.
    pub(crate) fn await_rest(&mut self, key: SessionKey, at: Moment) {
        let head_ms = self.settings().timeouts.head_ms;
        let Some(session) = self.session(key) else {
            return;
        };
        let (waits, blocked) = (session.answers_wait(), session.outbox.in_flight());
        let Some(http) = self.http(key) else {
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

    pub(crate) fn keep_rest(&mut self, key: SessionKey, rest: &[u8]) {
        if let Some(http) = self.http(key)
            && !rest.is_empty()
        {
            http.buffer.extend_from_slice(rest);
        }
    }
}

/// The next part of the bytes of an HTTP connection.
pub(crate) enum Part {
    /// Nothing that could be handled.
    None(Step),
    /// A head of this number of bytes.
    Head(usize),
    /// Bytes that cannot be a head.
    NoHead(HeadError),
    /// A body of this number of bytes.
    Body(usize),
}

impl Sockets {
    /// Looks at what comes next; `waits`: it is not answered in this visit.
    pub(crate) fn next_part(&mut self, key: SessionKey, rest: &[u8], waits: bool) -> Part {
        let limits = self.rules().head;
        let session = self.session(key);
        let answers_wait = session.is_some_and(Session::answers_wait);
        let unheard = session.is_some_and(|it| it.sending == Sending::WithheldForGood);
        let Some(http) = self.http(key) else {
            return Part::None(Step::Over);
        };
        match &http.stage {
            HttpStage::AwaitTls
            | HttpStage::AwaitReply(..)
            | HttpStage::AwaitWake(_)
            | HttpStage::AwaitHandover(..)
            | HttpStage::AwaitTunnel(_)
            | HttpStage::AwaitAdmin(_)
            | HttpStage::AwaitOwner(_) => Part::None(Step::Wait),
            HttpStage::AwaitHead if rest.is_empty() || answers_wait => Part::None(Step::Wait),
            // No answer would leave: nothing more is done for it.
            HttpStage::AwaitHead if unheard => Part::None(Step::Used(rest.len())),
            HttpStage::AwaitHead | HttpStage::AwaitBody(_) if waits => {
                self.wait_for_turn(key);
                Part::None(Step::Wait)
            }
            HttpStage::AwaitHead => match http.scanner.end(rest, &limits) {
                Ok(None) => Part::None(Step::Wait),
                Ok(Some(end)) => Part::Head(end.min(rest.len())),
                Err(error) => Part::NoHead(error),
            },
            HttpStage::AwaitBody(awaited) if awaited.length > rest.len() => Part::None(Step::Wait),
            HttpStage::AwaitBody(awaited) => Part::Body(awaited.length),
        }
    }
}

impl Sockets {
    /// Whether the answer to this head has a body, also when the head cannot be understood.
    pub(crate) fn note_method(&mut self, key: SessionKey, head: &[u8]) {
        //= https://www.rfc-editor.org/rfc/rfc9110#section-9.3.2
        //# The HEAD method is identical to GET except that the server MUST NOT send content in the response.
        let line = head.strip_prefix(b"\r\n").unwrap_or(head);
        if let Some(http) = self.http(key) {
            http.bodiless = line.starts_with(b"HEAD ");
        }
    }
}
