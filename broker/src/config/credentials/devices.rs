//! Devices in a credentials file: the server names for which a client certificate is requested, the certificate
//! authorities, and the device registry.

use crate::config::credentials::files::Files;
use crate::config::credentials::roles::{KnownPolicies, policies};
use crate::config::document::{TableReader, list, text};
use crate::devices::{DeviceAuthority, Devices, NameSource, RevocationLists, is_thing_name};
use aws_lc_rs::digest::{Context as Sum, SHA256, digest};
use broker_core::auth::{DeviceRegistry, SignIns, ThingAuthority, Things};
use broker_core::settings::value::{self, Checked, letters};
use codec::policy::{Action, Policy};
use data_encoding::HEXLOWER;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer};
use std::io::{BufRead, BufReader};
use std::sync::Arc;

/// The certificate authorities from all configuration tables. The core and the edge each have their own representation
/// of an authority.
#[derive(Default)]
struct Authorities {
    core: Vec<ThingAuthority>,
    edge: Vec<DeviceAuthority>,
}

/// Reads the table `[things]` for the core and the edge. Returns `None` if the table is invalid.
pub(crate) fn things(
    section: &mut TableReader<'_, '_>,
    known: &KnownPolicies,
    files: &mut Files,
) -> Option<(Things, Devices)> {
    let hosts = section.read("hosts", |value| {
        let hosts = list(value, 1, "server names", |value| text(value, host))?;
        match hosts.len() {
            ..=HOSTS_MAX => Ok(hosts),
            _ => Err(format!("expected at most {HOSTS_MAX} server names")),
        }
    });
    let own = section.read("policies", |value| policies(value, known));
    let own = own.unwrap_or_default();
    let max = section.read("max", |value| {
        let number = value.as_integer().and_then(|it| it.as_str().parse().ok());
        let number = number.filter(|number| (1..=REGISTRY_MAX).contains(number));
        number.ok_or_else(|| format!("expected a number from 1 to {REGISTRY_MAX}"))
    });
    let max = max.unwrap_or(REGISTRY_MAX_DEFAULT);
    let registry = section.read_with_faults("registry", |value| {
        let written = text(value, Ok).map_err(|rule| vec![rule])?;
        read(written, known, max, files)
    });
    let mut all = Authorities::default();
    authority(section, &own, files, &mut all);
    for key in ["name", "names", "intermediates", "crl", "crl_grace"] {
        if section.has(key) && !section.has("ca") {
            section.fault(format!("expected {key} together with ca"));
        }
    }
    section.tables("authority", |_, section| {
        let policies = section.read("policies", |value| policies(value, known));
        let policies = policies.as_ref().unwrap_or(&own);
        authority(section, policies, files, &mut all);
        if !section.has("ca") {
            section.fault("ca needed");
        }
    });
    if !section.has("hosts") {
        section.fault("hosts needed");
    }
    if section.has_faults() {
        return None;
    }
    let hosts: Vec<Box<str>> = hosts?;
    let devices = Devices {
        hosts: hosts.clone(),
        authorities: all.edge,
    };
    let things = Things {
        hosts: hosts.into(),
        policies: own.into(),
        registry: registry.unwrap_or_default(),
        authorities: all.core.into(),
        revoked: devices.revoked(),
        sign_ins: SignIns::default(),
    };
    Some((things, devices))
}

