//! The last refusals, in memory: what operators search to find out why a connection failed.
//!
//! They are as many as [`REFUSALS_KEPT_MAX`] and [`REFUSALS_KEPT_BYTES_MAX`] allow. Beyond that, the network with the
//! most of them loses the oldest one of its largest group (one check of one channel or key): a flood from one network
//! pushes out its own, and a camera that storms its own, so that the one line of a device elsewhere, or behind the same
//! address, stays.

use crate::edge::clock::calendar;
use crate::limits::{REFUSALS_KEPT_BYTES_MAX, REFUSALS_KEPT_MAX};
use crate::side::refusals::groups::{GroupKey, Groups, key_of};
use crate::side::shared::Shared;
use broker_core::journal::{Claims, Entry, Explain, Prefix, Presented, Refused, Subject};
use broker_core::time::Wall;
use std::cmp::Reverse;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use tokio::sync::Notify;

/// The last refusals. The log thread adds to it, the admin listener reads.
#[derive(Debug, Default)]
pub(crate) struct Recent {
    ring: Shared<Ring>,
    noted: Notify,
}

/// The result of a search: the refusals, and the extent of what was searched.
#[derive(Debug)]
pub(crate) struct RefusalMatches {
    /// The newest first.
    pub(crate) refusals: Vec<Arc<Refused>>,
    /// The number of those that fit, shown or not.
    pub(crate) found: usize,
    /// The number of the last one that is shown, if older ones fit.
    pub(crate) next: Option<u64>,
    /// The number of kept refusals.
    pub(crate) kept: usize,
    /// When the oldest that is kept happened.
    pub(crate) since: Option<Wall>,
    /// Refusals that were counted and not noted, since there were too many within a window.
    pub(crate) suppressed: u64,
}

#[derive(Debug)]
struct Ring {
    /// Most rows, and most bytes of them.
    most: (usize, usize),
    /// By their number in the order of arrival.
    rows: BTreeMap<u64, Arc<Refused>>,
    /// The numbers of each network's groups, in order. Names that do not exist are one group.
    of: BTreeMap<Prefix, BTreeMap<GroupKey, VecDeque<u64>>>,
    groups: Groups,
    bytes: usize,
    next: u64,
    suppressed: u64,
}

impl Recent {
    /// Reads an entry that the log has written.
    pub(crate) fn note(&self, entry: Entry) {
        match entry {
            Entry::Refused(refused) => {
                self.locked(|ring| ring.push(*refused));
                self.noted.notify_one();
            }
            Entry::Suppressed { refusals, counts } => self.locked(|ring| {
                ring.suppressed += refusals;
                ring.groups.count(refusals, &counts, calendar());
            }),
            Entry::ConnectionEnd(_)
            | Entry::EndsSuppressed { .. }
            | Entry::Unaccepted(_)
            | Entry::Superseded(_)
            | Entry::Audit(_)
            | Entry::Forbidden(_)
            | Entry::NodeTrouble { .. }
            | Entry::StoreTrouble { .. } => {}
        }
    }

    /// Returns when one was noted since it returned last. For one reader.
    pub(crate) async fn noted(&self) {
        self.noted.notified().await;
    }

    /// Those from a number on, the oldest first, and the number of the next one.
    pub(crate) fn since(&self, number: u64) -> (Vec<Arc<Refused>>, u64) {
        self.locked(|ring| {
            let rows = ring.rows.range(number..).map(|(_, row)| row);
            (rows.cloned().collect(), ring.next)
        })
    }

    /// The newest that fit, at most this many.
    pub(crate) fn find(&self, most: usize, fits: impl Fn(&Refused) -> bool) -> RefusalMatches {
        self.before(u64::MAX, most, fits)
    }

    /// The same of those before a number.
    pub(crate) fn before(
        &self,
        number: u64,
        most: usize,
        fits: impl Fn(&Refused) -> bool,
    ) -> RefusalMatches {
        self.locked(|ring| {
            let all = ring.rows.range(..number).rev();
            let mut fitting = all.filter(|(_, row)| fits(row));
            let shown: Vec<(&u64, &Arc<Refused>)> = fitting.by_ref().take(most).collect();
            let more = fitting.count();
            let last = shown.last().filter(|_| more > 0);
            RefusalMatches {
                found: shown.len() + more,
                next: last.map(|(number, _)| **number),
                refusals: shown.iter().map(|(_, row)| Arc::clone(row)).collect(),
                kept: ring.rows.len(),
                since: ring.rows.values().next().map(|oldest| oldest.at),
                suppressed: ring.suppressed,
            }
        })
    }

