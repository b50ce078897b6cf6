//! Responses: written, counted, and logged when they refuse something.

use super::books::Books;
use super::outboxes;
use super::sockets::Sockets;
use super::sts::refuse_sts;
use crate::event::{AuthFailure, Requested, UpgradeOutcome, UpgradeRole};
use crate::id::SessionKey;
use crate::journal::Refused;
use crate::session::Target;
use crate::time::Moment;
use codec::aws::sigv4;
use codec::control::{ErrorKind, Family, Operation, error_body};
use codec::http::{Meta, respond as write_response};
use codec::sts;

/// What a response answers: how it is counted, and how its errors look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// A call of the service's API.
    Api(Operation),
    /// A call of STS; which one is not known until its body was read.
    Sts(Requested),
    /// A request for a WebSocket.
    Upgrade(UpgradeRole),
    /// A request that is neither, or that could not be understood.
    Unknown,
}

/// A response.
pub(super) struct Response<'a> {
    pub(super) purpose: Purpose,
    pub(super) status: u16,
    /// The error's type, if it is one.
    pub(super) error_type: Option<&'static str>,
    pub(super) content_type: &'static str,
    pub(super) body: &'a [u8],
    /// The connection ends with it.
    pub(super) close: bool,
}

impl Purpose {
    pub(super) fn of(target: Target) -> Self {
        match target {
            Target::Api(operation) => Self::Api(operation),
            Target::Sts => Self::Sts(Requested::Unknown),
        }
    }

    /// The word of the log.
    fn word(self) -> &'static str {
        match self {
            Self::Api(operation) => operation.name(),
            Self::Sts(requested) => {
                let labels = Requested::labels();
                labels.get(requested.index()).copied().unwrap_or("sts")
            }
            Self::Upgrade(_) => "upgrade",
            Self::Unknown => "head",
        }
    }

    fn family(self) -> Family {
        match self {
            Self::Api(operation) => operation.family(),
            Self::Sts(_) | Self::Upgrade(_) | Self::Unknown => Family::WebSocket,
        }
    }

    fn operation(self) -> Option<Operation> {
        match self {
            Self::Api(operation) => Some(operation),
            Self::Sts(_) | Self::Upgrade(_) | Self::Unknown => None,
        }
    }
}

/// Answers, and goes on to the next request or ends the connection.
pub(super) fn respond(
    sockets: &mut Sockets,
    books: &mut Books,
    key: SessionKey,
    answer: &Response<'_>,
    at: Moment,
) {
    let id = books.request_id();
    respond_as(sockets, books, key, &id, answer, at);
}

/// The same with a request id that is in the body, or in an audit line.
pub(super) fn respond_as(
    sockets: &mut Sockets,
    books: &mut Books,
    key: SessionKey,
    id: &str,
    answer: &Response<'_>,
    at: Moment,
) {
    let Response {
        purpose,
        status,
        error_type,
        content_type,
        body,
        close,
    } = *answer;
    let close = close || sockets.drains();
    let meta = Meta {
        wall_ms: at.wall.0,
        request_id: id,
        close,
    };
    let bodiless = sockets.http(key).is_some_and(|http| http.bodiless);
    outboxes::push_response(sockets, books, key, |out| {
        write_response(out, &meta, status, error_type, content_type, body);
        if bodiless {
            out.truncate(out.len() - body.len());
        }
    });
    match purpose {
        Purpose::Api(operation) => books.counters.request(Requested::Api(operation), status),
        Purpose::Sts(requested) => books.counters.request(requested, status),
        Purpose::Unknown => books.counters.request(Requested::Unknown, status),
        Purpose::Upgrade(_) => {} // counted by its outcome
    }
    if let Some(error_type) = error_type {
        note_refusal(sockets, books, key, id, purpose, (status, error_type), at);
    }
    sockets.next_request(key, close, at);
}

