//! `heliograph things`: devices that sign in with certificates.
//!
//! * [`import`]: what the AWS CLI prints of things and certificates, as the registry of `[things]`.
//! * [`check`]: what a server would make of a certificate.
//! * [`issue`]: a certificate for a test device of `serve --dev`; no server in production has an authority.

pub(crate) mod authority;
pub(crate) mod check;
mod import;
mod issue;

use crate::config::{ThingsCommand, ThingsFlags};
use crate::failure::Failure;
use crate::terminal;
use std::io::Write;
use std::time::SystemTime;

/// Runs a command; what there is to say goes to `out`.
///
/// # Errors
/// [`Failure::Configuration`] for what the operator must set right, [`Failure::Fatal`] when the machine does not do its
/// part.
pub fn run(flags: &ThingsFlags, out: &mut dyn Write) -> Result<(), Failure> {
    let text = match &flags.command {
        ThingsCommand::Issue(issued) => issue::issue(issued, SystemTime::now())?,
        ThingsCommand::Check(checked) => check::check(checked, SystemTime::now())?,
        ThingsCommand::Import(imported) => import::import(imported)?,
    };
    terminal::write(out, &text)
}
