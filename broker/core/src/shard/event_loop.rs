//! Processes everything that a shard receives: frames, requests, messages from other shards, and expired timers.
//!
//! Each frame, request or message is processed in its own step. The shard performs the work that a step defers
//! ([`Todo`](crate::shard::todo::Todo)) before it starts the next step, so the next step sees all of its effects. Only
//! the methods in this file, in `shard.rs`, `todo_dispatch.rs` and `operator_requests.rs`, and those of the interposer
//! (`dev/`) can access the whole state.

use crate::limits::{
    ASKS_PER_TICK, FAULTS_DUE_PER_TICK, REQUESTS_PER_VISIT, SLOT_ORDERS_PER_TURN,
    WAITING_REQUESTS_PER_TICK,
};
use crate::session::SessionState;
use crate::shard::calls::letters::Letter;
use crate::shard::calls::{channel_pages, wake};
use crate::shard::connect::requests;
use crate::shard::directory::slots::DirectorySlots;
use crate::shard::road::{Aside, pass, with_care};
use crate::shard::sockets::{Owner, Part, Step};
use crate::shard::state::State;
use crate::shard::{Shard, connect, dev, disconnect, recheck, road, slot_moves};
use crate::shard::{evidence::Evidence, todo::Todo};
use crate::work_units;
use crate::{event::Purpose, id::SessionKey, journal::EndReason, machine::Output};
use codec::ws::Item;
use std::sync::Arc;

// Received bytes: WebSocket frames, HTTP requests, and requests that had to wait their turn.

impl Shard {
    pub(crate) fn received(&mut self, key: SessionKey, bytes: &mut [u8]) {
        if self.receive_frames(key, bytes) {
            return;
        }
        let sockets = &mut self.state.sockets;
        match sockets.session(key).map(|session| &session.state) {
            Some(SessionState::Http(_)) => self.receive_requests(key, bytes),
            Some(SessionState::AwaitCloseEcho(..)) => {
                road::receive_close_echo(&mut self.state, key, bytes);
            }
            Some(SessionState::Open(_) | SessionState::AwaitGone(_)) | None => {}
        }
    }

    /// Returns the amount of work done since startup, in work units.
    pub(crate) fn work_done(&self) -> u64 {
        self.state.cx.telemetry.work()
            + self.state.sockets.turns.taken * work_units::REQUEST
            + self.state.gate.hashed_bytes() / work_units::HASHED_BYTES_PER_UNIT
            + self.state.directory.pages.records * work_units::RECORD
    }

    /// Handles bytes received on an open WebSocket by processing all complete frames. Returns `false` if the session
    /// has no open WebSocket.
    ///
    /// While it runs, the session's receiver and the shard's parser are moved out of the state. Both borrow from
    /// `bytes`, and handling a message may change anything left in the state.
    pub(crate) fn receive_frames(&mut self, from: SessionKey, bytes: &mut [u8]) -> bool {
        let now = self.state.cx.at.now;
        let Some((mut receiver, mut reader)) = self.state.sockets.lend(from, now) else {
            return false;
        };
        let within = !receiver.is_idle();
        let takes_care = reader.may_be_late | self.state.interposer.is_some();
        let mut rest = bytes;
        loop {
            let (sockets, _, cx, ..) = self.state.parts();
            // Bytes → frame.
            let (used, frame) =
                match receiver.next(&sockets.message_bounds().at(reader.bounds).frames, rest) {
                    Ok((used, Some(frame))) => (used, frame),
                    Ok((_, None)) => break,
                    Err(error) => {
                        let reason = EndReason::ProtocolError(error);
                        sockets.close(cx, from, reason);
                        break;
                    }
                };
            cx.telemetry.count_frame();
            let control = matches!(frame, Item::Ping(_) | Item::Pong(_));
            let mut passed = if takes_care {
                with_care::pass(&mut self.state, frame, &mut reader)
            } else {
                pass(&mut self.state, frame, &mut reader)
            };
            if !self.state.cx.todo.is_empty() {
                self.settle();
                if self.state.sockets.web_socket(from).is_none() {
                    passed = Err(Aside::Ended);
                }
            }
            let ended = matches!(passed, Err(Aside::Ended));
            debug_assert!(ended || self.state.sockets.web_socket(from).is_some());
            if control
                && !receiver.in_message()
                && let Some(web_socket) = self.state.sockets.web_socket(from)
            {
                web_socket.message_ended();
            }
            rest = rest.get_mut(used..).unwrap_or_default();
            match passed {
                Err(Aside::Ended) => break,
                // Usually, there is nothing left to read.
                Ok(()) | Err(Aside::Handled) if rest.is_empty() && receiver.is_idle() => break,
                Ok(()) | Err(Aside::Handled) => {}
            }
        }
        let begun = !receiver.is_idle();
        if self.state.sockets.take_lent(receiver, reader, now) && (within || begun) {
            connect::charge_received(&mut self.state, from);
        }
        true
    }

