//! Performs the work that steps have deferred. Each kind of work has one arm in a `match`.

use crate::id::{CallRef, ChannelKey, SessionKey, ShardId};
use crate::shard::calls::letters::{Answer, Letter, WaitingQueries};
use crate::shard::calls::responses::shutting_down;
use crate::shard::calls::{answers, channel_pages, home, wake};
use crate::shard::road::service_messages::log_declined;
use crate::shard::road::{confirmation, delivery, repeats, unsent};
use crate::shard::shares::too_busy;
use crate::shard::state::State;
use crate::shard::todo::{Each, Gone, Left, Membership, Todo};
use crate::shard::{Shard, dev, disconnect, recheck, slot_moves};
use crate::{journal::EndReason, session::Session};

impl Shard {
    /// Performs all deferred work, and any work that this defers in turn. Then delivers the answers to callers, and
    /// starts the requests that were pipelined behind the answered calls.
    ///
    /// Forwarding a message defers nothing. Only the checks for this case are inlined into the caller.
    #[inline(always)]
    pub(crate) fn work_off(&mut self) {
        let nothing = self.state.cx.todo.is_done()
            && !self.state.directory.polls.has_changed()
            && self.state.sockets.turns.answered.is_empty()
            && !self.state.directory.news.is_due(self.state.cx.at.now);
        if !nothing {
            self.work_off_all();
        }
    }

    fn work_off_all(&mut self) {
        loop {
            self.settle();
            let State {
                sockets,
                directory,
                cx,
                ..
            } = &mut self.state;
            if let Some((caller, answer)) = cx.todo.answers.pop_front() {
                directory.lists.end(caller);
                // An answer to an earlier call on the same connection is ignored.
                if sockets.awaits(caller) {
                    answers::deliver(&mut self.state, caller, *answer);
                }
            } else if let Some(changed) = directory.polls.next_changed() {
                wake::look(&mut self.state, changed);
            } else if let Some(session) = sockets.turns.answered.pop_front() {
                // The next request had to wait for the answer to an earlier call, or for the peer to read its
                // responses.
                self.receive_requests(session, &mut []);
            } else {
                self.tell_presence();
                return self.state.cx.todo.shrink();
            }
        }
    }

    /// Does the work that a step has deferred, and any work that results from it.
    pub(crate) fn settle(&mut self) {
        while let Some(left) = self.state.cx.todo.pop() {
            let others = self.state.cx.todo.len();
            if self.state.interposer.is_none() {
                self.act(left);
            } else {
                if let Some(left) = dev::act(&mut self.state, left) {
                    self.act(left);
                }
                dev::count_channels(&mut self.state);
            }
            self.state.cx.todo.newest_first(others);
        }
    }

