//! Callers whom nothing proved, for questions that operators ask: may such a one do this?

use crate::auth::caller::{Caller, CallerKind, policy_name};
use crate::auth::principal::Principal;
use crate::auth::question::{Asked, PolicyQuestion};
use crate::auth::role::Role;
use crate::auth::session::{RoleSession, Root, Scope, Session, SessionKeyId, Source};
use crate::auth::sign_in::SignIn;
use std::sync::Arc;

impl Caller {
    /// A principal, as if it had signed.
    #[must_use]
    pub fn supposed_principal(principal: Arc<Principal>, region: Option<Arc<str>>) -> Self {
        Self::principal(principal, region)
    }

    /// The session of a role, as if its trust had let it in: this sign-in, or else a principal of its account.
    #[must_use]
    pub fn supposed_session(
        role: Arc<Role>,
        sign_in: Option<SignIn>,
        issued_s: u64,
        region: Option<Arc<str>>,
    ) -> Self {
        let root = match sign_in {
            Some(sign_in) => Root::SignIn(Arc::new(sign_in)),
            None => Root::Principal(Arc::new(nobody(&role.account))),
        };
        let session = RoleSession {
            name: SESSION_NAME.into(),
            label: format!("{}/{SESSION_NAME}", role.name),
            role,
            root,
            via: Vec::new(),
            tags: Vec::new(),
            source_identity: None,
        };
        let session = Session {
            source: Source::Role(session),
            scope: Scope::All,
            key_id: SessionKeyId::of(""),
            issued_s: Some(issued_s),
            expires_s: u64::MAX,
        };
        Self::session(session, region)
    }

    /// The policy and the statement that allow what [`Self::decide`] allows: of several the first. `None` where no
    /// statement has to.
    #[must_use]
    pub fn allowed_by(&self, question: &PolicyQuestion<'_>) -> Option<Box<str>> {
        let policies = match &self.who {
            CallerKind::Anyone(_) | CallerKind::SigningIn(_) => return None,
            CallerKind::Principal(principal) => &*principal.policies,
            CallerKind::Session(session) => session.policies(),
        };
        let asked = Asked {
            caller: self,
            question,
        };
        let request = asked.request();
        policies.iter().find_map(|policy| {
            let number = policy.allowed_by(&request)?;
            let name = policy_name(policy);
            Some(format!("{name}, statement {number}, allows it").into())
        })
    }
}

/// A principal without a key.
fn nobody(account: &str) -> Principal {
    Principal {
        name: String::new(),
        account: account.into(),
        access_key_id: String::new(),
        secret: "".into(),
        session_token: None,
        expires_s: None,
        clock_tolerance_s: None,
        policies: Vec::new(),
    }
}

const SESSION_NAME: &str = "policy-test";
