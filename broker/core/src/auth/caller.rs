//! The caller of a verified request.

use super::held_key::HeldKey;
use super::principal::{Principal, Secret};
use super::question::{Asked, Origin, PolicyQuestion};
use super::session::{PolicyGround, RoleSession, Session, Source};
use super::session_keys::SessionTag;
use crate::check::Check;
use aws_lc_rs::digest::{SHA256, digest};
use codec::aws::ChannelArn;
use codec::aws::policy::{Action, Decision, KeyName, Policy, ShortText};
use data_encoding::BASE32;
use std::fmt::{self, Write};
use std::hash::Hash;
use std::sync::Arc;

/// A caller whose signature was valid, or anyone where none is required. Cheap to clone; travels with a
/// connection to its home shard, and stays what it was when the credentials are replaced.
#[derive(Clone, Debug)]
pub struct Caller {
    who: CallerKind,
    /// The region that exists here; `None`: any does.
    region: Option<Arc<str>>,
    /// The origin of its request; `None` where policies are not asked, and in tests.
    origin: Option<Origin>,
}

#[derive(Clone, Debug)]
enum CallerKind {
    /// No signature was required.
    Anyone(Arc<str>),
    /// A principal itself.
    Principal(Arc<Principal>),
    /// Temporary credentials.
    Session(Arc<Session>),
}

/// The decision of a caller's policies on a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Ruling {
    /// The check that the caller did not pass, by which operators know whether to add a statement or to remove one;
    /// `None` when it is allowed, also where that depends on tags of a channel that lives elsewhere.
    pub denied: Option<Check>,
    /// The work that it took: see [`Policy::decide`].
    pub steps: u64,
    /// The policy and the statement that refuse, if they do.
    ground: PolicyGround,
}

impl Caller {
    /// Any caller, where no signature is checked: of this account in answers, and allowed everything.
    #[must_use]
    pub fn anyone(account: &str) -> Self {
        Self {
            who: CallerKind::Anyone(account.into()),
            region: None,
            origin: None,
        }
    }

    pub(super) const fn principal(principal: Arc<Principal>, region: Option<Arc<str>>) -> Self {
        Self {
            who: CallerKind::Principal(principal),
            region,
            origin: None,
        }
    }

    pub(super) fn session(session: Session, region: Option<Arc<str>>) -> Self {
        Self {
            who: CallerKind::Session(Arc::new(session)),
            region,
            origin: None,
        }
    }

    /// The same caller, whose request is of this origin.
    #[must_use]
    pub fn from_origin(self, origin: Origin) -> Self {
        Self {
            origin: Some(origin),
            ..self
        }
    }

    pub(super) const fn origin(&self) -> Option<&Origin> {
        self.origin.as_ref()
    }

    pub(super) fn region(&self) -> Option<&str> {
        self.region.as_deref()
    }

    /// Whether some policy that decides for the caller names a condition key.
    #[must_use]
    pub fn reads(&self, name: KeyName) -> bool {
        match &self.who {
            CallerKind::Anyone(_) => false,
            CallerKind::Principal(principal) => {
                principal.policies.iter().any(|policy| policy.reads(name))
            }
            CallerKind::Session(session) => session.reads(name),
        }
    }

    /// The name of a user of the credentials file.
    pub(super) fn user_name(&self) -> Option<&str> {
        match &self.who {
            CallerKind::Principal(principal) => Some(&principal.name),
            CallerKind::Session(session) => match &session.source {
                Source::User(principal) => Some(&principal.name),
                Source::Federated(..) | Source::Role(_) => None,
            },
            CallerKind::Anyone(_) => None,
        }
    }

    /// The session of a role, if it is one.
    pub(super) fn role(&self) -> Option<&RoleSession> {
        self.session_of()?.role()
    }

    /// Temporary credentials, if it has some.
    pub(super) fn session_of(&self) -> Option<&Session> {
        match &self.who {
            CallerKind::Anyone(_) | CallerKind::Principal(_) => None,
            CallerKind::Session(session) => Some(session),
        }
    }

