//! HTTP on a connection: heads and bodies, with keep-alive and pipelining, to calls and upgrades.

use super::Shard;
use crate::id::SessionKey;
use crate::session::{Asked, HttpStage, State};
use crate::time::Moment;
use codec::control::{ErrorKind, Operation, error_body};
use codec::http::{Body, CONTINUE, Head, Meta, Upgrade, UpgradeError, preflight, respond, upgrade};

/// A whole request head.
struct Request<'a> {
    head: Head<'a>,
    /// Its length.
    bytes: usize,
    /// What has come behind it.
    after: &'a [u8],
}

/// What one step through the bytes did.
enum Step {
    /// More bytes are needed, or a call's answer.
    Wait,
    /// So many bytes were used; there may be more to do.
    Used(usize),
    /// The connection became a WebSocket: what follows so many bytes are frames.
    Frames(usize),
    /// The connection ends or has left: no byte more.
    Over,
}

impl Shard {
    /// The TLS handshake is over: the first head is awaited.
    pub(super) fn secured(&mut self, key: SessionKey, at: Moment) {
        let deadline = at.now.after(self.settings.timeouts.head_ms);
        let Some(http) = self.http(key) else {
            return;
        };
        http.stage = HttpStage::AwaitHead;
        http.deadline = deadline;
        self.arm(key, deadline);
        self.place(key, crate::event::Place::Http);
    }

    /// Takes in bytes of an HTTP connection. They are used where they are; only what is incomplete is copied aside.
    pub(super) fn receive_requests(&mut self, key: SessionKey, bytes: &mut [u8], at: Moment) {
        let head_ms = self.settings.timeouts.head_ms;
        let Some(http) = self.http(key) else {
            return;
        };
        if http.buffer.is_empty() {
            let used = self.requests(key, bytes, at);
            self.keep_rest(key, bytes.get(used..).unwrap_or_default());
        } else {
            let mut buffer = std::mem::take(&mut http.buffer);
            buffer.extend_from_slice(bytes);
            let used = self.requests(key, &mut buffer, at);
            buffer.drain(..used.min(buffer.len()));
            if let Some(http) = self.http(key) {
                http.buffer = buffer;
            }
        }
        let Some(http) = self.http(key) else {
            return;
        };
        let awaits_head = matches!(http.stage, HttpStage::AwaitHead);
        if http.served && awaits_head && !http.begun && !http.buffer.is_empty() {
            (http.begun, http.deadline) = (true, at.now.after(head_ms)); // the next request has begun
        }
        let deadline = http.deadline;
        self.arm(key, deadline);
    }

    fn keep_rest(&mut self, key: SessionKey, rest: &[u8]) {
        if let Some(http) = self.http(key)
            && !rest.is_empty()
        {
            http.buffer.extend_from_slice(rest);
        }
    }

    /// Goes through whole requests; returns how many bytes are done with.
    fn requests(&mut self, key: SessionKey, bytes: &mut [u8], at: Moment) -> usize {
        let mut used = 0;
        loop {
            let rest = bytes.get_mut(used..).unwrap_or_default();
            match self.request_step(key, rest, at) {
                Step::Wait => return used,
                Step::Used(more) => used += more,
                Step::Frames(head) => {
                    self.receive_first_frames(key, rest.get_mut(head..).unwrap_or_default(), at);
                    return bytes.len();
                }
                Step::Over => return bytes.len(),
            }
        }
    }

    fn receive_first_frames(&mut self, key: SessionKey, frames: &mut [u8], at: Moment) {
        if !frames.is_empty() {
            self.receive_frames(key, frames, at);
        }
    }

    fn request_step(&mut self, key: SessionKey, rest: &mut [u8], at: Moment) -> Step {
        let limits = self.rules.head;
        let Some(session) = self.sessions.get_mut(key) else {
            return Step::Over;
        };
        let State::Http(http) = &mut session.state else {
            return Step::Over;
        };
        match &http.stage {
            HttpStage::AwaitTls | HttpStage::AwaitReply(..) | HttpStage::AwaitHandover(..) => {
                Step::Wait
            }
            HttpStage::AwaitHead if rest.is_empty() => Step::Wait,
            HttpStage::AwaitHead => match http.scanner.end(rest, &limits) {
                Ok(None) => Step::Wait,
                Ok(Some(end)) => {
                    let (head, after) = rest.split_at(end.min(rest.len()));
                    self.head(key, head, after, at)
                }
                Err(error) => self.refuse_head_step(key, error.status(), error.message(), at),
            },
            HttpStage::AwaitBody(_, bytes) => {
                let bytes = *bytes;
                match rest.get_mut(..bytes) {
                    None => Step::Wait,
                    Some(body) => {
                        self.body(key, body, at);
                        Step::Used(bytes)
                    }
                }
            }
        }
    }

