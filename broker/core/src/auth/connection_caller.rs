//! Callers of open connections, stored for rechecking their permissions, and the sessions that connections share.
//!
//! A connection stores one pointer: to its principal, or to its token's session, which all connections with that token
//! share. The connection itself stores the time, address and channel of the request.

use crate::auth::policy_question::{Origin, OriginHeaders};
use crate::auth::session::{RoleSession, Root, Session, SessionScope, Source};
use crate::auth::{caller::Caller, credentials::Credentials, principal::Principal};
use codec::policy::KeyName;
use std::fmt;
use std::sync::{Arc, Weak};

/// Caller of an open connection; 16 bytes.
#[derive(Clone, Debug)]
pub struct HeldCaller(HeldKind);

#[derive(Clone, Debug)]
enum HeldKind {
    Principal(Arc<Principal>),
    Session(Arc<Session>),
    WithHeaders(Box<(HeldCaller, Arc<OriginHeaders>)>),
}

/// The current credentials, in which callers are looked up again.
pub struct InForce<'a> {
    /// The parsed credentials file.
    pub credentials: &'a Credentials,
    /// Shared sessions of the open connections under these credentials.
    pub sessions: &'a mut SharedSessions,
    /// Region of the server's channels; `None` for any region.
    pub region: Option<Arc<str>>,
    /// Current time, in seconds since 1970 UTC.
    pub now_s: u64,
}

/// Why a caller's credentials have become invalid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Gone {
    /// The key of this principal was removed, has expired or has another secret.
    Key(Box<str>),
    /// The provider, certificate or thing of the sign-in was removed.
    SignIn(Box<str>),
    /// The role, a role in its chain, or a session policy was removed.
    Role(Box<str>),
}

impl HeldCaller {
    pub(crate) const fn principal(principal: Arc<Principal>) -> Self {
        Self(HeldKind::Principal(principal))
    }

    pub(crate) const fn session(session: Arc<Session>) -> Self {
        Self(HeldKind::Session(session))
    }

    pub(crate) fn with_headers(self, headers: Arc<OriginHeaders>) -> Self {
        Self(HeldKind::WithHeaders(Box::new((self, headers))))
    }

    /// Returns the name and key of a principal; `None` for temporary credentials.
    pub(crate) fn credential(&self) -> Option<(&str, &str)> {
        match &self.0 {
            HeldKind::Principal(it) => Some((&it.name, &it.access_key_id)),
            HeldKind::Session(_) => None,
            HeldKind::WithHeaders(both) => both.0.credential(),
        }
    }

    /// Whether any applicable policy tests this condition key.
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

    /// Looks the caller up in the current credentials, as if its request had just arrived. `origin` lacks the headers,
    /// which this method adds.
    ///
    /// # Errors
    /// The caller's key, role or sign-in was removed.
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
                let caller = Caller::of_session(found, now.region.clone());
                Ok(caller.from_origin(origin))
            }
            HeldKind::WithHeaders(both) => {
                let (held, headers) = &**both;
                let headers = Some(Arc::clone(headers));
                held.again(now, Origin { headers, ..origin })
            }
        }
    }

    /// Shares the session with other connections that use the same token.
    pub fn shared(self, sessions: &mut SharedSessions) -> Self {
        match self.0 {
            HeldKind::Session(session) => Self(HeldKind::Session(sessions.share(session))),
            HeldKind::WithHeaders(both) => both.0.shared(sessions).with_headers(both.1),
            HeldKind::Principal(_) => self,
        }
    }
}

/// Returns the current principal with the same key, unless its secret changed or it has expired.
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

fn same_root(old: &Root, now: &InForce<'_>) -> Result<Root, Gone> {
    match old {
        Root::Principal(principal) => same_key(principal, now).map(Root::Principal),
        Root::SignIn(sign_in) if now.credentials.knows(sign_in) => Ok(old.clone()),
        Root::SignIn(sign_in) => Err(Gone::SignIn(sign_in.label().into())),
    }
}

/// Looks up everything that a session refers to, as on the first use of its token.
fn renewed(old: &Session, now: &InForce<'_>) -> Result<Session, Gone> {
    let (source, scope) = match &old.source {
        Source::Federated(parent, name) => {
            let source = Source::Federated(same_key(parent, now)?, name.clone());
            (source, old.scope.clone())
        }
        Source::User(parent) => (Source::User(same_key(parent, now)?), old.scope.clone()),
        Source::Role(session) => {
            let root = same_root(&session.root, now)?;
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
        "" => Some(Arc::clone(policy)), // the session's own
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

/// Sessions of open connections, shared by all connections of a shard that use the same token. Once another session has
/// taken an entry, new connections with the old token store their own copies.
#[derive(Debug)]
pub struct SharedSessions {
    /// Sessions, indexed by a hash of the access key id.
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
    /// Drops all sessions, so that new connections do not share sessions of replaced credentials.
    pub fn clear(&mut self) {
        self.places.fill(Weak::new());
    }

    /// Returns the stored session of the same token, or stores and returns the given one.
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

/// Maximum number of shared sessions: 16 KiB per shard.
const PLACES: usize = 2048;

#[cfg(test)]
mod tests;
