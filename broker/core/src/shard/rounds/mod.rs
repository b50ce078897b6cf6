//! The shard's loops. Each item is a step of its own: what it leaves is done before the next one begins.

use super::Shard;
use super::calls::pages;
use super::connect::heads::{self, HeadStep, SignedCall};
use super::connect::requests::{Part, Step};
use super::dev::faults::{self, Later};
use super::dev::parity;
use super::dev::reset::{Reset, ResetStep};
use super::end::timers::{self, Owner};
use super::nodes::tunnel;
use super::operator::inspect::channels::view;
use super::operator::inspect::{self, Question, Reply};
use super::operator::{connection_lookup, trace};
use super::road::frames::{self, Aside};
use super::road::pass;
use super::todo::Todo;
use super::{PageQuestion, calls};
use crate::event::Purpose;
use crate::id::SessionKey;
use crate::journal::EndReason;
use crate::limits::{
    FAULTS_DUE_PER_TICK, LIST_PAGE_MAX, REQUESTS_PER_VISIT, SLOT_ORDERS_PER_TURN,
    WAITING_REQUESTS_PER_TICK,
};
use crate::machine::Output;
use crate::time::Moment;
use crate::work;
use codec::ws::Item;

/// Entries handled in one tick; what is left is due at once, in the next turn.
const DUE_PER_TICK: usize = 512;

