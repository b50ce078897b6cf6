//! Answers of channels' homes, as HTTP responses to whoever asked.

use super::{Shard, Told};
use crate::control;
use crate::id::{CallRef, Identity, SessionKey};
use crate::record::Record;
use crate::session::{Asked, HttpStage, Wanted};
use crate::time::Moment;
use codec::control::{ChannelInfo, ChannelStatus, ErrorKind, MEDIA_STORAGE_REFUSED, Operation};

impl Shard {
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
            Told::Record(..) if matches!(wanted, Wanted::NoMediaStorage) => {
                let kind = ErrorKind::InvalidArgument;
                let message = MEDIA_STORAGE_REFUSED;
                return self.respond_error(key, Some(operation), kind, message, asked.close, at);
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
            (Wanted::Done, Told::Done) | (Wanted::Nothing, Told::Record(..)) => {
                body.extend_from_slice(b"{}");
            }
            (Wanted::Tags, Told::Record(record, _)) => {
                codec::control::list_tags(body, &record.tags);
            }
            (Wanted::MediaStorage, Told::Record(..)) => {
                codec::control::describe_media_storage(body)
            }
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
                | Wanted::Done
                | Wanted::Nothing
                | Wanted::Tags
                | Wanted::MediaStorage
                | Wanted::NoMediaStorage
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
