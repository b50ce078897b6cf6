//! `heliograph trace CHANNEL`: what happened on a channel, as its broker's admin listener reports it.

mod text;

use crate::admin_client::AdminListener;
use crate::config::TraceFlags;
use crate::failure::Failure;
use crate::terminal;
use serde_json::Value;
use std::io::Write;
use std::thread;
use std::time::Duration;
use text::Printer;

/// Asks, and writes the answer; with `--follow` again every second, and writes what is new.
///
/// # Errors
/// [`Failure::Configuration`] when something asked for cannot be meant, [`Failure::Fatal`] when there is no such
/// channel, no answer, or nobody who reads what is written.
pub fn run(flags: &TraceFlags, out: &mut dyn Write) -> Result<(), Failure> {
    let mut printer = Printer::default();
    let mut last = Value::Null;
    let listener = AdminListener::of(&flags.asked)?;
    loop {
        let trace = ask(&listener, flags)?;
        let text = match (flags.json, flags.follow) {
            (true, _) if trace == last => String::new(),
            (true, _) => format!("{}\n", terminal::json(&trace)),
            (false, false) => text::whole(&trace),
            (false, true) => printer.news(&trace),
        };
        if !terminal::is_read(out, &text)? || !flags.follow {
            return Ok(());
        }
        last = trace;
        thread::sleep(EVERY);
    }
}

fn ask(listener: &AdminListener, flags: &TraceFlags) -> Result<Value, Failure> {
    // Names and client ids have no character that would have to be escaped.
    let client = flags.client.as_deref().unwrap_or_default();
    let name = &flags.channel;
    let target = format!("/channels/{name}/trace?limit={EVENTS}&client={client}");
    listener.get(&target)?.map_err(Failure::from)
}

/// Between two looks of `--follow`.
const EVERY: Duration = Duration::from_secs(1);

/// Events in an answer: as many as there may be.
const EVENTS: usize = 5_000;
