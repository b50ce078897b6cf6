//! Bounds of the log, each with its reason and what happens when it is full.

/// Entries and lines that wait for the log thread: at some 300 bytes each they are 1.8 MiB. One more is dropped and
/// counted: `heliograph_log_dropped_total`.
pub(crate) const LOG_LINES_WAITING_MAX: usize = 6144;

/// Audit entries of changes that were made, and places kept for changes under way, beside [`LOG_LINES_WAITING_MAX`]:
/// 0.6 MiB. When all are taken, changes are refused with 503 and counted (`heliograph_audit_refused_total`), so that
/// none is made that nobody could read of.
pub(crate) const LOG_AUDITS_WAITING_MAX: usize = 2048;