fn authority(
    section: &mut TableReader<'_, '_>,
    policies: &[Arc<Policy>],
    files: &mut Files,
    all: &mut Authorities,
) {
    if !section.has("ca") {
        // Reading these keys marks them as known.
        for key in ["ca", "name", "names", "intermediates", "crl", "crl_grace"] {
            section.read(key, |_| Ok(()));
        }
        return;
    }
    let authorities = section.text("ca", |text| certificates(files, text));
    let name = section.text("name", |text| {
        let rule = || "expected \"subject.CN\", \"san.dns\" or \"san.uri\"".to_owned();
        NameSource::named(text).ok_or_else(rule)
    });
    let names = section.text("names", pattern);
    let intermediates = section.text("intermediates", |text| certificates(files, text));
    let between = intermediates.as_deref().unwrap_or_default();
    let lists = section.read("crl", |value| {
        let written = list(value, 1, "files", |value| text(value, Ok))?;
        let mut lists = Vec::new();
        for written in written {
            lists.extend(revocation_lists(files, written)?);
        }
        match &authorities {
            Some(authorities) => RevocationLists::new(lists, authorities, between),
            None => Ok(RevocationLists::default()), // the fault of `ca` has already been reported
        }
    });
    let grace_ms = section.text("crl_grace", |text| value::duration(text, 0..=GRACE_MS_MAX));
    if !section.has("name") {
        section.fault("name needed: the field of certificates that holds the thing's name");
    }
    let (Some(authorities), Some(name)) = (authorities, name) else {
        return;
    };
    let lists = Arc::new(lists.unwrap_or_default());
    let grace_s = grace_ms.unwrap_or(GRACE_MS_DEFAULT) / 1000;
    for certificate in &authorities {
        match DeviceAuthority::new(certificate, &lists, name, grace_s) {
            Err(fault) => section.fault(format!("ca: {fault}")),
            Ok(authority) => {
                all.core.push(ThingAuthority {
                    key: authority.key,
                    names: names.clone(),
                    revoked: authority.revoked,
                    policies: policies.into(),
                    subject: authority.subject.as_str().into(),
                    ends_s: authority.validity_s.1,
                    list_ends_s: authority.list_ends_s,
                });
                all.edge.push(authority);
            }
        }
    }
}

pub(crate) fn remarks(things: &Things, devices: &Devices, now_s: u64) -> Vec<String> {
    let left_over = devices.strangers().map(|issuer| {
        format!(
            "have a revocation list of {issuer}, which is neither in ca nor in intermediates: remove the list if that \
             authority was withdrawn, else add the certificate that signs it"
        )
    });
    let mut remarks: Vec<_> = left_over.collect();
    if things.registry.is_empty() && devices.authorities.is_empty() {
        remarks
            .push("have neither a registry nor an authority, so no device may sign in".to_owned());
    }
    let of_authorities = things.authorities.iter().map(|it| &it.policies);
    let mut all = of_authorities.chain([&things.policies]);
    let allows = |policies: &[Arc<Policy>]| {
        let policies = policies.iter();
        let mut actions = policies.flat_map(|policy| policy.allowed_somewhere());
        actions.any(|action| action == Action::AssumeRoleWithCertificate)
    };
    if !all.any(|it| allows(it)) {
        let remark = "have no policy that allows iot:AssumeRoleWithCertificate, so only devices with a policy of \
                      their own get keys";
        remarks.push(remark.to_owned());
    }
    for authority in &devices.authorities {
        let subject = &authority.subject;
        if authority.revoked.is_none() {
            let remark = "have no revocation list of the authority";
            remarks.push(format!(
                "{remark} {subject}: certificates of stolen devices stay valid"
            ));
        }
    }
    let endings = devices.endings(now_s);
    remarks.extend(endings.into_iter().map(|ending| format!("have {ending}")));
    remarks
}

fn certificates(files: &mut Files, written: &str) -> Checked<Vec<CertificateDer<'static>>> {
    let (content, path) = files.bytes(written, PEM_BYTES_MAX)?;
    let all = CertificateDer::pem_slice_iter(&content).collect::<Result<Vec<_>, _>>();
    match all {
        Ok(all) if (1..=AUTHORITIES_MAX).contains(&all.len()) => Ok(all),
        Ok(_) | Err(_) => Err(format!(
            "{}: expected a PEM file with 1 to {AUTHORITIES_MAX} certificates",
            path.display()
        )),
    }
}

