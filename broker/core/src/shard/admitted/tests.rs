use super::*;

fn among(connections: usize) -> Admitted {
    Admitted::among(connections, RandomState::with_seeds(1, 2, 3, 4))
}

fn key(slot: u32) -> SessionKey {
    SessionKey::new(slot, 0)
}

fn holder(account: u64, caller: u64) -> Holder {
    Holder {
        account: Account(account),
        caller,
    }
}

/// Admits a session as the shard does. Returns the session that was evicted for it, if any.
fn enter(
    admitted: &mut Admitted,
    slot: u32,
    of: Holder,
    standing: Standing,
) -> Result<Option<SessionKey>, ()> {
    let victims = enter_as(admitted, key(slot).into(), of, standing)?;
    let one = victims.first().map(|victim| match victim {
        Member::Session(session) => *session,
        Member::OnLink(_) => unreachable!("there are none"),
    });
    assert!(victims.len() <= 1, "{victims:?}");
    Ok(one)
}

/// Admits any member as the shard does. Returns all members that were evicted for it.
fn enter_as(
    admitted: &mut Admitted,
    member: Member,
    of: Holder,
    standing: Standing,
) -> Result<Vec<Member>, ()> {
    if !admitted.may_enter(of) {
        return Err(());
    }
    let mut victims = Vec::new();
    while let Some(victim) = admitted.make_room(of) {
        victims.push(victim);
    }
    if admitted.has_place() {
        admitted.enter(member, of, standing);
    }
    Ok(victims)
}

/// Creates an instance for 16 connections, one of which is reserved. Two callers of one account hold the others.
fn full() -> Admitted {
    let mut admitted = among(16);
    for slot in 0..15 {
        let standing = if slot < 5 {
            Standing::Master
        } else {
            Standing::Viewer
        };
        let of = holder(1, u64::from(slot % 3 == 0));
        assert_eq!(enter(&mut admitted, slot, of, standing), Ok(None));
    }
    admitted
}

#[test]
fn the_caller_with_most_of_the_account_with_most_makes_room() {
    let mut admitted = full();
    admitted.becomes(key(7), Standing::Superseded);
    admitted.becomes(key(1), Standing::Ending);
    let mut order = Vec::new();
    for slot in 100..107 {
        let victim = enter(&mut admitted, slot, holder(2, 9), Standing::Viewer);
        order.push(victim.unwrap().unwrap().slot());
    }
    // Caller 0 holds ten. The closing connection goes first, then the superseded one, then viewers, the newest first.
    assert_eq!(order, [1, 7, 14, 13, 11, 12, 10]);
    // The first account now holds eight connections, the second seven.
    assert_eq!(
        enter(&mut admitted, 200, holder(2, 9), Standing::Master),
        Err(())
    );
    // Another account below its equal share evicts a connection of the account that now holds the most.
    let victim = enter(&mut admitted, 300, holder(3, 1), Standing::Viewer);
    assert_eq!(victim, Ok(Some(key(9))));
}

#[test]
fn a_newcomer_of_the_caller_with_most_closes_nobody() {
    let mut admitted = full();
    assert!(!admitted.may_enter(holder(1, 0)));
    assert_eq!(admitted.make_room(holder(1, 0)), None);
    // Another caller of the same account is entitled to a share of the account's connections.
    assert!(admitted.may_enter(holder(1, 1)));
    assert_eq!(admitted.make_room(holder(1, 1)), Some(key(14).into()));
}

