//! API calls, and Alexa offers at their channel. See codec/PROTOCOL.md, HTTP to MEDIA.

use super::answers::{channel_of, named, response, subject};
use super::changes::{Life, record_bytes};
use super::connections::name_of;
use super::{
    CALLERS, Caller, Channel, ConnId, LIMITED, Model, NOT_FOUND, Named, PredictedResponse,
    Question, Record, Refusal, Reply, Stage, Told, UNAVAILABLE,
};
use crate::sim::words::{Call, Offer};
use broker_core::check::Check;
use broker_core::event::{Outcome, Purpose};
use broker_core::journal::EndReason;

/// Longest MessagePayload of SendAlexaOfferToMaster.
const OFFER_BYTES: usize = 10_000;

/// Longest wait of a call.
const REPLY_MS: u64 = 150_000;

impl Model {
    /// The body of a call is complete.
    pub(crate) fn call(&mut self, id: ConnId, call: Call) {
        let purpose = Purpose::Api(call.operation());
        match call {
            Call::Broken => {
                let refusal = Refusal::new(Check::BodyMalformed, "SerializationException");
                return self.respond(
                    id,
                    purpose,
                    PredictedResponse::refusal(400, refusal, Named::default(), false),
                );
            }
            Call::Alexa(Offer { ref payload, .. }) if payload.len() > OFFER_BYTES => {
                self.met("Alexa offer too long");
                let refusal = Refusal::new(Check::ArgumentInvalid, "InvalidArgumentException");
                return self.respond(
                    id,
                    purpose,
                    PredictedResponse::refusal(400, refusal, Named::default(), false),
                );
            }
            Call::Missing => {
                let refusal = Refusal::new(Check::ArgumentInvalid, "InvalidArgumentException");
                return self.respond(
                    id,
                    purpose,
                    PredictedResponse::refusal(400, refusal, Named::default(), false),
                );
            }
            _ => {}
        }
        if self.disturb_call(id, &call) {
            return;
        }
        let conn = &mut self.conns[id];
        let caller = Caller {
            conn: id,
            number: conn.number,
            shard: conn.shard,
        };
        self.asked.insert(caller, call.clone());
        let changes = changes(&call);
        if changes && !self.keep_place(id, &call) {
            return;
        }
        self.conns[id].deadline = self.now + REPLY_MS;
        let permit = self.permit_for(call.operation());
        let Some(permit) = permit else {
            return self.permitted(caller, call, changes);
        };
        let operation = call.operation();
        self.conns[id].stage = Stage::AwaitReply(Reply {
            call,
            permit: Some(permit),
            missing: 0,
            names: Vec::new(),
            more: false,
            taken: false,
            place_kept: changes,
            noted: false,
        });
        self.ask_for_permit(caller, operation);
    }

    /// Goes on with a call that its account may make.
    pub(crate) fn permitted(&mut self, caller: Caller, call: Call, place_kept: bool) {
        if matches!(call, Call::Alexa(_)) && self.conns[caller.conn].ended {
            self.met("Alexa caller hung up before its call began");
            return self.finish(caller.conn);
        }
        let homes: Vec<usize> = match (&call, channel_of(&call)) {
            (_, Some(channel)) => vec![(self.home)(channel)],
            (Call::List(..), None) => (0..self.shards.len()).collect(),
            (Call::Mapped, None) => return self.reply_now(caller.conn, &call),
            (other, None) => panic!("{other:?} is refused before"),
        };
        self.conns[caller.conn].deadline = self.now + REPLY_MS;
        self.conns[caller.conn].stage = Stage::AwaitReply(Reply {
            call,
            permit: None,
            missing: homes.len(),
            names: Vec::new(),
            more: false,
            taken: false,
            place_kept,
            noted: false,
        });
        if matches!(self.asked[&caller], Call::List(..)) {
            self.shards[caller.shard].lists.push_back(caller);
            return self.begin_lists(caller.shard);
        }
        for home in homes {
            self.ask(caller, home, Question::Call);
        }
    }

    /// One list of an account is under way at a time. Who hung up meanwhile gets none.
    pub(crate) fn begin_lists(&mut self, shard: usize) {
        while self.shards[shard].list.is_none()
            && let Some(caller) = self.shards[shard].lists.pop_front()
        {
            let conn = &self.conns[caller.conn];
            let waits = conn.live && conn.number == caller.number;
            if !waits || !matches!(conn.stage, Stage::AwaitReply(_)) {
                continue;
            }
            if conn.ended {
                self.met("list dropped: its caller hung up");
                self.finish(caller.conn);
                continue;
            }
            let homes = self.shards.len();
            self.shards[shard].list = Some((caller, homes));
            for home in 0..homes {
                self.ask(caller, home, Question::Call);
            }
        }
    }

