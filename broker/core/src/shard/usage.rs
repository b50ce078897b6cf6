//! Usage per account: connections, calls, messages, refusals, and pending bytes.
//!
//! Calls and refusals are counted when they are answered, and a connection's messages when it ends, since the account
//! is known at that point. Message counts of open connections are kept with the connections and added up on request, in
//! steps, so that forwarding a message does not need the account.

use crate::id::Account;
use crate::limits::USAGE_ACCOUNTS_MAX;
use std::collections::BTreeMap;

/// The usage of one account. All values except gauges are counted from process startup.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Gauge: number of admitted WebSocket connections.
    pub connections: u64,
    /// Number of calls answered, including those refused.
    pub calls: u64,
    /// Number of messages sent by the account's connections, including those refused.
    pub messages: u64,
    /// Number of refused requests whose caller was known.
    pub refusals: u64,
    /// Gauge: number of bytes of messages pending for absent recipients.
    pub queued_bytes: u64,
}

/// Usage by account; `None` stands for callers without a known account and for accounts beyond the table's capacity.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UsageTable(BTreeMap<Option<Account>, Usage>);

impl UsageTable {
    /// Returns the usage of an account mutably.
    pub fn of(&mut self, account: Option<Account>) -> &mut Usage {
        let is_listed = self.0.len() < USAGE_ACCOUNTS_MAX || self.0.contains_key(&account);
        self.0.entry(account.filter(|_| is_listed)).or_default()
    }

    /// Adds the usage counted on another shard.
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

    /// Returns the usage per account, sorted by account; the entry without an account comes first.
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