    /// Reads the groups, and of each that has kept refusals that fit, the newest of them.
    pub(crate) fn groups<T>(
        &self,
        fits: impl Fn(&Refused) -> bool,
        read: impl FnOnce(&Groups, &BTreeMap<GroupKey, Arc<Refused>>) -> T,
    ) -> T {
        self.locked(|ring| {
            let rows = ring.rows.values().filter(|row| fits(row));
            let newest = rows.map(|row| (key_of(row), Arc::clone(row)));
            read(&ring.groups, &newest.collect())
        })
    }

    fn locked<T>(&self, use_it: impl FnOnce(&mut Ring) -> T) -> T {
        use_it(&mut self.ring.lock())
    }
}

impl Default for Ring {
    fn default() -> Self {
        Self::new(REFUSALS_KEPT_MAX, REFUSALS_KEPT_BYTES_MAX)
    }
}

impl Ring {
    fn new(rows: usize, bytes: usize) -> Self {
        Self {
            most: (rows, bytes),
            rows: BTreeMap::new(),
            of: BTreeMap::new(),
            groups: Groups::default(),
            bytes: 0,
            next: 0,
            suppressed: 0,
        }
    }

    fn push(&mut self, refused: Refused) {
        let number = self.next;
        self.next += 1;
        self.bytes += bytes_of(&refused);
        self.groups.note(&refused);
        let (prefix, key) = place_of(&refused);
        let groups = self.of.entry(prefix).or_default();
        groups.entry(key).or_default().push_back(number);
        self.rows.insert(number, Arc::new(refused));
        let (rows, bytes) = self.most;
        while self.rows.len() > rows || (self.bytes > bytes && self.rows.len() > 1) {
            self.evict();
        }
    }

    /// Takes out the oldest of the largest group of the network that has most; of equal ones the oldest.
    fn evict(&mut self) {
        let oldest = |numbers: &VecDeque<u64>| numbers.front().copied().unwrap_or(u64::MAX);
        let largest = self.of.iter_mut().max_by_key(|(_, groups)| {
            let rows: usize = groups.values().map(VecDeque::len).sum();
            (rows, Reverse(groups.values().map(oldest).min()))
        });
        let Some((prefix, groups)) = largest else {
            return;
        };
        let by_size = |(_, numbers): &(&GroupKey, &mut VecDeque<u64>)| {
            (numbers.len(), Reverse(oldest(numbers)))
        };
        let Some((key, numbers)) = groups.iter_mut().max_by_key(by_size) else {
            return;
        };
        let gone = numbers.pop_front();
        if numbers.is_empty() {
            let (prefix, key) = (*prefix, key.clone());
            groups.remove(&key);
            if groups.is_empty() {
                self.of.remove(&prefix);
            }
        }
        if let Some(row) = gone.and_then(|number| self.rows.remove(&number)) {
            self.bytes -= bytes_of(&row);
        }
    }
}

/// The network of a refusal, and its group there.
fn place_of(refused: &Refused) -> (Prefix, GroupKey) {
    let (check, subject) = key_of(refused);
    let subject = if subject.is_absent(check) {
        Subject::Other
    } else {
        subject
    };
    (Prefix::of(refused.remote.ip()), (check, subject))
}

/// Bytes that a refusal takes in memory, with its places in the orders.
fn bytes_of(refused: &Refused) -> usize {
    let Claims {
        channel,
        client_id,
        session,
        key_id,
        principal,
        clock_skew_s: _,
        sign_in,
    } = &refused.claims;
    let shown = sign_in.as_deref().map_or(0, |presented| {
        let texts = presented.named().into_iter().filter_map(|(_, text)| text);
        size_of::<Presented>() + texts.map(str::len).sum::<usize>()
    });
    let texts = [channel, client_id, session, key_id, principal];
    let texts = texts.into_iter().chain([&refused.policy]).flatten();
    let texts: usize = texts.map(|text| text.len()).sum();
    let explain = refused.explain.as_deref().map_or(0, |explain| {
        let Explain {
            canonical_request,
            scope,
        } = explain;
        size_of::<Explain>() + canonical_request.len() + scope.len()
    });
    size_of::<Refused>() + refused.request_id.len() + texts + shown + explain + ROW_BYTES
}

/// The places of a row in the orders by number and by network, with the longest subject.
const ROW_BYTES: usize = 512;

#[cfg(test)]
mod tests {

    use super::*;
    use broker_core::check::Check;
    use std::net::SocketAddr;

    fn refused(remote: impl Into<SocketAddr>, id: &str) -> Refused {
        let (at, check) = (Wall(1_000), Check::ChannelAbsent);
        Refused::unread(
            id,
            at,
            404,
            "ResourceNotFoundException",
            check,
            remote.into(),
        )
    }

