//! The shard's loops: over the frames and requests of what was received, and over what is due; and what a letter
//! changes.
//!
//! Each item is a step of its own: what it leaves ([`Todo`](crate::shard::todo::Todo)) is done before the next one
//! begins, so that a later item sees what an earlier one has changed. Only these methods, those of `shard.rs`,
//! `todo_dispatch.rs` and `operator_requests.rs`, and those of the test double (`dev/`) have all parts.

use crate::limits::{
    FAULTS_DUE_PER_TICK, REQUESTS_PER_VISIT, SLOT_ORDERS_PER_TURN, WAITING_REQUESTS_PER_TICK,
};
use crate::session::http::Admission;
use crate::shard::calls::letters::Letter;
use crate::shard::calls::responses::Rejected;
use crate::shard::calls::sts::{SignedForm, answer_sts};
use crate::shard::calls::web_identity::{UnsignedForm, answer_sign_in};
use crate::shard::calls::{BegunCall, channel_pages, wake};
use crate::shard::connect::requests::{self, HeadStep, SignedBody, SignedCall};
use crate::shard::connect::{Part, Step, admission};
use crate::shard::dev::faults::Later;
use crate::shard::dev::observations::{self, Signed};
use crate::shard::directory::slots::Slots;
use crate::shard::onward::{self, NamedCall};
use crate::shard::road::in_flight::Parts;
use crate::shard::road::{Aside, Double, pass};
use crate::shard::{Shard, disconnect, recheck, road};
use crate::shard::{dev::message_faults, sockets::Owner, telemetry::Evidence, todo::Todo};
use crate::work_units;
use crate::{event::Purpose, id::SessionKey, journal::EndReason, machine::Output};
use crate::{session::SessionState, time::Moment};
use codec::ws::Item;
use std::sync::Arc;

// Received bytes: frames of a WebSocket, requests of an HTTP connection, and requests that waited for their turn.

impl Shard {
    pub(crate) fn received(&mut self, key: SessionKey, bytes: &mut [u8], at: Moment) {
        if self.receive_frames(key, bytes, at) {
            return;
        }
        let (sockets, _, books, _, todo) = self.parts();
        match sockets.session(key).map(|session| &session.state) {
            Some(SessionState::Http(_)) => self.receive_requests(key, bytes, at),
            Some(SessionState::AwaitCloseEcho(..)) => {
                road::receive_close_echo(sockets, books, todo, key, bytes, at);
            }
            Some(SessionState::Open(_) | SessionState::AwaitGone(_)) | None => {}
        }
    }

    /// The work done since the start, in units.
    pub(crate) fn work_done(&self) -> u64 {
        self.books.work()
            + self.sockets.requests_taken() * work_units::REQUEST
            + self.gate.hashed_bytes() / work_units::HASHED_BYTES_PER_UNIT
            + self.directory.paged() * work_units::RECORD
    }

