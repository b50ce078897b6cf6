//! The callers of requests, with their permissions, ARNs and ids. For operators' queries, callers can be simulated.

use crate::auth::connection_caller::{HeldCaller, HeldKind};
use crate::auth::grant::SessionTag;
use crate::auth::policy_question::{CallerQuestion, Origin, PolicyQuestion};
use crate::auth::principal::{
    Principal, Role, decide_all, policy_name, policy_names, refusing_statement,
};
use crate::auth::session::{
    PolicyGround, RoleSession, Root, Session, SessionKeyId, SessionScope, Source,
};
use crate::auth::sign_in::SignIn;
use crate::check::Check;
use aws_lc_rs::digest::{SHA256, digest};
use codec::identifiers::ChannelArn;
use codec::policy::{Action, Decision, KeyName, ShortText};
use data_encoding::BASE32;
use std::fmt::{self, Write};
use std::hash::Hash;
use std::sync::Arc;

/// An authenticated caller, or an anonymous one if signatures are not required.
///
/// Cheap to clone. A caller moves to the shard that owns the channel, along with its connection. It keeps its
/// credentials when the credentials file is replaced.
#[derive(Clone, Debug)]
pub struct Caller {
    who: CallerKind,
    region: Option<Arc<str>>,
    origin: Option<Origin>,
}

#[derive(Clone, Debug)]
enum CallerKind {
    /// A caller whose requests are unsigned. Treated as belonging to this account.
    Anyone(Arc<str>),
    Principal(Arc<Principal>),
    Session(Arc<Session>),
    /// A caller that is signing in and has no credentials yet.
    SigningIn(Arc<SigningIn>),
}

/// A caller that is signing in. Such a caller can only start a role session.
#[derive(Debug)]
struct SigningIn {
    sign_in: Arc<SignIn>,
    account: Box<str>,
    label: String,
}

/// The result of evaluating a caller's policies for a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Ruling {
    /// The check that failed, or `None` if the request is allowed. Also `None` if the decision depends on the tags of a
    /// channel that belongs to another shard.
    pub denied: Option<Check>,
    /// Cost of the decision; see [`codec::policy::Policy::decide`].
    pub steps: u64,
    /// The policy and the statement that refuse the request, if any.
    ground: PolicyGround,
}

impl Caller {
    const fn of(who: CallerKind, region: Option<Arc<str>>) -> Self {
        Self {
            who,
            region,
            origin: None,
        }
    }

    /// Creates an anonymous caller that belongs to this account and may perform any action.
    #[must_use]
    pub fn anyone(account: &str) -> Self {
        Self::of(CallerKind::Anyone(account.into()), None)
    }

    /// Creates the caller for a principal whose signature has been verified.
    #[must_use]
    pub const fn principal(principal: Arc<Principal>, region: Option<Arc<str>>) -> Self {
        Self::of(CallerKind::Principal(principal), region)
    }

    pub(crate) const fn session(session: Arc<Session>, region: Option<Arc<str>>) -> Self {
        Self::of(CallerKind::Session(session), region)
    }

    /// Creates the caller for a sign-in that has no credentials yet.
    #[must_use]
    pub fn signing_in(sign_in: SignIn, account: &str, region: Option<Arc<str>>) -> Self {
        let label = sign_in.label();
        let signing_in = SigningIn {
            sign_in: Arc::new(sign_in),
            account: account.into(),
            label,
        };
        Self::of(CallerKind::SigningIn(Arc::new(signing_in)), region)
    }

    /// Sets the origin of the request.
    #[must_use]
    pub fn from_origin(self, origin: Origin) -> Self {
        Self {
            origin: Some(origin),
            ..self
        }
    }

    pub(crate) const fn origin(&self) -> Option<&Origin> {
        self.origin.as_ref()
    }

    pub(crate) fn region(&self) -> Option<&str> {
        self.region.as_deref()
    }

    /// Returns `true` if any applicable policy tests this condition key.
    #[must_use]
    pub fn reads(&self, name: KeyName) -> bool {
        match &self.who {
            CallerKind::Anyone(_) => false,
            CallerKind::SigningIn(_) => true, // the trust policies decide, and they have not been looked up yet
            CallerKind::Principal(principal) => {
                principal.policies.iter().any(|policy| policy.reads(name))
            }
            CallerKind::Session(session) => session.reads(name),
        }
    }

