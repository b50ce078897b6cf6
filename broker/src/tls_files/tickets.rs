//! TLS tickets that every node of a cluster can issue and open, and that expire with their session's certificates.
//!
//! ```text
//! ticket = period 4 | seed 16 | AES-256-GCM( session ) with tag 16
//! key    = HKDF-SHA-256( secret, period | seed | clients' authorities )
//! ```
//! Each ticket has its own key, derived from its random seed, so there is no limit on the number of tickets that all
//! nodes may issue. A ticket is valid in the period in which it was created and in the next one, that is, for six to
//! twelve hours. To tolerate clock differences, it is also valid in the preceding period.
//!
//! Source: RFC 5869 (HKDF); NIST SP 800-38D (GCM); RFC 5077, section 4 (content of a ticket).

use crate::tls_files::chain;
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::hkdf::{HKDF_SHA256, Prk, Salt};
use rustls::pki_types::CertificateDer;
use rustls::server::ProducesTickets;
use rustls::time_provider::TimeProvider;
use std::fmt;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};
use zeroize::Zeroizing;

/// Issues and opens tickets. The `Debug` output contains no secrets.
pub(crate) struct SharedTickets {
    /// The secret that seals tickets, followed by secrets that only open them.
    secrets: Vec<Prk>,
    /// The CAs for client certificates. A ticket attests that a client certificate has been verified, so it is valid
    /// only with the same CAs.
    authorities: Box<[u8]>,
}

impl SharedTickets {
    pub(crate) fn new(secrets: &[Zeroizing<[u8; 32]>], authorities: &[CertificateDer<'_>]) -> Self {
        let salt = Salt::new(HKDF_SHA256, b"heliograph ticket 2");
        let mut digest = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256);
        for authority in authorities {
            digest.update(&(authority.len() as u64).to_be_bytes());
            digest.update(authority);
        }
        Self {
            secrets: secrets.iter().map(|it| salt.extract(&**it)).collect(),
            authorities: digest.finish().as_ref().into(),
        }
    }

    fn seal(&self, session: &[u8], period: u32) -> Option<Vec<u8>> {
        let mut head = [0; HEAD_BYTES];
        let (number, seed) = head.split_at_mut(PERIOD_BYTES);
        number.copy_from_slice(&period.to_be_bytes());
        aws_lc_rs::rand::fill(seed).ok()?;
        let key = self.key(self.secrets.first()?, &head)?;
        let mut sealed = session.to_vec();
        key.seal_in_place_append_tag(nonce(), Aad::from(head), &mut sealed)
            .ok()?;
        Some([&head[..], &sealed].concat())
    }

    fn open(&self, ticket: &[u8], period: u32) -> Option<Vec<u8>> {
        let (head, sealed) = ticket.split_first_chunk::<HEAD_BYTES>()?;
        let made = u32::from_be_bytes(*head.first_chunk()?);
        if made.abs_diff(period) > 1 {
            return None;
        }
        self.secrets.iter().find_map(|secret| {
            let mut sealed = sealed.to_vec();
            let key = self.key(secret, head)?;
            let opened = key.open_in_place(nonce(), Aad::from(*head), &mut sealed);
            opened.ok().map(|session| session.to_vec())
        })
    }

    fn key(&self, secret: &Prk, head: &[u8; HEAD_BYTES]) -> Option<LessSafeKey> {
        let info = [&head[..], &self.authorities];
        let key = secret.expand(&info, &AES_256_GCM).ok()?;
        Some(LessSafeKey::new(UnboundKey::from(key)))
    }
}

impl ProducesTickets for SharedTickets {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        PERIOD_SECONDS
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        self.seal(plain, period(SystemTime::now())?)
    }

    fn decrypt(&self, cipher: &[u8]) -> Option<Vec<u8>> {
        self.open(cipher, period(SystemTime::now())?)
    }
}

impl fmt::Debug for SharedTickets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SharedTickets")
    }
}

