//! TLS tickets that end with the certificates of their session.
//!
//! A resumed session shows no certificate, neither the server's nor the client's, and gets another ticket: without an
//! end of its own it could be resumed forever.
//!
//! ```text
//! ticket = sealed( end 8 | session )      end: the earlier of both certificates, in seconds since 1970
//! ```
//! The library gives a ticket's maker the session as bytes. Their beginning is read here, up to the client's
//! certificate; where they are not as expected there is no ticket, and so no resumption. Source: rustls 0.23,
//! `ServerSessionValue`.

use crate::tls_files::chain;
use rustls::server::ProducesTickets;
use rustls::time_provider::TimeProvider;
use std::sync::Arc;

/// Makes tickets under one certificate of the server; opens those made under any, by the same keys.
#[derive(Debug)]
pub(crate) struct EndingTickets {
    /// Seals and opens.
    pub(crate) keys: Arc<dyn ProducesTickets>,
    /// The last second of the server's certificates, since 1970.
    pub(crate) not_after: u64,
    /// The source of the present time.
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

/// The certificate of the client in a session's bytes, if it showed one; `None` for bytes that are no session.
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

/// Bytes behind their number, which has `N` bytes.
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
