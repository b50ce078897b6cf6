//! API calls on the shard that has their connection: a question to the channel's home, and its answer as a response.

use super::{Alteration, Ask, Inquiry, Letter, Shard, Told};
use crate::control;
use crate::id::{CallRef, Identity, SessionKey, ShardId};
use crate::limits::{CALLS_PER_PAIR_MAX, LIST_PAGE_MAX};
use crate::machine::Output;
use crate::record::Record;
use crate::session::{Asked, HttpStage, NEVER, Wanted};
use crate::time::Moment;
use codec::control::{
    Call, ChannelInfo, ChannelStatus, CreateSignalingChannel, ErrorKind, ListSignalingChannels,
    Operation, Selector,
};

/// What a caller hears when a mailbox or a table of calls is full.
pub(super) fn too_busy() -> Told {
    Told::Fault(
        ErrorKind::ServiceUnavailable,
        "The server is busy. Try again.".into(),
    )
}

impl Shard {
    /// Begins a call: its questions go to the homes of its channels.
    pub(super) fn call(&mut self, key: SessionKey, asked: Asked, call: Call, at: Moment) {
        let named = |shard: &Self, name: &str| {
            Identity::new(&shard.settings.region, &shard.settings.account_id, name)
        };
        let (wanted, ask) = match call {
            Call::List(list) => return self.list(key, asked, &list, at),
            Call::Create(create) => self.create_question(create),
            Call::Describe(describe) => match describe.channel {
                Selector::ByName(name) => (
                    Wanted::Description,
                    Ask::Look(named(self, name.as_str()), None),
                ),
                Selector::ByArn(arn) => (
                    Wanted::Description,
                    Ask::Look(Identity::of(&arn), Some(arn)),
                ),
            },
            Call::Delete(delete) => (
                Wanted::Deleted,
                Ask::Change(delete.arn, Alteration::Delete(delete.version)),
            ),
            Call::Endpoint(endpoint) => {
                let wanted = Wanted::Endpoints(endpoint.protocols, endpoint.role);
                (
                    wanted,
                    Ask::Look(Identity::of(&endpoint.arn), Some(endpoint.arn)),
                )
            }
            Call::Ice(ice) => {
                let wanted = Wanted::IceServers(ice.credential_name().into());
                (wanted, Ask::Look(Identity::of(&ice.arn), Some(ice.arn)))
            }
            Call::Alexa(offer) => {
                let (arn, sender) = (offer.arn, offer.sender.as_str().into());
                (
                    Wanted::Answer(Identity::of(&arn)),
                    Ask::Offer {
                        arn,
                        sender,
                        payload: offer.payload,
                    },
                )
            }
            Call::Update(_)
            | Call::Tag(_)
            | Call::Untag(_)
            | Call::ListTags(_)
            | Call::MediaStorage(_)
            | Call::UpdateMediaStorage(_)
            | Call::MappedResource(_)
            | Call::Join(_)
            | Call::JoinAsViewer(_) => return self.not_served(key, &asked, at),
        };
        let operation = asked.operation;
        if let Some(caller) = self.await_reply(key, asked, wanted) {
            let home = self.home_of(&ask);
            self.ask(home, caller, Inquiry { operation, ask }, at);
        }
    }

    /// A call that can be read, and that no home answers so far.
    fn not_served(&mut self, key: SessionKey, asked: &Asked, at: Moment) {
        let (kind, message) = (ErrorKind::UnknownOperation, "This operation is not served.");
        self.respond_error(key, Some(asked.operation), kind, message, asked.close, at);
    }

    fn create_question(&self, create: CreateSignalingChannel) -> (Wanted, Ask) {
        let identity = Identity::new(
            &self.settings.region,
            &self.settings.account_id,
            create.name.as_str(),
        );
        (Wanted::Created, Ask::Create(identity, create))
    }

