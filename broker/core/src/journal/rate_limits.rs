//! A shard's journal, which limits the rate of entries that peers can trigger at will.

use crate::journal::refusals::{Budget, LogShare};
use crate::journal::{
    Audit, ConnectionEnd, Entry, Forbidden, Journal, Refused, Superseded, UnacceptedMessage,
};
use crate::limits::{
    DENIALS_LOGGED_PER_PREFIX, DENIALS_LOGGED_PER_SECOND, ENDS_LOGGED_PER_ACCOUNT,
    ENDS_LOGGED_PER_SECOND, NODE_TROUBLES_LOGGED_PER_SECOND, STORE_TROUBLES_LOGGED_PER_SECOND,
    UNACCEPTED_LOGGED_PER_ACCOUNT, UNACCEPTED_LOGGED_PER_SECOND,
};
use crate::{id::Account, time::Now};
use std::fmt;
use std::net::IpAddr;

/// A shard's journal. Limits the rate of entries that peers can trigger at will.
pub struct LimitedJournal {
    journal: Box<dyn Journal>,
    refusals: Budget,
    /// Limits logged denials per network, so that a flood from one network does not hide the others.
    denials: Limiter<Prefix>,
    ends: Limiter<Account>,
    unaccepted: Limiter<Account>,
    superseded: Limiter<Account>,
    troubles: Limiter<()>,
    nodes: Limiter<()>,
    /// Number of requests that other nodes left unanswered since the last log entry about them.
    unanswered: u64,
    suppressed: u64,
    /// Number of changes refused because the log had no space for their audit entries.
    unauditable: u64,
}

/// Limits the number of entries logged per second, in total and per key (a network or an account).
#[derive(Debug)]
struct Limiter<K> {
    most: u32,
    of_one_most: u32,
    second: u64,
    noted: u32,
    /// The networks or accounts that have logged entries in this second, with the number of entries. The total limit
    /// bounds the length of this list.
    holders: Vec<(K, u32)>,
    /// Number of entries suppressed since the last one that was logged.
    untold: u64,
}

impl<K: Copy + PartialEq> Limiter<K> {
    const fn new(most: u32, of_one_most: u32) -> Self {
        Self {
            most,
            of_one_most,
            second: 0,
            noted: 0,
            holders: Vec::new(),
            untold: 0,
        }
    }

    /// Returns `true` if another entry for this network or account may be logged. Counts the entry as logged or
    /// suppressed accordingly.
    fn lets(&mut self, now: Now, holder: K) -> bool {
        let second = now.0 / 1000;
        if second != self.second {
            (self.second, self.noted) = (second, 0);
            self.holders.clear();
        }
        let known = self.holders.iter_mut().find(|(known, _)| *known == holder);
        let lets = self.noted < self.most
            && known
                .as_ref()
                .is_none_or(|(_, noted)| *noted < self.of_one_most);
        if !lets {
            self.untold += 1;
            return false;
        }
        self.noted += 1;
        match known {
            Some((_, noted)) => *noted += 1,
            None => self.holders.push((holder, 1)),
        }
        true
    }
}

/// A peer's network: the /24 of an IPv4 address or the /48 of an IPv6 address. Used to share the log fairly.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Prefix {
    /// An IPv4 /24 network.
    V4([u8; 3]),
    /// An IPv6 /48 network.
    V6([u8; 6]),
}

impl Prefix {
    /// Returns the network of an address. An IPv4-mapped IPv6 address counts as IPv4.
    #[must_use]
    pub fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => {
                let [a, b, c, _] = address.octets();
                Self::V4([a, b, c])
            }
            IpAddr::V6(address) => {
                let [a, b, c, d, e, f, ..] = address.octets();
                Self::V6([a, b, c, d, e, f])
            }
        }
    }
}

