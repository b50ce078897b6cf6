//! Things (devices that sign in with a certificate), the role aliases that they may request, and counts of their
//! sign-ins.
//!
//! ```text
//! certificate ─ it or a certificate of its chain is revoked ──▶ refused
//!             ├ in the registry, by fingerprint ──▶ inactive: refused | its things, its policies
//!             └ not in the registry ─ certified by an authority ──▶ the thing it names, the authority's policies
//! ```
//! The registry takes precedence over certificate authorities, so that it can disable a certificate from any issuer.
//! IoT policies decide whether a thing may use an alias.
//!
//! Source: AWS IoT Core Developer Guide, "Authorizing direct calls to AWS services using AWS IoT Core credential
//! provider".

use crate::auth::device_registry::RegistryLookup;
pub use crate::auth::device_registry::{DeviceRegistry, DeviceRegistryError};
use crate::auth::principal::{decide_all, policy_names, refusing_statement};
use crate::auth::sign_in::{ThingIdentity, Vouched};
use crate::limits::{SIGN_INS_COUNTED_MAX, SIGN_INS_PER_HOUR};
use crate::machine::{Certified, ShownCertificate};
use codec::calendar::rfc3339;
use codec::policy::{Action, Context, Decision, Key, KeyName, Policy, Request, Value};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A role alias that devices may request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoleAlias {
    /// Unique name; `[\w=,@-]{1,128}`.
    pub name: Box<str>,
    /// The name of the role.
    pub role: Box<str>,
    /// The account that owns the alias and the role.
    pub account: Box<str>,
    /// Lifetime of the keys issued through the alias, in seconds.
    pub duration_s: u32,
}

impl RoleAlias {
    /// Returns the alias's ARN, as used in IoT policies and conditions.
    #[must_use]
    pub fn arn(&self, region: &str) -> String {
        alias_arn(region, &self.account, &self.name)
    }
}

/// Returns the ARN of a role alias. The alias need not exist.
#[must_use]
pub fn alias_arn(region: &str, account: &str, name: &str) -> String {
    format!("arn:aws:iot:{region}:{account}:rolealias/{name}")
}

/// The device registry, and the certificate authorities for devices that may sign in. Part of the credentials, which
/// all shards share.
#[derive(Debug, Default)]
pub struct Things {
    /// Server names, in lower case, for which the TLS listener requests a client certificate.
    pub hosts: Box<[Box<str>]>,
    /// Policies for certificates that have no policies of their own.
    pub policies: Box<[Arc<Policy>]>,
    /// Registered certificates, indexed by fingerprint.
    pub registry: DeviceRegistry,
    /// Certificate authorities that may issue certificates to things. These certificates contain the thing's name.
    pub authorities: Box<[ThingAuthority]>,
    /// Identifiers of the revoked certificates, in ascending order.
    pub revoked: Box<[u64]>,
    /// The number of sign-ins of each thing in the current hour.
    pub sign_ins: SignIns,
}

/// A certificate authority for things.
#[derive(Clone, Debug)]
pub struct ThingAuthority {
    /// SHA-256 of the authority's public key.
    pub key: [u8; 32],
    /// Pattern for the names that the authority may certify, where `*` matches any characters; `None` accepts all
    /// names.
    pub names: Option<Box<str>>,
    /// Number of certificates that the authority has revoked; `None` if it has no revocation list.
    pub revoked: Option<usize>,
    /// Policies that apply to certificates issued by the authority.
    pub policies: Box<[Arc<Policy>]>,
    /// Subject of the authority's certificate, shown to operators.
    pub subject: Box<str>,
    /// Expiry of the authority's certificate (inclusive), in seconds since 1970 UTC.
    pub ends_s: u64,
    /// The earliest `nextUpdate` time of the authority's revocation lists, in seconds since 1970 UTC; `None` if no list
    /// contains one.
    pub list_ends_s: Option<u64>,
}

