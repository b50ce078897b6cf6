//! The WebSockets that a shard has admitted, by the callers that opened them, and which of them makes room for another.
//!
//! Some places of a shard are kept for connections whose caller is not known yet ([`admitted_most`]), so that the
//! request of any newcomer is read. When all others are taken, the account with most makes room for one that would hold
//! fewer with one more, and in an account the caller with most in the same way. Of that caller it is the newest of the
//! first [`Standing`] that any has. The first master of an account never makes room: the one that it has had longest as
//! the current master of a channel, or, when that one ends, the one that some caller of it has had longest.
//!
//! A connection has its place until its descriptor is free, or until it has made room: then it may end in good order,
//! but of these there are few ([`leaving_most`]). Each takes 20 bytes here, and each caller some 200. A step takes
//! logarithmic time in the number of callers.

mod seats;

use super::Shares;
use crate::id::{Account, SessionKey};
use crate::limits::{admitted_most, leaving_most};
use crate::session::Admission;
use ahash::RandomState;
use seats::{List, Seats};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Whose connections are counted together: those of a caller in an account, by
/// [`identity`](crate::auth::Caller::identity).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::shard) struct Holder {
    account: Account,
    caller: u64,
}

impl Holder {
    /// The holder of a connection that asks to be admitted.
    pub(in crate::shard) fn of(admission: &Admission, hasher: &RandomState) -> Self {
        Self {
            account: Account::of(&admission.arn),
            caller: hasher.hash_one(admission.caller.identity()),
        }
    }
}

/// In which order connections of a caller make room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::shard) enum Standing {
    /// It has left its channel, and its descriptor is not free yet.
    Ending,
    /// A newer connection took its place.
    Superseded,
    /// A current viewer.
    Viewer,
    /// The current master of a channel.
    Master,
}

/// The number of [`Standing`]s.
const STANDINGS: usize = 4;

/// The connections of a shard that have a place.
#[derive(Debug)]
pub(in crate::shard) struct Admitted {
    most: usize,
    leaving_most: usize,
    taken: usize,
    seats: Seats,
    /// Those that have connections, by number; and the numbers that are free.
    callers: Vec<Caller>,
    free: Vec<u32>,
    numbers: BTreeMap<Holder, u32>,
    /// Callers that have the current master of a channel, and of each account the first one.
    masters: BTreeSet<Holder>,
    first_masters: BTreeMap<Account, SessionKey>,
    shares: Shares<Account, Holder>,
    /// Those that made room and are not gone, the first one first.
    leaving: VecDeque<SessionKey>,
}

/// The connections of one caller.
#[derive(Debug)]
struct Caller {
    holder: Holder,
    count: usize,
    /// By [`Standing`].
    lists: [List; STANDINGS],
}

impl Admitted {
    /// None, on a shard that may have this many connections.
    pub(in crate::shard) fn among(connections: usize) -> Self {
        Self {
            most: admitted_most(connections),
            leaving_most: leaving_most(connections),
            taken: 0,
            seats: Seats::default(),
            callers: Vec::new(),
            free: Vec::new(),
            numbers: BTreeMap::new(),
            masters: BTreeSet::new(),
            first_masters: BTreeMap::new(),
            shares: Shares::default(),
            leaving: VecDeque::new(),
        }
    }

    /// Whether there is a place for one more of this holder, or another one makes room.
    pub(in crate::shard) fn may_enter(&self, holder: Holder) -> bool {
        self.taken < self.most || self.payer(holder).is_some()
    }

    /// Takes its place from the connection that makes room for one more of this holder; `None` when there is a place.
    pub(in crate::shard) fn make_room(&mut self, holder: Holder) -> Option<SessionKey> {
        if self.taken < self.most {
            return None;
        }
        let victim = self.first_of(self.payer(holder)?)?;
        self.leave(victim);
        Some(victim)
    }

    /// Notes that one that made room is being closed, and returns the one before that is not waited for any more.
    pub(in crate::shard) fn closes(&mut self, session: SessionKey) -> Option<SessionKey> {
        self.leaving.push_back(session);
        let too_many = self.leaving.len() > self.leaving_most;
        too_many.then(|| self.leaving.pop_front()).flatten()
    }

    /// A connection of this holder is admitted.
    pub(in crate::shard) fn enter(
        &mut self,
        session: SessionKey,
        holder: Holder,
        standing: Standing,
    ) {
        let number = self.number(holder);
        self.taken += 1;
        self.count(number, |count| count + 1);
        self.list(session, number, standing);
    }

