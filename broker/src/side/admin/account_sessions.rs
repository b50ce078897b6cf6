//! Console sessions and pending sign-ins, held only in memory. Each is looked up by the hash of a random value that the
//! browser stores in a cookie.

use crate::limits::{
    CONSOLE_SESSIONS_MAX, CONSOLE_SESSIONS_OF_ACCOUNT_MAX, CONSOLE_SIGN_INS_MAX, STREAMS_MAX,
};
use crate::side::admin::connection_limits::Line;
use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::{digest, rand};
use broker_core::address_shares::Origin;
use data_encoding::BASE64URL_NOPAD;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};
use zeroize::Zeroizing;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Account {
    /// The provider's issuer, without `https://`.
    pub(crate) issuer: Box<str>,
    pub(crate) subject: Box<str>,
    pub(crate) session: Hash,
    pub(crate) until: Instant,
}

impl Account {
    pub(crate) fn names(&self) -> (&str, &str) {
        (&self.issuer, &self.subject)
    }
}

#[derive(Default)]
pub(crate) struct Sessions(Vec<Session>);

struct Session {
    account: Account,
    origin: String,
    basis: Arc<Basis>,
    streams: Vec<Line>,
}

impl Sessions {
    /// Opens a session for an origin and returns the value of its cookie. If the account has too many sessions, evicts
    /// its oldest. If there are too many sessions in total, evicts the oldest of all.
    pub(crate) fn open(
        &mut self,
        subject: &str,
        basis: &Arc<Basis>,
        origin: &str,
        now: Instant,
    ) -> Option<(Zeroizing<String>, Account)> {
        let text = random()?;
        let account = Account {
            issuer: basis.issuer.clone(),
            subject: subject.into(),
            session: self::hash(&text),
            until: now + SESSION_LIFE,
        };
        let is_own = |one: &Session| {
            one.account.subject == account.subject && one.account.issuer == account.issuer
        };
        if self.0.iter().filter(|one| is_own(one)).count() >= CONSOLE_SESSIONS_OF_ACCOUNT_MAX {
            let oldest = self.0.iter().position(is_own);
            oldest.map(|oldest| self.0.remove(oldest));
        }
        if self.0.len() >= CONSOLE_SESSIONS_MAX {
            self.0.remove(0);
        }
        self.0.push(Session {
            account: account.clone(),
            origin: origin.to_owned(),
            basis: Arc::clone(basis),
            streams: Vec::new(),
        });
        Some((text, account))
    }

    /// Finds the session with this cookie value and origin. Returns its account, and the rule that admitted the
    /// account.
    pub(crate) fn find(
        &self,
        text: &str,
        origin: &str,
        now: Instant,
    ) -> Option<(Account, Arc<Basis>)> {
        let hash = self::hash(text);
        let is_it = |one: &&Session| verify_slices_are_equal(&one.account.session, &hash).is_ok();
        let found = self.0.iter().find(is_it)?;
        let counts = now < found.account.until && found.origin == origin;
        counts.then(|| (found.account.clone(), Arc::clone(&found.basis)))
    }

    /// Attaches a stream to a session. The stream is closed when the session ends.
    pub(crate) fn hold(&mut self, account: &Account, stream: Line) {
        let is_it = |one: &&mut Session| one.account.session == account.session;
        let Some(session) = self.0.iter_mut().find(is_it) else {
            return stream.end(); // the session has ended in the meantime
        };
        session.streams.retain(Line::is_open);
        if session.streams.len() >= STREAMS_MAX {
            session.streams.remove(0).end();
        }
        session.streams.push(stream);
    }

    pub(crate) fn end(&mut self, account: &Account) {
        self.0.retain(|one| one.account.session != account.session);
    }

    /// Ends the sessions that have expired or whose admission rule has changed, and returns their accounts.
    pub(crate) fn sweep(&mut self, basis: Option<Arc<Basis>>, now: Instant) -> Vec<Account> {
        let stays = |one: &Session| now < one.account.until && Some(&one.basis) == basis.as_ref();
        let ended = self.0.extract_if(.., |one| !stays(one));
        ended.map(|one| one.account.clone()).collect()
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.streams.iter().for_each(Line::end);
    }
}

/// Lifetime of a session: one working day.
pub(crate) const SESSION_LIFE: Duration = Duration::from_secs(8 * 60 * 60);

/// The rule that admitted an account. The account's session ends when this rule changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Basis {
    /// The provider's issuer, without `https://`.
    pub(crate) issuer: Box<str>,
    pub(crate) client_id: Box<str>,
    /// The claim that decides whether an account is admitted: it must have the value `value`.
    pub(crate) claim: Box<str>,
    pub(crate) value: Box<str>,
}

