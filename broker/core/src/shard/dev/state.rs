//! The state of the test double.

use crate::shard::dev::account_use::AccountUse;
use crate::shard::dev::capture::{Capture, Copies};
use crate::shard::dev::faults::Faults;
use crate::shard::dev::parity::Parity;
use std::sync::Arc;

/// The parts that only a shard under `--dev` has.
#[derive(Default)]
pub(crate) struct Dev {
    pub(crate) faults: Option<Box<Faults>>,
    /// Not where the strict profile is enforced.
    pub(crate) parity: Option<Box<Parity>>,
    /// Not where no copies are wanted.
    pub(crate) copies: Option<Box<Copies>>,
}

/// The parts that a shard has under `--dev` only.
#[derive(Default)]
pub struct StartDev {
    /// The destination of copies of messages.
    pub copies: Option<Box<dyn Capture>>,
    /// The use of the server's account by all shards.
    pub account_use: Option<Arc<AccountUse>>,
}