impl LimitedJournal {
    /// Wraps `journal` with rate limits.
    #[must_use]
    pub fn new(journal: Box<dyn Journal>) -> Self {
        Self {
            journal,
            refusals: Budget::default(),
            denials: Limiter::new(DENIALS_LOGGED_PER_SECOND, DENIALS_LOGGED_PER_PREFIX),
            ends: Limiter::new(ENDS_LOGGED_PER_SECOND, ENDS_LOGGED_PER_ACCOUNT),
            unaccepted: Limiter::new(UNACCEPTED_LOGGED_PER_SECOND, UNACCEPTED_LOGGED_PER_ACCOUNT),
            superseded: Limiter::new(ENDS_LOGGED_PER_SECOND, ENDS_LOGGED_PER_ACCOUNT),
            troubles: Limiter::new(
                STORE_TROUBLES_LOGGED_PER_SECOND,
                STORE_TROUBLES_LOGGED_PER_SECOND,
            ),
            nodes: Limiter::new(
                NODE_TROUBLES_LOGGED_PER_SECOND,
                NODE_TROUBLES_LOGGED_PER_SECOND,
            ),
            unanswered: 0,
            suppressed: 0,
            unauditable: 0,
        }
    }

    /// Reserves space for the audit entry of a change by an account. If none is left, counts the failure and returns
    /// `false`, and the change must be refused. Every reservation ends with a call to [`LimitedJournal::changed`] or
    /// [`LimitedJournal::unchanged`].
    pub fn keep_place(&mut self, account: Account) -> bool {
        let kept = self.journal.keep_place(account);
        self.unauditable += u64::from(!kept);
        kept
    }

    /// Records a completed change in the space reserved for it.
    pub fn changed(&mut self, account: Account, audit: Audit) {
        self.journal.note_kept(account, Entry::Audit(audit));
    }

    /// Releases the space reserved for a change that was not made.
    pub fn unchanged(&mut self, account: Account) {
        self.journal.give_back(account);
    }

    /// Returns the number of changes refused because the log had no space for their audit entries.
    #[must_use]
    pub fn unauditable(&self) -> u64 {
        self.unauditable
    }

    /// Records a store failure. Logs at most [`STORE_TROUBLES_LOGGED_PER_SECOND`] failures and counts the rest.
    pub fn trouble(&mut self, now: Now, error: Box<str>) {
        if self.troubles.lets(now, ()) {
            self.journal.note(Entry::StoreTrouble { error });
        } else {
            self.suppressed += 1;
        }
    }

    /// Records how many open connections the reloaded credentials no longer permit.
    pub fn forbidden(&mut self, forbidden: Forbidden) {
        self.journal.note(Entry::Forbidden(forbidden));
    }

    /// Records that another node did not answer a request. Logs at most [`NODE_TROUBLES_LOGGED_PER_SECOND`] entries,
    /// each with the number of requests since the previous one.
    pub fn node_trouble(&mut self, now: Now, node: &str, why: &'static str) {
        self.unanswered += 1;
        if self.nodes.lets(now, ()) {
            self.journal.note(Entry::NodeTrouble {
                node: node.into(),
                why,
                requests: std::mem::take(&mut self.unanswered),
            });
        }
    }

    /// Returns the number of entries suppressed since the process started.
    #[must_use]
    pub fn suppressed(&self) -> u64 {
        self.suppressed
    }

    /// Records the end of a connection to a channel of this account. Logs at most [`ENDS_LOGGED_PER_SECOND`] entries in
    /// total and [`ENDS_LOGGED_PER_ACCOUNT`] per account. If entries were suppressed, their number is logged before the
    /// next one.
    pub fn ended(&mut self, now: Now, account: Account, end: ConnectionEnd) {
        if !self.ends.lets(now, account) {
            self.suppressed += 1;
            return;
        }
        match std::mem::take(&mut self.ends.untold) {
            0 => {}
            ends => self.journal.note(Entry::EndsSuppressed { ends }),
        }
        self.journal.note(Entry::ConnectionEnd(end));
    }

    /// Records a refused message. Logs at most [`UNACCEPTED_LOGGED_PER_SECOND`] entries in total and
    /// [`UNACCEPTED_LOGGED_PER_ACCOUNT`] per account. An entry is built only if it is logged, and states how many were
    /// suppressed before it.
    pub fn unaccepted(
        &mut self,
        now: Now,
        account: Account,
        message: impl FnOnce(u64) -> UnacceptedMessage,
    ) {
        if !self.unaccepted.lets(now, account) {
            self.suppressed += 1;
            return;
        }
        let message = message(std::mem::take(&mut self.unaccepted.untold));
        self.journal.note(Entry::Unaccepted(Box::new(message)));
    }

