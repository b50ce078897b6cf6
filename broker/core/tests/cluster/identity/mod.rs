//! Processes that are not the node that they seem to be: of another secret, of another one's name.

pub(crate) mod namesakes;
mod secrets;
