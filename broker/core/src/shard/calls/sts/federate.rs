//! GetFederationToken: a part of the caller's rights under a name.

use crate::auth::{Grant, PolicyQuestion, RootGrant, federated_user_arn};
use crate::event::AuthFailure;
use crate::shard::calls::respond::StsFault;
use crate::shard::calls::sts::{Grantor, keys, session_policy, unsealed};
use codec::policy::Action;
use codec::sts::{Error, ErrorKind, Granted, federation_token};

impl Grantor<'_> {
    /// Makes temporary credentials: the caller's rights, as far as the policy has them too.
    pub(crate) fn federate(
        &mut self,
        name: &str,
        policy: Option<&str>,
        duration_s: u32,
    ) -> Result<Vec<u8>, StsFault> {
        let caller = self.caller;
        let arn = federated_user_arn(caller.account(), name);
        let ruling = caller.decide(&PolicyQuestion::new(Action::GetFederationToken, &arn));
        self.books.count_policy_steps(ruling.steps);
        if let Some(check) = ruling.denied {
            self.books.count_auth_failure(AuthFailure::Policy);
            let message = caller.denial(Action::GetFederationToken, &arn);
            return Err(StsFault {
                check,
                error: Error::new(ErrorKind::AccessDenied, message),
                policy: caller.ground_of(&ruling),
            });
        }
        let read = session_policy(policy)?;
        let until = self.now_s + u64::from(duration_s);
        let expires_s = until.min(caller.expires_s().unwrap_or(u64::MAX));
        let (parent_access_key_id, parent_secret) = match caller.root_grant() {
            RootGrant::Key {
                access_key_id,
                secret,
            } => (access_key_id, secret),
            RootGrant::SignIn(_) => ("", ""), // temporary credentials were refused above
        };
        let grant = Grant {
            account: caller.account(),
            parent_access_key_id,
            parent_secret,
            name,
            policy: read.as_ref(),
            expires_s,
        };
        let too_long = "The policy must be at most 2048 bytes of UTF-8.";
        let sealed = self.gate.seal(&grant);
        let temporary = sealed.map_err(|error| unsealed(error, too_long))?;
        let user_id = format!("{}:{name}", caller.account());
        let token = Granted {
            keys: keys(&temporary, expires_s),
            arn: &arn,
            id: &user_id,
            packed_policy_percent: packed_percent(policy.unwrap_or_default()),
            source_identity: None,
        };
        let mut out = Vec::new();
        federation_token(&mut out, &token, self.id);
        Ok(out)
    }
}

/// The part of the room for a policy that one takes, in per cent.
fn packed_percent(policy: &str) -> u8 {
    let percent = policy.len() * 100 / codec::sts::POLICY_CHARS_MAX;
    u8::try_from(percent.min(100)).unwrap_or(100)
}