    pub(crate) fn user_name(&self) -> Option<&str> {
        match &self.who {
            CallerKind::Principal(principal) => Some(&principal.name),
            CallerKind::Session(session) => match &session.source {
                Source::User(principal) => Some(&principal.name),
                Source::Federated(..) | Source::Role(_) => None,
            },
            CallerKind::Anyone(_) | CallerKind::SigningIn(_) => None,
        }
    }

    pub(crate) fn role(&self) -> Option<&RoleSession> {
        self.session_of()?.role()
    }

    pub(crate) fn session_of(&self) -> Option<&Session> {
        match &self.who {
            CallerKind::Anyone(_) | CallerKind::Principal(_) | CallerKind::SigningIn(_) => None,
            CallerKind::Session(session) => Some(session),
        }
    }

    /// Returns the token or certificate with which the caller signed in, whether or not it has been issued credentials.
    #[must_use]
    pub fn sign_in(&self) -> Option<&SignIn> {
        match &self.who {
            CallerKind::Anyone(_) | CallerKind::Principal(_) => None,
            CallerKind::Session(session) => session.sign_in().map(Arc::as_ref),
            CallerKind::SigningIn(signing_in) => Some(&signing_in.sign_in),
        }
    }

    /// Returns the token or certificate of a caller that has no credentials yet.
    pub(crate) fn signing_in_by(&self) -> Option<&SignIn> {
        self.sign_in().filter(|_| self.signs_in())
    }

    pub(crate) const fn signs_in(&self) -> bool {
        matches!(self.who, CallerKind::SigningIn(_))
    }

    /// Returns the ARN of the role alias that a device requests; `None` if the caller is not a device signing in.
    pub(crate) fn source_arn(&self) -> Option<ShortText> {
        let CallerKind::SigningIn(signing_in) = &self.who else {
            return None;
        };
        let SignIn::Thing(thing) = &*signing_in.sign_in else {
            return None;
        };
        let SigningIn { account, .. } = &**signing_in;
        let (region, alias) = (self.region().unwrap_or_default(), &thing.alias);
        Some(ShortText::of(format_args!(
            "arn:aws:iot:{region}:{account}:rolealias/{alias}"
        )))
    }

    /// Returns `true` if the caller is anonymous or signs with a long-term key.
    #[must_use]
    pub fn is_long_term(&self) -> bool {
        self.session_of().is_none() && !self.signs_in()
    }

    /// Returns the names by which trust policies can refer to the caller, each prefixed with its kind.
    pub(crate) fn trust_names(&self) -> Vec<String> {
        if let CallerKind::SigningIn(signing_in) = &self.who {
            return vec![signing_in.sign_in.trust_name()];
        }
        let mut names = vec![format!("AWS:{}", self.arn())];
        names.extend(
            self.role()
                .map(|session| format!("AWS:{}", session.role.arn())),
        );
        names
    }

    /// Returns the compact form of the caller that is stored with an open connection or a pending device request.
    /// Returns `None` if the caller has no credentials.
    #[must_use]
    pub fn held(&self) -> Option<HeldCaller> {
        let held = HeldCaller(match &self.who {
            CallerKind::Anyone(_) | CallerKind::SigningIn(_) => return None,
            CallerKind::Principal(principal) => HeldKind::Principal(Arc::clone(principal)),
            CallerKind::Session(session) => HeldKind::Session(Arc::clone(session)),
        });
        let headers = self.origin().and_then(|origin| origin.headers.clone());
        Some(match headers {
            Some(headers) => held.with_headers(headers),
            None => held,
        })
    }

    pub(crate) fn issued_s(&self) -> Option<u64> {
        self.session_of()?.issued_s
    }

    pub(crate) fn tags(&self) -> &[SessionTag] {
        self.role().map_or(&[], |role| &role.tags)
    }

    pub(crate) fn source_identity(&self) -> Option<&str> {
        self.role()?.source_identity.as_deref()
    }