#[test]
fn clients_on_links_make_room_as_connections_do() {
    let mut admitted = among(16);
    for number in 0..15 {
        let (client, of) = (Member::OnLink(number), holder(1, 1));
        let none = enter_as(&mut admitted, client, of, Standing::Viewer);
        assert_eq!(none, Ok(Vec::new()));
    }
    assert_eq!((admitted.taken, admitted.most), (15, 15));
    let of = holder(2, 1);
    let other = |admitted: &mut Admitted, member| enter_as(admitted, member, of, Standing::Viewer);
    assert_eq!(
        other(&mut admitted, key(1).into()),
        Ok(vec![Member::OnLink(14)])
    );
    assert_eq!(
        other(&mut admitted, Member::OnLink(15)),
        Ok(vec![Member::OnLink(13)])
    );
    assert!(!admitted.may_enter(holder(1, 1)));
    // The number of a client on a link must not be mistaken for a session's slot.
    admitted.leave(Member::OnLink(1));
    admitted.leave(Member::OnLink(1));
    assert_eq!(admitted.taken, 14);
    assert_eq!(other(&mut admitted, Member::OnLink(1)), Ok(Vec::new()));
}

#[test]
fn the_first_master_of_an_account_never_makes_room() {
    let mut admitted = among(5);
    for slot in 0..4 {
        let of = holder(1, 4 - u64::from(slot));
        assert_eq!(enter(&mut admitted, slot, of, Standing::Master), Ok(None));
    }
    // Each caller of the account holds one connection. The first master belongs to the caller with the highest number.
    let newcomer =
        |admitted: &mut Admitted, slot| enter(admitted, slot, holder(2, 1), Standing::Viewer);
    assert_eq!(newcomer(&mut admitted, 10), Ok(Some(key(1))));
    // Once the first master is superseded, another master takes its role.
    admitted.becomes(key(0), Standing::Superseded);
    assert_ne!(
        admitted.first_masters.get(&Account(1)),
        Some(&key(0).into())
    );
    assert_eq!(newcomer(&mut admitted, 11), Ok(Some(key(0))));
    assert_eq!(newcomer(&mut admitted, 12), Err(()), "two of each");
}

#[test]
fn few_of_those_that_made_room_are_waited_for() {
    let mut admitted = among(64);
    assert_eq!((admitted.most, admitted.leaving_most), (60, 2));
    assert_eq!(admitted.closes(key(1)), None);
    assert_eq!(admitted.closes(key(2)), None);
    admitted.leave(key(1));
    assert_eq!(admitted.closes(key(3)), None, "one of them is gone");
    assert_eq!(admitted.closes(key(4)), Some(key(2)));
}

#[test]
fn some_places_are_kept_wherever_there_are_two() {
    let most = [0, 1, 2, 3, 31, 32, 400, 1 << 20].map(|connections| among(connections).most);
    assert_eq!(most, [0, 1, 1, 2, 30, 30, 375, (1 << 20) - (1 << 16)]);
    assert_eq!(among(1 << 20).leaving_most, 256);
}

/// A connection in the model. Connections are ordered by when they acquired their current standing.
#[derive(Clone, Copy)]
struct Plain {
    member: Member,
    of: Holder,
    standing: Standing,
}

/// A model of [`Admitted`]: all connections, and the first master of each account.
#[derive(Default)]
struct Model {
    all: Vec<Plain>,
    firsts: BTreeMap<Account, Member>,
}

impl Model {
    fn account(&self, account: Account) -> impl Iterator<Item = &Plain> {
        (self.all.iter()).filter(move |one| one.of.account == account)
    }

    fn of_account(&self, account: Account) -> usize {
        self.account(account).count()
    }

    fn of_caller(&self, of: Holder) -> usize {
        self.all.iter().filter(|one| one.of == of).count()
    }

    fn is_first(&self, one: &Plain) -> bool {
        self.firsts.get(&one.of.account) == Some(&one.member)
    }

    fn enter(&mut self, one: Plain) {
        self.all.push(one);
        if one.standing == Standing::Master {
            self.firsts.entry(one.of.account).or_insert(one.member);
        }
    }

    fn leave(&mut self, member: Member) -> Plain {
        let place = self
            .all
            .iter()
            .position(|one| one.member == member)
            .unwrap();
        let one = self.all.remove(place);
        if self.is_first(&one) {
            let masters = self.account(one.of.account);
            let masters = masters.filter(|one| one.standing == Standing::Master);
            // If a caller holds several, the earliest one is chosen.
            let next = masters
                .min_by_key(|one| one.of.caller)
                .map(|one| one.member);
            self.firsts.remove(&one.of.account);
            self.firsts.extend(next.map(|next| (one.of.account, next)));
        }
        one
    }