/// A thing identified by a certificate.
#[derive(Clone, Copy, Debug)]
pub struct Identified<'a> {
    /// The certificate's fingerprint.
    pub certificate: &'a [u8; 32],
    /// The name of the thing, if the request contains one.
    pub name: Option<&'a str>,
    /// The thing's type.
    pub thing_type: Option<&'a str>,
    /// The authority that certified the thing; `None` for a registered certificate.
    pub vouched: Option<&'a Certified>,
    pub(crate) policies: &'a [Arc<Policy>],
}

/// The reason why a certificate is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ThingRefusal<'a> {
    /// The certificate is not valid before this time, in seconds since 1970 UTC.
    NotYet(u64),
    /// The certificate expired at this time, in seconds since 1970 UTC.
    Ended(u64),
    /// The certificate is disabled in the registry.
    Inactive,
    /// The certificate or another one in its chain is revoked.
    Revoked,
    /// The certificate is not registered, and no authority certifies it. Contains the reason.
    Unknown(&'a str),
    /// The authority may not certify this name.
    ForeignName(&'a str),
    /// The thing is disabled.
    NameInactive,
    /// The certificate does not identify the requested thing. Contains one of the things that it does identify, if
    /// there is any.
    Name(Option<&'a str>),
}

impl std::fmt::Display for ThingRefusal<'_> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NotYet(from_s) => {
                let from = rfc3339(from_s.saturating_mul(1000));
                write!(out, "the certificate is not valid before {from}")
            }
            Self::Ended(last_s) => {
                let last = rfc3339(last_s.saturating_mul(1000));
                write!(out, "the certificate has expired: it was valid until {last}")
            }
            Self::Inactive => out.write_str("the certificate is inactive in the registry"),
            Self::Revoked => out.write_str(
                "the certificate is revoked: its authority has revoked it, or one sent with it (`crl` of [things])",
            ),
            Self::Unknown(why) => {
                write!(out, "the certificate is not in the registry, and {why}")
            }
            Self::ForeignName(name) => {
                write!(
                    out,
                    "the certificate's authority may not certify the name {name}"
                )
            }
            Self::NameInactive => out.write_str("the thing is inactive in the registry"),
            Self::Name(own) => {
                out.write_str("the certificate does not belong to the thing that was named")?;
                own.map_or(Ok(()), |own| write!(out, ", but to {own}"))
            }
        }
    }
}

