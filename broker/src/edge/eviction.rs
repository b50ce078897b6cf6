//! Evicts connections, either to make room for another connection or handshake, or to limit the bytes held in
//! incomplete TLS records.
//!
//! Connections that the state machine has admitted are never evicted here. The state machine itself evicts admitted
//! connections, based on account shares, and reserves capacity for connections that it has not admitted yet. A
//! connection that has not been admitted is called a *guest*. Guests and handshakes in progress are grouped by address
//! in a [`Crowd`](broker_core::address_shares::Crowd).

use crate::edge::connection::{Stage, Standing};
use crate::edge::io::{Io, remote};
use crate::edge::{connections::Connections, counters::EdgeCounts, limits::RELIEF_PART};
use broker_core::{address_shares::Origin, id::SessionKey, time::Now};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::net::SocketAddr;

impl Connections {
    /// Lists an accepted connection as a guest: it may be evicted until the state machine admits it.
    pub(crate) fn welcome(&mut self, session: SessionKey, origin: Origin, tls: bool, now: Now) {
        if let Some(connection) = self.table.get_mut(session) {
            connection.standing = Standing::Silent;
            self.guests.enter(session, origin, now);
            if tls {
                self.shaking.enter(session, origin, now);
            }
        }
    }

    /// Makes a connection evictable again. Called when the state machine has refused a connection that arrived from
    /// another shard or was returned. The peer of such a connection could otherwise delay the close until a deadline.
    pub(crate) fn note_refused(&mut self, key: SessionKey, remote: Option<SocketAddr>, now: Now) {
        if let Some(connection) = self.get(key)
            && connection.stage == Stage::Closing
            && let Some(remote) = remote.or_else(|| self::remote(&connection.socket))
        {
            self.welcome(key, Origin::of(remote.ip()), false, now);
            self.note_first_bytes(key);
        }
    }

    /// Evicts a connection that has not been admitted, to make room for one from `origin`. Returns `false` if there is
    /// none to evict.
    pub(crate) fn make_room(&mut self, origin: Origin, io: &mut Io) -> bool {
        let victim = self.guests.victim(origin, io.turn.at().now);
        self.evict(victim, &mut io.counts)
    }

    /// Returns whether a handshake with `origin` may start. Evicts another handshake if necessary.
    pub(crate) fn handshake_room(&mut self, origin: Origin, io: &mut Io) -> bool {
        let now = io.turn.at().now;
        let most = io.settings.handshakes_per_address;
        if most != 0 && self.shaking.count(origin) >= most {
            let victim = self.shaking.victim_of(origin, now);
            return self.evict(victim, &mut io.counts);
        }
        if self.shaking.len() < io.settings.handshakes {
            return true;
        }
        let victim = self.shaking.victim(origin, now);
        self.evict(victim, &mut io.counts)
    }

    fn evict(&mut self, victim: Option<SessionKey>, counts: &mut EdgeCounts) -> bool {
        let Some(victim) = victim else {
            return false;
        };
        counts.evicted += 1;
        self.cut(victim, counts);
        true
    }

    /// Removes a connection from the guests (connections that may be evicted), because it has been admitted or is
    /// closing.
    pub(crate) fn settle_guest(&mut self, session: SessionKey) {
        if let Some(connection) = self.get_mut(session)
            && std::mem::replace(&mut connection.standing, Standing::Admitted) != Standing::Admitted
        {
            self.guests.leave(session);
        }
    }

    /// Records that a connection's first bytes have arrived.
    pub(crate) fn note_first_bytes(&mut self, session: SessionKey) {
        if let Some(connection) = self.get_mut(session)
            && connection.standing == Standing::Silent
        {
            connection.standing = Standing::Guest;
            self.guests.spoke(session);
            self.shaking.spoke(session);
        }
    }

    /// Removes a connection from the handshakes in progress, whether its handshake succeeded or failed.
    pub(crate) fn handshake_over(&mut self, session: SessionKey, counts: &mut EdgeCounts) {
        counts.handshaking -= 1;
        self.shaking.leave(session);
    }

    /// Updates the incomplete-record counters with the bytes that this connection holds now.
    pub(crate) fn recharge(&mut self, session: SessionKey, counts: &mut EdgeCounts) {
        if let Some(connection) = self.get_mut(session)
            && let Some(tls) = &mut connection.tls
        {
            let (before, after) = tls.recharge();
            counts.count_held(before, after);
        }
    }

