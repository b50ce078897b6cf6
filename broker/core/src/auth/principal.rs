//! Principals and roles of the credentials file, and the secrets that they hold.

use codec::policy::{Decision, Ground, Policy, Request, Trust};
use std::fmt::{self, Write};
use std::sync::Arc;
use zeroize::Zeroizing;

/// A secret text: wiped when dropped, and never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// The text. For signatures and tokens only.
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

/// Somebody who may sign requests. About half a KiB; shared by all shards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    /// The name in logs and refusals; `[\w+=,.@-]{1,64}`, unique.
    pub name: String,
    /// The account it belongs to: 12 digits.
    pub account: String,
    /// The access key id that its requests name; `\w{1,128}`, unique.
    pub access_key_id: String,
    /// The secret access key that signs them.
    pub secret: Secret,
    /// The token that its requests must carry; `None`: they must carry none.
    pub session_token: Option<Secret>,
    /// When it ends, in seconds since 1970 UTC; `None` is never.
    pub expires_s: Option<u64>,
    /// The most by which its clock may be off, in seconds; `None`: as for everybody.
    pub clock_tolerance_s: Option<u64>,
    /// The policies that grant its rights. Without any it may do nothing.
    pub policies: Vec<Arc<Policy>>,
}

impl Principal {
    /// The ARN of the user, as messages name it.
    #[must_use]
    pub fn arn(&self) -> String {
        let mut arn = String::new();
        let _ = self.write_arn(&mut arn); // a String takes all
        arn
    }

    pub(crate) fn write_arn(&self, out: &mut impl Write) -> fmt::Result {
        write!(out, "arn:aws:iam::{}:user/{}", self.account, self.name)
    }

    /// The decision of all its policies on a request. Adds the work to `steps`, as [`Policy::decide`] does.
    #[must_use]
    pub fn decide(&self, request: &Request<'_>, steps: &mut u64) -> Decision {
        decide_all(&self.policies, request, steps, &mut None)
    }
}

/// The decision of all policies on a request, with the policy and the statement that refuse.
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

/// Rights that others assume. Shared by all shards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Role {
    /// The name; `[\w+=,.@-]{1,64}`, unique.
    pub name: String,
    /// The account it belongs to: 12 digits.
    pub account: String,
    /// The policies that grant its rights. Without any its sessions may do nothing.
    pub policies: Vec<Arc<Policy>>,
    /// The document that says who may assume it.
    pub trust: Trust,
    /// The longest life of a session, in seconds.
    pub max_session_s: u32,
    /// The most by which the clock of a session's owner may be off, in seconds; `None`: as for everybody.
    pub clock_tolerance_s: Option<u64>,
}

impl Role {
    /// The ARN, as trust documents and callers name it.
    #[must_use]
    pub fn arn(&self) -> String {
        let mut arn = String::new();
        let _ = self.write_arn(&mut arn); // a String takes all
        arn
    }

    pub(crate) fn write_arn(&self, out: &mut impl Write) -> fmt::Result {
        write!(out, "arn:aws:iam::{}:role/{}", self.account, self.name)
    }
}
