//! AssumeRoleWithWebIdentity: the rights of a role for the token of an OpenID provider. It is the one call without a
//! signature: the token is what proves who it is.

use crate::auth::provider::{TokenFault, Unverified};
use crate::event::{Purpose, Requested};
use crate::shard::calls::responses::{self, Rejected, StsFault};
use crate::shard::calls::sts::{self, Grantor, SignedForm, answer_parsed};
use crate::shard::context::Context;
use crate::shard::gate::{ClaimedToken, Gate, WebFault};
use crate::shard::sockets::Sockets;
use crate::shard::telemetry::{Evidence, Shown};
use crate::{auth::SignIn, check::Check, id::SessionKey, settings::Rate};
use codec::sts::{AssumeRoleWithWebIdentity, Error, ErrorKind, Request, WebIdentity, web_identity};

/// A form that signs in.
pub(crate) struct UnsignedForm<'a> {
    /// Its connection.
    pub(crate) key: SessionKey,
    /// The form.
    pub(crate) body: &'a [u8],
    /// The connection ends with the answer.
    pub(crate) close: bool,
    /// The rate at which an account may give keys, if that is limited.
    pub(crate) rate: Option<Rate>,
}

/// Answers a form that signs in: the token first, then the role.
pub(crate) fn answer_sign_in(
    sockets: &mut Sockets,
    cx: &mut Context,
    gate: &mut Gate,
    form: &UnsignedForm<'_>,
) {
    let strict = sockets.settings().strict();
    let parsed = codec::sts::parse(form.body, &codec::sts::FormRules { strict });
    let Some(peer) = sockets.session(form.key).map(|session| session.peer()) else {
        return;
    };
    let token = match &parsed {
        Ok(Request::AssumeRoleWithWebIdentity(request)) => request.token.reveal(),
        Ok(_) | Err(_) => "",
    };
    let (refused, claimed) = match (gate.identify(token, peer, cx.at), &parsed) {
        (_, Err(error)) => {
            let fault = StsFault::new(sts::check_of(error.kind), error.clone());
            (fault, None)
        }
        (Err(fault), Ok(_)) => (refusal(&fault), fault.claimed),
        (Ok(caller), Ok(_)) => {
            let signed = SignedForm {
                key: form.key,
                caller: &caller,
                body: form.body,
                close: form.close,
                rate: form.rate,
            };
            return answer_parsed(sockets, cx, gate, (&signed, parsed));
        }
    };
    let session = parsed.as_ref().ok().and_then(sts::session_of);
    let evidence = Evidence {
        session: session.as_deref(),
        role: parsed.as_ref().ok().and_then(sts::role_of),
        shown: Shown {
            issuer: claimed.as_ref().map(ClaimedToken::provider),
            subject: claimed.as_ref().and_then(|it| it.subject.as_deref()),
            ..Shown::default()
        },
        ..Evidence::default()
    };
    let purpose = Purpose::Sts(Requested::WebIdentity);
    let rejected = Rejected::new(purpose, &evidence, form.close);
    responses::refuse_sts(sockets, cx, form.key, &refused, rejected);
}

impl Grantor<'_> {
    /// Makes temporary credentials with the rights of a role for the identity of a token.
    pub(crate) fn sign_in(
        &mut self,
        request: &AssumeRoleWithWebIdentity,
    ) -> Result<Vec<u8>, StsFault> {
        let caller = self.caller;
        let read = |fault| {
            refusal(&WebFault {
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
            refusal(&WebFault { fault, claimed })
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
fn refusal(WebFault { fault, claimed }: &WebFault) -> StsFault {
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
    StsFault {
        check: Check::WebTokenInvalid,
        error: Error::new(kind, message),
        policy: Some(ground.into()),
    }
}
