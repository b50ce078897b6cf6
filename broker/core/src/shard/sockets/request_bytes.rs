//! The bytes that HTTP connections hold of unfinished requests, requests that wait, and answers that are not taken, and
//! WebSockets of unfinished messages: charged to the address they come from, out of one budget.
//!
//! No address has a fixed share while there is room. When there is none, the address that holds most pays, and of its
//! connections the one that holds most: with a 503 where a request is awaited, with its end otherwise. So an address
//! that holds less than an equal part of the budget is served, whatever others hold.

use crate::crowd::Origin;
use crate::id::SessionKey;
use crate::shard::shares::Shares;
use std::collections::BTreeMap;

/// The bytes that connections hold, by address and connection.
#[derive(Debug, Default)]
pub(crate) struct RequestBytes {
    /// By the address they come from.
    pub(crate) shares: Shares<Origin, SessionKey>,
    /// The sum.
    pub(crate) bytes: usize,
    /// By connection: only those that hold something.
    pub(crate) charges: BTreeMap<SessionKey, usize>,
    /// Connections that had to make room for others' requests.
    pub(crate) refused: u64,
}

impl RequestBytes {
    /// Checks that the sum and the shares are those of the charges. Returns the number of charges.
    ///
    /// # Panics
    /// When they are not.
    pub(crate) fn invariants(&self) -> usize {
        let sum: usize = self.charges.values().sum();
        assert_eq!(sum, self.bytes, "the sum of the charges");
        assert_eq!(sum, self.shares.bytes(), "the shares of the charges");
        self.charges.len()
    }
}