impl Things {
    /// Determines which thing a certificate identifies. `wanted` is the name in the request, if it contains one.
    pub fn identify<'a>(
        &'a self,
        shown: &'a ShownCertificate,
        wanted: Option<&str>,
        now_s: u64,
    ) -> Result<Identified<'a>, ThingRefusal<'a>> {
        if now_s < shown.not_before_s {
            return Err(ThingRefusal::NotYet(shown.not_before_s));
        }
        if now_s > shown.not_after_s {
            return Err(ThingRefusal::Ended(shown.not_after_s));
        }
        if self.is_revoked(&shown.numbers) {
            return Err(ThingRefusal::Revoked);
        }
        let certificate = &shown.fingerprint;
        let identified = match self.listed(certificate, wanted) {
            RegistryLookup::Inactive => return Err(ThingRefusal::Inactive),
            RegistryLookup::Other => {
                let own = self.registry.things_of(certificate).next();
                return Err(ThingRefusal::Name(own));
            }
            RegistryLookup::Registered(found) => found,
            RegistryLookup::Unknown => self.vouched(shown, wanted)?,
        };
        if identified.vouched.is_none() && self.is_switched_off(certificate, identified.name) {
            return Err(ThingRefusal::NameInactive);
        }
        Ok(identified)
    }

    /// Lists the certificates that a thing may use, for operators' queries. Returns one entry for each registered
    /// certificate of the thing. If none is registered, returns one entry for each authority that may certify the name.
    /// If there is no such authority either, returns one entry with the default policies.
    ///
    /// # Errors
    /// Fails if the thing or all of its certificates are disabled.
    pub fn supposed<'a>(&'a self, name: &'a str) -> Result<Vec<Identified<'a>>, ThingRefusal<'a>> {
        if self.registry.is_inactive(name) {
            return Err(ThingRefusal::NameInactive);
        }
        let mut listed = self.registry.certificates_of(name).peekable();
        if listed.peek().is_some() {
            let found = listed.filter_map(|it| match self.listed(it, Some(name)) {
                RegistryLookup::Registered(found) => Some(found),
                RegistryLookup::Unknown | RegistryLookup::Inactive | RegistryLookup::Other => None,
            });
            let found: Vec<_> = found.collect();
            let is_active = !found.is_empty();
            return is_active.then_some(found).ok_or(ThingRefusal::Inactive);
        }
        let by = |policies| Identified {
            certificate: &[0; 32],
            name: Some(name),
            thing_type: None,
            vouched: None,
            policies,
        };
        let vouching = self.authorities.iter().filter(|it| it.may_give(name));
        let mut all: Vec<_> = vouching.map(|it| by(&it.policies)).collect();
        if all.is_empty() {
            all.push(by(&self.policies));
        }
        Ok(all)
    }

    fn listed<'a>(&'a self, id: &'a [u8; 32], wanted: Option<&str>) -> RegistryLookup<'a> {
        self.registry.lookup(id, wanted, &self.policies)
    }

    /// Returns `true` if the thing is disabled. Without a name, returns `true` if every thing of the certificate is
    /// disabled.
    fn is_switched_off(&self, certificate: &[u8; 32], name: Option<&str>) -> bool {
        match name {
            Some(name) => self.registry.is_inactive(name),
            None => {
                let mut things = self.registry.things_of(certificate);
                things.all(|name| self.registry.is_inactive(name))
            }
        }
    }

    fn vouched<'a>(
        &'a self,
        shown: &'a ShownCertificate,
        wanted: Option<&str>,
    ) -> Result<Identified<'a>, ThingRefusal<'a>> {
        let refused = |why| ThingRefusal::Unknown(why);
        let vouched = shown.vouched.as_ref().map_err(|why| refused(why))?;
        let authority = self.authority(vouched);
        let authority =
            authority.ok_or_else(|| refused("no authority of this server issued it"))?;
        if let Some(pattern) = &authority.names
            && !is_like(&vouched.name, pattern)
        {
            return Err(ThingRefusal::ForeignName(&vouched.name));
        }
        if self.registry.is_inactive(&vouched.name) {
            return Err(ThingRefusal::NameInactive);
        }
        if wanted.is_some_and(|wanted| *wanted != *vouched.name) {
            return Err(ThingRefusal::Name(Some(&vouched.name)));
        }
        Ok(Identified {
            certificate: &shown.fingerprint,
            name: wanted.map(|_| &*vouched.name),
            thing_type: None,
            vouched: Some(vouched),
            policies: &authority.policies,
        })
    }

    fn authority(&self, vouched: &Certified) -> Option<&ThingAuthority> {
        let mut all = self.authorities.iter();
        all.find(|authority| authority.key == vouched.authority)
    }

    fn is_revoked(&self, numbers: &[u64]) -> bool {
        let mut numbers = numbers.iter();
        numbers.any(|number| self.revoked.binary_search(number).is_ok())
    }

    /// Returns `true` if keys issued to a thing are still valid, because its certificate and name are still accepted. A
    /// name that an authority certified is checked even if the device did not send it when it signed in.
    #[must_use]
    pub fn knows(&self, identity: &ThingIdentity) -> bool {
        if self.is_revoked(&identity.numbers) {
            return false;
        }
        let certificate = &identity.certificate;
        let name = identity.name.as_deref();
        match (self.listed(certificate, name), &identity.authority) {
            (RegistryLookup::Registered(_), _) => !self.is_switched_off(certificate, name),
            (RegistryLookup::Unknown, Some(vouched)) => {
                let name = name.or(vouched.unnamed.as_deref());
                let is_off = name.is_some_and(|name| self.registry.is_inactive(name));
                let mut authorities = self.authorities.iter();
                !is_off && authorities.any(|it| it.vouches(vouched, name))
            }
            (RegistryLookup::Unknown, None)
            | (RegistryLookup::Inactive | RegistryLookup::Other, _) => false,
        }
    }
}

