//! `heliograph hook-test`: makes a running broker send a test event to the receiver of a hook.

use crate::{admin_client::AdminListener, config::HookTestFlags, failure::Failure};
use codec::http::encode;

/// Requests the test event. Returns the outcome as a message that ends with a newline.
///
/// # Errors
/// Returns [`Failure::Configuration`] for invalid flags or arguments. Returns [`Failure::Fatal`] if the receiver did
/// not accept the event, if no hook has this name, or if the broker does not answer.
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
