//! Received bytes: frames of a WebSocket, requests of an HTTP connection, and requests that waited for their turn.

use crate::event::Purpose;
use crate::id::SessionKey;
use crate::journal::EndReason;
use crate::limits::{REQUESTS_PER_VISIT, WAITING_REQUESTS_PER_TICK};
use crate::machine::Output;
use crate::session::SessionState;
use crate::shard::Shard;
use crate::shard::books::evidence::Evidence;
use crate::shard::calls::respond::Rejected;
use crate::shard::calls::sts::web_identity::{UnsignedForm, answer_sign_in};
use crate::shard::calls::sts::{SignedForm, answer_sts};
use crate::shard::calls::wake;
use crate::shard::connect::bodies::{self, SignedBody};
use crate::shard::connect::heads::{self, HeadStep};
use crate::shard::connect::requests::{Part, Step};
use crate::shard::road::double::Double;
use crate::shard::road::frames::{self, Aside};
use crate::shard::road::parts::Parts;
use crate::shard::road::pass;
use crate::time::Moment;
use crate::work;
use codec::ws::Item;

impl Shard {
    pub(crate) fn received(&mut self, key: SessionKey, bytes: &mut [u8], at: Moment) {
        let (sockets, _, books, _, todo) = self.parts();
        match sockets.session(key).map(|session| &session.state) {
            Some(SessionState::Http(_)) => self.receive_requests(key, bytes, at),
            Some(SessionState::Open(_)) => self.receive_frames(key, bytes, at),
            Some(SessionState::AwaitCloseEcho(..)) => {
                frames::receive_close_echo(sockets, books, todo, key, bytes, at);
            }
            Some(SessionState::AwaitGone(_)) | None => {}
        }
    }

    /// The work done since the start, in units.
    pub(crate) fn work_done(&self) -> u64 {
        self.books.work()
            + self.sockets.requests_taken() * work::REQUEST
            + self.gate.hashed_bytes() / work::HASHED_BYTES_PER_UNIT
            + self.directory.paged() * work::RECORD
    }

    /// Handles bytes of an open WebSocket, by the loop that is compiled for the shard's double.
    pub(crate) fn receive_frames(&mut self, from: SessionKey, bytes: &mut [u8], at: Moment) {
        (self.frames)(self, from, bytes, at);
    }

    /// The same: every whole frame is passed on. All frames of one receive are handled at once.
    ///
    /// The receiver is lent out of its session for the time of the call, and the parser out of the shard's scratch
    /// memory, so that what they borrow from `bytes` is separate from all that a message may change.
    pub(crate) fn frames_with<D: Double + Default>(
        &mut self,
        from: SessionKey,
        bytes: &mut [u8],
        at: Moment,
    ) {
        let Some((mut receiver, mut reader)) = frames::lend(&mut self.sockets, from, at) else {
            return;
        };
        let within = !receiver.is_idle();
        let mut rest = bytes;
        loop {
            let (sockets, directory, books, _, todo) = self.parts();
            // Bytes → frame.
            let (used, frame) = match receiver.next(&sockets.rules().frames, rest) {
                Ok((used, Some(frame))) => (used, frame),
                Ok((_, None)) => break,
                Err(error) => {
                    let reason = EndReason::ProtocolError(error);
                    sockets.close(books, todo, from, reason, at);
                    break;
                }
            };
            books.count_frame();
            let control = matches!(frame, Item::Ping(_) | Item::Pong(_));
            let parts = Parts {
                sockets,
                directory,
                books,
                todo,
            };
            let mut passed = pass::<D>(parts, frame, &mut reader);
            if !self.todo.is_empty() {
                self.settle(at);
                if self.sockets.still_open(from).is_err() {
                    passed = Err(Aside::Ended);
                }
            }
            if control && !receiver.in_message() {
                self.sockets.frame_ended(from);
            }
            rest = rest.get_mut(used..).unwrap_or_default();
            match passed {
                Ok(()) | Err(Aside::Handled) => {}
                Err(Aside::Ended) => break,
            }
        }
        let begun = !receiver.is_idle();
        if frames::give_back(&mut self.sockets, receiver, reader) && (within || begun) {
            let (sockets, _, books, _, todo) = self.parts();
            sockets.charge_received(books, todo, from, at);
        }
    }

    /// Handles bytes of an HTTP connection, or continues with those that wait there.
    pub(crate) fn receive_requests(&mut self, key: SessionKey, bytes: &mut [u8], at: Moment) {
        let done = self.work_done();
        let allowed = self.sockets.begin_visit(done, at);
        let left = self.take_requests(key, bytes, allowed, at);
        self.sockets.end_visit(allowed - left);
    }

    /// The same of bytes that are used where they are; only what is incomplete, or must wait, is copied aside. Answers
    /// at most `visit` heads and bodies; returns how many are left of them.
    fn take_requests(
        &mut self,
        key: SessionKey,
        bytes: &mut [u8],
        mut visit: u32,
        at: Moment,
    ) -> u32 {
        let Some(http) = self.sockets.http(key) else {
            return visit;
        };
        if http.queued {
            http.buffer.extend_from_slice(bytes); // behind what waits already
        } else if http.buffer.is_empty() {
            let used = self.requests(key, bytes, &mut visit, at);
            let rest = bytes.get(used..).unwrap_or_default();
            self.sockets.keep_rest(key, rest);
            self.sockets.await_rest(key, at);
        } else {
            let mut buffer = std::mem::take(&mut http.buffer);
            buffer.extend_from_slice(bytes);
            let used = self.requests(key, &mut buffer, &mut visit, at);
            buffer.drain(..used.min(buffer.len()));
            if let Some(http) = self.sockets.http(key)
                && !buffer.is_empty()
            {
                http.buffer = buffer;
            }
            self.sockets.await_rest(key, at);
        }
        let (sockets, _, books, _, todo) = self.parts();
        sockets.charge_received(books, todo, key, at);
        visit
    }