/// Returns the number of the period that contains `now`, counted from the Unix epoch.
fn period(now: SystemTime) -> Option<u32> {
    let since = now.duration_since(UNIX_EPOCH).ok()?;
    u32::try_from(since.as_secs() / u64::from(PERIOD_SECONDS)).ok()
}

/// Returns a constant nonce. This is safe because each key seals only one ticket.
fn nonce() -> Nonce {
    Nonce::assume_unique_for_key([0; 12])
}

const PERIOD_BYTES: usize = 4;
const HEAD_BYTES: usize = PERIOD_BYTES + 16;

/// Period length in seconds: the interval at which a node without a cluster rotates its ticket keys.
const PERIOD_SECONDS: u32 = 6 * 60 * 60;

// TLS tickets that expire with their session's certificates.
//
// A resumed session presents no certificate, neither the server's nor the client's, and gets another ticket. If tickets
// did not expire, a session could be resumed forever.
//
// ```text
// ticket = sealed( end 8 | session )      end: earlier expiry of both certificates, in seconds since 1970
// ```
// rustls passes the session to the ticketer as bytes. They are parsed here up to the client's certificate. Sessions
// that cannot be parsed get no ticket. Source: rustls 0.23, `ServerSessionValue`.

/// Issues and opens tickets that expire no later than the server's certificates. The keys are shared with earlier
/// loads, so tickets issued before a reload can still be opened.
#[derive(Debug)]
pub(crate) struct EndingTickets {
    pub(crate) keys: Arc<dyn ProducesTickets>,
    pub(crate) not_after: u64,
    pub(crate) clock: Arc<dyn TimeProvider>,
}

impl EndingTickets {
    fn now(&self) -> Option<u64> {
        self.clock.current_time().map(|now| now.as_secs())
    }
}

impl ProducesTickets for EndingTickets {
    fn enabled(&self) -> bool {
        self.keys.enabled()
    }

    fn lifetime(&self) -> u32 {
        let left = self.now().map(|now| self.not_after.saturating_sub(now));
        let left = u32::try_from(left.unwrap_or(0)).unwrap_or(u32::MAX);
        self.keys.lifetime().min(left)
    }

    fn encrypt(&self, session: &[u8]) -> Option<Vec<u8>> {
        let end = match client_certificate(session)? {
            Some(certificate) => chain::not_after(certificate)?.min(self.not_after),
            None => self.not_after,
        };
        self.keys
            .encrypt(&[&end.to_be_bytes()[..], session].concat())
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        let opened = self.keys.decrypt(ticket)?;
        let (end, session) = opened.split_first_chunk()?;
        let end = u64::from_be_bytes(*end).min(self.not_after);
        (self.now()? <= end).then(|| session.to_vec())
    }
}

/// Returns the client certificate in an encoded session, if there is one. Returns `None` if the bytes are not a
/// session.
///
/// ```text
/// 0 | 1, name 1+   version 2   suite 2   secret 1+   extended 1   0 | 1, chain 3+ (certificate 3+ …)   …
/// ```
fn client_certificate(session: &[u8]) -> Option<Option<&[u8]>> {
    let (has_name, mut rest) = flag(session)?;
    if has_name {
        (_, rest) = counted::<1>(rest)?;
    }
    (_, rest) = rest.split_at_checked(4)?;
    (_, rest) = counted::<1>(rest)?;
    (_, rest) = flag(rest)?;
    let (has_chain, rest) = flag(rest)?;
    if !has_chain {
        return Some(None);
    }
    let (chain, _) = counted::<3>(rest)?;
    let (certificate, _) = counted::<3>(chain)?;
    Some(Some(certificate))
}

fn flag(bytes: &[u8]) -> Option<(bool, &[u8])> {
    match bytes.split_first()? {
        (0, rest) => Some((false, rest)),
        (1, rest) => Some((true, rest)),
        (2.., _) => None,
    }
}