    /// Handles bytes of an open WebSocket, by the loop that is compiled for the shard's double; false when it is none.
    pub(crate) fn receive_frames(
        &mut self,
        from: SessionKey,
        bytes: &mut [u8],
        at: Moment,
    ) -> bool {
        (self.frames)(self, from, bytes, at)
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
    ) -> bool {
        let Some((mut receiver, mut reader)) = road::lend(&mut self.sockets, from, at) else {
            return false;
        };
        let within = !receiver.is_idle();
        let mut rest = bytes;
        loop {
            let (sockets, directory, books, _, todo) = self.parts();
            // Bytes → frame.
            let (used, frame) =
                match receiver.next(&sockets.message_bounds().at(reader.bounds).frames, rest) {
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
            let ended = matches!(passed, Err(Aside::Ended));
            debug_assert!(ended || self.sockets.still_open(from).is_ok());
            if control && !receiver.in_message() {
                self.sockets.frame_ended(from);
            }
            rest = rest.get_mut(used..).unwrap_or_default();
            match passed {
                Err(Aside::Ended) => break,
                // Nothing follows, as nearly always.
                Ok(()) | Err(Aside::Handled) if rest.is_empty() && receiver.is_idle() => break,
                Ok(()) | Err(Aside::Handled) => {}
            }
        }
        let begun = !receiver.is_idle();
        if road::give_back(&mut self.sockets, receiver, reader) && (within || begun) {
            let (sockets, _, books, _, todo) = self.parts();
            sockets.charge_received(books, todo, from, at);
        }
        true
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
                match requests::take_head(sockets, books, key, head, after, at) {
                    HeadStep::Done(step) => step,
                    HeadStep::Call(request) => {
                        requests::begin_call(sockets, books, gate, key, &request, at)
                    }
                    HeadStep::Provider(request, shown) => {
                        requests::answer_provider(sockets, books, gate, (key, &shown), &request, at)
                    }
                    HeadStep::Stranger(request) => {
                        requests::refuse_stranger(sockets, books, gate, key, &request, at)
                    }
                    HeadStep::Upgrade(_) if sockets.http(key).is_some_and(|http| http.ended) => {
                        // It waited for its turn, and its peer has gone meanwhile: it would wait in vain.
                        sockets.finish(books, todo, key, at);
                        Step::Over
                    }
                    HeadStep::Upgrade(request) => {
                        let signed = Signed {
                            head: &request.head,
                            purpose: requests::upgrade_of(&request.head),
                            body: None,
                        };
                        observations::on_signed(sockets, books, key, &signed, at);
                        let taken = requests::take_upgrade(sockets, books, gate, key, &request, at);
                        if let (Some(device), None) = (&taken, request.asked) {
                            wake::begin(self.road_parts(), key, device, at);
                            Step::Used(end)
                        } else if taken.is_some_and(|client| self.admit(key, client, at)) {
                            Step::Frames(end)
                        } else {
                            Step::Over
                        }
                    }
                }
            }
            Part::NoHead(error) => {
                sockets.note_method(key, rest);
                let (purpose, evidence) = (Purpose::Unknown, Evidence::default());
                let rejected = Rejected::last(purpose, &evidence);
                requests::refuse_step(sockets, books, key, error.into(), rejected, at)
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
        observations::on_body(sockets, books, gate, key, body, at);
        match requests::take_body(sockets, books, gate, key, body, at) {
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
    fn answer_waiting(&mut self, at: Moment) {
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

// A letter of another shard, or of the side thread: what it changes, and what it leaves.

impl Shard {
    pub(crate) fn take_in(&mut self, letter: Letter, at: Moment) {
        let (sockets, directory, books, gate, todo) = self.parts();
        match letter {
            Letter::Query(caller, query) => todo.push(Todo::Query(caller, query)),
            Letter::Answer(from, caller, answer) => {
                sockets.heard_from(from, caller);
                todo.push(Todo::Answer(caller, answer));
            }
            Letter::CallTaken(from, caller) => {
                sockets.heard_from(from, caller);
                sockets.offer_taken(from, caller);
            }
            Letter::CallAnswer(from, caller, answer) => {
                sockets.offer_answered(todo, from, caller, answer);
            }
            Letter::CallWithdrawn(caller) => directory.withdraw_offer(books, todo, caller),
            Letter::CallOver(caller) => directory.free_call_place(caller),
            Letter::Committed(key, result) => directory.committed(books, todo, key, result, at),
            Letter::Slots => {
                if let Some(slots) = directory.slots_mut() {
                    slots.orders_came();
                }
            }
            Letter::Credentials(credentials) => {
                let asks_again = sockets.settings().auth_recheck;
                if gate.replace_credentials(credentials, asks_again, at.now) {
                    directory.forget_account_rates();
                    wake::rules_changed(sockets, directory.polls().sessions(), at);
                }
            }
            Letter::Keyring(keyring) => gate.replace_keyring(keyring),
            Letter::Settings(settings) => {
                sockets.adopt(Arc::clone(&settings));
                directory.adopt(settings);
            }
            Letter::Drain(within_ms) => {
                disconnect::begin_drain(sockets, books, todo, within_ms, at)
            }
        }
    }
}

// The steps in which a test double may take part: the shard takes them through its
// [`Double`](crate::shard::road::Double).

impl Shard {
    /// Admits a connection to its channel, whose home this is; false when it was refused, or is not answered.
    pub(crate) fn admit(&mut self, key: SessionKey, mut admission: Admission, at: Moment) -> bool {
        self.directory.complete(&mut admission);
        let (sockets, books) = (&mut self.sockets, &mut self.books);
        let Some(holder) = admission::holder_of(sockets, books, key, &admission, at) else {
            return false;
        };
        let admitted = (&admission, holder);
        if !self.double.admission(self.road_parts(), key, admitted, at) {
            return false;
        }
        let (sockets, directory, books, gate, todo) = self.parts();
        if recheck::hold(
            sockets,
            directory,
            books,
            gate,
            (key, &admission.caller),
            at,
        ) {
            todo.push(Todo::AskAgain(key));
        }
        true
    }

    /// Begins a call whose signature was checked, unless another node has its channel.
    pub(crate) fn begin_call(&mut self, key: SessionKey, signed: SignedCall, at: Moment) {
        let (sockets, directory, books, ..) = self.parts();
        let SignedCall {
            mut asked,
            call,
            whole,
        } = signed;
        if let Some(whole) = whole {
            let identity = directory.identity_of(&asked.caller, &call);
            let named = NamedCall {
                caller: &asked.caller,
                call: &call,
                identity,
                whole,
            };
            if !onward::call_is_here(sockets, books, key, named, at) {
                return;
            }
        }
        asked.channel = call.channel_name().map(Into::into);
        let begun = BegunCall { key, asked, call };
        self.double.call(self.road_parts(), begun, at);
    }

    /// Does what a step left, and what that leaves.
    #[inline]
    pub(crate) fn settle(&mut self, at: Moment) {
        if !self.todo.is_empty() {
            self.settle_all(at);
        }
    }

    fn settle_all(&mut self, at: Moment) {
        while let Some(left) = self.todo.pop() {
            let others = self.todo.len();
            if let Some(left) = self.double.delivery(self.road_parts(), left, at) {
                self.act(left, at);
            }
            self.todo.newest_first(others);
        }
    }

    /// The parts for a step through the double.
    pub(crate) fn road_parts(&mut self) -> Parts<'_> {
        let (sockets, directory, books, _, todo) = self.parts();
        Parts {
            sockets,
            directory,
            books,
            todo,
        }
    }
}

// Due work: deadlines, what faults held back, pages, slots that come and go, clients on links, the drain, and requests
// that wait.

/// Entries handled in one tick; what is left is due at once, in the next turn.
const DUE_PER_TICK: usize = 512;

impl Shard {
    #[inline]
    pub(crate) fn look_at_drain(&mut self, at: Moment) {
        if !self.sockets.drains() {
            return;
        }
        let waits = self.directory.has_changes() || !self.directory.polls().is_empty();
        let quiet = self.books.is_quiet() && !waits;
        self.sockets.look_at_drain(quiet, at.now);
    }

    /// Does what is due.
    pub(crate) fn tick(&mut self, at: Moment) {
        for _ in 0..DUE_PER_TICK {
            let (sockets, directory, books, _, todo) = self.parts();
            match sockets.next_due(at.now) {
                Some(Owner::Session(key)) => disconnect::session_due(sockets, books, todo, key, at),
                Some(Owner::Channel(key)) => {
                    let caller_of = |session| sockets.session(session)?.open()?.caller;
                    directory.drop_closed(books, key, caller_of, at);
                    directory.channel_due(books, todo, key, at);
                }
                None => break,
            }
            self.settle(at);
        }
        self.ask_due(at);
        self.close_on(at);
        let (sockets, directory, books, ..) = self.parts();
        for (state, viewers) in directory.states_for_viewers(at) {
            for viewer in viewers {
                sockets.tell_viewer(books, viewer, state);
            }
        }
        let (sockets, directory, books, gate, _) = self.parts();
        recheck::step(sockets, directory, books, gate, at);
        directory.rewatch_step();
        self.double_due(at);
        while self.directory.work_on_page(&mut self.todo, at) {
            self.settle(at);
        }
        self.todo.push(Todo::BeginLists);
        self.settle(at);
        self.work_on_slots(at);
        let (sockets, _, books, _, todo) = self.parts();
        books.diary().window_over(at.now);
        sockets.end_leads(at.now);
        sockets.step_drain(books, todo, at);
        self.settle(at);
        self.answer_waiting(at);
    }

    /// Carries out what is due about slots: some orders and answers of all nodes, connections of a node that is alone,
    /// messages to be packed.
    fn work_on_slots(&mut self, at: Moment) {
        if self.directory.slots().is_none() {
            return;
        }
        for _ in 0..SLOT_ORDERS_PER_TURN {
            let next = self.directory.slots_mut().map(Slots::next_order);
            let (order, answer) = next.unwrap_or_default();
            if order.is_none() && answer.is_none() {
                break;
            }
            if let Some((caller, answer)) = answer {
                self.todo.answer(caller, *answer);
                self.settle(at);
            }
            if let Some(order) = order {
                let (_, directory, books, _, todo) = self.parts();
                directory.obey(books, todo, order, at);
                self.settle(at);
            }
        }
        let (sockets, directory, books, _, todo) = self.parts();
        let all = sockets.places();
        let places = |slots: &mut Slots| slots.places_to_close(all, at.now);
        for number in directory.slots_mut().map(places).unwrap_or_default() {
            if let Some(key) = sockets.session_at(number) {
                sockets.close(books, todo, key, EndReason::Drain, at);
            }
        }
        self.settle(at);
        let packing = self.directory.slots_mut().map(Slots::take_packing);
        for packing in packing.unwrap_or_default() {
            self.directory.look_at_packing(&mut self.todo, packing, at);
            self.settle(at);
        }
    }

    /// Goes on closing connections that were too many for the turn before.
    fn close_on(&mut self, at: Moment) {
        self.sockets.begin_closing(at);
        while let Some((session, reason)) = self.sockets.next_to_close(at) {
            let (sockets, _, books, _, todo) = self.parts();
            sockets.close(books, todo, session, reason, at);
            self.settle(at);
        }
    }

    /// Begins the next list that waits, if the turn has room; what it leaves is done before the one after it.
    pub(crate) fn begin_list(&mut self, at: Moment) {
        let (sockets, directory, books, _, todo) = self.parts();
        if directory.page_turn().has_room_for_more(at) {
            sockets.hold(books, todo, at);
            if channel_pages::begin_list(sockets, directory, todo, at) {
                todo.push(Todo::BeginLists);
            }
        }
    }
}

// The due work of faults: messages and ends of connections that they held back.

impl Shard {
    /// Goes on with what faults held back until now, a bounded number.
    fn double_due(&mut self, at: Moment) {
        for _ in 0..FAULTS_DUE_PER_TICK {
            let (sockets, directory, books, _, todo) = self.parts();
            match sockets.take_held(at) {
                Some(Later::Message(message)) => {
                    let parts = Parts {
                        sockets,
                        directory,
                        books,
                        todo,
                    };
                    message_faults::release(parts, message, at);
                }
                Some(Later::Close {
                    session,
                    code,
                    reason,
                }) => {
                    let ending = (EndReason::Operator, code, &*reason);
                    sockets.close_with(books, todo, session, ending, at);
                }
                None => break,
            }
            self.settle(at);
        }
        self.sockets.unmute_due(at);
    }
}
