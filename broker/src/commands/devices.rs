//! `heliograph things`: manages devices that sign in with certificates.
//!
//! * [`import`]: converts AWS CLI output about things and certificates to a `[things]` registry.
//! * [`check`]: reports whether a server would accept a certificate.
//! * [`issue`]: issues a certificate to a test device, for `serve --dev`. Production servers have no certificate
//!   authority.

use crate::config::{
    Loaded, ThingsCheckFlags, ThingsCommand, ThingsImportFlags, ThingsIssueFlags, last_line,
    load_credentials,
};
use crate::devices::{AUTHORITY, DEV_HOST, fingerprint, is_thing_name, issue as sign, unix_s};
use crate::failure::Failure;
use crate::files::{self, write_whole};
use crate::terminal;
use broker_core::auth::certificate_id;
use broker_core::{machine::ShownCertificate, settings::Settings};
use codec::policy::Decision;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::ParsedCertificate;
use serde::Deserialize;
use serde_json::Deserializer;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::io::{self, Write};
use std::net::Ipv4Addr;
use std::path::Path;
use std::time::{Duration, SystemTime};
use x509_parser::parse_x509_certificate;
use x509_parser::public_key::PublicKey;

/// Runs a command and writes its result to `out`.
///
/// # Errors
/// Returns [`Failure::Configuration`] for an error that the operator must fix, and [`Failure::Fatal`] for an I/O error.
pub fn run(command: &ThingsCommand, out: &mut dyn Write) -> Result<(), Failure> {
    let text = match command {
        ThingsCommand::Issue(issued) => issue(issued, SystemTime::now())?,
        ThingsCommand::Check(checked) => check(checked, SystemTime::now())?,
        ThingsCommand::Import(imported) => import(imported)?,
    };
    terminal::write(out, &text)
}

// `heliograph things import`: converts AWS CLI output about things and certificates to a `[things]` registry.
//
// ```text
//  {"things": [{"thingName", "thingTypeName"}, …]}                  aws iot list-things
//  {"thingName": NAME, "principals": [ARN, …]}                      aws iot list-thing-principals, with the name
//  {"certificates": [{"certificateId", "status"}, …]}               aws iot list-certificates
//  -----BEGIN CERTIFICATE-----                                      a certificate: its id is checked
// ```
// A certificate's id is the SHA-256 of its DER encoding. Each PEM file must be a certificate whose id is in the
// documents.