    /// Checks that `victim` was the right connection to evict for `newcomer`.
    fn assert_pays(&self, newcomer: Holder, victim: Member) {
        let place = self.all.iter().position(|one| one.member == victim);
        let place = place.expect("it had a place");
        let payer = &self.all[place];
        assert!(!self.is_first(payer), "the first master");
        let accounts = self.all.iter().map(|one| self.of_account(one.of.account));
        let callers = self
            .account(payer.of.account)
            .filter(|one| !self.is_first(one));
        let most_of_a_caller = callers.map(|one| self.of_caller(one.of)).max();
        let held = self.of_account(payer.of.account);
        if payer.of.account == newcomer.account {
            assert!(self.of_caller(payer.of) > self.of_caller(newcomer) + 1);
        } else {
            assert_eq!(Some(held), accounts.max(), "the account with most");
            assert!(held > self.of_account(newcomer.account) + 1);
        }
        assert_eq!(Some(self.of_caller(payer.of)), most_of_a_caller);
        // Apart from the first master, no connection of that caller should have been evicted before the victim.
        let before = |(other, one): &(usize, &Plain)| {
            let newer = one.standing == payer.standing && *other > place;
            one.of == payer.of && (one.standing < payer.standing || newer)
        };
        let mut before = self.all.iter().enumerate().filter(before);
        assert!(before.all(|(_, one)| self.is_first(one)));
    }

    /// Checks that a refused newcomer already has its equal share, both of all places and of its account's places.
    fn assert_has_its_part(&self, newcomer: Holder) {
        let (held, own) = (self.of_account(newcomer.account), self.of_caller(newcomer));
        let most = (self.all.iter()).map(|one| self.of_account(one.of.account));
        let most = most.max();
        assert!(most <= Some(held + 1), "{most:?} and {held}");
        let mine = self.account(newcomer.account);
        let most = mine.map(|one| self.of_caller(one.of)).max();
        assert!(most <= Some(own + 1), "{most:?} and {own}");
    }
}

#[test]
fn below_an_equal_part_there_is_always_a_place() {
    for seed in 0..200 {
        let mut random = fastrand::Rng::with_seed(seed);
        let connections = random.usize(2..60);
        let (accounts, callers) = (random.u64(1..6), random.u64(1..5));
        let mut admitted = among(connections);
        let mut model = Model::default();
        for slot in 0..2_000 {
            let place = random.usize(..model.all.len().max(1));
            let some = model.all.get(place).map(|one| one.member);
            match (random.u8(..10), some) {
                (0..6, _) => {
                    let of = holder(random.u64(..accounts), random.u64(..callers));
                    let standing = [Standing::Viewer, Standing::Master][random.usize(..2)];
                    let member = [key(slot).into(), Member::OnLink(slot)][random.usize(..2)];
                    let Ok(victims) = enter_as(&mut admitted, member, of, standing) else {
                        model.assert_has_its_part(of);
                        continue;
                    };
                    for victim in victims {
                        let taken = model.all.len();
                        assert!(taken + 1 > admitted.most, "only when there is no room");
                        model.assert_pays(of, victim);
                        model.leave(victim);
                    }
                    if model.all.len() + 1 > admitted.most {
                        model.assert_has_its_part(of); // one victim was not enough
                    } else {
                        model.enter(Plain {
                            member,
                            of,
                            standing,
                        });
                    }
                }
                (6..8, Some(Member::Session(some))) => {
                    let standing = [Standing::Ending, Standing::Superseded][random.usize(..2)];
                    let one = model.leave(some.into());
                    model.enter(Plain { standing, ..one });
                    admitted.becomes(some, standing);
                }
                (_, Some(some)) => {
                    model.leave(some);
                    admitted.leave(some);
                    admitted.leave(some);
                    if let Member::Session(some) = some {
                        admitted.becomes(some, Standing::Superseded);
                        let slot = u32::try_from(some.slot()).unwrap();
                        admitted.leave(SessionKey::new(slot, 7)); // an earlier user of the slot
                    }
                }
                (_, None) => {}
            }
            assert_eq!(admitted.taken, model.all.len());
            assert!(admitted.taken <= admitted.most);
        }
        let mut left: Vec<Member> = model.all.iter().map(|one| one.member).collect();
        random.shuffle(&mut left);
        left.iter().for_each(|member| admitted.leave(*member));
        assert_eq!((admitted.taken, admitted.numbers.len()), (0, 0));
        assert!(admitted.masters.is_empty() && admitted.first_masters.is_empty());
        assert_eq!(admitted.free.len(), admitted.callers.len());
        assert_eq!(admitted.shares.largest(), None);
    }
}

