//! Shares of accounts, channels and callers in the budgets of a shard: bytes, questions, places, connections.
//!
//! Accounts share the budget, the channels of an account its part. No account has a fixed part while there is room.
//! When there is none, the account that holds most makes room, and within it the channel that holds most: so an
//! account that holds less than an equal part of the budget, and a channel that holds less than an equal part of its
//! account's, always finds room.

use crate::auth::Caller as AuthCaller;
use crate::id::{Account, CallRef, ChannelKey, Key, SessionKey};
use crate::limits::{admitted_most, calls_per_pair, changes_per_pair, leaving_most};
use crate::time::Now;
use ahash::RandomState;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// The bytes of one budget by account and channel, or by whatever else stands for them (`A`, `C`). Empty holders are
/// not kept.
#[derive(Debug)]
pub struct Shares<A = Account, C = ChannelKey> {
    accounts: BTreeMap<A, AccountHolders<C>>,
    order: BTreeSet<(usize, A)>,
}

/// The channels of one account that hold something.
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
    /// A channel that held `before` bytes holds `after`.
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

    /// The channel that holds most of the account that holds most.
    #[must_use]
    pub fn largest(&self) -> Option<C> {
        let (_, account) = self.order.last()?;
        self.largest_of(*account).map(|(_, channel)| channel)
    }

    /// The channel that is to make room for `more` bytes of one that holds `own`: of an account that would still hold
    /// more than this one, else one of the same account that would. `None` when nobody would: then this one has
    /// its share.
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

    /// The bytes of an account.
    #[must_use]
    pub fn held(&self, account: A) -> usize {
        self.accounts.get(&account).map_or(0, |own| own.bytes)
    }

    /// The accounts that hold something with what they hold, the largest first.
    pub fn accounts(&self) -> impl Iterator<Item = (A, usize)> {
        self.order
            .iter()
            .rev()
            .map(|(bytes, account)| (*account, *bytes))
    }

    /// The bytes of the channels of an account, the largest first.
    pub fn of(&self, account: A) -> impl Iterator<Item = (usize, C)> {
        let holders = self.accounts.get(&account).into_iter();
        holders.flat_map(|holders| holders.order.iter().rev().cloned())
    }

    /// The bytes of all channels.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.accounts.values().map(|holders| holders.bytes).sum()
    }

    fn largest_of(&self, account: A) -> Option<(usize, C)> {
        self.of(account).next()
    }
}

// Questions of one shard to another that have no answer yet.

/// Questions under way to another shard.
pub(crate) struct ShareQuestions {
    all: Places<Account>,
    changes: Places<Account>,
}

impl ShareQuestions {
    /// None, among this many shards.
    pub(crate) fn among(shards: usize) -> Self {
        Self {
            all: Places::of(calls_per_pair(shards)),
            changes: Places::of(changes_per_pair(shards)),
        }
    }

    /// Takes places for one more. False when its account has its share.
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

    /// One is answered, or found no room.
    pub(crate) fn end(&mut self, caller: CallRef) {
        self.all.give_back(caller.account);
        if caller.change {
            self.changes.give_back(caller.account);
        }
    }

    /// Whether there are none.
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

/// The places, by account or by whatever else stands for it. Who holds none is not kept.
#[derive(Debug)]
pub(crate) struct Places<A> {
    most: usize,
    taken: usize,
    holders: BTreeMap<A, usize>,
}

impl<A: Copy + Ord> Places<A> {
    /// Places, all free.
    pub(crate) fn of(most: usize) -> Self {
        Self {
            most,
            taken: 0,
            holders: BTreeMap::new(),
        }
    }

    /// Takes a place. False when the holder has as many as are free.
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

    /// Gives one back. Harmless when the holder has none.
    pub(crate) fn give_back(&mut self, holder: A) {
        if let Some(held) = self.holders.get_mut(&holder) {
            *held -= 1;
            self.taken -= 1;
            if *held == 0 {
                self.holders.remove(&holder);
            }
        }
    }

    /// The number of places that are taken.
    pub(crate) fn taken(&self) -> usize {
        self.taken
    }

    /// Whether nobody holds any.
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

/// The owner of connections that are counted together: a caller in an account, by
/// [`identity`](crate::auth::Caller::identity).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Holder {
    account: Account,
    caller: u64,
}

/// Something that has a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Member {
    /// A WebSocket of this shard.
    Session(SessionKey),
    /// A client that another node serves, by its number at the edge.
    OnLink(u32),
}

impl From<SessionKey> for Member {
    fn from(session: SessionKey) -> Self {
        Self::Session(session)
    }
}