    /// Goes through whole requests; returns how many bytes are done with. A request behind a call waits for its
    /// answer, which is taken at the end of the input.
    fn requests(
        &mut self,
        key: SessionKey,
        bytes: &mut [u8],
        visit: &mut u32,
        at: Moment,
    ) -> usize {
        let mut used = 0;
        loop {
            let rest = bytes.get_mut(used..).unwrap_or_default();
            match self.request(key, rest, visit, at) {
                Step::Wait => return used,
                Step::Used(more) => used += more,
                Step::Frames(head) => {
                    self.settle(at);
                    let frames = rest.get_mut(head..).unwrap_or_default();
                    if !frames.is_empty() {
                        self.receive_frames(key, frames, at);
                    }
                    return bytes.len();
                }
                Step::Over => return bytes.len(),
            }
            self.settle(at);
        }
    }

    /// Handles the next head or body, if it is whole and its turn has come.
    fn request(&mut self, key: SessionKey, rest: &mut [u8], visit: &mut u32, at: Moment) -> Step {
        let waits = *visit == 0 || self.sockets.turn_is_over(self.work_done());
        let part = self.sockets.next_part(key, rest, waits);
        if let Part::Head(_) | Part::Body(_) = part {
            *visit -= 1;
            self.sockets.count_request();
        }
        let (sockets, _, books, gate, todo) = self.parts();
        match part {
            Part::None(step) => step,
            Part::Head(end) => {
                let (head, after) = rest.split_at(end);
                match heads::take_head(sockets, books, key, head, after, at) {
                    HeadStep::Done(step) => step,
                    HeadStep::Call(request) => {
                        heads::begin_call(sockets, books, gate, key, &request, at)
                    }
                    HeadStep::Provider(request, shown) => {
                        heads::answer_provider(sockets, books, gate, (key, &shown), &request, at)
                    }
                    HeadStep::Stranger(request) => {
                        heads::refuse_stranger(sockets, books, gate, key, &request, at)
                    }
                    HeadStep::Upgrade(_) | HeadStep::Wake(_)
                        if sockets.http(key).is_some_and(|http| http.ended) =>
                    {
                        // It waited for its turn, and its peer has gone meanwhile: it would wait in vain.
                        sockets.finish(books, todo, key, at);
                        Step::Over
                    }
                    HeadStep::Upgrade(request) => {
                        match heads::take_upgrade(sockets, books, gate, key, &request, at) {
                            Some(admission) if self.admit(key, &admission, at) => Step::Frames(end),
                            Some(_) | None => Step::Over,
                        }
                    }
                    HeadStep::Wake(request) => {
                        match heads::take_upgrade(sockets, books, gate, key, &request, at) {
                            Some(admission) => {
                                wake::begin(self.road_parts(), key, &admission, at);
                                Step::Used(end)
                            }
                            None => Step::Over,
                        }
                    }
                }
            }
            Part::NoHead(error) => {
                sockets.note_method(key, rest);
                let (purpose, evidence) = (Purpose::Unknown, Evidence::default());
                let rejected = Rejected::last(purpose, &evidence);
                heads::refuse_step(sockets, books, key, error.into(), rejected, at)
            }
            Part::Body(bytes) => {
                let body = rest.get_mut(..bytes).unwrap_or_default();
                self.request_body(key, body, at);
                Step::Used(bytes)
            }
        }
    }

    /// Handles a whole body.
    fn request_body(&mut self, key: SessionKey, body: &mut [u8], at: Moment) {
        let (sockets, directory, books, gate, _) = self.parts();
        match bodies::take_body(sockets, books, gate, key, body, at) {
            Some(SignedBody::Call(call)) => self.begin_call(key, call, at),
            Some(SignedBody::Form(caller, close)) => {
                let signed = SignedForm {
                    key,
                    caller: &caller,
                    body,
                    close,
                    rate: directory.federation_rate(),
                };
                answer_sts(sockets, books, gate, &signed, at);
            }
            Some(SignedBody::SignIn(close)) => {
                let rate = directory.federation_rate();
                let form = UnsignedForm {
                    key,
                    body,
                    close,
                    rate,
                };
                answer_sign_in(sockets, books, gate, &form, at);
            }
            None => {}
        }
    }

    /// The next request that waited behind a call which was answered, or for its peer to take answers, begins. False
    /// when there is none.
    pub(crate) fn receive_answered(&mut self, at: Moment) -> bool {
        let Some(session) = self.sockets.next_going_on() else {
            return false;
        };
        self.receive_requests(session, &mut [], at);
        true
    }

    /// Goes on with connections whose requests wait, each at most once. A visit costs at least one request: the look at
    /// an unfinished one is work too.
    pub(crate) fn answer_waiting(&mut self, at: Moment) {
        let mut left = WAITING_REQUESTS_PER_TICK;
        let done = self.work_done();
        self.sockets.begin_tick(done);
        for _ in 0..self.sockets.waiting_requests() {
            if left == 0 || self.sockets.turn_is_over(self.work_done()) {
                return;
            }
            let Some(key) = self.sockets.next_waiting() else {
                return;
            };
            if self.sockets.http(key).is_none() {
                continue; // gone meanwhile
            }
            let allowed = REQUESTS_PER_VISIT.min(left);
            let rest = self.take_requests(key, &mut [], allowed, at);
            left -= (allowed - rest).max(1);
            self.settle(at);
            // Also without an answer: the edge asks whether to read on.
            self.sockets.output(Output::Send(key));
        }
    }
}
