//! Sessions of temporary credentials: where their rights come from, and the policies that restrict them.

use crate::auth::grant::{GrantRoot, SessionTag};
use crate::auth::principal::{Principal, Role, decide_all};
use crate::auth::session_keys::ACCESS_KEY_ID_BYTES;
use crate::auth::sign_in::SignIn;
use codec::policy::{Action, Decision, Ground, KeyName, Policy, Request};
use std::fmt::{self, Write};
use std::sync::Arc;

#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) source: Source,
    pub(crate) scope: SessionScope,
    pub(crate) key_id: SessionKeyId,
    /// Time of issue, in seconds since 1970 UTC; `None` if the token does not record it.
    pub(crate) issued_s: Option<u64>,
    /// The expiry of the grant or of its root principal, whichever is earlier, in seconds since 1970 UTC.
    pub(crate) expires_s: u64,
}

#[derive(Debug)]
pub(crate) enum Source {
    /// A federated user created by GetFederationToken. Contains the principal from which its rights come, and the name
    /// used in logs (`federated-user/NAME`).
    Federated(Arc<Principal>, String),
    User(Arc<Principal>),
    Role(RoleSession),
}

pub(crate) struct Owner<'a> {
    pub(crate) name: &'a str,
    pub(crate) account: &'a str,
    pub(crate) policies: &'a [Arc<Policy>],
    /// Maximum clock skew of the session's owner, in seconds; `None` uses the server's default.
    pub(crate) clock_tolerance_s: Option<u64>,
}

#[derive(Clone, Debug)]
pub(crate) enum Root {
    Principal(Arc<Principal>),
    SignIn(Arc<SignIn>),
}

#[derive(Clone, Debug)]
pub(crate) struct RoleSession {
    pub(crate) role: Arc<Role>,
    pub(crate) name: Box<str>,
    /// The name used in logs, `ROLE/SESSION`.
    pub(crate) label: String,
    pub(crate) root: Root,
    /// Names of the roles between the root and this role, without duplicates.
    pub(crate) via: Vec<Box<str>>,
    pub(crate) tags: Vec<SessionTag>,
    pub(crate) source_identity: Option<Box<str>>,
}

/// Session policies, which restrict the rights of the session's source.
#[derive(Clone, Debug)]
pub(crate) enum SessionScope {
    All,
    /// Allows only actions that at least one of these policies allows and none of them denies.
    Within(Vec<Arc<Policy>>),
    Nothing,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct PolicyGround {
    /// Whether the action is allowed by the session's source but refused by the session policy.
    pub(crate) of_session: bool,
    /// Whether credentials of this kind can never perform the action.
    pub(crate) of_keys: bool,
    pub(crate) statement: Option<(usize, Ground)>,
}

impl SessionScope {
    pub(crate) fn policies(&self) -> &[Arc<Policy>] {
        match self {
            Self::All | Self::Nothing => &[],
            Self::Within(policies) => policies,
        }
    }

    fn decide(
        &self,
        request: &Request<'_>,
        steps: &mut u64,
        ground: &mut Option<(usize, Ground)>,
    ) -> Decision {
        match self {
            Self::All => Decision::Allow,
            Self::Within(policies) => decide_all(policies, request, steps, ground),
            Self::Nothing => Decision::NoMatch,
        }
    }
}

impl Session {
    pub(crate) fn owner(&self) -> Owner<'_> {
        match &self.source {
            Source::Federated(parent, _) | Source::User(parent) => Owner {
                name: &parent.name,
                account: &parent.account,
                policies: &parent.policies,
                clock_tolerance_s: parent.clock_tolerance_s,
            },
            Source::Role(session) => Owner {
                name: &session.role.name,
                account: &session.role.account,
                policies: &session.role.policies,
                clock_tolerance_s: session.role.clock_tolerance_s,
            },
        }
    }

    /// Evaluates the policies of the session and of its source. Both must allow the request, and neither may deny it.
    pub(crate) fn decide(
        &self,
        request: &Request<'_>,
        steps: &mut u64,
        ground: &mut PolicyGround,
    ) -> Decision {
        let mut of_own = None;
        let own = self.scope.decide(request, steps, &mut of_own);
        *ground = PolicyGround {
            of_session: true,
            statement: of_own,
            ..PolicyGround::default()
        };
        if own == Decision::Deny {
            return own;
        }
        let mut of_source = None;
        let source = decide_all(self.owner().policies, request, steps, &mut of_source);
        if matches!(source, Decision::Deny | Decision::NoMatch) {
            *ground = PolicyGround {
                statement: of_source,
                ..PolicyGround::default()
            };
            return source;
        }
        if !self.may_ask_sts(request.action) {
            ground.of_keys = true;
            return Decision::NoMatch;
        }
        match own {
            Decision::Allow => source,
            Decision::Deny | Decision::NoMatch | Decision::Open => own,
        }
    }

