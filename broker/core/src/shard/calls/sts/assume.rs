//! AssumeRole: the rights of a role.

use crate::auth::{
    Assumption, Denial, RoleFault, RoleGrant, SealError, SessionTag, TOKEN_BYTES_MAX, assume,
    assumed_role_id,
};
use crate::check::Check;
use crate::event::AuthFailure;
use crate::shard::calls::respond::StsFault;
use crate::shard::calls::sts::{Grantor, keys, session_policy, unsealed};
use codec::sts::{AssumeRole, Error, ErrorKind, Granted};

impl Grantor<'_> {
    /// Makes temporary credentials with the rights of a role, as far as the policies of the request have them too.
    /// `write` appends the answer under a request id.
    pub(crate) fn assume(
        &mut self,
        request: &AssumeRole,
        write: impl FnOnce(&mut Vec<u8>, &Granted<'_>, &str),
    ) -> Result<Vec<u8>, StsFault> {
        let assumption = self.allowed(request)?;
        let policy = session_policy(request.policy.as_deref())?;
        let policies = request.policy_arns.iter();
        let policies = policies.map(|arn| self.named_policy(request, arn));
        let policies: Vec<&str> = policies.collect::<Result<_, _>>()?;
        let role = RoleGrant {
            account: request.role.account(),
            role: request.role.name(),
            via: &assumption.via,
            session_name: &request.session_name,
            source_identity: assumption.source_identity.as_deref(),
            tags: &assumption.tags,
            policies: &policies,
            policy: policy.as_ref(),
        };
        let grant = self.session_grant(assumption.duration_s, Some(role));
        let sealed = self.gate.seal_session(&grant);
        let temporary = sealed.map_err(|error| unsealed(error, TOO_LONG))?;
        let account = request.role.account();
        let (name, session) = (request.role.name(), &request.session_name);
        let bytes = temporary.session_token.reveal().len();
        let answer = Granted {
            keys: keys(&temporary, grant.expires_s),
            arn: &format!("arn:aws:sts::{account}:assumed-role/{name}/{session}"),
            id: &assumed_role_id(request.role.as_str(), session),
            packed_policy_percent: u8::try_from(bytes * 100 / TOKEN_BYTES_MAX).unwrap_or(100),
            source_identity: assumption.source_identity.as_deref(),
        };
        let mut out = Vec::new();
        write(&mut out, &answer, self.id);
        Ok(out)
    }

    /// The session that the caller may have. Where no signature is asked for, every role is there for everybody.
    fn allowed(&mut self, request: &AssumeRole) -> Result<Assumption, StsFault> {
        let Some(credentials) = self.gate.credentials() else {
            return Ok(unasked(request));
        };
        let mut steps = 0;
        let assumption = assume(self.caller, credentials, request, &mut steps);
        self.books.count_policy_steps(steps);
        assumption.map_err(|fault| match fault {
            RoleFault::Denied(denial) => self.denied(request, denial),
            RoleFault::Invalid(message) => StsFault::new(
                Check::ArgumentInvalid,
                Error::new(ErrorKind::InvalidParameterValue, message),
            ),
            RoleFault::Duration { message, ground } => StsFault {
                check: Check::ArgumentInvalid,
                error: Error::new(ErrorKind::ValidationError, message),
                policy: Some(ground.into()),
            },
            RoleFault::TooLong => unsealed(SealError::TooLong, TOO_LONG),
        })
    }

    /// The refusal, which is the same whether there is such a role or not.
    fn denied(&mut self, request: &AssumeRole, denial: Denial) -> StsFault {
        self.books.count_auth_failure(AuthFailure::Policy);
        let message = self.caller.denial(denial.action, request.role.as_str());
        StsFault {
            check: denial.check,
            error: Error::new(ErrorKind::AccessDenied, message),
            policy: denial.ground,
        }
    }

    /// The name of a policy of the role's account; refused when there is none.
    fn named_policy<'r>(&self, request: &AssumeRole, arn: &'r str) -> Result<&'r str, StsFault> {
        let (owner, name) = arn
            .strip_prefix("arn:aws:iam::")
            .and_then(|rest| rest.split_once(":policy/"))
            .unwrap_or_default();
        let is_known = owner == request.role.account()
            && self
                .gate
                .credentials()
                .is_none_or(|credentials| credentials.policy(name).is_some());
        if is_known {
            return Ok(name);
        }
        let message = "PolicyArns: each must be arn:aws:iam::ACCOUNT:policy/NAME, with the account of the role and \
                       the name of a policy of the credentials file.";
        let error = Error::new(ErrorKind::InvalidParameterValue, message);
        Err(StsFault::new(Check::ArgumentInvalid, error))
    }
}

/// The session as it was asked for.
fn unasked(request: &AssumeRole) -> Assumption {
    let tags = request.tags.iter().map(|tag| SessionTag {
        key: tag.key.clone(),
        value: tag.value.clone(),
        transitive: false,
    });
    Assumption {
        via: Vec::new(),
        tags: tags.collect(),
        source_identity: request.source_identity.clone(),
        duration_s: request.duration_s.unwrap_or(codec::sts::DURATION_S_DEFAULT),
    }
}

const TOO_LONG: &str =
    "The policies, tags and roles of the session take more room than a session token has.";
