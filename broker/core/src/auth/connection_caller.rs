//! The caller of an open connection, kept so that it can be asked again whether it may be open; the sessions that
//! connections share.
//!
//! A connection keeps one pointer: to its principal, or to the session of its token, which connections of one token
//! share. Moment, address and channel of the request are known of the connection itself.

use crate::auth::policy_question::{Origin, OriginHeaders};
use crate::auth::session::{RoleSession, Root, Scope, Session, Source};
use crate::auth::{caller::Caller, credentials::Credentials, principal::Principal};
use codec::policy::KeyName;
use std::fmt;
use std::sync::{Arc, Weak};

/// The caller of an open connection. In 16 bytes.
#[derive(Clone, Debug)]
pub struct HeldCaller(Kept);

#[derive(Clone, Debug)]
enum Kept {
    Principal(Arc<Principal>),
    Session(Arc<Session>),
    /// One of the two, of whose request a policy names headers.
    WithHeaders(Box<(HeldCaller, Arc<OriginHeaders>)>),
}

/// The credentials in force, by which callers are found again.
pub struct InForce<'a> {
    /// The file, read.
    pub credentials: &'a Credentials,
    /// The sessions of connections, by these credentials.
    pub sessions: &'a mut SharedSessions,
    /// The region that exists here; `None`: any does.
    pub region: Option<Arc<str>>,
    /// The moment, in seconds since 1970 UTC.
    pub now_s: u64,
}

/// The thing that a caller hung on and that is gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Gone {
    /// The key of this principal, or it has another secret, or has been given an end that is over.
    Key(Box<str>),
    /// The provider, certificate or thing by which it signed in.
    SignIn(Box<str>),
    /// The role of this name, one by which it was assumed, or a policy by which its session is bounded.
    Role(Box<str>),
}

impl HeldCaller {
    pub(crate) const fn principal(principal: Arc<Principal>) -> Self {
        Self(Kept::Principal(principal))
    }

    pub(crate) const fn session(session: Arc<Session>) -> Self {
        Self(Kept::Session(session))
    }

    /// Adds the headers of the request.
    pub(crate) fn with_headers(self, headers: Arc<OriginHeaders>) -> Self {
        Self(Kept::WithHeaders(Box::new((self, headers))))
    }

    /// Whether some policy that decides for it names a condition key.
    #[must_use]
    pub fn reads(&self, name: KeyName) -> bool {
        match &self.0 {
            Kept::Principal(principal) => {
                principal.policies.iter().any(|policy| policy.reads(name))
            }
            Kept::Session(session) => session.reads(name),
            Kept::WithHeaders(both) => both.0.reads(name),
        }
    }

    /// The caller by the credentials in force, as if its request came now; `origin` is that of the request, and
    /// its headers are added here.
    ///
    /// # Errors
    /// The key, role or sign-in is gone.
    pub fn again(&self, now: &mut InForce<'_>, origin: Origin) -> Result<Caller, Gone> {
        match &self.0 {
            Kept::Principal(principal) => {
                let found = same_key(principal, now)?;
                let caller = Caller::principal(found, now.region.clone());
                Ok(caller.from_origin(origin))
            }
            Kept::Session(session) => {
                let found = match now.sessions.find(session) {
                    Some(found) => found,
                    None => now.sessions.share(Arc::new(renewed(session, now)?)),
                };
                let caller = Caller::of_session(found, now.region.clone());
                Ok(caller.from_origin(origin))
            }
            Kept::WithHeaders(both) => {
                let (held, headers) = &**both;
                let headers = Some(Arc::clone(headers));
                held.again(now, Origin { headers, ..origin })
            }
        }
    }

    /// Shares the session with other connections of its token.
    pub fn shared(self, sessions: &mut SharedSessions) -> Self {
        match self.0 {
            Kept::Session(session) => Self(Kept::Session(sessions.share(session))),
            Kept::WithHeaders(both) => both.0.shared(sessions).with_headers(both.1),
            Kept::Principal(_) => self,
        }
    }
}

/// The principal with the same key, unless that has another secret, or was given an end that is over.
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

/// The beginning of a session, if it is still let in.
fn same_root(old: &Root, now: &InForce<'_>) -> Result<Root, Gone> {
    match old {
        Root::Principal(principal) => same_key(principal, now).map(Root::Principal),
        Root::SignIn(sign_in) if now.credentials.knows(sign_in) => Ok(old.clone()),
        Root::SignIn(sign_in) => Err(Gone::SignIn(sign_in.label().into())),
    }
}

/// A session by other credentials: each thing that it names is looked up, as when its token comes.
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

/// The bound of a session with the policies of the file as they are now; `None` when one is gone.
fn renewed_scope(old: &Scope, credentials: &Credentials) -> Option<Scope> {
    let Scope::Within(policies) = old else {
        return Some(old.clone());
    };
    let renewed = policies.iter().map(|policy| match policy.name() {
        "" => Some(Arc::clone(policy)), // the session's own
        name => credentials.policy(name).map(Arc::clone),
    });
    renewed.collect::<Option<_>>().map(Scope::Within)
}

impl fmt::Display for Gone {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key(name) => {
                write!(
                    out,
                    "the key of {name} is gone, is another one, or was ended"
                )
            }
            Self::SignIn(label) => write!(out, "{label} is not let in any more"),
            Self::Role(name) => {
                write!(
                    out,
                    "role {name}, or a role or policy that its session hangs on, is gone"
                )
            }
        }
    }
}

// The sessions of tokens that connections of one shard share.

/// The sessions of tokens with open connections: those of one token share one. One per shard; a token that another one
/// took the place of is parsed, and kept, once for each of its connections.
#[derive(Debug)]
pub struct SharedSessions {
    /// By a part of the access key id.
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
    /// There are other credentials: no session of before is given to anybody.
    pub fn clear(&mut self) {
        self.places.fill(Weak::new());
    }

    /// The session of the same token that others have, or this one, which others have from here on.
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

    /// The session of the same token that others have.
    pub(crate) fn find(&self, session: &Session) -> Option<Arc<Session>> {
        let found = self.places.get(place_of(session))?.upgrade()?;
        (found.key_id.as_str() == session.key_id.as_str()).then_some(found)
    }
}

/// The place of a token: access key ids are drawn by nobody, and each names one token.
fn place_of(session: &Session) -> usize {
    let bytes = session.key_id.as_str().bytes();
    let hash = bytes.fold(0_usize, |hash, byte| {
        hash.wrapping_mul(31).wrapping_add(byte.into())
    });
    hash % PLACES
}

/// Tokens whose connections share one session: 16 KiB of a shard.
const PLACES: usize = 2048;

#[cfg(test)]
mod tests;