    /// Handles bytes received on an HTTP connection. Also called to resume with bytes that were buffered earlier.
    pub(crate) fn receive_requests(&mut self, key: SessionKey, bytes: &mut [u8]) {
        let done = self.work_done();
        let allowed = self.state.sockets.turns.visit(done, self.state.cx.at);
        let left = self.take_requests(key, bytes, allowed);
        self.state.sockets.turns.fresh += allowed - left;
    }

    /// Parses requests in place, copying bytes only if a request is incomplete or must wait. Processes at most `visit`
    /// heads and bodies, and returns how much of that allowance is left.
    fn take_requests(&mut self, key: SessionKey, bytes: &mut [u8], mut visit: u32) -> u32 {
        let Some(http) = self.state.sockets.http(key) else {
            return visit;
        };
        if http.queued {
            http.buffer.extend_from_slice(bytes); // after bytes that already wait
        } else if http.buffer.is_empty() {
            let used = self.requests(key, bytes, &mut visit);
            let rest = bytes.get(used..).unwrap_or_default();
            if let Some(http) = self.state.sockets.http(key)
                && !rest.is_empty()
            {
                http.buffer.extend_from_slice(rest);
            }
            self.state.sockets.await_rest(key, self.state.cx.at);
        } else {
            let mut buffer = std::mem::take(&mut http.buffer);
            buffer.extend_from_slice(bytes);
            let used = self.requests(key, &mut buffer, &mut visit);
            buffer.drain(..used.min(buffer.len()));
            if let Some(http) = self.state.sockets.http(key)
                && !buffer.is_empty()
            {
                http.buffer = buffer;
            }
            self.state.sockets.await_rest(key, self.state.cx.at);
        }
        connect::charge_received(&mut self.state, key);
        visit
    }

    /// Processes complete requests, and returns the number of bytes consumed. A request that was pipelined behind a
    /// call waits until the end of the input, when that call is answered.
    fn requests(&mut self, key: SessionKey, bytes: &mut [u8], visit: &mut u32) -> usize {
        let mut used = 0;
        loop {
            let rest = bytes.get_mut(used..).unwrap_or_default();
            match self.request(key, rest, visit) {
                Step::Wait => return used,
                Step::Used(more) => used += more,
                Step::Frames(head) => {
                    self.settle();
                    let frames = rest.get_mut(head..).unwrap_or_default();
                    if !frames.is_empty() {
                        self.receive_frames(key, frames);
                    }
                    return bytes.len();
                }
                Step::Over => return bytes.len(),
            }
            self.settle();
        }
    }

    /// Processes the next head or body if it is complete and need not wait.
    fn request(&mut self, key: SessionKey, rest: &mut [u8], visit: &mut u32) -> Step {
        let waits = *visit == 0 || self.state.sockets.turns.is_over(self.work_done());
        let part = self.state.sockets.next_part(key, rest, waits);
        if let Part::Head(_) | Part::Body(_) = part {
            *visit -= 1;
            self.state.sockets.turns.taken += 1;
        }
        let shard = &mut self.state;
        match part {
            Part::None(step) => step,
            Part::Head(end) => {
                let (head, after) = rest.split_at(end);
                requests::take_head(shard, key, head, after)
            }
            Part::NoHead(error) => {
                shard.sockets.note_method(key, rest);
                let evidence = Evidence::of(key, Purpose::Unknown);
                requests::refuse_step(shard, &evidence, error.into())
            }
            Part::Body(bytes) => {
                let body = rest.get_mut(..bytes).unwrap_or_default();
                requests::take_body(shard, key, body);
                Step::Used(bytes)
            }
        }
    }

    /// Resumes a connection whose next request had to wait, either for the answer to an earlier call or for the peer to
    /// read its responses. Returns `false` if there is no such connection.
    pub(crate) fn receive_answered(&mut self) -> bool {
        let Some(session) = self.state.sockets.turns.answered.pop_front() else {
            return false;
        };
        self.receive_requests(session, &mut []);
        true
    }

