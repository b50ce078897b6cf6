//! Tracks, by source address, the connections that have not been admitted yet, and chooses the connection to evict when
//! the table is full.
//!
//! No connection is refused while the table has room, so a single address may fill it. Once the table is full, a new
//! connection evicts one from the address with the most connections, provided that its own address has fewer even when
//! the new connection is included. A connection that has been silent for [`GRACE_MS`] may be evicted in favor of any
//! new connection. As a result, one address cannot lock out the others, and clients behind the same address do not
//! evict each other.

use crate::time::Now;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};

/// Where a connection comes from: an IPv4 address or an IPv6 /64 network. A client with one address in a /64 network
/// usually controls all of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// An IPv4 address.
    V4(u32),
    /// An IPv6 /64 network.
    V6(u64),
}

impl Origin {
    /// Returns the origin of an address. An IPv4-mapped IPv6 address counts as IPv4.
    #[must_use]
    pub fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self::V4(address.to_bits()),
            IpAddr::V6(address) => {
                let [a, b, c, d, e, f, g, h, ..] = address.octets();
                Self::V6(u64::from_be_bytes([a, b, c, d, e, f, g, h]))
            }
        }
    }
}

/// Converts an IPv4-mapped IPv6 address to IPv4. A listener on `[::]` reports IPv4 clients with such addresses.
#[must_use]
pub fn canonical(address: SocketAddr) -> SocketAddr {
    match address.ip().to_canonical() {
        IpAddr::V4(four) => SocketAddr::new(four.into(), address.port()),
        IpAddr::V6(_) => address,
    }
}

/// The connections in a table ("members"), indexed by origin and age.
///
/// A member takes about 200 bytes. Operations take logarithmic time, and queries additionally sort up to
/// [`UNFILED_MAX`] of the newest members. The table has to limit the number of members, because this type does not.
#[derive(Debug, Default)]
pub struct Crowd<K> {
    members: BTreeMap<K, Member>,
    ranks: BTreeMap<Rank, K>,
    silent: BTreeMap<u64, K>,
    counts: BTreeMap<Origin, usize>,
    /// Member counts, each with its origin, in ascending order.
    sizes: BTreeSet<(usize, Origin)>,
    /// The newest members, which have not been indexed yet. Most of them leave before an eviction needs the index.
    /// Contains at most [`UNFILED_MAX`] entries, some of which may belong to members that have left.
    unfiled: VecDeque<(u64, K)>,
    next: u64,
}

/// A member's sort key: its origin, whether it has sent anything, and its arrival number.
type Rank = (Origin, bool, u64);

#[derive(Clone, Copy, Debug)]
struct Member {
    rank: Rank,
    since: Now,
    filed: bool,
}

impl<K: Copy + Ord> Crowd<K> {
    /// Returns the number of members.
    #[must_use]
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Returns `true` if there are no members.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Returns the number of members from one origin.
    #[must_use]
    pub fn count(&mut self, origin: Origin) -> usize {
        self.file_all();
        self.filed(origin)
    }

    fn filed(&self, origin: Origin) -> usize {
        self.counts.get(&origin).copied().unwrap_or(0)
    }

    /// Iterates over the members and their origins.
    pub fn members(&self) -> impl Iterator<Item = (K, Origin)> {
        self.members
            .iter()
            .map(|(&key, member)| (key, member.rank.0))
    }

    /// Adds a member that has not sent anything yet. Does nothing if the member already exists.
    pub fn enter(&mut self, key: K, origin: Origin, now: Now) {
        if self.members.contains_key(&key) {
            return;
        }
        self.next += 1;
        let member = Member {
            rank: (origin, false, self.next),
            since: now,
            filed: false,
        };
        self.members.insert(key, member);
        if self.unfiled.len() >= UNFILED_MAX {
            self.file_oldest();
        }
        self.unfiled.push_back((self.next, key));
    }

    /// Records that a member has sent data, so that members that have sent nothing are evicted before it.
    pub fn spoke(&mut self, key: K) {
        let Some(member) = self.members.get_mut(&key) else {
            return;
        };
        if std::mem::replace(&mut member.rank.1, true) || !member.filed {
            return;
        }
        let rank @ (origin, _, number) = member.rank;
        self.ranks.remove(&(origin, false, number));
        self.ranks.insert(rank, key);
        self.silent.remove(&number);
    }