    /// Returns the root of a session that the caller starts. If the caller uses a session itself, both sessions have
    /// the same root. Otherwise, the root is the caller's key or sign-in.
    pub(crate) fn root(&self) -> Option<Root> {
        match &self.who {
            CallerKind::Anyone(_) => None,
            CallerKind::SigningIn(signing_in) => {
                Some(Root::SignIn(Arc::clone(&signing_in.sign_in)))
            }
            CallerKind::Principal(principal) => Some(Root::Principal(Arc::clone(principal))),
            CallerKind::Session(session) => Some(session.root()),
        }
    }

    /// Returns the principal type. Source: IAM User Guide, "IAM policy elements: Variables and tags".
    pub(crate) fn kind(&self) -> &'static str {
        match &self.who {
            CallerKind::Anyone(_) => "Anonymous",
            CallerKind::Principal(_) => "User",
            CallerKind::Session(session) => session.kind(),
            CallerKind::SigningIn(signing_in) => signing_in.sign_in.kind(),
        }
    }

    /// Returns the account id (12 digits). Resources that the caller creates belong to this account.
    #[must_use]
    pub fn account(&self) -> &str {
        match &self.who {
            CallerKind::Anyone(account) => account,
            CallerKind::Principal(principal) => &principal.account,
            CallerKind::Session(session) => session.account(),
            CallerKind::SigningIn(signing_in) => &signing_in.account,
        }
    }

    /// Returns the name used in logs: the principal, `federated-user/NAME`, the role session or the sign-in; `-` for an
    /// anonymous caller.
    #[must_use]
    pub fn name(&self) -> &str {
        match &self.who {
            CallerKind::Anyone(_) => "-",
            CallerKind::Principal(principal) => &principal.name,
            CallerKind::Session(session) => session.name(),
            CallerKind::SigningIn(signing_in) => &signing_in.label,
        }
    }

    /// Returns `true` if the caller is authenticated.
    #[must_use]
    pub const fn is_known(&self) -> bool {
        match &self.who {
            CallerKind::Anyone(_) => false,
            CallerKind::Principal(_) | CallerKind::Session(_) | CallerKind::SigningIn(_) => true,
        }
    }

    /// Returns the access key id that signed the request; `None` for unsigned requests.
    #[must_use]
    pub fn access_key_id(&self) -> Option<&str> {
        match &self.who {
            CallerKind::Anyone(_) | CallerKind::SigningIn(_) => None,
            CallerKind::Principal(principal) => Some(&principal.access_key_id),
            CallerKind::Session(session) => Some(session.key_id.as_str()),
        }
    }

    /// Returns the time at which the credentials expire, in seconds since 1970 UTC; `None` if they do not expire.
    #[must_use]
    pub fn expires_s(&self) -> Option<u64> {
        match &self.who {
            CallerKind::Anyone(_) | CallerKind::SigningIn(_) => None,
            CallerKind::Principal(principal) => principal.expires_s,
            CallerKind::Session(session) => Some(session.expires_s),
        }
    }

    /// Evaluates the caller's policies for a request. GetCallerIdentity is always allowed. GetFederationToken is never
    /// allowed with temporary credentials.
    ///
    /// If the decision depends on the tags of a channel that belongs to another shard, the request is allowed here and
    /// evaluated again on that shard; see [`Self::reads`].
    pub fn decide(&self, question: &PolicyQuestion<'_>) -> Ruling {
        let context = CallerQuestion {
            caller: self,
            question,
        };
        let request = context.request();
        let (mut steps, mut ground) = (0, PolicyGround::default());
        let decision = match &self.who {
            _ if question.action == Action::GetCallerIdentity => Decision::Allow,
            CallerKind::Anyone(_) => Decision::Allow,
            CallerKind::Principal(principal) => decide_all(
                &principal.policies,
                &request,
                &mut steps,
                &mut ground.statement,
            ),
            CallerKind::Session(session) => session.decide(&request, &mut steps, &mut ground),
            CallerKind::SigningIn(_) => Decision::NoMatch,
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

    /// Returns the policy and the statement that caused the refusal. Shown to operators only.
    #[must_use]
    pub fn ground_of(&self, ruling: &Ruling) -> Option<Box<str>> {
        ruling.denied?;
        let PolicyGround {
            of_session,
            of_keys,
            statement,
        } = ruling.ground;
        if of_keys {
            let text = "temporary keys of this kind may not call it, whatever policies allow: sign with a \
                        principal's";
            return Some(text.into());
        }
        let (name, policies) = match &self.who {
            CallerKind::Anyone(_) | CallerKind::SigningIn(_) => return None,
            CallerKind::Principal(principal) => (&*principal.name, &*principal.policies),
            CallerKind::Session(session) if of_session => ("", session.scope.policies()),
            CallerKind::Session(session) => (session.owner().name, session.owner().policies),
        };
        let text = refusing_statement(policies, statement).unwrap_or_else(|| match policies {
            _ if of_session => {
                "the session's policy has no statement for this action on this resource".to_owned()
            }
            [] => format!("{name} has no policy"),
            some => {
                let names = policy_names(some);
                format!("{names}: no statement for this action on this resource")
            }
        });
        Some(text.into())
    }

    /// Returns the error message for a denied request. Source: AWS, "Troubleshoot access denied error messages".
    #[must_use]
    pub fn denial(&self, action: Action, resource: &str) -> String {
        if self.signs_in() {
            return format!("Not authorized to perform {}", action.as_str());
        }
        format!(
            "User: {} is not authorized to perform: {} on resource: {resource}",
            self.arn(),
            action.as_str()
        )
    }

    /// Returns `true` if the ARN is in the server's region and the caller's account. Channels with any other ARN are
    /// reported as nonexistent.
    #[must_use]
    pub fn sees(&self, arn: &ChannelArn) -> bool {
        let of_region = self
            .region
            .as_deref()
            .is_none_or(|region| region == arn.region());
        let of_account = match &self.who {
            CallerKind::Anyone(_) => true,
            CallerKind::Principal(_) | CallerKind::Session(_) => self.account() == arn.account(),
            CallerKind::SigningIn(_) => false,
        };
        of_region && of_account
    }
}

impl Caller {
    /// Returns the identity under which the caller counts towards a channel's limits; `None` for anonymous callers.
    ///
    /// A principal is identified by its access key id. A federated user or a role session is identified by its account
    /// and name, and also by its client id if its policy permits exactly one. Otherwise the client id is ignored,
    /// because the holder of the key can choose it freely.
    #[must_use]
    pub fn identity(&self) -> Option<impl Hash + '_> {
        match &self.who {
            CallerKind::Anyone(_) => None,
            CallerKind::SigningIn(signing_in) => {
                Some((&*signing_in.account, &*signing_in.label, None))
            }
            CallerKind::Principal(principal) => Some((&*principal.access_key_id, "", None)),
            CallerKind::Session(session) => match &session.source {
                Source::User(principal) => Some((&*principal.access_key_id, "", None)),
                Source::Federated(..) | Source::Role(_) => {
                    Some((session.account(), session.name(), session.sole_client_id()))
                }
            },
        }
    }

    /// Returns the ARN that appears in refusals and in responses to GetCallerIdentity.
    #[must_use]
    pub fn arn(&self) -> String {
        let mut arn = String::new();
        let _ = self.write_arn(&mut arn); // writing to a String cannot fail
        arn
    }

    fn short_arn(&self) -> ShortText {
        let mut arn = ShortText::new();
        let _ = self.write_arn(&mut arn); // at most 175 bytes: see the bounds of names
        arn
    }

    fn write_arn(&self, out: &mut impl Write) -> fmt::Result {
        match &self.who {
            CallerKind::Anyone(account) => write!(out, "arn:aws:iam::{account}:root"),
            CallerKind::Principal(principal) => out.write_str(principal.short_arn().as_str()),
            CallerKind::Session(session) => session.write_arn(out),
            CallerKind::SigningIn(signing_in) => out.write_str(&signing_in.label),
        }
    }

    /// Returns the ARN of the principal whose policies apply. For a role session, that is the ARN of the role.
    pub(crate) fn short_principal_arn(&self) -> ShortText {
        self.role()
            .map_or_else(|| self.short_arn(), |session| session.role.short_arn())
    }

    /// Returns the `UserId` that GetCallerIdentity reports.
    ///
    /// For a principal, the id is `AIDA` followed by 16 characters derived from its account and name. For a federated
    /// user, it is `<account>:<name>`. For a role session, it is `AROA` followed by 16 characters, a colon and the
    /// session name. For an anonymous caller, it is the account.
    ///
    /// Source: IAM User Guide, "Unique identifiers"; STS API Reference, "GetFederationToken", `FederatedUserId`.
    #[must_use]
    pub fn user_id(&self) -> String {
        self.short_user_id().as_str().to_owned()
    }

    pub(crate) fn short_user_id(&self) -> ShortText {
        let of_principal = |principal: &Principal| {
            let id = unique_id(principal.short_arn().as_str());
            ShortText::of(format_args!("AIDA{}", id.as_str()))
        };
        match &self.who {
            CallerKind::Anyone(account) => ShortText::of(format_args!("{account}")),
            CallerKind::SigningIn(_) => ShortText::new(),
            CallerKind::Principal(principal) => of_principal(principal),
            CallerKind::Session(session) => match &session.source {
                Source::User(principal) => of_principal(principal),
                Source::Federated(parent, label) => {
                    let name = label.strip_prefix(FEDERATED_USER).unwrap_or_default();
                    ShortText::of(format_args!("{}:{name}", parent.account))
                }
                Source::Role(RoleSession { role, name, .. }) => {
                    let id = unique_id(role.short_arn().as_str());
                    ShortText::of(format_args!("AROA{}:{name}", id.as_str()))
                }
            },
        }
    }
}