    /// A part of the list that is under way came, whether or not somebody waits for it.
    fn part_came(&mut self, caller: Caller) {
        let list = &mut self.shards[caller.shard].list;
        if let Some((of, missing)) = list
            && *of == caller
        {
            *missing -= 1;
            if *missing == 0 {
                *list = None;
            }
        }
    }

    /// Nobody waits for the answer of a change any more: it has its line all the same.
    pub(crate) fn note_unanswered(&mut self, id: ConnId) {
        let Stage::AwaitReply(reply) = &mut self.conns[id].stage else {
            return;
        };
        if !std::mem::take(&mut reply.place_kept) {
            return;
        }
        reply.noted = true;
        let call = reply.call.clone();
        self.met("change noted that was not answered");
        let about = subject(&call, &Told::Done).expect("a change has a subject");
        let shard = self.conns[id].shard;
        self.shards[shard].audits_kept -= 1;
        self.note_audit(id, call.operation(), about, "unanswered");
    }

    /// Keeps a place in the log for the line of a change; without one it is refused.
    fn keep_place(&mut self, id: ConnId, call: &Call) -> bool {
        let shard = &mut self.shards[self.conns[id].shard];
        if shard.audits_kept < self.audits_most {
            shard.audits_kept += 1;
            return true;
        }
        shard.counters.audit_refused += 1;
        self.met("change refused: the log has no place for its line");
        let refusal = Refusal::new(Check::AuditFull, UNAVAILABLE);
        let refused = Told::Fault(503, refusal);
        let about = subject(call, &refused).expect("a change has a subject");
        self.audited(id, call.operation(), about, UNAVAILABLE);
        let purpose = Purpose::Api(call.operation());
        self.respond(
            id,
            purpose,
            PredictedResponse::refusal(503, refusal, named(call), false),
        );
        false
    }

    pub(crate) fn ask(&mut self, caller: Caller, home: usize, question: Question) {
        if home == caller.shard {
            self.answer(home, caller, question);
            return;
        }
        let stored = question == Question::Call && stored(&self.asked[&caller]);
        if self.shards[caller.shard].asks(home, caller, stored) {
            self.out.asks.push_back((caller, home, question));
        } else {
            self.met("call refused: too many between two shards");
            let refusal = Refusal::new(Check::MailboxFull, UNAVAILABLE);
            self.answers.push_back((caller, Told::Fault(503, refusal)));
        }
    }

    /// A question is taken in at a channel's home.
    pub(crate) fn answer(&mut self, home: usize, caller: Caller, question: Question) {
        let call = self.asked[&caller].clone();
        let told = match question {
            Question::Permit => self.permit(call.operation()),
            Question::Count => {
                let here = |channel: &&Channel| {
                    channel.alive && channel.home == home && channel.account == CALLERS
                };
                let bytes = self.channels.iter().filter(here).map(Channel::record_bytes);
                Told::Holding(self.channels.iter().filter(here).count(), bytes.sum())
            }
            Question::Call => {
                if self.over_rate(&call) {
                    self.met("call refused: rate of the channel");
                    Told::Fault(400, Refusal::new(Check::RateChannel, LIMITED))
                } else {
                    return self.serve(home, caller, call);
                }
            }
        };
        self.tell(home, caller, told);
    }

    /// Counts a call against the rate of its channel, if that is there.
    fn over_rate(&mut self, call: &Call) -> bool {
        let channel = match call {
            Call::DescribeName(name) | Call::Storage(name, true) => self.named(name),
            Call::DescribeArn(arn)
            | Call::Delete(arn, _)
            | Call::Endpoint(arn)
            | Call::Ice(arn)
            | Call::Alexa(Offer { arn, .. })
            | Call::Update(arn, ..)
            | Call::Tag(arn, _)
            | Call::Untag(arn, _)
            | Call::Tags(arn)
            | Call::Storage(arn, false)
            | Call::UpdateStorage(arn, _)
            | Call::Join(arn, _) => self.by_arn(arn),
            Call::Create(..) | Call::List(..) | Call::Broken | Call::Missing | Call::Mapped => None,
        };
        channel.is_some_and(|channel| !self.count_call(channel, call.operation()))
    }