    /// Removes a member, if present.
    pub fn leave(&mut self, key: K) {
        let Some(member) = self.members.remove(&key) else {
            return;
        };
        if self.members.is_empty() {
            self.unfiled.clear();
        }
        if member.filed {
            let (origin, _, number) = member.rank;
            self.ranks.remove(&member.rank);
            self.silent.remove(&number);
            self.resize(origin, |count| count - 1);
        }
    }

    fn file_all(&mut self) {
        while !self.unfiled.is_empty() {
            self.file_oldest();
        }
    }

    fn file_oldest(&mut self) {
        let Some((number, key)) = self.unfiled.pop_front() else {
            return;
        };
        let Some(member) = self.members.get_mut(&key) else {
            return;
        };
        let rank @ (origin, spoke, current) = member.rank;
        if current != number {
            return; // the member has left and returned in the meantime
        }
        member.filed = true;
        self.ranks.insert(rank, key);
        if !spoke {
            self.silent.insert(number, key);
        }
        self.resize(origin, |count| count + 1);
    }

    /// Returns the member to evict in favor of a new connection from `newcomer`. Returns `None` if the new connection
    /// must be refused.
    #[must_use]
    pub fn victim(&mut self, newcomer: Origin, now: Now) -> Option<K> {
        self.file_all();
        if let Some(&(most, largest)) = self.sizes.last()
            && self.filed(newcomer) + 1 < most
        {
            return self.first_of(largest);
        }
        let (_, &oldest) = self.silent.first_key_value()?;
        self.outstayed(oldest, now).then_some(oldest)
    }

    /// Returns the member to evict in favor of another connection from the same origin. Used by tables with a
    /// per-origin limit.
    #[must_use]
    pub fn victim_of(&mut self, origin: Origin, now: Now) -> Option<K> {
        let first = self.first_of(origin)?;
        self.outstayed(first, now).then_some(first)
    }

    /// Returns the member from an origin that would be evicted first, regardless of age.
    #[must_use]
    pub fn first_of(&mut self, origin: Origin) -> Option<K> {
        self.file_all();
        let all = (origin, false, 0)..=(origin, true, u64::MAX);
        self.ranks.range(all).next().map(|(_, &key)| key)
    }

    /// Returns `true` if a member has been silent for at least [`GRACE_MS`].
    fn outstayed(&self, key: K, now: Now) -> bool {
        self.members
            .get(&key)
            .is_some_and(|member| !member.rank.1 && now.since(member.since) >= GRACE_MS)
    }

    fn resize(&mut self, origin: Origin, to: impl FnOnce(usize) -> usize) {
        let before = self.filed(origin);
        let after = to(before);
        self.sizes.remove(&(before, origin));
        if after == 0 {
            self.counts.remove(&origin);
        } else {
            self.counts.insert(origin, after);
            self.sizes.insert((after, origin));
        }
    }
}

/// How long a member must have been silent, in milliseconds, before any new connection may evict it. Leaves enough time
/// to retransmit a lost first packet, which happens after one second (RFC 6298 section 2).
pub const GRACE_MS: u64 = 2_000;

