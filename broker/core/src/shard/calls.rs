//! Handles API calls on the shard that accepted the connection. Each call becomes a query to the shard that owns the
//! channel, and that shard's answer becomes the HTTP response.

pub(crate) mod answers;
pub(crate) mod channel_pages;
pub(crate) mod home;
pub(crate) mod letters;
pub(crate) mod responses;
pub(crate) mod role_alias;
pub(crate) mod sts;
pub(crate) mod wake;
pub(crate) mod web_identity;
pub(crate) mod whep;

use crate::id::{CallRef, Identity, SessionKey};
use crate::limits::{CHANGE_REPLY_MS_MAX, LIST_PAGE_MAX, REPLY_MS_MAX};
use crate::session::http::{Expected, PendingCall};
use crate::shard::calls::answers::AnsweredCall;
use crate::shard::directory::permissions::named_client_id;
use crate::shard::shares::too_busy;
use crate::shard::state::State;
use crate::shard::todo::Todo;
use crate::shard::{Alteration, Directory, PageQuestion, Query, QueryKind};
use crate::{auth::Caller, event::Purpose};
use codec::control::{Call, ListSignalingChannels, Selector};
use codec::{identifiers::ChannelArn, policy::KeyName};
use responses::{Response, unauditable};

/// Starts a call. Refuses it if the caller is not authorized or the account has exceeded its rate limit.
pub(crate) fn begin(shard: &mut State, mut begun: BegunCall) {
    let (_, directory, cx, _) = shard.parts();
    let BegunCall { asked, call, .. } = &mut begun;
    asked.subject = audited(call).map(Into::into);
    if asked.caller.reads(KeyName::ResourceTag) || matches!(call, Call::Ice(_)) {
        asked.client_id = named_client_id(call).map(Into::into);
    }
    let account = directory.named(&asked.caller, "");
    let mut refused = directory.forbids(cx, &asked.caller, call);
    if refused.is_some() {
        let subject = || Some(call.arn()?.as_str().into());
        asked.subject = asked.subject.take().or_else(subject);
    } else if asked.subject.is_some() {
        asked.place_kept = cx.telemetry.journal().keep_place(asked.account());
        refused = (!asked.place_kept).then(unauditable);
    }
    let over_rate = || directory.over_account_rate(asked.operation, &account, cx.at);
    if let Some(refused) = refused.or_else(over_rate) {
        let BegunCall { key, asked, .. } = begun;
        let wanted = Expected::Nothing;
        let call = AnsweredCall { key, asked, wanted };
        answers::conclude(shard, &call, refused.into());
    } else if directory.counts(asked.operation, account.tenant()) {
        // The call continues once the other nodes have reported the account's usage.
        let (sockets, directory, cx, _) = shard.parts();
        let BegunCall { key, asked, call } = begun;
        let wanted = Expected::Holding(Box::new(call));
        let deadline = cx.at.now.after(REPLY_MS_MAX);
        if let Some(caller) = sockets.await_reply(key, asked, wanted, deadline) {
            let slots = directory.slots.as_deref_mut();
            if !slots.is_some_and(|slots| slots.orders.count(caller, account.tenant())) {
                cx.todo.answer(caller, too_busy());
            }
        }
    } else {
        go_on(shard, begun);
    }
}

/// A call whose signature has been verified.
pub(crate) struct BegunCall {
    /// The connection on which the call arrived.
    pub(crate) key: SessionKey,
    pub(crate) asked: PendingCall,
    pub(crate) call: Call,
}

/// Continues a call that has passed all checks on this shard.
fn go_on(shard: &mut State, begun: BegunCall) {
    let (sockets, directory, cx, _) = shard.parts();
    let BegunCall { key, asked, call } = begun;
    if let Call::List(list) = &call {
        // The list request starts immediately or is queued.
        let question = page_of(directory, &asked.caller, list);
        let deadline = cx.at.now.after(REPLY_MS_MAX);
        if let Some(caller) = sockets.await_reply(key, asked, Expected::Page, deadline) {
            cx.todo.push(Todo::List(caller, Box::new(question)));
        }
        return;
    }
    let Some((wanted, kind)) = question(directory, &asked.caller, call) else {
        let mut body = Vec::new();
        codec::control::describe_mapped_resource(&mut body);
        let answer = Response::json(key, Purpose::Api(asked.operation), &body, asked.close);
        return responses::respond(shard, &answer);
    };
    // The caller has already hung up. No EOF will follow, so nothing else would end the offer before its time limit.
    let ended = sockets.http(key).is_some_and(|http| http.ended);
    if ended && matches!(kind, QueryKind::Offer { .. }) {
        return sockets.close_when_sent(key, cx.at); // earlier responses are still sent
    }
    let endpoint = if let Expected::Endpoints(_, role) = wanted {
        Some((role, asked.program))
    } else {
        None
    };
    let query = Query {
        operation: asked.operation,
        elsewhere: asked.elsewhere,
        caller: Some(asked.caller.clone()),
        client_id: asked.client_id.clone(),
        posted: None,
        endpoint,
        remote: sockets.session(key).map(|session| session.remote().ip()),
        kind,
    };
    let change = matches!(query.kind, QueryKind::Create(..) | QueryKind::Change(..));
    // etcd may never report the outcome of a change.
    let within_ms = if change && sockets.owners_change() {
        CHANGE_REPLY_MS_MAX
    } else {
        REPLY_MS_MAX
    };
    if let Some(caller) = sockets.await_reply(key, asked, wanted, cx.at.now.after(within_ms)) {
        let caller = CallRef { change, ..caller };
        sockets.send_query(cx, caller, query);
    }
}