    /// Performs one piece of deferred work.
    fn act(&mut self, what: Todo) {
        let (sockets, directory, cx, ..) = self.state.parts();
        match what {
            Todo::Query(caller, query) => {
                if home::allows(&mut self.state, caller, &query) {
                    home::answer_allowed(&mut self.state, caller, *query);
                }
            }
            Todo::List(caller, question) => {
                if let Some(refused) = directory.lists.ask(caller, *question) {
                    cx.todo.answer(refused, too_busy());
                }
                cx.todo.push(Todo::BeginLists);
            }
            Todo::BeginLists => channel_pages::begin_list(&mut self.state),
            Todo::Answer(caller, answer) => self.answer(caller, answer, Letter::Answer),
            Todo::OfferAnswer(caller, answer) => self.answer(caller, answer, Letter::CallAnswer),
            Todo::PollOver(channel, session) => {
                directory.polls.end(channel, session);
            }
            Todo::OfferTaken(caller) => self.offer_taken(caller),
            Todo::Overdue(caller) => {
                let answer = disconnect::overdue().into();
                answers::deliver(&mut self.state, caller, answer);
            }
            Todo::HungUp(caller, identity) => {
                if let Some(key) = directory.key_of(&identity) {
                    directory.withdraw_call(cx, key, caller);
                }
            }
            Todo::FailCalls => {
                let channels = directory.waits.channels();
                cx.todo
                    .each(Each::FailCalls(Vec::from_iter(channels).into_iter()));
            }
            Todo::OffersDelivered(master, orders) => self.offers_delivered(master, &orders),
            Todo::GiveOffers(channel) => home::give_offers(&mut self.state, channel, u64::MAX),
            Todo::Unaccepted(declined) => log_declined(&mut self.state, &declined),
            Todo::Close(session, reason) => sockets.close(cx, session, reason),
            Todo::AskAgain(session) => self.ask_again(session),
            Todo::TagsChanged(channel) => self.tags_changed(channel),
            Todo::Each(each) => self.next_of(each),
            Todo::Left(left) => self.left(*left),
            Todo::Gone(gone) => self.gone(*gone),
            Todo::Released(by) => self.released(by),
            Todo::MakeProofRoom => confirmation::make_proof_room(&mut self.state),
            Todo::OffersConfirmed(channel, master, offers) => {
                repeats::remember(&mut self.state, channel, master, offers)
            }
            Todo::RepeatOffers(channel) => repeats::repeat(&mut self.state, channel),
            Todo::Confirmed(session) => confirmation::confirmed(&mut self.state, session),
            Todo::Settle(session) => confirmation::settle(&mut self.state, session),
            Todo::HandOn(message, route) => {
                let transit = &message.transit();
                delivery::hand_on(&mut self.state, route, transit);
            }
            Todo::Deliver(channel, role) => unsent::deliver_kept(&mut self.state, channel, role),
            Todo::Arm(key) => self.arm(key),
            Todo::Interposed(later) => dev::go_on(&mut self.state, *later),
            Todo::ChannelWent(mut went) => sockets.channel_went(went.0, &mut went.1),
            Todo::Committed(channel, result) => directory.committed(cx, channel, result),
            Todo::ServeWaiting(channel, waiting) => self.serve_waiting(channel, waiting),
            Todo::Obey(order) => slot_moves::obey(directory, cx, *order),
            Todo::Unpack(slot, parcel, from) => {
                slot_moves::unpack(&mut self.state, slot, parcel, from)
            }
        }
    }

    /// Notifies the caller's shard that its call is pending here.
    fn offer_taken(&mut self, caller: CallRef) {
        let (sockets, directory, ..) = self.state.parts();
        let letter = Letter::CallTaken(directory.shard(), caller);
        sockets.post(caller.shard, letter);
    }

    /// Arms a channel's timer for its next deadline.
    fn arm(&mut self, key: ChannelKey) {
        let (sockets, directory, cx, _) = self.state.parts();
        if let Some((timer, next)) = directory.timer_of(key, cx.at.now) {
            sockets.arm_channel(key, timer, next);
        }
    }

    /// Delivers an answer to its caller. If the caller is on another shard, `letter` creates the message that carries
    /// the answer there.
    fn answer(
        &mut self,
        caller: CallRef,
        answer: Box<Answer>,
        letter: fn(ShardId, CallRef, Box<Answer>) -> Letter,
    ) {
        let here = self.state.directory.shard();
        if caller.shard == here {
            self.state.cx.todo.answers.push_back((caller, answer));
        } else {
            let letter = letter(here, caller, answer);
            self.state.sockets.post(caller.shard, letter);
        }
    }

    /// Handles the offers of calls that have been sent to a master in full.
    fn offers_delivered(&mut self, master: SessionKey, orders: &[u64]) {
        let (sockets, directory, cx, _) = self.state.parts();
        let Some(channel) = sockets.session(master).and_then(Session::channel) else {
            return;
        };
        let sent = |order: &&u64| directory.offer_sent(channel, master, **order);
        if orders.iter().filter(sent).count() > 0 {
            cx.todo.push(Todo::GiveOffers(channel));
        }
    }

