//! Lines of the log that say a thing once: what happened to slots, and what is wrong with a connection.

pub(super) mod slots;
pub(super) mod trouble;
