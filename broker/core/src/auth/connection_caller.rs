//! Stores the callers of open connections so that their permissions can be rechecked.
//!
//! A connection stores a single pointer, either to its principal or to its token's session. All connections that use
//! the same token share that session. The time, address and channel of the request are stored in the connection itself.

use crate::auth::policy_question::{Origin, OriginHeaders};
use crate::auth::session::{RoleSession, Root, Session, SessionScope, Source};
use crate::auth::{caller::Caller, credentials::Credentials, principal::Principal};
use codec::policy::KeyName;
use std::fmt;
use std::sync::{Arc, Weak};

/// The caller of an open connection. Takes 16 bytes.
#[derive(Clone, Debug)]
pub struct HeldCaller(pub(crate) HeldKind);

#[derive(Clone, Debug)]
pub(crate) enum HeldKind {
    Principal(Arc<Principal>),
    Session(Arc<Session>),
    WithHeaders(Box<(HeldCaller, Arc<OriginHeaders>)>),
}

/// The current credentials, in which stored callers are looked up again.
pub struct InForce<'a> {
    /// The parsed credentials file.
    pub credentials: &'a Credentials,
    /// Shared sessions, resolved against these credentials.
    pub sessions: &'a mut SharedSessions,
    /// The region of the server's channels; `None` accepts any region.
    pub region: Option<Arc<str>>,
    /// Current time, in seconds since 1970 UTC.
    pub now_s: u64,
}

/// The reason why a caller's credentials are no longer valid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Gone {
    /// The key of this principal was removed, has expired or has a different secret.
    Key(Box<str>),
    /// The provider, certificate or IoT thing used for the sign-in was removed.
    SignIn(Box<str>),
    /// The role, a role in its chain, or a session policy was removed.
    Role(Box<str>),
}

impl HeldCaller {
    pub(crate) fn with_headers(self, headers: Arc<OriginHeaders>) -> Self {
        Self(HeldKind::WithHeaders(Box::new((self, headers))))
    }

    /// Returns the name and the access key id of a principal; `None` for temporary credentials.
    pub(crate) fn credential(&self) -> Option<(&str, &str)> {
        match &self.0 {
            HeldKind::Principal(it) => Some((&it.name, &it.access_key_id)),
            HeldKind::Session(_) => None,
            HeldKind::WithHeaders(both) => both.0.credential(),
        }
    }

    /// Returns `true` if any applicable policy tests this condition key.
    #[must_use]
    pub fn reads(&self, name: KeyName) -> bool {
        match &self.0 {
            HeldKind::Principal(principal) => {
                principal.policies.iter().any(|policy| policy.reads(name))
            }
            HeldKind::Session(session) => session.reads(name),
            HeldKind::WithHeaders(both) => both.0.reads(name),
        }
    }

    /// Looks the caller up in the current credentials, as if its request had just arrived. `origin` must not contain
    /// the caller's headers; this method adds them.
    ///
    /// # Errors
    /// Fails if the caller's key, role or sign-in has been removed.
    pub fn again(&self, now: &mut InForce<'_>, origin: Origin) -> Result<Caller, Gone> {
        match &self.0 {
            HeldKind::Principal(principal) => {
                let found = same_key(principal, now)?;
                let caller = Caller::principal(found, now.region.clone());
                Ok(caller.from_origin(origin))
            }
            HeldKind::Session(session) => {
                let found = match now.sessions.find(session) {
                    Some(found) => found,
                    None => now.sessions.share(Arc::new(renewed(session, now)?)),
                };
                let caller = Caller::session(found, now.region.clone());
                Ok(caller.from_origin(origin))
            }
            HeldKind::WithHeaders(both) => {
                let (held, headers) = &**both;
                let headers = Some(Arc::clone(headers));
                held.again(now, Origin { headers, ..origin })
            }
        }
    }

    /// Returns this caller with its session replaced by the one that all connections with the same token share.
    pub fn shared(self, sessions: &mut SharedSessions) -> Self {
        match self.0 {
            HeldKind::Session(session) => Self(HeldKind::Session(sessions.share(session))),
            HeldKind::WithHeaders(both) => both.0.shared(sessions).with_headers(both.1),
            HeldKind::Principal(_) => self,
        }
    }
}

