//! The caller of a verified request.

use super::principal::{Principal, Secret};
use super::question::{Asked, Origin, PolicyQuestion};
use super::session_keys::ACCESS_KEY_ID_BYTES;
use crate::check::Check;
use aws_lc_rs::digest::{SHA256, digest};
use codec::aws::ChannelArn;
use codec::aws::policy::{Action, Decision, Ground, KeyName, Policy, Request, ShortText};
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
    /// Temporary credentials that a principal asked for.
    Session(Arc<Session>),
}

/// The identity and the rights that temporary credentials grant.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) parent: Arc<Principal>,
    pub(super) name: String,
    pub(super) key_id: SessionKeyId,
    /// `None`: no rights.
    pub(super) policy: Option<Policy>,
    /// The earlier end of the grant and its parent.
    pub(super) expires_s: u64,
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

/// The policy and the statement that refuse.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct PolicyGround {
    /// It is that of the session, which its parent would allow.
    of_session: bool,
    /// The place of a principal's policy, and the statement.
    statement: Option<(usize, Ground)>,
}

impl Session {
    /// The decision of the session and its parent together: each must allow, none may deny.
    fn decide(
        &self,
        request: &Request<'_>,
        steps: &mut u64,
        ground: &mut PolicyGround,
    ) -> Decision {
        let mut of_own = None;
        let own = self.policy.as_ref().map_or(Decision::NoMatch, |policy| {
            policy.decide_with_ground(request, steps, &mut of_own)
        });
        *ground = PolicyGround {
            of_session: true,
            statement: of_own.map(|ground| (0, ground)),
        };
        if own == Decision::Deny {
            return own;
        }
        let mut of_parent = None;
        let parent = (self.parent).decide_with_ground(request, steps, &mut of_parent);
        if matches!(parent, Decision::Deny | Decision::NoMatch) {
            *ground = PolicyGround {
                of_session: false,
                statement: of_parent,
            };
        }
        match parent {
            Decision::Deny => Decision::Deny,
            Decision::NoMatch => Decision::NoMatch,
            _ if request.action == Action::GetFederationToken => Decision::NoMatch,
            Decision::Open if own == Decision::Allow => Decision::Open,
            Decision::Allow | Decision::Open => own,
        }
    }
}

/// The access key id of temporary credentials, which all have the same length: no memory is taken for it.
#[derive(Clone, Copy, Debug)]
pub(super) struct SessionKeyId([u8; ACCESS_KEY_ID_BYTES]);

impl SessionKeyId {
    /// An id that was found to be one of ours.
    pub(super) fn of(id: &str) -> Self {
        let bytes = id.as_bytes().first_chunk();
        Self(bytes.copied().unwrap_or([b'-'; ACCESS_KEY_ID_BYTES]))
    }

    fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
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
        let (principal, policy) = match &self.who {
            CallerKind::Anyone(_) => return false,
            CallerKind::Principal(principal) => (principal, None),
            CallerKind::Session(session) => (&session.parent, session.policy.as_ref()),
        };
        let own = policy.is_some_and(|policy| policy.reads(name));
        own || principal.policies.iter().any(|policy| policy.reads(name))
    }

    /// The name of a user of the credentials file.
    pub(super) fn user_name(&self) -> Option<&str> {
        match &self.who {
            CallerKind::Principal(principal) => Some(&principal.name),
            CallerKind::Anyone(_) | CallerKind::Session(_) => None,
        }
    }

    /// The kind of the caller. Source: IAM User Guide, "IAM policy elements: Variables and tags", principal key values.
    pub(super) const fn kind(&self) -> &'static str {
        match &self.who {
            CallerKind::Anyone(_) => "Anonymous",
            CallerKind::Principal(_) => "User",
            CallerKind::Session(_) => "FederatedUser",
        }
    }

    /// The account: 12 digits. What the caller creates belongs to it.
    #[must_use]
    pub fn account(&self) -> &str {
        match &self.who {
            CallerKind::Anyone(account) => account,
            CallerKind::Principal(principal) => &principal.account,
            CallerKind::Session(session) => &session.parent.account,
        }
    }

    /// The name for logs: the principal's, or that of the federated user; `-` for anyone.
    #[must_use]
    pub fn name(&self) -> &str {
        match &self.who {
            CallerKind::Anyone(_) => "-",
            CallerKind::Principal(principal) => &principal.name,
            CallerKind::Session(session) => &session.name,
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
        match &self.who {
            CallerKind::Anyone(_) => None,
            CallerKind::Principal(principal) => Some(&principal.access_key_id),
            CallerKind::Session(session) => Some(&session.parent.access_key_id),
        }
    }

    /// The secret of that principal.
    #[must_use]
    pub fn parent_secret(&self) -> Option<&Secret> {
        match &self.who {
            CallerKind::Anyone(_) => None,
            CallerKind::Principal(principal) => Some(&principal.secret),
            CallerKind::Session(session) => Some(&session.parent.secret),
        }
    }

    /// The identity that tells callers of a channel apart where they share something: the access key id of a
    /// principal; account and name of a federated user, and its client id, if its policy lets it connect by one alone.
    /// The holder of a key may choose any other client id, so those count for nothing. `None` for anyone.
    #[must_use]
    pub fn identity(&self) -> Option<impl Hash + '_> {
        match &self.who {
            CallerKind::Anyone(_) => None,
            CallerKind::Principal(principal) => Some((&*principal.access_key_id, "", None)),
            CallerKind::Session(session) => {
                let policy = session.policy.as_ref();
                let id = policy.and_then(|policy| policy.sole_client_id(Action::ConnectAsViewer));
                Some((&*session.parent.account, &*session.name, id))
            }
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
        let _ = self.write_arn(&mut arn); // 95 bytes at most: see the bounds of names
        arn
    }

    fn write_arn(&self, out: &mut impl Write) -> fmt::Result {
        match &self.who {
            CallerKind::Anyone(account) => write!(out, "arn:aws:iam::{account}:root"),
            CallerKind::Principal(principal) => principal.write_arn(out),
            CallerKind::Session(session) => {
                let (account, name) = (&session.parent.account, &session.name);
                write!(out, "arn:aws:sts::{account}:federated-user/{name}")
            }
        }
    }

    /// The `UserId` of GetCallerIdentity: `AIDA` and 16 characters of a principal, the same for as long as its account
    /// and name are; `<account>:<name>` of a federated user; the account of anyone.
    ///
    /// Source: IAM User Guide, "Unique identifiers"; STS API Reference, "GetFederationToken", `FederatedUserId`.
    #[must_use]
    pub fn user_id(&self) -> String {
        self.short_user_id().as_str().to_owned()
    }

    /// The same in place.
    pub(super) fn short_user_id(&self) -> ShortText {
        match &self.who {
            CallerKind::Anyone(account) => ShortText::of(format_args!("{account}")),
            CallerKind::Principal(_) => {
                let hash = digest(&SHA256, self.short_arn().as_str().as_bytes());
                let (bytes, _) = hash.as_ref().split_first_chunk().unwrap_or((&[0; 10], &[]));
                let mut id = [0; 16];
                BASE32.encode_mut(bytes, &mut id);
                ShortText::of(format_args!("AIDA{}", id.escape_ascii()))
            }
            CallerKind::Session(session) => {
                ShortText::of(format_args!("{}:{}", session.parent.account, session.name))
            }
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
        let request = Request {
            action: question.action,
            resource: question.resource,
            client_id: question.client_id,
            context: &context,
        };
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
        let (principal, session) = match &self.who {
            CallerKind::Anyone(_) => return None,
            CallerKind::Principal(principal) => (principal, None),
            CallerKind::Session(session) => {
                let own = session.policy.as_ref().filter(|_| of_session);
                (&session.parent, own)
            }
        };
        let text = match statement {
            Some((place, ground)) => {
                let of_principal = || principal.policies.get(place).map(|policy| &**policy);
                let policy = session.or_else(of_principal)?;
                let name = if of_session {
                    "the session's policy"
                } else {
                    policy.name()
                };
                let number = ground.statement;
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
            None if principal.policies.is_empty() => {
                format!("{} has no policy", principal.name)
            }
            None => {
                let names: Vec<&str> = principal.policies.iter().map(|it| it.name()).collect();
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
