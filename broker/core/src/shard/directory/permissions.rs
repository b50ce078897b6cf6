//! Authorization. Policies are evaluated before a response can reveal anything about a channel. See codec/PROTOCOL.md,
//! AUTH.

use crate::auth::{Caller, PolicyQuestion, RequestTags, ResourceTags};
use crate::channel::endpoint_requests::RequestedEndpoint;
use crate::id::{CallerId, Identity};
use crate::session::http::{Admission, Asks, RoleBy};
use crate::settings::Program;
use crate::shard::calls::letters::Right;
use crate::shard::calls::responses::absent;
use crate::shard::connect::upgrades::{action_of, denial_of};
use crate::shard::context::Context;
use crate::shard::{Alteration, Answer, Directory, Query, QueryKind, Sockets};
use crate::{channel::Life, check::Check, refusal::Refusal};
use codec::control::{Call, ErrorKind, Operation, StreamSelector, Tag};
use codec::identifiers::ChannelArn;
use codec::policy::{Action, KeyName};
use codec::signal::Role;

impl Directory {
    /// Refuses a call if the caller is not authorized or must not see the channel. Returns `None` if the call is
    /// permitted. A call that identifies its channel by name is instead authorized by the shard that owns the channel
    /// ([`Directory::forbids_named`]). That shard also rechecks a call with an ARN if the caller's policies test the
    /// channel's tags ([`Directory::forbids_tagged`]).
    pub(crate) fn forbids(&self, cx: &mut Context, by: &Caller, call: &Call) -> Option<Refusal> {
        let operation = call.operation();
        if let Some(arn) = call.arn() {
            let question = PolicyQuestion {
                client_id: named_client_id(call),
                request_tags: tags_of_call(call),
                resource_tags: ResourceTags::Elsewhere,
                ..PolicyQuestion::new(operation.policy_action(), arn.as_str())
            };
            let denied = denial(cx, by, operation.denied(), &question);
            let hidden = || absent(Check::AccountHidden);
            return denied.or_else(|| (!by.sees(arn)).then(hidden));
        }
        let resource = if let Call::Create(create) = call {
            unborn(&self.named(by, create.name.as_str()), "channel")
        } else if let Call::MappedResource(mapped) = call {
            match &mapped.stream {
                StreamSelector::ByArn(arn) => arn.as_ref().to_owned(),
                StreamSelector::ByName(name) => unborn(&self.named(by, name.as_str()), "stream"),
            }
        } else if operation == Operation::ListSignalingChannels {
            "*".to_owned()
        } else {
            return None;
        };
        let question = PolicyQuestion {
            request_tags: tags_of_call(call),
            ..PolicyQuestion::new(operation.policy_action(), &resource)
        };
        denial(cx, by, operation.denied(), &question)
    }

    /// Refuses a call that identifies its channel by name if the caller's policies deny it. The policies are evaluated
    /// for the channel's ARN or, if the channel does not exist, for an ARN without a creation time.
    pub(crate) fn forbids_named(
        &self,
        cx: &mut Context,
        caller: &Caller,
        Right { action, denied }: Right,
        client_id: Option<&str>,
        identity: &Identity,
    ) -> Option<Refusal> {
        let channel = self.named_channel(identity);
        let channel = channel.filter(|channel| channel.state != Life::Creating);
        let unborn = channel.is_none().then(|| unborn(identity, "channel"));
        let record = channel.map(|channel| &channel.record);
        let arn = record.map(|record| record.arn.as_str());
        let resource = arn.or(unborn.as_deref()).unwrap_or_default();
        let question = PolicyQuestion {
            client_id,
            resource_tags: ResourceTags::Known(record.map_or(&[], |record| &record.tags)),
            ..PolicyQuestion::new(action, resource)
        };
        denial(cx, caller, denied, &question)
    }

