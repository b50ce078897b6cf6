//! Turns the answers of other shards into HTTP responses to their callers.

use crate::control;
use crate::id::{CallRef, Identity, SessionKey};
use crate::record::ListedChannel;
use crate::refusal::Refusal;
use crate::session::http::{Expected, HttpStage, PendingCall};
use crate::shard::Answer;
use crate::shard::calls::responses::{self, Response, internal_failure};
use crate::shard::calls::{BegunCall, go_on, whep};
use crate::shard::context::Context;
use crate::shard::evidence::{Evidence, audit_caller};
use crate::shard::sockets::Sockets;
use crate::shard::state::State;
use crate::{auth::Caller, check::Check, event::Purpose, journal::Audit, time::Moment};
use codec::control::{ChannelInfo, MEDIA_STORAGE_REFUSED};

/// Processes an answer, unless it belongs to an earlier call on the same connection.
pub(crate) fn take_answer(shard: &mut State, caller: CallRef, answer: Answer) {
    shard.directory.lists().end(caller);
    if shard.sockets.awaits(caller) {
        deliver(shard, caller, answer);
    }
}

/// Answers a waiting call, or continues with it if the answer came from the other nodes.
pub(crate) fn deliver(shard: &mut State, caller: CallRef, answer: Answer) {
    let (sockets, directory, cx, ..) = shard.parts();
    let key = caller.session;
    let Some((mut asked, wanted)) = sockets.answered(key) else {
        return;
    };
    match (wanted, answer) {
        (Expected::Holding(call), Answer::Holding(elsewhere)) => {
            asked.elsewhere = elsewhere;
            let call = *call;
            go_on(sockets, directory, cx, BegunCall { key, asked, call });
        }
        (wanted, answer) => {
            let answer = refused_where_it_is(&wanted, answer);
            conclude(sockets, cx, key, &asked, wanted, answer);
        }
    }
    // Pipelined requests waited for this answer. They begin when whatever gave it is done: one of them may delete the
    // channel, or be a call of the same sender.
    sockets.requests_go_on(key);
}

impl Sockets {
    /// Takes the call that is waiting for an answer.
    fn answered(&mut self, key: SessionKey) -> Option<(PendingCall, Expected)> {
        let http = self.http(key)?;
        let stage = std::mem::replace(&mut http.stage, HttpStage::AwaitHead);
        let HttpStage::AwaitReply(asked, wanted) = stage else {
            http.stage = stage;
            return None;
        };
        Some((asked, wanted))
    }
}

/// Answers a call and writes an audit entry for changes, applied or not, and for calls denied by a policy.
pub(crate) fn conclude(
    sockets: &mut Sockets,
    cx: &mut Context,
    key: SessionKey,
    asked: &PendingCall,
    wanted: Expected,
    answer: Answer,
) {
    if let Expected::Answer(_, _, Some(_)) | Expected::PlayerServers = wanted {
        return whep::conclude(sockets, cx, key, asked, wanted, answer);
    }
    let purpose = Purpose::Api(asked.operation);
    cx.telemetry.count_call(asked.account());
    let id = match &answer {
        Answer::Refusal(refusal) => {
            let status = refusal.status(purpose);
            let telemetry = &mut cx.telemetry;
            telemetry.refusal_id(refusal.check, purpose, status, cx.at.wall)
        }
        Answer::Record(..)
        | Answer::Page(..)
        | Answer::Done
        | Answer::Holding(_)
        | Answer::Answer(_)
        | Answer::Played(_) => cx.telemetry.request_id(),
    };
    audit(sockets, cx, key, asked, &id, &answer);
    let written = if let Answer::Refusal(refusal) = answer {
        Err(refusal)
    } else {
        let body = sockets.write_answer(key, asked, wanted, &answer, cx.at);
        body.ok_or_else(|| {
            debug_assert!(false, "an answer that does not fit its question");
            internal_failure()
        })
    };
    match written {
        Ok(body) => {
            let id = Some(&*id);
            let response = Response::json(purpose, &body, asked.close);
            responses::respond(sockets, cx, key, &Response { id, ..response });
        }
        Err(refusal) => {
            let id = Some(&*id);
            let evidence = Evidence {
                id,
                ..Evidence::of_call(asked)
            };
            responses::refuse(sockets, cx, key, &evidence, &refusal);
        }
    }
}

/// Writes an audit entry for each change, applied or not, and for each call denied by a policy.
fn audit(
    sockets: &Sockets,
    cx: &mut Context,
    key: SessionKey,
    asked: &PendingCall,
    id: &str,
    answer: &Answer,
) {
    let (caller, operation) = (&asked.caller, asked.operation.name());
    let Some(mut audit) = sockets.audit_of(key, id, caller, operation) else {
        if asked.place_kept {
            cx.telemetry.journal().unchanged(asked.account());
        }
        return;
    };
    audit.channel_arn.clone_from(&asked.subject);
    if let Answer::Refusal(refusal) = answer {
        audit.outcome = refusal.error_type(Purpose::Api(asked.operation));
        if asked.place_kept {
            cx.telemetry.journal().unchanged(asked.account());
        }
        if refusal.is_denial() || asked.subject.is_some() {
            cx.telemetry.journal().denied(cx.at.now, audit);
        }
        return;
    }
    if let Answer::Record(record, _) = answer {
        audit.channel_arn = Some(record.arn.as_str().into());
    }
    if asked.place_kept {
        cx.telemetry.journal().changed(asked.account(), audit);
    }
}

