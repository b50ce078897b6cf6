//! The subcommands other than `serve`, one per file. This file itself contains `hook-test`, which only sends a single
//! request, and [`PartialFolder`], which backups and exports use to write a directory that is either complete or
//! absent.

pub mod backup;
pub mod bundle;
pub mod cluster;
mod cluster_check;
mod cluster_status;
pub mod devices;
pub mod doctor;
pub mod env;
pub mod forget;

pub mod policy_test;
pub mod presign;
pub mod report;
pub mod seccomp;
pub mod tail;
pub mod top;
pub mod trace;
pub mod why;

use crate::side::admin::http::encoded;
use crate::{admin_client::AdminListener, config::HookTestFlags, failure::Failure};
use std::fs::{self, DirBuilder, File};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// `heliograph hook-test`: makes a running broker send a test event to the receiver of a hook. Returns the outcome as a
/// message that ends with a newline.
///
/// # Errors
/// Returns [`Failure::Configuration`] for invalid flags or arguments. Returns [`Failure::Fatal`] if the receiver did
/// not accept the event, if no hook has this name, or if the broker does not answer.
pub fn hook_test(flags: &HookTestFlags) -> Result<String, Failure> {
    let target = format!("/hooks/{}/test", encoded(flags.name.trim()));
    let told = AdminListener::of(&flags.asked)?.post(&target)??;
    match told["error"].as_str() {
        None => Ok("delivered\n".into()),
        Some(error) => Err(Failure::Fatal(format!("not delivered: {error}"))),
    }
}

/// A directory that keeps a temporary name until its contents are complete. If dropped before then, it is deleted.
pub(crate) struct PartialFolder {
    target: PathBuf,
    partial: PathBuf,
    is_whole: bool,
}

impl PartialFolder {
    /// Creates a directory that only its owner can access. `target` must be absent or an empty directory. Fails with
    /// [`io::ErrorKind::DirectoryNotEmpty`] if `target` contains files, and otherwise with the error from the system
    /// call.
    pub(crate) fn begin(target: &Path) -> io::Result<Self> {
        match fs::read_dir(target) {
            Ok(mut entries) => match entries.next() {
                None => {}
                Some(_) => return Err(io::ErrorKind::DirectoryNotEmpty.into()),
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        let name = target.file_name().ok_or(io::ErrorKind::InvalidInput)?;
        let mut partial = name.to_owned();
        partial.push(format!(".partial-{}", std::process::id()));
        let partial = target.with_file_name(partial);
        DirBuilder::new().mode(0o700).create(&partial)?;
        Ok(Self {
            target: target.into(),
            partial,
            is_whole: false,
        })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.partial
    }

    pub(crate) fn write(&self, name: &str, content: &[u8]) -> io::Result<()> {
        let mut file = File::options()
            .create_new(true)
            .write(true)
            .mode(0o600)
            .open(self.partial.join(name))?;
        file.write_all(content)?;
        file.sync_all()
    }

    pub(crate) fn finish(mut self) -> io::Result<()> {
        File::open(&self.partial)?.sync_all()?;
        fs::rename(&self.partial, &self.target)?; // replaces an empty directory
        self.is_whole = true;
        let parent = self
            .target
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty());
        File::open(parent.unwrap_or_else(|| Path::new(".")))?.sync_all()
    }
}

impl Drop for PartialFolder {
    fn drop(&mut self) {
        if !self.is_whole {
            let _ = fs::remove_dir_all(&self.partial);
        }
    }
}
