//! Principals and roles from the credentials file, and their secrets.

use codec::policy::{Decision, Ground, Policy, Request, ShortText, Trust};
use std::fmt;
use std::sync::Arc;
use zeroize::Zeroizing;

/// Secret text that is wiped when dropped and hidden in debug output.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Returns the plain text. Use it only to compute signatures and tokens.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(Zeroizing::new(text))
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self(Zeroizing::new(text.to_owned()))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("<redacted>")
    }
}

/// A user that signs requests with a long-term key. Takes about 0.5 KiB and is shared by all shards.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Principal {
    /// Unique name used in logs and refusals; `[\w+=,.@-]{1,64}`.
    pub name: String,
    /// Account id (12 digits).
    pub account: String,
    /// Unique access key id; `\w{1,128}`.
    pub access_key_id: String,
    /// Secret access key.
    pub secret: Secret,
    /// Session token that requests must carry; `None` if requests must not carry a token.
    pub session_token: Option<Secret>,
    /// Expiry in seconds since 1970 UTC; `None` if the key does not expire.
    pub expires_s: Option<u64>,
    /// Maximum clock skew of the principal, in seconds; `None` uses the server's default.
    pub clock_tolerance_s: Option<u64>,
    /// Policies attached to the principal. A principal without policies has no rights.
    pub policies: Vec<Arc<Policy>>,
}

impl Principal {
    /// Returns the ARN of the user.
    #[must_use]
    pub fn arn(&self) -> String {
        self.short_arn().as_str().to_owned()
    }

    /// Returns the ARN without an allocation. It has at most 95 bytes.
    pub(crate) fn short_arn(&self) -> ShortText {
        ShortText::of(format_args!(
            "arn:aws:iam::{}:user/{}",
            self.account, self.name
        ))
    }

    /// Evaluates all policies together. Like [`Policy::decide`], adds the cost to `steps`.
    #[must_use]
    pub fn decide(&self, request: &Request<'_>, steps: &mut u64) -> Decision {
        decide_all(&self.policies, request, steps, &mut None)
    }
}

/// Evaluates all policies together. Stores the policy and the statement that refuse the request in `ground`.
pub(crate) fn decide_all(
    policies: &[Arc<Policy>],
    request: &Request<'_>,
    steps: &mut u64,
    ground: &mut Option<(usize, Ground)>,
) -> Decision {
    let mut joined = Decision::NoMatch;
    for (place, policy) in policies.iter().enumerate() {
        let mut own = None;
        let decision = policy.decide(request, steps, &mut own);
        let own = own.map(|own| (place, own));
        if decision == Decision::Deny && joined != Decision::Deny {
            *ground = own;
        } else if joined != Decision::Deny {
            *ground = ground.or(own);
        }
        joined = joined.and(decision);
    }
    joined
}

pub(crate) fn refusing_statement(
    policies: &[Arc<Policy>],
    ground: Option<(usize, Ground)>,
) -> Option<String> {
    let (place, ground) = ground?;
    let policy = policies.get(place)?;
    let failed_key = policy.failed_key(ground);
    Some(refusal_text(
        policy_name(policy),
        ground.statement,
        failed_key,
    ))
}

/// Describes how a policy statement refused a request, either by an explicit denial or because a condition was not met.
pub(crate) fn refusal_text(document: &str, number: usize, failed_key: Option<String>) -> String {
    let why = match failed_key {
        None => "denies it".to_owned(),
        Some(key) => format!("allows it, but its condition on {key} does not hold"),
    };
    format!("{document}, statement {number}, {why}")
}

pub(crate) fn policy_name(policy: &Policy) -> &str {
    match policy.name() {
        "" => "the session's policy",
        name => name,
    }
}

pub(crate) fn policy_names(policies: &[Arc<Policy>]) -> String {
    let names: Vec<&str> = policies.iter().map(|it| policy_name(it)).collect();
    names.join(", ")
}

/// A role from the credentials file, shared by all shards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Role {
    /// Unique name; `[\w+=,.@-]{1,64}`.
    pub name: String,
    /// Account id (12 digits).
    pub account: String,
    /// Policies attached to the role. Sessions of a role without policies have no rights.
    pub policies: Vec<Arc<Policy>>,
    /// Trust policy, which names the callers that may assume the role.
    pub trust: Trust,
    /// Maximum lifetime of a session, in seconds.
    pub max_session_s: u32,
    /// Maximum clock skew of clients that use the role's sessions, in seconds; `None` uses the server's default.
    pub clock_tolerance_s: Option<u64>,
}

impl Role {
    /// Returns the ARN of the role.
    #[must_use]
    pub fn arn(&self) -> String {
        self.short_arn().as_str().to_owned()
    }

    /// Returns the ARN without an allocation. It has at most 95 bytes.
    pub(crate) fn short_arn(&self) -> ShortText {
        ShortText::of(format_args!(
            "arn:aws:iam::{}:role/{}",
            self.account, self.name
        ))
    }
}