/// Returns the ARN of a federated user. It is the resource of a GetFederationToken request, and it identifies the
/// holder of the token.
#[must_use]
pub fn federated_user_arn(account: &str, name: &str) -> String {
    format!("arn:aws:sts::{account}:{FEDERATED_USER}{name}")
}

/// The prefix that distinguishes federated users from principals in ARNs and logs.
pub(crate) const FEDERATED_USER: &str = "federated-user/";

fn unique_id(arn: &str) -> ShortText {
    let hash = digest(&SHA256, arn.as_bytes());
    let (bytes, _) = hash
        .as_ref()
        .split_first_chunk::<10>()
        .unwrap_or((&[0; 10], &[]));
    ShortText::of(format_args!("{}", BASE32.encode_display(bytes)))
}

/// Returns the id of a role session: the role's id, a colon and the session name.
#[must_use]
pub fn assumed_role_id(role_arn: &str, session_name: &str) -> String {
    format!("AROA{}:{session_name}", unique_id(role_arn).as_str())
}

impl Caller {
    /// Creates a role session for an operator's query, as if the trust policy had admitted the caller. The caller is
    /// `sign_in` or, without a sign-in, a principal of the role's account.
    #[must_use]
    pub fn supposed_session(
        role: Arc<Role>,
        sign_in: Option<SignIn>,
        issued_s: u64,
        region: Option<Arc<str>>,
    ) -> Self {
        let root = match sign_in {
            Some(sign_in) => Root::SignIn(Arc::new(sign_in)),
            None => Root::Principal(Arc::new(Principal {
                account: role.account.clone(),
                ..Principal::default()
            })),
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
            scope: SessionScope::All,
            key_id: SessionKeyId::of(""),
            issued_s: Some(issued_s),
            expires_s: u64::MAX,
        };
        Self::session(Arc::new(session), region)
    }

    /// Returns the first policy and statement that allow the request. Returns `None` if no statement allows it. Also
    /// returns `None` if the caller has no policies, because it is anonymous or still signing in.
    #[must_use]
    pub fn allowed_by(&self, question: &PolicyQuestion<'_>) -> Option<Box<str>> {
        let policies = match &self.who {
            CallerKind::Anyone(_) | CallerKind::SigningIn(_) => return None,
            CallerKind::Principal(principal) => &*principal.policies,
            CallerKind::Session(session) => session.owner().policies,
        };
        let asked = CallerQuestion {
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

const SESSION_NAME: &str = "policy-test";
