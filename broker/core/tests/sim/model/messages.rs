//! Messages: judged, routed, kept, delivered, given back. See codec/PROTOCOL.md, MSG to KEEP.

use super::keeping::Full;
use super::unaccepted::Why;
use super::{ConnId, Expect, Message, Model, Queued, Stage};
use crate::sim::words::{Shape, Text};
use broker_core::event::{Kind, Outcome};
use broker_core::journal::Unaccepted;
use broker_core::shard::Passage;
use codec::signal::Action;

/// A message on its way.
#[derive(Clone)]
pub(crate) struct Passing {
    /// The sender's connection; `None` when a fault held it back.
    pub(crate) from: Option<ConnId>,
    /// The sender's connection of one that a fault held back.
    pub(crate) held_from: Option<ConnId>,
    pub(crate) channel: usize,
    /// The viewer's connection that sent it, and whether it is the first offer of that one.
    pub(crate) by: Option<ConnId>,
    pub(crate) first: bool,
    /// The viewer that sent it; `None` for the master.
    pub(crate) sender: Option<String>,
    pub(crate) recipient: String,
    pub(crate) action: Action,
    pub(crate) payload: String,
    pub(crate) correlation: Option<String>,
    pub(crate) expires: u64,
}

impl Passing {
    /// The viewer that it goes to; `None` for the master.
    pub(crate) fn viewer(&self) -> Option<&str> {
        match self.sender {
            Some(_) => None,
            None => Some(&self.recipient),
        }
    }
}

