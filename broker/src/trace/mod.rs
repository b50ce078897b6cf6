//! `broker trace CHANNEL`: what happened on a channel, as its broker's admin listener tells it.

mod text;

use crate::admin_client::{self, REFUSAL_BYTES_MAX};
use crate::config::TraceFlags;
use crate::server::Failure;
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
pub fn run(flags: &TraceFlags, out: &mut impl Write) -> Result<(), Failure> {
    let token = admin_client::token_of(flags.token_file.as_deref())?;
    let token = token.as_ref().map(|token| token.as_str());
    let mut printer = Printer::default();
    let mut last = Value::Null;
    loop {
        let trace = ask(flags, token)?;
        let written = match (flags.json, flags.follow) {
            (true, _) if trace == last => Ok(()),
            (true, _) => writeln!(out, "{trace}"),
            (false, false) => out.write_all(text::whole(&trace).as_bytes()),
            (false, true) => out.write_all(printer.news(&trace).as_bytes()),
        };
        let written = written.and_then(|()| out.flush());
        written.map_err(|error| Failure::Fatal(format!("stdout: {error}")))?;
        if !flags.follow {
            return Ok(());
        }
        last = trace;
        thread::sleep(EVERY);
    }
}

fn ask(flags: &TraceFlags, token: Option<&str>) -> Result<Value, Failure> {
    let host = admin_client::host(&flags.admin);
    // Names and client ids have no character that would have to be escaped.
    let client = flags.client.as_deref().unwrap_or_default();
    let name = &flags.channel;
    let target = format!("/channels/{name}/trace?limit={EVENTS}&client={client}");
    let answer = admin_client::ask(host, "GET", &target, token).map_err(|error| {
        Failure::Fatal(format!(
            "the broker at http://{host} does not answer: {error}: if its admin listener is elsewhere, --admin URL"
        ))
    })?;
    let status = answer.status.clone();
    let most = if status == "200" {
        ANSWER_BYTES_MAX
    } else {
        REFUSAL_BYTES_MAX
    };
    let text = answer.text(most);
    let parsed = text
        .as_ref()
        .ok()
        .and_then(|text| serde_json::from_str::<Value>(text).ok());
    match (status.as_str(), parsed) {
        ("200", Some(trace)) => Ok(trace),
        ("200", None) => Err(Failure::Fatal(format!(
            "the broker at http://{host} does not answer as one does: is --admin its admin listener?"
        ))),
        (_, parsed) => {
            let told = parsed.and_then(|parsed| parsed["error"].as_str().map(str::to_owned));
            let told = told.or_else(|| text.ok()).unwrap_or_default();
            Err(Failure::Fatal(format!(
                "{name}: the broker at http://{host} refuses: {status}: {}",
                text::plain(told.trim())
            )))
        }
    }
}

/// Between two looks of `--follow`.
const EVERY: Duration = Duration::from_secs(1);

/// Events in an answer: as many as there may be.
const EVENTS: usize = 5_000;

/// Longest answer: 5,000 events at some 200 bytes, and their viewers.
const ANSWER_BYTES_MAX: u64 = 16 << 20;
