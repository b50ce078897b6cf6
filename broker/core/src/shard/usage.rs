//! The use of each account: connections, calls, messages, refusals, and bytes that are queued for it.
//!
//! Calls and refusals are counted where they are answered, messages of a connection when it ends: each has its account
//! at hand there. Messages of open connections stay with the connections, and are added up for who asks, in steps. So
//! the road of a message has no account.

use crate::id::Account;
use crate::limits::USAGE_ACCOUNTS_MAX;
use std::collections::BTreeMap;

/// The use of one account. All but the gauges are counted from the start of the process on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Gauge: admitted WebSocket connections.
    pub connections: u64,
    /// Answered calls, refused ones included.
    pub calls: u64,
    /// Messages that its connections sent, refused ones included.
    pub messages: u64,
    /// Refused requests whose caller is known.
    pub refusals: u64,
    /// Gauge: bytes of messages that are kept for absent recipients.
    pub queued_bytes: u64,
}

/// The use of accounts; that of `None` is of callers without a known account, and of accounts that found no place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UsageTable(BTreeMap<Option<Account>, Usage>);

impl UsageTable {
    /// The use of an account, to be changed.
    pub fn of(&mut self, account: Option<Account>) -> &mut Usage {
        let is_listed = self.0.len() < USAGE_ACCOUNTS_MAX || self.0.contains_key(&account);
        self.0.entry(account.filter(|_| is_listed)).or_default()
    }

    /// Adds the use on another shard.
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

    /// The accounts in order, behind the use of others.
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
