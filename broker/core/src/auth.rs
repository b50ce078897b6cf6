//! Authentication and authorization of callers: principals, roles, temporary credentials and signature verification.
//!
//! # Theory of operation
//! ```text
//! request ─ Authenticator::check ──▶ Caller ─ decide(question) ──▶ allowed | the check that failed
//!              │                       │ policies of the principal or role, and session policies of temporary
//!              │                       │ credentials: each must allow, none may deny
//!              ├ Credentials: the parsed file; one snapshot for all shards, replaced as a whole
//!              └ SessionKeys: temporary credentials carry their encrypted grant in their token
//! ```
//! Checks run in a fixed order. This module checks the signature, the token and the expiry; the code that handles the
//! request then evaluates policies and checks whether the resource exists. This module uses no clock, I/O or
//! randomness: times, file contents and nonces are passed as arguments.

mod assume_role;
mod caller;
mod connection_caller;
mod credentials;
mod device_registry;
mod devices;
#[cfg(test)]
pub(crate) mod fixtures;
mod grant;
pub(crate) mod grant_rates;
#[cfg(test)]
mod model_tests;
mod policy_question;
mod principal;
pub mod provider;
mod provider_token;
mod recheck;
mod session;
mod session_keys;
mod sign_in;

use crate::refusal::{ErrorCode, Refusal};
use crate::{check::Check, limits::SIGNING_KEYS_PER_SHARD_MAX};
pub(crate) use assume_role::SESSION_TOO_LONG;
pub use assume_role::{Assumption, assume};
use caller::FEDERATED_USER;
pub use caller::{Caller, Ruling, assumed_role_id, federated_user_arn};
use codec::http::Head;
use codec::sigv4::{
    self, AccessKey, RequestRules, Scope as SignatureScope, Service, SignedAs, SigningKeys,
    Verifier,
};
use codec::whep;
pub use connection_caller::{Gone, HeldCaller, InForce, SharedSessions};
pub use credentials::Credentials;
pub use devices::{
    DeviceRegistry, DeviceRegistryError, Identified, RoleAlias, SignIns, ThingAuthority,
    ThingRefusal, Things, alias_arn, certificate_id,
};
pub use grant::{Grant, GrantHolder, GrantRoot, OpenedToken, RoleGrant, SessionTag};
pub use policy_question::{
    Assumed, Origin, OriginHeaders, PolicyQuestion, RequestTags, ResourceTags,
};
pub use principal::{Principal, Role, Secret};
pub use recheck::{Recheck, RecheckSum};
pub(crate) use session::Root;
use session::{RoleSession, Session, SessionKeyId, SessionScope, Source};
pub use session_keys::{NONCE_BYTES, Nonces, SealError, SessionKeys, TOKEN_BYTES_MAX, Temporary};
pub use sign_in::{Claim, PROVIDER_BYTES_MAX, SignIn, ThingIdentity, Vouched, WebIdentity};
use std::fmt;
use std::sync::Arc;

/// Signature requirements configured by the operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignatureRules {
    /// The region of the server's channels, which a request's credential scope must name. `None` accepts any region.
    pub region: Option<Arc<str>>,
    /// Maximum clock skew of a caller, in seconds.
    pub clock_tolerance_s: u64,
    /// Disables two extensions to the AWS rules: clock tolerances for individual principals, and empty session tokens
    /// in requests whose key needs no token.
    pub strict: bool,
}

/// Verifies signatures. Each shard has its own instance, with its own buffers and derived keys.
pub struct Authenticator {
    rules: SignatureRules,
    verifier: Verifier,
    keys: SigningKeys,
    credentials: Arc<Credentials>,
    session_keys: Arc<SessionKeys>,
}

#[derive(Clone, Copy)]
enum Signing<'a> {
    Call(Service),
    Upgrade,
    /// A player's request, authenticated by this token.
    Player(&'a str),
}

/// The owner of the access key in a request, before the request's signature has been verified.
enum Signer {
    Principal(Arc<Principal>),
    /// Temporary credentials with their secret key.
    Session(Arc<Session>, Secret),
}

impl Authenticator {
    /// Sets the maximum number of derived keys in the cache.
    #[must_use]
    pub fn keeping(self, keys: usize) -> Self {
        Self {
            keys: SigningKeys::new(keys),
            ..self
        }
    }

