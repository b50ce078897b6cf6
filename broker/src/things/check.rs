//! `heliograph things check`: what a server with this credentials file would make of a certificate.

use crate::config::{Loaded, ThingsCheckFlags, load_credentials};
use crate::devices::authority::fingerprint;
use crate::failure::Failure;
use crate::files;
use broker_core::auth::{Credentials, Identified, alias_arn, certificate_id};
use broker_core::machine::ShownCertificate;
use broker_core::settings::Settings;
use codec::policy::Decision;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::ParsedCertificate;
use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::time::SystemTime;
use x509_parser::parse_x509_certificate;
use x509_parser::public_key::PublicKey;

/// The answer as text.
///
/// # Errors
/// [`Failure::Configuration`] when the certificate would be refused, or a file cannot be read.
pub(crate) fn check(flags: &ThingsCheckFlags, now: SystemTime) -> Result<String, Failure> {
    let path = &flags.certificate;
    let account = Settings::default().account_id;
    let (loaded, shown) = shown(path, &flags.credentials, &account, now)?;
    let wrong = |rule: &str| Failure::Configuration(format!("{}: {rule}", path.display()));
    let id = certificate_id(&shown.fingerprint);
    let things = loaded.credentials.things();
    let things = things.ok_or_else(|| wrong(NO_THINGS))?;
    let since = now
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    let own = shown.vouched.as_ref().ok().map(|vouched| &*vouched.name);
    let listed: Vec<&str> = things.registry.things_of(&shown.fingerprint).collect();
    let names: Vec<Option<&str>> = match (&flags.thing, &*listed, own) {
        (Some(thing), ..) => vec![Some(thing)],
        (None, [], own) => vec![own],
        (None, listed, _) => listed.iter().copied().map(Some).collect(),
    };
    let origin = (Ipv4Addr::LOCALHOST.into(), since.as_secs());
    let mut text = format!("certificate {id}\n");
    for name in names {
        let thing = things.identify(&shown, name, origin.1);
        let thing = thing.map_err(|refusal| wrong(&format!("certificate {id}: {refusal}")))?;
        tell(
            &mut text,
            &thing,
            &loaded.credentials,
            &flags.region,
            origin,
        );
    }
    Ok(text)
}

/// A credentials file, and a certificate as a server with it would judge it.
///
/// # Errors
/// [`Failure::Configuration`] when a handshake refuses the certificate, or a file cannot be read.
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
    let since = now
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    let shown = devices.judge(&chain, UnixTime::since_unix_epoch(since));
    let shown = shown.ok_or_else(|| wrong("the certificate cannot be read"))?;
    Ok((loaded, shown))
}

/// Adds a thing with the aliases that it may use.
fn tell(
    text: &mut String,
    thing: &Identified<'_>,
    credentials: &Credentials,
    region: &str,
    origin: (IpAddr, u64),
) {
    let by = match thing.vouched {
        Some(_) => "an authority",
        None => "the registry",
    };
    let name = thing.name.unwrap_or("none");
    let _ = writeln!(text, "thing {name}, by {by}"); // a String takes all
    for alias in credentials.aliases() {
        let arn = alias_arn(region, &alias.account, &alias.name);
        let (decision, why) = thing.may_use(&arn, origin, &mut 0);
        let name = &alias.name;
        let _ = match decision {
            Decision::Allow => writeln!(text, "  role alias {name}: allowed, role {}", alias.role),
            Decision::Deny | Decision::Open | Decision::NoMatch => {
                writeln!(text, "  role alias {name}: refused: {why}")
            }
        };
    }
}

/// Checks what the handshake asks of a certificate, by the library that shakes hands.
fn handshake(leaf: &CertificateDer<'_>) -> Result<(), String> {
    ParsedCertificate::try_from(leaf)
        .map_err(|error| format!("{error}; allowed are certificates of X.509 version 3"))?;
    let (_, parsed) = parse_x509_certificate(leaf).map_err(|error| error.to_string())?;
    let key = parsed.public_key();
    if let Ok(PublicKey::RSA(rsa)) = key.parsed()
        && rsa.key_size() < RSA_BITS_MIN
    {
        let bits = rsa.key_size();
        return Err(format!(
            "its RSA key has {bits} bits, allowed are {RSA_BITS_MIN} and more"
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

/// The shortest RSA key that signatures are verified with.
const RSA_BITS_MIN: usize = 2048;

/// Longest file of a certificate and its chain.
const PEM_BYTES_MAX: usize = 1 << 20;
