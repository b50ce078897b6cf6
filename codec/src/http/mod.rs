//! The part of HTTP/1.1 that a signaling service needs: request heads, the upgrade, query strings, whole responses.
//!
//! The road of a request: [`HeadScanner`] finds where the head ends while bytes arrive, [`Head`] parses it once it is
//! whole, [`upgrade`] distinguishes a WebSocket from a call, [`respond`] and its siblings write the answer in one
//! piece.

mod date;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod head;
mod query;
mod response;
mod scanner;
mod upgrade;

pub use date::{DATE_BYTES, imf_fixdate};
pub use head::{Body, Head};
pub use query::{QueryError, decode, encode, pairs};
pub use response::{
    CONTINUE, ErrorHead, Meta, ends_connection, preflight, respond, switching_protocols,
};
pub use scanner::{HeadError, HeadLimits, HeadScanner};
pub use upgrade::{Upgrade, UpgradeError, upgrade};