    /// Asks every shard for its part of a page.
    fn list(&mut self, key: SessionKey, asked: Asked, list: &ListSignalingChannels, at: Moment) {
        let (region, account) = (&self.settings.region, &self.settings.account_id);
        let text = |name: &str| Identity::new(region, account, name).as_str().into();
        let prefix: Box<str> = text(list.prefix.as_ref().map_or("", |prefix| prefix.as_str()));
        let after: Option<Box<str>> = list.after.as_ref().map(|after| text(after.as_str()));
        let limit = list.entries_max.min(LIST_PAGE_MAX);
        let (shards, operation) = (self.placement.shards(), asked.operation);
        let wanted = Wanted::Pages {
            missing: usize::from(shards),
            limit,
            records: Vec::new(),
            more: false,
        };
        let Some(caller) = self.await_reply(key, asked, wanted) else {
            return;
        };
        for shard in 0..shards {
            let ask = Ask::Page {
                of: ShardId(shard),
                prefix: prefix.clone(),
                after: after.clone(),
                limit,
            };
            self.ask(ShardId(shard), caller, Inquiry { operation, ask }, at);
        }
    }

    fn await_reply(&mut self, key: SessionKey, asked: Asked, wanted: Wanted) -> Option<CallRef> {
        let shard = self.id;
        let http = self.http(key)?;
        http.stage = HttpStage::AwaitReply(asked, wanted);
        http.deadline = NEVER;
        Some(CallRef {
            shard,
            session: key,
            serial: http.serial,
        })
    }

    fn ask(&mut self, home: ShardId, caller: CallRef, inquiry: Inquiry, at: Moment) {
        if home == self.id {
            return self.answer(caller, inquiry, at);
        }
        match self
            .asking
            .get_mut(home.index())
            .filter(|asking| **asking < CALLS_PER_PAIR_MAX)
        {
            Some(asking) => {
                *asking += 1;
                self.output(Output::Post(home, Letter::Ask(caller, Box::new(inquiry))));
            }
            None => self.told(caller, too_busy(), at),
        }
    }

    /// The shard that a question is for.
    pub(super) fn home_of(&self, ask: &Ask) -> ShardId {
        match ask {
            Ask::Look(identity, _) | Ask::Create(identity, _) => self.placement.home(identity),
            Ask::Change(arn, _) | Ask::Offer { arn, .. } => self.placement.home(&Identity::of(arn)),
            Ask::Page { of, .. } => *of,
        }
    }

    /// One question to `shard` is no longer under way.
    pub(super) fn heard_from(&mut self, shard: ShardId) {
        if let Some(asking) = self.asking.get_mut(shard.index()) {
            *asking = asking.saturating_sub(1);
        }
    }

    /// An answer came. An earlier call's finds nobody.
    pub(super) fn told(&mut self, caller: CallRef, told: Told, at: Moment) {
        let Some(http) = self.http(caller.session) else {
            return;
        };
        if http.serial != caller.serial || !http.awaits_reply() {
            return;
        }
        let HttpStage::AwaitReply(asked, wanted) =
            std::mem::replace(&mut http.stage, HttpStage::AwaitHead)
        else {
            return;
        };
        let (wanted, told) = match merge(wanted, told) {
            Merged::Missing(wanted) => {
                http.stage = HttpStage::AwaitReply(asked, wanted);
                return;
            }
            Merged::Whole(wanted, told) => (wanted, told),
        };
        self.respond_to_call(caller.session, &asked, wanted, told, at);
        // Pipelined requests waited for this answer. They begin when whatever gave it is done: one of them may delete the
        // channel, or be a call of the same sender.
        self.answered.push_back(caller.session);
    }

    fn respond_to_call(
        &mut self,
        key: SessionKey,
        asked: &Asked,
        wanted: Wanted,
        told: Told,
        at: Moment,
    ) {
        let operation = asked.operation;
        let told = match told {
            Told::Fault(kind, message) => {
                return self.respond_error(key, Some(operation), kind, &message, asked.close, at);
            }
            Told::Record(..) | Told::Records(..) | Told::Done | Told::Answer(_) => told,
        };
        let mut body = Vec::new();
        if self.write_answer(&mut body, key, asked, wanted, &told, at) {
            self.respond(key, 200, None, &body, asked.close, at);
        } else {
            self.mismatch(key, operation, asked.close, at);
        }
    }

