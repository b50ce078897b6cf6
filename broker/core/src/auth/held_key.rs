//! The key of a caller who waits, so that the wait ends with it.

use super::credentials::Credentials;
use super::principal::Principal;
use super::session::{Root, Session};
use std::sync::Arc;

/// The key of a caller, with what it hangs on. In 16 bytes.
#[derive(Clone, Debug)]
pub struct HeldKey(pub(super) Held);

/// The owner of a key.
#[derive(Clone, Debug)]
pub(super) enum Held {
    /// Nobody's: no signature was asked for.
    None,
    /// A principal's.
    Principal(Arc<Principal>),
    /// A session's.
    Session(Arc<Session>),
}

impl HeldKey {
    /// Whether the key is still one of these, with the same secret, or what it hangs on is known, and so is its role.
    #[must_use]
    pub fn is_in(&self, credentials: &Credentials) -> bool {
        let has = |principal: &Principal| {
            let found = credentials.find(&principal.access_key_id);
            found.is_some_and(|found| found.secret == principal.secret)
        };
        let session = match &self.0 {
            Held::None => return true,
            Held::Principal(principal) => return has(principal),
            Held::Session(session) => session,
        };
        let has_root = match session.root() {
            Root::Principal(principal) => has(&principal),
            Root::SignIn(sign_in) => credentials.knows(&sign_in),
        };
        has_root
            && session.role().is_none_or(|session| {
                let role = &session.role;
                credentials.role(&role.account, &role.name).is_some()
            })
    }
}