    /// Returns `true` if these credentials may perform this STS action. Source: IAM User Guide, "Compare AWS STS
    /// credentials".
    fn may_ask_sts(&self, action: Action) -> bool {
        !matches!(
            (action, &self.source),
            (Action::GetFederationToken, _) | (Action::AssumeRole, Source::Federated(..))
        )
    }

    /// Returns `true` if the session policies allow the request, regardless of the rights of the session's source.
    pub(crate) fn is_within(&self, request: &Request<'_>, steps: &mut u64) -> bool {
        self.may_ask_sts(request.action)
            && self.scope.decide(request, steps, &mut None) == Decision::Allow
    }

    pub(crate) fn reads(&self, name: KeyName) -> bool {
        let mut policies = self.scope.policies().iter().chain(self.owner().policies);
        policies.any(|policy| policy.reads(name))
    }

    pub(crate) fn account(&self) -> &str {
        self.owner().account
    }

    pub(crate) fn name(&self) -> &str {
        match &self.source {
            Source::Federated(_, label) => label,
            Source::User(parent) => &parent.name,
            Source::Role(session) => &session.label,
        }
    }

    pub(crate) const fn kind(&self) -> &'static str {
        match &self.source {
            Source::Federated(..) => "FederatedUser",
            Source::User(_) => "User",
            Source::Role(_) => "AssumedRole",
        }
    }

    pub(crate) fn root(&self) -> Root {
        match &self.source {
            Source::Federated(parent, _) | Source::User(parent) => {
                Root::Principal(Arc::clone(parent))
            }
            Source::Role(session) => session.root.clone(),
        }
    }

    /// Returns the token or certificate at the root of the session; `None` if the root is a principal.
    pub(crate) fn sign_in(&self) -> Option<&Arc<SignIn>> {
        match &self.role()?.root {
            Root::SignIn(sign_in) => Some(sign_in),
            Root::Principal(_) => None,
        }
    }

    pub(crate) const fn role(&self) -> Option<&RoleSession> {
        match &self.source {
            Source::Federated(..) | Source::User(_) => None,
            Source::Role(session) => Some(session),
        }
    }

    pub(crate) fn write_arn(&self, out: &mut impl Write) -> fmt::Result {
        let account = self.account();
        match &self.source {
            Source::Federated(_, label) => write!(out, "arn:aws:sts::{account}:{label}"),
            Source::User(parent) => out.write_str(parent.short_arn().as_str()),
            Source::Role(session) => {
                write!(out, "arn:aws:sts::{account}:assumed-role/{}", session.label)
            }
        }
    }

    /// Returns the client id that the session must use as a viewer, if its policy permits exactly one.
    pub(crate) fn sole_client_id(&self) -> Option<&[u8]> {
        match self.scope.policies() {
            [policy] => policy.sole_client_id(Action::ConnectAsViewer),
            _ => None,
        }
    }
}

impl Root {
    /// Returns the root as encoded in a grant, and the root principal's secret. The grant becomes invalid when the
    /// secret changes. The secret is empty for a sign-in.
    pub(crate) fn granting(&self) -> (GrantRoot, &str) {
        match self {
            Self::Principal(principal) => {
                let access_key_id = principal.access_key_id.as_str().into();
                (GrantRoot::Key { access_key_id }, principal.secret.reveal())
            }
            Self::SignIn(sign_in) => (GrantRoot::SignIn(SignIn::clone(sign_in)), ""),
        }
    }

    pub(crate) fn expires_s(&self) -> Option<u64> {
        match self {
            Self::Principal(principal) => principal.expires_s,
            Self::SignIn(_) => None,
        }
    }
}

/// The access key id of temporary credentials, stored inline because its length is fixed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SessionKeyId([u8; ACCESS_KEY_ID_BYTES]);

impl SessionKeyId {
    /// Stores an access key id that this service has issued.
    pub(crate) fn of(id: &str) -> Self {
        let bytes = id.as_bytes().first_chunk();
        Self(bytes.copied().unwrap_or([b'-'; ACCESS_KEY_ID_BYTES]))
    }

    pub(crate) fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}