fn revocation_lists(
    files: &mut Files,
    written: &str,
) -> Checked<Vec<CertificateRevocationListDer<'static>>> {
    let (content, path) = files.bytes(written, CRL_BYTES_MAX)?;
    if content.first() == Some(&DER_SEQUENCE) {
        return Ok(vec![content.into()]);
    }
    let all = CertificateRevocationListDer::pem_slice_iter(&content).collect::<Result<Vec<_>, _>>();
    match all {
        Ok(all) if !all.is_empty() => Ok(all),
        Ok(_) | Err(_) => Err(format!(
            "{}: expected a PEM or DER file with revocation lists",
            path.display()
        )),
    }
}

fn host(text: &str) -> Checked<Box<str>> {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b".-".contains(&byte);
    let is_label = |label: &str| !label.is_empty() && label.len() <= 63;
    let is_name =
        text.len() <= 127 && text.bytes().all(is_allowed) && text.split('.').all(is_label);
    let is_address = text.parse::<std::net::IpAddr>().is_ok();
    if !is_name || is_address {
        let rule = "expected host names of up to 127 letters, which devices send as server name: not an address";
        return Err(rule.into());
    }
    Ok(text.to_ascii_lowercase().into())
}

fn pattern(text: &str) -> Checked<Box<str>> {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b":_-*".contains(&byte);
    let rule = "expected a pattern of thing names with *, such as \"plant2-*\"";
    letters(text, 1..=128, is_allowed, rule).map(Box::from)
}

/// Maximum number of server names. Every handshake compares the requested name with all of them.
const HOSTS_MAX: usize = 16;

const AUTHORITIES_MAX: usize = 64;

const PEM_BYTES_MAX: usize = 1 << 20;

/// Maximum size of a revocation list file in bytes. Enough for about a million entries.
const CRL_BYTES_MAX: usize = 64 << 20;

const DER_SEQUENCE: u8 = 0x30;

const GRACE_MS_DEFAULT: u64 = 24 * 60 * 60 * 1000;

const GRACE_MS_MAX: u64 = 30 * 24 * 60 * 60 * 1000;

// The device registry. The file is read line by line, so only the parsed entries take up memory.
//
// ```text
// SHA-256 of the DER, thing name[, thing type][, inactive][, policy]      a certificate and one of its things
// , thing name, , inactive                                                an inactive thing, with all its certificates
// ```
// Blank lines and lines that start with `#` are ignored. The exception is a last line `# lines=N` or `# lines=N
// sha256=DIGITS`, which states how many lines precede it and their SHA-256.

/// Reads a registry of at most `max` lines. The error lists the first [`FAULTS_MAX`] faults with their line numbers.
pub(crate) fn read(
    written: &str,
    known: &KnownPolicies,
    max: usize,
    files: &mut Files,
) -> Result<DeviceRegistry, Vec<String>> {
    let (file, at) = files.open(written).map_err(|rule| vec![rule])?;
    let path = at.display();
    let mut reader = BufReader::with_capacity(1 << 16, file);
    let read = read_lines(&mut reader, &path.to_string(), known, max)?;
    files.hashed(&at, reader.into_inner().sha256.finish());
    Ok(read)
}