/// Returns the current principal with the same key. Fails if the principal's secret, session token or account has
/// changed, or if it has been given a new expiry that has already passed.
fn same_key(old: &Principal, now: &InForce<'_>) -> Result<Arc<Principal>, Gone> {
    let found = now.credentials.find(&old.access_key_id);
    let found = found.filter(|found| {
        let is_over = found.expires_s.is_some_and(|end| end <= now.now_s);
        found.secret == old.secret
            && found.session_token == old.session_token
            && found.account == old.account
            && !(is_over && found.expires_s != old.expires_s)
    });
    let found = found.ok_or_else(|| Gone::Key(old.name.as_str().into()))?;
    Ok(Arc::clone(found))
}

/// Resolves a session from the current credentials, as on the first use of its token.
fn renewed(old: &Session, now: &InForce<'_>) -> Result<Session, Gone> {
    let (source, scope) = match &old.source {
        Source::Federated(parent, name) => {
            let source = Source::Federated(same_key(parent, now)?, name.clone());
            (source, old.scope.clone())
        }
        Source::User(parent) => (Source::User(same_key(parent, now)?), old.scope.clone()),
        Source::Role(session) => {
            let root = match &session.root {
                Root::Principal(principal) => Root::Principal(same_key(principal, now)?),
                Root::SignIn(sign_in) if now.credentials.knows(sign_in) => session.root.clone(),
                Root::SignIn(sign_in) => return Err(Gone::SignIn(sign_in.label().into())),
            };
            let gone = || Gone::Role(session.role.name.as_str().into());
            let role = now
                .credentials
                .role(&session.role.account, &session.role.name)
                .ok_or_else(gone)?;
            if !session.via.iter().all(|it| now.credentials.has_role(it)) {
                return Err(gone());
            }
            let scope = renewed_scope(&old.scope, now.credentials).ok_or_else(gone)?;
            let session = RoleSession {
                role: Arc::clone(role),
                root,
                ..session.clone()
            };
            (Source::Role(session), scope)
        }
    };
    Ok(Session {
        source,
        scope,
        key_id: old.key_id,
        issued_s: old.issued_s,
        expires_s: old.expires_s,
    })
}

fn renewed_scope(old: &SessionScope, credentials: &Credentials) -> Option<SessionScope> {
    let SessionScope::Within(policies) = old else {
        return Some(old.clone());
    };
    let renewed = policies.iter().map(|policy| match policy.name() {
        "" => Some(Arc::clone(policy)), // the session's own policy
        name => credentials.policy(name).map(Arc::clone),
    });
    renewed.collect::<Option<_>>().map(SessionScope::Within)
}

impl fmt::Display for Gone {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key(name) => {
                write!(out, "the key of {name} was removed, replaced or ended")
            }
            Self::SignIn(label) => write!(out, "{label} is no longer allowed to connect"),
            Self::Role(name) => {
                write!(
                    out,
                    "role {name}, or a role or policy that its session depends on, was removed"
                )
            }
        }
    }
}

/// The sessions of open connections. All connections of a shard that use the same token share one session. If two
/// sessions have the same table index, only the newer one is shared.
#[derive(Debug)]
pub struct SharedSessions {
    /// The shared sessions, indexed by a hash of the access key id.
    places: Box<[Weak<Session>]>,
}

impl Default for SharedSessions {
    fn default() -> Self {
        Self {
            places: std::iter::repeat_with(Weak::new).take(PLACES).collect(),
        }
    }
}

impl SharedSessions {
    /// Drops all sessions, because they refer to credentials that have been replaced. New connections will not share
    /// them.
    pub fn clear(&mut self) {
        self.places.fill(Weak::new());
    }

    /// Returns the stored session for the same token. If there is none, stores and returns the given session.
    #[must_use]
    pub(crate) fn share(&mut self, session: Arc<Session>) -> Arc<Session> {
        if let Some(found) = self.find(&session) {
            return found;
        }
        if let Some(place) = self.places.get_mut(place_of(&session)) {
            *place = Arc::downgrade(&session);
        }
        session
    }

    pub(crate) fn find(&self, session: &Session) -> Option<Arc<Session>> {
        let found = self.places.get(place_of(session))?.upgrade()?;
        (found.key_id.as_str() == session.key_id.as_str()).then_some(found)
    }
}

/// Returns the table index of a session. Access key ids are random, and each belongs to one token.
fn place_of(session: &Session) -> usize {
    let bytes = session.key_id.as_str().bytes();
    let hash = bytes.fold(0_usize, |hash, byte| {
        hash.wrapping_mul(31).wrapping_add(byte.into())
    });
    hash % PLACES
}

/// Maximum number of shared sessions. The table takes 16 KiB per shard.
const PLACES: usize = 2048;

#[cfg(test)]
mod tests;
