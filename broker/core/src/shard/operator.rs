//! Questions of operators: channels and connections, and what happened to them.

pub(crate) mod connection_lookup;
pub(crate) mod import;
pub(crate) mod inspect;
mod presence;
pub(crate) mod trace;
