//! The WebSockets that a shard has admitted and its tunnels to other nodes, by the callers that opened them, and which
//! of them makes room for another.
//!
//! Some places of a shard are kept for connections whose caller is not known yet ([`admitted_most`]), so that the
//! request of any newcomer is read. When all others are taken, the account with most makes room for one that would hold
//! fewer with one more, and in an account the caller with most in the same way. Of that caller it is the newest of the
//! first [`Standing`] that any has. The first master of an account never makes room: the one that it has had longest as
//! the current master of a channel, or, when that one ends, the one that some caller of it has had longest.
//!
//! A connection has its place until its descriptor is free, or until it has made room: then it may end in good order,
//! but of these there are few ([`leaving_most`]). A tunnel has two places, one for each of its descriptors. Each takes
//! 20 bytes here, and each caller some 200. A step takes logarithmic time in the number of callers.

mod seats;

use crate::auth::Caller as AuthCaller;
use crate::id::{Account, SessionKey};
use crate::limits::{admitted_most, leaving_most};
use crate::shard::shares::Shares;
use ahash::RandomState;
use seats::{List, Seats};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// The owner of connections that are counted together: a caller in an account, by
/// [`identity`](crate::auth::Caller::identity).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Holder {
    account: Account,
    caller: u64,
}

/// Something that has places.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Member {
    /// A WebSocket of this shard: one place.
    Session(SessionKey),
    /// A tunnel, by its number at the edge: two places.
    Tunnel(u32),
}

impl From<SessionKey> for Member {
    fn from(session: SessionKey) -> Self {
        Self::Session(session)
    }
}

impl Member {
    /// The number of its places.
    const fn places(self) -> usize {
        match self {
            Self::Session(_) => 1,
            Self::Tunnel(_) => TUNNEL_PLACES,
        }
    }
}

/// The places of a tunnel: one for the client's connection, one for that to the other node.
pub(crate) const TUNNEL_PLACES: usize = 2;

/// In which order connections of a caller make room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Standing {
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
pub(crate) struct Admitted {
    most: usize,
    leaving_most: usize,
    /// Places, as in all counts here.
    taken: usize,
    hasher: RandomState,
    seats: Seats,
    /// Those that have connections, by number; and the numbers that are free.
    callers: Vec<Caller>,
    free: Vec<u32>,
    numbers: BTreeMap<Holder, u32>,
    /// Callers that have the current master of a channel, and of each account the first one.
    masters: BTreeSet<Holder>,
    first_masters: BTreeMap<Account, Member>,
    shares: Shares<Account, Holder>,
    /// Those that made room and are not gone, the first one first.
    leaving: VecDeque<SessionKey>,
}

/// The connections of one caller.
#[derive(Debug)]
struct Caller {
    holder: Holder,
    /// Its places.
    count: usize,
    /// By [`Standing`].
    lists: [List; STANDINGS],
}

