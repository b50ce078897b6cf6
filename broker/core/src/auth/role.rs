//! A role of the credentials file: rights without a key of their own, which those get whom its trust names.

use crate::auth::principal::decide_all;
use codec::policy::{Decision, Ground, Policy, Request, Trust};
use std::fmt::{self, Write};
use std::sync::Arc;

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

    /// The decision of all its policies on a request.
    pub(crate) fn decide(
        &self,
        request: &Request<'_>,
        steps: &mut u64,
        ground: &mut Option<(usize, Ground)>,
    ) -> Decision {
        decide_all(&self.policies, request, steps, ground)
    }
}
