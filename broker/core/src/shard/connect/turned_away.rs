//! Connections that ended before there was a request: counted and noted like every other refusal.

use crate::check::Check;
use crate::event::Purpose;
use crate::id::SessionKey;
use crate::journal::{Refused, Share, Subject};
use crate::machine::TurnedAway;
use crate::shard::books::Books;
use crate::shard::sockets::Sockets;
use crate::time::Moment;
use codec::control::ErrorKind;
use std::net::SocketAddr;

/// Counts and notes a session whose TLS handshake came to nothing.
pub(crate) fn handshake_failed(
    sockets: &Sockets,
    books: &mut Books,
    session: SessionKey,
    why: TurnedAway,
    at: Moment,
) {
    if let Some(session) = sockets.session(session) {
        turned_away(books, session.remote(), why, at);
    }
}

/// Counts and notes it: the request id of the answer, if there is one.
pub(crate) fn turned_away(
    books: &mut Books,
    remote: SocketAddr,
    why: TurnedAway,
    at: Moment,
) -> String {
    let (check, kind) = match why {
        TurnedAway::NoRoom => (Check::ConnectionsFull, ErrorKind::ServiceUnavailable),
        TurnedAway::NoHandshakeRoom => (Check::HandshakesFull, ErrorKind::ServiceUnavailable),
        TurnedAway::PlainHttp => (Check::TlsExpected, ErrorKind::InvalidArgument),
        TurnedAway::Distrusted => (Check::TlsDistrusted, ErrorKind::InvalidArgument),
        TurnedAway::NoCommonTls => (Check::TlsNothingCommon, ErrorKind::InvalidArgument),
        TurnedAway::BrokenTls => (Check::TlsBroken, ErrorKind::InvalidArgument),
        TurnedAway::LeftHandshake => (Check::TlsLeft, ErrorKind::InvalidArgument),
    };
    let status = Purpose::Unknown.status(kind);
    let id = books.refusal_id(check, Purpose::Unknown, status, at.wall);
    books.count_refusal(check);
    let share = Share {
        remote: remote.ip(),
        check,
        subject: Subject::Other,
    };
    books.diary().refused(at.now, share, || {
        Refused::unread(&id, at.wall, status, kind.error_type(), check, remote)
    });
    id
}