    /// Refuses a call that identifies its channel by ARN if the caller's policies deny it because of the channel's
    /// tags. A channel that does not exist is treated as one without tags.
    pub(crate) fn forbids_tagged(&self, cx: &mut Context, query: &Query) -> Option<Refusal> {
        let caller = query.caller.as_ref();
        let caller = caller.filter(|caller| caller.reads(KeyName::ResourceTag))?;
        let (arn, request_tags) = match &query.kind {
            QueryKind::Look(_, Some(arn)) | QueryKind::Offer { arn: Some(arn), .. } => {
                (arn, RequestTags::None)
            }
            QueryKind::Change(arn, Alteration::Tag(tags)) => (arn, RequestTags::Set(tags)),
            QueryKind::Change(arn, Alteration::Untag(keys)) => (arn, RequestTags::Removed(keys)),
            QueryKind::Change(arn, Alteration::Update(..) | Alteration::Delete(_)) => {
                (arn, RequestTags::None)
            }
            QueryKind::Look(_, None)
            | QueryKind::Offer { arn: None, .. }
            | QueryKind::Create(..) => return None,
        };
        let question = PolicyQuestion {
            client_id: query.client_id.as_deref(),
            request_tags,
            resource_tags: ResourceTags::Known(self.tags(arn)),
            ..PolicyQuestion::new(query.operation.policy_action(), arn.as_str())
        };
        denial(cx, caller, query.operation.denied(), &question)
    }

    /// Refuses an upgrade that the caller's policies deny. Evaluates the policies only if they test the channel's tags,
    /// or if this shard determined the connection's role.
    pub(crate) fn forbids_upgrade(&self, cx: &mut Context, upgrade: &Admission) -> Option<Refusal> {
        let (caller, client_id) = (&upgrade.caller, upgrade.client_id.as_deref());
        if !caller.reads(KeyName::ResourceTag) && upgrade.role_by != RoleBy::LastRequest {
            return None;
        }
        let question = PolicyQuestion {
            client_id,
            resource_tags: ResourceTags::Known(self.tags(&upgrade.arn)),
            ..PolicyQuestion::new(action_of(client_id), upgrade.arn.as_str())
        };
        let ruling = caller.decide(&question);
        cx.telemetry.count_policy_steps(ruling.steps);
        denial_of(upgrade, &ruling)
    }

    /// Records that a caller requested a channel's endpoint, if the channel exists.
    pub(crate) fn note_endpoint(
        &mut self,
        cx: &mut Context,
        caller: Option<&Caller>,
        found: &Answer,
        asked: Option<(Role, Program)>,
    ) {
        let (Some(caller), Answer::Record(record, _), Some((role, program))) =
            (caller, found, asked)
        else {
            return;
        };
        let arn = &record.arn;
        let asked = match role {
            Role::Viewer => RequestedEndpoint::Viewer,
            Role::Master => match self.role(cx, caller, arn) {
                CallerRole::Viewer(_) => RequestedEndpoint::MasterInVain,
                CallerRole::Anyone | CallerRole::Master => RequestedEndpoint::Master(program),
            },
        };
        let id = self.caller_id(caller);
        let Some(key) = self.find(arn) else {
            return;
        };
        let has_master = (self.live(key)).is_some_and(|live| live.members.to_master().is_some());
        if let Some(requests) = self.endpoint_requests(key) {
            requests.note(id, asked);
            if has_master && role == Role::Viewer {
                requests.note_master(id); // the caller may be that master, on an earlier endpoint
            }
        }
    }

    /// Returns whether to refuse an upgrade without a client id because its caller last requested a viewer endpoint.
    pub(crate) fn lacks_client_id(&mut self, sockets: &Sockets, admission: &Admission) -> bool {
        if !admission.may_lack_client_id() {
            return false;
        }
        let id = self.caller_id(&admission.caller);
        let channel = (self.find(&admission.arn)).and_then(|key| self.channels.get_mut(key));
        channel.is_some_and(|channel| {
            let master = channel.live().and_then(|live| live.members.to_master());
            let has_master = master.is_some_and(|master| !sockets.unconfirmed.is_gone(master));
            let requests = channel.endpoint_requests.as_deref_mut();
            requests.is_some_and(|requests| requests.refuses(id, has_master))
        })
    }