/// A JSON document to import. Unknown members are ignored, since AWS may add members.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct IotDocument {
    things: Option<Vec<Thing>>,
    certificates: Option<Vec<ListedCertificate>>,
    thing_name: Option<String>,
    principals: Option<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Thing {
    thing_name: String,
    thing_type_name: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ListedCertificate {
    certificate_id: String,
    status: String,
}

#[derive(Default)]
struct GatheredThings {
    types: BTreeMap<String, Option<String>>,
    things: BTreeMap<String, BTreeSet<String>>,
    inactive: BTreeSet<String>,
    listed: BTreeSet<String>,
    shown: Vec<(String, String)>,
    faults: Vec<String>,
}

/// Writes the registry to a file, or returns it as text. If the input contains faults, writes nothing and fails with a
/// [`Failure::Configuration`] that lists them.
pub(crate) fn import(flags: &ThingsImportFlags) -> Result<String, Failure> {
    let mut gathered = GatheredThings::default();
    for file in &flags.files {
        if let Err(fault) = gathered.read(file) {
            gathered.faults.push(format!("{}: {fault}", file.display()));
        }
    }
    for (id, file) in &gathered.shown {
        if !gathered.things.contains_key(id) && !gathered.listed.contains(id) {
            gathered.faults.push(format!(
                "{file}: the SHA-256 of its certificate is {id}, which no document names: ids of certificates must be \
                 that of their DER"
            ));
        }
    }
    if !gathered.faults.is_empty() {
        let more = gathered.faults.len().saturating_sub(FAULTS_SHOWN_MAX);
        gathered.faults.truncate(FAULTS_SHOWN_MAX);
        if more > 0 {
            gathered.faults.push(format!("and {more} more"));
        }
        let faults = gathered.faults.join("\n");
        return Err(Failure::Configuration(format!(
            "{faults}\nnothing was written"
        )));
    }
    let (text, lines) = gathered.registry();
    let Some(out) = &flags.out else {
        return Ok(text);
    };
    write_whole(out, &text, 0o600)
        .map_err(|error| Failure::fatal("the registry cannot be written", &error))?;
    Ok(format!("{}: {lines} certificates\n", out.display()))
}

impl GatheredThings {
    fn read(&mut self, file: &Path) -> Result<(), String> {
        let read = files::read_regular_text(file, FILE_BYTES_MAX).map_err(|it| it.to_string())?;
        if read.content.contains("-----BEGIN CERTIFICATE-----") {
            for certificate in CertificateDer::pem_slice_iter(read.content.as_bytes()) {
                let certificate = certificate.map_err(|_| "it is not PEM".to_owned())?;
                let id = certificate_id(&fingerprint(&certificate));
                self.shown.push((id, file.display().to_string()));
            }
            return Ok(());
        }
        let documents = Deserializer::from_str(&read.content).into_iter::<IotDocument>();
        for (number, document) in (1..).zip(documents) {
            let document =
                document.map_err(|error| format!("document {number}: {error}: {EXPECTED}"))?;
            self.take(document)
                .map_err(|fault| format!("document {number}: {fault}"))?;
        }
        Ok(())
    }

    fn take(&mut self, document: IotDocument) -> Result<(), String> {
        let principals = document.thing_name.zip(document.principals);
        match (document.things, document.certificates, principals) {
            (Some(things), None, _) => {
                for thing in things {
                    let of_type = thing.thing_type_name.map(named).transpose();
                    let of_type = of_type.map_err(|fault| format!("the type of a {fault}"))?;
                    self.types.insert(named(thing.thing_name)?, of_type);
                }
            }
            (None, Some(certificates), _) => {
                for certificate in certificates {
                    let id = certificate_of(&certificate.certificate_id)?;
                    self.listed.insert(id.clone());
                    if certificate.status != "ACTIVE" {
                        self.inactive.insert(id);
                    }
                }
            }
            (None, None, Some((name, principals))) => {
                let name = named(name)?;
                for arn in principals {
                    // All other principals are Cognito identities, which sign in with tokens.
                    if let Some((_, id)) = arn.split_once(":cert/") {
                        self.things
                            .entry(certificate_of(id)?)
                            .or_default()
                            .insert(name.clone());
                    }
                }
            }
            (..) => return Err(format!("it is none of these: {EXPECTED}")),
        }
        Ok(())
    }

    fn registry(&self) -> (String, usize) {
        let (mut text, mut lines) = (String::from(HEAD), 0);
        for (id, things) in &self.things {
            for thing in things {
                lines += 1;
                let thing_type = self
                    .types
                    .get(thing)
                    .and_then(Option::as_deref)
                    .unwrap_or_default();
                let line = if self.inactive.contains(id) {
                    format!("{id},{thing},{thing_type},inactive")
                } else {
                    format!("{id},{thing},{thing_type}")
                };
                let _ = writeln!(text, "{}", line.trim_end_matches(',')); // writing to a String never fails
            }
        }
        text.push_str(&last_line(&text));
        (text, lines)
    }
}

fn named(name: String) -> Result<String, String> {
    if is_thing_name(&name) {
        return Ok(name);
    }
    Err(format!(
        "thing {name}: must be 1 to 128 of the characters a-z A-Z 0-9 : _ -"
    ))
}

fn certificate_of(id: &str) -> Result<String, String> {
    let is_id = id.len() == 64 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    if is_id {
        return Ok(id.to_ascii_lowercase());
    }
    Err(format!(
        "certificate {id}: its id must be 64 hexadecimal digits"
    ))
}

const EXPECTED: &str =
    "expected list-things, list-certificates, and {\"thingName\": NAME, \"principals\": [ARN, …]}";

const HEAD: &str = "# SHA-256 of the DER, thing name, thing type, inactive, policy\n";

const FAULTS_SHOWN_MAX: usize = 20;

/// Maximum size of an input file in bytes, enough for a million things with their principals.
const FILE_BYTES_MAX: usize = 1 << 30;

// `heliograph things check`: reports whether a server with this credentials file would accept a certificate.

/// Checks whether a device can sign in with a certificate, and returns the result as text. Fails with
/// [`Failure::Configuration`] if the server would refuse the certificate or a file cannot be read.
pub(crate) fn check(flags: &ThingsCheckFlags, now: SystemTime) -> Result<String, Failure> {
    let path = &flags.certificate;
    let account = Settings::default().account_id;
    let (loaded, shown) = shown(path, &flags.credentials, &account, now)?;
    let wrong = |rule: &str| Failure::Configuration(format!("{}: {rule}", path.display()));
    let id = certificate_id(&shown.fingerprint);
    let things = loaded.credentials.things();
    let things = things.ok_or_else(|| wrong(NO_THINGS))?;
    let own = shown.vouched.as_ref().ok().map(|vouched| &*vouched.name);
    let listed: Vec<&str> = things.registry.things_of(&shown.fingerprint).collect();
    let names: Vec<Option<&str>> = match (&flags.thing, &*listed, own) {
        (Some(thing), ..) => vec![Some(thing)],
        (None, [], own) => vec![own],
        (None, listed, _) => listed.iter().copied().map(Some).collect(),
    };
    let origin = (Ipv4Addr::LOCALHOST.into(), unix_s(now));
    let mut text = format!("certificate {id}\n");
    for name in names {
        let thing = things.identify(&shown, name, origin.1);
        let thing = thing.map_err(|refusal| wrong(&format!("certificate {id}: {refusal}")))?;
        let by = match thing.vouched {
            Some(_) => "an authority",
            None => "the registry",
        };
        let name = thing.name.unwrap_or("none");
        let _ = writeln!(text, "thing {name}, by {by}"); // writing to a String never fails
        for alias in loaded.credentials.aliases() {
            let (decision, why) = thing.may_use(&alias.arn(&flags.region), origin, &mut 0);
            let (name, role) = (&alias.name, &alias.role);
            let _ = match decision {
                Decision::Allow => writeln!(text, "  role alias {name}: allowed, role {role}"),
                Decision::Deny | Decision::Open | Decision::NoMatch => {
                    writeln!(text, "  role alias {name}: refused: {why}")
                }
            };
        }
    }
    Ok(text)
}

/// Loads a credentials file and a certificate, and verifies the certificate as the server would. Fails with
/// [`Failure::Configuration`] if the certificate would fail the handshake or a file cannot be read.
pub(crate) fn shown(
    certificate: &Path,
    credentials: &Path,
    account: &str,
    now: SystemTime,
) -> Result<(Loaded, ShownCertificate), Failure> {
    let path = certificate.display();
    let wrong = |rule: &str| Failure::Configuration(format!("{path}: {rule}"));
    let read = files::read_regular(certificate, PEM_BYTES_MAX);
    let read = read.map_err(|error| wrong(&error.to_string()))?;
    let chain = CertificateDer::pem_slice_iter(&read.content).collect::<Result<Vec<_>, _>>();
    let chain = chain.map_err(|_| wrong("must be a PEM file with a certificate"))?;
    let leaf = chain
        .first()
        .ok_or_else(|| wrong("must be a PEM file with a certificate"))?;
    let id = certificate_id(&fingerprint(leaf));
    let refused = |why: &str| {
        wrong(&format!(
            "certificate {id}: the handshake refuses it: {why}"
        ))
    };
    handshake(leaf).map_err(|why| refused(&why))?;
    let loaded = load_credentials(credentials, account, None)
        .map_err(|error| Failure::Configuration(error.to_string()))?;
    let devices = loaded.devices.as_ref().ok_or_else(|| {
        let file = credentials.display();
        Failure::Configuration(format!("{file}: {NO_THINGS}"))
    })?;
    let since = Duration::from_secs(unix_s(now));
    let shown = devices.judge(&chain, UnixTime::since_unix_epoch(since));
    let shown = shown.ok_or_else(|| wrong("the certificate cannot be read"))?;
    Ok((loaded, shown))
}

fn handshake(leaf: &CertificateDer<'_>) -> Result<(), String> {
    ParsedCertificate::try_from(leaf)
        .map_err(|error| format!("{error}; expected certificates of X.509 version 3"))?;
    let (_, parsed) = parse_x509_certificate(leaf).map_err(|error| error.to_string())?;
    let key = parsed.public_key();
    if let Ok(PublicKey::RSA(rsa)) = key.parsed()
        && rsa.key_size() < RSA_BITS_MIN
    {
        let bits = rsa.key_size();
        return Err(format!(
            "its RSA key has {bits} bits, expected {RSA_BITS_MIN} and more"
        ));
    }
    let provider = aws_lc_rs::default_provider();
    let known = provider.signature_verification_algorithms.all;
    let curve = key.algorithm.parameters.as_ref().map(|it| it.as_bytes());
    let id = [
        key.algorithm.algorithm.as_bytes(),
        curve.unwrap_or_default(),
    ];
    let is_known = known.iter().any(|algorithm| {
        let wanted = algorithm.public_key_alg_id();
        let wanted: &[u8] = wanted.as_ref();
        id.iter()
            .all(|part| part.is_empty() || wanted.windows(part.len()).any(|it| it == *part))
    });
    if !is_known {
        return Err(format!(
            "its key is of the kind {}, which is not verified",
            key.algorithm.algorithm
        ));
    }
    Ok(())
}

const NO_THINGS: &str = "has no [things], so no certificate is asked for";

const RSA_BITS_MIN: usize = 2048;

const PEM_BYTES_MAX: usize = 1 << 20;

// `heliograph things issue`: issues a certificate and its key for a test device.

/// Writes a certificate and its key for a test device. Returns the environment variables that make the C SDK use them.
pub(crate) fn issue(flags: &ThingsIssueFlags, now: SystemTime) -> Result<String, Failure> {
    let (name, data_dir) = (&flags.name, &flags.data_dir);
    if !is_thing_name(name) {
        let rule = "must be 1 to 128 of the characters a-z A-Z 0-9 : _ -";
        return Err(Failure::Configuration(format!("NAME = {name}: {rule}")));
    }
    if !data_dir.join(AUTHORITY).exists() {
        let rule = "must be the data directory of a broker that was started with --dev and has a TLS listener: \
                    certificates of devices in production come from an authority of your own (deploy/INSTALL.md)";
        return Err(Failure::Configuration(format!(
            "--data-dir {}: {rule}",
            data_dir.display()
        )));
    }
    let fatal = |error: &io::Error| Failure::fatal("the certificate cannot be issued", error);
    let issued = sign(data_dir, name, now).map_err(|error| fatal(&error))?;
    fs::create_dir_all(&flags.out).map_err(|error| fatal(&error))?;
    let out = flags.out.canonicalize().map_err(|error| fatal(&error))?;
    let file = name.replace(':', "_");
    let (certificate, key) = (
        out.join(format!("{file}.cert.pem")),
        out.join(format!("{file}.private.key")),
    );
    let written = write_whole(&key, &issued.key, 0o600)
        .and_then(|()| write_whole(&certificate, &issued.certificate, 0o644));
    written.map_err(|error| fatal(&error))?;
    let mut text = String::new();
    for (variable, value) in [
        ("AWS_IOT_CORE_CREDENTIAL_ENDPOINT", DEV_HOST.to_owned()),
        ("AWS_IOT_CORE_CERT", certificate.display().to_string()),
        ("AWS_IOT_CORE_PRIVATE_KEY", key.display().to_string()),
        ("AWS_IOT_CORE_ROLE_ALIAS", flags.role_alias.clone()),
        ("AWS_IOT_CORE_THING_NAME", name.clone()),
    ] {
        let quoted = value.replace('\'', r"'\''");
        let _ = writeln!(text, "export {variable}='{quoted}'"); // writing to a String never fails
    }
    Ok(text)
}