    /// A connection is something else to its channel now. Harmless for one that has no place.
    pub(in crate::shard) fn becomes(&mut self, session: SessionKey, standing: Standing) {
        if let Some(number) = self.unlist(session) {
            self.list(session, number, standing);
        }
    }

    /// A connection is gone. Harmless for one that has no place.
    pub(in crate::shard) fn leave(&mut self, session: SessionKey) {
        let Some(number) = self.unlist(session) else {
            return self.leaving.retain(|other| *other != session);
        };
        self.taken -= 1;
        self.count(number, |count| count - 1);
    }

    fn payer(&self, holder: Holder) -> Option<Holder> {
        let own = self.caller(holder).map_or(0, |caller| caller.count);
        self.shares.payer(holder.account, own, 1)
    }

    fn caller(&self, holder: Holder) -> Option<&Caller> {
        let number = *self.numbers.get(&holder)?;
        self.callers.get(number as usize)
    }

    /// The connection that makes room first of a caller. Where all callers of an account have one each, and this one's
    /// is the first master, it is another one's.
    fn first_of(&self, payer: Holder) -> Option<SessionKey> {
        let account = payer.account;
        let first = self.first_masters.get(&account);
        let of = |caller| Holder { account, caller };
        let others = self.numbers.range(of(0)..=of(u64::MAX));
        let holders = std::iter::once(payer).chain(others.map(|(holder, _)| *holder).take(2));
        let lists = holders.filter_map(|holder| self.caller(holder));
        let mut newest = lists
            .flat_map(|caller| caller.lists)
            .filter_map(|list| self.seats.newest(list));
        newest.find(|session| Some(session) != first)
    }

    /// The number of a caller, who may be new.
    fn number(&mut self, holder: Holder) -> u32 {
        if let Some(number) = self.numbers.get(&holder) {
            return *number;
        }
        let caller = Caller {
            holder,
            count: 0,
            lists: [List::EMPTY; STANDINGS],
        };
        let number = self.free.pop().unwrap_or_else(|| {
            let sessions_fit = "there are fewer callers than sessions";
            u32::try_from(self.callers.len()).expect(sessions_fit)
        });
        match self.callers.get_mut(number as usize) {
            Some(former) => *former = caller,
            None => self.callers.push(caller),
        }
        self.numbers.insert(holder, number);
        number
    }

    fn count(&mut self, number: u32, to: impl FnOnce(usize) -> usize) {
        let Some(caller) = self.callers.get_mut(number as usize) else {
            return;
        };
        let (holder, before) = (caller.holder, caller.count);
        caller.count = to(before);
        (self.shares).change(holder.account, holder, before, caller.count);
        if caller.count == 0 {
            self.numbers.remove(&holder);
            self.free.push(number);
        }
    }

    fn list(&mut self, session: SessionKey, number: u32, standing: Standing) {
        let Some(caller) = self.callers.get_mut(number as usize) else {
            return;
        };
        if let Some(list) = caller.lists.get_mut(standing as usize) {
            self.seats.push(list, session, (number, standing));
        }
        if standing == Standing::Master {
            let account = caller.holder.account;
            self.masters.insert(caller.holder);
            self.first_masters.entry(account).or_insert(session);
        }
    }

    /// Takes a connection out of its list; its caller's number, if it had a place.
    fn unlist(&mut self, session: SessionKey) -> Option<u32> {
        let (number, standing) = self.seats.of(session)?;
        let caller = self.callers.get_mut(number as usize)?;
        let list = caller.lists.get_mut(standing as usize)?;
        self.seats.take(list, session);
        if standing == Standing::Master {
            let (holder, is_empty) = (caller.holder, *list == List::EMPTY);
            if is_empty {
                self.masters.remove(&holder);
            }
            self.appoint(holder.account, session);
        }
        Some(number)
    }

    /// Finds another first master of an account if this was it.
    fn appoint(&mut self, account: Account, former: SessionKey) {
        if self.first_masters.get(&account) != Some(&former) {
            return;
        }
        let of = |caller| Holder { account, caller };
        let next = self.masters.range(of(0)..=of(u64::MAX)).next();
        let caller = next.and_then(|holder| self.caller(*holder));
        let masters = caller.and_then(|caller| caller.lists.last());
        match masters.and_then(|list| self.seats.oldest(*list)) {
            Some(first) => self.first_masters.insert(account, first),
            None => self.first_masters.remove(&account),
        };
    }
}

#[cfg(test)]
mod tests;
