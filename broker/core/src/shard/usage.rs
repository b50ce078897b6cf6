//! Usage per account: connections, calls, messages, refusals, and pending bytes.
//!
//! Calls and refusals are counted when they are answered, and the messages of a connection when it closes, because the
//! account is known then. Each open connection counts its own messages. These are added up on request, in steps.
//! Forwarding a message therefore requires no lookup of the account.

use crate::id::Account;
use crate::limits::USAGE_ACCOUNTS_MAX;
use std::collections::BTreeMap;

/// The usage of one account. Everything except the gauges is counted from startup.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Number of WebSocket connections that are admitted now (a gauge).
    pub connections: u64,
    /// Number of calls that were answered, including those that were refused.
    pub calls: u64,
    /// Number of messages received on connections to the account's channels, including those that were refused.
    pub messages: u64,
    /// Number of requests that were refused.
    pub refusals: u64,
    /// Number of bytes of messages that are pending now (a gauge).
    pub queued_bytes: u64,
}

/// Usage per account. The entry for `None` contains requests without a known account, and all accounts for which the
/// table has no room.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UsageTable(BTreeMap<Option<Account>, Usage>);

impl UsageTable {
    /// Returns the usage of an account, mutably.
    pub fn of(&mut self, account: Option<Account>) -> &mut Usage {
        let is_listed = self.0.len() < USAGE_ACCOUNTS_MAX || self.0.contains_key(&account);
        self.0.entry(account.filter(|_| is_listed)).or_default()
    }

    /// Adds the usage that another shard has counted.
    pub fn add(&mut self, other: &Self) {
        for (account, usage) in other.rows() {
            let own = self.of(account);
            own.connections += usage.connections;
            own.calls += usage.calls;
            own.messages += usage.messages;
            own.refusals += usage.refusals;
            own.queued_bytes += usage.queued_bytes;
        }
    }

    /// Returns the usage of each account, sorted by account, with the entry for `None` first.
    pub fn rows(&self) -> impl Iterator<Item = (Option<Account>, Usage)> {
        self.0.iter().map(|(account, usage)| (*account, *usage))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts_beyond_the_bound_are_counted_together() {
        let (mut one, mut other) = (UsageTable::default(), UsageTable::default());
        let most = USAGE_ACCOUNTS_MAX as u64;
        for number in 0..most + 10 {
            one.of(Some(Account(number))).calls += 1;
        }
        other.of(Some(Account(most + 50))).calls += 5;
        other.of(Some(Account(3))).messages += 7;
        other.of(None).refusals += 2;
        one.add(&other);
        let mut rows = one.rows();
        let (others, usage) = rows.next().unwrap();
        assert_eq!((others, usage.calls, usage.refusals), (None, 15, 2));
        let rows: Vec<_> = rows.collect();
        assert_eq!(rows.len(), USAGE_ACCOUNTS_MAX);
        assert_eq!((rows[3].1.calls, rows[3].1.messages), (1, 7));
        assert!(rows.is_sorted_by_key(|(account, _)| *account));
    }
}
