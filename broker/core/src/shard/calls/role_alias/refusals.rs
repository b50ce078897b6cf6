//! Refusals of the credentials provider: texts for clients, reasons for operators.

use crate::auth::{Caller, certificate_id};
use crate::check::Check;
use crate::event::Purpose;
use crate::id::SessionKey;
use crate::machine::Shown;
use crate::shard::books::Books;
use crate::shard::books::evidence::{self, Evidence, named};
use crate::shard::calls::respond::{self, JSON, Refusal, Response};
use crate::shard::sockets::Sockets;
use crate::time::Moment;
use codec::http::Head;
use codec::sts::RoleArn;

/// A status, a type and a text.
type Kind = (u16, &'static str, &'static str);

/// A refusal, and who was refused as far as that is known.
pub(crate) struct Refused {
    pub(crate) status: u16,
    pub(crate) error_type: &'static str,
    pub(crate) message: &'static str,
    pub(crate) check: Check,
    /// Why, for operators alone.
    pub(crate) why: Box<str>,
    pub(crate) caller: Option<Caller>,
    /// The role of the alias, if there is one.
    pub(crate) role: Option<RoleArn>,
}

impl Refused {
    pub(crate) fn new(kind: Kind, check: Check, why: impl Into<Box<str>>) -> Box<Self> {
        let (status, error_type, message) = kind;
        Box::new(Self {
            status,
            error_type,
            message,
            check,
            why: why.into(),
            caller: None,
            role: None,
        })
    }

    pub(crate) fn of(mut self: Box<Self>, caller: Caller) -> Box<Self> {
        self.caller = Some(caller);
        self
    }
}

/// Refuses, and notes who it was, as far as that is known.
pub(crate) fn refuse(
    sockets: &mut Sockets,
    books: &mut Books,
    (key, shown): (SessionKey, &Shown),
    (head, close): (&Head<'_>, bool),
    refused: &Refused,
    at: Moment,
) {
    let certificate = shown.certificate.as_ref().map(|it| &it.fingerprint);
    let alias = head.path().strip_prefix("/role-aliases/");
    let alias = alias.and_then(|rest| rest.split('/').next());
    let thing = head.header("x-amzn-iot-thingname");
    let why = format!(
        "role alias {}, thing {}: {}",
        named(alias.unwrap_or("-")),
        named(thing.unwrap_or("-")),
        refused.why
    );
    let session = refused.role.as_ref().zip(certificate);
    let session = session.map(|(role, it)| format!("{}/{}", role.name(), certificate_id(it)));
    let evidence = Evidence {
        session: session.as_deref(),
        role: refused.role.as_ref().map(RoleArn::as_str),
        shown: evidence::Shown {
            certificate,
            thing,
            ..evidence::Shown::default()
        },
        caller: refused.caller.as_ref(),
        policy: Some(&why),
        ..Evidence::default()
    };
    respond_refused(sockets, books, key, (refused, &evidence), close, at);
}

pub(crate) fn respond_refused(
    sockets: &mut Sockets,
    books: &mut Books,
    key: SessionKey,
    (refused, evidence): (&Refused, &Evidence<'_>),
    close: bool,
    at: Moment,
) {
    let body = format!("{{\"message\":\"{}\"}}", refused.message);
    let answer = Response {
        purpose: Purpose::RoleAlias,
        status: refused.status,
        refusal: Some(Refusal {
            error_type: refused.error_type,
            check: refused.check,
            evidence,
        }),
        content_type: JSON,
        body: body.as_bytes(),
        close,
    };
    respond::respond(sockets, books, key, &answer, at);
}

/// The certificate is not let in.
pub(crate) const CERTIFICATE: Kind = (
    403,
    "AccessDeniedException",
    "Certificate is invalid on this endpoint",
);

/// The thing is not one of the certificate's.
pub(crate) const THING_NAME: Kind = (403, "AccessDeniedException", "Invalid thing name passed");

/// No IoT policy allows it.
pub(crate) const DENIED: Kind = (403, "AccessDeniedException", "Access Denied");

/// There is no such alias.
pub(crate) const NO_ALIAS: Kind = (
    404,
    "ResourceNotFoundException",
    "Role alias does not exist",
);

/// The role is not there, or its trust says no.
pub(crate) const ROLE: Kind = (
    400,
    "InvalidRequestException",
    "Unable to assume the role, or the role to assume does not exist",
);

/// The alias has a longer duration than the role.
pub(crate) const DURATION: Kind = (
    400,
    "InvalidRequestException",
    "The requested CredentialDurationSeconds exceeds the MaxSessionDuration set for the role",
);

/// The request is for another name than the connection.
pub(crate) const MISDIRECTED: Kind = (
    421,
    "InvalidRequestException",
    "The Host header does not match the server name",
);

/// There is nothing else here.
pub(crate) const NO_SUCH_PATH: Kind = (
    404,
    "ResourceNotFoundException",
    "There is no such operation on this endpoint",
);

pub(crate) const INTERNAL: Kind = (500, "InternalFailureException", "Internal failure");