/// Splits off a field that is preceded by its length in `N` bytes.
fn counted<const N: usize>(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (number, rest) = bytes.split_first_chunk::<N>()?;
    let number = number
        .iter()
        .fold(0, |sum, &byte| sum << 8 | usize::from(byte));
    rest.split_at_checked(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tickets(secrets: &[u8], authorities: &[&'static [u8]]) -> SharedTickets {
        let secrets: Vec<_> = secrets
            .iter()
            .map(|byte| Zeroizing::new([*byte; 32]))
            .collect();
        let authorities: Vec<_> = authorities
            .iter()
            .map(|authority| CertificateDer::from(*authority))
            .collect();
        SharedTickets::new(&secrets, &authorities)
    }

    #[test]
    fn every_node_opens_what_one_of_them_sealed() {
        let (one, other) = (tickets(&[1], &[]), tickets(&[1], &[]));
        let ticket = one.seal(b"session", 9).unwrap();
        for period in [8, 9, 10] {
            assert_eq!(
                other.open(&ticket, period).as_deref(),
                Some(&b"session"[..])
            );
        }
        for period in [7, 11] {
            assert_eq!(other.open(&ticket, period), None, "{period}");
        }
        assert_ne!(ticket, one.seal(b"session", 9).unwrap(), "a key for each");
    }

    #[test]
    fn a_ticket_is_good_for_six_hours_and_for_twelve_at_most() {
        let (one, hour) = (tickets(&[1], &[]), 60 * 60);
        let at = |seconds| period(UNIX_EPOCH + std::time::Duration::from_secs(seconds)).unwrap();
        let day = 20_000 * 24 * hour;
        for made in (day..day + 12 * hour).step_by(600) {
            let ticket = one.seal(b"session", at(made)).unwrap();
            let opens = |later| one.open(&ticket, at(made + later)).is_some();
            assert!(opens(0) && opens(6 * hour - 1), "{made}");
            assert!(!opens(12 * hour) && !opens(24 * hour), "{made}");
        }
    }

    #[test]
    fn other_secrets_authorities_and_bytes_are_refused() {
        let one = tickets(&[1], &[b"ca"]);
        let ticket = one.seal(b"session", 9).unwrap();
        for other in [
            tickets(&[2], &[b"ca"]),
            tickets(&[1], &[]),
            tickets(&[1], &[b"c", b"a"]),
        ] {
            assert_eq!(other.open(&ticket, 9), None);
        }
        for place in 0..ticket.len() {
            let mut changed = ticket.clone();
            changed[place] ^= 1;
            assert_eq!(one.open(&changed, 9), None, "{place}");
        }
        for cut in 0..ticket.len() {
            assert_eq!(one.open(&ticket[..cut], 9), None, "{cut}");
        }
    }

    #[test]
    fn the_first_secret_seals_and_both_open() {
        let [old, both, new] = [&[1][..], &[2, 1], &[2]].map(|secrets| tickets(secrets, &[]));
        let ticket = old.seal(b"session", 9).unwrap();
        assert!(both.open(&ticket, 9).is_some() && new.open(&ticket, 9).is_none());
        let ticket = both.seal(b"session", 9).unwrap();
        assert!(old.open(&ticket, 9).is_none() && new.open(&ticket, 9).is_some());
        assert_eq!(format!("{new:?}"), "SharedTickets");
    }
}

#[cfg(test)]
mod validity_tests {
    use super::*;

    #[test]
    fn the_certificate_of_the_client_is_found_and_nothing_else_is_taken_for_one() {
        let without = [&[0, 3, 4, 0x13, 1, 2, 9, 9, 1][..], &[0, 0]].concat();
        assert_eq!(client_certificate(&without), Some(None));
        let with = [
            &[1, 1, b'h', 3, 3, 0xc0, 0x2b, 1, 9, 0][..],
            &[1, 0, 0, 9, 0, 0, 2, 7, 8, 0, 0, 1, 6],
            &[0, 0],
        ]
        .concat();
        assert_eq!(client_certificate(&with), Some(Some(&[7, 8][..])));
        for cut in 0..with.len() - 2 {
            assert_eq!(client_certificate(&with[..cut]), None, "{cut}");
        }
        for no_session in [&b"session"[..], &[2; 64], &[0; 5], &[]] {
            assert_eq!(client_certificate(no_session), None);
        }
    }
}