    fn head(&mut self, key: SessionKey, bytes: &[u8], after: &[u8], at: Moment) -> Step {
        let head = match Head::parse(bytes, &self.rules.head) {
            Ok(head) => head,
            Err(error) => return self.refuse_head_step(key, error.status(), error.message(), at),
        };
        let request = Request {
            head,
            bytes: bytes.len(),
            after,
        };
        match upgrade(&request.head) {
            Ok(Some(asked)) => return self.upgrade(key, &request, &asked, at),
            Ok(None) => {}
            Err(error) => return self.refuse_upgrade_step(key, error, at),
        }
        match request.head.method() {
            "OPTIONS" => self.preflight(key, &request, at),
            "POST" => self.begin_call(key, &request, at),
            "GET"
                if request
                    .head
                    .query()
                    .is_some_and(|query| query.contains("X-Amz-ChannelARN")) =>
            {
                self.refuse_head_step(
                    key,
                    400,
                    "This request must ask for a WebSocket: Upgrade: websocket.",
                    at,
                )
            }
            _ => self.unknown_operation(key, &request, at),
        }
    }

    fn upgrade(
        &mut self,
        key: SessionKey,
        request: &Request<'_>,
        asked: &Upgrade<'_>,
        at: Moment,
    ) -> Step {
        if self.refuses_in_drain(key, None, at) {
            return Step::Over;
        }
        match self.admission(&request.head, asked) {
            Err((kind, message)) => {
                self.respond_error(key, None, kind, message, true, at);
                Step::Over
            }
            Ok(admission) if self.sends_home(key, &admission) => {
                self.hand_over(key, admission, request.after);
                Step::Over
            }
            Ok(admission) => {
                if self.admit(key, &admission, at) {
                    Step::Frames(request.bytes)
                } else {
                    Step::Over
                }
            }
        }
    }

    fn preflight(&mut self, key: SessionKey, request: &Request<'_>, at: Moment) -> Step {
        let head = &request.head;
        let close = !head.keep_alive();
        let id = self.request_id();
        let asked = head.header("access-control-request-headers");
        self.push(key, |out| {
            preflight(
                out,
                &Meta {
                    wall_ms: at.wall.0,
                    request_id: &id,
                    close,
                },
                asked,
            )
        });
        self.next_request(key, close, at);
        // A preflight has no body; one that announces a body cannot be told from what follows it.
        match head.body() {
            Ok(Body::None | Body::Length(0)) => Step::Used(request.bytes),
            Ok(Body::Length(_)) | Err(_) => {
                self.finish(key, at);
                Step::Over
            }
        }
    }

    fn unknown_operation(&mut self, key: SessionKey, request: &Request<'_>, at: Moment) -> Step {
        let head = &request.head;
        let no_body = matches!(head.body(), Ok(Body::None | Body::Length(0)));
        let close = !head.keep_alive() || !no_body;
        let message = "There is no such operation: see the path, and that the method is POST.";
        self.respond_error(key, None, ErrorKind::UnknownOperation, message, close, at);
        if close {
            Step::Over
        } else {
            Step::Used(request.bytes)
        }
    }

