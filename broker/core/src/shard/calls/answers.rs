//! Turns answers from the shards that own the channels into HTTP responses.

use crate::control;
use crate::id::{CallRef, Identity, SessionKey};
use crate::record::ListedChannel;
use crate::refusal::Refusal;
use crate::session::http::{Expected, HttpStage, PendingCall};
use crate::shard::Answer;
use crate::shard::calls::responses::{self, Response, internal_failure};
use crate::shard::calls::{BegunCall, go_on, whep};
use crate::shard::context::Context;
use crate::shard::evidence::Evidence;
use crate::shard::sockets::Sockets;
use crate::shard::state::State;
use crate::{check::Check, event::Purpose, time::Moment};
use codec::control::{ChannelInfo, MEDIA_STORAGE_REFUSED};

/// Delivers an answer to the call that is waiting for it. If the answer only contains the account's usage on other
/// nodes, the call continues.
pub(crate) fn deliver(shard: &mut State, caller: CallRef, answer: Answer) {
    let key = caller.session;
    let Some(http) = shard.sockets.http(key) else {
        return;
    };
    let stage = std::mem::replace(&mut http.stage, HttpStage::AwaitHead);
    let HttpStage::AwaitReply(mut asked, wanted) = stage else {
        http.stage = stage;
        return;
    };
    match (wanted, answer) {
        (Expected::Holding(call), Answer::Holding(elsewhere)) => {
            asked.elsewhere = elsewhere;
            let call = *call;
            go_on(shard, BegunCall { key, asked, call });
        }
        (wanted @ Expected::NoMediaStorage, Answer::Record(..)) => {
            let refusal = Refusal::invalid(Check::MediaStorageAbsent, MEDIA_STORAGE_REFUSED);
            conclude(shard, &AnsweredCall { key, asked, wanted }, refusal.into());
        }
        (wanted, answer) => conclude(shard, &AnsweredCall { key, asked, wanted }, answer),
    }
    // Pipelined requests were waiting for this answer. They start after the current step, because one of them may
    // delete the channel or be a call by the same sender.
    shard.sockets.turns.answered.push_back(key);
}

/// A call that can now be answered, and the kind of answer that it expects.
pub(crate) struct AnsweredCall {
    pub(crate) key: SessionKey,
    pub(crate) asked: PendingCall,
    pub(crate) wanted: Expected,
}

/// Responds to a call. Writes an audit entry if the call was meant to change something or was denied by a policy.
pub(crate) fn conclude(shard: &mut State, call: &AnsweredCall, answer: Answer) {
    if let Expected::Answer(_, _, Some(_)) | Expected::PlayerServers = call.wanted {
        return whep::conclude(shard, call, answer);
    }
    let (sockets, _, cx, _) = shard.parts();
    let (key, asked) = (call.key, &call.asked);
    let purpose = Purpose::Api(asked.operation);
    cx.telemetry.count_call(asked.account());
    let id = if let Answer::Refusal(refusal) = &answer {
        cx.telemetry.refusal_id(refusal, purpose, cx.at.wall)
    } else {
        cx.telemetry.request_id()
    };
    audit(sockets, cx, call, &id, &answer);
    let written = if let Answer::Refusal(refusal) = answer {
        Err(refusal)
    } else {
        let body = body(sockets, call, &answer, cx.at);
        body.ok_or_else(|| {
            debug_assert!(false, "an answer that does not fit its question");
            internal_failure()
        })
    };
    let id = Some(&*id);
    match written {
        Ok(body) => {
            let response = Response::json(key, purpose, &body, asked.close);
            responses::respond(shard, &Response { id, ..response });
        }
        Err(refusal) => {
            let evidence = Evidence {
                id,
                ..Evidence::of_call(key, asked)
            };
            responses::refuse(shard, &evidence, &refusal);
        }
    }
}

/// Writes the audit entry for a call that was denied by a policy or was meant to change something, even if nothing
/// changed.
fn audit(sockets: &Sockets, cx: &mut Context, call: &AnsweredCall, id: &str, answer: &Answer) {
    let asked = &call.asked;
    let (caller, operation) = (&asked.caller, asked.operation.name());
    let Some(mut audit) = sockets.audit_of(call.key, id, caller, operation) else {
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

/// Returns the response body. Returns `None` if the answer does not match the query, but this never happens.
fn body(sockets: &Sockets, call: &AnsweredCall, answer: &Answer, at: Moment) -> Option<Vec<u8>> {
    let asked = &call.asked;
    let mut written = Vec::with_capacity(ANSWER_BYTES);
    let body = &mut written;
    match (&call.wanted, answer) {
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
            let session = sockets.session(call.key)?;
            let identity = Identity::of(&record.arn);
            let asked = control::EndpointRequest {
                protocols,
                role: *role,
                host: &asked.host,
                peer: session.peer(),
                proxied: session.forwarded().is_some_and(|it| it.tls.is_some()),
                role_path: sockets.settings().says_role(asked.program),
            };
            control::endpoint(body, sockets.settings(), &asked, &identity);
        }
        (Expected::IceServers(name), Answer::Record(..)) => {
            control::ice(body, &sockets.settings().ice, &asked.host, name, at.wall);
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

/// Initial capacity of a response body in bytes. Large enough for everything except channel lists and long tag lists.
const ANSWER_BYTES: usize = 512;
