//! Rules of AssumeRole: whether a caller may start a session of a role, and with what parameters.
//!
//! Source: STS API Reference, "AssumeRole"; IAM User Guide, "How permissions for roles are evaluated", "Pass session
//! tags in AWS STS", "Monitor and control actions taken with assumed roles".

use crate::auth::policy_question::{Asked, Assumed, PolicyQuestion, RequestTags, ResourceTags};
use crate::auth::{caller::Caller, credentials::Credentials, grant::CHAIN_MAX, principal::Role};
use crate::auth::{session_keys::SessionTag, sign_in::SignIn};
use crate::check::Check;
use codec::policy::{Action, TrustDecision, TrustGround, Trusted};
use codec::sts::AssumeRole;
use std::sync::Arc;

/// Permitted session of a role.
#[derive(Debug)]
pub struct Assumption {
    /// Roles between the root principal and this one, each once.
    pub via: Vec<Box<str>>,
    /// Tags of the session: those of the request, and transitive ones of the caller's session.
    pub tags: Vec<SessionTag>,
    /// Source identity: the person or program behind the session.
    pub source_identity: Option<Box<str>>,
    /// Lifetime, in seconds.
    pub duration_s: u32,
}

/// Reason why a session is refused.
#[derive(Debug)]
pub enum RoleFault {
    /// Denied by policy or trust.
    Denied(Denial),
    /// The parameters contradict the role or the caller's session: text for the caller.
    Invalid(&'static str),
    /// The requested duration is too long.
    Duration {
        /// Text for the caller, with the code ValidationError.
        message: &'static str,
        /// Role, its limit and the requested duration, for operators only.
        ground: String,
    },
    /// The chain has more roles than a token may name.
    TooLong,
}

/// Action that a caller is denied.
#[derive(Debug)]
pub struct Denial {
    /// The action.
    pub action: Action,
    /// Check that failed.
    pub check: Check,
    /// Policy or trust and its statement that refuse, for operators only.
    pub ground: Option<Box<str>>,
}

/// A request with everything that the decision depends on.
struct Asking<'a> {
    caller: &'a Caller,
    role: &'a Role,
    request: &'a AssumeRole,
    arn: &'a str,
    steps: &'a mut u64,
}

/// Decides whether a caller may start this session of a role. Adds the work of the policies to `steps` in any case, as
/// [`codec::policy::Policy::decide`] does.
///
/// # Errors
/// See [`RoleFault`].
pub fn assume(
    caller: &Caller,
    credentials: &Credentials,
    request: &AssumeRole,
    steps: &mut u64,
) -> Result<Assumption, RoleFault> {
    let arn = request.role.as_str();
    let role = credentials.role(request.role.account(), request.role.name());
    let action = caller
        .signing_in_by()
        .map_or(Action::AssumeRole, SignIn::action);
    let role = role.ok_or_else(|| {
        let ground = Some("the credentials file has no such role".into());
        denied(action, Check::RoleAbsent, ground)
    })?;
    let mut asking = Asking {
        caller,
        role,
        request,
        arn,
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
        let message = "The source identity of the calling session cannot be changed.";
        return Err(RoleFault::Invalid(message));
    }
    Ok(Assumption {
        via: via(caller, role)?,
        tags: tags(caller, request)?,
        source_identity: asked.or(of_caller).map(Into::into),
        duration_s: duration(caller, role, request.duration_s)?,
    })
}

fn denied(action: Action, check: Check, ground: Option<Box<str>>) -> RoleFault {
    RoleFault::Denied(Denial {
        action,
        check,
        ground,
    })
}

