//! Sign-ins under way: what a browser was sent to its provider with, until it is back.

use crate::limits::CONSOLE_SIGN_INS_MAX;
use crate::side::accounts::basis::Basis;
use crate::side::accounts::secret::{self, Hash};
use broker_core::address_shares::Origin;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};
use zeroize::Zeroizing;

/// One sign-in.
pub(crate) struct SignIn {
    /// Comes back in the id token.
    pub(crate) nonce: Zeroizing<String>,
    /// Proves to the provider that its code was asked for here.
    pub(crate) verifier: Zeroizing<String>,
    /// The origin at which it was begun.
    pub(crate) origin: String,
    /// The rule by which it was begun.
    pub(crate) basis: Arc<Basis>,
}

/// All of them, by the hash of their state.
#[derive(Default)]
pub(crate) struct SignIns {
    by_state: BTreeMap<Hash, (Instant, SignIn)>,
    /// From the oldest; those that were taken stay here until their time is over.
    order: VecDeque<Begun>,
}

/// The beginning of one.
struct Begun {
    at: Instant,
    state: Hash,
    from: Origin,
}

impl SignIn {
    /// With secrets of its own; `None` when the system has no randomness.
    pub(crate) fn new(origin: &str, basis: &Arc<Basis>) -> Option<Self> {
        Some(Self {
            nonce: secret::random()?,
            verifier: secret::random()?,
            origin: origin.to_owned(),
            basis: Arc::clone(basis),
        })
    }
}

impl SignIns {
    /// Keeps one of this address, and returns its state. The oldest of the address with most makes room.
    pub(crate) fn begin(
        &mut self,
        sign_in: SignIn,
        from: Origin,
        now: Instant,
    ) -> Option<Zeroizing<String>> {
        let state = secret::random()?;
        while self.oldest_is_over(now) {
            self.forget(0);
        }
        if self.order.len() >= CONSOLE_SIGN_INS_MAX {
            self.forget(self.payer());
        }
        let hash = secret::hash(&state);
        self.by_state.insert(hash, (now, sign_in));
        self.order.push_back(Begun {
            at: now,
            state: hash,
            from,
        });
        Some(state)
    }

    /// The place of the oldest of the address with most.
    fn payer(&self) -> usize {
        let mut counts = BTreeMap::<Origin, usize>::new();
        for begun in &self.order {
            *counts.entry(begun.from).or_default() += 1;
        }
        let most = counts.into_iter().max_by_key(|(_, count)| *count);
        let mut all = self.order.iter();
        let place = all.position(|begun| most.is_some_and(|(from, _)| from == begun.from));
        place.unwrap_or_default()
    }

    fn forget(&mut self, place: usize) {
        if let Some(begun) = self.order.remove(place) {
            self.by_state.remove(&begun.state);
        }
    }

    /// Takes the one of this state, so that it serves once.
    pub(crate) fn take(&mut self, state: &str, now: Instant) -> Option<SignIn> {
        let (began, sign_in) = self.by_state.remove(&secret::hash(state))?;
        (now < began + SIGN_IN_LIFE).then_some(sign_in)
    }

    fn oldest_is_over(&self, now: Instant) -> bool {
        let oldest = self.order.front();
        oldest.is_some_and(|begun| now >= begun.at + SIGN_IN_LIFE)
    }
}

/// Time in which somebody signs in at the provider.
pub(crate) const SIGN_IN_LIFE: Duration = Duration::from_secs(10 * 60);

#[cfg(test)]
mod tests {

    use super::*;

    fn sign_in() -> SignIn {
        let basis = Basis {
            issuer: "id.example.com".into(),
            client_id: "console".into(),
            claim: "groups".into(),
            value: "operators".into(),
        };
        SignIn::new("http://localhost:8090", &Arc::new(basis)).unwrap()
    }

    const FROM: Origin = Origin::V4(1);

    #[test]
    fn a_state_serves_once_and_in_time() {
        let (mut all, now) = (SignIns::default(), Instant::now());
        let state = all.begin(sign_in(), FROM, now).unwrap();
        for other in ["", "x", &state[1..], &state.to_lowercase()] {
            assert!(all.take(other, now).is_none(), "{other}");
        }
        let taken = all.take(&state, now).unwrap();
        assert_ne!(*taken.nonce, *taken.verifier);
        assert!(all.take(&state, now).is_none(), "used");
        let late = all.begin(sign_in(), FROM, now).unwrap();
        assert!(all.take(&late, now + SIGN_IN_LIFE).is_none());
        let just = all.begin(sign_in(), FROM, now).unwrap();
        let end = now + SIGN_IN_LIFE - Duration::from_secs(1);
        assert!(all.take(&just, end).is_some());
    }

    #[test]
    fn the_oldest_makes_room_and_what_is_over_takes_none() {
        let (mut all, now) = (SignIns::default(), Instant::now());
        let begin = |_| all.begin(sign_in(), FROM, now).unwrap();
        let states: Vec<_> = (0..=CONSOLE_SIGN_INS_MAX).map(begin).collect();
        assert_eq!(all.by_state.len(), CONSOLE_SIGN_INS_MAX);
        assert!(all.take(&states[0], now).is_none());
        assert!(all.take(&states[1], now).is_some());
        assert!(all.begin(sign_in(), FROM, now + SIGN_IN_LIFE).is_some());
        assert_eq!((all.by_state.len(), all.order.len()), (1, 1));
    }

    #[test]
    fn who_begins_most_makes_room() {
        let (mut all, now) = (SignIns::default(), Instant::now());
        let quiet = all.begin(sign_in(), Origin::V4(2), now).unwrap();
        let begin = |_| all.begin(sign_in(), FROM, now).unwrap();
        let states: Vec<_> = (0..2 * CONSOLE_SIGN_INS_MAX).map(begin).collect();
        assert_eq!(all.order.len(), CONSOLE_SIGN_INS_MAX);
        assert!(all.take(&quiet, now).is_some());
        assert!(all.take(&states[CONSOLE_SIGN_INS_MAX], now).is_none());
        assert!(all.take(&states[CONSOLE_SIGN_INS_MAX + 1], now).is_some());
    }
}