// Pending sign-ins. A sign-in is pending from the redirect to the provider until the browser returns.

pub(crate) struct SignIn {
    pub(crate) nonce: Zeroizing<String>,
    /// The PKCE verifier, which proves to the provider that this process requested the code.
    pub(crate) verifier: Zeroizing<String>,
    pub(crate) origin: String,
    pub(crate) basis: Arc<Basis>,
}

/// The pending sign-ins, from oldest to newest.
#[derive(Default)]
pub(crate) struct SignIns(VecDeque<BegunSignIn>);

/// A sign-in and its start time. The entry is kept until it expires, even after the sign-in has been taken.
struct BegunSignIn {
    at: Instant,
    state: Hash,
    from: Origin,
    sign_in: Option<SignIn>,
}

impl SignIn {
    /// Creates a sign-in with fresh secrets. Returns `None` if the system provides no random numbers.
    pub(crate) fn new(origin: &str, basis: &Arc<Basis>) -> Option<Self> {
        Some(Self {
            nonce: random()?,
            verifier: random()?,
            origin: origin.to_owned(),
            basis: Arc::clone(basis),
        })
    }
}

impl SignIns {
    /// Stores a sign-in started from an address, and returns its `state`. If there are too many sign-ins, evicts the
    /// oldest one from the address that has the most.
    pub(crate) fn begin(
        &mut self,
        sign_in: SignIn,
        from: Origin,
        now: Instant,
    ) -> Option<Zeroizing<String>> {
        let state = random()?;
        self.0.retain(|begun| now < begun.at + SIGN_IN_LIFE);
        if self.0.len() >= CONSOLE_SIGN_INS_MAX {
            let mut counts = BTreeMap::<Origin, usize>::new();
            for begun in &self.0 {
                *counts.entry(begun.from).or_default() += 1;
            }
            let most = counts.into_iter().max_by_key(|(_, count)| *count);
            let is_oldest = |begun: &BegunSignIn| most.is_some_and(|(of, _)| of == begun.from);
            let oldest = self.0.iter().position(is_oldest);
            self.0.remove(oldest.unwrap_or_default());
        }
        self.0.push_back(BegunSignIn {
            at: now,
            state: self::hash(&state),
            from,
            sign_in: Some(sign_in),
        });
        Some(state)
    }

    /// Takes the sign-in with this `state`. A sign-in can be taken only once.
    pub(crate) fn take(&mut self, state: &str, now: Instant) -> Option<SignIn> {
        let hash = self::hash(state);
        let begun = self.0.iter_mut().find(|begun| begun.state == hash)?;
        let is_open = now < begun.at + SIGN_IN_LIFE;
        begun.sign_in.take().filter(|_| is_open)
    }
}

/// Time limit for a sign-in at the provider.
pub(crate) const SIGN_IN_LIFE: Duration = Duration::from_secs(10 * 60);

// Random secrets, and hashes of secrets.

/// The SHA-256 of a secret. The secret itself is not stored.
type Hash = [u8; 32];

/// Returns 256 random bits in base64url, or `None` if the system provides no random numbers.
pub(crate) fn random() -> Option<Zeroizing<String>> {
    let mut bytes = Zeroizing::new([0; 32]);
    rand::fill(&mut *bytes).ok()?;
    Some(Zeroizing::new(BASE64URL_NOPAD.encode(&*bytes)))
}

pub(crate) fn hash(text: &str) -> Hash {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest::digest(&digest::SHA256, text.as_bytes()).as_ref());
    hash
}

