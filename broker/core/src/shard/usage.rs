//! Usage per account: connections, calls, messages, refusals, and pending bytes.
//!
//! Calls and refusals are counted when they are answered, and a connection's messages when it closes, because the
//! account is known at that time. Each open connection counts its own messages, and these counts are added up on
//! request, in steps. Forwarding a message therefore requires no account lookup.

use crate::id::Account;
use crate::limits::USAGE_ACCOUNTS_MAX;
use std::collections::BTreeMap;

/// One account's usage. Everything except the gauges is counted since startup.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Number of currently admitted WebSocket connections (a gauge).
    pub connections: u64,
    /// Number of answered calls, including refused ones.
    pub calls: u64,
    /// Number of messages received on connections to the account's channels, including refused ones.
    pub messages: u64,
    /// Number of refused requests.
    pub refusals: u64,
    /// Bytes in currently pending messages (a gauge).
    pub queued_bytes: u64,
}

/// Usage per account. The entry for `None` contains requests without a known account, and all accounts for which the
/// table has no room.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UsageTable(BTreeMap<Option<Account>, Usage>);

impl UsageTable {
    /// Returns an account's usage, for updating it.
    pub fn of(&mut self, account: Option<Account>) -> &mut Usage {
        let is_listed = self.0.len() < USAGE_ACCOUNTS_MAX || self.0.contains_key(&account);
        self.0.entry(account.filter(|_| is_listed)).or_default()
    }

    /// Adds another shard's usage.
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

    /// Returns each account's usage, sorted by account. The entry for `None` comes first.
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
