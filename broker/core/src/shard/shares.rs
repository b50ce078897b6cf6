//! Fair shares of accounts, channels and callers in the budgets of a shard: bytes, queries, table capacity,
//! connections.
//!
//! Accounts share the budget, and the channels of an account share its part. No account has a fixed part while capacity
//! is free. At the limit, the largest account yields, and within it the largest channel: so an account that holds less
//! than an equal part of the budget, and a channel that holds less than an equal part of its account's, always finds
//! capacity.

use crate::auth::Caller as AuthCaller;
use crate::id::{Account, CallRef, ChannelKey, Key, SessionKey};
use crate::limits::{admitted_most, calls_per_pair, changes_per_pair, leaving_most};
use crate::time::Now;
use ahash::RandomState;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// The bytes of one budget by account and channel, or by other keys in their place (`A`, `C`). Empty holders are
/// removed.
#[derive(Debug)]
pub struct Shares<A = Account, C = ChannelKey> {
    accounts: BTreeMap<A, AccountHolders<C>>,
    order: BTreeSet<(usize, A)>,
}

/// The channels of one account that hold bytes.
#[derive(Debug)]
struct AccountHolders<C> {
    bytes: usize,
    order: BTreeSet<(usize, C)>,
}

impl<A, C> Default for Shares<A, C> {
    fn default() -> Self {
        Self {
            accounts: BTreeMap::new(),
            order: BTreeSet::new(),
        }
    }
}

impl<C> Default for AccountHolders<C> {
    fn default() -> Self {
        Self {
            bytes: 0,
            order: BTreeSet::new(),
        }
    }
}

impl<A: Copy + Ord, C: Clone + Ord> Shares<A, C> {
    /// Changes a channel's bytes from `before` to `after`.
    pub fn change(&mut self, account: A, channel: C, before: usize, after: usize) {
        if before == after {
            return;
        }
        let holders = self.accounts.entry(account).or_default();
        let old = holders.bytes;
        holders.order.remove(&(before, channel.clone()));
        if after > 0 {
            holders.order.insert((after, channel));
        }
        let new = (old + after).saturating_sub(before);
        holders.bytes = new;
        self.order.remove(&(old, account));
        if new > 0 {
            self.order.insert((new, account));
        } else {
            self.accounts.remove(&account);
        }
    }

    /// The channel with the most bytes in the account with the most bytes.
    #[must_use]
    pub fn largest(&self) -> Option<C> {
        let (_, account) = self.order.last()?;
        self.largest_of(*account).map(|(_, channel)| channel)
    }

    /// The channel to evict from for `more` bytes of a channel that holds `own`: in an account that would still hold
    /// more than this one, otherwise a larger channel of the same account. `None` if there is none, since this channel
    /// then already has its share.
    #[must_use]
    pub fn payer(&self, account: A, own: usize, more: usize) -> Option<C> {
        let held = self.held(account);
        let (most, other) = *self.order.last()?;
        if other != account && most > held + more {
            return self.largest_of(other).map(|(_, channel)| channel);
        }
        let (most, channel) = self.largest_of(account)?;
        (most > own + more).then_some(channel)
    }

    /// Number of bytes of an account.
    #[must_use]
    pub fn held(&self, account: A) -> usize {
        self.accounts.get(&account).map_or(0, |own| own.bytes)
    }

    /// The accounts with their bytes, largest first.
    pub fn accounts(&self) -> impl Iterator<Item = (A, usize)> {
        self.order
            .iter()
            .rev()
            .map(|(bytes, account)| (*account, *bytes))
    }

    /// The channels of an account with their bytes, largest first.
    pub fn of(&self, account: A) -> impl Iterator<Item = (usize, C)> {
        let holders = self.accounts.get(&account).into_iter();
        holders.flat_map(|holders| holders.order.iter().rev().cloned())
    }

    /// Total bytes of all channels.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.accounts.values().map(|holders| holders.bytes).sum()
    }

    fn largest_of(&self, account: A) -> Option<(usize, C)> {
        self.of(account).next()
    }
}

// Questions of one shard to another that have no answer yet.

/// Queries in flight to another shard.
pub(crate) struct ShareQuestions {
    all: Places<Account>,
    changes: Places<Account>,
}

impl ShareQuestions {
    /// Creates an empty set for this many shards.
    pub(crate) fn among(shards: usize) -> Self {
        Self {
            all: Places::of(calls_per_pair(shards)),
            changes: Places::of(changes_per_pair(shards)),
        }
    }

