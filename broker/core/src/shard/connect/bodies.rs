//! A whole request body: the call or the form that it is, or why it is refused.

use crate::auth::Caller;
use crate::event::Purpose;
use crate::id::SessionKey;
use crate::session::http::{HttpStage, PendingBody, PendingCall, Target};
use crate::shard::books::Books;
use crate::shard::books::evidence::Evidence;
use crate::shard::calls::respond::{self, Rejected, purpose_of};
use crate::shard::gate::Gate;
use crate::shard::sockets::Sockets;
use crate::time::Moment;
use codec::control::Call;
use codec::sigv4::Refusal;
use codec::sts;

/// A body whose signature is good.
pub(crate) enum SignedBody {
    /// A call of the API.
    Call(SignedCall),
    /// A form of STS, of this caller; and whether the connection ends with the answer.
    Form(Caller, bool),
    /// A form that signs in with a provider's token, and has no signature; and whether the connection ends with the
    /// answer.
    SignIn(bool),
}

/// A call whose signature is good.
pub(crate) struct SignedCall {
    pub(crate) asked: PendingCall,
    pub(crate) call: Call,
    /// The request as it came, where other nodes may want it.
    pub(crate) whole: Option<Vec<u8>>,
}

/// Reads a whole body; what is no call, or none that is signed, is answered.
pub(crate) fn take_body(
    sockets: &mut Sockets,
    books: &mut Books,
    gate: &mut Gate,
    key: SessionKey,
    body: &mut [u8],
    at: Moment,
) -> Option<SignedBody> {
    let peer = sockets.session(key)?.peer();
    let http = sockets.http(key)?;
    let HttpStage::AwaitBody(awaited) = std::mem::replace(&mut http.stage, HttpStage::AwaitHead)
    else {
        return None;
    };
    let PendingBody {
        target,
        host,
        close,
        length: _,
        head,
    } = *awaited;
    let from = (target, peer);
    let caller = match gate.authenticate(head.as_deref(), body, from, at) {
        Ok(caller) => caller,
        Err(unsigned)
            if target == Target::Sts
                && unsigned.refusal == Refusal::Missing
                && gate.takes_unsigned(body.len())
                && sts::is_web_identity(body) =>
        {
            return Some(SignedBody::SignIn(close));
        }
        Err(unsigned) => {
            let head = head.as_deref();
            let head = head.and_then(|text| gate.reread(text));
            let (purpose, evidence) = (purpose_of(target), gate.evidence(head.as_ref()));
            let rejected = Rejected::new(purpose, &evidence, close);
            respond::respond_unsigned(sockets, books, key, &unsigned, rejected, at);
            return None;
        }
    };
    let operation = match target {
        Target::Api(operation) => operation,
        Target::Sts => return Some(SignedBody::Form(caller, close)),
    };
    // Parsing changes the body, and another node wants it as it came.
    let clustered = sockets.placement().cluster().is_some();
    let whole = clustered.then(|| [head.as_deref().unwrap_or_default(), body].concat());
    match codec::control::parse(operation, body, &sockets.rules().calls) {
        Ok(call) => {
            let asked = PendingCall {
                operation,
                host,
                close,
                caller,
                client_id: None,
                channel: None,
                subject: None,
                place_kept: false,
                held: 0,
            };
            Some(SignedBody::Call(SignedCall { asked, call, whole }))
        }
        Err(error) => {
            let evidence = Evidence {
                caller: Some(&caller),
                ..Evidence::default()
            };
            let (purpose, fault) = (Purpose::Api(operation), error.into());
            let rejected = Rejected::new(purpose, &evidence, close);
            respond::respond_error(sockets, books, key, &fault, rejected, at);
            None
        }
    }
}
