//! Refusals that more than one step gives, in the same words.

use crate::check::Check;
use crate::shard::calls::letter::Fault;
use codec::control::ErrorKind;

/// The error when a mailbox or a table of calls is full.
pub(crate) fn too_busy() -> Fault {
    let message = "The server is busy. Try again.";
    Fault::new(Check::MailboxFull, ErrorKind::ServiceUnavailable, message)
}

/// The error for a change whose audit line has no place.
pub(crate) fn unauditable() -> Fault {
    Fault::new(Check::AuditFull, ErrorKind::ServiceUnavailable, UNAUDITABLE)
}

/// Why changes are refused while the log has no place for their audit lines.
pub(crate) const UNAUDITABLE: &str = "The server's log takes no audit entries at the moment, so nothing is \
                                                changed. Try again later.";

/// The refusal of a channel that is not there, in the words of the service.
pub(crate) fn absent(check: Check) -> Fault {
    Fault::new(check, ErrorKind::ResourceNotFound, NOT_FOUND)
}

/// The error for a channel that does not exist, in the words of the service.
const NOT_FOUND: &str = "The requested channel is not found or not active.";

/// The refusal of a channel that is not here, where another node may have it by now.
pub(crate) fn absence_unknown() -> Fault {
    let kind = ErrorKind::ServiceUnavailable;
    Fault::new(Check::AbsenceUnknown, kind, ABSENCE_UNKNOWN)
}

const ABSENCE_UNKNOWN: &str = "This server does not have the channel, and cannot tell at the moment whether another \
                               server has it. Try again later.";

/// The error for callers over their rate.
pub(crate) const RATE_EXCEEDED: &str = "Rate exceeded.";

/// The error while the process is about to end.
pub(crate) fn shutting_down() -> Fault {
    let message = "The server is shutting down.";
    Fault::new(Check::Draining, ErrorKind::ServiceUnavailable, message)
}

/// The error when we contradict ourselves.
pub(crate) fn internal_failure() -> Fault {
    let kind = ErrorKind::InternalFailure;
    Fault::new(Check::InternalFailure, kind, "Internal failure.")
}

/// The refusal of a request for a channel that no node serves.
pub(crate) fn nobody() -> Fault {
    Fault::new(Check::OwnerNone, ErrorKind::ServiceUnavailable, NOBODY)
}

/// The refusal of a connection for which nobody makes room.
pub(crate) const NO_PLACE: &str = "The server has as many connections as it may have, and \
    this caller has its share of them: close some, or try again later.";

/// The refusal of a connection for which there is no place.
pub(crate) const NO_ROOM: &str = "The service has no room for another connection.";

const NOBODY: &str = "No server has this channel at the moment. Try again.";
