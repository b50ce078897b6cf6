//! Lines of the log that say a thing once: what happened to slots and to the registration, and what is wrong with a
//! connection.

pub(super) mod journal;
mod slots;
mod strangers;
pub(super) mod trouble;