/// Maximum number of members that are not indexed yet. Fewer connections arrive and leave in one event loop iteration.
const UNFILED_MAX: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(text: &str) -> Origin {
        Origin::of(text.parse().unwrap())
    }

    const START: Now = Now(1_000);
    const LATER: Now = Now(1_000 + GRACE_MS);

    #[test]
    fn one_network_of_ipv6_is_one_origin() {
        assert_eq!(origin("2001:db8:0:1::1"), origin("2001:db8:0:1:ffff::2"));
        assert_ne!(origin("2001:db8:0:1::1"), origin("2001:db8:0:2::1"));
        assert_eq!(origin("::ffff:192.0.2.1"), origin("192.0.2.1"));
        assert_ne!(origin("192.0.2.1"), origin("192.0.2.2"));
        assert_ne!(origin("0.0.0.1"), origin("0:0:0:1::"));
    }

    #[test]
    fn the_origin_with_most_makes_room_for_others_at_once() {
        let (many, few) = (origin("192.0.2.1"), origin("192.0.2.2"));
        let mut crowd = Crowd::default();
        (0..3).for_each(|key| crowd.enter(key, many, START));
        crowd.spoke(0);
        assert_eq!(crowd.victim(few, START), Some(1), "silent ones first");
        (1..3).for_each(|key| crowd.spoke(key));
        assert_eq!(crowd.victim(few, START), Some(0), "then the oldest");
        crowd.leave(0);
        crowd.enter(9, few, START);
        assert_eq!(crowd.victim(few, START), None, "it would have as many");
    }

    #[test]
    fn an_origin_makes_room_for_itself_when_one_is_silent_for_long() {
        let one = origin("192.0.2.1");
        let mut crowd = Crowd::default();
        (0..3).for_each(|key| crowd.enter(key, one, START));
        crowd.spoke(0);
        assert_eq!(crowd.victim(one, Now(LATER.0 - 1)), None);
        assert_eq!(crowd.victim(one, LATER), Some(1));
        assert_eq!(crowd.victim_of(one, LATER), Some(1));
        assert_eq!(crowd.victim_of(origin("192.0.2.2"), LATER), None);
        crowd.spoke(1);
        crowd.spoke(2);
        assert_eq!(crowd.victim(one, LATER), None, "all have sent something");
        assert_eq!(crowd.victim_of(one, LATER), None);
    }

    #[test]
    fn many_origins_of_one_each_lose_the_oldest_silent_one() {
        let mut crowd = Crowd::default();
        for key in 0..9_u8 {
            crowd.enter(
                key,
                Origin::V4(u32::from(9 - key)),
                Now(1_000 + u64::from(key)),
            );
        }
        crowd.spoke(0);
        assert_eq!(crowd.victim(Origin::V4(77), LATER), None);
        assert_eq!(crowd.victim(Origin::V4(77), LATER.after(1)), Some(1));
    }

    #[test]
    fn nothing_is_kept_of_who_left() {
        let mut crowd = Crowd::default();
        for key in 0..100_u32 {
            crowd.enter(key, Origin::V4(key % 7), START);
            crowd.enter(key, Origin::V4(1), START);
            if key % 3 == 0 {
                crowd.spoke(key);
            }
        }
        let zeros = crowd.count(Origin::V4(0));
        assert_eq!((crowd.len(), zeros), (100, 15));
        (0..100).for_each(|key| crowd.leave(key));
        crowd.leave(5);
        assert!(crowd.is_empty() && crowd.ranks.is_empty() && crowd.silent.is_empty());
        assert!(crowd.counts.is_empty() && crowd.sizes.is_empty() && crowd.unfiled.is_empty());
    }

    /// A reference implementation that keeps its members unsorted and scans all of them for each query.
    #[derive(Default)]
    struct Plain(Vec<(u64, Origin, bool, Now)>);

    impl Plain {
        fn count(&self, origin: Origin) -> usize {
            self.0.iter().filter(|member| member.1 == origin).count()
        }

        fn first_of(&self, origin: Origin) -> Option<u64> {
            let mut of = self.0.iter().filter(|member| member.1 == origin);
            let silent = of.clone().find(|member| !member.2);
            silent.or_else(|| of.next()).map(|member| member.0)
        }

        fn victim(&self, newcomer: Origin, now: Now) -> Option<u64> {
            let largest = self
                .0
                .iter()
                .map(|member| (self.count(member.1), member.1))
                .max();
            if let Some((most, largest)) = largest
                && self.count(newcomer) + 1 < most
            {
                return self.first_of(largest);
            }
            let oldest = self.0.iter().find(|member| !member.2)?;
            (now.since(oldest.3) >= GRACE_MS).then_some(oldest.0)
        }
    }

    #[test]
    fn members_in_no_order_yet_make_room_like_all_others() {
        for seed in 0..200 {
            let mut random = fastrand::Rng::with_seed(seed);
            let (mut crowd, mut plain) = (Crowd::default(), Plain::default());
            let often = random.u64(1..400);
            for step in 0..2_000_u64 {
                let now = Now(step * 40);
                let origin = Origin::V4(random.u32(0..4));
                let key = random.u64(0..400);
                match random.u8(0..9) {
                    0..4 => {
                        crowd.enter(key, origin, now);
                        if plain.0.iter().all(|member| member.0 != key) {
                            plain.0.push((key, origin, false, now));
                        }
                    }
                    4..6 => {
                        crowd.spoke(key);
                        let mut all = plain.0.iter_mut();
                        if let Some(member) = all.find(|member| member.0 == key) {
                            member.2 = true;
                        }
                    }
                    _ => {
                        crowd.leave(key);
                        plain.0.retain(|member| member.0 != key);
                    }
                }
                assert_eq!(crowd.len(), plain.0.len());
                assert!(crowd.unfiled.len() <= UNFILED_MAX);
                if random.u64(0..often) == 0 {
                    assert_eq!(crowd.victim(origin, now), plain.victim(origin, now));
                    assert_eq!(crowd.first_of(origin), plain.first_of(origin));
                    assert_eq!(crowd.count(origin), plain.count(origin));
                }
            }
        }
    }
}
