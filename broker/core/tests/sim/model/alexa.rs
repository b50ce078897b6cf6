//! Alexa offers at their channel. See codec/PROTOCOL.md, ALEXA.

use super::messages::Arriving;
use super::{Caller, Channel, ConnId, LIMITED, Model, Refusal, Stage, Told, UNAVAILABLE, Waiting};
use crate::sim::words::Offer;
use broker_core::check::Check;
use broker_core::event::{Kind, Outcome};
use broker_core::journal::Unaccepted;
use codec::signal::Action;

/// The room for one more call.
enum Room {
    Free,
    /// Once a call of this channel has ended.
    InPlaceOf(usize),
    None,
}

impl Model {
    /// The word that a call is over is taken in at its channel's home.
    pub(crate) fn over(&mut self, home: usize, caller: Caller) {
        assert!(self.shards[home].places.remove(&caller), "one for each");
        let waits = |channel: &Channel| channel.calls.iter().any(|call| call.caller == caller);
        assert!(!self.channels.iter().any(waits), "it is over");
    }

    /// A caller on another shard hung up.
    pub(crate) fn withdrawn(&mut self, home: usize, caller: Caller) {
        if self.withdraw(caller) {
            self.answer_offer(home, caller, Told::Answer(None));
        }
    }

    /// Another shard says that it took a call in.
    pub(crate) fn taken(&mut self, caller: Caller, home: usize) {
        self.shards[caller.shard].heard_from(home, caller);
        if let Some(taken) = self.awaited_offer(caller) {
            *taken = true;
            self.shards[caller.shard].offers_out += 1;
        } else {
            self.met("Alexa call taken after its caller hung up");
            self.out.withdraws.push_back((caller, home));
        }
    }

    /// A call that waited on another shard is answered; nobody is there if its caller hung up meanwhile.
    pub(crate) fn offer_answered(&mut self, caller: Caller, home: usize, told: Told) {
        self.out.overs.push_back((caller, home));
        if self.awaited_offer(caller).is_some_and(|taken| *taken) {
            self.shards[caller.shard].offers_out -= 1;
            self.told(caller, told);
        } else {
            self.met("Alexa call answered after its caller hung up");
        }
    }

    fn awaited_offer(&mut self, caller: Caller) -> Option<&mut bool> {
        let conn = &mut self.conns[caller.conn];
        match &mut conn.stage {
            Stage::AwaitReply(reply) if conn.live && conn.number == caller.number => {
                Some(&mut reply.taken)
            }
            _ => None,
        }
    }

    fn answer_offer(&mut self, home: usize, caller: Caller, told: Told) {
        if home == caller.shard {
            self.answers.push_back((caller, told));
        } else {
            self.out.answers.push_back((caller, home, told));
        }
    }

    /// Takes a call back whose caller is gone. False when it waits no more.
    pub(crate) fn withdraw(&mut self, caller: Caller) -> bool {
        let found = (self.channels.iter())
            .position(|channel| channel.calls.iter().any(|call| call.caller == caller));
        let Some(channel) = found else { return false };
        let calls = &mut self.channels[channel].calls;
        let place = calls.iter().position(|call| call.caller == caller);
        let call = calls.remove(place.expect("just seen"));
        self.close_call(channel, &call, Outcome::Withdrawn);
        true
    }

    pub(crate) fn take_offer(&mut self, channel: usize, caller: Caller, offer: &Offer) {
        let home = self.channels[channel].home;
        if home != caller.shard && self.shards[home].places.len() >= 2 * self.waiting_most {
            self.met("Alexa call refused: no place");
            let refusal = Refusal::new(Check::MailboxFull, UNAVAILABLE);
            return self.tell(home, caller, Told::Fault(503, refusal));
        }
        let calls = &self.channels[channel].calls;
        if !calls.iter().any(|call| call.sender == offer.sender) {
            let full = calls.len() >= 64;
            match self.room(channel) {
                Room::Free if !full => {}
                Room::InPlaceOf(other) if !full => self.end_for_another(other),
                Room::Free | Room::InPlaceOf(_) | Room::None => {
                    self.met("Alexa call refused: too many wait");
                    return self.tell(home, caller, LIMIT);
                }
            }
        }
        self.end_call(channel, &offer.sender, None);
        let ttl = self.channels[channel].ttl * 1000;
        let most = self.settings.timeouts.alexa_wait_max_ms;
        let wait = if most == 0 { ttl } else { ttl.min(most) };
        let expires = self.now + wait;
        let sender = &offer.sender;
        let message = self.accept(Arriving {
            action: Action::SdpOffer,
            payload: &offer.payload,
            to_master: true,
            viewer: sender,
            expires: u64::MAX,
            from: None,
            by: None,
            first: false,
            call: true,
        });
        self.channels[channel].calls.push(Waiting {
            caller,
            sender: sender.clone(),
            message,
            expires,
            given: None,
            had: Vec::new(),
            delivered: false,
        });
        self.receive(home, Kind::Known(Action::SdpOffer));
        if home != caller.shard {
            self.shards[home].places.insert(caller);
            self.out.takens.push_back((caller, home));
        }
        self.give_all_offers(channel);
    }