/// Returns the query to send to the shard that owns a call's channel, and the kind of answer to expect. Returns `None`
/// for list calls, because they do not concern a single channel, and for calls about streams, because no channel has
/// media storage.
fn question(directory: &Directory, caller: &Caller, call: Call) -> Option<(Expected, QueryKind)> {
    let look = |arn: ChannelArn| QueryKind::Look(Identity::of(&arn), Some(arn));
    let select = |channel: Selector| match channel {
        Selector::ByName(name) => QueryKind::Look(directory.named(caller, name.as_str()), None),
        Selector::ByArn(arn) => look(arn),
    };
    let change = |arn, alteration| (Expected::Done, QueryKind::Change(arn, alteration));
    Some(match call {
        Call::List(_) | Call::MappedResource(_) => return None,
        Call::Create(create) => {
            let identity = directory.named(caller, create.name.as_str());
            (Expected::Created, QueryKind::Create(identity, create))
        }
        Call::Describe(channel) => (Expected::Description, select(channel)),
        Call::Update(update) => change(
            update.arn,
            Alteration::Update(update.version, update.ttl_seconds),
        ),
        Call::Delete(delete) => change(delete.arn, Alteration::Delete(delete.version)),
        Call::Tag(tag) => change(tag.arn, Alteration::Tag(tag.tags)),
        Call::Untag(untag) => change(untag.arn, Alteration::Untag(untag.keys)),
        Call::ListTags(tags) => (Expected::Tags, look(tags.arn)),
        Call::Endpoint(endpoint) => (
            Expected::Endpoints(endpoint.protocols, endpoint.role),
            look(endpoint.arn),
        ),
        Call::MediaStorage(channel) => (Expected::MediaStorage, select(channel)),
        Call::UpdateMediaStorage(storage) if storage.enabled => {
            (Expected::NoMediaStorage, look(storage.arn))
        }
        Call::UpdateMediaStorage(storage) => (Expected::Nothing, look(storage.arn)),
        Call::Ice(ice) => (
            Expected::IceServers(ice.credential_name().into()),
            look(ice.arn),
        ),
        Call::Alexa(offer) => {
            let identity = Identity::of(&offer.arn);
            let ask = QueryKind::Offer {
                identity: identity.clone(),
                arn: Some(offer.arn),
                sender: offer.sender.as_str().into(),
                payload: offer.payload,
            };
            (Expected::Answer(identity, false, None), ask)
        }
        Call::Join(join) => (Expected::NoMediaStorage, look(join.arn)),
        Call::JoinAsViewer(join) => (Expected::NoMediaStorage, look(join.arn)),
    })
}

fn page_of(directory: &Directory, caller: &Caller, list: &ListSignalingChannels) -> PageQuestion {
    let text = |name: &str| directory.named(caller, name).text().into();
    PageQuestion {
        prefix: text(list.prefix.as_ref().map_or("", |prefix| prefix.as_str())),
        after: list.after.as_ref().map(|after| text(after.as_str())),
        limit: list.entries_max.min(LIST_PAGE_MAX),
    }
}

/// Returns the name or ARN of the channel that a call changes, for the audit entry. Returns `None` if the call changes
/// nothing.
pub(crate) fn audited(call: &Call) -> Option<&str> {
    match call {
        Call::Create(create) => Some(create.name.as_str()),
        Call::Update(_)
        | Call::Delete(_)
        | Call::Tag(_)
        | Call::Untag(_)
        | Call::UpdateMediaStorage(_) => call.arn().map(ChannelArn::as_str),
        Call::Describe(_)
        | Call::List(_)
        | Call::ListTags(_)
        | Call::Endpoint(_)
        | Call::MediaStorage(_)
        | Call::MappedResource(_)
        | Call::Ice(_)
        | Call::Alexa(_)
        | Call::Join(_)
        | Call::JoinAsViewer(_) => None,
    }
}
