//! Tracks the connections that a shard has admitted, grouped by caller, and decides which one to evict when a new
//! connection arrives at a full shard. Admitted connections are WebSockets on this shard, and clients forwarded to
//! other nodes.
//!
//! Some capacity is reserved for connections whose caller is not yet known ([`admitted_most`]), so that a full shard
//! can still read the request on a new connection. Once the rest is used up, a new connection evicts one from the
//! account with the most connections, unless that account would then have fewer connections than the new connection's
//! account. The same rule applies to the callers within an account. A caller's connections are evicted in [`Standing`]
//! order, and among those of equal standing, the newest is evicted first.
//!
//! In each account, the current master of one channel is the *first master*, which is never evicted. When its
//! connection closes, it is replaced by the longest-serving master of one of the account's callers.
//!
//! A connection counts against the limit until its file descriptor is freed or it is evicted. Evicted connections may
//! perform the closing handshake, but only a few at a time ([`leaving_most`]). This module uses 20 bytes per connection
//! and about 200 bytes per caller. Each operation takes logarithmic time in the number of callers.

use crate::auth::Caller as AuthCaller;
use crate::id::{Account, Key, SessionKey};
use crate::limits::{admitted_most, leaving_most};
use crate::shard::shares::Shares;
use crate::time::Now;
use ahash::RandomState;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// The caller to whom connections are charged, and that caller's account. `caller` is a hash of the
/// [`identity`](crate::auth::Caller::identity).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Holder {
    account: Account,
    caller: u64,
}

/// A connection counted against the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Member {
    /// A WebSocket on this shard.
    Session(SessionKey),
    /// A client that this node forwards to another node, identified by the number that the edge assigned to it.
    OnLink(u32),
}

impl From<SessionKey> for Member {
    fn from(session: SessionKey) -> Self {
        Self::Session(session)
    }
}

/// The status of a connection, which determines how early it is evicted. Variants are listed in eviction order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Standing {
    /// The connection has left its channel and is closing. Its file descriptor is still open.
    Ending,
    /// Superseded by a newer connection.
    Superseded,
    /// A current viewer.
    Viewer,
    /// The current master of a channel.
    Master,
}

const STANDINGS: usize = 4;

/// The admitted connections of a shard.
#[derive(Debug)]
pub(crate) struct Admitted {
    most: usize,
    leaving_most: usize,
    /// Number of connections that count against the limit.
    taken: usize,
    hasher: RandomState,
    seats: Seats,
    /// Callers with at least one connection. A caller's number is its index here; `free` lists unused numbers.
    callers: Vec<CallerShares>,
    free: Vec<u32>,
    numbers: BTreeMap<Holder, u32>,
    /// Callers with a connection that is the current master of a channel. `first_masters` contains each account's first
    /// master.
    masters: BTreeSet<Holder>,
    first_masters: BTreeMap<Account, Member>,
    shares: Shares<Account, Holder>,
    /// Evicted connections that are still closing, oldest first.
    leaving: VecDeque<SessionKey>,
}

/// The connections of one caller.
#[derive(Debug)]
struct CallerShares {
    holder: Holder,
    count: usize,
    /// The caller's connections, in one list per [`Standing`].
    lists: [List; STANDINGS],
}

impl Admitted {
    /// Creates an empty set for a shard that admits at most `connections` connections.
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

    /// Returns the holder charged for a connection that `caller` opens to one of `account`'s channels. An authenticated
    /// caller is charged to its own account.
    pub(crate) fn holder(&self, caller: &AuthCaller, account: &str) -> Holder {
        let own = caller.is_known().then(|| caller.account());
        Holder {
            account: Account::of_digits(own.unwrap_or(account)),
            caller: self.hasher.hash_one(caller.identity()),
        }
    }

    /// Returns the number of connections per account, broken down by caller.
    pub(crate) fn by_account(&self) -> &Shares<Account, Holder> {
        &self.shares
    }

    /// Returns the standing of a connection, or `None` if it does not count against the limit.
    pub(crate) fn standing(&self, session: SessionKey) -> Option<Standing> {
        let (_, standing) = self.seats.of(session.into())?;
        Some(standing)
    }

    /// Returns whether `holder` may open another connection, possibly by evicting an existing one.
    pub(crate) fn may_enter(&self, holder: Holder) -> bool {
        self.has_place() || self.payer(holder).is_some()
    }

    /// Returns whether there is free capacity.
    pub(crate) fn has_place(&self) -> bool {
        self.taken < self.most
    }

    /// Evicts a connection to make room for a new one from `holder`, and returns the evicted connection. Returns `None`
    /// if there is already room or if nothing can be evicted.
    pub(crate) fn make_room(&mut self, holder: Holder) -> Option<Member> {
        if self.has_place() {
            return None;
        }
        let victim = self.payer(holder)?;
        self.leave(victim);
        Some(victim)
    }

