//! Exchanges an OpenID provider's token for a role session (AssumeRoleWithWebIdentity). This is the only STS call that
//! needs no signature, because the token proves the caller's identity.

use crate::auth::provider::{TokenFault, Unverified};
use crate::event::{Purpose, Requested};
use crate::shard::calls::responses::refuse;
use crate::shard::calls::sts::{self, GrantResponse, Grantor, StsForm, answer_from};
use crate::shard::evidence::{Evidence, Shown, named};
use crate::shard::state::State;
use crate::{auth::SignIn, check::Check, refusal::Refusal};
use codec::sts::{AssumeRoleWithWebIdentity, ErrorKind, Request, WebIdentity, web_identity};

/// Answers an unsigned STS call. Verifies the token before looking up the role.
pub(crate) fn answer_sign_in(shard: &mut State, form: &StsForm) {
    let (sockets, _, cx, gate) = shard.parts();
    let parsed = &form.parsed;
    let Some(peer) = sockets.session(form.key).map(|session| session.peer()) else {
        return;
    };
    let token = match parsed {
        Ok(Request::AssumeRoleWithWebIdentity(request)) => request.token.reveal(),
        Ok(_) | Err(_) => "",
    };
    let read = Unverified::read(token);
    let identified = match &read {
        Ok(token) => gate.identify(token, peer, cx.at),
        Err(fault) => Err(*fault),
    };
    let claimed = || read.as_ref().ok().map(ClaimedToken::of);
    let (refusal, claimed) = match (parsed, identified) {
        (Err(error), _) => (sts::not_understood(error), None),
        (Ok(_), Err(fault)) => {
            let claimed = claimed();
            (refused(fault, claimed.as_ref()), claimed)
        }
        (Ok(_), Ok(caller)) => {
            return answer_from(shard, form, &caller);
        }
    };
    let session = parsed.as_ref().ok().and_then(sts::session_of);
    let evidence = Evidence {
        close: form.close,
        session: session.as_deref(),
        role: parsed.as_ref().ok().and_then(sts::role_of),
        shown: Shown {
            issuer: claimed.as_ref().map(ClaimedToken::provider),
            subject: claimed.as_ref().and_then(|it| it.subject.as_deref()),
            ..Shown::default()
        },
        ..Evidence::of(form.key, Purpose::Sts(Requested::WebIdentity))
    };
    refuse(shard, &evidence, &refusal);
}

impl Grantor<'_> {
    /// Issues a role's credentials to the identity in the token.
    pub(crate) fn sign_in(&mut self, request: &AssumeRoleWithWebIdentity) -> GrantResponse {
        let caller = self.caller;
        // Without signature checks, the token is not verified, and the response repeats its claims.
        let token = Unverified::read(request.token.reveal()).map_err(|it| refused(it, None))?;
        let (subject, audience) = match caller.sign_in() {
            Some(SignIn::Web(identity)) => (&*identity.subject, &*identity.audience),
            Some(SignIn::Thing(_)) | None => (token.subject().unwrap_or_default(), ""),
        };
        let claims = token.claims.session();
        let claims = claims.map_err(|it| refused(it, Some(&ClaimedToken::of(&token))))?;
        let role = request.role.with_claims(claims);
        self.assume(&role, |out, granted, id| {
            let identity = WebIdentity {
                subject,
                audience,
                provider: token.claimed_issuer(),
            };
            web_identity(out, granted, &identity, id);
        })
    }
}

/// The issuer and subject claimed by an unverified token.
struct ClaimedToken {
    issuer: Box<str>,
    subject: Option<Box<str>>,
}

impl ClaimedToken {
    fn of(token: &Unverified<'_>) -> Self {
        Self {
            issuer: named(token.claimed_issuer()),
            subject: token.subject().map(named),
        }
    }

    /// Returns the issuer without `https://`, which is how providers are named.
    fn provider(&self) -> &str {
        let bare = self.issuer.strip_prefix("https://");
        bare.unwrap_or(&self.issuer)
    }
}

/// Returns the refusal for a token, with a reason for operators.
fn refused(fault: TokenFault, claimed: Option<&ClaimedToken>) -> Refusal {
    let invalid = ErrorKind::InvalidIdentityToken;
    let (kind, message) = match fault {
        TokenFault::Expired => (ErrorKind::ExpiredTokenException, fault.to_string()),
        TokenFault::Claim(_) => (ErrorKind::IdpRejectedClaim, fault.to_string()),
        TokenFault::Audience => (invalid, "Incorrect token audience".to_owned()),
        TokenFault::Issuer => {
            let issuer = claimed.map_or("the issuer", |it| &it.issuer);
            let message = "No OpenIDConnect provider found in your account for";
            (invalid, format!("{message} {issuer}"))
        }
        TokenFault::Malformed(_)
        | TokenFault::UnknownKey
        | TokenFault::NoKeys
        | TokenFault::AmbiguousKey
        | TokenFault::Signature => (invalid, fault.to_string()),
    };
    let ground = match claimed {
        Some(ClaimedToken { issuer, subject }) => {
            let subject = subject.as_deref().unwrap_or("-");
            let [issuer, subject] = [issuer, subject].map(|it| it.escape_debug());
            format!("a token of {issuer}, which says to be of {subject}: {fault}")
        }
        None => fault.to_string(),
    };
    Refusal::new(Check::WebTokenInvalid, kind, message).by_policy(Some(ground.into()))
}