    /// Whether one more call fits on a channel: of a full shard the account with most makes room for one that would
    /// still have less, else the channel with most of the same account.
    fn room(&mut self, channel: usize) -> Room {
        let home = self.channels[channel].home;
        let calls = |channel: &Channel| channel.calls.len();
        let here = || self.channels.iter().filter(|one| one.home == home);
        if here().map(calls).sum::<usize>() < self.waiting_most {
            return Room::Free;
        }
        let of = |account: &str| here().filter(|one| one.account == account).map(calls).sum();
        let mine = &self.channels[channel].account;
        let own: usize = of(mine);
        let accounts = here().map(|one| (of(&one.account), one.account.as_str()));
        let (most, fullest) = accounts.max().expect("this channel's at least");
        let other = most > own + 1;
        let payers = if other { fullest } else { mine };
        let in_full = (self.channels.iter().enumerate())
            .filter(|(_, one)| one.home == home && one.account == payers)
            .max_by_key(|(_, one)| one.calls.len());
        let (payer, _) = in_full.expect("this channel at least");
        if other {
            self.met("Alexa call made room for another account's");
            return Room::InPlaceOf(payer);
        }
        if self.channels[payer].calls.len() > self.channels[channel].calls.len() + 1 {
            return Room::InPlaceOf(payer);
        }
        Room::None
    }

    /// The newest call of a channel ends in favour of another channel's.
    fn end_for_another(&mut self, channel: usize) {
        let (home, most) = (
            self.channels[channel].home,
            self.channels[channel].calls.len(),
        );
        let account = &self.channels[channel].account;
        let as_full = |other: &&Channel| {
            other.home == home && other.account == *account && other.calls.len() == most
        };
        if self.channels.iter().filter(as_full).count() > 1 {
            self.give_up(); // which of them does not show
        }
        self.met("Alexa call made room for another channel's");
        let call = self.channels[channel].calls.pop().expect("it has most");
        self.remember_call(channel, &call);
        if call.given.is_none() && !call.delivered {
            self.unaccepted(home, Action::SdpOffer, Unaccepted::NoRoom);
        }
        self.answer_offer(home, call.caller, LIMIT);
    }

    pub(crate) fn give_all_offers(&mut self, channel: usize) {
        if let Some(master) = self.reach(channel, None) {
            let waiting: Vec<usize> = self.waiting_offers(channel).collect();
            for number in waiting {
                self.give_offer(channel, number, master);
            }
        }
    }

    /// Offers that the current master has not got.
    pub(crate) fn waiting_offers(&self, channel: usize) -> impl Iterator<Item = usize> {
        let calls = self.channels[channel].calls.clone();
        let master = self.channels[channel].master;
        calls
            .into_iter()
            .filter(move |call| {
                call.given.is_none() && master.is_none_or(|master| !call.had.contains(&master))
            })
            .map(|call| call.message)
    }

    pub(crate) fn give_offer(&mut self, channel: usize, number: usize, master: ConnId) {
        let calls = &mut self.channels[channel].calls;
        let call = calls.iter_mut().find(|call| call.message == number);
        let call = call.expect("it waits");
        call.given = Some(master);
        let first = !call.delivered;
        if !first {
            self.met("Alexa offer given to the next master");
        }
        self.queue(master, number, first, false);
    }

