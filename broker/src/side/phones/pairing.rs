//! Codes by which a phone comes to use the pages of a development server: one browser redeems each once, for a session.
//!
//! Codes and sessions are random and kept in memory, by their hash: what is looked up says nothing about the secret,
//! however long a look takes. When there is no room for another one, the oldest makes room.

use crate::edge::entropy;
use crate::limits::{PAIR_CODES_MAX, PAIR_SESSIONS_MAX};
use crate::side::shared::Shared;
use aws_lc_rs::digest;
use data_encoding::{BASE32_NOPAD, HEXLOWER};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// The codes and sessions of the process; a clone is another way to the same.
#[derive(Clone, Default)]
pub struct Pairing(Shared<Secrets>);

#[derive(Default)]
struct Secrets {
    codes: Kept,
    sessions: Kept,
}

/// Hashes of secrets and when each ends, the oldest first.
#[derive(Default)]
struct Kept(VecDeque<([u8; 32], Instant)>);

impl Pairing {
    /// A new code, such as the path of a URL has it: 26 capital letters and digits. `None` when the system gives no
    /// random bytes.
    pub fn code(&self, now: Instant) -> Option<String> {
        let mut bytes = [0; 16];
        entropy::fill(&mut bytes).ok()?;
        let code = BASE32_NOPAD.encode(&bytes);
        let mut secrets = self.0.lock();
        secrets
            .codes
            .keep(&code, now + PAIR_CODE_LIFE, PAIR_CODES_MAX, now);
        Some(code)
    }

    /// Whether a code can be redeemed.
    pub(crate) fn is_open(&self, code: &str, now: Instant) -> bool {
        self.0.lock().codes.has(code, now)
    }

    /// A session for a code, which is then used up; `None` when it was used, is too old or never was one.
    pub(crate) fn redeem(&self, code: &str, now: Instant) -> Option<String> {
        let mut bytes = [0; 32];
        entropy::fill(&mut bytes).ok()?;
        let mut secrets = self.0.lock();
        if !secrets.codes.take(code, now) {
            return None;
        }
        let session = HEXLOWER.encode(&bytes);
        secrets
            .sessions
            .keep(&session, now + PAIR_SESSION_LIFE, PAIR_SESSIONS_MAX, now);
        Some(session)
    }

    /// Whether this is a session.
    pub(crate) fn admits(&self, session: &str, now: Instant) -> bool {
        self.0.lock().sessions.has(session, now)
    }
}

impl Kept {
    fn keep(&mut self, secret: &str, until: Instant, most: usize, now: Instant) {
        self.0.retain(|(_, end)| *end > now);
        while self.0.len() >= most {
            self.0.pop_front();
        }
        self.0.push_back((hash(secret), until));
    }

    fn has(&self, secret: &str, now: Instant) -> bool {
        self.place(secret, now).is_some()
    }

    fn take(&mut self, secret: &str, now: Instant) -> bool {
        let place = self.place(secret, now);
        place.is_some_and(|place| self.0.remove(place).is_some())
    }

    fn place(&self, secret: &str, now: Instant) -> Option<usize> {
        let hash = hash(secret);
        self.0
            .iter()
            .position(|(kept, end)| *kept == hash && *end > now)
    }
}

fn hash(secret: &str) -> [u8; 32] {
    let hash = digest::digest(&digest::SHA256, secret.as_bytes());
    let mut bytes = [0; 32];
    bytes.copy_from_slice(hash.as_ref());
    bytes
}

/// The life of a code: until the phone is there and its certificate warning read.
pub(crate) const PAIR_CODE_LIFE: Duration = Duration::from_secs(5 * 60);
/// The life of a session: a day's work.
pub(crate) const PAIR_SESSION_LIFE: Duration = Duration::from_secs(8 * 60 * 60);

#[cfg(test)]
mod tests {

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_code_is_redeemed_once_and_in_time() {
        let (pairing, now) = (Pairing::default(), Instant::now());
        let code = pairing.code(now).unwrap();
        assert!(code.len() == 26 && pairing.is_open(&code, now), "{code}");
        for other in ["", "A", &code.to_lowercase(), &code[1..]] {
            assert_eq!(pairing.redeem(other, now), None, "{other}");
        }
        let session = pairing.redeem(&code, now).unwrap();
        assert_eq!(pairing.redeem(&code, now), None);
        assert!(!pairing.is_open(&code, now));
        let late = pairing.code(now).unwrap();
        assert!(pairing.is_open(&late, now + PAIR_CODE_LIFE - SECOND));
        assert_eq!(pairing.redeem(&late, now + PAIR_CODE_LIFE), None);
        assert!(pairing.admits(&session, now + PAIR_SESSION_LIFE - SECOND));
        assert!(!pairing.admits(&session, now + PAIR_SESSION_LIFE));
        for other in ["", &code, &session[1..]] {
            assert!(!pairing.admits(other, now), "{other}");
        }
    }

    #[test]
    fn the_oldest_makes_room() {
        let (pairing, now) = (Pairing::default(), Instant::now());
        let codes: Vec<_> = (0..=PAIR_CODES_MAX)
            .map(|_| pairing.code(now).unwrap())
            .collect();
        assert_eq!(pairing.redeem(&codes[0], now), None);
        let pair = |_| {
            let code = pairing.code(now).unwrap();
            pairing.redeem(&code, now).unwrap()
        };
        let sessions: Vec<_> = (0..=PAIR_SESSIONS_MAX).map(pair).collect();
        assert!(!pairing.admits(&sessions[0], now));
        assert!(pairing.admits(&sessions[1], now));
        // Room of what is over is free.
        let later = now + PAIR_CODE_LIFE;
        let code = pairing.code(later).unwrap();
        assert_eq!(pairing.0.lock().codes.0.len(), 1);
        assert!(pairing.redeem(&code, later).is_some());
    }
}