    /// A POST: its operation is known by its path, its body is awaited.
    fn begin_call(&mut self, key: SessionKey, request: &Request<'_>, at: Moment) -> Step {
        let head = &request.head;
        let length = match head.body() {
            Ok(Body::Length(length)) => usize::try_from(length).unwrap_or(usize::MAX),
            Ok(Body::None) => 0, // a POST without any length is an error
            Err(error) => return self.refuse_head_step(key, error.status(), error.message(), at),
        };
        if length > self.settings.limits.body_bytes {
            return self.refuse_head_step(key, 413, "The request body is too large.", at);
        }
        let Some(operation) = Operation::from_path(head.path()) else {
            return self.unknown_operation(key, request, at);
        };
        if self.refuses_in_drain(key, Some(operation), at) {
            return Step::Over;
        }
        if head.expects_continue() && request.after.len() < length {
            self.push(key, |out| out.extend_from_slice(CONTINUE));
        }
        let host = head.host().unwrap_or_default().into();
        let deadline = at.now.after(self.settings.timeouts.body_ms);
        let Some(http) = self.http(key) else {
            return Step::Over;
        };
        http.stage = HttpStage::AwaitBody(
            Asked {
                operation,
                host,
                close: !head.keep_alive(),
            },
            length,
        );
        http.deadline = deadline;
        Step::Used(request.bytes)
    }

    fn body(&mut self, key: SessionKey, body: &mut [u8], at: Moment) {
        let Some(http) = self.http(key) else {
            return;
        };
        let HttpStage::AwaitBody(asked, _) =
            std::mem::replace(&mut http.stage, HttpStage::AwaitHead)
        else {
            return;
        };
        match codec::control::parse(asked.operation, body, &self.rules.calls) {
            Ok(call) => self.call(key, asked, call, at),
            Err(error) => self.respond_error(
                key,
                Some(asked.operation),
                error.kind,
                &error.message,
                asked.close,
                at,
            ),
        }
    }

    /// Answers with an error and goes on to the next request, or ends the connection.
    pub(super) fn respond_error(
        &mut self,
        key: SessionKey,
        operation: Option<Operation>,
        kind: ErrorKind,
        message: &str,
        close: bool,
        at: Moment,
    ) {
        let family = operation.map_or(codec::control::Family::WebSocket, Operation::family);
        let mut body = Vec::new();
        error_body(&mut body, operation, message);
        self.respond(
            key,
            kind.status(family),
            Some(kind.error_type()),
            &body,
            close,
            at,
        );
    }

    /// Answers and goes on to the next request, or ends the connection.
    pub(super) fn respond(
        &mut self,
        key: SessionKey,
        status: u16,
        error_type: Option<&str>,
        body: &[u8],
        close: bool,
        at: Moment,
    ) {
        let id = self.request_id();
        let close = close || self.drains();
        let meta = Meta {
            wall_ms: at.wall.0,
            request_id: &id,
            close,
        };
        self.push(key, |out| {
            respond(out, &meta, status, error_type, "application/json", body)
        });
        if let Some(error_type) = error_type {
            tracing::debug!(request_id = id.as_str(), status, error_type, "refused");
        }
        self.next_request(key, close, at);
    }

    fn next_request(&mut self, key: SessionKey, close: bool, at: Moment) {
        let deadline = at.now.after(self.settings.timeouts.keep_alive_ms);
        let Some(http) = self.http(key) else {
            return;
        };
        let ended = http.ended;
        http.await_head(deadline);
        if close || ended {
            self.finish(key, at);
        }
    }

    /// A request that cannot be understood: answered, then the connection ends, since what follows it is not known.
    pub(super) fn refuse_head(&mut self, key: SessionKey, status: u16, message: &str, at: Moment) {
        let mut body = Vec::new();
        error_body(&mut body, None, message);
        self.respond(
            key,
            status,
            Some("InvalidArgumentException"),
            &body,
            true,
            at,
        );
    }

    fn refuse_head_step(
        &mut self,
        key: SessionKey,
        status: u16,
        message: &str,
        at: Moment,
    ) -> Step {
        self.refuse_head(key, status, message, at);
        Step::Over
    }

    fn refuse_upgrade_step(&mut self, key: SessionKey, error: UpgradeError, at: Moment) -> Step {
        self.refuse_head_step(key, error.status(), error.message(), at)
    }

    /// A new request id: a UUID of version 4 form from the shard's generator.
    pub(super) fn request_id(&mut self) -> String {
        let bits = self.random.u128(..);
        let bits = bits & !(0xf << 76) & !(0x3 << 62) | 0x4 << 76 | 0x2 << 62;
        let hex = format!("{bits:032x}");
        let part = |from: usize, to: usize| hex.get(from..to).unwrap_or_default();
        format!(
            "{}-{}-{}-{}-{}",
            part(0, 8),
            part(8, 12),
            part(12, 16),
            part(16, 20),
            part(20, 32)
        )
    }
}
