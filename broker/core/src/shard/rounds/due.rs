//! Due work: deadlines, what faults held back, pages, slots that come and go, tunnels, the drain, and requests that
//! wait.

use crate::journal::EndReason;
use crate::limits::SLOT_ORDERS_PER_TURN;
use crate::shard::Shard;
use crate::shard::calls::pages;
use crate::shard::directory::slots::Slots;
use crate::shard::end::{recheck, timers};
use crate::shard::sockets::timer::Owner;
use crate::shard::todo::Todo;
use crate::time::Moment;

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
                Some(Owner::Session(key)) => timers::session_due(sockets, books, todo, key, at),
                Some(Owner::Channel(key)) => directory.channel_due(books, todo, key, at),
                None => break,
            }
            self.settle(at);
        }
        self.close_on(at);
        let (sockets, directory, books, ..) = self.parts();
        for (state, viewers) in directory.states_for_viewers(at) {
            for viewer in viewers {
                sockets.tell_viewer(books, viewer, state);
            }
        }
        let (sockets, directory, books, gate, _) = self.parts();
        recheck::step(sockets, directory, books, gate, at);
        self.double_due(at);
        while self.directory.work_on_page(&mut self.todo, at) {
            self.settle(at);
        }
        self.todo.push(Todo::BeginLists);
        self.settle(at);
        self.work_on_slots(at);
        let (sockets, _, books, _, todo) = self.parts();
        books.diary().window_over(at.now);
        sockets.close_tunnels(at.now);
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
            if pages::begin_list(sockets, directory, todo, at) {
                todo.push(Todo::BeginLists);
            }
        }
    }
}
