//! HTTP on a connection: heads and bodies, with keep-alive and pipelining, to calls and upgrades.

use super::books::Books;
use super::directory::Directory;
use super::gate::Gate;
use super::respond::Purpose;
use super::sockets::Sockets;
use super::sts::answer_sts;
use super::{admission, calls, drain, leave, outboxes, request_bytes, respond, road};
use crate::event::{Requested, UpgradeRole};
use crate::id::SessionKey;
use crate::session::{Asked, Awaited, HttpStage, NEVER, State, Target};
use crate::time::Moment;
use codec::control::{ErrorKind, Operation};
use codec::http::{Body, CONTINUE, Head, Meta, Upgrade, preflight, upgrade};
use codec::sts;

/// A whole request head.
struct Request<'a> {
    head: Head<'a>,
    text: &'a [u8],
    /// Its length.
    bytes: usize,
    /// What has come behind it.
    after: &'a [u8],
}

/// What one step through the bytes did.
enum Step {
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
}

/// Takes in bytes of an HTTP connection. They are used where they are; only what is incomplete, or must wait, is copied
/// aside. Answers at most `visit` heads and bodies; returns how many are left of them.
pub(super) fn take_requests(
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
        let State::Http(http) = &mut session.state else {
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
    let Some(session) = sockets.sessions.get_mut(key) else {
        return Step::Over;
    };
    let answers_wait = session.answers_wait();
    let State::Http(http) = &mut session.state else {
        return Step::Over;
    };
    match &http.stage {
        HttpStage::AwaitTls | HttpStage::AwaitReply(..) | HttpStage::AwaitHandover(..) => {
            Step::Wait
        }
        HttpStage::AwaitHead if rest.is_empty() || answers_wait => Step::Wait,
        HttpStage::AwaitHead | HttpStage::AwaitBody(_) if *visit == 0 => {
            sockets.wait_for_turn(key);
            Step::Wait
        }
        HttpStage::AwaitHead => match http.scanner.end(rest, &limits) {
            Ok(None) => Step::Wait,
            Ok(Some(end)) => {
                *visit -= 1;
                let (head, after) = rest.split_at(end.min(rest.len()));
                take_head(sockets, directory, books, gate, key, head, after, at)
            }
            Err(error) => {
                let (status, message) = (error.status(), error.message());
                sockets.note_method(key, rest);
                refuse_step(sockets, books, key, Purpose::Unknown, status, message, at)
            }
        },
        HttpStage::AwaitBody(awaited) => {
            let bytes = awaited.length;
            match rest.get_mut(..bytes) {
                None => Step::Wait,
                Some(body) => {
                    *visit -= 1;
                    take_body(sockets, directory, books, gate, key, body, at);
                    Step::Used(bytes)
                }
            }
        }
    }
}

fn take_head(
    sockets: &mut Sockets,
    directory: &mut Directory,
    books: &mut Books,
    gate: &mut Gate,
    key: SessionKey,
    bytes: &[u8],
    after: &[u8],
    at: Moment,
) -> Step {
    sockets.note_method(key, bytes);
    let head = match Head::parse(bytes, &sockets.rules.head) {
        Ok(head) => head,
        Err(error) => {
            let (status, message) = (error.status(), error.message());
            return refuse_step(sockets, books, key, Purpose::Unknown, status, message, at);
        }
    };
    if let Some(refusal) = sockets.rules.origins.refusal(&head) {
        let purpose = match head.header("upgrade") {
            Some(_) => upgrade_of(&head),
            None => Purpose::Unknown,
        };
        return refuse_step(sockets, books, key, purpose, 403, refusal, at);
    }
    let request = Request {
        head,
        text: bytes,
        bytes: bytes.len(),
        after,
    };
    match upgrade(&request.head) {
        Ok(Some(asked)) => {
            return take_upgrade(sockets, directory, books, gate, key, &request, &asked, at);
        }
        Ok(None) => {}
        Err(error) => {
            let (status, message) = (error.status(), error.message());
            return refuse_step(
                sockets,
                books,
                key,
                upgrade_of(&request.head),
                status,
                message,
                at,
            );
        }
    }
    match request.head.method() {
        "OPTIONS" => answer_preflight(sockets, books, key, &request, at),
        "POST" => begin_call(sockets, books, gate, key, &request, at),
        "GET"
            if request
                .head
                .query()
                .is_some_and(|query| query.contains("X-Amz-ChannelARN")) =>
        {
            let message = "This request must ask for a WebSocket: Upgrade: websocket.";
            refuse_step(
                sockets,
                books,
                key,
                upgrade_of(&request.head),
                400,
                message,
                at,
            )
        }
        _ => unknown_operation(sockets, books, key, &request, at),
    }
}

impl Sockets {
    /// Whether the answer to this head has a body, also when the head cannot be understood.
    fn note_method(&mut self, key: SessionKey, head: &[u8]) {
        //= https://www.rfc-editor.org/rfc/rfc9110#section-9.3.2
        //# The HEAD method is identical to GET except that the server MUST NOT send content in the response.
        let line = head.strip_prefix(b"\r\n").unwrap_or(head);
        if let Some(http) = self.http(key) {
            http.bodiless = line.starts_with(b"HEAD ");
        }
    }
}

fn take_upgrade(
    sockets: &mut Sockets,
    directory: &mut Directory,
    books: &mut Books,
    gate: &mut Gate,
    key: SessionKey,
    request: &Request<'_>,
    asked: &Upgrade<'_>,
    at: Moment,
) -> Step {
    let purpose = upgrade_of(&request.head);
    if sockets.http(key).is_some_and(|http| http.ended) {
        // It waited for its turn, and its peer has gone meanwhile: as a WebSocket it would wait for messages in vain.
        leave::finish(sockets, directory, books, key, at);
        return Step::Over;
    }
    if drain::refuses_in_drain(sockets, books, key, purpose, at) {
        return Step::Over;
    }
    match admission::admission(sockets, gate, &request.head, asked, at) {
        Err(refusal) => {
            admission::refuse_upgrade(sockets, books, key, purpose, &refusal, at);
            Step::Over
        }
        Ok(admission) if sockets.sends_home(&admission) => {
            sockets.hand_over(key, admission, request.after, at);
            Step::Over
        }
        Ok(admission) => {
            if admission::admit(sockets, directory, books, key, &admission, at) {
                Step::Frames(request.bytes)
            } else {
                Step::Over
            }
        }
    }
}

fn answer_preflight(
    sockets: &mut Sockets,
    books: &mut Books,
    key: SessionKey,
    request: &Request<'_>,
    at: Moment,
) -> Step {
    let head = &request.head;
    let close = !head.keep_alive();
    let id = books.request_id();
    let asked = head.header("access-control-request-headers");
    outboxes::push_response(sockets, books, key, |out| {
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
    books.counters.request(Requested::Unknown, 200);
    sockets.next_request(key, close, at);
    // A preflight has no body; the end of one that announces a body cannot be found.
    match head.body() {
        Ok(Body::None | Body::Length(0)) => Step::Used(request.bytes),
        Ok(Body::Length(_)) | Err(_) => {
            sockets.close_when_sent(key, at);
            Step::Over
        }
    }
}

fn unknown_operation(
    sockets: &mut Sockets,
    books: &mut Books,
    key: SessionKey,
    request: &Request<'_>,
    at: Moment,
) -> Step {
    let head = &request.head;
    let no_body = matches!(head.body(), Ok(Body::None | Body::Length(0)));
    let close = !head.keep_alive() || !no_body;
    let message = "There is no such operation: see the path, and that the method is POST.";
    let kind = ErrorKind::UnknownOperation;
    respond::respond_error(
        sockets,
        books,
        key,
        Purpose::Unknown,
        kind,
        message,
        close,
        at,
    );
    if close {
        Step::Over
    } else {
        Step::Used(request.bytes)
    }
}

/// A POST: whose call it is tells its path, its body is awaited.
fn begin_call(
    sockets: &mut Sockets,
    books: &mut Books,
    gate: &mut Gate,
    key: SessionKey,
    request: &Request<'_>,
    at: Moment,
) -> Step {
    let head = &request.head;
    let length = match head.body() {
        Ok(Body::Length(length)) => usize::try_from(length).unwrap_or(usize::MAX),
        Ok(Body::None) => 0, // a POST without any length is an error
        Err(error) => {
            let (status, message) = (error.status(), error.message());
            return refuse_step(sockets, books, key, Purpose::Unknown, status, message, at);
        }
    };
    if length > sockets.settings.limits.body_bytes {
        let message = "The request body is too large.";
        return refuse_step(sockets, books, key, Purpose::Unknown, 413, message, at);
    }
    let is_form = || head.header("content-type").is_some_and(sts::is_form);
    let target = match Operation::from_path(head.path()) {
        Some(operation) => Target::Api(operation),
        None if head.path() == "/" && is_form() => Target::Sts,
        None => return unknown_operation(sockets, books, key, request, at),
    };
    if drain::refuses_in_drain(sockets, books, key, Purpose::of(target), at) {
        return Step::Over;
    }
    let waits = request.after.len() < length;
    if waits && let Err(refusal) = gate.precheck(head, target, at) {
        // Its body is not waited for, so nobody knows where the next request begins.
        respond::respond_unsigned(sockets, books, key, Purpose::of(target), &refusal, true, at);
        return Step::Over;
    }
    if head.expects_continue() && waits {
        outboxes::push_response(sockets, books, key, |out| out.extend_from_slice(CONTINUE));
    }
    let awaited = Awaited {
        target,
        host: head.host().unwrap_or_default().into(),
        close: !head.keep_alive(),
        length,
        head: gate.authenticator.is_some().then(|| request.text.into()),
    };
    let deadline = at.now.after(sockets.settings.timeouts.body_ms);
    let Some(http) = sockets.http(key) else {
        return Step::Over;
    };
    http.stage = HttpStage::AwaitBody(Box::new(awaited));
    http.deadline = deadline;
    Step::Used(request.bytes)
}

fn take_body(
    sockets: &mut Sockets,
    directory: &mut Directory,
    books: &mut Books,
    gate: &mut Gate,
    key: SessionKey,
    body: &mut [u8],
    at: Moment,
) {
    let Some(http) = sockets.http(key) else {
        return;
    };
    let HttpStage::AwaitBody(awaited) = std::mem::replace(&mut http.stage, HttpStage::AwaitHead)
    else {
        return;
    };
    let Awaited {
        target,
        host,
        close,
        length: _,
        head,
    } = *awaited;
    let caller = match gate.authenticate(head.as_deref(), body, target, at) {
        Ok(caller) => caller,
        Err(refusal) => {
            return respond::respond_unsigned(
                sockets,
                books,
                key,
                Purpose::of(target),
                &refusal,
                close,
                at,
            );
        }
    };
    let operation = match target {
        Target::Api(operation) => operation,
        Target::Sts => return answer_sts(sockets, books, gate, key, &caller, body, close, at),
    };
    match codec::control::parse(operation, body, &sockets.rules.calls) {
        Ok(call) => {
            let asked = Asked {
                operation,
                host,
                close,
                caller,
                subject: None,
                place_kept: false,
            };
            calls::begin(sockets, directory, books, key, asked, call, at);
        }
        Err(error) => {
            let (kind, message) = (error.kind, error.message);
            respond::respond_error(
                sockets,
                books,
                key,
                Purpose::Api(operation),
                kind,
                &message,
                close,
                at,
            );
        }
    }
}

fn refuse_step(
    sockets: &mut Sockets,
    books: &mut Books,
    key: SessionKey,
    purpose: Purpose,
    status: u16,
    message: &str,
    at: Moment,
) -> Step {
    respond::refuse_head(sockets, books, key, purpose, status, message, at);
    Step::Over
}

/// As whom a request for a WebSocket wants to connect, for what is counted before it is known better.
fn upgrade_of(head: &Head<'_>) -> Purpose {
    let names_client = head
        .query()
        .is_some_and(|query| query.contains("X-Amz-ClientId="));
    Purpose::Upgrade(if names_client {
        UpgradeRole::Viewer
    } else {
        UpgradeRole::Master
    })
}
