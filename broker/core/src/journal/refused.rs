//! The record of a refused request, for operators alone.

use crate::check::Check;
use crate::time::Wall;
use std::net::SocketAddr;

/// A refused request or upgrade. Texts from the wire are as the request gave them, cut at [`NAMED_CHARS_MAX`]
/// characters; none is a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The request id that the answer carries.
    pub request_id: Box<str>,
    /// When it was answered.
    pub at: Wall,
    /// The status of the answer.
    pub status: u16,
    /// The error type of the answer, such as `ResourceNotFoundException`.
    pub error_type: &'static str,
    /// Why.
    pub check: Check,
    /// The peer's address.
    pub remote: SocketAddr,
    /// The request: an operation's name, `upgrade`, or `head` when that much was not understood.
    pub what: &'static str,
    /// The same as policies call it: an operation's name, `ConnectAsMaster` or `ConnectAsViewer`.
    pub action: Option<&'static str>,
    /// Its statements about itself.
    pub claims: Claims,
    /// The number of the fault that a test made and that refused it; under `--dev` only.
    pub fault: Option<u64>,
    /// The policy and the statement that refuse it, if a policy refused it.
    pub policy: Option<Box<str>>,
    /// The texts that the signature was compared with, if it came to that and was not right.
    pub explain: Option<Box<Explain>>,
}

impl Refused {
    /// A refusal of which no request is known but its address.
    #[must_use]
    pub fn unread(
        request_id: &str,
        at: Wall,
        status: u16,
        error_type: &'static str,
        check: Check,
        remote: SocketAddr,
    ) -> Self {
        Self {
            request_id: request_id.into(),
            at,
            status,
            error_type,
            check,
            remote,
            what: "head",
            action: None,
            claims: Claims::default(),
            fault: None,
            policy: None,
            explain: None,
        }
    }
}

/// The statements of a refused request about itself, true or not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Claims {
    /// The name of the channel that it names; its text, if that is no ARN.
    pub channel: Option<Box<str>>,
    /// The viewer's client id that it names.
    pub client_id: Option<Box<str>>,
    /// The session of the temporary credentials that it asks for: `ROLE/SESSION`, or a federated user's name.
    pub session: Option<Box<str>>,
    /// The access key id that it is signed with.
    pub key_id: Option<Box<str>>,
    /// The signer; where the signature was not found right, the owner of that key id.
    pub principal: Option<Box<str>>,
    /// When it was signed, minus the server's clock, in seconds. A presigned URL is signed before it is used, so a
    /// negative number may be its age.
    pub clock_skew_s: Option<i64>,
    /// The certificate or the token that it comes with or that its keys hang on, and the role that it asks for.
    pub sign_in: Option<Box<Presented>>,
}

/// The certificate or the token of a sign-in, believed or not, and the role that it asks for. A token is named by its
/// issuer and subject and is never noted itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Presented {
    /// The certificate: the SHA-256 of its DER in hexadecimal digits, as AWS's `certificateId`.
    pub certificate: Option<Box<str>>,
    /// The thing that a device says to be.
    pub thing: Option<Box<str>>,
    /// The issuer of the token, without `https://`.
    pub issuer: Option<Box<str>>,
    /// The claim `sub` of the token.
    pub subject: Option<Box<str>>,
    /// The ARN of the role that it asks for.
    pub role: Option<Box<str>>,
}

impl Presented {
    /// All that is known, each under its name.
    #[must_use]
    pub fn named(&self) -> [(&'static str, Option<&str>); 5] {
        let Self {
            certificate,
            thing,
            issuer,
            subject,
            role,
        } = self;
        [
            ("certificate", certificate.as_deref()),
            ("thing", thing.as_deref()),
            ("issuer", issuer.as_deref()),
            ("subject", subject.as_deref()),
            ("role", role.as_deref()),
        ]
    }
}

/// The texts that a signature was compared with. Values that are secret are cut to eight characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explain {
    /// The canonical request, at most [`EXPLAINED_BYTES_MAX`] bytes of it. It ends early where a header that was signed
    /// did not come.
    pub canonical_request: Box<str>,
    /// The scope in the string to sign: day, region, service.
    pub scope: Box<str>,
}

/// Most characters of a text from the wire that are noted.
pub const NAMED_CHARS_MAX: usize = 256;

/// Most bytes that are noted of a canonical request, and of a scope.
pub const EXPLAINED_BYTES_MAX: usize = 2048;
