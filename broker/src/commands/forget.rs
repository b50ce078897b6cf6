//! `heliograph forget`: erases what a running broker has stored about a client.

use crate::terminal::{self, counted};
use crate::{admin_client::AdminListener, config::ForgetFlags, failure::Failure};
use serde_json::{Value, json};
use std::io::Write;

/// Asks the broker to erase the client's data, and prints how many entries were erased.
///
/// # Errors
/// Returns [`Failure::Fatal`] if the broker or any node of its cluster does not answer.
pub fn run(flags: &ForgetFlags, out: &mut dyn Write) -> Result<(), Failure> {
    let body = json!({ "text": flags.text }).to_string();
    let removed = AdminListener::of(&flags.asked)?.post_json("/forget", &body)??;
    let parts = [
        ("refusals", "refusal"),
        ("sessions", "troubled session"),
        ("problems", "problem member"),
        ("lines", "log line"),
        ("notes", "recorder note"),
        ("history", "history note"),
    ];
    let parts = parts.map(|(name, noun)| {
        let count = removed[name]
            .as_u64()
            .and_then(|it| usize::try_from(it).ok());
        counted(count.unwrap_or_default(), noun)
    });
    terminal::write(out, &format!("removed: {}\n", parts.join(", ")))?;
    let missing = removed["missing"].as_array();
    let missing: Vec<&str> = missing
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(Failure::Fatal(format!(
        "these nodes do not answer, and may still have it: {}: repeat the command when they run",
        missing.join(", ")
    )))
}