    /// Fills in the parts of an upgrade that only the shard that owns the channel knows. It sets the role if that
    /// depends on the endpoint that the caller last requested, and the client's program if the upgrade does not name
    /// one.
    pub(crate) fn complete(&self, admission: &mut Admission) {
        let channel = self.find(&admission.arn).and_then(|key| self.channel(key));
        let requests = channel.and_then(|channel| channel.endpoint_requests.as_deref());
        let as_master =
            requests.and_then(|requests| requests.as_master(self.caller_id(&admission.caller)));
        if admission.role_by == RoleBy::LastRequest && as_master.is_some() {
            admission.client_id = None;
        }
        if let Asks::WebSocket { program, .. } = &mut admission.asks {
            if admission.client_id.is_none() {
                *program = program.or(as_master.unwrap_or_default());
            }
            *program = program.or(self.settings.program(None));
        }
    }

    fn caller_id(&self, caller: &Caller) -> CallerId {
        let identity = caller.identity();
        CallerId::of_hash(identity.map_or(0, |identity| self.hasher.hash_one(identity)))
    }

    /// Returns a channel's tags, or no tags if this shard does not have the channel.
    fn tags(&self, arn: &ChannelArn) -> &[Tag] {
        let channel = self.find(arn).and_then(|key| self.channel(key));
        channel.map_or(&[], |channel| &channel.record.tags)
    }

    /// Returns the identity of the channel with this name in the caller's account and this server's region.
    pub(crate) fn named(&self, caller: &Caller, name: &str) -> Identity {
        Identity::new(&self.settings.region, caller.account(), name)
    }
}

/// How a caller is counted for a limit that all callers of a channel share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CallerRole {
    /// The caller is not identified by a signature. All such callers are counted together.
    Anyone,
    /// The caller may connect as the channel's master, and is counted as a master.
    Master,
    /// Any other caller. Each of them is counted individually.
    Viewer(CallerId),
}

impl CallerRole {
    /// Returns the caller if it is counted individually.
    pub(crate) fn caller(self) -> Option<CallerId> {
        match self {
            Self::Anyone | Self::Master => None,
            Self::Viewer(caller) => Some(caller),
        }
    }
}

impl Directory {
    /// Returns a caller's role on this channel. It depends on what the caller's key permits rather than on the
    /// request's parameters, because masters that use the C SDK send a ClientId just like viewers.
    pub(crate) fn role(&self, cx: &mut Context, caller: &Caller, arn: &ChannelArn) -> CallerRole {
        if caller.identity().is_none() {
            return CallerRole::Anyone;
        }
        let question = PolicyQuestion {
            resource_tags: ResourceTags::Known(self.tags(arn)),
            ..PolicyQuestion::new(Action::ConnectAsMaster, arn.as_str())
        };
        let ruling = caller.decide(&question);
        cx.telemetry.count_policy_steps(ruling.steps);
        match ruling.denied {
            None => CallerRole::Master,
            Some(_) => CallerRole::Viewer(self.caller_id(caller)),
        }
    }
}

/// Returns the client id specified in a call, for evaluating policies.
pub(crate) fn named_client_id(call: &Call) -> Option<&str> {
    let Call::Ice(ice) = call else {
        return None;
    };
    ice.client_id.as_ref().map(|id| id.as_str())
}

fn tags_of_call(call: &Call) -> RequestTags<'_> {
    if let Call::Create(create) = call {
        RequestTags::Set(&create.tags)
    } else if let Call::Tag(tag) = call {
        RequestTags::Set(&tag.tags)
    } else if let Call::Untag(untag) = call {
        RequestTags::Removed(&untag.keys)
    } else {
        RequestTags::None
    }
}

fn denial(
    cx: &mut Context,
    caller: &Caller,
    denied: ErrorKind,
    question: &PolicyQuestion<'_>,
) -> Option<Refusal> {
    let ruling = caller.decide(question);
    cx.telemetry.count_policy_steps(ruling.steps);
    let check = ruling.denied?;
    let message = caller.denial(question.action, question.resource);
    let refusal = Refusal::new(check, denied, message);
    Some(refusal.by_policy(caller.ground_of(&ruling)))
}

/// Returns the resource name of a channel or stream that does not exist yet: `channel/NAME/*`, which policies can
/// match.
fn unborn(identity: &Identity, what: &str) -> String {
    let (region, account, name) = (identity.region(), identity.account(), identity.name());
    format!("arn:aws:kinesisvideo:{region}:{account}:{what}/{name}/*")
}
