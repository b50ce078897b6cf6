//! The rules of AssumeRole: whether a caller may start a role session, and with which parameters.
//!
//! Source: STS API Reference, "AssumeRole"; IAM User Guide, "How permissions for roles are evaluated", "Pass session
//! tags in AWS STS", "Monitor and control actions taken with assumed roles".

use crate::auth::grant::{CHAIN_MAX, RoleGrant, SessionTag};
use crate::auth::policy_question::{
    Assumed, CallerQuestion, PolicyQuestion, RequestTags, ResourceTags,
};
use crate::auth::principal::{Role, refusal_text};
use crate::auth::{caller::Caller, credentials::Credentials};
use crate::auth::{session_keys::SealError, sign_in::SignIn};
use crate::{check::Check, refusal::Refusal};
use codec::policy::{Action, TrustDecision, TrustGround, Trusted};
use codec::sts::{AssumeRole, ErrorKind};

/// A role session that the rules permit.
#[derive(Debug)]
pub struct Assumption {
    /// The grant for the session, before session policies are applied.
    pub role: RoleGrant,
    /// Lifetime of the session, in seconds.
    pub duration_s: u32,
}

struct TrustQuestion<'a> {
    caller: &'a Caller,
    role: &'a Role,
    request: &'a AssumeRole,
    steps: &'a mut u64,
}

/// Decides whether a caller may start the requested role session. Adds the cost of policy evaluation to `steps`, even
/// if the request is refused.
///
/// # Errors
/// Returns an STS refusal if policies deny an action to the caller, or if the request conflicts with the role or with
/// the caller's own session.
pub fn assume(
    caller: &Caller,
    credentials: &Credentials,
    request: &AssumeRole,
    steps: &mut u64,
) -> Result<Assumption, Refusal> {
    let role = credentials.role(request.role.account(), request.role.name());
    let action = caller
        .signing_in_by()
        .map_or(Action::AssumeRole, SignIn::action);
    let Some(role) = role else {
        let ground = Some("the role is not in the credentials file".into());
        return Err(denied(caller, request, action, Check::RoleAbsent).by_policy(ground));
    };
    let mut asking = TrustQuestion {
        caller,
        role,
        request,
        steps,
    };
    asking.may(action)?;
    if !request.tags.is_empty() {
        asking.may(Action::TagSession)?;
    }
    let of_caller = caller.source_identity();
    if request.source_identity.is_some() || of_caller.is_some() {
        asking.may(Action::SetSourceIdentity)?;
    }
    let asked = request.source_identity.as_deref();
    if of_caller.is_some() && asked.is_some() && asked != of_caller {
        return Err(invalid(
            "The source identity of the calling session cannot be changed.",
        ));
    }
    let session = RoleGrant {
        via: via(caller, role)?,
        tags: tags(caller, request)?,
        source_identity: asked.or(of_caller).map(Into::into),
        ..RoleGrant::of(request)
    };
    Ok(Assumption {
        role: session,
        duration_s: duration(caller, role, request.duration_s)?,
    })
}

/// Refuses an action without revealing whether the role exists.
fn denied(caller: &Caller, request: &AssumeRole, action: Action, check: Check) -> Refusal {
    let message = caller.denial(action, request.role.as_str());
    Refusal::new(check, ErrorKind::AccessDenied, message)
}

fn invalid(message: &'static str) -> Refusal {
    Refusal::new(
        Check::ArgumentInvalid,
        ErrorKind::InvalidParameterValue,
        message,
    )
}

