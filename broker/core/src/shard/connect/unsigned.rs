//! Forms of STS without a signature: sign-ins with a provider's token.

use crate::id::SessionKey;
use crate::session::http::Target;
use crate::shard::gate::Gate;
use crate::shard::sockets::Sockets;
use crate::time::Moment;
use codec::http::Head;
use codec::sigv4::Refusal;

/// A form without a signature that may be a sign-in with a provider's token.
pub(crate) enum UnsignedForm {
    /// Its body is read, which says whether it is one.
    Read,
    /// Its address has used up its rate.
    TooMany,
}

/// Whether a request is a form without a signature that may be a sign-in; `None` for any other.
pub(crate) fn unsigned_form(
    sockets: &mut Sockets,
    gate: &mut Gate,
    key: SessionKey,
    (head, target, length): (&Head<'_>, Target, usize),
    at: Moment,
) -> Option<UnsignedForm> {
    if target != Target::Sts || !gate.takes_unsigned(length) {
        return None;
    }
    let unsigned = gate.precheck(head, target, at).err()?;
    if unsigned.refusal != Refusal::Missing {
        return None;
    }
    let peer = sockets.session(key)?.peer();
    Some(if gate.may_sign_in(peer, at) {
        UnsignedForm::Read
    } else {
        UnsignedForm::TooMany
    })
}
