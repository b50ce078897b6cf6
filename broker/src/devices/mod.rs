//! Certificates of devices: which connections are asked for one, and what is found out about it.
//!
//! ```text
//! first bytes ─ the server name: one of `hosts`? ─▶ no: as ever
//!                                                └▶ yes: a configuration that asks for a certificate and takes any,
//!                                                   or none; the handshake proves that the client has its key
//! after the handshake ─ Devices::judge ─▶ fingerprint, dates, and the authority that vouches for it, or why none does
//! ```
//! Nothing is refused here but what the handshake itself refuses: so that a refusal has a body that says so. The core
//! decides, by the registry first.

pub(crate) mod authority;
mod door;
pub(crate) mod name;

use authority::fingerprint;
pub use authority::{Authority, AuthorityFault};
use broker_core::machine::{Certified, ShownCertificate};
pub use door::Door;
pub use name::NameSource;
use rustls::pki_types::{CertificateDer, UnixTime};
use x509_parser::parse_x509_certificate;

/// The names at which certificates are asked for, and the authorities of devices.
#[derive(Debug)]
pub struct Devices {
    /// Server names, in lower case.
    pub hosts: Vec<Box<str>>,
    /// Authorities, by whose order the first that vouches for a certificate counts.
    pub authorities: Vec<Authority>,
}

impl Devices {
    /// The facts about a certificate that a client showed with its chain; `None` for one that cannot be read.
    #[must_use]
    pub fn judge(&self, chain: &[CertificateDer<'_>], now: UnixTime) -> Option<ShownCertificate> {
        let (leaf, others) = chain.split_first()?;
        let (_, parsed) = parse_x509_certificate(leaf).ok()?;
        let seconds = |seconds: i64| u64::try_from(seconds).unwrap_or(0);
        let validity = parsed.validity();
        Some(ShownCertificate {
            fingerprint: fingerprint(leaf),
            not_before_s: seconds(validity.not_before.timestamp()),
            not_after_s: seconds(validity.not_after.timestamp()),
            vouched: self.vouched(leaf, others, now).map_err(Into::into),
        })
    }

    /// Authorities that have ended or will within a month, and overdue revocation lists, as a remark says it.
    #[must_use]
    pub fn endings(&self, now_s: u64) -> Vec<String> {
        let of_authorities = self.authorities.iter().filter_map(|authority| {
            let (subject, (_, last_s)) = (&authority.subject, authority.validity_s);
            if last_s < now_s {
                return Some(format!(
                    "the authority {subject}, which has ended: it vouches for nothing"
                ));
            }
            let days = (last_s - now_s) / DAY_S;
            (days < ENDS_SOON_DAYS)
                .then(|| format!("the authority {subject}, which ends in {days} days"))
        });
        let of_lists = self.authorities.iter().filter_map(|authority| {
            let overdue_s = now_s.checked_sub(authority.list_ends_s?)?;
            let (subject, hours) = (&authority.subject, overdue_s / 3600);
            Some(format!(
                "a revocation list of the authority {subject} that should have been replaced {hours} hours ago: beyond \
                 crl_grace its certificates are refused"
            ))
        });
        of_authorities.chain(of_lists).collect()
    }

    fn vouched(
        &self,
        leaf: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<Certified, String> {
        if others.len() >= CHAIN_CERTIFICATES_MAX {
            return Err(format!(
                "its chain has more than {CHAIN_CERTIFICATES_MAX} certificates"
            ));
        }
        let bytes = others.iter().fold(leaf.len(), |sum, it| sum + it.len());
        if bytes > CHAIN_BYTES_MAX {
            return Err(format!("its chain has more than {CHAIN_BYTES_MAX} bytes"));
        }
        let mut why = String::from("no authority vouches for it");
        for authority in &self.authorities {
            match authority.vouch(leaf, others, now) {
                Ok(vouched) => return Ok(vouched),
                Err(AuthorityFault::NotItsIssuer) => {}
                Err(fault) => why = fault.to_string(),
            }
        }
        Err(why)
    }
}

/// Most certificates that a device shows: its own, and three between it and its authority.
const CHAIN_CERTIFICATES_MAX: usize = 4;

/// An authority that ends sooner is reported.
const ENDS_SOON_DAYS: u64 = 30;

const DAY_S: u64 = 24 * 60 * 60;

/// Most bytes of them.
const CHAIN_BYTES_MAX: usize = 16 * 1024;

#[cfg(test)]
mod tests;