    /// A question that is allowed and counted.
    pub(crate) fn serve(&mut self, home: usize, caller: Caller, call: Call) {
        let told = match call {
            Call::Create(name, ..) if self.named(&name).is_some() => Told::Fault(
                400,
                Refusal::new(Check::ChannelExists, "ResourceInUseException"),
            ),
            Call::Create(name, ttl, tags) => {
                // Never the time of an earlier channel, also when the clock was set back.
                let created = self.wall.max(self.shards[home].last_created + 1);
                let arn =
                    format!("arn:aws:kinesisvideo:us-west-2:{CALLERS}:channel/{name}/{created}");
                if !self.has_bytes(home, caller, record_bytes(&arn, &tags)) {
                    let error = "AccountChannelLimitExceededException";
                    let told = Told::Fault(400, Refusal::new(Check::RecordsFull, error));
                    return self.tell(home, caller, told);
                }
                self.shards[home].last_created = created;
                let channel = self.create(arn, u64::from(ttl));
                self.channels[channel].tags = tags;
                return self.begin_channel(channel, Some(caller), Life::Creating);
            }
            Call::Update(ref arn, ..)
            | Call::Delete(ref arn, _)
            | Call::Tag(ref arn, _)
            | Call::Untag(ref arn, _) => {
                let arn = arn.clone();
                return self.alter(home, caller, &arn, call);
            }
            Call::DescribeName(name) | Call::Storage(name, true) => self.record(self.named(&name)),
            Call::DescribeArn(ref arn)
            | Call::Endpoint(ref arn)
            | Call::Ice(ref arn)
            | Call::Tags(ref arn)
            | Call::Storage(ref arn, false)
            | Call::UpdateStorage(ref arn, _)
            | Call::Join(ref arn, _) => match (self.record(self.by_arn(arn)), &call) {
                (Told::Fault(..), _) => Told::Fault(404, self.absent(arn)),
                (Told::Record(record), Call::Endpoint(_)) if record.deleting => Told::Fault(
                    400,
                    Refusal::new(Check::ChannelDeleting, "ResourceInUseException"),
                ),
                (Told::Record(record), Call::Ice(_)) if record.deleting => {
                    Told::Fault(404, Refusal::new(Check::ChannelDeleting, NOT_FOUND))
                }
                (told, _) => told,
            },
            Call::List(prefix, most) => self.page(home, &prefix, most),
            Call::Alexa(offer) => match self.by_arn(&offer.arn) {
                Some(channel) if self.channels[channel].life == Life::Active => {
                    if !self.drains(home) {
                        return self.take_offer(channel, caller, &offer);
                    }
                    Told::Fault(503, Refusal::new(Check::Draining, UNAVAILABLE))
                }
                Some(_) | None => Told::Fault(404, self.absent(&offer.arn)),
            },
            Call::Broken | Call::Missing | Call::Mapped => panic!("never asked"),
        };
        self.tell(home, caller, told);
    }

    fn page(&self, home: usize, prefix: &str, most: usize) -> Told {
        let here = self.channels.iter().filter(|channel| {
            let there = channel.alive && channel.life != Life::Creating;
            let listed = channel.account == CALLERS && channel.name.starts_with(prefix);
            there && channel.home == home && listed
        });
        let line = |channel: &Channel| format!("{} {}", channel.name, channel.status());
        let mut names: Vec<String> = here.map(line).collect();
        names.sort_unstable();
        let more = names.len() > most;
        names.truncate(most);
        Told::Page(names, more)
    }

    pub(crate) fn record(&self, channel: Option<usize>) -> Told {
        let channel = channel.map(|channel| &self.channels[channel]);
        match channel.filter(|channel| channel.life != Life::Creating) {
            None => Told::Fault(404, Refusal::new(Check::ChannelAbsent, NOT_FOUND)),
            Some(channel) => Told::Record(Box::new(Record {
                name: channel.name.clone(),
                arn: channel.arn.clone(),
                ttl: channel.ttl,
                deleting: channel.life == Life::Deleting,
                version: channel.version.clone(),
                tags: channel.tags.clone(),
            })),
        }
    }

    pub(crate) fn tell(&mut self, home: usize, caller: Caller, told: Told) {
        if home == caller.shard {
            self.answers.push_back((caller, told));
        } else {
            self.out.tells.push_back((caller, home, told));
        }
    }

    /// An answer reached the caller's shard by letter, or the question came back.
    pub(crate) fn heard_back(&mut self, caller: Caller, home: usize, told: Told) {
        self.shards[caller.shard].heard_from(home, caller);
        self.part_came(caller);
        self.told(caller, told);
    }

