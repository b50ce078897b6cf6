//! AssumeRoleWithWebIdentity: the rights of a role for the token of an OpenID provider. It is the one call without a
//! signature: the token is what proves who it is.

use crate::auth::provider::{TokenFault, Unverified};
use crate::event::{Purpose, Requested};
use crate::shard::calls::responses::refuse;
use crate::shard::calls::sts::{self, Form, Grantor, answer_parsed};
use crate::shard::context::Context;
use crate::shard::evidence::{Evidence, Shown};
use crate::shard::gate::{ClaimedToken, Gate, WebFault};
use crate::shard::sockets::Sockets;
use crate::{auth::SignIn, check::Check, refusal::Refusal};
use codec::sts::{AssumeRoleWithWebIdentity, Error, ErrorKind, Request, WebIdentity, web_identity};

/// Answers a form that signs in: the token first, then the role.
pub(crate) fn answer_sign_in(
    sockets: &mut Sockets,
    cx: &mut Context,
    gate: &mut Gate,
    form: &Form<'_>,
    parsed: Result<Request, Error>,
) {
    let Some(peer) = sockets.session(form.key).map(|session| session.peer()) else {
        return;
    };
    let token = match &parsed {
        Ok(Request::AssumeRoleWithWebIdentity(request)) => request.token.reveal(),
        Ok(_) | Err(_) => "",
    };
    let (refusal, claimed) = match (gate.identify(token, peer, cx.at), &parsed) {
        (_, Err(error)) => {
            let refusal = Refusal::sts(sts::check_of(error.kind), error.clone());
            (refusal, None)
        }
        (Err(fault), Ok(_)) => (refused(&fault), fault.claimed),
        (Ok(caller), Ok(_)) => {
            return answer_parsed(sockets, cx, gate, form, &caller, parsed);
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
        ..Evidence::of(Purpose::Sts(Requested::WebIdentity))
    };
    refuse(sockets, cx, form.key, &evidence, &refusal);
}

impl Grantor<'_> {
    /// Makes temporary credentials with the rights of a role for the identity of a token.
    pub(crate) fn sign_in(
        &mut self,
        request: &AssumeRoleWithWebIdentity,
    ) -> Result<Vec<u8>, Refusal> {
        let caller = self.caller;
        let read = |fault| {
            refused(&WebFault {
                fault,
                claimed: None,
            })
        };
        // Nobody has checked it if no signature is asked for: the answer names what it says.
        let token = Unverified::read(request.token.reveal()).map_err(read)?;
        let (subject, audience) = match caller.sign_in() {
            Some(SignIn::Web(identity)) => (&*identity.subject, &*identity.audience),
            Some(SignIn::Thing(_)) | None => (token.subject().unwrap_or_default(), ""),
        };
        let claims = token.session_claims().map_err(|fault| {
            let claimed = Some(ClaimedToken {
                issuer: token.claimed_issuer().into(),
                subject: Some(subject.into()),
            });
            refused(&WebFault { fault, claimed })
        })?;
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

/// The answer to a token that is not accepted, with what operators alone read.
fn refused(WebFault { fault, claimed }: &WebFault) -> Refusal {
    let kind = match fault {
        TokenFault::Expired => ErrorKind::ExpiredTokenException,
        TokenFault::Claim(_) => ErrorKind::IdpRejectedClaim,
        TokenFault::Malformed(_)
        | TokenFault::Issuer
        | TokenFault::Audience
        | TokenFault::UnknownKey
        | TokenFault::NoKeys
        | TokenFault::AmbiguousKey
        | TokenFault::Signature => ErrorKind::InvalidIdentityToken,
    };
    let message = match fault {
        TokenFault::Audience => "Incorrect token audience".to_owned(),
        TokenFault::Issuer => {
            let issuer = claimed.as_ref().map_or("the issuer", |it| &it.issuer);
            format!("No OpenIDConnect provider found in your account for {issuer}")
        }
        TokenFault::Malformed(_)
        | TokenFault::Expired
        | TokenFault::Claim(_)
        | TokenFault::UnknownKey
        | TokenFault::NoKeys
        | TokenFault::AmbiguousKey
        | TokenFault::Signature => fault.to_string(),
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
