//! The key of a caller who waits, so that the wait ends with it.

use super::credentials::Credentials;
use super::principal::Principal;
use super::role::Role;
use std::sync::Arc;

/// The key of a caller: a principal's, and the role that it has assumed. In 16 bytes.
#[derive(Clone, Debug)]
pub struct HeldKey {
    pub(super) root: Option<Arc<Principal>>,
    pub(super) role: Option<Arc<Role>>,
}

impl HeldKey {
    /// Whether the key is still one of these, with the same secret, and so is its role.
    #[must_use]
    pub fn is_in(&self, credentials: &Credentials) -> bool {
        let has_key = |root: &Arc<Principal>| {
            let found = credentials.find(&root.access_key_id);
            found.is_some_and(|found| found.secret == root.secret)
        };
        let has_role = |role: &Arc<Role>| credentials.role(&role.account, &role.name).is_some();
        self.root.as_ref().is_none_or(has_key) && self.role.as_ref().is_none_or(has_role)
    }
}