    /// Offers that some master had whole and that were not answered are for the next one. A master that stays keeps
    /// those that it has or has begun: it does not get them twice.
    pub(crate) fn offers_lost_their_master(&mut self, channel: usize, master: ConnId, stays: bool) {
        let conn = &self.conns[master];
        let unsent: Vec<usize> = (conn.outbox.iter().skip(conn.begun))
            .map(|one| one.number)
            .collect();
        for call in &mut self.channels[channel].calls {
            let had = call.given.take_if(|_| call.delivered) == Some(master);
            if had && stays && !unsent.contains(&call.message) {
                call.had.push(master);
            }
        }
    }

    /// A connection of the master's slot has left.
    pub(crate) fn forget_master(&mut self, channel: usize, master: ConnId) {
        for call in &mut self.channels[channel].calls {
            call.had.retain(|had| *had != master);
        }
    }

    pub(crate) fn offer_delivered(&mut self, master: ConnId, number: usize) {
        let channel = self.conns[master].ws.as_ref().expect("a WebSocket").channel;
        let current = self.channels[channel].master == Some(master);
        let stays = matches!(self.conns[master].stage, Stage::Open);
        let calls = &mut self.channels[channel].calls;
        let Some(call) = calls.iter_mut().find(|call| call.message == number) else {
            return;
        };
        call.delivered = true;
        if !current && call.given.take_if(|given| *given == master).is_some() {
            if stays {
                call.had.push(master);
            }
            self.give_all_offers(channel);
        }
    }

    pub(crate) fn offer_came_back(
        &mut self,
        channel: usize,
        master: ConnId,
        number: usize,
        counted: bool,
    ) {
        let home = self.channels[channel].home;
        let calls = &mut self.channels[channel].calls;
        match calls.iter_mut().find(|call| call.message == number) {
            Some(call) => drop(call.given.take_if(|given| *given == master)),
            None if counted => self.end(home, Action::SdpOffer, Outcome::Withdrawn),
            None => {}
        }
    }

    /// Ends the call that waits for an answer to `sender`.
    pub(crate) fn end_call(&mut self, channel: usize, sender: &str, answer: Option<String>) {
        let calls = &mut self.channels[channel].calls;
        let Some(place) = calls.iter().position(|call| call.sender == sender) else {
            return;
        };
        let call = calls.remove(place);
        let outcome = match answer {
            Some(_) => {
                self.met("Alexa call answered");
                Outcome::Withdrawn
            }
            None => {
                self.met("Alexa call replaced");
                Outcome::Overwritten
            }
        };
        self.close_call(channel, &call, outcome);
        let home = self.channels[channel].home;
        self.answer_offer(home, call.caller, Told::Answer(answer));
    }

    /// An offer that no outbox ever had ends with its call.
    pub(crate) fn close_call(&mut self, channel: usize, call: &Waiting, outcome: Outcome) {
        self.remember_call(channel, call);
        if call.given.is_none() && !call.delivered {
            let home = self.channels[channel].home;
            self.end(home, Action::SdpOffer, outcome);
        }
    }

    /// Candidates for a call that ended are for nobody.
    fn remember_call(&mut self, channel: usize, call: &Waiting) {
        let until = call.expires + self.channels[channel].ttl * 1000;
        let ended = &mut self.channels[channel].ended_calls;
        ended.retain(|(sender, _)| *sender != call.sender);
        ended.push((call.sender.clone(), until));
    }

    /// Calls whose time is over are answered with nothing.
    pub(crate) fn expire_calls(&mut self, channel: usize) {
        let now = self.now;
        loop {
            let calls = &mut self.channels[channel].calls;
            let Some(place) = calls.iter().position(|call| call.expires <= now) else {
                return;
            };
            let call = calls.remove(place);
            self.met("Alexa call expired");
            self.close_call(channel, &call, Outcome::Expired);
            let home = self.channels[channel].home;
            self.answer_offer(home, call.caller, Told::Answer(None));
        }
    }

    /// Ends every call of a channel with a fault, the newest first.
    pub(crate) fn fail_calls(&mut self, channel: usize, status: u16, refusal: Refusal) {
        while let Some(call) = self.channels[channel].calls.pop() {
            self.met("Alexa call failed");
            self.close_call(channel, &call, Outcome::Withdrawn);
            let home = self.channels[channel].home;
            self.answer_offer(home, call.caller, Told::Fault(status, refusal));
        }
    }
}

const LIMIT: Told = Told::Fault(400, Refusal::new(Check::AlexaCallsFull, LIMITED));