    /// Reserves capacity for another query. False when the account has used its share.
    pub(crate) fn begin(&mut self, caller: CallRef) -> bool {
        let account = caller.account;
        if caller.change && !self.changes.take(account) {
            return false;
        }
        let may = self.all.take(account);
        if !may && caller.change {
            self.changes.give_back(account);
        }
        may
    }

    /// Removes a query that was answered, or refused by a full mailbox.
    pub(crate) fn end(&mut self, caller: CallRef) {
        self.all.give_back(caller.account);
        if caller.change {
            self.changes.give_back(caller.account);
        }
    }

    /// Whether no query is in flight.
    pub(crate) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }
}

// Places of a budget that their holders give back when they are done, and that cannot be taken from them before.
//
// Nobody can make room here, so room is kept: an account may take a place while it holds fewer than are free. One
// account alone gets half of them, and the next one half of the rest at once. As places come back, who holds more
// than are free takes none of them: where `n` accounts take what they can, each comes to an equal part of `n + 1`, and
// the last part stays free for the next account.

/// Units of capacity in use, by account or another key in its place. Holders without units have no entry.
#[derive(Debug)]
pub(crate) struct Places<A> {
    most: usize,
    taken: usize,
    holders: BTreeMap<A, usize>,
}

impl<A: Copy + Ord> Places<A> {
    /// Creates a set with this capacity, all free.
    pub(crate) fn of(most: usize) -> Self {
        Self {
            most,
            taken: 0,
            holders: BTreeMap::new(),
        }
    }

    /// Takes one unit of capacity. False when the holder already has at least as many units as are free.
    pub(crate) fn take(&mut self, holder: A) -> bool {
        let held = self.holders.entry(holder).or_default();
        let may = *held < self.most - self.taken;
        if may {
            *held += 1;
            self.taken += 1;
        } else if *held == 0 {
            self.holders.remove(&holder);
        }
        may
    }

    /// Returns one unit of capacity. No effect when the holder has none.
    pub(crate) fn give_back(&mut self, holder: A) {
        if let Some(held) = self.holders.get_mut(&holder) {
            *held -= 1;
            self.taken -= 1;
            if *held == 0 {
                self.holders.remove(&holder);
            }
        }
    }

    /// Number of units taken.
    pub(crate) fn taken(&self) -> usize {
        self.taken
    }

    /// Whether no capacity is taken.
    pub(crate) fn is_empty(&self) -> bool {
        self.taken == 0
    }
}

// The WebSockets that a shard has admitted and its clients on links, by the callers that opened them, and which of them
// makes room for another.
//
// Some places of a shard are kept for connections whose caller is not known yet ([`admitted_most`]), so that the
// request of any newcomer is read. When all others are taken, the account with most makes room for one that would hold
// fewer with one more, and in an account the caller with most in the same way. Of that caller it is the newest of the
// first [`Standing`] that any has. The first master of an account never makes room: the one that it has had longest as
// the current master of a channel, or, when that one ends, the one that some caller of it has had longest.
//
// A connection has its place until its descriptor is free, or until it has made room: then it may end in good order,
// but of these there are few ([`leaving_most`]). Each takes 20 bytes here, and each caller some 200. A step takes
// logarithmic time in the number of callers.

/// The owner of connections that are counted together: a caller in an account, identified by
/// [`identity`](crate::auth::Caller::identity).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Holder {
    account: Account,
    caller: u64,
}

/// A connection counted against the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Member {
    /// A WebSocket of this shard.
    Session(SessionKey),
    /// A client served by another node, by its number at the edge.
    OnLink(u32),
}

impl From<SessionKey> for Member {
    fn from(session: SessionKey) -> Self {
        Self::Session(session)
    }
}

/// The order in which a caller's connections are evicted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Standing {
    /// Closing: the connection has left its channel, but its descriptor is still in use.
    Ending,
    /// Superseded by a newer connection.
    Superseded,
    /// A current viewer.
    Viewer,
    /// The current master of a channel.
    Master,
}

/// Number of [`Standing`]s.
const STANDINGS: usize = 4;

/// The admitted connections of a shard.
#[derive(Debug)]
pub(crate) struct Admitted {
    most: usize,
    leaving_most: usize,
    /// Number of connections counted.
    taken: usize,
    hasher: RandomState,
    seats: Seats,
    /// Callers with connections, indexed by number; `free` lists the unused numbers.
    callers: Vec<CallerShares>,
    free: Vec<u32>,
    numbers: BTreeMap<Holder, u32>,
    /// Callers with a channel's current master; `first_masters` holds the first master of each account.
    masters: BTreeSet<Holder>,
    first_masters: BTreeMap<Account, Member>,
    shares: Shares<Account, Holder>,
    /// Evicted connections that are still open, oldest first.
    leaving: VecDeque<SessionKey>,
}