impl ThingAuthority {
    fn vouches(&self, vouched: &Vouched, name: Option<&str>) -> bool {
        vouched.authority == self.key && name.is_none_or(|name| self.may_give(name))
    }

    fn may_give(&self, name: &str) -> bool {
        let mut patterns = self.names.iter();
        patterns.all(|pattern| is_like(name, pattern))
    }
}

impl Identified<'_> {
    /// Decides, based on the IoT policies, whether the thing may use a role alias from this address at this time. Adds
    /// the cost of the evaluation to `steps`. If the request is refused, the returned reason names the responsible
    /// statement.
    #[must_use]
    pub fn may_use(
        &self,
        alias_arn: &str,
        (address, asked_s): (IpAddr, u64),
        steps: &mut u64,
    ) -> (Decision, String) {
        let context = ThingContext {
            thing: self,
            certificate: certificate_id(self.certificate),
            address,
            asked_s,
        };
        let request = Request {
            action: Action::AssumeRoleWithCertificate,
            resource: alias_arn,
            client_id: None,
            context: &context,
        };
        let mut ground = None;
        let decision = decide_all(self.policies, &request, steps, &mut ground);
        if decision == Decision::Allow {
            return (decision, String::new());
        }
        let why = refusing_statement(self.policies, ground).unwrap_or_else(|| {
            let names = policy_names(self.policies);
            format!("{names}: no statement for iot:AssumeRoleWithCertificate on {alias_arn}")
        });
        (decision, why)
    }
}

struct ThingContext<'a> {
    thing: &'a Identified<'a>,
    certificate: String,
    address: IpAddr,
    asked_s: u64,
}

impl Context for ThingContext<'_> {
    fn value(&self, key: Key<'_>, nth: usize) -> Value<'_> {
        if nth > 0 {
            return Value::Absent;
        }
        #[expect(
            clippy::wildcard_enum_match_arm,
            reason = "what is not of a thing or of its connection is absent"
        )]
        match key.name {
            KeyName::ThingName => self.thing.name.map_or(Value::Absent, Value::Text),
            KeyName::ThingTypeName => self.thing.thing_type.map_or(Value::Absent, Value::Text),
            KeyName::AwsCertificateId => Value::Text(&self.certificate),
            KeyName::SourceIp => Value::Address(self.address),
            KeyName::SecureTransport => Value::Flag(true),
            KeyName::CurrentTime => Value::Date(self.asked_s),
            KeyName::EpochTime => Value::Number(self.asked_s),
            _ => Value::Absent,
        }
    }
}

/// Returns the id of a certificate in AWS's format: its fingerprint in hexadecimal.
#[must_use]
pub fn certificate_id(fingerprint: &[u8; 32]) -> String {
    data_encoding::HEXLOWER.encode(fingerprint)
}

/// Returns `true` if a name matches a pattern, where `*` matches any characters.
fn is_like(name: &str, pattern: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else {
        return name == pattern;
    };
    let Some(mut name) = name.strip_prefix(first) else {
        return false;
    };
    let mut parts = rest.split('*').peekable();
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return name.ends_with(part);
        }
        match name.find(part) {
            Some(at) => name = name.get(at + part.len()..).unwrap_or_default(),
            None => return false,
        }
    }
    true
}

// Counts each thing's sign-ins within the hour. A thing whose clock is ahead requests keys over and over.
//
// ```text
// place = tag 32 | hour 20 | count 12 bits        indexed by a hash of the thing, the same on all shards
// ```
// The first thing that signs in within the hour owns the table entry. Other things with the same index are not counted
// during that hour. A thing that signs in frequently is likely to take the entry early in the next hour.

