//! Faults of requests: calls of the API, and upgrades.

use crate::check::Check;
use crate::event::{Purpose, UpgradeOutcome, UpgradeRole};
use crate::id::SessionKey;
use crate::machine::Output;
use crate::session::NEVER;
use crate::session::http::Admission;
use crate::shard::books::Books;
use crate::shard::books::evidence::Evidence;
use crate::shard::calls::BegunCall;
use crate::shard::calls::respond::{self, JSON, Refusal, Response};
use crate::shard::dev::faults::rule::{FaultAct, RequestAct, Subject};
use crate::shard::sockets::Sockets;
use crate::shard::todo::TodoList;
use crate::time::Moment;
use codec::control::{Call, Operation, Selector};
use codec::signal::Role;

/// Has a fault act on a request for a WebSocket; true when the request is dealt with.
pub(crate) fn on_connect(
    sockets: &mut Sockets,
    books: &mut Books,
    todo: &mut TodoList,
    key: SessionKey,
    admission: &Admission,
    at: Moment,
) -> bool {
    let client_id = admission.client_id.as_deref();
    let role = client_id.map_or(Role::Master, |_| Role::Viewer);
    let subject = Subject {
        channel: Some(admission.arn.name()),
        role: Some(role),
        client_id,
        ..Subject::default()
    };
    let connects = |act: &FaultAct| matches!(act, FaultAct::Connect(_));
    let rule = (sockets.dev().faults.as_deref()).and_then(|it| it.pick(connects, &subject, at.now));
    let Some(FaultAct::Connect(act)) = rule.as_deref().map(|rule| &rule.act) else {
        return false;
    };
    let evidence = Evidence {
        fault: rule.as_deref().map(|rule| rule.number),
        ..Evidence::of_admission(admission)
    };
    let role = match role {
        Role::Master => UpgradeRole::Master,
        Role::Viewer => UpgradeRole::Viewer,
    };
    let request = Disturbed {
        key,
        purpose: Purpose::Upgrade(role),
        evidence: &evidence,
        close: true,
    };
    disturb(sockets, books, todo, &request, act, at)
}

/// Has a fault act on a call; true when the call is dealt with.
pub(crate) fn on_call(
    sockets: &mut Sockets,
    books: &mut Books,
    todo: &mut TodoList,
    begun: &BegunCall,
    at: Moment,
) -> bool {
    let BegunCall { key, asked, call } = begun;
    let subject = Subject {
        channel: channel_of(call),
        operation: Some(asked.operation),
        ..Subject::default()
    };
    let calls = |act: &FaultAct| matches!(act, FaultAct::Api(_));
    let rule = (sockets.dev().faults.as_deref()).and_then(|it| it.pick(calls, &subject, at.now));
    let Some(FaultAct::Api(act)) = rule.as_deref().map(|rule| &rule.act) else {
        return false;
    };
    let purpose = Purpose::Api(asked.operation);
    let evidence = Evidence {
        fault: rule.as_deref().map(|rule| rule.number),
        ..Evidence::of_call(asked)
    };
    let request = Disturbed {
        key: *key,
        purpose,
        evidence: &evidence,
        close: asked.close,
    };
    disturb(sockets, books, todo, &request, act, at)
}

/// A request that a fault acts on.
struct Disturbed<'a> {
    /// Its connection.
    key: SessionKey,
    purpose: Purpose,
    evidence: &'a Evidence<'a>,
    /// The connection ends with the answer.
    close: bool,
}

/// The name of the channel that a call is about.
fn channel_of(call: &Call) -> Option<&str> {
    match call {
        Call::Create(create) => Some(create.name.as_str()),
        Call::Describe(describe) => Some(selected(&describe.channel)),
        Call::MediaStorage(storage) => Some(selected(&storage.channel)),
        Call::List(_) | Call::MappedResource(_) => None,
        Call::Update(_)
        | Call::Delete(_)
        | Call::Tag(_)
        | Call::Untag(_)
        | Call::ListTags(_)
        | Call::Endpoint(_)
        | Call::UpdateMediaStorage(_)
        | Call::Ice(_)
        | Call::Alexa(_)
        | Call::Join(_)
        | Call::JoinAsViewer(_) => call.arn().map(codec::identifiers::ChannelArn::name),
    }
}

fn selected(channel: &Selector) -> &str {
    match channel {
        Selector::ByName(name) => name.as_str(),
        Selector::ByArn(arn) => arn.name(),
    }
}

/// Acts on a request; true when it is dealt with.
fn disturb(
    sockets: &mut Sockets,
    books: &mut Books,
    todo: &mut TodoList,
    request: &Disturbed<'_>,
    act: &RequestAct,
    at: Moment,
) -> bool {
    let &Disturbed {
        key,
        purpose,
        evidence,
        close,
    } = request;
    match act {
        RequestAct::Refuse {
            error,
            status,
            message,
        } => {
            let status = |operation| status.unwrap_or_else(|| error.status(operation));
            let operation: Option<Operation> = match purpose {
                Purpose::Api(operation) => Some(operation),
                Purpose::Upgrade(role) => {
                    books.count_upgrade(role, outcome_of(status(None), error.name));
                    None
                }
                Purpose::Sts(_) | Purpose::Wake | Purpose::RoleAlias | Purpose::Unknown => None,
            };
            let body = error.body(operation, message);
            let answer = Response {
                purpose,
                status: status(operation),
                refusal: Some(Refusal {
                    error_type: error.name,
                    check: Check::FaultInjected,
                    evidence,
                }),
                content_type: JSON,
                body: &body,
                close,
            };
            respond::respond(sockets, books, key, &answer, at);
            true
        }
        RequestAct::Delay(ms) => {
            sockets.mute(key, at.now.after(*ms));
            false
        }
        RequestAct::Hang => {
            sockets.mute(key, NEVER);
            true
        }
        RequestAct::Reset => {
            sockets.output(Output::Reset(key));
            sockets.abort(books, todo, key, at);
            true
        }
    }
}

/// The outcome that an upgrade which a fault refuses is counted as.
fn outcome_of(status: u16, error_type: &str) -> UpgradeOutcome {
    match status {
        401 => UpgradeOutcome::Unauthenticated,
        403 => UpgradeOutcome::Forbidden,
        404 => UpgradeOutcome::NotFound,
        500.. => UpgradeOutcome::Unavailable,
        _ if error_type.contains("Limit") => UpgradeOutcome::Limited,
        _ => UpgradeOutcome::Invalid,
    }
}
