//! `heliograph things issue`: certificate and key of a test device.

use crate::config::ThingsIssueFlags;
use crate::devices::name::is_thing_name;
use crate::failure::Failure;
use crate::files::write_whole;
use crate::things::authority::{AUTHORITY, DEV_HOST, issue as sign};
use std::fmt::Write;
use std::time::SystemTime;
use std::{fs, io};

/// Writes both files and returns the variables by which the C SDK finds them.
pub(crate) fn issue(flags: &ThingsIssueFlags, now: SystemTime) -> Result<String, Failure> {
    let ThingsIssueFlags {
        name,
        data_dir,
        out,
        role_alias,
    } = flags;
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
    fs::create_dir_all(out).map_err(|error| fatal(&error))?;
    let out = out.canonicalize().map_err(|error| fatal(&error))?;
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
        ("AWS_IOT_CORE_ROLE_ALIAS", role_alias.clone()),
        ("AWS_IOT_CORE_THING_NAME", name.clone()),
    ] {
        let quoted = value.replace('\'', r"'\''");
        let _ = writeln!(text, "export {variable}='{quoted}'"); // a String takes all
    }
    Ok(text)
}
