//! `heliograph seccomp-profile`: prints the seccomp profile from `deploy/`, for container images that contain the
//! binary but not the profile.

use crate::files;
use crate::{config::SeccompFlags, failure::Failure};
use std::fs::File;
use std::io::{ErrorKind, Write};
use std::path::Path;

/// Returns the profile, or an empty string if the profile was written to a file.
///
/// # Errors
/// Fails if the file cannot be written, or if it exists with different content.
pub fn run(flags: &SeccompFlags) -> Result<String, Failure> {
    match &flags.output {
        None => Ok(PROFILE.into()),
        Some(path) => write(path).map(|()| String::new()),
    }
}

fn write(path: &Path) -> Result<(), Failure> {
    let name = path.display();
    let made = File::options().write(true).create_new(true).open(path);
    match made.and_then(|mut file| file.write_all(PROFILE.as_bytes())) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            let read = files::read_regular(path, PROFILE.len());
            if read.is_ok_and(|read| *read.content == PROFILE.as_bytes()) {
                return Ok(());
            }
            Err(Failure::Configuration(format!(
                "--output {name}: the file exists with another content: it must be absent or have this profile: name \
                 another file, or remove it"
            )))
        }
        Err(error) => Err(Failure::Configuration(format!(
            "--output {name}: must be a file that can be created and written: {error}"
        ))),
    }
}

/// The profile in the repository, which the tests also run under.
const PROFILE: &str = include_str!("../../../deploy/seccomp.json");