/// The connections of one caller.
#[derive(Debug)]
struct CallerShares {
    holder: Holder,
    /// Number of connections.
    count: usize,
    /// Connections by [`Standing`].
    lists: [List; STANDINGS],
}

impl Admitted {
    /// Creates an empty set for a shard with this many connections.
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

    /// The holder charged for a caller's connections to channels of an account. If callers are known, the caller's own
    /// account is charged.
    pub(crate) fn holder(&self, caller: &AuthCaller, account: &str) -> Holder {
        let own = caller.is_known().then(|| caller.account());
        Holder {
            account: Account::of_digits(own.unwrap_or(account)),
            caller: self.hasher.hash_one(caller.identity()),
        }
    }

    /// The connections of each account, by caller.
    pub(crate) fn by_account(&self) -> &Shares<Account, Holder> {
        &self.shares
    }

    /// The standing of a connection, if it is counted.
    pub(crate) fn standing(&self, session: SessionKey) -> Option<Standing> {
        let (_, standing) = self.seats.of(session.into())?;
        Some(standing)
    }

    /// Whether another connection of the holder fits, if necessary by eviction.
    pub(crate) fn may_enter(&self, holder: Holder) -> bool {
        self.has_place() || self.payer(holder).is_some()
    }

    /// Whether capacity is free.
    pub(crate) fn has_place(&self) -> bool {
        self.taken < self.most
    }

    /// Evicts a connection to admit another one of this holder; `None` when capacity is free, or nothing can be
    /// evicted.
    pub(crate) fn make_room(&mut self, holder: Holder) -> Option<Member> {
        if self.has_place() {
            return None;
        }
        let victim = self.payer(holder)?;
        self.leave(victim);
        Some(victim)
    }

    /// Records that an evicted connection is closing. If more are closing than the limit, returns the oldest one, which
    /// is no longer awaited.
    pub(crate) fn closes(&mut self, session: SessionKey) -> Option<SessionKey> {
        self.leaving.push_back(session);
        let too_many = self.leaving.len() > self.leaving_most;
        too_many.then(|| self.leaving.pop_front()).flatten()
    }

    /// Admits a connection of this holder.
    pub(crate) fn enter(&mut self, member: impl Into<Member>, holder: Holder, standing: Standing) {
        let (member, number) = (member.into(), self.number(holder));
        self.taken += 1;
        self.count(number, |count| count + 1);
        self.list(member, number, standing);
    }

    /// Changes the standing of a connection. No effect if the connection is not counted.
    pub(crate) fn becomes(&mut self, session: SessionKey, standing: Standing) {
        if let Some(number) = self.unlist(session.into()) {
            self.list(session.into(), number, standing);
        }
    }

    /// Removes a connection. No effect if the connection is not counted.
    pub(crate) fn leave(&mut self, member: impl Into<Member>) {
        let member = member.into();
        if let Some(number) = self.unlist(member) {
            self.taken -= 1;
            self.count(number, |count| count - 1);
        } else if let Member::Session(session) = member {
            self.leaving.retain(|other| *other != session);
        }
    }

    /// The connection to evict for another one of a holder: from the largest caller, or from the next largest if the
    /// largest has only the first master of its account. `None` if that caller has too few connections.
    fn payer(&self, holder: Holder) -> Option<Member> {
        let own = self.caller(holder).map_or(0, |caller| caller.count);
        let payer = self.shares.payer(holder.account, own, 1)?;
        let same = payer.account == holder.account;
        let least = if same { own + 2 } else { 1 };
        let callers = self.shares.of(payer.account).take(2);
        let mut callers = callers.filter(|(count, _)| *count >= least);
        callers.find_map(|(_, caller)| self.first_of(caller))
    }

    /// The viewer to evict from a full channel for another one of a holder: the newest viewer of the caller with the
    /// most viewers in the channel, if that caller has at least two more than the holder. So a caller with an equal
    /// share keeps it, and evictions cannot alternate. Linear in the number of viewers, each given with its time of
    /// admission.
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