impl TrustQuestion<'_> {
    /// Requires that the role's trust policy and, where needed, the caller's own policies allow the action.
    fn may(&mut self, action: Action) -> Result<(), Refusal> {
        let request = self.request;
        let question = PolicyQuestion {
            request_tags: RequestTags::Set(&request.tags),
            resource_tags: ResourceTags::Known(&[]),
            assumed: Some(Assumed {
                session_name: &request.session_name,
                external_id: request.external_id.as_deref(),
                source_identity: request
                    .source_identity
                    .as_deref()
                    .or_else(|| self.caller.source_identity()),
                transitive_tag_keys: &request.transitive_tag_keys,
            }),
            ..PolicyQuestion::new(action, request.role.as_str())
        };
        let asked = CallerQuestion {
            caller: self.caller,
            question: &question,
        };
        let names = self.caller.trust_names();
        let names: Vec<&str> = names.iter().map(|name| &**name).collect();
        let account = format!("AWS:arn:aws:iam::{}:root", self.caller.account());
        let signs_in = self.caller.signing_in_by().is_some();
        let who = Trusted {
            own: &names,
            account: (!signs_in).then_some(&account),
        };
        let mut ground = None;
        let trust = &self.role.trust;
        let trusted = trust.decide(&who, &asked.request(), self.steps, &mut ground);
        let check = match trusted {
            TrustDecision::Deny => Check::TrustExplicitDeny,
            TrustDecision::NoMatch => Check::TrustNoAllow,
            TrustDecision::Allow if signs_in => return Ok(()),
            // A trust policy that names an account defers to the caller's own policies, but a caller that is signing in
            // has none.
            TrustDecision::AllowAccount if signs_in => Check::TrustNoAllow,
            TrustDecision::Allow | TrustDecision::AllowAccount => {
                return self.may_itself(&question, &asked, trusted);
            }
        };
        let ground = Some(self.trust_ground(action, ground));
        Err(denied(self.caller, request, action, check).by_policy(ground))
    }

    /// Requires that the caller's own policies allow the action. No permission is needed if the role is in the caller's
    /// account and its trust policy names the caller directly. Even then, explicit denials and session policies apply.
    fn may_itself(
        &mut self,
        question: &PolicyQuestion<'_>,
        asked: &CallerQuestion<'_>,
        trusted: TrustDecision,
    ) -> Result<(), Refusal> {
        let ruling = self.caller.decide(question);
        *self.steps += ruling.steps;
        let is_enough = trusted == TrustDecision::Allow
            && self.caller.account() == self.role.account
            && ruling.denied == Some(Check::PolicyNoAllow)
            && self.caller.session_of().is_none_or(|session| {
                let request = asked.request();
                session.is_within(&request, self.steps)
            });
        match ruling.denied {
            Some(check) if !is_enough => {
                let ground = self.caller.ground_of(&ruling).unwrap_or_default();
                let (name, action) = (&self.role.name, question.action.as_str());
                let ground = match (check, trusted) {
                    (Check::PolicyNoAllow, TrustDecision::AllowAccount) => format!(
                        "the trust of {name} delegates {action} to the caller's own policies, and {ground}"
                    ),
                    _ => format!("for {action} {ground}"),
                };
                let refusal = denied(self.caller, self.request, question.action, check);
                Err(refusal.by_policy(Some(ground.into())))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Explains why the trust policy refused the action. Names the responsible statement, or says that no statement
    /// applies.
    fn trust_ground(&self, action: Action, ground: Option<TrustGround>) -> Box<str> {
        let name = &self.role.name;
        let Some(ground) = ground else {
            let names = self.caller.trust_names();
            let who = names.first().map_or("", |who| who);
            let (kind, who) = who.split_once(':').unwrap_or_default();
            let action = action.as_str();
            return format!(
                "the trust of {name} has no statement for {action} by \"{kind}\": \"{who}\""
            )
            .into();
        };
        let failed_key = self.role.trust.failed_key(ground);
        refusal_text(
            &format!("the trust of {name}"),
            ground.statement,
            failed_key,
        )
        .into()
    }
}

/// Returns the role chain of the requested session: the caller's own chain, followed by the role of the caller's
/// session.
fn via(caller: &Caller, role: &Role) -> Result<Vec<Box<str>>, Refusal> {
    let Some(session) = caller.role() else {
        return Ok(Vec::new());
    };
    let mut via = session.via.clone();
    if !via.iter().any(|name| **name == *session.role.name) {
        via.push(session.role.name.as_str().into());
    }
    via.retain(|name| **name != *role.name);
    if via.len() > CHAIN_MAX {
        return Err(SealError::TooLong.refusal(SESSION_TOO_LONG));
    }
    Ok(via)
}

/// Returns the tags of the requested session. The request cannot override transitive tags of the caller's session.
fn tags(caller: &Caller, request: &AssumeRole) -> Result<Vec<SessionTag>, Refusal> {
    let passed_on = caller.tags().iter().filter(|tag| tag.transitive);
    let mut tags: Vec<SessionTag> = passed_on.cloned().collect();
    for tag in &request.tags {
        if tags
            .iter()
            .any(|known| known.key.eq_ignore_ascii_case(&tag.key))
        {
            let message = "One of the specified tag keys conflicts with a transitive tag key of the calling session.";
            return Err(invalid(message));
        }
    }
    let asked = request.tags.iter().map(|tag| {
        let mut keys = request.transitive_tag_keys.iter();
        SessionTag {
            key: tag.key.clone(),
            value: tag.value.clone(),
            transitive: keys.any(|key| key.eq_ignore_ascii_case(&tag.key)),
        }
    });
    tags.extend(asked);
    if tags.len() > codec::control::TAGS_MAX {
        return Err(invalid("The session would have more than 50 tags."));
    }
    Ok(tags)
}

fn duration(caller: &Caller, role: &Role, asked_s: Option<u32>) -> Result<u32, Refusal> {
    let most_s = match caller.role() {
        Some(_) => role.max_session_s.min(CHAINED_S_MAX),
        None => role.max_session_s,
    };
    let duration_s = asked_s.unwrap_or_else(|| DEFAULT_S.min(most_s));
    let (name, of_role_s) = (&role.name, role.max_session_s);
    let (message, ground) = if duration_s > of_role_s {
        let message =
            "The requested DurationSeconds exceeds the MaxSessionDuration set for this role.";
        let ground = format!(
            "{duration_s} s were requested, but sessions of role {name} last at most {of_role_s} s (`max_session`)"
        );
        (message, ground)
    } else if duration_s > most_s {
        let message = "The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role \
                       chaining.";
        let ground = format!(
            "{duration_s} s were requested with a session's keys, but a role assumed by a session (role chaining), \
             role {name} here, lasts at most {most_s} s"
        );
        (message, ground)
    } else {
        return Ok(duration_s);
    };
    let refusal = Refusal::new(Check::ArgumentInvalid, ErrorKind::ValidationError, message);
    Err(refusal.by_policy(Some(ground.into())))
}

pub(crate) const SESSION_TOO_LONG: &str =
    "The policies, tags and roles of the session take more room than a session token has.";

/// Default lifetime of a session in seconds. The role's maximum applies instead if it is shorter.
const DEFAULT_S: u32 = 3600;

/// Maximum lifetime in seconds of a session that is started from another role session. Source: IAM User Guide, "Role
/// chaining".
const CHAINED_S_MAX: u32 = 3600;

#[cfg(test)]
mod tests;