    /// Creates the authenticator of a shard.
    #[must_use]
    pub fn new(
        rules: SignatureRules,
        credentials: Arc<Credentials>,
        session_keys: Arc<SessionKeys>,
    ) -> Self {
        Self {
            rules,
            verifier: Verifier::new(),
            keys: SigningKeys::new(SIGNING_KEYS_PER_SHARD_MAX),
            credentials,
            session_keys,
        }
    }

    /// Replaces the credentials and drops all derived keys. Returns the old credentials, which the caller must free
    /// outside the shard's thread.
    pub fn replace_credentials(&mut self, credentials: Arc<Credentials>) -> Arc<Credentials> {
        self.keys.clear();
        std::mem::replace(&mut self.credentials, credentials)
    }

    /// Returns `true` if this instance opens tokens with these session keys.
    #[must_use]
    pub fn opens_with(&self, session_keys: &Arc<SessionKeys>) -> bool {
        Arc::ptr_eq(&self.session_keys, session_keys)
    }

    /// Rejects a request if its head alone shows that it is invalid. Called before the body is read. `now_s` is in
    /// seconds since 1970 UTC.
    pub fn precheck(
        &mut self,
        head: &Head<'_>,
        service: Service,
        now_s: u64,
    ) -> Result<(), Refusal> {
        let claim = self
            .verifier
            .read(head, &scope_rules(&self.rules, service, now_s))?;
        Ok(check_region(&self.rules, service, claim.region())?)
    }

    /// Identifies the signer of a complete request by verifying the signature, the token and the key's expiry.
    ///
    /// # Errors
    /// A token that another server issued is reported as an unknown key. So is a token whose principal has since been
    /// removed or been given a different secret.
    pub fn check(
        &mut self,
        head: &Head<'_>,
        body: &[u8],
        service: Service,
        now_s: u64,
    ) -> Result<Caller, Refusal> {
        let verified = self.verify(head, body, Signing::Call(service), now_s);
        verified.map(|(caller, _)| caller)
    }

    /// Identifies the signer of an upgrade request. Also returns the path that was signed, which may differ from the
    /// requested path; see [`codec::sigv4::Verified::path`].
    pub fn check_upgrade<'a>(
        &'a mut self,
        head: &'a Head<'a>,
        now_s: u64,
    ) -> Result<(Caller, &'a str), Refusal> {
        self.verify(head, &[], Signing::Upgrade, now_s)
    }

    /// Identifies the signer of the token in a player's request without reading the body; see [`whep::token`]. The
    /// client id is available from [`whep::client_id`].
    ///
    /// # Errors
    /// Fails with [`Check::WhepTokenElsewhere`] unless the request is a POST or OPTIONS request to `/whep/NAME`.
    pub fn check_whep<'a>(&'a mut self, head: &'a Head<'a>, now_s: u64) -> Result<Caller, Refusal> {
        let verified = self.verify(head, &[], Signing::Player(whep::token(head)), now_s);
        verified.map(|(caller, _)| caller)
    }

    fn verify<'a>(
        &'a mut self,
        head: &'a Head<'a>,
        body: &[u8],
        signing: Signing<'a>,
        now_s: u64,
    ) -> Result<(Caller, &'a str), Refusal> {
        let service = match signing {
            Signing::Call(service) => service,
            Signing::Upgrade | Signing::Player(_) => Service::KinesisVideo,
        };
        let rules = scope_rules(&self.rules, service, now_s);
        let (claim, is_in_place) = match signing {
            Signing::Player(token) => {
                let claim = self.verifier.read_token(head, token, &rules)?;
                (claim, takes_token(head))
            }
            Signing::Upgrade => {
                let claim = self.verifier.read(head, &rules)?.of_upgrade();
                (claim, !head.path().starts_with(whep::PATH))
            }
            Signing::Call(_) => (self.verifier.read(head, &rules)?, true),
        };
        if !is_in_place {
            let error = ErrorCode::Signature(sigv4::Refusal::Mismatch);
            return Err(Refusal::new(Check::WhepTokenElsewhere, error, ELSEWHERE));
        }
        check_region(&self.rules, service, claim.region())?;
        let (id, token) = (claim.access_key_id(), claim.session_token());
        let signer = find(&self.credentials, &self.session_keys, id, token);
        let key = signer
            .as_ref()
            .map(|signer| signer.key(token, self.rules.strict));
        let verified = claim.verify(key.as_ref().ok(), body, &mut self.keys);
        let verified = verified.map_err(|refusal| refined(refusal, &signer))?;
        let region = self.rules.region.clone();
        let caller = match signer {
            Ok(Signer::Principal(principal)) => Caller::principal(principal, region),
            Ok(Signer::Session(session, _)) => Caller::session(session, region),
            Err(check) => {
                return Err(Refusal {
                    check,
                    ..sigv4::Refusal::UnknownKey.into()
                });
            }
        };
        Ok((caller, verified.path))
    }

    /// Returns the number of bytes hashed to verify signatures; see [`Verifier::hashed_bytes`].
    #[must_use]
    pub const fn hashed_bytes(&self) -> u64 {
        self.verifier.hashed_bytes()
    }

    /// Returns the region of the server's channels. `None` accepts any region.
    #[must_use]
    pub const fn region(&self) -> Option<&Arc<str>> {
        self.rules.region.as_ref()
    }

    /// Returns the current credentials.
    #[must_use]
    pub fn credentials(&self) -> &Credentials {
        &self.credentials
    }

    /// Determines, for diagnostics, how the signed request differs from the received one; see [`Verifier::signed_as`].
    #[must_use]
    pub fn signed_as(&self, hosts: &[&str]) -> Option<SignedAs> {
        self.verifier.signed_as(hosts)
    }

    /// Returns the canonical request and the string to sign that were computed for the last request. Either may be
    /// incomplete.
    #[must_use]
    pub fn compared(&self) -> (&[u8], &[u8]) {
        (
            self.verifier.canonical_request(),
            self.verifier.string_to_sign(),
        )
    }
}

