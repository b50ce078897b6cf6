//! API calls on the shard that accepted the connection: queries the channel's shard and returns its answer as an HTTP
//! response.

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

use crate::id::{CallRef, Identity, SessionKey, ShardId};
use crate::limits::{CHANGE_REPLY_MS_MAX, LIST_PAGE_MAX, REPLY_MS_MAX};
use crate::session::http::{Expected, HttpStage, PendingCall};
use crate::shard::context::Context;
use crate::shard::directory::permissions::named_client_id;
use crate::shard::state::State;
use crate::shard::todo::Todo;
use crate::shard::{Alteration, Answer, Letter, PageQuestion, Query, QueryKind};
use crate::shard::{Directory, Sockets};
use crate::time::{Moment, Now};
use crate::{auth::Caller, event::Purpose};
use codec::control::{Call, ListSignalingChannels, Selector};
use codec::{identifiers::ChannelArn, policy::KeyName};
use responses::{Response, too_busy, unauditable};

/// Starts a call, if its caller is authorized, by querying the homes of its channels.
pub(crate) fn begin(shard: &mut State, mut begun: BegunCall) {
    let (sockets, directory, cx, ..) = shard.parts();
    let BegunCall { key, asked, call } = &mut begun;
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
        refused = (!asked.place_kept).then(|| unauditable().into());
    }
    let over_rate = || directory.over_account_rate(asked.operation, &account, cx.at);
    let refused = refused.or_else(|| over_rate().map(Answer::Refusal));
    if let Some(refused) = refused {
        answers::conclude(sockets, cx, *key, asked, Expected::Nothing, refused);
    } else if directory.counts(asked.operation, account.tenant()) {
        ask_nodes(sockets, directory, cx, begun);
    } else {
        go_on(sockets, directory, cx, begun);
    }
}

/// A call whose signature has been verified.
pub(crate) struct BegunCall {
    /// Connection that the call arrived on.
    pub(crate) key: SessionKey,
    pub(crate) asked: PendingCall,
    pub(crate) call: Call,
}

/// Queries the other nodes for the channels the account holds there. The call continues once they have answered.
fn ask_nodes(
    sockets: &mut Sockets,
    directory: &mut Directory,
    cx: &mut Context,
    BegunCall { key, asked, call }: BegunCall,
) {
    let account = directory.named(&asked.caller, "");
    let wanted = Expected::Holding(Box::new(call));
    let deadline = cx.at.now.after(REPLY_MS_MAX);
    let Some(caller) = sockets.await_reply(key, asked, wanted, deadline) else {
        return;
    };
    let slots = directory.slots_mut();
    if !slots.is_some_and(|slots| slots.count(caller, account.tenant())) {
        cx.todo.answer(caller, too_busy());
    }
}