    /// The caller's connection to evict first.
    fn first_of(&self, payer: Holder) -> Option<Member> {
        let first = self.first_masters.get(&payer.account);
        let lists = self.caller(payer)?.lists.iter();
        let mut newest = lists.filter_map(|list| self.seats.newest(*list));
        newest.find(|member| Some(member) != first)
    }

    /// The number assigned to a caller, new or existing.
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

    /// Removes a connection from its list; returns its caller's number if the connection was counted.
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

    /// Selects another first master of an account if this connection was the first.
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

// Connections in lists, each in the order in which they came to it: 20 bytes for each slot of the sessions, and for
// each number of a client on a link.
//
// The lists go through the slots: what is before and after a connection is in its own place, so that nothing is
// allocated for a connection, and nothing is moved or searched when one leaves.

/// List nodes of all sessions by index, and of all clients on links by number. Allocated in chunks and never freed.
#[derive(Debug, Default)]
struct Seats {
    sessions: MemberChunks,
    on_links: MemberChunks,
}

type MemberChunks = Vec<Box<[MemberSeat]>>;

/// List node of one connection.
#[derive(Clone, Copy, Debug)]
struct MemberSeat {
    generation: u32,
    /// Number of the connection's caller; [`NOBODY`] if the node is unused.
    caller: u32,
    older: u32,
    newer: u32,
    standing: Standing,
}

/// First and last element of a list: session indices, or numbers of clients on links with [`ON_LINK`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct List {
    oldest: u32,
    newest: u32,
}

impl List {
    /// An empty list.
    const EMPTY: Self = Self {
        oldest: NOBODY,
        newest: NOBODY,
    };
}

/// Value that stands for no node and no caller.
const NOBODY: u32 = u32::MAX;

/// Bit that distinguishes a client on a link from a session index: both kinds of numbers are smaller.
const ON_LINK: u32 = 1 << 31;

const CHUNK: usize = 64;

const _: () = assert!(size_of::<MemberSeat>() == 20);

impl Seats {
    /// A connection's caller and list, if the connection is counted.
    pub(crate) fn of(&self, member: Member) -> Option<(u32, Standing)> {
        let (number, generation) = numbers(member);
        let seat = self.seat(number)?;
        let found = seat.generation == generation && seat.caller != NOBODY;
        found.then_some((seat.caller, seat.standing))
    }

    /// The connection added last.
    pub(crate) fn newest(&self, list: List) -> Option<Member> {
        self.member(list.newest)
    }

    /// The connection added first.
    pub(crate) fn oldest(&self, list: List) -> Option<Member> {
        self.member(list.oldest)
    }

    /// Appends a connection that is in no list.
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
            *seat = MemberSeat {
                generation,
                caller,
                older,
                newer: NOBODY,
                standing,
            };
        }
    }

    /// Takes a connection out of its list.
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

/// The index of a connection's list node, and the generation of its key.
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
mod tests {
    use super::*;

    fn key(slot: u32) -> ChannelKey {
        ChannelKey::new(slot, 0)
    }

    #[test]
    fn who_holds_most_makes_room_account_first() {
        let mut shares = Shares::<Account, ChannelKey>::default();
        // One account with many channels, one with a single large one.
        for slot in 0..10 {
            shares.change(Account(1), key(slot), 0, 100);
        }
        shares.change(Account(2), key(20), 0, 500);
        assert_eq!(shares.largest(), Some(key(9)), "1000 bytes in all");
        assert_eq!(
            shares.payer(Account(2), 500, 10),
            Some(key(9)),
            "below its share although its channel is the largest"
        );
        assert_eq!(shares.payer(Account(2), 500, 500), None);
        assert_eq!(shares.payer(Account(3), 0, 400), Some(key(9)), "a third");
        assert_eq!(
            shares.payer(Account(1), 100, 1),
            None,
            "all its channels hold the same"
        );
        assert_eq!(
            shares.payer(Account(1), 0, 90),
            Some(key(9)),
            "a new channel of the largest account"
        );
    }

    #[test]
    fn what_is_given_back_is_forgotten() {
        let mut shares = Shares::<Account, ChannelKey>::default();
        shares.change(Account(1), key(1), 0, 30);
        shares.change(Account(1), key(2), 0, 20);
        shares.change(Account(1), key(1), 30, 10);
        assert_eq!(shares.largest(), Some(key(2)));
        shares.change(Account(1), key(2), 20, 0);
        shares.change(Account(1), key(1), 10, 0);
        assert_eq!((shares.largest(), shares.accounts.len()), (None, 0));
    }