/// The reason for which a message is refused, and the response that its sender gets, if any.
struct Refused(Kind, Why, Option<(&'static str, String)>);

/// A message that is accepted.
pub(crate) struct Arriving<'a> {
    pub(crate) action: Action,
    pub(crate) payload: &'a str,
    pub(crate) to_master: bool,
    pub(crate) viewer: &'a str,
    pub(crate) expires: u64,
    pub(crate) from: Option<ConnId>,
    /// See [`Message::by`].
    pub(crate) by: Option<ConnId>,
    pub(crate) first: bool,
    /// It is the offer of a call.
    pub(crate) call: bool,
}

impl Model {
    pub(crate) fn message(&mut self, id: ConnId, text: &Text) {
        let shard = self.conns[id].shard;
        self.conns[id].ws.as_mut().expect("open").messages_in += 1;
        match self.judge(id, text) {
            Ok((action, payload)) => {
                self.receive(shard, Kind::Known(action));
                if !self.count_message(id, action) {
                    self.met("message throttled");
                    let recipient = text.recipient.as_deref().unwrap_or_default();
                    let reason = Unaccepted::TooFast;
                    self.decline_understood(id, action, &payload, recipient, reason);
                    let told = ("ClientLimitExceededException", 400, "Rate exceeded.");
                    self.status(id, text.correlation.as_deref(), told);
                    return self.idle_frame(id);
                }
                let now = self.now;
                let ws = self.conns[id].ws.as_mut().expect("open");
                let offers = action == Action::SdpOffer && ws.viewer.is_some();
                let first = offers && ws.setup[0].is_none();
                if first {
                    ws.setup[0] = Some(now - ws.opened);
                }
                if let Some(outcome) = self.late(id) {
                    self.end(shard, action, outcome);
                    let recipient = text.recipient.as_deref().unwrap_or_default();
                    return self.record_came(id, action, &payload, recipient, Passage::Late);
                }
                self.relay(id, (action, first), payload, text);
            }
            Err(Refused(kind, why, told)) => {
                self.receive(shard, kind);
                self.met("message refused");
                self.decline_faulty(id, kind, why);
                if let Some((error, description)) = told {
                    let told = (error, 400, description.as_str());
                    self.status(id, text.correlation.as_deref(), told);
                }
                self.idle_frame(id);
            }
        }
    }

    fn judge(&self, id: ConnId, text: &Text) -> Result<(Action, String), Refused> {
        let refused = |why, description: &str| {
            let told = ("InvalidArgumentException", description.to_owned());
            Err(Refused(Kind::Unknown, why, Some(told)))
        };
        let invalid = |reason, description: &str| refused(Why::plain(reason), description);
        let word = |id: &str| {
            (1..=256).contains(&id.len())
                && id
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte))
        };
        let correlation_bad = |id: &String| !id.is_empty() && !word(id);
        if text.shape == Shape::Broken {
            let why = Why::plain(Unaccepted::NotJson);
            return Err(Refused(Kind::Unknown, why, None));
        }
        if text.correlation.as_ref().is_some_and(correlation_bad) {
            let why = Why::plain(Unaccepted::Malformed);
            return Err(Refused(Kind::Unknown, why, None));
        }
        if matches!(text.shape, Shape::Twice | Shape::WrongType) {
            return invalid(Unaccepted::Malformed, "Malformed message.");
        }
        let Some(action) = text.action else {
            return invalid(Unaccepted::UnknownAction, "Unsupported action.");
        };
        let most = self.settings.limits.payload_bytes;
        let strict = self.settings.strict();
        let lawful = |byte: u8| {
            byte.is_ascii_alphanumeric()
                || b"+/=".contains(&byte)
                || (!strict && b"-_".contains(&byte))
        };
        let bytes = text.payload.len();
        let reason = match bytes {
            0 => Some(Unaccepted::NoPayload),
            _ if bytes > most => Some(Unaccepted::TooLong),
            _ if !text.payload.bytes().all(lawful) => Some(Unaccepted::NotBase64),
            _ => None,
        };
        if let Some(reason) = reason {
            let too_long = reason == Unaccepted::TooLong;
            let (bytes, limit) = if too_long { (bytes, most) } else { (0, 0) };
            let why = Why {
                reason,
                bytes,
                most: limit,
            };
            let description = format!("messagePayload must be 1 to {most} base64 characters.");
            return refused(why, &description);
        }
        let master = self.conns[id].ws.as_ref().expect("open").viewer.is_none();
        if master && action == Action::SdpOffer && !self.settings.options.master_offers {
            let told = "A master cannot send an SDP offer.".to_owned();
            let kind = Kind::Known(Action::SdpOffer);
            let why = Why::plain(Unaccepted::MasterOffer);
            return Err(Refused(kind, why, Some(("InvalidArgumentException", told))));
        }
        if master && !text.recipient.as_deref().is_some_and(word) {
            let told = "recipientClientId is required and must match [a-zA-Z0-9_.-]{1,256}.";
            return invalid(Unaccepted::UnknownRecipient, told);
        }
        Ok((action, text.payload.replace('-', "+").replace('_', "/")))
    }

    fn relay(&mut self, id: ConnId, (action, first): (Action, bool), payload: String, text: &Text) {
        let ws = self.conns[id].ws.as_ref().expect("open");
        let (channel, sender) = (ws.channel, ws.viewer.clone());
        if self.conns[id].place == broker_core::event::ConnectionRole::Superseded.index() {
            self.met("message of a superseded connection");
        }
        let passing = Passing {
            from: Some(id),
            held_from: None,
            channel,
            by: sender.as_ref().map(|_| id),
            first,
            sender,
            recipient: text.recipient.clone().unwrap_or_default(),
            action,
            payload,
            correlation: text.correlation.clone(),
            expires: self.now + self.channels[channel].ttl * 1000,
        };
        self.set_out(&passing, Self::disturb_message);
    }

    /// Whether it is for an Alexa call that waits.
    fn is_for_call(&self, passing: &Passing) -> bool {
        let mut calls = self.channels[passing.channel].calls.iter();
        let waits = passing.sender.is_none() && calls.any(|call| call.sender == passing.recipient);
        waits && passing.action != Action::SdpOffer || self.is_for_ended_call(passing)
    }

    /// Whether it is a candidate for a client id that is only that of a call that ended.
    fn is_for_ended_call(&self, passing: &Passing) -> bool {
        let channel = &self.channels[passing.channel];
        let mut ended = channel.ended_calls.iter();
        passing.sender.is_none()
            && passing.action == Action::IceCandidate
            && !channel.viewers.contains_key(&passing.recipient)
            && ended.any(|(sender, until)| *sender == passing.recipient && self.now < *until)
    }

    /// The connection that a message goes to, if it goes to one.
    pub(crate) fn recipient(&self, passing: &Passing) -> Option<ConnId> {
        let viewer = passing.viewer();
        let waits = (passing.sender.as_ref()).is_some_and(|id| self.holds(passing.channel, id));
        self.reach(passing.channel, viewer)
            .filter(|_| !waits && !self.is_for_call(passing))
    }

    /// A message goes where it is to go, and what waited for that follows.
    pub(crate) fn hand_on(&mut self, passing: &Passing) {
        self.set_out(passing, |_, _, _| false);
    }

    /// A message goes where it is to go, unless it is dealt with otherwise. Its sender has answered, or has a newer
    /// offer, either way: what waited for that follows.
    pub(crate) fn set_out(
        &mut self,
        passing: &Passing,
        disturb: impl FnOnce(&mut Self, &Passing, Option<ConnId>) -> bool,
    ) {
        let to = self.recipient(passing);
        let waited = self.ends_offer(passing);
        if !disturb(self, passing, to) {
            self.goes(passing, to);
        }
        if waited {
            self.deliver_kept(passing.channel, None);
        }
    }

    /// It goes to this connection, or is kept.
    pub(crate) fn goes(&mut self, passing: &Passing, to: Option<ConnId>) {
        let shard = self.channels[passing.channel].home;
        let action = passing.action;
        if self.is_for_call(passing) && action == Action::SdpAnswer {
            if self.settings.strict() && passing.payload.len() > 10_000 {
                let why = Why {
                    reason: Unaccepted::TooLong,
                    bytes: passing.payload.len(),
                    most: 10_000,
                };
                match passing.from.or(passing.held_from) {
                    Some(from) => self.decline_faulty(from, Kind::Known(action), why),
                    None => self.unaccepted(shard, action, why.reason),
                }
                let description = "messagePayload must be 1 to 10000 base64 characters.";
                self.status_of(passing, ("InvalidArgumentException", 400, description));
                return;
            }
            self.record_passing(passing, Passage::AnsweredCall);
            let answer = Some(passing.payload.clone());
            self.end_call(passing.channel, &passing.recipient, answer);
            self.end(shard, action, Outcome::Delivered);
            return;
        }
        if self.is_for_call(passing) {
            if self.is_for_ended_call(passing) {
                self.met("candidate for an Alexa call that has ended");
            }
            self.met("candidate for an Alexa call");
            self.record_passing(passing, Passage::ForCall);
            self.end(shard, action, Outcome::Withdrawn);
            return;
        }
        let number = self.number(passing);
        match to {
            Some(to) => self.deliver_or_refuse(to, number, passing),
            None => {
                if let Err(Full) = self.keep_new(passing.channel, number) {
                    self.refuse_for_room(passing);
                }
            }
        }
    }

    /// Neither a connection nor its channel has room for a message.
    pub(crate) fn refuse_for_room(&mut self, passing: &Passing) {
        self.decline_passing(passing, Unaccepted::NoRoom);
        self.met("message refused: no room");
        let description = "Too many undelivered messages.";
        self.status_of(passing, ("ClientLimitExceededException", 400, description));
    }

    /// STATUS_RESPONSE to the sender of a message, if it gets one.
    pub(crate) fn status_of(
        &mut self,
        passing: &Passing,
        (error, code, description): (&str, u16, &str),
    ) {
        if let Some(from) = passing.from {
            let correlation = passing.correlation.as_deref();
            self.status(from, correlation, (error, code, description));
        }
    }

    /// Gives a message that comes from a connection its number.
    pub(crate) fn number(&mut self, passing: &Passing) -> usize {
        let viewer = passing.sender.as_ref().unwrap_or(&passing.recipient);
        let number = self.accept(Arriving {
            action: passing.action,
            payload: &passing.payload,
            to_master: passing.sender.is_some(),
            viewer,
            expires: passing.expires,
            from: passing.from,
            by: passing.by,
            first: passing.first,
            call: false,
        });
        self.offer_begins(passing, number);
        number
    }

    /// Gives a message its number.
    pub(crate) fn accept(&mut self, message: Arriving<'_>) -> usize {
        let Arriving {
            action,
            payload,
            to_master,
            viewer,
            expires,
            from,
            by,
            first,
            call,
        } = message;
        self.messages.push(Message {
            action,
            expires,
            accepted: self.now,
            payload: payload.to_owned(),
            text: delivery(action, payload, to_master.then_some(viewer)),
            to_master,
            viewer: viewer.to_owned(),
            from,
            by,
            first,
            call,
        });
        self.messages.len() - 1
    }

    /// The connection that has a slot, if messages may go there.
    pub(crate) fn reach(&self, channel: usize, viewer: Option<&str>) -> Option<ConnId> {
        let slots = &self.channels[channel];
        let mut holders = slots.held.iter();
        if holders.any(|held| held.slot.as_deref() == viewer) {
            return None;
        }
        match viewer {
            None => slots.master,
            Some(viewer) => slots.viewers.get(viewer).copied(),
        }
    }

    pub(crate) fn deliver(
        &mut self,
        to: ConnId,
        channel: usize,
        number: usize,
        timed: bool,
    ) -> Result<(), Full> {
        self.shed(self.conns[to].shard);
        if !matches!(self.conns[to].stage, Stage::Open) {
            return self.keep_for_next(to, channel, number);
        }
        let limits = &self.settings.limits;
        let bytes = self.messages[number].bytes();
        let waiting = self.kept_bytes(to);
        let all = self.shards[self.conns[to].shard].outbox_bytes;
        let shard_full = all + bytes > self.settings.outbox_bytes_of_shard();
        if waiting + bytes > limits.outbox_bytes {
            self.cut_slow(to);
            return self.keep_for_next(to, channel, number);
        }
        if shard_full {
            self.met("shard's outboxes full");
            return Err(Full);
        }
        self.record_relayed(channel, number, to);
        self.queue(to, number, true, timed);
        if self.messages[number].action != Action::IceCandidate {
            self.prove(to);
        }
        Ok(())
    }

    /// Keeps a message whose recipient was closed for it; another connection may have the slot again.
    fn keep_for_next(&mut self, to: ConnId, channel: usize, number: usize) -> Result<(), Full> {
        self.keep_new(channel, number)?;
        let viewer = self.conns[to]
            .ws
            .as_ref()
            .expect("it was open")
            .viewer
            .clone();
        self.deliver_kept(channel, viewer.as_deref());
        Ok(())
    }

    /// Keeps a message that came just now.
    fn keep_new(&mut self, channel: usize, number: usize) -> Result<(), Full> {
        self.keep(channel, number)?;
        self.record_new_kept(channel, number);
        Ok(())
    }

    /// Puts a message into an outbox; `timed` if it came in just now, so that its delivery is measured.
    pub(crate) fn queue(&mut self, to: ConnId, number: usize, counted: bool, timed: bool) {
        self.grow(to, self.messages[number].bytes());
        self.out.touched.insert(to);
        let queued = Queued {
            number,
            counted,
            timed,
            written: false,
        };
        self.conns[to].outbox.push_back(queued);
    }

    /// The edge took bytes: this many more messages are begun.
    pub(crate) fn began(&mut self, id: ConnId, messages: usize) {
        self.conns[id].begun += messages;
    }

    /// STATUS_RESPONSE, if the sender gets one.
    pub(crate) fn status(
        &mut self,
        id: ConnId,
        correlation: Option<&str>,
        (error, code, description): (&str, u16, &str),
    ) {
        let Some(correlation) = correlation.filter(|id| !id.is_empty()) else {
            return;
        };
        // One that was closed to make room gets no data frame behind its close frame.
        if !matches!(self.conns[id].stage, Stage::Open) {
            return;
        }
        if !self.has_control_room(id) {
            return self.cut_slow(id);
        }
        let text = format!(
            r#"{{"messageType":"STATUS_RESPONSE","statusResponse":{{"correlationId":"{correlation}","errorType":"{error}","statusCode":"{code}","description":"{description}"}}}}"#
        );
        let bytes = crate::sim::wire::frame_bytes(text.len());
        self.expect(id, Expect::Status(text), bytes);
    }
}

/// The text that a recipient reads. `sender`: a viewer.
pub(crate) fn delivery(action: Action, payload: &str, sender: Option<&str>) -> String {
    let sender = sender.map(|id| format!(r#","senderClientId":"{id}""#));
    let (action, sender) = (action.as_str(), sender.unwrap_or_default());
    format!(r#"{{"messagePayload":"{payload}","messageType":"{action}"{sender}}}"#)
}