fn note_refusal(
    sockets: &Sockets,
    books: &mut Books,
    key: SessionKey,
    id: &str,
    purpose: Purpose,
    (status, error_type): (u16, &'static str),
    at: Moment,
) {
    let Some(remote) = sockets.sessions.get(key).map(|session| session.peer.remote) else {
        return;
    };
    books.diary.refused(at.now, || Refused {
        request_id: id.into(),
        status,
        error_type,
        remote,
        what: purpose.word(),
    });
}

/// Answers with a JSON body.
pub(super) fn respond_json(
    sockets: &mut Sockets,
    books: &mut Books,
    key: SessionKey,
    purpose: Purpose,
    body: &[u8],
    close: bool,
    at: Moment,
) {
    let answer = Response {
        purpose,
        status: 200,
        error_type: None,
        content_type: JSON,
        body,
        close,
    };
    respond(sockets, books, key, &answer, at);
}

/// Answers with an error.
pub(super) fn respond_error(
    sockets: &mut Sockets,
    books: &mut Books,
    key: SessionKey,
    purpose: Purpose,
    kind: ErrorKind,
    message: &str,
    close: bool,
    at: Moment,
) {
    let id = books.request_id();
    respond_error_as(
        sockets,
        books,
        key,
        &id,
        purpose,
        (kind, message),
        close,
        at,
    );
}

/// The same with a request id that is in an audit line.
pub(super) fn respond_error_as(
    sockets: &mut Sockets,
    books: &mut Books,
    key: SessionKey,
    id: &str,
    purpose: Purpose,
    (kind, message): (ErrorKind, &str),
    close: bool,
    at: Moment,
) {
    if let Purpose::Sts(requested) = purpose {
        // Nothing but a drain refuses a call of STS before it is read.
        let error = sts::Error::new(sts::ErrorKind::ServiceUnavailable, message.to_owned());
        return refuse_sts(sockets, books, key, id, requested, &error, close, at);
    }
    if let Purpose::Upgrade(role) = purpose {
        books.counters.upgrade(role, outcome_of(kind));
    }
    if matches!(kind, ErrorKind::AccessDenied | ErrorKind::NotAuthorized) {
        books.counters.auth_failure(AuthFailure::Policy);
    }
    let mut body = Vec::new();
    error_body(&mut body, purpose.operation(), message);
    let answer = Response {
        purpose,
        status: kind.status(purpose.family()),
        error_type: Some(kind.error_type()),
        content_type: JSON,
        body: &body,
        close,
    };
    respond_as(sockets, books, key, id, &answer, at);
}

/// Answers a signature that is not right.
pub(super) fn respond_unsigned(
    sockets: &mut Sockets,
    books: &mut Books,
    key: SessionKey,
    purpose: Purpose,
    refusal: &sigv4::Refusal,
    close: bool,
    at: Moment,
) {
    books
        .counters
        .auth_failure(AuthFailure::Signature(refusal.reason()));
    if let Purpose::Upgrade(role) = purpose {
        books
            .counters
            .upgrade(role, UpgradeOutcome::Unauthenticated);
    }
    if let Purpose::Sts(requested) = purpose {
        let id = books.request_id();
        return refuse_sts(
            sockets,
            books,
            key,
            &id,
            requested,
            &(*refusal).into(),
            close,
            at,
        );
    }
    let mut body = Vec::new();
    error_body(&mut body, None, &refusal.to_string());
    let answer = Response {
        purpose,
        status: refusal.status(),
        error_type: Some(refusal.error_type()),
        content_type: JSON,
        body: &body,
        close,
    };
    respond(sockets, books, key, &answer, at);
}

/// A request that cannot be understood: answered, then the connection ends, since what follows it is not known.
pub(super) fn refuse_head(
    sockets: &mut Sockets,
    books: &mut Books,
    key: SessionKey,
    purpose: Purpose,
    status: u16,
    message: &str,
    at: Moment,
) {
    if let Purpose::Upgrade(role) = purpose {
        books.counters.upgrade(role, UpgradeOutcome::Invalid);
    }
    let mut body = Vec::new();
    error_body(&mut body, None, message);
    let answer = Response {
        purpose,
        status,
        error_type: Some(ErrorKind::InvalidArgument.error_type()),
        content_type: JSON,
        body: &body,
        close: true,
    };
    respond(sockets, books, key, &answer, at);
}

impl Sockets {
    /// An answer is queued: the next request, if the connection goes on. A peer that sends no more is looked for when
    /// all that it has sent is answered.
    pub(super) fn next_request(&mut self, key: SessionKey, close: bool, at: Moment) {
        let timeouts = &self.settings.timeouts;
        let deadline = at.now.after(timeouts.keep_alive_ms);
        let answer_due = at.now.after(timeouts.answer_ms);
        let Some(http) = self.http(key) else {
            return;
        };
        http.await_head(deadline);
        http.answer_due = http.answer_due.min(answer_due);
        if close {
            self.close_when_sent(key, at);
        }
    }
}

impl Books {
    /// A new request id: a UUID of version 4 form from the shard's generator.
    pub(super) fn request_id(&mut self) -> String {
        let bits = self.random.u128(..);
        let bits = bits & !(0xf << 76) & !(0x3 << 62) | 0x4 << 76 | 0x2 << 62;
        let hex = format!("{bits:032x}");
        let part = |from: usize, to: usize| hex.get(from..to).unwrap_or_default();
        format!(
            "{}-{}-{}-{}-{}",
            part(0, 8),
            part(8, 12),
            part(12, 16),
            part(16, 20),
            part(20, 32)
        )
    }
}

/// What an upgrade that was refused with an error is counted as.
fn outcome_of(kind: ErrorKind) -> UpgradeOutcome {
    match kind {
        ErrorKind::ResourceNotFound => UpgradeOutcome::NotFound,
        ErrorKind::AccessDenied | ErrorKind::NotAuthorized => UpgradeOutcome::Forbidden,
        ErrorKind::ClientLimitExceeded
        | ErrorKind::AccountChannelLimitExceeded
        | ErrorKind::TagsPerResourceExceededLimit => UpgradeOutcome::Limited,
        ErrorKind::InternalFailure | ErrorKind::ServiceUnavailable => UpgradeOutcome::Unavailable,
        ErrorKind::Serialization
        | ErrorKind::InvalidArgument
        | ErrorKind::ResourceInUse
        | ErrorKind::VersionMismatch
        | ErrorKind::UnknownOperation => UpgradeOutcome::Invalid,
    }
}

pub(super) const JSON: &str = "application/json";
