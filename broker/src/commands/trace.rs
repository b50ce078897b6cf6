//! `heliograph trace CHANNEL`: shows a channel's events, as reported by the broker's admin listener.

use crate::side::trace::text::{Printer, whole};
use crate::terminal::{self, Colour, Screen};
use crate::{admin_client::AdminListener, config::TraceFlags, failure::Failure};
use serde_json::Value;
use std::io::Write;
use std::thread;
use std::time::Duration;

/// Requests the trace and prints it. With `--follow`, polls every second and prints only new events.
///
/// # Errors
/// Returns [`Failure::Configuration`] for invalid flags or arguments. Returns [`Failure::Fatal`] if the channel does
/// not exist, the broker does not answer, or the output is closed.
pub fn run(flags: &TraceFlags, out: &mut dyn Write, screen: Screen) -> Result<(), Failure> {
    let mut printer = Printer::default();
    let mut last = Value::Null;
    let listener = AdminListener::of(&flags.asked)?;
    loop {
        let trace = ask(&listener, flags)?;
        let text = match (flags.json, flags.follow) {
            (true, _) if trace == last => String::new(),
            (true, _) => format!("{}\n", terminal::json(&trace)),
            (false, false) => screen.show(&whole(&trace, flags.events), colour),
            (false, true) => screen.show(&printer.news(&trace), colour),
        };
        if !terminal::is_read(out, &text)? || !flags.follow {
            return Ok(());
        }
        last = trace;
        thread::sleep(EVERY);
    }
}

fn ask(listener: &AdminListener, flags: &TraceFlags) -> Result<Value, Failure> {
    // Names and client ids contain no characters that need escaping.
    let client = flags.client.as_deref().unwrap_or_default();
    let name = &flags.channel;
    let target = format!("/channels/{name}/trace?limit={EVENTS}&client={client}");
    let refusal = match listener.get(&target)? {
        Ok(trace) => return Ok(trace),
        Err(refusal) => refusal,
    };
    if refusal.status != "404" {
        return Err(refusal.into());
    }
    // The name may be misspelled, so suggest the closest existing one.
    let channels = listener.get("/channels?limit=1000")?.unwrap_or_default();
    let names = channels["channels"].as_array().into_iter().flatten();
    let names: Vec<&str> = names.filter_map(|one| one["name"].as_str()).collect();
    let nearest = terminal::plain(&terminal::nearest(name, &names));
    Err(Failure::Fatal(format!("{}{nearest}", refusal.why)))
}

const EVERY: Duration = Duration::from_secs(1);

/// Number of events to request, which is the maximum for one response.
const EVENTS: usize = 5_000;

/// Returns the color of a client heading, a suggestion or a failure, or `None` for any other line.
fn colour(line: &str) -> Option<Colour> {
    let begins = ["channel ", "master ", "viewer "];
    let wrong = ["  refused", "  dropped", "  throttled", "  expired"];
    if begins.iter().any(|word| line.starts_with(word)) {
        Some(Colour::Bold)
    } else if line.contains("  * ") {
        Some(Colour::Yellow)
    } else {
        let is_wrong = wrong.iter().any(|word| line.contains(word));
        is_wrong.then_some(Colour::Red)
    }
}
