//! Sessions of the console: in memory, by the hash of a random text that the browser's cookie has.

use crate::limits::{CONSOLE_SESSIONS_MAX, CONSOLE_SESSIONS_OF_ACCOUNT_MAX, STREAMS_MAX};
use crate::side::accounts::basis::Basis;
use crate::side::accounts::secret::{self, Hash};
use crate::side::admin::door::Line;
use aws_lc_rs::constant_time::verify_slices_are_equal;
use std::sync::Arc;
use std::time::{Duration, Instant};
use zeroize::Zeroizing;

/// The account that a request is of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Account {
    /// Its provider's issuer without `https://`.
    pub(crate) issuer: Box<str>,
    /// Its subject there.
    pub(crate) subject: Box<str>,
    /// Its session.
    pub(crate) session: Hash,
    /// The end of that.
    pub(crate) until: Instant,
}

impl Account {
    /// Its issuer and its subject, for the log.
    pub(crate) fn names(&self) -> (&str, &str) {
        (&self.issuer, &self.subject)
    }
}

/// All of them, from the oldest.
#[derive(Default)]
pub(crate) struct Sessions(Vec<Session>);

struct Session {
    account: Account,
    origin: String,
    basis: Arc<Basis>,
    streams: Vec<Line>,
}

impl Sessions {
    /// Opens a session at an origin and returns the text of its cookie. The account's oldest makes room for one more of
    /// its own, and the oldest of all when there is no place.
    pub(crate) fn open(
        &mut self,
        subject: &str,
        basis: &Arc<Basis>,
        origin: &str,
        now: Instant,
    ) -> Option<(Zeroizing<String>, Account)> {
        let text = secret::random()?;
        let account = Account {
            issuer: basis.issuer.clone(),
            subject: subject.into(),
            session: secret::hash(&text),
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

    /// The account of a cookie's text at the origin of its session, and by what it was let in.
    pub(crate) fn find(
        &self,
        text: &str,
        origin: &str,
        now: Instant,
    ) -> Option<(Account, Arc<Basis>)> {
        let hash = secret::hash(text);
        let is_it = |one: &&Session| verify_slices_are_equal(&one.account.session, &hash).is_ok();
        let found = self.0.iter().find(is_it)?;
        let counts = now < found.account.until && found.origin == origin;
        counts.then(|| (found.account.clone(), Arc::clone(&found.basis)))
    }

    /// Keeps a stream of a session, which ends with it.
    pub(crate) fn hold(&mut self, account: &Account, stream: Line) {
        let is_it = |one: &&mut Session| one.account.session == account.session;
        let Some(session) = self.0.iter_mut().find(is_it) else {
            return stream.end(); // it ended meanwhile
        };
        session.streams.retain(Line::is_open);
        if session.streams.len() >= STREAMS_MAX {
            session.streams.remove(0).end();
        }
        session.streams.push(stream);
    }

    /// Ends a session.
    pub(crate) fn end(&mut self, account: &Account) {
        self.0.retain(|one| one.account.session != account.session);
    }

    /// Ends those whose time is over, and those that were opened by another rule; returns them.
    pub(crate) fn sweep(&mut self, basis: Option<Arc<Basis>>, now: Instant) -> Vec<Account> {
        let stays = |one: &Session| now < one.account.until && Some(&one.basis) == basis.as_ref();
        let mut ended = Vec::new();
        self.0.retain(|one| {
            let stays = stays(one);
            if !stays {
                ended.push(one.account.clone());
            }
            stays
        });
        ended
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.streams.iter().for_each(Line::end);
    }
}

/// The life of a session: a day's work.
pub(crate) const SESSION_LIFE: Duration = Duration::from_secs(8 * 60 * 60);

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
