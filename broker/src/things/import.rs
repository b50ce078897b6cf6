//! `heliograph things import`: what the AWS CLI prints of things and certificates, as the registry of `[things]`.
//!
//! ```text
//!  {"things": [{"thingName", "thingTypeName"}, …]}                  aws iot list-things
//!  {"thingName": NAME, "principals": [ARN, …]}                      aws iot list-thing-principals, with the name
//!  {"certificates": [{"certificateId", "status"}, …]}               aws iot list-certificates
//!  -----BEGIN CERTIFICATE-----                                      a certificate: its id is checked
//! ```
//! A certificate's id is the SHA-256 of its DER. That is checked against every PEM file given, since all hangs on it.

use crate::config::ThingsImportFlags;
use crate::devices::authority::fingerprint;
use crate::devices::name::is_thing_name;
use crate::failure::Failure;
use crate::files::{self, write_whole};
use broker_core::auth::certificate_id;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde::Deserialize;
use serde_json::Deserializer;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::Path;

/// One document. Members that are not known are ignored: the service may add some.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    things: Option<Vec<Thing>>,
    certificates: Option<Vec<Certificate>>,
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
struct Certificate {
    certificate_id: String,
    status: String,
}

/// Everything that the files say.
#[derive(Default)]
struct Gathered {
    types: BTreeMap<String, Option<String>>,
    /// By certificate.
    things: BTreeMap<String, BTreeSet<String>>,
    inactive: BTreeSet<String>,
    listed: BTreeSet<String>,
    /// Of PEM files, with their names.
    shown: Vec<(String, String)>,
    faults: Vec<String>,
}

/// Writes the registry, or returns it as text.
///
/// # Errors
/// [`Failure::Configuration`] with the faults; nothing is written then.
pub(crate) fn import(flags: &ThingsImportFlags) -> Result<String, Failure> {
    let mut gathered = Gathered::default();
    for file in &flags.files {
        if let Err(fault) = gathered.read(file) {
            gathered.faults.push(format!("{}: {fault}", file.display()));
        }
    }
    gathered.check();
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

impl Gathered {
    fn read(&mut self, file: &Path) -> Result<(), String> {
        let read = files::read_regular_text(file, FILE_BYTES_MAX).map_err(|it| it.to_string())?;
        if read.content.contains("-----BEGIN CERTIFICATE-----") {
            for certificate in CertificateDer::pem_slice_iter(read.content.as_bytes()) {
                let certificate = certificate.map_err(|_| "it is no PEM".to_owned())?;
                let id = certificate_id(&fingerprint(&certificate));
                self.shown.push((id, file.display().to_string()));
            }
            return Ok(());
        }
        let documents = Deserializer::from_str(&read.content).into_iter::<Document>();
        for (number, document) in (1..).zip(documents) {
            let document =
                document.map_err(|error| format!("document {number}: {error}: {ALLOWED}"))?;
            self.take(document)
                .map_err(|fault| format!("document {number}: {fault}"))?;
        }
        Ok(())
    }

    fn take(&mut self, document: Document) -> Result<(), String> {
        match document {
            Document {
                things: Some(things),
                certificates: None,
                ..
            } => {
                for thing in things {
                    self.types
                        .insert(named(thing.thing_name)?, thing.thing_type_name);
                }
            }
            Document {
                certificates: Some(certificates),
                things: None,
                ..
            } => {
                for certificate in certificates {
                    let id = certificate_of(&certificate.certificate_id)?;
                    self.listed.insert(id.clone());
                    if certificate.status != "ACTIVE" {
                        self.inactive.insert(id);
                    }
                }
            }
            Document {
                thing_name: Some(name),
                principals: Some(principals),
                things: None,
                certificates: None,
            } => {
                let name = named(name)?;
                for arn in principals {
                    // Others are identities of Cognito, which sign in with tokens.
                    if let Some((_, id)) = arn.split_once(":cert/") {
                        self.things
                            .entry(certificate_of(id)?)
                            .or_default()
                            .insert(name.clone());
                    }
                }
            }
            Document { .. } => return Err(format!("it is none of these: {ALLOWED}")),
        }
        Ok(())
    }

    /// Notes certificates whose id is not what it should be.
    fn check(&mut self) {
        for (id, file) in &self.shown {
            if !self.things.contains_key(id) && !self.listed.contains(id) {
                self.faults.push(format!(
                    "{file}: the SHA-256 of its certificate is {id}, which no document names: ids of certificates must \
                     be that of their DER"
                ));
            }
        }
    }

    /// The lines, and their number.
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
                let _ = writeln!(text, "{}", line.trim_end_matches(',')); // a String takes all
            }
        }
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

const ALLOWED: &str = "allowed are list-things, list-certificates, and {\"thingName\": NAME, \"principals\": [ARN, …]}";

/// The first line of a registry.
const HEAD: &str = "# SHA-256 of the DER, thing name, thing type, inactive, policy\n";

/// Most faults that are shown.
const FAULTS_SHOWN_MAX: usize = 20;

/// Longest file: a million things with their principals.
const FILE_BYTES_MAX: usize = 1 << 30;