    /// Records that an evicted connection has started to close. If too many are closing at once, returns the oldest of
    /// them, which the caller of this method must abort.
    pub(crate) fn closes(&mut self, session: SessionKey) -> Option<SessionKey> {
        self.leaving.push_back(session);
        let too_many = self.leaving.len() > self.leaving_most;
        too_many.then(|| self.leaving.pop_front()).flatten()
    }

    /// Adds a connection that is charged to `holder`.
    pub(crate) fn enter(&mut self, member: impl Into<Member>, holder: Holder, standing: Standing) {
        let (member, number) = (member.into(), self.number(holder));
        self.taken += 1;
        self.count(number, |count| count + 1);
        self.list(member, number, standing);
    }

    /// Changes the standing of a connection. Does nothing if the connection does not count against the limit.
    pub(crate) fn becomes(&mut self, session: SessionKey, standing: Standing) {
        if let Some(number) = self.unlist(session.into()) {
            self.list(session.into(), number, standing);
        }
    }

    /// Removes a connection. Does nothing if the connection does not count against the limit.
    pub(crate) fn leave(&mut self, member: impl Into<Member>) {
        let member = member.into();
        if let Some(number) = self.unlist(member) {
            self.taken -= 1;
            self.count(number, |count| count - 1);
        } else if let Member::Session(session) = member {
            self.leaving.retain(|other| *other != session);
        }
    }

    /// Returns the connection to evict so that `holder` can open another one, or `None` if no caller has enough
    /// connections. The caller with the most connections loses one. If its only connection is its account's first
    /// master, the caller with the second most loses one instead.
    fn payer(&self, holder: Holder) -> Option<Member> {
        let own = self.caller(holder).map_or(0, |caller| caller.count);
        let payer = self.shares.payer(holder.account, own, 1)?;
        let same = payer.account == holder.account;
        let least = if same { own + 2 } else { 1 };
        let callers = self.shares.of(payer.account).take(2);
        let mut callers = callers.filter(|(count, _)| *count >= least);
        callers.find_map(|(_, caller)| self.first_of(caller))
    }

    /// Returns the viewer to evict from a full channel so that `holder` can add one. This is the newest viewer of the
    /// caller with the most viewers, provided that this caller has at least two more viewers than `holder`. Two callers
    /// with equally many viewers therefore cannot keep evicting each other's viewers. `viewers` yields every viewer on
    /// the channel with the time at which it was admitted. Takes linear time in the number of viewers.
    pub(crate) fn viewer_that_pays(
        &self,
        holder: Holder,
        viewers: impl Iterator<Item = (SessionKey, Now)>,
    ) -> Option<SessionKey> {
        let mut callers = BTreeMap::<u32, (usize, (Now, SessionKey))>::new();
        for (session, admitted) in viewers {
            let Some((caller, _)) = self.seats.of(session.into()) else {
                continue;
            };
            let (count, newest) = callers.entry(caller).or_insert((0, (admitted, session)));
            *count += 1;
            *newest = (*newest).max((admitted, session));
        }
        let own = self.numbers.get(&holder);
        let own = own.and_then(|number| callers.get(number));
        let own = own.map_or(0, |(count, _)| *count);
        let (count, (_, newest)) = callers.into_values().max()?;
        (count >= own + 2).then_some(newest)
    }

    fn caller(&self, holder: Holder) -> Option<&CallerShares> {
        let number = *self.numbers.get(&holder)?;
        self.callers.get(number as usize)
    }

    /// Returns the connection of `payer` that would be evicted first.
    fn first_of(&self, payer: Holder) -> Option<Member> {
        let first = self.first_masters.get(&payer.account);
        let lists = self.caller(payer)?.lists.iter();
        let mut newest = lists.filter_map(|list| self.seats.member(list.newest));
        newest.find(|member| Some(member) != first)
    }