    /// Once the input is done with, answers come to callers, and the requests behind their calls begin.
    pub(crate) fn go_on(&mut self) {
        loop {
            if let Some((caller, told)) = self.answers.pop_front() {
                self.part_came(caller);
                self.told(caller, told);
            } else if let Some(conn) = self.answered.pop_front() {
                self.visit(conn);
            } else {
                return;
            }
        }
    }

    pub(crate) fn told(&mut self, caller: Caller, told: Told) {
        let conn = &mut self.conns[caller.conn];
        let Stage::AwaitReply(reply) = &mut conn.stage else {
            return;
        };
        if conn.number != caller.number || !conn.live {
            return;
        }
        if reply.permit.is_some() {
            let call = reply.call.clone();
            if let Some(refused) = self.permit_told(caller, told) {
                self.reply(caller.conn, &call, refused);
            }
            return;
        }
        let told = match told {
            Told::Page(names, more) => {
                reply.names.extend(names);
                reply.more |= more;
                reply.missing -= 1;
                if reply.missing > 0 {
                    return;
                }
                let Call::List(_, most) = reply.call else {
                    panic!("only lists have pages")
                };
                let mut names = std::mem::take(&mut reply.names);
                names.sort_unstable();
                let more = reply.more || names.len() > most;
                names.truncate(most);
                Told::Page(names, more)
            }
            other => other,
        };
        let call = reply.call.clone();
        self.reply(caller.conn, &call, told);
    }

    /// An answer that asks nobody.
    fn reply_now(&mut self, id: ConnId, call: &Call) {
        let (status, _, body) = response(call, Told::Done);
        let purpose = Purpose::Api(call.operation());
        self.respond(id, purpose, PredictedResponse::new(status, body, None));
    }

    /// A call has its answer.
    fn reply(&mut self, id: ConnId, call: &Call, told: Told) {
        let mut noted = false;
        if let Stage::AwaitReply(reply) = &self.conns[id].stage {
            noted = reply.noted;
            let shard = self.conns[id].shard;
            self.shards[shard].audits_kept -= usize::from(reply.place_kept);
        }
        let (purpose, subject) = (Purpose::Api(call.operation()), subject(call, &told));
        let (status, refusal, body) = response(call, told);
        if let Some(subject) = subject.filter(|_| !noted) {
            let error = refusal.map_or("", |refusal| refusal.error);
            self.audited(id, call.operation(), subject, error);
        }
        let refused = refusal.map(|refusal| (refusal, named(call)));
        self.respond(id, purpose, PredictedResponse::new(status, body, refused));
        self.answered.push_back(id);
    }

    /// The caller of a waiting Alexa call is gone. False if there is none.
    pub(crate) fn hang_up(&mut self, id: ConnId) -> bool {
        let conn = &mut self.conns[id];
        let Stage::AwaitReply(reply) = &conn.stage else {
            return false;
        };
        let caller = Caller {
            conn: id,
            number: conn.number,
            shard: conn.shard,
        };
        let Call::Alexa(offer) = reply.call.clone() else {
            return false;
        };
        if reply.permit.is_some() {
            return false; // it ends when the account has answered
        }
        let taken = reply.taken;
        self.conns[id].number += 1;
        self.met("Alexa caller hung up");
        let home = (self.home)(name_of(&offer.arn));
        if home == caller.shard {
            self.withdraw(caller);
        } else if taken {
            self.shards[caller.shard].offers_out -= 1;
            self.out.withdraws.push_back((caller, home));
        }
        true
    }

    /// A channel is deleted.
    pub(crate) fn end_channel(&mut self, channel: usize) {
        self.met("channel deleted");
        self.fail_calls(
            channel,
            404,
            Refusal::new(Check::ChannelDeleting, NOT_FOUND),
        );
        let gone = &mut self.channels[channel];
        gone.alive = false;
        let home = gone.home;
        let pending = std::mem::take(&mut gone.pending);
        let mut members: Vec<ConnId> = gone.viewers.values().copied().collect();
        members.extend(gone.master);
        members.extend(gone.superseded.iter().map(|(_, conn)| *conn));
        for number in pending {
            self.end(home, self.messages[number].action, Outcome::Withdrawn);
        }
        for conn in members {
            self.met("connection closed by a deletion");
            self.close_ws(conn, 1001, "Channel deleted", EndReason::ChannelDeleted);
        }
    }
}

/// Whether a call is answered only when something is durable.
fn stored(call: &Call) -> bool {
    changes(call) && !matches!(call, Call::UpdateStorage(..))
}

/// Whether a call changes something.
fn changes(call: &Call) -> bool {
    subject(call, &Told::Done).is_some()
}