    /// Whether the key that it signs with has no end of its own making: that of a principal, or of anyone.
    #[must_use]
    pub fn is_long_term(&self) -> bool {
        self.session_of().is_none()
    }

    /// The names by which a trust may know it, each with its kind.
    pub(super) fn trust_names(&self) -> Vec<String> {
        let mut names = vec![format!("AWS:{}", self.arn())];
        names.extend(
            self.role()
                .map(|session| format!("AWS:{}", session.role.arn())),
        );
        names
    }

    /// The key that it signs with, for as long as that is watched.
    #[must_use]
    pub fn held_key(&self) -> HeldKey {
        HeldKey {
            root: self.root().cloned(),
            role: self.role().map(|session| Arc::clone(&session.role)),
        }
    }

    /// When its temporary credentials were issued.
    pub(super) fn issued_s(&self) -> Option<u64> {
        self.session_of()?.issued_s
    }

    /// The tags of its session.
    pub(super) fn tags(&self) -> &[SessionTag] {
        self.role().map_or(&[], |role| &role.tags)
    }

    /// The person or program behind its session.
    pub(super) fn source_identity(&self) -> Option<&str> {
        self.role()?.source_identity.as_deref()
    }

    /// The principal whose key everything hangs on.
    pub(super) fn root(&self) -> Option<&Arc<Principal>> {
        match &self.who {
            CallerKind::Anyone(_) => None,
            CallerKind::Principal(principal) => Some(principal),
            CallerKind::Session(session) => Some(session.root()),
        }
    }