    /// Writes the response body; false when the answer does not fit the question, which no home does.
    fn write_answer(
        &self,
        body: &mut Vec<u8>,
        key: SessionKey,
        asked: &Asked,
        wanted: Wanted,
        told: &Told,
        at: Moment,
    ) -> bool {
        match (wanted, told) {
            (Wanted::Created, Told::Record(record, _)) => {
                codec::control::create(body, record.arn.as_str())
            }
            (Wanted::Description, Told::Record(record, status)) => {
                codec::control::describe(body, &info(record, *status))
            }
            (Wanted::Deleted, Told::Done) => codec::control::delete(body),
            (Wanted::Endpoints(protocols, role), Told::Record(record, _)) => {
                let Some(session) = self.sessions.get(key) else {
                    return false;
                };
                let identity = Identity::of(&record.arn);
                let asked = control::Asked {
                    protocols: &protocols,
                    role,
                    host: &asked.host,
                    peer: session.peer,
                };
                control::endpoint(body, &self.settings, &asked, &identity);
            }
            (Wanted::IceServers(name), Told::Record(..)) => {
                control::ice(body, &self.settings.ice, &asked.host, &name, at.wall);
            }
            (Wanted::Answer(_), Told::Answer(answer)) => {
                codec::control::alexa(body, answer.as_deref())
            }
            (Wanted::Pages { .. }, Told::Records(records, more)) => {
                let last = records.last().filter(|_| *more);
                let token = last.map(|(record, _)| codec::control::page_token(record.arn.name()));
                let infos = records.iter().map(|(record, status)| info(record, *status));
                codec::control::list(body, infos, token.as_deref());
            }
            (
                Wanted::Created
                | Wanted::Description
                | Wanted::Deleted
                | Wanted::Endpoints(..)
                | Wanted::IceServers(_)
                | Wanted::Answer(_)
                | Wanted::Pages { .. },
                _,
            ) => return false,
        }
        true
    }

    fn mismatch(&mut self, key: SessionKey, operation: Operation, close: bool, at: Moment) {
        debug_assert!(false, "an answer that does not fit its question");
        self.respond_error(
            key,
            Some(operation),
            ErrorKind::InternalFailure,
            "Internal failure.",
            close,
            at,
        );
    }

    /// The caller of a waiting Alexa call is gone: its home withdraws it. False when no such call waits.
    pub(super) fn hang_up(&mut self, key: SessionKey, at: Moment) -> bool {
        let shard = self.id;
        let Some(http) = self.http(key) else {
            return false;
        };
        let HttpStage::AwaitReply(_, Wanted::Answer(identity)) = &http.stage else {
            return false;
        };
        let (caller, identity) = (
            CallRef {
                shard,
                session: key,
                serial: http.serial,
            },
            identity.clone(),
        );
        http.serial = http.serial.wrapping_add(1); // its answer finds nobody
        let home = self.placement.home(&identity);
        if home == self.id {
            self.cancel_offer(caller, &identity, at);
        } else {
            self.output(Output::Post(
                home,
                Letter::Cancel(caller, Box::new(identity)),
            ));
        }
        true
    }
}

/// What an answer makes of what was wanted.
enum Merged {
    Missing(Wanted),
    Whole(Wanted, Told),
}

/// Gathers the pages of all shards; any other answer is whole at once.
fn merge(wanted: Wanted, told: Told) -> Merged {
    match (wanted, told) {
        (
            Wanted::Pages {
                missing,
                limit,
                mut records,
                more,
            },
            Told::Records(page, page_more),
        ) => {
            records.extend(page);
            let (missing, more) = (missing.saturating_sub(1), more || page_more);
            if missing > 0 {
                return Merged::Missing(Wanted::Pages {
                    missing,
                    limit,
                    records,
                    more,
                });
            }
            records.sort_by(|(one, _), (other, _)| one.arn.name().cmp(other.arn.name()));
            let more = more || records.len() > limit;
            records.truncate(limit);
            let wanted = Wanted::Pages {
                missing,
                limit,
                records: Vec::new(),
                more,
            };
            Merged::Whole(wanted, Told::Records(records, more))
        }
        (wanted, told) => Merged::Whole(wanted, told),
    }
}

fn info(record: &Record, status: ChannelStatus) -> ChannelInfo<'_> {
    ChannelInfo {
        name: record.arn.name(),
        arn: record.arn.as_str(),
        status,
        created_ms: record.created.0,
        ttl_seconds: record.ttl_seconds,
        version: record.version.as_str(),
    }
}