impl Admitted {
    /// None, on a shard that may have this many connections.
    pub(crate) fn among(connections: usize, hasher: RandomState) -> Self {
        Self {
            most: admitted_most(connections),
            leaving_most: leaving_most(connections),
            taken: 0,
            hasher,
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

    /// The holder of connections of a caller to channels of an account: its own, where callers are known.
    pub(crate) fn holder(&self, caller: &AuthCaller, account: &str) -> Holder {
        let own = caller.is_known().then(|| caller.account());
        Holder {
            account: Account::of_digits(own.unwrap_or(account)),
            caller: self.hasher.hash_one(caller.identity()),
        }
    }

    /// The standing of a connection, if it has a place.
    pub(crate) fn standing(&self, session: SessionKey) -> Option<Standing> {
        let (_, standing) = self.seats.of(session.into())?;
        Some(standing)
    }

    /// Whether this number of places is free for one more of the holder, or another one makes room.
    pub(crate) fn may_enter(&self, holder: Holder, places: usize) -> bool {
        self.has(places) || self.payer(holder, places).is_some()
    }

    /// Whether this number of places is free.
    pub(crate) fn has(&self, places: usize) -> bool {
        self.taken + places <= self.most
    }

    /// Takes the places of one that makes room for one more of this holder; `None` when there is room, or nobody does.
    pub(crate) fn make_room(&mut self, holder: Holder, places: usize) -> Option<Member> {
        if self.has(places) {
            return None;
        }
        let victim = self.payer(holder, places)?;
        self.leave(victim);
        Some(victim)
    }

    /// Notes that one that made room is being closed, and returns the one before that is not waited for any more.
    pub(crate) fn closes(&mut self, session: SessionKey) -> Option<SessionKey> {
        self.leaving.push_back(session);
        let too_many = self.leaving.len() > self.leaving_most;
        too_many.then(|| self.leaving.pop_front()).flatten()
    }

    /// A connection of this holder is admitted.
    pub(crate) fn enter(&mut self, member: impl Into<Member>, holder: Holder, standing: Standing) {
        let (member, number) = (member.into(), self.number(holder));
        self.taken += member.places();
        self.count(number, |count| count + member.places());
        self.list(member, number, standing);
    }

    /// A connection is something else to its channel now. Harmless for one that has no place.
    pub(crate) fn becomes(&mut self, session: SessionKey, standing: Standing) {
        if let Some(number) = self.unlist(session.into()) {
            self.list(session.into(), number, standing);
        }
    }

    /// A connection is gone. Harmless for one that has no place.
    pub(crate) fn leave(&mut self, member: impl Into<Member>) {
        let member = member.into();
        if let Some(number) = self.unlist(member) {
            self.taken -= member.places();
            self.count(number, |count| count - member.places());
        } else if let Member::Session(session) = member {
            self.leaving.retain(|other| *other != session);
        }
    }

    /// The connection that makes room for one more of a holder. Of the caller with most, unless all that it has is the
    /// first master: then of the next one, if that has enough.
    fn payer(&self, holder: Holder, places: usize) -> Option<Member> {
        let own = self.caller(holder).map_or(0, |caller| caller.count);
        let payer = self.shares.payer(holder.account, own, places)?;
        let same = payer.account == holder.account;
        let least = if same { own + places + 1 } else { 1 };
        let callers = self.shares.of(payer.account).take(2);
        let mut callers = callers.filter(|(count, _)| *count >= least);
        callers.find_map(|(_, caller)| self.first_of(caller))
    }

    fn caller(&self, holder: Holder) -> Option<&Caller> {
        let number = *self.numbers.get(&holder)?;
        self.callers.get(number as usize)
    }

    /// The connection of a caller that makes room first.
    fn first_of(&self, payer: Holder) -> Option<Member> {
        let first = self.first_masters.get(&payer.account);
        let lists = self.caller(payer)?.lists.iter();
        let mut newest = lists.filter_map(|list| self.seats.newest(*list));
        newest.find(|member| Some(member) != first)
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
            let callers_fit = "there are no more callers than connections";
            u32::try_from(self.callers.len()).expect(callers_fit)
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

    fn list(&mut self, member: Member, number: u32, standing: Standing) {
        let Some(caller) = self.callers.get_mut(number as usize) else {
            return;
        };
        if let Some(list) = caller.lists.get_mut(standing as usize) {
            self.seats.push(list, member, (number, standing));
        }
        if standing == Standing::Master {
            let account = caller.holder.account;
            self.masters.insert(caller.holder);
            self.first_masters.entry(account).or_insert(member);
        }
    }

    /// Takes a connection out of its list; its caller's number, if it had a place.
    fn unlist(&mut self, member: Member) -> Option<u32> {
        let (number, standing) = self.seats.of(member)?;
        let caller = self.callers.get_mut(number as usize)?;
        let list = caller.lists.get_mut(standing as usize)?;
        self.seats.take(list, member);
        if standing == Standing::Master {
            let (holder, is_empty) = (caller.holder, *list == List::EMPTY);
            if is_empty {
                self.masters.remove(&holder);
            }
            self.appoint(holder.account, member);
        }
        Some(number)
    }

    /// Finds another first master of an account if this was it.
    fn appoint(&mut self, account: Account, former: Member) {
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