    /// Returns a caller's number, assigning one if necessary.
    fn number(&mut self, holder: Holder) -> u32 {
        if let Some(number) = self.numbers.get(&holder) {
            return *number;
        }
        let caller = CallerShares {
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

    /// Removes a connection from its list. Returns its caller's number, or `None` if the connection was not in any
    /// list.
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

    /// Picks a new first master for an account if `former`, which has just been removed, was its first master.
    fn appoint(&mut self, account: Account, former: Member) {
        if self.first_masters.get(&account) != Some(&former) {
            return;
        }
        let of = |caller| Holder { account, caller };
        let next = self.masters.range(of(0)..=of(u64::MAX)).next();
        let caller = next.and_then(|holder| self.caller(*holder));
        let masters = caller.and_then(|caller| caller.lists.last());
        match masters.and_then(|list| self.seats.member(list.oldest)) {
            Some(first) => self.first_masters.insert(account, first),
            None => self.first_masters.remove(&account),
        };
    }
}

// Linked lists of connections, in insertion order. Each session slot, and each number of a forwarded client, takes 20
// bytes.
//
// The lists are doubly linked, so removing a connection requires no search and moves no other connection.

/// The list nodes of all admitted connections: one array for sessions, indexed by session, and one for forwarded
/// clients, indexed by number. The arrays grow in chunks and are never freed.
#[derive(Debug, Default)]
struct Seats {
    sessions: MemberChunks,
    on_links: MemberChunks,
}

type MemberChunks = Vec<Box<[MemberSeat]>>;

/// The list node of a connection.
#[derive(Clone, Copy, Debug)]
struct MemberSeat {
    generation: u32,
    /// Number of the connection's caller; [`NOBODY`] if the node is unused.
    caller: u32,
    older: u32,
    newer: u32,
    standing: Standing,
}

/// The first and last elements of a linked list. An element is a session index, or a forwarded client's number with the
/// [`ON_LINK`] bit set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct List {
    oldest: u32,
    newest: u32,
}

impl List {
    const EMPTY: Self = Self {
        oldest: NOBODY,
        newest: NOBODY,
    };
}

/// Represents a missing list node or caller.
const NOBODY: u32 = u32::MAX;

/// The bit that distinguishes a forwarded client's number from a session index. Numbers and indices are always smaller
/// than this bit.
const ON_LINK: u32 = 1 << 31;

const CHUNK: usize = 64;

const _: () = assert!(size_of::<MemberSeat>() == 20);

impl Seats {
    /// Returns the standing of a connection and its caller's number, or `None` if the connection is not in any list.
    pub(crate) fn of(&self, member: Member) -> Option<(u32, Standing)> {
        let (number, generation) = numbers(member);
        let seat = self.seat(number)?;
        let found = seat.generation == generation && seat.caller != NOBODY;
        found.then_some((seat.caller, seat.standing))
    }

    /// Appends a connection that is not in any list.
    pub(crate) fn push(
        &mut self,
        list: &mut List,
        member: Member,
        (caller, standing): (u32, Standing),
    ) {
        let (number, generation) = numbers(member);
        let chunks = match member {
            Member::Session(_) => &mut self.sessions,
            Member::OnLink(_) => &mut self.on_links,
        };
        while chunks.len() <= (number & !ON_LINK) as usize / CHUNK {
            let free = MemberSeat {
                generation: 0,
                caller: NOBODY,
                older: NOBODY,
                newer: NOBODY,
                standing,
            };
            chunks.push([free; CHUNK].into());
        }
        let older = std::mem::replace(&mut list.newest, number);
        match self.seat_mut(older) {
            Some(seat) => seat.newer = number,
            None => list.oldest = number,
        }
        if let Some(seat) = self.seat_mut(number) {
            (seat.generation, seat.caller, seat.standing) = (generation, caller, standing);
            (seat.older, seat.newer) = (older, NOBODY);
        }
    }

    /// Removes a connection from its list.
    pub(crate) fn take(&mut self, list: &mut List, member: Member) {
        let (number, _) = numbers(member);
        let Some(seat) = self.seat_mut(number) else {
            return;
        };
        let MemberSeat { older, newer, .. } = *seat;
        seat.caller = NOBODY;
        match self.seat_mut(older) {
            Some(seat) => seat.newer = newer,
            None => list.oldest = newer,
        }
        match self.seat_mut(newer) {
            Some(seat) => seat.older = older,
            None => list.newest = older,
        }
    }

    fn member(&self, number: u32) -> Option<Member> {
        let seat = self.seat(number)?;
        Some(if number & ON_LINK == 0 {
            Member::Session(<SessionKey as Key>::new(number, seat.generation))
        } else {
            Member::OnLink(number & !ON_LINK)
        })
    }

    fn seat(&self, number: u32) -> Option<&MemberSeat> {
        let chunks = if number & ON_LINK == 0 {
            &self.sessions
        } else {
            &self.on_links
        };
        let number = (number & !ON_LINK) as usize;
        chunks.get(number / CHUNK)?.get(number % CHUNK)
    }

    fn seat_mut(&mut self, number: u32) -> Option<&mut MemberSeat> {
        let chunks = if number & ON_LINK == 0 {
            &mut self.sessions
        } else {
            &mut self.on_links
        };
        let number = (number & !ON_LINK) as usize;
        chunks.get_mut(number / CHUNK)?.get_mut(number % CHUNK)
    }
}

/// Returns the index of a connection's list node and the generation of its key.
fn numbers(member: Member) -> (u32, u32) {
    match member {
        Member::Session(session) => {
            let slot = u32::try_from(session.slot()).unwrap_or(NOBODY);
            (slot, session.generation())
        }
        Member::OnLink(number) => (number | ON_LINK, 0),
    }
}

#[cfg(test)]
mod tests;