    /// Performs an operation on its next item, and defers the rest.
    fn next_of(&mut self, mut each: Box<Each>) {
        let (sockets, directory, cx, ..) = self.state.parts();
        match &mut *each {
            Each::Close(sessions, reason) => {
                if !sockets.ends.closings.has_room(cx.at) {
                    return sockets.close_later(sessions, *reason);
                }
                if let Some(session) = sessions.next()
                    && sockets.web_socket(session).is_some()
                {
                    sockets.ends.closings.count();
                    sockets.close(cx, session, *reason);
                }
            }
            Each::Abort(sessions, reason) => {
                if let Some(session) = sessions.next() {
                    if let Some(reason) = reason {
                        sockets.because(session, *reason);
                    }
                    sockets.abort(cx, session);
                }
            }
            Each::Ask(sessions) => {
                if let Some(session) = sessions.next() {
                    sockets.ask(cx, session);
                }
            }
            Each::FailCalls(channels) => {
                if let Some(channel) = channels.next() {
                    directory.fail_calls(cx, channel, &shutting_down());
                }
            }
            Each::Still(channels) => {
                if let Some(channel) = channels.next() {
                    slot_moves::still_channel(directory, cx, channel);
                }
            }
            Each::Drop(channels) => {
                if let Some(channel) = channels.next() {
                    slot_moves::drop_channel(directory, cx, channel);
                }
            }
        }
        if !each.is_empty() {
            cx.todo.push(Todo::Each(each));
        }
    }

    /// Rechecks the connections and the waiting device of a channel whose tags have changed.
    fn tags_changed(&mut self, channel: ChannelKey) {
        let (sockets, directory, cx, _) = self.state.parts();
        recheck::tags_changed(sockets, directory.members(channel), cx.at);
        if let Some(waiting) = directory.polls.of(channel) {
            wake::rules_changed(sockets, waiting, cx.at.now);
        }
    }

    /// Checks whether a connection's caller is still authorized. If not, closes the open WebSocket or ends the device's
    /// wait.
    fn ask_again(&mut self, session: SessionKey) {
        if recheck::refuses(&mut self.state, session) {
            let State { sockets, cx, .. } = &mut self.state;
            sockets.close(cx, session, EndReason::Forbidden);
        } else if wake::refuses(&mut self.state, session) {
            wake::over(&mut self.state, session);
        }
    }

    /// Handles a WebSocket connection that has left its channel or was replaced. If it had itself replaced another
    /// connection, the other connection may regain the slot.
    fn left(&mut self, left: Left) {
        let (sockets, directory, cx, ..) = self.state.parts();
        if let Some(returning) = unsent::left(directory, cx, &left)
            && sockets.takes_place_again(returning, cx.at)
        {
            sockets.ask_again(returning, cx.at.now); // a connection is not judged while it has no slot
            let member = &left.member;
            cx.todo
                .push(Todo::Deliver(member.channel, member.role.clone()));
        }
        if let Some(returned) = left.returned {
            unsent::give_back(&mut self.state, &left.member, returned.unsent);
        }
        self.state.directory.rest(left.member.channel);
    }

    /// Handles a WebSocket connection that has closed.
    fn gone(&mut self, mut gone: Gone) {
        let State { directory, cx, .. } = &mut self.state;
        unsent::gone(directory, cx, &mut gone);
        unsent::give_back(&mut self.state, &gone.member, gone.unsent);
        self.state.directory.connection_went(gone.member.channel);
    }

    /// Handles a superseded connection after the rest of its partly sent message has been sent. If it has unconfirmed
    /// messages, queries what the peer has acknowledged; otherwise, releases its slot.
    fn released(&mut self, by: SessionKey) {
        let (sockets, directory, cx, ..) = self.state.parts();
        let Some(session) = sockets.session(by) else {
            return;
        };
        if session.outbox.unconfirmed_since().is_some() {
            sockets.ask(cx, by);
        } else if let Some((channel, role)) = session.membership() {
            let by = Membership {
                session: by,
                channel,
                role,
            };
            unsent::release_slot(directory, cx, &by);
        }
    }

    /// Starts the next change that was queued behind another one.
    fn serve_waiting(&mut self, channel: ChannelKey, mut waiting: Box<WaitingQueries>) {
        if let Some((caller, query)) = self.state.directory.changes.pop_from(&mut waiting) {
            home::serve(&mut self.state, caller, *query);
            if !self.state.directory.changes.wait_on(channel, &mut waiting) {
                let waiting = Todo::ServeWaiting(channel, waiting);
                self.state.cx.todo.push(waiting);
            }
        }
    }
}
