//! The one `match` that does what steps left.

use crate::id::{CallRef, ChannelKey, SessionKey, ShardId};
use crate::shard::calls::letters::{Answer, Letter};
use crate::shard::calls::responses::shutting_down;
use crate::shard::calls::{answers, home, wake};
use crate::shard::directory::Waiting;
use crate::shard::road::{confirmation, delivery, repeats, service_messages, unsent};
use crate::shard::todo::{Each, Gone, Left, Todo};
use crate::shard::{Shard, disconnect, recheck};
use crate::{journal::EndReason, session::Session, time::Moment};

impl Shard {
    /// Does what steps left, and what that leaves; then answers reach their callers, and the requests that waited for
    /// them begin.
    ///
    /// A relayed message leaves nothing: then this is a few looks, inlined into its way.
    #[inline(always)]
    pub(crate) fn work_off(&mut self, at: Moment) {
        let nothing = self.todo.is_done()
            && !self.directory.polls().has_changed()
            && !self.sockets.has_going_on()
            && !self.directory.news().is_due(at.now);
        if !nothing {
            self.work_off_all(at);
        }
    }

    fn work_off_all(&mut self, at: Moment) {
        loop {
            self.settle(at);
            if let Some((caller, answer)) = self.todo.pop_answer() {
                answers::take_answer(self.road_parts(), caller, *answer, at);
            } else if let Some(changed) = self.directory.polls_mut().next_changed() {
                wake::look(self.road_parts(), changed, at);
            } else if !self.receive_answered(at) {
                self.tell_presence(at);
                return self.todo.shrink();
            }
        }
    }

    /// Does one thing that a step left.
    pub(crate) fn act(&mut self, what: Todo, at: Moment) {
        let (sockets, directory, books, _, todo) = self.parts();
        match what {
            Todo::Query(caller, query) => home::answer(self.road_parts(), caller, *query, at),
            Todo::List(caller, question) => {
                directory.ask_for_list(todo, caller, *question);
                todo.push(Todo::BeginLists);
            }
            Todo::BeginLists => self.begin_list(at),
            Todo::Answer(caller, answer) => self.answer(caller, answer, Letter::Answer),
            Todo::OfferAnswer(caller, answer) => self.answer(caller, answer, Letter::CallAnswer),
            Todo::PollOver(channel, session) => {
                directory.polls_mut().end(channel, session);
            }
            Todo::OfferTaken(caller) => self.offer_taken(caller),
            Todo::Overdue(caller) => {
                let answer = disconnect::overdue().into();
                answers::deliver(self.road_parts(), caller, answer, at);
            }
            Todo::HungUp(caller, identity) => directory.withdraw_local(books, caller, &identity),
            Todo::FailCalls => {
                let channels = directory.channels_with_calls();
                todo.each(Each::FailCalls(Vec::from_iter(channels).into_iter()));
            }
            Todo::OffersDelivered(master, orders) => self.offers_delivered(master, &orders),
            Todo::GiveOffers(channel) => {
                home::give_offers(sockets, directory, books, channel, u64::MAX)
            }
            Todo::Unaccepted(declined) => {
                let channel = directory.channel(declined.channel);
                service_messages::log_declined(sockets, channel, books, &declined, at);
            }
            Todo::Close(session, reason) => sockets.close(books, todo, session, reason, at),
            Todo::AskAgain(session) => self.ask_again(session, at),
            Todo::TagsChanged(channel) => self.tags_changed(channel, at),
            Todo::Each(each) => self.next_of(each, at),
            Todo::Left(left) => self.left(*left, at),
            Todo::Gone(gone) => self.gone(*gone, at),
            Todo::Released(by) => self.released(by, at),
            Todo::MakeProofRoom => self.make_proof_room(),
            Todo::Ask(session) => sockets.ask(books, todo, session, at.now),
            Todo::OffersConfirmed(channel, master, offers) => {
                repeats::remember(self.road_parts(), (channel, master), offers, at)
            }
            Todo::RepeatOffers(channel) => repeats::repeat(self.road_parts(), channel, at),
            Todo::Confirmed(session) => confirmation::confirmed(self.road_parts(), session, at),
            Todo::Told(session) => confirmation::told(self.road_parts(), session, at),
            Todo::HandOn(message, route) => {
                let passing = &message.passing();
                delivery::hand_on(self.road_parts(), route, passing, at);
            }
            Todo::Deliver(channel, role) => {
                unsent::deliver_kept(sockets, directory, books, (channel, &role), at)
            }
            Todo::Arm(key) => self.arm(key, at),
            Todo::ChannelCame(_) | Todo::Double(_) => {} // the test double's own
            Todo::ChannelWent(mut went) => sockets.channel_went(went.0, &mut went.1),
            Todo::Committed(channel, result) => {
                directory.committed(books, todo, channel, result, at)
            }
            Todo::ServeWaiting(channel, waiting) => self.serve_waiting(channel, waiting, at),
            Todo::Obey(order) => directory.obey(books, todo, *order, at),
            Todo::Unpack(slot, parcel, from) => {
                directory.unpack(books, todo, (slot, parcel, from), at)
            }
        }
    }

    /// A call's offer is with a master: its caller's shard is told.
    fn offer_taken(&mut self, caller: CallRef) {
        let (sockets, directory, ..) = self.parts();
        let letter = Letter::CallTaken(directory.shard(), caller);
        sockets.post(caller.shard, letter);
    }

    /// Sets the timer of a channel.
    fn arm(&mut self, key: ChannelKey, at: Moment) {
        let (sockets, directory, ..) = self.parts();
        if let Some((timer, next)) = directory.timer_of(key, at.now) {
            sockets.arm_channel(key, timer, next);
        }
    }