    /// Records a superseded connection. Logs at most [`ENDS_LOGGED_PER_SECOND`] entries in total and
    /// [`ENDS_LOGGED_PER_ACCOUNT`] per account. An entry is built only if it is logged, and states how many were
    /// suppressed before it.
    pub fn superseded(
        &mut self,
        now: Now,
        account: Account,
        superseded: impl FnOnce(u64) -> Superseded,
    ) {
        if !self.superseded.lets(now, account) {
            self.suppressed += 1;
            return;
        }
        let superseded = superseded(std::mem::take(&mut self.superseded.untold));
        self.journal.note(Entry::Superseded(Box::new(superseded)));
    }

    /// Records a refusal. In each window, the first refusal of every group is logged, and so are a few repeats. The
    /// entry is built only if it is logged. [`LimitedJournal::window_over`] logs the number of suppressed refusals.
    pub fn refused(&mut self, now: Now, share: LogShare<'_>, refused: impl FnOnce() -> Refused) {
        self.window_over(now);
        if self.refusals.lets(share) {
            self.journal.note(Entry::Refused(Box::new(refused())));
        } else {
            self.suppressed += 1;
        }
    }

    /// Returns when [`LimitedJournal::window_over`] must be called, or `None` if there are no counts to log.
    #[must_use]
    pub fn next_due(&self) -> Option<Now> {
        self.refusals.next_due()
    }

    /// Logs the number of refusals that were suppressed in the last window, once that window has ended.
    pub fn window_over(&mut self, now: Now) {
        if let Some((refusals, counts)) = self.refusals.counts_until(now) {
            self.journal.note(Entry::Suppressed { refusals, counts });
        }
    }

    /// Records a policy denial or a refused change. Logs at most [`DENIALS_LOGGED_PER_SECOND`] entries in total and
    /// [`DENIALS_LOGGED_PER_PREFIX`] per network. Every denial is also recorded as a refusal, so denials that are not
    /// logged are still counted.
    pub fn denied(&mut self, now: Now, audit: Audit) {
        if self.denials.lets(now, Prefix::of(audit.remote.ip())) {
            self.journal.note(Entry::Audit(audit));
        } else {
            self.suppressed += 1;
        }
    }
}

impl fmt::Debug for LimitedJournal {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.debug_struct("LimitedJournal")
            .field("suppressed", &self.suppressed)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::Check;
    use crate::journal::{EndReason, RefusalCount, Subject};
    use crate::limits::{REFUSAL_WINDOW_MS, REFUSALS_REPEATED_PER_NETWORK};
    use crate::time::Wall;
    use codec::signal::Role;
    use crossbeam_channel::{Receiver, Sender, unbounded};
    use std::net::SocketAddr;

    struct Kept(Sender<Entry>);

    impl Journal for Kept {
        fn note(&mut self, entry: Entry) {
            self.0.send(entry).unwrap();
        }
    }

    fn remote(network: u8) -> SocketAddr {
        ([192, 0, network, 1], 9).into()
    }

    fn refused(remote: SocketAddr) -> Refused {
        let check = Check::ChannelAbsent;
        Refused::unread(
            "r",
            Wall(7),
            404,
            "ResourceNotFoundException",
            check,
            remote,
        )
    }

    fn note(journal: &mut LimitedJournal, now: u64, network: u8) {
        let remote = remote(network);
        let share = LogShare {
            remote: remote.ip(),
            check: Check::ChannelAbsent,
            subject: Subject::Channel(None, "cam".into()),
        };
        journal.refused(Now(now), share, || refused(remote));
    }