    /// The kind of the caller. Source: IAM User Guide, "IAM policy elements: Variables and tags", principal key values.
    pub(super) fn kind(&self) -> &'static str {
        match &self.who {
            CallerKind::Anyone(_) => "Anonymous",
            CallerKind::Principal(_) => "User",
            CallerKind::Session(session) => session.kind(),
        }
    }

    /// The account: 12 digits. What the caller creates belongs to it.
    #[must_use]
    pub fn account(&self) -> &str {
        match &self.who {
            CallerKind::Anyone(account) => account,
            CallerKind::Principal(principal) => &principal.account,
            CallerKind::Session(session) => session.account(),
        }
    }

    /// The name for logs: the principal's, that of the federated user, or role and session; `-` for anyone.
    #[must_use]
    pub fn name(&self) -> &str {
        match &self.who {
            CallerKind::Anyone(_) => "-",
            CallerKind::Principal(principal) => &principal.name,
            CallerKind::Session(session) => session.name(),
        }
    }

    /// Whether a signature proved who it is.
    #[must_use]
    pub const fn is_known(&self) -> bool {
        match &self.who {
            CallerKind::Anyone(_) => false,
            CallerKind::Principal(_) | CallerKind::Session(_) => true,
        }
    }

    /// The access key id that requests are signed with; `None` for anyone.
    #[must_use]
    pub fn access_key_id(&self) -> Option<&str> {
        match &self.who {
            CallerKind::Anyone(_) => None,
            CallerKind::Principal(principal) => Some(&principal.access_key_id),
            CallerKind::Session(session) => Some(session.key_id.as_str()),
        }
    }

    /// The access key id under which grants are sealed: the principal's own, or that of the parent. `None` for anyone.
    #[must_use]
    pub fn parent_access_key_id(&self) -> Option<&str> {
        self.root().map(|root| &*root.access_key_id)
    }

    /// The secret of that principal.
    #[must_use]
    pub fn parent_secret(&self) -> Option<&Secret> {
        self.root().map(|root| &root.secret)
    }

    /// When that principal ends, and with it whatever hangs on it; `None` is never.
    #[must_use]
    pub fn parent_expires_s(&self) -> Option<u64> {
        self.root()?.expires_s
    }

    /// The identity that tells callers of a channel apart where they share something: the access key id of a
    /// principal; account and name of a federated user or of the session of a role, and its client id, if its policy
    /// lets it connect by one alone.
    /// The holder of a key may choose any other client id, so those count for nothing. `None` for anyone.
    #[must_use]
    pub fn identity(&self) -> Option<impl Hash + '_> {
        match &self.who {
            CallerKind::Anyone(_) => None,
            CallerKind::Principal(principal) => Some((&*principal.access_key_id, "", None)),
            CallerKind::Session(session) => match &session.source {
                Source::User(principal) => Some((&*principal.access_key_id, "", None)),
                Source::Federated(..) | Source::Role(_) => {
                    Some((session.account(), session.name(), session.sole_client_id()))
                }
            },
        }
    }

    /// When the credentials end, in seconds since 1970 UTC; `None` is never.
    #[must_use]
    pub fn expires_s(&self) -> Option<u64> {
        match &self.who {
            CallerKind::Anyone(_) => None,
            CallerKind::Principal(principal) => principal.expires_s,
            CallerKind::Session(session) => Some(session.expires_s),
        }
    }

    /// The ARN that refusals and GetCallerIdentity name.
    #[must_use]
    pub fn arn(&self) -> String {
        let mut arn = String::new();
        let _ = self.write_arn(&mut arn); // a String takes all
        arn
    }

    /// The same in place.
    pub(super) fn short_arn(&self) -> ShortText {
        let mut arn = ShortText::new();
        let _ = self.write_arn(&mut arn); // 175 bytes at most: see the bounds of names
        arn
    }

    fn write_arn(&self, out: &mut impl Write) -> fmt::Result {
        match &self.who {
            CallerKind::Anyone(account) => write!(out, "arn:aws:iam::{account}:root"),
            CallerKind::Principal(principal) => principal.write_arn(out),
            CallerKind::Session(session) => session.write_arn(out),
        }
    }

    /// The ARN of the one who has the rights: of a role's session the role.
    pub(super) fn short_principal_arn(&self) -> ShortText {
        let Some(session) = self.role() else {
            return self.short_arn();
        };
        let mut arn = ShortText::new();
        let _ = session.role.write_arn(&mut arn); // 95 bytes at most
        arn
    }

    /// The `UserId` of GetCallerIdentity: `AIDA` and 16 characters of a principal, the same for as long as its account
    /// and name are; `<account>:<name>` of a federated user; `AROA` and 16 characters of a role with the session's name
    /// behind a colon; the account of anyone.
    ///
    /// Source: IAM User Guide, "Unique identifiers"; STS API Reference, "GetFederationToken", `FederatedUserId`.
    #[must_use]
    pub fn user_id(&self) -> String {
        self.short_user_id().as_str().to_owned()
    }

    /// The same in place.
    pub(super) fn short_user_id(&self) -> ShortText {
        let of_principal = |principal: &Principal| {
            let mut room = [0; 16];
            let mut arn = ShortText::new();
            let _ = principal.write_arn(&mut arn); // 95 bytes at most
            let id = unique_id(arn.as_str(), &mut room);
            ShortText::of(format_args!("AIDA{id}"))
        };
        match &self.who {
            CallerKind::Anyone(account) => ShortText::of(format_args!("{account}")),
            CallerKind::Principal(principal) => of_principal(principal),
            CallerKind::Session(session) => match &session.source {
                Source::User(principal) => of_principal(principal),
                Source::Federated(parent, name) => {
                    ShortText::of(format_args!("{}:{name}", parent.account))
                }
                Source::Role(RoleSession { role, name, .. }) => {
                    let mut room = [0; 16];
                    let mut arn = ShortText::new();
                    let _ = role.write_arn(&mut arn); // 95 bytes at most
                    let id = unique_id(arn.as_str(), &mut room);
                    ShortText::of(format_args!("AROA{id}:{name}"))
                }
            },
        }
    }

    /// Whether the caller may do this. GetCallerIdentity always; GetFederationToken never with temporary credentials.
    ///
    /// A caller whose rights depend on tags of a channel that lives elsewhere is allowed to ask there: see
    /// [`Self::reads`].
    pub fn decide(&self, question: &PolicyQuestion<'_>) -> Ruling {
        let context = Asked {
            caller: self,
            question,
        };
        let request = context.request();
        let (mut steps, mut ground) = (0, PolicyGround::default());
        let decision = match &self.who {
            _ if question.action == Action::GetCallerIdentity => Decision::Allow,
            CallerKind::Anyone(_) => Decision::Allow,
            CallerKind::Principal(principal) => {
                principal.decide_with_ground(&request, &mut steps, &mut ground.statement)
            }
            CallerKind::Session(session) => session.decide(&request, &mut steps, &mut ground),
        };
        let denied = match decision {
            Decision::Allow | Decision::Open => None,
            Decision::Deny => Some(Check::PolicyExplicitDeny),
            Decision::NoMatch => Some(Check::PolicyNoAllow),
        };
        Ruling {
            denied,
            steps,
            ground,
        }
    }

    /// The policy and the statement that refuse, for operators alone; `None` where nothing was refused.
    #[must_use]
    pub fn ground_of(&self, ruling: &Ruling) -> Option<Box<str>> {
        ruling.denied?;
        let PolicyGround {
            of_session,
            statement,
        } = ruling.ground;
        let (name, policies) = match &self.who {
            CallerKind::Anyone(_) => return None,
            CallerKind::Principal(principal) => (&*principal.name, &*principal.policies),
            CallerKind::Session(session) if of_session => ("", session.scope.policies()),
            CallerKind::Session(session) => (session.source_name(), session.policies()),
        };
        let text = match statement {
            Some((place, ground)) => {
                let policy = policies.get(place)?;
                let number = ground.statement;
                let name = policy_name(policy);
                match policy.failed_key(ground) {
                    None => format!("{name}, statement {number}, denies it"),
                    Some(key) => format!(
                        "{name}, statement {number}, allows it, but its condition on {key} does not hold"
                    ),
                }
            }
            None if of_session => {
                "the session's policy has no statement for this action on this resource".to_owned()
            }
            None if policies.is_empty() => format!("{name} has no policy"),
            None => {
                let names: Vec<&str> = policies.iter().map(|it| policy_name(it)).collect();
                let names = names.join(", ");
                format!("{names}: no statement for this action on this resource")
            }
        };
        Some(text.into())
    }

    /// The text for a caller without permission. Source: AWS, "Troubleshoot access denied error messages".
    #[must_use]
    pub fn denial(&self, action: Action, resource: &str) -> String {
        format!(
            "User: {} is not authorized to perform: {} on resource: {resource}",
            self.arn(),
            action.as_str()
        )
    }

    /// Whether a channel of this ARN can exist for the caller: of this region and the caller's account. Any other
    /// looks absent.
    #[must_use]
    pub fn sees(&self, arn: &ChannelArn) -> bool {
        let of_region = self
            .region
            .as_deref()
            .is_none_or(|region| region == arn.region());
        let of_account = match &self.who {
            CallerKind::Anyone(_) => true,
            CallerKind::Principal(_) | CallerKind::Session(_) => self.account() == arn.account(),
        };
        of_region && of_account
    }
}

/// The ARN of a federated user: the resource of GetFederationToken, and the caller that uses its token.
#[must_use]
pub fn federated_user_arn(account: &str, name: &str) -> String {
    format!("arn:aws:sts::{account}:federated-user/{name}")
}

/// The name of a policy, as operators know it.
fn policy_name(policy: &Policy) -> &str {
    match policy.name() {
        "" => "the session's policy",
        name => name,
    }
}

/// 16 characters that are the same for as long as the ARN is.
pub(super) fn unique_id<'r>(arn: &str, room: &'r mut [u8; 16]) -> &'r str {
    let hash = digest(&SHA256, arn.as_bytes());
    let (bytes, _) = hash.as_ref().split_first_chunk().unwrap_or((&[0; 10], &[]));
    BASE32.encode_mut(bytes, room);
    std::str::from_utf8(room).unwrap_or_default()
}

/// The id of a role's session: that of the role, a colon and the session's name.
#[must_use]
pub fn assumed_role_id(role_arn: &str, session_name: &str) -> String {
    let mut room = [0; 16];
    format!("AROA{}:{session_name}", unique_id(role_arn, &mut room))
}
