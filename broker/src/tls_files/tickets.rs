//! TLS tickets that every node of a cluster makes and opens.
//!
//! ```text
//! ticket = period 4 | seed 16 | AES-256-GCM( session ) with tag 16
//! key    = HKDF-SHA-256( secret, period | seed | clients' authorities )
//! ```
//! Each ticket is sealed under a key of its own, since its seed is random: so it does not matter how many tickets all
//! nodes make together. A ticket is good in the period of its making and in the next one, which is six to twelve hours,
//! and in the one before for the sake of clocks that differ.
//!
//! Source: RFC 5869 (HKDF); NIST SP 800-38D (GCM); RFC 5077 section 4 (what a ticket must hold).

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::hkdf::{HKDF_SHA256, Prk, Salt};
use rustls::pki_types::CertificateDer;
use rustls::server::ProducesTickets;
use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};
use zeroize::Zeroizing;

/// Makes and opens them. Shows nothing of its secrets.
pub(crate) struct SharedTickets {
    /// The one that seals, then those that open as well.
    secrets: Vec<Prk>,
    /// A ticket stands for a client certificate that was checked once: so it goes with those who signed it.
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

/// Which period of the Unix epoch a moment is in.
fn period(now: SystemTime) -> Option<u32> {
    let since = now.duration_since(UNIX_EPOCH).ok()?;
    u32::try_from(since.as_secs() / u64::from(PERIOD_SECONDS)).ok()
}

/// Each key seals one ticket, so there is nothing to tell apart.
fn nonce() -> Nonce {
    Nonce::assume_unique_for_key([0; 12])
}

const PERIOD_BYTES: usize = 4;
const HEAD_BYTES: usize = PERIOD_BYTES + 16;

/// As often as the keys of a node without a cluster are replaced.
const PERIOD_SECONDS: u32 = 6 * 60 * 60;

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