/// In which order connections of a caller make room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Standing {
    /// Ending: it has left its channel, and its descriptor is not free yet.
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
    /// Callers with connections, by number; and the numbers that are free.
    callers: Vec<CallerShares>,
    free: Vec<u32>,
    numbers: BTreeMap<Holder, u32>,
    /// Callers that have the current master of a channel, and of each account the first one.
    masters: BTreeSet<Holder>,
    first_masters: BTreeMap<Account, Member>,
    shares: Shares<Account, Holder>,
    /// Connections that made room and are not gone, the first one first.
    leaving: VecDeque<SessionKey>,
}

/// The connections of one caller.
#[derive(Debug)]
struct CallerShares {
    holder: Holder,
    /// Number of places.
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

    /// The connections of each account, by caller.
    pub(crate) fn by_account(&self) -> &Shares<Account, Holder> {
        &self.shares
    }

    /// The standing of a connection, if it has a place.
    pub(crate) fn standing(&self, session: SessionKey) -> Option<Standing> {
        let (_, standing) = self.seats.of(session.into())?;
        Some(standing)
    }

    /// Whether a place is free for one more of the holder, or another one makes room.
    pub(crate) fn may_enter(&self, holder: Holder) -> bool {
        self.has_place() || self.payer(holder).is_some()
    }

    /// Whether a place is free.
    pub(crate) fn has_place(&self) -> bool {
        self.taken < self.most
    }

    /// Takes the place of one that makes room for one more of this holder; `None` when there is room, or nobody does.
    pub(crate) fn make_room(&mut self, holder: Holder) -> Option<Member> {
        if self.has_place() {
            return None;
        }
        let victim = self.payer(holder)?;
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
        self.taken += 1;
        self.count(number, |count| count + 1);
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
            self.taken -= 1;
            self.count(number, |count| count - 1);
        } else if let Member::Session(session) = member {
            self.leaving.retain(|other| *other != session);
        }
    }

    /// The connection that makes room for one more of a holder. Of the caller with most, unless all that it has is the
    /// first master: then of the next one, if that has enough.
    fn payer(&self, holder: Holder) -> Option<Member> {
        let own = self.caller(holder).map_or(0, |caller| caller.count);
        let payer = self.shares.payer(holder.account, own, 1)?;
        let same = payer.account == holder.account;
        let least = if same { own + 2 } else { 1 };
        let callers = self.shares.of(payer.account).take(2);
        let mut callers = callers.filter(|(count, _)| *count >= least);
        callers.find_map(|(_, caller)| self.first_of(caller))
    }

    /// The viewer of a full channel that makes room for one more of a holder: the newest one of the caller with most of
    /// these viewers, if that has at least two more than the holder. So a caller with an equal part keeps it, and an
    /// eviction never answers another one. Linear in the viewers, each with the moment of its admission.
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

// Connections in lists, each in the order in which they came to it: 20 bytes for each slot of the sessions, and for
// each number of a client on a link.
//
// The lists go through the slots: what is before and after a connection is in its own place, so that nothing is
// allocated for a connection, and nothing is moved or searched when one leaves.

/// The places of all sessions by slot, and of all clients on links by number. They come in chunks and stay.
#[derive(Debug, Default)]
struct Seats {
    sessions: MemberChunks,
    on_links: MemberChunks,
}

type MemberChunks = Vec<Box<[MemberSeat]>>;

/// One connection in its list.
#[derive(Clone, Copy, Debug)]
struct MemberSeat {
    generation: u32,
    /// [`NOBODY`] where no connection has the place.
    caller: u32,
    older: u32,
    newer: u32,
    standing: Standing,
}

/// The ends of a list: slots, and numbers of clients on links with [`ON_LINK`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct List {
    oldest: u32,
    newest: u32,
}

impl List {
    /// A list without connections.
    const EMPTY: Self = Self {
        oldest: NOBODY,
        newest: NOBODY,
    };
}

/// In place of a slot or a caller: none.
const NOBODY: u32 = u32::MAX;

/// Tells the number of a client on a link from a slot: both are smaller.
const ON_LINK: u32 = 1 << 31;

const CHUNK: usize = 64;

const _: () = assert!(size_of::<MemberSeat>() == 20);

impl Seats {
    /// The caller of a connection and its list, if it has a place.
    pub(crate) fn of(&self, member: Member) -> Option<(u32, Standing)> {
        let (number, generation) = numbers(member);
        let seat = self.seat(number)?;
        let found = seat.generation == generation && seat.caller != NOBODY;
        found.then_some((seat.caller, seat.standing))
    }

    /// The connection that came last.
    pub(crate) fn newest(&self, list: List) -> Option<Member> {
        self.member(list.newest)
    }

    /// The connection that came first.
    pub(crate) fn oldest(&self, list: List) -> Option<Member> {
        self.member(list.oldest)
    }

    /// Puts a connection that has no place at the end of a list.
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

/// The number of a place, and the generation of who has it.
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
