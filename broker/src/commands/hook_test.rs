//! `heliograph hook-test`: one event for the receiver of a hook, sent by the broker that runs.

use crate::{admin_client::AdminListener, config::HookTestFlags, failure::Failure};
use codec::http::encode;

/// Has the event sent. What came of it, with a line's end.
///
/// # Errors
/// [`Failure::Configuration`] when something asked for cannot be meant, [`Failure::Fatal`] when the receiver did not
/// take it, no hook has this name, or nobody answers.
pub fn run(flags: &HookTestFlags) -> Result<String, Failure> {
    let mut target = String::from("/hooks/");
    encode(&mut target, flags.name.trim());
    target.push_str("/test");
    let told = AdminListener::of(&flags.asked)?.post(&target)??;
    match told["error"].as_str() {
        None => Ok("delivered\n".into()),
        Some(error) => Err(Failure::Fatal(format!("not delivered: {error}"))),
    }
}