/// Replaces the failed check of a refusal with a more specific one that depends on the key's owner. Used only for logs.
fn refined(refusal: sigv4::Refusal, signer: &Result<Signer, Check>) -> Refusal {
    let refusal = Refusal::from(refusal);
    let check = match (refusal.check, signer) {
        (Check::UnknownKey, Err(check)) => *check,
        (Check::TokenExpired, Ok(Signer::Principal(_))) => Check::KeyExpired,
        (check, _) => check,
    };
    Refusal { check, ..refusal }
}

impl Signer {
    fn key<'a>(&'a self, token: Option<&'a [u8]>, strict: bool) -> AccessKey<'a> {
        let tolerance = |own: Option<u64>| own.filter(|_| !strict);
        match self {
            Self::Principal(principal) => AccessKey {
                secret_access_key: principal.secret.reveal(),
                session_token: principal.session_token.as_ref().map(|token| token.reveal()),
                expires_s: principal.expires_s,
                clock_tolerance_s: tolerance(principal.clock_tolerance_s),
            },
            Self::Session(session, secret) => AccessKey {
                secret_access_key: secret.reveal(),
                session_token: token.and_then(|token| std::str::from_utf8(token).ok()),
                expires_s: Some(session.expires_s),
                clock_tolerance_s: tolerance(session.owner().clock_tolerance_s),
            },
        }
    }
}