    /// An answer is on its way to its caller: on this shard, or by a letter of this kind.
    fn answer(
        &mut self,
        caller: CallRef,
        answer: Box<Answer>,
        letter: fn(ShardId, CallRef, Box<Answer>) -> Letter,
    ) {
        let here = self.directory.shard();
        if caller.shard == here {
            self.todo.take_later(caller, answer);
        } else {
            let letter = letter(here, caller, answer);
            self.sockets.post(caller.shard, letter);
        }
    }

    /// The last bytes of offers were handed over to a master.
    fn offers_delivered(&mut self, master: SessionKey, orders: &[u64]) {
        let session = self.sockets.session(master);
        if let Some(channel) = session.and_then(Session::channel) {
            let todo = &mut self.todo;
            self.directory
                .offers_delivered(todo, channel, master, orders);
        }
    }

    /// Does to the next of many what is done to each; the others follow when that is done.
    fn next_of(&mut self, mut each: Box<Each>, at: Moment) {
        let (sockets, directory, books, _, todo) = self.parts();
        match &mut *each {
            Each::Close(sessions, reason) => {
                if !sockets.closes_more(at) {
                    return sockets.close_later(sessions, *reason);
                }
                if let Some(session) = sessions.next().filter(|it| sockets.closes(*it)) {
                    sockets.close(books, todo, session, *reason, at);
                }
            }
            Each::Abort(sessions, reason) => {
                if let Some(session) = sessions.next() {
                    if let Some(reason) = reason {
                        sockets.because(session, *reason);
                    }
                    sockets.abort(books, todo, session, at);
                }
            }
            Each::Ask(sessions) => {
                if let Some(session) = sessions.next() {
                    sockets.ask(books, todo, session, at.now);
                }
            }
            Each::FailCalls(channels) => {
                if let Some(channel) = channels.next() {
                    directory.fail_calls(books, todo, channel, &shutting_down());
                }
            }
            Each::Still(channels) => {
                if let Some(channel) = channels.next() {
                    directory.still_channel(books, todo, channel);
                }
            }
            Each::Drop(channels) => {
                if let Some(channel) = channels.next() {
                    directory.drop_channel(books, todo, channel);
                }
            }
        }
        if !each.is_empty() {
            todo.push(Todo::Each(each));
        }
    }

    /// The tags of a channel are others: who is notified of its master, and who may be there.
    fn tags_changed(&mut self, channel: ChannelKey, at: Moment) {
        let (sockets, directory, ..) = self.parts();
        directory.look_at_viewers(channel, |master| sockets.is_gone(master), at.now);
        recheck::tags_changed(sockets, directory.members(channel), at);
        wake::rules_changed(sockets, directory.polls().of(channel).into_iter(), at);
    }

    /// An open WebSocket may not be open any more, or a device not wait, unless it may again.
    fn ask_again(&mut self, session: SessionKey, at: Moment) {
        let (sockets, directory, books, gate, todo) = self.parts();
        if recheck::refuses(sockets, directory, books, (gate, session), at) {
            sockets.close(books, todo, session, EndReason::Forbidden, at);
        } else if wake::refuses(sockets, directory, books, (gate, session), at) {
            wake::over(sockets, books, todo, session, at);
        }
    }

    /// A WebSocket has left its channel, or lost its slot there. The one that it took the slot of may have that again.
    fn left(&mut self, left: Left, at: Moment) {
        let (sockets, directory, books, _, todo) = self.parts();
        if let Some(returning) = directory.left(books, todo, &left, at)
            && sockets.takes_place_again(returning, at)
        {
            sockets.ask_again(returning, at.now); // it was not judged while it had no slot
            if sockets.is_gone(returning) {
                directory.master_left_viewers(left.channel, at.now);
            }
            let greeting =
                service_messages::greeting(sockets, directory, (left.channel, returning), at);
            if let Some(state) = greeting {
                sockets.tell_viewer(books, returning, state);
            }
            todo.push(Todo::Deliver(left.channel, left.role.clone()));
        }
        if let Some(returned) = left.returned {
            let whose = (left.channel, &left.role);
            let (from, unsent) = (left.session, returned.unsent);
            unsent::give_back(self.road_parts(), from, whose, unsent, at);
        }
        self.directory.rest(left.channel);
    }

    /// The connection of a WebSocket is gone.
    fn gone(&mut self, mut gone: Gone, at: Moment) {
        let (_, directory, books, _, todo) = self.parts();
        directory.gone(books, todo, &mut gone, at);
        let (key, role) = (gone.channel, gone.role);
        let (from, unsent) = (gone.session, gone.unsent);
        let whose = (key, &role);
        unsent::give_back(self.road_parts(), from, whose, unsent, at);
        self.directory.connection_went(key);
    }

    /// A connection that lost its slot has handed over what it had begun.
    fn released(&mut self, by: SessionKey, at: Moment) {
        let (sockets, directory, books, _, todo) = self.parts();
        let Some(session) = sockets.session(by) else {
            return;
        };
        if session.outbox.unconfirmed_since().is_some() {
            sockets.ask(books, todo, by, at.now);
        } else if let Some(was) = session.membership() {
            directory.release_slot(todo, by, was);
        }
    }

    /// The next change that waited for the one before is made.
    fn serve_waiting(&mut self, channel: ChannelKey, mut waiting: Box<Waiting>, at: Moment) {
        if let Some((caller, query)) = self.directory.next_waiting(&mut waiting) {
            home::serve(self.road_parts(), caller, *query, at);
            self.directory.let_wait(&mut self.todo, channel, waiting);
        }
    }
}