/// Returns the PKCE challenge of a verifier. Source: RFC 7636, section 4.2, `S256`.
pub(crate) fn challenge(verifier: &str) -> String {
    BASE64URL_NOPAD.encode(&hash(verifier))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ORIGIN: &str = "https://ops.example.com";

    fn basis(value: &str) -> Arc<Basis> {
        Arc::new(Basis {
            issuer: "id.example.com".into(),
            client_id: "console".into(),
            claim: "groups".into(),
            value: value.into(),
        })
    }

    #[test]
    fn a_session_is_found_by_its_text_at_its_origin_in_time() {
        let (mut all, now) = (Sessions::default(), Instant::now());
        let (text, account) = all.open("ada", &basis("operators"), ORIGIN, now).unwrap();
        let found = |all: &Sessions, text: &str, origin: &str, at| {
            all.find(text, origin, at).map(|(account, _)| account)
        };
        assert_eq!(found(&all, &text, ORIGIN, now), Some(account.clone()));
        for other in ["", "x", &text[1..], &text.to_lowercase()] {
            assert_eq!(found(&all, other, ORIGIN, now), None, "{other}");
        }
        assert_eq!(found(&all, &text, "http://localhost:8090", now), None);
        let end = now + SESSION_LIFE;
        assert!(found(&all, &text, ORIGIN, end - Duration::from_secs(1)).is_some());
        assert_eq!(found(&all, &text, ORIGIN, end), None);
        all.end(&account);
        assert_eq!(found(&all, &text, ORIGIN, now), None);
    }

    #[test]
    fn sessions_end_with_their_time_and_with_their_rule() {
        let (mut all, now) = (Sessions::default(), Instant::now());
        let (_, first) = all.open("ada", &basis("operators"), ORIGIN, now).unwrap();
        assert_eq!(all.sweep(Some(basis("operators")), now), []);
        assert_eq!(all.sweep(Some(basis("others")), now), [first]);
        let (_, second) = all.open("ada", &basis("operators"), ORIGIN, now).unwrap();
        assert_eq!(all.sweep(None, now), [second]);
        let (_, third) = all.open("ada", &basis("operators"), ORIGIN, now).unwrap();
        let ended = all.sweep(Some(basis("operators")), now + SESSION_LIFE);
        assert_eq!(ended, [third]);
        assert!(all.0.is_empty());
    }

    #[test]
    fn an_account_pushes_out_its_own_and_the_oldest_makes_room() {
        let (mut all, now, basis) = (Sessions::default(), Instant::now(), basis("operators"));
        let (first, _) = all.open("ada", &basis, ORIGIN, now).unwrap();
        for _ in 0..CONSOLE_SESSIONS_OF_ACCOUNT_MAX {
            let _ = all.open("bob", &basis, ORIGIN, now);
        }
        let (bobs, _) = all.open("bob", &basis, ORIGIN, now).unwrap();
        assert_eq!(all.0.len(), 1 + CONSOLE_SESSIONS_OF_ACCOUNT_MAX);
        assert!(all.find(&first, ORIGIN, now).is_some(), "another's");
        for nth in all.0.len()..=CONSOLE_SESSIONS_MAX {
            let _ = all.open(&format!("user {nth}"), &basis, ORIGIN, now);
        }
        assert_eq!(all.0.len(), CONSOLE_SESSIONS_MAX);
        assert!(all.find(&first, ORIGIN, now).is_none());
        assert!(all.find(&bobs, ORIGIN, now).is_some());
    }
}

#[cfg(test)]
mod sign_ins_tests {
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
        assert_eq!(all.0.len(), CONSOLE_SIGN_INS_MAX);
        assert!(all.take(&states[0], now).is_none());
        assert!(all.take(&states[1], now).is_some());
        assert!(all.begin(sign_in(), FROM, now + SIGN_IN_LIFE).is_some());
        assert_eq!(all.0.len(), 1);
    }

    #[test]
    fn who_begins_most_makes_room() {
        let (mut all, now) = (SignIns::default(), Instant::now());
        let quiet = all.begin(sign_in(), Origin::V4(2), now).unwrap();
        let begin = |_| all.begin(sign_in(), FROM, now).unwrap();
        let states: Vec<_> = (0..2 * CONSOLE_SIGN_INS_MAX).map(begin).collect();
        assert_eq!(all.0.len(), CONSOLE_SIGN_INS_MAX);
        assert!(all.take(&quiet, now).is_some());
        assert!(all.take(&states[CONSOLE_SIGN_INS_MAX], now).is_none());
        assert!(all.take(&states[CONSOLE_SIGN_INS_MAX + 1], now).is_some());
    }
}

#[cfg(test)]
mod secret_tests {
    use super::*;

    /// Source: RFC 7636, appendix B.
    #[test]
    fn the_challenge_is_that_of_the_standard() {
        assert_eq!(
            challenge("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"),
            "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
        );
    }

    #[test]
    fn texts_are_of_256_bits_and_all_different() {
        let (one, other) = (random().unwrap(), random().unwrap());
        assert_ne!(*one, *other);
        for text in [one, other] {
            // Source: RFC 7636, section 4.1: a verifier has 43 to 128 characters.
            assert_eq!(text.len(), 43);
            assert_eq!(BASE64URL_NOPAD.decode(text.as_bytes()).unwrap().len(), 32);
        }
    }
}
