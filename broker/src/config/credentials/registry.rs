//! The registry of devices: a file of lines that is read one by one, so that a million of them take no memory but what
//! they come to.
//!
//! ```text
//! SHA-256 of the DER, thing name[, thing type][, inactive][, policy]      a certificate and one of its things
//! , thing name, , inactive                                                a thing that is switched off as a whole
//! ```
//! Blank lines and those that begin with `#` mean nothing.

use crate::config::credentials::files::Files;
use crate::devices::name::is_thing_name;
use broker_core::auth::{Registry, RegistryBuilder};
use codec::policy::Policy;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader};
use std::sync::Arc;

/// Policies by name.
type Known = BTreeMap<String, Option<Arc<Policy>>>;

/// Reads a registry of at most `max` lines; returns the names of the policies in it as well.
///
/// # Errors
/// All faults, [`FAULTS_MAX`] at most, each with its line.
pub(crate) fn read(
    written: &str,
    (known, max): (&Known, usize),
    files: &mut Files,
) -> Result<(Registry, Vec<String>), Vec<String>> {
    let (file, at) = files.open(written).map_err(|rule| vec![rule])?;
    let path = at.display();
    let mut reader = BufReader::with_capacity(1 << 16, file);
    let mut registry = RegistryBuilder::new(max);
    let (mut line, mut number, mut faults) = (Vec::new(), 0, Vec::new());
    let mut used = BTreeSet::new();
    while faults.len() < FAULTS_MAX {
        line.clear();
        match next_line(&mut reader, &mut line) {
            Ok(true) => number += 1,
            Ok(false) => break,
            Err(error) => return Err(vec![format!("{path}: cannot be read: {error}")]),
        }
        match take(&line, known, &mut registry) {
            Ok(None) => {}
            Ok(Some(policy)) if used.contains(policy) => {}
            Ok(Some(policy)) => drop(used.insert(policy.to_owned())),
            Err(rule) => {
                faults.push(format!("{path}:{number}: {rule}"));
                if rule.contains(TOO_MANY) {
                    break; // the others are too many as well
                }
            }
        }
    }
    if faults.is_empty() {
        files.closed(&at, reader.into_inner());
        return Ok((registry.finish(), used.into_iter().collect()));
    }
    Err(faults)
}

/// Appends the next line, within its bound. False at the end.
fn next_line(reader: &mut impl BufRead, line: &mut Vec<u8>) -> std::io::Result<bool> {
    let mut bounded = std::io::Read::take(reader, LINE_BYTES_MAX + 1);
    if bounded.read_until(b'\n', line)? == 0 {
        return Ok(false);
    }
    if line.len() as u64 > LINE_BYTES_MAX {
        let rule = format!("a line has more than {LINE_BYTES_MAX} bytes");
        return Err(std::io::Error::new(std::io::ErrorKind::InvalidData, rule));
    }
    Ok(true)
}

/// Adds a line to the registry. Returns the policy that it names.
fn take<'l>(
    line: &'l [u8],
    known: &Known,
    registry: &mut RegistryBuilder,
) -> Result<Option<&'l str>, String> {
    let line = std::str::from_utf8(line)
        .map_err(|_| FORM.to_owned())?
        .trim();
    if line.is_empty() || line.starts_with('#') {
        return Ok(None);
    }
    let mut fields = line.split(',').map(str::trim);
    let (fingerprint, name) = (fields.next().unwrap_or_default(), fields.next());
    let (thing_type, state) = (fields.next(), fields.next());
    let (policy, more) = (fields.next(), fields.next());
    let name = name.filter(|name| is_thing_name(name)).ok_or(FORM)?;
    let thing_type = thing_type.filter(|text| !text.is_empty());
    if thing_type.is_some_and(|text| !is_thing_name(text)) || more.is_some() {
        return Err(FORM.to_owned());
    }
    let is_inactive = match state.unwrap_or_default() {
        "" | "active" => false,
        "inactive" => true,
        _ => return Err(FORM.to_owned()),
    };
    if fingerprint.is_empty() {
        if !is_inactive {
            return Err(FORM.to_owned());
        }
        registry
            .switch_off(name)
            .map_err(|error| error.to_string())?;
        return Ok(None);
    }
    let fingerprint = digits(fingerprint).ok_or(FORM)?;
    let policy = policy.filter(|text| !text.is_empty());
    let own = match policy {
        None => None,
        Some(name) => match known.get(name) {
            None => return Err(format!("there is no [policy.{name}]")),
            Some(policy) => policy.as_ref(), // one that does not load was reported
        },
    };
    let added = registry.add(fingerprint, (name, thing_type), is_inactive, own);
    added.map_err(|error| error.to_string())?;
    Ok(policy)
}

/// 64 hexadecimal digits.
fn digits(text: &str) -> Option<[u8; 32]> {
    let mut fingerprint = [0; 32];
    if text.len() != 64 {
        return None;
    }
    let decoded = data_encoding::HEXLOWER_PERMISSIVE.decode_mut(text.as_bytes(), &mut fingerprint);
    decoded.ok().map(|_| fingerprint)
}

/// The form of a line.
const FORM: &str = "allowed SHA-256 in 64 hexadecimal digits, thing name[, thing type][, inactive][, policy]; without \
                    the digits a thing that is inactive";

/// Begins the fault of a line for which there is no room.
const TOO_MANY: &str = "allowed at most";

/// Longest line, in bytes: four times the longest names.
const LINE_BYTES_MAX: u64 = 1024;

/// Most faults of one file that are reported.
const FAULTS_MAX: usize = 20;

/// Lines of a registry that states no other number: 64 MiB and the names.
pub(crate) const REGISTRY_MAX_DEFAULT: usize = 1_000_000;

/// The largest such number.
pub(crate) const REGISTRY_MAX: usize = 10_000_000;