    /// Resumes the connections whose requests are waiting for a turn, visiting each at most once. Each visit is charged
    /// as at least one request, because checking an incomplete request takes time too.
    fn answer_waiting(&mut self) {
        let mut left = WAITING_REQUESTS_PER_TICK;
        self.state.sockets.turns.until = self.work_done() + work_units::TICK;
        for _ in 0..self.state.sockets.turns.waiting.len() {
            if left == 0 || self.state.sockets.turns.is_over(self.work_done()) {
                return;
            }
            let Some(key) = self.state.sockets.turns.waiting.pop_front() else {
                return;
            };
            let Some(http) = self.state.sockets.http(key) else {
                continue; // the connection is gone
            };
            http.queued = false;
            let allowed = REQUESTS_PER_VISIT.min(left);
            let rest = self.take_requests(key, &mut [], allowed);
            left -= (allowed - rest).max(1);
            self.settle();
            // Output is sent even if there is no answer, because the edge then checks whether to resume reading.
            self.state.sockets.output(Output::Send(key));
        }
    }
}

// Messages ([`Letter`]) from other shards and from the side thread.

impl Shard {
    pub(crate) fn take_in(&mut self, letter: Letter) {
        let (sockets, directory, cx, gate) = self.state.parts();
        match letter {
            Letter::Query(caller, query) => cx.todo.push(Todo::Query(caller, query)),
            Letter::Answer(from, caller, answer) => {
                sockets.shards.end(from, caller);
                cx.todo.push(Todo::Answer(caller, answer));
            }
            Letter::CallTaken(from, caller) => {
                sockets.shards.end(from, caller);
                sockets.offer_taken(from, caller);
            }
            Letter::CallAnswer(from, caller, answer) => {
                sockets.post(from, Letter::CallOver(caller));
                // If the call has been withdrawn, nobody is waiting for the answer.
                if sockets.end_offer(caller) {
                    cx.todo.push(Todo::Answer(caller, answer));
                }
            }
            Letter::CallWithdrawn(caller) => {
                if let Some((key, _)) = directory.waits.of(caller) {
                    directory.withdraw_call(cx, key, caller);
                }
            }
            Letter::CallOver(caller) => directory.waits.free(caller),
            Letter::Committed(key, result) => directory.committed(cx, key, result),
            Letter::Slots => {
                if let Some(slots) = directory.slots.as_deref_mut() {
                    slots.due = true;
                }
            }
            Letter::Credentials(credentials) => {
                let asks_again = sockets.settings().auth_recheck;
                if gate.replace_credentials(credentials, asks_again, cx.at.now) {
                    directory.catalog().ask(|catalog| catalog.rates.clear()); // the rates may have changed
                    for waiting in directory.polls.sessions() {
                        wake::rules_changed(sockets, waiting, cx.at.now);
                    }
                }
            }
            Letter::Keyring(keyring) => gate.replace_keyring(keyring),
            Letter::Settings(settings) => {
                sockets.adopt(Arc::clone(&settings));
                directory.adopt(settings);
            }
            Letter::Drain(within_ms) => {
                if sockets.begin_drain(within_ms, cx.at.now) {
                    disconnect::step_drain(&mut self.state);
                }
            }
        }
    }
}

// Deferred work.

impl Shard {
    /// Does the work that a step has deferred, and any work that results from it.
    #[inline]
    pub(crate) fn settle(&mut self) {
        if !self.state.cx.todo.is_empty() {
            self.settle_all();
        }
    }

    fn settle_all(&mut self) {
        while let Some(left) = self.state.cx.todo.pop() {
            let others = self.state.cx.todo.len();
            if self.state.interposer.is_none() {
                self.act(left);
            } else {
                self.act_interposed(left);
            }
            self.state.cx.todo.newest_first(others);
        }
    }
}

// Deferred work on a shard with an interposer.

impl Shard {
    #[cold]
    fn act_interposed(&mut self, left: Todo) {
        if let Some(left) = dev::act(&mut self.state, left) {
            self.act(left);
        }
        dev::count_channels(&mut self.state);
    }

    /// Handles items that were delayed by faults and are now due, up to a limit.
    fn interposer_due(&mut self) {
        for _ in 0..FAULTS_DUE_PER_TICK {
            let Some(later) = dev::take_due(&mut self.state) else {
                break;
            };
            dev::go_on(&mut self.state, later);
            self.settle();
        }
        dev::unmute_due(&mut self.state);
    }
}

// Work that is due: deadlines, items delayed by faults, pages, slot moves, forwarded clients, the drain, and requests
// waiting for their turn.