    fn ids(ring: &Ring) -> Vec<&str> {
        let newest = ring.rows.values().rev();
        newest.map(|row| &*row.request_id).collect()
    }

    #[test]
    fn the_newest_are_kept() {
        let mut ring = Ring::new(3, usize::MAX);
        for number in 0..9 {
            ring.push(refused(([10, 0, 0, number], 1), &number.to_string()));
        }
        assert_eq!(ids(&ring), ["8", "7", "6"]);
        assert_eq!(ring.of.len(), 1);
    }

    #[test]
    fn a_network_pushes_out_its_own() {
        let mut ring = Ring::new(8, usize::MAX);
        ring.push(refused(([10, 0, 1, 1], 1), "device"));
        for number in 0..1000_u16 {
            let [_, low] = number.to_be_bytes();
            ring.push(refused(([10, 0, 2, low], 1), "flood"));
        }
        ring.push(refused(([10, 0, 3, 1], 1), "another"));
        assert_eq!(ring.rows.len(), 8);
        assert!(ids(&ring).contains(&"device") && ids(&ring).contains(&"another"));
        // Of many networks with one each, the oldest goes.
        for network in 4..12 {
            ring.push(refused(([10, 0, network, 1], 1), &network.to_string()));
        }
        assert_eq!(ids(&ring), ["11", "10", "9", "8", "7", "6", "5", "4"]);
        assert_eq!(ring.of.len(), 8);
    }

    #[test]
    fn a_camera_pushes_out_its_own_and_none_behind_the_same_address() {
        let mut ring = Ring::new(8, usize::MAX);
        let mut push = |channel: &str, check| {
            let mut row = refused(([10, 0, 1, 1], 1), channel);
            (row.check, row.claims.channel) = (check, Some(channel.into()));
            ring.push(row);
        };
        push("porch", Check::SignatureMismatch);
        for _ in 0..1000 {
            push("stormy", Check::SignatureMismatch);
        }
        for number in 0..1000 {
            push(&format!("invented-{number}"), Check::ChannelAbsent);
        }
        push("garage", Check::SignatureMismatch);
        let kept = ids(&ring);
        for channel in ["porch", "stormy", "garage", "invented-999"] {
            assert!(kept.contains(&channel), "{channel} of {kept:?}");
        }
        assert_eq!((kept.len(), ring.of.len()), (8, 1));
        let groups: usize = ring.of.values().map(BTreeMap::len).sum();
        assert_eq!(groups, 4);
    }

    #[test]
    fn bytes_are_bounded_and_counted() {
        let mut ring = Ring::new(1000, 10_000);
        for number in 0..200_u8 {
            let mut row = refused(([10, 0, number, 1], 1), "id");
            row.explain = Some(Box::new(Explain {
                canonical_request: "x".repeat(usize::from(number) * 10).into(),
                scope: "s".into(),
            }));
            ring.push(row);
            let sum: usize = ring.rows.values().map(|row| bytes_of(row)).sum();
            assert_eq!(ring.bytes, sum);
            assert!(ring.bytes <= 10_000);
        }
        assert!(ring.rows.len() > 2, "{}", ring.rows.len());
    }

    #[test]
    fn what_is_noted_is_found_the_newest_first() {
        let recent = Recent::default();
        for id in ["1", "2", "3"] {
            recent.note(Entry::Refused(Box::new(refused(([10, 0, 0, 1], 1), id))));
        }
        recent.note(Entry::Suppressed {
            refusals: 7,
            counts: Box::default(),
        });
        let found = recent.find(2, |row| &*row.request_id != "2");
        let ids: Vec<&str> = found.refusals.iter().map(|row| &*row.request_id).collect();
        assert_eq!(ids, ["3", "1"]);
        assert_eq!((found.kept, found.suppressed), (3, 7));
        assert_eq!((found.found, found.next), (2, None));
        let first = recent.find(1, |_| true);
        assert_eq!((first.found, first.next), (3, Some(2)));
        assert_eq!(found.since, Some(Wall(1_000)));
        assert_eq!(recent.find(1, |_| true).refusals.len(), 1);
        let (since, next) = recent.since(1);
        let since: Vec<&str> = since.iter().map(|row| &*row.request_id).collect();
        assert_eq!((since, next), (vec!["2", "3"], 3));
        let before = recent.before(2, 9, |_| true).refusals;
        let before: Vec<&str> = before.iter().map(|row| &*row.request_id).collect();
        assert_eq!(before, ["2", "1"]);
    }
}
