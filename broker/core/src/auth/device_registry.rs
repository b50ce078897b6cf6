//! A registry of device certificates and the things (devices) that each certificate may identify.
//!
//! The registry is a sorted array of 44-byte entries, and a single string holds all names. A million certificates with
//! names of up to 50 characters take less than 100 MB. A lookup takes twenty comparisons.

use crate::auth::devices::Identified;
use codec::policy::Policy;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

/// Certificates indexed by fingerprint. The loader adds all entries and then sorts them with [`Self::finish`].
#[derive(Debug, Default)]
pub struct DeviceRegistry {
    max: usize,
    /// Entries sorted by fingerprint. A certificate for several things has several consecutive entries.
    entries: Vec<RegistryEntry>,
    names: String,
    types: Vec<Arc<str>>,
    /// The index of each thing type, used while entries are added. Empty after [`Self::finish`].
    type_numbers: BTreeMap<Arc<str>, u16>,
    policies: Vec<[Arc<Policy>; 1]>,
    inactive: BTreeSet<Box<str>>,
    /// Whether the file ends with an entry count. The count makes truncation detectable.
    is_counted: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct RegistryEntry {
    fingerprint: [u8; 32],
    name_at: u32,
    /// The index of the thing's type plus one; 0 if the thing has no type.
    thing_type: u16,
    policy: u16,
    name_bytes: u8,
    is_inactive: bool,
}

const _: () = assert!(size_of::<RegistryEntry>() <= 44);

#[derive(Debug)]
pub(crate) enum RegistryLookup<'a> {
    Unknown,
    Inactive,
    /// The certificate is registered, but not for the requested thing.
    Other,
    Registered(Identified<'a>),
}

impl DeviceRegistry {
    /// Returns the number of (certificate, thing) pairs.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Returns `true` if the registry is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Returns the maximum number of certificates and disabled things combined; 0 if there is no registry.
    #[must_use]
    pub fn max(&self) -> usize {
        self.max
    }

    /// Returns the number of disabled things.
    #[must_use]
    pub fn switched_off(&self) -> usize {
        self.inactive.len()
    }

    /// Returns `true` if the file ends with an entry count. The count makes truncation detectable.
    #[must_use]
    pub fn is_counted(&self) -> bool {
        self.is_counted
    }

    /// Iterates over the policies assigned to individual certificates.
    pub fn policies(&self) -> impl Iterator<Item = &Arc<Policy>> {
        self.policies.iter().flatten()
    }

    /// Returns the memory used by the registry in bytes, excluding disabled things.
    #[must_use]
    pub fn bytes(&self) -> usize {
        size_of_val(&*self.entries) + self.names.len()
    }

    /// Returns `true` if a thing is disabled.
    #[must_use]
    pub fn is_inactive(&self, name: &str) -> bool {
        self.inactive.contains(name)
    }

    /// Iterates over the things of a certificate, in file order.
    pub fn things_of(&self, fingerprint: &[u8; 32]) -> impl Iterator<Item = &str> {
        self.of(fingerprint).iter().map(|entry| self.name(*entry))
    }

    /// Finds the certificates of a thing by a full scan. Used for operators' queries.
    pub(crate) fn certificates_of(&self, name: &str) -> impl Iterator<Item = &[u8; 32]> {
        let own = self
            .entries
            .iter()
            .filter(move |entry| self.name(**entry) == name);
        own.map(|entry| &entry.fingerprint)
    }

    /// Looks up a certificate. `wanted` is the thing that the request names, if it names one. `policies` apply to
    /// certificates that have no policies of their own. A single line marked as inactive disables the whole
    /// certificate.
    pub(crate) fn lookup<'a>(
        &'a self,
        certificate: &'a [u8; 32],
        wanted: Option<&str>,
        policies: &'a [Arc<Policy>],
    ) -> RegistryLookup<'a> {
        let own = self.of(certificate);
        let Some(&first) = own.first() else {
            return RegistryLookup::Unknown;
        };
        if own.iter().any(|entry| entry.is_inactive) {
            return RegistryLookup::Inactive;
        }
        let is_wanted = |name: &str| own.iter().find(|entry| self.name(**entry) == name).copied();
        let Some(entry) = wanted.map_or(Some(first), is_wanted) else {
            return RegistryLookup::Other;
        };
        let place = |number: u16| usize::from(number).checked_sub(1);
        let thing_type = place(entry.thing_type).and_then(|place| self.types.get(place));
        let own_policies = place(entry.policy).and_then(|place| self.policies.get(place));
        RegistryLookup::Registered(Identified {
            certificate,
            name: wanted.map(|_| self.name(entry)),
            thing_type: thing_type.filter(|_| wanted.is_some()).map(|text| &**text),
            vouched: None,
            policies: own_policies.map_or(policies, |own| own),
        })
    }

    fn of(&self, fingerprint: &[u8; 32]) -> &[RegistryEntry] {
        let begin = self
            .entries
            .partition_point(|entry| entry.fingerprint < *fingerprint);
        let rest = self.entries.get(begin..).unwrap_or_default();
        let is_other = |entry: &RegistryEntry| entry.fingerprint != *fingerprint;
        let end = rest.iter().position(is_other).unwrap_or(rest.len());
        rest.get(..end).unwrap_or_default()
    }

    fn name(&self, entry: RegistryEntry) -> &str {
        let begin = entry.name_at as usize;
        let end = begin + usize::from(entry.name_bytes);
        self.names.get(begin..end).unwrap_or_default()
    }
}