/// Counts of sign-ins by certificate and name, shared by all shards. A reload of the credentials resets the counts.
#[derive(Debug)]
pub struct SignIns {
    places: Box<[AtomicU64]>,
}

impl Default for SignIns {
    fn default() -> Self {
        let places = std::iter::repeat_with(AtomicU64::default);
        Self {
            places: places.take(SIGN_INS_COUNTED_MAX).collect(),
        }
    }
}

impl SignIns {
    /// Counts a sign-in. Returns `true` only for the first sign-in beyond [`SIGN_INS_PER_HOUR`], and therefore at most
    /// once an hour for each thing.
    pub(crate) fn exceeds(&self, certificate: &[u8; 32], name: Option<&str>, now_s: u64) -> bool {
        let key = key_of(certificate, name);
        let (tag, hour) = (key >> 32, (now_s / 3600) & HOURS);
        let owner = tag << 20 | hour;
        let place = usize::try_from(key % SIGN_INS_COUNTED_MAX as u64).unwrap_or_default();
        let Some(place) = self.places.get(place) else {
            return false;
        };
        let counted = place.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |bits| {
            let count = bits & COUNTS;
            if bits >> 12 == owner {
                return Some(owner << 12 | (count + 1).min(COUNTS));
            }
            let is_free = count == 0 || bits >> 12 & HOURS != hour;
            is_free.then_some(owner << 12 | 1)
        });
        counted.is_ok_and(|bits| bits >> 12 == owner && bits & COUNTS == SIGN_INS_PER_HOUR)
    }
}

/// Returns the FNV-1a hash of the name, combined with the random fingerprint.
fn key_of(certificate: &[u8; 32], name: Option<&str>) -> u64 {
    let first = certificate.first_chunk::<8>().copied().unwrap_or_default();
    let name = name.unwrap_or_default().bytes();
    let name = name.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    u64::from_be_bytes(first) ^ name
}

const HOURS: u64 = (1 << 20) - 1;
const COUNTS: u64 = (1 << 12) - 1;

const _: () = assert!(SIGN_INS_PER_HOUR < COUNTS);

#[cfg(test)]
mod sign_ins_tests {
    use super::*;

    const NOW: u64 = 1_800_000_000;

    fn certificate(number: u64) -> [u8; 32] {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&number.to_be_bytes());
        bytes
    }

    /// Performs `times` sign-ins and returns the numbers of those that are reported as exceeding the limit.
    fn exceeding(sign_ins: &SignIns, name: &str, now_s: u64, times: u64) -> Vec<u64> {
        let exceeds = |_: &u64| sign_ins.exceeds(&certificate(7), Some(name), now_s);
        (1..=times).filter(exceeds).collect()
    }

    #[test]
    fn the_first_beyond_the_rate_is_told_once_an_hour_for_each_thing() {
        let sign_ins = SignIns::default();
        assert_eq!(exceeding(&sign_ins, "cam-1", NOW, 10_000), [21]);
        assert_eq!(exceeding(&sign_ins, "cam-2", NOW, 20), [0; 0]);
        assert_eq!(exceeding(&sign_ins, "cam-2", NOW, 20), [1]);
        assert_eq!(exceeding(&sign_ins, "cam-1", NOW + 3600, 30), [21]);
    }

    #[test]
    fn a_thing_whose_place_is_taken_is_not_counted_until_the_next_hour() {
        let sign_ins = SignIns::default();
        let same_place = |nth: u64| certificate(nth << 32);
        let told = |nth, now_s| {
            let exceeds = |_: &i32| sign_ins.exceeds(&same_place(nth), None, now_s);
            (1..=100).filter(exceeds).count()
        };
        assert_eq!([told(1, NOW), told(2, NOW), told(2, NOW + 3600)], [1, 0, 1]);
        assert_eq!(sign_ins.places.len() * 8, 512 << 10);
    }
}

#[cfg(test)]
mod tests;