    #[test]
    fn refusals_are_limited_by_the_window_and_what_was_left_out_is_counted() {
        let (to, kept) = unbounded();
        let mut journal = LimitedJournal::new(Box::new(Kept(to)));
        let most = u64::from(REFUSALS_REPEATED_PER_NETWORK) + 1;
        for _ in 0..most + 3 {
            note(&mut journal, REFUSAL_WINDOW_MS - 1, 1);
        }
        assert_eq!((journal.suppressed(), kept.len() as u64), (3, most));
        assert_eq!(journal.next_due(), Some(Now(REFUSAL_WINDOW_MS)));
        note(&mut journal, REFUSAL_WINDOW_MS - 1, 2);
        journal.window_over(Now(REFUSAL_WINDOW_MS - 1));
        assert_eq!(kept.try_iter().count() as u64, most + 1);
        note(&mut journal, REFUSAL_WINDOW_MS, 1);
        let entries: Vec<Entry> = kept.try_iter().collect();
        let counts = [RefusalCount {
            check: Some(Check::ChannelAbsent),
            subject: Subject::Channel(None, "cam".into()),
            refusals: 3,
        }];
        let suppressed = Entry::Suppressed {
            refusals: 3,
            counts: counts.into(),
        };
        let next = Entry::Refused(Box::new(refused(remote(1))));
        assert_eq!(entries, [suppressed, next]);
        journal.window_over(Now(9 * REFUSAL_WINDOW_MS));
        assert!(kept.is_empty() && journal.next_due().is_none());
    }

    #[test]
    fn one_network_hides_no_other() {
        let (to, kept) = unbounded();
        let mut journal = LimitedJournal::new(Box::new(Kept(to)));
        for _ in 0..1000 {
            note(&mut journal, 1_000, 1);
        }
        note(&mut journal, 1_500, 2);
        let from = |kept: &Receiver<Entry>, network| {
            let entries = kept.try_iter();
            let entry = Entry::Refused(Box::new(refused(remote(network))));
            entries.filter(|one| *one == entry).count()
        };
        let noted = REFUSALS_REPEATED_PER_NETWORK as usize + 2;
        assert_eq!(kept.len(), noted);
        assert_eq!(from(&kept, 2), 1);
        note(&mut journal, 1_000 + REFUSAL_WINDOW_MS, 1);
        assert_eq!(from(&kept, 1), 1, "a new window");
    }

    #[test]
    fn ends_of_one_account_hide_no_others_and_are_counted() {
        let (to, kept) = unbounded();
        let mut journal = LimitedJournal::new(Box::new(Kept(to)));
        let end = ConnectionEnd {
            role: Role::Master,
            client_id: None,
            channel: None,
            account: Account(1),
            remote: remote(1),
            duration_ms: 1,
            messages_in: 0,
            messages_out: 0,
            returned: 0,
            offered_ms: None,
            answered_ms: None,
            reason: EndReason::PeerGone,
            refused_by: None,
        };
        let mut ended = |at, account| journal.ended(Now(at), Account(account), end.clone());
        (0..1000).for_each(|_| ended(1_000, 1));
        ended(1_999, 2);
        ended(2_000, 1);
        let found = journal.suppressed();
        assert_eq!(found, 1000 - u64::from(ENDS_LOGGED_PER_ACCOUNT));
        let ends = u64::from(ENDS_LOGGED_PER_ACCOUNT) + 2;
        let entries: Vec<Entry> = kept.try_iter().collect();
        assert_eq!(entries.len() as u64, ends + 1);
        let counted = |entry: &&Entry| matches!(entry, Entry::EndsSuppressed { ends: 950 });
        assert_eq!(entries.iter().filter(counted).count(), 1);
        assert!(journal.ends.holders.len() == 1, "a second has begun");
    }

    #[test]
    fn networks_are_those_that_one_holder_has() {
        let of = |text: &str| Prefix::of(text.parse().unwrap());
        assert_eq!(of("192.0.2.1"), of("192.0.2.254"));
        assert_eq!(of("192.0.2.1"), of("::ffff:192.0.2.9"));
        assert_ne!(of("192.0.2.1"), of("192.0.3.1"));
        assert_eq!(of("2001:db8:1::1"), of("2001:db8:1:ffff::2"));
        assert_ne!(of("2001:db8:1::1"), of("2001:db8:2::1"));
    }
}
