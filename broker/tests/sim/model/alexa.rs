//! Alexa offers at their channel. protocol.md 2.7.

use super::{Caller, ConnId, Model, Told, Waiting};
use crate::words::Offer;
use broker::event::{Kind, Outcome};
use codec::signal::Action;

impl Model {
    /// A cancel is taken in at the channel's home.
    pub(crate) fn cancel(&mut self, home: usize, caller: Caller) {
        let found = (self.channels.iter())
            .position(|channel| channel.calls.iter().any(|call| call.caller == caller));
        let Some(channel) = found else { return };
        let calls = &mut self.channels[channel].calls;
        let place = calls.iter().position(|call| call.caller == caller);
        let call = calls.remove(place.expect("just seen"));
        self.close_call(channel, &call, Outcome::Withdrawn);
        self.tell(home, caller, Told::Answer(None));
    }

    pub(super) fn take_offer(&mut self, channel: usize, caller: Caller, offer: &Offer) {
        self.end_call(channel, &offer.sender, None);
        let home = self.channels[channel].home;
        if self.channels[channel].calls.len() >= 64 {
            let fault = Told::Fault(400, "ClientLimitExceededException");
            return self.tell(home, caller, fault);
        }
        let ttl = self.channels[channel].ttl * 1000;
        let most = self.settings.timeouts.alexa_wait_max_ms;
        let wait = if most == 0 { ttl } else { ttl.min(most) };
        let expires = self.now + wait;
        let (payload, sender) = (&offer.payload, &offer.sender);
        let message = self.accept(Action::SdpOffer, payload, true, sender, u64::MAX, true);
        self.channels[channel].calls.push(Waiting {
            caller,
            sender: sender.clone(),
            message,
            expires,
            given: None,
            delivered: false,
        });
        self.receive(home, Kind::Known(Action::SdpOffer));
        self.give_all_offers(channel);
    }

    pub(super) fn give_all_offers(&mut self, channel: usize) {
        if let Some(master) = self.reach(channel, None) {
            let waiting: Vec<usize> = self.waiting_offers(channel).collect();
            for number in waiting {
                self.give_offer(channel, number, master);
            }
        }
    }

    /// Offers that the current master has not got.
    pub(super) fn waiting_offers(&self, channel: usize) -> impl Iterator<Item = usize> {
        let calls = self.channels[channel].calls.clone();
        calls
            .into_iter()
            .filter(|call| call.given.is_none())
            .map(|call| call.message)
    }

    pub(super) fn give_offer(&mut self, channel: usize, number: usize, master: ConnId) {
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

    /// Offers that the master had whole and did not answer are for the next one.
    pub(super) fn offers_lost_their_master(&mut self, channel: usize) {
        for call in &mut self.channels[channel].calls {
            call.given.take_if(|_| call.delivered);
        }
    }

    pub(super) fn offer_delivered(&mut self, master: ConnId, number: usize) {
        let channel = self.conns[master].ws.as_ref().expect("a WebSocket").channel;
        let current = self.channels[channel].master == Some(master);
        let calls = &mut self.channels[channel].calls;
        let Some(call) = calls.iter_mut().find(|call| call.message == number) else {
            return;
        };
        call.delivered = true;
        if !current && call.given.take_if(|given| *given == master).is_some() {
            self.give_all_offers(channel);
        }
    }

    pub(super) fn offer_came_back(
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
    pub(super) fn end_call(&mut self, channel: usize, sender: &str, answer: Option<String>) {
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
        self.tell(home, call.caller, Told::Answer(answer));
    }

    /// An offer that no outbox ever had ends with its call.
    pub(super) fn close_call(&mut self, channel: usize, call: &Waiting, outcome: Outcome) {
        if call.given.is_none() && !call.delivered {
            let home = self.channels[channel].home;
            self.end(home, Action::SdpOffer, outcome);
        }
    }

    /// Calls whose time is over are answered with nothing.
    pub(super) fn expire_calls(&mut self, channel: usize) {
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
            self.tell(home, call.caller, Told::Answer(None));
        }
    }

    /// Ends every call of a channel with a fault, the newest first.
    pub(super) fn fail_calls(&mut self, channel: usize, status: u16, error: &'static str) {
        while let Some(call) = self.channels[channel].calls.pop() {
            self.met("Alexa call failed");
            self.close_call(channel, &call, Outcome::Withdrawn);
            let home = self.channels[channel].home;
            self.tell(home, call.caller, Told::Fault(status, error));
        }
    }
}