    /// Enforces both limits on bytes held in incomplete records. If a limit is exceeded, closes connections from the
    /// address that holds the most bytes.
    pub(crate) fn hold_budgets(&mut self, io: &mut Io) {
        let most = io.settings.handshake_bytes;
        if let Some(excess) = excess(io.counts.handshake_bytes, most) {
            let sessions = self.shaking.members().map(|(session, _)| session).collect();
            self.relieve(sessions, excess, &mut io.counts);
        }
        let most = io.settings.partial_record_bytes;
        if let Some(excess) = excess(io.counts.partial_record_bytes, most) {
            let sessions = self.deadlines.keys();
            self.relieve(sessions, excess, &mut io.counts);
        }
    }

    fn relieve(&mut self, sessions: Vec<SessionKey>, excess: u64, counts: &mut EdgeCounts) {
        let holder = |session| {
            let connection = self.get(session)?;
            let tls = connection.tls.as_ref()?;
            let bytes = tls.held_bytes();
            (bytes > 0).then_some(Holder {
                session,
                origin: tls.origin(),
                guest: connection.standing != Standing::Admitted,
                bytes,
                begun: tls.begun().unwrap_or_default(),
            })
        };
        let holders: Vec<_> = sessions.into_iter().filter_map(holder).collect();
        for payer in payers(holders, excess) {
            self.evict(Some(payer.session), counts);
        }
    }
}

/// Returns how many bytes to free if `held` exceeds `most`; see [`RELIEF_PART`].
pub(crate) fn excess(held: u64, most: usize) -> Option<u64> {
    let most = most as u64;
    (held > most).then(|| held - (most - most / RELIEF_PART))
}

/// A connection that holds bytes of an incomplete record.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Holder {
    pub(crate) session: SessionKey,
    pub(crate) origin: Origin,
    pub(crate) guest: bool,
    pub(crate) bytes: u64,
    pub(crate) begun: Now,
}

/// Selects connections to close in order to free `excess` bytes. Guests, which have not been admitted, go first. Within
/// each group, the addresses that hold the most bytes come first. Within an address, the connections that hold the most
/// bytes come first, and among equals, the oldest.
pub(crate) fn payers(holders: Vec<Holder>, excess: u64) -> Vec<Holder> {
    let mut groups: BTreeMap<(bool, Origin), Vec<Holder>> = BTreeMap::new();
    for holder in holders {
        let group = groups.entry((holder.guest, holder.origin)).or_default();
        group.push(holder);
    }
    let mut largest: BinaryHeap<_> = groups
        .iter_mut()
        .map(|(&(guest, origin), group)| {
            group.sort_by_key(|holder| (holder.bytes, Reverse(holder.begun)));
            let bytes: u64 = group.iter().map(|holder| holder.bytes).sum();
            (guest, bytes, origin)
        })
        .collect();
    let (mut payers, mut freed) = (Vec::new(), 0);
    while freed < excess
        && let Some((guest, bytes, origin)) = largest.pop()
    {
        let Some(payer) = groups.get_mut(&(guest, origin)).and_then(Vec::pop) else {
            continue;
        };
        freed += payer.bytes;
        payers.push(payer);
        largest.push((guest, bytes - payer.bytes, origin));
    }
    payers
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holder(slot: u32, origin: u32, guest: bool, bytes: u64, begun: u64) -> Holder {
        Holder {
            session: SessionKey::new(slot, 0),
            origin: Origin::V4(origin),
            guest,
            bytes,
            begun: Now(begun),
        }
    }

    fn slots(payers: &[Holder]) -> Vec<usize> {
        payers.iter().map(|payer| payer.session.slot()).collect()
    }

    #[test]
    fn the_address_that_holds_most_pays_its_largest_and_oldest_first() {
        let holders = vec![
            holder(0, 7, true, 9_000, 1),
            holder(1, 8, true, 5_000, 5),
            holder(2, 8, true, 5_000, 4),
            holder(3, 8, true, 100, 1),
        ];
        assert_eq!(slots(&payers(holders.clone(), 1)), [2]);
        assert_eq!(slots(&payers(holders.clone(), 5_001)), [2, 0]);
        assert_eq!(
            slots(&payers(holders, 1 << 40)),
            [2, 0, 1, 3],
            "all there are"
        );
    }

    #[test]
    fn who_was_let_in_pays_last() {
        let holders = vec![
            holder(0, 7, false, 16_000, 1),
            holder(1, 7, false, 16_000, 2),
            holder(2, 8, true, 10, 3),
        ];
        assert_eq!(slots(&payers(holders.clone(), 5)), [2]);
        assert_eq!(slots(&payers(holders, 11)), [2, 0]);
    }
}