/// Maximum number of timers handled per tick. If more are due, the event loop's next turn starts immediately.
const DUE_PER_TICK: usize = 512;

impl Shard {
    /// On each connection that is due, queries how much the peer has acknowledged.
    pub(crate) fn ask_due(&mut self) {
        for _ in 0..ASKS_PER_TICK {
            let State { sockets, cx, .. } = &mut self.state;
            let due = sockets.next_to_ask(cx.at.now);
            let Some(key) = due.or_else(|| sockets.unconfirmed.next_pinged(cx.at.now)) else {
                return;
            };
            sockets.ask(cx, key, cx.at.now);
            self.settle();
        }
    }

    #[inline]
    pub(crate) fn look_at_drain(&mut self) {
        if !self.state.sockets.drains() {
            return;
        }
        let waits =
            self.state.directory.changes.has_any() || !self.state.directory.polls.is_empty();
        let quiet = self.state.cx.telemetry.is_quiet() && !waits;
        self.state
            .sockets
            .look_at_drain(quiet, self.state.cx.at.now);
    }

    /// Performs all work that is due.
    pub(crate) fn tick(&mut self) {
        for _ in 0..DUE_PER_TICK {
            let (sockets, directory, cx, ..) = self.state.parts();
            match sockets.next_due(cx.at.now) {
                Some(Owner::Session(key)) => disconnect::session_due(&mut self.state, key),
                Some(Owner::Channel(key)) => {
                    directory.drop_closed(cx, key, sockets);
                    disconnect::channel_due(directory, cx, key);
                }
                None => break,
            }
            self.settle();
        }
        self.ask_due();
        self.close_on();
        recheck::step(&mut self.state);
        self.state.directory.rewatch_step();
        if self.state.interposer.is_some() {
            self.interposer_due();
        }
        self.state.cx.todo.push(Todo::BeginLists);
        self.settle();
        self.work_on_slots();
        let State { sockets, cx, .. } = &mut self.state;
        cx.telemetry.journal().window_over(cx.at.now);
        sockets.end_leads(cx.at.now);
        disconnect::step_drain(&mut self.state);
        self.settle();
        self.answer_waiting();
    }

    /// Performs the slot work that is due: carries out a limited number of orders, delivers merged answers, packs
    /// messages, and closes connections if the node is isolated.
    fn work_on_slots(&mut self) {
        if self.state.directory.slots.as_deref().is_none() {
            return;
        }
        for _ in 0..SLOT_ORDERS_PER_TURN {
            let slots = self.state.directory.slots.as_deref_mut();
            let (order, answer) = slots.map(DirectorySlots::next_order).unwrap_or_default();
            if order.is_none() && answer.is_none() {
                break;
            }
            if let Some((caller, answer)) = answer {
                self.state.cx.todo.answer(caller, *answer);
                self.settle();
            }
            if let Some(order) = order {
                let State { directory, cx, .. } = &mut self.state;
                slot_moves::obey(directory, cx, order);
                self.settle();
            }
        }
        let (sockets, directory, cx, ..) = self.state.parts();
        let all = sockets.places();
        let slots = directory.slots.as_deref_mut();
        let places = slots.map(|slots| slots.places_to_close(all, cx.at.now));
        for number in places.unwrap_or_default() {
            if let Some(key) = sockets.session_at(number) {
                sockets.close(cx, key, EndReason::Drain);
            }
        }
        self.settle();
        let slots = self.state.directory.slots.as_deref_mut();
        let packing = slots.map(|slots| std::mem::take(&mut slots.packing));
        for packing in packing.unwrap_or_default() {
            let State { directory, cx, .. } = &mut self.state;
            slot_moves::step_packing(directory, cx, packing);
            self.settle();
        }
    }

    /// Closes queued connections, up to the per-turn limit.
    fn close_on(&mut self) {
        let at = self.state.cx.at;
        self.state.sockets.ends.closings.begin_turn(at);
        while let Some((session, reason)) = self.state.sockets.ends.closings.next(at) {
            let State { sockets, cx, .. } = &mut self.state;
            sockets.close(cx, session, reason);
            self.settle();
        }
    }

    /// Starts the next queued list request if the turn's budget permits. All work deferred by the request is done
    /// before the next one starts.
    pub(crate) fn begin_list(&mut self) {
        if self.state.directory.pages.has_room(self.state.cx.at) {
            connect::hold(&mut self.state);
            if channel_pages::begin_list(&mut self.state) {
                self.state.cx.todo.push(Todo::BeginLists);
            }
        }
    }
}
