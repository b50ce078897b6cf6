//! The state of the test double.

use super::account_use::AccountUse;
use super::capture::{Capture, Copies};
use super::faults::Faults;
use super::parity::Parity;
use std::sync::Arc;

/// The parts that only a shard under `--dev` has.
#[derive(Default)]
pub(in crate::shard) struct Dev {
    pub(super) faults: Option<Box<Faults>>,
    /// Not where the strict profile is enforced.
    pub(super) parity: Option<Box<Parity>>,
    /// Not where no copies are wanted.
    pub(super) copies: Option<Box<Copies>>,
}

/// The parts that a shard has under `--dev` only.
#[derive(Default)]
pub struct StartDev {
    /// The destination of copies of messages.
    pub copies: Option<Box<dyn Capture>>,
    /// The use of the server's account by all shards.
    pub account_use: Option<Arc<AccountUse>>,
}
