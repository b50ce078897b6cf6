//! Processes everything that a shard receives: frames, requests, messages from other shards, and expired timers.
//!
//! Each frame, request or message is processed in its own step. The shard performs the work that a step defers
//! ([`Todo`](crate::shard::todo::Todo)) before it starts the next step, so the next step sees all of its effects. Only
//! this file, `shard.rs`, `todo_dispatch.rs`, `operator_requests.rs` and the interposer (`dev/`) contain methods that
//! can access the whole state.

use crate::limits::{
    ASKS_PER_TICK, FAULTS_DUE_PER_TICK, REQUESTS_PER_VISIT, SLOT_ORDERS_PER_TURN,
    WAITING_REQUESTS_PER_TICK,
};
use crate::session::http::HttpStage;
use crate::session::{SendState, Session};
use crate::shard::calls::letters::Letter;
use crate::shard::calls::wake;
use crate::shard::connect::requests;
use crate::shard::directory::slots::DirectorySlots;
use crate::shard::road::{Aside, pass, with_care};
use crate::shard::sockets::{Owner, Step};
use crate::shard::state::State;
use crate::shard::{Shard, connect, dev, disconnect, recheck, slot_moves};
use crate::shard::{evidence::Evidence, todo::Todo};
use crate::work_units;
use crate::{event::Purpose, id::SessionKey, journal::EndReason, machine::Output};
use codec::ws::Item;
use std::sync::Arc;

// Received bytes: WebSocket frames, HTTP requests, and requests that had to wait their turn.

impl Shard {
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
    /// heads and bodies, and returns how much of that allowance is left. A request that was pipelined behind a call
    /// waits until the end of the input, when that call is answered.
    fn take_requests(&mut self, key: SessionKey, bytes: &mut [u8], mut visit: u32) -> u32 {
        let Some(http) = self.state.sockets.http(key) else {
            return visit;
        };
        if http.queued {
            http.buffer.extend_from_slice(bytes); // after bytes that already wait
            connect::charge_received(&mut self.state, key);
            return visit;
        }
        let mut buffer = std::mem::take(&mut http.buffer);
        let in_place = buffer.is_empty();
        let input = if in_place {
            &mut *bytes
        } else {
            buffer.extend_from_slice(bytes);
            &mut *buffer
        };
        let mut used = 0;
        let used = loop {
            let rest = input.get_mut(used..).unwrap_or_default();
            match self.request(key, rest, &mut visit) {
                Step::Wait => break used,
                Step::Used(more) => used += more,
                Step::Frames(head) => {
                    self.settle();
                    let frames = rest.get_mut(head..).unwrap_or_default();
                    if !frames.is_empty() {
                        self.receive_frames(key, frames);
                    }
                    break input.len();
                }
                Step::Over => break input.len(),
            }
            self.settle();
        };
        if in_place {
            buffer.extend_from_slice(bytes.get(used..).unwrap_or_default());
        } else {
            buffer.drain(..used.min(buffer.len()));
        }
        if let Some(http) = self.state.sockets.http(key)
            && !buffer.is_empty()
        {
            http.buffer = buffer;
        }
        self.state.sockets.await_rest(key, self.state.cx.at);
        connect::charge_received(&mut self.state, key);
        visit
    }

    /// Processes the next head or body if it is complete and need not wait.
    fn request(&mut self, key: SessionKey, rest: &mut [u8], visit: &mut u32) -> Step {
        let waits = *visit == 0 || self.state.sockets.turns.is_over(self.work_done());
        let shard = &mut self.state;
        let sockets = &mut shard.sockets;
        let limits = sockets.rules().head;
        let session = sockets.session(key);
        let answers_wait = session.is_some_and(Session::answers_wait);
        let unheard = session.is_some_and(|it| it.sending == SendState::WithheldForGood);
        let Some(http) = sockets.http(key) else {
            return Step::Over;
        };
        let body = match &http.stage {
            HttpStage::AwaitTls
            | HttpStage::AwaitReply(..)
            | HttpStage::AwaitWake(_)
            | HttpStage::AwaitHandover(..)
            | HttpStage::AwaitLink(_)
            | HttpStage::AwaitAdmin(_)
            | HttpStage::AwaitOwner(_) => return Step::Wait,
            HttpStage::AwaitHead if rest.is_empty() || answers_wait => return Step::Wait,
            // No response could be sent, so process no further requests.
            HttpStage::AwaitHead if unheard => return Step::Used(rest.len()),
            HttpStage::AwaitHead | HttpStage::AwaitBody(_) if waits => {
                sockets.wait_for_turn(key);
                return Step::Wait;
            }
            HttpStage::AwaitBody(awaited) if awaited.length > rest.len() => return Step::Wait,
            HttpStage::AwaitBody(awaited) => Some(awaited.length),
            HttpStage::AwaitHead => None,
        };
        let end = match body {
            Some(length) => length,
            None => match http.scanner.end(rest, &limits) {
                Ok(None) => return Step::Wait,
                Ok(Some(end)) => end.min(rest.len()),
                Err(error) => {
                    sockets.note_method(key, rest);
                    let evidence = Evidence::of(key, Purpose::Unknown);
                    return requests::refuse_step(shard, &evidence, error.into());
                }
            },
        };
        *visit -= 1;
        sockets.turns.taken += 1;
        let (part, after) = rest.split_at_mut(end);
        if body.is_none() {
            return requests::take_head(shard, key, part, after);
        }
        requests::take_body(shard, key, part);
        Step::Used(end)
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
                cx.todo.answers.push_back((caller, answer));
            }
            Letter::CallTaken(from, caller) => {
                sockets.shards.end(from, caller);
                sockets.offer_taken(from, caller);
            }
            Letter::CallAnswer(from, caller, answer) => {
                sockets.post(from, Letter::CallOver(caller));
                // If the call has been withdrawn, nobody is waiting for the answer.
                if sockets.end_offer(caller) {
                    cx.todo.answers.push_back((caller, answer));
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

// Work that is due: deadlines, items delayed by faults, pages, slot moves, forwarded clients, the drain, and requests
// waiting for their turn.

/// Maximum number of timers handled per tick. If more are due, the event loop's next turn starts immediately.
const DUE_PER_TICK: usize = 512;

impl Shard {
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
        for _ in 0..ASKS_PER_TICK {
            let (sockets, _, cx, _) = self.state.parts();
            let Some(key) = sockets.next_to_ask(cx.at.now) else {
                break;
            };
            sockets.ask(cx, key);
            self.settle();
        }
        // Close the connections left over from an earlier turn.
        let at = self.state.cx.at;
        self.state.sockets.ends.closings.begin_turn(at);
        while let Some((session, reason)) = self.state.sockets.ends.closings.next(at) {
            let (sockets, _, cx, _) = self.state.parts();
            sockets.close(cx, session, reason);
            self.settle();
        }
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
}