/// Reads a registry from its text. Error messages call it `path`. For the errors, see [`read`].
pub(crate) fn read_lines(
    reader: &mut impl BufRead,
    path: &str,
    known: &KnownPolicies,
    max: usize,
) -> Result<DeviceRegistry, Vec<String>> {
    let mut registry = DeviceRegistry::new(max);
    let (mut line, mut number, mut faults) = (Vec::new(), 0, Vec::new());
    let (mut sum, mut is_counted) = (Sum::new(&SHA256), false);
    while faults.len() < FAULTS_MAX {
        line.clear();
        match next_line(reader, &mut line) {
            Ok(true) => number += 1,
            Ok(false) => break,
            Err(error) => return Err(vec![format!("{path}: cannot be read: {error}")]),
        }
        if is_counted && !line.trim_ascii().is_empty() {
            faults.push(format!(
                "{path}:{number}: expected nothing behind {LAST_LINE}N"
            ));
            break;
        }
        if let Some(stated) = line.strip_prefix(LAST_LINE.as_bytes()) {
            is_counted = true;
            if let Some(rule) = miscounted(stated, number - 1, &sum) {
                faults.push(format!("{path}:{number}: {rule}"));
            }
            continue;
        }
        sum.update(&line);
        if let Err(rule) = take(&line, known, &mut registry) {
            faults.push(format!("{path}:{number}: {rule}"));
            if rule.contains(TOO_MANY) {
                break; // the remaining lines exceed the limit as well
            }
        }
    }
    if faults.is_empty() {
        return Ok(registry.finish(is_counted));
    }
    Err(faults)
}

/// Generates a registry's last line, with the number of lines in `text` and their SHA-256.
pub(crate) fn last_line(text: &str) -> String {
    let digest = digest(&SHA256, text.as_bytes());
    let (lines, digits) = (text.lines().count(), HEXLOWER.encode(digest.as_ref()));
    format!("{LAST_LINE}{lines} sha256={digits}\n")
}

fn miscounted(stated: &[u8], lines: usize, sum: &Sum) -> Option<String> {
    let stated = String::from_utf8_lossy(stated);
    let (count, digits) = match stated.trim().split_once(" sha256=") {
        Some((count, digits)) => (count, Some(digits)),
        None => (stated.trim(), None),
    };
    let own = HEXLOWER.encode(sum.clone().finish().as_ref());
    let is_its =
        count.parse() == Ok(lines) && digits.is_none_or(|it| it.eq_ignore_ascii_case(&own));
    (!is_its).then(|| {
        format!(
            "this line does not match the {lines} lines before it, whose SHA-256 is {own}: the file was truncated or \
             changed. Rewrite it with `heliograph things import`; after a manual edit, {LAST_LINE}{lines} is enough"
        )
    })
}

const LAST_LINE: &str = "# lines=";

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

fn take(line: &[u8], known: &KnownPolicies, registry: &mut DeviceRegistry) -> Checked<()> {
    let line = std::str::from_utf8(line)
        .map_err(|_| FORM.to_owned())?
        .trim();
    if line.is_empty() || line.starts_with('#') {
        return Ok(());
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
        let switched = registry.switch_off(name);
        return switched.map_err(|error| error.to_string());
    }
    let fingerprint = digits(fingerprint).ok_or(FORM)?;
    let own = match policy.filter(|text| !text.is_empty()) {
        None => None,
        Some(name) => match known.get(name) {
            None => return Err(format!("there is no [policy.{name}]")),
            Some(policy) => policy.as_ref(), // an invalid policy has already been reported
        },
    };
    let added = registry.add(fingerprint, (name, thing_type), is_inactive, own);
    added.map_err(|error| error.to_string())
}

fn digits(text: &str) -> Option<[u8; 32]> {
    let mut fingerprint = [0; 32];
    if text.len() != 64 {
        return None;
    }
    let decoded = data_encoding::HEXLOWER_PERMISSIVE.decode_mut(text.as_bytes(), &mut fingerprint);
    decoded.ok().map(|_| fingerprint)
}

const FORM: &str = "expected SHA-256 in 64 hexadecimal digits, thing name[, thing type][, inactive][, policy]; without \
                    the digits a thing that is inactive";

const TOO_MANY: &str = "expected at most";

/// Maximum line length in bytes: four times the length of a line with the longest permitted names.
const LINE_BYTES_MAX: u64 = 1024;

const FAULTS_MAX: usize = 20;

/// Default value of the key `max`, the maximum number of registry lines. A registry of this size takes 64 MiB, not
/// counting names.
const REGISTRY_MAX_DEFAULT: usize = 1_000_000;

const REGISTRY_MAX: usize = 10_000_000;