fn find(
    credentials: &Credentials,
    session_keys: &SessionKeys,
    access_key_id: &str,
    token: Option<&[u8]>,
) -> Result<Signer, Check> {
    if let Some(principal) = credentials.find(access_key_id) {
        return Ok(Signer::Principal(Arc::clone(principal)));
    }
    let token = token.ok_or(Check::UnknownKey)?;
    let opened = session_keys.open(access_key_id, token);
    let opened = opened.ok_or(Check::TokenUnsealed)?;
    let grant = &opened.grant;
    let root = match &grant.root {
        GrantRoot::Key { access_key_id: id } => {
            let root = credentials.find(id);
            let root = root.filter(|root| session_keys.was_begun_with(&opened, id, &root.secret));
            root.map(|root| Root::Principal(Arc::clone(root)))
        }
        GrantRoot::SignIn(sign_in) => credentials
            .knows(sign_in)
            .then(|| Root::SignIn(Arc::new(sign_in.clone()))),
    };
    let root = root.ok_or(Check::TokenOrphaned)?;
    // A session expires no later than its principal.
    let expires_s = grant.expires_s.min(root.expires_s().unwrap_or(u64::MAX));
    let issued_s = grant.issued_s;
    let (source, scope) = match (opened.grant.holder, root) {
        (GrantHolder::User, Root::Principal(principal)) => {
            (Source::User(principal), SessionScope::All)
        }
        (
            GrantHolder::Federated {
                account,
                name,
                policy,
            },
            Root::Principal(parent),
        ) if *parent.account == *account => {
            let within = |policy| SessionScope::Within(vec![Arc::new(policy)]);
            let source = Source::Federated(parent, format!("{FEDERATED_USER}{name}"));
            (source, policy.map_or(SessionScope::Nothing, within))
        }
        (GrantHolder::User | GrantHolder::Federated { .. }, _) => return Err(Check::TokenOrphaned),
        (GrantHolder::Role(named), root) => {
            of_role(credentials, named, root).ok_or(Check::RoleGone)?
        }
    };
    let session = Session {
        source,
        scope,
        key_id: SessionKeyId::of(access_key_id),
        issued_s,
        expires_s,
    };
    Ok(Signer::Session(Arc::new(session), opened.secret_access_key))
}

/// Resolves the role and the session policies of a token. Returns `None` if the role, a role in its chain or one of the
/// policies has been removed.
fn of_role(
    credentials: &Credentials,
    named: RoleGrant,
    root: Root,
) -> Option<(Source, SessionScope)> {
    let role = Arc::clone(credentials.role(&named.account, &named.role)?);
    if !named.via.iter().all(|name| credentials.has_role(name)) {
        return None;
    }
    let policies = named.policies.iter();
    let policies = policies.map(|name| credentials.policy(name).map(Arc::clone));
    let mut policies: Vec<_> = policies.collect::<Option<_>>()?;
    let scope = match named.policy {
        Err(()) => SessionScope::Nothing,
        Ok(None) if policies.is_empty() => SessionScope::All,
        Ok(own) => {
            policies.extend(own.map(Arc::new));
            SessionScope::Within(policies)
        }
    };
    let session = RoleSession {
        label: format!("{}/{}", role.name, named.session_name),
        role,
        name: named.session_name,
        root,
        via: named.via,
        tags: named.tags,
        source_identity: named.source_identity,
    };
    Some((Source::Role(session), scope))
}

fn takes_token(head: &Head<'_>) -> bool {
    let target = whep::Target::parse(head.path());
    matches!(head.method(), "POST" | "OPTIONS") && target.is_some_and(|it| it.call.is_none())
}

const ELSEWHERE: &str = "A URL of /whep/ is for POST and OPTIONS of its path.";

fn scope_rules(rules: &SignatureRules, service: Service, now_s: u64) -> RequestRules<'_> {
    let region = match service {
        Service::KinesisVideo => rules.region.as_deref(),
        Service::Sts => None, // see `check_region`
    };
    RequestRules {
        service,
        region,
        now_s,
        clock_tolerance_s: rules.clock_tolerance_s,
        empty_token_is_none: !rules.strict,
    }
}

/// Checks the region in a request's credential scope. STS requests may also name [`STS_GLOBAL_REGION`].
fn check_region(
    rules: &SignatureRules,
    service: Service,
    scoped: &str,
) -> Result<(), sigv4::Refusal> {
    let is_ours = rules.region.as_deref().is_none_or(|ours| ours == scoped);
    if is_ours || (service == Service::Sts && scoped == STS_GLOBAL_REGION) {
        return Ok(());
    }
    Err(sigv4::Refusal::Scope(SignatureScope::Region))
}

impl fmt::Debug for Authenticator {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Authenticator({} principals)", self.credentials.len())
    }
}

/// The region that older SDKs use for STS regardless of their configuration. Source: AWS SDKs and Tools Reference
/// Guide, "AWS STS Regional endpoints", `legacy`.
const STS_GLOBAL_REGION: &str = "us-east-1";

#[cfg(test)]
mod authenticator_tests;