/// Callers come and go on a channel with few places. A caller loses its newest viewer only if it has at least two
/// viewers more than the newcomer's caller. Once each caller has made enough requests, none evicts a viewer.
#[test]
fn viewers_of_equal_callers_never_evict_each_other() {
    const PLACES: usize = 12;
    let mut evictions = 0;
    for seed in 0..200 {
        let mut random = fastrand::Rng::with_seed(seed);
        let callers = random.u64(2..6);
        let mut admitted = among(10_000);
        let mut viewers: Vec<(SessionKey, Now, u64)> = Vec::new();
        let mut left = Vec::new();
        let mut joins = |viewers: &mut Vec<_>, left: &mut Vec<_>, caller, slot: u32| {
            left.drain(..)
                .for_each(|gone: SessionKey| admitted.leave(gone));
            let held = |of| held_of(viewers, of);
            let all = viewers.iter().map(|(key, since, _)| (*key, *since));
            let payer = admitted.viewer_that_pays(holder(1, caller), all);
            let most = (0..callers).map(held).max().unwrap_or_default();
            let may = most >= held(caller) + 2;
            assert_eq!(payer.is_some(), may, "seed {seed}");
            if viewers.len() == PLACES {
                let Some(payer) = payer else { return false };
                let place = viewers.iter().position(|(key, ..)| *key == payer);
                let (_, _, former) = viewers.remove(place.unwrap());
                let same = viewers.iter().rposition(|(.., it)| *it == former);
                assert!(same.is_none_or(|same| same < place.unwrap()), "seed {seed}");
                assert_eq!(held_of(viewers, former) + 1, most, "seed {seed}");
                admitted.leave(payer);
                evictions += 1;
            }
            admitted.enter(key(slot), holder(1, caller), Standing::Viewer);
            viewers.push((key(slot), Now(slot.into()), caller));
            true
        };
        for slot in 0..300 {
            if random.u8(..4) == 0 && !viewers.is_empty() {
                let (gone, ..) = viewers.remove(random.usize(..viewers.len()));
                left.push(gone);
            }
            // Caller 0 sends the most requests.
            let caller = random.u64(..callers) * random.u64(..2);
            joins(&mut viewers, &mut left, caller, slot);
        }
        let asks = (0..callers).flat_map(|caller| (0..20).map(move |nth| (caller, nth)));
        for (caller, nth) in asks.chain((0..callers).map(|caller| (caller, 20))) {
            let slot = 1_000 + u32::try_from(caller).unwrap() * 100 + nth;
            let may = joins(&mut viewers, &mut left, caller, slot);
            assert!(!may || nth < 20, "seed {seed}");
        }
        // The shares are equal, except that some callers hold one more if the places do not divide evenly.
        let parts = (0..callers).map(|caller| held_of(&viewers, caller));
        let (least, most) = (parts.clone().min(), parts.max());
        assert!(most <= least.map(|least| least + 1), "seed {seed}");
    }
    assert!(evictions > 500, "{evictions}");
}

fn held_of(viewers: &[(SessionKey, Now, u64)], caller: u64) -> usize {
    viewers.iter().filter(|(.., it)| *it == caller).count()
}
