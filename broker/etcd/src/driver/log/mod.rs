//! Lines of the log that say a thing once: what happened to slots and to the registration, and what is wrong with a
//! connection.

pub(crate) mod journal;
mod slots;
mod strangers;
pub(crate) mod trouble;