impl Shard {
    /// Handles bytes of an open WebSocket: every whole frame is passed on. All frames of one receive are handled at
    /// once.
    ///
    /// The receiver is lent out of its session for the time of the call, and the parser out of the shard's scratch
    /// memory, so that what they borrow from `bytes` is separate from all that a message may change.
    pub(super) fn receive_frames(&mut self, from: SessionKey, bytes: &mut [u8], at: Moment) {
        let Some((mut receiver, mut reader)) = frames::lend(&mut self.sockets, from) else {
            return;
        };
        let within = !receiver.is_idle();
        let mut rest = bytes;
        loop {
            let (sockets, directory, books, _, todo) = self.parts();
            // Bytes → frame.
            let (used, frame) = match receiver.next(&sockets.rules.frames, rest) {
                Ok((used, Some(frame))) => (used, frame),
                Ok((_, None)) => break,
                Err(error) => {
                    let reason = EndReason::ProtocolError(error);
                    sockets.close(books, todo, from, reason, at);
                    break;
                }
            };
            books.frames += 1;
            let control = matches!(frame, Item::Ping(_) | Item::Pong(_));
            let mut passed = pass(
                sockets,
                directory,
                books,
                todo,
                from,
                frame,
                &mut reader,
                at,
            );
            if !todo.is_empty() {
                self.settle(at);
                passed = passed.and_then(|()| self.sockets.still_open(from));
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
        if frames::give_back(&mut self.sockets, from, receiver, reader, at) && (within || begun) {
            let (sockets, _, books, _, todo) = self.parts();
            sockets.charge_received(books, todo, from, at);
        }
    }

    /// Handles bytes of an HTTP connection, or continues with those that wait there.
    pub(super) fn receive_requests(&mut self, key: SessionKey, bytes: &mut [u8], at: Moment) {
        let done = self.work_done();
        let allowed = self.sockets.requests.turns.visit(done, at);
        let left = self.take_requests(key, bytes, allowed, at);
        self.sockets.requests.turns.fresh += allowed - left;
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

    /// Goes through whole requests; returns how many bytes are done with. What waits for the answer of a call waits for
    /// the end of the input, where answers are taken.
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
            if !self.todo.is_empty() {
                if self.sockets.awaiting(key).is_some() {
                    return used;
                }
                self.settle(at);
            }
        }
    }

    /// Handles the next head or body, if it is whole and its turn has come.
    fn request(&mut self, key: SessionKey, rest: &mut [u8], visit: &mut u32, at: Moment) -> Step {
        let waits = *visit == 0 || self.sockets.requests.turns.is_over(self.work_done());
        let part = self.sockets.next_part(key, rest, waits);
        if let Part::Head(_) | Part::Body(_) = part {
            *visit -= 1;
            self.sockets.requests.turns.take();
        }
        let (sockets, directory, books, gate, todo) = self.parts();
        match part {
            Part::None(step) => step,
            Part::Head(end) => {
                let (head, after) = rest.split_at(end);
                match heads::take_head(sockets, books, key, head, after, at) {
                    HeadStep::Done(step) => step,
                    HeadStep::Call(request) => {
                        heads::begin_call(sockets, books, gate, key, &request, at)
                    }
                    HeadStep::Upgrade(request) => heads::take_upgrade(
                        sockets, directory, books, gate, todo, key, &request, at,
                    ),
                }
            }
            Part::NoHead(error) => {
                sockets.note_method(key, rest);
                let (purpose, evidence) = (Purpose::Unknown, Default::default());
                heads::refuse_step(sockets, books, key, purpose, error.into(), &evidence, at)
            }
            Part::Body(bytes) => {
                let body = rest.get_mut(..bytes).unwrap_or_default();
                let rate = directory.federation_rate();
                if let Some(signed) = heads::take_body(sockets, books, gate, key, body, rate, at) {
                    self.begin_call(key, signed, at);
                }
                Step::Used(bytes)
            }
        }
    }

    fn begin_call(&mut self, key: SessionKey, signed: SignedCall, at: Moment) {
        let (sockets, directory, books, _, todo) = self.parts();
        let SignedCall { asked, call, whole } = signed;
        if let Some(whole) = whole {
            let identity = directory.identity_of(&asked.caller, &call);
            let of = (&asked.caller, &call);
            if !tunnel::call_is_here(sockets, books, key, of, identity, whole, at) {
                return;
            }
        }
        calls::begin(sockets, directory, books, todo, key, asked, call, at);
    }

    /// The next request that waited behind a call which was answered, or for its peer to take answers, begins. False
    /// when there is none.
    pub(super) fn receive_answered(&mut self, at: Moment) -> bool {
        let Some(session) = self.sockets.requests.turns.answered.pop_front() else {
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
        self.sockets.requests.turns.begin_tick(done);
        for _ in 0..self.sockets.requests.turns.waiting() {
            if left == 0 || self.sockets.requests.turns.is_over(self.work_done()) {
                return;
            }
            let Some(key) = self.sockets.requests.turns.next_waiting() else {
                return;
            };
            let Some(http) = self.sockets.http(key) else {
                continue; // gone meanwhile
            };
            http.queued = false;
            let allowed = REQUESTS_PER_VISIT.min(left);
            let rest = self.take_requests(key, &mut [], allowed, at);
            left -= (allowed - rest).max(1);
            self.settle(at);
            // Also without an answer: the edge asks whether to read on.
            self.sockets.output(Output::Send(key));
        }
    }

    /// Does what is due.
    pub(super) fn tick(&mut self, at: Moment) {
        for _ in 0..DUE_PER_TICK {
            let (sockets, directory, books, _, todo) = self.parts();
            match sockets.next_due(at.now) {
                Some(Owner::Session(key)) => timers::session_due(sockets, books, todo, key, at),
                Some(Owner::Channel(key)) => directory.channel_due(books, todo, key, at),
                None => break,
            }
            self.settle(at);
        }
        if self.sockets.dev.faults.is_some() {
            self.faults_due(at);
        }
        while self.directory.work_on_page(&mut self.todo, at) {
            self.settle(at);
        }
        self.todo.push(Todo::BeginLists);
        self.settle(at);
        self.work_on_slots(at);
        let (sockets, _, books, _, todo) = self.parts();
        sockets.step_drain(books, todo, at);
        self.settle(at);
        self.answer_waiting(at);
    }

    /// What faults held back until now goes on.
    fn faults_due(&mut self, at: Moment) {
        for _ in 0..FAULTS_DUE_PER_TICK {
            let (sockets, directory, books, _, todo) = self.parts();
            match sockets.take_held(at) {
                Some(Later::Message(message)) => {
                    faults::release(sockets, directory, books, todo, message, at);
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

    /// Carries out what is due about slots: some orders, connections of a node that is alone, messages to be packed.
    fn work_on_slots(&mut self, at: Moment) {
        if self.directory.slots.is_none() {
            return;
        }
        for _ in 0..SLOT_ORDERS_PER_TURN {
            let (_, directory, books, _, todo) = self.parts();
            let Some(order) = directory.next_slot_order() else {
                break;
            };
            directory.obey(books, todo, order, at);
            self.settle(at);
        }
        let (sockets, directory, books, _, todo) = self.parts();
        for number in directory.places_to_close(sockets.sessions.slots(), at) {
            if let Some(key) = sockets.sessions.at(number) {
                sockets.close(books, todo, key, EndReason::Drain, at);
            }
        }
        self.settle(at);
        let (_, directory, books, _, todo) = self.parts();
        directory.look_at_packing(books, todo, at);
        self.settle(at);
    }

    /// Begins the next list that waits, if the turn has room; what it leaves is done before the one after it.
    pub(super) fn begin_list(&mut self, at: Moment) {
        let (sockets, directory, books, _, todo) = self.parts();
        if directory.has_room_for_list(at) {
            sockets.hold(books, todo, at);
            if pages::begin_list(sockets, directory, todo, at) {
                todo.push(Todo::BeginLists);
            }
        }
    }

    /// A connection was admitted: what the test double notes of it, and does to it.
    pub(super) fn joined(&mut self, key: SessionKey, at: Moment) {
        let (sockets, directory, books, _, todo) = self.parts();
        let web_socket = sockets.web_socket(key);
        let Some((channel, role)) = web_socket.map(|it| (it.channel, it.role.clone())) else {
            return;
        };
        parity::on_join(sockets, directory, channel, &role, at);
        let channel = directory.channels.get(channel);
        let name = channel.map(|channel| channel.record.arn.name());
        faults::on_session(sockets, books, todo, key, name, at);
    }

    /// Answers a question of an operator, or takes one step of what it asks for.
    pub(super) fn answer_operator(&mut self, question: Question, at: Moment) -> Reply {
        let (sockets, directory, books, _, todo) = self.parts();
        match question {
            Question::Page {
                prefix,
                after,
                limit,
            } => directory.inspect_page(&prefix, after.as_ref(), limit.min(LIST_PAGE_MAX)),
            Question::Part(question) => {
                let limit = question.limit.min(LIST_PAGE_MAX);
                let question = PageQuestion { limit, ..question };
                Reply::Part(Box::new(directory.part(&question, at.now)))
            }
            Question::Count(tenant) => Reply::Count(directory.holdings.of_tenant(&tenant)),
            Question::Channel(identity) => {
                let key = directory.names.get(&identity);
                let view = key.and_then(|key| view(sockets, directory, *key, at));
                Reply::Channel(view.map(Box::new))
            }
            Question::Trace {
                identity,
                from,
                limit,
            } => {
                let recorder = &books.recorder;
                let step = trace::step(sockets, directory, recorder, &identity, from, limit, at);
                Reply::Trace(step.map(Box::new))
            }
            Question::Session(session, before) => {
                let recorder = &books.recorder;
                let step = connection_lookup::step(sockets, directory, recorder, session, before);
                Reply::Session(Box::new(step))
            }
            Question::ReconnectIce {
                channel: Some(identity),
                from: _,
            } => {
                let members = directory.members_of(&identity).unwrap_or_default();
                sockets.reconnect_members(books, members, at)
            }
            Question::ReconnectIce {
                channel: None,
                from,
            } => sockets.reconnect_some(books, from, at),
            Question::Reset(reset) if sockets.settings.dev => Reply::Reset(self.reset(reset, at)),
            Question::Reset(_) => Reply::Reset(ResetStep::default()),
            Question::Parity => {
                let parity = sockets.dev.parity.as_deref_mut();
                let findings = parity.map(parity::Parity::findings);
                Reply::Findings(findings.unwrap_or_default())
            }
            Question::AddFault(rule) => {
                if sockets.add_fault(rule, at) {
                    self.disturb_sessions(at);
                }
                Reply::Done
            }
            Question::Disconnect { channel, which } => {
                let closed = inspect::disconnect(sockets, directory, todo, &channel, &which);
                Reply::Disconnected(closed)
            }
        }
    }

    /// A fault about sessions acts on those that are open.
    fn disturb_sessions(&mut self, at: Moment) {
        for slot in 0..self.sockets.sessions.slots() {
            let (sockets, directory, books, _, todo) = self.parts();
            let Some(key) = sockets.sessions.at(slot) else {
                continue;
            };
            let channel = sockets.web_socket(key).map(|it| it.channel);
            let channel = channel.and_then(|key| directory.channels.get(key));
            let name = channel.map(|channel| channel.record.arn.name());
            faults::on_session(sockets, books, todo, key, name, at);
            self.settle(at);
        }
    }

    /// Ends channels that a test has used, a bounded number.
    fn reset(&mut self, mut reset: Reset, at: Moment) -> ResetStep {
        let mut done = ResetStep::default();
        let (sockets, directory, books, _, todo) = self.parts();
        reset.begin(sockets, books, todo, at);
        let channels = reset.channels(directory);
        self.settle(at);
        for identity in channels {
            let (sockets, directory, books, _, todo) = self.parts();
            if let Some(key) = done.end(sockets, directory, todo, identity) {
                sockets.withdraw_held(books, key);
            }
            self.settle(at);
        }
        done.deleting = reset.deleting(&self.directory);
        done
    }

    /// The work done since the start, in units.
    pub(super) fn work_done(&self) -> u64 {
        self.books.frames * work::FRAME
            + self.sockets.requests.turns.taken() * work::REQUEST
            + self.gate.hashed_bytes() / work::HASHED_BYTES_PER_UNIT
            + self.books.counters.policy_steps * work::POLICY_STEP
            + self.directory.pages.records() * work::RECORD
    }

    pub(super) fn look_at_drain(&mut self, at: Moment) {
        let counters = &self.books.counters;
        let quiet = counters.waiting_calls == 0
            && counters.outbox_bytes == 0
            && counters.control_bytes == 0
            && self.directory.changes.under_way.is_empty();
        self.sockets.look_at_drain(quiet, at);
    }
}