impl Asking<'_> {
    /// Refuses unless the role's trust, and the caller's own policies where they count, allow the action.
    fn may(&mut self, action: Action) -> Result<(), RoleFault> {
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
            ..PolicyQuestion::new(action, self.arn)
        };
        let asked = Asked {
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
            // The trust allows the account, so the caller needs a permission of its own, which sign-ins do not have.
            TrustDecision::AllowAccount if signs_in => Check::TrustNoAllow,
            TrustDecision::Allow | TrustDecision::AllowAccount => {
                return self.may_itself(&question, &asked, trusted);
            }
        };
        Err(denied(
            action,
            check,
            Some(self.trust_ground(action, ground)),
        ))
    }

    /// Refuses unless the caller's own policies allow the action. A role of the same account that names the caller
    /// itself needs no permission, but policies may still deny it, and session policies still apply.
    fn may_itself(
        &mut self,
        question: &PolicyQuestion<'_>,
        asked: &Asked<'_>,
        trusted: TrustDecision,
    ) -> Result<(), RoleFault> {
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
                        "the trust of {name} leaves {action} to the caller's own policies, and {ground}"
                    ),
                    _ => format!("for {action} {ground}"),
                };
                Err(denied(question.action, check, Some(ground.into())))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Statement of the trust that refuses.
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
        let number = ground.statement;
        match self.role.trust.failed_key(ground) {
            None => format!("the trust of {name}, statement {number}, denies it"),
            Some(key) => format!(
                "the trust of {name}, statement {number}, allows it, but its condition on {key} does not hold"
            ),
        }
        .into()
    }
}

/// Roles by which the session is reached: those of the caller's session, and its own.
fn via(caller: &Caller, role: &Arc<Role>) -> Result<Vec<Box<str>>, RoleFault> {
    let Some(session) = caller.role() else {
        return Ok(Vec::new());
    };
    let mut via = session.via.clone();
    if !via.iter().any(|name| **name == *session.role.name) {
        via.push(session.role.name.as_str().into());
    }
    via.retain(|name| **name != *role.name);
    if via.len() > CHAIN_MAX {
        return Err(RoleFault::TooLong);
    }
    Ok(via)
}

/// Tags of the session. Transitive tags of the caller's session cannot be replaced.
fn tags(caller: &Caller, request: &AssumeRole) -> Result<Vec<SessionTag>, RoleFault> {
    let passed_on = caller.tags().iter().filter(|tag| tag.transitive);
    let mut tags: Vec<SessionTag> = passed_on.cloned().collect();
    for tag in &request.tags {
        if tags
            .iter()
            .any(|known| known.key.eq_ignore_ascii_case(&tag.key))
        {
            let message = "One of the specified tag keys conflicts with a transitive tag key of the calling session.";
            return Err(RoleFault::Invalid(message));
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
        return Err(RoleFault::Invalid(
            "The session would have more than 50 tags.",
        ));
    }
    Ok(tags)
}

/// Lifetime of the session, in seconds.
fn duration(caller: &Caller, role: &Role, asked_s: Option<u32>) -> Result<u32, RoleFault> {
    let most_s = match caller.role() {
        Some(_) => role.max_session_s.min(CHAINED_S_MAX),
        None => role.max_session_s,
    };
    let duration_s = asked_s.unwrap_or_else(|| DEFAULT_S.min(most_s));
    let (name, of_role_s) = (&role.name, role.max_session_s);
    if duration_s > of_role_s {
        let message =
            "The requested DurationSeconds exceeds the MaxSessionDuration set for this role.";
        let ground = format!(
            "{duration_s} s were asked for, but sessions of role {name} last at most {of_role_s} s (`max_session`)"
        );
        return Err(RoleFault::Duration { message, ground });
    }
    if duration_s > most_s {
        let message = "The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role \
                       chaining.";
        let ground = format!(
            "{duration_s} s were asked for with a session's keys, but what another session assumes (role chaining), \
             role {name} here, lasts at most {most_s} s"
        );
        return Err(RoleFault::Duration { message, ground });
    }
    Ok(duration_s)
}

/// Default lifetime of a session, in seconds, unless the role's maximum is shorter.
const DEFAULT_S: u32 = 3600;

/// Longest lifetime of a session that a role's session starts, in seconds. Source: IAM User Guide, "Role chaining".
const CHAINED_S_MAX: u32 = 3600;

#[cfg(test)]
mod tests;