impl Sockets {
    /// Audits a change that is still in flight after its caller has stopped waiting for the answer.
    pub(crate) fn note_unanswered(&mut self, cx: &mut Context, key: SessionKey) {
        let Some(http) = self.http(key) else {
            return;
        };
        let HttpStage::AwaitReply(asked, _) = &mut http.stage else {
            return;
        };
        if !std::mem::take(&mut asked.place_kept) {
            return;
        }
        let (caller, operation) = (asked.caller.clone(), asked.operation.name());
        let account = asked.account();
        let subject = asked.subject.take();
        let id = cx.telemetry.request_id();
        match self.audit_of(key, &id, &caller, operation) {
            Some(mut audit) => {
                (audit.channel_arn, audit.outcome) = (subject, "unanswered");
                cx.telemetry.journal().changed(account, audit);
            }
            None => cx.telemetry.journal().unchanged(account),
        }
    }

    /// Creates the audit entry for a successful request, with the channel still unset; `None` if the connection is
    /// gone.
    pub(crate) fn audit_of(
        &self,
        key: SessionKey,
        id: &str,
        caller: &Caller,
        operation: &'static str,
    ) -> Option<Audit> {
        let session = self.session(key)?;
        Some(Audit {
            caller: audit_caller(caller),
            operation,
            channel_arn: None,
            session: None,
            new_key_id: None,
            outcome: "ok",
            request_id: id.into(),
            remote: session.remote(),
        })
    }

    /// Writes the response body. Returns `None` if the answer does not match the query, which never happens.
    fn write_answer(
        &self,
        key: SessionKey,
        asked: &PendingCall,
        wanted: Expected,
        answer: &Answer,
        at: Moment,
    ) -> Option<Vec<u8>> {
        let mut written = Vec::with_capacity(ANSWER_BYTES);
        let body = &mut written;
        match (wanted, answer) {
            (Expected::Created, Answer::Record(record, _)) => {
                codec::control::create(body, record.arn.as_str())
            }
            (Expected::Description, Answer::Record(record, status)) => {
                codec::control::describe(body, &info(&record.listed(*status)))
            }
            (Expected::Done, Answer::Done) | (Expected::Nothing, Answer::Record(..)) => {
                body.extend_from_slice(b"{}");
            }
            (Expected::Tags, Answer::Record(record, _)) => {
                codec::control::list_tags(body, &record.tags);
            }
            (Expected::MediaStorage, Answer::Record(..)) => {
                codec::control::describe_media_storage(body)
            }
            (Expected::Endpoints(protocols, role), Answer::Record(record, _)) => {
                let session = self.session(key)?;
                let identity = Identity::of(&record.arn);
                let asked = control::EndpointRequest {
                    protocols: &protocols,
                    role,
                    host: &asked.host,
                    peer: session.peer(),
                    proxied: session.forwarded().is_some_and(|it| it.tls.is_some()),
                    role_path: self.settings().says_role(asked.program),
                };
                control::endpoint(body, self.settings(), &asked, &identity);
            }
            (Expected::IceServers(name), Answer::Record(..)) => {
                control::ice(body, &self.settings().ice, &asked.host, &name, at.wall);
            }
            (Expected::Answer(..), Answer::Answer(answer)) => {
                codec::control::alexa(body, answer.as_deref())
            }
            (Expected::Page, Answer::Page(records, more)) => {
                let last = records.last().filter(|_| *more);
                let token = last.map(|listed| codec::control::page_token(listed.arn.name()));
                let infos = records.iter().map(info);
                codec::control::list(body, infos, token.as_deref());
            }
            (
                Expected::Created
                | Expected::Description
                | Expected::Done
                | Expected::Nothing
                | Expected::Tags
                | Expected::MediaStorage
                | Expected::NoMediaStorage
                | Expected::Holding(_)
                | Expected::Endpoints(..)
                | Expected::IceServers(_)
                | Expected::Answer(..)
                | Expected::PlayerServers
                | Expected::Page,
                _,
            ) => return None,
        }
        Some(written)
    }
}

/// Replaces the answer with a refusal of media storage if the channel exists; otherwise returns it unchanged.
fn refused_where_it_is(wanted: &Expected, answer: Answer) -> Answer {
    if let (Expected::NoMediaStorage, Answer::Record(..)) = (wanted, &answer) {
        return Refusal::invalid(Check::MediaStorageAbsent, MEDIA_STORAGE_REFUSED).into();
    }
    answer
}

fn info(listed: &ListedChannel) -> ChannelInfo<'_> {
    ChannelInfo {
        name: listed.arn.name(),
        arn: listed.arn.as_str(),
        status: listed.status,
        created_ms: listed.created.0,
        ttl_seconds: listed.ttl_seconds,
        version: listed.version.as_str(),
    }
}

/// Initial capacity of a response body in bytes, enough for everything except channel lists and long tag lists.
const ANSWER_BYTES: usize = 512;