    #[test]
    fn below_an_equal_part_there_is_always_room() {
        let mut random = fastrand::Rng::with_seed(5);
        const BUDGET: usize = 10_000;
        let (mut shares, mut held) = (Shares::<Account, ChannelKey>::default(), BTreeMap::new());
        for _ in 0..20_000 {
            let channel = random.u32(0..40);
            let account = Account(u64::from(channel % 7 % 3));
            let more = random.usize(1..300);
            while held.values().sum::<usize>() + more > BUDGET {
                let own: usize = held.get(&channel).copied().unwrap_or(0);
                let Some(payer) = shares.payer(account, own, more) else {
                    break;
                };
                let slot = u32::try_from(payer.slot()).unwrap();
                assert_ne!(slot, channel, "nobody pays for their own bytes");
                let theirs = held.get_mut(&slot).unwrap();
                let less = *theirs - (*theirs).min(50);
                let of = Account(u64::from(slot % 7 % 3));
                shares.change(of, payer, *theirs, less);
                *theirs = less;
            }
            let all: usize = held.values().sum();
            let own = held.entry(channel).or_default();
            if all + more <= BUDGET {
                shares.change(account, key(channel), *own, *own + more);
                *own += more;
                continue;
            }
            let of = |slot: &u32| Account(u64::from(slot % 7 % 3)) == account;
            let mine: Vec<usize> = (held.iter())
                .filter(|(slot, bytes)| of(slot) && (**bytes > 0 || **slot == channel))
                .map(|(_, bytes)| *bytes)
                .collect();
            let sum: usize = mine.iter().sum();
            let own = held[&channel];
            assert!(
                sum + more > BUDGET / 3 && own + more > sum / mine.len(),
                "refused with {own} of {sum} among {}",
                mine.len()
            );
        }
    }
}

#[cfg(test)]
mod places_tests {
    use super::*;

    #[test]
    fn an_account_alone_gets_half_and_the_next_one_its_part() {
        let mut places = Places::of(12);
        let greedy = |places: &mut Places<u8>, who| (0..50).filter(|_| places.take(who)).count();
        assert_eq!(greedy(&mut places, 1), 6);
        assert_eq!(greedy(&mut places, 2), 3, "as many as are free then");
        places.give_back(1);
        places.give_back(1);
        assert_eq!(greedy(&mut places, 1), 1, "it had four, and five were free");
        assert_eq!(greedy(&mut places, 2), 1, "it had three, four were free");
        assert_eq!(greedy(&mut places, 3), 2, "and there is room for a third");
    }

    #[test]
    fn what_is_given_back_is_free_and_only_once() {
        let mut places = Places::of(2);
        assert!(places.take(1) && !places.take(1));
        places.give_back(1);
        places.give_back(1);
        places.give_back(7);
        assert!(places.is_empty() && places.holders.is_empty());
        assert!(places.take(2) && !Places::of(0).take(1));
    }

    #[test]
    fn whoever_takes_what_they_can_comes_to_an_equal_part() {
        for seed in 0..200 {
            let mut random = fastrand::Rng::with_seed(seed);
            let most = random.usize(1..200);
            let accounts = random.u8(1..9);
            let (mut places, mut held) = (Places::of(most), [0_usize; 9]);
            for _ in 0..2_000 {
                let who = random.u8(..accounts);
                let own = &mut held[usize::from(who)];
                if random.u8(..3) == 0 {
                    if *own > 0 {
                        *own -= 1;
                        places.give_back(who);
                    }
                    continue;
                }
                let before = *own;
                let may = places.take(who);
                *own += usize::from(may);
                // The others took theirs while as much was free.
                let all: usize = held.iter().sum();
                assert!(all <= most && may == (before < most - (all - usize::from(may))));
                assert_eq!(places.taken, all);
            }
            // Places come and go, and everybody takes what they can.
            for _ in 0..40 * most {
                let who = random.u8(..accounts);
                if held[usize::from(who)] > 0 {
                    places.give_back(who);
                    held[usize::from(who)] -= 1;
                }
                for who in (0..accounts).chain(0..accounts) {
                    held[usize::from(who)] += usize::from(places.take(who));
                }
            }
            let part = most / (usize::from(accounts) + 1);
            let own = &held[..usize::from(accounts)];
            let is_equal = |&own: &usize| own.abs_diff(part) <= usize::from(accounts);
            assert!(own.iter().all(is_equal), "{own:?} of {most}, {part} each");
        }
    }
}

#[cfg(test)]
mod admitted_tests;