/// Continues with a call permitted by its caller's policies and its account's quota.
fn go_on(sockets: &mut Sockets, directory: &Directory, cx: &mut Context, begun: BegunCall) {
    let BegunCall { key, asked, call } = begun;
    if let Call::List(list) = &call {
        // It begins, or waits for its turn.
        let question = directory.page_question(&asked.caller, list);
        let deadline = cx.at.now.after(REPLY_MS_MAX);
        if let Some(caller) = sockets.await_reply(key, asked, Expected::Page, deadline) {
            cx.todo.push(Todo::List(caller, Box::new(question)));
        }
        return;
    }
    let Some((wanted, kind)) = directory.question(&asked.caller, call) else {
        let mut body = Vec::new();
        codec::control::describe_mapped_resource(&mut body);
        let answer = Response::json(Purpose::Api(asked.operation), &body, asked.close);
        return responses::respond(sockets, cx, key, &answer);
    };
    // A caller that hung up meanwhile does so once: the offer would wait for its whole time.
    let ended = sockets.http(key).is_some_and(|http| http.ended);
    if ended && matches!(kind, QueryKind::Offer { .. }) {
        return sockets.close_when_sent(key, cx.at); // earlier answers go out
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
    let change = query.kind.waits_for_the_store();
    // etcd may never say what became of a change.
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

impl Sockets {
    /// Sends a query to the shard responsible for it.
    fn send_query(&mut self, cx: &mut Context, caller: CallRef, query: Query) {
        let home = self.home_of(&query.kind);
        if home == self.shard() {
            return cx.todo.push(Todo::Query(caller, Box::new(query)));
        }
        if self.begin_question(home, caller) {
            self.post(home, Letter::Query(caller, Box::new(query)));
        } else {
            cx.todo.answer(caller, too_busy());
        }
    }

    fn await_reply(
        &mut self,
        key: SessionKey,
        asked: PendingCall,
        wanted: Expected,
        deadline: Now,
    ) -> Option<CallRef> {
        let http = self.http(key)?;
        http.stage = HttpStage::AwaitReply(asked, wanted);
        http.deadline = deadline;
        self.awaiting(key)
    }

    /// Drops a call whose caller has hung up. Responses to earlier requests are still sent.
    fn drop_call(&mut self, key: SessionKey, at: Moment) {
        if let Some(http) = self.http(key) {
            http.stage = HttpStage::AwaitHead;
        }
        self.close_when_sent(key, at);
    }

    /// Whether this call is still awaiting its answer.
    pub(crate) fn awaits(&mut self, caller: CallRef) -> bool {
        let http = self.http(caller.session);
        http.is_some_and(|http| http.serial == caller.serial && http.awaits_reply())
    }

    /// Returns the shard that answers a query.
    fn home_of(&self, ask: &QueryKind) -> ShardId {
        match ask {
            QueryKind::Look(identity, _)
            | QueryKind::Create(identity, _)
            | QueryKind::Offer { identity, .. } => self.placement().shard(identity),
            QueryKind::Change(arn, _) => self.placement().shard(&Identity::of(arn)),
        }
    }

    /// Asks the channel's home to withdraw a pending Alexa call because its caller hung up. Returns `false` if the
    /// connection has no such call.
    pub(crate) fn hang_up(&mut self, cx: &mut Context, key: SessionKey) -> bool {
        let Some((caller, identity, taken)) = self.give_up_offer(key) else {
            return false;
        };
        let home = self.placement().shard(&identity);
        if home == caller.shard {
            cx.todo.push(Todo::HungUp(caller, Box::new(identity)));
        } else if taken {
            self.post(home, Letter::CallWithdrawn(caller));
        }
        // Else the home has not said yet that it took the call: when it does, it finds nobody.
        true
    }

    /// Records that `home` has queued an Alexa call; withdraws it if its caller has hung up in the meantime.
    pub(crate) fn offer_taken(&mut self, home: ShardId, caller: CallRef) {
        if !self.begin_offer(caller) {
            self.post(home, Letter::CallWithdrawn(caller));
        }
    }

    /// Answers the caller whose query was rejected because the mailbox was full.
    pub(crate) fn refused(&mut self, cx: &mut Context, letter: Letter) {
        if let Letter::Query(caller, query) = letter {
            self.heard_from(self.home_of(&query.kind), caller);
            cx.todo.answer(caller, too_busy());
        }
    }

    /// Acknowledges the final answer of an Alexa call that was queued on another shard. If the call was withdrawn, the
    /// answer is dropped.
    pub(crate) fn offer_answered(
        &mut self,
        cx: &mut Context,
        home: ShardId,
        caller: CallRef,
        answer: Box<Answer>,
    ) {
        self.post(home, Letter::CallOver(caller));
        if self.end_offer(caller) {
            cx.todo.push(Todo::Answer(caller, answer));
        }
    }
}

impl Directory {
    /// Returns the query to send to the channel's home for a call, and the expected response. `None` for list calls,
    /// which are not about a single channel, and for streams, since no channel has media storage.
    fn question(&self, caller: &Caller, call: Call) -> Option<(Expected, QueryKind)> {
        let look = |arn: ChannelArn| QueryKind::Look(Identity::of(&arn), Some(arn));
        let select = |channel: Selector| match channel {
            Selector::ByName(name) => QueryKind::Look(self.named(caller, name.as_str()), None),
            Selector::ByArn(arn) => look(arn),
        };
        let change = |arn, alteration| (Expected::Done, QueryKind::Change(arn, alteration));
        Some(match call {
            Call::List(_) | Call::MappedResource(_) => return None,
            Call::Create(create) => {
                let identity = self.named(caller, create.name.as_str());
                (Expected::Created, QueryKind::Create(identity, create))
            }
            Call::Describe(describe) => (Expected::Description, select(describe.channel)),
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
            Call::MediaStorage(storage) => (Expected::MediaStorage, select(storage.channel)),
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

    fn page_question(&self, caller: &Caller, list: &ListSignalingChannels) -> PageQuestion {
        let text = |name: &str| self.named(caller, name).text().into();
        PageQuestion {
            prefix: text(list.prefix.as_ref().map_or("", |prefix| prefix.as_str())),
            after: list.after.as_ref().map(|after| text(after.as_str())),
            limit: list.entries_max.min(LIST_PAGE_MAX),
        }
    }
}

/// Returns the subject of a call for its audit entry, or `None` if the call changes nothing.
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
