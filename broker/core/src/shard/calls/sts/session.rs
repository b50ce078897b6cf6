//! GetSessionToken: the caller's own rights for a while.

use crate::auth::{RoleGrant, SessionGrant};
use crate::check::Check;
use crate::event::AuthFailure;
use crate::shard::calls::respond::StsFault;
use crate::shard::calls::sts::{Grantor, keys, unsealed};
use codec::sts::{Error, ErrorKind, session_token};

impl<'a> Grantor<'a> {
    /// Makes temporary credentials with the caller's rights. Policies are not asked. Source: STS API Reference,
    /// "GetSessionToken": *No permissions are required for users to perform this operation*.
    pub(crate) fn session(&mut self, duration_s: u32) -> Result<Vec<u8>, StsFault> {
        if !self.caller.is_long_term() {
            self.books.count_auth_failure(AuthFailure::Policy);
            let message = "Cannot call GetSessionToken with session credentials";
            return Err(StsFault {
                check: Check::PolicyNoAllow,
                error: Error::new(ErrorKind::AccessDenied, message),
                policy: Some(WITH_OWN_KEYS.into()),
            });
        }
        let grant = self.session_grant(duration_s, None);
        let sealed = self.gate.seal_session(&grant);
        let temporary = sealed.map_err(|error| unsealed(error, "The session is too long."))?;
        let mut out = Vec::new();
        session_token(&mut out, &keys(&temporary, grant.expires_s), self.id);
        Ok(out)
    }

    /// The grant of a session that begins now, and ends with the principal that it hangs on if not before.
    pub(crate) fn session_grant<'g>(
        &self,
        duration_s: u32,
        role: Option<RoleGrant<'g>>,
    ) -> SessionGrant<'g>
    where
        'a: 'g,
    {
        let caller = self.caller;
        let until = self.now_s + u64::from(duration_s);
        SessionGrant {
            root: caller.root_grant(),
            issued_s: self.now_s,
            expires_s: until.min(caller.root_expires_s().unwrap_or(u64::MAX)),
            role,
        }
    }
}

/// The reason for which temporary keys get no others.
const WITH_OWN_KEYS: &str = "the caller's keys are temporary, and GetSessionToken takes none but a principal's: sign \
                             with those";