/// The reason why a line of the registry is rejected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeviceRegistryError {
    /// The registry would exceed this maximum size.
    TooMany(usize),
    /// There are more thing types than the index can represent.
    TooManyTypes,
    /// There are more policies than the index can represent.
    TooManyPolicies,
    /// The total length of the names exceeds the range of the offsets.
    TooLong,
}

impl DeviceRegistry {
    /// Creates a registry for at most `max` certificates and disabled things combined.
    #[must_use]
    pub fn new(max: usize) -> Self {
        Self {
            max,
            ..Self::default()
        }
    }

    /// Adds a certificate and a thing that it may identify.
    pub fn add(
        &mut self,
        fingerprint: [u8; 32],
        (name, thing_type): (&str, Option<&str>),
        is_inactive: bool,
        policy: Option<&Arc<Policy>>,
    ) -> Result<(), DeviceRegistryError> {
        self.room()?;
        let name_at = u32::try_from(self.names.len()).map_err(|_| DeviceRegistryError::TooLong)?;
        let name_bytes = u8::try_from(name.len()).map_err(|_| DeviceRegistryError::TooLong)?;
        self.names.push_str(name);
        let entry = RegistryEntry {
            fingerprint,
            name_at,
            thing_type: thing_type.map_or(Ok(0), |it| self.thing_type(it))?,
            policy: policy.map_or(Ok(0), |it| self.policy(it))?,
            name_bytes,
            is_inactive,
        };
        self.entries.push(entry);
        Ok(())
    }

    /// Disables a thing.
    pub fn switch_off(&mut self, name: &str) -> Result<(), DeviceRegistryError> {
        self.room()?;
        self.inactive.insert(name.into());
        Ok(())
    }

    /// Sorts the registry and returns it. `is_counted` states whether the file ends with an entry count.
    #[must_use]
    pub fn finish(mut self, is_counted: bool) -> Self {
        // Name offsets follow file order, so a certificate's first line stays first.
        self.entries.sort_unstable();
        self.entries.shrink_to_fit();
        self.names.shrink_to_fit();
        self.type_numbers.clear();
        Self { is_counted, ..self }
    }

    fn room(&self) -> Result<(), DeviceRegistryError> {
        let full = self.entries.len() + self.inactive.len() >= self.max;
        if full {
            return Err(DeviceRegistryError::TooMany(self.max));
        }
        Ok(())
    }

    fn thing_type(&mut self, text: &str) -> Result<u16, DeviceRegistryError> {
        if let Some(&number) = self.type_numbers.get(text) {
            return Ok(number);
        }
        let number = u16::try_from(self.types.len() + 1);
        let number = number.map_err(|_| DeviceRegistryError::TooManyTypes)?;
        let text: Arc<str> = text.into();
        self.types.push(Arc::clone(&text));
        self.type_numbers.insert(text, number);
        Ok(number)
    }

    fn policy(&mut self, policy: &Arc<Policy>) -> Result<u16, DeviceRegistryError> {
        let is_it = |[known]: &[Arc<Policy>; 1]| Arc::ptr_eq(known, policy);
        let place = self.policies.iter().position(is_it).unwrap_or_else(|| {
            self.policies.push([Arc::clone(policy)]);
            self.policies.len() - 1
        });
        u16::try_from(place + 1).map_err(|_| DeviceRegistryError::TooManyPolicies)
    }
}

impl fmt::Display for DeviceRegistryError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooMany(max) => write!(
                out,
                "expected at most {max} certificates and inactive things: [things] max allows more"
            ),
            Self::TooManyTypes => out.write_str("expected at most 65535 thing types"),
            Self::TooManyPolicies => out.write_str("expected at most 65535 policies"),
            Self::TooLong => out.write_str("expected at most 4 GiB of names"),
        }
    }
}

impl std::error::Error for DeviceRegistryError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registry_takes_44_bytes_a_certificate_and_those_of_its_name() {
        let mut registry = DeviceRegistry::new(2);
        for (number, name) in [(1, "cam-1"), (2, "door")] {
            let added = registry.add([number; 32], (name, None), false, None);
            added.expect("there is room");
        }
        assert_eq!(registry.finish(false).bytes(), 2 * 44 + "cam-1door".len());
    }
}
